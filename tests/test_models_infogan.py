"""InfoGAN: its networks in float64 NumPy, the codes' distribution, what the losses reach, the codes as a user asks for them."""

import math
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import experiments.directions
import experiments.sample
from experiments.configs import families
from jaxgan import convert, directions, game, latents, method, recipes_classic, sample, state, terms, weights
from jaxgan.errors import UserError
from jaxgan.models import mlp
from jaxgan.models.infogan import Discriminator, Generator
from tests.golden.classic_rule import rule, variables
from tests.reference import classic
from tests.shared import changes, updater

SHAPE = (8, 12, 2)
G = Generator(SHAPE, z_dim=9, categories=3, width=2)
D = Discriminator(SHAPE, categories=3, width=2)
Z = jnp.asarray(rule((6, 9), 901), jnp.float32)
X = jnp.asarray(np.tanh(rule((6, *SHAPE), 902)), jnp.float32)


def test_forward_is_the_papers():
    v = variables(G, Z)
    want = classic.infogan_generator(v["params"], Z, (4, 6), 3)
    x, _ = G.apply(v, Z, train=True, mutable=["batch_stats"])
    assert np.abs(x - want).max() < 1e-5 * np.abs(want).max()
    v = variables(D, X)
    said, _ = D.apply(v, X, train=True, mutable=["batch_stats"])
    for ours, want in zip(said, classic.infogan_discriminator(v["params"], X, 3), strict=True):
        assert ours.shape == want.shape and ours.dtype == jnp.float32
        assert np.abs(ours - want).max() < 1e-5 * np.abs(want).max()


def test_sizes_of_the_mnist_networks():
    """Appendix C.1, layer by layer; a scale and an offset where a bias is followed by batch norm."""
    shapes = [weights.shapes(module((28, 28, 1)))["params"] for module in (Generator, Discriminator)]
    g, d = (sum(math.prod(a.shape) for a in jax.tree.leaves(s)) for s in shapes)
    assert Generator((28, 28, 1)).z_dim == 62 + 10 + 2
    assert g == (74 + 2) * 1024 + (1024 + 2) * 7 * 7 * 128 + (16 * 128 + 2) * 64 + (16 * 64 + 1)
    wide = [weights.shapes(module((28, 28, 1), width=600))["params"] for module in (Generator, Discriminator)]
    assert [max(a.shape[-1] for a in jax.tree.leaves(s) if a.ndim == 4) for s in wide] == [600, 1024]
    body = (16 + 1) * 64 + (16 * 64 + 2) * 128 + (7 * 7 * 128 + 2) * 1024
    assert d == body + (1024 + 1) + (1024 + 2) * 128 + (128 + 1) * (10 + 2)


def test_weights_begin_as_the_authors():
    """Normal of deviation 0.02, about 1 for batch norm's gains; no biases."""
    for module, given in ((Generator(SHAPE, width=16), jnp.zeros((1, 74))), (Discriminator(SHAPE, width=16), X[:1])):
        params = jax.jit(lambda module=module, given=given: module.init(jax.random.key(0), given)["params"])()
        for path, a in jax.tree_util.tree_leaves_with_path(params):
            mean, spread = {"kernel": (0, 0.02), "scale": (1, 0.02), "bias": (0, 0)}[path[-1].key]
            error = 4.5 * spread / a.size**0.5
            assert abs(a.mean() - mean) <= error and abs(a.std() - spread) <= error, path
    for module, name, wrong in ((G, "z", Z[:, 1:]), (D, "x", X[:, 1:])):
        with pytest.raises(ValueError, match=rf"{name} must be \[B, "):
            jax.eval_shape(module.init, jax.random.key(0), wrong)


def test_codes_are_uniform_and_belong_to_the_noise():
    g, n = Generator((28, 28, 1)), 20_000
    z = jax.random.normal(jax.random.key(0), (n, 74))
    category, codes = map(np.asarray, g.codes(z))
    counts = np.bincount(category, minlength=10)
    assert ((counts - n / 10) ** 2 / (n / 10)).sum() < 27.9  # 0.999 of chi-square with 9 degrees of freedom
    for u in codes.T:  # Kolmogorov and Smirnov, 0.999
        assert np.abs(np.sort((u + 1) / 2) - (np.arange(n) + 0.5) / n).max() < 1.95 / n**0.5
    assert np.abs(np.corrcoef([*codes.T, category])[0, 1:]).max() < 4 / n**0.5
    np.testing.assert_allclose(g.codes(jnp.zeros((1, 74)).at[0, 72].set(1.0))[1], [[0.6826895, 0]], atol=1e-6)


