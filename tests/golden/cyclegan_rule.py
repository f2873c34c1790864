"""The cases of cyclegan.npz (README.md beside it): generators by their arguments, weights and inputs by the classic rule."""

import numpy as np

from jaxgan.models.cyclegan import Translator
from tests.golden.classic_rule import rule, variables

CASES = {
    "square": {"size": (32, 32), "channels": (3, 3), "width": 4, "blocks": 2},
    "wide": {"size": (12, 20), "channels": (1, 3), "width": 3, "blocks": 3},
}
"""name -> H and W, channels of source and image, width, residual blocks."""


def network(name):
    """The generator of a case."""
    case = CASES[name]
    given, made = case["channels"]
    return Translator((*case["size"], made), given, case["width"], case["blocks"])


def source(name):
    """Source images [2, H, W, C], float32."""
    case = CASES[name]
    return np.float32(0.9 * rule((2, *case["size"], case["channels"][0]), 901))


def weights(name):
    """The generator's variables."""
    return variables(network(name), source(name))
