"""Captions as arrays: cleaning, splitting into words, and WordPiece tokens."""

import heapq
import itertools
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tokenizers
from absl import logging

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
STYLES = ("albef", "blip", "none")

# WordPiece turns longer words into [UNK] (BERT's limit), so training ignores them.
_LONGEST_WORD = 100
_ALBEF_DROP = str.maketrans("-/", "  ", ",.'!?\"()*#:;~")
_BLIP_BLANK = str.maketrans(dict.fromkeys('.!"()*#:;~', " "))

# Words as the Penn Treebank counts them: hyphens and slashes join ("t-shirt"), clitics and
# punctuation stand alone ("man's" is "man" + "'s", "doesn't" is "does" + "n't").
_WORD = re.compile(
    r"""
    [^\W_]+?(?=n['\u2019]t\b)                             # the "does" of "doesn't"
    | n['\u2019]t\b
    | ['\u2019](?:s|m|d|ll|re|ve)\b                       # clitics
    | \d+(?:[.,]\d+)+                                # 1,000 and 2.5
    | \w+(?:(?:[-/]|['\u2019](?!(?:s|m|d|ll|re|ve)\b))\w+)*+
    | ([^\w\s])\1*                                   # one mark, repeated: "..." or "--"
    """,
    re.VERBOSE | re.IGNORECASE,
)


class Tokenizer(NamedTuple):
    """A WordPiece vocabulary with the ids that models and losses ask for.

    Special tokens typed inside a caption are plain text: "[MASK]" gives "[", "mask", "]", so
    no text can smuggle padding into the middle of a row.
    """

    backend: tokenizers.Tokenizer  # without special tokens, padding and truncation
    vocabulary_size: int  # V
    pad_id: int
    unk_id: int
    cls_id: int
    sep_id: int
    mask_id: int


