"""Convolutions of small images as products of discrete Fourier transforms: several times fewer multiplications. JAX only.

The transform is of the whole image, with just so many zeros around it that nothing which wraps around reaches an output. A
complex product takes three real ones (Gauss), so a map is three constant matrices and one batched matrix product over `points`:

  y = C^T ((A x) . (B kernel)),   with A, B, C the tables of `Plan`, and . the product over the channels at each point.

Images stand last in what is transformed, [places, channels, images]: XLA's CPU backend gives a product whose first factor comes
with the summed axis first to Eigen, faster here than the library that it prefers otherwise (jax 0.10; benchmarks/README.md).

It is trilinear in (x, kernel, the cotangent of y), so its derivatives of any order are such maps again. At 7x7 with 5x5 taps and
SAME borders there are 121 products of channels where the direct sum has 1,225. Rounding is that of the direct sum, about 1e-6 of
the largest output in float32, because the tables are rows of an orthogonal matrix, or sums of two.

Source: the convolution theorem; Mathieu, Henaff and LeCun 2014 for networks.
"""

import math
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxgan import backend
from jaxgan.typing import Array


class Plan(NamedTuple):
    """A strided convolution cut into stride x stride phases: y[i] = sum over phases p and taps q of x_p[i + q] kernel_p[q]."""

    A: np.ndarray  # [points, pixels of a phase of x]
    B: np.ndarray  # [points, taps of a phase of the kernel]
    C: np.ndarray  # [points, pixels of y]
    phase: tuple[int, ...]  # (h, w) of a phase of x
    taps: tuple[tuple[int, int], ...]  # of either axis (low, high): zeros that make the kernel's size a multiple of the stride
    output: tuple[int, ...]  # (h, w) of y


