"""An invisible watermark in the pixels of generated images, and its detector: a keyed spread spectrum, in NumPy.

A key gives a tile of random signs. `embed` adds it, repeated over the picture, at a strength of a few grey levels. `detect`
needs the key and the picture, not the original. It identifies honest output after lossless copies or mild compression. It is
not a security measure: blurring or rescaling removes it, and as it is the same in all images, whoever has marked ones can
estimate it from them, without the key, to take it off or to put it on any image (Kutter et al. 2000). One may be enough.

Scores need no calibration. The evidence e is computed from the image without the key, and the score is sum(e * signs) / |e|.
For an image unrelated to the key it has mean 0 and variance 1 over keys, is approximately normal, and exceeds z for
at most exp(-z^2 / 2) of all keys, whatever the image (Hoeffding 1963).
"""

import hashlib
import math
import unicodedata

import numpy as np

from jaxgan.errors import UserError

TILE = 64
"""Side of the tile in pixels. A score is at most TILE, and at most the square root of the pixels of a smaller image."""
FOUND = 5.0
"""Score from which the mark counts as detected: 1 in 3.5 million for a normal variable, at most 1 in 268,000 for any image."""
NOISE = 3.0
"""Grey levels that are added to an image's own local deviation where the pixels are weighed."""
SMOOTH, WIDE = (0.25, 0.5, 0.25), (0.0625, 0.25, 0.375, 0.25, 0.0625)


