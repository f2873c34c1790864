"""A set of images behind one function: indices in, uint8 images out."""

import errno
import hashlib
import itertools
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import NamedTuple

import numpy as np
from PIL import Image

from jaxgan.cores import cores
from jaxgan.data.images import Header, Look, header, pixels
from jaxgan.errors import UserError, one_line

IN_MEMORY = 2 * 1024**3  # bytes of uint8 pixels; a set up to this size is decoded once, when it is opened
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
        if source.labels.ndim == 1 and (absent := np.setdiff1d(range(source.classes), source.labels)).size:
            names = source.class_names or range(source.classes)
            line += f", no image of {_some([str(names[k]) for k in absent])}"
    return line + left_out(source.skipped) + "".join(f"; {note}" for note in source.notes)


def left_out(skipped: Sequence[str]) -> str:
    """What a line adds where broken images were left out; "" where none was."""
    return f"; {len(skipped)} broken left out: {_some(skipped)}" if skipped else ""


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + ", ..." * (len(names) > 5)


def finite(vectors: np.ndarray, where: str) -> np.ndarray:
    """Label vectors [n, K] as float32. Raises UserError where one is not a number, or beyond what float32 holds."""
    with np.errstate(over="ignore"):
        vectors = vectors.astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(vectors).all(1))
    if len(bad):
        raise UserError(f"{where}: the label vector of image {bad[0]} has NaN or infinity ({len(bad)} do); fix or remove these")
    return vectors


class _Broken(NamedTuple):
    reason: str
    passing: bool = False


PASSING = {errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN, errno.EINTR, errno.ENOTCONN, errno.EHOSTDOWN}
"""What a network's file system says while a server of it is away."""
WAITS = (1.0, 10.0, 60.0)
"""Seconds before an image is read again, for which a run of days is not given up."""


class Stored:
    """`Source.read` of a set that is held in memory."""

    def __init__(self, images: np.ndarray):
        images.flags.writeable = False
        self.images = images

    def __call__(self, indices: np.ndarray) -> np.ndarray:
        return self.images[np.asarray(indices, np.int64)]


class Decoded:
    """`Source.read` of a set that is decoded anew at every read, by threads."""

    def __init__(self, items: Items, kept: np.ndarray, look: Look):
        self.items, self.kept, self.look = items, kept, look
        self.pool = ThreadPoolExecutor(cores(), thread_name_prefix="decode")

    def _one(self, item, image):
        for wait in (*WAITS, None):
            head, array = _examine(self.items, item, image, self.look)
            if isinstance(head, Header):
                return array
            if wait is None or not head.passing:
                raise UserError(_complaint(self.items, item, head))
            time.sleep(wait)
            image = self.items.image(item)

    def __call__(self, indices: np.ndarray) -> np.ndarray:
        chosen = self.kept[np.asarray(indices, np.int64)].tolist()
        out = np.empty((len(chosen), *self.look.size, self.look.channels), np.uint8)
        for place, array in enumerate(self.pool.map(self._one, chosen, self.items.images(chosen))):
            out[place] = array
        return out


