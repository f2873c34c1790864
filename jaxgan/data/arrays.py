"""Images that come as one array: .npz files and scikit-learn's digits."""

import hashlib
import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from jaxgan import memory
from jaxgan.data.alike import finish, make_alike
from jaxgan.data.images import Look, as_picture
from jaxgan.data.source import MOST_CLASSES, Items, Source, Stored, finite
from jaxgan.errors import UserError, one_line

IMAGE_KEYS = ("x", "images", "x_train", "arr_0")
LABEL_KEYS = {"x": ("y", "labels"), "images": ("labels", "y"), "x_train": ("y_train",), "arr_0": ("arr_1", "y", "labels")}


def npz(path: str, split: str = "train") -> tuple[np.ndarray, np.ndarray | None]:
    """Images and labels of an .npz.

    Args:
      path: the file. Images under x_<split>, x, images or arr_0; labels under y_<split>, y, labels or arr_1.
      split: "train" also takes the keys without a split.
    Returns:
      uint8 [n, H, W, C]; int32 [n], float32 [n, K] or None.
    Raises:
      UserError: no such key, or not uint8 images with their channels last.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise ValueError("it holds a single array without names")
            key = f"x_{split}" if f"x_{split}" in file else next((k for k in IMAGE_KEYS if k in file), None)
            if key is None or (split != "train" and key != f"x_{split}"):
                wanted = ", ".join(IMAGE_KEYS) if split == "train" else f"x_{split}"
                raise UserError(f"{path}: no images for split {split!r} in it: it has {', '.join(file)}; use {wanted}")
            label_key = next((k for k in LABEL_KEYS.get(key, (f"y_{split}",)) if k in file), None)
            parts = [f"{name}{suffix}" for name in (key, label_key) for suffix in ("", ".npy")]
            size = sum(m.file_size for m in file.zip.infolist() if m.filename in parts)
            if size > memory.installed():
                raise MemoryError(f"{size / 2**30:.1f} GiB")
            images, labels = file[key], None if label_key is None else file[label_key]
    except UserError:
        raise
    except MemoryError as e:
        fix = "give a folder or an archive of images, of which only some are read at a time"
        raise UserError(f"{path}: more than the memory holds, which an .npz is read to ({e}); {fix}") from None
    except Exception as e:  # of damage zipfile, zlib, NumPy and the tokenizer that reads its headers say many things
        raise UserError(f"{path}: not an .npz that can be read ({one_line(e, 200)}); write it with numpy.savez") from None
    images = _as_images(images, f"{path}: {key}")
    return images, None if labels is None else _as_labels(labels, len(images), f"{path}: {label_key}")


def _as_images(images, where):
    described = f"{images.dtype} {list(images.shape)}"
    if images.dtype != np.uint8:
        low, high = (np.nanmin(images), np.nanmax(images)) if images.size and images.dtype.kind in "biuf" else (0, 1)
        fix = f"np.rint(np.interp(x, ({low:g}, {high:g}), (0, 255))).astype(np.uint8) spans all of its values"
        raise UserError(f"{where} is {described}; images must be uint8 in 0..255: {fix}")
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or 0 in images.shape:
        raise UserError(f"{where} is {described}; images must be [n, H, W] or [n, H, W, C]")
    if images.shape[3] not in (1, 3, 4):
        turned = "it looks like [n, C, H, W]: use x.transpose(0, 2, 3, 1)"
        fix = "; " + (turned if images.shape[1] in (1, 3, 4) else "for other numbers write a Source (docs/own.md)")
        raise UserError(f"{where} is {described}; channels come last and number 1, 3 or 4{fix}")
    if images.max() == 1:
        raise UserError(f"{where} is {described}, but no value is above 1: all would be black; multiply by 255")
    return images


def _as_labels(labels, n, where):
    described = f"{labels.dtype} {list(labels.shape)}"
    if labels.shape == (n, 1) and labels.dtype.kind in "iu":
        labels = labels[:, 0]
    if labels.shape == (n,) and labels.dtype.kind in "iu" and 0 <= labels.min() <= labels.max() < MOST_CLASSES:
        return labels.astype(np.int32)
    if labels.ndim == 2 and len(labels) == n and labels.shape[1] > 0 and labels.dtype.kind in "iufb":
        return finite(labels, where)
    wanted = f"labels must be {n} classes from 0 to {MOST_CLASSES - 1}, or [{n}, K] vectors"
    fix = "; of names: class_names, labels = np.unique(names, return_inverse=True)" if labels.dtype.kind in "USO" else ""
    fix = "; of one number for each image: labels[:, None]" if labels.shape == (n,) and labels.dtype.kind == "f" else fix
    raise UserError(f"{where} is {described}; {wanted}{fix}")


def digits(size: tuple[int, int] | None = None) -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn's 1,797 handwritten digits of 8x8 pixels and 17 levels, resampled bicubically in floating point.

    Args:
      size: (H, W); None takes 28x28.
    Returns:
      uint8 [1797, H, W, 1], int32 [1797].
    Source: Alpaydin & Kaynak 1998, the UCI test set that sklearn.datasets.load_digits carries.
    """
    height, width = size or (28, 28)
    rows = _digit_rows()
    out = np.empty((len(rows), height, width, 1), np.uint8)
    for i, levels in enumerate(rows[:, :-1].reshape(-1, 8, 8)):
        im = Image.fromarray((levels * (255 / 16)).astype(np.float32))
        shrinks = height < 8 or width < 8
        filter = Image.Resampling.LANCZOS if shrinks else Image.Resampling.BICUBIC
        im = im if (height, width) == (8, 8) else im.resize((width, height), filter)
        out[i, ..., 0] = np.rint(np.clip(np.asarray(im), 0, 255))
    return out, rows[:, -1].astype(np.int32)


