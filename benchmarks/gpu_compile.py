"""What a GPU's compiler makes of a config's step, on a machine without a GPU: `python -m benchmarks.gpu_compile CONFIG ...`.

One JSON line a program (a recipe has one for each set of due terms): the seconds to check the config, which traces the first
program, and to lower that as a run does, which finds the trace (both are the same in each of a config's lines); to trace, here
again, and lower the line's program, and to compile it on this machine; its kernels; and the device memory that it holds: state,
batch and temporaries, without the images that a run keeps on the device and what cuDNN asks for beside. Nothing is timed on a
GPU. The autotuner, which needs one, is off, and with it the compiler's own matrix products, some of which do not compile without
it; so the compiler is faster here by what these take.

It needs `pip install "jax[cuda12]"` in the environment. The GPU is an H100; `--target FILE` names the description of another,
as XLA's sources have them (xla/backends/gpu/target_config/specs/*.txtpb).
"""

import argparse
import dataclasses
import importlib.util
import os
import re
import time
from pathlib import Path

os.environ["JAX_PLATFORMS"] = "cpu"  # all that runs; the GPU is only compiled for
os.environ["JAX_NUM_CPU_DEVICES"] = "1"
os.environ["JAX_SKIP_CUDA_CONSTRAINTS_CHECK"] = "1"  # it looks for a driver
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_gpu_autotune_level=0 --xla_gpu_enable_triton_gemm=false"

import jax  # noqa: E402
import numpy as np  # noqa: E402
from jax.experimental import topologies  # noqa: E402
from jax.sharding import Mesh, NamedSharding, PartitionSpec  # noqa: E402

from benchmarks.result import say  # noqa: E402
from benchmarks.scaling import designed, noise  # noqa: E402
from experiments.configs import CONFIGS  # noqa: E402
from jaxgan import plan, run, step  # noqa: E402

H100 = """
gpu_device_info {
  threads_per_block_limit: 1024 threads_per_warp: 32 threads_per_core_limit: 2048
  shared_memory_per_block: 49152 shared_memory_per_core: 233472 shared_memory_per_block_optin: 232448
  core_count: 132 fpus_per_core: 128 clock_rate_ghz: 1.98
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
  memory_bandwidth: 3352320000000 l2_cache_size: 52428800 device_memory_size: 84978434048
  cuda_compute_capability { major: 9 }
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 10 }
runtime_version { major: 12 minor: 9 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""


def rows(name: str, batch: int | None, target: str):
    """A row for each program of a config's step."""
    config = CONFIGS[name] if batch is None else dataclasses.replace(CONFIGS[name], batch=batch)
    source = noise(config, max(config.batch, 64))
    design = designed(config, source)
    start = time.perf_counter()
    names = plan.trace(design, source)
    check = time.perf_counter() - start
    machine = run.build_machine(config, design, source, names)
    start = time.perf_counter()
    machine.run.lower(run.shapes(config, design), machine.meter, machine.feed.at(0), (step.due(design.recipe, 0),))
    first = time.perf_counter() - start
    gpu = topologies.get_topology_desc(platform="cuda", target_config=target, topology="1x1x1").devices
    place = NamedSharding(Mesh(np.array(gpu), ("gpu",)), PartitionSpec())
    held = machine.feed.at(0)
    arguments = run.shapes(config, design), machine.meter, held
    arguments = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=place), arguments)
    for due, at in step.programs(design.recipe).items():
        start = time.perf_counter()
        lowered = machine.run.lower(*arguments, (due,))
        middle = time.perf_counter()
        compiled = lowered.compile()
        end = time.perf_counter()
        memory, entry = compiled.memory_analysis(), compiled.as_text().partition("\nENTRY")[2]
        held_bytes = sum(a.nbytes for a in jax.tree.leaves(held)) if machine.feed.resident else 0
        kinds = memory.argument_size_in_bytes, memory.output_size_in_bytes, memory.temp_size_in_bytes
        yield {
            "config": name,
            "batch": config.batch,
            "first_step": at,
            "check_s": round(check, 1),
            "lower_checked_s": round(first, 1),
            "lower_s": round(middle - start, 1),
            "compile_s": round(end - middle, 1),
            "kernels": len(re.findall(r" (?:fusion|custom-call)\(", entry)),
            "device_mb": round((sum(kinds) - memory.alias_size_in_bytes - held_bytes) / 1e6),
            "temporary_mb": round(memory.temp_size_in_bytes / 1e6),
            "gpu": gpu[0].device_kind,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("configs", nargs="+", choices=CONFIGS, metavar="CONFIG")
    parser.add_argument("--batch", type=int, help="instead of the config's own")
    parser.add_argument("--target", metavar="FILE", help="description of the GPU, a text proto")
    parser.add_argument("--out", help="also append the lines to this file")
    args = parser.parse_args()
    if not any(importlib.util.find_spec(f"jax_cuda{n}_plugin") for n in (12, 13)):
        parser.error('jax has no compiler for GPUs here: pip install "jax[cuda12]"')
    if args.target and not Path(args.target).is_file():
        parser.error(f"--target {args.target}: there is no such file")
    jax.default_backend = lambda: "gpu"  # what chooses formulations by it is to choose the GPU's
    for name in args.configs:
        for row in rows(name, args.batch, Path(args.target).read_text() if args.target else H100):
            say(row, args.out)


if __name__ == "__main__":
    main()
