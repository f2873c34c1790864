"""`python -m experiments.walk RUN [--keys 6] [--frames 30] [--label 3 8 ...] --out walk.webp`: animate a latent walk."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np

from experiments.cli import OfRun, check_index, check_out, numbered, parse, run_command, writing
from jaxgan.errors import UserError

ANIMATED, ARRAYS = (".webp", ".gif"), (".png", ".npz")
MOST_PIXELS = {".webp": 16383, ".gif": 65535}
MOST_GIF = 50
"""Pictures a second of a GIF: viewers slow down at less than 2/100 s a picture."""


@dataclasses.dataclass(frozen=True)
class Arguments(OfRun):
    """Animate a walk from image to image: z is interpolated spherically, w of a StyleGAN along a spline."""

    keys: int | None = None
    """Number of images that the walk passes through: the first ones of the seed. By default 6, or the number of labels."""
    index: tuple[int, ...] = ()
    """The numbers of the images that the walk passes through, such as 3 17 42, instead of the first ones (`experiments.sample
    --captions` shows them)."""
    frames: int = 30
    """Frames from one image to the next."""
    seed: int = 0
    """Seed; the images are those of `sample --seed`."""
    label: tuple[int | str, ...] = ()
    """One class (number or name) for all images, or one per image, cyclically; between two classes the labels are interpolated.
    With --keys 1, one latent is shown as each class in turn. By default drawn at random, if the run is conditional."""
    psi: float = 1.0
    """Truncation, as in `experiments.sample`."""
    noise: Literal["random", "const", "none"] | None = None
    """StyleGAN's noise inputs: those of the first image (the default), constant, or none; the same in all frames."""
    loop: bool = True
    """Return to the first image at the end."""
    smooth: bool = False
    """Interpolate z along a smooth curve too: no corner at each image, but a less even rate in between."""
    grid: tuple[int, int] = (1, 1)
    """ROWS COLUMNS: a grid of walks, each through its own images."""
    fps: float | None = None
    """Frames per second of a .webp or .gif; by default 30."""
    background: str = ""
    """Colour to lay images with transparency on, as in `experiments.sample`. In a .gif they lie on white without it."""
    out: str = "walk.webp"
    """A .webp (lossless) or .gif: an animation; a .png: a contact sheet with one row per pair of images, or per walk of a grid;
    an .npz: the arrays `images` [walks, frames, H, W, C], `code` and `c`; anything else: a folder of frames."""


def stops(args: Arguments) -> tuple[int, int]:
    """How many codes a walk leads through, and how often it gets to one."""
    keys = len(args.index) or ((len(args.label) if len(args.label) > 1 else 6) if args.keys is None else args.keys)
    return keys, max(keys, len(args.label))


def codes(args: Arguments, trained):
    """The latents of all frames of all walks: those of frame 0, one a walk, then those of frame 1, ..."""
    from jaxgan import latents, walk

    (keys, count), walks, labels = stops(args), args.grid[0] * args.grid[1], args.label or (None,)
    wanted = args.index or keys * walks
    drawn = {k: trained.latents(wanted, seed=args.seed, label=k, psi=args.psi) for k in dict.fromkeys(labels)}
    films = []
    for first in range(0, keys * walks, keys):
        through = latents.joined([drawn[labels[i % len(labels)]].take([first + i % keys]) for i in range(count)])
        films.append(walk.walk(through, args.frames, classes=trained.generator.classes, loop=args.loop, smooth=args.smooth))
    return latents.joined(films).take(np.arange(walks * len(films[0].code)).reshape(walks, -1).T.ravel())


