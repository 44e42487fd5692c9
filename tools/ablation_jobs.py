"""The runs that an ablation is made of, in their order."""

import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

from jaxreid.files import write_json
from tools.ablation_rows import CADA_ROWS, LAIP_ROWS, LAIP_SETS, Row, cada_overrides

# Ranking again takes about as long as this part of an epoch, for the time left.
_RANKING_EPOCHS = 0.5


class Job(NamedTuple):
    """One call of jaxreid.main."""

    name: str  # its folder in OUT
    flags: list[str]
    epochs: float  # that it trains
    done: Path  # exists when it has finished
    row: str | None  # of the study; None of a first stage and of a training that rows share
    source: Path | None  # run to go on from, or to rank again
    needs: Path | None  # exists when `source` can be copied


def make_jobs(
    out: Path,
    rows: list[str],
    seeds: list[int],
    flags: list[str],
    epochs: tuple,
    *,
    share: bool,
) -> list[Job]:
    """Returns the runs of LAIP in the order in which they are made: all rows of a seed together.

    Args:
      out: folder of the runs.
      rows: of `ROWS`.
      seeds: of the runs.
      flags: of the config, for every run.
      epochs: of each stage.
      share: whether the stages before the last are trained once a seed.
    """
    share = share and len(epochs) > 1
    jobs = []
    for seed in seeds:
        common = [*flags, f"--config.seed={seed}"]
        first = out / f"first-seed{seed}"
        if share:
            stop = f"--config.train.stop_after={len(epochs) - 1}"
            done = first / "finished"
            jobs.append(Job(first.name, [*common, stop], sum(epochs[:-1]), done, None, None, None))
        for row in rows:
            sets = {name: getattr(LAIP_ROWS[row], name) for name in LAIP_SETS}
            own = common + [f"--config.laip.{name}={value}" for name, value in sets.items()]
            name = f"{row}-seed{seed}"
            done = out / name / "results.json"
            trained = epochs[-1] if share else sum(epochs)
            source, needs = (first, first / "finished") if share else (None, None)
            jobs.append(Job(name, own, trained, done, row, source, needs))
    return jobs


def make_cada_jobs(
    out: Path, rows: list[str], seeds: list[int], flags: list[str], config: Any
) -> list[Job]:
    """Returns the runs of CADA in the order in which they are made: all of a seed together.

    A training is run once for all rows that need it. Rows of another K copy it and rank again.

    Args:
      out: folder of the runs.
      rows: of `CADA_ROWS`.
      seeds: of the runs.
      flags: of the config, for every run.
      config: of the flags.

    Raises:
      ValueError: a row that the config has no room for.
    """
    epochs = sum(config.train.epochs)
    jobs = []
    for seed in seeds:
        common = [*flags, f"--config.seed={seed}"]
        for training in dict.fromkeys(CADA_ROWS[row].training for row in rows):
            fields = cada_overrides(training, config)
            own = common + [f"--config.{name}={value}" for name, value in fields.items()]
            name = f"{training}-seed{seed}"
            done = out / name / "results.json"
            jobs.append(Job(name, own, epochs, done, None, None, None))
            for row in rows:
                if CADA_ROWS[row].training != training or CADA_ROWS[row].top_k is None:
                    continue
                again = out / f"{row}-seed{seed}"
                top_k = f"--config.eval.top_k={CADA_ROWS[row].top_k}"
                jobs.append(
                    Job(
                        again.name, [*own, top_k, "--mode=evaluate"], _RANKING_EPOCHS,
                        again / "ranked", row, out / name, done,
                    )
                )  # fmt: skip
    return jobs


def copy_first_stage(source: Path, target: Path, row: Row) -> None:
    """Copies a finished first stage to where a row goes on from it, as a whole or not at all.

    The copy's config is that of the row, which differs in what acts in the last stage only.
    """
    if target.exists():
        return
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(source, partial, ignore=shutil.ignore_patterns("finished"))
    config = json.loads((partial / "config.json").read_text())
    config["train"]["stop_after"] = 0
    config["laip"] |= {name: getattr(row, name) for name in LAIP_SETS}
    write_json(partial / "config.json", config)
    partial.rename(target)


def copy_training(source: Path, target: Path) -> None:
    """Copies a trained run, without its results, to where it is ranked again."""
    if target.exists():
        return
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    ignored = shutil.ignore_patterns("results*", "rankings*", "ranks*", "tensorboard")
    shutil.copytree(source, partial, ignore=ignored)
    partial.rename(target)
