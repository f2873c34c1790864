"""pix2pix: float64 NumPy from the paper, the authors' networks, patches, noise, sizes."""

from functools import partial
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from jaxgan import description, game, method, recipes_paired, sample, state
from jaxgan.errors import UserError
from jaxgan.layers import Dropout, near_one, small
from jaxgan.models.pix2pix import Discriminator, Generator
from tests.golden import pix2pix_rule
from tests.golden.classic_rule import rule, variables
from tests.reference import pix2pix as reference
from tests.shared import changes, count, updater

GOLDEN = Path(__file__).parent / "golden" / "pix2pix.npz"
AXES = {"instance": (1, 2), "batch": (0, 1, 2), "none": None}


def trained(module, *given):
    """The output with the statistics of the batch."""
    return jax.jit(partial(module.apply, train=True, mutable=["batch_stats"]))(*given)[0]


def pair(norm, shape=(14, 18, 2), layers=1, **fields):
    made = {"shape": shape, "source_channels": 3, "width": 3, "norm": norm, **fields}
    return Generator(**made), Discriminator(**made, layers=layers)


def images(shape, batch=2):
    return (np.float32(0.9 * rule((batch, *shape[:2], c), 901 + i)) for i, c in enumerate((3, shape[2])))


@pytest.mark.parametrize("norm, layers", [("instance", 1), ("batch", 2), ("none", 0)])
def test_both_networks_are_numpys(norm, layers):
    """14x18: the grids 7x9, 4x5, 2x3, 1x2, so that odd sides are halved and cut too."""
    g, d = pair(norm, layers=layers)
    source, x = images(g.shape)
    v, w = variables(g, source), variables(d, x, source)
    for got, want in (
        (trained(g, v, source), reference.generator(v["params"], source, 4, AXES[norm])),
        (trained(d, w, x, source), reference.discriminator(w["params"], source, x, layers, AXES[norm])),
    ):
        assert got.shape == want.shape and want.std() > 0.05
        assert np.abs(got - want).max() < 2e-5 * np.abs(want).max()


@pytest.mark.parametrize("name", pix2pix_rule.CASES)
def test_both_networks_are_the_authors(name):
    g, d = pix2pix_rule.networks(name)
    v, w = pix2pix_rule.weights(name)
    source, x = pix2pix_rule.inputs(name)
    with np.load(GOLDEN) as golden:
        for who, net, own, args, cut in (("g", g, v, (source,), 4), ("d", d, w, (x, source), 1)):
            for out, how in ((jax.jit(net.apply)(own, *args), "eval"), (trained(net, own, *args), "train")):
                want = golden[f"{name}.{who}_{how}"]
                assert want.std() > 0.05
                assert np.abs(out[:, ::cut, ::cut] - want).max() < 2e-5 * np.abs(want).max()


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_kernels_start_at_002_and_gains_around_one(norm, monkeypatch):
    asked, param = [], nn.Module.param
    record = lambda self, name, init, *rest: asked.append((name, init)) or param(self, name, init, *rest)
    monkeypatch.setattr(nn.Module, "param", record)
    g, d = pair(norm)
    source, x = images(g.shape)
    jax.eval_shape(g.init, jax.random.key(0), source)
    jax.eval_shape(d.init, jax.random.key(0), x, source)
    assert {init for name, init in asked if name == "kernel"} == {small}
    assert {init for name, init in asked if name == "scale"} == {near_one}


def test_parameters_are_as_many_as_the_authors():
    """Of unet_256, unet_128 and the discriminators of 0 to 5 layers, 3 channels each; their PixelGAN has no last bias."""
    for size, want in ((256, 54_413_955), (128, 41_828_995)):
        for norm in ("instance", "batch"):
            assert count(Generator((size, size, 3), norm=norm), jnp.zeros((1, size, size, 3))) == want
    x = jnp.zeros((1, 256, 256, 3))
    got = [count(Discriminator(x.shape[1:], layers=n), x, x) for n in range(6)]
    assert got == [9_025, 139_585, 666_433, 2_768_705, 6_964_033, 11_159_361]


def test_a_larger_size_has_the_same_parameters_and_a_smaller_one_is_refused():
    g, _ = pair("instance")
    shapes = [jax.eval_shape(one.init, jax.random.key(0), jnp.zeros((1, *one.shape[:2], 3))) for one in (g, g.sized((40, 19)))]
    assert jax.tree.structure(shapes[0]) == jax.tree.structure(shapes[1])
    assert jax.tree.all(jax.tree.map(lambda a, b: a.shape == b.shape, *shapes)) and g.sized((40, 19)).shape == (40, 19, 2)
    with pytest.raises(UserError, match="images of 40x8: this U-Net halves them 4 times, for sides of 9 or more"):
        g.sized((40, 8))


@pytest.mark.parametrize("layers, size", [(0, 1), (1, 16), (2, 34), (3, 70)])
def test_a_logit_sees_a_patch_of_that_size(layers, size):
    shape = (100, 100, 1)
    d = Discriminator(shape, source_channels=0, width=1, layers=layers, norm="none")
    x = jnp.asarray(rule((1, *shape), 3), jnp.float32)
    v = variables(d, x)
    middle = jax.eval_shape(d.apply, v, x).shape[1] // 2
    seen = jax.jit(jax.grad(lambda x: d.apply(v, x)[0, middle, middle]))(x)[0, :, :, 0]
    rows = np.flatnonzero(np.abs(seen).max(1))
    assert size == rows[-1] - rows[0] + 1


