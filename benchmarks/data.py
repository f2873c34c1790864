"""Does the input pipeline keep up with the step? `python -m benchmarks.data [CONFIG] [--size 64] [--batch 32]`.

A set of smooth colour images is written as a folder of PNGs, a .zip of it and a prepared TFDS set, and read as in training:
gathered on the device (a set that fits); streamed from memory; streamed and decoded again for every batch (a set beyond 2 GiB).
`rate` is the rate of the feed alone; `times` is that over the rate at which the config's step consumes images held on the device:
below 1 the step would wait. `step` is the step's own rate with that feed, over its rate with the set on the device: on a CPU the
decoding threads compete with it.
"""

import shutil
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
from PIL import Image

from benchmarks.result import as_command, command_line, config_name, count, say
from benchmarks.step import Case
from experiments.configs import CONFIGS
from experiments.flags import set_flags
from jaxgan import calls, compile_cache, memory
from jaxgan.data import alike, open_source, prepare
from jaxgan.feed import Layout, open_feed


def write_images(folder: Path, n: int, size: int) -> None:
    """Smooth colour images, in sub-folders of ten classes; a PNG of one is about half as large as its pixels."""
    rng = np.random.default_rng(0)
    for i in range(n):
        small = Image.fromarray(rng.integers(0, 256, (max(size // 8, 2),) * 2 + (3,), np.uint8))
        image = np.asarray(small.resize((size, size), Image.BICUBIC), np.int16) + rng.integers(-2, 3, (size, size, 3))
        path = folder / str(i % 10) / f"{i:06d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)).save(path)


def feed_rate(src, config_batch: int, slots: int, resident: bool, steps: int) -> float:
    """Images a second of a feed alone, in batches as the step wants them."""
    layout = Layout(seed=0, n=src.n, slots=slots, accum=1, micro=config_batch)
    feed = open_feed(src, layout, resident=resident)
    take = jax.jit(lambda held, k: feed.take(held, k, None))
    numbers = [jax.numpy.int32(k) for k in range(steps + 8)]
    for k in range(8):  # compiles, fills the queue
        jax.block_until_ready(take(feed.at(k), numbers[k]))
    start = time.perf_counter()
    for k in range(8, steps + 8):
        batch = take(feed.at(k), numbers[k])
    jax.block_until_ready(batch)
    seconds = time.perf_counter() - start
    feed.close()
    return steps * slots * config_batch / seconds


def sources(scratch: Path, n: int, size: int) -> dict:
    """{what: (Source, resident)}"""
    write_images(scratch / "folder", n, size)
    shutil.make_archive(str(scratch / "archive"), "zip", scratch / "folder")
    stored = open_source(str(scratch / "folder"))
    prepare.write(stored, str(scratch / "set"))
    found = {"on the device": (stored, True), "streamed from memory": (stored, False)}
    kept, alike.IN_MEMORY = alike.IN_MEMORY, 0  # as if the set were too large
    for what, place in (("folder of PNGs", "folder"), ("zip", "archive.zip"), ("prepared TFDS", "set")):
        found[f"streamed, {what}"] = (open_source(str(scratch / place)), False)
    alike.IN_MEMORY = kept
    return found


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("config", nargs="?", default="digits", type=config_name, help="whose step it has to keep up with")
    parser.add_argument("--size", type=count, default=64, help="height and width of the images")
    parser.add_argument("--images", type=count, default=1024, help="images in the set")
    parser.add_argument("--batch", type=count, default=32, help="images per step")
    parser.add_argument("--steps", type=count, default=16, help="timed together, --turns times")
    parser.add_argument("--turns", type=count, default=3, help="rounds, the kinds of input in turn")
    args = parser.parse_args()
    memory.keep_freed_memory()  # this and the next as `experiments.train` does
    set_flags()
    with tempfile.TemporaryDirectory() as scratch:
        compile_cache.use(f"{scratch}/compiled")  # the streamed ones share a program
        rates, steps = {}, {}
        found = sources(Path(scratch), args.images, args.size)
        made = {
            what: Case(args.config, replace(CONFIGS[args.config], resident="yes" if resident else "no"), args.batch, src)
            for what, (src, resident) in found.items()
        }
        for case in made.values():
            case.train(2 * calls.period(case.recipe))  # compiles
        slots = made["on the device"].recipe.slots
        for _ in range(args.turns):
            for what, (src, resident) in found.items():
                rates.setdefault(what, []).append(feed_rate(src, args.batch, slots, resident, 4 * args.steps))
                steps.setdefault(what, []).append(args.steps * slots * args.batch / made[what].train(args.steps))
        for case in made.values():
            case.machine.feed.close()
    taken = steps["on the device"]
    ratio = lambda a: round(statistics.median(x / y for x, y in zip(a, taken, strict=True)), 3)
    for what in found:
        row = {
            "input": what,
            "rate_img_per_s": round(statistics.median(rates[what])),
            "step_takes_img_per_s": round(statistics.median(taken)),
            "times": ratio(rates[what]),
            "step": ratio(steps[what]),
        }
        about = {"config": args.config, "size": args.size, "batch": args.batch, "slots": slots, "turns": args.turns}
        devices = {"devices": f"{jax.device_count()} x {jax.devices()[0].device_kind}"}
        say(row | about | devices, args.out)


if __name__ == "__main__":
    as_command(main)
