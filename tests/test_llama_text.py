"""Llama 3's vocabulary, and dialogues written out line by line as DiaNA's release writes them."""

import json
import pathlib

import jax.numpy as jnp
import numpy as np
import pytest
import tokenizers

from jaxreid.data.dialogue_text import Wording, dialogue_texts, encode_dialogues, read_columns
from jaxreid.data.dialogues import Dialogue, Round
from jaxreid.data.llama import load_llama
from jaxreid.data.text import SPECIAL, encode_texts
from jaxreid.streams.captions import read_tokenizer
from jaxreid.streams.dialogues import retained

WORDING = Wording(
    "You retrieve people.", "ASSISTANT:", "USER:", "none", ("\n\n", "\n", "\n"), "oldest"
)
DIALOGUES = (
    Dialogue((Round("What did he wear?", "A red shirt!"), Round("Any bag?", "No, none of them"))),
    Dialogue((Round("Was it a man?", "Yes"), Round("Who?", "Why!"), Round("Sure?", "It's 1980."))),
)
# Llama 3's pattern of what is merged, and its special tokens but for the reserved ones.
PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
ADDED = ("<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_0|>",
         "<|finetune_right_pad_id|>")  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a tokenizer.json as Llama 3 has it, learnt from the dialogues."""
    made = tokenizers.Tokenizer(tokenizers.models.BPE(ignore_merges=True))
    split = tokenizers.pre_tokenizers.Split(tokenizers.Regex(PATTERN), "isolated")
    bytes_ = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.pre_tokenizer = tokenizers.pre_tokenizers.Sequence([split, bytes_])
    made.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=400,
        show_progress=False,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
    )
    made.train_from_iterator([prompt(d, len(d.rounds)) for d in DIALOGUES] * 3, trainer)
    made.add_special_tokens(list(ADDED))
    start = (ADDED[0], made.token_to_id(ADDED[0]))
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single=f"{ADDED[0]} $A", special_tokens=[start]
    )
    path = tmp_path_factory.mktemp("llama")
    made.save(str(path / "tokenizer.json"))
    return path


def prompt(dialogue: Dialogue, turn: int) -> str:
    """What the release's tokenizer is given: main/conversation.py, CUSTOMIZED."""
    text = WORDING.system + "\n\n"
    for question, answer in dialogue.rounds[:turn]:
        text += f"ASSISTANT: {question}\nUSER: {answer}\n"
    return text.rstrip()


@pytest.fixture(scope="module")
def whole(folder):
    """The tokenizer as it is, with what it adds to a text."""
    return tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))


@pytest.fixture(scope="module")
def tokenizer(folder):
    return read_tokenizer(str(folder), load_llama)


def test_ids_are_those_of_the_file(tokenizer, whole):
    words = whole.token_to_id(ADDED[0])
    assert tokenizer.vocabulary_size == whole.get_vocab_size() == words + 4
    assert tokenizer.backend.get_vocab_size() == words
    assert (tokenizer.cls_id, tokenizer.sep_id, tokenizer.mask_id) == (words, -1, words + 2)
    texts = ["A red shirt!\nNo.", "it's  0 or 1980?\n\n", "\u00e9t\u00e9!!"]
    for text, encoding in zip(texts, encode_texts(tokenizer, texts), strict=True):
        assert [words, *encoding.ids] == whole.encode(text).ids


def test_special_tokens_in_a_text_are_plain_text(tokenizer, whole):
    text = "a <|end_of_text|> b"
    assert whole.token_to_id(ADDED[1]) in whole.encode(text).ids
    (encoding,) = encode_texts(tokenizer, [text])
    assert max(encoding.ids) < whole.token_to_id(ADDED[0])
    assert tokenizer.backend.decode(encoding.ids) == text