def test_a_category_is_made_by_one_exchange():
    g, n = Generator((28, 28, 1)), 20_000
    z = np.asarray(jax.random.normal(jax.random.key(1), (n, 74)))
    for wanted in (0, 7, np.arange(n) % 10):
        new = np.asarray(g.with_category(jnp.asarray(z), wanted))
        np.testing.assert_array_equal(g.codes(new)[0], np.broadcast_to(wanted, n))
        np.testing.assert_array_equal(np.delete(new, np.s_[62:72], 1), np.delete(z, np.s_[62:72], 1))
        np.testing.assert_array_equal(np.sort(new, 1), np.sort(z, 1))
        assert set((new != z).sum(1)) == {0, 2}
    # The entry of the category is the largest of ten normal ones, of mean 1.5388; the others add up to minus that.
    new = np.asarray(g.with_category(jnp.asarray(z), 4))[:, 62:72]
    np.testing.assert_allclose(new.mean(0), np.where(np.arange(10) == 4, 1.5388, -1.5388 / 9), atol=4.5 / n**0.5)
    np.testing.assert_array_equal(g.with_category(jnp.asarray(z), -1), z)


def test_both_losses_reach_g_the_body_and_q_but_not_the_logit():
    v = {"g": variables(G, Z), "d": variables(D, X)}
    want = classic.infogan_discriminator(v["d"]["params"], classic.infogan_generator(v["g"]["params"], Z, (4, 6), 3), 3)
    category, codes = np.asarray(Z)[:, 4:7].argmax(1), np.vectorize(math.erf)(np.asarray(Z, float)[:, 7:] / 2**0.5)
    probability = np.exp(want[1]) / np.exp(want[1]).sum(1, keepdims=True)
    density = np.exp(-((codes - want[2]) ** 2) / 2) / np.sqrt(2 * np.pi)
    wanted = -np.log(probability[np.arange(6), category]).mean(), -np.log(density).sum(1).mean()

    def losses(params):
        x, _ = G.apply(v["g"] | {"params": params["g"]}, Z, train=True, mutable=["batch_stats"])
        out, _ = D.apply(v["d"] | {"params": params["d"]}, x, train=True, mutable=["batch_stats"])
        r = method.Round(*[None] * len(method.Round._fields))._replace(w=Z, fake_out=method.Verdict(*out))
        return jnp.stack([make(G.codes).fn(r)[0] for make in (terms.categorical_code, terms.continuous_code)])

    value, gradients = jax.jit(lambda p: (losses(p), jax.jacrev(losses)(p)))({who: v[who]["params"] for who in "gd"})
    np.testing.assert_allclose(value, wanted, rtol=1e-5)
    for path, slope in jax.tree_util.tree_leaves_with_path(gradients):
        names = [entry.key for entry in path]
        if names[-1] == "kernel":
            size = np.abs(slope).max(tuple(range(1, slope.ndim)))
            assert (size == 0).all() if "head" in names else (size > 1e-4).all(), names


def test_a_step_moves_both_and_the_codes_are_those_of_the_fakes():
    recipe = recipes_classic.infogan(G.codes, batch=6)
    method.check(recipe)
    first = state.create(0, variables(G, Z), variables(D, X), recipe)
    x = jnp.asarray(np.random.default_rng(0).integers(0, 256, (1, 1, 6, *SHAPE), np.uint8))
    now, log = jax.jit(updater(recipe, game.game(G, D)))(first, x, None)
    assert {f"{who}/{term}" for who in "gd" for term in ("adv", "categorical_code", "continuous_code")} <= log.keys()
    for path, far in changes(first, now).items():
        assert far > 0, path


@pytest.fixture(scope="module")
def made():
    """A generator of random weights, as arrays, whose images depend on all of z."""
    return G, jax.tree.map(np.asarray, variables(G, Z))


def test_images_of_a_category(made):
    g, v = made
    n = 70  # more than a chunk
    free, of_one = latents.draw(g, v, n, seed=3), latents.draw(g, v, n, seed=3, category=2)
    np.testing.assert_array_equal(g.codes(of_one.code)[0], 2)
    np.testing.assert_array_equal(of_one.code, g.with_category(jnp.asarray(free.code), 2))
    np.testing.assert_array_equal(latents.draw(g, v, 5, seed=3, category=2, first=60).code, of_one.code[60:65])
    bounded = latents.draw(g, v, n, category=np.arange(n) % 3, psi=0.7, threshold=1.0).code
    np.testing.assert_array_equal(g.codes(bounded)[0], np.arange(n) % 3)
    assert np.abs(bounded).max() <= 0.7
    np.testing.assert_array_equal(sample.sample(g, v, n, seed=3, category=2), latents.images(g, v, of_one))
    plain = mlp.Generator(SHAPE, z_dim=4)
    for call, says in (
        (lambda: sample.sample(g, v, 2, category=3), "category 3: the categories are 0 to 2"),
        (lambda: sample.sample(g, v, 2, category=-1), "category -1: the categories are 0 to 2"),
        (lambda: sample.sample(g, v, 2, category=[0, 1, 2]), r"category must be one integer or 2; it is int64 \(3,\)"),
        (lambda: latents.draw(g, v, 2, category=1.5), "category must be one integer or 2; it is float64"),
        (lambda: latents.draw(g, v, 2, category=1, psi=0.0), "psi 0 cannot be combined with a category"),
        (lambda: latents.draw(g, v, 2, label=1), "label 1: this generator was trained without labels"),
        (lambda: latents.draw(g, v, 2, label=1, category=1), "label 1 cannot be combined with a category"),
        (lambda: sample.sample(plain, {}, 2, category=1), "category 1: the generator of mlp has no categorical code"),
    ):
        with pytest.raises(UserError, match=says):
            call()


