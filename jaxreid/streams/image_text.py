"""The image-text stream: global alignment with momentum encoders and queues (ALBEF)."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxreid.losses.contrastive import identity_target, momentum_itc
from jaxreid.losses.matching import Negatives, matching_loss, sample_negatives
from jaxreid.losses.triplet import fusion_triplet_loss
from jaxreid.models.align_fuse import UNIMODAL, AlignFuse
from jaxreid.models.momentum import ema
from jaxreid.models.projection import unit
from jaxreid.models.queue import push

EMPTY = -1  # person id of a queue slot not yet written; never a positive


class GlobalMemory(NamedTuple):
    """Momentum encoders and the queues of their recent embeddings."""

    params: Any  # the UNIMODAL part of the parameters
    image_queue: jax.Array  # f32[M, E] unit rows
    text_queue: jax.Array  # f32[M, E] unit rows
    id_queue: jax.Array  # i32[M] person ids


class GlobalSettings(NamedTuple):
    """Constants of the stream."""

    momentum: float  # decay of the momentum encoders, in [0, 1)
    alpha: float  # share of the soft labels, in [0, 1]
    alpha_steps: int  # steps over which alpha rises from 0
    temperature_limits: tuple[float, float]  # (0, inf): no clip
    batch_keys: str  # "momentum" | "online": which encoders make the keys of the batch itself
    queue_steps: int  # steps before the queue acts
    hardness_steps: int  # steps over which negatives go from random to hard; 0: hard at once
    matching_rows: int  # pairs of a batch that are matched, with their negatives; 0: all
    triplet_margin: float
    triplet_score: str  # "probability" | "logit"


BATCH_KEYS = ("momentum", "online")
_LONGEST_QUEUE = 2**24  # 17 GB of keys of 256 numbers
TRIPLET_SCORES = {
    "probability": lambda logits: jax.nn.softmax(logits, axis=1)[:, 1],
    "logit": lambda logits: logits[:, 1],
}


def global_settings(config, section) -> GlobalSettings:
    """Returns the settings of a method's section of a config; ramps are given in epochs there."""
    if section.triplet_score not in TRIPLET_SCORES:
        raise ValueError(
            f"{config.method}.triplet_score must be one of {', '.join(TRIPLET_SCORES)}, "
            f"got {section.triplet_score!r}"
        )
    if section.batch_keys not in BATCH_KEYS:
        raise ValueError(
            f"{config.method}.batch_keys must be one of {', '.join(BATCH_KEYS)}, "
            f"got {section.batch_keys!r}"
        )
    if not config.train.batch_size <= section.queue_length <= _LONGEST_QUEUE:
        raise ValueError(
            f"{config.method}.queue_length must be at least train.batch_size "
            f"{config.train.batch_size} and at most {_LONGEST_QUEUE}, got {section.queue_length}"
        )
    if not 0 <= section.matching_rows <= config.train.batch_size:
        raise ValueError(
            f"{config.method}.matching_rows must be in 0..{config.train.batch_size} "
            f"(train.batch_size), got {section.matching_rows}"
        )
    _check_ranges(config.method, section)
    steps = config.train.steps_per_epoch
    return GlobalSettings(
        momentum=section.momentum,
        alpha=section.alpha,
        alpha_steps=round(section.alpha_epochs * steps),
        temperature_limits=tuple(section.temperature_limits),
        batch_keys=section.batch_keys,
        queue_steps=round(section.queue_epochs * steps),
        hardness_steps=round(section.hardness_epochs * steps),
        matching_rows=section.matching_rows,
        triplet_margin=section.triplet_margin,
        triplet_score=section.triplet_score,
    )


