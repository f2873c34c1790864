"""Fine-tuning: the first state of a run from trained networks in place of random ones.

Arrays are matched by their paths; one that is missing there, or has another shape (other classes, channels, new grids), keeps
its fresh value. Optimisers, carry, averages and the step start as in any run. `start` reads and checks, before anything is
written; `begin` makes the state.

`freeze` keeps some of them as they were.

Source: Wang et al. 2018, "Transferring GANs", where it pays most to take both networks; Karras et al. 2020 (ADA), whose code
matches arrays by name too; Mo et al. 2020 (FreezeD).
"""

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import linen as nn

from jaxgan import checkpoint, convert, description, game, optim, provenance, restore, weights
from jaxgan.errors import UserError
from jaxgan.layers import base_size
from jaxgan.method import Recipe
from jaxgan.state import TrainState, create
from jaxgan.typing import Array, Tree

FREE = {
    *("classes", "class_dim", "shared_dim", "label_dim", "embed", "hidden", "z_dim", "w_dim", "head", "source_channels"),
    *("width", "max_width", "channel_base", "channel_max", "dtype", "dtype_sizes", "float32_stages", "fused", "clamp"),
    *("group", "group_features", "dropout", "dropout_image", "dropouts", "mixing", "w_average", "magnitude_average"),
    *("level", "spread"),
}
"""Fields that change an array's shape or nothing of it, never which layer has a name or what its numbers mean."""
BY_GRID = {"r3gan": {"channels", "cardinality", "blocks", "expansion"}, "stylegan2": set(), "progan": {"stage"}}
"""Families whose layers are named after their grid, counted from the base: these also fit at another size from the same base, and
with other fields of these. Elsewhere layers are counted, and at another size a name is of another grid."""
ANY_SIZE = {"cyclegan", "gat"}
"""Families of convolutions alone, or of patches at fixed positions, which are the same layers at every size."""
WIDTHS = {"width", "max_width", "channel_base", "channel_max", "channels", "cardinality", "blocks", "expansion"}
"""Fields of how much there is of each layer. Where they differ, what fits are pieces of a network: it would draw noise."""


class Networks(NamedTuple):
    """Trained networks; host arrays."""

    where: str
    """For messages: the path, and the step."""
    generator: dict[str, Any]
    """Its `description.describe`."""
    g: dict[str, Any]
    """{'params': ..., **stats} as trained."""
    ema: dict[str, Any]
    """Averaged parameters."""
    discriminator: dict[str, Any] | None = None
    d: dict[str, Any] | None = None


class Start(NamedTuple):
    """What a run takes from trained networks."""

    arrays: dict[str, dict[str, np.ndarray]]
    """{'g': {path: array}, 'ema': ..., 'd': ...}, those that fit."""
    said: str
    """One line: how many of which network, and what stays fresh."""
    digest: str
    """Of the arrays and their paths, 16 hexadecimal digits."""


def start(init: str, stages: tuple[Any, ...]) -> Start:
    """Read trained networks and find what of them a run can start from.

    Args:
      init: a run directory, for its latest checkpoint, or PATH@best or PATH@STEP; an official network pickle; or a
        .safetensors of `convert.save_safetensors`, a generator alone.
      stages: the run's `settings.Design`s.
    Raises:
      UserError: unreadable, damaged, networks of another kind, or not an array that fits; networks that grow.
    """
    if len(stages) > 1:
        full = base_size(stages[-1].generator.shape)[1]
        said = f"networks that grow begin without most layers that are there; give --first {full} to begin at the full size"
        raise UserError(f"--init {init}: {said}")
    try:
        return fit(read(init), stages[0].generator, stages[0].discriminator)
    except UserError as e:
        raise UserError(f"--init {e}") from None


def read(init: str) -> Networks:
    """The networks at a path, as `start` has it. UserError where there are none, or damaged ones."""
    path, at, which = init.rpartition("@")
    if not (at and (which in ("latest", "best") or which.isdecimal())) or Path(init).exists():
        path, which = init, "latest"
    if Path(path).is_file():
        if path != init:
            raise UserError(f"{init}: a file has no checkpoints to choose from; leave @{which} out")
        return _of_file(path)
    if not Path(path).is_dir():
        raise UserError(f"{init}: there is no such run directory or weight file")
    config = restore.read_config(path)
    averaged, g, d, step = checkpoint.load_players(Path(path) / "checkpoints", which)
    return Networks(f"{path} at step {step}", config["generator"], g, averaged["params"], config["discriminator"], d)


