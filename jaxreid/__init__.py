"""Language-based person retrieval in JAX.

model = jaxreid.load("runs/laip/model")
queries, images = model.encode_text(["a man in a red coat"]), model.encode_image(["1.jpg"])
scores = model.similarity(queries, images)
"""

from typing import Any

__version__ = "0.1.0"
__all__ = ["load", "save"]


def __getattr__(name: str) -> Any:
    """Imports what needs jax when it is asked for: the command line answers typos before."""
    if name == "load":
        from jaxreid.model import load

        return load
    if name == "save":
        from jaxreid.export import save

        return save
    raise AttributeError(f"module 'jaxreid' has no attribute {name!r}")
