"""Generators and discriminators from files: official checkpoints, and safetensors both ways. Nothing in a file is run.

`load(path)` gives (module, variables) of any of them, so that `module.apply(variables, z, c)` makes images:
- network pickles of R3GAN, and of StyleGAN2 and StyleGAN3 as stylegan2-ada-pytorch and stylegan3 write them;
- safetensors files that `save_safetensors` wrote: the arrays, and in the header which model they belong to.
"""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxgan import convert_r3gan, convert_stylegan2, convert_stylegan3, tensors, weights
from jaxgan.description import build, describe
from jaxgan.errors import UserError
from jaxgan.typing import Variables

KEY = "jaxgan"
"""Of the header's text that describes the model."""
KNOWN = "give a network of R3GAN's, stylegan2-ada-pytorch's or stylegan3's training code"


def load(path: str | os.PathLike[str], *, part: str = "G_ema") -> tuple[nn.Module, dict[str, Any]]:
    """The model in a file, whichever kind of file it is.

    Args:
      path: an official network pickle, or a safetensors file of `save_safetensors`.
      part: which network of a pickle; see `load_official`.
    Returns:
      (module, variables): a linen module of `jaxgan.models` and {'params': ..., **stats}, NumPy arrays.
    Raises:
      UserError: as `load_official` and `load_safetensors`.
    """
    return load_safetensors(path) if _is_safetensors(path) else load_official(path, part)


def load_official(path: str | os.PathLike[str], part: str = "G_ema") -> tuple[nn.Module, dict[str, Any]]:
    """A network of an official pickle as ours.

    The stages that R3GAN's code runs in bfloat16 do so here too, `module.clone(dtype=jnp.float32)` runs them in float32;
    StyleGANs always come in float32.

    Args:
      path: network-snapshot-*.pkl, or another pickle of such networks.
      part: 'G_ema', 'G' or 'D'; not used where the file is one network alone.
    Returns:
      (module, variables), float32 NumPy arrays.
    Raises:
      UserError: no such file, one that is damaged, hostile, or not of these networks; no such part.
    """
    parts = _networks(path)
    found = parts.get("", parts.get(part))
    if found is None:
        held = f"it holds the networks {', '.join(sorted(map(str, parts)))}" if parts else "it holds no network"
        raise UserError(f"{os.fspath(path)}: no part {part!r}; {held}; {KNOWN}")
    return _converted(path, found)


def load_parts(path: str | os.PathLike[str]) -> dict[str, tuple[nn.Module, dict[str, Any]]]:
    """The models in a file by their part: of an official pickle 'G', 'D' and 'G_ema', as many as there are.

    Args:
      path: as `load`. A network alone, or a safetensors file, is the part 'G_ema'.
    Returns:
      {part: (module, variables)}, each as `load` gives it.
    Raises:
      UserError: as `load`.
    """
    if _is_safetensors(path):
        return {"G_ema": load_safetensors(path)}
    parts = _networks(path)
    if "" in parts:
        return {"G_ema": _converted(path, parts[""])}
    found = {part: _converted(path, parts[part]) for part in ("G", "D", "G_ema") if part in parts}
    if not found:
        raise UserError(f"{os.fspath(path)}: it holds no network; {KNOWN}")
    return found


def save_safetensors(path: str | os.PathLike[str], module: nn.Module, variables: Variables) -> None:
    """Write a model as one safetensors file, which other libraries read too.

    Array names are paths with dots, 'params.stage0_block0.expand.kernel'; the header's text 'jaxgan' is
    `description.describe(module)` as JSON.

    Args:
      path: the file, '*.safetensors'.
      module: of `jaxgan.models`.
      variables: its {'params': ..., **stats}.
    Raises:
      UserError: a module that `load_safetensors` could not build, variables that are not the module's, or the file cannot
        be written.
    """
    build(describe(module))
    weights.check(module, variables, os.fspath(path))
    arrays = {name: np.asarray(value) for name, value in flatten_dict(variables, sep=".").items()}
    text = {KEY: json.dumps(describe(module)), "format": "flax"}
    try:
        tensors.write_safetensors(path, arrays, text)
    except OSError as e:
        raise UserError(f"{os.fspath(path)}: cannot be written ({e.strerror or e})") from None


