"""Files that are there whole or not at all, whenever the process is killed."""

import os
from collections.abc import Callable
from pathlib import Path


def write_whole(path: str | os.PathLike, write: Callable, *, sync: bool = False) -> None:
    """A file that `write(file)` fills, open for bytes; its folder is made. Several processes may write the same one.

    Args:
      sync: wait until the disk has it, against a loss of power.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            write(file)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
