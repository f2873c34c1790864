"""Saliency-guided augmentations: what is most salient to the discriminator is kept, or hidden from it.

The saliency map is computed once, on the unaugmented images, and passed to pure functions of (key, x, saliency, p).
"""

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.augment.draws import check_images, draw, option_in, prepare, salted, select
from jaxgan.augment.resample import HIGHEST, affine, compose, scaling, translation_by
from jaxgan.errors import UserError
from jaxgan.typing import AnyArray, Array, Critic, Scalar


def saliency(critic: Critic, x: AnyArray, *, sigma: float = 0.05) -> Array:
    """The critic's saliency map: |d critic(x) / d x| summed over the channels, smoothed, normalised to sum 1.

    Args:
      critic: images [B, H, W, C] -> logits [B]; images must not influence one another.
      x: [B, H, W, C], floating, in [-1, 1].
      sigma: deviation of the Gaussian smoothing, as a fraction of each side; 0 for none.
    Returns:
      [B, H, W] float32, >= 0, sum 1 over each image (uniform where the gradient vanishes or is not finite); no gradient
      flows through it.
    Source: Simonyan et al. 2014, used as in Gong et al. 2021 (KeepAugment), section 3.1. Deviations: the sum over the
      channels (theirs: the maximum), the logit of "real" for a class's, the smoothing.
    """
    check_images(x)
    gradient = jax.grad(lambda images: jnp.sum(critic(images).astype(jnp.float32)))(x)
    s = jnp.sum(jnp.abs(gradient.astype(jnp.float32)), axis=-1)
    rows, cols = _smoother(s.shape[1], sigma), _smoother(s.shape[2], sigma)
    s = s / jnp.maximum(jnp.max(s, axis=(1, 2), keepdims=True), jnp.finfo(jnp.float32).tiny)
    s = jnp.einsum("ij,bjk,lk->bil", rows, s, cols, precision=HIGHEST)
    total = jnp.sum(s, axis=(1, 2), keepdims=True)
    usable = (total > 0) & jnp.isfinite(total)
    s = jnp.where(usable, s / jnp.where(usable, total, 1.0), 1.0 / (s.shape[1] * s.shape[2]))
    return jax.lax.stop_gradient(s)


def attentive_cutout(
    key: Array, x: AnyArray, saliency: AnyArray, p: Scalar, *, size: float = 0.5, telling: str = "hide", quantile: float = 0.6
) -> Array:
    """Zeroes a rectangle that hides, or spares, the most salient region.

    Args:
      key: a typed key, or [B] of them, one per image.
      x: images [B, H, W, C], floating, in [-1, 1].
      saliency: [B, H, W] of these images.
      p: probability, a float in [0, 1] or a traced scalar.
      size: of the rectangle's sides, a fraction of the image's, in (0, 1].
      telling: "hide" the salient region (the rectangle's saliency is at or above the quantile) or "keep" it (at or
        below: KeepAugment's selective cut).
      quantile: of the saliencies of all the places the rectangle could have inside the image; the place is uniform
        among those that pass. 1 with "hide" and 0 with "keep" leave only the extreme place.
    Returns:
      [B, H, W, C] in x's dtype.
    Source: Gong et al. 2021 (KeepAugment), section 3.2, quantile 0.6; drawn directly rather than by rejection.
    """
    keys, _, p = prepare(key, x, p)
    _check_saliency(x, saliency)
    (gate,) = draw(keys, "attentive_cutout", 1)
    inside, _ = _place(keys, "attentive_cutout", saliency, size, _seek(telling, hide="high", keep="low"), quantile)
    return jnp.where(((gate < p)[:, None, None] & inside)[..., None], 0.0, x)


def attentive_crop(
    key: Array, x: AnyArray, saliency: AnyArray, p: Scalar, *, size: float = 0.75, telling: str = "keep", quantile: float = 0.6
) -> Array:
    """Enlarges a window that keeps, or excludes, the most salient region to the whole image.

    Arguments as `attentive_cutout`; size is the window's. "keep": the window's saliency is at or above the quantile,
    "hide": at or below.
    """
    keys, _, p = prepare(key, x, p)
    _check_saliency(x, saliency)
    (gate,) = draw(keys, "attentive_crop", 1)
    seek = _seek(telling, hide="low", keep="high")
    _, (top, left, rows, cols) = _place(keys, "attentive_crop", saliency, size, seek, quantile)
    h, w = x.shape[1:3]
    top, left = top.astype(jnp.float32), left.astype(jnp.float32)
    shift = translation_by(left + (cols - 1) / 2 - (w - 1) / 2, top + (rows - 1) / 2 - (h - 1) / 2)
    zoom = scaling(jnp.full(x.shape[:1], (cols - 1) / (w - 1), jnp.float32), (rows - 1) / (h - 1))
    return select(gate < p, affine(x, compose([shift, zoom]), fill="edge"), x)


def keep_augment(
    key: Array, x: AnyArray, augmented: AnyArray, saliency: AnyArray, p: Scalar, *, size: float = 0.5, quantile: float = 0.6
) -> Array:
    """KeepAugment's selective paste: a salient rectangle of x over the augmented image, at its place in x.

    Args:
      key, x, saliency, size, quantile: as `attentive_cutout`; the rectangle's saliency is at or above the quantile.
      augmented: the same images augmented in any way, x's shape and dtype.
      p: probability of the augmented image; otherwise x itself.
    Returns:
      [B, H, W, C] in x's dtype.
    Source: Gong et al. 2021 (KeepAugment), section 3.2.
    """
    keys, _, p = prepare(key, x, p)
    _check_saliency(x, saliency)
    _check_same("augmented", augmented, x)
    (gate,) = draw(keys, "keep_augment", 1)
    inside, _ = _place(keys, "keep_augment", saliency, size, "high", quantile)
    return select(gate < p, jnp.where(inside[..., None], x, augmented), x)


