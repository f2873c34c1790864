"""Growing in the training loop: stages by the images shown, stopping and resuming in and across them, sampling in a fade."""

import functools
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache

from experiments.configs import growing
from jaxgan import calls, checkpoint, description, disk, grow, method, plan, restore, run, sample, state, step
from jaxgan.errors import UserError
from tests.commands import assert_equal, final_state
from tests.shared import first_log, updater

TINY = {"size": (8, 8), "batch": 8, "kimg": 0.24, "stable_kimg": 0.08, "fade_kimg": 0.08, "width": 2, "width_max": 4}
TINY |= {"z_dim": 4, "tick_kimg": 0.12, "snapshot_kimg": 9.0, "conditional": "no"}


def config(**fields):
    return growing.ProGAN(**TINY | fields)


@pytest.fixture
def compiled_once(tmp_path):
    """Every start of a run finds the programs of the one before, as a user's does."""
    put = {"jax_compilation_cache_dir": str(tmp_path / "compiled"), "jax_persistent_cache_min_compile_time_secs": 0.2}
    before = {name: getattr(jax.config, name) for name in put}
    compilation_cache.reset_cache()  # JAX looks at the folder once
    for name, value in put.items():
        jax.config.update(name, value)
    yield
    compilation_cache.reset_cache()
    for name, value in before.items():
        jax.config.update(name, value)


@functools.cache
def design(shape, classes):
    """The same objects for each start, which then traces its step once and not four times."""
    return config().design(shape, classes)


def train(directory, monkeypatch, stop=None):
    """Train the tiny run, as the command does; a signal comes in the step `stop`. The exit code."""
    ready, due = plan.prepare("progan", config(run_dir=str(directory)), design), step.due

    def stopping(recipe, k):
        if k == stop:
            signal.raise_signal(signal.SIGTERM)
        return due(recipe, k)

    with monkeypatch.context() as patch:
        patch.setattr(calls, "due", stopping)
        return run.train(ready)


@pytest.mark.slow
def test_stopping_where_it_grows_and_in_a_fade_is_the_run_that_never_stopped(tmp_path, monkeypatch, capsys, compiled_once):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert train(whole, monkeypatch) == 0 and not (whole / "profile").exists()
    assert train(stopped, monkeypatch, stop=9) == 143  # after 10 steps: the next begins with growing
    small = restore.load(stopped)
    assert (small.step, small.generator.stage) == (10, 0) and "fade" not in small.variables
    assert train(stopped, monkeypatch, stop=14) == 143
    fading = restore.load(stopped)
    assert (fading.step, fading.generator.stage) == (15, 1)
    np.testing.assert_allclose(fading.variables["fade"]["alpha"], 0.4, rtol=1e-6)  # step 14 is at 0.112 kimg, of 0.08 to 0.16
    assert train(stopped, monkeypatch) == 0
    assert_equal(final_state(whole), final_state(stopped))
    assert float(restore.load(stopped).variables["fade"]["alpha"]) == 1
    assert capsys.readouterr().out.count("grown to stage 2 of 2 at 0.08 kimg") == 2
    images = fading.sample(4)
    assert images.shape == (4, 8, 8, 1)
    again = restore.load(stopped, checkpoint=15)  # a checkpoint of the fade samples as it did when it was the last
    np.testing.assert_array_equal(again.sample(4), images)


def stages(**fields):
    made = config(**fields).design((8, 8, 1), 0)
    return [(m, jax.jit(lambda m=m: plan.first_state(0, m))()) for m in made]


@pytest.fixture(scope="module")
def grown():
    """The second design, and the state that it begins with."""
    (_, first), (design, fresh) = stages()
    return design, grow.grow_state(first, fresh)


def test_the_stages_follow_from_the_images_shown():
    made = config(size=(16, 16), kimg=0.4).design((16, 16, 1), 0)
    assert [(m.start_kimg, m.generator.stage, m.discriminator.stage) for m in made] == [(0, 0, 0), (0.08, 1, 1), (0.24, 2, 2)]
    ready = plan.Run(None, config(), {}, made, None, None, ())
    assert [ready.stage(k) for k in (-1, 0, 9, 10, 29, 30, 10**6)] == [0, 0, 0, 1, 1, 2, 2]


