"""The training loop: tick, log, pictures, checkpoints, signals. What is trained comes as a `Design`."""

import dataclasses
import difflib
import json
import math
import os
import signal
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan import checkpoint, game, parallel, provenance, sample, step, watch
from jaxgan.data import Source, open_source, stream
from jaxgan.errors import UserError
from jaxgan.feed import Feed, Layout, open_feed
from jaxgan.metrics.sliced import sliced_wasserstein
from jaxgan.state import TrainState, create, generator_variables


@dataclasses.dataclass(frozen=True)
class Settings:
    """What every run has, whatever it trains."""

    run_dir: str = ""
    """Where the run lives; '' is runs/<config>."""
    kimg: float = 300.0
    """Length: thousands of real images shown."""
    batch: int = 32
    """Global images a step."""
    accum: int = 1
    """Micro-batches the batch is cut into, where it does not fit in memory."""
    seed: int = 0
    """With the config it determines the run."""
    data: str = "digits"
    """'digits', a TFDS name or prepared directory, a folder of images, a .zip or .tar of one, or an .npz."""
    data_dir: str = ""
    """Where TFDS sets live; '' is TFDS's own place."""
    split: str = "train"
    """Split of a TFDS set or .npz."""
    size: tuple[int, int] | None = None
    """Height and width to resize and centre-crop to; None keeps the images' own."""
    channels: Literal[1, 3, 4] | None = None
    """1 grey, 3 colour, 4 with alpha; None keeps the images' own."""
    background: str = "white"
    """Colour under transparent pixels."""
    skip_broken: bool = False
    """Leave broken images out instead of stopping."""
    conditional: Literal["auto", "yes", "no"] = "no"
    """Train on the labels; auto where the data has classes."""
    mirror: bool = False
    """Double the set by x-flips."""
    resident: Literal["auto", "yes", "no"] = "auto"
    """Keep the set on the device; auto where it takes up to 2 GiB."""
    tick_kimg: float = 2.0
    """How often to log and redraw the curves."""
    snapshot_kimg: float = 10.0
    """How often to write a grid of samples and a checkpoint."""
    keep: int = 2
    """Checkpoints kept: this many of the latest, and the best."""
    resume: Literal["auto", "force", "never"] = "auto"
    """auto: go on where the run directory has a checkpoint, unless the config changed; force: go on with the changed
    config; never: refuse a directory that holds a run."""
    tensorboard: bool = False
    """Also write TensorBoard events (needs tensorboardX)."""
    coordinator: str = ""
    """Several processes: host:port of process 0, or 'auto' on a cluster that knows."""
    processes: int = 1
    """How many processes."""
    process: int = 0
    """Which one this is."""


WHERE = {
    *("run_dir", "data", "data_dir", "skip_broken", "resident", "tick_kimg", "snapshot_kimg", "keep"),
    *("resume", "tensorboard", "coordinator", "processes", "process"),
}
"""Settings that say where and how to run, not what is computed: these may change between a run and its resumption. The
data is compared by its fingerprint, not by where it lies."""


class Design(NamedTuple):
    """What a config trains: the two networks, the recipe, the augmentation."""

    generator: Any
    discriminator: Any
    recipe: step.Recipe
    augment: Callable = lambda keys, x, p: x
    p: Any = 0.0


class Run(NamedTuple):
    """A run that is ready to go: everything checked, nothing yet written."""

    directory: Path
    settings: Settings
    config: dict
    design: Design
    source: Source
    names: tuple[str, ...]
    """What the steps log."""


