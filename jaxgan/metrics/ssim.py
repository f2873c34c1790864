"""SSIM: the structural similarity of two images, from means, deviations and correlation in windows. NumPy, float64."""

import numpy as np

from jaxgan.errors import UserError

SIZE, SIGMA = 11, 1.5
"""Pixels along the window, and the standard deviation of its Gaussian."""


def check(shape: tuple[int, int, int]) -> None:
    """UserError unless a window fits into images of this shape (H, W, C)."""
    if min(shape[:2]) < SIZE:
        raise UserError(f"ssim: images of {shape[0]}x{shape[1]}; its window has {SIZE}x{SIZE} pixels")


def ssim(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """SSIM: (2 m_x m_y + c1) (2 s_xy + c2) / ((m_x^2 + m_y^2 + c1) (s_x^2 + s_y^2 + c2)), its mean over windows and channels.

    m, s^2 and s_xy are means, variances and the covariance in a window, weighted by a Gaussian; c1 = (0.01 * 255)^2 and c2 =
    (0.03 * 255)^2. Windows lie inside the image.

    Args:
      x, y: paired images uint8 [n, H, W, C], with sides of 11 or more.
    Returns:
      float64 [n], at most 1, which equal images have.
    Raises:
      UserError: smaller images. ValueError: shapes that differ.
    Source: Wang et al. 2004, eq. 13 to 17, window and constants of section III.C. Deviations: of colour the channels' mean, as
      skimage's with `gaussian_weights` and without `use_sample_covariance`; the authors' code makes large images smaller first.
    """
    if x.shape != y.shape:
        raise ValueError(f"ssim: paired images differ in shape: {x.shape} and {y.shape}")
    check(x.shape[1:])
    return np.concatenate([_ssim(x[i : i + 16], y[i : i + 16]) for i in range(0, len(x), 16)])


def _ssim(x, y):
    x, y = x.astype(np.float64), y.astype(np.float64)
    mx, my = _windows(x), _windows(y)
    xx, yy, xy = _windows(x * x) - mx * mx, _windows(y * y) - my * my, _windows(x * y) - mx * my
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    at = (2 * mx * my + c1) * (2 * xy + c2) / ((mx * mx + my * my + c1) * (xx + yy + c2))
    return at.mean((1, 2, 3))


def _windows(x):
    """Weighted means [n, H - 10, W - 10, C] of [n, H, W, C]: the weights are those of rows times those of columns."""
    taps = np.exp(-0.5 * ((np.arange(SIZE) - SIZE // 2) / SIGMA) ** 2)
    taps /= taps.sum()
    h, w = (n - SIZE + 1 for n in x.shape[1:3])
    x = sum(tap * x[:, i : i + h] for i, tap in enumerate(taps))
    return sum(tap * x[:, :, i : i + w] for i, tap in enumerate(taps))
