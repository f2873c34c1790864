"""The weights of official R3GAN networks as ours: {name in their state_dict: array} -> module, variables.

Their convolutions are [out, in / groups, h, w] and linear maps [out, in]; ours [h, w, in / groups, out] and [in, out].
Their stages run in the order of the data, ours base first; what a network is made of is read off the shapes.
"""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxgan.errors import UserError
from jaxgan.models import r3gan
from jaxgan.weights import check

FILTER = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64


def generator(arrays: Mapping[str, Any], *, low: frozenset[int] = frozenset()) -> tuple[r3gan.Generator, dict[str, Any]]:
    """An official generator.

    Args:
      arrays: {"MainLayers.0.Layers.0.Basis": array, ...}: all that its state_dict holds.
      low: indices of the stages, base first, that it runs in bfloat16.
    Returns:
      (`models.r3gan.Generator`, {"params": ...}), float32.
    Raises:
      UserError: a weight that is missing, left over, or of a shape that does not fit the others.
    """
    left = dict(arrays)
    count = _stage_count(left)
    grid = _take(left, "MainLayers.0.Layers.0.Basis")
    params = {"basis": grid.transpose(1, 2, 0), "linear": _linear(left, "MainLayers.0.Layers.0")}
    fields = [_blocks(left, params, i, f"MainLayers.{i}.Layers", 1) for i in range(count)]
    for i in range(1, count):
        _between(left, params, i, f"MainLayers.{i}.Layers.0")
    params["image"] = _conv(left, "AggregationLayer.Layer")
    z_dim, given = params["linear"]["kernel"].shape[0], {}
    if "EmbeddingLayer.weight" in left:
        given = _classes(left, params)
        z_dim -= given["class_dim"]
    shape = (4 << (count - 1), 4 << (count - 1), params["image"]["kernel"].shape[3])
    network = _fields(params, fields, low)
    return _checked(r3gan.Generator(shape, z_dim=z_dim, **given, **network), params, left)


def discriminator(arrays: Mapping[str, Any], *, low: frozenset[int] = frozenset()) -> tuple[r3gan.Discriminator, dict[str, Any]]:
    """An official discriminator; arguments, results and errors as `generator`, low still base first."""
    left = dict(arrays)
    count = _stage_count(left)
    params, fields = {"image": _conv(left, "ExtractionLayer.Layer")}, []
    for i in range(count):
        layers = f"MainLayers.{count - 1 - i}.Layers"
        fields.append(_blocks(left, params, i, layers, 0))
        if i:
            _between(left, params, i, f"{layers}.{fields[i][0]}")
    head = f"MainLayers.{count - 1}.Layers.{fields[0][0]}"
    params["basis"] = _take(left, f"{head}.Basis.weight")[:, 0].transpose(1, 2, 0)
    params["linear"] = _linear(left, head)
    given = _classes(left, params) if "EmbeddingLayer.weight" in left else {}
    shape = (4 << (count - 1), 4 << (count - 1), params["image"]["kernel"].shape[2])
    network = _fields(params, fields, low)
    return _checked(r3gan.Discriminator(shape, **given, **network), params, left)


def _blocks(left, params, i, layers, first):
    """Moves the residual blocks of stage i into params; returns (how many, inner channels, groups)."""
    j, inner, groups = 0, 0, 0
    while f"{layers}.{first + j}.LinearLayer1.Layer.weight" in left:
        theirs = f"{layers}.{first + j}"
        block = {ours: _conv(left, f"{theirs}.LinearLayer{n}.Layer") for n, ours in enumerate(("expand", "grouped", "reduce"), 1)}
        for n, ours in ((1, "expand"), (2, "grouped")):
            block[ours]["bias"] = _take(left, f"{theirs}.NonLinearity{n}.Bias")
        params[f"stage{i}_block{j}"] = block
        inner = block["expand"]["kernel"].shape[3]
        groups = inner // block["grouped"]["kernel"].shape[2]
        j += 1
    return j, inner, groups


def _between(left, params, i, layer):
    """The change of channels between stages i - 1 and i, where there is one, and the filter, which we have built in."""
    kernel = _take(left, f"{layer}.Resampler.Kernel")
    if kernel.shape != FILTER.shape or not np.allclose(kernel, FILTER, atol=1e-6):
        raise UserError(f"R3GAN weights: {layer} resamples with a filter other than [1, 2, 1], which is not supported")
    if f"{layer}.LinearLayer.Layer.weight" in left:
        params[f"between{i}"] = _conv(left, f"{layer}.LinearLayer.Layer")


def _fields(params, fields, low):
    """Fields of both networks; `fields` as `_blocks` returned them, base first."""
    channels = [params["basis"].shape[2]]
    for i in range(1, len(fields)):
        kernel = params.get(f"between{i}", {}).get("kernel")
        # The generator's goes from the base up and the discriminator's down, so one side is the channels known already.
        channels.append(channels[-1] if kernel is None else sum(kernel.shape[2:]) - channels[-1])
    inner = next((n // c for (_, n, _), c in zip(fields, channels, strict=True) if n), 1)
    high = len(fields) - len(low)
    # In every official network the low stages are the last ones; any other choice runs in float32, the safe side.
    as_ours = low and high and low == frozenset(range(high, len(fields)))
    return {
        "channels": tuple(channels),
        "cardinality": tuple(g or 1 for _, _, g in fields),
        "blocks": tuple(n for n, _, _ in fields),
        "expansion": inner,
        "dtype": jnp.bfloat16 if as_ours else jnp.float32,
        "float32_stages": high if as_ours else 1,
    }


def _classes(left, params):
    table = _take(left, "EmbeddingLayer.weight").T
    params["classes"] = {"embedding": table}
    return {"classes": table.shape[0], "class_dim": table.shape[1]}


def _stage_count(left):
    numbers = {name.split(".")[1] for name in left if name.startswith("MainLayers.")}
    if len(numbers) < 2:
        raise UserError("R3GAN weights: the file does not hold two or more stages MainLayers.0, MainLayers.1, ...")
    return len(numbers)


def _take(left, name):
    if name not in left:
        raise UserError(f"R3GAN weights: {name} is missing; give a file of the official training code")
    return np.asarray(left.pop(name), np.float32)


def _conv(left, name):
    return {"kernel": _take(left, f"{name}.weight").transpose(2, 3, 1, 0)}


def _linear(left, name):
    return {"kernel": _take(left, f"{name}.LinearLayer.weight").T}


def _checked(module, params, left):
    """(module, {"params": params}) once every array is used and fits."""
    if left:
        raise UserError(f"R3GAN weights: {', '.join(sorted(left)[:3])}: not part of a network that this converter knows")
    check(module, {"params": params}, "R3GAN weights")
    return module, {"params": params}
