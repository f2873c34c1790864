"""resample: against NumPy's convolution in float64, compositions by definition, and JAX's own derivatives."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from scipy import signal, special

from jaxgan import lowpass, ops, resample
from jaxgan.resample import BOX, TAPS
from tests.shared import draw


def reference(x, taps, up, down, pad, gain):
    """Zero insertion, np.convolve, decimation, axis by axis in float64."""
    x, h = np.float64(x), np.float64(taps) / np.sum(taps)
    for axis in (1, 2):
        x = np.moveaxis(x, axis, -1)
        u = np.zeros((*x.shape[:-1], x.shape[-1] * up))
        u[..., ::up] = x
        u = np.pad(u, [(0, 0)] * 3 + [tuple(max(p, 0) for p in pad)])
        u = u[..., max(-pad[0], 0) : u.shape[-1] - max(-pad[1], 0)]
        x = np.apply_along_axis(lambda v: np.convolve(v, h, "valid")[::down], -1, u)
        x = np.moveaxis(x, -1, axis)
    return gain * x


CASES = [  # taps, up, down, pad
    ((1, 3, 3, 1), 1, 1, (2, 1)),
    ((1, 3, 3, 1), 2, 1, (-1, 2)),
    ((1, 3, 3, 1), 1, 2, (3, 4)),
    ((1, 1), 3, 1, (2, 1)),
    ((1, 2, 1), 1, 3, (-1, 2)),
    ((1, 2, 1), 2, 1, (0, 0)),
    ((0.1, 0.5, 0.7, -0.2, 0.3), 1, 1, (-1, 2)),
    ((0.1, 0.5, 0.7, -0.2, 0.3), 3, 1, (3, 4)),
    ((0.1, 0.5, 0.7, -0.2, 0.3), 1, 2, (2, 1)),
]


@pytest.fixture(params=[{}, {"cpu": math.inf}], ids=["slices", "products"])
def form(request, monkeypatch):
    monkeypatch.setattr(resample, "PRODUCTS", request.param)
    return request.param


@pytest.mark.parametrize("taps, up, down, pad", CASES)
def test_upfirdn(taps, up, down, pad, form):
    x = draw(0, 2, 7, 6, 3)
    expected = reference(x, taps, up, down, pad, up**2)
    t = draw(1, *expected.shape)
    f = lambda x: resample.upfirdn(x, taps, up=up, down=down, pad=pad, gain=up**2)
    assert ("dot_general" in str(jax.make_jaxpr(f)(x))) == bool(form)
    y, pulled = jax.jit(lambda x, t: (f(x), jax.vjp(f, x)[1](t)[0]))(x, t)
    assert y.shape == expected.shape
    np.testing.assert_allclose(y, expected, atol=1e-6 * np.abs(expected).max())
    there, back = np.vdot(t, y), np.vdot(pulled, x)  # the gradient is the transpose: <t, f(x)> = <f'(t), x>
    assert abs(there - back) < 1e-4 * np.linalg.norm(y) * np.linalg.norm(t)


def depthwise(x, up, down, pad):
    """upfirdn with TAPS by one depthwise convolution, and JAX's own derivatives."""
    c, f = x.shape[3], np.outer(TAPS, TAPS) / np.sum(TAPS) ** 2
    kernel = jnp.asarray(np.repeat(f[:, :, None, None], c, 3), jnp.float32)
    pads = [(pad[0], pad[1] - (up - 1))] * 2  # lhs_dilation has no zeros after the last pixel
    pads = [(low, high + 2 * (up - 1)) for low, high in pads]
    return lax.conv_general_dilated(
        x, kernel, (down, down), pads, lhs_dilation=(up, up), dimension_numbers=ops.LAYOUT, feature_group_count=c
    )


