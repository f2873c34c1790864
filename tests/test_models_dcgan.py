"""DCGAN pairs: the tutorial's against Keras's numbers, Radford et al.'s by shape and by property."""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxgan.errors import UserError
from jaxgan.layers import Dropout
from jaxgan.models.dcgan import Discriminator, Generator, TutorialDiscriminator, TutorialGenerator
from tests import shared
from tests.golden import classic_rule, tutorial_rule
from tests.reference import classic
from tests.shared import filled

GOLDEN = np.load(Path(__file__).parent / "golden" / "tutorial_models.npz")
close = partial(shared.close, tolerance=1e-5)


def positive(model, *inputs):
    return jax.tree.map(jnp.abs, filled(model, *inputs, scale=0.1))


def test_seed_generator_inference_is_keras():
    close(TutorialGenerator().apply(tutorial_rule.g_variables(), tutorial_rule.noise(0)), GOLDEN["g_eval"])


def test_seed_generator_training_is_keras_with_its_moving_averages():
    variables = tutorial_rule.g_variables()
    x, new = TutorialGenerator().apply(variables, tutorial_rule.noise(0), train=True, mutable=["batch_stats"])
    close(x, GOLDEN["g_train"])
    for n in range(3):
        step = 49 if n == 0 else 1
        for ours, keras in (("mean", "mean"), ("var", "variance")):
            before = variables["batch_stats"][f"BatchNorm_{n}"][ours][::step]
            after = np.asarray(new["batch_stats"][f"BatchNorm_{n}"][ours])[::step]
            golden = GOLDEN[f"moving_{n}_{keras}"]
            close(after, golden)
            moved = np.abs(golden - before).max()  # the update itself, not only the sum it is added to
            assert moved > 1e-4 and np.abs((after - before) - (golden - before)).max() < 1e-3 * moved


def test_seed_discriminator_is_keras():
    variables = tutorial_rule.d_variables()
    x = jnp.asarray(tutorial_rule.images(0))
    keys = jax.random.split(jax.random.key(0), 4)
    close(TutorialDiscriminator().apply(variables, x), GOLDEN["d_eval"])
    close(TutorialDiscriminator().apply(variables, x), GOLDEN["d_eval_dropout_layers"])
    close(TutorialDiscriminator(dropout=0.0).apply(variables, x, train=True), GOLDEN["d_train"])
    dropped = TutorialDiscriminator().apply(variables, x, keys=keys, train=True)
    assert np.abs(dropped - GOLDEN["d_train"]).max() > 1e-3
    alone = TutorialDiscriminator().apply(variables, x[2:3], keys=keys[2:3], train=True)
    np.testing.assert_allclose(alone[0], dropped[2], rtol=1e-5)


def test_seed_initialisation_is_keras_defaults():
    params = jax.jit(TutorialDiscriminator().init)(jax.random.key(0), jnp.zeros((1, 28, 28, 1)))["params"]
    for layer, fans in (("Conv_0", 25 * 65), ("Conv_1", 25 * 192)):
        limit = np.sqrt(6 / fans)  # Glorot uniform
        kernel = np.asarray(params[layer]["kernel"])
        assert 0.9 * limit < np.abs(kernel).max() <= limit
        assert abs(kernel.std() / (limit / np.sqrt(3)) - 1) < 0.05
        assert not params[layer]["bias"].any()


@pytest.mark.parametrize("shape, base, grids", [((28, 28, 1), (7, 7), 2), ((32, 32, 3), (4, 4), 3), ((24, 48, 2), (6, 12), 2)])
def test_any_size(shape, base, grids):
    g, d = Generator(shape, width=4, max_width=8, classes=3), Discriminator(shape, width=4, max_width=8, classes=3)
    z, c = jax.random.normal(jax.random.key(0), (2, 100)), jnp.array([0, 2])
    variables = positive(g, z, c)
    x = jax.jit(g.apply)(variables, z, c)
    widest = min(4 * 2 ** (grids - 1), 8)
    assert variables["params"]["Dense_0"]["kernel"].shape == (200, base[0] * base[1] * widest)
    assert x.shape == (2, *shape) and x.dtype == jnp.float32 and np.abs(x).max() <= 1
    logits = jax.jit(d.apply)(positive(d, x, c), x, c)
    assert logits.shape == (2,) and logits.dtype == jnp.float32


def test_the_seed_discriminator_drops_three_in_ten_after_each_convolution():
    rates = []

    def listen(call, args, kwargs, context):
        rates.extend([context.module.rate] if isinstance(context.module, Dropout) else [])
        return call(*args, **kwargs)

    with nn.intercept_methods(listen):
        jax.eval_shape(TutorialDiscriminator().init, jax.random.key(0), jnp.zeros((1, 28, 28, 1)))
    assert rates == [0.3, 0.3]


def test_radfords_pair_is_numpys():
    shape = (16, 24, 2)
    z, x = (jnp.asarray(classic_rule.rule(size, 901), jnp.float32) for size in ((4, 5), (4, *shape)))
    g, d = Generator(shape, z_dim=5, width=3, max_width=4), Discriminator(shape, width=3, max_width=10)
    cases = (g, z, partial(classic.dcgan_generator, grid=(4, 6))), (d, x, classic.dcgan_discriminator)
    for module, given, reference in cases:
        v = classic_rule.variables(module, given)
        want = reference(v["params"], given)
        run = jax.jit(partial(module.apply, train=True, mutable=["batch_stats"]))
        close(run(v, given)[0], want, tolerance=2e-5)


