"""StyleGAN2 and StyleGAN2-ADA: the networks of Karras et al. 2020, written from the papers.

A mapping network maps z to a style w for every layer; the synthesis network starts from a learned grid, and each of
its convolutions is modulated by its w. `Generator` has the two halves as the methods `mapping` and `synthesis`.

Source: Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN" (architecture, path length); Karras et
al. 2020, "Training Generative Adversarial Networks with Limited Data" (ADA, conditioning, lower precision: appendix D).
Checked against the authors' networks: outputs, gradients of the four phases, parameter counts. Deviations: sizes of
4x4, 5x5, 6x6, 7x7 times a power of two and non-square ones; style mixing draws its layer for every image, theirs for every
batch; groups of the minibatch stddev (see `equalized.minibatch_stddev`); bfloat16 in place of float16, hence no
normalisation against overflow.
"""

import math
import zlib
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxgan.equalized import Conv, Dense, leaky, minibatch_stddev, modulated_conv
from jaxgan.errors import UserError
from jaxgan.layers import base_size, check_input
from jaxgan.resample import TAPS, downsample, upsample
from jaxgan.style import Mapping, check_noise, normal_planes
from jaxgan.typing import AnyArray, Array, Scalar

ARCHITECTURES = ("skip", "resnet", "orig")


