"""Tables of DiaNA's and FAFA's checkpoints, and of what they start from, at full size and back.

That converted weights compute the same is in test_swin.py, test_llama.py, test_diana.py,
test_fafa.py and, in double precision, in test_weights_double.py. tests/goldens/diana_keys.npz is
made by tools/goldens_swin_llama.py; fafa_keys.npz has the names and shapes that the classes of
Delong-liu-bupt/Composed_Person_Retrieval at commit 0cc1693 make:
FAFA_SynCPR/src/lavis/models/eva_vit.py, blip2_models/Qformer.py and blip2_fafa_cpr.py.
"""

import json
import pathlib
from functools import partial

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from safetensors.numpy import load_file, save_file

from configs import diana, fafa
from jaxreid.config import check_needed
from jaxreid.data.text import SPECIAL
from jaxreid.published import fill, open_sources
from jaxreid.streams.dialogue_network import make_dialogue_network
from jaxreid.streams.query_former import init_query_former, make_query_former
from jaxreid.weights.convert import Target, published_shapes, to_ours, to_published
from jaxreid.weights.names import find
from jaxreid.weights.recognise import recognise
from tools import convert_weights

GOLDENS = pathlib.Path(__file__).parent / "goldens"
LLAMA_VOCABULARY = 128_256


def listed(name):
    """Keys and shapes of a checkpoint."""
    with np.load(GOLDENS / f"{name}_keys.npz") as arrays:
        shapes = map(json.loads, arrays["shapes"].tolist())
        return dict(zip(arrays["keys"].tolist(), map(tuple, shapes), strict=True))


def flat(tree) -> dict:
    """Shapes of a tree by name."""
    return {name: leaf.shape for name, leaf in flatten_dict(tree, sep="/").items()}


def diana_shapes(config, vocabulary) -> dict:
    """Names and shapes of the parameters of DiaNA."""
    images = jax.ShapeDtypeStruct((1, *config.image.size, 3), np.float32)
    tokens, mask = (jax.ShapeDtypeStruct((1, 8), kind) for kind in (np.int32, bool))
    model = make_dialogue_network(config, vocabulary)
    params = jax.eval_shape(model.init, jax.random.key(0), images, tokens, mask)["params"]
    return flat(params) | {"logit_scale": ()}


def fafa_shapes(vocabulary) -> dict:
    """Names and shapes of the parameters of FAFA at its full size."""
    model = make_query_former(fafa.get_config("syncpr"), vocabulary)
    init = partial(init_query_former, model, max_tokens=8, temperature=0.07)
    return flat(jax.eval_shape(init, jax.random.key(0)))


@pytest.fixture(scope="module")
def full_fafa():
    return fafa_shapes(30_523)


# At full size


def test_diana_at_full_size_has_the_keys_and_shapes_of_its_release():
    shapes, keys = diana_shapes(diana.get_config("released"), LLAMA_VOCABULARY), listed("diana")
    assert sum(int(np.prod(shape)) for shape in shapes.values()) == (
        86_893_816 + 1_235_814_400 + 1025 * 768 + 2049 * 768 + 16_550_400 + 1
    )
    assert len(keys) == 651
    assert published_shapes(shapes, find("diana")) == keys
    for kind, prefix, ours in (
        ("swin", "vision_model.", "vit/"), ("llama", "llama.", "text/"),
    ):  # fmt: skip
        part = {name: shape for name, shape in shapes.items() if name.startswith(ours)}
        before = "swinv2." if kind == "swin" else ""
        own = {before + k.removeprefix(prefix): s for k, s in keys.items() if k.startswith(prefix)}
        assert published_shapes(part, find(kind)) == own
        assert recognise(own).name == kind
    assert recognise(keys).name == "diana"


def test_fafa_at_full_size_has_the_keys_and_shapes_of_its_release(full_fafa):
    keys = listed("fafa")
    assert len(keys) == 861
    not_ours = {k for k in keys if k.startswith(("Qformer.cls.", "itm_head."))}
    assert published_shapes(full_fafa, find("fafa")) == {
        key: shape for key, shape in keys.items() if key not in not_ours
    }
    blip2 = {key: shape for key, shape in keys.items() if "mlm_predictor" not in key}
    eva = {
        key.removeprefix("visual_encoder."): shape
        for key, shape in keys.items()
        if key.startswith("visual_encoder.")
    }
    for name, known in (("fafa", keys), ("blip2", blip2), ("eva", eva)):
        assert recognise(known).name == name
    vit = {name: shape for name, shape in full_fafa.items() if name.startswith("vit/")}
    encoder = {name: shape for name, shape in vit.items() if not name.startswith("vit/norm/")}
    assert published_shapes(encoder, find("eva")) == eva


