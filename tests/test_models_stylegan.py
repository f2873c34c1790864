"""StyleGAN against a float64 forward pass written from the paper; its draws and its halves."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import game, method, recipes_stylegan
from jaxgan.models.stylegan import Discriminator, Epilogue, Generator
from tests.reference import progan as reference
from tests.shared import filled, off

SHAPE, BASE = (12, 20, 3), (6, 10)
FIELDS = {"channel_base": 120, "channel_max": 8}


@cache
def generator(**fields):
    g = Generator(SHAPE, z_dim=5, w_dim=4, mapping_layers=3, **FIELDS, **fields)
    z, keys = jax.random.normal(jax.random.key(0), (4, 5)), jax.random.split(jax.random.key(1), 4)
    c = jnp.eye(3)[jnp.array([0, 2, 1, 1])] if g.classes else None
    v = filled(g, z, c, keys=keys)
    v["params"]["mapping_network"] = jax.tree.map(lambda a: 100 * a, v["params"]["mapping_network"])
    return g, v, z, c, keys


def test_mapping_and_synthesis_are_the_papers():
    g, v, z, _, _ = generator()
    w = jax.jit(partial(g.apply, method="mapping"))(v, z)
    assert w.shape == (4, 4, 4) and off(w[:, 0], reference.stylegan_mapping(v["params"]["mapping_network"], z)) < 1e-5
    w = jax.random.normal(jax.random.key(3), w.shape)
    run = jax.jit(partial(g.apply, method="synthesis"), static_argnames="noise")
    assert off(run(v, w, noise="const"), reference.stylegan_synthesis(v["params"], v["noise"], w, BASE, 1)) < 1e-5
    assert off(run(v, w, noise="none"), reference.stylegan_synthesis(v["params"], None, w, BASE, 1)) < 1e-5


def test_the_discriminator_is_the_papers():
    d = Discriminator(SHAPE, **FIELDS)
    x = jax.random.uniform(jax.random.key(0), (8, *SHAPE), minval=-1)
    v = filled(d, x)
    assert off(jax.jit(d.apply)(v, x), reference.stylegan_discriminator(v["params"], x, BASE, 1, 4)[:, 0]) < 1e-5
    d = d.clone(classes=3)
    v, c = filled(d, x, jnp.arange(8) % 3), jnp.arange(8) % 3
    expected = reference.stylegan_discriminator(v["params"], x, BASE, 1, 4)
    assert off(jax.jit(d.apply)(v, x, c), expected[np.arange(8), np.arange(8) % 3]) < 1e-5


def test_the_papers_sizes():
    """Table 2's networks of 1024 pixels: 26.2 million parameters in G, 23.1 in D."""
    g, d = Generator((1024, 1024, 3)), Discriminator((1024, 1024, 3))
    made = jax.eval_shape(lambda: game.init(g, d, 0))
    counts = [sum(leaf.size for leaf in jax.tree.leaves(v["params"])) for v in made]
    assert g.layers == 18 and [round(n / 1e6, 1) for n in counts] == [26.2, 23.1]


def test_adain_sets_mean_and_deviation_of_every_image_and_channel():
    x, w = 5 + 3 * jax.random.normal(jax.random.key(0), (2, 8, 8, 3)), jax.random.normal(jax.random.key(1), (2, 4))
    shapes = jax.eval_shape(lambda: Epilogue().init(jax.random.key(0), x, w, None, "const"))
    v = jax.tree.map(lambda a: jax.random.normal(jax.random.key(2), a.shape), shapes)
    y = np.asarray(jax.jit(lambda v: Epilogue().apply(v, x, w, None, "const"))(v), np.float64)
    scale, shift = np.split(reference.dense(v["params"]["affine"], np.float64(w)), 2, axis=1)
    np.testing.assert_allclose(y.mean((1, 2)), shift, atol=1e-5)
    np.testing.assert_allclose(y.std((1, 2)), np.abs(1 + scale), rtol=1e-4)


def test_noise_starts_at_zero():
    x, w = jnp.ones((1, 4, 4, 3)), jnp.ones((1, 2))
    params = Epilogue().init(jax.random.key(0), x, w, None, "const")["params"]
    assert not params["noise_strength"].any() and not params["bias"].any() and not params["affine"]["bias"].any()


def test_draws_belong_to_images_and_labels_count():
    g, v, z, c, keys = generator(classes=3)
    run = jax.jit(partial(g.apply, train=True))
    x = run(v, z, c, keys=keys)
    assert x.shape == (4, *SHAPE) and x.dtype == jnp.float32
    np.testing.assert_allclose(run(v, z[2:3], c[2:3], keys=keys[2:3]), x[2:3], atol=2e-5)
    assert off(run(v, z, c[::-1], keys=keys), x) > 0.01 and off(run(v, z, c, keys=keys[::-1]), x) > 0.01
    with pytest.raises(ValueError, match="conditional"):
        g.apply(v, z, keys=keys)


def test_lower_precision_is_near():
    g, v, z, _, keys = generator()
    run = jax.jit(lambda g, v: g.apply(v, z, keys=keys), static_argnums=0)
    assert 1e-5 < off(run(g.clone(dtype=jnp.bfloat16), v), run(g, v)) < 0.1
    # As after some steps: the constant near 1, nearer than bfloat16 can tell apart, and little noise and bias.
    params = v["params"] | {"const": 1 + 1e-4 * v["params"]["const"]}
    params |= {
        k: a | {"noise_strength": 1e-4 * a["noise_strength"], "bias": 1e-2 * a["bias"]}
        for k, a in params.items()
        if "_style" in k
    }
    v = v | {"params": params}
    assert off(run(g.clone(dtype=jnp.bfloat16), v), run(g, v)) < 0.1


def test_the_recipe_is_one():
    recipe = recipes_stylegan.stylegan(batch=8)
    method.check(recipe)
    names = [[term.name for phase in turn.phases for term in phase.terms] for turn in recipe.turns]
    assert names == [["adv", "r1"], ["adv"]]
