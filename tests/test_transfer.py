"""Fine-tuning: which arrays of trained networks a run starts from, what it refuses, and that it resumes without them."""

import dataclasses
import functools
import json
import re
import shutil
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from experiments.configs import CONFIGS, growing
from jaxgan import (
    checkpoint,
    convert,
    description,
    plan,
    provenance,
    recipes,
    resample,
    restore,
    run,
    sample,
    state,
    tensors,
    transfer,
    weights,
)
from jaxgan import game as games
from jaxgan.errors import UserError
from jaxgan.models import biggan, cyclegan, pix2pix, progan, r3gan, resnet, sngan, stylegan, stylegan2, stylegan3
from jaxgan.models import residual as small
from jaxgan.settings import Design
from tests import commands
from tests.commands import assert_equal, final_state

PICKLE = Path(__file__).parent / "golden" / "r3gan.pkl"
TINY = {"batch": 4, "kimg": 0.04, "tick_kimg": 0.02, "snapshot_kimg": 0.02, "ema_kimg": 2.0}
FROZEN = ("g/Dense_1/*", "d/Dense_0*")
ARGS = ["gan", *(word for name, value in TINY.items() for word in (f"--{name.replace('_', '-')}", value))]


shapes = functools.cache(weights.shapes)


def filled(module, seed=0):
    """Variables with every array drawn anew, so that none of them is an initial value."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda a: np.asarray(rng.normal(size=a.shape), a.dtype), shapes(module))


def networks(generator, discriminator=None, **kept):
    """Trained networks of these modules: g, d and the average all differ."""
    described = lambda module: module and json.loads(json.dumps(description.describe(module), default=repr))
    d = discriminator and filled(discriminator, 1)
    named = transfer.Networks("there", described(generator), filled(generator), filled(generator, 2)["params"])
    return named._replace(discriminator=described(discriminator), d=d, **kept)


def fitted(theirs, ours):
    """{path: array} that a generator takes, and the line that is said."""
    start = transfer.fit(networks(theirs), ours, small.Discriminator((8, 8, 1)))
    return start.arrays["g"], start.said


# Which arrays fit.


def test_other_classes_keep_all_but_what_knows_the_class():
    make = partial(small.Generator, (8, 8, 1), width=4)
    taken, said = fitted(make(classes=10), make(classes=3))
    every = transfer.by_path(shapes(make(classes=3)))
    assert set(every) - set(taken) == {"params/Embed_0/embedding"}
    assert f"generator {len(every) - 1} of {len(every)} arrays (fresh: params/Embed_0/embedding)" in said
    theirs = transfer.by_path(filled(make(classes=10)))
    assert all(np.array_equal(a, theirs[path]) for path, a in taken.items())


def test_only_the_same_path_and_shape_fit_and_become_our_dtype():
    ours = {"params": {"a": {"kernel": np.zeros((2, 3), np.float32), "bias": np.zeros(3, np.float32)}, "b": np.zeros(4)}}
    theirs = {"params": {"a": {"kernel": np.ones((3, 2)), "bias": np.arange(3.0)}, "c": np.ones(4)}}
    taken = transfer.fitting(ours, theirs)
    assert set(taken) == {"params/a/bias"} and taken["params/a/bias"].dtype == np.float32
    np.testing.assert_array_equal(taken["params/a/bias"], [0, 1, 2])


def test_colour_for_grey_changes_the_last_layer_alone():
    taken, _ = fitted(stylegan2.Generator((8, 8, 1), **SMALL), stylegan2.Generator((8, 8, 3), **SMALL))
    fresh = set(transfer.by_path(shapes(stylegan2.Generator((8, 8, 3), **SMALL)))) - set(taken)
    assert fresh == {f"params/{b}/torgb/{leaf}" for b in ("b4", "b8") for leaf in ("kernel", "bias")}


def test_spectral_vectors_come_with_their_kernel_or_not_at_all():
    make = lambda classes: sngan.Discriminator((8, 8, 1), classes, width=2)
    taken = transfer.fitting(shapes(make(3)), filled(make(5)))
    head = [path for path in taken if "class_vectors" in path]
    assert not head and "spectral/head/logit/norm/vectors/u" in taken and "params/head/logit/kernel" in taken
    here, there = (transfer.by_path(shapes(make(n))) for n in (3, 5))
    path = "spectral/head/class_vectors/norm/vectors/u"
    assert here[path].shape == there[path].shape  # by its shape alone it would be taken, beside another's kernel


def test_batch_norms_statistics_are_of_its_input_and_come_where_its_class_tables_do_not():
    make = lambda classes: resnet.Generator((8, 8, 1), classes, width=2)
    taken = transfer.fitting(shapes(make(3)), filled(make(5)))
    every = transfer.by_path(shapes(make(3)))
    stats = {path for path in every if path.startswith("batch_stats/")}
    assert stats and stats <= set(taken) and set(every) - set(taken) and len(taken) > len(stats)


def test_twice_the_size_begins_as_the_enlarged_network():
    """R3GAN's new blocks start as their skip path, and its 1x1 to and from the image commute with resampling."""
    fields = {"z_dim": 5, "channels": (6, 6), "blocks": (1, 1)}, {"z_dim": 5, "channels": (6, 6, 6), "blocks": (1, 1, 2)}
    low, high = (r3gan.Generator((n, n, 2), **f) for n, f in zip((8, 16), fields, strict=True))
    for f in fields:
        del f["z_dim"]
    low_d, high_d = (r3gan.Discriminator((n, n, 2), **f) for n, f in zip((8, 16), fields, strict=True))
    source = networks(low, low_d)
    start = transfer.fit(source, high, high_d)
    z, x = (np.random.default_rng(n).normal(size=size).astype(np.float32) for n, size in enumerate([(3, 5), (3, 16, 16, 2)]))

    @jax.jit
    def outputs(seed, arrays, g, d):
        made = transfer.begin(seed, *games.init(high, high_d, seed), recipes.r3gan(batch=4), arrays)
        of_g = high.apply({"params": made.g.params}, z), resample.upsample(low.apply(g, z))
        return of_g, (high_d.apply({"params": made.d.params}, x), low_d.apply(d, resample.downsample(x)))

    for got, want in outputs(0, start.arrays, source.g, source.d):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5 * np.abs(want).max())


