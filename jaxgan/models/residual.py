"""Small networks in the style of R3GAN: residual blocks without normalisation, for relativistic losses with R1 and R2.

Called like every network here: `(z or x, c, keys=, train=, axis=)`. Nothing here draws random numbers or keeps statistics, so
keys, train and axis have no effect, and images of a batch never influence one another.

Source: Huang et al. 2024, "The GAN is dead; long live the GAN!", sections 3.3, 4 and appendix. Kept: learned base grid,
leaky 0.2, no normalisation, resampling by a smooth filter, Fixup-like initialisation with the last convolution of each
block at zero, projection head. Deviations: blocks are 3x3, 3x3, 1x1 with all channels connected (theirs 1x1, grouped
3x3, 1x1 at twice the width); the discriminator downsamples by 2x2 means; the border of the resampling filter.
"""

import math
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from jaxgan.errors import UserError
from jaxgan.heads import Head
from jaxgan.layers import Conv, Embed, base_size, check_input
from jaxgan.models.r3gan import SLOPE, leaky, scaled
from jaxgan.ops import depth_to_space, downsample2, space_to_depth, upsample2
from jaxgan.spectral import SpectralConv
from jaxgan.typing import AnyArray, Array, Judgement


class Generator(nn.Module):
    """z [B, z_dim] -> image: a learned grid times a linear map of z, then per stage residual blocks and doubling.

    Fields:
      shape: (H, W, C), H and W as `layers.base_size` accepts.
      classes: 0 or the number of classes; a learned class embedding is concatenated to z.
      z_dim: length of z. class_dim: length of the class embedding.
      patch: 1, 2, 4, ...: the last stage works on squares of patch x patch pixels, each one pixel of patch^2 C
        channels. Stages: the base grid and every doubling up to (H, W) / patch. At 28x28, 2 takes half the time of 1.
      width: channels of every stage, but half of it at full resolution (patch 1), which dominates the time.
      channels: channels per stage, base first, instead of what width says.
      blocks: residual blocks per stage, base first; empty for 2 per stage and 1 at full resolution.
      dtype: compute dtype; the image is float32, about [-1, 1] with no tanh.
    """

    shape: tuple[int, ...]
    classes: int = 0
    z_dim: int = 64
    class_dim: int = 16
    patch: int = 1
    width: int = 32
    channels: tuple[int, ...] = ()
    blocks: tuple[int, ...] = ()
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, z: Array, c: AnyArray | None = None, *, keys: Array | None = None, train: bool = False, axis: str | None = None
    ) -> Array:
        """z [B, z_dim], standard normal -> [B, H, W, C], float32."""
        check_input("z", z, (self.z_dim,))
        base, channels, blocks = _stages(self)
        if self.classes:
            z = jnp.concatenate([z, Embed(self.classes, self.class_dim)(c)], 1)
        scale = nn.Dense(channels[0], use_bias=False, kernel_init=scaled(1.0), dtype=self.dtype)(z)
        grid = self.param("base", nn.initializers.normal(1.0), (*base, channels[0]), jnp.float32)
        x = grid.astype(self.dtype)[None] * scale[:, None, None, :]
        for i, features in enumerate(channels):
            if i:
                x = upsample2(_channels(x, features, self.dtype))
            for _ in range(blocks[i]):
                x = Block(sum(blocks), self.dtype)(x)
        x = _project(self.shape[2] * self.patch**2, self.dtype)(x)
        return depth_to_space(x, self.patch).astype(jnp.float32)


