"""The training command as a user runs it: what it leaves, how it stops, resumes and refuses."""

import contextlib
import errno
import json
import os
import re
import shutil
import signal
import socket
import sys
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from PIL import Image

from experiments import sample
from experiments.configs import CONFIGS
from jaxgan import calls, disk, journal, marks, parallel, results, status, stopping
from jaxgan import run as loop
from jaxgan.errors import UserError
from jaxgan.lock import LOCK, lock_file
from jaxgan.method import Phase, Recipe, Term, Turn
from jaxgan.run import Machine, explained, steps_per_call
from jaxgan.stopping import Signals
from tests import commands, shared
from tests.commands import assert_equal, final_state

pytestmark = pytest.mark.slow
run = partial(commands.run, quick=False)  # the programs that users get
quickly = commands.run  # where nothing is compared to the bit with what those made
IMAGES = commands.CACHE.with_suffix(".npz")
TINY = [*commands.TINY, "--data", str(IMAGES)]
GAN = ["gan", "--batch", "4", "--tick-kimg", "0.02", "--data", str(IMAGES)]


@pytest.fixture(scope="module", autouse=True)
def images():
    """As many as a snapshot shows; of more data it draws, and compares, up to 1,024 images, half of a run's time."""
    np.savez(IMAGES, images=np.random.default_rng(0).integers(0, 256, (64, 28, 28, 1), np.uint8))
    yield
    IMAGES.unlink()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run that nobody disturbed."""
    directory = tmp_path_factory.mktemp("runs") / "whole"
    code, out, err = run("train", *TINY, "--run-dir", directory)
    assert code == 0, err
    return directory, out


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A run of a small network, and its arguments: where the network does not matter."""
    directory, args = tmp_path_factory.mktemp("small") / "whole", [*GAN, "--kimg", "0.16", "--snapshot-kimg", "0.04"]
    code, out, err = quickly("train", *args, "--run-dir", directory)
    assert code == 0 and "on 1 x" in out, err
    return directory, args


def log(directory):
    return [json.loads(line) for line in (directory / "log.jsonl").read_text().splitlines()]


def saved(directory):
    return [int(p.name) for p in (directory / "checkpoints").glob("*") if p.name.isdigit()]


def test_a_run_leaves_pictures_curves_a_log_and_checkpoints(finished):
    directory, out = finished
    rows = log(directory)
    assert [row["step"] for row in rows] == list(range(5, 41, 5)) and "img_per_s" in rows[0]
    assert all(np.isfinite(row["d/adv"]) and np.isfinite(row["g/adv"]) for row in rows)
    assert "swd" in rows[-1] and rows[-1]["variety"] >= 0 and "done" in out
    assert status.of(directory)[1:7] == ("complete", "", journal.read(directory)[0]["who"], 1, 0.16, 0.16)
    for name in ("samples/reals.png", "samples/kimg000000.160.png", "curves.png"):
        with Image.open(directory / name) as picture:
            picture.load()
            assert picture.width > 200
            assert marks.of_picture(picture).kind == ("trainedAlgorithmicMedia" if "kimg" in name else None)
    last = max(path.stat().st_mtime_ns for path in (directory / "samples").iterdir())
    assert (directory / "curves.png").stat().st_mtime_ns > last  # drawn at the end, whatever it takes
    config = json.loads((directory / "config.json").read_text())
    assert config["settings"]["batch"] == 4 and config["data"]["images"] == 64 and config["versions"]["jax"]
    assert not list(directory.rglob("*.part")) and not list(directory.rglob("*.pkl"))


def test_a_finished_run_says_so(finished):
    for args in ([*TINY, "--run-dir", finished[0]], [finished[0]]):  # the run itself knows its options
        code, out, err = run("train", *args)
        assert code == 0 and f"{finished[0]} is complete" in out, err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])  # SIGTERM: tests/test_growing.py
