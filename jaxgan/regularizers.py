"""Penalties that are not a gradient of the critic: path length, LeCam, consistency, orthogonal kernels.

The same conventions as in `penalties`, which re-exports them: unreduced [B], no weight included, `key` first.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxgan.checks import floats, images, normal_like, one_logit_an_image, pair, same_images
from jaxgan.typing import AnyArray, Array, ArrayLike, Critic, Scalar, Tree


def path_length(
    key: Array,
    synthesis: Callable[[Array], Array],
    w: AnyArray,
    pl_mean: Scalar,
    *,
    decay: Scalar = 0.01,
    mean: Callable[[Array], Array] = jnp.mean,
) -> tuple[Array, Array]:
    """StyleGAN2's path length: a step in w should change the image by a constant amount: (||J^T y|| - a)^2.

    J = d synthesis(w) / d w, y ~ N(0, I) / sqrt(H W) shaped like the images, a the running mean of the lengths.

    Args:
      key: one key [], or one per image [B].
      synthesis: latents -> images [B, H, W, C]; images must not influence one another.
      w: latents [B, W], or one per layer [B, L, W], whose squared lengths are averaged over the layers; float.
      pl_mean: a, float32 []; start at 0.
      decay: weight of the new mean in the running mean.
      mean: lengths [B] -> []; give `lambda x: jax.lax.pmean(x.mean(), axis)` for the mean over all devices.
    Returns:
      The penalty [B], float32, weight 2 in the paper's code; and the new pl_mean [], without gradient.
    Raises:
      ValueError: w or images that are not floats, without [B, W] or [B, L, W]; a key that is not typed.
    Source: Karras et al. 2020 (StyleGAN2), eq. 4. The penalty uses the running mean after its update, as in the
      official code; there a fraction `decay` of the gradient also flows through that mean, here none does (in the paper it
      is a constant).
    """
    if w.ndim not in (2, 3) or not jnp.issubdtype(w.dtype, jnp.floating):
        raise ValueError(f"w: {w.dtype} {w.shape}; give floats [B, W] or [B, L, W]")
    x, pull = jax.vjp(synthesis, w)
    pixels = math.prod(x.shape[1:-1])
    (gradient,) = pull(normal_like(key, images("synthesis", x)) / jnp.asarray(pixels**0.5, x.dtype))
    square = jnp.sum(jnp.square(floats("gradient", gradient)), axis=-1)
    square = square.mean(1) if w.ndim == 3 else square
    zero = square == 0
    lengths = jnp.where(zero, 0.0, jnp.sqrt(jnp.where(zero, 1.0, square)))
    new = jax.lax.stop_gradient(pl_mean + decay * (mean(lengths) - pl_mean))
    return jnp.square(lengths - new), new


def lecam(
    real_logits: ArrayLike,
    fake_logits: ArrayLike,
    ema: tuple[Scalar, Scalar],
    *,
    decay: Scalar = 0.99,
    one_sided: bool = False,
    mean: Callable[[Array], Array] = jnp.mean,
) -> tuple[Array, tuple[Array, Array]]:
    """LeCam: D's outputs should stay near the running mean of the other kind (real or fake): (real - a_f)^2 + (fake - a_r)^2.

    Args:
      real_logits: any shape, float.
      fake_logits: the same shape.
      ema: (a_r, a_f), running means of the real and of the fake logits, float32 []; start at (0, 0).
      decay: decay of the running means.
      one_sided: square max(0, real - a_f) and max(0, a_r - fake) instead, as the official code does.
      mean: logits -> []; give `lambda x: jax.lax.pmean(jnp.mean(x), axis)` for the mean over all devices.
    Returns:
      The penalty, float32, the shape of the logits (weights of the authors' code on CIFAR: 0.3 for BigGAN, 1e-6 for
      StyleGAN2); and the new (a_r, a_f), without gradient.
    Raises:
      ValueError: shapes differ, logits are not floats, or `ema` is not two numbers.
    Source: Tseng et al. 2021, section 3.2. The means are updated before they are used, as in the official code; which
      enables the penalty after 1,000 steps (or corrects the means' initial bias): give the weight a schedule.
    """
    real, fake = pair(real_logits, fake_logits)
    if not hasattr(ema, "__len__") or len(ema) != 2:
        raise ValueError(f"ema: {ema!r:.60}; give the means of the real and of the fake logits, at first (0.0, 0.0)")
    step = lambda old, x: jax.lax.stop_gradient(decay * old + (1 - decay) * mean(x))
    a_r, a_f = step(ema[0], real), step(ema[1], fake)
    far, near = real - a_f, a_r - fake
    if one_sided:
        far, near = jax.nn.relu(far), jax.nn.relu(near)
    return jnp.square(far) + jnp.square(near), (a_r, a_f)


def cr(key: Array, critic: Critic, x: AnyArray, *, augment: Callable[[Array, Array], Array]) -> Array:
    """Consistency: D should give an image and its augmentation the same logit: (critic(x) - critic(T(x)))^2.

    Args:
      key: passed to `augment`: one key [], or one per image [B].
      critic: images [B, ...] -> logits [B].
      x: floats [B, ...]; the paper penalises real images only.
      augment: (key, x) -> x of the same shape, such as a function of `augment` with its p bound.
    Returns:
      [B], float32. The paper's weight is 10.
    Raises:
      ValueError: integer images; a critic that does not return [B]; an augmentation that changes the shape.
    Source: Zhang et al. 2020 (CR-GAN), on D's last layer.
    """
    x = images("x", x)
    moved = augment(key, x)
    if jnp.shape(moved) != x.shape:
        raise ValueError(f"augment: it changed the images' shape from {x.shape} to {jnp.shape(moved)}")
    return jnp.square(one_logit_an_image(critic(x), x) - one_logit_an_image(critic(moved), x))


def bcr(
    key: Array,
    critic: Critic,
    real: AnyArray,
    fake: AnyArray,
    *,
    augment: Callable[[Array, Array], Array],
    real_weight: Scalar = 10.0,
    fake_weight: Scalar = 10.0,
) -> Array:
    """Balanced consistency: `cr` on both real and fake images: w_r (D(x) - D(T(x)))^2 + w_f (D(G(z)) - D(T(G(z))))^2.

    Args:
      key: one key [], or one per image [B]; image i of both kinds is augmented with the same key.
      critic: images [B, ...] -> logits [B].
      real: floats [B, ...].
      fake: the same shape; stop their gradient if it must not reach the generator.
      augment: (key, x) -> x of the same shape.
      real_weight: w_r.
      fake_weight: w_f.
    Returns:
      [B], float32, weights included.
    Raises:
      ValueError: shapes differ (also by `augment`); integer images; a critic that does not return [B].
    Source: Zhao et al. 2021 (ICR-GAN), algorithm 1, its weights.
    """
    real, fake = same_images(real, fake)
    return real_weight * cr(key, critic, real, augment=augment) + fake_weight * cr(key, critic, fake, augment=augment)


def zcr_d(key: Array, critic: Critic, synthesis: Callable[[Array], Array], z: ArrayLike, *, sigma: Scalar = 0.03) -> Array:
    """Latent consistency for D: it should be insensitive to a small step in z: (D(G(z)) - D(G(z + e)))^2, e ~ N(0, sigma^2 I).

    Args:
      key: one key [], or one per image [B].
      critic: images [B, ...] -> logits [B].
      synthesis: z [B, Z] -> images [B, ...].
      z: floats [B, Z].
      sigma: standard deviation of the step, in units of z.
    Returns:
      [B], float32. The paper's weight is 5.
    Raises:
      ValueError: z that is not floats; a critic that does not return [B]; a key that is not typed.
    Source: Zhao et al. 2021 (ICR-GAN), algorithm 2.
    """
    x, moved = _two_images(key, synthesis, z, sigma)
    return jnp.square(one_logit_an_image(critic(x), x) - one_logit_an_image(critic(moved), x))


def zcr_g(key: Array, synthesis: Callable[[Array], Array], z: ArrayLike, *, sigma: Scalar = 0.03) -> Array:
    """Latent consistency for G: a step in z should change the image: -mean (G(z) - G(z + e))^2, e ~ N(0, sigma^2 I).

    Args:
      key: one key [], or one per image [B]; the key of `zcr_d` gives the same step.
      synthesis: z [B, Z] -> images [B, ...].
      z: floats [B, Z].
      sigma: standard deviation of the step, in units of z.
    Returns:
      [B], float32, <= 0: the mean over pixels and channels. The paper's weight is 0.5.
    Raises:
      ValueError: z that is not floats; a key that is not typed.
    Source: Zhao et al. 2021 (ICR-GAN), algorithm 2. The paper has a squared norm; the mean over pixels makes
      its weight independent of the resolution.
    """
    x, moved = _two_images(key, synthesis, z, sigma)
    change = floats("images", x) - floats("images", moved)
    return -jnp.mean(jnp.square(change), axis=tuple(range(1, x.ndim)))


def orthogonal(params: Tree, *, diagonal: bool = False) -> Array:
    """Columns of every kernel should be orthogonal: sum over kernels ||W^T W o (1 - I)||^2 (Frobenius).

    Args:
      params: a tree; kernels are its leaves of two or more axes, output features last, flattened to [in, out]. Other
        leaves are ignored: pass only what should be orthogonal (not embeddings).
      diagonal: also require unit length: ||W^T W - I||^2, the older form.
    Returns:
      [], float32: it depends on the weights, not on an image. BigGAN's weight is 1e-4.
    Raises:
      ValueError: a kernel that is not of floats; no kernel in the tree.
    Source: Brock et al. 2019 (BigGAN), eq. 3; with `diagonal` eq. 2 (Brock et al. 2017).
    """
    kernels = [floats("kernel", leaf) for leaf in jax.tree.leaves(params) if jnp.ndim(leaf) >= 2]
    if not kernels:
        raise ValueError("params: no leaf has two or more axes; pass the tree that holds the kernels")
    return sum(_gram_error(kernel.reshape(-1, kernel.shape[-1]), diagonal) for kernel in kernels)


def _gram_error(w, diagonal):
    gram = jnp.einsum("io,ip->op", w, w, precision="highest")
    eye = jnp.eye(w.shape[1], dtype=w.dtype)
    return jnp.sum(jnp.square(gram - eye if diagonal else gram * (1 - eye)))


def _two_images(key, synthesis, z, sigma):
    if not jnp.issubdtype(jnp.result_type(z), jnp.floating) or jnp.ndim(z) < 2:
        raise ValueError(f"z: {jnp.result_type(z)} {jnp.shape(z)}; give floats [B, Z]")
    z = jnp.asarray(z)
    return synthesis(z), synthesis(z + sigma * normal_like(key, z))
