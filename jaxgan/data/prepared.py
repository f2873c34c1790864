"""Sets that TFDS has prepared as array_record files: where they lie, and how they are read without TensorFlow."""

import difflib
import hashlib
import importlib.util
import io
import json
import math
import os
import re
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import SimpleNamespace

import numpy as np

from jaxgan.data.alike import IN_MEMORY
from jaxgan.data.images import as_picture, open_image
from jaxgan.data.source import MOST_CLASSES, Items, Progress, finite
from jaxgan.errors import UserError, one_line

NAME = re.compile(r"(?P<name>[a-z][a-z0-9_]*)(/(?P<config>[\w.\-+]+))?(:(?P<version>\d+\.\d+\.\d+))?")
VERSION = re.compile(r"\d+\.\d+\.\d+")
BATCH = 256  # records in one read
OTHERS_OPEN = 512  # files that a run has open beside those of its set, at most


def find(path: str, version: str = "") -> str:
    """The prepared directory at or below a path, '' when there is none.

    Args:
      path: the directory itself, or one that holds version folders, or config folders with version folders.
      version: takes that one instead of the newest.
    Raises:
      UserError: several configs to choose from.
    """
    if _is_prepared(path):
        return path
    places = [path, *(os.path.join(path, d) for d in _folders(path))]
    found = {}
    for place in places:
        versions = [d for d in _folders(place) if VERSION.fullmatch(d) and _is_prepared(os.path.join(place, d))]
        versions = [d for d in versions if not version or d == version]
        if versions:
            found[place] = os.path.join(place, max(versions, key=lambda v: [int(p) for p in v.split(".")]))
    if len(found) > 1:
        raise UserError(f"{path}: holds several prepared sets; choose one of {', '.join(sorted(found.values()))}")
    return next(iter(found.values()), "")


def _folders(path):
    try:
        with os.scandir(path) as entries:
            return sorted(e.name for e in entries if e.is_dir())
    except OSError:
        return []


def _is_prepared(path):
    return all(os.path.isfile(os.path.join(path, f)) for f in ("features.json", "dataset_info.json"))


def check_array_record(where: str) -> None:
    """UserError where array_record files are neither read nor written: its package has no wheels for Windows."""
    if importlib.util.find_spec("array_record") is None:
        raise UserError(
            f"{where}: prepared sets of TFDS need the package array_record, which is not installed (there is none for Windows); "
            "give a folder of images, an archive or an .npz"
        )


