"""Turns published weights into ours, and ours into published ones; tells what became of every key.

    python tools/convert_weights.py mscoco.pth ALBEF.pth --config configs/laip.py:rstpreid --out w
    python tools/convert_weights.py cada.pth --config configs/cada.py:released-cuhk_pedes --out cada
    python tools/convert_weights.py --back runs/laip --kind albef_retrieval --out laip.safetensors

The first writes a folder that --config.start reads, and `jaxreid.load` where no parameter is left
to chance: config.json, model.safetensors, tokenizer/. Of several files a parameter comes from the
first that has it. Training also reads published files as they are (--config.start=FILE): a folder
is smaller, and is float32. Nothing in a file is executed; torch is not needed.

The second writes one file with the keys of the published code, which reads it by
safetensors.torch.load_file and load_state_dict.

Kinds: see jaxreid/weights/kinds. Exit codes: 0, 2 (what a user can mend, in one sentence).
"""

import argparse
import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

HALF = "float16"


def main(argv: list[str] | None = None) -> int:
    """Converts; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", help="published files")
    parser.add_argument("--config", help="recipe that the weights are for, FILE[:VARIANT]")
    parser.add_argument("--kind", default="", help="of each file, with commas; of --back one")
    parser.add_argument("--tokenizer", default="", help="folder of its vocabulary")
    parser.add_argument("--people", type=int, default=0, help="that a method classifies")
    parser.add_argument("--back", help="folder of a run or of a model of ours")
    parser.add_argument("--dtype", choices=("float32", HALF), default="float32")
    parser.add_argument("--out", required=True, help="folder; of --back a .safetensors file")
    options = parser.parse_args(argv)
    try:
        if bool(options.back) == bool(options.files):
            raise ValueError("give published files, or --back with a folder of ours")
        _write_back(options) if options.back else _read_in(options)
    except (ValueError, OSError) as error:
        print(f"error: {_told(' '.join(str(error).split()))}", file=sys.stderr)
        return 2
    return 0


def _told(text: str) -> str:
    """A sentence about a config by the arguments here."""
    text = text.replace("config.start_rules.kind", "--kind").replace(
        "config.text.tokenizer", "--tokenizer"
    )
    return text.removeprefix("config.start: ")


def _read_in(options: argparse.Namespace) -> None:
    """Published files to a folder of ours."""
    if not options.config:
        raise ValueError("--config must name the recipe that the weights are for")
    if os.path.exists(options.out) and (not os.path.isdir(options.out) or os.listdir(options.out)):
        raise ValueError(f"--out {options.out} is there and no empty folder: give another")
    from jaxreid.arguments import load_recipe
    from jaxreid.config import check, patch_grid
    from jaxreid.published import fill, named_shapes, open_sources
    from jaxreid.start import read_rules

    config = load_recipe(options.config)
    config.start = ",".join(options.files)
    config.start_rules.kind = options.kind
    config.start_rules.renamed = config.start_rules.longer = ()
    sources = open_sources(config)  # a wrong file is told before anything heavy is imported
    import jax

    from jaxreid.parts import method_module

    if options.tokenizer:
        if not os.path.isdir(options.tokenizer):
            raise FileNotFoundError(f"--tokenizer: no such folder: {options.tokenizer}")
        config.text.tokenizer = options.tokenizer
    if options.people and "people" not in config.data:
        raise ValueError(f"--people: {config.method} has no classifier of people")
    if "people" in config.data:
        config.data.people = options.people or config.data.people
    config.train.steps_per_epoch = config.train.steps_per_epoch or 1
    check(config, 1)  # devices matter where it is trained
    method = method_module(config.method).make(config)
    shapes = named_shapes(jax.eval_shape(method.init, jax.random.key(0)))
    rules = read_rules(config)
    filled = fill(sources, shapes, patch_grid(config), rules.fresh, rules.unused)
    for report in filled.reports:
        print(_told("\n".join(report.lines(most=len(shapes)))))
    if filled.fresh:
        print(f"in no file, from random where training starts: {', '.join(filled.fresh)}")
    _write_folder(options.out, config, filled.arrays, options.dtype)
    print(f"written: {options.out}")


def _write_folder(out: str, config, arrays: dict, dtype: str) -> None:
    """A model of ours, as jaxreid/export.py writes it."""
    from jaxreid import __version__
    from jaxreid.files import write_json
    from jaxreid.model import CONFIG, FORMAT, VOCABULARY, WEIGHTS, config_hash
    from jaxreid.parts import copy_vocabulary
    from jaxreid.weights.safetensors_file import write_safetensors

    arrays = {name: _as(name, array, dtype) for name, array in arrays.items()}
    os.makedirs(out, exist_ok=True)
    if os.path.isdir(config.text.tokenizer):
        copy_vocabulary(config.text.tokenizer, os.path.join(out, VOCABULARY))
    saved = json.loads(config.to_json_best_effort())
    saved["start"], saved["text"]["tokenizer"] = "", VOCABULARY
    write_json(os.path.join(out, CONFIG), saved)
    metadata = {"format": FORMAT, "version": __version__, "config": config_hash(saved), "step": "0"}
    write_safetensors(os.path.join(out, WEIGHTS), arrays, metadata)


def _write_back(options: argparse.Namespace) -> None:
    """A folder of ours to one file of published keys."""
    from jaxreid.start import MODEL_FILE
    from jaxreid.weights.convert import to_published
    from jaxreid.weights.names import find
    from jaxreid.weights.safetensors_file import read_safetensors, write_safetensors

    if not options.kind:
        raise ValueError("--kind must name the kind of checkpoint to write")
    if not options.out.endswith(".safetensors"):
        raise ValueError(f"--out must be a .safetensors file with --back, got {options.out}")
    kind = find(options.kind)
    folders = (options.back, os.path.join(options.back, "model"))
    path = next(
        (p for p in (os.path.join(f, MODEL_FILE) for f in folders) if os.path.isfile(p)), None
    )
    if path is None:
        raise FileNotFoundError(
            f"--back: no {MODEL_FILE} in {options.back} nor in its folder model"
        )
    arrays, left = to_published(read_safetensors(path), kind, source=path)
    arrays = {key: _as(key, array, options.dtype) for key, array in arrays.items()}
    write_safetensors(options.out, arrays, {"format": "pt"})
    print(f"{options.out}: {len(arrays)} keys as in {kind.title}")
    if left:
        print(f"{len(left)} parameters that such a file has no key for: {', '.join(left)}")


def _as(name: str, array, dtype: str):
    """An array to be written, in the precision that was asked for."""
    import numpy as np

    if array.dtype.kind in "iu":
        return np.asarray(array, order="C")
    if dtype == HALF and not np.abs(array).max(initial=0) <= np.finfo(HALF).max:
        raise ValueError(
            f"{name} has values up to {np.abs(array).max():.3g}, beyond float16: leave out --dtype"
        )
    return np.asarray(array, dtype, order="C")


if __name__ == "__main__":
    sys.exit(main())
