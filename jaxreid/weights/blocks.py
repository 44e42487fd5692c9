"""Entries of the blocks that several kinds of checkpoint share: timm's ViT and BERT's layers."""

from jaxreid.weights.layouts import (
    CONV,
    HEADS_BIAS,
    HEADS_IN,
    HEADS_OUT,
    LINEAR,
    POSITION_IDS,
    QKV_BIAS,
    QKV_KERNEL,
)
from jaxreid.weights.names import Entry

_QKV = ("query", "key", "value")


def norm(published: str, ours: str) -> tuple[Entry, ...]:
    """A layer norm."""
    return (
        Entry(f"{published}.weight", f"{ours}/scale"),
        Entry(f"{published}.bias", f"{ours}/bias"),
    )


def linear(published: str, ours: str) -> tuple[Entry, ...]:
    """A linear map with a bias."""
    return (
        Entry(f"{published}.weight", f"{ours}/kernel", LINEAR),
        Entry(f"{published}.bias", f"{ours}/bias"),
    )


def heads_in(published: str, ours: str) -> tuple[Entry, ...]:
    """A linear map to queries, keys or values."""
    return (
        Entry(f"{published}.weight", f"{ours}/kernel", HEADS_IN),
        Entry(f"{published}.bias", f"{ours}/bias", HEADS_BIAS),
    )


def heads_out(published: str, ours: str) -> tuple[Entry, ...]:
    """The output map of an attention."""
    return (
        Entry(f"{published}.weight", f"{ours}/kernel", HEADS_OUT),
        Entry(f"{published}.bias", f"{ours}/bias"),
    )


def qkv(weight: str, bias: str, ours: str) -> tuple[Entry, ...]:
    """Query, key and value in one key of weights and one of biases."""
    return (
        Entry(weight, tuple(f"{ours}/{part}/kernel" for part in _QKV), QKV_KERNEL),
        Entry(bias, tuple(f"{ours}/{part}/bias" for part in _QKV), QKV_BIAS),
    )


def vit(published: str, ours: str) -> tuple[Entry, ...]:
    """timm's VisionTransformer without its classifier; index {vit}."""
    theirs, mine = f"{published}blocks.{{vit}}", f"{ours}blocks_{{vit}}"
    return (
        Entry(f"{published}cls_token", f"{ours}cls_token"),
        Entry(f"{published}pos_embed", f"{ours}pos_embed"),
        Entry(f"{published}patch_embed.proj.weight", f"{ours}patch_embed/kernel", CONV),
        Entry(f"{published}patch_embed.proj.bias", f"{ours}patch_embed/bias"),
        *norm(f"{theirs}.norm1", f"{mine}/norm1"),
        *qkv(f"{theirs}.attn.qkv.weight", f"{theirs}.attn.qkv.bias", f"{mine}/attn"),
        *heads_out(f"{theirs}.attn.proj", f"{mine}/attn/out"),
        *norm(f"{theirs}.norm2", f"{mine}/norm2"),
        *linear(f"{theirs}.mlp.fc1", f"{mine}/mlp/fc1"),
        *linear(f"{theirs}.mlp.fc2", f"{mine}/mlp/fc2"),
        *norm(f"{published}norm", f"{ours}norm"),
    )


def bert_embeddings(published: str, ours: str) -> tuple[Entry, ...]:
    """BERT's embeddings."""
    places = f"{ours}position_embeddings/embedding"
    return (
        Entry(f"{published}word_embeddings.weight", f"{ours}word_embeddings/embedding"),
        Entry(f"{published}position_embeddings.weight", places),
        Entry(f"{published}token_type_embeddings.weight", f"{ours}token_type_embeddings/embedding"),
        *norm(f"{published}LayerNorm", f"{ours}norm"),
        Entry(f"{published}position_ids", places, POSITION_IDS),
    )


def bert_layer(published: str, ours: str) -> tuple[Entry, ...]:
    """A layer of BERT without cross-attention."""
    return (
        *bert_attention(f"{published}.attention", f"{ours}/attention"),
        *linear(f"{published}.intermediate.dense", f"{ours}/mlp/fc1"),
        *linear(f"{published}.output.dense", f"{ours}/mlp/fc2"),
        *norm(f"{published}.output.LayerNorm", f"{ours}/mlp_norm"),
    )


def bert_attention(published: str, ours: str) -> tuple[Entry, ...]:
    """An attention of BERT with its norm: "attention" or "crossattention" of a layer."""
    return (
        *(e for part in _QKV for e in heads_in(f"{published}.self.{part}", f"{ours}/{part}")),
        *heads_out(f"{published}.output.dense", f"{ours}/out"),
        *norm(f"{published}.output.LayerNorm", f"{ours}_norm"),
    )


def mlm_head(published: str, ours: str, words: str) -> tuple[Entry, ...]:
    """BERT's head for masked words; its decoder is tied to the word embeddings `words`."""
    theirs = f"{published}predictions"
    return (
        *linear(f"{theirs}.transform.dense", f"{ours}dense"),
        *norm(f"{theirs}.transform.LayerNorm", f"{ours}norm"),
        Entry(f"{theirs}.bias", f"{ours}bias"),
        Entry(f"{theirs}.decoder.bias", f"{ours}bias"),
        Entry(f"{theirs}.decoder.weight", words),
    )


def named(entries: tuple[Entry, ...], published: tuple[str, str], ours: str) -> tuple[Entry, ...]:
    """Returns entries with other names: momentum copies of encoders, as an example.

    Args:
      entries: whose names change.
      published: (beginning, what stands for it) of keys; entries with other keys are left out.
      ours: put in front of our names.
    """
    old, new = published
    return tuple(
        Entry(new + entry.published.removeprefix(old), _prefixed(ours, entry.ours), entry.layout)
        for entry in entries
        if isinstance(entry.published, str) and entry.published.startswith(old)
    )


def _prefixed(prefix: str, names: str | tuple[str, ...]) -> str | tuple[str, ...]:
    """One side of an entry with a prefix."""
    return prefix + names if isinstance(names, str) else tuple(prefix + name for name in names)
