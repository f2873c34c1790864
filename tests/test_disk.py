"""What is said where a checkpoint cannot be written or read, and where nothing is said; against a store that fails as asked."""

import logging
import shutil
import sys
import zlib
from collections import namedtuple
from types import SimpleNamespace

import numpy as np
import orbax.checkpoint as ocp
import pytest

from jaxgan import disk
from jaxgan.errors import UserError

TREE = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": [np.ones(2, np.int8), np.float32(3)]}


def store(directory, steps=(), **calls):
    """A `disk.Store` whose manager has these steps; each of its calls raises the exception given for it, or is noted."""
    seen = []

    def call(name):
        def do(*args, **options):
            seen.append((name, args, options))
            if name in calls:
                raise calls[name]

        return do

    names = ("save", "check_for_errors", "wait_until_finished")
    return disk.Store(directory, SimpleNamespace(all_steps=lambda: steps, **{name: call(name) for name in names})), seen


def test_one_line_says_why_and_which_checkpoint_is_left(tmp_path):
    full = OSError("\n [Errno 28] No space left on device: 'x'\nmore")
    for error, says in (
        (full, "the disk is full; free some space and start again"),
        (OSError("\n\nfirst line\nsecond"), "first line"),
        (ValueError(), "ValueError"),
        (ValueError("x" * 1000), "x" * 200),
    ):
        for left in ("no checkpoint has been written yet", "the last good checkpoint is step 12"):
            for call, go in (
                ("save", lambda s: disk.write(s, 13, {"tree": TREE}, {})),
                ("check_for_errors", disk.check),
                ("check_for_errors", disk.wait),
                ("wait_until_finished", disk.wait),
            ):
                with pytest.raises(UserError) as e:
                    go(store(tmp_path, **{call: error})[0])
                assert str(e.value) == f"{tmp_path}: a checkpoint could not be written ({says}); {left}"
            for step in (9, 12, "12.part"):
                (tmp_path / str(step)).mkdir(exist_ok=True)
        [(tmp_path / name).rmdir() for name in ("9", "12", "12.part")]


def test_a_step_is_written_once_and_where_there_is_room(tmp_path, monkeypatch):
    room, usage = 24 + 2 + 4, namedtuple("usage", "total used free")
    for free, steps, score, written in ((0.0, (3,), None, 0), (1.0, (), None, 1), (1.0, (2,), 0.5, 1)):
        monkeypatch.setattr(shutil, "disk_usage", lambda path, free=free: usage(0, 0, free * (room * 1.1 + 1e6)))
        to, seen = store(tmp_path, steps)
        disk.write(to, 3, {"tree": TREE}, {"more": 1}, score)
        assert len(seen) == written
        if seen:
            (name, (step,), options) = seen[0]
            assert (name, step, options["metrics"]) == ("save", 3, None if score is None else {"score": 0.5, "by": ""})
            assert set(options["args"].keys()) == {"tree", "meta"}
            assert options["args"]["meta"].item == {"checksums": disk.checksums({"tree": TREE}), "more": 1}
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, room * 1.1 + 1e6 - 1))
    with pytest.raises(UserError, match="no room for a checkpoint .0 MB needed, 1 MB free.*no checkpoint has been written yet"):
        disk.write(store(tmp_path)[0], 3, {"tree": TREE}, {})


def test_the_end_of_a_store_says_nothing_in_place_of_what_went_wrong(tmp_path):
    """Orbax raises there what a save under way failed of, and a run whose directory was moved ended with a trace."""
    closed, ill = [], lambda: [][0]
    for close in (lambda: closed.append(1), ill):
        with pytest.raises(UserError, match="the first"):
            try:
                raise UserError("the first")
            finally:
                disk.close(disk.Store(tmp_path, SimpleNamespace(close=close)))
    assert closed == [1]


Pair = namedtuple("Pair", "left right")


def test_what_differs_from_its_checksum_is_named_also_where_a_named_tuple_came_back_as_a_dict():
    saved = {"tree": {"pair": Pair(np.zeros(2), np.ones(2)), "x": np.arange(3)}, "other": {"y": np.zeros(1)}}
    recorded = disk.checksums(saved)
    assert recorded["['tree']['x']"] == zlib.crc32(np.arange(3).tobytes())
    back = {"tree": {"pair": {"left": np.zeros(2), "right": np.ones(2)}, "x": np.arange(3)}}
    assert disk.mismatch(back, recorded, part="['tree']") == "" == disk.mismatch(saved, recorded)
    assert disk.mismatch(back, recorded) == "['other']['y'] does not match its checksum"  # it is missing
    back["tree"]["pair"]["right"] = np.full(2, 1.5)
    assert disk.mismatch(back, recorded, part="['tree']") == "['tree']['pair']['right'] does not match its checksum"
    back["tree"]["more"] = np.zeros(1)
    assert disk.mismatch(back, recorded, part="['tree']") == "['tree']['more'] does not match its checksum, nor do 1 more"


def test_a_damaged_item_is_said_with_the_steps_that_there_are(tmp_path):
    for step in (3, 20, 100):
        (tmp_path / str(step)).mkdir()
    with pytest.raises(UserError, match=r"/20: the checkpoint is damaged \(cannot be read: .*\); try another of \[3, 100\]") as e:
        disk.read_item(tmp_path, 20, "generator")
    assert "\n" not in str(e.value) and len(str(e.value)) < 400
    for step in (3, 100):
        (tmp_path / str(step)).rmdir()
    with pytest.raises(UserError, match="; there is no other$"):
        disk.read_item(tmp_path, 20, "generator")


def test_an_item_that_claims_more_than_it_can_hold_is_not_read(tmp_path, monkeypatch):
    with ocp.StandardCheckpointer() as writer:
        writer.save(tmp_path / "7" / "item", {"a": np.zeros(2**20, np.float32)})
    assert disk.read(tmp_path / "7" / "item")["a"].shape == (2**20,)
    monkeypatch.setattr(disk, "MOST", 2**20)
    with pytest.raises(UserError, match=r"/7: the checkpoint is damaged \(cannot be read: it has 0.0 MB and claims 0.0 GB\)"):
        disk.read_item(tmp_path, 7, "item")


def test_what_orbax_logs_goes_unsaid_and_what_others_do_not(caplog):
    log, level, filters = logging.getLogger("absl"), logging.getLogger("absl").level, [*logging.getLogger("absl").filters]
    for _ in range(2):
        disk.quiet()
    for path in (ocp.__file__, "/home/me/orbax/train.py"):
        log.handle(logging.LogRecord("absl", logging.ERROR, path, 1, path, (), None))
    assert caplog.messages == ["/home/me/orbax/train.py"] and log.level == level and len({*log.filters} - {*filters}) <= 1


def test_only_a_readers_closed_loop_goes_unsaid(monkeypatch):
    said = []
    hook = said.append
    what = lambda kind, text: SimpleNamespace(exc_type=kind, exc_value=kind(text))
    monkeypatch.setattr(sys, "unraisablehook", hook)
    disk.quiet()
    assert sys.unraisablehook is hook  # one that somebody else put there stays
    monkeypatch.setattr(sys, "__unraisablehook__", hook)
    disk.quiet()
    sys.unraisablehook(what(RuntimeError, "Event loop is closed"))
    assert not said
    others = [what(RuntimeError, "other"), what(ValueError, "Event loop is closed")]
    for other in others:
        sys.unraisablehook(other)
    assert said == others