@pytest.mark.parametrize("up, down", [(1, 1), (2, 1), (1, 2)])
def test_first_and_second_derivatives_are_jaxs(up, down, form):
    x = draw(0, 1, 4, 6, 2)
    ours = lambda x: resample.upfirdn(x, TAPS, up=up, down=down, pad=(2, 1))
    theirs = lambda x: depthwise(x, up, down, (2, 1))
    first = lambda f: jax.grad(lambda x: jnp.sum(jnp.sin(f(x))))
    second = lambda f: jax.grad(lambda x: jnp.sum(jnp.sin(2 * first(f)(x))))
    for order in (lambda f: f, first, second):
        a, b = (jax.jit(order(f))(x) for f in (ours, theirs))
        np.testing.assert_allclose(a, b, atol=1e-5 * np.abs(b).max())


def test_gradients_are_slices_and_sums():
    x = draw(0, 1, 4, 4, 2)
    for f in (resample.upsample, resample.downsample, resample.blur):
        text = str(jax.make_jaxpr(jax.grad(lambda x, f=f: jnp.sum(f(x) ** 2)))(x))
        assert "conv_" not in text and "scatter" not in text and "dot_general" not in text


def test_box_is_nearest_and_mean():
    x = draw(0, 2, 4, 6, 3)
    np.testing.assert_allclose(resample.upsample(x, BOX), np.repeat(np.repeat(x, 2, 1), 2, 2), rtol=1e-6)
    np.testing.assert_allclose(resample.downsample(x, BOX), ops.downsample2(x), atol=1e-6)


