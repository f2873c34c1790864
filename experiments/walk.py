"""`python -m experiments.walk RUN [--keys 6] [--frames 30] [--label 3 8 ...] --out walk.webp`: animate a latent walk."""

import dataclasses
import zipfile
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Literal

import numpy as np

from experiments import film
from experiments.cli import OfRun, check_index, check_out, numbered, parse, run_command, writing
from experiments.film import OfFilm
from jaxgan.errors import UserError

ARRAYS = (".png", ".npz")
EXAMPLES = ("runs/digits --label 3 8 5 --out walk.webp", "runs/stylegan2 --index 3 17 42 --frames 60 --out walk.mp4")


@dataclasses.dataclass(frozen=True)
class Arguments(OfFilm, OfRun):
    """Animate a walk from image to image: z is interpolated spherically, w of a StyleGAN along a spline."""

    keys: int | None = None
    """Number of images that the walk passes through: the first ones of the seed. By default 6, or the number of labels."""
    index: tuple[int, ...] = ()
    """The numbers of the images that the walk passes through, such as 3 17 42, instead of the first ones (`experiments.sample
    --captions` shows them). With --grid, those of the first walk, then as many for each other."""
    through: str = ""
    """An .npz of `experiments.invert`: the walk passes through the latents that it found, so through images of your own; with
    --index through those of these numbers in it."""
    frames: int = 30
    """Frames from one image to the next."""
    hold: int = 0
    """So many more frames stay at each image, and the way between is eased: it slows down to them, and starts slowly."""
    seed: int = 0
    """Seed; the images are those of `sample --seed`."""
    label: tuple[int | str, ...] = ()
    """One class (number or name) for all images, or one per image, cyclically; between two classes the labels are interpolated.
    With --keys 1, one latent is shown as each class in turn. By default drawn at random, if the run is conditional."""
    psi: tuple[float, ...] = (1.0,)
    """Truncation, as in `experiments.sample`: one for all images, or one per image, cyclically; between two it changes gradually.
    With --keys 1 and --psi 0 1, one latent moves from the mean image to itself."""
    noise: Literal["random", "const", "none"] | None = None
    """StyleGAN's noise inputs: those of the first image (the default), constant, or none; the same in all frames."""
    loop: bool = True
    """Return to the first image at the end."""
    smooth: bool = False
    """Interpolate z along a smooth curve too: no corner at each image, but a less even rate in between."""
    turn: float = 0.0
    """StyleGAN3: in the course of the film the images turn by so many degrees, counterclockwise; a loop closes with 360. Only
    configuration R keeps its shapes."""
    circle: float = 0.0
    """StyleGAN3: in the course of the film the images move once around on a circle of this radius, in sides of the image, with
    all their details. `--index 3 3 --circle 0.1` moves one image that does not change."""
    grid: tuple[int, int] = (1, 1)
    """ROWS COLUMNS: a grid of walks, each through its own images."""
    background: str = ""
    """Colour to lay images with transparency on, as in `experiments.sample`. Without it they stay transparent in a .webp, a .png
    and a folder, and lie on white in the others."""
    out: str = "walk.webp"
    """An .mp4 or .webm (which need `pip install "jaxgan[video]"`): a film; a .webp (lossless) or .gif: an animation; a .png: a
    contact sheet with one row per pair of images, or per walk of a grid; an .npz: the arrays `images` [walks, frames, H, W, C],
    `code` and `c`; anything else: a folder of frames."""


def stops(args: Arguments) -> tuple[int, int]:
    """How many codes a walk leads through, and how often it gets to one."""
    given = max(len(args.label), len(args.psi))
    walks = args.grid[0] * args.grid[1]
    keys = len(args.index) // walks or ((given if given > 1 else 6) if args.keys is None else args.keys)
    return keys, max(keys, given)


