"""R3GAN against its official networks and training code (golden/r3gan.npz), its counts, and NumPy's own arithmetic."""

import functools
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgan import convert_r3gan, method, recipes, recipes_r3gan, schedules, state, weights
from jaxgan.errors import UserError
from jaxgan.models.r3gan import Block, Discriminator, Generator, plan
from jaxgan.recipes_r3gan import PRESETS
from tests.golden import r3gan_rule
from tests.shared import filled, off, updater

GOLDEN = Path(__file__).parent / "golden" / "r3gan.npz"
SMALL = {"shape": (16, 24, 3), "channels": (16, 8, 8), "blocks": (1, 1, 1)}


@functools.cache
def golden():
    with np.load(GOLDEN) as file:
        return dict(file)


@functools.cache
def official(case):
    """Generator, its variables, discriminator, its variables: the rule's weights."""
    fields = r3gan_rule.CASES[case]
    g, d = r3gan_rule.generator(**fields), r3gan_rule.discriminator(**fields)
    return *convert_r3gan.generator(g), *convert_r3gan.discriminator(d)


@pytest.mark.parametrize("case", r3gan_rule.CASES)
def test_outputs_are_the_official_networks(case):
    g, gv, d, dv = official(case)
    z, real, c = r3gan_rule.inputs(case, 0)
    c = c if g.classes else None
    assert off(jax.jit(g.apply)(gv, z, c), golden()[f"{case}.x"]) < 2e-6
    assert off(jax.jit(d.apply)(dv, real, c), golden()[f"{case}.logits"]) < 2e-6


def keeping_gradients(tx):
    """The optimiser with the last gradients beside its state."""

    def update(grads, opt, params=None, **more):
        updates, inner = tx.update(grads, opt[0], params, **more)
        return updates, (inner, grads)

    return optax.GradientTransformationExtraArgs(lambda params: (tx.init(params), params), update)


@pytest.mark.parametrize("case", r3gan_rule.CASES)
def test_gradients_of_a_full_update_are_the_official_training_codes(case):
    """Theirs: D by its loss, Adam, then G by its loss with the new D, each on reals, labels and noise of its own."""
    g, gv, d, dv = official(case)
    turns = [r3gan_rule.inputs(case, turn) for turn in (0, 1)]
    z, real, c = (jnp.asarray(np.stack(pair))[:, None] for pair in zip(*turns, strict=True))
    label = lambda given: given["c"] if g.classes else None
    game = method.Game(  # noise comes with the labels, so that it is theirs
        latent=lambda v, keys, c, kimg, axis, refresh: (c["z"], {}),
        synthesize=lambda v, keys, w, c, kimg, axis, refresh: (g.apply(v, w, label(c)), {}),
        judge=lambda v, keys, x, c, kimg, axis, refresh: (method.Verdict(d.apply(v, x, label(c))), {}),
    )
    recipe = recipes.r3gan(batch=4, lr=1e-3, b2=0.95, gamma=20.0)
    recipe = recipe._replace(tx={name: keeping_gradients(tx) for name, tx in recipe.tx.items()})
    update = jax.jit(updater(recipe, game))
    after, log = update(state.create(0, gv, dv, recipe), real, {"z": z, "c": c})
    for name, ours in (("d/adv", "loss_d"), ("d/r1", "r1"), ("d/r2", "r2"), ("g/adv", "loss_g")):
        np.testing.assert_allclose(log[name], golden()[f"{case}.{ours}"], rtol=1e-5)
    makers = {"g": (r3gan_rule.generator, convert_r3gan.generator), "d": (r3gan_rule.discriminator, convert_r3gan.discriminator)}
    for player, (rule, make) in makers.items():
        filters = {name: a for name, a in rule(**r3gan_rule.CASES[case]).items() if name.endswith("Kernel")}
        start = f"{case}.{player}."
        theirs = {name.removeprefix(start): a for name, a in golden().items() if name.startswith(start)}
        want = make(theirs | filters)[1]["params"]
        errors = jax.tree.map(off, getattr(after, player).opt[1], want)
        assert max(jax.tree.leaves(errors)) < 1e-5


OFFICIAL = {  # parameters of G and D, and bfloat16 stages, base first, by the official code
    "cifar10": (20_781_952, 21_280_512, [0, 1, 1, 1]),
    "ffhq64": (22_429_824, 22_381_440, [0, 1, 1, 1, 1]),
    "ffhq256": (23_057_952, 23_009_568, [0, 0, 0, 1, 1, 1, 1]),
    "imagenet32": (82_914_304, 86_548_992, [0, 1, 1, 1]),
    "imagenet64": (103_570_432, 107_205_120, [0, 1, 1, 1, 1]),
}


