"""Whether generated images differ from one another as real ones do: a look at any images, without a network or labels."""

import numpy as np

from jaxgan.metrics.sliced import shrunk


def spacing(images: np.ndarray, *, side: int = 32) -> float:
    """Mean distance of an image to the one that is most like it.

    S = mean_i min_{j != i} |x_i - x_j| / sqrt(number of values in an image)

    Args:
      images: uint8 [n, H, W, C], two at least. The more there are, the less it is.
      side: larger images are first averaged over whole blocks, to at most about this size.
    Returns:
      In grey levels (0..255), root mean square over pixels and channels; in float64. n^2 distances are held at once.
    Raises:
      ValueError: fewer than two, or no uint8 images.
    """
    images = np.asarray(images)
    if images.dtype != np.uint8 or images.ndim != 4 or len(images) < 2:
        raise ValueError(f"images are {images.dtype} {images.shape}; give uint8 [n, H, W, C], n at least 2")
    x = shrunk(images, side).reshape(len(images), -1)
    norms = np.einsum("nf,nf->n", x, x)
    squared = norms[:, None] + norms - 2 * x @ x.T
    np.fill_diagonal(squared, np.inf)
    return float(np.sqrt(np.maximum(squared.min(1), 0) / x.shape[1]).mean())


def variety(real: np.ndarray, fake: np.ndarray, *, side: int = 32) -> float:
    """The `spacing` of generated images relative to that of real ones.

    V = S(fake) / S(real). 1: they differ as much. Towards 0: G has collapsed, to one image, or to one for each class. Above 1:
    noise, which no two images share. It sees neither missing modes nor copies of training images.

    Args:
      real, fake: uint8 [n, H, W, C] and [m, H, W, C]; of the larger set the first are taken, as many as there are of the other.
      side: as `spacing`.
    Returns:
      Without unit, float64; NaN where real images are all the same, or there are fewer than two.
    """
    n = min(len(real), len(fake))
    base = spacing(real[:n], side=side) if n > 1 else 0.0
    return spacing(fake[:n], side=side) / base if base else float("nan")
