"""Array operations that the models share and that must be fast. JAX only, NHWC, no parameters of their own.

Each has the formulation that is fast on the backend at hand, chosen when traced: `conv_rules` for strided and transposed
convolutions, `fourier` for small images on a CPU.
"""

import math
from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxgan import backend, conv_rules, fourier
from jaxgan.conv_rules import Geometry
from jaxgan.typing import Array

LAYOUT = conv_rules.LAYOUT

BLOCK = {"cpu": 32, "tpu": 128}
"""Backend -> channels of the dense blocks to which the groups of a convolution are joined there, with zeros between the groups;
where none is named, XLA's own. A CPU convolves fewer than 32 channels no faster; a TPU multiplies 128 at once; on an H200 no
blocks beat XLA's (benchmarks/README.md). What pays elsewhere: `python -m benchmarks.ops --block 64 128`."""

APART = ("cpu",)
"""Backends on which each of those blocks is a convolution by itself: XLA's gradients of a grouped one are slow there."""

PRODUCTS = ("cpu",)
"""Backends on which a 1x1 convolution runs as a matrix product: a CPU takes many times as long for the kernel gradient of the
convolution. On an H200 the two are equal (benchmarks/README.md)."""


def conv(
    x: Array, kernel: Array, *, stride: int = 1, padding: str | Sequence[tuple[int, int]] = "SAME", groups: int = 1
) -> Array:
    """Convolution (cross-correlation): y[i] = sum_t x[stride i + t - low] kernel[t].

    Args:
      x: [B, H, W, cin].
      kernel: [kh, kw, cin / groups, cout], same dtype.
      stride: int >= 1, both axes.
      padding: "SAME" (output ceil(size / stride), as TensorFlow and Keras), "VALID", or ((low, high), (low, high)).
      groups: divides cin and cout. On a CPU and a TPU some groups are joined (`BLOCK`), with block-diagonal kernels: more
        arithmetic, and faster; on a CPU many times as fast as XLA's gradient of the grouped form (jax issue 13800).
    Returns:
      [B, H', W', cout]; on a CPU by `fourier` where that pays, equal up to rounding. With stride > 1, and on a CPU where a kernel
      gradient has a faster form (`conv_rules`), it has reverse-mode derivatives of any order, but no forward mode (jax.jvp).
    Raises:
      ValueError: shapes, dtypes or options that do not fit.
    """
    _check_arrays("conv", x, kernel, stride, groups)
    if kernel.shape[2] * groups != x.shape[3]:
        raise ValueError(
            f"conv: x has {x.shape[3]} channels, kernel {kernel.shape} with groups={groups} takes "
            f"{kernel.shape[2] * groups}; make kernel.shape[2] = {x.shape[3]} / groups"
        )
    block = BLOCK.get(backend.name())
    if groups > 1 and block:
        together = next(n for n in range(max(1, block // kernel.shape[2]), 0, -1) if groups % n == 0)
        kernel, groups = _joined(kernel, groups, together), groups // together
        if backend.name() in APART:
            pieces = zip(*(jnp.split(a, groups, 3) for a in (x, kernel)), strict=True)
            return jnp.concatenate([conv(a, k, stride=stride, padding=padding) for a, k in pieces], 3)
    image, size = x.shape[1:3], kernel.shape[:2]
    pads = tuple(_pads("conv", n, k, stride, padding, a) for a, (n, k) in enumerate(zip(image, size, strict=True)))
    for n, k, (low, high) in zip(image, size, pads, strict=True):
        if n + low + high < k:
            raise ValueError(f"conv: a kernel of {size} does not fit the image {image} with padding {pads}")
    if size == (1, 1) and groups == 1 and not np.any(pads) and backend.name() in PRODUCTS:
        x = x[:, ::stride, ::stride]
        return (x.reshape(-1, x.shape[3]) @ kernel[0, 0]).reshape(*x.shape[:3], -1)
    transform = groups == 1 and fourier.pays(x.dtype, x.shape[0], image, kernel.shape, stride, pads)
    how = Geometry(stride, pads, image, size, groups, transform)
    if stride > 1 or transform or conv_rules.by_rows(x, how) or conv_rules.by_patches(x, kernel.shape[3], how):
        y = conv_rules.forward(x, kernel, how)
    else:
        y = conv_rules.direct(x, kernel, how)
    if groups > 1 and x.dtype == jnp.float32 and backend.name() == "gpu":
        # XLA would give a bias added to y to cuDNN with the convolution, and cuDNN then runs a slow kernel for each group: twelve
        # such, at 4x4 with 64 images and 96 groups, cost R3GAN's step 4 of 64 ms (H100, benchmarks/README.md).
        y = lax.optimization_barrier(y)
    return y


def conv_transpose(x: Array, kernel: Array, *, stride: int, padding: str = "SAME") -> Array:
    """Transposed convolution: y[stride i + t - low] += x[i] kernel[t], the input gradient of `conv` with this stride.

    Aligned as TensorFlow and Keras do: with "SAME" the output is stride * size and low = max(k - stride, 0) // 2.
    It equals `tf.nn.conv2d_transpose` and Keras's Conv2DTranspose, whose kernel [kh, kw, cout, cin] has the last two
    axes swapped; nothing is flipped. (PyTorch crops k=5, stride=2 one pixel further on: padding 2, output_padding 1.)

    Args:
      x: [B, H, W, cin].
      kernel: [kh, kw, cin, cout], same dtype.
      stride: int >= 1, both axes.
      padding: "SAME", or "VALID" (nothing cropped: output stride * size + max(k - stride, 0)).
    Returns:
      [B, H', W', cout]. Derivatives as `conv`.
    Raises:
      ValueError: shapes, dtypes or options that do not fit.
    """
    _check_arrays("conv_transpose", x, kernel, stride, 1)
    if padding not in ("SAME", "VALID"):
        raise ValueError(f"conv_transpose: padding must be 'SAME' or 'VALID', not {padding!r}")
    if kernel.shape[2] != x.shape[3]:
        raise ValueError(
            f"conv_transpose: x has {x.shape[3]} channels, kernel {kernel.shape} takes {kernel.shape[2]}; "
            "the layout is [kh, kw, cin, cout]"
        )
    size = kernel.shape[:2]
    extra = [max(k - stride, 0) for k in size]
    crop = [e if padding == "SAME" else 0 for e in extra]
    image = tuple(n * stride + e - c for n, e, c in zip(x.shape[1:3], extra, crop, strict=True))
    # The ordinary convolution that maps `image` back to x; a kernel shorter than its stride skips the last pixels.
    pads = tuple((c // 2, c - c // 2 - max(stride - k, 0)) for c, k in zip(crop, size, strict=True))
    if stride == 1 and padding == "SAME":  # an ordinary convolution with a flipped kernel
        pads = tuple((k - 1 - low, k - 1 - high) for k, (low, high) in zip(size, pads, strict=True))
        return conv(x, kernel[::-1, ::-1], padding=pads)
    swapped = kernel.swapaxes(2, 3)
    how = Geometry(stride, pads, image, size, 1, fourier.pays(x.dtype, x.shape[0], image, swapped.shape, stride, pads))
    return conv_rules.input_gradient(x, swapped, how)


def upsample2(x: Array) -> Array:
    """Bilinear x2, half-pixel centres: y[2i] = (x[i-1] + 3 x[i]) / 4, y[2i+1] = (3 x[i] + x[i+1]) / 4, on each axis.

    This is zero insertion followed by the filter [1, 3, 3, 1] = [1, 2, 1] * [1, 1]. The edge pixel is repeated, so
    that a constant image stays constant; it equals jax.image.resize(..., "bilinear").

    Args:
      x: [B, H, W, C].
    Returns:
      [B, 2H, 2W, C].
    Source: Huang et al. 2024 (R3GAN), section 4; deviation: their border sees zeros, ours the repeated edge.
    """
    _check_rank("upsample2", x)
    return _double(_double(x, 1), 2)


def downsample2(x: Array) -> Array:
    """Mean over 2x2 squares, the transpose of nearest-neighbour doubling over 4.

    Args:
      x: [B, H, W, C], H and W even.
    Returns:
      [B, H/2, W/2, C].
    Raises:
      ValueError: odd H or W.
    """
    _check_rank("downsample2", x)
    b, h, w, c = x.shape
    if h % 2 or w % 2:
        raise ValueError(f"downsample2: height and width must be even, not {h}x{w}")
    return x.reshape(b, h // 2, 2, w // 2, 2, c).mean((2, 4))


def space_to_depth(x: Array, n: int) -> Array:
    """Each n x n square becomes one pixel, its rows in order, channels innermost.

    Args:
      x: [B, H, W, C]; n divides H and W.
    Returns:
      [B, H/n, W/n, n n C].
    Raises:
      ValueError: n does not divide H and W.
    """
    _check_rank("space_to_depth", x)
    b, h, w, c = x.shape
    if h % n or w % n:
        raise ValueError(f"space_to_depth: {n} does not divide the image's {h}x{w}")
    return x.reshape(b, h // n, n, w // n, n, c).transpose(0, 1, 3, 2, 4, 5).reshape(b, h // n, w // n, n * n * c)


def depth_to_space(x: Array, n: int) -> Array:
    """The inverse of `space_to_depth`.

    Args:
      x: [B, H, W, n n C].
    Returns:
      [B, n H, n W, C].
    Raises:
      ValueError: n n does not divide the channels.
    """
    _check_rank("depth_to_space", x)
    b, h, w, c = x.shape
    if c % (n * n):
        raise ValueError(f"depth_to_space: {n} x {n} does not divide the {c} channels")
    c //= n * n
    return x.reshape(b, h, w, n, n, c).transpose(0, 1, 3, 2, 4, 5).reshape(b, n * h, n * w, c)


def hash_bits(keys: Array, salt: int, shape: Sequence[int]) -> Array:
    """Random bits by hashing (image's key, salt, element index): about ten integer operations a word, no carried state.

    It replaces jax.random.bits where threefry costs more than the layer it serves (dropout masks, additive noise). It
    is a good statistical generator, not a cryptographic one.

    Args:
      keys: typed key array [B], one per image (jax.random.split or a vmapped fold_in).
      salt: int, different for each place that draws from the same keys.
      shape: the shape of one image's draw; fewer than 2**32 elements.
    Returns:
      uint32 [B, *shape]; row i is a function of keys[i], salt and the shape alone, whatever the batch.
    Raises:
      ValueError: keys that are not a rank-1 typed key array; a shape that is too large.
    Source: the finaliser lowbias32 of C. Wellons' hash prospector, twice, with one half of the key before each.
    """
    if not (hasattr(keys, "dtype") and jnp.issubdtype(keys.dtype, jax.dtypes.prng_key)) or keys.ndim != 1:
        raise ValueError("hash_bits: keys must be a typed key array of shape [B], as jax.random.split(key, B) makes")
    count = math.prod(shape)
    if count >= 2**32:
        raise ValueError(f"hash_bits: shape {tuple(shape)} has {count} elements; the counter holds 2**32 - 1")
    return _hashed(jax.random.key_data(keys), np.uint32(int(salt) & 0xFFFFFFFF), tuple(shape))


@partial(jax.jit, static_argnums=2)  # traced once for each shape, whatever the salt
def _hashed(words, salt, shape):
    """`hash_bits` of the keys' words, uint32 [B, 2] for threefry, [B, 4] for rbg."""
    count = math.prod(shape)
    a = jnp.broadcast_to(salt, words.shape[:1])
    b = jnp.full_like(a, 0x9E3779B9)
    for i in range(words.shape[1]):
        a, b = _mix(a ^ words[:, i]) + b, _mix(b + a)
    a, b = _mix(a), _mix(b ^ a)
    bits = _mix(_mix(lax.iota(jnp.uint32, count)[None, :] + a[:, None]) ^ b[:, None])
    return bits.reshape(words.shape[:1] + tuple(shape))


def _mix(h):
    """A bijection of uint32 in which every input bit flips every output bit with probability very near 1/2."""
    h = h ^ (h >> 16)
    h = h * jnp.uint32(0x7FEB352D)
    h = h ^ (h >> 15)
    h = h * jnp.uint32(0x846CA68B)
    return h ^ (h >> 16)


def _double(x, axis):
    """`upsample2` along one axis."""
    n = x.shape[axis]
    before = jnp.concatenate([lax.slice_in_dim(x, 0, 1, axis=axis), lax.slice_in_dim(x, 0, n - 1, axis=axis)], axis)
    after = jnp.concatenate([lax.slice_in_dim(x, 1, n, axis=axis), lax.slice_in_dim(x, n - 1, n, axis=axis)], axis)
    pair = jnp.stack([0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after], axis + 1)
    return pair.reshape(x.shape[:axis] + (2 * n,) + x.shape[axis + 1 :])


def _joined(kernel, groups, together):
    """The kernel of `groups` groups as one of groups / together: [kh, kw, cin, cout] -> [kh, kw, together cin, cout]."""
    cin, cout = kernel.shape[2:]
    own = np.arange(together * cin)[:, None] // cin == np.arange(cout)[None, :] // (cout // groups) % together
    return jnp.tile(kernel, (1, 1, together, 1)) * own.astype(kernel.dtype)[None, None]


def _pads(name, n, k, stride, padding, axis):
    """Low and high padding of one axis."""
    if padding == "VALID":
        return 0, 0
    if padding == "SAME":
        total = max((-(-n // stride) - 1) * stride + k - n, 0)
        return total // 2, total - total // 2
    if not isinstance(padding, tuple | list) or len(padding) != 2 or any(np.shape(p) != (2,) for p in padding):
        raise ValueError(f"{name}: padding must be 'SAME', 'VALID' or ((low, high), (low, high)), not {padding!r}")
    return tuple(padding[axis])


def _check_rank(name, x):
    if x.ndim != 4:
        raise ValueError(f"{name}: x must be [B, H, W, C], not {x.shape}")


def _check_arrays(name, x, kernel, stride, groups):
    _check_rank(name, x)
    if kernel.ndim != 4:
        raise ValueError(f"{name}: kernel must be [kh, kw, cin, cout], not {kernel.shape}")
    if x.dtype != kernel.dtype:
        raise ValueError(f"{name}: x is {x.dtype} and kernel {kernel.dtype}; cast one to the other's dtype")
    if not isinstance(stride, int) or stride < 1:
        raise ValueError(f"{name}: stride must be an int of at least 1, not {stride!r}")
    if not isinstance(groups, int) or groups < 1 or x.shape[3] % groups or kernel.shape[3] % groups:
        raise ValueError(
            f"{name}: groups={groups!r} must be a positive int that divides the {x.shape[3]} input and the "
            f"{kernel.shape[3]} output channels"
        )
