import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreid.mesh import (
    fetch,
    make_mesh,
    put_batch,
    put_replicated,
    put_whole,
    replicated,
    split_batch,
)


@pytest.fixture(scope="module")
def mesh():
    return make_mesh()


def test_mesh_has_all_devices_by_default_and_the_given_ones_otherwise(mesh):
    assert mesh.size == jax.device_count() == 8
    assert mesh.axis_names == ("data",)
    assert make_mesh(jax.devices()[:3]).size == 3


def test_devices_are_ordered_whatever_order_they_are_given_in():
    shuffled = [jax.devices()[i] for i in (5, 0, 3)]
    assert [device.id for device in make_mesh(shuffled).devices] == [0, 3, 5]


def test_no_devices_is_refused():
    with pytest.raises(ValueError, match="at least one device"):
        make_mesh([])


def test_put_batch_gives_each_device_its_share_in_order(mesh):
    rows = np.arange(48, dtype=np.int32).reshape(16, 3)
    batch = put_batch(mesh, {"x": rows, "none": None})
    assert batch["none"] is None
    assert batch["x"].sharding == split_batch(mesh)
    for shard in batch["x"].addressable_shards:
        first = 2 * shard.device.id
        np.testing.assert_array_equal(shard.data, rows[first : first + 2])


def test_put_whole_equals_put_batch_in_one_process(mesh):
    rows = np.arange(48, dtype=np.float32).reshape(16, 3)
    a, b = put_batch(mesh, rows), put_whole(mesh, rows)
    assert a.sharding == b.sharding
    np.testing.assert_array_equal(fetch(a), fetch(b))


@pytest.mark.parametrize("put", [put_batch, put_whole])
@pytest.mark.parametrize("rows", [np.zeros((9, 2)), np.float32(1)])
def test_rows_that_do_not_divide_are_refused_with_the_numbers(mesh, put, rows):
    with pytest.raises(ValueError, match=r"multiple of 8 rows.*shape \("):
        put(mesh, {"x": rows})


def test_put_replicated_copies_host_and_device_arrays_to_every_device(mesh):
    host = np.arange(6, dtype=np.float32).reshape(2, 3)
    out = put_replicated(mesh, {"host": host, "device": jnp.array(host), "number": 2})
    for name in ("host", "device"):
        assert out[name].sharding == replicated(mesh)
        assert len(out[name].addressable_shards) == 8
        for shard in out[name].addressable_shards:
            np.testing.assert_array_equal(shard.data, host)
    assert fetch(out["number"]) == 2


@pytest.mark.parametrize("dtype", [np.float32, jnp.bfloat16, np.bool_])
def test_fetch_returns_split_and_replicated_arrays_whole(mesh, dtype):
    rows = (np.arange(24).reshape(8, 3) % 5).astype(dtype)
    for array in (put_whole(mesh, rows), put_replicated(mesh, rows), jnp.asarray(rows)):
        out = fetch(array)
        assert isinstance(out, np.ndarray)
        assert out.dtype == dtype
        np.testing.assert_array_equal(out, rows)
