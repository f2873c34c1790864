"""ProGAN against a float64 forward pass written from the paper; growing."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import game, grow, method, recipes_stylegan, state
from jaxgan.errors import UserError
from jaxgan.models.progan import Discriminator, Generator, mean, repeat
from tests.reference import progan as reference
from tests.shared import off

SHAPE, BASE, LAST = (16, 24, 2), (4, 6), 2
FIELDS = {"channel_base": 96, "channel_max": 8}


def filled(model, *inputs):
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(model.init, jax.random.key(0), *inputs)
    params = jax.tree.map(lambda a: jnp.asarray(rng.normal(size=a.shape), a.dtype), shapes["params"])
    return {"params": params} | ({"fade": {"alpha": jnp.ones(())}} if "fade" in shapes else {})


@cache
def pair(stage, classes=0):
    g = Generator(SHAPE, classes, z_dim=5, stage=stage, **FIELDS)
    d = Discriminator(SHAPE, classes, stage=stage, **FIELDS)
    z, x = jax.random.normal(jax.random.key(0), (8, 5)), jax.random.uniform(jax.random.key(1), (8, *SHAPE), minval=-1)
    c = jnp.arange(8) % 3 if classes else None
    return g, filled(g, z, c), z, d, filled(d, x, c), x, c


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_both_networks_are_the_papers(stage):
    g, vg, z, d, vd, x, _ = pair(stage)
    fake = jax.jit(g.apply)(vg, z, alpha=jnp.float32(0.3))
    assert fake.shape == (8, *SHAPE)
    assert off(fake, reference.progan_generator(vg["params"], z, BASE, stage, 0.3, LAST)) < 1e-5
    logits = jax.jit(d.apply)(vd, x, alpha=jnp.float32(0.3))
    assert off(logits, reference.progan_discriminator(vd["params"], x, BASE, stage, 0.3, LAST, 4)[:, 0]) < 1e-5


def test_the_papers_sizes():
    """Table 2 of the paper, 1024 pixels: 23.1 million parameters each; ours have one more 1x1 for the fade."""
    made = jax.eval_shape(lambda: game.init(Generator((1024, 1024, 3)), Discriminator((1024, 1024, 3)), 0))
    assert [round(sum(leaf.size for leaf in jax.tree.leaves(v["params"])) / 1e6, 1) for v in made] == [23.1, 23.1]


@pytest.mark.parametrize("stage", [0, 1])
def test_the_grown_pair_at_the_start_of_a_fade_is_the_smaller_pair(stage):
    g, vg, z, d, vd, x, _ = pair(stage)
    larger = pair(stage + 1)
    grown = grow.grow(vg, larger[1]), grow.grow(vd, larger[4])
    fake, logits = jax.jit(g.apply)(vg, z), jax.jit(d.apply)(vd, x)
    np.testing.assert_allclose(jax.jit(larger[0].apply)(grown[0], z, alpha=0.0), fake, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(jax.jit(larger[3].apply)(grown[1], x, alpha=0.0), logits, rtol=1e-5, atol=1e-6)
    assert off(larger[0].apply(grown[0], z, alpha=1.0), np.asarray(fake, np.float64)) > 0.1
    small = fake[:, :: 2 ** (LAST - stage), :: 2 ** (LAST - stage)]  # and that is the smaller image, its pixels repeated
    np.testing.assert_array_equal(repeat(small, LAST - stage), fake)


def test_grow_keeps_what_has_a_place_and_nothing_else():
    old = {"a": jnp.ones(3), "b": {"c": jnp.ones((2, 2)), "gone": jnp.ones(1)}}
    new = {"a": jnp.zeros(3), "b": {"c": jnp.zeros((2, 3)), "more": jnp.zeros(1)}}
    grown = grow.grow(old, new)
    assert jax.tree.structure(grown) == jax.tree.structure(new)
    assert np.all(grown["a"] == 1) and np.all(grown["b"]["c"] == 0) and np.all(grown["b"]["more"] == 0)


def trained(stage):
    """A state of this stage after some steps, by hand: every array differs from a fresh one's."""
    recipe = recipes_stylegan.progan(batch=8)
    g, vg, _, d, vd, *_ = pair(stage)
    fresh = state.create(3, vg, vd, recipe)
    moved = jax.tree.map(lambda a: a + 2 if a.dtype in (jnp.float32, jnp.int32) else a, fresh)
    return recipe, fresh, moved


