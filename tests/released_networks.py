"""Our networks of the sizes of tests/published_state.py, and what they compute."""

from functools import partial

import jax
import jax.numpy as jnp

from configs import albef, cada
from jaxreid.models.projection import unit
from jaxreid.optim import parameter_name
from jaxreid.streams.dual_network import init_dual_association, make_dual_association
from jaxreid.streams.image_text import GlobalSettings, global_alignment, init_global_memory
from jaxreid.streams.network import init_align_fuse, make_align_fuse
from tests.published_state import (
    EMBEDDING,
    HEADS,
    IMAGE,
    LAYERS,
    LENGTH,
    MLP,
    PATCH,
    POSITIONS,
    QUEUE,
    VIT_DEPTH,
    VOCABULARY,
    WIDTH,
)

SETTINGS = GlobalSettings(
    momentum=0.995, alpha=0.5, alpha_steps=0, temperature_limits=(0.0, 1000.0),
    batch_keys="momentum", queue_steps=0, hardness_steps=0, matching_rows=0, triplet_margin=0.6,
    triplet_score="probability",
)  # fmt: skip


# Tiny arrays make XLA fuse whole networks, and then the compiler is slow: it need not try hard.
QUICK = {"xla_llvm_disable_expensive_passes": True, "xla_backend_optimization_level": 0}


def tiny(config, text_depth: int, cross_depth: int):
    """A recipe at the tiny size."""
    config.image.size = (IMAGE, IMAGE)
    config.model.update(embedding=EMBEDDING, dtype="float32")
    config.model.vit.update(patch=PATCH, width=WIDTH, depth=VIT_DEPTH, heads=HEADS, mlp=MLP)
    config.model.bert.update(
        width=WIDTH, text_depth=text_depth, cross_depth=cross_depth, heads=HEADS, mlp=MLP,
        max_positions=POSITIONS, dropout=0.0,
    )  # fmt: skip
    return config


def align_fuse(config=None, vocabulary: int = VOCABULARY):
    """ALBEF's network, and the shapes of its parameters and memory by name."""
    config = config or tiny(albef.get_config("cuhk_pedes"), *LAYERS)
    queue = QUEUE if config.model.embedding == EMBEDDING else config.albef.queue_length
    model = make_align_fuse(config, vocabulary)
    init = partial(init_align_fuse, model, max_tokens=LENGTH, temperature=0.07)
    params = jax.eval_shape(init, jax.random.key(0))
    make = partial(init_global_memory, queue_length=queue, embedding=config.model.embedding)
    memory = jax.eval_shape(make, jax.random.key(0), params)
    return model, params, memory


def dual_association(config=None, vocabulary: int = VOCABULARY):
    """CADA's network in the form of its release, and its parameters."""
    config = config or tiny(cada.get_config("released-cuhk_pedes"), sum(LAYERS), sum(LAYERS))
    model = make_dual_association(config, vocabulary)
    init = partial(init_dual_association, model, max_tokens=LENGTH)
    return model, jax.eval_shape(init, jax.random.key(0))


def named(tree) -> dict:
    """A tree as a flat dict of names."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {parameter_name(path).lstrip("."): x for path, x in leaves}


def filled(tree, arrays: dict, prefix: str = ""):
    """A tree of arrays by name."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: jnp.asarray(arrays[prefix + parameter_name(path).lstrip(".")]), tree
    )


def loss_of(image, text, match, words, tokens, with_words=1.0):
    """The loss whose gradients are stored, on outputs, with or without that of words."""

    def cross_entropy(logits, target):
        return -jnp.take_along_axis(jax.nn.log_softmax(logits), target[:, None], 1).mean()

    target = jnp.arange(len(image))
    loss = cross_entropy(image @ text.T / 0.1, target) + cross_entropy(match, target % 2)
    return loss + with_words * cross_entropy(words[:, 1], tokens[:, 1])


@partial(jax.jit, static_argnums=0, compiler_options=QUICK)
def run_align_fuse(model, params, images, tokens):
    """(outputs, gradients) as in the golden file."""

    def loss(params):
        def call(name, *args):
            return model.apply({"params": params}, *args, method=name)

        mask = tokens != 0
        image_tokens = call("image_tokens", images)
        text_tokens = call("text_tokens", tokens, mask)
        fused, _ = call("fuse", text_tokens, mask, image_tokens)
        words = call("predict_words", fused)
        image, text = call("embed_image", image_tokens), call("embed_text", text_tokens)
        match = call("match", fused)
        value = loss_of(image, text, match, words, tokens)
        found = {"image": image, "text": text, "match": match, "words": words[:, :3]}
        return value, {**found, "loss": value}

    gradients, found = jax.grad(loss, has_aux=True)(params)
    return found, gradients


@partial(jax.jit, static_argnums=0, compiler_options=QUICK)
def run_dual_association(model, params, images, tokens, with_words):
    """(outputs, gradients) as in the golden file."""

    def loss(params):
        def call(name, *args):
            return model.apply({"params": params}, *args, method=name)

        mask = tokens != 0
        image_tokens = call("image_tokens", images)
        entered = tokens.at[:, 0].set(VOCABULARY + 1)  # [ENC]
        fused = call("decode", call("embed_tokens", entered), mask, image_tokens)
        words = call("predict_words", call("decode_masked", tokens, mask, image_tokens))
        image = unit(call("project_image", image_tokens))
        text = unit(call("project_text", call("text_tokens", tokens, mask)))
        match = call("match", fused[:, 0])
        value = loss_of(image, text, match, words, tokens, with_words)
        found = {"image": image, "text": text, "match": match, "words": words[:, :3]}
        return value, {**found, "loss": value}

    gradients, found = jax.grad(loss, has_aux=True)(params)
    return found, gradients


@partial(jax.jit, static_argnums=0, compiler_options=QUICK)
def run_global_alignment(model, params, memory, images, tokens):
    """(metrics, memory, gradients) of ALBEF's losses on two pairs: each negative of the other."""

    def loss(params):
        value, after, metrics, _ = global_alignment(
            model, SETTINGS, params, memory, images[:2], tokens[:2], jnp.array([5, 3], jnp.int32),
            jax.random.key(0), jnp.int32(1), triplet=False,
        )  # fmt: skip
        return value, (after, metrics)

    gradients, (after, metrics) = jax.grad(loss, has_aux=True)(params)
    return metrics, after, gradients
