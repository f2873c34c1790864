"""CycleGAN: float64 NumPy from the paper, the authors' generator, the whole objective through the step, sizes."""

from functools import partial
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.configs import unpaired
from jaxgan import description, game, losses, method, recipes_paired, schedules, state, translate, weights
from jaxgan.errors import UserError
from jaxgan.models.cyclegan import Discriminator, Generator, Translator
from tests.golden import cyclegan_rule
from tests.golden.classic_rule import rule, variables
from tests.reference import cyclegan as reference
from tests.reference import pix2pix as paired
from tests.shared import changes, updater

GOLDEN = Path(__file__).parent / "golden" / "cyclegan.npz"


@pytest.mark.parametrize("name", cyclegan_rule.CASES)
def test_the_generator_is_the_authors(name):
    g, source = cyclegan_rule.network(name), cyclegan_rule.source(name)
    made, cut = jax.jit(g.apply)(cyclegan_rule.weights(name), source), 4 if name == "square" else 1
    with np.load(GOLDEN) as golden:
        assert golden[name].std() > 0.3
        assert np.abs(made[:, ::cut, ::cut] - golden[name]).max() < 1e-5


def test_parameters_are_as_many_as_the_authors():
    """Of their PyTorch code for 9 and 6 blocks, but for the biases before a norm, which it takes out, and gains and biases."""
    for size, blocks, theirs in ((256, 9, 11_378_179), (128, 6, 7_837_699)):
        normed = 3 * 64 + 2 * 128 + 256 + 2 * blocks * 256 - 64
        shapes = weights.shapes(Translator((size, size, 3), blocks=blocks))["params"]
        assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == theirs - normed + 2 * normed


def test_both_directions_are_the_papers_network_and_begin_as_it():
    assert (
        Generator((256, 256, 6)).one_way() == (Translator((256, 256, 3), 3), "a_to_b")
        and Translator.classes == Generator.classes == 0
    )
    g = Translator((8, 8, 3), width=12, blocks=1)
    params = jax.jit(lambda: g.init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))["params"])()
    kernels = [a for path, a in jax.tree_util.tree_leaves_with_path(params) if path[-1].key == "kernel"]
    assert len(kernels) == 8
    for a in kernels:  # normal of deviation 0.02
        assert abs(a.mean()) < 4.5 * 0.02 / a.size**0.5 and abs(a.std() - 0.02) < 4.5 * 0.02 / (2 * a.size) ** 0.5


@pytest.fixture(scope="module")
def played():
    """One step of a tiny game on images of 9x7, whose weights the next step and NumPy share: fields, pair, states, log."""
    shape, n = (9, 7, 4), 2
    g, d = Generator(shape, width=2, blocks=1), Discriminator(shape, width=2, layers=0)
    pair = np.round((0.9 * rule((n, *shape), 901) / 2 + 0.5).clip(0, 1) * 255).astype(np.uint8)
    x = np.float32(pair) / 127.5 - 1
    recipe = recipes_paired.cyclegan(batch=n, cycle=10.0, identity=5.0, lr=1e-3)
    method.check(recipe)
    first = state.create(0, variables(g, x), variables(d, x), recipe)
    now, log = jax.jit(updater(recipe, game.game(g, d)))(first, pair[None, None], pair[None, None])
    return (g, d), x, (first, now), log


