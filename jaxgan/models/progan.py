"""ProGAN: the progressively growing networks of Karras et al. 2018, written from the paper.

`stage` is the number of doublings of the base grid in use; `alpha` fades the last one in. At every stage, images have the full
resolution: G repeats the pixels of its stage and D averages over them, so that data, sampling and metrics never change. The
alpha that a network was last trained with is kept in its variables (collection "fade"), so that it samples correctly even in
the middle of a fade. `jaxgan.grow` makes the state of the next stage, and has the schedule.

Source: Karras et al. 2018, "Progressive Growing of GANs for Improved Quality, Stability, and Variation": section 2 (fading),
3 (minibatch stddev), 4 (equalised learning rate, pixel norm), appendix A (layers). Deviations: sizes of 4x4, 5x5, 6x6, 7x7
times a power of two and non-square ones; one-hot labels are concatenated to z, and D has a head for the classes (AC-GAN), as
in the authors' code.
"""

import math
from functools import partial
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from jaxgan.equalized import Conv, Dense, leaky, minibatch_stddev, pixel_norm
from jaxgan.errors import UserError
from jaxgan.layers import base_size, check_input, one_hot_labels
from jaxgan.resample import BOX
from jaxgan.typing import AnyArray, Array, Judgement, Scalar

GAIN = math.sqrt(2)
"""Gain of the kernels before a leaky ReLU, which itself has no gain here."""


class Generator(nn.Module):
    """z -> image, each convolution followed by leaky ReLU and pixel norm.

    Fields:
      shape: (H, W, C) of the images at every stage, H and W as `layers.base_size` accepts.
      classes: 0, or the length of label vectors. z_dim: length of z.
      stage: doublings of the base grid in use; None for all.
      channel_base, channel_max: features at a grid of h x w are min(channel_base // max(h, w), channel_max).
      dtype: compute dtype; the image is float32.
    """

    shape: tuple[int, ...]
    classes: int = 0
    z_dim: int = 512
    stage: int | None = None
    channel_base: int = 16384
    channel_max: int = 512
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        z: Array,
        c: AnyArray | None = None,
        *,
        keys: Array | None = None,
        train: bool = False,
        axis: str | None = None,
        alpha: Scalar | None = None,
    ) -> Array:
        """z [B, z_dim], standard normal; alpha [] in [0, 1], None for the stored one -> [B, H, W, C], float32, about [-1, 1]."""
        check_input("z", z, (self.z_dim,))
        base, doublings, stage = check_stage(self)
        if self.classes:
            z = jnp.concatenate([z, one_hot_labels(c, self.classes, z.dtype)], 1)
        after = lambda x: pixel_norm(leaky(x, 1.0))
        conv = partial(Conv, taps=BOX, gain=GAIN, dtype=self.dtype)
        to_image = lambda i, x: Conv(self.shape[2], 1, dtype=self.dtype, name=f"torgb{base[0] << i}")(x).astype(jnp.float32)
        features = features_at(self, 0)
        # The authors' gain of sqrt(2) / 4 keeps the first layer at the learning rate of their first implementation.
        x = Dense(math.prod(base) * features, bias=False, gain=GAIN / 4, dtype=self.dtype, name="fc")(pixel_norm(z))
        bias = self.param("bias", nn.initializers.zeros, (features,), jnp.float32)
        x = after(x.reshape(-1, *base, features) + bias.astype(self.dtype).reshape(1, 1, 1, -1))
        x = after(conv(features, name=f"b{base[0]}_conv")(x))
        below = None
        for i in range(1, stage + 1):
            below, name = x, f"b{base[0] << i}"
            x = after(conv(features_at(self, i), resample="up", name=f"{name}_conv0")(x))
            x = after(conv(features_at(self, i), name=f"{name}_conv1")(x))
        image = to_image(stage, x)
        if stage:
            alpha = fade(self, alpha)
            image = alpha * image + (1 - alpha) * repeat(to_image(stage - 1, below), 1)
        return repeat(image, doublings - stage)


