"""The benchmarks as a user runs them, small: that each measures what it says it does. Times are not looked at."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest

from benchmarks import devices, metrics, objectives, peer_jaxgan, result, roofline, scaling, start, step
from experiments.cli import parse
from experiments.configs import CONFIGS
from jaxgan.errors import UserError
from tests.commands import ROOT, environment


def lines(module: str, *args) -> list[dict]:
    command = [sys.executable, "-m", f"benchmarks.{module}", *map(str, args)]
    made = subprocess.run(command, cwd=ROOT, env=os.environ | environment(), capture_output=True, text=True, timeout=300)
    assert made.returncode == 0, made.stderr
    return [json.loads(line) for line in made.stdout.splitlines() if line.startswith("{")]


@pytest.mark.slow
def test_a_step_is_measured_and_appended(tmp_path):
    (found,) = lines("step", "gan", "--batch", 4, "--steps", 4, "--out", tmp_path / "found.jsonl")
    assert found == json.loads((tmp_path / "found.jsonl").read_text())
    assert (found["config"], found["batch"], found["steps"]) == ("gan", 4, 4)
    assert found["parameters"] == {"g": 386_704, "d": 272_065}  # as docs/families.md says
    # A multiplication and an addition per weight and image: of G forwards and for two gradients; of D so for reals and for fakes,
    # and for the fakes' gradient that goes to G.
    assert 1e9 * found["gflop_plain_step"] == pytest.approx(4 * (6 * 386_704 + 14 * 272_065), rel=0.1)
    assert 4 * (386_704 + 272_065) < 1e6 * found["state_mb"] < 1e6 * found["step_mb"]


def test_fewer_images_are_not_counted_as_all():
    with pytest.raises(UserError, match="does not divide by 4 devices;"):  # the tests'
        step.Case("gan", CONFIGS["gan"], 6)
    with pytest.raises(UserError, match="does not divide by 4 devices x 2"):  # path length takes one of two images
        step.Case("stylegan2", peer_jaxgan.settings("stylegan2", "cpu"), 12)


def test_a_step_is_measured_on_so_many_devices():
    (one,) = lines("scaling", "gan", "--devices", 1, "--batch", 2, "--steps", 1, "--turns", 2)
    assert one == one | {"config": "gan", "case": "one", "devices": "1 x cpu (faked)", "batch": 2, "turns": 2, "efficiency": 1.0}


def test_scaling_is_relative_to_one_device():
    worker = SimpleNamespace(platform="gpu", kind="H100")
    found = scaling.row(("weak", 4, 64), worker, [300.0, 340.0], [100.0, 100.0])
    assert (found["over_one_device"], found["efficiency"], found["devices"]) == (3.2, 0.8, "4 x H100")
    found = scaling.row(("strong", 2, 32), SimpleNamespace(platform="cpu", kind="cpu"), [150.0], [100.0])
    assert (found["over_one_device"], found["efficiency"], found["devices"]) == (1.5, 1.5, "2 x cpu (faked)")


def asked(command: list[str]):
    """The settings of an `experiments.train` command: fails where it has an option that there is not."""
    assert command[:3] == [sys.executable, "-m", "experiments.train"]
    default = CONFIGS[command[3]]
    return parse(type(default), command[4:], default, prog="train")


def test_runs_on_other_devices_are_compared(monkeypatch, capsys):
    commands = []

    def popen(command, **_):
        commands.append(command)
        return SimpleNamespace(wait=lambda: 0)

    monkeypatch.setattr(devices, "subprocess", SimpleNamespace(Popen=popen, DEVNULL=None))
    monkeypatch.setattr(devices, "load_generator", lambda _: [{"w": np.full(2, len(commands), np.float32)}])
    monkeypatch.setattr(sys, "argv", ["devices.py", "--steps", "3"])
    devices.main()
    given = [asked(command) for command in commands]
    assert [(s.cpu_devices, s.processes, s.process) for s in given] == [(1, 1, 0), (2, 1, 0), (4, 1, 0), (2, 2, 0), (2, 2, 1)]
    assert all(s.kimg == 3 * 32 / 1000 and s.batch == 32 and s.augment for s in given) and given[3].coordinator
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["processes"], row["devices_each"], row["largest"]) for row in found] == [(1, 2, 1.0), (1, 4, 2.0), (2, 2, 4.0)]


def test_a_start_is_timed_to_its_first_step(monkeypatch, capsys):
    commands = []

    def timed(command, until=""):
        commands.append((command, until))
        return 2.0 * len(commands), 3.0

    with monkeypatch.context() as patched:
        patched.setattr(start, "timed", timed)
        patched.setattr(sys, "argv", ["start.py", "gan", "--turns", "1"])
        start.main()
    found = {row["what"]: row["seconds"] for row in map(json.loads, capsys.readouterr().out.splitlines())}
    assert (found["gan: first step, cold"], found["gan: first step, warm"], found["gan: whole run, warm"]) == (2.0, 4.0, 3.0)
    assert {f"import {module}" for module in start.IMPORTS} < found.keys()
    cold, warm = (asked(command) for command, until in commands if until)
    assert cold.kimg == 2 * cold.tick_kimg == 0.064 and cold.compile_cache == warm.compile_cache and cold.run_dir != warm.run_dir
    program = "import time; print('1 img/s', flush=True); time.sleep(0.2)"
    first, whole = start.timed([sys.executable, "-c", program], "img/s")
    assert 0 < first < whole - 0.1
    for program, why in (("raise SystemExit('no data')", "no data"), ("print('1 kimg')", "no line of its output has 'img/s'")):
        with pytest.raises(SystemExit, match=why):
            start.timed([sys.executable, "-c", program], "img/s")


def test_an_objective_is_measured_beside_the_plain_step(monkeypatch, capsys, tmp_path):
    table = tmp_path / "table.md"
    table.write_text("| name | time |\n|---|---|\n| `hinge` | 9.99 |\n| `r1` | 9.99 |\n")
    monkeypatch.setattr(sys, "argv", ["objectives.py", "--quick", "--only", "hinge", "--out", str(tmp_path / "found.jsonl")])
    assert objectives.main() == 0
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads((tmp_path / "found.jsonl").read_text()) and found["case"] == "hinge" and found["turns"] == 2
    assert 0 < found["low"] <= found["relative"] <= found["high"]
    assert objectives.fill(table, {"hinge": 1.234}) == 1
    assert table.read_text().splitlines()[2:] == ["| `hinge` | 1.23 |", "| `r1` | 9.99 |"]
    for *words, said in (
        ["--only", "hing", "no case"],
        ["--out", str(tmp_path / "none" / "x"), "--out"],
        ["--fill", "x", "--fill"],
    ):
        monkeypatch.setattr(sys, "argv", ["objectives.py", *words])
        with pytest.raises(UserError, match=said):
            objectives.main()


def test_metrics_are_timed_and_a_missing_side_is_told(monkeypatch, capsys):
    words = ["--features", "40", "--metrics", "precision, recall", "--python", f"torch-fidelity={sys.executable}"]
    monkeypatch.setattr(sys, "argv", ["metrics.py", *words])
    ran, missing = subprocess.run, SimpleNamespace(returncode=1, stdout="", stderr="No module\n")  # also where it is installed
    asked = lambda command, **more: missing if "torch-fidelity" in command else ran(command, **more)
    monkeypatch.setattr(subprocess, "run", asked)
    assert metrics.main() == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert found == found | {"side": "jaxgan", "what": "precision, recall", "rows": 40, "jaxgan_is_faster_by": 1.0}
    assert "left out: statistics of torch-fidelity (No module)" in err and "host" in found


WRONG = {
    "aot": [
        ["nothing", "there is no config"],
        ["--cases", "nothing", "there is no case"],
        ["give a config"],
        ["--cases", "upsample 16x16x64", "--devices", "2", "one device"],
    ],
    "metrics": [["--features", "999", "1000"], ["--weights", "nothing", "no such file"]],
    "scaling": [["gan", "--devices", "3", "cannot be split among 3"]],
    "step": [["digit", "nearest is digits"], ["--steps", "0", "1 or more"]],
    "ops": [["upsample", "there is no case"]],
    "data": [["--images", "0", "1 or more"]],
    "marks": [["digits", "--keys", "0", "1 or more"]],
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_measured_is_refused_in_a_line(name, monkeypatch, capsys):
    with mock.patch.dict(os.environ):  # `aot` changes it
        module = __import__(f"benchmarks.{name}", fromlist=["main"])
    for *words, said in WRONG[name]:
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *words])
        with pytest.raises(SystemExit, match="2"):
            module.main()
        err = capsys.readouterr().err
        assert said in err.splitlines()[-1] and err.startswith(f"usage: python -m benchmarks.{name}")


def test_a_mistake_is_a_line_and_a_line_says_where_it_is_from(tmp_path, capsys):
    def wrong():
        raise UserError("no such data")

    with pytest.raises(SystemExit, match="2"):
        result.as_command(wrong)
    assert capsys.readouterr().err == "error: no such data\n"
    result.say({"ms": 1}, str(tmp_path / "a.jsonl"))
    result.say({"ms": 2}, str(tmp_path / "a.jsonl"))
    first, second = map(json.loads, (tmp_path / "a.jsonl").read_text().splitlines())
    assert (first["ms"], second["ms"]) == (1, 2) and first["host"] and first["commit"] and first["jax"]


@pytest.mark.slow
def test_every_kind_of_input_is_measured_beside_the_step():
    found = lines("data", "gan", "--size", 8, "--images", 16, "--batch", 2, "--steps", 1, "--turns", 1)
    assert len(found) == 5 and found[0]["input"] == "on the device" and found[0]["step"] == 1
    assert all(line["rate_img_per_s"] > 0 and line["times"] > 0 for line in found)


@pytest.mark.slow
def test_both_formulations_of_an_operation_are_measured_to_be_equal():
    for found in lines("ops", "grouped block 8x8 32 groups 4", "upsample 16x16x64", "--batch", 2, "--turns", 1):
        assert found["error"] < 1e-5 and {"forward", "gradient", "double gradient"} <= found.keys()


def test_marks_are_found_and_copies_refused():
    marked, stolen, wrong, copies = lines("marks", "digits", "--images", 64, "--keys", 4, "--train", 300)
    assert marked["found"]["as written"] == {"single": 100.0, "sets": 100.0} and 40 < marked["found"]["psnr"] < 50
    assert stolen["stolen"]["from 16"]["forged"] > 90 and stolen["stolen"]["from 16"]["cleaned"] < 10
    assert wrong["false positives"]["scores"] == 4 * 64 and 0.7 < wrong["false positives"]["deviation"] < 1.3
    assert copies["refused"]["exact copies"] == 100 and copies["refused"]["fresh"] < 5


def test_the_images_that_a_step_is_measured_on_have_classes_where_the_config_has():
    classes = {"digits": 10, "sngan-cifar10": 10, "wgan_gp-cifar10": 0, "stylegan2-256": 0}
    assert {name: step.noise(CONFIGS[name], 8).classes for name in classes} == classes


PROGRAM = """
%body (p: (f32[8])) -> (f32[8]) {
  %p = (f32[8]{0}) parameter(0)
  %x = f32[8]{0} get-tuple-element(%p), index=0
  %twice = f32[8]{0} fusion(%x), kind=kLoop, calls=%fused
  ROOT %t = (f32[8]{0}) tuple(%twice)
}