# Tiny


def tiny_diana(**fields):
    """The recipe of the release with small encoders."""
    config = diana.get_config("released")
    config.image.size = (32, 16)
    config.model.embedding = 8
    config.model.swin.update(patch=4, width=4, depths=(1, 2), heads=(1, 2), window=4, mlp_ratio=2)
    config.model.llama.update(width=8, depth=2, heads=2, key_heads=1, mlp=12)
    config.diana.update(dict(attributes=3, refiner_depth=2, refiner_heads=2) | fields)
    return config


def random_state(shapes):
    rng = np.random.default_rng(0)
    return {key: np.float32(rng.normal(size=shape)) for key, shape in shapes.items()}


@pytest.fixture(scope="module")
def shapes():
    return diana_shapes(tiny_diana(), 21)


def test_dianas_weights_come_back_as_they_were(shapes):
    state = random_state(published_shapes(shapes, find("diana")))
    ours, report = to_ours(state, find("diana"), Target(shapes), source="x")
    assert {name: x.shape for name, x in ours.items()} == shapes
    assert set(report.used) == set(state)
    again, left = to_published(ours, find("diana"))
    assert not left
    assert again.keys() == state.keys()
    for key, value in state.items():
        np.testing.assert_array_equal(again[key], value)


def test_queries_of_pretraining_are_left_and_those_of_fine_tuning_stay_random(shapes):
    state = random_state(published_shapes(shapes, find("diana")))
    state["refiner.query_token"] = np.zeros((1, 24, 8), np.float32)
    del state["refiner.attr_query_token"]
    ours, report = to_ours(state, find("diana"), Target(shapes), source="x")
    assert report.fresh == ("refiner/queries",)
    assert report.unused == ("refiner.query_token",)
    assert set(shapes) - set(ours) == {"refiner/queries"}


def test_a_network_without_refiner_leaves_that_of_the_file(shapes):
    state = random_state(published_shapes(shapes, find("diana")))
    bare = diana_shapes(tiny_diana(refiner="none"), 21)
    ours, report = to_ours(state, find("diana"), Target(bare), source="x")
    assert set(ours) == set(bare)
    assert set(report.unused) == {key for key in state if key.startswith("refiner.")}


def test_encoders_start_from_files_of_their_own(shapes):
    part = {name: shape for name, shape in shapes.items() if name.startswith("vit/")}
    swin = random_state(published_shapes(part, find("swin")))
    head = {"classifier.weight": np.zeros((9, 8), np.float32), "classifier.bias": np.zeros(9)}
    index = {
        "swinv2.encoder.layers.0.blocks.0.attention.self.relative_position_index": np.arange(4)
    }
    bare = {key.removeprefix("swinv2."): x for key, x in swin.items()}
    names = set(part)
    for state in (swin, swin | head | index, bare):
        ours, _ = to_ours(state, find("swin"), Target(shapes), source="x", wanted=names)
        assert set(ours) == names
    part = {name: shape for name, shape in shapes.items() if name.startswith("text/")}
    llama = random_state(published_shapes(part, find("llama")))
    names = set(part)
    untied = {f"model.{key}": x for key, x in llama.items()} | {"lm_head.weight": np.zeros((21, 8))}
    for state in (llama, untied):
        ours, _ = to_ours(state, find("llama"), Target(shapes), source="x", wanted=names)
        assert set(ours) == names


def test_an_encoder_can_be_written_alone(shapes):
    arrays = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    for kind, ours in (("swin", "vit/"), ("llama", "text/")):
        part = {name: shape for name, shape in shapes.items() if name.startswith(ours)}
        published, left = to_published(arrays, find(kind))
        assert {key: x.shape for key, x in published.items()} == published_shapes(part, find(kind))
        assert set(left) == set(shapes) - set(part)
    with pytest.raises(ValueError, match=r"kind eva\) has no key for image_proj/bias"):
        to_published({name: x for name, x in arrays.items() if name[:3] != "vit"}, find("eva"))


