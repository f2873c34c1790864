"""Image resizing exactly as in the metrics' reference implementations, which mean three different things by the same name.

Every one takes [B, H, W, C] in 0..255 and returns float32 in 0..255. They are linear maps, built on the host in float64
from the static sizes and applied to the rows and then to the columns in full float32.
"""

import math

import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxgan.typing import AnyArray, Array


def tf1_bilinear(images: AnyArray, size: tuple[int, int]) -> Array:
    """TensorFlow 1's `resize_bilinear(align_corners=False)`: pixel i samples i * in / out, no half-pixel centres.

    out[i] = x[lo] + (x[lo + 1] - x[lo]) * (i * scale - lo), lo = floor(i * scale), scale = in / out, all in float32;
    columns first, then rows. No antialiasing. This is what the FID reference numbers were made with.

    Args:
      images: uint8 or float [B, H, W, C].
      size: (H', W').
    Returns:
      float32 [B, H', W', C].
    Source: TensorFlow's resize_bilinear_op; torch-fidelity's interpolate_bilinear_2d_like_tensorflow1x.
    """
    x = images.astype(jnp.float32)
    for axis in (2, 1):
        n, out = x.shape[axis], size[axis - 1]
        at = np.arange(out, dtype=np.float32) * np.float32(n / out)
        low = np.minimum(at.astype(np.int32), n - 1)
        weight = (at - low.astype(np.float32)).reshape([-1 if a == axis else 1 for a in range(4)])
        a = jnp.take(x, low, axis=axis)
        b = jnp.take(x, np.minimum(low + 1, n - 1), axis=axis)
        x = a + (b - a) * weight
    return x


def half_pixel_bilinear(images: AnyArray, size: tuple[int, int]) -> Array:
    """Torch's `interpolate(mode="bilinear", align_corners=False)`: half-pixel centres, no antialiasing (pytorch-fid).

    Args:
      images: uint8 or float [B, H, W, C].
      size: (H', W').
    Returns:
      float32 [B, H', W', C].
    """
    return _apply(images, size, _half_pixel)


def pil_bicubic(images: AnyArray, size: tuple[int, int]) -> Array:
    """Pillow's bicubic on float images: Keys' cubic (a = -0.5), widened by the scale when shrinking (clean-fid).

    Args:
      images: uint8 or float [B, H, W, C].
      size: (H', W').
    Returns:
      float32 [B, H', W', C]; not clipped.
    Source: Pillow's Resample.c; Parmar et al. 2022.
    """
    return _apply(images, size, _pil_cubic)


def pil_bicubic_uint8(images: AnyArray, size: tuple[int, int]) -> Array:
    """Pillow's bicubic on uint8 images, as torchvision resizes PIL images: rounded after the columns and after the rows.

    Pillow sums integers, we sum float32: about one value in 10^5, close to a half, is rounded differently. Pillow 13
    processes the rows first if that is cheaper, which gives different numbers for images that are not square; older
    versions, which the published numbers used, process the columns first, as here.

    Args:
      images: uint8 [B, H, W, C].
      size: (H', W').
    Returns:
      float32 [B, H', W', C], integers in 0..255.
    Source: Pillow's Resample.c.
    """
    bits = 2**22  # of fraction in Pillow's weights
    return _apply(
        images,
        size,
        lambda n, out: np.round(_pil_cubic(n, out) * bits) / np.float32(bits),
        lambda x: jnp.clip(jnp.floor(x + 0.5), 0, 255),
    )


def _apply(images, size, matrix, after=lambda x: x):
    x = images.astype(jnp.float32)
    if x.shape[2] != size[1]:
        x = after(jnp.einsum("bhwc,vw->bhvc", x, matrix(x.shape[2], size[1]), precision=lax.Precision.HIGHEST))
    if x.shape[1] != size[0]:
        x = after(jnp.einsum("bhwc,uh->buwc", x, matrix(x.shape[1], size[0]), precision=lax.Precision.HIGHEST))
    return x


def _half_pixel(n, out):
    at = np.maximum((np.arange(out) + 0.5) * (n / out) - 0.5, 0)
    low = at.astype(int)
    weights = np.zeros((out, n))
    np.add.at(weights, (np.arange(out), low), 1 - (at - low))
    np.add.at(weights, (np.arange(out), np.minimum(low + 1, n - 1)), at - low)
    return weights.astype(np.float32)


def _pil_cubic(n, out):
    scale = n / out
    stretch = max(scale, 1.0)
    weights = np.zeros((out, n))
    for i in range(out):
        centre = (i + 0.5) * scale
        low, high = max(int(centre - 2 * stretch + 0.5), 0), min(int(centre + 2 * stretch + 0.5), n)
        row = np.array([_keys((j - centre + 0.5) / stretch) for j in range(low, high)])
        weights[i, low:high] = row / row.sum()
    return weights.astype(np.float32)


def _keys(x, a=-0.5):
    x = math.fabs(x)
    if x < 1:
        return ((a + 2) * x - (a + 3)) * x * x + 1
    return (((x - 5) * x + 8) * x - 4) * a if x < 2 else 0.0
