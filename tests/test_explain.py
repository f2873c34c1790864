"""Shares of a function's value: completeness, closed forms, and Shapley values against the formula in float64."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import explain

B, SHAPE = 3, (4, 6, 2)
RNG = np.random.default_rng(0)
X = RNG.uniform(-1, 1, (B, *SHAPE)).astype(np.float32)
A = RNG.standard_normal(SHAPE).astype(np.float32)
dot = lambda y: jnp.einsum("bhwc,hwc->b", y, A, precision="highest")
curved = jax.jit(lambda y: jnp.tanh(0.3 * dot(y)) + jnp.square(y).sum((1, 2, 3)))
REGIONS = explain.grid_regions(4, 6, 2, 2)
KEY = jax.random.key(0)


def test_integrated_gradients_of_a_line_and_of_squares_are_closed_forms():
    baseline = np.float32(0.25)
    given = explain.integrated_gradients(dot, jnp.asarray(X), baseline, steps=1)
    np.testing.assert_allclose(given, (X - baseline) * A, atol=1e-6)
    squares = explain.integrated_gradients(lambda y: jnp.square(y).sum((1, 2, 3)), jnp.asarray(X), baseline, steps=5)
    np.testing.assert_allclose(squares, X**2 - baseline**2, atol=1e-5)
    # x1 x2 from 0: both have an equal part in it (symmetry), whatever their sizes; a number that plays no part has none
    product = lambda y: y[:, 0, 0, 0] * y[:, 1, 1, 1]
    shares = np.asarray(explain.integrated_gradients(product, jnp.asarray(X), 0.0, steps=3))
    half = X[:, 0, 0, 0] * X[:, 1, 1, 1] / 2
    np.testing.assert_allclose(shares[:, 0, 0, 0], half, atol=1e-6)
    np.testing.assert_allclose(shares[:, 1, 1, 1], half, atol=1e-6)
    np.testing.assert_allclose(shares.sum((1, 2, 3)), 2 * half, atol=1e-6)


def test_integrated_gradients_sum_to_the_difference_the_better_the_more_steps():
    x, baseline = jnp.asarray(X), jnp.asarray(X.mean(0))
    wanted = np.asarray(curved(x) - curved(jnp.broadcast_to(baseline, x.shape)))
    gap = lambda steps: np.abs(np.asarray(explain.integrated_gradients(curved, x, baseline, steps=steps)).sum((1, 2, 3)) - wanted)
    coarse, fine = gap(2).max(), gap(32).max()
    assert fine < 1e-4 and coarse > 10 * fine


def by_the_formula(worth, players):
    """Shapley's own formula in float64: worth(set of players) -> float."""
    values = np.zeros(players)
    for r in range(players):
        others = [p for p in range(players) if p != r]
        for size in range(players):
            weight = math.factorial(size) * math.factorial(players - size - 1) / math.factorial(players)
            for s in itertools.combinations(others, size):
                values[r] += weight * (worth({*s, r}) - worth(set(s)))
    return values


def test_shapley_values_are_the_formulas_and_sampling_nears_them():
    x = jnp.asarray(X)
    # of the third order in the regions, so that pairs of orders are not enough
    f = lambda y: jnp.tanh(dot(y)) + jnp.prod(jnp.stack([y[:, 0, 0, 0], y[:, 0, 5, 0], 2 + y[:, 3, 0, 1]]), 0)

    def worth(i):
        def of(shown):
            mask = np.isin(REGIONS, sorted(shown))[..., None]
            y = np.where(mask, X[i], 0.25).astype(np.float64)
            return np.tanh((y * A).sum()) + y[0, 0, 0] * y[0, 5, 0] * (2 + y[3, 0, 1])

        return of

    wanted = np.stack([by_the_formula(worth(i), 4) for i in range(B)])
    np.testing.assert_allclose(explain.shapley_exact(f, x, 0.25, REGIONS), wanted, atol=2e-6)
    values, errors = map(np.asarray, explain.shapley(KEY, f, x, 0.25, REGIONS, samples=64))
    assert (np.abs(values - wanted) <= 4 * errors + 1e-6).all() and errors.max() > 1e-3
    np.testing.assert_allclose(values.sum(1), f(x) - f(jnp.full_like(x, 0.25)), atol=1e-5)
    few = explain.shapley(jax.random.split(KEY, 8)[5:6], lambda y: f(y), x[:1], 0.25, REGIONS, samples=2)[0]
    other = explain.shapley(jax.random.split(KEY, 8)[4:6], lambda y: f(y), x[jnp.array([1, 0])], 0.25, REGIONS, samples=2)[0]
    np.testing.assert_allclose(few[0], other[1], atol=1e-6)  # an image's orders are its own