SMALL = {"z_dim": 4, "w_dim": 4, "channel_base": 32, "channel_max": 4, "mapping_layers": 2}
SIZES = {"channel_base": 32, "channel_max": 4}
SAME = [
    (stylegan2.Generator((8, 8, 1), **SMALL), stylegan2.Generator((16, 16, 1), **SMALL, clamp=None)),
    (stylegan3.Generator((8, 8, 1), **SMALL), stylegan3.Generator((8, 8, 1), 3, **SMALL, magnitude_average=0.5)),
    (progan.Generator((8, 8, 1), z_dim=4, **SIZES), progan.Generator((16, 16, 1), z_dim=4, stage=1, **SIZES)),
    (r3gan.Generator((8, 8, 1), channels=(4, 4)), r3gan.Generator((16, 16, 1), channels=(4, 4, 2), blocks=(1, 2, 1))),
    (resnet.Generator((8, 8, 1), width=2), resnet.Generator((8, 8, 1), 3, width=2, dtype=jnp.bfloat16)),
    (cyclegan.Generator((8, 8, 2), width=2, blocks=1), cyclegan.Generator((10, 13, 6), width=2, blocks=1)),
    (pix2pix.Generator((8, 8, 1), 1, width=2), pix2pix.Generator((8, 8, 1), 3, width=2, dropout=0.0)),
]
OTHER = [
    (small.Generator((8, 8, 1)), r3gan.Generator((8, 8, 1)), "residual.Generator, and here r3gan.Generator"),
    (small.Generator((8, 8, 1), width=4), small.Generator((16, 16, 1), width=4), "images of 8x8 there and 16x16 here"),
    (small.Generator((8, 8, 1), patch=2), small.Generator((8, 8, 1)), "patch=2 there and 1 here"),
    (small.Generator((8, 8, 1), blocks=(1, 2)), small.Generator((8, 8, 1), blocks=(2, 1)), "blocks=[1, 2] there and [2, 1]"),
    (small.Generator((8, 8, 1), width=4), small.Generator((8, 8, 1), width=6), "width=4 there and 6 here; . of its arrays fit"),
    (
        r3gan.Generator((8, 8, 1), channels=(8, 4)),
        r3gan.Generator((8, 8, 1), channels=(4, 4)),
        "channels=[8, 4] there and [4, 4]",
    ),
    (
        stylegan2.Generator((8, 8, 1), **SMALL),
        stylegan2.Generator((16, 16, 1), **SMALL | {"channel_base": 16}),
        "draws noise; where the config has it, give --channel-base 32",
    ),
    (r3gan.Generator((16, 16, 1)), r3gan.Generator((28, 28, 1)), "images of 16x16 there and 28x28 here"),
    (stylegan2.Generator((8, 8, 1), **SMALL), stylegan2.Generator((8, 8, 1), **SMALL | {"mapping_layers": 4}), "mapping_layers"),
    (stylegan2.Generator((8, 8, 1), **SMALL), stylegan2.Generator((8, 8, 1), **SMALL, mapping_lr=1.0), "mapping_lr=0.01 there"),
    (stylegan.Generator((8, 8, 1), **SMALL), stylegan.Generator((16, 16, 1), **SMALL), "images of 8x8 there and 16x16 here"),
    (stylegan3.Generator((8, 8, 1), **SMALL), stylegan3.Generator((8, 8, 1), **SMALL, radial=True), "radial=False there"),
    (cyclegan.Generator((8, 8, 2), width=2), cyclegan.Generator((8, 8, 2), width=2, blocks=6), "blocks=9 there and 6 here"),
    (biggan.Generator((8, 8, 1), width=2, attention=(8,)), biggan.Generator((8, 8, 1), width=2), "attention=[8] there and None"),
]


