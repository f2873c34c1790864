"""How much memory there is; what the C library does with memory that a step frees, and Python with what a trace makes."""

import ctypes
import gc
import math
import os

ARENAS, LARGE, TRIM = -8, -3, -1  # mallopt's M_ARENA_MAX, M_MMAP_THRESHOLD, M_TRIM_THRESHOLD


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

    Call it before JAX starts its threads: a thread keeps the arena that it began with.

    Returns:
      Whether it was done. It is left alone where the environment says otherwise (any MALLOC_*_ variable).
    """
    if any(name.startswith("MALLOC_") for name in os.environ):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # not glibc; the last is what None gives on Windows
        return False
    return all([mallopt(ARENAS, 1), mallopt(LARGE, 2**30), mallopt(TRIM, 2**31 - 1)])
