"""What is said of runs in every state, from directories made for it."""

import json
import os
import platform
import re
import time
from types import SimpleNamespace

import pytest

from experiments import status as command
from jaxgan import journal, lock, status, watch
from jaxgan.errors import UserError

ELSEWHERE = {"time": "2026-01-01T00:00:00+00:00", "event": "start", "who": "node7, process 4711", "job": "99"}
HERE = ELSEWHERE | {"who": f"{platform.node()}, process 1"}


@pytest.fixture
def run(tmp_path):
    """A run of 40 of 200 kimg, 2 kimg each 10 s; 1 s of it is measuring."""
    directory = tmp_path / "a"
    (directory / "checkpoints" / "500").mkdir(parents=True)
    (directory / "checkpoints" / "500" / "data").write_bytes(b"x" * 1000)
    config = {"jaxgan": "0", "generator": {}, "settings": {"kimg": 200.0, "batch": 32}}
    (directory / "config.json").write_text(json.dumps(config))
    rows = [{"step": 62 * i, "kimg": 2.0 * i, "seconds": 10.0 * i, "img_per_s": 220.0, "d/adv": 0.5} for i in range(1, 21)]
    watch.add_lines(directory / "log.jsonl", [*rows[:9], rows[9] | {"swd": 12.0}, *rows[10:]])
    return directory


def note(directory, *events):
    watch.add_lines(directory / journal.EVENTS, events)


def test_a_run_that_trains(run):
    note(run, ELSEWHERE, {"time": "", "event": "note", "said": "a note"}, HERE)
    with lock.lock_file(run / lock.LOCK):
        s = status.of(run, clock=lambda: time.time() + 60)
        assert (s.state, s.why, s.starts, s.kimg, s.total) == ("running", "", 2, 40.0, 200.0)
        assert s.who == f"{lock.own_name()}, job 99" and s.warnings == {}
        assert (s.img_per_s, s.usual, s.tick) == (220.0, 220.0, 10.0)
        assert s.left == pytest.approx(160 / 0.2) and 60 <= s.silent < 70 and 60 <= s.saved_ago < 70
        assert (s.saved, s.best, s.last) == (16.0, 16.0, {"d/adv": 0.5, "swd": 12.0})
        late = status.of(run, clock=lambda: time.time() + 4000)
        assert list(late.warnings) == ["silent"] and "nothing for 67 min; its longest tick took 10 s" in late.warnings["silent"]
    assert status.of(run).state == "died"
    skewed = status.of(run, clock=lambda: time.time() - 60)
    assert (skewed.silent, skewed.saved_ago) == (0, 0)


@pytest.mark.parametrize(
    "events, ago, state, why",
    [
        ([], 0, "stopped", ""),  # of before there were events
        ([HERE], 0, "died", "without a word: .* went down; what the cluster knows: sacct -j 99"),
        ([ELSEWHERE], 0, "running", "no lock of node7 is seen from here"),
        ([ELSEWHERE], 9000, "died", "without a word"),
        ([HERE, HERE | {"event": "end", "code": 143}], 0, "stopped by SIGTERM", ""),
        ([HERE, HERE | {"event": "end", "code": 0}], 0, "complete", ""),
        ([HERE, HERE | {"event": "end", "code": 2, "said": "the disk is full"}], 0, "failed", "the disk is full"),
        ([HERE, HERE | {"event": "end", "code": 3, "said": "a loss became NaN"}], 0, "diverged", "a loss became NaN"),
        ([HERE | {"event": "end", "code": 143}, HERE], 0, "died", "without a word"),
    ],
)
def test_how_a_run_ended(events, ago, state, why, run):
    note(run, *events)
    s = status.of(run, clock=lambda: time.time() + ago)
    assert s.state == state and re.search(why, s.why) and bool(why) == bool(s.why)
    assert (s.left == s.left) is (state == "running") and s.warnings == {}


def test_a_run_of_which_there_is_nothing_yet_and_one_that_is_none(run):
    (run / "log.jsonl").unlink()
    (run / "checkpoints" / "500" / "data").unlink()
    (run / "checkpoints" / "500").rmdir()
    s = status.of(run)
    assert (s.kimg, s.saved, s.best, s.last, s.warnings) == (0.0, None, None, {}, {})
    text = "\n".join(command.lines(s))
    assert "0 of 200 kimg (0.0%)\n" in text and "no checkpoint yet" in text and "nan" not in text
    with pytest.raises(UserError, match="not a run directory"):
        status.of(run / "checkpoints")


def test_a_disk_on_which_no_more_checkpoints_have_room_is_told(run, monkeypatch):
    usage = lambda free: lambda path: SimpleNamespace(free=free)
    monkeypatch.setattr(status.shutil, "disk_usage", usage(3001))
    assert status.of(run).warnings == {}
    monkeypatch.setattr(status.shutil, "disk_usage", usage(3000))
    assert status.of(run).warnings == {"disk": "0 MB are free, and a checkpoint takes 0 MB: make room before the next one fails"}


@pytest.mark.parametrize(
    "seconds, said",
    [
        (0, "0 s"),
        (99.4, "99 s"),
        (100, "2 min"),
        (5969, "99 min"),
        (6000, "1 h 40 min"),
        (9000, "2 h 30 min"),
        (3 * 86400 + 7300, "3 d 2 h"),
    ],
)
def test_times_are_for_people(seconds, said):
    assert status.span(seconds) == said


def test_the_command_says_one_run_in_lines_several_in_a_table_and_all_for_scripts(run, monkeypatch, capsys):
    (run / "samples").mkdir()
    note(run, HERE, HERE | {"event": "end", "code": 2, "said": "the disk is full"})
    say = lambda *words: (monkeypatch.setattr("sys.argv", ["status", *map(str, words)]), command.main(), capsys.readouterr().out)[
        2
    ]
    one = say(run)
    assert one.startswith(f"{run}: failed ({HERE['who']}, job 99): the disk is full\n  40 of 200 kimg (20.0%), 220 images/s")
    assert "checkpoint of 16 kimg" in one and "swd 12" in one and "done in" not in one
    other = run.with_name("b")
    run.rename(other)
    os.symlink(other, run)
    table = say(run, other)
    assert table.count("| failed ") == 2 and table.count("the disk is full") == 2
    lines = [json.loads(line) for line in say(run, other, "--json").splitlines()]
    assert [line["state"] for line in lines] == ["failed"] * 2 and lines[0]["left"] is None and lines[1]["kimg"] == 40
