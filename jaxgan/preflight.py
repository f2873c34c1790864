"""What a run will take, before it is started: memory, time, disk. Nothing is written, but compiled programs are kept."""

import math
import time
from bisect import bisect_left
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxgan import calls, disk, memory, parallel, watch
from jaxgan.method import Recipe
from jaxgan.plan import Run
from jaxgan.run import Machine, build_machine, explained, fresh, shapes, steps_per_call
from jaxgan.settings import steps_a_tick, steps_in_all
from jaxgan.step import Due, programs
from jaxgan.typing import Tree

LOOK = 3.0
"""Seconds that short steps are timed for, after the programs have run twice."""
LONG = 10.0
"""Seconds of a period of lazy terms from which on each program's second step is all that is timed."""


class Need(NamedTuple):
    """What the steps of a stage need, as the compiler says."""

    parameters: dict[str, int]
    """of g and d"""
    state: int
    """bytes of the training state, and so of a checkpoint"""
    images: int
    """bytes of what a step is given: of a set that is kept on the devices all of it"""
    device: int
    """bytes on each device: state, images, and what the largest of the programs uses besides"""
    flops: float
    """of a step on all devices, averaged over the lazy terms; NaN where the compiler does not say"""
    compiling: float
    """seconds"""


class Pace(NamedTuple):
    """What the steps of a stage take, as timed."""

    step: float
    """seconds, averaged over the lazy terms"""
    waiting: float
    """the share of them in which the devices wait for images"""
    together: int
    """steps a compiled call"""


class TooLargeError(Exception):
    """A program does not fit in the device's memory, so the compiler says."""


def done(run: Run) -> int:
    """How many steps are saved in its directory."""
    return max(disk.steps(run.directory / "checkpoints"), default=0)


def steps(run: Run, begun: int = 0) -> list[int]:
    """How many steps each stage still takes after so many; a run may be too short for the later ones."""
    total = steps_in_all(run.settings)
    first = [bisect_left(range(total), i, key=run.stage) for i in range(len(run.stages))] + [total]
    return [max(end - max(start, begun), 0) for start, end in pairwise(first)]


def compiled(run: Run, stage: int) -> tuple[Need, Machine]:
    """Compile the programs of a stage, as a run does; returns what they need, and the machine that calls them.

    Raises:
      TooLargeError: the compiler, as a TPU's does, refuses a program for which the device has too little memory.
    """
    design, settings = run.stages[stage], run.settings
    machine, state = build_machine(settings, design, run.source, run.names), shapes(settings, design)
    held = machine.feed.at(0)
    given = *parallel.replicated((state, machine.meter)), held
    made, began, dues = {}, time.perf_counter(), list(programs(design.recipe))
    with watch.counter("compiling") as update:
        for i, due in enumerate(dues):
            update(i, len(dues))
            try:
                made[(due,)] = machine.run.lower(*given, (due,)).compile()
            except jax.errors.JaxRuntimeError as e:
                close(machine)
                if "RESOURCE_EXHAUSTED" in str(e):
                    raise TooLargeError from e
                raise
    need = Need(
        {name: sum(a.size for a in jax.tree.leaves(player.params)) for name, player in (("g", state.g), ("d", state.d))},
        _bytes(state),
        _bytes(held) // (jax.device_count() if machine.feed.resident else 1),
        max(map(_held, made.values())),
        _mean(design.recipe, {sequence: _flops(program) for sequence, program in made.items()}) * jax.device_count(),
        time.perf_counter() - began,
    )

    def call(*args):
        *arrays, sequence = args
        return made[sequence](*arrays) if sequence in made else machine.run(*args)

    return need, machine._replace(run=call)


def close(machine: Machine) -> None:
    """End the machine's threads."""
    machine.feed.close()
    machine.pool.shutdown(wait=False)


def _mean(recipe: Recipe, values: dict[tuple[Due, ...], float]) -> float:
    """Of what each program takes the mean over a period of lazy terms."""
    period = calls.period(recipe)
    return sum(values[calls.dues(recipe, k, 1)] for k in range(period)) / period


def _bytes(tree: Tree) -> int:
    arrays = (a for a in jax.tree.leaves(tree) if not jnp.issubdtype(a.dtype, jax.dtypes.prng_key))
    return sum(math.prod(a.shape) * a.dtype.itemsize for a in arrays)


def _held(program: Any) -> int:
    """Bytes of memory on each device: what a compiled program is given, returns and uses besides, what it reuses once."""
    stats = program.memory_analysis()
    kinds = {"argument": 1, "output": 1, "temp": 1, "alias": -1}
    return sum(sign * getattr(stats, f"{kind}_size_in_bytes", 0) for kind, sign in kinds.items())


def _flops(program: Any) -> float:
    cost = program.cost_analysis() or {}
    return float((cost[0] if isinstance(cost, list) else cost).get("flops", math.nan))


def room(need: Need) -> tuple[float, float]:
    """Bytes that a run needs of a device and bytes there are; the devices of a CPU share its memory."""
    if found := memory.of_device():
        return need.device, found[1]
    return need.device * jax.local_device_count(), memory.installed()


def timed(run: Run, stage: int, machine: Machine, say: Callable[[str], None]) -> Pace:
    """Make some steps of a stage, from its first state, on the run's images.

    Args:
      run, stage: as `compiled` was given.
      machine: as it returned; its feed is at step 0.
      say: is told how many steps a call were measured to be fastest.
    Raises:
      UserError: a device is out of memory.
    """
    try:
        return _timed(run, stage, machine, say)
    except jax.errors.JaxRuntimeError as e:
        raise (explained(e, run.settings) or e) from e


def _timed(run: Run, stage: int, machine: Machine, say: Callable[[str], None]) -> Pace:
    design, settings = run.stages[stage], run.settings
    recipe, took = design.recipe, {}
    state, meter = parallel.replicate((fresh(settings, design), machine.meter))
    sequences = 2 * [(due,) for due in programs(recipe)]  # what the second time takes counts
    with watch.counter("timing") as update:
        for i, sequence in enumerate(sequences):
            update(i, len(sequences))
            held, began = machine.feed.at(0), time.perf_counter()
            state, meter, token = machine.run(state, meter, held, sequence)
            jax.block_until_ready((state, token))
            took[sequence] = time.perf_counter() - began
    mean, period, together = _mean(recipe, took), calls.period(recipe), 1
    if mean * period > LONG:
        return Pace(mean, 0.0, 1)
    if len(run.stages) == 1:
        most = steps_a_tick(settings)
        together = steps_per_call(machine, recipe, state, meter, most, settings.steps_per_call, say)
    if together > 1:
        calls.seconds_a_step(machine.run, machine.feed.at(0), state, meter, recipe, together, together)  # compiles
    whole = math.lcm(period, together)
    count = math.ceil(LOOK / mean / whole) * whole
    _, seconds, waited = calls.trained(machine.run, machine.feed.at, (state, meter), recipe, (0, count), together)
    return Pace(seconds / count, waited / seconds, together)
