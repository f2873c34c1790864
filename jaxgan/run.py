"""The training loop. What is trained comes as a `plan.Run`."""

import contextlib
import errno
import signal
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple, TextIO

import jax
import jax.numpy as jnp

from jaxgan import ahead, calls, checkpoint, compile_cache, config_file, disk, grow, label_vectors, lock, memory, parallel, watch
from jaxgan.data import Source
from jaxgan.errors import UserError
from jaxgan.feed import Feed, Layout, open_feed, stays
from jaxgan.journal import note, opened
from jaxgan.meter import add_to_meter, start_meter
from jaxgan.method import Game, Recipe
from jaxgan.plan import Run, first_state
from jaxgan.profiling import Tracer
from jaxgan.report import Report, scored_by
from jaxgan.settings import Design, Settings, ends_snapshot, steps_a_tick, steps_in_all
from jaxgan.state import TrainState
from jaxgan.step import Due, traced
from jaxgan.stopping import Signals, raises
from jaxgan.typing import Array, Tree


def train_steps(
    state: TrainState,
    meter: Tree,
    held: Tree,
    dues: tuple[Due, ...],
    *,
    axis: str | None,
    game: Game,
    recipe: Recipe,
    take: Callable[..., Any],
) -> tuple[TrainState, Tree, Array]:
    """One compiled call, of a step for each of `dues`: gather, update, meter. The last output is a small array to wait for."""

    def one(due, carry):
        state, meter = carry
        x, c = take(held, state.step, axis)
        new, log = traced(state, x, c, game=game, recipe=recipe, due=due, axis=axis)
        return new, add_to_meter(meter, log, state.step)

    state, meter = calls.looped(one, (state, meter), dues)
    return state, meter, state.step.astype(jnp.uint32)


class Machine(NamedTuple):
    """The compiled steps with what feeds them."""

    run: Callable[..., Any]
    """(state, meter, held, dues) -> state, meter, token: a step for each of `calls.dues`"""
    feed: Feed
    meter: dict[str, Any]
    """all zero, on one device"""
    pool: ThreadPoolExecutor
    """of `ahead.compilers`"""


def build_machine(settings: Settings, design: Design, source: Source, names: tuple[str, ...]) -> Machine:
    """The step of a design on a source; compiled when first called."""
    recipe = design.recipe
    layout = Layout(
        seed=settings.seed,
        n=source.n,
        slots=recipe.slots,
        accum=recipe.accum,
        micro=recipe.batch // recipe.accum,
        mirror=settings.mirror,
        held=settings.hold_out,
        held_slots=recipe.held_slots,
        jitter=settings.jitter,
    )
    feed = open_feed(source, layout, resident=stays(source, settings.resident))
    return Machine(compiled(design, feed), feed, start_meter(names), ahead.compilers())


def compiled(design: Design, feed: Feed) -> Callable[..., Any]:
    """`Machine.run` of a design."""
    fn = partial(train_steps, game=design.game, recipe=design.recipe, take=feed.take)
    return parallel.map_devices(fn, static=(3,), donate=(0, 1))


def fresh(settings: Settings, design: Design, arrays: dict[str, Any] | None = None) -> TrainState:
    """`plan.first_state`. It runs once: on its first level LLVM compiles it in half the time, to the same numbers."""
    seed = jnp.uint32(settings.seed)
    quick = {"xla_backend_optimization_level": 1} if jax.default_backend() == "cpu" else None
    return first_state.lower(seed, design, arrays).compile(quick)(seed, arrays)


def shapes(settings: Settings, design: Design) -> TrainState:
    """Shapes and dtypes of `fresh`."""
    return jax.eval_shape(partial(first_state, design=design), jnp.uint32(settings.seed))


def started(machine: Machine, settings: Settings, design: Design, at: int, end: int) -> Machine:
    """The machine whose programs for the steps [at, end) are compiled from now on, in threads."""
    recipe = design.recipe
    state, meter = parallel.replicated((shapes(settings, design), machine.meter))
    sequences = dict.fromkeys(calls.dues(recipe, k, 1) for k in range(at, min(end, at + calls.period(recipe))))
    arguments = state, meter, machine.feed.at(at)
    return machine._replace(run=ahead.compiling(machine.run, arguments, tuple(sequences), machine.pool))


