"""SAGAN and BigGAN: the residual networks of `resnet` with spectral norm in both, self-attention and, in BigGAN, a
latent that enters every block.

Called like every network here: `(z or x, c, keys=, train=, axis=)`. BigGAN-deep is in `biggan_deep`. The truncation trick is
`sample.sample`'s threshold; batch statistics for sampling come from `conditional_norm.standing_statistics`.

Source: Zhang et al. 2019 (SAGAN); Brock et al. 2019 (BigGAN), appendix B. `PRESETS` has the papers' networks.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from jaxgan.attention import SelfAttention
from jaxgan.conditional_norm import ConditionalBatchNorm
from jaxgan.errors import UserError
from jaxgan.layers import Embed, check_input, glorot_uniform
from jaxgan.models import resnet
from jaxgan.typing import AnyArray, Array

ORTHOGONAL = (nn.initializers.orthogonal(), nn.initializers.orthogonal())
PRESETS = {
    "sagan_128": ({"attention": (32,)}, {"attention": (32,)}),
    "biggan_32": ({"z_dim": 128, "width": 64}, {"channels": (256,) * 4}),
    "biggan_64": ({"attention": (32,)}, {"attention": (32,)}),
    "biggan_128": ({}, {}),
    "biggan_256": ({"z_dim": 140}, {}),
}
"""name -> fields of the generator and of the discriminator; `sagan_128` is for the SAGAN networks. 32 and 64 are not in the
papers but in the BigGAN authors' PyTorch code (32: with hierarchical z and orthogonal initial weights here; there without, and
N(0, 0.02))."""


class SAGANGenerator(resnet.Generator):
    """`resnet.Generator` with spectral norm and self-attention; the class enters the batch norms.

    Fields: as there. attention: None places it after the grid of 64 rows, if there is one; the paper's best is 32.
    """

    spectral: bool = True
    attention: tuple[int, ...] | None = None
    inits: tuple[Any, Any] = (glorot_uniform, glorot_uniform)


class SAGANDiscriminator(resnet.Discriminator):
    """`resnet.Discriminator` with wide blocks and self-attention. Fields: as there; attention as in the generator."""

    wide: bool = True
    attention: tuple[int, ...] | None = None
    inits: tuple[Any, Any] = (glorot_uniform, glorot_uniform)


class Generator(nn.Module):
    """BigGAN's generator: z is split into equal chunks, one for the base grid and one for the batch norms of each block.

    Gain and bias of a block's batch norms are linear maps of [class embedding, chunk of z]; all blocks share one class
    embedding. All weights except the embedding are spectrally normalised.

    Fields:
      shape: (H, W, C), H and W as `layers.base_size` accepts.
      classes: 0, or the number of classes (length of label vectors). Without classes only the chunks of z are used.
      z_dim: length of z, a multiple of the number of grids (the base and one per doubling). shared_dim: of the class embedding.
      width: channels at full resolution; the other grids have multiples of it. channels: a grid, base first, instead.
      attention: heights of the grids that end in self-attention; None for 64 where there is one.
      dtype: compute dtype; the image is float32.
    Source: Brock et al. 2019, section 3 and appendix B, figure 15, table 4.
    """

    shape: tuple[int, ...]
    classes: int = 0
    z_dim: int = 120
    shared_dim: int = 128
    width: int = 96
    channels: tuple[int, ...] = ()
    attention: tuple[int, ...] | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, z: Array, c: AnyArray | None = None, *, keys: Array | None = None, train: bool = False, axis: str | None = None
    ) -> Array:
        """z [B, z_dim], standard normal -> [B, H, W, C], float32 in (-1, 1)."""
        check_input("z", z, (self.z_dim,))
        grid, channels, attention = resnet.up_plan(self, multiples)
        first, *parts = jnp.split(z, _parts(self.z_dim, len(channels)), 1)
        options = {"spectral": True, "inits": ORTHOGONAL, "dtype": self.dtype}
        shared = Embed(self.classes, self.shared_dim, ORTHOGONAL[0], name="shared")(c) if self.classes else first[:, :0]
        x = resnet.to_grid(first, grid, channels[0], **options)
        for features, part in zip(channels[1:], parts, strict=True):
            v = jnp.concatenate([shared, part], 1)
            x = resnet.UpBlock(features, linear_norm(v, axis), **options)(x, v, train)
            if x.shape[1] in attention:
                x = SelfAttention(True, ORTHOGONAL[1], self.dtype)(x)
        return resnet.to_image(x, self.shape[2], train, axis, **options)


class Discriminator(resnet.Discriminator):
    """BigGAN's discriminator: `resnet.Discriminator`, wide, with self-attention. Fields: as there and in `Generator`."""

    width: int = 96
    wide: bool = True
    attention: tuple[int, ...] | None = None
    inits: tuple[Any, Any] = ORTHOGONAL


def multiples(doublings: int) -> tuple[int, ...]:
    """`resnet.multiples` for BigGAN's generators, which differ from SNGAN's at 64x64."""
    return (16, 16, 8, 4, 2) if doublings == 4 else resnet.multiples(doublings)


def linear_norm(v: Array, axis: str | None) -> Callable[..., nn.Module]:
    """The batch norms of a block under the vectors v [B, V]: () -> a layer called (x, v, train)."""
    return partial(ConditionalBatchNorm, v.shape[1], axis=axis, spectral=True, kernel_init=ORTHOGONAL[0])


def _parts(z_dim, parts):
    if z_dim % parts:
        near = z_dim // parts * parts or parts
        raise UserError(f"z_dim={z_dim} does not divide into {parts} parts, one per resolution; give {near} or {near + parts}")
    return parts