def test_the_table_of_codes(made):
    g, v = made
    few, values = latents.draw(g, v, 2, seed=5), np.float32([-2, 0, 1, 2])
    z = directions.code_table(g, few.take([1]), values).code.reshape(3, 2, 4, 9)
    category, codes = g.codes(jnp.asarray(z.reshape(24, 9)))
    np.testing.assert_array_equal(category, np.repeat([0, 1, 2], 8))
    for j in (0, 1):
        np.testing.assert_array_equal(z[:, j, :, 7 + j], np.tile(values, (3, 1)))
        assert (z[:, j, :, 8 - j] == few.code[1, 8 - j]).all() and (z[..., :4] == few.code[1, :4]).all()
    np.testing.assert_allclose(codes[:4, 0], np.vectorize(math.erf)(values / 2**0.5), atol=1e-6)
    with pytest.raises(UserError, match="codes: the generator of mlp has no codes"):
        directions.code_table(mlp.Generator(SHAPE, z_dim=4), few, values)
    with pytest.raises(UserError, match="codes: with psi 0 all categories are one"):
        directions.code_table(g, few._replace(code=0 * few.code), values)


def test_the_commands(made, tmp_path, monkeypatch, capsys):
    g, v = made
    convert.save_safetensors(tmp_path / "g.safetensors", g, v)

    def command(module, *args):
        monkeypatch.setattr(sys, "argv", ["command", str(tmp_path / "g.safetensors"), *map(str, args)])
        module.main()

    draw, way = partial(command, experiments.sample), partial(command, experiments.directions, "--method", "codes")
    draw("--category", 1, "--n", 3, "--seed", 4, "--out", tmp_path / "a.npz")
    draw("--rows", 2, "--seed", 4, "--out", tmp_path / "b.npz")
    with np.load(tmp_path / "a.npz") as a, np.load(tmp_path / "b.npz") as b:
        np.testing.assert_array_equal(a["images"], sample.sample(g, v, 3, seed=4, category=1))
        np.testing.assert_array_equal(b["images"], sample.sample(g, v, 6, seed=4, category=np.arange(6) % 3))
        assert a["categories"].tolist() == [1] * 3 and b["categories"].tolist() == [0, 1, 2] * 2 and "labels" not in a
    way("--range", 2, "--steps", 5, "--image", 1, "--out", tmp_path / "c.png")
    assert "3 categories and 2 continuous codes of" in capsys.readouterr().out
    with np.load(tmp_path / "c.npz") as c:
        assert c["images"].shape == (3, 2, 5, *SHAPE) and c["values"].tolist() == [-2, -1, 0, 1, 2]
        table = directions.code_table(g, latents.draw(g, v, 1, first=1), c["values"])
        np.testing.assert_array_equal(c["images"].reshape(30, *SHAPE), latents.images(g, v, table))
    with Image.open(tmp_path / "c.png") as picture:
        # Two channels side by side, and a gap between the codes' columns.
        assert picture.width / picture.height == pytest.approx((11 * (2 * 12 + 1) + 1) / (3 * 9 + 1))
    for call, says in (
        (lambda: way("--n", 3), "--n: --method codes shows every code"),
        (lambda: way("--label", 3), "--label: --method codes shows every code"),
        (lambda: draw("--label", 1), "label 1: this generator was trained without labels"),
        (lambda: draw("--category", 1, "--mix", 1, 1), "--category: InfoGAN's, which has no styles to mix"),
    ):
        with pytest.raises(UserError, match=says):
            call()


def test_the_family():
    design = families.Config(family="infogan", categories=4, continuous=3, width=4).design((28, 28, 1), 0)
    g, d = design.generator, design.discriminator
    assert (g.z_dim, g.categories, g.continuous) == (69, 4, 3) and (d.categories, d.continuous, d.width) == (4, 3, 4)
    given = {term.name: term.weight for term in design.recipe.turns[1].phases[0].terms}
    assert given == {"adv": 1, "categorical_code": 1, "continuous_code": 1}
    for options, classes, says in (
        ({}, 10, "infogan finds its categories without labels; leave out --conditional"),
        ({"categories": 1}, 0, "--categories 1: a categorical code has at least 2 values"),
        ({"preset": "x"}, 0, "--preset x: infogan has none"),
    ):
        with pytest.raises(UserError, match=says):
            families.Config(family="infogan", **options).design((28, 28, 1), classes)
    with pytest.raises(UserError, match="--categories: sngan has none; leave it out"):
        families.Config(family="sngan", categories=3).design((28, 28, 1), 0)
