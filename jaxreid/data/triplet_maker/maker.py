"""Makes triplets: proposes candidates, writes their words and judges them by all filters."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from jaxreid.data.triplet_maker import plugs as plugged
from jaxreid.data.triplet_maker.filters import (
    embedding_identity,
    identity_consistency,
    scored_alignment,
    text_alignment,
)
from jaxreid.data.triplet_maker.inferability import AnswerLimits, count_answers, inferability
from jaxreid.data.triplet_maker.lexicon import Lexicon, make_lexicon
from jaxreid.data.triplet_maker.plugs import Plugs
from jaxreid.data.triplet_maker.propose import (
    body_groups,
    changed_parts,
    person_groups,
    propose,
    visiting_order,
)
from jaxreid.data.triplet_maker.quality import (
    ImageLimits,
    TextLimits,
    image_measures,
    image_quality,
    text_quality,
)
from jaxreid.data.triplet_maker.reading import Phrase, filler_words, read, vocabulary
from jaxreid.data.triplet_maker.records import Collection, Looks, attribute_values, find_looks
from jaxreid.data.triplet_maker.scheme import Scheme
from jaxreid.data.triplet_maker.verdict import Verdict, weakest
from jaxreid.data.triplet_maker.writing import differences, write

PAIRS = ("body", "person")  # what reference and target must share


class Limits(NamedTuple):
    """Thresholds of the filters."""

    image: ImageLimits
    text: TextLimits
    identity: float  # share of attributes of the body that are equal, in [0, 1]
    embedding: float  # cosine of the embeddings of a plug
    alignment: float  # share of phrases that the target shows, in [0, 1]
    score: float  # of the scorer of a plug
    answers: AnswerLimits


class Plan(NamedTuple):
    """What is proposed, and how much is kept."""

    pairs: str  # of PAIRS
    changes: tuple[int, int]  # fewest and most parts of the outfit that differ
    tries: int  # candidates of a reference image
    per_image: int  # triplets kept of a reference image
    limit: int | None  # triplets kept in all; None: no limit


class Judged(NamedTuple):
    """A candidate with what the filters say."""

    reference: int  # position in the collection
    target: int
    look: int  # of the target
    words: str
    captions: tuple[str, str]  # of reference and target, one of those that they have
    changed: tuple[str, ...]  # attributes that differ and of which the words tell
    verdicts: tuple[Verdict, ...]  # one of each of FILTERS, in their order
    images: tuple[np.ndarray, np.ndarray] | None  # of a generator; None: those of the set

    @property
    def kept(self) -> bool:
        """Whether all filters keep it."""
        return all(verdict.keep for verdict in self.verdicts)


def make(
    collection: Collection,
    scheme: Scheme,
    limits: Limits,
    plan: Plan,
    rng: np.random.Generator,
    plugs: Plugs = Plugs(),  # noqa: B008, immutable
) -> Iterator[tuple[Judged, ...]]:
    """Yields the candidates of one reference image after the other, kept and dropped ones.

    All filters judge every candidate, so that it can be said what each would drop alone. A
    reference image whose body has no other outfit yields no candidates.

    Args:
      collection: images of one split.
      scheme: roles of the attributes.
      limits: thresholds.
      plan: what is proposed and kept.
      rng: the only source of chance; equal ones give equal triplets.
      plugs: callables in place of our rules.

    Raises:
      ValueError: `plan` is out of range, or a plug returns what it may not.
      AnnotationError: an image cannot be read.
    """
    if plan.pairs not in PAIRS:
        raise ValueError(f"pairs must be one of {', '.join(PAIRS)}, got {plan.pairs!r}")
    for name, value in (("tries", plan.tries), ("per_image", plan.per_image)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    if plan.limit is not None and plan.limit < 1:
        raise ValueError(f"limit must be at least 1 or None, got {plan.limit}")
    judge = _Judge(collection, scheme, limits, plan.pairs, plugs)
    members = [[] for _ in judge.looks.first]
    for image, look in enumerate(judge.looks.number):
        members[look].append(image)
    used = np.zeros(len(members), np.int32)
    kept = 0
    for reference in visiting_order(collection.records, rng):
        look = judge.looks.number[reference]
        changed = changed_parts(judge.looks, scheme, look)
        same = judge.same_body(look)
        judged, here = [], 0
        for target_look in propose(changed, same, used, plan.changes, plan.tries, rng):
            target = members[target_look][rng.integers(len(members[target_look]))]
            judged.append(judge(reference, target, rng))
            if judged[-1].kept:
                used[target_look] += 1
                here, kept = here + 1, kept + 1
            if here == plan.per_image or kept == plan.limit:
                break
        yield tuple(judged)
        if kept == plan.limit:
            return


class _Judge:
    """Writes and judges candidates of one collection; keeps what it measured of images."""

    def __init__(
        self, collection: Collection, scheme: Scheme, limits: Limits, pairs: str, plugs: Plugs
    ):
        self.looks: Looks = find_looks(collection.records, (*scheme.body, *scheme.outfit))
        self._collection, self._scheme, self._limits, self._plugs = (
            collection, scheme, limits, plugs,
        )  # fmt: skip
        self._lexicon: Lexicon = make_lexicon(scheme, attribute_values(collection.records))
        captions = (caption for record in collection.records for caption in record.captions)
        self._known = {word for caption in captions for word in vocabulary(caption)}
        self._known |= self._lexicon.words() | filler_words()
        if pairs == "body":
            self._groups = body_groups(self.looks, scheme)
        else:
            self._groups = person_groups(self.looks, collection.records)
        self._measures: dict[int, dict[str, float]] = {}
        self._embeddings: dict[int, np.ndarray] = {}

    def same_body(self, look: int) -> np.ndarray:
        """bool[m], the looks that may be the same person as one."""
        return self._groups == self._groups[look]

    def __call__(self, reference: int, target: int, rng: np.random.Generator) -> Judged:
        """A candidate, judged."""
        records, plugs = self._collection.records, self._plugs
        one, other = records[reference], records[target]
        different = differences(self._scheme, one, other)
        if plugs.write:
            words = plugged.written(plugs.write, one, other, different)
        else:
            words = write(self._scheme, other, different, rng)
        captions = tuple(
            record.captions[rng.integers(len(record.captions))] if record.captions else ""
            for record in (one, other)
        )
        images = plugged.generated(plugs.generate, captions) if plugs.generate else None
        phrases = read(self._lexicon, words)
        told = {name for phrase in phrases for name in phrase.attributes()}
        parts = {self._scheme.outfit[name] for name in told}
        verdicts = (
            self._quality(reference, target, images, words),
            self._identity(reference, target, images),
            self._alignment(reference, target, images, words, phrases),
            self._inferability(reference, target, phrases),
        )
        changed = tuple(d.attribute for d in different if d.part in parts)
        look = int(self.looks.number[target])
        return Judged(reference, target, look, words, captions, changed, verdicts, images)

    def _quality(self, reference, target, images, words: str) -> Verdict:
        """Both images and the words."""
        limits = self._limits
        if images:
            measures = [image_measures(image) for image in images]
        else:
            measures = [self._measured(position) for position in (reference, target)]
        worst = min(
            (image_quality(measured, limits.image) for measured in measures),
            key=lambda verdict: verdict.score,
        )
        return weakest(worst, text_quality(words, self._known, limits.text))

    def _identity(self, reference, target, images) -> Verdict:
        """The attributes of both bodies, then their embeddings."""
        records = self._collection.records
        verdict = identity_consistency(
            records[reference].attributes,
            records[target].attributes,
            self._scheme.body,
            self._limits.identity,
        )
        if not self._plugs.embed:
            return verdict
        if images:
            embeddings = [self._plugs.embed(image) for image in images]
        else:
            embeddings = [self._embedded(position) for position in (reference, target)]
        return weakest(verdict, embedding_identity(*embeddings, self._limits.embedding))

    def _alignment(self, reference, target, images, words: str, phrases) -> Verdict:
        """What the words claim, then the score of text and image."""
        records = self._collection.records
        verdict = text_alignment(
            phrases,
            records[reference].attributes,
            records[target].visible,
            self._limits.alignment,
        )
        if not self._plugs.score:
            return verdict
        image = images[1] if images else self._collection.images[target]
        score = self._plugs.score(image, words)
        return weakest(verdict, scored_alignment(score, self._limits.score))

    def _inferability(self, reference, target, phrases: tuple[Phrase, ...]) -> Verdict:
        """The looks that the query leaves."""
        look = self.looks.number[reference]
        answers = count_answers(
            self.looks,
            self._scheme,
            self.same_body(look),
            int(look),
            int(self.looks.number[target]),
            phrases,
        )
        return inferability(answers, self._limits.answers)

    def _measured(self, position: int) -> dict[str, float]:
        """Measures of an image of the set, taken once."""
        if position not in self._measures:
            self._measures[position] = image_measures(self._collection.images[position])
        return self._measures[position]

    def _embedded(self, position: int) -> np.ndarray:
        """Embedding of an image of the set, computed once."""
        if position not in self._embeddings:
            self._embeddings[position] = self._plugs.embed(self._collection.images[position])
        return self._embeddings[position]