def load_tokenizer(source: str) -> Tokenizer:
    """Returns the WordPiece tokenizer of a local folder, or of a model on the Hugging Face hub.

    Equal to `transformers.BertTokenizer.from_pretrained(folder)` on every text without special
    tokens, at a hundredth of its import time.

    Args:
      source: folder with vocab.txt or tokenizer.json, and tokenizer_config.json if there is one
        (its do_lower_case, strip_accents and tokenize_chinese_chars are kept); else the name of
        a hub model such as "bert-base-uncased", looked for in the local cache first.

    Raises:
      FileNotFoundError: no such folder, no vocabulary in it, or the hub cannot be reached.
      ValueError: the vocabulary is empty, repeats a token, or lacks a special token.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        return _load_folder(path)
    if path.exists():
        raise FileNotFoundError(f"{source!r} is a file; give the folder that holds vocab.txt")
    if not re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", source):
        raise FileNotFoundError(f"no tokenizer folder {source!r}")
    return _load_folder(download(source, ("vocab.txt",)))


def train_tokenizer(captions: Sequence[str], vocabulary_size: int, folder: str) -> Tokenizer:
    """Learns a lower-case WordPiece vocabulary from captions and saves it as a folder.

    Pairs of pieces are merged in order of their count (byte-pair merges, as in the trainer of
    the `tokenizers` library); equal counts are merged in the order of the alphabet, so equal
    captions always give an equal file, which the library's trainer does not promise.

    Args:
      captions: training captions, at least one.
      vocabulary_size: upper limit; short of pairs the vocabulary stays smaller, so models read
        `Tokenizer.vocabulary_size` instead.
      folder: gets vocab.txt and tokenizer_config.json; also loads with transformers.

    Raises:
      ValueError: the limit is below the special tokens and single characters.
      FileExistsError: the folder holds another vocabulary.
    """
    pieces = [*SPECIAL, *_learn_pieces(_count_words(captions), vocabulary_size - len(SPECIAL))]
    config = {
        "tokenizer_class": "BertTokenizer",
        "do_lower_case": True,
        "strip_accents": None,
        "tokenize_chinese_chars": True,
    }
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    write_once(path / "vocab.txt", "".join(f"{piece}\n" for piece in pieces))
    write_once(path / "tokenizer_config.json", json.dumps(config, indent=2) + "\n")
    return _load_folder(path)


def clean(caption: str, style: str, max_words: int | None) -> str:
    """Returns the caption as the releases feed it to their tokenizer.

    "albef" (ALBEF, RaSa): lower case, drops ,.'!?"()*#:;~ and turns - and / into spaces.
    "blip" (BLIP, CADA): lower case, turns .!"()*#:;~ into spaces, keeps , ' - and /.
    "none" (IRRA): as it is.
    The first two also squeeze white space; a caption of punctuation only becomes "".

    Args:
      caption: any text.
      style: "albef" | "blip" | "none".
      max_words: white-space words kept, counted from the start; None keeps all.
    """
    if style == "albef":
        text = caption.lower().translate(_ALBEF_DROP).replace("<person>", "person")
        words = text.split()
    elif style == "blip":
        words = caption.lower().translate(_BLIP_BLANK).split()
    elif style == "none":
        words = caption.split()
        if max_words is None or len(words) <= max_words:
            return caption
    else:
        raise ValueError(f"style must be one of {STYLES}, got {style!r}")
    return " ".join(words[:max_words])


def word_spans(text: str) -> list[tuple[int, int]]:
    """Character spans [start, end) of words and punctuation marks.

    As nltk's TreebankWordTokenizer splits a single sentence, with two differences: a period
    is split off at the end of every sentence, not only of the last, and no text raises.
    """
    return [match.span() for match in _WORD.finditer(text)]


def encode(tokenizer: Tokenizer, texts: Sequence[str], max_tokens: int) -> dict[str, np.ndarray]:
    """Returns {"tokens": i32[C, L]}: [CLS] text [SEP] [PAD].. with L = max_tokens.

    A longer text is cut so that [SEP] stays last; how many were is logged. The attention mask
    is tokens != tokenizer.pad_id.

    Raises:
      ValueError: a text is not a str or holds no token (names its index), or max_tokens < 3.
    """
    ids = [encoding.ids for encoding in encode_texts(tokenizer, texts)]
    tokens = _fill_rows(tokenizer, ids, max_tokens)
    cut = sum(len(row) > max_tokens - 2 for row in ids)
    if cut:
        logging.info("%d of %d texts are cut to %d tokens", cut, len(ids), max_tokens)
    return {"tokens": tokens}


def word_ids(tokenizer: Tokenizer, texts: Sequence[str], max_tokens: int) -> np.ndarray:
    """Returns i32[C, L]: the running word number of each token of `encode`, -1 on specials.

    Words are those of `word_spans`, so the pieces of "t-shirt" share one number: whole-word
    masking hides them together.
    """
    numbers = np.full((len(texts), max_tokens), -1, np.int32)
    for row, text, encoding in zip(numbers, texts, encode_texts(tokenizer, texts), strict=True):
        ends = np.array([end for _, end in word_spans(text)])
        starts = [start for start, _ in encoding.offsets[: max_tokens - 2]]
        row[1 : len(starts) + 1] = np.searchsorted(ends, starts, side="right")
    return numbers


def token_offsets(tokenizer: Tokenizer, texts: Sequence[str], max_tokens: int) -> np.ndarray:
    """Returns i32[C, L, 2]: characters [start, end) of each token of `encode`, 0, 0 on specials."""
    offsets = np.zeros((len(texts), max_tokens, 2), np.int32)
    for row, encoding in zip(offsets, encode_texts(tokenizer, texts), strict=True):
        spans = encoding.offsets[: max_tokens - 2]
        row[1 : len(spans) + 1] = spans
    return offsets


def encode_texts(tokenizer: Tokenizer, texts: Sequence[str]) -> list[tokenizers.Encoding]:
    """Token ids and offsets of each text, without special tokens and uncut; never empty."""
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise ValueError(f"text {i} must be a str, got {type(text).__name__}")
        if not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text):
            raise ValueError(f"text {i} is not valid unicode: {text[:80]!r}")
    encodings = tokenizer.backend.encode_batch(list(texts), add_special_tokens=False)
    for i, encoding in enumerate(encodings):
        if not encoding.ids:
            raise ValueError(f"text {i} is empty: {texts[i][:80]!r}")
    return encodings


def _fill_rows(tokenizer: Tokenizer, ids: Sequence[Sequence[int]], length: int) -> np.ndarray:
    """i32[len(ids), length] rows [CLS] ids [SEP] [PAD].., ids cut at the end where too long."""
    if length < 3:
        raise ValueError(f"a row needs room for [CLS], one token and [SEP], got {length} tokens")
    rows = np.full((len(ids), length), tokenizer.pad_id, np.int32)
    rows[:, 0] = tokenizer.cls_id
    for row, values in zip(rows, ids, strict=True):
        kept = values[: length - 2]
        row[1 : len(kept) + 1] = kept
        row[len(kept) + 1] = tokenizer.sep_id
    return rows


def _load_folder(folder: Path) -> Tokenizer:
    """The tokenizer of a folder with vocab.txt or tokenizer.json."""
    config_file = folder / "tokenizer_config.json"
    config = read_json(config_file) if config_file.exists() else {}
    if (file := folder / "vocab.txt").exists():
        # Not splitlines(): the vocabulary holds separators that it would split at.
        tokens = file.read_text("utf-8").removesuffix("\n").split("\n")
        repeated = [token for token, count in Counter(tokens).items() if count > 1]
        if repeated:
            raise ValueError(f"{file} repeats the tokens {repeated[:5]}")
        vocabulary = {token: i for i, token in enumerate(tokens)}
    elif (file := folder / "tokenizer.json").exists():
        model = read_json(file).get("model")
        kind = model.get("type") if isinstance(model, dict) else model
        if kind != "WordPiece":
            raise ValueError(f"{file} must hold a WordPiece model, got {kind!r}")
        vocabulary = model["vocab"]
    else:
        raise FileNotFoundError(f"no vocab.txt or tokenizer.json in the folder {folder}")
    missing = [token for token in SPECIAL if token not in vocabulary]
    if missing:
        raise ValueError(f"{file} lacks the special tokens {missing}")
    if len(vocabulary) == len(SPECIAL):
        raise ValueError(f"{file} holds no token besides {list(SPECIAL)}")
    backend = tokenizers.Tokenizer(tokenizers.models.WordPiece(vocabulary, unk_token="[UNK]"))
    backend.normalizer = tokenizers.normalizers.BertNormalizer(
        lowercase=config.get("do_lower_case", True),
        strip_accents=config.get("strip_accents"),
        handle_chinese_chars=config.get("tokenize_chinese_chars", True),
    )
    backend.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    backend.decoder = tokenizers.decoders.WordPiece()
    return Tokenizer(backend, len(vocabulary), *(vocabulary[token] for token in SPECIAL))


def read_json(file: Path) -> dict:
    """Returns the object of a JSON file; ValueError names the file where it holds none."""
    try:
        value = json.loads(file.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{file} must hold an object, got {type(value).__name__}")
    return value


def download(name: str, files: Sequence[str]) -> Path:
    """Returns the local folder of the vocabulary of a hub model, fetched if it is not in the cache.

    transformers' own loader answers an unknown or unreachable name with a vocabulary of the
    five special tokens, so the files are asked for by their names.

    Args:
      name: of the model.
      files: what must be there; tokenizer_config.json is fetched where there is one.

    Raises:
      FileNotFoundError: one of the files cannot be had.
    """
    import huggingface_hub  # only here: the import costs half a second

    def find(file: str) -> str:
        try:  # the cache first: without a network each look-up costs half a minute of retries
            return huggingface_hub.hf_hub_download(name, file, local_files_only=True)
        except huggingface_hub.errors.LocalEntryNotFoundError:
            return huggingface_hub.hf_hub_download(name, file)

    try:
        folders = [Path(find(file)).parent for file in files]
    except (OSError, ValueError) as error:
        wanted = " and ".join(files)
        raise FileNotFoundError(
            f"no tokenizer folder {name!r}, and no {wanted} of a hub model {name!r} "
            f"({type(error).__name__}); offline, give a folder with {wanted}"
        ) from error
    try:
        find("tokenizer_config.json")
    except huggingface_hub.errors.EntryNotFoundError:
        logging.info("%s has no tokenizer_config.json within reach: text is lower-cased", name)
    return folders[0]


def _count_words(captions: Sequence[str]) -> Counter[str]:
    """How often each pre-token occurs after BERT's normalisation."""
    normalizer = tokenizers.normalizers.BertNormalizer()
    pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    counts = Counter()
    for caption in captions:
        words = pre_tokenizer.pre_tokenize_str(normalizer.normalize_str(caption))
        counts.update(word for word, _ in words if len(word) <= _LONGEST_WORD)
    return counts


