"""The parts of BLIP's network, as tables of its releases and of CADA share them."""

from jaxreid.weights import blocks
from jaxreid.weights.names import Entry, Range

RANGES = {
    "vit": Range("vit/blocks_{vit}"),
    "text": Range("text/layer_{text}"),
    "decoder": Range("text_decoder/layer_{decoder}"),
}
ROWS = (
    r"text(_decoder)?/embeddings/word_embeddings/embedding",
    r"mlm/bias",
)
ADDED = 2  # [DEC] and [ENC], which BLIP's tokenizer adds behind BERT's 30,522 words
POSITIONS = (("vit/pos_embed", "bicubic"),)
SPARE = (r"text_decoder/.*",)  # the paper's CADA has no decoder of its own
# What BLIP trains with and CADA does not: the momentum model, its queues, a learnt temperature.
MOMENTUM = (r"(visual_encoder|vision_proj|text_encoder|text_proj)_m\..*",)
QUEUES = (r"(image|text|idx)_queue", r"queue_ptr|ptr_queue", r"temp")


def encoders() -> tuple[Entry, ...]:
    """Both encoders, the text encoder with a cross-attention in all layers, and the heads."""
    return (
        *blocks.vit("visual_encoder.", "vit/"),
        *_med("text_encoder.", "text/", "text"),
        *blocks.linear("vision_proj", "image_proj/dense"),
        *blocks.linear("text_proj", "text_proj/dense"),
        *blocks.linear("itm_head", "itm_head"),
    )


def decoder() -> tuple[Entry, ...]:
    """The decoder with its language model head, tied to its words."""
    table = "text_decoder/embeddings/word_embeddings/embedding"
    return (
        *_med("text_decoder.bert.", "text_decoder/", "decoder"),
        *blocks.mlm_head("text_decoder.cls.", "mlm/", table),
    )


def _med(published: str, ours: str, index: str) -> tuple[Entry, ...]:
    """BLIP's mixture of encoder and decoder."""
    theirs, mine = f"{published}encoder.layer.{{{index}}}", f"{ours}layer_{{{index}}}"
    return (
        *(
            entry
            for entry in blocks.bert_embeddings(f"{published}embeddings.", f"{ours}embeddings/")
            if "token_type" not in entry.published
        ),
        *blocks.bert_layer(theirs, mine),
        *blocks.bert_attention(f"{theirs}.crossattention", f"{mine}/crossattention"),
    )
