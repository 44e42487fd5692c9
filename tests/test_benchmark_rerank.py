import importlib.util
import pathlib
import re
from types import SimpleNamespace

import jax
import numpy as np
import pytest
import tiny

from configs import cada as cada_config
from configs import laip as laip_config
from jaxreid.methods import cada, laip

PATH = pathlib.Path(__file__).parents[1] / "tools" / "benchmark_rerank.py"
OPTIONS = SimpleNamespace(queries=6, candidates=3, gallery=9, rounds=1, vocabulary=tiny.VOCABULARY)


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("benchmark_rerank", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def config():
    recipe = tiny.recipe()
    recipe.eval.update(pair_batch=8, query_chunk=4, image_chunk=5)
    return recipe


def test_both_ways_are_timed_and_sharing_needs_fewer_operations(tool, tmp_path, capsys):
    tool.measure(config(), str(tmp_path), OPTIONS)
    table = capsys.readouterr().out
    number = r"[\d.]+"
    row = rf"\| (plain|shared) \| {number} \| {number} - {number} \| {number} \| ({number}) \|"
    rows = re.findall(row, table)
    assert [name for name, _ in rows] == ["plain", "shared"]
    assert float(rows[1][1]) < 0.8 * float(rows[0][1])
    assert re.search(rf"plain / shared: {number} of seconds, {number} of FLOPs", table)


@pytest.mark.parametrize(
    ("module", "fields"), [(laip, {}), (cada, {}), (cada, {"score": "first_logit"})]
)
def test_plain_matching_equals_the_shared_one(tool, tmp_path, module, fields):
    recipe = tiny.recipe(laip_config.get_config if module is laip else cada_config.get_config)
    recipe[recipe.method].update(fields)
    recipe.text.tokenizer = tool.write_vocabulary(str(tmp_path), tiny.VOCABULARY)
    method = module.make(recipe)
    params = tiny.random_values(jax.eval_shape(method.init, jax.random.key(0)), seed=1)
    queries, images, pairs = tool.random_features(recipe, method, params, OPTIONS)
    queries = jax.tree.map(lambda x: x[pairs[:, 0]], queries)
    images = jax.tree.map(lambda x: x[pairs[:, 1]], images)
    plain = jax.jit(tool.plain_match(recipe, tiny.VOCABULARY))(params, queries, images)
    shared = jax.jit(method.match)(params, queries, jax.jit(method.match_image)(params, images))
    assert np.ptp(plain) > 0.05
    np.testing.assert_allclose(shared, plain, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--queries", "0"], "--queries must be >= 1, got 0"),
        (["--vocabulary", "5"], "--vocabulary must be > 5, got 5"),
        (
            ["--candidates", "9", "--gallery", "8"],
            "--candidates must be at most --gallery 8, got 9",
        ),
        (["--config", "configs/lap.py"], "--config: no such file: 'configs/lap.py'"),
    ],
)
def test_what_cannot_be_measured_is_said_in_a_sentence(tool, capsys, flags, message):
    assert tool.main(flags) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error
