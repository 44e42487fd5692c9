"""Published keys to our parameters and back: layouts, tables, and what is refused."""

import re

import numpy as np
import pytest

from jaxreid.weights import layouts
from jaxreid.weights.convert import Target, published_shapes, to_ours, to_published
from jaxreid.weights.names import Entry, Kind, Range, find, known, skeleton, table
from jaxreid.weights.recognise import recognise
from jaxreid.weights.report import Resized, listed

RNG = np.random.default_rng(0)


def values(*shape):
    return RNG.normal(size=shape).astype(np.float32)


# Layouts

D, H, d, E, M = 6, 2, 3, 5, 4
CASES = {
    "same": (layouts.SAME, [(7,)], [(7,)]),
    "linear": (layouts.LINEAR, [(3, 6)], [(6, 3)]),
    "conv": (layouts.CONV, [(6, 3, 2, 4)], [(2, 4, 3, 6)]),
    "heads_in": (layouts.HEADS_IN, [(H * d, D)], [(D, H, d)]),
    "heads_bias": (layouts.HEADS_BIAS, [(H * d,)], [(H, d)]),
    "heads_out": (layouts.HEADS_OUT, [(D, H * d)], [(H, d, D)]),
    "qkv_kernel": (layouts.QKV_KERNEL, [(3 * H * d, D)], [(D, H, d)] * 3),
    "qkv_bias": (layouts.QKV_BIAS, [(3 * H * d,)], [(H, d)] * 3),
}


@pytest.mark.parametrize("name", CASES)
def test_a_layout_has_its_exact_inverse_and_right_shapes(name):
    layout, published, ours = CASES[name]
    theirs = [values(*shape) for shape in published]
    mine = layout.ours(theirs, ours)
    assert [x.shape for x in mine] == ours
    for want, got in zip(theirs, layout.published(mine), strict=True):
        np.testing.assert_array_equal(want, got)
    blanks = [np.broadcast_to(np.float32(0), shape) for shape in ours]
    assert [x.shape for x in layout.published(blanks)] == published


def test_linear_maps_compute_the_same_in_both_layouts():
    x, weight, out = values(D), values(H * d, D), values(D, H * d)
    (kernel,) = layouts.HEADS_IN.ours([weight], [(D, H, d)])
    heads = np.einsum("i,ihd->hd", x, kernel)
    np.testing.assert_allclose(heads.reshape(-1), weight @ x, atol=1e-6)
    (kernel,) = layouts.HEADS_OUT.ours([out], [(H, d, D)])
    np.testing.assert_allclose(np.einsum("hd,hdo->o", heads, kernel), out @ weight @ x, atol=1e-5)
    fused = values(3 * H * d, D)
    parts = layouts.QKV_KERNEL.ours([fused], [(D, H, d)] * 3)
    together = np.concatenate([np.einsum("i,ihd->hd", x, p).reshape(-1) for p in parts])
    np.testing.assert_allclose(together, fused @ x, atol=1e-6)


@pytest.mark.parametrize("pointer", [0, 1, 3])
def test_a_ring_is_read_from_its_newest_entry(pointer):
    order = (pointer - 1 - np.arange(M)) % M  # slots, the last written first
    ring, place = values(E, M), np.array([pointer])
    (rows,) = layouts.QUEUE.ours([ring, place], [(M, E)])
    np.testing.assert_array_equal(rows, ring.T[order])
    ids = np.array([[4, -100, 9, 7]])
    (mine,) = layouts.QUEUE_IDS.ours([ids, place], [(M,)])
    np.testing.assert_array_equal(mine, np.array([4, -1, 9, 7])[order])
    assert mine.dtype == np.int32
    for layout, kept in ((layouts.QUEUE, rows), (layouts.QUEUE_IDS, mine)):
        again = layout.ours(layout.published([kept]), [kept.shape])[0]
        np.testing.assert_array_equal(again, kept)
    assert layouts.QUEUE_IDS.published([mine])[0].dtype == np.int64


def test_a_pointer_or_an_id_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match="slot 4 of a queue of 4"):
        layouts.QUEUE.ours([values(E, M), np.array([M])], [(M, E)])
    with pytest.raises(ValueError, match="negative person ids other than -100"):
        layouts.QUEUE_IDS.ours([np.array([[4, -1, 9, 7]]), np.array([0])], [(M,)])


