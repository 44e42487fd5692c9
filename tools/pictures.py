"""Draws what a trained run looks at: words, phrases and masked attributes on images.

    python tools/pictures.py runs/laip --out pictures
    python tools/pictures.py runs/cada --out pictures --captions 6 --layer 1 --seed 3

  words.png    how much each word attends to each patch of the image (CADA, Fig. 5); the run must
               have a cross-attention
  phrases.png  forward, backward and bidirectional weights of the patches for each noun phrase
               (LAIP, Figs. 2 and 7); of LAIP
  masked.png   attributes hidden one at a time, with the three likeliest words of each hidden place
               (CADA, Fig. 6); of runs that have learnt to predict words

Captions are of the test split, of different people, drawn by --seed; where the run has ranked
them, only those whose image came first, or others by --pick. A map is scaled to its own largest
weight, whose share is written over it.
"""

import argparse
import io
import re
import sys
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

PICKS = ("right", "wrong", "any")
_TOP = 3  # words shown for a hidden place
_WIDTH, _IMAGE, _LINE = 11.0, 0.62, 0.1  # inches: of a picture, of an image in it, of text


class Shown(NamedTuple):
    """One caption and its image."""

    caption: str  # as the network reads it, cleaned
    image: np.ndarray  # u8[h, w, 3], as the network sees it
    row: int  # of the caption among those of the split


class Panel(NamedTuple):
    """One cell of a picture."""

    title: str
    image: np.ndarray  # u8[h, w, 3]
    weights: np.ndarray | None = None  # f32[rows, columns] of patches; None: the image alone


def weighted(title: str, image: np.ndarray, weights: np.ndarray) -> Panel:
    """A panel of weights whose title tells the share of the largest one."""
    return Panel(f"{title}\n{100 * weights.max():.0f} %", image, weights)


