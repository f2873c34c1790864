"""Float64 NumPy forward passes of the first GAN's pair, WGAN-GP's residual pair, InfoGAN's, ..., written from the papers."""

import math

import numpy as np


def f64(tree):
    """The tree with float64 leaves."""
    return {k: f64(v) for k, v in tree.items()} if isinstance(tree, dict) else np.asarray(tree, np.float64)


def conv(x, layer, stride=1):
    """Cross-correlation, [B, H, W, cin] and {'kernel' [k, k, cin, cout], 'bias'}; (k - 1) // 2 rows of zeros around."""
    kernel = layer["kernel"]
    k, (h, w) = kernel.shape[0], x.shape[1:3]
    pad = (k - 1) // 2
    wide = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    taps = [(i, j) for i in range(k) for j in range(k)]
    y = sum(wide[:, i : i + h - k + 1 + 2 * pad : stride, j : j + w - k + 1 + 2 * pad : stride] @ kernel[i, j] for i, j in taps)
    return y + layer.get("bias", 0.0)


def deconv(x, layer):
    """4x4 transposed convolution of stride 2: y[2 i + t - 1] += x[i] kernel[t]."""
    (b, h, w, _), kernel = x.shape, layer["kernel"]
    y = np.zeros((b, 2 * h + 2, 2 * w + 2, kernel.shape[-1]))
    for i, j in np.ndindex(4, 4):
        y[:, i : i + 2 * h : 2, j : j + 2 * w : 2] += x @ kernel[i, j]
    return y[:, 1:-1, 1:-1] + layer.get("bias", 0.0)


def dense(x, layer):
    return x @ layer["kernel"] + layer["bias"]


def up(x):
    """Nearest neighbour."""
    return x.repeat(2, axis=1).repeat(2, axis=2)


def down(x):
    """Mean of four neighbours."""
    return (x[:, ::2, ::2] + x[:, 1::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, 1::2]) / 4


def relu(x):
    return np.maximum(x, 0)


def norm(x, layer, axes):
    """Batch norm over axes (0, 1, 2), layer norm over (1, 2, 3), of an image (1, 2), none without a layer; per channel."""
    if layer is None:
        return x
    mean, var = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    return (x - mean) / np.sqrt(var + 1e-5) * layer["scale"] + layer["bias"]


def wgan_gp_generator(params, z, grid):
    """Gulrajani et al. 2017: every block doubles the grid, batch norm of the batch at hand."""
    p = f64(params)
    batch_norm = lambda x, layer: norm(x, layer["norm"], (0, 1, 2))
    x = dense(np.asarray(z, np.float64), p["base"]).reshape(len(z), *grid, -1)
    for i in range(sum(name.startswith("UpBlock") for name in p)):
        block = p[f"UpBlock_{i}"]
        y = conv(up(relu(batch_norm(x, block["norm1"]))), block["conv1"])
        y = conv(relu(batch_norm(y, block["norm2"])), block["conv2"])
        x = conv(up(x), block["skip"]) + y
    return np.tanh(conv(relu(batch_norm(x, p["norm"])), p["image"]))


def wgan_gp_critic_32(params, x, halves):
    """The CIFAR-10 critic: no norm, the first block without ReLU on the image, ReLU and mean at the end."""
    p, x = f64(params), np.asarray(x, np.float64)
    for i, half in enumerate(halves):
        block = p[f"DownBlock_{i}"]
        y = conv(relu(conv(relu(x) if i else x, block["conv1"])), block["conv2"])
        skip = conv(x, block["skip"]) if "skip" in block else x
        x = down(y) + down(skip) if half else y + skip
    return dense(relu(x).mean((1, 2)), p["head"]["logit"])[:, 0]


def wgan_gp_critic_64(params, x):
    """The 64x64 critic: a first 3x3, layer norm in every block, every block halves, a linear map of the flat end."""
    p, x = f64(params), np.asarray(x, np.float64)
    x = conv(x, p["ResampledConv_0"])
    for i in range(sum(name.startswith("DownBlock") for name in p)):
        block = p[f"DownBlock_{i}"]
        y = conv(relu(norm(x, block["norm1"], (1, 2, 3))), block["conv1"])
        y = conv(relu(norm(y, block["norm2"], (1, 2, 3))), block["conv2"])
        x = conv(down(x), block["skip"]) + down(y)
    return dense(x.reshape(len(x), -1), p["head"]["logit"])[:, 0]


def dcgan_generator(params, z, grid):
    """Radford et al. 2016: batch norm of the batch at hand and ReLU after all but the last transposed convolution."""
    p = f64(params)
    x = (np.asarray(z, np.float64) @ p["Dense_0"]["kernel"]).reshape(len(z), *grid, -1)
    for i in range(sum(name.startswith("ConvTranspose") for name in p)):
        x = deconv(relu(norm(x, p[f"BatchNorm_{i}"], (0, 1, 2))), p[f"ConvTranspose_{i}"])
    return np.tanh(x)