def found(args: Arguments, trained) -> list:
    """The latents of --through, for each walk. UserError where they are none of this run's, or too few."""
    from jaxgan import latents

    try:
        with np.load(Path(args.through).expanduser(), allow_pickle=False) as file:
            given = latents.Latents(file["code"], file.get("c"), file["keys"])
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile):
        raise UserError(f"--through {args.through}: not an .npz of experiments.invert that can be read") from None
    if wrong := [i for i in args.index if i >= len(given.code)]:
        raise UserError(f"--index {wrong[0]}: {args.through} has {len(given.code)} images, counted from 0")
    given = given.take(np.array(args.index or range(len(given.code))))
    walks = args.grid[0] * args.grid[1]
    try:
        latents.checked(trained.generator, given, args.noise)
    except UserError as e:
        raise UserError(f"--through {args.through}: {e}") from None
    if len(given.code) % walks or len(given.code) < 2 * walks:
        raise UserError(f"--through {args.through}: {len(given.code)} images; give two or more for each walk, and each as many")
    return [given.take(slice(i, i + len(given.code) // walks)) for i in range(0, len(given.code), len(given.code) // walks)]


def stations(args: Arguments, trained) -> list:
    """The latents that each walk passes through."""
    from jaxgan import latents

    if args.through:
        return found(args, trained)
    (keys, count), walks, labels, psis = stops(args), args.grid[0] * args.grid[1], args.label or (None,), args.psi
    wanted = args.index or keys * walks
    pairs = [(labels[i % len(labels)], psis[i % len(psis)]) for i in range(count)]
    drawn = {(k, psi): trained.latents(wanted, seed=args.seed, label=k, psi=psi) for k, psi in dict.fromkeys(pairs)}
    at = lambda first: [drawn[pair].take([first + i % keys]) for i, pair in enumerate(pairs)]
    return [latents.joined(at(first)) for first in range(0, keys * walks, keys)]


def codes(args: Arguments, trained, through: list, part: slice = slice(None)):
    """The latents of some of the frames of all walks: those of the first frame, one a walk, then those of the next, ..."""
    from jaxgan import latents, walk

    leg, t = (a[part] for a in walk.pace(len(through[0].code), args.frames, loop=args.loop, hold=args.hold))
    how = {"classes": trained.generator.classes, "loop": args.loop, "smooth": args.smooth}
    films = latents.joined(walk.between(keys, leg, t, **how) for keys in through)
    return films.take(np.arange(len(films.code)).reshape(len(through), -1).T.ravel())


def motion(args: Arguments, n: int) -> np.ndarray | None:
    """float32 [n, 3, 3]: how each frame is moved; None where none is. The first is not."""
    from jaxgan.models import stylegan3

    if not (args.turn or args.circle):
        return None
    course = np.arange(n) / (n if args.loop else n - 1)
    right, down = args.circle * np.sin(2 * np.pi * course), args.circle * (1 - np.cos(2 * np.pi * course))
    return np.stack([stylegan3.moved(*at) for at in zip(right, down, args.turn * course, strict=True)])


def rendered(args: Arguments, trained, through: list) -> Iterator[np.ndarray]:
    """uint8 [walks, H, W, C] of each frame; a bar counts them where there are many."""
    import jax

    from experiments import safety
    from jaxgan import walk, watch
    from jaxgan.latents import CHUNK

    laid = safety.background(args.background, trained)
    walks, n = len(through), len(walk.pace(len(through[0].code), args.frames, loop=args.loop, hold=args.hold)[0])
    step = max(CHUNK * jax.local_device_count() // walks, 1)
    moved = motion(args, n)
    how = lambda part: {"noise": args.noise} | ({} if moved is None else {"transform": np.repeat(moved[part], walks, 0)})
    with watch.counter("drawing frames", n > step) as update:
        for i in range(0, n, step):
            part = slice(i, i + step)
            images = laid(trained.images(codes(args, trained, through, part), **how(part)))
            yield from images.reshape(-1, walks, *images.shape[1:])
            update(min(i + step, n), n)


def write(args: Arguments, out: Path, trained, through: list) -> int:
    """Writes them, with what they are of in their metadata; how many frames."""
    from experiments import safety
    from jaxgan import watch

    told = ("keys", "index", "frames", "hold", "seed", "label", "noise", "loop", "smooth", "background", "average", "grid")
    told = {name: getattr(args, name) for name in told} | {"psi": args.psi if len(args.psi) > 1 else args.psi[0]}
    told |= {name: getattr(args, name) for name in ("turn", "circle") if getattr(args, name)}
    told |= {"through": sha256(through[0].code.tobytes()).hexdigest()} if args.through else {}
    files = safety.output(args.run, trained, walk=told)

    frames, kind = rendered(args, trained, through), out.suffix.lower()
    several = args.grid != (1, 1)
    pictures = (watch.grid(tiles, columns=args.grid[1], pad=int(several), factor=args.scale) for tiles in frames)
    if film.is_film(out):
        return files.write_film(film.fitting(pictures, args, "reduce --grid or --scale"), out, args.fps or 30.0, args.crf)
    if kind == ".npz":
        images, latents = np.stack(list(frames), 1), codes(args, trained, through)
        by_walk = lambda a: a.reshape(-1, len(images), *a.shape[1:]).swapaxes(0, 1)
        c = {} if latents.c is None else {"c": by_walk(latents.c)}
        files.write_arrays(out, {}, images, code=by_walk(latents.code), **c)
        return images.shape[1]
    if kind == ".png":
        images = np.stack(list(frames), 1)
        columns = images.shape[1] if several else args.frames + args.hold
        sheet = watch.grid(images.reshape(-1, *images.shape[2:]), columns=columns, least=1024, factor=args.scale)
        files.write_picture(sheet, out)
        return images.shape[1]
    n = 0
    for picture in pictures:
        files.write_picture(picture, out / f"frame{n:06d}.png", frame=n)
        n += 1
    return n


def check(args: Arguments, out: Path) -> None:
    """UserError where the arguments do not make a film."""
    check_out(args.out, *film.FILMS, *ARRAYS, folder="a folder of frames")
    film.check(args, out)
    walks = args.grid[0] * args.grid[1]
    if min(args.grid) < 1:
        raise UserError(f"--grid {args.grid[0]} {args.grid[1]}: it needs at least one row and one column")
    if given := [name for name in ("keys", "label", "psi", "seed") if getattr(args, name) != getattr(Arguments(""), name)]:
        if args.through:
            raise UserError(f"--{given[0]}: --through says which latents the walk passes through; leave it out")
    if args.index and args.keys is not None:
        raise UserError("--index says which images the walk passes through; leave out --keys")
    if len(args.index) % walks and not args.through:
        raise UserError(f"--index: {len(args.index)} images for the {walks} walks of --grid; give each as many")
    if not args.psi:
        raise UserError("--psi: give at least one")
    keys, count = stops(args)
    if not args.through and (keys < 1 or count < 2):
        asked = f"--index {args.index[0]}" if args.index else f"--keys {keys}"
        raise UserError(f"{asked}: a walk needs at least two images, or one image with two or more --label or --psi")
    if args.frames < 1:
        raise UserError(f"--frames {args.frames}: give at least 1 from one image to the next")
    if args.hold < 0:
        raise UserError(f"--hold {args.hold}: give 0 frames or more")
    if args.scale is not None and out.suffix.lower() == ".npz":
        raise UserError(f"--scale {args.scale}: an .npz has the images as they are; leave it out")
    check_index(args.index)


def main() -> None:
    args = parse(Arguments, prog="python -m experiments.walk", examples=EXAMPLES)
    out = Path(args.out)
    check(args, out)

    from jaxgan import latents

    trained = args.load()
    args = numbered(args, trained.config)
    if len(args.psi) > 1 and trained.standing and "batch_stats" in trained.variables:
        raise UserError("--psi: this run's batch norm has statistics of one truncation at a time; give one")
    if args.turn or args.circle:
        latents.check_moves(trained.generator)
    trained = trained.truncated(args.psi[0])
    through = stations(args, trained)
    with writing(args.out):
        n = write(args, out, trained, through)
    lasts = f" ({n / (args.fps or 30):.4g} s)" if film.is_film(out) else ""
    print(f"{n} frames{lasts} of {args.run} at step {trained.step}: {out}")


if __name__ == "__main__":
    run_command(main)