def grown(machine: Machine, settings: Settings, design: Design, state: TrainState, at: int, end: int) -> tuple[Machine, Any]:
    """What goes on with the next stage, from step `at` up to `end`: the step of its design, and the state, on the devices."""
    machine = started(machine._replace(run=compiled(design, machine.feed)), settings, design, at, end)
    state = grow.grow_state(parallel.first(state), fresh(settings, design))
    return machine, parallel.replicate(state)


def start_directory(run: Run) -> TextIO:
    """Make the run directory, with what the run is where there is none; returns the file that keeps other processes out."""
    try:
        run.directory.mkdir(parents=True, exist_ok=True)
        held = lock.lock_file(run.directory / lock.LOCK)
    except OSError as e:
        raise UserError(f"--run-dir {run.directory}: it cannot be written ({e.strerror}); give another --run-dir") from e
    if not (run.directory / "config.json").exists():
        describe(run)
    return held


def describe(run: Run) -> None:
    """What `sample` needs beside the checkpoints. Of a run that goes on: once it is sure that it can, with this config."""
    config_file.write(run.directory, run.config)
    label_vectors.write(run.directory, label_vectors.some_of(run.source, run.settings.seed))


def start(settings: Settings) -> None:
    """What a process does once, before anything in it uses JAX: it keeps freed memory (`memory.keep_freed_memory`), a CPU's cores
    become devices, processes meet, and compiled programs are kept for the next start. The command does; without it a run has one
    CPU device, compiles all anew, and is slower on a CPU.

    Raises:
      UserError: what `parallel.share_cores`, `parallel.start_processes` or `compile_cache.use` refuse.
    """
    if jax.config.jax_disable_jit:
        raise UserError("JAX_DISABLE_JIT is set, but the steps of a run are compiled before they are called; unset it")
    memory.keep_freed_memory()
    if settings.cpu_devices or not settings.coordinator:
        parallel.share_cores(settings.cpu_devices, settings.batch, settings.accum)
    parallel.start_processes(settings.coordinator, settings.processes, settings.process)
    compile_cache.use(settings.compile_cache)


@parallel.without_mesh
def train(run: Run, on_tick: Callable[[dict[str, Any]], object] | None = None) -> int:
    """Train to the end, or until a signal. Returns the exit code.

    Args:
      run: what `plan.prepare` returned.
      on_tick: called with each line of log.jsonl once it is there, {"step": ..., "kimg": ..., "d/adv": ...}, by process 0. What
        it raises ends the run, saved and free to go on later, and is raised here.
    Raises:
      Diverged: a loss or a weight has become NaN or infinite.
      UserError: the run cannot go on.

    Ctrl-C in a script, or a notebook's stop button, is a KeyboardInterrupt once the run is saved, so that a loop over runs ends
    too. In a command (`run_command`) it is the code 130.
    """
    with contextlib.ExitStack() as held:
        with parallel.failing_together():
            if parallel.is_main():
                held.enter_context(start_directory(run))
        lock.check_shared(run.directory, parallel.all_told(lock.holder(run.directory))[0])
        try:
            with parallel.failing_together():
                code = _train(run, on_tick, held)
        except UserError:
            if parallel.is_main():
                lock.check_held(run.directory)  # two that write over one another fail in many ways
            raise
        except jax.errors.JaxRuntimeError as e:
            if said := explained(e, run.settings):
                raise said from e
            raise
        except OSError as e:
            ours = str(e.filename or "").startswith(str(run.directory))  # removed, or on a network's disk that has gone
            if e.errno not in FULL and not ours:
                raise
            again = f"{'free some space' if e.errno in FULL else 'look what became of it'}, and the same command goes on"
            raise UserError(
                f"{run.directory}: it cannot be written any more ({e.strerror}); {again} from the last checkpoint"
            ) from e
    if raises(code - 128):
        raise KeyboardInterrupt
    return code


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
"""What only writing fails of: a full disk or quota, a file over the limit, a disk that has become read-only."""


