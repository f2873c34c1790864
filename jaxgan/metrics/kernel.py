"""Maximum mean discrepancy between two sets of features by the cubic kernel (with Inception features: the KID), in float64."""

import numpy as np

from jaxgan.metrics.contract import Estimate, two_sets
from jaxgan.typing import AnyArray


def kid(real: AnyArray, fake: AnyArray, *, subsets: int = 100, size: int = 1000, seed: int = 2020) -> Estimate:
    """Kernel distance: mean of the unbiased MMD^2 over random subsets, k(x, y) = (x . y / F + 1)^3.

    Args:
      real, fake: features [n, F] and [m, F]; n, m >= size.
      subsets: number of pairs of subsets; `size`: images in each, drawn without replacement.
      seed: of the draws, which are those of torch-fidelity (a numpy RandomState, fake first): equal seeds, equal numbers.
    Returns:
      (mean, standard deviation over subsets): what papers report after the +-. The subsets overlap, so it is *not* the
      error of the mean, but larger; with subsets of half of the images it is about that, of all of them 0. For the error see
      `mmd2`. The expectation for equal distributions is 0, and values below 0 occur.
    Raises:
      UserError: fewer than `size` images, NaN features. ValueError: widths differ; `subsets` or `size` too small.
    Source: Binkowski et al. 2018, section 4 (degree 3, gamma 1/F, coefficient 1) and their code (100 subsets of 1000).
    """
    if subsets < 1 or size < 2:
        raise ValueError(f"kid: subsets = {subsets}, size = {size}; give at least 1 subset of at least 2 images")
    real, fake = two_sets(real, fake, size, f"KID with subsets of {size}")
    rng = np.random.RandomState(seed)  # a stream that NumPy promises never to change
    values = []
    for _ in range(subsets):
        f = fake[rng.choice(len(fake), size, replace=False)].astype(np.float64)
        r = real[rng.choice(len(real), size, replace=False)].astype(np.float64)
        rr, ff, rf = _cubic(r, r), _cubic(f, f), _cubic(r, f)
        own = rr.sum() - np.trace(rr) + ff.sum() - np.trace(ff)
        values.append(own / (size * (size - 1)) - 2 * rf.mean())
    return Estimate(float(np.mean(values)), float(np.std(values)))


def mmd2(real: AnyArray, fake: AnyArray, *, block: int = 2048) -> Estimate:
    """Unbiased MMD^2 of all images with the kernel of `kid`, in blocks of the kernel matrix.

    MMD^2 = mean_{i != j} k(x_i, x_j) + mean_{i != j} k(y_i, y_j) - 2 mean_{i, j} k(x_i, y_j)

    Args:
      real, fake: features [n, F] and [m, F]; n, m >= 2.
      block: rows at a time; the memory is about 8 block (block + 2 F) bytes.
    Returns:
      (value, standard error) over draws of both sets, to first order: 4 (var_i h(x_i) / n + var_j h(y_j) / m), with
      h(x) = E k(x, x') - E k(x, y). If the distributions are equal, the value is of a higher order than this error.
      It costs 3 n^2 F multiplications: 10k images of 2048 features are 0.6e12, as much as the 100 subsets of `kid`.
    Raises:
      UserError: fewer than 2 images, NaN features. ValueError: widths differ.
    Source: Gretton et al. 2012, eq. 3 (for n != m its lemma 6); the error: Serfling 1980, section 5.5.
    """
    real, fake = two_sets(real, fake, 2, "MMD^2")
    n, m = len(real), len(fake)
    rr, ff, (rf, fr) = _sums(real, real, block)[0], _sums(fake, fake, block)[0], _sums(real, fake, block)
    rr, ff = rr - _diagonal(real), ff - _diagonal(fake)
    value = rr.sum() / (n * (n - 1)) + ff.sum() / (m * (m - 1)) - 2 * rf.sum() / (n * m)
    h = rr / (n - 1) - rf / m, ff / (m - 1) - fr / n
    variance = 4 * (h[0].var(ddof=1) / n + h[1].var(ddof=1) / m)
    return Estimate(float(value), float(np.sqrt(variance)))


def _cubic(x, y):
    k = x @ y.T
    k /= x.shape[1]
    k += 1
    return k * k * k


def _diagonal(x):
    return (np.einsum("nf,nf->n", x, x, dtype=np.float64) / x.shape[1] + 1) ** 3


def _sums(x, y, block):
    """Sums of the kernel matrix over its columns [n] and over its rows [m]."""
    across, down = np.zeros(len(x)), np.zeros(len(y))
    for i in range(0, len(x), block):
        a = x[i : i + block].astype(np.float64)
        for j in range(0, len(y), block):
            k = _cubic(a, y[j : j + block].astype(np.float64))
            across[i : i + block] += k.sum(axis=1)
            down[j : j + block] += k.sum(axis=0)
    return across, down
