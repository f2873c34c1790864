"""Copies of training images are refused, and of other images as many as was said."""

import numpy as np
import pytest

from jaxgan.data import arrays
from jaxgan.data.source import Source
from jaxgan.errors import UserError
from jaxgan.metrics import copies, extraction, features

HELD_OUT = 500


@pytest.fixture(scope="module")
def digits():
    return np.random.default_rng(0).permutation(arrays.digits()[0])


@pytest.fixture
def source(digits, tmp_path, monkeypatch):
    monkeypatch.setattr(extraction, "cache_directory", lambda: tmp_path)
    train = digits[HELD_OUT:]
    return Source("train", (28, 28, 1), len(train), train.__getitem__, None, 0, (), "0")


def test_the_threshold_is_an_order_statistic():
    t, share = copies.threshold(np.arange(1, 200)[::-1], 0.05)
    assert t == 10 and share.value == 10 / 199 and abs(share.error - (10 * 189 / 199**3) ** 0.5) < 1e-12
    assert copies.threshold([0, 0, 0, 5], 0.2) == (0.0, (0.75, 0.75**0.5 / 4))  # as many are equal
    with pytest.raises(UserError, match="9 real images are too few"):
        copies.threshold(np.arange(9), 0.05)
    assert copies.threshold(np.arange(48), 1 / 49)[0] == 0 and copies.threshold(np.arange(1699), 0.29)[0] == 492
    for m in (9, 60, 1199):  # what is advised will do
        with pytest.raises(UserError, match="a share of at least") as refused:
            copies.threshold(np.arange(m), 0.5 / m)
        copies.threshold(np.arange(m), float(str(refused.value).split("at least ")[1].split(",")[0]))
    with pytest.raises(ValueError, match="share is 1"):
        copies.threshold(np.arange(9), 1)


def test_fresh_images_are_refused_as_often_as_said_and_copies_always(digits, source):
    found = copies.copies(source, features.pixels(source.shape), share=0.1)
    fresh, train = digits[:HELD_OUT], digits[HELD_OUT:]
    assert abs((~found.accept(fresh)).mean() - 0.1) < 3 * (0.1 * 0.9 / HELD_OUT) ** 0.5
    assert abs(found.share.value - 0.1) < 1e-3
    planted = fresh[:100].copy()
    planted[::4] = train[:25]
    planted[1::4] = np.clip(train[25:50] + np.random.default_rng(1).normal(0, 5, (25, 28, 28, 1)), 0, 255)
    assert not found.accept(planted)[::4].any() and not found.accept(planted)[1::4].any()
    np.testing.assert_array_equal(found.distances(train[:3]), 0)
    few = train[:70].reshape(70, 14, 2, 14, 2).mean((2, 4)) / 255  # by hand, of the training images to each other
    apart = np.sqrt(np.square(few[:, None] - few[None]).sum((2, 3)))
    np.fill_diagonal(apart, np.inf)
    small = source._replace(n=70, fingerprint="1")
    alone = copies.copies(small, features.pixels(source.shape), share=0.1)
    assert abs(alone.threshold - np.sort(apart.min(1))[6]) < 1e-6 and abs(alone.median - np.median(apart.min(1))) < 1e-6


def test_mirrored_copies_are_refused_where_asked(digits, source):
    flipped = digits[HELD_OUT : HELD_OUT + 40, :, ::-1]
    small = source._replace(n=200, fingerprint="2")
    one, both = (copies.copies(small, features.pixels(source.shape), share=0.1, mirror=m) for m in (False, True))
    assert one.accept(flipped).mean() > 0.8 and not both.accept(flipped).any()
    assert both.threshold <= one.threshold and both.share.value <= 0.1


@pytest.mark.parametrize("mirror", [False, True])
def test_copies_within_the_set_do_not_make_the_test_weak(digits, source, mirror):
    """Of 200 images 40 are there again, with `mirror` 40 more as their flips: the threshold was 0, so noise of a level passed."""
    once = digits[:200]
    more = np.concatenate([once[:40], once, *([once[40:80, :, ::-1]] * mirror)])
    of = lambda x, name: copies.copies(
        source._replace(n=len(x), read=x.__getitem__, fingerprint=name), features.pixels(source.shape), share=0.1, mirror=mirror
    )
    found, plain = of(more, f"4 {mirror}"), of(once, f"5 {mirror}")
    assert found.threshold == plain.threshold if not mirror else found.threshold == pytest.approx(plain.threshold, rel=0.1)
    assert 0 < found.threshold < found.median and 0.09 < found.share.value < 0.11
    noisy = np.clip(once + np.random.default_rng(1).integers(-1, 2, once.shape), 0, 255).astype(np.uint8)
    assert not found.accept(noisy).any() and found.accept(digits[200:300]).mean() > 0.8
    with pytest.raises(UserError, match="all 9 images of train are the same"):
        of(np.repeat(once[:1], 9, 0), "6")
    if mirror:
        with pytest.raises(UserError, match="train holds the x-flip of each of its images; give the set without"):
            of(np.concatenate([once, once[:, :, ::-1]]), "7")


def test_an_extractor_that_does_not_take_the_images_is_one_line(source):
    with pytest.raises(UserError, match="takes colour images, and these have 4 channels"):
        copies.copies(source._replace(shape=(28, 28, 4)), features.random_conv())


def test_too_few_training_images(source):
    with pytest.raises(UserError, match="too few for a share"):
        copies.copies(source._replace(n=20, fingerprint="3"), features.pixels(source.shape))