def test_the_discriminator_gets_faded_reals_and_the_fade_is_kept(grown):
    design, begun = grown
    x = jax.random.uniform(jax.random.key(0), (1, 1, 8, 8, 8, 1), minval=-1)
    begun = begun.replace(step=jnp.int32(14))
    after, log = jax.jit(updater(design.recipe, design.game, 14))(begun, x, None)
    assert {"d/adv", "d/wgan_gp", "d/drift", "g/adv"} <= log.keys() and all(np.isfinite(v) for v in log.values())
    variables = {"params": begun.d.params, **begun.d.stats}
    judge = jax.jit(lambda x: design.discriminator.apply(variables, x, alpha=0.4).mean())
    np.testing.assert_allclose(log["logits/real"], judge(grow.fade_reals(x[0, 0], 0, 0.4)), rtol=1e-5)
    assert abs(log["logits/real"] - judge(x[0, 0])) > 1e-3
    for player in (after.g, after.d):
        np.testing.assert_allclose(player.stats["fade"]["alpha"], 0.4, rtol=1e-6)


def test_pictures_in_a_fade_have_its_alpha(grown):
    design, begun = grown
    z, c = jnp.ones((1, 4)), None
    variables = state.generator_variables(begun)
    kept = lambda alpha: variables | {"fade": {"alpha": jnp.float32(alpha)}}
    draw = jax.jit(lambda v, **options: design.generator.apply(v, z, c, **options))
    np.testing.assert_array_equal(draw(kept(0.3)), draw(kept(1.0), alpha=0.3))
    images = [sample.sample(design.generator, kept(alpha), 4) for alpha in (0.0, 1.0)]
    np.testing.assert_array_equal(images[0][:, ::2, ::2], images[0][:, 1::2, 1::2])  # the smaller network's pixels, repeated
    assert (images[1][:, ::2, ::2] != images[1][:, 1::2, 1::2]).any()


def test_a_checkpoint_comes_back_at_the_stage_of_its_step(tmp_path, grown):
    (_, first), _ = stages()
    store = checkpoint.open_store(tmp_path)
    of = {10: first.replace(step=jnp.int32(10)), 11: grown[1].replace(step=jnp.int32(11))}
    for saved in of.values():
        checkpoint.save(store, saved)
    disk.wait(store)
    like = lambda at: jax.eval_shape(lambda: of[at])
    for at in (11, 10):
        back, damaged = checkpoint.restore(store, like)
        assert not damaged and int(back.step) == at and jax.tree.structure(back) == jax.tree.structure(of[at])
        store.manager.delete(at)
    store.manager.close()


def test_mistakes_are_one_line(tmp_path):
    with pytest.raises(UserError, match="--kimg 0.1: .* full size of 8x8 after 0.16 kimg"):
        config(kimg=0.1).design((8, 8, 1), 0)
    with pytest.raises(UserError, match="first=3"):
        config(first=3).design((8, 8, 1), 0)
    settings = config(posthoc=(0.05, 0.1), run_dir=str(tmp_path / "run"))
    with pytest.raises(UserError, match="--posthoc"):
        plan.prepare("progan", settings, settings.design)
    assert not (tmp_path / "run").exists()


PAPERS = {"progan-1024": (23.1, 23.1), "stylegan-1024": (26.2, 23.1)}
"""Millions of parameters of G and D: table 2 of each paper."""
KIMG = {"progan-256": 20_000, "progan-1024": 19_000, "stylegan-256": 25_000, "stylegan-1024": 25_000}
"""Of the authors' configurations."""


@pytest.mark.slow
@pytest.mark.parametrize("name", [*growing.SMALL, *growing.PAPERS])
def test_the_config_traces(name):
    made = growing.configs()[name]
    if name in KIMG:
        assert made.kimg == KIMG[name]
    shape, classes = (*made.size, 1 if made.size == (28, 28) else 3), 10 if made.conditional == "auto" else 0
    designs = made.design(shape, classes)
    design = designs[-1] if name.startswith("progan") else designs
    method.check(design.recipe)
    if name in PAPERS:
        first = jax.eval_shape(lambda: plan.first_state(0, design))
        assert tuple(round(sum(a.size for a in jax.tree.leaves(p.params)) / 1e6, 1) for p in (first.g, first.d)) == PAPERS[name]
    said = description.describe(design.generator)
    assert description.describe(description.build(said)) == said
    if name in growing.SMALL:
        logged = first_log(design, shape, classes)
        assert {"d/adv", "g/adv"} <= logged and ("d/classes" in logged) == name.startswith("progan")
