"""The networks of the first GAN paper: a ReLU generator and a maxout discriminator with dropout, on flattened images.

Called like every network here: `(z or x, c, keys=, train=, axis=)`; keys (one typed key per image) are for the
discriminator's dropout.
Source: Goodfellow et al. 2014, section 5 (maxout: Goodfellow et al. 2013), with the sizes of the authors' MNIST
configuration. Deviations: z is normal (theirs uniform, of variance 1 as well); images are in [-1, 1] outside and in [0, 1]
inside; the output bias is initialised at the logit of one grey level, not of each pixel's mean over the data; no sigmoid at the
end of the discriminator, whose losses take logits.
Conditional on labels (ours, after Mirza & Osindero 2014): a learned class embedding is concatenated to z, and the
discriminator has a `heads.Head`.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxgan.heads import Head
from jaxgan.layers import Dropout, Embed, check_input
from jaxgan.typing import AnyArray, Array, Judgement


class Generator(nn.Module):
    """z [B, z_dim] -> image: hidden ReLU layers, then a sigmoid per pixel.

    Fields:
      shape: (H, W, C), any.
      classes: 0, or the number of classes (length of label vectors). z_dim: length of z.
      widths: units of the hidden layers.
      spread: initial weights are uniform in [-spread, spread].
      level: approximate mean of the initial images, in (0, 1) from black to white: use that of the data.
      dtype: compute dtype; the image is float32.
    """

    shape: tuple[int, ...]
    classes: int = 0
    z_dim: int = 100
    widths: tuple[int, ...] = (1200, 1200)
    spread: float = 0.05
    level: float = 0.5
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, z: Array, c: AnyArray | None = None, *, keys: Array | None = None, train: bool = False, axis: str | None = None
    ) -> Array:
        """z [B, z_dim], standard normal -> [B, H, W, C], float32 in (-1, 1)."""
        check_input("z", z, (self.z_dim,))
        if self.classes:
            z = jnp.concatenate([z, Embed(self.classes, self.z_dim)(c)], 1)
        for width in self.widths:
            z = nn.relu(nn.Dense(width, kernel_init=_uniform(self.spread), dtype=self.dtype)(z))
        bias = nn.initializers.constant(math.log(self.level / (1 - self.level)))
        x = nn.Dense(math.prod(self.shape), kernel_init=_uniform(self.spread), bias_init=bias, dtype=self.dtype)(z)
        return 2 * jax.nn.sigmoid(x.astype(jnp.float32)).reshape(-1, *self.shape) - 1


class Discriminator(nn.Module):
    """Image -> logits: layers of maxout units with dropout on every layer's input, then a linear map.

    Fields:
      shape, classes, dtype: as `Generator`.
      widths: maxout units of the hidden layers. pieces: linear maps per unit, of which it outputs the largest.
      dropout_image, dropout: rates in [0, 1) on the image and on the hidden layers.
      head: kind of `heads.Head`: D's class output.
      spread: initial weights are uniform in [-spread, spread].
    """

    shape: tuple[int, ...]
    classes: int = 0
    widths: tuple[int, ...] = (240, 240)
    pieces: int = 5
    dropout_image: float = 0.2
    dropout: float = 0.5
    head: str = ""
    spread: float = 0.005
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Array, c: AnyArray | None = None, *, keys: Array | None = None, train: bool = False, axis: str | None = None
    ) -> Judgement:
        """x [B, H, W, C] in [-1, 1] -> logits [B], or what `heads.Head` returns; float32. keys [B]: when train."""
        check_input("x", x, self.shape)
        h = Dropout(self.dropout_image)((x.reshape(x.shape[0], -1).astype(self.dtype) + 1) / 2, keys, train)
        for width in self.widths:
            h = nn.Dense(width * self.pieces, kernel_init=_uniform(self.spread), dtype=self.dtype)(h)
            h = Dropout(self.dropout)(h.reshape(-1, width, self.pieces).max(2), keys, train)
        return Head(self.classes, self.head, kernel_init=_uniform(self.spread), name="head")(h, c)


def _uniform(spread):
    """Initialiser: uniform in [-spread, spread]."""
    return lambda key, shape, dtype=jnp.float32: jax.random.uniform(key, shape, dtype, -spread, spread)
