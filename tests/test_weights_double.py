"""In double precision published weights compute what they do in their own code, to 1e-10.

All kinds are run in one process of their own, where float64 stands for float32 throughout the
package. Not there: the other two kinds of Word4Per, BLIP-2 and ALBEF's encoders, whose tables are
those of kinds that are there.
"""

import json
import os
import pathlib
import subprocess
import sys

CODE = """
import jax, jax.numpy as jnp, json, numpy as np
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_disable_most_optimizations", True)  # all of the time is compilation
jnp.float32 = jnp.float64
import test_diana, test_fafa, test_llama, test_swin
from tests import test_weights_clip, test_weights_releases, test_weights_starts
found = {m.__name__: m.differences(np.float64)
         for m in (test_diana, test_fafa, test_llama, test_swin, test_weights_starts)}
for module in (test_weights_clip, test_weights_releases):
    found |= {kind: module.differences(kind, np.float64) for kind in module.KINDS}
print(json.dumps(found))
"""


def test_in_double_precision_outputs_agree_to_ten_digits():
    root = pathlib.Path(__file__).parents[1]
    paths = {"PYTHONPATH": os.pathsep.join([str(root), str(root / "tests")])}
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        cwd=root,
        env=os.environ | paths,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert len(found) == 15
    for kind, differences in found.items():
        assert len(differences) >= 4, kind
        for name, difference in differences.items():
            assert difference < 1e-10, f"{kind} {name} differs by {difference:.1e}"
