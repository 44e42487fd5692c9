import numpy as np
import pytest
from PIL import Image, ImageFont

from jaxreid.sheet import (
    CELL_HEIGHT,
    CELL_WIDTH,
    FRAME,
    RIGHT,
    WRONG,
    cell_box,
    ranks_sheet,
    save_sheet,
    sheet_rows,
    sheet_title,
    stacked_box,
    stacked_sheet,
    wrap,
)

SCORES = {"R1": 1.0, "R5": 25.125, "R10": 50.0, "mAP": 12.5, "mINP": 3.0}
TITLE = ["one line", "another"]


@pytest.fixture(scope="module")
def gallery():
    rng = np.random.default_rng(0)
    # Flat blue images of different shapes, none near the colours of the frames.
    images = [
        np.full((h, w, 3), (20, 30, 200), np.uint8) for h, w in rng.integers(20, 200, (13, 2))
    ]
    return images, np.array([0, 1, 2] * 4 + [0], np.int32)


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(1)
    order = np.stack([rng.permutation(13) for _ in range(9)]).astype(np.int32)
    captions = [f"caption {q} of a person in a long coat" for q in range(9)]
    rankings = {"coarse": order, "final": order[:, ::-1]}
    return sheet_rows(captions, np.arange(9) % 3, rankings, 4)


def test_frames_and_marks_tell_right_from_wrong_at_every_place(gallery, rows):
    images, ids = gallery
    sheet = np.asarray(ranks_sheet(TITLE, rows, images, ids, top=10))
    for number, row in enumerate(rows):
        for strip, index in enumerate(row.rankings.values()):
            for rank in range(10):
                box = cell_box(number, strip, rank, columns=10, title_lines=2)
                cell = sheet[box[1] : box[3], box[0] : box[2]]
                assert cell.shape == (CELL_HEIGHT, CELL_WIDTH, 3)
                colour = RIGHT if ids[index[rank]] == row.person_id else WRONG
                for edge in (cell[:FRAME], cell[-FRAME:], cell[:, :FRAME], cell[:, -FRAME:]):
                    assert (edge == colour).all()
                inner = cell[FRAME:-FRAME, FRAME:-FRAME]
                assert (inner == (20, 30, 200)).all(-1).any()  # the image
                assert (inner == (255, 255, 255)).all(-1).any()  # the tick or cross
                # A cross meets in the middle of the badge, a tick leaves it free.
                middle = inner[9, 9]
                assert (middle == (RIGHT if colour == RIGHT else (255, 255, 255))).all()


def test_nothing_is_drawn_between_the_cells(gallery, rows):
    images, ids = gallery
    sheet = np.asarray(ranks_sheet(TITLE, rows, images, ids, top=10)).copy()
    first = cell_box(0, 0, 0, columns=10, title_lines=2)
    for number in range(4):
        for strip in range(2):
            for rank in range(10):
                a, b, c, d = cell_box(number, strip, rank, columns=10, title_lines=2)
                sheet[b:d, a:c] = 255
    assert (sheet[first[1] :, first[0] :] == 255).all()


def test_stacked_rankings_are_framed_at_every_place(gallery, rows):
    images, ids = gallery
    names = [dict(zip((f"A {q}", f"B {q}"), r.rankings.values(), strict=True)) for q, r in
             enumerate(rows)]  # fmt: skip
    named = [r._replace(rankings=n) for r, n in zip(rows, names, strict=True)]
    sheet = np.asarray(stacked_sheet(TITLE, named, images, ids, top=5)).copy()
    for number, row in enumerate(named):
        for strip, index in enumerate(row.rankings.values()):
            for rank in range(5):
                box = stacked_box(number, strip, rank, strips=2, title_lines=2)
                cell = sheet[box[1] : box[3], box[0] : box[2]]
                assert cell.shape == (CELL_HEIGHT, CELL_WIDTH, 3)
                colour = RIGHT if ids[index[rank]] == row.person_id else WRONG
                assert all((edge == colour).all() for edge in (cell[:FRAME], cell[:, -FRAME:]))
                cell[:] = 255
    # What is left besides captions and title are the names, above each strip and nowhere else.
    left, top = stacked_box(0, 0, 0, strips=2, title_lines=2)[:2]
    for number in range(4):
        for strip in range(2):
            y = stacked_box(number, strip, 0, strips=2, title_lines=2)[1]
            name = sheet[y - 20 : y, left:]
            assert (name != 255).any()
            name[:] = 255
    assert (sheet[top - 20 :, left:] == 255).all()


def test_long_names_widen_a_stacked_sheet(gallery, rows):
    images, ids = gallery
    name = "runs/" + "long" * 40
    few = [row._replace(rankings={name: row.rankings["coarse"][:1]}) for row in rows]
    sheet = stacked_sheet(TITLE, few, images, ids, top=1)
    left = stacked_box(0, 0, 0, strips=1, title_lines=2)[0]
    assert sheet.width >= left + ImageFont.load_default(14).getlength(name)