@pytest.mark.parametrize("theirs, ours", SAME, ids=lambda m: type(m).__module__)
def test_where_a_name_is_the_same_layer(theirs, ours):
    taken = fitted(theirs, ours)[0]
    assert len(taken) > len(transfer.by_path(shapes(theirs))) / 2


@pytest.mark.parametrize("theirs, ours, said", OTHER, ids=[case[2] for case in OTHER])
def test_networks_whose_names_mean_other_layers_are_refused(theirs, ours, said):
    with pytest.raises(UserError, match=said.replace("[", r"\[").replace("]", r"\]")) as e:
        fitted(theirs, ours)
    assert str(e.value).startswith("there: ") and "generator" in str(e.value) and "\n" not in str(e.value)


class Own(small.Generator):
    """A network from elsewhere, with a field that JSON does not have."""

    kinds: frozenset = frozenset({1})


def test_what_an_unconditional_discriminator_would_do_with_labels_is_no_difference():
    """The authors' G has --map-depth layers, their D always 8, of which it has none without labels."""
    make = lambda classes, layers: stylegan2.Discriminator((8, 8, 1), classes, **SIZES, mapping_layers=layers)
    g = stylegan2.Generator((8, 8, 1), **SMALL)
    assert len(transfer.fit(networks(g, make(0, 8)), g, make(0, 2)).arrays["d"]) == len(transfer.by_path(shapes(make(0, 2))))
    transfer.fit(networks(g, make(0, 8)), g, make(3, 2))
    with pytest.raises(UserError, match="the discriminator has mapping_layers=8 there and 2 here"):
        transfer.fit(networks(g, make(3, 8)), g, make(3, 2))


def test_fields_of_any_type_are_compared():
    fitted(Own((8, 8, 1), width=4), Own((8, 8, 1), width=4))
    with pytest.raises(UserError, match=re.escape("kinds=frozenset({1}) there and frozenset({2}) here")):
        fitted(Own((8, 8, 1), width=4), Own((8, 8, 1), width=4, kinds=frozenset({2})))


