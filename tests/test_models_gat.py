"""GAT against the authors' networks and loss (golden/gat.npz), its counts, and what its layers should do."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.configs import families
from jaxgan import augment, method, plan, recipes_gat, transformer, weights
from jaxgan.errors import UserError
from jaxgan.models import gat
from tests.golden import gat_rule
from tests.shared import off

GOLDEN = Path(__file__).parent / "golden" / "gat.npz"
SHAPE = gat_rule.SIDE, gat_rule.SIDE, gat_rule.CHANNELS
G = gat.Generator(SHAPE, gat_rule.CLASSES, gat_rule.Z, **gat_rule.FIELDS)
D = gat.Discriminator(SHAPE, gat_rule.CLASSES, **gat_rule.FIELDS, label_dim=gat_rule.LABEL)
GAMMAS = {"r1": 20.0, "r2": 6.0}


@functools.cache
def golden():
    with np.load(GOLDEN) as file:
        return dict(file)


@functools.cache
def official():
    """The rule's weights as our parameters of both networks."""
    g, d = gat_rule.generator(**gat_rule.FIELDS), gat_rule.discriminator(**gat_rule.FIELDS)
    return jax.tree.map(jnp.asarray, (gat_rule.params_g(g), gat_rule.params_d(d)))


def judged(d, x, which, labels):
    """A verdict on images at all levels under the noise of that name."""
    x = gat.perturbed(D.at_levels(x), gat_rule.noise(which), D.levels)
    return method.Verdict(D.apply({"params": d}, x, labels, method="judge"))


def rounded(player, g, d):
    """The round of a player's turn, with the rule's noise in place of drawn one."""
    z, real, c = gat_rule.inputs({"d": 0, "g": 1}[player])
    names = {of: of + "_g" * (player == "g") for of in ("real", "fake")}
    fake = G.apply({"params": g}, z, c, train=True)
    look = lambda x, of: judged(d, x, names[of], c)
    real = D.at_levels(jnp.asarray(real))
    fields = {"real": real, "fake": fake, "real_out": look(real, "real"), "fake_out": look(fake, "fake"), "D": look}
    rest = dict.fromkeys(set(method.Round._fields) - set(fields))
    return method.Round(**fields, **rest | {"keys": jax.random.split(jax.random.key(0), len(z))})


def test_outputs_are_the_authors():
    """Also the image alone, which is the last level."""
    g, _ = official()
    z, _, c = gat_rule.inputs(0)
    assert off(jax.jit(functools.partial(G.apply, train=True))({"params": g}, z, c), golden()["x"]) < 2e-6
    assert off(G.apply({"params": g}, z, c), golden()["x"][..., -SHAPE[2] :]) < 2e-6


@pytest.mark.parametrize("player", ["d", "g"])
def test_losses_penalties_and_gradients_are_the_authors(player, monkeypatch):
    """Their penalties add noise before the noise of the levels: to a real image once, to each level of a fake anew."""
    g, d = official()
    terms = {phase.player: phase.terms for turn in recipes_gat.gat(batch=4).turns for phase in turn.phases}[player]
    asked = iter(("r1", "r2"))

    def added(keys, x):
        which = next(asked)
        assert x.shape[3] == SHAPE[2] * (1 if which == "r1" else D.levels)
        return gat_rule.noise(which)[..., : x.shape[3]]

    monkeypatch.setattr(recipes_gat, "normal_like", added)

    def loss(params):
        r = rounded(player, *((g, params) if player == "d" else (params, d)))
        if player == "d":
            r = r._replace(fake=jax.lax.stop_gradient(r.fake))
        values = {term.name: term.fn(r)[0] for term in terms}
        return sum(GAMMAS.get(name, 2.0) / 2 * value for name, value in values.items()), values

    gradient, values = jax.jit(jax.grad(loss, has_aux=True))(d if player == "d" else g)
    theirs = {"adv": "disc_loss", "r1": "r1_loss", "r2": "r2_loss"} if player == "d" else {"adv": "gen_loss"}
    for ours, name in theirs.items():
        np.testing.assert_allclose(values[ours], golden()[name].mean(), rtol=1e-3 if ours in GAMMAS else 1e-5)  # divided by 0.01
    rule, make = (gat_rule.generator, gat_rule.params_g) if player == "g" else (gat_rule.discriminator, gat_rule.params_d)
    want, at = {}, 0
    for name, a in rule(**gat_rule.FIELDS).items():  # what is known of each official array, nan elsewhere
        places = np.linspace(0, a.size - 1, min(a.size, 12)).astype(int)
        some = np.full(a.size, np.nan, np.float32)
        some[places] = golden()[f"{player}.slices"][at : at + len(places)]
        want[name], at = some.reshape(a.shape), at + len(places)
    norms = dict(zip(want, golden()[f"{player}.norms"], strict=True))
    sized = jax.tree.leaves(make({name: np.full(a.shape, norms[name]) for name, a in want.items()}))
    for got, some, norm in zip(*map(jax.tree.leaves, (gradient, make(want))), sized, strict=True):
        known, size = ~np.isnan(some), max(norm.max(), 0.01)  # the gradient of the last bias is zero: pairs have one label
        assert known.any() and abs(got - some)[known].max() < 1e-3 * size and abs(np.linalg.norm(got) - norm.max()) < 1e-3 * size


