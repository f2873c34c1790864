"""Sliced Wasserstein distances: closed forms and scipy's one-dimensional distance."""

import numpy as np
import pytest
import scipy.stats

from jaxgan.errors import UserError
from jaxgan.metrics.frechet import parts
from jaxgan.metrics.sliced import sliced, sliced_wasserstein


def images(n=40, seed=0, shape=(8, 8, 1)):
    return np.random.default_rng(seed).integers(0, 200, (n, *shape)).astype(np.uint8)


@pytest.mark.parametrize("n, m", [(30, 30), (30, 20), (7, 64), (1000, 3)])
def test_one_feature_is_scipys_distance(n, m):
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((n, 1)), 1 + rng.standard_normal((m, 1))
    value, error = sliced(x, y, directions=4)
    assert value == pytest.approx(scipy.stats.wasserstein_distance(x[:, 0], y[:, 0]), rel=1e-12) and np.isnan(error)


def test_images_and_their_pixels_give_one_number():
    for n in (40, 24):
        x, y = images(), images(n, seed=1) // 2
        assert sliced(x.reshape(40, -1), y.reshape(n, -1)).value == pytest.approx(sliced_wasserstein(x, y), rel=1e-12)


def test_equal_sets_in_any_order_give_zero():
    assert sliced_wasserstein(images(), images()[::-1]) == 0
    assert sliced(np.repeat(images().reshape(40, -1), 3, axis=0), images().reshape(40, -1)).value < 1e-12


def test_a_shift():
    """A constant c moves every projection by c sum(u); E |sum u| = (2 / pi)^1/2 for many pixels."""
    x = images()
    assert sliced_wasserstein(x, x + np.uint8(40), directions=4096) == pytest.approx(40 * np.sqrt(2 / np.pi), rel=0.04)
    value = sliced(x.reshape(40, -1), x.reshape(40, -1) + 40.0, directions=4096).value
    assert value == pytest.approx(40 * np.sqrt(2 / np.pi), rel=0.04)


@pytest.mark.parametrize("shift, m", [(0.3, 200), (0.3, 130), (0.0, 200)])
def test_the_error_is_the_spread_over_draws_of_generated_images(shift, m):
    """Also between equal distributions; with another number than there are real ones."""
    rng = np.random.default_rng(2)
    real = rng.standard_normal((200, 6))
    found = np.array([sliced(real, shift + rng.standard_normal((m, 6)), directions=32) for _ in range(100)])
    assert 0.75 < found[:, 1].mean() / found[:, 0].std() < 1.35


def test_two_samples_of_one_distribution_are_as_far_apart_as_is_said():
    """Of normal projections the factor is (2 / pi)^1/2 int (Phi (1 - Phi))^1/2 = 1.288."""
    rng = np.random.default_rng(4)
    found = [sliced(rng.standard_normal((200, 4)), rng.standard_normal((150, 4)), directions=16).value for _ in range(80)]
    assert np.mean(found) == pytest.approx(1.288 * np.sqrt(1 / 200 + 1 / 150), rel=0.06)


def test_the_error_is_the_jackknifes():
    rng = np.random.default_rng(3)
    real, fake = rng.standard_normal((50, 3)), 1 + rng.standard_normal((120, 3))
    left_out = [sliced(real, np.delete(fake, part, 0)).value for part in parts(120)]
    assert np.isnan(sliced(real, fake[:100]).error)
    assert sliced(real, fake).error == pytest.approx(np.sqrt(9 / 10 * ((left_out - np.mean(left_out)) ** 2).sum()))


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
        (lambda: sliced_wasserstein(images(3), images(3)[:, 1:]), ValueError, "must agree in size and channels"),
        (lambda: sliced_wasserstein(images(3), images(3) / 127.5 - 1), ValueError, "images are float64 .* give uint8"),
        (lambda: sliced_wasserstein(images(3)[..., 0], images(3)[..., 0]), ValueError, "images are uint8 .3, 8, 8.; give uint8"),
        (lambda: sliced_wasserstein(images(3), images(3), directions=0), ValueError, "0 directions, side 32; give at least 1"),
        (lambda: sliced_wasserstein(images(3), images(3), side=0), ValueError, "256 directions, side 0; give at least 1"),
        (lambda: sliced(np.ones((1, 3)), np.ones((9, 3))), UserError, "real features: 1 images"),
        (lambda: sliced(np.ones((9, 3)), np.ones((9, 2))), ValueError, "differ in width"),
        (lambda: sliced(np.ones((9, 3)), np.ones((9, 3)), directions=0), ValueError, "at least 1"),
        (lambda: sliced(np.ones((9, 3)), np.full((9, 3), np.nan)), UserError, "9 of 9 rows hold NaN"),
    ],
)
def test_bad_input(call, kind, words):
    with pytest.raises(kind, match=words) as caught:
        call()
    assert isinstance(caught.value, UserError) == (kind is UserError)
