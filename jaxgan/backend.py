"""The backend that formulations are chosen for when they are traced: JAX's own, or none for a program that goes elsewhere."""

import contextlib
import contextvars
from collections.abc import Iterator

import jax

_assumed = contextvars.ContextVar("jaxgan_backend", default=None)


def name() -> str:
    """'cpu', 'gpu', 'tpu', ...; 'any' inside `any_backend`."""
    return _assumed.get() or jax.default_backend()


@contextlib.contextmanager
def any_backend() -> Iterator[None]:
    """What is traced inside takes XLA's own formulations, which are right everywhere and look at no size of a batch.

    A function that `jax.jit` has traced outside stays as it is: trace a new one.
    """
    token = _assumed.set("any")
    try:
        yield
    finally:
        _assumed.reset(token)
