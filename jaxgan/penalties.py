"""Penalties on a critic, unreduced: functions of a callable critic, images [B, ...] -> logits [B].

Images must not influence one another inside the critic (no batch norm), and it is a fixed function, with the same dropout masks
at every call: `check_critic_is_per_image` finds one that is not. Weights such as gamma / 2 are not included; the recipe applies
them. Functions that draw noise take `key` first: one key [], or one per image [B]; image i's noise depends only on its own key.

Penalties that are not gradients of the critic (path length, LeCam, consistency, orthogonality) live in `regularizers`
and are re-exported here.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.checks import above_0, floats, images, normal_like, one_logit_an_image, same_images, uniform_like
from jaxgan.regularizers import bcr, cr, lecam, orthogonal, path_length, zcr_d, zcr_g
from jaxgan.typing import AnyArray, Array, ArrayLike, Critic, Scalar

__all__ = [
    "bcr",
    "check_critic_is_per_image",
    "cr",
    "dragan",
    "drift",
    "finite_difference_r1",
    "finite_difference_r2",
    "input_gradient",
    "lecam",
    "orthogonal",
    "path_length",
    "r1",
    "r2",
    "wgan_gp",
    "wgan_lp",
    "zcr_d",
    "zcr_g",
]


def r1(critic: Critic, real: AnyArray) -> Array:
    """Zero-centred gradient penalty on real images: ||d critic(x) / d x||^2, per image.

    Args:
      critic: images [B, ...] -> logits [B]; images must not influence one another (no batch norm).
      real: floats [B, ...], usually [B, H, W, C] in [-1, 1].
    Returns:
      [B], float32. Multiply by gamma / 2 as in the paper.
    Raises:
      ValueError: integer images; a critic that does not return [B].
    Source: Mescheder et al. 2018, eq. 9. The gradient is with respect to what the caller passes: put the augmentation
      inside `critic` to differentiate the image before augmentation, as StyleGAN2-ADA and R3GAN do.
    """
    return _squared_norm(input_gradient(critic, real))


def r2(critic: Critic, fake: AnyArray) -> Array:
    """Zero-centred gradient penalty on generated images: ||d critic(G(z)) / d G(z)||^2, per image.

    Args:
      critic: images [B, ...] -> logits [B]; images must not influence one another (no batch norm).
      fake: floats [B, ...]; stop their gradient if it must not reach the generator.
    Returns:
      [B], float32. Multiply by gamma / 2 as in the paper.
    Raises:
      ValueError: integer images; a critic that does not return [B].
    Source: Mescheder et al. 2018, eq. 10; with R1 in R3GAN (Huang et al. 2024).
    """
    return _squared_norm(input_gradient(critic, fake))


def finite_difference_r1(key: Array, critic: Critic, real: AnyArray, *, sigma: Scalar = 0.01) -> Array:
    """R1 without a double backward pass: ((critic(x) - critic(x + sigma e)) / sigma)^2, e ~ N(0, I).

    Its expectation over e tends to ||d critic(x) / d x||^2 as sigma goes to 0; one draw's standard deviation is 1.4 times that.

    Args:
      key: one key [], or one per image [B].
      critic: images [B, ...] -> logits [B], a fixed function: what another dropout mask changes would be divided by sigma. In
        bfloat16 the difference is lost to rounding: use float32.
      real: floats [B, ...].
      sigma: step, > 0, in units of the images.
    Returns:
      [B], float32. Multiply by gamma / 2 as in the paper.
    Raises:
      ValueError: integer images; a critic that does not return [B]; a key that is not typed; sigma not above 0.
    Source: GAT (2025, arXiv 2509.24935), its approximated R1; sigma of the official code. As there, the noise is added before
      the augmentation if that is inside `critic`. APT (Lin et al. 2025) does not divide by sigma: its 100 at sigma = 0.01 is a
      weight of 0.01 here.
    """
    real = images("real", real)
    above_0("sigma", sigma)
    near = real + sigma * normal_like(key, real)
    change = one_logit_an_image(critic(real), real) - one_logit_an_image(critic(near), real)
    return jnp.square(change / sigma)


def finite_difference_r2(key: Array, critic: Critic, fake: AnyArray, *, sigma: Scalar = 0.01) -> Array:
    """R2 without a double backward pass: ((critic(G(z)) - critic(G(z) + sigma e)) / sigma)^2, e ~ N(0, I).

    Args:
      key: one key [], or one per image [B].
      critic: images [B, ...] -> logits [B], float32.
      fake: floats [B, ...]; stop their gradient if it must not reach the generator.
      sigma: step, > 0, in units of the images.
    Returns:
      [B], float32. Multiply by gamma / 2 as in the paper.
    Raises:
      ValueError: integer images; a critic that does not return [B]; a key that is not typed; sigma not above 0.
    Source: GAT (2025, arXiv 2509.24935), its approximated R2.
    """
    return finite_difference_r1(key, critic, fake, sigma=sigma)


def wgan_gp(key: Array, critic: Critic, real: AnyArray, fake: AnyArray) -> Array:
    """WGAN-GP: the gradient norm should be 1 between reals and fakes: (||d critic(y) / d y|| - 1)^2.

    y = u x + (1 - u) G(z), u uniform in [0, 1), one per image.

    Args:
      key: one key [], or one per image [B].
      critic: images [B, ...] -> logits [B]; images must not influence one another (no batch norm).
      real: floats [B, ...].
      fake: the same shape; stop their gradient if it must not reach the generator.
    Returns:
      [B], float32. The paper's weight is 10.
    Raises:
      ValueError: shapes differ; integer images; a critic that does not return [B]; a key that is not typed.
    Source: Gulrajani et al. 2017, eq. 3. Where the gradient is exactly zero, its norm has gradient zero, not NaN.
    """
    return jnp.square(_length(input_gradient(critic, _between(key, real, fake))) - 1)


def wgan_lp(key: Array, critic: Critic, real: AnyArray, fake: AnyArray) -> Array:
    """WGAN-LP: only gradient norms above 1 are penalised: max(0, ||d critic(y) / d y|| - 1)^2, y as in `wgan_gp`.

    Args:
      key: one key [], or one per image [B].
      critic: images [B, ...] -> logits [B]; images must not influence one another (no batch norm).
      real: floats [B, ...].
      fake: the same shape; stop their gradient if it must not reach the generator.
    Returns:
      [B], float32. The paper's weight is 10.
    Raises:
      ValueError: shapes differ; integer images; a critic that does not return [B]; a key that is not typed.
    Source: Petzka et al. 2018, section 5 (the one-sided penalty).
    """
    return jnp.square(jax.nn.relu(_length(input_gradient(critic, _between(key, real, fake))) - 1))


def dragan(key: Array, critic: Critic, real: AnyArray, *, std: Scalar = 0.25, target: Scalar = 1.0) -> Array:
    """DRAGAN: the gradient norm should be `target` around real images: (||d critic(x + e) / dx|| - target)^2.

    e ~ N(0, std^2 I).

    Args:
      key: one key [], or one per image [B].
      critic: images [B, ...] -> logits [B]; images must not influence one another (no batch norm).
      real: floats [B, ...].
      std: of the noise, in units of the images; the default is half the standard deviation (about 0.5) of usual images
        in [-1, 1].
      target: desired norm (k in the paper).
    Returns:
      [B], float32. The paper's weight is 10.
    Raises:
      ValueError: integer images; a critic that does not return [B]; a key that is not typed.
    Source: Kodali et al. 2017, section 2.3. The official code draws u1 u2 std(batch) / 2 with two uniform numbers
      instead of the paper's normal noise; the batch statistic would couple the images of a batch.
    """
    real = images("real", real)
    near = real + std * normal_like(key, real)
    return jnp.square(_length(input_gradient(critic, near)) - target)


def drift(real_logits: ArrayLike) -> Array:
    """Keep the critic's output near zero if its loss is invariant to an offset: critic(x)^2.

    Args:
      real_logits: any shape, float.
    Returns:
      float32, the shape of the logits. The paper's weight is 0.001.
    Raises:
      ValueError: logits are not floats.
    Source: Karras et al. 2018 (ProGAN), appendix A.1 (epsilon drift).
    """
    return jnp.square(floats("real_logits", real_logits))


def input_gradient(critic: Critic, x: AnyArray) -> Array:
    """Gradient of each image's logit with respect to that image: d critic(x)_i / d x_i.

    Args:
      critic: images [B, ...] -> logits [B]; images must not influence one another.
      x: floats [B, ...].
    Returns:
      [B, ...], float32 (the critic itself runs in the dtype of `x`).
    Raises:
      ValueError: integer images; a critic that does not return [B].
    Source: the sum of the logits has this gradient because image i's logit depends on image i alone.
    """
    gradient = jax.grad(lambda y: one_logit_an_image(critic(y), y).sum())(images("x", x))
    return floats("gradient", gradient)


def check_critic_is_per_image(critic: Critic, x: AnyArray, *, tolerance: float = 1e-4) -> None:
    """A debugging check, not for use inside jit: raises if a logit depends on other images of the batch, or on the call.

    Batch norm and minibatch standard deviation do that, and then the gradient penalties above are not per image
    (StyleGAN2 accepts this for its minibatch standard deviation). Call it once, eagerly, on a real batch.

    Args:
      critic: images [B, ...] -> logits [B], a fixed function: the same dropout masks and augmentation each call.
      x: floats [B, ...], B >= 2.
      tolerance: change of a logit that counts as rounding, relative to max(1, largest logit).
    Returns:
      None.
    Raises:
      ValueError: the critic mixes images, or is not a fixed function; integer images; a critic that does not return [B]; fewer
        than two images.
    Source: our own: the same images once more; then the first, then the last image is kept and all others are replaced.
    """
    x = images("x", jnp.asarray(x))
    batch = x.shape[0]
    if batch < 2:
        raise ValueError("x: one image cannot show whether images mix; give two or more")
    logits = lambda x: np.asarray(one_logit_an_image(critic(x), x), np.float64)
    before = logits(x)
    relative = lambda after, i: np.max(np.abs(after[i] - before[i])) / max(1.0, np.max(np.abs(before)))
    if relative(logits(x), slice(None)) > tolerance:
        raise ValueError(
            "critic: the same images have other logits at the next call; fix its dropout masks, its augmentation and its state "
            "(of a Flax NNX module d: lambda x: nnx.clone(d)(x))"
        )
    for i in (0, batch - 1):
        others = (0.5 - 0.5 * jnp.roll(x, 1, axis=0)).astype(x.dtype)
        change = relative(logits(others.at[i].set(x[i])), i)
        if not change <= tolerance:
            raise ValueError(
                f"critic: image {i}'s logit moves by {change:.2g} (relative) when the other images change; take batch "
                "norm and minibatch statistics out of the critic that a gradient penalty sees"
            )


def _between(key, real, fake):
    real, fake = same_images(real, fake)
    u = uniform_like(key, real)
    return u * real + (1 - u) * fake


def _squared_norm(x):
    return jnp.sum(jnp.square(x), axis=tuple(range(1, x.ndim)))


def _length(x):
    """Euclidean length of each row, with gradient 0 (not NaN) where it is 0."""
    square = _squared_norm(x)
    zero = square == 0
    return jnp.where(zero, 0.0, jnp.sqrt(jnp.where(zero, 1.0, square)))