@lru_cache(maxsize=256)
def plan(image: tuple[int, ...], kernel: tuple[int, ...], stride: int, pads: tuple[tuple[int, int], ...]) -> Plan:
    """The tables of a convolution.

    Args:
      image, kernel: (h, w) of x and of the kernel. stride: of both axes. pads: ((low, high), (low, high)).
    """
    axes = []
    for n, k, (low, high) in zip(image, kernel, pads, strict=True):
        first, last = -low // stride, (k - 1 - low) // stride  # of the taps of a phase
        size, out = -(-n // stride), (n + low + high - k) // stride + 1
        period = max(size - min(first, 0), out + max(last, 0))
        before = -low - stride * first
        axes.append((size, first, last, out, period, (before, stride * (last - first + 1) - k - before)))
    sizes, firsts, lasts, output, periods, taps = zip(*axes, strict=True)
    frequencies = _frequencies(periods)
    at = lambda starts, stops: _angles(frequencies, periods, starts, stops)
    x, k, y = at((0, 0), sizes), at(firsts, tuple(last + 1 for last in lasts)), at((0, 0), output)
    alone = np.array([u == tuple(-f % n for f, n in zip(u, periods, strict=True)) for u in frequencies])
    A = _three(np.cos(x), -np.sin(x), np.cos(x) - np.sin(x), alone)
    B = _three(np.cos(k), np.sin(k), np.cos(k) + np.sin(k), alone)
    c, s = (f(y) * np.where(alone, 1, 2)[:, None] / math.prod(periods) for f in (np.cos, np.sin))
    return Plan(A, B, _three(np.where(alone[:, None], c, c + s), s - c, -s, alone), sizes, taps, output)


def pays(
    dtype: Any, batch: int, image: tuple[int, ...], kernel: tuple[int, ...], stride: int, pads: tuple[tuple[int, int], ...]
) -> bool:
    """Whether it is the faster way here: float32 on a CPU, by the number of multiplications; measured for 4x4 to 32x32 pixels.

    Args:
      dtype, batch, image: of x. kernel: [kh, kw, cin, cout], its shape. stride, pads: as `plan`.
    """
    (kh, kw, cin, cout), (h, w) = kernel, image
    if dtype != jnp.float32 or backend.name() != "cpu" or kh * kw == 1 or h * w > 400 or min(sum(pads, ())) < 0:
        return False
    how = plan(image, kernel[:2], stride, pads)
    points, pixels, taps, outputs = len(how.A), how.A.shape[1], how.B.shape[1], how.C.shape[1]
    cin *= stride**2
    product = points * batch * cin * cout
    transforms = points * (pixels * batch * cin + taps * cin * cout + outputs * batch * cout)
    direct = outputs * kh * kw * batch * cin // stride**2 * cout
    return 2 * product + transforms < 0.9 * direct


def convolve(x: Array, kernel: Array, how: Plan, stride: int) -> Array:
    """x [B, H, W, cin], kernel [kh, kw, cin, cout] -> [B, H', W', cout]."""
    x, kernel = _split(x, how, stride), _split_kernel(kernel, how, stride, 2)
    return _merge(sum(_back(C, _products(_at(A, x), _at(B, kernel))) for A, B, C in _parts(how)), how.output)


def transpose(y: Array, kernel: Array, how: Plan, stride: int, image: tuple[int, ...]) -> Array:
    """The transpose of `convolve` in x: y [B, H', W', cout], kernel [kh, kw, cin, cout] -> [B, *image, cin]."""
    y, kernel = _places(y), _split_kernel(kernel.swapaxes(2, 3), how, stride, 3)
    x = sum(_back(A, _products(_at(C, y), _at(B, kernel))) for A, B, C in _parts(how))
    (h, w), s, (_, b, c) = how.phase, stride, x.shape
    x = x.reshape(h, w, b, s, s, c // s**2).transpose(2, 0, 3, 1, 4, 5)
    return x.reshape(b, h * s, w * s, -1)[:, : image[0], : image[1]]


def kernel_gradient(x: Array, y: Array, how: Plan, stride: int, kernel: tuple[int, ...]) -> Array:
    """The transpose of `convolve` in the kernel, whose (h, w) is `kernel`: -> [*kernel, cin, cout]."""
    like = jax.ShapeDtypeStruct((*kernel, x.shape[3], y.shape[3]), x.dtype)
    x, y = _split(x, how, stride), _places(y)
    taps = sum(_back(B, lax.dot_general(_at(A, x), _at(C, y), (((2,), (2,)), ((0,), (0,))))) for A, B, C in _parts(how))
    return jax.linear_transpose(lambda k: _split_kernel(k, how, stride, 2), like)(taps)[0]


def _parts(how):
    """The tables cut in some parts: XLA runs the products of one batch one after another on one thread, and two batches on two
    threads where it finds both ready. Measured with the tutorial's step on two cores (benchmarks/README.md)."""
    parts = 2 if backend.cpu_has("avx512f") else 4
    return zip(*(np.array_split(table, parts) for table in (how.A, how.B, how.C)), strict=True)


def _frequencies(periods):
    """One of each pair (u, -u), as (row, column)."""
    seen, kept = set(), []
    for u in np.ndindex(*periods):
        if u not in seen:
            seen |= {u, tuple(-f % n for f, n in zip(u, periods, strict=True))}
            kept.append(u)
    return kept


def _angles(frequencies, periods, starts, stops):
    """2 pi <u, i / period> of the places i in [start, stop) on both axes: float64 [frequencies, places]."""
    turns = [np.outer([u[axis] for u in frequencies], np.arange(starts[axis], stops[axis])) / periods[axis] for axis in (0, 1)]
    return 2 * np.pi * (turns[0][:, :, None] + turns[1][:, None, :]).reshape(len(frequencies), -1)


def _three(a, b, c, alone):
    """Rows a, b, c of each frequency one after another; of one that is its own conjugate, a alone."""
    keep = np.stack([np.ones_like(alone), ~alone, ~alone], 1)
    return np.stack([a, b, c], 1)[keep].astype(np.float32)


def _split(x, how, stride):
    """[B, H, W, C] -> [pixels of a phase, stride^2 C, B]."""
    b, h, w, c = x.shape
    if stride == 1:
        return _places(x)
    (ph, pw), s = how.phase, stride
    x = jnp.pad(x, ((0, 0), (0, s * ph - h), (0, s * pw - w), (0, 0)))
    return x.reshape(b, ph, s, pw, s, c).transpose(1, 3, 2, 4, 5, 0).reshape(ph * pw, s * s * c, b)


def _places(y):
    """[B, H, W, C] -> [H W, C, B]."""
    return y.transpose(1, 2, 3, 0).reshape(-1, y.shape[3], y.shape[0])


def _split_kernel(kernel, how, stride, axis):
    """[kh, kw, m, n] -> [taps of a phase, m, n], with the phases in m (axis 2) or n (axis 3)."""
    kh, kw, m, n = kernel.shape
    if stride == 1:
        return kernel.reshape(kh * kw, m, n)
    s = stride
    kernel = jnp.pad(kernel, (*how.taps, (0, 0), (0, 0)))
    kernel = kernel.reshape(kernel.shape[0] // s, s, kernel.shape[1] // s, s, m, n)
    order, shape = ((0, 2, 1, 3, 4, 5), (s * s * m, n)) if axis == 2 else ((0, 2, 4, 1, 3, 5), (m, s * s * n))
    return kernel.transpose(order).reshape(-1, *shape)


def _at(table, a):
    """[places, m, n] -> [points, m, n]."""
    return jnp.matmul(table, a.reshape(len(a), -1)).reshape(len(table), *a.shape[1:])


def _back(table, points):
    """The transpose of `_at`: [points, m, n] -> [places, m, n]."""
    return jnp.matmul(table.T, points.reshape(len(points), -1)).reshape(-1, *points.shape[1:])


def _merge(y, grid):
    """[places, B, C] -> [B, *grid, C]."""
    return y.reshape(*grid, *y.shape[1:]).transpose(2, 0, 1, 3)


def _products(a, b):
    """At each point, a [n, B] and b [n, m]: [points, B, m]."""
    return lax.dot_general(a, b, (((1,), (1,)), ((0,), (0,))))
