"""Writes tiny copies of the data sets made for composed queries: coloured rectangles."""

import json
from pathlib import Path

from copies import write_image

# (file, instance): the third is listed twice, the fourth is of two instances, the last a distractor
GALLERY = (
    ("Celeb-reID/001/1_2_0.jpg", 1),
    ("LAST/000/b.jpg", 2),
    ("PRCC/test/001/a.png", 3),
    ("Celeb-reID/001/1_1_0.jpg", -1),
    ("PRCC/test/001/a.png", 3),
    ("LAST/000/b.jpg", 4),
    ("LAST/001/c.jpg", -1),
)
# (file, instance, caption): the second and the third are in the gallery, the last has no answer
QUERIES = (
    ("PRCC/test/001/q.png", 3, "Wearing a red coat"),
    ("Celeb-reID/001/1_1_0.jpg", 1, "Wearing “white” shoes"),
    ("Celeb-reID/001/1_2_0.jpg", 2, "Carrying a suitcase"),
    ("PRCC/test/001/q.png", 4, "Without a hat"),
    ("LAST/000/q.jpg", 9, "In blue"),
)


def itcpr_records() -> tuple[list[dict], list[dict]]:
    """Records of query.json and of gallery.json."""

    def record(file: str, instance: int) -> dict:
        of, number = file.split("/")[0], 7
        return {"file_path": file, "datasets": of, "person_id": number, "instance_id": instance}

    queries = [record(file, instance) | {"caption": text} for file, instance, text in QUERIES]
    return queries, [record(file, instance) for file, instance in GALLERY]


def write_itcpr(root: Path, name: str = "ITCPR", json_in: str = "") -> Path:
    """Writes images and both files; returns the data-set folder."""
    folder = root / name
    files = dict.fromkeys(file for file, *_ in (*GALLERY, *QUERIES))
    for number, file in enumerate(files):
        write_image(folder / file, number)
    write_lists(folder / json_in, *itcpr_records())
    return folder


def write_lists(folder: Path, queries: list[dict], gallery: list[dict]) -> None:
    """Writes query.json and gallery.json."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "query.json").write_text(json.dumps(queries), encoding="utf-8")
    (folder / "gallery.json").write_text(json.dumps(gallery), encoding="utf-8")


def syncpr_records(pairs: int = 4) -> list[dict]:
    """Both ways between two outfits of each of some people; two image pairs a person."""
    records = []
    for person in range(pairs):
        for number in range(2):
            sides = [f"test{1 + person % 2}/sub_img/img_{side}/{person}-{number}_{side}.png"
                     for side in ("left", "right")]  # fmt: skip
            captions = [
                f"Person {person} of picture {number} on the {s}." for s in ("left", "right")
            ]
            for way in range(2):
                records.append(
                    {
                        "reference_caption": captions[way],
                        "target_caption": captions[1 - way],
                        "reference_image_path": sides[way],
                        "target_image_path": sides[1 - way],
                        "edit_caption": f"Wearing {('red', 'blue')[way]} {person} {number}",
                        "cpr_id": 10 * person + way,
                    }
                )
    return records


def write_syncpr(root: Path, records: list[dict]) -> Path:
    """Writes SynCPR.json and the images it names; returns the data-set folder."""
    folder = root / "SynCPR"
    files = dict.fromkeys(
        record[f"{end}_image_path"] for record in records for end in ("reference", "target")
    )
    for number, file in enumerate(files):
        write_image(folder / file, number)
    (folder / "SynCPR.json").write_text(json.dumps(records), encoding="utf-8")
    return folder
