"""Distances between real and generated features or images: feature matching, L1, perceptual."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax.numpy as jnp

from jaxgan.checks import pair
from jaxgan.typing import Array, ArrayLike


def feature_matching(real_features: ArrayLike, fake_features: ArrayLike, *, norm: str = "l2") -> Array:
    """The generator should match the average features of D: |E f(x) - E f(G(z))|^2, or the mean absolute difference.

    Args:
      real_features: [B, ...], float: one layer of D.
      fake_features: the same shape.
      norm: "l2", the squares summed over all features, as in the paper; or "l1", the absolute values averaged over them,
        as in MHingeGAN's code. The two differ in scale by the number of features.
    Returns:
      [], float32: it is a property of the batch, not of an image.
    Raises:
      ValueError: shapes differ, features are not floats, or another norm.
    Source: Salimans et al. 2016, section 3.1; l1: Kavalerov et al. 2021.
    """
    real, fake = pair(real_features, fake_features, "features")
    if norm not in ("l1", "l2"):
        raise ValueError(f"feature_matching: norm must be 'l1' or 'l2', not {norm!r}")
    difference = real.mean(0) - fake.mean(0)
    return jnp.sum(jnp.square(difference)) if norm == "l2" else jnp.mean(jnp.abs(difference))


def feature_l1(real_features: Sequence[ArrayLike], fake_features: Sequence[ArrayLike]) -> Array:
    """Features of each fake should match those of the real image it is paired with: sum_l mean |f_l(x) - f_l(G(s))|.

    Args:
      real_features: list of layers, each [B, ...], float.
      fake_features: the same list for the fakes.
    Returns:
      [B], float32.
    Raises:
      ValueError: lists or shapes differ, or features are not floats.
    Source: Wang et al. 2018 (pix2pixHD), feature matching loss.
    """
    return sum(l1(real, fake) for real, fake in _layers(real_features, fake_features))


def l1(real: ArrayLike, fake: ArrayLike) -> Array:
    """Mean absolute difference of paired images: mean |x - G(s)| over pixels and channels.

    Args:
      real: [B, ...], float.
      fake: the same shape.
    Returns:
      [B], float32.
    Raises:
      ValueError: shapes differ, or images are not floats.
    Source: Isola et al. 2017 (pix2pix), eq. 3, which weights it by 100.
    """
    real, fake = pair(real, fake, "images")
    return jnp.mean(jnp.abs(real - fake), axis=tuple(range(1, real.ndim)))


def pyramid(real: ArrayLike, fake: ArrayLike, *, known: ArrayLike | None = None, least: int = 4) -> Array:
    """Mean squared difference at every size: sum_k mean (x_k - G(s)_k)^2, where each size has the means over 2x2 of the last.

    So a misplaced stroke is closer than a missing one, unlike with the squared pixel differences alone.

    Args:
      real: images [B, H, W, C], float.
      fake: the same shape.
      known: [B, H, W, 1], 1 for pixels that count and 0 for others; differences are multiplied by it before they are averaged,
        and the sum divided by its mean. None for all.
      least: sizes are halved while both sides are at least twice this; an odd side is padded with a row of zero difference.
    Returns:
      [B], float32.
    Raises:
      ValueError: shapes differ, or images are not floats.
    Source: our own; 2x2 means of the difference instead of the Laplacian pyramid of Bojanowski et al. 2018 (GLO), eq. 4.
    """
    real, fake = pair(real, fake, "images")
    known = jnp.ones_like(real[..., :1]) if known is None else jnp.asarray(known, real.dtype)
    r = (real - fake) * known
    total = jnp.square(r).mean((1, 2, 3))
    while min(r.shape[1:3]) >= 2 * least:
        h, w = r.shape[1:3]
        r = jnp.pad(r, ((0, 0), (0, h % 2), (0, w % 2), (0, 0)))
        r = r.reshape(r.shape[0], -(-h // 2), 2, -(-w // 2), 2, r.shape[3]).mean((2, 4))
        total += jnp.square(r).mean((1, 2, 3))
    return total / known.mean((1, 2, 3))


def perceptual(
    features: Callable[[Any], Sequence[ArrayLike]],
    real: ArrayLike,
    fake: ArrayLike,
    *,
    weights: Iterable[ArrayLike] | None = None,
) -> Array:
    """Distance of paired images in the features of another network: sum_l w_l mean (f_l(x) - f_l(G(s)))^2.

    Args:
      features: images [B, ...] -> list of layers, each [B, ...]; its parameters are supplied by the caller, frozen.
      real: [B, ...], float.
      fake: the same shape.
      weights: w_l, one per layer; None for ones.
    Returns:
      [B], float32.
    Raises:
      ValueError: shapes differ, images are not floats, or there are not as many weights as layers.
    Source: Johnson et al. 2016, eq. 2, over any set of layers.
    """
    pair(real, fake, "images")
    layers = _layers(features(real), features(fake))
    weights = [1.0] * len(layers) if weights is None else list(weights)
    if len(weights) != len(layers):
        raise ValueError(f"weights: {len(weights)} for {len(layers)} layers; give one per layer")
    square = lambda x, y: jnp.mean(jnp.square(x - y), axis=tuple(range(1, x.ndim)))
    return sum(w * square(x, y) for w, (x, y) in zip(weights, layers, strict=True))


def _layers(real, fake):
    if not all(isinstance(layers, list | tuple) and layers for layers in (real, fake)):
        raise ValueError("features: give a list of layers, [f] for a single one")
    if len(real) != len(fake):
        raise ValueError(f"features: {len(real)} real and {len(fake)} fake layers; give both of the same network")
    return [pair(x, y, "features") for x, y in zip(real, fake, strict=True)]
