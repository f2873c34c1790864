"""The classic recipes: each makes a step on a small pair, with its paper's structure and numbers."""

import contextlib
import dataclasses
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.configs import families, growing, objective
from jaxgan import game, losses, method, recipes, recipes_classic, recipes_stylegan, schedules, state
from jaxgan.errors import UserError
from jaxgan.models import mlp
from tests.shared import changes, undecided_at_0, updater

SHAPE, B = (4, 4, 1), 6
HEADS = {"ac_gan": "classes", "reacgan": "embedding", "multi_hinge": "multi_hinge"}
CRITICS = {"goodfellow": 1, "wgan": 5, "ac_gan": 1, "reacgan": 5, "multi_hinge": 5}
"""Recipes with more than an adversarial loss, or other turns, and D's updates; of the others PAPERS, below, has all there is."""


def run(name, **options):
    recipe = getattr(recipes_classic, name)(batch=B, **options)
    g = mlp.Generator(SHAPE, 3, z_dim=5, widths=(8,))
    quiet = {"dropout": 0.0, "dropout_image": 0.0}
    d = mlp.Discriminator(SHAPE, 3, widths=(6,), pieces=2, head=HEADS.get(name, ""), spread=0.5, **quiet)
    first = jax.jit(lambda: state.create(0, *game.init(g, d, 0), recipe))()
    method.check(recipe)
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.integers(0, 256, (recipe.slots, 1, B, *SHAPE), np.uint8))
    c = jnp.asarray(rng.integers(0, 3, (recipe.slots, 1, B)))
    return recipe, first, *jax.jit(updater(recipe, game.game(g, d)))(first, x, c)


@pytest.mark.parametrize("name", CRITICS)
def test_a_step_moves_both_players(name):
    assert getattr(recipes_classic, name)(batch=B).slots == CRITICS[name]
    recipe, first, now, log = run(name, **({"n_critic": 2} if CRITICS[name] > 1 else {}))
    assert all(np.isfinite(value) for value in log.values())
    assert min(far for path, far in changes(first, now).items() if path[-1] == "kernel") > 0
    if name == "reacgan":
        assert np.abs(first.d.params["head"]["proxies"] - now.d.params["head"]["proxies"]).max() > 0
    if name == "wgan":
        assert max(float(np.abs(p).max()) for p in jax.tree.leaves(now.d.params)) <= 0.01 * (1 + 1e-6)
        assert max(float(np.abs(p).max()) for p in jax.tree.leaves(first.d.params)) > 0.01
    if name == "goodfellow":
        assert len(recipe.turns) == 1 and len(recipe.turns[0].phases) == 2  # both at once


def test_averages_are_the_papers():
    """0.9999 per step, from the step of the authors' code on: until then the weights themselves."""
    for name, batch, start in (("biggan", 2048, 20_000), ("reacgan", 128, 1_000), ("multi_hinge", 64, 1_000)):
        half_life = getattr(recipes_classic, name)(batch=batch).ema_kimg
        kimg = [jnp.float32(step) * (batch / 1000) for step in (0, start - 2, start - 1, 10 * start)]  # seen before a step
        betas = [float(schedules.half_life_beta(batch, half_life(now))) for now in kimg]
        np.testing.assert_allclose(np.subtract(1, betas), (1, 1, 1e-4, 1e-4), rtol=1e-2)
    assert recipes_classic.sngan().ema_kimg == 0


def test_goodfellows_rate_and_momentum():
    """One parameter with a gradient of 1: p moves by rate (1 + m), ... with the numbers of the configuration."""
    tx = recipes_classic.goodfellow().tx["g"]
    for kimg, rate, momentum in ((0.0, 0.1, 0.5), (6250.0, 0.1 * 1.000004**-62_500, 0.6), (4e8, 1e-6, 0.7)):
        params = jnp.zeros(())
        opt = tx.init(params)
        one, opt = tx.update(jnp.ones(()), opt, params, kimg=jnp.float32(kimg))
        two, _ = tx.update(jnp.ones(()), opt, params, kimg=jnp.float32(kimg))
        np.testing.assert_allclose([one, two], [-rate, -rate * (1 + momentum)], rtol=1e-4)


