"""The residual networks of WGAN-GP and SNGAN: one generator and one discriminator, configured by their fields.

`PRESETS` has the papers' networks. No random numbers are drawn.

Source: Gulrajani et al. 2017 (WGAN-GP), appendix and code; Miyato et al. 2018 (SNGAN) and Miyato & Koyama 2018
(projection), appendices and code. Deviations: the 1x1 convolution of a skip path runs on the smaller of its two grids
(the same numbers, a quarter of the work); biases before a batch norm are kept everywhere; D's last layer has a bias (SNGAN's
for CIFAR-10 has none); batch norm's epsilon is 1e-5 (SNGAN's 2e-5).
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxgan import ops
from jaxgan.attention import SelfAttention
from jaxgan.conditional_norm import ConditionalBatchNorm
from jaxgan.errors import UserError, nearest
from jaxgan.heads import Head
from jaxgan.layers import base_size, check_input, glorot_uniform
from jaxgan.spectral import SpectralDense, SpectralNorm
from jaxgan.typing import AnyArray, Array, Judgement

GLOROT = (nn.initializers.variance_scaling(2.0, "fan_avg", "uniform"), glorot_uniform)
"""Initialisers of a block's 3x3 convolutions and of everything else, as in both papers (Glorot's with gain sqrt 2, and plain)."""
NORMS, POOLS = ("spectral", "layer", "none"), ("sum", "mean", "flatten")

PRESETS = {
    "wgan_gp_32": ({"channels": (128,) * 4}, {"channels": (128,) * 4, "norm": "none", "pool": "mean"}),
    "wgan_gp_64": (
        {"channels": (512, 512, 256, 128, 64)},
        {"stem": 64, "channels": (128, 256, 512, 512), "downs": 4, "norm": "layer", "pool": "flatten"},
    ),
    "sngan_32": ({"channels": (256,) * 4}, {"channels": (128,) * 4}),
    "sngan_64": ({}, {"downs": 5}),
    "sngan_128": ({}, {}),
}
"""name -> fields of the generator and of the discriminator that give the papers' networks for 3 channels."""


class Generator(nn.Module):
    """z [B, z_dim] -> image: a linear map to the base grid, a block for every doubling, batch norm, ReLU, 3x3, tanh.

    Fields:
      shape: (H, W, C), H and W as `layers.base_size` accepts.
      classes: 0, or the number of classes (length of label vectors); the blocks' batch norms take gain and bias from it.
      z_dim: length of z.
      width: channels at full resolution; the other grids have multiples of it (`multiples`).
      channels: channels per grid, base first, instead of what width says.
      spectral: the convolutions and the first linear map are spectrally normalised (SAGAN).
      attention: heights of the grids that end in self-attention (SAGAN).
      inits: two initialisers, as `GLOROT`.
      dtype: compute dtype; the image is float32.
    """

    shape: tuple[int, ...]
    classes: int = 0
    z_dim: int = 128
    width: int = 64
    channels: tuple[int, ...] = ()
    spectral: bool = False
    attention: tuple[int, ...] | None = ()
    inits: tuple[Any, Any] = GLOROT
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, z: Array, c: AnyArray | None = None, *, keys: Array | None = None, train: bool = False, axis: str | None = None
    ) -> Array:
        """z [B, z_dim], standard normal -> [B, H, W, C], float32 in (-1, 1)."""
        check_input("z", z, (self.z_dim,))
        grid, channels, attention = up_plan(self, multiples)
        options = {"spectral": self.spectral, "inits": self.inits, "dtype": self.dtype}
        x = to_grid(z, grid, channels[0], **options)
        for features in channels[1:]:
            x = UpBlock(features, partial(ConditionalBatchNorm, self.classes, axis=axis), **options)(x, c, train)
            if x.shape[1] in attention:
                x = SelfAttention(self.spectral, self.inits[1], self.dtype)(x)
        return to_image(x, self.shape[2], train, axis, **options)


