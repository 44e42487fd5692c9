"""DiaNA: network and losses equal PyTorch; dialogues are read as far as they may be.

tests/goldens/diana.npz is made by tools/goldens_diana.py.
"""

import importlib
import pathlib
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict
from tiny import QUICK, random_values, recipe

from configs import diana as recipes
from jaxreid.data.dialogue_text import Wording, dialogue_texts, encode_dialogues
from jaxreid.data.dialogues import Dialogue, Round, as_openings, with_openings
from jaxreid.data.records import CaptionError
from jaxreid.data.text import load_tokenizer, train_tokenizer
from jaxreid.losses.dialogue_alignment import (
    REDUCTIONS,
    attribute_similarity,
    flat,
    identity_itc,
    identity_sdm,
)
from jaxreid.methods import diana
from jaxreid.models.dialogue_alignment import DialogueAlignment
from jaxreid.models.projection import unit
from jaxreid.models.refiner import AttributeRefiner
from jaxreid.models.vit import normalise
from jaxreid.streams.dialogue_network import make_dialogue_network
from jaxreid.streams.dialogues import random_turn, retained
from jaxreid.weights.convert import Target, to_ours, to_published
from jaxreid.weights.names import find

GOLDEN = pathlib.Path(__file__).parent / "goldens" / "diana.npz"
HEADS, DEPTH, ATTRIBUTES, WIDTH = 4, 2, 5, 32
SCALE, EPSILON = 12.0, 1e-6
NAMES = ("", "attribute_")
DIALOGUES = (
    Dialogue(
        (Round("What did he wear?", "A red shirt."), Round("Any bag?", "No, none.")), "A man."
    ),
    Dialogue((Round("Was it a man?", "Yes, in dark blue jeans and a long grey coat."),)),
    Dialogue((), "A woman in a white dress."),
    Dialogue(tuple(Round(f"Question {i}?", f"Answer {i}.") for i in range(1, 6))),
)
PLAIN = Wording("", "", "", "albef")


class Given(nn.Module):
    """An encoder whose tokens are what it is given."""

    @nn.compact
    def __call__(self, x, mask=None, *, train=False):
        return x


MODEL = DialogueAlignment(
    vit=Given(),
    text=Given(),
    embedding=WIDTH,
    mean_image=True,
    last_token=True,
    refiner=AttributeRefiner(ATTRIBUTES, DEPTH, HEADS, 4 * WIDTH),
    text_refiner=None,
)


def stored():
    with np.load(GOLDEN) as arrays:
        return {name: arrays[name] for name in arrays.files}


@pytest.fixture(scope="module")
def golden():
    return stored()


def tree(golden, kind="weight", dtype=np.float32) -> dict:
    """Our parameters from the names of the release."""
    shapes = jax.eval_shape(
        MODEL.init, jax.random.key(0), golden["input/images"], golden["input/dialogues"],
        golden["input/mask"],
    )["params"]  # fmt: skip
    shapes = {name: leaf.shape for name, leaf in flatten_dict(shapes, sep="/").items()}
    state = {k.removeprefix(f"{kind}/"): x for k, x in golden.items() if k.startswith(f"{kind}/")}
    arrays, report = to_ours(state, find("diana"), Target(shapes), source="diana.npz", dtype=dtype)
    assert not report.unused
    assert to_published(arrays, find("diana"))[0].keys() == state.keys()
    return unflatten_dict(arrays, sep="/")


def run(golden, dtype=np.float32):
    """((sum, outputs), gradients of the parameters)."""
    model = MODEL
    person_id = golden["input/person_id"]
    images, dialogues = (golden[f"input/{x}"].astype(dtype) for x in ("images", "dialogues"))

    def loss(params):
        variables = {"params": params}
        image, image_attributes = model.apply(variables, images, method="encode_image")
        text, text_attributes = model.apply(
            variables, dialogues, golden["input/mask"], method="encode_text"
        )
        out = {
            "image_attributes": image_attributes,
            "text_attributes": text_attributes,
            "similarity": unit(image) @ unit(text).T,
            "attribute_similarity": attribute_similarity(
                unit(image_attributes), unit(text_attributes), "mean"
            ),
        }
        losses = {}
        for name in NAMES:
            scores = out[f"{name}similarity"]
            losses[f"{name}itc"] = identity_itc(scores, person_id, logit_scale=SCALE)
            losses[f"{name}sdm"] = identity_sdm(
                scores, person_id, logit_scale=SCALE, epsilon=EPSILON
            )
        return sum(losses.values()), {**out, **losses}

    step = jax.jit(jax.value_and_grad(loss, has_aux=True), compiler_options=QUICK)
    return step(tree(golden, dtype=dtype))


