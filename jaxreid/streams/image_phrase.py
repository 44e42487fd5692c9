"""The image-phrase stream: local alignment of LAIP (BidirAtt and MPM), and MLM to compare with."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxreid.losses.local_alignment import DIRECTIONS, alignment_loss, patch_weights
from jaxreid.losses.masked_language import (
    corrupt,
    masked_language_loss,
    masked_mean,
    one_word_of_each,
    random_tokens,
    token_log_likelihood,
)
from jaxreid.methods import Batch
from jaxreid.models.align_fuse import AlignFuse

WORD_SCORES = ("probability", "logit")
REDUCTIONS = ("mean", "sum")
PIECES = 4  # tokens of a masked word that are predicted, at most


class PhraseSettings(NamedTuple):
    """Constants of the stream."""

    mask_id: int  # token id of [MASK]
    attention: str  # "none" | "forward" | "backward" | "bidirectional"
    mpm: bool
    layer: int  # cross layer, from 0, whose attention is read
    word_score: str  # "probability" | "logit" of the masked word, Eq. 5
    combine: str  # see losses.local_alignment.patch_weights
    normalise: str
    alignment: str  # see losses.local_alignment.alignment_loss
    detach: bool  # whether the patch weights pass no gradient
    reduction: str  # "mean" | "sum" over the phrases of a text, Eq. 12
    bidir_weight: float = 1.0  # of L_bidir and L_mpm in Eq. 12
    mpm_weight: float = 1.0


def phrase_alignment(
    model: AlignFuse,
    settings: PhraseSettings,
    params: Any,
    image_tokens: jax.Array,
    phrases: jax.Array,
    words: jax.Array,
    person_id: jax.Array,
    temperature: jax.Array,
    rng: jax.Array,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Returns the mean over texts of sum or mean_p (L_bidir + L_mpm) (LAIP Eq. 12), and metrics.

    One word of each phrase is replaced by [MASK] and the masked phrase goes through the text and
    the cross encoder with its image. The forward attention is the row of the phrase's [CLS] in
    cross layer `layer` (Eq. 4). The backward attention is the gradient of the masked word's score
    with respect to that row (Eq. 6): the layer adds a zero offset to it and jax.grad is taken
    with respect to the offset, so only the layers from `layer` on are traversed backward.

    Args:
      model: the network.
      settings: constants.
      params: parameters of `model`.
      image_tokens: [B, N, D], [CLS] first, with gradient.
      phrases: i32[B, R, Lp] tokens [CLS] phrase [SEP]; rows of padding (0) only are absent.
      words: i32[B, R, Lp], word number of a token in its phrase, -1 on others.
      person_id: i32[B].
      temperature: f32[], divides; for the alignment forms that need one.
      rng: key.
    """
    batch, count, length = phrases.shape
    tokens = phrases.reshape(batch * count, length)
    present = (words >= 0).any(axis=2).reshape(-1)  # [P], P = B R
    read = read_phrases(model, settings, params, image_tokens, phrases, words, rng, train=True)
    scores = read.scores
    losses = jnp.zeros(batch * count)
    metrics = {}
    if settings.attention != "none":
        weights = weights_of(settings, read, settings.attention)
        if settings.detach:
            weights = jax.lax.stop_gradient(weights)
        vector = jnp.einsum(  # Eq. 8
            "brn,bnd->brd",
            weights.reshape(batch, count, -1),
            image_tokens[:, 1:].astype(jnp.float32),
        ).reshape(batch * count, -1)
        person = jnp.repeat(person_id, count)
        equal = (tokens[:, None, :] == tokens[None, :, :]).all(axis=-1)
        bidir = alignment_loss(
            model.apply({"params": params}, vector, method="embed_vector"),
            model.apply({"params": params}, read.hidden, method="embed_text"),
            form=settings.alignment,
            temperature=temperature,
            positive=equal | (person[:, None] == person[None, :]),
            present=present,
        )
        losses = losses + settings.bidir_weight * bidir
        metrics["bidir"] = masked_mean(bidir, present)
    if settings.mpm:
        mpm = -masked_mean(scores.log_likelihood, scores.counted, axis=1)  # Eq. 11
        losses = losses + settings.mpm_weight * mpm
        metrics["mpm"] = masked_mean(mpm, present)
        metrics["mpm_accuracy"] = 100 * masked_mean(scores.right, scores.counted)
    losses = jnp.where(present, losses, 0).reshape(batch, count).sum(axis=1)
    if settings.reduction == "mean":
        losses = losses / jnp.maximum(present.reshape(batch, count).sum(axis=1), 1)
    return losses.mean(), metrics


class PhrasePass(NamedTuple):
    """What the network computes of P = B R phrases, each with one masked word."""

    hidden: jax.Array  # [P, Lp, D] of the text encoder
    forward: jax.Array  # f32[P, H, N], Eq. 4
    backward: jax.Array | None  # f32[P, H, N], Eq. 6; None where nothing asks for it
    scores: "PieceScores"


