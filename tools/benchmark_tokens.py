"""Time and memory of ranking by several tokens an image, as FAFA does, at the size of ITCPR.

    python tools/benchmark_tokens.py
    python tools/benchmark_tokens.py --queries 1658 --images 3544       # TG-CPR

Features are random. Prints seconds, the largest resident memory of the process, what the matrix of
all cosines would take, and how far a subset is from a plain computation.
"""

import argparse
import resource
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


def main() -> int:
    """Runs the ranking and prints the figures; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--queries", type=int, default=2202, metavar="Q")
    parser.add_argument("--images", type=int, default=20510, metavar="G")
    parser.add_argument("--tokens", type=int, default=32, metavar="N", help="of an image; 32")
    parser.add_argument("--embedding", type=int, default=256, metavar="E")
    parser.add_argument("--top", type=int, default=6, help="tokens that count; 6")
    parser.add_argument("--token-dtype", choices=("float32", "bfloat16"), default="bfloat16")
    parser.add_argument("--image-chunk", type=int, default=512, help="images at a time; 512")
    parser.add_argument("--chunk", type=int, default=1024, help="queries at a time; 1024")
    options = parser.parse_args()
    for name in ("queries", "images", "tokens", "embedding", "image_chunk", "chunk"):
        if getattr(options, name) < 1:
            print(f"error: --{name.replace('_', '-')} must be >= 1", file=sys.stderr)
            return 2
    if not 1 <= options.top <= options.tokens:
        print(f"error: --top must be in 1..{options.tokens}, got {options.top}", file=sys.stderr)
        return 2

    import jax.numpy as jnp

    from jaxreid.evaluate import similarity_matrix, top_k
    from jaxreid.losses.fda import token_similarity
    from jaxreid.mesh import make_mesh
    from jaxreid.methods import Features
    from jaxreid.metrics import ranking_metrics

    before = peak()
    queries, images = make_features(options, jnp.dtype(options.token_dtype))
    person_id = np.arange(options.images)

    def similarity(queries: Features, images: Features):
        return token_similarity(queries.embedding, images.tokens, options.top)

    mesh, started = make_mesh(), time.monotonic()
    matrix = similarity_matrix(
        similarity, queries, images, mesh, chunk=options.chunk, image_chunk=options.image_chunk
    )
    ranked = time.monotonic()
    ranking_metrics(matrix, np.arange(options.queries) % options.images, person_id)
    top_k(matrix, min(100, options.images))
    ended = time.monotonic()
    naive = options.queries * options.images * options.tokens * 4
    far = difference(matrix, queries, images, options.top)
    print(f"{options.queries} queries, {options.images} images of {options.tokens} tokens")
    print(f"similarity {ranked - started:.1f} s, metrics and the first 100 {ended - ranked:.1f} s")
    print(f"peak memory {peak() / 2**30:.2f} GiB, {before / 2**30:.2f} GiB before the features")
    print(f"all cosines at once would take {naive / 2**30:.2f} GiB")
    print(f"largest difference from the plain computation of a part: {far:.2g}")
    return 0


def make_features(options, dtype):
    """Returns random unit features of queries and images, made in blocks."""
    from jaxreid.methods import Features

    rng = np.random.default_rng(0)

    def unit(*shape):
        x = rng.standard_normal(shape, np.float32)
        return x / np.linalg.norm(x, axis=-1, keepdims=True)

    tokens = np.empty((options.images, options.tokens, options.embedding), dtype)
    for start in range(0, options.images, 256):
        part = tokens[start : start + 256]
        part[:] = unit(*part.shape)
    return Features(unit(options.queries, options.embedding)), Features(tokens[:, 0], tokens)


def difference(matrix, queries, images, top: int) -> float:
    """Returns the largest difference of some rows and columns from sorting, in float64."""
    rows, columns = slice(None, None, 97), slice(None, None, 211)
    cosines = np.einsum(
        "qe,gne->qgn",
        queries.embedding[rows].astype(np.float64),
        np.asarray(images.tokens[columns], np.float64),
    )
    plain = np.sort(cosines, axis=2)[:, :, -top:].mean(axis=2)
    return float(np.abs(matrix[rows, columns] - plain).max())


def peak() -> int:
    """Returns the largest resident memory of the process so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    sys.exit(main())
