"""LAIP and ALBEF as methods: the rows of Tables IV and V, their fields, and what learns."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import QUICK, random_values, recipe

from configs import albef as albef_config
from configs import laip as laip_config
from jaxreid.data.text import train_tokenizer
from jaxreid.methods import albef, laip

CAPTIONS = [
    "A woman in a red shirt, blue jeans.",
    "A man with black hair in grey shoes.",
    "He wears a dark coat.",
]
GLOBAL = {"itc", "itm", "itm_accuracy", "temperature"}
MPM = {"mpm", "mpm_accuracy"}
# Row of Table IV or V: attention, reconstruction, triplet, and what it adds to the metrics.
ROWS = {
    "2 Baseline+": ("none", "none", False, set()),
    "3 +ForAtt": ("forward", "none", False, {"bidir"}),
    "4 +BackAtt": ("backward", "none", False, {"bidir"}),
    "5 +BidirAtts": ("bidirectional", "none", False, {"bidir"}),
    "6 +MPM": ("none", "mpm", False, MPM),
    "7 +BidirAtts+MPM": ("bidirectional", "mpm", False, {"bidir"} | MPM),
    "8 LAIP": ("bidirectional", "mpm", True, {"bidir", "triplet"} | MPM),
    "V LAIP (w/o MPM)": ("bidirectional", "none", True, {"bidir", "triplet"}),
    "V LAIP (MLM)": ("bidirectional", "mlm", True, {"bidir", "triplet", "mlm"}),
}


@pytest.fixture(scope="module")
def make_config(tmp_path_factory):
    """make_config(get_config, **fields of the method) -> tiny config."""
    folder = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer(CAPTIONS, 120, str(folder))

    def make(get_config=laip_config.get_config, **fields):
        config = recipe(get_config)
        config.text.tokenizer = str(folder)
        config[config.method].update(fields)
        return config

    return make


def batch_of(method) -> dict:
    """Three pairs of three people as the pipeline stacks them."""
    rows, rng = method.tokenize(CAPTIONS), np.random.default_rng(0)
    examples = [
        method.transform(
            {
                "image": rng.integers(0, 255, size=(40, 20, 3)).astype(np.uint8),
                "text": {name: array[i] for name, array in rows.items()},
                "person_id": i,
                "image_id": i,
            },
            rng,
        )
        for i in range(3)
    ]
    return {name: jnp.stack([e[name] for e in examples]) for name in examples[0]}


def init_shapes(method):
    """Parameters and memory as shapes: nothing is computed."""
    params = jax.eval_shape(method.init, jax.random.key(0))
    return params, jax.eval_shape(method.init_memory, jax.random.key(1), params)


def metrics_of(method, stage: int) -> set[str]:
    """The metric keys of a stage, by tracing alone."""
    _, (_, metrics) = jax.eval_shape(
        lambda *a: method.loss(*a, stage),
        *init_shapes(method), batch_of(method), jax.random.key(0), jnp.int32(0),
    )  # fmt: skip
    return set(metrics)


@pytest.mark.parametrize("row", ROWS)
def test_every_row_of_the_ablations_is_an_override(make_config, row):
    attention, reconstruction, triplet, added = ROWS[row]
    fields = {"attention": attention, "reconstruction": reconstruction, "triplet": triplet}
    method = laip.make(make_config(**fields))
    assert metrics_of(method, 1) == GLOBAL | added
    assert metrics_of(method, 0) == GLOBAL  # the first stage trains with L_itc + L_itm alone
    header = laip_config.__doc__
    assert row in header
    cells = header.split(row)[1].split()[:3]
    assert cells == [attention, reconstruction, str(triplet)]


def test_the_recipe_is_row_8():
    c = laip_config.get_config().laip
    assert (c.attention, c.reconstruction, c.triplet) == ROWS["8 LAIP"][:3]


@pytest.mark.parametrize("triplet", [False, True])
def test_albef_is_laip_without_its_parts(make_config, triplet):
    fields = {"attention": "none", "reconstruction": "none", "triplet": triplet}
    ours = laip.make(make_config(**fields))
    baseline = albef.make(make_config(albef_config.get_config, triplet=triplet))
    programs = []
    for method in (ours, baseline):
        shapes = (*init_shapes(method), batch_of(method), jax.random.key(0), jnp.int32(0))
        programs.append(str(jax.make_jaxpr(lambda *a, m=method: m.loss(*a, 1))(*shapes)))
    assert programs[0] == programs[1]  # the same program from the same arrays: equal numbers
    assert len(programs[0]) > 10_000


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("attention", "both", "one of none, forward, backward, bidirectional, got 'both'"),
        ("reconstruction", "MPM", "one of none, mpm, mlm, got 'MPM'"),
        ("word_score", "p", "one of probability, logit, got 'p'"),
        ("combine", "max", "one of product, sum, got 'max'"),
        ("normalise", "l2", "one of l1, softmax, minmax, got 'l2'"),
        ("alignment", "triplet", "one of cosine, sigmoid, contrastive, got 'triplet'"),
        ("reduction", "none", "one of mean, sum, got 'none'"),
        ("triplet_score", "cosine", "one of probability, logit, got 'cosine'"),
        ("batch_keys", "both", "one of momentum, online, got 'both'"),
        ("matching_rows", 4, r"in 0\.\.3 \(train.batch_size\), got 4"),
        ("layer", 1, r"in 0\.\.0 .*'bidirectional'.*backward attention is exactly 0.* got 1"),
        ("layer", -1, r"in 0\.\.0 .* got -1"),
        ("phrases", 0, r"in 1\.\.12, the phrases kept of a caption, got 0"),
        ("phrases", 13, r"in 1\.\.12, the phrases kept of a caption, got 13"),
        ("mlm_probability", 1.0, r"in \(0, 1\), got 1.0"),
        ("bidir_weight", -0.5, ">= 0, got -0.5"),
        ("mpm_weight", float("nan"), ">= 0, got nan"),
        ("queue_length", 2, "at least train.batch_size 3 and at most 16777216, got 2"),
        ("temperature", 0.0, "> 0, got 0.0"),
        ("temperature", float("inf"), "> 0, got inf"),
        ("temperature_limits", (0.5, 0.5), r"two numbers, 0 <= low < high, got \(0.5, 0.5\)"),
        ("temperature_limits", (-0.1, 0.5), "two numbers, 0 <= low < high, got"),
        ("temperature_limits", (0.1,), "two numbers, 0 <= low < high, got"),
        ("temperature_limits", (0.1, "x"), "two numbers, 0 <= low < high, got"),
        ("momentum", 1.0, r"in \[0, 1\), got 1.0"),
        ("momentum", -0.1, r"in \[0, 1\), got -0.1"),
        ("momentum", float("nan"), r"in \[0, 1\), got nan"),
        ("alpha", 1.1, r"in \[0, 1\], got 1.1"),
        ("alpha", -0.1, r"in \[0, 1\], got -0.1"),
        ("triplet_margin", -0.6, ">= 0, got -0.6"),
        ("queue_epochs", -1.0, ">= 0 epochs, got -1.0"),
        ("alpha_epochs", -1.0, ">= 0 epochs, got -1.0"),
        ("hardness_epochs", float("inf"), ">= 0 epochs, got inf"),
    ],
)
def test_a_wrong_value_is_named_with_those_allowed(make_config, field, value, message):
    config = make_config()
    laip.check(config)
    config.laip.unlock()[field] = value
    for function in (laip.check, laip.make):
        with pytest.raises(ValueError, match=f"^laip.{field} must be {message}"):
            function(config)


def test_limits_of_the_ranges_are_allowed(make_config):
    fields = {
        "temperature_limits": (0.0, float("inf")), "momentum": 0.0, "alpha": 1.0, "phrases": 12,
        "triplet_margin": 0.0, "queue_epochs": 0.0, "alpha_epochs": 0.0, "hardness_epochs": 0.0,
    }  # fmt: skip
    laip.make(make_config(**fields))


def test_check_needs_neither_a_vocabulary_nor_the_length_of_an_epoch(make_config):
    for module, get_config in ((laip, laip_config.get_config), (albef, albef_config.get_config)):
        config = make_config(get_config)
        config.text.tokenizer, config.train.steps_per_epoch = "", 0
        module.check(config)
        section = config[config.method]
        section.momentum = 1.0
        with pytest.raises(ValueError, match=f"^{config.method}.momentum must be"):
            module.check(config)
        section.momentum, config.image.pad = 0.9, -1
        with pytest.raises(ValueError, match=r"image\.pad must be >= 0 pixels, got -1"):
            module.check(config)
        config.image.pad, config.text.tokenizer = 0, "/none"
        with pytest.raises(FileNotFoundError, match=r"config\.text\.tokenizer: .*none"):
            module.check(config)


def test_backward_attention_needs_a_layer_behind_it(make_config):
    config = make_config()
    config.model.bert.cross_depth = 1
    with pytest.raises(ValueError, match=r"^model\.bert\.cross_depth must be at least 2 .* got 1"):
        laip.check(config)
    config.laip.attention = "forward"
    laip.check(config)


def test_a_vocabulary_that_is_no_text_is_named(make_config, tmp_path):
    (tmp_path / "vocab.txt").write_bytes(b"\xff\xfe")
    config = make_config()
    config.text.tokenizer = str(tmp_path)
    with pytest.raises(ValueError, match=r"^config\.text\.tokenizer: .* is not UTF-8: .* byte 0"):
        laip.check(config)


def test_forward_attention_may_read_the_last_layer_but_none_beyond(make_config):
    laip.make(make_config(attention="forward", layer=1))
    with pytest.raises(ValueError, match=r"laip.layer must be in 0\.\.1 .* got 2"):
        laip.make(make_config(attention="forward", layer=2))


def last_stage(config, transform) -> tuple:
    """Result of `transform`(loss of the last stage of LAIP) on random parameters."""
    method = laip.make(config)
    params = random_values(jax.eval_shape(method.init, jax.random.key(0)), 0)
    memory = method.init_memory(jax.random.key(9), params)
    compiled = jax.jit(transform(lambda *a: method.loss(*a, 1)), compiler_options=QUICK)
    return compiled(params, memory, batch_of(method), jax.random.key(0), jnp.int32(5))


@pytest.fixture(scope="module")
def step(make_config):
    """((loss, (memory, metrics)), gradients) of the last stage of LAIP."""
    return last_stage(make_config(), lambda loss: jax.value_and_grad(loss, has_aux=True))


def test_the_loss_is_the_sum_of_its_parts(step):
    (loss, (_, metrics)), _ = step
    # Phrases of a caption are averaged first, so bidir and mpm are not these means exactly.
    parts = [metrics[name] for name in ("itc", "itm", "triplet", "bidir", "mpm")]
    np.testing.assert_allclose(loss, sum(parts), rtol=0.1)
    assert set(metrics) == GLOBAL | ROWS["8 LAIP"][3]


def test_gradients_reach_every_parameter(step):
    _, gradients = step
    largest = {
        "/".join(key.key for key in path): float(np.abs(leaf).max())
        for path, leaf in jax.tree_util.tree_leaves_with_path(gradients)
    }
    # A bias of the keys adds the same to all logits of a query: softmax does not see it.
    still = {name for name, value in largest.items() if value < 1e-6}
    assert still == {name for name in largest if name.endswith("/key/bias")}
    assert all(np.isfinite(value) for value in largest.values())


def test_bfloat16_is_close_to_float32(make_config, step):
    config = make_config()
    config.model.dtype = "bfloat16"
    half, (memory, metrics) = last_stage(config, lambda loss: loss)
    (full, (_, exact)), _ = step
    assert half != full
    np.testing.assert_allclose(half, full, rtol=0.03)
    for name in ("itc", "bidir", "mpm"):
        np.testing.assert_allclose(metrics[name], exact[name], rtol=0.05)
    for leaf in jax.tree.leaves((memory.params, memory.image_queue, half)):
        assert leaf.dtype == jnp.float32
        assert np.isfinite(leaf).all()
