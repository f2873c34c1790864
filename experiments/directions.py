"""`python -m experiments.directions RUN [--method jacobian|pca|closed_form|codes] [--n 6] [--range 3] [--out directions.png]`."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np

from experiments import film
from experiments.cli import OfRun, check_out, numbered, parse, run_command, writing
from experiments.film import OfFilm
from jaxgan import marks
from jaxgan.errors import UserError

MOST = 1_000_000
"""Draws; more change nothing, and take memory."""


EXAMPLES = ("runs/digits --label 3", "runs/infogan --method codes", "runs/stylegan2 --method pca --out sliders.mp4")


@dataclasses.dataclass(frozen=True)
class Arguments(OfFilm, OfRun):
    """Find directions in latent space along which the images change most, and picture an image moved along them."""

    method: Literal["jacobian", "pca", "closed_form", "codes"] = "jacobian"
    """jacobian: the directions that change images most, for any generator. For StyleGANs also pca: those along which w varies
    most (GANSpace), and closed_form: those that change the styles most (SeFa). For InfoGAN codes: one row per category, one
    block of columns per continuous code."""
    n: int = 6
    """Number of directions, strongest first: the rows of the picture."""
    range: float = 3.0
    """The columns go from -range to +range, in standard deviations of the latent along the direction. For codes they are the
    values z of the code's entry of the latent, and the code is 2 Phi(z) - 1."""
    steps: int = 7
    """Number of columns, odd: the middle one is the unedited image."""
    frames: int = 90
    """Frames of a film: from the unedited image to +range, to -range and back."""
    image: int = 0
    """Index of the image to move, among those of the seed."""
    seed: int = 0
    """Seed of the image, as in `sample --seed`, and of the draws from which the directions are computed."""
    label: int | str | None = None
    """The class (number or name) of the image and of the draws; by default drawn at random, if the run is conditional."""
    layers: tuple[int, int] | None = None
    """FIRST END, for StyleGANs: move w only in layers FIRST to END - 1; the first layers are coarse, the last fine."""
    local: bool = False
    """jacobian: use this image alone instead of the mean over --draws."""
    draws: int | None = None
    """Number of draws from which to compute the directions (default: jacobian 32, pca 10,000)."""
    psi: float = 1.0
    """Truncation of the image to move, as in `experiments.sample`."""
    noise: Literal["random", "const", "none"] | None = None
    """StyleGAN's noise inputs, as in `experiments.sample`; the same along a row."""
    out: str = "directions.png"
    """The picture, or an .mp4, .webm, .webp or .gif: a film in which the image moves along all directions at once, one in each
    tile; an .npz of the same name beside it holds the arrays `directions`, `strengths`, `spread` and `images`; of codes
    `images` [categories, codes, steps, H, W, C] and `values`."""


def found(args: Arguments, trained, image):
    """The directions, and the standard deviation of codes along each."""
    from jaxgan import directions

    g, v, options = trained.generator, trained.variables, {"seed": args.seed, "label": args.label}
    directions.check(g, args.n, args.layers)
    if args.method == "jacobian":
        of = image if args.local else trained.latents(args.draws or 32, **options)
        result = directions.jacobian(g, v, of, args.n, layers=args.layers, noise=args.noise)
        drawn = trained.latents(1000, **options)
    else:
        drawn = trained.latents(args.draws or 10_000, **options)
        pca = args.method == "pca"
        result = (
            directions.pca(drawn, args.n, layers=args.layers) if pca else directions.closed_form(g, v, args.n, layers=args.layers)
        )
    return result, directions.spread(drawn, result)


def amounts(args: Arguments) -> np.ndarray:
    """How far the image is moved, in standard deviations, in each column or frame; a film begins and ends with the image."""
    if film.is_film(args.out):
        return args.range * np.sin(2 * np.pi * np.arange(args.frames) / args.frames)
    return np.linspace(-args.range, args.range, args.steps)


def of_codes(args: Arguments, trained, image):
    """The images of --method codes, [categories, codes, amounts, H, W, C], their arrays, and what is said of them."""
    from jaxgan import directions

    g, values = trained.generator, amounts(args).astype(np.float32)
    images = trained.truncated(args.psi).images(directions.code_table(g, image, values))
    images = images.reshape(g.categories, g.continuous, len(values), *g.shape)
    return images, {"values": values}, f"{g.categories} categories and {g.continuous} continuous codes"