def test_the_terms_of_the_recipe_are_weighted_as_theirs():
    d, g = recipes_gat.gat(batch=512, gamma=0.1).turns
    assert [(t.name, t.weight) for t in d.phases[0].terms] == [("adv", 1.0), ("r1", 0.05), ("r2", 0.05)]
    assert d.slots == g.slots == (0,) and [t.name for t in g.phases[0].terms] == ["adv"]
    assert 0.5 ** (0.512 / recipes_gat.gat(batch=512).ema_kimg) == pytest.approx(0.999)  # a step of 512 images
    tx = recipes_gat.gat(batch=512).tx["g"]
    p = {"a": jnp.ones(4)}
    moved = [tx.update({"a": jnp.full(4, size)}, tx.init(p), p, kimg=0.0)[1] for size in (0.25, 100.0)]
    wide = families.Config(family="gat", width=24, batch=4).design((8, 8, 1), 3).recipe.tx  # 96 features
    for one in wide.values():
        np.testing.assert_allclose(one.update({"a": jnp.ones(4)}, one.init(p), p, kimg=0.0)[0]["a"], -2e-4 * 8, rtol=1e-4)
    second = [[a for a in jax.tree.leaves(state) if a.shape == (4,)][-1] for state in moved]
    np.testing.assert_allclose(second, 0.01 * np.array([[0.25**2] * 4, [0.5**2] * 4]), rtol=1e-5)  # a norm of 1 over 4


def test_the_configs_penalties_know_its_levels():
    """To a real image's four levels they add one noise, to a fake's four."""
    critic = families.Config(family="gat", width=4, batch=4).design((8, 8, 1), 0).recipe.turns[0].phases[0].terms
    x, keys, seen = jnp.zeros((2, 8, 8, 4)), jax.random.split(jax.random.key(0), 2), []
    out = method.Verdict(jnp.zeros(2))
    look = lambda x, of: (seen.append(x), out)[1]
    r = method.Round(**dict.fromkeys(method.Round._fields) | {"real": x, "fake": x, "keys": keys, "D": look})
    for term in critic[1:]:
        term.fn(r._replace(real_out=out, fake_out=out))
    alike = [bool((noise == noise[..., :1]).all()) for noise in seen]
    assert alike == [True, False] and all(noise.std() > 0.005 for noise in seen)


