"""The network and losses of LAIP in plain PyTorch: what tools/benchmark.py compares with.

Modules and parameters carry the names of the Flax tree, so weights are copied by name. Attention
whose weights nobody reads is torch's fused one. Dropout is left out: for comparison it is 0.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

UNIMODAL = ("vit", "text", "image_proj", "text_proj")  # what the momentum model copies


class Attention(nn.Module):
    """Multi-head attention; `tap` is a zero offset on the weights of row 0 (LAIP Eq. 6)."""

    def __init__(self, width: int, context: int, heads: int):
        super().__init__()
        self.heads = heads
        self.query, self.out = nn.Linear(width, width), nn.Linear(width, width)
        self.key, self.value = nn.Linear(context, width), nn.Linear(context, width)

    def forward(self, x, context, mask=None, index=None, tap=None):
        """Returns [B, L, D], and with tap the weights [B, H, S] of row 0."""

        def split(tokens):
            return tokens.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # [B, H, L, d]

        query, key, value = (
            split(self.query(x)),
            split(self.key(context)),
            split(self.value(context)),
        )
        if index is not None:
            key, value = key[index], value[index]
        # Finite, so that a phrase of padding only gives no NaN.
        hidden = None if mask is None else torch.where(mask, 0.0, -10000.0)[:, None, None]
        weights = None
        if tap is None:
            output = F.scaled_dot_product_attention(query, key, value, attn_mask=hidden)
        else:
            logits = query @ key.transpose(2, 3) / math.sqrt(query.shape[-1])
            if hidden is not None:
                logits = logits + hidden
            weights = logits.softmax(-1)
            offset = F.pad(tap[:, :, None], (0, 0, 0, weights.shape[2] - 1))
            output = (weights + offset) @ value
            weights = weights[:, :, 0]
        return self.out(output.transpose(1, 2).flatten(2)), weights


class Mlp(nn.Module):
    """Two layers with the exact GELU between them."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """Pre-norm block of the ViT."""

    def __init__(self, width: int, heads: int, mlp: int):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, 1e-6), nn.LayerNorm(width, 1e-6)
        self.attn, self.mlp = Attention(width, width, heads), Mlp(width, mlp)

    def forward(self, x):
        normed = self.norm1(x)
        x = x + self.attn(normed, normed)[0]
        return x + self.mlp(self.norm2(x))


class ViT(nn.Module):
    """Images f32[B, h, w, 3] to tokens."""

    def __init__(
        self, size: tuple[int, int], patch: int, width: int, depth: int, heads: int, mlp: int
    ):
        super().__init__()
        self.patch = patch
        self.patch_embed = nn.Linear(patch * patch * 3, width)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        count = 1 + size[0] // patch * (size[1] // patch)
        self.pos_embed = nn.Parameter(torch.zeros(1, count, width))
        self.names = [f"blocks_{i}" for i in range(depth)]
        for name in self.names:
            self.add_module(name, Block(width, heads, mlp))
        self.norm = nn.LayerNorm(width, 1e-6)

    def forward(self, images):
        size, height, width, _ = images.shape
        p = self.patch
        patches = images.reshape(size, height // p, p, width // p, p, 3).transpose(2, 3)
        tokens = self.patch_embed(patches.reshape(size, -1, p * p * 3))
        tokens = torch.cat([self.cls_token.expand(size, -1, -1), tokens], 1) + self.pos_embed
        for name in self.names:
            tokens = getattr(self, name)(tokens)
        return self.norm(tokens)


class Embeddings(nn.Module):
    """BERT's embeddings of one segment."""

    def __init__(self, vocabulary: int, width: int, positions: int):
        super().__init__()
        self.word_embeddings = nn.Embedding(vocabulary, width)
        self.position_embeddings = nn.Embedding(positions, width)
        self.token_type_embeddings = nn.Embedding(2, width)
        self.norm = nn.LayerNorm(width, 1e-12)

    def forward(self, tokens):
        place = torch.arange(tokens.shape[1])[None]
        hidden = self.word_embeddings(tokens) + self.position_embeddings(place)
        return self.norm(hidden + self.token_type_embeddings(torch.zeros_like(place)))


