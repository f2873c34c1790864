"""What the units of a generator do, by intervention: a channel of a layer is set to a value, and the images are compared.

This is causal: it shows what the images would be without the unit, not what correlates with it. It works on any generator, as
linen allows the output of a layer to be replaced (`nn.intercept_methods`). A layer here is a module that returns one array
[B, H, W, C]; its C channels are the units.

Source: Bau et al. 2019 (GAN dissection), section 3.2, without its segmentation network: the effect is measured on the pixels.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxgan import latents
from jaxgan.errors import UserError, nearest
from jaxgan.latents import Latents
from jaxgan.typing import Variables

TOP = 0.99
"""An inserted unit is set to this quantile of its values over the images and positions."""


DO = ("zero", "mean", "insert")
"""What is done to a unit."""


class Effects(NamedTuple):
    """What the units of a layer do to images, as host arrays, one row per unit."""

    size: np.ndarray
    """float32 [C]: mean absolute difference of a pixel with and without the unit, in units of the images ([-1, 1])."""
    maps: np.ndarray
    """float32 [C, H, W, channels]: the mean over images of with minus without, its average causal effect at each pixel."""


def layers(generator: nn.Module, variables: Variables, codes: Latents) -> dict[str, tuple[int, int, int]]:
    """The layers that have units, in order of computation: {'Block_0/Conv_1': (H, W, C), ...}; no image is made."""
    found = {}

    def note(name, out):
        found[name] = out.shape[1:]
        return out

    jax.eval_shape(partial(_images, generator, note), variables, *_arrays(generator, codes.take(slice(0, 1))))
    return found


def activations(generator: nn.Module, variables: Variables, codes: Latents, layer: str) -> np.ndarray:
    """float32 [n, H, W, C]: the output of a layer for the images of n latents.

    Raises:
      UserError: a layer that the generator does not have.
    """
    _check(generator, variables, codes, layer)
    return np.asarray(_seen(generator, layer, variables, *_arrays(generator, codes)))


def intervene(generator: nn.Module, variables: Variables, codes: Latents, layer: str, value: Any) -> np.ndarray:
    """The images of latents with units of a layer set to given values, the same at every position.

    Args:
      generator, variables, codes: as `latents.images`; n latents, all at once on one device.
      layer: of `layers`.
      value: float [C], or one for each image, [n, C]; NaN leaves a unit as it is.
    Returns:
      float32 [n, H, W, channels], about [-1, 1].
    Raises:
      UserError: a layer that the generator does not have, or values of another shape.
    """
    units = _check(generator, variables, codes, layer)[2]
    value = np.asarray(value, np.float32)
    if value.shape not in ((units,), (len(codes.code), units)):
        raise UserError(f"value: the layer {layer} has {units} units, but the values have shape {list(value.shape)}")
    value = np.broadcast_to(value, (len(codes.code), units))
    return np.asarray(_changed(generator, layer, variables, value, *_arrays(generator, codes)))


def contrast(generator: nn.Module, variables: Variables, codes: Latents, layer: str, do: str) -> tuple[np.ndarray, np.ndarray]:
    """The values [C] of a layer's units with and without the unit, for each `do` of `unit_effects`; NaN leaves them unchanged.

    Raises:
      UserError: a layer that the generator does not have, or another `do`.
    """
    if do not in DO:
        raise UserError(f"do is {do!r}; it is one of {', '.join(DO)}")
    seen = activations(generator, variables, codes, layer)
    seen = seen.reshape(-1, seen.shape[-1])
    as_it_is, zero = np.full(seen.shape[1], np.nan, np.float32), np.zeros(seen.shape[1], np.float32)
    if do == "insert":
        return np.quantile(seen, TOP, axis=0).astype(np.float32), zero
    return as_it_is, seen.mean(0) if do == "mean" else zero


def unit_effects(
    generator: nn.Module,
    variables: Variables,
    codes: Latents,
    layer: str,
    *,
    do: str = "zero",
    units: Sequence[int] | np.ndarray | None = None,
) -> Effects:
    """What each unit of a layer does to the images of some latents.

    Args:
      generator, variables, codes, layer: as `intervene`.
      do: of `DO`: what is compared, with and without. 'zero': the unmodified images and those with the unit at 0. 'mean': the
        unmodified ones and those with it at its mean over images and positions, which removes only its variation. 'insert':
        those with it at its 99 % quantile everywhere and those with it at 0 (the paper's average causal effect).
      units: indices, integers [k]; None for all. One pass through the network for each (two for 'insert').
    Returns:
      `Effects` with a row for each of `units`.
    Raises:
      UserError: a layer or units that the generator does not have, or another `do`.
    """
    high, low = contrast(generator, variables, codes, layer, do)
    units = list(range(len(low)) if units is None else units)
    if not units or min(units) < 0 or max(units) >= len(low):
        raise UserError(f"units {units}: the layer {layer} has units 0 to {len(low) - 1}")
    arrays = _arrays(generator, codes)
    compare = partial(_compared, generator, layer, variables)
    found = []
    for unit in units:
        only = np.arange(len(low)) == unit
        found.append(compare(*(np.where(only, value, np.nan).astype(np.float32) for value in (high, low)), *arrays))
    size, maps = zip(*jax.device_get(found), strict=True)
    return Effects(np.stack(size), np.stack(maps))


def _check(generator, variables, codes, layer):
    """The layer's (H, W, C)."""
    found = layers(generator, variables, codes)
    if layer not in found:
        raise UserError(f"layer {layer!r}: {latents.kind(generator)} has {', '.join(found)}{nearest(layer, found)}")
    return found[layer]


def _arrays(generator, codes):
    return codes.code, codes.c if generator.classes else None, codes.keys


def _images(generator, see, variables, code, c, keys):
    """The images of latents, where a layer's output is what `see(its name, output)` makes of it."""

    def intercept(next_fun, args, kwargs, context):
        out, name = next_fun(*args, **kwargs), "/".join(context.module.path)
        has_units = name and context.method_name == "__call__" and getattr(out, "ndim", 0) == 4  # and is no part's helper
        return see(name, out) if has_units else out

    with nn.intercept_methods(intercept):
        return latents.render(generator, variables, code, c, jax.random.wrap_key_data(keys))


def _with_values(generator, layer, variables, value, *arrays):
    """The images with the units of a layer at `value` [C] or [B, C] where that is not NaN."""

    def replace(name, out):
        if name != layer:
            return out
        put = jnp.broadcast_to(value, (out.shape[0], out.shape[-1]))[:, None, None]
        return jnp.where(jnp.isnan(put), out, put.astype(out.dtype))

    return _images(generator, replace, variables, *arrays)


_changed = jax.jit(_with_values, static_argnums=(0, 1))


@partial(jax.jit, static_argnums=(0, 1))
def _compared(generator, layer, variables, high, low, *arrays):
    """Size [] and map [H, W, channels] of the difference between the images under `high` and under `low`."""
    images = partial(_with_values, generator, layer, variables)
    difference = images(high, *arrays) - images(low, *arrays)
    return jnp.mean(jnp.abs(difference)), jnp.mean(difference, axis=0)


@partial(jax.jit, static_argnums=(0, 1))
def _seen(generator, layer, variables, *arrays):
    """What a layer gives, [B, H, W, C]."""
    kept = {}

    def keep(name, out):
        kept[name] = out
        return out

    _images(generator, keep, variables, *arrays)
    return kept[layer].astype(jnp.float32)
