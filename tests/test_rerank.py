import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreid import rerank
from jaxreid.mesh import make_mesh, put_replicated
from jaxreid.methods import Features
from jaxreid.rerank import RULES, PairBlocks, final_scores, match_pairs


def features(seed, count, length, width):
    rng = np.random.default_rng(seed)
    tokens = rng.standard_normal((count, length, width)).astype(np.float32)
    mask = np.arange(length) < rng.integers(1, length + 1, (count, 1))
    embedding = rng.standard_normal((count, 3)).astype(np.float32)
    return Features(embedding, tokens, mask)


def bilinear(params, queries, images):
    """A score that reads embeddings, tokens and the mask, and is not symmetric."""
    pooled = (queries.tokens * queries.mask[:, :, None]).sum(1)
    best = jnp.einsum("pd,de,pne->pn", pooled, params, images.tokens).max(1)
    return best + queries.embedding[:, 0] - images.embedding[:, 1]


def whole(params, images):
    """Prepares nothing."""
    return images


@pytest.fixture(scope="module")
def problem():
    queries, images = features(0, 21, 3, 4), features(1, 17, 5, 6)._replace(mask=None)
    params = np.random.default_rng(2).standard_normal((4, 6)).astype(np.float32)
    pairs = np.random.default_rng(3).integers(0, (21, 17), (150, 2)).astype(np.int32)
    want = []
    for q, g in pairs:
        pooled = queries.tokens[q][queries.mask[q]].sum(0)
        score = (images.tokens[g] @ (pooled @ params)).max()
        want.append(score + queries.embedding[q, 0] - images.embedding[g, 1])
    return params, queries, images, pairs, np.array(want)


@pytest.mark.parametrize(
    ("devices", "blocks"),
    [
        (8, PairBlocks(16, 4096, 512)),  # one tile, last batch not full
        (8, PairBlocks(8, 5, 4)),  # many tiles, the last of both kinds not full
        (1, PairBlocks(7, 21, 1)),  # one device, one image at a time
        (3, PairBlocks(300, 1, 17)),  # a batch larger than all pairs
    ],
)
def test_batches_over_devices_equal_a_loop_over_pairs(problem, devices, blocks):
    params, queries, images, pairs, want = problem
    mesh = make_mesh(jax.devices()[:devices])
    params = put_replicated(mesh, params)
    got = match_pairs(bilinear, whole, params, queries, images, pairs, mesh, blocks)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-5)


def test_the_step_is_compiled_once_for_all_tiles_and_calls(problem):
    params, queries, images, pairs, _ = problem
    traces = []

    def counted(params, queries, images):
        traces.append((queries.tokens.shape, images.tokens.shape))
        return bilinear(params, queries, images)

    mesh = make_mesh()
    params = put_replicated(mesh, params)
    for part in (pairs, pairs[:3], pairs[::-1]):
        match_pairs(counted, whole, params, queries, images, part, mesh, PairBlocks(16, 5, 4))
    assert traces == [((16, 3, 4), (16, 5, 6))]


def test_each_block_of_tokens_is_sent_once_for_all_its_pairs(problem, monkeypatch):
    params, queries, images, pairs, _ = problem
    sent = []
    put = rerank.put_replicated
    monkeypatch.setattr(
        rerank,
        "put_replicated",
        lambda mesh, tree: sent.append(tree.tokens.shape) or put(mesh, tree),
    )
    match_pairs(bilinear, whole, params, queries, images, pairs, make_mesh(), PairBlocks(8, 11, 6))
    # 3 blocks of images, of 8 for 8 devices; the 2 blocks of queries go to each of them.
    assert sorted(sent) == 3 * [(8, 5, 6)] + 6 * [(11, 3, 4)]


def test_what_no_query_changes_is_computed_once_an_image(problem):
    params, queries, images, pairs, want = problem
    prepared = []

    def note(rows):
        prepared.extend(np.asarray(rows)[:, 0].tolist())

    def match_image(params, images):
        jax.debug.callback(note, images.embedding)
        return jnp.einsum("de,gne->gnd", params, images.tokens), images.embedding

    def match(params, queries, prepared):
        pooled = (queries.tokens * queries.mask[:, :, None]).sum(1)
        best = jnp.einsum("pd,pnd->pn", pooled, prepared[0]).max(1)
        return best + queries.embedding[:, 0] - prepared[1][:, 1]

    mesh = make_mesh(jax.devices()[:1])
    got = match_pairs(match, match_image, params, queries, images, pairs, mesh, PairBlocks(8, 5, 4))
    jax.effects_barrier()
    np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-5)
    seen = [value for value in prepared if value]  # rows of zeros fill the last block
    assert sorted(seen) == sorted(images.embedding[:, 0].tolist())