def prepare(items: Items, *, name: str, size, channels, background, fit="crop", skip_broken: bool, progress: Progress) -> Source:
    """Make all images alike: look at every one, decode those of a set that fits in memory.

    Args:
      items: at least two readable images.
      name: goes into the Source.
      size: (H, W), or None: all images must have the same.
      channels: 1, 3, 4, or None: 1 when all images are grey, else 3.
      background: RGB in 0..255.
      fit: of `images.FITS`.
      skip_broken: leave out what cannot be decoded (of a set beyond IN_MEMORY: what has no readable header).
      progress: called from this thread.
    Returns:
      Source.
    Raises:
      UserError: names the image that is broken, or of another size, or refused.
    """
    first = _first(items, skip_broken)
    look = Look(size or first.size, channels or (1 if first.grey else 3), background, fit)
    fits = len(items.names) * look.size[0] * look.size[1] * look.channels <= IN_MEMORY
    headers, images, stamps = _pass(items, look if fits else None, size, skip_broken, progress)
    broken = [i for i, head in enumerate(headers) if isinstance(head, _Broken)]
    kept = np.delete(np.arange(len(headers)), broken)
    if len(kept) < 2:
        raise UserError(f"{items.where}: {len(kept)} readable image(s) of {len(items.names)}; a set needs at least two")
    if channels is None and look.channels == 1 and not all(headers[i].grey for i in kept):
        # The first image is grey and another is not. Rare, so the second pass does not matter.
        how = dict(name=name, size=size, background=background, fit=fit, skip_broken=skip_broken, progress=progress)
        return prepare(items, channels=3, **how)
    if fits:
        read = Stored(images if len(kept) == len(images) else images[kept])
    else:
        read = Decoded(items, kept, look)
    skipped = tuple(str(items.names[i]) for i in broken)
    told = {"skipped": skipped, "notes": tuple(_notes(items, kept, {headers[i].size for i in kept}, look))}
    return finish(items, kept, look, read, name, [stamps[i] for i in kept])._replace(**told)


def _notes(items, kept, sizes, look):
    """`Source.notes` of images that had these sizes."""
    if sizes != {look.size}:
        ratios = [(w / h) / (look.size[1] / look.size[0]) for h, w in sizes]
        lost = max(1 - min(ratio, 1 / ratio) for ratio in ratios)
        done = "cut off" if look.fit == "crop" else "filled with background"
        cut = f", up to {lost:.0%} of an image {done}" if lost >= 0.01 else ""
        yield "scaled from " + ("{}x{}".format(*min(sizes)) if len(sizes) == 1 else "several sizes") + cut
    if items.unread:
        yield f"not read: {items.unread} (save them as .png or .jpg)"
    names = [] if items.labels is not None else [str(items.names[i]) for i in kept]
    beside = [name for name in names if "/" not in name]
    if 0 < len(beside) < len(names):
        yield f"the sub-folders are no classes, because of what lies beside them: {_some(beside)}"


def finish(items: Items, kept: np.ndarray, look: Look, read, name: str, stamps: Sequence[str]) -> Source:
    """The Source of images that are already alike; `kept` are indices into items, int64 [n], `stamps` theirs."""
    labels = None if items.labels is None else items.labels[kept]
    made = f"Look(size={look.size}, channels={look.channels}, background={look.background})"
    made += " padded" * (look.fit == "pad") + " bled" * (look.channels == 4)
    digest = hashlib.sha256(f"(1, {made}, {len(kept)}, {items.class_names!r})".encode())  # 1: the version of this rule
    for i, stamp in zip(kept, stamps, strict=True):
        digest.update(f"{items.names[i]}\0{stamp}\n".encode("utf-8", "surrogateescape"))
    if labels is not None:
        digest.update(repr((labels.dtype.str, labels.shape)).encode() + np.ascontiguousarray(labels).tobytes())
    return Source(
        name=name,
        shape=(*look.size, look.channels),
        n=len(kept),
        read=read,
        labels=labels,
        classes=0 if labels is None else len(items.class_names),
        class_names=() if labels is None else items.class_names,
        fingerprint=digest.hexdigest()[:16],
    )


def shuffled(source: Source, seed: int) -> Source:
    """The set in a random order: what the seed holds out of it is a fair sample, however the set is sorted."""
    chosen = order(source.n, seed)
    labels = None if source.labels is None else source.labels[chosen]
    inputs, truth = (None if of is None else shuffled(of, seed) for of in (source.inputs, source.truth))
    read = lambda indices: source.read(chosen[indices])
    mark = fingerprint(f"shuffled {seed} {source.fingerprint}")
    return source._replace(read=read, labels=labels, inputs=inputs, truth=truth, fingerprint=mark)


