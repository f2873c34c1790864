"""SNGAN's plain convolutional pair: float64 NumPy, the table's sizes, labels."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.models.sngan import Discriminator, Generator
from tests.golden.classic_rule import rule, variables
from tests.reference import classic
from tests.shared import count


def test_critic_is_numpys():
    shape = (16, 24, 2)
    x = jnp.asarray(0.5 * rule((3, *shape), 902), jnp.float32)
    d = Discriminator(shape, width=3, max_width=10)
    v = variables(d, x)
    want = classic.sngan_critic(v["params"], x)
    assert np.abs(want).max() > 0.1
    assert np.abs(jax.jit(d.apply)(v, x) - want).max() < 1e-5 * np.abs(want).max()


def test_generator_is_numpys():
    shape, c = (8, 12, 2), np.array([2, 0, 2])
    z = jnp.asarray(rule((3, 5), 901), jnp.float32)
    g = Generator(shape, 3, z_dim=5, width=3, max_width=5)
    v = variables(g, z, c)
    want = classic.sngan_generator(v["params"], z, c, (4, 6))
    assert np.abs(want).max() > 0.1
    made, _ = jax.jit(partial(g.apply, train=True, mutable=["batch_stats"]))(v, z, c)
    assert np.abs(made - want).max() < 2e-5


def test_sizes_of_the_table():
    """32x32x3: D 3x3 and 4x4 to 64, 64, 128, 128, 256, 256, 512 on 4x4; G 512, 256, 128, 64 and 3x3."""
    shape = (32, 32, 3)
    wide, kernels = (3, 64, 64, 128, 128, 256, 256, 512), (3, 4, 3, 4, 3, 4, 3)
    d = sum((k * k * a + 1) * b for k, a, b in zip(kernels, wide, wide[1:], strict=False)) + 16 * 512 + 1
    assert count(Discriminator(shape), jnp.zeros((1, *shape))) == d
    wide = (512, 256, 128, 64)
    g = 128 * 16 * 512 + sum(16 * a * b for a, b in zip(wide, wide[1:], strict=False)) + 2 * sum(wide) + 9 * 64 * 3 + 3
    assert count(Generator(shape), jnp.zeros((1, 128))) == g


def test_first_weights_have_the_papers_scale():
    shape = (16, 16, 1)
    for module, given in (
        (Generator(shape, width=16), jnp.zeros((1, 128))),
        (Discriminator(shape, width=16), jnp.zeros((1, *shape))),
    ):
        params = jax.jit(module.init)(jax.random.key(0), given)["params"]
        named = [(path[-1].key, leaf.ravel()) for path, leaf in jax.tree_util.tree_leaves_with_path(params)]
        kernels = np.concatenate([leaf for name, leaf in named if name == "kernel"])
        assert abs(kernels.mean()) < 1e-3 and abs(kernels.std() - 0.02) < 1e-3
        assert all((leaf == (name == "scale")).all() for name, leaf in named if name != "kernel")


@pytest.mark.parametrize("shape, classes", [((28, 28, 1), 3), ((8, 16, 2), 0)])
def test_any_size_and_labels(shape, classes):
    c = jnp.array([1, 0]) if classes else None
    z, x = jnp.asarray(rule((2, 6), 901), jnp.float32), jnp.asarray(0.5 * rule((2, *shape), 902), jnp.float32)
    g, d = Generator(shape, classes, z_dim=6, width=3), Discriminator(shape, classes, width=3)
    v, w = variables(g, z, c), variables(d, x, c)
    made, logits = jax.jit(g.apply)(v, z, c), jax.jit(d.apply)(w, x, c)
    assert made.shape == (2, *shape) and logits.shape == (2,) and np.abs(made).max() <= 1 and made.std() > 0.01
    if classes:
        assert np.abs(jax.jit(g.apply)(v, z, c + 1) - made).max() > 1e-3
        assert np.abs(jax.jit(d.apply)(w, x, c + 1) - logits).max() > 1e-4
