"""Rank lists side by side are of the same split, and show the queries they say they show."""

import importlib.util
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from copies import write_copy
from PIL import Image

from jaxreid.data.dataset import open_split
from jaxreid.data.records import caption_pairs
from jaxreid.files import write_npz
from jaxreid.sheet import FRAME, RIGHT, WRONG, stacked_box


@pytest.fixture(scope="module")
def tool():
    path = Path(__file__).parents[1] / "tools/compare_ranks.py"
    spec = importlib.util.spec_from_file_location("compare_ranks", path)
    module = importlib.util.module_from_spec(spec)
    kept = list(sys.path)
    spec.loader.exec_module(module)
    sys.path[:] = kept
    return module


@pytest.fixture(scope="module")
def gallery(tmp_path_factory):
    """(folder of prepared data, test split) of a tiny copy; its published folder is gone."""
    root = tmp_path_factory.mktemp("gallery")
    write_copy(root, "cuhk_pedes")
    split = open_split(
        "cuhk_pedes", "test", data_dir=root / "data", manual_dir=root, allow_partial=True
    )
    return root / "data", split


@pytest.fixture
def write_run(gallery, tmp_path):
    """Writes the files of a run that ranks person by person, to the order of each query."""
    data_dir, split = gallery
    pairs = caption_pairs(split)

    def write(name, final, change=None, suffix=""):
        data = {
            "name": "cuhk_pedes", "variant": "", "split": "test", "data_dir": str(data_dir),
            "manual_dir": "/none", "allow_partial": True, "caption_limit": 0, "val_people": 0,
        }  # fmt: skip
        scores = {"R1": 1.0, "R5": 2.0, "R10": 3.0, "mAP": 4.0}
        results = {"queries": len(pairs), "gallery": len(split.files), "final": scores}
        (tmp_path / name).mkdir(exist_ok=True)
        path = tmp_path / name / f"results{suffix}.json"
        path.write_text(json.dumps({**results, "data": data}))
        arrays = {
            "final": np.asarray(final, np.int32),
            "query_person_id": split.person_id[pairs[:, 0]],
            "gallery_person_id": split.person_id,
            "gallery_file": np.array(split.files),
            "query_caption": np.array([split.captions[i][j] for i, j in pairs]),
        }
        (change or (lambda arrays: None))(arrays)
        write_npz(tmp_path / name / f"rankings{suffix}.npz", arrays)
        return str(tmp_path / name)

    return write


def best_first(split, ranks):
    """i32[8, 4] rankings of the queries of a tiny copy with the first right image at each rank."""
    rows = []
    for (image, _), rank in zip(caption_pairs(split), ranks, strict=True):
        right = np.flatnonzero(split.person_id == split.person_id[image])
        wrong = np.flatnonzero(split.person_id != split.person_id[image])
        rows.append(np.concatenate([wrong[: rank - 1], right, wrong[rank - 1 :]]))
    return np.array(rows)


# Image 0 shows one person (2 captions, three wrong images), images 1 to 3 another (6 captions).
A = [2, 4, 1, 2, 1, 1, 2, 2]
B = [2, 1, 1, 1, 2, 1, 2, 1]


@pytest.fixture
def both(tool, gallery, write_run):
    a = write_run("a", best_first(gallery[1], A))
    b = write_run("b", best_first(gallery[1], B))
    return tool.read_ranked(Path(a), None), tool.read_ranked(Path(b), None)


def test_first_right_ranks_count_from_one(both):
    assert both[0].first.tolist() == A
    assert both[1].first.tolist() == B


def test_queries_are_those_in_which_b_gains_or_loses_most(tool, both):
    rng = np.random.default_rng(0)
    better = tool.pick(*both, "better", 8, rng).tolist()
    # 4 -> 1 of one person, the first 2 -> 1 of the other: not a second query of a person.
    assert better == [1, 3]
    assert tool.pick(*both, "better", 1, rng).tolist() == [1]
    assert tool.pick(*both, "worse", 8, rng).tolist() == [4]
    drawn = {tuple(tool.pick(*both, "random", 2, np.random.default_rng(i))) for i in range(20)}
    assert len(drawn) > 4
    assert {query for queries in drawn for query in queries} >= {0, 1, 2, 5}


def test_gain_is_the_ratio_of_ranks(tool, gallery, write_run):
    a = write_run("a", best_first(gallery[1], [4, 1, 1, 1, 2, 1, 1, 1]))
    b = write_run("b", best_first(gallery[1], [3, 1, 1, 1, 1, 1, 1, 1]))
    runs = [tool.read_ranked(Path(folder), None) for folder in (a, b)]
    # 2 -> 1 before 4 -> 3, though its person has the higher id.
    assert tool.pick(*runs, "better", 2, np.random.default_rng(0)).tolist() == [4, 0]


def test_a_right_image_that_is_not_kept_is_later_than_all_kept(tool, gallery, write_run):
    final = best_first(gallery[1], A)
    a = tool.read_ranked(Path(write_run("a", final[:, :3])), None)
    b = tool.read_ranked(Path(write_run("b", final)), None)
    assert a.first.tolist() == [2, 0, 1, 2, 1, 1, 2, 2]
    assert tool.rank_or_last(a)[1] == 4
    assert "query 1: A no right image in the first 3; B first" in "\n".join(
        tool.report(a, b, np.array([1]))
    )


