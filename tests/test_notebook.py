"""What differs in a notebook: interruptions, one-line errors, output that is no terminal, objects at the end of a cell."""

import os
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import jax.numpy as jnp
import pytest

from experiments import cli
from jaxgan import latents, plan, restore, run, state, stopping, watch
from jaxgan.errors import UserError


def test_an_error_is_the_users_line_and_the_message(tmp_path):
    cell = tmp_path / "cell.py"
    cell.write_text("from jaxgan import restore\n\nshow = lambda run: restore.load(run)\nshow('nowhere')\n")
    with pytest.raises(UserError) as caught:
        exec(compile(cell.read_text(), str(cell), "exec"), {"__name__": "__main__"})
    shown = caught.value._render_traceback_()
    assert shown == ["line 3: show = lambda run: restore.load(run)", "UserError: nowhere: there is no such run directory"]
    assert UserError("no")._render_traceback_() == ["UserError: no"]


@pytest.mark.parametrize("handler, raised", [(signal.default_int_handler, KeyboardInterrupt), (lambda *_: None, SystemExit)])
def test_a_second_interruption_leaves_the_kernel_alive(handler, raised, monkeypatch):
    """Of a command it is the end of the process; here that would be the end of all that the notebook has made."""
    monkeypatch.setattr(stopping, "leave", sys.exit)
    monkeypatch.setattr(os, "write", lambda *_: 0)
    before = signal.signal(signal.SIGINT, handler)
    try:
        with pytest.raises(raised), stopping.Signals() as signals:
            signal.raise_signal(signal.SIGINT)
            assert signals.caught == signal.SIGINT
            signals.since -= 2
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_an_interrupted_run_ends_a_loop_over_runs_once_it_is_saved(tmp_path, monkeypatch):
    given = SimpleNamespace(directory=tmp_path / "run", config={}, settings=SimpleNamespace(seed=0))
    given.source = SimpleNamespace(labels=None)
    codes = iter([128 + signal.SIGINT, 128 + signal.SIGTERM, 128 + signal.SIGINT, 0])
    monkeypatch.setattr(run, "_train", lambda *_: next(codes))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            run.train(given)
        assert run.train(given) == 143
        signal.signal(signal.SIGINT, lambda *_: None)  # as `run_command` has it
        assert (run.train(given), run.train(given)) == (130, 0)
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("shell, way", [(object(), "sys.exit"), (None, "jaxgan.stopping.leave")])
def test_an_interrupted_command_does_not_end_the_kernel_that_runs_it(shell, way, monkeypatch):
    def interrupted():
        raise KeyboardInterrupt

    ends = []
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    for name in ("sys.exit", "jaxgan.stopping.leave"):
        monkeypatch.setattr(name, lambda code, name=name: ends.append((name, code)) or interrupted())
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # another test may have left the command's
    try:
        with pytest.raises(KeyboardInterrupt):
            cli.run_command(interrupted)
        kept = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        assert kept == bool(shell)  # or a second one would end the kernel
    finally:
        signal.signal(signal.SIGINT, before)
    assert ends == [(way, 130)]


def test_where_no_terminal_is_there_is_no_bar_whatever_is_forced(capsys, monkeypatch):
    """Jupyter sets FORCE_COLOR for what a cell starts: `!nohup python -m experiments.train > log &` filled the file with bars."""
    for name, value in {"FORCE_COLOR": "1", "TERM": "xterm-color", "COLUMNS": "200"}.items():
        monkeypatch.setenv(name, value)
    with watch.Progress(1.0, 0.0, True) as bar, watch.counter("reading", True) as update:
        bar.tick("0.5 kimg [b] 3")
        update(1, 2)
    assert capsys.readouterr() == ("compiling\n0.5 kimg [b] 3\n", "")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert watch.console(stderr=True).is_terminal and not watch.console().is_terminal


def test_in_a_notebook_lines_are_text(capsys, monkeypatch):
    """rich would make each an output of its own, and need IPython for it."""
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    watch.Progress(1.0, 0.0, True).say("a line")
    assert capsys.readouterr().out == "a line\n"


def test_objects_at_the_end_of_a_cell_are_not_pages_of_arrays():
    many = {"params": {"kernel": jnp.ones((30, 40)), "bias": jnp.ones(40)}}
    player = state.Player(params=many["params"], stats={}, opt=many)
    now = state.TrainState(jnp.int32(3), jnp.zeros(2), player, player, many, {}, {"p": jnp.zeros(())})
    assert repr(now) == "TrainState(step=Array(3, dtype=int32), g=Player(1,240 parameters), d=Player(1,240 parameters))"
    assert repr(state.TrainState(*7 * [None])) == "TrainState(step=None, g=None, d=None)"  # as in_axes of vmap
    assert repr(restore.Critic(None, many, {}, 3)) == "Critic(None, step=3)"
    ready = plan.Run(Path("runs/a"), None, {"config": "digits", "settings": many}, (), None, None, (), data="digits: 1797 images")
    assert repr(ready) == "Run('digits', 'runs/a', 'digits: 1797 images')"


def test_a_networks_own_output_is_no_black_picture():
    x = jnp.ones((4, 8, 8, 1))
    assert watch.grid(latents.as_bytes(x), least=1).getpixel((1, 1)) == 255
    for images, given in ((x, r"float32 \(4, 8, 8, 1\)"), (latents.as_bytes(x)[0], r"uint8 \(8, 8, 1\)"), ([], r"list \(0,\)")):
        with pytest.raises(
            UserError, match=f"images are {given}; give uint8 .n, H, W, C., which latents.as_bytes makes of floats"
        ):
            watch.grid(images)
