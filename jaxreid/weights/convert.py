"""Published state_dict to our flat parameters and back; nothing is lost, guessed or repaired.

Every key of the file is used, listed as unused by its table, or an error; every parameter of ours
is filled, listed as fresh, or an error; shapes are compared in the published layout, before any
array is made. All errors are one sentence that names the key, what was got and what is needed.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import ml_dtypes  # noqa: F401  (lets numpy cast bfloat16)
import numpy as np

from jaxreid.weights.names import Kind, Link, skeleton, table
from jaxreid.weights.positions import resize_positions
from jaxreid.weights.recognise import named_kind
from jaxreid.weights.report import Report, Resized, listed

State = Mapping[str, np.ndarray]


class Target(NamedTuple):
    """What a config makes: the parameters of a network, and of its memory as "memory/..."."""

    shapes: Mapping[str, tuple[int, ...]]
    grid: tuple[int, int] | None = None  # of image patches, height and width


class _Filled(NamedTuple):
    """What the links of a table gave."""

    arrays: dict[str, np.ndarray]
    equal: list[str]
    resized: list[Resized]
    rows: list[tuple[str, int, int]]


def to_ours(
    state: State,
    kind: Kind,
    target: Target,
    *,
    source: str,
    wanted: Collection[str] | None = None,
    fresh: Sequence[str] = (),
    unused: Sequence[str] = (),
    dtype: np.dtype | type = np.float32,
) -> tuple[dict[str, np.ndarray], Report]:
    """Returns our parameters, by name, from a published state_dict.

    Args:
      state: published keys to arrays of any float format, without wrappers.
      kind: of the file.
      target: of the config. A parameter with rows for tokens that the file lacks comes back with
        the rows of the file; the rest is to stay as it was.
      source: name of the file, for messages.
      wanted: names of target.shapes to fill; None = all. Others are neither filled nor checked,
        their keys count as unused.
      fresh: patterns of our names that a file may lack besides those of the kind.
      unused: patterns of published keys to leave out besides those of the kind; each must match.
      dtype: of what is floating.

    Raises:
      ValueError: as the head of this file says; another kind of checkpoint is named.
    """
    wanted = set(target.shapes if wanted is None else wanted)
    links, spare, patterns = table(kind, target.shapes)
    known = {key for link in links for key in link.published}
    whole_state, state = state, _without(state, unused)
    spare_keys = {
        key
        for key in state
        if key not in known and (skeleton(key) in spare or any(p.fullmatch(key) for p in patterns))
    }
    unknown = [key for key in state if key not in known and key not in spare_keys]
    if unknown:
        hint = named_kind(state, kind)
        raise ValueError(
            f"{source}: {hint or _what(kind)} has no parameter of the config for "
            f"{listed(unknown)}{'' if hint else _deeper(unknown, known)}"
        )
    there = [link for link in links if all(key in state for key in link.published)]
    whole = {key for link in there for key in link.published}
    for link in links:
        lacks = [key for key in link.published if key not in state]
        alone = [key for key in link.published if key in state and key not in whole]
        if lacks and alone and wanted & set(link.ours):
            raise ValueError(f"{source}: has {alone[0]} without {lacks[0]}")
    from_file = {name for link in there if not link.layout.derived for name in link.ours}
    random = _fresh(kind, wanted, from_file)
    random |= {name for name in wanted - from_file if _matches(fresh, name)}
    if kind.part:
        random |= wanted - {name for link in links for name in link.ours}
    zeros = {name for name in wanted - from_file if _matches(kind.zeros, name)}
    random -= zeros
    missing = sorted(wanted - from_file - random - zeros)
    if missing:
        keys = [k for n in missing for link in links if n in link.ours for k in link.published]
        keys = [key for key in dict.fromkeys(keys) if key not in state]
        raise ValueError(
            f"{source}: {named_kind(state, kind) or _what(kind)} lacks {listed(keys or ['a key'])},"
            f" from which {listed(missing)} should start"
        )
    filled = _fill(state, kind, there, target, wanted, source, np.dtype(dtype))
    arrays = filled.arrays
    arrays |= {name: np.zeros(target.shapes[name], dtype) for name in sorted(zeros)}
    used = [k for link in there if link.ours[0] in wanted for k in link.published]
    used = sorted(set(used) - set(filled.equal))
    report = Report(
        source,
        kind.name,
        kind.title,
        filled=tuple(arrays),
        fresh=tuple(sorted(random)),
        used=tuple(used),
        equal=tuple(filled.equal),
        unused=tuple(sorted(set(whole_state) - set(used) - set(filled.equal))),
        resized=tuple(filled.resized),
        rows=tuple(filled.rows),
    )
    return arrays, report


def to_published(
    arrays: Mapping[str, np.ndarray], kind: Kind, *, source: str = "the parameters"
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Returns (published keys to arrays, names of ours that such a file has no place for).

    The exact inverse of `to_ours`: arrays keep their numbers and their dtype. Arrays may be views.

    Raises:
      ValueError: a parameter for which the kind has no key and does not say so.
    """
    links, _, _ = table(kind, arrays, write=True)
    published, covered = {}, set()
    for link in links:
        values = link.layout.published([np.asarray(arrays[name]) for name in link.ours])
        published |= dict(zip(link.published, values, strict=True))
        covered |= set(link.ours)
    left = sorted(set(arrays) - covered)
    for name in left:
        if _matches(kind.zeros, name):
            if np.any(arrays[name]):
                raise ValueError(f"{source}: {name} is 0 in {kind.title}, here it is not")
        elif not (kind.part and published) and not _matches(kind.fresh, name):
            raise ValueError(f"{source}: {_what(kind)} has no key for {name}")
    return published, tuple(name for name in left if not _matches(kind.zeros, name))


