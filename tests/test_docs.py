"""What README and docs/ show runs as it stands: the programs, and every command as far as its arguments."""

import dataclasses
import importlib.util
import json
import re
import shlex
import shutil
import sys
import types
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

import jaxgan
from experiments import cli
from experiments.again import config_of
from experiments.configs import CONFIGS
from jaxgan import convert, data, export, invert, plan, results, run, video, weights
from jaxgan.metrics import lpips
from jaxgan.models import stylegan3
from tests import commands
from tests.test_metrics_generators import drawn
from tests.test_metrics_lpips import narrow

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


def program(name: str) -> str:
    return "\n".join(re.findall(r"```python\n(.*?)```", (DOCS / name).read_text(), flags=re.S))


def shown() -> dict[str, str]:
    """{command: file}, of blocks and of lines; of a line that a | of shell or table ends, what is before it."""
    found = {}
    for file in (ROOT / "README.md", *sorted(DOCS.glob("*.md")), ROOT / "benchmarks" / "README.md"):
        text = re.sub(r"\$\w+", "1", file.read_text().replace("\\\n", " ").replace("<family>", "gan"))  # of a shell's loop
        blocks = "\n".join(re.findall(r"```\w*\n(.*?)```", text, flags=re.S))
        lines = re.findall(r"python -m (experiments\..*)", blocks)
        lines += re.findall(r"`python -m (experiments\.[^`]*)`", re.sub(r"```.*?```", "", text, flags=re.S))
        found |= {" ".join(re.split(r" (?:#|&&|\|)", line)[0].split()): file.name for line in lines}
    return found


def test_the_list_of_the_modules_is_that_of_their_docstrings():
    spec = importlib.util.spec_from_file_location("api", DOCS / "api.py")
    api = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(api)
    assert api.page() == api.FILE.read_text(), "run python docs/api.py"


class Parsed(Exception):
    """Nothing is to run."""


@pytest.mark.parametrize("command", shown())
def test_every_command_that_is_shown_can_be_parsed(command, monkeypatch):
    name, *args = shlex.split(command)
    module = importlib.import_module(name)

    def parse(*given, **named):
        cli.parse(*given, **named)
        raise Parsed

    asks = importlib.import_module("experiments.train") if name == "experiments.preflight" else module
    monkeypatch.setattr(asks, "parse", parse)
    monkeypatch.setattr("experiments.train.set_flags", list)
    of_run = lambda what: config_of("digits" if what.startswith("runs/") else what)  # there is none
    monkeypatch.setattr("experiments.again.config_of", of_run)
    monkeypatch.setattr("sys.argv", [name, *(a for a in args if a != "...")])
    with pytest.raises(SystemExit if "--help" in args else Parsed):
        module.main()


COMMANDS = "augment_gallery compare directions evaluate explain export invert prepare results sample timelapse train verify walk"