# A kind of a network with two blocks, behind them one more, and tables

KIND = Kind(
    name="toy",
    title="a toy",
    methods=("toy",),
    entries=(
        Entry("emb.weight", "words/embedding"),
        Entry("pos", "pos"),
        Entry("pos_ids", "words/embedding", layouts.POSITION_IDS),
        Entry("layer.{a}.w.weight", "a_{a}/kernel", layouts.LINEAR),
        Entry("layer.{b}.w.weight", "b_{b}/kernel", layouts.LINEAR),
        Entry("layer.{b}.qkv", tuple(f"b_{{b}}/{p}/bias" for p in "qkv"), layouts.QKV_BIAS),
        Entry("decoder.weight", "words/embedding"),
        Entry("extra.weight", "extra/kernel", layouts.LINEAR),
        Entry(("queue", "ptr"), "memory/queue", layouts.QUEUE),
        Entry("copy.{a}.w", "memory/a_{a}/kernel", layouts.LINEAR),
    ),
    also=(Entry("old.weight", "words/embedding"),),
    ranges={"a": Range("a_{a}"), "b": Range("b_{b}", after="a")},
    unused=(r"head\..*", r"copy\.{b}\.w"),
    fresh=(r"new/.*", r"memory/a_.*", r"memory/queue"),
    spare=(r"extra/.*", r"memory/.*"),
    zeros=(r"nothing",),
    rows=(r"words/embedding",),
    added=2,
    positions=(("pos", "bicubic"),),
)
SHAPES = {
    "words/embedding": (9, 4), "pos": (1, 7, 4), "a_0/kernel": (4, 3), "a_1/kernel": (4, 3),
    "b_0/kernel": (4, 3), "b_0/q/bias": (2, 2), "b_0/k/bias": (2, 2), "b_0/v/bias": (2, 2),
    "new/kernel": (2,), "nothing": (3,),
}  # fmt: skip
MEMORY = {"memory/queue": (4, 5), "memory/a_0/kernel": (4, 3), "memory/a_1/kernel": (4, 3)}
TARGET = Target(SHAPES, (3, 2))


def published(**change):
    words = values(9, 4)
    state = {
        "emb.weight": words, "decoder.weight": words.copy(), "pos": values(1, 7, 4),
        "pos_ids": np.arange(9)[None], "layer.0.w.weight": values(3, 4),
        "layer.1.w.weight": values(3, 4), "layer.2.w.weight": values(3, 4),
        "layer.2.qkv": values(12),
    }  # fmt: skip
    state |= {key.replace("__", "."): value for key, value in change.items()}
    return {key: value for key, value in state.items() if value is not None}


def convert(state, target=TARGET, **options):
    return to_ours(state, KIND, target, source="x.pth", **options)


def test_every_key_goes_to_its_parameter_and_back():
    state = published()
    ours, report = convert(state)
    assert {name: x.shape for name, x in ours.items()} == {
        name: shape for name, shape in SHAPES.items() if name != "new/kernel"
    }
    np.testing.assert_array_equal(ours["b_0/kernel"], state["layer.2.w.weight"].T)
    np.testing.assert_array_equal(ours["a_1/kernel"], state["layer.1.w.weight"].T)
    np.testing.assert_array_equal(ours["nothing"], 0)
    assert report.fresh == ("new/kernel",)
    assert report.equal == ("pos_ids", "decoder.weight")
    assert set(report.used) | set(report.equal) == set(state)
    again, left = to_published(ours | {"new/kernel": np.ones(2)}, KIND)
    assert left == ("new/kernel",)
    assert again.keys() == state.keys()
    for key, value in state.items():
        np.testing.assert_array_equal(again[key], value)
        assert again[key].dtype == value.dtype
    assert published_shapes(SHAPES, KIND) == {key: x.shape for key, x in state.items()}


def test_names_of_other_versions_are_read_and_not_written():
    state = published()
    renamed = published(emb__weight=None, decoder__weight=None, old__weight=state["emb.weight"])
    ours, _ = convert(renamed)
    np.testing.assert_array_equal(ours["words/embedding"], state["emb.weight"])


