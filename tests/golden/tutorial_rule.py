"""The written rule behind tutorial_models.npz and tutorial_step.npz (README.md beside it), as trees for our networks."""

import numpy as np

G_LEAVES = [  # Keras's order of trainable variables; the position + 1 is the leaf number of the rule
    ("Dense_0", "kernel", (100, 12544)),
    ("BatchNorm_0", "scale", (12544,)),
    ("BatchNorm_0", "bias", (12544,)),
    ("ConvTranspose_0", "kernel", (5, 5, 128, 256)),
    ("BatchNorm_1", "scale", (128,)),
    ("BatchNorm_1", "bias", (128,)),
    ("ConvTranspose_1", "kernel", (5, 5, 64, 128)),
    ("BatchNorm_2", "scale", (64,)),
    ("BatchNorm_2", "bias", (64,)),
    ("ConvTranspose_2", "kernel", (5, 5, 1, 64)),
]
D_LEAVES = [
    ("Conv_0", "kernel", (5, 5, 1, 64)),
    ("Conv_0", "bias", (64,)),
    ("Conv_1", "kernel", (5, 5, 64, 128)),
    ("Conv_1", "bias", (128,)),
    ("Dense_0", "kernel", (6272, 1)),
    ("Dense_0", "bias", (1,)),
]
NAMES = {"Dense": "dense", "BatchNorm": "bn", "ConvTranspose": "convt", "Conv": "conv", "scale": "gamma"}


def rule(shape, leaf):
    """cos(1.7 i + 0.3 (i mod 7)^2 + 0.9 leaf), i the running index in C order; float64."""
    i = np.arange(np.prod(shape), dtype=np.float64)
    return np.cos(1.7 * i + 0.3 * (i % 7) ** 2 + 0.9 * leaf).reshape(shape)


def noise(t):
    """z of step t: float32 [4, 100]."""
    return np.float32(1.2 * rule((4, 100), 100 + t))


def images(t):
    """Real images of step t: float32 [4, 28, 28, 1]."""
    return np.float32(0.9 * rule((4, 28, 28, 1), 200 + t))


def g_variables():
    """{'params', 'batch_stats'} of TutorialGenerator, float32."""
    stats = {}
    for n, channels in enumerate((12544, 128, 64)):
        mean, var = rule((channels,), 51 + 2 * n), rule((channels,), 52 + 2 * n)
        stats[f"BatchNorm_{n}"] = {"mean": np.float32(0.1 * mean), "var": np.float32(1 + 0.3 * var)}
    return {"params": _tree(G_LEAVES, 1), "batch_stats": stats}


def d_variables():
    """{'params'} of TutorialDiscriminator, float32."""
    return {"params": _tree(D_LEAVES, 20)}


def keras_leaves(params):
    """Our params of either network -> {name in the npz: array in Keras's layout}."""
    leaves = G_LEAVES if "ConvTranspose_0" in params else D_LEAVES
    out = {}
    for layer, name, _ in leaves:
        kind, n = layer.split("_")
        leaf = "beta" if (kind, name) == ("BatchNorm", "bias") else NAMES.get(name, name)
        out[f"{NAMES[kind]}{n}.{leaf}"] = _swap(layer, np.asarray(params[layer][name]))
    return out


def _tree(leaves, first):
    params = {}
    for n, (layer, name, shape) in enumerate(leaves):
        value = rule(shape, first + n)
        if name == "kernel":
            fan_in = np.prod(shape) / (shape[-2] if layer.startswith("ConvTranspose") else shape[-1])
            value = _swap(layer, value / np.sqrt(fan_in) * 1.4)
        else:
            value = 0.1 * value + (name == "scale")
        params.setdefault(layer, {})[name] = np.float32(value)
    return params


def _swap(layer, value):
    """Keras keeps the kernel of a transposed convolution as [kh, kw, cout, cin]; ours is [kh, kw, cin, cout]."""
    return value.swapaxes(2, 3) if layer.startswith("ConvTranspose") and value.ndim == 4 else value
