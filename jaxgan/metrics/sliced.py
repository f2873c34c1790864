"""Sliced Wasserstein distance: a metric for any images or features, without a network or a download."""

import numpy as np

from jaxgan.metrics.contract import Estimate, two_sets
from jaxgan.metrics.frechet import BLOCKS, parts
from jaxgan.typing import AnyArray


def sliced_wasserstein(real: np.ndarray, fake: np.ndarray, *, seed: int = 0, directions: int = 256, side: int = 32) -> float:
    """Mean Wasserstein-1 distance between the projections of two sets of images on random directions.

    SW = E_u[ mean_i |sorted(real . u)_i - sorted(fake . u)_i| ], u uniform on the unit sphere.

    Args:
      real, fake: uint8 [n, H, W, C] and [m, H, W, C].
      seed: of the directions.
      directions: number of directions.
      side: larger images are first averaged over whole blocks, to at most about this size.
    Returns:
      In grey levels (0..255), computed in float64; 0 for equal sets. A constant added to every pixel adds about
      0.8 times itself. It measures placement, contrast and missing modes, not sharpness; compare it within one data set only.
    Raises:
      ValueError: the sets are not uint8 images, or differ in shape; fewer than 1 direction.
    Source: Bonneel et al. 2015, section 3; Rabin et al. 2011.
    """
    real, fake = np.asarray(real), np.asarray(fake)
    for x in (real, fake):
        if x.dtype != np.uint8 or x.ndim != 4:
            raise ValueError(f"images are {x.dtype} {x.shape}; give uint8 [n, H, W, C]. `sliced` takes rows of any numbers")
    if directions < 1 or side < 1:
        raise ValueError(f"sliced_wasserstein: {directions} directions, side {side}; give at least 1 of each")
    if real.shape[1:] != fake.shape[1:]:
        raise ValueError(f"real and fake images must agree in size and channels; they are {real.shape} and {fake.shape}")
    real, fake = (shrunk(x, side).reshape(len(x), -1) for x in (real, fake))
    u = _directions(real.shape[1], directions, seed)
    return float(_distances(*(np.sort(_project(x, u), axis=0) for x in (real, fake))).mean())


def sliced(real: AnyArray, fake: AnyArray, *, seed: int = 0, directions: int = 256) -> Estimate:
    """Sliced Wasserstein-1 distance of two sets of feature rows, of any two sizes.

    SW = E_u int |F_real(t; u) - F_fake(t; u)| dt, F the distribution functions of the projections on u.

    Args:
      real, fake: [n, F] and [m, F]. Pixels are features too, 0..255 as they are.
      seed: of the directions, which are the same for all sets of as many features; directions: their number.
    Returns:
      (value, standard error over draws of fakes: the jackknife over ten parts of them, NaN for up to 100), in units of the
      features; the reals and the directions are taken as given. Two samples of one distribution do not score 0 but about
      1.3 s (1/n + 1/m)^1/2, s the standard deviation of a projection: compare with two halves of the real set, and at equal
      numbers.
    Raises:
      UserError: fewer than 2 images, NaN features. ValueError: widths differ, fewer than 1 direction.
    Source: Bonneel et al. 2015, section 3; the error: Efron and Stein 1981. Not ProGAN's distance of the same name, which is of
      patches of a Laplacian pyramid.
    """
    if directions < 1:
        raise ValueError(f"sliced: {directions} directions; give at least 1")
    real, fake = two_sets(real, fake, 2, "the sliced distance")
    a, b = (_project(x, _directions(x.shape[1], directions, seed)) for x in (real, fake))
    a = np.sort(a, axis=0)
    distance = lambda b: _distances(a, np.sort(b, axis=0)).mean()
    if len(b) <= 10 * BLOCKS:
        return Estimate(float(distance(b)), float("nan"))
    left_out = [distance(np.delete(b, part, axis=0)) for part in parts(len(b))]
    return Estimate(float(distance(b)), float(np.std(left_out) * np.sqrt(BLOCKS - 1)))


def _directions(features: int, n: int, seed: int) -> np.ndarray:
    """Unit vectors [features, n], uniform on the sphere."""
    u = np.random.default_rng(seed).standard_normal((features, n))
    return u / np.linalg.norm(u, axis=0)


def _distances(a, b) -> np.ndarray:
    """Wasserstein-1 distance [directions] of sorted projections [n, directions] and [m, directions], float64."""
    if len(a) == len(b):
        return np.abs(a - b).mean(axis=0)
    # The quantile functions are steps: compare them between all their jumps.
    jumps = np.union1d(np.arange(1, len(a) + 1) * len(b), np.arange(1, len(b) + 1) * len(a))  # in units of 1 / (n m)
    width = np.diff(jumps, prepend=0) / (len(a) * len(b))
    left = jumps - 1
    return width @ np.abs(a[left // len(b)] - b[left // len(a)])


def _project(x, u):
    return np.concatenate([x[i : i + 4096].astype(np.float64) @ u for i in range(0, len(x), 4096)])


def shrunk(x: np.ndarray, side: int) -> np.ndarray:
    """Images [n, H, W, C] averaged over whole blocks, to at most about `side`; float64."""
    _, h, w, c = x.shape
    kh, kw = max(h // side, 1), max(w // side, 1)
    x = x[:, : h // kh * kh, : w // kw * kw]
    mean = lambda x: x.reshape(-1, h // kh, kh, w // kw, kw, c).mean((2, 4), dtype=np.float64)
    return np.concatenate([mean(x[i : i + 64]) for i in range(0, len(x), 64)])
