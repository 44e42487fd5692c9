"""What can be asked about a person: attributes with their values, questions and prompts.

A scheme is a JSON file; `synthpedes.json` beside this file is the embedded one:

  {"name": "mine",
   "synonyms": {"gray": ["grey"]},            more words for a value, in every attribute with it
   "attributes": [
     {"name": "bag_color",
      "says": "color of the bag",             how the attribute is called in a sentence
      "question": "What color was the bag?",
      "prompt": "A person carrying a {value} bag.",
      "unknown": 0.08,                        share of witnesses who do not know, in [0, 1)
      "wrong": 0.1,                           share of answers drawn at random, in [0, 1]
      "unless": {"bag_type": ["none"]},       not asked once this was answered
      "values": ["black", "white",            or with a prompt and further words of its own:
        {"name": "none", "prompt": "A person without a bag.", "words": ["no bag"]}]}]}

"prompt" of an attribute, "words", "synonyms" and "unless" may be left out.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxreid.data.dataset import unknown_name
from jaxreid.data.records import AnnotationError

EMBEDDED = Path(__file__).with_name("synthpedes.json")
NONE = "none"  # the value that says that a thing is not there

_SCHEME_KEYS = {"name", "attributes"}
_ATTRIBUTE_KEYS = {"name", "says", "question", "unknown", "wrong", "values"}
_LARGEST = 64  # values of an attribute


class Value(NamedTuple):
    """One answer to a question."""

    name: str
    prompt: str  # a caption of a person with this value
    words: tuple[str, ...]  # what a witness may call it; lower case, `name` among them


class Attribute(NamedTuple):
    """One matter to ask about."""

    name: str
    says: str  # in a sentence: "color of the bag"
    question: str
    values: tuple[Value, ...]  # at least two
    unknown: float  # share of the witnesses who do not know
    wrong: float  # share of the answers that are drawn at random among the values
    # (attribute, its values): not asked once that attribute was answered by one of these
    unless: tuple[tuple[str, tuple[str, ...]], ...]

    def index(self, value: str) -> int:
        """Position of a value; ValueError names it and those allowed."""
        names = [known.name for known in self.values]
        if value not in names:
            raise ValueError(unknown_name(f"value of {self.name}", value, names))
        return names.index(value)


class Scheme(NamedTuple):
    """All that can be asked, in the order in which a person without a policy would ask."""

    name: str
    attributes: tuple[Attribute, ...]
    fingerprint: str  # of the content of the file

    def index(self, attribute: str) -> int:
        """Position of an attribute; ValueError names it and those allowed."""
        names = [known.name for known in self.attributes]
        if attribute not in names:
            raise ValueError(unknown_name("attribute", attribute, names))
        return names.index(attribute)


def read_scheme(path: str | Path = EMBEDDED) -> Scheme:
    """Returns the scheme of a JSON file, by default the attributes of synthpedes.

    Raises:
      FileNotFoundError: there is no such file.
      AnnotationError: it is not a scheme; names the attribute and the key.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
        content = json.loads(data)
    except FileNotFoundError:
        raise FileNotFoundError(f"no scheme of attributes at {path}") from None
    except (ValueError, OSError) as error:
        raise AnnotationError(path, None, None, f"cannot be read as JSON: {error}") from error
    if not isinstance(content, dict):
        raise AnnotationError(path, None, None, "must be an object with name and attributes")
    _check_keys(path, None, content, _SCHEME_KEYS, {"synonyms"})
    if not isinstance(content["name"], str) or not content["name"]:
        raise AnnotationError(path, None, "name", f"must be a name, got {content['name']!r}")
    found = content["attributes"]
    if not isinstance(found, list) or not found:
        raise AnnotationError(path, None, "attributes", "must be a list of at least one")
    synonyms = content.get("synonyms", {})
    if not isinstance(synonyms, dict) or not all(map(_are_words, synonyms.values())):
        raise AnnotationError(path, None, "synonyms", "must be lists of words by value")
    attributes = [_attribute(path, i, given, synonyms) for i, given in enumerate(found)]
    _check_names(path, attributes)
    return Scheme(content["name"], tuple(attributes), hashlib.sha256(data).hexdigest()[:16])


def value_counts(scheme: Scheme) -> np.ndarray:
    """Returns i32[A], how many values each attribute has."""
    return np.array([len(attribute.values) for attribute in scheme.attributes], np.int32)


def value_mask(counts: np.ndarray) -> np.ndarray:
    """Returns bool[A, V], False on the padding of attributes with fewer than V values."""
    return np.arange(counts.max()) < counts[:, None]


def closing(scheme: Scheme) -> np.ndarray:
    """Returns bool[A, V, A]: attribute a answered by value v leaves no sense in asking b."""
    counts = value_counts(scheme)
    out = np.zeros((len(counts), counts.max(), len(counts)), bool)
    for b, attribute in enumerate(scheme.attributes):
        for parent, values in attribute.unless:
            a = scheme.index(parent)
            for value in values:
                out[a, scheme.attributes[a].index(value), b] = True
    return out


