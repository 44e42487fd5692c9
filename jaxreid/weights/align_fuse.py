"""The parts of ALBEF's network, as tables of its releases share them."""

from jaxreid.weights import blocks
from jaxreid.weights.layouts import QUEUE, QUEUE_IDS
from jaxreid.weights.names import Entry, Range

# Layers 0-5 of BERT are the text encoder, 6-11 the cross encoder.
RANGES = {
    "vit": Range("vit/blocks_{vit}"),
    "text": Range("text/layer_{text}"),
    "cross": Range("cross/layer_{cross}", after="text"),
}
ROWS = (r"text/embeddings/word_embeddings/embedding", r"mlm/bias")
POSITIONS = (("vit/pos_embed", "bicubic"), ("memory/params/vit/pos_embed", "bicubic"))
# A file without momentum copies or queues; how they are made then, methods know (init_memory).
FRESH_MEMORY = (r"memory/params/.*", r"memory/(image|text)_queue", r"memory/id_queue")
SPARE_MEMORY = (r"memory/.*",)
# Our momentum model has no cross encoder: its output is the [CLS] of layer 5.
_UNREAD = r"text_encoder_m\.{bert}encoder\.layer\.{{cross}}\..*"


def encoders(bert: str) -> tuple[Entry, ...]:
    """Both encoders and their projections; `bert` is "bert." where BERT has its MLM head."""
    text = f"text_encoder.{bert}"
    layers, cross = f"{text}encoder.layer.{{text}}", f"{text}encoder.layer.{{cross}}"
    return (
        *blocks.vit("visual_encoder.", "vit/"),
        *blocks.linear("vision_proj", "image_proj/dense"),
        *blocks.bert_embeddings(f"{text}embeddings.", "text/embeddings/"),
        *blocks.bert_layer(layers, "text/layer_{text}"),
        *blocks.linear("text_proj", "text_proj/dense"),
        *blocks.bert_layer(cross, "cross/layer_{cross}"),
        *blocks.bert_attention(f"{cross}.crossattention", "cross/layer_{cross}/crossattention"),
        *blocks.linear("itm_head", "itm_head"),
        Entry("temp", "temperature"),
    )


def words(ours: str = "") -> tuple[Entry, ...]:
    """The MLM head."""
    table = "text/embeddings/word_embeddings/embedding"
    return blocks.mlm_head("text_encoder.cls.", f"{ours}mlm/", f"{ours}{table}")


def memory(entries: tuple[Entry, ...], pointer: str) -> tuple[Entry, ...]:
    """Momentum copies of what our momentum model has, and the queues."""
    ours = "memory/params/"
    uni = tuple(e for e in entries if not str(e.ours).startswith(("cross/", "itm", "temp")))
    return (
        *blocks.named(uni, ("visual_encoder.", "visual_encoder_m."), ours),
        *blocks.named(uni, ("vision_proj.", "vision_proj_m."), ours),
        *blocks.named(uni, ("text_encoder.", "text_encoder_m."), ours),
        *blocks.named(uni, ("text_proj.", "text_proj_m."), ours),
        Entry(("image_queue", pointer), "memory/image_queue", QUEUE),
        Entry(("text_queue", pointer), "memory/text_queue", QUEUE),
        Entry(("idx_queue", pointer), "memory/id_queue", QUEUE_IDS),
    )


def unread(bert: str) -> tuple[str, ...]:
    """Patterns of momentum copies of layers that the momentum model does not have."""
    copies = _UNREAD.format(bert=bert.replace(".", r"\."))
    return (copies, r"text_encoder_m\.cls\..*") if bert else (copies,)
