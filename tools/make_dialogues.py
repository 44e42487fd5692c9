"""Makes dialogues (questions, and what a witness answers) of images with attributes.

    python tools/make_dialogues.py cuhk_pedes --root DIR --attributes attributes.csv --out made
    python tools/make_dialogues.py synthpedes:default --data-dir ~/data --out made

Writes SPLIT_reid.json for each split into the folder --out, in the form of ChatPedes: with the
images in imgs/ beside them they are read as data set chatpedes, with allow_partial. A witness
remembers each attribute truly, wrongly, vaguely or not at all: at the rates of synthpedes for the
attributes that it has, at others for all others, or as --rates, --unknown, --vague and --wrong say.
A file of --rates is {attribute: {"unknown": .1, "vague": .05, "wrong": .05}}, one of --values
{attribute: [values]}: a table with any other value is refused. Forms of attribute tables:
jaxreid/data/triplet_maker/tables.py.

--words MODULE:FUNCTION gives dialogues other words, as a language model can: called with a file and
`dialogue_maker.maker.Turn`s, it returns a question and an answer for each.

Exit codes: 0, 2 (what a user can mend), 130 (Ctrl-C; no file of dialogues).
"""

import argparse
import json
import sys
import time
from collections.abc import Collection as Names
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from jaxreid.data.chats import to_chat  # noqa: E402
from jaxreid.data.dialogue_maker.maker import (  # noqa: E402
    Plan,
    Words,
    as_dialogue,
    askable,
    count_values,
    make,
    make_rates,
)
from jaxreid.data.dialogue_maker.matters import Matter, make_matter  # noqa: E402
from jaxreid.data.dialogue_maker.report import Report  # noqa: E402
from jaxreid.data.records import AnnotationError  # noqa: E402
from jaxreid.data.synthpedes.memory import Rates  # noqa: E402
from jaxreid.data.triplet_maker.plugs import load  # noqa: E402
from jaxreid.data.triplet_maker.records import Collection, Record  # noqa: E402
from jaxreid.data.triplet_maker.sets import (  # noqa: E402
    DESCRIBED,
    RENDERED,
    ImageFiles,
    read_published,
    read_rendered,
)
from jaxreid.data.triplet_maker.tables import (  # noqa: E402
    MARKET_1501,
    Table,
    read_mapping,
    read_table,
)
from jaxreid.files import write_atomic, write_json  # noqa: E402

_SPLITS = ("train", "val", "test")
_SECONDS = 5  # between lines of progress


