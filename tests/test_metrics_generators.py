"""Path lengths in closed form, and metrics of generators: which latents they are of, and what they refuse."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from scipy.stats import mstats

from jaxgan import latents, restore, walk, weights
from jaxgan.errors import UserError
from jaxgan.metrics import equivariance, generators, path
from jaxgan.models import mlp, stylegan3
from tests.test_metrics_lpips import narrow

SMALL = {"z_dim": 4, "w_dim": 4, "mapping_layers": 1, "channel_base": 256, "channel_max": 8, "depth": 2, "critical": 1}


def test_the_length_of_a_linear_generators_path():
    """G(w) = A w, d the squared distance: |A (b - a)|^2, whatever epsilon."""
    matrix = jax.random.normal(jax.random.key(0), (5, 12))
    start, end = jax.random.normal(jax.random.key(1), (2, 6, 5))
    draw = lambda code: (code @ matrix).reshape(-1, 2, 2, 3)
    far = lambda x, y: jnp.square(x - y).sum((1, 2, 3))
    want = np.square((end - start) @ matrix).sum(1)
    for epsilon, tolerance in ((0.1, 1e-5), (1e-4, 0.03)):
        got = path.lengths(draw, far, start, end, space="w", epsilon=epsilon)
        np.testing.assert_allclose(got, want, rtol=tolerance)
    pairs = np.stack([start, end], 1).reshape(12, 5)
    beside = walk.great_circle(pairs, np.arange(0, 12, 2), np.full(6, 0.1))
    want = np.square((beside - start) @ matrix).sum(1) / 0.01
    np.testing.assert_allclose(path.lengths(draw, far, start, end, space="z", epsilon=0.1), want, rtol=1e-4)
    with pytest.raises(UserError, match="space is 'W'; give 'w' or 'z'"):
        path.lengths(draw, far, start, end, space="W")


def test_latents_of_one_direction_or_none():
    """Without an angle the path is straight; psi 0 makes all latents 0."""
    start = jax.random.normal(jax.random.key(0), (32, 5))
    far = lambda x, y: jnp.square(x - y).sum((1, 2, 3))
    length = lambda a, b: path.lengths(lambda z: z[:, :, None, None], far, a, b, space="z", epsilon=0.1)
    np.testing.assert_allclose(length(start, 3 * start), np.square(2 * start).sum(1), rtol=1e-3)
    assert (length(0 * start, 0 * start) == 0).all()
    one = start[:, :1]
    np.testing.assert_allclose(length(one, 3 * one), np.square(2 * one[:, 0]), rtol=1e-3)


def test_the_piece_is_short():
    bent = lambda code: jnp.square(code)[:, :, None, None]
    found = path.lengths(bent, lambda x, y: jnp.square(x - y).sum((1, 2, 3)), jnp.ones((1, 1)), 3 * jnp.ones((1, 1)), space="w")
    np.testing.assert_allclose(found, 16, rtol=0.01)  # of (1 + 2 t)^2 at t = 0


def test_large_images_are_averaged_down_to_256():
    seen = []
    far = lambda x, y: seen.append(x) or jnp.zeros(len(x))
    x = jax.random.normal(jax.random.key(0), (2, 515, 770, 1))
    path.lengths(lambda _: x, far, jnp.zeros((1, 2)), jnp.ones((1, 2)), space="w")
    np.testing.assert_allclose(seen[0], x[:1, :513, :768].reshape(1, 171, 3, 256, 3, 1).mean((2, 4)), atol=1e-6)
    path.lengths(lambda _: jnp.zeros((600, 4, 5, 600)), far, jnp.zeros((300, 2)), jnp.ones((300, 2)), space="w")
    assert seen[1].shape == (300, 4, 5, 600)  # sides count, nothing else does


def test_the_trimmed_mean_and_its_error():
    x = np.random.default_rng(0).exponential(size=1001)  # 1 % of it is 10, its percentiles are numbers of it
    found = path.trimmed(np.append(x, []))
    assert found.value == pytest.approx(mstats.trimmed_mean(x, (0.01, 0.01)))
    assert found.error == pytest.approx(mstats.trimmed_stde(x, (0.01, 0.01)), rel=0.002)
    assert path.trimmed([2.0, 3.0]).value == 2.5


@cache
def drawn():
    """A random StyleGAN3."""
    g = stylegan3.Generator((16, 16, 1), **SMALL)
    numbers = lambda a: np.random.default_rng(a.size).normal(size=a.shape).astype(np.float32)
    v = jax.tree.map(numbers, weights.shapes(g))
    return restore.Trained(g, v | {"magnitude": jax.tree.map(np.ones_like, v["magnitude"])}, {}, 0)


def test_a_stylegan3_moves_and_its_errors_are_of_the_images_that_it_samples():
    trained, said = drawn(), []
    (found,) = generators.measure(("eqt_frac",), trained, n=18, seed=5, progress=lambda *at: said.append(at))
    assert (found.name, found.fakes, found.reals) == ("eqt50k_frac", 18, 0) and said[-1] == ("eqt50k_frac", 18, 18)
    assert found.values[""].value > 25 and 0 < found.values[""].error < 5
    codes = trained.latents(18, seed=5)
    draw = lambda transform: trained.generator.apply(trained.variables, w, method="synthesis", transform=transform)
    w, keys = codes.code, generators._other(jax.random.wrap_key_data(codes.keys))
    again = equivariance.decibels(*jax.jit(lambda: equivariance.errors("fractional", draw, keys, (16, 16, 1)))())
    assert found.values[""].value == pytest.approx(again.value, abs=1e-3)


class Classes(nn.Module):
    """Images of which two classes are far apart, and half precision would be seen; w is z and the class."""

    shape = (16, 16, 1)
    z_dim = 4
    classes = 3
    layers = 1
    w_dim = 4
    dtype: type = jnp.bfloat16

    def mapping(self, z, c, psi=1.0):
        return (z * psi + 1000.0 * c[:, None])[:, None]

    def synthesis(self, w, c, keys=None):
        noise = jax.vmap(lambda key: jax.random.normal(key, self.shape))(keys)
        x = w.sum((1, 2)).astype(self.dtype)[:, None, None, None] / 1000 + noise * 0.1
        return jnp.tanh(x).astype(jnp.float32)

    def __call__(self, z, c, keys=None):
        return self.synthesis(self.mapping(z, c), c, keys)


def test_both_ends_of_a_path_have_one_class_and_one_noise():
    trained = restore.Trained(Classes(), {}, {}, 0)
    held = latents.held(trained.generator, {}, 0, 1.0, None, None), narrow()
    seen = jax.jit(partial(generators._lengths, trained.generator.clone(dtype=jnp.float32), (("space", "w"),)))
    (found,) = seen(held, jnp.arange(64), jnp.full(64, -1))
    assert 0 < found.max() < 10  # a step towards another class would be a thousand times as far, another noise more
    (result,) = generators.measure(("ppl",), trained, n=64, perceptual=narrow())
    assert result.values[""].value == pytest.approx(path.trimmed(found).value, rel=0.1)


def test_what_is_refused():
    plain = restore.Trained(drawn().generator.clone(classes=0), {}, {}, 0)
    for names, trained, more, says in (
        (("fid",), plain, {}, "fid50k_full is not measured on a generator but on images"),
        (("lpips",), plain, {}, "lpips is not measured on a generator but on pairs"),
        (("eqt",), plain, {"n": 1}, "n is 1; give at least 2"),
        (("eqt",), plain, {"n": -1}, "n is -1; give at least 2"),
        (("ppl",), plain, {}, "need LPIPS's weights"),
        (("ppl2_zend",), plain, {}, "has styles w; take ppl2_wend"),
        (("eqr",), restore.Trained(Classes(), {}, {}, 0), {}, "cannot move what it draws"),
        (("eqt",), restore.Trained(mlp.Generator((16, 16, 1)), {}, {}, 0), {}, "cannot move what it draws"),
    ):
        with pytest.raises(UserError, match=says):
            generators.measure(names, trained, **more)
