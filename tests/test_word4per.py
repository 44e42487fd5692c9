"""Word4Per equals its release and PyTorch, what its stages train, and its queries.

Parity files (tools/goldens_word4per.py): tests/goldens/word4per.npz, the method on transformers'
CLIPModel and CLIPTokenizer; tests/goldens/word4per_release.npz, numbers of the authors' code:
Delong-liu-bupt/Composed_Person_Retrieval@0cc1693, old_project/: model/word4per.py (IM2TEXT),
model/clip_model.py (encode_text_img, encode_text_img_retrieval, encode_text), model/objectives.py
(compute_sdm), datasets/bases.py (tokenize) and utils/simple_tokenizer.py, as
processor/processor.py and utils/metrics.py call them; random weights.
"""

import os
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from converted import converted, shapes, under
from tiny import QUICK, random_values, recipe

from configs import word4per as recipes
from jaxreid.data.bpe import load_bpe, train_bpe
from jaxreid.data.text import encode
from jaxreid.losses.sdm import sdm_loss
from jaxreid.methods import word4per
from jaxreid.models.clip import Clip, TextTower
from jaxreid.models.inversion import TINet
from jaxreid.optim import Adam, Group, Schedule, adamw, assign_groups, learning_rate
from jaxreid.streams.dual import text_feature
from jaxreid.streams.pseudo_word import Prompt, prompt_feature, prompted, read_prompt

GOLDENS = pathlib.Path(__file__).parent / "goldens"
ENCODERS, INVERSION = 0, 1  # stages of the recipe
RELEASED = ("layers.0.0", "layers.1.0", "fc_out")  # the release's names of linear layers
LOSSES = ("inversion_text", "inversion_image", "inversion_text_both", "inversion_image_both")


def load(name: str) -> dict:
    with np.load(GOLDENS / name) as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def golden():
    return load("word4per.npz")


@pytest.fixture(scope="module")
def released():
    return load("word4per_release.npz")


def net_tree(arrays, prefix: str, names: tuple[str, ...] = RELEASED) -> dict:
    """Parameters of a TINet from PyTorch's names of its three linear layers."""
    state = {
        f"img2text.{theirs}.{part}": arrays[f"{prefix}{name}.{part}"]
        for theirs, name in zip(RELEASED, names, strict=True)
        for part in ("weight", "bias")
    }
    network = {"inversion": {"text": shapes(TINet(20, 16, 0.1), jnp.zeros((1, 24)))}}
    return converted(state, "word4per", network)["inversion"]["text"]


def gradients_equal(got, want):
    """Each array, measured by its largest number.

    SDM's scale of 50 enlarges what float32 rounds: 1.5e-5 is left of the difference from float64.
    """
    assert jax.tree.structure(got) == jax.tree.structure(want)
    for leaf, expected in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        scale = np.abs(expected).max()
        np.testing.assert_allclose(leaf / scale, expected / scale, rtol=0, atol=3e-5)


@pytest.fixture(scope="module")
def make_config(golden, tmp_path_factory):
    """make_config(**fields of the method) -> config of the sizes of the parity file."""
    folder = tmp_path_factory.mktemp("vocabulary")
    train_bpe(golden["captions"].tolist(), int(golden["vocabulary"]), str(folder))

    def make(**fields):
        config = recipe(recipes.get_config)
        config.text.update(tokenizer=str(folder), max_tokens=24, clean="none", max_words=77)
        config.model.embedding = 24
        config.model.vit.update(width=32, depth=2, heads=4, mlp=64)
        config.model.bert.update(
            width=16, text_depth=2, cross_depth=1, heads=4, mlp=64, max_positions=24
        )
        config.data.people = 5
        config.word4per.update(
            {"hidden": 20, "dropout": 0.0, "logit_scale": 50.0, "inversions": word4per.AIMS}
        )
        config.word4per.update(fields)
        return config

    return make


@pytest.fixture(scope="module")
def params(golden, make_config):
    """The parity file's; IRRA's heads are random."""
    found = random_values(jax.eval_shape(word4per.make(make_config()).init, jax.random.key(0)), 0)
    nets = {aim: net_tree(golden, f"{aim}/weight/", ("0", "3", "6")) for aim in word4per.AIMS}
    towers = {name: found[name] for name in ("vit", "text")}
    state = under(golden, "clip/weight/")
    whole = {**found, **converted(state, "clip_hf", towers, (4, 2)), "inversion": nets}
    assert jax.tree.map(np.shape, whole) == jax.tree.map(np.shape, found)
    return jax.tree.map(jnp.asarray, whole)


