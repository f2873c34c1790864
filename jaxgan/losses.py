"""Adversarial losses: `<name>_d` for the discriminator, `<name>_g` for the generator, both to be minimised.

Every one is `(real_logits, fake_logits) -> loss of each sample`, not reduced: take the mean. Logits may have any shape
(`[B]`, or patches `[B, h, w]`), the same for real and fake, and any float type; the arithmetic is float32. A generator
loss that does not use the real logits accepts None for them. D(x) in the formulas is sigmoid(logits).

Three families have their own modules and are re-exported here: kernel losses on feature vectors (`mmd`), class-conditional
losses (`class_losses`), and distances between features or images (`feature_losses`).

Some losses compare the images of a batch with one another (relativistic average, dual contrastive, MMD, D2D-CE, feature
matching). On several devices, gather the logits first so that they see the global batch.
"""

from collections.abc import Callable
from numbers import Real

import jax
import jax.numpy as jnp

from jaxgan.checks import fake_alone, pair
from jaxgan.class_losses import ac_gan_d, ac_gan_g, class_cross_entropy, d2d_ce, gaussian_code, multi_hinge_d, multi_hinge_g
from jaxgan.feature_losses import feature_l1, feature_matching, l1, perceptual
from jaxgan.mmd import (
    mmd_gaussian_d,
    mmd_gaussian_g,
    mmd_rational_quadratic_d,
    mmd_rational_quadratic_g,
    mmd_repulsive_d,
    mmd_repulsive_g,
)
from jaxgan.typing import Array, ArrayLike, Scalar

__all__ = [
    "ac_gan_d",
    "ac_gan_g",
    "class_cross_entropy",
    "d2d_ce",
    "dual_contrastive_d",
    "dual_contrastive_g",
    "feature_l1",
    "feature_matching",
    "gaussian_code",
    "hinge_d",
    "hinge_g",
    "l1",
    "least_squares_d",
    "least_squares_g",
    "minimax_d",
    "minimax_g",
    "mmd_gaussian_d",
    "mmd_gaussian_g",
    "mmd_rational_quadratic_d",
    "mmd_rational_quadratic_g",
    "mmd_repulsive_d",
    "mmd_repulsive_g",
    "multi_hinge_d",
    "multi_hinge_g",
    "non_saturating_d",
    "non_saturating_g",
    "perceptual",
    "relativistic_average_d",
    "relativistic_average_g",
    "relativistic_d",
    "relativistic_g",
    "top_k",
    "wasserstein_d",
    "wasserstein_g",
]


def minimax_d(real_logits: ArrayLike, fake_logits: ArrayLike) -> Array:
    """The original discriminator loss: -log D(x) - log(1 - D(G(z))).

    Args:
      real_logits: any shape, float.
      fake_logits: the same shape.
    Returns:
      float32, the shape of the logits: softplus(-real) + softplus(fake).
    Raises:
      ValueError: shapes differ, or logits are not floats.
    Source: Goodfellow et al. 2014, eq. 1, negated because it is minimised. (Texts that give E log D(x) +
      E log(1 - D(G(z))) as a loss to minimise, or its negative as the generator's, have the signs wrong.)
    """
    real, fake = pair(real_logits, fake_logits)
    return jax.nn.softplus(-real) + jax.nn.softplus(fake)


def minimax_g(real_logits: ArrayLike | None, fake_logits: ArrayLike) -> Array:
    """The original ("saturating") generator loss: log(1 - D(G(z))). Its gradient vanishes where D is confident.

    Args:
      real_logits: unused; may be None.
      fake_logits: any shape, float.
    Returns:
      float32, the shape of the logits, <= 0: -softplus(fake).
    Raises:
      ValueError: shapes differ, or logits are not floats.
    Source: Goodfellow et al. 2014, eq. 1.
    """
    return -jax.nn.softplus(fake_alone(real_logits, fake_logits))


def non_saturating_d(real_logits: ArrayLike, fake_logits: ArrayLike) -> Array:
    """The discriminator of the non-saturating game, the same as `minimax_d`: -log D(x) - log(1 - D(G(z))).

    Args:
      real_logits: any shape, float.
      fake_logits: the same shape.
    Returns:
      float32, the shape of the logits: softplus(-real) + softplus(fake).
    Raises:
      ValueError: shapes differ, or logits are not floats.
    Source: Goodfellow et al. 2014, eq. 1.
    """
    return minimax_d(real_logits, fake_logits)


def non_saturating_g(real_logits: ArrayLike | None, fake_logits: ArrayLike) -> Array:
    """The usual generator loss: -log D(G(z)). Strong gradients where D rejects the fakes.

    Args:
      real_logits: unused; may be None.
      fake_logits: any shape, float.
    Returns:
      float32, the shape of the logits: softplus(-fake).
    Raises:
      ValueError: shapes differ, or logits are not floats.
    Source: Goodfellow et al. 2014, section 3.
    """
    return jax.nn.softplus(-fake_alone(real_logits, fake_logits))


