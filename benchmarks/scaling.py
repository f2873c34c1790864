"""How does the step scale with devices? `python -m benchmarks.scaling [CONFIG] [--devices 1 2 4] [--batch 32] [--steps 32]`.

Each number of devices is a process of its own; they take turns. Weak: the batch grows with the devices; strong: it does not.
On GPUs a process sees so many of them; `efficiency` is the images a second over those of one device and over the number of
devices, 1 when it scales perfectly. On CPUs the devices are faked (JAX_NUM_CPU_DEVICES) and share the cores: `efficiency`
then is the images a second over those of one device, 1 when splitting costs nothing, more where one device left cores idle.
"""

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import time

import numpy as np

from benchmarks.result import say


def noise(config, n: int = 2048):
    """A `Source` of n images that nobody minds, as a config wants them: with ten classes, or in pairs."""
    from jaxgan.data import Source

    rng, shape = np.random.default_rng(0), (*(config.size or (28, 28)), config.channels or (3 if config.data == "photos" else 1))
    images, labels = rng.integers(0, 256, (n, *shape), np.uint8), rng.integers(0, 10, n).astype(np.int32)
    classes = 10 if config.conditional == "auto" else 0
    made = Source("noise", shape, n, lambda i: images[i], labels if classes else None, classes, (), "")
    return made._replace(inputs=made) if hasattr(config, "side_by_side") else made


def designed(config, source):
    """The `Design` of a config on a source; of networks that grow the last stage."""
    made = config.design(source.shape, source.inputs.shape if source.inputs else source.classes)
    return made[-1] if isinstance(made[0], tuple) else made


def steps_of(name: str, source, **settings):
    """A config's compiled step on a source, as the trainer runs it: a function that runs some steps and says their seconds."""
    import jax

    from experiments.configs import CONFIGS
    from jaxgan import calls, game, parallel, plan, run, state

    config = dataclasses.replace(CONFIGS[name], **settings)
    design = designed(config, source)
    machine = run.build_machine(config, design, source, plan.trace(design, source))
    first = state.create(0, *game.init(design.generator, design.discriminator, 0), design.recipe)
    now = [parallel.replicate(first), parallel.replicate(machine.meter), 0]

    def go(steps: int) -> float:
        state, meter, at = now
        start = time.perf_counter()
        for k in range(at, at + steps):
            state, meter, token = machine.run(state, meter, machine.feed.at(k), calls.dues(design.recipe, k, 1))
        jax.block_until_ready(token)
        now[:] = state, meter, at + steps
        return time.perf_counter() - start

    go(2 * calls.period(design.recipe))  # compiles
    return go, design.recipe, machine.feed


def child(name: str, batch: int) -> None:
    """Times as many steps as each line of the input says."""
    import jax

    from experiments.configs import CONFIGS

    go, _, _ = steps_of(name, noise(CONFIGS[name]), batch=batch)
    print(json.dumps([jax.device_count(), jax.devices()[0].device_kind, jax.default_backend()]), flush=True)
    for line in sys.stdin:
        print(go(int(line)), flush=True)


class Worker:
    """A process with so many devices, that times steps when asked."""

    def __init__(self, name: str, devices: int, batch: int):
        command = [sys.executable, "-m", "benchmarks.scaling", name, "--child", "--batch", str(batch)]
        env = os.environ | {"JAX_NUM_CPU_DEVICES": str(devices)}
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(64))))
        env["CUDA_VISIBLE_DEVICES"] = ",".join(visible.split(",")[:devices])
        self.process = subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.devices, self.kind, self.platform = json.loads(self._line())
        if self.devices != devices:
            raise SystemExit(f"error: asked for {devices} devices, JAX has {self.devices}; give others with --devices")

    def _line(self) -> str:
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("error: a process ended; its message is above")
        return line

    def seconds(self, steps: int) -> float:
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        return float(self._line())

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", nargs="?", default="digits")
    parser.add_argument("--devices", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--batch", type=int, default=32, help="of one device, and of all in the strong cases")
    parser.add_argument("--steps", type=int, default=16, help="timed together, --turns times")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--out", help="also append the lines to this file")
    args = parser.parse_args()
    if args.child:
        return child(args.config, args.batch)
    cases = [("one", 1, args.batch)]
    for n in args.devices:
        cases += [("weak", n, n * args.batch), ("strong", n, args.batch)] if n > 1 else []
    rates: dict[tuple, list[float]] = {case: [] for case in cases}
    workers = {case: Worker(args.config, *case[1:]) for case in cases}
    for _ in range(args.turns):
        for case, worker in workers.items():
            rates[case].append(args.steps * case[2] / worker.seconds(args.steps))
    one = workers[cases[0]]
    for case in cases:
        how, n, batch = case
        gains = [mine / alone for mine, alone in zip(rates[case], rates[cases[0]], strict=True)]
        real = one.platform != "cpu"
        row = {
            "config": args.config,
            "case": how,
            "devices": f"{n} x {one.kind}" + ("" if real else " (faked)"),
            "batch": batch,
            "img_per_s": round(statistics.median(rates[case]), 1),
            "over_one_device": round(statistics.median(gains), 3),
            "efficiency": round(statistics.median(gains) / (n if real else 1), 3),
            "turns": args.turns,
        }
        say(row, args.out)
    for worker in workers.values():
        worker.close()


if __name__ == "__main__":
    main()
