"""equalized: closed forms, float64 NumPy, the two forms of modulated convolution, groups on any number of devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import ops
from jaxgan.equalized import Conv, Dense, leaky, minibatch_stddev, modulated_conv, pixel_norm, resampled_conv
from jaxgan.errors import UserError
from tests.shared import draw


def test_leaky_keeps_the_second_moment_nearly_and_clamps():
    np.testing.assert_allclose(leaky(jnp.array([-2.0, 0.0, 3.0])), np.sqrt(2) * np.array([-0.4, 0, 3]), rtol=1e-6)
    np.testing.assert_allclose(leaky(jnp.array([-2.0, 3.0, -9.0]), gain=10, clamp=5), [-4, 5, -5])
    assert abs(jnp.mean(leaky(draw(0, 100_000)) ** 2) - 1.04) < 0.02  # gain^2 (1 + 0.2^2) / 2


def test_pixel_norm():
    x = 7 * draw(0, 3, 2, 5)
    expected = np.float64(x) / np.sqrt(np.mean(np.float64(x) ** 2, -1, keepdims=True) + 1e-8)
    np.testing.assert_allclose(pixel_norm(x), expected, rtol=1e-6)
    assert pixel_norm(x.astype(jnp.bfloat16)).dtype == jnp.bfloat16
    assert np.all(np.isfinite(pixel_norm(jnp.zeros((1, 4)))))


@pytest.mark.parametrize("lr_mult", [1.0, 0.01])
def test_dense(lr_mult):
    x = draw(0, 2000, 30)
    layer = Dense(20, lr_mult=lr_mult, gain=1.5, bias_init=3.0)
    v = jax.jit(layer.init)(jax.random.key(0), x)
    kernel, bias = v["params"]["kernel"], v["params"]["bias"]
    assert abs(np.std(kernel) * lr_mult - 1) < 0.1
    y = layer.apply(v, x)
    expected = np.float64(x) @ np.float64(kernel) * 1.5 * lr_mult / np.sqrt(30) + np.float64(bias) * lr_mult
    np.testing.assert_allclose(y, expected, atol=1e-4)
    assert abs(np.mean(y) - 3) < 0.2 and abs(np.std(np.asarray(y) - 3) - 1.5) < 0.2  # whatever lr_mult is
    half = Dense(20, lr_mult=lr_mult, dtype=jnp.bfloat16)
    assert jax.eval_shape(half.apply, v, x).dtype == jnp.bfloat16


@pytest.mark.parametrize("resample, shape", [("", (2, 8, 6, 5)), ("up", (2, 16, 12, 5)), ("down", (2, 4, 3, 5))])
def test_conv(resample, shape):
    x = draw(0, 2, 8, 6, 3)
    layer = Conv(5, resample=resample, gain=2.0)
    v = {"params": {"kernel": draw(1, 3, 3, 3, 5), "bias": draw(2, 5)}}
    shapes = jax.eval_shape(layer.init, jax.random.key(0), x)
    assert jax.tree.map(jnp.shape, shapes) == jax.tree.map(jnp.shape, v)
    y = jax.jit(layer.apply)(v, x)
    kernel, bias = v["params"]["kernel"] * 2 / np.sqrt(27), v["params"]["bias"].reshape(1, 1, 1, 5)
    expected = jax.jit(lambda x, k: resampled_conv(x, k, resample))(x, kernel) + bias
    assert y.shape == shape
    np.testing.assert_allclose(y, expected, atol=1e-5)
    half = Conv(5, resample=resample, dtype=jnp.bfloat16)
    assert jax.eval_shape(half.apply, v, x).dtype == jnp.bfloat16


@pytest.mark.parametrize("layer, shape", [(Conv(64), (1, 4, 4, 32)), (Dense(64), (1, 288))])
def test_weights_start_standard_normal_and_biases_at_zero(layer, shape):
    params = jax.jit(layer.init)(jax.random.key(0), jnp.zeros(shape))["params"]
    assert params["kernel"].size == 9 * 32 * 64 and abs(np.std(params["kernel"]) - 1) < 0.024  # 4.5 standard errors
    assert abs(np.mean(params["kernel"])) < 0.034 and (params["bias"] == 0).all()


def modulated_reference(x, kernel, styles, demodulate):
    """A kernel for each image, in float64; then a plain convolution."""
    out = []
    for image, style in zip(np.float64(x), np.float64(styles), strict=True):
        k = np.float64(kernel) * style[None, None, :, None]
        k = k / np.sqrt(np.sum(k**2, (0, 1, 2)) + 1e-8) if demodulate else k
        wide = np.pad(image, ((1, 1), (1, 1), (0, 0)))
        h, w = image.shape[:2]
        out.append(sum(wide[s : s + h, t : t + w] @ k[s, t] for s in range(3) for t in range(3)))
    return np.stack(out)


@pytest.mark.parametrize("demodulate", [True, False])
@pytest.mark.parametrize("fused", [True, False])
def test_modulated_conv(demodulate, fused):
    x, k, s = draw(0, 3, 5, 4, 6), draw(1, 3, 3, 6, 2), 1 + draw(2, 3, 6)
    y = jax.jit(lambda *a: modulated_conv(*a, demodulate=demodulate, fused=fused))(x, k, s)
    half = jax.eval_shape(lambda x: modulated_conv(x, k, s, demodulate=demodulate, fused=fused), x.astype(jnp.bfloat16))
    assert half.dtype == jnp.bfloat16
    expected = modulated_reference(x, k, s, demodulate)
    np.testing.assert_allclose(y, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("resample", ["up", "down"])
def test_both_forms_agree_in_value_gradient_and_its_gradient(resample):
    arrays = draw(0, 2, 4, 4, 3), draw(1, 3, 3, 3, 2), 1 + draw(2, 2, 3)

    def orders(fused):
        f = lambda *a: modulated_conv(*a, resample=resample, fused=fused)
        first = jax.grad(lambda *a: jnp.sum(jnp.sin(f(*a))), (0, 1, 2))
        second = jax.grad(lambda *a: sum(jnp.sum(jnp.cos(g)) for g in first(*a)), (0, 1, 2))
        return jax.jit(lambda *a: (f(*a), first(*a), second(*a)))(*arrays)

    for a, b in zip(jax.tree.leaves(orders(True)), jax.tree.leaves(orders(False)), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5 * np.abs(b).max())


def test_demodulated_outputs_have_unit_variance():
    x, k, s = draw(0, 4, 32, 32, 8), 3 * draw(1, 3, 3, 8, 8), jnp.exp(draw(2, 4, 8))
    y = np.asarray(jax.jit(modulated_conv)(x, k, s))[:, 1:-1, 1:-1]
    assert np.abs(y.std((1, 2)) - 1).max() < 0.12


def stddev_reference(x, group, features):
    x = np.float64(x)
    out = np.zeros((*x.shape[:3], features))
    for first in range(0, len(x), group):
        block = x[first : first + group]
        for f, part in enumerate(np.split(block, features, 3)):
            out[first : first + group, :, :, f] = np.sqrt(part.var(0) + 1e-8).mean()
    return np.concatenate([x, out], 3)


@pytest.mark.parametrize("group, features", [(4, 1), (2, 2), (8, 1), (32, 4)])
def test_minibatch_stddev(group, features):
    x = draw(0, 8, 3, 2, 4) * jnp.arange(1, 9.0).reshape(8, 1, 1, 1)
    y = jax.jit(lambda x: minibatch_stddev(x, group=group, features=features))(x)
    np.testing.assert_allclose(y, stddev_reference(x, min(group, 8), features), rtol=1e-5)


@pytest.mark.parametrize("devices, batch, group", [(2, 8, 4), (4, 8, 4), (4, 12, 6), (4, 4, 32)])
def test_groups_do_not_depend_on_the_device_count(devices, batch, group):
    """Also where a group straddles devices: then they are gathered. The step averages gradients over devices."""
    x, k = draw(0, batch, 2, 2, 3), draw(1, 2, 2, 4)

    def loss(k, x, axis=None):
        return jnp.mean(jnp.sin(minibatch_stddev(x, group=group, axis=axis) * k[None]))

    one = jax.jit(jax.value_and_grad(loss, (0, 1)))(k, x)
    spread = jax.pmap(lambda k, x: jax.value_and_grad(loss, (0, 1))(k, x, "d"), axis_name="d", in_axes=(None, 0))
    value, (dk, dx) = spread(k, x.reshape(devices, -1, *x.shape[1:]))
    np.testing.assert_allclose(value.mean(), one[0], rtol=1e-5)
    np.testing.assert_allclose(dk.mean(0), one[1][0], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(dx.reshape(x.shape) / devices, one[1][1], rtol=1e-4, atol=1e-6)


def test_misuse_is_named():
    x, k = jnp.ones((4, 4, 4, 3)), jnp.ones((3, 3, 3, 2))
    for call, words in (
        (lambda: minibatch_stddev(x, features=2), "2 features"),
        (lambda: modulated_conv(x, k, jnp.ones((4, 2))), "do not fit"),
        (lambda: modulated_conv(x, k, jnp.ones((4, 3)), resample="sideways"), "sideways"),
    ):
        with pytest.raises(ValueError, match=words):
            call()
    with pytest.raises(UserError, match=r"compares 3 images at a time, and a \(micro-\)batch of 4 is no multiple"):
        minibatch_stddev(x, group=3)  # a user's --batch: one line
    assert ops.conv(x, k).shape == resampled_conv(x, k).shape
