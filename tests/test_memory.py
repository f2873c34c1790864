"""memory: freed blocks are not asked for again."""

import ctypes
import os
import subprocess
import sys

import pytest

from jaxgan import memory

CODE = """
import ctypes, resource, sys
from jaxgan.memory import keep_freed_memory
kept = keep_freed_memory() if sys.argv[1] == "keep" else False
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
def once():
    block = libc.malloc(ctypes.c_size_t(64 << 20))
    ctypes.memset(block, 1, 64 << 20)
    libc.free(ctypes.c_void_p(block))
once()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
once()
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str, **environment) -> tuple[str, int]:
    run = subprocess.run([sys.executable, "-c", CODE, how], capture_output=True, text=True, env=environment or None, check=True)
    kept, count = run.stdout.split()
    return kept, int(count)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's malloc")
def test_a_freed_block_is_kept():
    kept, count = faults("keep")
    if kept == "False":
        pytest.skip("another C library, or MALLOC_ in the environment")
    assert count < 100
    assert faults("leave")[1] > 100 * max(count, 1)


def test_the_environment_wins():
    assert faults("keep", MALLOC_ARENA_MAX="2")[0] == "False"


@pytest.mark.parametrize("error", [AttributeError, OSError, TypeError])  # musl and macOS, a static program, Windows
def test_without_glibc_nothing_happens(monkeypatch, error):
    def no_such_library(name):
        raise error(f"there is no {name}")

    for name in [name for name in os.environ if name.startswith("MALLOC_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(ctypes, "CDLL", no_such_library)
    assert not memory.keep_freed_memory()
