"""Devices and processes: the only file that names pmap.

One device: `jit`. Several: `pmap`, the state replicated, gradients, statistics and logs averaged by the step itself over the
axis `AXIS`. Several processes: the same, after `start_processes`.
"""

import itertools
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache, partial, wraps
from typing import Any

import jax
import numpy as np
from jax._src import distributed  # JAX has no public way to its coordinator, which Orbax asks the same way
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxgan.cores import cores
from jaxgan.errors import UserError, one_line
from jaxgan.typing import Tree

AXIS = "devices"


def start_processes(coordinator: str, processes: int, process: int) -> None:
    """Join this process to a run of several; before anything else touches JAX.

    Args:
      coordinator: '' for one process, 'auto' where the cluster says who is who (TPU pods, Slurm, Open MPI), else
        'host:port' of process 0.
      processes, process: how many there are, and which this is; not needed with 'auto'.
    Raises:
      UserError: they do not fit together, or the others cannot be reached.
    """
    if not coordinator:
        if (processes, process) != (1, 0):
            raise UserError(f"--processes {processes} --process {process}: where do they meet? give --coordinator HOST:PORT too")
        return
    where = "one another" if coordinator == "auto" else coordinator
    said = f"waiting for the other processes of this run, up to 5 minutes: all must be started and reach {where}\n"
    late = threading.Timer(LATE, lambda: os.write(2, said.encode()))
    late.daemon = True
    late.start()
    try:
        if coordinator == "auto":
            jax.distributed.initialize()
        elif not 0 <= process < processes:
            raise UserError(f"--process {process} is not one of --processes {processes}; it counts from 0")
        else:
            here = coordinator.rpartition(":")[0] in LOOPBACK and not process  # else process 0 listens to all of the network
            jax.distributed.initialize(
                coordinator, processes, process, **({"coordinator_bind_address": coordinator} if here else {})
            )
    except (RuntimeError, ValueError) as e:
        if isinstance(e, UserError):
            raise
        reason = str(e).splitlines()[0]
        raise UserError(f"--coordinator {coordinator}: the processes could not meet ({reason})") from e
    finally:
        late.cancel()


LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
"""Hosts of a run whose processes are on one machine."""
LATE = 20.0
"""Seconds after which a process that waits for others says so; after five minutes JAX aborts it."""
MOST = 8
"""Devices that `share_cores` makes at most."""
SHARE = 8
"""Images a device, of a micro-batch, that it leaves at least."""


