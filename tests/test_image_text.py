"""The image-text stream equals its losses computed one pair at a time."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import QUICK, VOCABULARY, network, random_params, unit_rows

from jaxreid.losses.contrastive import identity_target, momentum_itc
from jaxreid.models.align_fuse import UNIMODAL
from jaxreid.streams.image_text import (
    EMPTY,
    GlobalMemory,
    GlobalSettings,
    clipped,
    global_alignment,
    init_global_memory,
    ramp,
)

MODEL = network()
SETTINGS = GlobalSettings(
    momentum=0.9,
    alpha=0.4,
    alpha_steps=10,
    temperature_limits=(0.05, 0.5),
    batch_keys="momentum",
    queue_steps=0,
    hardness_steps=10,
    matching_rows=0,
    triplet_margin=0.6,
    triplet_score="probability",
)
LENGTHS = np.array([12, 5, 8])
PEOPLE = np.array([4, 4, 9])  # rows 0 and 1 have one negative, row 2 has two
QUEUE_PEOPLE = np.array([9, 3, 4, EMPTY, EMPTY])
# The negatives that rows 0, 1 and 2 can get.
NEGATIVES = [np.array([2, 2, choice]) for choice in (0, 1)]


@pytest.fixture(scope="module")
def inputs():
    """Images, tokens, and a memory that is far from the parameters."""
    rng = np.random.default_rng(0)
    images = rng.normal(size=(3, 32, 16, 3)).astype(np.float32)
    tokens = rng.integers(5, VOCABULARY, size=(3, 12))
    tokens = np.where(np.arange(12) < LENGTHS[:, None], tokens, 0).astype(np.int32)
    other = random_params(MODEL, 1)
    memory = GlobalMemory(
        {name: other[name] for name in UNIMODAL},
        unit_rows(rng, 5),
        unit_rows(rng, 5),
        jnp.asarray(QUEUE_PEOPLE, jnp.int32),
    )
    return jnp.asarray(images), jnp.asarray(tokens), memory


@pytest.fixture(scope="module")
def params():
    return random_params(MODEL, 0)


@pytest.fixture(scope="module")
def stream(inputs):
    """stream(params, ids, step, seed) -> ((loss, (memory, metrics)), gradients)."""
    images, tokens, memory = inputs

    def total(params, encoders, image_queue, text_queue, ids, step, rng):
        loss, after, metrics, _ = global_alignment(
            MODEL,
            SETTINGS,
            params,
            GlobalMemory(encoders, image_queue, text_queue, memory.id_queue),
            images,
            tokens,
            ids,
            rng,
            step,
            triplet=True,
        )
        return loss, (after, metrics)

    compiled = jax.jit(
        jax.value_and_grad(total, argnums=(0, 1, 2, 3), has_aux=True), compiler_options=QUICK
    )
    held = (memory.params, memory.image_queue, memory.text_queue)
    return lambda params, ids=PEOPLE, step=4, seed=0: compiled(
        params, *held, jnp.asarray(ids, jnp.int32), jnp.int32(step), jax.random.key(seed)
    )


@pytest.fixture(scope="module")
def plain(inputs):
    """plain(params, text_of, image_of, alpha) -> ((loss, parts), gradient), nothing shared."""
    images, tokens, memory = inputs
    mask = tokens != 0

    def apply(params, name, *args):
        return MODEL.apply({"params": params}, *args, method=name)

    def total(params, text_of, image_of, alpha):
        momentum = jax.tree.map(
            lambda old, new: 0.9 * old + 0.1 * new,
            memory.params,
            {name: params[name] for name in UNIMODAL},
        )
        momentum = jax.lax.stop_gradient(momentum)
        image_m = apply(momentum, "embed_image", apply(momentum, "image_tokens", images))
        text_m = apply(momentum, "embed_text", apply(momentum, "text_tokens", tokens, mask))
        image_tokens = apply(params, "image_tokens", images)
        text_tokens = apply(params, "text_tokens", tokens, mask)
        image = apply(params, "embed_image", image_tokens)
        text = apply(params, "embed_text", text_tokens)
        itc = momentum_itc(
            image,
            text,
            jnp.concatenate([image_m, memory.image_queue]),
            jnp.concatenate([text_m, memory.text_queue]),
            identity_target(PEOPLE, np.concatenate([PEOPLE, QUEUE_PEOPLE])),
            temperature=params["temperature"],
            alpha=alpha,
        )

        def score(text, image):
            """Of one pair, from all rows of all layers."""
            fused, _ = apply(
                params, "fuse", text_tokens[text][None], mask[text][None], image_tokens[image][None]
            )
            return jax.nn.softmax(apply(params, "match", fused)[0])

        own = np.arange(3)
        texts, seen = jnp.stack([own, text_of, own]), jnp.stack([own, own, image_of])
        true, text_side, image_side = jax.vmap(jax.vmap(score))(texts, seen)
        right = [true[:, 1], text_side[:, 0], image_side[:, 0]]
        itm = -sum(jnp.log(p).sum() for p in right) / 9
        triplet = sum(
            jax.nn.relu(0.6 - true[:, 1] + side[:, 1]).mean() for side in (text_side, image_side)
        )
        accuracy = 100 * sum((p > 0.5).sum() for p in right) / 9
        parts = {
            "itc": itc,
            "itm": itm,
            "triplet": triplet,
            "itm_accuracy": accuracy,
            "temperature": params["temperature"],
        }
        return itc + itm + triplet, (parts, (image, text), (image_m, text_m), jnp.stack(right))

    return jax.jit(jax.value_and_grad(total, has_aux=True), compiler_options=QUICK)


def closest(plain, params, itm, alpha) -> tuple:
    """What `plain` gives for the one pair of negatives that has this L_itm."""
    results = [plain(params, *pair, alpha) for pair in itertools.product(NEGATIVES, NEGATIVES)]
    near = [r for r in results if abs(r[0][1][0]["itm"] - itm) < 1e-5]
    assert len(near) == 1
    return near[0]


def test_loss_metrics_and_gradients_equal_pairs_one_at_a_time(stream, plain, params):
    (loss, (_, metrics)), gradients = stream(params)
    (expected, (parts, *_)), gradient = closest(plain, params, metrics["itm"], 0.4 * 4 / 10)
    np.testing.assert_allclose(loss, expected, rtol=0, atol=1e-5)
    assert set(metrics) == set(parts)
    for name, value in parts.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-6, atol=1e-5)
    assert parts["triplet"] > 0
    jax.tree.map(
        lambda g, e: np.testing.assert_allclose(g, e, rtol=1e-3, atol=2e-5), gradients[0], gradient
    )


def test_no_gradient_flows_into_the_memory(stream, params):
    _, gradients = stream(params)
    assert not any(np.any(g) for g in jax.tree.leaves(gradients[1:]))


def test_memory_after_is_the_moved_encoders_and_first_in_first_out(stream, plain, inputs, params):
    memory = inputs[2]
    (_, (after, metrics)), _ = stream(params)
    (_, (_, _, (image_m, text_m), _)), _ = closest(plain, params, metrics["itm"], 0.16)
    jax.tree.map(
        lambda a, old, new: np.testing.assert_allclose(a, 0.9 * old + 0.1 * new, atol=1e-6),
        after.params,
        memory.params,
        {name: params[name] for name in UNIMODAL},
    )
    for queue, old, new in (
        (after.image_queue, memory.image_queue, image_m),
        (after.text_queue, memory.text_queue, text_m),
    ):
        np.testing.assert_allclose(queue[:3], new, atol=1e-5)
        np.testing.assert_array_equal(queue[3:], old[:2])
    np.testing.assert_array_equal(after.id_queue, [4, 4, 9, 9, 3])


@pytest.mark.parametrize(("step", "alpha"), [(0, 0.0), (10, 0.4), (25, 0.4)])
def test_alpha_rises_to_its_value_and_stays(stream, plain, params, step, alpha):
    (_, (_, metrics)), _ = stream(params, step=step)
    (_, (parts, *_)), _ = plain(params, *NEGATIVES, alpha)
    np.testing.assert_allclose(metrics["itc"], parts["itc"], rtol=0, atol=1e-5)


def test_negatives_are_random_at_first_and_the_hardest_at_last(stream, params):
    # At temperature 0.05 and full hardness one of two negatives has nearly all the chance.
    cold = {**params, "temperature": jnp.float32(1e-3)}
    itm = {
        step: {round(float(stream(cold, step=step, seed=seed)[0][1][1]["itm"]), 5)
               for seed in range(16)}
        for step in (0, 10)
    }  # fmt: skip
    assert len(itm[0]) == 4  # two choices of a text by two of an image
    assert len(itm[10]) < 4


def test_a_batch_of_one_person_gives_finite_numbers(stream, params):
    (loss, (_, metrics)), gradients = stream(params, ids=np.array([4, 4, 4]))
    assert np.isfinite(loss)
    assert metrics["triplet"] == 0
    assert 0 <= metrics["itm_accuracy"] <= 100
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(gradients))
    np.testing.assert_allclose(loss, metrics["itc"] + metrics["itm"], rtol=1e-6)


@pytest.fixture(scope="module")
def options(inputs):
    """Loss and metrics of three settings, L_itc of two more, compiled; and of any setting."""
    images, tokens, memory = inputs

    def run(params, triplet=True, **changes):
        loss, _, metrics, _ = global_alignment(
            MODEL, SETTINGS._replace(**changes), params, memory, images, tokens,
            jnp.asarray(PEOPLE), jax.random.key(0), jnp.int32(10), triplet=triplet,
        )  # fmt: skip
        return loss, metrics

    def several(params):
        changes = ({"triplet_score": "probability"}, {"triplet_score": "logit"})
        results = [run(params, **c) for c in (*changes, {"matching_rows": 2})]
        return results, [
            run(params, batch_keys="online", queue_steps=steps)[1]["itc"] for steps in (10, 11)
        ]

    return jax.jit(several, compiler_options=QUICK), run


def test_triplet_reads_probabilities_or_logits(options, params):
    # The bias of "match" moves every logit alike; margins between logits do not see it.
    head = params["itm_head"]
    moved = {**params, "itm_head": {**head, "bias": head["bias"] + jnp.array([0.0, 1.5])}}
    several, run = options
    before, after = several(params)[0], several(moved)[0]
    triplet = [[float(r[i][1]["triplet"]) for r in (before, after)] for i in (0, 1)]
    assert abs(triplet[0][0] - triplet[0][1]) > 1e-3
    np.testing.assert_allclose(triplet[1][0], triplet[1][1], rtol=1e-4)
    for loss, metrics in before:
        parts = [metrics[name] for name in ("itc", "itm", "triplet")]
        np.testing.assert_allclose(loss, sum(parts), rtol=1e-6)
    assert "triplet" not in jax.eval_shape(lambda: run(params, triplet=False))[1]


def test_matching_rows_match_only_the_first_rows(options, plain, params):
    metrics = options[0](params)[0][2][1]
    # Rows 0 and 1 have one negative each, whatever is drawn.
    (_, (*_, right)), _ = plain(params, *NEGATIVES, 0.4)
    right = np.asarray(right)[:, :2]
    np.testing.assert_allclose(metrics["itm"], -np.log(right).mean(), rtol=0, atol=1e-5)
    np.testing.assert_allclose(metrics["itm_accuracy"], 100 * (right > 0.5).mean(), rtol=1e-6)
    true, sides = right[0], 1 - right[1:]
    expected = np.maximum(0.6 - true + sides, 0).mean(axis=1).sum()
    np.testing.assert_allclose(metrics["triplet"], expected, rtol=0, atol=1e-5)


def test_online_keys_are_the_batch_itself_and_the_queue_acts_from_its_step(
    options, plain, inputs, params
):
    memory = inputs[2]
    (_, (_, (image, text), _, _)), _ = plain(params, *NEGATIVES, 0.4)
    for itc, queued, ids in zip(options[0](params)[1], (5, 0), (QUEUE_PEOPLE, []), strict=True):
        expected = momentum_itc(
            image,
            text,
            jnp.concatenate([image, memory.image_queue[:queued]]),
            jnp.concatenate([text, memory.text_queue[:queued]]),
            identity_target(PEOPLE, np.concatenate([PEOPLE, ids])),
            temperature=params["temperature"],
            alpha=0.4,
        )
        np.testing.assert_allclose(itc, expected, rtol=0, atol=1e-5)


def test_first_only_equals_row_0_of_the_full_computation(inputs, params):
    _, tokens, _ = inputs
    rng = np.random.default_rng(3)
    text = jnp.asarray(rng.normal(size=(3, 12, 32)), jnp.float32)
    images = jnp.asarray(rng.normal(size=(2, 9, 32)), jnp.float32)

    @jax.jit
    def both(params):
        return [
            MODEL.apply(
                {"params": params}, text, tokens != 0, images, method="fuse",
                image_index=np.array([1, 0, 1]), first_only=first_only,
            )[0]
            for first_only in (True, False)
        ]  # fmt: skip

    alone, full = both(params)
    assert (alone.shape, full.shape) == ((3, 1, 32), (3, 12, 32))
    np.testing.assert_allclose(alone[:, 0], full[:, 0], rtol=0, atol=2e-6)


def test_memory_starts_as_copies_with_unwritten_unit_queues(params):
    memory = init_global_memory(jax.random.key(0), params, queue_length=7, embedding=16)
    assert set(memory.params) == set(UNIMODAL)
    jax.tree.map(
        np.testing.assert_array_equal, memory.params, {name: params[name] for name in UNIMODAL}
    )
    for queue in (memory.image_queue, memory.text_queue):
        assert queue.shape == (7, 16)
        np.testing.assert_allclose(np.linalg.norm(queue, axis=1), 1, atol=1e-6)
    assert np.abs(memory.image_queue - memory.text_queue).max() > 0.1
    np.testing.assert_array_equal(memory.id_queue, [EMPTY] * 7)


def test_ramps_rise_evenly_and_zero_steps_are_no_ramp():
    np.testing.assert_allclose([ramp(jnp.int32(s), 4) for s in (0, 1, 4, 9)], [0, 0.25, 1, 1])
    assert ramp(jnp.int32(0), 0) == 1.0


def test_temperature_is_clipped_with_its_gradient_kept():
    for temperature, kept in ((1e-3, 0.05), (0.2, 0.2), (3.0, 0.5)):
        value, gradient = jax.value_and_grad(clipped)(jnp.float32(temperature), (0.05, 0.5))
        np.testing.assert_allclose(value, kept, rtol=1e-6)
        assert gradient == 1
    np.testing.assert_allclose(clipped(jnp.float32(7.0), (0.0, float("inf"))), 7.0)
