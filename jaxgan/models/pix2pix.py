"""pix2pix: a U-Net that generates the target image from a source image, and a PatchGAN that sees both together.

The generator is called as `(source, c, keys=, train=, axis=)` and the discriminator as `(x, source, ...)`: a source image
takes the place of the other networks' latent and labels. Images are [B, H, W, C] float32 in [-1, 1], source and target
with the same H, W.

Source: Isola et al. 2017, section 3.2 and appendix 6.1, and the authors' PyTorch code for the biases: with a norm, only the
generator's last layer and the discriminator's first and last have one.
"""

from functools import partial
from typing import Any, ClassVar

import jax.numpy as jnp
from flax import linen as nn

from jaxgan.errors import UserError, nearest
from jaxgan.layers import BatchNorm, Conv, ConvTranspose, Dropout, check_input, near_one, small
from jaxgan.typing import AnyArray, Array

NORMS = ("instance", "batch", "none")


class Generator(nn.Module):
    """The U-Net: 4x4 convolutions that halve the grid down to the bottleneck, as many that double it, a skip at each size.

    At 256x256 it is the paper's C64-C128-C256-C512-C512-C512-C512-C512 and CD512-CD512-CD512-C512-C256-C128-C64. An odd
    side n is halved to (n + 1) / 2 and cut to n on the way back, so any size fits: 28x28 has the grids 14, 7, 4, 2, 1.

    Fields:
      shape: (H, W, C) of the target. source_channels: of the source.
      width: channels of the first grid, doubled at every next one up to 8 times.
      depth: how often the grid is halved; None: until the shorter side is 1 (8 times for 256).
      norm: 'instance': each image's own statistics, as the paper's batch norm at its batch size 1, including learned gain and
        bias; 'batch': those of the batch, and at inference their moving averages; 'none'.
      dropout: rate after the first `dropouts` doublings, except after the last doubling: the only noise.
      dtype: compute dtype; the image is float32.
    Deviation: with 'batch' the paper uses the statistics of the test batch at inference too; here an image's result does not
      depend on the others.
    """

    z_dim: ClassVar[int] = 0
    classes: ClassVar[int] = 0

    shape: tuple[int, ...]
    source_channels: int = 3
    width: int = 64
    depth: int | None = None
    norm: str = "instance"
    dropout: float = 0.5
    dropouts: int = 3
    dtype: Any = jnp.float32

    def sized(self, size: tuple[int, int]) -> "Generator":
        """The same network, with the same parameters, for images of (H, W). UserError for smaller ones than it can halve."""
        depth, shape = check_depth(self.shape, self.depth), (*size, self.shape[2])
        if (min(size) - 1).bit_length() < depth:
            least = 2 ** (depth - 1) + 1
            raise UserError(f"images of {size[0]}x{size[1]}: this U-Net halves them {depth} times, for sides of {least} or more")
        return self.clone(shape=shape, depth=depth)

    @nn.compact
    def __call__(
        self, source: Array, c: AnyArray | None = None, *, keys: Array | None = None, train: bool = False, axis: str | None = None
    ) -> Array:
        """source [B, H, W, source_channels] -> target [B, H, W, C], float32 in (-1, 1).

        keys [B]: dropout draws from them, at inference too (the paper's noise); without keys there is none.
        """
        check_input("source", source, (*self.shape[:2], self.source_channels))
        depth = check_depth(self.shape, self.depth)
        widths = [self.width * min(2**i, 8) for i in range(depth)]
        bare, norm = check_norm(self.norm) == "none", partial(normed, self.norm, train=train, axis=axis)
        conv = partial(Conv, size=4, stride=2, kernel_init=small, dtype=self.dtype)
        deconv = partial(ConvTranspose, size=4, kernel_init=small, dtype=self.dtype)
        x, skips = source, []
        for i, features in enumerate(widths):
            x = nn.leaky_relu(x, 0.2) if i else x
            x = conv(features, bias=bare, name=f"down{i}")(x)
            x = norm(x, f"down{i}_norm") if 0 < i < depth - 1 else x
            skips.append(x)
        skips.pop()
        for i in reversed(range(1, depth)):
            x = deconv(widths[i - 1], bias=bare, name=f"up{i}")(nn.relu(x))
            skip = skips.pop()
            x = norm(x[:, : skip.shape[1], : skip.shape[2]], f"up{i}_norm")
            if i > depth - 1 - self.dropouts and keys is not None:
                x = Dropout(self.dropout, name=f"up{i}_dropout")(x, keys, True)
            x = jnp.concatenate([skip, x], -1)
        x = deconv(self.shape[2], name="up0")(nn.relu(x))[:, : self.shape[0], : self.shape[1]]
        return jnp.tanh(x.astype(jnp.float32))


