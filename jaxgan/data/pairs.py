"""Sets of pairs: each target image with the source image that it is to be made from."""

import os
from collections.abc import Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from jaxgan.data import files, images
from jaxgan.data.alike import ahead, make_alike
from jaxgan.data.degrade import degraded
from jaxgan.data.open import asked, check_one, open_source
from jaxgan.data.source import CHUNK, Items, Progress, Source, fingerprint, notes_of
from jaxgan.errors import UserError


def open_pairs(
    data: str,
    *,
    target: str = "",
    side_by_side: str = "",
    degrade: Sequence[str] = ("mask",),
    source_channels: int | None = None,
    **how: Any,
) -> Source:
    """Open a set of pairs: two folders, or images of both sides, or one set whose images are damaged to make the sources.

    Args:
      data: the source images, in a folder or archive, when there is a `target`; else any set that `open_source` takes.
      target: a folder or archive with an image of the same name (up to its suffix) for each source image.
      side_by_side: 'left' or 'right': each image of `data` holds both, and the source is this half.
      degrade: without either of them the images of `data` are the targets, and so damaged (`degrade.KINDS`) the sources.
      source_channels: 1, 3 or 4 for the source images; None takes their own, as for the targets.
      **how: data_dir, split, size (H, W of source and target), channels (of the target), background, fit, skip_broken,
        progress, as `open_source`.
    Returns:
      Source: the targets, and under `inputs` the sources in the same order; without labels unless they are `data`'s.
    Raises:
      UserError: as `open_source`; an image without a partner; a pair of different sizes; an odd width of two halves; twice the
        same folder.
    """
    if target and side_by_side:
        raise UserError("--target and --side-by-side: the pairs come from two folders or from halves; give one of them")
    if not target:
        check_one(data)
    elif os.path.realpath(os.path.expanduser(data)) == os.path.realpath(os.path.expanduser(target)):
        raise UserError(f"--target {target}: it is --data itself; give the images that are to be made of those")
    if not target and not side_by_side:
        if source_channels is not None:
            raise UserError("--source-channels: degraded images keep their channels; give --channels, or --degrade grey")
        return degraded(open_source(data, **how), degrade)
    other = {"left": "right", "right": "left"}.get(side_by_side)
    split = how.pop("split", "train")
    how = asked(f"{data} to {target or other}", **{name: value for name, value in how.items() if name != "data_dir"})
    if target:
        sized = how["size"] is not None
        given, made = partners(_files(data, split), _files(target, split), sized=sized, progress=how["progress"])
    else:
        whole = _files(data, split)
        given, made = half(whole, side_by_side), half(whole, other)
    return _both(given, made, source_channels, how)


def partners(given: Items, made: Items, *, sized: bool, progress: Progress) -> tuple[Items, Items]:
    """Source and target items in one order: by their names without the suffix.

    Args:
      sized: images are going to be resized, so that a pair of different sizes but of one shape will do.
      progress: see `jaxgan.data.source`.
    Raises:
      UserError: names the first image without a partner, or whose partner differs in size.
    """
    at = []
    for items in (given, made):
        stems = [os.path.splitext(name)[0] for name in items.names]
        at.append(dict(zip(stems, range(len(stems)), strict=True)))
        if len(at[-1]) < len(stems):
            twice = next(name for i, name in enumerate(items.names) if at[-1][stems[i]] != i)
            raise UserError(f"{items.where}: {twice} exists with two suffixes; keep one of them")
    for here, there, names, other in ((given, made, at[0], at[1]), (made, given, at[1], at[0])):
        alone = [here.names[i] for stem, i in names.items() if stem not in other]
        if alone:
            many = f" ({len(alone)} of {len(names)} have none)" if len(alone) > 1 else ""
            fix = f"; rename or remove {'them' if many else 'it'}: partners have the same name but for the suffix"
            raise UserError(f"{here.where}: {alone[0]} has no partner of that name in {there.where}{many}{fix}")
    order = np.array([at[1][stem] for stem in at[0]])
    made = _chosen(made, order)
    n = len(given.names)

    def check(start):
        stop = min(start + CHUNK, n)
        for i in range(start, stop):
            _check_sizes(given, made, i, sized)
        return stop

    for done in ahead(check, range(0, n, CHUNK)):
        progress(done, n)
    return given, made


def _check_sizes(given, made, i, sized):
    sizes = []
    for items in (given, made):
        try:
            with items.image(i) as im:
                sizes.append(images.header(im).size)
        except Exception:  # `make_alike` says what is wrong with it, or leaves it out
            return
    if sizes[0] == sizes[1]:
        return
    (a, b), (c, d) = sizes
    alike = a * d == b * c
    if not sized or not alike:
        fix = "pass --size H W to scale both, or scale one of them" if alike else "scale or cut one of them"
        raise UserError(f"{given.where}: {given.names[i]} has {a}x{b}, its partner in {made.where} {c}x{d}; {fix}")


def half(items: Items, side: str) -> Items:
    """The left or right half of every image, without labels."""

    @contextmanager
    def image(i):
        with items.image(i) as im:
            images.header(im)
            profile = im.info.get("icc_profile")
            im = images.upright(im)
            if im.width % 2:
                raise UserError(f"is {im.width} pixels wide, which cannot be split into two halves; crop one column")
            left = 0 if side == "left" else im.width // 2
            im = im.crop((left, 0, left + im.width // 2, im.height))
            im.info["icc_profile"] = profile
            yield im

    return items._replace(image=image, labels=None, class_names=(), several=None)


def _files(data, split) -> Items:
    path = os.path.expanduser(data)
    if items := files.opened(path, split):
        return items
    what = "neither a folder nor a .zip or .tar" if os.path.exists(path) else "no such folder or archive"
    raise UserError(f"{data}: {what}; pairs are read from image files")


def _chosen(items, order):
    """The items at these places, in this order, without labels."""
    return Items(
        items.where,
        [items.names[i] for i in order],
        lambda i: items.image(int(order[i])),
        lambda i, whole: items.stamp(int(order[i]), whole),
        None,
        (),
    )


def _both(given, made, source_channels, how):
    """Both sides prepared; where one is broken and left out, its partner is too. how: of `asked`, for the targets."""
    targets = make_alike(made, **how)
    inputs = make_alike(given, **how | {"size": how["size"] or targets.shape[:2], "channels": source_channels})
    skipped = tuple(dict.fromkeys((*targets.skipped, *inputs.skipped)))
    broken = {os.path.splitext(name)[0] for name in skipped}
    if broken:
        keep = np.array([i for i, name in enumerate(made.names) if os.path.splitext(name)[0] not in broken])
        left = _both(*(_chosen(items, keep) for items in (given, made)), source_channels, how | {"skip_broken": False})
        return left._replace(skipped=skipped)
    pair = fingerprint(f"pairs {inputs.fingerprint} {targets.fingerprint}")
    return targets._replace(inputs=inputs, notes=notes_of({"sources": inputs, "targets": targets}), fingerprint=pair)
