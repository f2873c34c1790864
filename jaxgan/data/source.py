"""A set of images behind one function: indices in, uint8 images out."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple

import numpy as np
from PIL import Image

from jaxgan.errors import UserError, printable

MOST_CLASSES = 2**20  # larger numbers are no classes: names and weights for each would fill the memory
CHUNK = 64  # images in one piece of work for a thread
PIECE = 256 * 1024**2  # bytes of pixels that are read at once, where all images are gone through

Progress = Callable[[int, int], None]  # (images done, images in all); a set may be gone through more than once


class Source(NamedTuple):
    """A set of images that are all alike. Nothing in it changes; `read` may be called from several threads."""

    name: str  # what the user asked for
    shape: tuple[int, int, int]  # H, W, C of every image
    n: int
    read: Callable[[np.ndarray], np.ndarray]  # integer indices [k] in [0, n) -> uint8 [k, H, W, C]
    labels: np.ndarray | None  # int32 [n] classes, float32 [n, K] vectors, or None
    classes: int  # number of classes, or K; 0 without labels
    class_names: tuple[str, ...]
    fingerprint: str  # changes with the images, their order, labels, size, channels and colours; not by copying
    skipped: tuple[str, ...] = ()  # broken images that were left out
    notes: tuple[str, ...] = ()  # for people: what was done to make the images alike, or why there are no labels
    planes: "Source | None" = None  # the set that the colour planes of a stacked one come from
    inputs: "Source | None" = None  # of pairs: the images that these are to be made from, one each, in the same order
    ways: int = 1  # of inputs: in how many ways they are there, for the epochs in turn; way k of image i is read as k n + i
    sides: "tuple[Source, ...]" = ()  # of unpaired images, stacked along the channels: the two sets
    truth: "Source | None" = None  # of unpaired images whose partners are known: these, stacked as what is made; never trained on


class Items(NamedTuple):
    """What a reader of files, archives or arrays hands over: images in their order, not yet decoded."""

    where: str  # the folder, archive, ..., for messages
    names: Sequence[str] | range  # [n], for messages and the fingerprint
    image: Callable[[int], AbstractContextManager[Image.Image]]  # thread-safe; opens, does not decode
    stamp: Callable[[int, bool], str]  # another content has another stamp: nearly surely by a cheap look, surely by a whole one
    labels: np.ndarray | None
    class_names: tuple[str, ...]
    unread: str = ""  # which images in other formats lie among them, for people
    several: Callable[[list[int]], Iterable[AbstractContextManager[Image.Image]]] | None = None  # where faster than one by one

    def images(self, indices: list[int]) -> Iterable[AbstractContextManager[Image.Image]]:
        """`image` of each, read at once where that is faster."""
        return map(self.image, indices) if self.several is None else self.several(indices)


def check_source(source: Source) -> None:
    """UserError where a set is not what it says: for those that do not come from `open_source`."""
    if not callable(source.read):
        raise UserError(f"{source.name}: read is a {type(source.read).__name__}; give a function, indices -> uint8 images")
    if source.n < 2:
        raise UserError(f"{source.name}: {source.n} image(s); a set needs at least two")
    ends = source.read(np.array([0, source.n - 1]))
    if ends.dtype != np.uint8 or ends.shape != (2, *source.shape):
        raise UserError(f"{source.name}: its images are read as {ends.dtype} {ends.shape[1:]}, not as uint8 {source.shape}")
    labels, classes = source.labels, source.classes
    if labels is None:
        return
    whole = isinstance(labels, np.ndarray) and len(labels) == source.n and labels.ndim in (1, 2)
    if whole and labels.ndim == 1:
        whole = np.issubdtype(labels.dtype, np.integer) and labels.min() >= 0 and labels.max() < classes
    elif whole:
        whole = labels.dtype == np.float32 and labels.shape[1] == classes
    if not whole:
        said = f"{getattr(labels, 'dtype', type(labels).__name__)} {np.shape(labels)}"
        raise UserError(f"{source.name}: labels {said}; give int [{source.n}] in [0, {classes}), or float32 [n, {classes}]")


def summary(source: Source) -> str:
    """A line for people: how many images, their shape, their labels, what was left out."""
    shape = "x".join(map(str, source.shape))
    if source.sides:
        a, b = source.sides
        line = f"{a.n} and {b.n} images of {'x'.join(map(str, a.shape))}, unpaired"
    elif source.inputs is not None:
        line = f"{source.n} pairs, {'x'.join(map(str, source.inputs.shape))} to {shape}"
    elif source.labels is None:
        line = f"{source.n} images of {shape}, no labels"
    else:
        line = f"{source.n} images of {shape}, {source.classes} "
        ends = source.labels.min(), source.labels.max()
        line += "classes" if source.labels.ndim == 1 else "label values from {:.3g} to {:.3g}".format(*ends)
        if source.labels.ndim == 1 and not all(name.isdecimal() for name in source.class_names):
            line += f" ({some(source.class_names)})"  # what has been taken for them
        if source.labels.ndim == 1 and (absent := np.setdiff1d(range(source.classes), source.labels)).size:
            names = source.class_names or range(source.classes)
            line += f", no image of {some([str(names[k]) for k in absent])}"
    return line + left_out(source.skipped) + "".join(f"; {note}" for note in source.notes)


def notes_of(sides: "dict[str, Source]") -> tuple[str, ...]:
    """The notes of two sets as those of one: with its name, where it is not of both."""
    a, b = (dict.fromkeys(side.notes) for side in sides.values())
    alone = (f"{name}: {note}" for name, side in sides.items() for note in side.notes if (note in a) != (note in b))
    return (*(note for note in a if note in b), *alone)


def left_out(skipped: Sequence[str]) -> str:
    """What a line adds where broken images were left out; "" where none was."""
    return f"; {len(skipped)} broken left out: {some(skipped)}" if skipped else ""


def some(names: Sequence[str]) -> str:
    """The first few, for people."""
    return printable(", ".join(names[:5])) + ", ..." * (len(names) > 5)


def finite(vectors: np.ndarray, where: str) -> np.ndarray:
    """Label vectors [n, K] as float32. Raises UserError where one is not a number, or beyond what float32 holds."""
    with np.errstate(over="ignore"):
        vectors = vectors.astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(vectors).all(1))
    if len(bad):
        raise UserError(f"{where}: the label vector of image {bad[0]} has NaN or infinity ({len(bad)} do); fix or remove these")
    return vectors


class Stored:
    """`Source.read` of a set that is held in memory."""

    def __init__(self, images: np.ndarray):
        images.flags.writeable = False
        self.images = images

    def __call__(self, indices: np.ndarray) -> np.ndarray:
        return self.images[np.asarray(indices, np.int64)]


def shuffled(source: Source, seed: int) -> Source:
    """The set in a random order: what the seed holds out of it is a fair sample, however the set is sorted."""
    chosen = order(source.n, seed)
    labels = None if source.labels is None else source.labels[chosen]
    inputs, truth = (None if of is None else shuffled(of, seed) for of in (source.inputs, source.truth))
    read = lambda indices: source.read(chosen[indices % source.n] + indices // source.n * source.n)  # in its way
    mark = fingerprint(f"shuffled {seed} {source.fingerprint}")
    return source._replace(read=read, labels=labels, inputs=inputs, truth=truth, fingerprint=mark)


def fingerprint(text: str) -> str:
    """Of a set that is made of others, by a text that has theirs and how."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def order(n: int, seed: int) -> np.ndarray:
    """Which image of n comes at each place of a set that is `shuffled`, int64 [n]."""
    return np.random.default_rng(seed).permutation(n)


def read_all(source: Source) -> np.ndarray:
    """Every image of a source in every way, uint8 [ways n, H, W, C]; read-only where the source holds it already."""
    if isinstance(source.read, Stored):
        return source.read.images
    source = source._replace(n=source.ways * source.n)
    out = np.empty((source.n, *source.shape), np.uint8)
    for indices in pieces(source):
        out[indices[0] : indices[-1] + 1] = source.read(indices)
    return out


def pieces(source: Source) -> Iterator[np.ndarray]:
    """The indices of all images in their order, int64 [k], 256 MiB of pixels at a time or less."""
    step = min(8 * CHUNK, max(1, PIECE // int(np.prod(source.shape))))
    for start in range(0, source.n, step):
        yield np.arange(start, min(start + step, source.n))