def test_progress_tells_pairs_done_rate_and_time_left(problem, monkeypatch):
    params, queries, images, pairs, _ = problem
    lines = []
    monkeypatch.setattr(rerank, "_LOG_SECONDS", 0.0)
    monkeypatch.setattr(rerank.logging, "info", lambda text, *values: lines.append(text % values))
    match_pairs(
        bilinear, whole, params, queries, images, pairs, make_mesh(), PairBlocks(64, 21, 17)
    )
    assert [line.split(", ")[0] for line in lines] == [
        f"re-ranking: {done} of 150 pairs" for done in (64, 128, 150)
    ]
    assert lines[-1].endswith(" 0 s left")


def test_no_pairs_give_no_scores(problem):
    params, queries, images, pairs, _ = problem
    got = match_pairs(
        bilinear, whole, params, queries, images, pairs[:0], make_mesh(), PairBlocks(8, 5, 4)
    )
    assert got.shape == (0,)


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        (PairBlocks(12, 5, 4), "eval.pair_batch must be a multiple of the 8 devices, got 12"),
        (PairBlocks(0, 5, 4), "eval.pair_batch must be at least 1, got 0"),
        (PairBlocks(8, 0, 4), "eval.query_chunk must be at least 1, got 0"),
        (PairBlocks(8, 5, -1), "eval.image_chunk must be at least 1, got -1"),
    ],
)
def test_block_sizes_are_refused_by_the_name_of_the_setting(problem, blocks, message):
    params, queries, images, pairs, _ = problem
    with pytest.raises(ValueError, match=message):
        match_pairs(bilinear, whole, params, queries, images, pairs, make_mesh(), blocks)


def test_indices_out_of_range_and_wrong_match_shapes_are_refused(problem):
    params, queries, images, pairs, _ = problem
    mesh, blocks = make_mesh(), PairBlocks(8, 5, 4)
    with pytest.raises(ValueError, match="21 queries and 17 images"):
        match_pairs(bilinear, whole, params, queries, images, pairs[:, ::-1], mesh, blocks)

    def column(*args):
        return bilinear(*args)[:, None]

    with pytest.raises(ValueError, match=r"one score a pair, f32\[P\], got \(8, 1\)"):
        match_pairs(column, whole, params, queries, images, pairs, mesh, blocks)

    def halved(params, images):
        return images.tokens[::2]

    with pytest.raises(ValueError, match=r"match_image must return arrays of 8 rows, got \[\(4, "):
        match_pairs(bilinear, halved, params, queries, images, pairs, mesh, blocks)


def coarse_problem(seed, queries=30, gallery=23, k=6, scale=3.0, levels=8):
    """Similarities with ties, their top K (ties by index), and match scores with ties."""
    rng = np.random.default_rng(seed)
    similarity = (rng.integers(0, levels, (queries, gallery)) / levels - 0.5).astype(np.float32)
    candidates = np.argsort(-similarity, axis=1, kind="stable")[:, :k].astype(np.int32)
    match = (scale * rng.integers(-5, 6, (queries, k)) / 4).astype(np.float32)
    return similarity, candidates, match


def ranking(scores):
    return np.argsort(-scores, axis=1, kind="stable")


def naive_final(similarity, candidates, match, rule, temperature):
    """The ranking of one query after another, straight from the table of the rules."""
    rankings = []
    for s, top, m in zip(similarity, candidates, match, strict=True):
        logit = dict(zip(top.tolist(), m.astype(float), strict=True))

        def key(g, s=s, logit=logit):
            inside = g in logit
            if rule == "albef":
                return -(logit[g] if inside else -100.0), g
            if rule == "blip":
                return -(logit[g] + s[g] if inside else -100.0), g
            if not inside:
                return 1, -s[g], g
            score = {"cada": logit[g] + s[g], "keep": logit[g]}.get(rule)
            return 0, -(logit[g] + s[g] / temperature if score is None else score), g

        rankings.append(sorted(range(len(s)), key=key))
    return np.array(rankings)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("k", [1, 6, 23])
