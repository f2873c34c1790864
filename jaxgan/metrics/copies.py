"""A test that rejects generated images that are too close to a training image, with a known false-rejection rate."""

import hashlib
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from jaxgan.data import Source
from jaxgan.errors import UserError
from jaxgan.metrics import features, neighbours
from jaxgan.metrics.contract import Estimate, rows
from jaxgan.metrics.extraction import extract, reals
from jaxgan.typing import AnyArray

MOST = 5000
"""Number of real images from which the threshold is computed."""


class Copies(NamedTuple):
    """The result of `copies`."""

    accept: Callable[[np.ndarray], np.ndarray]
    """uint8 [k, H, W, C] -> bool [k]; False for images that are too close. For `filters.filtered`."""
    distances: Callable[[np.ndarray], np.ndarray]
    """The same images -> float64 [k], to the nearest training image."""
    threshold: float
    """Images up to this distance are rejected."""
    share: Estimate
    """False-rejection rate on fresh real images; its uncertainty comes from the number of real images used, as if their distances
    were independent: neighbours are often each other's, so over draws of the set it is about 1.4 times as large."""
    median: float
    """Half of the real images are this near to another. A threshold far below it says that many are nearly the same, and then
    only what is nearly a copy is rejected: a larger share rejects more."""


def threshold(distances: AnyArray, share: float) -> tuple[float, Estimate]:
    """The distance that the fraction `share` of fresh real images does not exceed.

    Args:
      distances: [m], of real images to the nearest *other* real image.
      share: in (0, 1).
    Returns:
      The k-th smallest, k = floor(share (m + 1)), and the share of `distances` up to it: more than `share` if many are equal.
    Raises:
      UserError: so few images that k is 0. ValueError: share out of range.
    Source: the quantile of conformal prediction (Vovk et al. 2005), over leave-one-out distances.
    """
    if not 0 < share < 1:
        raise ValueError(f"share is {share}; it must be in (0, 1)")
    distances = np.sort(np.asarray(distances, np.float64))
    k = math.floor(share * (len(distances) + 1) + 1e-9)  # what is whole but for rounding
    if k < 1:
        raise UserError(
            f"{len(distances)} real images are too few for a share of {share:g}; give a share of at least "
            f"{math.ceil(1e6 / (len(distances) + 1)) / 1e6:g}, or more images"
        )
    t = float(distances[k - 1])
    found = float((distances <= t).mean())
    return t, Estimate(found, float(np.sqrt(found * (1 - found) / len(distances))))


def copies(
    source: Source,
    extractor: features.Extractor,
    *,
    share: float = 0.01,
    mirror: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Copies:
    """The test for a training set.

    An image is rejected if its nearest training image is as close as only a fraction `share` of real images are to their
    nearest neighbours. The distance itself is used, not its ratio to distances nearby: for images that are in the set twice,
    which a generator copies first, the ratio is always large. Nor do such images count as near to one another: that would make
    the threshold 0 where there are more of them than `share`.

    Args:
      source: the training images, at least 2.
      extractor: of `metrics.features`: defines "close". Pixels detect copies with noise, blur and some change of contrast, but
        not shifted ones.
      share: fraction of real images that may be rejected.
      mirror: also test an image's x-flip.
      progress: (real images done, in all) -> None.
    Raises:
      UserError: too few images, or of different ones; an extractor that does not take them.
    """
    features.notes(extractor, source.shape)
    train = rows("training features", reals(source, extractor, 0, False, rows=True, progress=progress), 2, "copies")
    first = np.unique([hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in train], return_index=True)[1]
    if len(first) < 2:
        raise UserError(f"copies: all {len(train)} images of {source.name} are the same; give a set of different ones")
    first.sort()  # of equal images
    train = train if len(first) == len(train) else train[first]
    flips = (False, True) if mirror else (False,)

    def nearest(images, skip=None):
        found = [extract(extractor, images[:, :, ::-1] if flip else images).features for flip in flips]
        return np.min([neighbours.nearest(train, x, 1, skip=skip).distances[:, 0] for x in found], axis=0)

    chosen = np.sort(np.random.RandomState(0).permutation(len(train))[:MOST])
    apart = nearest(source.read(first[chosen]), chosen)
    apart = apart[apart > 0]  # 0: another's x-flip
    if not len(apart):
        raise UserError(f"copies: {source.name} holds the x-flip of each of its images; give the set without these")
    limit, expected = threshold(apart, share)
    return Copies(lambda images: nearest(images) > limit, nearest, limit, expected, float(np.median(apart)))
