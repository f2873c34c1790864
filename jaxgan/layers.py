"""Linen layers over `jaxgan.ops`: parameters are float32, arithmetic runs in the layer's `dtype`."""

import math
import zlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxgan import ops
from jaxgan.errors import UserError
from jaxgan.typing import AnyArray, Array

glorot_uniform = nn.initializers.glorot_uniform()  # Keras's default for every kernel
small = nn.initializers.normal(0.02)  # DCGAN's for every kernel, and of many since
SMALLEST_BASE, LARGEST_BASE = 4, 7  # every size of 8 and more lies within 15 % of one of 4, 5, 6, 7 times a power of two


def near_one(key: Array, shape: Sequence[int], dtype: Any) -> Array:
    """Initialiser of a norm's scale in the codes of DCGAN and pix2pix: N(1, 0.02)."""
    return 1 + small(key, shape, dtype)


def base_size(shape: Sequence[int]) -> tuple[tuple[int, int], int]:
    """Split an image size into the base grid that a network starts from and the number of doublings after it.

    (H, W) = (h 2^k, w 2^k) with the largest k that leaves both of h and w at 4 or more; 28x28 is 7x7 and k = 2, 64x64
    is 4x4 and k = 4, 32x128 is 4x16 and k = 3.

    Args:
      shape: (H, W, C).
    Returns:
      ((h, w), k), k >= 1.
    Raises:
      UserError: the smaller of h and w would be above 7, or k would be 0. It names sizes near by that fit.
    """
    height, width = shape[:2]
    k = 0
    while all(n % 2 ** (k + 1) == 0 and n // 2 ** (k + 1) >= SMALLEST_BASE for n in (height, width)):
        k += 1
    base = height // 2**k, width // 2**k
    if k and min(base) <= LARGEST_BASE:
        return base, k
    near = _nearest_sizes(height, width)
    raise UserError(
        f"image size {height}x{width}: the networks need 4, 5, 6 or 7 times 2, 4, 8, ... (the longer side any "
        f"multiple of that power); crop or resize to {' or '.join(f'{h}x{w}' for h, w in near)}"
    )


def _nearest_sizes(height, width):
    """The closest fitting size not above (height, width), where there is one, and the closest not below."""
    short, long = sorted((height, width))
    fits = [(b * 2**k, 2**k) for k in range(1, 16) for b in range(SMALLEST_BASE, LARGEST_BASE + 1)]
    below = max((s for s in fits if s[0] <= short), default=None)
    above = min(s for s in fits if s[0] >= short)
    sizes = [] if below is None else [(below[0], long // below[1] * below[1])]
    sizes.append((above[0], -(-max(long, above[0]) // above[1]) * above[1]))
    sizes = list(dict.fromkeys(sizes))
    return [(s, l) if height <= width else (l, s) for s, l in sizes]


def check_input(name: str, array: AnyArray, tail: Sequence[int]) -> None:
    """Raises ValueError unless array is [B, *tail], of floats: a network takes pixels 0..255 without a word, and errs."""
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise ValueError(f"{name} is {array.dtype}; give floats, images in [-1, 1] (x / 127.5 - 1)")
    if array.ndim != len(tail) + 1 or array.shape[1:] != tuple(tail):
        raise ValueError(f"{name} must be [B, {', '.join(map(str, tail))}], not {list(array.shape)}")


class Conv(nn.Module):
    """`ops.conv` with its kernel [size, size, cin / groups, features] and bias [features]."""

    features: int
    size: int = 3
    stride: int = 1
    groups: int = 1
    bias: bool = True
    kernel_init: Any = glorot_uniform
    dtype: Any = jnp.float32
    padding: Any = "SAME"

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, H, W, cin] -> [B, H', W', features] in `dtype`; with padding "SAME" H' = ceil(H / stride)."""
        shape = (self.size, self.size, x.shape[-1] // self.groups, self.features)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
        options = {"stride": self.stride, "padding": self.padding, "groups": self.groups}
        y = ops.conv(x.astype(self.dtype), kernel.astype(self.dtype), **options)
        return _add_bias(self, y)


class ConvTranspose(nn.Module):
    """`ops.conv_transpose` with its kernel [size, size, cin, features] and bias [features]."""

    features: int
    size: int
    stride: int = 2
    bias: bool = True
    kernel_init: Any = glorot_uniform
    dtype: Any = jnp.float32
    padding: str = "SAME"

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, H, W, cin] -> [B, stride H, stride W, features] in `dtype`; with "VALID" max(size - stride, 0) more each way."""
        shape = (self.size, self.size, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
        y = ops.conv_transpose(x.astype(self.dtype), kernel.astype(self.dtype), stride=self.stride, padding=self.padding)
        return _add_bias(self, y)


def _add_bias(module, y):
    if not module.bias:
        return y
    bias = module.param("bias", nn.initializers.zeros, (module.features,), jnp.float32)
    return y + bias.astype(y.dtype).reshape(1, 1, 1, -1)


def one_hot_labels(c: AnyArray | None, classes: int, dtype: Any = jnp.float32) -> Array:
    """Labels int [B] as one-hot rows, vectors [B, classes] as they are: [B, classes] in `dtype`. A label outside is zeros.

    Raises:
      ValueError: c is None, or neither of the two forms.
    """
    if c is None:
        raise ValueError(f"this network is conditional: give labels c, int [B] below {classes}, or vectors [B, {classes}]")
    c = jnp.asarray(c)
    if c.ndim == 1 and jnp.issubdtype(c.dtype, jnp.integer):
        return jax.nn.one_hot(c.astype(jnp.int32), classes, dtype=dtype)  # it counts in c's dtype, which may wrap
    if c.ndim != 2 or c.shape[1] != classes:
        raise ValueError(f"labels c must be int [B] or vectors [B, {classes}], not {c.dtype} {c.shape}")
    return c.astype(dtype)


class Embed(nn.Module):
    """Table of class vectors, read by a product with one-hot rows.

    A gather's gradient is a scatter-add, whose order of additions is not fixed on a GPU; this one is a matmul.
    """

    classes: int
    features: int
    embedding_init: Any = nn.initializers.normal(1.0)
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, c: AnyArray | None) -> Array:
        """c as `one_hot_labels` takes it -> [B, features] in `dtype`."""
        c = one_hot_labels(c, self.classes, self.dtype)
        table = self.param("embedding", self.embedding_init, (self.classes, self.features), jnp.float32)
        return c @ table.astype(self.dtype)


class BatchNorm(nn.Module):
    """Batch normalisation: (x - mean) / sqrt(var + epsilon) * scale + bias, per channel (the last axis).

    In training the mean and the biased variance are those of the whole batch on all devices, in float32 and in two
    passes (E[x^2] - E[x]^2 loses the variance of a channel whose mean is large). "batch_stats" holds
    moving = momentum * moving + (1 - momentum) * batch, the biased variance included, which is what Keras 3 does
    (PyTorch's moving variance is unbiased and its momentum is one minus ours). With batch_stats immutable, a training
    call normalises by the batch and leaves the moving averages alone.

    Fields:
      momentum: in [0, 1]. epsilon: > 0.
      axis: name of a bound mapped axis whose devices hold equal shares of the batch; None for one device.
    Source: Ioffe & Szegedy 2015, algorithm 1; defaults of Keras.
    """

    momentum: float = 0.99
    epsilon: float = 1e-3
    axis: str | None = None
    scale_init: Any = nn.initializers.ones

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """[B, ..., C] -> the same shape and dtype."""
        channels = x.shape[-1:]
        moving_mean = self.variable("batch_stats", "mean", jnp.zeros, channels, jnp.float32)
        moving_var = self.variable("batch_stats", "var", jnp.ones, channels, jnp.float32)
        scale = self.param("scale", self.scale_init, channels, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, channels, jnp.float32)
        wide = lambda v: v.reshape((1,) * (x.ndim - 1) + channels)
        value = x.astype(jnp.float32)
        if train:
            mean = self._average(value)
            var = self._average(jnp.square(value - wide(mean)))
            if self.is_mutable_collection("batch_stats") and not self.is_initializing():
                moving_mean.value = self.momentum * moving_mean.value + (1 - self.momentum) * mean
                moving_var.value = self.momentum * moving_var.value + (1 - self.momentum) * var
        else:
            mean, var = moving_mean.value, moving_var.value
        y = (value - wide(mean)) * wide(scale * jax.lax.rsqrt(var + self.epsilon)) + wide(bias)
        return y.astype(x.dtype)

    def _average(self, x):
        mean = x.mean(tuple(range(x.ndim - 1)))
        return mean if self.axis is None or self.is_initializing() else jax.lax.pmean(mean, self.axis)


class Dropout(nn.Module):
    """Inverted dropout: each element is zero with probability `rate` (to 16 bits), else x / (1 - rate).

    The mask is `ops.hash_bits` of the image's key and this layer's path in the model: an image keeps its mask in any
    batch and on any device, and two layers with the same keys have different masks.
    """

    rate: float

    def __call__(self, x: Array, keys: Array | None, train: bool) -> Array:
        """x [B, ...], keys [B] (unused unless train and rate > 0) -> x's shape and dtype.

        Raises:
          ValueError: rate outside [0, 1), or keys missing or of another length in training.
        """
        if not 0 <= self.rate < 1:
            raise ValueError(f"Dropout: rate must be in [0, 1), not {self.rate}")
        if not train or self.rate == 0:
            return x
        if keys is None or keys.shape != x.shape[:1]:
            raise ValueError(
                f"Dropout: training needs keys of shape [{x.shape[0]}], one per image, not {None if keys is None else keys.shape}"
            )
        salt = zlib.crc32("/".join(self.path).encode())
        n, limit = math.prod(x.shape[1:]), jnp.uint32(round(self.rate * 2**16))
        # A word decides about two elements. And the halves side by side are an array that XLA keeps; it would hash again, element
        # by element, in every loop that reads the mask.
        words = ops.hash_bits(keys, salt, (-(-n // 2),))
        dropped = jnp.concatenate([words >> 16 < limit, (words & 0xFFFF) < limit], 1)[:, :n].reshape(x.shape)
        return jnp.where(dropped, jnp.zeros_like(x), x / jnp.asarray(1 - self.rate, x.dtype))