def test_a_stopped_run_resumes_to_the_same_bits(finished, small, tmp_path, number):
    directory = tmp_path / "stopped"
    optimised = number == signal.SIGKILL  # the programs that users get
    whole, args, again = (finished[0], TINY, run) if optimised else (*small, quickly)
    process = commands.start("train", *args, "--run-dir", directory, quick=not optimised)
    until = time.time() + 240
    while not saved(directory) and time.time() < until:
        time.sleep(0.02)
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    assert process.returncode == (128 + number if number == signal.SIGTERM else -number), err
    assert (number == signal.SIGKILL) != ("stopping: the steps under way are finished and saved" in err)
    assert max(saved(directory)) < 40, "too late to be a test"
    code, out, err = again("train", *args, "--run-dir", directory)
    assert code == 0 and "resuming" in out, err
    events = [(line["event"], line.get("code")) for line in journal.read(directory) if line["event"] != "note"]
    ended = [("end", 128 + number)] if number != signal.SIGKILL else []  # who is killed says nothing
    assert events == [("start", None), *ended, ("start", None), ("end", 0)]
    assert_equal(final_state(whole), final_state(directory))
    steps = [row["step"] for row in log(directory)]
    assert steps == sorted(set(steps)) and steps[-1] == 40


def test_a_damaged_checkpoint_is_named_and_the_one_before_is_taken(finished, tmp_path):
    directory = tmp_path / "damaged"
    shutil.copytree(finished[0], directory)
    for path in (directory / "checkpoints" / "40").rglob("d/*"):
        raw = bytearray(path.read_bytes())
        raw[len(raw) // 2] ^= 0xFF
        path.write_bytes(raw)
    measured = [{"of": {"run": "of evaluate"}}, *({"of": {"kimg": kimg}} for kimg in (0.08, 0.12, 0.124, 0.16))]
    (directory / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in measured))
    code, out, err = run("train", *TINY, "--run-dir", directory)
    assert code == 0 and "checkpoints/40: the checkpoint is damaged" in out and "; resuming from step 30" in out, err
    assert_equal(final_state(finished[0]), final_state(directory))
    assert [row["step"] for row in log(directory)] == list(range(5, 41, 5))  # what comes again is said once
    assert [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()] == measured[:3]


def test_a_changed_config_refuses_shows_the_difference_and_can_be_forced(small, tmp_path):
    directory, args = tmp_path / "changed", small[1]
    shutil.copytree(small[0], directory)
    before = (directory / "config.json").read_text()
    code, _, err = quickly("train", *args, "--lr", "0.05", "--run-dir", directory)
    assert code == 2 and "lr was 0.1, is 0.05" in err and "--resume force" in err
    code, _, err = quickly("train", directory, "--lrg", "0.05")
    assert code == 2 and f"experiments.train {directory} --help" in err, err
    code, _, err = quickly("train", *args, "--dtype", "bfloat16", "--run-dir", directory)
    assert code == 2 and "generator.fields.dtype was float32, is bfloat16" in err and "{" not in err, err
    code, _, err = quickly("train", *TINY, "--run-dir", directory)
    assert (
        code == 2 and "config was gan, is digits-tutorial; " in err and " more. Give another --run-dir" in err and len(err) < 600
    ), err
    code, _, err = quickly("train", *args, "--batch", "8", "--kimg", "1", "--resume", "force", "--run-dir", directory)
    assert code == 2 and "counts its progress in steps of 4 images; give --batch 4" in err, err
    assert (directory / "config.json").read_text() == before
    code, out, err = quickly("train", *args, "--lr", "0.05", "--kimg", "0.2", "--resume", "force", "--run-dir", directory)
    assert code == 0 and "lr was 0.1, is 0.05" in out, err
    assert log(directory)[-1]["step"] == 50


