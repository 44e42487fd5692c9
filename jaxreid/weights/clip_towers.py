"""The parts of CLIP's network and of what IRRA and Word4Per put on it, as tables share them.

OpenAI's names, which IRRA and Word4Per keep behind "base_model.", and those of Hugging Face.
"""

from jaxreid.weights import blocks
from jaxreid.weights.layouts import CONV, LINEAR, POSITION_IDS
from jaxreid.weights.names import Entry, Kind

# IRRA and Word4Per interpolate bilinear (resize_pos_embed); CLIP has one size.
POSITIONS = (("vit/positional_embedding", "bilinear"),)
# The mask may be a token of its own, behind all others.
ROWS = ("text/token_embedding/embedding",)
MASK = 1
# What IRRA and Word4Per train beside the towers.
FRESH_HEADS = (r"cross/.*", r"mlm_head/.*", r"classifier/.*")
FRESH_WORDS = (r"inversion/text/.*", r"inversion/image/.*", r"inversion/text\+image/.*")


def openai(prefix: str = "") -> tuple[Entry, ...]:
    """Both towers by OpenAI's names; the two projections are [in, out] there too."""
    visual = f"{prefix}visual."
    return (
        Entry(f"{visual}class_embedding", "vit/class_embedding"),
        Entry(f"{visual}positional_embedding", "vit/positional_embedding"),
        Entry(f"{visual}conv1.weight", "vit/patch_embed/kernel", CONV),
        *blocks.norm(f"{visual}ln_pre", "vit/ln_pre"),
        *_resblock(f"{visual}transformer.resblocks.{{vit}}", "vit/blocks_{vit}"),
        *blocks.norm(f"{visual}ln_post", "vit/ln_post"),
        Entry(f"{visual}proj", "vit/proj/kernel"),
        Entry(f"{prefix}token_embedding.weight", "text/token_embedding/embedding"),
        Entry(f"{prefix}positional_embedding", "text/positional_embedding"),
        *_resblock(f"{prefix}transformer.resblocks.{{text}}", "text/blocks_{text}"),
        *blocks.norm(f"{prefix}ln_final", "text/ln_final"),
        Entry(f"{prefix}text_projection", "text/proj/kernel"),
    )


def hugging_face() -> tuple[Entry, ...]:
    """Both towers by the names of transformers' CLIPModel ("pre_layrnorm" is theirs)."""
    vision, text = "vision_model.", "text_model."
    return (
        Entry(f"{vision}embeddings.class_embedding", "vit/class_embedding"),
        Entry(f"{vision}embeddings.position_embedding.weight", "vit/positional_embedding"),
        Entry(f"{vision}embeddings.patch_embedding.weight", "vit/patch_embed/kernel", CONV),
        *blocks.norm(f"{vision}pre_layrnorm", "vit/ln_pre"),
        *_layer(f"{vision}encoder.layers.{{vit}}", "vit/blocks_{vit}"),
        *blocks.norm(f"{vision}post_layernorm", "vit/ln_post"),
        Entry("visual_projection.weight", "vit/proj/kernel", LINEAR),
        Entry(f"{text}embeddings.token_embedding.weight", "text/token_embedding/embedding"),
        Entry(f"{text}embeddings.position_embedding.weight", "text/positional_embedding"),
        *_layer(f"{text}encoder.layers.{{text}}", "text/blocks_{text}"),
        *blocks.norm(f"{text}final_layer_norm", "text/ln_final"),
        Entry("text_projection.weight", "text/proj/kernel", LINEAR),
    )


# Saved by versions of transformers before 4.31. Those of the image are of the file's grid.
HUGGING_FACE_POSITION_IDS = Entry(
    "text_model.embeddings.position_ids", "text/positional_embedding", POSITION_IDS
)


def relation() -> tuple[Entry, ...]:
    """IRRA's cross-modal module, its head for masked words and its classifier."""
    return (
        *blocks.norm("ln_pre_t", "cross/ln_text"),
        *blocks.norm("ln_pre_i", "cross/ln_image"),
        *_attention("cross_attn", "cross/attn"),
        *_resblock("cross_modal_transformer.resblocks.{cross}", "cross/blocks_{cross}"),
        *blocks.norm("ln_post", "cross/ln_post"),
        *blocks.linear("mlm_head.dense", "mlm_head/dense"),
        *blocks.norm("mlm_head.ln", "mlm_head/ln"),
        *blocks.linear("mlm_head.fc", "mlm_head/fc"),
        *blocks.linear("classifier", "classifier"),
    )


def word4per(name: str, aim: str) -> Kind:
    """Returns the kind of a checkpoint of Word4Per whose TINet was trained with an aim.

    Stage 1 saves IRRA's network, which `:stage1` makes. Stage 2 saves it again with the TINet,
    which does not say what it was trained for: two files fused are two kinds. `state_dict.read`
    puts "img2text." before its names.

    Args:
      name: of the kind.
      aim: one of `config.word4per.inversions`.
    """
    ours = f"inversion/{aim}"
    return Kind(
        name=name,
        title=f"a checkpoint of Word4Per (its TINet trained for {aim})",
        methods=("word4per",),
        entries=(
            *openai("base_model."),
            *relation(),
            *blocks.linear("img2text.layers.0.0", f"{ours}/fc1"),
            *blocks.linear("img2text.layers.1.0", f"{ours}/fc2"),
            *blocks.linear("img2text.fc_out", f"{ours}/out"),
        ),
        fresh=(*FRESH_HEADS, *FRESH_WORDS),
        spare=FRESH_WORDS,
        rows=ROWS,
        added=MASK,
        positions=POSITIONS,
    )


def _attention(published: str, ours: str) -> tuple[Entry, ...]:
    """torch.nn.MultiheadAttention."""
    return (
        *blocks.qkv(f"{published}.in_proj_weight", f"{published}.in_proj_bias", ours),
        *blocks.heads_out(f"{published}.out_proj", f"{ours}/out"),
    )


def _resblock(published: str, ours: str) -> tuple[Entry, ...]:
    """A layer of OpenAI's transformer."""
    return (
        *blocks.norm(f"{published}.ln_1", f"{ours}/norm1"),
        *_attention(f"{published}.attn", f"{ours}/attn"),
        *blocks.norm(f"{published}.ln_2", f"{ours}/norm2"),
        *blocks.linear(f"{published}.mlp.c_fc", f"{ours}/mlp/fc1"),
        *blocks.linear(f"{published}.mlp.c_proj", f"{ours}/mlp/fc2"),
    )


def _layer(published: str, ours: str) -> tuple[Entry, ...]:
    """A layer of transformers' CLIP."""
    attention = f"{published}.self_attn"
    return (
        *blocks.norm(f"{published}.layer_norm1", f"{ours}/norm1"),
        *blocks.heads_in(f"{attention}.q_proj", f"{ours}/attn/query"),
        *blocks.heads_in(f"{attention}.k_proj", f"{ours}/attn/key"),
        *blocks.heads_in(f"{attention}.v_proj", f"{ours}/attn/value"),
        *blocks.heads_out(f"{attention}.out_proj", f"{ours}/attn/out"),
        *blocks.norm(f"{published}.layer_norm2", f"{ours}/norm2"),
        *blocks.linear(f"{published}.mlp.fc1", f"{ours}/mlp/fc1"),
        *blocks.linear(f"{published}.mlp.fc2", f"{ours}/mlp/fc2"),
    )