def dcgan_discriminator(params, x):
    """Radford et al. 2016: 4x4 convolutions of stride 2, batch norm after all but the first, leaky ReLU of slope 0.2."""
    p, x = f64(params), np.asarray(x, np.float64)
    for i in range(sum(name.startswith("Conv_") for name in p)):
        x = conv(x, p[f"Conv_{i}"], 2)
        x = norm(x, p[f"BatchNorm_{i - 1}"], (0, 1, 2)) if i else x
        x = np.where(x > 0, x, 0.2 * x)
    return dense(x.reshape(len(x), -1), p["head"]["logit"])[:, 0]


def infogan_generator(params, z, grid, categories):
    """Chen et al. 2016, appendix C.1: noise, the category as one-hot, two codes in (-1, 1); batch norm of the batch at hand."""
    p, z = f64(params), np.asarray(z, np.float64)
    noise, scores, rest = np.split(z, [z.shape[1] - categories - 2, z.shape[1] - 2], 1)
    phi = np.vectorize(lambda v: (1 + math.erf(v / math.sqrt(2))) / 2)
    x = np.concatenate([noise, np.eye(categories)[scores.argmax(1)], 2 * phi(rest) - 1], 1)
    for i in range(2):
        x = relu(norm(x @ p[f"Dense_{i}"]["kernel"], p[f"BatchNorm_{i}"], (0,)))
    x = x.reshape(len(x), *grid, -1)
    layers = sum(name.startswith("ConvTranspose") for name in p)
    for i in range(layers - 1):
        x = relu(norm(deconv(x, p[f"ConvTranspose_{i}"]), p[f"BatchNorm_{i + 2}"], (0, 1, 2)))
    return np.tanh(deconv(x, p[f"ConvTranspose_{layers - 1}"]))


def infogan_discriminator(params, x, categories):
    """The same: 4x4 convolutions of stride 2, a dense layer, the logit; Q's own dense layer; leaky ReLU of slope 0.1."""
    p, x = f64(params), np.asarray(x, np.float64)
    leaky = lambda x: np.where(x > 0, x, 0.1 * x)
    layers = sum(name.startswith("Conv_") for name in p)
    for i in range(layers):
        x = conv(x, p[f"Conv_{i}"], 2)
        x = leaky(norm(x, p[f"BatchNorm_{i - 1}"], (0, 1, 2)) if i else x)
    body = leaky(norm(x.reshape(len(x), -1) @ p["Dense_0"]["kernel"], p[f"BatchNorm_{layers - 1}"], (0,)))
    q = leaky(norm(body @ p["Dense_1"]["kernel"], p[f"BatchNorm_{layers}"], (0,)))
    read = dense(q, p["codes"])
    return dense(body, p["head"]["logit"])[:, 0], read[:, :categories], read[:, categories:]


def sngan_generator(params, z, labels, grid):
    """Miyato et al. 2018, table 3, with the class in the batch norms (Miyato & Koyama 2018): 1 + W c and V c."""
    p = f64(params)

    def ready(x, layer):
        gain, bias = (layer[name]["embedding"][labels][:, None, None] for name in ("gain", "bias"))
        return relu(norm(x, {"scale": 1 + gain, "bias": bias}, (0, 1, 2)))

    x = (np.asarray(z, np.float64) @ p["Dense_0"]["kernel"]).reshape(len(z), *grid, -1)
    for i in range(sum(name.startswith("ConvTranspose") for name in p)):
        x = deconv(ready(x, p[f"ConditionalBatchNorm_{i}"]), p[f"ConvTranspose_{i}"])
    return np.tanh(conv(ready(x, p[f"ConditionalBatchNorm_{i + 1}"]), p["Conv_0"]))


def sngan_critic(params, x):
    """Miyato et al. 2018, table 3: 3x3 and 4x4 stride-2 convolutions in turn, then 3x3, then linear; W / sigma(W) by SVD."""
    p, x = f64(params), np.asarray(x, np.float64)

    def normalised(layer):
        kernel = layer["kernel"]
        sigma = np.linalg.svd(kernel.reshape(-1, kernel.shape[-1]), compute_uv=False)[0]
        return {"kernel": kernel / sigma, "bias": layer["bias"]}

    layers = [normalised(p[f"SpectralConv_{i}"]) for i in range(len(p) - 1)]
    for layer in layers:
        x = conv(x, layer, 2 if layer["kernel"].shape[0] == 4 else 1)
        x = np.where(x > 0, x, 0.1 * x)
    return dense(x.reshape(len(x), -1), normalised(p["head"]["logit"]))[:, 0]


def mlp_generator(params, z, shape):
    """Goodfellow et al. 2014: rectifiers, then sigmoids."""
    p, h = f64(params), np.asarray(z, np.float64)
    layers = [p[f"Dense_{i}"] for i in range(len(p))]
    for layer in layers[:-1]:
        h = relu(dense(h, layer))
    return (2 / (1 + np.exp(-dense(h, layers[-1]))) - 1).reshape(len(z), *shape)


def mlp_discriminator(params, x, pieces):
    """Goodfellow et al. 2013, 2014: a maxout unit says the largest of its linear maps; pixels in [0, 1]."""
    p = f64(params)
    h = (np.asarray(x, np.float64).reshape(len(x), -1) + 1) / 2
    for i in range(len(p) - 1):
        flat = dense(h, p[f"Dense_{i}"])
        h = np.stack([flat[:, j::pieces] for j in range(pieces)]).max(0)
    return dense(h, p["head"]["logit"])[:, 0]
