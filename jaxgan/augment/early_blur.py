"""The blur that fades: StyleGAN3's configuration R shows D blurred images first, lest it look at what G cannot draw yet."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.typing import AnyArray, Array, Scalar


def early_blur(x: AnyArray, kimg: Scalar, *, sigma: float, kimg_end: float) -> Array:
    """Images under a Gaussian whose width falls linearly to nothing.

    Weights 2^-(d / s)^2 over the pixels at distances |d| <= floor(3 s) of each axis, their sum 1, zeros outside the image;
    s = sigma (1 - kimg / kimg_end), and nothing is done once floor(3 s) is 0.

    Args:
      x: [B, H, W, C], float. kimg: thousands of images shown, [].
      sigma: in pixels, at the start. kimg_end: when there is no blur any more.
    Returns:
      x's shape and dtype.
    Source: Karras et al. 2021 (StyleGAN3), appendix D.3; `run_D` of the authors' code.
    """
    x = jnp.asarray(x)
    now = sigma * jnp.maximum(1 - kimg / kimg_end, 0).astype(jnp.float32)
    reach = jnp.floor(3 * now)

    def weights(distance):
        return jnp.where(abs(distance) <= reach, jnp.exp2(-jnp.square(distance / now)), 0)

    def blurred(x):
        total = weights(np.arange(-math.floor(3 * sigma), math.floor(3 * sigma) + 1, dtype=np.float32)).sum()
        y = x.astype(jnp.float32)
        for into, n in (("oh,bhwc->bowc", x.shape[1]), ("ow,bhwc->bhoc", x.shape[2])):
            places = np.arange(n, dtype=np.float32)
            y = jnp.einsum(into, weights(places[:, None] - places[None]) / total, y, precision="highest")
        return y.astype(x.dtype)

    return jax.lax.cond(reach > 0, blurred, lambda x: x, x)
