"""Folders and archives of images: which files count, their order, their labels."""

import io
import json
import os
import posixpath
import struct
import tarfile
import threading
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from jaxgan import memory
from jaxgan.data.images import SUFFIXES, UNREAD, open_image
from jaxgan.data.source import MOST_CLASSES, Items, finite
from jaxgan.errors import UserError, one_line

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2")
SPLITS = ("train", "test", "val", "valid", "validation")
SMALL = 256 * 1024  # bytes; PIL reads headers in many small pieces, so a small file is read at once
MOST = 2**31  # bytes of one file: an archive of megabytes, or a file with a hole, can claim any number
ENDS = 16 * 1024  # bytes at a file's start and end that tell it from a changed one, in sets too large to read whole


def opened(path: str, split: str) -> Items | None:
    """The images of a `folder` or an `archive`; None where a path is neither."""
    if os.path.isdir(path):
        return folder(path, split)
    is_archive = os.path.isfile(path) and path.lower().endswith((".zip", *TAR_SUFFIXES))
    return archive(path, split) if is_archive else None


def folder(path: str, split: str = "train") -> Items:
    """All images below a folder; links to folders are followed.

    Args:
      path: the folder.
      split: which sub-folder, when the first level is train/, test/ and the like.
    Returns:
      Items in the order of their relative names. Labels: `dataset.json` of StyleGAN's dataset_tool, else the
      first-level sub-folders (when every image lies in one), else none. A folder around all others is no level.
    Raises:
      UserError: no images; no such split; a dataset.json that does not fit.
    """
    found = _walk(path)

    def read(name):
        with open(os.path.join(path, name), "rb") as file:
            return file.read()

    names, shown, labels, class_names = arrange(found, split, path, read)

    last = threading.local()  # of each thread the small file that it read last, which it looks at twice when the set is opened
    last_read = lambda: getattr(last, "read", (None, b""))

    def stamp(i, whole):
        if last_read()[0] == i:
            return _stamp(io.BytesIO(last.read[1]), len(last.read[1]), whole)
        with _opened(os.path.join(path, names[i])) as file:
            return _stamp(file, os.fstat(file.fileno()).st_size, whole)

    def file(i):
        opened = _opened(os.path.join(path, names[i]))
        size = os.fstat(opened.fileno()).st_size
        if SMALL < size <= MOST:
            return opened
        with opened:
            _check_size(size)
            last.read = i, opened.read()
            return io.BytesIO(last.read[1])

    return items(path, shown, labels, class_names, file, stamp, unread(found))


def _opened(path):
    """A file to read. A named pipe has nothing in it, and is a broken image: it does not wait for somebody to write."""
    return open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0)))


def archive(path: str, split: str = "train") -> Items:
    """All images in a .zip or .tar, read without unpacking; otherwise as `folder`.

    The members of a compressed tar are read into memory once, because it has no random access.
    """
    try:
        return (_tar if path.lower().endswith(TAR_SUFFIXES) else _zip)(path, split)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, OSError, NotImplementedError) as e:
        raise UserError(f"{path}: not an archive that can be read ({one_line(e, 200)}); copy or pack it again") from None


def _zip(path, split):
    with zipfile.ZipFile(path) as file:
        members = {_tidy(m.filename): m for m in file.infolist() if not m.is_dir()}

        def read(name):
            _check_size(members[name].file_size)
            return file.read(members[name])

        names, shown, labels, class_names = arrange(members, split, path, read)
    if any(members[name].flag_bits & 1 for name in names):
        raise UserError(f"{path}: is encrypted; pack it again without a password")

    def stamp(i, whole):
        return f"{members[names[i]].file_size}:{members[names[i]].CRC}"

    return items(path, shown, labels, class_names, lambda i: _member(path, members[names[i]]), stamp, unread(members))


def _member(path, info):
    """A member of a zip through a file of its own: threads share nothing, nothing stays open; its CRC is checked."""
    _check_size(info.file_size)
    file = open(path, "rb")
    try:
        file.seek(info.header_offset)
        name, extra = struct.unpack("<26x2H", file.read(30))  # the local header; its lengths may differ from the index
        file.seek(name + extra, os.SEEK_CUR)
        return zipfile.ZipExtFile(file, "r", info, close_fileobj=True)
    except BaseException:
        file.close()
        raise


