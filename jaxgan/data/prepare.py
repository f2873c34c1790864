"""Write any Source as a prepared TFDS directory: array_record files that TFDS reads without TensorFlow."""

import contextlib
import io
import os
import re
import secrets
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from jaxgan.cores import cores
from jaxgan.data.images import as_picture
from jaxgan.data.prepared import VERSION, check_array_record
from jaxgan.data.source import Progress, Source, pieces
from jaxgan.errors import UserError, one_line

SHARD = 512 * 1024**2  # bytes of pixels in one file
NAME = re.compile(r"[a-z][a-z0-9_]*")


def check_destination(dest: str) -> str:
    """The destination as an absolute path.

    Raises:
      UserError: something is there already; only an empty folder may be. array_record is not installed.
    """
    check_array_record(dest)
    path = os.path.abspath(os.path.expanduser(dest))
    if os.path.isdir(path) and not os.listdir(path):
        return path
    if os.path.lexists(path):
        raise UserError(f"{dest}: exists already; give a folder that does not, or remove it first")
    return path


def dataset_name(dest: str, name: str = "") -> tuple[str, str]:
    """Name and version of the set, as TFDS wants them.

    Args:
      dest: the destination. A last part such as 1.0.0 is the version; the part before it then gives the name.
      name: overrides the name; lower case letters, digits and _.
    Raises:
      UserError: a name that TFDS does not take.
    """
    head, last = os.path.split(os.path.abspath(os.path.expanduser(dest)))
    version = last if VERSION.fullmatch(last) else "1.0.0"
    if not name:
        name = re.sub(r"[^a-z0-9]+", "_", (os.path.basename(head) if version == last else last).lower()).strip("_")
        name = name if NAME.fullmatch(name) else f"set_{name}".strip("_")
    if not NAME.fullmatch(name):
        raise UserError(f"name {name!r}: TFDS wants lower case letters, digits and _, a letter first")
    return name, version


def write(source: Source, dest: str, *, name: str = "", split: str = "train", progress: Progress | None = None) -> str:
    """Write a set as PNG images (lossless) with its labels, in its order.

    All is written beside the destination and renamed at the end: the destination is complete or not there.

    Args:
      source: any Source.
      dest: a folder that does not exist, or an empty one.
      name: see `dataset_name`.
      split: the name of the only split.
      progress: called with (images done, images in all).
    Returns:
      The absolute path. `tfds.builder_from_directory(path)` and `open_source(path)` read it.
    Raises:
      UserError: the destination exists or cannot be written; a name that TFDS does not take.
    """
    path = check_destination(dest)
    name, version = dataset_name(dest, name)
    if not NAME.fullmatch(split):
        raise UserError(f"split {split!r}: the written split needs a plain name, such as train")
    partial = f"{path}.partial-{secrets.token_hex(4)}"  # not this process's number, which another has in another container
    try:
        os.makedirs(partial)
        _write(source, partial, name, version, split, progress or (lambda done, total: None))
        if os.path.isdir(path):
            os.rmdir(path)
        os.rename(partial, path)
    except OSError as e:
        if os.path.isdir(path) and os.listdir(path):
            raise UserError(f"{dest}: another process has written it meanwhile, and it stays as it is") from None
        raise UserError(f"{dest}: cannot be written ({e})") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return path


def _write(source, path, name, version, split, progress):
    import tensorflow_datasets as tfds

    identity = tfds.core.dataset_info.DatasetIdentity(
        name=name, version=tfds.core.Version(version), data_dir=path, module_name=""
    )
    features = {"image": tfds.features.Image(shape=source.shape, encoding_format="png")}
    if source.labels is not None:
        features["label"] = _label_feature(source, tfds)
    info = tfds.core.DatasetInfo(
        builder=identity,
        description=f"{source.name}, {split}: {source.n} images, prepared by jaxgan.",
        features=tfds.features.FeaturesDict(features),
    )
    shard = max(1, SHARD // int(np.prod(source.shape)))
    writer = tfds.core.SequentialWriter(info, max_examples_per_shard=shard, file_format="array_record")
    writer.initialize_splits([split])
    with ThreadPoolExecutor(cores()) as pool:
        for indices in pieces(source):
            examples = [{"image": png} for png in pool.map(_png, source.read(indices))]
            if source.labels is not None:
                for example, label in zip(examples, source.labels[indices], strict=True):
                    example["label"] = int(label) if source.labels.ndim == 1 else label
            with _as_os_errors():
                writer.add_examples({split: examples})
            progress(int(indices[-1]) + 1, source.n)
    with _as_os_errors():
        writer.close_all()


@contextlib.contextmanager
def _as_os_errors():
    """What array_record says of a full disk and the like is a RuntimeError."""
    try:
        yield
    except RuntimeError as e:
        raise OSError(one_line(e, 200)) from None


def _png(array):
    file = io.BytesIO()
    as_picture(array).save(file, "PNG")
    return file.getvalue()


def _label_feature(source, tfds):
    if source.labels.ndim == 2:
        return tfds.features.Tensor(shape=(source.labels.shape[1],), dtype=np.float32)
    # TFDS keeps the names one a line, so they must be of one line and differ.
    readable = [name.encode("utf-8", "replace").decode() for name in source.class_names]  # file systems have other bytes too
    names = [" ".join(name.split()) or f"class {i}" for i, name in enumerate(readable)]
    if len(set(names)) < len(names):
        names = [f"{i} {name}" for i, name in enumerate(names)]
    return tfds.features.ClassLabel(names=names)