def signs(key: str) -> np.ndarray:
    """The tile of a key: float32 [TILE, TILE] of -1 and 1, from SHAKE-256, so the same everywhere and for ever.

    Args:
      key: any text; of Unicode's ways to write the same text (NFC, NFD) each gives the same signs.
    Raises:
      UserError: an empty key, or what is no text.
    """
    if not key or not isinstance(key, str):
        raise UserError(f"the watermark's key is {'empty' if not key else f'a {type(key).__name__}'}; give a secret text")
    try:
        text = unicodedata.normalize("NFC", key).encode()
    except UnicodeEncodeError:  # bytes on the command line that are not in its encoding
        raise UserError("the watermark's key is not a text that UTF-8 can write; give another") from None
    stream = hashlib.shake_256(b"jaxgan watermark 1\0" + text).digest(TILE * TILE // 8)
    return 2 * np.unpackbits(np.frombuffer(stream, np.uint8)).reshape(TILE, TILE).astype(np.float32) - 1


def embed(images: np.ndarray, key: str, strength: float = 2.0) -> np.ndarray:
    """Watermark images with a key.

    x + max(strength * m, 1) * signs, the same in all colours; m is a half where the image is flat and up to 3/2 where it is busy.

    Args:
      images: uint8, or float in [-1, 1], [n, H, W, C]; C is 1, 3, or 4; alpha is unchanged.
      key: any text; anyone who has it can detect the mark, and forge it.
      strength: grey levels, at least 1: less would be lost in rounding to bytes.
    Returns:
      The same type and shape. At 0 and 255 half of the pattern is clipped.
    Raises:
      ValueError: other arrays, an empty key, a strength below 1.
    Source: Cox et al. 1997 (spread spectrum), in the pixels as Bender et al. 1996; weighted by activity as in Podilchuk and Zeng
      1998, in a simple form; the tile repeats as in Kalker et al. 1999.
    """
    if not 1 <= strength < math.inf:
        raise ValueError(f"strength is {strength}; it must be at least 1 grey level")
    x = _levels(images)
    height, width = x.shape[1:3]
    deviation = np.sqrt(_residual(x)[1])
    mask = 0.5 + deviation / (deviation + 10)
    tile = np.tile(signs(key), (-(-height // TILE), -(-width // TILE)))[:height, :width]
    colours = 3 if x.shape[3] == 4 else x.shape[3]
    x[..., :colours] += (np.maximum(strength * mask, 1) * tile)[..., None]
    x = np.clip(x, 0, 255)
    return np.rint(x).astype(np.uint8) if images.dtype == np.uint8 else (x / 127.5 - 1).astype(images.dtype)


def evidence(images: np.ndarray) -> np.ndarray:
    """What the detector correlates with a key: float32 [n, TILE, TILE], each of length 1, or 0 of a flat image.

    The difference of each pixel to its smoothed neighbourhood, over its local variance (plus NOISE^2), with all places of the
    image that have the same place in the tile added up.

    Args:
      images: as `embed` takes them.
    Raises:
      ValueError: other arrays.
    Source: the matched filter for a weak signal in noise of varying strength; folding: Kalker et al. 1999.
    """
    difference, variance = _residual(_levels(images))
    e = difference / (variance + NOISE**2)
    n, height, width = e.shape
    rows, columns = -(-height // TILE), -(-width // TILE)
    e = np.pad(e, ((0, 0), (0, rows * TILE - height), (0, columns * TILE - width)))
    e = e.reshape(n, rows, TILE, columns, TILE).sum((1, 3))
    return e / np.maximum(np.sqrt(np.square(e).sum((1, 2), keepdims=True)), 1e-12)


def score(found: np.ndarray, key: str, *, cropped: bool = False) -> np.ndarray:
    """The detection score of evidence for a key.

    Args:
      found: [n, TILE, TILE] from `evidence`, or a sum of several: of a set of images that a key marked as a whole. (The
        scores of single images must not be added: similar images, such as digits, have similar scores under a wrong key.)
      key: the text passed to `embed`.
      cropped: try every offset of the tile and of its mirror image, for crops of an image. Of the best one's score z it
        gives sqrt(z^2 - 2 log(2 TILE^2)), or 0, which keeps the bound exp(-z^2 / 2).
    Returns:
      float64 [n]; `FOUND` or more is a detection. Without a mark approximately normal, with mean 0 and variance 1, over keys.
    Raises:
      ValueError: an empty key.
    """
    e, s = found.astype(np.float64), signs(key).astype(np.float64)
    length = np.maximum(np.sqrt(np.square(e).sum((1, 2))), 1e-12)
    if not cropped:
        return (e * s).sum((1, 2)) / length
    pattern = np.conj(np.fft.rfft2(s))
    at_best = lambda e: np.fft.irfft2(np.fft.rfft2(e) * pattern, (TILE, TILE)).max((1, 2))
    best = np.maximum(at_best(e), at_best(e[:, :, ::-1])) / length
    return np.sqrt(np.maximum(best**2 - 2 * math.log(2 * TILE**2), 0))


def detect(images: np.ndarray, key: str, *, cropped: bool = False) -> np.ndarray:
    """`score` of each image: float64 [n].

    Args:
      images: as `embed` gives them.
      key, cropped: as `score`.
    Raises:
      ValueError: other arrays, an empty key.
    """
    return score(evidence(images), key, cropped=cropped)


def detect_set(images: np.ndarray, key: str) -> float:
    """The score of a set of images that were all marked with one key, or none of them: it grows as the square root of n.

    Args:
      images: as `embed` gives them.
      key: as `score`.
    Raises:
      ValueError: other arrays, an empty key.
    """
    return float(score(evidence(images).sum(0, keepdims=True), key)[0])


def _levels(images) -> np.ndarray:
    """float32 grey levels [n, H, W, C], a copy."""
    images = np.asarray(images)
    whole = images.dtype == np.uint8
    if images.ndim != 4 or images.shape[3] not in (1, 3, 4) or 0 in images.shape or not (whole or images.dtype.kind == "f"):
        raise ValueError(f"images: {images.dtype} {images.shape}; give uint8, or float in [-1, 1], [n, H, W, 1, 3 or 4]")
    if not (whole or np.isfinite(images).all()):
        raise ValueError("images contain NaN or infinity; leave them out")  # one would hide the mark of a whole set
    return images.astype(np.float32) if whole else (images.astype(np.float32) + 1) * 127.5


def _residual(x) -> tuple[np.ndarray, np.ndarray]:
    """Of grey levels [n, H, W, C]: the mean colour less its smoothed neighbourhood, and the local variance of that; [n, H, W]."""
    grey = x[..., :3].mean(3)
    difference = grey - _blurred(grey, SMOOTH)
    return difference, _blurred(np.square(difference), WIDE)


def _blurred(x, taps) -> np.ndarray:
    """[n, H, W] convolved along both sides, the edge repeated outside."""
    r = len(taps) // 2
    for axis in (1, 2):
        n = x.shape[axis]
        padded = np.pad(x, [(r, r) if a == axis else (0, 0) for a in range(3)], mode="edge")
        x = sum(np.float32(tap) * padded.take(range(i, i + n), axis) for i, tap in enumerate(taps))
    return x
