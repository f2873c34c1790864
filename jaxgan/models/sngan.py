"""The plain convolutional networks of SNGAN (its residual ones are in `resnet`): the "standard CNN" of the paper.

Called like every network here: `(z or x, c, keys=, train=, axis=)`; no random numbers are drawn.
Source: Miyato et al. 2018, table 3 (32x32, 48x48); batch norm and ReLU after the first linear map, which the table does
not list, as in later implementations. Conditional on labels (ours): conditional batch norm and a `heads.Head`, as in the residual
networks.
"""

from functools import partial
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from jaxgan.conditional_norm import ConditionalBatchNorm
from jaxgan.heads import Head
from jaxgan.layers import Conv, ConvTranspose, base_size, check_input, small
from jaxgan.models.dcgan import doubled
from jaxgan.spectral import SpectralConv
from jaxgan.typing import AnyArray, Array, Judgement


class Generator(nn.Module):
    """z [B, z_dim] -> image: a linear map to the base grid, 4x4 transposed convolutions with batch norm, 3x3, tanh.

    Fields:
      shape: (H, W, C), H and W as `layers.base_size` accepts; classes, z_dim, dtype: as `resnet.Generator`.
      width: channels at full resolution, doubled at every grid below it. max_width: upper bound.
    """

    shape: tuple[int, ...]
    classes: int = 0
    z_dim: int = 128
    width: int = 64
    max_width: int = 512
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, z: Array, c: AnyArray | None = None, *, keys: Array | None = None, train: bool = False, axis: str | None = None
    ) -> Array:
        """z [B, z_dim], standard normal -> [B, H, W, C], float32 in (-1, 1)."""
        check_input("z", z, (self.z_dim,))
        grid, doublings = base_size(self.shape)
        widths = doubled(self, doublings + 1)[::-1]
        norm = lambda x: nn.relu(ConditionalBatchNorm(self.classes, axis=axis)(x, c, train))
        x = nn.Dense(grid[0] * grid[1] * widths[0], use_bias=False, kernel_init=small, dtype=self.dtype)(z)
        x = norm(x.reshape(-1, *grid, widths[0]))
        for features in widths[1:]:
            x = norm(ConvTranspose(features, 4, bias=False, kernel_init=small, dtype=self.dtype)(x))
        return jnp.tanh(Conv(self.shape[2], kernel_init=small, dtype=self.dtype)(x).astype(jnp.float32))


class Discriminator(nn.Module):
    """Image -> logits: 3x3 and 4x4 stride-2 convolutions with leaky ReLU 0.1, 3x3, linear; spectral norm everywhere.

    Fields: shape, classes, width, max_width, dtype: as `Generator`. head: kind of `heads.Head`.
    """

    shape: tuple[int, ...]
    classes: int = 0
    width: int = 64
    max_width: int = 512
    head: str = ""
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Array, c: AnyArray | None = None, *, keys: Array | None = None, train: bool = False, axis: str | None = None
    ) -> Judgement:
        """x [B, H, W, C] in [-1, 1] -> logits [B], or what `heads.Head` returns; float32."""
        check_input("x", x, self.shape)
        conv = partial(SpectralConv, kernel_init=small, dtype=self.dtype)
        leaky = partial(nn.leaky_relu, negative_slope=0.1)
        *widths, last = doubled(self, base_size(self.shape)[1] + 1)
        for features in widths:
            x = leaky(conv(features)(x))
            x = leaky(conv(features, 4, 2)(x))
        x = leaky(conv(last)(x))
        return Head(self.classes, self.head, spectral=True, kernel_init=small, name="head")(x.reshape(x.shape[0], -1), c)