def share_cores(asked: int, batch: int, accum: int) -> None:
    """Make several XLA devices of a CPU's cores; before anything starts JAX. A GPU or TPU is not touched.

    One CPU device works on one operation at a time and leaves cores idle in those that it cannot split. Two devices on two
    cores train narrow convolutions up to 1.6 times as fast, dense layers slower (benchmarks/README.md). The number of
    devices changes the last bits of a run, no more.

    Args:
      asked: devices; 0 is as many as there are cores, up to MOST, divide the batch and leave each SHARE images. Nothing is
        changed for 0 where the environment says how many (JAX_NUM_CPU_DEVICES, XLA_FLAGS).
      batch, accum: images a step, and the micro-batches these are cut into.
    Raises:
      UserError: asked is below 0; JAX has started already, with another number, or for 0 with a single device. Several stay:
        a notebook's next run has another batch.
    """
    if asked < 0:
        raise UserError(f"--cpu-devices {asked}: give 1 or more, or 0 for one per core")
    if not asked:
        if os.environ.get("JAX_NUM_CPU_DEVICES") or "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", ""):
            return
        micro = batch // accum if accum > 0 else 0
    wanted = asked or next((n for n in range(min(cores(), MOST, micro // SHARE), 1, -1) if micro % n == 0), 1)
    try:
        jax.config.update("jax_num_cpu_devices", wanted)
    except RuntimeError:
        has = jax.device_count()
        if jax.default_backend() == "cpu" and (has != wanted if asked else has == 1 < wanted):
            early = "call run.start before any array is made, also by what is imported (constants of a module: NumPy)"
            early += f"; in a notebook restart the kernel, or go on with cpu_devices={has}"
            raise UserError(f"--cpu-devices {wanted}: JAX has started already, with {has}; {early}") from None


def check_batch(batch: int, accum: int, devices: int, share: int = 1) -> None:
    """Raise UserError, naming the nearest sizes, if the global batch does not divide evenly; `share` as in `method.Term`."""
    unit = accum * devices * share
    if batch < 1 or batch % unit:
        below, above = max(batch // unit, 1) * unit, (batch // unit + 1) * unit
        nearest = f"{below} or {above}" if below < above else str(above)
        by = f"{devices} devices" + (f" x {accum} micro-batches" if accum > 1 else "")
        by += f" x {share}, as a penalty takes one of {share} images" if share > 1 else ""
        raise UserError(f"--batch {batch} does not divide by {by}; the nearest sizes are {nearest}")


NO_MESH = Mesh(np.empty((), object), ())


def without_mesh(fn: Callable[..., Any]) -> Callable[..., Any]:
    """`fn`, called outside of the mesh that its caller may have set (`jax.set_mesh`), in which JAX refuses pmap and arrays that
    are on one device."""

    @wraps(fn)
    def call(*args, **kwargs):
        if jax.sharding.get_abstract_mesh().empty:
            return fn(*args, **kwargs)
        with jax.set_mesh(NO_MESH):
            return fn(*args, **kwargs)

    return call


def map_devices(fn: Callable[..., Any], *, static: tuple[int, ...] = (), donate: tuple[int, ...] = ()) -> Callable[..., Any]:
    """`fn(*args, axis=)` compiled for all devices: jit on one, pmap on several.

    Args:
      fn: takes the device axis by name, or None, as the keyword `axis`.
      static: positions of the hashable arguments, each value of which is a compiled program of its own.
      donate: positions of the arguments whose buffers are reused.
    Returns:
      A function of args. On several devices every array has a leading axis over this process's devices.
    """
    if jax.device_count() == 1:
        return jax.jit(partial(fn, axis=None), static_argnums=static, donate_argnums=donate)
    return jax.pmap(partial(fn, axis=AXIS), axis_name=AXIS, static_broadcasted_argnums=static, donate_argnums=donate)


def _stack(pieces: list[Any]) -> jax.Array:
    """One array per local device, as one array [devices, ...] that stays where they are."""
    devices = jax.local_devices()
    sharding = NamedSharding(Mesh(np.array(devices), (AXIS,)), PartitionSpec(AXIS))
    pieces = [jax.device_put(piece[None], device) for piece, device in zip(pieces, devices, strict=True)]
    return jax.make_array_from_single_device_arrays((len(devices), *pieces[0].shape[1:]), sharding, pieces)


@without_mesh
def replicate(tree: Tree) -> Tree:
    """A tree for `map_devices`: a copy on each device. A copy also on one, since the step donates what it is given."""
    if jax.device_count() == 1:
        return jax.tree.map(lambda a: jax.device_put(a, jax.local_devices()[0], may_alias=False), tree)
    return jax.tree.map(lambda a: _stack([a] * jax.local_device_count()), tree)


def replicated(tree: Tree) -> Tree:
    """The shapes and dtypes of `replicate(tree)`, of arrays or of shapes."""
    lead = (jax.local_device_count(),) if jax.device_count() > 1 else ()
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct((*lead, *a.shape), a.dtype), tree)


@without_mesh
def shard(tree: Tree, axis: int) -> Tree:
    """Host arrays cut along `axis` into one piece per local device, and sent there."""
    if jax.device_count() == 1:
        return jax.tree.map(lambda a: jax.device_put(a, jax.local_devices()[0]), tree)
    return jax.tree.map(lambda a: _stack(np.split(a, jax.local_device_count(), axis)), tree)


def first(tree: Tree) -> Tree:
    """The first local device's copy of a replicated tree, still on that device."""
    if jax.device_count() == 1:
        return tree
    return jax.tree.map(lambda a: a.addressable_shards[0].data.reshape(a.shape[1:]), tree)


def in_chunks(fn: Callable[..., Any], static: tuple[Any, ...], held: Tree, arrays: tuple[Any, ...], chunk: int) -> Iterator[Any]:
    """`fn(*static, held, *pieces)` over rows of host arrays, on this process's devices, `chunk` rows a device at a time.

    Every call has the same shapes, so a row's result is the same to the bit whatever the number of rows. (CPU devices share
    the cores, and another number of them may round otherwise.)

    Args:
      fn: pure, a module's function (it is compiled once for each `static`).
      static: hashable arguments.
      held: a tree of arrays that every call gets, kept on the devices.
      arrays: host arrays [n, ...], n the same; the last piece is filled up by repeating.
      chunk: rows a device and call.
    Yields:
      Trees of host arrays, each of the next up to chunk * devices rows.
    """
    rows, run = chunk * jax.local_device_count(), _on_local_devices(fn, static)
    held, sent = replicate(held), None
    for pieces, n in _pieces(arrays, rows):
        coming = run(held, *pieces), n
        if sent is not None:  # the devices work on the next while the host takes this one
            yield _fetched(*sent, rows)
        sent = coming
    if sent is not None:
        yield _fetched(*sent, rows)


def in_steps(
    programs: tuple[Any, ...],
    static: tuple[Any, ...],
    held: Tree,
    arrays: tuple[Any, ...],
    chunk: int,
    steps: int,
    progress: Callable[..., Any] | None = None,
) -> Iterator[Any]:
    """`in_chunks` of something iterative, whose steps are calls of one program: convolutions in compiled loops are slow on CPUs.

    Args:
      programs: (begin, step, end), pure: begin(*static, held, *pieces) -> state, any tree of arrays;
        step(*static, held, state, *pieces) -> the next one; end(*static, held, state, *pieces) -> a tree of arrays by rows.
      static, held, arrays, chunk: as `in_chunks`.
      steps: of each chunk.
      progress: called with (steps done, steps in all).
    Yields:
      Trees of host arrays, each of the next up to chunk * devices rows.
    """
    rows, (begin, step, end) = chunk * jax.local_device_count(), (_on_local_devices(fn, static) for fn in programs)
    held, total = replicate(held), steps * -(-len(arrays[0]) // (chunk * jax.local_device_count()))
    for i, (pieces, n) in enumerate(_pieces(arrays, rows)):
        state = begin(held, *pieces)
        for done in range(1, steps + 1):
            state = step(held, state, *pieces)
            if done % 8 == 0 or done == steps:
                jax.block_until_ready(state)  # the host would run far ahead, and Ctrl-C and the progress be late
                if progress:
                    progress(i * steps + done, total)
        yield _fetched(end(held, state, *pieces), n, rows)


def _pieces(arrays, rows):
    """(the next `rows` rows of each array on the devices, the last filled up by repeating; how many are of it)."""
    n = len(arrays[0])
    for i in range(0, n, rows):
        yield shard(tuple(np.resize(a[i : i + rows], (rows, *a.shape[1:])) for a in arrays), 0), min(rows, n - i)


@lru_cache(maxsize=64)
def _on_local_devices(fn: Callable[..., Any], static: tuple[Any, ...]) -> Callable[..., Any]:
    run = partial(fn, *static)
    return without_mesh(jax.jit(run) if jax.device_count() == 1 else jax.pmap(run, devices=jax.local_devices()))


def _fetched(out, n: int, rows: int):
    several = jax.device_count() > 1
    return jax.tree.map(lambda a: np.asarray(a).reshape(rows, *a.shape[1 + several :])[:n], out)


def is_main() -> bool:
    """Whether this process writes the run's pictures and logs."""
    return jax.process_index() == 0


def is_coordinator() -> bool:
    """Whether the others of a run cannot go on without this process; asked without starting JAX's devices."""
    return distributed.global_state.process_id == 0


def anywhere(flag: bool) -> bool:
    """Whether any process says so (SIGTERM reaches them at different steps)."""
    if jax.process_count() == 1:
        return flag
    return bool(np.any(multihost_utils.process_allgather(np.array(flag))))


def from_main(value: int) -> int:
    """The first process's value, in all of them."""
    if jax.process_count() == 1:
        return value
    return int(multihost_utils.broadcast_one_to_all(np.int32(value)))


DAY = 24 * 60 * 60 * 1000
"""Milliseconds that processes wait for one another where one may read data, or measure, for hours. Who has died is missed after
100 seconds."""
_meetings = itertools.count()
"""Every process counts its own: all come to the same ones in the same order."""


def all_told(what: str) -> list[str]:
    """What each process says here, in their order. By way of the coordinator, and no collective: on CPUs these wait 30 seconds.

    Raises:
      UserError: another process had to end (`failing_together`).
    """
    if jax.process_count() == 1:
        return [what]
    name, said = _tell(f"+{what}"), []
    for i in range(jax.process_count()):
        said.append(_coordinator().blocking_key_value_get(f"{name}/{i}", DAY))
        if said[-1][0] == "-":
            raise UserError(f"process {i} of this run has ended: {said[-1][1:]}")
    return [text[1:] for text in said]


@contextmanager
def failing_together() -> Iterator[None]:
    """What goes wrong inside is told to the others at their next `all_told`, where they would wait for this process."""
    try:
        yield
    except Exception as e:
        if jax.distributed.is_initialized() and jax.process_count() > 1:
            with suppress(jax.errors.JaxRuntimeError):  # the coordinator may be what has gone
                _tell(f"-{one_line(e)}")
        raise


def _coordinator():
    if not jax.distributed.is_initialized():  # a TPU pod's processes know of one another without
        raise UserError(f"this is one of {jax.process_count()} processes, which have not met; give all --coordinator auto")
    return distributed.global_state.client


def _tell(text: str) -> str:
    name = f"jaxgan/{next(_meetings)}"
    _coordinator().key_value_set(f"{name}/{jax.process_index()}", text)
    return name


def barrier() -> None:
    """Wait for all processes, however long one takes; raises as `all_told`."""
    all_told("")
