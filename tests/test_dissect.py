"""Interventions on a generator's units: what they must change, what they must leave, in both kinds of generator."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxgan import dissect, latents, weights
from jaxgan.errors import UserError
from jaxgan.latents import Latents
from jaxgan.models import residual, stylegan2

STYLES = {"z_dim": 6, "w_dim": 5, "channel_base": 48, "channel_max": 4}
MADE = {
    "z": (lambda: residual.Generator((8, 8, 1), 3, z_dim=6, width=4), "Block_0"),
    "styles": (lambda: stylegan2.Generator((8, 8, 3), **STYLES), "b4/conv1"),
}


@pytest.fixture(scope="module", params=MADE)
def made(request):
    g, layer = MADE[request.param][0](), MADE[request.param][1]
    key = jax.random.key(0)
    v = jax.jit(lambda: dict(g.init(key, *weights.example(g), keys=jax.random.split(key, 1))))()
    codes = latents.draw(g, v, 3, seed=1)
    return g, v, codes, layer


def rendered(g, v, codes):
    return np.asarray(latents.render(g, v, codes.code, codes.c, jax.random.wrap_key_data(codes.keys)))


def test_setting_units_to_what_they_are_changes_nothing_and_setting_them_otherwise_does(made):
    g, v, codes, layer = made
    plain = rendered(g, v, codes)
    h, w, units = dissect.layers(g, v, codes)[layer]
    assert dissect.activations(g, v, codes, layer).shape == (3, h, w, units)
    np.testing.assert_allclose(dissect.intervene(g, v, codes, layer, np.full(units, np.nan)), plain, atol=1e-5)
    one = np.full((3, units), np.nan)
    one[1, 0] = 5.0  # of the second image alone
    changed = dissect.intervene(g, v, codes, layer, one)
    np.testing.assert_allclose(changed[[0, 2]], plain[[0, 2]], atol=1e-5)
    assert np.abs(changed[1] - plain[1]).max() > 1e-4
    for wrong, says in (("Block_x", "layer 'Block_x'"), (layer, "units, but the values")):
        with pytest.raises(UserError, match=says):
            dissect.intervene(g, v, codes, wrong, np.zeros(units + 1))


class Linear(nn.Module):
    """x = sum over units of value[unit] * pattern[unit]: every effect is a closed form."""

    shape: tuple = (2, 3, 1)
    classes: int = 0
    z_dim: int = 4

    @nn.compact
    def __call__(self, z, c=None, *, keys=None, train=False, axis=None):
        units = Grid(name="units")(z)
        pattern = self.param("pattern", nn.initializers.normal(1.0), (2, 3, 4))
        return (units * pattern[None]).sum(-1, keepdims=True)


class Grid(nn.Module):
    @nn.compact
    def __call__(self, z):
        return jnp.broadcast_to(z[:, None, None], (len(z), 2, 3, z.shape[1]))


def test_effects_of_a_linear_generator_are_closed_forms():
    g = Linear()
    v = g.init(jax.random.key(0), jnp.zeros((1, 4)))
    z = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32) + 1
    codes = Latents(z, None, np.zeros((50, 2), np.uint32))
    pattern = np.asarray(v["params"]["pattern"]).transpose(2, 0, 1)[..., None]  # [C, H, W, 1]
    assert dissect.layers(g, v, codes) == {"units": (2, 3, 4)}
    np.testing.assert_allclose(dissect.activations(g, v, codes, "units")[:, 1, 2], z)
    size = np.abs(pattern).mean((1, 2, 3))
    high = np.quantile(np.repeat(z, 6, 0), dissect.TOP, axis=0)  # over images and places
    mean = z.mean(0)
    wanted = {"zero": (mean, np.abs(z).mean(0)), "mean": (0 * mean, np.abs(z - mean).mean(0)), "insert": (high, np.abs(high))}
    for do, (average, strength) in wanted.items():
        effects = dissect.unit_effects(g, v, codes, "units", do=do)
        np.testing.assert_allclose(effects.maps, average[:, None, None, None] * pattern, atol=1e-5)
        np.testing.assert_allclose(effects.size, strength * size, rtol=1e-4)
    some = dissect.unit_effects(g, v, codes, "units", units=[2, 0])
    all_ = dissect.unit_effects(g, v, codes, "units")
    np.testing.assert_array_equal(some.size, all_.size[[2, 0]])
    for units in ([0, 4], [-1], []):
        with pytest.raises(UserError, match="the layer units has units 0 to 3"):
            dissect.unit_effects(g, v, codes, "units", units=units)
    with pytest.raises(UserError, match="do is 'none'"):
        dissect.unit_effects(g, v, codes, "units", do="none")
