"""Variety: closed forms, and what it says of images that are all alike, of one for each class, and of noise."""

import numpy as np
import pytest

from jaxgan.metrics.variety import spacing, variety


def blobs(n, seed, noise=0.0):
    """Smooth images that all differ: a bright spot anywhere."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:16, :16]
    at = rng.uniform(2, 14, (n, 2, 1, 1))
    images = 200 * np.exp(-((y - at[:, 0]) ** 2 + (x - at[:, 1]) ** 2) / 8) + noise * rng.uniform(0, 50, (n, 16, 16))
    return images[..., None].astype(np.uint8)


def test_the_distance_is_to_the_nearest_other_image_in_grey_levels():
    flat = np.array([0, 10, 13, 40], np.uint8).reshape(4, 1, 1, 1) * np.ones((1, 5, 7, 3), np.uint8)
    assert spacing(flat) == pytest.approx((10 + 3 + 3 + 27) / 4)
    assert spacing(flat.repeat(40, 1).repeat(40, 2)) == pytest.approx((10 + 3 + 3 + 27) / 4)  # averaged over blocks
    assert spacing(np.concatenate([flat, flat])) == pytest.approx(0, abs=1e-5)
    brute = blobs(30, 0).reshape(30, -1) / 1.0
    apart = np.sqrt(((brute[:, None] - brute) ** 2).mean(-1)) + 1e9 * np.eye(30)
    assert spacing(blobs(30, 0)) == pytest.approx(apart.min(1).mean())


def test_alike_is_1_collapsed_is_0_and_noise_is_above():
    real = blobs(200, 0)
    assert 0.85 < variety(real, blobs(200, 1)) < 1.15
    assert 0.85 < variety(real, blobs(500, 1)) < 1.15  # as many as there are
    assert variety(real, blobs(10, 1)[np.arange(200) % 10]) == pytest.approx(0, abs=1e-5)  # an image for each of ten classes
    half = np.where((np.arange(200) % 2 == 0)[:, None, None, None], blobs(200, 1), blobs(1, 2))
    assert 0.4 < variety(real, half) < 0.8
    assert variety(real, blobs(200, 1, noise=1)) > 1.5
    assert np.isnan(variety(real[:1], real)) and np.isnan(variety(blobs(1, 0).repeat(9, 0), real))


@pytest.mark.parametrize("images", [np.zeros((1, 4, 4, 1), np.uint8), np.zeros((4, 4, 4, 1)), np.zeros((4, 4, 4), np.uint8)])
def test_what_are_no_images_is_refused(images):
    with pytest.raises(ValueError, match="give uint8"):
        spacing(images)
