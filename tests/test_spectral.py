"""Spectral normalisation: the sigma of the SVD, one update a step however often D is called, and its gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxgan import spectral


def sigma(kernel):
    return np.linalg.svd(np.asarray(kernel, np.float64).reshape(-1, kernel.shape[-1]), compute_uv=False)[0]


def make(shape, **options):
    kernel = jax.random.normal(jax.random.key(1), shape)
    norm = spectral.SpectralNorm(**options)
    return norm, kernel, jax.jit(norm.init)(jax.random.key(0), kernel)


@pytest.mark.parametrize("shape", [(7, 20), (3, 3, 4, 6)])
def test_sigma_converges_to_the_svd(shape):
    norm, kernel, variables = make(shape)
    step = jax.jit(lambda v: norm.apply(v, kernel, mutable=["spectral"]))
    for _ in range(300):
        normalised, variables = step(variables)
    assert abs(sigma(normalised) - 1) < 1e-5
    np.testing.assert_allclose(normalised * sigma(kernel), kernel, rtol=1e-5, atol=1e-6)


def test_it_is_near_from_the_start_and_follows_a_change():
    norm, kernel, variables = make((30, 10))
    assert abs(sigma(norm.apply(variables, kernel)) - 1) < 0.05
    step = jax.jit(lambda k, v: norm.apply(v, k, mutable=["spectral"])[1])
    for t in range(200):  # weights that move a little every step, as in training; one power iteration each
        kernel = kernel + 0.01 * jax.random.normal(jax.random.fold_in(jax.random.key(2), t), kernel.shape)
        variables = step(kernel, variables)
    assert abs(sigma(norm.apply(variables, kernel)) - 1) < 0.02


def test_vectors_move_where_they_may():
    """Not mutable: the same output however often it is called. Mutable: one power iteration."""
    norm, kernel, variables = make((20, 7), warmup=0)
    np.testing.assert_array_equal(norm.apply(variables, kernel), norm.apply(variables, kernel))
    _, state = norm.apply(variables, kernel, mutable=["spectral"])
    w = np.asarray(kernel, np.float64)
    v = np.asarray(variables["spectral"]["vectors"]["v"], np.float64)
    assert np.linalg.lstsq(w, v)[1] > 0.1  # with no iteration v points anywhere, after one into the range of W
    u = v @ w / np.linalg.norm(v @ w)
    v = w @ u / np.linalg.norm(w @ u)
    np.testing.assert_allclose(state["spectral"]["vectors"]["v"], v, atol=1e-6)
    np.testing.assert_allclose(state["spectral"]["vectors"]["u"], v @ w / np.linalg.norm(v @ w), atol=1e-6)
    first = make((20, 7), warmup=1)[2]["spectral"]["vectors"]
    np.testing.assert_allclose(first["v"], v, atol=1e-6)


def test_an_updating_call_divides_by_the_sigma_of_its_new_vectors():
    norm, kernel, variables = make((20, 7), warmup=0)
    y, state = norm.apply(variables, kernel, mutable=["spectral"])
    u, v = (np.asarray(state["spectral"]["vectors"][name], np.float64) for name in "uv")
    np.testing.assert_allclose(y, kernel / (v @ np.asarray(kernel, np.float64) @ u), rtol=1e-5)
    np.testing.assert_allclose(y, norm.apply({**variables, **state}, kernel), rtol=1e-6)


def test_a_discriminator_called_many_times_in_a_step():
    """D on real, on fake and in a gradient penalty: one call updates, and all see the weights it left."""

    class D(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = spectral.SpectralConv(4, stride=2)(x)
            return spectral.SpectralDense(1)(jax.nn.leaky_relu(x).reshape(len(x), -1))[:, 0]

    d, x = D(), jax.random.normal(jax.random.key(3), (2, 4, 4, 3))
    variables = jax.jit(d.init)(jax.random.key(0), x)
    assert set(variables) == {"params", "spectral"}

    @jax.jit
    def step(variables):
        told, new = d.apply(variables, x, mutable=["spectral"])
        moved = {"params": variables["params"], **new}
        outs = [told, d.apply(moved, x)]
        grads = jax.grad(lambda p: d.apply({**moved, "params": p}, x).sum())(moved["params"])
        return new, outs, grads

    new, outs, grads = step(variables)
    np.testing.assert_allclose(outs[1], outs[0], rtol=1e-6)
    changed = jax.tree.map(lambda a, b: np.max(np.abs(a - b)), new["spectral"], variables["spectral"])
    assert max(jax.tree.leaves(changed)) > 0
    assert all(np.all(np.isfinite(g)) for g in jax.tree.leaves(grads))


def test_gradient_is_that_of_the_formula():
    """d/dW <B, W / sigma> = (B - <B, W / sigma> u v^T) / sigma with the singular vectors (Miyato et al. 2018)."""
    norm, kernel, variables = make((6, 5), warmup=500)
    b = np.asarray(jax.random.normal(jax.random.key(4), kernel.shape), np.float64)
    got = jax.grad(lambda k: jnp.sum(b.astype(np.float32) * norm.apply(variables, k)))(kernel)
    w = np.asarray(kernel, np.float64)
    left, s, right = np.linalg.svd(w)
    want = (b - np.sum(b * w / s[0]) * np.outer(left[:, 0], right[0])) / s[0]
    assert np.max(np.abs(got - want)) / np.max(np.abs(want)) < 1e-5


def test_layers_are_plain_layers_with_another_kernel():
    x = jax.random.normal(jax.random.key(5), (2, 6, 6, 3))
    for layer, plain in (
        (spectral.SpectralConv(4, 3, 2), nn.Conv(4, (3, 3), (2, 2))),
        (spectral.SpectralConv(4, 2, bias=False), nn.Conv(4, (2, 2), use_bias=False)),
        (spectral.SpectralDense(4), nn.Dense(4)),
        (spectral.SpectralDense(4, use_bias=False), nn.Dense(4, use_bias=False)),
    ):
        variables = jax.jit(layer.init)(jax.random.key(0), x)
        params = {k: p + 1.0 for k, p in variables["params"].items()}
        norm = {"spectral": variables["spectral"]["norm"]}
        like = params | {"kernel": spectral.SpectralNorm().apply(norm, params["kernel"])}
        got = layer.apply(variables | {"params": params}, x)
        np.testing.assert_allclose(got, plain.apply({"params": like}, x), rtol=1e-5, atol=1e-5)
    half = spectral.SpectralDense(4, dtype=jnp.bfloat16)
    y, state = jax.jit(half.init_with_output)(jax.random.key(0), x)
    assert y.dtype == jnp.bfloat16 and y.shape == (2, 6, 6, 4) and state["params"]["kernel"].dtype == jnp.float32


def test_a_kernel_of_zeros_stays_finite():
    norm, kernel, variables = make((4, 3))
    value, grad = jax.value_and_grad(lambda k: norm.apply(variables, k).sum())(jnp.zeros_like(kernel))
    assert value == 0 and jnp.isfinite(grad).all()


def test_mistakes():
    for wrong in (jnp.ones(3), jnp.ones((3, 3), int)):
        with pytest.raises(ValueError, match="give floats with two or more axes"):
            spectral.SpectralNorm().init(jax.random.key(0), wrong)
