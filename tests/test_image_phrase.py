"""The image-phrase stream equals Eqs. 2-11 by hand, one phrase at a time, in numpy float64.

The backward attention of the reference is taken by central differences of its own forward pass.
"""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erf
from tiny import QUICK, VOCABULARY, network, random_params

from jaxreid.losses.masked_language import corrupt, random_tokens
from jaxreid.streams.image_phrase import (
    PIECES,
    PhraseSettings,
    masked_language_modelling,
    phrase_alignment,
    score_masked,
)

MODEL = network()
MASK, CLS, SEP = 4, 2, 3
TEMPERATURE = 0.2
SETTINGS = PhraseSettings(
    mask_id=MASK,
    attention="bidirectional",
    mpm=True,
    layer=0,
    word_score="probability",
    combine="product",
    normalise="l1",
    alignment="cosine",
    detach=True,
    reduction="mean",
)
# [text, phrase]: tokens, and the word of each token. -1 inside a phrase: a word that may not be
# masked, so most phrases leave one choice; the second one leaves two words, one of two pieces.
PHRASES = [
    [
        ([CLS, 11, 12, SEP], [-1, 0, -1, -1]),
        ([CLS, 21, 22, 23, SEP], [-1, 0, 1, 1, -1]),
        ([CLS, 31, 32, 33, 34, 35, SEP], [-1, -1, 0, 0, -1, -1, -1]),
    ],
    [([CLS, 11, 12, SEP], [-1, -1, 0, -1])],
    [],
]
PEOPLE = np.array([5, 8, 5], np.int32)
PRESENT = [(b, r) for b, phrases in enumerate(PHRASES) for r in range(len(phrases))]


def padded() -> tuple[np.ndarray, np.ndarray]:
    """i32[3, 3, 7] tokens and words of PHRASES."""
    tokens, words = np.zeros((3, 3, 7), np.int32), np.full((3, 3, 7), -1, np.int32)
    for b, r in PRESENT:
        ids, numbers = PHRASES[b][r]
        tokens[b, r, : len(ids)], words[b, r, : len(ids)] = ids, numbers
    return tokens, words


class Plain:
    """The network in numpy float64, one text and one image at a time, without padding."""

    def __init__(self, params):
        self.params = jax.tree.map(lambda x: np.asarray(x, np.float64), params)

    def attention(self, p, x, context, offset=None):
        """[L, D], and the softmax weights [H, S] of row 0; `offset` [H, S] is added to these."""
        q, k, v = (
            np.einsum("ld,dhe->hle", rows, p[name]["kernel"]) + p[name]["bias"][:, None]
            for name, rows in (("query", x), ("key", context), ("value", context))
        )
        weights = softmax(np.einsum("hle,hse->hls", q, k) / np.sqrt(q.shape[-1]))  # Eqs. 2-3
        first = weights[:, 0].copy()  # Eq. 4
        if offset is not None:
            weights[:, 0] += offset
        mixed = np.einsum("hls,hse->lhe", weights, v)
        return np.einsum("lhe,hed->ld", mixed, p["out"]["kernel"]) + p["out"]["bias"], first

    def layer(self, p, x, image=None, offset=None):
        """One BERT layer; also row 0 of its cross-attention."""
        first = None
        x = norm(p["attention_norm"], x + self.attention(p["attention"], x, x)[0])
        if image is not None:
            branch, first = self.attention(p["crossattention"], x, image, offset)
            x = norm(p["crossattention_norm"], x + branch)
        branch = dense(p["mlp"]["fc2"], gelu(dense(p["mlp"]["fc1"], x)))
        return norm(p["mlp_norm"], x + branch), first

    def text(self, ids):
        """Text encoder, [L, D]."""
        p = self.params["text"]
        tables = [
            p["embeddings"][f"{name}_embeddings"]["embedding"]
            for name in ("word", "position", "token_type")
        ]
        x = norm(p["embeddings"]["norm"], tables[0][ids] + tables[1][: len(ids)] + tables[2][0])
        for i in range(MODEL.text.depth):
            x, _ = self.layer(p[f"layer_{i}"], x)
        return x

    def fuse(self, hidden, image, tap_layer=None, offset=None):
        """Cross encoder, [L, D], and row 0 of the cross-attention of the tapped layer."""
        tapped = None
        for i in range(MODEL.cross.depth):
            tap = offset if i == tap_layer else None
            hidden, first = self.layer(self.params["cross"][f"layer_{i}"], hidden, image, tap)
            tapped = first if i == tap_layer else tapped
        return hidden, tapped

    def words(self, fused):
        """Logits [L, V] of the tied MLM head."""
        p = self.params["mlm"]
        x = norm(p["norm"], gelu(dense(p["dense"], fused)))
        return x @ self.params["text"]["embeddings"]["word_embeddings"]["embedding"].T + p["bias"]

    def project(self, name, vector):
        """Unit embedding [E]."""
        x = dense(self.params[name]["dense"], vector)
        return x / np.linalg.norm(x)


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def gelu(x):
    return x * (1 + erf(x / np.sqrt(2))) / 2


