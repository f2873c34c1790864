"""Sliced Wasserstein distances: closed forms and scipy's one-dimensional distance."""

import numpy as np
import pytest
import scipy.stats

from jaxgan.errors import UserError
from jaxgan.metrics.sliced import _distances, sliced, sliced_wasserstein


def images(n=40, seed=0, shape=(8, 8, 1)):
    return np.random.default_rng(seed).integers(0, 200, (n, *shape)).astype(np.uint8)


@pytest.mark.parametrize("n, m", [(30, 30), (30, 20), (7, 64), (1000, 3)])
def test_one_feature_is_scipys_distance(n, m):
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((n, 1)), 1 + rng.standard_normal((m, 1))
    value, error = sliced(x, y, directions=4)
    assert value == pytest.approx(scipy.stats.wasserstein_distance(x[:, 0], y[:, 0]), rel=1e-12) and error < 1e-12


def test_images_and_their_pixels_give_one_number():
    x, y = images(), images(seed=1) // 2
    assert sliced(x.reshape(40, -1), y.reshape(40, -1)).value == pytest.approx(sliced_wasserstein(x, y), rel=1e-12)


def test_equal_sets_in_any_order_give_zero():
    assert sliced_wasserstein(images(), images()[::-1]) == 0
    assert sliced(np.repeat(images().reshape(40, -1), 3, axis=0), images().reshape(40, -1)).value < 1e-12


def test_a_shift():
    """A constant c moves every projection by c sum(u); E |sum u| = (2 / pi)^1/2 for many pixels."""
    x = images()
    assert sliced_wasserstein(x, x + np.uint8(40), directions=4096) == pytest.approx(40 * np.sqrt(2 / np.pi), rel=0.04)
    value, error = sliced(x.reshape(40, -1), x.reshape(40, -1) + 40.0)
    assert abs(value - 40 * np.sqrt(2 / np.pi)) < 4 * error < 0.3 * value


def test_the_error_is_the_spread_over_directions():
    x, y = images().reshape(40, -1), images(seed=1).reshape(40, -1) // 2
    found = np.array([sliced(x, y, seed=s, directions=16) for s in range(60)])
    assert 0.8 < found[:, 1].mean() / found[:, 0].std() < 1.25


def test_large_images_are_averaged_over_blocks():
    x, y = images(shape=(64, 64, 3)), images(seed=1, shape=(64, 64, 3)) // 2
    small = [z.reshape(40, 16, 4, 16, 4, 3).mean((2, 4)).reshape(40, -1) for z in (x, y)]
    assert sliced_wasserstein(x, y, side=16) == pytest.approx(sliced(*small).value, rel=1e-6)
    assert (
        sliced_wasserstein(*(z[:, :50, :35] for z in (x, y)), side=16)
        == sliced_wasserstein(  # what is over is left out
            *(z[:, :48, :34] for z in (x, y)), side=16
        )
    )


@pytest.mark.parametrize(
    "call, kind, words",
    [
        (lambda: sliced_wasserstein(images(3), images(4)), ValueError, "must agree in shape"),
        (lambda: sliced_wasserstein(images(3), images(3) / 127.5 - 1), ValueError, "images are float64 .* give uint8"),
        (lambda: sliced_wasserstein(images(3)[..., 0], images(3)[..., 0]), ValueError, "images are uint8 .3, 8, 8.; give uint8"),
        (lambda: sliced_wasserstein(images(3), images(3), directions=0), ValueError, "0 directions, side 32; give at least 1"),
        (lambda: sliced_wasserstein(images(3), images(3), side=0), ValueError, "256 directions, side 0; give at least 1"),
        (lambda: sliced(np.ones((1, 3)), np.ones((9, 3))), UserError, "real features: 1 images"),
        (lambda: sliced(np.ones((9, 3)), np.ones((9, 2))), ValueError, "differ in width"),
        (lambda: sliced(np.ones((9, 3)), np.ones((9, 3)), directions=1), ValueError, "at least 2"),
        (lambda: sliced(np.ones((9, 3)), np.full((9, 3), np.nan)), UserError, "9 of 9 rows hold NaN"),
    ],
)
def test_bad_input(call, kind, words):
    with pytest.raises(kind, match=words) as caught:
        call()
    assert isinstance(caught.value, UserError) == (kind is UserError)


def test_the_error_of_two_directions_is_half_their_difference():
    """s / sqrt(2) with s^2 = (a - b)^2 / 2."""
    x, y = images().reshape(40, -1), images(seed=1).reshape(40, -1) // 2
    a, b = _distances(x, y, 3, 2)
    found = sliced(x, y, seed=3, directions=2)
    assert a != b and found.error == pytest.approx(abs(a - b) / 2) and found.value == pytest.approx((a + b) / 2)