def explained(e: jax.errors.JaxRuntimeError, settings: Settings) -> UserError | None:
    """What a device or another process did, as a line; None where it is neither, and the trace is wanted."""
    said = str(e).splitlines()[0].rpartition("Error dispatching computation: ")[2]
    if "RESOURCE_EXHAUSTED" in said or "Out of memory" in said:
        less = f"--accum {settings.accum * 2}, --remat, --dtype bfloat16, --resident no or a smaller --batch"
        how = "experiments.preflight with the same options says how much"
        return UserError(f"out of memory ({said.rstrip('.')}); {less} needs less ({how}), and what is saved stays")
    if jax.process_count() > 1:
        again = "start them all again, and the run goes on from its last checkpoint"
        return UserError(f"the processes of this run have lost contact with one another ({said}); {again}")
    return None


def _train(run: Run, on_tick: Callable[[dict[str, Any]], object] | None, held: contextlib.ExitStack) -> int:
    settings, main = run.settings, parallel.is_main()
    directory, batch = run.directory, settings.batch
    total = steps_in_all(settings)
    store = checkpoint.open_store(directory / "checkpoints", settings.keep, scored_by(run))
    made_by = lambda done: run.stages[run.stage(done - 1)]  # the state after so many steps is of the last one's stage
    restored, damaged = checkpoint.restore(store, lambda done: shapes(settings, made_by(done)))
    done = int(restored.step) if restored else 0
    lock.check_step(directory, done)
    if damaged:
        checkpoint.drop_newer(store, done)
    rows = []
    if main:
        describe(run)
        rows = watch.cut_lines(directory / "log.jsonl", lambda row: row.get("step", done + 1) <= done)
        kimg = done * batch / 1000 + 1e-9  # of what `evaluate` measured the file says the step, not the kimg
        watch.cut_lines(directory / "metrics.jsonl", lambda line: line.get("of", {}).get("kimg", 0.0) <= kimg)
        for pattern in ("config.json.*.part", "*.jsonl.*.part", "curves.png.*.part", "samples/*.part"):
            for left in directory.glob(pattern):  # by a process that was killed: this one alone writes these
                left.unlink(missing_ok=True)
    bar = watch.Progress(total * batch / 1000, done * batch / 1000, main, lambda said: note(directory, "note", said=said))
    for line in damaged:
        bar.say(f"{line}; resuming from step {done}")
    if done >= total:
        further = "--kimg with --resume force trains it further, another --run-dir another one"
        bar.say(f"{directory} is complete: {done * batch / 1000:.10g} kimg; {further}")
        disk.close(store)
        return 0
    start = {"kimg": done * batch / 1000, "total": total * batch / 1000, "devices": run.config["devices"]}
    end = held.enter_context(opened(directory, **start)) if main else {}
    bar.say(run.data)
    bar.say(f"{directory}: {'resuming at' if done else 'from'} {done * batch / 1000:.10g} kimg, on {run.config['devices']}")
    if run.start and not done:
        bar.say(run.start.said)
    if run.frozen:
        bar.say(run.frozen)

    tracer = Tracer(
        directory / "profile" if settings.profile and main else None, done, calls.period(run.stages[-1].recipe), bar.say
    )
    machine = build_machine(settings, made_by(done), run.source, run.names)
    try:
        if run.stage(done) == run.stage(done - 1):
            machine = started(machine, settings, made_by(done), done, total)
        first = lambda: restored or fresh(settings, run.stages[0], run.start and run.start.arrays)  # no name keeps its memory
        signals = Signals()
        report = Report(run, store, rows, bar, stopping=lambda: signals.caught > 0, on_tick=on_tick)
        if report.averages:  # those of what comes again are written again: after --resume force they may be others
            checkpoint.drop_newer(report.averages, done)
        if main and not done:
            report.reals()
        with signals, bar:
            span = done, total, steps_a_tick(settings)
            end["code"] = _loop(machine, report, signals, tracer, parallel.replicate(first()), span)
            return end["code"]
    finally:
        tracer.close()
        machine.pool.shutdown(wait=False, cancel_futures=True)
        machine.feed.close()
        disk.close(store)