def dense(p, x):
    return x @ p["kernel"] + p["bias"]


def norm(p, x):
    x = x - x.mean(axis=-1, keepdims=True)
    return x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + 1e-12) * p["scale"] + p["bias"]


def one_phrase(plain, settings, image, b, r, word, frozen=None) -> SimpleNamespace:
    """Weights, embeddings and L_mpm of one phrase whose word `word` is masked."""
    ids, numbers = (np.array(x) for x in PHRASES[b][r])
    masked = numbers == word
    hidden = plain.text(np.where(masked, MASK, ids))

    def score(offset):
        """Eq. 5: the mean over the masked pieces of their probability or logit."""
        logits = plain.words(plain.fuse(hidden, image, settings.layer, offset)[0])[masked]
        if settings.word_score == "probability":
            logits = softmax(logits)
        return logits[np.arange(masked.sum()), ids[masked]].mean()

    fused, forward = plain.fuse(hidden, image, settings.layer)
    weights = frozen
    if weights is None:
        a = forward.mean(axis=0)[1:]
        raw = a
        if settings.attention != "forward":
            backward, step = np.zeros_like(forward), 1e-4  # Eq. 6
            for place in np.ndindex(*backward.shape):
                offset = np.zeros_like(forward)
                offset[place] = step
                backward[place] = (score(offset) - score(-offset)) / (2 * step)
            g = np.maximum(backward.mean(axis=0)[1:], 0)
            product = a * g if settings.combine == "product" else a + g
            raw = g if settings.attention == "backward" else product
        if settings.normalise == "minmax":
            raw = raw - raw.min()
        uniform = np.full(len(raw), 1 / len(raw))
        weights = raw / raw.sum() if raw.sum() > 0 else uniform  # Eq. 7
        weights = softmax(raw) if settings.normalise == "softmax" else weights
    chance = softmax(plain.words(fused)[masked])[np.arange(masked.sum()), ids[masked]]
    return SimpleNamespace(
        weights=weights,
        image=plain.project("image_proj", weights @ image[1:]),  # Eq. 8
        phrase=plain.project("text_proj", hidden[0]),
        mpm=-np.log(chance).mean(),  # Eq. 11
        right=(plain.words(fused)[masked].argmax(axis=-1) == ids[masked]),
    )


