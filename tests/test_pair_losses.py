"""SDM, ITC, CMPM, CMPC and ID against float64 and the public releases.

tests/goldens/irra.npz: outputs of anosorae/IRRA@cfc2378 (model/objectives.py, model/build.py) and
labyrinth7x/Deep-Cross-Modal-Projection-Learning-for-Image-Text-Matching@4651c1b (utils/metric.py)
on random arrays.
"""

import pathlib
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreid.losses.clip_itc import clip_itc
from jaxreid.losses.cmpc import cmpc_loss
from jaxreid.losses.cmpm import cmpm_loss
from jaxreid.losses.identity import identity_loss
from jaxreid.losses.sdm import sdm_loss

GOLDEN = pathlib.Path(__file__).parent / "goldens" / "irra.npz"
EPSILON = 1e-8


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as arrays:
        return {name: arrays[name] for name in arrays.files if not name.startswith("cross/")}


@pytest.fixture(scope="module")
def pairs(golden):
    """(image, text, person_id): unequal norms, a person with three rows."""
    image, text, ids = (golden[f"pairs/{name}"] for name in ("image", "text", "person_id"))
    norms = np.linalg.norm(image, axis=1)
    assert norms.max() > 2 * norms.min()
    assert sorted(np.unique(ids, return_counts=True)[1]) == [1, 2, 3]
    return image, text, ids


# Loops in float64


def softmax(row):
    e = np.exp(row - row.max())
    return e / e.sum()


def cross_entropy(row, label):
    return -np.log(softmax(row)[label])


def slow_divergence(logits, ids, power):
    total = 0.0
    for i, row in enumerate(logits):
        same = np.array([float(a == ids[i]) for a in ids])
        target = same / same.sum() ** power
        p = softmax(row)
        total += sum(p[j] * (np.log(p[j]) - np.log(target[j] + EPSILON)) for j in range(len(ids)))
    return total / len(ids)


def slow_sdm(image, text, ids, scale):
    v = [x / np.linalg.norm(x) for x in image]
    t = [x / np.linalg.norm(x) for x in text]
    logits = scale * np.array([[a @ b for b in t] for a in v])
    return slow_divergence(logits, ids, 1.0) + slow_divergence(logits.T, ids, 1.0)


def slow_cmpm(image, text, ids, power):
    on_text = np.array([[a @ b / np.linalg.norm(b) for b in text] for a in image])
    on_image = np.array([[b @ a / np.linalg.norm(a) for a in image] for b in text])
    return slow_divergence(on_text, ids, power) + slow_divergence(on_image, ids, power)


def slow_cmpc(image, text, ids, weight):
    columns = weight / np.linalg.norm(weight, axis=0)
    total = 0.0
    for v, t, y in zip(image, text, ids, strict=True):
        on_text = (v @ t) / (t @ t) * t
        on_image = (t @ v) / (v @ v) * v
        total += cross_entropy(on_text @ columns, y) + cross_entropy(on_image @ columns, y)
    return total / len(ids)


def slow_itc(image, text, scale):
    v = [x / np.linalg.norm(x) for x in image]
    t = [x / np.linalg.norm(x) for x in text]
    logits = scale * np.array([[a @ b for b in t] for a in v])
    n = range(len(v))
    rows = [cross_entropy(logits[i], i) for i in n] + [cross_entropy(logits[:, i], i) for i in n]
    return sum(rows) / len(rows)


def close_to_slow(got, want):
    np.testing.assert_allclose(got, want, rtol=2e-5)


def test_sdm_equals_a_loop_in_float64(pairs):
    image, text, ids = pairs
    got = sdm_loss(image, text, ids, logit_scale=7.0, epsilon=EPSILON)
    close_to_slow(got, slow_sdm(*(x.astype(np.float64) for x in (image, text)), ids, 7.0))


@pytest.mark.parametrize(("label_norm", "power"), [("l1", 1.0), ("l2", 0.5)])
def test_cmpm_equals_a_loop_in_float64(pairs, label_norm, power):
    image, text, ids = pairs
    got = cmpm_loss(image, text, ids, label_norm=label_norm, epsilon=EPSILON)
    close_to_slow(got, slow_cmpm(*(x.astype(np.float64) for x in (image, text)), ids, power))


def test_cmpc_equals_a_loop_in_float64(pairs, golden):
    image, text, ids = pairs
    arrays = [x.astype(np.float64) for x in (image, text, golden["cmpc/weight"])]
    got = cmpc_loss(image, text, ids, golden["cmpc/weight"])
    close_to_slow(got, slow_cmpc(*arrays[:2], ids, arrays[2]))


def test_itc_equals_a_loop_in_float64(pairs):
    image, text, _ = pairs
    got = clip_itc(image, text, logit_scale=7.0)
    close_to_slow(got, slow_itc(*(x.astype(np.float64) for x in (image, text)), 7.0))


def test_identity_equals_a_loop_in_float64(golden, pairs):
    logits = [golden[f"id/{name}_logits"].astype(np.float64) for name in ("image", "text")]
    rows = [cross_entropy(row, y) for part in logits for row, y in zip(part, pairs[2], strict=True)]
    got = identity_loss(*(jnp.asarray(x, jnp.float32) for x in logits), pairs[2])
    close_to_slow(got, np.mean(rows))


