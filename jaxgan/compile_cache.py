"""Compiled programs, kept from one start to the next by JAX's own cache."""

import hashlib
import platform
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
    folder of programs is trusted like code. Nothing is ever removed: delete the folder when it is too large.

    Args:
      where: 'auto': the folder that JAX was told (JAX_COMPILATION_CACHE_DIR), else `compiled` in
        `metrics.cache.cache_directory`; 'off'; or a folder.
    Returns:
      The folder in use, None where nothing is kept: off, or an 'auto' that cannot be written.
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
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        if where == "auto":
            return None
        reason = e.strerror or e
        raise UserError(f"--compile-cache {where}: it cannot be written ({reason}); give another folder, or off") from None
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", SECONDS)
    return folder


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
