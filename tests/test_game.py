"""What the game makes of modules: halves, spectral norm once a turn, the discriminator's own saliency, kimg's keywords."""

import functools

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxgan import augment, game, optim, spectral, state
from jaxgan.errors import UserError
from jaxgan.layers import BatchNorm
from jaxgan.method import Phase, Recipe, Turn
from jaxgan.terms import adversarial, gradient_penalty
from tests.shared import updater

SHAPE, B = (8, 8, 1), 4


class G(nn.Module):
    shape: tuple = SHAPE
    classes: int = 0
    z_dim: int = 3

    def setup(self):
        self.first, self.second = nn.Dense(5), nn.Dense(64)
        self.mean = self.variable("w_avg", "mean", jnp.zeros, (5,))

    def mapping(self, z, c=None, *, keys=None, train=False, axis=None, alpha=1.0):
        w = self.first(z)
        if train and self.is_mutable_collection("w_avg") and not self.is_initializing():
            self.mean.value = w.mean(0)
        return w

    def synthesis(self, w, c=None, *, keys=None, train=False, axis=None, alpha=1.0):
        return alpha * jnp.tanh(self.second(w)).reshape(-1, *SHAPE)

    def __call__(self, z, c=None, **options):
        return self.synthesis(self.mapping(z, c, **options), c, **options)


class D(nn.Module):
    shape: tuple = SHAPE
    classes: int = 0

    @nn.compact
    def __call__(self, x, c=None, *, keys=None, train=False, axis=None, alpha=1.0):
        features = jnp.tanh(spectral.SpectralDense(6)(x.reshape(len(x), -1)))
        return spectral.SpectralDense(1)(features)[:, 0], None, features


@functools.cache
def one_step(n_critic, **options):
    r1 = gradient_penalty("r1", "real", 1.0)
    d = Turn((Phase("d", (adversarial("d", "hinge"), r1)),), tuple(range(n_critic)))
    tx = {name: optim.adam(1e-2) for name in "gd"}
    recipe = Recipe((d, Turn((Phase("g", (adversarial("g", "hinge"),)),))), tx, batch=B)
    first = jax.jit(lambda: state.create(0, *game.init(G(), D(), 0), recipe))()
    x = np.random.default_rng(0).integers(0, 256, (recipe.slots, 1, B, *SHAPE), np.uint8)
    played = game.game(G(), D(), **options)
    return first, jax.jit(updater(recipe, played))(first, x, None)


def test_spectral_vectors_move_once_an_update_of_the_discriminator():
    for n_critic in (1, 2):
        first, (after, _) = one_step(n_critic)
        vectors, params = first.d.stats["spectral"], first.d.params
        w = np.asarray(params["SpectralDense_0"]["kernel"], np.float64)
        v = np.asarray(vectors["SpectralDense_0"]["norm"]["vectors"]["v"], np.float64)
        u = v @ w
        v = w @ u
        got = after.d.stats["spectral"]["SpectralDense_0"]["norm"]["vectors"]["v"]
        near = np.max(np.abs(got - v / np.linalg.norm(v))) < 1e-6
        assert near == (n_critic == 1)  # with more updates the weights have moved between them
        assert after.g.stats["w_avg"]["mean"].any()


class Normed(nn.Module):
    """Batch norm and spectral norm in one discriminator."""

    shape: tuple = SHAPE
    classes: int = 0

    @nn.compact
    def __call__(self, x, c=None, *, keys=None, train=False, axis=None):
        x = BatchNorm(0.9)(x.reshape(len(x), -1), train)
        return spectral.SpectralDense(6)(x).sum(1)


def test_batch_statistics_move_at_every_pass_and_spectral_vectors_at_one():
    x, keys = jax.random.normal(jax.random.key(0), (B, *SHAPE)), jax.random.split(jax.random.key(1), B)
    v = jax.jit(lambda: Normed().init(jax.random.key(2), x))()
    played = game.game(G(), Normed())
    for refresh in (True, False):
        _, stats = played.judge(v, keys, x, None, 0.0, None, refresh)
        changed = jax.tree.map(lambda a, b: bool((a != b).any()), stats, {name: v[name] for name in stats})
        moved = {name: any(jax.tree.leaves(tree)) for name, tree in changed.items()}
        assert moved == {"batch_stats": True, "spectral": refresh}
        mean = stats["batch_stats"]["BatchNorm_0"]["mean"]
        np.testing.assert_allclose(mean, 0.1 * x.reshape(B, -1).mean(0), rtol=1e-5, atol=1e-7)


