"""Llama 3's byte-pair vocabulary, as DiaNA's release reads dialogues with it."""

import json
from pathlib import Path

import tokenizers

from jaxreid.data.text import Tokenizer, download, load_tokenizer, read_json

FILE = "tokenizer.json"
SOURCE = "meta-llama/Llama-3.2-1B"
# The release takes the first of the reserved tokens for masked ones.
START, MASK = "<|begin_of_text|>", "<|reserved_special_token_0|>"


def load_llama(source: str) -> Tokenizer:
    """Returns the tokenizer of a local folder or of a model on the Hugging Face hub.

    Equal to `transformers.AutoTokenizer` on every text without special tokens; typed inside a text
    these are plain text. A text starts with <|begin_of_text|> ([CLS]) and has no end token: sep_id
    is -1. Padding is 0, which is a token, too: a mask tells where a text ends.

    Args:
      source: folder with tokenizer.json, or one that `text.load_tokenizer` reads: its [CLS], [SEP]
        and [MASK] then play their parts. Else the name of a hub model.

    Raises:
      FileNotFoundError: no such folder, no vocabulary in it, or the hub cannot be reached.
      ValueError: the file holds no such vocabulary.
    """
    folder = Path(source).expanduser()
    if not folder.exists() and source.count("/") == 1 and not source.startswith((".", "~", "/")):
        folder = download(source, (FILE,))
    if (folder / "vocab.txt").exists():
        return load_tokenizer(source)
    file = folder / FILE
    if not file.exists():
        raise FileNotFoundError(
            f"no {FILE} in the folder {source!r}; that of {SOURCE} on the Hugging Face hub, whose "
            "licence asks for an agreement there, belongs into it"
        )
    content = read_json(file)
    model, added = content.get("model"), content.get("added_tokens")
    kind = model.get("type") if isinstance(model, dict) else model
    if kind == "WordPiece":
        return load_tokenizer(source)
    if kind != "BPE" or not isinstance(added, list):
        raise ValueError(f"{file} must hold a BPE model with added tokens, got {kind!r}")
    special = {token["content"]: token["id"] for token in added}
    missing = [token for token in (START, MASK) if token not in special]
    if missing:
        raise ValueError(f"{file} lacks the special tokens {missing} of Llama 3")
    words = len(model["vocab"])
    if sorted(special.values()) != list(range(words, words + len(special))):
        raise ValueError(f"{file}: special tokens must come behind the {words} tokens of the model")
    bare = {"added_tokens": [], "post_processor": None, "truncation": None, "padding": None}
    try:
        backend = tokenizers.Tokenizer.from_str(json.dumps(content | bare))
    except Exception as error:  # the library raises no other kind
        raise ValueError(f"{file} cannot be read as a tokenizer: {error}") from error
    return Tokenizer(backend, words + len(special), 0, -1, special[START], -1, special[MASK])
