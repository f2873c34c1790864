"""Precision, recall, density and coverage: do generated images lie where real ones do, and vice versa."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.metrics import neighbours
from jaxgan.metrics.contract import Estimate, mean_estimate, rows, two_sets
from jaxgan.typing import AnyArray


class Manifold(NamedTuple):
    """The result of `manifold`."""

    precision: Estimate
    recall: Estimate
    density: Estimate
    coverage: Estimate


def radii(features: AnyArray, ks: tuple[int, ...] = (3, 5)) -> np.ndarray:
    """Distance of each image to its k-th nearest other image, for each k.

    Args:
      features: [n, F], n > max(ks).
      ks: one or more k >= 1.
    Returns:
      float64 [len(ks), n], in units of the features. It depends on nothing else: keep it with the real features.
    Raises:
      UserError: too few images, NaN features. ValueError: a k below 1.
    """
    if min(ks) < 1:
        raise ValueError(f"radii: k = {ks}; give whole numbers from 1")
    x = rows("features", features, max(ks) + 1, f"the neighbour number {max(ks)}")
    distances = neighbours.nearest(x, x, max(ks), skip=np.arange(len(x))).distances
    return np.stack([distances[:, k - 1] for k in ks])


def manifold(
    real: AnyArray,
    fake: AnyArray,
    *,
    ks: tuple[int, int] = (3, 5),
    strict: tuple[bool, bool] = (False, True),
    real_radii: np.ndarray | None = None,
    block: int = neighbours.BLOCK,
) -> Manifold:
    """Precision, recall, density and coverage, in one pass over all pairs.

    Every image has a ball that reaches to its k-th nearest neighbour in its own set.
      precision: share of fakes inside any real ball.      recall: share of reals inside any fake ball.
      density: mean number of real balls a fake is in, / k. coverage: share of real balls that hold a fake.

    Args:
      real, fake: features [n, F] and [m, F], more than max(ks) of each. The values depend on n and m: the balls of more
        images are smaller, so recall falls as m grows beyond n where the fakes vary less than the reals, while coverage
        grows. Compare at equal n and m. Published: 50,000 of each (pr50k3), or 10,000.
      ks: k of precision and recall, k of density and coverage: 3 and 5 as published.
      strict: whether the distance must be strictly below the radius: for precision and recall (published: no), for density
        and coverage (published: yes). It matters only for copies. clovaai's `prdc` is strict for all four.
      real_radii: `radii(real, ks)`, if already computed.
      block: rows at a time; memory besides the features is one float32 copy of them and about 5 block^2 times 4 bytes.
    Returns:
      `Manifold` of (value, standard error of the mean over fakes, or over reals for recall and coverage). The error takes
      the balls as given; over draws of both sets it is up to about twice as large.
    Raises:
      UserError: too few images, NaN features. ValueError: widths, or the shape of `real_radii`, do not fit.
    Source: Kynkaanniemi et al. 2019 (precision, recall), eq. 1 and 2; Naeem et al. 2020 (density, coverage). In both the k
      neighbours do not count the image itself. Distances are exact (see `neighbours`); the official code of the first takes
      float16 ones.
    """
    real, fake = two_sets(real, fake, max(ks) + 1, f"a manifold with k = {max(ks)}")
    real_radii = radii(real, ks) if real_radii is None else np.asarray(real_radii, np.float64)
    if real_radii.shape != (2, len(real)):
        raise ValueError(f"real_radii: {real_radii.shape}; give radii(real, {ks}), [2, {len(real)}]")
    balls = [(real_radii[0], 0, strict[0]), (radii(fake, ks[:1])[0], 1, strict[0]), (real_radii[1], 0, strict[1])]
    owners, held = _inside(real, fake, balls, block)
    return Manifold(
        precision=mean_estimate(owners[0] > 0),
        recall=mean_estimate(held[1]),
        density=mean_estimate(owners[2] / ks[1]),
        coverage=mean_estimate(held[2]),
    )


def _inside(real, fake, balls, block):
    """For each family of balls: the number of reals [m] that each fake is close to, and whether [n] each real is to any.

    A family is (radii, 0 if they belong to the reals or 1 if to the fakes, strict); close is within the radius.
    """
    mid = neighbours.centre(real)
    a, b = neighbours.centred(real, mid), neighbours.centred(fake, mid)
    counts, hits = np.zeros((len(balls), len(fake)), np.int64), np.zeros((len(balls), len(real)), bool)
    for i in range(0, len(real), block):
        part_a = neighbours.part(a, i, block)
        for j in range(0, len(fake), block):
            reach = [r[i : i + block, None] if side == 0 else r[None, j : j + block] for r, side, _ in balls]
            reach2 = tuple((r * r).astype(np.float32) for r in reach)
            count, hit, any_open, is_open = _compare(part_a, neighbours.part(b, j, block), reach2)
            counts[:, j : j + block] += np.asarray(count)
            hits[:, i : i + block] |= np.asarray(hit)
            if any_open:
                _settle(real, fake, balls, np.nonzero(np.asarray(is_open)), (i, j), counts, hits)
    return counts, hits


@jax.jit
def _compare(a, b, reach2):
    """What is sure: counts [Q, m] and hits [Q, n]; and which pairs [Q, n, m] the rounding leaves open."""
    d2, bound = neighbours.squared(a, b)
    sure = jnp.stack([d2 < r2 - bound for r2 in reach2])
    is_open = jnp.stack([abs(d2 - r2) <= bound for r2 in reach2])
    return sure.sum(1), sure.any(2), is_open.any(), is_open


def _settle(real, fake, balls, pairs, start, counts, hits):
    """Adds the open pairs to `counts` and `hits`, by their distance in float64."""
    family, i, j = pairs
    i, j = i + start[0], j + start[1]
    distance = neighbours.measured(real, fake, i, j)
    for q, (r, side, strict) in enumerate(balls):
        reach = r[i if side == 0 else j]
        close = (family == q) & (distance < reach if strict else distance <= reach)
        np.add.at(counts[q], j[close], 1)
        hits[q, i[close]] = True
