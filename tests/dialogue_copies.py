"""Writes tiny copies of published data sets with dialogues: coloured rectangles, made-up talk."""

import json
from pathlib import Path

from copies import write_image

PEOPLE = {"train": (2, 1, 3, 2), "test": (1, 2)}  # images of each person


def chat(number: int, rounds: int) -> list:
    """The rounds of a chat; no two chats are equal."""
    return [
        [
            {"from": "gpt", "value": f"Question {turn} about {number}?"},
            {"from": "user", "value": f"Answer {turn}, “{number}”."},
        ]
        for turn in range(rounds)
    ]


def chatpedes_records(split: str) -> list[dict]:
    """The records of one split; every third image has one chat without a list around it."""
    result, person = [], 0
    number = 0
    for name, people in PEOPLE.items():
        for images in people:
            for view in range(images):
                chats = [chat(number, 2 + number % 3), chat(100 + number, 1)]
                record = {
                    "id": person,
                    "file_path": f"cam_{view}/{person:04d}_{number}.png",
                    "chats": chats[0] if number % 3 == 0 else chats,
                }
                if name == split:
                    result.append(record)
                number += 1
            person += 1
    return result


def write_chatpedes(root: Path) -> Path:
    """Writes folder, images and both files; returns the data-set folder."""
    folder = root / "ChatPedes"
    for split in PEOPLE:
        records = chatpedes_records(split)
        for number, record in enumerate(records):
            write_image(folder / "imgs" / record["file_path"], number + 5 * (split == "test"))
        write_split(folder, split, records)
    return folder


def write_split(folder: Path, split: str, records: list[dict]) -> None:
    """Writes the annotation file of a split of ChatPedes."""
    (folder / f"{split}_reid.json").write_text(json.dumps(records), encoding="utf-8")


def interactive_records() -> list[dict]:
    """The records of all splits of Interactive-PEDES."""
    result, person = [], 0
    for split, people in {"train": (2, 1, 3), "val": (2,), "test": (1, 2)}.items():
        for images in people:
            for view in range(images):
                number = len(result)
                result.append(
                    {
                        "split": split,
                        "file_path": f"CUHK-PEDES/imgs/cam_{view}/{person:04d}_{number}.png",
                        "id": person,
                        "initial_description": f"Someone, number {number}.",
                        "fine-grained_description": f"A long text about {number}.",
                        "questions": [f"Question {turn}?" for turn in range(number % 4)],
                        "answers": [f"Answer {turn} of {number}." for turn in range(number % 4)],
                        "captions": [f"A caption of {number}."] * (number % 3),
                    }
                )
            person += 1
    return result


def write_interactive(root: Path, name: str = "Interactive-PEDES_interactive_annos.json") -> Path:
    """Writes folder, images and the file under a name; returns the data-set folder."""
    folder = root / "Interactive-PEDES"
    records = interactive_records()
    for number, record in enumerate(records):
        write_image(folder / record["file_path"], number)
    (folder / name).write_text(json.dumps(records), encoding="utf-8")
    return folder
