"""FAFA equals PyTorch, loss and gradient, and its recipes build.

tests/goldens/fafa.npz is made by tools/goldens_fafa.py; of fafa_release.npz see test_qformer.py.
"""

import pathlib
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from fafa_names import fafa_tree
from flax.traverse_util import flatten_dict

from configs import fafa as recipes
from jaxreid.data.text import train_tokenizer
from jaxreid.losses.fda import fda_loss, token_similarity
from jaxreid.losses.feature_diversity import (
    feature_diversity_loss,
    released_feature_diversity_loss,
)
from jaxreid.losses.masked_feature import masked_feature_loss
from jaxreid.methods import Features, fafa
from jaxreid.models.distribution_uncertainty import distribution_uncertainty
from jaxreid.models.feature_predictor import FeaturePredictor
from jaxreid.models.projection import Projection
from jaxreid.models.qformer import QFormer
from jaxreid.models.vit import ViT
from jaxreid.optim import Adam, Group, adamw
from jaxreid.start import load_start, read_rules
from jaxreid.streams.query_former import (
    QueryFormer,
    embed_image,
    embed_pair,
    freeze_image,
    image_tokens,
    init_query_former,
    read_image,
    read_pair,
)

GOLDENS = pathlib.Path(__file__).parent / "goldens"
TOLERANCE = {"rtol": 0, "atol": 1e-5}
CAPTIONS = ("a man in a red coat", "she has a bag now", "blue jeans", "a green hat", "no bag")