def _check_ranges(method: str, section) -> None:
    """Raises ValueError for a number of a method's section that is out of range."""
    s, inf = section, float("inf")
    limits = s.temperature_limits
    pair = len(limits) == 2 and all(isinstance(x, int | float) for x in limits)
    ramps = ("queue_epochs", "alpha_epochs", "hardness_epochs")
    for field, holds, allowed in (
        ("temperature", 0 < s.temperature < inf, "> 0"),
        ("temperature_limits", pair and 0 <= limits[0] < limits[1],
         "two numbers, 0 <= low < high"),
        ("momentum", 0 <= s.momentum < 1, "in [0, 1)"),
        ("alpha", 0 <= s.alpha <= 1, "in [0, 1]"),
        ("triplet_margin", 0 <= s.triplet_margin < inf, ">= 0"),
        *((ramp, 0 <= s[ramp] < inf, ">= 0 epochs") for ramp in ramps),
    ):  # fmt: skip
        if not holds:
            raise ValueError(f"{method}.{field} must be {allowed}, got {s[field]!r}")


class Pass(NamedTuple):
    """What the stream computed and other streams of the same step use."""

    image_tokens: jax.Array  # [B, N, D]
    temperature: jax.Array  # f32[]


def init_global_memory(
    rng: jax.Array, params: Any, *, queue_length: int, embedding: int
) -> GlobalMemory:
    """Returns copies of the encoders and queues of random unit rows, as in the release."""
    image, text = unit(jax.random.normal(rng, (2, queue_length, embedding)))
    return GlobalMemory(
        {name: jax.tree.map(jnp.copy, params[name]) for name in UNIMODAL},
        image,
        text,
        jnp.full((queue_length,), EMPTY, jnp.int32),
    )


def global_alignment(
    model: AlignFuse,
    settings: GlobalSettings,
    params: Any,
    memory: GlobalMemory,
    images: jax.Array,
    tokens: jax.Array,
    person_id: jax.Array,
    rng: jax.Array,
    step: jax.Array,
    *,
    triplet: bool,
) -> tuple[jax.Array, GlobalMemory, dict[str, jax.Array], Pass]:
    """Returns L_itc + L_itm (+ L_tri) on one batch (LAIP Eq. 1), the memory after it, and metrics.

    Order of the release (ALBEF models/model_retrieval.py): the momentum encoders move first, the
    loss sees the queue as it was, then the batch is enqueued. The momentum encoders run with
    dropout, as they do there.

    From pretrained weights momentum keys are good from the start. From random weights a network
    that changes fast tells its keys from its queries by their age before anything else, and does
    not learn; `batch_keys` "online", with gradient on both sides, and a queue that acts later
    (`queue_steps`) are for this case.

    Args:
      model: the network.
      settings: constants.
      params: parameters of `model`.
      memory: momentum encoders and queues before the step.
      images: f32[B, h, w, 3], normalised.
      tokens: i32[B, L]; 0 is padding.
      person_id: i32[B].
      rng: key.
      step: i32[], counted from the start of the run; drives the ramps.
      triplet: whether the fusion triplet loss acts.
    """
    memory = jax.lax.stop_gradient(memory)
    mask = tokens != 0
    names = ("image", "text", "image_m", "text_m", "fuse", "t", "i")
    keys = dict(zip(names, jax.random.split(rng, len(names)), strict=True))

    def run(variables, name, *args, key=None, **kwargs):
        rngs = None if key is None else {"dropout": keys[key]}
        return model.apply({"params": variables}, *args, method=name, rngs=rngs, **kwargs)

    momentum = jax.lax.stop_gradient(
        ema(memory.params, {name: params[name] for name in UNIMODAL}, settings.momentum)
    )
    image_m = run(momentum, "embed_image",
                  run(momentum, "image_tokens", images, key="image_m", train=True))  # fmt: skip
    text_m = run(momentum, "embed_text",
                 run(momentum, "text_tokens", tokens, mask, key="text_m", train=True))  # fmt: skip
    image_tokens = run(params, "image_tokens", images, key="image", train=True)
    text_tokens = run(params, "text_tokens", tokens, mask, key="text", train=True)
    image = run(params, "embed_image", image_tokens)
    text = run(params, "embed_text", text_tokens)
    temperature = clipped(params["temperature"], settings.temperature_limits)

    alpha = settings.alpha * ramp(step, settings.alpha_steps)
    online = settings.batch_keys == "online"
    image_keys, text_keys = (image, text) if online else (image_m, text_m)
    queue_acts = jnp.full(memory.id_queue.shape, step >= settings.queue_steps)
    queue_ids = jnp.where(queue_acts, memory.id_queue, EMPTY)
    itc = momentum_itc(
        image,
        text,
        jnp.concatenate([image_keys, memory.image_queue]),
        jnp.concatenate([text_keys, memory.text_queue]),
        identity_target(person_id, jnp.concatenate([person_id, queue_ids])),
        temperature=temperature,
        alpha=alpha,
        used=jnp.concatenate([jnp.ones_like(person_id, bool), queue_acts]),
    )

    same = person_id[:, None] == person_id[None, :]
    hardness = ramp(step, settings.hardness_steps)
    logits = image @ text_keys.T / temperature, text @ image_keys.T / temperature
    text_of = sample_negatives(keys["t"], logits[0], same, hardness=hardness)
    image_of = sample_negatives(keys["i"], logits[1], same, hardness=hardness)
    matched, metrics = _matching(
        model, settings, params, image_tokens, text_tokens, mask, text_of, image_of, keys["fuse"],
        triplet=triplet,
    )  # fmt: skip
    metrics = {"itc": itc, "temperature": temperature, **metrics}

    after = GlobalMemory(
        momentum,
        push(memory.image_queue, image_m),
        push(memory.text_queue, text_m),
        push(memory.id_queue, person_id),
    )
    return itc + matched, after, metrics, Pass(image_tokens, temperature)


