"""CADA as a method: rows of its tables, the forms of paper and release, sizes, and what learns."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from converted import converted, shapes, under
from tiny import QUICK, random_values, recipe

from configs import cada as cada_config
from jaxreid.data.text import train_tokenizer
from jaxreid.losses.masked_language import masked_language_loss
from jaxreid.losses.ndf import released_ndf_loss
from jaxreid.methods import cada
from jaxreid.models.bert import MLMHead
from jaxreid.models.decoder import TextDecoder
from jaxreid.models.dual_association import DualAssociation
from jaxreid.models.vit import ViT
from jaxreid.streams.dual_association import (
    Encoded,
    TokenSettings,
    _negatives,
    token_association,
)
from jaxreid.streams.dual_network import (
    Entry,
    init_dual_association,
    make_dual_association,
    match_logits,
)

RELEASE = pathlib.Path(__file__).parent / "goldens" / "cada_release.npz"
CAPTIONS = [
    "A woman in a red shirt, blue jeans.",
    "A man with black hair in grey shoes.",
    "He wears a dark coat.",
]
ATP, ARA = {"atp", "atp_accuracy"}, {"ara", "ara_accuracy"}


@pytest.fixture(scope="module")
def make_config(tmp_path_factory):
    """make_config(variant, **fields of the section) -> tiny config."""
    folder = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer(CAPTIONS, 120, str(folder))

    def make(variant="", **fields):
        config = recipe(lambda: cada_config.get_config(variant))
        config.text.tokenizer = str(folder)
        config.cada.update(fields)
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


@pytest.mark.parametrize(
    ("fields", "metrics"),
    [
        ({"atp": False, "ara": False, "inference": "global"}, {"ndf"}),
        ({"atp": False, "inference": "global"}, {"ndf"} | ARA),
        ({"ara": False}, {"ndf"} | ATP),
        ({}, {"ndf"} | ATP | ARA),
        (
            {"global_loss": "cmpm", "atp": False, "ara": False, "inference": "global"},
            {"cmpm"},
        ),
        ({"global_loss": "released_ndf", "ara": False}, {"released_ndf"} | ATP),
    ],
)
def test_rows_of_table_iv_are_overrides(make_config, fields, metrics):
    method = cada.make(make_config(**fields))
    params = jax.eval_shape(method.init, jax.random.key(0))
    batch = batch_of(method)
    assert ("attributes" in batch) == ("ara" in metrics)
    _, (_, found) = jax.eval_shape(
        lambda *a: method.loss(*a, 0), params, (), batch, jax.random.key(0), jnp.int32(0)
    )
    assert set(found) == metrics
    assert (method.match is None) == (fields.get("inference") == "global")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("global_loss", "kl", "one of .*ndf, released_ndf.*, got 'kl'"),
        ("cmpm_label_norm", "max", "one of l1, l2, got 'max'"),
        ("negatives", "all", "one of hardest, sampled, got 'all'"),
        ("match_token", "dec", "one of cls, enc, got 'dec'"),
        ("group_mean", "pad", "one of words, all, got 'pad'"),
        ("decoder", "both", "one of shared, separate, got 'both'"),
        ("attribute_unit", "word", "one of phrase, piece, got 'word'"),
        ("score", "logit", "one of groups, first, first_logit, got 'logit'"),
        ("inference", "both", "one of local, global, got 'both'"),
        ("temperature", 0.0, "> 0, got 0.0"),
        ("mask_rate", 1.5, r"in \(0, 1\], got 1.5"),
        ("ara_weight", -1.0, ">= 0, got -1.0"),
        ("hardness_epochs", 1.0, "0 with cada.negatives 'hardest', .* got 1.0"),
        ("group_size", 12, "at most the 11 tokens, got 12; text.max_tokens has one more"),
    ],
)
def test_a_wrong_value_is_named_with_those_allowed(make_config, field, value, message):
    config = make_config(**{field: value})
    for refuses in (cada.make, cada.check):
        with pytest.raises(ValueError, match=f"^cada.{field} must be {message}"):
            refuses(config)


def test_local_score_without_atp_is_refused(make_config):
    with pytest.raises(ValueError, match=r"inference must be 'global' with cada\.atp False"):
        cada.make(make_config(atp=False))


def test_more_cross_attentions_than_layers_are_refused(make_config):
    config = make_config()
    config.model.bert.cross_depth = 3
    with pytest.raises(ValueError, match=r"cross_depth must be at most .*text_depth 2.* got 3"):
        cada.make(config)


@pytest.fixture(scope="module")
def step(make_config):
    """(config, params, (loss, metrics), gradients) of the recipe at tiny size."""
    config = make_config()
    method = cada.make(config)
    params = random_values(jax.eval_shape(method.init, jax.random.key(0)), 0)
    compiled = jax.jit(
        jax.value_and_grad(lambda *a: method.loss(*a, 0), has_aux=True), compiler_options=QUICK
    )
    (loss, (_, metrics)), grads = compiled(
        params, (), batch_of(method), jax.random.key(0), jnp.int32(5)
    )
    return config, params, (loss, metrics), grads


def test_the_loss_is_the_weighted_sum_of_its_parts(step):
    _, _, (loss, m), _ = step
    np.testing.assert_allclose(loss, m["ndf"] + m["atp"] + 0.1 * m["ara"], rtol=1e-6)


def test_gradients_reach_every_parameter(step):
    largest = {
        "/".join(key.key for key in path): float(np.abs(leaf).max())
        for path, leaf in jax.tree_util.tree_leaves_with_path(step[3])
    }
    # A bias of the keys adds the same to all logits of a query: softmax does not see it.
    still = {name for name, value in largest.items() if value < 1e-6}
    assert still == {name for name in largest if name.endswith("/key/bias")}
    assert all(np.isfinite(value) for value in largest.values())


def test_match_scores_what_the_decoder_says(make_config, step):
    _, params, _, _ = step
    scores = ("groups", "first", "first_logit")
    methods = {score: cada.make(make_config(score=score)) for score in scores}
    method = methods["groups"]
    model, entry = method.match.args
    batch = batch_of(method)

    @jax.jit
    def run(params, batch):
        images = method.encode_image(params, batch["image"])
        queries = method.encode_query(params, {"tokens": batch["tokens"]})
        keys, mask = method.match_image(params, images), batch["tokens"] != 0
        fused = model.apply(
            {"params": params}, batch["tokens"], mask, images.tokens,
            method=lambda m, tokens, mask, image: m.text(tokens, mask, image),
        )  # fmt: skip
        found = {score: m.match(params, queries, keys) for score, m in methods.items()}
        return found, match_logits(model, entry, params, fused, mask)

    found, (logits, counted) = run(params, batch)
    chance = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    groups = [np.mean(c[k, 1]) for c, k in zip(chance, np.asarray(counted), strict=True)]
    expected = {"groups": groups, "first": chance[:, 0, 1], "first_logit": logits[:, 0, 1]}
    for score in scores:
        np.testing.assert_allclose(found[score], expected[score], rtol=0, atol=1e-5)


# Three people; text 1 is the nearest to image 0 in angle, text 2 by its length.
IMAGE = jnp.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
TEXT = jnp.array([[1.0, 0.0], [1.0, 0.3], [4.0, 8.0]])


def negatives(form, similarity, *, steps=0, step=0, seed=0):
    """(text of each image, image of each text) that ATP takes for negatives."""
    keys = jax.random.split(jax.random.key(seed))
    settings = TokenSettings(form, similarity, 0.05, steps, "sum")
    found = _negatives(
        settings, Encoded(IMAGE, IMAGE, TEXT), jnp.arange(3), (keys[0], keys[1]), jnp.int32(step)
    )
    return [each.index.tolist() for each in found]


def test_negatives_are_near_in_angle_or_by_dot_product():
    assert negatives("hardest", "cosine") == [[1, 2, 1], [2, 0, 1]]
    assert negatives("hardest", "dot") == [[2, 2, 1], [2, 2, 1]]


def test_sampled_negatives_go_from_random_to_hard():
    hard = [negatives("sampled", "cosine", steps=10, step=10, seed=s)[0][0] for s in range(30)]
    random = [negatives("sampled", "cosine", steps=10, step=0, seed=s)[0][0] for s in range(30)]
    assert set(hard) == {1}
    assert 5 < random.count(1) < 25
    assert set(random) == {1, 2}  # never text 0, which is of the same person


# Sizes of the published networks: ViT-B/16 at 224 x 224, BERT-base with 12 cross-attentions.
VISUAL = 85_798_656
TEXT_WITH_CROSS = 137_258_496  # of 30,524 words, without token types
HEADS = 2 * (768 * 256 + 256) + 2 * (768 * 2 + 2)
WORD_HEAD = 768**2 + 768 + 2 * 768  # and a bias for each word


def sizes(variant: str) -> dict[str, int]:
    """Number of parameters of each part, by tracing alone."""
    model = make_dual_association(cada_config.get_config(variant), 30_522)
    shapes = jax.eval_shape(
        lambda key: init_dual_association(model, key, max_tokens=73), jax.random.key(0)
    )
    return {k: sum(x.size for x in jax.tree.leaves(part)) for k, part in shapes.items()}


def test_size_of_the_paper_s_network():
    found = sizes("cuhk_pedes")
    assert found["vit"] == VISUAL
    assert found["text"] == TEXT_WITH_CROSS - 2 * 768  # neither [DEC] nor [ENC]
    assert sum(found.values()) == VISUAL + found["text"] + HEADS + WORD_HEAD + 30_522
    assert round(sum(found.values()) / 1e6) == 224


def test_size_of_the_released_network():
    found = sizes("released-cuhk_pedes")
    assert (found["vit"], found["text"]) == (VISUAL, TEXT_WITH_CROSS)
    assert found["text_decoder"] + found["mlm"] == TEXT_WITH_CROSS + WORD_HEAD + 30_524
    millions = [round(x / 1e6, 2) for x in (found["text_decoder"] + found["mlm"], VISUAL)]
    assert millions == [137.88, 85.80]
    assert round(sum(found.values()) / 1e6, 2) == 361.34


# The release's own code (LinDixuan/CADA@1087f33), run by tools/goldens_cada.py.


@pytest.fixture(scope="module")
def released():
    """(arrays, parameters of the network, network)."""
    with np.load(RELEASE) as file:
        arrays = dict(file)
    size = {"vocabulary": 30, "width": 16, "depth": 2, "cross_depth": 2, "heads": 2, "mlp": 24}
    model = DualAssociation(
        ViT((16, 16)),
        TextDecoder(**size, max_positions=80, dropout=0.0),
        MLMHead(16, 30),
        6,
        TextDecoder(**size, max_positions=80, dropout=0.0, causal=True),
    )
    images, tokens = np.zeros((1, 16, 16, 3), np.float32), np.zeros((1, 9), np.int32)
    # The file has image tokens of 12 numbers in place of an image encoder.
    network = shapes(model, images, tokens, tokens == 0)
    for name in ("vit", "image_proj", "text_proj"):
        del network[name]
    text = shapes(model.text, tokens, tokens == 0, np.zeros((1, 5, 12), np.float32))
    params = converted(
        under(arrays, "weight/"), "cada", {**network, "text": text, "text_decoder": text}
    )
    return arrays, jax.tree.map(jnp.asarray, params), model


def test_released_ndf_equals_the_release(released):
    arrays, _, _ = released
    loss = released_ndf_loss(
        *(jnp.asarray(arrays[f"input/{n}"]) for n in ("image", "text", "person_id")),
        temperature=0.02,
    )
    np.testing.assert_allclose(loss, arrays["output/ndf"], rtol=1e-6)


def test_released_atp_equals_the_release(released):
    arrays, params, model = released
    a = {k.removeprefix("input/"): jnp.asarray(v) for k, v in arrays.items() if k[0] == "i"}
    loss, _ = jax.jit(
        lambda params: token_association(
            model,
            Entry(enc_id=29, group_size=36, group_stride=36, group_mean="all"),
            TokenSettings("hardest", "dot", 0.07, 0, "mean"),
            params,
            Encoded(a["image_tokens"], a["image"], a["text"]),
            a["tokens"],
            a["person_id"],
            jax.random.key(0),
            jnp.int32(0),
        )
    )(params)
    np.testing.assert_allclose(loss, arrays["output/itm"], rtol=0, atol=1e-5)


def test_released_ara_equals_the_release(released):
    arrays, params, model = released
    tokens, masked = jnp.asarray(arrays["input/tokens"]), jnp.asarray(arrays["input/masked"])

    @jax.jit
    def loss(params):
        fused = model.apply(
            {"params": params}, jnp.where(masked, 3, tokens), tokens != 0,
            jnp.asarray(arrays["input/image_tokens"]), method="decode_masked",
        )  # fmt: skip
        scores = model.apply({"params": params}, fused, method="predict_words")
        return masked_language_loss(scores, tokens, masked)

    np.testing.assert_allclose(loss(params), arrays["output/ara"], rtol=0, atol=1e-5)


def test_the_release_masks_what_is_tagged_and_the_separator(released):
    arrays, _, _ = released
    tokens, masked = arrays["input/tokens"], arrays["input/masked"]
    eligible = np.zeros_like(masked)
    eligible[:, 1:72] = arrays["input/tagged"]
    eligible |= tokens == 2  # [SEP]
    assert not (masked & ~eligible).any()
    assert masked[tokens == 2].any()
    assert 0.3 < masked.sum() / eligible.sum() < 0.5
