"""Builds the network of DiaNA from a config: its encoders, projections and refiners."""

from flax import linen as nn

from jaxreid.models.bert import TextEncoder
from jaxreid.models.dialogue_alignment import DialogueAlignment
from jaxreid.models.llama import Llama, Rope
from jaxreid.models.refiner import AttributeRefiner
from jaxreid.models.swin import Swin
from jaxreid.models.vit import ViT
from jaxreid.streams.network import DTYPES, image_fields, text_fields


def make_dialogue_network(config, vocabulary: int) -> DialogueAlignment:
    """Returns the network of the sections `image`, `model` and `diana` of a config.

    Args:
      config: whole config; model.image_encoder and model.text_encoder name the sections of model
        that give the sizes of the encoders.
      vocabulary: of the tokenizer.
    """
    c, m = config.diana, config.model

    def refiner() -> AttributeRefiner:
        return AttributeRefiner(
            attributes=c.attributes,
            depth=c.refiner_depth,
            heads=c.refiner_heads,
            mlp=4 * m.embedding,
            query_std=c.query_std,
            dtype=DTYPES[m.dtype],
        )

    return DialogueAlignment(
        vit=_swin(config) if m.image_encoder == "swin" else ViT(**image_fields(config)),
        text=(
            _llama(config, vocabulary)
            if m.text_encoder == "llama"
            else TextEncoder(**text_fields(config, vocabulary))
        ),
        embedding=m.embedding,
        mean_image=c.image_pooling == "mean",
        last_token=c.text_pooling == "last",
        refiner=None if c.refiner == "none" else refiner(),
        text_refiner=refiner() if c.refiner == "separate" else None,
    )


def _swin(config) -> nn.Module:
    """Swin-V2 of the section model.swin."""
    m = config.model
    fields = m.swin.to_dict()
    fields |= {name: tuple(fields[name]) for name in ("depths", "heads")}
    return Swin(
        image_size=tuple(config.image.size), init_std=m.init_std, dtype=DTYPES[m.dtype],
        **fields,
    )  # fmt: skip


def _llama(config, vocabulary: int) -> nn.Module:
    """Llama of the section model.llama."""
    m = config.model
    fields = m.llama.to_dict()
    return Llama(
        vocabulary=vocabulary, init_std=m.init_std, dtype=DTYPES[m.dtype],
        **fields | {"rope": Rope(**fields["rope"])},
    )  # fmt: skip
