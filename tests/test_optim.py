"""Optimisers: optax bit for bit, float64 NumPy references, Keras's own numbers, and schedules of kimg."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgan import optim, schedules
from jaxgan.errors import UserError

PARAMS = {"kernel": jnp.arange(12.0).reshape(3, 4) / 7 - 0.8, "bias": jnp.array([0.3, -1.0, 2.0, 0.0])}


def gradient(params, t):
    return jax.tree.map(lambda p: jnp.sin(3 * p + t), params)


def run(tx, steps=6, kimg=True, params=PARAMS):
    """Parameters and state after some steps of a fixed problem, in one compiled step; kimg = step / 10."""

    @jax.jit
    def step(params, state, t):
        extra = {"kimg": t / 10} if kimg else {}
        updates, state = tx.update(gradient(params, t), state, params, **extra)
        return optax.apply_updates(params, updates), state

    state = tx.init(params)
    for t in range(steps):
        params, state = step(params, state, jnp.float32(t))
    return params, state


def numpy_run(rule, steps=6):
    """The same problem in float64: rule(p, g, memory, t) -> p, memory; t from 1."""
    finals = {}
    for name, p in PARAMS.items():
        p, memory = np.asarray(p, np.float64), None
        for t in range(steps):
            p, memory = rule(p, np.sin(3 * p + t), memory, t + 1)
        finals[name] = p
    return finals


def assert_close(got, want, tolerance=2e-6):
    for name in want:
        assert np.max(np.abs(np.asarray(got[name], np.float64) - want[name])) < tolerance


def adam_rule(p, g, memory, t, lr, b1, b2, eps, decay=0.0):
    m, v = memory or (0.0, 0.0)
    m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
    return p - lr * (m / (1 - b1**t) / (np.sqrt(v / (1 - b2**t)) + eps) + decay * p), (m, v)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (optim.adam(1e-2, 0.5, 0.99), optax.adam(1e-2, 0.5, 0.99)),
        (optim.adamw(1e-2, b1=0.0), optax.adamw(1e-2, b1=0.0)),
        (optim.lion(1e-3), optax.lion(1e-3, weight_decay=0.0)),
        (optim.adafactor(1e-2), optax.adafactor(1e-2, multiply_by_parameter_scale=False)),
        (optim.muon_or_adam(1e-2, adam_lr=0.1), optax.contrib.muon(1e-2, adam_learning_rate=0.1)),
        (optim.adam(1e-2, 0.5, 0.9, 1e-3), optax.adam(1e-2, 0.5, 0.9, 1e-3)),
        (optim.adamw(1e-2, b1=0.5, b2=0.9, eps=1e-3, weight_decay=0.1), optax.adamw(1e-2, 0.5, 0.9, 1e-3, weight_decay=0.1)),
        (optim.lion(1e-3, b1=0.5, b2=0.6, weight_decay=0.1), optax.lion(1e-3, 0.5, 0.6, weight_decay=0.1)),
        (
            optim.adafactor(1e-2, decay_rate=0.5, clipping_threshold=0.3, relative=True, smallest=3),
            optax.adafactor(1e-2, 3, decay_rate=0.5, clipping_threshold=0.3),
        ),
        (
            optim.optimistic_adam(1e-2, optimism=0.3, b1=0.6, b2=0.8, eps=1e-3),
            optax.optimistic_adam_v2(1e-2, alpha=1.0, beta=0.3, b1=0.6, b2=0.8, eps=1e-3, nesterov=False),
        ),
        (
            optim.muon_or_adam(1e-2, adam_lr=0.1, beta=0.5, b1=0.6, b2=0.8, eps=1e-3),
            optax.contrib.muon(1e-2, beta=0.5, eps=1e-3, adam_learning_rate=0.1, adam_b1=0.6, adam_b2=0.8),
        ),
    ],
    ids=[
        *("adam", "adamw", "lion", "adafactor", "muon"),
        *(f"{name}, all options" for name in ("adam", "adamw", "lion", "adafactor", "optimistic", "muon")),
    ],
)
def test_numbers_give_optax_bit_for_bit(ours, theirs):
    got, want = run(ours), run(theirs, kimg=False)
    assert jax.tree.structure(got) == jax.tree.structure(want)
    for x, y in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_array_equal(x, y)


def test_what_an_optimiser_needs_beside_kimg_reaches_it():
    """Polyak's rate is the loss over the squared length of the gradient."""
    tx = optim.scheduled(optax.polyak_sgd, max_learning_rate=schedules.constant(10.0))
    updates, _ = tx.update(jnp.array([3.0, 4.0]), tx.init(jnp.zeros(2)), kimg=0.0, value=jnp.float32(5.0))
    np.testing.assert_allclose(updates, [-3 / 5, -4 / 5], rtol=1e-5)


