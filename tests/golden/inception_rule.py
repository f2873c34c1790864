"""Weights and images for the FID Inception-v3 by a rule, in NumPy alone; and what metrics_features.npz holds.

Leaf i (in `SHAPES` order, from 0) draws from np.random.RandomState(i), whose stream NumPy never changes: kernels are normal
times sqrt(2 / fan in); batch norm's weight is 1 + 0.1 normal, bias and mean 0.1 normal, variance uniform in [0.5, 1.5]; fc is
normal / sqrt(2048). Images: RandomState(1000 + H) integers in 0..255 of shape [2, H, W, 3], the second one smoothed.

metrics_features.npz, of these images and weights:
inception.<H>x<W>.tf1 and .logits: torch-fidelity 0.4.0's float32 features (2048) and unbiased logits, every 8th;
inception.<H>x<W>.pytorch-fid: pytorch-fid 0.3.0's network in float64 on images / 255, every 8th feature;
resize.<H>x<W>_299 (to 299x299) or _40 (to 40x24), of the first image, every 17th or 3rd row and column: .tf1 TensorFlow
2.21's tf.compat.v1.image.resize_bilinear, .half torch 2.13's interpolate in float64, .pil and .pil8 Pillow 13's bicubic on
float and on uint8 images;
dinov2.<images32|images320>.<registers>: the official code in float64 (torchvision's resize) with dinov2_rule.py's weights;
dinov2.same.<registers>: on RandomState(7).standard_normal([2, 224, 224, 3]).
"""

import numpy as np

SIZES = ((32, 32), (64, 48), (299, 299), (320, 400))


def _layers():
    """{name: (cout, cin, kh, kw)} of the 94 convolutions."""
    layers = {"Conv2d_1a_3x3": (32, 3, 3, 3), "Conv2d_2a_3x3": (32, 32, 3, 3), "Conv2d_2b_3x3": (64, 32, 3, 3)}
    layers |= {"Conv2d_3b_1x1": (80, 64, 1, 1), "Conv2d_4a_3x3": (192, 80, 3, 3)}

    def block(name, **branches):
        layers.update({f"{name}.branch{k}".replace("branchp", "branch_p"): v for k, v in branches.items()})

    for name, cin, pool in (("5b", 192, 32), ("5c", 256, 64), ("5d", 288, 64)):
        block(f"Mixed_{name}", **{"1x1": (64, cin, 1, 1), "5x5_1": (48, cin, 1, 1), "5x5_2": (64, 48, 5, 5)})
        block(f"Mixed_{name}", **{"3x3dbl_1": (64, cin, 1, 1), "3x3dbl_2": (96, 64, 3, 3), "3x3dbl_3": (96, 96, 3, 3)})
        block(f"Mixed_{name}", pool=(pool, cin, 1, 1))
    block("Mixed_6a", **{"3x3": (384, 288, 3, 3), "3x3dbl_1": (64, 288, 1, 1)})
    block("Mixed_6a", **{"3x3dbl_2": (96, 64, 3, 3), "3x3dbl_3": (96, 96, 3, 3)})
    for name, c in (("6b", 128), ("6c", 160), ("6d", 160), ("6e", 192)):
        block(f"Mixed_{name}", **{"1x1": (192, 768, 1, 1), "pool": (192, 768, 1, 1)})
        block(f"Mixed_{name}", **{"7x7_1": (c, 768, 1, 1), "7x7_2": (c, c, 1, 7), "7x7_3": (192, c, 7, 1)})
        block(f"Mixed_{name}", **{"7x7dbl_1": (c, 768, 1, 1), "7x7dbl_2": (c, c, 7, 1), "7x7dbl_3": (c, c, 1, 7)})
        block(f"Mixed_{name}", **{"7x7dbl_4": (c, c, 7, 1), "7x7dbl_5": (192, c, 1, 7)})
    block("Mixed_7a", **{"3x3_1": (192, 768, 1, 1), "3x3_2": (320, 192, 3, 3), "7x7x3_1": (192, 768, 1, 1)})
    block("Mixed_7a", **{"7x7x3_2": (192, 192, 1, 7), "7x7x3_3": (192, 192, 7, 1), "7x7x3_4": (192, 192, 3, 3)})
    for name, cin in (("7b", 1280), ("7c", 2048)):
        block(f"Mixed_{name}", **{"1x1": (320, cin, 1, 1), "pool": (192, cin, 1, 1)})
        block(f"Mixed_{name}", **{"3x3_1": (384, cin, 1, 1), "3x3_2a": (384, 384, 1, 3), "3x3_2b": (384, 384, 3, 1)})
        block(f"Mixed_{name}", **{"3x3dbl_1": (448, cin, 1, 1), "3x3dbl_2": (384, 448, 3, 3)})
        block(f"Mixed_{name}", **{"3x3dbl_3a": (384, 384, 1, 3), "3x3dbl_3b": (384, 384, 3, 1)})
    return layers


def _shapes():
    shapes = {}
    for name, kernel in _layers().items():
        shapes[f"{name}.conv.weight"] = kernel
        shapes |= {f"{name}.bn.{leaf}": kernel[:1] for leaf in ("weight", "bias", "running_mean", "running_var")}
    return shapes | {"fc.weight": (1008, 2048), "fc.bias": (1008,)}


SHAPES = _shapes()


def state():
    """The state dict {name: float32 array}."""
    out = {}
    for i, (name, shape) in enumerate(SHAPES.items()):
        rng = np.random.RandomState(i)
        if name.endswith("conv.weight"):
            a = rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
        elif name == "fc.weight":
            a = rng.standard_normal(shape) / np.sqrt(shape[1])
        elif name.endswith("running_var"):
            a = rng.uniform(0.5, 1.5, shape)
        else:
            a = 0.1 * rng.standard_normal(shape) + name.endswith("bn.weight")
        out[name] = a.astype(np.float32)
    return out


def images(height, width):
    """uint8 [2, height, width, 3]."""
    x = np.random.RandomState(1000 + height).randint(0, 256, (2, height, width, 3)).astype(np.uint8)
    smooth = x[1].astype(np.float64)
    for axis in (0, 1):
        smooth = sum(np.roll(smooth, k, axis) for k in range(-4, 5)) / 9
    x[1] = np.clip((smooth - 128) * 5 + 128, 0, 255).astype(np.uint8)
    return x
