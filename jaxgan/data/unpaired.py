"""Two sets of images without pairs, A and B, as one set of stacked images: an a and a b along the channels, a's first."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxgan.data import images
from jaxgan.data.degrade import degraded
from jaxgan.data.open import check_one, open_source
from jaxgan.data.source import Source, fingerprint, notes_of, order
from jaxgan.errors import UserError


def open_unpaired(
    data: str, *, target: str = "", degrade: Sequence[str] = (), hold_out: int = 0, seed: int = 0, **how: Any
) -> Source:
    """Open two sets of images, or one set half of which is changed to make the second.

    Args:
      data: images A, any set that `open_source` takes; without a target both, in two halves that share no image.
      target: images B, likewise.
      degrade: without a target B is the second half, so changed (`degrade.KINDS`).
      hold_out, seed: see `stacked`; the seed also draws the halves.
      **how: data_dir, split, size, channels, background, fit, skip_broken, progress, as `open_source`, of both.
    Returns:
      Source: as `stacked`; of halves with what each image is on the other side, under `truth`.
    Raises:
      UserError: as `open_source`; no second set, or twice the same; sizes or channels that differ; too many to hold out.
    """
    if not target:
        check_one(data)
    if target:
        a, b = open_source(data, **how), open_source(target, **how)
    elif degrade:
        a, b = halves(open_source(data, **how), degrade, seed)
    else:
        raise UserError("--target is empty; give the images to translate to, or --degrade edges to change half of --data")
    if a.fingerprint == b.fingerprint:
        raise UserError(f"--target {target}: it holds the same images as {data}; give those of the other kind")
    for i, what, fix in ((slice(2), "pixels (height x width)", "--size H W"), (slice(2, 3), "channels", "--channels 3")):
        of_a, of_b = ("x".join(map(str, side.shape[i])) for side in (a, b))
        if of_a != of_b:
            raise UserError(f"{a.name} has {of_a} {what}, {b.name} {of_b}; pass {fix} to make them alike")
    return stacked(a, b, hold_out, seed)


def halves(source: Source, degrade: Sequence[str], seed: int) -> tuple[Source, Source]:
    """Two random halves of a set, the second one changed; `inputs` of each are its images as they are on the other side."""
    chosen = order(source.n, seed)
    a, b = (_part(source, rows) for rows in np.split(chosen, [source.n // 2]))
    both = [degraded(side, degrade, most=1) for side in (a, b)]
    changed = [side.inputs._replace(shape=source.shape, fingerprint=side.fingerprint, read=_alike(side)) for side in both]
    labels = {name: getattr(b, name) for name in ("labels", "classes", "class_names")}
    return a._replace(inputs=changed[0]), changed[1]._replace(inputs=b, **labels)


def _alike(side: Source):
    """`read` of a degraded set's inputs, which have lost no channels."""
    return lambda indices: images.with_channels(side.inputs.read(indices), side.shape[2])


def stacked(a: Source, b: Source, hold_out: int = 0, seed: int = 0) -> Source:
    """Two sets of images of one shape as the set of their pairs, as many as the larger set has images.

    Which a meets which b is drawn once. The smaller set repeats, but for `hold_out` images of each: these are in the pairs that
    `shuffled` by this seed puts last, once each, and in no others.

    Args:
      a, b: of one size and number of channels.
      hold_out: of each set. seed: of the pairs.
    Returns:
      Source: images [H, W, 2 C] without labels, `inputs` the same set, `sides` the two; `truth` where both sides have `inputs`,
        which are their images as they are on the other side.
    Raises:
      UserError: more to hold out than all but one of a set.
    """
    for side in (a, b):
        if not 0 <= hold_out < side.n:
            raise UserError(f"--hold-out {hold_out}: {side.name} has {side.n} images; leave some to train on")
    n, rng = max(a.n, b.n), np.random.default_rng((seed, 1))
    rows = []
    for side in (a, b):
        mine = rng.permutation(side.n)
        trained, held = np.split(mine, [side.n - hold_out])
        at = np.concatenate([np.resize(trained, n - hold_out), held])
        rows.append(np.empty_like(at))
        rows[-1][order(n, seed)] = at
    made = Source(
        name=f"{a.name} and {b.name}",
        shape=(*a.shape[:2], 2 * a.shape[2]),
        n=n,
        read=_beside(a, rows[0], b, rows[1]),
        labels=None,
        classes=0,
        class_names=(),
        fingerprint=fingerprint(f"unpaired {seed} {hold_out} {a.fingerprint} {b.fingerprint}"),
        skipped=(*a.skipped, *b.skipped),
        notes=notes_of({a.name: a, b.name: b}) if a.name != b.name else a.notes,
    )
    known = a.inputs is not None and b.inputs is not None
    truth = made._replace(read=_beside(b.inputs, rows[1], a.inputs, rows[0])) if known else None
    return made._replace(inputs=made, sides=(a, b), truth=truth)


def _beside(a: Source, of_a: np.ndarray, b: Source, of_b: np.ndarray):
    """`Source.read` of the images of these rows of two sets, stacked along the channels."""
    return lambda indices: np.concatenate([a.read(of_a[indices]), b.read(of_b[indices])], -1)


def _part(source: Source, rows: np.ndarray) -> Source:
    """Some of the images."""
    digest = hashlib.sha256(b"part" + source.fingerprint.encode() + np.ascontiguousarray(rows, np.int64).tobytes()).hexdigest()
    return source._replace(
        n=len(rows),
        read=lambda indices: source.read(rows[indices]),
        labels=None if source.labels is None else source.labels[rows],
        fingerprint=digest[: len(source.fingerprint)],
        planes=None,
    )
