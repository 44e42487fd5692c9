"""Makes the parity files tests/goldens/*.npz: what PyTorch computes for tiny random models.

    python tools/goldens.py --out tests/goldens

Needs torch and transformers beside the package; the tests need neither, only the files. Two runs
write equal bytes for equal versions. Weights keep the names of the ALBEF checkpoint, so that the
files also serve the name tables of `jaxreid.weights`. Keys in a file:

  weight/<name>     parameters, PyTorch layout
  gradient/<name>   of the file's scalar, for every parameter
  input/<name>      arguments
  output/<name>     results

  vit.npz        ViT of 2 blocks, 48 x 32 pixels in patches of 8: tokens;
                 scalar = sum(probe * tokens) / number of tokens
  bert.npz       BERT split as in ALBEF, 2 text + 3 cross layers, padded text, image tokens of
                 another width: hidden states, MLM logits and loss, and for each cross-attention
                 the weights of the [CLS] row with the derivative of an MLM probability with
                 respect to them; scalar = sum(probe * fused) / number of tokens + MLM loss
  positions.npz  torch.nn.functional.interpolate of position grids
  losses.npz     ALBEF's losses (keys `<loss>/<array>`, gradients `<loss>/gradient/<array>`)
"""

import argparse
import pathlib

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from transformers import BertConfig, BlipVisionConfig, BlipVisionModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.bert.modeling_bert import BertEmbeddings, BertLayer, BertOnlyMLMHead

Arrays = dict[str, np.ndarray]

WIDTH, HEADS, MLP = 32, 4, 64
VOCABULARY, POSITIONS, IMAGE_WIDTH = 41, 20, 24
# With activations of less than 16 KiB XLA fuses whole encoders on the CPU and compiles three times
# as long; 6 images of 25 tokens and 8 texts of 17 are just above.
IMAGES, TEXTS, LENGTH, IMAGE_TOKENS = 6, 8, 17, 7
TEXT_LAYERS, CROSS_LAYERS = 2, 3
GRIDS = (  # old (h, w), new (h, w)
    ((16, 16), (24, 8)),
    ((16, 16), (24, 24)),
    ((14, 14), (24, 8)),
    ((24, 8), (16, 16)),
    ((4, 3), (3, 7)),
    ((2, 2), (5, 1)),
    ((1, 1), (2, 3)),
)


def main() -> None:
    """Writes all files into the folder --out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder of the files")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    makers = {"vit": vit, "bert": bert, "positions": positions, "losses": losses}
    for seed, (name, make) in enumerate(makers.items()):
        np.savez(out / f"{name}.npz", **make(np.random.default_rng(seed)))


def vit(rng: np.random.Generator) -> Arrays:
    """ViT tokens; the grid is not square, so that a swap of rows and columns shows."""
    config = BlipVisionConfig(
        hidden_size=WIDTH,
        intermediate_size=MLP,
        num_hidden_layers=2,
        num_attention_heads=HEADS,
        patch_size=8,
        layer_norm_eps=1e-6,
        hidden_act="gelu",
        attention_dropout=0.0,
    )
    model = BlipVisionModel(config).eval()
    model.embeddings.position_embedding = nn.Parameter(torch.zeros(1, 1 + 6 * 4, WIDTH))
    randomise(model, rng)
    images = tensor(rng.normal(size=(IMAGES, 3, 48, 32)))
    probe = tensor(rng.normal(size=(IMAGES, 25, WIDTH)))
    # The model's own forward() refuses images that are not square; its parts do not.
    tokens = model.embeddings.patch_embedding(images).flatten(2).transpose(1, 2)
    cls = model.embeddings.class_embedding.expand(len(images), -1, -1)
    tokens = torch.cat([cls, tokens], dim=1) + model.embeddings.position_embedding
    tokens = model.post_layernorm(model.encoder(tokens).last_hidden_state)
    (tokens * probe).sum(-1).mean().backward()
    return {
        "input/images": array(images.permute(0, 2, 3, 1)),
        "input/probe": array(probe),
        "output/tokens": array(tokens),
        **parameters(model, timm_name),
    }


def timm_name(name: str) -> str:
    """Name in ALBEF's visual_encoder (that is timm's) of a parameter of BlipVisionModel."""
    for blip, timm in (
        ("embeddings.class_embedding", "cls_token"),
        ("embeddings.position_embedding", "pos_embed"),
        ("embeddings.patch_embedding", "patch_embed.proj"),
        ("encoder.layers", "blocks"),
        ("self_attn.projection", "attn.proj"),
        ("self_attn", "attn"),
        ("post_layernorm", "norm"),
        ("layer_norm", "norm"),
    ):
        name = name.replace(blip, timm)
    return name


class SplitBert(nn.Module):
    """ALBEF's BERT: text layers without, then cross layers with cross-attention, and MLM head."""

    def __init__(self):
        super().__init__()
        sizes = {
            "vocab_size": VOCABULARY,
            "hidden_size": WIDTH,
            "num_attention_heads": HEADS,
            "intermediate_size": MLP,
            "max_position_embeddings": POSITIONS,
            "layer_norm_eps": 1e-12,
            "attn_implementation": "watched",
        }
        text = BertConfig(**sizes)
        cross = BertConfig(**sizes, is_decoder=True, add_cross_attention=True)
        self.embeddings = BertEmbeddings(text)
        self.encoder = nn.Module()
        self.encoder.layer = nn.ModuleList(
            [BertLayer(text) for _ in range(TEXT_LAYERS)]
            + [BertLayer(cross) for _ in range(CROSS_LAYERS)]
        )
        for layer in self.encoder.layer[TEXT_LAYERS:]:
            layer.crossattention.self.key = nn.Linear(IMAGE_WIDTH, WIDTH)
            layer.crossattention.self.value = nn.Linear(IMAGE_WIDTH, WIDTH)
        self.cls = BertOnlyMLMHead(text)
        self.cls.predictions.decoder.weight = self.embeddings.word_embeddings.weight
        self.cls.predictions.decoder.bias = self.cls.predictions.bias

    def forward(self, tokens, mask, image_tokens):
        """(text hidden states, fused hidden states, logits), each [B, L, ..]."""
        bias = (1.0 - mask[:, None, None, :].float()) * -10000.0
        hidden = self.embeddings(tokens)
        for layer in self.encoder.layer[:TEXT_LAYERS]:
            hidden = layer(hidden, bias)
        text = hidden
        for layer in self.encoder.layer[TEXT_LAYERS:]:
            hidden = layer(hidden, bias, encoder_hidden_states=image_tokens)
        return text, hidden, self.cls(hidden)