def relativistic_d(real_logits: ArrayLike, fake_logits: ArrayLike) -> Array:
    """Relativistic pairing: each real image should look more real than the fake it is paired with.

    softplus(-(real - fake)) = -log sigmoid(real - fake). Real logit i is paired with fake logit i.

    Args:
      real_logits: any shape, float.
      fake_logits: the same shape.
    Returns:
      float32, the shape of the logits.
    Raises:
      ValueError: shapes differ, or logits are not floats.
    Source: Jolicoeur-Martineau 2018 (RSGAN); RpGAN of R3GAN (Huang et al. 2024) with f(t) = -log(1 + e^-t).
    """
    real, fake = pair(real_logits, fake_logits)
    return jax.nn.softplus(fake - real)


def relativistic_g(real_logits: ArrayLike, fake_logits: ArrayLike) -> Array:
    """Relativistic pairing, generator: each fake should look more real than its real partner.

    softplus(-(fake - real)) = -log sigmoid(fake - real).

    Args:
      real_logits: any shape, float; needed.
      fake_logits: the same shape.
    Returns:
      float32, the shape of the logits.
    Raises:
      ValueError: shapes differ, or logits are not floats.
    Source: Jolicoeur-Martineau 2018 (RSGAN); RpGAN of R3GAN (Huang et al. 2024).
    """
    real, fake = pair(real_logits, fake_logits)
    return jax.nn.softplus(real - fake)


def least_squares_d(real_logits: ArrayLike, fake_logits: ArrayLike, *, a: float = 0.0, b: float = 1.0) -> Array:
    """Least squares: (real - b)^2 / 2 + (fake - a)^2 / 2.

    Args:
      real_logits: any shape, float; not passed through a sigmoid.
      fake_logits: the same shape.
      a: D's target for fakes.
      b: D's target for real images.
    Returns:
      float32, the shape of the logits, >= 0.
    Raises:
      ValueError: shapes differ, or logits are not floats.
    Source: Mao et al. 2017, eq. 2; its two choices are (a, b, c) = (0, 1, 1), eq. 9, and (-1, 1, 0), eq. 8.
    """
    real, fake = pair(real_logits, fake_logits)
    return 0.5 * jnp.square(real - b) + 0.5 * jnp.square(fake - a)


def least_squares_g(real_logits: ArrayLike | None, fake_logits: ArrayLike, *, c: float = 1.0) -> Array:
    """Least squares, generator: (fake - c)^2 / 2.

    Args:
      real_logits: unused; may be None.
      fake_logits: any shape, float.
      c: G's target for D's output on fakes.
    Returns:
      float32, the shape of the logits, >= 0.
    Raises:
      ValueError: shapes differ, or logits are not floats.
    Source: Mao et al. 2017, eq. 2.
    """
    return 0.5 * jnp.square(fake_alone(real_logits, fake_logits) - c)


def hinge_d(real_logits: ArrayLike, fake_logits: ArrayLike) -> Array:
    """Hinge: max(0, 1 - real) + max(0, 1 + fake).

    Args:
      real_logits: any shape, float.
      fake_logits: the same shape.
    Returns:
      float32, the shape of the logits, >= 0.
    Raises:
      ValueError: shapes differ, or logits are not floats.
    Source: Lim and Ye 2017; Miyato et al. 2018 (spectral normalisation), eq. 16.
    """
    real, fake = pair(real_logits, fake_logits)
    return jax.nn.relu(1 - real) + jax.nn.relu(1 + fake)


def hinge_g(real_logits: ArrayLike | None, fake_logits: ArrayLike) -> Array:
    """Hinge, generator: -fake.

    Args:
      real_logits: unused; may be None.
      fake_logits: any shape, float.
    Returns:
      float32, the shape of the logits.
    Raises:
      ValueError: shapes differ, or logits are not floats.
    Source: Lim and Ye 2017; Miyato et al. 2018 (spectral normalisation), eq. 17.
    """
    return -fake_alone(real_logits, fake_logits)


def wasserstein_d(real_logits: ArrayLike, fake_logits: ArrayLike) -> Array:
    """Wasserstein critic: fake - real. Needs a Lipschitz-constrained critic (WGAN-GP, clipping, spectral norm).

    Args:
      real_logits: any shape, float.
      fake_logits: the same shape.
    Returns:
      float32, the shape of the logits; minus its mean estimates the distance times the critic's Lipschitz constant.
    Raises:
      ValueError: shapes differ, or logits are not floats.
    Source: Arjovsky et al. 2017, eq. 3, negated because it is minimised.
    """
    real, fake = pair(real_logits, fake_logits)
    return fake - real


def wasserstein_g(real_logits: ArrayLike | None, fake_logits: ArrayLike) -> Array:
    """Wasserstein, generator: -fake.

    Args:
      real_logits: unused; may be None.
      fake_logits: any shape, float.
    Returns:
      float32, the shape of the logits.
    Raises:
      ValueError: shapes differ, or logits are not floats.
    Source: Arjovsky et al. 2017, algorithm 1.
    """
    return -fake_alone(real_logits, fake_logits)


