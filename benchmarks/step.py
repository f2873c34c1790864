"""How fast is a config's step? `python -m benchmarks.step [CONFIG ...] [--batch 32 256] [--steps 32] [--out FILE]`.

One JSON line per case: the whole compiled step as the trainer runs it (gather, update, meter), with lazy terms as often as
they are due. Cases are interleaved, so that drift of the machine affects all. Random weights, uint8 noise as images.

FLOPs are XLA's count for the compiled step without lazy terms (`plain`) and on average with them (`mean`). The share of the peak
is of the plain step in the median time, relative to the fastest float32 matrix product measured here. `step_mb` is the memory of
the compiled step (state, batch, temporaries), next to that of the state alone; `host_peak_mb` is the peak of the whole process
so far, over all cases.
"""

import dataclasses
import math
import resource
import sys
import tempfile
import time

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.result import as_command, command_line, config_name, count, say
from experiments.configs import CONFIGS, paired, unpaired
from experiments.flags import set_flags
from jaxgan import calls, memory, parallel, plan, run, step
from jaxgan.data import Source
from jaxgan.data.unpaired import stacked


def noise(config, n: int = 2048):
    """A `Source` of n images that nobody minds, as a config wants them: with ten classes, in pairs, or two sets."""
    rng, shape = np.random.default_rng(0), (*(config.size or (28, 28)), config.channels or (3 if config.data == "photos" else 1))
    images, labels = rng.integers(0, 256, (n, *shape), np.uint8), rng.integers(0, 10, n).astype(np.int32)
    classes = 10 if config.conditional != "no" else 0
    made = Source("noise", shape, n, lambda i: images[i], labels if classes else None, classes, (), "")
    if isinstance(config, unpaired.Config):
        return stacked(made, made)
    return made._replace(inputs=made) if isinstance(config, paired.Config) else made


def designed(config, source):
    """The `Design` of a config on a source; of networks that grow the last stage."""
    made = config.design(source.shape, source.inputs.shape if source.inputs else source.classes)
    return made[-1] if isinstance(made[0], tuple) else made


def flops(compiled) -> float:
    cost = compiled.cost_analysis() or {}
    return float((cost[0] if isinstance(cost, list) else cost).get("flops", float("nan")))


def parameters(params) -> int:
    return sum(a.size for a in jax.tree.leaves(parallel.first(params)))