def test_a_forced_config_that_does_not_fit_leaves_the_run_as_it_was(finished, tmp_path):
    directory = tmp_path / "wider"
    shutil.copytree(finished[0], directory)
    files = lambda: {path: path.read_bytes() for path in directory.rglob("*") if path.is_file() and path.name != LOCK}
    before = files()
    more = ["--posthoc", "0.05", "0.1", "--kimg", "0.2", "--resume", "force"]
    code, _, err = run("train", *TINY, *more, "--run-dir", directory)
    assert code == 2 and "not those of this config" in err and len(err.strip().splitlines()) == 1, err
    assert files() == before


def test_a_directory_is_one_processs(finished, tmp_path):
    directory = tmp_path / "held"
    shutil.copytree(finished[0], directory)
    with lock_file(directory / LOCK):
        code, _, err = run("train", *TINY, "--run-dir", directory)
        assert code == 2 and "another process is training here" in err and len(err.strip().splitlines()) == 1, err
    assert run("train", *TINY, "--run-dir", directory)[0] == 0


def test_a_start_that_was_killed_at_once_can_be_made_again(tmp_path):
    (tmp_path / "run").mkdir()
    for name in (LOCK, "config.json.123.part"):
        (tmp_path / "run" / name).write_text("{")
    args = [*GAN, "--kimg", "0.02", "--run-dir", tmp_path / "run"]
    code, out, err = quickly("train", *args)
    assert code == 0 and "done" in out, err
    part = tmp_path / "run" / "samples" / "kimg000000.020.png.123.part"
    part.write_text("")
    (tmp_path / "run" / "config.json").write_text("")
    code, _, err = quickly("train", *args)
    assert code == 2 and "its config.json is damaged; --resume force" in err, err
    code, out, err = quickly("train", *args, "--resume", "force")
    assert code == 0 and "complete" in out and (tmp_path / "run" / "config.json").read_text(), err
    assert not part.exists() and not list((tmp_path / "run").glob("*.part"))


def test_a_stop_changes_no_measurement_and_no_average(tmp_path):
    """Interrupted between two snapshots: what is measured and averaged is as without. Two steps before the end comes none."""
    args = [*GAN, "--snapshot-kimg", "0.04", "--posthoc", "0.05", "0.1"]
    args += ["--metrics", "swd2k", "--metrics-kimg", "0.08", "--kimg"]
    for name, stops in (("whole", ["0.208"]), ("stopped", ["0.06", "0.208"])):
        for kimg in stops:  # a run with a shorter --kimg ends with a measurement of its own, whose line says its kimg
            code, _, err = quickly("train", *args, kimg, "--resume", "force", "--run-dir", tmp_path / name)
            assert code == 0, err
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    measured = lambda d: [json.loads(line)["of"]["kimg"] for line in (d / "metrics.jsonl").read_text().splitlines()]
    assert measured(whole) == [0.08, 0.16, 0.208] and measured(stopped) == [0.06, 0.08, 0.16, 0.208]
    averages = lambda d: sorted(int(p.name) for p in (d / "averages").iterdir() if p.name.isdigit())
    assert averages(whole) == [10, 20, 30, 40, 52] and set(averages(stopped)) == {15, *averages(whole)}
    of = lambda step: jax.tree.leaves(disk.read_item(stopped / "averages", step, "averages"))
    before = {step: of(step) for step in (30, 52)}
    shutil.rmtree(stopped / "checkpoints" / "52")  # back, and on with another config: its averages are of its own networks
    code, _, err = quickly("train", *args, "0.208", "--resume", "force", "--lr", "0.01", "--run-dir", stopped)
    same = lambda step: all(map(np.array_equal, before[step], of(step)))
    assert code == 0 and same(30) and not same(52), err


def test_a_config_that_trained_nothing_yet_may_be_mended(small, tmp_path):
    (tmp_path / "run").mkdir()
    shutil.copy(small[0] / "config.json", tmp_path / "run")
    code, out, err = quickly("train", *small[1], "--lr", "0.05", "--kimg", "0.2", "--run-dir", tmp_path / "run")
    assert code == 0 and "done" in out, err
    assert json.loads((tmp_path / "run" / "config.json").read_text())["settings"]["lr"] == 0.05