def by_hand(params, settings, images, word=0, frozen=None) -> SimpleNamespace:
    """Loss and metrics; `word` is the masked one of the phrase that leaves a choice."""
    plain = Plain(params)
    phrases = [
        one_phrase(
            plain, settings, np.asarray(images[b], np.float64), b, r,
            word if (b, r) == (0, 1) else 0, frozen and frozen[i],
        )
        for i, (b, r) in enumerate(PRESENT)
    ]  # fmt: skip
    bidir = []
    for (b, r), p in zip(PRESENT, phrases, strict=True):
        s = p.image @ p.phrase  # Eq. 9
        if settings.alignment == "cosine":
            bidir.append(1 - s)
        elif settings.alignment == "sigmoid":
            bidir.append(np.log(1 + np.exp(-s / TEMPERATURE)))
        else:
            share = total = 0.0
            for (c, q), other in zip(PRESENT, phrases, strict=True):
                term = np.exp(p.image @ other.phrase / TEMPERATURE)
                total += term
                equal = PHRASES[b][r][0] == PHRASES[c][q][0]
                share += term * (equal or PEOPLE[b] == PEOPLE[c])
            bidir.append(-np.log(share / total))
    mpm = [p.mpm for p in phrases]
    terms = settings.bidir_weight * np.array(bidir) * (settings.attention != "none")
    terms += settings.mpm_weight * np.array(mpm) * settings.mpm
    loss = 0.0
    for b in range(3):  # Eq. 12
        own = [term for (c, _), term in zip(PRESENT, terms, strict=True) if c == b]
        if own:
            loss += sum(own) / (len(own) if settings.reduction == "mean" else 1) / 3
    right = np.concatenate([p.right for p in phrases])
    metrics = {"bidir": np.mean(bidir), "mpm": np.mean(mpm), "mpm_accuracy": 100 * np.mean(right)}
    return SimpleNamespace(loss=loss, metrics=metrics, weights=[p.weights for p in phrases])


@pytest.fixture(scope="module")
def params():
    return random_params(MODEL, 0, TEMPERATURE)


@pytest.fixture(scope="module")
def images():
    """f32[3, 9, 32] image tokens."""
    return jnp.asarray(np.random.default_rng(7).normal(size=(3, 9, 32)), jnp.float32)


def run(settings, gradient=False):
    """Compiled (params, images, tokens, words, key) -> (loss, metrics) [and gradients]."""

    def stream(params, images, tokens, words, key):
        return phrase_alignment(
            MODEL, settings, params, images, tokens, words, jnp.asarray(PEOPLE),
            jnp.float32(TEMPERATURE), key,
        )  # fmt: skip

    if gradient:
        stream = jax.value_and_grad(stream, argnums=(0, 1), has_aux=True)
    return jax.jit(stream, compiler_options=QUICK)


def assert_equals_by_hand(settings, params, images, loss, metrics, atol=2e-5):
    """Returns what is by hand for the word that was masked."""
    hands = [by_hand(params, settings, images, word) for word in (0, 1)]
    near = [h for h in hands if abs(h.loss - loss) < atol]
    assert len(near) == 1, (loss, [h.loss for h in hands])
    for name, value in metrics.items():
        np.testing.assert_allclose(value, near[0].metrics[name], rtol=1e-4, atol=atol)
    return near[0]


@pytest.fixture(scope="module")
def default():
    return run(SETTINGS, gradient=True)


def test_loss_equals_the_equations_by_hand(default, params, images):
    words = set()
    for seed in range(8):
        (loss, metrics), _ = default(params, images, *padded(), jax.random.key(seed))
        assert set(metrics) == {"bidir", "mpm", "mpm_accuracy"}
        words.add(round(float(loss), 5))
        if len(words) == 1:
            hand = assert_equals_by_hand(SETTINGS, params, images, loss, metrics)
    assert len(words) == 2  # either word of the phrase that leaves a choice
    assert max(w.max() for w in hand.weights) > 0.2  # weights of these inputs are not uniform