def test_a_blur_keeps_the_size_and_the_filter_alone_does_not_pad():
    x = draw(0, 2, 7, 6, 3)
    for taps, options in (((1, 2, 1), {}), ((1, 4, 6, 4, 2), {"taps": (1, 4, 6, 4, 2)})):
        pad = (len(taps) // 2,) * 2
        np.testing.assert_allclose(resample.blur(x, **options), reference(x, taps, 1, 1, pad, 1), atol=1e-6)
    np.testing.assert_allclose(resample.upfirdn(x, taps), reference(x, taps, 1, 1, (0, 0), 1), atol=1e-6)


def test_levels_are_kept_inside():
    ones = jnp.ones((1, 8, 8, 1))
    for f in (resample.upsample, resample.downsample, resample.blur):
        np.testing.assert_allclose(jax.jit(f)(ones)[:, 2:-2, 2:-2], 1.0, rtol=1e-6)


@pytest.mark.parametrize("taps, size", [(TAPS, 1), (TAPS, 3), (BOX, 3), ((1, 5, 10, 10, 5, 1), 5)])
def test_convolutions_with_resampling_are_the_two_in_a_row(taps, size):
    x, k, n, half = draw(0, 2, 8, 6, 3), draw(1, size, size, 3, 4), len(taps), size // 2
    up = ((n + 1) // 2 + half, (n - 2) // 2 + half)
    down = ((n - 1) // 2 + half, (n - 2) // 2 + half)
    doubled = lambda x, k: ops.conv(resample.upfirdn(x, taps, up=2, pad=up, gain=4), k[::-1, ::-1], padding="VALID")
    wide = lambda x: jnp.pad(x, ((0, 0), down, down, (0, 0)))
    halved = lambda x, k: resample.upfirdn(ops.conv(wide(x), k, padding="VALID"), taps, down=2)
    for ours, theirs, shape in ((resample.conv_up, doubled, (2, 16, 12, 4)), (resample.conv_down, halved, (2, 4, 3, 4))):
        y, expected = jax.jit(lambda x, k, a=ours, b=theirs: (a(x, k, taps), b(x, k)))(x, k)
        assert y.shape == shape
        np.testing.assert_allclose(y, expected, atol=1e-5 * np.abs(expected).max())


def test_with_a_box_they_are_the_tutorial_ones():
    x, k = draw(0, 2, 4, 6, 3), draw(1, 3, 3, 3, 4)
    near = jnp.repeat(jnp.repeat(x, 2, 1), 2, 2)
    np.testing.assert_allclose(resample.conv_up(x, k, BOX), ops.conv(near, k[::-1, ::-1]), atol=1e-5)
    np.testing.assert_allclose(resample.conv_down(x, k, BOX), ops.downsample2(ops.conv(x, k)), atol=1e-5)


def test_dtype_vmap_and_mapped_devices(form):
    x = draw(0, 2, 2, 4, 4, 3)
    assert jax.eval_shape(resample.upsample, x[0].astype(jnp.bfloat16)).dtype == jnp.bfloat16
    f = lambda x: jax.grad(lambda x: jnp.sum(resample.downsample(x) ** 2))(x)
    expected = jnp.stack([jax.jit(f)(one) for one in x])
    np.testing.assert_allclose(jax.jit(jax.vmap(f))(x), expected, atol=1e-5)
    np.testing.assert_allclose(jax.pmap(f)(x), expected, atol=1e-5)


def test_misuse_is_named():
    x, k = jnp.ones((1, 4, 5, 2)), jnp.ones((2, 2, 2, 2))
    for call, words in (
        (lambda: resample.upfirdn(x[0], TAPS), "B, H, W, C"),
        (lambda: resample.upsample(x.astype(jnp.uint8)), "x is uint8; convert images to floats"),
        (lambda: resample.blur(x, (1, 1)), "2 taps have no middle"),
        (lambda: resample.upfirdn(x, TAPS, up=2, down=2), "must be 1"),
        (lambda: resample.upfirdn(x, (1, -1)), "sum"),
        (lambda: resample.upfirdn(x, np.ones(7)), "do not fit"),
        (lambda: resample.downsample(x), "4x5"),
        (lambda: resample.conv_up(x, k), "odd k"),
        (lambda: resample.conv_down(x, k), "odd k"),
    ):
        with pytest.raises(ValueError, match=words):
            call()


def test_a_pad_that_is_not_of_both_axes_is_refused():
    for pad in ((1, 1, 1, 1), 1):  # the official upfirdn2d takes four, of which two would be dropped
        with pytest.raises(ValueError, match="upfirdn: pad is .* give .low, high., the same for both axes"):
            resample.upfirdn(jnp.zeros((1, 4, 4, 1)), (1, 2, 1), pad=pad)


def test_a_sum_of_separable_filters_is_the_filter():
    rng = np.random.default_rng(0)
    x, pairs = rng.normal(size=(2, 9, 11, 3)), rng.normal(size=(2, 2, 4))
    whole = sum(np.outer(height, width) for height, width in pairs)
    got = resample.separated(
        jnp.asarray(x, jnp.float32), [tuple(map(tuple, pair.tolist())) for pair in pairs], down=2, pad=(2, 1)
    )
    padded = np.pad(x, ((0, 0), (2, 1), (2, 1), (0, 0)))
    for i, c in np.ndindex(2, 3):
        want = signal.convolve2d(padded[i, ..., c], whole, mode="valid")[::2, ::2]
        np.testing.assert_allclose(got[i, ..., c], want, rtol=1e-5, atol=1e-5)


def test_the_jinc_is_the_formula_and_has_no_direction():
    taps, cutoff, width, rate = 12, 5.0, 4.0, 64
    found = sum(np.outer(*pair) for pair in lowpass.jinc(taps, cutoff, width, rate))
    x, y = np.meshgrid(*[(np.arange(taps) - 5.5) / rate] * 2)
    window = signal.firwin(taps, cutoff, width=width, fs=rate) / np.sinc(2 * cutoff * (np.arange(taps) - 5.5) / rate)
    want = special.j1(2 * np.pi * cutoff * np.hypot(x, y)) / np.hypot(x, y) * np.outer(window, window)
    np.testing.assert_allclose(found, want / want.sum(), atol=1e-7)
    np.testing.assert_allclose(found, np.rot90(found), atol=1e-7)
