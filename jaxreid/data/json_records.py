"""Reads a JSON list of objects one by one; every value that is wrong is named by its record."""

import codecs
import difflib
import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from jaxreid.data.records import AnnotationError

MAX_ID = 2**31 - 1  # ids are i32 on the device
_CHUNK = 1 << 24  # bytes in memory at a time, many times a record: a file can have a gigabyte
_SPACE = re.compile(r"[ \t\n\r]*")
_COMMA = re.compile(r"[ \t\n\r]*,[ \t\n\r]*")
_LIST_END = re.compile(r"[ \t\n\r]*\][ \t\n\r]*")


def json_records(path: Path) -> Iterator[dict[str, Any]]:
    """Yields the objects of a JSON list in UTF-8, so that an error names its record.

    Raises:
      AnnotationError: naming file and record: the file is no such list, is empty, an object gives
        a key twice, or a number is none of JSON.
    """
    text = _Text(path)
    if not text.match(_SPACE) or text.peek() != "[":
        raise AnnotationError(path, None, None, "must be a JSON list of records")
    text.position += 1
    text.match(_SPACE)
    index = 0
    ended = text.match(_LIST_END)
    while not ended:
        record = text.decode(index)
        if not isinstance(record, dict):
            raise AnnotationError(path, index, None, f"must be an object, got {show(record)}")
        yield record
        index += 1
        ended = text.match(_LIST_END)
        if not ended and not text.match(_COMMA):
            raise AnnotationError(
                path, index, None, "is not valid JSON: expected ',' or ']' before it"
            )
    if text.peek():
        raise AnnotationError(path, index, None, "is not valid JSON: text after the list")
    if index == 0:
        raise AnnotationError(path, None, None, "holds no records")


def check_keys(
    path: Path,
    index: int,
    record: dict[str, Any],
    needed: Collection[str],
    allowed: Collection[str] | None,
) -> None:
    """Refuses a record without a needed key, or with one that is neither needed nor allowed.

    Args:
      path, index: file and record, for the message.
      record: an object of the file.
      needed: keys that must be there.
      allowed: keys that may be there; None allows all.
    """
    unknown = sorted(set(record) - set(needed) - set(record if allowed is None else allowed))
    missing = [key for key in needed if key not in record]
    if missing:
        others = sorted(set(record) - set(needed))
        raise AnnotationError(path, index, missing[0], is_missing(missing[0], record, others))
    if unknown:
        known = ", ".join((*needed, *allowed))
        raise AnnotationError(path, index, unknown[0], f"is unknown; known keys are {known}")


def is_missing(key: str, record: dict[str, Any], unknown: Collection[str]) -> str:
    """Returns what to say of a key that is missing, with the unknown key that comes near."""
    near = difflib.get_close_matches(key, sorted(unknown), 1)
    hint = f" (is {near[0]!r} meant?)" if near else ""
    return f"is missing{hint}; the keys are {', '.join(map(repr, sorted(record)))}"


def image_file(path: Path, index: int, key: str, value: Any) -> str:
    """Returns the image path of a record, which must stay inside the image folder."""
    file = string(path, index, key, value)
    if not PurePosixPath(file).name:
        raise AnnotationError(path, index, key, f"must name a file, got {show(file)}")
    if "\\" in file or "\0" in file:
        raise AnnotationError(
            path, index, key, f"may hold no backslash or NUL character, got {show(file)}"
        )
    if file.startswith("/") or re.match("[A-Za-z]:", file) or ".." in PurePosixPath(file).parts:
        raise AnnotationError(
            path, index, key, f"must stay inside the image folder, got {show(file)}"
        )
    return file


def sentence(path: Path, index: int, key: str, value: Any) -> str:
    """Returns a string that is not blank."""
    text = string(path, index, key, value)
    if not text.strip():
        raise AnnotationError(path, index, key, "is blank")
    return text


def integer(path: Path, index: int, key: str, value: Any, low: int, high: int) -> int:
    """Returns an integer in low..high."""
    # bool is an int in Python, true is none in JSON
    if not isinstance(value, int) or isinstance(value, bool):
        raise AnnotationError(path, index, key, f"must be an integer, got {show(value)}")
    if not low <= value <= high:
        raise AnnotationError(path, index, key, f"must be in {low}..{high}, got {show(value)}")
    return value


