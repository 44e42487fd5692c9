"""What every method in jaxreid/methods must do, whatever it computes; at tiny sizes."""

import importlib
import pathlib
import re
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from jaxreid import methods
from jaxreid.data.dialogues import Dialogue, Round
from jaxreid.data.text import train_tokenizer
from jaxreid.optim import parameter_name

NAMES = sorted(
    path.stem for path in pathlib.Path(methods.__file__).parent.glob("*.py") if path.stem[0] != "_"
)
CAPTIONS = (
    "A man in a dark blue shirt and black jeans.",
    "A woman with a red backpack, white shoes and a long grey coat walks.",
    "The man carries a green bag.",
    "A tall person in blue jeans and a yellow jacket.",
    "Black shoes.",
    "A woman in a short red dress with white running shoes.",
    "A man with a grey cap and a red shirt.",
    "She wears a blue coat.",
)
DRAWS_NOTHING = {"clip"}  # methods whose loss is a function of parameters and batch alone
PERSON_ID = (0, 1, 2, 0, 3, 4, 4, 5)  # rows of one person are positives of each other
# Parts of the parameters that a loss moves at all times, unless their stage leaves them still.
LEARNING = ("vit", "text", "qformer", "inversion")


class Built:
    """A method built from its laptop recipe at tiny size, and what several tests need of it."""

    def __init__(self, name, vocabulary, dtype):
        recipe = importlib.import_module(f"configs.{name}").get_config
        self.config = tiny.recipe(recipe)
        self.config.text.tokenizer = vocabulary
        self.config.model.dtype = dtype
        self.config.train.batch_size = len(CAPTIONS)
        self.config.data.people = len(set(PERSON_ID))
        if "queue_length" in self.config[name]:
            self.config[name].queue_length = 12
        module = importlib.import_module(f"jaxreid.methods.{name}")
        self.method = module.make(self.config)
        # Whether it searches by a photo plus words, and whether it is trained on such triplets.
        self.composed = getattr(module, "QUERIES", "captions") == "triplets"
        self.triplets = getattr(module, "TRAINING", "captions") == "triplets"
        self.chats = getattr(module, "QUERIES", "captions") == "dialogues"
        self.stages = range(len(self.config.train.epochs))

    @cached_property
    def params(self):
        return jax.jit(self.method.init)(jax.random.key(1))

    @property
    def embedding(self):
        """E: where attributes rank, too, theirs follow the global one."""
        attributes = self.config.diana.attributes if self.chats else 0
        return self.config.model.embedding * (1 + attributes)

    @cached_property
    def memory(self):
        return jax.jit(self.method.init_memory)(jax.random.key(2), self.params)

    @cached_property
    def texts(self):
        return self.method.tokenize(self.said(CAPTIONS))

    def said(self, captions):
        """What `Method.tokenize` gets: sentences, or dialogues whose last answer is one."""
        if not self.chats:
            return list(captions)
        earlier = Round("Was it a man?", "Yes.")
        return [Dialogue((earlier, Round("What else?", text))) for text in captions]

    def record(self, i):
        """Training record i of a data set whose images are noise, of sizes that differ."""
        rng = np.random.default_rng(i)
        record = {
            "image": rng.integers(0, 256, (40 + i, 20 + i, 3), np.uint8),
            "text": {name: rows[i] for name, rows in self.texts.items()},
            "person_id": np.int32(PERSON_ID[i]),
            "image_id": np.int32(i),
        }
        return {**record, "reference": self.reference(i)} if self.triplets else record

    def reference(self, i):
        """The photo that is shown with text i."""
        return np.random.default_rng(100 + i).integers(0, 256, (30 + i, 25, 3), np.uint8)

    def query(self, i):
        """Query record i."""
        query = {"text": {name: rows[i] for name, rows in self.texts.items()}}
        return {**query, "reference": self.reference(i)} if self.composed else query

    @cached_property
    def queries(self):
        """What `encode_query` gets."""
        if not (self.composed or self.chats):
            return self.texts
        examples = [self.method.transform(self.query(i), None) for i in range(len(CAPTIONS))]
        return self.texts | {key: np.stack([e[key] for e in examples]) for key in examples[0]}

    @cached_property
    def batch(self):
        rng = np.random.default_rng(0)
        examples = [self.method.transform(self.record(i), rng) for i in range(len(CAPTIONS))]
        return {name: jnp.stack([example[name] for example in examples]) for name in examples[0]}

    @cached_property
    def forward(self):
        """`Method.loss`, compiled once a stage."""
        return jax.jit(self.method.loss, static_argnums=5)

    def loss(self, key, stage):
        """(loss, (memory, metrics)) of the batch in a stage, without gradient."""
        out = self.forward(self.params, self.memory, self.batch, key, jnp.int32(5), stage)
        return jax.device_get(out)

    @cached_property
    def step(self):
        """(loss, metrics, memory, gradient of params, gradient of memory) of the last stage."""

        def loss(params, floats, memory, batch, key):
            memory = jax.tree.map(lambda x, f: x if f is None else f, memory, floats)
            return self.method.loss(params, memory, batch, key, jnp.int32(5), self.stages[-1])

        # Integers have no gradient.
        floats = jax.tree.map(lambda x: x if x.dtype == jnp.float32 else None, self.memory)
        (loss, (memory, metrics)), grads = jax.jit(
            jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)
        )(self.params, floats, self.memory, self.batch, jax.random.key(3))
        return jax.device_get((loss, metrics, memory, *grads))

    @cached_property
    def encoders(self):
        """Compiled (encode_image, encode_query)."""
        return jax.jit(self.method.encode_image), jax.jit(self.method.encode_query)

    @cached_property
    def features(self):
        """Features of the images and of the queries of the batch."""
        image, query = self.encoders
        found = image(self.params, self.batch["image"]), query(self.params, self.queries)
        return jax.device_get(found)


