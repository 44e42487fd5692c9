"""IRRA: its cross-modal module equals the release's, what it masks, and its recipe.

tests/goldens/irra.npz, keys "cross/": anosorae/IRRA@cfc2378, model/build.py (cross_former and
mlm_head) and model/objectives.py (compute_mlm) with random weights, which are rounded to float16.
"""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from converted import converted, shapes, under
from tiny import QUICK, random_values, recipe

from configs import irra as recipes
from jaxreid.data.bpe import train_bpe
from jaxreid.losses.masked_language import masked_language_loss
from jaxreid.methods import irra
from jaxreid.models.interaction import Interaction, WordHead, start_std
from jaxreid.optim import Group, Schedule, assign_groups, learning_rate
from jaxreid.streams.relation import LOSSES, choose_tokens

GOLDEN = pathlib.Path(__file__).parent / "goldens" / "irra.npz"
WIDTH, HEADS, VOCABULARY, DEPTH = 128, 2, 23, 2


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as arrays:
        found = {name[6:]: arrays[name] for name in arrays.files if name.startswith("cross/")}
    return {k: v.astype(np.float32) if v.dtype == np.float16 else v for k, v in found.items()}


def tree(golden) -> dict:
    """Our parameters from the release's names."""
    cross, head = Interaction(depth=DEPTH, heads=HEADS, mlp=4 * WIDTH), WordHead(VOCABULARY, DEPTH)
    network = {
        "cross": shapes(cross, golden["text"], golden["image"]),
        "mlm_head": shapes(head, golden["text"]),
    }
    return converted(under(golden, "weight/"), "irra", network)


@pytest.fixture(scope="module")
def result(golden):
    """((loss, (fused, logits)), gradients of parameters, text and image)."""
    cross = Interaction(depth=DEPTH, heads=HEADS, mlp=4 * WIDTH)
    head = WordHead(VOCABULARY, DEPTH)
    labels = golden["labels"]

    def loss(params, text, image):
        fused = cross.apply({"params": params["cross"]}, text, image)
        logits = head.apply({"params": params["mlm_head"]}, fused)
        return masked_language_loss(logits, labels, labels > 0), (fused, logits)

    run = jax.jit(jax.value_and_grad(loss, (0, 1, 2), has_aux=True), compiler_options=QUICK)
    return run(tree(golden), golden["text"], golden["image"])


