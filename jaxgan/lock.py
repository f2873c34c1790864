"""Who has a run directory: one process, or the processes of one run, which all see the same."""

import contextlib
import os
import platform
import time
from pathlib import Path
from typing import TextIO

from jaxgan import parallel
from jaxgan.errors import UserError
from jaxgan.whole import not_a_link

LOCK = ".lock"
"""A file in the run directory that the process which trains there has locked, and that names it."""
RANKS = ("SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE")
"""Where a cluster says how many processes it has started."""


LOOK = 0.2
"""Seconds for which a lock may be that of one who looks whether it is taken."""


def own_name() -> str:
    """This process, as a lock file names its holder."""
    return f"{platform.node()}, process {os.getpid()}"


def holder(directory: Path) -> str:
    """Who has a run directory, "" where none is named."""
    with contextlib.suppress(OSError):
        return (directory / LOCK).read_text(errors="replace").strip()
    return ""


def lock_file(path: Path) -> TextIO:
    """An open file that no other process has locked, and that names this one; the lock ends with it, however that ends.

    Raises:
      UserError: another process has it; it is a link.
      OSError: it cannot be written.
    """
    file = open(path, "a", opener=not_a_link)  # it is emptied
    try:
        import fcntl

        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(LOOK)  # who only looks has it for a moment
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        who, ranks = holder(path.parent), any(os.environ.get(name, "1") not in ("", "1") for name in RANKS)
        other = "a thread of this process" if who == own_name() else "another process"
        said = f"{path.parent}: {other} is training here{f' ({who})' * bool(who)}"
        one = "; if these are processes of one run: --coordinator auto" * ranks
        raise UserError(f"{said}; wait for it, or give another --run-dir{one}") from None
    except (ImportError, OSError):  # Windows; a file system without locks, as Lustre may be mounted: the name must do
        pass
    file.truncate(0)
    file.write(own_name())
    file.flush()
    os.fsync(file.fileno())  # on a network's file system others see it then
    return file


def taken(directory: Path) -> bool:
    """Whether a process trains in a run directory, as far as it is seen from here: no lock of another host is where locks are of
    each host alone, and none at all on Windows."""
    with contextlib.suppress(ImportError, OSError), (directory / LOCK).open() as file:
        import fcntl

        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            pass
    return False


def check_held(directory: Path) -> None:
    """Raise UserError if another process has taken the run directory, which it can where locks are of each host alone."""
    if (who := holder(directory)) not in ("", own_name()):
        again = "it goes on from the last checkpoint, and this one ends"
        raise UserError(f"{directory}: another process has begun to train here ({who}); {again}")


def check_shared(directory: Path, who: str, seconds: float = 90.0) -> None:
    """Raise UserError in all processes of a run if one does not see that `who` holds its directory, which process 0 wrote, within
    so many seconds: a network's file system may be that late."""
    until = time.monotonic() + seconds
    with parallel.failing_together():
        while holder(directory) != who:
            if time.monotonic() > until:
                where = "on a file system that all processes share"
                raise UserError(f"--run-dir {directory}: what process 0 writes there is not seen here; it must be {where}")
            time.sleep(1.0)
    parallel.barrier()


def check_step(directory: Path, done: int) -> None:
    """Raise UserError in all processes of a run if they would not go on from the same step."""
    said = parallel.all_told(str(done))
    if len(set(said)) > 1:
        found = ", ".join(f"{step} in process {i}" for i, step in enumerate(said))
        raise UserError(f"{directory}: the last step in its checkpoints is {found}; start them all again")