%branch (p: (f32[8])) -> (f32[8]) {
  ROOT %p = (f32[8]{0}) parameter(0)
}

ENTRY %main (a: bf16[64,32,32,768], k: bf16[768,3,3,8], q: f32[5,64,128], r: f32[5,128,256]) -> f32[5,64,256] {
  %a = bf16[64,32,32,768]{3,2,1,0} parameter(0)
  %k = bf16[768,3,3,8]{3,2,1,0} parameter(1)
  %q = f32[5,64,128]{2,1,0} parameter(2)
  %r = f32[5,128,256]{2,1,0} parameter(3)
  %c = (bf16[64,32,32,768]{3,2,1,0}, u8[0]{0}) custom-call(%a, %k), window={size=3x3 pad=1_1x1_1}, dim_labels=b01f_o01i->b01f, \
feature_group_count=96, custom_call_target="__cudnn$convForward", metadata={op_name="jit(f)/conv"}
  %w = (f32[768,3,3,8]{3,2,1,0}, u8[0]{0}) custom-call(%a, %a), window={size=3x3 pad=1_1x1_1}, dim_labels=b01f_o01i->b01f, \
feature_group_count=96, custom_call_target="__cudnn$convBackwardFilter"
  %i = (bf16[64,64,64,3]{3,2,1,0}, u8[0]{0}) custom-call(%a, %k), window={size=3x3 stride=2x2}, dim_labels=b01f_o01i->b01f, \
custom_call_target="__cudnn$convBackwardInput"
  %sum = bf16[64,32,32,768]{3,2,1,0} fusion(%a, %a), kind=kLoop, calls=%fused
  %while = (f32[8]{0}) while(%tuple), condition=%cond, body=%body, backend_config={"known_trip_count":{"n":"7"}}
  %either = (f32[8]{0}) conditional(%one, %tuple, %tuple), branch_computations={%body, %branch}
  %done = f32[8]{0} copy-done(%started)
  ROOT %d = (f32[5,64,256]{2,1,0}, s8[4]{0}) custom-call(%q, %r), custom_call_target="__cublas$lt$matmul", \
backend_config={"dot_dimension_numbers":{"lhs_batch_dimensions":["0"]}}
}
""".replace("\\\n", "")


def test_the_estimate_counts_the_arithmetic_and_the_bytes_of_a_program():
    conv, kernel, back, total, loop, branch, product = roofline.kernels(PROGRAM)
    pixels, size = 64 * 32 * 32, 2 * 64 * 32 * 32 * 768
    assert (conv.operations, conv.source, conv.times) == (2 * pixels * 768 * 9 * 8, "jit(f)/conv", 1)
    assert conv.bytes == 2 * size + 2 * 768 * 9 * 8
    assert kernel.operations == conv.operations
    assert back.operations == 2 * pixels * 768 * 9 * 8  # each value of the output's gradient meets each weight of its filter
    assert total.bytes == 3 * size and total.seconds == 3 * size / roofline.BANDWIDTH
    assert (loop.times, loop.bytes, loop.seconds) == (7, 64, roofline.LEAST) and branch == loop._replace(times=1)
    assert product.operations == pytest.approx(2 * 5 * 64 * 128 * 256)
