import json
import pathlib
import socket
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreid import embed as embed_module
from jaxreid.embed import available_memory, embed
from jaxreid.evaluate import Items, Settings, evaluate, reads_tokens, similarity_matrix, top_k
from jaxreid.mesh import make_mesh, put_replicated
from jaxreid.methods import Features, Method, cosine
from jaxreid.metrics import ranking_metrics

QUERIES, IMAGES, PEOPLE = 29, 21, 6


def encode_image(params, images):
    tokens = images.astype(jnp.float32) @ params["image"]  # [B, N, D]
    return Features(_unit(tokens.mean(1)), tokens)


def encode_query(params, batch):
    tokens = batch["words"] @ params["text"]  # [B, L, D]
    mask = batch["mask"]
    return Features(_unit((tokens * mask[:, :, None]).sum(1)), tokens, mask)


def match(params, queries, images):
    pooled = (queries.tokens * queries.mask[:, :, None]).sum(1)
    return jnp.einsum("pd,de,pne->pn", pooled, params["match"], images.tokens).max(1)


def _unit(x):
    return x / jnp.linalg.norm(x, axis=1, keepdims=True)


def _unused(*_):
    raise AssertionError("evaluation does not call this")


METHOD = Method(_unused, _unused, _unused, _unused, encode_image, encode_query, cosine, match)
COARSE = METHOD._replace(match=None)
SETTINGS = Settings(
    top_k=5,
    rule="nce",
    temperature=0.1,
    direction="text_to_image",
    missing="error",
    token_dtype="float32",
    chunk=16,
    pair_batch=16,
    query_chunk=10,
    image_chunk=8,
)


@pytest.fixture(scope="module")
def data():
    return make_data()


def make_data():
    rng = np.random.default_rng(0)
    gallery_ids = rng.permutation(np.resize(np.arange(PEOPLE), IMAGES)).astype(np.int32)
    query_ids = rng.integers(0, PEOPLE, QUERIES).astype(np.int32)
    query_ids[:PEOPLE] = np.arange(PEOPLE)
    mask = np.arange(4) < rng.integers(1, 5, (QUERIES, 1))
    return {
        "params": {
            "image": rng.standard_normal((6, 8)).astype(np.float32) / 100,
            "text": rng.standard_normal((5, 8)).astype(np.float32),
            "match": rng.standard_normal((8, 8)).astype(np.float32),
        },
        "images": rng.integers(0, 256, (IMAGES, 3, 6), dtype=np.uint8),
        "words": rng.standard_normal((QUERIES, 4, 5)).astype(np.float32),
        "mask": mask,
        "gallery_ids": gallery_ids,
        "query_ids": query_ids,
    }


def batches(arrays, size):
    """Batches of one shape; the last is filled with its row 0."""
    count = len(jax.tree.leaves(arrays)[0])
    for start in range(0, count, size):
        rows = np.arange(start, start + size)
        rows[rows >= count] = start
        yield jax.tree.map(lambda x: x[rows], arrays)  # noqa: B023, used before the next step


def run(data, method=METHOD, mesh=None, size=8, **changes):
    queries = batches({"words": data["words"], "mask": data["mask"]}, size)
    return evaluate(
        method,
        data["params"],
        Items(queries, data["query_ids"]),
        Items(batches(data["images"], size), data["gallery_ids"]),
        mesh or make_mesh(),
        SETTINGS._replace(**changes),
    )


@pytest.fixture(scope="module")
def host(data):
    """Features, similarity and match scores of all pairs in one piece on one device."""
    images = encode_image(data["params"], data["images"])
    queries = encode_query(data["params"], {"words": data["words"], "mask": data["mask"]})
    similarity = np.asarray(cosine(queries, images))
    pairs = np.stack(np.meshgrid(range(QUERIES), range(IMAGES), indexing="ij"), -1).reshape(-1, 2)
    scores = match(
        data["params"],
        jax.tree.map(lambda x: x[pairs[:, 0]], queries),
        jax.tree.map(lambda x: x[pairs[:, 1]], images),
    )
    queries, images = jax.tree.map(np.asarray, (queries, images))
    return queries, images, similarity, np.asarray(scores).reshape(QUERIES, IMAGES)


