"""Losses for class-conditional discriminators: AC-GAN, ReACGAN's D2D-CE, the multi-class hinge; and InfoGAN's, whose
classes are codes. All return [B]."""

import math

import jax
import jax.numpy as jnp

from jaxgan.checks import above_0, fake_alone, floats, labels_of, pair
from jaxgan.typing import Array, ArrayLike, Scalar


def class_cross_entropy(class_logits: ArrayLike, labels: ArrayLike) -> Array:
    """Cross-entropy of one set of images: -log softmax(class_logits)[label].

    Args:
      class_logits: [B, K], float, of D's class head.
      labels: [B], integers in [0, K). One outside gives NaN.
    Returns:
      [B], float32, >= 0.
    Raises:
      ValueError: shapes do not fit, float labels or integer logits.
    Source: Odena et al. 2017, eq. 3, one of its two terms, negated.
    """
    logits = _matrix("class_logits", floats("class_logits", class_logits))
    return jax.nn.logsumexp(logits, axis=1) - _pick(logits, labels, logits.shape[1])


def ac_gan_d(
    real_classes: ArrayLike, fake_classes: ArrayLike, labels: ArrayLike, *, fake_labels: ArrayLike | None = None
) -> Array:
    """The class term of AC-GAN's discriminator: cross-entropy of real and fake images. Add the source term.

    -log P(C = c | real) - log P(C = c | fake).

    Args:
      real_classes: class logits of real images [B, K], float.
      fake_classes: class logits of fakes [B, K], float.
      labels: classes of the real images [B], integers in [0, K).
      fake_labels: classes the fakes were conditioned on [B]; None if the same labels were used.
    Returns:
      [B], float32, >= 0.
    Raises:
      ValueError: shapes differ, float labels or integer logits.
    Source: Odena et al. 2017, eq. 3, negated. Without the fake term (as in several implementations) it is
      `class_cross_entropy(real_classes, labels)`.
    """
    real, fake = pair(real_classes, fake_classes, "classes")
    made_for = labels if fake_labels is None else fake_labels
    return class_cross_entropy(real, labels) + class_cross_entropy(fake, made_for)


def ac_gan_g(real_classes: ArrayLike | None, fake_classes: ArrayLike, labels: ArrayLike) -> Array:
    """The class term of AC-GAN's generator: -log P(C = c | fake). Add the source term.

    Args:
      real_classes: unused; may be None.
      fake_classes: class logits of fakes [B, K], float.
      labels: classes the fakes were conditioned on [B], integers in [0, K).
    Returns:
      [B], float32, >= 0.
    Raises:
      ValueError: shapes differ, float labels or integer logits.
    Source: Odena et al. 2017, eq. 3, negated; the term of the real images does not depend on G.
    """
    return class_cross_entropy(fake_alone(real_classes, fake_classes), labels)


def gaussian_code(means: ArrayLike, codes: ArrayLike) -> Array:
    """InfoGAN's loss for continuous codes: -log N(code; mean, 1), added over the codes of an image.

    Sum over codes of (code - mean)^2 / 2 + log(2 pi) / 2. With `class_cross_entropy` of the categorical code it is
    -E log Q(c | x), the bound on the mutual information of codes and image up to the codes' own entropy, a constant.

    Args:
      means: [B, m], float, Q's reading of the images.
      codes: [B, m], float, those that the images were made from.
    Returns:
      [B], float32, at least m log(2 pi) / 2.
    Raises:
      ValueError: shapes differ, or integers.
    Source: Chen et al. 2016, eq. 5 and 6; the variance is fixed at 1, as in the authors' code for MNIST (a learned one is their
      default elsewhere). Both players minimise it.
    """
    means, codes = floats("means", means), floats("codes", codes)
    if _matrix("means", means).shape != codes.shape:
        raise ValueError(f"means {means.shape} and codes {codes.shape} differ in shape; give a mean for each code, [B, m]")
    return jnp.sum(jnp.square(codes - means) / 2 + math.log(2 * math.pi) / 2, axis=1)


