"""`python -m experiments.verify FILES [--watermark KEY]`: what image files and films declare, and whether they carry a watermark.

Exit code 0: every file declares that it is generated; with --watermark: the watermark was found. 1: not so. 2: unreadable file.
"""

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from PIL import Image

from experiments.cli import parse, run_command, secret
from jaxgan import marks, video, watch, watermark
from jaxgan.data import images
from jaxgan.data.source import some
from jaxgan.errors import UserError, one_line

SUFFIXES = (".npz", *images.SUFFIXES, *video.KINDS)
"""What is taken of a folder."""
MOST = 1000
"""Characters that are printed of a file's facts, which anybody can have written."""


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Read the metadata of images and films, which anyone can write or remove, or detect a watermark, which is harder to
    remove."""

    files: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[FILE ...]")]
    """Images, .npz of images, films (.mp4, .webm), or folders of them."""
    watermark: str | None = None
    """The text that the images were watermarked with, or @FILE that holds it. Prints the score of each file and the joint score
    of all files, which finds marks too weak in single small images; it assumes that all files carry this key's mark or none
    does."""
    cropped: bool = False
    """Detect the watermark in crops of images and in mirrored ones; each file must then have it."""
    size: tuple[int, int] | None = None
    """H W of the images when they were watermarked; resized images are scaled back to it before detection."""


def found(names: tuple[str, ...], watermark: bool = False) -> list[Path]:
    """The files of these names, and those in folders, in order; where a watermark is looked for, without the films in folders."""
    files = []
    for name in names:
        path = Path(name).expanduser()
        inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES) if path.is_dir() else [path]
        if watermark and path.is_dir() and (films := [p for p in inside if p.suffix.lower() in video.KINDS]):
            print(f"note: films have no watermark; left out in {name}: {some([str(p.relative_to(path)) for p in films])}")
            inside = [p for p in inside if p not in films]
        if not inside:
            raise UserError(f"{name}: there are no images in this folder")
        files += inside
    if not files:
        raise UserError("give one or more files")
    return files


def look(path: Path, size: tuple[int, int] | None) -> tuple[marks.Said, np.ndarray]:
    """What a file says, and its images uint8 [n, H, W, C], of a film none. UserError where there are none to be read."""
    if path.suffix.lower() in video.KINDS:
        return marks.of_comment(video.about(path).comment), np.empty((0, 1, 1, 3), np.uint8)
    arrays = path.suffix.lower() == ".npz"
    if arrays and size is not None:
        raise UserError(f"--size: {path} holds arrays, which are never resized; verify it without --size")
    try:
        if arrays:
            with np.load(path, allow_pickle=False) as file:
                found = file["images"]
            return marks.of_arrays(path), found.reshape(-1, *found.shape[-3:])
        with path.open("rb") as file, images.open_image(file) as picture:
            picture.load()
            said = marks.of_picture(picture)
            picture = images.upright(picture)
            mode = picture.mode if picture.mode in ("L", "RGB", "RGBA") else "RGBA" if "transparency" in picture.info else "RGB"
            pixels = picture.convert(mode)
            pixels = np.asarray(pixels if size is None else pixels.resize(size[::-1], Image.Resampling.BICUBIC))
            return said, pixels.reshape(1, *pixels.shape[:2], -1)
    except Exception as e:  # of damage PIL, zipfile, NumPy, ... say many things
        why = e.strerror if isinstance(e, OSError) and e.strerror else one_line(e)
        raise UserError(f"{path}: it cannot be read as images ({why})") from None


def words(said: marks.Said) -> str:
    """What a file says, in one line without control characters."""
    kind = f"generated (IPTC {said.kind})" if said.kind in (marks.GENERATED, marks.COMPOSITE) else f"IPTC {said.kind}"
    kind = kind if said.kind else "says nothing of its source"
    if said.facts is None:
        return kind
    text = json.dumps(shortened(said.facts))
    return f"{kind} {text if len(text) <= MOST else text[:MOST] + '...'}"


def shortened(facts: dict) -> dict:
    """Long lists as their first, last and number, and digests by their beginning."""
    short = lambda v: f"{v[0]}...{v[-1]} ({len(v)})" if isinstance(v, list) and len(v) > 8 else v
    return {name: v[:12] if name in ("weights", "source") and isinstance(v, str) else short(v) for name, v in facts.items()}


def of_all(path: Path, pixels: np.ndarray) -> np.ndarray:
    """`watermark.evidence` of a file's images together. UserError where they are none that can be marked."""
    if path.suffix.lower() in video.KINDS:
        raise UserError(f"{path}: films have no watermark, only what they say of themselves; leave out --watermark, or the film")
    if not len(pixels):
        raise UserError(f"{path}: it holds no images")
    try:
        return sum(watermark.evidence(pixels[i : i + 64]).sum(0, keepdims=True) for i in range(0, len(pixels), 64))
    except ValueError as e:
        raise UserError(f"{path}: {e}") from None


def main() -> int:
    args = parse(Arguments, prog="python -m experiments.verify", examples=("samples.png", "images/ --watermark KEY"))
    args = dataclasses.replace(args, watermark=secret(args.watermark))
    if args.watermark is not None:
        watermark.signs(args.watermark)
    if (args.cropped or args.size) and not args.watermark:
        raise UserError("--cropped and --size only apply to the watermark test; give --watermark too")
    if args.size and min(args.size) < 1:
        raise UserError(f"--size {args.size[0]} {args.size[1]}: both must be at least 1")
    files, said, least, total = found(args.files, bool(args.watermark)), [], np.inf, 0.0
    with watch.counter("reading", len(files) > 100) as update:
        for path in files:
            says, pixels = look(path, args.size)
            said.append(says)
            name = str(path)
            line = f"{name if name.isprintable() else ascii(name)}: {words(says)}"  # a line break could feign another file
            if args.watermark:
                evidence = of_all(path, pixels)
                score = float(watermark.score(evidence, args.watermark, cropped=args.cropped)[0])
                least, total = min(least, score), total + evidence
                line += f"; watermark score {score:.1f}"
            print(line)
            update(len(said), len(files))
    if not args.watermark:
        return 0 if all(s.kind in (marks.GENERATED, marks.COMPOSITE) for s in said) else 1
    score = least if args.cropped else float(watermark.score(total, args.watermark)[0])
    what = "the least of all" if args.cropped else "all together"
    print(
        f"{len(files)} files: watermark {'found' if score >= watermark.FOUND else 'not found'}, score {score:.1f} of {what} "
        f"(found is {watermark.FOUND:g} and more, which a file without it has once in 3.5 million)"
    )
    return 0 if score >= watermark.FOUND else 1


if __name__ == "__main__":
    run_command(main)
