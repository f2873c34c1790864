"""InfoGAN (Chen et al. 2016): a part of z is codes, which D's second head, Q, reads back from the image.

z is standard normal, as for every generator here, so that whatever draws, bends or exports latents works. Its last entries are
the codes: `categories` entries for a categorical code, the index of the largest, and `continuous` ones for codes uniform in
(-1, 1), 2 Phi(z) - 1; those before are noise. `terms.categorical_code` and `terms.continuous_code` are the losses.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxgan.heads import Head
from jaxgan.layers import BatchNorm, Conv, ConvTranspose, base_size, check_input, near_one, small
from jaxgan.models.dcgan import doubled
from jaxgan.typing import AnyArray, Array


class Generator(nn.Module):
    """[noise, one-hot category, continuous codes] -> image: two dense layers, then stride-2 transposed convolutions and tanh.

    Fields:
      shape: (H, W, C), as `layers.base_size` accepts. classes: 0; the categories are found without labels.
      z_dim: all of z, codes included. categories: K, values of the categorical code. continuous: number of continuous codes.
      width: channels of the grid of half the image's size, doubled at every grid below it up to max_width; the first dense
        layer has 16 width units.
    Source: Chen et al. 2016, appendix C.1, and the authors' code: at 28x28x1 with width 64 their MNIST networks, but without the
      biases that batch norm takes away. Batch norm comes before the activation, as in the code; the paper's table lists it
      after. Deviations: the noise is normal (uniform in the code); tanh to [-1, 1] where the code has a sigmoid to [0, 1], which
      are the same functions but for a factor of 2; other sizes (ours) have more or fewer convolutions.
    """

    shape: tuple[int, ...]
    classes: int = 0
    z_dim: int = 74
    categories: int = 10
    continuous: int = 2
    width: int = 64
    max_width: int = 1024
    dtype: Any = jnp.float32

    def codes(self, z: Array) -> tuple[Array, Array]:
        """What z says: (category int32 [B] in [0, K), uniform; continuous codes [B, m] in (-1, 1), uniform). Pure.

        Args:
          z: [B, z_dim], standard normal.
        """
        category, continuous = jnp.split(z[:, -self.categories - self.continuous :], [self.categories], 1)
        return jnp.argmax(category, 1).astype(jnp.int32), jax.lax.erf(continuous / math.sqrt(2))

    def with_category(self, z: Array, category: Array) -> Array:
        """z with another category: the largest of the K entries changes places with that of the category. Pure.

        The entries are exchangeable, so that standard normal z become z drawn given their category, exactly.

        Args:
          z: [B, z_dim]. category: int [B], in [0, K); below 0 leaves z as it is.
        """
        first = z.shape[1] - self.categories - self.continuous
        at, largest = jnp.arange(self.categories)[None], self.codes(z)[0][:, None]
        to = jnp.where(category < 0, largest[:, 0], category)[:, None]
        order = jnp.where(at == to, largest, jnp.where(at == largest, to, at))
        return z.at[:, first : first + self.categories].set(jnp.take_along_axis(z[:, first : first + self.categories], order, 1))

    @nn.compact
    def __call__(
        self, z: Array, c: AnyArray | None = None, *, keys: Array | None = None, train: bool = False, axis: str | None = None
    ) -> Array:
        """z [B, z_dim], standard normal -> [B, H, W, C], float32 in (-1, 1)."""
        check_input("z", z, (self.z_dim,))
        (h, w), doublings = base_size(self.shape)
        widths = doubled(self, doublings)[::-1]
        norm = lambda x: nn.relu(BatchNorm(0.9, 1e-5, axis, near_one)(x, train))
        dense = lambda n, x: norm(nn.Dense(n, use_bias=False, kernel_init=small, dtype=self.dtype)(x))
        deconv = lambda n, bias, x: ConvTranspose(n, 4, bias=bias, kernel_init=small, dtype=self.dtype)(x)
        category, continuous = self.codes(z)
        noise = z[:, : -self.categories - self.continuous]
        x = jnp.concatenate([noise, jax.nn.one_hot(category, self.categories, dtype=noise.dtype), continuous], 1)
        x = dense(h * w * widths[0], dense(16 * self.width, x)).reshape(-1, h, w, widths[0])
        for features in widths[1:]:
            x = norm(deconv(features, False, x))
        return jnp.tanh(deconv(self.shape[2], True, x).astype(jnp.float32))


class Discriminator(nn.Module):
    """Stride-2 convolutions, a dense layer, and from its output the logit and, by a layer of its own, Q's reading of the codes.

    Batch norm everywhere except on the first layer and the outputs; as in the authors' code, reals and fakes are separate
    batches, and the moving statistics are of both.

    Fields:
      shape, classes, categories, continuous, max_width: as `Generator`.
      width: channels of the first grid; the dense layer has 16 width units, Q's own 2 width.
    Source: as `Generator`. Leaky ReLU 0.1 (the paper; 0.01 in the code).
    """

    shape: tuple[int, ...]
    classes: int = 0
    categories: int = 10
    continuous: int = 2
    width: int = 64
    max_width: int = 1024
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Array, c: AnyArray | None = None, *, keys: Array | None = None, train: bool = False, axis: str | None = None
    ) -> tuple[Array, Array, Array]:
        """x [B, H, W, C] in [-1, 1] -> logits [B], logits of the category [B, K], means of the codes [B, m]; float32."""
        check_input("x", x, self.shape)
        norm = lambda x: BatchNorm(0.9, 1e-5, axis, near_one)(x, train)
        leaky = lambda x: nn.leaky_relu(x, 0.1)
        dense = lambda n, x: nn.Dense(n, use_bias=False, kernel_init=small, dtype=self.dtype)(x)
        for i, features in enumerate(doubled(self, base_size(self.shape)[1])):
            x = Conv(features, 4, 2, bias=i == 0, kernel_init=small, dtype=self.dtype)(x)
            x = leaky(norm(x) if i else x)
        x = leaky(norm(dense(16 * self.width, x.reshape(len(x), -1))))
        logits = Head(kernel_init=small, name="head")(x)
        q = leaky(norm(dense(2 * self.width, x))).astype(jnp.float32)
        read = nn.Dense(self.categories + self.continuous, kernel_init=small, name="codes")(q)
        return logits, read[:, : self.categories], read[:, self.categories :]
