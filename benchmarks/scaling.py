"""How does the step scale with devices? `python -m benchmarks.scaling [CONFIG] [--devices 1 2 4] [--batch 32] [--steps 16]`.

Each number of devices is a separate process; they take turns. Weak: the batch grows with the number of devices; strong: it does
not. On GPUs a process sees that many of them; `efficiency` is images/s over those of one device and over the number of devices, 1
for perfect scaling. On CPUs the devices are faked (JAX_NUM_CPU_DEVICES) and share the cores: `efficiency` is then images/s over
those of one device, 1 if splitting costs nothing, more if one device left cores idle.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys

from benchmarks.result import as_command, command_line, config_name, count, say


def child(name: str, batch: int) -> None:
    """Times as many steps as each line of the input says."""
    from experiments.flags import set_flags
    from jaxgan.memory import keep_freed_memory

    keep_freed_memory()
    set_flags()  # both as `experiments.train` does; on several GPUs there are other flags
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
        env = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"} | os.environ | {"JAX_NUM_CPU_DEVICES": str(devices)}
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
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        self.process.wait()


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("config", nargs="?", default="digits", type=config_name, help="whose step is timed")
    parser.add_argument("--devices", type=count, nargs="+", default=[1, 2, 4], help="numbers of devices")
    parser.add_argument("--batch", type=count, default=32, help="per device, and in total in the strong cases")
    parser.add_argument("--steps", type=count, default=16, help="timed together, --turns times")
    parser.add_argument("--turns", type=count, default=5, help="rounds, all numbers of devices in turn")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        return child(args.config, args.batch)
    if uneven := [n for n in args.devices if args.batch % n]:
        parser.error(f"--batch {args.batch} cannot be split among {uneven[0]} devices")
    cases = [("one", 1, args.batch)]
    for n in dict.fromkeys(args.devices):
        cases += [("weak", n, n * args.batch), ("strong", n, args.batch)] if n > 1 else []
    rates: dict[tuple, list[float]] = {case: [] for case in cases}
    workers: dict[tuple, Worker] = {}
    try:
        for case in cases:
            workers[case] = Worker(args.config, *case[1:])
        for _ in range(args.turns):
            for case, worker in workers.items():
                rates[case].append(args.steps * case[2] / worker.seconds(args.steps))
    finally:  # also what was measured until a process failed, or Ctrl-C
        for case, worker in workers.items():
            if rates[case]:
                say({"config": args.config} | row(case, worker, rates[case], rates[cases[0]]), args.out)
            worker.close()


def row(case: tuple[str, int, int], worker: Worker, rates: list[float], alone: list[float]) -> dict:
    """What was measured of a case, beside one device."""
    how, n, batch = case
    gain, real = statistics.median(mine / one for mine, one in zip(rates, alone, strict=False)), worker.platform != "cpu"
    return {
        "case": how,
        "devices": f"{n} x {worker.kind}" + ("" if real else " (faked)"),
        "batch": batch,
        "img_per_s": round(statistics.median(rates), 1),
        "over_one_device": round(gain, 3),
        "efficiency": round(gain / (n if real else 1), 3),
        "turns": len(rates),
    }


if __name__ == "__main__":
    as_command(main)
