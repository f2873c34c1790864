"""The training state on disk, by Orbax: asynchronous, atomic, the latest few and the best.

Orbax does not notice flipped bytes in its data files, so every leaf's CRC-32 is kept beside it: a checkpoint that does not
match is named and the one before is taken. What is saved is one copy of the state as host arrays, so a run may go on with
another number of devices. Two items: `generator` (all that sampling needs) and `training` (the rest).
"""

import json
import logging
import shutil
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, BestN, LatestN

from jaxgan import average
from jaxgan.errors import UserError
from jaxgan.state import TrainState

SCORE = "score"
"""The metric by which the best is kept, lower is better."""


class Store(NamedTuple):
    """A directory of checkpoints."""

    directory: Path
    manager: ocp.CheckpointManager


def _quiet() -> None:
    """Orbax logs, with stack traces, what it raises as well, and its readers outlive a failed read: one line of ours says it."""
    logging.getLogger("absl").setLevel(logging.CRITICAL)
    if sys.unraisablehook is sys.__unraisablehook__:
        sys.unraisablehook = _unless_closed


def _unless_closed(what) -> None:
    if not (what.exc_type is RuntimeError and "Event loop is closed" in str(what.exc_value)):
        sys.__unraisablehook__(what)


def open_store(directory: str | Path, keep: int = 2) -> Store:
    """Open (or create) the checkpoints of a run.

    Args:
      directory: its `checkpoints/`.
      keep: how many of the latest to keep, beside the best.
    """
    _quiet()
    directory = Path(directory).absolute()
    _mend_scores(directory)
    options = ocp.CheckpointManagerOptions(
        preservation_policy=AnyPreservationPolicy(
            [LatestN(keep), BestN(get_metric_fn=lambda m: -m[SCORE], n=1, keep_checkpoints_without_metrics=False)]
        ),
        best_fn=lambda m: m[SCORE],  # so that the scores are written, and known after a restart
        best_mode="min",
        cleanup_tmp_directories=True,
    )
    items = ("generator", "training", "meta")
    return Store(directory, ocp.CheckpointManager(directory, options=options, item_names=items))


def to_tree(state: TrainState) -> dict:
    """The state as the two items that are saved; the typed key as its uint32 data."""
    return {
        "generator": {"params": state.ema, "stats": state.g.stats},
        "training": {
            "step": state.step,
            "key": jax.random.key_data(state.key),
            "g": {"params": state.g.params, "opt": state.g.opt},
            "d": {"params": state.d.params, "stats": state.d.stats, "opt": state.d.opt},
            "averages": state.averages,
            "carry": state.carry,
        },
    }


def from_tree(tree: dict, like: TrainState) -> TrainState:
    """The inverse of `to_tree`; `like` gives the structure."""
    made, kept = tree["generator"], tree["training"]
    return like.replace(
        step=kept["step"],
        key=jax.random.wrap_key_data(kept["key"]),
        g=like.g.replace(stats=made["stats"], **kept["g"]),
        d=like.d.replace(**kept["d"]),
        ema=made["params"],
        averages=kept["averages"],
        carry=kept["carry"],
    )


def checksums(tree) -> dict[str, int]:
    """CRC-32 of each leaf's bytes, by its path."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path): zlib.crc32(np.ascontiguousarray(a).tobytes()) for path, a in leaves}


def not_finite(tree) -> list[str]:
    """Paths of the float leaves with a NaN or an infinity."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    floats = [(path, a) for path, a in leaves if np.issubdtype(a.dtype, np.floating)]
    return [jax.tree_util.keystr(path) for path, a in floats if not np.isfinite(a).all()]


def save(store: Store, state: TrainState, *, score: float | None = None, meta: dict[str, Any] | None = None) -> None:
    """Begin to save a state; returns once it is copied from the device, and writes behind the caller's back.

    Args:
      store: where to.
      state: one copy of it (`parallel.first`); its step names the checkpoint.
      score: the quality by which the best is kept, lower is better; None keeps it out of that contest.
      meta: JSON to keep beside it.
    Raises:
      UserError: the disk is full, or this or the save before failed; earlier checkpoints are untouched.
    """
    tree = jax.tree.map(np.asarray, jax.device_get(to_tree(state)))
    _write(store, int(tree["training"]["step"]), tree, {SCORE: score, **(meta or {})}, score)


def _write(store: Store, step: int, tree: dict, meta: dict, score: float | None = None) -> None:
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
        metrics = None if score is None else {SCORE: float(score)}
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


