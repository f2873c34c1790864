"""The signals that ask a run to save and stop."""

import contextlib
import os
import signal
import threading
import time

STOPPING = b"\nstopping: the steps under way are finished and saved; once more stops at once\n"
"""A first program may take minutes to compile, and a signal waits for it."""


HANGUP = getattr(signal, "SIGHUP", None)
"""A terminal that is closed sends it, often twice; nohup has it ignored. Windows has none."""


OTHERS = tuple(getattr(signal, name) for name in ("SIGUSR1", "SIGUSR2", "SIGXCPU") if hasattr(signal, name))
"""With these clusters announce the end of a job (Slurm's --signal, SGE, LSF). Whoever handles them otherwise keeps them."""
AGAIN = 1.0
"""Seconds in which a signal counts once: timeout, srun and uv run hand on what a whole process group gets too."""


def raises(number: int) -> bool:
    """Whether a signal is a KeyboardInterrupt here, as Ctrl-C in a notebook or a script; the commands handle it themselves."""
    return number == signal.SIGINT and signal.getsignal(number) is signal.default_int_handler


def leave(code: int) -> None:
    """End the process at once. With 130, SIGINT's, by that signal itself, as Python does: a shell's loop over runs ends then too,
    which goes on with the next one where it sees a code. `$?` is 130 either way."""
    if code == 128 + signal.SIGINT and os.name == "posix":
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    os._exit(code)


class Signals:
    """SIGINT, SIGTERM, SIGHUP and OTHERS ask the loop to save and stop; a second SIGINT or SIGTERM exits at once, or raises the
    KeyboardInterrupt that it was before: a notebook's kernel, with all that is in it, outlives it. A context.

    In a thread that is not the main one, which alone can handle signals, it does nothing.
    """

    def __init__(self):
        self.caught: int = 0
        self.since: float = 0.0
        self.before: dict = {}

    def __enter__(self) -> "Signals":
        main = threading.current_thread() is threading.main_thread()
        hangup = (HANGUP,) if HANGUP and signal.getsignal(HANGUP) != signal.SIG_IGN else ()
        others = [number for number in OTHERS if signal.getsignal(number) == signal.SIG_DFL]
        for number in (signal.SIGINT, signal.SIGTERM, *hangup, *others) if main else ():
            self.before[number] = signal.signal(number, self._catch)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _catch(self, number, _frame):
        if self.caught:
            if number in (signal.SIGINT, signal.SIGTERM) and time.monotonic() > self.since + AGAIN:
                if self.before.get(number) is signal.default_int_handler:
                    raise KeyboardInterrupt
                leave(128 + number)
            return
        self.caught, self.since = number, time.monotonic()
        with contextlib.suppress(OSError):  # there may be no terminal any more
            os.write(2, STOPPING)  # not print, which a signal may interrupt and which then refuses