class Discriminator(nn.Module):
    """Image -> logit: the generator's mirror, ending in a weighted sum over the base grid and a linear map.

    Fields: as `Generator`. With classes the linear map gives class_dim features, and the logit is their inner product
    with the class embedding (Miyato & Koyama 2018, without the unconditional term, as the paper's code).
      head: '' for that (with spectral, the head's default), or a kind of `heads.KINDS`.
      spectral: every convolution and the head are spectrally normalised; then no convolution is initialised at zero.
    """

    shape: tuple[int, ...]
    classes: int = 0
    class_dim: int = 16
    patch: int = 1
    width: int = 32
    channels: tuple[int, ...] = ()
    blocks: tuple[int, ...] = ()
    spectral: bool = False
    head: str = ""
    dtype: Any = jnp.float32

    @property
    def zero_without_label(self) -> bool:
        """Whether the logit under a label vector of zeros is 0 whatever the image."""
        return bool(self.classes) and not (self.head or self.spectral)

    @nn.compact
    def __call__(
        self, x: Array, c: AnyArray | None = None, *, keys: Array | None = None, train: bool = False, axis: str | None = None
    ) -> Judgement:
        """x [B, H, W, C] -> logits [B], float32, or what `heads.Head` returns for that kind."""
        check_input("x", x, self.shape)
        base, channels, blocks = _stages(self)
        x = _project(channels[-1], self.dtype, self.spectral)(space_to_depth(x.astype(self.dtype), self.patch))
        for i in reversed(range(len(channels))):
            for _ in range(blocks[i]):
                x = Block(sum(blocks), self.dtype, self.spectral)(x)
            if i:
                x = _channels(downsample2(x), channels[i - 1], self.dtype, self.spectral)
        grid_init = nn.initializers.normal(1 / math.sqrt(base[0] * base[1]))
        grid = self.param("base", grid_init, (*base, channels[0]), jnp.float32)
        features = (x.astype(jnp.float32) * grid[None]).sum((1, 2))
        if self.head or self.spectral:
            return Head(self.classes, self.head, spectral=self.spectral, kernel_init=scaled(1.0), name="head")(features, c)
        logits = nn.Dense(self.class_dim if self.classes else 1, use_bias=False, kernel_init=scaled(1.0))(features)
        if not self.classes:
            return logits[:, 0]
        vectors = Embed(self.classes, self.class_dim, nn.initializers.normal(1 / math.sqrt(self.class_dim)))(c)
        return (logits * vectors).sum(1)


class Block(nn.Module):
    """x + 1x1(leaky(3x3(leaky(3x3(x))))), the 1x1 initialised at zero, so that the network starts as its skip path.

    Fields:
      depth: residual blocks of the whole network. The two 3x3 are initialised at He's scale times depth**(-1/4), Fixup's rule for
        three layers per block (Zhang et al. 2019), which keeps the first updates' size independent of depth.
    """

    depth: int
    dtype: Any = jnp.float32
    spectral: bool = False

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, H, W, C] -> the same shape."""
        features = x.shape[-1]
        init = scaled(math.sqrt(2 / (1 + SLOPE**2)) * self.depth**-0.25)
        conv = SpectralConv if self.spectral else Conv
        y = leaky(conv(features, kernel_init=init, dtype=self.dtype)(x))
        y = leaky(conv(features, kernel_init=init, dtype=self.dtype)(y))
        if self.spectral:
            return x + _project(features, self.dtype, True)(y)
        return x + Conv(features, 1, bias=False, kernel_init=nn.initializers.zeros, dtype=self.dtype)(y)


def _project(features, dtype, spectral=False):
    return (SpectralConv if spectral else Conv)(features, 1, bias=False, kernel_init=scaled(1.0), dtype=dtype)


def _channels(x, features, dtype, spectral=False):
    """1x1 to `features` channels; nothing where x has them already."""
    return x if x.shape[-1] == features else _project(features, dtype, spectral)(x)


def _stages(model):
    """Base grid, channels per stage and blocks per stage, base first."""
    base, doublings = base_size(model.shape)
    if model.patch not in [2**i for i in range(doublings + 1)]:
        raise UserError(
            f"patch={model.patch}: images of {model.shape[0]}x{model.shape[1]} take a power of two up to {2**doublings}"
        )
    stages = doublings + 2 - model.patch.bit_length()
    full_size = model.patch == 1
    channels = model.channels or (model.width,) * (stages - full_size) + (max(model.width // 2, 1),) * full_size
    blocks = model.blocks or (2,) * (stages - full_size) + (1,) * full_size
    for name, value in (("channels", channels), ("blocks", blocks)):
        if len(value) != stages:
            raise UserError(
                f"{name}={tuple(value)} has {len(value)} entries; an image of {model.shape[0]}x{model.shape[1]} with "
                f"patch={model.patch} has {stages} stages"
            )
    return base, channels, blocks
