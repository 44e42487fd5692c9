"""Peak speed of accelerators, for the share of it that a run reaches."""

import re

import jax

# Dense bfloat16 FLOP/s of one chip, from the vendors' data sheets, by the words with which jax's
# device_kind starts; the longer names come before the shorter.
_PEAK = (
    ("NVIDIA H200 NVL", 836e12),
    ("NVIDIA H200", 989e12),
    ("NVIDIA H100 PCIe", 756e12),
    ("NVIDIA H100 NVL", 836e12),
    ("NVIDIA H100", 989e12),
    ("NVIDIA A100", 312e12),
    ("NVIDIA L4", 121e12),
    ("NVIDIA GeForce RTX 4090", 165e12),
    ("NVIDIA GeForce RTX 3090", 71e12),
    ("Tesla T4", 65e12),  # float16
    ("TPU v6 lite", 918e12),
    ("TPU v5 lite", 197e12),
    ("TPU v5p", 459e12),
    ("TPU v5", 459e12),
    ("TPU v4", 275e12),
    ("TPU v3", 123e12),
)


def peak_flops(devices: list[jax.Device]) -> float | None:
    """Returns the bfloat16 peak of all devices in FLOP/s, None where one is not known."""
    total = 0.0
    for device in devices:
        for name, peak in _PEAK:
            if re.match(rf"{name}\b", device.device_kind):
                total += peak
                break
        else:
            return None
    return total
