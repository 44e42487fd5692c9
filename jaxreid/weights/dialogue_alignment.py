"""Parts of DiaNA's release, as tables of its checkpoint and of its encoders' files share them."""

from jaxreid.weights import blocks
from jaxreid.weights.layouts import CONV, HEADS_IN, HEADS_OUT, LINEAR, one
from jaxreid.weights.names import Entry

# One scale a head, [H, 1, 1] -> [H].
_SCALE = one(lambda x, shape: x.reshape(shape), lambda x: x.reshape(-1, 1, 1))
# What follows from the size of a window; some versions of transformers save it.
COUNTED = r".*attention\.self\.relative_(coords_table|position_index)"


def swin(published: str) -> tuple[Entry, ...]:
    """Returns transformers' Swinv2Model below a prefix and ours below "vit/"."""
    stage, our_stage = f"{published}encoder.layers.{{stage}}", "vit/stage_{stage}"
    block, ours = f"{stage}.blocks.{{block}}", f"{our_stage}/blocks_{{block}}"
    attention, patches = f"{block}.attention.self", f"{published}embeddings.patch_embeddings"
    places = f"{attention}.continuous_position_bias_mlp"
    return (
        Entry(f"{patches}.projection.weight", "vit/patch_embed/kernel", CONV),
        Entry(f"{patches}.projection.bias", "vit/patch_embed/bias"),
        *blocks.norm(f"{published}embeddings.norm", "vit/patch_norm"),
        *blocks.heads_in(f"{attention}.query", f"{ours}/attn/query"),
        Entry(f"{attention}.key.weight", f"{ours}/attn/key/kernel", HEADS_IN),
        *blocks.heads_in(f"{attention}.value", f"{ours}/attn/value"),
        *blocks.heads_out(f"{block}.attention.output.dense", f"{ours}/attn/out"),
        Entry(f"{attention}.logit_scale", f"{ours}/attn/logit_scale", _SCALE),
        *blocks.linear(f"{places}.0", f"{ours}/attn/position_fc1"),
        Entry(f"{places}.2.weight", f"{ours}/attn/position_fc2/kernel", LINEAR),
        *blocks.norm(f"{block}.layernorm_before", f"{ours}/norm1"),
        *blocks.norm(f"{block}.layernorm_after", f"{ours}/norm2"),
        *blocks.linear(f"{block}.intermediate.dense", f"{ours}/mlp/fc1"),
        *blocks.linear(f"{block}.output.dense", f"{ours}/mlp/fc2"),
        Entry(f"{stage}.downsample.reduction.weight", f"{our_stage}/merge/kernel", LINEAR),
        *blocks.norm(f"{stage}.downsample.norm", f"{our_stage}/merge_norm"),
        *blocks.norm(f"{published}layernorm", "vit/norm"),
    )


def llama(published: str) -> tuple[Entry, ...]:
    """Returns transformers' LlamaModel below a prefix and ours below "text/"."""
    layer, ours = f"{published}layers.{{layer}}", "text/layer_{layer}"
    attention = f"{layer}.self_attn"
    return (
        Entry(f"{published}embed_tokens.weight", "text/word_embeddings/embedding"),
        Entry(f"{layer}.input_layernorm.weight", f"{ours}/norm1/scale"),
        Entry(f"{attention}.q_proj.weight", f"{ours}/query/kernel", HEADS_IN),
        Entry(f"{attention}.k_proj.weight", f"{ours}/key/kernel", HEADS_IN),
        Entry(f"{attention}.v_proj.weight", f"{ours}/value/kernel", HEADS_IN),
        Entry(f"{attention}.o_proj.weight", f"{ours}/out/kernel", HEADS_OUT),
        Entry(f"{layer}.post_attention_layernorm.weight", f"{ours}/norm2/scale"),
        Entry(f"{layer}.mlp.gate_proj.weight", f"{ours}/gate/kernel", LINEAR),
        Entry(f"{layer}.mlp.up_proj.weight", f"{ours}/up/kernel", LINEAR),
        Entry(f"{layer}.mlp.down_proj.weight", f"{ours}/down/kernel", LINEAR),
        Entry(f"{published}norm.weight", "text/norm/scale"),
    )


def refiner(published: str) -> tuple[Entry, ...]:
    """Returns the attribute refiner below a prefix and ours below "refiner/"."""
    block, ours = f"{published}transformer.resblocks.{{block}}", "refiner/blocks_{block}"
    return (
        Entry(f"{published}attr_query_token", "refiner/queries"),
        *_attention(f"{published}cross_attn", "refiner/attn"),
        *blocks.norm(f"{block}.ln_1", f"{ours}/norm1"),
        *_attention(f"{block}.attn", f"{ours}/attn"),
        *blocks.norm(f"{block}.ln_2", f"{ours}/norm2"),
        *blocks.linear(f"{block}.mlp.c_fc", f"{ours}/mlp/fc1"),
        *blocks.linear(f"{block}.mlp.c_proj", f"{ours}/mlp/fc2"),
    )


def _attention(published: str, ours: str) -> tuple[Entry, ...]:
    """torch's MultiheadAttention."""
    return (
        *blocks.qkv(f"{published}.in_proj_weight", f"{published}.in_proj_bias", ours),
        *blocks.heads_out(f"{published}.out_proj", f"{ours}/out"),
    )
