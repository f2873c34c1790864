"""The backend that formulations are chosen for when they are traced: JAX's own, or none for a program that goes elsewhere."""

import contextlib
import contextvars
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import jax

_assumed: contextvars.ContextVar[str | None] = contextvars.ContextVar("jaxgan_backend", default=None)


def name() -> str:
    """'cpu', 'gpu', 'tpu', ...; inside `any_backend` what it was given."""
    return _assumed.get() or jax.default_backend()


@contextlib.contextmanager
def any_backend(name: str = "any") -> Iterator[None]:
    """What is traced inside takes XLA's own formulations, which are right everywhere and look at no size of a batch; with the
    name 'onnx' those of operations that are fast as ONNX.

    A function that `jax.jit` has traced outside stays as it is: trace a new one.
    """
    token = _assumed.set(name)
    try:
        yield
    finally:
        _assumed.reset(token)


@cache
def cpu_has(feature: str) -> bool:
    """Whether this machine's CPU has a feature, such as 'avx512f'; no where it does not say, as only Linux on x86 does."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("flags"):
                return feature in line.partition(":")[2].split()
    return False