@pytest.mark.parametrize("given", [{"lr": -1e-3}, {"lr": 1e-3, "b1": 1.0}, {"lr": 1e-3, "b2": -0.1}])
def test_numbers_that_cannot_be_are_refused(given):
    with pytest.raises(UserError, match="it must be at least 0"):
        optim.adam(**given)


def test_adam_and_adamw_match_the_paper():
    rule = partial(adam_rule, lr=1e-2, b1=0.5, b2=0.99, eps=1e-8)
    assert_close(run(optim.adam(1e-2, 0.5, 0.99))[0], numpy_run(rule))
    decayed = partial(rule, decay=0.1)
    assert_close(run(optim.adamw(1e-2, b1=0.5, b2=0.99, weight_decay=0.1))[0], numpy_run(decayed))


def test_schedules_are_those_of_kimg():
    """lr and b2 move as in R3GAN; step t is at kimg (t - 1) / 10."""
    lr, b2 = schedules.cosine(1e-2, 1e-3, 0.4), schedules.linear(0.9, 0.99, 0.3)

    def rule(p, g, memory, t):
        share = min((t - 1) / 4, 1)
        rate = 1e-3 + 9e-3 * (1 + np.cos(np.pi * share)) / 2
        return adam_rule(p, g, memory, t, rate, 0.0, 0.9 + 0.09 * min((t - 1) / 3, 1), 1e-8)

    assert_close(run(optim.adam(lr, 0.0, b2))[0], numpy_run(rule), tolerance=1e-5)
    with pytest.raises(ValueError, match="kimg: b2, learning_rate follow a schedule"):
        run(optim.adam(lr, 0.0, b2), kimg=False)


def test_keras_adam_matches_its_formula():
    def rule(p, g, memory, t, lr=1e-2, b1=0.9, b2=0.999, eps=1e-2):
        m, v = memory or (0.0, 0.0)
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        return p - lr * np.sqrt(1 - b2**t) / (1 - b1**t) * m / (np.sqrt(v) + eps), (m, v)

    assert_close(run(optim.adam_keras(1e-2, eps=1e-2))[0], numpy_run(rule))
    apart = jax.tree.map(lambda a, b: float(jnp.max(jnp.abs(a - b))), run(optim.adam(1e-2, eps=1e-2))[0], numpy_run(rule))
    assert min(apart.values()) > 1e-3  # the two epsilons do differ


def test_keras_adam_matches_keras():
    """Six steps of keras.optimizers.Adam(1e-2, 0.5, 0.999, 1e-3), Keras 3.15.1 on JAX, gradients over five decades."""
    keras = [
        [0.9903622269630432, -2.0022332668304443, 0.49999552965164185, 0.010958325117826462],
        [0.9804929494857788, -2.001577854156494, 0.5000017285346985, 0.00634607020765543],
        [0.9742512702941895, -2.0006048679351807, 0.49999213218688965, 0.008028680458664894],
        [0.9767834544181824, -2.002349853515625, 0.5000050067901611, 0.011126292869448662],
        [0.9841587543487549, -2.00197434425354, 0.499988317489624, 0.006190943066030741],
        [0.9900182485580444, -2.000415563583374, 0.5000087022781372, 0.009803228080272675],
    ]
    tx = optim.adam_keras(1e-2, 0.5, 0.999, 1e-3)
    params = jnp.array([1.0, -2.0, 0.5, 1e-3])
    state = tx.init(params)
    for t, want in enumerate(keras, 1):
        g = np.sin(np.arange(1, 5) * t).astype(np.float32) * np.array([1, 1e-2, 1e-4, 10], np.float32)
        updates, state = tx.update(jnp.asarray(g), state, params)
        params = params + updates
        np.testing.assert_allclose(params, want, rtol=3e-7, atol=3e-8)


