"""Terms against the pure functions they wrap and against closed forms; every choice is traced or runs; devices do not matter."""

import dataclasses
import functools
import itertools
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.configs import objective
from jaxgan import (
    attacks,
    augment,
    class_losses,
    feature_losses,
    game,
    losses,
    method,
    optim,
    penalties,
    plan,
    recipes,
    state,
    step,
    terms,
)
from jaxgan.errors import UserError
from jaxgan.method import Game, Phase, Recipe, Round, Turn, Verdict
from tests.shared import first_log, undecided_at_0, updater

SHAPE, B = (8, 8, 3), 8
PIXELS = 8 * 8 * 3
STATS = lambda v: {name: tree for name, tree in v.items() if name != "params"}
SGD = {name: optim.scheduled(optax.sgd, learning_rate=0.01) for name in "gd"}


def tiny_game(**more) -> Game:
    """D(x) = <a, tanh(x W)>, with classes and features; G(w) = tanh(w M)."""

    def judge(v, keys, x, c, kimg, axis, refresh):
        features = jnp.tanh(x.reshape(len(x), -1) @ v["params"]["hidden"]["kernel"])
        return Verdict(features @ v["params"]["a"], features[:, :4], features), STATS(v)

    def synthesize(v, keys, w, c, kimg, axis, refresh):
        return jnp.tanh(w @ v["params"]["hidden"]["kernel"]).reshape(-1, *SHAPE), STATS(v)

    return Game(lambda v, keys, c, kimg, axis, refresh: (game.normal(keys, 6), STATS(v)), synthesize, judge, **more)


def linear_game() -> Game:
    """D(x) = <a, x>, G(w) = w M: all gradients are closed forms."""

    def judge(v, keys, x, c, kimg, axis, refresh):
        return Verdict(x.reshape(len(x), -1) @ v["params"]["a"]), STATS(v)

    def synthesize(v, keys, w, c, kimg, axis, refresh):
        return (w @ v["params"]["hidden"]["kernel"]).reshape(-1, *SHAPE), STATS(v)

    return Game(lambda v, keys, c, kimg, axis, refresh: (game.normal(keys, 6), STATS(v)), synthesize, judge)


def start(recipe, linear=False) -> state.TrainState:
    rng = np.random.default_rng(0)
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape) * shape[0] ** -0.5, jnp.float32)
    d = {"a": draw(PIXELS) * 5} if linear else {"a": 4 * draw(16), "hidden": {"kernel": draw(PIXELS, 16)}, "proxies": draw(3, 16)}
    return state.create(0, {"params": {"hidden": {"kernel": draw(6, PIXELS)}}}, {"params": d}, recipe)


def images(slots=1, n=B, shape=SHAPE):
    return np.random.default_rng(1).integers(0, 256, (slots, 1, n, *shape), np.uint8)


def traced(recipe, programs):
    fn = partial(step.update, game=tiny_game(), recipe=recipe)
    s, x = start(recipe), images(recipe.slots)
    return [jax.eval_shape(partial(fn, due=due), s, x, None) for due in list(step.programs(recipe))[:programs]]


def ran(recipe, played=None, c=None, s=None, jit=lambda fn: fn):
    """A step by single operations, most of which are those of the other choices: each is compiled once, not in every step."""
    s = s or start(recipe)
    new, log = jit(updater(recipe, played or tiny_game()))(s, images(recipe.slots), c)
    leaves = [a for a in jax.tree.leaves((new.replace(key=None), log)) if jnp.issubdtype(a.dtype, jnp.floating)]
    assert all(bool(jnp.isfinite(a).all()) for a in leaves)
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), (s.g.params, s.d.params), (new.g.params, new.d.params))
    return new, log, moved


make = partial(recipes.objective, batch=B, tx=SGD)
at_once = partial(make, simultaneous=True)  # one program for both players: half the time to compile


@functools.cache
def plain_step():
    return ran(at_once(loss="hinge"))


LAZY_D = set(recipes.PENALTIES) - {"drift", "lecam", "orthogonal", "path_length", "zcr_g", "feature_matching"}
OPTIONS = {"consistency": augment.pipeline(("translation",))}


def test_the_choices_are_the_library():
    assert {f"{name}_{who}" for name in terms.LOSSES for who in "gd"} <= set(losses.__all__)
    of_classes = {"ac_gan", "multi_hinge"}
    named = {name[:-2] for name in losses.__all__ if name.endswith("_d")}
    assert named == set(terms.LOSSES) | of_classes and all(hasattr(terms, name) for name in of_classes)
    not_terms = {"check_critic_is_per_image", "input_gradient"}
    assert set(penalties.__all__) - not_terms == set(recipes.PENALTIES) - {"feature_matching", "adversarial_examples"}


