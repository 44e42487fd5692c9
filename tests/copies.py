"""Writes tiny copies of the published data sets: coloured rectangles with made-up captions."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

FOLDERS = {"cuhk_pedes": "CUHK-PEDES", "icfg_pedes": "ICFG-PEDES", "rstpreid": "RSTPReid"}
FILES = {
    "cuhk_pedes": "reid_raw.json",
    "icfg_pedes": "ICFG-PEDES.json",
    "rstpreid": "data_captions.json",
}
# Images of each person; splits, people and images all differ in number.
_PEOPLE = {
    "cuhk_pedes": {"train": (2, 1, 3), "val": (2,), "test": (1, 3)},
    "icfg_pedes": {"train": (2, 1, 3, 1), "test": (1, 3)},
    "rstpreid": {"train": (2, 1, 3), "val": (2,), "test": (1, 3)},
}
_SUFFIXES = (".png", ".jpg", ".bmp", ".webp")


def records(data_set: str) -> list[dict]:
    """The annotation records of a tiny copy, in the schema of the data set."""
    result = []
    person = 1 if data_set == "cuhk_pedes" else 0
    for split, people in _PEOPLE[data_set].items():
        for images in people:
            for view in range(images):
                number = len(result)
                path = f"cam_{view}/{person:04d}_{number}{_SUFFIXES[number % 4]}"
                captions = [f"Person {person} seen from side {view}.", f"A {person} in colour."]
                if data_set == "rstpreid":
                    record = {"id": person, "img_path": path, "captions": captions}
                else:
                    record = {"id": person, "file_path": path, "captions": captions}
                    record["processed_tokens"] = [caption.lower().split() for caption in captions]
                if data_set == "icfg_pedes":
                    del captions[1:]
                elif number == 1:
                    captions.append("A third sentence, with a “quote”.\n")
                result.append(record | {"split": split})
            person += 1
    return result


def path_of(record: dict) -> str:
    """The image path of a record."""
    return record.get("file_path") or record["img_path"]


def write_image(path: Path, number: int) -> None:
    """An image that no other number gives, also after lossy coding."""
    pixels = np.full((24, 12, 3), (40 * number % 256, 255 - 20 * number % 256, 90), np.uint8)
    pixels[: 2 + number] = 250
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def write_copy(root: Path, data_set: str) -> Path:
    """Writes folder, images and annotations under `root`; returns the data-set folder."""
    folder = root / FOLDERS[data_set]
    for number, record in enumerate(records(data_set)):
        write_image(folder / "imgs" / path_of(record), number)
    write_annotations(folder, data_set, records(data_set))
    return folder


def write_annotations(folder: Path, data_set: str, content: list[dict]) -> None:
    """Writes the annotation file of a copy."""
    (folder / FILES[data_set]).write_text(json.dumps(content), encoding="utf-8")
