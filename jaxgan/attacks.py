"""Adversarial examples: small changes of an image that maximise a loss. Pure functions of a callable loss.

The target is any `loss_fn`: images [B, ...] -> [B], to be maximised: -D(x) makes real images look generated, D(x) makes fakes
look real, a cross-entropy changes the class. Images must not influence one another inside it (no batch norm).
"""

import jax
import jax.numpy as jnp

from jaxgan.checks import image_keys, images, one_logit_an_image
from jaxgan.typing import AnyArray, Array, Critic, Scalar

NORMS = ("linf", "l2")
"""The balls: each pixel value changes by at most eps; or the whole image by that Euclidean norm."""


def fgsm(loss_fn: Critic, x: AnyArray, *, eps: Scalar, norm: str = "linf", low: float = -1.0, high: float = 1.0) -> Array:
    """The fast gradient sign method: x + eps sign(d loss / d x), clipped to the images' range; with l2 x + eps g / ||g||.

    Args:
      loss_fn: images [B, ...] -> [B], to be maximised.
      x: floats [B, ...] in [low, high].
      eps: size of the change, >= 0, in units of the images; may be traced.
      norm: of `NORMS`.
      low, high: the range that the result stays in.
    Returns:
      [B, ...] in x's dtype, without gradient.
    Raises:
      ValueError: integer images; a loss that is not [B]; an unknown norm.
    Source: Goodfellow et al. 2015, section 4; l2 is the same step in the l2 ball.
    """
    return pgd(None, loss_fn, x, eps=eps, step=eps, steps=1, norm=norm, low=low, high=high)


def pgd(
    key: Array | None,
    loss_fn: Critic,
    x: AnyArray,
    *,
    eps: Scalar,
    step: Scalar,
    steps: int,
    norm: str = "linf",
    low: float = -1.0,
    high: float = 1.0,
) -> Array:
    """Projected gradient descent on -loss: ascent steps, each projected back into the ball around x and into the range.

    y <- P(y + step sign(g)) for linf, P(y + step g / ||g||) for l2, g = d loss(y) / d y; P projects onto the ball of radius eps,
    then clips to [low, high], which cannot leave the ball because x itself is in the range. This holds up to the rounding of x's
    dtype: attack in float32.

    Args:
      key: one key [], or one per image [B]: it starts at a uniform point of the ball, image i's drawn from its own key.
        None starts at x.
      loss_fn: images [B, ...] -> [B], to be maximised; called `steps` times. The steps are unrolled, because on a CPU
        convolutions in loops are slow: for many steps, give a jitted loss_fn and do not jit this function.
      x: floats [B, ...] in [low, high].
      eps: radius of the ball, >= 0, in units of the images. step: length of a step in the same norm. Both may be traced.
      steps: number of steps, static, at least 1. 2.5 eps / steps is a usual step.
      norm: of `NORMS`.
      low, high: the range that the result stays in.
    Returns:
      [B, ...] in x's dtype, the last point, without gradient.
    Raises:
      ValueError: integer images; a loss that is not [B]; an unknown norm; steps < 1; a key that is not typed.
    Source: Madry et al. 2018, section 2.1 (linf); in l2 the step is the steepest of that norm, along the gradient.
    """
    if norm not in NORMS:
        raise ValueError(f"norm: {norm!r}; give one of {', '.join(NORMS)}")
    if steps < 1:
        raise ValueError(f"steps: {steps}; give at least 1")
    x = jax.lax.stop_gradient(images("x", x))
    size = jnp.asarray(eps, x.dtype)
    gradient = jax.grad(lambda y: one_logit_an_image(loss_fn(y), y).sum())
    uphill, project = (jnp.sign, _to_cube) if norm == "linf" else (_direction, _to_sphere)
    inside = lambda y: jnp.clip(x + project(y - x, size), low, high)
    y = x if key is None else inside(x + size * _start(key, x, norm))
    for _ in range(steps):
        y = inside(y + jnp.asarray(step, x.dtype) * uphill(gradient(y).astype(x.dtype)))
    return jax.lax.stop_gradient(y)


def _to_cube(change, eps):
    return jnp.clip(change, -eps, eps)


def _to_sphere(change, eps):
    length = _length(change)
    return change * jnp.where(length > eps, eps / jnp.where(length > eps, length, 1.0), 1.0)


def _direction(gradient):
    """Of length 1, image by image; 0 where the gradient is 0."""
    length = _length(gradient)
    return gradient / jnp.where(length > 0, length, 1.0)


def _length(x):
    """[B, 1, ...]. The largest element is divided out first: squares of gradients may underflow."""
    axes = tuple(range(1, x.ndim))
    top = jnp.max(jnp.abs(x), axis=axes, keepdims=True)
    unit = x / jnp.where(top > 0, top, 1.0)
    return top * jnp.sqrt(jnp.sum(jnp.square(unit), axis=axes, keepdims=True))


def _start(key, x, norm):
    """Uniform in the unit ball, [B, ...]."""

    def draw(k):
        if norm == "linf":
            return jax.random.uniform(k, x.shape[1:], jnp.float32, -1.0, 1.0)
        direction, radius = jax.random.split(k)
        point = _direction(jax.random.normal(direction, (1, *x.shape[1:]), jnp.float32))[0]
        return point * jax.random.uniform(radius, (), jnp.float32) ** (1 / point.size)

    return jax.vmap(draw)(image_keys(key, x.shape[0])).astype(x.dtype)
