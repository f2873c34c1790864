"""The small R3GAN pair: what it is made of, how it starts, what fits."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.errors import UserError
from jaxgan.models.residual import Block, Discriminator, Generator
from jaxgan.ops import downsample2, upsample2
from tests.reference import classic
from tests.shared import filled

SMALL = {"shape": (16, 24, 3), "width": 8}


@cache
def pair(**kw):
    g, d = Generator(**SMALL, z_dim=5, **kw), Discriminator(**SMALL, **kw)
    z, c = jax.random.normal(jax.random.key(0), (3, 5)), jnp.array([0, 2, 1]) if kw.get("classes") else None
    v = filled(g, z, c, scale=0.3)
    x = jax.jit(g.apply)(v, z, c)
    return g, v, z, c, d, filled(d, x, c, scale=0.3), x


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def test_the_28_pair_counts_what_the_layers_add_up_to():
    block = lambda c: 2 * (9 * c * c + c) + c * c
    body = 4 * block(32) + block(16) + 32 * 16 + 16 + 7 * 7 * 32
    g, d = Generator((28, 28, 1)), Discriminator((28, 28, 1))
    z, x = jax.ShapeDtypeStruct((1, 64), jnp.float32), jax.ShapeDtypeStruct((1, 28, 28, 1), jnp.float32)
    assert count(jax.eval_shape(g.init, jax.random.key(0), z)) == body + 64 * 32 == 87_120
    assert count(jax.eval_shape(d.init, jax.random.key(0), x)) == body + 32


def test_shapes_dtypes_and_images_that_do_not_meet():
    _, _, _, _, d, w, x = pair()
    assert x.shape == (3, 16, 24, 3) and x.dtype == jnp.float32
    judge = jax.jit(d.apply)
    logits = judge(w, x)
    assert logits.shape == (3,) and logits.dtype == jnp.float32
    np.testing.assert_allclose(judge(w, x[1:2]), logits[1:2], rtol=1e-4, atol=1e-6)


def test_a_block_starts_as_the_identity_and_moves_by_its_last_layer():
    x = jax.random.normal(jax.random.key(0), (2, 5, 4, 6))
    block = Block(depth=3)
    v = jax.jit(block.init)(jax.random.key(1), x)
    np.testing.assert_array_equal(block.apply(v, x), x)
    grads = jax.jit(jax.grad(lambda v: jnp.sum(block.apply(v, x) ** 2)))(v)["params"]
    assert np.abs(grads["Conv_2"]["kernel"]).max() > 0.1
    assert not np.any(grads["Conv_0"]["kernel"]) and not np.any(grads["Conv_1"]["kernel"])


def block(p, x):
    leaky = lambda y: np.where(y > 0, y, 0.2 * y)
    return x + classic.conv(leaky(classic.conv(leaky(classic.conv(x, p["Conv_0"])), p["Conv_1"])), p["Conv_2"])


def test_both_networks_are_numpys():
    fields = {"shape": (8, 12, 2), "classes": 3, "class_dim": 5, "channels": (3, 4), "blocks": (2, 1)}
    g, d = Generator(**fields, z_dim=4), Discriminator(**fields)
    rng, c = np.random.default_rng(1), np.array([2, 0, 2])
    z, x = rng.normal(size=(3, 4)).astype(np.float32), rng.normal(size=(3, 8, 12, 2)).astype(np.float32)
    v, w = filled(g, z, c, scale=0.3), filled(d, x, c, scale=0.3)

    p = classic.f64(v["params"])
    scale = np.concatenate([z, p["Embed_0"]["embedding"][c]], 1) @ p["Dense_0"]["kernel"]
    y = block(p["Block_1"], block(p["Block_0"], p["base"] * scale[:, None, None]))
    y = np.asarray(upsample2(jnp.asarray(classic.conv(y, p["Conv_0"]), jnp.float32)))
    want = classic.conv(block(p["Block_2"], y), p["Conv_1"])
    np.testing.assert_allclose(jax.jit(g.apply)(v, z, c), want, atol=2e-5 * np.abs(want).max())

    p = classic.f64(w["params"])
    y = np.asarray(downsample2(jnp.asarray(block(p["Block_0"], classic.conv(x, p["Conv_0"])), jnp.float32)))
    y = block(p["Block_2"], block(p["Block_1"], classic.conv(y, p["Conv_1"])))
    logits = (y * p["base"]).sum((1, 2)) @ p["Dense_0"]["kernel"]
    want = (logits * p["Embed_0"]["embedding"][c]).sum(1)
    np.testing.assert_allclose(jax.jit(d.apply)(w, x, c), want, atol=2e-5 * np.abs(want).max())


def test_a_spectral_block_has_its_skip_too():
    x = jax.random.normal(jax.random.key(0), (2, 5, 4, 6))
    v = jax.jit(Block(depth=3, spectral=True).init)(jax.random.key(1), x)
    v["params"]["SpectralConv_2"]["kernel"] *= 0
    np.testing.assert_array_equal(Block(depth=3, spectral=True).apply(v, x), x)


def test_initial_scales_are_hes_times_fixups():
    x = jnp.zeros((1, 4, 4, 64))
    params = jax.jit(Block(depth=5).init)(jax.random.key(0), x)["params"]
    for layer in ("Conv_0", "Conv_1"):
        expected = np.sqrt(2 / 1.04) / np.sqrt(9 * 64) * 5**-0.25
        assert abs(np.std(params[layer]["kernel"]) / expected - 1) < 0.02


def test_images_start_at_unit_scale():
    """Basis and linear map have unit gain, and so has every 1x1: the first images have about the data's scale."""
    z = jax.random.normal(jax.random.key(0), (64, 64))
    start = jax.jit(lambda key: Generator((8, 8, 1), blocks=(1, 1)).init_with_output(key, z)[0])
    images = [np.std(start(jax.random.key(i))) for i in range(3)]
    assert 0.3 < np.mean(images) < 2


