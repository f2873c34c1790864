"""Spectral normalisation: kernels divided by their largest singular value, so that a layer does not stretch its input.

Linen's own layer runs its power iteration at every call and keeps its vectors among the batch statistics. Here the
vectors are in a collection of their own, "spectral", and a call brings them up to date exactly where that collection is
mutable: so D may be called any number of times in a step on the same weights, and the step makes one call that updates.
"""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.layers import Embed


class SpectralNorm(nn.Module):
    """A kernel divided by its largest singular value, estimated by power iteration: W / sigma, sigma = v^T W u.

    A module of kernels, to use inside any layer: `kernel = SpectralNorm()(kernel)`. sigma is
    differentiated in W, with u and v held fixed.

    Attributes:
      n_steps: power iterations in an updating call, >= 1; 1 in the paper.
      warmup: power iterations when the layer is made, so that sigma is near the truth from the first step.
      eps: added to lengths before dividing.
      operator: None for the kernel as a matrix [-1, out] (the paper's, an estimate for convolutions), or
        kernel -> (linear function of one array, shape of that array), whose norm is taken exactly: see `conv_operator`.
    Source: Miyato et al. 2018, algorithm 1. Deviation: warm-up iterations, as in PyTorch. The state is the variables u
      (output side) and v (input side) in the collection "spectral", float32.
    """

    n_steps: int = 1
    warmup: int = 15
    eps: float = 1e-12
    operator: Callable | None = None

    @nn.compact
    def __call__(self, kernel):
        """The normalised kernel.

        Args:
          kernel: [..., out], two or more axes, float.
        Returns:
          kernel / sigma, of the kernel's shape and dtype; sigma is computed in float32.
        Raises:
          ValueError: a kernel of fewer than two axes, or not of floats.
        Source: Miyato et al. 2018, eq. 7.
        """
        if kernel.ndim < 2 or not jnp.issubdtype(kernel.dtype, jnp.floating):
            raise ValueError(f"kernel: {kernel.dtype} {kernel.shape}; give floats with two or more axes, outputs last")
        weight = kernel.astype(jnp.float32)
        apply, shape = (self.operator or matrix_operator)(weight)
        back = jax.linear_transpose(apply, jax.ShapeDtypeStruct(shape, jnp.float32))

        def iterate(v, steps):
            once = lambda _, v: _unit(back(_unit(apply(v), self.eps))[0], self.eps)
            v = once(0, v) if steps == 1 else jax.lax.fori_loop(0, steps, once, v)
            return {"u": _unit(apply(v), self.eps), "v": v}

        def first():
            start = jax.random.normal(self.make_rng("params"), shape, jnp.float32)
            return jax.lax.stop_gradient(iterate(_unit(start, self.eps), self.warmup))

        state = self.variable("spectral", "vectors", first)
        vectors = state.value
        if self.is_mutable_collection("spectral") and not self.is_initializing():
            vectors = jax.lax.stop_gradient(iterate(vectors["v"], self.n_steps))
            state.value = vectors
        sigma = jnp.sum(jax.lax.stop_gradient(vectors["u"]) * apply(jax.lax.stop_gradient(vectors["v"])))
        return (weight / jnp.maximum(sigma, self.eps)).astype(kernel.dtype)


class SpectralDense(nn.Module):
    """A dense layer with a spectrally normalised kernel: x W / sigma(W) + b.

    Attributes:
      features: outputs.
      use_bias: add b, which is not normalised.
      n_steps: power iterations in an updating call.
      dtype: of the arithmetic; None for the promoted type of input and parameters.
    Source: Miyato et al. 2018.
    """

    features: int
    use_bias: bool = True
    n_steps: int = 1
    dtype: Any = None
    kernel_init: Callable = nn.initializers.orthogonal()

    @nn.compact
    def __call__(self, x):
        """The layer.

        Args:
          x: [..., in], float.
        Returns:
          [..., features].
        Source: Miyato et al. 2018.
        """
        kernel = self.param("kernel", self.kernel_init, (x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,)) if self.use_bias else None
        kernel = SpectralNorm(self.n_steps, name="norm")(kernel)
        x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias, dtype=self.dtype)
        y = jax.lax.dot_general(x, kernel, (((x.ndim - 1,), (0,)), ((), ())))
        return y if bias is None else y + bias.reshape((1,) * (y.ndim - 1) + (-1,))