class Discriminator(nn.Module):
    """Image -> logits: residual blocks, the first `downs` of which halve the grid, ReLU, pooling, head.

    Images of a batch never influence one another.

    Fields:
      shape, classes, attention, inits, dtype: as `Generator`.
      width: channels of the first block; the others have multiples of it, those of the generator (`multiples`) in
        reverse. Images of up to three doublings: four blocks of 2 width.
      channels: channels per block, instead of what width says.
      downs: how many blocks halve the grid; None for one per doubling, 2 at most for images of up to three doublings.
      norm: 'spectral' (SNGAN), 'layer' (layer norm: WGAN-GP at 64) or 'none'. With batch norm the gradient penalty
        of an image would depend on the others.
      pool: 'sum' (SNGAN) or 'mean' (WGAN-GP at 32) over the grid, after a ReLU; 'flatten': no ReLU, no pooling.
      stem: channels of a first 3x3 convolution; 0 for none, and then the first block starts without a ReLU.
      wide: a block's hidden layer has as many channels as its output, not as its input (SAGAN, BigGAN).
      head: kind of `heads.Head`: D's class output.
    """

    shape: tuple[int, ...]
    classes: int = 0
    width: int = 64
    channels: tuple[int, ...] = ()
    downs: int | None = None
    norm: str = "spectral"
    pool: str = "sum"
    stem: int = 0
    wide: bool = False
    head: str = ""
    attention: tuple[int, ...] | None = ()
    inits: tuple[Any, Any] = GLOROT
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Array, c: AnyArray | None = None, *, keys: Array | None = None, train: bool = False, axis: str | None = None
    ) -> Judgement:
        """x [B, H, W, C] -> logits [B], or what `heads.Head` returns; float32."""
        check_input("x", x, self.shape)
        channels, downs = _down_plan(self)
        attention = attention_heights(self, [self.shape[0] // 2 ** min(i + 1, downs) for i in range(len(channels))])
        options = {"norm": self.norm, "inits": self.inits, "dtype": self.dtype}
        spectral = self.norm == "spectral"
        x = x.astype(self.dtype)
        if self.stem:
            x = ResampledConv(self.stem, spectral=spectral, kernel_init=self.inits[1], dtype=self.dtype)(x)
        for i, features in enumerate(channels):
            first = i == 0 and not self.stem
            hidden = features if self.wide or first else x.shape[-1]
            x = DownBlock(features, hidden, halve=i < downs, first=first, **options)(x)
            if x.shape[1] in attention:
                x = SelfAttention(spectral, self.inits[1], self.dtype)(x)
        return Head(self.classes, self.head, spectral=spectral, kernel_init=self.inits[1], name="head")(pooled(x, self.pool), c)


class UpBlock(nn.Module):
    """up(1x1(x)) + 3x3(relu(norm(3x3(up(relu(norm(x))))))), up: every pixel four times.

    Fields: features: output channels. norm: () -> a layer called (x, c, train). The others as `Generator`.
    """

    features: int
    norm: Any
    spectral: bool = False
    inits: tuple[Any, Any] = GLOROT
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, c: AnyArray | None, train: bool) -> Array:
        """[B, H, W, C] -> [B, 2H, 2W, features]."""
        conv = partial(ResampledConv, self.features, spectral=self.spectral, dtype=self.dtype)
        y = conv(resample="up", kernel_init=self.inits[0], name="conv1")(nn.relu(self.norm(name="norm1")(x, c, train)))
        y = conv(kernel_init=self.inits[0], name="conv2")(nn.relu(self.norm(name="norm2")(y, c, train)))
        return y + conv(size=1, resample="up", kernel_init=self.inits[1], name="skip")(x)


class DownBlock(nn.Module):
    """1x1(x) + 3x3(relu(3x3(relu(x)))), both halved by 2x2 means where `halve`; x itself where nothing changes.

    Fields:
      features, hidden: output and inner channels. halve: halve the grid. first: no ReLU (nor layer norm) on the input,
        which is the image. norm, inits, dtype: as `Discriminator`.
    """

    features: int
    hidden: int
    halve: bool = True
    first: bool = False
    norm: str = "spectral"
    inits: tuple[Any, Any] = GLOROT
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, H, W, C] -> [B, H/2, W/2, features], or [B, H, W, features]."""
        conv = partial(ResampledConv, spectral=self.norm == "spectral", dtype=self.dtype)
        layer = self.norm == "layer" and not self.first
        normed = lambda t, name: layer_norm(t, name) if layer else t
        down = "down" if self.halve else ""
        y = x if self.first else nn.relu(normed(x, "norm1"))
        y = conv(self.hidden, bias=not layer, kernel_init=self.inits[0], name="conv1")(y)
        y = nn.relu(normed(y, "norm2"))
        y = conv(self.features, resample=down, kernel_init=self.inits[0], name="conv2")(y)
        if self.halve or x.shape[-1] != self.features:
            x = conv(self.features, size=1, resample=down, kernel_init=self.inits[1], name="skip")(x)
        return x + y


class ResampledConv(nn.Module):
    """A convolution after a doubling of the grid ('up') or before a halving ('down'), as one convolution.

    A 3x3 kernel on pixels repeated four times, or followed by 2x2 means, is a 4x4 kernel of sums of its weights
    with stride 2 (transposed for 'up'): the same numbers in 4/9 of the multiplications.

    Fields:
      features: output channels. size: 3 or 1. resample: '', 'up' or 'down'. spectral: normalise the kernel (the 3x3 or
        1x1 one). bias, kernel_init, dtype: as `layers.Conv`.
    """

    features: int
    size: int = 3
    resample: str = ""
    spectral: bool = False
    bias: bool = True
    kernel_init: Any = glorot_uniform
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, H, W, C] -> [B, H', W', features] in `dtype`."""
        x = x.astype(self.dtype)
        kernel = self.param("kernel", self.kernel_init, (self.size, self.size, x.shape[-1], self.features), jnp.float32)
        if self.spectral:
            kernel = SpectralNorm(name="norm")(kernel)
        if self.size == 1 and self.resample == "down":
            x = ops.downsample2(x)
        if self.size == 3 and self.resample == "up":
            y = ops.conv_transpose(x, _doubled(kernel[::-1, ::-1]).astype(self.dtype), stride=2)
        elif self.size == 3 and self.resample == "down":
            y = ops.conv(x, (_doubled(kernel) / 4).astype(self.dtype), stride=2, padding=((1, 1), (1, 1)))
        else:
            y = ops.conv(x, kernel.astype(self.dtype))
        if self.bias:
            y = y + self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32).astype(y.dtype).reshape(1, 1, 1, -1)
        return repeat2(y) if self.size == 1 and self.resample == "up" else y


