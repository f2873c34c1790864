"""A run's programs compile while its first state is made and its first steps are taken."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Lock, current_thread
from threading import enumerate as threads
from typing import Any

import jax

from jaxgan import parallel

COMPILING = "jaxgan compiles"
"""Name of a thread while it does."""
CORES = 4
"""Of the host's, for each program that is compiled at the same time: a compiler uses several for much of it, and the first
program should not wait for the others."""


def compilers() -> ThreadPoolExecutor:
    """Threads that compile, as many as the cores allow, none started before it has work; for a GPU one.

    A GPU's autotuner times one candidate at a time, and a program finds what it found for the programs before. Where the
    three of a StyleGAN2 at 256x256 were compiled at once, the first one's passes waited for minutes behind the candidates of
    the others (benchmarks/README.md).
    """
    count = 1 if jax.default_backend() == "gpu" else parallel.cores() // CORES
    return ThreadPoolExecutor(max(1, count), thread_name_prefix="jaxgan compiler")


def busy() -> bool:
    """Whether one of them still compiles. Nothing can stop it, and Python waits for it at its exit."""
    return any(thread.name == COMPILING for thread in threads())


def compiling(
    run: Callable[..., Any], arguments: tuple[Any, ...], sequences: tuple[Any, ...], pool: ThreadPoolExecutor
) -> Callable[..., Any]:
    """`run`, whose programs for `sequences` are compiled by the pool from now on, in that order.

    Tracing is Python's work, so one after the other; compiling is not, and each of a StyleGAN's three programs takes a GPU's
    compiler a minute or more (benchmarks/README.md).

    Args:
      run: (*arguments, sequence), of `parallel.map_devices`, the last argument static.
      arguments: arrays, or their shapes as `parallel.replicated` has them; they are not touched.
      sequences: what the last argument will be. Others are compiled when they are called for.
      pool: of `compilers`.
    Returns:
      A function as `run`; the first call of a program waits until it is compiled, and raises what its compilation did.
    """
    if jax.process_count() > 1:  # there pmap's compiled programs do not take the arrays of one process
        return run
    tracing = Lock()

    def build(sequence):
        thread = current_thread()
        idle, thread.name = thread.name, COMPILING
        try:
            with tracing:
                lowered = run.lower(*arguments, sequence)
            return lowered.compile()
        finally:
            thread.name = idle

    programs = {sequence: pool.submit(build, sequence) for sequence in sequences}

    def call(*args):
        *arrays, sequence = args
        return programs[sequence].result()(*arrays) if sequence in programs else run(*args)

    return call