def test_rates_fall_to_zero_or_stay():
    for recipe, end in ((recipes_classic.wgan_gp(kimg=8.0), 0.0), (recipes_classic.sngan(kimg=None), 2e-4)):
        tx = recipe.tx["d"]
        update, _ = tx.update(jnp.ones(()), tx.init(jnp.zeros(())), jnp.zeros(()), kimg=jnp.float32(8.0))
        assert abs(abs(float(update)) - end) < 1e-7


def infogan(**options):
    return recipes_classic.infogan(lambda z: (None, None), **options)


OF_CODES = {"adv": 1, "categorical_code": 1, "continuous_code": 1}
# recipe -> loss, updates of D, weights of D's and of G's terms, rate of D and of G, Adam's betas: the papers' or the authors'.
PAPERS = {
    recipes_classic.wgan_gp: ("wasserstein", 5, {"adv": 1, "wgan_gp": 10}, {"adv": 1}, 2e-4, 2e-4, 0.0, 0.9),
    recipes_classic.ac_gan: ("non_saturating", 1, {"adv": 1, "classes": 1}, {"adv": 1, "classes": 1}, 2e-4, 2e-4, 0.5, 0.999),
    infogan: ("non_saturating", 1, OF_CODES, OF_CODES, 2e-4, 1e-3, 0.5, 0.999),
    recipes_classic.sngan: ("hinge", 5, {"adv": 1}, {"adv": 1}, 2e-4, 2e-4, 0.0, 0.9),
    recipes_classic.sagan: ("hinge", 1, {"adv": 1}, {"adv": 1}, 4e-4, 1e-4, 0.0, 0.9),
    recipes_classic.biggan: ("hinge", 2, {"adv": 1}, {"adv": 1, "orthogonal": 1e-4}, 2e-4, 5e-5, 0.0, 0.999),
    recipes_classic.reacgan: ("hinge", 5, {"adv": 1, "d2d_ce": 0.5}, {"adv": 1, "d2d_ce": 0.5}, 2.8e-4, 2.8e-4, 0.5, 0.999),
    recipes_classic.multi_hinge: (None, 5, {"adv": 1}, {"adv": 0.05, "feature_matching": 1}, 2e-4, 2e-4, 0.5, 0.999),
    recipes.dcgan: ("non_saturating", 1, {"adv": 1}, {"adv": 1}, 2e-4, 2e-4, 0.5, 0.999),
    recipes_stylegan.stylegan: ("non_saturating", 1, {"adv": 1, "r1": 5}, {"adv": 1}, 1e-3, 1e-3, 0.0, 0.99),
    recipes_stylegan.progan: ("wasserstein", 1, {"adv": 1, "wgan_gp": 10, "drift": 1e-3}, {"adv": 1}, 1e-3, 1e-3, 0.0, 0.99),
}


def weight(term):
    return float(term.weight(0.0) if callable(term.weight) else term.weight)


def is_of(loss, player, term):
    """Whether a term says of some logits what the loss does."""
    real, fake = jnp.array([1.5, -0.3, 0.2]), jnp.array([-2.0, 0.4, 0.1])
    r = SimpleNamespace(real_out=method.Verdict(real), fake_out=method.Verdict(fake))
    np.testing.assert_allclose(term.fn(r)[0], getattr(losses, f"{loss}_{player}")(real, fake).mean(), rtol=1e-6)


