"""Features of images, generated and real: once per extractor, those of the real images cached."""

import contextlib
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxgan import parallel
from jaxgan.data import Source
from jaxgan.data.source import PIECE
from jaxgan.errors import UserError
from jaxgan.metrics import features, frechet
from jaxgan.metrics.cache import cache_directory
from jaxgan.whole import write_whole

CHUNK = 64
"""Images per device and call."""


class Rows(NamedTuple):
    """Features of a set of images, and what some metrics need besides."""

    features: np.ndarray
    """float32 [n, F]"""
    logits: np.ndarray | None
    """float32 [n, K]"""
    labels: np.ndarray | None = None
    """int [n], the classes that they were made for"""
    images: np.ndarray | None = None
    """uint8 [m, H, W, C], the first of the images themselves"""


def _forward(forward, channels, params, images):
    return forward(params, features.to_channels(images, channels))


def extract(which: features.Extractor, images: np.ndarray) -> Rows:
    """Features of images uint8 [n, H, W, C], on all devices of this process. ValueError for anything else."""
    images = np.asarray(images)
    if images.dtype != np.uint8 or images.ndim != 4 or not images.size:
        raise ValueError(f"features: images are {images.dtype} {images.shape}; give uint8 [n, H, W, C], at least one")
    return _joined(parallel.in_chunks(_forward, (which.forward, which.channels), which.params, (images,), CHUNK))


def generated(
    batches: Iterable[np.ndarray], which: list[features.Extractor], n: int, progress: Callable[[int, int], None]
) -> list[Rows]:
    """Features of the first n images of the batches (0: of all), by each extractor."""
    found, done = [[] for _ in which], 0
    for x in batches:
        x = x[: n - done] if n else x
        for parts, e in zip(found, which, strict=True):
            parts.append(extract(e, x))
        done += len(x)
        progress(done, n or done)
        if n and done >= n:
            break
    if n and done < n:
        raise UserError(f"{done} generated images, but the protocol needs {n}; give more, or take a metric that needs fewer")
    return [_joined(parts) for parts in found]


def _joined(rows: Iterable[tuple[Any, ...]]) -> Rows:
    return Rows(*(None if parts[0] is None else np.concatenate(parts) for parts in zip(*rows, strict=True)))


def _pieces(source: Source, n: int, mirror: bool, piece: int) -> Iterator[np.ndarray]:
    """The real images: all, or the first n of a fixed shuffle; and their x-flips."""
    order = np.arange(source.n) if n >= source.n or not n else np.random.RandomState(0).permutation(source.n)[:n]
    for i in range(0, len(order), piece):
        x = source.read(order[i : i + piece])
        yield x
        if mirror:
            yield x[:, :, ::-1]


def reals(
    source: Source,
    which: features.Extractor,
    n: int,
    mirror: bool,
    *,
    rows: bool,
    progress: Callable[[int, int], None] | None = None,
) -> Any:
    """Statistics of the real images: moments, or the feature rows; from the cache if computed before.

    Args:
      n: images, 0 for all. mirror: and their x-flips.
      rows: the features [n, F] float32; else `frechet.Moments`, which take no more memory for more images.
    """
    n = n if n < source.n else 0  # all are all: extracted once, whatever number a protocol calls them by
    name = f"{source.fingerprint}-{which.hash}-{n}{'-mirror' * mirror}"
    paths = {kind: cache_directory() / "reals" / f"{name}-{kind}.npz" for kind in ("rows", "moments")}
    if not rows and (found := _kept(paths["moments"], frechet.Moments._fields)):
        return frechet.Moments(int(found[0]), *found[1:])
    if found := _kept(paths["rows"], ("rows",)):
        return found[0] if rows else frechet.moments_of(found[0])
    total = min(n or source.n, source.n) * (2 if mirror else 1)
    moments, kept, done = frechet.start_moments(which.size), [], 0
    at_once = min(1024, max(CHUNK, PIECE // int(np.prod(source.shape))))
    for x in _pieces(source, n, mirror, at_once):
        found = extract(which, x).features
        moments = moments if rows else frechet.add(moments, found)
        kept += [found] * rows
        done += len(x)
        if progress:
            progress(done, total)
    arrays = {"rows": np.concatenate(kept)} if rows else moments._asdict()
    with contextlib.suppress(OSError):  # the cache is a help, not a condition
        write_whole(paths["rows" if rows else "moments"], lambda file: np.savez(file, **arrays))
    return arrays["rows"] if rows else moments


def _kept(path: Path, names: tuple[str, ...]) -> list[np.ndarray] | None:
    """Arrays of a file of the cache; None where it is not there, or cut off, or not ours."""
    with contextlib.suppress(OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        with path.open("rb") as file, np.load(file) as found:
            return [found[name] for name in names]
    return None
