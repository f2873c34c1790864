"""`python -m experiments.sample RUN --source IMAGES`: what a trained generator makes of anybody's images."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np

from experiments.safety import Output
from jaxgan import marks, restore, translate, watch
from jaxgan.data.loose import open_loose
from jaxgan.errors import UserError

PIECE = 64
"""Images read, translated and written at once."""


def write(
    trained: restore.Trained,
    source: str,
    out: Path,
    written: Output,
    *,
    resize: bool,
    seed: int,
    n: int,
    background: str = "white",
    skip_broken: bool = False,
) -> tuple[int, list[str]]:
    """Translate every image of a file, folder or archive.

    Args:
      out: a .png gets a grid of the first n images, each beside its source; an .npz the arrays `images`, `sources` and `names`;
        anything else is a folder of images with the sources' names, as .png.
      written: what the files carry. Each image's facts name its source by a digest of its pixels.
      resize, background, skip_broken, seed: as `open_loose` and `translate.translate`.
    Returns:
      How many, and the names of broken ones that were left out.
    Raises:
      UserError: a generator that does not take images, images that do not fit.
    """
    generator = trained.generator
    if generator.z_dim:
        raise UserError("--source: this run makes images from noise, not from images; leave it out")
    how = {"resize": resize, "background": background, "skip_broken": skip_broken}
    names, read, skipped = open_loose(source, (*generator.shape[:2], generator.source_channels), **how)
    if out.suffix.lower() not in (".png", ".npz"):
        files = as_png(names)
        for first, sources, images in pieces(trained, read, len(names), seed):
            for i, image in enumerate(images):
                facts = {"index": first + i, "source": hashlib.sha256(sources[i].tobytes()).hexdigest()}
                written.write_picture(watch.grid(image[None], pad=0, least=1), out / files[first + i], **facts)
        return len(names), skipped
    count = min(n, len(names)) if out.suffix.lower() == ".png" else len(names)
    found = list(pieces(trained, read, count, seed))
    sources, images = (np.concatenate([piece[k] for piece in found]) for k in (1, 2))
    facts = {"index": list(range(count))}
    if out.suffix.lower() == ".npz":
        written.write_arrays(out, facts, images, sources=sources, names=np.array(names))
    else:
        columns = 2 * max(1, round(len(images) ** 0.5 / 2**0.5))
        sheet = watch.grid(translate.side_by_side(sources, images), columns=columns, least=1024 if columns > 8 else 512)
        written.write_picture(sheet, out, marks.COMPOSITE, **facts)
    return count, skipped


def pieces(trained: restore.Trained, read, n: int, seed: int) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """(number of the first, source images, images) of the first n, up to PIECE at once."""
    for first in range(0, n, PIECE):
        sources = np.stack([read(i) for i in range(first, min(first + PIECE, n))])
        yield first, sources, trained.translate(sources, seed=seed, first=first)


def as_png(names: list[str]) -> list[str]:
    """The names with the suffix .png in place of their own; after it where two would be the same."""
    files = [str(PurePosixPath(name).with_suffix(".png")) for name in names]
    times = Counter(files)
    told = [file if times[file] == 1 else f"{name}.png" for name, file in zip(names, files, strict=True)]
    return told if len(set(told)) == len(told) else [f"{name}.png" for name in names]


if __name__ == "__main__":
    raise SystemExit("error: this is a part of python -m experiments.sample RUN --source IMAGES")
