"""LAIP: Learning Local Alignment from Image-Phrase modeling (Wang et al., ICME 2024).

ALBEF's global alignment with a fusion triplet loss, and a second stream in which the phrases of a
caption are aligned with patches: BidirAtt (Eqs. 2-10) and Mask Phrase Modeling (Eq. 11). There is
no release; what the paper does not print is a field of `config.laip`.
"""

from functools import partial

import jax

from jaxreid.losses.local_alignment import ALIGNMENTS, COMBINES, NORMALISES
from jaxreid.methods import Explain, Method, cosine
from jaxreid.streams.captions import KEPT_PHRASES, caption_input, check_captions
from jaxreid.streams.image_phrase import (
    REDUCTIONS,
    WORD_SCORES,
    PhraseSettings,
    masked_language_modelling,
    phrase_alignment,
    phrase_maps,
)
from jaxreid.streams.image_text import (
    clipped,
    global_alignment,
    global_settings,
    init_global_memory,
)
from jaxreid.streams.network import (
    encode_image,
    encode_query,
    fill_words,
    init_align_fuse,
    make_align_fuse,
    match,
    match_image,
    normaliser,
    word_maps,
)

ATTENTIONS = ("none", "forward", "backward", "bidirectional")
RECONSTRUCTIONS = ("none", "mpm", "mlm")
CHOICES = {
    "attention": ATTENTIONS,
    "reconstruction": RECONSTRUCTIONS,
    "word_score": WORD_SCORES,
    "combine": COMBINES,
    "normalise": NORMALISES,
    "alignment": ALIGNMENTS,
    "reduction": REDUCTIONS,
}


def check(config) -> None:
    """Raises ValueError or FileNotFoundError for a field that LAIP cannot use."""
    _check(config)
    global_settings(config, config.laip)
    check_captions(config)


def make(config) -> Method:
    """Builds LAIP from the sections image, text, model, train and laip of a config.

    Stages before the last train with L_itc + L_itm only, the last with all losses (Eq. 12).
    """
    c = config.laip
    _check(config)
    image_phrase = c.attention != "none" or c.reconstruction == "mpm"
    captions = caption_input(
        config, phrases=c.phrases if image_phrase else 0, words=c.reconstruction == "mlm"
    )
    model = make_align_fuse(config, captions.vocabulary)
    normalised = normaliser(config)
    settings = global_settings(config, c)
    phrase_settings = PhraseSettings(
        mask_id=captions.mask_id,
        attention=c.attention,
        mpm=c.reconstruction == "mpm",
        layer=c.layer,
        word_score=c.word_score,
        combine=c.combine,
        normalise=c.normalise,
        alignment=c.alignment,
        detach=c.detach,
        reduction=c.reduction,
        bidir_weight=c.bidir_weight,
        mpm_weight=c.mpm_weight,
    )
    last_stage = len(config.train.epochs) - 1

    def loss(params, memory, batch, rng, step, stage):
        local = stage == last_stage
        value, memory, metrics, seen = global_alignment(
            model,
            settings,
            params,
            memory,
            normalised(batch["image"]),
            batch["tokens"],
            batch["person_id"],
            jax.random.fold_in(rng, 0),
            step,
            triplet=c.triplet and local,
        )
        if local and image_phrase:
            phrase, measured = phrase_alignment(
                model,
                phrase_settings,
                params,
                seen.image_tokens,
                batch["phrase_tokens"],
                batch["phrase_words"],
                batch["person_id"],
                seen.temperature,
                jax.random.fold_in(rng, 1),
            )
            value, metrics = value + phrase, metrics | measured
        if local and c.reconstruction == "mlm":
            mlm, measured = masked_language_modelling(
                model,
                params,
                seen.image_tokens,
                batch["tokens"],
                batch["words"],
                jax.random.fold_in(rng, 2),
                mask_id=captions.mask_id,
                vocabulary=captions.vocabulary,
                probability=c.mlm_probability,
            )
            value, metrics = value + mlm, metrics | measured
        return value, (memory, metrics)

    return Method(
        tokenize=captions.tokenize,
        transform=captions.transform,
        init=partial(
            init_align_fuse, model, max_tokens=config.text.max_tokens, temperature=c.temperature
        ),
        loss=loss,
        encode_image=partial(encode_image, model, normalised),
        encode_query=partial(encode_query, model),
        similarity=cosine,
        match_image=partial(match_image, model),
        match=partial(match, model),
        init_memory=partial(
            init_global_memory, queue_length=c.queue_length, embedding=config.model.embedding
        ),
        temperature=lambda params: clipped(params["temperature"], settings.temperature_limits),
        explain=Explain(
            partial(word_maps, model, normalised),
            partial(fill_words, model, normalised),
            partial(phrase_maps, model, phrase_settings, normalised) if image_phrase else None,
        ),
    )


def _check(config) -> None:
    """Raises ValueError for a field of the section `laip` that cannot be."""
    c = config.laip
    for field, allowed in CHOICES.items():
        if c[field] not in allowed:
            raise ValueError(f"laip.{field} must be one of {', '.join(allowed)}, got {c[field]!r}")
    depth = config.model.bert.cross_depth
    backward = c.attention in ("backward", "bidirectional")
    if backward and depth < 2:
        raise ValueError(
            f"model.bert.cross_depth must be at least 2 with laip.attention {c.attention!r}: in "
            f"the last layer the backward attention is exactly 0, got {depth}"
        )
    if not 0 <= c.layer < depth - backward:
        raise ValueError(
            f"laip.layer must be in 0..{depth - 1 - backward} with laip.attention "
            f"{c.attention!r} and model.bert.cross_depth {depth}"
            f"{' (in the last layer the backward attention is exactly 0)' if backward else ''}, "
            f"got {c.layer}"
        )
    if not 1 <= c.phrases <= KEPT_PHRASES:
        raise ValueError(
            f"laip.phrases must be in 1..{KEPT_PHRASES}, the phrases kept of a caption, "
            f"got {c.phrases}"
        )
    for field in ("bidir_weight", "mpm_weight"):
        if not 0 <= c[field] < float("inf"):
            raise ValueError(f"laip.{field} must be >= 0, got {c[field]}")
    if not 0 < c.mlm_probability < 1:
        raise ValueError(f"laip.mlm_probability must be in (0, 1), got {c.mlm_probability}")
