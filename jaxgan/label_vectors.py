"""Label vectors: some of the data's, kept beside a run, so that it can be sampled like its data without its data."""

from pathlib import Path
from typing import Any

import numpy as np

from jaxgan.data import Source
from jaxgan.errors import UserError
from jaxgan.whole import write_whole

KEPT = 1024
AT_ONCE = 2**20
"""Rows drawn at once: an image's number may be in the thousand millions."""
NAME = "label_vectors.npy"


def some_of(source: Source, seed: int) -> np.ndarray | None:
    """Label vectors of up to `KEPT` images, float32 [m, K], drawn by the seed; None where the labels are classes, or none."""
    if source.labels is None or source.labels.ndim == 1:
        return None
    return source.labels[np.random.default_rng(seed).permutation(source.n)[:KEPT]]


def drawn(labels: np.ndarray, seed: int, n: Any) -> np.ndarray:
    """n of these labels, vectors or classes, drawn with replacement: row i is a function of (seed, i), whatever n is. Or those
    of the numbers n, int [m]."""
    rng = np.random.default_rng(seed)
    if np.ndim(n) == 0:
        return labels[rng.integers(0, len(labels), n)]
    rows = np.zeros(len(n), int)
    for first in range(0, int(np.max(n)) + 1, AT_ONCE):
        some, here = rng.integers(0, len(labels), AT_ONCE), np.asarray(n) // AT_ONCE == first // AT_ONCE
        rows[here] = some[n[here] - first]
    return labels[rows]


def to_measure(source: Source, classes: int, seed: int, n: int) -> np.ndarray | None:
    """Classes int32 [n] for a generator of so many, as frequent as in the data that its images are compared with; None where that
    data has no such classes. (StyleGAN2-ADA's metrics draw them so; `sample` draws each class as often.)"""
    fits = classes and source.labels is not None and source.labels.ndim == 1 and source.classes == classes
    return drawn(source.labels, seed, n) if fits else None


def write(directory: Path, vectors: np.ndarray | None) -> None:
    """Keep them, [m, K], in a run directory; None removes those of a run before. Raises UserError where that cannot be."""
    try:
        if vectors is None:
            (directory / NAME).unlink(missing_ok=True)
        else:
            write_whole(directory / NAME, lambda file: np.save(file, vectors))
    except OSError as e:
        raise UserError(f"--run-dir {directory}: it cannot be written ({e.strerror}); give another --run-dir") from e


def read(directory: Path) -> np.ndarray | None:
    """Those of a run directory; None where it has none. Raises UserError where the file is not one of ours."""
    path = directory / NAME
    if not path.exists():
        return None
    try:
        vectors = np.load(path, allow_pickle=False)
        if vectors.ndim != 2 or vectors.dtype != np.float32 or not len(vectors):
            raise ValueError
        return vectors
    except Exception:  # of damage NumPy and the tokenizer that reads its headers say many things
        raise UserError(f"{path}: not label vectors, float32 [m, K]; remove it to pass labels explicitly") from None