@pytest.fixture(scope="module")
def result(golden):
    return run(golden)


def differences(dtype) -> dict[str, float]:
    """Largest differences of outputs and gradients, for a process in which float32 is `dtype`."""
    golden = stored()
    (_, out), gradients = run(golden, dtype)
    found = {name: np.abs(x - golden[f"output/{name}"]).max() for name, x in out.items()}
    want = flatten_dict(tree(golden, "gradient", dtype), sep="/")
    for name, gradient in flatten_dict(gradients, sep="/").items():
        found[name] = np.abs(gradient - want[name]).max()
    return {name: float(difference) for name, difference in found.items()}


def test_attributes_and_similarities_equal_pytorch(golden, result):
    for name in ("image_attributes", "text_attributes", "similarity", "attribute_similarity"):
        np.testing.assert_allclose(result[0][1][name], golden[f"output/{name}"], rtol=0, atol=1e-5)


def test_losses_equal_pytorch(golden, result):
    for name in NAMES:
        for loss in ("itc", "sdm"):
            got, want = result[0][1][f"{name}{loss}"], golden[f"output/{name}{loss}"]
            np.testing.assert_allclose(got, want, rtol=1e-5)


def test_gradients_equal_pytorch(golden, result):
    want = tree(golden, "gradient")
    assert jax.tree.structure(result[1]) == jax.tree.structure(want)
    jax.tree.map(
        lambda got, want: np.testing.assert_allclose(got, want, rtol=0, atol=1e-5), result[1], want
    )


def test_losses_equal_a_double_precision_run():
    """Of logits 10 sin(1 + 3 i + 7 j), whose losses of one way another program computed."""
    i, j = np.mgrid[:4, :4]
    similarity, person_id = np.sin(1 + 3 * i + 7 * j), np.array([0, 1, 1, 2])
    target = (person_id[:, None] == person_id).astype(float)
    target /= target.sum(axis=1, keepdims=True)
    ways = []
    for logits in (10 * similarity, 10 * similarity.T):
        log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        divergence = np.exp(log_p) * (log_p - np.log(target + 1e-6))
        ways.append([-(target * log_p).sum(axis=1).mean(), divergence.sum(axis=1).mean()])
    np.testing.assert_allclose(ways[0], [2.59228349, 6.81281614], rtol=1e-6)
    scores = jnp.asarray(similarity, jnp.float32)
    itc = identity_itc(scores, jnp.asarray(person_id), logit_scale=10.0)
    sdm = identity_sdm(scores, jnp.asarray(person_id), logit_scale=10.0, epsilon=1e-6)
    np.testing.assert_allclose([itc, sdm], np.mean(ways, axis=0), rtol=1e-5)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_similarity_of_attributes_equals_a_loop(reduction):
    rng = np.random.default_rng(0)
    queries, images = rng.normal(size=(3, 4, 6)), rng.normal(size=(5, 4, 6))
    queries, images = (x / np.linalg.norm(x, axis=2, keepdims=True) for x in (queries, images))
    reduce = {
        "mean": lambda c: sum(c) / len(c),
        "max": max,
        "min": min,
        "logsumexp": lambda c: np.log(sum(np.exp(c))),
        "-logsumexp": lambda c: -np.log(sum(np.exp(-np.array(c)))),
    }[reduction]
    want = [[reduce([q @ g for q, g in zip(a, b, strict=True)]) for b in images] for a in queries]
    got = attribute_similarity(
        jnp.asarray(queries, jnp.float32), jnp.asarray(images, jnp.float32), reduction
    )
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-5)


def test_flat_attributes_are_unit_rows_whose_product_is_the_mean_cosine():
    rng = np.random.default_rng(1)
    x, y = (unit(jnp.asarray(rng.normal(size=(n, 4, 6)), jnp.float32)) for n in (3, 5))
    np.testing.assert_allclose(jnp.linalg.norm(flat(x), axis=1), 1, atol=1e-6)
    got = flat(x) @ flat(y).T
    np.testing.assert_allclose(got, attribute_similarity(x, y, "mean"), rtol=0, atol=1e-6)