class StyledConv(nn.Module):
    """Modulated 3x3 convolution, noise, bias, leaky ReLU.

    Fields: features; resample '' or 'up'; clamp, gain: of `leaky`, gain times sqrt(2); taps; fused: of `modulated_conv`.
    """

    features: int
    resample: str = ""
    gain: float = 1.0
    clamp: float | None = None
    taps: tuple[float, ...] = TAPS
    fused: bool = False

    @nn.compact
    def __call__(self, x: Array, w: Array, keys: Array | None, noise: str) -> Array:
        """x [B, H, W, cin], w [B, w_dim] -> [B, H', W', features] in x's dtype."""
        cin = x.shape[-1]
        styles = Dense(cin, bias_init=1.0, name="affine")(w)
        kernel = self.param("kernel", nn.initializers.normal(1.0), (3, 3, cin, self.features), jnp.float32)
        strength = self.param("noise_strength", nn.initializers.zeros, (), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
        y = modulated_conv(x, kernel, styles, resample=self.resample, taps=self.taps, fused=self.fused)
        plane = self._noise(y.shape[:3], keys, noise)
        if plane is not None:
            y = y + (plane * strength).astype(y.dtype)
        clamp = None if self.clamp is None else self.clamp * self.gain
        return leaky(y + bias.astype(y.dtype).reshape(1, 1, 1, -1), math.sqrt(2) * self.gain, clamp)

    def _noise(self, shape, keys, noise):
        """[B or 1, H, W, 1], or None."""
        draw = lambda: jax.random.normal(self.make_rng("params"), (*shape[1:], 1), jnp.float32)
        const = self.variable("noise", "const", draw)
        if noise == "const":
            return const.value[None]
        return normal_planes(keys, zlib.crc32("/".join(self.path).encode()), (*shape[1:], 1)) if noise == "random" else None


class ToImage(nn.Module):
    """Modulated 1x1 convolution without demodulation, bias, clamp: features -> image channels."""

    channels: int
    clamp: float | None = None
    fused: bool = False

    @nn.compact
    def __call__(self, x: Array, w: Array) -> Array:
        """x [B, H, W, cin], w [B, w_dim] -> [B, H, W, channels], float32."""
        cin = x.shape[-1]
        styles = Dense(cin, bias_init=1.0, name="affine")(w) / math.sqrt(cin)
        kernel = self.param("kernel", nn.initializers.normal(1.0), (1, 1, cin, self.channels), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (self.channels,), jnp.float32)
        y = modulated_conv(x, kernel, styles, demodulate=False, fused=self.fused)
        y = y + bias.astype(y.dtype).reshape(1, 1, 1, -1)
        return (y if self.clamp is None else jnp.clip(y, -self.clamp, self.clamp)).astype(jnp.float32)


class SynthesisBlock(nn.Module):
    """One resolution of the generator: two styled convolutions, the first of which doubles the image (none at the base)."""

    features: int
    channels: int
    base: tuple[int, ...] | None
    to_image: bool
    architecture: str
    clamp: float | None
    taps: tuple[float, ...]
    fused: bool
    dtype: Any

    @nn.compact
    def __call__(
        self, x: Array | None, image: Array | None, ws: Sequence[Array], keys: Array | None, noise: str
    ) -> tuple[Array, Array | None]:
        """x, image: of the resolution below, or None; ws: [B, w_dim] for each layer -> x, image of this one."""
        conv = partial(StyledConv, self.features, clamp=self.clamp, taps=self.taps, fused=self.fused)
        residual = self.architecture == "resnet" and self.base is None
        gain = math.sqrt(0.5) if residual else 1.0
        if self.base:
            const = self.param("const", nn.initializers.normal(1.0), (*self.base, self.features), jnp.float32)
            x = jnp.broadcast_to(const.astype(self.dtype)[None], (ws[0].shape[0], *const.shape))
            x = conv(name="conv1")(x, ws[0], keys, noise)
        else:
            below = x.astype(self.dtype)
            x = conv(resample="up", name="conv0")(below, ws[0], keys, noise)
            x = conv(gain=gain, name="conv1")(x, ws[1], keys, noise)
            if residual:
                skip = Conv(self.features, 1, False, "up", self.taps, gain, self.dtype, name="skip")
                x = skip(below) + x
        if image is not None:
            image = upsample(image, self.taps)
        if self.to_image:
            new = ToImage(self.channels, self.clamp, self.fused, name="torgb")(x, ws[-1])
            image = new if image is None else image + new
        return x, image


class Generator(nn.Module):
    """z [B, z_dim] -> w [B, layers, w_dim] -> image.

    Fields:
      shape: (H, W, C), H and W as `layers.base_size` accepts. classes: 0, or the length of label vectors.
      z_dim, w_dim: of z and w. mapping_layers, mapping_lr, embed, hidden: of `style.Mapping`.
      channel_base, channel_max: features at a grid of h x w are min(channel_base // max(h, w), channel_max): 16384 is the
        paper's configuration E, 32768 is F.
      architecture: 'skip' (an image at every resolution, summed), 'resnet' or 'orig'.
      mixing, w_average: `mixing` and `average` of `style.Mapping`.
      clamp: largest absolute value after a convolution, or None; it guards lower precision.
      taps: filter of the resampling.
      fused: see `equalized.modulated_conv`.
      dtype, dtype_sizes: compute dtype of the `dtype_sizes` highest resolutions; all else, and the base grid, is float32.
    """

    shape: tuple[int, ...]
    classes: int = 0
    z_dim: int = 512
    w_dim: int = 512
    mapping_layers: int = 8
    mapping_lr: float = 0.01
    embed: int | None = None
    hidden: int | None = None
    channel_base: int = 32768
    channel_max: int = 512
    architecture: str = "skip"
    mixing: float = 0.9
    w_average: float = 0.995
    clamp: float | None = 256.0
    taps: tuple[float, ...] = TAPS
    fused: bool = False
    dtype: Any = jnp.float32
    dtype_sizes: int = 4

    def setup(self) -> None:
        check_architecture(self.architecture)
        sizes = self.mapping_layers, self.mapping_lr, self.embed, self.hidden, self.w_average, self.layers, self.mixing
        self.mapping_network = Mapping(self.w_dim, self.z_dim, self.classes, *sizes)

    @property
    def layers(self) -> int:
        """Styles an image takes: one for each convolution and one for the last image layer."""
        return 2 * base_size(self.shape)[1] + 2

    def mapping(
        self,
        z: Array,
        c: AnyArray | None = None,
        *,
        keys: Array | None = None,
        train: bool = False,
        axis: str | None = None,
        psi: Scalar = 1.0,
        cutoff: int | None = None,
    ) -> Array:
        """z [B, z_dim] -> w [B, layers, w_dim]; the arguments are `style.Mapping`'s."""
        return self.mapping_network(z, c, keys=keys, train=train, axis=axis, psi=psi, cutoff=cutoff)

    @nn.compact
    def synthesis(
        self,
        w: Array,
        c: AnyArray | None = None,
        *,
        keys: Array | None = None,
        train: bool = False,
        axis: str | None = None,
        noise: str = "random",
    ) -> Array:
        """w -> image.

        Args:
          w: [B, layers, w_dim], or [B, w_dim] for the same style in every layer.
          c, train, axis: no effect.
          keys: typed keys [B]; needed for noise='random'.
          noise: 'random': a new plane for every layer and image; 'const': the fixed planes (collection "noise"); 'none'.
        Returns:
          [B, H, W, C], float32, about [-1, 1].
        """
        check_noise(noise, keys, w.shape[0])
        if w.ndim == 2:
            w = jnp.repeat(w[:, None, :], self.layers, 1)
        check_input("w", w, (self.layers, self.w_dim))
        base, doublings = base_size(self.shape)
        x = image = None
        for i in range(doublings + 1):
            size = base[0] << i, base[1] << i
            last = i == doublings
            block = SynthesisBlock(
                features_at(self, size),
                self.shape[2],
                None if i else base,
                last or self.architecture == "skip",
                self.architecture,
                self.clamp,
                self.taps,
                self.fused,
                dtype_at(self, i, doublings),
                name=f"b{size[0]}",
            )
            first = max(2 * i - 1, 0)
            x, image = block(x, image, tuple(w[:, j] for j in range(first, 2 * i + 2)), keys, noise)
        return image

    def __call__(
        self,
        z: Array,
        c: AnyArray | None = None,
        *,
        keys: Array | None = None,
        train: bool = False,
        axis: str | None = None,
        psi: Scalar = 1.0,
        cutoff: int | None = None,
        noise: str = "random",
    ) -> Array:
        """z [B, z_dim] -> [B, H, W, C]: `synthesis` of `mapping`; see there for the options."""
        w = self.mapping(z, c, keys=keys, train=train, axis=axis, psi=psi, cutoff=cutoff)
        return self.synthesis(w, c, keys=keys, train=train, axis=axis, noise=noise)


class Discriminator(nn.Module):
    """Image -> logit: residual blocks down to the base grid, minibatch stddev, two dense layers.

    Fields:
      shape, classes, channel_base, channel_max, clamp, taps, dtype, dtype_sizes: as `Generator`.
      architecture: 'resnet', 'skip' or 'orig'.
      mapping_layers, mapping_lr, embed, hidden, label_dim: of the network that maps c to label_dim features (None: as
        many as the base grid has), whose inner product with the last features is the logit.
      group, group_features: of `equalized.minibatch_stddev`; group_features 0 for none.
    """

    shape: tuple[int, ...]
    classes: int = 0
    channel_base: int = 32768
    channel_max: int = 512
    architecture: str = "resnet"
    mapping_layers: int = 8
    mapping_lr: float = 0.01
    embed: int | None = None
    hidden: int | None = None
    label_dim: int | None = None
    group: int = 4
    group_features: int = 1
    clamp: float | None = 256.0
    taps: tuple[float, ...] = TAPS
    dtype: Any = jnp.float32
    dtype_sizes: int = 4

    @nn.compact
    def __call__(
        self, x: Array, c: AnyArray | None = None, *, keys: Array | None = None, train: bool = False, axis: str | None = None
    ) -> Array:
        """x [B, H, W, C] in [-1, 1] -> logits [B], float32. B over all devices of `axis`: a multiple of `group`, or smaller."""
        check_architecture(self.architecture)
        check_input("x", x, self.shape)
        base, doublings = base_size(self.shape)
        image, x = x, None
        for i in range(doublings, 0, -1):
            size = base[0] << i, base[1] << i
            block = DiscriminatorBlock(
                features_at(self, size),
                features_at(self, (size[0] // 2, size[1] // 2)),
                self.architecture,
                self.clamp,
                self.taps,
                dtype_at(self, i, doublings),
                name=f"b{size[0]}",
            )
            x, image = block(x, image)
        label_dim = (self.label_dim or features_at(self, base)) if self.classes else 0
        final = Epilogue(self.architecture, self.group, self.group_features, self.clamp, label_dim, name=f"b{base[0]}")
        out = final(x.astype(jnp.float32), image, axis)
        if not self.classes:
            return out[:, 0]
        sizes = self.mapping_layers, self.mapping_lr, self.embed, self.hidden
        mapping = Mapping(label_dim, 0, self.classes, *sizes, name="mapping_network")
        return (out * mapping(None, c)).sum(1) / math.sqrt(label_dim)


class DiscriminatorBlock(nn.Module):
    """One resolution of the discriminator, which it halves."""

    features: int
    below: int
    architecture: str
    clamp: float | None
    taps: tuple[float, ...]
    dtype: Any

    @nn.compact
    def __call__(self, x: Array | None, image: Array | None) -> tuple[Array, Array | None]:
        """x [B, H, W, features], or None at the full size; image [B, H, W, C] or None -> those of half the size."""
        conv = partial(Conv, dtype=self.dtype, taps=self.taps)
        residual = self.architecture == "resnet"
        gain = math.sqrt(0.5) if residual else 1.0
        if x is not None:
            x = x.astype(self.dtype)
        if x is None or self.architecture == "skip":
            y = leaky(conv(self.features, 1, name="fromrgb")(image), clamp=self.clamp)
            x = y if x is None else x + y
            image = downsample(image.astype(self.dtype), self.taps) if self.architecture == "skip" else None
        y = leaky(conv(self.features, name="conv0")(x), clamp=self.clamp)
        clamp = None if self.clamp is None else self.clamp * gain
        y = leaky(conv(self.below, resample="down", name="conv1")(y), math.sqrt(2) * gain, clamp)
        if residual:
            y = y + conv(self.below, 1, False, "down", gain=gain, name="skip")(x)
        return y, image


class Epilogue(nn.Module):
    """The base grid of the discriminator: stddev channels, convolution, dense, dense to 1 (or label_dim) features."""

    architecture: str
    group: int
    group_features: int
    clamp: float | None
    label_dim: int

    @nn.compact
    def __call__(self, x: Array, image: Array | None, axis: str | None) -> Array:
        """x [B, h, w, C] -> [B, 1 or label_dim]."""
        features = x.shape[3]
        if self.architecture == "skip":
            x = x + leaky(Conv(features, 1, name="fromrgb")(image))
        if self.group_features:
            x = minibatch_stddev(x, group=self.group, features=self.group_features, axis=axis)
        x = leaky(Conv(features, name="conv")(x), clamp=self.clamp)
        x = leaky(Dense(features, name="fc")(x.reshape(x.shape[0], -1)))
        return Dense(self.label_dim or 1, name="out")(x)


def features_at(model: Any, size: Sequence[int]) -> int:
    """Features of a grid of (h, w)."""
    return min(model.channel_base // max(size), model.channel_max)


def dtype_at(model: Any, i: int, doublings: int) -> Any:
    """Compute dtype of the i-th resolution above the base."""
    return model.dtype if i > max(doublings - model.dtype_sizes, 0) else jnp.float32


def check_architecture(name: str) -> None:
    if name not in ARCHITECTURES:
        raise UserError(f"architecture={name!r}: give one of {', '.join(ARCHITECTURES)}")
