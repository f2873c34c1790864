"""A run as it is restored: which weights, of which step and length of average, in which network; and what is not a run."""

import dataclasses
import json
import shutil
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.configs import CONFIGS
from jaxgan import checkpoint, disk, label_vectors, latents, restore, sample, translate
from jaxgan.errors import UserError
from jaxgan.models import mlp
from tests import commands
from tests.commands import assert_equal

SHAPE = (4, 4, 1)


def test_a_label_is_found_however_its_accents_are_written():
    names, config = {"caf\u00e9": 0, "cafe\u0301": 1}, lambda *names: {"data": {"class_names": names}}
    for name in names:
        assert restore.numbered(name, config("tea", "cafe\u0301")) == restore.numbered(name, config("tea", "caf\u00e9")) == 1
    assert [restore.numbered(name, config(*names)) for name in names] == [0, 1]


def added(tree, by):
    return jax.tree.map(lambda a: a + by, tree)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run directory with checkpoints of the steps 2 and 4, of which the first is the best, and averages; and its state at 4."""
    folder = tmp_path_factory.mktemp("restored") / "run"
    first = commands.untrained(folder, dataclasses.replace(CONFIGS["gan"], batch=4, width=4), SHAPE, 0)
    store, kept = checkpoint.open_store(folder / "checkpoints"), checkpoint.open_averages(folder / "averages")
    for step in (2, 4):
        averages = {"0.05": added(first.ema, 10.0 * step), "0.1": added(first.ema, 20.0 * step)}
        last = first.replace(step=jnp.int32(step), ema=added(first.ema, step), averages=averages)
        checkpoint.save_averages(kept, last)
        disk.wait(kept)
    store.manager.delete(2)
    checkpoint.save(store, first.replace(step=jnp.int32(2)), score=1.0)
    checkpoint.save(store, last, score=3.0)
    disk.wait(store)
    for each in (store, kept):
        each.manager.close()
    return folder, first, last


def test_the_generator_is_the_averaged_one_of_the_step_asked_for(run):
    folder, first, last = run
    for which, step, state in (("latest", 4, last), ("best", 2, first), (4, 4, last)):
        trained = restore.load(folder, checkpoint=which)
        assert trained.step == step and isinstance(trained.generator, mlp.Generator) and trained.generator.shape == SHAPE
        assert_equal(trained.variables, {"params": state.ema})
    assert all(isinstance(a, jax.Array) for a in jax.tree.leaves(trained.variables))  # sent to the device once
    assert trained.config == json.loads((folder / "config.json").read_text()) and trained.vectors is None


def test_another_average_is_of_the_checkpoints_step(run):
    folder, first, last = run
    for which, step, averages in (("latest", 4, last.averages), (2, 2, {"0.05": added(first.ema, 20.0)})):
        trained = restore.load(folder, checkpoint=which, average=0.05)
        assert trained.step == step and set(trained.variables) == {"params"}
        for got, want in zip(*map(jax.tree.leaves, (trained.variables["params"], averages["0.05"])), strict=True):
            np.testing.assert_allclose(got, want, rtol=0.02)


def test_a_run_on_label_vectors_is_sampled_with_its_own(monkeypatch):
    g = mlp.Generator(SHAPE, 3, z_dim=4, widths=(8,))
    v = g.init(jax.random.key(0), jnp.zeros((1, 4)), jnp.zeros((1, 3)))
    vectors = 3 * np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    run, drawn = restore.Trained(g, v, {}, 0, vectors=vectors), label_vectors.drawn(vectors, 6, 8)
    np.testing.assert_array_equal(run.sample(8, seed=6), sample.sample(g, v, 8, seed=6, label=drawn))
    np.testing.assert_array_equal(run.sample(1, seed=6), run.sample(8, seed=6)[:1])
    np.testing.assert_array_equal(run.latents(5, seed=6, first=3).c, drawn[3:])
    np.testing.assert_array_equal(run.latents(5, seed=6, first=3).code, run.latents(8, seed=6).code[3:])
    np.testing.assert_array_equal(run.latents(1, seed=6).c, drawn[:1])
    np.testing.assert_array_equal(run.latents([7, 2], seed=6).c, drawn[[7, 2]])
    np.testing.assert_array_equal(run.sample([7, 2], seed=6), run.sample(8, seed=6)[[7, 2]])
    seeds = [run.latents(8, seed=seed).c for seed in (0, 1)]
    np.testing.assert_array_equal(run.latents(8).c, seeds[0])
    np.testing.assert_array_equal(run.sample(8), run.sample(8, seed=0))
    assert (seeds[0] != seeds[1]).any()
    own = np.float32([1, 2, 3])
    np.testing.assert_array_equal(run.latents(2, label=own).c, [own, own])
    monkeypatch.setattr(sample, "mix", lambda g, v, grid, layers, **options: (grid, layers, options))
    usual = {"seed": 0, "label": None, "psi": 1.0, "noise": None}
    for options, label in (({"seed": 6}, drawn[0]), ({}, label_vectors.drawn(vectors, 0, 1)[0]), ({"label": own}, own)):
        grid, layers, given = run.mix((1, 2), (0, 3), **options)
        np.testing.assert_array_equal(given["label"], label)
        assert (grid, layers, given | {"label": None}) == ((1, 2), (0, 3), usual | options | {"label": None})
    assert restore.Trained(g, v, {}, 0).mix((1, 2)) == ((1, 2), None, usual)
    for draw in (run.sample, run.latents):
        with pytest.raises(UserError, match="n is -1; ask for at least one image"):
            draw(-1)


def test_batch_norms_statistics_are_of_the_runs_vectors_and_truncation(run, tmp_path, monkeypatch):
    shutil.copytree(run[0], tmp_path / "run")
    vectors, config = np.ones((5, 3), np.float32), json.loads((run[0] / "config.json").read_text())
    label_vectors.write(tmp_path / "run", vectors)
    (tmp_path / "run" / "config.json").write_text(json.dumps(config | {"settings": {"standing": 7}}))
    seen = []
    monkeypatch.setattr(sample, "standing", lambda g, v, n, **options: seen.append((n, options)) or {"n": len(seen)})
    trained = restore.load(tmp_path / "run")
    assert trained.truncated(1.0) is trained and trained.variables == {"n": 1}
    assert trained.truncated(0.5).variables == {"n": 2} and trained.truncated(1.0, 2.0).variables == {"n": 3}
    assert [(n, given.pop("vectors").tolist()) for n, given in seen] == [(7, vectors.tolist())] * 3
    assert [given for _, given in seen] == [{}, {"psi": 0.5, "threshold": None}, {"psi": 1.0, "threshold": 2.0}]
    (tmp_path / "run" / "config.json").write_text(json.dumps({k: v for k, v in config.items() if k != "settings"}))
    assert restore.load(tmp_path / "run").standing == 0 == seen[-1][0]  # of before there were such


def test_options_are_handed_on(monkeypatch):
    run, handed = restore.Trained("g", "v", {}, 0), lambda *given, **options: (given, options)
    monkeypatch.setattr(latents, "images", handed)
    assert run.images("codes", noise="const", transform="t") == (("g", "v", "codes"), {"noise": "const", "transform": "t"})
    monkeypatch.setattr(translate, "one_way", lambda g, v, reverse: (f"{g}{reverse}", v))
    monkeypatch.setattr(translate, "translate", handed)
    options = {"seed": 3, "first": 2, "same": True}
    assert run.translate("x", reverse=True, **options) == (("gTrue", "v", "x"), options)
    assert run.translate("x") == (("gFalse", "v", "x"), {"seed": 0, "first": 0, "same": False})
    judge = lambda out: restore.Critic(
        SimpleNamespace(apply=lambda *given, train: (seen.append((given, train)), out)[1]), "v", {}, 0
    )
    seen = []
    x = np.zeros((1, 2), np.float32)
    assert judge("logits").judge(x, "c").logits == "logits" and judge(("logits", "classes")).judge(x).classes == "classes"
    assert seen == [(("v", x, "c"), False), (("v", x, None), False)]


def test_a_stage_lasts_until_the_next_one_begins():
    starts = [0.0, 0.08, 0.24]
    assert [restore.stage_at(starts, kimg) for kimg in (-0.01, 0.0, 0.079, 0.08, 0.239, 0.24, 9.0)] == [0, 0, 0, 1, 1, 2, 2]
    stages = [{"start_kimg": start, "generator": i, "discriminator": 10 + i} for i, start in enumerate(starts)]
    config = {"settings": {"batch": 8}, "generator": 2, "discriminator": 12, "stages": stages}
    made_by = lambda step, who, config=config: restore._described(config, step, who)
    assert [made_by(step, "generator") for step in (0, 1, 10, 11, 30, 31)] == [0, 0, 0, 1, 1, 2]  # step 11 begins at 0.08 kimg
    assert made_by(11, "discriminator") == 11
    assert made_by(10, "generator", config | {"stages": stages[:2]}) == 0
    assert made_by(1, "generator", config | {"stages": stages[:1]}) == 2  # what does not grow is the last one
    assert made_by(1, "generator", {"generator": 5}) == 5  # nor does a run of before there were stages


def test_what_is_no_run_is_one_line(run, tmp_path):
    wrong = ('{"jaxgan": "0", "generator": 2}', '{"jaxgan": "0", "generator": {}, "settings": []}', "[" * 10**5)
    for text in (None, "", "[1, 2]", '{"jaxgan": "0"}', "{", *wrong):
        if text is not None:
            (tmp_path / "config.json").write_text(text)
        for load in (restore.load, restore.load_discriminator, restore.read_config):
            with pytest.raises(UserError, match="not a run directory of jaxgan") as e:
                load(tmp_path)
            assert str(e.value).startswith(str(tmp_path)) and "\n" not in str(e.value)
    (tmp_path / "config.json").write_text((run[0] / "config.json").read_text())
    with pytest.raises(UserError, match="there is no checkpoint here yet"):
        restore.load(tmp_path)
    (tmp_path / "checkpoints" / "12").mkdir(parents=True)
    for path, which in ((f"{tmp_path}@best", "best"), (tmp_path / "checkpoints" / "12", "12")):
        with pytest.raises(UserError, match=f"give the run directory, {tmp_path}, and --checkpoint {which} "):
            restore.load(path)
    (tmp_path / "g.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match="a weight file holds only a generator; give a run directory"):
        restore.load_discriminator(tmp_path / "g.safetensors")
    for name, value in (("checkpoint", "best"), ("average", 0.1), ("generator", mlp.Generator)):
        with pytest.raises(UserError, match=f"g.safetensors: a weight file holds one generator; leave out {name}"):
            restore.load(tmp_path / "g.safetensors", **{name: value})
    wrong = mlp.Discriminator(SHAPE, widths=(3, 3))
    with pytest.raises(UserError, match=f"{run[0]}: .* has the shape"):
        restore.load_discriminator(run[0], discriminator=wrong)
