"""Checks and random draws that every augmentation shares: one key per image, one salt per transform."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.checks import image_keys
from jaxgan.errors import UserError
from jaxgan.typing import AnyArray, Array, Scalar

# What a transform draws for an image depends on (its key, its salt) alone, not on which other transforms are on.
# Saved runs rely on the numbers: append, never renumber.
SALTS = {
    name: i
    for i, name in enumerate(
        "rotate scale crop flip "
        "brightness saturation contrast translation cutout "
        "ada_xflip ada_rotate90 ada_xint ada_scale ada_rotate ada_aniso ada_xfrac "
        "ada_brightness ada_contrast ada_lumaflip ada_hue ada_saturation ada_imgfilter ada_noise ada_cutout "
        "apa keep_augment attentive_cutout attentive_crop attentive_cutmix".split()
    )
}


def prepare(key: Array, x: AnyArray, p: Scalar) -> tuple[Array, AnyArray, Array]:
    """Checks the three arguments of an augmentation; returns (keys [B], x in float32, p as float32 [])."""
    check_images(x)
    p = check_probability(p)
    return image_keys(key, x.shape[0]), x.astype(jnp.float32), p


def check_images(x: AnyArray) -> Array:
    """x as a JAX array; ValueError unless it is a floating [B, H, W, C]."""
    if getattr(x, "ndim", None) != 4:
        raise ValueError(f"images must be [B, H, W, C], got shape {getattr(x, 'shape', None)}")
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise ValueError(f"images must be floating, in [-1, 1], got {x.dtype}: divide uint8 by 127.5 and subtract 1")
    return jnp.asarray(x)


def check_probability(p: Scalar) -> Array:
    """p as a float32 scalar; UserError if it is known now (not traced) and outside [0, 1]."""
    if jnp.ndim(p) != 0:
        raise ValueError(f"p must be a scalar, got shape {jnp.shape(p)}")
    if not isinstance(p, jax.core.Tracer) and not 0.0 <= float(p) <= 1.0:
        raise UserError(f"the augmentation probability p must be in [0, 1], got {float(p):g}")
    return jnp.asarray(p, jnp.float32)


def salted(keys: Array, name: str) -> Array:
    """The keys [B] of one transform."""
    return jax.vmap(jax.random.fold_in, (0, None))(keys, np.uint32(SALTS[name]))


def uniforms(keys: Array, names: Sequence[str]) -> dict[str, Array]:
    """Eight uniform draws in [0, 1) for each transform: {name: [8, B] float32}, all in one call (cheap to compile)."""
    salts = np.array([SALTS[name] for name in names], np.uint32)

    def of_one(key):
        return jax.vmap(lambda salt: jax.random.uniform(jax.random.fold_in(key, salt), (8,), jnp.float32))(salts)

    u = jnp.moveaxis(jax.vmap(of_one)(keys), 0, 2)
    return dict(zip(names, u, strict=True))


def draw(keys: Array, name: str, count: int) -> Array:
    """The first `count` (<= 8) draws of one transform: [count, B] float32."""
    return uniforms(keys, [name])[name][:count]


def as_normal(u: Array) -> Array:
    """Standard normals from uniforms in [0, 1) (multiples of 2^-23, moved to the middle of their cells)."""
    return jax.scipy.special.ndtri(u + jnp.float32(2.0**-24))


def per_image(values: Array) -> Array:
    """[B] -> [B, 1, 1, 1], to go with images."""
    return values[:, None, None, None]


def select(drawn: Array, changed: AnyArray, x: AnyArray) -> Array:
    """Images of `changed` where `drawn` [B] is true, the untouched bits of x elsewhere; in x's dtype."""
    x = jnp.asarray(x)
    return jnp.where(per_image(drawn), changed.astype(x.dtype), x)


def option_in(name: str, value: float, low: float, high: float) -> None:
    """UserError unless low <= value <= high."""
    if not low <= value <= high:
        raise UserError(f"{name} must be in [{low:g}, {high:g}], got {value:g}")
