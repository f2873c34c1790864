"""Who has a run directory, also where locks or files of another host are not seen."""

import errno
import itertools

import pytest

from jaxgan import lock, parallel
from jaxgan.errors import UserError

fcntl = pytest.importorskip("fcntl")


def test_a_lock_names_its_holder_to_who_comes_second(tmp_path, monkeypatch):
    assert lock.holder(tmp_path) == ""
    (tmp_path / lock.LOCK).write_text("of a process that is no more, with a longer name" * 2)
    for name in lock.RANKS:
        monkeypatch.delenv(name, raising=False)
    with lock.lock_file(tmp_path / lock.LOCK):
        assert lock.holder(tmp_path) == lock.own_name()
        lock.check_held(tmp_path)
        for tasks, hint in (("", ""), ("1", ""), ("4", "; if these are processes of one run: --coordinator auto")):
            monkeypatch.setenv("SLURM_NTASKS", tasks)
            for own, other in ((lock.own_name, "a thread of this process"), (lambda: "b, process 7", "another process")):
                with monkeypatch.context() as seen, pytest.raises(UserError) as refused:
                    said = f"{tmp_path}: {other} is training here ({lock.own_name()}); wait for it, or give another --run-dir"
                    seen.setattr(lock, "own_name", own)
                    lock.lock_file(tmp_path / lock.LOCK)
                assert str(refused.value) == said + hint
    lock.lock_file(tmp_path / lock.LOCK).close()


def test_a_lock_that_is_a_link_changes_no_other_file(tmp_path):
    (tmp_path / "mine").write_text("precious")
    (tmp_path / lock.LOCK).symlink_to(tmp_path / "mine")
    with pytest.raises(UserError, match="it is a link, and what it leads to would be changed; remove it"):
        lock.lock_file(tmp_path / lock.LOCK)
    assert (tmp_path / "mine").read_text() == "precious"


def test_who_looks_whether_a_lock_is_taken_disturbs_nobody(tmp_path, monkeypatch):
    path = tmp_path / lock.LOCK
    assert not lock.taken(tmp_path) and not path.exists()
    with lock.lock_file(path):
        assert lock.taken(tmp_path) and lock.taken(tmp_path)
    assert not lock.taken(tmp_path) and lock.holder(tmp_path) == lock.own_name()  # the name of the last one stays
    with path.open() as look:  # a moment before the start of a run
        fcntl.flock(look, fcntl.LOCK_SH)
        monkeypatch.setattr(lock.time, "sleep", lambda _: fcntl.flock(look, fcntl.LOCK_UN))
        lock.lock_file(path).close()
    monkeypatch.setattr(fcntl, "flock", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSYS, "Function not implemented")))
    assert not lock.taken(tmp_path)


@pytest.mark.parametrize("flock", [None, OSError(errno.ENOSYS, "Function not implemented")])
def test_where_locks_are_of_each_host_alone_the_first_ends_when_it_sees_the_second(tmp_path, monkeypatch, flock):
    def unheard(*_):
        if flock:
            raise flock

    monkeypatch.setattr(fcntl, "flock", unheard)
    with lock.lock_file(tmp_path / lock.LOCK):
        lock.check_held(tmp_path)
        with monkeypatch.context() as elsewhere:
            elsewhere.setattr(lock, "own_name", lambda: "b, process 7")
            with lock.lock_file(tmp_path / lock.LOCK):
                lock.check_held(tmp_path)
        with pytest.raises(UserError, match=r"another process has begun to train here \(b, process 7\)"):
            lock.check_held(tmp_path)
        (tmp_path / lock.LOCK).unlink()  # somebody tidied up
        lock.check_held(tmp_path)


def test_processes_share_a_directory_and_its_last_step(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(parallel, "all_told", lambda what: said.append(what) or ["20", what])
    lock.check_step(tmp_path, 20)
    with pytest.raises(UserError, match="the last step in its checkpoints is 20 in process 0, 0 in process 1; start them all"):
        lock.check_step(tmp_path, 0)
    (tmp_path / lock.LOCK).write_text("a, process 1")
    lock.check_shared(tmp_path, "a, process 1", 0.0)
    assert said == ["20", "0", ""]
    with pytest.raises(UserError, match=f"--run-dir {tmp_path}: what process 0 writes there is not seen here; it must be on a"):
        lock.check_shared(tmp_path, "b, process 1", 0.0)
    times = itertools.count()  # seen late, as a network's file system may show it
    monkeypatch.setattr(lock.time, "sleep", lambda _: next(times) == 2 and (tmp_path / lock.LOCK).write_text("b, process 1"))
    lock.check_shared(tmp_path, "b, process 1", 5.0)
    assert next(times) == 3
