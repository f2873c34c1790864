"""Names in the signatures of the library, for signatures of your own: arrays, trees, schedules, critics, augmentations."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import jax
import numpy as np
from jax.typing import ArrayLike

__all__ = [
    "AnyArray",
    "Array",
    "ArrayLike",
    "Augmentation",
    "Critic",
    "Judgement",
    "Label",
    "Numbers",
    "Scalar",
    "ScalarOrSchedule",
    "Schedule",
    "Tree",
    "Variables",
]

Array = jax.Array
"""An array of JAX, or one that is traced."""
AnyArray = jax.Array | np.ndarray
"""An array of JAX or of NumPy. Where a number will do too, it is JAX's `ArrayLike`."""
Tree = Any
"""What JAX calls a pytree: parameters, statistics, states."""
Variables = Mapping[str, Tree]
"""Linen's, of one network: {'params': ..., **stats}."""
Schedule = Callable[[ArrayLike], Array]
"""kimg [] -> value []."""
Scalar = float | np.floating | Array
"""A number, or an array []."""
ScalarOrSchedule = Scalar | Callable[[Any], ArrayLike]
"""A number, or a function kimg [] -> number []."""
Critic = Callable[[Array], Array]
"""Images [B, ...] -> logits [B]."""
Judgement = Array | tuple[Array, Array | None, Tree]
"""What a discriminator returns: logits, or (logits, class logits or None, features or None), as in `method.Verdict`."""
Label = ArrayLike | Sequence[Any]
"""A class, by number or by name, one for each image, or vectors."""
Numbers = int | Sequence[int] | np.ndarray
"""How many images, or the numbers of those that are meant."""


class Augmentation(Protocol):
    """(key, x [B, H, W, C], p []) -> x'; attentive ones also need a saliency map [B, H, W]."""

    def __call__(self, key: Array, x: AnyArray, p: Scalar, saliency: AnyArray | None = None) -> Array: ...
