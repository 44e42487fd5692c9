"""Makes the parity files of DiaNA's released encoders: what transformers computes at tiny sizes.

    python tools/goldens_swin_llama.py --out tests/goldens

Needs torch and transformers beside the package; the tests need neither, only the files. Two runs
write equal bytes for equal versions. All is computed in double precision, from parameters and
inputs that float32 holds. Keys are those of tools/goldens.py, parameters have transformers' names.
Files:

  swin.npz   Swinv2Model on images of two sizes with one set of weights: of 48 x 24 pixels the last
             grid is narrower than its windows, which are as high as it (as of the release's
             384 x 192), of 28 x 36 windows shrink and odd grids are filled up; tokens, and
             gradients of the first size for scalar = sum(probe * tokens) / number of tokens
  llama.npz  LlamaModel on padded texts: hidden states (0 at padding), and gradients for
             scalar = sum(probe * hidden) / number of tokens
  diana_keys.npz   names and shapes (as JSON) of a checkpoint of the release at its full size, made
             without memory: transformers' models and torch's modules, as its code puts them
             together (modeling_diana.py and modeling_refiner.py)
"""

import argparse
import contextlib
import json
import pathlib

import numpy as np
import torch
from goldens import Arrays, array, parameters, tensor
from torch import nn
from transformers import LlamaConfig, LlamaModel, Swinv2Config, Swinv2Model

IMAGES, SIZES = 6, ((48, 24), (28, 36))
TEXTS, LENGTH, WIDTH = 4, 19, 32


def main() -> None:
    """Writes the files into the folder --out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder of the files")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    for seed, make in ((60, swin), (61, llama)):
        with double_precision():
            arrays = make(np.random.default_rng(seed))
        for name, values in arrays.items():
            if name.startswith(("input/", "weight/")) and values.dtype == np.float64:
                arrays[name] = values.astype(np.float32)
        np.savez_compressed(out / f"{make.__name__}.npz", **arrays)
    with torch.device("meta"):
        state = released().state_dict()
    names = sorted(state)
    shapes = [json.dumps(list(state[name].shape)) for name in names]
    np.savez_compressed(out / "diana_keys.npz", keys=np.array(names), shapes=np.array(shapes))


@contextlib.contextmanager
def double_precision():
    """Makes of transformers' casts to float32 casts to float64."""
    single, cast = torch.float32, torch.Tensor.float
    torch.float32 = torch.float = torch.float64
    torch.Tensor.float = torch.Tensor.double
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(single)
        torch.float32 = torch.float = single
        torch.Tensor.float = cast


def swin(rng: np.random.Generator) -> Arrays:
    """Tokens of both sizes; one head has a scale beyond the limit."""
    arrays, state = {}, None
    for i, size in enumerate(SIZES):
        model = swin_of(size)
        if state is None:
            randomise(model, rng)
            scale = model.encoder.layers[1].blocks[1].attention.self.logit_scale
            scale.data[0] = 5.0
            state = {name: value.clone() for name, value in model.state_dict().items()}
        model.load_state_dict(state)
        model.double()
        images = tensor(rng.normal(size=(IMAGES, 3, *size))).double()
        tokens = model(images).last_hidden_state
        arrays |= {
            f"input/images_{i}": array(images.permute(0, 2, 3, 1)),
            f"output/tokens_{i}": array(tokens),
        }
        if i == 0:
            probe = tensor(rng.normal(size=tokens.shape)).double()
            (tokens * probe).sum(-1).mean().backward()
            arrays |= {"input/probe": array(probe), **parameters(model, str)}
    return arrays


def swin_of(size: tuple[int, int]) -> Swinv2Model:
    """The model for images of a size."""
    config = Swinv2Config(
        image_size=size,
        patch_size=4,
        embed_dim=16,
        depths=[2, 2],
        num_heads=[2, 4],
        window_size=6,
        mlp_ratio=2.0,
        drop_path_rate=0.0,
    )
    return Swinv2Model(config).eval()


def llama(rng: np.random.Generator) -> Arrays:
    """Hidden states; the wavelengths lie on both sides of, and between, the limits of scaling."""
    config = LlamaConfig(
        vocab_size=41,
        hidden_size=WIDTH,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        attn_implementation="eager",
        rope_parameters={
            "rope_type": "llama3",
            "rope_theta": 500.0,
            "factor": 32.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        },
    )
    model = LlamaModel(config).eval()
    randomise(model, rng)
    model.double()
    tokens = torch.from_numpy(rng.integers(0, 41, size=(TEXTS, LENGTH)))
    mask = torch.arange(LENGTH)[None] < torch.tensor([19, 12, 1, 8])[:, None]
    probe = tensor(rng.normal(size=(TEXTS, LENGTH, WIDTH))).double() * mask[..., None]
    hidden = model(tokens, attention_mask=mask.long(), use_cache=False).last_hidden_state
    (hidden * probe).sum(-1).mean().backward()
    return {
        "input/tokens": array(tokens).astype(np.int32),
        "input/mask": array(mask),
        "input/probe": array(probe),
        "output/hidden": array(hidden * mask[..., None]),
        **parameters(model, str),
    }


def released(width: int = 768, queries: int = 16) -> nn.Module:
    """The network of the release at its sizes."""
    model = nn.Module()
    model.vision_model = Swinv2Model(
        Swinv2Config(
            image_size=(384, 192),
            patch_size=4,
            embed_dim=128,
            depths=[2, 2, 18, 2],
            num_heads=[4, 8, 16, 32],
            window_size=12,
            drop_path_rate=0.0,
        )
    )
    model.llama = LlamaModel(
        LlamaConfig(
            vocab_size=128_256,
            hidden_size=2048,
            intermediate_size=8192,
            num_hidden_layers=16,
            num_attention_heads=32,
            num_key_value_heads=8,
            tie_word_embeddings=True,
        )
    )
    model.vision_projection = nn.Linear(1024, width)
    model.text_projection = nn.Linear(2048, width)
    model.logit_scale = nn.Parameter(torch.zeros([]))
    model.refiner = nn.Module()
    model.refiner.attr_query_token = nn.Parameter(torch.zeros(1, queries, width))
    model.refiner.cross_attn = nn.MultiheadAttention(width, width // 64)
    model.refiner.transformer = nn.Module()
    blocks = []
    for _ in range(2):
        block = nn.Module()
        block.attn = nn.MultiheadAttention(width, width // 64)
        block.ln_1, block.ln_2, block.mlp = nn.LayerNorm(width), nn.LayerNorm(width), nn.Module()
        block.mlp.c_fc, block.mlp.c_proj = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        blocks.append(block)
    model.refiner.transformer.resblocks = nn.ModuleList(blocks)
    return model


def randomise(model: nn.Module, rng: np.random.Generator) -> None:
    """Gives every parameter, norms and biases too, values that an error cannot hide behind."""
    for name, parameter in model.named_parameters():
        values = rng.normal(size=parameter.shape)
        if "logit_scale" in name:
            values = 1.5 + values * 0.5
        elif parameter.ndim == 1:
            values = values * 0.2 + (1.0 if "norm" in name and "weight" in name else 0.0)
        elif "embed_tokens" not in name:
            values = values / np.sqrt(parameter[0].numel())
        parameter.data = tensor(values)


if __name__ == "__main__":
    main()