def published_shapes(
    shapes: Mapping[str, tuple[int, ...]], kind: Kind
) -> dict[str, tuple[int, ...]]:
    """Returns the keys and shapes that `to_published` would give, without memory for them."""
    published, _ = to_published({name: _blank(shape) for name, shape in shapes.items()}, kind)
    return {key: array.shape for key, array in published.items()}


def _fill(
    state: State,
    kind: Kind,
    links: Sequence[Link],
    target: Target,
    wanted: set[str],
    source: str,
    dtype: np.dtype,
) -> _Filled:
    """Converts what is there; of links to one parameter the first counts, the rest must agree."""
    filled = _Filled({}, [], [], [])
    plans = [
        (link, _fitted(state, kind, link, target, source))
        for link in links
        if link.ours[0] in wanted
    ]
    for link, shapes in plans:
        values = [np.asarray(state[key]) for key in link.published]
        if link.layout.derived:
            blanks = [_blank(target.shapes[name]) for name in link.ours]
            expected = link.layout.published(blanks)
            _agree(values, expected, link, "is not what its shape says: 0, 1, 2, ..", source)
            filled.equal.extend(link.published)
            continue
        try:
            ours = link.layout.ours(values, shapes)
        except ValueError as error:
            raise ValueError(f"{source}: {link.published[-1]} {error}") from None
        ours = [_number(x, dtype, link, source) for x in ours]
        if link.ours[0] in filled.arrays:
            before = [filled.arrays[name] for name in link.ours]
            ours = [_rows(x, target.shapes[n])[0] for n, x in zip(link.ours, ours, strict=True)]
            _agree(ours, before, link, f"is not the same as what fills {link.ours[0]}", source)
            filled.equal.extend(link.published)
            continue
        for name, value in zip(link.ours, ours, strict=True):
            filled.arrays[name] = _placed(name, value, kind, target, filled, source)
    return filled


def _placed(
    name: str, value: np.ndarray, kind: Kind, target: Target, filled: _Filled, source: str
) -> np.ndarray:
    """A value with the rows, or the positions, of our parameter; notes what was changed."""
    shape = target.shapes[name]
    if value.shape == shape and name not in dict(kind.positions):
        return value
    if name in dict(kind.positions):
        old, new = _grids(value, shape, target, name, source)
        if old == new:
            return value
        method = dict(kind.positions)[name]
        filled.resized.append(Resized(name, old, new, method))
        rows = value.reshape(1, *value.shape[-2:])  # [N, D] of CLIP as [1, N, D]
        return resize_positions(rows, old, new, method).reshape(shape)
    value, before = _rows(value, shape)
    filled.rows.append((name, before, shape[0]))
    return value


def _rows(value: np.ndarray, shape: tuple[int, ...]) -> tuple[np.ndarray, int]:
    """The rows that fit, and how many there were."""
    return (value[: shape[0]], len(value)) if value.ndim else (value, 0)


