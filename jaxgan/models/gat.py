"""GAT: a generator and a discriminator that are plain transformers over patches, after Hyun et al.

In training the generator also shows what its first layers have drawn: it returns `levels` images an image, each the last one
plus what the next layers add, joined along the channels. The discriminator judges them together, each under noise: most on the
first, almost none on the last (the paper's multi-level noise-perturbed guidance). A real image takes the place of all of them.

Source: Hyun et al. 2025 (ICML 2026), "Scalable GANs with Transformers", and the authors' code: outputs, gradients and parameter
counts were checked against it. Theirs works on the latents of an autoencoder and aligns D's features with DINOv2's; here images
are images, and there is no alignment. Deviations: no classes, where D's last layer is a linear one; images that are not square;
truncation is towards a class's mean of w over fixed z, theirs towards a running mean. Sizes that the authors name are `SIZES`.
"""

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxgan.equalized import pixel_norm
from jaxgan.errors import UserError
from jaxgan.layers import Embed, check_input, glorot_uniform
from jaxgan.style import normal_planes
from jaxgan.transformer import Attention, SwiGLU, Turns, joined, patches, positions, rotations
from jaxgan.typing import AnyArray, Array, Scalar

SIZES = {
    "S": {"width": 384, "depth": 12, "heads": 6},
    "B": {"width": 768, "depth": 12, "heads": 12},
    "L": {"width": 1024, "depth": 24, "heads": 16},
    "XL": {"width": 1152, "depth": 28, "heads": 16},
}
"""The authors' networks; a name such as B/2 is one with its patch."""
PRESETS = {f"{size}/{patch}": (fields | {"patch": patch},) * 2 for size, fields in SIZES.items() for patch in (2, 4, 8)}

small = nn.initializers.normal(0.02)
tenth = nn.initializers.variance_scaling(0.01, "fan_avg", "uniform")
"""A tenth of `glorot_uniform`."""
rms_norm = partial(nn.RMSNorm, epsilon=1e-6, param_dtype=jnp.float32)


