"""Progressive growing: when the networks of ProGAN grow, and the state after it. Pure functions.

A run that grows goes through stages: the first stage alone, then for each next one a fade from the stage below and a time at
full strength. Both are functions of the images shown, so a run can stop and resume anywhere.
"""

import jax
import jax.numpy as jnp

from jaxgan.errors import UserError
from jaxgan.models.progan import mean, repeat
from jaxgan.state import TrainState
from jaxgan.typing import AnyArray, Array, ArrayLike, Scalar, Tree


def stages(
    kimg: float, doublings: int, *, first: int = 0, stable_kimg: float = 600.0, fade_kimg: float = 600.0
) -> tuple[int, float]:
    """The stage and the fade at a time: `first` for stable_kimg, then for each next stage fade_kimg and stable_kimg.

    Args:
      kimg: thousands of images shown, a number (not traced: the stage decides what is compiled).
      doublings: the last stage.
      first: the first one.
      stable_kimg: length of a stage at full strength, >= 0. fade_kimg: length of a fade, > 0.
    Returns:
      (stage, int in [first, doublings]; alpha, float in [0, 1]). alpha is 0 when a stage begins.
    Raises:
      UserError: a first stage beyond the last, or lengths that are not such.
    Source: Karras et al. 2018, appendix A.1: 800 kimg each; the authors' code: 600 kimg each.
    """
    if not 0 <= first <= doublings:
        raise UserError(f"first={first}: the images have the stages 0 to {doublings}")
    if stable_kimg < 0 or fade_kimg <= 0:
        raise UserError(f"stable_kimg={stable_kimg}, fade_kimg={fade_kimg}: the first must be 0 or more, the second above 0")
    stage = first
    while stage < doublings and kimg >= fade_start(stage + 1, first, stable_kimg, fade_kimg):
        stage += 1
    return stage, float(alpha(kimg, stage, first=first, stable_kimg=stable_kimg, fade_kimg=fade_kimg))


def fade_start(stage: int, first: int = 0, stable_kimg: float = 600.0, fade_kimg: float = 600.0) -> float:
    """kimg at which a stage after the first begins to fade in; the arguments as `stages`."""
    return stable_kimg + (stage - first - 1) * (stable_kimg + fade_kimg)


def alpha(kimg: ArrayLike, stage: int, *, first: int = 0, stable_kimg: float = 600.0, fade_kimg: float = 600.0) -> Array:
    """The fade of a stage at kimg [], which may be traced: float32 [] in [0, 1]. Always 1 at the first stage."""
    if stage == first:
        return jnp.float32(1.0)
    since = jnp.asarray(kimg, jnp.float32) - fade_start(stage, first, stable_kimg, fade_kimg)
    return jnp.clip(since / fade_kimg, 0.0, 1.0)


def fade_reals(x: AnyArray, from_full: int, alpha: Scalar) -> Array:
    """Real images as the fading generator could make them: alpha x + (1 - alpha) (x at half the stage's size, repeated).

    It is what D gets in place of the real images, before any augmentation; generated images it gets as they are.

    Args:
      x: [..., H, W, C], of the full size, float.
      from_full: halvings between the full size and the stage's: doublings - stage.
      alpha: [] in [0, 1].
    Returns:
      [..., H, W, C]. (D averages the detail finer than its stage away by itself.)
    Source: Karras et al. 2018, appendix A.1; the first stage, which does not fade, needs none of this.
    """
    alpha = jnp.asarray(alpha, x.dtype)
    return alpha * x + (1 - alpha) * repeat(mean(x, from_full + 1), from_full + 1)


def grow(old: Tree, new: Tree) -> Tree:
    """The tree `new` with every array of `old` that has a place there: the same path, shape and dtype.

    Args:
      old, new: any two trees, such as the parameters of two stages.
    Returns:
      A tree of new's structure.
    """
    has = {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(old)}

    def choose(path, leaf):
        other = has.get(jax.tree_util.keystr(path))
        return leaf if other is None or (other.shape, other.dtype) != (leaf.shape, leaf.dtype) else other

    return jax.tree_util.tree_map_with_path(choose, new)


def grow_state(state: TrainState, fresh: TrainState) -> TrainState:
    """The training state of the next stage: what the networks have in common is kept, new layers are as in `fresh`.

    The optimisers' means are kept for the arrays that stay; new ones start at zero. Their step count starts again: Adam's bias
    correction is then right for the new arrays, and for the old ones it only shortens the first steps; with the old count the
    new arrays' first steps would be 1 / sqrt(1 - b2) times too long. (The authors' code takes fresh optimisers.)

    Args:
      state: the `TrainState` so far.
      fresh: a new one of the next stage (`state.create` with the larger networks).
    Returns:
      A TrainState with the step, key, carry and weight averages of `state`.
    """
    grown = grow(state, fresh)

    def optimiser(kept, new):
        at_start = lambda path: getattr(path[-1], "name", None) == "count"
        return jax.tree_util.tree_map_with_path(lambda path, k, n: n if at_start(path) else k, kept, new)

    players = {name: (getattr(grown, name), getattr(fresh, name)) for name in ("g", "d")}
    return grown.replace(**{name: kept.replace(opt=optimiser(kept.opt, new.opt)) for name, (kept, new) in players.items()})
