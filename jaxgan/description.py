"""A model as JSON and back, for `config.json` and for files of weights."""

import dataclasses
import importlib
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from jaxgan.errors import UserError

MODELS = "jaxgan.models."


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
    kind = type(module)
    return {"family": kind.__module__.removeprefix(MODELS), "class": kind.__name__, "fields": fields}


def build(description: dict[str, Any]) -> nn.Module:
    """A model from its description; only models of `jaxgan.models` are made."""
    return _made(_class_of(description["family"], description["class"]), description["fields"])


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


def _class_of(family: str, kind: str) -> type[nn.Module]:
    """The class of one of our models: nothing from elsewhere is imported, whatever a description says."""
    try:
        if not family.isidentifier():
            raise ImportError
        cls = getattr(importlib.import_module(MODELS + family), kind)
        if not issubclass(cls, nn.Module) or cls.__module__ != MODELS + family:
            raise ImportError
    except (ImportError, AttributeError, TypeError):
        raise UserError(
            f"this version of jaxgan has no model {family}.{kind}; for your own model, use `jaxgan.load(run, generator={kind})`"
        ) from None
    return cls
