"""What every metric requires of its features, and what it returns: a number with its uncertainty."""

import math
from typing import NamedTuple

import numpy as np

from jaxgan.errors import UserError
from jaxgan.typing import AnyArray


class Estimate(NamedTuple):
    """A number and its uncertainty (one standard deviation); each metric documents what the uncertainty is over."""

    value: float
    error: float


def mean_estimate(x: AnyArray) -> Estimate:
    """Mean of [n] numbers and its standard error s / sqrt(n), NaN for n = 1."""
    x = np.asarray(x, np.float64)
    return Estimate(float(x.mean()), float(x.std(ddof=1) / np.sqrt(len(x))) if len(x) > 1 else math.nan)


def rows(name: str, x: AnyArray, least: int, statistic: str) -> np.ndarray:
    """`x` as a NumPy array [n, F] of float32 or float64, checked.

    Args:
      name: what the rows are, for the messages: "real features".
      x: [n, F], any type of real numbers; what is not float64 becomes float32.
      least: the minimum number of rows for `statistic`.
      statistic: its name, for the messages.
    Raises:
      UserError: fewer rows than `least`, or NaN or infinite values.
      ValueError: not an [n, F] array of numbers.
    """
    x = np.asarray(x)
    if x.ndim != 2 or x.shape[1] == 0 or x.dtype.kind in "cOSU":
        raise ValueError(f"{name}: {x.dtype} {x.shape}; give numbers [n, F], one row per image")
    if len(x) < least:
        raise UserError(f"{name}: {len(x)} images are too few: {statistic} needs at least {least}; give more images")
    if x.dtype not in (np.float32, np.float64):
        x = x.astype(np.float32)
    broken = [i + j for i in range(0, len(x), 4096) for j in np.flatnonzero(~np.isfinite(x[i : i + 4096]).all(axis=1))]
    if broken:
        raise UserError(
            f"{name}: {len(broken)} of {len(x)} rows hold NaN or infinity, the first is row {broken[0]}; "
            "look at those images, or at the weights that made them"
        )
    return x


def two_sets(real: AnyArray, fake: AnyArray, least: int, statistic: str) -> tuple[np.ndarray, np.ndarray]:
    """Both by `rows`; ValueError unless they have equally many features."""
    real, fake = rows("real features", real, least, statistic), rows("fake features", fake, least, statistic)
    if real.shape[1] != fake.shape[1]:
        raise ValueError(f"features: real {real.shape} and fake {fake.shape} differ in width; use one extractor for both")
    return real, fake