@pytest.mark.parametrize("make", PAPERS, ids=lambda make: make.__name__)
def test_turns_weights_and_numbers_are_the_papers(make):
    loss, updates, of_d, of_g, rate_d, rate_g, b1, b2 = PAPERS[make]
    recipe = make(batch=B)
    method.check(recipe)
    d, g = recipe.turns  # D first
    assert d.slots == tuple(range(updates)) and g.slots == (0,) and recipe.batch == B and recipe.accum == 1
    for player, turn, weights, rate in (("d", d, of_d, rate_d), ("g", g, of_g, rate_g)):
        (phase,) = turn.phases
        assert phase.player == player and {t.name: pytest.approx(weight(t)) for t in phase.terms} == weights
        assert all((t.every, t.share) == (1, 1) for t in phase.terms)
        if loss:
            is_of(loss, player, phase.terms[0])
        tx, one = recipe.tx[player], jnp.ones(())
        moved, opt = tx.update(2 * one, tx.init(one), one, kimg=jnp.float32(0))  # Adam's first step is as long as its rate
        np.testing.assert_allclose(moved, -rate, rtol=1e-5)
        means = optax.tree.get(opt, "mu"), optax.tree.get(opt, "nu")
        np.testing.assert_allclose(means, (2 * (1 - b1), 4 * (1 - b2)), rtol=1e-4)


def test_wgan_and_goodfellow_have_the_papers_numbers():
    d, g = recipes_classic.wgan().turns
    assert d.slots == (0, 1, 2, 3, 4) and [turn.phases[0].player for turn in (d, g)] == ["d", "g"]
    for player, turn in (("d", d), ("g", g)):
        (term,) = turn.phases[0].terms
        is_of("wasserstein", player, term)
        tx, one = recipes_classic.wgan().tx[player], jnp.zeros(())
        moved, _ = tx.update(one + 2, tx.init(one), one, kimg=jnp.float32(0))
        np.testing.assert_allclose(moved, -5e-5 / 0.1, rtol=1e-5)  # RMSprop's: g / sqrt(0.01 g^2)
    for phase, share in zip(recipes_classic.goodfellow().turns[0].phases, (0.5, 1.0), strict=True):
        is_of("non_saturating", phase.player, phase.terms[0])
        assert phase.terms[0].weight == share  # the authors' D averages its two halves


def test_the_proxies_pull_with_reacgans_temperature_and_margin():
    """One image of another class at a right angle, its own proxy at 60 degrees: log(1 + e^((m_p - 1/2) / t)), m_p 0.98, t 1/2."""
    features, proxies = jnp.eye(2), jnp.array([[0.5, 0.75**0.5], [0.75**0.5, 0.5]])
    params, none = {"d": {"head": {"proxies": proxies}}}, {"real_out": None, "fake_out": None}
    for turn, out in zip(recipes_classic.reacgan().turns, none, strict=True):
        verdicts = none | {out: method.Verdict(jnp.zeros(2), None, features)}
        r = SimpleNamespace(**verdicts, gather=lambda a: a, c=jnp.arange(2), params=params)
        value = turn.phases[0].terms[1].fn(r)[0]
        np.testing.assert_allclose(value, np.log1p(np.exp((0.98 - 0.5) / 0.5)), rtol=1e-6)


RATES_OF_D = ("infogan", "sagan", "biggan", "biggan_deep", "stylegan3", "gat")  # of its own
FIRST_STEP = {"wgan": 10.0, "stylegan2": 4 / 5}  # in units of the rate: RMSprop's, and with the lazy correction
FIELDS_OF_D = {"wgan": ("norm", False), "wgan_gp": ("norm", "none"), **{n: ("head", h) for n, h in HEADS.items()}}