def rendered(args: Arguments, trained, latents) -> Iterator[np.ndarray]:
    """uint8 [walks, H, W, C] of each frame; a bar counts them where there are many."""
    import jax

    from experiments import safety
    from jaxgan import watch
    from jaxgan.latents import CHUNK

    laid = safety.background(args.background, trained)
    walks, n = args.grid[0] * args.grid[1], len(latents.code)
    rows = max(CHUNK * jax.local_device_count() // walks, 1) * walks
    with watch.counter("drawing frames", n > rows) as update:
        for i in range(0, n, rows):
            images = laid(trained.images(latents.take(slice(i, i + rows)), noise=args.noise))
            yield from images.reshape(-1, walks, *images.shape[1:])
            update(min(i + rows, n) // walks, n // walks)


def write(args: Arguments, out: Path, trained, latents) -> int:
    """Writes them, with what they are of in their metadata; how many frames."""
    from experiments import safety
    from jaxgan import marks, watch

    told = ("keys", "index", "frames", "seed", "label", "psi", "noise", "loop", "smooth", "background", "average")
    files = safety.output(args.run, trained, walk={name: getattr(args, name) for name in told})

    frames, kind = rendered(args, trained, latents), out.suffix.lower()
    several = args.grid != (1, 1)
    picture = lambda tiles: watch.grid(tiles, columns=args.grid[1], pad=int(several))
    if kind in ANIMATED:
        pictures = [fitting(picture(tiles), args, out) for tiles in frames]
        watch.write_animation(pictures, out, args.fps or 30.0, marks.packet())
        return len(pictures)
    if kind in ARRAYS:
        images = np.stack(list(frames), 1)
        if kind == ".npz":
            by_walk = lambda a: a.reshape(-1, len(images), *a.shape[1:]).swapaxes(0, 1)
            c = {} if latents.c is None else {"c": by_walk(latents.c)}
            files.write_arrays(out, {}, images, code=by_walk(latents.code), **c)
        else:
            columns = images.shape[1] if several else args.frames
            files.write_picture(watch.grid(images.reshape(-1, *images.shape[2:]), columns=columns, least=1024), out)
        return images.shape[1]
    n = 0
    for tiles in frames:
        files.write_picture(picture(tiles), out / f"frame{n:06d}.png", frame=n)
        n += 1
    return n


def fitting(picture, args: Arguments, out: Path):
    """The picture, where the format takes one as large; said of the first frame already."""
    if max(picture.size) > MOST_PIXELS[out.suffix.lower()]:
        size, most = "x".join(map(str, picture.size)), MOST_PIXELS[out.suffix.lower()]
        raise UserError(
            f"--out {args.out}: frames of {size} pixels, but this format allows at most {most} along a side; reduce --grid"
        )
    return picture


def check(args: Arguments, out: Path) -> None:
    """UserError where the arguments do not make a film."""
    check_out(args.out, *ANIMATED, *ARRAYS, folder="a folder of frames (for ffmpeg, say)")
    if args.index and (args.keys is not None or args.grid != (1, 1)):
        raise UserError("--index says which images one walk passes through; leave out --keys and --grid")
    keys, count = stops(args)
    if keys < 1 or count < 2:
        asked = f"--index {args.index[0]}" if args.index else f"--keys {keys}"
        raise UserError(f"{asked}: a walk needs at least two images, or one image with two or more --label")
    if args.frames < 1:
        raise UserError(f"--frames {args.frames}: give at least 1 from one image to the next")
    if min(args.grid) < 1:
        raise UserError(f"--grid {args.grid[0]} {args.grid[1]}: it needs at least one row and one column")
    if args.fps is not None and out.suffix.lower() not in ANIMATED:
        raise UserError(f"--fps {args.fps:g} only applies to a .webp or .gif; leave it out")
    if args.fps is not None and not 0 < args.fps <= (MOST_GIF if out.suffix.lower() == ".gif" else 1000):
        raise UserError(f"--fps {args.fps:g}: give a number above 0, up to {MOST_GIF} for a .gif and 1000 for a .webp")
    check_index(args.index)


def main() -> None:
    args = parse(Arguments, prog="python -m experiments.walk", examples=("runs/digits --label 3 8 5 --out walk.webp",))
    out = Path(args.out)
    check(args, out)

    trained = args.load().truncated(args.psi)
    args = numbered(args, trained.config)
    latents = codes(args, trained)
    with writing(args.out):
        n = write(args, out, trained, latents)
    lasts = f" ({n / (args.fps or 30):.4g} s)" if out.suffix.lower() in ANIMATED else ""
    print(f"{n} frames{lasts} of {args.run} at step {trained.step}: {out}")


if __name__ == "__main__":
    run_command(main)
