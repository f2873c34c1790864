"""Spectral normalisation: kernels divided by their largest singular value, so that a dense layer does not stretch its input.
A convolution may, up to sqrt(height width) of the kernel times, as a pixel is in so many patches: in practice about 2.4 with 3x3.

Linen's own layer runs its power iteration at every call and keeps its vectors among the batch statistics. Here the
vectors are in a collection of their own, "spectral", and a call brings them up to date exactly where that collection is
mutable: so D may be called any number of times in a step on the same weights, and the step makes one call that updates.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.conv_rules import LAYOUT
from jaxgan.layers import Embed
from jaxgan.typing import AnyArray, Array


class SpectralNorm(nn.Module):
    """A kernel divided by its largest singular value, estimated by power iteration: W / sigma, sigma = v^T W u.

    W is the kernel as a matrix [in, out], all axes but the last flattened, as in the paper: a convolution's own norm differs. A
    module of kernels, to use inside any layer: `kernel = SpectralNorm()(kernel)`. sigma is differentiated in W, with u and v
    held fixed. A call that updates makes one power iteration.

    Attributes:
      warmup: power iterations when the layer is made, so that sigma is near the truth from the first step.
      eps: added to lengths before dividing.
    Source: Miyato et al. 2018, algorithm 1. Deviation: warm-up iterations, as in PyTorch. The state is the variables u
      (output side) and v (input side) in the collection "spectral", float32.
    """

    warmup: int = 15
    eps: float = 1e-12

    @nn.compact
    def __call__(self, kernel: Array) -> Array:
        """The normalised kernel.

        Args:
          kernel: [..., out], two or more axes, float.
        Returns:
          kernel / sigma, of the kernel's shape and dtype; sigma is computed in float32.
        Raises:
          ValueError: a kernel of fewer than two axes, or not of floats.
        Source: Miyato et al. 2018, eq. 8.
        """
        if kernel.ndim < 2 or not jnp.issubdtype(kernel.dtype, jnp.floating):
            raise ValueError(f"kernel: {kernel.dtype} {kernel.shape}; give floats with two or more axes, outputs last")
        weight = kernel.astype(jnp.float32)
        matrix = weight.reshape(-1, weight.shape[-1])
        apply = lambda v: jnp.einsum("i,io->o", v, matrix, precision="highest")
        back = jax.linear_transpose(apply, jax.ShapeDtypeStruct(matrix.shape[:1], jnp.float32))
        once = lambda _, v: _unit(back(_unit(apply(v), self.eps))[0], self.eps)
        vectors_of = lambda v: {"u": _unit(apply(v), self.eps), "v": v}

        def first():
            start = jax.random.normal(self.make_rng("params"), matrix.shape[:1], jnp.float32)
            return jax.lax.stop_gradient(vectors_of(jax.lax.fori_loop(0, self.warmup, once, _unit(start, self.eps))))

        state = self.variable("spectral", "vectors", first)
        vectors = state.value
        if self.is_mutable_collection("spectral") and not self.is_initializing():
            vectors = jax.lax.stop_gradient(vectors_of(once(0, vectors["v"])))
            state.value = vectors
        sigma = jnp.sum(jax.lax.stop_gradient(vectors["u"]) * apply(jax.lax.stop_gradient(vectors["v"])))
        return (weight / jnp.maximum(sigma, self.eps)).astype(kernel.dtype)


class SpectralDense(nn.Module):
    """A dense layer with a spectrally normalised kernel: x W / sigma(W) + b.

    Attributes:
      features: outputs.
      use_bias: add b, which is not normalised.
      dtype: of the arithmetic; None for the promoted type of input and parameters.
    Source: Miyato et al. 2018.
    """

    features: int
    use_bias: bool = True
    dtype: Any = None
    kernel_init: Callable[..., Any] = nn.initializers.orthogonal()

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """The layer.

        Args:
          x: [..., in], float.
        Returns:
          [..., features].
        Source: Miyato et al. 2018.
        """
        kernel = self.param("kernel", self.kernel_init, (x.shape[-1], self.features), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32) if self.use_bias else None
        kernel = SpectralNorm(name="norm")(kernel)
        x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias, dtype=self.dtype)
        y = jax.lax.dot_general(x, kernel, (((x.ndim - 1,), (0,)), ((), ())))
        return y if bias is None else y + bias.reshape((1,) * (y.ndim - 1) + (-1,))


class SpectralEmbed(nn.Module):
    """`layers.Embed` with a spectrally normalised table: c W / sigma(W).

    Attributes:
      classes: rows of the table: the number of classes, or the length of the vectors that take their place.
      features: outputs.
      dtype: of the arithmetic.
    Source: Miyato and Koyama 2018, section 3, whose projection normalises the table as one matrix.
    """

    classes: int
    features: int
    kernel_init: Callable[..., Any] = nn.initializers.orthogonal()
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, c: AnyArray | None) -> Array:
        """The layer.

        Args:
          c: labels, int [B], or vectors [B, classes], as `layers.Embed` takes them.
        Returns:
          [B, features].
        """
        kernel = self.param("kernel", self.kernel_init, (self.classes, self.features), jnp.float32)
        table = SpectralNorm(name="norm")(kernel)
        read = Embed(self.classes, self.features, dtype=self.dtype, parent=None)
        return read.apply({"params": {"embedding": table}}, c)


class SpectralConv(nn.Module):
    """`layers.Conv` with a spectrally normalised kernel.

    Attributes:
      features, size, stride, padding: as there, without groups.
      bias: add a bias, which is not normalised.
      dtype: of the arithmetic; None for the promoted type of input and parameters.
    Source: Miyato et al. 2018.
    """

    features: int
    size: int = 3
    stride: int = 1
    bias: bool = True
    kernel_init: Callable[..., Any] = nn.initializers.orthogonal()
    dtype: Any = None
    padding: Any = "SAME"

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """The layer.

        Args:
          x: [B, H, W, C], float.
        Returns:
          [B, H', W', features].
        Source: Miyato et al. 2018.
        """
        kernel = self.param("kernel", self.kernel_init, (self.size, self.size, x.shape[-1], self.features), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32) if self.bias else None
        kernel = SpectralNorm(name="norm")(kernel)
        x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias, dtype=self.dtype)
        y = jax.lax.conv_general_dilated(x, kernel, (self.stride,) * 2, self.padding, dimension_numbers=LAYOUT)
        return y if bias is None else y + bias.reshape(1, 1, 1, -1)


def _unit(x, eps):
    return x / (jnp.sqrt(jnp.sum(jnp.square(x))) + eps)