def test_shapley_values_of_additive_and_symmetric_games():
    x = jnp.asarray(X)
    values, errors = explain.shapley(KEY, dot, x, 0.0, REGIONS, samples=2)
    additive = np.stack([(X * A * (REGIONS == r)[..., None]).sum((1, 2, 3)) for r in range(4)], 1)
    np.testing.assert_allclose(values, additive, atol=1e-5)
    np.testing.assert_allclose(errors, 0, atol=1e-5)
    ones = jnp.ones((1, *SHAPE))
    shown = lambda y: y[:, ::3, ::5, 0].reshape(len(y), -1).sum(1)  # how many regions are shown: a pixel of each corner
    squared = explain.shapley(KEY, lambda y: jnp.square(shown(y)), ones, 0.0, REGIONS, samples=3)[0]
    np.testing.assert_allclose(squared, np.full((1, 4), 4.0), atol=1e-5)  # a game of pairs: an order and its reverse are exact
    veto = explain.shapley_exact(lambda y: (shown(y) > 3.5).astype(jnp.float32), ones, 0.0, REGIONS)
    np.testing.assert_allclose(veto, np.full((1, 4), 0.25), atol=1e-6)


def test_in_company_an_image_is_judged_among_the_others():
    judge = lambda y: dot(y) / (1 + y.std(0).mean())
    x = jnp.asarray(X)
    f = explain.in_company(judge, x)
    np.testing.assert_allclose(f(x), judge(x), rtol=1e-5)
    y = x.at[1].set(0.3)
    np.testing.assert_allclose(f(y)[1], judge(y)[1], rtol=1e-5)
    np.testing.assert_allclose(f(y)[jnp.array([0, 2])], judge(x)[jnp.array([0, 2])], rtol=1e-5)  # these keep their company
    assert np.abs(judge(y)[0] - judge(x)[0]) > 1e-3


def test_a_mask_is_two_regions():
    mask = REGIONS > 0
    found = explain.shapley_exact(dot, jnp.asarray(X), 0.0, mask)
    np.testing.assert_array_equal(found, explain.shapley_exact(dot, jnp.asarray(X), 0.0, mask.astype(int)))


def test_regions_are_a_grid():
    np.testing.assert_array_equal(explain.grid_regions(2, 5, 2, 2), [[0, 0, 0, 1, 1], [2, 2, 2, 3, 3]])
    counts = np.bincount(explain.grid_regions(28, 28, 7, 7).ravel())
    assert counts.tolist() == [16] * 49


def test_what_is_refused():
    x = jnp.asarray(X)
    for wrong, says in (
        (lambda: explain.grid_regions(4, 4, 5, 1), "5 x 1"),
        (lambda: explain.shapley(KEY, dot, x, 0.0, REGIONS + 1), "without a gap"),
        (lambda: explain.shapley(KEY, dot, x, 0.0, REGIONS[:2]), r"\[H, W\]"),
        (lambda: explain.shapley(KEY, dot, x, 0.0, REGIONS.astype(float)), "without a gap"),
        (lambda: explain.shapley(KEY, dot, x, 0.0, REGIONS, samples=1), "samples: 1"),
        (lambda: explain.shapley_exact(dot, x, 0.0, explain.grid_regions(4, 6, 4, 6)), "at most 12"),
        (lambda: explain.integrated_gradients(dot, x, 0.0, steps=0), "steps: 0"),
        (lambda: explain.integrated_gradients(lambda y: y, x, 0.0), "one logit per image"),
    ):
        with pytest.raises(ValueError, match=says):
            wrong()