class Layer(nn.Module):
    """Post-norm layer of BERT; with cross-attention where there are images of a width."""

    def __init__(self, width: int, heads: int, mlp: int, image_width: int | None):
        super().__init__()
        self.attention = Attention(width, width, heads)
        self.attention_norm = nn.LayerNorm(width, 1e-12)
        if image_width:
            self.crossattention = Attention(width, image_width, heads)
            self.crossattention_norm = nn.LayerNorm(width, 1e-12)
        self.mlp, self.mlp_norm = Mlp(width, mlp), nn.LayerNorm(width, 1e-12)

    def forward(self, hidden, mask, images=None, index=None, tap=None, first_only=False):
        """Returns [B, L, D] (row 0 alone with `first_only`) and the tapped weights."""
        rows = hidden[:, :1] if first_only else hidden
        hidden = self.attention_norm(rows + self.attention(rows, hidden, mask)[0])
        weights = None
        if images is not None:
            branch, weights = self.crossattention(hidden, images, index=index, tap=tap)
            hidden = self.crossattention_norm(hidden + branch)
        return self.mlp_norm(hidden + self.mlp(hidden)), weights


class Layers(nn.Module):
    """The text encoder (with embeddings) or the cross encoder (with image tokens)."""

    def __init__(self, depth: int, width: int, heads: int, mlp: int, image_width: int | None):
        super().__init__()
        self.names = [f"layer_{i}" for i in range(depth)]
        for name in self.names:
            self.add_module(name, Layer(width, heads, mlp, image_width))

    def forward(
        self, hidden, mask, images=None, index=None, tap=None, tap_layer=None, first_only=False
    ):
        """Returns [B, L, D] and the tapped weights."""
        tapped = None
        for i, name in enumerate(self.names):
            last = first_only and i == len(self.names) - 1
            hidden, weights = getattr(self, name)(
                hidden, mask, images, index, tap if i == tap_layer else None, last
            )
            tapped = weights if i == tap_layer else tapped
        return hidden, tapped


class Projection(nn.Module):
    """Linear map, then unit L2 norm."""

    def __init__(self, width: int, embedding: int):
        super().__init__()
        self.dense = nn.Linear(width, embedding)

    def forward(self, x):
        return F.normalize(self.dense(x), dim=-1)


class MLMHead(nn.Module):
    """BERT's head, tied to the word embeddings."""

    def __init__(self, width: int, vocabulary: int):
        super().__init__()
        self.dense, self.norm = nn.Linear(width, width), nn.LayerNorm(width, 1e-12)
        self.bias = nn.Parameter(torch.zeros(vocabulary))

    def forward(self, hidden, embedding):
        return F.linear(self.norm(F.gelu(self.dense(hidden))), embedding, self.bias)


class AlignFuse(nn.Module):
    """The whole network, from the sections `image` and `model` of a config."""

    def __init__(self, config: Any, vocabulary: int):
        super().__init__()
        v, b = config.model.vit, config.model.bert
        self.vit = ViT(tuple(config.image.size), v.patch, v.width, v.depth, v.heads, v.mlp)
        self.text = Layers(b.text_depth, b.width, b.heads, b.mlp, None)
        self.text.embeddings = Embeddings(vocabulary, b.width, b.max_positions)
        self.cross = Layers(b.cross_depth, b.width, b.heads, b.mlp, v.width)
        self.mlm = MLMHead(b.width, vocabulary)
        self.image_proj = Projection(v.width, config.model.embedding)
        self.text_proj = Projection(b.width, config.model.embedding)
        self.itm_head = nn.Linear(b.width, 2)
        self.temperature = nn.Parameter(torch.zeros(()))

    def text_tokens(self, tokens):
        return self.text(self.text.embeddings(tokens), tokens != 0)[0]


class Draws(NamedTuple):
    """What a step draws at random, given to both frameworks."""

    text_of: torch.Tensor  # i64[B], negative text of each image
    image_of: torch.Tensor  # i64[B], negative image of each text
    masked: torch.Tensor  # bool[B R, Lp], the masked word of each phrase


