"""Our trees from the parameter names of BLIP's text models, as transformers and CADA keep them."""

from collections.abc import Mapping

import numpy as np


class Names:
    """Reads arrays `<kind>/<name>` of a parity file as parameters of our modules."""

    def __init__(self, arrays: Mapping[str, np.ndarray], kind: str, heads: int):
        self.arrays, self.kind, self.heads = arrays, kind, heads

    def get(self, name: str) -> np.ndarray:
        """An array in PyTorch's layout."""
        return self.arrays[f"{self.kind}/{name}"]

    def dense(self, name: str) -> dict:
        """A linear map."""
        return {"kernel": self.get(f"{name}.weight").T, "bias": self.get(f"{name}.bias")}

    def norm(self, name: str) -> dict:
        """A layer norm."""
        return {"scale": self.get(f"{name}.weight"), "bias": self.get(f"{name}.bias")}

    def decoder(self, prefix: str, depth: int) -> dict:
        """A `TextDecoder`."""
        tables = ("word_embeddings", "position_embeddings")
        embeddings = {
            table: {"embedding": self.get(f"{prefix}embeddings.{table}.weight")} for table in tables
        }
        embeddings["norm"] = self.norm(f"{prefix}embeddings.LayerNorm")
        layers = {f"layer_{i}": self._layer(f"{prefix}encoder.layer.{i}") for i in range(depth)}
        return {"embeddings": embeddings, **layers}

    def head(self, prefix: str) -> dict:
        """An `MLMHead`."""
        return {
            "dense": self.dense(f"{prefix}predictions.transform.dense"),
            "norm": self.norm(f"{prefix}predictions.transform.LayerNorm"),
            "bias": self.get(f"{prefix}predictions.bias"),
        }

    def _layer(self, name: str) -> dict:
        parts = {
            "mlp": {
                "fc1": self.dense(f"{name}.intermediate.dense"),
                "fc2": self.dense(f"{name}.output.dense"),
            },
            "mlp_norm": self.norm(f"{name}.output.LayerNorm"),
        }
        for kind in ("attention", "crossattention"):
            parts[kind] = self._attention(f"{name}.{kind}")
            parts[f"{kind}_norm"] = self.norm(f"{name}.{kind}.output.LayerNorm")
        return parts

    def _attention(self, name: str) -> dict:
        parts = {}
        for part in ("query", "key", "value"):
            kernel, bias = self.dense(f"{name}.self.{part}").values()
            parts[part] = {
                "kernel": kernel.reshape(len(kernel), self.heads, -1),
                "bias": bias.reshape(self.heads, -1),
            }
        kernel, bias = self.dense(f"{name}.output.dense").values()
        out = {"kernel": kernel.reshape(self.heads, -1, kernel.shape[1]), "bias": bias}
        return parts | {"out": out}
