"""Starting from published files: which file gives what, and what is refused before it is read."""

import json
import os
import pickle
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from configs import albef, cada, laip
from jaxreid import run
from jaxreid.arguments import load_recipe
from jaxreid.config import check, check_needed
from jaxreid.parts import method_module
from jaxreid.published import MEMORY, fill, is_published, named_shapes, open_sources, put
from tests import released_networks as networks
from tests.published_state import IMAGE, PATCH, QUEUE, VOCABULARY, values
from tests.test_weights_releases import listed

GRID = (IMAGE // PATCH,) * 2
COPIES = ("_m.", "queue")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Files of tiny networks: fine-tuned as published, pretrained, and other kinds."""
    folder = tmp_path_factory.mktemp("published")
    paths = {}
    for kind in ("albef", "albef_retrieval", "blip"):
        state = values(listed(kind, "tiny"))
        if kind == "albef_retrieval":  # published without momentum copies and queues
            state = {k: v for k, v in state.items() if not any(c in k for c in COPIES)}
        paths[kind] = str(folder / f"{kind}.pth")
        save_file({k: np.asarray(v, order="C") for k, v in state.items()}, paths[kind])
    vit = {k.removeprefix("visual_encoder."): v for k, v in state_of(paths["albef"]).items()
           if k.startswith("visual_encoder.")}  # fmt: skip
    paths["vit"] = str(folder / "deit.pth")
    save_file(vit, paths["vit"])
    paths["text"] = str(folder / "text.pth")
    (folder / "text.pth").write_text("404: Not Found\n")
    return paths


def state_of(path):
    from jaxreid.weights.state_dict import read

    return {key: np.array(x) for key, x in read(path).items()}


@pytest.fixture(scope="module")
def trees():
    _, params, memory = networks.align_fuse()
    return params, memory


def recipe(*paths, kind="", get_config=laip.get_config):
    config = get_config("cuhk_pedes")
    config.start, config.start_rules.kind = ",".join(paths), kind
    return config


def test_the_mlm_head_comes_from_the_pretrained_file_and_all_else_from_the_fine_tuned(files, trees):
    sources = open_sources(recipe(files["albef_retrieval"], files["albef"]))
    assert [source.kind.name for source in sources] == ["albef_retrieval", "albef"]
    filled = fill(sources, named_shapes(*trees), GRID)
    assert filled.fresh == ()
    assert not any(name.startswith(MEMORY) for name in filled.arrays)  # not of these parameters
    tuned, pretrained = (state_of(files[kind]) for kind in ("albef_retrieval", "albef"))
    for name, value in (
        ("mlm/bias", pretrained["text_encoder.cls.predictions.bias"]),
        ("temperature", tuned["temp"]),
        ("text/embeddings/norm/bias", tuned["text_encoder.embeddings.LayerNorm.bias"]),
    ):
        np.testing.assert_array_equal(filled.arrays[name], value)


def test_the_memory_is_that_of_the_file_but_for_the_ids_of_its_people(files, trees):
    params, memory = trees
    filled = fill(open_sources(recipe(files["albef"])), named_shapes(*trees), GRID)
    made = jax.tree.map(lambda x: jnp.full(x.shape, 7, x.dtype), memory)
    put_in = put(made, filled.arrays, MEMORY)
    state = state_of(files["albef"])
    np.testing.assert_array_equal(put_in.image_queue[0], state["image_queue"][:, 1])  # the newest
    np.testing.assert_array_equal(
        put_in.params["text_proj"]["dense"]["kernel"], state["text_proj_m.weight"].T
    )
    assert (put_in.id_queue == 7).all()
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), params)
    np.testing.assert_array_equal(
        put(zeros, filled.arrays)["itm_head"]["kernel"], state["itm_head.weight"].T
    )


def test_rows_that_a_file_lacks_stay_as_they_were():
    tree = {"words": jnp.full((5, 2), 3.0)}
    grown = put(tree, {"words": np.ones((4, 2), np.float32)})["words"]
    np.testing.assert_array_equal(grown, [[1, 1]] * 4 + [[3, 3]])


def test_parts_need_leave_for_the_rest(files, trees):
    sources = open_sources(recipe(files["vit"]))
    with pytest.raises(ValueError, match=r"deit\.pth fills a part of the network alone.*cross/lay"):
        fill(sources, named_shapes(*trees), GRID)
    filled = fill(sources, named_shapes(*trees), GRID, fresh=("(?!vit/).*",))
    assert {name.split("/")[0] for name in filled.arrays} == {"vit"}
    assert "mlm/bias" in filled.fresh


@pytest.mark.parametrize(
    ("fresh", "unused", "message"),
    [
        (("head/.*",), (), r"start_rules\.fresh: pattern 'head/\.\*' matches no parameter"),
        ((), ("head",), r"start_rules\.unused: pattern 'head' matches no key"),
        ((), (r"itm_head\..*",), r"lacks itm_head\.(bias|weight)"),
    ],
)
def test_patterns_are_held_to_what_is_there(files, trees, fresh, unused, message):
    with pytest.raises(ValueError, match=message):
        fill(open_sources(recipe(files["albef"])), named_shapes(*trees), GRID, fresh, unused)


def test_a_key_that_is_left_out_leaves_its_parameter_random(files, trees):
    filled = fill(
        open_sources(recipe(files["albef"])), named_shapes(*trees), GRID,
        fresh=("itm_head/.*",), unused=(r"itm_head\..*",),
    )  # fmt: skip
    assert filled.fresh == ("itm_head/bias", "itm_head/kernel")


@pytest.mark.parametrize(
    ("names", "kind", "get_config", "message"),
    [
        (["blip"], "albef", laip.get_config, r"looks like .*BLIP.*\(kind blip\), kind albef was"),
        (
            ["blip"],
            "",
            laip.get_config,
            r"is a pretrained .* BLIP.*, from which cada can start, no",
        ),
        (["albef"], "", cada.get_config, r"ALBEF.*, from which laip, albef can start, not cada"),
        (["albef"], "albeef", albef.get_config, r"start_rules\.kind: the kind .* 'albeef'"),
        (["albef"], "albef,bert", albef.get_config, r"a kind for each of the 1 files"),
        (["text"], "", laip.get_config, r"text\.pth"),
        (["none"], "", laip.get_config, r"no such file: none"),
        (["albef", "/"], "", laip.get_config, r"/ is a folder, not a published file"),
    ],
)
def test_a_wrong_file_is_told_before_it_is_read(files, names, kind, get_config, message):
    config = recipe(*(files.get(n, n) for n in names), kind=kind, get_config=get_config)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as error:
        open_sources(config)
    assert str(error.value).startswith("config.start")
    assert "\n" not in str(error.value)


def test_a_sibling_is_told_where_the_keys_do_not_fit(files, trees):
    sources = open_sources(recipe(files["albef"], kind="albef_retrieval"))
    with pytest.raises(ValueError, match=r"looks like a pretrained checkpoint of ALBEF"):
        fill(sources, named_shapes(*trees), GRID)


# The config


def test_a_recipe_says_what_it_starts_from_and_random_is_a_choice(files):
    for get_config, told in (
        (laip.get_config, r"mscoco\.pth and, for the MLM head, ALBEF\.pth of https://github"),
        (albef.get_config, r"mscoco\.pth of https"),
        (cada.get_config, r"BLIP's model_base\.pth of https"),
    ):
        config = get_config("rstpreid")
        with pytest.raises(ValueError, match=rf"starts from {told}.*--config\.start=random"):
            check_needed(config)
        config.start = "random"
        check_needed(config)
        check(config, devices=1)
        assert not is_published(config.start)
    check_needed(laip.get_config("random"))  # learns without


def test_fields_for_a_folder_and_for_files_are_not_mixed(files, tmp_path):
    config = recipe(files["albef"])
    config.data.manual_dir = ""
    check(config, devices=1)
    assert is_published(config.start)
    config.start_rules.longer = ("x",)
    with pytest.raises(ValueError, match=r"renamed and \.longer must be \(\) where"):
        check(config, devices=1)
    (tmp_path / "weights.npz").touch()
    config = recipe(str(tmp_path), kind="albef")
    with pytest.raises(ValueError, match=r"kind must be '' where config.start is a folder"):
        check(config, devices=1)
    with pytest.raises(FileNotFoundError, match="no such file or folder: none"):
        check(recipe("none"), devices=1)


# A run, and the tool


@pytest.fixture
def tiny_recipe(tmp_path):
    """A recipe file of the tiny network, and its vocabulary."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *map("word{}".format, range(99))]
    folder = tmp_path / "words"
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(words[:VOCABULARY]) + "\n")
    path = tmp_path / "recipe.py"
    path.write_text(
        "from configs import albef\nfrom tests.released_networks import tiny\n"
        "def get_config(variant=''):\n"
        "    config = tiny(albef.get_config('cuhk_pedes'), 1, 1)\n"
        "    config.text.max_tokens = config.text.max_phrase_tokens = 9\n"
        f"    config.text.tokenizer = {str(folder)!r}\n"
        f"    config.albef.queue_length = config.train.batch_size = {QUEUE}\n"
        "    return config\n"
    )
    return str(path)


