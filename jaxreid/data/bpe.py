"""CLIP's byte-level byte-pair vocabulary (Radford et al., 2021): its files, and learning one.

A vocabulary is vocab.json and merges.txt as CLIP's: 256 bytes as printable characters, the same
with "</w>" (end of word), one token for each merge, and the special tokens. `jaxreid.data.text`
calls <|startoftext|> [CLS], <|endoftext|> [SEP] and <|mask|> [MASK].
"""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import tokenizers

from jaxreid.data.text import (
    Tokenizer,
    download,
    learn_merges,
    load_tokenizer,
    read_json,
    write_once,
)

MASK, START, END = "<|mask|>", "<|startoftext|>", "<|endoftext|>"
MASKS = ("none", "added", "last_merge")
FILES = ("vocab.json", "merges.txt")

_BYTES = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())  # CLIP's order
_WORD_END = "</w>"
# Letters, one digit, or marks; CLIP's pattern without its special tokens: typed inside a caption
# they are plain text. CLIP's own tokenizer takes them for what they look like.
_WORD = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
_HEADER = "#version: 0.2"


def load_bpe(source: str, *, mask: str) -> Tokenizer:
    """Returns the tokenizer of a local folder or of a model on the Hugging Face hub.

    Equal to `transformers.CLIPTokenizer` on every text without special tokens. OpenAI's and IRRA's
    tokenizer also repair broken unicode (ftfy) and HTML entities. Padding is 0, as in both; that is
    also the byte "!" inside a longer run of marks, so where a text ends is told by its end token.

    Args:
      source: folder with vocab.json and merges.txt, or one that `text.load_tokenizer` reads: its
        [CLS], [SEP] and [MASK] then play the parts of CLIP's tokens. Else the name of a hub model
        such as "openai/clip-vit-base-patch16".
      mask: where the vocabulary has no <|mask|>, as CLIP's has none,
        "none": mask_id is -1;
        "added": the mask is a row more, behind all others;
        "last_merge": it takes the id of the last merge, which is then no merge any more: id 49405
        and 49408 tokens, as in IRRA's release (utils/simple_tokenizer.py).

    Raises:
      FileNotFoundError: no such folder, no vocabulary in it, or the hub cannot be reached.
      ValueError: an unknown `mask`, or files that hold no such vocabulary.
    """
    if mask not in MASKS:
        raise ValueError(f"mask must be one of {', '.join(MASKS)}, got {mask!r}")
    folder = Path(source).expanduser()
    if not folder.exists() and source.count("/") == 1 and not source.startswith((".", "~", "/")):
        folder = download(source, FILES)
    if not (folder / FILES[0]).exists():
        return load_tokenizer(source)
    vocabulary, merges = _read(folder)
    start, end = vocabulary[START], vocabulary[END]
    mask_id, size = vocabulary.get(MASK, -1), len(vocabulary)
    if mask_id < 0 and mask == "added":
        mask_id, size = size, size + 1
    elif mask_id < 0 and mask == "last_merge":
        mask_id = vocabulary["".join(merges.pop())]
    backend = tokenizers.Tokenizer(
        tokenizers.models.BPE(
            vocab=vocabulary, merges=merges, continuing_subword_prefix="",
            end_of_word_suffix=_WORD_END,
        )
    )  # fmt: skip
    backend.normalizer, backend.pre_tokenizer = _normalizer(), _pre_tokenizer()
    backend.decoder = tokenizers.decoders.ByteLevel()
    return Tokenizer(backend, size, 0, end, start, end, mask_id)


