"""More devices and more processes compute what one computes."""

import json
import os
import pathlib
import socket
import subprocess
import sys

import jax
import numpy as np
import optax
import pytest

from configs import laip as recipe
from jaxreid.data.text import train_tokenizer
from jaxreid.evaluate import Items, Settings, evaluate
from jaxreid.mesh import make_mesh, put_batch
from jaxreid.methods import laip
from jaxreid.runlog import TIMING
from jaxreid.train import init_on_mesh, train_step

ROOT = pathlib.Path(__file__).parents[1]
_OWN = ("seconds", "versions", "command")  # fields of results.json that two equal runs differ in

OVERRIDES = {
    "start": "", "text.tokenizer": "", "data.variant": "tiny", "image.size": (32, 16),
    "text.max_tokens": 12, "text.vocabulary": 120,
    "text.max_phrase_tokens": 8, "model.embedding": 16, "model.vit.width": 32, "model.vit.depth": 2,
    "model.vit.heads": 2, "model.vit.mlp": 48, "model.bert.width": 32, "model.bert.text_depth": 1,
    "model.bert.cross_depth": 2, "model.bert.heads": 2, "model.bert.mlp": 48,
    "model.bert.max_positions": 16, "train.batch_size": 16, "train.steps_per_epoch": 3,
    "train.epochs": (1, 1), "train.log_every": 1, "laip.queue_length": 32, "laip.phrases": 2,
    "optim.warmup_epochs": 0.0, "eval.batch_size": 32, "eval.chunk": 32, "eval.pair_batch": 32,
    "eval.top_k": 4, "eval.sheet_queries": 1,
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def quick_compilation():
    """Little optimised: most time here is compilation."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


def small_config():
    """The recipe of LAIP with a small network."""
    config = recipe.get_config()
    config.update_from_flattened_dict(OVERRIDES)
    return config


def hand_made_batch(vocabulary, seed=0):
    """Rows with persons in common, phrases of unequal counts, and padding."""
    rng = np.random.default_rng(seed)
    rows, words = 16, vocabulary - 5

    def tokens(*shape):
        return (5 + rng.integers(0, words, shape)).astype(np.int32)

    text = tokens(rows, 12)
    phrases = tokens(rows, 2, 8)
    word = np.tile(np.array([-1, 0, 1, 1, 2, 3, 3, -1], np.int32), (rows, 2, 1))
    for row in range(rows):
        text[row, 4 + row % 8 :] = 0
        phrases[row, 0, 5 + row % 3 :] = 0
        word[row, 0, 5 + row % 3 :] = -1
    phrases[::5, 1], word[::5, 1] = 0, -1  # captions of one phrase
    return {
        "image": rng.integers(0, 256, (rows, 32, 16, 3)).astype(np.uint8),
        "tokens": text,
        "person_id": (np.arange(rows) // 2 * 7 % 5).astype(np.int32),
        "image_id": np.arange(rows, dtype=np.int32),
        "phrase_tokens": phrases,
        "phrase_words": word,
    }


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """What 1 and 8 devices compute: metrics and gradients of step 1, parameters after 3, scores."""
    config = small_config()
    config.text.tokenizer = str(tmp_path_factory.mktemp("tokenizer"))
    captions = ["a man in a red coat with a blue bag", "a woman with white shoes and a hat"]
    vocabulary = train_tokenizer(captions, 120, config.text.tokenizer).vocabulary_size
    method = laip.make(config)
    tx = optax.sgd(0.05)
    found = {}
    for count in (1, 8):
        mesh = make_mesh(jax.devices()[:count])
        state = init_on_mesh(method, tx, mesh, 0)
        # The step of a run, with the parameters before it kept, so that the gradient is seen.
        step = jax.jit(lambda s, b: train_step(s, b, method=method, tx=tx, stage=1))
        before, metrics = jax.device_get(state.params), []
        for number in range(3):
            state, measured = step(state, put_batch(mesh, hand_made_batch(vocabulary, number)))
            metrics.append(jax.device_get(measured))
            if number == 0:
                after = jax.device_get(state.params)
                gradient = jax.tree.map(lambda a, b: (a - b) / 0.05, before, after)
        batch = hand_made_batch(vocabulary, 9)
        person = batch["person_id"]
        scores = evaluate(
            method, state.params, Items([{"tokens": batch["tokens"]}], person),
            Items([batch["image"]], person), mesh,
            Settings(
                top_k=4, rule="albef", temperature=None, direction="both", missing="error",
                token_dtype="float32", chunk=16, pair_batch=16, query_chunk=16, image_chunk=16,
            ),
        ).results  # fmt: skip
        scores.pop("seconds")
        found[count] = {
            "metrics": metrics, "gradient": gradient, "state": jax.device_get(state),
            "scores": scores,
        }  # fmt: skip
    return found


def close(one, two):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), one, two)


def test_eight_devices_have_the_losses_of_one(trained):
    assert {"itc", "itm", "triplet", "bidir", "mpm"} < set(trained[1]["metrics"][0])
    close(trained[8]["metrics"], trained[1]["metrics"])


def test_eight_devices_have_the_gradients_of_one(trained):
    gradient = trained[1]["gradient"]
    assert np.mean([np.abs(g).max() > 1e-3 for g in jax.tree.leaves(gradient)]) > 0.8
    # A difference of parameters over the rate: its rounding is 20 times theirs.
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=5e-5),
        trained[8]["gradient"], gradient,
    )  # fmt: skip


def test_eight_devices_have_the_parameters_and_memory_of_one_after_three_steps(trained):
    close(trained[8]["state"].params, trained[1]["state"].params)
    close(trained[8]["state"].memory, trained[1]["state"].memory)


def test_eight_devices_have_the_scores_of_one(trained):
    close(trained[8]["scores"], trained[1]["scores"])


# The gradient of a gradient compiles longest; what devices make of it is tested above.
QUICKLY = ("--config.laip.attention=forward",)
PROCESS = """
import sys
import jax
jax.config.update("jax_num_cpu_devices", int(sys.argv.pop(1)))
jax.config.update("jax_disable_most_optimizations", True)
collectives = sys.argv.pop(1)
if collectives:
    jax.config.update("jax_cpu_collectives_implementation", collectives)
from jaxreid import main
main.entry()
"""


def start(workdir, data, devices, collectives, *arguments):
    """A process that trains."""
    flags = [f"--config.{name}={value}" for name, value in OVERRIDES.items()]
    command = [sys.executable, "-c", PROCESS, str(devices), collectives]
    command += ["--config", "configs/laip.py", "--workdir", str(workdir), *flags]
    command += [f"--config.data.data_dir={data}", *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)


def finished(process):
    """Waits for a process that must end well."""
    _, said = process.communicate(timeout=900)
    assert process.returncode == 0, said[-4000:]


def metrics(workdir):
    """Lines of metrics.jsonl without timing."""
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(x).items() if k not in TIMING} for x in lines]


def results(workdir):
    """Scores of results.json."""
    found = json.loads((workdir / "results.json").read_text())
    return {key: value for key, value in found.items() if key not in _OWN}


def test_two_processes_with_two_devices_each_equal_one_with_four(tmp_path):
    data = tmp_path / "data"
    finished(start(tmp_path / "one", data, 4, "", *QUICKLY))
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    processes = [
        start(
            tmp_path / "two",
            data,
            2,
            "gloo",
            f"--coordinator=localhost:{port}",
            "--processes=2",
            f"--process={number}",
            *QUICKLY,
        )
        for number in range(2)
    ]
    try:
        for process in processes:
            finished(process)
    finally:
        for process in processes:
            process.kill()
    one, two = metrics(tmp_path / "one"), metrics(tmp_path / "two")
    assert [line["step"] for line in one] == [1, 2, 3, 3, 4, 5, 6, 6]
    for a, b in zip(one, two, strict=True):
        assert a.keys() == b.keys()
        np.testing.assert_allclose(list(a.values()), list(b.values()), rtol=1e-5, atol=1e-5)
    assert results(tmp_path / "one") == results(tmp_path / "two")
