"""The written rule behind stylegan3.npz (README.md beside it): arguments and states of the authors' networks, and inputs."""

import numpy as np

from tests.golden.tutorial_rule import rule

SMALL = {"z_dim": 6, "w_dim": 5, "channel_base": 64, "channel_max": 8, "margin_size": 4, "num_fp16_res": 0}
CASES = {
    "t": SMALL | {"c_dim": 0, "img_resolution": 32, "img_channels": 3, "num_layers": 7},
    "r": SMALL
    | {"c_dim": 3, "img_resolution": 16, "img_channels": 1, "num_layers": 5, "num_critical": 1}
    | {"conv_kernel": 1, "use_radial_filters": True, "filter_size": 4, "output_scale": 1, "conv_clamp": 1.5},
}
"""Arguments of the authors' Generator."""
MAGNITUDE = {"t": 0.12, "r": 0.3}
"""About the mean square of a layer's input there."""
BATCH = 4
TRANSFORM = np.float32([[0.8, -0.6, 0.13], [0.6, 0.8, -0.07], [0, 0, 1]])
"""Theirs: it leads from the places of the image to those that are drawn."""
SHRINK = np.diag(np.float32([2.5, 2.5, 1]))
"""Another: what is drawn becomes so small that some frequencies leave the band."""


def state(case, names_and_shapes):
    """{name: float32} by the rule: leaf 1 + k for the k-th of [(name, shape)], without filters and the transform."""
    out = {}
    for k, (name, shape) in enumerate(names_and_shapes):
        value = rule(shape, 1 + k)
        if "mapping.fc" in name:
            value = 100 * value
        if name.endswith("bias"):
            value = 0.2 * value + ("affine" in name)
        if name == "synthesis.input.affine.bias":
            value = value - (0, 1, 1, 1)
        if name.endswith("magnitude_ema"):
            value = MAGNITUDE[case] * (1 + 0.3 * value)
        if name.endswith("freqs"):
            value = 1.4 * value
        if name.endswith("phases"):
            value = 0.5 * value
        out[name] = np.float32(value)
    return out


def inputs(case):
    """z, c (float32 [B, classes]) and what the images are multiplied with before they are summed up, NCHW."""
    given = CASES[case]
    shape = (BATCH, given["img_channels"], given["img_resolution"], given["img_resolution"])
    return np.float32(rule((BATCH, 6), 301)), np.float32(rule((BATCH, given["c_dim"]), 302) ** 2), np.float32(rule(shape, 303))


def picked(array):
    """Up to 12 values of an array, evenly spread."""
    flat = np.asarray(array).ravel()
    return flat[np.linspace(0, flat.size - 1, min(flat.size, 12)).astype(int)]
