"""What a run tells: at each tick its log, curves, pictures, a score, and a checkpoint."""

import contextlib
import time
from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path

import jax
import numpy as np

from jaxgan import checkpoint, disk, health, label_vectors, marks, memory, parallel, sample, translate, watch
from jaxgan.data import Source
from jaxgan.errors import Diverged, UserError
from jaxgan.metrics import measure
from jaxgan.metrics.sliced import sliced_wasserstein
from jaxgan.metrics.variety import spacing
from jaxgan.plan import Run
from jaxgan.settings import steps_a_measurement, steps_a_snapshot
from jaxgan.state import TrainState, generator_variables
from jaxgan.typing import Tree

WIDE = 1024
"""About how wide the sheets of twelve columns are, in pixels: repaired images are looked at closely."""

FEW = 1000
"""Images below which D soon knows each of them, where it always sees them as they are (Karras et al. 2020, ADA, figure 1)."""

DARK = 64
"""Of 255: images without any value as large are hardly meant so."""

ALIKE = 512
"""Images whose distances from one another are looked at: of large ones more would take as long as to make them."""

HUNGRY = 0.3
"""The share of the time that may be spent waiting for images before a run says so."""


def scored_by(run: Run) -> str:
    """The metric that chooses a run's best checkpoint: "" for what its pictures are measured by."""
    return measure.scored_by(run.meter.protocols) if run.meter else ""


