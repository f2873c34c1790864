"""Layers of the networks whose features are measured, all arithmetic in full float32, which no device takes by default."""

import jax.numpy as jnp
from jax import lax


def conv(x, p, stride=1, padding="SAME"):
    """x [B, H, W, cin], p {"kernel": [h, w, cin, cout], "bias": [cout]} -> [B, H', W', cout]."""
    layout, highest = ("NHWC", "HWIO", "NHWC"), lax.Precision.HIGHEST
    y = lax.conv_general_dilated(x, p["kernel"], (stride, stride), padding, dimension_numbers=layout, precision=highest)
    return y + p["bias"].reshape(1, 1, 1, -1)


def dense(x, p):
    """x [..., cin], p {"kernel": [cin, cout], "bias": [cout]} -> [..., cout]."""
    return jnp.dot(x, p["kernel"], precision=lax.Precision.HIGHEST) + p["bias"].reshape((1,) * (x.ndim - 1) + (-1,))