def test_a_discriminator_of_another_kind_and_numbers_that_are_none():
    g, d = small.Generator((8, 8, 1), width=4), small.Discriminator((8, 8, 1), width=4)
    with pytest.raises(UserError, match="the discriminator there is r3gan.Discriminator, and here residual.Discriminator"):
        transfer.fit(networks(g, r3gan.Discriminator((8, 8, 1))), g, d)
    source = networks(g, d)
    source.d["params"]["Conv_0"]["kernel"][0] = np.nan
    with pytest.raises(UserError, match="d/params/Conv_0/kernel holds NaN"):
        transfer.fit(source, g, d)


def test_the_digest_is_of_every_array_and_its_name():
    arrays = {"g": {"a": np.zeros(2), "b": np.ones(3)}, "d": {"a": np.zeros(2)}}
    others = [
        {"g": {"a": np.zeros(2), "b": np.array([1, 1, 1.5])}, "d": {"a": np.zeros(2)}},
        {"g": {"a": np.zeros(2), "c": np.ones(3)}, "d": {"a": np.zeros(2)}},
        {"g": {"a": np.zeros(2), "b": np.ones(3)}, "ema": {"a": np.zeros(2)}},
        {"g": {"a": np.zeros(2), "b": np.ones((1, 3))}, "d": {"a": np.zeros(2)}},
    ]
    again = {"d": {"a": np.zeros(2)}, "g": {"b": np.ones(3), "a": np.zeros(2)}}
    assert provenance.weights(again) == provenance.weights(arrays)
    assert len({provenance.weights(one) for one in [arrays, *others]}) == 5


# Files.


@pytest.fixture(scope="module")
def first():
    """The first state of a design of golden/r3gan.pkl's networks, from given arrays; compiled once a structure."""
    fields = {"channels": (8, 6), "cardinality": (4, 3), "blocks": (1, 2)}
    pair = r3gan.Generator((8, 8, 3), z_dim=5, **fields), r3gan.Discriminator((8, 8, 3), **fields)
    recipe = recipes.r3gan(batch=4)._replace(posthoc=(0.05, 0.1), carry={"p": 0.25})
    design = Design(*pair, None, recipe)
    settings = dataclasses.replace(CONFIGS["gan"], seed=3)
    return design, lambda start: run.fresh(settings, design, start.arrays)


def test_an_official_pickle_lands_in_g_d_and_the_average(first, monkeypatch):
    design, begin = first
    found = tensors.read(PICKLE)
    double = lambda path, a: 2 * a if "['parameters']" in jax.tree_util.keystr(path) and isinstance(a, np.ndarray) else a
    parts = found | {"G": jax.tree_util.tree_map_with_path(double, found["G_ema"])}
    monkeypatch.setattr(tensors, "read", lambda path: parts)
    start = transfer.start(str(PICKLE), (design,))
    assert "fresh" not in start.said and "discriminator" in start.said
    made = begin(start)
    for tree, part in ((made.g.params, "G"), (made.d.params, "D"), (made.ema, "G_ema")):
        want = convert.load_official(PICKLE, part)[1]["params"]
        jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b, strict=True), jax.tree.map(np.asarray, tree), want)
    assert not np.array_equal(made.g.params["basis"], made.ema["basis"])
    # All else as in a run that starts at random.
    want = state.create(3, {"params": made.g.params}, {"params": made.d.params}, design.recipe)
    jax.tree.map(
        np.testing.assert_array_equal,
        (made.step, made.key, made.g.opt, made.d.opt, made.averages, made.carry),
        (want.step, want.key, want.g.opt, want.d.opt, want.averages, want.carry),
    )
    assert set(made.averages) == {"0.05", "0.1"} and float(made.carry["p"]) == 0.25


def test_a_safetensors_is_a_generator_alone(first, tmp_path):
    generator, path = first[0].generator, str(tmp_path / "g.safetensors")
    variables = filled(generator)
    convert.save_safetensors(path, generator, variables)
    start = transfer.start(path, (first[0],))
    assert "no discriminator there, so it starts at random" in start.said and start.arrays["d"] == {}
    for who in ("g", "ema"):
        assert_equal(start.arrays[who], transfer.by_path(variables))


