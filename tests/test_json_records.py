"""JSON lists are read in parts of any size as they are read whole."""

import json

import pytest

from jaxreid.data import json_records as module
from jaxreid.data.json_records import json_records
from jaxreid.data.records import AnnotationError

CONTENT = [{"a": [1, 2.5, {"b": None}], "text": 'é “quote” \U0001f600 ] , } \\ "'}, {}, {"a": -1}]


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 64, 1 << 24])
@pytest.mark.parametrize("indent", [None, 3])
@pytest.mark.parametrize("plain", [True, False])
def test_records_are_the_same_in_parts_of_any_size(tmp_path, monkeypatch, chunk, indent, plain):
    monkeypatch.setattr(module, "_CHUNK", chunk)
    path = tmp_path / "list.json"
    path.write_text(f" \n{json.dumps(CONTENT, indent=indent, ensure_ascii=plain)} \n", "utf-8")
    assert list(json_records(path)) == CONTENT


@pytest.mark.parametrize("chunk", [3, 5, 1 << 24])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "must be a JSON list"),
        (b'{"a": 1}', "must be a JSON list"),
        (b" [ ] ", "holds no records"),
        (b'[{"a": 1}, ', "record 1: is not valid JSON"),
        (b'[{"a": 1} {"a": 2}]', "record 1: is not valid JSON: expected ','"),
        (b'[{"a": 1}] x', "record 1: is not valid JSON: text after the list"),
        (b'[{"a": 1}, {"a": }]', "record 1: is not valid JSON"),
        (b'[{"a": 1}, {"a": NaN}]', "record 1: is not valid JSON: NaN"),
        (b'[{"a": 1, "a": 2}]', "record 0, key 'a': stands twice"),
        (b'[{"a": 1}, "text"]', "record 1: must be an object, got 'text'"),
        (b'\xef\xbb\xbf[{"a": 1}]', "starts with a byte order mark"),
        (b'[{"a": "0123456\xff"}]', "is not UTF-8: invalid start byte at byte 15"),
        (b'[{"a": "0123456\xc3', "is not UTF-8: unexpected end of data at byte 15"),
    ],
)
def test_the_fault_is_the_same_in_parts_of_any_size(tmp_path, monkeypatch, chunk, content, message):
    monkeypatch.setattr(module, "_CHUNK", chunk)
    path = tmp_path / "list.json"
    path.write_bytes(content)
    with pytest.raises(AnnotationError, match=message):
        list(json_records(path))


def test_a_part_is_forgotten_when_it_was_read(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_CHUNK", 100)
    path = tmp_path / "list.json"
    path.write_text(json.dumps([{"number": i} for i in range(1000)]))
    text = module._Text(path)
    text.position += 1
    longest = 0
    for i in range(1000):
        assert text.decode(i) == {"number": i}
        text.match(module._COMMA)
        longest = max(longest, len(text._text))
    assert longest < 300
