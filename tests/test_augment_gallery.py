"""The picture of all augmentations: a row for each, and what it refuses."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import augment_gallery
from jaxgan import augment
from jaxgan.errors import UserError


@pytest.mark.parametrize("channels", [1, 3])
def test_there_is_a_row_for_every_augmentation_and_it_keeps_the_shape(channels):
    rows = augment_gallery.rows(channels, 1.0)
    labels = " ".join(name for name, _ in rows)
    assert [name.split()[0] for name, _ in rows[1:5]] == ["rotate", "scale", "crop", "flip"]
    needs_color = {"saturation", "hue"} if channels == 1 else set()
    functions = {"keep_augment", "attentive_cutmix", "geometric", "diffaugment"}
    for name in {*augment.NAMES, *augment.ADA_TRANSFORMS, *functions} - needs_color:
        assert name in labels
    for _, function in rows:
        assert jax.eval_shape(function, jax.random.key(0), jnp.zeros((2, 12, 12, channels))).shape[0] == 2


def test_sheet_puts_images_beside_their_label():
    image = np.full((2, 28, 28, 1), 200, np.uint8)
    picture = np.asarray(augment_gallery.sheet([("one", image), ("two", image)]))
    assert picture.shape == (2 * 59, 190 + 2 * 59, 3)
    assert (picture[10:50, 190:240] == 200).all() and (picture[:, :190] < 100).any()


@pytest.mark.parametrize("words", [["--out", "x.jpg"], ["--n", "0"], ["--size", "4", "4"], ["--rows", "0"], ["--rows", "-3"]])
def test_bad_arguments_are_users_errors(words, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["augment_gallery", *words])
    with pytest.raises(UserError, match=words[0]):
        augment_gallery.main()


def test_a_size_of_nothing_is_not_the_default(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["augment_gallery", "--size", "0", "0"])
    with pytest.raises(UserError, match="size is .0, 0.; give height and width, both at least 1"):
        augment_gallery.main()