@pytest.mark.parametrize(
    "changes",
    [
        {"combine": "sum", "normalise": "minmax", "alignment": "sigmoid", "reduction": "sum"},
        {"word_score": "logit", "normalise": "softmax", "alignment": "contrastive", "mpm": False},
        {"attention": "forward", "layer": 1},
        {"attention": "backward", "bidir_weight": 0.25, "mpm_weight": 3.0},
        {"attention": "none"},
    ],
    ids=lambda c: "-".join(str(value) for value in c.values()),
)
def test_every_option_equals_the_equations_by_hand(params, images, changes):
    settings = SETTINGS._replace(**changes)
    loss, metrics = run(settings)(params, images, *padded(), jax.random.key(0))
    assert ("bidir" in metrics) == (settings.attention != "none")
    assert ("mpm" in metrics) == settings.mpm
    assert_equals_by_hand(settings, params, images, loss, metrics)


def test_the_last_layer_has_no_backward_attention_at_all(params, images):
    settings = SETTINGS._replace(attention="backward", layer=1, mpm=False)
    loss, metrics = run(settings)(params, images, *padded(), jax.random.key(0))
    hand = assert_equals_by_hand(settings, params, images, loss, metrics)
    for weights in hand.weights:  # uniform: the differences are exactly 0
        np.testing.assert_array_equal(weights, 1 / 8)


@pytest.mark.parametrize("detach", [True, False])
def test_gradient_is_that_of_the_equations(default, params, images, detach):
    """Along a direction in all parameters and image tokens, by central differences in float64."""
    settings = SETTINGS._replace(detach=detach)
    stream = default if detach else run(settings, gradient=True)
    (loss, metrics), gradients = stream(params, images, *padded(), jax.random.key(0))
    hand = assert_equals_by_hand(settings, params, images, loss, metrics)
    word = [by_hand(params, settings, images, w).loss for w in (0, 1)].index(hand.loss)
    other = random_params(MODEL, 5)
    there = jax.tree.map(lambda a, b: np.asarray(a - b, np.float64), other, params)
    away = np.random.default_rng(2).normal(size=images.shape)
    ours = sum(
        (np.asarray(g, np.float64) * d).sum()
        for g, d in zip(
            jax.tree.leaves(gradients), [*jax.tree.leaves(there), away], strict=True
        )
    )  # fmt: skip

    def along(frozen) -> float:
        """Derivative of the loss by hand, with the patch weights frozen or not."""
        step, ends = 1e-5, []
        for side in (step, -step):
            moved = jax.tree.map(lambda p, d, side=side: np.float64(p) + side * d, params, there)
            shifted = np.float64(images) + side * away
            ends.append(by_hand(moved, settings, shifted, word, frozen).loss)
        return (ends[0] - ends[1]) / (2 * step)

    expected, other = along(hand.weights), along(None)
    if not detach:
        expected, other = other, expected
    np.testing.assert_allclose(ours, expected, rtol=2e-3)
    assert abs(other - expected) > 0.01 * abs(expected)  # or the test could not tell them apart


def test_absent_phrases_and_their_places_contribute_nothing(default, params, images):
    tokens, words = padded()
    (loss, metrics), gradients = default(params, images, tokens, words, jax.random.key(0))
    # A text without phrases gives no gradient to its image.
    assert not np.any(gradients[1][2])
    assert np.all(np.abs(gradients[1][:2]).max(axis=(1, 2)) > 0)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(gradients))
    nothing = default(
        params, images, np.zeros_like(tokens), np.full_like(words, -1), jax.random.key(0)
    )
    (loss, metrics), gradients = nothing
    assert (loss, metrics["bidir"], metrics["mpm"], metrics["mpm_accuracy"]) == (0, 0, 0, 0)
    assert not any(np.any(g) for g in jax.tree.leaves(gradients))


def test_one_phrase_does_not_see_the_others(default, params, images):
    tokens, words = padded()
    (_, _), before = default(params, images, tokens, words, jax.random.key(0))
    changed = tokens.copy()
    changed[0, :, 1:3] = 17  # all phrases of text 0
    (_, _), after = default(params, images, changed, words, jax.random.key(0))
    # The gradient of image 1 is that of the phrases of text 1.
    np.testing.assert_allclose(after[1][1], before[1][1], rtol=1e-4, atol=1e-7)
    assert np.abs(after[1][0] - before[1][0]).max() > 1e-3


