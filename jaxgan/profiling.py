"""A trace of some steps of a run: what the host, the compiler's programs and the devices do, and when."""

from collections.abc import Callable
from pathlib import Path

import jax

STEPS = 16
"""At least so many are traced."""


class Tracer:
    """Traces `steps` steps, once the first `warm` of this start are done. A class: a trace has a beginning and an end.

    Args:
      directory: where the trace goes; None traces nothing.
      done: steps done before this start.
      every: the recipe's period: so many steps compile all programs, and the trace shows as many at least.
      say: what prints a line.
    """

    def __init__(self, directory: Path | None, done: int, every: int, say: Callable[[str], None]):
        self.directory, self.say = directory, say
        self.first = done + 2 * max(every, STEPS)
        self.last = self.first + max(every, STEPS)
        self.running = False

    def at(self, step: int, token: jax.Array) -> None:
        """To be called after each call of the compiled steps, with what it returned to wait for."""
        if self.directory is None or step < self.first:
            return
        if not self.running:
            jax.block_until_ready(token)
            jax.profiler.start_trace(self.directory)
            self.running, self.began = True, step
        elif step >= self.last:
            jax.block_until_ready(token)
            self._stop(f"{step - self.began} steps")

    def close(self) -> None:
        """At the end of the run, or when it stops."""
        if self.running:
            self._stop("the last steps")
        elif self.directory is not None:
            self.say(f"--profile: the run ended before step {self.first}, where the trace begins")

    def _stop(self, what: str) -> None:
        jax.profiler.stop_trace()
        files = sorted(self.directory.rglob("*.trace.json.gz"), key=lambda path: path.stat().st_mtime)
        self.directory, self.running = None, False
        where = files[-1] if files else "nowhere: the profiler wrote nothing"
        self.say(f"profile of {what}: {where}; open it at https://ui.perfetto.dev, or its folder with xprof")
