"""XLA flags that pay, set by the commands before JAX starts. The environment's XLA_FLAGS comes first: what it names stays.

Here is only what has a reason that is written down; others are the user's to try, by XLA_FLAGS.
"""

import importlib.util
import os
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import NamedTuple


class Flag(NamedTuple):
    name: str
    value: str
    where: Callable[[], bool]
    """whether it pays on this machine; asked before JAX starts"""


def nvidia_gpus() -> int:
    """GPUs that JAX will use, found without starting it."""
    platforms = os.environ.get("JAX_PLATFORMS", "")
    if platforms and not {"cuda", "gpu"} & set(platforms.split(",")):
        return 0
    if not any(importlib.util.find_spec(f"jax_cuda{n}_plugin") for n in (12, 13)):
        return 0
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([name for name in visible.split(",") if name.strip() not in ("", "-1")])
    return len(list(Path("/proc/driver/nvidia/gpus").glob("*")))


PAY = (
    # Gradients travel while the backward pass still works. JAX's "GPU performance tips" and NVIDIA's images have it on;
    # jaxlib's default is off. Only where there is something to send.
    Flag("--xla_gpu_enable_latency_hiding_scheduler", "true", lambda: nvidia_gpus() > 1),
    # What it estimates is for that scheduler, which has nothing to hide on one GPU; but each of the thousands of candidates that
    # the autotuner compiles sets it up again: in XLA's log 0.40 of 0.47 s a candidate, with 16 threads (benchmarks/README.md).
    Flag("--xla_gpu_enable_analytical_sol_latency_estimator", "false", lambda: nvidia_gpus() == 1),
)

NEWEST = (0, 12)
"""jaxlib whose flags were looked at last. XLA aborts at one that it does not know, so a newer one is given none."""


def set_flags() -> list[str]:
    """Add the flags that pay here to XLA_FLAGS; returns those that were added."""
    if tuple(map(int, metadata.version("jaxlib").split(".")[:2])) > NEWEST:
        return []
    given = os.environ.get("XLA_FLAGS", "")
    named = {word.partition("=")[0] for word in given.split()}
    added = [f"{flag.name}={flag.value}" for flag in PAY if flag.name not in named and flag.where()]
    if added:
        os.environ["XLA_FLAGS"] = " ".join([given, *added]).strip()
    return added
