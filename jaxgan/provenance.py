"""Which code made a run, and which weights an image."""

import hashlib
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

import jaxgan


def versions() -> dict[str, str]:
    """Versions of this library and of what its numbers depend on."""
    found = {"jaxgan": jaxgan.__version__, "python": platform.python_version()}
    return found | {name: metadata.version(name) for name in ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint")}


def code() -> str:
    """16 hexadecimal digits that differ between states of this library's files, in a checkout or installed."""
    where, sha = Path(__file__).resolve().parent, hashlib.sha256()
    for path in sorted(where.rglob("*.py")):
        sha.update(f"{path.relative_to(where)}\n".encode() + path.read_bytes())
    return sha.hexdigest()[:16]


def commit() -> str:
    """The commit of the checkout this runs from, with '+' if it was changed; '' outside one."""
    where = Path(__file__).resolve().parent

    def git(*args):
        return subprocess.run(["git", "-C", str(where), *args], capture_output=True, text=True, timeout=10)

    try:
        head = git("rev-parse", "HEAD")
        inside = git("ls-files", "--error-unmatch", __file__)
        if head.returncode or inside.returncode:
            return ""
        return head.stdout.strip() + ("+" if git("status", "--porcelain", "--untracked-files=no").stdout.strip() else "")
    except (OSError, subprocess.SubprocessError):
        return ""


def weights(params: Any) -> str:
    """sha256 of a tree of arrays: of every name, dtype, shape and bytes, in the order of the names. 64 hexadecimal digits.

    Args:
      params: nested dicts of arrays.
    """
    sha = hashlib.sha256()

    def add(tree, path):
        if hasattr(tree, "items"):
            for name in sorted(tree):
                add(tree[name], f"{path}/{name}")
            return
        array = np.ascontiguousarray(tree)
        sha.update(f"{path} {array.dtype} {array.shape}".encode() + array.tobytes())

    add(params, "")
    return sha.hexdigest()
