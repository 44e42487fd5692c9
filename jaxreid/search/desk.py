"""Where a search is done: one gallery, what its images show, and how witnesses answer."""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxreid.data.dialogues import Dialogue, Round
from jaxreid.methods import Features
from jaxreid.search.attributes import Scheme, closing, value_counts
from jaxreid.search.belief import posterior, prior
from jaxreid.search.channel import Channel
from jaxreid.search.fit import Fitted, gallery_posteriors
from jaxreid.search.gallery import Gallery
from jaxreid.search.load import Searcher, score
from jaxreid.search.naming import read_others
from jaxreid.search.policies import Policy, World, make_world, pick
from jaxreid.search.session import Session, answers, description

_REMEMBERED = 16  # descriptions whose scores are kept


class Stopping(NamedTuple):
    """When asking is over."""

    least_gain: float = 0.03  # nats that the best question must be expected to tell
    few: int = 4  # images that a person looks at anyway,
    mass: float = 0.9  # once they hold so much of the probability


class Desk(NamedTuple):
    """All that a turn needs."""

    gallery: Gallery
    scheme: Scheme
    world: World  # posteriors, channel
    closing: np.ndarray  # bool[A, V, A], see `attributes.closing`
    temperature: float  # of the prior
    similarity: Callable[[Dialogue], np.ndarray]  # f32[1, N] of what was said
    policy: Policy
    stopping: Stopping
    reads_answers: bool = False  # `similarity` reads them, they do not join by the channel, too


class Question(NamedTuple):
    """What to ask next."""

    attribute: str
    text: str
    gain: float  # expected, in nats, where the policy is expected_gain; else its score
    reason: str  # a sentence


class View(NamedTuple):
    """What a turn shows."""

    index: np.ndarray  # i32[N], images of the gallery, likeliest first
    probability: np.ndarray  # f32[N], of those; sums to 1
    candidates: int  # how many images hold `Stopping.mass` of the probability
    question: Question | None  # None: nothing is left to ask
    done: str  # why asking may stop, a sentence; "" where it should go on


def open_desk(
    searcher: Searcher,
    gallery: Gallery,
    scheme: Scheme,
    fitted: Fitted,
    channel: Channel,
    policy: Policy,
    stopping: Stopping,
) -> Desk:
    """Returns the desk of a gallery.

    Args:
      searcher: that indexed the gallery.
      gallery: see `gallery`.
      scheme: what can be asked.
      fitted: of the searcher and the scheme.
      channel: how witnesses answer.
      policy: of `policies`.
      stopping: when asking is over.
    """
    images = Features(jnp.asarray(gallery.embedding))
    shown = jnp.asarray(gallery_posteriors(searcher, scheme, fitted, gallery))
    world = make_world(shown, jnp.asarray(value_counts(scheme)), channel)
    return Desk(
        gallery, scheme, world, closing(scheme), fitted.temperature,
        lru_cache(_REMEMBERED)(lambda told: score(searcher, [told], images)), policy, stopping,
        searcher.reads_answers,
    )  # fmt: skip


def look(desk: Desk, session: Session, rng: jax.Array | None = None) -> View:
    """Returns the ranking and the next question of a session.

    What the description tells by a word for one attribute alone is not asked again.

    Args:
      desk: of the gallery of the session.
      session: see `session`.
      rng: key of a policy that draws.

    Raises:
      ValueError: the session is of another gallery or scheme.
    """
    if (session.gallery, session.scheme) != (desk.gallery.fingerprint, desk.scheme.fingerprint):
        raise ValueError(
            f"the session is of gallery {session.gallery}, not of {desk.gallery.fingerprint}"
        )
    asked, said, is_open = _arrays(desk.scheme, desk.closing, answers(session))
    for name in read_others(desk.scheme, description(session)):
        is_open[desk.scheme.index(name)] = False  # "a woman": nobody asks whether it was a man
    told, joined = Dialogue((), description(session)), len(answers(session))
    if desk.reads_answers:
        told, joined = as_dialogue(desk.scheme, session), 0
    log_prior = prior(desk.similarity(told), desk.temperature)
    belief, scores, best = _turn(
        log_prior, desk.world, jnp.asarray(asked), jnp.asarray(said), joined,
        jnp.asarray(is_open), rng, desk.policy,
    )  # fmt: skip
    p = np.exp(np.asarray(belief[0]))
    index = np.argsort(-p, kind="stable").astype(np.int32)
    held = np.cumsum(p[index])
    candidates = min(int(np.searchsorted(held, desk.stopping.mass * held[-1])) + 1, len(p))
    best, question = int(best[0]), None
    if best >= 0:
        attribute = desk.scheme.attributes[best]
        question = Question(
            attribute.name,
            attribute.question,
            float(scores[0, best]),
            _reason(desk, belief, index[:candidates], best),
        )
    return View(index, p[index], candidates, question, _done(desk.stopping, candidates, question))


