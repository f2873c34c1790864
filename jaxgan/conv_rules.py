"""Convolutions as a closed set of three linear maps: each one's gradients are the other two.

JAX's own rules reach the same numbers, but the kernel gradient they write for an input gradient has a dilated left operand,
which XLA's CPU backend runs about 30 times slower than the same sum written as an ordinary convolution's kernel gradient. Nor is
that one fast there: `by_patches`, `by_rows`. The set works under jit, vmap, pmap and shard_map(check_vma=False); the
replication types of check_vma=True do not pass through `jax.linear_transpose`.
"""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxgan import backend, fourier
from jaxgan.typing import Array

LAYOUT = ("NHWC", "HWIO", "NHWC")


class Geometry(NamedTuple):
    """What a strided convolution needs besides its arrays; static, hence hashable."""

    stride: int
    pads: tuple[tuple[int, int], ...]  # ((low, high), (low, high))
    image: tuple[int, ...]  # (H, W) of the larger side
    kernel: tuple[int, ...]  # (kh, kw)
    groups: int
    transform: bool = False  # by `fourier`

    @property
    def plan(self) -> fourier.Plan:
        return fourier.plan(self.image, self.kernel, self.stride, self.pads)


def direct(x: Array, kernel: Array, geometry: Geometry) -> Array:
    """(image, kernel) -> output, by lax."""
    return lax.conv_general_dilated(
        x, kernel, (geometry.stride,) * 2, geometry.pads, dimension_numbers=LAYOUT, feature_group_count=geometry.groups
    )


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def forward(x: Array, kernel: Array, geometry: Geometry) -> Array:
    """(image, kernel) -> output."""
    if geometry.transform:
        return fourier.convolve(x, kernel, geometry.plan, geometry.stride)
    return direct(x, kernel, geometry)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def input_gradient(y: Array, kernel: Array, geometry: Geometry) -> Array:
    """(output, kernel) -> image: the transpose of `forward` in its image."""
    if geometry.transform:
        return fourier.transpose(y, kernel, geometry.plan, geometry.stride, geometry.image)
    if geometry.stride > 1 and backend.name() == "gpu":
        # XLA moves the kernel's reversal below a float32 factor of it (equalised rate, spectral norm), then does not see cuDNN's
        # input gradient, and convolves the output with zeros inserted: stride^2 times the arithmetic and as much more memory.
        kernel = lax.optimization_barrier(kernel)
    channels = kernel.shape[2] * geometry.groups
    like = jax.ShapeDtypeStruct((y.shape[0], *geometry.image, channels), y.dtype)
    return jax.linear_transpose(lambda x: direct(x, kernel, geometry), like)(y)[0]


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def kernel_gradient(x: Array, y: Array, geometry: Geometry) -> Array:
    """(image, output) -> kernel: the transpose of `forward` in its kernel."""
    if geometry.transform:
        return fourier.kernel_gradient(x, y, geometry.plan, geometry.stride, geometry.kernel)
    if by_patches(x, y.shape[3], geometry):
        return _kernel_gradient_by_patches(x, y, geometry)
    if by_rows(x, geometry):
        return _kernel_gradient_by_rows(x, y, geometry)
    like = jax.ShapeDtypeStruct((*geometry.kernel, x.shape[3] // geometry.groups, y.shape[3]), x.dtype)
    return jax.linear_transpose(lambda k: direct(x, k, geometry), like)(y)[0]


def by_patches(x: Array, cout: int, geometry: Geometry) -> bool:
    """Whether the kernel gradient of x [B, H, W, C] and y [B, H', W', cout] is the matrix product of x's patches and y.

    Where x has so few channels, as pictures have, that its patches take no more memory than y: 1.3 to 5 times as fast on a CPU as
    XLA's sum (benchmarks/README.md). Without a stride it is no faster for fewer places.
    """
    if geometry.groups > 1 or geometry.transform or backend.name() != "cpu":  # first: elsewhere the batch may have no size
        return False
    enough = geometry.stride > 1 or math.prod(x.shape[:3]) >= 2**14
    return enough and 1 < math.prod(geometry.kernel) * x.shape[3] <= cout


def _kernel_gradient_by_patches(x, y, geometry):
    """x [B, H, W, C], y [B, H', W', C'] -> [kh, kw, C, C']. `lax.pad`, as its widths may be negative."""
    (_, h, w, c), s = y.shape, geometry.stride
    x = lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), *((low, high, 0) for low, high in geometry.pads), (0, 0, 0)))
    tap = lambda i, j: x[:, i : i + s * (h - 1) + 1 : s, j : j + s * (w - 1) + 1 : s]
    patches = jnp.stack([tap(i, j) for i, j in np.ndindex(geometry.kernel)]).transpose(0, 4, 1, 2, 3)
    return (patches.reshape(-1, y.size // c) @ y.reshape(-1, c)).reshape(*geometry.kernel, -1, c)


def by_rows(x: Array, geometry: Geometry) -> bool:
    """Whether the kernel gradient of x [B, H, W, C] is taken by rows.

    XLA writes that sum as a convolution whose window is the whole image, with the images of the batch as its features, which are
    few, and a CPU takes about twice as long for it and more ("conv 32x32 64-64 k3" of `python -m benchmarks.ops`). With 3 or 16
    channels of x it is XLA's that is faster, or neither; by rows was not written for a stride.
    """
    one = geometry.stride == geometry.groups == 1 and not geometry.transform
    return one and backend.name() == "cpu" and x.shape[3] >= 32 and geometry.kernel[1] > 1


def _kernel_gradient_by_rows(x, y, geometry):
    """A convolution over rows alone: all columns of all images are its features, y shifted for each column of the kernel.

    x [B, H, W, C], y [B, H', W', C'] -> [kh, kw, C, C']. `lax.pad`, as its widths may be negative.
    """
    (n, height, width, c), (_, h, w, _) = x.shape, y.shape
    kh, kw = geometry.kernel
    (low, _), (left, _) = geometry.pads
    y = lax.pad(y, jnp.zeros((), y.dtype), ((0, 0, 0), (0, 0, 0), (kw - 1 - left, width + left - w, 0), (0, 0, 0)))
    y = jnp.concatenate([y[:, :, kw - 1 - j : kw - 1 - j + width] for j in range(kw)], 3)
    x = x.transpose(3, 1, 0, 2).reshape(c, height, n * width)
    y = y.transpose(1, 0, 2, 3).reshape(h, n * width, -1)
    pads = ((low, h + kh - 1 - height - low),)
    out = lax.conv_general_dilated(x, y, (1,), pads, dimension_numbers=("NWC", "WIO", "NWC"))
    return out.reshape(c, kh, kw, -1).transpose(1, 2, 0, 3)


# All three pair (image, kernel, output) to one number, so each gradient is another of the three.
forward.defvjp(
    lambda x, kernel, geometry: (forward(x, kernel, geometry), (x, kernel)),
    lambda geometry, saved, y: (input_gradient(y, saved[1], geometry), kernel_gradient(saved[0], y, geometry)),
)
input_gradient.defvjp(
    lambda y, kernel, geometry: (input_gradient(y, kernel, geometry), (y, kernel)),
    lambda geometry, saved, x: (forward(x, saved[1], geometry), kernel_gradient(x, saved[0], geometry)),
)
kernel_gradient.defvjp(
    lambda x, y, geometry: (kernel_gradient(x, y, geometry), (x, y)),
    lambda geometry, saved, kernel: (input_gradient(saved[1], kernel, geometry), forward(saved[0], kernel, geometry)),
)
