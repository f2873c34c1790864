"""Layers of transformers over the patches of images: attention with turned queries and keys, gated layers, positions."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxgan.layers import glorot_uniform
from jaxgan.typing import Array

Turns = tuple[Array, Array]
"""What `rotations` gives."""


class Attention(nn.Module):
    """Self-attention of several heads; queries and keys have unit mean square, and those of patches are turned by position.

    Fields:
      heads: each has D / heads features, a multiple of 4.
      dtype: of the arithmetic; the norms' statistics and the softmax are float32.
    Source: Vaswani et al. 2017; Henry et al. 2020 for the norms, here with a learned scale.
    """

    heads: int
    dtype: Any

    @nn.compact
    def __call__(self, x: Array, turns: Turns) -> Array:
        """x [B, T, D]; turns: `rotations` of the last tokens, those of the patches -> [B, T, D]."""
        linear = partial(nn.Dense, kernel_init=glorot_uniform, dtype=self.dtype)
        three = linear(3 * x.shape[-1], name="qkv")(x).reshape(*x.shape[:2], 3, self.heads, -1)
        norm = partial(nn.RMSNorm, epsilon=float(np.finfo(np.float32).eps), dtype=self.dtype)
        q, k = (rotated(norm(name=name)(three[:, :, i]), turns) for i, name in enumerate(("q_norm", "k_norm")))
        seen = jax.nn.dot_product_attention(q, k, three[:, :, 2], implementation="xla")
        return linear(x.shape[-1], name="out")(seen.reshape(x.shape))


class SwiGLU(nn.Module):
    """(silu(x A) * x B) C with 8/3 as many features between: a gated layer in place of a multilayer perceptron (Shazeer 2020)."""

    dtype: Any

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, T, D] -> the same shape."""
        linear = partial(nn.Dense, kernel_init=glorot_uniform, dtype=self.dtype)
        gate, value = jnp.split(linear(2 * int(8 * x.shape[-1] / 3), name="in")(x), 2, -1)
        return linear(x.shape[-1], name="out")(nn.silu(gate) * value)


def positions(rows: int, columns: int, width: int) -> Array:
    """Sines and cosines of each patch's column and row: float32 [rows * columns, width], the column's in the first half."""
    rates = 1 / 10_000 ** (np.arange(width // 4) / (width // 4))
    row, column = (a.reshape(-1, 1) * rates for a in np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"))
    return jnp.asarray(np.concatenate([f(a) for a in (column, row) for f in (np.sin, np.cos)], 1), jnp.float32)


def rotations(rows: int, columns: int, size: int) -> Turns:
    """Cosines and sines [rows * columns, size / 2] by which `rotated` turns pairs of features, half of them by row (RoPE)."""
    rates = 1 / 10_000 ** (np.arange(0, size // 2, 2) / (size // 2))
    row, column = (a.reshape(-1, 1) * rates for a in np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"))
    angles = np.concatenate([row, column], 1)
    return jnp.asarray(np.cos(angles), jnp.float32), jnp.asarray(np.sin(angles), jnp.float32)


def rotated(x: Array, turns: Turns) -> Array:
    """x [B, T, heads, size] with the pairs of neighbouring features of the last tokens turned: rotary position embedding.

    Source: Su et al. 2021 (RoFormer), in two dimensions as EVA-02 has it.
    """
    cos, sin = (a[None, :, None].astype(x.dtype) for a in turns)
    first = x.shape[1] - cos.shape[1]
    a, b = x[:, first:, :, ::2], x[:, first:, :, 1::2]
    turned = jnp.stack([a * cos - b * sin, b * cos + a * sin], -1).reshape(x[:, first:].shape)
    return jnp.concatenate([x[:, :first], turned], 1)


def patches(x: Array, rows: int, columns: int, patch: int) -> Array:
    """[B, H, W, C] -> [B, T, patch * patch * C]."""
    x = x.reshape(x.shape[0], rows, patch, columns, patch, -1).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(x.shape[0], rows * columns, -1)


def joined(x: Array, rows: int, columns: int, patch: int) -> Array:
    """[B, T, patch * patch * C] -> [B, H, W, C]."""
    x = x.reshape(x.shape[0], rows, columns, patch, patch, -1).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(x.shape[0], rows * patch, columns * patch, -1)
