"""Perceptual path length (PPL): how much images change along a short piece of a path between two latents."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from jaxgan.errors import UserError
from jaxgan.metrics.contract import Estimate, mean_estimate
from jaxgan.resample import in_squares
from jaxgan.typing import AnyArray, Array

EPSILON = 1e-4
"""The length of the piece, as a part of the path."""
SIZE = 256
"""Larger images are averaged over squares, so that the longer side comes near it from above."""
TRIM = 1
"""Per cent of the lengths left out at either end."""


def lengths(
    draw: Callable[[Array], Array],
    far: Callable[[Array, Array], Array],
    start: Array,
    end: Array,
    *,
    space: str,
    epsilon: float = EPSILON,
) -> Array:
    """d(G(start), G(start + a piece towards end)) / epsilon^2, for each pair of latents.

    Args:
      draw: codes [2 B, ...] -> images [2 B, H, W, C]: of the starts, then of what is beside them, in the same order.
      far: (images, images) [B, H, W, C] -> [B], a squared distance, such as LPIPS.
      start, end: codes [B, ...].
      space: 'w': start + epsilon (end - start); 'z': along the great circle, as `walk.great_circle`.
      epsilon: the piece's share of the path.
    Returns:
      [B], float32.
    Raises:
      UserError: another space.
    Source: Karras et al. 2019 (StyleGAN), section 4.1, at the paths' ends (t = 0), as in Karras et al. 2020 (StyleGAN2).
    """
    if space not in ("w", "z"):
        raise UserError(f"space is {space!r}; give 'w' or 'z'")
    beside = (start + epsilon * (end - start)) if space == "w" else _great_circle(start, end, epsilon)
    images = draw(jnp.concatenate([start, beside]))
    images = in_squares(images, max(1, max(images.shape[1:3]) // SIZE)).mean((2, 4))
    return far(images[: len(start)], images[len(start) :]) / epsilon**2


def trimmed(lengths: AnyArray) -> Estimate:
    """The mean of [n] lengths without the lowest and the highest per cent; its standard error from the winsorised variance.

    Source: as `lengths`, the authors' code; the error: Tukey and McLaughlin 1963.
    """
    x = np.sort(np.asarray(lengths, np.float64))
    low, high = np.percentile(x, TRIM, method="lower"), np.percentile(x, 100 - TRIM, method="higher")
    kept = x[(x >= low) & (x <= high)]
    return Estimate(float(kept.mean()), mean_estimate(np.clip(x, low, high)).error * len(x) / len(kept))


def _great_circle(a, b, t):
    """[B, Z]: the direction turns towards b by the share t of the angle, the length changes linearly. Where there is no
    direction to turn to (psi 0, one latent), the length alone changes."""
    norm = lambda v: jnp.linalg.norm(v, axis=1, keepdims=True)
    unit = lambda v: v / jnp.where(norm(v) == 0, 1, norm(v))
    norms = norm(a), norm(b)
    a, b = unit(a), unit(b)
    cosine = (a * b).sum(1, keepdims=True)
    angle = t * jnp.arccos(jnp.clip(cosine, -1, 1))
    turned = jnp.cos(angle) * a + jnp.sin(angle) * unit(b - cosine * a)
    return turned * ((1 - t) * norms[0] + t * norms[1])
