"""Makes the parity file of DiaNA: what PyTorch computes for a tiny random refiner.

    python tools/goldens_diana.py --out tests/goldens

Needs torch beside the package; the tests need neither, only the file. Two runs write equal bytes
for equal versions. All is computed in double precision, from parameters and inputs that float32
holds. Parameters have the names of the release's checkpoint. File:

  diana.npz   tokens of images and of dialogues, projected and refined to attributes by one refiner
              (nn.MultiheadAttention and pre-norm blocks with QuickGELU), and ITC and SDM on the
              global similarity and on that of the attributes; scalar = the sum of the four, and its
              gradient
"""

import argparse
import pathlib

import numpy as np
import torch
from goldens import Arrays, array, randomise, tensor
from torch import nn
from torch.nn import functional as F

IMAGE_WIDTH, TEXT_WIDTH, WIDTH, HEADS, ATTRIBUTES, DEPTH = 24, 40, 32, 4, 5, 2
PAIRS, PATCHES, LENGTH = 8, 7, 19
SCALE, EPSILON = 12.0, 1e-6


def main() -> None:
    """Writes the file into the folder --out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder of the file")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    np.savez_compressed(out / "diana.npz", **diana(np.random.default_rng(40)))


class Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attn = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        self.fc1, self.fc2 = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x):
        normed = self.norm1(x)
        x = x + self.attn(normed, normed, normed, need_weights=False)[0]
        hidden = self.fc1(self.norm2(x))
        return x + self.fc2(hidden * torch.sigmoid(1.702 * hidden))


class Network(nn.Module):
    """Projections of both modalities and the refiner that they share."""

    def __init__(self):
        super().__init__()
        self.image_proj = nn.Linear(IMAGE_WIDTH, WIDTH)
        self.text_proj = nn.Linear(TEXT_WIDTH, WIDTH)
        self.queries = nn.Parameter(torch.zeros(1, ATTRIBUTES, WIDTH))
        self.attn = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        self.blocks = nn.ModuleList(Block() for _ in range(DEPTH))

    def refine(self, tokens, padding=None):
        """[B, K, E] attributes."""
        queries = self.queries.expand(len(tokens), -1, -1)
        x = self.attn(queries, tokens, tokens, key_padding_mask=padding, need_weights=False)[0]
        for block in self.blocks:
            x = block(x)
        return x


def diana(rng: np.random.Generator) -> Arrays:
    """Features, losses and gradients."""
    model = Network().eval()
    randomise(model, rng)
    model.double()
    images = tensor(rng.normal(size=(PAIRS, PATCHES, IMAGE_WIDTH))).double()
    dialogues = tensor(rng.normal(size=(PAIRS, LENGTH, TEXT_WIDTH))).double()
    lengths = torch.tensor([19, 12, 3, 9, 16, 5, 1, 8])
    padding = torch.arange(LENGTH)[None] >= lengths[:, None]
    person_id = torch.tensor([4, 2, 4, 0, 9, 4, 2, 5])

    image_tokens, text_tokens = model.image_proj(images), model.text_proj(dialogues)
    v = F.normalize(model.image_proj(images.mean(1)), dim=-1)  # as Swin's features are pooled
    last = dialogues[torch.arange(PAIRS), lengths - 1]  # as Llama's are
    t = F.normalize(model.text_proj(last), dim=-1)
    a_v = model.refine(image_tokens)
    a_t = model.refine(text_tokens, padding)
    unit_v, unit_t = F.normalize(a_v, dim=-1), F.normalize(a_t, dim=-1)
    similarity = v @ t.T
    by_attribute = torch.einsum("ike,jke->ijk", unit_v, unit_t).mean(-1)

    same = (person_id[:, None] == person_id[None]).double()
    target = same / same.sum(1, keepdim=True)
    losses = {}
    for name, scores in (("", similarity), ("attribute_", by_attribute)):
        itc = sdm = 0
        for logits in (SCALE * scores, SCALE * scores.T):
            log_p = F.log_softmax(logits, dim=1)
            itc = itc - (target * log_p).sum(1).mean() / 2
            log_t = torch.log(target + EPSILON)
            sdm = sdm + (log_p.exp() * (log_p - log_t)).sum(1).mean() / 2
        losses |= {f"{name}itc": itc, f"{name}sdm": sdm}
    sum(losses.values()).backward()
    arrays = {
        "input/images": array(images).astype(np.float32),
        "input/dialogues": array(dialogues).astype(np.float32),
        "input/mask": array(~padding),
        "input/person_id": array(person_id).astype(np.int32),
        "output/image_attributes": array(a_v),
        "output/text_attributes": array(a_t),
        "output/similarity": array(similarity),
        "output/attribute_similarity": array(by_attribute),
        **{f"output/{name}": array(loss) for name, loss in losses.items()},
    }
    for name, parameter in model.named_parameters():
        arrays[f"weight/{release_name(name)}"] = array(parameter).astype(np.float32)
        arrays[f"gradient/{release_name(name)}"] = array(parameter.grad)
    return arrays


def release_name(name: str) -> str:
    """Name in the release's checkpoint of a parameter."""
    for ours, theirs in (
        ("image_proj", "vision_projection"),
        ("text_proj", "text_projection"),
        ("queries", "refiner.attr_query_token"),
        ("blocks.", "refiner.transformer.resblocks."),
        (".norm1", ".ln_1"),
        (".norm2", ".ln_2"),
        (".fc1", ".mlp.c_fc"),
        (".fc2", ".mlp.c_proj"),
    ):
        name = name.replace(ours, theirs)
    return f"refiner.cross_{name}" if name.startswith("attn.") else name


if __name__ == "__main__":
    main()
