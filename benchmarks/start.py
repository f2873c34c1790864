"""How long until it trains? `python -m benchmarks.start [CONFIG] [--turns 3]`: command to first step, cold and cached; imports.

Each line is a process of its own, as a user starts one: the training command for one step, with an empty compile cache and
then with the one it left; and `import jaxgan` beside `import jax`.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent


def timed(command: list[str], environment: dict[str, str]) -> float:
    start = time.perf_counter()
    done = subprocess.run(command, env=os.environ | environment, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"error: {' '.join(command)}: {done.stderr.strip().splitlines()[-1]}")
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", nargs="?", default="digits")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--out", help="also append the lines to this file")
    args = parser.parse_args()
    times: dict[str, list[float]] = {}
    for _ in range(args.turns):
        with tempfile.TemporaryDirectory() as scratch:
            for i, what in enumerate(("one step, cold", "one step, cached")):
                one = ["--batch", "32", "--kimg", "0.032", "--tick-kimg", "0.032", "--snapshot-kimg", "0.032"]
                command = [sys.executable, "-m", "experiments.train", args.config, *one, "--run-dir", f"{scratch}/{i}"]
                cache = {"JAX_COMPILATION_CACHE_DIR": f"{scratch}/cache", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
                times.setdefault(what, []).append(timed(command, cache))
        for module in ("jax", "jaxgan", "jaxgan.losses"):
            times.setdefault(f"import {module}", []).append(timed([sys.executable, "-c", f"import {module}"], {}))
    for what, each in times.items():
        row = {
            "what": what,
            "seconds": round(statistics.median(each), 2),
            "low": round(min(each), 2),
            "high": round(max(each), 2),
        }
        print(json.dumps(row | {"config": args.config, "turns": args.turns}), flush=True)
        if args.out:
            with open(args.out, "a") as f:
                f.write(json.dumps(row | {"config": args.config}) + "\n")


if __name__ == "__main__":
    main()
