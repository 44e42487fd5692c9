"""The device mesh: parameters on every device, batches split over the axis `data`.

One code path serves one CPU, eight GPUs and a pod of many processes. Rows of a global batch
are in process order: process 0's rows first, then process 1's.
"""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec


def make_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Returns a mesh of one axis, `data`, over `devices` (default: all of all processes).

    The devices are sorted by process, so that a process holds neighbouring rows of a batch.
    """
    devices = jax.devices() if devices is None else devices
    if not devices:
        raise ValueError("a mesh needs at least one device, got none")
    devices = sorted(devices, key=lambda device: (device.process_index, device.id))
    return Mesh(np.array(devices), ("data",), axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of an array that every device holds whole."""
    return NamedSharding(mesh, PartitionSpec())


def split_batch(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of an array whose axis 0 is split over all devices."""
    return NamedSharding(mesh, PartitionSpec("data"))


def put_batch(mesh: Mesh, local_batch: Any) -> Any:
    """Builds the global batch of which each process holds its own rows.

    Args:
      mesh: from `make_mesh`.
      local_batch: tree of numpy arrays, axis 0 the rows of this process, the same number on
        every process; None leaves are kept.

    Returns:
      The tree with global arrays split over the devices, axis 0 = rows of all processes.

    Raises:
      ValueError: the rows do not divide evenly over the devices of this process.
    """
    sharding = split_batch(mesh)
    local_devices = len(mesh.local_devices)
    for leaf in jax.tree.leaves(local_batch):
        if np.ndim(leaf) == 0 or len(leaf) % local_devices:
            raise ValueError(
                f"a batch must have a multiple of {local_devices} rows, one share for each "
                f"device of this process, got an array of shape {np.shape(leaf)}"
            )
    return jax.tree.map(
        lambda leaf: jax.make_array_from_process_local_data(sharding, leaf), local_batch
    )


def put_whole(mesh: Mesh, batch: Any) -> Any:
    """Splits a batch that every process holds whole; each device is sent its own rows only.

    Raises:
      ValueError: axis 0 does not divide evenly over all devices of the mesh.
    """
    sharding = split_batch(mesh)
    for leaf in jax.tree.leaves(batch):
        if np.ndim(leaf) == 0 or len(leaf) % mesh.size:
            raise ValueError(
                f"a batch must have a multiple of {mesh.size} rows, one share for each device, "
                f"got an array of shape {np.shape(leaf)}"
            )
    return jax.tree.map(
        lambda leaf: jax.make_array_from_callback(leaf.shape, sharding, leaf.__getitem__), batch
    )


def replicated_shapes(mesh: Mesh, tree: Any) -> Any:
    """Returns the shapes and dtypes of arrays that are to be on every device."""
    sharding = replicated(mesh)
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)


def put_replicated(mesh: Mesh, tree: Any) -> Any:
    """Copies a tree of arrays, equal on every process, to every device of the mesh."""
    sharding = replicated(mesh)

    def put(leaf):
        if isinstance(leaf, jax.Array):
            return jax.device_put(leaf, sharding)  # nothing moves if it is there already
        leaf = np.asarray(leaf)
        return jax.make_array_from_callback(leaf.shape, sharding, leaf.__getitem__)

    return jax.tree.map(put, tree)


def fetch(x: jax.Array) -> np.ndarray:
    """Returns a global array as numpy on every process.

    A split array of several processes is gathered, so all processes must call together.
    """
    if x.is_fully_replicated:
        return np.asarray(x.addressable_data(0))
    if x.is_fully_addressable:
        return np.asarray(x)
    return np.asarray(multihost_utils.process_allgather(x, tiled=True))