def test_the_picture_frames_each_image_as_its_person_says(tool, both, write_run, gallery, tmp_path):
    out = tmp_path / "new" / "p.png"
    command = [both[0].name, both[1].name, "--out", str(out)]
    assert tool.main(command) == 0
    picture = np.asarray(Image.open(out))
    people = gallery[1].person_id
    for row, query in enumerate([1, 3]):
        for strip, run in enumerate(both):
            for rank, index in enumerate(run.arrays["final"][query]):
                box = stacked_box(row, strip, rank, strips=2, title_lines=5)
                cell = picture[box[1] : box[3], box[0] : box[2]]
                right = people[index] == run.arrays["query_person_id"][query]
                assert (cell[:FRAME] == (RIGHT if right else WRONG)).all()


def test_what_is_printed_has_scores_counts_and_ranks(tool, both, tmp_path, capsys):
    command = [both[0].name, both[1].name, "--out", str(tmp_path / "p.png"), "--queries=1"]
    assert tool.main(command) == 0
    printed = capsys.readouterr().out
    assert "cuhk_pedes test: 8 queries, 4 images" in printed
    assert "first right image: B earlier in 3, A in 1, equal in 4" in printed
    assert (
        "query 1: A first right image at rank 4; B first right image at rank 1: A 5 in" in printed
    )


def test_another_data_set_of_the_runs_is_taken_by_name(tool, gallery, write_run):
    own = best_first(gallery[1], A)
    run = Path(write_run("a", own))
    write_run("a", own[:, ::-1], suffix="-icfg_pedes")
    content = json.loads((run / "results-icfg_pedes.json").read_text())
    content["data"]["name"] = "icfg_pedes"
    (run / "results-icfg_pedes.json").write_text(json.dumps(content))
    assert np.array_equal(tool.read_ranked(run, "cuhk_pedes").arrays["final"], own)
    assert np.array_equal(tool.read_ranked(run, "icfg_pedes").arrays["final"], own[:, ::-1])
    with pytest.raises(FileNotFoundError, match="only on icfg_pedes, cuhk_pedes"):
        tool.read_ranked(run, "rstpreid")


def shorten(arrays):
    arrays["gallery_file"] = arrays["gallery_file"][:3]


def reverse(arrays):
    arrays["query_caption"] = arrays["query_caption"][::-1]


def other_people(arrays):
    arrays["gallery_person_id"] = arrays["gallery_person_id"] + 1


def without_final(arrays):
    del arrays["final"]


def renamed(arrays):
    arrays["gallery_file"] = np.char.add("x", arrays["gallery_file"])


@pytest.mark.parametrize(
    ("change", "flags", "sentence"),
    [
        (shorten, [], "have not ranked the same: gallery files: 4 and 3"),
        (reverse, [], "have not ranked the same: captions: the same in another order"),
        (other_people, [], "have not ranked the same: people of the gallery: 4 of 4 differ"),
        (without_final, [], "b cannot be read: .*final"),
        (None, ["--pick=worse"], "in no query is .*b worse than .*a"),
        (None, ["--queries=0"], "--queries must be >= 1, got 0"),
        (None, ["--seed=-1"], "--seed must be >= 0, got -1"),
        (None, ["--out=p.jpg"], "--out must end in .png, got 'p.jpg'"),
        (None, ["--data=rstpreid"], "no results on rstpreid, only on cuhk_pedes"),
        (None, ["--data-dir=/none", "--pick=random"], "/none holds no prepared cuhk_pedes"),
    ],
)
def test_what_cannot_be_compared_is_said_in_a_sentence(
    tool, gallery, write_run, tmp_path, capsys, change, flags, sentence
):
    final = best_first(gallery[1], A)
    a, b = write_run("a", final), write_run("b", final, change)
    out = tmp_path / "p.png"
    assert tool.main([a, b, f"--out={out}", *flags]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert re.search(sentence, error)
    assert not out.exists()


def test_images_that_are_no_longer_those_ranked_are_refused(tool, gallery, write_run, tmp_path):
    runs = [write_run(name, best_first(gallery[1], A), renamed) for name in "ab"]
    run = tool.read_ranked(Path(runs[0]), None)
    with pytest.raises(ValueError, match=r"cuhk_pedes has other images now than .*a has ranked"):
        tool.open_gallery(run, None)


@pytest.mark.parametrize("file", ["results.json", "rankings.npz"])
def test_a_missing_or_broken_file_is_named(tool, gallery, write_run, file):
    run = Path(write_run("a", best_first(gallery[1], A)))
    (run / file).write_bytes((run / file).read_bytes()[:40])
    with pytest.raises(ValueError, match=r"results in .*a cannot be read"):
        tool.read_ranked(run, None)
    (run / file).unlink()
    with pytest.raises(FileNotFoundError, match=f"{re.escape(file)} is missing"):
        tool.read_ranked(run, None)
