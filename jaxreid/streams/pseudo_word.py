"""Prompts with a word that stands for an image, as Word4Per writes its composed queries."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxreid.data.text import Tokenizer, encode_texts
from jaxreid.models.clip import Clip, Word
from jaxreid.streams.dual import text_feature

WORD, CAPTION = "*", "{caption}"


class Prompt(NamedTuple):
    """What stands before a caption."""

    ids: tuple[int, ...]  # tokens, 0 where the word for the image is put
    place: int  # of that word in a text, the start token being 0
    max_tokens: int  # of a text, with the prompt, the start token and the end token


def check_prompt(template: str, field: str, *, caption: bool) -> None:
    """Raises ValueError if a template lacks a place.

    Args:
      template: "a * is , {caption}": "*" is the word for the image.
      field: of the config.
      caption: whether it ends in a caption; else it has none.
    """
    wanted = f"one {WORD!r} and " + (f"end in {CAPTION!r}" if caption else f"no {CAPTION!r}")
    before, _, after = template.partition(CAPTION)
    whole = before.count(WORD) == 1 and not after and (CAPTION in template) == caption
    if not whole:
        raise ValueError(f"{field} must have {wanted}, got {template!r}")


def read_prompt(tokenizer: Tokenizer, template: str, max_tokens: int) -> Prompt:
    """Returns the tokens of a template that `check_prompt` accepts.

    Args:
      tokenizer: of the captions.
      template: see `check_prompt`.
      max_tokens: `config.text.max_tokens`, which a text with a prompt has at most, too.

    Raises:
      ValueError: no place is left for a token of a caption.
    """
    before, after = template.replace(CAPTION, "").split(WORD)
    first, last = (_ids(tokenizer, words) for words in (before, after))
    ids = (*first, 0, *last)
    least = 1 + len(ids) + 1 + 1  # start token, a token of the caption, end token
    if max_tokens < least:
        raise ValueError(
            f"text.max_tokens must be at least {least} for the prompt {template!r}, "
            f"got {max_tokens}"
        )
    return Prompt(ids, 1 + len(first), max_tokens)


def prompted(prompt: Prompt, tokens: jax.Array, end_id: int) -> jax.Array:
    """Returns i32[B, min(L + P, max_tokens)]: texts with the prompt before them.

    A text that is too long is cut so that the end token stays last.

    Args:
      prompt: of P tokens.
      tokens: i32[B, L], start token first, each row with an end token.
      end_id: of the token that ends a text.
    """
    ids = jnp.array(prompt.ids, tokens.dtype)[None]  # [1, P]
    ids = jnp.broadcast_to(ids, (len(tokens), len(prompt.ids)))
    longer = jnp.concatenate([tokens[:, :1], ids, tokens[:, 1:]], axis=1)[:, : prompt.max_tokens]
    ended = (longer == end_id).any(axis=1)
    return longer.at[:, -1].set(jnp.where(ended, longer[:, -1], end_id))


def prompt_feature(
    model: Clip, params: Any, prompt: Prompt, tokens: jax.Array, word: jax.Array
) -> jax.Array:
    """Returns f32[B, E] features, any norm, of texts that begin with a prompt.

    Args:
      model: the encoders.
      params: a tree that holds theirs.
      prompt: what stands before the captions.
      tokens: i32[B, L] of the captions; of an empty text for a prompt alone.
      word: f32[B, D], token embeddings of the images.
    """
    texts = prompted(prompt, tokens, model.end_id)
    return text_feature(model, params, texts, word=Word(word, prompt.place))[0]


def _ids(tokenizer: Tokenizer, words: str) -> tuple[int, ...]:
    """The tokens of words, without start and end; of no words none."""
    return tuple(encode_texts(tokenizer, [words])[0].ids) if words.strip() else ()