def test_rmsprop_matches_its_formula_and_pytorch():
    """The second: six steps of torch.optim.RMSprop(lr=1e-2), PyTorch 2.13.0, on the gradients of Keras's test above."""

    def rule(p, g, v, t, lr=1e-2, decay=0.9, eps=1e-2):
        v = decay * (0.0 if v is None else v) + (1 - decay) * g * g
        return p - lr * g / (np.sqrt(v) + eps), v

    assert_close(run(optim.rmsprop(1e-2, decay=0.9, eps=1e-2))[0], numpy_run(rule))
    tx, params = optim.rmsprop(1e-2), jnp.array([1.0, -2.0, 0.5, 1e-3])
    state = tx.init(params)
    for t in range(1, 7):
        g = np.sin(np.arange(1, 5) * t).astype(np.float32) * np.array([1, 1e-2, 1e-4, 10], np.float32)
        updates, state = tx.update(jnp.asarray(g), state, params)
        params = params + updates
    torch = [0.9388901591300964, -2.011892080307007, 0.4770547151565552, 0.07508403062820435]
    np.testing.assert_allclose(params, torch, rtol=1e-6)


def test_optimistic_adam_adds_the_change():
    def rule(p, g, memory, t, lr=1e-2, b1=0.5, b2=0.9, eps=1e-8):
        m, v, old = memory or (0.0, 0.0, None)
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        r = m / (1 - b1**t) / (np.sqrt(v / (1 - b2**t)) + eps)
        return p - lr * (2 * r - (r if old is None else old)), (m, v, r)

    assert_close(run(optim.optimistic_adam(1e-2))[0], numpy_run(rule), tolerance=1e-5)


def test_optimism_damps_a_two_player_game():
    """min over x, max over y of x y: the optimistic players come to the middle, the others keep circling."""

    def distance(tx, steps=1500):
        def step(carry, _):
            xy, state = carry
            updates, state = tx.update(jnp.array([xy[1], -xy[0]]), state, xy, kimg=0.0)
            return (xy + updates, state), jnp.linalg.norm(xy)

        xy = jnp.array([1.0, 1.0])
        return jax.jit(lambda: jax.lax.scan(step, (xy, tx.init(xy)), length=steps)[1][-200:].mean())()

    # b1 = 0 and a large eps make Adam nearly plain gradient descent
    plain, hopeful = (optim.optimistic_adam(1.0, optimism=o, b1=0.0, b2=0.999, eps=10.0) for o in (0.0, 1.0))
    assert distance(plain) > 10 and distance(hopeful) < 0.05


def test_lion_steps_by_signs():
    def rule(p, g, memory, t, lr=1e-3, b1=0.9, b2=0.99, decay=0.1):
        m = 0.0 if memory is None else memory
        return p - lr * (np.sign(b1 * m + (1 - b1) * g) + decay * p), b2 * m + (1 - b2) * g

    assert_close(run(optim.lion(1e-3, weight_decay=0.1))[0], numpy_run(rule))


def test_adafactor_follows_the_paper():
    """Unfactored (small arrays): v <- b v + (1 - b) g^2 with b = 1 - t^-0.8, steps of root mean square at most 1."""

    def rule(p, g, v, t, lr=1e-2):
        b = 1 - t**-0.8
        v = b * (0.0 if v is None else v) + (1 - b) * (g * g + 1e-30)
        u = g / np.sqrt(v)
        return p - lr * u / max(1.0, np.sqrt(np.mean(u**2))), v

    assert_close(run(optim.adafactor(1e-2))[0], numpy_run(rule))


def test_adafactor_keeps_a_row_and_a_column():
    state = optim.adafactor(1e-2, smallest=8).init({"kernel": jnp.ones((8, 16))})
    assert max(leaf.size for leaf in jax.tree.leaves(state)) == 16
    first = {"kernel": jnp.outer(jnp.arange(1.0, 9), jnp.arange(1.0, 17))}  # of rank one: the factors are exact
    updates, _ = optim.adafactor(1e-2, smallest=8).update(first, state, {"kernel": jnp.ones((8, 16))}, kimg=0.0)
    np.testing.assert_allclose(updates["kernel"], -1e-2, rtol=1e-5)


def test_muon_steps_are_nearly_orthogonal_and_adam_takes_the_rest():
    params = {"conv": jnp.zeros((3, 3, 2, 6)), "dense": jnp.zeros((6, 4)), "bias": jnp.zeros(4)}
    keys = dict(zip(params, jax.random.split(jax.random.key(0), 3), strict=True))
    grads = {name: jax.random.normal(keys[name], p.shape) for name, p in params.items()}
    tx = optim.muon_or_adam(schedules.constant(0.02), adam_lr=0.1)
    updates, _ = jax.jit(tx.update)(grads, tx.init(params), params, kimg=jnp.float32(0))
    for name in ("conv", "dense"):
        step = np.asarray(updates[name]).reshape(-1, params[name].shape[-1])
        wide = max(1, step.shape[1] / step.shape[0]) ** 0.5
        singular = np.linalg.svd(step, compute_uv=False) / (0.02 * wide)
        assert 0.6 < singular.min() and singular.max() < 1.3  # five Newton-Schulz steps come this near to 1
        assert np.sum(step * np.asarray(grads[name]).reshape(step.shape)) < 0
    first = 1 + 0.9 / 1.9  # of Adam with Nesterov momentum, 1 + b1 / (1 + b1)
    np.testing.assert_allclose(updates["bias"], -0.1 * first * np.sign(grads["bias"]), rtol=1e-4)


