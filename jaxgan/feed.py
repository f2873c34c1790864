"""From a source to each step's batch on the devices.

Which images step k uses is a function of (seed, k) alone (`jaxgan.data.stream`): a fresh permutation each epoch, across the
step's slots. A set that fits stays on every device as uint8 and the step gathers its batches there, indices and all, so the
loop sends nothing. A larger one is read by threads some steps ahead and arrives as uint8.
"""

from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan import parallel
from jaxgan.data import Source, read_all, stream

RESIDENT_BYTES = 2 * 2**30
"""A set up to this size is kept on the device."""


class Layout(NamedTuple):
    """How a step's images lie: [slots, accum, micro] over all devices, `mirror` doubling the set by x-flips."""

    seed: int
    n: int
    slots: int
    accum: int
    micro: int
    mirror: bool = False

    @property
    def images(self) -> int:
        """Images of the set as the stream counts them."""
        return self.n * (2 if self.mirror else 1)


class Feed(NamedTuple):
    """Where batches come from."""

    at: Callable[[int], Any]
    """step (on the host) -> what to hand to the compiled step, on the devices. Steps must be asked for in order."""
    take: Callable[[Any, jax.Array, str | None], tuple[jax.Array, Any]]
    """(that, step [], axis), traced -> x uint8 [slots, accum, B, H, W, C], c [slots, accum, B, ...] or None"""
    close: Callable[[], None]


def positions(layout: Layout, local: int, first):
    """Offsets into the step's images, [slots, accum, local], of the device whose images begin at `first`."""
    slot = np.arange(layout.slots)[:, None, None] * (layout.accum * layout.micro)
    micro = np.arange(layout.accum)[None, :, None] * layout.micro
    return (slot + micro + np.arange(local)[None, None, :]).astype(np.int32) + first


def divmod_step(step: jax.Array, times: int, n: int) -> tuple[jax.Array, jax.Array]:
    """divmod(step * times, n) as uint32 [] without overflow of the product: long division, a bit of `step` at a time.

    Args:
      step: int32 or uint32 [], below 2**31.
      times, n: static; n < 2**30.
    """
    whole, part = divmod(times, n)
    step, q, r = step.astype(jnp.uint32), jnp.uint32(0), jnp.uint32(0)
    for i in reversed(range(31)):
        bit = (step >> i) & 1
        r = 2 * r + bit * part
        carry = r // n
        q, r = 2 * q + bit * whole + carry, r - carry * n
    return q, r


def draw(layout: Layout, step: jax.Array, offsets: jax.Array) -> jax.Array:
    """Indices int32 of the images at `offsets` (any shape) of a step: `stream.indices`, traced."""
    n = layout.images
    epoch, start = divmod_step(step, layout.slots * layout.accum * layout.micro, n)
    place = start + offsets.astype(jnp.uint32)
    key = stream.mix(jnp.uint32(layout.seed % 2**32), epoch + place // n)
    index = stream.permute(place % n, n, key)
    walk = lambda i: jnp.where(i >= n, stream.permute(i, n, key), i)  # what falls outside goes round again
    return jax.lax.while_loop(lambda i: jnp.any(i >= n), walk, index).astype(jnp.int32)


def _resident(source: Source, layout: Layout, progress) -> Feed:
    images = parallel.replicate(read_all(source, progress))
    labels = parallel.replicate(source.labels) if source.labels is not None else None
    local = layout.micro // jax.device_count()

    def take(held, step, axis):
        images, labels = held
        first = jax.lax.axis_index(axis) * local if axis else 0
        index = draw(layout, step, jnp.asarray(positions(layout, local, 0)) + first)
        x = images[index % layout.n]
        if layout.mirror:
            x = jnp.where((index < layout.n)[..., None, None, None], x, x[..., ::-1, :])
        return x, None if labels is None else labels[index % layout.n]

    return Feed(at=lambda step: (images, labels), take=take, close=lambda: None)


def _streamed(source: Source, layout: Layout, ahead: int) -> Feed:
    """Prefetch: `ahead` steps are being read while the devices work."""
    pool = ThreadPoolExecutor(ahead, thread_name_prefix="jaxgan-feed")
    waiting: deque = deque()
    local = layout.micro // jax.process_count()
    offsets = positions(layout, local, jax.process_index() * local)
    per_step = layout.slots * layout.accum * layout.micro

    def read(step):
        index = stream.indices(layout.seed, step, per_step, layout.images)[offsets]
        x = source.read(index.ravel() % layout.n).reshape(*index.shape, *source.shape)
        if layout.mirror:
            x = np.where((index < layout.n)[..., None, None, None], x, x[..., ::-1, :])
        labels = None if source.labels is None else source.labels[index % layout.n]
        return parallel.shard((x, labels), axis=2)

    def at(step):
        if not waiting or waiting[0][0] != step:
            waiting.clear()
        while len(waiting) <= ahead:
            soon = step + len(waiting)
            waiting.append((soon, pool.submit(read, soon)))
        return waiting.popleft()[1].result()

    return Feed(at=at, take=lambda held, step, axis: held, close=lambda: pool.shutdown(cancel_futures=True))


def open_feed(source: Source, layout: Layout, *, resident: bool | None = None, ahead: int = 4, progress=None) -> Feed:
    """The feed of a source: device-resident if it fits, else streamed.

    Args:
      source: the images.
      layout: the order of the step's images.
      resident: True or False decides; None keeps sets up to `RESIDENT_BYTES` on the device.
      ahead: batches read ahead of the step when streaming.
      progress: (done, total) -> None, while a resident set is read.
    """
    size = source.n * int(np.prod(source.shape))
    if resident is None:
        resident = size <= RESIDENT_BYTES
    return _resident(source, layout, progress) if resident else _streamed(source, layout, ahead)