def prepare(name: str, settings: Settings, design: Callable[[tuple[int, int, int], int], Design]) -> Run:
    """Check all that can be checked before a run directory is touched.

    Args:
      name: of the config.
      settings: the run's.
      design: (image shape, classes) -> Design; classes is 0 without labels.
    Raises:
      UserError: whatever is wrong with the data, the settings or the run directory.
    """
    for field in ("kimg", "tick_kimg", "snapshot_kimg", "batch", "accum", "keep"):
        if not getattr(settings, field) > 0:
            raise UserError(f"--{field.replace('_', '-')} {getattr(settings, field)}: it must be above 0")
    if not 0 <= settings.seed < 2**32:
        raise UserError(f"--seed {settings.seed}: it must be in [0, 2^32)")
    directory = Path(settings.run_dir or f"runs/{name}")
    found = _check_directory(directory, settings.resume)
    parallel.check_batch(settings.batch, settings.accum, jax.device_count())
    update, close = watch.counter(f"reading {settings.data}", parallel.is_main())
    try:
        source = open_source(
            settings.data,
            data_dir=settings.data_dir,
            split=settings.split,
            size=settings.size,
            channels=settings.channels,
            background=settings.background,
            skip_broken=settings.skip_broken,
            progress=update,
        )
    finally:
        close()
    if settings.batch > source.n * (2 if settings.mirror else 1):
        raise UserError(f"--batch {settings.batch} is larger than the data: {settings.data} has {source.n} images")
    source = _with_labels_as_asked(source, settings.conditional)
    made = design(source.shape, source.classes)
    step.check(made.recipe)
    names = trace(made, source)
    config = {
        "jaxgan": provenance.versions()["jaxgan"],
        "config": name,
        "settings": dataclasses.asdict(settings),
        "data": {
            "name": source.name,
            "images": source.n,
            "shape": list(source.shape),
            "classes": source.classes,
            "class_names": list(source.class_names) if source.classes else [],
            "fingerprint": source.fingerprint,
            "skipped": list(source.skipped),
        },
        "generator": sample.describe(made.generator),
        "discriminator": sample.describe(made.discriminator),
        "versions": provenance.versions(),
        "commit": provenance.commit(),
        "devices": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
    }
    config = json.loads(json.dumps(config))
    if found:
        changes = _changes(found, config)
        if changes and settings.resume != "force":
            raise UserError(
                f"{directory} holds a run of another config: {'; '.join(changes)}. Give another --run-dir, or "
                "--resume force to go on with the changed config"
            )
        for change in changes if parallel.is_main() else ():
            print(f"going on with a changed config: {change}")
    return Run(directory, settings, config, made, source, names)


