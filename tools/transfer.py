"""Evaluates runs on test splits of other data sets (domain generalisation): a table of all pairs.

    python tools/transfer.py runs/laip-cuhk_pedes runs/albef-icfg_pedes --manual-dir /data
    python tools/transfer.py runs/laip --data synthpedes:tiny --data rstpreid:/data/RSTPReid

No parameter is tuned: network, vocabulary and rule of re-ranking are those of the run. Without
--data these are all data sets that are there: published ones under --manual-dir or prepared under
--data-dir, and those rendered under --data-dir. Each pair leaves the files that
`python -m jaxreid.main --mode evaluate` leaves in the folder of the run; the same command goes on
where it was stopped. OUT/table.md and OUT/table.json are written after each pair.

Exit codes: 0, 1 (a pair has no scores; the table says why), 2 (what a user can mend), 130 (Ctrl-C).
"""

import argparse
import functools
import json
import os
import re
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from jaxreid.config import DATA_SETS, nearest  # noqa: E402
from jaxreid.files import write_atomic, write_json  # noqa: E402
from jaxreid.runlog import clock  # noqa: E402

RENDERED = "synthpedes"
SCORES = {"R1": "R@1", "R5": "R@5", "R10": "R@10", "mAP": "mAP"}
# Fields of the section `eval` that change scores.
_RANKING = ("top_k", "rule", "temperature", "token_dtype", "missing")
# Folder of a prepared published data set: see `jaxreid.data.dataset`.
_PREPARED = re.compile(r"[0-9a-f]{16}(-partial)?(?:-val(\d+))?")


class DataSet(NamedTuple):
    """A column of the table: fields of the section `data`."""

    name: str
    variant: str
    manual_dir: str
    allow_partial: bool
    val_people: int

    @property
    def label(self) -> str:
        """Its name in the table."""
        return "-".join(filter(None, (self.name, self.variant)))


class Run(NamedTuple):
    """A row of the table."""

    folder: Path
    config: dict[str, Any]

    @property
    def label(self) -> str:
        """Its name in the table."""
        return str(self.folder)

    @property
    def trained_on(self) -> str:
        """The label of the data set of its training."""
        return "-".join(filter(None, (self.config["data"]["name"], self.config["data"]["variant"])))


class Pair(NamedTuple):
    """A cell of the table: a run on a data set."""

    run: Run
    data: DataSet
    results: dict[str, Any] | None  # contents of the results file; None: no scores
    reason: str  # why there are no scores; "" while it is not known

    @property
    def label(self) -> str:
        """What is said of it in the log."""
        return f"{self.run.label} on {self.data.label}"


