"""Are our formulations faster? `python -m benchmarks.ops [CASE ...] [--batch 32 256] [--turns 5] [--out FILE]`.

Each operation of `jaxgan.ops`, `jaxgan.resample` and `jaxgan.equalized` against the straightforward `lax` implementation:
forward, gradient with respect to all arguments, and the double gradient that R1 needs (the gradient of the squared gradient with
respect to the image). One JSON line per case: milliseconds of both, interleaved, and plain over ours. `error` is the largest
difference between the outputs over the largest output. `--block 64 128` runs the grouped convolutions as dense ones of so many
channels, once for each: to choose `ops.BLOCK` for a backend. `--dtype bfloat16` is what a GPU trains in.
"""

import itertools
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks.result import as_command, command_line, count, say
from jaxgan import equalized, memory, ops, resample

LAYOUT = ("NHWC", "HWIO", "NHWC")


class Case(NamedTuple):
    """An operation: ours and the plain one on arrays of these shapes; the first is the images, [B, ...] without B."""

    ours: Callable
    plain: Callable
    image: tuple
    others: tuple = ()
    per_image: tuple = ()
    """Shapes of further arguments that have a batch axis."""


def convolution(h, cin, cout, k, stride=1, groups=1) -> Case:
    options = {"dimension_numbers": LAYOUT, "feature_group_count": groups}
    return Case(
        lambda x, w: ops.conv(x, w, stride=stride, groups=groups),
        lambda x, w: lax.conv_general_dilated(x, w, (stride, stride), "SAME", **options),
        (h, h, cin),
        ((k, k, cin // groups, cout),),
    )


def transposed(h, cin, cout, k, stride) -> Case:
    low = max(k - stride, 0) // 2
    pads = ((k - 1 - low, h * stride + k - 1 - ((h - 1) * stride + 1) - (k - 1 - low)),) * 2
    flipped = {"lhs_dilation": (stride, stride), "dimension_numbers": LAYOUT}
    return Case(
        lambda x, w: ops.conv_transpose(x, w, stride=stride),
        lambda x, w: lax.conv_general_dilated(x, w[::-1, ::-1], (1, 1), pads, **flipped),
        (h, h, cin),
        ((k, k, cin, cout),),
    )


def modulated(h, cin, cout) -> Case:
    """Every image has its own kernel: a grouped convolution with the images as groups."""

    def plain(x, kernel, styles):
        w = kernel[None] * styles[:, None, None, :, None]
        w = w * lax.rsqrt(jnp.sum(w * w, (1, 2, 3), keepdims=True) + 1e-8)
        b, k = x.shape[0], kernel.shape[0]
        one = x.transpose(1, 2, 0, 3).reshape(1, h, h, b * cin)
        w = w.transpose(1, 2, 3, 0, 4).reshape(k, k, cin, b * cout)
        y = lax.conv_general_dilated(one, w, (1, 1), "SAME", dimension_numbers=LAYOUT, feature_group_count=b)
        return y.reshape(h, h, b, cout).transpose(2, 0, 1, 3)

    return Case(equalized.modulated_conv, plain, (h, h, cin), ((3, 3, cin, cout),), ((cin,),))


def resampling(h, c, up=1, down=1) -> Case:
    """A depthwise convolution with the outer product of the taps."""
    taps = np.array(resample.TAPS) / 8
    window = np.outer(taps, taps)[:, :, None, None] * up**2

    def plain(x):
        pads = (((len(taps) + 1) // 2, (len(taps) - 2) // 2 + 1) if up == 2 else (1, 1),) * 2
        kernel = jnp.asarray(np.tile(window, (1, 1, 1, c)), x.dtype)
        options = {"lhs_dilation": (up, up), "dimension_numbers": LAYOUT, "feature_group_count": c}
        return lax.conv_general_dilated(x, kernel, (down, down), pads, **options)

    return Case(resample.upsample if up == 2 else resample.downsample, plain, (h, h, c))


def block(h, c, groups) -> Case:
    """R3GAN's residual block: the convolutions with what a compiler fuses with them."""

    def of(conv):
        leaky = lambda x: jnp.where(x < 0, 0.2 * x, x)
        return lambda x, a, p, b, q, d: x + conv(leaky(conv(leaky(conv(x, a, 1) + p), b, groups) + q), d, 1)

    options = {"window_strides": (1, 1), "padding": "SAME", "dimension_numbers": LAYOUT}
    return Case(
        of(lambda x, w, n: ops.conv(x, w, groups=n)),
        of(lambda x, w, n: lax.conv_general_dilated(x, w, feature_group_count=n, **options)),
        (h, h, c),
        ((1, 1, c, 2 * c), (2 * c,), (3, 3, 2 * c // groups, 2 * c), (2 * c,), (1, 1, 2 * c, c)),
    )


HEAVY = {
    "grouped 16x16 1536-1536 k3 groups 96": convolution(16, 1536, 1536, 3, groups=96),
    "grouped block 32x32 768 groups 96": block(32, 768, 96),
    "grouped block 4x4 768 groups 96": block(4, 768, 96),
    "upsample 128x128x64": resampling(128, 64, up=2),
    "downsample 256x256x64": resampling(256, 64, down=2),
}
"""Of R3GAN's CIFAR-10 preset, whose 4x4 stage is float32, the others bfloat16, and of StyleGAN2's at 256x256; for a GPU or a TPU:
named to be run."""

CASES = {
    "conv 7x7 256-128 k5": convolution(7, 256, 128, 5),
    "conv 14x14 32-32 k3": convolution(14, 32, 32, 3),
    "conv 8x8 128-128 k3": convolution(8, 128, 128, 3),
    "conv 32x32 3-64 k3": convolution(32, 3, 64, 3),
    "conv 32x32 64-64 k3": convolution(32, 64, 64, 3),
    "conv 32x32 64-128 k1": convolution(32, 64, 128, 1),
    "conv 14x14 64-128 k5 stride 2": convolution(14, 64, 128, 5, 2),
    "conv 28x28 1-64 k5 stride 2": convolution(28, 1, 64, 5, 2),
    "conv_transpose 7x7 128-64 k5 stride 2": transposed(7, 128, 64, 5, 2),
    "conv_transpose 14x14 64-1 k5 stride 2": transposed(14, 64, 1, 5, 2),
    "grouped 16x16 64-64 k3 groups 4": convolution(16, 64, 64, 3, groups=4),
    "grouped block 8x8 32 groups 4": block(8, 32, 4),
    "modulated 16x16 64-64 k3": modulated(16, 64, 64),
    "upsample 16x16x64": resampling(16, 64, up=2),
    "downsample 16x16x64": resampling(16, 64, down=2),
} | HEAVY


def orders(f: Callable, n: int) -> dict[str, Callable]:
    """f, its gradient in its n arguments, and the gradient of the squared gradient in the image."""
    every = tuple(range(n))
    loss = lambda *args: jnp.sum(jnp.sin(f(*args)))
    squared = lambda *args: jnp.sum(jnp.square(jax.grad(loss)(*args)))
    made = {"forward": f, "gradient": jax.grad(loss, every), "double gradient": jax.grad(squared, every)}
    return {name: jax.jit(g) for name, g in made.items()}


def seconds(f: Callable, args: tuple, least: float = 0.15) -> float:
    """Of one call, over as many as take `least` seconds."""
    count, start = 0, time.perf_counter()
    while count < 2 or time.perf_counter() - start < least:
        jax.block_until_ready(f(*args))
        count += 1
    return (time.perf_counter() - start) / count


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}; none: all but the last {len(HEAVY)}")
    parser.add_argument("--batch", type=count, nargs="+", default=[32], help="images; each size is a case")
    parser.add_argument("--block", type=int, nargs="+", help="of grouped convolutions (default: ops.BLOCK's)")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="of all arrays")
    parser.add_argument("--turns", type=count, default=5, help="rounds, both sides in turn")
    args = parser.parse_args()
    unknown = [name for name in args.cases if name not in CASES]
    if unknown:
        parser.error(f"there is no case {unknown[0]!r}; the cases are {', '.join(CASES)}")
    if args.block and args.cases and not any(name.startswith("grouped") for name in args.cases):
        parser.error("--block is of the grouped cases")
    memory.keep_freed_memory()  # as `experiments.train` does
    backend = jax.default_backend()
    names = args.cases or [name for name in CASES if name not in HEAVY and (name.startswith("grouped") or not args.block)]
    for name, batch, block in itertools.product(names, args.batch, args.block or (ops.BLOCK.get(backend),)):
        ops.BLOCK[backend] = block
        about = {"block": block} if name.startswith("grouped") else {}
        say(row(name, CASES[name], batch, args.turns, args.dtype) | about, args.out)


def row(name: str, case: Case, batch: int, turns: int, dtype: str) -> dict:
    shapes = ((batch, *case.image), *case.others, *((batch, *s) for s in case.per_image))
    arrays = tuple(jax.random.normal(jax.random.fold_in(jax.random.key(0), i), s, dtype) for i, s in enumerate(shapes))
    both = [orders(f, len(arrays)) for f in (case.ours, case.plain)]
    ours, plain = (f["forward"](*arrays) for f in both)
    error = float(f"{jnp.abs(ours - plain).max() / jnp.abs(plain).max():.1e}")
    out = {"case": name, "batch": batch, "dtype": dtype, "error": error}
    for order in both[0]:
        for f in both:
            jax.block_until_ready(f[order](*arrays))
        times = [[seconds(f[order], arrays) for f in both] for _ in range(turns)]
        ms = [1000 * statistics.median(t) for t in zip(*times, strict=True)]
        ratio = statistics.median(theirs / mine for mine, theirs in times)
        out[order] = {"ms": round(ms[0], 3), "plain_ms": round(ms[1], 3), "faster_by": round(ratio, 2)}
    device = f"{jax.device_count()} x {jax.devices()[0].device_kind}"
    return out | {"turns": turns, "devices": device}


if __name__ == "__main__":
    as_command(main)
