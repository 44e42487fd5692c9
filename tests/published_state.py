"""Values of tiny published networks, made from their keys, and the inputs they are run on.

The code of releases was given the same values: so only keys and outputs are stored.
"""

import zlib

import numpy as np

WIDTH, HEADS, MLP, VIT_DEPTH, LAYERS = 32, 4, 64, 2, (1, 1)  # of the text, of the fusing encoder
VOCABULARY, POSITIONS, EMBEDDING, QUEUE = 23, 20, 8, 4
# Smaller activations than 16 KiB are slow to compile: see tools/goldens.py.
IMAGE, PATCH, IMAGES, LENGTH = 32, 8, 8, 17
_WITH_HEAD = ("text_encoder", "text_encoder_m", "text_decoder")
TIED = {  # keys that hold what other keys hold
    f"{part}.cls.predictions.decoder.weight": f"{part}.bert.embeddings.word_embeddings.weight"
    for part in _WITH_HEAD
} | {f"{part}.cls.predictions.decoder.bias": f"{part}.cls.predictions.bias" for part in _WITH_HEAD}
TIED |= {  # of BERT itself
    "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
    "cls.predictions.decoder.bias": "cls.predictions.bias",
}
START_GRADIENTS = {
    "bert": (
        "bert.embeddings.word_embeddings.weight", "bert.encoder.layer.0.attention.self.key.weight",
        "cls.predictions.transform.dense.weight",
    ),
    "vit": ("pos_embed", "blocks.1.attn.qkv.weight", "blocks.0.mlp.fc2.weight"),
    "eva": ("patch_embed.proj.weight", "blocks.1.attn.qkv.weight", "blocks.0.attn.q_bias"),
}  # fmt: skip


def values(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Returns a state_dict, float32: no weight and no bias is zero or equal to another.

    Pretrained BLIP shares all but the self-attention between encoder and decoder.
    """
    shared = "text_decoder.bert.encoder.layer.0.intermediate.dense.bias" in shapes
    shared &= "text_encoder_m.encoder.layer.0.intermediate.dense.bias" in shapes

    def source(key: str) -> str:
        if shared and key.startswith("text_encoder.") and ".attention." not in key:
            return "text_decoder.bert." + key.removeprefix("text_encoder.")
        return TIED.get(key, key)

    return {key: _value(source(key), shape) for key, shape in shapes.items()}


def _value(key: str, shape: tuple[int, ...]) -> np.ndarray:
    """Values of one key."""
    if key.endswith("position_ids"):
        return np.arange(shape[1])[None]
    if key.endswith("ptr") or key == "ptr_queue":
        return np.array([2])
    if key == "idx_queue":
        return np.array([[3, 5, -100, -100]])
    if key == "temp":
        return np.array(0.1, np.float32)
    draws = np.random.default_rng(zlib.crc32(key.encode())).random(shape) - 0.5
    if "norm" in key.lower() and key.endswith("weight"):
        return (1 + draws).astype(np.float32)
    if key.endswith("_queue"):
        return (draws / np.linalg.norm(draws, axis=0)).astype(np.float32)
    fan_in = shape[-1] if len(shape) == 2 else int(np.prod(shape[1:])) if len(shape) == 4 else 1
    return (draws * (3 / fan_in**0.5 if fan_in > 1 else 0.4)).astype(np.float32)


def batch() -> tuple[np.ndarray, np.ndarray]:
    """Returns images f32[B, h, w, 3] and tokens i32[B, L] with padding behind."""
    rng = np.random.default_rng(7)
    images = (rng.random((IMAGES, IMAGE, IMAGE, 3)) * 4 - 2).astype(np.float32)
    tokens = rng.integers(4, VOCABULARY, (IMAGES, LENGTH)).astype(np.int32)
    tokens[:, 0] = 1
    for row, length in enumerate((17, 5, 7, 12, 9, 16, 4, 11)):
        tokens[row, length:] = 0
    return images, tokens


def probes() -> dict[str, np.ndarray]:
    """Returns what outputs are multiplied with for a loss: f64[B, N, D] of images and of texts."""
    rng = np.random.default_rng(8)
    places = (IMAGE // PATCH) ** 2 + 1
    return {
        "image": rng.normal(size=(IMAGES, places, WIDTH)),
        "text": rng.normal(size=(IMAGES, LENGTH, WIDTH)),
    }


def gradient_keys(keys) -> list[str]:
    """Returns three of the parameters, of the image encoder, the text encoder and a fusion."""
    ends = (
        "visual_encoder.blocks.1.attn.qkv.weight",
        "encoder.layer.0.attention.self.key.weight",
        "encoder.layer.1.crossattention.output.dense.weight",
    )
    mine = [k for k in keys if k.startswith(("visual_encoder.", "text_encoder."))]
    return [next(key for key in mine if key.endswith(end)) for end in ends]
