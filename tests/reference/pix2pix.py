"""Float64 NumPy forward passes of pix2pix's networks, written from the paper's appendix, and of what the pairs go through."""

import numpy as np

from tests.reference.classic import f64, norm


def conv(x, layer, stride, pad):
    """Cross-correlation: x [B, H, W, cin], kernel [k, k, cin, cout]; pad: zeros ((above, below), (left, right))."""
    kernel = layer["kernel"]
    k, wide = kernel.shape[0], np.pad(x, ((0, 0), *pad, (0, 0)))
    rows, columns = ((n - k) // stride + 1 for n in wide.shape[1:3])
    y = np.zeros((len(x), rows, columns, kernel.shape[3]))
    for i in range(rows):
        for j in range(columns):
            window = wide[:, i * stride : i * stride + k, j * stride : j * stride + k]
            y[:, i, j] = np.tensordot(window, kernel, 3)
    return y + layer.get("bias", 0.0)


def halve(x, layer):
    """4x4, stride 2: one row of zeros on every side, and one more after an odd side."""
    return conv(x, layer, 2, [(1, 1 + n % 2) for n in x.shape[1:3]])


def double(x, layer, size):
    """Transposed, stride 2: pixel (i, j) is stamped as kernel times value at 2 i - 1, 2 j - 1; cut to `size`."""
    kernel, (b, h, w, _) = layer["kernel"], x.shape
    k = len(kernel)
    y = np.zeros((b, 2 * h + k - 2, 2 * w + k - 2, kernel.shape[3]))
    for i in range(h):
        for j in range(w):
            y[:, 2 * i : 2 * i + k, 2 * j : 2 * j + k] += np.einsum("bc,xyco->bxyo", x[:, i, j], kernel)
    return y[:, 1 : 1 + size[0], 1 : 1 + size[1]] + layer.get("bias", 0.0)


def leaky(x):
    return np.where(x > 0, x, 0.2 * x)


def generator(params, source, depth, axes):
    """Encoder and decoder with a skip between layers i and n - i; no dropout."""
    p = f64(params)

    def level(x, i):
        """The output of level i: what it was given, halved, worked on below, doubled."""
        size = x.shape[1:3]
        y = halve(leaky(x) if i else x, p[f"down{i}"])
        if 0 < i < depth - 1:
            y = norm(y, p.get(f"down{i}_norm"), axes)
        if i < depth - 1:
            y = np.concatenate([y, level(y, i + 1)], 3)
        y = double(np.maximum(y, 0), p[f"up{i}"], size)
        return norm(y, p.get(f"up{i}_norm"), axes) if i else np.tanh(y)

    return level(np.asarray(source, np.float64), 0)


def discriminator(params, source, x, layers, axes):
    """Source and image together through `layers` halvings and two convolutions that keep the grid (PixelGAN: 1x1)."""
    p = f64(params)
    h = np.concatenate([np.asarray(source, np.float64), np.asarray(x, np.float64)], 3)
    strides = [2] * layers + [1] if layers else [1, 1]
    pad = [(1, 1), (1, 1)] if layers else [(0, 0), (0, 0)]
    for i, stride in enumerate(strides):
        h = conv(h, p[f"conv{i}"], stride, pad)
        h = leaky(norm(h, p[f"conv{i}_norm"], axes) if i and f"conv{i}_norm" in p else h)
    return conv(h, p["logits"], 1, pad)[..., 0]
