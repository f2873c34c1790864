"""StyleGAN: the networks of Karras et al. 2019, written from the paper. `Generator` has the methods `mapping` and `synthesis`.

Source: Karras et al. 2019, "A Style-Based Generator Architecture for Generative Adversarial Networks": their configuration
F; details from appendix C. Deviations: no progressive growing (StyleGAN2 showed it to be unnecessary; `progan` has it); sizes of
4x4, 5x5, 6x6, 7x7 times a power of two and non-square ones; the label embedding is StyleGAN2-ADA's; style mixing draws its
layer for every image. In the mapping network the gain of sqrt(2) is of kernel and bias here, as in StyleGAN2, and of the kernel
alone in the authors' code, so that the bias learns sqrt(2) times faster here.
"""

import zlib
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxgan.equalized import Conv, Dense, leaky, minibatch_stddev
from jaxgan.layers import base_size, check_input, one_hot_labels
from jaxgan.models.progan import GAIN, features_at
from jaxgan.resample import BOX, blur
from jaxgan.style import Mapping, check_noise, normal_planes
from jaxgan.typing import AnyArray, Array, Scalar


class Epilogue(nn.Module):
    """After each convolution: noise times a learned strength per channel, bias, leaky ReLU, AdaIN with the style of w.

    AdaIN: y_s (x - mean) / sqrt(var + 1e-8) + y_b, statistics of each image and channel; (y_s - 1, y_b) is linear in w.
    Source: Karras et al. 2019, eq. 1 and figure 1.
    """

    @nn.compact
    def __call__(self, x: Array, w: Array, keys: Array | None, noise: str) -> Array:
        """x [B, H, W, C], w [B, w_dim] -> x's shape and dtype."""
        features = x.shape[3]
        shape = (*x.shape[1:3], 1)
        strength = self.param("noise_strength", nn.initializers.zeros, (features,), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (features,), jnp.float32)
        const = self.variable("noise", "const", lambda: jax.random.normal(self.make_rng("params"), shape, jnp.float32))
        if noise != "none":
            salt = zlib.crc32("/".join(self.path).encode())
            plane = const.value[None] if noise == "const" else normal_planes(keys, salt, shape)
            x = x + (plane * strength.reshape(1, 1, 1, -1)).astype(x.dtype)
        x = leaky(x + bias.astype(x.dtype).reshape(1, 1, 1, -1), 1.0)
        value = x.astype(jnp.float32)
        value = value - value.mean((1, 2), keepdims=True)
        value = value * jax.lax.rsqrt(jnp.square(value).mean((1, 2), keepdims=True) + 1e-8)
        style = Dense(2 * features, name="affine")(w)[:, None, None, :]
        return (value * (1 + style[..., :features]) + style[..., features:]).astype(x.dtype)


class Generator(nn.Module):
    """z [B, z_dim] -> w [B, layers, w_dim] -> image.

    Fields:
      shape: (H, W, C), H and W as `layers.base_size` accepts. classes: 0, or the length of label vectors.
      z_dim, w_dim: of z and w. mapping_layers, mapping_lr, mixing, w_average: of `style.Mapping`.
      channel_base, channel_max: features at a grid of h x w are min(channel_base // max(h, w), channel_max).
      dtype: compute dtype; the image is float32.
    """

    shape: tuple[int, ...]
    classes: int = 0
    z_dim: int = 512
    w_dim: int = 512
    mapping_layers: int = 8
    mapping_lr: float = 0.01
    channel_base: int = 16384
    channel_max: int = 512
    mixing: float = 0.9
    w_average: float = 0.995
    dtype: Any = jnp.float32

    def setup(self) -> None:
        sizes = self.mapping_layers, self.mapping_lr, None, None, self.w_average, self.layers, self.mixing
        self.mapping_network = Mapping(self.w_dim, self.z_dim, self.classes, *sizes)

    @property
    def layers(self) -> int:
        """Styles an image takes: two for each resolution."""
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
        """z [B, z_dim] -> w [B, layers, w_dim]; the arguments are `style.Mapping`'s. The paper shows psi=0.7, cutoff=8."""
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
        """w [B, layers, w_dim] or [B, w_dim] -> image [B, H, W, C], float32; the arguments are StyleGAN2's."""
        check_noise(noise, keys, w.shape[0])
        if w.ndim == 2:
            w = jnp.repeat(w[:, None, :], self.layers, 1)
        check_input("w", w, (self.layers, self.w_dim))
        base, doublings = base_size(self.shape)
        conv = partial(Conv, bias=False, taps=BOX, gain=GAIN, dtype=self.dtype)
        for i in range(doublings + 1):
            features, name = features_at(self, i), f"b{base[0] << i}"
            if i == 0:
                # In float32 as far as AdaIN, which enlarges what differs from its first value, 1, however little that is.
                x = self.param("const", nn.initializers.ones, (*base, features), jnp.float32)
                x = jnp.broadcast_to(x[None], (w.shape[0], *x.shape))
            else:
                x = blur(conv(features, resample="up", name=f"{name}_conv0")(x))
            x = Epilogue(name=f"{name}_style0")(x, w[:, 2 * i], keys, noise)
            x = conv(features, name=f"{name}_conv1")(x)
            x = Epilogue(name=f"{name}_style1")(x, w[:, 2 * i + 1], keys, noise)
        return Conv(self.shape[2], 1, dtype=self.dtype, name="torgb")(x).astype(jnp.float32)

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
        """z [B, z_dim] -> [B, H, W, C]: `synthesis` of `mapping`."""
        w = self.mapping(z, c, keys=keys, train=train, axis=axis, psi=psi, cutoff=cutoff)
        return self.synthesis(w, c, keys=keys, train=train, axis=axis, noise=noise)


class Discriminator(nn.Module):
    """Image -> logit: ProGAN's discriminator with a blur before every halving. With classes: the output for the label.

    Fields: shape, classes, channel_base, channel_max, dtype as `Generator`; group of `equalized.minibatch_stddev`.
    """

    shape: tuple[int, ...]
    classes: int = 0
    channel_base: int = 16384
    channel_max: int = 512
    group: int = 4
    dtype: Any = jnp.float32

    @property
    def zero_without_label(self) -> bool:
        """Whether the logit under a label vector of zeros is 0 whatever the image."""
        return bool(self.classes)

    @nn.compact
    def __call__(
        self, x: Array, c: AnyArray | None = None, *, keys: Array | None = None, train: bool = False, axis: str | None = None
    ) -> Array:
        """x [B, H, W, C] in [-1, 1] -> logits [B], float32."""
        check_input("x", x, self.shape)
        base, doublings = base_size(self.shape)
        at = partial(features_at, self)
        conv = partial(Conv, taps=BOX, gain=GAIN, dtype=self.dtype)
        x = leaky(conv(at(doublings), 1, name="fromrgb")(x), 1.0)
        for i in range(doublings, 0, -1):
            name = f"b{base[0] << i}"
            x = leaky(conv(at(i), name=f"{name}_conv0")(x), 1.0)
            x = leaky(conv(at(i - 1), resample="down", name=f"{name}_conv1")(blur(x)), 1.0)
        x = minibatch_stddev(x.astype(jnp.float32), group=self.group, axis=axis)
        x = leaky(Conv(at(0), gain=GAIN, name=f"b{base[0]}_conv")(x), 1.0)
        x = leaky(Dense(at(0), gain=GAIN, name="fc")(x.reshape(x.shape[0], -1)), 1.0)
        out = Dense(max(self.classes, 1), name="out")(x)
        return (out * one_hot_labels(c, self.classes)).sum(1) if self.classes else out[:, 0]