def test_embeddings_in_padded_batches_equal_one_batch(data, host):
    mesh = make_mesh()
    params = put_replicated(mesh, data["params"])
    got = embed(
        encode_query,
        params,
        batches({"words": data["words"], "mask": data["mask"]}, 8),
        QUERIES,
        mesh,
        token_dtype="float32",
        keep_tokens=True,
    )
    assert all(isinstance(x, np.ndarray) for x in got)
    np.testing.assert_allclose(got.embedding, host[0].embedding, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(got.tokens, host[0].tokens, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(got.mask, data["mask"])


def embed_images(data, batches, count=IMAGES, token_dtype="bfloat16", keep_tokens=True):
    mesh = make_mesh()
    params = put_replicated(mesh, data["params"])
    return embed(
        encode_image,
        params,
        batches,
        count,
        mesh,
        token_dtype=token_dtype,
        keep_tokens=keep_tokens,
    )


def test_tokens_are_kept_in_the_given_type_and_embeddings_in_float32(data, host):
    got = embed_images(data, batches(data["images"], 8))
    assert got.embedding.dtype == np.float32
    assert got.tokens.dtype == jnp.bfloat16
    np.testing.assert_allclose(got.tokens.astype(np.float32), host[1].tokens, rtol=1e-2, atol=1e-6)
    assert got.mask is None
    dropped = embed_images(data, batches(data["images"], 8), keep_tokens=False)
    assert dropped.tokens is None
    np.testing.assert_array_equal(dropped.embedding, got.embedding)


def test_wrong_numbers_of_rows_and_shapes_are_refused(data):
    with pytest.raises(ValueError, match="must hold 40 items, got 24 rows"):
        embed_images(data, batches(data["images"], 8), count=40)
    with pytest.raises(ValueError, match="must end with item 16"):
        embed_images(data, batches(data["images"], 8), count=16)
    with pytest.raises(ValueError, match="must hold 3 items, got 0 rows"):
        embed_images(data, [], count=3)
    with pytest.raises(ValueError, match="pad the last one"):
        embed_images(data, [data["images"][:8], data["images"][8:]])
    with pytest.raises(ValueError, match=r"eval.token_dtype .*bfloat16, float32, got 'float16'"):
        embed_images(data, batches(data["images"], 8), token_dtype="float16")


def test_features_larger_than_the_memory_are_refused_before_they_fill_it(data, monkeypatch):
    monkeypatch.setattr(embed_module, "available_memory", lambda: 2**30)
    with pytest.raises(ValueError, match=r"eval.token_dtype float32 take 8\.\d GiB.* 1\.0 GiB"):
        embed_images(data, batches(data["images"], 8), count=9 * 10**7, token_dtype="float32")


def test_available_memory_is_known_here():
    assert 2**20 < available_memory() < 2**50


@pytest.mark.parametrize("chunk", [8, 16, 1024])
@pytest.mark.parametrize("devices", [1, 8])
def test_chunks_over_devices_equal_the_full_matrix(host, chunk, devices):
    queries, images, similarity, _ = host
    got = similarity_matrix(
        cosine, queries, images, make_mesh(jax.devices()[:devices]), chunk=chunk, image_chunk=4
    )
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, similarity, rtol=1e-6, atol=1e-7)


def test_similarity_is_compiled_once(host):
    traces = []

    def counted(queries, images):
        traces.append(queries.embedding.shape)
        return cosine(queries, images)

    for _ in range(2):
        similarity_matrix(counted, host[0], host[1], make_mesh(), chunk=8, image_chunk=4)
    # The first of the two traces only asks which inputs are read.
    assert sorted(set(traces)) == [(8, 8), (QUERIES, 8)]
    assert traces.count((8, 8)) == 1


def test_similarity_runs_in_full_float32_on_every_device(host):
    precisions = []

    def plain(queries, images):
        precisions.append(jax.config.jax_default_matmul_precision)
        return queries.embedding @ images.embedding.T

    similarity_matrix(plain, host[0], host[1], make_mesh(), chunk=8, image_chunk=4)
    assert precisions[-1] == "highest"


def late_interaction(queries, images):
    return jnp.einsum("qld,gnd->qgln", queries.tokens, images.tokens).max(3).sum(2)


@pytest.mark.parametrize("image_chunk", [4, 7, 512])  # of 21
def test_tokens_reach_a_similarity_that_reads_them_some_images_at_a_time(host, image_chunk):
    queries, images, _, _ = host
    sizes = set()

    def counted(queries, images):
        sizes.add(len(images.tokens))
        return late_interaction(queries, images)

    assert not reads_tokens(cosine, queries, images)
    assert reads_tokens(late_interaction, queries, images)
    assert reads_tokens(jax.jit(late_interaction), queries, images)
    assert reads_tokens(lambda queries, images: images.tokens[:, 0, 0] + 0, queries, images)
    got = similarity_matrix(counted, queries, images, make_mesh(), chunk=8, image_chunk=image_chunk)
    assert sizes == {21, min(image_chunk, 21)}  # all of them only to ask which inputs are read
    np.testing.assert_allclose(got, late_interaction(queries, images), rtol=2e-5, atol=2e-5)


def test_wrong_chunks_and_shapes_are_refused(host):
    with pytest.raises(ValueError, match=r"eval\.chunk must be a positive multiple of the 8"):
        similarity_matrix(cosine, host[0], host[1], make_mesh(), chunk=12, image_chunk=4)
    with pytest.raises(ValueError, match=r"f32\[Q, G\] = \(8, 21\), got \(21, 8\)"):
        similarity_matrix(
            lambda q, g: cosine(q, g).T, host[0], host[1], make_mesh(), chunk=8, image_chunk=21
        )


@pytest.mark.parametrize("k", [1, 7, 90])
def test_top_k_equals_a_stable_sort_with_ties_and_both_zeros(k, monkeypatch):
    monkeypatch.setattr("jaxreid.evaluate._TOP_K_ROWS", 16)
    rng = np.random.default_rng(1)
    scores = rng.integers(-3, 4, (37, 90)).astype(np.float32)
    scores[rng.random(scores.shape) < 0.1] = -0.0
    got = top_k(scores, k)
    np.testing.assert_array_equal(got, np.argsort(-scores, axis=1, kind="stable")[:, :k])
    np.testing.assert_array_equal(top_k(scores.T, 5), top_k(np.ascontiguousarray(scores.T), 5))


def test_top_k_refuses_nan_and_numbers_out_of_range():
    scores = np.zeros((5, 4), np.float32)
    for k in (0, 5):
        with pytest.raises(ValueError, match=f"eval.top_k .*gallery's 4 images, got {k}"):
            top_k(scores, k)
    scores[3, 1] = np.nan
    with pytest.raises(ValueError, match="query 3 is NaN"):
        top_k(scores, 2)


def test_results_equal_the_same_steps_on_one_device_in_one_piece(data, host):
    _, _, similarity, pair_scores = host
    got = run(data, direction="both")
    ids = data["query_ids"], data["gallery_ids"]
    order = np.argsort(-similarity, axis=1, kind="stable")
    posterior = pair_scores + similarity / 0.1
    expected = -np.argsort(np.argsort(-similarity, axis=1, kind="stable"), axis=1).astype(float)
    top = order[:, :5]
    np.put_along_axis(expected, top, 1e3 + np.take_along_axis(posterior, top, axis=1), axis=1)
    results = got.results
    assert (results["queries"], results["gallery"]) == (QUERIES, IMAGES)
    assert results["coarse"] == pytest.approx(ranking_metrics(similarity, *ids))
    assert results["final"] == pytest.approx(ranking_metrics(expected, *ids))
    assert results["final"] != results["coarse"]
    np.testing.assert_array_equal(got.coarse.index, order)
    np.testing.assert_array_equal(got.final.index, np.argsort(-expected, axis=1))
    np.testing.assert_allclose(
        got.coarse.score, np.take_along_axis(similarity, order, axis=1), rtol=1e-5, atol=1e-6
    )
    # Images ask for captions: the same scores with rows and columns exchanged.
    other = results["image_to_text"]
    order = np.argsort(-similarity.T, axis=1, kind="stable")
    expected = -np.argsort(order, axis=1).astype(float)
    top = order[:, :5]
    np.put_along_axis(expected, top, 1e3 + np.take_along_axis(posterior.T, top, axis=1), axis=1)
    assert other["coarse"] == pytest.approx(ranking_metrics(similarity.T, *ids[::-1]))
    assert other["final"] == pytest.approx(ranking_metrics(expected, *ids[::-1]))
    assert set(results["seconds"]) == {
        "encode_gallery",
        "encode_queries",
        "similarity",
        "rerank",
        "metrics",
    }


@pytest.mark.parametrize("rule", ["albef", "blip", "cada", "keep", "nce"])
def test_eight_devices_give_the_ranking_of_one(data, rule):
    one = run(data, mesh=make_mesh(jax.devices()[:1]), size=5, rule=rule, chunk=7, pair_batch=9)
    eight = run(data, rule=rule)
    for a, b in ((one.coarse, eight.coarse), (one.final, eight.final)):
        np.testing.assert_array_equal(a.index, b.index)
        np.testing.assert_allclose(a.score, b.score, rtol=1e-5, atol=1e-4)  # of about 100
    assert one.results["final"] == eight.results["final"]


@pytest.mark.parametrize(("method", "k"), [(COARSE, 5), (METHOD, 0)])
def test_final_equals_coarse_where_nothing_re_ranks(data, method, k):
    got = run(data, method, top_k=k, temperature=None)
    assert got.results["final"] == got.results["coarse"]
    assert got.results["final"] is not got.results["coarse"]
    np.testing.assert_array_equal(got.final.index, got.coarse.index)
    assert "rerank" not in got.results["seconds"]


def test_the_whole_gallery_can_be_re_ranked(data, host):
    got = run(data, top_k=IMAGES, rule="keep")
    order = np.argsort(-host[3], axis=1, kind="stable")
    np.testing.assert_array_equal(got.final.index, order)


def test_a_second_evaluation_compiles_nothing(data):
    traces = []

    def counted(name, function):
        def call(*args):
            traces.append(name)
            return function(*args)

        return call

    method = METHOD._replace(
        encode_image=counted("image", encode_image),
        encode_query=counted("query", encode_query),
        match=counted("match", match),
    )
    run(data, method)
    assert traces.count("match") == 1
    first = len(traces)
    run(data, method)
    assert traces[first:] == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"top_k": 22}, "eval.top_k must be from 0 to the gallery's 21 images, got 22"),
        ({"top_k": -1}, "eval.top_k"),
        ({"rule": "sum"}, "eval.rule must be one of albef, blip, cada, keep, nce, got 'sum'"),
        ({"temperature": None}, "eval.temperature must be > 0 for eval.rule nce, got None"),
        ({"direction": "i2t"}, "eval.direction must be one of text_to_image, both, got 'i2t'"),
        ({"chunk": 12}, "eval.chunk must be a positive multiple of the 8 devices, got 12"),
        ({"pair_batch": 4}, "eval.pair_batch must be a positive multiple of the 8 devices, got 4"),
        ({"token_dtype": "int8"}, "eval.token_dtype"),
        ({"query_chunk": 0}, "eval.query_chunk"),
        ({"image_chunk": 0}, "eval.image_chunk"),
    ],
)
def test_wrong_settings_are_refused_by_name(data, changes, message):
    with pytest.raises(ValueError, match=message):
        run(data, **changes)


