"""The result files of a run: results.json, rankings.npz, ranks.png; of dialogues rounds.png."""

import contextlib
import hashlib
import importlib.metadata
import json
import os
import platform
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from absl import logging
from ml_collections import ConfigDict

import jaxreid
from jaxreid.curve import Curve, save_curves
from jaxreid.data.queries import Queries
from jaxreid.data.records import Split
from jaxreid.data.sources import Images
from jaxreid.evaluate import Evaluation
from jaxreid.files import write_json, write_npz
from jaxreid.sheet import ranks_sheet, save_sheet, sheet_rows, sheet_title

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "pillow")


class Shown(NamedTuple):
    """What was ranked for what."""

    split: Split
    queries: Queries
    rows: int  # of the sheet


def collect(
    ranked: Evaluation, split: Split, config: ConfigDict, seconds: dict[str, float], step: int
) -> dict[str, Any]:
    """Returns the contents of results.json.

    Args:
      ranked: of the split.
      split: the test split.
      config: its sections `data` and `eval` are kept: where the images are, how they were ranked.
      seconds: of what came before the evaluation, by name.
      step: of the checkpoint.
    """
    out = dict(ranked.results)
    out["step"] = step
    out["data"] = json.loads(config.data.to_json_best_effort())
    out["data"] |= {"split": split.split, "sha256": fingerprint(split)}
    out["eval"] = json.loads(config.eval.to_json_best_effort())
    out["seconds"] = {k: round(v, 2) for k, v in {**seconds, **out["seconds"]}.items()}
    out["versions"] = {"jaxreid": jaxreid.__version__, "python": platform.python_version()}
    out["versions"] |= {name: importlib.metadata.version(name) for name in _PACKAGES}
    return out


def results_name(trained: Mapping[str, Any], ranked: Mapping[str, Any]) -> str:
    """Returns "results", or "results-DATA_SET" where a run is evaluated on another data set.

    For runs that rank another set than they train on, that is the set ranked.

    Args:
      trained: section `data` of the run's config.
      ranked: section `data` of the evaluation's config.
    """
    if _ranked_set(trained) == _ranked_set(ranked):
        return "results"
    return "-".join(filter(None, ("results", *_ranked_set(ranked))))


def _ranked_set(data: Mapping[str, Any]) -> tuple[str, str]:
    """Name and variant of the data set that a section `data` ranks."""
    other = data.get("test_name", "")
    return (other, "") if other else (data["name"], data["variant"])


def fingerprint(split: Split) -> str:
    """Returns what tells two copies of a split apart: SHA-256 of its files, people and texts.

    The order counts, since rankings are of positions; pixels are not read.
    """
    content = [split.files, split.person_id.tolist(), split.captions]
    if split.triplets is not None:
        numbers = [x.tolist() for x in split.triplets[:3]]
        content += [Images(split).image_id.tolist(), *numbers, split.triplets.words]
    if split.dialogues is not None:
        content.append(split.dialogues)
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def write(workdir: str, name: str, out: dict[str, Any], ranked: Evaluation, shown: Shown) -> None:
    """Writes the files, and the scores to the log.

    NAME.json is written last and taken away first: where it is, the others are of the same
    evaluation.

    Args:
      workdir: folder of the run.
      name: "results", or another for another data set; ranks and rankings are named alike.
      out: from `collect`.
      ranked: of the split.
      shown: the test split.

    Raises:
      OSError: a file cannot be written; names it.
    """
    whole = os.path.join(workdir, f"{name}.json")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(whole)
    try:
        suffix = name.removeprefix("results")
        _write_files(workdir, suffix, out, ranked, shown)
        if "rounds" in out:
            curve = Curve(shown.split.data_set, (out["rounds"],))
            title = f"{shown.split.data_set} {shown.split.split}"
            save_curves(os.path.join(workdir, f"rounds{suffix}.png"), title, (curve,))
        write_json(whole, out)
    except OSError as error:
        raise OSError(f"{whole} could not be written, nor all beside it: {error}") from error
    for block in ("chance", "coarse", "final"):
        scores = " ".join(f"{k} {v:.2f}" for k, v in out[block].items())
        logging.info("%-6s %s", block, scores)


def _write_files(
    workdir: str, suffix: str, out: dict[str, Any], ranked: Evaluation, shown: Shown
) -> None:
    """Writes rankings and ranks."""
    split, queries, gallery = shown.split, shown.queries, Images(shown.split).image_id
    arrays = {
        "coarse": ranked.coarse.index,
        "coarse_score": ranked.coarse.score,
        "final": ranked.final.index,
        "final_score": ranked.final.score,
        "query_person_id": queries.person_id,
        "gallery_person_id": split.person_id[gallery],
        "gallery_file": np.array([split.files[i] for i in gallery]),
        "query_caption": np.array(queries.words),
    }
    if queries.reference is not None:
        arrays["query_file"] = np.array([split.files[i] for i in queries.reference])
    write_npz(os.path.join(workdir, f"rankings{suffix}.npz"), arrays)
    rankings = {"coarse": gallery[ranked.coarse.index], "final": gallery[ranked.final.index]}
    rows = sheet_rows(
        queries.words, queries.person_id, rankings, shown.rows, reference=queries.reference
    )
    title = sheet_title(f"{split.data_set} {split.split}", out)
    sheet = ranks_sheet(title, rows, split.images, split.person_id, top=10)
    save_sheet(os.path.join(workdir, f"ranks{suffix}.png"), sheet)
