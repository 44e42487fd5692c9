import os

import jax
import pytest

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_debug_key_reuse", True)


def pytest_collection_modifyitems(config, items):
    """Leaves out what is marked external where JAXREID_DATA does not say where its files are."""
    if "JAXREID_DATA" in os.environ:
        return
    external = [item for item in items if item.get_closest_marker("external")]
    items[:] = [item for item in items if item not in external]
    config.hook.pytest_deselected(items=external)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """Folder of prepared data, for runs whose programs are to compile quickly."""
    cache = jax.config.jax_compilation_cache_dir
    optimised = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield str(tmp_path_factory.mktemp("data"))
    jax.config.update("jax_disable_most_optimizations", optimised)
    jax.config.update("jax_compilation_cache_dir", cache)
