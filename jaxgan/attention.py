"""Self-attention over the pixels of a feature map, as SAGAN and BigGAN use it."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxgan.layers import glorot_uniform
from jaxgan.resample import in_squares
from jaxgan.spectral import SpectralDense
from jaxgan.typing import Array


class SelfAttention(nn.Module):
    """Every pixel adds a mean over the whole map: x + gamma o(A g(x)), A = softmax(theta(x) phi(x)^T), gamma = 0 at first.

    theta and phi are linear maps to C / 8 channels, g to C / 2, o back to C, all without bias. phi and g see the map
    through 2x2 maxima, so A is [H W, H W / 4].

    Fields:
      spectral: the four maps are spectrally normalised.
      kernel_init: of the four maps.
      dtype: of the arithmetic; the softmax is float32.
    Source: Zhang et al. 2019 (SAGAN), section 3. Deviation, as the authors' code and BigGAN: C / 2 channels for g (the
      paper: C / 8), and the 2x2 maxima. The logits are not divided by the square root of their length.
    """

    spectral: bool = True
    kernel_init: Any = glorot_uniform
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, H, W, C] -> the same shape; H, W >= 2.

        Raises:
          ValueError: fewer than 2 rows or columns.
        """
        b, h, w, channels = x.shape
        if min(h, w) < 2:
            raise ValueError(f"SelfAttention: a map of {h}x{w} has nothing to attend to; give 2x2 or more")
        make = SpectralDense if self.spectral else nn.Dense
        linear = partial(make, use_bias=False, kernel_init=self.kernel_init, dtype=self.dtype)
        few, half = max(channels // 8, 1), max(channels // 2, 1)
        flat = lambda t: t.reshape(b, -1, t.shape[-1])
        theta = flat(linear(few, name="theta")(x))
        phi = flat(in_squares(linear(few, name="phi")(x), 2).max((2, 4)))
        g = flat(in_squares(linear(half, name="g")(x), 2).max((2, 4)))
        scores = jnp.einsum("bic,bjc->bij", theta, phi, preferred_element_type=jnp.float32)
        weights = jax.nn.softmax(scores, axis=-1).astype(self.dtype)
        seen = jnp.einsum("bij,bjc->bic", weights, g).reshape(b, h, w, half)
        gamma = self.param("gamma", nn.initializers.zeros, (), jnp.float32)
        return x + (gamma.astype(self.dtype) * linear(channels, name="o")(seen)).astype(x.dtype)
