"""StyleGAN3: the alias-free generator of Karras et al. 2021, written from the paper. Its discriminator is StyleGAN2's.

The synthesis network starts from Fourier features, which a style turns and shifts, and works on band-limited signals: each
leaky ReLU acts at a raised sampling rate between two low-pass filters. What it draws moves with the image, not with the pixels:
`synthesis(w, transform=...)` translates and rotates an image continuously. Grids have a margin outside the image, which
only the last layer cuts off, so no layer knows the border.

Source: Karras et al. 2021, "Alias-Free Generative Adversarial Networks". Checked against the authors' networks: outputs,
gradients. Deviations: non-square images, and sides that are no powers of two (`grids`); bfloat16 in place of float16, hence no
normalisation of kernels and styles against overflow (theirs changes outputs by less than rounding); the filters are applied
in float32.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxgan.equalized import Dense, leaky, modulated_conv
from jaxgan.errors import UserError
from jaxgan.layers import check_input
from jaxgan.lowpass import jinc, sinc
from jaxgan.resample import separated, upfirdn
from jaxgan.style import Mapping, running_mean
from jaxgan.typing import AnyArray, Array, Scalar


class Grid(NamedTuple):
    """What a layer gives."""

    rate: int
    """Samples along the longer side of the image."""
    cutoff: float
    """Of the signal, in cycles along that side."""
    half_width: float
    """Of the transition band."""
    size: tuple[int, int]
    """Samples in all, with the margin."""
    features: int


class FourierFeatures(nn.Module):
    """The first grid: sine waves of random frequencies within a disc, moved by the style, and mixed by a learned matrix."""

    grid: Grid

    @nn.compact
    def __call__(self, w: Array, transform: AnyArray | None) -> Array:
        """w [B, w_dim], transform [3, 3] or [B, 3, 3] or None -> [B, h, w, features], float32."""
        count, band = self.grid.features, self.grid.cutoff
        frequencies = self.variable("fourier", "frequencies", lambda: _in_disc(self.make_rng("params"), count) * band).value
        draw = lambda: jax.random.uniform(self.make_rng("params"), (count,), jnp.float32, -0.5, 0.5)
        phases = self.variable("fourier", "phases", draw).value[None]
        t = Dense(4, kernel_std=0.0, bias_init=(1.0, 0.0, 0.0, 0.0), name="affine")(w)
        cos, sin, right, down = jnp.split(t / jnp.linalg.norm(t[:, :2], axis=1, keepdims=True), 4, 1)
        fx, fy = frequencies[None, :, 0], frequencies[None, :, 1]
        fx, fy = fx * cos + fy * sin, fy * cos - fx * sin
        phases = phases - fx * right - fy * down
        if transform is not None:
            back = jnp.linalg.inv(jnp.broadcast_to(transform, (w.shape[0], 3, 3)))[..., None]
            phases = phases + fx * back[:, 0, 2] + fy * back[:, 1, 2]
            fx, fy = fx * back[:, 0, 0] + fy * back[:, 1, 0], fx * back[:, 0, 1] + fy * back[:, 1, 1]
        # What a transform moves out of the band fades, and is gone at half the rate.
        beyond = (jnp.hypot(fx, fy) - band) / (self.grid.rate / 2 - band)
        y, x = ((np.arange(n, dtype=np.float32) + 0.5 - n / 2) / self.grid.rate for n in self.grid.size)
        over = lambda a: a[:, None, None, :]
        cycles = x[None, None, :, None] * over(fx) + y[None, :, None, None] * over(fy) + over(phases)
        waves = jnp.sin(2 * math.pi * cycles) * over(jnp.clip(1 - beyond, 0, 1))
        kernel = self.param("kernel", nn.initializers.normal(1.0), (count, count), jnp.float32)
        return waves @ (kernel / math.sqrt(count))


class Layer(nn.Module):
    """Modulated convolution, bias, and leaky ReLU between an upsampling and a downsampling low-pass filter.

    The input is divided by the running root mean square that it has in training (collection "magnitude").
    Fields: before, after: the grids. kernel, filter_size, upsampling, clamp, magnitude_average: of `Generator`. radial: whether
    the second filter is `lowpass.jinc`.
    """

    before: Grid
    after: Grid
    kernel: int
    filter_size: int
    upsampling: int
    radial: bool
    clamp: float | None
    magnitude_average: float
    dtype: Any

    @nn.compact
    def __call__(self, x: Array, w: Array, train: bool, axis: str | None) -> Array:
        """x [B, h, w, cin], w [B, w_dim] -> [B, h', w', features] in `dtype`."""
        x = x * _gain(self, x, self.magnitude_average, train, axis).astype(x.dtype)
        styles = Dense(x.shape[3], bias_init=1.0, name="affine")(w)
        shape = (self.kernel, self.kernel, x.shape[3], self.after.features)
        kernel = self.param("kernel", nn.initializers.normal(1.0), shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (self.after.features,), jnp.float32)
        half = (self.kernel // 2,) * 2  # every output that a sample has a part in; by `conv`'s own padding slow on a CPU
        x = jnp.pad(x.astype(self.dtype), ((0, 0), half, half, (0, 0)))
        # Made again for the backward pass: a quarter less of a GPU's memory at 256 pixels, and as fast on a CPU.
        return jax.checkpoint(self._activated)(modulated_conv(x, kernel, styles), bias)

    def _activated(self, y, bias):
        """y [B, H, W, C] -> after.size, in `dtype`: bias, up, leaky ReLU, down, in float32."""
        y = y.astype(jnp.float32) + bias.reshape(1, 1, 1, -1)
        before, after = self.before, self.after
        rate = max(before.rate, after.rate) * self.upsampling
        up, down = rate // before.rate, rate // after.rate
        taps_up, taps_down = (self.filter_size * n if n > 1 else 1 for n in (up, down))
        pad = (after.size[0] - 1) * down + taps_up + taps_down - 1 - y.shape[1] * up  # the same for the width
        low = (pad + up) // 2  # grids have one centre
        taps = sinc(taps_up, before.cutoff, 2 * before.half_width, rate) if taps_up > 1 else (1.0,)
        y = leaky(upfirdn(y, taps, up=up, pad=(low, pad - low), gain=up**2), clamp=self.clamp)
        if taps_down > 1:
            design = (taps_down, after.cutoff, 2 * after.half_width, rate)
            y = separated(y, jinc(*design), down=down) if self.radial else upfirdn(y, sinc(*design), down=down)
        return y.astype(self.dtype)


class ToImage(nn.Module):
    """Modulated 1x1 convolution without demodulation, bias, clamp. Fields: as `Layer`."""

    channels: int
    clamp: float | None
    magnitude_average: float
    dtype: Any

    @nn.compact
    def __call__(self, x: Array, w: Array, train: bool, axis: str | None) -> Array:
        """x [B, H, W, cin], w [B, w_dim] -> [B, H, W, channels], float32."""
        x = x * _gain(self, x, self.magnitude_average, train, axis).astype(x.dtype)
        styles = Dense(x.shape[3], bias_init=1.0, name="affine")(w) / math.sqrt(x.shape[3])
        kernel = self.param("kernel", nn.initializers.normal(1.0), (1, 1, x.shape[3], self.channels), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (self.channels,), jnp.float32)
        y = modulated_conv(x.astype(self.dtype), kernel, styles, demodulate=False).astype(jnp.float32)
        y = y + bias.reshape(1, 1, 1, -1)
        return y if self.clamp is None else jnp.clip(y, -self.clamp, self.clamp)


class Generator(nn.Module):
    """z [B, z_dim] -> w [B, layers, w_dim] -> image.

    The defaults are the authors' configuration T, equivariant to translation; R, to rotation too, has kernel 1, radial filters
    and twice the channels.

    Fields:
      shape: (H, W, C), sides of 8 or more. classes: 0, or the length of label vectors.
      z_dim, w_dim: of z and w. mapping_layers, mapping_lr, w_average: of `style.Mapping`.
      channel_base, channel_max: features of a layer are min(channel_base / (2 cutoff), channel_max).
      depth: layers between the Fourier features and the image. critical: the last of them, which use the full band.
      first_cutoff, first_stopband: of the first layer, in cycles along the longer side. last_stopband: over the last cutoff.
      margin: samples on each side beyond the image. output_scale: factor on the image.
      kernel, radial: size of the convolutions, odd; `Layer`'s, of the layers that are not critical.
      filter_size: taps for each sample of the lower rate. upsampling: the rate of a leaky ReLU over that of its layer.
      clamp: largest absolute value after a layer, or None. magnitude_average: decay of the running magnitudes.
      dtype, dtype_sizes: the arithmetic of convolutions at the so many highest rates; all else is float32.
    """

    shape: tuple[int, ...]
    classes: int = 0
    z_dim: int = 512
    w_dim: int = 512
    mapping_layers: int = 2
    mapping_lr: float = 0.01
    w_average: float = 0.998
    channel_base: int = 32768
    channel_max: int = 512
    depth: int = 14
    critical: int = 2
    first_cutoff: float = 2.0
    first_stopband: float = 2**2.1
    last_stopband: float = 2**0.3
    margin: int = 10
    output_scale: float = 0.25
    kernel: int = 3
    radial: bool = False
    filter_size: int = 6
    upsampling: int = 2
    clamp: float | None = 256.0
    magnitude_average: float = 0.999
    dtype: Any = jnp.float32
    dtype_sizes: int = 4

    def setup(self) -> None:
        sizes = self.mapping_layers, self.mapping_lr, None, None, self.w_average, self.layers
        self.mapping_network = Mapping(self.w_dim, self.z_dim, self.classes, *sizes)

    @property
    def layers(self) -> int:
        """Styles an image takes: of the Fourier features, of each layer, and of the image."""
        return self.depth + 2

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
        """z [B, z_dim] -> w [B, layers, w_dim]; the arguments are `style.Mapping`'s, keys change nothing."""
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
        transform: AnyArray | None = None,
    ) -> Array:
        """w -> image.

        Args:
          w: [B, layers, w_dim], or [B, w_dim] for the same style in every layer.
          c, keys: change nothing.
          train: move the running magnitudes where "magnitude" is mutable. axis: device axis that they are over, or None.
          transform: [3, 3] or [B, 3, 3], an invertible matrix that moves the image, such as `moved` gives: (x, y, 1) to
            (x', y', 1), x to the right and y down from the centre, the longer side 1 long.
        Returns:
          [B, H, W, C], float32, about [-1, 1].
        """
        if w.ndim == 2:
            w = jnp.repeat(w[:, None, :], self.layers, 1)
        check_input("w", w, (self.layers, self.w_dim))
        before, *rest = grids(self)
        x = FourierFeatures(before, name="input")(w[:, 0], transform)
        for i, after in enumerate(rest):
            low = after.rate << self.dtype_sizes > max(self.shape[:2])
            layer = Layer(
                before,
                after,
                self.kernel,
                self.filter_size,
                self.upsampling,
                self.radial and i < self.depth - self.critical,
                self.clamp,
                self.magnitude_average,
                self.dtype if low else jnp.float32,
                name=f"layer{i}",
            )
            x, before = layer(x, w[:, i + 1], train, axis), after
        low = self.dtype if self.dtype_sizes else jnp.float32
        torgb = ToImage(self.shape[2], self.clamp, self.magnitude_average, low, name="torgb")
        return torgb(x, w[:, -1], train, axis) * self.output_scale

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
    ) -> Array:
        """z [B, z_dim] -> [B, H, W, C]: `synthesis` of `mapping`, which say what the options are."""
        w = self.mapping(z, c, keys=keys, train=train, axis=axis, psi=psi, cutoff=cutoff)
        return self.synthesis(w, c, keys=keys, train=train, axis=axis)