def relativistic_average_d(real_logits: ArrayLike, fake_logits: ArrayLike, *, mean: Callable[[Array], Array] = jnp.mean) -> Array:
    """Relativistic average: real images should look more real than the average fake, and vice versa.

    -log sigmoid(real - mean(fake)) - log(1 - sigmoid(fake - mean(real))).

    Args:
      real_logits: any shape, float.
      fake_logits: the same shape.
      mean: logits -> []; give `lambda x: jax.lax.pmean(jnp.mean(x), axis)` for the mean over all devices. The default
        averages over all its input, including patches.
    Returns:
      float32, the shape of the logits.
    Raises:
      ValueError: shapes differ, or logits are not floats.
    Source: Jolicoeur-Martineau 2018 (RaSGAN).
    """
    real, fake = pair(real_logits, fake_logits)
    return jax.nn.softplus(mean(fake) - real) + jax.nn.softplus(fake - mean(real))


def relativistic_average_g(real_logits: ArrayLike, fake_logits: ArrayLike, *, mean: Callable[[Array], Array] = jnp.mean) -> Array:
    """Relativistic average, generator: -log sigmoid(fake - mean(real)) - log(1 - sigmoid(real - mean(fake))).

    Args:
      real_logits: any shape, float; needed.
      fake_logits: the same shape.
      mean: logits -> [], as for the discriminator.
    Returns:
      float32, the shape of the logits.
    Raises:
      ValueError: shapes differ, or logits are not floats.
    Source: Jolicoeur-Martineau 2018 (RaSGAN).
    """
    real, fake = pair(real_logits, fake_logits)
    return jax.nn.softplus(mean(real) - fake) + jax.nn.softplus(real - mean(fake))


def dual_contrastive_d(real_logits: ArrayLike, fake_logits: ArrayLike) -> Array:
    """Dual contrastive: tell each real image from all fakes, and each fake from all real images.

    log(1 + sum_j exp(fake_j - real_i)) + log(1 + sum_j exp(fake_i - real_j)), both sums over the batch.

    Args:
      real_logits: [B, ...], float; with patches each position is contrasted separately.
      fake_logits: the same shape.
    Returns:
      float32, the shape of the logits, >= 0.
    Raises:
      ValueError: shapes differ, logits are not floats, or have no batch axis.
    Source: Yu et al. 2021, section 3 (its real and fake contrastive terms), negated because it is minimised.
    """
    real, fake = pair(real_logits, fake_logits)
    if real.ndim == 0:
        raise ValueError("logits: shape () has no batch axis; give [B, ...]")
    any_fake = jax.nn.logsumexp(fake, axis=0, keepdims=True)
    any_real = jax.nn.logsumexp(-real, axis=0, keepdims=True)
    return jax.nn.softplus(any_fake - real) + jax.nn.softplus(fake + any_real)


def dual_contrastive_g(real_logits: ArrayLike, fake_logits: ArrayLike) -> Array:
    """Dual contrastive, generator: minus the discriminator's loss (the game is zero-sum, as `minimax`).

    Args:
      real_logits: [B, ...], float; needed.
      fake_logits: the same shape.
    Returns:
      float32, the shape of the logits, <= 0.
    Raises:
      ValueError: shapes differ, logits are not floats, or have no batch axis.
    Source: Yu et al. 2021, section 3: min over G, max over D of the same value.
    """
    return -dual_contrastive_d(real_logits, fake_logits)


def top_k(sample_losses: ArrayLike, fake_logits: ArrayLike, share: Scalar) -> Array:
    """Top-k training: the mean of a generator loss over those fakes alone that D rates most real.

    The others get no gradient. k = ceil(share B), at least 1; of equal logits the first ones count.

    Args:
      sample_losses: [B, ...], float: of the fakes, as any `<name>_g` returns it; with patches an image is its mean.
      fake_logits: the same shape: what the images are ranked by.
      share: in (0, 1], a number or traced [], so that it may follow a schedule; 1 is the plain mean.
    Returns:
      float32 [].
    Raises:
      ValueError: shapes differ, inputs are not floats, no batch axis, a share outside (0, 1].
    Source: Sinha et al. 2020, "Top-k training of GANs", algorithm 1: k falls from B to B / 2 during training.
    """
    values, scores = pair(sample_losses, jax.lax.stop_gradient(fake_logits), "losses and logits")
    if values.ndim == 0:
        raise ValueError("losses: shape () has no batch axis; give [B, ...]")
    if isinstance(share, Real) and not 0 < share <= 1:
        raise ValueError(f"share: {share}; give a part of the batch, above 0 and at most 1")
    values, scores = (x.reshape(len(x), -1).mean(1) for x in (values, scores))
    best = jnp.argsort(-scores, stable=True)
    taken = jnp.arange(len(values), dtype=values.dtype) < jnp.maximum(jnp.asarray(share * len(values), values.dtype), 1)
    return jnp.sum(jnp.where(taken, values[best], 0)) / jnp.sum(taken, dtype=values.dtype)
