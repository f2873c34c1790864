"""The training state: one immutable pytree of arrays."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct

from jaxgan.method import Recipe
from jaxgan.typing import Tree


class Player(struct.PyTreeNode):
    """A network in training: arrays only, no functions."""

    params: Tree
    stats: Tree
    """Every collection but the parameters, by its name: BatchNorm statistics, spectral vectors, ..."""
    opt: Tree

    def __repr__(self) -> str:  # without pages of arrays
        return f"Player({sum(getattr(leaf, 'size', 1) for leaf in jax.tree.leaves(self.params)):,} parameters)"


class TrainState(struct.PyTreeNode):
    """Everything that a run is at one step. With the config it determines all that follows."""

    step: jax.Array
    """int32 [], updates done. kimg is derived from it, never accumulated."""
    key: jax.Array
    """uint32 [2], constant: `jax.random.key_data` of the run's key, of which step k draws from fold_in(key, k). As numbers,
    since pmap over several processes would fetch a typed key to the host, and so wait for the step before, at every call."""
    g: Player
    d: Player
    ema: Tree
    """Moving average of g.params, for sampling."""
    averages: dict[str, Tree]
    """Power-function averages of g.params by their relative width ('0.05'), to choose the length of `ema` afterwards."""
    carry: dict[str, Tree]
    """What a recipe's terms keep between steps ({'p': [], 'pl_mean': [], ...}), the same on every device."""

    def __repr__(self) -> str:
        return f"TrainState(step={self.step!r}, g={self.g!r}, d={self.d!r})"


def player(variables: dict[str, Tree], tx: optax.GradientTransformation) -> Player:
    """A player at step 0 from linen's variables `{'params': ..., 'batch_stats': ..., ...}` and its optimiser."""
    stats = {name: tree for name, tree in variables.items() if name != "params"}
    return Player(params=variables["params"], stats=stats, opt=tx.init(variables["params"]))


def create(seed: int | jax.Array, g: dict[str, Tree], d: dict[str, Tree], recipe: Recipe) -> TrainState:
    """The state before the first step.

    Args:
      seed: the run's seed.
      g, d: linen variables of the generator and the discriminator.
      recipe: a `jaxgan.method.Recipe`; its `tx` makes the optimisers' states, its `carry` is copied: numbers as float32,
        arrays as they are.
    """
    number = lambda a: jnp.float32(a) if getattr(a, "dtype", np.float64) == np.float64 else jnp.array(a)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        key=jax.random.key_data(jax.random.key(seed)),
        g=player(g, recipe.tx["g"]),
        d=player(d, recipe.tx["d"]),
        ema=jax.tree.map(jnp.array, g["params"]),  # a copy: the step donates both
        averages={f"{width:g}": jax.tree.map(jnp.array, g["params"]) for width in recipe.posthoc},
        carry=jax.tree.map(number, dict(recipe.carry)),
    )


def generator_variables(state: TrainState) -> dict[str, Tree]:
    """The variables to sample with: averaged parameters and the generator's statistics."""
    return {"params": state.ema, **state.g.stats}
