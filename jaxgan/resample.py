"""Resampling of images by separable filters ("upfirdn"), alone and with a convolution. JAX only, NHWC, no parameters.

Each axis is zero insertion, a short filter and decimation, written as slices that are scaled and added: on a CPU 30 to 200
times faster than a depthwise convolution. On a TPU, which holds arrays in tiles, and in an ONNX file it is a product with a
banded matrix (`PRODUCTS`). The transpose of such a map is one again (filter reversed, up and down exchanged), and that is how its
gradient is written: JAX's own rule pads every slice, which costs up to eight times the forward pass. Reverse mode of any order;
no forward mode.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxgan import backend, ops
from jaxgan.typing import Array

TAPS = (1, 3, 3, 1)
"""StyleGAN2's filter."""
BOX = (1, 1)
"""With up=2 the nearest neighbour, with down=2 the mean of 2x2 squares."""

PRODUCTS = {"tpu": math.inf, "onnx": 64.0}
"""Backends on which an axis is filtered by a matrix product, up to so many pixels for each tap: a TPU (benchmarks/README.md), and
ONNX Runtime, which does not merge the slices (StyleGAN3 at 256 pixels: 0.30 s an image in place of 0.66 on two cores)."""


def upfirdn(
    x: Array, taps: Sequence[float], *, up: int = 1, down: int = 1, pad: tuple[int, int] = (0, 0), gain: float = 1.0
) -> Array:
    """Zero insertion, filter, decimation on both axes: y[j] = gain sum_t h[t] u[down j + len(h) - 1 - t - low].

    u is x with up - 1 zeros after every pixel (and zeros outside), h = taps / sum(taps): a true convolution.

    Args:
      x: [B, H, W, C], float.
      taps: the filter of one axis, numbers whose sum is not 0.
      up, down: ints >= 1, one of them 1.
      pad: (low, high) zeros on both axes after the insertion; negative ones crop.
      gain: factor on the image; up^2 keeps its level.
    Returns:
      [B, (H up + low + high - len(taps)) // down + 1, ..., C], x's dtype.
    Raises:
      ValueError: options that do not fit, integers.
    Source: Karras et al. 2020 (StyleGAN2), appendix B, `upfirdn2d` of its code; scipy.signal.upfirdn in one dimension.
    """
    taps = _taps(taps)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise ValueError(f"upfirdn: x is {x.dtype}; convert images to floats first")
    if x.ndim != 4 or min(up, down) != 1:
        raise ValueError(f"upfirdn: x {x.shape} must be [B, H, W, C], and one of up={up}, down={down} must be 1")
    if np.shape(pad) != (2,):
        raise ValueError(f"upfirdn: pad is {pad}; give (low, high), the same for both axes")
    flipped = tuple(float(t) * gain**0.5 for t in taps[::-1])
    return _both(x, flipped, flipped, up, down, pad)


def separated(
    x: Array, filters: Sequence[tuple[Sequence[float], Sequence[float]]], *, down: int = 1, pad: tuple[int, int] = (0, 0)
) -> Array:
    """A filter of two dimensions as a sum of separable ones, and decimation: the sum over (h, w) of `upfirdn` with h along the
    height and w along the width, neither scaled to the sum 1.

    Args:
      x: [B, H, W, C], float.
      filters: tuple of pairs of tuples of numbers, all of one length, such as `lowpass.jinc` gives.
      down, pad: as `upfirdn`.
    Returns:
      As `upfirdn`.
    """
    parts = [_both(x, h[::-1], w[::-1], 1, down, pad) for h, w in filters]
    return sum(parts[1:], parts[0])


