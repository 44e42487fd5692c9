"""Makes what tests/goldens/clip_releases.npz has of transformers' CLIPModel; the rest stays.

    python tools/goldens_clip_hf.py --out tests/goldens

Needs torch and transformers beside the package; the tests need neither. Keys of the file:

  clip_hf/full             every key of the state_dict at full size with its shape, "key 768 768"
  clip_hf/tiny             the same of a tiny network, whose values tests/clip_state.py makes
  clip_hf/<output>         f64, what it computes: image, text (features of unit norm), logits, loss
  clip_hf/gradient/<key>   of the loss of pairs
"""

import argparse
import pathlib
import sys

import numpy as np
import torch
from goldens_swin_llama import double_precision
from torch import nn
from torch.nn import functional as F
from transformers import CLIPConfig, CLIPModel

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from tests.clip_state import (
    DEPTH,
    END,
    GRADIENTS,
    LENGTH,
    PATCH,
    SQUARE,
    VIT_DEPTH,
    VOCABULARY,
    WIDTH,
    batch,
    values,
)  # fmt: skip

KIND = "clip_hf"
# Places, which older versions of transformers keep as well.
_PLACES = {"text_model.embeddings.position_ids": (1, 77),
           "vision_model.embeddings.position_ids": (1, 197)}  # fmt: skip


def main() -> None:
    """Writes the arrays into the file in the folder --out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder of the file")
    path = parser.parse_args().out / "clip_releases.npz"
    torch.set_num_threads(1)
    with torch.device("meta"):
        full = CLIPModel(CLIPConfig(
            vision_config={"patch_size": 16}, text_config={}, projection_dim=512
        ))  # fmt: skip
    with double_precision():
        model = tiny()
        made = {"full": keys(shapes_of(full) | _PLACES), "tiny": keys(shapes_of(model))}
        made |= outputs(model)
    with np.load(path) as found:
        arrays = {name: found[name] for name in found.files}
    new = {f"{KIND}/{name}": value for name, value in made.items()}
    np.savez_compressed(path, **arrays | new)
    for name, value in new.items():
        print(name, value.shape)


def tiny() -> nn.Module:
    """A network with the values of tests/clip_state.py, in double precision."""
    block = {"hidden_size": WIDTH, "intermediate_size": 4 * WIDTH, "num_attention_heads": 2}
    text = {
        "vocab_size": VOCABULARY, "max_position_embeddings": LENGTH, "eos_token_id": END,
        "num_hidden_layers": DEPTH,
    }  # fmt: skip
    vision = {"image_size": SQUARE, "patch_size": PATCH, "num_hidden_layers": VIT_DEPTH}
    model = CLIPModel(CLIPConfig(
        vision_config=vision | block, text_config=text | block, projection_dim=WIDTH,
        attn_implementation="eager",
    ))  # fmt: skip
    state = values(shapes_of(model))
    model.load_state_dict({key: torch.from_numpy(np.asarray(x)) for key, x in state.items()})
    return model.double().eval()


def outputs(model: nn.Module) -> dict[str, np.ndarray]:
    """Features, logits, the loss of pairs and the gradients of three parameters."""
    inputs = batch()
    found = model(
        pixel_values=torch.from_numpy(inputs["square"]).permute(0, 3, 1, 2).double(),
        input_ids=torch.from_numpy(inputs["tokens"]).long(),
    )
    logits, target = found.logits_per_image, torch.arange(len(inputs["tokens"]))
    loss = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
    loss.backward()
    made = {
        "image": F.normalize(found.image_embeds, dim=1),
        "text": F.normalize(found.text_embeds, dim=1),
        "logits": logits, "loss": loss,
    }  # fmt: skip
    parameters = dict(model.named_parameters())
    made |= {f"gradient/{key}": parameters[key].grad for key in GRADIENTS[KIND]}
    return {name: value.detach().numpy() for name, value in made.items()}


def shapes_of(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """Shapes of a state_dict by key."""
    return {key: tuple(value.shape) for key, value in model.state_dict().items()}


def keys(shapes: dict[str, tuple[int, ...]]) -> np.ndarray:
    """Lines of keys and shapes."""
    return np.array([" ".join([key, *map(str, shape)]) for key, shape in shapes.items()])


if __name__ == "__main__":
    main()
