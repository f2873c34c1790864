"""Damage that an image is to be repaired from, or another style: masks, blur, noise, lost colour, lost resolution, edges alone,
the negative. NumPy, seeded by the image.

What is drawn for an image depends on its number in the set alone, so a held-out image is always damaged alike. To train on, each
of few images is there in several ways, with draws of their own: one way of each would be learned by heart.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from jaxgan.data.source import Source, fingerprint
from jaxgan.errors import UserError, nearest

FILL = 128
"""What a mask shows: middle grey."""
DRAWN = ("mask", "noise")
"""The kinds that draw."""
MOST, IMAGES, BYTES = 16, 30_000, 2**28
"""In how many ways an image is there, and how many there are of all, at most; but in one of each."""


def mask(images: np.ndarray, share: float, draws: Iterable[np.random.RandomState]) -> np.ndarray:
    """A box at a random place is FILL and opaque; its sides are between half of `share` and `share` of the image's."""
    out, (h, w) = images.copy(), images.shape[1:3]
    for image, rng in zip(out, draws, strict=True):
        a, b = (max(1, round(n * share * rng.uniform(0.5, 1.0))) for n in (h, w))
        y, x = rng.randint(h - a + 1), rng.randint(w - b + 1)
        image[y : y + a, x : x + b] = (FILL, FILL, FILL, 255) if image.shape[2] == 4 else FILL
    return out


def centre(images: np.ndarray, share: float, draws: Iterable[np.random.RandomState]) -> np.ndarray:
    """The box in the middle whose sides are `share` of the image's is FILL and opaque (Pathak et al. 2016: 0.5)."""
    out, (h, w) = images.copy(), images.shape[1:3]
    a, b = (max(1, round(n * share)) for n in (h, w))
    y, x = (h - a) // 2, (w - b) // 2
    out[:, y : y + a, x : x + b] = (FILL, FILL, FILL, 255) if images.shape[3] == 4 else FILL
    return out


def blur(images: np.ndarray, sigma: float, draws: Iterable[np.random.RandomState]) -> np.ndarray:
    """A Gaussian of that standard deviation in pixels, cut at 3 sigma; the border's pixels are repeated."""
    reach = max(1, round(3 * sigma))
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    taps /= taps.sum()
    out = _premultiplied(images)
    for axis in (1, 2):
        wide = np.pad(out, [(reach, reach) if a == axis else (0, 0) for a in range(4)], mode="edge")
        out = sum(tap * np.take(wide, np.arange(i, i + images.shape[axis]), axis) for i, tap in enumerate(taps))
    return _bytes(_straight(out))


def noise(images: np.ndarray, sigma: float, draws: Iterable[np.random.RandomState]) -> np.ndarray:
    """Normal noise of that standard deviation in grey levels on every value."""
    return _bytes(images + sigma * np.stack([rng.standard_normal(images.shape[1:]) for rng in draws]))


def grey(images: np.ndarray, _: float, draws: Iterable[np.random.RandomState]) -> np.ndarray:
    """One channel: 0.299 R + 0.587 G + 0.114 B, as PIL rounds it."""
    weights = np.array([19595, 38470, 7471])
    return ((images[..., :3].astype(np.int64) @ weights + 2**15) >> 16).astype(np.uint8)[..., None]