@pytest.mark.parametrize("name", COMMANDS.split())
def test_every_command_says_what_it_does_and_its_examples_can_be_parsed(name, monkeypatch, capsys):
    module = importlib.import_module(f"experiments.{name}")

    def parse(kind, *given, examples, **named):
        with pytest.raises(SystemExit):
            cli.parse(kind, ["--help"], *given[1:], examples=examples, **named)
        said = " ".join(capsys.readouterr().out.split())
        for example in examples:
            assert f"{named['prog']} {example}" in said
            cli.parse(kind, shlex.split(example), *given[1:], **named)
        assert said.startswith(" ".join(kind.__doc__.split())) and examples
        raise Parsed

    asks = importlib.import_module("experiments.train") if name == "experiments.preflight" else module
    monkeypatch.setattr(asks, "parse", parse)
    monkeypatch.setattr("experiments.train.set_flags", list)
    monkeypatch.setattr("sys.argv", [name])
    with pytest.raises(Parsed):
        module.main()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_what_is_done_with_a_trained_network(tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    monkeypatch.chdir(tmp_path)
    commands.untrained("runs/digits", dataclasses.replace(CONFIGS["digits"], width=4), (28, 28, 1), 10)
    shutil.copytree("runs/digits", "runs/mnist")
    commands.untrained("runs/infogan", dataclasses.replace(CONFIGS["infogan"], width=4), (28, 28, 1), 0)
    small = stylegan3.Generator((28, 28, 1), z_dim=4, w_dim=4, channel_base=16, channel_max=4, depth=2, critical=1)
    numbers = lambda a: np.random.default_rng(0).normal(size=a.shape).astype(np.float32) ** 2
    convert.save_safetensors("runs/stylegan3", small, jax.tree.map(numbers, weights.shapes(small)))
    g = jaxgan.load("runs/digits")
    codes = g.latents(2, label=3)
    np.savez("found.npz", code=codes.code, c=codes.c, keys=codes.keys)  # as two of the commands leave them
    Path("digits.stablehlo").write_bytes(export.export_generator(g.generator, g.variables))
    Path("digits.onnx").write_bytes(export.export_onnx(g.generator, g.variables))
    Image.new("RGB", (8, 8)).save("small.png")
    quick = invert.Search(draws=20, starts=1, steps=2)
    monkeypatch.setattr(invert, "invert", partial(invert.invert, search=quick))
    pictures = g.images(codes)
    held = {"jaxgan": jaxgan, "pictures": pictures, "blurred": pictures, "labels": np.arange(64) % 10}
    exec(compile(program("use.md"), "docs/use.md", "exec"), held)
    assert held["film"].shape == (180, 28, 28, 1) and held["film"].std() > 1
    assert len(list(video.read("film.mp4"))) == 180 and held["mixed"].shape == (90, 28, 28, 1) and held["mixed"].std() > 1
    assert held["turned"].shape == (8, 28, 28, 1) and held["turned"].std() > 0
    assert held["same"].shape == (8, 28, 28, 1) and held["continuous"].shape == (8, 2) and 0.1 <= held["accuracy"] <= 1
    assert held["moved"].shape == (6, 28, 28, 1) and held["images"].shape == (64, 28, 28, 1) and held["images"].std() > 1


def test_the_metrics_as_functions(monkeypatch):
    rng, names = np.random.default_rng(0), ("random10k", "swd2k")
    sides = {name: rng.normal(size=(600, 5)) for name in ("real_features", "fake_features", "held_out_features")}
    sides |= {name: rng.normal(size=64) for name in ("logits", "held_out_logits")}
    images = {name: rng.integers(0, 256, (64, 16, 16, 1), np.uint8) for name in ("reals", "fakes")}
    held = sides | images | {"source": data.of_arrays(images["reals"])}
    held |= {name: 2 * rng.random((2, 16, 16, 3), np.float32) - 1 for name in "xy"}
    monkeypatch.setattr(jaxgan, "load", lambda _: drawn())
    monkeypatch.setattr(lpips, "load", lambda _: narrow())
    quick = program("metrics.md").replace('("fd2k", "kd10k")', repr(names)).replace("n=1000", "n=2")
    exec(compile(quick, "docs/metrics.md", "exec"), held)
    assert [result.name for result in held["found"]] == list(names)
    assert held["moves"][0].values[""].value > 0 and held["far"].shape == (2,)


@pytest.mark.slow
def test_the_tutorials_listing_and_notebook(tmp_path, monkeypatch):
    def train(ready):
        ready.directory.mkdir(parents=True, exist_ok=True)
        (ready.directory / "log.jsonl").write_text('{"kimg": 1.0, "swd": 9.0}\n{"kimg": 2.0}\n')

    monkeypatch.chdir(tmp_path)
    commands.untrained("runs/cell", dataclasses.replace(CONFIGS["digits"], width=4), (28, 28, 1), 10)
    monkeypatch.setattr(run, "train", train)
    for module, name in ((run, "start"), (jax, "clear_caches")):  # of the whole process
        monkeypatch.setattr(module, name, lambda *_: None)
    text = program("tutorial.md")
    small = {"range(3000)": "range(2)", "range(3)": "range(1)", "label=3), 20": "label=3), 1", '"runs/cell")\nrun': '"new")\nrun'}
    for said, instead in small.items():
        assert text.count(said) == 1
        text = text.replace(said, instead)
    held = {}
    exec(compile(text, "docs/tutorial.md", "exec"), held)
    assert held["rows"] == [{"kimg": 1.0, "swd": 9.0}] and len(held["plt"].gca().lines) == 2
    held["plt"].close()
    with Image.open("walk.gif") as film, Image.open("listing.png") as grid:
        assert film.n_frames == 4 and grid.width > 200
    assert np.isfinite([held["loss_g"], held["loss_d"]]).all()


def test_a_tracker(tmp_path, monkeypatch):
    """W&B's and MLflow's own functions, noted: a run, the numbers of each line, and the picture of a snapshot."""
    told, pictures = [], []
    wandb = types.SimpleNamespace(run=None, Image=lambda path: pictures.append(path) or "picture")
    wandb.init = lambda **given: (told.append(given), setattr(wandb, "run", 1))
    wandb.log = lambda row, step: told.append((step, row))
    mlflow = types.SimpleNamespace(active_run=lambda: told[-1:] and 1 or None, start_run=lambda run_name: told.append(run_name))
    mlflow.log_metrics = lambda row, step: told.append((step, row))
    [monkeypatch.setitem(sys.modules, name, made) for name, made in (("wandb", wandb), ("mlflow", mlflow))]
    (tmp_path / "a" / "samples").mkdir(parents=True)
    (tmp_path / "a" / "config.json").write_text('{"settings": {"lr": 0.1}}')
    [(tmp_path / "a" / "samples" / f"{name}.png").touch() for name in ("kimg000002", "kimg000010", "reals")]
    monkeypatch.setattr("sys.argv", ["tracked.py", "mnist", "--run-dir", str(tmp_path / "a"), "--kimg", "4"])
    held, rows = {"__name__": "tracked"}, [{"step": 62, "d/adv": 0.5}, {"step": 124, "d/adv": 0.4, "swd": 9.0}]
    exec(compile(program("watch.md"), "docs/watch.md", "exec"), held)
    [held["track"](row) for row in rows]
    assert told[0] == {"project": "gans", "name": "a", "config": {"settings": {"lr": 0.1}}}
    assert told[1:] == [(62, rows[0]), (124, rows[1] | {"samples": "picture"})]
    assert pictures == [str(tmp_path / "a" / "samples" / "kimg000010.png")]
    told.clear()
    [held["track_by_mlflow"](row) for row in rows]
    assert told == ["a", (62, rows[0]), (124, rows[1])]
    (tmp_path / "a" / "config.json").write_text('{"jaxgan": "", "generator": {}, "settings": {"kimg": 9, "batch": 1}}')
    log = [{"step": i, "kimg": 100.0 * i, "swd": swd} for i, swd in enumerate((9, 4, 5, 8, 6, 7, 5))]
    (tmp_path / "a" / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in log))
    [held["stop_when_it_gets_no_better"](row) for row in (rows[0], log[0], log[5])]
    with pytest.raises(SystemExit, match="swd has not been below 4 since 100 kimg"):
        held["stop_when_it_gets_no_better"](log[6])


