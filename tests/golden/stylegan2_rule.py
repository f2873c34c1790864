"""The written rule behind stylegan2.npz (README.md beside it): states of the authors' networks, and inputs."""

import json

import numpy as np

from tests.golden.tutorial_rule import rule

CASES = {
    "plain": {
        "g": {"z_dim": 6, "c_dim": 0, "w_dim": 5, "img_resolution": 16, "img_channels": 3, "mapping_kwargs": {"num_layers": 2}},
        "d": {"c_dim": 0, "img_resolution": 16, "img_channels": 3},
        "batch": 4,
    },
    "labels": {
        "g": {"z_dim": 6, "c_dim": 3, "w_dim": 5, "img_resolution": 16, "img_channels": 1, "architecture": "resnet"},
        "d": {"c_dim": 3, "img_resolution": 16, "img_channels": 1, "architecture": "skip", "cmap_dim": 7},
        "batch": 8,
    },
}
WIDTH = {"channel_base": 64, "channel_max": 8, "conv_clamp": 256}
"""All networks."""


def kwargs(case, which):
    """Arguments of the authors' Generator ('g') or Discriminator ('d')."""
    return CASES[case][which] | WIDTH


def state(names_and_shapes, first):
    """{name: float32} by the rule: leaf `first + k` for the k-th of [(name, shape)]."""
    out = {}
    for k, (name, shape) in enumerate(names_and_shapes):
        value = rule(shape, first + k)
        if "mapping.fc" in name:
            value = 100 * value
        elif name.endswith("weight") and "synthesis" not in name and "mapping" not in name:
            value = 3 * value  # of the discriminator: so that the logits differ
        if name.endswith("noise_strength"):
            value = 0.3 * value
        elif name.endswith("bias"):
            value = 0.2 * value + ("affine" in name)
        out[name] = np.float32(value)
    return out


def states(gold, case):
    """The two states of a case from the names and shapes that the file lists."""
    return [state(json.loads(str(gold[f"{case}.{which}.names"])), first) for which, first in (("g", 1), ("d", 201))]


def inputs(case):
    """z, c (float32 [B, classes]), images NCHW, and path-length noise NCHW for every second image."""
    g, batch = CASES[case]["g"], CASES[case]["batch"]
    shape = (batch, g["img_channels"], g["img_resolution"], g["img_resolution"])
    z, x, y = rule((batch, g["z_dim"]), 301), 0.9 * rule(shape, 302), 1.3 * rule((batch // 2, *shape[1:]), 303)
    c = rule((batch, g["c_dim"]), 304) ** 2
    return [np.float32(a) for a in (z, c, x, y)]


def picked(array):
    """Up to 12 values of an array, evenly spread."""
    flat = np.asarray(array).ravel()
    return flat[np.linspace(0, flat.size - 1, min(flat.size, 12)).astype(int)]