@pytest.mark.parametrize("name", families.FAMILIES)
def test_the_options_of_a_family_reach_its_recipe(name):
    given = {"lr": 3e-3, "lr_d": 4e-3, "n_critic": 3, "class_weight": 0.7, "code_weight": 0.4, "gamma": 0.6}
    classes = 10 * (name != "infogan")
    for field in given.keys() - set(families.FAMILIES[name].reads):
        with pytest.raises(UserError, match=f"--{field.replace('_', '-')}: {name} has none"):
            families.Config(family=name, batch=4, width=4, **{field: given[field]}).design((28, 28, 1), classes)
    given = {field: value for field, value in given.items() if field in families.FAMILIES[name].reads} | {
        "ema_kimg": 3.0,
        "kimg": 8.0,
    }
    design = families.Config(family=name, batch=4, width=4, **given).design((28, 28, 1), classes)
    recipe, one = design.recipe, jnp.ones(())
    for player in "gd":
        rate = 4e-3 if player == "d" and name in RATES_OF_D else 3e-3
        share = 16 / 17 if player == "d" and name in ("stylegan2", "stylegan3") else FIRST_STEP.get(name, 1.0)
        if (name, player) == ("wgan", "d"):
            continue  # clipped
        tx = recipe.tx[player]
        moved, _ = tx.update(2 * one, tx.init(one), one, kimg=jnp.float32(0))
        np.testing.assert_allclose(moved, -rate * share * (2 if name == "gan" else 1), rtol=1e-4)
    assert recipe.batch == 4
    assert float(schedules.as_schedule(recipe.ema_kimg)(1.0)) == pytest.approx(3.0)
    alone = ("gan", "dcgan", "ac_gan", "infogan", "stylegan2", "stylegan3", "r3gan", "gat")
    assert recipe.turns[0].slots == ((0,) if name in alone else (0, 1, 2))
    found = {(p.player, t.name): weight(t) for turn in recipe.turns for p in turn.phases for t in p.terms}
    wanted = {
        "ac_gan": {("d", "classes"): 0.7, ("g", "classes"): 0.7},
        "infogan": {(who, f"{kind}_code"): share for who in "gd" for kind, share in (("categorical", 0.7), ("continuous", 0.4))},
        "reacgan": {("d", "d2d_ce"): 0.7, ("g", "d2d_ce"): 0.7},
        "multi_hinge": {("g", "adv"): 0.7, ("d", "adv"): 1},
        **dict.fromkeys(("stylegan2", "stylegan3"), {("d", "r1"): 0.3}),
        **dict.fromkeys(("r3gan", "gat"), {("d", "r1"): 0.3, ("d", "r2"): 0.3}),
    }
    assert {key: pytest.approx(found[key]) for key in wanted.get(name, {})} == wanted.get(name, {})
    if name in FIELDS_OF_D:  # no batch norm under a gradient penalty or clipping, and the head that the loss looks at
        field, value = FIELDS_OF_D[name]
        assert getattr(design.discriminator, field) == value


def test_a_probability_that_something_else_sets_is_refused():
    for family, augment, target, says in (("stylegan2", "ada", 0.6, "ADA sets it"), ("r3gan", "ada_r3gan", 0.0, "a schedule")):
        asked = families.Config(family=family, batch=4, width=4, augment=(augment,), augment_target=target)
        asked.design((28, 28, 1), 10)
        with pytest.raises(UserError, match=f"--augment-p 0.3: .*{says}"):
            dataclasses.replace(asked, augment_p=0.3).design((28, 28, 1), 10)


@pytest.mark.parametrize(
    "family", [name for name in families.FAMILIES if name != "multi_hinge"]
)  # it has no adversarial loss of its own
def test_ada_is_refused_where_the_sign_of_a_logit_says_nothing(family):
    plain = families.Config(family=family, batch=4, width=8, augment=("flip",))
    classes = 0 if family == "infogan" else 10
    phases = [phase for turn in plain.design((28, 28, 1), classes).recipe.turns for phase in turn.phases if phase.player == "d"]
    (loss,) = [term for phase in phases for term in phase.terms if term.name == "adv"]
    refused = contextlib.nullcontext()
    if not undecided_at_0(loss):
        refused = pytest.raises(UserError, match="--augment-target goes by the sign of .* loss only differences .*-heuristic r_v")
    with refused:
        dataclasses.replace(plain, augment_target=0.6).design((28, 28, 1), classes)


@pytest.mark.parametrize("config", (families.Config(family="stylegan2"), growing.ProGAN(), objective.Config()))
def test_ada_for_other_numbers_of_channels_is_named(config):
    asked = dataclasses.replace(config, width=4, augment=("ada",))
    with pytest.raises(UserError, match="--augment ada needs 1 or 3 channels, the images have 4; give ada_bg"):
        asked.design((28, 28, 4), 0)
    dataclasses.replace(asked, augment=("ada_bg",)).design((28, 28, 4), 0)
