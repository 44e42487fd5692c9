"""The parts of BLIP-2's first stage, as tables of its files and of FAFA's share them."""

from jaxreid.weights import blocks
from jaxreid.weights.layouts import HEADS_BIAS, QKV_KERNEL
from jaxreid.weights.names import Entry, Range

RANGES = {"vit": Range("vit/blocks_{vit}")}
POSITIONS = (("vit/pos_embed", "bicubic"),)
ROWS = ("qformer/embeddings/word_embeddings/embedding",)
ADDED = 1  # [DEC], which BLIP-2's tokenizer adds behind BERT's 30,522 words
# EVA-CLIP has no bias of keys, to which softmax is blind; ours is 0.
ZEROS = (r"vit/blocks_\d+/attn/key/bias",)
# FAFA writes no words, and matches by cosines alone.
UNUSED = (r"Qformer\.cls\..*", r"itm_head\.(weight|bias)")


def eva(published: str) -> tuple[Entry, ...]:
    """Returns EVA-CLIP's ViT below a prefix, without a final norm."""
    attention, ours = f"{published}blocks.{{vit}}.attn", "vit/blocks_{vit}/attn"
    kernels = tuple(f"{ours}/{part}/kernel" for part in ("query", "key", "value"))
    qkv, final = f"{attention}.qkv.", f"{published}norm."
    return (
        *(
            entry
            for entry in blocks.vit(published, "vit/")
            if not entry.published.startswith((qkv, final))
        ),
        Entry(f"{qkv}weight", kernels, QKV_KERNEL),
        Entry(f"{attention}.q_bias", f"{ours}/query/bias", HEADS_BIAS),
        Entry(f"{attention}.v_bias", f"{ours}/value/bias", HEADS_BIAS),
    )


def heads() -> tuple[Entry, ...]:
    """Returns the Q-Former, what it reads and gives: all of BLIP-2 but its image encoder."""
    return (
        *blocks.norm("ln_vision", "vit/norm"),
        Entry("query_tokens", "qformer/query_tokens"),
        *qformer("Qformer.bert."),
        *blocks.linear("vision_proj", "image_proj/dense"),
        *blocks.linear("text_proj", "text_proj/dense"),
        Entry("temp", "temperature"),
    )


def qformer(published: str) -> tuple[Entry, ...]:
    """Returns the layers and embeddings of the Q-Former below a prefix."""
    layer, ours = f"{published}encoder.layer.{{layer}}", "qformer/layer_{layer}"
    return (
        *(
            entry
            for entry in blocks.bert_embeddings(f"{published}embeddings.", "qformer/embeddings/")
            if "token_type" not in entry.published
        ),
        *blocks.bert_layer(layer, ours),
        *blocks.bert_attention(f"{layer}.crossattention", f"{ours}/crossattention"),
        *blocks.linear(f"{layer}.intermediate_query.dense", f"{ours}/mlp_query/fc1"),
        *blocks.linear(f"{layer}.output_query.dense", f"{ours}/mlp_query/fc2"),
        *blocks.norm(f"{layer}.output_query.LayerNorm", f"{ours}/mlp_query_norm"),
    )
