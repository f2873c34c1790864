"""The watermark: what a score means without a mark, what is found of one, and what is changed by it."""

import hashlib
import math

import numpy as np
import pytest

from jaxgan import watermark
from jaxgan.data import arrays

KEYS = [f"key {i}" for i in range(300)]


@pytest.fixture(scope="module")
def digits():
    return arrays.digits()[0][:128]


def busy(n, height, width, channels, noise=3):
    """Images that are smooth, with some noise, and nowhere near 0 or 255."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / a + y / b + c) for a, b, c in rng.uniform(3, 9, (n * channels, 3))]
    smooth = np.stack(waves).reshape(n, channels, height, width).transpose(0, 2, 3, 1)
    return np.rint(128 + 60 * smooth + rng.normal(0, noise, smooth.shape)).astype(np.uint8)


def reference(image):
    """The evidence of one image, by its definition: float64, pixel by pixel."""
    grey = image[..., :3].astype(np.float64).mean(2)
    height, width = grey.shape

    def smooth(a, taps):
        r, out = len(taps) // 2, np.zeros_like(a)
        for y in range(height):
            for x in range(width):
                for i, p in enumerate(taps):
                    for j, q in enumerate(taps):
                        inside = min(max(y + i - r, 0), height - 1), min(max(x + j - r, 0), width - 1)
                        out[y, x] += p * q * a[inside]
        return out

    difference = grey - smooth(grey, np.array([1, 2, 1]) / 4)
    weighed = difference / (smooth(difference**2, np.array([1, 4, 6, 4, 1]) / 16) + 9)
    tile = np.zeros((64, 64))
    for y in range(height):
        for x in range(width):
            tile[y % 64, x % 64] += weighed[y, x]
    return tile / np.linalg.norm(tile)


@pytest.mark.parametrize("shape", [(13, 9, 1), (66, 5, 3), (7, 131, 4)])
def test_the_evidence_is_that_of_the_definition(shape):
    images = busy(2, *shape)
    found = watermark.evidence(images)
    for e, image in zip(found, images, strict=True):
        np.testing.assert_allclose(e, reference(image), atol=2e-6)
    np.testing.assert_allclose(watermark.score(found, "k"), [(e * watermark.signs("k")).sum() for e in found], atol=1e-5)


def test_a_key_has_the_same_signs_for_ever():
    tile = watermark.signs("jaxgan")
    assert tile.shape == (64, 64) and set(np.unique(tile)) == {-1.0, 1.0} and abs(tile.mean()) < 4.5 / 64
    stream = hashlib.shake_256(b"jaxgan watermark 1\0jaxgan").digest(512)
    want = [2.0 * (byte >> (7 - bit) & 1) - 1 for byte in stream for bit in range(8)]
    assert tile.ravel().tolist() == want
    assert (watermark.signs("jaxgaN") != tile).any()
    np.testing.assert_array_equal(watermark.signs("caf\u00e9"), watermark.signs("cafe\u0301"))  # as Linux and as macOS write it


def test_without_a_mark_scores_are_normal_over_keys_of_each_image_and_of_a_set(digits):
    found = watermark.evidence(digits)
    signs = np.stack([watermark.signs(key).ravel() for key in KEYS], 1)
    scores = found.reshape(len(found), -1) @ signs
    for i, key in enumerate(KEYS[:3]):
        np.testing.assert_allclose(watermark.detect(digits[:4], key), scores[:4, i], atol=1e-5)
    assert abs(scores.mean()) < 4.5 * 0.3 / len(KEYS) ** 0.5  # alike images: about ten that differ
    assert abs(np.square(scores).mean() - 1) < 0.1
    for z in (1.0, 2.0, 3.0):  # Hoeffding's bound, which a factor of 2 on the scale would break
        assert (scores > z).mean() < math.exp(-(z**2) / 2)
    assert 0.7 < (scores > 2).mean() / (math.erfc(2 / 2**0.5) / 2) < 1.3
    # Of a set of alike images too, whose scores, simply added, spread three times as far.
    together = [watermark.score(found.sum(0, keepdims=True), key)[0] for key in KEYS]
    assert abs(together[0] - watermark.detect_set(digits, KEYS[0])) < 1e-5
    assert abs(np.std(together) - 1) < 4.5 / (2 * len(KEYS)) ** 0.5
    assert np.std(scores.sum(0) / len(digits) ** 0.5) > 2


def test_a_mark_is_found_with_its_key_alone_and_grows_with_the_set(digits):
    marked = watermark.embed(digits, "secret")
    assert marked.dtype == np.uint8 and marked.shape == digits.shape
    assert np.abs(marked.astype(int) - digits).max() <= 3
    scores = watermark.detect(marked, "secret")
    assert (scores > watermark.FOUND).all()
    for images, key in ((marked, "Secret"), (digits, "secret")):
        assert (watermark.detect(images, key) < watermark.FOUND).all() and watermark.detect_set(images, key) < watermark.FOUND
    assert watermark.detect_set(marked, "secret") > 1.5 * np.median(scores)
    weak = watermark.embed(busy(64, 32, 32, 3, noise=20), "secret", 1)
    assert (watermark.detect(weak, "secret") < watermark.FOUND).mean() > 0.5 and watermark.detect_set(weak, "secret") > 10


def test_floats_are_marked_as_bytes_are_and_alpha_is_left():
    images = busy(2, 20, 70, 4)
    marked = watermark.embed(images, "k", 3)
    np.testing.assert_array_equal(marked[..., 3], images[..., 3])
    change = marked[..., :3].astype(int) - images[..., :3]
    assert (np.sign(change[:, :, :6]) == np.sign(change[:, :, 64:])).all()  # the tile repeats
    floats = watermark.embed((images / 127.5 - 1).astype(np.float32), "k", 3)
    assert floats.dtype == np.float32
    assert np.abs((floats + 1) * 127.5 - marked).max() < 0.51
    np.testing.assert_allclose(watermark.detect(floats, "k"), watermark.detect(marked, "k"), rtol=0.05)


def test_of_black_half_of_the_pattern_is_left_and_a_flat_image_scores_nothing():
    black = np.zeros((1, 28, 28, 1), np.uint8)
    marked = watermark.embed(black, "k", 2)
    np.testing.assert_array_equal(marked[0, :, :, 0], watermark.signs("k")[:28, :28] > 0)
    assert 0.75 * 28 < watermark.detect(marked, "k")[0] <= 28
    grey = watermark.embed(black + np.uint8(128), "k", 1)[0, :, :, 0].astype(int) - 128
    np.testing.assert_array_equal(grey, watermark.signs("k")[:28, :28])  # bytes are never rounded back
    np.testing.assert_array_equal(watermark.detect(black, "k"), [0.0])
    np.testing.assert_array_equal(watermark.detect(black, "k", cropped=True), [0.0])


def test_a_piece_of_an_image_is_found_by_looking_everywhere():
    images = busy(3, 100, 90, 3)
    pieces = watermark.embed(images, "k", 3)[:, 11:80, 23:89]
    assert (watermark.detect(pieces, "k") < watermark.FOUND).all()
    aligned = watermark.embed(images, "k", 3)[:, 64:, 64:]
    best = watermark.detect(aligned, "k", cropped=True)
    np.testing.assert_allclose(best, np.sqrt(watermark.detect(aligned, "k") ** 2 - 2 * np.log(2 * 4096)), rtol=1e-6)
    assert (watermark.detect(pieces, "k", cropped=True) > 10).all()
    found = watermark.detect(pieces[:, :, ::-1], "k", cropped=True)
    np.testing.assert_allclose(found, watermark.detect(pieces, "k", cropped=True), rtol=1e-5)
    lost = np.concatenate([watermark.detect(pieces, key, cropped=True) for key in KEYS[:60]])
    assert lost.max() < 4 and (lost > 1).mean() < math.erfc(1 / 2**0.5) / 2


def test_what_is_no_image_no_key_or_no_strength_is_refused():
    images = busy(1, 8, 8, 3)
    for bad in (images[0], images.astype(int), images[..., :2], images[:0]):
        with pytest.raises(ValueError, match="images: "):
            watermark.embed(bad, "k")
    with pytest.raises(ValueError, match="key is empty"):
        watermark.detect(images, "")
    with pytest.raises(ValueError, match="key is a int; give a secret text"):
        watermark.embed(images, 3)
    for strength in (0.9, -1, math.inf, math.nan):
        with pytest.raises(ValueError, match="strength is"):
            watermark.embed(images, "k", strength)
