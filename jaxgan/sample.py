"""Images from a trained generator."""

import dataclasses
import importlib
import json
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxgan import checkpoint
from jaxgan.errors import UserError
from jaxgan.game import normal

CHUNK = 64
"""Images the generator makes at once. Always this many: image i of a seed then is the same to the bit whatever n is."""


@partial(jax.jit, static_argnums=0)
def _generate(generator: nn.Module, variables, key, first, label, psi):
    """uint8 [CHUNK, H, W, C]: the images first, first + 1, ... of the key; label int32 [CHUNK], -1 draws one."""
    keys = jax.vmap(lambda i: jax.random.split(jax.random.fold_in(key, i), 3))(first + jnp.arange(CHUNK))
    z = psi * normal(keys[:, 0], generator.z_dim)
    c = None
    if generator.classes:
        drawn = jax.vmap(lambda k: jax.random.randint(k, (), 0, generator.classes))(keys[:, 1])
        c = jnp.where(label < 0, drawn, label)
    x = generator.apply(variables, z, c, keys=keys[:, 2], train=False)
    return jnp.clip(jnp.round((x.astype(jnp.float32) + 1) * 127.5), 0, 255).astype(jnp.uint8)


def sample(generator: nn.Module, variables, n: int, *, seed: int = 0, label=None, psi: float = 1.0) -> np.ndarray:
    """n images of a generator.

    Args:
      generator: a module of `jaxgan.models`.
      variables: {'params': ..., **stats}.
      n: how many, at least 1.
      seed: image i is a function of (seed, i, its label, psi), whatever n is.
      label: one class or one for each image, int or [n]; None draws them; only for generators with classes.
      psi: truncation: scales z; 1 is the model's distribution, less is nearer to its middle.
    Returns:
      uint8 [n, H, W, C].
    Raises:
      UserError: n < 1, psi < 0, or a label that the generator does not have.
    """
    if n < 1:
        raise UserError(f"n is {n}; ask for at least one image")
    if psi < 0:
        raise UserError(f"psi is {psi}; it must be at least 0")
    labels = _labels(label, n, generator.classes)
    key, out = jax.random.key(seed), []
    for i in range(0, n, CHUNK):
        chunk = np.resize(labels[i : i + CHUNK], CHUNK)
        out.append(_generate(generator, variables, key, jnp.int32(i), chunk, jnp.float32(psi)))
    return np.concatenate([np.asarray(x) for x in out])[:n]


def _labels(label, n: int, classes: int) -> np.ndarray:
    if label is None:
        return np.full(n, -1, np.int32)
    if not classes:
        raise UserError(f"label {label}: this generator was trained without labels")
    labels = np.asarray(label)
    if labels.shape not in ((), (n,)) or not np.issubdtype(labels.dtype, np.integer):
        raise UserError(f"label must be one class or {n}, as integers; it is {labels.dtype} of shape {labels.shape}")
    if labels.min() < 0 or labels.max() >= classes:
        raise UserError(f"label {label}: the classes are 0 to {classes - 1}")
    return np.broadcast_to(labels, n).astype(np.int32)


def describe(module: nn.Module) -> dict[str, Any]:
    """A model as JSON: its family, class and fields. The inverse of `build`."""
    fields = {}
    for field in dataclasses.fields(module):
        value = getattr(module, field.name)
        if field.name == "dtype":
            fields[field.name] = jnp.dtype(value).name
        elif field.name not in ("parent", "name"):
            fields[field.name] = value
    kind = type(module)
    return {"family": kind.__module__.rpartition(".")[2], "class": kind.__name__, "fields": fields}


def build(description: dict[str, Any]) -> nn.Module:
    """A model from its description; only models of `jaxgan.models` are made."""
    family, kind = description["family"], description["class"]
    try:
        if not family.isidentifier():
            raise ImportError
        cls = getattr(importlib.import_module(f"jaxgan.models.{family}"), kind)
    except (ImportError, AttributeError):
        raise UserError(f"this version of jaxgan has no model {family}.{kind}") from None
    tuples = {k: tuple(v) if isinstance(v, list) else v for k, v in description["fields"].items()}
    if "dtype" in tuples:
        tuples["dtype"] = jnp.dtype(tuples["dtype"])
    return cls(**tuples)


class Trained(NamedTuple):
    """A trained generator, ready to sample; needs no data set."""

    generator: nn.Module
    variables: dict
    config: dict
    """What `config.json` says of the run."""
    step: int

    def sample(self, n: int, *, seed: int = 0, label=None, psi: float = 1.0) -> np.ndarray:
        """uint8 [n, H, W, C]; see `jaxgan.sample.sample`."""
        return sample(self.generator, self.variables, n, seed=seed, label=label, psi=psi)


def load(run: str | Path, *, checkpoint_step: str | int = "latest") -> Trained:
    """The averaged generator of a run directory.

    Args:
      run: the run directory.
      checkpoint_step: 'latest', 'best' or a step.
    Raises:
      UserError: not a run directory, no checkpoint yet, or a damaged one.
    """
    config = read_config(run)
    variables, step = checkpoint.load_generator(Path(run) / "checkpoints", checkpoint_step)
    return Trained(build(config["generator"]), jax.tree.map(jnp.asarray, variables), config, step)


def read_config(run: str | Path) -> dict:
    """The `config.json` of a run directory. Raises UserError if it is not one."""
    path = Path(run) / "config.json"
    if not Path(run).exists():
        raise UserError(f"{run}: there is no such run directory")
    try:
        config = json.loads(path.read_text())
        if not isinstance(config, dict) or not {"jaxgan", "generator"} <= config.keys():
            raise ValueError
        return config
    except (OSError, ValueError):
        raise UserError(f"{run}: not a run directory of jaxgan (no readable config.json of ours in it)") from None
