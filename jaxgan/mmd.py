"""Adversarial losses by maximum mean discrepancy: D maps an image to a feature vector, a kernel compares the two sets.

They have the signature of the other losses, but the "logits" are feature vectors [B, F] (or [B], meaning F = 1). The
squared discrepancy MMD^2 = E k(x, x') + E k(y, y') - 2 E k(x, y) is a property of the whole batch; it is returned as
per-row contributions, [B], whose mean is MMD^2. Memory is a few times B^2 F floats (differences are taken before squares, because
|x|^2 + |y|^2 - 2 xy loses close pairs of large features to rounding).
"""

from collections.abc import Sequence

import jax.numpy as jnp

from jaxgan.checks import above_0, pair
from jaxgan.typing import Array, ArrayLike


def mmd_gaussian_d(
    real_logits: ArrayLike, fake_logits: ArrayLike, *, sigmas: Sequence[float] = (1.0, 2.0, 4.0, 8.0, 16.0), unbiased: bool = True
) -> Array:
    """D of MMD-GAN with a mixture of Gaussians: -MMD^2, k(x, y) = sum_s exp(-|x - y|^2 / (2 s^2)).

    Args:
      real_logits: features [B, F] or [B], float.
      fake_logits: the same shape.
      sigmas: the kernel widths s, > 0, in units of the features.
      unbiased: leave k(x_i, x_i) out, so that equal distributions give zero in expectation; needs B >= 2.
    Returns:
      [B], float32; the mean is -MMD^2.
    Raises:
      ValueError: shapes differ, more than two axes, features are not floats, or B = 1 with unbiased=True.
    Source: Li et al. 2017 (MMD-GAN) with its five widths; Gretton et al. 2012, eq. 3 (unbiased) and 5 (biased).
    """
    return -_mmd(real_logits, fake_logits, _gaussian(sigmas), unbiased)


def mmd_gaussian_g(
    real_logits: ArrayLike, fake_logits: ArrayLike, *, sigmas: Sequence[float] = (1.0, 2.0, 4.0, 8.0, 16.0), unbiased: bool = True
) -> Array:
    """G of MMD-GAN with a mixture of Gaussians: MMD^2.

    Args:
      real_logits: features [B, F] or [B], float; needed.
      fake_logits: the same shape.
      sigmas: the kernel widths, > 0, in units of the features.
      unbiased: leave k(x_i, x_i) out; needs B >= 2.
    Returns:
      [B], float32; the mean is MMD^2.
    Raises:
      ValueError: shapes differ, more than two axes, features are not floats, or B = 1 with unbiased=True.
    Source: Li et al. 2017 (MMD-GAN), without its autoencoder and feasible-set terms.
    """
    return _mmd(real_logits, fake_logits, _gaussian(sigmas), unbiased)


def mmd_rational_quadratic_d(
    real_logits: ArrayLike,
    fake_logits: ArrayLike,
    *,
    alphas: Sequence[float] = (0.2, 0.5, 1.0, 2.0, 5.0),
    linear: bool = False,
    unbiased: bool = True,
) -> Array:
    """D of MMD-GAN with rational quadratics: -MMD^2, k(x, y) = sum_a (1 + |x - y|^2 / (2 a))^-a.

    Args:
      real_logits: features [B, F] or [B], float.
      fake_logits: the same shape.
      alphas: the exponents a, > 0; heavier tails than the Gaussian, so far points still attract.
      linear: add <x, y> to the kernel (the paper's rq*).
      unbiased: leave k(x_i, x_i) out; needs B >= 2.
    Returns:
      [B], float32; the mean is -MMD^2.
    Raises:
      ValueError: shapes differ, more than two axes, features are not floats, or B = 1 with unbiased=True.
    Source: Binkowski et al. 2018 (its kernel rq); it adds a gradient penalty of the witness function, which
      `penalties.wgan_gp` of a critic x -> mean_j k(x, real_j) - k(x, fake_j) gives.
    """
    return -_mmd(real_logits, fake_logits, _rational_quadratic(alphas, linear), unbiased)


def mmd_rational_quadratic_g(
    real_logits: ArrayLike,
    fake_logits: ArrayLike,
    *,
    alphas: Sequence[float] = (0.2, 0.5, 1.0, 2.0, 5.0),
    linear: bool = False,
    unbiased: bool = True,
) -> Array:
    """G of MMD-GAN with rational quadratics: MMD^2.

    Args:
      real_logits: features [B, F] or [B], float; needed.
      fake_logits: the same shape.
      alphas: the exponents, > 0.
      linear: add <x, y> to the kernel.
      unbiased: leave k(x_i, x_i) out; needs B >= 2.
    Returns:
      [B], float32; the mean is MMD^2.
    Raises:
      ValueError: shapes differ, more than two axes, features are not floats, or B = 1 with unbiased=True.
    Source: Binkowski et al. 2018 (its kernel rq).
    """
    return _mmd(real_logits, fake_logits, _rational_quadratic(alphas, linear), unbiased)


