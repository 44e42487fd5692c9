"""Values of tiny networks of CLIP, IRRA and Word4Per, made from their keys, and their inputs.

The code of releases was given the same: so only keys and outputs are stored.
"""

import zlib

import numpy as np

# Widths have heads of 64, as the releases have: two of them.
WIDTH, VOCABULARY, LENGTH, END, PATCH = 128, 40, 12, 39, 8
VIT_DEPTH, DEPTH = 2, 1  # of the image tower, of the text tower and of IRRA's module
SIZE, SQUARE = (32, 16), 32  # of images, of IRRA and of CLIP
IMAGES, PEOPLE = 3, 5
HIDDEN = 20  # of the network for words
GRADIENTS = {
    "clip": (
        "visual.transformer.resblocks.1.attn.in_proj_bias", "text_projection",
        "token_embedding.weight",
    ),
    "irra": (
        "base_model.visual.transformer.resblocks.0.attn.in_proj_bias",
        "base_model.token_embedding.weight", "cross_attn.out_proj.weight",
    ),
    "clip_hf": (
        "vision_model.encoder.layers.1.self_attn.q_proj.bias", "visual_projection.weight",
        "text_model.embeddings.position_embedding.weight",
    ),
    "word4per": (
        "img2text.layers.0.0.weight", "img2text.layers.1.0.bias", "img2text.fc_out.weight",
    ),
}  # fmt: skip


def values(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Returns a state_dict, float32: every weight and bias far from zero and from any other."""
    return {key: _value(key, shape) for key, shape in shapes.items()}


def _value(key: str, shape: tuple[int, ...]) -> np.ndarray:
    """Values of one key."""
    if key == "logit_scale":
        return np.log(np.float32(20))
    draws = np.random.default_rng(zlib.crc32(key.encode())).random(shape) - 0.5
    if len(shape) < 2:
        norm = "ln" in key or "norm" in key
        return (draws + (norm and key.endswith("weight"))).astype(np.float32)
    if "embedding" in key:
        return (2 * draws).astype(np.float32)
    fan_in = shape[0] if key.endswith(("proj", "projection")) else int(np.prod(shape[1:]))
    return (draws * 3 / fan_in**0.5).astype(np.float32)


def batch() -> dict[str, np.ndarray]:
    """Returns images, square ones, tokens, masked tokens, their labels (0 = none), person ids."""
    rng = np.random.default_rng(3)
    tokens = rng.integers(2, END - 1, (IMAGES, LENGTH)).astype(np.int32)
    labels = np.zeros_like(tokens)
    tokens[:, 0] = END - 1
    for row, end in enumerate((11, 5, 8)):
        tokens[row, end] = END
        tokens[row, end + 1 :] = 0
        labels[row, [1, end - 1]] = tokens[row, [1, end - 1]]
    return {
        "images": rng.normal(size=(IMAGES, *SIZE, 3)).astype(np.float32),
        "square": rng.normal(size=(IMAGES, SQUARE, SQUARE, 3)).astype(np.float32),
        "tokens": tokens,
        "masked": np.where(labels > 0, 1, tokens).astype(np.int32),
        "labels": labels,
        "person_id": np.array([1, 4, 1], np.int32),
    }
