"""A run's programs compile while its first state is made and its first steps are taken."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Lock

import jax

from jaxgan import parallel

CORES = 4
"""Of the host's, for each program that is compiled at the same time: a compiler uses several for much of it, and the first
program should not wait for the others."""


def compilers() -> ThreadPoolExecutor:
    """Threads that compile, as many as the cores allow; none is started before it has work."""
    return ThreadPoolExecutor(max(1, parallel.cores() // CORES), thread_name_prefix="jaxgan-compile")


def compiling(run: Callable, arguments: tuple, sequences: tuple, pool: ThreadPoolExecutor) -> Callable:
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
        with tracing:
            lowered = run.lower(*arguments, sequence)
        return lowered.compile()

    programs = {sequence: pool.submit(build, sequence) for sequence in sequences}

    def call(*args):
        *arrays, sequence = args
        return programs[sequence].result()(*arrays) if sequence in programs else run(*args)

    return call