def load_safetensors(path: str | os.PathLike[str]) -> tuple[nn.Module, dict[str, Any]]:
    """The model that `save_safetensors` wrote.

    Args:
      path: the file.
    Returns:
      (module, variables), bit for bit what was written, NumPy arrays.
    Raises:
      UserError: no such file, damaged, not written by `save_safetensors`, or arrays that are not the model's.
    """
    arrays, where = tensors.read(path), os.fspath(path)
    with _opened(path) as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    try:
        module = build(json.loads(header["__metadata__"][KEY]))
        variables = unflatten_dict(arrays, sep=".")
        weights.check(module, variables, where)
    except UserError as e:
        raise UserError(f"{where}: {str(e).removeprefix(where + ': ')}") from None
    except Exception:  # what malice raises in JAX and in models that are made so is not a list
        said = "only weights, not which model they belong to; give a file written by jaxgan.convert.save_safetensors"
        raise UserError(f"{where}: it holds {said}") from None
    return module, variables


def _is_safetensors(path) -> bool:
    with _opened(path) as file:
        return file.read(9)[8:] == b"{"


def _networks(path) -> dict[str, dict[str, Any]]:
    """The networks of a pickle by their names, as `tensors.read` gives them; {'': network} for one alone."""
    found = tensors.read(path)
    if _is_network(found):
        return {"": found}
    return {name: value for name, value in found.items() if _is_network(value)} if isinstance(found, dict) else {}


def _converted(path, network: dict[str, Any]) -> tuple[nn.Module, dict[str, Any]]:
    """`_network`; UserError, which names the file, where it is none of ours."""
    try:
        return _network(network)
    except UserError as e:
        reason = str(e)
    except Exception:  # what malice raises in JAX and in models that are made so is not a list
        reason = f"its network's parts do not fit together; {KNOWN}"
    raise UserError(f"{os.fspath(path)}: {reason}")


def _network(network: dict[str, Any]):
    """(module, variables) of a network as `tensors.read` gives it."""
    if not _plain(network["init_kwargs"]):
        raise UserError(f"the arguments that its network was made with are none; {KNOWN}")
    kind, module, inside = network["class_name"], network["module"] or "", network["modules"]
    if module.startswith("training.networks") and "Model" in inside:  # R3GAN's thin wrapper for the training code
        network, inside = inside["Model"], inside["Model"]["modules"]
    makers = {"Generator": 0, "Discriminator": 1}
    if kind in makers and "MainLayers" in inside:
        make = (convert_r3gan.generator, convert_r3gan.discriminator)[makers[kind]]
        return make(tensors.flat(network), low=_low(inside["MainLayers"]["modules"], makers[kind]))
    blocks = inside["synthesis"]["modules"] if kind == "Generator" and "synthesis" in inside else inside
    if kind in makers and "b4" in blocks and network["init_kwargs"]:
        make = (convert_stylegan2.generator, convert_stylegan2.discriminator)[makers[kind]]
        return make(tensors.flat(network), network["init_kwargs"])
    if kind == "Generator" and "input" in blocks and network["init_kwargs"]:
        return convert_stylegan3.generator(tensors.flat(network), network["init_kwargs"])
    parts = ", ".join(list(inside)[:4])
    raise UserError(f"not a supported network: it is called {kind} and consists of {parts or 'no modules'}; {KNOWN}")


def _plain(value: Any, most: int = 1000) -> bool:
    """Whether something is few numbers and texts, also in containers. Those of a pickle may hold one another many times over: to
    print such or to compare it takes for ever."""
    waiting = [value]
    for _ in range(most):
        if not waiting:
            return True
        value = waiting.pop()
        if isinstance(value, dict | list | tuple):
            waiting += value.values() if isinstance(value, dict) else value
        elif not isinstance(value, str | int | float | None) or len(str(value)) > most:
            return False
    return not waiting


def _low(stages: dict[str, Any], reverse: int) -> frozenset[int]:
    """Indices, base first, of the stages that R3GAN's official code runs in bfloat16."""
    count = len(stages)
    low = [int(name) for name, stage in stages.items() if stage["attributes"].get("DataType") == "bfloat16"]
    return frozenset(count - 1 - i if reverse else i for i in low)


def _is_network(value) -> bool:
    return isinstance(value, dict) and {"class_name", "modules", "init_kwargs"} <= value.keys()


def _opened(path):
    try:
        return Path(path).open("rb")
    except OSError as e:
        raise UserError(f"{os.fspath(path)}: cannot be read ({e.strerror or e}); give a weight file") from None
