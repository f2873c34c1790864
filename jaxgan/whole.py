"""Files that are there whole or not at all, whenever the process is killed."""

import errno
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jaxgan.errors import UserError


def write_whole(path: str | os.PathLike[str], write: Callable[..., Any], *, sync: bool = False) -> None:
    """A file that `write(file)` fills, open for bytes; its folder is made. Several processes may write the same one.

    Args:
      sync: wait until the disk has it, against a loss of power.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")  # not guessed, nor a link that waits in a folder of all
    try:
        with part.open("xb") as file:
            write(file)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def not_a_link(path: str, flags: int) -> int:
    """An `opener` for a file that is changed in place in a run directory, which may be somebody else's: a link there would have a
    file elsewhere changed, and is a UserError."""
    try:
        return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)
    except OSError as e:
        if e.errno != errno.ELOOP:
            raise
        raise UserError(f"{path}: it is a link, and what it leads to would be changed; remove it") from None
