"""The frames of anybody's film, for a generator that takes images."""

from collections.abc import Callable

import numpy as np
from PIL import Image

from jaxgan import video
from jaxgan.data import images
from jaxgan.errors import UserError


def open_frames(
    path: str,
    shape: tuple[int | None, int | None, int],
    *,
    resize: bool = False,
    background: str = "white",
    fit: str = "crop",
    skip_broken: bool = False,
) -> tuple[list[str], Callable[[int], np.ndarray], list[str]]:
    """The frames of a film as `open_loose` gives images. All are decoded once to count them, and again when they are read, one
    after the other: read in another order they take as long as from the beginning.

    Args:
      path, shape, resize, background, fit: as `open_loose`.
      skip_broken: changes nothing; damaged frames are as the decoder mends them.
    Returns:
      Names, frame000000.png and on, a function from a number to uint8 [H, W, C], and no names.
    Raises:
      UserError: no film, or one whose frames have another size.
    """
    n, size = 0, None
    for frame in video.read(path):
        n, size = n + 1, frame.shape[:2]
        if shape[0] and size != tuple(shape[:2]) and not resize:
            said = f"{path}: its frames have {size[0]}x{size[1]}, the generator takes {shape[0]}x{shape[1]}"
            raise UserError(f"{said}; pass --resize to resize them; sample keeps their size with --native")
    if not n:
        raise UserError(f"{path}: there are no frames in it")
    look = images.Look(shape[:2] if shape[0] else size, shape[2], images.colour(background), images.checked_fit(fit))
    at, frames = 0, video.read(path)

    def read(i: int) -> np.ndarray:
        nonlocal at, frames
        if i < at:
            at, frames = 0, video.read(path)
        while at <= i:
            frame, at = next(frames), at + 1
        return images.pixels(Image.fromarray(frame), look)

    return [f"frame{i:06d}.png" for i in range(n)], read, []