def test_the_step_plays_the_papers_objective(played):
    (g, d), x, (first, now), log = played
    a, b = np.split(x.astype(np.float64), 2, -1)
    made = [partial(reference.translator, first.g.params[name], blocks=1) for name in ("a_to_b", "b_to_a")]

    def judge(params):
        return lambda y: paired.discriminator(params, y[..., :0], y, 0, (1, 2))

    before, after = ([judge(players.d.params[name]) for name in ("of_a", "of_b")] for players in (first, now))
    of_d, _, cycle, identity = reference.objective(a, b, *made, *before, 10, 5)
    _, of_g, *_ = reference.objective(a, b, *made, *after, 10, 5)  # D moved first
    d_turn, g_turn = (turn.phases[0].terms for turn in recipes_paired.cyclegan().turns)
    total = lambda player, terms: sum(term.weight * float(log[f"{player}/{term.name}"]) for term in terms)
    np.testing.assert_allclose(total("d", d_turn), of_d, rtol=1e-5)
    np.testing.assert_allclose(total("g", g_turn), of_g, rtol=1e-5)
    np.testing.assert_allclose([log["g/cycle"], log["g/identity"]], [cycle / 2, identity / 2], rtol=1e-5)
    assert len({round(float(v), 3) for v in (of_d, of_g, cycle, identity)}) == 4 and of_d > 0.1
    kernels = [far for path, far in changes(first, now).items() if path[-1] == "kernel"]
    assert min(kernels) > 0  # both directions and both discriminators are trained


def test_the_logits_of_a_are_on_the_left(played):
    (_, d), x, (first, _), _ = played
    judge = lambda of, y: paired.discriminator(first.d.params[of], y[..., :0], y, 0, (1, 2))
    judged = [judge("of_a", x[..., :2]), judge("of_b", x[..., 2:])]
    logits = jax.jit(d.apply)({"params": first.d.params}, x)
    assert logits.shape == (2, 9, 14) and logits.dtype == jnp.float32
    np.testing.assert_allclose(logits, np.concatenate(judged, 2), atol=1e-4 * np.abs(judged).max())


def test_one_way_is_half_of_both(played):
    (g, _), x, (first, _), _ = played
    v = {"params": first.g.params}
    whole = jax.jit(g.apply)(v, x)
    for reverse, (given, made) in enumerate(((x[..., :2], whole[..., 2:]), (x[..., 2:], whole[..., :2]))):
        net, own = translate.one_way(g, v, reverse)
        assert net.shape == (9, 7, 2) and net == description.build(description.describe(net))
        np.testing.assert_allclose(jax.jit(net.apply)(own, given), made, atol=1e-6)
    assert g == description.build(description.describe(g))


@pytest.mark.parametrize("shape, blocks", [((12, 14, 1), 2), ((5, 6, 3), 1)])
def test_the_generator_is_numpys(shape, blocks):
    """The smallest image too, whose grids are 3x3 and 2x2."""
    g, source = Translator(shape, 2, width=3, blocks=blocks), np.float32(0.9 * rule((2, *shape[:2], 2), 901))
    v = variables(g, source)
    want = reference.translator(v["params"], source, blocks)
    assert want.std() > 0.3 and np.abs(jax.jit(g.apply)(v, source) - want).max() < 2e-5


def test_switched_off_terms_and_the_other_loss():
    names = lambda **options: [term.name for term in recipes_paired.cyclegan(**options).turns[1].phases[0].terms]
    assert (
        names() == ["adv", "cycle", "identity"]
        and names(identity=0.0) == ["adv", "cycle"]
        and names(cycle=0, identity=0) == ["adv"]
    )
    terms = [turn.phases[0].terms[0] for turn in recipes_paired.cyclegan(loss="non_saturating").turns]
    assert [term.weight for term in terms] == [1.0, 2.0]  # of means over two directions: D's sum halved, G's whole
    with pytest.raises(UserError, match="no loss 'hinge' for cyclegan"):
        recipes_paired.cyclegan(loss="hinge")