def main(arguments: Sequence[str]) -> int:
    """Makes, writes and reports; returns the exit code."""
    options = parse(arguments)
    try:
        words = _words(options.words)
        table, collections = open_collections(options)
        plan = make_plan(table, collections, options)
        reports = make_all(collections, plan, options, words)
    except (ValueError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; no dialogues are written", file=sys.stderr)
        return 130
    for split, report in reports.items():
        print(f"\n{split}\n{report.as_text(plan)}")
    print(f"\n{sum(r.dialogues for r in reports.values()):,} dialogues in {options.out}")
    return 0


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Returns the options of a command line."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], epilog=__doc__.split("\n\n", 1)[1],
        formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    add = parser.add_argument
    add("set", help=f"{', '.join(DESCRIBED)}, or {RENDERED}:VARIANT")
    add("--root", type=Path, metavar="DIR", help="published folder or its parent")
    add("--attributes", type=Path, metavar="FILE", help="table of attributes, .json or .csv")
    add("--mapping", type=Path, metavar="FILE", help="cells of the table, .json, or market_1501")
    add("--values", type=Path, metavar="FILE", help="values that the table may have, .json")
    add("--data-dir", type=Path, metavar="DIR", help=f"prepared data, of {RENDERED}")
    add("--split", action="append", choices=_SPLITS, help="again for each; by default all")
    add("--out", type=Path, required=True, metavar="DIR", help="folder of the dialogues")
    add("--report", type=Path, metavar="FILE", help="the report as .json")
    add("--seed", type=int, default=0)
    add("--per-image", type=int, default=2, metavar="N", help="dialogues of an image (2)")
    add("--fewest-rounds", type=int, default=5, metavar="N", help="of a dialogue (5)")
    add("--most-rounds", type=int, default=10, metavar="N", help="of a dialogue (10)")
    for kind in Rates._fields:
        add(f"--{kind}", type=float, metavar="X", help=f"rate of {kind} answers, all attributes")
    add("--rates", type=Path, metavar="FILE", help="rates of single attributes, .json")
    add("--ignore", default="", metavar="A,B", help="columns of the table that are not read")
    add("--allow-missing", action="store_true", help="leave out images without attributes")
    add("--words", metavar="MODULE:FUNCTION", help="words dialogues: (file, turns) -> pairs")
    return parser.parse_args(arguments)


def open_collections(
    options: argparse.Namespace,
) -> tuple[Table | None, dict[str, Collection]]:
    """Returns the table, None of rendered people, and the splits that are asked for.

    Raises:
      ValueError: options do not fit the set, or a file of it is wrong.
      FileNotFoundError: a file is missing.
    """
    name, _, variant = options.set.partition(":")
    if name == RENDERED:
        if options.root or options.attributes or options.mapping or options.values:
            raise ValueError(
                f"{RENDERED} has attributes: no --root, --attributes, --mapping or --values"
            )
        if not options.data_dir:
            raise ValueError(f"{RENDERED} needs --data-dir")
        return None, {
            split: read_rendered(
                variant or "default", split, data_dir=options.data_dir, outfits=("",)
            )
            for split in options.split or _SPLITS
        }
    if name not in DESCRIBED or variant:
        raise ValueError(
            f"set must be one of {', '.join(DESCRIBED)}, {RENDERED}:VARIANT, got {options.set!r}"
        )
    if not options.root or not options.attributes:
        raise ValueError(f"{name} needs --root and --attributes")
    mapping = None
    if options.mapping:
        named = str(options.mapping) == MARKET_1501.stem
        mapping = read_mapping(MARKET_1501 if named else options.mapping)
    ignored = tuple(part.strip() for part in options.ignore.split(",") if part.strip())
    table = read_table(options.attributes, mapping=mapping, ignore=ignored)
    found = read_published(name, options.root, table, allow_missing=options.allow_missing)
    for split in options.split or ():
        if split not in found:
            raise ValueError(f"{name} has no images of --split {split}, only {', '.join(found)}")
    for collection in found.values():
        if isinstance(collection.images, ImageFiles):
            collection.images.check()
    return table, {split: found[split] for split in options.split or found}


def make_plan(
    table: Table | None, collections: Mapping[str, Collection], options: argparse.Namespace
) -> Plan:
    """Returns what is asked and how well it is remembered.

    Raises:
      ValueError: an option is out of range, or an attribute, a value or a rate is unknown.
      AnnotationError: the table names an attribute or a value that cannot be used.
    """
    rounds = (options.fewest_rounds, options.most_rounds)
    if not 1 <= rounds[0] <= rounds[1]:
        raise ValueError(
            f"--fewest-rounds and --most-rounds must be 1 <= fewest <= most, got {rounds[0]} and "
            f"{rounds[1]}"
        )
    for name in ("per_image", "seed"):
        least = int(name == "per_image")
        if getattr(options, name) < least:
            value = getattr(options, name)
            raise ValueError(f"--{name.replace('_', '-')} must be >= {least}, got {value}")
    if table is None:
        rows = [record.attributes for c in collections.values() for record in c.records]
    else:
        rows = list(table.rows.values())  # all of them: --split changes no dialogue
    values = count_values(rows)
    matters = _matters(table, values)
    if options.values:
        check_values(table, _json_object(options.values))
    stated = {
        name: _rates(options.rates, name, rates)
        for name, rates in (_json_object(options.rates) if options.rates else {}).items()
    }
    rates = make_rates(
        list(values), stated, unknown=options.unknown, vague=options.vague, wrong=options.wrong
    )
    for collection in collections.values():
        for record in collection.records:
            if not askable(record.visible, matters):
                where = options.set if table is None else table.path
                raise AnnotationError(
                    where, None, None, f"tells nothing of {record.file} that can be asked for"
                )
    return Plan(matters, values, rates, rounds, options.per_image)


def check_values(table: Table, allowed: Mapping[str, Any]) -> None:
    """Refuses a table with an attribute or a value that is not among the allowed ones.

    Args:
      table: from `read_table`.
      allowed: attribute -> list of values.
    """
    for name, attributes in table.rows.items():
        whose = f"person {name}" if table.by_person else name
        for attribute, value in attributes.items():
            if attribute not in allowed:
                problem = f"unknown attribute; known are {', '.join(allowed)}"
                raise AnnotationError(table.path, whose, attribute, problem)
            if value not in allowed[attribute]:
                known = ", ".join(map(str, allowed[attribute]))
                raise AnnotationError(
                    table.path, whose, attribute, f"unknown value {value!r}; known are {known}"
                )


def make_all(
    collections: Mapping[str, Collection],
    plan: Plan,
    options: argparse.Namespace,
    words: Words | None,
) -> dict[str, Report]:
    """Makes all dialogues, writes them when all are made; returns a report a split."""
    reports, files = {}, {}
    for split, collection in collections.items():
        report = reports[split] = Report()
        progress = _Progress(split, len(collection.records))
        rows = files[split] = []
        made = make(collection.records, plan, (options.seed, _SPLITS.index(split)), words)
        for record, dialogues in zip(collection.records, made, strict=True):
            report.add(record.file, dialogues)
            rows.append(_row(record, [to_chat(as_dialogue(turns)) for turns in dialogues]))
            progress(report)
    for split, rows in files.items():
        text = json.dumps(rows, ensure_ascii=False, indent=1)
        write_atomic(options.out / f"{split}_reid.json", f"{text}\n".encode())
    if options.report:
        chosen = {
            name: str(value) if isinstance(value, Path) else value
            for name, value in vars(options).items()
        }
        splits = {split: report.as_json(plan) for split, report in reports.items()}
        write_json(options.report, {"options": chosen, "splits": splits})
    return reports


def _row(record: Record, chats: list) -> dict[str, Any]:
    """A record of ChatPedes."""
    return {"id": record.person_id, "file_path": record.file, "chats": chats}


def _matters(table: Table | None, names: Names[str]) -> dict[str, Matter]:
    """What can be asked; an attribute without a role is named with its file."""
    matters = {}
    for name in names:
        try:
            matters[name] = make_matter(name, names)
        except ValueError as error:
            where = RENDERED if table is None else table.path
            raise AnnotationError(where, None, name, str(error)) from None
    return matters


def _json_object(path: Path) -> dict[str, Any]:
    """The object of a JSON file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise AnnotationError(path, None, None, f"cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise AnnotationError(path, None, None, f"is not valid JSON: {error}") from None
    if not isinstance(content, dict):
        raise AnnotationError(path, None, None, f"must be an object, got {content!r:.60}")
    return content


def _rates(path: Path, name: str, value: Any) -> Rates:
    """The rates of one attribute in a file."""
    if not isinstance(value, dict) or set(value) != set(Rates._fields):
        raise AnnotationError(
            path, None, name, f"must be an object of {', '.join(Rates._fields)}, got {value!r:.60}"
        )
    for rate in value.values():
        if not isinstance(rate, int | float) or isinstance(rate, bool):
            raise AnnotationError(path, None, name, f"rates must be numbers, got {value!r:.60}")
    return Rates(**value)


def _words(name: str | None) -> Words | None:
    """The callable of --words; modules beside the user are found."""
    if not name:
        return None
    sys.path.append(str(Path.cwd()))
    return load(name, "--words")


class _Progress:
    """Prints how far it is, every few seconds."""

    def __init__(self, split: str, images: int):
        self._split, self._images = split, images
        self._started = self._shown = time.monotonic()

    def __call__(self, report: Report) -> None:
        now = time.monotonic()
        if now - self._shown < _SECONDS:
            return
        self._shown = now
        rate = report.images / (now - self._started)
        print(
            f"{self._split}: {report.images:,} of {self._images:,} images, {rate:.0f} images/s, "
            f"{(self._images - report.images) / rate:.0f} s left",
            file=sys.stderr, flush=True,
        )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