def _grids(
    value: np.ndarray, shape: tuple[int, ...], target: Target, name: str, source: str
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Grids of a table of positions in the file, square unless it is ours, and of ours."""
    count, ours = value.shape[-2] - 1, shape[-2] - 1
    grid = target.grid
    if grid is None or grid[0] * grid[1] != ours:
        raise ValueError(f"{source}: {name} has {ours} places, the grid of patches is {grid}")
    side = round(count**0.5)
    if side * side == count:
        return (side, side), grid
    if count == ours:
        return grid, grid
    raise ValueError(
        f"{source}: {name} has {count} places in the file, which is no square grid and not the "
        f"config's {grid[0]} x {grid[1]} patches"
    )


def _fitted(
    state: State, kind: Kind, link: Link, target: Target, source: str
) -> list[tuple[int, ...]]:
    """Shapes of ours that the arrays of a link fill; refuses other shapes and kinds of numbers."""
    shapes = [target.shapes[name] for name in link.ours]
    name = link.ours[0]
    for key, expected in zip(
        link.published, link.layout.published([_blank(s) for s in shapes]), strict=True
    ):
        got = state[key]
        whole = got.dtype.kind in "iu"
        if got.dtype.kind in "bcOSU" or whole != (expected.dtype.kind in "iu"):
            need = "whole" if expected.dtype.kind in "iu" else "floating"
            raise ValueError(f"{source}: {key} holds {got.dtype}, it must be of {need} numbers")
        if got.shape == expected.shape:
            continue
        same_width = got.ndim == expected.ndim > 0 and got.shape[1:] == expected.shape[1:]
        if name in dict(kind.positions) and _same_but_places(got.shape, expected.shape):
            continue
        if _matches(kind.rows, name) and same_width:
            if abs(len(got) - len(expected)) <= kind.added:
                shapes = [(len(got), *shapes[0][1:])]
                continue
            raise ValueError(
                f"{source}: {key} has {len(got)} rows, the vocabulary of the config "
                f"{len(expected)}; config.text.tokenizer must be that of the file"
            )
        raise ValueError(
            f"{source}: {key} is {list(got.shape)}, the config needs {list(expected.shape)} for "
            f"{name}"
        )
    return shapes


def _same_but_places(got: tuple[int, ...], expected: tuple[int, ...]) -> bool:
    """Whether two shapes of tables of positions, [1, N, D] or [N, D], differ in N at most."""
    return len(got) == len(expected) > 1 and (*got[:-2], got[-1]) == (*expected[:-2], expected[-1])


def _number(value: np.ndarray, dtype: np.dtype, link: Link, source: str) -> np.ndarray:
    """A value in the dtype of ours; refuses what is not finite there."""
    if value.dtype.kind in "iu":
        return value
    with np.errstate(over="ignore"):
        value = value.astype(dtype, copy=False)
    if not np.isfinite(value).all():
        raise ValueError(
            f"{source}: {link.published[0]} has values that are no finite {dtype}: it overflowed "
            "when it was saved, or training diverged"
        )
    return value


def _agree(
    values: Sequence[np.ndarray],
    expected: Sequence[np.ndarray],
    link: Link,
    problem: str,
    source: str,
) -> None:
    """Refuses a key that should repeat what is known and does not."""
    for value, other in zip(values, expected, strict=True):
        if not np.array_equal(value, other):
            raise ValueError(f"{source}: {link.published[0]} {problem}")


def _without(state: State, unused: Sequence[str]) -> dict[str, np.ndarray]:
    """A state_dict without the keys that a config leaves out."""
    for text in unused:
        if not any(re.fullmatch(text, key) for key in state):
            raise ValueError(f"config.start_rules.unused: pattern {text!r} matches no key")
    return {key: array for key, array in state.items() if not _matches(unused, key)}


def _fresh(kind: Kind, wanted: set[str], from_file: set[str]) -> set[str]:
    """Names that may stay random: all that a pattern of the kind names, or none of them."""
    fresh = set()
    for text in kind.fresh:
        named = {name for name in wanted if re.fullmatch(text, name)}
        if not named & from_file:
            fresh |= named
    return fresh


def _matches(patterns: Sequence[str], name: str) -> bool:
    """Whether a pattern matches a whole name."""
    return any(re.fullmatch(text, name) for text in patterns)


def _what(kind: Kind) -> str:
    """How a kind is called in messages."""
    return f"{kind.title} (kind {kind.name})"


def _deeper(unknown: Sequence[str], known: set[str]) -> str:
    """A hint where keys differ from known ones in their numbers alone."""
    skeletons = {skeleton(key) for key in known}
    if all(skeleton(key) in skeletons for key in unknown):
        return ": the file has more layers than the section model of the config"
    return ""


def _blank(shape: tuple[int, ...]) -> np.ndarray:
    """An array of a shape that takes no memory."""
    return np.broadcast_to(np.float32(0), shape)
