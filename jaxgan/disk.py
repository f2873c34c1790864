"""Trees of arrays on disk, by Orbax: what checkpoints and averages have in common.

Orbax does not notice flipped bytes in its data files, so every leaf's CRC-32 is kept beside it.
"""

import contextlib
import json
import logging
import math
import re
import shutil
import sys
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp

from jaxgan.errors import UserError
from jaxgan.typing import Tree

SCORE = "score"
"""What the best is kept by, lower is better."""
BY = "by"
"""Which metric the score is: those of two metrics are no rivals."""


MOST, PACKED = 2**30, 100
"""Bytes from which it is asked whether arrays are on disk, and how many times they can be packed: weights hardly at all."""


AT_ONCE = ocp.options.AsyncOptions(create_directories_asynchronously=False)
"""The folders of a checkpoint are made before its writing begins: in the background, Orbax waits five minutes for one that cannot
be."""


class Store(NamedTuple):
    """A directory of checkpoints."""

    directory: Path
    manager: ocp.CheckpointManager


def quiet() -> None:
    """Orbax logs, with stack traces, what it raises as well, and its readers outlive a failed read: one line of ours says it."""
    logging.getLogger("absl").addFilter(_not_of_orbax)  # the user's own lines may go there too
    if sys.unraisablehook is sys.__unraisablehook__:
        sys.unraisablehook = _unless_closed


def _not_of_orbax(record: logging.LogRecord) -> bool:
    return "/orbax/checkpoint/" not in Path(record.pathname).as_posix()


def _unless_closed(what) -> None:
    if not (what.exc_type is RuntimeError and "Event loop is closed" in str(what.exc_value)):
        sys.__unraisablehook__(what)


def write(store: Store, step: int, tree: dict[str, Any], meta: dict[str, Any], score: float | None = None) -> None:
    """Begin to write the items of a tree, and 'meta' with their checksums, as one step."""
    if step in store.manager.all_steps():
        return
    size, free = sum(a.nbytes for a in jax.tree.leaves(tree)), shutil.disk_usage(store.directory).free
    if free < size * 1.1 + 1e6:
        raise UserError(
            f"{store.directory}: no room for a checkpoint ({size / 1e6:.0f} MB needed, {free / 1e6:.0f} MB free); "
            f"free some space and start again; {_last(store)}"
        )
    items = {name: ocp.args.StandardSave(item) for name, item in tree.items()}
    items["meta"] = ocp.args.JsonSave({"checksums": checksums(tree), **meta})
    try:
        metrics = None if score is None else {SCORE: float(score), BY: meta.get(BY, "")}
        store.manager.save(step, args=ocp.args.Composite(**items), metrics=metrics)
    except Exception as e:
        raise _failed(store, e) from e


def check(store: Store) -> None:
    """Raise UserError if the save under way has failed already; returns at once."""
    try:
        store.manager.check_for_errors()
    except Exception as e:
        raise _failed(store, e) from e


def wait(store: Store) -> None:
    """Return when all is on disk. Raises UserError if it could not be written."""
    try:
        store.manager.wait_until_finished()
        store.manager.check_for_errors()
    except Exception as e:
        raise _failed(store, e) from e


def close(store: Store) -> None:
    """The end of a store, whose saves `wait` has waited for. Of one that failed it was said, or something worse: what Orbax
    raises here would be in its place."""
    with contextlib.suppress(Exception):
        store.manager.close()


def _failed(store: Store, e: Exception) -> UserError:
    reason = next((line for line in str(e).splitlines() if line.strip()), type(e).__name__)[:200]
    if "No space left" in str(e):
        reason = "the disk is full; free some space and start again"
    return UserError(f"{store.directory}: a checkpoint could not be written ({reason}); {_last(store)}")


def _last(store: Store) -> str:
    found = steps(store.directory)
    return f"the last good checkpoint is step {found[-1]}" if found else "no checkpoint has been written yet"


def checksums(tree: Tree) -> dict[str, int]:
    """CRC-32 of each leaf's bytes, by its path."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path): zlib.crc32(np.ascontiguousarray(a).tobytes()) for path, a in leaves}


def kinds(tree: Tree) -> dict[str, str]:
    """Dtype and shape of each leaf by its path; the same of a tree in memory and of one that `read` read."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path, simple=True, separator="/"): f"{a.dtype} {a.shape}" for path, a in leaves}


def mismatch(tree: Tree, recorded: dict[str, int], *, part: str = "") -> str:
    """What of a restored tree differs from its recorded checksums, or ''."""
    # Read without a template, as `read` does, a named tuple comes back as a dict.
    plain = lambda crcs: {re.sub(r"\.(\w+)", r"['\1']", path): crc for path, crc in crcs.items() if path.startswith(part)}
    recorded, found = plain(recorded), plain(checksums(tree))
    wrong = sorted(path for path in recorded.keys() | found.keys() if recorded.get(path) != found.get(path))
    return f"{wrong[0]} does not match its checksum" + f", nor do {len(wrong) - 1} more" * (len(wrong) > 1) if wrong else ""


def steps(directory: Path) -> list[int]:
    return sorted(int(p.name) for p in directory.glob("*") if p.name.isdigit())


def read_item(directory: Path, step: int, item: str) -> Tree:
    """One item of a checkpoint, checked; UserError where it is damaged."""
    try:
        found = read(directory / str(step) / item)
        wrong = mismatch({item: found}, meta(directory, step)["checksums"], part=f"['{item}']")
    except Exception as e:  # whatever a damaged file makes the reader say
        wrong = f"cannot be read: {str(e).splitlines()[0][:160] if str(e) else type(e).__name__}"
    if wrong:
        others = [s for s in steps(directory) if s != step]
        hint = f"try another of {others}" if others else "there is no other"
        raise UserError(f"{directory}/{step}: the checkpoint is damaged ({wrong}); {hint}")
    return found


def read(path: Path) -> Tree:
    """An item as it is on disk: dicts and lists of host arrays. Raises as `check_size`."""
    check_size(path)
    with ocp.StandardCheckpointer() as reader:
        return jax.tree.map(np.asarray, reader.restore(path))


def check_size(path: Path) -> None:
    """Raise ValueError where an item of few bytes claims to be very many: it would fill the memory."""
    with ocp.StandardCheckpointer() as reader:
        arrays = [a for a in jax.tree.leaves(reader.metadata(path).item_metadata) if hasattr(a, "shape")]
    claimed = sum(math.prod(a.shape) * np.dtype(a.dtype).itemsize for a in arrays)
    if claimed > MOST and claimed > PACKED * (there := sum(f.stat().st_size for f in path.rglob("*"))):
        raise ValueError(f"it has {there / 1e6:.1f} MB and claims {claimed / 1e9:.1f} GB")


def meta(directory: Path, step: int) -> dict[str, Any]:
    return json.loads((directory / str(step) / "meta" / "metadata").read_text())
