"""The FID Inception-v3: TensorFlow's graph of 2015-12-05 as converted to PyTorch, in pure functions."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxgan.errors import UserError, one_line
from jaxgan.metrics import exact, resize
from jaxgan.typing import AnyArray, Array, Tree

URL = "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth"
SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
SIZE = 299
EPSILON = 1e-3  # of the graph's batch norms
WAYS = ("tf1", "pytorch-fid", "clean-fid")


def weights(state: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The network's arrays from the PyTorch conversion's state dict: batch norm folded into kernel and bias, in float64.

    Args:
      state: {"Conv2d_1a_3x3.conv.weight": [cout, cin, kh, kw], "Conv2d_1a_3x3.bn.running_mean": ..., "fc.weight": ...}.
    Returns:
      {"Conv2d_1a_3x3": {"kernel": float32 [kh, kw, cin, cout], "bias": float32 [cout]}, ..., "fc": {"kernel": [2048, K]}}.
    Raises:
      UserError: not the arrays of that network.
    """
    params = {}
    try:
        for name in [key.removesuffix(".conv.weight") for key in state if key.endswith(".conv.weight")]:
            kernel, *bn = (
                np.asarray(state[f"{name}.{leaf}"], np.float64)
                for leaf in ("conv.weight", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var")
            )
            scale = bn[0] / np.sqrt(bn[3] + EPSILON)
            kernel = kernel.transpose(2, 3, 1, 0) * scale
            params[name] = {"kernel": kernel.astype(np.float32), "bias": (bn[1] - bn[2] * scale).astype(np.float32)}
        params["fc"] = {"kernel": np.asarray(state["fc.weight"], np.float32).T}
        jax.eval_shape(network, params, jax.ShapeDtypeStruct((1, SIZE, SIZE, 3), jnp.float32))
    except (KeyError, TypeError, ValueError) as e:
        raise UserError(
            f"inception: not the weights of the FID Inception-v3 ({one_line(e, 80)}); give {URL.rsplit('/', 1)[1]}"
        ) from None
    return params


def prepare(images: AnyArray, way: str = "tf1") -> Array:
    """The network's input.

    Args:
      images: uint8 [B, H, W, 3].
      way: "tf1": TensorFlow 1's bilinear and (x - 128) / 128, as the original graph, torch-fidelity and NVIDIA's file.
        "pytorch-fid": half-pixel bilinear and 2 x / 255 - 1. "clean-fid": Pillow's bicubic, clipped to
        0..255, and (x - 128) / 128.
    Returns:
      float32 [B, 299, 299, 3], about [-1, 1].
    """
    if way == "pytorch-fid":
        return resize.half_pixel_bilinear(images, (SIZE, SIZE)) * (2 / 255) - 1
    if way == "clean-fid":  # cuts what the cubic overshoots (its version 0.1.35; the first ones did not)
        return (jnp.clip(resize.pil_bicubic(images, (SIZE, SIZE)), 0, 255) - 128) / 128
    return (resize.tf1_bilinear(images, (SIZE, SIZE)) - 128) / 128


def network(params: Tree, x: Array) -> tuple[Array, Array]:
    """Pool features and class logits, all arithmetic in full float32.

    Args:
      params: from `weights`.
      x: float32 [B, 299, 299, 3], from `prepare`.
    Returns:
      (features [B, 2048], logits [B, 1008] without the bias, as the inception score takes them).
    Source: Szegedy et al. 2016; Heusel et al. 2017. Unlike in the paper's network, the 3x3 averages exclude the border, and
      the last block takes a maximum instead of the average.
    """
    conv = lambda x, name, *strided: _conv(x, params[name], *strided)
    x = conv(x, "Conv2d_1a_3x3", 2, "VALID")
    x = conv(x, "Conv2d_2a_3x3", 1, "VALID")
    x = conv(x, "Conv2d_2b_3x3")
    x = _max_pool(x, 2, "VALID")
    x = conv(x, "Conv2d_3b_1x1")
    x = conv(x, "Conv2d_4a_3x3", 1, "VALID")
    x = _max_pool(x, 2, "VALID")
    for name in ("5b", "5c", "5d"):
        x = _block(params, x, f"Mixed_{name}", ["1x1"], ["5x5_1", "5x5_2"], ["3x3dbl_1", "3x3dbl_2", "3x3dbl_3"], pool=_mean_pool)
    x = _reduction(params, x, "Mixed_6a", ["3x3"], ["3x3dbl_1", "3x3dbl_2", "3x3dbl_3"])
    for name in ("6b", "6c", "6d", "6e"):
        sevens = [f"7x7_{i}" for i in range(1, 4)], [f"7x7dbl_{i}" for i in range(1, 6)]
        x = _block(params, x, f"Mixed_{name}", ["1x1"], *sevens, pool=_mean_pool)
    x = _reduction(params, x, "Mixed_7a", ["3x3_1", "3x3_2"], [f"7x7x3_{i}" for i in range(1, 5)])
    for name, pool in (("7b", _mean_pool), ("7c", _max_pool)):
        threes = ["3x3_1", ("3x3_2a", "3x3_2b")], ["3x3dbl_1", "3x3dbl_2", ("3x3dbl_3a", "3x3dbl_3b")]
        x = _block(params, x, f"Mixed_{name}", ["1x1"], *threes, pool=pool)
    features = x.mean((1, 2))
    return features, jnp.dot(features, params["fc"]["kernel"], precision=lax.Precision.HIGHEST)


def _block(params, x, name, *branches, pool):
    """Parallel branches, then the pooled one; a tuple in a branch is two convolutions of the same input."""
    outputs = []
    for branch in branches:
        y = x
        for layer in branch:
            layers = layer if isinstance(layer, tuple) else (layer,)
            y = jnp.concatenate([_conv(y, params[f"{name}.branch{l}"]) for l in layers], -1)
        outputs.append(y)
    return jnp.concatenate([*outputs, _conv(pool(x), params[f"{name}.branch_pool"])], -1)


def _reduction(params, x, name, *branches):
    """Halves the size: the last convolution of each branch and the pooling have stride 2."""
    outputs = []
    for branch in branches:
        y = x
        for layer in branch[:-1]:
            y = _conv(y, params[f"{name}.branch{layer}"])
        outputs.append(_conv(y, params[f"{name}.branch{branch[-1]}"], 2, "VALID"))
    return jnp.concatenate([*outputs, _max_pool(x, 2, "VALID")], -1)


def _conv(x, p, *strided):
    return jax.nn.relu(exact.conv(x, p, *strided))


def _max_pool(x, stride=1, padding="SAME"):
    return _along(_along(x, 1, stride, padding, -jnp.inf, jnp.maximum), 2, stride, padding, -jnp.inf, jnp.maximum)


def _mean_pool(x):
    """3x3 averages of what lies inside the image."""
    total = lambda x: _along(_along(x, 1, 1, "SAME", 0.0, jnp.add), 2, 1, "SAME", 0.0, jnp.add)
    return total(x) / total(jnp.ones((1, *x.shape[1:3], 1), x.dtype))


def _along(x, axis, stride, padding, border, join):
    """`join` of three neighbours along an axis, as slices: XLA's windows (`lax.reduce_window`) are many times slower on a CPU."""
    if padding == "SAME":
        x = jnp.pad(x, [(1, 1) if a == axis else (0, 0) for a in range(x.ndim)], constant_values=border)
    last = x.shape[axis] - 2
    one, two, three = (lax.slice_in_dim(x, i, i + last, stride, axis) for i in range(3))
    return join(join(one, two), three)
