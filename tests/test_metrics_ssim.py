"""SSIM against its formula window by window, and against skimage's."""

import numpy as np
import pytest

from jaxgan.errors import UserError
from jaxgan.metrics.ssim import ssim


def pair(n, shape):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (n, *shape), np.uint8)
    return x, np.clip(x + rng.normal(0, 40, x.shape), 0, 255).astype(np.uint8)


def by_windows(x, y):
    """Of one image, in the words of the paper."""
    at = np.arange(11) - 5
    w = np.exp(-(at[:, None] ** 2 + at**2) / (2 * 1.5**2))
    w /= w.sum()
    found = []
    for c in range(x.shape[2]):
        for i in range(x.shape[0] - 10):
            for j in range(x.shape[1] - 10):
                a, b = (z[i : i + 11, j : j + 11, c].astype(float) for z in (x, y))
                ma, mb = (w * a).sum(), (w * b).sum()
                va, vb, ab = (w * (a - ma) ** 2).sum(), (w * (b - mb) ** 2).sum(), (w * (a - ma) * (b - mb)).sum()
                likeness = (2 * ma * mb + 2.55**2) / (ma**2 + mb**2 + 2.55**2)
                found.append(likeness * (2 * ab + 7.65**2) / (va + vb + 7.65**2))
    return np.mean(found)


def test_it_is_the_mean_over_windows():
    x, y = pair(2, (14, 12, 3))
    np.testing.assert_allclose(ssim(x, y), [by_windows(a, b) for a, b in zip(x, y, strict=True)], rtol=1e-12)
    x, y = pair(3, (17, 20, 1))  # skimage 0.26.0
    np.testing.assert_allclose(ssim(x, y), [0.8865226101555561, 0.9192676469934948, 0.8812160903929128], rtol=1e-12)
    x = np.repeat(x, 7, 0)  # more than are taken at once
    np.testing.assert_array_equal(ssim(x, x), 1)
    assert len(ssim(x, x)) == 21


def test_images_that_it_does_not_take():
    with pytest.raises(UserError, match="ssim: images of 10x12; its window has 11x11 pixels"):
        ssim(*pair(1, (10, 12, 3)))
    with pytest.raises(ValueError, match="differ in shape"):
        ssim(pair(1, (12, 12, 3))[0], pair(1, (12, 12, 1))[0])
