"""Schedules against closed forms in float64, at their ends, inside jit, and with bad lengths."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import schedules
from jaxgan.errors import UserError


def at(schedule, *kimg):
    """Values at some kimg, traced once; float32 scalars."""
    values = jax.jit(lambda kimg: [schedule(k) for k in kimg])(jnp.array(kimg, jnp.float32))
    assert all(v.shape == () and v.dtype == jnp.float32 for v in values)
    return np.array(values, np.float64)


def test_numbers_and_schedules_are_both_taken():
    np.testing.assert_array_equal(at(schedules.as_schedule(0.25), 0, 7), [0.25, 0.25])
    mine = lambda kimg: 2 * kimg
    assert schedules.as_schedule(mine) is mine


def test_cosine_is_half_a_period():
    got = at(schedules.cosine(2e-4, 5e-5, 80), 0, 20, 40, 60, 80, 1000)
    share = np.array([0, 0.25, 0.5, 0.75, 1, 1])
    want = 5e-5 + (2e-4 - 5e-5) * (1 + np.cos(np.pi * share)) / 2
    np.testing.assert_allclose(got, want, rtol=1e-6)
    assert got[0] == np.float32(2e-4) and got[-1] == np.float32(5e-5)


def test_linear_and_warmup():
    np.testing.assert_allclose(at(schedules.linear(1.0, 3.0, 10), 0, 5, 10, 99), [1, 2, 3, 3])
    np.testing.assert_allclose(at(schedules.warmup(4.0, 10), 0, 5, 10, 99), [0, 2, 4, 4])
    falling = schedules.warmup(schedules.linear(1.0, 0.0, 20), 10)
    np.testing.assert_allclose(at(falling, 0, 5, 10, 15, 20), [0, 0.375, 0.5, 0.25, 0], atol=1e-7)


def test_linear_decay_is_flat_first():
    got = at(schedules.linear_decay(2e-4, 10, 30), 0, 10, 15, 29, 30, 99)
    np.testing.assert_allclose(got, [2e-4, 2e-4, 1.5e-4, 1e-5, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(at(schedules.linear_decay(2.0, 10, 10), 0, 9.9, 10), [2, 2, 0])
    with pytest.raises(UserError, match="kimg: the length of a schedule is -1"):
        schedules.linear_decay(1.0, 3, 2)


def test_a_length_of_zero_is_the_end_and_a_negative_one_an_error():
    for make in (schedules.cosine, schedules.linear):
        assert at(make(1.0, 0.5, 0), 0)[0] == 0.5
        with pytest.raises(UserError, match="kimg: the length of a schedule is -1; give"):
            make(1.0, 0.5, -1)
    assert at(schedules.warmup(3.0, 0), 0)[0] == 3
    with pytest.raises(UserError, match="kimg: the length"):
        schedules.warmup(1.0, -1)


def test_ramp_is_the_smaller_of_the_two():
    np.testing.assert_allclose(at(schedules.ramp(10.0, 0.05), 0, 100, 200, 1e6), [0, 5, 10, 10])
    np.testing.assert_allclose(at(schedules.ramp(schedules.linear(4.0, 8.0, 100), 0.1), 10, 50, 1000), [1, 5, 8])
    assert at(schedules.ramp(10.0, None), 0)[0] == 10
    for none in (schedules.ramp(0.0, 0.05), schedules.ramp(10.0, 0.0)):
        assert at(none, 1000)[0] == 0
    with pytest.raises(UserError, match="ema_kimg -1: a half-life is 0 or more"):
        schedules.ramp(-1.0, 0.05)
    with pytest.raises(UserError, match="rampup: -0.1 is negative"):
        schedules.ramp(10.0, -0.1)


@pytest.mark.parametrize("batch", [1, 32, 4096])
@pytest.mark.parametrize("ema_kimg", [1e-3, 0.5, 10.0, 500.0, 1e5])
def test_half_life_beta_is_the_nearest_float(batch, ema_kimg):
    want = 0.5 ** (batch / 1000 / ema_kimg)
    got = float(jax.jit(schedules.half_life_beta, static_argnums=0)(batch, ema_kimg))
    assert abs(got - want) <= 2e-7 * want + 1e-37  # within three roundings, also where beta is tiny


def test_half_life_beta_at_its_ends():
    beta = jax.jit(lambda ema_kimg: schedules.half_life_beta(32, ema_kimg))
    assert [float(beta(e)) for e in (0.0, 1e-30, 1e30, np.inf)] == [0, 0, 1, 1]
    for ema_kimg in (0.0, 1e-20, 10.0, 1e30):
        assert math.isfinite(jax.grad(beta)(ema_kimg))


def test_half_the_weight_is_left_after_one_half_life():
    beta = float(schedules.half_life_beta(100, 5.0))
    assert abs(beta**50 - 0.5) < 1e-5
