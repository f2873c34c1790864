"""Rematerialisation: a network's parts keep their inputs alone for the backward pass, which computes what was inside again."""

from collections.abc import Callable
from typing import Any

import jax
from flax import linen as nn


def forgetful(next_fun: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], context: Any) -> Any:
    """For `nn.intercept_methods`: `jax.checkpoint` around each part that a network calls, such as a residual block.

    The parts are the network's own submodules, not theirs. Outputs, statistics and parameters' names do not change.
    """
    module = context.module
    if context.method_name != "__call__" or len(module.path) != 1:
        return next_fun(*args, **kwargs)
    leaves, tree = jax.tree.flatten((args, kwargs))
    places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, jax.Array)]  # the others are static: train, axis, ...
    inside = context.orig_method.func  # takes the module that the lifted transform gives it

    def part(module, *arrays):
        given = dict(zip(places, arrays, strict=True))
        args, kwargs = tree.unflatten([given.get(i, leaf) for i, leaf in enumerate(leaves)])
        return inside(module, *args, **kwargs)

    return nn.remat(part)(module, *(leaves[i] for i in places))
