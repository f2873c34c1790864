"""From settings to a run that is ready to go: all that can be checked is checked before anything is written."""

import importlib.util
import math
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan import average, calls, config_file, feed, game, label_vectors, method, parallel, restore, step, transfer, watch
from jaxgan.data import Source, check_source, shuffled, summary
from jaxgan.errors import UserError
from jaxgan.lock import LOCK
from jaxgan.method import Recipe
from jaxgan.metrics import protocols
from jaxgan.metrics.measure import Meter, check_labels, ready
from jaxgan.settings import Design, Settings, check_numbers, steps_a_tick
from jaxgan.state import TrainState, create

SLOW = 120.0
"""Seconds after which it is said how images are scaled once and not at every start, as large photographs need for long."""


class Run(NamedTuple):
    """A run that is ready to go: everything checked, nothing yet written."""

    directory: Path
    settings: Settings
    config: dict[str, Any]
    stages: tuple[Design, ...]
    """What is trained, one after another: a single one, but for networks that grow."""
    source: Source
    """What is trained on: without the labels where they are not wanted."""
    meter: Meter | None
    """What is measured at snapshots."""
    names: tuple[str, ...]
    """What the steps log."""
    start: transfer.Start | None = None
    """Trained networks to start from, where --init names some and there is no checkpoint yet."""
    frozen: str = ""
    """What is not trained, in words."""
    data: str = ""
    """What it is trained on, in words."""

    def __repr__(self) -> str:  # without pages of settings
        return f"Run({self.config.get('config')!r}, {str(self.directory)!r}, {self.data!r})"

    def stage(self, step: int) -> int:
        """Which of the stages makes a step: a function of the images shown before it."""
        return restore.stage_at([design.start_kimg for design in self.stages], step * self.settings.batch / 1000)


@parallel.without_mesh
def prepare(name: str, settings: Settings, design: Callable[[tuple[int, int, int], int], Design | tuple[Design, ...]]) -> Run:
    """Check all that can be checked before a run directory is touched.

    Args:
      name: of the config.
      settings: the run's.
      design: (image shape, classes) -> Design, or those of all stages in their order; classes is 0 without labels, and the
        source images' shape where there are pairs.
    Raises:
      UserError: whatever is wrong with the data, the settings or the run directory; or a process of several was given others.
    """
    with parallel.failing_together():
        run = _checked(name, settings, design)
    config_file.check_processes(run.config)
    return run


def _checked(name: str, settings: Settings, design: Callable[..., Any]) -> Run:
    check_numbers(settings)
    if settings.seed >= 2**32:
        raise UserError(f"--seed {settings.seed}: it must be in [0, 2^32)")
    if settings.tensorboard and importlib.util.find_spec("tensorboardX") is None:
        raise UserError('--tensorboard needs tensorboardX: pip install "jaxgan[tensorboard]"')
    protocols.only(protocols.named(settings.metrics), "images")
    for width in settings.posthoc:
        average.power_exponent(width)
    if len(set(settings.posthoc)) == 1:
        raise UserError(f"--posthoc {settings.posthoc[0]:g}: averages are made from two widths; give two, such as 0.05 0.1")
    directory = Path(settings.run_dir or f"runs/{name}")
    found = _check_directory(directory, settings.resume)
    parallel.check_batch(settings.batch, settings.accum, jax.device_count())
    whole = _open(settings)
    source = _with_labels_as_asked(whole, settings.conditional)
    source = shuffled(source, settings.seed) if settings.hold_out else source  # the last ones are held out
    made = design(source.shape, source.classes if source.inputs is None else source.inputs.shape)
    stages = (made,) if isinstance(made, Design) else made
    if not isinstance(stages, tuple) or not stages or not all(isinstance(stage, Design) for stage in stages):
        raise UserError(f"design returned {made!r:.80}; give a jaxgan.settings.Design, or a tuple of the stages'")
    stages = tuple(s._replace(recipe=s.recipe._replace(posthoc=settings.posthoc)) for s in stages)
    stages, frozen = transfer.freeze(settings.freeze, stages) if settings.freeze else (stages, "")
    _check_recipes([s.recipe for s in stages], settings, pairs=source.inputs is not None)
    _check_dtype(stages[-1], settings.dtype)
    share = math.lcm(*(term.share for s in stages for turn in s.recipe.turns for phase in turn.phases for term in phase.terms))
    parallel.check_batch(settings.batch, settings.accum, jax.device_count(), share)
    streamed = not feed.stays(source, settings.resident)
    calls.check(settings.steps_per_call, stages[-1].recipe, streamed, steps_a_tick(settings), len(stages))
    names = tuple(sorted({name for s in stages for name in trace(s, source)}))
    real = whole.sides[1] if whole.sides else whole  # of two sets, the one that is translated to
    fits = label_vectors.to_measure(real, stages[-1].generator.classes, 0, 1) is not None
    check_labels(protocols.named(settings.metrics), fits, "the run")
    meter = ready(settings.metrics, real, show=parallel.is_main()) if settings.metrics and parallel.is_main() else None
    trained = any(path.name.isdigit() for path in directory.glob("checkpoints/*"))
    told = "" if trained else _check_vectors(stages[-1], source)
    start = transfer.start(settings.init, stages) if settings.init and not trained else None
    config = config_file.described(name, settings, stages, source, start)
    if found and trained:
        config_file.check_changes(directory, found, config, settings)
        config["init"], config["settings"]["init"] = found.get("init"), found["settings"].get("init")
    return Run(directory, settings, config, stages, source, meter, names, start, frozen, _data(whole, settings) + told)


