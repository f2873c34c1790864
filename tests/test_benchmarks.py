"""The benchmarks as a user runs them, small: that each measures what it says it does. Times are not looked at."""

import json
import os
import subprocess
import sys

import pytest

from benchmarks import roofline, step
from experiments.configs import CONFIGS
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