def as_dialogue(scheme: Scheme, session: Session) -> Dialogue:
    """Returns what was said, as what a data set calls a dialogue."""
    rounds = []
    for name, values in answers(session).items():
        told = " or ".join(values) if values else "I don't know"
        rounds.append(Round(scheme.attributes[scheme.index(name)].question, f"{told}."))
    return Dialogue(tuple(rounds), description(session))


@partial(jax.jit, static_argnames="policy")
def _turn(log_prior, world: World, asked, said, number, is_open, rng, policy):
    """The belief f32[1, N], the scores f32[1, A] and the attribute to ask i32[1]."""
    belief = posterior(
        log_prior, world.posteriors, world.counts, world.channel.wrong, asked, said, number
    )
    scores = policy(belief, world, rng)
    return belief, scores, pick(scores, is_open[None])


def _arrays(scheme: Scheme, closed: np.ndarray, told: dict[str, tuple[str, ...]]):
    """Answers as i32[A] asked, bool[A, V] said; and bool[A], what may still be asked."""
    asked = np.zeros(len(closed), np.int32)
    said = np.zeros(closed.shape[:2], bool)
    is_open = np.ones(len(closed), bool)
    for number, (name, values) in enumerate(told.items()):
        a = scheme.index(name)
        asked[number], is_open[a] = a, False
        places = [scheme.attributes[a].index(value) for value in values]
        said[number, places] = True
        if places:  # an answer that leaves another value open does not close a question
            is_open &= ~closed[a, places].all(axis=0)
    return asked, said, is_open


@jax.jit
def _shares(belief: jax.Array, posteriors: jax.Array, kept: jax.Array, attribute: jax.Array):
    """f32[V], how the values of an attribute share the images that are kept, bool[N]."""
    p = jnp.where(kept, jnp.exp(belief[0]), 0.0)
    table = jax.lax.dynamic_index_in_dim(posteriors, attribute, axis=1, keepdims=False)
    return jnp.einsum("n,nv->v", p / p.sum(), table)


def _reason(desk: Desk, belief: jax.Array, candidates: np.ndarray, attribute: int) -> str:
    """Why an attribute is asked: how it splits the likeliest images."""
    kept = np.zeros(belief.shape[1], bool)
    kept[candidates] = True
    shares = np.asarray(_shares(belief, desk.world.posteriors, jnp.asarray(kept), attribute))
    values = desk.scheme.attributes[attribute].values
    order = np.argsort(-shares[: len(values)], kind="stable")[:3]
    split = ", ".join(f"{values[i].name} {100 * shares[i]:.0f} %" for i in order)
    one = len(candidates) == 1
    of = "the likeliest image" if one else f"the {len(candidates)} likeliest images"
    return f"asked because it splits {of}: {split}"


def _done(stopping: Stopping, candidates: int, question: Question | None) -> str:
    """Why asking may stop."""
    if candidates <= stopping.few:
        of = "one image holds" if candidates == 1 else f"{candidates} images hold"
        return f"{of} {100 * stopping.mass:.0f} % of the probability"
    if question is None:
        return "everything was asked"
    if question.gain < stopping.least_gain:
        return f"no question is expected to tell more than {stopping.least_gain:g} nats"
    return ""
