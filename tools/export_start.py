"""Makes start weights of a run: python tools/export_start.py runs/start configs/start/synthpedes"""

import argparse
import json
import os
import shutil
import sys


def main() -> None:
    """Copies the parameters of the best checkpoint and the vocabulary of a run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", help="folder of the run")
    parser.add_argument("out", help="folder of the start weights")
    args = parser.parse_args()

    import jax
    from ml_collections import ConfigDict

    from jaxreid.checkpoint import Checkpoints
    from jaxreid.parts import assemble
    from jaxreid.start import save_start

    with open(os.path.join(args.run, "config.json")) as file:
        config = ConfigDict(json.load(file))
    parts = assemble(config, os.path.join(args.run, "tokenizer"), learn=False)
    template = jax.eval_shape(parts.method.init, jax.random.key(0))
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    template = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=device), template
    )
    checkpoints = Checkpoints(
        os.path.join(args.run, "checkpoints"), keep=1, best=config.eval.select, read_only=True
    )
    step = checkpoints.best()
    if step is None:
        sys.exit(f"no checkpoint in {args.run}/checkpoints")
    os.makedirs(args.out, exist_ok=True)
    save_start(args.out, checkpoints.restore_params(step, template))
    for name in ("vocab.txt", "tokenizer_config.json"):
        shutil.copy(os.path.join(args.run, "tokenizer", name), args.out)


if __name__ == "__main__":
    main()