@pytest.mark.parametrize(
    "name, content, said",
    [
        ("nowhere", None, "there is no such run directory or weight file"),
        ("g.pkl@best", b"x", "leave @best out"),
        ("g.pkl", b"x", "neither a pickle"),
        (".", None, "not a run directory of jaxgan"),
    ],
)
def test_what_cannot_be_read_is_one_line(first, tmp_path, name, content, said):
    if content:
        (tmp_path / name.partition("@")[0]).write_bytes(content)
    with pytest.raises(UserError, match=said) as e:
        transfer.start(str(tmp_path / name), (first[0],))
    assert str(e.value).startswith(f"--init {tmp_path}") and "\n" not in str(e.value)


def test_networks_that_grow_begin_at_the_full_size():
    config = growing.ProGAN(size=(8, 8), stable_kimg=1.0, fade_kimg=1.0)
    with pytest.raises(UserError, match="give --first 1"):
        transfer.start("nowhere", config.design((8, 8, 1), 0))
    assert isinstance(dataclasses.replace(config, first=1).design((8, 8, 1), 0), tuple)
    with pytest.raises(UserError, match="no such run"):
        transfer.start("nowhere", dataclasses.replace(config, first=1).design((8, 8, 1), 0))


def test_what_is_frozen_is_named_and_a_wrong_name_is_answered_with_the_right_ones():
    stages = (CONFIGS["gan"].design((8, 8, 1), 0),)
    frozen, said = transfer.freeze(("d/Dense_0/*", "d/Dense_1/bias"), stages)
    assert said == "frozen: 3 of 6 arrays of D"
    assert frozen[0].recipe.tx["g"] is stages[0].recipe.tx["g"]
    with pytest.raises(UserError, match=r"--freeze d/Dense_7/\*: no parameter .* g/Dense_0, .*, d/Dense_1, d/head$"):
        transfer.freeze(("d/Dense_0/*", "d/Dense_7/*"), stages)
    growing_stages = growing.ProGAN(size=(8, 8), stable_kimg=1.0, fade_kimg=1.0).design((8, 8, 1), 0)
    last = [path for path in transfer.by_path(shapes(growing_stages[-1].discriminator)["params"])]
    assert transfer.freeze((f"d/{last[-1]}",), growing_stages)[1].startswith("frozen: 1 of")


