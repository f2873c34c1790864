"""The training state on disk: asynchronous, atomic, the latest few and the best.

A checkpoint that does not match its checksums is named and the one before is taken. What is saved is one copy of the state as
host arrays, so a run may go on with another number of devices. Two items: `generator` (all that sampling needs) and
`training` (the rest).
"""

import json
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, BestN, LatestN

from jaxgan import average, disk
from jaxgan.disk import BY, SCORE, Store
from jaxgan.errors import UserError
from jaxgan.state import TrainState
from jaxgan.typing import Tree
from jaxgan.whole import write_whole


def open_store(directory: str | Path, keep: int = 2, by: str = "") -> Store:
    """Open (or create) the checkpoints of a run.

    Args:
      directory: its `checkpoints/`.
      keep: how many of the latest to keep, beside the best.
      by: the metric that scores what is saved from now on; the best by others, of before a change of --metrics, stay too.
    """
    disk.quiet()
    directory = Path(directory).absolute()
    _mend_scores(directory)
    own = lambda m, by: -m[SCORE] if m.get(BY, "") == by else -math.inf
    best = partial(BestN, n=1, keep_checkpoints_without_metrics=False)
    metrics = {by, *(_score(directory, s)[1] for s in disk.steps(directory))}
    options = ocp.CheckpointManagerOptions(
        preservation_policy=AnyPreservationPolicy([LatestN(keep), *(best(get_metric_fn=partial(own, by=m)) for m in metrics)]),
        best_fn=lambda m: m[SCORE],  # so that the scores are written, and known after a restart
        best_mode="min",
        cleanup_tmp_directories=True,
        async_options=disk.AT_ONCE,
    )
    items = ("generator", "training", "meta")
    return Store(directory, ocp.CheckpointManager(directory, options=options, item_names=items))


def to_tree(state: TrainState) -> dict[str, Any]:
    """The state as the two items that are saved."""
    return {
        "generator": {"params": state.ema, "stats": state.g.stats},
        "training": {
            "step": state.step,
            "key": state.key,
            "g": {"params": state.g.params, "opt": state.g.opt},
            "d": {"params": state.d.params, "stats": state.d.stats, "opt": state.d.opt},
            "averages": state.averages,
            "carry": state.carry,
        },
    }


def from_tree(tree: dict[str, Any], like: TrainState) -> TrainState:
    """The inverse of `to_tree`; `like` gives the structure."""
    made, kept = tree["generator"], tree["training"]
    return like.replace(
        step=kept["step"],
        key=kept["key"],
        g=like.g.replace(stats=made["stats"], **kept["g"]),
        d=like.d.replace(**kept["d"]),
        ema=made["params"],
        averages=kept["averages"],
        carry=kept["carry"],
    )


def not_finite(tree: Tree) -> list[str]:
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
      meta: JSON to keep beside it; its `by` names the metric that the score is.
    Raises:
      UserError: the disk is full, or this or the save before failed; earlier checkpoints are untouched.
    """
    tree = jax.tree.map(np.asarray, jax.device_get(to_tree(state)))
    disk.write(store, int(tree["training"]["step"]), tree, {SCORE: score, **(meta or {})}, score)


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
            for item in template:
                disk.check_size(store.directory / str(step) / item)
            found = store.manager.restore(
                step,
                args=ocp.args.Composite(
                    generator=ocp.args.StandardRestore(template["generator"]),
                    training=ocp.args.StandardRestore(template["training"]),
                    meta=ocp.args.JsonRestore(),
                ),
            )
            tree = {"generator": found["generator"], "training": found["training"]}
            wrong = disk.mismatch(tree, found["meta"]["checksums"])
        except Exception as e:  # whatever a damaged file makes the reader say
            if _whole(store.directory, step):
                raise _of_another(store.directory, step, template) from None
            wrong = f"cannot be read: {str(e).splitlines()[0][:160] if str(e) else type(e).__name__}"
        if not wrong:
            alike = jax.tree.map(lambda a, b: (a.shape, a.dtype) == (b.shape, b.dtype), tree, template)
            if not all(jax.tree.leaves(alike)):
                raise _of_another(store.directory, step, template)
            return from_tree(tree, state), damaged
        damaged.append(f"{store.directory}/{step}: the checkpoint is damaged ({wrong})")
    if damaged:
        raise UserError(f"{damaged[0]}, and there is no intact one before it; move the run directory away to start afresh")
    return None, []


def _of_another(directory: Path, step: int, template: dict[str, Any]) -> UserError:
    """What is said of a whole checkpoint that holds other arrays than those of a template."""
    there = disk.kinds({item: disk.read(directory / str(step) / item) for item in template})
    here = disk.kinds(template)
    paths = [path for path in sorted(there.keys() | here.keys()) if there.get(path) != here.get(path)]
    differs = "".join(f" ({path} is {there.get(path, 'not there')}, and here {here.get(path, 'none')})" for path in paths[:1])
    what = "its networks, optimisers or carry are not those of this config"
    return UserError(f"{directory}/{step}: {what}{differs}; give the run's own config, or another --run-dir")


def _whole(directory: Path, step: int) -> bool:
    """Whether the arrays of a checkpoint have their checksums, whatever structure they are in."""
    try:
        trees = [disk.read(directory / str(step) / item) for item in ("generator", "training")]
        recorded = disk.meta(directory, step)["checksums"]
    except Exception:  # whatever a damaged file makes the reader say
        return False
    return sorted(disk.checksums(trees).values()) == sorted(recorded.values())


def drop_newer(store: Store, step: int) -> None:
    """Delete what a store has after a step, so that it can be written again: checkpoints that `restore` found damaged, or the
    averages of a run that has gone back."""
    for later in [s for s in store.manager.all_steps() if s > step]:
        store.manager.delete(later)


def load_generator(directory: str | Path, which: str | int = "latest") -> tuple[dict[str, Any], int]:
    """The generator's variables from a run's checkpoints, without the rest.

    Args:
      directory: a run's `checkpoints/`.
      which: 'latest', 'best' (by the metric that the last score is) or a step.
    Returns:
      {'params': ..., **stats} as host arrays; the step.
    Raises:
      UserError: no such checkpoint, or a damaged one.
    """
    directory, step = chosen(directory, which)
    return _variables(disk.read_item(directory, step, "generator")), step


def _variables(found: dict[str, Any]) -> dict[str, Any]:
    """{'params': ..., **stats} of a player or generator as it was read."""
    return {"params": found["params"], **found["stats"]}


def load_discriminator(directory: str | Path, which: str | int = "latest") -> tuple[dict[str, Any], int]:
    """The discriminator's variables, those of training: no average of it is kept. The rest is as `load_generator`."""
    directory, step = chosen(directory, which)
    return _variables(disk.read_item(directory, step, "training")["d"]), step


