"""From what the user typed to a Source."""

import os
import re
from collections.abc import Sequence
from typing import Any

from jaxgan.data import arrays, files, images, prepared
from jaxgan.data.alike import make_alike
from jaxgan.data.source import Progress, Source
from jaxgan.data.stacked import PREFIX, stacked
from jaxgan.errors import UserError

OWN_SPLIT = re.compile(rf"(?P<data>{prepared.NAME.pattern}):(?P<split>[A-Za-z_]\w*(\[.*\])?)")


def open_source(
    data: str,
    *,
    data_dir: str = "",
    split: str = "train",
    size: tuple[int, int] | None = None,
    channels: int | None = None,
    background: str = "white",
    fit: str = "crop",
    skip_broken: bool = False,
    progress: Progress | None = None,
) -> Source:
    """Open a set of images, check all of them, and make them alike.

    A set of up to 2 GiB of pixels is decoded here, so damage is found now and reading is indexing. Of a larger set only
    the headers are read here; damage behind them is a `UserError` from `read` that names the file.

    Args:
      data: "digits"; a TFDS name such as "mnist", "cifar10:3.0.2" or, with its own split, "mnist:test"; or a path (an existing
        one wins over a name, but for a run's): a prepared TFDS directory, a folder of images, a .zip or .tar of one, an .npz.
        "stacked:" before any of them puts three grey images into the colour planes (StackedMNIST: "stacked:mnist").
      data_dir: where TFDS sets lie; '' is TFDS's default.
      split: "train", "test"; of TFDS also slices. Of a folder or archive: its sub-folder of that name. Beside a name that says
        its own, that or "train".
      size: (H, W) in pixels. None keeps the images' own, which must then agree.
      channels: 1, 3, or 4 for straight RGBA, in which colours that cannot be seen become those around; None takes 1 when all
        images are grey, else 3.
      background: what lies under transparent pixels unless channels is 4; a colour as PIL reads it.
      fit: how images of other proportions are brought to `size`. "crop": scaled to cover it, and the rest cut off; "pad": scaled
        to fit in, the rest background (with channels 4 transparent).
      skip_broken: leave broken images out and list them in `Source.skipped`.
      progress: called with (images done, images in all) from this thread; a set may be gone through twice.
    Returns:
      Source.
    Raises:
      UserError: nothing there, nothing in it, or an image that is broken or unlike the others.
    """
    data = str(data)
    if data.startswith(PREFIX):
        how = {"data_dir": data_dir, "split": split, "size": size, "skip_broken": skip_broken, "progress": progress}
        return stacked(open_source(data.removeprefix(PREFIX), channels=1, background=background, fit=fit, **how))
    how = asked(data, size=size, channels=channels, background=background, fit=fit, skip_broken=skip_broken, progress=progress)
    path = os.path.expanduser(data)
    if not os.path.exists(path) and (own := OWN_SPLIT.fullmatch(data)):
        if split not in ("train", own["split"]):
            raise UserError(f"{data} says its split; leave it out there, or give {own['split']} as --split too, not {split}")
        path, data, split = own["data"], own["data"], own["split"]
    run = os.path.isfile(os.path.join(path, "config.json")) and os.path.isdir(os.path.join(path, "checkpoints"))
    if run and os.path.basename(data) != data:
        raise UserError(
            f"{data} is a run, no set of images; python -m experiments.sample {data} --n 10000 --out images.npz makes one"
        )
    if run or not os.path.exists(path):  # among runs, "digits" and "mnist" are what they were trained on
        if data == "digits":
            return _digits(split, how)
        return make_alike(prepared.items(prepared.locate(data, data_dir), split, how["progress"]), **how)
    if os.path.isdir(path) and (found := prepared.find(path)):
        return make_alike(prepared.items(found, split, how["progress"]), **how)
    if items := files.opened(path, split):
        return make_alike(items, **how)
    if path.lower().endswith(".npz"):
        return arrays.array_source(*arrays.npz(path, split), path, **how)
    fix = "numpy.savez(path, x=array) writes an .npz" if path.lower().endswith(".npy") else "give one of these"
    raise UserError(f"{data}: neither a folder nor a .zip, .tar, .tar.gz, .tar.xz, .tgz or .npz; {fix}")


def asked(
    name: str,
    *,
    size: Sequence[int] | None = None,
    channels: int | None = None,
    background: str = "white",
    fit: str = "crop",
    skip_broken: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """The arguments of `make_alike` for what the user asked for, as `open_source` takes it; UserError for what there is not."""
    if channels not in (None, 1, 3, 4):
        raise UserError(f"channels is {channels}; give 1 (grey), 3 (RGB) or 4 (RGBA)")
    return dict(
        name=name,
        size=height_and_width(size),
        channels=channels,
        background=images.colour(background),
        fit=images.checked_fit(fit),
        skip_broken=skip_broken,
        progress=progress or (lambda done, total: None),
    )


def check_one(data: str) -> None:
    """UserError where a folder holds two sets, as the authors of pix2pix and CycleGAN lay them out: all would be one set."""
    if os.path.isdir(os.path.join(os.path.expanduser(data), "trainA")):
        raise UserError(f"--data {data} holds both sets; give --data {data}/trainA --target {data}/trainB")


def height_and_width(size: Any) -> tuple[int, int] | None:
    """The same as two ints, also where they come as a list from a run's config.json; None stays None. UserError for no size."""
    if size is not None and (len(size) != 2 or min(size) < 1):
        raise UserError(f"size is {size}; give height and width, both at least 1")
    return None if size is None else (int(size[0]), int(size[1]))


def _digits(split, how):
    if split != "train":
        raise UserError(f"digits has the split train only, not {split!r}")
    pictures, labels = arrays.digits(how["size"])
    return arrays.array_source(pictures, labels, "digits", **how)
