"""Our trees from the parameter names of FAFA's release (BLIP-2, as LAVIS keeps it)."""

from blip_names import Names


class FafaNames(Names):
    """Reads arrays `<kind>/<name>` of a parity file; `bert` is the prefix of the Q-Former."""

    def qformer(self, bert: str, depth: int) -> dict:
        """A `QFormer` with a cross-attention in every second layer."""
        tables = ("word_embeddings", "position_embeddings")
        embeddings = {
            table: {"embedding": self.get(f"{bert}embeddings.{table}.weight")} for table in tables
        }
        embeddings["norm"] = self.norm(f"{bert}embeddings.LayerNorm")
        layers = {
            f"layer_{i}": self._query_layer(f"{bert}encoder.layer.{i}", crosses=i % 2 == 0)
            for i in range(depth)
        }
        return {"query_tokens": self.get("query_tokens"), "embeddings": embeddings, **layers}

    def heads_and_predictor(self) -> dict:
        """Projections and the predictor of masked features."""
        predictor = "mlm_predictor.predictor"
        return {
            "image_proj": {"dense": self.dense("vision_proj")},
            "text_proj": {"dense": self.dense("text_proj")},
            "predictor": {
                "fc1": self.dense(f"{predictor}.0"),
                "fc2": self.dense(f"{predictor}.2"),
            },
        }

    def image_encoder(self, depth: int, heads: int) -> dict:
        """A `ViT`, whose final norm is ln_vision."""
        prefix = "visual_encoder."
        params = {
            "cls_token": self.get(f"{prefix}cls_token"),
            "pos_embed": self.get(f"{prefix}pos_embed"),
            "patch_embed": {
                "kernel": self.get(f"{prefix}patch_embed.proj.weight").transpose(2, 3, 1, 0),
                "bias": self.get(f"{prefix}patch_embed.proj.bias"),
            },
            "norm": self.norm("ln_vision"),
        }
        for i in range(depth):
            block = f"{prefix}blocks.{i}"
            weight, bias = (self.get(f"{block}.attn.qkv.{part}") for part in ("weight", "bias"))
            width = weight.shape[1]
            kernels = weight.reshape(3, heads, -1, width).transpose(0, 3, 1, 2)
            attention = {
                name: {"kernel": kernel, "bias": row}
                for name, kernel, row in zip(
                    ("query", "key", "value"), kernels, bias.reshape(3, heads, -1), strict=True
                )
            }
            kernel, bias = self.dense(f"{block}.attn.proj").values()
            attention["out"] = {"kernel": kernel.reshape(heads, -1, width), "bias": bias}
            params[f"blocks_{i}"] = {
                "norm1": self.norm(f"{block}.norm1"),
                "attn": attention,
                "norm2": self.norm(f"{block}.norm2"),
                "mlp": {part: self.dense(f"{block}.mlp.{part}") for part in ("fc1", "fc2")},
            }
        return params

    def _query_layer(self, name: str, *, crosses: bool) -> dict:
        """A `QueryLayer`."""
        parts = {}
        for kind in ("attention", "crossattention") if crosses else ("attention",):
            parts[kind] = self._attention(f"{name}.{kind}")
            parts[f"{kind}_norm"] = self.norm(f"{name}.{kind}.output.LayerNorm")
        for ours, theirs in (("mlp", ""), ("mlp_query", "_query")):
            parts[ours] = {
                "fc1": self.dense(f"{name}.intermediate{theirs}.dense"),
                "fc2": self.dense(f"{name}.output{theirs}.dense"),
            }
            parts[f"{ours}_norm"] = self.norm(f"{name}.output{theirs}.LayerNorm")
        return parts
