"""Anybody's images, one or many, for a generator that takes images: read by name, checked before the first is used."""

import os
from collections.abc import Callable

import numpy as np

from jaxgan.data import files, images
from jaxgan.data.source import Items
from jaxgan.errors import UserError, one_line


def open_loose(
    path: str,
    shape: tuple[int | None, int | None, int],
    *,
    resize: bool = False,
    split: str = "train",
    background: str = "white",
    fit: str = "crop",
    skip_broken: bool = False,
) -> tuple[list[str], Callable[[int], np.ndarray], list[str]]:
    """The images of a file, folder or archive.

    Args:
      path: an image file, a folder or a .zip or .tar of them.
      shape: (H, W, C) that each shall have; grey and colour are converted. H and W None: each keeps its own size.
      resize: bring images of another size to H, W, as `fit` says; else they are refused.
      split: of a folder with train/, test/ and the like.
      background: colour under transparent pixels.
      fit: as `open_source`.
      skip_broken: decode every image first and leave out those that are broken; else the first such is an error.
    Returns:
      Their names below the folder, a function from a number to uint8 [H, W, C], and the names of those left out.
    Raises:
      UserError: nothing there (or nothing whole), an image that is broken or has another size; from the function too.
    """
    items = _items(os.path.expanduser(path), path, split)
    look = images.Look(shape[:2], shape[2], images.colour(background), images.checked_fit(fit))
    sized = lambda im: look if shape[0] else look._replace(size=images.header(im).size)
    mend = "mend or remove it, or pass --skip-broken" if len(items.names) > 1 else "give another"

    def opened(i, use):
        try:
            with items.image(i) as im:
                return use(im)
        except UserError as e:
            raise Broken(f"{items.where}: {items.names[i]}: {e}") from None
        except Exception as e:  # PIL's decoders raise OSError, SyntaxError, ValueError, struct.error, zlib.error, ...
            raise Broken(f"{items.where}: {items.names[i]} is broken ({one_line(e)}); {mend}") from None

    def checked(im):
        size = images.header(im).size
        if skip_broken:
            images.pixels(im, sized(im))
        return size

    kept, skipped = [], []
    for i, name in enumerate(items.names):
        try:
            h, w = opened(i, checked)
        except Broken:
            if not skip_broken:
                raise
            skipped.append(name)
            continue
        kept.append(i)
        if shape[0] and (h, w) != tuple(shape[:2]) and not resize:
            said = f"{items.where}: {name} has {h}x{w}, the generator takes {shape[0]}x{shape[1]}"
            raise UserError(f"{said}; pass --resize to resize such images; sample keeps their sizes with --native")
    if not kept:
        raise UserError(f"{items.where}: none of its {len(items.names)} images can be read")
    return [items.names[i] for i in kept], lambda i: opened(kept[i], lambda im: images.pixels(im, sized(im))), skipped


class Broken(UserError):
    """An image that cannot be read."""


def _items(path, said, split) -> Items:
    if items := files.opened(path, split):
        return items
    if not os.path.isfile(path):
        raise UserError(f"{said}: no such image, folder or archive")
    if path.lower().endswith((".npz", ".npy")):
        raise UserError(f"{said}: arrays are not read here; give an image, or a folder or archive of images")
    return files.items(said, [os.path.basename(path)], None, (), lambda _: open(path, "rb"), lambda *_: "")
