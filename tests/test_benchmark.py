"""The benchmark's made-up inputs, its turns and its figures; PyTorch is not needed here."""

import argparse
import importlib.util
import re
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from configs import laip
from jaxreid.streams import image_phrase, image_text


@pytest.fixture(scope="module")
def benchmark():
    path = Path(__file__).parents[1] / "tools/benchmark.py"
    spec = importlib.util.spec_from_file_location("benchmark", path)
    module = importlib.util.module_from_spec(spec)
    kept = list(sys.path)
    spec.loader.exec_module(module)
    sys.path[:] = kept
    return module


def options(**given):
    """The command line's options, of two rounds with batches of 4."""
    chosen = {"what": "step", "stage": 0, "batch": 4, "steps": 2, "torch": True, "vocabulary": 60}
    return argparse.Namespace(**{**chosen, **given})


def tiny():
    """A recipe of 16 channels."""
    config = laip.get_config()
    config.start = ""
    config.image.size = (32, 16)
    config.text.update(max_tokens=12, max_phrase_tokens=8)
    config.model.embedding = 8
    config.model.vit.update(width=16, depth=1, heads=2, mlp=16)
    config.model.bert.update(
        width=16, text_depth=1, cross_depth=2, heads=2, mlp=16, max_positions=12
    )
    return config


@pytest.fixture(scope="module")
def batch(benchmark):
    return benchmark.random_batch(tiny(), 60, 9, np.random.default_rng(0))


def test_captions_begin_and_end_and_are_padded(benchmark, batch):
    for tokens in batch["tokens"]:
        length = np.count_nonzero(tokens)
        assert tokens[0] == benchmark._CLS
        assert tokens[length - 1] == benchmark._SEP
        assert (tokens[1 : length - 1] >= len(benchmark._SPECIAL)).all()
        assert (tokens[length:] == 0).all()
    assert len(set(np.count_nonzero(batch["tokens"], axis=1))) > 1


def test_words_are_numbered_where_phrases_have_them(batch):
    words, tokens = batch["phrase_words"], batch["phrase_tokens"]
    absent = (words < 0).all(axis=-1)
    assert absent.sum() == absent.size // 3
    assert (tokens[absent] == 0).all()
    np.testing.assert_array_equal(words >= 0, tokens >= 5)
    for row in words[~absent]:
        np.testing.assert_array_equal(row[row >= 0], np.arange((row >= 0).sum()))


def test_negatives_are_of_other_people_and_one_word_is_masked(benchmark, batch):
    draws = benchmark.random_draws(batch, np.random.default_rng(1))
    person = batch["person_id"]
    assert (person[draws["text_of"]] != person).all()
    assert (person[draws["image_of"]] != person).all()
    present = (batch["phrase_words"].reshape(-1, 8) >= 0).any(axis=1)
    np.testing.assert_array_equal(draws["masked"].sum(axis=1), present)


def test_one_person_has_no_negatives(benchmark):
    batch = benchmark.random_batch(tiny(), 60, 2, np.random.default_rng(0))
    with pytest.raises(ValueError, match="--batch must hold two people"):
        benchmark.random_draws(batch, np.random.default_rng(1))


def test_given_draws_take_the_place_of_drawn_ones(benchmark, batch):
    draws = benchmark.random_draws(batch, np.random.default_rng(1))
    same = batch["person_id"][:, None] == batch["person_id"][None]
    key, logits = jax.random.key(0), np.zeros((9, 9), np.float32)
    with benchmark.fixed_draws(draws):
        text_of = image_text.sample_negatives(key, logits, same, hardness=1.0)
        image_of = image_text.sample_negatives(key, logits, same, hardness=1.0)
        masked = image_phrase.one_word_of_each(key, batch["phrase_words"])
    np.testing.assert_array_equal(text_of.index, draws["text_of"])
    np.testing.assert_array_equal(image_of.index, draws["image_of"])
    assert image_of.valid.all()
    np.testing.assert_array_equal(masked, draws["masked"])


