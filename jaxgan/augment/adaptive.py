"""How much to augment: the ADA controllers of p, and adaptive pseudo augmentation (APA). Pure functions of logits."""

import jax
import jax.numpy as jnp

from jaxgan.augment.draws import check_images, check_probability, draw, per_image
from jaxgan.checks import image_keys
from jaxgan.typing import AnyArray, Array, ArrayLike, Scalar


def r_t(real_logits: ArrayLike) -> Array:
    """E[sign(D(x))] over training images: 0: no overfitting, 1: complete overfitting. Any shape -> [] float32.

    Source: Karras et al. 2020 (ADA), eq. 1.
    """
    return jnp.mean(jnp.sign(jnp.asarray(real_logits, jnp.float32)))


def r_v(train_logits: ArrayLike, validation_logits: ArrayLike, fake_logits: ArrayLike) -> Array:
    """(E[D_train] - E[D_validation]) / (E[D_train] - E[D_fake]): 0: no overfitting, 1: complete overfitting.

    Needs logits of held-out images. Any shapes -> [] float32; 0 where the discriminator does not tell the training
    images from the fakes.
    Source: Karras et al. 2020 (ADA), eq. 1.
    """
    train, validation, fake = (jnp.mean(jnp.asarray(v, jnp.float32)) for v in (train_logits, validation_logits, fake_logits))
    gap = train - fake
    return jnp.where(gap == 0, 0.0, (train - validation) / jnp.where(gap == 0, 1.0, gap))


def ada_update(p: Scalar, r: Scalar, images: Scalar, *, target: Scalar = 0.6, kimg: Scalar = 500.0) -> Array:
    """The next augmentation probability: p + sign(r - target) * images / (1000 kimg), kept in [0, 1].

    Args:
      p: the current probability, scalar.
      r: the overfitting heuristic averaged since the last update: `r_t` (target 0.6), `r_v` (0.5), `apa_lambda` (0.6).
      images: real images shown to the discriminator since then: the paper updates every 4 minibatches.
      target: the target value of r.
      kimg: thousands of images in which p can go from 0 to 1.
    Returns:
      [] float32. Source: Karras et al. 2020 (ADA), section 3. Deviation: also kept below 1.
    """
    step = jnp.sign(jnp.asarray(r, jnp.float32) - target) * jnp.asarray(images, jnp.float32) / (1000.0 * kimg)
    return jnp.clip(jnp.asarray(p, jnp.float32) + step, 0.0, 1.0)


def apa(key: Array, real: AnyArray, fake: AnyArray, p: Scalar) -> Array:
    """Adaptive pseudo augmentation: each real image is replaced by the fake at its position with probability p.

    Args:
      key: a typed key, or [B] of them, one per image.
      real, fake: [B, H, W, C], of one shape and dtype. No gradient reaches the fakes: they are presented as data.
      p: the deception probability; adapt it by `ada_update` with `apa_lambda`.
    Returns:
      [B, H, W, C], what to present to the discriminator as real.
    Source: Jiang et al. 2021, "Deceive D", eq. 3-4.
    """
    check_images(real)
    if fake.shape != real.shape or fake.dtype != real.dtype:
        raise ValueError(f"apa: real and fake differ: {real.shape} {real.dtype} and {fake.shape} {fake.dtype}")
    (u,) = draw(image_keys(key, real.shape[0]), "apa", 1)
    return jnp.where(per_image(u < check_probability(p)), jax.lax.stop_gradient(fake), real)


def apa_lambda(real_logits: ArrayLike, fake_logits: ArrayLike | None = None, *, which: str = "r") -> Array:
    """APA's overfitting heuristics: E[sign D(x)] ("r"), -E[sign D(G(z))] ("f"), or their mean ("rf"). -> [] float32.

    Source: Jiang et al. 2021, eq. 2; "r", from the reals that are real, is the paper's choice.
    """
    if which not in ("r", "f", "rf"):
        raise ValueError(f'apa_lambda: which must be "r", "f" or "rf", got "{which}"')
    if which != "r" and fake_logits is None:
        raise ValueError(f'apa_lambda: which="{which}" needs fake_logits')
    parts = {"r": lambda: r_t(real_logits), "f": lambda: -r_t(fake_logits)}
    return sum(parts[part]() for part in which) / len(which)
