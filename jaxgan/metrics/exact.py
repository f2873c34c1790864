"""Layers of the networks whose features are measured, all arithmetic in full float32, which no device takes by default."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from jax import lax

from jaxgan.typing import AnyArray, Array


def conv(x: Array, p: Mapping[str, AnyArray], stride: int = 1, padding: Any = "SAME") -> Array:
    """x [B, H, W, cin], p {"kernel": [h, w, cin, cout], "bias": [cout]} -> [B, H', W', cout]."""
    layout, highest = ("NHWC", "HWIO", "NHWC"), lax.Precision.HIGHEST
    y = lax.conv_general_dilated(x, p["kernel"], (stride, stride), padding, dimension_numbers=layout, precision=highest)
    return y + p["bias"].reshape(1, 1, 1, -1)


def dense(x: Array, p: Mapping[str, AnyArray]) -> Array:
    """x [..., cin], p {"kernel": [cin, cout], "bias": [cout]} -> [..., cout]."""
    return jnp.dot(x, p["kernel"], precision=lax.Precision.HIGHEST) + p["bias"].reshape((1,) * (x.ndim - 1) + (-1,))
