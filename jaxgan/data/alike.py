"""Making all images of a set alike: each is looked at once, and decoded there and then if the set fits into memory."""

import errno
import hashlib
import itertools
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from jaxgan.cores import cores
from jaxgan.data.images import Header, Look, header, pixels
from jaxgan.data.source import CHUNK, Items, Progress, Source, Stored, some
from jaxgan.errors import UserError, one_line

IN_MEMORY = 2 * 1024**3  # bytes of uint8 pixels; a set up to this size is decoded once, when it is opened


class _Broken(NamedTuple):
    reason: str
    passing: bool = False


PASSING = {errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN, errno.EINTR, errno.ENOTCONN, errno.EHOSTDOWN}
"""What a network's file system says while a server of it is away."""
WAITS = (1.0, 10.0, 60.0)
"""Seconds before an image is read again, for which a run of days is not given up."""


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


def make_alike(
    items: Items,
    *,
    name: str,
    size: tuple[int, int] | None,
    channels: int | None,
    background: tuple[int, int, int],
    fit: str = "crop",
    skip_broken: bool,
    progress: Progress,
) -> Source:
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
        return make_alike(items, channels=3, **how)
    if fits:
        read = Stored(images if len(kept) == len(images) else images[kept])
    else:
        read = Decoded(items, kept, look)
    skipped = tuple(str(items.names[i]) for i in broken)
    told = {"skipped": skipped, "notes": tuple(_notes(items, kept, headers, look))}
    return finish(items, kept, look, read, name, [stamps[i] for i in kept])._replace(**told)


def _notes(items, kept, headers, look):
    """`Source.notes` of images that had these headers."""
    sizes = {headers[i].size for i in kept}
    if sizes != {look.size}:
        ratios = [(w / h) / (look.size[1] / look.size[0]) for h, w in sizes]
        lost = max(1 - min(ratio, 1 / ratio) for ratio in ratios)
        done = "cut off" if look.fit == "crop" else "filled with background"
        cut = f", up to {lost:.0%} of an image {done}" if lost >= 0.01 else ""
        yield "scaled from " + ("{}x{}".format(*min(sizes)) if len(sizes) == 1 else "several sizes") + cut
    for what, n in Counter(what for i in kept for what in headers[i].changed).items():
        yield what + f" ({n} images)" * (n < len(kept))
    if items.unread:
        yield f"not read: {items.unread} (save them as .png or .jpg)"
    names = [] if items.labels is not None else [str(items.names[i]) for i in kept]
    beside = [name for name in names if "/" not in name]
    if 0 < len(beside) < len(names):
        yield f"the sub-folders are no classes, because of what lies beside them: {some(beside)}"


def finish(
    items: Items, kept: np.ndarray, look: Look, read: Callable[[np.ndarray], np.ndarray], name: str, stamps: Sequence[str]
) -> Source:
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


def ahead(work: Callable[[Any], Any], arguments: Iterable[Any]) -> Iterator[Any]:
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