def test_lazy_correction_keeps_the_decay_of_a_cycle():
    """With k + 1 optimiser steps for k, lr adds up to the same and the betas decay the same."""
    lr, b1, b2 = optim.lazy(2e-3, 0.5, 0.99, every=16)
    assert np.allclose([17 * lr, b1**17, b2**17], [16 * 2e-3, 0.5**16, 0.99**16], rtol=1e-12)
    assert optim.lazy(2e-3, 0.0, 0.99, every=4)[1] == 0
    moving = optim.lazy(schedules.linear(1.0, 0.0, 10), 0.0, 0.99, every=4)[0]
    np.testing.assert_allclose(moving(jnp.float32(5)), 0.4)
    with pytest.raises(UserError, match="every: the lazy interval is 0"):
        optim.lazy(2e-3, 0.0, 0.99, every=0)


def test_gradients_are_clipped_to_a_length():
    sgd = optim.scheduled(optax.sgd, learning_rate=1.0)
    tx = optim.clip_gradient(sgd, schedules.linear(1.0, 2.0, 10))
    grads = {"kernel": jnp.full((3, 4), 3.0), "bias": jnp.full(4, 4.0)}
    length = lambda updates: float(optax.tree.norm(updates))
    state = tx.init(PARAMS)
    assert abs(length(tx.update(grads, state, PARAMS, kimg=5.0)[0]) - 1.5) < 1e-6
    small = jax.tree.map(lambda g: g / 100, grads)
    np.testing.assert_allclose(tx.update(small, state, PARAMS, kimg=0.0)[0]["bias"], -0.04, rtol=1e-6)


def test_what_is_frozen_stays_and_the_rest_is_trained_as_if_alone():
    rates = schedules.linear(0.5, 0.1, 10)
    tx = optim.frozen(optim.clip_gradient(optim.adam(rates), 1.0), lambda path: path == "bias")
    params, state = run(tx)
    np.testing.assert_array_equal(params["bias"], PARAMS["bias"])
    alone = {"kernel": PARAMS["kernel"]}
    wanted, opt = run(optim.clip_gradient(optim.adam(rates), 1.0), params=alone)
    np.testing.assert_array_equal(params["kernel"], wanted["kernel"])
    assert sum(a.size for a in jax.tree.leaves(state)) == sum(a.size for a in jax.tree.leaves(opt))


def test_weights_are_clipped_after_the_step():
    params, _ = run(optim.clip_weights(optim.adam(schedules.constant(0.3)), limit=0.5))
    assert all(float(jnp.max(jnp.abs(p))) <= 0.5 + 1e-7 for p in jax.tree.leaves(params))
    free, _ = run(optim.clip_weights(optim.adam(0.3), limit=1e3))
    assert_close(free, {n: np.asarray(p, np.float64) for n, p in run(optim.adam(0.3))[0].items()})
    with pytest.raises(UserError, match="limit: weights cannot be clipped to 0"):
        optim.clip_weights(optim.adam(0.3), limit=0)
    tx = optim.clip_weights(optim.adam(0.3))
    with pytest.raises(ValueError, match="params: clipping needs"):
        tx.update(PARAMS, tx.init(PARAMS))


def test_keras_adam_has_kerass_numbers():
    """Rate 0.001, decays 0.9 and 0.999, eps 1e-7 beside sqrt(v), which the bias correction does not reach."""
    tx, one = optim.adam_keras(), jnp.ones(())
    g = 1e-7 / 0.001**0.5  # sqrt(v) = eps after the first step: half a step
    moved, opt = tx.update(g * one, tx.init(one), one)
    np.testing.assert_allclose(moved, -0.001 / 2, rtol=1e-4)
    np.testing.assert_allclose([opt.mu, opt.nu], [0.1 * g, 0.001 * g**2], rtol=1e-4)
    half = jnp.ones((), jnp.bfloat16)
    assert tx.update(half, tx.init(half), half)[0].dtype == jnp.bfloat16
