"""The cases of pix2pix.npz (README.md beside it): networks by their arguments, weights and inputs by the classic rule."""

import numpy as np

from jaxgan.models.pix2pix import Discriminator, Generator
from tests.golden.classic_rule import rule, variables

CASES = {
    "square": {"size": (64, 64), "channels": (3, 3), "width": 2, "layers": 3},
    "wide": {"size": (32, 64), "channels": (1, 3), "width": 3, "layers": 2},
    "pixel": {"size": (32, 32), "channels": (3, 1), "width": 2, "layers": 0},
}
"""name -> H and W, channels of source and target, width of both networks, layers of the discriminator."""


def networks(name):
    """Both networks of a case with batch norm, and without dropout."""
    case = CASES[name]
    given, made = case["channels"]
    fields = {"shape": (*case["size"], made), "source_channels": given, "width": case["width"], "norm": "batch"}
    return Generator(**fields), Discriminator(**fields, layers=case["layers"])


def inputs(name):
    """Source and target images [2, H, W, C], float32."""
    case = CASES[name]
    source, target = (0.9 * rule((2, *case["size"], c), 901 + i) for i, c in enumerate(case["channels"]))
    return np.float32(source), np.float32(target)


def weights(name):
    """Variables of both networks."""
    source, target = inputs(name)
    g, d = networks(name)
    return variables(g, source), variables(d, target, source)
