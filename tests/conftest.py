import os

import jax

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