def _of_file(path: str) -> Networks:
    parts = convert.load_parts(path)
    averaged = parts.get("G_ema") or parts.get("G")
    if averaged is None:
        raise UserError(f"{path}: there is no generator in it; it holds {', '.join(parts)}")
    (module, g), (judge, d) = parts.get("G") or averaged, parts.get("D", (None, None))
    return Networks(path, _described(module), g, averaged[1]["params"], judge and _described(judge), d)


def fit(networks: Networks, generator: nn.Module, discriminator: nn.Module) -> Start:
    """What of trained networks has a place in these two. UserError where they are of other kinds, or nothing has."""
    g, d = jax.eval_shape(lambda: game.init(generator, discriminator, 0))
    check(networks.where, "generator", networks.generator, generator)
    arrays = {"g": fitting(g, networks.g), "ema": fitting({"params": g["params"]}, {"params": networks.ema}), "d": {}}
    _check_widths(networks.where, "generator", networks.generator, networks.g, generator, arrays["g"])
    said = [_counted(networks.where, "generator", networks.generator, generator, g, arrays["g"])]
    if networks.d is None:
        said.append("no discriminator there, so it starts at random")
    else:
        check(networks.where, "discriminator", networks.discriminator, discriminator)
        arrays["d"] = fitting(d, networks.d)
        _check_widths(networks.where, "discriminator", networks.discriminator, networks.d, discriminator, arrays["d"])
        said.append(_counted(networks.where, "discriminator", networks.discriminator, discriminator, d, arrays["d"]))
    bad = [f"{who}/{path}" for who, tree in arrays.items() for path, a in tree.items() if not np.isfinite(a).all()]
    if bad:
        raise UserError(f"{networks.where}: {bad[0]} holds NaN or infinite numbers; give other weights")
    return Start(arrays, f"from {networks.where}: {', '.join(said)}", provenance.weights(arrays)[:16])


def check(where: str, who: str, theirs: dict[str, Any], ours: nn.Module) -> None:
    """UserError, which begins with `where`, unless equal paths of two networks are the same layers.

    Args:
      who: generator or discriminator. theirs: a description. ours: the module.
    """
    kinds = [f"{one['family']}.{one['class']}" for one in (theirs, _described(ours))]
    if kinds[0] != kinds[1]:
        raise UserError(f"{where}: the {who} there is {kinds[0]}, and here {kinds[1]}; give a config of that kind")
    by_grid = BY_GRID.get(theirs["family"])
    but = FREE | (by_grid or set()) | {"shape"}
    if who == "discriminator" and not (theirs["fields"].get("classes") and getattr(ours, "classes", 0)):
        but |= {"mapping_layers", "mapping_lr"}  # of labels alone
    wrong = _differences(theirs, ours, but)
    sizes = [tuple(shape[:2]) for shape in (theirs["fields"].get("shape", ours.shape), ours.shape)]
    same = sizes[0] == sizes[1] or theirs["family"] in ANY_SIZE
    if not same and (by_grid is None or len({base_size(size)[0] for size in sizes}) > 1):
        wrong.append("images of {}x{} there and {}x{} here".format(*sizes[0], *sizes[1]))
    if wrong:
        said = "layers of the same name are then not the same layers, so give what it has there"
        raise UserError(f"{where}: the {who} has {', '.join(wrong)}; {said}")


def fitting(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, np.ndarray]:
    """The arrays of trained variables that have a place in a network: the same path and shape.

    Statistics but batch norm's, which are of a layer's input, come with all parameters of their layer or not at all: spectral
    norm would divide a kernel by what another's vectors say of it, which may be nearly 0.

    Args:
      ours: {'params': ..., **stats} of the network, arrays or shapes. theirs: the trained one's.
    Returns:
      {path: array of ours' dtype}, such as 'params/stage0_block0/expand/kernel'.
    """
    ours, theirs = by_path(ours), by_path(theirs)
    fits = {path for path, a in ours.items() if path in theirs and theirs[path].shape == a.shape}
    params = [path for path in ours if path.startswith("params/")]

    def whole(path):
        scope = path.split("/")[1:-1]
        while not (layer := [p for p in params if p.startswith("/".join(["params", *scope, ""]))]):
            scope.pop()
        return fits.issuperset(layer)

    taken = [path for path in ours if path in fits and (path.startswith(("params/", "batch_stats/")) or whole(path))]
    return {path: np.asarray(theirs[path], ours[path].dtype) for path in taken}