def test_noise_is_the_images_own_and_only_where_keys_are():
    g, _ = pair("instance")
    source, _ = images(g.shape, 3)
    v = variables(g, source)
    keys = jax.random.split(jax.random.key(1), 3)
    make = jax.jit(lambda source, keys: g.apply(v, source, keys=keys))
    made = make(source, keys)
    np.testing.assert_array_equal(made, make(source, keys))
    assert np.abs(made - make(source, None)).max() > 1e-3
    assert np.abs(made - make(source, keys[::-1])).max() > 1e-3
    np.testing.assert_allclose(make(source[1:2], keys[1:2]), made[1:2], atol=1e-5)


@pytest.mark.parametrize("dropouts, depth, names", [(0, 4, []), (2, 4, [3, 2]), (3, 4, [3, 2, 1]), (3, 3, [2, 1])])
def test_dropout_is_after_the_first_doublings_but_not_after_the_last(dropouts, depth, names):
    g = Generator((16, 16, 1), source_channels=1, width=2, depth=depth, dropouts=dropouts)
    seen = []

    def listen(call, args, kwargs, context):
        seen.extend([context.module.name] * isinstance(context.module, Dropout))
        return call(*args, **kwargs)

    with nn.intercept_methods(listen):
        keys = jax.random.split(jax.random.key(0), 1)
        jax.eval_shape(lambda: g.init(jax.random.key(0), jnp.zeros((1, 16, 16, 1)), keys=keys))
    assert seen == [f"up{i}_dropout" for i in names]


def test_bfloat16_is_near_and_the_model_can_be_rebuilt():
    for module in pair("instance"):
        exact, rough = module, module.clone(dtype=jnp.bfloat16)
        source, x = images(exact.shape)
        given = (source,) if isinstance(exact, Generator) else (x, source)
        v = variables(exact, *given)
        a, b = jax.jit(exact.apply)(v, *given), jax.jit(rough.apply)(v, *given)
        assert b.dtype == jnp.float32 and 0 < np.abs(a - b).max() < 0.3 * np.abs(a).max()
        assert description.build(description.describe(rough)) == rough


def test_a_step_moves_both_players_and_weighs_the_terms():
    g, d = pair("instance", (6, 8, 1))
    recipe = recipes_paired.pix2pix(batch=2)
    method.check(recipe)
    first = state.create(0, *jax.jit(lambda: game.init(g, d, 0))(), recipe)
    rng = np.random.default_rng(0)
    x, c = (jnp.asarray(rng.integers(0, 256, (1, 1, 2, 6, 8, n), np.uint8)) for n in (1, 3))
    now, log = jax.jit(updater(recipe, game.game(g, d)))(first, x, c)
    assert {"d/adv", "g/adv", "g/l1"} <= log.keys() and all(np.isfinite(v) for v in log.values())
    assert min(far for path, far in changes(first, now).items() if path[-1] == "kernel") > 0


def test_adam_is_the_authors():
    recipe = recipes_paired.pix2pix()
    assert [[phase.player for phase in turn.phases] for turn in recipe.turns] == [["d"], ["g"]] and recipe.batch == 1
    for tx in recipe.tx.values():
        one = jnp.ones(())
        moved, opt = tx.update(2 * one, tx.init(one), one, kimg=jnp.float32(0))
        found = moved, optax.tree.get(opt, "mu"), optax.tree.get(opt, "nu")
        np.testing.assert_allclose(found, (-2e-4, 2 * 0.5, 4 * 0.001), rtol=1e-4)


def test_both_losses_are_the_authors():
    """Half of D's two cross-entropies, or of its two squares; G's whole one; 100 L1."""
    rng = np.random.default_rng(0)
    real, fake = rng.normal(size=(2, 3, 4, 4))
    log_sigmoid = lambda t: -np.log1p(np.exp(-t))
    want = {
        "non_saturating": (-(log_sigmoid(real) + log_sigmoid(-fake)).mean() / 2, -log_sigmoid(fake).mean()),
        "least_squares": (((real - 1) ** 2 + fake**2).mean() / 2, ((fake - 1) ** 2).mean()),
    }
    x, y = rng.uniform(-1, 1, (2, 3, 4, 4, 1))
    for loss, values in want.items():
        for turn, value in zip(recipes_paired.pix2pix(loss=loss).turns, values, strict=True):
            r = SimpleNamespace(real_out=method.Verdict(real), fake_out=method.Verdict(fake), real=x, fake=y)
            terms = turn.phases[0].terms
            np.testing.assert_allclose(terms[0].weight * terms[0].fn(r)[0], value, rtol=1e-5)
    assert terms[1].weight == 100 and abs(terms[1].fn(r)[0] - np.abs(x - y).mean()) < 1e-6


def test_mistakes_are_one_line():
    shape = (28, 28, 1)
    for make, says in (
        (lambda: Generator(shape, norm="instanc"), "the nearest is instance"),
        (lambda: Generator(shape, depth=6), "halved 1 to 5 times"),
        (lambda: Discriminator(shape, layers=4), "0 to 3 layers"),
    ):
        module = make()
        given = [jnp.zeros((1, 28, 28, 3)), jnp.zeros((1, *shape))]
        with pytest.raises(UserError, match=says):
            jax.eval_shape(module.init, jax.random.key(0), *(given[:1] if isinstance(module, Generator) else given[::-1]))
    with pytest.raises(UserError, match="least_squares"):
        recipes_paired.pix2pix(loss="hinge")
    with pytest.raises(UserError, match="source images"):
        sample.sample(Generator(shape), {}, 1)
