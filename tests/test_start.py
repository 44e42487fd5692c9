"""Start weights: what is saved comes back, and what does not fit is refused by name."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreid.start import FILE, load_start, save_start


@pytest.fixture
def params():
    rng = np.random.default_rng(0)
    return {
        "vit": {"norm": {"scale": jnp.asarray(rng.normal(size=4), jnp.float32)}},
        "head": {"kernel": jnp.asarray(rng.normal(size=(4, 2)), jnp.float32)},
        "temperature": jnp.float32(0.07),
    }


def test_saved_parameters_come_back_rounded_to_half_precision(tmp_path, params):
    save_start(str(tmp_path), params)
    other = jax.tree.map(jnp.zeros_like, params)
    loaded = load_start(str(tmp_path), other)
    for want, got in zip(jax.tree.leaves(params), jax.tree.leaves(loaded), strict=True):
        assert got.dtype == jnp.float32
        np.testing.assert_array_equal(np.float16(want), got)


def test_parameters_that_the_folder_lacks_stay_random(tmp_path, params):
    save_start(str(tmp_path), {"vit": params["vit"]})
    loaded = load_start(str(tmp_path), jax.tree.map(lambda x: x + 1, params))
    np.testing.assert_array_equal(loaded["head"]["kernel"], params["head"]["kernel"] + 1)
    np.testing.assert_array_equal(
        loaded["vit"]["norm"]["scale"], np.float16(params["vit"]["norm"]["scale"])
    )


def test_another_shape_is_refused_with_both_shapes(tmp_path, params):
    save_start(str(tmp_path), params)
    params["head"]["kernel"] = jnp.zeros((4, 3))
    with pytest.raises(ValueError, match=r"head/kernel of shape \(4, 2\).*\(4, 3\)"):
        load_start(str(tmp_path), params)


def test_a_parameter_that_the_method_lacks_is_refused(tmp_path, params):
    save_start(str(tmp_path), params)
    del params["head"]
    with pytest.raises(ValueError, match="head/kernel, which the method lacks"):
        load_start(str(tmp_path), params)


def test_a_folder_without_weights_is_named(tmp_path, params):
    with pytest.raises(FileNotFoundError, match=FILE):
        load_start(str(tmp_path), params)


@pytest.mark.parametrize("content", [b"", b"not an archive", b"PK\x03\x04 torn"])
def test_a_file_that_is_no_archive_is_refused_in_one_sentence(tmp_path, params, content):
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(ValueError, match="cannot be read"):
        load_start(str(tmp_path), params)


def test_values_beyond_half_precision_are_refused(tmp_path, params):
    params["temperature"] = jnp.float32(1e6)
    with pytest.raises(ValueError, match="temperature has values beyond float16"):
        save_start(str(tmp_path), params)
    assert not (tmp_path / FILE).exists()
