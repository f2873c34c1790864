"""Compile a config's step for an accelerator on a machine without one: `python -m benchmarks.aot CONFIG ...`.

One JSON line per program (a recipe has one for each set of due terms), with: the seconds to check the config, which traces its
first program, and to lower that program as a run does, reusing the trace (both are the same in all lines of a config); the
seconds to trace again and lower the line's own program, and to compile it on this machine; the number of kernels; and the device
memory for state, batch and temporaries, without the images that a run keeps on the device and the workspaces of cuDNN on a GPU.
Nothing runs, so nothing is timed on a device. `--for` names the device:

- h100 (the default), or a file that describes another GPU, as in XLA's sources
  (xla/backends/gpu/target_config/specs/*.txtpb). Needs `pip install "jax[cuda12]"`. The autotuner, which needs a GPU, is off, and
  with it the compiler's own matrix products, some of which do not compile without it; so compilation is faster here than on a
  machine with the GPU. The estimated time is `benchmarks.roofline`'s, for an H100; `--top` lists what most of it goes into.
- v4, v5e, v5p, v6e: a TPU. Needs `pip install "jax[tpu]"`. Its lines include the compiler's own cost estimate, in
  millions of cycles, for comparing one formulation with another.

`--devices 4` compiles the step for so many devices, as `pmap` runs it. `--cases` takes cases of `benchmarks.ops` instead of
configs, with `--block` as there, and gives the estimates of our formulation and of the plain one.
"""

import dataclasses
import importlib.util
import itertools
import os
import re
import sys
import time
from functools import partial
from pathlib import Path

os.environ["JAX_PLATFORMS"] = "cpu"  # all that runs; the device is only compiled for
os.environ["JAX_SKIP_CUDA_CONSTRAINTS_CHECK"] = "1"  # it looks for a driver
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_gpu_autotune_level=0 --xla_gpu_enable_triton_gemm=false"
# A TPU's library looks for its host, and says that there is none.
os.environ |= {"TPU_SKIP_MDS_QUERY": "1", "TPU_MIN_LOG_LEVEL": "3", "ALLOW_MULTIPLE_LIBTPU_LOAD": "1"}
os.environ |= {"TPU_ACCELERATOR_TYPE": "v5litepod-4", "TPU_WORKER_HOSTNAMES": "localhost", "TPU_STDERR_LOG_LEVEL": "3"}

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from jax.experimental import topologies  # noqa: E402
from jax.sharding import Mesh, NamedSharding, PartitionSpec  # noqa: E402

from benchmarks.ops import CASES, orders  # noqa: E402
from benchmarks.result import as_command, command_line, config_name, count, say  # noqa: E402
from benchmarks.roofline import kernels  # noqa: E402
from benchmarks.step import designed, noise  # noqa: E402
from experiments.configs import CONFIGS  # noqa: E402
from jaxgan import ops, parallel, plan, run, step  # noqa: E402

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

TPUS = {"v4": "v4:2x2x1", "v5e": "v5e:2x2", "v5p": "v5p:2x2x1", "v6e": "v6e:2x2"}
"""Name -> the smallest slice that its compiler knows; one chip of it is compiled for."""


def rows(name: str, batch: int | None, dtype: str | None, top: int, devices):
    """A row for each program of a config's step, after the `top` kernels of each that are estimated to take longest."""
    given = {"batch": batch, "dtype": dtype}
    config = dataclasses.replace(CONFIGS[name], **{key: value for key, value in given.items() if value is not None})
    source = noise(config, max(config.batch, 64))
    design = designed(config, source)
    start = time.perf_counter()
    names = plan.trace(design, source)
    check = time.perf_counter() - start
    machine = run.build_machine(config, design, source, names)
    start = time.perf_counter()
    state, meter = parallel.replicated((run.shapes(config, design), machine.meter))
    held = machine.feed.at(0)
    arguments = on(devices, (state, meter, held))
    as_run = (state, meter, held) if len(devices) == 1 else arguments
    machine.run.lower(*as_run, (step.due(design.recipe, 0),))
    first = time.perf_counter() - start
    for due, at in step.programs(design.recipe).items():
        start = time.perf_counter()
        lowered = machine.run.lower(*arguments, (due,))
        middle = time.perf_counter()
        compiled = lowered.compile()
        end = time.perf_counter()
        memory = compiled.memory_analysis()
        held_bytes = sum(a.nbytes for a in jax.tree.leaves(held)) / len(devices) if machine.feed.resident else 0
        print(*heaviest(compiled, top), sep="\n", file=sys.stderr, end="\n" * bool(top))
        kinds = memory.argument_size_in_bytes, memory.output_size_in_bytes, memory.temp_size_in_bytes
        yield {
            "config": name,
            "batch": config.batch,
            "dtype": config.dtype,
            "first_step": at,
            "check_s": round(check, 1),
            "lower_checked_s": round(first, 1),
            "lower_s": round(middle - start, 1),
            "compile_s": round(end - middle, 1),
            "device_mb": round((sum(kinds) - memory.alias_size_in_bytes - held_bytes) / 1e6),
            "temporary_mb": round(memory.temp_size_in_bytes / 1e6),
            **estimate(compiled),
            "devices": f"{len(devices)} x {devices[0].device_kind}",
        }


