"""Dialogues made of any attribute table: as true, as wrong and as vague as stated, and readable."""

import collections
import importlib.util
import json
import os
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from copies import records as cuhk_records
from copies import write_copy
from dialogue_copies import chatpedes_records, write_chatpedes

from jaxreid.data.chats import to_chat
from jaxreid.data.dataset import open_split
from jaxreid.data.dialogue_maker import maker, matters
from jaxreid.data.dialogue_maker.maker import OTHER_RATES, Plan, as_dialogue
from jaxreid.data.dialogue_maker.report import Report
from jaxreid.data.synthpedes.dialogue import TELLS_GENDER
from jaxreid.data.synthpedes.memory import KINDS, RATES, Rates
from jaxreid.data.triplet_maker.records import NONE, Record
from jaxreid.data.triplet_maker.tables import MARKET_1501, read_mapping

_VALUES = {
    "gender": ("male", "female"),
    "age": ("young", "old", "adult"),
    "hair_length": ("short", "long", "bald"),
    "top": ("tunic", "long-sleeved shirt", "vest"),
    "top_color": ("red", "navy", "black", "tan"),
    "sleeves": ("short", "long"),
    "shoes_color": ("white", "brown", "black"),
    "hat": (NONE, "cap", "hood"),
    "hat_color": ("red", "brown"),
    "belt": (NONE, "belt"),
    "backpack": (NONE, "backpack"),
    "held": (NONE, "phone", "cup"),
    "glasses": (NONE, "glasses"),
}


