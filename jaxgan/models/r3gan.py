"""R3GAN: generator and discriminator of residual blocks with grouped convolutions, no normalisation, one learned basis.

Called like every network here: `(z or x, c, keys=, train=, axis=)`. Nothing here draws random numbers or keeps statistics, so
keys, train and axis have no effect, and images of a batch never influence one another. The paper's filter [1, 2, 1], after each
pixel is repeated, is [1, 3, 3, 1] (`jaxgan.resample`). The fields of the paper's networks are in `recipes_r3gan.PRESETS`;
`residual` has our smaller networks in the same style.

Source: Huang et al. 2024, "The GAN is dead; long live the GAN!", section 4 and appendix; weights of the official
networks fit one to one (`jaxgan.convert`). Deviations: the base grid is 4x4 scaled to the image's proportions, or up to 7
(`layers.base_size`); the output image is float32 even if the last stage is bfloat16.
"""

import math
from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import linen as nn

from jaxgan.errors import UserError
from jaxgan.layers import Conv, Embed, base_size, check_input
from jaxgan.resample import downsample, upsample
from jaxgan.typing import AnyArray, Array

SLOPE = 0.2
leaky = partial(nn.leaky_relu, negative_slope=SLOPE)
GROUP = 16
"""Channels per group of the grouped convolutions if `cardinality` is empty: the paper's, except for ImageNet's 32."""


class Generator(nn.Module):
    """z [B, z_dim] -> image: a learned basis times a linear map of z, then stages of residual blocks and doublings.

    Fields:
      shape: (H, W, C), H and W as `layers.base_size` accepts; (h, w) 2^k has k + 1 stages, h x w the first.
      classes: 0 or the number of classes; a learned class embedding is concatenated to z.
      z_dim: length of z. class_dim: length of the class embedding; 0 for z_dim.
      width: channels of the first four stages, then half as many in each; at least 1.
      channels: channels per stage, base first, instead of what width says.
      cardinality: groups of the 3x3 convolutions, one number per stage, base first; empty for `GROUP` channels per group, or
        the largest power of two below that divides.
      blocks: residual blocks per stage, base first; empty for 2 each.
      expansion: ratio of a block's inner to its outer channels.
      dtype: compute dtype of all but the first `float32_stages` stages, base first; weights and image are float32.
      float32_stages: at least 1. The paper: 1, but 3 for FFHQ-256.
    """

    shape: tuple[int, ...]
    classes: int = 0
    z_dim: int = 64
    class_dim: int = 0
    width: int = 64
    channels: tuple[int, ...] = ()
    cardinality: tuple[int, ...] = ()
    blocks: tuple[int, ...] = ()
    expansion: int = 2
    dtype: Any = jnp.float32
    float32_stages: int = 1

    @nn.compact
    def __call__(
        self, z: Array, c: AnyArray | None = None, *, keys: Array | None = None, train: bool = False, axis: str | None = None
    ) -> Array:
        """z [B, z_dim], standard normal; c: see `layers.Embed` -> [B, H, W, C], float32, about [-1, 1] (no tanh)."""
        check_input("z", z, (self.z_dim,))
        base, stages = plan(self)
        if self.classes:
            embed = Embed(self.classes, self.class_dim or self.z_dim, _spread(self.classes), name="classes")
            z = jnp.concatenate([z, embed(c)], 1)
        first = stages[0].channels
        scale = nn.Dense(first, use_bias=False, kernel_init=scaled(1.0), name="linear")(z)
        grid = self.param("basis", _spread(1), (*base, first), jnp.float32)
        x = grid[None] * scale[:, None, None, :]
        for i, stage in enumerate(stages):
            x = x.astype(stage.dtype)
            if i:
                x = upsample(_channels(x, stage, i))
            x = _blocks(x, stage, i, stages)
        return _project(self.shape[2], stages[-1].dtype, "image")(x).astype(jnp.float32)


class Discriminator(nn.Module):
    """Image -> logit: the generator's mirror, ending in a weighted sum over the base grid and a linear map.

    Fields: as `Generator`. With classes the linear map gives class_dim features (0: as many as the base has channels),
    and the logit is their inner product with the learned class embedding (the projection of Miyato & Koyama 2018,
    without its unconditional term).
    """

    shape: tuple[int, ...]
    classes: int = 0
    class_dim: int = 0
    width: int = 64
    channels: tuple[int, ...] = ()
    cardinality: tuple[int, ...] = ()
    blocks: tuple[int, ...] = ()
    expansion: int = 2
    dtype: Any = jnp.float32
    float32_stages: int = 1

    @property
    def zero_without_label(self) -> bool:
        """Whether the logit under a label vector of zeros is 0 whatever the image."""
        return bool(self.classes)

    @nn.compact
    def __call__(
        self, x: Array, c: AnyArray | None = None, *, keys: Array | None = None, train: bool = False, axis: str | None = None
    ) -> Array:
        """x [B, H, W, C]; c: see `layers.Embed` -> logits [B], float32."""
        check_input("x", x, self.shape)
        base, stages = plan(self)
        x = _project(stages[-1].channels, stages[-1].dtype, "image")(x)
        for i in reversed(range(len(stages))):
            x = _blocks(x.astype(stages[i].dtype), stages[i], i, stages)
            if i:
                x = _channels(downsample(x), stages[i - 1]._replace(dtype=stages[i].dtype), i)
        grid = self.param("basis", _spread(math.prod(base)), (*base, stages[0].channels), jnp.float32)
        features = (x.astype(jnp.float32) * grid[None]).sum((1, 2))
        size = (self.class_dim or stages[0].channels) if self.classes else 1
        logits = nn.Dense(size, use_bias=False, kernel_init=scaled(1.0), name="linear")(features)
        if not self.classes:
            return logits[:, 0]
        return (logits * Embed(self.classes, size, _spread(size * self.classes), name="classes")(c)).sum(1)


