"""What a user does wrong on the command line ends in one sentence, at once."""

import json
import os
import pathlib
import subprocess
import sys
import textwrap
import time

import pytest

ROOT = pathlib.Path(__file__).parents[1]
LAIP = "--config=configs/laip.py"
ALBEF = "--config=configs/albef.py:rstpreid"
# What takes seconds to import.
HEAVY = ("jax", "flax", "grain", "optax", "orbax", "tensorflow_datasets", "transformers", "nltk")


def _run(*arguments, program=("-m", "jaxreid.main"), cwd=ROOT):
    """Result of the command line."""
    return subprocess.run(
        [sys.executable, *program, *arguments],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            [LAIP, "--config.trian.batch_size=3"],
            "unknown field config.trian.batch_size; did you mean config.train.batch_size?",
        ),
        (
            [LAIP, "--config.laip.reconstuction", "mlm"],
            "unknown field config.laip.reconstuction; did you mean config.laip.reconstruction?",
        ),
        ([LAIP, "--noconfig.data.allow"], "unknown field config.data.allow"),
        ([LAIP, "--confg=3"], "Unknown command line flag 'confg'. Did you mean: config ?"),
        ([LAIP, "--config.train.batch_size=abc"], "must be a whole number, got 'abc'"),
        ([LAIP, "--config.train.batch_size", "3.5"], "must be a whole number, got '3.5'"),
        ([LAIP, "--config.optim.learning_rate=fast"], "must be a number, got 'fast'"),
        ([LAIP, "--config.data.allow_partial=maybe"], "must be true or false, got 'maybe'"),
        ([LAIP, "--config.train=3"], "config.train is a section, give one of its fields: config."),
        ([LAIP, "--config.train.epochs=abc"], "config.train.epochs must be numbers"),
        ([LAIP, "--config.train.epochs=()"], "config.train.epochs must be numbers"),
        ([LAIP, "--config.image.size=(90,48)"], "multiples of model.vit.patch 16, got (90, 48)"),
        ([LAIP, "--config.image.size=(1"], "config.image.size must be 2 numbers, height and width"),
        ([LAIP, "--config.text.max_tokens=65"], "in 3..64 (model.bert.max_positions), got 65"),
        ([LAIP, "--config.method=liap"], "config.method must be one of albef, "),
        ([LAIP, "--config.data.name=cuhk"], "got 'cuhk'; did you mean cuhk_pedes?"),
        ([LAIP, "--config.data.manual_dir=/none"], "config.data.manual_dir, .allow_partial and"),
        (
            ["--config=configs/laip.py:rstpreid", "--config.data.manual_dir=/none"],
            "config.data.manual_dir: no such folder: /none",
        ),
        (["--config=configs/laip.py:large"], "unknown variant 'large'; know: ''"),
        (
            ["--config=configs/lap.py"],
            "no such file: 'configs/lap.py'; did you mean configs/laip.p",
        ),
        (["--config=configs"], "--config: no such file: 'configs'"),
        (["--config=pyproject.toml"], "must be a Python file with get_config"),
        (["--config=configs/sections.py"], "configs/sections.py has no function get_config"),
        (["--config"], "Missing value for flag --config"),
        ([], "--config is missing: give one of configs/*.py"),
        (["--config.seed=1", LAIP], "in argv before a value for --config was specified"),
        ([LAIP, "more"], "unknown arguments: more"),
        ([LAIP, "--processes=2"], "--processes and --process need --coordinator HOST:PORT"),
        ([LAIP, "--mode=test"], "flag --mode=test: value should be one of <train|evaluate>"),
    ],
)
def test_wrong_arguments_end_in_one_sentence(arguments, sentence):
    done = _run(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert sentence in line


def test_typo_is_answered_within_three_seconds():
    started = time.monotonic()
    _run(LAIP, "--config.trian.batch_size=3")
    assert time.monotonic() - started < 3


def test_nothing_heavy_is_imported_before_the_flags_are_checked():
    script = (
        "import sys\n"
        "from jaxreid import main\n"
        "try:\n"
        "    main.entry()\n"
        "except SystemExit as end:\n"
        "    assert end.code == 2\n"
        f"print([name for name in {HEAVY} if name in sys.modules])\n"
    )
    done = _run(LAIP, "--config.text.max_tokens=65", program=("-c", script))
    assert done.stdout == "[]\n"


def test_recipe_from_another_folder_says_where_to_run(tmp_path):
    done = subprocess.run(
        [sys.executable, ROOT / "jaxreid/main.py", f"--config={ROOT}/configs/laip.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(_only_jaxreid(tmp_path))},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "no module 'configs'; run in the folder that holds configs/" in done.stderr


def _only_jaxreid(folder):
    """A folder to import jaxreid from, without the recipes, as where it is installed."""
    (folder / "site").mkdir()
    (folder / "site" / "jaxreid").symlink_to(ROOT / "jaxreid")
    return folder / "site"


def test_traceback_is_shown_on_request():
    done = _run(LAIP, "--config.trian.batch_size=3", "--traceback")
    assert "Traceback (most recent call last)" in done.stderr
    assert done.stderr.rstrip().endswith("did you mean config.train.batch_size?")


def test_help_needs_no_recipe():
    done = _run("--helpshort")
    assert "--workdir: Folder of the run" in done.stdout
    assert "error" not in done.stderr


@pytest.fixture(scope="module")
def ends():
    """Exit code and what is written to stderr, for each way in which a run may end.

    One process for all: most of its time is the import of jax.
    """
    script = """
        import contextlib, io, json, logging, sys, traceback
        from jaxreid import main, run
        from jaxreid.loop import Interrupted, NotFinite

        def fails(error):
            def train(config, workdir, command):
                raise error
            return train

        def noted(error, *notes):
            for note in notes:
                error.add_note(note)
            return error

        def logs(config, workdir, command):
            import absl.logging
            logging.getLogger("jax._src.xla_bridge").info("Unable to initialize backend 'tpu'")
            logging.getLogger("jax._src.xla_bridge").warning("An accelerator may be present")
            exec(compile("log('step 1')", run.__file__, "exec"), {"log": absl.logging.info})

        def echo(config, workdir, command):
            sys.stderr.write(f"{config.train.epochs} {config.image.size} {workdir} {command}")

        cases = {
            "echo": echo,  # first: flags of tuples are read once a process
            "done": lambda config, workdir, command: {},
            "logs": logs,
            "not finite": fails(NotFinite("loss or gradient not finite in 3 batches")),
            "terminated": fails(Interrupted(15, 7)),
            "interrupted": fails(Interrupted(2, 7)),
            "disk": fails(OSError(28, "No space left on device")),
            "notes": fails(noted(ValueError("first"), "second", "third\\n line")),
            "memory": fails(RuntimeError("RESOURCE_EXHAUSTED: Out of memory")),
        }
        ends = {}
        for name, run.train in cases.items():
            errors = io.StringIO()
            main.logging.get_absl_handler().python_handler.stream = errors
            with contextlib.redirect_stderr(errors):
                try:
                    main.entry()
                except SystemExit as end:
                    code = end.code
                except BaseException:
                    code = 1
                    traceback.print_exc()
            ends[name] = (code, errors.getvalue())
        print(json.dumps(ends))
    """
    done = _run(
        ALBEF,
        "--config.train.epochs=(2,2,3)",
        "--config.image.size=96",
        "--config.image.size=64",
        program=("-c", textwrap.dedent(script)),
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_exit_codes(ends):
    assert {name: code for name, (code, _) in ends.items()} == {
        "done": 0,
        "logs": 0,
        "echo": 0,
        "not finite": 1,
        "terminated": 128 + 15,
        "interrupted": 128 + 2,
        "disk": 2,
        "notes": 2,
        "memory": 1,
    }


def test_tuples_are_given_at_once_or_one_by_one(ends):
    said, command = ends["echo"][1].split(" python -m jaxreid.main ")
    assert said == "(2, 2, 3) (96, 64) runs/albef-rstpreid"
    assert "--config.image.size=64" in command


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("not finite", "error: loss or gradient not finite in 3 batches"),
        ("terminated", "stopped by SIGTERM at step 7, saved; the same command goes on from there"),
        ("interrupted", "stopped by SIGINT at step 7, saved; the same command goes on from there"),
        ("disk", "error: [Errno 28] No space left on device"),
        ("notes", "error: first; second; third line"),
    ],
)
def test_run_that_ends_early_says_why_in_one_line(ends, name, sentence):
    assert ends[name][1] == f"{sentence}\n"


def test_ctrl_c_before_the_first_step_ends_in_one_line():
    script = """
        import sys, types

        def train(config, workdir, command):
            raise KeyboardInterrupt

        # Stand-ins for what takes seconds to import.
        sys.modules["jax"] = types.ModuleType("jax")
        sys.modules["jaxreid.run"] = types.SimpleNamespace(train=train)
        sys.modules["jaxreid.loop"] = types.SimpleNamespace(Interrupted=(), NotFinite=())
        from jaxreid import main

        main.entry()
    """
    done = _run(ALBEF, program=("-c", textwrap.dedent(script)))
    assert done.returncode == 128 + 2
    assert done.stderr == (
        "interrupted; the same command goes on from the last checkpoint, if there is one\n"
    )


def test_other_errors_keep_their_traceback(ends):
    assert "Traceback (most recent call last)" in ends["memory"][1]
    assert "RESOURCE_EXHAUSTED" in ends["memory"][1]


def test_log_holds_our_lines_and_warnings_of_others(ends):
    assert "step 1" in ends["logs"][1]
    assert "An accelerator may be present" in ends["logs"][1]
    assert "Unable to initialize backend" not in ends["logs"][1]
