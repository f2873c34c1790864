"""The comparison with others: that the sides do the same, and that what was measured is not lost. Times are not looked at."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import jax
import pytest

from benchmarks import peer_jaxgan, peer_worker, peers, step, workers
from jaxgan import game
from tests.test_benchmarks import lines

WORKER = """
import sys, time
print("@a worker of tests", flush=True)
for line in sys.stdin:
    batch, steps = map(int, line.split())
    if {fails} == steps:
        sys.exit("out of memory")
    time.sleep({sleeps}.get(steps, 0))
    print("chatter of a framework")
    print(f"@{{batch * {speed}}}", flush=True)
"""
READY, TURN = 3, 10  # the steps that are asked for at batch 4: to warm up, and in each turn


def sides(tmp_path, **given) -> dict[str, tuple]:
    """Workers by name: (speed, the steps at which it fails, {steps: seconds that they take})."""
    for name, (speed, fails, sleeps) in given.items():
        (tmp_path / f"{name}.py").write_text(WORKER.format(speed=speed, fails=fails, sleeps=sleeps))
    return {name: (str(tmp_path / f"{name}.py"), "") for name in given}


def compared(some, capsys, *, limit=None, turns=2) -> tuple[dict[str, dict], str]:
    """{side: its line} at batch 4, and what was told."""
    args = SimpleNamespace(only=None, batch=[4], images=40, turns=turns, out=None)
    written = peers.compare("tutorial", some, args, {}, limit and time.monotonic() + limit)
    out, err = capsys.readouterr()
    found = [json.loads(line) for line in out.splitlines()]
    assert len(found) == written
    return {row["side"]: row for row in found}, err


def test_our_step_and_plain_flax_take_turns():
    ours, plain = lines("peers", "--only", "plain flax", "--batch", 2, "--images", 2, "--turns", 1)
    assert (ours["side"], ours["jaxgan_is_faster_by"], plain["side"]) == ("jaxgan", 1.0, "plain flax")
    assert plain["jaxgan_is_faster_by"] == pytest.approx(plain["ms"] / ours["ms"], rel=0.01)
    assert {"game": "tutorial", "batch": 2, "turns": 1, "steps": 2}.items() <= plain.items()
    assert ours["about"] == f"jax {jax.__version__}, cpu" and {"host", "commit", "jaxgan"} <= ours.keys()


@pytest.mark.parametrize(
    ("name", "device", "counted"),
    [
        ("r3gan", "cpu", (285_888, 281_856)),
        ("r3gan", "gpu", (20_732_160, 20_683_776)),
        ("stylegan2", "cpu", (1_050_195, 1_153_473)),
        ("stylegan2", "gpu", (24_767_458, 24_001_089)),
    ],
)
def test_our_networks_are_the_official_ones(name, device, counted):
    """Parameters as counted in the official code with `peer_sizes`."""
    settings = peer_jaxgan.settings(name, device)
    design = step.designed(settings, step.noise(settings, 1))
    shapes = jax.eval_shape(lambda: game.init(design.generator, design.discriminator, 0))
    assert tuple(sum(math.prod(a.shape) for a in jax.tree.leaves(player["params"])) for player in shapes) == counted
    assert {design.generator.dtype, design.discriminator.dtype} == {jax.numpy.bfloat16 if device == "gpu" else jax.numpy.float32}


def test_every_side_can_be_named_and_no_name_is_silently_dropped(capsys, tmp_path, monkeypatch):
    place = tmp_path / "checkout"
    for _, file in peers.CHECKOUTS.values():
        (place / file).parent.mkdir(parents=True)
        (place / file).touch()
    given = {"games": None, "only": None, "r3gan": str(place), "stylegan3": str(place)}
    games = peers.chosen(SimpleNamespace(**given), None)
    assert set(games) == set(peers.PERIOD) and {name for some in games.values() for name in some} == set(peers.NAMES)
    assert all((workers.HERE / file).is_file() for some in games.values() for file, *_ in some.values())
    wrong = [
        ("--games", "r3gan"),
        ("--games", "tutorial", "--stylegan3", str(place)),
        ("--stylegan3", str(tmp_path)),
        ("--only", "official"),
        ("--python", "torch"),
        ("--python", "jax=" + sys.executable),
        ("--python", f"torch={tmp_path / 'none'}"),
        ("--batch", "0"),
        ("--out", str(tmp_path / "none" / "found.jsonl")),
    ]
    for words in wrong:
        monkeypatch.setattr(sys, "argv", ["peers.py", *words])
        with pytest.raises(SystemExit, match="2"):
            peers.main()
        assert words[0] in capsys.readouterr().err


def test_the_ratio_is_of_the_times_in_a_turn(tmp_path, capsys):
    found, err = compared(sides(tmp_path, jaxgan=(0.01, 0, {}), other=(0.02, 0, {})), capsys)
    assert found["other"] == found["other"] | {"ms": 80.0, "img_per_s": 50.0, "jaxgan_is_faster_by": 2.0, "each_ms": [80.0, 80.0]}
    assert found["jaxgan"]["jaxgan_is_faster_by"] == 1.0 and found["jaxgan"]["about"] == "a worker of tests"
    assert "round 2 of 2: jaxgan 40.00 ms, other 80.00 ms" in err


def test_what_fails_is_told_and_the_others_go_on(tmp_path, capsys):
    some = sides(tmp_path, jaxgan=(0.01, 0, {}), early=(1, READY, {}), late=(1, TURN, {}), other=(0.02, 0, {}))
    found, err = compared(some, capsys)
    assert set(found) == {"jaxgan", "other"} and [row["turns"] for row in found.values()] == [2, 2]
    assert "early stopped (out of memory)" in err and "late stopped (out of memory)" in err
    found, err = compared(sides(tmp_path, jaxgan=(0.01, READY, {}), other=(0.02, 0, {})), capsys)
    assert found["other"]["ms"] == 80.0 and found["other"]["jaxgan_is_faster_by"] is None
    slow = sides(tmp_path, jaxgan=(0.01, 0, {READY: 1}))  # the other has ended long before it is asked
    found, err = compared(slow | {"absent": (str(tmp_path / "absent.py"), "")}, capsys)
    assert set(found) == {"jaxgan"} and "left out: absent" in err and "No such file" in err


def test_at_the_limit_there_is_what_was_measured_until_then(tmp_path, capsys):
    found, err = compared(sides(tmp_path, jaxgan=(0.01, 0, {TURN: 0.4}), other=(0.02, 0, {})), capsys, limit=1.5, turns=9)
    assert set(found) == {"jaxgan", "other"} and 1 <= found["other"]["turns"] < 9 and "the time is up after" in err
    began = time.monotonic()
    found, err = compared(sides(tmp_path, stuck=(1, 0, {TURN: 60}), jaxgan=(0.01, 0, {})), capsys, limit=1.0)
    assert time.monotonic() - began < 30
    assert set(found) == {"jaxgan"} and "stuck stopped (it was not ready when the time was up)" in err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_who_stops_it_keeps_what_was_measured(tmp_path, number):
    program = "from benchmarks import peers, result\n"
    program += f"peers.SIDES = {sides(tmp_path, jaxgan=(0.01, 0, {}), other=(0.02, 0, {TURN: 0.5}))!r}\n"
    program += "result.as_command(peers.main)"
    out = tmp_path / "found.jsonl"
    command = [sys.executable, "-c", program, "--batch", "4", "--images", "40", "--turns", "99", "--out", str(out)]
    root = workers.HERE.parent
    with subprocess.Popen(command, cwd=root, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        for line in process.stderr:
            if "round 1 of" in line:
                os.kill(process.pid, number)
                break
        said = process.stderr.read()
        assert process.wait(20) == 128 + number and "Traceback" not in said
    assert [json.loads(line)["turns"] for line in out.read_text().splitlines()][1] >= 1


def test_a_worker_answers_what_it_is_asked(monkeypatch, capsys):
    made = []
    monkeypatch.setattr(sys, "stdin", ["4 2\n", "4 3\n", "8 1\n"])
    peer_worker.serve("versions", lambda batch: lambda steps: made.append((batch, steps)))
    assert made == [(4, 1), (4, 2), (4, 3), (8, 1), (8, 1)]  # each size is built, and run once, before it is timed
    first, *times = capsys.readouterr().out.splitlines()
    assert first == "@versions" and len(times) == 3 and all(float(t[1:]) >= 0 for t in times)