@pytest.fixture(scope="module")
def batch(golden):
    return {name: golden[f"input/{name}"] for name in ("tokens", "person_id")} | {
        "image": golden["input/images"]
    }


# Parity with PyTorch


@pytest.fixture(scope="module")
def step(make_config, params, batch):
    """((loss, metrics), gradients) of the stage of the words; nothing is dropped."""
    method = word4per.make(make_config())

    def loss(params):
        value, (_, metrics) = method.loss(
            params, (), batch, jax.random.key(0), jnp.int32(0), INVERSION
        )
        return value, metrics

    return jax.jit(jax.value_and_grad(loss, has_aux=True), compiler_options=QUICK)(params)


def test_losses_of_each_aim_equal_pytorch(golden, step):
    (loss, metrics), _ = step
    assert set(metrics) == set(LOSSES)
    for name in LOSSES:
        np.testing.assert_allclose(metrics[name], golden[f"output/{name}"], rtol=1e-5)
    np.testing.assert_allclose(loss, sum(metrics.values()), rtol=1e-6)


def test_gradients_of_the_inversion_networks_equal_pytorch(golden, step):
    for aim in word4per.AIMS:
        want = net_tree(golden, f"{aim}/gradient/", ("0", "3", "6"))
        gradients_equal(step[1]["inversion"][aim], want)


def test_frozen_encoders_get_no_gradient(step):
    still = {name: part for name, part in step[1].items() if name != "inversion"}
    assert set(still) == {"vit", "text", "cross", "mlm_head", "classifier"}
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(still))


@pytest.fixture(scope="module")
def encode_queries(make_config, params):
    """encode_queries(reference, tokens) -> features in every form, by names of the parity file."""
    methods = {
        form: word4per.make(make_config(query=form)) for form in ("image", "text", "mean")
    } | {
        f"composed/{','.join(aims)}": word4per.make(make_config(inversions=aims))
        for aims in (("text",), ("text", "image"), ("image", "text"))
    }

    def run(params, query):
        return {
            name: method.encode_query(params, query).embedding for name, method in methods.items()
        }

    compiled = jax.jit(run, compiler_options=QUICK)
    return lambda reference, tokens: compiled(params, {"reference": reference, "tokens": tokens})


@pytest.fixture(scope="module")
def found(golden, encode_queries):
    return encode_queries(golden["input/references"], golden["input/tokens"])


@pytest.mark.parametrize("name", ["image", "text", "mean", "composed/text", "composed/text,image"])
def test_every_form_of_a_query_equals_pytorch(golden, found, name):
    np.testing.assert_allclose(found[name], golden[f"output/{name}"], rtol=0, atol=1e-5)


def test_fused_queries_are_the_unit_sum_whatever_the_order(found):
    np.testing.assert_allclose(
        found["composed/text,image"], found["composed/image,text"], rtol=0, atol=1e-6
    )
    norms = np.linalg.norm(found["composed/text,image"], axis=1)
    np.testing.assert_allclose(norms, 1, rtol=0, atol=1e-6)


def test_prompts_are_the_tokens_of_whole_sentences(golden, make_config):
    """As transformers' CLIPTokenizer reads them with the star in its place."""
    config = make_config()
    tokenizer = load_bpe(config.text.tokenizer, mask="added")
    rows = word4per.make(config).tokenize(golden["captions"].tolist())["tokens"]
    np.testing.assert_array_equal(rows, golden["input/tokens"])
    template = read_prompt(tokenizer, config.word4per.template, 24)
    sentences = np.array(prompted(template, jnp.asarray(rows), tokenizer.sep_id))
    assert (sentences[:, template.place] == 0).all()
    sentences[:, template.place] = golden["star"]
    np.testing.assert_array_equal(sentences, golden["queries"])

    prompt = read_prompt(tokenizer, config.word4per.prompt, 24)
    empty = jnp.array([[tokenizer.cls_id, tokenizer.sep_id]])
    alone = np.array(prompted(prompt, empty, tokenizer.sep_id)[0])
    alone[prompt.place] = golden["star"]
    np.testing.assert_array_equal(alone, golden["prompt"][: len(alone)])
    assert not golden["prompt"][len(alone) :].any()


# Parity with the release