def fafa_state(kind):
    """A tiny checkpoint of BLIP-2's network, and the names and shapes of ours."""
    config = fafa.get_config("syncpr")
    config.image.size = (28, 28)
    config.model.embedding = 8
    config.model.vit.update(patch=14, width=8, depth=2, heads=2, mlp=12)
    config.model.bert.update(width=8, text_depth=2, cross_depth=1, heads=2, mlp=12, max_positions=9)
    config.fafa.queries = 3
    model = make_query_former(config, 11)
    init = partial(init_query_former, model, max_tokens=8, temperature=0.07)
    shapes = flat(jax.eval_shape(init, jax.random.key(0)))
    state = random_state(published_shapes(shapes, find(kind)) if kind == "fafa" else {})
    if kind == "fafa":
        state["Qformer.bert.embeddings.position_ids"] = np.arange(9)[None]
    return state, shapes


def test_fafas_weights_come_back_as_they_were_and_keys_have_no_bias():
    state, shapes = fafa_state("fafa")
    state["Qformer.cls.predictions.bias"] = np.zeros(11, np.float32)
    state["itm_head.bias"] = np.zeros(2, np.float32)
    target = Target(shapes, (2, 2))
    ours, report = to_ours(state, find("fafa"), target, source="x")
    assert {name: x.shape for name, x in ours.items()} == shapes
    assert report.unused == ("Qformer.cls.predictions.bias", "itm_head.bias")
    np.testing.assert_array_equal(ours["vit/blocks_1/attn/key/bias"], 0)
    again, left = to_published(ours, find("fafa"))
    assert not left
    assert set(state) - set(again) == set(report.unused)
    for key, value in again.items():
        np.testing.assert_array_equal(value, state[key])
    ours["vit/blocks_1/attn/key/bias"] = ours["vit/blocks_1/attn/key/bias"] + 1
    with pytest.raises(ValueError, match="vit/blocks_1/attn/key/bias is 0 in FAFA's"):
        to_published(ours, find("fafa"))


def test_blip_2_has_no_predictor_and_may_lack_its_frozen_encoder():
    state, shapes = fafa_state("fafa")
    state = {key: x for key, x in state.items() if not key.startswith("mlm_predictor")}
    target = Target(shapes, (2, 2))
    ours, report = to_ours(state, find("blip2"), target, source="x")
    assert set(report.fresh) == {name for name in shapes if name.startswith("predictor/")}
    encoder = {k: x for k, x in state.items() if k.startswith("visual_encoder.")}
    rest = {key: x for key, x in state.items() if key not in encoder}
    ours, report = to_ours(rest, find("blip2"), target, source="x")
    vit = {n for n in shapes if n.startswith("vit/") and not n.startswith("vit/norm/")}
    zeros = {name for name in vit if name.endswith("attn/key/bias")}  # EVA-CLIP has none
    assert vit - set(report.fresh) == zeros
    assert not any(ours[name].any() for name in zeros)
    assert "vit/norm/scale" in ours
    # Its file has a block more than BLIP-2 reads, and a head.
    eva = {key.removeprefix("visual_encoder."): x for key, x in encoder.items()}
    eva |= {"blocks.39.norm1.weight": np.ones(8), "head.bias": np.ones(3)}
    ours, _ = to_ours(eva, find("eva"), target, source="x", wanted=vit)
    assert set(ours) == vit


def test_words_that_blip_2_adds_are_left_out_where_the_tokenizer_has_them_not():
    state, shapes = fafa_state("fafa")
    name = "qformer/embeddings/word_embeddings/embedding"
    state["Qformer.bert.embeddings.word_embeddings.weight"] = np.zeros((12, 8), np.float32)
    ours, report = to_ours(state, find("fafa"), Target(shapes, (2, 2)), source="x")
    assert ours[name].shape == (11, 8)
    assert report.rows == ((name, 12, 11),)


def test_a_missing_layer_is_told(shapes):
    state = random_state(published_shapes(shapes, find("diana")))
    del state["llama.layers.1.mlp.up_proj.weight"]
    with pytest.raises(
        ValueError,
        match=r"lacks llama\.layers\.1\.mlp\.up_proj\.weight, .* text/layer_1/up/kernel",
    ):
        to_ours(state, find("diana"), Target(shapes), source="x")


# Where a run starts


def recipe(get_config, *states, folder):
    """A recipe that starts from files of states."""
    paths = [str(folder / f"{i}.safetensors") for i in range(len(states))]
    for path, state in zip(paths, states, strict=True):
        save_file({key: np.asarray(x, order="C") for key, x in state.items()}, path)
    config = get_config()
    config.start = ",".join(paths)
    return config


