"""The authors' StyleGAN2 networks as ours: from {their name: array} and the arguments they were made with.

Understands the networks of stylegan2-ada-pytorch and of stylegan3's StyleGAN2. Pure: NumPy arrays in, a module and its
variables out; `convert` reads the files.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import linen as nn

from jaxgan import weights
from jaxgan.errors import UserError
from jaxgan.models import stylegan2

LEAVES = {"kernel": "weight", "mean": "w_avg"}
"""Our names of leaves, theirs, where they differ."""


def generator(state: Mapping[str, Any], init_kwargs: Mapping[str, Any]) -> tuple[stylegan2.Generator, dict[str, Any]]:
    """Their generator -> (stylegan2.Generator, variables).

    Args:
      state: {name: array}, all parameters and buffers, such as 'synthesis.b8.conv0.weight'.
      init_kwargs: the keyword arguments of their class: z_dim, c_dim, w_dim, img_resolution, img_channels, ...
    Returns:
      The module, and {'params', 'w_avg', 'noise'} in float32 (NumPy).
    Raises:
      UserError: an argument that our network does not have, or arrays that do not fit it.
    """
    given = dict(init_kwargs)
    given |= given.pop("synthesis_kwargs", {})
    mapping = dict(given.pop("mapping_kwargs", {}))
    fields = _shared(given) | {
        "z_dim": given.pop("z_dim"),
        "w_dim": given.pop("w_dim"),
        "architecture": given.pop("architecture", "skip"),
        "w_average": mapping.pop("w_avg_beta", 0.995),  # stylegan3's default is 0.998; it matters in training alone
    }
    return _module(stylegan2.Generator, fields, mapping, given, state)


def discriminator(state: Mapping[str, Any], init_kwargs: Mapping[str, Any]) -> tuple[stylegan2.Discriminator, dict[str, Any]]:
    """Their discriminator -> (stylegan2.Discriminator, variables). As `generator`."""
    given = dict(init_kwargs)
    mapping = dict(given.pop("mapping_kwargs", {}))
    epilogue = dict(given.pop("epilogue_kwargs", {}))
    given |= given.pop("block_kwargs", {})
    given.pop("freeze_layers", None)  # says what was trained, not what is computed
    fields = _shared(given) | {
        "architecture": given.pop("architecture", "resnet"),
        "label_dim": given.pop("cmap_dim", None),
        "group": epilogue.pop("mbstd_group_size", 4),
        "group_features": epilogue.pop("mbstd_num_channels", 1),
    }
    return _module(stylegan2.Discriminator, fields, mapping, given | epilogue, state)


def official_name(path: Sequence[str], generator: bool) -> str:
    """Their name of one of our variables, from its path such as ('params', 'b8', 'conv0', 'kernel')."""
    collection, *modules, leaf = path
    parts = ["mapping" if name == "mapping_network" else name for name in modules]
    if generator and parts[0] != "mapping":
        parts = ["synthesis", *parts]
    return ".".join([*parts, "noise_const" if collection == "noise" else LEAVES.get(leaf, leaf)])


def our_layout(array: np.ndarray | np.generic, path: Sequence[str], shape: Sequence[int]) -> np.ndarray:
    """Their array in the layout of ours at this path, float32: [out, in, h, w] -> [h, w, in, out] and so on.

    Raises:
      ValueError: its size is not that of `shape`.
    """
    array = np.asarray(array, np.float32)
    if path[0] in ("noise", "fourier"):
        return array.reshape(shape)
    if array.ndim == 4:
        return array.transpose(2, 3, 1, 0)
    if path[-1] == "const":
        return array.transpose(1, 2, 0)
    if path[-2:] == ("fc", "kernel"):  # their flattened grid has its channels first; the grid is square
        channels = array.shape[0]
        side = round((array.shape[1] // channels) ** 0.5)
        return array.reshape(-1, channels, side, side).transpose(2, 3, 1, 0).reshape(shape)
    return array.T if array.ndim == 2 else array.reshape(shape)


def variables(module: nn.Module, state: Mapping[str, Any]) -> dict[str, Any]:
    """The variables of our module from {their name: array}; what else is in `state` is ignored.

    Raises:
      UserError: an array that is missing or of another shape.
    """
    made = isinstance(module, stylegan2.Generator)
    return matched(module, state, lambda path: official_name(path, made), "StyleGAN2")


def matched(
    module: nn.Module, state: Mapping[str, Any], name_of: Callable[[tuple[str, ...]], str], family: str
) -> dict[str, Any]:
    """`variables` by the names that `name_of` gives to the paths of ours."""

    def leaf(path, like):
        path = tuple(part.key for part in path)
        name = name_of(path)
        try:
            array = our_layout(state[name], path, like.shape)
        except KeyError:
            message = f"{name}: the file has no such array; not a {family} network, or an unsupported variant"
            raise UserError(message) from None
        except (ValueError, ZeroDivisionError):
            array = np.asarray(state[name])
        if array.shape != like.shape:
            raise UserError(
                f"{name}: {np.shape(state[name])} does not fit the {like.shape} of the network that the file describes"
            )
        return array

    return jax.tree_util.tree_map_with_path(leaf, weights.shapes(module))


def _shared(given: dict[str, Any]) -> dict[str, Any]:
    """Fields of both networks; takes what it reads out of `given`."""
    side, channels = given.pop("img_resolution"), given.pop("img_channels")
    return {
        "shape": (side, side, channels),
        "classes": given.pop("c_dim"),
        "channel_base": given.pop("channel_base", 32768),
        "channel_max": given.pop("channel_max", 512),
        "clamp": given.pop("conv_clamp", 256.0),
        "taps": tuple(given.pop("resample_filter", (1, 3, 3, 1))),
        "dtype_sizes": given.pop("num_fp16_res", 4),
    }


def _module(kind, fields: dict[str, Any], mapping: dict[str, Any], rest: dict[str, Any], state: Mapping[str, Any]):
    """The module and its variables, once nothing is left that we do not know."""
    names = {"num_layers": "mapping_layers", "lr_multiplier": "mapping_lr", "embed_features": "embed", "layer_features": "hidden"}
    fields |= {ours: mapping.pop(theirs) for theirs, ours in names.items() if theirs in mapping}
    for name in ("fused_modconv_default", "fp16_channels_last"):  # how it is computed, not what
        rest.pop(name, None)
    usual = {"activation": "lrelu", "use_noise": True, "kernel_size": 3}
    unknown = {k: v for k, v in (rest | mapping).items() if k not in usual or v != usual[k]}
    if unknown:
        raise UserError(f"the network uses {unknown}, which is not supported")
    if fields["shape"][0] < 8:
        raise UserError(f"images of {fields['shape'][0]}x{fields['shape'][0]} are not supported; the smallest are 8x8")
    module = kind(**fields)
    return module, variables(module, state)
