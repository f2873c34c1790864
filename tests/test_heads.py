"""Heads: each kind against its formula in NumPy, what reaches the losses, and mistakes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import class_losses, heads, terms
from jaxgan.errors import UserError
from jaxgan.spectral import SpectralEmbed

X = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
C = jnp.array([2, 0, 1, 2])


def make(kind, classes=3, spectral=False, **options):
    head = heads.Head(classes, kind, spectral=spectral, **options)
    variables = jax.jit(head.init)(jax.random.key(1), X, C)
    weights = jax.tree.map(
        lambda a: a + 0.1 * jnp.cos(jnp.arange(a.size, dtype=jnp.float32)).reshape(a.shape), variables["params"]
    )
    return head, {**variables, "params": weights}


def linear(params, name):
    return X.astype(np.float64) @ np.asarray(params[name]["kernel"], np.float64) + np.asarray(params[name]["bias"], np.float64)


def close(ours, want):
    np.testing.assert_allclose(ours, want, rtol=1e-5, atol=1e-6)


def test_logit_and_projection():
    head, v = make("logit")
    close(head.apply(v, X), linear(v["params"], "logit")[:, 0])
    head, v = make("")  # with classes: projection
    table = np.asarray(v["params"]["class_vectors"]["embedding"], np.float64)
    close(head.apply(v, X, C), linear(v["params"], "logit")[:, 0] + (X * table[C]).sum(1))
    soft = jnp.array([[0.5, 0.5, 0.0]] * 4)  # vectors of weights mix the rows
    close(head.apply(v, X, soft), linear(v["params"], "logit")[:, 0] + (X * (table[0] + table[1]) / 2).sum(1))


def test_class_logits_and_both():
    for kind in ("classes", "both"):
        head, v = make(kind)
        logits, scores, features = head.apply(v, X, C)
        extra = 0.0
        if kind == "both":
            extra = (X * np.asarray(v["params"]["class_vectors"]["embedding"])[C]).sum(1)
        close(logits, linear(v["params"], "logit")[:, 0] + extra)
        close(scores, linear(v["params"], "class_logits"))
        np.testing.assert_array_equal(features, X)
    head, v = make("classes")
    assert head.apply(v, X)[1].shape == (4, 3)  # 'classes' does not look at the label


def test_features_come_beside_the_default_logit():
    head, v = make("features")  # with classes the default is the projection
    logits, classes, features = head.apply(v, X, C)
    table = np.asarray(v["params"]["class_vectors"]["embedding"], np.float64)
    close(logits, linear(v["params"], "logit")[:, 0] + (X * table[C]).sum(1))
    assert classes is None
    np.testing.assert_array_equal(features, X)
    head, v = make("features", classes=0)
    close(head.apply(v, X)[0], linear(v["params"], "logit")[:, 0])


def test_multi_hinge_says_how_far_the_best_class_leads_the_fake_one():
    head, v = make("multi_hinge")
    logits, scores, _ = head.apply(v, X)
    assert scores.shape == (4, 4)
    want = linear(v["params"], "class_logits")
    close(scores, want)
    close(logits, want[:, :3].max(1) - want[:, 3])


def test_embedding_and_proxies_reach_the_loss():
    head, v = make("embedding", embed_dim=5)
    logits, classes, embedding = head.apply(v, X)
    assert classes is None
    close(logits, linear(v["params"], "logit")[:, 0])
    close(embedding, linear(v["params"], "embedding"))
    d = {"head": v["params"], "other": {}}
    assert heads.proxies(d).shape == (3, 5)

    def loss(params):
        features = head.apply({"params": params["head"]}, X)[2]
        return class_losses.d2d_ce(features, heads.proxies(params), C).mean()

    moved = jax.grad(loss)(d)["head"]
    assert all(np.abs(moved[name]).max() > 0 for name in ("proxies",)) and np.abs(moved["embedding"]["kernel"]).max() > 0
    assert callable(terms.d2d_ce("d", proxies=heads.proxies).fn)
    with pytest.raises(ValueError, match="no proxies; give it head='embedding'"):
        heads.proxies({"head": make("classes")[1]["params"]})


@pytest.mark.parametrize("kind", heads.KINDS)
def test_spectral_heads_have_maps_of_norm_one(kind):
    head = heads.Head(3, kind, spectral=True)
    variables = jax.jit(head.init)(jax.random.key(1), X, C)
    for _ in range(30):
        _, moved = head.apply(variables, X, C, mutable=["spectral"])
        variables = {**variables, **moved}
    frozen = {**variables, "params": jax.tree.map(lambda a: 3 * a, variables["params"])}
    once = jax.tree.leaves(head.apply(variables, X, C))
    for a, b in zip(once, jax.tree.leaves(head.apply(frozen, X, C)), strict=True):  # biases are zero: scale falls out
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    assert len([k for k in variables["spectral"]]) == sum(
        "kernel" in t for t in variables["params"].values() if isinstance(t, dict)
    )


def test_spectral_table_is_the_table_over_its_largest_singular_value():
    layer = SpectralEmbed(5, 4, kernel_init=jax.nn.initializers.normal(1.0))
    variables = layer.init(jax.random.key(1), C)
    for _ in range(60):
        _, moved = layer.apply(variables, C, mutable=["spectral"])
        variables = {**variables, **moved}
    table = np.asarray(variables["params"]["kernel"], np.float64)
    want = table / np.linalg.svd(table, compute_uv=False)[0]
    close(layer.apply(variables, jnp.arange(5)), want)
    close(layer.apply(variables, jnp.array([[0.5, 0, 0, 0.5, 0]])), (want[:1] + want[3:4]) / 2)
    with pytest.raises(ValueError, match="labels c must be"):
        layer.apply(variables, jnp.ones((2, 3)))


def test_bfloat16_features_give_float32():
    head, v = make("both")
    out = head.apply(v, jnp.asarray(X, jnp.bfloat16), C)
    assert out[0].dtype == out[1].dtype == out[2].dtype == jnp.float32


def test_mistakes_are_named():
    with pytest.raises(UserError, match="no head 'projecton'.*nearest is projection"):
        heads.kind_of("projecton", 3)
    with pytest.raises(UserError, match="head='classes' needs classes"):
        heads.Head(0, "classes").init(jax.random.key(0), X)
    with pytest.raises(ValueError, match="this network is conditional"):
        heads.Head(3).init(jax.random.key(0), X)
