"""Processes that are timed in turn: while one works, the others wait.

What ends one of them, or all, loses nothing that was measured before: its times stay, and `rows` makes lines of what there is.
"""

import contextlib
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
SHARED = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
"""Of JAX on a GPU, which would take three quarters of the memory for the first process."""
KEEP = {"MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1)}
"""For the others what ours does by itself, as in training: keep freed memory (`memory.keep_freed_memory`)."""


class Stopped(Exception):
    """A worker ended; the message says why."""


class Worker:
    """A process that answers 'batch steps' with the seconds that a step took (`peer_worker`). A class: it has a life."""

    def __init__(self, name: str, file: str, python: str = "", arguments: tuple | list = (), end: float | None = None):
        """Starts it; `end`, of time.monotonic(), is when it is stopped whatever it does."""
        self.name, self.end, self.about, self.ready, self.lost = name, end, "", {}, False
        command = [python or sys.executable, str(HERE / file), *arguments]
        pipe, self.complaints = subprocess.PIPE, tempfile.TemporaryFile("w+")
        given = {"stdin": pipe, "stdout": pipe, "stderr": self.complaints, "text": True, "cwd": HERE.parent}
        environment = SHARED | (KEEP if name != "jaxgan" else {}) | os.environ
        self.process = subprocess.Popen(command, env=environment, **given)

    def answer(self) -> str:
        """Its next line for us."""
        timer = threading.Timer(max(self.end - time.monotonic(), 0), self.process.kill) if self.end else None
        if timer:
            timer.daemon = True
            timer.start()
        try:
            for line in self.process.stdout:
                if line.startswith("@"):  # what else a framework prints on the way is not for us
                    return line[1:].strip()
        finally:
            if timer:
                timer.cancel()
        raise Stopped(self.why())

    def why(self) -> str:
        """Why it ended: the last line of its standard error, or that its time was up."""
        if late(self.end):
            return "it was not ready when the time was up"
        code = self.process.wait()
        self.complaints.seek(0)
        said = next((line.strip() for line in reversed(self.complaints.read().splitlines()) if line.strip()), "it said nothing")
        return said if code >= 0 else f"{signal.Signals(-code).name}; {said}"

    def time(self, batch: int, steps: int) -> float:
        """Seconds a step; asked only once it has said what it is, its first line."""
        self.about = self.about or self.answer()
        try:
            self.process.stdin.write(f"{batch} {steps}\n")
            self.process.stdin.flush()
        except OSError:
            raise Stopped(self.why()) from None
        return float(self.answer())

    def close(self) -> None:
        """Let it end, and see that it does: it may be compiling."""
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.complaints.close()


def late(end: float | None, more: float = 0.0) -> bool:
    """Whether the time is up, or will be in so many seconds."""
    return end is not None and time.monotonic() + more >= end


def tell(line: str) -> None:
    """For who waits; the results are on standard output."""
    print(line, file=sys.stderr, flush=True)


def measure(times: dict[str, list], workers: list[Worker], what: str, job: tuple[int, int, int, int], end: float | None) -> None:
    """Seconds a step of every worker in every turn, into `times`; None where a worker could not. It may end early.

    Args:
      times: {name: list}, filled turn by turn.
      workers: those that fail are not asked again.
      what: is measured, for messages.
      job: batch, steps to warm up, steps in a turn, turns.
      end: no turn begins that would not be over by then.
    """
    batch, warm, steps, turns = job

    def seconds(w: Worker, steps: int) -> float | None:
        if w.lost or late(end):
            return None
        try:
            return w.time(batch, steps)
        except Stopped as e:
            w.lost = True
            tell(f"{what}: {w.name} stopped ({e})" if w.about else f"left out: {w.name} ({e})")

    for w in workers:  # what needs no GPU, as compiling the official operations, the others do meanwhile
        began = time.monotonic()
        if seconds(w, warm) is not None:
            w.ready[batch] = time.monotonic() - began
            tell(f"{what}: {w.name} ready after {w.ready[batch]:.1f} s")
    took = 0.0
    for turn in range(turns):
        if all(w.lost for w in workers):
            return
        if late(end, took):
            return tell(f"{what}: the time is up after {turn} of {turns} rounds")
        began = time.monotonic()
        for w in workers if turn % 2 else reversed(workers):
            times[w.name].append(seconds(w, steps))
        took = time.monotonic() - began
        said = (f"{w.name} {1000 * t:.2f} ms" for w in workers for t in times[w.name][turn:] if t is not None)
        tell(f"{what}: round {turn + 1} of {turns}: {', '.join(said) or 'nothing'}")


def rows(times: dict[str, list], workers: list[Worker], batch: int) -> Iterator[dict]:
    """A row for each worker that was timed: its times, and its times over jaxgan's of the same turn."""
    ours = times.get("jaxgan", [])
    for w in workers:
        each = [t for t in times[w.name] if t is not None]
        if not each:
            continue
        ratios = [theirs / mine for theirs, mine in zip(times[w.name], ours, strict=False) if theirs and mine]
        faster = {"jaxgan_is_faster_by": statistics.median, "low": min, "high": max}
        yield {
            "side": w.name,
            "batch": batch,
            "ms": round(1000 * statistics.median(each), 3),
            "img_per_s": round(batch / statistics.median(each), 2),
            **{name: round(of(ratios), 3) if ratios else None for name, of in faster.items()},
            "turns": len(each),
            "each_ms": [round(1000 * t, 3) for t in each],
            "ready_s": round(w.ready.get(batch, 0.0), 1),
            "about": w.about,
        }
