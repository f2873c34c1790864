"""How much memory there is; what the C library does with memory that a step frees, and Python with what a trace makes."""

import ctypes
import gc
import math
import os
import sys
from functools import lru_cache
from threading import Lock

ONE_ARENA = "MALLOC_ARENA_MAX=1"
ARENAS, LARGE, TRIM = -8, -3, -1  # mallopt's M_ARENA_MAX, M_MMAP_THRESHOLD, M_TRIM_THRESHOLD
LOWERED, COMPILED = "/jax/core/compile/jaxpr_to_mlir_module_duration", "/jax/core/compile/backend_compile_duration"
"""JAX's events, the one before a compiler begins and the one after it."""
LARGE_ENOUGH, LONG = 0.05, 0.5
"""Seconds of them from which on a program's compilation needs memory and leaves some that matters."""


def installed() -> float:
    """Bytes of memory of this machine: what is larger need not be tried. Infinite where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows
        return math.inf


def of_device() -> tuple[int, int] | None:
    """Bytes of the first local device's memory: what was in use at most, and what JAX may use. None of a CPU, which has none of
    its own, and where the backend does not say."""
    import jax

    stats = jax.local_devices()[0].memory_stats() or {}
    return (stats["peak_bytes_in_use"], stats["bytes_limit"]) if {"peak_bytes_in_use", "bytes_limit"} <= stats.keys() else None


def of_process() -> int | None:
    """Bytes of this process's memory that were in use at most, Python and its libraries with it; None on Windows."""
    try:
        with open("/proc/self/status") as status:  # what `resource` says may be of the process that started this one
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        pass
    try:
        import resource
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def size(number: float) -> str:
    """Bytes for people: '12.3 GB', '4.56 MB', '98 kB'."""
    unit, name = next((u, n) for u, n in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1, "bytes")) if number >= 0.9995 * u or u == 1)
    return f"{number / unit:{',.0f' if number >= 99.95 * unit else '.3g'}} {name}"


def collect_rarely() -> None:
    """Have Python look for cycles more rarely, and not among what there is by now, as all that was imported.

    Tracing makes millions of objects, most of which live on: looking through them takes a fifth of a StyleGAN's trace.
    """
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def keep_freed_memory() -> bool:
    """Keep freed memory in the process instead of handing it back to the system, so that the next step need not ask again.

    Linux with glibc; elsewhere nothing happens.

    XLA's CPU backend takes its temporaries anew at every step. glibc gives large blocks back at once, and each page of the next
    one is then zeroed by the kernel at its first touch: a quarter of the tutorial's step at batch 256. The process keeps its
    peak, which it needs at every step anyhow; blocks of 1 GiB and more still go back (of more than 32 MiB with glibc 2.34 and
    older, which allow no more).

    `run.start` calls it; a loop of your own may, before JAX has made an array and with it its threads: a thread keeps the arena
    that it began with. That is a single one, for all of a step's memory. So that what a compiler leaves there is not in the way,
    `fill_holes` follows each compilation of some length. Where other threads have made arenas before, as those of a notebook's
    kernel, JAX's share these, which cannot hold large blocks, and nothing is gained: there MALLOC_ARENA_MAX=1 has to be in the
    environment when Python starts.

    Returns:
      Whether the settings were made. They are left alone where the environment says otherwise: any other MALLOC_* variable,
      `glibc.malloc` in GLIBC_TUNABLES, another allocator by LD_PRELOAD.
    """
    others = [name for name, value in os.environ.items() if name.startswith("MALLOC_") and f"{name}={value}" != ONE_ARENA]
    if others or "glibc.malloc." in os.environ.get("GLIBC_TUNABLES", ""):
        return False
    libc = _glibc()
    if not (libc and (libc.mallopt(LARGE, 2**30) or libc.mallopt(LARGE, 2**25))):
        return False
    libc.mallopt(ARENAS, 1)
    libc.mallopt(TRIM, 2**31 - 1)
    _listen()
    return True


def _glibc() -> ctypes.CDLL | None:
    """The C library, if it is glibc and what is allocated with: its settings say nothing to a jemalloc, but seem to succeed."""
    try:
        libc, used = ctypes.CDLL("libc.so.6"), ctypes.CDLL(None)
        own, other = (ctypes.cast(library.malloc, ctypes.c_void_p).value for library in (libc, used))
        _ = libc.mallopt, libc.malloc_trim
    except (AttributeError, OSError, TypeError):  # macOS, musl, Windows
        return None
    libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
    return libc if own == other else None


@lru_cache
def _listen() -> None:
    from jax import monitoring  # here, as what only asks for `installed` goes without JAX

    monitoring.register_event_duration_secs_listener(_compiled)


def _compiled(event: str, seconds: float, **_: object) -> None:
    if event == LOWERED and seconds > LARGE_ENOUGH:
        open_holes()
    elif event == COMPILED and (seconds > LONG or OPENED):
        fill_holes()


FILLED: list[int] = []
"""Addresses of the blocks that `fill_holes` took."""
OPENED: list[bool] = []
"""Whether `open_holes` gave some back since."""
FILLING = Lock()


def fill_holes() -> int:
    """Give the free pages of glibc's heap back to the system, and take what is free between the blocks in use.

    A compiler leaves tens of thousands of free blocks of different sizes between those that stay. glibc keeps them in sorted
    lists, which it walks along at every allocation of 1 KiB or more, under a lock. A step makes thousands of those on several
    threads: R3GAN's took 1.3 times as long in the process that compiled it as in one that loaded the program
    (benchmarks/README.md). The blocks taken cost addresses, and of the memory a page each at most. What of them is not given back
    before the next compilation would be lost to it: several runs in one process would need ever more memory.

    Returns:
      How many blocks are taken.
    """
    libc = _glibc()
    if not libc:
        return 0
    with FILLING:
        libc.malloc_trim(0)
        start, end = _heap()
        size = 2**20
        while size >= 1024:  # below, there is a list for each size
            while start <= (block := libc.malloc(size) or 0) and block + size <= end:
                FILLED.append(block)
            libc.free(block)
            size = size * 9 // 10  # smaller remainders are left for the next
        OPENED.clear()
        return len(FILLED)


def _heap() -> tuple[int, int]:
    """Where the heap begins and ends, what is free at its end trimmed away; 1 and 0 if the kernel does not say.

    A block beyond has come from the system: without that limit there would always be one more. So it is for a thread that has an
    arena of its own, from before `keep_freed_memory`.
    """
    try:
        with open("/proc/self/maps", "rb") as maps:
            spans = [line.split()[0].split(b"-") for line in maps if line.endswith(b"[heap]\n")]
    except OSError:
        spans = []
    return (int(spans[0][0], 16), int(spans[-1][1], 16)) if spans else (1, 0)


def open_holes() -> None:
    """Give back what `fill_holes` took, as the next compilation needs it."""
    libc = _glibc()
    with FILLING:
        if FILLED:
            OPENED.append(True)
        while libc and FILLED:
            libc.free(FILLED.pop())
