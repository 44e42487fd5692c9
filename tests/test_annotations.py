"""Every annotation file is either read completely or refused with file, record and key."""

import copy
import json
import pickle

import numpy as np
import pytest
from copies import records

from jaxreid.data.annotations import check_identities, read_annotations
from jaxreid.data.records import AnnotationError

SPLITS = ("train", "val", "test")
AT = 4  # record that the tables below spoil


def _read(path):
    images = read_annotations(path, splits=SPLITS)
    check_identities(images)
    return images


def _write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


@pytest.mark.parametrize("data_set", ["cuhk_pedes", "icfg_pedes", "rstpreid"])
def test_every_record_arrives_unchanged_and_in_order(tmp_path, data_set):
    content = records(data_set)
    images = _read(_write(tmp_path / "a.json", content))
    path_key = "img_path" if data_set == "rstpreid" else "file_path"
    assert [
        (i.file, i.person_id, i.split, list(i.captions), i.record, i.path_key) for i in images
    ] == [
        (r[path_key], r["id"], r["split"], r["captions"], n, path_key)
        for n, r in enumerate(content)
    ]


# name -> (what happens to record AT, key the message must name)
RECORD_FAULTS = {
    "no id": (lambda r: r.pop("id"), "id"),
    "no captions": (lambda r: r.pop("captions"), "captions"),
    "no split": (lambda r: r.pop("split"), "split"),
    "no path": (lambda r: r.pop("file_path"), "file_path"),
    "unknown key": (lambda r: r.update(camera=3), "camera"),
    "two path keys": (lambda r: r.update(img_path="a.png"), "img_path"),
    "text id": (lambda r: r.update(id="7"), "id"),
    "fractional id": (lambda r: r.update(id=7.0), "id"),
    "boolean id": (lambda r: r.update(id=True), "id"),
    "null id": (lambda r: r.update(id=None), "id"),
    "negative id": (lambda r: r.update(id=-1), "id"),
    "id beyond 31 bits": (lambda r: r.update(id=2**31), "id"),
    "one caption as text": (lambda r: r.update(captions="A man."), "captions"),
    "no caption in the list": (lambda r: r.update(captions=[]), "captions"),
    "null captions": (lambda r: r.update(captions=None), "captions"),
    "empty caption": (lambda r: r["captions"].append(""), "captions"),
    "blank caption": (lambda r: r["captions"].append(" \n\t"), "captions"),
    "number as caption": (lambda r: r["captions"].append(5), "captions"),
    "half a surrogate pair": (lambda r: r["captions"].append("a \ud800 b"), "captions"),
    "misspelt split": (lambda r: r.update(split="tset"), "split"),
    "number as split": (lambda r: r.update(split=0), "split"),
    "null split": (lambda r: r.update(split=None), "split"),
    "absolute path": (lambda r: r.update(file_path="/etc/passwd"), "file_path"),
    "path upwards": (lambda r: r.update(file_path="../secret.png"), "file_path"),
    "path upwards inside": (lambda r: r.update(file_path="a/../../b.png"), "file_path"),
    "path with a drive": (lambda r: r.update(file_path="C:b.png"), "file_path"),
    "path with backslash": (lambda r: r.update(file_path="..\\b.png"), "file_path"),
    "path with NUL": (lambda r: r.update(file_path="b.png\0.jpg"), "file_path"),
    "empty path": (lambda r: r.update(file_path=""), "file_path"),
    "path of no file": (lambda r: r.update(file_path="."), "file_path"),
    "list as path": (lambda r: r.update(file_path=["b.png"]), "file_path"),
    "NaN id": (lambda r: r.update(id=float("nan")), None),
    "infinity among tokens": (lambda r: r.update(processed_tokens=[float("inf")]), None),
    "person of another split": (lambda r: r.update(split="test"), "split"),
    "image of another person": (lambda r: r.update(file_path="cam_0/0001_0.png"), "id"),
}


@pytest.mark.parametrize("fault", RECORD_FAULTS)
def test_faulty_record_is_named_with_its_key(tmp_path, fault):
    spoil, key = RECORD_FAULTS[fault]
    content = records("cuhk_pedes")
    spoil(content[AT])
    with pytest.raises(AnnotationError) as caught:
        _read(_write(tmp_path / "a.json", content))
    assert str(caught.value).startswith(f"{tmp_path / 'a.json'}, record {AT}")
    assert key is None or f"key {key!r}" in str(caught.value)
    assert "\n" not in str(caught.value)


