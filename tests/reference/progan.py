"""ProGAN and StyleGAN forward passes in float64 NumPy, from the papers' words: Karras et al. 2018 and 2019.

Written as the papers say it (repeat pixels, convolve, blur; average pixels), not as the library computes it. `p` are linen's
parameters; images are [B, H, W, C]. Kernels of doubling convolutions are stored flipped, as a transposed convolution has them.
"""

import numpy as np


def leaky(x):
    return np.where(x < 0, 0.2 * x, x)


def pixel_norm(x):
    return x / np.sqrt(np.mean(x**2, -1, keepdims=True) + 1e-8)


def conv(p, x, gain=np.sqrt(2), flip=False):
    k = np.float64(p["kernel"]) * gain / np.sqrt(np.prod(p["kernel"].shape[:3]))
    k = k[::-1, ::-1] if flip else k
    r, (h, w) = k.shape[0] // 2, x.shape[1:3]
    wide = np.pad(x, ((0, 0), (r, r), (r, r), (0, 0)))
    y = sum(wide[:, s : s + h, t : t + w] @ k[s, t] for s in range(k.shape[0]) for t in range(k.shape[1]))
    return y + np.float64(p["bias"]) if "bias" in p else y


def dense(p, x, gain=1.0, lr_mult=1.0):
    y = x @ np.float64(p["kernel"]) * gain * lr_mult / np.sqrt(x.shape[1])
    return y + lr_mult * np.float64(p["bias"]) if "bias" in p else y


def repeat(x, n=2):
    return x.repeat(n, 1).repeat(n, 2)


def mean(x, n=2):
    return sum(x[:, i::n, j::n] for i in range(n) for j in range(n)) / n**2


def blur(x):
    wide = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    h, w = x.shape[1:3]
    f = [1 / 4, 1 / 2, 1 / 4]
    return sum(f[s] * f[t] * wide[:, s : s + h, t : t + w] for s in range(3) for t in range(3))


def stddev(x, group):
    out = []
    for first in range(0, len(x), group):
        block = x[first : first + group]
        value = np.sqrt(((block - block.mean(0)) ** 2).mean(0) + 1e-8).mean()
        out.append(np.concatenate([block, np.full((*block.shape[:3], 1), value)], 3))
    return np.concatenate(out)


def progan_generator(p, z, base, stage, alpha, doublings):
    features = p["bias"].shape[0]
    after = lambda x: pixel_norm(leaky(x))
    x = dense(p["fc"], pixel_norm(np.float64(z)), np.sqrt(2) / 4).reshape(-1, *base, features)
    x = after(x + np.float64(p["bias"]))
    x = after(conv(p[f"b{base[0]}_conv"], x))
    for i in range(1, stage + 1):
        size, below = base[0] * 2**i, x
        x = after(conv(p[f"b{size}_conv0"], repeat(x), flip=True))
        x = after(conv(p[f"b{size}_conv1"], x))
    image = conv(p[f"torgb{base[0] * 2**stage}"], x, 1.0)
    if stage:
        image = alpha * image + (1 - alpha) * repeat(conv(p[f"torgb{base[0] * 2 ** (stage - 1)}"], below, 1.0))
    return repeat(image, 2 ** (doublings - stage))


def progan_discriminator(p, x, base, stage, alpha, doublings, group):
    image = mean(np.float64(x), 2 ** (doublings - stage))
    from_image = lambda i, x: leaky(conv(p[f"fromrgb{base[0] * 2**i}"], x))
    x = from_image(stage, image)
    for i in range(stage, 0, -1):
        size = base[0] * 2**i
        x = leaky(conv(p[f"b{size}_conv0"], x))
        x = leaky(mean(conv({"kernel": p[f"b{size}_conv1"]["kernel"]}, x)) + np.float64(p[f"b{size}_conv1"]["bias"]))
        if i == stage:
            x = alpha * x + (1 - alpha) * from_image(stage - 1, mean(image))
    return _last(p, x, base, group)


def stylegan_discriminator(p, x, base, doublings, group):
    x = leaky(conv(p["fromrgb"], np.float64(x)))
    for i in range(doublings, 0, -1):
        size = base[0] * 2**i
        x = leaky(conv(p[f"b{size}_conv0"], x))
        x = leaky(mean(conv({"kernel": p[f"b{size}_conv1"]["kernel"]}, blur(x))) + np.float64(p[f"b{size}_conv1"]["bias"]))
    return _last(p, x, base, group)


def _last(p, x, base, group):
    x = leaky(conv(p[f"b{base[0]}_conv"], stddev(x, group)))
    x = leaky(dense(p["fc"], x.reshape(len(x), -1), np.sqrt(2)))
    return dense(p["out"], x)


def stylegan_mapping(p, z):
    w = pixel_norm(np.float64(z))
    for i in range(sum(name.startswith("fc") for name in p)):
        w = np.sqrt(2) * leaky(dense(p[f"fc{i}"], w, 1.0, 0.01))
    return w


def stylegan_synthesis(p, noise, w, base, doublings):
    """w [B, layers, w_dim]; noise: the fixed planes by module name, or None."""

    def epilogue(name, x, w):
        q = p[name]
        if noise is not None:
            x = x + np.float64(noise[name]["const"]) * np.float64(q["noise_strength"])
        x = leaky(x + np.float64(q["bias"]))
        x = (x - x.mean((1, 2), keepdims=True)) / np.sqrt(x.var((1, 2), keepdims=True) + 1e-8)
        y = dense(q["affine"], w)
        scale, shift = np.split(y, 2, axis=1)
        return x * (1 + scale[:, None, None]) + shift[:, None, None]

    w = np.float64(w)
    for i in range(doublings + 1):
        name = f"b{base[0] * 2**i}"
        if i == 0:
            x = np.float64(p["const"])[None].repeat(len(w), 0)
        else:
            x = blur(conv(p[f"{name}_conv0"], repeat(x), flip=True))
        x = epilogue(f"{name}_style0", x, w[:, 2 * i])
        x = epilogue(f"{name}_style1", conv(p[f"{name}_conv1"], x), w[:, 2 * i + 1])
    return conv(p["torgb"], x, 1.0)