@pytest.fixture(scope="module", autouse=True)
def quick_compilation():
    """Most of the time here is compilation; what it makes runs in no time anyway."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


def network(width: int = 32, image_width: int = 24, hidden: int = 20) -> QueryFormer:
    """The network of fafa.npz."""
    return QueryFormer(
        vit=ViT((28, 28), 7, image_width, depth=2, heads=2, mlp=40, norm_epsilon=1e-5),
        qformer=QFormer(
            41, queries=5, width=width, depth=3, heads=4, mlp=48, max_positions=20, dropout=0.0
        ),
        image_proj=Projection(16),
        text_proj=Projection(16),
        predictor=FeaturePredictor(width, hidden),
    )


def shapes_of(model: QueryFormer) -> dict:
    """Shapes of its parameters."""
    init = partial(init_query_former, model, max_tokens=17, temperature=1.0)
    return jax.eval_shape(init, jax.random.key(0))


# Parity with PyTorch


def stored():
    with np.load(GOLDENS / "fafa.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def golden():
    return stored()


def tree(golden, kind, dtype=np.float32):
    """Parameters or gradients; those of the frozen image encoder have no gradient."""
    wanted = ".*" if kind == "weight" else "vit/norm/.*|(?!vit/).*"
    return fafa_tree(golden, kind, shapes_of(network()), wanted, dtype)


def run(golden, dtype=np.float32):
    """((sum of the losses, outputs), gradients)."""
    model = network()
    inputs = {
        name.removeprefix("input/"): x.astype(dtype) if x.dtype == np.float32 else x
        for name, x in golden.items()
        if name.startswith("input/")
    }

    def total(params):
        params = freeze_image(params)
        patches = image_tokens(model, params, inputs["reference"])
        query = read_pair(model, params, patches, inputs["tokens"])
        seen = read_image(model, params, image_tokens(model, params, inputs["target"]))
        moved = distribution_uncertainty(seen, inputs["noise"])
        tokens = embed_image(model, params, moved)
        similarity = token_similarity(embed_pair(model, params, query), tokens, 3)
        out = {"patches": patches, "query": query, "seen": seen, "moved": moved}
        out["similarity"] = similarity
        out["fda"] = fda_loss(
            similarity, inputs["person_id"], temperature=params["temperature"], alpha=0.5
        )
        out["fd"] = feature_diversity_loss(tokens, margin=0.1)
        out["mfr"] = masked_feature_loss(
            query,
            seen.mean(axis=1),
            *inputs["masks"],
            partial(model.predictor.apply, {"params": params["predictor"]}),
        )
        return out["fda"] + out["fd"] + 0.5 * out["mfr"], out

    step = jax.jit(jax.value_and_grad(total, has_aux=True), compiler_options=tiny.QUICK)
    return step(jax.tree.map(jnp.asarray, tree(golden, "weight", dtype)))


@pytest.fixture(scope="module")
def result(golden):
    return run(golden)


def differences(dtype) -> dict[str, float]:
    """Largest differences of outputs and gradients, for a process in which float32 is `dtype`."""
    golden = stored()
    (_, out), gradients = run(golden, dtype)
    golden["output/query"] = golden["output/fused"][:, 5]
    found = {name: np.abs(x - golden[f"output/{name}"]).max() for name, x in out.items()}
    want = flatten_dict(tree(golden, "gradient", dtype), sep="/")
    for name, gradient in flatten_dict(gradients, sep="/").items():
        if name in want:  # the rest is frozen
            found[name] = np.abs(gradient - want[name]).max()
    return {name: float(difference) for name, difference in found.items()}


@pytest.mark.parametrize("name", ["patches", "seen", "moved", "similarity", "fda", "fd", "mfr"])
def test_features_and_losses_equal_pytorch(golden, result, name):
    np.testing.assert_allclose(result[0][1][name], golden[f"output/{name}"], **TOLERANCE)


def test_feature_of_a_query_is_cls_of_its_words(golden, result):
    np.testing.assert_allclose(result[0][1]["query"], golden["output/fused"][:, 5], **TOLERANCE)


def test_gradients_of_all_that_is_trained_equal_pytorch(golden, result):
    expected = tree(golden, "gradient")
    gradients = result[1] | {"vit": {"norm": result[1]["vit"]["norm"]}}
    assert jax.tree.structure(gradients) == jax.tree.structure(expected)
    flat = jax.tree_util.tree_flatten_with_path(gradients)[0]
    for (path, gradient), wanted in zip(flat, jax.tree.leaves(expected), strict=True):
        scale = max(1.0, np.abs(wanted).max())
        np.testing.assert_allclose(
            gradient / scale, wanted / scale, **TOLERANCE, err_msg=jax.tree_util.keystr(path)
        )


def test_frozen_image_encoder_has_no_gradient_but_for_its_final_norm(result):
    for name, part in result[1]["vit"].items():
        largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(part))
        assert (largest > 0) == (name == "norm"), name


# Parity with the release


def test_losses_and_features_equal_the_release():
    with np.load(GOLDENS / "fafa_release.npz") as arrays:
        golden = dict(arrays)
    inputs = {k.removeprefix("input/"): v for k, v in golden.items() if k.startswith("input/")}
    model = network(hidden=512)
    wanted = ("weight/vision_proj", "weight/text_proj", "weight/mlm_predictor")
    names = {key: x for key, x in golden.items() if key.startswith(wanted)}
    heads = fafa_tree(names, "weight", shapes_of(model), "(image_proj|text_proj|predictor)/.*")
    params = jax.tree.map(jnp.asarray, heads)

    @partial(jax.jit, compiler_options=tiny.QUICK)
    def run(fusion, target):
        query = fusion[:, 5]
        moved = distribution_uncertainty(target, inputs["noise"])
        out = {"query": embed_pair(model, params, query), "moved": moved}
        out["tokens"] = embed_image(model, params, moved)
        out["similarity"] = token_similarity(out["query"], out["tokens"], 3)
        out["fda"] = fda_loss(out["similarity"], inputs["person_id"], temperature=0.07, alpha=1.0)
        out["fd"] = released_feature_diversity_loss(jax.random.key(0), out["tokens"], margin=0.1)
        out["mfr"] = masked_feature_loss(
            query,
            target.mean(axis=1),
            inputs["query_mask"],
            inputs["image_mask"],
            partial(model.predictor.apply, {"params": params["predictor"]}),
        )
        return out

    for name, value in run(golden["output/fusion"], golden["output/target"]).items():
        np.testing.assert_allclose(value, golden[f"output/{name}"], **TOLERANCE, err_msg=name)


# The method


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("vocabulary"))
    train_tokenizer(CAPTIONS, 60, folder)
    return folder


def config_of(vocabulary, variant="", **fields):
    """A laptop recipe at the sizes of tests/tiny.py, with fields of its own section."""
    config = recipes.get_config(variant)
    config.start, config.text.tokenizer = "", vocabulary
    config.image.size = (16, 8)
    config.text.max_tokens = 12
    config.model.embedding = 16
    config.model.vit.update(patch=8, width=32, depth=1, heads=2, mlp=48)
    config.model.bert.update(
        width=32, text_depth=2, cross_depth=1, heads=2, mlp=48, max_positions=12
    )
    config.fafa.update(dict(queries=4, top_tokens=2) | fields)
    return config


@pytest.fixture(scope="module")
def built(vocabulary):
    """(config, method, params, batch)."""
    config = config_of(vocabulary)
    method = fafa.make(config)
    params = tiny.random_values(jax.eval_shape(method.init, jax.random.key(0)), seed=1)
    rng = np.random.default_rng(2)
    batch = {
        "image": jnp.asarray(rng.integers(0, 256, (5, 16, 8, 3), np.uint8)),
        "reference": jnp.asarray(rng.integers(0, 256, (5, 16, 8, 3), np.uint8)),
        "tokens": jnp.asarray(method.tokenize(CAPTIONS)["tokens"]),
        "person_id": jnp.array([0, 1, 0, 2, 3]),
    }
    return config, method, params, batch


@pytest.fixture(scope="module")
def features(built):
    """Features of the queries and of the images of the batch."""
    _, method, params, batch = built
    query = {name: batch[name] for name in ("reference", "tokens")}
    encode = jax.jit(method.encode_query, compiler_options=tiny.QUICK)
    images = jax.jit(method.encode_image, compiler_options=tiny.QUICK)
    return encode(params, query), images(params, batch["image"])


@pytest.fixture(scope="module")
def losses(built, vocabulary):
    """name -> (loss, metrics, gradient) of one step with one field changed."""
    _, _, params, batch = built

    def compiled(gradient, variant, moves=1.0):
        method = fafa.make(config_of(vocabulary, variant, uncertainty_probability=moves))

        def loss(params):
            value, (_, metrics) = method.loss(params, (), batch, jax.random.key(3), jnp.int32(0), 0)
            return value, metrics

        step = jax.value_and_grad(loss, has_aux=True) if gradient else loss
        return jax.device_get(jax.jit(step, compiler_options=tiny.QUICK)(params))

    (value, metrics), gradient = compiled(True, "frozen")
    (trained_value, trained_metrics), trained = compiled(True, "")
    return {
        "paper": (value, metrics, gradient),
        "trained": (trained_value, trained_metrics, trained),
        "released": (*compiled(False, "released"), None),
        "unmoved": (*compiled(False, "frozen", moves=0.0), None),
    }


def test_loss_is_the_weighted_sum_of_its_parts(losses):
    value, metrics, _ = losses["paper"]
    total = metrics["fda"] + 1.0 * metrics["fd"] + 0.5 * metrics["mfr"]
    np.testing.assert_allclose(value, total, rtol=1e-6)
    assert min(metrics["fda"], metrics["fd"], metrics["mfr"]) > 0


def test_form_of_the_release_changes_alignment_and_diversity_alone(losses):
    paper, released = (losses[form][1] for form in ("paper", "released"))
    assert abs(paper["fda"] - released["fda"]) > 1e-2
    assert abs(paper["fd"] - released["fd"]) > 1e-3
    np.testing.assert_allclose(paper["mfr"], released["mfr"], rtol=1e-6)


def test_masked_features_are_those_whose_statistics_did_not_move(losses):
    moved, unmoved = (losses[form][1] for form in ("paper", "unmoved"))
    assert abs(moved["fda"] - unmoved["fda"]) > 1e-2
    assert abs(moved["fd"] - unmoved["fd"]) > 1e-2
    np.testing.assert_allclose(moved["mfr"], unmoved["mfr"], rtol=1e-6)


def test_alignment_is_that_of_references_with_words_to_images_as_they_are_ranked(
    built, features, losses
):
    config, method, _, batch = built
    queries, images = features
    metrics = losses["unmoved"][1]
    expected = fda_loss(
        method.similarity(queries, images), batch["person_id"],
        temperature=metrics["temperature"], alpha=config.fafa.partial_alpha,
    )  # fmt: skip
    np.testing.assert_allclose(metrics["fda"], expected, rtol=1e-5)
    diversity = feature_diversity_loss(images.tokens, margin=config.fafa.margin)
    np.testing.assert_allclose(metrics["fd"], diversity, rtol=1e-5)


def test_image_encoder_learns_where_it_is_not_frozen(losses):
    for form, learns in (("paper", False), ("trained", True)):
        vit = losses[form][2]["vit"]
        for name, part in vit.items():
            largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(part))
            assert (largest > 0) == (learns or name == "norm"), name
    np.testing.assert_allclose(losses["paper"][0], losses["trained"][0], rtol=1e-6)


def test_everything_else_learns(losses):
    still = [
        jax.tree_util.keystr(path)
        for path, leaf in jax.tree_util.tree_flatten_with_path(losses["paper"][2])[0]
        if path[0].key != "vit" and not np.abs(leaf).max() > 0
    ]
    assert still == []


@pytest.mark.parametrize("variant", ["frozen", "syncpr"])
def test_step_of_the_optimiser_leaves_a_frozen_encoder_as_it_is(built, losses, variant):
    params, gradient = built[2], losses["paper"][2]
    o = recipes.get_config(variant).optim
    adam = Adam(o.beta1, o.beta2, o.epsilon, o.clip_norm, o.accumulate)
    groups = tuple(Group(*group) for group in o.groups)
    optimiser = adamw(adam, groups, lambda step: jnp.float32(1e-3))

    @partial(jax.jit, compiler_options=tiny.QUICK)
    def step(params, gradient):
        return optimiser.update(gradient, optimiser.init(params), params)[0]

    for name, part in step(params, gradient)["vit"].items():
        largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(part))
        assert (largest > 0) == (name == "norm"), name


def test_temperature_stays_within_its_limits_and_still_learns(built):
    config, method, params, batch = built

    def loss(temperature):
        high = params | {"temperature": temperature}
        value, (_, metrics) = method.loss(high, (), batch, jax.random.key(3), jnp.int32(0), 0)
        return value, metrics["temperature"]

    step = jax.jit(jax.value_and_grad(loss, has_aux=True), compiler_options=tiny.QUICK)
    (_, used), gradient = step(jnp.float32(9.0))
    np.testing.assert_allclose(used, config.fafa.temperature_limits[1])
    assert gradient != 0


def test_score_is_the_mean_of_the_best_tokens_of_an_image(built, features):
    method, (queries, images) = built[1], features
    assert images.tokens.shape == (5, 4, 16)
    for rows in (images.tokens, images.embedding, queries.embedding):
        np.testing.assert_allclose(np.linalg.norm(rows, axis=-1), 1, rtol=0, atol=1e-5)
    mean = np.asarray(images.tokens).mean(1)
    np.testing.assert_allclose(
        images.embedding, mean / np.linalg.norm(mean, axis=1, keepdims=True), **TOLERANCE
    )
    cosines = np.einsum("qe,gne->qgn", queries.embedding, images.tokens)
    expected = np.sort(cosines, axis=-1)[..., -2:].mean(-1)
    np.testing.assert_allclose(method.similarity(queries, images), expected, **TOLERANCE)
    bare = Features(images.embedding * 0, images.tokens)
    np.testing.assert_allclose(method.similarity(queries, bare), expected, **TOLERANCE)


def test_query_depends_on_both_its_image_and_its_words(built):
    _, method, params, batch = built
    encode = jax.jit(method.encode_query, compiler_options=tiny.QUICK)
    query = {name: batch[name] for name in ("reference", "tokens")}
    whole = encode(params, query).embedding
    for name in query:
        other = encode(params, query | {name: query[name][::-1]}).embedding
        assert np.abs(other - whole).max(axis=1)[[0, 1, 3, 4]].min() > 1e-3


def test_parts_of_a_query_are_compared_as_vectors_of_their_own(built):
    config, method, params, batch = built
    query = {name: batch[name] for name in ("reference", "tokens")}
    other = {name: rows[::-1] for name, rows in query.items()}

    def embed(form, query):
        chosen = config.copy_and_resolve_references()
        chosen.fafa.query = form
        encode = jax.jit(fafa.make(chosen).encode_query, compiler_options=tiny.QUICK)
        return np.asarray(encode(params, query).embedding)

    image, text, mean = (embed(form, query) for form in ("image", "text", "mean"))
    shown = jax.jit(method.encode_image, compiler_options=tiny.QUICK)(params, batch["reference"])
    np.testing.assert_allclose(image, shown.embedding, **TOLERANCE)
    joined = (image + text) / np.linalg.norm(image + text, axis=1, keepdims=True)
    np.testing.assert_allclose(mean, joined, **TOLERANCE)
    np.testing.assert_allclose(
        embed("text", query | {"reference": other["reference"]}), text, **TOLERANCE
    )
    assert np.abs(embed("text", query | {"tokens": other["tokens"]}) - text).max() > 1e-3


def test_query_without_a_reference_is_refused(built):
    _, method, params, batch = built
    with pytest.raises(ValueError, match="must have a reference image and words, got tokens"):
        method.encode_query(params, {"tokens": batch["tokens"]})


# Recipes


def test_small_network_starts_from_the_weights_as_the_release_does():
    config = recipes.get_config()
    method = fafa.make(config)
    shapes = jax.eval_shape(method.init, jax.random.key(0))
    random = tiny.random_values(shapes, seed=0, temperature=0.07)
    params = load_start(config.start, random, read_rules(config))
    for i in range(4):
        layer = params["qformer"][f"layer_{i}"]
        for name in ("mlp", "mlp_norm"):
            query = name.replace("mlp", "mlp_query")
            jax.tree.map(np.testing.assert_array_equal, layer[name], layer[query])
        assert ("crossattention" in layer) == (i % 2 == 0)
    np.testing.assert_allclose(params["temperature"], 0.07)
    kept = {
        jax.tree_util.keystr(path[:2])
        for (path, leaf), before in zip(
            jax.tree_util.tree_flatten_with_path(params)[0], jax.tree.leaves(random), strict=True
        )
        if np.array_equal(leaf, before)
    }
    assert {name.split("']['")[0].strip("[']") for name in kept} == {
        "qformer", "image_proj", "text_proj", "predictor", "temperature"
    }  # fmt: skip
    assert "['qformer']['query_tokens']" in kept
    assert not any("layer" in name for name in kept)


def test_recipes_at_the_scale_of_the_paper_differ_in_their_data_alone():
    first, *others = (recipes.get_config(name).to_dict() for name in ("syncpr", "tgcpr", "itcpr"))
    for other in others:
        assert {name for name in first if first[name] != other[name]} == {"data"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"target": "soft"}, "fafa.target must be one of paper, released, got 'soft'"),
        ({"diversity": "token"}, "fafa.diversity must be one of image, batch, got 'token'"),
        ({"queries": 1}, "fafa.queries must be >= 2, got 1"),
        ({"top_tokens": 5}, r"fafa.top_tokens must be in 1..4 \(fafa.queries\), got 5"),
        ({"temperature": 0.0}, "fafa.temperature must be > 0, got 0.0"),
        ({"temperature_limits": (0.5, 0.1)}, "fafa.temperature_limits must be a lower"),
        ({"partial_alpha": 1.5}, r"fafa.partial_alpha must be in \[0, 1\], got 1.5"),
        ({"margin": 2.0}, r"fafa.margin must be in \[-1, 1\], got 2.0"),
        ({"mask_rate": 1.0}, r"fafa.mask_rate must be in \(0, 1\), got 1.0"),
        ({"uncertainty_probability": -0.1}, "fafa.uncertainty_probability must be in"),
        ({"mask_weight": -1.0}, "fafa.mask_weight must be >= 0, got -1.0"),
    ],
)
def test_fields_that_cannot_be_are_refused(vocabulary, fields, message):
    config = config_of(vocabulary, **fields)
    with pytest.raises(ValueError, match=message):
        fafa.check(config)
    with pytest.raises(ValueError, match=message):
        fafa.make(config)


def test_image_encoder_that_is_not_frozen_needs_a_rate_and_a_frozen_one_none(vocabulary):
    config = config_of(vocabulary)
    fafa.check(config)
    config.fafa.freeze_image = True
    with pytest.raises(ValueError, match=r"must be False where .* vit/cls_token is in .* rate 1.0"):
        fafa.check(config)
    config = config_of(vocabulary, "frozen", freeze_image=False)
    with pytest.raises(ValueError, match=r"must be True where .* the rate 0.0, got False"):
        fafa.check(config)


def test_cross_attentions_that_do_not_divide_the_layers_are_refused(vocabulary):
    config = config_of(vocabulary)
    config.model.bert.update(text_depth=5, cross_depth=2)
    with pytest.raises(ValueError, match=r"cross_depth must divide model.bert.text_depth 5.*got 2"):
        fafa.check(config)


def test_unknown_variant_names_the_known_ones():
    with pytest.raises(
        ValueError,
        match=r"know: '', 'released', 'frozen', 'cuhk_pedes-small', .*, 'tgcpr', 'itcpr'",
    ):
        recipes.get_config("cpr")
