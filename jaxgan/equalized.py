"""Layers of the ProGAN and StyleGAN families: equalised learning rate, modulated convolution, pixel norm, minibatch stddev.

Equalised learning rate: a kernel is stored with unit variance and multiplied by gain / sqrt(fan in) at every use, so that
Adam, whose step does not know the scale of a parameter, moves every layer by the same share of its size. Parameters are
float32, arithmetic runs in the layer's `dtype`.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxgan import ops
from jaxgan.errors import UserError
from jaxgan.resample import TAPS, conv_down, conv_up
from jaxgan.typing import Array

SLOPE = 0.2


def leaky(x: Array, gain: float = math.sqrt(2), clamp: float | None = None) -> Array:
    """Leaky ReLU of slope 0.2, times gain, within +-clamp: the StyleGAN2 activation, whose gain keeps the second moment.

    Args:
      x: any shape. gain: number. clamp: None, or the largest absolute value after the gain.
    Returns:
      x's shape and dtype.
    Source: Karras et al. 2020 (StyleGAN2), appendix B; clamp as in Karras et al. 2020 (ADA), appendix D.
    """
    y = jnp.where(x < 0, x * SLOPE, x) * jnp.asarray(gain, x.dtype)
    return y if clamp is None else jnp.clip(y, -clamp, clamp)


def pixel_norm(x: Array, epsilon: float = 1e-8) -> Array:
    """Each vector of the last axis to unit mean square: x / sqrt(mean(x^2) + epsilon), in float32.

    Args:
      x: [..., C], float.
    Returns:
      x's shape and dtype.
    Source: Karras et al. 2018, section 4.2; StyleGAN normalises z and the embedded label so.
    """
    value = x.astype(jnp.float32)
    return (value * jax.lax.rsqrt(jnp.mean(jnp.square(value), -1, keepdims=True) + epsilon)).astype(x.dtype)


def minibatch_stddev(x: Array, *, group: int = 4, features: int = 1, axis: str | None = None) -> Array:
    """How much the images of a group differ, appended as constant channels: mean over pixels of sqrt(var_group + 1e-8).

    A group is `group` neighbours of the global batch, the images [k group, (k + 1) group); where the batch of one device
    is not a multiple of it, the devices' batches are gathered first. So the groups do not depend on the device count.

    Args:
      x: [B, H, W, C], this device's images.
      group: images a group, at most the global batch (a smaller batch is one group); it divides the batch.
      features: channels added; each of them looks at its own C / features channels.
      axis: name of the mapped device axis, or None.
    Returns:
      [B, H, W, C + features].
    Raises:
      UserError: group does not divide the batch. ValueError: features do not divide the channels.
    Source: Karras et al. 2018, section 3. Deviation: the official codes put the images i, i + B / group, ... of one
      device into a group (the same up to the order of the batch; equal where the batch is one group).
    """
    local = x.shape[0]
    devices = 1 if axis is None else jax.lax.axis_size(axis)
    group = min(group, local * devices)
    if local * devices % group:
        said = (
            f"minibatch_stddev compares {group} images at a time, and a (micro-)batch of {local * devices} is no multiple of that"
        )
        raise UserError(f"{said}; change --batch, or the group")
    if x.shape[3] % features:
        raise ValueError(f"minibatch_stddev: {features} features do not divide the {x.shape[3]} channels")
    value = x.astype(jnp.float32)
    gathered = local % group != 0
    if gathered:
        value = jax.lax.all_gather(value, axis, tiled=True)
    value = value.reshape(-1, group, *x.shape[1:3], features, x.shape[3] // features)
    spread = jnp.sqrt(jnp.var(value, 1) + 1e-8).mean((1, 2, 4))
    spread = jnp.repeat(spread, group, 0)
    if gathered:
        spread = jax.lax.dynamic_slice_in_dim(spread, jax.lax.axis_index(axis) * local, local)
    plane = jnp.broadcast_to(spread[:, None, None, :], (*x.shape[:3], features))
    return jnp.concatenate([x, plane.astype(x.dtype)], 3)


class Dense(nn.Module):
    """x W s + b lr_mult, s = gain lr_mult / sqrt(fan in), W stored as N(0, 1) / lr_mult.

    Fields:
      features: outputs. bias: whether there is b, [features], starting at bias_init, a number or one for each.
      kernel_std: of N(0, 1) above.
      lr_mult: the layer learns at this multiple of the optimiser's rate (0.01 in mapping networks).
      gain: 1, or sqrt(2) where a leaky ReLU without gain follows.
    Source: Karras et al. 2018, section 4.1; Karras et al. 2019, appendix C for lr_mult. StyleGAN2's code.
    """

    features: int
    bias: bool = True
    bias_init: float | tuple[float, ...] = 0.0
    kernel_std: float = 1.0
    lr_mult: float = 1.0
    gain: float = 1.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, cin] -> [B, features] in `dtype`."""
        init = nn.initializers.normal(self.kernel_std / self.lr_mult)
        kernel = self.param("kernel", init, (x.shape[-1], self.features), jnp.float32)
        scale = self.gain * self.lr_mult / math.sqrt(x.shape[-1])
        y = x.astype(self.dtype) @ (kernel * scale).astype(self.dtype)
        if self.bias:
            start = nn.initializers.constant(np.asarray(self.bias_init) / self.lr_mult)
            b = self.param("bias", start, (self.features,), jnp.float32) * self.lr_mult
            y = y + b.astype(self.dtype)[None]
        return y