def test_radfords_weights_start_at_002_and_gains_around_one():
    g, d = Generator((16, 16, 1), width=16), Discriminator((16, 16, 1), width=64)
    for module, given in ((g, jnp.zeros((1, 100))), (d, jnp.zeros((1, 16, 16, 1)))):
        params = jax.jit(module.init)(jax.random.key(0), given)["params"]
        leaves = {"kernel": [], "scale": [], "bias": []}
        for path, leaf in jax.tree_util.tree_leaves_with_path(params):
            leaves[path[-1].key].append(leaf.ravel())
        kernels, gains, biases = (np.concatenate(leaves[name]) for name in leaves)
        assert abs(kernels.mean()) < 1e-3 and abs(kernels.std() - 0.02) < 1e-3 and not biases.any()
        assert abs(gains.mean() - 1) < 4.5 * 0.02 / len(gains) ** 0.5 and abs(gains.std() - 0.02) < 0.01


def test_radford_64_has_the_papers_layers():
    g, d = Generator((64, 64, 3), width=128), Discriminator((64, 64, 3), width=128)
    z, x = jax.ShapeDtypeStruct((1, 100), jnp.float32), jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    params = jax.eval_shape(g.init, jax.random.key(0), z)["params"]
    assert params["Dense_0"]["kernel"].shape == (100, 4 * 4 * 1024)
    sizes = [params[f"ConvTranspose_{i}"]["kernel"].shape[2:] for i in range(4)]
    assert sizes == [(1024, 512), (512, 256), (256, 128), (128, 3)]
    assert sum(name.startswith("BatchNorm") for name in params) == 4
    params = jax.eval_shape(d.init, jax.random.key(0), x)["params"]
    sizes = [params[f"Conv_{i}"]["kernel"].shape[2:] for i in range(4)]
    assert sizes == [(3, 128), (128, 256), (256, 512), (512, 1024)]
    assert sum(name.startswith("BatchNorm") for name in params) == 3


@pytest.mark.parametrize("pair", [(TutorialGenerator, TutorialDiscriminator), (Generator, Discriminator)])
def test_labels_matter_and_are_asked_for(pair):
    kw = {"shape": (28, 28, 1), "classes": 4} | ({"width": 8} if pair[0] is Generator else {})
    g, d = pair[0](**kw), pair[1](**kw)
    z, c = jnp.ones((2, 100)), jnp.array([1, 3])
    x = jax.random.normal(jax.random.key(1), (1, 28, 28, 1)).repeat(2, 0)
    v, w = positive(g, z, c), positive(d, x, c)
    v["params"] = jax.tree.map(lambda a: 0.1 * a, v["params"])  # away from tanh's flat ends
    images, logits = jax.jit(g.apply)(v, z, c), jax.jit(d.apply)(w, x, c)
    assert np.abs(images[0] - images[1]).max() > 1e-7
    assert np.abs(logits[0] - logits[1]) > 1e-7
    for model, variables, first in ((g, v, z), (d, w, x)):
        with pytest.raises(ValueError, match="labels c"):
            model.apply(variables, first)


def test_no_norm_discriminator_judges_images_one_by_one():
    x = jax.random.normal(jax.random.key(0), (3, 16, 16, 1))
    d = Discriminator((16, 16, 1), width=4, norm=False)
    v = positive(d, x)
    assert "batch_stats" not in v
    judge = jax.jit(lambda x: d.apply(v, x, train=True))
    np.testing.assert_allclose(judge(x)[1:2], judge(x[1:2]), rtol=1e-5)


def test_bfloat16_arithmetic_keeps_float32_parameters_and_output():
    z = jax.random.normal(jax.random.key(0), (2, 100))
    wide, narrow = (Generator((16, 16, 1), width=8, dtype=t) for t in (jnp.float32, jnp.bfloat16))
    v = positive(narrow, z)
    assert {leaf.dtype for leaf in jax.tree.leaves(v)} == {jnp.dtype("float32")}
    x, exact = (jax.jit(lambda v, g=g: g.apply(v, z, train=True))(v) for g in (narrow, wide))
    assert x.dtype == jnp.float32
    assert 0 < np.abs(x - exact).max() < 0.05


def test_wrong_inputs():
    with pytest.raises(UserError, match="28x28x1"):
        TutorialGenerator((32, 32, 3)).init(jax.random.key(0), jnp.zeros((1, 100)))
    with pytest.raises(ValueError, match=r"z must be \[B, 100\]"):
        Generator((16, 16, 1)).init(jax.random.key(0), jnp.zeros((1, 64)))
    with pytest.raises(ValueError, match=r"x must be \[B, 16, 16, 1\]"):
        Discriminator((16, 16, 1)).init(jax.random.key(0), jnp.zeros((1, 16, 16, 3)))
    with pytest.raises(UserError, match="28x28 or 32x32"):
        Generator((30, 30, 1)).init(jax.random.key(0), jnp.zeros((1, 100)))