@pytest.mark.parametrize("loss", terms.LOSSES)
def test_every_loss_goes_with_every_penalty(loss):
    """By the check; traced with what is of the loss itself: the attack, pseudo-augmentation and several updates of D."""
    for i in range(3):
        chosen = dict.fromkeys(recipes.PENALTIES[i::3], 1.0)
        method.check(make(loss=loss, penalties=chosen, simultaneous=i == 1, every=1 + i, share=1 + i % 2, **OPTIONS))
    ((new, log),) = traced(recipes.adaptive(make(loss=loss, penalties={"adversarial_examples": 1.0}, n_critic=2, pseudo=True)), 1)
    assert new.g.params["hidden"]["kernel"].shape == (6, PIXELS) and {"d/adv", "g/adv", "d/adversarial_examples"} <= log.keys()


def test_lazy_penalties_are_not_in_every_step():
    both = make(loss="hinge", penalties=dict.fromkeys(recipes.PENALTIES, 1.0), n_critic=2, every=2, **OPTIONS)
    with_all, without = traced(both, 2)
    player = lambda name: recipes.penalty_term(name, 1.0, {}, OPTIONS["consistency"])[0]
    assert {"d/adv", "g/adv", *(f"{player(name)}/{name}" for name in recipes.PENALTIES)} <= with_all[1].keys()
    assert with_all[1].keys() - without[1].keys() == {"g/path_length", "g/zcr_g"} | {f"d/{name}" for name in LAZY_D}