def d2d_ce(
    embeddings: ArrayLike,
    proxies: ArrayLike,
    labels: ArrayLike,
    *,
    temperature: Scalar = 0.5,
    m_p: Scalar = 0.98,
    m_n: Scalar = 0.02,
) -> Array:
    """Data-to-data cross-entropy: pull an image towards its class's proxy, push it away from images of other classes.

    -log(e^a / (e^a + sum_{j: c_j != c_i} e^n_ij)), a = min(0, f_i.v - m_p) / t, n_ij = max(0, f_i.f_j - m_n) / t, f
    and v of length 1.

    Args:
      embeddings: D's features f [B, E], float, of any norm: they are normalised here. Of reals for D, of fakes for G.
      proxies: one vector v per class [K, E], float, learned with D; normalised here.
      labels: [B], integers in [0, K). One outside gives NaN.
      temperature: t, > 0.
      m_p: margin of the positive, as a cosine; closer pairs are not pulled.
      m_n: margin of the negatives, as a cosine; pairs further apart are not pushed.
    Returns:
      [B], float32, >= 0; 0 if the batch has no image of another class.
    Raises:
      ValueError: shapes do not fit, float labels or integer embeddings.
    Source: Kang et al. 2021 (ReACGAN), section 3, with the official code's margins, m_n = 1 - m_p. (That code also
      shifts only the negatives by their largest value "for stability", which changes the loss; we do not.)
    """
    above_0("temperature", temperature)
    f = _unit(_matrix("embeddings", floats("embeddings", embeddings)))
    v = _unit(_matrix("proxies", floats("proxies", proxies)))
    if f.shape[1] != v.shape[1]:
        raise ValueError(f"proxies: shape {v.shape} does not fit embeddings {f.shape}; give [K, {f.shape[1]}]")
    labels = labels_of(labels, f.shape[0], v.shape[0])
    known = (labels >= 0) & (labels < v.shape[0])  # `take` alone counts negative ones from the end
    own = jnp.where(known[:, None], jnp.take(v, labels, axis=0, mode="clip"), jnp.nan)
    near = jnp.minimum(0.0, jnp.sum(f * own, axis=1) - m_p) / temperature
    cosine = jnp.einsum("ie,je->ij", f, f, precision="highest")
    away = jnp.maximum(0.0, cosine - m_n) / temperature
    away = jnp.where(labels[:, None] != labels[None], away, jnp.finfo(away.dtype).min)  # -inf would stop jax_debug_infs
    return jax.nn.logsumexp(jnp.concatenate([near[:, None], away], axis=1), axis=1) - near


def multi_hinge_d(real_logits: ArrayLike, fake_logits: ArrayLike, labels: ArrayLike) -> Array:
    """Multi-class hinge: D has K + 1 outputs, the last for "fake"; each image's class should exceed the others by 1.

    max(0, 1 - C_y(x) + max_{k != y} C_k(x)) + max(0, 1 - C_K(G(z)) + max_{k != K} C_k(G(z))).

    Args:
      real_logits: [B, K + 1], float.
      fake_logits: the same shape.
      labels: classes of the real images [B], integers in [0, K). One outside gives NaN.
    Returns:
      [B], float32, >= 0.
    Raises:
      ValueError: shapes differ, float labels or integer logits.
    Source: Kavalerov et al. 2021 (MHingeGAN), after Crammer and Singer 2001.
    """
    real, fake = pair(real_logits, fake_logits)
    k = fake.shape[-1] - 1
    return _lead(real, labels, k) + _lead(fake, jnp.full(fake.shape[:1], k), k + 1)


def multi_hinge_g(real_logits: ArrayLike | None, fake_logits: ArrayLike, labels: ArrayLike) -> Array:
    """Multi-class hinge, generator: the output of the class that the fake was conditioned on should exceed the others by 1.

    max(0, 1 - C_y(G(z)) + max_{k != y} C_k(G(z))).

    Args:
      real_logits: unused; may be None.
      fake_logits: [B, K + 1], float.
      labels: classes the fakes were conditioned on [B], integers in [0, K).
    Returns:
      [B], float32, >= 0.
    Raises:
      ValueError: shapes differ, float labels or integer logits.
    Source: Kavalerov et al. 2021 (MHingeGAN), which adds feature matching (`feature_matching`).
    """
    fake = fake_alone(real_logits, fake_logits)
    return _lead(fake, labels, fake.shape[-1] - 1)


def _lead(logits, labels, classes):
    """Hinge [B] of how far each image's own output leads the others; NaN for labels outside [0, classes)."""
    if _matrix("logits", logits).shape[1] < 2:
        raise ValueError(f"logits: shape {logits.shape}; the multi-class hinge needs [B, K + 1], the last for fakes")
    labels = labels_of(labels, logits.shape[0], classes)
    own = _pick(logits, labels, classes)
    mine = jnp.arange(logits.shape[1], dtype=labels.dtype)[None] == labels[:, None]
    return jax.nn.relu(1 - own + jnp.max(jnp.where(mine, jnp.finfo(logits.dtype).min, logits), axis=1))


def _pick(logits, labels, classes):
    """logits[i, labels[i]], NaN where the label is not in [0, classes)."""
    labels = labels_of(labels, logits.shape[0], classes)
    known = (labels >= 0) & (labels < classes)
    value = jnp.take_along_axis(logits, jnp.where(known, labels, 0)[:, None], axis=1)[:, 0]
    return jnp.where(known, value, jnp.nan)


def _matrix(name, x):
    if x.ndim != 2:
        raise ValueError(f"{name}: shape {x.shape}; give two axes, one row per image")
    return x


def _unit(x):
    """Rows of length 1; a row of zeros stays zero and has finite gradients."""
    return x * jax.lax.rsqrt(jnp.maximum(jnp.sum(jnp.square(x), axis=1, keepdims=True), 1e-16))
