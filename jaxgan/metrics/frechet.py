"""The Frechet distance between two sets of features modelled as Gaussians (with Inception features: the FID), in float64."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxgan.errors import UserError
from jaxgan.metrics.contract import Estimate, rows
from jaxgan.typing import AnyArray

BLOCKS = 10  # parts of the generated images, for the jackknife of `estimate`


class Moments(NamedTuple):
    """Sums over a set of feature rows x_i, from which its mean and covariance follow; sets are joined by `merge`."""

    n: int
    mean: np.ndarray  # [F] float64, mean of x_i
    scatter: np.ndarray  # [F, F] float64, sum of (x_i - mean)(x_i - mean)^T


class Jackknife(NamedTuple):
    """A Frechet distance, its standard error, and the distance with its bias of order 1/n removed."""

    value: float
    error: float
    corrected: float


def start_moments(features: int) -> Moments:
    """Moments of no rows, each `features` wide."""
    return Moments(0, np.zeros(features), np.zeros((features, features)))


def add(moments: Moments, features: AnyArray) -> Moments:
    """Moments updated with more rows.

    The rows are centred before they are squared, so that features far from zero lose no precision. Each call costs a few
    passes over an [F, F] array: with 2048 features, add a thousand rows at a time, not ten.

    Args:
      moments: those of the rows so far.
      features: [n, F], any n, any real type; summed in float64.
    Raises:
      UserError: NaN or infinite features. ValueError: another width.
    Source: Chan, Golub and LeVeque 1983 (the pairwise update).
    """
    x = rows("features", features, 0, "a sum")
    if x.shape[1] != len(moments.mean):
        raise ValueError(f"features: rows of {x.shape[1]}, but these moments are of {len(moments.mean)} features")
    if not len(x):
        return moments
    mean = x.mean(axis=0, dtype=np.float64)
    x = x - mean
    return merge(moments, Moments(len(x), mean, x.T @ x))


def merge(a: Moments, b: Moments) -> Moments:
    """Moments of two sets together: S = S_a + S_b + d d^T n_a n_b / n, d the difference of the means."""
    if a.mean.shape != b.mean.shape:
        raise ValueError(f"moments: of {len(a.mean)} and of {len(b.mean)} features; give both of the same features")
    n = a.n + b.n
    if not n:
        return a
    d = b.mean - a.mean
    return Moments(n, a.mean + d * (b.n / n), a.scatter + b.scatter + np.outer(d, d * (a.n * b.n / n)))


def moments_of(features: AnyArray, *, block: int = 4096) -> Moments:
    """Moments of a whole array [n, F], `block` rows at a time."""
    features = np.asarray(features)
    if features.ndim != 2:
        raise ValueError(f"features: shape {features.shape}; give [n, F]")
    moments = start_moments(features.shape[1])
    for i in range(0, len(features), block):
        moments = add(moments, features[i : i + block])
    return moments


def mean_cov(moments: Moments, *, ddof: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Mean [F] and covariance [F, F], float64.

    Args:
      ddof: 1 divides by n - 1 (TTUR, pytorch-fid, torch-fidelity); 0 divides by n (the code of StyleGAN2-ADA and 3).
    Raises:
      UserError: fewer than two images.
    """
    if moments.n < 2:
        raise UserError(f"Frechet distance: {moments.n} images are too few: a covariance needs at least 2; give more images")
    return moments.mean, moments.scatter / (moments.n - ddof)


def frechet_distance(mean1: AnyArray, cov1: AnyArray, mean2: AnyArray, cov2: AnyArray) -> float:
    """Squared Frechet (2-Wasserstein) distance of two Gaussians: |m1 - m2|^2 + tr(C1 + C2 - 2 (C1^1/2 C2 C1^1/2)^1/2).

    The last trace is the sum of the square roots of the eigenvalues of the symmetric R^T C2 R with C1 = R R^T, where R
    leaves out the null space of C1. So nothing becomes complex and no offset is added to singular covariances. The
    error is at most about 1e-8 of the trace: where variances span eight decades, or C2 is singular and C1 is not; then pass C2
    first.

    Args:
      mean1, mean2: [F]. cov1, cov2: [F, F], symmetric, not negative.
    Returns:
      A float >= 0, in squared units of the features. For FID: of Inception features.
    Raises:
      UserError: a value is NaN or infinite. ValueError: the shapes do not fit.
    Source: Heusel et al. 2017, eq. 6; Dowson and Landau 1982. The references take sqrtm(C1 C2) (TTUR, pytorch-fid) or
      the eigenvalues of C1 C2 (torch-fidelity), which is the same number.
    """
    (mean1, cov1), (mean2, cov2) = _gaussian(mean1, cov1), _gaussian(mean2, cov2)
    if mean1.shape != mean2.shape:
        raise ValueError(f"means: {mean1.shape} and {mean2.shape} differ in shape; use one extractor for both")
    return _distance(mean1, cov1, _root(cov1), mean2, cov2)


def frechet(real: Moments, fake: Moments, *, ddof: int = 1) -> float:
    """`frechet_distance` of two sets of features, given their moments (`moments_of`); `ddof` as in `mean_cov`."""
    if not (isinstance(real, Moments) and isinstance(fake, Moments)):
        raise ValueError(
            "frechet: give the moments of two sets of features, frechet(moments_of(real), moments_of(fake)); for a mean and "
            "covariance that are stored, frechet_distance(mean, cov, *mean_cov(moments_of(fake)))"
        )
    few, many = sorted((real, fake), key=lambda m: m.n)  # the smaller set is the one that may be singular
    return frechet_distance(*mean_cov(few, ddof=ddof), *mean_cov(many, ddof=ddof))


