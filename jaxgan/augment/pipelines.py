"""Augmentations by name, composed: neighbouring affine ones are merged into one resample."""

import inspect
import itertools
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from jaxgan.augment.ada_pipe import ada
from jaxgan.augment.attention import attentive_crop, attentive_cutout
from jaxgan.augment.diffaug import brightness, color, contrast, cutout, saturation, translation
from jaxgan.augment.draws import prepare
from jaxgan.augment.geometry import DRAWS, apply_affine
from jaxgan.errors import UserError, nearest
from jaxgan.typing import Augmentation

PLAIN = {
    "brightness": brightness,
    "saturation": saturation,
    "contrast": contrast,
    "color": color,
    "translation": translation,
    "cutout": cutout,
    "ada": ada,
}
ATTENTIVE = {"attentive_cutout": attentive_cutout, "attentive_crop": attentive_crop}
NAMES = (*DRAWS, *PLAIN, *ATTENTIVE)


def pipeline(names: Sequence[str], *, fill: str | float = "reflect", **options: dict[str, Any] | None) -> Augmentation:
    """Composes augmentations: pipeline(("flip", "rotate"), rotate={"max_degrees": 10}) -> augment(key, x, p).

    They are applied in the order of the names, each drawn with probability p. What one draws for an image does not
    depend on which others are on.

    Args:
      names: of `NAMES`, none twice; empty is the identity. Attentive ones come first (the map is of the unaugmented
        image), the crop last of them.
      fill: what the affine ones put outside: "reflect", "edge", "background" or a number (see `affine`).
      **options: for each name, a dict of the keyword arguments of the function of that name.
    Returns:
      (key, x, p, saliency=None) -> x', pure; key is one typed key or [B] of them. Attentive ones need the saliency map.
    Raises:
      UserError: unknown or repeated name, wrong order, options of a name that is not on, unknown option.
    """
    if isinstance(names, str):
        raise UserError(f'augmentations are a tuple of names, such as ("flip",), not the text "{names}"')
    names = tuple(names)
    _check(names, options)
    together = lambda name: name in DRAWS or name  # neighbouring affine ones, and each other by itself
    runs = [[(name, dict(options.get(name) or {})) for name in run] for _, run in itertools.groupby(names, together)]

    def augment(key, x, p, saliency=None):
        keys, _, p = prepare(key, x, p)
        x = jnp.asarray(x)
        for steps in runs:
            name, kwargs = steps[0]
            if name in DRAWS:
                x = apply_affine(keys, x, p, steps, fill)
            elif name in PLAIN:
                x = PLAIN[name](keys, x, p, **kwargs)
            elif saliency is None:
                raise ValueError(f"{name} needs a saliency map: call augment(key, x, p, saliency(critic, x))")
            else:
                x = ATTENTIVE[name](keys, x, saliency, p, **kwargs)
        return x

    return augment


def _check(names, options):
    for name in (*names, *options):
        if name not in NAMES:
            raise UserError(f"there is no augmentation {name!r}{nearest(str(name), NAMES)}; there are {', '.join(NAMES)}")
    for name in names:
        if names.count(name) > 1:
            raise UserError(f'augmentation "{name}" is named twice: name each once')
    attentive = tuple(name for name in ATTENTIVE if name in names)
    if names[: len(attentive)] != attentive:
        raise UserError(f"attentive augmentations must come first, in this order: {', '.join(attentive)}")
    for name, given in options.items():
        if name not in names:
            raise UserError(f'options for augmentation "{name}", which is not among {", ".join(names) or "(none)"}')
        function = {**DRAWS, **PLAIN, **ATTENTIVE}[name]
        if not isinstance(given, dict | None):
            raise UserError(f'options of "{name}" are a dict such as {{"max_degrees": 10}}, not {given!r}')
        known = [k for k, v in inspect.signature(function).parameters.items() if v.kind is v.KEYWORD_ONLY]
        for option in given or {}:
            if option not in known:
                raise UserError(f'augmentation "{name}" has no option "{option}"; it has: {", ".join(known) or "none"}')