def test_several_devices_train_the_same_network(small, tmp_path):
    four = (*small[1], "--cpu-devices", "4", "--run-dir", tmp_path / "four")  # the config says 1, whatever the environment says
    code, out, err = quickly("train", *four)
    assert code == 0 and "on 4 x" in out, err
    whole, one = final_state(tmp_path / "four"), final_state(small[0])
    for a, b in zip(*(jax.tree.leaves(state["generator"]["params"]) for state in (one, whole)), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)  # a rate a thousandth higher moves them by 1e-4
    shutil.rmtree(tmp_path / "four" / "checkpoints" / "40")  # stopped before the end, and resumed on as many: the same bits
    code, out, err = quickly("train", *four)
    assert code == 0 and "resuming at" in out and "on 4 x" in out, err
    assert_equal(whole, final_state(tmp_path / "four"))


def test_two_processes_train_one_run_with_averages_and_where_one_is_killed_the_other_ends_and_they_resume(tmp_path):
    with socket.socket() as s:
        s.bind(("localhost", 0))
        port = s.getsockname()[1]
    args = [*GAN, "--snapshot-kimg", "0.4", "--posthoc", "0.05", "0.1", "--resume", "force"]
    args += ["--run-dir", tmp_path / "run", "--coordinator", f"localhost:{port}", "--processes", "2"]
    steps = lambda part: sorted(int(p.name) for p in (tmp_path / "run" / part).glob("*") if p.name.isdigit())
    started = lambda kimg: [commands.start("train", *args, "--kimg", kimg, "--process", i) for i in range(2)]
    both, end = started("4000"), time.monotonic() + 120
    try:
        while time.monotonic() < end and not (steps("checkpoints") and 10 < log(tmp_path / "run")[-1]["step"] % 100 < 60):
            time.sleep(0.02)  # not while it saves: then the other waits until JAX misses the heartbeats, 100 seconds
        both[1].kill()
        said = [process.communicate(timeout=60) for process in both]
    finally:
        [process.kill() for process in both]
    assert both[0].returncode == 2 and "have lost contact with one another" in said[0][1].splitlines()[-1], said
    done = steps("checkpoints")[-1]
    both = started(f"{(done + 20) * 0.004:g}")
    try:
        said = [process.communicate(timeout=120) for process in both]
    finally:
        [process.kill() for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert "on 2 x" in said[0][0] and f"resuming at {done * 0.004:g} kimg" in said[0][0], said
    assert steps("averages") == [*range(100, done + 1, 100), done + 20]
    assert [row["step"] for row in log(tmp_path / "run")] == list(range(5, done + 21, 5))


def test_memory_that_ends_is_one_line_and_what_we_do_not_know_stays_itself(monkeypatch):
    error = jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 9 bytes.\nmore")
    said = explained(error, CONFIGS["gan"])
    assert isinstance(said, UserError) and "allocate 9 bytes); --accum 2, --remat" in str(said)
    other = jax.errors.JaxRuntimeError("x: Error dispatching computation: INTERNAL: an assertion\nmore")
    assert explained(other, CONFIGS["gan"]) is None
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    assert "have lost contact with one another (INTERNAL: an assertion); start them all" in str(explained(other, CONFIGS["gan"]))
    assert str(explained(jax.errors.JaxRuntimeError("Out of memory"), CONFIGS["gan"])).startswith(
        "out of memory (Out of memory);"
    )


def test_a_run_ends_with_the_line_where_there_is_one(monkeypatch):
    monkeypatch.setattr(loop, "start_directory", lambda run: contextlib.nullcontext())
    for error, kind, says in (
        (jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: no more"), UserError, "^out of memory"),
        (jax.errors.JaxRuntimeError("INTERNAL: an assertion"), jax.errors.JaxRuntimeError, "^INTERNAL: an assertion"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), UserError, "^here: .* written any more .Disk quota exceeded.; free"),
        (OSError(errno.ENOENT, "No such file", "elsewhere"), OSError, "No such file"),
        (
            OSError(errno.ESTALE, "Stale", "here/log.jsonl"),
            UserError,
            "^here: .* any more .Stale.; look what .* the last checkpoint$",
        ),
    ):
        monkeypatch.setattr(loop, "_train", lambda run, on_tick, held, error=error: (_ for _ in ()).throw(error))
        with pytest.raises(kind, match=says):
            loop.train(SimpleNamespace(settings=CONFIGS["gan"], directory=Path("here")))


def test_a_directory_says_what_it_is_from_the_start_and_only_a_run_that_goes_on_says_it_anew(tmp_path):
    source, config = SimpleNamespace(labels=None), tmp_path / "run" / "config.json"
    started = SimpleNamespace(directory=config.parent, config={"a": 1}, source=source, settings=SimpleNamespace(seed=0))
    loop.start_directory(started).close()
    assert json.loads(config.read_text()) == {"a": 1}  # before there are checkpoints, which without it are nobody's
    started.config = {"a": 2}
    loop.start_directory(started).close()
    assert json.loads(config.read_text()) == {"a": 1}
    started.directory = config / "below"
    with pytest.raises(UserError, match="--run-dir .*below: it cannot be written"):
        loop.start_directory(started)


def test_a_second_signal_ends_at_once(monkeypatch, capfd):
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    monkeypatch.setattr(os, "_exit", sys.exit)
    with pytest.raises(SystemExit, match="143"), Signals() as signals:
        assert signals.caught == 0
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)  # `timeout` and `srun` send what the process group gets too
        assert signals.caught == signal.SIGINT and capfd.readouterr().err.count("once more stops at once") == 1
        signals.since -= 2
        for number in (signal.SIGHUP, *stopping.OTHERS):
            signal.raise_signal(number)
        signal.raise_signal(signal.SIGTERM)
    assert capfd.readouterr().err == ""
    assert [signal.getsignal(number) for number in numbers] == before
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    with Signals() as signals:  # a terminal that is closed sends two, and there is nothing to write to
        monkeypatch.setattr(os, "write", lambda *_: (_ for _ in ()).throw(OSError(errno.EIO, "gone")))
        signal.raise_signal(signal.SIGHUP)
        signal.raise_signal(signal.SIGHUP)
        assert signals.caught == signal.SIGHUP
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup has it
    with Signals() as signals:
        signal.raise_signal(signal.SIGHUP)
        assert signals.caught == 0
    signal.signal(signal.SIGHUP, before[2])
    for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU):  # with these clusters announce a job's end
        with Signals() as signals:
            signal.raise_signal(number)
            assert signals.caught == number
        heard = []
        signal.signal(number, lambda *said, heard=heard: heard.append(said[0]))
        with Signals() as signals:  # somebody else's
            signal.raise_signal(number)
            assert (signals.caught, heard) == (0, [number])
        signal.signal(number, signal.SIG_DFL)