def follow_a_tuner(held, monkeypatch):
    """The objective of own.md: ended at a tick of no checkpoint, which is saved then; pruned at a snapshot; to the end."""

    class Pruned(Exception):
        pass

    monkeypatch.setitem(sys.modules, "optuna", types.SimpleNamespace(TrialPruned=Pruned))
    monkeypatch.setattr(jax, "clear_caches", lambda: None)  # of the whole process
    saved = lambda: sorted(path.name for path in Path("runs/trial3/checkpoints").iterdir())
    config = held["Config"](run_dir="runs/trial3", kimg=0.2, tick_kimg=0.04, snapshot_kimg=0.08, hidden=8)
    lines, told = [], []
    with pytest.raises(AttributeError):
        run.train(plan.prepare("own", config, config.design), on_tick=lambda row: lines.append(row) or row.nothing)
    assert lines == results.read("runs/trial3").rows and lines[0]["step"] == 1 and saved() == ["1"]
    choose = {"number": 3, "suggest_int": lambda *_: 8}
    trial = types.SimpleNamespace(**choose, report=lambda *given: told.append(given), should_prune=lambda: len(told) == 1)
    with pytest.raises(Pruned):
        held["objective"](trial)
    found = results.read("runs/trial3")
    assert found.state == "unfinished" and [row["step"] for row in found.rows] == [1, 2] and saved() == ["1", "2"]
    assert told == [(found.rows[1]["swd"], 2)]
    assert held["objective"](trial) == told[-1][0] and results.read("runs/trial3").state == "complete"


@pytest.mark.slow
def test_a_method_of_ones_own(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    held = {"__name__": "own"}
    exec(compile(program("own.md"), "docs/own.md", "exec"), held)
    out = capsys.readouterr().out
    assert "'d/adv'" in out and "digits: 1797 images of 28x28x1" in out and "noise: 100 images of 28x28x1, no labels" in out
    assert held["images"].shape == (4, 28, 28, 1)
    assert held["changed"].names[:3] == ("d/adv", "d/r1", "g/adv") and held["changed"].stages[0].generator.classes == 10
    assert held["rebuilt"].shape == (16, 28, 28, 1) and 0 < held["weight"] < np.inf
    assert "(4,)" in out and held["found"][0].name == "swd2k" and held["codes"].shape == (16, 32)
    follow_a_tuner(held, monkeypatch)
    assert len(held["shared"].sharding.device_set) == jax.local_device_count()
    assert "'d/past', 'd/teacher', 'g/adv', 'g/consensus'" in out and set(held["stateful"].carry) == {"past", "teacher"}
    few = data.of_arrays(np.arange(48, dtype=np.uint8).reshape(3, 4, 4), [0, 1, 1])
    even = held["balanced"](few)
    assert even.labels.tolist() == [0, 0, 1, 1] and (even.read(np.arange(4)) == few.read(np.array([0, 0, 1, 2]))).all()
    assert "fd_means" in (tmp_path / "runs" / "measured" / "metrics.jsonl").read_text()
    for name in ("own", "noise"):
        with Image.open(tmp_path / "runs" / name / "samples" / "kimg000000.128.png") as picture:
            assert picture.width > 200
    code, args = re.search(r"`python -c \"(.*?)\" (.*?)`", (DOCS / "own.md").read_text()).groups()
    monkeypatch.setitem(sys.modules, "own", types.SimpleNamespace(**held))
    monkeypatch.setattr("sys.argv", ["-c", *shlex.split(args.replace("runs/wide", "runs/own"))])
    with pytest.raises(SystemExit, match="0"):
        exec(code, {})
    with Image.open("own.png") as picture:
        assert picture.width > 200
