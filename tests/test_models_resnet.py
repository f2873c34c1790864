"""WGAN-GP's and SNGAN's residual pairs: mimicry's numbers, float64 NumPy, the papers' sizes, any size, mistakes."""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import ops
from jaxgan.conditional_norm import ConditionalBatchNorm
from jaxgan.errors import UserError
from jaxgan.models import resnet
from jaxgan.models.resnet import Discriminator, Generator
from tests.golden.classic_rule import inputs, rule, variables
from tests.reference import classic
from tests.shared import close, count

GOLDEN = np.load(Path(__file__).parent / "golden" / "classic_models.npz")
C = jnp.array([3, 1])


def test_projection_pair_is_mimicrys():
    """cGAN-PD at 32x32, 8 and 6 channels, 5 classes: conditional batch norm at rest and in training; spectral norm."""
    shape = (32, 32, 3)
    z, x = inputs(shape, 16)
    g, d = Generator(shape, 5, z_dim=16, channels=(8,) * 4), Discriminator(shape, 5, channels=(6,) * 4)
    v = variables(g, z, C)
    both = jax.jit(lambda v: (g.apply(v, z, C), g.apply(v, z, C, train=True, mutable=["batch_stats"])[0]))
    for image, name in zip(both(v), ("eval", "train"), strict=True):
        close(image[:, ::2, ::2], GOLDEN[f"cgan_32.g_{name}"])
    w = variables(d, x, C)
    logits = jax.jit(d.apply)(w, x, C)
    close(logits, GOLDEN["cgan_32.d"])
    close(logits[0] - logits[1], GOLDEN["cgan_32.d"][0] - GOLDEN["cgan_32.d"][1])


def test_wgan_gp_critic_is_mimicrys_and_numpys():
    shape = (32, 32, 3)
    _, x = inputs(shape, 16)
    d = Discriminator(shape, channels=(6,) * 4, norm="none", pool="mean")
    v = variables(d, x)
    assert set(v) == {"params"}
    logits = jax.jit(d.apply)(v, x)
    close(logits, GOLDEN["wgan_gp_32.d"])
    close(logits, classic.wgan_gp_critic_32(v["params"], x, (True, True, False, False)))


def test_wgan_gp_pair_of_64_is_numpys():
    """A stem, layer norm, a flat end, at 16x32; the generator in training mode."""
    shape = (16, 32, 2)
    z, x = inputs(shape, 9)
    d = Discriminator(shape, stem=4, channels=(6, 8), downs=2, norm="layer", pool="flatten")
    v = variables(d, x)
    assert "bias" not in v["params"]["DownBlock_0"]["conv1"] and "bias" in v["params"]["DownBlock_0"]["conv2"]
    close(jax.jit(d.apply)(v, x), classic.wgan_gp_critic_64(v["params"], x), 1e-5)
    g = Generator(shape, z_dim=9, channels=(8, 6, 4))
    v = variables(g, z)
    made = jax.jit(lambda v: g.apply(v, z, train=True, mutable=["batch_stats"])[0])(v)
    close(made, classic.wgan_gp_generator(v["params"], z, (4, 8)), 1e-5)


@pytest.mark.parametrize(
    "name, classes, g_count, d_count",
    [
        ("wgan_gp_32", 0, 1_204_483, 1_053_825),  # mimicry's, as the next three
        ("sngan_32", 0, 4_276_739, 1_053_825),
        ("sngan_64", 0, 12_220_675, 10_141_441),
        ("sngan_128", 0, 32_150_787, 29_017_857),
        ("sngan_32", 10, 4_304_387, 1_055_105),
    ],
)
def test_parameter_counts_of_the_presets(name, classes, g_count, d_count):
    size = int(name.split("_")[-1])
    shape, (g_fields, d_fields), c = (size, size, 3), resnet.PRESETS[name], jnp.zeros(1, jnp.int32)
    assert count(Generator(shape, classes, **g_fields), jnp.zeros((1, 128)), c) == g_count
    assert count(Discriminator(shape, classes, **d_fields), jnp.zeros((1, *shape)), c) == d_count


def test_first_weights_have_the_papers_scales():
    """Uniform, of variance 2 / (fan in + fan out), and twice that in the 3x3 convolutions of the blocks, which follow a ReLU."""
    x = jnp.zeros((1, 4, 4, 32))
    up = resnet.UpBlock(48, partial(ConditionalBatchNorm, 0))
    for module, given in ((up, (x, None, False)), (resnet.DownBlock(48, 48, norm="none"), (x,))):
        params = jax.jit(lambda key, module=module, given=given: module.init(key, *given))(jax.random.key(0))["params"]
        for name, twice in (("conv1", 2), ("conv2", 2), ("skip", 1)):
            kernel = params[name]["kernel"]
            limit = (6 * twice / (np.prod(kernel.shape[:-2]) * sum(kernel.shape[-2:]))) ** 0.5
            assert np.abs(kernel).max() <= limit and abs(kernel.std() / limit * 3**0.5 - 1) < 0.05


def test_presets_have_the_papers_norms_and_pooling():
    """WGAN-GP: mean over the grid at 32, a dense layer on all of it at 64, no spectral norm; SNGAN: spectral norm and a sum."""
    found = {}
    for name, (g_fields, d_fields) in resnet.PRESETS.items():
        size = int(name.split("_")[-1])
        g, d = Generator((size, size, 3), **g_fields), Discriminator((size, size, 3), **d_fields)
        assert not g.spectral and not g.attention and not d.attention
        found[name] = d.norm, d.pool
    gp = {"wgan_gp_32": ("none", "mean"), "wgan_gp_64": ("layer", "flatten")}
    assert found == gp | dict.fromkeys(("sngan_32", "sngan_64", "sngan_128"), ("spectral", "sum"))


