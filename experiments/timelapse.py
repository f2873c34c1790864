"""`python -m experiments.timelapse RUN [--fps 10] [--every 1] [--hold 20] [--captions] --out timelapse.mp4`: a run's samples as
a film of its training: images of the same latents, again and again."""

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import tyro
from PIL import Image

from experiments import film
from experiments.cli import check_out, parse, run_command, writing
from experiments.film import OfFilm
from jaxgan.errors import UserError


@dataclasses.dataclass(frozen=True)
class Arguments(OfFilm):
    """Make a film of a run's samples/: how the images of the same latents change in training, as far as it is."""

    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """The run directory; the run may still go on. `--snapshot-kimg` of the training says how many pictures there are."""
    every: int = 1
    """Take every so many-th picture, and the last."""
    hold: int = 20
    """So many more frames stay at the last picture."""
    captions: bool = False
    """Below each picture, how many kimg it is of."""
    background: str = "white"
    """Colour to lay pictures with transparency on."""
    out: str = "timelapse.webp"
    """An .mp4 or .webm (which need `pip install "jaxgan[video]"`), a .webp (lossless) or a .gif."""


def snapshots(run: str) -> list[tuple[float, Path]]:
    """The kimg and the path of each of its sheets, in their order. UserError where there are none."""
    folder = Path(run).expanduser() / "samples"
    named = ((re.fullmatch(r"kimg(\d+(?:\.\d+)?)\.png", path.name), path) for path in folder.glob("kimg*.png"))
    found = sorted((float(name[1]), path) for name, path in named if name)
    if not found:
        raise UserError(f"{run}: there are no pictures in {folder}; give a run directory, in which something was trained")
    return found


def chosen(found: list, every: int) -> list:
    """Every so many-th, and the last."""
    return found[:-1:every] + found[-1:]


def opened(path: Path) -> Image.Image:
    """A sheet. UserError where it is broken."""
    try:
        with Image.open(path) as picture:
            picture.load()
        return picture
    except (OSError, SyntaxError, ValueError) as e:
        raise UserError(f"{path}: it cannot be read ({e}); remove it, or take it from a copy") from None


def frames(args: Arguments, taken: list[tuple[float, Path]]) -> Iterator[Image.Image]:
    """The pictures, all of the size of the last: networks that grow begin with smaller ones."""
    from jaxgan import watch
    from jaxgan.captions import captioned
    from jaxgan.data.images import colour

    last = opened(taken[-1][1])
    size, ground, picture = (last.width * (args.scale or 1), last.height * (args.scale or 1)), colour(args.background), last
    with watch.counter("drawing frames", len(taken) > 100) as update:
        for i, (kimg, path) in enumerate(taken):
            picture = opened(path)
            if picture.mode == "RGBA":
                picture = Image.alpha_composite(Image.new("RGBA", picture.size, (*ground, 255)), picture).convert("RGB")
            picture = picture.convert("L" if last.mode == "L" else "RGB").resize(size, Image.Resampling.NEAREST)
            picture = captioned(picture, [f"{kimg:.10g} kimg"], 1, picture.height) if args.captions else picture
            yield picture
            update(i + 1, len(taken))
    for _ in range(args.hold):
        yield picture


def check(args: Arguments, out: Path) -> None:
    """UserError where the arguments do not make a film."""
    check_out(args.out, *film.FILMS)
    film.check(args, out)
    for name, least in (("every", 1), ("hold", 0)):
        if getattr(args, name) < least:
            raise UserError(f"--{name} {getattr(args, name)}: give at least {least}")


def main() -> None:
    args = parse(Arguments, prog="python -m experiments.timelapse", examples=("runs/digits --captions --out timelapse.mp4",))
    out = Path(args.out)
    check(args, out)
    from experiments import safety
    from jaxgan import marks

    found = snapshots(args.run)
    if len(found) == 1:
        raise UserError(
            f"{args.run}: there is one picture only, of {found[0][0]:.10g} kimg; a smaller --snapshot-kimg makes more"
        )
    taken = chosen(found, args.every)
    kimg = [taken[0][0], taken[-1][0]]
    facts = {"generated": True, "run": Path(args.run).resolve().name, "timelapse": {"kimg": kimg, "every": args.every}}
    kind = marks.of_picture(opened(taken[-1][1])).kind or marks.GENERATED
    pictures = film.fitting(frames(args, taken), args, "reduce --scale")
    with writing(args.out):
        n = safety.Output(facts).write_film(pictures, out, args.fps or 10.0, args.crf, kind)
    said = f"{len(taken)} pictures of {args.run}, {kimg[0]:.10g} to {kimg[1]:.10g} kimg"
    print(f"{said}: {out}, {n / (args.fps or 10):.4g} s")


if __name__ == "__main__":
    run_command(main)
