"""Layers: batch norm against float64 and across devices, dropout's masks, labels, sizes that fit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxgan import ops
from jaxgan.errors import UserError
from jaxgan.layers import BatchNorm, Conv, ConvTranspose, Dropout, Embed, base_size, check_input, one_hot_labels
from tests.shared import draw


@pytest.mark.parametrize(
    "size, base, k",
    [
        ((28, 28), (7, 7), 2),
        ((56, 28), (14, 7), 2),
        ((32, 32), (4, 4), 3),
        ((64, 64), (4, 4), 4),
        ((256, 256), (4, 4), 6),
        ((48, 48), (6, 6), 3),
        ((32, 128), (4, 16), 3),
        ((8, 8), (4, 4), 1),
        ((40, 24), (10, 6), 2),
    ],
)
def test_base_size(size, base, k):
    assert base_size((*size, 3)) == (base, k)


@pytest.mark.parametrize("size", [(30, 30), (100, 100), (7, 7), (1, 1), (33, 200), (36, 72), (100, 1001), (513, 511)])
def test_sizes_that_do_not_fit_name_ones_that_do(size):
    with pytest.raises(UserError, match="crop or resize to") as error:
        base_size((*size, 3))
    text = str(error.value)
    assert f"{size[0]}x{size[1]}" in text and "\n" not in text
    for near in text.split("crop or resize to ")[1].split(" or "):
        h, w = map(int, near.split("x"))
        base_size((h, w, 3))
        if min(size) >= 8:
            assert all(abs(a / b - 1) <= 0.25 for a, b in zip((h, w), size, strict=True))


def test_every_suggestion_fits():
    for h in range(1, 70):
        for w in range(1, 70, 3):
            try:
                (bh, bw), k = base_size((h, w, 1))
                assert (bh * 2**k, bw * 2**k) == (h, w) and 4 <= min(bh, bw) <= 7 and k >= 1
            except UserError as error:
                for near in str(error).split("crop or resize to ")[1].split(" or "):
                    base_size((*map(int, near.split("x")), 1))


def test_conv_layers_are_the_ops_with_bias_in_their_dtype():
    x = draw(0, 2, 4, 6, 4)
    for layer, op, shape in (
        (Conv(6, 3, stride=2, groups=2), lambda x, k: ops.conv(x, k, stride=2, groups=2), (3, 3, 2, 6)),
        (ConvTranspose(6, 4), lambda x, k: ops.conv_transpose(x, k, stride=2), (4, 4, 4, 6)),
    ):
        params = layer.init(jax.random.key(0), x)["params"]
        assert params["kernel"].shape == shape
        params["bias"] = draw(1, 6)
        y = layer.apply({"params": params}, x)
        np.testing.assert_allclose(y, op(x, params["kernel"]) + params["bias"].reshape(1, 1, 1, 6), atol=1e-6)
        low = layer.copy(dtype=jnp.bfloat16)
        assert low.apply({"params": params}, x).dtype == jnp.bfloat16
        assert set(layer.copy(bias=False).init(jax.random.key(0), x)["params"]) == {"kernel"}


def test_embed_reads_rows_and_mixes_them():
    layer = Embed(3, 5)
    c = jnp.array([2, 0, 2])
    v = layer.init(jax.random.key(0), c)
    table = np.asarray(v["params"]["embedding"])
    np.testing.assert_array_equal(layer.apply(v, c), table[[2, 0, 2]])
    wide = {"params": {"embedding": np.arange(600.0)[:, None]}}
    for dtype in (jnp.uint8, jnp.int8):  # 5, 261 and 517 are one number in 8 bits
        np.testing.assert_array_equal(Embed(600, 1).apply(wide, jnp.array([5, 100], dtype))[:, 0], [5, 100])
    np.testing.assert_allclose(layer.apply(v, jnp.array([[0.25, 0.75, 0.0]]))[0], 0.25 * table[0] + 0.75 * table[1])
    for wrong in (None, jnp.ones((2,)), jnp.ones((2, 4)), jnp.ones((2, 1), jnp.int32)):
        with pytest.raises(ValueError, match="labels c"):
            layer.apply(v, wrong)


def test_labels():
    np.testing.assert_array_equal(one_hot_labels(jnp.array([2, 0]), 3), [[0, 0, 1], [1, 0, 0]])
    np.testing.assert_array_equal(one_hot_labels([2, 0], 3), [[0, 0, 1], [1, 0, 0]])
    v = jax.random.normal(jax.random.key(0), (2, 3))
    np.testing.assert_array_equal(one_hot_labels(v, 3), v)
    assert list(np.flatnonzero(one_hot_labels(jnp.array([5], jnp.uint8), 600))) == [5]  # 261 is 5 in 8 bits
    for c in (None, v[:, :2], jnp.zeros(2)):
        with pytest.raises(ValueError, match="labels c"):
            one_hot_labels(c, 3)


def batch_norm_reference(x, scale, bias, epsilon):
    x = np.float64(x)
    axes = tuple(range(x.ndim - 1))
    mean, var = x.mean(axes), x.var(axes)
    return (x - mean) / np.sqrt(var + epsilon) * scale + bias, mean, var


@pytest.mark.parametrize("shape", [(16, 5), (4, 3, 2, 5)])
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_batch_norm_is_the_formula_even_far_from_zero(shape, offset):
    x = draw(0, *shape) + offset
    layer = BatchNorm(momentum=0.9, epsilon=1e-3)
    scale, bias = np.float32(1 + 0.1 * np.arange(5)), np.float32(0.2 * np.arange(5))
    old = {"mean": np.full(5, 0.5, np.float32), "var": np.full(5, 2, np.float32)}
    v = {"params": {"scale": scale, "bias": bias}, "batch_stats": old}
    y, new = layer.apply(v, x, True, mutable=["batch_stats"])
    expected, mean, var = batch_norm_reference(x, scale, bias, 1e-3)
    tolerance = 1e-5 if offset == 0 else 3e-3  # 1e4 + noise is itself rounded to 1e-3; the reference sees the same x
    np.testing.assert_allclose(y, expected, atol=tolerance)
    np.testing.assert_allclose(new["batch_stats"]["mean"], 0.9 * 0.5 + 0.1 * mean, rtol=1e-5)
    np.testing.assert_allclose(new["batch_stats"]["var"], 0.9 * 2 + 0.1 * var, rtol=1e-3 if offset else 1e-5)
    frozen = layer.apply(v, x, False)
    wide = lambda a: a.reshape((1,) * (len(shape) - 1) + (5,))
    np.testing.assert_allclose(frozen, (np.float64(x) - 0.5) / np.sqrt(2.001) * wide(scale) + wide(bias), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(layer.apply(v, x, True), y)  # statistics not mutable: left alone


def test_batch_norm_starts_at_mean_0_and_variance_1():
    v = BatchNorm().init(jax.random.key(0), 5 + draw(0, 8, 3), True)
    np.testing.assert_array_equal(v["batch_stats"]["mean"], np.zeros(3))
    np.testing.assert_array_equal(v["batch_stats"]["var"], np.ones(3))


def test_batch_norm_on_four_devices_is_the_whole_batch():
    x, target = draw(0, 16, 3, 5) * jnp.arange(1.0, 17).reshape(16, 1, 1), draw(1, 16, 3, 5)
    alone, many = BatchNorm(), BatchNorm(axis="devices")
    v = alone.init(jax.random.key(0), x, True)

    def loss(params, x, target, layer):
        y, new = layer.apply(v | {"params": params}, x, True, mutable=["batch_stats"])
        return jnp.mean((y - target) ** 2 * jnp.exp(y)), (y, new["batch_stats"])

    def device(x, target):
        grads, (y, stats) = jax.grad(loss, (0, 1), has_aux=True)(v["params"], x, target, many)
        return jax.lax.pmean(grads[0], "devices"), grads[1], y, stats

    (params, dx), (y, stats) = jax.grad(loss, (0, 1), has_aux=True)(v["params"], x, target, alone)
    split = lambda a: a.reshape(4, 4, 3, 5)
    got = jax.pmap(device, axis_name="devices")(split(x), split(target))
    for i in range(4):
        for a, b in zip(jax.tree.leaves((got[0], got[3])), jax.tree.leaves((params, stats)), strict=True):
            np.testing.assert_allclose(a[i], b, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(got[2].reshape(16, 3, 5), y, atol=1e-5)
    np.testing.assert_allclose(got[1].reshape(16, 3, 5) / 4, dx, atol=1e-6)  # the mean is over 4 times fewer a device


KEYS = jax.random.split(jax.random.key(7), 8)


class Two(nn.Module):
    @nn.compact
    def __call__(self, x, keys, train=True):
        return Dropout(0.3)(x, keys, train), Dropout(0.3)(x, keys, train)


def test_dropout_drops_its_rate_and_keeps_the_mean():
    x = jnp.full((8, 100, 100), 2.0)
    a, b = (np.asarray(y) for y in Two().apply({}, x, KEYS))
    for y in (a, b):
        np.testing.assert_allclose(np.unique(y), [0, 2 / 0.7], rtol=1e-6)
        sigma = np.sqrt(0.3 * 0.7 / y.size)
        assert abs((y == 0).mean() - 0.3) < 5 * sigma
        assert np.abs((y == 0).mean((1, 2)) - 0.3).max() < 5 * sigma * np.sqrt(8)
    together = ((a == 0) & (b == 0)).mean()  # two layers: independent masks
    assert abs(together - 0.09) < 5 * np.sqrt(0.09 * 0.91 / a.size)


@pytest.mark.parametrize("n", [10_000, 9_999])
def test_dropped_elements_are_independent_of_each_other(n):
    """A word of the hash decides about two elements, half a row apart; neighbours come from neighbouring words."""
    dropped = np.asarray(Dropout(0.3).apply({}, jnp.ones((8, n)), KEYS, True)) == 0
    for apart in (1, 2, n // 2, -(-n // 2)):
        both = dropped[:, apart:] & dropped[:, :-apart]
        assert abs(both.mean() - 0.09) < 5 * np.sqrt(0.09 * 0.91 / both.size)


def test_dropout_belongs_to_the_image():
    x = draw(0, 8, 4, 5)
    whole = Two().apply({}, x, KEYS)[0]
    np.testing.assert_array_equal(Two().apply({}, x[3:5], KEYS[3:5])[0], whole[3:5])
    gradient = jax.grad(lambda x: Two().apply({}, x, KEYS)[0].sum())(x)
    np.testing.assert_allclose(gradient, np.where(whole == 0, 0, 1 / 0.7), rtol=1e-6)


def test_dropout_rests_and_complains():
    x = draw(0, 8, 4)
    np.testing.assert_array_equal(Dropout(0.3).apply({}, x, None, False), x)
    np.testing.assert_array_equal(Dropout(0.0).apply({}, x, None, True), x)
    assert Dropout(0.3).apply({}, x.astype(jnp.bfloat16), KEYS, True).dtype == jnp.bfloat16
    for wrong in (None, KEYS[:2]):
        with pytest.raises(ValueError, match="one per image"):
            Dropout(0.3).apply({}, x, wrong, True)
    with pytest.raises(ValueError, match="rate"):
        Dropout(1.0).apply({}, x, KEYS, True)


def test_pixels_of_eight_bits_are_no_input_of_a_network():
    with pytest.raises(ValueError, match=r"x is uint8; give floats, images in .-1, 1. .x / 127.5 - 1."):
        check_input("x", np.zeros((2, 8, 8, 1), np.uint8), (8, 8, 1))
    check_input("x", jnp.zeros((2, 8, 8, 1), jnp.bfloat16), (8, 8, 1))
