"""DINOv2's vision transformers (ViT-S/B/L with patches of 14) in pure functions, for FD-DINOv2."""

import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxgan.errors import UserError, one_line
from jaxgan.metrics.exact import dense
from jaxgan.metrics.resize import pil_bicubic_uint8
from jaxgan.typing import AnyArray, Array, Tree

SIZE, PATCH, HEAD = 224, 14, 64  # pixels; pixels; numbers in one attention head, in all of DINOv2's sizes
EPSILON = 1e-6  # of the layer norms
NAMES = {384: "vits14", 768: "vitb14", 1024: "vitl14"}
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, of RGB in [0, 1]
OFFSET = 0.1  # the official code adds it to the new grid's size when it resizes the position table


def weights(state: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The network's arrays from the official state dict; the position table is resized to 224x224 images here.

    Args:
      state: {"cls_token", "pos_embed" [1, 1 + M M, D], "patch_embed.proj.weight", "blocks.0.norm1.weight", ...}; a block
        may be named by two numbers, as training checkpoints do.
    Returns:
      A tree of float32 arrays.
    Raises:
      UserError: not a DINOv2 of one of these sizes.
    """
    state = {re.sub(r"^blocks\.\d+\.(\d+)\.", r"blocks.\1.", name): a for name, a in state.items()}
    get = lambda name: np.asarray(state[name], np.float32)
    linear = lambda name: {"kernel": get(f"{name}.weight").T, "bias": get(f"{name}.bias")}
    norm = lambda name: {"scale": get(f"{name}.weight"), "bias": get(f"{name}.bias")}
    try:
        positions = get("pos_embed")[0]
        params = {"cls": get("cls_token")[0] + positions[:1], "positions": resized(positions[1:], SIZE // PATCH)}
        params["registers"] = get("register_tokens")[0] if "register_tokens" in state else np.zeros((0, positions.shape[1]))
        kernel = get("patch_embed.proj.weight").transpose(2, 3, 1, 0)
        params["patch"] = {"kernel": kernel.reshape(-1, kernel.shape[-1]), "bias": get("patch_embed.proj.bias")}
        params["norm"] = norm("norm")
        params["blocks"] = []
        for i in range(1 + max(int(name.split(".")[1]) for name in state if name.startswith("blocks."))):
            at = f"blocks.{i}."
            block = {"norm1": norm(at + "norm1"), "norm2": norm(at + "norm2"), "qkv": linear(at + "attn.qkv")}
            block |= {"out": linear(at + "attn.proj"), "up": linear(at + "mlp.fc1"), "down": linear(at + "mlp.fc2")}
            params["blocks"].append(block | {"scale1": get(at + "ls1.gamma"), "scale2": get(at + "ls2.gamma")})
        params = jax.tree.map(lambda a: np.ascontiguousarray(a, np.float32), params)
        jax.eval_shape(network, params, jax.ShapeDtypeStruct((1, SIZE, SIZE, 3), jnp.float32))
    except (KeyError, TypeError, ValueError, IndexError) as e:
        raise UserError(f"dinov2: not the weights of a DINOv2 ViT-S, B or L with patches of 14 ({one_line(e, 80)})") from None
    return params


def resized(table: np.ndarray, side: int) -> np.ndarray:
    """A position table [M M, D] for side x side patches, by torch's bicubic (a = -0.75) with the official code's scale.

    Position i of the new grid samples (i + 0.5) M / (side + 0.1) - 0.5; the edge is replicated.

    Returns:
      float64 [side side, D].
    """
    m = round(len(table) ** 0.5)
    if m * m != len(table):
        raise ValueError(f"{len(table)} positions do not make a square")
    if m == side:
        return table
    at = (np.arange(side) + 0.5) * (m / (side + OFFSET)) - 0.5
    low = np.floor(at).astype(int)
    rows = np.zeros((side, m))
    for k in range(-1, 3):
        x = np.abs(at - (low + k))
        a = -0.75
        near, far = ((a + 2) * x - (a + 3)) * x * x + 1, ((x - 5) * x + 8) * x * a - 4 * a
        np.add.at(rows, (np.arange(side), np.clip(low + k, 0, m - 1)), np.where(x <= 1, near, far))
    grid = np.asarray(table, np.float64).reshape(m, m, -1)
    return np.einsum("ui,vj,ijd->uvd", rows, rows, grid, optimize=True).reshape(side * side, -1)


def prepare(images: AnyArray) -> Array:
    """uint8 [B, H, W, 3] -> float32 [B, 224, 224, 3]: Pillow's bicubic, then ImageNet's mean and deviation.

    Source: dgm-eval (Stein et al. 2023): torchvision's Resize((224, 224), BICUBIC), ToTensor, Normalize.
    """
    x = pil_bicubic_uint8(images, (SIZE, SIZE)) / 255
    wide = lambda v: jnp.asarray(v, jnp.float32).reshape(1, 1, 1, 3)
    return (x - wide(MEAN)) / wide(DEVIATION)


def network(params: Tree, x: Array) -> Array:
    """The class token after the last norm, all arithmetic in full float32.

    Args:
      params: from `weights`.
      x: float32 [B, 224, 224, 3], from `prepare`.
    Returns:
      [B, D].
    Source: Oquab et al. 2023; Darcet et al. 2023 (registers).
    """
    b, side = len(x), SIZE // PATCH
    x = x.reshape(b, side, PATCH, side, PATCH, 3).transpose(0, 1, 3, 2, 4, 5).reshape(b, side * side, -1)
    x = dense(x, params["patch"]) + params["positions"][None]
    first = jnp.concatenate([params["cls"], params["registers"]])[None]
    x = jnp.concatenate([jnp.broadcast_to(first, (b, *first.shape[1:])), x], 1)
    for p in params["blocks"]:
        x = x + _attention(_norm(x, p["norm1"]), p) * p["scale1"].reshape(1, 1, -1)
        y = jax.nn.gelu(dense(_norm(x, p["norm2"]), p["up"]), approximate=False)
        x = x + dense(y, p["down"]) * p["scale2"].reshape(1, 1, -1)
    return _norm(x[:, :1], params["norm"])[:, 0]


def _attention(x, p):
    b, n, d = x.shape
    q, k, v = jnp.moveaxis(dense(x, p["qkv"]).reshape(b, n, 3, d // HEAD, HEAD), 2, 0)
    scores = jnp.einsum("bnhc,bmhc->bhnm", q * HEAD**-0.5, k, precision=lax.Precision.HIGHEST)
    y = jnp.einsum("bhnm,bmhc->bnhc", jax.nn.softmax(scores, -1), v, precision=lax.Precision.HIGHEST)
    return dense(y.reshape(b, n, d), p["out"])


def _norm(x, p):
    x = x - x.mean(-1, keepdims=True)
    x = x * lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + EPSILON)
    return x * p["scale"].reshape(1, 1, -1) + p["bias"].reshape(1, 1, -1)
