"""DCGAN: the networks of the tutorial this project grew from, and those of Radford et al. 2016 for any size.

They, and those of the other modules, are called as `jaxgan.models` says.
"""

from functools import partial
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from jaxgan.errors import UserError
from jaxgan.heads import Head
from jaxgan.layers import BatchNorm, Conv, ConvTranspose, Dropout, Embed, base_size, check_input, glorot_uniform, near_one, small
from jaxgan.spectral import SpectralConv
from jaxgan.typing import AnyArray, Array, Judgement

TUTORIAL_SHAPE = (28, 28, 1)
leaky = partial(nn.leaky_relu, negative_slope=0.3)  # Keras's default slope


class TutorialGenerator(nn.Module):
    """The tutorial's generator: z [B, 100] -> 28x28x1, Keras's defaults throughout.

    Dense 7*7*256, BN, leaky 0.3; transposed convolutions 5x5 to 128 (stride 1), 64 (stride 2), each with BN and leaky,
    and 1 (stride 2) with tanh; no biases. Deviation: the listing says Dense(256) and then reshapes to 7x7x256, which
    Keras refuses; the reshape needs 7*7*256, which is also what the listing's source (TensorFlow's DCGAN tutorial) has.
    Conditional on labels (ours): a learned class embedding is concatenated to z.

    Fields:
      shape: (28, 28, 1) and nothing else. classes: 0 or the number of classes. dtype: compute dtype.
    """

    shape: tuple[int, ...] = TUTORIAL_SHAPE
    classes: int = 0
    z_dim: int = 100
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, z: Array, c: AnyArray | None = None, *, keys: Array | None = None, train: bool = False, axis: str | None = None
    ) -> Array:
        """z [B, z_dim], standard normal -> [B, 28, 28, 1], float32 in (-1, 1)."""
        _check_seed_shape(self.shape)
        check_input("z", z, (self.z_dim,))
        norm = lambda x: leaky(BatchNorm(axis=axis)(x, train))
        deconv = partial(ConvTranspose, size=5, bias=False, dtype=self.dtype)
        if self.classes:
            z = jnp.concatenate([z, Embed(self.classes, self.z_dim)(c)], 1)
        x = nn.Dense(7 * 7 * 256, use_bias=False, kernel_init=glorot_uniform, dtype=self.dtype)(z)
        x = norm(x).reshape(-1, 7, 7, 256)
        x = norm(deconv(128, stride=1)(x))
        x = norm(deconv(64, stride=2)(x))
        return jnp.tanh(deconv(1, stride=2)(x).astype(jnp.float32))


class TutorialDiscriminator(nn.Module):
    """The tutorial's discriminator: 28x28x1 -> logits, Keras's defaults throughout.

    Convolutions 5x5 stride 2 to 64 and 128 with bias, each with leaky 0.3 and dropout; flatten; Dense 1. Deviation: no
    sigmoid at the end. The losses take logits, because log(sigmoid(x)) computed from the sigmoid loses its gradient
    once the sigmoid rounds to 0 or 1; the function is the same. Conditional on labels (ours): plus the inner product of
    the last features with a learned class embedding (Miyato & Koyama 2018).

    Fields:
      shape: (28, 28, 1) and nothing else. classes: 0 or the number of classes. dropout: rate in [0, 1).
    """

    shape: tuple[int, ...] = TUTORIAL_SHAPE
    classes: int = 0
    dropout: float = 0.3
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Array, c: AnyArray | None = None, *, keys: Array | None = None, train: bool = False, axis: str | None = None
    ) -> Array:
        """x [B, 28, 28, 1] in [-1, 1] -> logits [B], float32."""
        _check_seed_shape(self.shape)
        check_input("x", x, self.shape)
        for features in (64, 128):
            x = leaky(Conv(features, size=5, stride=2, dtype=self.dtype)(x))
            x = Dropout(self.dropout)(x, keys, train)
        features = x.reshape(x.shape[0], -1).astype(jnp.float32)
        logits = nn.Dense(1, kernel_init=glorot_uniform)(features)[:, 0]
        if self.classes:
            logits = logits + (features * Embed(self.classes, features.shape[1], small)(c)).sum(1)
        return logits


