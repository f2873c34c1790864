"""How much memory there is; what the C library does with memory that a step frees, and Python with what a trace makes."""

import ctypes
import gc
import math
import os
from functools import lru_cache
from threading import Lock

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
    peak, which it needs at every step anyhow; blocks of 1 GiB and more still go back.

    `run.start` calls it; a loop of your own may, before JAX has made an array and with it its threads: a thread keeps the arena
    that it began with. That is a single one, for all of a step's memory. So that what a compiler leaves there is not in the way,
    `fill_holes` follows each compilation of some length.

    Returns:
      Whether it was done. It is left alone where the environment says otherwise (any MALLOC_*_ variable).
    """
    if any(name.startswith("MALLOC_") for name in os.environ):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # not glibc; the last is what None gives on Windows
        return False
    if not all([mallopt(ARENAS, 1), mallopt(LARGE, 2**30), mallopt(TRIM, 2**31 - 1)]):
        return False
    _listen()
    return True


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
    libc = ctypes.CDLL(None)
    malloc, free = libc.malloc, libc.free
    malloc.restype, malloc.argtypes, free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
    with FILLING:
        libc.malloc_trim(0)
        end = malloc(2**29)  # no hole is as large, so it lies where the heap ends
        free(end)
        size = 2**20
        while end and size >= 1024:  # below, there is a list for each size
            while (block := malloc(size)) and block < end:
                FILLED.append(block)
            free(block)
            size = size * 9 // 10  # smaller remainders are left for the next
        OPENED.clear()
        return len(FILLED)


def open_holes() -> None:
    """Give back what `fill_holes` took, as the next compilation needs it."""
    free = ctypes.CDLL(None).free
    free.argtypes = [ctypes.c_void_p]
    with FILLING:
        if FILLED:
            OPENED.append(True)
        while FILLED:
            free(FILLED.pop())
