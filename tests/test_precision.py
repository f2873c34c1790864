"""The switches of every config: --dtype bfloat16 keeps what must be float32 in float32; --remat changes memory, not numbers."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.configs import CONFIGS, paired, unpaired
from jaxgan import calls, game, parallel, penalties
from tests.test_loop import CASES, machine


def floats(tree):
    return {leaf.dtype for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.floating)}


def inner(jaxpr, primitives):
    """dtypes of the operands of these primitives, in a jaxpr and in those inside it."""
    found = []
    for eqn in jaxpr.eqns:
        if eqn.primitive.name in primitives:
            found += [v.aval.dtype for v in eqn.invars[:2] if hasattr(v, "aval")]
        for value in eqn.params.values():
            for each in value if isinstance(value, tuple | list) else (value,):
                if hasattr(each, "jaxpr") or hasattr(each, "eqns"):
                    found += inner(getattr(each, "jaxpr", each), primitives)
    return found


@pytest.mark.parametrize("name", CASES)
def test_bfloat16_is_the_arithmetic_and_nothing_else(name):
    config = dataclasses.replace(CASES[name], dtype="bfloat16")
    shape, classes = (28, 28, 1 + isinstance(config, unpaired.Config)), 10 if config.conditional == "auto" else 0
    pairs = isinstance(config, paired.Config | unpaired.Config)
    made = config.design(shape, shape if pairs else classes)
    design = made[-1] if isinstance(made[0], tuple) else made  # of networks that grow the whole
    g, d = jax.eval_shape(lambda: game.init(design.generator, design.discriminator, 0))
    assert floats((g, d)) == {jnp.dtype("float32")}  # weights, statistics, and so the optimiser's state and the averages
    c = jnp.zeros((4, *shape)) if pairs else jnp.zeros(4, jnp.int32) if classes else None
    keys = jax.random.split(jax.random.key(0), 4)
    options = {"keys": keys, "train": True}

    def outputs(g, d):
        mutable = lambda tree: [k for k in tree if k != "params"]
        z = c if pairs else jnp.zeros((4, design.generator.z_dim))
        x, _ = design.generator.apply(g, z, c, **options, mutable=mutable(g))
        return x, design.discriminator.apply(d, x, c, **options, mutable=mutable(d))

    traced = jax.make_jaxpr(outputs)(g, d)
    assert {v.aval.dtype for v in traced.jaxpr.outvars if jnp.issubdtype(v.aval.dtype, jnp.floating)} == {jnp.dtype("float32")}
    used = inner(traced.jaxpr, ("conv_general_dilated", "dot_general"))
    assert jnp.dtype("bfloat16") in used


def test_penalties_and_losses_of_a_bfloat16_critic_sum_in_float32():
    kernel = jnp.ones((28 * 28, 1), jnp.bfloat16)
    critic = lambda x: (x.reshape(len(x), -1).astype(jnp.bfloat16) @ kernel)[:, 0]
    x = jnp.ones((2, 28, 28, 1))
    traced = jax.make_jaxpr(lambda x: penalties.r1(critic, x))(x)
    assert set(inner(traced.jaxpr, ("reduce_sum",))) == {jnp.dtype("float32")}
    np.testing.assert_array_equal(penalties.r1(critic, x), 28 * 28)  # in bfloat16 a sum of ones stops at 256


@pytest.mark.slow
def test_bfloat16_training_of_the_default_config_is_finite_and_close(monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    losses, first = {}, None
    for dtype in ("float32", "bfloat16"):
        config = dataclasses.replace(CASES["digits"], batch=8, width=8, every=1, dtype=dtype)
        recipe, made, s = machine(config, fill=first and 0.0)
        first = first or s  # of both: its weights are float32
        s, meter = parallel.replicate((first, made.meter))
        for k in range(24):
            s, meter, _ = made.run(s, meter, made.feed.at(k), calls.dues(recipe, k, 1))
        assert int(meter["bad_step"]) == 2**31 - 1
        state_floats = (s.g, s.d, s.ema, s.averages, s.carry)
        assert floats(state_floats) == {jnp.dtype("float32")}
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state_floats))
        losses[dtype] = {name: float(v[0] / v[1]) for name, v in meter.items() if name != "bad_step"}
    for name, value in losses["float32"].items():
        assert abs(losses["bfloat16"][name] - value) < 0.1 * max(1.0, abs(value)), name


KEPT = {
    "digits": 0.5,
    "digits-tutorial": 0.9,
    "sngan": 0.5,
    "biggan": 0.5,
    "stylegan2": 0.2,
    "stylegan3": 0.25,
    "r3gan": 0.5,
    "gat": 0.4,
    "gan": 1.0,
}
"""Families, and the share of what is kept for the backward pass that --remat may keep; a perceptron has nothing to forget."""


def play(config, batch):
    """(params of both) -> the game's fake images and logits of them, and the parameters' shapes."""
    shape, classes = (28, 28, 1), 10 if config.conditional == "auto" else 0
    design = config.design(shape, classes)
    variables = jax.eval_shape(lambda: game.init(design.generator, design.discriminator, 0))
    c = jnp.zeros(batch, jnp.int32) if classes else None
    keys = jax.random.split(jax.random.key(0), batch)

    def both(params):
        g, d = (
            jax.tree.map(lambda a: jnp.full(a.shape, 0.05, a.dtype), v) | {"params": p}
            for v, p in zip(variables, params, strict=True)
        )
        w, _ = design.game.latent(g, keys, c, 0.0, None, True)
        x, g_stats = design.game.synthesize(g, keys, w, c, 0.0, None, True)
        verdict, d_stats = design.game.judge(d, keys, x, c, 0.0, None, True)
        return verdict.logits, (g_stats, d_stats)

    return both, tuple(v["params"] for v in variables)


@pytest.mark.parametrize("name", KEPT)
def test_remat_keeps_less_for_the_backward_pass(name):
    """What `jax.vjp` keeps, by its shapes: a CPU's compiler undoes the recomputation, so its memory says nothing."""
    kept = {}
    for remat in (False, True):
        both, params = play(dataclasses.replace(CONFIGS[name], remat=remat), 64)
        pull = jax.eval_shape(lambda p, both=both: jax.vjp(both, p, has_aux=True)[1], params)
        kept[remat] = sum(a.size * a.dtype.itemsize for a in jax.tree.leaves(pull))
    assert kept[True] <= KEPT[name] * kept[False]


@pytest.mark.slow
def test_remat_changes_no_output_statistic_or_gradient():
    config = dataclasses.replace(CASES["sngan"], size=(28, 28))  # batch norm and spectral norm: both have statistics
    rng, found = np.random.default_rng(0), []
    _, shapes = play(config, 4)
    params = jax.tree.map(lambda a: jnp.asarray(rng.normal(0, 0.3, a.shape), a.dtype), shapes)
    for remat in (False, True):
        both, _ = play(dataclasses.replace(config, remat=remat), 4)
        loss = lambda p, both=both: (lambda logits, stats: (logits.sum(), (logits, stats)))(*both(p))
        found.append(jax.jit(jax.grad(loss, has_aux=True))(params))
    for a, b in zip(*map(jax.tree.leaves, found), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4 * float(jnp.abs(b).max() + 1))
