"""Attacks against closed forms of linear losses; balls, ranges, keys; and the term that trains on attacked images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import attacks

SHAPE = (3, 4, 2)
RNG = np.random.default_rng(0)
A = RNG.standard_normal(SHAPE).astype(np.float32)
X = RNG.uniform(-0.5, 0.5, (5, *SHAPE)).astype(np.float32)
linear = lambda y: jnp.einsum("bhwc,hwc->b", y, A, precision="highest")
curved = lambda y: jnp.tanh(jnp.einsum("bhwc,hwc->b", y, A, precision="highest")) + jnp.cos(3 * y).sum((1, 2, 3))
flat = lambda a: np.asarray(a).reshape(len(a), -1)


def attack(key=None, loss=linear, x=X, **options):
    return np.asarray(attacks.pgd(key, loss, jnp.asarray(x), **{"eps": 0.2, "step": 0.06, "steps": 8, **options}))


@pytest.mark.parametrize("key", [None, jax.random.key(3)])
def test_a_linear_loss_is_raised_to_the_closed_form(key):
    gain = lambda y: (flat(y) - flat(X)) @ A.ravel()
    y = attack(key)
    np.testing.assert_allclose(y, X + 0.2 * np.sign(A), atol=1e-6)
    np.testing.assert_allclose(gain(y), 0.2 * np.abs(A).sum(), rtol=1e-5)
    # from a random point of the sphere the direction is not yet the gradient's, but every step turns towards it
    y = attack(key, norm="l2", steps=40)
    np.testing.assert_allclose(gain(y), 0.2 * np.linalg.norm(A), rtol=1e-5 if key is None else 1e-3)
    np.testing.assert_allclose(np.linalg.norm(flat(y - X), axis=1), 0.2, rtol=1e-5)


def test_the_range_cuts_it():
    x = np.clip(3 * X, -1, 1)
    np.testing.assert_allclose(attack(x=x, eps=0.5, step=0.2), np.clip(x + 0.5 * np.sign(A), -1, 1), atol=1e-6)
    np.testing.assert_allclose(attack(x=(x + 1) / 2, low=0.0), np.clip((x + 1) / 2 + 0.2 * np.sign(A), 0, 1), atol=1e-6)


@pytest.mark.parametrize("norm", attacks.NORMS)
def test_it_stays_in_the_ball_and_the_range_and_climbs(norm):
    x = np.clip(3 * X, -1, 1)
    for eps in (0.0, 0.3):
        y = attack(jax.random.key(1), curved, x, norm=norm, eps=eps)
        size = np.abs(flat(y - x)).max(1) if norm == "linf" else np.linalg.norm(flat(y - x), axis=1)
        assert (size <= eps * (1 + 1e-6) + 1e-7).all() and np.abs(y).max() <= 1
    assert (np.asarray(curved(y)) > np.asarray(curved(x)) + 0.1).all()


@pytest.mark.parametrize("norm", attacks.NORMS)
def test_one_step_from_the_image_is_fgsm(norm):
    y = attacks.fgsm(curved, jnp.asarray(X), eps=0.1, norm=norm)
    np.testing.assert_array_equal(y, attack(None, curved, eps=0.1, step=0.1, steps=1, norm=norm))
    g = np.asarray(jax.grad(lambda y: curved(y).sum())(jnp.asarray(X)))
    unit = np.sign(g) if norm == "linf" else g / np.linalg.norm(flat(g), axis=1)[:, None, None, None]
    np.testing.assert_allclose(y, X + 0.1 * unit, atol=1e-6)


@pytest.mark.parametrize("norm", attacks.NORMS)
def test_the_start_is_uniform_in_the_ball_and_an_images_own(norm):
    x, keys = np.zeros((2000, 2, 1, 1), np.float32), jax.random.split(jax.random.key(0), 2000)
    nothing = lambda y: jnp.zeros(len(y)) * y.sum((1, 2, 3))  # no gradient: it stays where it starts
    y = attack(keys, nothing, x, norm=norm, eps=0.4, steps=1)
    inside = np.abs(flat(y)).max(1) if norm == "linf" else np.linalg.norm(flat(y), axis=1)
    assert abs((inside < 0.2).mean() - 0.25) < 0.04  # a quarter of a square's area, and of a disc's
    assert np.abs(flat(y).mean(0)).max() < 0.02
    few = attack(keys[5:7], nothing, x[5:7], norm=norm, eps=0.4, steps=1)
    np.testing.assert_array_equal(few, y[5:7])


def test_a_flat_loss_moves_nothing_and_no_gradient_passes():
    flat_loss = lambda y: 0.0 * y.sum((1, 2, 3))
    for norm in attacks.NORMS:
        np.testing.assert_array_equal(attack(None, flat_loss, norm=norm), X)
        tiny = attack(None, lambda y: 1e-30 * linear(y), norm=norm)  # whose square underflows
        dual = np.linalg.norm(A.ravel(), {"linf": 1, "l2": 2}[norm])
        np.testing.assert_allclose((flat(tiny) - flat(X)) @ A.ravel(), 0.2 * dual, rtol=1e-4)
    slope = jax.grad(lambda x: attacks.pgd(None, curved, x, eps=0.1, step=0.1, steps=2).sum())(jnp.asarray(X))
    assert not np.asarray(slope).any()


def test_what_is_refused():
    x = jnp.asarray(X)
    for options, loss, says in (
        ({"norm": "l1"}, linear, "linf, l2"),
        ({"steps": 0}, linear, "at least 1"),
        ({}, lambda y: y, "one logit per image"),
    ):
        with pytest.raises(ValueError, match=says):
            attack(None, loss, **options)
    with pytest.raises(ValueError, match="float"):
        attacks.fgsm(linear, jnp.zeros((1, *SHAPE), jnp.uint8), eps=0.1)
    with pytest.raises(ValueError, match="typed key"):
        attacks.pgd(jnp.zeros(2, jnp.uint32), linear, x, eps=0.1, step=0.1, steps=1)
