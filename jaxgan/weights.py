"""The variables that a model has, and whether given ones are they."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxgan.errors import UserError


def example(module: nn.Module) -> tuple[jax.Array, jax.Array | None]:
    """What a model is called with for one image, all zero: a latent, source or image; and labels, a source or None."""
    c = jnp.zeros(1, jnp.int32) if getattr(module, "classes", 0) else None
    if channels := getattr(module, "source_channels", 0):
        c = jnp.zeros((1, *module.shape[:2], channels), jnp.float32)
    if hasattr(module, "z_dim"):
        return (jnp.zeros((1, module.z_dim), jnp.float32), c) if module.z_dim else (c, None)
    return jnp.zeros((1, *module.shape), jnp.float32), c


def shapes(module: nn.Module) -> dict[str, Any]:
    """{'params': ..., **stats} of a model of `jaxgan.models` as shapes and dtypes; nothing is computed."""
    keys = jax.random.split(jax.random.key(0), 1)
    # The example too is never made: a file may claim any size.
    return dict(jax.eval_shape(lambda: module.init(jax.random.key(0), *example(module), keys=keys)))


def check(module: nn.Module, variables: dict[str, Any], where: str) -> None:
    """Raises UserError, which begins with `where`, unless the variables have the names and shapes of the model's."""
    ours, theirs = (dict(jax.tree_util.tree_leaves_with_path(tree)) for tree in (shapes(module), variables))
    for path in [*ours, *theirs]:
        need, got = (tree[path].shape if path in tree else None for tree in (ours, theirs))
        if need != got:
            name = "/".join(str(entry.key) for entry in path)
            said = "is missing" if got is None else f"has the shape {got}"
            raise UserError(f"{where}: {name} {said}; {type(module).__name__} of {module.shape} needs {need or 'no such array'}")
