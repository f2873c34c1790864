"""The classic recipes: each makes a step on a small pair, with its paper's structure and numbers."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import game, method, recipes_classic, schedules, state, step
from jaxgan.models import mlp

SHAPE, B = (4, 4, 1), 6
HEADS = {"ac_gan": "classes", "reacgan": "embedding", "multi_hinge": "multi_hinge"}
CRITICS = {"wgan": 5, "wgan_gp": 5, "sngan": 5, "biggan": 2, "reacgan": 5, "multi_hinge": 5}
NAMES = ("goodfellow", "wgan", "wgan_gp", "ac_gan", "sngan", "sagan", "biggan", "reacgan", "multi_hinge")


def run(name, **options):
    recipe = getattr(recipes_classic, name)(batch=B, **options)
    g = mlp.Generator(SHAPE, 3, z_dim=5, widths=(8,))
    quiet = {"dropout": 0.0, "dropout_image": 0.0}
    d = mlp.Discriminator(SHAPE, 3, widths=(6,), pieces=2, head=HEADS.get(name, ""), spread=0.5, **quiet)
    first = jax.jit(lambda: state.create(0, *game.init(g, d, 0), recipe))()
    method.check(recipe)
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.integers(0, 256, (recipe.slots, 1, B, *SHAPE), np.uint8))
    c = jnp.asarray(rng.integers(0, 3, (recipe.slots, 1, B)))
    update = partial(step.update, game=game.game(g, d), recipe=recipe, due=step.due(recipe, 0))
    fn = jax.jit(update, compiler_options={"xla_backend_optimization_level": 0})  # compiles in a third of the time
    return recipe, first, *fn(first, x, c)


@pytest.mark.parametrize("name", NAMES)
def test_a_step_moves_both_players(name):
    assert getattr(recipes_classic, name)(batch=B).slots == CRITICS.get(name, 1)
    recipe, first, now, log = run(name, **({"n_critic": 2} if name in CRITICS else {}))
    assert all(np.isfinite(value) for value in log.values())
    for player in ("g", "d"):
        moved = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), getattr(first, player).params, getattr(now, player).params)
        kernels = [m for path, m in jax.tree_util.tree_leaves_with_path(moved) if path[-1].key == "kernel"]
        assert min(kernels) > 0
    if name == "reacgan":
        assert np.abs(first.d.params["head"]["proxies"] - now.d.params["head"]["proxies"]).max() > 0
    if name == "wgan":
        assert max(float(np.abs(p).max()) for p in jax.tree.leaves(now.d.params)) <= 0.01 * (1 + 1e-6)
        assert max(float(np.abs(p).max()) for p in jax.tree.leaves(first.d.params)) > 0.01
    if name == "goodfellow":
        assert len(recipe.turns) == 1 and len(recipe.turns[0].phases) == 2  # both at once


def test_averages_are_the_papers():
    for name, batch in (("biggan", 2048), ("reacgan", 128), ("multi_hinge", 64)):
        recipe = getattr(recipes_classic, name)(batch=batch)
        beta = float(schedules.half_life_beta(batch, recipe.ema_kimg(0.0)))
        assert abs(1 - beta - 1e-4) < 1e-6
    assert float(recipes_classic.sngan().ema_kimg(5.0)) == 0


def test_goodfellows_rate_and_momentum():
    """One parameter with a gradient of 1: p moves by rate (1 + m), ... with the numbers of the configuration."""
    tx = recipes_classic.goodfellow().tx["g"]
    for kimg, rate, momentum in ((0.0, 0.1, 0.5), (6250.0, 0.1 * 1.000004**-62_500, 0.6), (4e8, 1e-6, 0.7)):
        params = jnp.zeros(())
        opt = tx.init(params)
        one, opt = tx.update(jnp.ones(()), opt, params, kimg=jnp.float32(kimg))
        two, _ = tx.update(jnp.ones(()), opt, params, kimg=jnp.float32(kimg))
        np.testing.assert_allclose([one, two], [-rate, -rate * (1 + momentum)], rtol=1e-4)


def test_rates_fall_to_zero_or_stay():
    for recipe, end in ((recipes_classic.wgan_gp(kimg=8.0), 0.0), (recipes_classic.sngan(kimg=None), 2e-4)):
        tx = recipe.tx["d"]
        update, _ = tx.update(jnp.ones(()), tx.init(jnp.zeros(())), jnp.zeros(()), kimg=jnp.float32(8.0))
        assert abs(abs(float(update)) - end) < 1e-7