_GOOD = [json.dumps(record) for record in records("cuhk_pedes")]
_DEEP = _GOOD[1][:-1] + ', "captions_bt": ' + "[" * 100_000 + "]" * 100_000 + "}"
# name -> (file content, start of the message after the file)
FILE_FAULTS = {
    "truncated": (f"[{_GOOD[0]}, {_GOOD[1][:-9]}", ", record 1: is not valid JSON"),
    "cut after a record": (f"[{_GOOD[0]}", ", record 1: is not valid JSON"),
    "comma at the end": (f"[{_GOOD[0]}, ]", ", record 1: is not valid JSON"),
    "comma missing": (f"[{_GOOD[0]} {_GOOD[1]}]", ", record 1: is not valid JSON"),
    "text after the list": (f"[{_GOOD[0]}] x", ", record 1: is not valid JSON"),
    "record is a list": (f"[{_GOOD[0]}, [1]]", ", record 1: must be an object"),
    "record is null": (f"[{_GOOD[0]}, null]", ", record 1: must be an object"),
    "nested deeply": (f"[{_GOOD[0]}, {_DEEP}]", ", record 1: is nested too deeply"),
    "key twice": (f'[{{"id": 1, {_GOOD[0][1:]}]', ", record 0, key 'id': stands twice"),
    "id of 5000 digits": (f'[{{"id": {"9" * 5000}}}]', ", record 0: is not valid JSON"),
    "number beyond float": ('[{"captions_bt": 1e999}]', ", record 0: is not valid JSON"),
    "single quotes": ("[{'id': 1}]", ", record 0: is not valid JSON"),
    "one record, no list": (_GOOD[0], ": must be a JSON list"),
    "null": ("null", ": must be a JSON list"),
    "empty list": ("[ ]", ": holds no records"),
    "empty file": ("", ": must be a JSON list"),
    "byte order mark": ("\ufeff[]", ": starts with a byte order mark"),
    "UTF-16": (f"[{_GOOD[0]}]".encode("utf-16"), ": is not UTF-8"),
    "Latin-1": ('[{"split": "caf\xe9"}]'.encode("latin-1"), ": is not UTF-8"),
}


@pytest.mark.parametrize("fault", FILE_FAULTS)
def test_faulty_file_is_refused_where_it_breaks(tmp_path, fault):
    content, message = FILE_FAULTS[fault]
    path = tmp_path / "a.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(AnnotationError) as caught:
        _read(path)
    assert str(caught.value).startswith(f"{path}{message}")
    assert "\n" not in str(caught.value)


def test_missing_file_is_an_annotation_error(tmp_path):
    with pytest.raises(AnnotationError, match="cannot be read"):
        _read(tmp_path / "none.json")


def test_misspelt_key_is_suggested(tmp_path):
    content = records("cuhk_pedes")
    content[AT]["caption"] = content[AT].pop("captions")
    with pytest.raises(AnnotationError, match=r"key 'captions': is missing \(is 'caption' meant"):
        _read(_write(tmp_path / "a.json", content))


def test_file_of_one_split_may_leave_it_out_but_not_contradict_it(tmp_path):
    content = [record for record in records("cuhk_pedes") if record["split"] == "val"]
    del content[0]["split"]
    path = _write(tmp_path / "val.json", content)
    assert {i.split for i in read_annotations(path, splits=SPLITS, split="val")} == {"val"}
    with pytest.raises(AnnotationError, match="record 1, key 'split': must be 'train'"):
        read_annotations(path, splits=SPLITS, split="train")


def test_image_listed_twice_for_one_person_stays_and_is_logged(tmp_path, caplog):
    content = records("cuhk_pedes")
    content.insert(1, copy.deepcopy(content[0]))
    with caplog.at_level("WARNING"):
        assert len(_read(_write(tmp_path / "a.json", content))) == len(content)
    assert "record 1: image 'cam_0/0001_0.png' is listed again" in caplog.text


def test_annotation_error_survives_pickling():
    error = pickle.loads(pickle.dumps(AnnotationError("a.json", 3, "id", "is missing")))
    assert str(error) == "a.json, record 3, key 'id': is missing"


def test_any_byte_mutation_gives_records_or_an_annotation_error(tmp_path):
    rng = np.random.default_rng(0)
    original = json.dumps(records("cuhk_pedes"), ensure_ascii=False).encode()
    refusals = []
    for _ in range(400):
        content = bytearray(original)
        for _ in range(rng.integers(1, 4)):
            start = int(rng.integers(len(content)))
            length = int(rng.integers(1, 40))
            match int(rng.integers(4)):
                case 0:
                    content[start] = int(rng.integers(256))
                case 1:
                    del content[start : start + length]
                case 2:
                    content[start:start] = content[start : start + length]
                case 3:
                    content[start : start + 1] = b'[]{}",:\\-0eN'[length % 12 : length % 12 + 1]
        try:
            _read(_write(tmp_path / "a.json", bytes(content)))
        except AnnotationError as error:
            refusals.append(str(error))
    assert len(refusals) > 200
    assert all(message.startswith(str(tmp_path / "a.json")) for message in refusals)


def test_any_value_in_any_field_gives_records_or_an_annotation_error(tmp_path):
    rng = np.random.default_rng(1)
    values = [None, True, -1, 2**63, 1e300, "", " ", "\0", "a" * 10**5, "\udfff", [], [[]], {}]
    values += [["x", None], {"id": 1}, "../x", "/x", "train", ["x"], 3]
    keys = ["id", "captions", "split", "file_path", "img_path", "processed_tokens", "new"]
    refusals = []
    for _ in range(300):
        content = records("cuhk_pedes")
        record = content[int(rng.integers(len(content)))]
        key, value = keys[int(rng.integers(len(keys)))], values[int(rng.integers(len(values)))]
        record[key] = value
        try:
            _read(_write(tmp_path / "a.json", content))
        except AnnotationError as error:
            refusals.append(str(error))
    assert len(refusals) > 200
    assert all(", record " in message and len(message) < 500 for message in refusals)
