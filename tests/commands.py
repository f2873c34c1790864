"""Run the commands as a user does, in a process of their own, small and with a shared compile cache."""

import dataclasses
import functools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from jaxgan import checkpoint, config_file, disk, plan
from jaxgan.description import describe

ROOT = Path(__file__).parent.parent
CACHE = Path(tempfile.gettempdir()) / f"jaxgan-test-cache-{os.getpid()}"
TINY = ["digits-tutorial", "--batch", "4", "--kimg", "0.16", "--tick-kimg", "0.02", "--snapshot-kimg", "0.04"]
TINY += ["--augment", "rotate", "scale", "crop", "flip"]


def environment(devices: int = 1, quick: bool = True) -> dict[str, str]:
    """`quick`: compiled in half the time, to run slower; without it as for a user."""
    cache = {"JAX_COMPILATION_CACHE_DIR": str(CACHE), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    cpu = {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(devices), "JAX_DISABLE_MOST_OPTIMIZATIONS": str(int(quick))}
    given = {name: value for name, value in os.environ.items() if quick or name != "XLA_FLAGS"}  # conftest.py sets them
    return given | cache | cpu | {"COLUMNS": "200"}


def start(module: str, *args, devices: int = 1, quick: bool = True) -> subprocess.Popen:
    command = [sys.executable, "-m", f"experiments.{module}", *map(str, args)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, env=environment(devices, quick), stdout=pipe, stderr=pipe, text=True)


@functools.cache
def imported(devices: int, quick: bool) -> subprocess.Popen:
    """`tests.forks`: imports what the commands do, and forks for each of them, which saves them seconds."""
    command, pipe = [sys.executable, "-m", "tests.forks"], subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, env=environment(devices, quick), stdin=pipe, stdout=pipe, text=True)


def run(module: str, *args, devices: int = 1, quick: bool = True, timeout: int = 300) -> tuple[int, str, str]:
    """Exit code, what it printed, what it complained; the code is -14 after `timeout` seconds."""
    server = imported(devices, quick)
    with tempfile.TemporaryDirectory() as folder:
        out, err = (Path(folder, name) for name in ("out", "err"))
        print(json.dumps([module, list(map(str, args)), str(out), str(err), timeout]), file=server.stdin, flush=True)
        code = int(server.stdout.readline())
        return code, out.read_text(), err.read_text()


def untrained(folder: str | Path, config, shape: tuple[int, int, int], classes: int):
    """A run directory with one checkpoint, of the first state, which is returned."""
    design = config.design(shape, classes)
    networks = {"generator": describe(design.generator), "discriminator": describe(design.discriminator)}
    data = {"shape": list(shape), "fingerprint": ""}
    described = {"jaxgan": "", "settings": dataclasses.asdict(config), "data": data, **networks}
    config_file.write(Path(folder), json.loads(json.dumps(described)))
    first = plan.first_state(jnp.uint32(0), design)
    store = checkpoint.open_store(Path(folder) / "checkpoints")
    checkpoint.save(store, first.replace(step=jnp.int32(2)))
    disk.wait(store)
    store.manager.close()
    return first


def final_state(directory: Path) -> dict:
    """Leaves of the newest checkpoint."""
    step = max(int(p.name) for p in (directory / "checkpoints").iterdir() if p.name.isdigit())
    with ocp.CheckpointManager(directory / "checkpoints", item_names=("generator", "training")) as manager:
        args = {name: ocp.args.StandardRestore() for name in ("generator", "training")}
        found = manager.restore(step, args=ocp.args.Composite(**args))
    return {"generator": found["generator"], "training": found["training"]}


def assert_equal(a, b):
    """Bitwise, leaf by leaf."""
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for k in a:
            assert_equal(a[k], b[k])
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_equal(x, y)
    elif a is not None:
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))