def _both(x, height, width, up, down, pad):
    """`upfirdn` by reversed taps of either axis, not scaled."""
    taps = len(height)
    sizes = [(n * up + pad[0] + pad[1] - taps) // down + 1 for n in x.shape[1:3]]
    if min(sizes) < 1:
        raise ValueError(f"upfirdn: the {taps} taps do not fit images of {x.shape[1]}x{x.shape[2]} padded by {tuple(pad)}")
    for axis, (flipped, size) in enumerate(zip((height, width), sizes, strict=True), 1):
        x = _filter(x, _Axis(axis, flipped, up, down, pad[0], x.shape[axis], size))
    return x


def upsample(x: Array, taps: Sequence[float] = TAPS) -> Array:
    """Twice the size, level kept: `upfirdn` with up=2, centred. [B, H, W, C] -> [B, 2H, 2W, C]; zeros outside."""
    return upfirdn(x, taps, up=2, pad=((len(taps) + 1) // 2, (len(taps) - 2) // 2), gain=4.0)


def downsample(x: Array, taps: Sequence[float] = TAPS) -> Array:
    """Half the size: `upfirdn` with down=2, centred. [B, H, W, C], H and W even -> [B, H/2, W/2, C]; zeros outside."""
    if x.shape[1] % 2 or x.shape[2] % 2:
        raise ValueError(f"downsample: height and width must be even, not {x.shape[1]}x{x.shape[2]}")
    return upfirdn(x, taps, down=2, pad=((len(taps) - 1) // 2, (len(taps) - 2) // 2))


def blur(x: Array, taps: Sequence[float] = (1, 2, 1)) -> Array:
    """The same size: `upfirdn` with an odd number of taps, centred; zeros outside."""
    if len(taps) % 2 == 0:
        raise ValueError(f"blur: {len(taps)} taps have no middle; give an odd number")
    return upfirdn(x, taps, pad=(len(taps) // 2, len(taps) // 2))


def in_squares(x: Array, n: int) -> Array:
    """Its squares of n x n pixels: [B, H, W, C] -> [B, H // n, n, W // n, n, C]; what fills none at the end is left out."""
    b, h, w, c = x.shape
    return x[:, : h // n * n, : w // n * n].reshape(b, h // n, n, w // n, n, c)


def conv_up(x: Array, kernel: Array, taps: Sequence[float] = TAPS) -> Array:
    """Doubling and convolution in one: a transposed convolution with stride 2 and then the filter.

    Equal to `upsample` followed by a convolution with the kernel flipped, in a quarter of the arithmetic, but for the
    border (zeros lie outside once, not twice). With `BOX` it is the nearest neighbour and then the convolution, exactly.

    Args:
      x: [B, H, W, cin].
      kernel: [k, k, cin, cout], k odd, as `ops.conv_transpose` takes it (flipped against `ops.conv`).
      taps: the filter.
    Returns:
      [B, 2H, 2W, cout].
    Source: Karras et al. 2020 (StyleGAN2), appendix B; Karras et al. 2018 (`fused_scale`) for `BOX`.
    """
    k, n = _odd("conv_up", kernel), len(taps)
    if k == 1:
        return upsample(ops.conv(x, kernel), taps)
    y = ops.conv_transpose(x, kernel, stride=2, padding="VALID")  # 2H + k - 2
    pad = ((n + 1) // 2 - k // 2, (n - 2) // 2 - k // 2 + 1)
    return upfirdn(y, taps, pad=pad, gain=4.0)


def conv_down(x: Array, kernel: Array, taps: Sequence[float] = TAPS) -> Array:
    """Convolution and halving in one: the filter and then a convolution with stride 2.

    Args:
      x: [B, H, W, cin], H and W even.
      kernel: [k, k, cin, cout], k odd, as `ops.conv` takes it.
      taps: the filter; with `BOX` it is the convolution and then the mean of 2x2 squares.
    Returns:
      [B, H/2, W/2, cout].
    Source: as `conv_up`.
    """
    k, n = _odd("conv_down", kernel), len(taps)
    if k == 1:
        return ops.conv(downsample(x, taps), kernel)
    y = upfirdn(x, taps, pad=((n - 1) // 2 + k // 2, (n - 2) // 2 + k // 2))
    return ops.conv(y, kernel, stride=2, padding="VALID")


class _Axis(NamedTuple):
    """One axis of a resampling: y[j] = sum_t taps[t] u[down j + t - low], j < after; static, hence hashable."""

    axis: int
    taps: tuple[float, ...]
    up: int
    down: int
    low: int
    before: int  # pixels of x
    after: int  # pixels of y


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def _filter(x, how):
    """The map of `how`."""
    product = how.before <= PRODUCTS.get(backend.name(), 0.0) * len(how.taps)
    return _product(x, how) if product else _filtered(x, how)


@partial(jax.jit, static_argnums=1)  # so that the same map of the same shape is traced once: a StyleGAN's step has hundreds
def _filtered(x, how):
    """The sum over taps of shifted slices, each phase of the insertion or decimation by itself."""
    axis, taps, up, down, low, _, size = how
    if up == 1:
        return _shifts(x, axis, [(t - low, w) for t, w in enumerate(taps)], down, size)
    phases = []
    for p in range(up):  # y[up q + p]: the taps that meet a pixel there
        steps = [((p + t - low) // up, w) for t, w in enumerate(taps) if (p + t - low) % up == 0]
        phases.append(_shifts(x, axis, steps, 1, -(-size // up)))
    y = jnp.stack(phases, axis + 1)
    y = y.reshape(*x.shape[:axis], -1, *x.shape[axis + 1 :])
    return lax.slice_in_dim(y, 0, size, axis=axis)


def _product(x, how):
    """A product with the map as a matrix [after, before], at full precision in x's dtype."""
    axis, taps, up, down, low, before, after = how
    matrix = np.zeros((after, before))
    for t, w in enumerate(taps):
        u = down * np.arange(after) + t - low
        at = (u % up == 0) & (u >= 0) & (u < up * before)
        matrix[np.flatnonzero(at), u[at] // up] += w
    into = {1: "oh,bhwc->bowc", 2: "ow,bhwc->bhoc"}[axis]
    return jnp.einsum(into, jnp.asarray(matrix, x.dtype), x, precision="highest")


def _shifts(x, axis, steps, stride, size):
    """y[j] = sum over (shift, weight) of weight x[stride j + shift], zeros outside x."""
    if not steps:
        return jnp.zeros((*x.shape[:axis], size, *x.shape[axis + 1 :]), x.dtype)
    first, last = steps[0][0], steps[-1][0]
    length = -(-(last - first + 1) // stride) + size - 1  # in strides
    config = [(0, 0, 0)] * x.ndim
    config[axis] = (-first, first + stride * length - x.shape[axis], 0)
    x = lax.pad(x, jnp.zeros((), x.dtype), config)  # now x[i] is the old x[i + first]; negative padding crops
    x = x.reshape(*x.shape[:axis], length, stride, *x.shape[axis + 1 :])
    total = None
    for shift, weight in steps:
        block, phase = divmod(shift - first, stride)
        part = lax.index_in_dim(x, phase, axis + 1, keepdims=False)
        part = lax.slice_in_dim(part, block, block + size, axis=axis) * jnp.asarray(weight, x.dtype)
        total = part if total is None else total + part
    return total


def _transpose(how):
    """The map back: with the taps reversed, and up and down exchanged."""
    axis, taps, up, down, low, before, after = how
    return _Axis(axis, taps[::-1], down, up, len(taps) - 1 - low, after, before)


_filter.defvjp(lambda x, how: (_filter(x, how), None), lambda how, _, y: (_filter(y, _transpose(how)),))


def _taps(taps):
    taps = np.asarray(taps, np.float64)
    if taps.ndim != 1 or not len(taps) or taps.sum() == 0:
        raise ValueError(f"taps: {taps.tolist()}; give the numbers of one axis, whose sum is not 0")
    return taps / taps.sum()


def _odd(name, kernel):
    if kernel.ndim != 4 or kernel.shape[0] != kernel.shape[1] or kernel.shape[0] % 2 == 0:
        raise ValueError(f"{name}: kernel {kernel.shape} must be [k, k, cin, cout] with odd k")
    return kernel.shape[0]
