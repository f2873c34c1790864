"""The evaluate command as a user runs it: on a run, a folder and an .npz; and a run that measures while it trains."""

import dataclasses
import json
import os
import re

import numpy as np
import pytest
from PIL import Image

from experiments import evaluate
from experiments.configs import CONFIGS
from jaxgan import convert, plan, run
from jaxgan.errors import UserError
from jaxgan.metrics import lpips, measure
from tests import commands, shared
from tests.test_metrics_generators import drawn
from tests.test_metrics_lpips import narrow

pytestmark = pytest.mark.slow
TINY = ["gan", "--batch", "4", "--kimg", "0.04", "--tick-kimg", "0.02", "--snapshot-kimg", "0.02"]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    os.environ["JAXGAN_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    del os.environ["JAXGAN_CACHE"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory, cache):
    """A run that measured itself at its snapshots and kept averages."""
    directory = tmp_path_factory.mktemp("runs") / "tiny"
    more = ["--metrics", "swd2k", "random10k", "--metrics-kimg", "0.04", "--posthoc", "0.05", "0.1"]
    code, out, err = commands.run("train", *TINY, *more, "--run-dir", directory)
    assert code == 0, err
    assert re.search(r"0.04 kimg  swd2k [\d.]+  random10k [\d.]+\n", out), out  # what was asked for is told
    return directory


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_run_measures_itself_and_keeps_averages(trained):
    rows = lines(trained / "log.jsonl")
    assert [("swd2k" in row, "random10k" in row) for row in rows] == [(False, False), (True, True)]
    assert rows[-1]["swd2k"] > 0 and rows[-1]["random10k"] > 0
    assert {line["metric"] for line in lines(trained / "metrics.jsonl")} == {"swd2k", "random10k"}
    code, out, err = commands.run("sample", trained, "--average", "0.08", "--n", "4", "--out", trained / "s.png")
    assert code == 0 and (trained / "s.png").is_file(), err


def test_a_measurement_that_fails_costs_no_checkpoint(tmp_path, cache, monkeypatch, capsys):
    def fail(*_, **__):
        raise UserError("features are NaN")

    monkeypatch.setattr(measure, "measure", fail)
    short = {"batch": 4, "kimg": 0.02, "tick_kimg": 0.02, "snapshot_kimg": 0.02, "metrics": ("swd2k",)}
    settings = dataclasses.replace(CONFIGS["gan"], **short, run_dir=str(tmp_path / "run"))
    assert run.train(plan.prepare("gan", settings, settings.design)) == 0
    assert "not measured at 0.02 kimg: features are NaN" in capsys.readouterr().out
    assert (tmp_path / "run" / "checkpoints" / "5").is_dir() and lines(tmp_path / "run" / "log.jsonl")[0]["step"] == 5


def test_a_run_a_folder_and_an_npz(trained, tmp_path):
    metrics = ["--metrics", "random10k", "swd", "--n", "300"]
    code, out, err = commands.run("evaluate", trained, *metrics)
    assert code == 0 and "random10k" in out and "not comparable" in out, err
    of_run = lines(trained / "metrics.jsonl")[-2:]
    assert [line["metric"] for line in of_run] == ["random10k", "swd10k"] and of_run[0]["fakes"] == 300
    code, _, err = commands.run("sample", trained, "--n", "300", "--out", tmp_path / "images.npz")
    assert code == 0, err
    for i, image in enumerate(shared.arrays(tmp_path / "images.npz")["images"]):
        (tmp_path / "folder").mkdir(exist_ok=True)
        Image.fromarray(image[..., 0]).save(tmp_path / "folder" / f"{i:04d}.png")
    for what in ("images.npz", "folder"):
        args = ["--against", "digits", "--size", "28", "28", "--out", tmp_path / "numbers.jsonl"]
        code, out, err = commands.run("evaluate", tmp_path / what, *metrics, *args)
        assert code == 0, err
        of_folder = lines(tmp_path / "numbers.jsonl")[-2:]
        for a, b in zip(of_run, of_folder, strict=True):
            np.testing.assert_allclose(a["value"][0], b["value"][0], rtol=1e-6)  # the same images, the same numbers


def test_folders_are_made_alike_and_what_does_not_fit_is_said_before_a_classifier_is_trained(tmp_path, monkeypatch):
    for folder, sides in (("mixed", (9, 12, 15)), ("small", (9, 9)), ("real", (20, 20))):
        (tmp_path / folder).mkdir()
        for i, side in enumerate(sides):
            Image.new("RGB", (side, side), (side, i, 0)).save(tmp_path / folder / f"{i}.png")
    real, config = str(tmp_path / "real"), None
    args = evaluate.Arguments(str(tmp_path / "mixed"), against=real, size=(16, 16))  # --size was of the real ones alone
    pieces, _, n, _ = evaluate.generated(args, config, evaluate.real_images(args, config, None), 0, None)
    assert n == 3 and next(pieces).shape == (3, 16, 16, 3)
    monkeypatch.setattr(measure, "ready", lambda *_, **__: pytest.fail("it was made ready first"))
    monkeypatch.setattr("sys.argv", ["evaluate", str(tmp_path / "small"), "--against", real, "--metrics", "swd2k"])
    with pytest.raises(UserError, match="its images are 9x9, the real ones 20x20; give --size 9 9"):
        evaluate.main()


def test_devices_do_not_change_the_numbers(trained, tmp_path):
    found = []
    for devices in (1, 4):
        out = tmp_path / f"{devices}.jsonl"
        args = ["--metrics", "random10k", "--n", "300", "--out", out]
        assert commands.run("evaluate", trained, *args, devices=devices)[0] == 0
        found.append(lines(out)[0]["value"][0])
    np.testing.assert_allclose(found[0], found[1], rtol=1e-6)  # another number of threads sums in another order


@pytest.mark.parametrize(
    "args, says",
    [
        (["nowhere"], "there is no such run"),
        (["RUN", "--metrics", "fdd10k"], "the nearest is fd10k"),
        (["RUN", "--metrics", "fd_dinov2"], "--dinov2"),
        (["FOLDER"], "--against"),
        (["FOLDER", "--against", "digits", "--metrics", "swd"], "--size 9 9"),
        (["RUN", "--size", "9", "9", "--metrics", "swd"], "its images are 28x28, the real ones 9x9; give --size 28 28"),
        (["FOLDER", "--against", "FOLDER", "--psi", "0.5"], "--psi 0.5: it only applies to a run"),
        (["RUN", "--n", "1", "--metrics", "random10k"], "too few"),
        (["RUN", "--n", "-1"], "--n -1: ask for at least one image"),
        (["RUN", "--metrics", "eqt", "--n", "4"], "cannot move what it draws"),
        (["RUN", "--metrics", "ppl"], "has no styles w; take ppl2_zend"),
        (["RUN", "--metrics", "ppl2_zend", "--lpips", "FOLDER"], "vgg16-397923af.pth; give the folder"),
        (["RUN", "--metrics", "lpips"], "lpips is not measured on images but on pairs"),
        (["FOLDER", "--against", "digits", "--metrics", "eqt"], "eqt50k_int is not measured on images but on a generator"),
        (["g.safetensors"], "holds one generator; give --metrics, of eqt50k_int"),
        (["g.safetensors", "--metrics", "eqt", "--average", "0.1"], "--average 0.1: it only applies to a run"),
    ],
)
def test_mistakes_are_one_line(trained, tmp_path, args, says):
    for name in "ab":
        Image.fromarray(np.full((9, 9), ord(name), np.uint8)).save(tmp_path / f"{name}.png")
    (tmp_path / "g.safetensors").write_bytes(b"")
    given = {"RUN": trained, "FOLDER": tmp_path, "g.safetensors": tmp_path / "g.safetensors"}
    args = [given.get(a, a) for a in args]
    code, _, err = commands.run("evaluate", *args)
    assert code == 2 and says in err and len(err.strip().splitlines()) == 1, err


def test_a_weight_file_is_measured_itself(tmp_path, capsys, monkeypatch):
    g = drawn()
    convert.save_safetensors(tmp_path / "g.safetensors", g.generator, g.variables)
    file, out = str(tmp_path / "g.safetensors"), tmp_path / "numbers.jsonl"
    monkeypatch.setattr(lpips, "load", lambda folder: narrow() if folder == "there" else None)
    args = ["--metrics", "eqt", "ppl", "--n", "6", "--seed", "1", "--lpips", "there", "--out", str(out)]
    monkeypatch.setattr("sys.argv", ["evaluate", file, *args])
    evaluate.main()
    assert f"thegeneratorof{file}" in "".join(capsys.readouterr().out.split())  # the table breaks long lines
    found = {line["metric"]: line for line in lines(out)}
    assert list(found) == ["eqt50k_int", "ppl2_wend"] and found["ppl2_wend"]["value"][0] > 0
    assert found["eqt50k_int"]["fakes"] == 6 and found["eqt50k_int"]["of"]["run"] == file


def test_a_run_in_training_is_not_asked_for_metrics_of_its_generator(tmp_path):
    settings = dataclasses.replace(CONFIGS["gan"], metrics=("fd2k", "eqt"), run_dir=str(tmp_path / "run"))
    with pytest.raises(UserError, match=r"eqt50k_int is not measured on images.*experiments\.evaluate RUN --metrics eqt50k_int"):
        plan.prepare("gan", settings, settings.design)


def test_help_lists_the_protocols():
    code, out, _ = commands.run("evaluate", "anything", "--metrics", "help")
    assert code == 0 and all(name in out for name in ("fid50k_full", "fd10k", "eqr50k", "ppl = ppl2_wend"))


def test_a_run_whose_data_is_elsewhere_now():
    config = {"settings": {"data": "no/photos"}, "data": {"shape": [8, 8, 1]}}
    with pytest.raises(UserError, match="runs/x was trained on --data no/photos: .*no/photos.*; --against .* says where"):
        evaluate.real_images(evaluate.Arguments("runs/x"), config, None)
    with pytest.raises(UserError, match="^no/others: no such file or folder"):
        evaluate.real_images(evaluate.Arguments("runs/x", against="no/others"), config, None)


def test_a_run_on_data_of_its_own_script_is_not_compared_with_the_digits():
    config = {"settings": {"data": "digits"}, "data": {"shape": [28, 28, 1], "name": "arrays"}}
    with pytest.raises(UserError, match="trained on 'arrays', which only its own script can open; .* --against"):
        evaluate.real_images(evaluate.Arguments("runs/x"), config, None)
    assert evaluate.real_images(evaluate.Arguments("runs/x", against="digits"), config, None).n == 1797
