"""BERT (bert-base-uncased, pytorch_model.bin or model.safetensors; transformers' BertForMaskedLM).

It fills the text encoder, behind it the layers of the cross encoder without their cross-attention,
and the MLM head. The file of 2018 calls the weights of a layer norm gamma and beta; BertModel saves
without "bert." in front.
"""

from jaxreid.weights import blocks
from jaxreid.weights.layouts import SAME
from jaxreid.weights.names import Entry, Kind, Range


def _bert(prefix: str) -> tuple[Entry, ...]:
    """The encoder under a prefix."""
    layer = f"{prefix}encoder.layer."
    return (
        *blocks.bert_embeddings(f"{prefix}embeddings.", "text/embeddings/"),
        *blocks.bert_layer(f"{layer}{{text}}", "text/layer_{text}"),
        *blocks.bert_layer(f"{layer}{{cross}}", "cross/layer_{cross}"),
    )


def _old(entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
    """Norms by their old names."""
    names = (("LayerNorm.weight", "LayerNorm.gamma"), ("LayerNorm.bias", "LayerNorm.beta"))
    return tuple(
        Entry(entry.published.replace(new, old), entry.ours, SAME)
        for entry in entries
        for new, old in names
        if entry.published.endswith(new)
    )


_HEAD = blocks.mlm_head("cls.", "mlm/", "text/embeddings/word_embeddings/embedding")
_NEW = (*_bert("bert."), *_HEAD)

KIND = Kind(
    name="bert",
    title="BERT (bert-base-uncased)",
    methods=("laip", "albef", "cada", "diana"),
    entries=_NEW,
    also=(*_old(_NEW), *_bert("")),
    ranges={
        "text": Range("text/layer_{text}"),
        "cross": Range("cross/layer_{cross}", after="text"),
    },
    unused=(r"(bert\.)?pooler\.dense\.(weight|bias)", r"cls\.seq_relationship\.(weight|bias)"),
    fresh=(r".*/crossattention(_norm)?/.*", r"mlm/.*"),
    spare=(r".*/token_type_embeddings/.*", r"mlm/.*"),  # BLIP and CADA have none
    rows=(r"text/embeddings/word_embeddings/embedding", r"mlm/bias"),
    added=2,  # [DEC] and [ENC] of CADA
    part=True,
)