def test_labels_reach_image_and_logit():
    g, v, z, c, d, w, x = pair(classes=3)
    same = z[:1].repeat(3, 0)
    draw, judge = jax.jit(g.apply), jax.jit(d.apply)
    images = draw(v, same, c)
    assert np.abs(images[0] - images[1]).max() > 1e-3
    logits = judge(w, x[:1].repeat(3, 0), c)
    assert len(np.unique(np.asarray(logits))) == 3
    # the logit is linear in the class's vector: a projection head
    scaled = jax.tree.map(lambda a: a, w)
    scaled["params"]["Embed_0"]["embedding"] = 2 * w["params"]["Embed_0"]["embedding"]
    np.testing.assert_allclose(judge(scaled, x, c), 2 * judge(w, x, c), rtol=1e-5)
    for model, variables, first in ((g, v, z), (d, w, x)):
        with pytest.raises(ValueError, match="labels c"):
            model.apply(variables, first)


def test_channels_and_blocks_by_stage():
    g = Generator((16, 16, 1), channels=(8, 6, 4), blocks=(1, 0, 2))
    params = jax.eval_shape(g.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 64), jnp.float32))["params"]
    blocks = [params[name]["Conv_0"]["kernel"].shape[2] for name in sorted(params) if name.startswith("Block")]
    assert blocks == [8, 4, 4]
    for wrong in ({"channels": (8, 8)}, {"blocks": (1, 1, 1, 1)}):
        with pytest.raises(UserError, match="3 stages"):
            Generator((16, 16, 1), **wrong).init(jax.random.key(0), jnp.zeros((1, 64)))


def test_patch_trades_the_full_size_stage_for_channels():
    g, d = Generator((16, 16, 3), width=8, patch=2), Discriminator((16, 16, 3), width=8, patch=2)
    z, x = jax.ShapeDtypeStruct((1, 64), jnp.float32), jax.ShapeDtypeStruct((1, 16, 16, 3), jnp.float32)
    params = jax.eval_shape(g.init, jax.random.key(0), z)["params"]
    assert params["Conv_0"]["kernel"].shape == (1, 1, 8, 12) and "Block_3" in params and "Block_4" not in params
    params = jax.eval_shape(d.init, jax.random.key(0), x)["params"]
    assert params["Conv_0"]["kernel"].shape == (1, 1, 12, 8)
    image = jax.eval_shape(lambda z: g.init_with_output(jax.random.key(0), z)[0], z)
    assert image.shape == (1, 16, 16, 3)
    for wrong in (0, 3, 8):
        with pytest.raises(UserError, match="power of two up to 4"):
            jax.eval_shape(Generator((16, 16, 3), patch=wrong).init, jax.random.key(0), z)


def test_wrong_inputs():
    g, v, z, _, d, w, x = pair()
    with pytest.raises(ValueError, match=r"z must be \[B, 5\]"):
        g.apply(v, z[:, :4])
    with pytest.raises(ValueError, match=r"x must be \[B, 16, 24, 3\]"):
        d.apply(w, x[:, :8])
    with pytest.raises(UserError, match="image size 17x17"):
        Generator((17, 17, 1)).init(jax.random.key(0), jnp.zeros((1, 64)))


def test_bfloat16_is_near_float32():
    g, v, z, _, d, w, x = pair()
    near = jax.jit(g.copy(dtype=jnp.bfloat16).apply)(v, z)
    assert near.dtype == jnp.float32
    error = np.abs(near - x).max() / np.abs(x).max()
    assert 0 < error < 0.05
