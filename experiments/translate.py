"""`python -m experiments.sample RUN --source IMAGES`: what a trained generator makes of anybody's images."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from experiments import film
from experiments.safety import Output
from jaxgan import marks, restore, translate, video, watch
from jaxgan.data import degrade
from jaxgan.data.files import TAR_SUFFIXES
from jaxgan.data.frames import open_frames
from jaxgan.data.images import SEEN, Look, pixels
from jaxgan.data.loose import open_loose
from jaxgan.errors import UserError
from jaxgan.settings import made_alike

PIECE = 64
"""Images read, translated and written at once."""
Piece = tuple[int, np.ndarray, np.ndarray]
"""The number of the first image, source images, images."""


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
    captions: bool = False,
    noise: str | None = None,
    shown: film.OfFilm | None = None,
) -> tuple[int, list[str]]:
    """Translate every image of a file, folder or archive, or every frame of a film.

    Args:
      out: a .png gets a grid of the first n images, each beside its source; an .npz the arrays `images`, `sources` and `names`; a
        film all, in the order of their names, frame2 before frame10; anything else is a folder of images with the sources'
        names, as .png.
      written: what the files carry. Each image's facts name its source by a digest of its pixels.
      resize, skip_broken: as `open_loose`.
      seed, noise: of the generator's noise: 'random' per image, 'const', the same for all, or 'none'. None is const for a film,
        which would flicker, else random.
      mask: as `holes`: where pixels are missing the generator sees what `degrade.mask` shows, and nothing else is changed. ""
        for none.
      native: every image at its own size; `out` is a folder or a film.
      captions: the name below each source in a .png.
      shown: how a film is written.
    Returns:
      How many, and the names of broken ones that were left out.
    Raises:
      UserError: a generator that does not take images, or has no noise, images that do not fit.
    """
    generator = trained.generator
    if generator.z_dim:
        raise UserError("--source: this run makes images from noise, not from images; leave it out")
    if noise and not getattr(generator, "dropout", 0):
        raise UserError(f"--noise {noise}: this run's generator has no noise, as pix2pix's dropout; leave it out")
    alike = made_alike(trained.config.get("settings", {}))
    how = {"resize": resize, "skip_broken": skip_broken, **alike}
    size = (None, None) if native else generator.shape[:2]
    opener = open_frames if film.is_source(source) else open_loose
    names, read, skipped = opener(source, (*size, generator.source_channels), **how)
    if film.is_film(out):
        names, read = film.in_order(names, read)
    missing = holes(mask, names, size, resize, alike["fit"]) if mask and fills(trained) else None
    kind = marks.GENERATED if missing is None else marks.COMPOSITE
    how = {"random": {"seed": seed}, "const": {"seed": seed, "same": True}, "none": {"seed": None}}
    how = how[noise or ("const" if film.is_film(out) else "random")]
    made = partial(one_by_one if native else pieces, trained, read, missing=missing, **how)
    if film.is_film(out):
        write_film(made(len(names)), len(names), source, out, written, shown, kind)
        return len(names), skipped
    if out.suffix.lower() not in (".png", ".npz"):
        files = as_png(names)
        for first, sources, images in made(len(names)):
            for i, image in enumerate(images):
                facts = {"index": first + i, "source": hashlib.sha256(sources[i].tobytes()).hexdigest()}
                written.write_picture(watch.grid(image[None], pad=0, least=1), out / files[first + i], kind, **facts)
        return len(names), skipped
    count = min(n, len(names)) if out.suffix.lower() == ".png" else len(names)
    found = list(made(count))
    sources, images = (np.concatenate([piece[k] for piece in found]) for k in (1, 2))
    facts = {"index": list(range(count))}
    if out.suffix.lower() == ".npz":
        written.write_arrays(out, facts, images, sources=sources, names=np.array(names))
    else:
        columns = 2 * max(1, round(len(images) ** 0.5 / 2**0.5))
        said = [text for name in names[:count] for text in (name, "")] if captions else ()
        least = 1024 if columns > 8 or captions else 512
        sheet = watch.grid(translate.side_by_side(sources, images), columns=columns, least=least, captions=said)
        written.write_picture(sheet, out, marks.COMPOSITE, **facts)
    return count, skipped


def write_film(made: Iterator, n: int, source: str, out: Path, written: Output, shown: film.OfFilm, kind: str) -> None:
    """The n images that `pieces` or `one_by_one` give, as a film; by default as fast as the film that they are of."""
    with watch.counter("translating frames", n > PIECE) as update:

        def pictures():
            for first, _, images in made:
                yield from (watch.grid(image[None], pad=0, factor=shown.scale) for image in images)
                update(first + len(images), n)

        own = video.about(source).fps if film.is_source(source) else 0
        fps = shown.fps or min(own or 30.0, film.MOST_FPS[out.suffix.lower()])
        written.write_film(film.fitting(pictures(), shown, "reduce --scale"), out, fps, shown.crf, kind)


def pieces(trained: restore.Trained, read, n: int, seed: int | None, missing=None, same: bool = False) -> Iterator[Piece]:
    """The first n, up to PIECE at once; with holes in the sources, as `holes` gives them, which alone are filled. seed, same: as
    `translate.translate`."""
    for first in range(0, n, PIECE):
        index = range(first, min(first + PIECE, n))
        sources = np.stack([read(i) for i in index])
        hole = None if missing is None else np.stack([missing(i) for i in index])[..., None]
        sources = hidden(sources, hole)
        images = trained.translate(sources, seed=seed, same=same, first=0 if same else first)
        yield first, sources, images if hole is None else np.where(hole, images, sources)


def one_by_one(trained: restore.Trained, read, n: int, seed: int | None, missing=None, same: bool = False) -> Iterator[Piece]:
    """The same, each image by itself and at its own size."""
    for i in range(n):
        source, hole = read(i)[None], None if missing is None else missing(i)[None, :, :, None]
        if hole is not None and hole.shape[:3] != source.shape[:3]:
            sizes = ("x".join(map(str, a.shape[1:3])) for a in (source, hole))
            raise UserError("--mask: an image of {} has a mask of {}; with --native it must be as large".format(*sizes))
        source = hidden(source, hole)
        one = trained.at_size(*source.shape[1:3])
        made = translate.translate(one.generator, one.variables, source, seed=seed, first=0 if same else i, chunk=1)
        yield i, source, made if hole is None else np.where(hole, made, source)


def hidden(sources: np.ndarray, hole: np.ndarray | None) -> np.ndarray:
    """Images with holes, bool [n, H, W, 1], as `degrade.mask` shows them."""
    return sources if hole is None else np.where(hole, np.uint8([degrade.FILL] * 3 + [255])[: sources.shape[3]], sources)


def fills(trained: restore.Trained) -> bool:
    """True. UserError of a run that has not learned to fill holes."""
    generator, settings = trained.generator, trained.config.get("settings", {})
    own = settings.get("target") or settings.get("side_by_side") or "degrade" not in settings  # then nobody knows
    if not own and not any(name.split(":")[0] in ("mask", "centre") for name in settings["degrade"]):
        raise UserError("--mask: this run was not trained to fill holes, with --degrade mask or centre; leave it out")
    if generator.source_channels != generator.shape[2]:
        raise UserError("--mask: this run's images have other channels than their sources, so these cannot be kept; leave it out")
    return True


def holes(
    path: str, names: list[str], size: tuple[int | None, int | None], resize: bool, fit: str
) -> Callable[[int], np.ndarray]:
    """What --mask says is missing of image i of these names, bool [H, W]: where it is white, not transparent or padded.

    Args:
      path: one image for all, or a folder or an archive with one for each under its name, whatever the suffixes.
      size: that each shall have, or with `resize` is brought to, as `fit` says: pixels are missing then of which any part is.
        (None, None) for their own.
    Raises:
      UserError: no mask, or none for one of the images; from the function one that is white everywhere. One for all must be
        white somewhere, those of a folder need not.
    """
    at = Path(path).expanduser()
    try:
        if not at.exists():
            raise UserError(f"{path}: no such image, folder or archive")
        masks, read, _ = open_loose(path, (*((None, None) if resize else size), 1), background="black")
        several = at.is_dir() or path.lower().endswith((".zip", *TAR_SUFFIXES))
        stem = lambda name: str(PurePosixPath(name).with_suffix(""))
        place = {stem(mask): i for i, mask in enumerate(masks)} | {mask: i for i, mask in enumerate(masks)}
        of = [place.get(name, place.get(stem(name))) if several else 0 for name in names]
        if None in of:
            name = names[of.index(None)]
            raise UserError(f"{path}: no mask for {name}; give a {stem(name)}.png, black where nothing is missing")
    except UserError as e:
        raise UserError(f"--mask {e}") from None

    def missing(i: int) -> np.ndarray:
        found = read(of[i])[..., 0] >= 128
        if resize:  # where anything of the damage has gone, as the sources are resized likewise
            small = pixels(Image.fromarray(found), Look(size, 1, (0, 0, 0), fit))[..., 0]
            found = small >= SEEN
        if found.all() or not (several or found.any()):
            said = f"{path}/{masks[of[i]]}" if several else path
            raise UserError(f"--mask {said}: {'all' if found.all() else 'none'} of it is white; white is what is missing")
        return found

    if not several:
        missing(0)
    return missing


def as_png(names: list[str]) -> list[str]:
    """The names with the suffix .png in place of their own; after it where two would be the same."""
    files = [str(PurePosixPath(name).with_suffix(".png")) for name in names]
    times = Counter(files)
    told = [file if times[file] == 1 else f"{name}.png" for name, file in zip(names, files, strict=True)]
    return told if len(set(told)) == len(told) else [f"{name}.png" for name in names]


if __name__ == "__main__":
    raise SystemExit("error: this is a part of python -m experiments.sample RUN --source IMAGES")
