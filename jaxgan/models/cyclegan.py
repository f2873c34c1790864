"""CycleGAN: two generators that translate between two kinds of images, A and B, and a PatchGAN for each kind.

An image of the game is a pair of unpaired ones, an a and a b, stacked along the channels: [B, H, W, 2 C], a's channels first. The
generator makes of (a, b) the pair (F(b), G(a)), so that each half of its output is of the kind that this half of the data is, and
made of its own output the pair (F(G(a)), G(F(b))), the two cycles. Images are float32 in [-1, 1].

Source: Zhu et al. 2017, section 4 and appendix 7.2; the generator is that of Johnson et al. 2016 with instance normalisation. As
in the code of the paper the norm has learned gains and biases (the authors' later PyTorch code has neither). The discriminators'
zero padding is one pixel wide, as in pix2pix and that later code (two in the code of the paper).
"""

from functools import partial
from typing import Any, ClassVar

import jax.numpy as jnp
from flax import linen as nn

from jaxgan.errors import UserError
from jaxgan.layers import Conv, ConvTranspose, check_input, small
from jaxgan.models import pix2pix
from jaxgan.typing import AnyArray, Array

LEAST = 5
"""Pixels along a side: reflection at the border of the smallest grid, a quarter of the image, needs two there."""


class Translator(nn.Module):
    """One direction: c7s1-64, d128, d256, residual blocks R256, u128, u64, c7s1-3, every convolution but the last normalised.

    The 7x7 convolutions and those of the blocks see the image reflected at its border, the others zeros. An odd side n is halved
    to (n + 1) / 2 and cut to n on the way back, so any size from 5x5 on fits.

    Fields:
      shape: (H, W, C) of the image that is made. source_channels: of the one that it is made from.
      width: channels at full resolution, four times as many in the blocks.
      blocks: residual blocks; the paper's are 9 from 256x256 on, 6 at 128x128.
      dtype: compute dtype; the image is float32.
    """

    z_dim: ClassVar[int] = 0
    classes: ClassVar[int] = 0

    shape: tuple[int, ...]
    source_channels: int = 3
    width: int = 64
    blocks: int = 9
    dtype: Any = jnp.float32

    def sized(self, size: tuple[int, int]) -> "Translator":
        """The same network, with the same parameters, for images of (H, W)."""
        return self.clone(shape=check_size((*size, self.shape[2])))

    @nn.compact
    def __call__(
        self, source: Array, c: AnyArray | None = None, *, keys: Array | None = None, train: bool = False, axis: str | None = None
    ) -> Array:
        """source [B, H, W, source_channels] -> [B, H, W, C], float32 in (-1, 1). The other arguments change nothing."""
        check_input("source", source, (*check_size(self.shape)[:2], self.source_channels))
        conv = partial(Conv, kernel_init=small, dtype=self.dtype)
        norm = partial(pix2pix.normed, "instance", train=train, axis=axis)
        wide = partial(conv, size=7, padding="VALID")
        x = nn.relu(norm(wide(self.width, bias=False, name="first")(reflected(source, 3)), "first_norm"))
        sizes = []
        for i in (1, 2):
            sizes.append(x.shape[1:3])
            x = conv(self.width << i, stride=2, padding=((1, 1), (1, 1)), bias=False, name=f"down{i}")(x)
            x = nn.relu(norm(x, f"down{i}_norm"))
        for i in range(self.blocks):
            x = Block(self.dtype, name=f"block{i}")(x)
        for i in (2, 1):
            h, w = sizes.pop()
            up = ConvTranspose(self.width << i - 1, 3, 2, False, small, self.dtype, "VALID", name=f"up{i}")
            x = nn.relu(norm(up(x)[:, 1 : h + 1, 1 : w + 1], f"up{i}_norm"))
        return jnp.tanh(wide(self.shape[2], name="last")(reflected(x, 3)).astype(jnp.float32))


