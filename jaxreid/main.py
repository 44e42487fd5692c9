"""Trains and evaluates a method.

python -m jaxreid.main --config configs/laip.py                       # all on synthpedes
python -m jaxreid.main --config configs/laip.py:cuhk_pedes --config.data.manual_dir /data
python -m jaxreid.main --config configs/laip.py --mode evaluate       # a finished run again

Exit codes: 0, 1 (losses not finite, or an error in the program), 2 (what a user can mend, in one
sentence), 128 + n (stopped by signal n).
"""

import os
import shlex
import signal
import sys

from absl import app, flags, logging
from ml_collections import config_flags

from jaxreid.arguments import check_arguments
from jaxreid.config import check

FLAGS = flags.FLAGS
MODES = ("train", "evaluate")
_RULE = "-----"  # jax says below one that it shortened a traceback, which is not shown

config_flags.DEFINE_config_file("config", None, "Recipe, configs/NAME.py[:VARIANT].")
flags.DEFINE_string("workdir", None, "Folder of the run; runs/NAME[-VARIANT] by default.")
flags.DEFINE_enum("mode", "train", MODES, "train also evaluates, at the end.")
flags.DEFINE_string("coordinator", None, "host:port of process 0, for several processes.")
flags.DEFINE_integer("processes", None, "Number of processes; on TPU pods it is found out.")
flags.DEFINE_integer("process", None, "Number of this process, from 0.")
flags.DEFINE_bool("distributed", False, "Join a TPU pod or a cluster that jax recognises.")
flags.DEFINE_bool("traceback", False, "Show where in the program an error was found.")


def main(argv: list[str]) -> int:
    """Runs the mode; returns the exit code."""
    if len(argv) > 1:
        raise ValueError(f"unknown arguments: {' '.join(argv[1:])}")
    if FLAGS.config is None:
        raise ValueError("--config is missing: give one of configs/*.py")
    check(FLAGS.config, devices=1)
    if FLAGS.coordinator is None and not (FLAGS.processes is None and FLAGS.process is None):
        raise ValueError("--processes and --process need --coordinator HOST:PORT")
    # Imported after flags and fields are checked: a typo is answered at once. Ctrl-C ends the
    # process as it stands meanwhile: an extension torn in its import may crash.
    handler = signal.signal(signal.SIGINT, signal.SIG_DFL)
    import jax

    from jaxreid import run
    from jaxreid.loop import Interrupted, NotFinite

    signal.signal(signal.SIGINT, handler)
    if FLAGS.distributed or FLAGS.coordinator:
        jax.distributed.initialize(FLAGS.coordinator, FLAGS.processes, FLAGS.process)
    workdir = FLAGS.workdir or os.path.join("runs", default_name())
    try:
        command = shlex.join(["python", "-m", "jaxreid.main", *sys.argv[1:]])
        (run.train if FLAGS.mode == "train" else run.evaluate)(FLAGS.config, workdir, command)
    except Interrupted as stop:
        _say(f"{stop}; the same command goes on from there")
        return 128 + stop.signum
    except NotFinite as error:
        _say(f"error: {error}")
        return 1
    return 0


def default_name() -> str:
    """Returns NAME[-VARIANT] of --config configs/NAME.py[:VARIANT]."""
    path = config_flags.get_config_filename(FLAGS["config"])
    path, _, variant = path.partition(":")
    name = os.path.splitext(os.path.basename(path))[0]
    return f"{name}-{variant}" if variant else name


def parse(argv: list[str]) -> list[str]:
    """Parses the flags; raises ValueError or FileNotFoundError, with one sentence."""
    check_arguments(argv)
    try:
        return FLAGS(argv)
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(str(error.args[0] if error.args else error)) from error


def entry() -> None:
    """The command line: what a user can do wrong ends in one sentence and exit code 2."""
    logging.use_absl_handler()
    logging.set_verbosity(logging.INFO)
    logging.get_absl_handler().addFilter(_ours_or_warning)
    try:
        app.run(main, flags_parser=parse)
    except (ValueError, OSError) as error:
        if "--traceback" in sys.argv:  # as text: the flags may be what cannot be read
            raise
        notes = [x for x in getattr(error, "__notes__", ()) if not x.startswith(_RULE)]
        _say(f"error: {'; '.join([str(error), *notes])}")
        sys.exit(2)
    except KeyboardInterrupt:
        if "--traceback" in sys.argv:
            raise
        _say("interrupted; the same command goes on from the last checkpoint, if there is one")
        # At once: a compilation or a read may still run, and crash while the rest is torn down.
        sys.stderr.flush()
        os._exit(128 + signal.SIGINT)


def _ours_or_warning(record) -> bool:
    """Keeps the progress of other packages out of the log, not their warnings."""
    ours = os.path.dirname(os.path.abspath(__file__))
    return record.levelno > logging.converter.STANDARD_INFO or record.pathname.startswith(ours)


def _say(text: str) -> None:
    """The last line of a run that ends early."""
    sys.stderr.write(f"{' '.join(text.split())}\n")


if __name__ == "__main__":
    entry()
