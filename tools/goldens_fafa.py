"""Makes the parity file of FAFA: what PyTorch computes for a tiny random model.

    python tools/goldens_fafa.py --out tests/goldens

Needs torch and transformers beside the package; the tests need neither, only the file. Two runs
write equal bytes for equal versions. All is computed in double precision, from parameters and
inputs that float32 holds. Keys are those of tools/goldens.py; parameters have the names of FAFA's
release (Qformer.bert..., visual_encoder..., ln_vision). File:

  fafa.npz   transformers' BLIP-2: its image encoder, frozen but for the final norm, and its
             Q-Former on images alone and on images with words; on them, written out in PyTorch,
             the losses of FAFA in the paper's form, with given masks and given noise of the token
             statistics; scalar = FDA + FD + 0.5 MFR, and its gradient
"""

import argparse
import pathlib

import numpy as np
import torch
from goldens import array, randomise, tensor, timm_name
from goldens_swin_llama import double_precision
from torch import nn
from torch.nn import functional as F
from transformers import Blip2QFormerConfig, Blip2VisionConfig
from transformers.models.blip_2.modeling_blip_2 import (
    Blip2QFormerModel,
    Blip2TextEmbeddings,
    Blip2VisionModel,
)

Arrays = dict[str, np.ndarray]

VOCABULARY, POSITIONS, WIDTH, IMAGE_WIDTH, EMBEDDING, HIDDEN = 41, 20, 32, 24, 16, 20
PAIRS, LENGTH, QUERIES, DEPTH, TOP = 8, 17, 5, 3, 3
TEMPERATURE, ALPHA, MARGIN, EPSILON = 0.2, 0.5, 0.1, 1e-8


