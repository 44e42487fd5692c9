"""Trains and evaluates a method.

python -m jaxreid.main --config configs/laip.py                       # all on synthpedes
python -m jaxreid.main --config configs/laip.py:cuhk_pedes --config.data.manual_dir /data
python -m jaxreid.main --config configs/laip.py --mode evaluate       # a finished run again
"""

import os
import signal
import sys

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

FLAGS = flags.FLAGS
MODES = ("train", "evaluate")

config_flags.DEFINE_config_file("config", None, "Recipe, configs/NAME.py[:VARIANT].")
flags.DEFINE_string("workdir", None, "Folder of the run; runs/NAME[-VARIANT] by default.")
flags.DEFINE_enum("mode", "train", MODES, "train also evaluates, at the end.")
flags.DEFINE_string("coordinator", None, "host:port of process 0, for several processes.")
flags.DEFINE_integer("processes", None, "Number of processes; on TPU pods it is found out.")
flags.DEFINE_integer("process", None, "Number of this process, from 0.")
flags.DEFINE_bool("distributed", False, "Join a TPU pod or a cluster that jax recognises.")


def main(argv: list[str]) -> int:
    """Runs the mode; returns the exit code."""
    if len(argv) > 1:
        raise ValueError(f"unknown arguments: {' '.join(argv[1:])}")
    if FLAGS.config is None:
        raise ValueError("--config is missing: give one of configs/*.py")
    # Imported after the flags are checked: a typo is answered at once.
    import jax

    from jaxreid import run

    if FLAGS.distributed or FLAGS.coordinator:
        jax.distributed.initialize(FLAGS.coordinator, FLAGS.processes, FLAGS.process)
    workdir = FLAGS.workdir or os.path.join("runs", default_name())
    if FLAGS.mode == "train":
        run.train(FLAGS.config, workdir)
    else:
        run.evaluate(FLAGS.config, workdir)
    return 0


def default_name() -> str:
    """Returns NAME[-VARIANT] of --config configs/NAME.py[:VARIANT]."""
    path = config_flags.get_config_filename(FLAGS["config"])
    path, _, variant = path.partition(":")
    name = os.path.splitext(os.path.basename(path))[0]
    return f"{name}-{variant}" if variant else name


def parse(argv: list[str]) -> list[str]:
    """Parses the flags; a config field that does not exist is named with its nearest.

    Raises:
      ValueError: an unknown or mistyped flag, field or variant; one sentence.
    """
    try:
        return FLAGS(argv)
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        raise ValueError(_explained(argv, error)) from error


def _explained(argv: list[str], error: Exception) -> str:
    """The error of a flag as one sentence."""
    from jaxreid.config import field_names, nearest

    config = FLAGS["config"].value if "config" in FLAGS else None
    if isinstance(config, ConfigDict):
        known = field_names(config)
        for argument in argv[1:]:
            name = argument.lstrip("-").partition("=")[0]
            if name.startswith("config.") and name not in known:
                return f"unknown field {name}{nearest(name, known)}"
    text = str(error.args[0] if error.args else error).strip().splitlines()
    return text[0] if text else type(error).__name__


def entry() -> None:
    """The command line: what a user can do wrong ends in one sentence and exit code 2."""
    if "--traceback" in sys.argv:
        sys.argv.remove("--traceback")
        app.run(main, flags_parser=FLAGS)
    logging.use_absl_handler()
    logging.set_verbosity(logging.INFO)
    logging.get_absl_handler().addFilter(_ours_or_warning)
    try:
        app.run(main, flags_parser=parse)
    except (ValueError, OSError) as error:
        print(f"error: {_sentence(error)}", file=sys.stderr)
        sys.exit(2)


def _ours_or_warning(record) -> bool:
    """Keeps the progress of other packages out of the log, not their warnings."""
    ours = os.path.dirname(os.path.abspath(__file__))
    return record.levelno > logging.converter.STANDARD_INFO or record.pathname.startswith(ours)


def _sentence(error: Exception) -> str:
    """Message of an error with its notes, on one line."""
    parts = [str(error), *getattr(error, "__notes__", ())]
    return " ".join("; ".join(parts).split())


def signal_code(signum: int) -> int:
    """Exit code of a run that a signal has stopped, as shells count."""
    return 128 + int(signal.Signals(signum))


if __name__ == "__main__":
    entry()