def chosen(directory: str | Path, which: str | int) -> tuple[Path, int]:
    """The directory, absolute, and the step that `which` means; UserError where there is none."""
    disk.quiet()
    directory = Path(directory).absolute()
    steps = disk.steps(directory)
    if not steps:
        raise UserError(f"{directory}: there is no checkpoint here yet")
    if which == "latest":
        return directory, steps[-1]
    if which == "best":
        scores = [(s, *_score(directory, s)) for s in steps]
        scores = [found for found in scores if found[1] is not None]
        rivals = [(score, s) for s, score, by in scores if by == scores[-1][2]]
        return directory, min(rivals, default=(0, steps[-1]))[1]
    if str(which).isdecimal() and int(which) in steps:
        return directory, int(which)
    there = ", ".join(map(str, steps))
    raise UserError(f"{directory}: there is no checkpoint of step {which}; there are {there}, latest and best")


def load_players(
    directory: str | Path, which: str | int = "latest"
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any], int]:
    """Both networks from a run's checkpoints, without their optimisers.

    Args:
      directory, which: as `load_generator`.
    Returns:
      The averaged generator's variables, as there; the generator's and the discriminator's as trained; the step.
    Raises:
      UserError: no such checkpoint, or a damaged one.
    """
    averaged, step = load_generator(directory, which)
    found = disk.read_item(Path(directory).absolute(), step, "training")
    return averaged, averaged | {"params": found["g"]["params"]}, _variables(found["d"]), step


def open_averages(directory: str | Path) -> Store:
    """Open (or create) the averages of a run, in its `averages/`: all that are saved are kept."""
    disk.quiet()
    directory = Path(directory).absolute()
    # The checkpoints are saved at the same time, by threads that would take these for their own.
    apart = ocp.options.MultiprocessingOptions(barrier_sync_key_prefix="averages")
    options = ocp.CheckpointManagerOptions(
        cleanup_tmp_directories=True, async_options=disk.AT_ONCE, multiprocessing_options=apart
    )
    return Store(directory, ocp.CheckpointManager(directory, options=options, item_names=("averages", "meta")))


def save_averages(store: Store, state: TrainState) -> None:
    """Begin to save `state.averages`; returns and raises as `save`."""
    step, averages = jax.tree.map(np.asarray, jax.device_get((state.step, state.averages)))
    disk.write(store, int(step), {"averages": averages}, {})


def load_average(directory: str | Path, width: float, step: int | None = None) -> tuple[dict[str, Any], int]:
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
    disk.quiet()
    directory = Path(directory).absolute()
    steps = disk.steps(directory)
    if not steps:
        raise UserError(f"{directory}: the run saved no averages to choose from; train with --posthoc 0.05 0.1")
    step = steps[-1] if step is None else step
    used = [s for s in steps if s <= step] or steps[:1]
    names = sorted(disk.read_item(directory, used[0], "averages"))
    snapshots = [(s, name) for s in used for name in names]
    weights = average.posthoc_weights([(s, float(name)) for s, name in snapshots], min(step, used[-1]), width)
    trees = (tree[name] for tree in (disk.read_item(directory, s, "averages") for s in used) for name in names)
    return average.weighted_sum(trees, weights), min(step, used[-1])


def _score(directory: Path, step: int) -> tuple[float | None, str]:
    """The score of a checkpoint, if it has one, and the metric that it is."""
    try:
        found = disk.meta(directory, step)
        return found.get(SCORE), found.get(BY, "")
    except (OSError, ValueError, AttributeError):  # damaged: no rival for the best
        return None, ""


def _mend_scores(directory: Path) -> None:
    """Orbax reads the score of every checkpoint when it opens a directory, and stops at a damaged one; `meta` has it too."""
    for step in disk.steps(directory):
        path = directory / str(step) / "metrics" / "metrics"
        try:
            whole = isinstance(json.loads(path.read_text())[SCORE], int | float)
        except FileNotFoundError:
            continue
        except (OSError, ValueError, TypeError, KeyError):
            whole = False
        score, by = (None, "") if whole else _score(directory, step)
        if score is not None:
            text = json.dumps({SCORE: score, BY: by}).encode()
            write_whole(path, lambda file, text=text: file.write(text))  # in place of a link, not through it
        elif not whole:
            path.unlink(missing_ok=True)