def test_sides_take_turns_in_changing_order(benchmark, monkeypatch):
    monkeypatch.setattr(benchmark, "_PAUSE_SECONDS", 0)
    calls = []
    times = benchmark._alternate([lambda: calls.append("a"), lambda: calls.append("b")], 3)
    assert "".join(calls) == "abbaab"
    assert [len(side) for side in times] == [3, 3]


def test_ratios_are_above_one_where_jax_is_faster(benchmark):
    text = benchmark.ratios([1.0, 2.0, 4.0], [3.0, 3.0, 6.0])
    assert "1.500 of medians; of pairs 1.500 (median), 1.500 to 3.000" in text
    assert "2000.0 ms a step (median of 3, 1000.0 to 4000.0)" in benchmark.summary([4.0, 1.0, 2.0])


def test_losses_that_part_are_refused(benchmark, capsys):
    benchmark._check_losses(lambda: 1.00001, lambda: 1.0)
    with pytest.raises(ValueError, match=r"losses of step 1 differ by 1\.0e-03"):
        benchmark._check_losses(lambda: 1.001, lambda: 1.0)
    with pytest.raises(ValueError, match="losses of step 1 differ by nan"):
        benchmark._check_losses(lambda: float("nan"), lambda: 1.0)


def test_a_comparison_is_in_float32_without_dropout(benchmark):
    config = laip.get_config("cuhk_pedes")
    benchmark.prepare(config, options())
    assert config.model.dtype == "float32"
    assert config.model.bert.dropout == 0.0
    config, alone = laip.get_config("cuhk_pedes"), options(torch=False, vocabulary=0, batch=0)
    benchmark.prepare(config, alone)
    assert config.model.dtype == "bfloat16"
    assert config.model.bert.dropout == 0.1
    assert alone.vocabulary == 30522
    assert config.train.batch_size == 52


def test_the_vocabulary_is_as_large_as_that_of_the_recipe(benchmark, tmp_path):
    words = [*benchmark._SPECIAL, "a", "red", "coat"]
    (tmp_path / "vocab.txt").write_text("\n".join(words) + "\n")
    for tokenizer, size in ((str(tmp_path), 8), ("", 123), ("bert-base-uncased", 30522)):
        config, chosen = tiny(), options(vocabulary=0)
        config.text.update(tokenizer=tokenizer, vocabulary=123)
        benchmark.prepare(config, chosen)
        assert chosen.vocabulary == size


def test_a_missing_pytorch_is_said_in_a_sentence(benchmark, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    subject = benchmark.Subject(tiny(), None, None, 60)
    with pytest.raises(ImportError, match=r"PyTorch is not installed.* give --no-torch"):
        benchmark._torch_step(subject, None, None, None, None, None, False)


def test_an_option_that_pytorch_lacks_is_refused(benchmark):
    config = tiny()
    config.laip.alignment = "sigmoid"
    subject = benchmark.Subject(config, None, None, 60)
    with pytest.raises(ValueError, match=r"laip.alignment 'cosine' only, got 'sigmoid'"):
        benchmark._torch_step(subject, None, None, None, None, None, True)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--stage", "3"], r"--stage must be in 0\.\.\d, got 3"),
        (["--batch", "-1"], "--batch must be >= 0, got -1"),
        (["--steps", "0"], "--steps must be >= 1, got 0"),
        (["--vocabulary", "5"], "--vocabulary must be > 5, got 5"),
        (["--config", "configs/albef.py"], "--config must be a recipe of laip, got one of albef"),
        (["--config", "configs/lap.py"], "--config: no such file: 'configs/lap.py'"),
    ],
)
def test_what_cannot_be_measured_is_said_in_a_sentence(benchmark, capsys, flags, message):
    assert benchmark.main(flags) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(message, error)
