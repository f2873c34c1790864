"""What a config from Python may say: mistakes that the command line would not have let through are said before a run starts."""

import contextlib
import dataclasses
import importlib.util
import inspect
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.configs import CONFIGS
from jaxgan import config_file, data, description, feed, parallel, plan, schedules, terms
from jaxgan.errors import UserError
from jaxgan.method import Recipe, alternating
from jaxgan.settings import Settings, check_numbers

IMAGES = np.random.default_rng(0).integers(0, 256, (64, 8, 8, 1), np.uint8)
SOURCE = data.of_arrays(IMAGES)
LABELLED = data.of_arrays(IMAGES, np.arange(64) % 4)


@dataclasses.dataclass(frozen=True)
class Own(Settings):
    held: object = SOURCE
    free: Any = 1

    def open_data(self, progress):
        return self.held


@pytest.mark.parametrize(
    "fields, says",
    [
        ({"dtype": "float16"}, "--dtype 'float16': give one of float32, bfloat16"),
        ({"resume": "yes"}, "--resume 'yes': give one of auto, force, never"),
        ({"kimg": "1"}, "--kimg '1': give a number"),
        ({"batch": 8.0}, "--batch 8.0: give a whole number"),
        ({"metrics": "fd2k"}, "--metrics 'fd2k': give a tuple, .'fd2k',."),
        ({"kimg": -1}, "--kimg -1: it must be above 0"),
        ({"kimg": np.float32(-1)}, "--kimg -1.0: it must be above 0"),
        ({"size": [0, -8]}, "--size -8: it must be 0 or more"),
        ({"size": 28}, "--size 28: give a tuple.int, int. | None"),
        ({"size": (28,)}, "--size .28,.: give a tuple.int, int. | None"),
        ({"dtype": np.zeros(2)}, "--dtype array.*: give one of float32, bfloat16"),
        ({"size": (28.0, 28)}, "--size .28.0, 28.: give a tuple.int, int. | None"),
        ({"mirror": "no"}, "--mirror 'no': give True or False"),  # which is true
        ({"background": (0, 0, 0)}, "--background .0, 0, 0.: give text"),
        (
            {"data": np.zeros((2, 4, 4))},
            r"--data array\(\[\[\[0., .*: give text; arrays and Sources come from a method open_data",
        ),
    ],
)
def test_values_of_other_types_than_the_fields(fields, says):
    check_numbers(Own(kimg=np.float32(1), batch=np.int64(8), run_dir=Path("a"), size=[8, 8], metrics=["fd2k"]))
    with pytest.raises(UserError, match=says):
        check_numbers(Own(**fields))


def test_a_config_that_is_no_dataclass_would_have_the_defaults_of_another():
    class Short(Own):
        kimg: float = 1.0

    class Same(Own):
        def design(self, shape, classes):
            pass

    check_numbers(Same())
    with pytest.raises(UserError, match=r"Short has fields but is no dataclass: write @dataclasses.dataclass\(frozen=True\)"):
        check_numbers(Short())  # of 300 kimg


def test_what_the_methods_of_a_config_return_is_checked(tmp_path):
    own = Own(run_dir=str(tmp_path / "run"))
    with pytest.raises(UserError, match="open_data returned a ndarray; give a Source, such as data.of_arrays"):
        plan.prepare("own", dataclasses.replace(own, held=np.zeros((9, 8, 8, 1), np.uint8)), None)
    with pytest.raises(UserError, match="--batch 68 is larger than the data: arrays has 64 images"):  # not `data`, "digits"
        plan.prepare("own", dataclasses.replace(own, batch=68), None)
    for wrong in ((1, 2), None, ()):
        with pytest.raises(UserError, match="design returned .* give a jaxgan.settings.Design, or a tuple"):
            plan.prepare("own", own, lambda shape, classes, wrong=wrong: wrong)
    assert not list(tmp_path.iterdir())


def prepared(tmp_path, **fields):
    """The plan of a small run on `SOURCE`, or on what is `held`, in a directory that is not there."""
    own = Own(**{"run_dir": str(tmp_path / "run"), "batch": 8} | fields)
    of_recipe = {"batch": own.batch, "accum": own.accum, "width": 2}
    return plan.prepare("own", own, dataclasses.replace(CONFIGS["gan"], **of_recipe).design)


