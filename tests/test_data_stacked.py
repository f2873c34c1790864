"""StackedMNIST: planes, classes and their order."""

import numpy as np
import pytest

from jaxgan.data import open_source
from jaxgan.errors import UserError


def test_planes_and_classes_are_those_of_the_digits():
    source = open_source("stacked:digits", size=(28, 28))
    assert source.shape == (28, 28, 3) and source.n == 128_000 and source.classes == 1000 and len(source.class_names) == 1000
    again = open_source("stacked:digits", size=(28, 28))
    index = np.array([0, 127_999, 5])
    x = source.read(index)
    np.testing.assert_array_equal(x, again.read(index))
    assert source.fingerprint == again.fingerprint != source.planes.fingerprint
    everything = source.planes.read(np.arange(source.planes.n))[..., 0]
    for image, label in zip(x, source.labels[index], strict=True):
        for plane, digit in zip(np.moveaxis(image, 2, 0), (label // 100, label // 10 % 10, label % 10), strict=True):
            found = np.flatnonzero((everything == plane).all((1, 2)))
            assert digit in source.planes.labels[found]
    assert len(np.unique(source.labels)) == 1000


def test_planes_are_padded_if_asked_for(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros((20, 8, 8), np.uint8), y=np.arange(20) % 10)
    wide = open_source(f"stacked:{tmp_path}/a.npz", size=(8, 12), fit="pad", background="white").read(np.array([0]))
    np.testing.assert_array_equal(wide[0, 3, :, 0], [255] * 2 + [0] * 8 + [255] * 2)


def test_colour_is_refused():
    with pytest.raises(UserError, match="grey images"):
        from jaxgan.data.stacked import stacked

        stacked(open_source("digits")._replace(shape=(8, 8, 3)))