def fingerprint(text: str) -> str:
    """Of a set that is made of others, by a text that has theirs and how."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def order(n: int, seed: int) -> np.ndarray:
    """Which image of n comes at each place of a set that is `shuffled`, int64 [n]."""
    return np.random.default_rng(seed).permutation(n)


def read_all(source: Source) -> np.ndarray:
    """Every image of a source, uint8 [n, H, W, C]; read-only where the source holds it already."""
    if isinstance(source.read, Stored):
        return source.read.images
    out = np.empty((source.n, *source.shape), np.uint8)
    for indices in pieces(source):
        out[indices[0] : indices[-1] + 1] = source.read(indices)
    return out


def pieces(source: Source) -> Iterator[np.ndarray]:
    """The indices of all images in their order, int64 [k], 256 MiB of pixels at a time or less."""
    step = min(8 * CHUNK, max(1, PIECE // int(np.prod(source.shape))))
    for start in range(0, source.n, step):
        yield np.arange(start, min(start + step, source.n))


def _complaint(items, i, broken):
    return f"{items.where}: {items.names[i]} is broken ({broken.reason}); mend or remove it, or pass --skip-broken"


def _examine(items, i, image, look):
    """(header, pixels) of image i, given yet unopened; pixels are None without a look. Damage gives _Broken for a header."""
    try:
        with image as im:
            head = header(im)
            return head, None if look is None else pixels(im, look)
    except UserError as e:
        raise UserError(f"{items.where}: {items.names[i]}: {e}") from None
    except Exception as e:  # PIL's decoders raise OSError, SyntaxError, ValueError, struct.error, zlib.error, ...
        return _Broken(one_line(e), isinstance(e, OSError) and e.errno in PASSING), None


def _first(items: Items, skip_broken: bool) -> Header:
    for i in range(len(items.names)):
        head, _ = _examine(items, i, items.image(i), None)
        if isinstance(head, Header):
            return head
        if not skip_broken:
            raise UserError(_complaint(items, i, head))
    raise UserError(f"{items.where}: none of its {len(items.names)} images can be read")


def _pass(items, look, size, skip_broken, progress):
    """Of all images: headers (or _Broken), pixels [n, H, W, C] when a look is given, stamps."""
    n = len(items.names)
    headers, stamps = [], []
    images = None if look is None else np.empty((n, *look.size, look.channels), np.uint8)
    first = None  # the first that is not broken; the others must have its size

    def work(start):
        # Without a size the pixels are made like the first image's, which is a copy where sizes agree; else it raises.
        piece, seen = list(range(start, min(start + CHUNK, n))), []
        for i, image in zip(piece, items.images(piece), strict=True):
            head, array = _examine(items, i, image, look)
            stamp = "" if isinstance(head, _Broken) else items.stamp(i, look is not None) + " icc" * head.profiled
            seen.append((i, head, array, stamp))
        return seen

    for i, head, array, stamp in itertools.chain.from_iterable(ahead(work, range(0, n, CHUNK))):
        headers.append(head)
        stamps.append(stamp)
        if isinstance(head, Header):
            first = i if first is None else first
            if size is None and head.size != headers[first].size:
                raise UserError(_mixed(items, first, i, headers))
            if images is not None:
                images[i] = array
        elif not skip_broken:
            raise UserError(_complaint(items, i, head))
        if (i + 1) % CHUNK == 0 or i + 1 == n:
            progress(i + 1, n)
    return headers, images, stamps


def ahead(work, arguments):
    """The results of work in order, from threads that are a few pieces ahead; so an error ends it early."""
    threads = cores()
    arguments = iter(arguments)
    with ThreadPoolExecutor(threads) as pool:
        waiting = deque(pool.submit(work, a) for a in itertools.islice(arguments, 4 * threads))
        try:
            while waiting:
                yield waiting.popleft().result()
                waiting.extend(pool.submit(work, a) for a in itertools.islice(arguments, 1))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _mixed(items, i, j, headers):
    a, b = ("{}x{}".format(*headers[k].size) for k in (i, j))
    return (
        f"{items.where}: the images differ in size (height x width): {items.names[i]} has {a}, "
        f"{items.names[j]} has {b}; pass --size H W to make them alike"
    )