def test_cross_modal_module_and_word_head_equal_the_release(golden, result):
    (loss, (fused, logits)), _ = result
    np.testing.assert_allclose(fused, golden["fused"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(logits, golden["logits"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(loss, golden["loss"], rtol=1e-5)


def test_gradients_equal_the_release(golden, result):
    params, text, image = result[1]
    np.testing.assert_allclose(text, golden["gradient/text"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(image, golden["gradient/image"], rtol=0, atol=1e-5)
    got = params["mlm_head"]["fc"]["kernel"].T
    np.testing.assert_allclose(got, golden["gradient/mlm_head.fc.weight"], rtol=0, atol=1e-5)


def test_start_weights_have_the_deviations_of_the_release():
    std = start_std(512, 4)
    assert std.inputs == pytest.approx(512**-0.5)
    assert std.out == std.fc2 == pytest.approx(512**-0.5 * 8**-0.5)
    assert std.fc1 == pytest.approx(1024**-0.5)
    x = jnp.zeros((1, 1, 64))
    params = jax.jit(Interaction(2, 4, 256).init)(jax.random.key(0), x, x)["params"]
    block = params["blocks_1"]
    kernels = (params["attn"]["key"], block["attn"]["out"], block["mlp"]["fc1"])
    want = start_std(64, 2)
    for kernel, deviation in zip(kernels, (want.inputs, want.out, want.fc1), strict=True):
        assert float(kernel["kernel"].std()) == pytest.approx(deviation, rel=0.05)
    assert float(block["mlp"]["fc2"]["kernel"].std()) == pytest.approx(want.fc2, rel=0.05)


# Masks

END = 30


def test_tokens_are_chosen_between_start_and_end_with_the_probability():
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 28, size=(400, 20))
    ends = rng.integers(2, 20, size=400)
    tokens[:, 0] = 29
    tokens[np.arange(400), ends] = END
    tokens[np.arange(20)[None] > ends[:, None]] = 0
    chosen = choose_tokens(jax.random.key(0), tokens, end_id=END, probability=0.3)
    place = np.arange(20)[None]
    inside = (place > 0) & (place < ends[:, None])
    assert not np.any(chosen & ~inside)
    # The first word stands in where none is drawn, which does not touch the other places.
    share = np.asarray(chosen)[:, 2:].sum() / inside[:, 2:].sum()
    assert abs(share - 0.3) < 0.03


def test_each_text_has_a_chosen_token_the_first_where_none_is_drawn():
    tokens = jnp.full((5, 9), 3).at[:, 0].set(29).at[:, 6].set(END)
    chosen = choose_tokens(jax.random.key(0), tokens, end_id=END, probability=1e-9)
    assert chosen.tolist() == [[False, True] + 7 * [False]] * 5


# The method

CAPTIONS = [
    "A woman in a red shirt and blue jeans.",
    "A man with black hair in grey shoes.",
    "He wears a dark coat.",
]


@pytest.fixture(scope="module")
def make_config(tmp_path_factory):
    """make_config(**fields of the method) -> tiny config."""
    folder = tmp_path_factory.mktemp("vocabulary")
    train_bpe(CAPTIONS, 540, str(folder))

    def make(**fields):
        config = recipe(recipes.get_config)
        del config.irra.queue_length  # the tiny recipe gives it to every method
        config.text.tokenizer = str(folder)
        config.text.max_tokens = config.model.bert.max_positions = 24
        config.data.people = 3
        config.irra.update(fields)
        return config

    return make


def loss_of(config):
    """(loss, parameters): loss(parameters) -> (f32[], metrics) of three pairs of two people."""
    method = irra.make(config)
    params = random_values(jax.eval_shape(method.init, jax.random.key(0)), 0)
    rng = np.random.default_rng(0)
    batch = {
        "image": rng.integers(0, 255, size=(3, 32, 16, 3)).astype(np.uint8),
        "tokens": method.tokenize(CAPTIONS)["tokens"],
        "person_id": np.array([2, 1, 2], np.int32),
    }

    def loss(params):
        value, (_, metrics) = method.loss(params, (), batch, jax.random.key(1), jnp.int32(0), 0)
        return value, metrics

    return loss, params


def step_of(config):
    """((loss, metrics), gradients) of the batch."""
    loss, params = loss_of(config)
    return jax.jit(jax.value_and_grad(loss, has_aux=True), compiler_options=QUICK)(params)


@pytest.fixture(scope="module")
def whole(make_config):
    return step_of(make_config(losses=LOSSES, mlm_weight=2.0, id_weight=0.5))


def test_the_loss_is_the_weighted_sum_of_its_parts(whole):
    (loss, metrics), _ = whole
    assert set(metrics) == {*LOSSES, "mlm_accuracy", "id_accuracy"}
    want = metrics["sdm"] + metrics["itc"] + 2 * metrics["mlm"] + 0.5 * metrics["id"]
    np.testing.assert_allclose(loss, want, rtol=1e-6)


def test_gradients_reach_every_parameter(whole):
    largest = {
        "/".join(key.key for key in path): float(np.abs(leaf).max())
        for path, leaf in jax.tree_util.tree_leaves_with_path(whole[1])
    }
    # A bias of the keys adds the same to all logits of a query: softmax does not see it.
    still = {name for name, value in largest.items() if value < 1e-6}
    assert still == {name for name in largest if name.endswith("/key/bias")}
    assert all(np.isfinite(value) for value in largest.values())


@pytest.mark.parametrize("losses", [("id",), ("mlm", "sdm")])
def test_each_loss_can_be_left_out_and_the_others_keep_their_value(make_config, whole, losses):
    (_, metrics), gradients = step_of(make_config(losses=losses))
    assert {name for name in metrics if not name.endswith("accuracy")} == set(losses)
    for name in losses:
        np.testing.assert_allclose(metrics[name], whole[0][1][name], rtol=1e-5)
    trained = {name: max(np.abs(g).max() for g in jax.tree.leaves(gradients[name])) > 0
               for name in ("cross", "mlm_head", "classifier")}  # fmt: skip
    assert trained == {"cross": "mlm" in losses, "mlm_head": "mlm" in losses,
                       "classifier": "id" in losses}  # fmt: skip


def test_masked_captions_change_what_sdm_and_id_see_alone(make_config, whole):
    loss, params = loss_of(make_config(masked_captions=True))
    _, metrics = jax.jit(loss, compiler_options=QUICK)(params)
    clean = whole[0][1]
    assert abs(metrics["sdm"] - clean["sdm"]) > 1e-3
    assert abs(metrics["id"] - clean["id"]) > 1e-3
    np.testing.assert_allclose(metrics["mlm"], clean["mlm"], rtol=1e-5)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("losses", (), r"some of sdm, mlm, id, itc, once each, got \(\)"),
        ("losses", ("sdm", "cmpm"), r"some of sdm, mlm, id, itc, once each, got \('sdm', 'cmpm'\)"),
        ("losses", ("id", "id"), "some of sdm, mlm, id, itc, once each"),
        ("mask_token", "none", "one of added, last_merge, got 'none'"),
        ("logit_scale", 0.0, "> 0, got 0.0"),
        ("id_weight", -1.0, "> 0, got -1.0"),
        ("mlm_probability", 1.0, r"in \(0, 1\), got 1.0"),
    ],
)
def test_a_wrong_value_is_named_with_those_allowed(make_config, field, value, message):
    with pytest.raises(ValueError, match=f"^irra.{field} must be {message}"):
        irra.make(make_config(**{field: value}))


# The recipe


@pytest.fixture(scope="module")
def published():
    return recipes.get_config("cuhk_pedes")


def test_rate_has_the_values_of_the_release_schedule(published):
    o, steps = published.optim, 100
    schedule = Schedule(
        o.learning_rate, o.min_learning_rate, o.warmup_learning_rate, o.warmup_epochs, o.period
    )
    rate = jax.jit(learning_rate(schedule, published.train.epochs[0], steps))
    expected = {1: 1e-6, 2: 2.8e-6, 5: 8.2e-6, 10: 9.87e-6, 30: 5.99e-6, 60: 8.15e-9}
    for epoch, value in expected.items():
        for step in (0, steps - 1):
            np.testing.assert_allclose(rate((epoch - 1) * steps + step), value, rtol=1e-3)


def test_each_parameter_has_rate_and_decay_of_the_release(published, make_config):
    """solver/build.py, read on the names that the release gives its parameters."""
    config = make_config()
    config.optim.groups = published.optim.groups
    params = jax.eval_shape(irra.make(config).init, jax.random.key(0))
    groups = assign_groups(params, tuple(Group(*group) for group in config.optim.groups))

    def release(path, _):
        names = [key.key for key in path]
        theirs = "/".join(names)
        if names[0] == "cross" and names[1].startswith("ln_"):
            theirs = "/".join(names[1:])  # ln_pre_t, ln_pre_i, ln_post: no "cross" in their names
        rate, decay = 1.0, 4e-5
        if "cross" in theirs:
            rate = 5.0
        if "bias" in theirs:
            rate, decay = 2.0, 0.0
        if "classifier" in theirs or "mlm_head" in theirs:
            rate = 5.0
        return rate, decay, "adam"

    want = jax.tree_util.tree_map_with_path(release, params)
    is_leaf = lambda x: isinstance(x, tuple)  # noqa: E731
    for (path, group), rule in zip(
        jax.tree_util.tree_flatten_with_path(groups, is_leaf)[0],
        jax.tree.leaves(want, is_leaf=is_leaf),
        strict=True,
    ):
        assert (group.rate, group.decay, group.kind) == rule, path


def test_recipe_has_the_values_of_the_release(published):
    assert tuple(published.image.size) == (384, 128)
    i = published.image
    assert (i.resize, i.flip, i.pad, i.erase_probability) == ("bilinear", 0.5, 10, 0.5)
    assert (published.text.max_tokens, published.text.clean) == (77, "none")
    assert (published.train.batch_size, tuple(published.train.epochs)) == (64, (60,))
    o = published.optim
    assert (o.epsilon, o.beta1, o.beta2, o.clip_norm, o.period) == (1e-3, 0.9, 0.999, 0.0, "epoch")
    assert (published.irra.logit_scale, published.irra.epsilon) == (50.0, 1e-8)
    assert published.irra.losses == ("sdm", "mlm", "id")