# Runs.


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run, and one that starts from it and made two checkpoints."""
    folder = tmp_path_factory.mktemp("runs")
    for name, more in (("source", []), ("tuned", ["--init", folder / "source", "--freeze", *FROZEN])):
        code, out, err = commands.run("train", *ARGS, *more, "--run-dir", folder / name)
        assert code == 0, err
    return folder, out


def prepared(folder, **fields):
    fields = TINY | {"run_dir": str(folder / "new"), "init": str(folder / "source")} | fields
    chosen = dataclasses.replace(CONFIGS["gan"], **fields)
    return plan.prepare("gan", chosen, chosen.design)


@pytest.mark.slow
def test_at_step_0_it_draws_what_the_source_draws(trained):
    folder, out = trained
    ready = prepared(folder)
    assert f"from {folder / 'source'} at step 10: generator" in out and ready.start.said in out
    assert "\n0 kimg  swd" in out
    first, last = (Image.open(folder / at) for at in ("tuned/samples/kimg000000.000.png", "source/samples/kimg000000.040.png"))
    assert np.array_equal(first, last) and first.text["jaxgan"] != last.text["jaxgan"]
    made = run.fresh(ready.settings, ready.stages[0], ready.start.arrays)
    source = final_state(folder / "source")
    wanted = [(made.g.params, source["training"]["g"]["params"]), (made.d.params, source["training"]["d"]["params"])]
    for ours, theirs in [*wanted, (made.ema, source["generator"]["params"])]:
        assert_equal(jax.tree.map(np.asarray, ours), theirs)
    images = sample.sample(ready.stages[0].generator, state.generator_variables(made), 4, seed=7)
    np.testing.assert_array_equal(images, restore.load(folder / "source").sample(4, seed=7))
    early = prepared(folder, init=f"{folder / 'source'}@5").start
    assert "at step 5" in early.said and early.digest != ready.start.digest
    assert prepared(folder, init=f"{folder / 'source'}@latest").start.digest == ready.start.digest
    _, want, _, _ = checkpoint.load_players(folder / "source" / "checkpoints", 5)
    np.testing.assert_array_equal(early.arrays["g"]["params/Dense_0/kernel"], want["params"]["Dense_0"]["kernel"])


@pytest.mark.slow
def test_what_is_frozen_stays_as_it_was(trained):
    folder, out = trained
    assert "frozen: 2 of 6 arrays of G, 2 of 6 arrays of D" in out
    source, tuned = (final_state(folder / name) for name in ("source", "tuned"))
    for player in "gd":
        old, new = (transfer.by_path(run["training"][player]["params"]) for run in (source, tuned))
        for path, array in old.items():
            still = any(f"{player}/{path}".startswith(pattern.rstrip("*")) for pattern in FROZEN)
            assert np.array_equal(array, new[path]) == still, (player, path)


@pytest.mark.slow
def test_it_resumes_to_the_same_bits_without_the_source(trained, tmp_path):
    whole, moved = trained[0] / "tuned", tmp_path / "source"
    shutil.copytree(whole, tmp_path / "tuned")
    config = json.loads((tmp_path / "tuned" / "config.json").read_text())
    assert config["init"]["path"] == config["settings"]["init"] == str(trained[0] / "source")
    config["settings"]["init"] = config["init"]["path"] = str(moved)  # where nothing is
    (tmp_path / "tuned" / "config.json").write_text(json.dumps(config))
    shutil.rmtree(tmp_path / "tuned" / "checkpoints" / "10")
    args = [*ARGS, "--run-dir", tmp_path / "tuned", "--freeze", *FROZEN, "--init"]
    code, _, err = commands.run("train", *args, trained[0] / "source")
    assert code == 2 and f"init was {moved}, is {trained[0] / 'source'}" in err, err
    code, out, err = commands.run("train", *args, moved)
    assert code == 0 and "resuming at 0.02 kimg" in out and "generator" not in out, err
    assert_equal(final_state(whole), final_state(tmp_path / "tuned"))
    assert json.loads((tmp_path / "tuned" / "config.json").read_text())["init"] == config["init"]


@pytest.mark.slow
def test_a_forced_init_changes_nothing_and_an_old_config_has_none(trained, tmp_path, capsys):
    shutil.copytree(trained[0] / "tuned", tmp_path / "tuned")
    path = tmp_path / "tuned" / "config.json"
    ready = prepared(trained[0], run_dir=str(tmp_path / "tuned"), init="elsewhere", resume="force", freeze=FROZEN)
    assert "is elsewhere, not read: the weights are in the checkpoint" in capsys.readouterr().out
    assert ready.start is None and ready.config["init"] == json.loads(path.read_text())["init"]
    assert ready.config["settings"]["init"] == str(trained[0] / "source")
    config = json.loads(path.read_text())
    del config["init"], config["settings"]["init"], config["settings"]["freeze"]  # of a version before this one
    path.write_text(json.dumps(config))
    assert prepared(trained[0], run_dir=str(tmp_path / "tuned"), init=None).start is None


@pytest.mark.slow
def test_what_does_not_fit_leaves_nothing_and_a_start_without_a_checkpoint_reads_again(trained, tmp_path):
    with pytest.raises(UserError, match=r"^--init .*source at step 10: the generator has images of 28x28 there and 8x8 here"):
        prepared(trained[0], run_dir=str(tmp_path / "run"), size=(8, 8))
    assert not (tmp_path / "run").exists()
    (tmp_path / "run").mkdir()
    shutil.copy(trained[0] / "tuned" / "config.json", tmp_path / "run")  # killed before its first checkpoint
    again = prepared(trained[0], run_dir=str(tmp_path / "run"))
    assert again.start.digest == json.loads((tmp_path / "run" / "config.json").read_text())["init"]["digest"]