class Block(nn.Module):
    """x + 1x1(leaky(grouped 3x3(leaky(1x1(x))))), the last 1x1 initialised at zero, so that a network starts as its skip path.

    Fields:
      inner: channels between the two 1x1. groups: of the 3x3.
      depth: residual blocks of the whole network. The first two layers are initialised at He's scale times depth**(-1/4), Fixup's
        rule for three layers per block (Zhang et al. 2019), which keeps the first updates' size independent of depth.
    """

    inner: int
    groups: int
    depth: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, H, W, C] -> the same shape and dtype."""
        init = scaled(math.sqrt(2 / (1 + SLOPE**2)) * self.depth**-0.25)
        y = leaky(Conv(self.inner, 1, kernel_init=init, dtype=self.dtype, name="expand")(x))
        y = leaky(Conv(self.inner, groups=self.groups, kernel_init=init, dtype=self.dtype, name="grouped")(y))
        zero = nn.initializers.zeros
        return x + Conv(x.shape[-1], 1, bias=False, kernel_init=zero, dtype=self.dtype, name="reduce")(y)


def _spread(summands):
    """Normal with variance 1 / summands."""
    return nn.initializers.normal(1 / math.sqrt(summands))


def scaled(gain: float) -> nn.initializers.Initializer:
    """Normal with standard deviation gain / sqrt(fan in)."""
    return nn.initializers.variance_scaling(gain**2, "fan_in", "normal")


def _project(features, dtype, name):
    return Conv(features, 1, bias=False, kernel_init=scaled(1.0), dtype=dtype, name=name)


def _channels(x, stage, i):
    """1x1 to the stage's channels, between stages i - 1 and i; nothing where x has them already."""
    return x if x.shape[-1] == stage.channels else _project(stage.channels, stage.dtype, f"between{i}")(x)


def _blocks(x, stage, i, stages):
    depth = sum(s.blocks for s in stages)
    for j in range(stage.blocks):
        x = Block(stage.inner, stage.groups, depth, stage.dtype, name=f"stage{i}_block{j}")(x)
    return x


class Stage(NamedTuple):
    """One resolution."""

    channels: int
    inner: int
    groups: int
    blocks: int
    dtype: Any


def plan(model: Any) -> tuple[tuple[int, int], tuple[Stage, ...]]:
    """The layout that a model's fields describe: its base grid (h, w) and a tuple of `Stage`s, base first.

    Raises:
      UserError: fields that do not fit the image's size or one another; it names the field.
    """
    base, doublings = base_size(model.shape)
    count = doublings + 1
    channels = model.channels or tuple(max(model.width >> max(i - 3, 0), 1) for i in range(count))
    blocks = model.blocks or (2,) * count
    inner = [c * model.expansion for c in channels]
    groups = model.cardinality or tuple(n // math.gcd(n, GROUP) for n in inner)
    for name, value in (("channels", channels), ("blocks", blocks), ("cardinality", groups)):
        if len(value) != count:
            raise UserError(
                f"{name}={tuple(value)} has {len(value)} entries; an image of {model.shape[0]}x{model.shape[1]} has {count} "
                f"stages, {base[0]}x{base[1]} first: give one entry per stage"
            )
    if min(channels) < 1 or min(blocks) < 0 or sum(blocks) < 1 or model.expansion < 1:
        raise UserError(
            f"channels={tuple(channels)}, blocks={tuple(blocks)}, expansion={model.expansion}: give 1 or more of each"
        )
    for n, g in zip(inner, groups, strict=True):
        if g < 1 or n % g:
            raise UserError(f"cardinality={tuple(groups)}: {g} groups do not divide a stage's {n} inner channels")
    if not 1 <= model.float32_stages <= count:
        raise UserError(f"float32_stages={model.float32_stages}: give 1 to {count}, the number of stages")
    dtypes = [jnp.float32 if i < model.float32_stages else model.dtype for i in range(count)]
    return base, tuple(map(Stage, channels, inner, groups, blocks, dtypes))