class Report:
    """What happens at a tick, on the host: log, curves, pictures, score, checkpoint. A class: it keeps the time."""

    def __init__(
        self,
        run: Run,
        store: disk.Store,
        rows: list[dict],
        bar: watch.Progress,
        stopping: Callable[[], bool],
        on_tick: Callable[[dict], object] | None = None,
    ):
        self.run, self.store, self.rows, self.bar, self.stopping, self.on_tick = run, store, rows, bar, stopping, on_tick
        self.directory, self.batch, self.main = run.directory, run.settings.batch, parallel.is_main()
        self.last_step, self.last_time, self.hungry = None, 0.0, 0.0
        self.start_seconds = rows[-1]["seconds"] if rows else 0.0
        self.started = time.perf_counter()
        n, seed, pairs = min(1024, run.source.n), run.settings.seed, run.source.inputs
        held = run.settings.hold_out if pairs else 0
        index = translate.held_out(run.source, held, n, seed)
        self.reference = run.source.read(index) if self.main else None
        self.inputs = pairs.read(index) if pairs and self.main else None
        self.truth = run.source.truth.read(index) if run.source.truth and self.main else None
        self.vectors = label_vectors.some_of(run.source, seed)
        self.averages = checkpoint.open_averages(run.directory / "averages") if run.settings.posthoc else None
        self.said, self.said_hungry, self.warned = False, False, set()
        self.draw_curves = watch.seldom(watch.draw_curves)  # a GPU may train from tick to tick while one is drawn
        self.tensorboard, self.sheet = None, None
        if run.settings.tensorboard and self.main:
            self.tensorboard = watch.open_tensorboard(run.directory / "tensorboard", rows[-1]["step"] if rows else 0)

    def reals(self) -> None:
        """The picture of what is to be learned; of pairs each source before its target, of unpaired images an a before each b."""
        images, columns = self.reference[:64], None
        if self.run.source.sides:
            images, columns = translate.side_by_side(*translate.halves(images[:32])), 8
        elif self.inputs is not None:
            images, columns = translate.side_by_side(self.inputs[:32], images[:32]), 8
        watch.write_picture(watch.grid(images, columns=columns), self.directory / "samples" / "reals.png")
        if (most := self.reference[..., :3].max()) < DARK:
            mend = "masks of 0 and 1, or 12 bits in 16? scale them if samples/reals.png is not as it should be"
            self.bar.say(f"note: the images are dark, no value above {most} of 255: {mend}")
        n, settings = self.run.source.n, self.run.settings
        if n < FEW and self.inputs is None and not settings.init and getattr(settings, "augment", None) == ():
            mend = "--augment makes that harder, as do --mirror where sides do not matter, and --init of trained networks"
            self.bar.say(f"note: {n} images are few, D may learn them by heart, and G to copy them: {mend}")

    def fakes(self, state: TrainState) -> None:
        """The grid of trained networks before the first step: whether they draw here what they drew there."""
        found = self._drawn(0.0, *self._generator(0, parallel.first(state)))
        self.bar.say("0 kimg  " + "  ".join(f"{name} {value:.3g}" for name, value in found.items()))

    def begin(self) -> None:
        """The first step comes now: from here on its time counts."""
        self.last_time = time.perf_counter()

    def waited(self, seconds: float) -> None:
        """Time that no step took, such as compiling: it is not in the images per second."""
        self.last_time += seconds

    def fed(self, seconds: float) -> None:
        """How long a step had to wait for its images: nearly not at all, where they are read as fast as they are used."""
        self.hungry += seconds

    def rescue(self, at: int, state: TrainState) -> None:
        """A checkpoint, where a run ends of something else than its state; what fails in this is not said, but what was first."""
        with contextlib.suppress(UserError):
            kimg = at * self.batch / 1000
            self._save(parallel.first(state), at, None)
            disk.wait(self.store)
            self.bar.say(f"saved at {kimg:.10g} kimg")

    def tick(self, at: int, meter: Tree, state: TrainState, *, snapshot: bool, last: bool) -> None:
        """Log the steps since the last tick; with `snapshot` also a grid, a score and a checkpoint, which is there if `last` too.

        Args:
          at: steps done.
          meter, state: as the step left them, on the devices.
        Raises:
          Diverged: something is not finite.
          UserError: a checkpoint could not be written.
        """
        disk.check(self.store)
        found = jax.device_get(parallel.first(meter))  # the one wait: everything sent is done after it
        now = time.perf_counter()
        kimg = at * self.batch / 1000
        bad = int(found.pop("bad_step"))
        if bad < 2**31 - 1:
            self._stop_not_finite(bad + 1)
        row = {"step": at, "kimg": round(kimg, 6), "seconds": round(self.start_seconds + now - self.started, 2)}
        row |= {name: float(total / count) for name, (total, count) in sorted(found.items()) if count}
        since = self.last_step if self.last_step is not None else at - int(max(c for _, c in found.values()))
        row["img_per_s"] = round((at - since) * self.batch / (now - self.last_time), 1)
        self._say_if_hungry(now - self.last_time)
        one = parallel.first(state)
        score = None
        if snapshot and self.main:
            generator, variables = self._generator(at, one)
            found = self._drawn(kimg, generator, variables)
            row |= found
            score = next(iter(found.values()))
            if self.run.meter:
                try:
                    measured, score = self._measured(at, generator, variables, score)
                except UserError as e:  # the checkpoint is worth more
                    measured, score = {}, None
                    self.bar.say(f"note: not measured at {kimg:.10g} kimg: {e}")
                row |= measured
        if self.main:  # before the checkpoint: a run that resumes leaves out what was said after it, but makes up for nothing
            self.rows.append(row)
            watch.add_lines(self.directory / "log.jsonl", [row])
        if snapshot or last:
            parallel.barrier()  # the others wait here while main measures, and not in a collective, which may have a limit
        if snapshot and one.averages:
            checkpoint.save_averages(self.averages, one)
            disk.wait(self.averages)  # for the same reason
        if snapshot or last:
            self._save(one, at, score)
        if self.main:
            self.draw_curves(self.rows, self.directory / "curves.png", anyway=last)
            self.bar.losses(row)
            self.bar.tick(f"{kimg:.10g} kimg  {watch.losses(row)}  {row['img_per_s']} img/s")
            if self.last_step is None and (of := memory.of_device()):
                self.bar.say(f"device memory: {memory.size(of[0])} of {memory.size(of[1])} at most up to now")
            if snapshot:
                self._warn(kimg)
            if self.tensorboard:
                self.tensorboard(row, self.sheet if snapshot else None)
            if self.on_tick:
                self._tell(at, row, state, saved=snapshot or last)
        self.last_step, self.last_time = at, time.perf_counter()

    def _tell(self, at: int, row: dict, state, saved: bool) -> None:
        """Calls `on_tick`. What it raises ends the run, from which it goes on later: it is saved first."""
        try:
            self.on_tick(dict(row))
        except BaseException:
            if saved:
                disk.wait(self.store)
            elif jax.process_count() == 1:  # of several the others do not know
                self.rescue(at, state)
            raise

    def _say_if_hungry(self, seconds: float) -> None:
        """A note, once, where a good part of the time since the last tick was spent waiting for images. Not at the first, which
        begins with none read yet."""
        share, self.hungry = self.hungry / seconds, 0.0
        if share > HUNGRY and self.last_step is not None and not self.said_hungry:
            faster = "python -m experiments.prepare at this --size, a local disk or more cores make that faster"
            self.bar.say(f"note: {share:.0%} of the time is spent waiting for images to be read and decoded; {faster}")
            self.said_hungry = True

    def _warn(self, kimg: float) -> None:
        """Says what is ill, each kind once."""
        found = health.warnings(self.rows, [stage.start_kimg for stage in self.run.stages])
        for kind in [kind for kind in found if kind not in self.warned]:
            self.bar.say(f"note: {kimg:.10g} kimg: {found[kind]}")
        self.warned |= found.keys()

    def _path(self, kimg: float) -> Path:
        """Where the grid goes: by whole kimg, or to three places where there is more than one in a kimg."""
        several = steps_a_snapshot(self.run.settings) * self.batch < 1000
        return self.directory / "samples" / (f"kimg{kimg:010.3f}.png" if several else f"kimg{kimg:06.0f}.png")

    def _draw(self, sheet, kimg: float, kind: str = marks.GENERATED) -> None:
        """A grid of samples, which says that it is generated."""
        self.sheet = sheet
        watch.write_picture(sheet, self._path(kimg), marks.png({"generated": True, "kimg": kimg}, kind))

    def _generator(self, at: int, state: TrainState) -> tuple:
        """The averaged generator after `at` steps, and its variables."""
        generator = self.run.stages[self.run.stage(at - 1)].generator
        variables = generator_variables(state)
        return generator, sample.standing(generator, variables, self.run.settings.standing, vectors=self.vectors)

    def _drawn(self, kimg: float, generator, variables: dict) -> dict[str, float]:
        """Draws the run's kind of grid; returns how far its images are from the reference."""
        draw = self._pictures if self.inputs is None else self._both_ways if self.run.source.sides else self._pairs
        return draw(kimg, generator, variables)

    def _pairs(self, kimg: float, generator, variables: dict) -> dict[str, float]:
        """The grid of source, generated image, target; returns how far the generated images are from their targets."""
        fakes = translate.translate(generator, variables, self.inputs, seed=self.run.settings.seed)
        shown = translate.side_by_side(self.inputs[:24], fakes[:24], self.reference[:24])
        self._draw(watch.grid(shown, columns=12, least=WIDE), kimg, marks.COMPOSITE)
        return {name: round(value, 4) for name, value in translate.distance(self.reference, fakes)._asdict().items()}

    def _both_ways(self, kimg: float, generator, variables: dict) -> dict[str, float]:
        """The grid of each a and what is made of it, each b likewise; returns the sliced Wasserstein distance of what is made to
        what is real, the mean of both directions, and the distance to the true partners where these are known."""
        fakes = translate.translate(generator, variables, self.inputs, seed=self.run.settings.seed)
        (a, b), (of_b, of_a) = translate.halves(self.reference), translate.halves(fakes)
        shown = translate.side_by_side(a[:24], of_a[:24], b[:24], of_b[:24])
        self._draw(watch.grid(shown, columns=12, least=WIDE), kimg, marks.COMPOSITE)
        found = {"swd": (sliced_wasserstein(b, of_a) + sliced_wasserstein(a, of_b)) / 2}
        if self.truth is not None:
            found |= translate.distance(self.truth, fakes)._asdict()
        return {name: round(value, 4) for name, value in found.items()}

    def _pictures(self, kimg: float, generator, variables: dict) -> dict[str, float]:
        """The fixed-latent grid; returns the sliced Wasserstein distance to the reference images, and how much those that were
        generated differ from one another (`metrics.variety.variety`)."""
        n, seed = len(self.reference), self.run.settings.seed
        labels = self._labels(generator, self.run.source, max(n, 64))
        images = sample.sample(generator, variables, max(n, 64), seed=seed, label=labels)
        shown, columns = images[:64], 8
        if 1 < generator.classes <= 16 and self.vectors is None:  # a column for each class, of few classes several
            each = max(1, 8 // generator.classes)
            columns = generator.classes * each
            shown = sample.sample(generator, variables, 8 * columns, seed=seed, label=np.arange(8 * columns) % columns // each)
        self._draw(watch.grid(shown, columns=columns), kimg)
        found = {"swd": round(sliced_wasserstein(self.reference, images[:n]), 4)}
        if self.spacing:
            found["variety"] = round(spacing(images[:n][:ALIKE]) / self.spacing, 4)
        return found

    @cached_property
    def spacing(self) -> float:
        """Of the real images that `variety` compares with; 0 where there are not two, or all are the same."""
        return spacing(self.reference[:ALIKE]) if len(self.reference) > 1 else 0.0

    def _labels(self, generator, source: Source, n: int) -> np.ndarray | None:
        """What n images are drawn for: classes or label vectors as the data has them; None where there are none."""
        if self.vectors is None:
            return label_vectors.to_measure(source, generator.classes, self.run.settings.seed, n)
        return label_vectors.drawn(self.vectors, self.run.settings.seed, n)

    def _measured(self, at: int, generator, variables: dict, score: float) -> tuple[dict[str, float], float | None]:
        """The run's metrics by name, and the score by them, `score` where they have none. Neither where --metrics-kimg
        passes this snapshot over."""
        settings, kimg = self.run.settings, at * self.batch / 1000
        if settings.metrics_kimg and at % steps_a_measurement(settings) and kimg < settings.kimg:
            return {}, None
        meter, n = self.run.meter, self.run.meter.fakes or 10_000
        limit = 0 if meter.fakes else n
        if self.inputs is None:
            labels = self._labels(generator, meter.source, n)  # in its order, as `evaluate` draws, also where some are held out
            images = sample.stream(generator, variables, n, seed=settings.seed, label=labels)
        else:
            labels = None
            source, inputs = self.run.source, self.run.source.inputs
            if source.sides:
                source = inputs = translate.one_set(source, settings.hold_out)
                generator, variables = translate.one_way(generator, variables)
            index = translate.held_out(source, settings.hold_out, n, settings.seed)
            images = translate.of_source(generator, variables, inputs, index, seed=settings.seed)
            limit = len(index) if len(index) < n else limit
        results = measure.measure(meter, images, labels=labels, limit=limit, progress=partial(self._measuring, kimg))
        self.bar.update(kimg)
        if not self.said:
            for note in dict.fromkeys(note for r in results for note in r.notes):
                self.bar.say(f"note: {note}")
            self.said = True
        lines = (measure.as_json(r, meter.protocols[r.name]) | {"of": {"kimg": kimg}} for r in results)
        watch.add_lines(self.directory / "metrics.jsonl", lines)
        found = {f"{r.name}{name and '/'}{name}": round(e.value, 6) for r in results for name, e in r.values.items()}
        self.bar.say(f"{kimg:.10g} kimg  " + "  ".join(f"{name} {value:.4g}" for name, value in found.items()))
        by_them = measure.score(results, meter.protocols)
        return found, score if by_them is None else by_them

    def _measuring(self, kimg: float, what: str, done: int, total: int) -> None:
        """How far it is; a UserError once the run is to stop: a cluster kills what takes longer, before anything is saved."""
        if self.stopping():
            raise UserError("the run stops")
        self.bar.update(kimg, f"{what}: {done:,}/{total:,}")

    def _save(self, state: TrainState, at: int, score: float | None) -> None:
        floats = checkpoint.not_finite(jax.device_get(checkpoint.to_tree(state)))
        if floats:
            self._stop_not_finite(at, floats[0])
        checkpoint.save(self.store, state, score=score, meta={"kimg": at * self.batch / 1000, disk.BY: scored_by(self.run)})

    def _stop_not_finite(self, at: int, what: str = "a loss") -> None:
        """Raises Diverged, of what was not finite after `at` steps; the log says so, too."""
        disk.wait(self.store)
        kimg = at * self.batch / 1000
        if self.main:
            self.draw_curves(self.rows, self.directory / "curves.png", anyway=True)
            seconds = round(self.start_seconds + time.perf_counter() - self.started, 2)
            line = {"step": at, "kimg": round(kimg, 6), "seconds": seconds, "diverged": what}
            watch.add_lines(self.directory / "log.jsonl", [line])
        kept = self.store.manager.latest_step()
        kept = "no checkpoint was written before" if kept is None else f"the checkpoint of step {kept} is kept"
        raise Diverged(
            f"{self.directory}: {what} became NaN or infinite at {kimg:.10g} kimg; {kept}. Try a lower --lr, a higher "
            "--gamma, or --batch twice as large, with a new --run-dir"
        )