def main(arguments: list[str]) -> int:
    """Evaluates what is not yet evaluated, prints the table, returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], epilog=__doc__.split("\n\n", 2)[2],
        formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder of a run")
    parser.add_argument(
        "--data", action="append", metavar="NAME[:DIR]",
        help=f"of {', '.join(DATA_SETS)}, with the published folder or its parent behind ':', or "
        "the variant of synthpedes; again for each data set",
    )  # fmt: skip
    parser.add_argument(
        "--manual-dir", default="", metavar="DIR", help="folder that holds published data sets"
    )
    parser.add_argument(
        "--data-dir",
        metavar="DIR",
        help="folder of prepared data; by default that of the first run",
    )
    parser.add_argument("--allow-partial", action="store_true", help="take incomplete copies")
    parser.add_argument(
        "--caption-limit", type=int, default=0, metavar="N",
        help="first captions of an image that are queries; by default all",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=Path, default=Path("runs/transfer"), metavar="DIR",
        help="folder of the table; by default runs/transfer",
    )  # fmt: skip
    options = parser.parse_args(arguments)
    try:
        if options.caption_limit < 0:
            raise ValueError(f"--caption-limit must be >= 0, got {options.caption_limit}")
        runs = [read_run(folder) for folder in dict.fromkeys(options.runs)]
        data_dir = Path(options.data_dir or runs[0].config["data"]["data_dir"]).expanduser()
        data_sets = find_data(
            options.data, data_dir, options.manual_dir, allow_partial=options.allow_partial
        )
        _quiet_libraries()
        split = functools.partial(open_test, data_dir=data_dir, caption_limit=options.caption_limit)
        pairs = find_pairs(runs, data_sets, split)
        change = {"data_dir": str(data_dir), "caption_limit": options.caption_limit}
        return evaluate_all(pairs, options.out, functools.partial(evaluate, change=change), split)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from there", file=sys.stderr)
        return 130


def read_run(folder: Path) -> Run:
    """Returns the run in a folder.

    Raises:
      FileNotFoundError: there is none.
      ValueError: its config cannot be read.
    """
    path = folder / "config.json"
    try:
        return Run(folder, json.loads(path.read_text()))
    except (FileNotFoundError, NotADirectoryError):
        near = sorted(str(found.parent) for found in folder.parent.glob("*/config.json"))
        raise FileNotFoundError(
            f"no run in {folder}: {path} is missing{nearest(str(folder), near)}"
        ) from None
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error


def find_data(
    named: list[str] | None, data_dir: Path, manual_dir: str, *, allow_partial: bool
) -> list[DataSet]:
    """Returns the data sets to evaluate on.

    Args:
      named: "NAME", "NAME:FOLDER" or "synthpedes:VARIANT"; None for all that are there.
      data_dir: folder of prepared data.
      manual_dir: folder of published data sets that name none; "" for prepared data alone.
      allow_partial: whether incomplete copies are taken.

    Raises:
      ValueError: a name is unknown, or there is no data set.
      FileNotFoundError: a folder is missing, or a data set that is named.
    """
    for folder in filter(None, [manual_dir, *(_folder_of(text) for text in named or ())]):
        if not os.path.isdir(os.path.expanduser(folder)):
            raise FileNotFoundError(f"no such folder: {folder}")
    if named:
        found = [_named(text, data_dir, manual_dir, allow_partial) for text in named]
        return list(dict.fromkeys(found))
    found = []
    for name in DATA_SETS:
        if name != RENDERED:
            data = _published(name, data_dir, manual_dir, allow_partial)
            found += [data] if data else []
    for folder in _prepared(data_dir / RENDERED):
        found.append(DataSet(RENDERED, folder.parent.name, "", False, 0))
    if not found:
        raise ValueError(
            f"no data set is prepared in {data_dir}"
            + (f" or published in {manual_dir}" if manual_dir else "")
            + "; give --data-dir, --manual-dir or --data"
        )
    return list(dict.fromkeys(found))


def find_pairs(
    runs: list[Run], data_sets: list[DataSet], split: Callable[[DataSet], Any]
) -> list[Pair]:
    """Returns all pairs, with the scores of those that were evaluated before.

    Args:
      runs: rows.
      data_sets: columns.
      split: opens the test split of a data set; ValueError or OSError if it cannot.
    """
    pairs = []
    for run in runs:
        for data in data_sets:
            try:
                pairs.append(Pair(run, data, finished(run, data, split(data)), ""))
            except (ValueError, OSError) as error:
                pairs.append(Pair(run, data, None, _sentence(error)))
    return pairs


def finished(run: Run, data: DataSet, split: Any) -> dict[str, Any] | None:
    """Returns the results that a run has on a test split; None if there are none, or older ones.

    Older ones are of another checkpoint than the run's best, or of another re-ranking.

    Raises:
      ValueError: they are of other images or captions than the split's.
      FileNotFoundError: the run has no checkpoint.
    """
    from jaxreid.results import fingerprint

    best = best_checkpoint(run)
    path = results_path(run, data)
    if not path.exists():
        return None
    results = json.loads(path.read_text())
    if "sha256" not in results.get("data", {}):
        return None
    if results["data"]["sha256"] != fingerprint(split):
        raise ValueError(
            f"{path} is of other images or captions of {data.label}; move it to evaluate on these"
        )
    same = all(results["eval"][field] == run.config["eval"][field] for field in _RANKING)
    # A run that was trained anew in its folder may have the same best step.
    fresh = path.stat().st_mtime >= best.stat().st_mtime
    return results if same and fresh and results["step"] == int(best.name) else None


def results_path(run: Run, data: DataSet) -> Path:
    """Returns where the results of a run on a data set are."""
    from jaxreid.results import results_name

    return run.folder / f"{results_name(run.config['data'], data._asdict())}.json"


@functools.cache
def _best_of(folder: str, metric: str) -> int | None:
    """Best step of the checkpoints in a folder."""
    from jaxreid.checkpoint import Checkpoints

    checkpoints = Checkpoints(folder, keep=1, best=metric, read_only=True)
    best = checkpoints.best()
    checkpoints.close()
    return best


def best_checkpoint(run: Run) -> Path:
    """Returns the folder of the best checkpoint of a run."""
    folder = run.folder / "checkpoints"
    if not folder.is_dir() or not any(path.name.isdigit() for path in folder.iterdir()):
        raise FileNotFoundError(f"no checkpoint in {folder}: nothing was trained")
    return folder / str(_best_of(str(folder), run.config["eval"]["select"]))


@functools.cache
def open_test(data: DataSet, *, data_dir: Path, caption_limit: int) -> Any:
    """Returns the test split of a data set."""
    from jaxreid.data.dataset import open_split

    return open_split(
        data.name,
        "test",
        data_dir=data_dir,
        manual_dir=data.manual_dir or None,
        variant=data.variant or None,
        allow_partial=data.allow_partial,
        caption_limit=caption_limit or None,
        val_people=data.val_people,
    )


def evaluate(run: Run, data: DataSet, *, change: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the results of a run on the test split of a data set, and writes its files.

    Args:
      run: of any method.
      data: the data set.
      change: further fields of the section `data`.
    """
    from jaxreid import run as runs
    from jaxreid.saved import run_config

    config = run_config(str(run.folder))
    config.data.update({**data._asdict(), **change})
    return runs.evaluate(config, str(run.folder))