def test_a_run_starts_from_the_parameters_and_the_memory_of_a_file(files, tiny_recipe, trees):
    config = load_recipe(tiny_recipe)
    config.start, config.train.steps_per_epoch = files["albef"], 1
    start = run._start(config, method_module("albef").make(config))
    state = state_of(files["albef"])
    params, memory = (jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), tree) for tree in trees)
    started = start.params(params)
    np.testing.assert_array_equal(started["temperature"], state["temp"])
    np.testing.assert_array_equal(
        started["mlm"]["bias"], state["text_encoder.cls.predictions.bias"]
    )
    np.testing.assert_array_equal(start.memory(memory).text_queue[0], state["text_queue"][:, 1])
    config.start = "random"
    assert run._start(config, None).params is None


def test_training_without_the_weights_that_a_recipe_needs_ends_at_once(tmp_path):
    config = laip.get_config("rstpreid")
    for name in ("batch_size", "chunk", "pair_batch"):
        config.eval[name] = jax.device_count()
    config.train.batch_size = jax.device_count()
    with pytest.raises(ValueError, match=r"this recipe starts from mscoco\.pth"):
        run.train(config, str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_the_tool_converts_there_and_back(files, tiny_recipe, tmp_path, capsys):
    from tools.convert_weights import main

    out, back = str(tmp_path / "out"), str(tmp_path / "back.safetensors")
    given = [files["albef_retrieval"], files["albef"], "--config", tiny_recipe, "--out", out]
    assert main(given) == 0, capsys.readouterr().err
    told = capsys.readouterr().out
    assert "kind albef_retrieval" in told
    assert "5 parameters not in this file: mlm/bias" in told
    assert "from random" not in told  # the second file has them
    assert "config.start" not in told
    with open(f"{out}/config.json") as file:
        assert json.load(file)["method"] == "albef"
    assert main(["--back", out, "--kind", "albef_retrieval", "--out", back]) == 0
    assert "5 parameters that such a file has no key for: mlm/bias" in capsys.readouterr().out
    want, got = state_of(files["albef_retrieval"]), state_of(back)
    assert want.keys() == got.keys()
    for key, value in want.items():
        np.testing.assert_array_equal(got[key], value)
    assert main(given) == 2
    assert "no empty folder" in capsys.readouterr().err


class Hostile:
    """Makes a file when it is unpickled as Python does it."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.system, (f"touch {self.folder}/executed",)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"temp": None}, "lacks temp, from which temperature should start"),
        ({"extra": np.ones(2, np.float32)}, "has no parameter of the config for extra"),
        ({"itm_head.bias": np.ones(3, np.float32)}, "itm_head.bias is [3], the config needs [2]"),
        ({"itm_head.bias": np.array([np.inf, 0], np.float16)}, "no finite float32: it overflowed"),
        ("cut", "no whole safetensors"),
        ("code", "system"),
        ("text", "text.pth"),
    ],
)
def test_the_tool_tells_what_is_wrong_in_one_sentence(
    files, tiny_recipe, tmp_path, capsys, change, message
):
    from tools.convert_weights import main

    path = str(tmp_path / "wrong.pth")
    if change == "text":
        path = files["text"]
    elif change == "code":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", pickle.dumps({"model": Hostile(tmp_path)}, 2))
    elif change == "cut":
        with open(files["albef"], "rb") as file, open(path, "wb") as cut:
            cut.write(file.read()[:5000])
    else:
        state = state_of(files["albef_retrieval"]) | change
        save_file({k: v for k, v in state.items() if v is not None}, path)
    out = tmp_path / "out"
    assert main([path, "--config", tiny_recipe, "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert not out.exists()
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give published files, or --back"),
        (["x.pth"], "--config must name the recipe"),
        (["", "--config", "configs/albef.py:cuhk_pedes"], "error: no such file: ''"),
        (["x.pth", "--config", "configs/albef.py:cuhk_pedes"], "no such file: x.pth"),
        (["--back", "x"], "--kind must name the kind"),
        (["--back", "x", "--kind", "albef"], "--out must be a .safetensors file"),
    ],
)
def test_arguments_that_cannot_be_are_told(arguments, message, tmp_path, capsys):
    from tools.convert_weights import main

    assert main([*arguments, "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err


def test_half_precision_that_overflows_is_refused():
    from tools.convert_weights import _as

    assert _as("x", np.ones(2, np.float32), "float16").dtype == np.float16
    with pytest.raises(ValueError, match="x has values up to 1e\\+06, beyond float16"):
        _as("x", np.array([1e6, 0], np.float32), "float16")