def mmd_repulsive_d(
    real_logits: ArrayLike,
    fake_logits: ArrayLike,
    *,
    sigma: float = 1.0,
    lower: float = 0.25,
    upper: float = 4.0,
    unbiased: bool = True,
) -> Array:
    """D of the repulsive loss: push real features apart, pull fake ones together: E k(x, x') - E k(y, y').

    The distances are bounded, so that D eventually stops pushing: for real pairs k = exp(-min(d, upper) / (2 sigma^2)), for fake
    pairs k = exp(-max(d, lower) / (2 sigma^2)), d the squared distance.

    Args:
      real_logits: features [B, F] or [B], float (the paper: F = 16).
      fake_logits: the same shape.
      sigma: kernel width, > 0.
      lower: fake pairs closer than this (squared) are close enough; 0 for no bound.
      upper: real pairs further than this (squared) are far enough; infinity for no bound.
      unbiased: leave k(x_i, x_i) out; needs B >= 2.
    Returns:
      [B], float32; the mean is the loss, in (-1, 1) with the bounds.
    Raises:
      ValueError: shapes differ, more than two axes, features are not floats, or B = 1 with unbiased=True.
    Source: Wang et al. 2019 (repulsive loss, kernel rbf-b), thresholds and width of the official code. The cross term
      of its general form is left out (weight 0), as in the paper's main loss.
    """
    real, fake = _features(real_logits, fake_logits, unbiased)
    above_0("sigma", sigma)
    kernel = lambda d: jnp.exp(-d / (2 * sigma**2))
    spread = _within(kernel(jnp.minimum(_distance(real, real), upper)), unbiased)
    gather = _within(kernel(jnp.maximum(_distance(fake, fake), lower)), unbiased)
    return spread - gather


def mmd_repulsive_g(real_logits: ArrayLike, fake_logits: ArrayLike, *, sigma: float = 1.0, unbiased: bool = True) -> Array:
    """G of the repulsive loss: MMD^2 with one Gaussian without bounds.

    Args:
      real_logits: features [B, F] or [B], float; needed.
      fake_logits: the same shape.
      sigma: kernel width, > 0.
      unbiased: leave k(x_i, x_i) out; needs B >= 2.
    Returns:
      [B], float32; the mean is MMD^2.
    Raises:
      ValueError: shapes differ, more than two axes, features are not floats, or B = 1 with unbiased=True.
    Source: Wang et al. 2019. Its code leaves the pairs (x_i, y_i) out too; they are independent, so here they count.
    """
    return _mmd(real_logits, fake_logits, _gaussian((sigma,)), unbiased)


def _mmd(real, fake, kernel, unbiased):
    """Row i's share of MMD^2, [B]."""
    real, fake = _features(real, fake, unbiased)
    cross = kernel(real, fake)
    own = _within(kernel(real, real), unbiased) + _within(kernel(fake, fake), unbiased)
    return own - cross.mean(1) - cross.mean(0)


def _within(gram, unbiased):
    """Mean of each row of a kernel matrix, without the diagonal if unbiased, [B]."""
    if not unbiased:
        return gram.mean(1)
    rows = gram.shape[0]
    return jnp.sum(jnp.where(jnp.eye(rows, dtype=bool), 0.0, gram), axis=1) / (rows - 1)


def _gaussian(sigmas):
    above_0("sigmas", *sigmas)

    def kernel(x, y):
        distance = _distance(x, y)  # once: for each width its gradient would take B^2 F numbers more
        return sum(jnp.exp(-distance / (2 * s**2)) for s in sigmas)

    return kernel


def _rational_quadratic(alphas, linear):
    above_0("alphas", *alphas)

    def kernel(x, y):
        distance = _distance(x, y)
        value = sum((1 + distance / (2 * a)) ** -a for a in alphas)
        return value + jnp.sum(x[:, None] * y[None], axis=-1) if linear else value

    return kernel


def _distance(x, y):
    """Squared Euclidean distances [B, B]."""
    return jnp.sum(jnp.square(x[:, None] - y[None]), axis=-1)


def _features(real, fake, unbiased):
    real, fake = pair(real, fake, "features")
    if real.ndim not in (1, 2):
        raise ValueError(f"features: shape {real.shape}; give [B, F], or [B] for F = 1 (flatten patches first)")
    if unbiased and real.shape[0] < 2:
        raise ValueError("features: the unbiased MMD compares images of a batch; give two or more, or unbiased=False")
    return real.reshape(real.shape[0], -1), fake.reshape(fake.shape[0], -1)