class Trainer:
    """Parameters, momentum copies, queues and AdamW; `step` is one training step."""

    def __init__(
        self,
        config: Any,
        params: Mapping[str, Any],
        memory: Any,
        settings: Any,
        groups: list,
        mask_id: int,
    ):
        """Copies everything from the JAX side.

        Args:
          config: of the recipe, without dropout, in float32.
          params: flat {"a/b/c": array} of the Flax tree.
          memory: `GlobalMemory` of arrays.
          settings: `GlobalSettings`.
          groups: [(names of parameters, factor on the rate, decay)].
          mask_id: token id of [MASK].
        """
        vocabulary = len(params["text/embeddings/word_embeddings/embedding"])
        self.config, self.settings, self.mask_id = config, settings, mask_id
        self.model = AlignFuse(config, vocabulary)
        copy_weights(self.model, params)
        self.momentum = AlignFuse(config, vocabulary)
        copy_weights(self.momentum, params)
        self.pairs = [
            (old, new)
            for (name, old), new in zip(
                self.momentum.named_parameters(), self.model.parameters(), strict=True
            )
            if name.split(".")[0] in UNIMODAL
        ]
        self.images, self.texts, self.ids = (
            torch.from_numpy(np.array(x))
            for x in (memory.image_queue, memory.text_queue, memory.id_queue)
        )
        named = dict(self.model.named_parameters())
        o = config.optim
        self.factors = [factor for _, factor, _ in groups]
        self.optimiser = torch.optim.AdamW(
            [
                {"params": [named[torch_name(n)] for n in names], "weight_decay": decay}
                for names, _, decay in groups
            ],
            betas=(o.beta1, o.beta2), eps=o.epsilon, fused=True,
        )  # fmt: skip

    def step(
        self, batch: Mapping[str, torch.Tensor], draws: Draws, number: int, rate: float, last: bool
    ):
        """One step; returns the loss. `last`: with LAIP's losses of the last stage."""
        for group, factor in zip(self.optimiser.param_groups, self.factors, strict=True):
            group["lr"] = rate * factor
        self.optimiser.zero_grad(set_to_none=True)
        loss = self.loss(batch, draws, number, last)
        loss.backward()
        if self.config.optim.clip_norm:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.config.optim.clip_norm)
        self.optimiser.step()
        return loss.item()

    def loss(self, batch, draws: Draws, number: int, last: bool):
        """L_itc + L_itm, at last L_tri + L_bidir + L_mpm too; moves momentum and queues."""
        model, c, s = self.model, self.config.laip, self.settings
        mean, std = (
            torch.tensor(tuple(x)) for x in (self.config.image.mean, self.config.image.std)
        )
        images = (batch["image"].float() / 255 - mean) / std
        tokens, person = batch["tokens"], batch["person_id"]
        mask = tokens != 0
        with torch.no_grad():
            old, new = ([pair[i] for pair in self.pairs] for i in (0, 1))
            torch._foreach_mul_(old, s.momentum)
            torch._foreach_add_(old, new, alpha=1 - s.momentum)
            momentum = self.momentum
            image_m = momentum.image_proj(momentum.vit(images)[:, 0])
            text_m = momentum.text_proj(momentum.text_tokens(tokens)[:, 0])
        image_tokens, text_tokens = model.vit(images), model.text_tokens(tokens)
        image = model.image_proj(image_tokens[:, 0])
        text = model.text_proj(text_tokens[:, 0])
        low, high = s.temperature_limits
        raw = model.temperature
        temperature = raw + (raw.clamp(low, high) - raw).detach()
        alpha = s.alpha * min(1.0, number / s.alpha_steps if s.alpha_steps else 1.0)
        if s.batch_keys == "online":
            image_own, text_own = image, text
        else:
            image_own, text_own = image_m, text_m
        image_keys = torch.cat([image_own, self.images])
        text_keys = torch.cat([text_own, self.texts])
        same = (person[:, None] == torch.cat([person, self.ids])[None]).float()
        label = same / same.sum(1, keepdim=True)

        def one_way(query, own, keys):
            soft = (own @ keys.T / temperature).softmax(1).detach()
            target = alpha * soft + (1 - alpha) * label
            return -(target * (query @ keys.T / temperature).log_softmax(1)).sum(1).mean()

        loss = (one_way(image, image_own, text_keys) + one_way(text, text_own, image_keys)) / 2
        size = len(tokens)
        rows = torch.arange(s.matching_rows or size)
        texts = torch.cat([rows, draws.text_of[rows], rows])
        fused, _ = model.cross(
            text_tokens[texts], mask[texts], image_tokens,
            torch.cat([rows, rows, draws.image_of[rows]]), first_only=True,
        )  # fmt: skip
        logits = model.itm_head(fused[:, 0])
        loss = loss + F.cross_entropy(logits, (torch.arange(len(logits)) < len(rows)).long())
        self.images = torch.cat([image_m, self.images])[: len(self.images)]
        self.texts = torch.cat([text_m, self.texts])[: len(self.texts)]
        self.ids = torch.cat([person, self.ids])[: len(self.ids)]
        if not last:
            return loss
        if c.triplet:
            score = logits.softmax(1)[:, 1] if c.triplet_score == "probability" else logits[:, 1]
            positive, other_text, other_image = score.split(len(rows))
            margin = c.triplet_margin
            loss = loss + F.relu(margin - positive + other_text).mean()
            loss = loss + F.relu(margin - positive + other_image).mean()
        return loss + self.phrases(batch, draws.masked, image_tokens)

    def phrases(self, batch, masked, image_tokens):
        """L_bidir + L_mpm of the default options of LAIP (Eqs. 2-12)."""
        model, c = self.model, self.config.laip
        size, count, _ = batch["phrase_tokens"].shape
        tokens = batch["phrase_tokens"].flatten(0, 1)
        mask = tokens != 0
        present = (batch["phrase_words"].flatten(0, 1) >= 0).any(1)
        hidden = model.text_tokens(torch.where(masked, self.mask_id, tokens))
        tap = torch.zeros(
            len(tokens), self.config.model.bert.heads, image_tokens.shape[1], requires_grad=True
        )
        index = torch.arange(size).repeat_interleave(count)
        fused, forward = model.cross(hidden, mask, image_tokens, index, tap, c.layer)
        logits = model.mlm(fused, model.text.embeddings.word_embeddings.weight)
        chosen = logits.gather(-1, tokens[..., None])[..., 0] - logits.logsumexp(-1)
        weight = masked.float() / masked.sum(1, keepdim=True).clamp(min=1)
        score = (chosen.exp() * weight).sum()
        (backward,) = torch.autograd.grad(score, tap, retain_graph=True)
        raw = (forward[..., 1:].mean(1) * F.relu(backward[..., 1:].mean(1))).detach()
        peak = raw.amax(1, keepdim=True)
        scaled = torch.where(peak > 0, raw / torch.where(peak > 0, peak, 1.0), 1.0)
        weights = scaled / scaled.sum(1, keepdim=True)
        vector = (weights.unflatten(0, (size, count)) @ image_tokens[:, 1:]).flatten(0, 1)
        bidir = 1 - (model.image_proj(vector) * model.text_proj(hidden[:, 0])).sum(1)
        losses = torch.where(present, bidir - (chosen * weight).sum(1), 0.0)
        losses = losses.unflatten(0, (size, count)).sum(1)
        counts = present.unflatten(0, (size, count)).sum(1).clamp(min=1)
        return (losses / counts).mean()


def torch_name(name: str) -> str:
    """The name in the modules above of "vit/blocks_0/attn/query/kernel" of the Flax tree."""
    parts = name.split("/")
    if parts[-1] in ("kernel", "scale", "embedding"):
        parts[-1] = "weight"
    return ".".join(parts)


def copy_weights(model: nn.Module, params: Mapping[str, Any]) -> None:
    """Copies the Flax parameters; a name or size that does not fit both sides is an error."""
    named = dict(model.named_parameters())
    wanted = {torch_name(name): (name, np.array(value)) for name, value in params.items()}
    if named.keys() != wanted.keys():
        raise ValueError(f"names differ: {sorted(named.keys() ^ wanted.keys())}")
    with torch.no_grad():
        for target, (name, value) in wanted.items():
            if name.endswith("/kernel"):
                # Inputs are all axes of a projection back ("out") and of patches but the last.
                inputs = (
                    value.shape[:-1]
                    if name.split("/")[-2] in ("out", "patch_embed")
                    else (value.shape[:1])
                )
                value = value.reshape(math.prod(inputs), -1).T
            named[target].copy_(torch.from_numpy(value.reshape(named[target].shape).copy()))
