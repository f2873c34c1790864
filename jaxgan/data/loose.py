"""Anybody's images, one or many, for a generator that takes images: read by name, checked before the first is used."""

import os
from collections.abc import Callable
from contextlib import contextmanager

import numpy as np

from jaxgan.data import files, images
from jaxgan.data.source import Items
from jaxgan.errors import UserError


def open_loose(
    path: str, shape: tuple[int, int, int], *, resize: bool = False, split: str = "train", background: str = "white"
) -> tuple[list[str], Callable[[int], np.ndarray]]:
    """The images of a file, folder or archive.

    Args:
      path: an image file, a folder or a .zip or .tar of them.
      shape: (H, W, C) that each shall have; grey and colour are converted.
      resize: scale images of another size to cover H, W and cut the centre; else they are refused.
      split: of a folder with train/, test/ and the like.
      background: colour under transparent pixels.
    Returns:
      Their names below the folder, and a function from a number to uint8 [H, W, C].
    Raises:
      UserError: nothing there, an image that is broken or has another size; from the function too.
    """
    items = _items(os.path.expanduser(path), path, split)
    look = images.Look(shape[:2], shape[2], images.colour(background))

    def opened(i, use):
        try:
            with items.image(i) as im:
                return use(im)
        except UserError as e:
            raise UserError(f"{items.where}: {items.names[i]}: {e}") from None
        except Exception as e:  # PIL's decoders raise OSError, SyntaxError, ValueError, struct.error, zlib.error, ...
            why = " ".join(str(e).split()) or type(e).__name__
            raise UserError(f"{items.where}: {items.names[i]} is broken ({why}); fix or remove it") from None

    for i in range(len(items.names)):
        h, w = opened(i, images.header).size
        if (h, w) != tuple(shape[:2]) and not resize:
            raise UserError(
                f"{items.where}: {items.names[i]} has {h}x{w}, the generator takes {shape[0]}x{shape[1]}; "
                "pass --resize to resize and crop such images"
            )
    return list(items.names), lambda i: opened(i, lambda im: images.pixels(im, look))


def _items(path, said, split) -> Items:
    if os.path.isdir(path):
        return files.folder(path, split)
    if not os.path.isfile(path):
        raise UserError(f"{said}: no such image, folder or archive")
    if path.lower().endswith((".npz", ".npy")):
        raise UserError(f"{said}: arrays are not read here; give an image, or a folder or archive of images")
    if path.lower().endswith((".zip", *files.TAR_SUFFIXES)):
        return files.archive(path, split)

    @contextmanager
    def image(_):
        with open(path, "rb") as file, images.open_image(file) as im:
            yield im

    return Items(said, [os.path.basename(path)], image, lambda i: "", None, ())
