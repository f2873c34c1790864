"""Does the generator copy its training images, and does a score such as D's tell which they were? Metrics of nearest neighbours
and of ranks, and the rows for a picture of copies."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from jaxgan.errors import UserError
from jaxgan.metrics import neighbours
from jaxgan.metrics.contract import Estimate, mean_estimate, rows
from jaxgan.typing import AnyArray

MOST = 5000
"""Number of training images that are left out in turn, to say how authentic fresh real images are."""


class Authenticity(NamedTuple):
    """The result of `authenticity`."""

    share: Estimate  # of generated images that are not too close to a training image
    ratios: np.ndarray  # [n] float64; below 1: closer to its training image than that image's nearest fellow; 0: a copy
    indices: np.ndarray  # [n, k] the nearest training images, nearest first
    distances: np.ndarray  # [n, k] to them
    fresh: Estimate  # the share of real images that were not trained on: of training images, each compared with all others


class Copying(NamedTuple):
    """The result of `data_copying`."""

    score: float  # C_T: far below 0, copies; near 0, like fresh real images; far above 0, further away than those
    p_value: float  # of a score as low as this, were the generated images fresh real ones
    share: float  # of the held-out images that lie in the cells compared
    cells: np.ndarray  # [cells] z-score of each cell; NaN where too few images fall in it


class Membership(NamedTuple):
    """The result of `membership`."""

    auc: Estimate  # P(score of a training image > that of another); 0.5: the score tells nothing
    caught: Estimate  # share of the training images above what at most the share `false` of the others exceeds


def authenticity(train: AnyArray, fake: AnyArray, *, k: int = 1) -> Authenticity:
    """Fraction of generated images further from their nearest training image than that image is from the other ones.

    ratio_j = |fake_j - t| / |t - t'|, t nearest to fake_j in the training set, t' nearest to t there; share = mean(ratio > 1).

    Args:
      train: features [N, F] of *all* training images, N >= 2. fake: [n, F].
      k: neighbours to return, for the picture; the metric itself needs one.
    Returns:
      `Authenticity`; shares with standard errors over images. Compare the two: fresh real images do not score 1 but, for
      normal features, 0.4 in 2 dimensions, 0.7 in 16 and 0.9 in 1,000.
    Raises:
      UserError: too few images, NaN features. ValueError: widths differ.
    Source: Alaa et al. 2022 (authenticity), as counted by dgm-eval; `fresh` is ours. A copy of an image that is in the training
      set twice counts as a copy (0/0), what is nearly one does not.
    """
    train, fake = rows("training features", train, max(k, 2), "authenticity"), rows("fake features", fake, 1, "authenticity")
    near, left_out = neighbours.nearest(train, fake, k), np.random.RandomState(0).permutation(len(train))[:MOST]
    ratios, own = _ratios(train, near), _ratios(train, neighbours.nearest(train, train[left_out], 1, skip=left_out))
    return Authenticity(mean_estimate(ratios > 1), ratios, near.indices, near.distances, mean_estimate(own > 1))


def _ratios(train, near: neighbours.Nearest):
    """[n]: the distance to the nearest training image over that image's to its nearest fellow; 0 of a copy. (A training image
    that was left out may be that fellow: then the ratio is 1 instead of less, which counts alike.)"""
    owners, where = np.unique(near.indices[:, 0], return_inverse=True)
    fellow, first = neighbours.nearest(train, train[owners], 1, skip=owners).distances[where, 0], near.distances[:, 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(first == 0, 0.0, first / fellow)


def data_copying(
    train: AnyArray, held_out: AnyArray, fake: AnyArray, *, cells: int = 3, least: int = 20, seed: int = 0
) -> Copying:
    """C_T: are generated images closer to the training images than held-out real images are?

    In each cell of a partition of feature space, z is the Mann-Whitney score of d(fake) against d(held out), d the
    distance to the nearest training image; C_T = sum_c w_c z_c, w_c the share of held-out images in cell c, over the
    cells that hold at least `least` fakes (and one held-out image).

    Args:
      train: features [N, F] of the training images. held_out: [n, F] real images that were not trained on.
      fake: [m, F] generated images.
      cells: k-means clusters of the training features; 1 compares everything at once.
      least: generated images that a cell needs.
      seed: of the first cluster centres.
    Returns:
      `Copying`. p_value = Phi(C_T / sqrt(sum_c w_c^2)); C_T below -3 is the paper's criterion for copying.
    Raises:
      UserError: fewer than `least` images somewhere, or in every cell; NaN features. ValueError: widths differ.
    Source: Meehan, Chaudhuri and Dasgupta 2020 (C_T). Deviations: no continuity correction (their code has 1/2);
      ties enter the variance; d is to all training images, as in the text (their code: to those of the cell); the p-value
      is ours. dgm-eval reduces features to 64 principal components first and takes 3 cells, least 20.
    """
    train = rows("training features", train, max(least, cells), f"a partition in {cells} cells")
    held_out = rows("held-out features", held_out, least, "the test of data copying")
    fake = rows("fake features", fake, least, "the test of data copying")
    centres = _centres(train, cells, seed)
    d_real, d_fake = (neighbours.nearest(train, x, 1).distances[:, 0] for x in (held_out, fake))
    in_real, in_fake = (neighbours.nearest(centres, x, 1).indices[:, 0] for x in (held_out, fake))
    z, weight = np.full(len(centres), np.nan), np.bincount(in_real, minlength=len(centres)) / len(held_out)
    for c in range(len(centres)):
        if weight[c] and np.count_nonzero(in_fake == c) >= least:
            z[c] = mann_whitney(d_fake[in_fake == c], d_real[in_real == c])
    used = ~np.isnan(z)
    if not used.any():
        raise UserError(
            f"data copying: none of {cells} cells holds {least} of the {len(fake)} generated images and a held-out one; "
            "generate more, or take fewer cells"
        )
    w = weight[used] / weight[used].sum()
    score = float(w @ z[used])
    p_value = 0.5 * math.erfc(-score / math.sqrt(2 * (w @ w)))
    return Copying(score, p_value, float(weight[used].sum()), z)


def membership(members: AnyArray, others: AnyArray, *, false: float = 0.01) -> Membership:
    """How well a score tells training images from other real ones: a membership inference attack.

    auc = P(member > other) + P(member = other) / 2 over all pairs. An auc near 0.5 does not mean that no image is given away:
    `caught` is of those with the highest scores.

    Args:
      members: [m] scores of training images, such as D's logits. others: [n] scores of real images that were not trained on.
      false: share of the others that may be taken for members, in [0, 1).
    Returns:
      `Membership`, with standard errors over images (of `caught` those of a share, the bound being given).
    Raises:
      UserError: fewer than 2 scores of either kind, NaN. ValueError: not [m] and [n], or false out of range.
    Source: Hayes et al. 2019 (LOGAN; the discriminator's logit); Carlini et al. 2022 (true positives where false ones are few);
      error of the auc: DeLong et al. 1988.
    """
    if not 0 <= false < 1:
        raise ValueError(f"false is {false}; it must be in [0, 1)")
    names = ("scores of training images", members), ("scores of other images", others)
    x, y = (np.sort(rows(name, np.asarray(scores)[:, None], 2, "a membership test")[:, 0]) for name, scores in names)
    below = [(np.searchsorted(b, a, "left") + np.searchsorted(b, a, "right")) / (2 * len(b)) for a, b in ((x, y), (y, x))]
    error = math.sqrt(sum(part.var(ddof=1) / len(part) for part in below))
    caught = float((x > y[-1 - math.floor(false * len(y) + 1e-9)]).mean())
    return Membership(Estimate(float(below[0].mean()), error), Estimate(caught, math.sqrt(caught * (1 - caught) / len(x))))


def mann_whitney(x: AnyArray, y: AnyArray) -> float:
    """z-score of U = #{x_i > y_j} + #{x_i = y_j} / 2, with the variance corrected for ties; below 0 where x tends to be smaller.

    Args:
      x, y: [m] and [n] numbers. Returns 0 if all are equal.
    Source: Mann and Whitney 1947; ties: Lehmann 1975, section 1.4.
    """
    m, n = len(x), len(y)
    both, count = np.unique(np.concatenate([x, y]), return_counts=True)
    rank = np.cumsum(count) - (count - 1) / 2  # the mean rank of equals
    u = rank[np.searchsorted(both, x)].sum() - m * (m + 1) / 2
    total = m + n
    variance = m * n / 12 * (total + 1 - (count.astype(np.float64) ** 3 - count).sum() / (total * (total - 1)))
    return float((u - m * n / 2) / math.sqrt(variance)) if variance > 0 else 0.0


def neighbour_rows(
    images: np.ndarray, train_images: np.ndarray | Callable[[np.ndarray], np.ndarray], indices: np.ndarray
) -> np.ndarray:
    """Each generated image followed by its nearest training images, for a picture with one row per image.

    Args:
      images: [n, H, W, C]. train_images: [N, H, W, C], an array, or a function of indices [n k] that returns the images.
      indices: [n, k], from `authenticity`.
    Returns:
      [n, 1 + k, H, W, C], of the type of `images`.
    Raises:
      ValueError: the images differ in shape, or there is not one row of indices per image.
    """
    images, indices = np.asarray(images), np.asarray(indices)
    if indices.ndim != 2 or len(indices) != len(images):
        raise ValueError(f"indices: {indices.shape} for {len(images)} images; give [n, k], one row per image")
    take = train_images if callable(train_images) else np.asarray(train_images).__getitem__
    found = np.asarray(take(indices.ravel()))
    if found.shape[1:] != images.shape[1:]:
        raise ValueError(f"images: generated {images.shape[1:]} and training {found.shape[1:]} differ in shape")
    found = found.reshape(*indices.shape, *images.shape[1:])
    return np.concatenate([images[:, None], found.astype(images.dtype)], axis=1)


def _centres(x, cells, seed, rounds: int = 25):
    """Centres [cells, F] of k-means: Lloyd's rounds from random images."""
    centres = x[np.random.default_rng(seed).choice(len(x), cells, replace=False)].astype(np.float64)
    for _ in range(rounds if cells > 1 else 1):
        sums, counts = np.zeros_like(centres), np.zeros(cells)
        for i in range(0, len(x), neighbours.BLOCK):
            part = x[i : i + neighbours.BLOCK].astype(np.float64)
            cell = (np.square(centres).sum(axis=1) - 2 * part @ centres.T).argmin(axis=1)
            member = cell[:, None] == np.arange(cells)
            sums += member.T @ part
            counts += member.sum(axis=0)
        moved = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], centres)
        if np.allclose(moved, centres, rtol=1e-6, atol=0):
            break
        centres = moved
    return centres
