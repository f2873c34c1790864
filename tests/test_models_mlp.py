"""The first GAN's pair: float64 NumPy, the paper's sizes, dropout an image at a time, labels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.errors import UserError
from jaxgan.models.mlp import Discriminator, Generator
from tests.golden.classic_rule import rule, variables
from tests.reference import classic
from tests.shared import count

SHAPE = (5, 6, 2)
Z = jnp.asarray(rule((3, 7), 901), jnp.float32)
X = jnp.asarray(np.tanh(rule((3, *SHAPE), 902)), jnp.float32)
G, D = Generator(SHAPE, z_dim=7, widths=(11, 8)), Discriminator(SHAPE, widths=(6, 4), pieces=3)


def test_forward_is_the_papers():
    v = variables(G, Z)
    want = classic.mlp_generator(v["params"], Z, SHAPE)
    assert np.abs(G.apply(v, Z) - want).max() < 1e-5 * np.abs(want).max()
    v = variables(D, X)
    want = classic.mlp_discriminator(v["params"], X, 3)
    assert np.abs(D.apply(v, X) - want).max() < 1e-5 * np.abs(want).max()


def test_sizes_of_the_mnist_networks():
    """1200, 1200, 784 sigmoids; 240 and 240 units of 5 pieces, 1."""
    shape = (28, 28, 1)
    assert count(Generator(shape), jnp.zeros((1, 100))) == 101 * 1200 + 1201 * 1200 + 1201 * 784
    assert count(Discriminator(shape), jnp.zeros((1, *shape))) == 785 * 1200 + 241 * 1200 + 241
    params = jax.jit(Discriminator(SHAPE).init)(jax.random.key(0), X)["params"]
    kernel = np.asarray(params["Dense_0"]["kernel"])
    assert 0.0045 < np.abs(kernel).max() <= 0.005 and not params["Dense_0"]["bias"].any()


def test_dropout_belongs_to_the_image():
    v, keys = variables(D, X), jax.random.split(jax.random.key(0), 3)
    dropped = D.apply(v, X, keys=keys, train=True)
    assert np.abs(dropped - D.apply(v, X)).min() > 1e-3
    np.testing.assert_allclose(D.apply(v, X[1:2], keys=keys[1:2], train=True)[0], dropped[1], rtol=1e-5)
    with pytest.raises(ValueError, match="training needs keys"):
        D.apply(v, X, train=True)


def test_the_image_is_dropped_at_its_own_rate():
    """A linear discriminator sees each pixel with probability 0.8, times 1.25: the mean over keys is the plain output."""
    d = Discriminator((10, 10, 1), widths=(1,), pieces=1, dropout=0.0)
    x = jnp.ones((2000, 10, 10, 1))
    v = jax.tree.map(jnp.ones_like, variables(d, x[:1]))
    seen = (np.asarray(d.apply(v, x, keys=jax.random.split(jax.random.key(0), 2000), train=True)) - 2) / 1.25
    np.testing.assert_allclose(seen, np.round(seen), atol=1e-4)  # counts of pixels
    assert abs(seen.mean() - 80) < 0.5 and abs(seen.std() - 4) < 0.3


def test_labels_and_heads():
    g, c = Generator(SHAPE, 3, z_dim=7, widths=(11,)), jnp.array([0, 2, 2])
    v = variables(g, Z, c)
    x = g.apply(v, Z, c)
    assert np.abs(x - g.apply(v, Z, c.at[0].set(1)))[0].max() > 1e-3
    np.testing.assert_allclose(g.apply(v, Z, jax.nn.one_hot(c, 3)), x, rtol=1e-5)
    logits, scores, features = Discriminator(SHAPE, 3, head="classes").init_with_output(jax.random.key(0), X, c)[0]
    assert logits.shape == (3,) and scores.shape == (3, 3) and features.shape == (3, 240)
    with pytest.raises(UserError, match="needs classes"):
        Discriminator(SHAPE, head="classes").init(jax.random.key(0), X)
    with pytest.raises(ValueError, match=r"x must be \[B, 5, 6, 2\]"):
        D.init(jax.random.key(0), X[:, 1:])


def test_bfloat16_is_near_float32():
    v = variables(G, Z)
    near = G.copy(dtype=jnp.bfloat16).apply(v, Z)
    assert near.dtype == jnp.float32 and 0 < np.abs(near - G.apply(v, Z)).max() < 0.1
