"""The tutorial's four augmentations: rotation, scaling, cropping, flipping.

Each is drawn for an image with probability p. `draw_*` turns uniform draws [8, B] into the inverse maps [B, 3, 3] and
which images got one [B]; the public functions resample once with them, `geometric` once with the product of all four.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from jaxgan.augment.draws import draw, option_in, prepare, select, uniforms
from jaxgan.augment.resample import affine, compose, rotation, scaling, translation_by
from jaxgan.errors import UserError
from jaxgan.typing import AnyArray, Array, Scalar


def rotate(key: Array, x: AnyArray, p: Scalar, *, max_degrees: float = 15.0, fill: str | float = "reflect") -> Array:
    """Rotates about the centre by an angle uniform in [-max_degrees, max_degrees].

    Args:
      key: a typed key, or [B] of them, one per image.
      x: images [B, H, W, C], floating, in [-1, 1].
      p: probability that an image is rotated; a float in [0, 1] or a traced scalar.
      max_degrees: in [0, 180].
      fill: what lies outside: "reflect", "edge", "background" or a number (see `affine`).
    Returns:
      [B, H, W, C] in x's dtype; undrawn images bit for bit.
    """
    return apply_affine(key, x, p, [("rotate", {"max_degrees": max_degrees})], fill)


def scale(
    key: Array, x: AnyArray, p: Scalar, *, minimum: float = 0.8, maximum: float = 1.25, fill: str | float = "reflect"
) -> Array:
    """Scales about the centre by a factor s, log-uniform in [minimum, maximum]; s > 1 enlarges.

    Arguments as `rotate`.
    """
    return apply_affine(key, x, p, [("scale", {"minimum": minimum, "maximum": maximum})], fill)


def crop(key: Array, x: AnyArray, p: Scalar, *, max_fraction: float = 0.2) -> Array:
    """Enlarges a random window to the whole image.

    The window's sides are (1 - f) times the image's, f uniform in [0, max_fraction]; its place is uniform among those
    inside the image, so nothing from outside appears. Other arguments as `rotate`; max_fraction in [0, 0.9].
    """
    return apply_affine(key, x, p, [("crop", {"max_fraction": max_fraction})], "edge")


def flip(key: Array, x: AnyArray, p: Scalar) -> Array:
    """Mirrors left and right with probability p / 2: as in the ADA paper, a drawn image is flipped by a fair coin.

    Exact. Arguments as `rotate`.
    """
    keys, _, p = prepare(key, x, p)
    return select(_flipped(draw(keys, "flip", 2), p), x[:, :, ::-1], x)


def geometric(
    key: Array,
    x: AnyArray,
    p: Scalar,
    *,
    rotate: float | None = 15.0,
    scale: tuple[float, float] | None = (0.8, 1.25),
    crop: float | None = 0.2,
    flip: bool = True,
    fill: str | float = "reflect",
) -> Array:
    """Flip, rotation, scaling and crop, in this order, each drawn with probability p; ONE bilinear resample.

    Args:
      key, x, p: as `rotate`.
      rotate: largest angle, degrees, or None for no rotation.
      scale: (minimum, maximum) factor, or None.
      crop: largest fraction of the side cropped, or None.
      flip: whether to flip.
      fill: as `rotate`.
    Returns:
      [B, H, W, C] in x's dtype. Each transform's draws are those of the function of its name with the same key.
    """
    wanted = [
        ("flip", {}) if flip else None,
        ("rotate", {"max_degrees": rotate}) if rotate is not None else None,
        ("scale", {"minimum": scale[0], "maximum": scale[1]}) if scale is not None else None,
        ("crop", {"max_fraction": crop}) if crop is not None else None,
    ]
    return apply_affine(key, x, p, [w for w in wanted if w], fill)


def apply_affine(key: Array, x: AnyArray, p: Scalar, draws: Sequence[tuple[str, dict[str, Any]]], fill: str | float) -> Array:
    """Applies the merged map of `draws`, a list of (name in `DRAWS`, its options), first transform first."""
    keys, _, p = prepare(key, x, p)
    if not draws:
        return jnp.asarray(x)
    if [name for name, _ in draws] == ["flip"]:
        return flip(keys, x, p)  # exact, and without the resample's gather
    u = uniforms(keys, [name for name, _ in draws])
    maps, drawn = zip(*[DRAWS[name](u[name], p, x.shape[1:3], **options) for name, options in draws], strict=True)
    return select(jnp.stack(drawn).any(0), affine(x, compose(maps), fill=fill), x)


def draw_rotate(u: Array, p: Scalar, size: tuple[int, ...], *, max_degrees: float = 15.0) -> tuple[Array, Array]:
    option_in("rotate: max_degrees", max_degrees, 0, 180)
    gate, amount = u[:2]
    drawn = gate < p
    return rotation(jnp.where(drawn, (2 * amount - 1) * math.radians(max_degrees), 0.0)), drawn


def draw_scale(u: Array, p: Scalar, size: tuple[int, ...], *, minimum: float = 0.8, maximum: float = 1.25) -> tuple[Array, Array]:
    if not 0 < minimum <= maximum:
        raise UserError(f"scale: needs 0 < minimum <= maximum, got {minimum:g} and {maximum:g}")
    gate, amount = u[:2]
    drawn = gate < p
    log_scale = math.log(minimum) + amount * (math.log(maximum) - math.log(minimum))
    inverse = jnp.exp(-jnp.where(drawn, log_scale, 0.0))
    return scaling(inverse, inverse), drawn


def draw_crop(u: Array, p: Scalar, size: tuple[int, ...], *, max_fraction: float = 0.2) -> tuple[Array, Array]:
    option_in("crop: max_fraction", max_fraction, 0, 0.9)
    gate, amount, place_x, place_y = u[:4]
    drawn = gate < p
    f = jnp.where(drawn, amount * max_fraction, 0.0)
    h, w = size
    # Window corners map to image corners (pixel centres), so a window of side (1 - f) may move by f (side - 1) / 2.
    shift = translation_by((place_x - 0.5) * f * (w - 1), (place_y - 0.5) * f * (h - 1))
    return compose([shift, scaling(1 - f, 1 - f)]), drawn


def draw_flip(u: Array, p: Scalar, size: tuple[int, ...]) -> tuple[Array, Array]:
    flipped = _flipped(u, p)
    return scaling(jnp.where(flipped, -1.0, 1.0), 1.0), flipped


def _flipped(u, p):
    gate, coin = u[:2]
    return (gate < p) & (coin < 0.5)


DRAWS = {"rotate": draw_rotate, "scale": draw_scale, "crop": draw_crop, "flip": draw_flip}
