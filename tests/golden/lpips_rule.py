"""A narrow VGG16 with LPIPS's linear weights by a rule, in NumPy alone: leaf i draws from np.random.RandomState(i).

Kernels normal sqrt(2 / fan in), biases 0.1 normal, linear weights normal^2 / width. The images are uniform noise in [-1, 1].
"""

import numpy as np

WIDTHS = (6, 8, 10, 12, 12)
CONVOLUTIONS = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))
SIZES = ((16, 16, 3), (45, 38, 3), (28, 28, 1))


def state(widths=WIDTHS):
    """({torchvision's name: float32 array}, {LPIPS's name: float32 array})."""
    draw = lambda shape: np.random.RandomState(len(vgg) + len(linear)).standard_normal(shape)
    vgg, linear, cin = {}, {}, 3
    for numbers, width in zip(CONVOLUTIONS, widths, strict=True):
        for n in numbers:
            vgg[f"features.{n}.weight"] = np.float32(draw((width, cin, 3, 3)) * np.sqrt(2 / (9 * cin)))
            vgg[f"features.{n}.bias"] = np.float32(0.1 * draw(width))
            cin = width
    for i, width in enumerate(widths):
        linear[f"lin{i}.model.1.weight"] = np.float32(draw((1, width, 1, 1)) ** 2 / width)
    return vgg, linear


def images(size):
    """Two pairs: float32 [2, H, W, C] twice; the second pair is nearly equal."""
    x, y = np.random.RandomState(100).uniform(-1, 1, (2, 2, *size))
    y[1] = np.clip(x[1] + 0.1 * y[1], -1, 1)
    return np.float32(x), np.float32(y)