def jackknife(real: Moments, blocks: Sequence[Moments], *, ddof: int = 1) -> Jackknife:
    """The Frechet distance of the union of `blocks` of generated images, with its standard error.

    Each of the K blocks is left out once: error^2 = (K-1)/K sum_k (d_k - mean d)^2, corrected = K d - (K-1) mean d. It
    measures the spread over draws of generated images against the same real ones. It costs K further eigenvalue problems (about
    two seconds each for 2048 features), and is meant for blocks that together hold many more images than features.

    Args:
      real: moments of the real images.
      blocks: K >= 2 moments of disjoint, equally large parts of the generated images (10 is usual).
      ddof: as in `mean_cov`.
    Raises:
      UserError: fewer than 2 blocks. ValueError: blocks of different sizes.
    Source: Efron and Stein 1981 (error); Quenouille 1956 (bias, of order 1/n for the FID: Chong and Forsyth 2020).
    """
    count = len(blocks)
    if count < 2:
        raise UserError(f"jackknife: {count} blocks of images; give at least 2 (10 is usual)")
    sizes = [block.n for block in blocks]
    if max(sizes) > 1.01 * min(sizes) + 1:
        raise ValueError(f"jackknife: blocks of {min(sizes)} to {max(sizes)} images; make them equally large")
    mean, cov = _gaussian(*mean_cov(real, ddof=ddof))
    root = _root(cov)
    before, after = [start_moments(len(mean))], [start_moments(len(mean))]
    for first, last in zip(blocks, reversed(blocks), strict=True):
        before.append(merge(before[-1], first))
        after.append(merge(last, after[-1]))
    unions = [before[-1]] + [merge(before[k], after[count - 1 - k]) for k in range(count)]
    value, *left_out = (_distance(mean, cov, root, *mean_cov(m, ddof=ddof)) for m in unions)
    spread = np.std(left_out) * np.sqrt(count - 1)
    return Jackknife(value, float(spread), float(count * value - (count - 1) * np.mean(left_out)))


def estimate(real: Moments, fake: AnyArray, *, ddof: int = 1) -> Estimate:
    """The value and error of `estimate_all`."""
    return Estimate(*estimate_all(real, fake, ddof=ddof)[:2])


def estimate_all(real: Moments, fake: AnyArray, *, ddof: int = 1) -> Jackknife:
    """The Frechet distance of generated images from real ones, with the rest of the `jackknife` where there are images enough for
    it.

    Args:
      real: moments of the real images.
      fake: features [n, F] of the generated ones, n >= 2. Up to F of them, or up to 100, the error and the corrected distance are
        NaN.
      ddof: as in `mean_cov`.
    Raises:
      UserError: fewer than 2 images, NaN or infinite features. ValueError: not [n, F].
    """
    fake = rows("fake features", fake, 2, "a Frechet distance")
    n, size = fake.shape
    if n > max(size, 10 * BLOCKS):
        return jackknife(real, [moments_of(fake[part]) for part in parts(n)], ddof=ddof)
    return Jackknife(frechet(real, moments_of(fake), ddof=ddof), float("nan"), float("nan"))


def parts(n: int) -> list[np.ndarray]:
    """The rows of each of `BLOCKS` parts of n rows, equally large but for one, drawn at random: rows may be sorted by class, and
    parts of one class each would differ by far more than draws do."""
    return np.array_split(np.random.RandomState(0).permutation(n), BLOCKS)


def warning(fakes: int, reals: int, features: int) -> str | None:
    """One line to show with a distance of so many generated and real images, or None if there are more of both than features."""
    if fakes <= features:
        return (
            f"Frechet distance of {fakes} images with {features} features: the covariance is singular and the distance far too "
            f"large; use more than {features} images, and the same number wherever you compare"
        )
    if reals <= features:
        return (
            f"Frechet distance from {reals} real images with {features} features: their covariance is singular, and only copies "
            "of them come close; compare with the same real images only, or by the kernel distance"
        )
    return None


def _gaussian(mean, cov):
    mean, cov = np.asarray(mean, np.float64), np.asarray(cov, np.float64)
    if mean.ndim != 1 or cov.shape != 2 * mean.shape:
        raise ValueError(f"mean {mean.shape} and covariance {cov.shape} do not fit; give [F] and [F, F]")
    if not (np.isfinite(mean).all() and np.isfinite(cov).all()):
        raise UserError("Frechet distance: NaN or infinity among the statistics; look at the images, or compute them again")
    return mean, cov


def _root(cov):
    """R [F, rank] with cov = R R^T."""
    values, vectors = np.linalg.eigh(cov)
    kept = values > len(values) * np.finfo(np.float64).eps * abs(values[-1])
    return vectors[:, kept] * np.sqrt(values[kept])


def _distance(mean1, cov1, root1, mean2, cov2) -> float:
    d = mean1 - mean2
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root1.T @ cov2 @ root1), 0)).sum()
    return max(float(d @ d + np.trace(cov1) + np.trace(cov2) - 2 * cross), 0.0)