def read_phrases(
    model: AlignFuse,
    settings: PhraseSettings,
    params: Any,
    image_tokens: jax.Array,
    phrases: jax.Array,
    words: jax.Array,
    rng: jax.Array,
    *,
    train: bool,
) -> PhrasePass:
    """Masks a word of each phrase and returns attentions and scores; see `phrase_alignment`."""
    batch, count, length = phrases.shape
    word_rng, text_rng, cross_rng = jax.random.split(rng, 3)
    tokens = phrases.reshape(batch * count, length)
    mask = tokens != 0
    masked = one_word_of_each(word_rng, words.reshape(batch * count, length))
    hidden = model.apply(
        {"params": params}, jnp.where(masked, settings.mask_id, tokens), mask,
        method="text_tokens", rngs={"dropout": text_rng}, train=train,
    )  # fmt: skip

    def score(tap):
        fused, attention = model.apply(
            {"params": params}, hidden, mask, image_tokens, method="fuse",
            image_index=jnp.repeat(jnp.arange(batch), count), tap=tap,
            tap_layer=settings.layer, rngs={"dropout": cross_rng}, train=train,
        )  # fmt: skip
        scores = score_masked(model, params, fused, tokens, masked)
        word = scores.logit if settings.word_score == "logit" else jnp.exp(scores.log_likelihood)
        # Phrases do not interact, so the gradient of the sum is each phrase's own.
        return masked_mean(word, scores.counted, axis=1).sum(), (attention, scores)

    tap = jnp.zeros((batch * count, model.cross.heads, image_tokens.shape[1]), jnp.float32)
    backward = None
    if settings.attention in ("backward", "bidirectional"):
        backward, (attention, scores) = jax.grad(score, has_aux=True)(tap)
    else:
        _, (attention, scores) = score(tap)
    return PhrasePass(hidden, attention, backward, scores)


def weights_of(settings: PhraseSettings, read: PhrasePass, direction: str) -> jax.Array:
    """Returns the weights of the patches for each phrase, f32[P, N - 1] (Eq. 7)."""
    return patch_weights(
        read.forward[..., 1:],
        None if read.backward is None else read.backward[..., 1:],
        direction=direction,
        combine=settings.combine,
        normalise=settings.normalise,
    )


def phrase_maps(
    model: AlignFuse,
    settings: PhraseSettings,
    normalised,
    params: Any,
    images: jax.Array,
    batch: Batch,
    rng: jax.Array,
) -> dict[str, jax.Array]:
    """`Explain.phrase_maps`: forward, backward and bidirectional, as far as the settings go."""
    image_tokens = model.apply({"params": params}, normalised(images), method="image_tokens")
    phrases, words = batch["phrase_tokens"], batch["phrase_words"]
    read = read_phrases(model, settings, params, image_tokens, phrases, words, rng, train=False)
    known = [d for d in DIRECTIONS if d == "forward" or read.backward is not None]
    maps = {direction: weights_of(settings, read, direction) for direction in known}
    return {name: weights.reshape(*phrases.shape[:2], -1) for name, weights in maps.items()}


class PieceScores(NamedTuple):
    """What the network says of the masked tokens of each phrase, S of them at most."""

    counted: jax.Array  # bool[P, S], False where a phrase has fewer
    logit: jax.Array  # f32[P, S], of the true token
    log_likelihood: jax.Array  # f32[P, S], nats
    right: jax.Array  # f32[P, S], 1 where the true token has the highest logit


def score_masked(
    model: AlignFuse, params: Any, fused: jax.Array, tokens: jax.Array, masked: jax.Array
) -> PieceScores:
    """Returns the scores of masked tokens alone: the product with V is what a phrase costs.

    Of a word of more than `PIECES` tokens, which is rare, the first ones are scored.

    Args:
      model: the network.
      params: parameters of `model`.
      fused: [P, Lp, D], fused tokens.
      tokens: i32[P, Lp], the true tokens.
      masked: bool[P, Lp], False on [CLS] and [SEP].
    """
    slots = min(PIECES, masked.shape[1] - 2)
    order = jnp.argsort(~masked, axis=1, stable=True)[:, :slots]  # the masked ones first
    counted, true = (jnp.take_along_axis(x, order, axis=1) for x in (masked, tokens))
    hidden = jnp.take_along_axis(fused, order[..., None], axis=1)
    logits = model.apply({"params": params}, hidden, method="predict_words")  # [P, S, V]
    logit = jnp.take_along_axis(logits, true[..., None], axis=2)[..., 0]
    right = (logits.argmax(axis=2) == true).astype(jnp.float32)
    return PieceScores(counted, logit, token_log_likelihood(logits, true), right)


def masked_language_modelling(
    model: AlignFuse,
    params: Any,
    image_tokens: jax.Array,
    tokens: jax.Array,
    words: jax.Array,
    rng: jax.Array,
    *,
    mask_id: int,
    vocabulary: int,
    probability: float,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Returns the MLM loss on whole texts, what LAIP's Table V compares MPM with, and metrics.

    Tokens of words are chosen independently and corrupted as in BERT (80/10/10).

    Args:
      model: the network.
      params: parameters of `model`.
      image_tokens: [B, N, D].
      tokens: i32[B, L]; 0 is padding.
      words: i32[B, L], word number of a token, -1 on special tokens and padding.
      rng: key.
      mask_id: token id of [MASK].
      vocabulary: V.
      probability: share of tokens to predict, in (0, 1).
    """
    choose, change, text_rng, cross_rng = jax.random.split(rng, 4)
    masked = random_tokens(choose, words >= 0, probability)
    mask = tokens != 0
    hidden = model.apply(
        {"params": params},
        corrupt(change, tokens, masked, mask_id=mask_id, vocabulary=vocabulary), mask,
        method="text_tokens", rngs={"dropout": text_rng}, train=True,
    )  # fmt: skip
    fused, _ = model.apply(
        {"params": params}, hidden, mask, image_tokens, method="fuse",
        rngs={"dropout": cross_rng}, train=True,
    )  # fmt: skip
    logits = model.apply({"params": params}, fused, method="predict_words")
    loss = masked_language_loss(logits, tokens, masked)
    return loss, {"mlm": loss}