def test_similarities_of_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"similarity must be \[3, 3\], got \(3, 4\)"):
        identity_itc(jnp.zeros((3, 4)), jnp.arange(3), logit_scale=1.0)
    with pytest.raises(ValueError, match=r"got \(2, 3, 4\) and \(2, 3, 5\)"):
        attribute_similarity(jnp.zeros((2, 3, 4)), jnp.zeros((2, 3, 5)), "mean")
    with pytest.raises(ValueError, match=r"reduction must be one of mean, .*, got 'sum'"):
        attribute_similarity(jnp.zeros((2, 3, 4)), jnp.zeros((2, 3, 4)), "sum")


# What is read of a dialogue


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("vocabulary"))
    train_tokenizer([dialogue.plain() for dialogue in DIALOGUES], 200, folder)
    return load_tokenizer(folder)


@pytest.fixture(scope="module")
def encoded(tokenizer):
    return encode_dialogues(tokenizer, DIALOGUES, PLAIN, 64)


def read(tokenizer, encoded, turn, length=64, keep="newest"):
    """Text of the retained tokens of each dialogue, with its special tokens."""
    rows, mask = retained(
        jnp.asarray(encoded["tokens"]), jnp.asarray(encoded["rounds"]), jnp.asarray(turn),
        length=length, cls_id=tokenizer.cls_id, end_id=tokenizer.sep_id, keep=keep,
    )  # fmt: skip
    assert rows.shape == mask.shape == (len(encoded["tokens"]), length)
    texts = []
    for row, seen in zip(np.asarray(rows), np.asarray(mask), strict=True):
        kept = row[seen]
        assert 0 not in kept
        np.testing.assert_array_equal(row[len(kept) :], 0)  # padding comes last
        assert (kept[0], kept[-1]) == (tokenizer.cls_id, tokenizer.sep_id)
        texts.append(tokenizer.backend.decode(kept[1:-1].tolist()))
    return texts


def test_the_first_rounds_are_read(tokenizer, encoded):
    assert encoded["turns"].tolist() == [2, 1, 0, 5]
    for turn in range(6):
        want = [" ".join(filter(None, dialogue_texts(d.first(turn), PLAIN))) for d in DIALOGUES]
        assert read(tokenizer, encoded, [turn] * 4) == want


def test_of_a_long_dialogue_the_newest_words_are_read(tokenizer, encoded):
    texts = read(tokenizer, encoded, [2, 1, 0, 4], length=8)
    whole = read(tokenizer, encoded, [2, 1, 0, 4])
    assert texts[3] == "answer 3 question 4 answer 4"
    for text, all_of_it in zip(texts, whole, strict=True):
        assert all_of_it.endswith(text)
    for text, all_of_it in zip(
        read(tokenizer, encoded, [2, 1, 0, 4], length=8, keep="oldest"), whole, strict=True
    ):
        assert all_of_it.startswith(text)


def test_what_is_cut_is_said(tokenizer, caplog):
    with caplog.at_level("WARNING", logger="absl"):
        encode_dialogues(tokenizer, DIALOGUES, PLAIN, 10)
    room = 8
    count = sum(
        len(tokenizer.backend.encode(" ".join(dialogue_texts(d, PLAIN))).ids) > room
        for d in DIALOGUES
    )
    assert f"{count} of 4 dialogues are longer than 8 tokens (the longest: 20)" in caplog.text
    assert "the oldest are left out, at most up to round 3" in caplog.text
    with caplog.at_level("WARNING", logger="absl"):
        encode_dialogues(tokenizer, DIALOGUES, PLAIN._replace(keep="oldest"), 10)
    assert "the newest are left out, at the earliest from round 1" in caplog.text


def test_roles_and_a_system_sentence_are_written_out(tokenizer):
    wording = Wording("A chat.", "ASSISTANT:", "USER:", "none")
    assert dialogue_texts(DIALOGUES[0], wording) == [
        "A chat. A man.",
        "ASSISTANT: What did he wear? USER: A red shirt.",
        "ASSISTANT: Any bag? USER: No, none.",
    ]