def test_empty_batches_are_refused(data):
    empty = Items([], data["query_ids"])
    gallery = Items(batches(data["images"], 8), data["gallery_ids"])
    with pytest.raises(ValueError, match="queries has no batch"):
        evaluate(METHOD, data["params"], empty, gallery, make_mesh(), SETTINGS)


# One of two processes with two devices each: encodes its half of every batch.
PROCESS = """
import json, sys
sys.path[:0] = {path!r}
import jax
jax.config.update("jax_num_cpu_devices", 2)
jax.distributed.initialize("localhost:{port}", 2, {process})
import numpy as np
import test_evaluate as test
from jaxreid.evaluate import Items, evaluate
from jaxreid.mesh import make_mesh

def share(batches):
    for batch in batches:
        yield jax.tree.map(lambda x: np.split(x, 2)[{process}], batch)

data = test.make_data()
queries = test.batches({{"words": data["words"], "mask": data["mask"]}}, 8)
got = evaluate(
    test.METHOD,
    data["params"],
    Items(share(queries), data["query_ids"]),
    Items(share(test.batches(data["images"], 8)), data["gallery_ids"]),
    make_mesh(),
    test.SETTINGS._replace(direction="both"),
)
got.results.pop("seconds")
print(json.dumps([got.results, got.final.index.tolist()]))
"""


def test_two_processes_return_what_one_returns(data):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    here = pathlib.Path(__file__).parent
    processes = [
        subprocess.Popen(
            [
                sys.executable,
                "-c",
                PROCESS.format(path=[str(here), str(here.parent)], port=port, process=process),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for process in range(2)
    ]
    try:
        outputs = [process.communicate(timeout=120) for process in processes]
    finally:
        for process in processes:
            process.kill()
    alone = run(data, direction="both")
    alone.results.pop("seconds")
    for process, (out, error) in zip(processes, outputs, strict=True):
        assert process.returncode == 0, error
        results, index = json.loads(out.strip().splitlines()[-1])
        assert results == alone.results
        assert index == alone.final.index.tolist()