def freeze(patterns: tuple[str, ...], stages: tuple[Any, ...]) -> tuple[tuple[Any, ...], str]:
    """The stages with the parameters of some paths left as they are, and one line that says how many.

    Args:
      patterns: paths such as 'd/Block_0*': * is anything, / too. Each must match in one stage at least.
      stages: the run's `settings.Design`s.
    Raises:
      UserError: a pattern that matches nothing, with the layers that there are.
    """
    still = lambda path: any(fnmatchcase(path, pattern) for pattern in patterns)
    made, seen = [], {}
    for stage in stages:
        networks = jax.eval_shape(lambda stage=stage: game.init(stage.generator, stage.discriminator, 0))
        paths = [f"{player}/{path}" for player, tree in zip("gd", networks, strict=True) for path in by_path(tree["params"])]
        tx = {
            player: optim.frozen(tx, lambda path, player=player: still(f"{player}/{path}"))
            if any(still(path) for path in paths if path.startswith(f"{player}/"))
            else tx
            for player, tx in stage.recipe.tx.items()
        }
        made.append(stage._replace(recipe=stage.recipe._replace(tx=tx)))
        seen |= dict.fromkeys(paths)
    for pattern in patterns:
        if not any(fnmatchcase(path, pattern) for path in seen):
            layers = ", ".join(dict.fromkeys("/".join(path.split("/")[:2]) for path in seen))
            raise UserError(f"--freeze {pattern}: no parameter matches; give some of these followed by /*: {layers}")
    counts = [[still(path) for path in seen if path.startswith(player)] for player in "gd"]
    said = [f"{sum(of)} of {len(of)} arrays of {who}" for who, of in zip("GD", counts, strict=True) if any(of)]
    return tuple(made), f"frozen: {', '.join(said)}"


def by_path(tree: Tree) -> dict[str, Any]:
    """{'params/layer/kernel': leaf} of any tree."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def begin(seed: int | Array, g: dict[str, Any], d: dict[str, Any], recipe: Recipe, arrays: dict[str, Any]) -> TrainState:
    """`state.create`, with trained arrays in their places.

    Args:
      seed, g, d, recipe: as there; g and d hold the fresh values.
      arrays: of a `Start`.
    """

    def put(tree, taken):
        name = lambda path: jax.tree_util.keystr(path, simple=True, separator="/")
        return jax.tree_util.tree_map_with_path(lambda path, leaf: taken.get(name(path), leaf), tree)

    state = create(seed, put(g, arrays["g"]), put(d, arrays["d"]), recipe)
    return state.replace(ema=put({"params": g["params"]}, arrays["ema"])["params"])


def _check_widths(
    where: str, who: str, theirs: dict[str, Any], trained: dict[str, Any], ours: nn.Module, taken: dict[str, Any]
) -> None:
    """UserError where more of the trained arrays would fit a network as wide as theirs. A further stage is no other width."""
    a, b = theirs["fields"], _described(ours)["fields"]
    length = lambda value: len(value) if isinstance(value, list) else 0
    wide = {k: a[k] for k in WIDTHS & a.keys() & b.keys() if a[k] != b[k] and length(a[k]) == length(b[k])}
    if not wide:
        return
    fields = {k: tuple(v) if isinstance(v, list) else v for k, v in wide.items()}
    fit = len(fitting(weights.shapes(ours.clone(**fields)), trained))
    if fit > len(taken):
        said = ", ".join(f"{k}={a[k]} there and {b[k]} here" for k in sorted(wide))
        few = f"{len(taken)} of its arrays fit, {fit} would if it had what it has there, and part of a network draws noise"
        options = " ".join(f"--{k.replace('_', '-')} {a[k]}" for k in sorted(wide) if isinstance(a[k], int))
        raise UserError(f"{where}: the {who} has {said}; {few}{f'; where the config has it, give {options}' * bool(options)}")


def _counted(where: str, who: str, theirs: dict[str, Any], module: nn.Module, ours: dict[str, Any], taken: dict[str, Any]) -> str:
    """How many arrays are taken, and some of those that are not; UserError where none is."""
    fresh = [path for path in by_path(ours) if path not in taken]
    if not taken:
        differ = ", ".join(_differences(theirs, module, set())) or "no field, but the arrays"
        raise UserError(f"{where}: no array of the {who} fits this one; they differ in {differ}")
    names = ", ".join(fresh[:3]) + f" and {len(fresh) - 3} more" * (len(fresh) > 3)
    return f"{who} {len(taken)} of {len(taken) + len(fresh)} arrays" + f" (fresh: {names})" * bool(fresh)


def _differences(theirs: dict[str, Any], ours: nn.Module, but: set) -> list[str]:
    """Fields that both have with other values, as 'patch=1 there and 2 here'."""
    a, b = theirs["fields"], _described(ours)["fields"]
    return [f"{k}={a[k]} there and {b[k]} here" for k in b if k in a and k not in but and a[k] != b[k]]


def _described(module: nn.Module) -> dict[str, Any]:
    """`description.describe` as `config.json` has it."""
    return description.as_json(description.describe(module))