def _check_recipes(recipes: list[Recipe], settings: Settings, pairs: bool) -> None:
    """What must be so of the recipes of all stages; pairs hold some out for the pictures and the score alone."""
    for recipe in recipes:
        method.check(recipe)
        if (recipe.batch, recipe.accum) != (settings.batch, settings.accum):
            said, run = (recipe.batch, recipe.accum), (settings.batch, settings.accum)
            raise UserError(f"the recipe's batch and accum are {said}, the settings' {run}; the design takes them from these")
    if len({(r.slots, r.held_slots) for r in recipes}) > 1:
        raise UserError("all stages of a run must have the same slots")
    held = recipes[0].held_slots
    if bool(held) != bool(settings.hold_out) and not pairs:
        need = "needs held-out images; give --hold-out 500 or so" if held else "uses none; leave --hold-out out"
        raise UserError(f"--hold-out {settings.hold_out}: this recipe {need}")
    if settings.posthoc and len(recipes) > 1:
        raise UserError("--posthoc combines averages, but those of growing networks differ in shape; leave it out")


def _check_dtype(design: Design, dtype: str) -> None:
    """UserError where --dtype would do nothing: networks of one's own may leave it out."""
    kinds = [getattr(network, "dtype", jnp.float32) for network in (design.generator, design.discriminator)]
    if dtype != "float32" and jnp.dtype(dtype) not in map(jnp.dtype, kinds):
        hand = "let the design give it to them, dtype=jnp.dtype(self.dtype), or leave it out"
        raise UserError(f"--dtype {dtype}: neither network has a field dtype that is this; {hand}")


def _check_vectors(design: Design, source: Source) -> str:
    """What to say of label vectors of which some are much shorter than others, where D's logit is proportional to them; "" where
    it is not. UserError where some are 0: D says 0 of such images whatever they show, and neither player would learn them."""
    if source.labels is None or source.labels.ndim == 1 or not getattr(design.discriminator, "zero_without_label", False):
        return ""
    zero = int((~source.labels.any(1)).sum())
    if zero:
        raise UserError(
            f"{source.name}: the label vectors of {zero} of {source.n} images are all 0, for which this discriminator returns "
            "0 whatever the image; append a constant 1 to all vectors, or take stylegan2, sngan or another config"
        )
    length = np.linalg.norm(source.labels, axis=1)
    short = int((length < length.max() / 10).sum())
    if not short:
        return ""
    why = "with which this discriminator's logit is small whatever the image"
    return f"; {short} label vectors are near 0, {why}: append a constant 1 to all of them"


@partial(jax.jit, static_argnames="design")
def first_state(seed: jax.Array, design: Design, arrays: dict[str, Any] | None = None) -> TrainState:
    """The state of a design before it is trained, with the arrays of a `transfer.Start`. Traced once; one program: eagerly,
    each new shape is compiled."""
    g, d = game.init(design.generator, design.discriminator, seed)
    return transfer.begin(seed, g, d, design.recipe, arrays) if arrays else create(seed, g, d, design.recipe)


