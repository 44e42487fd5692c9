"""Makes the honest files that the reader of published weights is tested on.

    python tools/goldens_reader.py --out tests/goldens

Needs torch beside the package; the tests need only the file. It writes reader.npz:

  file/<name>           u8[n], a file as PyTorch or safetensors write it
  want/<name>           its tensors; of bfloat16 the bits, u16
"""

import argparse
import collections
import io
import pathlib
import sys
import tempfile
import zipfile

import numpy as np
import torch
from safetensors.torch import save
from torch import nn

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from goldens import Arrays

DTYPES = (
    torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32,
    torch.int16, torch.int8, torch.uint8, torch.bool,
)  # fmt: skip


def main() -> None:
    """Writes the file into the folder --out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder of the file")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    tensors = every_kind()
    arrays = {f"want/{name}": bits(tensor) for name, tensor in tensors.items()}
    files = {
        "zip": saved(tensors),
        "zip_protocol4": saved(tensors, pickle_protocol=4),
        "legacy": saved(tensors, _use_new_zipfile_serialization=False),
        "safetensors": save({name: t.contiguous().clone() for name, t in tensors.items()}),
    }
    checkpoint = everything(tensors)
    files["checkpoint"] = saved(checkpoint)
    files["legacy_checkpoint"] = saved(checkpoint, _use_new_zipfile_serialization=False)
    torch.serialization.set_crc32_options(False)
    files["no_checksum"] = saved(tensors)
    torch.serialization.set_crc32_options(True)
    sparse = {"weight": torch.eye(3).to_sparse()}
    files["sparse"] = saved(sparse)
    quantised = torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)
    files["quantised"] = saved({"weight": quantised})
    files["meta"] = saved({"weight": torch.empty(3, device="meta")})
    files["script"], script = scripted()
    arrays |= {f"script/{name}": bits(tensor) for name, tensor in script.items()}
    arrays |= {f"file/{name}": np.frombuffer(data, np.uint8) for name, data in files.items()}
    np.savez_compressed(out / "reader.npz", **arrays)


def every_kind() -> dict[str, torch.Tensor]:
    """Tensors of every dtype and layout."""
    found = {}
    for i, dtype in enumerate(DTYPES):
        values = torch.randn(3, 4, dtype=torch.float64) * 50
        kind = str(dtype).removeprefix("torch.")
        found[kind] = (values > 0) if dtype == torch.bool else values.abs().to(dtype)
        if i < 4:
            found[kind] = values.to(dtype)
    memory = torch.randn(60)
    return found | {
        "scalar": torch.tensor(2.5),
        "empty": torch.empty(0, 3),
        "transposed": torch.randn(3, 5).T,
        "slice": memory[7:55].view(6, 8)[1:5:2, 2::3],
        "shared_first": memory[:20].view(4, 5),
        "shared_again": memory[10:30],
        "expanded": torch.randn(4, 1).expand(4, 3),
        "one_repeated": torch.tensor(7).expand(1, 6),
        "parameter": nn.Parameter(torch.randn(2, 3)),
        "channels_last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
    }


def everything(tensors: dict[str, torch.Tensor]) -> dict:
    """A checkpoint with what training scripts save beside the weights."""
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.25)
    model(torch.randn(4, 3)).square().sum().backward()
    optimizer.step()
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2)
    counts = collections.defaultdict(int, {"a": 1})
    state = model.state_dict()
    state.update(tensors)
    return {
        "model": state,
        "optimizer": optimizer.state_dict(),
        "lr_scheduler": scheduler.state_dict(),
        "config": {"image_res": 384, "files": ["a.json", "b.json"], "sizes": (1, (2.5, None))},
        "args": argparse.Namespace(seed=3, distributed=False, names={"x"}, nested={1: "one"}),
        "epoch": 4,
        "counts": counts,
        "best": np.float64(0.625),
        "array": np.arange(6, dtype=np.int32).reshape(2, 3).T,
        "raw": b"\x00\xff raw",
        "large": 2**70,
        "size": torch.Size([2, 3]),
        "dtype": torch.float32,
        "device": torch.device("cpu"),
        "complex": 1 - 2j,
        "frozen": frozenset({1, 2}),
        "text": "Größe",
    }


class Inner(nn.Module):
    """Half precision, as CLIP's archive."""

    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(4)
        self.proj = nn.Parameter(torch.randn(4, 3).half())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(x) @ self.proj.float()


class Outer(nn.Module):
    """Modules in modules, a buffer of one number, and a tensor that belongs to none."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.Sequential(nn.Linear(4, 4), Inner())
        self.register_buffer("input_resolution", torch.tensor(224))
        self.mask = torch.ones(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.blocks(x * self.mask)


def scripted() -> tuple[bytes, dict[str, torch.Tensor]]:
    """A traced module, without the places in sources of its code, and its state_dict."""
    module = torch.jit.trace(Outer().eval(), torch.randn(2, 4))
    whole, kept = io.BytesIO(), io.BytesIO()
    torch.jit.save(module, whole)
    with zipfile.ZipFile(whole) as archive, zipfile.ZipFile(kept, "w") as copy:
        for entry in archive.infolist():
            if not entry.filename.endswith(".debug_pkl"):
                entry.date_time = (1980, 1, 1, 0, 0, 0)
                copy.writestr(entry, archive.read(entry))
    return kept.getvalue(), dict(module.state_dict())


def saved(value, **options) -> bytes:
    """What torch.save writes; into a file, whose name becomes that of the archive."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "some name.pth"
        torch.save(value, path, **options)
        return path.read_bytes()


def bits(tensor: torch.Tensor) -> Arrays:
    """The values of a tensor; of bfloat16 its bits."""
    tensor = tensor.detach()
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(np.uint16)
    return tensor.numpy()


if __name__ == "__main__":
    main()