def evaluate_all(
    pairs: list[Pair],
    out: Path,
    evaluate: Callable[[Run, DataSet], dict[str, Any]],
    split: Callable[[DataSet], Any],
) -> int:
    """Evaluates the pairs that have no scores, one after the other; returns the exit code.

    Args:
      pairs: from `find_pairs`.
      out: folder of the table.
      evaluate: returns the results of a run on a data set.
      split: opens the test split of a data set.
    """
    todo = [i for i, pair in enumerate(pairs) if pair.results is None and not pair.reason]
    size = {i: len(split(pairs[i].data).files) + _captions(split(pairs[i].data)) for i in todo}
    before = sum(pair.results is not None for pair in pairs)
    print(f"pairs: {len(pairs)}, evaluated before: {before}, to go: {len(todo)}", flush=True)
    write_table(out, pairs)
    spent, items = 0.0, 0
    for number, i in enumerate(todo):
        pair, started = pairs[i], time.monotonic()
        try:
            pairs[i] = pair._replace(results=evaluate(pair.run, pair.data))
            shown = f"R@1 {pairs[i].results['final']['R1']:.2f}"
        except (ValueError, OSError, RuntimeError) as error:  # jax: RuntimeError, out of memory
            pairs[i] = pair._replace(reason=_sentence(error))
            shown = f"skipped: {pairs[i].reason}"
        seconds = time.monotonic() - started
        if pairs[i].results:
            spent, items = spent + seconds, items + size[i]
        later = todo[number + 1 :]
        left = f", {clock(spent / items * sum(size[j] for j in later))} left" if items else ""
        print(
            f"{number + 1}/{len(todo)} {pair.label}: {shown}, in {clock(seconds)}"
            + (left if later else ""),
            flush=True,
        )
        write_table(out, pairs)
    print("\n" + render(pairs))
    return 1 if any(pair.results is None for pair in pairs) else 0


def write_table(out: Path, pairs: list[Pair]) -> None:
    """Writes table.md and table.json of what has scores."""
    write_json(out / "table.json", tabulate(pairs))
    write_atomic(out / "table.md", render(pairs).encode())


def tabulate(pairs: list[Pair]) -> dict[str, Any]:
    """Returns the contents of table.json; scores are in percent."""
    rows, skipped = [], []
    for pair in pairs:
        about = {
            "run": pair.run.label,
            "method": pair.run.config["method"],
            "trained_on": pair.run.trained_on,
            "test_on": pair.data.label,
            "own": pair.run.trained_on == pair.data.label,
            "allow_partial": pair.data.allow_partial,
        }
        if pair.results is None:
            skipped.append(about | {"reason": pair.reason or "not evaluated yet"})
        else:
            kept = ("step", "queries", "gallery", "chance", "coarse", "final")
            rows.append(about | {key: pair.results[key] for key in kept})
    return {"rows": rows, "skipped": skipped}


