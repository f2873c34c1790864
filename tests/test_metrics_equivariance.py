"""EQ-T, EQ-T_frac and EQ-R: images moved as the authors' code moves them (golden arrays), and generators that are known."""

import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.errors import UserError
from jaxgan.metrics import equivariance
from tests.golden import equivariance_rule as rule

GOLD = np.load(Path(__file__).parent / "golden" / "equivariance.npz")


def decibels(a, b, where):
    return 10 * np.log10(np.square(b[where]).mean() / np.square(a[where] - b[where]).mean())


@pytest.mark.parametrize("name", ["translate", "translate_fractional"])
def test_images_are_translated_as_by_the_authors(name):
    x, shifts = rule.image().repeat(2, 0), np.float32(rule.SHIFTS)
    shifts = np.round(shifts) if name == "translate" else shifts
    got, valid = map(np.asarray, jax.jit(getattr(equivariance, name))(x, shifts[:, 0], shifts[:, 1]))
    for i in range(2):
        want = GOLD[f"{name}{i}"][0]
        np.testing.assert_array_equal(valid[i], np.isfinite(want[..., 0]))
        np.testing.assert_allclose(got[i][valid[i]], want[valid[i]], atol=1e-5)


@pytest.mark.parametrize("name", ["rotate", "filtered"])
def test_images_are_turned_as_by_the_authors(name):
    x, angles = rule.square().repeat(2, 0), np.float32(rule.ANGLES)
    got, valid = map(np.asarray, jax.jit(getattr(equivariance, name))(x, angles))
    for i in range(2):
        want = GOLD[f"{name}{i}"][0]
        theirs = np.isfinite(want[..., 0])
        assert decibels(got[i], want, theirs & valid[i]) > 90
        assert (theirs != valid[i]).sum() <= (8 if name == "rotate" else 0)  # theirs lies an eighth of a pixel to one side


@pytest.mark.parametrize("angle", [0.3, -2.0, 0.78])
def test_the_filters_band_is_where_both_squares_are(angle):
    n = 400
    at = (np.arange(n) + 0.5) / n - 0.5
    u, v = np.meshgrid(at, at)
    c, s = math.cos(angle), math.sin(angle)
    both = (abs(c * u + s * v) <= 0.5) & (abs(c * v - s * u) <= 0.5)
    x, y = np.float32([[0, 0.25, 1.3, -3], [0, 0, -0.7, 2.25]])
    want = [(both * np.cos(2 * np.pi * (x * u + y * v))).mean() for x, y in zip(x, y, strict=True)]
    np.testing.assert_allclose(equivariance.octagon(x, y, jnp.float32(angle)), want, atol=1e-3)


SHAPE = (24, 28, 2)
KEYS = jax.random.split(jax.random.key(0), 8)


def waves(right, down):
    """Frequencies up to 0.05 cycles a pixel, [..., 2]."""
    other = jnp.cos(0.3 * right + 0.1 * down) * jnp.sin(0.2 * down)
    return jnp.stack([0.5 * jnp.sin(0.2 * right + 0.25 * down + 1), 0.5 * other], -1)


def moving(kind):
    """(squares, counts) by weights [3] of: waves that move with the transform; waves that do not; a 1 once it is moved."""

    def draw(weights, transform):
        down, right = (jnp.arange(n, dtype=jnp.float32) - (n - 1) / 2 for n in SHAPE[:2])
        places = jnp.stack([*jnp.meshgrid(right / 28, down / 28), jnp.ones(SHAPE[:2])])
        back = jnp.einsum("bij,jhw->bihw", jnp.linalg.inv(transform), places, precision="highest") * 28
        moved = jnp.abs(transform - jnp.eye(3)[None]).max((1, 2)) > 0
        still = waves(places[0] * 28, places[1] * 28)[None]
        return weights[0] * waves(back[:, 0], back[:, 1]) + weights[1] * still + weights[2] * moved[:, None, None, None]

    return jax.jit(lambda weights: equivariance.errors(kind, lambda transform: draw(weights, transform), KEYS, SHAPE))


@pytest.mark.parametrize("kind, perfect", [("integer", 105), ("fractional", 60), ("rotation", 65)])
def test_generators_that_are_known(kind, perfect):
    measured = moving(kind)
    db = lambda *weights: equivariance.decibels(*measured(jnp.float32(weights)))
    assert db(1, 0, 0).value > perfect  # what its filter or float32 allows
    np.testing.assert_allclose(db(0, 0, 0.01).value, 10 * np.log10(4 / 0.01**2), atol=1e-3)
    assert db(0, 1, 0).value < 25 and db(0, 0, 0).value == np.inf
    squares, counts = map(np.asarray, measured(jnp.float32([0, 0, 0.01])))
    np.testing.assert_allclose(squares, counts * 1e-4, rtol=1e-4)
    assert (counts % 2 == 0).all() and counts.max() < math.prod(SHAPE)


def test_movements_reach_an_eighth_of_the_longer_side():
    seen = []
    draw = lambda transform: seen.append(np.asarray(transform)) or jnp.zeros((len(transform), 4, 6, 1))
    equivariance.errors("fractional", draw, jax.random.split(jax.random.key(1), 500), (4, 6, 1))
    still, moved = seen
    assert (still == np.eye(3)).all() and (moved[:, :2, :2] == np.eye(2)).all()
    for along in moved[:, :2, 2].T:  # in longer sides
        assert 0.12 < along.max() <= 0.125 and -0.125 <= along.min() < -0.12 and abs(along.mean()) < 4.5 * 0.0722 / 500**0.5


def test_the_uncertainty_is_that_of_a_ratio():
    """Against the jackknife; with equal counts also the mean's standard error, in dB."""
    rng = np.random.default_rng(0)
    counts, squares = rng.integers(50, 100, 400), rng.exponential(size=400)
    found = equivariance.decibels(squares * counts, counts)
    left = lambda a: a.sum() - a
    parts = 10 * np.log10(4 * left(counts) / left(squares * counts))
    assert found.error == pytest.approx(np.sqrt(399 / 400 * np.square(parts - parts.mean()).sum()), rel=0.01)
    found = equivariance.decibels(squares, np.ones(400))
    assert found.value == pytest.approx(10 * np.log10(4 / squares.mean()))
    assert found.error == pytest.approx(10 / np.log(10) * squares.std(ddof=1) / 20 / squares.mean())
    assert np.isnan(equivariance.decibels([1.0], [1.0]).error)


def test_images_that_are_too_small_to_be_turned():
    with pytest.raises(UserError, match="EQ-R: images of 12x16"):
        equivariance.errors("rotation", None, KEYS, (12, 16, 1))


def test_a_kind_that_is_none_is_not_taken_for_another():
    with pytest.raises(UserError, match="no equivariance 'frac'.*integer, fractional, rotation"):
        equivariance.errors("frac", lambda transform: jnp.zeros((len(KEYS), *SHAPE)), KEYS, SHAPE)
