"""Every family's config: both networks can be described, those of the papers have as many parameters, recipes their numbers."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.configs import CONFIGS, families, objective, paired, stacked
from jaxgan import description, method, plan
from jaxgan.errors import UserError
from jaxgan.models import stylegan2
from jaxgan.settings import check_numbers
from tests.shared import updater
from tests.test_loop import CASES, TRACED

pytestmark = pytest.mark.slow

PAPERS = {  # parameters of G and D that the papers or the official code have
    "wgan_gp-cifar10": (1_204_483, 1_053_825),
    "sngan-cifar10": (4_304_387, 1_055_104 + 1),  # D's last bias is ours
    "sagan-imagenet128": (42_078_852, 39_463_618),
    "biggan-cifar10": (4_373_251, 4_207_361),
    "biggan-imagenet128": (70_433_988, 87_982_370),
    "stylegan2-cifar10": (20_215_315, 23_089_664),
    "stylegan2-256": (24_767_458, 24_001_089),
    "stylegan3-256": (28_472_133, 28_864_129),
    "stylegan3-r-256": (18_816_387, 28_864_129),
    "r3gan-cifar10": (20_781_952, 21_280_512),
    "r3gan-256": (23_057_952, 23_009_568),
}
UPDATES = {  # of G, in the papers or the authors' code
    "wgan_gp-cifar10": 100_000,
    "sngan-cifar10": 50_000,
    "biggan-cifar10": 125_000,
    "biggan-imagenet128": 165_000,
    "sagan-imagenet128": 1_000_000,
}
CLASSES = {"imagenet2012": 1000, "photos": 0}


def sizes(config):
    shape = (*config.size, 1 if config.size == (28, 28) else 3)
    return shape, CLASSES.get(config.data, 10) if config.conditional != "no" else 0


@pytest.mark.parametrize("name", [*families.SMALL, *families.PAPERS])
def test_the_config_is_described_and_has_the_papers_parameters(name):
    config = families.configs()[name]
    shape, classes = sizes(config)
    design = config.design(shape, classes)
    method.check(design.recipe)
    for module in (design.generator, design.discriminator):  # config.json can rebuild it
        again = description.build(description.describe(module))
        assert description.describe(again) == description.describe(module)
    if name in PAPERS:
        first = jax.eval_shape(lambda: plan.first_state(0, design))
        assert tuple(sum(a.size for a in jax.tree.leaves(p.params)) for p in (first.g, first.d)) == PAPERS[name]


@pytest.mark.parametrize("name", TRACED)
def test_the_step_traces_and_its_state_keeps_its_types(name):
    """Another would be compiled anew. The steps of the other families run in tests/test_loop.py."""
    shape, classes = (*CASES[name].size, 1), 10 * (CASES[name].conditional != "no")
    design = CASES[name].design(shape, classes)
    shown = (design.recipe.slots, 1, CASES[name].batch)
    x, c = jax.ShapeDtypeStruct((*shown, *shape), np.uint8), jax.ShapeDtypeStruct(shown, np.int32) if classes else None
    first = jax.eval_shape(lambda: plan.first_state(0, design))
    new, log = jax.eval_shape(updater(design.recipe, design.game), first, x, c)
    types = lambda state: jax.tree.map(lambda a: (a.shape, a.dtype, a.weak_type), state)
    assert types(new) == types(first) and {"d/adv", "g/adv"} <= log.keys()


@pytest.mark.parametrize("family", families.FAMILIES)
def test_label_vectors_and_other_sizes(family):
    """32 x 48, colour, conditioned by vectors (but for infogan, which has no labels)."""
    config = families.Config(family=family, width=4, batch=4)
    design = config.design((32, 48, 3), 5 * (family != "infogan"))
    z, c, key = jnp.zeros((2, design.generator.z_dim)), jnp.zeros((2, 5)), jax.random.key(0)
    made = lambda module, x: module.init_with_output(key, x, c, keys=jax.random.split(key, 2))[0]
    x = jax.eval_shape(lambda: made(design.generator, z))
    assert x.shape == (2, 32, 48, 3)
    out = jax.eval_shape(lambda x: made(design.discriminator, x), x)
    assert (out[0] if isinstance(out, tuple) else out).shape == (2,)


def test_width_is_of_the_full_size_whatever_the_proportions():
    for shape in ((28, 28, 1), (28, 56, 1)):
        of_g, of_d = families.Config(family="stylegan2", width=16).design(shape, 0)[:2]
        assert [stylegan2.features_at(model, shape[:2]) for model in (of_g, of_d)] == [16, 16]


@pytest.mark.parametrize("name", UPDATES)
def test_a_papers_run_has_its_updates_and_its_rate_ends_there(name):
    config = families.configs()[name]
    assert abs(config.kimg * 1000 / config.batch / UPDATES[name] - 1) < 1e-3
    shape, classes = sizes(config)
    recipe = config.design(shape, classes).recipe
    tx, one = recipe.tx["g"], jnp.ones(())
    first, last = (float(tx.update(one, tx.init(one), one, kimg=jnp.float32(kimg))[0]) for kimg in (0.0, config.kimg))
    assert last == (0.0 if name in ("wgan_gp-cifar10", "sngan-cifar10") else first) and first < 0
    if name == "biggan-cifar10":
        assert [term.name for term in recipe.turns[1].phases[0].terms] == ["adv"]


def test_mistakes_are_one_line():
    for config, classes, says in (
        (families.Config(family="sngan", preset="sngan_33"), 0, "sngan_32"),
        (families.Config(family="ac_gan"), 0, "labels"),
        (families.Config(family="r3gan", preset="x"), 0, "cifar10"),
        (families.Config(family="wgan", level=0.2), 0, "--level: wgan has none"),
        (families.Config(family="sngan", preset="sngan_32", width=64), 0, "--width 64: the preset sngan_32 sets the widths"),
    ):
        with pytest.raises(UserError, match=says):
            config.design((28, 28, 1), classes)


def test_minus_one_is_the_papers_average_where_there_is_one():
    check_numbers(families.Config(family="sngan", ema_kimg=-1.0))
    with pytest.raises(UserError, match="--ema-kimg -0.5: it must be 0 or more"):
        check_numbers(families.Config(family="sngan", ema_kimg=-0.5))
    for config in (objective.Config(ema_kimg=-1.0), paired.Config(ema_kimg=-1.0)):
        with pytest.raises(UserError, match="ema_kimg -1: a half-life is 0 or more"):
            method.check(config.design((28, 28, 1), (28, 28, 1) if isinstance(config, paired.Config) else 0).recipe)


def test_trained_networks_keep_their_average_where_a_ramp_would_drop_it():
    """As the authors' codes do; at kimg 0 a ramp's half-life is 0, and the average is what the first step leaves."""
    config = families.configs()
    of_style = {"stylegan3-256": 10.0, "stylegan3-r-256": 10.0, "stylegan2-cifar10": 500.0, "stylegan2-256": 20.0}
    of_big = {"biggan-cifar10": 50 * 6.93112, "biggan-imagenet128": 2048 * 6.93112}
    of_big |= {name: 32 * 6.93112 for name in ("reacgan", "multi_hinge")}  # an average of 0.9999 per step, in kimg
    for name, full in (of_style | of_big).items():
        for init, first in ((None, full if name == "stylegan2-256" else 0.0), ("ffhq.pkl", full)):
            now = dataclasses.replace(config[name], init=init, ema_kimg=-1.0)
            half_life = now.design(*sizes(now)).recipe.ema_kimg
            np.testing.assert_allclose([half_life(jnp.float32(kimg)) for kimg in (0, 1e5)], (first, full), rtol=1e-5)
    starts = {"biggan-cifar10": 1_000, "biggan-imagenet128": 20_000}
    for name, start in starts.items():
        half_life = config[name].design(*sizes(config[name])).recipe.ema_kimg
        assert [bool(half_life(step * config[name].batch / 1000)) for step in (start - 2, start - 1)] == [False, True]


def test_a_stylegan_as_wide_and_deep_as_the_one_to_fine_tune():
    """The authors' --cbase, --cmax and --map-depth: D has the mapping of its preset, and G of r twice D's channels."""
    sized = {"channel_base": 512, "channel_max": 8, "mapping_layers": 3}
    for family, preset, twice in (
        ("stylegan2", "paper256", 1),
        ("stylegan3", "t", 1),
        ("stylegan3", "r", 2),
        ("stylegan2", "", 1),
    ):
        made = families.Config(family=family, preset=preset, batch=8, **sized).design((16, 16, 3), 0)
        fields = [[getattr(net, k) for k in sized] for net in (made.generator, made.discriminator)]
        assert fields == [[512 * twice, 8 * twice, 3], [512, 8, 8 if preset else 2]], (family, preset)
    with pytest.raises(UserError, match="--channel-base 15: images of 16 pixels get no channel; give 16 or more"):
        families.Config(family="stylegan3", channel_base=15).design((12, 16, 3), 0)
    with pytest.raises(UserError, match="--channel-max: r3gan has none"):
        families.Config(family="r3gan", channel_max=8).design((16, 16, 3), 0)


def test_the_papers_runs_have_classes_or_none_whatever_the_data_is():
    """FFHQ comes in folders of a thousand images, which are no classes, and is x-flipped."""
    for name, config in CONFIGS.items():
        if config.data == "photos":
            assert (name, config.conditional, config.mirror) == (name, "no", True)
        elif name in families.PAPERS:
            assert (name, config.conditional) == (name, "no" if name == "wgan_gp-cifar10" else "yes")


def test_ada_adapts_five_times_as_fast_to_trained_networks():
    """As the authors' code; four steps of 64 images on which D is sure of every real one."""
    for init, kimg in ((None, 500.0), ("ffhq.pkl", 100.0)):
        config = dataclasses.replace(families.configs()["stylegan2-cifar10"], init=init)
        recipe = config.design(*sizes(config)).recipe
        carry = recipe.carry
        for _ in range(4):
            carry = recipe.adapt(carry, {"d/overfitting": jnp.float32(1.0)})
        np.testing.assert_allclose(carry["p"], 4 * 0.064 / kimg, rtol=1e-6)


def test_the_stacked_pair_differs_in_the_objective_alone():
    tutorial, r3gan = (stacked.CONFIGS[name] for name in ("stacked-tutorial", "stacked-r3gan"))
    assert dataclasses.replace(tutorial, loss=r3gan.loss, penalty=r3gan.penalty) == r3gan
    assert (tutorial.loss, tutorial.penalty, r3gan.penalty) == ("non_saturating", (), ("r1", "r2"))
    networks = [config.design((28, 28, 3), 0)[:2] for config in (tutorial, r3gan)]
    assert networks[0] == networks[1]