def test_networks_start_as_the_authors():
    """Xavier's uniform bounds, a tenth of them for styles, a hundred times them in slow layers; 0.1 for D's scales."""
    g = jax.jit(G.init)(jax.random.key(0), jnp.ones((1, gat_rule.Z)), jnp.zeros(1, jnp.int32))["params"]
    d = jax.jit(D.init)(jax.random.key(1), jnp.ones((1, *SHAPE)), jnp.zeros(1, jnp.int32))["params"]
    for kernel, gain in (
        (g["block0"]["attention"]["qkv"]["kernel"], 1.0),
        (g["block0"]["style"]["kernel"], 0.1),
        (g["image0"]["style"]["kernel"], 0.1),
        (g["mapping_network"]["fc0"]["kernel"], 100.0),
        (d["class_fc0"]["kernel"], 100.0),
        (d["patches"]["kernel"], 1.0),
    ):
        bound = gain * np.sqrt(6 / sum(kernel.shape))
        assert 0.97 * bound < abs(kernel).max() <= bound
    assert (d["block0"]["attention_scale"] == 0.1).all() and (d["block0"]["gated_scale"] == 0.1).all()
    tables = g["mapping_network"]["classes"]["embedding"], d["classes"]["embedding"], d["token"]
    assert all(0.01 < a.std() < 0.03 for a in tables)
    assert not any(np.any(a) for path, a in jax.tree_util.tree_leaves_with_path((g, d)) if path[-1].key == "bias")


OFFICIAL = {  # G without the embedding of an image that it multiplies by zero, and D
    "S/2": (29_256_512, 32_556_160),
    "B/2": (116_545_088, 97_135_360),
    "XL/2": (601_936_640, 459_252_544),
}


@pytest.mark.parametrize("name", OFFICIAL)
def test_presets_have_the_authors_parameters(name):
    of_g, of_d = gat.PRESETS[name]
    made = (gat.Generator((32, 32, 4), 1000, **of_g), gat.Discriminator((32, 32, 4), 1000, **of_d))
    counts = tuple(sum(a.size for a in jax.tree.leaves(weights.shapes(module)["params"])) for module in made)
    assert counts == OFFICIAL[name]


def test_noise_has_the_written_share_at_each_level_and_grows_from_the_last():
    """By a closed form: level k is (1 - t) x + t e, t = 0.885, 0.76, 0.51, 0.01; cov(n_j, n_k) = t_k^2 (1 - t_j) / (1 - t_k)."""
    t = np.array([0.885, 0.76, 0.51, 0.01])
    e = jax.random.normal(jax.random.key(0), (200_000, 1, 1, 4))
    x = jnp.ones((1, 1, 1, 4))
    np.testing.assert_allclose(gat.perturbed(x, 0 * x, 4)[0, 0, 0], 1 - t, atol=1e-6)
    noise = np.asarray(gat.perturbed(0 * x, e, 4)[:, 0, 0])
    want = [[t[max(j, k)] ** 2 * (1 - t[min(j, k)]) / (1 - t[max(j, k)]) for k in range(4)] for j in range(4)]
    np.testing.assert_allclose(noise.T @ noise / len(noise), want, atol=0.01)


def test_attention_sees_how_far_apart_patches_are_and_not_where():
    """Rotated queries and keys: the product depends on the offset alone, in both directions."""
    turns = transformer.rotations(5, 6, 8)
    q, k = jax.random.normal(jax.random.key(0), (2, 8))
    spread = lambda a: transformer.rotated(jnp.broadcast_to(a, (1, 30, 1, 8)), turns)[0, :, 0].reshape(5, 6, 8)
    dots = jnp.einsum("ijc,klc->ijkl", spread(q), spread(k))
    np.testing.assert_allclose(dots[1, 2, 3, 4], dots[2, 1, 4, 3], rtol=1e-4)
    assert abs(dots[1, 2, 3, 4] - dots[1, 2, 4, 3]) > 1e-3
    first = transformer.rotated(jnp.broadcast_to(q, (1, 31, 1, 8)), turns)  # a token more, before them
    np.testing.assert_array_equal(first[0, 0, 0], q)