@pytest.mark.parametrize("name", PRESETS)
def test_presets_have_the_official_numbers_of_parameters(name):
    preset = PRESETS[name]
    pair = [kind(preset.shape, preset.classes, **preset.network) for kind in (Generator, Discriminator)]
    counts = [sum(a.size for a in jax.tree.leaves(weights.shapes(module))) for module in pair]
    if name in OFFICIAL:
        assert counts == [*OFFICIAL[name][:2]]
        assert [stage.dtype == jnp.bfloat16 for stage in plan(pair[0])[1]] == OFFICIAL[name][2]
    else:
        assert max(counts) < 70_000


def test_first_weights_have_the_paper_s_scales():
    sizes = {"shape": (8, 8, 3), "classes": 20, "channels": (96, 48), "blocks": (0, 2)}
    he = math.sqrt(2 / 1.04) * 2**-0.25
    for module, z in ((Generator(**sizes, z_dim=48), jnp.zeros((1, 48))), (Discriminator(**sizes), jnp.zeros((1, 8, 8, 3)))):
        made = isinstance(module, Generator)
        params = jax.jit(module.init)(jax.random.key(0), z, jnp.zeros(1, jnp.int32))["params"]
        block = params["stage1_block1"]
        assert not block["reduce"]["kernel"].any() and not block["expand"]["bias"].any() and not block["grouped"]["bias"].any()
        assert block["grouped"]["kernel"].shape == (3, 3, 16, 96)
        std = {
            ("stage1_block1", "expand", "kernel"): he / math.sqrt(48),
            ("stage1_block1", "grouped", "kernel"): he / math.sqrt(9 * 16),
            ("between1", "kernel"): 1 / math.sqrt(96 if made else 48),
            ("linear", "kernel"): 1 / math.sqrt(96),  # the generator's from 48 of z and 48 of the class
            ("basis",): 1.0 if made else 1 / 4,
            ("classes", "embedding"): 1 / math.sqrt(20) if made else 1 / math.sqrt(20 * 96),
        }
        for path, want in std.items():
            leaf = functools.reduce(dict.__getitem__, path, params)
            assert abs(float(leaf.std()) / want - 1) < 5 / math.sqrt(2 * leaf.size), path


def test_a_block_starts_as_the_identity_and_moves_by_its_last_layer():
    x = jax.random.normal(jax.random.key(0), (2, 5, 4, 6))
    block = Block(inner=12, groups=3, depth=3)
    v = jax.jit(block.init)(jax.random.key(1), x)
    np.testing.assert_array_equal(block.apply(v, x), x)
    grads = jax.jit(jax.grad(lambda v: jnp.sum(block.apply(v, x) ** 2)))(v)["params"]
    assert np.abs(grads["reduce"]["kernel"]).max() > 0.1


def test_any_size_channels_and_labels():
    g, d = Generator(**SMALL, classes=3, z_dim=5), Discriminator(**SMALL, classes=3)
    v, w = filled(g, scale=0.3), filled(d, scale=0.3)
    z, c = jax.random.normal(jax.random.key(0), (3, 5)), jnp.array([0, 2, 1])
    generate, judge = jax.jit(g.apply), jax.jit(d.apply)
    x = generate(v, z, c)
    assert x.shape == (3, 16, 24, 3) and x.dtype == jnp.float32
    logits = judge(w, x, c)
    assert logits.shape == (3,) and logits.dtype == jnp.float32
    np.testing.assert_allclose(judge(w, x, jax.nn.one_hot(c, 3)), logits, rtol=1e-5)
    assert off(generate(v, z, c[::-1]), np.asarray(x)) > 1e-3 and off(judge(w, x, c[::-1]), np.asarray(logits)) > 1e-3
    np.testing.assert_allclose(judge(w, x[1:2], c[1:2]), logits[1:2], rtol=1e-4, atol=1e-6)  # images do not meet
    grey = {"shape": (28, 28, 1), "width": 16}
    assert [(s.channels, s.inner, s.groups) for s in plan(Generator(**grey))[1]] == [(16, 32, 2)] * 3
    assert jax.eval_shape(Generator(**grey).apply, filled(Generator(**grey)), jnp.zeros((2, 64))).shape == (2, 28, 28, 1)
    assert [s.channels for s in plan(Generator((256, 256, 3), width=768))[1]] == [*PRESETS["ffhq256"].network["channels"]]


