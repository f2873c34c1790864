"""Compiled programs, kept from one start to the next by JAX's own cache."""

import contextlib
import hashlib
import os
import platform
import stat
import sys
import zlib
from importlib import metadata
from pathlib import Path

import jax

from jaxgan.errors import UserError
from jaxgan.metrics.cache import cache_directory

SECONDS = 0.0
"""What takes less to compile is compiled anew. A start compiles some hundred small programs: they are kept too."""


def use(where: str = "auto") -> Path | None:
    """Keep compiled programs, from the next compilation on; on a GPU what its autotuner found too (JAX's default).

    Programs of other versions or for another CPU can crash a process that loads them, so each has a folder of its own. A
    folder of programs is trusted like code. Nothing whole is ever removed: delete the folder when it is too large.

    Args:
      where: 'auto': the folder that JAX was told (JAX_COMPILATION_CACHE_DIR), else `compiled` in
        `metrics.cache.cache_directory`; 'off'; or a folder.
    Returns:
      The folder in use, None where nothing is kept: off, or an 'auto' that cannot be written, or that others can write.
    Raises:
      UserError: the folder given cannot be written.
    """
    if where == "off":
        jax.config.update("jax_enable_compilation_cache", False)
        return None
    if where == "auto" and jax.config.jax_compilation_cache_dir:
        return Path(jax.config.jax_compilation_cache_dir)
    folder = (cache_directory() / "compiled" if where == "auto" else Path(where).expanduser()) / of_this_machine()
    try:
        folder.mkdir(0o700, parents=True, exist_ok=True)
    except OSError as e:
        if where == "auto":
            return None
        reason = e.strerror or e
        raise UserError(f"--compile-cache {where}: it cannot be written ({reason}); give another folder, or off") from None
    if where == "auto" and (shared := next(filter(others_can_write, (folder, *folder.parents[:2])), None)):
        fix = "--compile-cache FOLDER keeps them in one of yours"
        print(f"note: compiled programs are not kept, since others can put theirs into {shared}; {fix}", file=sys.stderr)
        return None
    sweep(folder)
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", SECONDS)
    return folder


def others_can_write(folder: Path) -> bool:
    """Whether a folder is of another user than this one and root, or open to some. Root, who may be anybody's in a container, is
    only asked the second."""
    if not hasattr(os, "getuid"):  # Windows
        return False
    found = folder.stat()
    open_to = stat.S_IWOTH | stat.S_IWGRP * (found.st_gid != os.getegid())
    return bool(os.getuid() and found.st_uid not in (os.getuid(), 0) or found.st_mode & open_to)


def sweep(folder: Path) -> None:
    """Remove the programs in `folder` that a full disk or a kill cut short.

    JAX warns of such a file, compiles anew and does not write it again, at every start. Each file is read once: the time of
    the file `swept` says which are new.
    """
    mark = folder / "swept"
    with contextlib.suppress(OSError):  # not ours to write, or another start was faster
        since = mark.stat().st_mtime if mark.exists() else 0.0
        mark.touch()
        for file in folder.glob("*-cache"):
            if file.stat().st_mtime >= since - 1.0 and cut_short(file.read_bytes()):
                file.unlink()


def cut_short(program: bytes) -> bool:
    """Whether the end of what JAX compressed is missing: by zlib, or from Python 3.14 on by zstd."""
    if program.startswith(b"\x28\xb5\x2f\xfd"):
        try:
            from compression import zstd
        except ImportError:
            return False  # written by the `zstandard` package: not ours to know
        decompressor, error = zstd.ZstdDecompressor(), zstd.ZstdError
    else:
        decompressor, error = zlib.decompressobj(), zlib.error
    try:
        decompressor.decompress(program)
    except error:
        return True
    return not decompressor.eof


def of_this_machine() -> str:
    """The name of the folder: Python package versions, backend, and a digest of what the CPU is and can do."""
    versions = "-".join(f"{name}{metadata.version(name)}" for name in ("jax", "jaxlib"))
    return f"{versions}-{jax.default_backend()}-{cpu()}"


def cpu() -> str:
    """Eight hexadecimal digits that differ between kinds of CPU."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        lines = [line for line in lines if line.startswith(("model name", "flags", "Features", "CPU part"))]
        what = "\n".join(sorted(set(lines)))
    except OSError:
        what = platform.processor()
    return hashlib.sha256(f"{platform.machine()}\n{what}".encode()).hexdigest()[:8]