def _learn_pieces(counts: Counter[str], limit: int) -> list[str]:
    """Single characters in order of the alphabet, then merged pieces, most frequent first."""
    words = [[word[0], *(f"##{c}" for c in word[1:])] for word in counts]
    pieces = dict.fromkeys(sorted({piece for word in words for piece in word}))
    if len(pieces) > limit:
        raise ValueError(
            f"vocabulary_size must be at least {len(pieces) + len(SPECIAL)} for these captions "
            f"(special tokens and characters), got {limit + len(SPECIAL)}"
        )
    merges = learn_merges(words, list(counts.values()), lambda a, b: a + b.removeprefix("##"))
    while len(pieces) < limit and (merge := next(merges, None)):
        pieces[merge[1]] = None
    return list(pieces)


def learn_merges(
    words: list[list[str]], weights: Sequence[int], join: Callable[[str, str], str]
) -> Iterator[tuple[tuple[str, str], str]]:
    """Yields (pair of pieces, merged piece), most frequent first; equal counts by the alphabet.

    Args:
      words: the pieces of each different word; changed as pairs are merged.
      weights: how often each word occurs, > 0.
      join: the piece that two neighbours become.
    """
    pairs, where = Counter(), {}  # pair -> count, pair -> numbers of the words that hold it
    for i, word in enumerate(words):
        for pair in itertools.pairwise(word):
            pairs[pair] += weights[i]
            where.setdefault(pair, set()).add(i)
    heap = [(-count, pair) for pair, count in pairs.items()]
    heapq.heapify(heap)
    while heap:
        count, pair = heapq.heappop(heap)
        if -count != pairs[pair] or count == 0:
            continue  # an outdated entry: a newer one with the true count is in the heap
        merged = join(*pair)
        yield pair, merged
        changed = set()
        for i in where.pop(pair):
            for old in itertools.pairwise(words[i]):
                pairs[old] -= weights[i]
                changed.add(old)
            words[i] = _merge(words[i], pair, merged)
            for new in itertools.pairwise(words[i]):
                pairs[new] += weights[i]
                where.setdefault(new, set()).add(i)
                changed.add(new)
        for entry in changed - {pair}:
            heapq.heappush(heap, (-pairs[entry], entry))


def _merge(word: list[str], pair: tuple[str, str], merged: str) -> list[str]:
    """The pieces of a word with each occurrence of the pair replaced."""
    result, i = [], 0
    while i < len(word):
        found = tuple(word[i : i + 2]) == pair
        result.append(merged if found else word[i])
        i += 2 if found else 1
    return result


def write_once(file: Path, content: str) -> None:
    """Writes a file whole; an equal one is left alone, another one is never overwritten."""
    if file.exists():
        if file.read_text("utf-8") == content:
            return
        raise FileExistsError(f"{file} exists with another content; choose another folder")
    part = file.with_name(f"{file.name}.part")
    part.write_text(content, "utf-8")
    part.replace(file)