def test_bfloat16_is_for_the_stages_above_and_weights_stay_float32():
    g, d = (kind(**SMALL, dtype=jnp.bfloat16, float32_stages=2) for kind in (Generator, Discriminator))
    assert {a.dtype for a in jax.tree.leaves((weights.shapes(g), weights.shapes(d)))} == {jnp.dtype("float32")}
    z = jax.random.normal(jax.random.key(0), (2, 64))
    x = jax.random.uniform(jax.random.key(1), (2, 16, 24, 3), minval=-1)
    for module, given in ((g, z), (d, x)):
        v = filled(module, scale=0.3)
        low, full = (jax.jit(m.apply)(v, given) for m in (module, module.clone(dtype=jnp.float32)))
        assert low.dtype == jnp.float32 and 1e-5 < off(low, np.asarray(full)) < 0.1
        text = str(jax.make_jaxpr(module.apply)(v, given))
        assert "bf16[2,16,24,16]" in text and "f32[2,8,12,16]" in text and "bf16[2,4,6" not in text


@pytest.mark.parametrize(
    "fields, said",
    [
        ({"channels": (8, 8)}, "channels"),
        ({"blocks": (1, 1, 1, 1)}, "blocks"),
        ({"cardinality": (3, 2, 2)}, "cardinality"),
        ({"cardinality": (2, 2)}, "cardinality"),
        ({"blocks": (0, 0, 0)}, "blocks"),
        ({"float32_stages": 0}, "float32_stages"),
        ({"shape": (18, 18, 3)}, "image size"),
    ],
)
def test_fields_that_do_not_fit(fields, said):
    with pytest.raises(UserError, match=said) as e:
        weights.shapes(Generator(**SMALL | fields))
    assert "\n" not in str(e.value)


def test_the_five_schedules():
    preset = PRESETS["cifar10"]
    recipe = recipes_r3gan.annealed(preset, batch=64)
    assert recipe.batch == 64 and recipes_r3gan.annealed(preset).batch == 512
    weight = recipe.turns[0].phases[0].terms[1].weight
    p = recipes_r3gan.augment_p(preset)
    middle = lambda first, last: (first + last) / 2
    params = {"a": jnp.ones(3)}
    opt = recipe.tx["g"].init(params)
    # First, half and last of half a cosine over 20,000 kimg, and beyond it.
    for kimg, at in ((0.0, lambda a, b: a), (10_000.0, middle), (20_000.0, lambda a, b: b), (99_000.0, lambda a, b: b)):
        np.testing.assert_allclose(weight(kimg), at(0.05, 0.005) / 2, rtol=1e-5)
        np.testing.assert_allclose(recipe.ema_kimg(kimg), at(0, 5000), rtol=1e-5)
        np.testing.assert_allclose(p({}, kimg), at(0, 0.55), rtol=1e-5)
        moved, new = recipe.tx["g"].update({"a": jnp.full(3, 2.0)}, opt, params, kimg=jnp.float32(kimg))
        np.testing.assert_allclose(moved["a"], -at(2e-4, 5e-5), rtol=1e-4)  # Adam's first step is lr long
        np.testing.assert_allclose(optax.tree.get(new, "nu")["a"], 4 * (1 - at(0.9, 0.99)), rtol=1e-4)
    assert schedules.half_life_beta(64, recipe.ema_kimg(0.0)) == 0  # no average before the first image


@pytest.mark.parametrize(  # of the official training script: R1's gamma, half-life, augmentation, kimg of the decay, batch
    "name, numbers",
    [
        ("cifar10", ((0.05, 0.005), (0, 5000), (0, 0.55), 20_000, 512)),
        ("ffhq64", ((2, 0.2), (0, 500), (0, 0.3), 20_000, 256)),
        ("ffhq256", ((150, 15), (0, 500), (0, 0.3), 20_000, 256)),
        ("imagenet32", ((0.5, 0.05), (0, 50_000), (0, 0.5), 200_000, 4096)),
        ("imagenet64", ((1, 0.1), (0, 50_000), (0, 0.4), 200_000, 4096)),
    ],
)
def test_presets_have_the_official_numbers(name, numbers):
    preset = PRESETS[name]
    assert (preset.gamma, preset.ema_kimg, preset.augment_p, preset.decay_kimg, preset.batch) == numbers
    assert (preset.lr, preset.b2, preset.mirror) == ((2e-4, 5e-5), (0.9, 0.99), True)
    d, g = recipes_r3gan.annealed(preset, every=4, share=2).turns
    (d,), (g,) = d.phases, g.phases
    assert [(t.name, t.every, t.share) for t in d.terms] == [("adv", 1, 1), ("r1", 4, 2), ("r2", 4, 2)]
    assert (d.player, g.player, [t.name for t in g.terms]) == ("d", "g", ["adv"])
    tx, one = recipes_r3gan.annealed(preset).tx["d"], jnp.ones(())
    opt = tx.update(one, tx.init(one), one, kimg=jnp.float32(0))[1]
    assert float(optax.tree.get(opt, "mu")) == 1  # no momentum