def test_a_sheet_is_the_same_twice_and_is_a_png(gallery, rows, tmp_path):
    images, ids = gallery
    for name in ("a.png", "b.png"):
        save_sheet(tmp_path / name, ranks_sheet(TITLE, rows, images, ids, top=10))
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with Image.open(tmp_path / "a.png") as image:
        assert image.format == "PNG"
        assert image.size == ranks_sheet(TITLE, rows, images, ids, top=10).size


def test_a_small_gallery_gives_a_narrow_sheet(gallery, rows):
    images, ids = gallery
    few = [
        row._replace(rankings={name: index[:3] for name, index in row.rankings.items()})
        for row in rows
    ]
    narrow = ranks_sheet(TITLE, few, images, ids, top=10)
    wide = ranks_sheet(TITLE, rows, images, ids, top=10)
    assert narrow.width < wide.width
    assert narrow.height == wide.height
    box = cell_box(3, 1, 2, columns=3, title_lines=2)
    assert narrow.getpixel((box[0], box[1])) in (RIGHT, WRONG)


def test_one_ranking_gives_one_strip(gallery, rows):
    images, ids = gallery
    one = [row._replace(rankings={"coarse": row.rankings["coarse"]}) for row in rows]
    right = cell_box(0, 0, 9, columns=10, title_lines=2)[2]
    assert ranks_sheet(TITLE, one, images, ids, top=10).width == right + 16


def test_long_titles_widen_the_sheet(gallery, rows):
    images, ids = gallery
    few = [row._replace(rankings={"coarse": row.rankings["coarse"][:1]}) for row in rows]
    line = "wide " * 80
    sheet = ranks_sheet([line], few, images, ids, top=1)
    assert sheet.width >= ImageFont.load_default(14).getlength(line)


@pytest.mark.parametrize(
    "text",
    ["", "short", "the woman wears " * 40, "x" * 900, "a " + "y" * 200 + " end", "a\n\nb\tc"],
)
def test_wrapped_lines_fit_and_lose_nothing_silently(text):
    font = ImageFont.load_default(14)
    out = wrap(text, font, 300, 9)
    assert 1 <= len(out) <= 9
    assert all(font.getlength(line) <= 300 for line in out)
    kept = "".join(out).replace(" ", "")
    whole = "".join(text.split())
    if kept != whole:
        assert len(out) == 9
        assert out[-1].endswith("...")
        assert whole.startswith(kept[:-3])


def test_captions_stay_left_of_the_images(gallery, rows):
    images, ids = gallery
    left, top = cell_box(0, 0, 0, columns=10, title_lines=2)[:2]

    def ink(caption):
        long = [row._replace(caption=caption) for row in rows]
        sheet = np.asarray(ranks_sheet(TITLE, long, images, ids, top=10))
        return (sheet[top:, :left] != 255).any(-1)

    assert not ink("").any()
    assert ink("W" * 2000).any()
    assert not ink("W" * 2000)[:, left - 4 :].any()


def test_rows_are_spread_over_all_queries():
    rankings = {"coarse": np.arange(33, dtype=np.int32)[:, None]}
    captions = [str(q) for q in range(33)]
    picked = sheet_rows(captions, np.arange(33), rankings, 5)
    assert [row.caption for row in picked] == ["0", "8", "16", "24", "32"]
    assert [row.person_id for row in picked] == [0, 8, 16, 24, 32]
    assert [int(row.rankings["coarse"][0]) for row in picked] == [0, 8, 16, 24, 32]
    assert len(sheet_rows(captions, np.arange(33), rankings, 50)) == 33


def test_title_names_data_set_sizes_and_scores():
    results = {"queries": 6148, "gallery": 3074, "coarse": SCORES, "final": SCORES | {"R1": 2.0}}
    assert sheet_title("cuhk_pedes test", results) == [
        "cuhk_pedes test: 6,148 queries, 3,074 images",
        "coarse: R1 1.00   R5 25.12   R10 50.00   mAP 12.50   mINP 3.00",
        "final: R1 2.00   R5 25.12   R10 50.00   mAP 12.50   mINP 3.00",
    ]


def test_wrong_rows_and_images_are_refused(gallery, rows):
    images, ids = gallery
    with pytest.raises(ValueError, match="0 rows"):
        ranks_sheet(TITLE, [], images, ids, top=10)
    one = rows[1]._replace(rankings={"coarse": rows[1].rankings["coarse"]})
    with pytest.raises(ValueError, match=r"row 1 has rankings \['coarse'\]"):
        ranks_sheet(TITLE, [rows[0], one], images, ids, top=10)
    with pytest.raises(ValueError, match="row 1 has 1 rankings, row 0 has 2"):
        stacked_sheet(TITLE, [rows[0], one], images, ids, top=10)
    with pytest.raises(ValueError, match=r"image \d+ must be u8\[h, w, 3\], got float32"):
        ranks_sheet(TITLE, rows, [x.astype(np.float32) for x in images], ids, top=10)
    with pytest.raises(ValueError, match="ranking coarse"):
        sheet_rows(["a"], np.arange(2), {"coarse": np.zeros((2, 3), np.int32)}, 1)
    with pytest.raises(ValueError, match="at least 1 query, got 0"):
        sheet_rows(["a"], np.arange(1), {}, 0)
