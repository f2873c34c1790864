"""A tiny DINOv2 (width 128, 2 blocks, 2 heads, position table 37 x 37) by a rule, in NumPy alone.

Leaf i of `SHAPES` draws from np.random.RandomState(i): matrices and kernels normal / sqrt(fan in); norm weights 1 + 0.1
normal; layer scales 1 + 0.1 normal; biases, tokens and the position table 0.3 normal.
"""

import numpy as np

D, DEPTH = 128, 2


def shapes(registers):
    out = {"cls_token": (1, 1, D), "pos_embed": (1, 1 + 37 * 37, D), "mask_token": (1, D)}
    if registers:
        out["register_tokens"] = (1, registers, D)
    out |= {"patch_embed.proj.weight": (D, 3, 14, 14), "patch_embed.proj.bias": (D,)}
    for i in range(DEPTH):
        leaves = {"norm1.weight": (D,), "norm1.bias": (D,), "attn.qkv.weight": (3 * D, D), "attn.qkv.bias": (3 * D,)}
        leaves |= {"attn.proj.weight": (D, D), "attn.proj.bias": (D,), "ls1.gamma": (D,), "norm2.weight": (D,)}
        leaves |= {"norm2.bias": (D,), "mlp.fc1.weight": (4 * D, D), "mlp.fc1.bias": (4 * D,)}
        leaves |= {"mlp.fc2.weight": (D, 4 * D), "mlp.fc2.bias": (D,), "ls2.gamma": (D,)}
        out |= {f"blocks.{i}.{name}": shape for name, shape in leaves.items()}
    return out | {"norm.weight": (D,), "norm.bias": (D,)}


def state(registers=0):
    """The state dict {official name: float32 array}."""
    out = {}
    for i, (name, shape) in enumerate(shapes(registers).items()):
        a = np.random.RandomState(i).standard_normal(shape)
        if "norm" in name and name.endswith("weight") or name.endswith("gamma"):
            a = 1 + 0.1 * a
        elif name.endswith("weight"):
            a = a / np.sqrt(np.prod(shape[1:]))
        else:
            a = 0.3 * a
        out[name] = a.astype(np.float32)
    return out