def locate(data: str, data_dir: str = "") -> str:
    """The prepared directory of a TFDS name; where TensorFlow is installed, a missing set is downloaded and prepared.

    Args:
      data: "name", "name/config", "name:1.0.0" or "name/config:1.0.0".
      data_dir: where sets lie; '' is TFDS's default (the environment's TFDS_DATA_DIR or ~/tensorflow_datasets).
    Raises:
      UserError: no such set, or not prepared and no TensorFlow to prepare it with.
    """
    match = NAME.fullmatch(data)
    if match:
        root = os.path.expanduser(data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets")
        place = os.path.join(root, match["name"], match["config"] or "")
        found = find(place.rstrip("/"), match["version"] or "")
        if found:
            return found
        if os.path.isdir(place) and match["version"]:
            has = ", ".join(d for d in _folders(place) if not d.startswith(".")) or "nothing"
            raise UserError(f"{data}: {place} does not hold version {match['version']}; it has {has}")
    import tensorflow_datasets as tfds

    known = tfds.list_builders(with_community_datasets=False)
    if not match or match["name"] not in known:
        near = difflib.get_close_matches(data.lower(), ["digits", *known], n=3)
        if "/" in data or "\\" in data or (os.path.splitext(data)[1] and not match):
            raise UserError(f"{data}: no such file or folder")
        hint = f"did you mean {' or '.join(near)}?" if near else "give digits, a TFDS name, a folder, an archive or an .npz"
        below = data_dir or "TFDS's folder"
        raise UserError(f"{data!r} is no file or folder here, no set below {below}, and no TFDS name; {hint}")
    check_array_record(data)
    if importlib.util.find_spec("tensorflow") is None:
        raise UserError(
            f"{data}: not prepared in {root}, and TFDS needs TensorFlow to prepare it: "
            f'pip install "jaxgan[prepare]" and run this again, or pass --data-dir DIR where it lies prepared '
            f"(python -m experiments.prepare writes such a directory from a folder, archive or .npz)"
        )
    try:
        builder = tfds.builder(data, data_dir=root, file_format="array_record")
        builder.download_and_prepare()
    except Exception as e:  # downloads, checksums, missing extras: TFDS has no common exception
        raise UserError(f"{data}: TFDS could not prepare it: {one_line(e, 300)}") from e
    return str(builder.data_dir)


def items(path: str, split: str, progress: Progress) -> Items:
    """The images and labels of a prepared directory.

    Images: the feature "image", else the first Image feature, else a uint8 Tensor of 2 or 3 axes. Labels: the feature
    "label", else the first ClassLabel. All records are read once here, for their labels (those of a set up to
    IN_MEMORY bytes then stay in memory), and once more for the images' headers: of a set of 100 GB that takes minutes.

    Args:
      path: as found by `find`.
      split: a split of TFDS, slices such as "train[:10%]" too.
      progress: see `jaxgan.data.source`.
    Raises:
      UserError: not array_record, no such split, no images; array_record is not installed.
    """
    check_array_record(path)
    import tensorflow_datasets as tfds

    try:
        _check_classes(path)
        builder = tfds.builder_from_directory(path)
    except UserError:
        raise
    except Exception as e:  # an unreadable JSON, a feature of a newer TFDS
        raise UserError(f"{path}: TFDS cannot open it: {one_line(e, 300)}") from None
    if builder.info.file_format != tfds.core.FileFormat.ARRAY_RECORD:
        kind = builder.info.file_format.value
        raise UserError(f"{path}: prepared as {kind}, which only TensorFlow reads; prepare it as array_record instead")
    features = builder.info.features
    image, label = _image_feature(features, tfds, path), _label_feature(features, tfds)
    encoded = isinstance(features[image], tfds.features.Image)
    if encoded and features[image].np_dtype != np.uint8:
        raise UserError(f"{path}: its images are {np.dtype(features[image].np_dtype)}; they must be uint8")
    # Images are left as they are, unused ones too: TFDS opens them with all of PIL's formats, of which some start programs (EPS).
    decoders = {name: _undecoded(f, tfds) for name, f in features.items() if not isinstance(f, tfds.features.Tensor)}
    try:
        records = builder.as_data_source(split, decoders=decoders)
    except Exception as e:
        raise UserError(f"{path}: no split {split!r}: {one_line(e, 200)}") from None
    files = sorted({f.filename for f in builder.info.splits[split].file_instructions})
    _allow_open(len(files), path)
    held, labels = _read(records, image, label, sum(os.path.getsize(f) for f in files) <= IN_MEMORY, progress, path)

    @contextmanager
    def picture(i, value=None):
        value = held[i] if held is not None else records[int(i)][image] if value is None else value
        if encoded:
            with open_image(io.BytesIO(value)) as im:
                yield im
        else:
            yield as_picture(value)

    def several(indices):  # a read takes a third of a millisecond, of one record as of many
        try:
            values = [record[image] for record in records.__getitems__(indices)]
        except Exception:  # one of them is damaged: it alone is broken
            values = [None] * len(indices)
        return map(picture, indices, values)

    stamp = _stamp(files, split)
    labels, class_names = _labels(labels, features[label] if label else None, tfds, path)
    only = lambda i, whole: stamp if i == 0 else ""
    at_once = several if held is None else None
    return Items(f"{path} {split}", range(len(records)), picture, only, labels, class_names, several=at_once)


def _check_classes(path: str) -> None:
    """UserError where features.json names a class that is not TFDS's, nor in a module that is imported already: TFDS would import
    the module, which may lie beside the set."""
    with open(os.path.join(path, "features.json")) as file:
        for name in _classes(json.load(file)):
            if not name.startswith("tensorflow_datasets.") and name.rpartition(".")[0] not in sys.modules:
                raise UserError(f"{path}: features.json names the class {name!r}, which is not TFDS's; import it if you trust it")


def _classes(node) -> Iterator[str]:
    """The names of classes in features.json, also in JSON that it holds as text."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key in ("pythonClassName", "python_class_name", "type") and isinstance(value, str):
                yield value
            else:
                yield from _classes(value)
    elif isinstance(node, list):
        for value in node:
            yield from _classes(value)
    elif isinstance(node, str) and node.lstrip()[:1] in ("{", "["):
        with suppress(ValueError):  # a text that looks like it
            yield from _classes(json.loads(node))


def _undecoded(feature, tfds):
    """What has TFDS leave a feature as it is stored."""
    inside = feature.feature if isinstance(feature, tfds.features.Sequence) else feature
    if isinstance(inside, tfds.features.FeaturesDict):
        return {name: _undecoded(f, tfds) for name, f in inside.items()}
    same = lambda value: value  # TFDS's SkipDecoding takes no sequences
    return SimpleNamespace(
        setup=lambda feature: None, decode_example_np=same, decode_batch_example_np=same, decode_ragged_example_np=same
    )


def _allow_open(files, path):
    """Let this process have so many files open, and others: array_record keeps those of a set open, and ImageNet has 1,024."""
    try:
        import resource
    except ImportError:  # Windows
        return
    soft, hard = (math.inf if n == resource.RLIM_INFINITY else n for n in resource.getrlimit(resource.RLIMIT_NOFILE))
    need = files + OTHERS_OPEN
    if need > hard:
        fix = "raise it (ulimit -Hn), or prepare the set in fewer files"
        raise UserError(f"{path}: its {files} files are kept open, but a process here may open {hard}; {fix}")
    if need > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (need, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


def _read(records, image, label, hold, progress, path):
    """(images or None, labels or None), reading every record once."""
    held, labels = [], []
    if not hold and label is None:
        return None, None
    for start in range(0, len(records), BATCH):
        stop = min(start + BATCH, len(records))
        try:
            batch = records.__getitems__(list(range(start, stop)))
        except Exception as e:
            raise UserError(f"{path}: records {start}..{stop - 1} cannot be read ({e}); prepare it again") from None
        held += [r[image] for r in batch] if hold else []
        labels += [r[label] for r in batch] if label else []
        progress(stop, len(records))
    return held if hold else None, labels if label else None


def _image_feature(features, tfds, path):
    images = [k for k, f in features.items() if isinstance(f, tfds.features.Image)]
    arrays = [
        k for k, f in features.items() if type(f) is tfds.features.Tensor and f.np_dtype == np.uint8 and len(f.shape) in (2, 3)
    ]
    for names in (images, arrays):
        if names:
            return "image" if "image" in names else names[0]
    raise UserError(f"{path}: none of its features ({', '.join(features)}) is an image")


def _label_feature(features, tfds):
    if "label" in features:
        return "label"
    return next((k for k, f in features.items() if isinstance(f, tfds.features.ClassLabel)), None)


def _labels(values, feature, tfds, where):
    """(labels, class names); labels that are neither classes nor vectors count as none."""
    if values is None:
        return None, ()
    try:
        labels = np.asarray(values)
    except ValueError:  # of different lengths
        return None, ()
    if labels.ndim == 1 and labels.dtype.kind in "iu" and 0 <= labels.min() <= labels.max() < MOST_CLASSES:
        named = isinstance(feature, tfds.features.ClassLabel) and feature.num_classes
        names = feature.names if named else [str(i) for i in range(labels.max() + 1)]
        return labels.astype(np.int32), tuple(names)
    if labels.ndim == 2 and labels.dtype.kind in "iuf":
        return finite(labels, where), tuple(str(i) for i in range(labels.shape[1]))
    return None, ()


def _stamp(files, split):
    """Names, sizes and both ends of the shards: copying a set does not change it, preparing another does."""
    digest = hashlib.sha256(split.encode())
    for path in files:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            crc = zlib.crc32(file.read(2**20))
            file.seek(max(size - 2**20, 0))
            digest.update(f"{os.path.basename(path)}:{size}:{crc}:{zlib.crc32(file.read())}".encode())
    return digest.hexdigest()