def string(path: Path, index: int, key: str, value: Any) -> str:
    """Returns a string that can be written as UTF-8."""
    if not isinstance(value, str):
        raise AnnotationError(path, index, key, f"must be text, got {show(value)}")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise AnnotationError(
            path, index, key, f"holds half of a surrogate pair: {ascii(value)[:60]}"
        ) from None
    return value


def show(value: Any) -> str:
    """Returns a value, short enough for a message."""
    try:
        shown = ascii(value) if isinstance(value, str) else repr(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits, deep nesting
        return f"a {type(value).__name__} too long to show"
    return shown if len(shown) <= 60 else shown[:57] + "..."


class _Text:
    """The text of a file from a position on, more of it read when a part does not suffice."""

    def __init__(self, path: Path):
        self._path = path
        try:
            self._file = path.open("rb")
        except OSError as error:
            raise self._unreadable(error) from None
        self._utf8 = codecs.getincrementaldecoder("utf-8")()
        self._read = 0  # bytes that were decoded
        self._text, self.position = "", 0
        self._ended = False
        self._more()

    def peek(self) -> str:
        """The next character, "" at the end."""
        if self.position == len(self._text):
            self._more()
        return self._text[self.position : self.position + 1]

    def match(self, pattern: re.Pattern) -> bool:
        """Steps over a pattern; False if the text does not go on so."""
        found = pattern.match(self._text, self.position)
        # What ends with the part could go on, what is cut off could still match.
        while not self._ended and (found is None or found.end() == len(self._text)):
            if found is None and self._word_follows():
                return False
            self._more()
            found = pattern.match(self._text, self.position)
        if found is not None:
            self.position = found.end()
        return found is not None

    def decode(self, index: int) -> Any:
        """Steps over a JSON value, of the record `index`."""
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self.position)
            except RecursionError:
                raise AnnotationError(self._path, index, None, "is nested too deeply") from None
            except _DuplicateKey as error:
                raise AnnotationError(
                    self._path, index, error.key, "stands twice in the record"
                ) from None
            except ValueError as error:  # JSONDecodeError, NaN, an integer of thousands of digits
                if not self._ended:
                    self._more()
                    continue
                raise AnnotationError(
                    self._path, index, None, f"is not valid JSON: {error}"
                ) from None
            self.position = end
            return value

    def _word_follows(self) -> bool:
        """True if what follows the white space is in this part."""
        return _SPACE.match(self._text, self.position).end() < len(self._text)

    def _more(self) -> None:
        """Reads on, and forgets what was stepped over."""
        if self._ended:
            return
        try:
            part = self._file.read(_CHUNK)
        except OSError as error:
            raise self._unreadable(error) from None
        if self._read == 0 and part.startswith(codecs.BOM_UTF8):
            raise AnnotationError(
                self._path, None, None, "starts with a byte order mark; save it without"
            )
        kept = len(self._utf8.getstate()[0])  # bytes of a character that the last part cut
        try:
            text = self._utf8.decode(part, final=not part)
        except UnicodeDecodeError as error:
            at = self._read - kept + error.start
            raise AnnotationError(
                self._path, None, None, f"is not UTF-8: {error.reason} at byte {at}"
            ) from None
        self._read += len(part)
        self._text, self.position = self._text[self.position :] + text, 0
        if not part:
            self._ended = True
            self._file.close()

    def _unreadable(self, error: OSError) -> AnnotationError:
        """The error of a file that cannot be read."""
        return AnnotationError(self._path, None, None, f"cannot be read: {error.strerror}")


class _DuplicateKey(Exception):
    """A JSON object that gives one key twice; json.loads would keep the last unseen."""

    def __init__(self, key: str):
        super().__init__(key)
        self.key = key


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """dict of the pairs of a JSON object, each key once."""
    result = dict(pairs)
    if len(result) != len(pairs):
        keys = [key for key, _ in pairs]
        raise _DuplicateKey(next(key for key in keys if keys.count(key) > 1))
    return result


def _no_constant(name: str):
    """Refuses NaN, Infinity and -Infinity, which Python reads but JSON does not have."""
    raise ValueError(f"{name} is not a JSON number")


def _finite(digits: str) -> float:
    """float of a JSON number; 1e999 would become infinity."""
    value = float(digits)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"{digits} is too large a number")
    return value


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_constant=_no_constant, parse_float=_finite
)