def main(arguments: list[str]) -> int:
    """Writes the pictures that the run's method has; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], epilog=__doc__.split("\n\n", 2)[2],
        formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    parser.add_argument("run", type=Path, help="folder of a run")
    parser.add_argument("--out", required=True, type=Path, help="folder of the pictures")
    parser.add_argument("--captions", type=int, default=5, help="how many; 5")
    parser.add_argument("--layer", type=int, help="of the cross-attentions, from 0; mean of all")
    parser.add_argument(
        "--pick", choices=PICKS, default=PICKS[0], help="by the run's ranking; right"
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    try:
        if options.captions < 1:
            raise ValueError(f"--captions must be >= 1, got {options.captions}")
        if options.seed < 0:
            raise ValueError(f"--seed must be >= 0, got {options.seed}")
        for path in draw(options):
            print(path)
    except (ValueError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


def draw(options: argparse.Namespace) -> list[Path]:
    """Writes the pictures into the folder --out, returns their paths."""
    import jax

    from jaxreid.losses.local_alignment import DIRECTIONS
    from jaxreid.run import restore
    from jaxreid.saved import run_config

    folder = str(options.run)
    parts, params, step = restore(run_config(folder), folder)
    explain = parts.method.explain
    if explain is None:
        raise ValueError(f"{folder} is a run of {parts.config.method}, whose text reads no image")
    rng = np.random.default_rng(options.seed)
    shown = choose(parts, options.run, options.pick, options.captions, rng)
    batch = make_batch(parts, shown)
    maps = np.asarray(jax.jit(explain.word_maps)(params, batch["image"], batch))
    if options.layer is not None:
        if not 0 <= options.layer < len(maps):
            raise ValueError(f"--layer must be in 0..{len(maps) - 1}, got {options.layer}")
        maps = maps[options.layer : options.layer + 1]
    grid = grid_of(parts.config)
    options.out.mkdir(parents=True, exist_ok=True)
    title = f"{folder}, step {step}"
    pictures = {"words": (word_panels(parts, shown, maps.mean(axis=0), grid), "words to patches")}
    if explain.phrase_maps is not None:
        found = jax.jit(explain.phrase_maps)(params, batch["image"], batch, jax.random.key(0))
        found = {name: found[name] for name in DIRECTIONS if name in found}
        pictures["phrases"] = phrase_panels(parts, shown, batch, found, grid), "phrases to patches"
    if explain.fill_words is not None:
        fill = partial(jax.jit(explain.fill_words), params)
        pictures["masked"] = masked_panels(parts, shown, batch, fill), "hidden attributes"
    paths = []
    for name, (rows, kind) in pictures.items():
        paths.append(options.out / f"{name}.png")
        save(paths[-1], f"{title}: {kind}", rows, [one.caption for one in shown])
    return paths


def choose(
    parts: Any, folder: Path, pick: str, count: int, rng: np.random.Generator
) -> list[Shown]:
    """Returns captions of different people with their images.

    Args:
      parts: of the run.
      folder: of the run; its rankings.npz says which captions found their image.
      pick: "right" | "wrong" | "any".
      count: at most so many.
      rng: draws them.

    Raises:
      ValueError: there is no such caption.
    """
    from jaxreid.data.records import caption_pairs
    from jaxreid.data.text import clean

    split, text = parts.split("test"), parts.config.text
    pairs = caption_pairs(split)
    rows, rankings = rng.permutation(len(pairs)), folder / "rankings.npz"
    if pick != "any" and rankings.is_file():
        with np.load(rankings) as file:
            first = file["gallery_person_id"][file["final"][:, 0]]
            right = first == file["query_person_id"]
        rows = rows[right[rows] == (pick == "right")]
    _, earliest = np.unique(split.person_id[pairs[rows, 0]], return_index=True)
    rows = rows[np.sort(earliest)[:count]]
    if not len(rows):
        raise ValueError(f"no caption of the test split is ranked {pick}")
    out = []
    for row in rows:
        image, number = pairs[row]
        example = parts.method.transform({"image": split.images[image]}, None)
        caption = clean(split.captions[image][number], text.clean, text.max_words)
        out.append(Shown(caption, example["image"], int(row)))
    return out


def make_batch(parts: Any, shown: list[Shown]) -> dict[str, np.ndarray]:
    """Images and the arrays of `Method.tokenize`, a row a caption."""
    records = parts.queries("test").records
    texts = [records[one.row]["text"] for one in shown]
    rows = {key: np.stack([text[key] for text in texts]) for key in texts[0]}
    return {"image": np.stack([one.image for one in shown])} | rows


def grid_of(config: Any) -> tuple[int, int]:
    """Rows and columns of patches."""
    return tuple(size // config.model.vit.patch for size in config.image.size)


def word_panels(parts: Any, shown: list[Shown], maps: np.ndarray, grid) -> list[list[Panel]]:
    """A panel for each word: the mean of the maps of its tokens, f32[B, L, N - 1]."""
    rows = []
    for one, spans, weights in zip(shown, spans_of(parts, shown), maps, strict=True):
        panels = [Panel("image", one.image)]
        for start, end in words_of(one.caption):
            inside = (spans[:, 0] >= start) & (spans[:, 1] <= end) & (spans[:, 1] > 0)
            if inside.any():
                mean = weights[inside].mean(axis=0).reshape(grid)
                panels.append(weighted(one.caption[start:end], one.image, mean))
        rows.append(panels)
    return rows


def phrase_panels(parts: Any, shown, batch, found, grid) -> list[list[Panel]]:
    """Three panels for each phrase: forward, backward and bidirectional weights."""
    rows = []
    for i, one in enumerate(shown):
        panels = [Panel("image", one.image)]
        for j, tokens in enumerate(batch["phrase_tokens"][i]):
            if not (batch["phrase_words"][i, j] >= 0).any():
                continue
            text = decode(parts, tokens)
            for direction, weights in found.items():
                mean = np.asarray(weights[i, j]).reshape(grid)
                panels.append(weighted(f"{text}\n{direction}", one.image, mean))
        rows.append(panels)
    return rows


def masked_panels(parts: Any, shown, batch, fill) -> list[list[Panel]]:
    """A panel for each thing hidden, with what the network puts there.

    That is what the method trains on: an attribute of the caption, or a word of a phrase.
    """
    tokenizer = tokenizer_of(parts)
    rows = []
    for one, image, texts in zip(
        shown, batch["image"], hidden_in(parts, shown, batch), strict=True
    ):
        panels = [Panel("image", one.image)]
        for tokens, hidden in texts:
            asked = np.where(hidden, tokenizer.mask_id, tokens)
            logits = np.asarray(fill(image[None], asked[None]))[0, hidden]
            share = np.exp(logits - logits.max(axis=-1, keepdims=True))
            share /= share.sum(axis=-1, keepdims=True)
            lines = [f"[{decode(parts, tokens[hidden])}]"]
            if len(tokens) < len(batch["tokens"][0]):
                lines[0] += f" in {decode(parts, tokens)}"
            for place in share:
                best = np.argsort(-place)[:_TOP]
                lines.append(", ".join(f"{decode(parts, [w])} {100 * place[w]:.0f}" for w in best))
            panels.append(Panel("\n".join(lines), one.image))
        rows.append(panels)
    return rows


def hidden_in(parts: Any, shown, batch) -> list[list[tuple[np.ndarray, np.ndarray]]]:
    """For each caption the texts to be filled, i32[L], and what is hidden in them, bool[L]."""
    if "phrase_tokens" in batch:
        return [
            [
                (tokens, words == number)
                for tokens, words in zip(phrases, numbers, strict=True)
                for number in range(words.max() + 1)
            ]
            for phrases, numbers in zip(batch["phrase_tokens"], batch["phrase_words"], strict=True)
        ]
    return [
        [(tokens, numbers == number) for number in range(numbers.max() + 1)]
        for tokens, numbers in zip(batch["tokens"], attributes_of(parts, shown), strict=True)
    ]


def attributes_of(parts: Any, shown: list[Shown]) -> np.ndarray:
    """i32[B, L], number of the attribute phrase that a token belongs to, -1 for none."""
    from jaxreid.data.attributes import attribute_phrases
    from jaxreid.data.phrases import make_tagger

    text = parts.config.text
    captions = [one.caption for one in shown]
    return attribute_phrases(
        tokenizer_of(parts), make_tagger(text.tagger), captions, text.max_tokens
    )


def spans_of(parts: Any, shown: list[Shown]) -> np.ndarray:
    """i32[B, L, 2] characters of each token."""
    from jaxreid.data.text import token_offsets

    captions = [one.caption for one in shown]
    return token_offsets(tokenizer_of(parts), captions, parts.config.text.max_tokens)


def words_of(caption: str) -> list[tuple[int, int]]:
    """Spans of what white space separates; punctuation is no word."""
    return [m.span() for m in re.finditer(r"[^\s,.;:!?]+", caption)]


def tokenizer_of(parts: Any):
    """The tokenizer of a run."""
    from jaxreid.data.text import load_tokenizer

    return load_tokenizer(parts.config.text.tokenizer)


def decode(parts: Any, tokens) -> str:
    """Tokens as text, without special ones."""
    tokenizer = tokenizer_of(parts)
    special = {tokenizer.pad_id, tokenizer.cls_id, tokenizer.sep_id}
    kept = [int(token) for token in tokens if int(token) not in special]
    pieces = [tokenizer.backend.id_to_token(token) or f"#{token}" for token in kept]
    return " ".join(pieces).replace(" ##", "")


def save(path: Path, title: str, rows: list[list[Panel]], captions: list[str]) -> None:
    """Writes a picture: for each caption its panels, wrapped to lines."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    from jaxreid.files import write_atomic

    panels = [panel for row in rows for panel in row]
    longest = max(len(line) for panel in panels for line in panel.title.split("\n"))
    above = _LINE * max(panel.title.count("\n") + 1 for panel in panels)
    height, width = panels[0].image.shape[:2]
    cell = max(_IMAGE + 0.08, 0.046 * longest)  # inches
    columns = max(2, int(_WIDTH / cell))
    tall = _IMAGE * height / width
    line = tall + above + 0.08
    lines = [-(-len(row) // columns) for row in rows]
    total = 0.4 + sum(0.2 + count * line for count in lines)
    figure = pyplot.figure(figsize=(_WIDTH, total))
    figure.text(0.01, 1 - 0.2 / total, title, fontsize=9, va="center")
    top = total - 0.4
    for row, caption, count in zip(rows, captions, lines, strict=True):
        figure.text(0.01, (top - 0.1) / total, caption, fontsize=7, style="italic", va="center")
        top -= 0.2
        for i, panel in enumerate(row):
            left = 0.08 + cell * (i % columns)
            bottom = top - line * (i // columns) - above - tall
            box = (left / _WIDTH, bottom / total, _IMAGE / _WIDTH, tall / total)
            draw_panel(figure.add_axes(box), panel)
        top -= count * line
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=130, format="png")
    pyplot.close(figure)
    write_atomic(path, buffer.getvalue())


def draw_panel(place, panel: Panel) -> None:
    """Draws an image, its weights over it."""
    height, width = panel.image.shape[:2]
    place.axis("off")
    place.set_title(panel.title, fontsize=5.5, pad=2, loc="left")
    place.imshow(panel.image, extent=(0, width, height, 0))
    if panel.weights is not None:
        scaled = panel.weights / max(panel.weights.max(), 1e-12)
        place.imshow(
            scaled, cmap="jet", alpha=0.5, vmin=0, vmax=1, extent=(0, width, height, 0),
            interpolation="bilinear",
        )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
