"""Conditional batch norm against float64, across devices; standing statistics against plain averages."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxgan.conditional_norm import ConditionalBatchNorm, standing_statistics
from jaxgan.layers import BatchNorm

X = np.random.default_rng(0).normal(2.0, 3.0, size=(8, 3, 5, 4)).astype(np.float32)
C = jnp.array([0, 2, 1, 1, 2, 0, 0, 1])
INIT = nn.initializers.normal(0.5)


def reference(x, gain, bias, epsilon=1e-5):
    x = np.asarray(x, np.float64)
    mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
    return (x - mean) / np.sqrt(var + epsilon) * gain[:, None, None] + bias[:, None, None], mean, var


def tables(variables):
    return [np.asarray(variables["params"][n]["embedding"], np.float64) for n in ("gain", "bias")]


def test_labels_pick_gain_and_bias():
    layer = ConditionalBatchNorm(3, kernel_init=INIT)
    variables = layer.init(jax.random.key(0), X, C, True)
    assert set(variables["params"]) == {"gain", "bias"}  # no scale and bias besides
    gain, bias = tables(variables)
    y, new = layer.apply(variables, X, C, True, mutable=["batch_stats"])
    want, mean, var = reference(X, 1 + gain[C], bias[C])
    assert np.abs(y - want).max() < 1e-5 * np.abs(want).max()
    stats = new["batch_stats"]["norm"]
    np.testing.assert_allclose(stats["mean"], 0.1 * mean, rtol=1e-5)
    np.testing.assert_allclose(stats["var"], 0.9 + 0.1 * var, rtol=1e-5)
    at_rest = layer.apply({**variables, **new}, X, C, False)
    want = (X - 0.1 * mean) / np.sqrt(0.9 + 0.1 * var + 1e-5) * (1 + gain[C])[:, None, None] + bias[C][:, None, None]
    np.testing.assert_allclose(at_rest, want, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(layer.apply(variables, X, C, True), y, rtol=1e-6)  # immutable: normalised, nothing kept


def test_vectors_are_mapped_linearly():
    v = jax.random.normal(jax.random.key(1), (8, 6))
    layer = ConditionalBatchNorm(6, kernel_init=INIT)
    variables = layer.init(jax.random.key(0), X, v, True)
    gain, bias = tables(variables)
    want, _, _ = reference(X, 1 + v @ gain, np.asarray(v @ bias))
    np.testing.assert_allclose(layer.apply(variables, X, v, True), want, rtol=1e-4, atol=1e-4)
    layer = ConditionalBatchNorm(6, spectral=True, kernel_init=nn.initializers.orthogonal())
    variables = layer.init(jax.random.key(0), X, v, True)
    assert set(variables["spectral"]) == {"gain", "bias"} and "kernel" in variables["params"]["gain"]
    scaled = {**variables, "params": jax.tree.map(lambda a: 7 * a, variables["params"])}
    np.testing.assert_allclose(layer.apply(scaled, X, v, True), layer.apply(variables, X, v, True), rtol=1e-4, atol=1e-4)


def test_without_inputs_it_is_batch_norm():
    layer, plain = ConditionalBatchNorm(), BatchNorm(0.9, 1e-5)
    variables = layer.init(jax.random.key(0), X, None, True)
    inner = {name: tree["norm"] for name, tree in variables.items()}
    np.testing.assert_array_equal(layer.apply(variables, X, None, True), plain.apply(inner, X, True))


def test_devices_share_their_statistics():
    layer = ConditionalBatchNorm(3, axis="d", kernel_init=INIT)
    variables = layer.init(jax.random.key(0), X, C, True)
    split = lambda a: a.reshape(4, 2, *a.shape[1:])
    apply = lambda x, c: layer.apply(variables, x, c, True, mutable=["batch_stats"])
    y, new = jax.vmap(apply, axis_name="d")(split(X), split(C))
    alone, whole = ConditionalBatchNorm(3, kernel_init=INIT).apply(variables, X, C, True, mutable=["batch_stats"])
    np.testing.assert_allclose(y.reshape(X.shape), alone, rtol=1e-5, atol=1e-5)
    for ours, one in zip(jax.tree.leaves(new), jax.tree.leaves(whole), strict=True):
        np.testing.assert_allclose(ours[3], one, rtol=1e-5)


class Net(nn.Module):
    """Two batch norms of different momentum, with a dense layer between."""

    @nn.compact
    def __call__(self, z, c=None, *, keys=None, train=False, axis=None):
        z = nn.relu(BatchNorm(0.99)(1e3 + 20 * z, train))
        return ConditionalBatchNorm(3, 0.5)(nn.Dense(4)(z), c, train)


def test_standing_statistics_are_plain_means_of_the_passes():
    z, c = jax.random.normal(jax.random.key(0), (5, 6, 4)), jnp.tile(C[:6], (5, 1))
    net = Net()
    variables = net.init(jax.random.key(1), z[0], c[0])
    given = jax.tree.map(lambda s: s + 3.0, variables["batch_stats"])  # what the moving averages were is forgotten
    found = standing_statistics(net, {**variables, "batch_stats": given}, z, c)
    dense, first = variables["params"]["Dense_0"], []
    second = []
    for batch in z:
        x = 1e3 + 20 * np.asarray(batch, np.float64)
        first.append((x.mean(0), x.var(0)))
        h = np.maximum((x - x.mean(0)) / np.sqrt(x.var(0) + 1e-3), 0) @ np.asarray(dense["kernel"], np.float64)
        second.append((h.mean(0), h.var(0)))
    for place, want in (("BatchNorm_0", first), ("ConditionalBatchNorm_0", second)):
        got = found["batch_stats"][place].get("norm", found["batch_stats"][place])
        for name, i in (("mean", 0), ("var", 1)):
            np.testing.assert_allclose(got[name], np.mean([w[i] for w in want], 0), rtol=2e-4, atol=1e-5)
    assert found["params"] is variables["params"]
    with pytest.raises(ValueError, match="no 'batch_stats'"):
        standing_statistics(net, {"params": variables["params"]}, z, c)
