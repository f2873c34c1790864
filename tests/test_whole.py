"""Files that are there whole or not at all: what is there while one is written, after a failure, and what stays of it."""

import os

import pytest

from jaxgan.whole import write_whole


def test_the_old_file_is_there_until_the_new_one_is_whole(tmp_path, monkeypatch):
    path, synced = tmp_path / "made" / "for it" / "a.json", []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(seen()))
    seen = lambda: {p.suffix: p.read_bytes() for p in path.parent.iterdir()}

    def write(file):
        file.write(b"new")
        file.flush()
        assert seen() == {".json": b"old", ".part": b"new"}
        file.write(b"er")

    write_whole(str(path), lambda file: file.write(b"old"))
    assert seen() == {".json": b"old"} and not synced
    write_whole(path, write, sync=True)
    assert seen() == {".json": b"newer"}
    assert synced == [{".json": b"old", ".part": b"newer"}]  # all of it, and before it takes the old one's place


def test_a_write_that_fails_leaves_the_old_file_alone(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b"old")

    def write(file):
        file.write(b"half")
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        write_whole(path, write)
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"] and path.read_bytes() == b"old"


def test_processes_write_beside_one_another(tmp_path):
    """Each into a part of its own: what one leaves unfinished is not in another's file."""
    path, parts = tmp_path / "a.json", []
    write_whole(path, lambda file: parts.append(os.path.basename(file.name)))
    assert parts == [f"a.json.{os.getpid()}.part"]