def test_steps_a_call_are_as_asked_or_measured_but_one_on_a_cpu_and_of_streamed_images(monkeypatch):
    recipe = Recipe((Turn((Phase("d", (Term("t", 1.0, None, every=4),)),)),), {}, 8)
    machine = lambda resident: Machine("run", SimpleNamespace(resident=resident, at=lambda step: ("held", step)), {}, None)
    said = []
    steps = lambda resident, asked=0: steps_per_call(machine(resident), recipe, "state", "meter", 100, asked, said.append)
    assert steps(True) == steps(True, 7) == 1
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert steps(False) == steps(False, 7) == 1 and steps(True, 7) == 7
    monkeypatch.setattr(calls, "seconds_a_step", lambda *given: given)
    monkeypatch.setattr(calls, "fastest", lambda seconds, every, most: (every, most, seconds(12, 48)))
    monkeypatch.setattr(parallel, "from_main", lambda n: n)
    assert not said and steps(True) == (4, 100, ("run", ("held", 0), "state", "meter", recipe, 12, 48))
    monkeypatch.setattr(parallel, "from_main", lambda n: 12)
    assert steps(True) == 12 and said[1].endswith("to resume to the same bits, give --steps-per-call 12")


def test_a_run_on_another_number_of_devices_resumes(small, tmp_path):
    directory = tmp_path / "moved"
    shutil.copytree(small[0], directory)
    shutil.rmtree(directory / "checkpoints" / "40")
    code, out, err = quickly("train", *small[1], "--run-dir", directory, "--cpu-devices", "4")  # of that there is a program
    assert code == 0 and "resuming at 0.12 kimg" in out and "on 4 x" in out, err