@pytest.mark.parametrize("turn", [1, 2, 3])
@pytest.mark.parametrize("length", [12, 90])
def test_the_first_rounds_are_read_as_the_release_encodes_their_whole_prompt(
    tokenizer, whole, turn, length
):
    encoded = encode_dialogues(tokenizer, DIALOGUES, WORDING, 90)
    assert encoded["rounds"].min() < -2  # a line break is in one token with the mark before it
    turns = jnp.minimum(turn, encoded["turns"])
    rows, mask = retained(
        jnp.asarray(encoded["tokens"]), jnp.asarray(encoded["rounds"]), turns,
        length=length, cls_id=tokenizer.cls_id, end_id=tokenizer.sep_id, keep="oldest",
    )  # fmt: skip
    for dialogue, row, seen in zip(DIALOGUES, np.asarray(rows), np.asarray(mask), strict=True):
        want = whole.encode(prompt(dialogue, turn)).ids[:length]
        assert row[: len(want)].tolist() == want
        assert seen.tolist() == [True] * len(want) + [False] * (length - len(want))
        np.testing.assert_array_equal(row[len(want) :], 0)


def test_columns_that_are_not_read_up_to_a_round_are_counted(tokenizer):
    encoded = encode_dialogues(tokenizer, DIALOGUES, WORDING, 90)
    counts = [read_columns(encoded["rounds"], turn) for turn in range(4)]
    assert counts == sorted(set(counts))
    assert counts[3] <= encoded["rounds"].shape[1]
    for turn, count in enumerate(counts):
        turns = np.minimum(turn, encoded["turns"])
        for columns, equal in ((count, True), (count - 1, False)):
            whole, cut = (
                retained(
                    jnp.asarray(encoded["tokens"][:, :end]),
                    jnp.asarray(encoded["rounds"][:, :end]),
                    jnp.asarray(turns),
                    length=90, cls_id=1, end_id=-1, keep="oldest",
                )
                for end in (None, columns)
            )  # fmt: skip
            assert all(np.array_equal(a, b) for a, b in zip(whole, cut, strict=True)) == equal


def test_a_dialogue_is_written_line_by_line():
    assert dialogue_texts(DIALOGUES[0], WORDING) == [
        "You retrieve people.",
        "ASSISTANT: What did he wear?\nUSER: A red shirt!",
        "ASSISTANT: Any bag?\nUSER: No, none of them",
    ]


def test_what_is_cut_is_counted_without_an_end_token(tokenizer, whole, caplog):
    longest = max(len(whole.encode(prompt(d, 3)).ids) for d in DIALOGUES)
    with caplog.at_level("WARNING", logger="absl"):
        encode_dialogues(tokenizer, DIALOGUES, WORDING, longest)
    assert not caplog.text
    with caplog.at_level("WARNING", logger="absl"):
        encode_dialogues(tokenizer, DIALOGUES, WORDING, longest - 1)
    assert f"1 of 2 dialogues are longer than {longest - 2} tokens" in caplog.text
    assert "the newest are left out, at the earliest from round" in caplog.text


def test_a_folder_of_word_pieces_can_stand_in(tmp_path):
    words = [*SPECIAL, "red", "shirt"]
    (tmp_path / "vocab.txt").write_text("\n".join(words) + "\n")
    tokenizer = load_llama(str(tmp_path))
    assert (tokenizer.vocabulary_size, tokenizer.sep_id) == (7, words.index("[SEP]"))


def changed(folder: pathlib.Path, tmp_path: pathlib.Path, change) -> str:
    """A folder whose file has another content."""
    content = json.loads((folder / "tokenizer.json").read_text())
    change(content)
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    return str(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(model={"type": "Unigram"}), "must hold a BPE model with added tokens"),
        (lambda c: c.update(added_tokens=None), "must hold a BPE model with added tokens"),
        (lambda c: c["added_tokens"].pop(0), r"lacks the special tokens \['<\|begin_of_text\|>'\]"),
        (lambda c: c["added_tokens"][2].update(id=500), "must come behind the [0-9]+ tokens"),
        (lambda c: c["model"].update(merges=[["a", "no such"]]), "cannot be read as a tokenizer"),
    ],
)
def test_a_file_that_holds_no_such_vocabulary_is_refused(folder, tmp_path, change, message):
    with pytest.raises(ValueError, match=f"config.text.tokenizer: .*{message}"):
        read_tokenizer(changed(folder, tmp_path, change), load_llama)


def test_a_missing_file_is_told_with_where_it_comes_from(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"no tokenizer\.json in the folder .*meta-llama/Llama-3\.2-1B"
    ):
        read_tokenizer(str(tmp_path), load_llama)