def train_bpe(captions: Sequence[str], vocabulary_size: int, folder: str) -> Tokenizer:
    """Learns a vocabulary from captions and saves it as a folder that `transformers` reads too.

    As `text.train_tokenizer`, equal captions give equal files; the special tokens are <|mask|>,
    <|startoftext|> and <|endoftext|>, the last three, as in IRRA's release.

    Args:
      captions: training captions, at least one.
      vocabulary_size: upper limit, with 512 bytes and 3 special tokens.
      folder: gets vocab.json, merges.txt and tokenizer_config.json.

    Raises:
      ValueError: the limit is below the bytes and special tokens.
      FileExistsError: the folder holds another vocabulary.
    """
    tokens = dict.fromkeys([*_BYTES, *(byte + _WORD_END for byte in _BYTES)])
    special = (MASK, START, END)
    least = len(tokens) + len(special)
    if vocabulary_size < least:
        raise ValueError(
            f"vocabulary_size must be at least {least} (512 bytes and {len(special)} special "
            f"tokens), got {vocabulary_size}"
        )
    counts = _count_words(captions)
    words = [[*word[:-1], word[-1] + _WORD_END] for word in counts]
    learnt, merges = learn_merges(words, list(counts.values()), str.__add__), []
    while len(tokens) + len(special) < vocabulary_size and (merge := next(learnt, None)):
        merges.append(" ".join(merge[0]))
        tokens[merge[1]] = None
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    vocabulary = {token: i for i, token in enumerate([*tokens, *special])}
    config = {"tokenizer_class": "CLIPTokenizer", "bos_token": START, "eos_token": END,
              "unk_token": END, "pad_token": END, "mask_token": MASK}  # fmt: skip
    write_once(path / "vocab.json", json.dumps(vocabulary, ensure_ascii=False) + "\n")
    write_once(path / "merges.txt", "\n".join([_HEADER, *merges]) + "\n")
    write_once(path / "tokenizer_config.json", json.dumps(config, indent=2) + "\n")
    return load_bpe(folder, mask="none")


def _read(folder: Path) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Token ids and merges of a folder, checked."""
    file, merges_file = (folder / name for name in FILES)
    vocabulary = read_json(file)
    ids = [value for value in vocabulary.values() if type(value) is int]
    if len(ids) < len(vocabulary) or sorted(ids) != list(range(len(ids))):
        raise ValueError(f"{file} must number its tokens from 0 without gaps")
    needed = [START, END, *_BYTES, *(byte + _WORD_END for byte in _BYTES)]
    if missing := [token for token in needed if token not in vocabulary]:
        raise ValueError(f"{file} lacks the tokens {missing[:5]}")
    if not merges_file.exists():
        raise FileNotFoundError(f"no merges.txt beside {file}")
    # Not splitlines(): merges hold separators that it would split at.
    lines = merges_file.read_text("utf-8").removesuffix("\n").split("\n")
    merges = []
    for number, line in enumerate(lines, 1):
        if number == 1 and line.startswith("#version"):
            continue
        pair = tuple(line.split(" "))
        if len(pair) != 2 or not {*pair, "".join(pair)} <= vocabulary.keys():
            raise ValueError(
                f"{merges_file}, line {number}: must be two tokens of {file.name} whose join is a "
                f"token too, got {line!r}"
            )
        merges.append(pair)
    if not merges:
        raise ValueError(f"{merges_file} holds no merge")
    return vocabulary, merges


def _count_words(captions: Sequence[str]) -> Counter[str]:
    """How often each word occurs, its bytes as printable characters."""
    normalizer, pre_tokenizer = _normalizer(), _pre_tokenizer()
    counts = Counter()
    for caption in captions:
        words = pre_tokenizer.pre_tokenize_str(normalizer.normalize_str(caption))
        counts.update(word for word, _ in words)
    return counts


def _normalizer() -> tokenizers.normalizers.Normalizer:
    """Composes characters, squeezes white space, lower case."""
    return tokenizers.normalizers.Sequence(
        [
            tokenizers.normalizers.NFC(),
            tokenizers.normalizers.Replace(tokenizers.Regex(r"\s+"), " "),
            tokenizers.normalizers.Lowercase(),
        ]
    )


def _pre_tokenizer() -> tokenizers.pre_tokenizers.PreTokenizer:
    """Splits words and maps their bytes to printable characters."""
    return tokenizers.pre_tokenizers.Sequence(
        [
            tokenizers.pre_tokenizers.Split(
                tokenizers.Regex(_WORD), behavior="removed", invert=True
            ),
            tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