def repeat2(x: Array) -> Array:
    """[B, H, W, C] -> [B, 2H, 2W, C]: every pixel four times (nearest neighbour)."""
    b, h, w, c = x.shape
    return jnp.broadcast_to(x[:, :, None, :, None], (b, h, 2, w, 2, c)).reshape(b, 2 * h, 2 * w, c)


def layer_norm(x: Array, name: str) -> Array:
    """Layer norm over the whole image, gain and bias per channel, as WGAN-GP's code; float32 inside."""
    norm = nn.LayerNorm(1e-5, reduction_axes=(1, 2, 3), feature_axes=-1, use_fast_variance=False, name=name)
    return norm(x.astype(jnp.float32)).astype(x.dtype)


def to_grid(z: Array, grid: tuple[int, int], features: int, *, spectral: bool, inits: tuple[Any, ...], dtype: Any) -> Array:
    """The first linear map: z [B, Z] -> [B, h, w, features]."""
    make = SpectralDense if spectral else nn.Dense
    x = make(grid[0] * grid[1] * features, kernel_init=inits[1], dtype=dtype, name="base")(z)
    return x.reshape(-1, *grid, features)


def to_image(
    x: Array, features: int, train: bool, axis: str | None, *, spectral: bool, inits: tuple[Any, ...], dtype: Any
) -> Array:
    """The last layers of a generator: batch norm, ReLU, 3x3, tanh; float32."""
    x = nn.relu(ConditionalBatchNorm(axis=axis, name="norm")(x, None, train))
    x = ResampledConv(features, spectral=spectral, kernel_init=inits[1], dtype=dtype, name="image")(x)
    return jnp.tanh(x.astype(jnp.float32))