@pytest.fixture(scope="module")
def released_step(released):
    """((sum of losses, results), gradient of the inversion network) on the release's numbers."""
    kept = released["kept"]
    text = TextTower(
        vocabulary=len(kept), max_positions=77, width=16, depth=2, heads=4, mlp=64, embedding=24,
        dropout=0.0, init_std=0.02,
    )  # fmt: skip
    model = Clip(vit=None, text=text, end_id=len(kept) - 1)
    net = TINet(20, 16, 0.1)
    prompt, query = (
        Prompt(released_prompt(released, *ids), place, 77)
        for ids, place in (((320, 1125, 539, None), 4), ((320, None, 533, 267), 2))
    )
    start, end = released["input/prompt"][[0, 5 - 1]]
    empty = jnp.tile(jnp.array([[start, end]]), (len(released["input/image"]), 1))
    person_id = released["input/person_id"]

    def run(own, params):
        words = net.apply({"params": own}, released["input/image"])
        meaning = prompt_feature(model, params, prompt, empty, words)
        text, _ = text_feature(model, params, released["input/tokens"])
        composed = prompt_feature(model, params, query, released["input/tokens"], words)
        losses = {
            f"loss_{name}": sdm_loss(meaning, other, person_id, logit_scale=50.0, epsilon=1e-8)
            for name, other in (("text", text), ("image", released["input/image"]))
        }
        results = {"words": words, "prompt": meaning, "text": text, "composed": composed}
        return sum(losses.values()), results | losses

    weights = under(released, "weight/")
    state = {f"base_model.{k}": v for k, v in weights.items() if not k.startswith("net.")}
    params = converted(state, "word4per", {"text": shapes(text, released["input/tokens"])})
    compiled = jax.jit(jax.value_and_grad(run, has_aux=True), compiler_options=QUICK)
    return compiled(net_tree(released, "weight/net."), {"vit": {}, **params})


def released_prompt(released, *ids) -> tuple[int, ...]:
    """Places of ids of CLIP's vocabulary among those kept; 0 for a word that is put in."""
    kept = released["kept"].tolist()
    return tuple(0 if i is None else kept.index(i) for i in ids)


@pytest.mark.parametrize("name", ["words", "prompt", "text", "composed"])
def test_features_equal_the_release(released, released_step, name):
    want = released[f"output/{name}"]
    np.testing.assert_allclose(released_step[0][1][name], want, rtol=1e-5, atol=1e-5)


def test_losses_equal_the_release(released, released_step):
    for name in ("loss_text", "loss_image"):
        got = released_step[0][1][name]
        np.testing.assert_allclose(got, released[f"output/{name}"], rtol=1e-5)


def test_gradients_equal_the_release(released, released_step):
    gradients_equal(released_step[1], net_tree(released, "gradient/net."))


def test_tokens_of_the_release_have_the_published_ids(released):
    kept = released["kept"]
    prompt = kept[released["input/prompt"]]
    assert prompt[:5].tolist() == [49406, 320, 1125, 539, 49407]
    assert kept[released["star"]] == 265
    queries = kept[released["input/queries"]]
    assert (queries[:, :5] == [49406, 320, 265, 533, 267]).all()
    assert (kept[released["input/tokens"]][-1] == 49407).argmax() == 76  # a text that is cut


@pytest.mark.external
def test_prompts_on_clips_vocabulary_have_the_ids_of_the_release(released):
    folder = pathlib.Path(os.environ["JAXREID_DATA"]) / "tokenizers" / "clip_hf"
    config = recipes.get_config("itcpr-stage2")
    tokenizer = load_bpe(str(folder), mask=config.word4per.mask_token)
    kept = released["kept"]
    rows = encode(tokenizer, released["captions"].tolist(), 77)["tokens"]
    np.testing.assert_array_equal(rows, kept[released["input/tokens"]])
    prompt = read_prompt(tokenizer, config.word4per.prompt, 77)
    assert prompt == Prompt((320, 1125, 539, 0), 4, 77)
    template = read_prompt(tokenizer, config.word4per.template, 77)
    assert template == Prompt((320, 0, 533, 267), 2, 77)
    queries = kept[released["input/queries"]]
    queries[:, 2] = 0
    got = prompted(template, jnp.asarray(rows), 49407)
    np.testing.assert_array_equal(got, queries)


# Texts with a prompt


def test_prompted_equals_a_reference_for_texts_of_any_length():
    rng = np.random.default_rng(0)
    start, end, limit = 98, 99, 11
    prompt = Prompt((7, 0, 8, 9), 2, limit)
    for length in (2, 7, 8, limit):
        rows, want = [], []
        for _ in range(8):
            words = rng.integers(1, 98, size=rng.integers(0, length - 1)).tolist()
            row = [start, *words, end]
            rows.append(row + [0] * (length - len(row)))
            whole = [start, *prompt.ids, *words, end]
            if len(whole) > limit:
                whole = [*whole[: limit - 1], end]
            want.append(whole + [0] * (min(limit, length + 4) - len(whole)))
        got = prompted(prompt, jnp.array(rows, jnp.int32), end)
        assert got.dtype == jnp.int32
        assert got.tolist() == want


