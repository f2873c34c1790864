"""What the StyleGAN generators share: the mapping network with mixing and truncation, running means, the noise planes."""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxgan import ops
from jaxgan.equalized import Dense, leaky, pixel_norm
from jaxgan.errors import UserError
from jaxgan.layers import check_input, one_hot_labels
from jaxgan.typing import AnyArray, Array, Scalar

NOISE = ("random", "const", "none")
"""A new plane for every layer and image; the fixed planes of the layers (collection "noise"); no noise."""


class Mapping(nn.Module):
    """(z, c) -> w: both normalised to unit mean square, concatenated, then dense layers with leaky ReLU.

    Fields:
      features: length of w. z_dim: 0 for a network of c alone. classes: length of c, 0 for none.
      layers: dense layers. lr_mult: their share of the learning rate.
      embed: length of the embedded c. hidden: width of the layers before the last. None: as w.
      average: decay of the running mean of w (collection "w_avg"), or None for no mean.
      count: styles an image, all equal but for mixing and truncation; None for one w [B, features].
      mixing: probability that an image in training takes its styles from some layer on from a second z.
    Source: Karras et al. 2019, sections 2, 3.1 (mixing) and B (truncation); label embedding: Karras et al. 2020 (ADA),
      appendix D. Deviation: every image draws its own layer to mix from; the authors' code draws one a batch.
    """

    features: int
    z_dim: int
    classes: int = 0
    layers: int = 8
    lr_mult: float = 0.01
    embed: int | None = None
    hidden: int | None = None
    average: float | None = None
    count: int | None = None
    mixing: float = 0.0

    @nn.compact
    def __call__(
        self,
        z: Array | None,
        c: AnyArray | None = None,
        *,
        keys: Array | None = None,
        train: bool = False,
        axis: str | None = None,
        psi: Scalar = 1.0,
        cutoff: int | None = None,
    ) -> Array:
        """The styles.

        Args:
          z: [B, z_dim], standard normal, or None without z_dim. c: labels int [B] or vectors [B, classes].
          keys: typed keys [B]; mixing draws from them.
          train: mix, and move the mean of w where "w_avg" is mutable.
          axis: device axis that this mean is over, or None.
          psi: truncation of the `count` styles: mean + psi (w - mean); 1 is the model's distribution.
          cutoff: truncate the first so many of them only.
        Returns:
          [B, count, features] or [B, features], float32.
        """
        widths = [self.hidden or self.features] * (self.layers - 1) + [self.features]
        dense = [Dense(n, lr_mult=self.lr_mult, name=f"fc{i}") for i, n in enumerate(widths)]
        embed = Dense(self.embed or self.features, name="embed") if self.classes else None

        def network(z):
            parts = [pixel_norm(z.astype(jnp.float32))] if self.z_dim else []
            if embed:
                parts.append(pixel_norm(embed(one_hot_labels(c, self.classes))))
            w = jnp.concatenate(parts, 1)
            for layer in dense:
                w = leaky(layer(w))
            return w

        if self.z_dim:
            check_input("z", z, (self.z_dim,))
        w = network(z)
        mean = None if self.average is None else self._mean(w, train, axis)
        if self.count is None:
            return w
        w, style = jnp.repeat(w[:, None, :], self.count, 1), jnp.arange(self.count, dtype=jnp.int32)[None, :, None]
        if train and self.mixing:
            other, first = mixing_draws(keys, z.shape, self.count, self.mixing)
            w = jnp.where(style < first[:, None, None], w, network(other)[:, None, :])
        if _is_one(psi):
            return w
        truncated = mean[None, None] + psi * (w - mean[None, None])
        return truncated if cutoff is None else jnp.where(style < cutoff, truncated, w)

    def _mean(self, w, train, axis):
        """The running mean [features], moved where that is due."""
        start = self.variable("w_avg", "mean", jnp.zeros, (self.features,), jnp.float32)
        return running_mean(self, "w_avg", start, lambda: jax.lax.stop_gradient(w).mean(0), self.average, train, axis)


def running_mean(
    module: nn.Module, collection: str, mean: nn.Variable, now: Callable[[], Array], decay: float, train: bool, axis: str | None
) -> Array:
    """A variable's value, after a step towards now() in training where its collection may change.

    Args:
      module: the bound linen module. collection: of the variable. mean: the variable.
      now: () -> the mean of this batch on this device. decay: what stays of the old value. axis: device axis, or None.
    """
    if train and module.is_mutable_collection(collection) and not module.is_initializing():
        value = now() if axis is None else jax.lax.pmean(now(), axis)
        mean.value = value + decay * (mean.value - value)
    return mean.value


def mixing_draws(keys: Array | None, shape: Sequence[int], count: int, probability: float) -> tuple[Array, Array]:
    """For each image a second z, and the style from which it counts, in [1, count]; `count` is not at all.

    Args:
      keys: typed keys [B]. shape: of z. count: styles. probability: of mixing.
    Returns:
      z float32 of `shape`, and int [B].
    Raises:
      ValueError: no keys, or not one for each image.
    """
    if keys is None or keys.shape != shape[:1]:
        raise ValueError(f"style mixing draws for each image: training needs keys [{shape[0]}], or mixing=0")

    def draw(key):
        kz, kl, kp = jax.random.split(jax.random.fold_in(key, 0x6D6978), 3)
        first = jax.random.randint(kl, (), 1, count, jnp.int32)
        mixed = jax.random.uniform(kp, (), jnp.float32) < probability
        return jax.random.normal(kz, shape[1:], jnp.float32), jnp.where(mixed, first, count)

    return jax.vmap(draw)(keys)


def check_noise(noise: str, keys: Array | None, batch: int) -> None:
    """Raises unless `noise` is of `NOISE` and, for random noise, there is a key for each image."""
    if noise not in NOISE:
        raise UserError(f"noise={noise!r}: give one of {', '.join(NOISE)}")
    if noise == "random" and (keys is None or keys.shape != (batch,)):
        raise ValueError(f"noise='random' draws for each image: give keys [{batch}], or noise='const'")


def normal_planes(keys: Array, salt: int, shape: Sequence[int]) -> Array:
    """Standard normal noise by `ops.hash_bits`, which is cheaper than threefry here: keys [B] -> float32 [B, *shape].

    Row i is a function of keys[i], salt and shape alone. Values are the middles of 2^23 bins of equal weight: within +-5.3.
    """
    return normal_of_bits(ops.hash_bits(keys, salt, shape))


def normal_of_bits(bits: Array) -> Array:
    """The standard normal quantile of uint32 bits, float32. 23 of them: with 24, adding a half would round up to 1, infinity."""
    uniform = ((bits >> 9).astype(jnp.float32) + 0.5) * 2.0**-23
    return math.sqrt(2) * jax.lax.erf_inv(2 * uniform - 1)


def _is_one(psi):
    return isinstance(psi, (int, float)) and psi == 1