@pytest.mark.parametrize(
    ("dialogue", "problem"),
    [
        (Dialogue(()), "has neither a round nor an opening"),
        (Dialogue((), "..."), "has neither a round nor an opening"),
        (Dialogue((Round("What?", " "),)), "has no words in the answer of round 1: ' '"),
        (
            Dialogue((Round("What?", "Red."), Round("", "Blue."))),
            "has no words in the question of round 2: ''",
        ),
    ],
)
def test_a_dialogue_that_says_nothing_is_refused(tokenizer, dialogue, problem):
    with pytest.raises(CaptionError) as error:
        encode_dialogues(tokenizer, [DIALOGUES[0], dialogue], PLAIN, 64)
    assert str(error.value) == f"caption 1 {problem}"


def test_captions_are_dialogues_of_no_round():
    assert as_openings([["One."], ["Two.", "Three."]]) == (
        (Dialogue((), "One."),),
        (Dialogue((), "Two."), Dialogue((), "Three.")),
    )


def test_dialogues_open_with_the_captions_of_their_image_in_turn():
    asked = Dialogue((Round("Hat?", "No."),))
    opened = with_openings([[asked, asked, asked], []], [["One.", "Two."], []])
    assert [d.opening for d in opened[0]] == ["One.", "Two.", "One."]
    assert all(d.rounds == asked.rounds for d in opened[0])
    assert opened[1] == ()
    with pytest.raises(ValueError, match="image 1 has no caption"):
        with_openings([[], [asked]], [[], []])
    with pytest.raises(ValueError, match="a dialogue of image 0 has an opening already"):
        with_openings(opened, [["One."], []])


@pytest.mark.parametrize("fewest", [0, 1])
def test_random_round_retaining_is_uniform_over_the_rounds(fewest):
    turns = jnp.tile(jnp.array([0, 1, 5]), 6000)
    drawn = np.asarray(random_turn(jax.random.key(0), turns, fewest)).reshape(-1, 3)
    for column, most in zip(drawn.T, (0, 1, 5), strict=True):
        low = min(fewest, most)
        counts = np.bincount(column, minlength=most + 1)
        assert len(counts) == most + 1
        np.testing.assert_array_equal(counts[:low], 0)
        np.testing.assert_allclose(counts[low:] / 6000, 1 / (most - low + 1), atol=0.02)


# The method


def config_of(vocabulary="", **fields):
    config = recipe(recipes.get_config)
    config.text.tokenizer = vocabulary
    config.diana.update(fields)
    return config


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("vocabulary"))
    train_tokenizer([dialogue.plain() for dialogue in DIALOGUES], 200, folder)
    return folder


@pytest.fixture(scope="module")
def batch(vocabulary):
    method = diana.make(config_of(vocabulary))
    texts = method.tokenize(DIALOGUES)
    rng = np.random.default_rng(0)
    examples = [
        method.transform(
            {
                "image": rng.integers(0, 256, (40, 20, 3), np.uint8),
                "text": {name: rows[i] for name, rows in texts.items()},
                "person_id": np.int32((0, 1, 2, 0)[i]),
                "image_id": np.int32(i),
            },
            rng,
        )
        for i in range(len(DIALOGUES))
    ]
    return {name: jnp.stack([example[name] for example in examples]) for name in examples[0]}


def build(vocabulary, **fields):
    """(method, its parameters), quickly compiled."""
    method = diana.make(config_of(vocabulary, **fields))
    return method, jax.jit(method.init, compiler_options=QUICK)(jax.random.key(0))


@pytest.fixture(scope="module")
def params(vocabulary):
    return build(vocabulary)[1]


def features(vocabulary, params, batch, **fields):
    """(method, features of the dialogues, features of the images)."""
    method = diana.make(config_of(vocabulary, **fields))

    def both(params, batch):
        return method.encode_query(params, batch), method.encode_image(params, batch["image"])

    return method, *jax.jit(both, compiler_options=QUICK)(params, batch)


def test_inference_by_both_is_the_sum_of_global_and_attribute_similarity(vocabulary, params, batch):
    scores = {}
    for inference in diana.INFERENCE:
        method, queries, images = features(vocabulary, params, batch, inference=inference)
        assert queries.tokens is None
        np.testing.assert_allclose(jnp.linalg.norm(queries.embedding, axis=1), 1, atol=1e-5)
        scores[inference] = method.similarity(queries, images)
    both = (scores["global"] + scores["attribute"]) / 2
    np.testing.assert_allclose(scores["both"], both, rtol=0, atol=1e-5)


