"""Makes tests/goldens/starts.npz: what transformers' BERT, ViT and EVA-CLIP's ViT compute.

    python tools/goldens_starts.py --out tests/goldens

Encoders that others start from, at the tiny sizes of tests/published_state.py, which makes their
values too, in double precision. Needs torch and transformers beside the package; the tests need
neither. Two runs write equal numbers. Keys of the file:

  <kind>/tiny             every key of the state_dict with its shape, "key 768 768"
  <kind>/<output>         f64
  <kind>/gradient/<key>   of its loss

Kinds: bert (BertForMaskedLM on padded texts; hidden: states of the last layer where a word is;
words: logits of the first three places; mlm: cross entropy of the second; loss: mlm and the mean of
hidden times a probe), vit (BlipVisionModel by timm's names; tokens; loss: mean of tokens times a
probe), eva (Blip2VisionModel by LAVIS's names, q_bias and v_bias; the same).
"""

import argparse
import pathlib
import sys
from typing import NamedTuple

import numpy as np
import torch
from goldens import timm_name
from goldens_swin_llama import double_precision
from torch import nn
from torch.nn import functional as F
from transformers import (
    BertConfig,
    BertForMaskedLM,
    Blip2VisionConfig,
    Blip2VisionModel,
    BlipVisionConfig,
    BlipVisionModel,
)

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from tests.published_state import (
    HEADS,
    IMAGE,
    LAYERS,
    MLP,
    PATCH,
    POSITIONS,
    START_GRADIENTS,
    VIT_DEPTH,
    VOCABULARY,
    WIDTH,
    batch,
    probes,
    values,
)

Arrays = dict[str, np.ndarray]
SIZES = {"hidden_size": WIDTH, "num_attention_heads": HEADS, "intermediate_size": MLP}
VISION = {
    "num_hidden_layers": VIT_DEPTH, "image_size": IMAGE, "patch_size": PATCH,
    "layer_norm_eps": 1e-6, "hidden_act": "gelu", "attention_dropout": 0.0,
    "attn_implementation": "eager",
}  # fmt: skip


def main() -> None:
    """Writes the file into the folder --out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder of the file")
    out = parser.parse_args().out
    torch.set_num_threads(1)
    arrays = {}
    with double_precision():
        for kind, made in (("bert", bert()), ("vit", vit()), ("eva", eva())):
            arrays |= {f"{kind}/{name}": value for name, value in made.items()}
    np.savez_compressed(out / "starts.npz", **arrays)
    for name, value in arrays.items():
        print(name, value.shape)


def bert() -> Arrays:
    """Hidden states, logits and their losses."""
    model = BertForMaskedLM(
        BertConfig(
            **SIZES, vocab_size=VOCABULARY, num_hidden_layers=sum(LAYERS),
            max_position_embeddings=POSITIONS, attn_implementation="eager",
        )
    )  # fmt: skip
    names = put(model, {name: name for name in model.state_dict()})
    tokens = torch.from_numpy(batch()[1]).long()
    mask, probe = tokens != 0, torch.from_numpy(probes()["text"])
    hidden = model.bert(tokens, attention_mask=mask.long()).last_hidden_state
    words = model.cls(hidden)
    mlm = F.cross_entropy(words[:, 1], tokens[:, 1])
    hidden = hidden * mask[:, :, None]
    loss = mlm + (hidden * probe).sum(-1).mean()
    found = {"hidden": hidden, "words": words[:, :3], "mlm": mlm, "loss": loss}
    return results("bert", model, found, names)


def vit() -> Arrays:
    """Tokens of timm's ViT."""
    model = BlipVisionModel(BlipVisionConfig(**SIZES, **VISION))
    names = put(model, {name: timm_name(name) for name in model.state_dict()})
    return results("vit", model, tokens_of(model), names)


def eva() -> Arrays:
    """Tokens of EVA-CLIP's ViT after BLIP-2's norm, which is of another file."""
    model = Blip2VisionModel(Blip2VisionConfig(**SIZES, **VISION, qkv_bias=True))
    model.post_layernorm.eps = 1e-5  # ln_vision of the release
    names = {name: timm_name(name) for name in model.state_dict()}
    names |= {f"post_layernorm.{part}": f"ln_vision.{part}" for part in ("weight", "bias")}
    names = put(model, names, split=True)
    return results("eva", model, tokens_of(model), names)


def tokens_of(model: nn.Module) -> dict[str, torch.Tensor]:
    """Tokens and the mean of their product with a probe."""
    images = torch.from_numpy(batch()[0]).permute(0, 3, 1, 2).double()
    tokens = model(images).last_hidden_state
    loss = (tokens * torch.from_numpy(probes()["image"])).sum(-1).mean()
    return {"tokens": tokens, "loss": loss}


class Names(NamedTuple):
    """Published keys of a model."""

    shapes: dict[str, tuple[int, ...]]  # of the published keys
    keys: dict[str, str]  # by the model's own names


def put(model: nn.Module, names: dict[str, str], split: bool = False) -> Names:
    """Puts values into a model; returns its published keys.

    Args:
      model: of transformers.
      names: published key of each of its own.
      split: whether the bias of queries, keys (none) and values is in two keys.
    """
    own = {name: tuple(x.shape) for name, x in model.state_dict().items()}
    shapes = {names[name]: shape for name, shape in own.items()}
    if split:
        for key in [key for key in shapes if key.endswith("qkv.bias")]:
            (width,) = shapes.pop(key)
            for part in ("q_bias", "v_bias"):
                shapes[key.replace("qkv.bias", part)] = (width // 3,)
    state = values(shapes)
    for key in [key for key in state if key.endswith("q_bias")]:
        parts = state[key], np.zeros_like(state[key]), state[key.replace("q_bias", "v_bias")]
        state[key.replace("q_bias", "qkv.bias")] = np.concatenate(parts)
    model.load_state_dict({name: torch.from_numpy(state[names[name]]) for name in own})
    model.double().eval()
    for name, value in model.state_dict().items():
        assert np.array_equal(value.numpy(), state[names[name]]), name
    return Names(shapes, names)


def results(kind: str, model: nn.Module, found: dict[str, torch.Tensor], names: Names) -> Arrays:
    """Outputs, gradients of three parameters, and the keys."""
    found["loss"].backward()
    arrays = {name: x.detach().numpy() for name, x in found.items()}
    gradients = {names.keys[name]: x.grad for name, x in model.named_parameters()}
    for key in START_GRADIENTS[kind]:
        if key.endswith("q_bias"):
            arrays[f"gradient/{key}"] = gradients[key.replace("q_bias", "qkv.bias")][:WIDTH].numpy()
        else:
            arrays[f"gradient/{key}"] = gradients[key].numpy()
    lines = [" ".join([key, *map(str, shape)]) for key, shape in names.shapes.items()]
    return {"tiny": np.array(lines)} | arrays


if __name__ == "__main__":
    main()