# Softmax weights [B, H, L, N] of the cross-attentions of the latest forward pass, in order.
WATCHED: list[torch.Tensor] = []


def watched_attention(module, query, key, value, attention_mask, scaling, **_):
    """Attention of transformers' eager kind that keeps the weights of cross-attentions."""
    logits = query @ key.transpose(2, 3) * scaling
    if attention_mask is not None:
        logits = logits + attention_mask
    weights = logits.softmax(dim=-1)
    if type(module).__name__ == "BertCrossAttention":
        WATCHED.append(weights)
    return (weights @ value).transpose(1, 2).contiguous(), weights


def bert(rng: np.random.Generator) -> Arrays:
    """Text, fused states, MLM, and the attention of [CLS] forward and backward."""
    ALL_ATTENTION_FUNCTIONS.register("watched", watched_attention)
    model = SplitBert().eval()
    randomise(model, rng)
    tokens = torch.from_numpy(rng.integers(1, VOCABULARY, size=(TEXTS, LENGTH)))
    lengths = torch.tensor([17, 12, 4, 9, 16, 5, 3, 8])
    mask = torch.arange(LENGTH)[None] < lengths[:, None]
    tokens = torch.where(mask, tokens, 0)
    image_tokens = tensor(rng.normal(size=(TEXTS, IMAGE_TOKENS, IMAGE_WIDTH))).requires_grad_()
    # Zero on padding: PyTorch's padding_idx keeps the gradient of token 0 at zero there.
    probe = tensor(rng.normal(size=(TEXTS, LENGTH, WIDTH))) * mask[:, :, None]
    masked = torch.tensor([5, 2, 3, 8, 15, 1, 1, 4])  # one masked position a text, never [CLS]
    rows = torch.arange(TEXTS)

    text, fused, logits = model(tokens, mask, image_tokens)
    logits = logits[rows, masked]
    # The second best word: neither its probability nor the derivative is close to zero.
    label = logits.argsort(dim=-1)[:, -2]
    loss = F.cross_entropy(logits, label)
    ((fused * probe).sum(-1).mean() + loss).backward(retain_graph=True)
    probability = logits.softmax(dim=-1)[rows, label]
    backward = torch.autograd.grad(probability.sum(), WATCHED)
    return {
        "input/tokens": array(tokens).astype(np.int32),
        "input/mask": array(mask),
        "input/image_tokens": array(image_tokens),
        "input/probe": array(probe),
        "input/masked": array(masked).astype(np.int32),
        "input/label": array(label).astype(np.int32),
        "output/text": array(text),
        "output/fused": array(fused),
        "output/logits": array(logits),
        "output/loss": array(loss),
        "output/probability": array(probability),
        # [cross layer, B, H, N]: row 0 of the softmax weights, and d probability / d row 0
        "output/forward_attention": np.stack([array(w[:, :, 0]) for w in WATCHED]),
        "output/backward_attention": np.stack([array(g[:, :, 0]) for g in backward]),
        "gradient_of_input/image_tokens": array(image_tokens.grad),
        **parameters(model, str),
    }