def lowres(images: np.ndarray, factor: float, draws: Iterable[np.random.RandomState]) -> np.ndarray:
    """Means over squares of factor x factor pixels in the place of each of their pixels; squares at the border may be cut."""
    n, (h, w) = int(factor), images.shape[1:3]
    wide = np.pad(_premultiplied(images), ((0, 0), (0, -h % n), (0, -w % n), (0, 0)), mode="edge")
    k, rows, columns, c = wide.shape
    small = wide.reshape(k, rows // n, n, columns // n, n, c).mean((2, 4))
    return _bytes(_straight(small).repeat(n, 1).repeat(n, 2)[:, :h, :w])


def edges(images: np.ndarray, gain: float, draws: Iterable[np.random.RandomState]) -> np.ndarray:
    """The gradient's magnitude in each channel (Sobel; a step of 1 has 1), times `gain`; the border's pixels are repeated, alpha
    stays."""
    x = np.pad(_premultiplied(images), ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    down, right = ((x[:, 2:] - x[:, :-2]), (x[:, :, 2:] - x[:, :, :-2]))
    down, right = (down[:, :, :-2] + 2 * down[:, :, 1:-1] + down[:, :, 2:]), (right[:, :-2] + 2 * right[:, 1:-1] + right[:, 2:])
    out = _bytes(gain * np.hypot(down, right) / 4)
    return np.concatenate([out[..., :3], images[..., 3:]], -1) if images.shape[-1] == 4 else out


def invert(images: np.ndarray, _: float, draws: Iterable[np.random.RandomState]) -> np.ndarray:
    """The negative, 255 - x; alpha stays."""
    out = 255 - images
    return np.concatenate([out[..., :3], images[..., 3:]], -1) if images.shape[-1] == 4 else out


def _premultiplied(images):
    """float64; colours times alpha, so that an average has nothing of the colour under transparent pixels."""
    x = images.astype(np.float64)
    return np.concatenate([x[..., :3] * x[..., 3:] / 255, x[..., 3:]], -1) if x.shape[-1] == 4 else x


def _straight(x):
    """The inverse."""
    return np.concatenate([x[..., :3] * 255 / np.maximum(x[..., 3:], 1e-9), x[..., 3:]], -1) if x.shape[-1] == 4 else x


def _bytes(x):
    return np.clip(np.rint(x), 0, 255).astype(np.uint8)


KINDS = {
    "mask": (mask, 0.5, (0.0, 1.0)),
    "centre": (centre, 0.5, (0.0, 1.0)),
    "blur": (blur, 1.5, (0.0, 100.0)),
    "noise": (noise, 50.0, (0.0, 255.0)),
    "grey": (grey, 1.0, (0.0, 1.0)),
    "lowres": (lowres, 4.0, (1.0, 1024.0)),
    "edges": (edges, 2.0, (0.0, 100.0)),
    "invert": (invert, 1.0, (0.0, 1.0)),
}
"""name -> (images uint8 [k, H, W, C], amount, iterator of k random states -> uint8), usual amount, bounds (lower excluded)."""


def parse(names: Sequence[str], flag: str = "--degrade") -> tuple[tuple[str, float], ...]:
    """'mask' or 'blur:2.5' -> (name, amount).

    Args:
      names: one or more.
      flag: what the user wrote them after.
    Raises:
      UserError: no names, one that is unknown, or an amount out of bounds.
    """
    if not names:
        raise UserError(f"{flag} is empty, and each image would be its own source; there are {', '.join(KINDS)}")
    found = []
    for text in names:
        name, _, amount = text.partition(":")
        if name not in KINDS:
            raise UserError(f"{flag} {text}: there are {', '.join(KINDS)}{nearest(name, KINDS)}")
        _, usual, (low, high) = KINDS[name]
        try:
            value = float(amount) if amount else usual
        except ValueError:
            value = float("nan")
        if not low < value <= high or (name == "lowres" and value % 1):
            what = "a whole number" if name == "lowres" else "a number"
            raise UserError(f"{flag} {text}: after the colon, give {what} above {low:g}, up to {high:g}; usual is {usual:g}")
        found.append((name, value))
    return tuple(found)


def holes(how: Sequence[tuple[str, float]], size: tuple[int, int], indices: np.ndarray) -> np.ndarray:
    """bool [k, H, W]: the pixels that the masks of `degrade` hide in images of (H, W)."""
    masks = [(place, name, amount) for place, (name, amount) in enumerate(how) if name in ("mask", "centre")]
    out = np.zeros((len(indices), *size), bool)
    for place, name, amount in masks:
        out |= _damaged(place, name, amount, np.zeros((*out.shape, 1), np.uint8), indices)[..., 0] == FILL
    return out


def degrade(how: Sequence[tuple[str, float]], images: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """Images with each damage done in turn.

    Args:
      how: from `parse`.
      images: uint8 [k, H, W, C].
      indices: [k], the images' numbers in their set; with their place in `how` they determine all that is drawn.
    Returns:
      uint8 [k, H, W, C], or one channel after 'grey'.
    """
    for place, (name, amount) in enumerate(how):
        images = _damaged(place, name, amount, images, indices)
    return images


def _damaged(place, name, amount, images, indices):
    draws = (np.random.RandomState((place, int(i))) for i in indices)  # its streams never change
    return KINDS[name][0](images, amount, draws)


def degraded(source: Source, names: Sequence[str], most: int = MOST) -> Source:
    """The set with its own images, damaged, as the inputs.

    Args:
      source: any set.
      names: as `parse`.
      most: in how many ways each image is there, at most, where something is drawn.
    Raises:
      UserError: as `parse`; 'grey' of images that are grey.
    """
    how = parse(names)
    h, w, c = source.shape
    lost = [name for name, _ in how].count("grey")
    if lost and (c == 1 or lost > 1):
        raise UserError(f"--degrade grey: {'it is listed twice' if c > 1 else f'the images of {source.name} are grey'}")
    said = " ".join(f"{name}:{amount:g}" for name, amount in how)
    most = most if set(DRAWN) & {name for name, _ in how} else 1
    ways = max(1, min(most, IMAGES // source.n, BYTES // (source.n * h * w * c)))
    inputs = source._replace(
        name=f"{source.name}, {said}",
        shape=(h, w, 1 if lost else c),
        read=lambda indices: degrade(how, source.read(indices % source.n), indices),
        labels=None,
        classes=0,
        class_names=(),
        planes=None,
        ways=ways,
    )
    rules = 2 if c == 4 else 1  # their version, of images with alpha and without
    mark = fingerprint(f"{rules} {said} {source.fingerprint}" + f" in {ways} ways" * (ways > 1))
    note = f"sources: the images after {said}" + f", to train on in {ways} ways" * (ways > 1)
    return source._replace(inputs=inputs, notes=(note, *source.notes), fingerprint=mark)
