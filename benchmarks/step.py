"""How fast is a config's step? `python -m benchmarks.step [CONFIG ...] [--batch 32 256] [--steps 30] [--out FILE]`.

One JSON line a case: the whole compiled step as the trainer runs it (gather, update, meter), lazy terms included as often
as they are due. Cases take turns, so that a machine that drifts drifts for all. Random weights, uint8 noise as images.
"""

import argparse
import dataclasses
import json
import platform
import time

import jax
import numpy as np

from experiments.configs import CONFIGS
from jaxgan import game, parallel, plan, provenance, run, state, step
from jaxgan.data import Source


def noise(shape, classes, n=2048) -> Source:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (n, *shape), np.uint8)
    labels = rng.integers(0, classes, n).astype(np.int32) if classes else None
    return Source("noise", shape, n, lambda i: images[i], labels, classes, (), "")


def flops(compiled) -> float:
    cost = compiled.cost_analysis() or {}
    return float((cost[0] if isinstance(cost, list) else cost).get("flops", float("nan")))


def count(params) -> int:
    return sum(a.size for a in jax.tree.leaves(parallel.first(params)))


class Case:
    """A config at a batch size, compiled; `round` runs some steps and keeps their times."""

    def __init__(self, name: str, batch: int):
        self.name, self.batch, self.k, self.times = name, batch, 0, []
        config = dataclasses.replace(CONFIGS[name], batch=batch)
        source = noise((*(config.size or (28, 28)), config.channels or 1), 10 if config.conditional == "auto" else 0)
        self.design = config.design(source.shape, source.classes)
        self.recipe = self.design.recipe
        names = plan.trace(self.design, source)
        machine = run.build_machine(config, self.design, source, names)
        first = state.create(0, *game.init(self.design.generator, self.design.discriminator, 0), self.recipe)
        self.state, self.meter = parallel.replicate(first), parallel.replicate(machine.meter)
        self.machine, self.flops, start = machine, 0.0, time.perf_counter()
        plain = step.due(self.recipe, 1)
        compiled = {due: self.compile(due) for due in (plain, *(due for due in step.programs(self.recipe) if due != plain))}
        self.compile_s = time.perf_counter() - start
        self.flops, cycle = flops(compiled[plain]), [step.due(self.recipe, k) for k in range(240)]
        self.mean_flops = sum(flops(c) * cycle.count(due) for due, c in compiled.items()) / len(cycle)
        memory = compiled[plain].memory_analysis()
        self.bytes = getattr(memory, "temp_size_in_bytes", None)

    def compile(self, due):
        return self.machine.run.lower(self.state, self.meter, self.machine.feed.at(1), due).compile()

    def round(self, steps: int, keep: bool) -> None:
        for _ in range(steps):
            held, due = self.machine.feed.at(self.k), step.due(self.recipe, self.k)
            start = time.perf_counter()
            self.state, self.meter, token = self.machine.run(self.state, self.meter, held, due)
            jax.block_until_ready((token, self.state))
            if keep:
                self.times.append(time.perf_counter() - start)
            self.k += 1

    def row(self) -> dict:
        ms = np.array(self.times) * 1000
        return {
            "config": self.name,
            "batch": self.batch,
            "img_per_s": round(self.batch / np.mean(self.times), 1),
            "mean_ms": round(float(ms.mean()), 2),
            "p50_ms": round(float(np.percentile(ms, 50)), 2),
            "p90_ms": round(float(np.percentile(ms, 90)), 2),
            "compile_s": round(self.compile_s, 2),
            "gflop_plain_step": round(self.flops / 1e9, 3),
            "gflop_mean_step": round(self.mean_flops / 1e9, 3),
            "gflop_per_s": round(self.mean_flops / 1e9 / np.mean(self.times), 1),
            "parameters": {name: count(player.params) for name, player in (("g", self.state.g), ("d", self.state.d))},
            "temporary_mb": self.bytes and round(self.bytes / 1e6, 1),
            "steps": len(self.times),
            "devices": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
            "machine": platform.machine(),
            **provenance.versions(),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("configs", nargs="*", default=["digits", "digits-seed"], metavar="CONFIG")
    parser.add_argument("--batch", type=int, nargs="+", default=[32])
    parser.add_argument("--steps", type=int, default=32, help="timed steps a case, after a burn-in of a quarter of them")
    parser.add_argument("--out", help="also append the lines to this file")
    args = parser.parse_args()
    unknown = [name for name in args.configs if name not in CONFIGS]
    if unknown:
        parser.error(f"there is no config {unknown[0]!r}; the configs are {', '.join(CONFIGS)}")
    cases = [Case(name, batch) for name in args.configs for batch in args.batch]
    for keep, steps in ((False, max(8, args.steps // 4)), *((True, -(-args.steps // 4)),) * 4):
        for case in cases:
            case.round(steps, keep)
    for case in cases:
        line = json.dumps(case.row())
        print(line)
        if args.out:
            with open(args.out, "a") as f:
                f.write(line + "\n")


if __name__ == "__main__":
    main()