@pytest.mark.parametrize("counts", [(1, 3, 2, 0, 1, 4), (5, 1, 4, 1, 1, 1)])
def test_masked_tokens_are_scored_as_among_all(params, counts):
    rng = np.random.default_rng(6)
    fused = rng.normal(size=(6, 7, 32)).astype(np.float32)
    masked = np.zeros((6, 7), bool)
    for row, count in enumerate(counts):
        masked[row, rng.permutation(np.arange(1, 6))[:count]] = True
    tokens = rng.integers(5, VOCABULARY, size=(6, 7)).astype(np.int32)
    logits = np.asarray(MODEL.apply({"params": params}, fused, method="predict_words"))
    tokens[::2] = logits.argmax(axis=-1)[::2]  # half of the rows are right
    found = jax.jit(
        lambda *a: score_masked(MODEL, params, *a), compiler_options=QUICK
    )(fused, tokens, masked)  # fmt: skip
    for row, count in enumerate(counts):
        places = np.flatnonzero(masked[row])[:PIECES]
        own = logits[row, places]
        logit = own[np.arange(len(places)), tokens[row, places]]
        assert found.counted[row].sum() == min(count, PIECES)
        for got, want in (
            (found.logit, logit),
            (found.log_likelihood, logit - np.log(np.exp(own).sum(axis=-1))),
            (found.right, own.argmax(axis=-1) == tokens[row, places]),
        ):
            np.testing.assert_allclose(got[row, : len(places)], want, rtol=0, atol=2e-6)


def test_product_with_the_vocabulary_is_made_for_few_tokens_of_a_phrase(params):
    shapes = ((6, 10, 32), np.float32), ((6, 10), np.int32), ((6, 10), bool)
    traced = jax.make_jaxpr(lambda *a: score_masked(MODEL, params, *a))(
        *(jax.ShapeDtypeStruct(*s) for s in shapes)
    )
    assert f"f32[6,{PIECES},{VOCABULARY}]" in str(traced)
    assert f"f32[6,10,{VOCABULARY}]" not in str(traced)


def test_masked_language_modelling_equals_a_loop(params, images):
    rng = np.random.default_rng(4)
    lengths = (12, 6, 9)
    tokens = rng.integers(5, VOCABULARY, size=(3, 12)).astype(np.int32)
    tokens = np.where(np.arange(12) < np.array(lengths)[:, None], tokens, 0)
    words = np.where((tokens != 0) & (np.arange(12) > 0), np.arange(12) - 1, -1)
    loss, metrics = jax.jit(
        lambda params: masked_language_modelling(
            MODEL, params, images, jnp.asarray(tokens), jnp.asarray(words), jax.random.key(3),
            mask_id=MASK, vocabulary=VOCABULARY, probability=0.4,
        ),
        compiler_options=QUICK,
    )(params)  # fmt: skip
    choose, change, *_ = jax.random.split(jax.random.key(3), 4)
    masked = np.asarray(random_tokens(choose, words >= 0, 0.4))
    seen = corrupt(change, jnp.asarray(tokens), masked, mask_id=MASK, vocabulary=VOCABULARY)
    seen = np.asarray(seen)
    plain, terms = Plain(params), []
    for b, length in enumerate(lengths):
        image = np.asarray(images[b], np.float64)
        chance = softmax(plain.words(plain.fuse(plain.text(seen[b, :length]), image)[0]))
        terms += [-np.log(chance[i, tokens[b, i]]) for i in range(length) if masked[b, i]]
    assert len(terms) > 5
    np.testing.assert_allclose(loss, np.mean(terms), rtol=0, atol=2e-5)
    assert metrics == {"mlm": loss}
