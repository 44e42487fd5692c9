"""Weights of ALBEF, RaSa, BLIP and CADA compute in our networks what they compute in theirs.

tests/goldens/releases.npz has numbers alone, made by running the code of salesforce/ALBEF@b9727e4
(models/model_pretrain.py, model_retrieval.py), Flame-Chasers/RaSa@bd16aa1
(models/model_person_search.py), salesforce/BLIP@056a169 (models/blip_pretrain.py,
blip_retrieval.py) and LinDixuan/CADA@1087f33 (models/cada.py) at tiny sizes in double precision,
and the keys of their state_dicts.
"""

import functools
import pathlib

import numpy as np
import pytest

from configs import albef, cada
from jaxreid.weights.convert import Target, published_shapes, to_ours, to_published
from jaxreid.weights.names import find
from jaxreid.weights.recognise import recognise
from tests import released_networks as networks
from tests.published_state import IMAGE, PATCH, batch, gradient_keys, values

ROOT = pathlib.Path(__file__).parents[1]
GRID = (IMAGE // PATCH,) * 2
OF_BLIP = ("blip", "blip_retrieval", "cada")
KINDS = ("albef", "albef_retrieval", "rasa", *OF_BLIP)


def golden() -> dict[str, np.ndarray]:
    with np.load(ROOT / "tests" / "goldens" / "releases.npz") as file:
        return dict(file)


GOLDEN = golden()


def listed(kind: str, size: str) -> dict[str, tuple[int, ...]]:
    """Keys and shapes of a release."""
    lines = (line.split() for line in GOLDEN[f"{kind}/{size}"].tolist())
    return {key: tuple(map(int, shape)) for key, *shape in lines}


def shapes_of(*trees) -> dict[str, tuple[int, ...]]:
    """Shapes by name, of a second tree as memory."""
    names = ("", "memory/")
    return {p + n: x.shape for p, t in zip(names, trees, strict=False)
            for n, x in networks.named(t).items()}  # fmt: skip


@functools.cache
def tiny_network(blip: bool) -> tuple:
    """A tiny network and the shapes of its parameters, of ALBEF's memory too."""
    return networks.dual_association() if blip else networks.align_fuse()


def made(kind: str, dtype=np.float32):
    """The network of a kind with the weights of the tiny release, and all that was converted."""
    model, *trees = tiny_network(kind in OF_BLIP)
    if kind in OF_BLIP:
        lacking = {"cada": (), "blip": ("itm_local_head",)}.get(
            kind, ("itm_local_head", "mlm", "text_decoder")
        )
    else:
        lacking = ("mlm",) if kind == "albef_retrieval" else ()
    state = values(listed(kind, "tiny"))
    arrays, report = to_ours(
        state, find(kind), Target(shapes_of(*trees), GRID), source="x.pth", dtype=dtype
    )
    fresh = {n: np.full(shapes_of(*trees)[n], 0.1, dtype) for n in report.fresh}
    assert {name.split("/")[0] for name in fresh if not name.startswith("memory")} == set(lacking)
    params = networks.filled(trees[0], arrays | fresh)
    memory = networks.filled(trees[1], arrays | fresh, "memory/") if trees[1:] else None
    return model, params, memory, arrays, state


def differences(kind: str, dtype=np.float32) -> dict[str, float]:
    """Largest differences of outputs and of gradients, as shares of the largest values."""
    model, params, memory, _, _ = made(kind, dtype)
    images, tokens = batch()
    if kind == "albef_retrieval":
        metrics, after, gradients = networks.run_global_alignment(
            model, params, memory, images.astype(dtype), tokens
        )
        found = {"ita": metrics["itc"], "itm": metrics["itm"]}
        names = networks.named(after)
        kept, _ = to_published(
            {n: np.asarray(x) for n, x in networks.named(params).items()}
            | {f"memory/{n}": np.asarray(x) for n, x in names.items()},
            find(kind),
        )
        found |= {k[len("albef_retrieval/") :]: kept[k.split("after/")[1]] for k in GOLDEN
                  if k.startswith("albef_retrieval/after/")}  # fmt: skip
        for queue in ("image_queue", "text_queue", "idx_queue"):
            # Of one batch theirs has the last row behind, ours the first row in front.
            rows = found[f"after/{queue}"]
            found[f"after/{queue}"] = np.concatenate([rows[:, :2], rows[:, :1:-1]], axis=1)
    elif kind in OF_BLIP:  # one program for all: a retrieval checkpoint has no words
        with_words = dtype(kind != "blip_retrieval")
        found, gradients = networks.run_dual_association(
            model, params, images.astype(dtype), tokens, with_words
        )
        found = {name: x for name, x in found.items() if name != "words" or with_words}
    else:
        found, gradients = networks.run_align_fuse(model, params, images.astype(dtype), tokens)
    flat = {name: np.asarray(x) for name, x in networks.named(gradients).items()}
    published, _ = to_published(flat, find(kind))
    found |= {f"gradient/{key}": published[key] for key in gradient_keys(published)}
    if kind == "blip":  # there the decoder has the same cross-attention
        key = gradient_keys(published)[2]
        other = key.replace("text_encoder.", "text_decoder.bert.")
        found[f"gradient/{key}"] = published[key] + published[other]
    stored = {k.removeprefix(f"{kind}/") for k in GOLDEN if k.startswith(f"{kind}/")}
    assert set(found) == stored - {"full", "tiny"}
    result = {}
    for name, value in found.items():
        want = GOLDEN[f"{kind}/{name}"]
        assert value.shape == want.shape, name
        result[name] = float(np.abs(value - want).max() / max(np.abs(want).max(), 1e-30))
    return result


@pytest.mark.parametrize("kind", KINDS)
def test_features_losses_and_gradients_are_those_of_the_release(kind):
    for name, difference in differences(kind).items():
        assert difference < 1e-5, f"{name} differs by {difference:.1e}"


@pytest.mark.parametrize("kind", KINDS)
def test_what_comes_back_is_what_was_read(kind):
    *_, arrays, state = made(kind)
    published, _ = to_published(arrays, find(kind))
    # Our memory turns the queues so that their pointer is 0.
    turned = {"image_queue": 1, "text_queue": 1, "idx_queue": 1, "queue_ptr": 0}
    assert published
    for key, value in published.items():
        want = np.roll(state[key], 2, axis=1) if turned.get(key) else state[key]
        want = want * 0 if key == "queue_ptr" else want
        np.testing.assert_array_equal(value, want)
        assert value.dtype == want.dtype


# At full size


FULL = {
    "albef": 844, "albef_retrieval": 831, "rasa": 849, "blip": 1272, "blip_retrieval": 949,
    "cada": 799,
}  # fmt: skip


@functools.cache
def paper_network(blip: bool) -> Target:
    """The network of the paper."""
    if blip:
        config = cada.get_config("released-cuhk_pedes")
        _, *trees = networks.dual_association(config, 30522)
    else:
        config = albef.get_config("cuhk_pedes-384x128")
        _, *trees = networks.align_fuse(config, 30522)
    grid = tuple(side // config.model.vit.patch for side in config.image.size)
    return Target(shapes_of(*trees), grid)


def full_size(kind: str) -> tuple[Target, dict[str, np.ndarray]]:
    """The network of the paper, and a state_dict that takes no memory."""
    state = {}
    for key, shape in listed(kind, "full").items():
        whole = key.endswith("ptr") or key in ("idx_queue", "ptr_queue")
        state[key] = np.broadcast_to(np.int64(0) if whole else np.float32(0), shape)
        if key.endswith("position_ids"):
            state[key] = np.arange(shape[1])[None]
    return paper_network(kind in OF_BLIP), state


@pytest.mark.parametrize("kind", FULL)
def test_every_key_of_the_release_at_full_size_is_known(kind):
    target, state = full_size(kind)
    assert len(state) == FULL[kind]
    assert recognise(state).name == kind
    # Positions are resized in test_positions; the rest takes no time.
    wanted = {n for n in target.shapes if "pos_embed" not in n}
    arrays, report = to_ours(state, find(kind), target, source="x.pth", wanted=wanted)
    for name, array in arrays.items():
        assert array.shape == target.shapes[name]
    assert set(report.filled) | set(report.fresh) == wanted
    assert set(report.used) | set(report.equal) | set(report.unused) == set(state)


def test_the_keys_that_we_write_are_those_of_the_release():
    target, state = full_size("cada")
    written = published_shapes(target.shapes, find("cada"))
    assert written == {key: x.shape for key, x in state.items()}
    target, state = full_size("albef_retrieval")
    written = published_shapes(target.shapes, find("albef_retrieval"))
    missing = set(state) - set(written)
    assert missing == {key for key in state if ".layer." in key and "_m." in key
                       and int(key.split("layer.")[1].split(".")[0]) > 5}  # fmt: skip
    different = {key for key, shape in written.items() if state[key].shape != shape}
    assert different == {f"visual_encoder{m}.pos_embed" for m in ("", "_m")}


def test_a_file_of_another_kind_is_named_before_anything_is_made():
    target, _ = full_size("albef_retrieval")
    _, state = full_size("blip")
    with pytest.raises(ValueError, match=r"looks like a pretrained checkpoint of BLIP .* \(kind "
                       r"blip\), kind albef was asked for"):  # fmt: skip
        to_ours(state, find("albef"), target, source="x.pth")


def test_the_paper_s_cada_starts_from_blip_without_its_decoder_and_its_two_tokens():
    config = cada.get_config("cuhk_pedes")
    _, params = networks.dual_association(config, 30522)
    target = Target(shapes_of(params), (14, 14))
    _, state = full_size("blip")
    arrays, report = to_ours(state, find("blip"), target, source="x.pth")
    assert set(target.shapes) - set(arrays) == {"itm_local_head/kernel", "itm_local_head/bias"}
    for name, array in arrays.items():
        assert array.shape == target.shapes[name]
    words = "text/embeddings/word_embeddings/embedding"
    assert set(report.rows) == {(words, 30524, 30522), ("mlm/bias", 30524, 30522)}
    decoder = {key for key in state if key.startswith("text_decoder.bert.")}
    assert decoder <= set(report.unused)
    assert not any(key.startswith(("visual_encoder.", "text_encoder.")) for key in report.unused)


# Files that the pretraining of others starts from


def bert_state() -> tuple[dict, dict]:
    """(a state_dict of transformers' BertForMaskedLM, shapes of our text and cross encoder)."""
    state = values(listed("albef", "tiny"))
    state = {
        key.removeprefix("text_encoder."): value
        for key, value in state.items()
        if key.startswith("text_encoder.") and "crossattention" not in key
    }
    shapes = shapes_of(networks.align_fuse()[1])
    keep = ("text/", "cross/", "mlm/")
    return state, {name: shape for name, shape in shapes.items() if name.startswith(keep)}


@pytest.mark.parametrize("form", ["new", "old", "encoder"])
def test_bert_gives_what_albef_s_bert_gives_but_for_the_cross_attention(form):
    """ALBEF keeps the names of BERT, and its outputs are compared above."""
    *_, arrays, _ = made("albef")
    state, shapes = bert_state()
    names = {
        "new": lambda key: key,
        "old": lambda key: key.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ),
        "encoder": lambda key: key.removeprefix("bert."),
    }
    state = {names[form](k): x for k, x in state.items() if form != "encoder" or k[:4] == "bert"}
    pooler = "" if form == "encoder" else "bert."
    state[f"{pooler}pooler.dense.weight"] = np.ones((2, 2), np.float32)
    assert recognise(state).name == "bert"
    found, report = to_ours(state, find("bert"), Target(shapes), source="x.bin")
    lacking = {n for n in shapes if "crossattention" in n or (form == "encoder" and n[:3] == "mlm")}
    assert set(report.fresh) == lacking
    assert set(found) == set(shapes) - lacking
    for name, value in found.items():
        np.testing.assert_array_equal(value, arrays[name])


def test_bert_at_full_size_has_its_keys():
    target, _ = full_size("albef")
    keep = ("text/", "cross/", "mlm/")
    written = published_shapes(
        {n: s for n, s in target.shapes.items() if n.startswith(keep)}, find("bert")
    )
    release = {
        key.removeprefix("text_encoder."): shape
        for key, shape in listed("albef", "full").items()
        if key.startswith("text_encoder.") and "crossattention" not in key
    }
    assert written == release
    assert len(written) == 205


def test_deit_gives_the_image_encoder_at_another_size():
    target, _ = full_size("albef")
    shapes = {n: s for n, s in target.shapes.items() if n.startswith("vit/")}
    state = {k: np.broadcast_to(np.float32(0.5), s) for k, s in published_shapes(
        shapes | {"vit/pos_embed": (1, 197, 768)}, find("vit")).items()}  # fmt: skip
    assert len(state) == 150
    state |= {"head.weight": np.zeros((1000, 768)), "head.bias": np.zeros(1000)}
    assert recognise(state).name == "vit"
    arrays, report = to_ours(state, find("vit"), target, source="deit.pth")
    assert set(arrays) == set(shapes)
    assert arrays["vit/pos_embed"].shape == (1, 193, 768)
    assert report.resized[0][1:] == ((14, 14), (24, 8), "bicubic")
    assert report.unused == ("head.bias", "head.weight")