def case(name: str, batch: int, dtype: str, block: int | None, devices) -> dict:
    """Estimates of a case of `benchmarks.ops`, ours and plain."""
    made = CASES[name]
    shapes = ((batch, *made.image), *made.others, *((batch, *s) for s in made.per_image))
    arguments = on(devices, tuple(jax.ShapeDtypeStruct(s, jnp.dtype(dtype)) for s in shapes))
    ops.BLOCK[jax.default_backend()] = block
    out = {"case": name, "batch": batch, "dtype": dtype, "block": block}
    for whose, f in (("ours", made.ours), ("plain", made.plain)):
        for order, g in orders(f, len(shapes)).items():
            compiled = g.lower(*arguments).compile()
            kind = {"temporary_mb": round(compiled.memory_analysis().temp_size_in_bytes / 1e6)} | estimate(compiled)
            out |= {f"{whose} {order}": kind}
    return out | {"devices": f"1 x {devices[0].device_kind}"}


def on(devices, tree):
    """The shapes and dtypes of a tree, on the device; of several, as `pmap` takes them."""
    if len(devices) > 1:
        return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), tree)
    place = NamedSharding(Mesh(np.array(devices), ("device",)), PartitionSpec())
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=place), tree)


def estimate(compiled) -> dict:
    """For a TPU its compiler's estimate, for a GPU `roofline`'s."""
    text = compiled.as_text()
    if jax.default_backend() == "tpu":
        main = text.partition("\nENTRY")[2]
        found = [int(n) for n in re.findall(r'"estimated_cycles":"(\d+)"', main)]
        return {
            "kernels": len(re.findall(r" (?:fusion|custom-call)\(", main)),
            "estimated_mcycles": float(f"{sum(found) / 1e6:.4g}"),
        }
    found = list(kernels(text))
    total = lambda field: sum(getattr(kernel, field) * kernel.times for kernel in found)
    return {
        "kernels": sum(kernel.times for kernel in found),
        "estimated_ms": float(f"{total('seconds') * 1e3:.4g}"),
        "gb": float(f"{total('bytes') / 1e9:.4g}"),
        "tflop": float(f"{total('operations') / 1e12:.4g}"),
    }


def heaviest(compiled, top: int) -> list[str]:
    """Lines on the `top` kernels, by what they are from and make, that a GPU is estimated to spend most time in."""
    if not top:
        return []
    alike = lambda kernel: (kernel.source.rpartition("jit(update)/")[2] or "-", kernel.kind, kernel.result)
    found = sorted(kernels(compiled.as_text()), key=alike)
    groups = [(key, list(group)) for key, group in itertools.groupby(found, alike)]
    took = lambda group: sum(kernel.seconds * kernel.times for kernel in group) * 1e3
    groups = sorted(groups, key=lambda pair: -took(pair[1]))[:top]
    return [
        f"{took(group):7.3f} ms  {sum(k.times for k in group):3d} x {group[0].bytes / 1e6:6.0f} MB  {kind}  {source}  {result}"
        for (source, kind, result), group in groups
    ]


def devices_of(target: str, count: int) -> list:
    """The devices that are compiled for; from then on what chooses by the backend, and `pmap`, choose these."""
    if target in TPUS:
        found = topologies.get_topology_desc(platform="tpu", topology_name=TPUS[target]).devices[:count]
    else:
        text = H100 if target == "h100" else Path(target).read_text()
        found = topologies.get_topology_desc(platform="cuda", target_config=text, topology=f"1x1x{count}").devices
    jax.default_backend = lambda: "tpu" if target in TPUS else "gpu"
    if count > 1:
        jax.pmap = partial(jax.pmap, devices=found)
    return found


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("configs", nargs="*", type=config_name, metavar="CONFIG", help=f"of {', '.join(CONFIGS)}")
    parser.add_argument("--for", dest="target", default="h100", metavar="DEVICE", help=f"h100, {', '.join(TPUS)}, or a file")
    parser.add_argument("--devices", type=int, default=1, choices=(1, 2, 4), help="that the step is compiled for")
    parser.add_argument("--batch", type=count, help="instead of the config's own; of cases 64")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), help="instead of the config's own; of cases bfloat16")
    parser.add_argument("--cases", nargs="+", default=[], metavar="CASE", help="of benchmarks.ops")
    parser.add_argument("--block", type=int, nargs="+", help="of the cases' grouped convolutions; 0 for XLA's own")
    parser.add_argument("--top", type=int, default=0, metavar="N", help="say of each GPU program its N heaviest kinds of kernels")
    args = parser.parse_args()
    unknown = [f"config {name!r}" for name in args.configs if name not in CONFIGS]
    unknown += [f"case {name!r}" for name in args.cases if name not in CASES]
    if unknown or not args.configs + args.cases:
        parser.error(f"there is no {unknown[0]}" if unknown else "give a config, or --cases")
    if args.cases and args.devices > 1:
        parser.error("--cases are compiled for one device")
    plugins = ["libtpu"] if args.target in TPUS else ["jax_cuda12_plugin", "jax_cuda13_plugin"]
    if not any(importlib.util.find_spec(name) for name in plugins):
        parser.error(f'jax has no compiler for it here: pip install "jax[{"tpu" if args.target in TPUS else "cuda12"}]"')
    if args.target not in TPUS and args.target != "h100" and not Path(args.target).is_file():
        parser.error(f"--for {args.target}: there is no such file, and it is none of h100, {', '.join(TPUS)}")
    jax.config.update("jax_num_cpu_devices", args.devices)  # on which a batch is laid out
    devices = devices_of(args.target, args.devices)
    for name in args.configs:
        for row in rows(name, args.batch, args.dtype, args.top, devices):
            say(row, args.out)
    blocks = args.block or (ops.BLOCK.get(jax.default_backend()),)
    for name, block in itertools.product(args.cases, blocks):
        say(case(name, args.batch or 64, args.dtype or "bfloat16", block or None, devices), args.out)


if __name__ == "__main__":
    as_command(main)
