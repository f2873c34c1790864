"""Batch normalisation whose gain and bias depend on the class or on a vector, and statistics made for sampling."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxgan.layers import BatchNorm, Embed
from jaxgan.spectral import SpectralEmbed
from jaxgan.typing import AnyArray, Array, Tree, Variables


class ConditionalBatchNorm(nn.Module):
    """(1 + W c) (x - mean) / sqrt(var + epsilon) + V c, per image and channel; c a label, or any vector.

    For labels, W and V are tables with a row a class; for vectors the same tables are linear maps without bias.

    Fields:
      inputs: the number of classes, or the length of the vectors; 0 for plain batch norm, which ignores c.
      momentum, epsilon, axis: as in `layers.BatchNorm`, which does the normalising.
      spectral: W and V are spectrally normalised (BigGAN); their `kernel_init` must not be zero then.
      kernel_init: of W and V.
    Source: de Vries et al. 2017; Dumoulin et al. 2017; as in Miyato & Koyama 2018 (labels) and Brock et al. 2019
      (vectors).
    """

    inputs: int = 0
    momentum: float = 0.9
    epsilon: float = 1e-5
    axis: str | None = None
    spectral: bool = False
    kernel_init: Any = nn.initializers.zeros

    @nn.compact
    def __call__(self, x: Array, c: AnyArray | None, train: bool) -> Array:
        """x [B, ..., C], c int [B] or [B, inputs] -> x's shape and dtype."""
        if not self.inputs:
            return BatchNorm(self.momentum, self.epsilon, self.axis, name="norm")(x, train)
        gain, bias = 1 + self._map("gain", x.shape[-1])(c), self._map("bias", x.shape[-1])(c)
        wide = lambda v: v.reshape(v.shape[0], *(1,) * (x.ndim - 2), v.shape[1])
        return (self._normalised(x.astype(jnp.float32), train) * wide(gain) + wide(bias)).astype(x.dtype)

    def _map(self, name, channels):
        return (SpectralEmbed if self.spectral else Embed)(self.inputs, channels, self.kernel_init, name=name)

    def _normalised(self, x, train):
        """`layers.BatchNorm` with its scale fixed at 1 and its bias at 0, its statistics kept by this layer."""
        ones, zeros = jnp.ones(x.shape[-1:], jnp.float32), jnp.zeros(x.shape[-1:], jnp.float32)
        stats = self.variable("batch_stats", "norm", lambda: {"mean": zeros, "var": ones})
        norm = BatchNorm(self.momentum, self.epsilon, None if self.is_initializing() else self.axis, parent=None)
        variables = {"params": {"scale": ones, "bias": zeros}, "batch_stats": stats.value}
        y, new = norm.apply(variables, x, train, mutable=["batch_stats"])
        if self.is_mutable_collection("batch_stats") and not self.is_initializing():
            stats.value = new["batch_stats"]
        return y


def standing_statistics(
    generator: nn.Module, variables: Variables, z: Array, c: AnyArray | None = None, *, keys: Array | None = None
) -> dict[str, Tree]:
    """The batch statistics to sample with: their plain mean over N forward passes in training mode.

    Moving averages follow weights that have moved on, of a network that is not the averaged one. These belong to the
    very parameters given (the averaged ones), and to the very z: draw it as you will sample it, truncation included.

    Args:
      generator: a module called `(z, c, keys=, train=)`, whose batch norm keeps "batch_stats" as moving averages.
      variables: its {'params', 'batch_stats', ...}; `state.generator_variables`.
      z: [N, B, z_dim]: N batches.
      c: their labels [N, B] or vectors [N, B, K], or None.
      keys: typed keys [N, B], or None.
    Returns:
      The variables with new "batch_stats"; all else is the same arrays.
    Raises:
      ValueError: variables without "batch_stats".
    Source: Brock et al. 2019, appendix C.2 ("standing statistics"; 100 passes there, 16 in the authors' PyTorch code).
    """
    if "batch_stats" not in variables:
        raise ValueError("standing_statistics: these variables have no 'batch_stats'; the generator has no batch norm")

    at = lambda tree, i: jax.tree.map(lambda a: a[i], tree)
    run = lambda i, start: _after(generator, variables, start, z[i], at(c, i), at(keys, i))
    # A moving average that starts at s ends at m s + (1 - m) b, b the batch's own value: two starts tell the momentum m.
    first, far = run(0, 0.0), 2.0**14
    share = jax.tree.map(lambda moved, zero: 1 - (moved - zero) / far, run(0, far), first)
    total = first
    for i in range(1, z.shape[0]):
        total = jax.tree.map(jnp.add, total, run(i, 0.0))
    mean = jax.tree.map(lambda t, s: t / (s * z.shape[0]), total, share)
    return {**variables, "batch_stats": mean}


@partial(jax.jit, static_argnums=0)
def _after(generator, variables, start, z, c, keys):
    """The batch statistics after one pass in training mode, from moving averages that are all `start`."""
    given = {**variables, "batch_stats": jax.tree.map(lambda s: jnp.full_like(s, start), variables["batch_stats"])}
    _, new = generator.apply(given, z, c, keys=keys, train=True, mutable=["batch_stats"])
    return new["batch_stats"]
