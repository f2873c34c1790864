"""What the commands that write films share: their options, what each kind of file can hold."""

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from PIL import Image

from jaxgan import video
from jaxgan.errors import UserError

FILMS = (*video.KINDS, ".webp", ".gif")
MOST_PIXELS = {".webp": 16383, ".gif": 65535} | dict.fromkeys(video.KINDS, video.MOST)
MOST_FPS = dict.fromkeys(FILMS, 1000) | {".gif": 50}
"""Pictures a second. Viewers slow down a GIF at less than 2/100 s a picture."""
SOURCES = (".mp4", ".mov", ".webm", ".mkv", ".avi", ".m4v")
"""What is read as a film, by FFmpeg, and not as an image."""


@dataclasses.dataclass(frozen=True)
class OfFilm:
    """The arguments of the commands that write films."""

    fps: float | None = dataclasses.field(default=None, kw_only=True)
    """Frames per second of a film; by default 30, of a timelapse 10, of a translated film its own."""
    crf: int | None = dataclasses.field(default=None, kw_only=True)
    """Quality of an .mp4 (default 17) or .webm (default 20), the encoder's constant rate factor: 0 is the best and
    largest."""
    scale: int | None = dataclasses.field(default=None, kw_only=True)
    """Factor by which the pixels of a film are enlarged; by default small ones are to about 512 pixels of width."""


def is_film(out: str | Path) -> bool:
    return Path(out).suffix.lower() in FILMS


def is_source(path: str | Path) -> bool:
    return Path(path).suffix.lower() in SOURCES


def in_order(names: list[str], read: Callable) -> tuple[list[str], Callable]:
    """Names and what reads them by number, with frame2 before frame10."""
    key = lambda i: [int(part) if k % 2 else part for k, part in enumerate(re.split(r"(\d+)", names[i]))]
    order = sorted(range(len(names)), key=key)
    return [names[i] for i in order], lambda i: read(order[i])


def check(args: OfFilm, out: Path) -> None:
    """UserError where the options do not make such a film, or PyAV is missing."""
    suffix = out.suffix.lower()
    if args.fps is not None and suffix not in FILMS:
        raise UserError(f"--fps {args.fps:g} only applies to a film, {', '.join(FILMS[:-1])} or {FILMS[-1]}; leave it out")
    if args.crf is not None and suffix not in video.KINDS:
        raise UserError(f"--crf {args.crf} only applies to an {' or '.join(video.KINDS)}; leave it out")
    if args.fps is not None and not 0.01 <= args.fps <= MOST_FPS[suffix]:
        raise UserError(f"--fps {args.fps:g}: give 0.01 to {MOST_FPS['.gif']} for a .gif, to 1000 for the others")
    if args.scale is not None and args.scale < 1:
        raise UserError(f"--scale {args.scale}: give a whole number of at least 1")
    if suffix in video.KINDS:
        if args.crf is not None and not 0 <= args.crf <= video.KINDS[suffix].worst:
            raise UserError(f"--crf {args.crf}: give 0, the best, to {video.KINDS[suffix].worst}")
        video.library()


def fitting(pictures: Iterable[Image.Image], args, mend: str) -> Iterator[Image.Image]:
    """The pictures, where the format takes ones as large, and they have one size; else a UserError, which says how to mend it."""
    most, first = MOST_PIXELS[Path(args.out).suffix.lower()], None
    for picture in pictures:
        first = first or picture.size
        if picture.size != first:
            sizes = " and ".join(f"{width}x{height}" for width, height in (first, picture.size))
            raise UserError(f"--out {args.out}: frames of {sizes} pixels; those of a film have one size")
        if max(picture.size) > most:
            size = f"frames of {picture.width}x{picture.height} pixels"
            raise UserError(f"--out {args.out}: {size}, but this format allows at most {most} along a side; {mend}")
        yield picture


if __name__ == "__main__":
    raise SystemExit("error: this is a part of python -m experiments.walk, timelapse and sample --source")