class Discriminator(nn.Module):
    """The PatchGAN: convolutions that judge for every patch of (source, target) whether the target is real.

    C64-C128-C256-C512 and a last 4x4 to one logit at layers = 3, where a patch is 70x70 pixels: `layers` convolutions 4x4
    halve the grid, two more keep it. layers = 0 is the PixelGAN: 1x1 convolutions to 64 and 128 channels and one logit.

    Fields:
      shape, source_channels, norm, dtype: as `Generator`; source_channels = 0 ignores the source.
      width: channels of the first grid, doubled at every next one up to 8 times.
      layers: the patch is 1, 16, 34, 70, 142, 286 pixels wide for 0 to 5.
    """

    classes: ClassVar[int] = 0

    shape: tuple[int, ...]
    source_channels: int = 3
    width: int = 64
    layers: int = 3
    norm: str = "instance"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Array, c: AnyArray | None = None, *, keys: Array | None = None, train: bool = False, axis: str | None = None
    ) -> Array:
        """x [B, H, W, C], c: the source [B, H, W, source_channels] -> logits [B, h, w] of patches, float32.

        The patches' centres lie 2^layers pixels apart; h = H // 2^layers - 2 (for layers = 0: H).
        """
        check_input("x", x, self.shape)
        if self.source_channels:
            check_input("source", c, (*self.shape[:2], self.source_channels))
            x = jnp.concatenate([c, x], -1)
        bare, norm = check_norm(self.norm) == "none", partial(normed, self.norm, train=train, axis=axis)
        pad = (1, 1) if self.layers else (0, 0)  # a 4x4 of stride 1 makes the grid one smaller
        conv = partial(Conv, size=4 if self.layers else 1, padding=(pad, pad), kernel_init=small, dtype=self.dtype)
        strides = (2,) * check_layers(self.shape, self.layers) + (1,) if self.layers else (1, 1)
        for i, stride in enumerate(strides):
            x = conv(self.width * min(2**i, 8), stride=stride, bias=bare or i == 0, name=f"conv{i}")(x)
            x = nn.leaky_relu(norm(x, f"conv{i}_norm") if i else x, 0.2)
        return conv(1, name="logits")(x)[..., 0].astype(jnp.float32)


def normed(kind: str, x: Array, name: str, *, train: bool, axis: str | None) -> Array:
    """x [B, h, w, C] by the norm of that kind, learned gain and bias after it; statistics in float32."""
    if kind == "none":
        return x
    if kind == "batch":
        return BatchNorm(0.9, 1e-5, axis, near_one, name=name)(x, train)
    norm = nn.InstanceNorm(epsilon=1e-5, use_fast_variance=False, scale_init=near_one, name=name)
    return norm(x.astype(jnp.float32)).astype(x.dtype)


def check_norm(norm: str) -> str:
    """The norm's name, or a UserError."""
    if norm not in NORMS:
        raise UserError(f"there is no norm {norm!r}; there are {', '.join(NORMS)}{nearest(norm, NORMS)}")
    return norm


def check_depth(shape: tuple[int, ...], depth: int | None) -> int:
    """How many times the generator halves an image: `depth`, or for None until the shorter side is 1.

    Raises:
      UserError: less than once, or more than that.
    """
    most = (min(shape[:2]) - 1).bit_length()
    if not 1 <= (most if depth is None else depth) <= most:
        raise UserError(f"depth={depth}: an image of {shape[0]}x{shape[1]} can be halved 1 to {most} times")
    return depth or most


def check_layers(shape: tuple[int, ...], layers: int) -> int:
    """`layers`, if a patch of so many fits the image.

    Raises:
      UserError: it names the most that fit.
    """
    most = (min(shape[:2]) // 3).bit_length() - 1
    if not 0 <= layers <= most:
        raise UserError(f"layers={layers}: patches of {shape[0]}x{shape[1]} images can have 0 to {most} layers")
    return layers