@pytest.fixture(scope="module", autouse=True)
def quick_compilation():
    """Most of the time here is compilation; what it makes runs in no time anyway."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("vocabulary"))
    train_tokenizer(CAPTIONS, 90, folder)
    return folder


@pytest.fixture(scope="module", params=NAMES)
def built(request, vocabulary):
    return Built(request.param, vocabulary, "float32")


def _leaves(tree):
    return jax.tree_util.tree_flatten_with_path(tree)[0]


def _text_arrays(built):
    """Names of what an example has of a text at evaluation."""
    return {"tokens", "rounds", "turn"} if built.chats else {"tokens"}


def _rows(tree, index):
    return jax.tree.map(lambda x: x[np.array(index)], tree)


# Host functions


def test_texts_are_rows_of_numbers_in_the_order_given(built):
    assert "tokens" in built.texts
    for rows in built.texts.values():
        assert isinstance(rows, np.ndarray)
        assert len(rows) == len(CAPTIONS)
    alone = built.method.tokenize(built.said(CAPTIONS[3:4]))
    for name, rows in alone.items():
        whole = built.texts[name][3]
        if built.chats and whole.ndim:  # as wide as the longest
            whole = whole[: len(rows[0])]
        np.testing.assert_array_equal(rows[0], whole)


def test_text_without_words_is_refused_with_its_number(built):
    problem = r"caption 1 has no words.*: '\.\.\.'"
    with pytest.raises(ValueError, match=problem):
        built.method.tokenize(built.said([CAPTIONS[0], "..."]))


def test_training_transform_follows_its_generator(built):
    first, second, other = (
        built.method.transform(built.record(1), np.random.default_rng(seed)) for seed in (5, 5, 6)
    )
    assert set(first) == set(second) == set(other)
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])
        assert first[name].shape == other[name].shape
        assert first[name].dtype == other[name].dtype


def test_evaluation_transform_draws_nothing(built):
    first, second = (
        built.method.transform({**built.record(2), **built.query(2)}, None) for _ in range(2)
    )
    images = {"image", "reference"} if built.composed else {"image"}
    assert set(first) == images | _text_arrays(built)
    for name in images:
        assert first[name].shape == (*built.config.image.size, 3)
        assert first[name].dtype == np.uint8
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


def test_transform_takes_images_texts_and_references_alone(built):
    record = {**built.record(2), **built.query(2)}
    whole = built.method.transform(record, None)
    parts = {"image": {"image"}, "text": _text_arrays(built)}
    if built.composed:
        parts["reference"] = {"reference"}
    for name, made in parts.items():
        rest = {key: value for key, value in record.items() if key == name or key not in parts}
        alone = built.method.transform(rest, None)
        assert set(alone) == made
        for array in made:
            np.testing.assert_array_equal(alone[array], whole[array])


def test_training_example_has_the_images_it_is_trained_on(built):
    images = {"image", "reference"} if built.triplets else {"image"}
    found = {name for name, rows in built.batch.items() if rows.ndim == 4}
    assert found == images
    for name in images:
        assert built.batch[name].shape == (len(CAPTIONS), *built.config.image.size, 3)
    np.testing.assert_array_equal(built.batch["person_id"], PERSON_ID)


def test_transform_leaves_its_record_alone(built):
    record, again = built.record(4), built.record(4)
    built.method.transform(record, np.random.default_rng(0))
    for name in {"image", "reference"} & set(again):
        np.testing.assert_array_equal(record[name], again[name])
    for name in again["text"]:
        np.testing.assert_array_equal(record["text"][name], again["text"][name])


# Parameters and loss


def test_init_follows_its_key(built):
    init = jax.jit(built.method.init)
    again, other = (jax.tree.leaves(init(jax.random.key(seed))) for seed in (1, 2))
    params = jax.tree.leaves(built.params)
    assert all(np.array_equal(x, y) for x, y in zip(params, again, strict=True))
    assert not all(np.array_equal(x, y) for x, y in zip(params, other, strict=True))
    assert {x.dtype for x in params} == {np.dtype(np.float32)}


def test_loss_and_metrics_are_finite_numbers_in_every_stage(built):
    for stage in built.stages:
        loss, (_, metrics) = built.loss(jax.random.key(3), stage)
        for name, value in {"loss": loss, **metrics}.items():
            assert (value.shape, value.dtype) == ((), np.float32), name
            assert np.isfinite(value), name


def test_loss_is_the_same_for_the_same_key_alone(built):
    stage = built.stages[-1]
    first, second, other = (built.loss(jax.random.key(seed), stage)[0] for seed in (3, 3, 4))
    assert first == second
    # Negatives, dropout or masks are drawn.
    assert (first != other) == (built.config.method not in DRAWS_NOTHING)


def test_gradient_is_finite_and_moves_what_the_stage_trains(built):
    _, _, _, grads, _ = built.step
    trained = (built.config.optim.trained or (".*",))[-1]
    still, moved = set(), set()
    for path, grad in _leaves(grads):
        name = parameter_name(path)
        assert np.isfinite(grad).all(), name
        if re.fullmatch(trained, name):
            (moved if np.any(grad) else still).add(name.split("/")[0])
        else:
            assert not np.any(grad), name
    assert {part for part in LEARNING if part in still | moved} <= moved
    assert moved


def test_gradient_step_has_the_loss_that_is_reported_without_it(built):
    loss, (_, metrics) = built.loss(jax.random.key(3), built.stages[-1])
    np.testing.assert_allclose(built.step[0], loss, rtol=1e-5)
    assert set(built.step[1]) == set(metrics)


def test_memory_keeps_its_structure_and_moves_on(built):
    memory = built.step[2]
    assert jax.tree.structure(memory) == jax.tree.structure(built.memory)
    pairs = list(zip(*map(jax.tree.leaves, (built.memory, memory)), strict=True))
    for before, after in pairs:
        assert (before.shape, before.dtype) == (after.shape, after.dtype)
    assert not pairs or not all(np.array_equal(*pair) for pair in pairs)


def test_no_gradient_goes_into_memory(built):
    for path, grad in _leaves(built.step[4]):
        assert not np.any(grad), jax.tree_util.keystr(path)


# Retrieval


def test_embeddings_have_unit_norm(built):
    for features in built.features:
        assert features.embedding.shape == (len(CAPTIONS), built.embedding)
        assert features.embedding.dtype == np.float32
        norms = np.linalg.norm(features.embedding, axis=1)
        np.testing.assert_allclose(norms, 1, rtol=0, atol=1e-5)


def test_padding_does_not_change_a_query(built):
    tokens = built.texts["tokens"][4:5]
    length = int((tokens != 0).sum())
    assert length < tokens.shape[1]
    whole = {name: rows[4:5] for name, rows in built.queries.items()}
    cut = {name: whole[name][:, :length] for name in {"tokens", "rounds"} & set(whole)}
    short = built.encoders[1](built.params, {**whole, **cut})
    np.testing.assert_allclose(
        short.embedding[0], built.features[1].embedding[4], rtol=0, atol=1e-5
    )


def test_an_item_is_encoded_alike_in_any_batch(built):
    image, query = built.encoders
    order = np.array([3, 3, 7, 0, 1, 2, 4, 6])
    images = image(built.params, built.batch["image"][order])
    queries = query(built.params, {k: v[order] for k, v in built.queries.items()})
    for whole, part in zip(built.features, (images, queries), strict=True):
        np.testing.assert_allclose(part.embedding, whole.embedding[order], rtol=0, atol=1e-5)


def test_every_part_of_a_query_counts(built):
    order = np.roll(np.arange(len(CAPTIONS)), 1)
    names = ("tokens", "reference") if built.composed else ("tokens",)
    for name in names:
        changed = {**built.queries, name: built.queries[name][order]}
        other = built.encoders[1](built.params, changed)
        assert np.abs(other.embedding - built.features[1].embedding).max(axis=1).min() > 1e-5, name


def test_similarity_is_one_score_for_each_pair(built):
    images, queries = built.features
    five, three = _rows(queries, range(5)), _rows(images, [4, 0, 2])
    scores = jax.jit(built.method.similarity)(five, three)
    assert scores.shape == (5, 3)
    assert np.isfinite(scores).all()
    one = built.method.similarity(_rows(five, [1]), _rows(three, [2]))
    np.testing.assert_allclose(one[0, 0], scores[1, 2], rtol=0, atol=1e-5)


def test_match_scores_a_pair_alike_wherever_it_stands(built):
    if built.method.match is None:
        return  # similarity is final
    images, queries = built.features
    pairs = [(0, 1), (2, 3), (0, 0), (5, 6), (7, 7), (1, 4)]
    match = jax.jit(built.method.match)
    prepared = jax.jit(built.method.match_image)(built.params, images)

    def scores(pairs):
        rows = _rows(queries, [q for q, _ in pairs]), _rows(prepared, [i for _, i in pairs])
        return match(built.params, *rows)

    forward, backward = scores(pairs), scores(pairs[::-1])
    assert forward.shape == (len(pairs),)
    assert forward.dtype == np.float32
    assert np.isfinite(forward).all()
    assert len(set(forward.tolist())) == len(pairs)  # the pairs are told apart
    np.testing.assert_allclose(forward, backward[::-1], rtol=0, atol=1e-5)


def test_scores_take_tokens_as_they_are_kept_for_re_ranking(built):
    if built.method.match is None:
        return  # similarity is final
    images, queries = built.features
    kept = [
        features._replace(tokens=features.tokens.astype(jnp.bfloat16))
        for features in (queries, images)
    ]

    @jax.jit
    def match(queries, images):
        prepared = built.method.match_image(built.params, images)
        return built.method.match(built.params, queries, prepared)

    exact, rounded = match(queries, images), match(*kept)
    np.testing.assert_allclose(rounded, exact, rtol=0, atol=0.1)


# Reduced precision


def test_bfloat16_network_trains_and_ranks_in_float32(built, vocabulary):
    exact, built = built, Built(built.config.method, vocabulary, "bfloat16")
    built.params, built.memory = exact.params, exact.memory
    loss, (memory, metrics) = built.loss(jax.random.key(3), built.stages[-1])
    assert np.isfinite(loss)
    assert {x.dtype for x in (loss, *metrics.values())} == {np.dtype(np.float32)}
    for before, after in zip(*map(jax.tree.leaves, (built.memory, memory)), strict=True):
        assert before.dtype == after.dtype
    for whole, rounded in zip(exact.features, built.features, strict=True):
        difference = np.abs(rounded.embedding - whole.embedding).max()
        assert 0 < difference < 0.1
    images, queries = built.features
    for features in (images, queries):
        assert features.embedding.dtype == np.float32
        norms = np.linalg.norm(features.embedding, axis=1)
        np.testing.assert_allclose(norms, 1, rtol=0, atol=1e-2)
    assert np.isfinite(built.method.similarity(queries, images)).all()


# The folder is the registry


def test_every_method_has_a_recipe_and_imports_no_other_method():
    assert {"albef", "laip"} <= set(NAMES)
    for name in NAMES:
        module = importlib.import_module(f"jaxreid.methods.{name}")
        assert importlib.import_module(f"configs.{name}").get_config().method == name
        used = {getattr(value, "__module__", None) for value in vars(module).values()}
        assert not used & {f"jaxreid.methods.{other}" for other in NAMES if other != name}
