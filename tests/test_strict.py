"""What a user's settings of JAX must not change: 64-bit mode, strict promotion of dtypes, the search for infinities."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from experiments.configs import families, objective
from jaxgan import attacks, augment, explain, game, latents, losses, penalties, state, step, style
from jaxgan.metrics import equivariance
from tests import test_augment_contract, test_losses, test_penalties

BUMPS = (np.cos(np.arange(32.0)).reshape(2, 4, 4, 1),)
TINY = {"batch": 4, "width": 4, "size": (8, 8)}
CALLS = {f"losses {name}": (fn, args) for name, (fn, _, args, _) in test_losses.CASES.items()}
CALLS |= {f"penalties {name}": (fn, args) for name, (fn, _, args, _) in test_penalties.CASES.items()}
for name, fn in test_augment_contract.EVERY.items():
    CALLS[f"augment {name}"] = (lambda x, fn=fn: fn(test_augment_contract.KEY, x, 0.5)), (np.zeros((4, 10, 8, 3)),)
CALLS |= {
    "attacks pgd": (lambda x: attacks.pgd(test_penalties.KEY, lambda x: x.mean((1, 2, 3)), x, eps=0.1, step=0.1, steps=1), BUMPS),
    "explain shapley_exact": (lambda x: explain.shapley_exact(lambda x: x.mean((1, 2, 3)), x, 0.0, np.eye(4, dtype=int)), BUMPS),
    "augment affine": (lambda x: augment.affine(x, np.ones((2, 1, 1)) * np.eye(3)), BUMPS),
    "augment early_blur": (lambda x: augment.early_blur(x, jnp.float32(1), sigma=1, kimg_end=2), BUMPS),
    "augment r_t": (augment.r_t, BUMPS),
}
LARGE = {f"augment {name}" for name in test_augment_contract.COMPOSED}


def of(dtype, args):
    return [jnp.asarray(a, dtype) for a in args]


def floats(tree):
    return {str(leaf.dtype) for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.floating)}


@pytest.mark.parametrize("name", CALLS)
def test_strict_promotion_and_64_bits(name):
    fn, args = CALLS[name]
    for dtype in (jnp.bfloat16,) if name in LARGE else (jnp.float32, jnp.bfloat16):
        with jax.numpy_dtype_promotion("strict"):
            jax.eval_shape(fn, *of(dtype, args))
    with jax.enable_x64(True):
        assert floats(jax.eval_shape(fn, *of(jnp.float32, args))) == {"float32"}


@pytest.mark.parametrize("name", [name for name in CALLS if name not in LARGE])
def test_float64_of_numpy_is_float32_without_a_warning(name):
    fn, args = CALLS[name]
    assert floats(jax.eval_shape(lambda: fn(*args))) == {"float32"}


@pytest.mark.parametrize("family", ["biggan", "stylegan3"])
def test_networks_have_float32_weights_and_statistics_in_64_bits(family):
    design = families.Config(family=family, **TINY).design((8, 8, 1), 10)
    with jax.enable_x64(True):
        assert floats(jax.eval_shape(lambda: game.init(design.generator, design.discriminator, 0))) == {"float32"}


def test_a_step_keeps_its_states_dtypes_in_64_bits():
    config = objective.Config(loss="hinge", penalty=("path_length", "lecam"), **TINY)
    design = config.design((8, 8, 1), 0)
    with jax.enable_x64(True):
        first = jax.eval_shape(lambda: state.create(0, *game.init(design.generator, design.discriminator, 0), design.recipe))
        x = jax.ShapeDtypeStruct((design.recipe.slots, 1, 4, 8, 8, 1), jnp.uint8)
        options = {"game": design.game, "recipe": design.recipe, "due": step.due(design.recipe, 0)}
        new, log = jax.eval_shape(lambda s, x: step.update(s, x, None, **options), first, x)
    assert jax.tree.map(lambda a: a.dtype, first) == jax.tree.map(lambda a: a.dtype, new) and floats(log) == {"float32"}


def test_draws_do_not_depend_on_the_64_bit_mode():
    """JAX's draws of float64 and int64 are other numbers than those of float32 and int32, not the same with more digits."""
    keys = jax.random.split(jax.random.key(1), 4)
    x = jax.random.uniform(keys[0], (4, 8, 8, 1), minval=-1.0)
    saliency = jnp.abs(x[..., 0])
    labelled, mean = SimpleNamespace(z_dim=3, classes=10), lambda x: x.mean((1, 2, 3))

    def draws():
        return [
            game.normal(keys, 3),
            *(latents.drawn(labelled, keys[0], jnp.arange(4), jnp.float32(bound))[:2] for bound in (0.5, np.inf)),
            style.mixing_draws(keys, (4, 3), 6, 0.5),
            attacks.pgd(keys, mean, x, eps=0.5, step=0.0, steps=1, norm="l2"),
            augment.attentive_cutout(keys, x, saliency, 1.0),
            augment.attentive_crop(keys, x, saliency, 1.0),
            augment.translation(keys, x, 1.0),
            augment.ada(keys, x, 1.0, transforms="noise"),
        ]

    want = jax.tree.map(np.asarray, jax.jit(draws)())
    with jax.enable_x64(True):
        got = jax.tree.map(np.asarray, jax.jit(draws)())
    for a, b in zip(*map(jax.tree.leaves, (want, got)), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=1e-6)


@pytest.mark.parametrize("kind", equivariance.KINDS)
def test_equivariance_is_float32_throughout(kind):
    keys = jax.random.split(jax.random.key(1), 2)

    def errors():
        return equivariance.errors(kind, lambda transform: jnp.zeros((2, 20, 16, 1), transform.dtype), keys, (20, 16, 1))

    with jax.numpy_dtype_promotion("strict"):
        jax.eval_shape(errors)
    with jax.enable_x64(True):
        assert floats(jax.eval_shape(errors)) == {"float32"}


def test_explicitly_sharded_images():
    """Losses that compare images, and ADA's filter, need Auto axes (docs/own.md); the rest takes them."""
    devices = jax.make_mesh((4,), ("devices",), axis_types=(AxisType.Explicit,))
    x = jax.device_put(jnp.ones((8, 4, 4, 3)), NamedSharding(devices, PartitionSpec("devices")))
    key, synthesis = jax.random.key(1), lambda w: jnp.tanh(w)[:, None, :, None]
    for fn in (
        lambda x: augment.ada(key, x, 0.5, transforms="bgc"),
        lambda x: penalties.path_length(key, synthesis, x[:, 0, :, 0], 0.0),
        lambda x: penalties.wgan_gp(key, lambda x: x.mean((1, 2, 3)), x, -x),
    ):
        jax.jit(fn).trace(x)


def test_what_is_masked_is_no_infinity():
    x, labels = jnp.eye(3), jnp.array([0, 1, 1])
    with jax.debug_infs(True):
        jax.block_until_ready([losses.d2d_ce(x, x, labels), losses.multi_hinge_d(x, x, labels)])
