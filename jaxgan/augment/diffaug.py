"""DiffAugment's transforms: colour (brightness, saturation, contrast), translation, cutout.

Source: Zhao et al. 2020, "Differentiable Augmentation for Data-Efficient GAN Training", with the constants of its
official code. Deviation: a transform is drawn for an image with probability p (theirs: every image, every transform).
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jaxgan.augment.draws import check_images, draw, option_in, per_image, prepare, select
from jaxgan.errors import UserError
from jaxgan.typing import AnyArray, Array, Scalar


def brightness(key: Array, x: AnyArray, p: Scalar) -> Array:
    """x + u, u uniform in [-0.5, 0.5): half the range of a colour. Any number of channels."""
    keys, y, p = prepare(key, x, p)
    gate, u = draw(keys, "brightness", 2)
    return select(gate < p, y + per_image(u - 0.5), x)


def saturation(key: Array, x: AnyArray, p: Scalar) -> Array:
    """m + s (x - m), m the mean over a pixel's channels, s uniform in [0, 2). UserError on grey images."""
    check_images(x)
    if x.shape[-1] == 1:
        raise UserError("saturation needs colour and the images have one channel: leave it out")
    return _saturation(key, x, p)


def _saturation(key, x, p):
    keys, y, p = prepare(key, x, p)
    gate, u = draw(keys, "saturation", 2)
    mean = jnp.mean(y, axis=-1, keepdims=True)
    return select(gate < p, mean + per_image(2 * u) * (y - mean), x)


def contrast(key: Array, x: AnyArray, p: Scalar) -> Array:
    """m + c (x - m), m the image's mean over pixels and channels, c uniform in [0.5, 1.5)."""
    keys, y, p = prepare(key, x, p)
    gate, u = draw(keys, "contrast", 2)
    mean = jnp.mean(y, axis=(1, 2, 3), keepdims=True)
    return select(gate < p, mean + per_image(u + 0.5) * (y - mean), x)


def color(key: Array, x: AnyArray, p: Scalar) -> Array:
    """Brightness, then saturation (which leaves grey images as they are), then contrast; each with probability p."""
    for transform in (brightness, _saturation, contrast):
        x = transform(key, x, p)
    return x


def translation(key: Array, x: AnyArray, p: Scalar, *, ratio: float = 0.125) -> Array:
    """Moves the image by whole pixels, uniform in [-r, r] on each axis, r = int(side * ratio + 0.5); zeros enter.

    ratio in [0, 1].
    """
    option_in("translation: ratio", ratio, 0, 1)
    keys, _, p = prepare(key, x, p)
    h, w, c = x.shape[1:]
    ry, rx = int(h * ratio + 0.5), int(w * ratio + 0.5)
    gate, u, v = draw(keys, "translation", 3)
    corner = jnp.stack([u * (2 * ry + 1), v * (2 * rx + 1), jnp.zeros_like(u)], -1).astype(jnp.int32)
    padded = jnp.pad(x, ((0, 0), (ry, ry), (rx, rx), (0, 0)))
    moved = jax.vmap(lambda image, at: jax.lax.dynamic_slice(image, at, (h, w, c)))(padded, corner)
    return select(gate < p, moved, x)


def cutout(key: Array, x: AnyArray, p: Scalar, *, ratio: float = 0.5) -> Array:
    """Zeroes a rectangle of int(side * ratio + 0.5) pixels a side whose centre is uniform over the image.

    The rectangle may hang over the border. ratio in [0, 1].
    """
    option_in("cutout: ratio", ratio, 0, 1)
    keys, _, p = prepare(key, x, p)
    gate, u, v = draw(keys, "cutout", 3)
    rows, cols = (_covered(a, side, int(side * ratio + 0.5)) for a, side in ((u, x.shape[1]), (v, x.shape[2])))
    hidden = rows[:, :, None] & cols[:, None, :]
    return jnp.where(((gate < p)[:, None, None] & hidden)[..., None], 0.0, x)


def _covered(u, side, size):
    """Which of the pixels of an axis a hole of `size` covers: [B, side]."""
    centre = jnp.floor(u * (side + 1 - size % 2)).astype(jnp.int32)
    offset = jnp.arange(side, dtype=jnp.int32)[None, :] - (centre - size // 2)[:, None]
    return (offset >= 0) & (offset < size)


POLICY = {"color": color, "translation": translation, "cutout": cutout}


def diffaugment(key: Array, x: AnyArray, p: Scalar, *, policy: Sequence[str] = ("color", "translation", "cutout")) -> Array:
    """DiffAugment's policy: its groups in the given order, every transform drawn with probability p (the paper's: 1).

    Args:
      key: a typed key, or [B] of them, one per image.
      x: images [B, H, W, C], floating, in [-1, 1]. Holes and borders are 0, mid-grey, as in the paper.
      p: probability, a float in [0, 1] or a traced scalar.
      policy: of "color", "translation", "cutout".
    Returns:
      [B, H, W, C] in x's dtype; not clipped.
    """
    if isinstance(policy, str):
        raise UserError(f'policy is a tuple of names, such as ("color", "cutout"), not the text "{policy}"')
    for name in policy:
        if name not in POLICY:
            raise UserError(f'diffaugment has no policy "{name}"; it has: {", ".join(POLICY)}')
        x = POLICY[name](key, x, p)
    return jnp.asarray(x)
