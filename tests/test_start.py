"""Start weights: what is saved comes back, and what does not fit is refused by name."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import albef, cada
from jaxreid.optim import parameter_name
from jaxreid.start import FILE, Rules, load_start, read_rules, save_start
from jaxreid.streams.dual_network import init_dual_association, make_dual_association


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
    loaded = load_start(str(tmp_path), other, Rules())
    for want, got in zip(jax.tree.leaves(params), jax.tree.leaves(loaded), strict=True):
        assert got.dtype == jnp.float32
        np.testing.assert_array_equal(np.float16(want), got)


def test_parameters_that_the_folder_lacks_stay_random_where_a_rule_says_so(tmp_path, params):
    save_start(str(tmp_path), {"vit": params["vit"]})
    rules = Rules(fresh=("head/.*", "temperature"))
    loaded = load_start(str(tmp_path), jax.tree.map(lambda x: x + 1, params), rules)
    np.testing.assert_array_equal(loaded["head"]["kernel"], params["head"]["kernel"] + 1)
    np.testing.assert_array_equal(
        loaded["vit"]["norm"]["scale"], np.float16(params["vit"]["norm"]["scale"])
    )


def test_another_shape_is_refused_with_both_shapes(tmp_path, params):
    save_start(str(tmp_path), params)
    params["head"]["kernel"] = jnp.zeros((4, 3))
    with pytest.raises(ValueError, match=r"head/kernel of shape \(4, 2\).*\(4, 3\)"):
        load_start(str(tmp_path), params, Rules())


def test_a_parameter_that_the_method_lacks_is_refused(tmp_path, params):
    save_start(str(tmp_path), params)
    del params["head"]
    with pytest.raises(ValueError, match="head/kernel, which the method lacks"):
        load_start(str(tmp_path), params, Rules())


def test_a_folder_without_weights_is_named(tmp_path, params):
    with pytest.raises(FileNotFoundError, match=FILE):
        load_start(str(tmp_path), params, Rules())


@pytest.mark.parametrize("content", [b"", b"not an archive", b"PK\x03\x04 torn"])
def test_a_file_that_is_no_archive_is_refused_in_one_sentence(tmp_path, params, content):
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(ValueError, match="cannot be read"):
        load_start(str(tmp_path), params, Rules())


def test_values_beyond_half_precision_are_refused(tmp_path, params):
    params["temperature"] = jnp.float32(1e6)
    with pytest.raises(ValueError, match="temperature has values beyond float16"):
        save_start(str(tmp_path), params)
    assert not (tmp_path / FILE).exists()


# Rules for what may differ


@pytest.fixture
def folder(tmp_path, params):
    save_start(str(tmp_path), params)
    return str(tmp_path)


def rounded(x):
    return np.float32(np.float16(x))


def test_a_fresh_parameter_stays_random_although_the_folder_has_it(folder, params):
    other = jax.tree.map(lambda x: x + 1, params)
    loaded = load_start(folder, other, Rules(fresh=("head/.*",), unused=("head/.*",)))
    np.testing.assert_array_equal(loaded["head"]["kernel"], other["head"]["kernel"])
    np.testing.assert_array_equal(
        loaded["vit"]["norm"]["scale"], rounded(params["vit"]["norm"]["scale"])
    )


def test_one_parameter_of_the_folder_fills_all_that_are_named_after_it(folder, params):
    copy = jax.tree.map(jnp.zeros_like, params) | {"twin": {"kernel": jnp.zeros((4, 2))}}
    loaded = load_start(folder, copy, Rules(renamed=((r"twin/(.*)", r"head/\1"),)))
    for name in ("head", "twin"):
        np.testing.assert_array_equal(loaded[name]["kernel"], rounded(params["head"]["kernel"]))


def test_new_rows_stay_random_behind_those_of_the_folder(folder, params):
    grown = params | {"head": {"kernel": jnp.full((6, 2), 7.0)}}
    loaded = load_start(folder, grown, Rules(longer=("head/kernel",)))["head"]["kernel"]
    np.testing.assert_array_equal(loaded[:4], rounded(params["head"]["kernel"]))
    np.testing.assert_array_equal(loaded[4:], 7.0)


@pytest.mark.parametrize(
    ("rules", "change", "message"),
    [
        (Rules(), {"head": None}, r"has head/kernel, which the method lacks"),
        (Rules(), {"new": jnp.zeros(2)}, r"has no new, .*start_rules\.fresh allows it"),
        (
            Rules(fresh=("new.*",)),
            {},
            r"start_rules\.fresh: pattern 'new\.\*' matches no parameter",
        ),
        (Rules(unused=("x",)), {}, r"start_rules\.unused: pattern 'x' matches no parameter"),
        (Rules(longer=("x",)), {}, r"start_rules\.longer: pattern 'x' matches no parameter"),
        (Rules(renamed=(("x", "y"),)), {}, r"start_rules\.renamed: pattern 'x' matches no"),
        (
            Rules(longer=("head/kernel",)),
            {"head": {"kernel": jnp.zeros((3, 2))}},
            r"head/kernel of shape \(4, 2\), the config makes it \(3, 2\)",
        ),
        (
            Rules(longer=("head/kernel",)),
            {"head": {"kernel": jnp.zeros((6, 3))}},
            r"head/kernel of shape \(4, 2\), the config makes it \(6, 3\)",
        ),
    ],
)
def test_all_that_no_rule_allows_is_refused(folder, params, rules, change, message):
    changed = {k: v for k, v in (params | change).items() if v is not None}
    with pytest.raises(ValueError, match=message):
        load_start(folder, changed, rules)


def test_rules_are_those_of_the_recipe():
    assert read_rules(albef.get_config()) == Rules()
    config = cada.get_config()
    assert r"temperature" in read_rules(config).unused
    config.start_rules.fresh = ("a(",)
    with pytest.raises(ValueError, match=r"start_rules\.fresh: pattern 'a\(' is no regular"):
        read_rules(config)


@pytest.mark.parametrize("variant", ["", "released"])
def test_cada_starts_from_the_weights_of_the_small_network(variant):
    config = cada.get_config(variant)
    with np.load(f"{config.start}/{FILE}") as file:
        saved = dict(file)
    vocabulary = len(saved["text/embeddings/word_embeddings/embedding"])
    model = make_dual_association(config, vocabulary)
    shapes = jax.eval_shape(
        lambda key: init_dual_association(model, key, max_tokens=41), jax.random.key(0)
    )
    random = jax.tree.map(lambda x: jnp.full(x.shape, 9.0, x.dtype), shapes)
    loaded = load_start(config.start, random, read_rules(config))
    leaves = {parameter_name(k): v for k, v in jax.tree_util.tree_flatten_with_path(loaded)[0]}
    fresh = {name for name, value in leaves.items() if (value == 9.0).all()}
    assert fresh == {"itm_local_head/kernel", "itm_local_head/bias"}
    longer = set()
    for name in set(leaves) - fresh:
        source = name.replace("text_decoder", "text")
        for ours, theirs in (
            ("text/layer_2/", "cross/layer_0/"),
            ("text/layer_3/", "cross/layer_1/"),
        ):
            source = source.replace(ours, theirs)
        value, leaf = rounded(saved[source]), leaves[name]
        if leaf.shape != value.shape:
            longer.add(name)
            assert (leaf[vocabulary:] == 9.0).all()
            leaf = leaf[:vocabulary]
        np.testing.assert_array_equal(leaf, value)
    table = "embeddings/word_embeddings/embedding"
    added = {"mlm/bias", f"text/{table}", f"text_decoder/{table}"}
    assert longer == (added if variant == "released" else set())
