"""The comparisons: their commands are ones that the training command takes."""

import dataclasses
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from experiments import compare
from experiments.cli import parse
from experiments.configs import CONFIGS
from experiments.configs.families import FAMILIES
from jaxgan import marks
from jaxgan.errors import UserError


@pytest.mark.parametrize("of", compare.OF)
def test_every_command_is_one_that_train_takes(of):
    for name in compare.OF[of]:
        _, module, flag, config, *given = compare.command(compare.Options(out="out", of=of, data="mnist", kimg=300.0), name)
        assert (module, flag) == ("-m", "experiments.train")
        settings = parse(type(CONFIGS[config]), given, CONFIGS[config], prog="train")
        assert settings.kimg == 300 and settings.data == "mnist" and settings.metrics == ("fd2k",) and settings.augment == ()
        if of == "families":
            assert config == f"{name}-mnist" and settings.lr == CONFIGS[config].lr
        else:
            assert settings.loss == name


def test_own_images_are_compared_at_their_size_by_a_metric_that_needs_no_classes(tmp_path):
    options = compare.Options(out=str(tmp_path), data="photos", size=(48, 64), metric=compare.judge("swd2k"))
    for of, name, config in (("losses", "hinge", "objective"), ("families", "dcgan", "dcgan")):
        given = compare.command(dataclasses.replace(options, of=of), name)[4:]
        settings = parse(type(CONFIGS[config]), given, CONFIGS[config], prog="train")
        assert settings.size == (48, 64) and settings.metrics == ("swd2k",) and settings.data == "photos"
    (tmp_path / "hinge").mkdir()
    (tmp_path / "hinge" / "log.jsonl").write_text(json.dumps({"kimg": 150.0, "swd2k": 0.0344, "fd2k": 9.0}) + "\n")
    assert "| – | – | 0.034 |" in compare.row(options, "hinge", "")


def test_the_first_row_is_of_real_images_pixel_by_pixel(tmp_path, monkeypatch):
    """It was cut from reals.png as if that had eight rows, which those of few images or of oblong ones have not."""
    for i in range(3):
        Image.new("RGB", (6, 4), (200, 10 * i, 0)).save(tmp_path / f"{i}.png")
    config = {"settings": {"data": str(tmp_path)}, "data": {"shape": [4, 6, 3]}}
    made = lambda n, **_: np.full((n, 4, 6, 3), 77, np.uint8)
    trained = SimpleNamespace(generator=SimpleNamespace(classes=0), sample=made, config=config)
    monkeypatch.setattr(compare.restore, "load", lambda *_: trained)
    whole = np.asarray(compare.picture(compare.Options(out="out"), ["hinge", "minimax"], columns=5))
    assert whole.shape == (1 + 3 * 5, 160 + 1 + 5 * 7, 3)
    tiles = whole[1:, 161:].reshape(3, 5, 5, 7, 3)[:, :4, :, :6]
    assert (tiles[1:] == 77).all() and (tiles[0, ..., 0] == 200).all() and (tiles[0, ..., 1] == tiles[0, :1, :, :1, 1]).all()
    assert set(tiles[0, 0, :, 0, 1]) == {0, 10, 20}


def test_every_family_that_draws_from_noise_is_compared():
    assert set(compare.FAMILIES) == {*FAMILIES, "progan", "stylegan"}


@pytest.mark.parametrize(
    "given, says",
    [
        (["--only", "hinge"], "--only hinge: the families are gan, "),
        (["--lr", "0.1"], "--lr 0.1: each family has its own"),
        (["--metric", "pr10k"], "--metric pr10k: it is not one number .* give one of .*, fd2k, .*swd2k"),
        (["--metric", "fd2kk"], "no metric 'fd2kk'; the nearest is fd2k"),
    ],
)
def test_what_cannot_be_compared_is_one_line(given, says, monkeypatch):
    monkeypatch.setattr("sys.argv", ["compare", "out", "--of", "families", *given])
    with pytest.raises(UserError, match=says):
        compare.main()


