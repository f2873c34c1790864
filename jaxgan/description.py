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
    family, kind = description["family"], description["class"]
    try:
        if not family.isidentifier():
            raise ImportError
        cls = getattr(importlib.import_module(MODELS + family), kind)
        if not issubclass(cls, nn.Module) or cls.__module__ != MODELS + family:
            raise ImportError
    except (ImportError, AttributeError, TypeError):
        raise UserError(
            f"this version of jaxgan has no model {family}.{kind}; for your own model, use `jaxgan.load(run, generator=module)`"
        ) from None
    tuples = {k: tuple(v) if isinstance(v, list) else v for k, v in description["fields"].items()}
    if "dtype" in tuples:
        tuples["dtype"] = jnp.dtype(tuples["dtype"])
    return cls(**tuples)