def steps_per_call(
    machine: Machine, recipe: Recipe, state: TrainState, meter: Tree, most: int, asked: int, say: Callable[[str], None]
) -> int:
    """As asked; 0 is what `calls.fastest` finds up to `most`, the same in all processes, and said: another start may find another
    number. 1 on a CPU and for streamed images."""
    if jax.default_backend() == "cpu" or not machine.feed.resident:
        return 1
    if asked:
        return asked
    held = machine.feed.at(0)
    seconds = lambda n, steps: calls.seconds_a_step(machine.run, held, state, meter, recipe, n, steps)
    n = parallel.from_main(calls.fastest(seconds, calls.period(recipe), most))
    say(f"{n} steps per call were measured to be fastest; to resume to the same bits, give --steps-per-call {n}")
    return n


def _images(machine: Machine, report: Report, state, at: int):
    """What step `at` is given. Where that cannot be read, as an image that is gone, the steps before it are saved."""
    began = time.perf_counter()
    try:
        held = machine.feed.at(at)
    except Exception:
        if jax.process_count() == 1:  # of several the others do not know
            report.rescue(at, state)
        raise
    report.fed(time.perf_counter() - began)
    return held


def _loop(machine: Machine, report: Report, signals: Signals, tracer: Tracer, state, span: tuple[int, int, int]) -> int:
    """The hot loop: no transfer and no wait on the step just sent; the host keeps some steps ahead of the devices."""
    at, total, tick = span
    run, stage, batch = report.run, report.run.stage(at - 1), report.run.settings.batch
    meter, sent = parallel.replicate(machine.meter), deque()
    several, together, seen = jax.process_count() > 1, 1, set()
    if len(run.stages) == 1:  # networks that grow take one step a call
        asked = run.settings.steps_per_call
        together = steps_per_call(machine, run.stages[0].recipe, state, meter, tick, asked, report.bar.say)
    if run.start and not at and parallel.is_main():
        report.fakes(state)
    parallel.barrier()  # main reads images for its pictures
    report.begin()
    while at < total:
        if stage != run.stage(at):
            began, seen = time.perf_counter(), set()
            stage = run.stage(at)
            machine, state = grown(machine, run.settings, run.stages[stage], state, at, total)
            report.bar.say(f"grown to stage {stage + 1} of {len(run.stages)} at {at * batch / 1000:.10g} kimg")
            report.waited(time.perf_counter() - began)
        recipe = run.stages[stage].recipe
        n = calls.length(at, together, min(total, (at // tick + 1) * tick), calls.period(recipe))
        dues, began = calls.dues(recipe, at, n), time.perf_counter()
        state, meter, token = machine.run(state, meter, _images(machine, report, state, at), dues)
        if dues not in seen:  # it was compiled, or waited for; with several processes in another one
            if several:
                jax.block_until_ready(token)
            report.waited(time.perf_counter() - began)
            seen.add(dues)
        sent.append(token)
        if len(sent) > max(8 // together, 1):  # so that a signal is never more than some steps away from being obeyed
            jax.block_until_ready(sent.popleft())
        at += n
        tracer.at(at, token)
        report.bar.update(at * batch / 1000)
        stop = signals.caught and not several
        if several and (at // 16 > (at - n) // 16 or at == total):
            stop = parallel.anywhere(bool(signals.caught))
        if at % tick and at != total and not stop:
            continue
        sent.clear()
        if parallel.is_main():
            lock.check_held(report.directory)
        report.tick(at, meter, state, snapshot=ends_snapshot(run.settings, at), last=bool(stop) or at == total)
        meter = parallel.replicate(machine.meter)
        if stop and at != total:
            disk.wait(report.store)
            report.bar.say(f"stopped at {at * batch / 1000:.10g} kimg, saved; the same command resumes")
            return 128 + (signals.caught or signal.SIGTERM)
    disk.wait(report.store)
    report.bar.say(f"done: {report.directory}/samples, {report.directory}/curves.png")
    return 0