def test_rankings_equal_a_loop_over_queries(rule, k):
    # Eighths and quarters are exact in float32, so equal scores are equal in both.
    similarity, candidates, match = coarse_problem(0, k=k)
    final = final_scores(similarity, candidates, match, rule=rule, temperature=0.25)
    assert final.dtype == np.float32
    want = naive_final(similarity, candidates, match, rule, 0.25)
    np.testing.assert_array_equal(ranking(final), want)


@pytest.mark.parametrize("rule", ["keep", "nce", "cada"])
@pytest.mark.parametrize("scale", [1e-3, 1e2, 1e5])
def test_nothing_beyond_the_top_k_overtakes(rule, scale):
    similarity, candidates, match = coarse_problem(1, scale=scale)
    similarity *= 7
    final = final_scores(similarity, candidates, match, rule=rule, temperature=0.02)
    np.testing.assert_array_equal(
        np.sort(ranking(final)[:, :6], axis=1), np.sort(candidates, axis=1)
    )


@pytest.mark.parametrize("rule", ["keep", "nce"])
def test_coarse_order_beyond_the_top_k_survives_to_the_last_bit(rule):
    rng = np.random.default_rng(2)
    steps = np.cumsum(rng.integers(1, 3, (5, 40)), axis=1).astype(np.int32)
    base = np.float32(0.4).view(np.int32)
    similarity = rng.permuted((base + steps).view(np.float32), axis=1)
    order = ranking(similarity)
    match = 50 * rng.standard_normal((5, 7)).astype(np.float32)
    final = final_scores(
        similarity, order[:, :7].astype(np.int32), match, rule=rule, temperature=0.02
    )
    np.testing.assert_array_equal(ranking(final)[:, 7:], order[:, 7:])


def test_match_scores_one_bit_apart_keep_their_order():
    similarity = np.linspace(9, 8, 12, dtype=np.float32)[None]
    candidates = np.arange(4, dtype=np.int32)[None]
    bits = np.float32(-3e-5).view(np.int32) + np.array([[2, 0, 3, 1]], np.int32)
    final = final_scores(similarity, candidates, bits.view(np.float32), rule="keep")
    # A higher bit pattern of a negative number is a lower number.
    np.testing.assert_array_equal(ranking(final)[0, :4], [1, 3, 0, 2])


def test_published_rules_give_the_published_numbers():
    similarity = np.array([[0.5, 0.25, 0.75]], np.float32)
    candidates = np.array([[2, 0]], np.int32)
    match = np.array([[-1.5, 2.0]], np.float32)
    for rule, want in (
        ("albef", [2.0, -100, -1.5]),
        ("blip", [2.5, -100, -0.75]),
        ("cada", [2.5, -99.75, -0.75]),
    ):
        got = final_scores(similarity, candidates, match, rule=rule)
        np.testing.assert_array_equal(got, np.array([want], np.float32))


def test_inputs_are_left_as_they_were():
    similarity, candidates, match = coarse_problem(4)
    copies = similarity.copy(), candidates.copy(), match.copy()
    for rule in RULES:
        final_scores(similarity, candidates, match, rule=rule, temperature=0.1)
    for array, copy in zip((similarity, candidates, match), copies, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_wrong_settings_and_scores_are_refused():
    similarity, candidates, match = coarse_problem(5)
    with pytest.raises(ValueError, match=r"eval\.rule must be one of albef, .*got 'sum'"):
        final_scores(similarity, candidates, match, rule="sum")
    for temperature in (None, 0.0):
        with pytest.raises(ValueError, match=r"eval\.temperature must be > 0"):
            final_scores(similarity, candidates, match, rule="nce", temperature=temperature)
    with pytest.raises(ValueError, match=r"\[Q, K\] with Q = 30"):
        final_scores(similarity, candidates, match[:, :2], rule="keep")
    with pytest.raises(ValueError, match="finite and below 16777216"):
        final_scores(similarity + np.float32(1e8), candidates, match, rule="keep")
    match[7, 2] = np.nan
    with pytest.raises(ValueError, match="query 7 are not finite"):
        final_scores(similarity, candidates, match, rule="albef")
