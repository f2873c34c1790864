"""What the steps of a tick logged, summed on the device: the host looks once a tick."""

from collections.abc import Iterable

import jax
import jax.numpy as jnp


def start_meter(names: Iterable[str]) -> dict[str, jax.Array]:
    """Sums over the steps of a tick, all zero: {name: [sum, count]} and the first step that was not finite."""
    meter = {name: jnp.zeros(2, jnp.float32) for name in names}
    return meter | {"bad_step": jnp.full((), 2**31 - 1, jnp.int32)}


def add_to_meter(meter: dict[str, jax.Array], log: dict[str, jax.Array], step: jax.Array) -> dict[str, jax.Array]:
    """The meter with one step's log added."""
    finite = jnp.all(jnp.isfinite(jnp.stack([v.astype(jnp.float32) for v in log.values()])))
    bad = jnp.where(finite, 2**31 - 1, step)
    new = {n: meter[n] + jnp.stack([v.astype(jnp.float32), jnp.ones((), jnp.float32)]) for n, v in log.items()}
    return meter | new | {"bad_step": jnp.minimum(meter["bad_step"], bad)}