def test_wgan_gp_64_has_the_papers_layers():
    shape = (64, 64, 3)
    g_fields, d_fields = resnet.PRESETS["wgan_gp_64"]
    # stem, then per block (layer norm, 3x3 without bias, layer norm, 3x3, 1x1), then 4 * 4 * 512 -> 1
    wide = [(64, 128), (128, 256), (256, 512), (512, 512)]
    d = 28 * 64 + sum(4 * a + 9 * a * a + (9 * a + 1) * b + (a + 1) * b for a, b in wide) + 8192 + 1
    assert count(Discriminator(shape, **d_fields), jnp.zeros((1, *shape))) == d
    wide = [(512, 512), (512, 256), (256, 128), (128, 64)]
    g = 129 * 8192 + sum(2 * a + (9 * a + 1) * b + 2 * b + (9 * b + 1) * b + (a + 1) * b for a, b in wide)
    assert count(Generator(shape, **g_fields), jnp.zeros((1, 128))) == g + 2 * 64 + (9 * 64 + 1) * 3


@pytest.mark.parametrize("shape, classes", [((28, 28, 1), 10), ((24, 48, 2), 0), ((8, 8, 5), 3)])
def test_any_size(shape, classes):
    z, x = inputs(shape, 16)
    c = jnp.array([1, 0]) if classes else None
    g, d = Generator(shape, classes, z_dim=16, width=2), Discriminator(shape, classes, width=2)
    v, w = variables(g, z, c), variables(d, x, c)
    made = jax.jit(g.apply)(v, z, c)
    assert made.shape == (2, *shape) and made.dtype == jnp.float32 and np.abs(made).max() <= 1
    logits = jax.jit(d.apply)(w, x, c)
    np.testing.assert_allclose(jax.jit(d.apply)(w, x[:1], None if c is None else c[:1])[0], logits[0], rtol=1e-4)
    if classes:
        soft = jax.nn.one_hot(c, classes)
        np.testing.assert_allclose(jax.jit(g.apply)(v, z, soft), made, atol=1e-5)
        assert np.abs(jax.jit(d.apply)(w, x, c + 1) - logits).max() > 1e-4


@pytest.mark.parametrize("resample", ["", "up", "down"])
def test_one_convolution_for_resampling_is_the_two(resample):
    x = jnp.asarray(rule((2, 6, 4, 3), 1), jnp.float32)
    for size in (1, 3):
        layer = resnet.ResampledConv(5, size=size, resample=resample)
        v = variables(layer, x)
        y = resnet.repeat2(x) if resample == "up" else x
        y = ops.conv(y, v["params"]["kernel"]) + v["params"]["bias"].reshape(1, 1, 1, -1)
        y = ops.downsample2(y) if resample == "down" else y
        np.testing.assert_allclose(layer.apply(v, x), y, atol=1e-5)


def test_class_heads_and_attention_are_fields():
    shape = (16, 16, 1)
    _, x = inputs(shape, 4)
    d = Discriminator(shape, 3, width=4, head="both", attention=(8,))
    logits, scores, features = jax.jit(d.apply)(variables(d, x, C % 3), x, C % 3)
    assert logits.shape == (2,) and scores.shape == (2, 3) and features.shape == (2, 8)


def test_bfloat16_is_near_float32():
    shape = (8, 8, 3)
    z, x = inputs(shape, 4)
    g, d = Generator(shape, 3, z_dim=4, width=4), Discriminator(shape, 3, width=4)
    v, w = variables(g, z, C), variables(d, x, C)
    near, exact = jax.jit(lambda v: (g.copy(dtype=jnp.bfloat16).apply(v, z, C), g.apply(v, z, C)))(v)
    assert near.dtype == jnp.float32 and 0 < np.abs(near - exact).max() < 0.1
    near, exact = jax.jit(lambda w: (d.copy(dtype=jnp.bfloat16).apply(w, x, C), d.apply(w, x, C)))(w)
    assert near.dtype == jnp.float32 and 0 < np.abs(near - exact).max() < 0.05 * np.abs(exact).max()


@pytest.mark.parametrize(
    "module, message",
    [
        (Generator((16, 16, 1), channels=(4, 4)), "channels=.* has 2 entries; an image of 16x16 has 3 grids"),
        (Generator((16, 16, 1), attention=(64,)), "no grid of 64 rows; there are 8, 16"),
        (Discriminator((16, 16, 1), downs=5), "downs=5: an image of 16x16 with 4 blocks"),
        (Discriminator((12, 12, 1), downs=3), "downs=3: an image of 12x12"),
        (Discriminator((16, 16, 1), norm="batch"), "no norm 'batch'; there are spectral, layer, none"),
        (Discriminator((16, 16, 1), pool="max"), "no pool 'max'"),
        (Discriminator((17, 16, 1)), "image size 17x16"),
    ],
)
def test_mistakes_are_named(module, message):
    first = jnp.zeros((1, 128)) if isinstance(module, Generator) else jnp.zeros((1, *module.shape))
    with pytest.raises(UserError, match=message):
        jax.eval_shape(module.init, jax.random.key(0), first)