def positions(rng: np.random.Generator) -> Arrays:
    """`<method>/<old h>x<old w>/<new h>x<new w>/{old,new}`, f32[1, 1 + h * w, 5]."""
    arrays = {}
    for method in ("bicubic", "bilinear"):
        for (h, w), new in GRIDS:
            old = tensor(rng.normal(size=(1, 1 + h * w, 5)))
            grid = old[:, 1:].reshape(1, h, w, 5).permute(0, 3, 1, 2)
            grid = F.interpolate(grid, size=new, mode=method, align_corners=False)
            resized = torch.cat([old[:, :1], grid.flatten(2).transpose(1, 2)], dim=1)
            key = f"{method}/{h}x{w}/{new[0]}x{new[1]}"
            arrays[f"{key}/old"] = array(old)
            arrays[f"{key}/new"] = array(resized)
    return arrays


def losses(rng: np.random.Generator) -> Arrays:
    """ALBEF's losses, LAIP's fusion triplet and the momentum update."""
    arrays = {}
    for name, part in (
        ("itc", itc(rng)),
        ("itm", itm(rng)),
        ("mlm", mlm(rng)),
        ("triplet", triplet(rng)),
        ("momentum", momentum(rng)),
    ):
        arrays |= {f"{name}/{key}": value for key, value in part.items()}
    return arrays


def itc(rng: np.random.Generator) -> Arrays:
    """Image-text contrast with momentum distillation against queues (ALBEF; LAIP Eqs. 16-17)."""
    B, M, E = 6, 10, 8

    def rows(n: int) -> torch.Tensor:
        return F.normalize(tensor(rng.normal(size=(n, E))), dim=-1)

    image, text = rows(B).requires_grad_(), rows(B).requires_grad_()
    image_momentum, text_momentum = rows(B), rows(B)
    image_queue, text_queue = rows(M), rows(M)
    temperature = torch.tensor(0.07, requires_grad=True)
    alpha = 0.4
    person_id = torch.tensor([3, 1, 3, 0, 7, 1])
    id_queue = torch.tensor([1, 5, 3, 3, 9, 2, 0, -1, -1, -1])  # -1: a slot not yet written

    image_keys = torch.cat([image_momentum, image_queue])
    text_keys = torch.cat([text_momentum, text_queue])
    same = (person_id[:, None] == torch.cat([person_id, id_queue])[None]).float()
    label = same / same.sum(1, keepdim=True)
    with torch.no_grad():
        soft_i2t = F.softmax(image_momentum @ text_keys.T / temperature, dim=1)
        soft_t2i = F.softmax(text_momentum @ image_keys.T / temperature, dim=1)
        target_i2t = alpha * soft_i2t + (1 - alpha) * label
        target_t2i = alpha * soft_t2i + (1 - alpha) * label
    sim_i2t = image @ text_keys.T / temperature
    sim_t2i = text @ image_keys.T / temperature
    i2t = -(F.log_softmax(sim_i2t, dim=1) * target_i2t).sum(1).mean()
    t2i = -(F.log_softmax(sim_t2i, dim=1) * target_t2i).sum(1).mean()
    loss = (i2t + t2i) / 2
    loss.backward()
    return {
        "image": array(image),
        "text": array(text),
        "image_momentum": array(image_momentum),
        "text_momentum": array(text_momentum),
        "image_queue": array(image_queue),
        "text_queue": array(text_queue),
        "person_id": array(person_id).astype(np.int32),
        "id_queue": array(id_queue).astype(np.int32),
        "temperature": array(temperature),
        "alpha": np.float32(alpha),
        "target_i2t": array(target_i2t),
        "target_t2i": array(target_t2i),
        "similarity_i2t": array(sim_i2t),
        "similarity_t2i": array(sim_t2i),
        "loss": array(loss),
        "gradient/image": array(image.grad),
        "gradient/text": array(text.grad),
        "gradient/temperature": array(temperature.grad),
    }


