"""What happened to a run, for whoever comes when the terminal is gone: `events.jsonl`, a line for each start, note and end."""

import contextlib
import os
import signal
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from jaxgan import lock, watch
from jaxgan.errors import Diverged, UserError, one_line

EVENTS = "events.jsonl"
JOBS = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "JOB_ID")
"""Where a cluster says which job this is: its accounting knows why a job ended that could not say so itself."""


def note(directory: Path, event: str, **said: Any) -> None:
    """Add a line, {"time": local with its offset, "event": ...}. What cannot be written ends no run: the log will say it."""
    now = datetime.now().astimezone().isoformat(timespec="seconds")
    with contextlib.suppress(OSError):
        watch.add_lines(directory / EVENTS, [{"time": now, "event": event, **said}])


def read(directory: str | Path) -> list[dict[str, Any]]:
    """The lines, [] of a run from before there were any."""
    return [line for line in watch.read_lines(Path(directory) / EVENTS) if {"time", "event"} <= line.keys()]


@contextlib.contextmanager
def opened(directory: Path, **start: Any) -> Iterator[dict[str, Any]]:
    """Notes the start, and the end, however that comes but by a kill: with what was raised, or with what is put into the
    dictionary that this gives, such as its exit code."""

    def ends(**said: Any) -> None:
        if lock.holder(directory) in ("", lock.own_name()):  # else another process has begun, and it would seem the end of that
            note(directory, "end", **said)

    job = next((os.environ[name] for name in JOBS if os.environ.get(name)), None)
    note(directory, "start", who=lock.own_name(), **start, **({"job": job} if job else {}))
    end: dict[str, Any] = {}
    try:
        yield end
    except BaseException as e:
        codes = {Diverged: 3, UserError: 2, KeyboardInterrupt: 130}  # as the commands end
        code = next((code for kind, code in codes.items() if isinstance(e, kind)), 1)
        said = one_line(e, 500) if isinstance(e, UserError | SystemExit) else f"{type(e).__name__}: {one_line(e, 500)}"
        ends(code=code, said=said, raised=type(e).__name__)
        raise
    ends(**end)


def ended(end: dict[str, Any]) -> str:
    """How a run ended, as its last line says: complete, diverged, stopped by SIGTERM; stopped, where what watched it raised
    SystemExit; failed."""
    code = end.get("code", 1)
    if end.get("raised") == "SystemExit":
        return "stopped"
    if code > 128:
        with contextlib.suppress(ValueError):
            return f"stopped by {signal.Signals(code - 128).name}"
    return {0: "complete", 3: "diverged"}.get(code, "failed")
