"""How long does a run take to start? `python -m benchmarks.start [CONFIG ...] [--turns 3]`: command to first step, cold and
warm; imports.

Each line is a separate process, as a user starts it. `first step` is the time from the command to the output of the first tick,
which is one step: process start, data, compilation, one step. Cold starts with an empty compile cache, warm with the one that
the cold run filled. `whole run` is two steps with sample grids and a checkpoint. Imports are whole processes too: compare them
with `python -c pass`.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.result import as_command, command_line, config_name, count, say

ROOT = Path(__file__).parent.parent
IMPORTS = ("jax", "jaxgan", "jaxgan.losses", "jaxgan.penalties", "jaxgan.augment", "jaxgan.sample", "jaxgan.run")


def timed(command: list[str], until: str = "") -> tuple[float, float]:
    """Seconds until a line of the output has `until` in it, and until the process has ended."""
    start, seen = time.perf_counter(), None
    settings = {"PYTHONUNBUFFERED": "1", "COLUMNS": "200"}
    with tempfile.TemporaryFile("w+") as complaint:
        pipes = {"stdout": subprocess.PIPE, "stderr": complaint, "text": True}
        with subprocess.Popen(command, env=os.environ | settings, cwd=ROOT, **pipes) as process:
            for line in process.stdout:
                if seen is None and until and until in line:
                    seen = time.perf_counter() - start
        if process.returncode:
            complaint.seek(0)
            raise SystemExit(f"error: {' '.join(command)}: {complaint.read().strip().splitlines()[-1]}")
    if until and seen is None:
        raise SystemExit(f"error: {' '.join(command)}: no line of its output has {until!r}")
    return seen, time.perf_counter() - start


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("configs", nargs="*", default=["digits"], type=config_name, metavar="CONFIG", help="what is trained")
    parser.add_argument("--turns", type=count, default=3, help="rounds; the median is given")
    args = parser.parse_args()
    times: dict[str, list[float]] = {}
    try:
        for _ in range(args.turns):
            turn(args.configs, times)
    finally:  # also what was measured until a failure or Ctrl-C
        for what, each in times.items():
            seconds = {"seconds": statistics.median(each), "low": min(each), "high": max(each)}
            say({"what": what} | {name: round(value, 2) for name, value in seconds.items()} | {"turns": len(each)}, args.out)


def turn(configs: list[str], times: dict[str, list[float]]) -> None:
    """Time everything once, into `times`."""
    for config in configs:
        with tempfile.TemporaryDirectory() as scratch:
            for i, how in enumerate(("cold", "warm")):
                two = ["--compile-cache", f"{scratch}/cache", "--run-dir", f"{scratch}/{i}", "--batch", "32"]
                two += ["--kimg", "0.064", "--tick-kimg", "0.032", "--snapshot-kimg", "0.064"]
                seen, ended = timed([sys.executable, "-m", "experiments.train", config, *two], "img/s")
                times.setdefault(f"{config}: first step, {how}", []).append(seen)
                times.setdefault(f"{config}: whole run, {how}", []).append(ended)
    times.setdefault("python -c pass", []).append(timed([sys.executable, "-c", "pass"])[1])
    for module in IMPORTS:
        times.setdefault(f"import {module}", []).append(timed([sys.executable, "-c", f"import {module}"])[1])


if __name__ == "__main__":
    as_command(main)
