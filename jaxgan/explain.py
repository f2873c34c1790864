"""Attributions for a function of images: integrated gradients, and Shapley values of regions. Pure functions of a callable.

The function is `f`: images [B, ...] -> [B], such as a discriminator's logit. Both distribute f(x) - f(baseline) over
pixels or regions, like the gain of a cooperative game over its players (Aumann and Shapley 1974, Shapley 1953). Images must
not influence one another in f; `in_company` turns a function where they do into one where they do not.
"""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.checks import image_keys, images, one_logit_an_image
from jaxgan.typing import AnyArray, Array, ArrayLike, Critic

MOST = 12
"""Maximum number of regions for `shapley_exact`, which calls f on 2^R versions of an image."""


def in_company(judge: Critic, x: Array) -> Critic:
    """Turn a function that mixes the images of a batch into one of each image, with the others fixed.

    f(y)_i = judge(x with image i replaced by y_i)_i: for minibatch standard deviation, which makes a discriminator's logit
    for an image depend on its batch.

    Args:
      judge: images [B, ...] -> [B].
      x: the batch, floats [B, ...].
    Returns:
      images [B, ...] -> [B], at B times the cost.
    """
    place = jnp.arange(x.shape[0])
    one = lambda i, y: judge(x.at[i].set(y))[i]
    return lambda y: jax.vmap(one)(place, y)


def integrated_gradients(f: Critic, x: AnyArray, baseline: ArrayLike, *, steps: int = 64) -> Array:
    """The contribution of each pixel value to f(x) - f(baseline): (x - b) times the mean gradient on the line from b to x.

    The sum over an image is f(x) - f(baseline) (*completeness*) up to the quadrature error, which falls as 1 / steps^2 if f is
    smooth; the mean is taken at the midpoints of `steps` equal intervals.

    Args:
      f: images [B, ...] -> [B]; called `steps` times. Give a jitted f and do not jit this function: the loop is unrolled.
      x: floats [B, ...].
      baseline: the reference image: floats of x's shape, or broadcastable to it.
      steps: at least 1.
    Returns:
      [B, ...], float32, signed.
    Raises:
      ValueError: shapes differ; integer images; f is not [B]; steps < 1.
    Source: Sundararajan et al. 2017, eq. 1 and 3 (there a sum at right endpoints). It is the Aumann-Shapley value, the
      cost shares of a game with infinitely divisible players.
    """
    if steps < 1:
        raise ValueError(f"steps: {steps}; give at least 1")
    x = images("x", x)
    baseline = jnp.broadcast_to(jnp.asarray(baseline, x.dtype), x.shape)
    gradient = jax.grad(lambda y: one_logit_an_image(f(y), y).sum())
    total = jnp.zeros(x.shape, jnp.float32)
    for k in range(steps):
        total += gradient(baseline + ((k + 0.5) / steps) * (x - baseline)).astype(jnp.float32)
    return (x - baseline).astype(jnp.float32) * total / steps


def grid_regions(height: int, width: int, rows: int, columns: int) -> np.ndarray:
    """Regions for `shapley`: int32 [H, W], a grid of rows x columns rectangles of nearly equal size, numbered row by row.

    Raises:
      ValueError: more rows or columns than pixels, or none.
    """
    if not (1 <= rows <= height and 1 <= columns <= width):
        raise ValueError(f"regions: {rows} x {columns} of an image of {height}x{width}; give 1 to {height} and 1 to {width}")
    down, across = np.arange(height) * rows // height, np.arange(width) * columns // width
    return (down[:, None] * columns + across[None, :]).astype(np.int32)