def _tar(path, split):
    compressed = not path.lower().endswith(".tar")
    with tarfile.open(path, tarinfo=_Header) as file:
        held, members, links, others, room = {}, {}, {}, [], memory.installed()
        for m in file:
            name = _tidy(m.name)
            others.append(name)
            if m.islnk() or m.issym():  # a hard link names a member, a symbolic one a path from its own folder
                links[name] = _tidy(m.linkname if m.islnk() else posixpath.join(posixpath.dirname(name), m.linkname))
            if m.isreg() and (_is_image(name) or posixpath.basename(name) == "dataset.json"):
                members[name] = (m.offset_data, m.size)
                _check_size(m.size)
                room -= m.size if compressed else 0
                if room < 0:
                    raise UserError(f"{path}: more than the memory holds, which a compressed tar is read to; unpack it")
                if compressed:
                    held[name] = file.extractfile(m).read()
        for name in filter(_is_image, links):
            real = _linked(name, links, path)
            if real not in members:
                raise UserError(f"{path}: {name} is a link to {real}, which is no image in it; pack it with tar --dereference")
            members[name] = members[real]
            if compressed:
                held[name] = held[real]

    def read(name):
        if compressed:
            return held[name]
        with open(path, "rb") as plain:
            plain.seek(members[name][0])
            return plain.read(members[name][1])

    names, shown, labels, class_names = arrange(members, split, path, read)

    def stamp(i, whole):
        return _stamp(io.BytesIO(read(names[i])), members[names[i]][1], whole)

    return items(path, shown, labels, class_names, lambda i: io.BytesIO(read(names[i])), stamp, unread(others))


class _Header(tarfile.TarInfo):
    """A tar's header, refused where what it says of the next, as a long name, would fill the memory: tarfile reads that whole."""

    @classmethod
    def frombuf(cls, *given):
        found = super().frombuf(*given)
        if found.type in b"xgXLK" and found.size > SMALL:
            raise tarfile.HeaderError(f"a header of {found.size / 2**20:.1f} MiB")
        return found


def _check_size(size):
    """OSError where a file claims to be larger than any image."""
    if size > MOST:
        raise OSError(f"a file of {size / 2**30:.1f} GiB, more than any image")


def _linked(name, links, path):
    """What a link of an archive leads to at last."""
    for _ in links:
        name = links.get(name, name)
    if name in links:
        raise UserError(f"{path}: the link {name} points back to itself; pack it again without")
    return name


def items(
    path: str,
    shown: Sequence[str],
    labels: np.ndarray | None,
    class_names: tuple[str, ...],
    open_file: Callable[[int], Any],
    stamp: Callable[[int, bool], str],
    others: str = "",
) -> Items:
    """Images in files: `open_file(number)` opens one, as bytes. The rest is `Items`'."""

    @contextmanager
    def image(i):
        with open_file(i) as file, open_image(file) as im:
            yield im

    return Items(path, shown, image, stamp, labels, class_names, others)


def _stamp(file, size, whole):
    """Tells a file from a changed one: size and CRC of all of it, or else of both ends. A copy has the same."""
    crc = zlib.crc32(file.read(ENDS))
    while whole and (piece := file.read(ENDS)):
        crc = zlib.crc32(piece, crc)
    if size > ENDS and not whole:
        file.seek(max(size - ENDS, ENDS))
        crc = zlib.crc32(file.read(ENDS), crc)
    return f"{size}:{crc}"


def _walk(path):
    found, above = [], {path: {os.path.realpath(path)}}  # folder -> what it and those it was reached through really are

    def refuse(e):
        raise UserError(f"{e.filename}: the folder cannot be read ({e.strerror}); allow it, or move it away")

    for at, folders, files in os.walk(path, followlinks=True, onerror=refuse):
        real = {f: os.path.realpath(os.path.join(at, f)) for f in folders if not _hidden(f)}
        folders[:] = [f for f in real if real[f] not in above[at]]  # a link that leads back up would have no end
        above |= {os.path.join(at, f): above[at] | {real[f]} for f in folders}
        inside = os.path.relpath(at, path).replace(os.sep, "/")
        found += files if inside == "." else [f"{inside}/{f}" for f in files]
    return found


def _hidden(part):
    return part.startswith(".") or part == "__MACOSX"


def _is_image(name, suffixes=SUFFIXES):
    return name.lower().endswith(suffixes) and not any(_hidden(p) for p in name.split("/"))


