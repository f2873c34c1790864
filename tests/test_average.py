"""Averages of the weights: half-life, power functions, and the reconstruction of a length that was not kept."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import average, schedules
from jaxgan.errors import UserError


def test_ema_follows_its_formula():
    beta = schedules.half_life_beta(100, 1.0)  # a half-life of 10 steps
    tree = {"w": jnp.ones((2, 3)), "steps": jnp.int32(5)}
    zero = {"w": jnp.zeros((2, 3)), "steps": jnp.int32(0)}
    step = jax.jit(lambda a: average.ema(a, tree, beta))
    for _ in range(20):
        zero = step(zero)
    np.testing.assert_allclose(zero["w"], 0.75, rtol=1e-6)
    assert zero["steps"] == 5


def test_ema_is_exact_at_its_ends_and_where_nothing_moves():
    a, p = jax.random.normal(jax.random.key(0), (2, 1000)) * jnp.array([[1e3], [1e-3]])
    np.testing.assert_array_equal(average.ema(a, p, 0.0), p)
    np.testing.assert_array_equal(average.ema(a, p, 1.0), a)
    np.testing.assert_array_equal(average.ema(p, p, 0.37), p)


def test_complex_weights_and_numbers_are_averaged_too():
    first, last = {"c": np.array([1 + 2j], np.complex64), "n": 1.0}, {"c": np.array([3 - 2j], np.complex64), "n": 2.0}
    got = average.ema(first, last, 0.75)
    assert got["c"] == 1.5 + 1j and got["c"].dtype == jnp.complex64 and got["n"] == 1.25
    assert average.weighted_sum([first, last], [0.75, 0.25])["c"] == 1.5 + 1j


def test_ema_of_bfloat16_weights_stays_float32():
    p = jnp.full(3, 1.0, jnp.bfloat16)
    a = jnp.zeros(3)
    for _ in range(100):
        a = average.ema(a, p, 0.999)
    assert a.dtype == jnp.float32
    np.testing.assert_allclose(a, 1 - 0.999**100, rtol=3e-5)


@pytest.mark.parametrize("width", [0.02, 0.05, 0.10, 0.25])
def test_power_exponent_gives_the_width(width):
    """Standard deviation of t under p(t) = (g + 1) t^g on [0, 1], by quadrature."""
    g = average.power_exponent(width)
    t = (np.arange(200_000) + 0.5) / 200_000
    p = (g + 1) * t**g / 200_000
    mean = np.sum(p * t)
    assert abs(np.sqrt(np.sum(p * (t - mean) ** 2)) - width) < 1e-6


def test_power_beta_makes_a_power_function():
    """The weight of step t in the average after 400 steps is t^g, up to a constant, to first order in 1 / t."""
    width, steps = 0.1, 400
    g = average.power_exponent(width)
    betas = np.asarray(jax.vmap(lambda t: average.power_beta(t, width))(jnp.arange(1, steps + 1)), np.float64)
    exact = (1 - 1 / np.arange(1, steps + 1)) ** (g + 1)
    np.testing.assert_allclose(betas, exact, atol=1e-6)
    weights = np.array([(1 - betas[t]) * np.prod(betas[t + 1 :]) for t in range(steps)])
    assert betas[0] == 0 and abs(weights.sum() - 1) < 1e-6
    t = np.arange(1, steps + 1)
    profile = (t / steps) ** (g + 1) - ((t - 1) / steps) ** (g + 1)  # the integral of p over step t
    assert np.max(np.abs(weights - profile)) < 1e-6


def test_power_beta_takes_what_is_traced_and_nothing_else():
    assert float(jax.jit(lambda t: average.power_beta(t, 0.05))(1)) == 0
    for width in (0.0, 0.3, -0.1):
        with pytest.raises(UserError, match=f"width: {width} is not a relative width"):
            average.power_beta(10, width)


def path(steps=2000):
    """Weights that drift and wander: [steps, 6], float64."""
    rng = np.random.default_rng(0)
    return np.linspace(0, 3, steps)[:, None] + 0.05 * np.cumsum(rng.standard_normal((steps, 6)), axis=0)


def averages(weights, widths, at):
    """Power-function averages of the given widths at some steps, in float64: {(step, width): [6]}."""
    out = {}
    for width in widths:
        g, a = average.power_exponent(width), np.zeros(weights.shape[1])
        for t, w in enumerate(weights, 1):
            beta = (1 - 1 / t) ** (g + 1)
            a = beta * a + (1 - beta) * w
            if t in at:
                out[t, width] = a
    return out


def test_a_length_that_was_not_kept_is_reconstructed():
    """Two widths, a snapshot every 100 of 2,000 steps: other widths come back to a thousandth."""
    weights = path()
    kept = averages(weights, (0.05, 0.10), range(100, 2001, 100))
    wanted = averages(weights, (0.06, 0.075, 0.09, 0.15), (1500, 2000))
    spread = weights.std()
    for (time, width), truth in wanted.items():
        x = average.posthoc_weights(list(kept), time, width)
        built = average.weighted_sum([{"w": a.astype(np.float32)} for a in kept.values()], x)
        assert built["w"].dtype == np.float32
        error = np.max(np.abs(built["w"] - truth)) / spread
        assert error < 1e-3, (time, width, error)
        nearest = min(np.max(np.abs(a - truth)) for a in kept.values()) / spread
        assert nearest > 20 * error  # the sum is much nearer than any average that was kept


def test_a_kept_average_is_itself():
    kept = [(100.0, 0.05), (100.0, 0.1), (200.0, 0.05), (200.0, 0.1)]
    x = average.posthoc_weights(kept, 200.0, 0.1)
    np.testing.assert_allclose(x, [0, 0, 0, 1], atol=1e-9)


@pytest.mark.parametrize("time", [1.4, 2.0])
def test_the_weights_are_those_of_least_squares(time):
    """Over the profiles as functions of time on a fine grid."""
    t = (np.arange(200_000) + 0.5) / 100_000
    profile = lambda end, g: np.where(t < end, (g + 1) * (t / end) ** g / end, 0.0)
    kept = [(1.0, 0.1), (1.0, 0.2), (1.5, 0.15), (2.0, 0.05), (2.0, 0.2)]
    *basis, wanted = (profile(end, average.power_exponent(width)) for end, width in (*kept, (time, 0.12)))
    x = np.linalg.lstsq(np.stack(basis, 1), wanted)[0]
    np.testing.assert_allclose(average.posthoc_weights(kept, time, 0.12), x / x.sum(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("unit", [1000, 1e-3])
def test_weights_do_not_depend_on_the_unit_of_time(unit):
    kept = [(t, w) for t in (1.0, 2.0, 3.0) for w in (0.05, 0.1)]
    other = [(unit * t, w) for t, w in kept]
    want = average.posthoc_weights(kept, 2.5, 0.07)
    np.testing.assert_allclose(average.posthoc_weights(other, unit * 2.5, 0.07), want, rtol=1e-6)


def test_weighted_sum_keeps_types_and_takes_any_iterable():
    trees = ({"w": jnp.full(2, v, jnp.bfloat16), "n": np.int32(v)} for v in (1, 2, 3))
    got = average.weighted_sum(trees, np.array([0.5, 0.25, 0.25]))
    assert got["w"].dtype == jnp.bfloat16 and got["n"] == 3 and got["n"].dtype == np.int32
    np.testing.assert_allclose(got["w"].astype(np.float32), 1.75)


def test_mistakes():
    kept = [(100.0, 0.05), (200.0, 0.1)]
    for time in (300, 0):
        with pytest.raises(UserError, match=f"time: {time} is not in"):
            average.posthoc_weights(kept, time, 0.1)
    for wrong in ([], [*kept, kept[0]], [(0.0, 0.1)]):
        with pytest.raises(UserError, match="snapshots: give"):
            average.posthoc_weights(wrong, 100, 0.1)
    with pytest.raises(ValueError, match=r"an average of shape .1,. for parameters .4, 1."):
        average.ema({"w": np.ones(1)}, {"w": np.ones((4, 1))}, 0.5)
    for trees, weights in ((1, 2), (2, 1), (0, 0)):
        with pytest.raises(UserError, match=f"one average for each of the {weights} weights"):
            average.weighted_sum([{"w": np.ones(2)}] * trees, np.ones(weights))
