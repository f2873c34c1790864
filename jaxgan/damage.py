"""Image degradations as differentiable JAX functions, the counterparts of `data.degrade` on bytes, for `invert`.

Each is made by a factory from its amount and is pure: images [B, H, W, C], float in [-1, 1], to images. Equal amounts give
the same function object, so that compiled programs are reused.
"""

from collections.abc import Callable
from functools import cache

import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import norm

from jaxgan.typing import Array


@cache
def blur(sigma: float) -> Callable[[Array], Array]:
    """Gaussian blur with this standard deviation in pixels, truncated at 3 sigma; border pixels are repeated.

    Args:
      sigma: above 0.
    Returns:
      A function [B, H, W, C] -> [B, H, W, C], C 1 or 3.
    Raises:
      ValueError: sigma is not above 0; from the function: images with alpha.
    """
    if not sigma > 0:
        raise ValueError(f"blur: sigma is {sigma}; it must be above 0")
    reach = max(1, round(3 * sigma))
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    taps /= taps.sum()

    def apply(x):
        _check("blur", x)
        for axis in (1, 2):
            wide = jnp.pad(x, [(reach, reach) if a == axis else (0, 0) for a in range(4)], mode="edge")
            first = lambda i, size=x.shape[axis], axis=axis, wide=wide: jnp.take(wide, np.arange(i, i + size), axis)
            x = sum(float(tap) * first(i) for i, tap in enumerate(taps))
        return x

    return apply


@cache
def lowres(factor: int) -> Callable[[Array], Array]:
    """Replace each square of factor x factor pixels by its mean; border pixels are repeated.

    Args:
      factor: a whole number, at least 1.
    Returns:
      A function [B, H, W, C] -> [B, H, W, C], C 1 or 3.
    Raises:
      ValueError: another factor; from the function: images with alpha.
    """
    if factor < 1 or factor % 1:
        raise ValueError(f"lowres: factor is {factor}; it must be a whole number, at least 1")
    n = int(factor)

    def apply(x):
        _check("lowres", x)
        h, w = x.shape[1:3]
        wide = jnp.pad(x, ((0, 0), (0, -h % n), (0, -w % n), (0, 0)), mode="edge")
        small = wide.reshape(len(x), wide.shape[1] // n, n, wide.shape[2] // n, n, x.shape[3]).mean((2, 4))
        return small.repeat(n, 1).repeat(n, 2)[:, :h, :w]

    return apply


@cache
def grey() -> Callable[[Array], Array]:
    """One channel: 0.299 R + 0.587 G + 0.114 B; alpha is lost.

    Returns:
      A function [B, H, W, C] -> [B, H, W, 1], C 3 or 4.
    Raises:
      ValueError: from the function: images that are grey.
    """

    def apply(x):
        if x.shape[-1] not in (3, 4):
            raise ValueError(f"grey: images with {x.shape[-1]} channels are grey already")
        return x[..., :3] @ jnp.asarray([[0.299], [0.587], [0.114]], x.dtype)

    return apply


@cache
def noise(sigma: float) -> Callable[[Array], Array]:
    """The mean of an image with normal noise of this standard deviation, clipped to [-1, 1]: black gets lighter, white darker.

    E clip(x + s n, -1, 1) = P(b) - P(a) + x (1 - P(a) - P(b)) + s (p(a) - p(b)), a = -(1 + x) / s, b = -(1 - x) / s,
    where p and P are the density and the distribution of n. Use it to compare with a noisy image; else it is greyish.

    Args:
      sigma: in grey levels, as in the data: s = sigma / 127.5. Above 0.
    Returns:
      A function [...] -> [...].
    Raises:
      ValueError: sigma is not above 0.
    """
    if not sigma > 0:
        raise ValueError(f"noise: sigma is {sigma}; it must be above 0")
    s = sigma / 127.5

    def apply(x):
        a, b = -(1 + x) / s, -(1 - x) / s
        below, above = norm.cdf(a), norm.cdf(b)
        return above - below + x * (1 - below - above) + s * (norm.pdf(a) - norm.pdf(b))

    return apply


def _check(name, x):
    if x.ndim != 4 or x.shape[-1] not in (1, 3):
        raise ValueError(f"{name}: images are {x.shape}; they must be [B, H, W, 1 or 3], without alpha")