def test_a_state_grows():
    recipe, _, old = trained(0)
    _, fresh, _ = trained(1)
    grown = grow.grow_state(old, fresh)
    assert int(grown.step) == 2 and jax.tree.structure(grown) == jax.tree.structure(fresh)
    for who in ("g", "d"):
        now, then, new = getattr(grown, who), getattr(old, who), getattr(fresh, who)
        for name in now.params:
            source = then if name in then.params else new
            for tree, other in (
                (now.params, source.params),
                (now.opt[0].mu, source.opt[0].mu),
                (now.opt[0].nu, source.opt[0].nu),
            ):
                jax.tree.map(np.testing.assert_array_equal, tree[name], other[name])
        assert set(now.params) > set(then.params) and int(now.opt[0].count) == 0
    jax.tree.map(np.testing.assert_array_equal, grown.ema["fc"], old.ema["fc"])
    jax.tree.map(np.testing.assert_array_equal, grown.ema["b8_conv0"], fresh.ema["b8_conv0"])


def test_a_stage_has_the_image_layers_of_its_own_fade_only():
    assert set(pair(1)[1]["params"]) >= {"torgb4", "torgb8"} and "torgb4" not in pair(2)[1]["params"]


def test_the_schedule():
    at = lambda kimg: grow.stages(kimg, 2, first=0, stable_kimg=600, fade_kimg=400)
    assert at(0) == (0, 1.0) and at(599.9) == (0, 1.0)
    assert at(600) == (1, 0.0) and at(700) == (1, 0.25) and at(1000) == (1, 1.0) and at(1599) == (1, 1.0)
    assert at(1600) == (2, 0.0) and at(2000) == (2, 1.0) and at(1e6) == (2, 1.0)
    assert grow.stages(0, 3, first=3) == (3, 1.0)
    assert grow.stages(599, 2, first=1) == (1, 1.0) and grow.stages(900, 2, first=1) == (2, 0.5)  # 600 and 600 by default
    traced = jax.jit(lambda kimg: grow.alpha(kimg, 1, stable_kimg=600, fade_kimg=400))
    np.testing.assert_allclose([traced(k) for k in (0.0, 600.0, 700.0, 1e4)], [0, 0, 0.25, 1], atol=1e-6)
    for options in ({"first": 3}, {"stable_kimg": -1}, {"fade_kimg": 0}):
        with pytest.raises(UserError):
            grow.stages(0, 2, **options)


def test_faded_reals():
    x = jax.random.normal(jax.random.key(0), (2, 8, 8, 1))
    np.testing.assert_array_equal(grow.fade_reals(x, 1, 1.0), x)
    np.testing.assert_allclose(grow.fade_reals(x, 1, 0.0), repeat(mean(x, 2), 2), rtol=1e-6)


def test_labels_reach_both_networks():
    g, vg, z, d, vd, x, c = pair(1, classes=3)
    run = jax.jit(g.apply)
    assert off(run(vg, z, (c + 1) % 3), np.asarray(run(vg, z, c), np.float64)) > 0.01
    logits, classes, features = jax.jit(d.apply)(vd, x, c)
    assert logits.shape == (8,) and classes.shape == (8, 3) and features is None
    recipe = recipes_stylegan.progan(batch=8, class_weight=1.0)
    assert [t.name for t in recipe.turns[1].phases[0].terms] == ["adv", "classes"]
    method.check(recipe)


def test_a_stage_that_cannot_be_is_named():
    with pytest.raises(UserError, match="stages 0 to 2"):
        pair(2)[0].clone(stage=3).init(jax.random.key(0), jnp.zeros((1, 5)))
