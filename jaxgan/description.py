"""A model as JSON and back, for `config.json` and for files of weights."""

import dataclasses
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from jaxgan.errors import UserError, one_line
from jaxgan.method import Recipe

MODELS = "jaxgan.models."
ELSEWHERE = "module "
"""What a family that is no file of `jaxgan.models` begins with: a module of the same name there is another one."""


def as_json(tree: dict[str, Any]) -> dict[str, Any]:
    """As JSON gives it back; settings and networks from elsewhere may have fields of any type."""
    return json.loads(json.dumps(tree, default=repr))


def describe(module: nn.Module) -> dict[str, Any]:
    """A model as JSON: its family (of a model from elsewhere its module), class and fields. The inverse of `build`.
    Initialisers are left out: the parameters are saved."""
    fields = {}
    for field in dataclasses.fields(module):
        value = getattr(module, field.name)
        if field.name == "dtype":
            fields[field.name] = jnp.dtype(value).name
        elif field.name not in ("parent", "name") and not any(map(callable, value if isinstance(value, tuple) else (value,))):
            fields[field.name] = value
    return {"family": _family(type(module).__module__), "class": type(module).__name__, "fields": fields}


def is_ours(module: nn.Module) -> bool:
    """Whether a model is of `jaxgan.models`."""
    return type(module).__module__.startswith(MODELS)


def _family(module: str) -> str:
    """Of a script that is run, its name as another would import it."""
    main = sys.modules["__main__"]
    if module == "__main__" and (spec := getattr(main, "__spec__", None)):
        module = spec.name
    elif module == "__main__" and (file := getattr(main, "__file__", None)):
        module = Path(file).stem
    return module.removeprefix(MODELS) if module.startswith(MODELS) else ELSEWHERE + module


def build(description: dict[str, Any], load: str = "jaxgan.load(run, generator={})") -> nn.Module:
    """A model from its description: of `jaxgan.models`, or of a module that is imported already. load: what takes any class."""
    try:
        cls = _class_of(description["family"], description["class"], load)
        ours = cls.__module__.startswith(MODELS)  # whose functions are their defaults
        return _made(cls, description["fields"]) if ours else of_class(cls, description)
    except (LookupError, TypeError, ValueError, AttributeError) as e:
        if isinstance(e, UserError):
            raise
        raise UserError(
            f"the network that is described cannot be made ({one_line(e, 100)}); was it of another version?"
        ) from None


def of_recipe(recipe: Recipe) -> dict[str, str]:
    """What of a recipe is data, as JSON: its terms by name, with their weights and intervals, and what it carries. Not what the
    terms and the optimisers compute."""
    number = lambda value: "scheduled" if callable(value) else f"{float(value):g}"
    each = lambda t: f"{number(t.weight)} {t.name}" + f" every {t.every}" * (t.every > 1) + f" of 1/{t.share}" * (t.share > 1)
    said = {}
    for i, turn in enumerate(recipe.turns, 1):
        real = f", on slots {turn.slots}" + f" with {turn.extra}" * bool(turn.extra)
        said |= {f"turn {i} of {phase.player}": " + ".join(map(each, phase.terms)) + real for phase in turn.phases}
    return said | {"ema_kimg": number(recipe.ema_kimg), "carry": ", ".join(sorted(recipe.carry))}


def of_class(cls: type[nn.Module], description: dict[str, Any]) -> nn.Module:
    """A model of this class with the fields described. UserError if one of its fields is not: `describe` leaves out functions."""
    left_out = sorted({f.name for f in dataclasses.fields(cls)} - {"parent", "name", *description["fields"]})
    if left_out:
        raise UserError(f"{cls.__name__}: what its {', '.join(left_out)} was is not known here; give the module, not the class")
    return _made(cls, description["fields"])


def _made(cls: type[nn.Module], fields: dict[str, Any]) -> nn.Module:
    tuples = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
    if "dtype" in tuples:
        tuples["dtype"] = jnp.dtype(tuples["dtype"])
    return cls(**tuples)


def _class_of(family: str, kind: str, load: str) -> type[nn.Module]:
    """The class of one of our models, or one that is there already: nothing from elsewhere is imported, whatever a description
    says."""
    own = family.removeprefix(ELSEWHERE)
    names = [name for name in (own, "__main__") if _family(name) == ELSEWHERE + own]
    if family.isidentifier() and importlib.util.find_spec(MODELS + family):
        importlib.import_module(MODELS + family)
        names = [MODELS + family]
    for name in names:
        cls = getattr(sys.modules.get(name), kind, None)
        if isinstance(cls, type) and issubclass(cls, nn.Module) and cls.__module__ == name:
            return cls
    first = f"import {own} first, or " * (own != "__main__")  # of a notebook nothing can be imported
    raise UserError(f"this version of jaxgan has no model {own}.{kind}; for your own model, {first}use `{load.format(kind)}`")
