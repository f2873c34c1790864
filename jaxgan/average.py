"""Weight averages: by half-life during training, and of any length after it (post-hoc EMA).

Post-hoc: keep two power-function averages during training (`power_beta` with two relative widths), save both now and
then, and afterwards build the average of any other width at any time as a weighted sum of what was saved
(`posthoc_weights`, `weighted_sum`). All functions are pure.
"""

import itertools
from collections.abc import Iterable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.errors import UserError
from jaxgan.typing import Array, Scalar, Tree


def ema(average: Tree, params: Tree, beta: Scalar) -> Tree:
    """One step of an exponential moving average: average + (1 - beta) (params - average).

    Args:
      average: a tree of arrays or numbers; float and complex leaves keep their dtype (keep it float32 when the parameters are
        bfloat16).
      params: a tree of the same structure and shapes.
      beta: decay, [] in [0, 1]; `schedules.half_life_beta` or `power_beta` give it.
    Returns:
      The new average; exactly `params` at beta 0, exactly `average` at beta 1. Other leaves are those of `params`.
    Raises:
      ValueError: trees of other structures or shapes.
    Source: Karras et al. 2018 (ProGAN), appendix A.1; Yazici et al. 2019.
    """

    def step(a, p):
        if jnp.shape(a) != jnp.shape(p):
            raise ValueError(f"ema: an average of shape {jnp.shape(a)} for parameters {jnp.shape(p)}; give equal trees")
        if not _averaged(a):
            return p
        a, p = jnp.asarray(a), jnp.asarray(p)
        rate = 1 - jnp.asarray(beta, jnp.float64 if a.dtype == jnp.float64 else jnp.float32)
        return jnp.where(rate < 1, a + rate * (p.astype(a.dtype) - a), p.astype(a.dtype)).astype(a.dtype)

    return jax.tree.map(step, average, params)


def power_exponent(width: float) -> float:
    """Exponent of the power function t^g whose relative standard deviation is `width`: solves
    width^2 = (g + 1) / ((g + 2)^2 (g + 3)).

    Args:
      width: sigma_rel, in (0, 0.2887): standard deviation of the profile, as a share of the training so far. 0.10 is
        an average over roughly the last tenth.
    Returns:
      g, a Python float, > 0.
    Raises:
      UserError: a width outside the range.
    Source: Karras et al. 2024 (EDM2), eq. 126.
    """
    if not 0 < width < 12**-0.5:
        raise UserError(f"width: {width} is not a relative width in (0, 0.2887); the usual ones are 0.05 to 0.25")
    t = float(width) ** -2
    return float(np.max(np.real(np.roots([1.0, 7.0, 16.0 - t, 12.0 - t]))))


def power_beta(step: Scalar, width: float) -> Array:
    """Decay of step number `step` that makes `ema` a power-function average: (1 - 1 / step)^(g + 1).

    Args:
      step: number of this step, [] >= 1 (the first is 1, and sets the average to the parameters). Steps of equal size
        are assumed: it is images seen after this step, divided by the batch.
      width: sigma_rel, in (0, 0.2887), a Python float; EDM2 tracks 0.05 and 0.10.
    Returns:
      float32 [], in [0, 1).
    Raises:
      UserError: a width outside the range.
    Source: Karras et al. 2024 (EDM2), eq. 127.
    """
    step = jnp.asarray(step, jnp.float32)
    return jnp.where(step > 1, jnp.exp((power_exponent(width) + 1) * jnp.log1p(-1 / jnp.maximum(step, 2.0))), 0.0)


def posthoc_weights(snapshots: Sequence[tuple[float, float]], time: float, width: float) -> np.ndarray:
    """Weights of saved averages whose sum best approximates the power-function average of another width or time.

    Minimises the integral of (p_wanted - sum_i x_i p_i)^2 over time, p(t) = (g + 1) t^g / T^(g + 1) up to T: A x = b
    with A and b the inner products of the profiles, in float64.

    Args:
      snapshots: list of (time, width) of the saved averages; times in any one unit, > 0.
      time: T of the desired average, the same unit, at most the last snapshot's; best at the time of a snapshot.
      width: sigma_rel of the desired average, in (0, 0.2887).
    Returns:
      float64 [len(snapshots)]; normalised to sum 1, so that constant weights are preserved.
    Raises:
      UserError: no snapshot, two equal ones, a time that is not positive or after the last snapshot, a width out of
        range.
    Source: Karras et al. 2024 (EDM2), eq. 151 and algorithm 3.
    """
    times = np.array([t for t, _ in snapshots], np.float64)
    if not snapshots or len(set(snapshots)) < len(snapshots) or times.min() <= 0:
        raise UserError("snapshots: give the (time, width) of distinct averages, with times above 0")
    if not 0 < time <= times.max():
        raise UserError(f"time: {time} is not in (0, {times.max():g}], the times that the snapshots reach")
    exponents = np.array([power_exponent(w) for _, w in snapshots], np.float64)
    gram = _overlap(times[:, None], exponents[:, None], times[None], exponents[None])
    aim = _overlap(times, exponents, np.float64(time), np.float64(power_exponent(width)))
    scale = np.sqrt(np.diag(gram))  # profiles of unit length: snapshots of very different times stay well conditioned
    weights = np.linalg.lstsq(gram / np.outer(scale, scale), aim / scale, rcond=1e-15)[0] / scale
    return weights / weights.sum()


def weighted_sum(trees: Iterable[Tree], weights: Sequence[float] | np.ndarray) -> Tree:
    """The average that `posthoc_weights` describes: sum_i weights_i trees_i, added in float64.

    Args:
      trees: list of trees of one structure (the saved averages); they may be loaded lazily (any iterable).
      weights: float64, one per tree.
    Returns:
      A tree of NumPy arrays in the dtype of the first tree. Leaves that are no floats (or complex) are the last tree's.
    Raises:
      UserError: not as many trees as weights.
    Source: Karras et al. 2024 (EDM2), section 3.2.
    """
    wide = lambda a: a.astype(np.promote_types(a.dtype, np.float64))  # complex stays complex
    total, wrong = None, UserError(f"trees: give one average for each of the {len(weights)} weights, and at least one")
    for tree, weight in itertools.zip_longest(trees, weights):
        if tree is None or weight is None:
            raise wrong
        tree = jax.tree.map(np.asarray, tree)
        if total is None:
            total, dtypes = jax.tree.map(lambda a: np.float64(0), tree), jax.tree.map(lambda a: a.dtype, tree)
        total = jax.tree.map(lambda t, a, w=weight: t + w * wide(a) if _averaged(a) else a, total, tree)
    if total is None:
        raise wrong
    return jax.tree.map(lambda t, dtype: np.asarray(t).astype(dtype), total, dtypes)


def _averaged(x):
    return jnp.issubdtype(jnp.result_type(x), jnp.inexact)


def _overlap(time_a, g_a, time_b, g_b):
    """Integral of the product of two power-function profiles."""
    ratio = np.minimum(time_a, time_b) / np.maximum(time_a, time_b)
    of_later = np.where(time_a < time_b, g_b, g_a)
    return (g_a + 1) * (g_b + 1) / (g_a + g_b + 1) * ratio**of_later / np.maximum(time_a, time_b)