def main() -> None:
    """Writes the file into the folder --out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder of the file")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    with double_precision():
        arrays = fafa(np.random.default_rng(30))
    for name, values in arrays.items():
        if name.startswith(("input/", "weight/")) and values.dtype == np.float64:
            arrays[name] = values.astype(np.float32)
    np.savez_compressed(out / "fafa.npz", **arrays)


class Fafa(nn.Module):
    """Image encoder, Q-Former and heads."""

    def __init__(self):
        super().__init__()
        vision = Blip2VisionConfig(
            hidden_size=IMAGE_WIDTH,
            intermediate_size=40,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=28,
            patch_size=7,
            attn_implementation="eager",
        )
        sizes = Blip2QFormerConfig(
            vocab_size=VOCABULARY,
            hidden_size=WIDTH,
            num_hidden_layers=DEPTH,
            num_attention_heads=4,
            intermediate_size=48,
            max_position_embeddings=POSITIONS,
            encoder_hidden_size=IMAGE_WIDTH,
            use_qformer_text_input=True,
            attn_implementation="eager",
        )
        self.vision = Blip2VisionModel(vision)
        self.vision.post_layernorm.eps = 1e-5  # ln_vision of the release
        self.embeddings = Blip2TextEmbeddings(sizes)
        self.embeddings.word_embeddings.padding_idx = None
        self.qformer = Blip2QFormerModel(sizes)
        self.query_tokens = nn.Parameter(torch.zeros(1, QUERIES, WIDTH))
        self.vision_proj = nn.Linear(WIDTH, EMBEDDING)
        self.text_proj = nn.Linear(WIDTH, EMBEDDING)
        self.fc1 = nn.Linear(2 * WIDTH, HIDDEN)
        self.fc2 = nn.Linear(HIDDEN, WIDTH)

    def read(self, images, tokens=None, mask=None):
        """(image tokens, queries and words) of the Q-Former."""
        patches = self.vision(images).last_hidden_state
        queries = self.query_tokens.expand(len(images), -1, -1)
        seen = torch.ones(queries.shape[:2], dtype=torch.long)
        if tokens is not None:
            seen = torch.cat([seen, mask.long()], dim=1)
        hidden = self.qformer(
            query_embeds=self.embeddings(tokens, query_embeds=queries),
            query_length=QUERIES,
            attention_mask=seen,
            encoder_hidden_states=patches,
        ).last_hidden_state
        return patches, hidden

    def predict(self, x):
        """The other feature of what is left of one."""
        return self.fc2(F.relu(self.fc1(x)))


def fafa(rng: np.random.Generator) -> Arrays:
    """Both branches, the losses, gradients of all that is trained."""
    model = Fafa().eval()
    randomise(model, rng)
    model.temp = nn.Parameter(tensor(np.array(TEMPERATURE)))
    model.double()
    for layer in model.vision.encoder.layers:  # EVA-CLIP-g has no bias of keys
        layer.self_attn.qkv.bias.data[IMAGE_WIDTH : 2 * IMAGE_WIDTH] = 0
    for name, parameter in model.named_parameters():
        frozen = name.startswith("vision.") and "post_layernorm" not in name
        parameter.requires_grad_(not frozen)

    tokens = torch.from_numpy(rng.integers(2, VOCABULARY, size=(PAIRS, LENGTH)))
    mask = torch.arange(LENGTH)[None] < torch.tensor([17, 12, 4, 9, 16, 5, 3, 8])[:, None]
    tokens = torch.where(mask, tokens, 0)
    reference, target = (tensor(rng.normal(size=(PAIRS, 3, 28, 28))).double() for _ in range(2))
    person_id = torch.tensor([4, 2, 4, 0, 9, 4, 2, 5])
    noise = tensor(rng.normal(size=(2, QUERIES, WIDTH))).double()
    masks = torch.from_numpy(rng.random((2, PAIRS, WIDTH)) < 0.3)

    patches, fused = model.read(reference, tokens, mask)
    _, seen = model.read(target)
    query = fused[:, QUERIES]
    moved = move(seen, noise)
    f_query = F.normalize(model.text_proj(query), dim=-1)
    f_tokens = F.normalize(model.vision_proj(moved), dim=-1)
    cosines = torch.einsum("qe,gne->qgn", f_query, f_tokens)
    similarity = cosines.topk(TOP, dim=-1).values.mean(-1)

    same = (person_id[:, None] == person_id[None]).float() * ALPHA
    labels = same.fill_diagonal_(1.0)
    log_y = torch.log(labels / labels.sum(1, keepdim=True) + EPSILON)
    fda = 0
    for logits in (similarity / model.temp, similarity.T / model.temp):
        log_p = F.log_softmax(logits, dim=1)
        fda = fda + (log_p.exp() * (log_p - log_y)).sum(1).mean() / 2

    alike = torch.einsum("bme,bne->bmn", f_tokens, f_tokens) - MARGIN
    alike = F.relu(alike) * (1 - torch.eye(QUERIES))
    fd = alike.sum((1, 2)).mean() / (QUERIES * (QUERIES - 1))

    mfr = 0
    whole = (query, seen.mean(1))
    for x, other, hidden in ((*whole, masks[0]), (*whole[::-1], masks[1])):
        predicted = model.predict(torch.cat([x * ~hidden, other], dim=1))
        mfr = mfr + ((predicted - x)[hidden] ** 2).sum() / hidden.sum() / 2

    (fda + fd + 0.5 * mfr).backward()
    arrays = {
        "input/tokens": array(tokens).astype(np.int32),
        "input/mask": array(mask),
        "input/reference": array(reference.permute(0, 2, 3, 1)),
        "input/target": array(target.permute(0, 2, 3, 1)),
        "input/person_id": array(person_id).astype(np.int32),
        "input/noise": array(noise),
        "input/masks": array(masks),
        "output/patches": array(patches),
        "output/fused": array(fused),
        "output/seen": array(seen),
        "output/moved": array(moved),
        "output/similarity": array(similarity),
        "output/fda": array(fda),
        "output/fd": array(fd),
        "output/mfr": array(mfr),
    }
    for name, parameter in model.named_parameters():
        name, values = release_name(name), array(parameter)
        if name.endswith("attn.qkv.bias"):  # of queries, keys (0) and values
            query, _, value = np.split(values, 3)
            arrays[f"weight/{name.replace('qkv.bias', 'q_bias')}"] = query
            arrays[f"weight/{name.replace('qkv.bias', 'v_bias')}"] = value
            continue
        arrays[f"weight/{name}"] = values
        if parameter.requires_grad:
            arrays[f"gradient/{name}"] = array(parameter.grad)
    return arrays


def move(tokens: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """Tokens with the statistics that the noise gives them (DSU)."""
    mean, std = tokens.mean(0), (tokens.var(0) + 1e-6).sqrt()
    beta = mean + noise[0] * (mean.var(0) + 1e-6).sqrt()
    gamma = std + noise[1] * (std.var(0) + 1e-6).sqrt()
    return (tokens - mean) / std * gamma + beta


def release_name(name: str) -> str:
    """Name in the release's checkpoint of a parameter."""
    if name.startswith("vision.post_layernorm"):
        return name.replace("vision.post_layernorm", "ln_vision")
    if name.startswith("vision."):
        return "visual_encoder." + timm_name(name.removeprefix("vision."))
    for ours, theirs in (
        ("qformer.layernorm", "Qformer.bert.embeddings.LayerNorm"),
        ("qformer.", "Qformer.bert."),
        ("attention.attention.", "attention.self."),
        ("fc1", "mlm_predictor.predictor.0"),
        ("fc2", "mlm_predictor.predictor.2"),
    ):
        name = name.replace(ours, theirs)
    return "Qformer.bert." + name if name.startswith("embeddings.") else name


if __name__ == "__main__":
    main()
