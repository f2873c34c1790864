"""BigGAN-deep: bottleneck blocks, two per grid, whose skip paths only drop, copy or add channels.

Called like every network here: `(z or x, c, keys=, train=, axis=)`.
Source: Brock et al. 2019, appendix B, figure 16, tables 7 to 9. `PRESETS` has the papers' networks.
"""

from functools import partial
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from jaxgan import ops
from jaxgan.attention import SelfAttention
from jaxgan.errors import UserError
from jaxgan.heads import Head
from jaxgan.layers import Embed, base_size, check_input
from jaxgan.models import resnet
from jaxgan.models.biggan import ORTHOGONAL, linear_norm, multiples
from jaxgan.typing import AnyArray, Array, Judgement

RATIO = 4  # channels outside a bottleneck for one inside

PRESETS = {"biggan_deep_128": ({}, {}), "biggan_deep_256": ({}, {}), "biggan_deep_512": ({}, {})}
"""name -> fields of the generator and of the discriminator: the papers' networks are the defaults."""


class Generator(nn.Module):
    """z with the class embedding -> base grid -> blocks, all conditioned on the whole z -> image.

    Fields:
      shape, classes, shared_dim, channels, attention, dtype: as `biggan.Generator`; channels must not rise.
      z_dim: length of z. width: channels at full resolution; the other grids have multiples of it (`biggan.multiples`).
      depth: blocks per grid; the last of them doubles the grid and drops channels.
    """

    shape: tuple[int, ...]
    classes: int = 0
    z_dim: int = 128
    shared_dim: int = 128
    width: int = 128
    channels: tuple[int, ...] = ()
    depth: int = 2
    attention: tuple[int, ...] | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, z: Array, c: AnyArray | None = None, *, keys: Array | None = None, train: bool = False, axis: str | None = None
    ) -> Array:
        """z [B, z_dim], standard normal -> [B, H, W, C], float32 in (-1, 1)."""
        check_input("z", z, (self.z_dim,))
        grid, channels, attention = resnet.up_plan(self, multiples)
        _check_order(channels, channels, "rise")
        options = {"spectral": True, "inits": ORTHOGONAL, "dtype": self.dtype}
        v = z
        if self.classes:
            v = jnp.concatenate([Embed(self.classes, self.shared_dim, ORTHOGONAL[0], name="shared")(c), z], 1)
        x = resnet.to_grid(v, grid, channels[0], **options)
        for features in channels[1:]:
            for i in range(self.depth):
                last = i == self.depth - 1
                x = UpBlock(features if last else x.shape[-1], last, linear_norm(v, axis), self.dtype)(x, v, train)
            if x.shape[1] in attention:
                x = SelfAttention(True, ORTHOGONAL[1], self.dtype)(x)
        return resnet.to_image(x, self.shape[2], train, axis, **options)


class Discriminator(nn.Module):
    """Image -> 3x3 convolution -> blocks -> ReLU, sum over the grid, head. Images never influence one another.

    Fields:
      shape, classes, head, dtype: as `resnet.Discriminator`. attention: as `biggan.Generator`.
      width: channels after the first convolution; the other grids have the generator's multiples of it.
      channels: of the first convolution and of every grid below, instead of what width says; they must not fall.
      downs: how many grids are halved; None for one per doubling, 2 at most for images of up to three doublings.
      depth: blocks per grid; the first of them halves the grid and adds channels.
    """

    shape: tuple[int, ...]
    classes: int = 0
    width: int = 128
    channels: tuple[int, ...] = ()
    downs: int | None = None
    depth: int = 2
    head: str = ""
    attention: tuple[int, ...] | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Array, c: AnyArray | None = None, *, keys: Array | None = None, train: bool = False, axis: str | None = None
    ) -> Judgement:
        """x [B, H, W, C] -> logits [B], or what `heads.Head` returns; float32."""
        check_input("x", x, self.shape)
        doublings = base_size(self.shape)[1]
        channels = self.channels or tuple(self.width * n for n in resnet.multiples(doublings)[::-1])
        _check_order(channels, channels[::-1], "fall")
        downs = resnet.check_downs(self.shape, self.downs, len(channels) - 1)
        attention = resnet.attention_heights(self, [self.shape[0] // 2 ** min(i, downs) for i in range(1, len(channels))])
        stem = partial(resnet.ResampledConv, spectral=True, kernel_init=ORTHOGONAL[0], dtype=self.dtype, name="stem")
        x = stem(channels[0])(x.astype(self.dtype))
        for i, features in enumerate(channels[1:]):
            for j in range(self.depth):
                x = DownBlock(features, i < downs and j == 0, self.dtype)(x)
            if x.shape[1] in attention:
                x = SelfAttention(True, ORTHOGONAL[1], self.dtype)(x)
        head = Head(self.classes, self.head, spectral=True, kernel_init=ORTHOGONAL[0], name="head")
        return head(resnet.pooled(x, "sum"), c)


class UpBlock(nn.Module):
    """1x1, 3x3, 3x3, 1x1, each after batch norm and ReLU, on a quarter of the channels; the skip drops channels.

    Fields: features: output channels, at most the input's. double: the grid. norm: as `resnet.UpBlock`.
    """

    features: int
    double: bool
    norm: Any
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, v: Array, train: bool) -> Array:
        """[B, H, W, C] -> [B, H, W, features], or [B, 2H, 2W, features]."""
        hidden = max(x.shape[-1] // RATIO, 1)
        conv = partial(resnet.ResampledConv, spectral=True, kernel_init=ORTHOGONAL[0], dtype=self.dtype)
        ready = lambda y, i: nn.relu(self.norm(name=f"norm{i}")(y, v, train))
        up = "up" if self.double else ""
        y = conv(hidden, size=1, name="conv1")(ready(x, 1))
        y = conv(hidden, resample=up, name="conv2")(ready(y, 2))
        y = conv(hidden, name="conv3")(ready(y, 3))
        y = conv(self.features, size=1, name="conv4")(ready(y, 4))
        x = x[..., : self.features]
        return y + (resnet.repeat2(x) if self.double else x)


class DownBlock(nn.Module):
    """1x1, 3x3, 3x3, 1x1, each after a ReLU, on a quarter of the channels; the skip adds channels by a 1x1.

    Fields: features: output channels, at least the input's. halve: the grid, by 2x2 means before the last 1x1.
    """

    features: int
    halve: bool
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, H, W, C] -> [B, H, W, features], or [B, H/2, W/2, features]."""
        hidden, more = max(self.features // RATIO, 1), self.features - x.shape[-1]
        conv = partial(resnet.ResampledConv, spectral=True, kernel_init=ORTHOGONAL[0], dtype=self.dtype)
        y = conv(hidden, size=1, name="conv1")(nn.relu(x))
        y = conv(hidden, name="conv2")(nn.relu(y))
        y = nn.relu(conv(hidden, name="conv3")(nn.relu(y)))
        y = conv(self.features, size=1, resample="down" if self.halve else "", name="conv4")(y)
        x = ops.downsample2(x) if self.halve else x
        if more:
            x = jnp.concatenate([x, conv(more, size=1, name="skip")(x)], -1)
        return x + y


def _check_order(channels, falling, wrong):
    if any(a < b for a, b in zip(falling, falling[1:], strict=False)):
        raise UserError(f"channels={tuple(channels)}: in BigGAN-deep they must not {wrong}, since skip paths only copy")
