"""What a GPU could take for a compiled program: an estimate from its text, so that formulations can be compared without one.

Each kernel takes the longest of its bytes (operands and results, each once) at the bandwidth, its convolution's or product's
arithmetic at the rate of its type, and the least that a kernel takes. Real kernels read some bytes twice and reach less than
these rates, and gaps between kernels are not counted, so a step takes somewhat longer (benchmarks/README.md has both for those
that were measured).
"""

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

BYTES = {"bf16": 2, "f16": 2, "u16": 2, "s16": 2, "f32": 4, "s32": 4, "u32": 4, "f64": 8, "s64": 8, "u64": 8, "c64": 8}
BYTES |= {"pred": 1, "u8": 1, "s8": 1}
BANDWIDTH = 2.8e12
"""Bytes a second: what plain kernels reach of an H100's 3.35e12."""
RATES = {"bf16": 600e12, "f16": 600e12, "f32": 210e12}
"""Arithmetic a second that convolutions reach there, float32 as TF32."""
LEAST = 2e-6
"""Seconds of the smallest kernel."""

SHAPE = re.compile(rf"\b({'|'.join(BYTES)})\[([\d,]*)\]")
COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.-]+) \(.*?\{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
INSTRUCTION = re.compile(r"^ +(?:ROOT )?%?([\w.-]+) = (.*?) ([a-z][\w-]*)\((.*)$", re.MULTILINE)
FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "iota", "after-all", "while", "call", "conditional"}


class Kernel(NamedTuple):
    """One kernel of a program, with how often it runs."""

    seconds: float
    times: int
    bytes: int
    operations: float
    """multiplications and additions of a convolution or product; 0 for others"""
    kind: str
    source: str
    """the operation that it is from, as JAX names it"""
    result: str


def kernels(text: str) -> Iterator[Kernel]:
    """The kernels of a compiled program, from its `as_text()`."""
    bodies = dict(COMPUTATION.findall(text))
    entry = re.search(r"^ENTRY %?([\w.-]+)", text, re.MULTILINE)[1]
    yield from _of(bodies, entry, 1)


def _of(bodies: dict[str, str], computation: str, times: int) -> Iterator[Kernel]:
    types = {}
    for name, result, kind, rest in INSTRUCTION.findall(bodies[computation]):
        types[name] = result
        if kind in ("while", "call", "conditional"):
            trips = re.search(r'"known_trip_count":\{"n":"(\d+)"', rest)
            for inner in re.findall(r"(?:body|to_apply|\w+_computations?)=(\{.*?\}|[%\w.-]+)", rest):  # of each branch
                for name in re.findall(r"[\w.-]+", inner):
                    yield from _of(bodies, name, times * int(trips[1] if trips else 1))
        if kind in FREE or kind.endswith("-done"):
            continue
        operands = [types[n] for n in re.findall(r"%([\w.-]+)", rest.partition("), ")[0]) if n in types]
        target = re.search(r'custom_call_target="([^"]+)"', rest)
        size = sum(_bytes(t) for t in (result, *operands))
        work = _operations(target[1], result, operands, rest) if target else 0.0
        least = max(size / BANDWIDTH, work / RATES.get(SHAPE.search(operands[0])[1], RATES["f32"]) if work else 0.0, LEAST)
        source = re.search(r'op_name="([^"]*)"', rest)
        yield Kernel(least, times, size, work, target[1] if target else kind, source[1] if source else "", result)


def _bytes(kind: str) -> int:
    return sum(BYTES[dtype] * math.prod(_sizes(sizes)) for dtype, sizes in SHAPE.findall(kind))


def _sizes(text: str) -> list[int]:
    return [int(n) for n in text.split(",") if n]


def _operations(target: str, result: str, operands: list[str], rest: str) -> float:
    """Of cuDNN's convolutions and cuBLAS's products; 0 for other calls."""
    out, *given = (_sizes(SHAPE.search(t)[2]) for t in (result, *operands[:2]))
    if labels := re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", rest):
        window = math.prod(int(n) for n in re.search(r"window=\{size=([\dx]+)", rest)[1].split("x"))
        groups = int((re.search(r"feature_group_count=(\d+)", rest) or (0, 1))[1])
        if target.endswith("BackwardFilter"):  # image, gradient of the output -> of the kernel
            return 2.0 * math.prod(given[1]) * window * given[0][labels[1].index("f")] / groups
        outer = given[0] if target.endswith("BackwardInput") else out
        return 2.0 * math.prod(outer) * window * given[1][labels[2].index("i")]
    if "matmul" in target or "gemm" in target:
        batch = re.search(r'"lhs_batch_dimensions":\[([^\]]*)\]', rest)[1]
        together = math.prod(given[0][int(n)] for n in re.findall(r"\d+", batch))
        return 2.0 * math.sqrt(math.prod(given[0]) * math.prod(given[1]) * math.prod(out) / together)
    return 0.0