def _digit_rows() -> np.ndarray:
    """float64 [1797, 65]: 64 levels and the label. Read from the package's file: importing scikit-learn takes a second."""
    package = importlib.util.find_spec("sklearn")
    file = Path(package.submodule_search_locations[0]) / "datasets" / "data" / "digits.csv.gz"
    if file.exists():
        return np.loadtxt(file, delimiter=",")
    from sklearn.datasets import load_digits  # a version that keeps it elsewhere

    return np.column_stack([*load_digits(return_X_y=True)])


def of_arrays(
    images: np.ndarray, labels: np.ndarray | None = None, *, name: str = "arrays", class_names: Sequence[str] = ()
) -> Source:
    """A Source of images in memory.

    Args:
      images: uint8 [n, H, W] or [n, H, W, C], C in 1, 3, 4 (RGBA with straight alpha); RGBA apart not copied, so leave
        them as they are.
      labels: classes, integers [n] from 0 on; vectors, numbers [n, K]; or None.
      name: for messages and `config.json`.
      class_names: as many as there are classes; () for "0", "1", ...
    Raises:
      UserError: no such images or labels, or fewer than two images.
    """
    images = _as_images(np.asarray(images), name)
    labels = None if labels is None else _as_labels(np.asarray(labels), len(images), f"{name}: labels")
    how = dict(size=None, channels=images.shape[3], background=(255, 255, 255), skip_broken=False)
    source = array_source(images.view(), labels, name, name=name, progress=lambda done, total: None, **how)
    if class_names and len(class_names) != source.classes:
        raise UserError(f"{name}: {len(class_names)} class_names for {source.classes} classes; give one each")
    return source._replace(class_names=tuple(class_names)) if class_names else source


def array_source(
    images: np.ndarray, labels: np.ndarray | None, where: str, *, size: tuple[int, int] | None, channels: int | None, **rest: Any
) -> Source:
    """A Source of an array; it is taken as it is unless size, channels or transparency ask for work.

    Args:
      images: uint8 [n, H, W, C], C in 1, 3, 4.
      labels: int32 [n], float32 [n, K] or None.
      where: for messages.
      size, channels, rest: as `jaxgan.data.alike.make_alike`.
    """
    n, height, width, depth = images.shape
    classes = 0 if labels is None else int(labels.max()) + 1 if labels.ndim == 1 else labels.shape[1]
    items = Items(
        where=where,
        names=range(n),
        image=lambda i: as_picture(images[i]),
        stamp=_stamp(images),
        labels=labels,
        class_names=tuple(str(i) for i in range(classes)),
    )
    as_it_is = depth != 4 and channels in (None, depth)
    if n >= 2 and as_it_is and (size is None or tuple(size) == (height, width)):
        look = Look((height, width), depth, rest["background"])
        stamps = [items.stamp(i, True) for i in range(n)]
        return finish(items, np.arange(n), look, Stored(np.ascontiguousarray(images)), rest["name"], stamps)
    source = make_alike(items, size=size, channels=channels, **rest)
    if depth < 4:
        return source
    done = "colours where it is near 0 are those around" if channels == 4 else "drawn on the background; --channels 4 keeps it"
    return source._replace(notes=(*source.notes, f"the fourth channel is taken for alpha: {done}"))


def _stamp(images: np.ndarray) -> Callable[[int, bool], str]:
    digest = hashlib.sha256(np.ascontiguousarray(images)).hexdigest()
    return lambda i, whole: digest if i == 0 else ""
