"""`python -m experiments.preflight [CONFIG | RUN] [--field value ...]`: what this training will take, before it is started."""

import contextlib
import dataclasses
import shutil
from typing import TYPE_CHECKING

from experiments.cli import run_command
from experiments.train import asked
from jaxgan.errors import UserError
from jaxgan.memory import size

if TYPE_CHECKING:
    from jaxgan.plan import Run
    from jaxgan.preflight import Need, Pace
    from jaxgan.settings import Settings

ABOUT = (
    "What `experiments.train` with the same arguments will take: memory, time, disk. The data is opened, the programs are "
    "compiled (and kept, so that the run starts sooner), some steps are made and forgotten; no run directory is written or "
    "changed. If a step does not fit in memory, the least --accum with which it does is looked for."
)


def networks(need: "Need") -> str:
    g, d = need.parameters["g"], need.parameters["d"]
    work = f"{three(need.flops / 1e9)} GFLOP a step, " * (need.flops > 0)
    return f"networks   G {g:,} and D {d:,} parameters; {work}compiled in {need.compiling:.0f} s"


def memory(need: "Need") -> str:
    from jaxgan import preflight

    needed, there = preflight.room(need)
    parts = f"state {size(need.state)}, images {size(need.images)}, the rest the step's"
    return f"memory     {size(needed)} of {size(there)}; on a device {size(need.device)}: {parts}"


def in_use() -> str:
    """What was in use at most: more than the compiler says, as convolutions take memory of which it does not know."""
    from jaxgan.memory import of_device, of_process

    if found := of_device():
        return f"in use     {size(found[0])} at most on a device in these steps"
    return f"in use     {size(peak)} at most in these steps, Python and its libraries with it" if (peak := of_process()) else ""


def speed(need: "Need", pace: "Pace", batch: int) -> str:
    each = f"{pace.step * 1000:.3g} ms" if pace.step < 0.9995 else f"{pace.step:.3g} s"
    said = f"a step     {batch} images in {each}: {three(batch / pace.step)} images/s, {three(1000 * pace.step / batch)} s/kimg"
    said += f", {pace.together} steps a call" * (pace.together > 1)
    if pace.waiting > 0.1:
        said += f"; {pace.waiting:.0%} of it waiting for images (experiments.prepare, a local disk, more cores)"
    return said


def three(number: float) -> str:
    """Of three digits, or whole."""
    return f"{number:,.0f}" if number >= 999.5 else f"{number:.3g}"


def disk(run: "Run", need: "Need") -> str:
    """Checkpoints of the last stage: the kept ones, the best, and the one that is being written; the averages of --posthoc."""
    from jaxgan.settings import snapshots

    where = run.directory.absolute()
    while not where.exists():
        where = where.parent
    count, free = run.settings.keep + 2, shutil.disk_usage(where).free
    averages, each = snapshots(run.settings), 4 * need.parameters["g"] * len(run.settings.posthoc)
    said = f"disk       {count} checkpoints of {size(need.state)}"
    said += f", {averages:,} pairs of averages of {size(each)}" * (each > 0) + f"; {size(free)} free"
    return said + ": too few" * (count * need.state + averages * each > free)


def smaller(name: str, settings: "Settings", stage: int) -> UserError:
    """What to say of a stage that does not fit: the least --accum with which it does."""
    from jaxgan import preflight
    from jaxgan.plan import prepare

    less, needed = settings, 0.0
    with contextlib.suppress(UserError):  # a batch that cannot be divided further
        while True:
            less = dataclasses.replace(less, accum=2 * less.accum)
            try:
                need, machine = preflight.compiled(prepare(name, less, less.design), stage)
            except preflight.TooLargeError:
                continue
            preflight.close(machine)
            needed, there = preflight.room(need)
            if needed <= there:
                alone = "; what compares the images of a batch, such as batch norm, sees one part at a time"
                return UserError(f"out of memory: give --accum {less.accum}, which takes {size(needed)}{alone}")
    tried = f" (--accum {less.accum // 2} takes {size(needed)})" if needed else ""
    return UserError(f"out of memory, in whatever parts{tried}: --remat, --dtype bfloat16 or a smaller --batch needs less")


def check(settings: "Settings") -> None:
    """UserError for a run of several processes, which would wait for one another here."""
    if settings.coordinator or settings.processes > 1:
        what = "leave --coordinator and --processes out, and give the --batch that its devices will have"
        raise UserError(f"a preflight looks at one machine: {what}")


def main() -> None:
    name, settings = asked("preflight", ABOUT, check)
    from jaxgan import preflight
    from jaxgan.plan import prepare
    from jaxgan.status import span

    run = prepare(name, settings, settings.design)
    begun, whole = preflight.done(run), preflight.steps(run)
    left, seconds = preflight.steps(run, begun), 0.0
    done = f", of which {begun * settings.batch / 1000:.10g} are done" * (begun > 0)
    print(f"{run.data}\n{name} on {run.config['devices']}, {settings.kimg:.10g} kimg{done}", flush=True)
    if not any(left):
        print("nothing is left to do; --kimg with --resume force trains it further")
        return
    for stage, steps in enumerate(left):
        if whole[stage] and not steps:
            continue  # it is over
        try:
            need, machine = preflight.compiled(run, stage)
        except preflight.TooLargeError:
            raise smaller(name, settings, stage) from None
        try:
            if len(run.stages) > 1:
                print(f"\nstage {stage + 1} of {len(run.stages)}, {steps * settings.batch / 1000:.10g} kimg")
            print(f"{networks(need)}\n{memory(need)}", flush=True)
            needed, there = preflight.room(need)
            if needed > there:
                raise smaller(name, settings, stage)
            if steps:
                pace = preflight.timed(run, stage, machine, print)
                seconds += pace.step * steps
                print(speed(need, pace, settings.batch), flush=True)
        finally:
            preflight.close(machine)
    what = "the rest" if begun else "the run"
    if len(run.stages) > 1:
        print()
    if peak := in_use():
        print(peak)
    print(f"{what:<10} {span(seconds)}, and more for pictures, checkpoints and --metrics")
    print(disk(run, need))


if __name__ == "__main__":
    run_command(main)