class SpectralEmbed(nn.Module):
    """`layers.Embed` with a spectrally normalised table: c W / sigma(W).

    Attributes:
      classes: rows of the table: the number of classes, or the length of the vectors that take their place.
      features: outputs.
      n_steps: power iterations in an updating call.
      dtype: of the arithmetic.
    Source: Miyato and Koyama 2018, section 3, whose projection normalises the table as one matrix.
    """

    classes: int
    features: int
    n_steps: int = 1
    dtype: Any = jnp.float32
    kernel_init: Callable = nn.initializers.orthogonal()

    @nn.compact
    def __call__(self, c):
        """The layer.

        Args:
          c: labels, int [B], or vectors [B, classes], as `layers.Embed` takes them.
        Returns:
          [B, features].
        """
        kernel = self.param("kernel", self.kernel_init, (self.classes, self.features))
        table = SpectralNorm(self.n_steps, name="norm")(kernel)
        read = Embed(self.classes, self.features, dtype=self.dtype, parent=None)
        return read.apply({"params": {"embedding": table}}, c)


class SpectralConv(nn.Module):
    """A 2-D convolution with a spectrally normalised kernel, NHWC.

    Attributes:
      features: output channels.
      kernel_size, strides: (height, width).
      padding: as in `lax.conv_general_dilated`.
      use_bias: add a bias, which is not normalised.
      n_steps: power iterations in an updating call.
      exact: take the norm of the convolution itself on this input size, not of its kernel as a matrix. The matrix's
        norm times sqrt(kernel area) bounds the convolution's; how far below that it lies depends on the kernel.
      dtype: of the arithmetic; None for the promoted type of input and parameters.
    Source: Miyato et al. 2018; `exact`: Wang et al. 2019, appendix.
    """

    features: int
    kernel_size: Sequence[int] = (3, 3)
    strides: Sequence[int] = (1, 1)
    padding: str | Sequence[tuple[int, int]] = "SAME"
    use_bias: bool = True
    n_steps: int = 1
    exact: bool = False
    dtype: Any = None
    kernel_init: Callable = nn.initializers.orthogonal()

    @nn.compact
    def __call__(self, x):
        """The layer.

        Args:
          x: [B, H, W, C], float.
        Returns:
          [B, H', W', features].
        Source: Miyato et al. 2018.
        """
        kernel = self.param("kernel", self.kernel_init, (*self.kernel_size, x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,)) if self.use_bias else None
        operator = conv_operator(x.shape[1:3], self.strides, self.padding) if self.exact else None
        kernel = SpectralNorm(self.n_steps, operator=operator, name="norm")(kernel)
        x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias, dtype=self.dtype)
        y = _conv(x, kernel, self.strides, self.padding)
        return y if bias is None else y + bias.reshape(1, 1, 1, -1)


def matrix_operator(kernel):
    """A kernel [..., out] as the matrix [in, out] that it is after flattening: v [in] -> v W [out].

    Args:
      kernel: [..., out], float.
    Returns:
      The linear function, and the shape of its argument.
    Source: Miyato et al. 2018, section 2.1.
    """
    matrix = kernel.reshape(-1, kernel.shape[-1])
    return lambda v: jnp.einsum("i,io->o", v, matrix, precision="highest"), matrix.shape[:1]


def conv_operator(size, strides, padding):
    """The convolution itself as the operator whose norm is taken, on images of one size.

    Args:
      size: (H, W) of the input.
      strides: (height, width).
      padding: as in `lax.conv_general_dilated`.
    Returns:
      kernel [h, w, C, out] -> (the linear function of one image, its shape [1, H, W, C]).
    Source: Wang et al. 2019, appendix (power iteration with a convolution and its transpose).
    """

    def operator(kernel):
        return lambda v: _conv(v, kernel, strides, padding, "highest"), (1, *size, kernel.shape[2])

    return operator


def _conv(x, kernel, strides, padding, precision=None):
    names = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, kernel, tuple(strides), padding, dimension_numbers=names, precision=precision)


def _unit(x, eps):
    return x / (jnp.sqrt(jnp.sum(jnp.square(x))) + eps)