class Discriminator(nn.Module):
    """Image -> logit, or (logit, class logits [B, classes], None) with classes: the generator's mirror.

    Fields: as `Generator`; group: of `equalized.minibatch_stddev`.
    """

    shape: tuple[int, ...]
    classes: int = 0
    stage: int | None = None
    channel_base: int = 16384
    channel_max: int = 512
    group: int = 4
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Array,
        c: AnyArray | None = None,
        *,
        keys: Array | None = None,
        train: bool = False,
        axis: str | None = None,
        alpha: Scalar | None = None,
    ) -> Judgement:
        """x [B, H, W, C] in [-1, 1]; alpha [] in [0, 1], None for the stored one -> logits [B], or the triple; float32."""
        check_input("x", x, self.shape)
        base, doublings, stage = check_stage(self)
        conv = partial(Conv, taps=BOX, gain=GAIN, dtype=self.dtype)
        from_image = lambda i, x: leaky(conv(features_at(self, i), 1, name=f"fromrgb{base[0] << i}")(x), 1.0)
        image = mean(x, doublings - stage)
        x = from_image(stage, image)
        for i in range(stage, 0, -1):
            name = f"b{base[0] << i}"
            x = leaky(conv(features_at(self, i), name=f"{name}_conv0")(x), 1.0)
            x = leaky(conv(features_at(self, i - 1), resample="down", name=f"{name}_conv1")(x), 1.0)
            if i == stage:
                weight = jnp.asarray(fade(self, alpha), x.dtype)
                x = weight * x + (1 - weight) * from_image(stage - 1, mean(image, 1))
        x = minibatch_stddev(x.astype(jnp.float32), group=self.group, axis=axis)
        x = leaky(Conv(features_at(self, 0), gain=GAIN, name=f"b{base[0]}_conv")(x), 1.0)
        x = leaky(Dense(features_at(self, 0), gain=GAIN, name="fc")(x.reshape(x.shape[0], -1)), 1.0)
        out = Dense(1 + self.classes, name="out")(x)
        return (out[:, 0], out[:, 1:], None) if self.classes else out[:, 0]


def fade(module: nn.Module, alpha: Scalar | None) -> Scalar:
    """alpha as given, and stored if the collection "fade" is mutable; None: the stored one, initially 1."""
    kept = module.variable("fade", "alpha", jnp.ones, (), jnp.float32)
    if alpha is not None and module.is_mutable_collection("fade"):
        kept.value = jnp.asarray(alpha, jnp.float32)
    return kept.value if alpha is None else alpha


def repeat(x: Array, doublings: int) -> Array:
    """Every pixel as a square of 2^doublings: [..., H, W, C] -> [..., H 2^doublings, W 2^doublings, C]."""
    n = 2**doublings
    return jnp.repeat(jnp.repeat(x, n, -3), n, -2)


def mean(x: Array, halvings: int) -> Array:
    """The mean of squares of 2^halvings pixels: [..., H, W, C] -> [..., H / 2^halvings, W / 2^halvings, C]."""
    n, (*b, h, w, c) = 2**halvings, x.shape
    return x.reshape(*b, h // n, n, w // n, n, c).mean((-4, -2))


def check_stage(model: Any) -> tuple[tuple[int, int], int, int]:
    """The base grid, the doublings of the full size, and the model's stage. UserError if there is no such stage."""
    base, doublings = base_size(model.shape)
    stage = doublings if model.stage is None else model.stage
    if not 0 <= stage <= doublings:
        height, width = model.shape[:2]
        raise UserError(f"stage={stage}: images of {height}x{width} have the stages 0 to {doublings}")
    return base, doublings, stage


def features_at(model: Any, i: int) -> int:
    """Features of the grid after i doublings."""
    base, _ = base_size(model.shape)
    return min(model.channel_base // (max(base) << i), model.channel_max)
