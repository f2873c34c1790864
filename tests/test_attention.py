"""Self-attention against a float64 NumPy loop over pixels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.attention import SelfAttention


def reference(x, params):
    """One image at a time, one pixel at a time."""
    p = {n: np.asarray(params[n]["kernel"], np.float64) for n in ("theta", "phi", "g", "o")}
    out = np.array(x, np.float64)
    b, h, w, _ = x.shape
    for i in range(b):
        pool = lambda t: np.array(
            [[t[2 * r : 2 * r + 2, 2 * c : 2 * c + 2].max((0, 1)) for c in range(w // 2)] for r in range(h // 2)]
        )
        image = np.asarray(x[i], np.float64)
        phi, g = (pool(image @ p[n]).reshape(-1, p[n].shape[1]) for n in ("phi", "g"))
        for r in range(h):
            for c in range(w):
                scores = phi @ (image[r, c] @ p["theta"])
                weights = np.exp(scores - scores.max())
                out[i, r, c] += float(params["gamma"]) * ((weights / weights.sum()) @ g @ p["o"])
    return out


@pytest.mark.parametrize("shape", [(2, 4, 6, 16), (1, 5, 3, 4)])
def test_it_is_the_formula(shape):
    x = jax.random.normal(jax.random.key(0), shape)
    layer = SelfAttention(spectral=False)
    variables = jax.jit(layer.init)(jax.random.key(1), x)
    np.testing.assert_array_equal(layer.apply(variables, x), x)  # gamma starts at 0
    variables["params"]["gamma"] = jnp.float32(0.7)
    got, want = layer.apply(variables, x), reference(x, variables["params"])
    assert np.abs(want - x).max() > 0.1
    assert np.abs(got - want).max() < 1e-5 * np.abs(want).max()


def test_spectral_maps_do_not_depend_on_their_scale():
    x = jax.random.normal(jax.random.key(0), (1, 4, 4, 8))
    layer = SelfAttention()
    variables = jax.jit(layer.init)(jax.random.key(1), x)
    assert set(variables["spectral"]) == {"theta", "phi", "g", "o"}
    variables["params"]["gamma"] = jnp.float32(0.7)
    scaled = {
        **variables,
        "params": {n: (v if n == "gamma" else {"kernel": 5 * v["kernel"]}) for n, v in variables["params"].items()},
    }
    np.testing.assert_allclose(layer.apply(scaled, x), layer.apply(variables, x), rtol=1e-5, atol=1e-6)


def test_dtype_and_mistake():
    x = jnp.ones((1, 4, 4, 8), jnp.bfloat16)
    layer = SelfAttention(dtype=jnp.bfloat16)
    assert jax.jit(layer.init_with_output)(jax.random.key(0), x)[0].dtype == jnp.bfloat16
    with pytest.raises(ValueError, match="a map of 1x4 has nothing to attend to"):
        layer.init(jax.random.key(0), jnp.ones((1, 1, 4, 8)))