def of_directions(args: Arguments, trained, image):
    """The images of the other methods, [directions, amounts, H, W, C], their arrays, and what is said of them."""
    from jaxgan import directions

    result, spread = found(args, trained, image)
    steps = amounts(args)[None] * spread[:, None]
    images = trained.truncated(args.psi).images(directions.table(image, result, steps), noise=args.noise)
    print(f"strengths: {', '.join(f'{s:.3g}' for s in result.strengths)}")
    arrays = {"directions": result.vectors, "strengths": result.strengths, "spread": spread}
    return images.reshape(args.n, -1, *images.shape[1:]), arrays, f"{args.n} directions"


def sheet(images: np.ndarray):
    """A row for each direction or category, with a gap between two codes."""
    from jaxgan import watch

    if images.ndim == 6:
        white = np.full_like(images[:, :, :1], 255)
        images = np.concatenate([images, white], 2).reshape(len(images), -1, *images.shape[3:])[:, :-1]
    return watch.grid(images.reshape(-1, *images.shape[2:]), columns=images.shape[1], least=1024)


def pictures(args: Arguments, images: np.ndarray) -> Iterator:
    """The frames of the film: a tile for each direction, or a row for each code with a tile for each category."""
    from jaxgan import watch

    columns = len(images) if images.ndim == 6 else None
    tiles = images if columns is None else images.swapaxes(0, 1).reshape(-1, *images.shape[2:])
    return (watch.grid(tiles[:, i], columns=columns, factor=args.scale) for i in range(tiles.shape[1]))


def check(args: Arguments, out: Path) -> None:
    """UserError where the arguments do not make a picture or a film."""
    check_out(args.out, ".png", *film.FILMS)  # the arrays go into an .npz beside it
    film.check(args, out)
    if args.scale is not None and not film.is_film(out):
        raise UserError(f"--scale {args.scale} only applies to a film, {', '.join(film.FILMS)}; leave it out")
    if args.frames < 2:
        raise UserError(f"--frames {args.frames}: give at least 2")
    if args.n < 1:
        raise UserError(f"--n {args.n}: ask for at least one direction")
    if args.steps < 3 or args.steps % 2 == 0:
        raise UserError(f"--steps {args.steps}: give an odd number of at least 3; the middle one is the image itself")
    if not 0 < args.range < float("inf"):
        raise UserError(f"--range {args.range}: give a finite number above 0")
    if args.image < 0:
        raise UserError(f"--image {args.image}: images count from 0")
    beside = out.with_suffix(".npz")
    if beside.exists() and not (marks.of_arrays(beside).facts or {}).get("directions"):
        raise UserError(f"--out {args.out}: the arrays would overwrite {beside}, which holds something else; give another name")
    if args.method == "codes":
        for name in ("n", "layers", "local", "draws", "label", "noise"):
            if getattr(args, name) != getattr(Arguments(""), name):
                raise UserError(f"--{name}: --method codes shows every code of one image; leave it out")
    if args.draws is not None and args.draws > MOST:
        raise UserError(f"--draws {args.draws}: give at most {MOST:,}")
    if args.local and args.method != "jacobian":
        raise UserError(f"--local only applies to --method jacobian; {args.method} does not depend on one image")
    least = 2 if args.method == "pca" else 1
    if args.draws is not None and (args.local or args.method == "closed_form" or args.draws < least):
        raise UserError(f"--draws {args.draws}: give at least 1 for --method jacobian without --local, at least 2 for pca")


def main() -> None:
    args = parse(Arguments, prog="python -m experiments.directions", examples=EXAMPLES)
    out = Path(args.out)
    check(args, out)
    from experiments import safety

    trained = args.load()
    args = numbered(args, trained.config)
    image = trained.latents(1, seed=args.seed, label=args.label, psi=args.psi, first=args.image)
    images, arrays, what = (of_codes if args.method == "codes" else of_directions)(args, trained, image)
    said = (
        "method",
        "n",
        "range",
        "frames" if film.is_film(out) else "steps",
        "image",
        "seed",
        "label",
        "layers",
        "local",
        "draws",
        "psi",
        "noise",
        "average",
    )
    files = safety.output(args.run, trained, directions={name: getattr(args, name) for name in said})
    with writing(args.out):
        if film.is_film(out):
            shown = film.fitting(pictures(args, images), args, "reduce --scale or --n")
            files.write_film(shown, out, args.fps or 30.0, args.crf)
        else:
            files.write_picture(sheet(images), out)
        files.write_arrays(out.with_suffix(".npz"), {}, images, **arrays)
    print(f"{what} of {args.run} at step {trained.step}: {out}, {out.with_suffix('.npz').name}")


if __name__ == "__main__":
    run_command(main)