def test_the_history_exchanges_half_of_the_fakes_and_loses_none(n=6, batch=4, steps=60):
    """Images of one value each, its number; on two devices as on one."""
    recipe = recipes_paired.with_history(recipes_paired.cyclegan(), "least_squares", n, (1, 2, 6))
    carry, values, seen = recipe.carry, np.zeros((2, n)), []
    for step in range(steps):
        number = 1 + step * batch + np.arange(batch)
        fake = jnp.asarray(np.stack([number, -number], -1).repeat(3, -1)[:, None, None].repeat(2, 2), jnp.float32)
        key = jax.random.key(step)
        keys, given = jax.random.split(key, batch), {"key": key, "carry": carry}
        shown, carry = recipes_paired.remembered(SimpleNamespace(fake=fake, keys=keys, gather=lambda a: a, **given))
        if step == steps - 1:
            whole = {fake[:2].shape: fake, (2, 2): jax.random.key_data(keys)}
            for part in (slice(2), slice(2, 4)):
                r = SimpleNamespace(fake=fake[part], keys=keys[part], gather=lambda a, whole=whole: whole[a.shape], **given)
                own, again = recipes_paired.remembered(r)
                np.testing.assert_array_equal(own, shown[part])
                np.testing.assert_array_equal(again["past"], carry["past"])
            next_one = SimpleNamespace(fake=fake, keys=jax.random.split(keys[0], batch), gather=lambda a: a, **given)
            elsewhere = recipes_paired.remembered(next_one)[1]  # a step's other micro-batches have the same key
            assert (elsewhere["past"] != carry["past"]).any()
        assert (shown == shown[:, :, :1]).all() and (shown[..., ::3].repeat(3, -1) == shown).all()
        seen.append(np.asarray(shown)[:, 0, 0, ::3] * (1, -1))
        values, before = np.asarray(carry["past"])[:, :, 0, 0, 0] * [[1], [-1]], values
        for kind in (0, 1):  # what was in the history or is new is in it, or shown
            there = np.concatenate([before[kind], number])
            now = np.concatenate([values[kind], seen[-1][:, kind]])
            assert set(there) <= set(now) | {0} and set(now) <= set(there)
            assert len(set(seen[-1][:, kind])) == batch
    new = np.asarray(seen) > np.arange(steps)[:, None, None] * batch
    assert (np.asarray(carry["past_held"]) == 1).all() and new[0].all()
    assert abs(new[10:].mean() - 0.5) < 0.12 and (new[..., 0] != new[..., 1]).any()  # each kind draws for itself
    (term,), judge = recipe.turns[0].phases[0].terms, lambda x, of: SimpleNamespace(logits=x[..., 0])
    r = SimpleNamespace(fake=fake, keys=keys, gather=lambda a: a, D=judge, real_out=judge(fake, "real"), **given)
    value, entries, _ = term.fn(r)
    assert value == losses.least_squares_d(fake[..., 0], shown[..., 0]).mean() and entries.keys() == carry.keys()
    assert (term.name, term.weight) == ("adv", 2.0)
    made = unpaired.Config(history=n).design((8, 8, 2), (8, 8, 2)).recipe
    assert made.carry["past"].shape == (2, n, 8, 8, 1) and made.turns[1].phases[0].terms[1].name == "cycle"


def test_mistakes_are_one_line():
    shape = jax.ShapeDtypeStruct((1, 4, 9, 3), jnp.float32)
    with pytest.raises(UserError, match="images of 4x9: .* at least 5 pixels"):
        jax.eval_shape(Translator((4, 9, 3)).init, jax.random.key(0), shape)
    with pytest.raises(ValueError, match="even number of channels"):
        jax.eval_shape(Discriminator((9, 9, 3), layers=0).init, jax.random.key(0), jnp.zeros((1, 9, 9, 3)))
    with pytest.raises(UserError, match="one way only"):
        translate.one_way(Translator((9, 9, 3)), {}, reverse=True)
    with pytest.raises(UserError, match=r"source images are a list; give an array, uint8 \[n, 9, 9, 3\]"):
        translate.translate(Translator((9, 9, 3)), {}, [np.zeros((9, 9, 3), np.uint8)])
    assert schedules.linear_decay(1.0, 1.0, 1.0)(jnp.float32(0.5)) == 1
