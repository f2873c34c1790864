"""The benchmarks as a user runs them, small: that each measures what it says it does. Times are not looked at."""

import json
import os
import subprocess
import sys

import pytest

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
def test_both_formulations_of_an_operation_are_measured_to_be_equal():
    for found in lines("ops", "grouped block 8x8 32 groups 4", "upsample 16x16x64", "--batch", 2, "--turns", 1):
        assert found["error"] < 1e-5 and {"forward", "gradient", "double gradient"} <= found.keys()


def test_marks_are_found_and_copies_refused():
    marked, wrong, copies = lines("marks", "digits", "--images", 64, "--keys", 4, "--train", 300)
    assert marked["found"]["as written"] == {"single": 100.0, "sets": 100.0} and 40 < marked["found"]["psnr"] < 50
    assert wrong["false positives"]["scores"] == 4 * 64 and 0.7 < wrong["false positives"]["deviation"] < 1.3
    assert copies["refused"]["exact copies"] == 100 and copies["refused"]["fresh"] < 5