def test_a_run_with_the_datas_classes_is_measured_by_them(tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr(plan, "ready", lambda names, source, show: given.append((names, source)))
    config = dataclasses.replace(CONFIGS["objective"], batch=8, width=4, patch=2, penalty=(), augment=())
    own = Own(run_dir=str(tmp_path / "run"), batch=8, metrics=("acc",), held=LABELLED, conditional="yes")
    plan.prepare("own", own, config.design)
    assert given == [(("acc",), LABELLED)]
    with pytest.raises(UserError, match="acc10k is of images .* and the run has none such"):
        plan.prepare("own", dataclasses.replace(own, conditional="no"), config.design)


@pytest.mark.parametrize(
    "fields, says",
    [
        ({"seed": 2**32}, r"--seed 4294967296: it must be in \[0, 2\^32\)"),
        ({"tensorboard": True}, "--tensorboard needs tensorboardX: pip install"),
        ({"posthoc": (0.1, 0.1)}, "--posthoc 0.1: averages are made from two widths"),
        ({"hold_out": 5}, "--hold-out 5: this recipe uses none"),
        ({"hold_out": 64}, "--hold-out 64: arrays has 64 images; leave some to train on"),
        ({"jitter": 9}, "--jitter 9: the images are 8x8; give 8 or less"),
        ({"batch": 68}, "--batch 68 is larger than the data: arrays has 64 images; give --batch 64 or less"),
        ({"conditional": "yes"}, "--conditional yes: arrays has no labels"),
        ({"batch": 9, "held": None}, "--batch 9 does not divide by 4 devices"),  # before the data are read
        ({"held": SOURCE._replace(n=1)}, "arrays: 1 image.s.; a set needs at least two"),
        (
            {"held": SOURCE._replace(inputs=SOURCE._replace(shape=(8, 8, 3)))},
            r"read as uint8 \(8, 8, 1\), not as uint8 \(8, 8, 3",
        ),
        ({"metrics": ("fd2k", "acc"), "held": LABELLED}, "acc10k is of images that were made for .* and the run has none such"),
        ({"steps_per_call": 2, "resident": "no"}, "--steps-per-call 2: images are streamed"),
        ({"steps_per_call": 3, "tick_kimg": 0.016}, "--steps-per-call 3: there are 2 steps from tick to tick"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_written(tmp_path, monkeypatch, fields, says):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=says) as e:
        prepared(tmp_path, **fields)
    assert "\n" not in str(e.value) and not list(tmp_path.iterdir())


def test_what_is_just_possible(tmp_path, monkeypatch):
    for fields in ({"seed": 2**32 - 1, "jitter": 8, "batch": 64}, {"batch": 128, "mirror": True, "steps_per_call": 2}):
        assert prepared(tmp_path, **fields).settings.batch == fields["batch"]
    posthoc = prepared(tmp_path, posthoc=(0.05, 0.1), held=data.of_arrays(IMAGES, np.arange(64) % 2), conditional="yes")
    assert posthoc.stages[0].recipe.posthoc == (0.05, 0.1) and posthoc.source.classes == 2
    monkeypatch.chdir(tmp_path)
    assert prepared(tmp_path, run_dir="").directory == Path("runs/own")
    monkeypatch.setattr(feed, "RESIDENT_BYTES", 64 * 64 * 4 - 1)  # a CPU's devices share its memory
    with pytest.raises(UserError, match="images are streamed"):
        prepared(tmp_path, steps_per_call=2)
    assert prepared(tmp_path, steps_per_call=2, resident="yes").source.n == 64


def test_the_config_says_what_is_trained_and_on_what(tmp_path):
    labelled = data.of_arrays(IMAGES, np.arange(64) % 2, class_names=("cats", "clocks"))
    for conditional, classes, names in (("auto", 2, ["cats", "clocks"]), ("no", 0, [])):
        ready = prepared(tmp_path, held=labelled, conditional=conditional)
        assert (ready.source.labels is None) == (classes == 0) and ready.source.classes == classes
        assert list(ready.source.class_names) == names
        less = "; trained without the labels (--conditional no)" * (not names)
        assert ready.data == f"arrays: 64 images of 8x8x1, 2 classes (cats, clocks){less}"
        found = ready.config
        assert found["data"] == {
            **{"name": "arrays", "images": 64, "shape": [8, 8, 1], "inputs": None, "classes": classes, "class_names": names},
            **{"fingerprint": labelled.fingerprint, "skipped": []},
        }
        assert found["generator"]["fields"]["classes"] == classes and len(found["stages"]) == 1 and found["init"] is None
        assert found["stages"][0] == {"start_kimg": 0.0, **{who: found[who] for who in ("generator", "discriminator")}}
        assert json.loads(json.dumps(found)) == found and found["settings"]["batch"] == 8  # also what `held` is: any type
        assert {"d/adv", "g/adv"} <= set(ready.names) and (ready.start, ready.frozen, ready.meter) == (None, "", None)
    assert not list(tmp_path.iterdir())
    told = plan._data(SOURCE._replace(inputs=SOURCE, sides=(SOURCE, SOURCE)), Own(hold_out=5))
    assert told.endswith("unpaired; 5 of each held out (--hold-out)")


def test_a_recipe_of_other_numbers_than_the_settings(tmp_path):
    design = dataclasses.replace(CONFIGS["gan"], batch=8).design
    for fields, says in (
        ({"batch": 16}, r"\(8, 1\), the settings' \(16, 1\)"),
        ({"batch": 8, "accum": 2}, r"settings' \(8, 2\)"),
    ):
        with pytest.raises(UserError, match=says):
            plan.prepare("own", Own(run_dir=str(tmp_path / "run"), **fields), design)
    two = [dataclasses.replace(CONFIGS["wgan"], batch=8, n_critic=n).design((8, 8, 1), 0) for n in (1, 2)]
    with pytest.raises(UserError, match="all stages of a run must have the same slots"):
        plan.prepare("own", Own(run_dir=str(tmp_path / "run"), batch=8), lambda shape, classes: tuple(two))


def test_which_directories_are_runs(tmp_path):
    for name in ("photos [old]/run", "what?"):
        with pytest.raises(UserError, match=r"--run-dir .*: it is or lies in a folder with \[, \* or"):
            plan._check_directory(tmp_path / name, "auto")
    run, found = tmp_path / "run", plan._check_directory
    assert found(run, "auto") is None
    run.mkdir()
    for name in ("out.txt", "slurm-12.out", "slurm-12.err", ".nfs0001"):  # where the output goes, which is there first
        (run / name).write_text("")
    for name in (plan.LOCK, "config.json.7.part"):  # of a start that was killed at once
        (run / name).write_text("{")
    assert found(run, "never") is None
    config = {"jaxgan": "0", "generator": {}}
    (run / "config.json").write_text(json.dumps(config))
    assert found(run, "auto") == found(run, "force") == config
    with pytest.raises(UserError, match="holds a run already, and --resume is never; give another"):
        found(run, "never")
    (run / "config.json").write_text("{")
    for resume in ("auto", "force"):
        with pytest.raises(UserError, match="the folder is not empty and not a run of jaxgan"):
            found(run, resume)
    (run / "checkpoints").mkdir()
    with pytest.raises(UserError, match="its config.json is damaged; --resume force goes on"):
        found(run, "auto")
    assert found(run, "force") is None
    with pytest.raises(UserError, match="--run-dir .*xx: File name too long; give another"):
        found(tmp_path / ("x" * 256), "auto")
    with pytest.raises(UserError, match=f"--run-dir .*: {run}/config.json is a file, not a folder"):
        found(run / "config.json" / "deeper" / "still", "auto")
    with pytest.raises(
        UserError, match="--run-dir .*: a name that is not UTF-8 here; give another --run-dir, or set PYTHONUTF8=1"
    ):
        found(tmp_path / "r\udce4um", "auto")
    assert found(tmp_path / "räum", "auto") is None
    (tmp_path / "link").symlink_to("scratch")
    with pytest.raises(UserError, match=f"--run-dir .*: {tmp_path}/link is a link to scratch, which is not there; make it"):
        found(tmp_path / "link" / "run", "auto")


def test_all_that_says_how_images_are_read_is_handed_on():
    assert set(inspect.signature(data.open_source).parameters) == {"data", *Settings().how_to_open(None)}


def test_what_may_change_between_a_run_and_its_resumption():
    old = {"config": "a", "settings": {"lr": 1.0, "keep": 2, "b": [1, 2]}, "data": {"fingerprint": "x", "name": "n"}}
    old |= {"generator": {"family": "mlp", "fields": {"width": 4}}, "discriminator": {"family": "mlp"}, "devices": "1 x cpu"}
    changed = lambda **parts: config_file.changes(old, old | parts)
    with_settings = lambda **fields: changed(settings=old["settings"] | fields)
    assert changed() == changed(devices="8 x gpu") == changed(data={"fingerprint": "x", "name": "moved"}) == []
    assert with_settings(keep=3, run_dir="elsewhere") == [] and with_settings(lr=2.0) == ["lr was 1.0, is 2.0"]
    assert with_settings(freeze=[]) == with_settings(init=None) == []  # an older config lacks some
    assert with_settings(freeze=["d/*"]) == ["freeze was None, is ['d/*']"]
    assert changed(settings={"lr": 1.0, "keep": 2}) == ["b was [1, 2], is None"]
    assert changed(data={"fingerprint": "y"}) == ["data was x, is y"] and changed(config="b") == ["config was a, is b"]
    assert changed(data={"fingerprint": "y", "images": 3}) == ["data was x, is 3 images (y)"]
    wider = changed(generator={"family": "mlp", "fields": {"width": 6}}, discriminator={"family": "r3gan"})
    assert wider == ["generator.fields.width was 4, is 6", "discriminator.family was mlp, is r3gan"]
    assert changed(random="threefry2x32") == []
    old["random"] = "threefry2x32 partitionable"
    assert changed(random="threefry2x32") == ["JAX's random numbers was threefry2x32 partitionable, is threefry2x32"]
    now = json.loads(json.dumps(dataclasses.asdict(Settings())))
    older = old | {"settings": {name: value for name, value in now.items() if name not in ("fit", "posthoc")}}
    check = lambda **new: config_file.check_changes(Path("runs/a"), older, older | {"settings": now | new}, Settings())
    check()  # a run from before there were --fit and --posthoc
    with pytest.raises(UserError, match="^--init x.pkl: runs/a did not begin from trained networks; leave it out"):
        check(init="x.pkl")  # the averages and ADA of some configs are others then, so force does not help
    older["settings"]["init"] = "x.pkl"
    with pytest.raises(UserError, match="^runs/a began from x.pkl: give --init x.pkl too, which is not read again, or give"):
        check()
    older["settings"]["init"] = None
    own = dataclasses.make_dataclass("Own", [("net", type, dict)], bases=(Settings,), frozen=True)  # no value of JSON's
    config_file.check_changes(Path("runs/a"), older, older | {"settings": now | {"net": repr(dict)}}, own())
    with pytest.raises(UserError, match="another config: fit was crop, is pad. Give"):
        check(fit="pad")
    assert changed(recipe={"turn 1 of d": "1 adv"}) == []  # an older config has none
    old["recipe"] = {"turn 1 of d": "1 adv, on slots (0,)", "carry": ""}
    assert changed() == [] and with_settings(lr=2.0) == ["lr was 1.0, is 2.0"]  # which says why the weights differ
    assert changed(recipe=old["recipe"] | {"carry": "p"}) == ["carry was , is p"]


def test_a_recipe_is_described_as_far_as_it_is_data():
    lazy = terms.gradient_penalty("r1", "real", 0.5, every=4, share=2)
    d, g = terms.adversarial("d", "hinge"), terms.adversarial("g", "hinge", lambda kimg: kimg)
    recipe = Recipe(alternating([d, lazy], [g], n_critic=2), {}, 8, carry={"p": 0.0, "a": 1.0}, ema_kimg=schedules.constant(1.0))
    assert description.of_recipe(recipe) == {
        "turn 1 of d": "1 adv + 0.5 r1 every 4 of 1/2, on slots (0, 1)",
        "turn 2 of g": "scheduled adv, on slots (0,)",
        "ema_kimg": "scheduled",
        "carry": "a, p",
    }


def test_a_dtype_that_no_network_takes_is_refused():
    pair = lambda fields: SimpleNamespace(generator=SimpleNamespace(**fields), discriminator=None)
    made = lambda **fields: plan._check_dtype(pair(fields), "bfloat16")
    made(dtype=jnp.bfloat16)
    for fields in ({}, {"dtype": jnp.float32}):
        with pytest.raises(UserError, match="--dtype bfloat16: neither network has a field dtype that is this; let the design"):
            made(**fields)
    plan._check_dtype(SimpleNamespace(generator=None, discriminator=None), "float32")


def test_only_an_error_about_labels_is_said_to_be_of_label_vectors(monkeypatch):
    source = SimpleNamespace(name="set", labels=np.zeros((9, 3), np.float32), inputs=None, shape=(8, 8, 1))
    design = dataclasses.replace(CONFIGS["gan"], width=4, batch=4).design((8, 8, 1), 0)
    for said, kind in (("labels: float32 (4, 3); give integers", UserError), ("d/own: a term returns (loss", ValueError)):

        def raising(*_, said=said, **__):
            raise ValueError(said)

        monkeypatch.setattr(plan.step, "traced", raising)
        with pytest.raises(ValueError) as e:
            plan.trace(design, source)
        assert type(e.value) is kind and ("needs classes" in str(e.value)) == (kind is UserError)


def test_a_config_is_written_where_it_is_new(tmp_path):
    path = tmp_path / "run" / "config.json"
    config_file.write(path.parent, {"a": 1})
    first = path.stat()
    config_file.write(path.parent, {"a": 1})
    assert path.stat().st_ino == first.st_ino and json.loads(path.read_text()) == {"a": 1}
    config_file.write(path.parent, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 2}
    with pytest.raises(UserError, match=r"--run-dir .*: it cannot be written \("):
        config_file.write(path, {"a": 1})


def test_processes_that_would_not_train_the_same_are_told_apart(tmp_path, monkeypatch):
    shared = config_file.shared(prepared(tmp_path).config)
    assert "--seed" in shared and not {"--process", "--run-dir", "--data"} & set(shared) and len(shared["code of jaxgan"]) == 16
    alike = lambda **other: config_file.check_alike([json.dumps(shared), json.dumps(shared), json.dumps(shared | other)])
    alike()
    differ = {
        "--seed": 1,
        "data's fingerprint": "x",
        "version of jax": "0.9",
        "code of jaxgan": "y",
        "generator": {},
        "number of devices": 3,
    }
    for name, value in differ.items():
        with pytest.raises(UserError, match=f"process 2 differs from process 0: {name} is .*; give all the same data, command"):
            alike(**{name: value})
    told = []
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(jax.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(parallel, "_tell", told.append)
    with pytest.raises(UserError, match="--kimg 0.*: it must be above 0"):
        prepared(tmp_path, kimg=0.0)
    assert told[0].startswith("---kimg 0")  # a minus, and the line: the other process does not wait for this one


def test_who_waits_long_for_images_to_be_scaled_is_told_how_to_do_it_once(monkeypatch):
    small, whole = Own(held=SOURCE._replace(notes=("scaled from 8x9",)), data="photos/", batch=8), Own(batch=8)
    assert plan._open(small).notes == ("scaled from 8x9",)
    now = iter(range(0, 10_000, 300))
    monkeypatch.setattr(plan.time, "monotonic", lambda: next(now))
    monkeypatch.setattr(plan.watch, "counter", lambda *_: contextlib.nullcontext())
    (note,) = plan._open(small).notes[1:]
    assert note.startswith("that took 5 minutes") and "experiments.prepare photos/ FOLDER --size 8 8 " in note
    padded = dataclasses.replace(small, fit="pad", background="black")
    assert "--size 8 8 --fit pad --background black does it once" in plan._open(padded).notes[1]
    assert plan._open(whole).notes == ()
    two = type("Two", (Own,), {"target": "others/"})(held=small.held, batch=8)  # `prepare` writes no pairs
    assert plan._open(two).notes == ("scaled from 8x9",)