def test_a_word_may_stand_first_or_last_in_a_prompt(make_config):
    tokenizer = load_bpe(make_config().text.tokenizer, mask="added")
    photo = read_prompt(tokenizer, "photo of *", 24)
    assert (photo.ids[-1], photo.place) == (0, len(photo.ids))
    first = read_prompt(tokenizer, "* is , {caption}", 24)
    assert (first.ids[0], first.place) == (0, 1)
    assert read_prompt(tokenizer, "*{caption}", 24) == Prompt((0,), 1, 24)


# The method


def test_a_composed_query_depends_on_the_photo_and_on_the_words(golden, found, encode_queries):
    order = np.array([1, 2, 3, 4, 5, 0])
    reference, tokens = golden["input/references"], golden["input/tokens"]
    one = found["composed/text"]
    for other in (
        encode_queries(reference[order], tokens)["composed/text"],
        encode_queries(reference, tokens[order])["composed/text"],
    ):
        assert np.abs(other - one).max(axis=1).min() > 1e-3


def test_words_beyond_the_cut_change_nothing(golden, found, encode_queries):
    """The last tokens of a text have no place behind the prompt."""
    reference, tokens = golden["input/references"], golden["input/tokens"].copy()
    long = np.flatnonzero(tokens[:, -1] != 0)[0]
    tokens[long, -4:-1] = golden["star"]
    other = encode_queries(reference, tokens)["composed/text"]
    np.testing.assert_allclose(other[long], found["composed/text"][long], rtol=0, atol=1e-6)
    tokens[long, -8:-4] = golden["star"]
    other = encode_queries(reference, tokens)["composed/text"]
    assert np.abs(other[long] - found["composed/text"][long]).max() > 1e-4