@pytest.mark.parametrize("name", recipes.PENALTIES)
def test_every_penalty_runs_and_is_felt(name):
    player, _ = recipes.penalty_term(name, 1.0, {"every": 1, "share": 1}, None)
    new, log, _ = ran(at_once(loss="hinge", penalties={name: 0.7}, share=2, **OPTIONS))
    plain, _, _ = plain_step()
    other = "g" if player == "d" else "d"
    pick = lambda s, who: getattr(s, who).params["hidden"]["kernel"]
    assert float(jnp.abs(pick(new, player) - pick(plain, player)).max()) > 0 and f"{player}/{name}" in log
    np.testing.assert_allclose(pick(new, other), pick(plain, other), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", get_args(objective.Optimizer))
def test_every_optimizer_runs(name):
    config = objective.Config(optimizer=name, clip_gradient=1.0, clip_weights=0.3)
    tx = {"g": objective.optimizer(config, 1e-2), "d": objective.critic_optimizer(config)}
    new, _, moved = ran(at_once(tx=tx), jit=jax.jit)  # nothing else traces these settings of them
    assert moved[0]["hidden"]["kernel"] and moved[1]["a"]
    assert max(float(jnp.abs(a).max()) for a in jax.tree.leaves(new.d.params)) <= 0.3 + 1e-6


def config_step(config, shape, classes=0):
    design = config.design(shape, classes)
    method.check(design.recipe)
    return first_log(design, shape, classes)


CONFIG = objective.Config(batch=4, width=4)


@pytest.mark.parametrize("name", [name for name in get_args(objective.Augment) if name != "apa"])
def test_an_augmentation_of_the_config_is_the_function_of_its_name(name):
    """By the trace, but for the three that a pipeline makes of other operations; tests/test_augment_contract.py runs them."""
    keys, x, s = jax.random.split(jax.random.key(0), 2), images(n=2)[0, 0] / np.float32(127.5) - 1, jnp.eye(8)[None].repeat(2, 0)
    base, _, preset = name.partition("_") if name.startswith("ada") else (name, "", "")
    options = {"ada": {"transforms": preset or "bgc"}, **dict.fromkeys(("rotate", "scale"), {"fill": "background"})}
    plain = partial(getattr(augment, base), **options.get(base, {}))
    wanted = (lambda x, s: plain(keys, x, s, 0.9)) if name.startswith("attentive") else lambda x, s: plain(keys, x, 0.9)
    ours = lambda x, s: objective.augmentation((name,))(keys, x, 0.9, s)
    if name in ("crop", "flip", "color"):
        np.testing.assert_allclose(ours(x, s), wanted(x, s), atol=1e-6)
    else:
        assert str(jax.make_jaxpr(ours)(x, s)) == str(jax.make_jaxpr(wanted)(x, s))
    if name.startswith("ada"):
        grey = x[..., :1]
        assert jax.eval_shape(ours, grey, s).shape == grey.shape


def test_the_config_traces_on_both_pairs():
    assert {"d/adv", "g/adv", "d/r1", "d/r2"} <= config_step(dataclasses.replace(CONFIG, pair="dcgan"), (8, 8, 1), 3)
    every = dataclasses.replace(CONFIG, penalty=recipes.PENALTIES, augment=("flip", "color"))
    assert {name.partition("/")[2] for name in config_step(every, (8, 8, 3))} >= {"adv", *recipes.PENALTIES}
    adaptive = {"penalty": ("path_length",), "augment": ("flip", "ada", "apa"), "augment_target": 0.6, "n_critic": 2}
    adaptive |= {"loss": "non_saturating"}
    assert {"augment/p", "d/overfitting", "g/path_length"} <= config_step(dataclasses.replace(CONFIG, **adaptive), (8, 8, 3))


def test_the_config_weighs_penalties_as_its_fields_say():
    chosen = {"gp_weight": 8.0, "cr_weight": 6.0, "gamma": 3.0}
    config = dataclasses.replace(CONFIG, **chosen)
    wanted = dict.fromkeys(("r1", "r2", "finite_difference_r1", "finite_difference_r2"), 1.5)  # gamma / 2
    wanted |= dict.fromkeys(("wgan_gp", "wgan_lp", "dragan"), 8.0) | dict.fromkeys(("cr", "bcr"), 6.0)
    wanted |= {"drift": 0.001, "zcr_d": 5.0, "zcr_g": 0.5, "orthogonal": 1e-4, "path_length": 2.0, "feature_matching": 1.0}
    wanted |= {"adversarial_examples": 1.0}
    assert {name: objective.weight(config, name) for name in recipes.PENALTIES if name != "lecam"} == wanted
    lecam = objective.weight(config, "lecam")  # its averages begin at 0, so it waits for them
    assert [float(lecam(jnp.float32(kimg))) for kimg in (0, 3.9, 4, 9)] == pytest.approx([0, 0, 0.3, 0.3])


def test_the_config_has_a_rate_for_each_player_that_falls():
    config = dataclasses.replace(CONFIG, lr=2e-3, lr_d=5e-3, lr_end=0.1, kimg=8.0, b1=0.5, b2=0.9)
    recipe = config.design((8, 8, 1), 0).recipe
    one = jnp.ones(())
    for player, rate in (("g", 2e-3), ("d", 5e-3)):
        tx = recipe.tx[player]
        for kimg, share in ((0.0, 1.0), (4.0, 0.55), (8.0, 0.1)):
            moved, opt = tx.update(2 * one, tx.init(one), one, kimg=jnp.float32(kimg))
            np.testing.assert_allclose(moved, -rate * share, rtol=1e-4)
        np.testing.assert_allclose([optax.tree.get(opt, "mu"), optax.tree.get(opt, "nu")], [1.0, 0.4], rtol=1e-5)
    same = dataclasses.replace(config, lr_d=0.0).design((8, 8, 1), 0).recipe.tx["d"]
    np.testing.assert_allclose(same.update(one, same.init(one), one, kimg=jnp.float32(0))[0], -2e-3, rtol=1e-5)


def test_the_config_starts_the_augmentation_where_it_is_told():
    target = {"augment_target": 0.6, "loss": "hinge"}
    for more in ({"augment": ("flip",), **target}, {"augment": ("apa",)}):
        design = dataclasses.replace(CONFIG, augment_p=0.2, **more).design((8, 8, 1), 0)
        assert design.recipe.carry["p"] == 0.2
        assert design.game.p({"p": 0.7}, 0.0) == (0.7 if "augment_target" in more else 0.2)


def test_class_losses_and_spectral_norm_of_the_config():
    """Two are traced; of one a real step: finite, and both players and the spectral vectors move."""
    spectral = dataclasses.replace(CONFIG, norm="spectral", penalty=(), augment=())
    ac_gan = dataclasses.replace(spectral, class_loss="ac_gan", penalty=("feature_matching",))
    assert {"d/classes", "g/classes", "g/feature_matching"} <= config_step(ac_gan, (8, 8, 1), 3)
    assert "d/classes" not in config_step(dataclasses.replace(spectral, pair="dcgan", class_loss="multi_hinge"), (8, 8, 1), 3)
    design = dataclasses.replace(spectral, pair="dcgan", class_loss="d2d_ce").design((8, 8, 1), 3)
    first = jax.jit(lambda: plan.first_state(0, design))()
    x, c = images(design.recipe.slots, 4, (8, 8, 1)), jnp.arange(4).reshape(1, 1, 4) % 3
    new, log = jax.jit(updater(design.recipe, design.game))(first, x, jnp.concatenate([c] * design.recipe.slots))
    assert all(np.isfinite(value) for value in log.values())
    for a, b in ((first.g.params, new.g.params), (first.d.params, new.d.params), (first.d.stats, new.d.stats)):
        assert any((p != q).any() for p, q in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def test_r_v_compares_with_images_that_are_held_out():
    recipe = recipes.adaptive(make(loss="hinge"), heuristic="r_v", target=0.5)
    assert recipe.held_slots == (recipe.slots - 1,) and recipe.turns[0].extra == recipe.held_slots
    method.check(recipe)
    fn = jax.jit(updater(recipe, tiny_game()))
    x = images(recipe.slots)
    _, log = fn(start(recipe), x, None)
    outs = [tiny_game().judge({"params": start(recipe).d.params}, None, a[0] / 127.5 - 1, None, 0, None, False)[0] for a in x]
    gap = outs[0].logits.mean() - log["logits/fake"]
    np.testing.assert_allclose(log["d/overfitting"], (outs[0].logits.mean() - outs[-1].logits.mean()) / gap, rtol=1e-4)
    with pytest.raises(ValueError, match="held-out"):
        method.check(recipe._replace(held_slots=(0,)))


@pytest.mark.parametrize(
    "changes, channels, says",
    [
        ({"norm": "batch"}, 3, "residual networks have no batch norm"),
        ({"class_loss": "ac_gan"}, 3, "needs classes"),
        ({"pair": "dcgan", "norm": "batch"}, 3, "batch norm"),
        ({"pair": "dcgan", "penalty": ("path_length",)}, 3, "path_length"),
        ({"augment": ("saturation",)}, 1, "grey"),
        ({"augment": ("ada",)}, 4, "1 or 3 channels"),
        ({"augment": ("ada", "ada_blit")}, 3, "presets"),
        ({"update": "simultaneous", "n_critic": 2}, 3, "alternating"),
        ({"augment": (), "augment_target": 0.6}, 3, "augment-target"),
        ({"weight_decay": 0.1}, 3, "weight-decay"),
        ({"batch": 2, "accum": 2, "share": 1, "loss": "mmd_gaussian"}, 3, "larger --batch"),
        ({"augment_p": 1.5}, 3, "probability"),
        ({"attack_steps": 0}, 3, "--attack-steps 0"),
        ({"top_k": 0.0}, 3, "--top-k 0: a part of the batch"),
        ({"top_k": 0.5, "loss": "relativistic_average"}, 3, "relativistic_average compares images"),
        ({"top_k_kimg": 5.0}, 3, "--top-k-kimg 5: --top-k is 1"),
        ({"pair": "dcgan", "norm": "batch", "penalty": ("adversarial_examples",)}, 3, "needs a gradient per image"),
        ({"penalty": ("r1", "r1")}, 3, "--penalty r1 r1: one is listed twice"),
        ({"penalty": ("wgan_gp",), "gamma": 3.0}, 3, "--gamma: it is of --penalty r1 or r2 or .*, which is not given"),
        ({"consistency": ("flip",)}, 3, "--consistency: it is of --penalty cr or bcr, .* or leave --consistency out"),
        ({"augment_heuristic": "r_v"}, 3, "only applies with --augment-target"),
        ({"augment_target": 3.0}, 3, "--augment-target 3: the heuristic is at most 1"),
        ({"augment_target": 0.6}, 3, "under the relativistic loss only differences .* count; give --augment-heuristic r_v"),
        ({"augment_target": 0.6, "loss": "least_squares"}, 3, "under the least_squares loss 1/2 means nothing is known"),
    ],
)
def test_the_config_refuses(changes, channels, says):
    with pytest.raises(UserError, match=says) as error:
        dataclasses.replace(CONFIG, **changes).design((8, 8, channels), 0)
    assert "\n" not in str(error.value)


def test_the_share_of_fakes_that_g_learns_from_falls_as_the_config_says():
    config = dataclasses.replace(CONFIG, loss="wasserstein", top_k=0.5, top_k_kimg=4.0)
    (term,) = config.design((8, 8, 1), 0).recipe.turns[1].phases[0].terms
    said = Verdict(jnp.arange(8.0))
    for kimg, want in ((0.0, -3.5), (2.0, -4.5), (4.0, -5.5), (9.0, -5.5)):  # the mean of 8, 6, 4 of them
        r = SimpleNamespace(real_out=said, fake_out=said, gather=lambda x: x, kimg=jnp.float32(kimg))
        np.testing.assert_allclose(term.fn(r)[0], want, rtol=1e-6)
    with pytest.raises(UserError, match="--top-k 0.5: .*multi_hinge replaces the adversarial loss"):
        dataclasses.replace(config, class_loss="multi_hinge").design((8, 8, 1), 3)


def test_objective_refuses():
    for wrong, says in (({"loss": "hing"}, "loss 'hing'"), ({"penalties": {"r3": 1.0}}, "penalty 'r3'")):
        with pytest.raises(UserError, match=says):
            make(**wrong)
    for wrong in ({"n_critic": 0}, {"n_critic": 2, "simultaneous": True}):
        with pytest.raises(UserError, match="n_critic"):
            make(**wrong)


def a_round() -> Round:
    """A round of the tiny game by hand: D and S plain functions, one device."""
    s = start(make())
    v = {who: {"params": getattr(s, who).params} for who in "gd"}
    played, keys = tiny_game(), jax.random.split(jax.random.key(5), B)
    c = jnp.arange(B) % 3
    real = jnp.asarray(np.random.default_rng(2).normal(size=(B, *SHAPE)) / 2, jnp.float32)
    w = game.normal(keys, 6)
    D = lambda x, of="real", c=None: played.judge(v["d"], None, x, None, 0, None, False)[0]
    S = lambda w: played.synthesize(v["g"], None, w, None, 0, None, False)[0]
    fake = S(w)
    carry = {"pl_mean": jnp.float32(0.3), "lecam_real": jnp.float32(0.1), "lecam_fake": jnp.float32(-0.2), "p": jnp.float32(0.5)}
    params = {"g": s.g.params, "d": s.d.params}
    rest = {"params": params, "carry": carry, "keys": keys, "key": jax.random.key(6), "kimg": jnp.float32(1)}
    return Round(real, fake, c, w, D(real), D(fake), (), D, S, lambda a: a, **rest)


def test_terms_are_the_pure_functions():
    """The losses, and the penalties with what those of the objective, below, do not set or keep."""
    r = a_round()
    critic, k = lambda x: r.D(x).logits, r.keys
    real, fake = r.real_out, r.fake_out
    lecam, means = penalties.lecam(real.logits, fake.logits, (r.carry["lecam_real"], r.carry["lecam_fake"]))
    path, pl_mean = penalties.path_length(k, r.S, r.w, r.carry["pl_mean"])
    posed = r.D(augment.apa(k, r.real, r.fake, 0.5)).logits
    proxies, twice = r.params["d"]["proxies"], np.repeat(r.w, 3, 1)[:, :16]
    cases = [
        (terms.gradient_penalty("dragan", "real", 1.0, std=0.1), penalties.dragan(k, critic, r.real, std=0.1)),
        (terms.lecam(1.0), lecam),
        (terms.path_length(1.0), path),
        (terms.zcr_d(1.0, sigma=0.1), penalties.zcr_d(k, critic, r.S, r.w, sigma=0.1)),
        (terms.orthogonal("d", 1.0), penalties.orthogonal(r.params["d"]["hidden"])),
        (terms.ac_gan("d"), class_losses.ac_gan_d(real.classes, fake.classes, r.c)),
        (terms.ac_gan("g"), class_losses.class_cross_entropy(fake.classes, r.c)),
        (terms.multi_hinge("d"), class_losses.multi_hinge_d(real.classes, fake.classes, r.c)),
        (terms.multi_hinge("g"), class_losses.multi_hinge_g(None, fake.classes, r.c)),
        (terms.d2d_ce("d", proxies=lambda d: d["proxies"]), class_losses.d2d_ce(real.features, proxies, r.c)),
        (terms.d2d_ce("g", proxies=lambda d: d["proxies"]), class_losses.d2d_ce(fake.features, proxies, r.c)),
        (terms.categorical_code(lambda w: (r.c, None)), class_losses.class_cross_entropy(fake.classes, r.c)),
        (terms.continuous_code(lambda w: (None, w.repeat(3, 1)[:, :16])), class_losses.gaussian_code(fake.features, twice)),
        (terms.feature_matching(norm="l1"), feature_losses.feature_matching(real.features, fake.features, norm="l1")),
        (terms.paired("l1", feature_losses.l1), feature_losses.l1(r.real, r.fake)),
        (terms.overfitting(), augment.r_t(real.logits)),
        (terms.pseudo_augmented("hinge"), losses.hinge_d(posed, fake.logits)),
        (terms.adversarial("d", "least_squares", a=-1.0), losses.least_squares_d(real.logits, fake.logits, a=-1.0)),
    ]
    for loss, who in itertools.product(terms.LOSSES, "dg"):
        cases.append((terms.adversarial(who, loss), getattr(losses, f"{loss}_{who}")(real.logits, fake.logits)))
    for term, wanted in cases:
        value, new, log = term.fn(r)
        assert value.shape == () and (float(value) != 0.0 or term.name == "overfitting"), term.name
        np.testing.assert_allclose(value, jnp.mean(wanted), rtol=1e-5, err_msg=term.name)
        expected = {"lecam": {"lecam_real": means[0], "lecam_fake": means[1]}, "path_length": {"pl_mean": pl_mean}}
        assert {k: float(v) for k, v in new.items()} == {k: float(v) for k, v in expected.get(term.name, {}).items()}


@pytest.mark.parametrize("name", recipes.PENALTIES)
def test_a_penalty_of_the_objective_is_the_function_of_its_name(name):
    """On its own images and player, with the weight, the interval and the share that were asked for."""
    r, shift = a_round(), augment.pipeline(("translation",))
    critic, moved = lambda x: r.D(x).logits, lambda key, x: shift(key, x, 1.0)
    k, real, fake, w = r.keys[::2], r.real[::2], r.fake[::2], r.w[::2]
    fn = getattr(penalties, name, None)
    means = (r.carry["lecam_real"], r.carry["lecam_fake"])
    attacked = lambda: attacks.pgd(k, lambda x: -critic(x), real, eps=0.03, step=0.025, steps=3)
    wanted = {  # player, whether it is lazy, value
        **{n: ("d", True, lambda x=x: fn(critic, x)) for n, x in (("r1", real), ("r2", fake))},
        **{f"finite_difference_{n}": ("d", True, lambda x=x: fn(k, critic, x)) for n, x in (("r1", real), ("r2", fake))},
        **dict.fromkeys(("wgan_gp", "wgan_lp"), ("d", True, lambda: fn(k, critic, real, fake))),
        "dragan": ("d", True, lambda: fn(k, critic, real)),
        "drift": ("d", False, lambda: fn(r.real_out.logits)),
        "lecam": ("d", False, lambda: fn(r.real_out.logits, r.fake_out.logits, means)[0]),
        "cr": ("d", True, lambda: fn(k, critic, real, augment=moved)),
        "bcr": ("d", True, lambda: fn(k, critic, real, fake, augment=moved, real_weight=1.0, fake_weight=1.0)),
        "zcr_d": ("d", True, lambda: fn(k, critic, r.S, w)),
        "zcr_g": ("g", True, lambda: fn(k, r.S, w)),
        "orthogonal": ("g", False, lambda: fn(r.params["g"]["hidden"])),
        "path_length": ("g", True, lambda: fn(k, r.S, w, r.carry["pl_mean"])[0]),
        "feature_matching": ("g", False, lambda: feature_losses.feature_matching(r.real_out.features, r.fake_out.features)),
        "adversarial_examples": ("d", True, lambda: losses.relativistic_d(critic(attacked()), r.fake_out.logits[::2])),
    }
    player, lazy, value = wanted[name]
    who, term = recipes.penalty_term(name, 0.7, {"every": 3, "share": 2}, shift)
    assert (who, term.name, term.weight) == (player, name, 0.7)
    assert (term.every, term.share) == ((3, 2) if lazy else (1, 1))
    np.testing.assert_allclose(term.fn(r)[0], jnp.mean(value()), rtol=1e-5)


def test_attacked_reals_of_a_linear_critic_are_a_closed_form():
    """<a, x> falls by eps ||a||_1: the logits that D is trained on; the parameters' gradient is that at the attacked images."""
    a = jnp.asarray(np.random.default_rng(3).normal(size=SHAPE) / 50, jnp.float32)
    r = a_round()
    judge = lambda a, x: jnp.einsum("bhwc,hwc->b", x, a)

    def value(a, name="hinge"):
        of_a = r._replace(D=lambda x, of="real", c=None: Verdict(judge(a, x)), real=r.real / 4)
        return terms.adversarial_examples(name, eps=0.05, steps=2).fn(of_a)[0]

    moved = r.real / 4 - 0.05 * jnp.sign(a)[None]
    np.testing.assert_allclose(value(a), losses.hinge_d(judge(a, moved), r.fake_out.logits).mean(), rtol=1e-5)
    lowered = losses.wasserstein_d(judge(a, r.real / 4) - 0.05 * jnp.abs(a).sum(), r.fake_out.logits)
    np.testing.assert_allclose(value(a, "wasserstein"), lowered.mean(), rtol=1e-5)
    np.testing.assert_allclose(jax.grad(value)(a, "wasserstein"), -moved.mean(0), atol=1e-5)


def test_terms_ask_for_the_draws_of_the_images_they_judge():
    """A penalty of generated images sees them augmented as the loss did, one of real images as those were."""
    r, asked = a_round(), []
    r = r._replace(D=lambda x, of="real", c=None, judge=r.D: asked.append(of) or judge(x))
    shift = augment.pipeline(("translation",))
    of_reals = ("r1", "finite_difference_r1", "wgan_gp", "wgan_lp", "dragan", "cr", "adversarial_examples")
    for name in (*of_reals, "r2", "finite_difference_r2", "zcr_d"):
        asked.clear()
        jax.eval_shape(lambda name=name: recipes.penalty_term(name, 1.0, {}, shift)[1].fn(r)[0])
        assert set(asked) == {"fake" if name in ("r2", "finite_difference_r2", "zcr_d") else "real"}, name


def test_slots_and_class_losses_of_the_objective():
    for loss in terms.LOSSES:
        d, g = make(loss=loss, n_critic=2).turns
        # Where G's loss looks at reals they are fresh ones, as R3GAN's code has it.
        assert (d.slots, g.slots) == ((0, 1), (2,) if loss in terms.SEES_REALS else (0,))
    for name, wanted in (
        ("ac_gan", [("adv", 1.0), ("classes", 0.3)]),
        ("d2d_ce", [("adv", 1.0), ("d2d_ce", 0.3)]),
        ("multi_hinge", [("adv", 1.0)]),  # in place of the adversarial loss
    ):
        for turn in make(class_loss=name, class_weight=0.3).turns:
            assert [(term.name, term.weight) for term in turn.phases[0].terms] == wanted


def test_penalties_of_a_linear_game_are_closed_forms():
    wanted = ("r1", "r2", "wgan_gp", "wgan_lp", "dragan", "drift", "orthogonal")
    recipe = make(loss="wasserstein", penalties=dict.fromkeys(wanted, 0.0))
    s = start(recipe, linear=True)
    _, log, _ = ran(recipe, linear_game(), s=s)
    a, m = np.asarray(s.d.params["a"], np.float64), np.asarray(s.g.params["hidden"]["kernel"], np.float64)
    x = images()[0, 0].reshape(B, -1) / 127.5 - 1
    gram, length = m.T @ m, np.sqrt((a**2).sum())
    closed = {"r1": length**2, "r2": length**2, "drift": ((x @ a) ** 2).mean()}
    closed |= dict.fromkeys(("wgan_gp", "wgan_lp", "dragan"), (length - 1) ** 2)
    for name, value in closed.items():
        np.testing.assert_allclose(log[f"d/{name}"], value, rtol=2e-5, err_msg=name)
    np.testing.assert_allclose(log["g/orthogonal"], (gram**2).sum() - (np.diag(gram) ** 2).sum(), rtol=2e-5)


def test_class_and_feature_terms_run():
    proxies = lambda d: d["proxies"]
    d = (terms.adversarial("d", "hinge"), terms.ac_gan("d"), terms.d2d_ce("d", proxies=proxies))
    g = (terms.adversarial("g", "hinge"), terms.ac_gan("g"), terms.d2d_ce("g", proxies=proxies), terms.feature_matching())
    _, _, moved = ran(Recipe((Turn((Phase("d", d), Phase("g", g))),), SGD, batch=B), c=jnp.arange(B).reshape(1, 1, B) % 3)
    assert all(jax.tree.leaves(moved))


def test_the_sign_of_a_logit_is_asked_for_where_it_says_something():
    assert {name for name in terms.LOSSES if undecided_at_0(terms.adversarial("d", name))} == set(terms.SIGNED)
    flip = {"augment": ("flip",), "augment_target": 0.6}
    for more in ({"augment_heuristic": "r_v"}, {"class_loss": "multi_hinge"}, *({"loss": name} for name in terms.SIGNED)):
        dataclasses.replace(CONFIG, **flip | more).design((8, 8, 1), 3)


def test_ada_moves_p_every_four_steps_by_the_mean_sign():
    recipe = recipes.adaptive(make(loss="hinge"), start=0.5, target=0.6, kimg=1.0)
    s, seen, p = start(recipe), [], []
    fn = jax.jit(updater(recipe, tiny_game()))
    for _ in range(8):
        s, log = fn(s, images(), None)
        seen.append(float(log["d/overfitting"]))
        p.append(float(s.carry["p"]))
    change = lambda r: np.sign(np.mean(r) - 0.6) * 4 * B / 1000
    first = 0.5 + change(seen[:4])
    np.testing.assert_allclose(p, [0.5] * 3 + [first] * 4 + [first + change(seen[4:])], rtol=1e-5)


def on_devices(recipe, n):
    """Parameters, carry and log after a step on n devices."""
    fn = updater(recipe, tiny_game(), axis="i")
    stacked = jax.tree.map(lambda a: jnp.stack([a] * n), start(recipe))
    x = images(recipe.slots)
    c = np.broadcast_to(np.arange(B, dtype=np.int32) % 3, x.shape[:3])
    x, c = (np.stack(np.split(a, n, axis=2)) for a in (x, c))
    new, log = jax.pmap(fn, axis_name="i", devices=jax.devices()[:n])(stacked, x, c)
    return jax.tree.map(lambda a: np.asarray(a)[0], {"g": new.g.params, "d": new.d.params, "carry": new.carry, "log": log})


def gap(a, b):
    return max(float(np.abs(x - y).max()) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def all_that_compares(player):
    """Every term that looks across images, each with a weight of its own, so that no two could cancel."""
    losses = [terms.adversarial(player, loss, 0.3 + i)._replace(name=loss) for i, loss in enumerate(terms.COMPARES)]
    classes = terms.d2d_ce(player, 0.7, proxies=lambda d: d["proxies"])
    attacked = terms.adversarial_examples("relativistic_average", 0.5, steps=1, share=2)
    posed = terms.pseudo_augmented("relativistic_average", 0.4)._replace(name="posed")
    best = terms.adversarial("g", "hinge", 0.2, top=lambda kimg: 0.1 + kimg)._replace(name="best")
    own = {"d": (terms.lecam(0.9), attacked, posed), "g": (terms.path_length(0.8, share=2), terms.feature_matching(0.6), best)}[
        player
    ]
    return Phase(player, (*losses, classes, *own))


@pytest.mark.slow
def test_what_compares_images_does_not_see_the_number_of_devices(monkeypatch):
    recipe = Recipe((Turn((all_that_compares("d"), all_that_compares("g"))),), SGD, batch=B)
    recipe = recipe._replace(carry=terms.CARRY["lecam"] | terms.CARRY["path_length"] | {"p": 0.5})
    one, two = on_devices(recipe, 1), on_devices(recipe, 2)
    assert gap(one["log"], two["log"]) < 2e-5 and gap(one, two) < 2e-5
    assert all(float(value) != 0 for value in one["carry"].values())
    monkeypatch.setattr(terms, "COMPARES", ())
    other = on_devices(recipe, 2)  # without the gathering each of the losses does see it
    for who, loss in itertools.product("dg", one["log"]):
        if loss.removeprefix(f"{who}/") in (
            *("relativistic_average", "dual_contrastive", "mmd_gaussian", "mmd_repulsive", "adversarial_examples", "posed"),
        ):
            assert abs(float(other["log"][loss] - one["log"][loss])) > 1e-4, loss
    assert gap(one["d"], other["d"]) > 1e-3 and gap(one["g"], other["g"]) > 1e-4
    held = Recipe((Turn((Phase("d", (terms.adversarial("d", "hinge"), terms.overfitting("r_v"))),), extra=(1,)),), SGD, batch=B)
    held = held._replace(carry={"p": 0.5}, held_slots=(1,))
    assert gap(on_devices(held, 1), on_devices(held, 2)) < 2e-5


DOCS = Path(__file__).parent.parent / "docs" / "objectives.md"


def test_the_table_names_every_choice():
    rows = [line.split("|")[1].strip(" `") for line in DOCS.read_text().splitlines() if line.startswith("| `")]
    assert len(set(rows)) == len(rows)
    every = {*terms.LOSSES, *recipes.PENALTIES, *recipes.CLASS_LOSSES}
    every |= {*get_args(objective.Augment), *get_args(objective.Optimizer)}
    assert set(rows) >= every


@pytest.mark.parametrize(
    "make, says",
    [
        (lambda: terms.adversarial("d", "hing"), "loss: there is no 'hing'; the nearest is hinge; there are minimax"),
        (lambda: terms.adversarial("d", "hinge", top=0.5), "top is for G and for losses of single images, not for hinge_d"),
        (lambda: terms.adversarial("g", "mmd_gaussian", top=0.5), "not for mmd_gaussian_g"),
        (lambda: terms.adversarial("g", "hinge", top=0.0), "top is 0.0"),
        (lambda: terms.adversarial("hinge", "d"), "player: there is no 'hinge'; there are g, d"),
        (lambda: terms.pseudo_augmented("r1"), "loss: there is no 'r1'"),
        (lambda: terms.gradient_penalty("wgan_gp", "real", 1.0), "gradient_penalty: there is no 'wgan_gp'"),
        (lambda: terms.gradient_penalty("r1", "reals", 1.0), "gradient_penalty, of: there is no 'reals'; the nearest is real"),
        (lambda: terms.mixed_gradient_penalty("r1", 1.0), "mixed_gradient_penalty: there is no 'r1'; there are wgan_gp, wgan_lp"),
        (lambda: terms.ac_gan("D"), "ac_gan: there is no 'D'"),
    ],
)
def test_a_name_that_is_none_is_refused_where_the_term_is_made(make, says):
    with pytest.raises(ValueError, match=says):
        make()


@pytest.mark.parametrize("name", terms.CARRY)
def test_a_term_that_keeps_something_says_what_the_carry_lacks(name):
    empty = Round(*[None] * len(Round._fields))._replace(
        carry={}, w=np.zeros(1), keys=np.zeros(1), real_out=Verdict(None), fake_out=Verdict(None)
    )
    with pytest.raises(ValueError, match=rf"{name}: Recipe.carry has no '\w+'; give it terms.CARRY\['{name}'\]"):
        getattr(terms, name)(1.0).fn(empty)


@pytest.mark.parametrize(
    "term, says",
    [
        (terms.feature_matching(), "feature_matching: D returns no features; let it return .logits, class logits or None"),
        (terms.ac_gan("g"), "ac_gan: D returns no classes"),
        (terms.multi_hinge("d"), "multi_hinge: D returns no classes"),
        (terms.categorical_code(None), "categorical_code: D returns no classes"),
        (terms.continuous_code(None), "continuous_code: D returns no features"),
        (terms.d2d_ce("d", proxies=lambda p: p), "d2d_ce: D returns no features"),
    ],
)
def test_a_discriminator_without_what_a_term_compares_is_named(term, says):
    r = Round(*[None] * len(Round._fields))._replace(real_out=Verdict(np.zeros(2)), fake_out=Verdict(np.zeros(2)))
    with pytest.raises(ValueError, match=says):
        term.fn(r)