class Block(nn.Module):
    """A residual block: two 3x3 convolutions, each normalised, a ReLU between them and none after the sum."""

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, h, w, channels] -> the same shape and dtype."""
        conv = partial(Conv, x.shape[-1], padding="VALID", bias=False, kernel_init=small, dtype=self.dtype)
        norm = partial(pix2pix.normed, "instance", train=False, axis=None)
        y = nn.relu(norm(conv(name="conv0")(reflected(x, 1)), "conv0_norm"))
        return x + norm(conv(name="conv1")(reflected(y, 1)), "conv1_norm")


class Generator(nn.Module):
    """Both directions, each a `Translator`: G makes a b of an a ("a_to_b"), F an a of a b ("b_to_a").

    Fields:
      shape: (H, W, 2 C) of a pair. width, blocks, dtype: of each.
    """

    z_dim: ClassVar[int] = 0
    classes: ClassVar[int] = 0

    shape: tuple[int, ...]
    width: int = 64
    blocks: int = 9
    dtype: Any = jnp.float32

    @property
    def source_channels(self) -> int:
        """A pair is made from a pair."""
        return self.shape[2]

    def translator(self, **place: Any) -> Translator:
        """The network of one direction."""
        one = self.shape[2] // 2
        return Translator((*self.shape[:2], one), one, self.width, self.blocks, self.dtype, **place)

    def sized(self, size: tuple[int, int]) -> "Generator":
        """The same networks, with the same parameters, for images of (H, W)."""
        return self.clone(shape=check_size((*size, self.shape[2])))

    def one_way(self, reverse: bool = False) -> tuple[Translator, str]:
        """The network of one direction by itself, G or with `reverse` F, and its name among the parameters."""
        return self.translator(parent=None), "b_to_a" if reverse else "a_to_b"

    @nn.compact
    def __call__(
        self, source: Array, c: AnyArray | None = None, *, keys: Array | None = None, train: bool = False, axis: str | None = None
    ) -> Array:
        """(a, b) [B, H, W, 2 C] -> (F(b), G(a)), float32 in (-1, 1). The other arguments change nothing."""
        check_input("source", source, check_pair(self.shape))
        a, b = jnp.split(source, 2, -1)
        return jnp.concatenate([self.translator(name="b_to_a")(b), self.translator(name="a_to_b")(a)], -1)


class Discriminator(nn.Module):
    """A PatchGAN (`pix2pix.Discriminator`) for each of a pair's images, "of_a" and "of_b"; neither sees the other's image.

    Fields:
      shape: (H, W, 2 C) of a pair. width, layers, dtype: of each; the paper's patch has 70 pixels, layers = 3.
    """

    classes: ClassVar[int] = 0

    shape: tuple[int, ...]
    width: int = 64
    layers: int = 3
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Array, c: AnyArray | None = None, *, keys: Array | None = None, train: bool = False, axis: str | None = None
    ) -> Array:
        """x [B, H, W, 2 C] -> logits [B, h, 2 w] of patches, float32: those of a on the left, of b on the right. Their mean is
        half the sum of the two means."""
        check_input("x", x, check_pair(self.shape))
        one = (*self.shape[:2], self.shape[2] // 2)
        judge = partial(pix2pix.Discriminator, one, 0, self.width, self.layers, dtype=self.dtype)
        a, b = jnp.split(x, 2, -1)
        return jnp.concatenate([judge(name="of_a")(a), judge(name="of_b")(b)], -1)


def reflected(x: Array, n: int) -> Array:
    """x [B, H, W, C] with n more pixels on every side, mirrored at the outermost ones."""
    return jnp.pad(x, ((0, 0), (n, n), (n, n), (0, 0)), mode="reflect")


def check_size(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape, if a `Translator` has room for it; else a UserError."""
    if min(shape[:2]) < LEAST:
        raise UserError(f"images of {shape[0]}x{shape[1]}: CycleGAN's generators need at least {LEAST} pixels along a side")
    return shape


def check_pair(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape, if it is of a pair; else a ValueError."""
    if shape[2] % 2:
        raise ValueError(f"shape {tuple(shape)}: a pair of images has an even number of channels, a's and then b's")
    return shape
