"""Does the number of devices change the run? `python -m benchmarks.devices [CONFIG] [--steps 20]`.

Trains on 1, 2 and 4 faked CPU devices and in 2 processes of 2, and prints one JSON line each: how far the parameters are
from those of one device. Sums are added in a different order, so last bits differ; Adam's first steps turn the sign of a
gradient that is nearly zero into a full step of lr, hence the mean as well as the largest difference.
"""

import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import jax
import numpy as np

from benchmarks.result import as_command, command_line, config_name, count, say
from jaxgan.checkpoint import load_generator


def train(config: str, directory: Path, devices: int, steps: int, processes: int = 1) -> dict:
    """The generator's average after some steps."""
    kimg = steps * 32 / 1000
    command = [sys.executable, "-m", "experiments.train", config, "--run-dir", str(directory), "--batch", "32"]
    command += ["--kimg", str(kimg), "--tick-kimg", str(kimg), "--snapshot-kimg", str(kimg)]
    command += ["--cpu-devices", str(devices), "--augment", "rotate", "scale", "crop", "flip"]
    with socket.socket() as s:
        s.bind(("localhost", 0))
        port = s.getsockname()[1]
    running = []
    for i in range(processes):
        several = ["--coordinator", f"localhost:{port}", "--processes", str(processes), "--process", str(i)]
        env = os.environ | {"JAX_PLATFORMS": "cpu"}
        running.append(subprocess.Popen(command + several * (processes > 1), env=env, stdout=subprocess.DEVNULL))
    if any([p.wait() for p in running]):
        sys.exit(f"training on {processes} x {devices} devices failed")
    return load_generator(directory / "checkpoints")[0]


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("config", nargs="?", default="digits-tutorial", type=config_name, help="what is trained")
    parser.add_argument("--steps", type=count, default=20, help="training steps before the parameters are compared")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        one = train(args.config, Path(scratch) / "1", 1, args.steps)
        for processes, devices in ((1, 2), (1, 4), (2, 2)):
            other = train(args.config, Path(scratch) / f"{processes}x{devices}", devices, args.steps, processes)
            gaps = [np.abs(np.float64(a) - b).ravel() for a, b in zip(*map(jax.tree.leaves, (one, other)), strict=True)]
            gaps = np.concatenate(gaps)
            row = {"config": args.config, "steps": args.steps, "processes": processes, "devices_each": devices}
            say(row | {"largest": float(gaps.max()), "mean": float(gaps.mean())}, args.out)


if __name__ == "__main__":
    as_command(main)