def render(pairs: list[Pair]) -> str:
    """Returns the table in Markdown."""
    table = tabulate(pairs)
    head = ["run", "method", "trained on", "step", "test on", *SCORES.values(), "chance R@1"]
    head += ["queries", "images"]
    lines = [
        "Test splits, in percent, after re-ranking. Bold: on the data set of the run's training;",
        "on the others no parameter is tuned.",
        "",
        f"| {' | '.join(head)} |",
        "|---" * len(head) + "|",
    ]
    for row in table["rows"]:
        scores = [f"{row['final'][score]:.2f}" for score in SCORES]
        test = row["test_on"]
        if row["own"]:
            test, scores = f"**{test}**", [f"**{score}**" for score in scores]
        cells = [row["run"], row["method"], row["trained_on"], str(row["step"]), test, *scores]
        cells += [f"{row['chance']['R1']:.2f}", f"{row['queries']:,}", f"{row['gallery']:,}"]
        lines.append(f"| {' | '.join(cells)} |")
    if table["skipped"]:
        lines += ["", "Without scores:", ""]
        lines += [
            f"- {row['run']} on {row['test_on']}: {row['reason']}" for row in table["skipped"]
        ]
    return "\n".join(lines) + "\n"


def _named(text: str, data_dir: Path, manual_dir: str, allow_partial: bool) -> DataSet:
    """The data set of --data NAME[:REST]."""
    name, _, rest = text.partition(":")
    if name not in DATA_SETS:
        raise ValueError(
            f"--data must be one of {', '.join(DATA_SETS)}, got {name!r}"
            f"{nearest(name, list(DATA_SETS))}"
        )
    if name == RENDERED:
        return DataSet(name, rest or "default", "", False, 0)
    if rest:
        return DataSet(name, "", rest, allow_partial, 0)
    found = _published(name, data_dir, manual_dir, allow_partial)
    if found is None:
        raise FileNotFoundError(
            f"--data {name}: not prepared in {data_dir}"
            + (f" and not in {manual_dir}" if manual_dir else "")
            + f"; give its folder, --data {name}:DIR"
        )
    return found


def _folder_of(text: str) -> str:
    """DIR of --data NAME:DIR."""
    name, _, rest = text.partition(":")
    return "" if name == RENDERED else rest


def _published(name: str, data_dir: Path, manual_dir: str, allow_partial: bool) -> DataSet | None:
    """A published data set that is in manual_dir, or prepared before; None if it is neither."""
    if manual_dir:
        import importlib

        from jaxreid.data.published import locate

        layout = importlib.import_module(f"jaxreid.data.{name}").LAYOUT
        try:
            locate(layout, Path(manual_dir).expanduser(), allow_partial=allow_partial)
            return DataSet(name, "", manual_dir, allow_partial, 0)
        except FileNotFoundError:
            pass
    matches = [_PREPARED.fullmatch(path.parent.name) for path in _prepared(data_dir / name)]
    # The test split does not depend on people held out of train. Whole copies come first.
    options = sorted((bool(m[1]), int(m[2] or 0)) for m in matches if m)
    return DataSet(name, "", "", *options[0]) if options else None


def _prepared(folder: Path) -> list[Path]:
    """Folders of prepared data, CONFIG/VERSION, of a data set; TFDS renames them when whole."""
    return sorted(path for path in folder.glob("*/*") if re.fullmatch(r"\d+\.\d+\.\d+", path.name))


def _captions(split: Any) -> int:
    """Queries of a split."""
    return sum(map(len, split.captions))


def _sentence(error: Exception) -> str:
    """An error on one line."""
    text = "; ".join([str(error), *getattr(error, "__notes__", ())])
    return " ".join(text.split())[:400]


def _quiet_libraries() -> None:
    """Shows our progress, and warnings of others."""
    from absl import logging

    logging.use_absl_handler()
    logging.set_verbosity(logging.INFO)
    ours = str(ROOT / "jaxreid")
    logging.get_absl_handler().addFilter(
        lambda record: (
            record.levelno > logging.converter.STANDARD_INFO or record.pathname.startswith(ours)
        )
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