def test_scheduled_keywords_reach_both_networks():
    _, (_, dark) = one_step(1, scheduled=lambda kimg: {"alpha": kimg})  # step 0: kimg is 0
    _, (_, light) = one_step(1)
    assert dark["logits/fake"] != light["logits/fake"] and dark["logits/real"] == light["logits/real"]


def test_the_guided_augmentation_sees_the_saliency_of_the_discriminator():
    seen = []

    def cut(keys, x, p, saliency):
        seen.append(saliency.shape)
        return augment.attentive_cutout(keys, x, saliency, p)

    _, (_, guided) = one_step(1, augment=cut, p=1.0, guided=True)
    _, (_, plain) = one_step(1)
    assert guided["logits/real"] != plain["logits/real"] and set(seen) == {(B, 8, 8)}
    # What a linear critic looks at is known: |a|. Cut at its largest place, always.
    a = jnp.zeros((1, 8, 8, 1)).at[0, 2, 3].set(-5.0)
    game_of = game.game(
        G(), D(), augment=augment.pipeline(("attentive_cutout",), attentive_cutout={"quantile": 1.0}), guided=True
    )
    keys = jax.random.split(jax.random.key(0), B)
    out = game_of.augment(keys, jnp.ones((B, *SHAPE)), 1.0, lambda x: (x * a).sum((1, 2, 3)))
    assert not out[:, 2, 3].any() and out.any()


def test_a_network_without_its_fields_is_refused_before_anything_is_made_of_it():
    class NoClasses(nn.Module):
        shape: tuple = SHAPE
        z_dim: int = 3

    class Bare(nn.Module):
        pass

    with pytest.raises(UserError, match="generator: NoClasses has no field `classes`; a generator has z_dim, shape"):
        game.game(NoClasses(), D())
    with pytest.raises(UserError, match="generator: D has no field `z_dim`"):  # the two exchanged
        game.game(D(), G())
    with pytest.raises(UserError, match="discriminator: Bare has no field `shape`"):
        game.game(G(), Bare())

    class OfPairs(D):  # (x, z), as BiGAN's
        z_dim: int = 3

    with pytest.raises(UserError, match="discriminator: OfPairs has a field `z_dim`, as generators do; rename it"):
        game.game(G(), OfPairs())


@pytest.mark.parametrize("out, said", [({"logits": 0}, "a dict"), ((0, 0, 0, 0), "a tuple of 4")])
def test_a_discriminator_that_returns_something_else_is_refused(out, said):
    class Other(nn.Module):
        shape: tuple = SHAPE

        @nn.compact
        def __call__(self, x, c=None, *, keys=None, train=False, axis=None):
            return out

    with pytest.raises(UserError, match=f"discriminator: it returns {said}; give logits"):
        game.game(G(), Other()).judge({"params": {}}, None, jnp.zeros((B, *SHAPE)), None, 0.0, None, False)


def test_an_error_in_a_network_says_what_it_was_called_with():
    class Conditional(nn.Module):
        shape: tuple = SHAPE

        @nn.compact
        def __call__(self, x, c=None, *, keys=None, train=False, axis=None):
            return nn.Embed(2, 1)(c)[:, 0] + x.mean((1, 2, 3))

    class Dropped(D):
        @nn.compact
        def __call__(self, x, c=None, *, keys=None, train=False, axis=None):
            return nn.Dropout(0.5, deterministic=not train)(x.mean((1, 2, 3)))

    with pytest.raises(AttributeError) as e:
        game.init(G(), Conditional(), 0)
    assert "Conditional was called with ('float32[1,8,8,1]', None), keys=" in e.value.__notes__[-1]
    assert "Without a field `classes` above 0, c is None" in e.value.__notes__[-1]
    with pytest.raises(flax.errors.InvalidRngError) as e:
        game.game(G(), Dropped()).judge({"params": {}}, None, jnp.zeros((B, *SHAPE)), None, 0.0, None, False)
    assert "not from linen's rngs" in e.value.__notes__[-1] and sum("was called" in note for note in e.value.__notes__) == 1
