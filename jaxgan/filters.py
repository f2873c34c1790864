"""Filter a stream of generated images by a test: the next images replace rejected ones, and each image keeps its index in the
stream."""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np

from jaxgan.errors import UserError

FIRST = 256
"""Number of images to test before concluding that nearly all are rejected."""


class Kept(NamedTuple):
    """A piece of a stream after the test."""

    index: np.ndarray
    """int64 [k], ascending: the images' indices in the stream."""
    images: np.ndarray
    """uint8 [k, H, W, C]"""
    refused: np.ndarray
    """int64 [r]: the indices rejected in this piece."""


def filtered(
    stream: Callable[[int], Iterable[np.ndarray]],
    accept: Callable[[np.ndarray], np.ndarray] | None,
    n: int,
    *,
    groups: int = 1,
    least: float = 0.05,
) -> Iterator[Kept]:
    """The first n images of a stream that a test accepts.

    `for piece in filtered(lambda m: g.stream(m, seed=0), harmless, 64): ...`

    Args:
      stream: m -> pieces uint8 [k, H, W, C] of its first m images, which are the same whatever m is, as those of `sample.stream`.
      accept: uint8 [k, H, W, C] -> bool [k]; True keeps an image. It is called once per piece. None keeps all.
      n: images to keep, at least 1.
      groups: image i belongs to group i % groups, its column in a table, and each group gets n / groups.
      least: the fraction of the images tested so far that must be accepted, in (0, 1], after the first 256.
    Yields:
      `Kept`, n images in all. The result depends only on the stream and the test, not on the size of the pieces.
    Raises:
      UserError: less than the fraction `least` is accepted, of all or of a group.
      ValueError: n, groups or least out of range; an `accept` that does not return bool [k].
    """
    if n < 1 or groups < 1 or n % groups or not 0 < least <= 1:
        raise ValueError(f"n {n}, groups {groups}, least {least}: n must be a positive multiple of groups, least in (0, 1]")
    room, seen, accepted = np.full(groups, n // groups), 0, 0
    for piece in stream(n if accept is None else FIRST + math.ceil(n / least) * groups):
        good = np.ones(len(piece), bool) if accept is None else _checked(accept(piece), len(piece))
        keep, used = np.zeros(len(piece), bool), 0
        for i in itertools.takewhile(lambda _: room.any(), range(len(piece))):
            used, group = i + 1, (seen + i) % groups
            accepted += good[i]
            if seen + used >= FIRST and accepted < least * (seen + used):
                raise UserError(
                    f"{seen + used - accepted} of {seen + used} images were refused, more than {1 - least:.0%}: look at what "
                    "the generator makes, or refuse less"
                )
            keep[i] = good[i] and room[group] > 0
            room[group] -= keep[i]
        yield Kept(seen + np.flatnonzero(keep), piece[keep], seen + np.flatnonzero(~good[:used]))
        seen += len(piece)
        if not room.any():
            return
    where = "" if groups == 1 else f"of column {room.argmax()} nearly all are refused: "
    raise UserError(
        f"{where}{n - room.sum()} of {n} images are accepted of {seen}; look at what the generator makes, or refuse less"
    )


def _checked(good, k: int) -> np.ndarray:
    good = np.asarray(good)
    if good.dtype != bool or good.shape != (k,):
        raise ValueError(f"accept returned {good.dtype} {good.shape} for {k} images; it must return bool [{k}]")
    return good


def in_rows(index: np.ndarray, groups: int) -> np.ndarray:
    """The order that puts kept images into a table with one column per group: int64 [n].

    Args:
      index: int64 [n], ascending, as many of each group i % groups.
    """
    return np.stack([np.flatnonzero(index % groups == g) for g in range(groups)], 1).ravel()