def itm(rng: np.random.Generator) -> Arrays:
    """Sampling weights of hard negatives, and cross-entropy over 3 B pairs (ALBEF; LAIP Eq. 19)."""
    B = 5
    similarity_i2t = tensor(rng.normal(size=(B, B + 4)) * 3)  # scaled by 1 / temperature
    similarity_t2i = tensor(rng.normal(size=(B, B + 4)) * 3)
    person_id = torch.tensor([2, 4, 2, 0, 4])
    same = person_id[:, None] == person_id[None]
    chance_i2t = F.softmax(similarity_i2t[:, :B], dim=1).masked_fill(same, 0)
    chance_t2i = F.softmax(similarity_t2i[:, :B], dim=1).masked_fill(same, 0)
    logits = tensor(rng.normal(size=(3 * B, 2))).requires_grad_()
    label = torch.cat([torch.ones(B), torch.zeros(2 * B)]).long()
    loss = F.cross_entropy(logits, label)
    loss.backward()
    return {
        "similarity_i2t": array(similarity_i2t),
        "similarity_t2i": array(similarity_t2i),
        "person_id": array(person_id).astype(np.int32),
        # rows scaled to sum 1, as torch.multinomial does with its weights
        "chance_i2t": array(chance_i2t / chance_i2t.sum(1, keepdim=True)),
        "chance_t2i": array(chance_t2i / chance_t2i.sum(1, keepdim=True)),
        # B pairs that match, B (text, negative image), B (negative text, image); column 1 = match
        "logits": array(logits),
        "loss": array(loss),
        "gradient/logits": array(logits.grad),
    }


def mlm(rng: np.random.Generator) -> Arrays:
    """Cross-entropy over the vocabulary at the masked positions, mean over all of them."""
    logits = tensor(rng.normal(size=(3, 6, 11)) * 2).requires_grad_()
    label = torch.from_numpy(rng.integers(0, 11, size=(3, 6)))
    masked = torch.tensor([[0, 1, 0, 0, 1, 0], [0, 0, 0, 0, 0, 0], [0, 0, 1, 1, 0, 1]]).bool()
    loss = F.cross_entropy(logits.flatten(0, 1), torch.where(masked, label, -100).flatten())
    loss.backward()
    return {
        "logits": array(logits),
        "label": array(label).astype(np.int32),
        "masked": array(masked),
        "loss": array(loss),
        "gradient/logits": array(logits.grad),
    }


def triplet(rng: np.random.Generator) -> Arrays:
    """Triplet on the probability of 'match' of an image, its text and two negatives (Eq. 20)."""
    margin = 0.6
    positive, negative_text, negative_image = (
        tensor(rng.normal(size=(7, 2)) * 2).requires_grad_() for _ in range(3)
    )
    s_positive = F.softmax(positive, dim=1)[:, 1]
    s_text = F.softmax(negative_text, dim=1)[:, 1]
    s_image = F.softmax(negative_image, dim=1)[:, 1]
    loss = (F.relu(margin - s_positive + s_text) + F.relu(margin - s_positive + s_image)).mean()
    loss.backward()
    return {
        # match logits [B, 2]; column 1 = match
        "positive": array(positive),
        "negative_text": array(negative_text),
        "negative_image": array(negative_image),
        "margin": np.float32(margin),
        "loss": array(loss),
        "gradient/positive": array(positive.grad),
        "gradient/negative_text": array(negative_text.grad),
        "gradient/negative_image": array(negative_image.grad),
    }


def momentum(rng: np.random.Generator) -> Arrays:
    """Three momentum updates in a row with decay 0.995 towards changing weights."""
    old = tensor(rng.normal(size=(4, 3)))
    new = tensor(rng.normal(size=(3, 4, 3)))
    state = old.clone()
    for step in new:
        state = state * 0.995 + step * (1.0 - 0.995)
    return {
        "old": array(old),
        "new": array(new),
        "decay": np.float32(0.995),
        "result": array(state),
    }


def randomise(model: nn.Module, rng: np.random.Generator) -> None:
    """Gives every parameter, norms and biases too, values that an error cannot hide behind."""
    for name, parameter in model.named_parameters():
        values = rng.normal(size=parameter.shape)
        if parameter.ndim == 1:
            values = values * 0.2 + (1.0 if "norm" in name.lower() and "weight" in name else 0.0)
        elif "embedding" in name and "patch" not in name:
            values = values * 0.5
        else:
            values = values / np.sqrt(parameter[0].numel())
        parameter.data = tensor(values)


def parameters(model: nn.Module, rename) -> Arrays:
    """weight/<name> and gradient/<name> of every parameter, tied ones once."""
    arrays = {}
    for name, parameter in model.named_parameters():
        arrays[f"weight/{rename(name)}"] = array(parameter)
        arrays[f"gradient/{rename(name)}"] = array(parameter.grad)
    return arrays


def tensor(values: np.ndarray) -> torch.Tensor:
    """f32 tensor of an array."""
    return torch.from_numpy(np.asarray(values, np.float32))


def array(values: torch.Tensor) -> np.ndarray:
    """Array of a tensor, in row-major order and apart from its memory."""
    return np.array(values.detach().numpy(), order="C")


if __name__ == "__main__":
    main()