class Generator(nn.Module):
    """z [B, z_dim] -> w [B, depth, width] -> image: fixed positions, then blocks that w scales and gates.

    Fields:
      shape: (H, W, C), H and W multiples of `patch`.
      classes: 0 or the length of label vectors. z_dim: length of z, and of a class's vector.
      width: features of a patch, and of w; a multiple of 4 `heads`. depth: blocks, a multiple of `levels`. heads: of attention.
      patch: side of a patch, in pixels.
      levels: images that training shows to D.
      dtype: of the arithmetic; weights, w, norms' statistics, the softmax and the image are float32.
    """

    shape: tuple
    classes: int = 0
    z_dim: int = 64
    width: int = 384
    depth: int = 12
    heads: int = 6
    patch: int = 4
    levels: int = 4
    dtype: Any = jnp.float32

    def setup(self) -> None:
        _check(self)
        self.mapping_network = Mapping(self.width, self.z_dim, self.classes)

    @property
    def layers(self) -> int:
        """Styles an image takes: one for each block."""
        return self.depth

    @property
    def w_dim(self) -> int:
        """Length of a style."""
        return self.width

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
        """z [B, z_dim], standard normal; c: see `layers.Embed` -> w [B, depth, width], float32.

        psi: truncation, mean + psi (w - mean) with the mean of w under this c; cutoff: of the first so many styles alone. keys,
        train and axis have no effect.
        """
        check_input("z", z, (self.z_dim,))
        w, center = self.mapping_network(z, c)
        truncated = w if isinstance(psi, int | float) and psi == 1 else center + psi * (w - center)
        styles = jnp.repeat(w[:, None], self.depth, 1)
        within = jnp.arange(self.depth) < (self.depth if cutoff is None else cutoff)
        return jnp.where(within[None, :, None], truncated[:, None], styles)

    @nn.compact
    def synthesis(
        self, w: Array, c: AnyArray | None = None, *, keys: Array | None = None, train: bool = False, axis: str | None = None
    ) -> Array:
        """w [B, depth, width], or [B, width] for the same style in every block -> [B, H, W, C], float32, about [-1, 1].

        train: [B, H, W, levels * C], all levels, the image last. c, keys and axis have no effect.
        """
        if w.ndim == 2:
            w = jnp.repeat(w[:, None], self.depth, 1)
        check_input("w", w, (self.depth, self.width))
        rows, columns, channels = self.shape[0] // self.patch, self.shape[1] // self.patch, self.shape[2]
        x = jnp.broadcast_to(positions(rows, columns, self.width), (w.shape[0], rows * columns, self.width)).astype(self.dtype)
        turns = rotations(rows, columns, self.width // self.heads)
        styles, drawn, image = nn.silu(w), [], 0.0
        for i in range(self.depth):
            x = StyledBlock(self.heads, self.dtype, name=f"block{i}")(x, styles[:, i], turns)
            if (i + 1) % (self.depth // self.levels) == 0:
                size = self.patch**2 * channels
                more = ToPatches(size, self.dtype, name=f"image{len(drawn)}")(x, styles[:, i])
                image = image + joined(more, rows, columns, self.patch)
                drawn.append(image)
        return jnp.concatenate(drawn, 3) if train else image

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
        """z [B, z_dim] -> `synthesis` of `mapping`; see there for the options."""
        return self.synthesis(self.mapping(z, c, psi=psi, cutoff=cutoff), train=train)


class Discriminator(nn.Module):
    """Images -> logits: blocks over the patches and one more token, whose last features the logit is made of.

    Fields:
      shape, classes, width, depth, heads, patch, levels, dtype: as `Generator`; depth need not be a multiple of levels.
      label_dim: with classes, the logit is the inner product of so many features with the mapped class.
      least: share of an image that the noise leaves of the first level.
    """

    shape: tuple
    classes: int = 0
    width: int = 384
    depth: int = 12
    heads: int = 6
    patch: int = 4
    levels: int = 4
    label_dim: int = 2048
    least: float = 0.125
    dtype: Any = jnp.float32

    def __call__(
        self, x: Array, c: AnyArray | None = None, *, keys: Array | None = None, train: bool = False, axis: str | None = None
    ) -> Array:
        """x [B, H, W, levels * C] as G gives it in training, or [B, H, W, C] for all levels; c: see `layers.Embed` -> logits [B].

        The noise is that of keys [B] in training, else the same on every image. axis has no effect.
        """
        x = self.at_levels(x)
        if train and keys is None:
            raise ValueError(f"GAT's discriminator draws noise for each image: training needs keys [{x.shape[0]}]")
        drawn = keys if train else jax.random.key(0)[None]
        return self.judge(perturbed(x, normal_planes(drawn, 0, x.shape[1:]), self.levels, self.least), c)

    def at_levels(self, x: Array) -> Array:
        """[B, H, W, C] or [B, H, W, levels * C] -> [B, H, W, levels * C]."""
        *sides, channels = self.shape
        if x.shape[3:] == (channels,):
            x = jnp.tile(x, self.levels)
        check_input("x", x, (*sides, channels * self.levels))
        return x

    @nn.compact
    def judge(self, x: Array, c: AnyArray | None = None) -> Array:
        """x [B, H, W, levels * C], perturbed; c -> logits [B], float32."""
        _check(self, self.depth)
        linear = partial(nn.Dense, kernel_init=glorot_uniform)
        rows, columns = self.shape[0] // self.patch, self.shape[1] // self.patch
        x = linear(self.width, dtype=self.dtype, name="patches")(patches(x, rows, columns, self.patch))
        x = x + positions(rows, columns, self.width)[None].astype(self.dtype)
        token = self.param("token", small, (self.width,), jnp.float32)
        x = jnp.concatenate([jnp.broadcast_to(token.astype(self.dtype), (x.shape[0], 1, self.width)), x], 1)
        turns = rotations(rows, columns, self.width // self.heads)
        for i in range(self.depth):
            x = Block(self.heads, self.dtype, name=f"block{i}")(x, turns)
        x = rms_norm(name="norm")(x[:, 0].astype(jnp.float32))
        if not self.classes:
            return linear(1, name="logit")(x)[:, 0]
        label = Embed(self.classes, self.label_dim, small, name="classes")(c)
        for i in range(2):
            label = Slow(self.label_dim, name=f"class_fc{i}")(nn.silu(label) if i else label)
        return (linear(self.label_dim, name="features")(x) * label).sum(1)


class Mapping(nn.Module):
    """(z, c) -> w [B, width] and the mean of w under c, over `DRAWS` fixed z: two layers of both at unit mean square."""

    width: int
    z_dim: int
    classes: int

    @nn.compact
    def __call__(self, z: Array, c: AnyArray | None = None) -> tuple[Array, Array]:
        first, second = (Slow(self.width, name=f"fc{i}") for i in range(2))
        parts = []
        if self.classes:
            parts = [pixel_norm(Embed(self.classes, self.z_dim, small, name="classes")(c))]
        network = lambda z, *c: second(nn.silu(first(jnp.concatenate([*c, pixel_norm(z)], -1))))
        fixed = jax.random.normal(jax.random.key(0), (DRAWS, 1, self.z_dim), jnp.float32)
        every = [jnp.broadcast_to(label, (DRAWS, *label.shape)) for label in parts]
        many = jnp.broadcast_to(fixed, (DRAWS, z.shape[0] if parts else 1, self.z_dim))
        return network(z, *parts), network(many, *every).mean(0)


DRAWS = 128
"""Fixed z that the center of truncation is the mean over."""


class StyledBlock(nn.Module):
    """Attention and a gated layer, each on normalised patches that the style scales, and gated by it before it is added."""

    heads: int
    dtype: Any

    @nn.compact
    def __call__(self, x: Array, style: Array, turns: Turns) -> Array:
        """x [B, T, D], style [B, D'] -> [B, T, D]."""
        scales = nn.Dense(4 * x.shape[-1], kernel_init=tenth, name="style")(style)[:, None].astype(self.dtype)
        scale_attention, gate_attention, scale_gated, gate_gated = jnp.split(scales, 4, -1)
        norm = rms_norm(use_scale=False, dtype=self.dtype)
        x = x + gate_attention * Attention(self.heads, self.dtype, name="attention")(norm(x) * (1 + scale_attention), turns)
        return x + gate_gated * SwiGLU(self.dtype, name="gated")(norm(x) * (1 + scale_gated))


class ToPatches(nn.Module):
    """Normalised patches that the style scales -> their pixels [B, T, features], float32."""

    features: int
    dtype: Any

    @nn.compact
    def __call__(self, x: Array, style: Array) -> Array:
        scale = nn.Dense(x.shape[-1], kernel_init=tenth, name="style")(style)[:, None].astype(self.dtype)
        x = rms_norm(use_scale=False, dtype=self.dtype)(x) * (1 + scale)
        return nn.Dense(self.features, kernel_init=glorot_uniform, dtype=self.dtype, name="pixels")(x).astype(jnp.float32)


class Block(nn.Module):
    """Attention and a gated layer, each on normalised tokens and scaled by 0.1 at first before it is added."""

    heads: int
    dtype: Any

    @nn.compact
    def __call__(self, x: Array, turns: Turns) -> Array:
        """[B, T, D] -> the same shape and dtype."""
        layers = Attention(self.heads, self.dtype, name="attention"), SwiGLU(self.dtype, name="gated")
        for layer, more in zip(layers, ((turns,), ()), strict=True):
            scale = self.param(f"{layer.name}_scale", nn.initializers.constant(0.1), x.shape[-1:], jnp.float32)
            x = x + layer(rms_norm(dtype=self.dtype, name=f"{layer.name}_norm")(x), *more) * scale.astype(self.dtype)[None, None]
        return x


class Slow(nn.Module):
    """A dense layer that learns at a hundredth of the rate: x 0.01 W + 0.01 b, W stored a hundred times Glorot's."""

    features: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[..., n] -> [..., features], float32."""
        init = nn.initializers.variance_scaling(1e4, "fan_avg", "uniform")
        kernel = self.param("kernel", init, (x.shape[-1], self.features), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
        return x @ (kernel * 0.01) + jnp.expand_dims(bias, range(x.ndim - 1)) * 0.01


def perturbed(x: AnyArray, noise: AnyArray, levels: int, least: float = 0.125) -> Array:
    """Every level under its noise: (1 - t) x + t e, e standard normal, t from 1.01 - `least` at the first to 0.01 at the last.

    The noise grows from the last level to the first: each level's contains that of the next one.

    Args:
      x: [B, H, W, levels * C]. noise: standard normal, the same shape, or [1, ...].
      levels: 2 or more. least: share of the image left at the first level.
    Returns:
      x's shape, float32.
    Source: the authors' code: t = 1.01 - least^(1 - k / (levels - 1)), k = 0 for the first level.
    """
    shares = 1.01 - least ** (1 - np.arange(levels) / (levels - 1))
    images, drawn = (jnp.split(a.astype(jnp.float32), levels, 3) for a in (x, noise))
    out, sum_, before = [], 0.0, 0.0
    for image, e, t in reversed(list(zip(images, drawn, shares.tolist(), strict=True))):
        kept = (1 - t) / (1 - before)
        sum_ = sum_ * kept + e * math.sqrt(t**2 - (before * kept) ** 2)
        out.append((1 - t) * image + sum_)
        before = t
    return jnp.concatenate(out[::-1], 3)


def _check(model, depth=None):
    h, w = model.shape[:2]
    if model.patch < 1 or h % model.patch or w % model.patch:
        raise UserError(f"patch={model.patch}: it does not divide images of {h}x{w}; give a patch or a --size that does")
    if model.heads < 1 or model.width % (4 * model.heads):
        raise UserError(f"width={model.width}, heads={model.heads}: give a multiple of 4 as the width of a head")
    if model.levels < 2 or (depth or model.depth) < 1 or (depth is None and model.depth % model.levels):
        raise UserError(f"depth={model.depth}, levels={model.levels}: give 2 levels or more, and a depth they divide")