# Releases

ON_PAIRS = {
    "sdm": partial(sdm_loss, logit_scale=50.0, epsilon=EPSILON),
    "sdm_soft": partial(sdm_loss, logit_scale=4.0, epsilon=EPSILON),
    "itc": lambda image, text, ids: clip_itc(image, text, logit_scale=50.0),
    "cmpm": partial(cmpm_loss, label_norm="l2", epsilon=EPSILON),
    "cmpm_irra": partial(cmpm_loss, label_norm="l2", epsilon=EPSILON),
}


@pytest.mark.parametrize("name", ON_PAIRS)
def test_loss_and_gradients_equal_the_release(golden, pairs, name):
    loss, gradients = jax.value_and_grad(ON_PAIRS[name], argnums=(0, 1))(*pairs)
    np.testing.assert_allclose(loss, golden[f"{name}/loss"], rtol=1e-5)
    for got, key in zip(gradients, ("image", "text"), strict=True):
        want = golden[f"{name}/gradient/{key}"]
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-5 * np.abs(want).max())


def test_cmpc_and_gradients_equal_the_release(golden, pairs):
    image, text, ids = pairs
    loss, gradients = jax.value_and_grad(cmpc_loss, argnums=(0, 1, 3))(
        image, text, ids, golden["cmpc/weight"]
    )
    np.testing.assert_allclose(loss, golden["cmpc/loss"], rtol=1e-5)
    for got, key in zip(gradients, ("image", "text", "weight"), strict=True):
        np.testing.assert_allclose(got, golden[f"cmpc/gradient/{key}"], rtol=0, atol=1e-5)


def test_identity_loss_and_gradients_equal_the_release(golden, pairs):
    logits = golden["id/image_logits"], golden["id/text_logits"]
    loss, gradients = jax.value_and_grad(identity_loss, argnums=(0, 1))(*logits, pairs[2])
    np.testing.assert_allclose(loss, golden["id/loss"], rtol=1e-5)
    for got, key in zip(gradients, ("image_logits", "text_logits"), strict=True):
        np.testing.assert_allclose(got, golden[f"id/gradient/{key}"], rtol=0, atol=1e-5)


# Properties


def test_labels_of_the_two_norms_agree_where_each_person_is_there_once(pairs):
    image, text, _ = pairs
    ids = np.arange(len(image), dtype=np.int32)
    norms = [cmpm_loss(image, text, ids, label_norm=norm, epsilon=EPSILON) for norm in ("l1", "l2")]
    np.testing.assert_allclose(*norms, rtol=1e-6)


def test_length_of_features_counts_for_cmpm_alone(pairs):
    image, text, ids = pairs
    longer = 1.5 * image
    for name, loss in ON_PAIRS.items():
        same = np.allclose(loss(image, text, ids), loss(longer, text, ids), rtol=1e-4)
        assert same == (not name.startswith("cmpm")), name


def test_zero_features_have_finite_gradients(pairs):
    image, text, ids = pairs
    image = image.copy()
    image[2] = 0
    weight = np.ones((image.shape[1], 5), np.float32)
    for loss in (*ON_PAIRS.values(), partial(cmpc_loss, weight=weight)):
        for gradient in jax.grad(loss, argnums=(0, 1))(image, text, ids):
            assert np.isfinite(gradient).all()


def test_what_does_not_fit_is_refused(pairs, golden):
    image, text, ids = pairs
    sdm = partial(sdm_loss, logit_scale=1.0, epsilon=EPSILON)
    with pytest.raises(ValueError, match=r"both be \[B, E\], got \(6, 8\) and \(5, 8\)"):
        sdm(image, text[:5], ids)
    with pytest.raises(ValueError, match=r"person_id must be \[6\], got \(5,\)"):
        sdm(image, text, ids[:5])
    with pytest.raises(ValueError, match="logit_scale must be > 0, got 0"):
        sdm_loss(image, text, ids, logit_scale=0.0, epsilon=EPSILON)
    with pytest.raises(ValueError, match="epsilon must be > 0, got -1"):
        cmpm_loss(image, text, ids, label_norm="l1", epsilon=-1.0)
    with pytest.raises(ValueError, match="label_norm must be one of l1, l2, got 'max'"):
        cmpm_loss(image, text, ids, label_norm="max", epsilon=EPSILON)
    with pytest.raises(ValueError, match=r"weight must be \[8, people\], got \(5, 8\)"):
        cmpc_loss(image, text, ids, golden["cmpc/weight"].T)
    with pytest.raises(ValueError, match=r"both be \[B, people\], got \(6, 8\) and \(6, 7\)"):
        identity_loss(image, text[:, :7], ids)
    with pytest.raises(ValueError, match=r"person_id must be \[6\]"):
        identity_loss(image, text, ids[:5])
    with pytest.raises(ValueError, match=r"both be \[B, E\]"):
        clip_itc(image, text[:, :7], logit_scale=1.0)