def test_memory_is_filled_where_the_file_has_it_and_fresh_where_not():
    target = Target(SHAPES | MEMORY, (3, 2))
    _, report = convert(published(), target)
    assert set(report.fresh) == {"new/kernel", *MEMORY}
    copies = {"copy.0.w": values(3, 4), "copy.1.w": values(3, 4)}
    ours, report = convert(published(**copies, queue=values(5, 4), ptr=np.array([1])), target)
    assert report.fresh == ("new/kernel",)
    np.testing.assert_array_equal(ours["memory/a_1/kernel"], copies["copy.1.w"].T)
    # Copies of later layers are left out, of layers that are nowhere refused.
    ours, report = convert(published(**copies, **{"copy.2.w": values(3, 4)}), target)
    assert report.unused == ("copy.2.w",)
    with pytest.raises(ValueError, match=r"for copy\.3\.w"):
        convert(published(**copies, **{"copy.3.w": values(3, 4)}), target)
    # A network without memory leaves the keys out; copies of later layers are never used.
    unread = copies | {"copy.2.w": values(3, 4), "head.bias": values(1)}
    _, report = convert(published(**unread, queue=values(5, 4), ptr=np.array([1])))
    assert set(report.unused) == {*unread, "queue", "ptr"}


def test_positions_are_resized_to_the_grid_of_the_config():
    state = published(pos=values(1, 17, 4))  # 4 x 4 patches
    ours, report = convert(state)
    assert ours["pos"].shape == (1, 7, 4)
    np.testing.assert_array_equal(ours["pos"][:, 0], state["pos"][:, 0])
    assert report.resized == (Resized("pos", (4, 4), (3, 2), "bicubic"),)
    assert "4 x 4 to 3 x 2 patches, bicubic" in "\n".join(report.lines())


def test_a_report_lists_layers_once_and_counts_the_rest():
    names = [f"a.layer.{i}.{part}" for i in range(12) for part in "xyz"]
    assert listed(names) == "a.layer.#.x, a.layer.#.y, a.layer.#.z"
    assert listed(names, most=99).count(",") == 35
    assert listed(list("abcdefghij")) == "a, b, c, d, e, f, g, h and 2 more"


@pytest.mark.parametrize(("rows", "kept"), [(7, 7), (8, 8), (11, 9)])
def test_rows_of_added_tokens_stay_random_or_are_left_out(rows, kept):
    words = values(rows, 4)
    ours, report = convert(published(emb__weight=words, decoder__weight=words, pos_ids=None))
    np.testing.assert_array_equal(ours["words/embedding"], words[:kept])
    assert report.rows == (("words/embedding", rows, 9),)


def test_half_precision_comes_out_as_asked_and_only_what_is_wanted_is_filled():
    state = {
        key: x if x.dtype.kind == "i" else x.astype(np.float16) for key, x in published().items()
    }
    ours, report = convert(state, wanted={"words/embedding"}, dtype=np.float64)
    assert list(ours) == ["words/embedding"]
    assert ours["words/embedding"].dtype == np.float64
    np.testing.assert_array_equal(ours["words/embedding"], state["emb.weight"])
    assert "layer.0.w.weight" in report.unused


NAN = values(3, 4)
NAN[1, 1] = np.nan
HUGE = np.full((3, 4), 1e300)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"odd": values(2)}, r"no parameter of the config for odd"),
        ({"layer.3.w.weight": values(3, 4)}, r"layer\.3\.w\.weight: the file has more layers"),
        ({"layer.1.w.weight": None}, r"lacks layer\.1\.w\.weight, from which a_1/kernel should"),
        ({"emb.weight": None, "decoder.weight": None}, r"lacks emb\.weight, decoder\.weight"),
        ({"layer.2.qkv": values(9)}, r"layer\.2\.qkv is \[9\], the config needs \[12\] for b_0/q"),
        ({"layer.0.w.weight": values(4, 3)}, r"is \[4, 3\], the config needs \[3, 4\]"),
        ({"emb.weight": values(5, 4)}, r"emb\.weight has 5 rows, the vocabulary of the config 9"),
        ({"decoder.weight": values(9, 4)}, r"decoder\.weight is not the same as what fills words"),
        ({"pos_ids": np.arange(1, 10)[None]}, r"pos_ids is not what its shape says"),
        ({"pos": values(1, 13, 4)}, r"pos has 12 places in the file, .*3 x 2"),
        ({"layer.0.w.weight": NAN}, r"layer\.0\.w\.weight has values that are no finite float32"),
        ({"layer.0.w.weight": HUGE}, r"no finite float32"),
        ({"layer.0.w.weight": np.ones((3, 4), int)}, r"holds int64, it must be of floating"),
        ({"pos_ids": np.arange(9.0)[None]}, r"pos_ids holds float64, it must be of whole"),
    ],
)
def test_what_does_not_fit_is_told_in_one_sentence(change, message):
    with pytest.raises(ValueError, match=message) as error:
        convert(published(**change))
    assert str(error.value).startswith("x.pth: ")
    assert "\n" not in str(error.value)