def test_the_best_attribute_can_rank(vocabulary, params, batch):
    method, queries, images = features(vocabulary, params, batch, reduction="max")
    best = attribute_similarity(queries.tokens, images.tokens, "max")
    want = queries.embedding @ images.embedding.T + best
    np.testing.assert_allclose(method.similarity(queries, images), want, rtol=0, atol=1e-5)


def test_modalities_may_have_a_refiner_each(vocabulary):
    shared, separate, none = (
        jax.eval_shape(diana.make(config_of(vocabulary, **fields)).init, jax.random.key(0))
        for fields in ({}, {"refiner": "separate"}, {"refiner": "none", "inference": "global"})
    )
    assert set(separate) - set(shared) == {"text_refiner"}
    assert set(shared) - set(none) == {"refiner"}


def losses(vocabulary, params, batch, **fields):
    """Loss and metrics of three steps."""
    method = diana.make(config_of(vocabulary, **fields))
    run = jax.jit(method.loss, static_argnums=5, compiler_options=QUICK)
    outs = [run(params, (), batch, jax.random.key(i), jnp.int32(0), 0) for i in range(3)]
    return [float(loss) for loss, _ in outs], [float(out["turn"]) for _, (_, out) in outs]


def test_rounds_are_left_out_in_training_where_they_are_not_to_be_retained(
    vocabulary, params, batch
):
    found, turns = losses(vocabulary, params, batch, mask_rate=0.0)
    assert len(set(turns)) > 1
    assert len(set(found)) > 1
    assert max(turns) <= 2
    found, turns = losses(vocabulary, params, batch, mask_rate=0.0, retain=False)
    assert set(turns) == {2.0}  # mean of 2, 1, 0 and 5
    assert len(set(found)) == 1


def test_tokens_are_masked_in_training(vocabulary, params, batch):
    found, _ = losses(vocabulary, params, batch, mask_rate=0.5, retain=False)
    assert len(set(found)) == 3


def test_a_query_is_read_up_to_its_turn(vocabulary, params):
    method = diana.make(config_of(vocabulary))
    texts = method.tokenize(DIALOGUES)
    rows = {name: values[3] for name, values in texts.items()}
    at = {
        turn: method.transform({"text": rows} | ({} if turn is None else {"turn": turn}), None)
        for turn in (None, 0, 2, 5, 9)
    }
    assert [int(example["turn"]) for example in at.values()] == [5, 0, 2, 5, 5]
    assert set(at[None]) == {"tokens", "rounds", "turn"}
    batch = {name: jnp.stack([example[name] for example in at.values()]) for name in at[None]}
    encode = jax.jit(method.encode_query, compiler_options=QUICK)
    embedding = encode(params, batch).embedding
    np.testing.assert_allclose(embedding[0], embedding[3], rtol=0, atol=1e-6)
    np.testing.assert_allclose(embedding[3], embedding[4], rtol=0, atol=1e-6)
    assert np.abs(embedding[2] - embedding[3]).max() > 1e-3
    assert np.abs(embedding[1] - embedding[2]).max() > 1e-3