def unread(found: Iterable[str]) -> str:
    """How many of these files are images in formats that are not read, as "2 .avif, 1 .heic"; "" for none."""
    kinds = Counter(posixpath.splitext(name.lower())[1] for name in found if _is_image(name, UNREAD))
    return ", ".join(f"{n} {kind}" for kind, n in sorted(kinds.items()))


def _tidy(name):
    """A member's name without the ./, / or backslashes that some packers write."""
    return posixpath.normpath(name.replace("\\", "/")).lstrip("/")


def arrange(
    found: Iterable[str], split: str, where: str, read: Callable[[str], bytes]
) -> tuple[list[str], list[str], np.ndarray | None, tuple[str, ...]]:
    """Order and label the files of a folder or archive.

    Args:
      found: relative names with forward slashes, in any order.
      split: as in `folder`.
      where: the folder or archive, for messages.
      read: name -> the file's bytes; used for dataset.json alone.
    Returns:
      (names, shown, labels, class_names): the chosen of `found`, sorted; the same below their common folder;
      int32 [n], float32 [n, K] or None; a tuple of str, in the order of their numbers where all are numbers.
    """
    names = sorted(name for name in found if _is_image(name))
    if not names and (others := unread(found)):
        raise UserError(f"{where}: no images in it that can be read, but {others}; save them as .png or .jpg")
    if not names:
        raise UserError(f"{where}: no images in it; give a folder or archive that holds .png, .jpg, .webp, ... files")
    names, root = _choose(names, split, where)
    shown = [name[len(root) :] for name in names]
    at = [name for name in found if posixpath.basename(name) == "dataset.json" and root.startswith(name[:-12])]
    if at:
        listing = max(at, key=len)  # the nearest
        return names, shown, *_listed(read(listing), [n[len(listing) - 12 :] for n in names], f"{where}: {listing}")
    if not all("/" in name for name in shown):
        return names, shown, None, ()
    classes = sorted({name.split("/")[0] for name in shown})
    if all(name.isdecimal() for name in classes):
        classes.sort(key=int)
    number = {name: i for i, name in enumerate(classes)}
    return names, shown, np.array([number[name.split("/")[0]] for name in shown], np.int32), tuple(classes)


def _root(names):
    """The folder that holds them all, with its slash, or ''."""
    root = posixpath.commonpath([posixpath.dirname(name) for name in names])
    return root + "/" if root else ""


def _choose(names, split, where):
    root = _root(names)
    tops = sorted({name[len(root) :].split("/")[0] for name in names})
    if set(tops) <= set(SPLITS):
        if split not in tops:
            raise UserError(f"{where}: no split {split!r} in it; it has {', '.join(tops)}")
        names = [name for name in names if name.startswith(f"{root}{split}/")]
        root = _root(names)
    elif split != "train" and split not in root.split("/"):
        raise UserError(f"{where}: no split {split!r} in it; a split of a folder is a sub-folder of that name")
    return names, root


def _listed(text, names, where):
    """Labels of dataset.json, {"labels": [[name, label], ...]} or {"labels": null}."""
    try:
        pairs = json.loads(text)["labels"]
        known = {name.replace("\\", "/"): label for name, label in pairs} if pairs is not None else {}
        twice = next((name for name, label in pairs or () if known[name.replace("\\", "/")] != label), None)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as e:
        raise UserError(f'{where}: not of the form {{"labels": [[name, label], ...]}} ({e!r})') from None
    if twice is not None:
        raise UserError(f"{where}: {twice} is listed with two labels; keep one of them")
    if not known:
        return None, ()
    missing = [name for name in names if name not in known]
    if missing:
        raise UserError(f"{where}: no label for {missing[0]} ({len(missing)} of {len(names)} are missing)")
    values = [known[name] for name in names]
    if all(type(v) is int and 0 <= v < MOST_CLASSES for v in values):
        return np.array(values, np.int32), tuple(str(i) for i in range(max(values) + 1))
    for name, v in zip(names, values, strict=True):
        if not (
            isinstance(v, list)
            and v
            and all(type(e) is float or type(e) is int and abs(e) < 2**1000 for e in v)
            and len(v) == len(values[0])
        ):
            raise UserError(
                f"{where}: the label of {name} is {v!r:.60}; give 0 to {MOST_CLASSES - 1}, or vectors alike: [0.5, 1]"
            )
    vectors = finite(np.array(values, np.float64), where)
    return vectors, tuple(str(i) for i in range(vectors.shape[1]))