@pytest.mark.parametrize(("stage", "words"), [(ENCODERS, False), (INVERSION, True)])
def test_stages_of_the_recipe_train_words_or_all_else(make_config, params, stage, words):
    config = make_config()
    groups = tuple(Group(*group) for group in config.optim.groups)
    tx = adamw(
        Adam(0.9, 0.999, 1e-8, 1.0, 1), groups, lambda step: 0.1, config.optim.trained[stage]
    )
    leaves = {part: {"kernel": jnp.ones(2), "bias": jnp.ones(2)} for part in params}
    updates, _ = jax.jit(tx.update)(leaves, tx.init(leaves), leaves)
    moved = {part: bool(np.any(leaf["kernel"])) for part, leaf in updates.items()}
    assert moved == {part: (part == "inversion") == words for part in params}
    for update in updates.values():
        assert np.any(update["bias"]) == np.any(update["kernel"])


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("stages", ("encoders",), r"must name one of encoders, inversion for each stage of "
         r"train.epochs \(1, 1\), got \('encoders',\)"),
        ("stages", ("encoders", "words"), r"must name one of encoders, inversion .*'words'\)"),
        ("inversions", (), r"must be some of text, image, text\+image, once each, got \(\)"),
        ("inversions", ("text", "text"), "must be some of .*, once each, got .*'text', 'text'"),
        ("inversions", ("caption",), r"must be some of .*, got \('caption',\)"),
        ("query", "photo", "must be one of composed, image, text, mean, got 'photo'"),
        ("hidden", 0, "must be >= 1, got 0"),
        ("dropout", 1.0, r"must be in \[0, 1\), got 1.0"),
        ("losses", ("cmpm",), r"must be some of sdm, mlm, id, itc, once each, got \('cmpm',\)"),
        ("logit_scale", 0.0, "must be > 0, got 0.0"),
        ("epsilon", 0.0, "must be > 0, got 0.0"),
        ("prompt", "a photo of", r"must have one '\*' and no '{caption}', got 'a photo of'"),
        ("prompt", "a * of *", r"must have one '\*' and no '{caption}', got 'a \* of \*'"),
        ("prompt", "a *, {caption}", r"must have one '\*' and no '{caption}', got"),
        ("template", "a is , {caption}", r"must have one '\*' and end in '{caption}', got"),
        ("template", "a * is *, {caption}", r"must have one '\*' and end in '{caption}', got"),
        ("template", "a * is ,", r"must have one '\*' and end in '{caption}', got 'a \* is ,'"),
        ("template", "{caption} of *", r"must have one '\*' and end in '{caption}', got"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_named_with_those_allowed(make_config, field, value, message):
    with pytest.raises(ValueError, match=f"^word4per.{field} {message}"):
        word4per.make(make_config(**{field: value}))


def test_too_few_tokens_for_a_prompt_are_named_with_their_least_number(make_config):
    config = make_config(prompt="*")
    tokenizer = load_bpe(config.text.tokenizer, mask="added")
    least = 3 + len(read_prompt(tokenizer, config.word4per.template, 24).ids)
    config.text.max_tokens = least
    word4per.make(config)
    config.text.max_tokens = least - 1
    with pytest.raises(
        ValueError,
        match=rf"^text.max_tokens must be at least {least} for the prompt 'a \* is , "
        rf"{{caption}}', got {least - 1}$",
    ):
        word4per.make(config)


# The inversion network and the recipe


@pytest.mark.parametrize(("inputs", "width", "count"), [(512, 512, 787_968), (768, 768, 1_050_368)])
def test_inversion_network_has_the_published_size(inputs, width, count):
    row = jnp.zeros((1, inputs))
    params = jax.eval_shape(TINet(512, width, 0.1).init, jax.random.key(0), row)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == count


def test_inversion_network_starts_as_linear_layers_of_pytorch():
    net = TINet(100, 50, 0.1)
    init = jax.jit(net.init, compiler_options=QUICK)
    params = init(jax.random.key(0), jnp.zeros((1, 25)))["params"]
    for name, inputs in (("fc1", 25), ("fc2", 100), ("out", 100)):
        limit = inputs**-0.5
        for leaf in params[name].values():
            assert 0.9 * limit < np.abs(leaf).max() <= limit
            assert abs(np.std(leaf) / limit - 3**-0.5) < 0.1


def test_stage_of_the_words_has_rates_and_decay_of_the_release():
    """solver/build.py and utils/options.py on the names of IM2TEXT."""
    config = recipes.get_config("itcpr-stage2")
    o, steps = config.optim, 10
    params = {"inversion": {"text": {"fc1": {"kernel": 0.0, "bias": 0.0}}}}
    groups = assign_groups(params, tuple(Group(*group) for group in o.groups))
    found = groups["inversion"]["text"]["fc1"]
    assert found["kernel"][1:] == (1.0, 4e-5, "adamw")
    assert found["bias"][1:] == (2.0, 0.0, "adamw")
    assert (o.beta1, o.beta2, o.epsilon, o.clip_norm) == (0.9, 0.999, 1e-8, 0.0)
    assert (config.train.batch_size, tuple(config.train.epochs)) == (128, (60,))
    schedule = Schedule(
        o.learning_rate, o.min_learning_rate, o.warmup_learning_rate, o.warmup_epochs, o.period
    )
    rate = jax.jit(learning_rate(schedule, config.train.epochs[0], steps))
    # LRSchedulerWithWarmup: 0.1 to 1 over 5 epochs, then half a cosine to 0 at 60.
    for epoch in (0, 1, 4, 5, 20, 59):
        if epoch < 5:
            want = 1e-4 * (0.1 * (1 - epoch / 5) + epoch / 5)
        else:
            want = 1e-4 * 0.5 * (1 + np.cos(np.pi * (epoch - 5) / 55))
        for step in (0, steps - 1):
            np.testing.assert_allclose(rate(epoch * steps + step), want, rtol=1e-3)


def test_one_run_trains_the_words_at_their_own_rate():
    config, alone = recipes.get_config("itcpr"), recipes.get_config("itcpr-stage2")
    params = {"inversion": {"text": {"fc1": {"kernel": 0.0, "bias": 0.0}}}}

    def rates(config):
        groups = tuple(Group(*g) for g in config.optim.groups if "cross" not in g[0])
        groups = tuple(g for g in groups if "classifier" not in g.pattern)
        used = [g for g in groups if g.pattern.startswith("inversion/")] or groups
        found = assign_groups(params, tuple(used))["inversion"]["text"]["fc1"]
        return {
            name: (config.optim.learning_rate * group.rate, group.decay, group.kind)
            for name, group in found.items()
        }

    for name, values in rates(alone).items():
        assert rates(config)[name] == pytest.approx(values)


def test_recipe_has_the_values_of_the_release():
    c = recipes.get_config("itcpr").word4per
    assert (c.logit_scale, c.epsilon, c.hidden, c.dropout) == (50.0, 1e-8, 512, 0.1)
    assert (c.prompt, c.template) == ("a photo of *", "a * is , {caption}")
    assert (tuple(c.losses), tuple(c.inversions)) == (("sdm", "id"), ("text",))
    one = recipes.get_config("itcpr-stage1")
    assert (one.train.batch_size, one.optim.learning_rate, one.optim.epsilon) == (64, 1e-5, 1e-3)