def test_encoders_of_the_release_give_the_mean_of_patches_and_the_last_word(vocabulary, batch):
    config = config_of(vocabulary, image_pooling="mean", text_pooling="last", inference="global")
    config.model = recipes.get_config("released").model
    config.model.update(dtype="float32", embedding=16)
    config.model.swin.update(width=8, depths=(1, 1), heads=(1, 2), window=4, drop_path=0.0)
    config.model.llama.update(width=16, depth=1, heads=2, key_heads=1, mlp=24)
    method = diana.make(config)
    params = random_values(jax.eval_shape(method.init, jax.random.key(0)), seed=0)
    tokenizer = load_tokenizer(vocabulary)
    network = make_dialogue_network(config, tokenizer.vocabulary_size)
    kept, mask = retained(
        batch["tokens"], batch["rounds"], batch["turn"], length=24, cls_id=tokenizer.cls_id,
        end_id=tokenizer.sep_id, keep="newest",
    )  # fmt: skip
    pixels = normalise(batch["image"], tuple(config.image.mean), tuple(config.image.std))

    @partial(jax.jit, compiler_options=QUICK)
    def run(params, batch):
        features = method.encode_image(params, batch["image"]), method.encode_query(params, batch)
        patches = network.vit.apply({"params": params["vit"]}, pixels)
        words = network.text.apply({"params": params["text"]}, kept, mask)
        return [one.embedding for one in features], patches, words

    (image, text), patches, words = run(params, batch)
    last = words[np.arange(4), np.asarray(mask).sum(1) - 1]
    assert patches.shape == (4, 8, 16)
    for got, feature, name in ((image, patches.mean(1), "image"), (text, last, "text")):
        dense = params[f"{name}_proj"]
        want = unit(feature @ dense["kernel"] + dense["bias"][None])
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("refiner", "two", "diana.refiner must be one of shared, separate, none, got 'two'"),
        ("inference", "local", "diana.inference must be one of global, attribute, both"),
        ("reduction", "sum", "diana.reduction must be one of mean, max"),
        ("refiner", "none", 'diana.inference must be "global" where diana.refiner is "none"'),
        ("refiner_heads", 3, "diana.refiner_heads must divide model.embedding 16, got 3"),
        ("attributes", 0, "diana.attributes must be >= 1"),
        ("mask_rate", 1.0, r"diana.mask_rate must be in \[0, 1\), got 1.0"),
        ("fewest_rounds", 2, "diana.fewest_rounds must be 0 or 1, got 2"),
        ("query_std", 0.0, "diana.query_std must be > 0, got 0.0: equal queries stay equal"),
        ("epsilon", 0.0, "diana.epsilon must be > 0, got 0.0"),
        ("logit_scale", 200.0, "at most diana.logit_scale_limit 100.0, got 200.0"),
        ("text_pooling", "mean", "diana.text_pooling must be one of first, last, got 'mean'"),
    ],
)
def test_a_wrong_value_is_named_with_those_allowed(field, value, message):
    with pytest.raises(ValueError, match=message):
        diana.check(config_of(**{field: value}))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("source", "chats", r"dialogue\.source must be one of dialogues, both, captions"),
        ("keep", "all", r"dialogue\.keep must be one of newest, oldest, got 'all'"),
        ("breaks", (" ", "", " "), r"dialogue\.breaks must be three texts of white space"),
        ("breaks", (" ", " "), r"dialogue\.breaks must be three texts of white space"),
        ("per_image", -1, r"dialogue\.per_image must be >= 0, got -1"),
    ],
)
def test_how_dialogues_are_read_is_checked(field, value, message):
    config = config_of()
    config.dialogue[field] = value
    with pytest.raises(ValueError, match=message):
        diana.check(config)


@pytest.mark.parametrize(
    ("encoder", "name", "message"),
    [
        ("image_encoder", "swin", 'diana.image_pooling must be "mean" with an encoder that has no'),
        ("text_encoder", "llama", 'diana.text_pooling must be "last" with an encoder that reads'),
    ],
)
def test_an_encoder_without_a_first_token_that_has_read_all_is_pooled_otherwise(
    encoder, name, message
):
    config = config_of()
    config.model[encoder] = name
    with pytest.raises(ValueError, match=message):
        diana.check(config)


def test_refiner_has_the_size_of_the_release():
    """16.55 M parameters with 16 queries of 768 and 12 heads."""
    refiner = AttributeRefiner(attributes=16, depth=2, heads=12, mlp=3072)
    shapes = jax.eval_shape(refiner.init, jax.random.key(0), jnp.zeros((1, 72, 768)))
    count = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    assert count == 16_550_400
    assert importlib.import_module("configs.diana").get_config("chatpedes").diana.attributes == 16


def test_queries_that_start_far_apart_give_attributes_that_differ():
    """At the start: those of the release are all but equal. It says nothing of trained ones."""
    tokens = jax.random.normal(jax.random.key(1), (8, 12, 64))

    def alike(std):
        refiner = AttributeRefiner(attributes=4, depth=1, heads=2, mlp=64, query_std=std)
        found = unit(jax.jit(refiner.init_with_output)(jax.random.key(0), tokens)[0])
        cosines = np.einsum("bke,ble->bkl", found, found)
        return cosines[:, *np.triu_indices(4, 1)].mean()

    assert alike(0.02) > 0.999
    assert alike(1.0) < 0.9
