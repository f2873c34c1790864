"""What the commands share: their help, a mistake or Ctrl-C in one line."""

import dataclasses
import importlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Literal, get_type_hints

import jax
import pytest
import tyro

import experiments
from experiments import cli, train
from experiments.cli import _one_line, parse, run_command
from experiments.configs import CONFIGS, about
from jaxgan import parallel
from jaxgan.errors import UserError

ROOT = Path(__file__).parent.parent


@dataclasses.dataclass(frozen=True)
class Base:
    first: int = 1
    """A sentence that the source
    breaks (here)."""
    second: int = 2
    """Said by the base."""


@dataclasses.dataclass(frozen=True)
class Derived(Base):
    second: int = 3
    third: int = 4
    """Said by
    `Derived`."""


def test_help_breaks_where_the_terminal_does_and_not_where_the_source_does(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    with pytest.raises(SystemExit):
        parse(Derived, ["--help"], prog="x")
    said = capsys.readouterr().out
    assert all(line in said for line in ("A sentence that the source breaks (here).", "Said by the base.", "Said by `Derived`."))


def test_the_help_of_each_config_says_what_it_is_and_what_to_expect(capsys, monkeypatch):
    assert {*about.SMALL, *about.PAPERS, *about.OTHERS} <= CONFIGS.keys() and about.about("mine") == ""
    for name in CONFIGS:
        assert re.search(r"\b20[12]\d\b|docs/objectives.md", about.about(name)), name
    assert {*about.PAPERS} == {name for name in CONFIGS if re.search(r"-\d+$|-cifar10$|-imagenet128$", name)}
    monkeypatch.setenv("COLUMNS", "1000")
    monkeypatch.setattr("experiments.train.set_flags", list)
    for name in ("stylegan2", "stylegan2-mnist", "r3gan-256", "digits"):
        monkeypatch.setattr("sys.argv", ["train", name, "--help"])
        with pytest.raises(SystemExit):
            train.main()
        assert f"\n\n{about.about(name)}\n\nConfigs, " in capsys.readouterr().out


INTERRUPTED = """
from experiments.cli import run_command
def main():
    print("something", end="")
    raise KeyboardInterrupt
run_command(main)
"""


def test_ctrl_c_outside_the_loop_is_one_line():
    made = subprocess.run([sys.executable, "-c", INTERRUPTED], cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert (made.returncode, made.stdout, made.stderr) == (-signal.SIGINT, "something", "stopped\n")


def test_what_is_left_for_the_exit_is_done_after_ctrl_c_too():
    """A tracker uploads its last lines then."""
    source = (
        "import atexit\nfrom experiments.cli import run_command\natexit.register(print, 'uploaded')\nrun_command(lambda: 130)"
    )
    made = subprocess.run([sys.executable, "-c", source], cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert (made.returncode, made.stdout, made.stderr) == (-signal.SIGINT, "uploaded\n", "")


def test_a_framed_complaint_is_one_line_without_its_frame():
    for corner, side, row in (("╭", "│", "─"), ("+", "|", "-")):
        panel = f"{corner}{row} Error {row * 9}{corner}\n{side} there is no --kmig {side}\n{corner}{row * 17}{corner}"
        assert _one_line(panel, "train") == "there is no --kmig (train --help lists the fields)"


@dataclasses.dataclass(frozen=True)
class Sized:
    size: tuple[int, int] | None = None
    resume: Literal["auto", "never"] = "auto"
    widths: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class Named:
    run: Annotated[str, tyro.conf.Positional]
    out: str = ""


def test_what_another_program_calls_it_is_told():
    for args, says in (
        (["--batch_size", "3"], "Unrecognized options: --batch_size, 3; here it is --batch (x --help lists the fields)"),
        (
            ["--epochs=3"],
            "Unrecognized options: --epochs=3; here it is --kimg, in thousands of images (x --help lists the fields)",
        ),
        (["--lambda_L1", "9"], "Unrecognized options: --lambda_L1, 9; here it is --l1 (x --help lists the fields)"),
        (["--sizes", "3"], "Unrecognized options: --sizes, 3; the nearest is --size (x --help lists the fields)"),
        (
            ["--sizes", "3", "--foo", "--bs", "4", "--resum"],
            "Unrecognized options: --sizes, 3, --foo, --bs, 4, --resum; --sizes: the nearest is --size; "
            "--bs: here it is --batch; --resum: the nearest is --resume (x --help lists the fields)",
        ),
        (
            ["--widths", "3,4"],
            "Error parsing --widths: it does not take ['3,4']; put spaces between values (x --help lists the fields)",
        ),
        (["--size", "64"], "Error parsing --size: it takes INT INT, not ['64'] (x --help lists the fields)"),
    ):
        with pytest.raises(UserError) as error:
            parse(Sized, args, prog="x")
        assert str(error.value) == says
    with pytest.raises(UserError, match="; to start from trained networks: --init"):
        parse(Sized, ["--resume", "ffhq.pkl"], prog="x")


def test_an_editor_knows_what_is_parsed():
    """pyright took it for None, and every use of the settings in a script of one's own for a mistake."""
    hints = get_type_hints(parse)
    kind, returned = hints["kind"], hints["return"]
    assert kind == type[returned]


def test_home_is_home_also_where_the_shell_leaves_it(monkeypatch):
    monkeypatch.setenv("HOME", "/at/home")
    for args, run in ((["~/a b"], "/at/home/a b"), (["x", "--out=~/c"], "x"), (["a~/b"], "a~/b"), (["~"], "~")):
        parsed = parse(Named, args, prog="x")
        assert (parsed.run, parsed.out) == (run, "/at/home/c" if len(args) > 1 else "")


LOOP = """
import os, signal, time
from experiments.cli import run_command
def main():
    os.killpg(0, signal.SIGINT)
    time.sleep(60)
run_command(main)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="signals of POSIX")
def test_ctrl_c_ends_a_shells_loop_over_runs():
    loop = 'for i in 1 2; do "$0" -c "$1"; echo "the next one"; done'
    command, how = ["bash", "-c", loop, sys.executable, LOOP], {"capture_output": True, "text": True, "timeout": 100}
    made = subprocess.run(command, cwd=ROOT, start_new_session=True, **how)  # Ctrl-C goes to all in the terminal
    assert (made.returncode, made.stdout, made.stderr) == (-signal.SIGINT, "", "stopped\n")


COMPILES = """
import threading, time, jax.numpy as jnp
from experiments.cli import run_command
from jaxgan import ahead, parallel
begun = threading.Event()
def fn(x, what, axis):
    begun.set()
    time.sleep(300)
def main():
    pool = ahead.compilers()
    ahead.compiling(parallel.map_devices(fn, static=(1,)), (jnp.zeros(3),), ("a",), pool)
    begun.wait()
    pool.shutdown(wait=False, cancel_futures=True)
    raise KeyboardInterrupt
run_command(main)
"""


def test_ctrl_c_does_not_wait_for_what_is_being_compiled():
    made = subprocess.run([sys.executable, "-c", COMPILES], cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert (made.returncode, made.stdout) == (-signal.SIGINT, "") and made.stderr.endswith("stopped\n")


def test_a_reader_that_has_seen_enough_is_no_error():
    reads, writes = os.pipe()
    os.close(reads)
    command = [sys.executable, "-m", "experiments.train", "--help"]
    made = subprocess.run(command, cwd=ROOT, stdout=writes, stderr=subprocess.PIPE, text=True, timeout=100)
    os.close(writes)
    assert made.returncode == 128 + signal.SIGPIPE and made.stderr == ""


def test_a_reader_that_has_seen_enough_is_no_error_on_windows_either(monkeypatch):
    monkeypatch.delattr(signal, "SIGPIPE")
    monkeypatch.setattr(os, "dup2", lambda *_: None)
    with pytest.raises(SystemExit, match="141"):
        run_command(lambda: (_ for _ in ()).throw(BrokenPipeError()))


def test_devices_that_are_not_here_are_one_line(capsys, monkeypatch):
    def backends():
        raise AssertionError  # as jax does where the plugin is not installed

    def of_no_such_kind():
        raise RuntimeError("Unable to initialize backend 'foo': not known. (set JAX_PLATFORMS='' to choose)\nmore")

    def wrong():
        raise AssertionError

    monkeypatch.setenv("JAX_PLATFORMS", "foo")
    for main, says in (
        (backends, "here; unset it"),
        (of_no_such_kind, "here (Unable to initialize backend 'foo': not known.); unset"),
    ):
        with pytest.raises(SystemExit, match="2"):
            run_command(main)
        assert f"error: JAX_PLATFORMS=foo: no such devices {says}" in capsys.readouterr().err
    with pytest.raises(AssertionError):
        run_command(wrong)


def test_one_of_several_processes_that_fails_waits_for_no_other(capsys, monkeypatch):
    ended, slept = [], []
    monkeypatch.setattr(os, "_exit", lambda code: ended.append(code) or sys.exit(code))
    monkeypatch.setattr(cli.time, "sleep", slept.append)
    monkeypatch.setattr(jax.distributed, "is_initialized", lambda: True)
    for coordinator, error, code, says in (
        (False, UserError("no such folder"), 2, "error: no such folder\n"),
        (True, MemoryError("what of it"), 1, "MemoryError: what of it\n"),
    ):
        monkeypatch.setattr(parallel, "is_coordinator", lambda it=coordinator: it)
        with pytest.raises(SystemExit):
            run_command(lambda error=error: (_ for _ in ()).throw(error))
        assert ended.pop() == code and capsys.readouterr().err.endswith(says) and slept == [2] * coordinator


def test_a_closed_output_is_no_error():
    says = "import experiments.cli as cli\ncli.run_command(lambda: print('said'))"
    assert subprocess.run(["sh", "-c", '"$0" -c "$1" >&- 2>&-', sys.executable, says], cwd=ROOT, timeout=100).returncode == 0


def test_a_name_that_the_outputs_encoding_lacks_is_escaped():
    says = "from experiments.cli import run_command\nrun_command(lambda: print('日.png ± caf\\udce9'))"
    for encoding, said in (("latin-1", b"\\u65e5.png \xb1 caf\\udce9\n"), ("utf-8", "日.png ± caf\\udce9\n".encode())):
        env = os.environ | {"PYTHONIOENCODING": f"{encoding}:strict"}
        made = subprocess.run([sys.executable, "-c", says], cwd=ROOT, env=env, capture_output=True, timeout=100)
        assert (made.returncode, made.stdout, made.stderr) == (0, said, b"")


def test_a_name_that_is_a_command_to_a_terminal_is_escaped_in_an_error(capsys):
    with pytest.raises(SystemExit, match="2"):
        run_command(lambda: (_ for _ in ()).throw(UserError("a\x1b]0;b\x07\n.png is broken")))
    assert capsys.readouterr().err == "error: a\\x1b]0;b\\x07\\n.png is broken\n"


IMPORTS = """
from experiments.cli import run_command
def main():
    import interrupted
run_command(main)
"""


def test_ctrl_c_during_an_import_of_a_command_raises_nothing_in_it(tmp_path):
    source = "import os, signal\ntry:\n    os.kill(os.getpid(), signal.SIGINT)\nexcept BaseException:\n    print('raised')\n"
    (tmp_path / "interrupted.py").write_text(source)
    env = os.environ | {"PYTHONPATH": str(tmp_path)}
    made = subprocess.run([sys.executable, "-c", IMPORTS], cwd=ROOT, env=env, capture_output=True, text=True, timeout=100)
    assert (made.returncode, made.stdout, made.stderr) == (-signal.SIGINT, "", "stopped\n")


def test_a_program_that_has_python_inside_may_have_no_arguments(monkeypatch):
    monkeypatch.setattr(sys, "argv", [])
    importlib.reload(experiments)


def test_ctrl_c_while_a_command_is_imported_leaves_no_trace(tmp_path):
    (tmp_path / "tyro.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    command, env = [sys.executable, "-m", "experiments.verify"], os.environ | {"PYTHONPATH": str(tmp_path)}
    made = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=100)
    assert (made.returncode, made.stderr) == (-signal.SIGINT, "")