def pooled(x: Array, pool: str) -> Array:
    """[B, h, w, F] -> [B, F], or [B, h w F] by 'flatten'; float32."""
    x = x.astype(jnp.float32)
    if pool == "flatten":
        return x.reshape(x.shape[0], -1)
    return getattr(jax.nn.relu(x), pool)((1, 2))


def multiples(doublings: int) -> tuple[int, ...]:
    """Channels per grid of a generator, base first, in units of the channels at full resolution; the papers' to 512x512."""
    if doublings <= 3:
        return (4,) * (doublings + 1)
    if doublings <= 5:
        return (16, 16, 8, 4, 2, 1)[5 - doublings :]
    return (16, 16, 8, 8, 4, 2) + (1,) * (doublings - 5)


def up_plan(model: Any, multiples: Callable[[int], tuple[int, ...]]) -> tuple[tuple[int, int], tuple[int, ...], tuple[int, ...]]:
    """A generator's base grid, channels per grid, base first, and the heights of the grids that end in self-attention.

    Args:
      multiples: as the function of this name, for a model without `channels`.
    Raises:
      UserError: not one number of channels per grid; a height that no grid has.
    """
    grid, doublings = base_size(model.shape)
    channels = model.channels or tuple(model.width * n for n in multiples(doublings))
    if len(channels) != doublings + 1:
        raise UserError(
            f"channels={tuple(channels)} has {len(channels)} entries; an image of {model.shape[0]}x{model.shape[1]} has "
            f"{doublings + 1} grids, base first"
        )
    return grid, channels, attention_heights(model, [grid[0] * 2**i for i in range(1, doublings + 1)])


def attention_heights(model: Any, heights: Sequence[int]) -> tuple[int, ...]:
    """The heights in `model.attention`; None stands for 64 where there is such a grid.

    Raises:
      UserError: a height that no grid has.
    """
    if model.attention is None:
        return (64,) if 64 in heights else ()
    for height in model.attention:
        if height not in heights:
            raise UserError(
                f"attention={tuple(model.attention)}: there is no grid of {height} rows; "
                f"there are {', '.join(map(str, dict.fromkeys(heights)))}"
            )
    return model.attention


def _doubled(kernel):
    """[3, 3, ...] -> [4, 4, ...]: the kernel's sum with itself moved by one pixel, on both axes."""
    pads = lambda a, b: ((a, 1 - a), (b, 1 - b), (0, 0), (0, 0))
    return sum(jnp.pad(kernel, pads(a, b)) for a in (0, 1) for b in (0, 1))


def check_downs(shape: tuple[int, ...], downs: int | None, blocks: int) -> int:
    """How many of the blocks halve the grid: `downs`, or the default for None.

    Raises:
      UserError: more than there are blocks, or than the image can be halved.
    """
    doublings = base_size(shape)[1]
    if downs is None:
        downs = min(2 if doublings <= 3 else doublings, doublings)
    if not 0 <= downs <= blocks or any(n % 2**downs for n in shape[:2]):
        raise UserError(
            f"downs={downs}: an image of {shape[0]}x{shape[1]} with {blocks} blocks cannot be halved so often; "
            f"give {min(doublings, blocks)} or less"
        )
    return downs


def _down_plan(model):
    """Channels per block and how many blocks halve the grid."""
    for name, value, known in (("norm", model.norm, NORMS), ("pool", model.pool, POOLS)):
        if value not in known:
            raise UserError(f"there is no {name} {value!r}; there are {', '.join(known)}{nearest(value, known)}")
    doublings = base_size(model.shape)[1]
    units = (2,) * 4 if doublings <= 3 else multiples(doublings)[::-1]
    channels = model.channels or tuple(model.width * n for n in units)
    return channels, check_downs(model.shape, model.downs, len(channels))