@pytest.fixture(scope="module")
def tool():
    path = Path(__file__).parents[1] / "tools/make_dialogues.py"
    spec = importlib.util.spec_from_file_location("make_dialogues", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _records(count, seed=0):
    """Records with attributes drawn from _VALUES; a person without a hat has no colour of it."""
    rng = np.random.default_rng(seed)
    made = []
    for number in range(count):
        drawn = {name: values[rng.integers(len(values))] for name, values in _VALUES.items()}
        if drawn["hat"] == NONE:
            drawn["hat_color"] = NONE
        made.append(Record(f"{number}.png", "train", number, (), drawn, frozenset(drawn)))
    return made


def _plan(records, **changes):
    values = maker.count_values(record.attributes for record in records)
    found = {name: matters.make_matter(name, values) for name in values}
    return Plan(found, values, maker.make_rates(list(values), {}))._replace(**changes)


@pytest.fixture(scope="module")
def made():
    """(record, turns) of every dialogue of many records."""
    records = _records(1_500)
    dialogues = maker.make(records, _plan(records), (5,))
    return [(r, turns) for r, two in zip(records, dialogues, strict=True) for turns in two]


def _within(share, rate, count):
    """Four standard errors."""
    return abs(share - rate) <= 4 * np.sqrt(max(rate * (1 - rate), 0.25 / count) / count)


# Dialogues


def test_answers_are_unknown_vague_and_wrong_as_often_as_stated(made):
    plan = _plan(_records(1_500))
    kinds = collections.defaultdict(collections.Counter)
    for _, turns in made:
        for turn in turns:
            kinds[turn.asked.attribute][turn.asked.kind] += 1
    assert set(kinds) == set(_VALUES)
    for name, counts in kinds.items():
        count = sum(counts.values())
        assert count > 200
        for kind, rate in plan.rates[name]._asdict().items():
            assert _within(counts[kind] / count, rate, count), (name, kind, counts)


def test_the_truth_is_the_record_and_a_wrong_value_another_of_the_table(made):
    for record, turns in made:
        for turn in turns:
            for told in filter(None, (turn.asked, turn.aside)):
                assert told.truth == record.attributes[told.attribute]
                assert told.kind in KINDS
                if told.kind == "true":
                    assert told.value == told.truth
                elif told.kind == "wrong":
                    assert told.value in _VALUES[told.attribute]
                    assert told.value != told.truth
                else:
                    assert told.value == ""


# By hand: (word, attribute, values that it is true of).
_MEANS = (
    (r"\b(man|male|guy|gentleman|fellow)\b", "gender", {"male"}),
    (r"\b(woman|female|lady)\b", "gender", {"female"}),
    (r"\b(he|his|him)\b", "gender", {"male"}),
    (r"\b(she|her)\b", "gender", {"female"}),
    (r"\btunic\b", "top", {"tunic"}),
    (r"\bvest\b", "top", {"vest"}),
    (r"\bcap\b", "hat", {"cap"}),
    (r"\bhood\b", "hat", {"hood"}),
    (r"\bno hat\b", "hat", {NONE}),
    (r"\bno belt\b", "belt", {NONE}),
    (r"\ba belt\b", "belt", {"belt"}),
    (r"\bno backpack\b", "backpack", {NONE}),
    (r"\bphone\b", "held", {"phone"}),
    (r"\b(cup|drink)\b", "held", {"cup"}),
    (r"\bbald\b", "hair_length", {"bald"}),
    (r"\bwhite\b", "shoes_color", {"white"}),
    (r"\byoung\b", "age", {"young"}),
)


def test_words_are_true_where_they_are_told_as_true_and_false_where_as_wrong(made):
    seen = collections.Counter()
    for record, turns in made:
        for turn in turns:
            for pattern, name, values in _MEANS:
                for told in filter(None, (turn.asked, turn.aside)):
                    if told.attribute == name and re.search(pattern, turn.answer.lower()):
                        assert told.kind in ("true", "wrong"), turn
                        true = record.attributes[name] in values
                        assert true == (told.kind == "true"), turn
                        seen[name, told.kind] += 1
    for kind in ("true", "wrong"):
        assert {name for name, k in seen if k == kind} >= {"gender", "hat", "held", "belt", "top"}


def test_colors_that_are_told_are_true_or_false_as_stated(made):
    means = {"red": {"red"}, "navy": {"navy"}, "black": {"black"}, "tan": {"tan"},
             "brown": {"brown"}, "white": {"white"}}  # fmt: skip
    seen = collections.Counter()
    for record, turns in made:
        for turn in turns:
            for told in filter(None, (turn.asked, turn.aside)):
                if not told.attribute.endswith("_color") or not told.value:
                    continue
                for word, values in means.items():
                    if re.search(rf"\b{word}\b", turn.answer.lower()):
                        true = record.attributes[told.attribute] in values
                        assert true == (told.kind == "true"), turn
                        seen[told.kind] += 1
    assert min(seen["true"], seen["wrong"]) > 50


def test_a_wrong_word_is_never_one_for_the_true_value():
    records = _records(200)
    plan = _plan(records)
    assert "navy" in maker.mistakable("top_color", "black", plan)
    for _ in range(3):
        rng = np.random.default_rng(0)
        words = {maker._word(maker.Recollection("wrong", "navy", "black"), "top_color", rng)
                 for _ in range(200)}  # fmt: skip
        assert "dark blue" in words
        assert not words & {"dark", "dark colored", "black"}
    same = plan._replace(values={**plan.values, "top": {"jacket": 3, "coat": 2}})
    assert set(maker.mistakable("top", "tunic", same)) == {"jacket", "coat"}
    alone = plan._replace(values={**plan.values, "top": {"tunic": 3}})
    assert maker.mistakable("top", "tunic", alone) == {}


def test_nothing_is_asked_about_what_a_witness_denies(made):
    denied = 0
    for record, turns in made:
        told = {turn.asked.attribute: turn.asked for turn in turns}
        assert len(told) == len(turns)  # each attribute once
        if record.attributes["hat"] == NONE:
            assert "hat_color" not in told
            denied += 1
        if "hat" in told and told["hat"].value == NONE:
            assert "hat_color" not in told
    assert denied > 100


def test_only_what_an_image_shows_is_told():
    (record,) = _records(1)
    shown = frozenset({"gender", "top", "held"})
    plan = _plan(_records(50))
    (two,) = maker.make([record._replace(shown=shown)], plan, (0,))
    assert {turn.asked.attribute for turns in two for turn in turns} <= shown


def test_rounds_sentences_and_orders(made):
    assert {len(turns) for _, turns in made} == {5, 6, 7, 8, 9, 10}
    orders = {tuple(turn.asked.attribute for turn in turns) for _, turns in made}
    assert len(orders) > 0.99 * len(made)
    for _, turns in made:
        for turn in turns:
            assert re.fullmatch(r"[A-Z][^{}]*\?", turn.question), turn
            assert re.fullmatch(r"[A-Z][^{}]*\.", turn.answer), turn
            text = f"{turn.question} {turn.answer}"
            assert not re.search(r"\ba [aeiou](?!ne-)|\ban [^aeiou]|\b(\w+) \1\b|  ", text), text


def test_the_questioner_knows_the_gender_only_when_it_was_told(made):
    for _, turns in made:
        told = False
        for turn in turns:
            assert told or not re.search(r"\b(he|she|his|her|him)\b", turn.question.lower()), turns
            told = told or bool(TELLS_GENDER.search(turn.answer.lower()))


def test_dialogues_follow_from_the_seed_and_not_from_the_records_before():
    records = _records(20)
    plan = _plan(records)
    first = list(maker.make(records, plan, (1, 0)))
    assert first == list(maker.make(records, plan, (1, 0)))
    assert first != list(maker.make(records, plan, (2, 0)))
    assert first[:7] == list(maker.make(records[:7], plan, (1, 0)))
    assert all(one != other for one, other in first)


def test_rates_of_synthpedes_are_taken_where_it_has_the_attribute():
    rates = maker.make_rates(["top_color", "hat", "height", "age", "top"], {})
    assert rates == {
        "top_color": RATES["top_color"], "hat": RATES["hat_type"], "height": OTHER_RATES,
        "age": OTHER_RATES, "top": RATES["top_type"],
    }  # fmt: skip
    stated = {"age": Rates(0.5, 0.25, 0.25)}
    rates = maker.make_rates(["age", "hat"], stated, wrong=0.0)
    assert rates["age"] == stated["age"]
    assert rates["hat"] == RATES["hat_type"]._replace(wrong=0.0)
    with pytest.raises(ValueError, match="rates: unknown attribute 'hut'; known are age, hat"):
        maker.make_rates(["age", "hat"], {"hut": OTHER_RATES})
    with pytest.raises(ValueError, match="rates of 'age' must be >= 0 and at most 1 together"):
        maker.make_rates(["age"], {}, wrong=0.9)


def test_extreme_rates_give_extreme_dialogues():
    records = _records(30)
    for kind in ("unknown", "wrong"):
        rate = Rates(**{k: float(k == kind) for k in Rates._fields})
        plan = _plan(records, rates=dict.fromkeys(_VALUES, rate))
        for two in maker.make(records, plan, (0,)):
            assert {turn.asked.kind for turns in two for turn in turns} == {kind}


# Words of a language model


def test_words_of_a_model_take_the_place_of_ours():
    records = _records(3)
    plan = _plan(records)
    heard = []

    def words(file, turns):
        heard.append((file, turns))
        return [(f"About {turn.asked.attribute} ?\n", f" {turn.asked.kind}") for turn in turns]

    ours = list(maker.make(records, plan, (0,)))
    theirs = list(maker.make(records, plan, (0,), words))
    assert [file for file, _ in heard] == [r.file for r in records for _ in range(2)]
    for one, other in zip(ours, theirs, strict=True):
        for turns, reworded in zip(one, other, strict=True):
            assert [t.asked for t in turns] == [t.asked for t in reworded]
            assert reworded[0].question == f"About {turns[0].asked.attribute} ?"
            assert reworded[0].answer == turns[0].asked.kind


@pytest.mark.parametrize(
    "given",
    [None, "text", [], [("q", "a")], lambda n: [("q", " ")] * n, lambda n: [("q",)] * n,
     lambda n: [("q", 1)] * n],
)  # fmt: skip
def test_words_that_are_no_dialogue_are_refused(given):
    records = _records(1)

    def words(file, turns):
        return given(len(turns)) if callable(given) else given

    with pytest.raises(ValueError, match=r"words must return \d+ pairs of .* for 0\.png, got"):
        list(maker.make(records, _plan(records), (0,), words))


# The report


def test_the_report_counts_what_was_made():
    records = _records(40)
    plan = _plan(records)
    report = Report()
    rounds, words = 0, 0
    for record, dialogues in zip(records, maker.make(records, plan, (0,)), strict=True):
        report.add(record.file, dialogues)
        for turns in dialogues:
            rounds += len(turns)
            words += sum(len(f"{t.question} {t.answer}".split()) for t in turns)
    found = report.as_json(plan)
    assert (found["images"], found["dialogues"], found["words"]) == (40, 80, words)
    assert sum(int(n) * count for n, count in found["rounds"].items()) == rounds
    assert sum(answers["asked"] for answers in found["answers"].values()) == rounds
    for answers in found["answers"].values():
        assert sum(answers[kind] for kind in KINDS) == answers["asked"]
    assert "40 images, 80 dialogues of 5 to 10 rounds" in report.as_text(plan)
    json.dumps(found)


# The tool


@pytest.fixture
def folder(tmp_path):
    """A copy of CUHK-PEDES with a table of attributes a person."""
    folder = write_copy(tmp_path, "cuhk_pedes")
    people = sorted({record["id"] for record in cuhk_records("cuhk_pedes")})
    rows = [
        {"id": person, **{name: values[(person + i) % len(values)]
                          for i, (name, values) in enumerate(_VALUES.items())}}
        for person in people
    ]  # fmt: skip
    (folder / "attributes.json").write_text(json.dumps(rows))
    return folder


def _options(folder, out, *more):
    table = str(folder / "attributes.json")
    return ["cuhk_pedes", "--root", str(folder), "--attributes", table, "--out", str(out), *more]


def test_the_tool_writes_what_the_builder_of_chatpedes_reads(tool, folder, tmp_path, capsys):
    out, report = tmp_path / "ChatPedes", tmp_path / "report.json"
    assert tool.main(_options(folder, out, "--report", str(report))) == 0
    assert "12 images" not in capsys.readouterr().err
    assert sorted(path.name for path in out.iterdir()) == [
        "test_reid.json", "train_reid.json", "val_reid.json",
    ]  # fmt: skip
    counted = json.loads(report.read_text())["splits"]
    assert {split: found["images"] for split, found in counted.items()} == {
        "train": 6, "val": 2, "test": 4,
    }  # fmt: skip
    shutil.copytree(folder / "imgs", out / "imgs")
    opened = open_split(
        "chatpedes", "train", data_dir=tmp_path / "data", manual_dir=out, allow_partial=True
    )
    rows = json.loads((out / "train_reid.json").read_text())
    assert [len(dialogues) for dialogues in opened.dialogues] == [2] * 6
    for dialogues, row in zip(opened.dialogues, rows, strict=True):
        assert [to_chat(dialogue) for dialogue in dialogues] == row["chats"]


def test_the_tool_is_deterministic_and_seeded(tool, folder, tmp_path):
    texts = []
    for name, more in (("a", ()), ("b", ()), ("c", ("--seed", "1")), ("d", ("--split", "test"))):
        assert tool.main(_options(folder, tmp_path / name, *more)) == 0
        texts.append((tmp_path / name / "test_reid.json").read_bytes())
    assert texts[0] == texts[1] == texts[3]
    assert texts[0] != texts[2]
    assert not (tmp_path / "d/train_reid.json").exists()


def test_the_tool_takes_rates_values_and_words(tool, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model_of_words.py").write_text(
        "def say(file, turns):\n    return [(t.asked.attribute, t.asked.kind) for t in turns]\n"
    )
    (tmp_path / "values.json").write_text(json.dumps(_VALUES))
    (tmp_path / "rates.json").write_text('{"belt": {"unknown": 1, "vague": 0, "wrong": 0}}')
    more = ["--unknown", "0", "--vague", "1", "--wrong", "0", "--rates", "rates.json"]
    more += ["--values", "values.json", "--words", "model_of_words:say", "--per-image", "1"]
    assert tool.main(_options(folder, tmp_path / "out", *more)) == 0
    rows = json.loads((tmp_path / "out/train_reid.json").read_text())
    said = {(q["value"], a["value"]) for row in rows for chat in row["chats"] for q, a in chat}
    assert all(len(row["chats"]) == 1 for row in rows)
    assert said <= {(name, "unknown" if name == "belt" else "vague") for name in _VALUES}


def test_the_tool_reads_tables_of_images_and_of_numbers(tool, tmp_path):
    folder = write_chatpedes(tmp_path)
    images = [r for split in ("train", "test") for r in chatpedes_records(split)]
    head = "image,gender,age,up,hat,upred,downblue\n"
    cells = [f"{r['file_path']},{1 + i % 2},3,1,{1 + i % 2},2,{1 + i % 2}\n"
             for i, r in enumerate(images)]  # fmt: skip
    (tmp_path / "table.csv").write_text(head + "".join(cells))
    options = ["chatpedes", "--root", str(folder), "--attributes", str(tmp_path / "table.csv")]
    options += ["--mapping", "market_1501", "--out", str(tmp_path / "out")]
    options += ["--unknown", "0", "--vague", "0", "--wrong", "0"]
    assert tool.main(options) == 0
    rows = json.loads((tmp_path / "out/train_reid.json").read_text())
    assert [row["file_path"] for row in rows] == [r["file_path"] for r in images[:8]]
    said = " ".join(a["value"].lower() for row in rows for chat in row["chats"] for _, a in chat)
    assert {"red", "adult"} <= set(re.findall(r"[a-z]+", said))


def test_every_attribute_of_market_1501_can_be_asked_for():
    found = read_mapping(MARKET_1501).values()
    names = {name for cells in found if cells for told in cells.values() for name in told}
    for name in names:
        matter = matters.make_matter(name, names)
        assert len(set(matter.questions)) == 3
        assert matter.present
    with pytest.raises(ValueError, match="is neither of the body"):
        matters.make_matter("logo", names)


def test_the_tool_reads_rendered_people(tool, tmp_path, capsys):
    options = ["synthpedes:tiny", "--data-dir", str(tmp_path / "data"), "--split", "val"]
    assert tool.main([*options, "--out", str(tmp_path / "out")]) == 0
    rows = json.loads((tmp_path / "out/val_reid.json").read_text())
    assert len(rows) == 32
    assert {len(row["chats"]) for row in rows} == {2}
    assert "height" in capsys.readouterr().out


def _write_table(folder, change):
    rows = json.loads((folder / "attributes.json").read_text())
    change(rows)
    (folder / "attributes.json").write_text(json.dumps(rows))


@pytest.mark.parametrize(
    ("change", "more", "message"),
    [
        (lambda rows: rows[1].update(shirt="red"), (),
         "attributes.json, key 'shirt': is neither of the body (gender, age"),
        (lambda rows: rows[1].update(hat=3), (),
         "attributes.json, record 1, key 'hat': 3 is no word; a mapping must say"),
        (lambda rows: rows.pop(0), (), "attributes.json: has no row of person 1 (record 0 of"),
        (lambda rows: rows.append(rows[0]), (),
         "attributes.json, record 6, key 'id': '1' has a row before this one"),
        (lambda rows: rows[2].update(hat="cup"), ("--values", "values.json"),
         "attributes.json, record person 3, key 'hat': unknown value 'cup'; known are none, cap"),
        (lambda rows: rows[2].update(cape="cape"), ("--values", "values.json"),
         "attributes.json, record person 3, key 'cape': unknown attribute; known are gender, age"),
        (None, ("--rates", "no.json"), "no.json: cannot be read: No such file"),
        (None, ("--rates", "bad.json"), "bad.json, key 'hat': must be an object of unknown, vague"),
        (None, ("--rates", "other.json"), "rates: unknown attribute 'hut'; known are age, backp"),
        (None, ("--wrong", "1.5"), "rates of 'age' must be >= 0 and at most 1 together, got unk"),
        (None, ("--per-image", "0"), "--per-image must be >= 1, got 0"),
        (None, ("--seed", "-1"), "--seed must be >= 0, got -1"),
        (None, ("--most-rounds", "3"), "must be 1 <= fewest <= most, got 5 and 3"),
        (None, ("--words", "nothing"), "--words must be module:function, got 'nothing'"),
        (None, ("--words", "json:dumbs"), "module json has no function 'dumbs'"),
        (None, ("--split", "train", "--root", "nowhere"), "manual_dir nowhere is not a folder"),
    ],
)  # fmt: skip
def test_the_tool_says_in_one_sentence_what_is_wrong(
    tool, folder, tmp_path, capsys, monkeypatch, change, more, message
):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "values.json").write_text(json.dumps(_VALUES))
    (tmp_path / "bad.json").write_text('{"hat": 0.5}')
    (tmp_path / "other.json").write_text('{"hut": {"unknown": 0, "vague": 0, "wrong": 0}}')
    if change:
        _write_table(folder, change)
    assert tool.main(_options(folder, tmp_path / "out", *more)) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert message in captured.err
    assert not (tmp_path / "out").exists()


