"""Imports inside jaxreid run one way, down this table; nothing imports a name above it."""

import ast
import pathlib
import sys

import pytest

PACKAGE = pathlib.Path(__file__).parents[1] / "jaxreid"

# layer -> what it may import from jaxreid (itself is always allowed)
ALLOWED = {
    "data": set(),
    "models": set(),
    "losses": set(),
    "metrics": set(),
    "round_metrics": {"metrics"},
    "mesh": set(),
    "optim": set(),
    "config": set(),
    "arguments": {"config"},
    "checkpoint": set(),
    "devices": set(),
    "files": set(),
    "weights": set(),
    "streams": {"methods", "models", "losses", "data"},
    "methods": {"streams", "models", "losses", "data"},
    "embed": {"methods", "mesh"},
    "rerank": {"methods", "mesh"},
    "rounds": {"metrics", "round_metrics"},
    "evaluate": {"methods", "mesh", "metrics", "embed", "rerank", "rounds"},
    "sheet": {"data", "files"},
    "curve": {"files"},
    "results": {"curve", "data", "evaluate", "files", "sheet"},
    "runlog": {"files"},
    "train": {"methods", "mesh"},
    "start": {"files", "optim", "weights"},
    "published": {"config", "optim", "weights"},
    "loop": {"train", "checkpoint", "data", "mesh", "runlog"},
    "parts": {"config", "data", "mesh", "methods"},
    "saved": {"checkpoint", "files"},
    "best": {"checkpoint", "mesh", "parts", "saved"},
    "card": {"data"},
    "given": {"data"},
    "model": {
        "config", "data", "embed", "evaluate", "given", "mesh", "methods", "optim", "parts",
        "rerank", "saved", "weights",
    },
    "export": {
        "best", "card", "data", "files", "mesh", "model", "optim", "parts", "saved", "weights",
    },
    "run": {
        "best", "config", "data", "devices", "evaluate", "export", "files", "loop", "mesh",
        "methods", "optim", "parts", "published", "results", "runlog", "saved", "start", "train",
    },
    "search": {
        "best", "data", "embed", "files", "losses", "mesh", "methods", "model", "parts",
        "round_metrics", "saved", "sheet",
    },
    "main": {"arguments", "config", "loop", "run"},
}  # fmt: skip


def imported(path: pathlib.Path) -> list[tuple[int, list[str]]]:
    """(line, dotted name split) of everything a file imports from jaxreid."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        found += [(node.lineno, n.split(".")) for n in names if n.split(".")[0] == "jaxreid"]
    return found


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE))
)
def test_imports_run_one_way(path):
    layer = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if layer == "__init__":
        return
    assert layer in ALLOWED, f"{layer} has no line in the table"
    for line, parts in imported(path):
        if len(parts) > 1 and parts[1] != layer:
            assert parts[1] in ALLOWED[layer], f"{path.name}:{line} {layer} -> {parts[1]}"


@pytest.mark.parametrize("path", sorted((PACKAGE / "methods").glob("*.py")), ids=lambda p: p.stem)
def test_a_method_imports_no_other_method(path):
    methods = {p.stem for p in path.parent.glob("*.py")} - {"__init__"}
    for line, parts in imported(path):
        if parts[1:2] == ["methods"] and path.stem != "__init__":
            assert not set(parts[2:]) & (methods - {path.stem}), f"{path.name}:{line}"


@pytest.mark.parametrize("path", sorted((PACKAGE / "streams").glob("*.py")), ids=lambda p: p.stem)
def test_a_stream_imports_the_contract_and_no_method(path):
    methods = {p.stem for p in (PACKAGE / "methods").glob("*.py")} - {"__init__"}
    for line, parts in imported(path):
        if parts[1:2] == ["methods"]:
            assert not set(parts[2:]) & methods, f"{path.name}:{line}"


def test_data_does_not_import_jax():
    for path in (PACKAGE / "data").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module] if isinstance(node, ast.ImportFrom) else []
            names += [a.name for a in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                assert (name or "").split(".")[0] not in ("jax", "flax", "tensorflow"), path


def test_weights_are_read_with_numpy_alone():
    """Converting needs neither JAX nor PyTorch: what runs is this code and numpy."""
    allowed = {"numpy", "ml_dtypes", "safetensors", "jaxreid", *sys.stdlib_module_names}
    for path in (PACKAGE / "weights").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module] if isinstance(node, ast.ImportFrom) else []
            names += [a.name for a in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                assert (name or "").split(".")[0] in allowed, f"{path}: {name}"