def labels_of(scheme: Scheme, rows: Sequence[Mapping[str, str]], where: str) -> np.ndarray:
    """Returns i32[n, A], the value of each attribute of n people; -1 where a row does not tell.

    Args:
      scheme: of the attributes.
      rows: attribute -> value; attributes that the scheme lacks are left out.
      where: the file or split of the rows, for messages.

    Raises:
      AnnotationError: a value that the attribute does not have, or no row tells an attribute.
    """
    positions = [{v.name: i for i, v in enumerate(a.values)} for a in scheme.attributes]
    out = np.full((len(rows), len(positions)), -1, np.int32)
    for i, row in enumerate(rows):
        for a, attribute in enumerate(scheme.attributes):
            value = row.get(attribute.name)
            if value is None:
                continue
            if value not in positions[a]:
                names = list(positions[a])
                problem = unknown_name(f"value of {attribute.name}", value, names)
                raise AnnotationError(where, i, attribute.name, problem)
            out[i, a] = positions[a][value]
    for a, attribute in enumerate(scheme.attributes):
        if len(rows) and (out[:, a] < 0).all():
            raise AnnotationError(where, None, attribute.name, "no row tells this attribute")
    return out


def _attribute(path: Path, number: int, given: Any, synonyms: Mapping[str, list]) -> Attribute:
    """One attribute of the file."""
    if not isinstance(given, dict):
        raise AnnotationError(path, number, None, f"must be an object, got {given!r}")
    _check_keys(path, number, given, _ATTRIBUTE_KEYS, {"prompt", "unless"})
    for key in ("name", "says", "question"):
        if not isinstance(given[key], str) or not given[key].strip():
            raise AnnotationError(path, number, key, f"must be words, got {given[key]!r}")
    for key, below in (("unknown", "[0, 1)"), ("wrong", "[0, 1]")):
        share = given[key]
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
            raise AnnotationError(path, number, key, f"must be in {below}, got {share!r}")
    if given["unknown"] == 1:
        raise AnnotationError(path, number, "unknown", "must be in [0, 1), got 1: nobody answers")
    values = given["values"]
    if not isinstance(values, list) or not 2 <= len(values) <= _LARGEST:
        raise AnnotationError(path, number, "values", f"must be a list of 2 to {_LARGEST} values")
    read = tuple(_value(path, number, value, given.get("prompt"), synonyms) for value in values)
    taken: dict[str, int] = {}
    for i, value in enumerate(read):
        for word in value.words:
            if taken.setdefault(word, i) != i:
                first = read[taken[word]].name
                problem = f"{word!r} means value {first!r} and value {value.name!r}"
                raise AnnotationError(path, number, "values", problem)
    unless = given.get("unless", {})
    if not isinstance(unless, dict) or not all(map(_are_words, unless.values())):
        raise AnnotationError(path, number, "unless", "must be lists of values by attribute")
    return Attribute(
        given["name"], given["says"], given["question"], read,
        float(given["unknown"]), float(given["wrong"]),
        tuple((name, tuple(names)) for name, names in unless.items()),
    )  # fmt: skip


def _value(path: Path, number: int, given: Any, prompt: Any, synonyms: Mapping) -> Value:
    """One value of an attribute, given as a name or as an object."""
    given = {"name": given} if isinstance(given, str) else given
    if not isinstance(given, dict) or not isinstance(given.get("name"), str) or not given["name"]:
        raise AnnotationError(path, number, "values", f"a value must have a name, got {given!r}")
    _check_keys(path, number, given, {"name"}, {"prompt", "words"})
    name, own = given["name"], given.get("prompt")
    template = prompt if own is None else own
    if not isinstance(template, str) or (own is None and "{value}" not in template):
        raise AnnotationError(
            path, number, "prompt", f"must be a sentence with {{value}}, got {template!r} for "
            f"{name!r}",
        )  # fmt: skip
    words = given.get("words", [])
    if not _are_words(words):
        raise AnnotationError(path, number, "values", f"words of {name!r} must be a list of words")
    words = [name, *words, *synonyms.get(name, [])]
    return Value(
        name,
        template if own is not None else template.format(value=name),
        tuple(dict.fromkeys(word.lower() for word in words)),
    )


def _check_names(path: Path, attributes: Sequence[Attribute]) -> None:
    """Refuses names that stand twice, and conditions on what does not exist."""
    names = [attribute.name for attribute in attributes]
    for number, attribute in enumerate(attributes):
        if names.index(attribute.name) != number:
            problem = f"{attribute.name!r} is record {names.index(attribute.name)}, too"
            raise AnnotationError(path, number, "name", problem)
        for parent, values in attribute.unless:
            if parent not in names:
                raise AnnotationError(
                    path, number, "unless", unknown_name("attribute", parent, names)
                )
            for value in values:
                try:
                    attributes[names.index(parent)].index(value)
                except ValueError as error:
                    raise AnnotationError(path, number, "unless", str(error)) from error


def _check_keys(path: Path, number, given: Mapping, needed: set[str], allowed: set[str]) -> None:
    """Refuses missing keys and keys that nobody reads."""
    for key in sorted(needed - set(given)):
        raise AnnotationError(path, number, key, "is missing")
    for key in sorted(set(given) - needed - allowed):
        problem = unknown_name("key", key, sorted(needed | allowed))
        raise AnnotationError(path, number, None, problem)


def _are_words(given: Any) -> bool:
    """Whether something is a list of words."""
    return isinstance(given, list) and all(isinstance(word, str) and word for word in given)
