"""The tool that says how far dialogues can tell people apart."""

import importlib.util
import pathlib

import numpy as np
import pytest

from jaxreid.data.synthpedes.attributes import VALUES
from jaxreid.data.synthpedes.builder import Synthpedes
from jaxreid.data.synthpedes.dialogue import TOPICS
from jaxreid.data.synthpedes.memory import RATES, mistakable
from jaxreid.data.synthpedes.pictures import make_record, plan

ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture(scope="module")
def tool():
    """The tool as a module."""
    path = ROOT / "tools" / "dialogue_limit.py"
    spec = importlib.util.spec_from_file_location("dialogue_limit", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pictures():
    """Forty people from four sides."""
    config = next(c for c in Synthpedes.BUILDER_CONFIGS if c.name == "chat")
    return plan(config.seed, {"train": 40, "val": 40, "test": 40}, 0.0, ())["test"]


def test_every_answer_of_a_round_is_that_of_the_data_set(tool, pictures):
    picture = pictures[0]
    stored = make_record(picture, 32, 16)["dialogues"]
    found = tool.conversations(picture)
    assert [len(rounds) for rounds in found] == [len(one["rounds"]) for one in stored]
    told = [(a, v) for rounds in found for one in rounds for a, v in one.items()]
    assert told
    assert all(v in (*VALUES[a], "vague", "unknown") for a, v in told)
    for rounds, one in zip(found, stored, strict=True):
        for recalled, (question, _) in zip(rounds, one["rounds"], strict=True):
            topics = [t for t in TOPICS.values() for q in t.questions if _same(q, question)]
            asked = {a for topic in topics for a in (topic.attribute, *topic.also)}
            kinds = {a for a, v in recalled.items() if v in ("vague", "unknown")}
            assert kinds <= asked  # what is not remembered was asked for


def _same(template, question):
    """Whether a question may be that of a template, but for pronouns."""
    words = template.replace("{", " {").split()
    return all(w.strip("?,.").lower() in question.lower() for w in words if "{" not in w)


def test_what_may_be_told_of_an_image_has_a_probability_of_1(tool, pictures):
    looks = [tool._look(picture) for picture in pictures[:20]]
    table = tool.log_likelihood(looks)
    for i, look in enumerate(looks):
        for attribute, truth in look.items():
            may = {truth, "vague", "unknown", *mistakable(attribute, look)}
            total = sum(np.exp(table[attribute, told][i]) for told in may)
            assert total == pytest.approx(1.0, abs=5e-4)
            best = max(may - {"vague", "unknown"}, key=lambda told: table[attribute, told][i])
            assert best == truth or sum(RATES[attribute]) > 0.5


def test_more_rounds_tell_more(tool, pictures):
    scores = tool.limit(pictures, 5)
    assert scores["R1"][0] == pytest.approx(100 / 40)
    assert np.all(np.diff(scores["mAP"]) > 0)
    assert scores["R1"][1] > 5 * scores["R1"][0]
    assert scores["R1"][5] > 40


def test_the_command_prints_a_row_a_round(tool, capsys):
    assert tool.main(["--variant", "tiny", "--rounds", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("|")[1].strip() for line in lines[3:]] == ["0", "1", "2"]
    assert tool.main(["--rounds", "0"]) == 2
    assert "--rounds must be >= 1, got 0" in capsys.readouterr().err


def test_what_is_told_again_counts_once(tool, pictures, monkeypatch):
    whole = tool.conversations

    def twice(picture):
        told = [rounds[0] | rounds[1] | rounds[2] for rounds in whole(picture)]
        return [[one, dict(list(one.items())[:1])] for one in told]

    monkeypatch.setattr(tool, "conversations", twice)
    scores = tool.limit(pictures, 2)
    assert scores["mAP"][2] == scores["mAP"][1] > scores["mAP"][0]
