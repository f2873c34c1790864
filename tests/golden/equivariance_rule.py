"""The written rule behind equivariance.npz (README.md beside it): an image and how it is moved."""

import numpy as np

from tests.golden.tutorial_rule import rule

SHAPE = (1, 20, 22, 2)
SHIFTS = ((1.7, -2.3), (-0.4, 0.0))
"""To the right and down, in pixels."""
ANGLES = (0.3, -2.0)
"""Radians."""


def image():
    """float32 [1, 20, 22, 2]."""
    return np.float32(rule(SHAPE, 401))


def square():
    """Its first 20 columns: the authors' rotation is for square images."""
    return image()[:, :, :20]
