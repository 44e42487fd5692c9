"""In double precision published weights compute what they do in their own code, to 1e-10."""

import json
import pathlib
import subprocess
import sys

CODE = """
import jax, jax.numpy as jnp, json, numpy as np
jax.config.update("jax_enable_x64", True)
jnp.float32 = jnp.float64
from tests import test_weights_releases as releases
print(json.dumps({kind: releases.differences(kind, np.float64) for kind in KINDS}))
"""


def test_in_double_precision_outputs_agree_to_ten_digits():
    """In a process of its own, where float64 stands for float32 throughout the package."""
    kinds = ("albef_retrieval", "cada")
    done = subprocess.run(
        [sys.executable, "-c", f"KINDS = {kinds}\n{CODE}"],
        cwd=pathlib.Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert tuple(found) == kinds
    for kind, differences in found.items():
        for name, difference in differences.items():
            assert difference < 1e-10, f"{kind} {name} differs by {difference:.1e}"
