"""SAGAN, BigGAN, BigGAN-deep: BigGAN-PyTorch's numbers and sizes, the hierarchical latent, truncation, mistakes."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxgan.errors import UserError
from jaxgan.models import biggan, biggan_deep
from tests.golden.classic_rule import inputs, variables
from tests.shared import close, count

GOLDEN = np.load(Path(__file__).parent / "golden" / "classic_models.npz")
SHAPE, C = (64, 64, 3), jnp.array([3, 1])
CHANNELS = tuple(2 * n for n in (16, 16, 8, 4, 2))
PAIRS = {
    "sagan_64": (
        biggan.SAGANGenerator(SHAPE, 5, z_dim=16, channels=CHANNELS, attention=(32,)),
        biggan.SAGANDiscriminator(SHAPE, 5, width=8, attention=(32,)),
    ),
    "biggan_64": (
        biggan.Generator(SHAPE, 5, z_dim=20, shared_dim=7, width=2, attention=(32,)),
        biggan.Discriminator(SHAPE, 5, width=8, attention=(32,)),
    ),
    "deep_64": (
        biggan_deep.Generator(SHAPE, 5, z_dim=10, shared_dim=7, width=2, attention=(32,)),
        biggan_deep.Discriminator(SHAPE, 5, width=8, attention=(32,)),
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_generator_is_biggan_pytorchs(name):
    g = PAIRS[name][0]
    z, _ = inputs(SHAPE, g.z_dim)
    v = variables(g, z, C)
    if name == "sagan_64":  # the three share their batch norm; one mode each saves compiling the others
        close(jax.jit(g.apply)(v, z, C)[:, ::4, ::4], GOLDEN[f"{name}.g_eval"])
    else:
        made = jax.jit(lambda v: g.apply(v, z, C, train=True, mutable=["batch_stats"])[0])(v)
        close(made[:, ::4, ::4], GOLDEN[f"{name}.g_train"])


@pytest.mark.parametrize("name", ["biggan_64", "deep_64"])  # SAGAN's discriminator is BigGAN's
def test_discriminator_is_biggan_pytorchs(name):
    d = PAIRS[name][1]
    _, x = inputs(SHAPE, 1)
    v = variables(d, x, C)
    close(jax.jit(d.apply)(v, x, C), GOLDEN[f"{name}.d"])


@pytest.mark.parametrize(
    "pair, size, fields, g_count, d_count",
    [
        ("sagan", 128, ({"attention": (64,)}, {"attention": (64,)}), 42_017_412, 39_448_258),
        ("biggan", 32, ({}, {"channels": (384,) * 4}), 9_466_115, 9_836_929),
        ("biggan", 64, biggan.PRESETS["biggan_64"], 70_377_348, 45_511_970),
        ("biggan", 256, biggan.PRESETS["biggan_256"], 82_235_844, 99_225_890),  # that of 128: tests/test_families.py
        ("deep", 128, biggan_deep.PRESETS["biggan_deep_128"], 50_244_484, 34_590_210),
        pytest.param("deep", 256, biggan_deep.PRESETS["biggan_deep_256"], 55_736_708, 38_247_426, marks=pytest.mark.slow),
    ],
)
def test_parameter_counts_are_biggan_pytorchs(pair, size, fields, g_count, d_count):
    g, d = {
        "sagan": (biggan.SAGANGenerator, biggan.SAGANDiscriminator),
        "biggan": (biggan.Generator, biggan.Discriminator),
        "deep": (biggan_deep.Generator, biggan_deep.Discriminator),
    }[pair]
    shape, c = (size, size, 3), jnp.zeros(1, jnp.int32)
    g = g(shape, 1000, **fields[0])
    assert count(g, jnp.zeros((1, g.z_dim)), c) == g_count
    assert count(d(shape, 1000, **fields[1]), jnp.zeros((1, *shape)), c) == d_count


@pytest.mark.parametrize("of", [biggan, biggan_deep])
def test_kernels_start_orthogonal(of, monkeypatch):
    """In both networks, the table of classes too. Asked for, not made: forty QR decompositions take a minute to compile."""
    asked, param = [], nn.Module.param
    monkeypatch.setattr(
        nn.Module,
        "param",
        lambda self, name, init, *rest: asked.append(((*self.path, name), init)) or param(self, name, init, *rest),
    )
    shape, c = (32, 32, 3), jnp.zeros(1, int)
    jax.eval_shape(of.Generator(shape, 5, z_dim=20, width=1, attention=(16,)).init, jax.random.key(0), jnp.zeros((1, 20)), c)
    jax.eval_shape(of.Discriminator(shape, 5, width=4, attention=(16,)).init, jax.random.key(0), jnp.zeros((1, *shape)), c)
    kernels = [(path, init) for path, init in asked if path[-1] in ("kernel", "embedding") and path[:-1]]
    assert len(kernels) > 40 and [path for path, init in kernels if init not in biggan.ORTHOGONAL] == []
    for init in biggan.ORTHOGONAL:
        w = init(jax.random.key(0), (3, 3, 2, 8)).reshape(18, 8)
        np.testing.assert_allclose(w.T @ w, np.eye(8), atol=1e-6)


def test_every_part_of_z_and_the_class_reach_the_image():
    """At 28x28 three parts: the base grid and two blocks; each moves the image, and so does the class, by way of all blocks."""
    g = biggan.Generator((28, 28, 1), 3, z_dim=6, shared_dim=4, width=4)
    z, _ = inputs(g.shape, 6)
    c = jnp.array([0, 2])
    v = variables(g, z, c)
    make = jax.jit(g.apply)
    x = make(v, z, c)
    assert x.shape == (2, 28, 28, 1)
    assert v["params"]["base"]["kernel"].shape[0] == 2 and v["params"]["UpBlock_0"]["norm1"]["gain"]["kernel"].shape[0] == 4 + 2
    for i in range(3):
        assert np.abs(make(v, z.at[:, 2 * i : 2 * i + 2].add(1.0), c) - x).max() > 1e-3
    assert np.abs(make(v, z, c.at[0].set(1)) - x)[0].max() > 1e-3
    np.testing.assert_allclose(make(v, z, jax.nn.one_hot(c, 3)), x, atol=1e-5)


@pytest.mark.parametrize("deep", [False, True])
def test_without_classes_at_a_long_size(deep):
    room = biggan_deep if deep else biggan
    g, d = room.Generator((8, 16, 2), z_dim=6, width=8), room.Discriminator((8, 16, 2), width=8)
    z, x = inputs(g.shape, 6)
    v, w = variables(g, z), variables(d, x)
    assert "shared" not in v["params"]
    assert jax.jit(g.apply)(v, z).shape == (2, 8, 16, 2)
    logits = jax.jit(d.apply)(w, x)
    np.testing.assert_allclose(jax.jit(d.apply)(w, x[1:])[0], logits[1], rtol=1e-4)


def test_deep_heads_and_depth():
    d = biggan_deep.Discriminator((8, 8, 1), 3, width=4, depth=1, head="embedding")
    _, x = inputs(d.shape, 1)
    v = variables(d, x)
    assert sum(name.startswith("DownBlock") for name in v["params"]) == 1
    logits, classes, embedding = jax.jit(d.apply)(v, x)
    assert logits.shape == (2,) and classes is None and embedding.shape == (2, 512)


def test_bfloat16_is_near_float32():
    g = biggan.Generator((8, 8, 1), 3, z_dim=6, shared_dim=4, width=4, attention=(8,))
    z, _ = inputs(g.shape, 6)
    c = jnp.array([0, 2])
    v = variables(g, z, c)
    near, exact = jax.jit(lambda v: (g.copy(dtype=jnp.bfloat16).apply(v, z, c), g.apply(v, z, c)))(v)
    assert near.dtype == jnp.float32 and 0 < np.abs(near - exact).max() < 0.1


@pytest.mark.parametrize(
    "module, message",
    [
        (biggan.Generator((256, 256, 3)), "z_dim=120 does not divide into 7 parts, one per resolution; give 119 or 126"),
        (biggan.Generator((16, 16, 3), attention=(9,)), "no grid of 9 rows"),
        (biggan_deep.Generator((16, 16, 3), channels=(4, 8, 4)), "they must not rise"),
        (biggan_deep.Discriminator((16, 16, 3), channels=(8, 4, 8)), "they must not fall"),
        (biggan_deep.Discriminator((16, 16, 3), downs=7), "downs=7: an image of 16x16 with 2 blocks"),
    ],
)
def test_mistakes_are_named(module, message):
    first = jnp.zeros((1, *module.shape)) if "Discriminator" in type(module).__name__ else jnp.zeros((1, module.z_dim))
    with pytest.raises(UserError, match=message):
        jax.eval_shape(module.init, jax.random.key(0), first)


def test_the_preset_for_cifar_is_the_authors_pytorch_codes():
    """32: 64 channels at full size and 256 in every grid of both, z of 128 cut in four."""
    (g, d), shape = biggan.PRESETS["biggan_32"], (32, 32, 3)
    c = jnp.zeros(1, jnp.int32)
    made = jax.eval_shape(biggan.Generator(shape, 10, **g).init, jax.random.key(0), jnp.zeros((1, 128)), c)["params"]
    assert made["base"]["kernel"].shape == (32, 16 * 256)
    assert made["UpBlock_0"]["norm1"]["gain"]["kernel"].shape == (128 + 32, 256)
    judged = jax.eval_shape(biggan.Discriminator(shape, 10, **d).init, jax.random.key(0), jnp.zeros((1, *shape)), c)["params"]
    assert judged["head"]["logit"]["kernel"].shape == (256, 1)
