"""A network of 32 channels with values that an error cannot hide behind, for tests of streams."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from configs import laip
from jaxreid.models.align_fuse import AlignFuse
from jaxreid.streams.network import init_align_fuse, make_align_fuse

VOCABULARY = 40
# Compiles in half the time; a test runs its program only a few times.
QUICK = {"xla_backend_optimization_level": 0}


def recipe(get_config=laip.get_config):
    """The laptop recipe of a method with 32 x 16 pixels, patches of 8, 12 tokens, batches of 3."""
    config = get_config()
    config.start = config.text.tokenizer = ""
    config.image.size = (32, 16)
    config.image.flip = 0.5
    config.text.max_tokens = 12
    config.text.max_phrase_tokens = 7
    config.text.tagger = "lexicon"
    config.model.embedding = 16
    config.model.vit.update(patch=8, width=32, depth=1, heads=2, mlp=48)
    config.model.bert.update(
        width=32, text_depth=1, cross_depth=2, heads=2, mlp=48, max_positions=12
    )
    config.train.update(batch_size=3, epochs=(1, 1), steps_per_epoch=10)
    if config.method == "cada":  # its decoder and its text encoder are one
        config.model.bert.text_depth = 2
        config.cada.update(group_size=6, group_stride=5)
    elif config.method == "fafa":  # every second layer of its one encoder reads the image
        config.model.bert.update(text_depth=2, cross_depth=1)
        config.fafa.update(queries=4, top_tokens=2)
    elif config.method == "word4per":  # a prompt stands before its captions
        config.text.max_tokens = config.model.bert.max_positions = 24
    elif config.method == "diana":  # a round is longer than a caption
        config.text.max_tokens = config.model.bert.max_positions = 24
        config.diana.update(attributes=3, refiner_depth=1)
    else:
        config[config.method].queue_length = 5
    return config


def network() -> AlignFuse:
    """The network of the recipe, without dropout."""
    return make_align_fuse(recipe(), VOCABULARY)


def random_params(model: AlignFuse, seed: int, temperature: float = 0.2) -> dict:
    """Random values of the parameters of a network."""
    init = partial(init_align_fuse, model, max_tokens=12, temperature=1.0)
    return random_values(jax.eval_shape(init, jax.random.key(0)), seed, temperature)


def random_values(shapes: dict, seed: int, temperature: float = 0.2) -> dict:
    """Parameters of unit gain; biases and scales vary too."""
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        name, values = path[-1].key, rng.normal(size=leaf.shape)
        if name == "temperature":
            return jnp.float32(temperature)
        if name in ("scale", "bias"):
            return jnp.asarray(values * 0.2 + (name == "scale"), jnp.float32)
        if name == "kernel":
            inputs = leaf.shape[:-1] if path[-2].key in ("out", "patch_embed") else leaf.shape[:1]
            return jnp.asarray(values / np.sqrt(np.prod(inputs)), jnp.float32)
        return jnp.asarray(values * 0.5, jnp.float32)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def unit_rows(rng: np.random.Generator, rows: int) -> jax.Array:
    """f32[rows, 16] unit rows."""
    x = rng.normal(size=(rows, 16))
    return jnp.asarray(x / np.linalg.norm(x, axis=1, keepdims=True), jnp.float32)