def test_diana_starts_from_the_files_of_its_encoders_or_from_its_own(shapes, tmp_path):
    parts = [
        random_state(
            published_shapes({n: s for n, s in shapes.items() if n.startswith(ours)}, find(kind))
        )
        for kind, ours in (("swin", "vit/"), ("llama", "text/"))
    ]
    config = recipe(lambda: diana.get_config("released"), *parts, folder=tmp_path)
    sources, fresh = open_sources(config), tuple(config.start_rules.fresh)
    assert [source.kind.name for source in sources] == ["swin", "llama"]
    filled = fill(sources, shapes, (8, 4), fresh)
    assert {name.split("/")[0] for name in filled.arrays} == {"vit", "text"}
    assert {name.split("/")[0] for name in filled.fresh} == {
        "image_proj", "text_proj", "refiner", "logit_scale",
    }  # fmt: skip
    with pytest.raises(ValueError, match="fills a part of the network alone"):
        fill(sources[:1], shapes, (8, 4), fresh)
    whole = random_state(published_shapes(shapes, find("diana")))
    config = recipe(lambda: diana.get_config("released"), whole, folder=tmp_path)
    assert fill(open_sources(config), shapes, (8, 4), fresh).fresh == ()


def test_the_tool_writes_what_dianas_release_would_read_again(shapes, tmp_path, capsys):
    (tmp_path / "tiny.py").write_text(
        "from tests.test_weights_diana_fafa import tiny_diana\n"
        "def get_config(variant=''):\n    return tiny_diana()\n"
    )
    vocabulary = tmp_path / "vocabulary"
    vocabulary.mkdir()
    words = [*SPECIAL, *(f"word{i}" for i in range(21 - len(SPECIAL)))]
    (vocabulary / "vocab.txt").write_text("\n".join(words) + "\n")
    state = random_state(published_shapes(shapes, find("diana")))
    path = str(tmp_path / "model.safetensors")
    save_file({key: np.asarray(x, order="C") for key, x in state.items()}, path)
    out, back = str(tmp_path / "ours"), str(tmp_path / "back.safetensors")
    arguments = ["--config", str(tmp_path / "tiny.py"), "--tokenizer", str(vocabulary)]
    assert convert_weights.main([path, *arguments, "--out", out]) == 0, capsys.readouterr().err
    assert "DiaNA's checkpoint (Flame-Chasers/DiaNA) (kind diana)" in capsys.readouterr().out
    assert convert_weights.main(["--back", out, "--kind", "diana", "--out", back]) == 0
    again = load_file(back)
    assert again.keys() == state.keys()
    for key, value in state.items():
        np.testing.assert_array_equal(again[key], value)


@pytest.mark.parametrize("eva_first", [True, False])
def test_fafa_starts_from_blip_2_and_its_image_encoder(tmp_path, eva_first):
    state, shapes = fafa_state("fafa")
    state = {key: x for key, x in state.items() if not key.startswith("mlm_predictor")}
    eva = {
        key.removeprefix("visual_encoder."): x
        for key, x in state.items()
        if key.startswith("visual_encoder.")
    }
    rest = {key: x for key, x in state.items() if not key.startswith("visual_encoder.")}
    rest["Qformer.cls.predictions.bias"] = np.zeros(11, np.float32)
    states = (eva, rest) if eva_first else (rest, eva)
    config = recipe(lambda: fafa.get_config("syncpr"), *states, folder=tmp_path)
    sources = open_sources(config)
    assert {source.kind.name for source in sources} == {"eva", "blip2"}
    filled = fill(sources, shapes, (2, 2))
    assert set(filled.fresh) == {name for name in shapes if name.startswith("predictor/")}
    np.testing.assert_array_equal(filled.arrays["vit/cls_token"], eva["cls_token"])


@pytest.mark.parametrize(
    ("config", "file"),
    [
        (diana.get_config("released"), "swinv2-base-patch4-window12-192-22k"),
        (diana.get_config("chatpedes"), "deit_base_patch16_224-b5f2ef4d.pth"),
        (fafa.get_config("syncpr"), "blip2_pretrained.pth"),
    ],
)
def test_a_recipe_tells_what_it_starts_from(config, file):
    with pytest.raises(ValueError, match=f"this recipe starts from .*{file}"):
        check_needed(config)
