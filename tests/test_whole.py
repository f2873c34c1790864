"""Files that are there whole or not at all: what is there while one is written, after a failure, and what stays of it."""

import os
import re

import pytest

from jaxgan import checkpoint, watch
from jaxgan.errors import UserError
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
    """Each into a part of its own: what one leaves unfinished is not in another's file. Nobody can lay a link there before."""
    path, parts = tmp_path / "a.json", []
    for _ in range(2):
        write_whole(path, lambda file: parts.append(os.path.basename(file.name)))
    assert len(set(parts)) == 2 and all(re.fullmatch(r"a\.json\.[0-9a-f]{8}\.part", part) for part in parts)


def test_what_a_run_directory_has_for_links_is_not_written_through(tmp_path):
    mine, link = tmp_path / "mine", tmp_path / "log.jsonl"
    mine.write_text("precious\n")
    link.symlink_to(mine)
    with pytest.raises(UserError, match="log.jsonl: it is a link.*; remove it$"):
        watch.add_lines(link, [{"kimg": 1}])
    assert watch.cut_lines(link, lambda row: True) == [] and not link.is_symlink()  # as a run does that goes on
    watch.add_lines(link, [{"kimg": 1}])
    assert mine.read_text() == "precious\n" and watch.read_lines(link) == [{"kimg": 1}]
    folder = tmp_path / "1" / "metrics"
    folder.mkdir(parents=True)
    (tmp_path / "1" / "meta").mkdir()
    (tmp_path / "1" / "meta" / "metadata").write_text('{"score": 2, "by": "fd"}')
    (folder / "metrics").symlink_to(mine)
    checkpoint._mend_scores(tmp_path)
    assert mine.read_text() == "precious\n" and "2" in (folder / "metrics").read_text()
