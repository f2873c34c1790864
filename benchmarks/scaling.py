"""How does the step scale with devices? `python -m benchmarks.scaling [CONFIG] [--devices 1 2 4] [--batch 32] [--steps 16]`.

Each number of devices is a separate process; they take turns. Weak: the batch grows with the number of devices; strong: it does
not. On GPUs a process sees that many of them; `efficiency` is images/s over those of one device and over the number of devices, 1
for perfect scaling. On CPUs the devices are faked (JAX_NUM_CPU_DEVICES) and share the cores: `efficiency` is then images/s over
those of one device, 1 if splitting costs nothing, more if one device left cores idle.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys

from benchmarks.result import command_line, say


def child(name: str, batch: int) -> None:
    """Times as many steps as each line of the input says."""
    import jax

    from benchmarks.step import Case
    from experiments.configs import CONFIGS
    from jaxgan import calls

    case = Case(name, CONFIGS[name], batch)
    case.train(2 * calls.period(case.recipe))  # compiles
    print(json.dumps([jax.device_count(), jax.devices()[0].device_kind, jax.default_backend()]), flush=True)
    for line in sys.stdin:
        print(case.train(int(line)), flush=True)


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
    parser = command_line(__doc__)
    parser.add_argument("config", nargs="?", default="digits", help="whose step is timed")
    parser.add_argument("--devices", type=int, nargs="+", default=[1, 2, 4], help="numbers of devices")
    parser.add_argument("--batch", type=int, default=32, help="per device, and in total in the strong cases")
    parser.add_argument("--steps", type=int, default=16, help="timed together, --turns times")
    parser.add_argument("--turns", type=int, default=5, help="rounds, all numbers of devices in turn")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
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