def test_half_of_what_may_be_missing_is_an_error():
    target = Target(SHAPES | MEMORY, (3, 2))
    with pytest.raises(ValueError, match=r"lacks copy\.1\.w, from which memory/a_1/kernel"):
        convert(published(**{"copy.0.w": values(3, 4)}), target)
    with pytest.raises(ValueError, match="has queue without ptr"):
        convert(published(queue=values(5, 4)), target)


def test_patterns_of_a_config_must_match_a_key():
    state = published(odd=values(2))
    assert convert(state, unused=("o.d",))[1].unused == ("odd",)
    with pytest.raises(ValueError, match=r"start_rules\.unused: pattern 'even' matches no key"):
        convert(state, unused=("odd", "even"))


def test_parameters_that_a_file_has_no_place_for_are_refused_on_the_way_out():
    ours, _ = convert(published())
    with pytest.raises(ValueError, match="has no key for odd/kernel"):
        to_published(ours | {"odd/kernel": np.ones(2)}, KIND)
    with pytest.raises(ValueError, match="nothing is 0 in a toy, here it is not"):
        to_published(ours | {"nothing": np.ones(3)}, KIND)


# The tables themselves


def test_indexes_in_names_are_told_from_digits():
    assert skeleton("a.blocks.10.norm1.weight") == "a.blocks.#.norm1.weight"
    assert skeleton("a.blocks.{vit}.norm1.weight") == "a.blocks.#.norm1.weight"


def test_an_unknown_kind_is_told_with_those_that_are():
    with pytest.raises(ValueError, match=r"one of .*albef, .*: 'albeef'"):
        find("albeef")


@pytest.mark.parametrize("name", known())
def test_tables_are_well_formed(name):
    kind = find(name)
    assert kind.name == name
    assert kind.title
    assert kind.methods
    for text in (*kind.unused, *kind.fresh, *kind.spare, *kind.zeros, *kind.rows):
        re.compile(re.sub(r"\{[a-z]\w*\}", "0", text))
    names = [(e.published, e.ours) for e in (*kind.entries, *kind.also)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", known())
def test_a_kind_is_recognised_from_the_keys_of_its_own_table(name):
    kind = find(name)
    index = re.compile(r"\{\w+\}")
    keys = set()
    for entry in kind.entries:
        for key in (entry.published,) if isinstance(entry.published, str) else entry.published:
            keys.add(index.sub("0", key))
    for text in kind.unused:  # an example of each alternative, as these patterns are written
        keys |= {k for k in EXAMPLES if re.fullmatch(re.sub(r"\{[a-z]\w*\}", "0", text), k)}
    # Kinds may have the same keys, as those of Word4Per's networks for words have.
    assert [e.published for e in recognise(keys).entries] == [e.published for e in kind.entries]
    assert recognise(["some", "other", "keys"]) is None


# Keys that releases have and tables leave out.
EXAMPLES = ("prd_head.weight", "mrtd_head.weight", "text_encoder_m.encoder.layer.0.x", "head.bias",
            "text_decoder.cls.predictions.bias", "vision_proj_m.bias", "image_queue", "temp",
            "ptr_queue", "text_encoder_m.bert.encoder.layer.0.x", "text_encoder_m.cls.x",
            "cls.seq_relationship.bias", "bert.pooler.dense.bias")  # fmt: skip


def test_a_table_that_forgets_a_part_of_an_entry_is_refused():
    with pytest.raises(ValueError, match="kind toy: b_0/q/bias without b_0/k/bias"):
        table(KIND, [name for name in SHAPES if name != "b_0/k/bias"])