class Case:
    """A config at a batch size on a source, or on noise, compiled; `round` runs some steps and keeps their times."""

    def __init__(self, name: str, settings, batch: int, source: Source | None = None):
        self.name, self.batch, self.k, self.times = name, batch, 0, []
        config = dataclasses.replace(settings, batch=batch)
        source = source or noise(config)
        self.config, self.design = config, designed(config, source)
        self.recipe = self.design.recipe
        terms = [term for turn in self.recipe.turns for phase in turn.phases for term in phase.terms]
        # Not checked, each device takes as many as there are, and fewer images are trained on than are counted.
        parallel.check_batch(batch, config.accum, jax.device_count(), math.lcm(*(term.share for term in terms)))
        names = plan.trace(self.design, source)
        machine = run.build_machine(config, self.design, source, names)
        first = run.fresh(config, self.design)
        self.state, self.meter = parallel.replicate(first), parallel.replicate(machine.meter)
        self.machine, self.compiled, self.together = machine, None, 0

    def compile(self) -> None:
        """Compile the plain step twice, so that the second is from the persistent cache, and keep what the compiler says."""
        due, seconds = step.due(self.recipe, 1), []
        for _ in range(2):
            jax.clear_caches()
            start = time.perf_counter()
            compiled = self.lower(due).compile()
            seconds.append(round(time.perf_counter() - start, 2))
        programs = {other: self.lower(other).compile() for other in step.programs(self.recipe) if other != due} | {due: compiled}
        cycle, memory = [step.due(self.recipe, k) for k in range(240)], compiled.memory_analysis()
        mean = sum(flops(program) * cycle.count(other) for other, program in programs.items()) / len(cycle)
        kinds = {"argument": 1, "output": 1, "temp": 1, "alias": -1}
        held = sum(sign * getattr(memory, f"{kind}_size_in_bytes", 0) for kind, sign in kinds.items())
        self.compiled = {"seconds": seconds, "flops": flops(compiled), "mean": mean, "bytes": held}
        self.compiled["temporary"] = memory.temp_size_in_bytes

    def lower(self, due):
        return self.machine.run.lower(self.state, self.meter, self.machine.feed.at(1), (due,))

    def round(self, steps: int, keep: bool) -> None:
        for _ in range(steps):
            held, dues = self.machine.feed.at(self.k), (step.due(self.recipe, self.k),)
            start = time.perf_counter()
            self.state, self.meter, token = self.machine.run(self.state, self.meter, held, dues)
            jax.block_until_ready((token, self.state))
            if keep:
                self.times.append(time.perf_counter() - start)
            self.k += 1

    def train(self, steps: int) -> float:
        """Seconds of so many steps as the trainer makes them: several a call where that pays, the host some calls ahead."""
        every = calls.period(self.recipe)
        if not self.together:
            self.machine = run.started(self.machine, self.config, self.design, self.k, self.k + every)
            several = self.machine, self.recipe, self.state, self.meter, calls.MOST
            self.together = run.steps_per_call(*several, asked=0, say=lambda line: print(line, file=sys.stderr))
        span, carry = (self.k, self.k + steps), (self.state, self.meter)
        carry, seconds, _ = calls.trained(self.machine.run, self.machine.feed.at, carry, self.recipe, span, self.together)
        (self.state, self.meter), self.k = carry, self.k + steps
        return seconds

    def row(self, peak: float) -> dict:
        ms, made = np.array(self.times) * 1000, self.compiled
        cold, cached = made["seconds"]
        size = lambda tree: sum(a.nbytes for a in jax.tree.leaves(tree) if not jnp.issubdtype(a.dtype, jax.dtypes.prng_key))
        in_use = jax.local_devices()[0].memory_stats() or {}
        return {
            "config": self.name,
            "batch": self.batch,
            "img_per_s": round(self.batch / np.mean(self.times), 1),
            "mean_ms": round(float(ms.mean()), 2),
            "p50_ms": round(float(np.percentile(ms, 50)), 2),
            "p90_ms": round(float(np.percentile(ms, 90)), 2),
            "compile_s": cold,
            "compile_cached_s": cached,
            "gflop_plain_step": round(made["flops"] / 1e9, 3),
            "gflop_mean_step": round(made["mean"] / 1e9, 3),
            "gflop_per_s": round(made["mean"] / 1e9 / np.mean(self.times), 1),
            "matmul_peak_gflop_per_s": round(peak / 1e9, 1),
            "share_of_peak": round(made["flops"] / (float(np.percentile(ms, 50)) / 1000) / peak, 3),
            "state_mb": round(size(self.state) / 1e6, 1),
            "step_mb": round(made["bytes"] / 1e6, 1),
            "temporary_mb": round(made["temporary"] / 1e6, 1),
            "device_peak_mb": round(in_use["peak_bytes_in_use"] / 1e6, 1) if "peak_bytes_in_use" in in_use else None,
            "host_peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3, 1),
            "parameters": {name: parameters(player.params) for name, player in (("g", self.state.g), ("d", self.state.d))},
            "steps": len(self.times),
            "devices": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
        }


def matmul_peak(n: int = 2048, dtype=jnp.float32) -> float:
    """FLOPs a second of the fastest of some n x n matrix products, at JAX's default precision."""
    a = jnp.ones((n, n), dtype)
    product, seconds = jax.jit(jnp.matmul), []
    for _ in range(8):
        start = time.perf_counter()
        jax.block_until_ready(product(a, a))
        seconds.append(time.perf_counter() - start)
    return 2 * n**3 / min(seconds)


def main() -> None:
    parser = command_line(__doc__)
    configs = {"nargs": "*", "default": ["digits", "digits-tutorial"], "type": config_name, "metavar": "CONFIG"}
    parser.add_argument("configs", **configs, help="whose step is timed")
    parser.add_argument("--batch", type=count, nargs="+", default=[32], help="images per step; each size is a case")
    parser.add_argument("--cpu-devices", type=int, default=1, help="devices to split a CPU's cores among; 0: as in training")
    parser.add_argument("--steps", type=count, default=32, help="timed steps per case, after a warm-up of a quarter of them")
    args = parser.parse_args()
    memory.keep_freed_memory()  # as `experiments.train` does
    set_flags()
    parallel.share_cores(args.cpu_devices, min(args.batch), 1)
    cache = tempfile.TemporaryDirectory()
    jax.config.update("jax_compilation_cache_dir", cache.name)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    cases = [Case(name, CONFIGS[name], batch) for name in args.configs for batch in args.batch]
    peak = matmul_peak()
    for case in cases:
        case.compile()
    for keep, steps in ((False, max(8, args.steps // 4)), *((True, -(-args.steps // 4)),) * 4):
        for case in cases:
            case.round(steps, keep)
    for case in cases:
        say(case.row(max(peak, matmul_peak())), args.out)


if __name__ == "__main__":
    as_command(main)
