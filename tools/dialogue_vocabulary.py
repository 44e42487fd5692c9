"""Makes a vocabulary for dialogues: that of some start weights, and whole words behind it.

    python tools/dialogue_vocabulary.py configs/start/synthpedes configs/start/synthpedes-dialogues

The ids of the first vocabulary stay, so that start weights fit (`start_rules.longer`). Words of the
dialogues of a rendered data set's train split are added that it has in pieces alone.
"""

import argparse
import shutil
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


def main(arguments: list[str] | None = None) -> int:
    """Writes the folder; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("source", type=Path, help="folder of a WordPiece vocabulary")
    parser.add_argument("out", type=Path, help="folder of the longer one")
    parser.add_argument("--variant", default="chat", help="of synthpedes")
    parser.add_argument("--data-dir", default="~/.cache/jaxreid", help="of prepared data")
    parser.add_argument("--fewest", type=int, default=20, help="times that a word must occur")
    options = parser.parse_args(arguments)

    from jaxreid.data.dataset import open_split
    from jaxreid.data.text import clean, load_tokenizer

    try:
        tokenizer = load_tokenizer(str(options.source))
        split = open_split(
            "synthpedes", "train", data_dir=options.data_dir, variant=options.variant
        )
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    counts: Counter[str] = Counter()
    for dialogues in split.dialogues:
        for dialogue in dialogues:
            counts.update(clean(dialogue.plain(), "albef", None).split())
    pieces = {word: tokenizer.backend.encode(word, add_special_tokens=False) for word in counts}
    added = sorted(
        word
        for word, count in counts.items()
        if count >= options.fewest and len(pieces[word].ids) > 1
    )
    known = (options.source / "vocab.txt").read_text("utf-8")
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "vocab.txt").write_text(known + "".join(f"{word}\n" for word in added), "utf-8")
    shutil.copyfile(options.source / "tokenizer_config.json", options.out / "tokenizer_config.json")
    print(f"{len(added)} words added to {tokenizer.vocabulary_size}: {' '.join(added)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