def test_images_without_attributes_or_files_are_named(tool, folder, tmp_path, capsys):
    _write_table(folder, lambda rows: rows.pop(0))
    assert tool.main(_options(folder, tmp_path / "out", "--allow-missing")) == 0
    rows = json.loads((tmp_path / "out/train_reid.json").read_text())
    assert len(rows) == 4
    _write_table(folder, lambda rows: rows[0].update(dict.fromkeys(_VALUES, "")))
    capsys.readouterr()
    (folder / "imgs" / cuhk_records("cuhk_pedes")[3]["file_path"]).unlink()
    assert tool.main(_options(folder, tmp_path / "again", "--allow-missing")) == 2
    assert re.search(
        r"reid_raw\.json, record 3, key 'file_path': .* is missing", capsys.readouterr().err
    )


def test_an_image_of_which_nothing_can_be_asked_is_named(tool, folder, tmp_path, capsys):
    bare = [{"id": r["id"], "hat_color": None, "hat": None, "gender": "male"} for r in
            json.loads((folder / "attributes.json").read_text())]  # fmt: skip
    for row in bare[2:3]:
        del row["hat"], row["gender"], row["hat_color"]
    (folder / "attributes.json").write_text(json.dumps(bare))
    assert tool.main(_options(folder, tmp_path / "out")) == 2
    assert re.search(
        r"attributes\.json: tells nothing of \S+ that can be asked for", capsys.readouterr().err
    )


@pytest.mark.external
def test_dialogues_of_drawn_people_have_the_stated_rates(tool, tmp_path):
    folder = Path(os.environ["JAXREID_DATA"]) / "lpc_persons"
    report = tmp_path / "report.json"
    options = _options(folder, tmp_path / "out", "--split", "train", "--report", str(report))
    assert tool.main(options) == 0
    found = json.loads(report.read_text())["splits"]["train"]
    assert found["dialogues"] == 2 * 2_376
    for name, answers in found["answers"].items():
        for kind, rate in answers["stated"].items():
            if kind != "wrong" or name not in ("belt",):
                assert _within(answers[kind] / answers["asked"], rate, answers["asked"]), name


def test_turns_become_a_dialogue(made):
    _, turns = made[0]
    told = as_dialogue(turns)
    assert [(r.question, r.answer) for r in told.rounds] == [(t.question, t.answer) for t in turns]
    assert told.opening == ""
