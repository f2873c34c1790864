"""What a run's events say of its end, whatever that is."""

import signal

import pytest

from jaxgan import journal, lock
from jaxgan.errors import Diverged, UserError


def test_the_end_is_noted_with_what_was_raised_and_the_code_of_the_command(tmp_path, monkeypatch):
    for name in journal.JOBS:
        monkeypatch.delenv(name, raising=False)
    cases = {
        UserError("the disk\n is full"): (2, "the disk is full", "failed"),
        Diverged("a loss became NaN"): (3, "a loss became NaN", "diverged"),
        RuntimeError("x" * 900): (1, "RuntimeError: " + "x" * 500, "failed"),
        SystemExit("no better for 200 kimg"): (1, "no better for 200 kimg", "stopped"),
        KeyboardInterrupt(): (130, "KeyboardInterrupt: KeyboardInterrupt", "stopped by SIGINT"),
    }
    for error, (code, said, ended) in cases.items():
        with pytest.raises(type(error)), journal.opened(tmp_path, kimg=1.5):
            raise error
        start, end = journal.read(tmp_path)[-2:]
        assert (start["event"], start["kimg"], start["who"], "job" in start) == ("start", 1.5, lock.own_name(), False)
        assert (end["event"], end["code"], end["said"]) == ("end", code, said) and start["time"] <= end["time"]
        assert journal.ended(end) == ended
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    for code, ended in ((0, "complete"), (128 + signal.SIGTERM, "stopped by SIGTERM"), (128 + 120, "failed")):
        with journal.opened(tmp_path) as end:
            end["code"] = code
        *_, start, end = journal.read(tmp_path)
        assert start["job"] == "4711" and journal.ended(end) == ended and end["code"] == code


def test_who_has_lost_the_directory_to_another_process_does_not_say_that_this_has_ended(tmp_path):
    with pytest.raises(UserError), journal.opened(tmp_path):
        (tmp_path / lock.LOCK).write_text("node7, process 4711")
        raise UserError("another process has begun to train here")
    assert [line["event"] for line in journal.read(tmp_path)] == ["start"]


def test_what_cannot_be_noted_ends_no_run(tmp_path):
    with journal.opened(tmp_path / "gone") as end:
        end["code"] = 0
    assert journal.read(tmp_path / "gone") == []
    (tmp_path / journal.EVENTS).write_text('[1]\n{"event": "start"}\n{"time": "2026", "ev')
    assert journal.read(tmp_path) == []
