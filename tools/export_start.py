"""Makes start weights of a run: python tools/export_start.py runs/start configs/start/synthpedes"""

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


def main() -> int:
    """Copies the best parameters and the vocabulary of a run; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", help="folder of the run")
    parser.add_argument("out", help="folder of the start weights")
    args = parser.parse_args()

    from jaxreid.parts import copy_vocabulary
    from jaxreid.run import restore
    from jaxreid.saved import run_config
    from jaxreid.start import save_start

    try:
        parts, params, _ = restore(run_config(args.run), args.run)
        os.makedirs(args.out, exist_ok=True)
        save_start(args.out, params)
        copy_vocabulary(parts.config.text.tokenizer, args.out)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
