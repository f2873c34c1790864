"""From a source to each step's batch on the devices.

Which images step k uses is a function of (seed, k) alone (`jaxgan.data.stream`): a fresh permutation each epoch, across the
step's slots. A set that fits stays on every device as uint8 and the step gathers its batches there, indices and all, so the
loop sends nothing. A larger one is read by threads some steps ahead and arrives as uint8. Of pairs the source images come as
c, mirrored and jittered as their targets are; those of unpaired images are these themselves, read and kept once.
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
from jaxgan.typing import AnyArray, ArrayLike, Tree

RESIDENT_BYTES = 2 * 2**30
"""A set up to this size is kept on the device."""


class Layout(NamedTuple):
    """How a step's images lie: [slots, accum, micro] over all devices, `mirror` doubling the set by x-flips.

    `jitter`: see `jittered`. The last `held` of the n images go to the `held_slots` alone, the others to the other slots alone.
    """

    seed: int | jax.Array
    """In the compiled step a uint32 [] among its arguments: all seeds share its program."""
    n: int
    slots: int
    accum: int
    micro: int
    mirror: bool = False
    held: int = 0
    held_slots: tuple[int, ...] = ()
    jitter: int = 0

    @property
    def parts(self) -> list["Part"]:
        """The set as it is drawn from: what is trained on, and what is held out, each in an order of its own."""
        trained = tuple(s for s in range(self.slots) if s not in self.held_slots)
        parts = [Part(trained, 0, self.n - self.held, self.seed)]
        other = (self.seed + 1) % 2**32 if isinstance(self.seed, int) else self.seed + 1  # an array wraps around by itself
        return parts + [Part(self.held_slots, self.n - self.held, self.held, other)] * bool(self.held_slots)


class Part(NamedTuple):
    """Images [first, first + n) for these slots."""

    slots: tuple[int, ...]
    first: int
    n: int
    seed: int | jax.Array


class Feed(NamedTuple):
    """Where batches come from."""

    at: Callable[[int], Any]
    """step (on the host) -> what to hand to the compiled step, on the devices. Ask in order; for the latest again if need be."""
    take: Callable[[Any, jax.Array, str | None], tuple[jax.Array, Any]]
    """(that, step [], axis), traced -> x uint8 [slots, accum, B, H, W, C], c [slots, accum, B, ...] or None"""
    close: Callable[[], None]
    resident: bool
    """Whether `at` is the same for all steps, so that one call may take several."""


def positions(layout: Layout, slots: int, local: int, first: ArrayLike) -> AnyArray:
    """Offsets into the images of so many slots of a step, [slots, accum, local], of the device that begins at `first`."""
    slot = np.arange(slots)[:, None, None] * (layout.accum * layout.micro)
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


def draw(seed: int | jax.Array, n: int, per_step: int, step: jax.Array, offsets: jax.Array) -> jax.Array:
    """Indices int32 of the images at `offsets` (any shape) of a step: `stream.indices`, traced."""
    epoch, start = divmod_step(step, per_step, n)
    place = start + offsets.astype(jnp.uint32)
    key = stream.mix(jnp.uint32(seed), epoch + place // n)
    index = stream.permute(place % n, n, key)
    walk = lambda i: jnp.where(i >= n, stream.permute(i, n, key), i)  # what falls outside goes round again
    return jax.lax.while_loop(lambda i: jnp.any(i >= n), walk, index).astype(jnp.int32)


def chosen(layout: Layout, local: int, first: ArrayLike, drawn: Callable[..., Any], xp: Any) -> tuple[Any, Any]:
    """A step's images on one device: their index in the set and whether they are flipped, both [slots, accum, local].

    Args:
      local, first: how many of a micro-batch the device has, and where they begin.
      drawn: (seed, n, images a step, offsets) -> indices.
      xp: numpy or jax.numpy.
    """
    index, flipped, slots = [], [], []
    for part in layout.parts:
        count, n = len(part.slots), part.n * (2 if layout.mirror else 1)
        place = drawn(part.seed, n, count * layout.accum * layout.micro, positions(layout, count, local, first))
        index, flipped, slots = [*index, part.first + place % part.n], [*flipped, place >= part.n], [*slots, *part.slots]
    order = np.argsort(slots)
    return xp.concatenate(index)[order], xp.concatenate(flipped)[order]


def flip(flipped: AnyArray, x: AnyArray, xp: Any) -> AnyArray:
    """Images x [..., H, W, C], those of `flipped` [...] mirrored."""
    return xp.where(flipped[..., None, None, None], x[..., ::-1, :], x)


def jittered(layout: Layout, batch: Tree, step: jax.Array, axis: str | None) -> Tree:
    """Each image enlarged (bicubic) by layout.jitter pixels of its shorter side, and its own size cut out at a random place.

    What is cut is a function of (seed, step, the image's place in the global batch): the same of source and target.

    Args:
      batch: x uint8 [slots, accum, B, H, W, C], and c, source images likewise, or labels or None, which stay as they are.
    Source: the random jitter of Isola et al. 2017, appendix 6.2: 256 -> 286 pixels.
    """
    if not layout.jitter:
        return batch
    (h, w), local = batch[0].shape[3:5], batch[0].shape[2]
    scale = 1 + layout.jitter / min(h, w)
    spare = np.array([round(n * scale) - n for n in (h, w)])
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(layout.seed), 2**31 - 2), step)
    places = positions(layout, layout.slots, local, jax.lax.axis_index(axis) * local if axis else 0)

    def cut(place, x):
        offset = jax.random.randint(jax.random.fold_in(key, place), (2,), 0, spare + 1, jnp.int32)
        to = jnp.full(2, scale, jnp.float32), -offset.astype(jnp.float32)
        y = jax.image.scale_and_translate(x.astype(jnp.float32), x.shape, (0, 1), *to, "cubic", antialias=False)
        return jnp.clip(jnp.round(y), 0, 255).astype(jnp.uint8)

    cut_all = jax.vmap(jax.vmap(jax.vmap(cut)))
    return tuple(cut_all(jnp.asarray(places), a) if a is not None and a.dtype == jnp.uint8 else a for a in batch)


def _resident(source: Source, layout: Layout) -> Feed:
    images = parallel.replicate(read_all(source))
    given = source.labels if source.inputs is None else read_all(source.inputs)
    given = parallel.replicate(given) if given is not None else None
    seed = parallel.replicate(np.uint32(layout.seed))
    local, per_step = layout.micro // jax.device_count(), layout.slots * layout.accum * layout.micro

    def take(held, step, axis):
        images, given, seed = held
        mine = layout._replace(seed=seed)
        first = jax.lax.axis_index(axis) * local if axis else 0
        drawn = lambda seed, n, per_step, offsets: draw(seed, n, per_step, step, jnp.asarray(offsets))
        index, flipped = chosen(mine, local, first, drawn, jnp)
        of_given = index
        if ways(source) > 1:
            of_given += (divmod_step(step, per_step, source.n)[0] % ways(source)).astype(jnp.int32) * source.n
        x, c = images[index], None if given is None else given[of_given]
        if layout.mirror:
            x = flip(flipped, x, jnp)
            c = c if source.inputs is None else flip(flipped, c, jnp)
        return jittered(mine, (x, c), step, axis)

    return Feed(at=lambda step: (images, given, seed), take=take, close=lambda: None, resident=True)


def _streamed(source: Source, layout: Layout, ahead: int) -> Feed:
    """Prefetch: `ahead` steps are being read while the devices work."""
    pool = ThreadPoolExecutor(ahead, thread_name_prefix="jaxgan-feed")
    waiting: deque = deque()
    seed = parallel.replicate(np.uint32(layout.seed))
    local, per_step = layout.micro // jax.process_count(), layout.slots * layout.accum * layout.micro

    def read(step):
        drawn = lambda seed, n, per_step, offsets: stream.indices(seed, step, per_step, n)[offsets]
        index, flipped = chosen(layout, local, jax.process_index() * local, drawn, np)
        images = lambda a, way=0: a.read(index.ravel() + way * a.n).reshape(*index.shape, *a.shape)
        mirrored = lambda x: flip(flipped, x, np) if layout.mirror else x
        x = mirrored(images(source))
        if source.inputs is not None:
            way = step * per_step // source.n % ways(source)
            return parallel.shard((x, mirrored(images(source.inputs, way))), axis=2)
        return parallel.shard((x, None if source.labels is None else source.labels[index]), axis=2)

    def at(step):
        while waiting and waiting[0][0] != step:
            waiting.popleft()
        while len(waiting) <= ahead:
            soon = step + len(waiting)
            waiting.append((soon, pool.submit(read, soon)))
        return *waiting[0][1].result(), seed

    take = lambda held, step, axis: jittered(layout._replace(seed=held[2]), held[:2], step, axis)
    return Feed(at=at, take=take, close=lambda: pool.shutdown(cancel_futures=True), resident=False)


def stays(source: Source, asked: str) -> bool:
    """Whether a set is kept on the devices.

    Args:
      asked: "yes" or "no", or "auto": if it is small enough, with its source images; the devices of a CPU share its memory.
    """
    if asked != "auto":
        return asked == "yes"
    source = _once(source)
    size = source.n * sum(s.ways * int(np.prod(s.shape)) for s in (source, source.inputs) if s is not None)
    return size * (jax.local_device_count() if jax.default_backend() == "cpu" else 1) <= RESIDENT_BYTES


def open_feed(source: Source, layout: Layout, *, resident: bool, ahead: int = 4) -> Feed:
    """The feed of a source.

    Args:
      source: the images.
      layout: the order of the step's images.
      resident: keep the set on the devices (`stays`), else stream it.
      ahead: batches read ahead of the step when streaming.
    """
    made = _resident(_once(source), layout) if resident else _streamed(_once(source), layout, ahead)
    if not source.sides:
        return made

    def take(*given):
        x, _ = made.take(*given)
        return x, x

    return made._replace(take=take)


def ways(source: Source) -> int:
    """In how many ways its source images are there, which take turns: one after every epoch."""
    return 1 if source.inputs is None else source.inputs.ways


def _once(source: Source) -> Source:
    """Unpaired images without their `inputs`, which are the same images."""
    return source._replace(inputs=None) if source.sides else source