def attentive_cutmix(
    key: Array, x: AnyArray, other: AnyArray, saliency: AnyArray, p: Scalar, *, grid: int = 7, patches: int = 6
) -> Array:
    """Pastes the most salient patches of another image over x, at the same positions.

    Args:
      key, x, p: as `attentive_cutout`.
      other: the images to take the patches from, x's shape and dtype (reals with reals, fakes with fakes: the mix keeps
        their label).
      saliency: [B, H, W] of `other`.
      grid: the images are cut into grid x grid patches.
      patches: how many of them are pasted, in [1, grid^2].
    Returns:
      [B, H, W, C] in x's dtype.
    Source: Walawalkar et al. 2020 (Attentive CutMix): 7 x 7, 6 patches. Deviation: saliency by the critic's gradient
      instead of a pretrained classifier's last feature map.
    """
    keys, _, p = prepare(key, x, p)
    _check_saliency(x, saliency)
    _check_same("other", other, x)
    h, w = x.shape[1:3]
    if not 1 <= grid <= min(h, w):
        raise UserError(f"attentive_cutmix: grid must be in [1, {min(h, w)}], got {grid}")
    option_in("attentive_cutmix: patches", patches, 1, grid**2)
    (gate,) = draw(keys, "attentive_cutmix", 1)
    rows, cols = (np.arange(side) * grid // side for side in (h, w))  # the patch of each pixel
    to_rows, to_cols = ((np.arange(grid)[:, None] == a[None, :]).astype(np.float32) for a in (rows, cols))
    scores = jnp.einsum("ij,bjk,lk->bil", to_rows, saliency.astype(jnp.float32), to_cols, precision=HIGHEST)
    scores = scores / (to_rows.sum(1)[:, None] * to_cols.sum(1)[None, :])[None]  # means: patches may differ by a pixel
    order = jnp.argsort(-scores.reshape(-1, grid**2), axis=1)
    taken = jnp.argsort(order, axis=1) < patches  # the rank of each patch
    inside = taken.reshape(-1, grid, grid)[:, rows][:, :, cols]
    return select(gate < p, jnp.where(inside[..., None], other, x), x)


def _place(keys, name, saliency, size, seek, quantile):
    """A random rectangle among those of high, or low, saliency.

    Returns (inside [B, H, W] bool, (top [B], left [B], rows, cols)).
    """
    option_in(f"{name}: quantile", quantile, 0, 1)
    if not 0 < size <= 1:
        raise UserError(f"{name}: size must be in (0, 1], got {size:g}")
    h, w = saliency.shape[1:]
    rows, cols = max(1, round(size * h)), max(1, round(size * w))
    scores = jnp.einsum("ij,bjk,lk->bil", _windows(h, rows), saliency.astype(jnp.float32), _windows(w, cols), precision=HIGHEST)
    flat = scores.reshape(scores.shape[0], -1)
    # The quantile is one of the scores ("lower"/"higher"), so that at least one place passes, whatever the rounding.
    method = "lower" if seek == "high" else "higher"
    bound = jnp.quantile(flat, quantile, axis=1, method=method, keepdims=True)
    allowed = flat >= bound if seek == "high" else flat <= bound
    u = jax.vmap(lambda k: jax.random.uniform(jax.random.fold_in(k, 1), flat.shape[1:], jnp.float32))(salted(keys, name))
    chosen = jnp.argmax(jnp.where(allowed, u, -1.0), axis=1)
    top, left = chosen // scores.shape[2], chosen % scores.shape[2]
    down, across = jnp.arange(h)[None, :] - top[:, None], jnp.arange(w)[None, :] - left[:, None]
    inside = ((down >= 0) & (down < rows))[:, :, None] & ((across >= 0) & (across < cols))[:, None, :]
    return inside, (top, left, rows, cols)


def _windows(side, length):
    """[side - length + 1, side]: the sums over every run of `length` pixels."""
    offset = np.arange(side)[None, :] - np.arange(side - length + 1)[:, None]
    return ((offset >= 0) & (offset < length)).astype(np.float32)


def _smoother(side, sigma):
    """[side, side]: Gaussian weights, rows of sum 1 (so nothing is lost over the border)."""
    option_in("saliency: sigma", sigma, 0, 1)
    if sigma == 0:
        return np.eye(side, dtype=np.float32)
    distance = (np.arange(side)[:, None] - np.arange(side)[None, :]) / (sigma * side)
    weights = np.exp(-0.5 * distance**2)
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)


def _seek(telling, **choices):
    if telling not in choices:
        raise UserError(f'telling must be "keep" or "hide", got "{telling}"')
    return choices[telling]


def _check_saliency(x, saliency):
    if saliency is None:
        raise ValueError("saliency is None; give `augment.saliency(critic, x)`")
    if saliency.shape != x.shape[:3] or not jnp.issubdtype(saliency.dtype, jnp.floating):
        raise ValueError(f"saliency must be floating {x.shape[:3]}, got {saliency.dtype} {saliency.shape}")


def _check_same(name, other, x):
    if other.shape != x.shape or other.dtype != x.dtype:
        raise ValueError(f"{name} must be {x.dtype} {x.shape} as x is, got {other.dtype} {other.shape}")
