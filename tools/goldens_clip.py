"""Makes tests/goldens/clip.npz: what PyTorch computes for a tiny random CLIP.

    python tools/goldens_clip.py --out tests/goldens

Needs torch and transformers beside the package; the tests need neither, only the file. Two runs
write equal bytes for equal versions. Weights keep the names of transformers' CLIPModel.

  clip/weight/<name>            parameters, PyTorch layout
  clip/gradient/<name>          of the scalar: mean over tokens of probe * tokens, image + text
  clip/input/<name>             images that are not square, tokens, probes
  clip/end_id                   id of the end token, which stands once in each text
  clip/output/{image,text}_tokens   of every token, behind the last norm and the projection
  clip/output/text              features of texts, as CLIPModel pools them
  clip/square/<name>            square images, positions of their grid, and their features as
                                CLIPModel pools them
"""

import argparse
import pathlib
import sys

import numpy as np
import torch
from torch import nn
from transformers import CLIPConfig, CLIPModel

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from goldens import Arrays, array, tensor

WIDTH, HEADS, MLP, EMBEDDING, LAYERS = 32, 4, 64, 24, 2
TEXT_WIDTH = 16
VOCABULARY, LENGTH, END = 41, 17, 40
# See tools/goldens.py: just above what XLA fuses whole on the CPU.
IMAGES, TEXTS, PATCH = 6, 16, 8


def main() -> None:
    """Writes the file into the folder --out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder of the file")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    arrays = clip(np.random.default_rng(0))
    np.savez(out / "clip.npz", **{f"clip/{name}": value for name, value in arrays.items()})


def clip(rng: np.random.Generator) -> Arrays:
    """All tokens of both towers; the grid is not square, so that a swap of its sides shows."""
    tower = dict(num_hidden_layers=LAYERS, intermediate_size=MLP, num_attention_heads=HEADS)
    config = CLIPConfig(
        vision_config=dict(
            tower, hidden_size=WIDTH, image_size=4 * PATCH, patch_size=PATCH, num_channels=3
        ),
        text_config=dict(
            tower, hidden_size=TEXT_WIDTH, vocab_size=VOCABULARY, eos_token_id=END,
            max_position_embeddings=LENGTH + 3,
        ),
        projection_dim=EMBEDDING,
    )  # fmt: skip
    model = CLIPModel(config).eval()
    randomise(model, rng)
    vision = model.vision_model
    square = tensor(rng.normal(size=(IMAGES, 3, 4 * PATCH, 4 * PATCH)))
    square_image = model.visual_projection(vision(square).pooler_output)
    square_positions = vision.embeddings.position_embedding.weight.clone()

    images = tensor(rng.normal(size=(IMAGES, 3, 6 * PATCH, 4 * PATCH)))
    vision.embeddings.position_embedding = nn.Embedding(1 + 6 * 4, WIDTH)
    positions = tensor(rng.normal(size=(1 + 6 * 4, WIDTH)) * 0.5)
    vision.embeddings.position_embedding.weight = nn.Parameter(positions)
    tokens = torch.from_numpy(rng.integers(1, END, size=(TEXTS, LENGTH)))
    lengths = torch.from_numpy(rng.permutation(np.arange(TEXTS) % (LENGTH - 1) + 1))
    place = torch.arange(LENGTH)[None]
    tokens = torch.where(place < lengths[:, None], tokens, 0)
    tokens = torch.where(place == lengths[:, None], END, tokens)

    # The model's own forward() refuses images that are not square; its parts do not.
    hidden = vision.embeddings.patch_embedding(images).flatten(2).transpose(1, 2)
    first = vision.embeddings.class_embedding.expand(IMAGES, 1, -1)
    hidden = torch.cat([first, hidden], dim=1) + vision.embeddings.position_embedding.weight
    hidden = vision.encoder(inputs_embeds=vision.pre_layrnorm(hidden)).last_hidden_state
    image_tokens = model.visual_projection(vision.post_layernorm(hidden))
    text = model.text_model(tokens)
    text_tokens = model.text_projection(text.last_hidden_state)

    image_probe = tensor(rng.normal(size=image_tokens.shape))
    text_probe = tensor(rng.normal(size=text_tokens.shape))
    scalar = (image_tokens * image_probe).sum(-1).mean() + (text_tokens * text_probe).sum(-1).mean()
    model.logit_scale.requires_grad_(False)
    scalar.backward()
    return {
        "input/images": array(images.permute(0, 2, 3, 1)),
        "input/tokens": array(tokens).astype(np.int32),
        "input/image_probe": array(image_probe),
        "input/text_probe": array(text_probe),
        "end_id": np.int32(END),
        "output/image_tokens": array(image_tokens),
        "output/text_tokens": array(text_tokens),
        "output/text": array(model.text_projection(text.pooler_output)),
        "square/images": array(square.permute(0, 2, 3, 1)),
        "square/positions": array(square_positions),
        "square/image": array(square_image),
        **parameters(model),
    }


def randomise(model: nn.Module, rng: np.random.Generator) -> None:
    """Gives every parameter, norms and biases too, values that an error cannot hide behind."""
    for name, parameter in model.named_parameters():
        values = rng.normal(size=parameter.shape)
        if "norm" in name or "layrnorm" in name or name.endswith("bias"):
            values = values * 0.2 + ("norm" in name and name.endswith("weight"))
        elif "embedding" in name and "patch" not in name:
            values = values * 0.5
        elif parameter.ndim:
            values = values / np.sqrt(parameter[0].numel())
        parameter.data = tensor(values)


def parameters(model: nn.Module) -> Arrays:
    """weight/<name> and gradient/<name> of every parameter but the scale."""
    arrays = {}
    for name, parameter in model.named_parameters():
        if name != "logit_scale":
            arrays[f"weight/{name}"] = array(parameter)
            arrays[f"gradient/{name}"] = array(parameter.grad)
    return arrays


if __name__ == "__main__":
    main()
