"""memory: freed blocks are not asked for again, and what a compiler leaves is not in the way."""

import ctypes
import io
import os
import platform
import subprocess
import sys
from types import SimpleNamespace

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


OTHERS = "MALLOC_", "GLIBC_TUNABLES"
HOLES = """
import ctypes
from jaxgan import memory
memory.keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
sizes = [1024 + 16 * i for i in range(2000)]
wide = libc.malloc(600 << 20)  # a hole that is larger than most
blocks = [libc.malloc(size) for size in sizes for _ in range(2)]  # every second stays
for block in blocks[::2]:
    libc.free(block)
libc.free(wide)
ctypes.memset(large := libc.malloc(64 << 20), 1, 64 << 20)
libc.free(large)
statm = lambda: [int(pages) for pages in open("/proc/self/statm").read().split()[:2]]  # addresses, memory

def inside():  # of new blocks, those between the old ones
    new = [libc.malloc(size) for size in sizes]
    found = sum(min(blocks) < block < max(blocks) for block in new)
    for block in new:
        libc.free(block)
    return found

addresses, before = statm()
taken = memory.fill_holes()
given = before - statm()[1]
again = memory.fill_holes() - taken
memory.fill_holes()
grown = statm()[0] - addresses
filled = inside()
memory.open_holes()
print(taken, again, filled, inside(), given, grown)
"""
COMPILES = """
import jax
from jaxgan import memory
kept, calls = memory.keep_freed_memory() and memory.keep_freed_memory(), []  # a cell may be run twice
memory.open_holes = lambda: (calls.append("open"), memory.OPENED.append(True))
memory.fill_holes = lambda: (calls.append("fill"), memory.OPENED.clear())
for k, (memory.LARGE_ENOUGH, memory.LONG) in enumerate([(9e9, 9e9), (9e9, 0.0), (0.0, 9e9), (9e9, 9e9)]):
    calls.append(k)
    jax.jit(lambda x: x + k)(1.0)
print(kept, *calls)
"""


GLIBC = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's malloc")


def said(code: str, **environment) -> list[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(OTHERS)} | environment
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=clean, check=True).stdout.split()


@pytest.fixture
def unset(monkeypatch):
    """No variable that speaks of malloc."""
    for name in [name for name in os.environ if name.startswith(OTHERS)]:
        monkeypatch.delenv(name)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc" or os.sysconf("SC_PAGE_SIZE") != 4096, reason="glibc's malloc, its pages")
def test_holes_are_filled():
    taken, again, filled, opened, given, grown = map(int, said(HOLES))
    assert taken > 2400 and again < 100  # blocks, some 600 of them in the wide hole
    assert filled < 20 and opened > 1900  # of 2,000 new ones, in the holes
    assert given > 12_000 and grown < 4096  # pages of 4 KiB, of 16,384


@GLIBC
def test_holes_are_open_during_a_long_compilation_and_filled_after_it():
    assert said(COMPILES, JAX_PLATFORMS="cpu") == "True 0 1 fill 2 open fill 3".split()
    assert said(COMPILES, JAX_PLATFORMS="cpu", MALLOC_ARENA_MAX="2") == "False 0 1 2 3".split()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's malloc")
def test_a_freed_block_is_kept():
    kept, count = faults("keep")
    if kept == "False":
        pytest.skip("another C library, or MALLOC_ in the environment")
    assert count < 100
    assert faults("leave")[1] > 100 * max(count, 1)


@GLIBC
def test_the_environment_wins():
    asked = "from jaxgan import memory; print(memory.keep_freed_memory())"
    assert said(asked, MALLOC_ARENA_MAX="2") == said(asked, GLIBC_TUNABLES="glibc.malloc.arena_max=2") == ["False"]
    assert said(asked, MALLOC_ARENA_MAX="1") == said(asked, GLIBC_TUNABLES="glibc.rtld.nns=4") == ["True"]  # as it would itself


@pytest.mark.parametrize("error", [AttributeError, OSError, TypeError])  # musl and macOS, a static program, Windows
def test_without_glibc_nothing_happens(monkeypatch, unset, error):
    def no_such_library(name):
        raise error(f"there is no {name}")

    monkeypatch.setattr(ctypes, "CDLL", no_such_library)
    assert not memory.keep_freed_memory() and not memory.fill_holes()
    memory.open_holes()


@GLIBC
def test_another_allocator_is_left_alone(monkeypatch, unset):  # its malloc is found first, but glibc's mallopt, which has no use
    libc = ctypes.CDLL("libc.so.6")
    preloaded = SimpleNamespace(malloc=libc.valloc, free=libc.free, mallopt=libc.mallopt)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: libc if name else preloaded)
    assert not memory.keep_freed_memory() and not memory.fill_holes()


def test_an_older_glibc_keeps_what_it_allows(monkeypatch, unset):
    done = []
    older = SimpleNamespace(mallopt=lambda *given: done.append(given) or given[1] != 2**30)  # as 2.34
    monkeypatch.setattr(memory, "_glibc", lambda: older)
    monkeypatch.setattr(memory, "_listen", lambda: done.append("listens"))
    assert memory.keep_freed_memory()
    assert done[1:] == [(memory.LARGE, 2**25), (memory.ARENAS, 1), (memory.TRIM, 2**31 - 1), "listens"]


@pytest.mark.parametrize("block", [0x10000000, 0x5555F000, 0x60000000, None])
def test_what_lies_beyond_the_heap_is_not_taken(monkeypatch, block):  # as for an arena of a thread: there is always more
    tries = iter(range(200))  # of each of some 70 sizes one
    libc = SimpleNamespace(malloc_trim=int, malloc=lambda size: (next(tries), block)[1] if size > 4096 else None, free=bool)
    monkeypatch.setattr(memory, "_glibc", lambda: libc)
    monkeypatch.setattr(memory, "FILLED", [])
    maps = b"1000-2000 r--p 0 00:00 0 /\xff\n55550000-55560000 rw-p 0 00:00 0    [heap]\n"
    monkeypatch.setattr(memory, "open", lambda *_: io.BytesIO(maps), raising=False)
    assert memory.fill_holes() == 0
    monkeypatch.setattr(memory, "open", lambda *_: open(os.devnull + "/maps", "rb"), raising=False)  # no /proc
    assert memory.fill_holes() == 0