class Conv(nn.Module):
    """Convolution with W s, s = gain / sqrt(fan in), W stored as N(0, 1); plus b [features].

    Fields:
      features, size: outputs, kernel size (odd). bias: whether there is b, starting at 0.
      resample: '', 'up' (`resample.conv_up`) or 'down' (`resample.conv_down`), with the filter taps.
      gain: 1, or sqrt(2) where a leaky ReLU without gain follows.
    Source: Karras et al. 2018, section 4.1.
    """

    features: int
    size: int = 3
    bias: bool = True
    resample: str = ""
    taps: tuple[float, ...] = TAPS
    gain: float = 1.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, H, W, cin] -> [B, H', W', features] in `dtype`."""
        shape = (self.size, self.size, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.normal(1.0), shape, jnp.float32)
        kernel = (kernel * (self.gain / math.sqrt(math.prod(shape[:3])))).astype(self.dtype)
        y = resampled_conv(x.astype(self.dtype), kernel, self.resample, self.taps)
        if self.bias:
            b = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
            y = y + b.astype(self.dtype).reshape(1, 1, 1, -1)
        return y


def resampled_conv(x: Array, kernel: Array, resample: str = "", taps: Sequence[float] = TAPS) -> Array:
    """`ops.conv`, `resample.conv_up` or `resample.conv_down` by its name '', 'up' or 'down'."""
    if resample not in ("", "up", "down"):
        raise ValueError(f"resample must be '', 'up' or 'down', not {resample!r}")
    if not resample:
        return ops.conv(x, kernel)
    return conv_up(x, kernel, taps) if resample == "up" else conv_down(x, kernel, taps)


def modulated_conv(
    x: Array,
    kernel: Array,
    styles: Array,
    *,
    demodulate: bool = True,
    resample: str = "",
    taps: Sequence[float] = TAPS,
    fused: bool = False,
) -> Array:
    """Convolution whose input channels are scaled by a style an image, at unit variance of the output if demodulated.

    w'_i,o = s_i w_i,o, and with demodulation w'' = w' / sqrt(sum over i and the window of w'^2 + 1e-8), for each image.

    Args:
      x: [B, H, W, cin]. kernel: [k, k, cin, cout], float32. styles: [B, cin], float32.
      demodulate: see above.
      resample, taps: as `Conv`.
      fused: False: x is scaled, one dense convolution serves all images, and its output is scaled. True: every image has
        a kernel of its own (a grouped convolution). The results are equal up to rounding; the dense form is the fast one
        for training, and on a CPU always (there the gradient of a grouped convolution is a hundred times slower).
    Returns:
      [B, H', W', cout], x's dtype.
    Source: Karras et al. 2020 (StyleGAN2), eqs. 1 to 3.
    """
    if styles.shape != (x.shape[0], x.shape[3]) or kernel.shape[2] != x.shape[3]:
        raise ValueError(f"modulated_conv: x {x.shape}, kernel {kernel.shape} and styles {styles.shape} do not fit together")
    scale = None
    if demodulate:  # a sum of squares per pair of channels: cheap, so at full precision
        energy = jnp.sum(jnp.square(kernel), (0, 1))
        scale = jax.lax.rsqrt(jnp.matmul(jnp.square(styles), energy, precision="highest") + 1e-8)
    if fused:
        kernels = kernel[None] * styles[:, None, None, :, None]
        kernels = kernels if scale is None else kernels * scale[:, None, None, None, :]
        one = lambda image, kernel: resampled_conv(image[None], kernel, resample, taps)[0]
        return jax.vmap(one)(x, kernels.astype(x.dtype))
    y = resampled_conv(x * _over_pixels(styles, x.dtype), kernel.astype(x.dtype), resample, taps)
    return y if scale is None else y * _over_pixels(scale, x.dtype)


def _over_pixels(v, dtype):
    return v.astype(dtype)[:, None, None, :]
