"""XLA flags and the compile cache, which the commands set before anything is compiled."""

import os
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from experiments import flags
from jaxgan import compile_cache
from jaxgan.errors import UserError

ROOT = Path(__file__).parent.parent
FLAG, ALONE = "--xla_gpu_enable_latency_hiding_scheduler", "--xla_gpu_enable_analytical_sol_latency_estimator"


def test_one_gpu_and_several_have_their_flags_and_the_user_has_the_last_word(monkeypatch):
    monkeypatch.setattr(flags, "nvidia_gpus", lambda: 2)
    monkeypatch.setenv("XLA_FLAGS", "--xla_something=1")
    assert flags.set_flags() == [f"{FLAG}=true"] and os.environ["XLA_FLAGS"] == f"--xla_something=1 {FLAG}=true"
    monkeypatch.setenv("XLA_FLAGS", f"{FLAG}=false")
    assert flags.set_flags() == [] and os.environ["XLA_FLAGS"] == f"{FLAG}=false"
    monkeypatch.setattr(flags, "nvidia_gpus", lambda: 1)
    monkeypatch.delenv("XLA_FLAGS")
    assert flags.set_flags() == [f"{ALONE}=false"] and os.environ["XLA_FLAGS"] == f"{ALONE}=false"
    monkeypatch.setattr(flags, "nvidia_gpus", lambda: 0)
    monkeypatch.delenv("XLA_FLAGS")
    assert flags.set_flags() == [] and "XLA_FLAGS" not in os.environ


def test_the_installed_jaxlib_knows_each_flag_and_a_newer_one_is_given_none(monkeypatch):
    given = " ".join(f"{flag.name}={flag.value}" for flag in flags.PAY)
    program = [sys.executable, "-c", "import jax; jax.numpy.ones(3) + 1"]  # XLA aborts at a flag that it does not know
    made = subprocess.run(program, env=os.environ | {"XLA_FLAGS": given, "JAX_PLATFORMS": "cpu"}, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    monkeypatch.setattr(flags, "nvidia_gpus", lambda: 1)
    monkeypatch.setattr(flags, "NEWEST", (0, 9))
    assert flags.set_flags() == []


def test_gpus_are_counted_as_jax_would_see_them(monkeypatch):
    monkeypatch.setattr(flags.importlib.util, "find_spec", lambda name: name == "jax_cuda13_plugin")
    for platforms, visible, count in (("", "0,3", 2), ("cuda", "1", 1), ("cpu", "0,1", 0), ("cuda,cpu", "0,1", 2), ("", "", 0)):
        monkeypatch.setenv("JAX_PLATFORMS", platforms)
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        assert flags.nvidia_gpus() == count
    monkeypatch.setattr(flags.importlib.util, "find_spec", lambda name: None)
    assert flags.nvidia_gpus() == 0


PROGRAM = """
import jax
from jaxgan import compile_cache
hits = []
jax.monitoring.register_event_listener(lambda name, **_: hits.append(name))
print(compile_cache.use({where!r}))
jax.jit(lambda x: x * 2 + 1)(1.0)
print(sum(name.endswith("cache_hits") for name in hits))
"""


@pytest.mark.slow
def test_a_second_process_reads_what_the_first_compiled(tmp_path):
    env = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}

    def run(where, **more):
        code = PROGRAM.format(where=where)
        done = subprocess.run([sys.executable, "-c", code], env=env | more, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0 and "Error reading" not in done.stderr, done.stderr
        return done.stdout.split()

    place, hits = run("auto", JAXGAN_CACHE=str(tmp_path / "a"))
    assert place == str(tmp_path / "a" / "compiled" / compile_cache.of_this_machine()) and hits == "0"
    assert int(run("auto", JAXGAN_CACHE=str(tmp_path / "a"))[1]) > 0
    for file in Path(place).glob("*-cache"):  # as a kill or a full disk leaves it: JAX would never write it again
        file.write_bytes(file.read_bytes()[:-5])
    assert [run("auto", JAXGAN_CACHE=str(tmp_path / "a"))[1] == "0" for _ in range(2)] == [True, False]
    assert run("auto", JAX_COMPILATION_CACHE_DIR=str(tmp_path / "b"))[0] == str(tmp_path / "b")
    assert run("off", JAX_COMPILATION_CACHE_DIR=str(tmp_path / "b")) == ["None", "0"]


def test_a_program_that_was_cut_short_is_removed_and_each_is_read_once(tmp_path):
    whole = zlib.compress(b"program" * 100)
    for name, held in {"whole": whole, "cut": whole[:-1], "empty": b"", "other": b"other"}.items():
        (tmp_path / f"{name}-cache").write_bytes(held)
    (tmp_path / "notes").write_text("not a program")
    compile_cache.sweep(tmp_path)
    assert {f.name for f in tmp_path.iterdir()} == {"whole-cache", "notes", "swept"}
    old = tmp_path / "old-cache"
    old.write_bytes(b"")
    os.utime(old, (0, 0))
    compile_cache.sweep(tmp_path)
    assert old.exists()


def test_programs_are_kept_where_nobody_else_can_put_any(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(compile_cache.jax.config, "update", lambda *_: None)
    monkeypatch.setenv("JAXGAN_CACHE", str(tmp_path))
    found = compile_cache.use()
    assert found.parent.parent == tmp_path and found.stat().st_mode & 0o777 == 0o700
    for folder in (found, found.parent, tmp_path):
        mode = folder.stat().st_mode
        folder.chmod(0o777)
        assert compile_cache.use() is None and f"others can put theirs into {folder};" in capsys.readouterr().err
        assert compile_cache.use(str(tmp_path / "compiled")) == found  # as the user wants it
        folder.chmod(mode)
    folder.chmod(0o770)  # of a group of one's own, as umask 2 makes it
    assert compile_cache.use() == found
    monkeypatch.setattr(os, "getegid", lambda: folder.stat().st_gid + 1)
    assert compile_cache.use() is None
    folder.chmod(0o700)
    monkeypatch.setattr(os, "getuid", lambda: folder.stat().st_uid + 1)
    assert not compile_cache.others_can_write(folder) if folder.stat().st_uid == 0 else compile_cache.use() is None


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="--compile-cache .*give another folder, or off"):
        compile_cache.use(str(tmp_path / "file"))
    monkeypatch.setenv("JAXGAN_CACHE", str(tmp_path / "file"))
    assert compile_cache.use("auto") is None  # the cache is a help, not a condition