def shapley(
    key: Array, f: Critic, x: AnyArray, baseline: ArrayLike, regions: AnyArray, *, samples: int = 16
) -> tuple[Array, Array]:
    """Shapley values of an image's regions: what a region adds to f, averaged over the orders in which regions are revealed.

    A coalition S of regions is worth f(x inside S, baseline elsewhere). Orders are drawn in pairs, one and its reverse, which
    is exact for pairwise interactions and has less variance than two independent orders. The values of an image sum to
    f(x) - f(baseline) whatever the number of samples.

    Args:
      key: one key [], or one per image [B]; image i's orders are drawn from its own.
      f: images [B, H, W, C] -> [B]; R + 1 times B images at once, 2 * samples times. Not for inside jit.
      x: floats [B, H, W, C].
      baseline: what is shown instead of a region: of x's shape, or broadcastable to it.
      regions: int [H, W], numbers 0 to R - 1, the same for all images (`grid_regions`, superpixels).
      samples: pairs of orders, at least 2.
    Returns:
      Values [B, R], float32, and their standard errors [B, R] over the pairs.
    Raises:
      ValueError: shapes differ; integer images; regions not numbered 0 to R - 1; f is not [B]; samples < 2.
    Source: Shapley 1953; Castro et al. 2009 (sampling of orders); reversed orders: Mitchell et al. 2022.
    """
    if samples < 2:
        raise ValueError(f"samples: {samples}; give at least 2; the errors come from their spread")
    keys = image_keys(key, x.shape[0])
    count, worth = _game(f, x, baseline, regions)

    @jax.jit
    def pair(s):
        order = jax.vmap(lambda k: jax.random.permutation(jax.random.fold_in(k, s), count))(keys)
        return (_gains(worth, order) + _gains(worth, order[:, ::-1])) / 2

    gains = jnp.stack([pair(s) for s in range(samples)])
    return gains.mean(0), gains.std(0, ddof=1) / math.sqrt(samples)


def shapley_exact(f: Critic, x: AnyArray, baseline: ArrayLike, regions: AnyArray) -> Array:
    """`shapley` by enumeration of all 2^R coalitions, for R up to `MOST`.

    v_r = sum over S without r of |S|! (R - |S| - 1)! / R! (f(S and r) - f(S)).

    Args:
      f, x, baseline, regions: as `shapley`.
    Returns:
      Values [B, R], float32.
    Raises:
      ValueError: what `shapley` refuses; more than `MOST` regions.
    Source: Shapley 1953.
    """
    count, worth = _game(f, x, baseline, regions)
    if count > MOST:
        raise ValueError(f"regions: {count}; enumeration takes at most {MOST}; sample the orders instead")
    shown = np.array(list(itertools.product((0, 1), repeat=count)), bool)  # row n is n in binary, region 0 first
    worths = jax.jit(worth)(jnp.broadcast_to(shown[:, None], (len(shown), x.shape[0], count)))
    size = shown.sum(1)
    before = np.array([math.factorial(s) * math.factorial(max(count - s - 1, 0)) / math.factorial(count) for s in size])
    after = np.array([math.factorial(max(s - 1, 0)) * math.factorial(count - s) / math.factorial(count) for s in size])
    weights = np.where(shown, after[:, None], -before[:, None])
    return jnp.einsum("sr,sb->br", jnp.asarray(weights, worths.dtype), worths, precision="highest")


def _game(f, x, baseline, regions):
    """How many players, and shown [S, B, R] -> worth [S, B]."""
    x = images("x", x)
    baseline = jnp.broadcast_to(jnp.asarray(baseline, x.dtype), x.shape)
    regions = np.asarray(regions)
    regions = regions.astype(np.int32) if regions.dtype == bool else regions  # a mask has two
    numbers = np.unique(regions)
    if (
        x.ndim != 4
        or regions.dtype.kind not in "iu"
        or regions.shape != x.shape[1:3]
        or not np.array_equal(numbers, np.arange(len(numbers)))
    ):
        raise ValueError(f"regions: {regions.shape} for images {x.shape}; give integers [H, W], 0 to R - 1 without a gap")

    def worth(shown):
        return one_logit_an_image(f(jnp.where(shown[:, regions][..., None], x, baseline)), x)

    return len(numbers), jax.vmap(worth)


def _gains(worth, order):
    """What each region adds when regions are shown in an order: [B, R] -> [B, R], by region."""
    batch, count = order.shape
    rank = jnp.argsort(order, axis=1)  # region -> its place
    shown = rank[None] < jnp.arange(count + 1)[:, None, None]
    steps = jnp.diff(worth(shown), axis=0)  # [R, B], by place
    return jnp.take_along_axis(steps.T, rank, axis=1)