def _failed(store: Store, e: Exception) -> UserError:
    reason = next((line for line in str(e).splitlines() if line.strip()), type(e).__name__)[:200]
    if "No space left" in str(e):
        reason = "the disk is full; free some space and start again"
    return UserError(f"{store.directory}: a checkpoint could not be written ({reason}); {_last(store)}")


def _last(store: Store) -> str:
    steps = _steps(store.directory)
    return f"the last good checkpoint is step {steps[-1]}" if steps else "no checkpoint has been written yet"


def restore(store: Store, like: Callable[[int], TrainState]) -> tuple[TrainState | None, list[str]]:
    """The newest checkpoint that is whole.

    Args:
      store: where from.
      like: step -> a state of the structure and shapes that the checkpoint of that step has (networks may grow); its
        values are not used, and may be `jax.ShapeDtypeStruct`s.
    Returns:
      The state (host arrays), or None if there is none; and a line for each damaged checkpoint that was passed over.
    Raises:
      UserError: there are checkpoints, and none is whole; or the newest whole one is of another config.
    """
    damaged = []
    for step in sorted(store.manager.all_steps(), reverse=True):
        state = like(step)
        template = jax.tree.map(lambda a: np.zeros(a.shape, a.dtype), jax.eval_shape(to_tree, state))
        try:
            found = store.manager.restore(
                step,
                args=ocp.args.Composite(
                    generator=ocp.args.StandardRestore(template["generator"]),
                    training=ocp.args.StandardRestore(template["training"]),
                    meta=ocp.args.JsonRestore(),
                ),
            )
            tree = {"generator": found["generator"], "training": found["training"]}
            wrong = _mismatch(tree, found["meta"]["checksums"])
        except Exception as e:  # whatever a damaged file makes the reader say
            if _whole(store.directory, step):
                raise UserError(f"{store.directory}/{step}: {OTHER}") from None
            wrong = f"cannot be read: {str(e).splitlines()[0][:160] if str(e) else type(e).__name__}"
        if not wrong:
            alike = jax.tree.map(lambda a, b: (a.shape, a.dtype) == (b.shape, b.dtype), tree, template)
            if not all(jax.tree.leaves(alike)):
                raise UserError(f"{store.directory}/{step}: {OTHER}")
            return from_tree(tree, state), damaged
        damaged.append(f"{store.directory}/{step}: the checkpoint is damaged ({wrong})")
    if damaged:
        raise UserError(f"{damaged[0]}, and there is no whole one before it; move the run directory away to start anew")
    return None, []


OTHER = "its networks or optimisers are not those of this config; give the run's own config, or another --run-dir"


def _whole(directory: Path, step: int) -> bool:
    """Whether the arrays of a checkpoint have their checksums, whatever structure they are in."""
    try:
        trees = [_read(directory / str(step) / item) for item in ("generator", "training")]
        recorded = _meta(directory, step)["checksums"]
    except Exception:  # whatever a damaged file makes the reader say
        return False
    return sorted(checksums(trees).values()) == sorted(recorded.values())


def _mismatch(tree, recorded: dict[str, int], *, part: str = "") -> str:
    """What of a restored tree differs from its recorded checksums, or ''."""
    recorded = {path: crc for path, crc in recorded.items() if path.startswith(part)}
    found = checksums(tree)
    wrong = sorted(path for path in recorded.keys() | found.keys() if recorded.get(path) != found.get(path))
    return f"{wrong[0]} does not match its checksum" + f", nor do {len(wrong) - 1} more" * (len(wrong) > 1) if wrong else ""


def drop_newer(store: Store, step: int) -> None:
    """Delete the checkpoints after a step: those that `restore` found damaged, so that they can be written again."""
    for later in [s for s in store.manager.all_steps() if s > step]:
        store.manager.delete(later)


def load_generator(directory: str | Path, which: str | int = "latest") -> tuple[dict, int]:
    """The generator's variables from a run's checkpoints, without the rest.

    Args:
      directory: a run's `checkpoints/`.
      which: 'latest', 'best' or a step.
    Returns:
      {'params': ..., **stats} as host arrays; the step.
    Raises:
      UserError: no such checkpoint, or a damaged one.
    """
    _quiet()
    directory = Path(directory).absolute()
    steps = _steps(directory)
    if not steps:
        raise UserError(f"{directory}: there is no checkpoint here yet")
    if which == "latest":
        step = steps[-1]
    elif which == "best":
        scores = {s: _score(directory, s) for s in steps}
        step = min((s for s in steps if scores[s] is not None), key=scores.get, default=steps[-1])
    elif int(which) in steps:
        step = int(which)
    else:
        raise UserError(f"{directory}: there is no checkpoint of step {which}; there are {', '.join(map(str, steps))}")
    found = _read_item(directory, step, "generator")
    return {"params": found["params"], **(found.get("stats") or {})}, step