def test_truncation_ends_at_the_class():
    g, _ = official()
    z, _, c = gat_rule.inputs(0)
    w = lambda z, c, **options: G.apply({"params": g}, z, c, **options, method="mapping")
    centre = w(z, c, psi=0.0)
    np.testing.assert_allclose(centre[0], w(z[::-1], c, psi=0.0)[0], atol=1e-6)  # whatever z was
    assert off(centre[1], centre[0]) > 0.01 and off(centre[3], centre[0]) < 1e-6  # classes 0, 1, 2, 0
    many = jax.random.normal(jax.random.key(1), (4000, gat_rule.Z))
    mean = w(many, jnp.zeros(4000, jnp.int32))[:, 0].mean(0)
    spread = w(many, jnp.zeros(4000, jnp.int32))[:, 0].std(0)
    assert (abs(mean - centre[0, 0]) < 0.4 * spread).all()  # of 128 draws: 4 standard errors and some more
    half = w(z, c, psi=0.5, cutoff=2)
    np.testing.assert_allclose(half[:, :2], (0.5 * (w(z, c) + centre))[:, :2], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(half[:, 2:], w(z, c)[:, 2:])


def test_the_discriminator_takes_one_image_for_all_levels():
    """In training its noise is of the keys; elsewhere the same on every image, whatever the batch."""
    _, d = official()
    _, real, c = gat_rule.inputs(0)
    judge = functools.partial(D.apply, {"params": d})
    keys = jax.random.split(jax.random.key(3), len(real))
    logits = judge(real, c, keys=keys, train=True)
    np.testing.assert_array_equal(logits, judge(np.tile(real, 4), c, keys=keys, train=True))
    assert off(logits, judge(real, c, keys=keys[::-1], train=True)) > 1e-3
    np.testing.assert_allclose(judge(real, c)[1:2], judge(real[1:2], c[1:2]), rtol=1e-5)
    np.testing.assert_array_equal(judge(real, c), judge(real, c, keys=keys))
    with pytest.raises(ValueError, match="needs keys"):
        judge(real, c, train=True)
    with pytest.raises(ValueError, match=r"x must be \[B, 8, 8, 12\], not \[4, 8, 8, 6\]"):
        judge(np.tile(real, 2), c)


def test_without_classes_and_on_other_sizes():
    g = gat.Generator((8, 12, 1), z_dim=4, width=8, depth=2, heads=1, levels=2)
    d = gat.Discriminator((8, 12, 1), width=8, depth=1, heads=1, levels=2)
    keys = jax.random.split(jax.random.key(0), 3)
    x, _ = g.init_with_output(keys[0], jnp.ones((3, 4)), train=True)
    logits, _ = d.init_with_output(keys[1], x, keys=keys, train=True)
    assert x.shape == (3, 8, 12, 2) and logits.shape == (3,)


def test_bfloat16_is_of_the_arithmetic_alone():
    g, d = official()
    z, real, c = gat_rule.inputs(0)
    low_g, low_d = (module.clone(dtype=jnp.bfloat16) for module in (G, D))
    x = low_g.apply({"params": g}, z, c)
    assert x.dtype == jnp.float32 and 1e-5 < off(x, golden()["x"][..., -3:]) < 0.05
    logits = low_d.apply({"params": d}, real, c)
    assert logits.dtype == jnp.float32 and off(logits, D.apply({"params": d}, real, c)) < 0.05


def test_augmentations_treat_the_levels_of_an_image_alike():
    """Of each image all levels get the draws that the image alone gets."""
    one = augment.pipeline(("flip", "translation", "cutout", "color"))
    keys = jax.random.split(jax.random.key(0), 6)
    a, b = jax.random.normal(jax.random.key(1), (2, 6, 8, 8, 3))
    got = recipes_gat.at_levels(one, 2)(keys, jnp.concatenate([a, b], 3), 0.8)
    for part, x in ((got[..., :3], a), (got[..., 3:], b)):
        np.testing.assert_allclose(part, one(keys, x, 0.8), atol=1e-6)


def test_mistakes_name_the_fields():
    for fields, says in (
        ({"patch": 3}, "patch=3: it does not divide images of 8x8"),
        ({"heads": 3}, "width=32, heads=3"),
        ({"depth": 6}, "depth=6, levels=4"),
        ({"levels": 1}, "levels=1"),
    ):
        with pytest.raises(UserError, match=says):
            weights.shapes(G.clone(**fields))
    with pytest.raises(UserError, match="images of 30x28"):
        plan.first_state(0, families.Config(family="gat").design((30, 28, 1), 0))