def test_numbers_stand_under_the_kimg_that_they_are_of(tmp_path):
    options = compare.Options(out=str(tmp_path), kimg=6.0)
    rows = [{"kimg": 3.0, "swd": 8.0}, {"kimg": 3.2, "fd2k": 7.0}, {"kimg": 4.0}, {"kimg": 6.08, "fd2k": 5.0, "swd": 2.0}]
    (tmp_path / "hinge").mkdir()
    (tmp_path / "hinge" / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert compare.scores(options, "hinge", "fd2k") == ["–", "7.0", "5.0"]
    assert compare.scores(options, "hinge", "swd") == ["–", "–", "2.0"]
    assert compare.scores(options, "wasserstein", "swd") == ["–", "–", "–"]
    assert "| – | 7.0 | 5.0 | 2.0 | – |" in compare.row(options, "hinge", "")
    with (tmp_path / "hinge" / "log.jsonl").open("a") as log:  # it ended here: not the budget's 6 kimg, which take a minute
        log.write(json.dumps({"kimg": 4.5, "img_per_s": 100.0}) + "\n")
    assert "| 0.8 |" in compare.row(options, "hinge", "stopped")


def test_a_comparison_by_another_metric_is_left_as_it_is(tmp_path, monkeypatch):
    """Its table was overwritten with dashes."""
    monkeypatch.setattr(compare.restore, "read_config", lambda run: {"settings": {"metrics": ["fd2k"]}})
    options = compare.Options(out=str(tmp_path))
    compare.check_metric(dataclasses.replace(options, metric="swd2k"), ["hinge"])  # nothing is there yet
    (tmp_path / "hinge").mkdir()
    (tmp_path / "hinge" / "config.json").touch()
    compare.check_metric(options, ["hinge", "minimax"])
    monkeypatch.setattr("sys.argv", ["compare", str(tmp_path), "--metric", "swd2k"])
    monkeypatch.setattr(compare, "train", lambda *_: pytest.fail("trained"))
    with pytest.raises(UserError, match="--metric swd2k: .*hinge was measured by fd2k; give that, or another OUT"):
        compare.main()


def test_the_table_is_written_whatever_the_locale(tmp_path, monkeypatch):
    """Its dashes are not in ASCII or latin-1, and it was written after hours of training."""
    monkeypatch.setattr("sys.argv", ["compare", str(tmp_path), "--only", "hinge"])
    monkeypatch.setattr(compare, "train", lambda *_: "")
    monkeypatch.setattr(compare, "picture", lambda *_: Image.new("L", (8, 8)))
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(io, "text_encoding", lambda encoding, stacklevel=2: encoding or "ascii")  # as of LC_ALL=C
    assert compare.main() == 0
    assert "| – |" in (tmp_path / "table.md").read_bytes().decode()
    with Image.open(tmp_path / "samples.png") as sheet:
        assert marks.of_picture(sheet).kind == marks.COMPOSITE  # real images are beside those that are generated


CHILD = """
import signal, sys, time
def stop(*_):
    open("stopped", "w").close()
    sys.exit(143)
signal.signal(signal.SIGTERM, stop)
open("started", "w").close()
time.sleep(100)
"""
PARENT = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # nohup and a shell's & leave these two ignored
signal.signal(signal.SIGHUP, signal.SIG_DFL)
from experiments import compare
from experiments.cli import run_command
compare.command = lambda options, name: [sys.executable, "child.py"]
sys.argv = ["compare", "out", "--only", "hinge", "minimax"]
run_command(compare.main)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="signals of POSIX")
@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 143), (signal.SIGINT, -signal.SIGINT), (signal.SIGHUP, 129)])
def test_a_comparison_that_is_told_to_end_ends_what_it_started(number, code, tmp_path):
    (tmp_path / "child.py").write_text(CHILD)
    path = {**os.environ, "PYTHONPATH": str(Path(compare.__file__).parents[1])}
    comparing = subprocess.Popen([sys.executable, "-c", PARENT], cwd=tmp_path, env=path)
    until = time.monotonic() + 60
    while not (tmp_path / "started").exists() and time.monotonic() < until:
        time.sleep(0.05)
    comparing.send_signal(number)
    assert comparing.wait(60) == code and (tmp_path / "stopped").exists()
