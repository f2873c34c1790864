"""`python -m experiments.sample RUN --source IMAGES`: what a trained generator makes of anybody's images."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np

from experiments.safety import Output
from jaxgan import marks, restore, translate, watch
from jaxgan.data import degrade
from jaxgan.data.loose import open_loose
from jaxgan.errors import UserError
from jaxgan.settings import made_alike

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
    skip_broken: bool = False,
    mask: str = "",
    native: bool = False,
) -> tuple[int, list[str]]:
    """Translate every image of a file, folder or archive.

    Args:
      out: a .png gets a grid of the first n images, each beside its source; an .npz the arrays `images`, `sources` and `names`;
        anything else is a folder of images with the sources' names, as .png.
      written: what the files carry. Each image's facts name its source by a digest of its pixels.
      resize, skip_broken, seed: as `open_loose` and `translate.translate`.
      mask: an image that is white where pixels are missing: there the generator sees what `degrade.mask` shows, and nothing else
        is changed. "" for none.
      native: every image at its own size; `out` is a folder.
    Returns:
      How many, and the names of broken ones that were left out.
    Raises:
      UserError: a generator that does not take images, images that do not fit.
    """
    generator = trained.generator
    if generator.z_dim:
        raise UserError("--source: this run makes images from noise, not from images; leave it out")
    alike = made_alike(trained.config.get("settings", {}))
    how = {"resize": resize, "skip_broken": skip_broken, **alike}
    missing = holes(mask, generator.shape[:2], resize, alike["fit"])[..., None] if mask and fills(trained) else None
    size = (None, None) if native else generator.shape[:2]
    names, read, skipped = open_loose(source, (*size, generator.source_channels), **how)
    kind = marks.GENERATED if missing is None else marks.COMPOSITE
    if out.suffix.lower() not in (".png", ".npz"):
        files = as_png(names)
        made = one_by_one(trained, read, len(names), seed) if native else pieces(trained, read, len(names), seed, missing)
        for first, sources, images in made:
            for i, image in enumerate(images):
                facts = {"index": first + i, "source": hashlib.sha256(sources[i].tobytes()).hexdigest()}
                written.write_picture(watch.grid(image[None], pad=0, least=1), out / files[first + i], kind, **facts)
        return len(names), skipped
    count = min(n, len(names)) if out.suffix.lower() == ".png" else len(names)
    found = list(pieces(trained, read, count, seed, missing))
    sources, images = (np.concatenate([piece[k] for piece in found]) for k in (1, 2))
    facts = {"index": list(range(count))}
    if out.suffix.lower() == ".npz":
        written.write_arrays(out, facts, images, sources=sources, names=np.array(names))
    else:
        columns = 2 * max(1, round(len(images) ** 0.5 / 2**0.5))
        sheet = watch.grid(translate.side_by_side(sources, images), columns=columns, least=1024 if columns > 8 else 512)
        written.write_picture(sheet, out, marks.COMPOSITE, **facts)
    return count, skipped


def pieces(trained: restore.Trained, read, n: int, seed: int, missing=None) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """(number of the first, source images, images) of the first n, up to PIECE at once; with holes `missing`, bool [H, W, 1], in
    the sources, which alone are filled."""
    for first in range(0, n, PIECE):
        sources = np.stack([read(i) for i in range(first, min(first + PIECE, n))])
        if missing is not None:
            hidden = np.array([degrade.FILL] * 3 + [255], np.uint8)[: sources.shape[3]]
            sources = np.where(missing, hidden, sources)
        images = trained.translate(sources, seed=seed, first=first)
        yield first, sources, images if missing is None else np.where(missing, images, sources)


def one_by_one(trained: restore.Trained, read, n: int, seed: int) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """The same, each image by itself and at its own size."""
    for i in range(n):
        source = read(i)[None]
        one = trained.at_size(*source.shape[1:3])
        yield i, source, translate.translate(one.generator, one.variables, source, seed=seed, first=i, chunk=1)


def fills(trained: restore.Trained) -> bool:
    """True. UserError of a run that has not learned to fill holes."""
    generator, settings = trained.generator, trained.config.get("settings", {})
    own = settings.get("target") or settings.get("side_by_side") or "degrade" not in settings  # then nobody knows
    if not own and not any(name.split(":")[0] in ("mask", "centre") for name in settings["degrade"]):
        raise UserError("--mask: this run was not trained to fill holes, with --degrade mask or centre; leave it out")
    if generator.source_channels != generator.shape[2]:
        raise UserError("--mask: this run's images have other channels than their sources, so these cannot be kept; leave it out")
    return True


def holes(path: str, size: tuple[int, int], resize: bool, fit: str) -> np.ndarray:
    """What --mask says is missing, bool [H, W]: where that image is white, not where it is transparent or padded."""
    if not Path(path).expanduser().is_file():
        raise UserError(f"--mask {path}: no such image")
    try:
        _, one, _ = open_loose(path, (*size, 1), resize=resize, background="black", fit=fit)
        missing = one(0)[..., 0] >= 128
    except UserError as e:
        raise UserError(f"--mask {e}") from None
    if missing.all() or not missing.any():
        raise UserError(f"--mask {path}: {'all' if missing.all() else 'none'} of it is white; white is what is missing")
    return missing


def as_png(names: list[str]) -> list[str]:
    """The names with the suffix .png in place of their own; after it where two would be the same."""
    files = [str(PurePosixPath(name).with_suffix(".png")) for name in names]
    times = Counter(files)
    told = [file if times[file] == 1 else f"{name}.png" for name, file in zip(names, files, strict=True)]
    return told if len(set(told)) == len(told) else [f"{name}.png" for name in names]


if __name__ == "__main__":
    raise SystemExit("error: this is a part of python -m experiments.sample RUN --source IMAGES")