def grids(model: Any) -> list[Grid]:
    """The grids of the Fourier features and of each layer. UserError where the model's fields cannot be.

    Cutoffs and stopbands grow geometrically to half the longer side, which they reach before the critical layers. A rate is
    the lowest that holds the stopband: the side divided by a power of two (that divides both sides).
    """
    height, width, _ = model.shape
    side, steps = max(height, width), model.depth - model.critical
    if min(height, width) < 8 or steps < 1 or model.critical < 1:
        said = f"images of {height}x{width}, depth {model.depth}, critical {model.critical}"
        raise UserError(f"stylegan3: {said}; give sides of 8 or more, and 1 <= critical < depth")
    share = np.minimum(np.arange(model.depth) / steps, 1)
    cutoffs = model.first_cutoff * (side / 2 / model.first_cutoff) ** share
    stopbands = model.first_stopband * (side / 2 * model.last_stopband / model.first_stopband) ** share
    halvings = int(math.log2(math.gcd(height, width) & -math.gcd(height, width)))
    out = []
    for i, (cutoff, stopband) in enumerate(zip(cutoffs.tolist(), stopbands.tolist(), strict=True)):
        below = 1 << min(int(math.log2(side / min(2 * stopband, side))), halvings)
        rate, margin = side // below, model.margin if i < model.depth - 1 else 0
        size = height // below + 2 * margin, width // below + 2 * margin
        features = round(min(model.channel_base / 2 / cutoff, model.channel_max))
        out.append(Grid(rate, cutoff, max(stopband, rate / 2) - cutoff, size, features))
    return [out[0], *out]


def moved(right: float = 0.0, down: float = 0.0, angle: float = 0.0) -> np.ndarray:
    """The `transform` that turns an image by `angle` degrees, counterclockwise as one sees it, and then shifts it.

    Args:
      right, down: in longer sides of the image. Numbers, all three.
    Returns:
      float32 [3, 3].
    """
    c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    return np.array([[c, s, right], [-s, c, down], [0, 0, 1]], np.float32)


def _in_disc(key, count):
    """[count, 2], uniform in the unit disc."""
    angle, square = jax.random.uniform(key, (2, count), jnp.float32)
    return jnp.sqrt(square)[:, None] * jnp.stack([jnp.cos(2 * math.pi * angle), jnp.sin(2 * math.pi * angle)], 1)


def _gain(module, x, decay, train, axis):
    """1 over the running root mean square of a layer's input."""
    mean = module.variable("magnitude", "mean", jnp.ones, (), jnp.float32)
    now = lambda: jnp.square(jax.lax.stop_gradient(x).astype(jnp.float32)).mean()
    return jax.lax.rsqrt(running_mean(module, "magnitude", mean, now, decay, train, axis))