def _matching(
    model: AlignFuse,
    settings: GlobalSettings,
    params: Any,
    image_tokens: jax.Array,
    text_tokens: jax.Array,
    mask: jax.Array,
    text_of: Negatives,
    image_of: Negatives,
    rng: jax.Array,
    *,
    triplet: bool,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """L_itm (+ L_tri) of the first `matching_rows` rows, each with two negatives; metrics."""
    rows = jnp.arange(settings.matching_rows or len(image_tokens))
    text_of, image_of = (jax.tree.map(lambda x: x[rows], n) for n in (text_of, image_of))
    # True pairs, then negative texts, then negative images, of the same order.
    texts = jnp.concatenate([rows, text_of.index, rows])
    fused, _ = model.apply(
        {"params": params}, text_tokens[texts], mask[texts], image_tokens,
        image_index=jnp.concatenate([rows, rows, image_of.index]),
        method="fuse", first_only=True, train=True, rngs={"dropout": rng},
    )  # fmt: skip
    logits = model.apply({"params": params}, fused, method="match")
    positive, negative_text, negative_image = jnp.split(logits, 3)
    valid = jnp.concatenate([text_of.valid, image_of.valid])
    itm = matching_loss(positive, jnp.concatenate([negative_text, negative_image]), valid)
    says_match = logits[:, 1] > logits[:, 0]
    right = says_match == (jnp.arange(3 * len(rows)) < len(rows))
    counts = jnp.concatenate([jnp.ones(len(rows), bool), valid])
    # Percent of the pairs of L_itm.
    metrics = {"itm": itm, "itm_accuracy": 100 * (right & counts).sum() / counts.sum()}
    if not triplet:
        return itm, metrics
    score = TRIPLET_SCORES[settings.triplet_score]
    metrics["triplet"] = fusion_triplet_loss(
        score(positive),
        score(negative_text),
        score(negative_image),
        margin=settings.triplet_margin,
        text_valid=text_of.valid,
        image_valid=image_of.valid,
    )
    return itm + metrics["triplet"], metrics


def ramp(step: jax.Array, steps: int) -> jax.Array | float:
    """Returns step / steps, at most 1; 1 from the start where steps is 0."""
    return jnp.minimum(1.0, step / steps) if steps else 1.0


def clipped(temperature: jax.Array, limits: tuple[float, float]) -> jax.Array:
    """Returns the learnable temperature within limits; the gradient passes the clip.

    ALBEF's retrieval code does not clip, BLIP clips to (0.001, 0.5); (0, inf) is no clip.
    """
    return temperature + jax.lax.stop_gradient(jnp.clip(temperature, *limits) - temperature)