def trace(design: Design, source: Source) -> tuple[str, ...]:
    """Trace the first step, which has all terms, so that what does not fit together is said now; returns the names it logs."""
    recipe = design.recipe
    x = jax.ShapeDtypeStruct((recipe.slots, recipe.accum, recipe.batch // recipe.accum, *source.shape), jnp.uint8)
    c = source.labels
    if source.inputs is not None:
        c = jax.ShapeDtypeStruct((*x.shape[:3], *source.inputs.shape), jnp.uint8)
    elif c is not None:
        c = jax.ShapeDtypeStruct((*x.shape[:3], *c.shape[1:]), c.dtype)
    state = jax.eval_shape(partial(first_state, design=design), jnp.uint32(0))
    first = partial(step.traced, game=design.game, recipe=recipe, due=step.due(recipe, 0), axis=None)
    try:
        return tuple(sorted(jax.eval_shape(first, state, x, c)[1]))
    except ValueError as e:
        if source.labels is None or source.labels.ndim == 1 or "labels" not in str(e):
            raise
        raise UserError(f"{source.name} has label vectors, but this config needs classes ({e}); give --conditional no") from e


def _open(settings: Settings) -> Source:
    """The data as the settings ask for it. UserError where it is not so."""
    began = time.monotonic()
    with watch.counter(f"reading {settings.data}", parallel.is_main()) as update:
        source = settings.open_data(update)
    if not isinstance(source, Source):
        raise UserError(f"open_data returned a {type(source).__name__}; give a Source, such as data.of_arrays(images)")
    seconds = time.monotonic() - began
    two = any(getattr(settings, name, "") for name in ("target", "side_by_side"))  # which `prepare` does not write
    if seconds > SLOW and not two and any(note.startswith("scaled from") for note in source.notes):
        faster = f"experiments.prepare {settings.data} FOLDER --size {source.shape[0]} {source.shape[1]}"
        alike = {name: getattr(settings, name) for name in ("fit", "channels", "background")}
        faster += "".join(f" --{name} {value}" for name, value in alike.items() if value != getattr(Settings, name))
        told = f"that took {seconds / 60:.0f} minutes, as it will at every start: python -m {faster} does it once for all"
        source = source._replace(notes=(*source.notes, told))
    for one in (source, source.inputs):
        if one is not None:
            check_source(one)
    if not 0 <= settings.hold_out < source.n:
        raise UserError(f"--hold-out {settings.hold_out}: {source.name} has {source.n} images; leave some to train on")
    if settings.jitter > min(source.shape[:2]):
        h, w, _ = source.shape
        raise UserError(f"--jitter {settings.jitter}: the images are {h}x{w}; give {min(h, w)} or less")
    most = (source.n - settings.hold_out) * (2 if settings.mirror else 1)
    if settings.batch > most:
        held = f", {settings.hold_out} of them held out" * bool(settings.hold_out)
        has = f"{source.name} has {source.n} images{held}; give --batch {most} or less"
        raise UserError(f"--batch {settings.batch} is larger than the data: {has}")
    return source


def _with_labels_as_asked(source: Source, conditional: str) -> Source:
    if conditional == "yes" and source.labels is None:
        raise UserError(
            f"--conditional yes: {source.name} has no labels; put every image into a folder of its class, none outside these"
        )
    return source if conditional != "no" else source._replace(labels=None, classes=0, class_names=())


def _data(whole: Source, settings: Settings) -> str:
    """A line for people: the set, and what of it is not trained on."""
    said = f"{whole.name}: {summary(whole)}"
    if whole.labels is not None and whole.inputs is None and settings.conditional == "no":
        said += "; trained without the labels (--conditional no)"
    return said + f"; {settings.hold_out}{' of each' * bool(whole.sides)} held out (--hold-out)" * bool(settings.hold_out)


def _check_directory(directory: Path, resume: str) -> dict[str, Any] | None:
    """The config of the run in a directory; None where there is none. UserError if it is not ours or not writable."""
    if set("[*?") & set(str(directory.absolute())):  # Orbax looks below it by a pattern, finds nothing, and finishes nothing
        where = "a folder with [, * or ? in its name, in which Orbax saves what it cannot read again"
        raise UserError(f"--run-dir {directory}: it is or lies in {where}; give another --run-dir")
    name = str(directory.absolute())
    if name.encode("utf-8", "replace") != os.fsencode(name):  # Orbax would save elsewhere, or fail, at the first snapshot
        raise UserError(f"--run-dir {directory}: a name that is not UTF-8 here; give another --run-dir, or set PYTHONUTF8=1")
    try:
        directory.exists()
    except OSError as e:  # a name that is too long
        raise UserError(f"--run-dir {directory}: {e.strerror}; give another --run-dir") from e
    parent = directory
    while not parent.exists() and parent != parent.parent:
        if parent.is_symlink():
            raise UserError(
                f"--run-dir {directory}: {parent} is a link to {os.readlink(parent)}, which is not there; make it first"
            )
        parent = parent.parent
    if not parent.is_dir():
        raise UserError(f"--run-dir {directory}: {parent} is a file, not a folder")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise UserError(f"--run-dir {directory}: {parent} is not writable; give another --run-dir")
    left = lambda path: path.name == LOCK or path.suffix == ".part"  # all that a start leaves which was killed at once
    logs = (".out", ".err", ".log", ".txt")  # of `> run/log.txt`, and of Slurm
    said = lambda path: path.suffix in logs or path.name.startswith(".nfs")
    if not directory.exists() or all(left(path) or said(path) for path in directory.iterdir()):
        return None
    try:
        found = restore.read_config(directory)
    except UserError:
        what = "the folder is not empty and not a run of jaxgan; give another --run-dir"
        if (directory / "checkpoints").is_dir():
            if resume == "force":
                return None
            what = "its config.json is damaged; --resume force goes on from its checkpoints with the config given now"
        raise UserError(f"--run-dir {directory}: {what}") from None
    if resume == "never":
        raise UserError(f"--run-dir {directory} holds a run already, and --resume is never; give another --run-dir")
    return found