def test_nan_stops_the_run_says_when_and_keeps_the_last_good(tmp_path):
    args = [*GAN, "--kimg", "0.4", "--snapshot-kimg", "0.02"]
    code, _, err = quickly("train", *args, "--lr", "1e18", "--run-dir", tmp_path / "nan")
    assert code == 3 and "NaN or infinite at" in err and "kimg" in err and "lower --lr" in err
    *_, last = log(tmp_path / "nan")
    assert last.keys() == {"step", "kimg", "seconds", "diverged"} and results.read(tmp_path / "nan").state == "diverged"
    assert len(err.strip().splitlines()) == 1


def test_streaming_trains_the_same_network_as_the_resident_set(small, tmp_path):
    code, _, err = quickly("train", *small[1], "--resident", "no", "--run-dir", tmp_path / "streamed")
    assert code == 0, err
    assert_equal(final_state(small[0]), final_state(tmp_path / "streamed"))


def test_samples(finished, tmp_path, monkeypatch):
    directory = finished[0]
    code, out, err = run("sample", directory, "--n", "5", "--out", tmp_path / "a.npz")
    assert code == 0, err
    run("sample", directory, "--n", "70", "--out", tmp_path / "b.npz")
    few, many = (shared.arrays(tmp_path / f"{name}.npz")["images"] for name in "ab")
    assert few.shape == (5, 28, 28, 1) and many.dtype == np.uint8
    np.testing.assert_array_equal(few, many[:5])
    assert run("sample", directory, "--n", "3", "--out", tmp_path / "folder")[0] == 0
    assert len(list((tmp_path / "folder").glob("*.png"))) == 3
    with Image.open(tmp_path / "folder" / "seed0_000001.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), few[1, ..., 0])
    assert run("sample", directory, "--out", tmp_path / "grid.png")[0] == 0 and (tmp_path / "grid.png").exists()
    for args, says in (
        (["--n", "0"], "at least one"),
        (["--label", "3"], "trained without labels"),
        (["--out", "a.jpg"], "write a .png"),
        (["--checkpoint", "7"], "no checkpoint of step 7"),
        (["--psi", "-1"], "psi"),
        (["--psi", "nan"], "psi is nan"),
        (["--seed", "99999999999999999999"], "seed is 99999999999999999999"),
        (["--rows", "-1"], "--rows -1"),
        (["--out", ""], "--out is empty"),
        (["--checkpoint", "²"], "latest, best or a step"),
    ):
        monkeypatch.setattr("sys.argv", ["sample", str(directory), *args])
        with pytest.raises(UserError, match=re.escape(says)) as e:
            sample.main()
        assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    "args, says",
    [
        (["digit"], "the nearest is digits"),
        (["digits", "--kimgs", "3"], "the nearest is --kimg"),
        (["digits", "--kimg", "many"], "could not convert"),
        (["digits", "--batch", "0"], "above 0"),
        (["digits", "--batch", "5000", "--mirror"], "digits has 1797 images; give --batch 3594 or less"),
        (["digits", "--hold-out", "1770"], "digits has 1797 images, 1770 of them held out"),
        (["digits", "--data", "nowhere/at/all"], "nowhere/at/all"),
        (["digits", "--accum", "3"], "nearest sizes are 30 or 33"),
        (["digits", "--size", "27", "29"], "27"),
        (["digits", "--conditional", "yes", "--data", "FOLDER"], "no labels"),
        (["digits", "--data", "BROKEN"], "broken.png"),
        (["digits", "--data", "EMPTY"], "EMPTY"),
        (["digits", "--data", "ONE"], "at least two"),
        (["digits", "--data", "MIXED", "--size", "None"], "--size"),
        (["digits", "--run-dir", "FOLDER"], "not a run of jaxgan"),
        (["digits", "--run-dir", "FOLDER/a.png/x"], "is a file"),
        (["digits-tutorial", "--size", "32", "32"], "28x28x1"),
        (["digits", "--augment", "twist"], "twist"),
        (["digits", "--augment", "flip", "--augment-p", "1.5"], "augmentation probability"),
        (["digits", "--augment-p", "0.9"], "--augment-p 0.9: it applies to augmentations, but --augment is empty"),
        (["digits", "--width", "0"], "--width 0: it must be above 0"),
        (["digits", "--every", "0"], "--every 0: it must be above 0"),
        (["digits", "--lr", "nan"], "--lr nan: give a finite number"),
        (["digits", "--kimg", "inf", "--tick-kimg", "inf"], "inf: give a finite number"),
        (["digits", "--b2", "1.5"], "--b2 1.5: it must be below 1"),
        (["sngan_cnn", "--standing", "-1"], "--standing -1: it must be 0 or more"),
        (["digits", "--jitter", "29"], "the images are 28x28"),
        (["digits", "--posthoc", "0.05"], "give two, such as"),
        (["digits", "--processes", "2"], "give --coordinator HOST:PORT"),
        (["digits", "--batch", "34", "--cpu-devices", "2"], "takes one of 2 images; the nearest sizes are 32 or 36"),
        (["digits", "--cpu-devices", "3"], "does not divide by 3 devices; the nearest sizes are 30 or 33"),
        (["gan", "--level", "0"], "--level 0: it must be between 0 and 1"),
        (["progan", "--steps-per-call", "2"], "growing networks take one step per call"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(args, says, tmp_path):
    rng = np.random.default_rng(0)
    draw = lambda path, *size: Image.fromarray(rng.integers(0, 256, size, np.uint8)).save(path)
    for name in ("FOLDER", "BROKEN", "EMPTY", "ONE", "MIXED"):
        (tmp_path / name).mkdir()
    for name in ("FOLDER", "BROKEN"):
        for i in range(40):
            draw(tmp_path / name / f"{i}.png", 28, 28)
    draw(tmp_path / "FOLDER" / "a.png", 28, 28)
    whole = (tmp_path / "FOLDER" / "1.png").read_bytes()
    (tmp_path / "BROKEN" / "broken.png").write_bytes(whole[: len(whole) // 2])
    draw(tmp_path / "ONE" / "1.png", 28, 28)
    draw(tmp_path / "MIXED" / "1.png", 28, 28)
    draw(tmp_path / "MIXED" / "2.png", 20, 28)
    args = [str(tmp_path / a) if a.isupper() or a.startswith("FOLDER/") else a for a in args]
    if "--run-dir" not in args:
        args += ["--run-dir", str(tmp_path / "run")]
    before = sorted(tmp_path.rglob("*"))
    code, out, err = run("train", *args)
    assert code == 2 and says in err, (code, out, err)
    assert err.startswith("error: ") and len(err.strip().splitlines()) == 1, err
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written(tmp_path):
    tmp_path.chmod(0o500)
    code, _, err = run("train", "digits", "--run-dir", tmp_path / "run")
    tmp_path.chmod(0o700)
    assert code == 2 and "not writable" in err
