"""Makes a byte-pair vocabulary of Llama's kind for dialogues and captions, without an end token.

    python tools/causal_vocabulary.py configs/start/synthpedes-causal

Learnt from what is said of the people in the train splits of some variants of synthpedes; special
tokens are those that DiaNA's release uses of Llama 3.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

_BYTES = 256  # every text can be spelled in them


def main(arguments: list[str] | None = None) -> int:
    """Writes tokenizer.json; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("out", type=Path, help="folder of the vocabulary")
    parser.add_argument("--variants", default="medium,chat", help="of synthpedes")
    parser.add_argument("--data-dir", default="~/.cache/jaxreid", help="of prepared data")
    parser.add_argument("--size", type=int, default=1500, help="tokens, at most")
    parser.add_argument("--fewest", type=int, default=20, help="times that a pair must occur")
    options = parser.parse_args(arguments)
    if options.size < _BYTES:
        parser.error(f"--size must be at least {_BYTES}, a token a byte, got {options.size}")
    if options.out.exists() and not options.out.is_dir():
        parser.error(f"{options.out} must be a folder, got a file")

    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    from jaxreid.data.dataset import open_split
    from jaxreid.data.llama import FILE, MASK, START
    from jaxreid.data.text import clean

    said = []
    try:
        for variant in options.variants.split(","):
            split = open_split("synthpedes", "train", data_dir=options.data_dir, variant=variant)
            for dialogues in split.dialogues:
                said += [dialogue.plain() for dialogue in dialogues]
            for captions in split.captions:
                said += captions
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=options.size,
        min_frequency=options.fewest,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((clean(text, "albef", None) for text in said), trainer)
    tokenizer.add_special_tokens([START, "<|end_of_text|>", MASK])
    options.out.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(options.out / FILE))
    print(f"{tokenizer.get_vocab_size()} tokens of {len(said)} texts: {options.out / FILE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