def open_averages(directory: str | Path) -> Store:
    """Open (or create) the averages of a run, in its `averages/`: all that are saved are kept."""
    _quiet()
    directory = Path(directory).absolute()
    # The checkpoints are saved at the same time, by threads that would take these for their own.
    apart = ocp.options.MultiprocessingOptions(barrier_sync_key_prefix="averages")
    options = ocp.CheckpointManagerOptions(cleanup_tmp_directories=True, multiprocessing_options=apart)
    return Store(directory, ocp.CheckpointManager(directory, options=options, item_names=("averages", "meta")))


def save_averages(store: Store, state: TrainState) -> None:
    """Begin to save `state.averages`; returns and raises as `save`."""
    step, averages = jax.tree.map(np.asarray, jax.device_get((state.step, state.averages)))
    _write(store, int(step), {"averages": averages}, {})


def load_average(directory: str | Path, width: float, step: int | None = None) -> tuple[dict, int]:
    """The average of any relative width, at any step, from the averages that a run saved.

    Args:
      directory: a run's `averages/`.
      width: relative standard deviation, in (0, 0.2887).
      step: of training; None is the last saved.
    Returns:
      The generator's parameters as host arrays; the step.
    Raises:
      UserError: the run saved no averages, or a damaged one; a width or step out of range.
    Source: Karras et al. 2024 (EDM2), section 3.2.
    """
    _quiet()
    directory = Path(directory).absolute()
    steps = _steps(directory)
    if not steps:
        raise UserError(f"{directory}: the run saved no averages to choose from; train with --posthoc 0.05 0.1")
    step = steps[-1] if step is None else step
    used = [s for s in steps if s <= step] or steps[:1]
    names = sorted(_read_item(directory, used[0], "averages"))
    snapshots = [(s, name) for s in used for name in names]
    weights = average.posthoc_weights([(s, float(name)) for s, name in snapshots], min(step, used[-1]), width)
    trees = (tree[name] for tree in (_read_item(directory, s, "averages") for s in used) for name in names)
    return average.weighted_sum(trees, weights), min(step, used[-1])


def _steps(directory: Path) -> list[int]:
    return sorted(int(p.name) for p in directory.glob("*") if p.name.isdigit())


def _read_item(directory: Path, step: int, item: str):
    """One item of a checkpoint, checked; UserError where it is damaged."""
    try:
        found = _read(directory / str(step) / item)
        wrong = _mismatch({item: found}, _meta(directory, step)["checksums"], part=f"['{item}']")
    except Exception as e:  # whatever a damaged file makes the reader say
        wrong = f"cannot be read: {str(e).splitlines()[0][:160] if str(e) else type(e).__name__}"
    if wrong:
        others = [s for s in _steps(directory) if s != step]
        raise UserError(f"{directory}/{step}: the checkpoint is damaged ({wrong}); try another of {others}")
    return found


def _read(path: Path):
    """An item as it is on disk: dicts and lists of host arrays."""
    with ocp.StandardCheckpointer() as reader:
        return jax.tree.map(np.asarray, reader.restore(path))


def _meta(directory: Path, step: int) -> dict[str, Any]:
    return json.loads((directory / str(step) / "meta" / "metadata").read_text())


def _score(directory: Path, step: int) -> float | None:
    try:
        return _meta(directory, step).get(SCORE)
    except (OSError, ValueError, AttributeError):  # damaged: no rival for the best
        return None


def _mend_scores(directory: Path) -> None:
    """Orbax reads the score of every checkpoint when it opens a directory, and stops at a damaged one; `meta` has it too."""
    for step in _steps(directory):
        path = directory / str(step) / "metrics" / "metrics"
        try:
            whole = isinstance(json.loads(path.read_text())[SCORE], int | float)
        except FileNotFoundError:
            continue
        except (OSError, ValueError, TypeError, KeyError):
            whole = False
        score = None if whole else _score(directory, step)
        if score is not None:
            path.write_text(json.dumps({SCORE: score}))
        elif not whole:
            path.unlink(missing_ok=True)
