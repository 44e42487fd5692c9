"""BERT, ViT and EVA-CLIP's ViT compute here what they compute in transformers.

tests/goldens/starts.npz is made by tools/goldens_starts.py: keys of state_dicts, outputs and
gradients in double precision; tests/published_state.py makes the values.
"""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxreid.models.bert import MLMHead, TextEncoder
from jaxreid.models.vit import ViT
from jaxreid.weights.convert import to_ours, to_published
from jaxreid.weights.names import find
from jaxreid.weights.recognise import recognise
from tests.converted import shapes, target
from tests.published_state import (
    HEADS,
    IMAGE,
    LAYERS,
    MLP,
    PATCH,
    POSITIONS,
    START_GRADIENTS,
    VIT_DEPTH,
    VOCABULARY,
    WIDTH,
    batch,
    probes,
    values,
)
from tests.released_networks import QUICK

GOLDEN = pathlib.Path(__file__).parent / "goldens" / "starts.npz"
GRID = (IMAGE // PATCH,) * 2
BERT = TextEncoder(
    vocabulary=VOCABULARY, width=WIDTH, depth=sum(LAYERS), heads=HEADS, mlp=MLP,
    max_positions=POSITIONS, dropout=0.0,
)  # fmt: skip
HEAD = MLMHead(WIDTH, VOCABULARY)
VIT = ViT((IMAGE, IMAGE), PATCH, WIDTH, VIT_DEPTH, HEADS, MLP)
EVA = VIT.clone(norm_epsilon=1e-5)
NORM = {"vit/norm/scale": "ln_vision.weight", "vit/norm/bias": "ln_vision.bias"}  # of BLIP-2


@functools.cache
def golden() -> dict[str, np.ndarray]:
    with np.load(GOLDEN) as file:
        return dict(file)


@functools.cache
def network(kind: str) -> dict:
    """Shapes of what a file fills."""
    images, tokens = batch()
    if kind != "bert":
        return {"vit": shapes(VIT, images)}
    words = np.zeros((VOCABULARY, WIDTH), np.float32)
    head = shapes(HEAD, np.zeros((1, WIDTH), np.float32), words)
    return {"text": shapes(BERT, tokens, tokens != 0), "mlm": head}


def state_of(kind: str) -> dict[str, np.ndarray]:
    lines = (line.split() for line in golden()[f"{kind}/tiny"].tolist())
    return values({key: tuple(map(int, shape)) for key, *shape in lines})


def filled(kind: str, dtype=np.float32):
    """Our parameters by name, their report, and the state_dict."""
    state = state_of(kind)
    norm = {name: state.pop(key).astype(dtype) for name, key in NORM.items() if key in state}
    made = target(network(kind), GRID)
    wanted = set(made.shapes) - set(norm)
    arrays, report = to_ours(state, find(kind), made, source="x", wanted=wanted, dtype=dtype)
    return arrays | norm, report, state


def run_bert(params, tokens, probe):
    """As tools/goldens_starts.py has it."""
    mask = tokens != 0
    hidden = BERT.apply({"params": params["text"]}, tokens, mask)
    table = params["text"]["embeddings"]["word_embeddings"]["embedding"]
    words = HEAD.apply({"params": params["mlm"]}, hidden[:, :3], table)
    chance = jax.nn.log_softmax(words[:, 1])
    mlm = -jnp.take_along_axis(chance, tokens[:, 1:2], axis=1).mean()
    hidden = hidden * mask[:, :, None]
    loss = mlm + (hidden * probe).sum(-1).mean()
    return loss, {"hidden": hidden, "words": words, "mlm": mlm, "loss": loss}


def run_vit(model, params, images, probe):
    """As tools/goldens_starts.py has it."""
    tokens = model.apply({"params": params["vit"]}, images)
    loss = (tokens * probe).sum(-1).mean()
    return loss, {"tokens": tokens, "loss": loss}


@functools.partial(jax.jit, compiler_options=QUICK)
def run(params, images, tokens, image_probe, text_probe):
    """(gradients, outputs) of all kinds: a sum of losses that have no parameter in common."""

    def loss(params):
        found = {
            "bert": run_bert(params["bert"], tokens, text_probe),
            "vit": run_vit(VIT, params["vit"], images, image_probe),
            "eva": run_vit(EVA, params["eva"], images, image_probe),
        }
        return sum(x[0] for x in found.values()), {kind: x[1] for kind, x in found.items()}

    return jax.grad(loss, has_aux=True)(params)


def differences(dtype=np.float32) -> dict[str, float]:
    """Largest differences of outputs and gradients, as shares of the largest values or of 1."""
    images, tokens = batch()
    trees = {kind: unflatten_dict(filled(kind, dtype)[0], sep="/") for kind in START_GRADIENTS}
    probe = {name: x.astype(dtype) for name, x in probes().items()}
    gradients, found = run(trees, images.astype(dtype), tokens, probe["image"], probe["text"])
    result = {}
    for kind, keys in START_GRADIENTS.items():
        flat = flatten_dict(gradients[kind], sep="/")
        flat = {n: np.asarray(x) for n, x in flat.items()}
        if kind == "eva":  # the norm is of another file; keys have no bias, whose gradient is 0
            flat = {n: x for n, x in flat.items() if n not in NORM}
            for name in [n for n in flat if n.endswith("key/bias")]:
                assert np.abs(flat[name]).max() < 1e-6
                flat[name] = np.zeros_like(flat[name])
        published, _ = to_published(flat, find(kind))
        here = found[kind] | {f"gradient/{key}": published[key] for key in keys}
        want = {k.removeprefix(f"{kind}/"): x for k, x in golden().items() if k.startswith(kind)}
        assert set(here) == set(want) - {"tiny"}
        for name, value in here.items():
            assert value.shape == want[name].shape, name
            scale = max(np.abs(want[name]).max(), 1)
            result[f"{kind}/{name}"] = float(np.abs(value - want[name]).max() / scale)
    return result


@pytest.fixture(scope="module")
def result():
    return differences()


@pytest.mark.parametrize("kind", START_GRADIENTS)
def test_features_losses_and_gradients_equal_transformers(kind, result):
    mine = {name: x for name, x in result.items() if name.startswith(f"{kind}/")}
    assert len(mine) >= 5
    for name, difference in mine.items():
        assert difference < 1e-5, f"{name} differs by {difference:.1e}"


@pytest.mark.parametrize("kind", START_GRADIENTS)
def test_what_comes_back_is_what_was_read(kind):
    arrays, report, state = filled(kind)
    assert recognise(state).name == kind
    assert not report.fresh
    assert not report.unused
    arrays = {name: x for name, x in arrays.items() if name not in NORM or kind == "vit"}
    published, left = to_published(arrays, find(kind))
    assert not left
    # New versions of transformers do not save positions of words, of older ones BERT has them.
    assert published.keys() - {"bert.embeddings.position_ids"} == state.keys()
    for key, value in state.items():
        np.testing.assert_array_equal(published[key], value)
