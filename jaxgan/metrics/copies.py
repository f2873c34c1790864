"""A test that refuses generated images that are too near to a training image, with a known rate of false refusals."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from jaxgan.data import Source
from jaxgan.errors import UserError
from jaxgan.metrics import features, measure, neighbours
from jaxgan.metrics.contract import Estimate, rows

MOST = 5000
"""Real images that the threshold is taken from."""


class Copies(NamedTuple):
    """What `copies` gives."""

    accept: Callable[[np.ndarray], np.ndarray]
    """uint8 [k, H, W, C] -> bool [k]; False for what is too near. As `filters.filtered` takes it."""
    distances: Callable[[np.ndarray], np.ndarray]
    """The same images -> float64 [k], to the nearest training image."""
    threshold: float
    """Distances up to this are refused."""
    share: Estimate
    """Of fresh real images that are refused; its uncertainty is that of the real images looked at."""


def threshold(distances, share: float) -> tuple[float, Estimate]:
    """The distance that a share of fresh real images does not exceed.

    Args:
      distances: [m], of real images to the nearest *other* real image.
      share: in (0, 1).
    Returns:
      The k-th smallest, k = floor(share (m + 1)), and the share of `distances` up to it: more than `share` where many are equal.
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


def copies(source: Source, extractor: features.Extractor, *, share: float = 0.01, mirror: bool = False, progress=None) -> Copies:
    """The test for a training set.

    An image is refused where its nearest training image is as near as that of only `share` of real images among their
    fellows. The distance itself, not its ratio to the distances around: of images that are in the set twice, which are what a
    generator copies first, the ratio is always large.

    Args:
      source: the training images, at least 2.
      extractor: of `metrics.features`: what "near" means. Pixels see copies with noise, blur and some change of contrast, and
        no shifted ones.
      share: of real images that may be refused.
      mirror: look at an image's x-flip too.
      progress: (real images done, in all) -> None.
    Raises:
      UserError: too few images; an extractor that does not take them.
    """
    train = rows("training features", measure.reals(source, extractor, 0, False, rows=True, progress=progress), 2, "copies")
    flips = (False, True) if mirror else (False,)

    def nearest(images, skip=None):
        found = [measure.extract(extractor, images[:, :, ::-1] if flip else images).features for flip in flips]
        return np.min([neighbours.nearest(train, x, 1, skip=skip).distances[:, 0] for x in found], axis=0)

    chosen = np.sort(np.random.RandomState(0).permutation(source.n)[:MOST])
    limit, expected = threshold(nearest(source.read(chosen), chosen), share)
    return Copies(lambda images: nearest(images) > limit, nearest, limit, expected)
