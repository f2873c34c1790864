"""Cost of each loss, penalty, augmentation and optimiser: the time of its step over that of the plain step.

The plain step: the residual pair with labels, relativistic loss, Adam, no penalty, no augmentation. Penalties are applied at
every step and to all images, so a lazy interval of k divides what they add by k. Each case alternates with the plain step in
this process, and the result is the median ratio over the turns. Compilation is excluded.

Command: `python -m benchmarks.objectives`, one JSON line per case; `--only r1 ada`, `--quick` (few and small steps, to check
that it works), `--out FILE` appends them to a file, `--fill docs/objectives.md` puts the ratios into the last column.
"""

import dataclasses
import statistics
import sys
import time
from argparse import ArgumentTypeError
from functools import partial
from pathlib import Path
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.result import appendable, say
from experiments.cli import parse, run_command
from experiments.configs import objective
from jaxgan import game, memory, state, step
from jaxgan.errors import UserError

CLASSES = 10


@dataclasses.dataclass(frozen=True)
class Options:
    """Step time of each objective, relative to the plain step."""

    only: tuple[str, ...] = ()
    """Names of cases; empty for all."""
    quick: bool = False
    """Two turns of one step of 8 images: to check that it works, not a measurement."""
    batch: int = 32
    size: int = 28
    channels: int = 3
    width: int = 32
    turns: int = 9
    """Number of turns that the median is over."""
    seconds: float = 1.0
    """About how long to repeat the plain step in each turn."""
    out: str = ""
    """Also append the lines to this file."""
    fill: str = ""
    """Write the ratios into the last column of this table."""


def cases() -> dict[str, dict]:
    """name -> changes of the plain config."""
    found = {name: {"loss": name} for name in get_args(objective.Loss)}
    found |= {name: {"penalty": (name,)} for name in get_args(objective.Penalty)}
    found |= {name: {"augment": (name,)} for name in get_args(objective.Augment)}
    found |= {name: {"optimizer": name} for name in get_args(objective.Optimizer)}
    found |= {name: {"class_loss": name} for name in get_args(objective.ClassLoss) if name != "none"}
    more = {"spectral": {"norm": "spectral"}}
    more |= {"simultaneous": {"update": "simultaneous"}, "n_critic": {"n_critic": 2}, "top_k": {"top_k": 0.5}}
    more |= {"clip_weights": {"clip_weights": 0.01}, "clip_gradient": {"clip_gradient": 1.0}}
    return found | more | {"augment_target": {"loss": "non_saturating", "augment": ("flip",), "augment_target": 0.6}}


def build(config: objective.Config, options: Options):
    """state -> state: one compiled step of a config, and its first state."""
    shape = (options.size, options.size, options.channels)
    design = config.design(shape, CLASSES)
    x = np.random.default_rng(0).integers(0, 256, (design.recipe.slots, 1, config.batch, *shape), np.uint8)
    first = state.create(0, *game.init(design.generator, design.discriminator, 0), design.recipe)
    labels = jnp.asarray(np.random.default_rng(1).integers(0, CLASSES, x.shape[:3]), jnp.int32)
    due = step.due(design.recipe, 0)
    fn = jax.jit(partial(step.update, game=design.game, recipe=design.recipe, due=due), donate_argnums=0)
    compiled = fn.lower(first, jnp.asarray(x), labels).compile()
    images = jnp.asarray(x)
    return lambda s: compiled(s, images, labels)[0], first


def timed(run, s, steps: int):
    """Seconds a step, and the state after them."""
    start = time.perf_counter()
    for _ in range(steps):
        s = run(s)
    jax.block_until_ready(s.step)
    jax.block_until_ready(s.g.params)
    return (time.perf_counter() - start) / steps, s


def compare(plain, case, turns: int, seconds: float):
    """The turns' times of both, one after the other, the first of a turn changing from turn to turn."""
    runs, states, times = [plain[0], case[0]], [copied(plain[1]), copied(case[1])], [[], []]
    for i in (0, 1):
        _, states[i] = timed(runs[i], states[i], 1)
    steps = 1
    if seconds:
        one, states[0] = timed(runs[0], states[0], 2)
        steps = max(1, round(seconds / one))
    for turn in range(turns):
        for i in (0, 1) if turn % 2 else (1, 0):
            took, states[i] = timed(runs[i], states[i], steps)
            times[i].append(took)
    return times


def copied(s):
    return jax.tree.map(jnp.array, s)


def fill(path: Path, ratios: dict[str, float]) -> int:
    """Replace the last cell of the rows whose first cell is a measured name; returns how many."""
    lines, count = path.read_text().splitlines(), 0
    for i, line in enumerate(lines):
        name = line.split("|")[1].strip(" `") if line.startswith("| `") else ""
        if name in ratios:
            lines[i] = f"{line.rsplit('|', 2)[0]}| {ratios[name]:.2f} |"
            count += 1
    path.write_text("\n".join(lines) + "\n")
    return count


def main() -> int:
    options = parse(Options, default=Options(), prog="python -m benchmarks.objectives")
    memory.keep_freed_memory()  # as `experiments.train` does
    known = cases()
    for name in options.only:
        if name not in known:
            raise UserError(f"there is no case {name!r}; the cases are {', '.join(known)}")
    if options.out:
        try:
            appendable(options.out)
        except ArgumentTypeError as e:
            raise UserError(f"--out {e}") from None
    if options.fill and not Path(options.fill).is_file():
        raise UserError(f"--fill {options.fill}: there is no such file")
    if options.fill and options.quick:
        raise UserError("--fill: --quick measures nothing; leave one of them out")
    if options.quick:
        options = dataclasses.replace(options, batch=8, size=8, width=4, turns=2, seconds=0.0)
    base = objective.Config(batch=options.batch, width=options.width, penalty=(), augment=(), augment_p=0.5, every=1, share=1)
    plain, ratios = build(base, options), {}
    for name in options.only or known:
        case = build(dataclasses.replace(base, **known[name]), options)
        times = compare(plain, case, options.turns, options.seconds)
        each = sorted(b / a for a, b in zip(*times, strict=True))
        ratios[name] = statistics.median(each)
        line = {"case": name, "relative": round(ratios[name], 3), "low": round(each[0], 3), "high": round(each[-1], 3)}
        line |= {"plain_ms": round(statistics.median(times[0]) * 1e3, 3), "turns": options.turns}
        line |= {"device": jax.devices()[0].device_kind, "batch": options.batch, "size": options.size}
        say(line, options.out)
    if options.fill:
        rows = fill(Path(options.fill), ratios)
        print(f"{rows} of {len(ratios)} cases are in {options.fill}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    run_command(main)
