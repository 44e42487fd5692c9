"""The tool that makes a vocabulary of Llama's kind of what is said of rendered people."""

import importlib.util
from pathlib import Path

import pytest

from jaxreid.data.dataset import open_split
from jaxreid.data.llama import load_llama
from jaxreid.data.text import clean


@pytest.fixture(scope="module")
def tool():
    path = Path(__file__).parents[1] / "tools/causal_vocabulary.py"
    spec = importlib.util.spec_from_file_location("causal_vocabulary", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_text_has_tokens_that_spell_it_and_common_words_are_whole(
    tool, data_dir, tmp_path, capsys
):
    out = tmp_path / "made"
    command = [str(out), "--variants=tiny", f"--data-dir={data_dir}", "--size=500"]
    assert tool.main(command) == 0
    tokenizer = load_llama(str(out))
    assert tokenizer.sep_id == -1  # nothing ends a text: its last word is its last token
    assert f"{tokenizer.vocabulary_size} tokens of" in capsys.readouterr().out
    split = open_split("synthpedes", "train", data_dir=data_dir, variant="tiny")
    said = [clean(d.plain(), "albef", None) for of_image in split.dialogues for d in of_image]
    said += [clean(c, "albef", None) for captions in split.captions for c in captions]
    for text in (*said, "Überraschung! 12€"):
        ids = tokenizer.backend.encode(text, add_special_tokens=False).ids
        assert tokenizer.backend.decode(ids) == text
    assert len(tokenizer.backend.encode("a person was wearing a jacket").ids) == 6


def test_an_unknown_variant_is_named(tool, tmp_path, capsys):
    assert tool.main([str(tmp_path / "out"), "--variants=huge", f"--data-dir={tmp_path}"]) == 2
    assert "huge" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("option", "message"),
    [("--size=255", "--size must be at least 256"), ("a_file", "a_file must be a folder")],
)
def test_what_cannot_be_written_is_refused_before_data_are_read(
    tool, tmp_path, monkeypatch, capsys, option, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a_file").touch()
    out = [option] if option == "a_file" else ["out", option]
    with pytest.raises(SystemExit, match="2"):
        tool.main([*out, f"--data-dir={tmp_path / 'none'}"])
    assert message in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