class Generator(nn.Module):
    """The generator of Radford et al.: a dense layer to a small grid, then stride-2 transposed convolutions and tanh.

    The paper's guidelines: batch norm everywhere except on the output, ReLU, no hidden dense layers, weights N(0, 0.02), tanh;
    z is uniform in the paper and normal here, as in almost all later code. Kernels are 4x4 (the authors' Torch code;
    the paper's figure shows 5x5, which the stride does not divide, and which favours checkerboard artefacts). Conditional
    on labels (ours): a learned class embedding is concatenated to z.

    Fields:
      shape: (H, W, C), H and W as `layers.base_size` accepts: 28, 32, 48, 64, 128, ... and non-square.
      classes: 0 or the number of classes. z_dim: length of z.
      width: channels of the last hidden grid (half the image's size), doubled at every grid below it. max_width: upper
        bound on channels. kernel: kernel size.
    Source: Radford, Metz & Chintala 2016, section 3; at 64x64x3 it is their network (1024, 512, 256, 128 channels) with
      width = 128, which their Theano code's D has too. The Torch code's ngf and ndf are 64.
    """

    shape: tuple[int, ...]
    classes: int = 0
    z_dim: int = 100
    width: int = 64
    max_width: int = 1024
    kernel: int = 4
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, z: Array, c: AnyArray | None = None, *, keys: Array | None = None, train: bool = False, axis: str | None = None
    ) -> Array:
        """z [B, z_dim], standard normal -> [B, H, W, C], float32 in (-1, 1)."""
        check_input("z", z, (self.z_dim,))
        (h, w), doublings = base_size(self.shape)
        widths = doubled(self, doublings)[::-1]
        norm = lambda x: nn.relu(BatchNorm(0.9, 1e-5, axis, near_one)(x, train))
        deconv = partial(ConvTranspose, size=self.kernel, kernel_init=small, dtype=self.dtype)
        if self.classes:
            z = jnp.concatenate([z, Embed(self.classes, self.z_dim)(c)], 1)
        x = nn.Dense(h * w * widths[0], use_bias=False, kernel_init=small, dtype=self.dtype)(z)
        x = norm(x.reshape(-1, h, w, widths[0]))
        for features in widths[1:]:
            x = norm(deconv(features, bias=False)(x))
        return jnp.tanh(deconv(self.shape[2])(x).astype(jnp.float32))


class Discriminator(nn.Module):
    """The discriminator of Radford et al.: stride-2 convolutions down to the small grid, then one linear map.

    Batch norm everywhere except on the input layer, leaky ReLU 0.2, weights N(0, 0.02), no pooling. In training the images
    of a batch influence one another through batch norm: per-image gradient penalties need `norm=False`. Conditional on
    labels (ours): plus the inner product of the last features with a learned class embedding (Miyato & Koyama
    2018).

    Fields:
      shape, classes, max_width, kernel: as `Generator`.
      width: channels of the first grid (half the image's size), doubled at every grid below it.
      norm: batch norm or none. dropout: rate in [0, 1) after every activation (AC-GAN's discriminator: 0.5).
      spectral: spectral normalisation of every layer; with norm=False this is nearly the SN-DCGAN of Miyato et al. 2018.
      head: of `heads.KINDS`.
    Source: Radford, Metz & Chintala 2016, section 3.
    """

    shape: tuple[int, ...]
    classes: int = 0
    width: int = 64
    max_width: int = 1024
    kernel: int = 4
    norm: bool = True
    dropout: float = 0.0
    spectral: bool = False
    head: str = ""
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Array, c: AnyArray | None = None, *, keys: Array | None = None, train: bool = False, axis: str | None = None
    ) -> Judgement:
        """x [B, H, W, C] in [-1, 1] -> logits [B], float32, or what `heads.Head` returns for that kind."""
        check_input("x", x, self.shape)
        conv = SpectralConv if self.spectral else Conv
        for i, features in enumerate(doubled(self, base_size(self.shape)[1])):
            norm = self.norm and i > 0
            x = conv(features, self.kernel, 2, bias=not norm, kernel_init=small, dtype=self.dtype)(x)
            x = nn.leaky_relu(BatchNorm(0.9, 1e-5, axis, near_one)(x, train) if norm else x, 0.2)
            x = Dropout(self.dropout)(x, keys, train)
        head = Head(self.classes, self.head, spectral=self.spectral, kernel_init=small, name="head")
        return head(x.reshape(x.shape[0], -1), c)


def doubled(model: Any, grids: int) -> list[int]:
    """Channels of so many grids, the largest first: width, and twice as many in every next one, up to max_width."""
    return [min(model.width * 2**i, model.max_width) for i in range(grids)]


def _check_seed_shape(shape):
    if tuple(shape) != TUTORIAL_SHAPE:
        raise UserError(
            f"the tutorial's networks make 28x28x1 images, not {'x'.join(map(str, shape))}; resize the images, or take "
            "the pair Generator and Discriminator"
        )