def trace(design: Design, source: Source) -> tuple[str, ...]:
    """Trace every program of the recipe, so that what does not fit together is said now; returns the names it logs."""
    recipe = design.recipe
    played = game.game(design.generator, design.discriminator, augment=design.augment, p=design.p)
    x = jax.ShapeDtypeStruct((recipe.slots, recipe.accum, recipe.batch // recipe.accum, *source.shape), jnp.uint8)
    c = source.labels
    if c is not None:
        c = jax.ShapeDtypeStruct((*x.shape[:3], *c.shape[1:]), c.dtype)
    state = jax.eval_shape(lambda: create(0, *game.init(design.generator, design.discriminator, 0), recipe))
    names = set()
    for due in step.programs(recipe):
        names |= jax.eval_shape(partial(step.update, game=played, recipe=recipe, due=due), state, x, c)[1].keys()
    return tuple(sorted(names))


def _with_labels_as_asked(source: Source, conditional: str) -> Source:
    classes = source.labels is not None and source.labels.dtype == np.int32
    if conditional == "yes" and not classes:
        what = "no labels" if source.labels is None else "label vectors, not classes"
        raise UserError(f"--conditional yes: {source.name} has {what}; put each class in a folder of its own")
    return source if classes and conditional != "no" else source._replace(labels=None, classes=0, class_names=())


def _check_directory(directory: Path, resume: str) -> dict | None:
    """The config of the run in a directory; None where there is none. UserError if it is not ours or not writable."""
    parent = directory
    while not parent.exists() and parent != parent.parent:
        parent = parent.parent
    if not parent.is_dir():
        raise UserError(f"--run-dir {directory}: {parent} is a file, not a folder")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise UserError(f"--run-dir {directory}: {parent} is not writable; give another --run-dir")
    if not directory.exists() or not any(directory.iterdir()):
        return None
    try:
        found = sample.read_config(directory)
    except UserError:
        raise UserError(
            f"--run-dir {directory}: the folder is not empty and not a run of jaxgan; give another --run-dir"
        ) from None
    if resume == "never":
        raise UserError(f"--run-dir {directory} holds a run already, and --resume is never; give another --run-dir")
    return found


def _changes(old: dict, new: dict) -> list[str]:
    """What differs between two configs in what they compute."""

    def flat(config):
        settings = {k: v for k, v in config["settings"].items() if k not in WHERE}
        parts = {"config": config["config"], **settings, "data": config["data"]["fingerprint"]}
        models = {f"{who}.{k}": v for who in ("generator", "discriminator") for k, v in config[who].items()}
        return parts | models

    a, b = flat(old), flat(new)
    keys = [k for k in {**a, **b} if a.get(k) != b.get(k)]
    return [f"{k} was {a.get(k)}, is {b.get(k)}" for k in keys]


def train_step(state, meter, held, due, *, axis, game, recipe, take):
    """One compiled step: gather, update, meter. The last output is a small array to wait for."""
    x, c = take(held, state.step, axis)
    new, log = step.update(state, x, c, game=game, recipe=recipe, due=due, axis=axis)
    return new, step.add_to_meter(meter, log, state.step), new.step.astype(jnp.uint32)


class Machine(NamedTuple):
    """The compiled step with what feeds it."""

    run: Callable
    """(state, meter, held, due) -> state, meter, token"""
    feed: Feed
    meter: dict
    """all zero, on one device"""


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
    )
    resident = {"auto": None, "yes": True, "no": False}[settings.resident]
    feed = open_feed(source, layout, resident=resident)
    played = game.game(design.generator, design.discriminator, augment=design.augment, p=design.p)
    fn = partial(train_step, game=played, recipe=recipe, take=feed.take)
    run = parallel.map_devices(fn, static=(3,), donate=(0, 1))
    return Machine(run, feed, step.start_meter(names))


def train(run: Run) -> int:
    """Train to the end, or until a signal. Returns the exit code; raises UserError where the run cannot go on."""
    settings, design, main = run.settings, run.design, parallel.is_main()
    directory, batch = run.directory, settings.batch
    total = math.ceil(settings.kimg * 1000 / batch)
    tick = max(1, round(settings.tick_kimg * 1000 / batch))
    snapshot = tick * max(1, round(settings.snapshot_kimg / settings.tick_kimg))
    if main:
        _write_config(directory, run.config)
    parallel.barrier()

    state = create(settings.seed, *game.init(design.generator, design.discriminator, settings.seed), design.recipe)
    store = checkpoint.open_store(directory / "checkpoints", settings.keep)
    restored, damaged = checkpoint.restore(store, state)
    state = restored or state
    done = int(state.step)
    if damaged:
        checkpoint.drop_newer(store, done)
    rows = watch.cut_log(directory / "log.jsonl", done) if main else []
    bar = watch.Progress(total * batch / 1000, done * batch / 1000, main)
    for line in damaged:
        bar.say(f"{line}; going on from step {done}")
    if done >= total:
        bar.say(f"{directory} is complete: {done * batch / 1000:g} kimg; --kimg trains it further")
        return 0
    bar.say(
        f"{directory}: {'resuming at' if done else 'from'} {done * batch / 1000:g} kimg, on {run.config['devices']}"
    )

    machine = build_machine(settings, design, run.source, run.names)
    judge = _Judge(run, machine, store, rows, bar)
    if main and not done:
        judge.reals()
    try:
        with Signals() as signals, bar:
            return _loop(machine, judge, signals, parallel.replicate(state), (done, total, tick, snapshot))
    finally:
        machine.feed.close()
        store.manager.close()


def _loop(machine: Machine, judge: "_Judge", signals: "Signals", state, span: tuple[int, int, int, int]) -> int:
    """The hot loop: no transfer and no wait on the step just sent; the host keeps some steps ahead of the devices."""
    done, total, tick, snapshot = span
    batch, recipe = judge.run.settings.batch, judge.run.design.recipe
    meter, sent = parallel.replicate(machine.meter), deque()
    several = jax.process_count() > 1
    for k in range(done, total):
        state, meter, token = machine.run(state, meter, machine.feed.at(k), step.due(recipe, k))
        sent.append(token)
        if len(sent) > 8:  # so that a signal is never more than some steps away from being obeyed
            jax.block_until_ready(sent.popleft())
        judge.bar.update((k + 1) * batch / 1000)
        at = k + 1
        stop = signals.caught and not several
        if several and (at % 16 == 0 or at == total):
            stop = parallel.anywhere(bool(signals.caught))
        if at % tick and at != total and not stop:
            continue
        sent.clear()
        judge.tick(at, meter, state, snapshot=at % snapshot == 0 or at == total, checkpoint=stop)
        meter = parallel.replicate(machine.meter)
        if stop and at != total:
            checkpoint.wait(judge.store)
            judge.bar.say(f"stopped at {at * batch / 1000:g} kimg, saved; the same command resumes")
            return 128 + (signals.caught or signal.SIGTERM)
    checkpoint.wait(judge.store)
    judge.bar.say(f"done: {judge.directory}/samples, {judge.directory}/curves.png")
    return 0


class _Judge:
    """What happens at a tick, on the host: log, curves, pictures, score, checkpoint."""

    def __init__(self, run: Run, machine: Machine, store: checkpoint.Store, rows: list[dict], bar: watch.Progress):
        self.run, self.store, self.rows, self.bar = run, store, rows, bar
        self.directory, self.batch, self.main = run.directory, run.settings.batch, parallel.is_main()
        self.last_step, self.last_time = None, time.perf_counter()
        self.start_seconds = rows[-1]["seconds"] if rows else 0.0
        self.started = time.perf_counter()
        n = min(1024, run.source.n)
        self.reference = run.source.read(stream.indices(run.settings.seed, 0, n, run.source.n)) if self.main else None
        self.tensorboard = None
        if run.settings.tensorboard and self.main:
            self.tensorboard = watch.open_tensorboard(run.directory / "tensorboard")

    def reals(self) -> None:
        watch.write_picture(watch.grid(self.reference[:64]), self.directory / "samples" / "reals.png")

    def tick(self, at: int, meter, state, *, snapshot: bool, checkpoint: bool) -> None:
        found = jax.device_get(parallel.first(meter))  # the one wait: everything sent is done after it
        now = time.perf_counter()
        kimg = at * self.batch / 1000
        bad = int(found.pop("bad_step"))
        if bad < 2**31 - 1:
            self._stop_not_finite((bad + 1) * self.batch / 1000)
        row = {"step": at, "kimg": round(kimg, 6), "seconds": round(self.start_seconds + now - self.started, 2)}
        row |= {name: float(total / count) for name, (total, count) in sorted(found.items()) if count}
        since = self.last_step if self.last_step is not None else at - int(max(c for _, c in found.values()))
        row["img_per_s"] = round((at - since) * self.batch / (now - self.last_time), 1)
        one = parallel.first(state)
        if snapshot and self.main:
            row["swd"] = self._pictures(kimg, one)
        if snapshot or checkpoint:
            self._save(one, kimg, row.get("swd"))
        if self.main:
            self.rows.append(row)
            watch.add_to_log(self.directory / "log.jsonl", row)
            watch.draw_curves(self.rows, self.directory / "curves.png")
            self.bar.losses(row)
            self.bar.tick(
                f"{kimg:g} kimg  d {row.get('d/adv', 0):.3f}  g {row.get('g/adv', 0):.3f}  {row['img_per_s']} img/s"
            )
            if self.tensorboard:
                self.tensorboard(row)
        self.last_step, self.last_time = at, time.perf_counter()

    def _pictures(self, kimg: float, state: TrainState) -> float:
        """The fixed-latent grid; returns the sliced Wasserstein distance to the reference images."""
        generator, variables = self.run.design.generator, generator_variables(state)
        n, seed = len(self.reference), self.run.settings.seed
        images = sample.sample(generator, variables, max(n, 64), seed=seed)
        shown, columns = images[:64], 8
        if 1 < generator.classes <= 16:  # a column for each class
            columns = generator.classes
            shown = sample.sample(generator, variables, 8 * columns, seed=seed, label=np.arange(8 * columns) % columns)
        path = self.directory / "samples" / f"kimg{kimg:06.0f}.png"
        watch.write_picture(watch.grid(shown, columns=columns), path)
        return round(sliced_wasserstein(self.reference, images[:n]), 4)

    def _save(self, state: TrainState, kimg: float, score: float | None) -> None:
        floats = checkpoint.not_finite(jax.device_get(checkpoint.to_tree(state)))
        if floats:
            self._stop_not_finite(kimg, floats[0])
        checkpoint.save(self.store, state, score=score, meta={"kimg": kimg})

    def _stop_not_finite(self, kimg: float, what: str = "a loss") -> None:
        checkpoint.wait(self.store)
        kept = self.store.manager.latest_step()
        kept = "no checkpoint was written before" if kept is None else f"the checkpoint of step {kept} is kept"
        raise UserError(
            f"{self.directory}: {what} became NaN or infinite at {kimg:g} kimg; {kept}. Try a lower --lr, a higher "
            "--gamma, or --batch twice as large, with a new --run-dir"
        )


class Signals:
    """SIGINT and SIGTERM ask the loop to save and stop; a second one exits at once. A context."""

    def __init__(self):
        self.caught: int = 0
        self.before: dict = {}

    def __enter__(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            self.before[number] = signal.signal(number, self._catch)
        return self

    def __exit__(self, *_):
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _catch(self, number, _frame):
        if self.caught:
            os._exit(128 + number)
        self.caught = number


def _write_config(directory: Path, config: dict) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        part = directory / "config.json.part"
        part.write_text(json.dumps(config, indent=2) + "\n")
        part.replace(directory / "config.json")
    except OSError as e:
        raise UserError(f"--run-dir {directory}: it cannot be written ({e.strerror}); give another --run-dir") from e


def nearest(name: str, names) -> str:
    """'; the nearest is X', or ''."""
    close = difflib.get_close_matches(name, names, 1, 0.4)
    return f"; the nearest is {close[0]}" if close else ""
