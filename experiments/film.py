"""What the commands that write films share: their options, what each kind of file can hold."""

import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path

from PIL import Image

from jaxgan import video
from jaxgan.errors import UserError

FILMS = (*video.KINDS, ".webp", ".gif")
MOST_PIXELS = {".webp": 16383, ".gif": 65535} | dict.fromkeys(video.KINDS, video.MOST)
MOST_GIF = 50
"""Pictures a second of a GIF: viewers slow down at less than 2/100 s a picture."""


@dataclasses.dataclass(frozen=True)
class OfFilm:
    """The arguments of the commands that write films."""

    fps: float | None = dataclasses.field(default=None, kw_only=True)
    """Frames per second of a film; by default 30, of a timelapse 10."""
    crf: int | None = dataclasses.field(default=None, kw_only=True)
    """Quality of an .mp4 (default 17) or .webm (default 20), the encoder's constant rate factor: 0 is the best and
    largest."""


def is_film(out: str | Path) -> bool:
    return Path(out).suffix.lower() in FILMS


def check(args: OfFilm, out: Path) -> None:
    """UserError where the options do not make such a film, or PyAV is missing."""
    suffix = out.suffix.lower()
    if args.fps is not None and suffix not in FILMS:
        raise UserError(f"--fps {args.fps:g} only applies to a film, {', '.join(FILMS[:-1])} or {FILMS[-1]}; leave it out")
    if args.crf is not None and suffix not in video.KINDS:
        raise UserError(f"--crf {args.crf} only applies to an {' or '.join(video.KINDS)}; leave it out")
    most = MOST_GIF if suffix == ".gif" else 1000
    if args.fps is not None and not 0.01 <= args.fps <= most:
        raise UserError(f"--fps {args.fps:g}: give 0.01 to {MOST_GIF} for a .gif, to 1000 for the others")
    if suffix in video.KINDS:
        if args.crf is not None and not 0 <= args.crf <= video.KINDS[suffix].worst:
            raise UserError(f"--crf {args.crf}: give 0, the best, to {video.KINDS[suffix].worst}")
        video.library()


def fitting(pictures: Iterable[Image.Image], args, mend: str) -> Iterator[Image.Image]:
    """The pictures, where the format takes ones as large; else a UserError at the first, which says how to mend it."""
    suffix = Path(args.out).suffix.lower()
    most = MOST_PIXELS[suffix]
    for picture in pictures:
        if max(picture.size) > most:
            size = f"frames of {picture.width}x{picture.height} pixels"
            raise UserError(f"--out {args.out}: {size}, but this format allows at most {most} along a side; {mend}")
        yield picture


if __name__ == "__main__":
    raise SystemExit("error: this is a part of python -m experiments.walk, timelapse and sample --source")
