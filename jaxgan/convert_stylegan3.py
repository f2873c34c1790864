"""The authors' StyleGAN3 generators as ours. Pure, as `convert_stylegan2`, which also has their discriminators."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxgan.convert_stylegan2 import matched
from jaxgan.errors import UserError
from jaxgan.models import stylegan3

FIELDS = {
    **{"z_dim": "z_dim", "c_dim": "classes", "w_dim": "w_dim", "channel_base": "channel_base", "channel_max": "channel_max"},
    **{"num_layers": "depth", "num_critical": "critical", "first_cutoff": "first_cutoff", "first_stopband": "first_stopband"},
    **{"last_stopband_rel": "last_stopband", "margin_size": "margin", "output_scale": "output_scale"},
    **{"num_fp16_res": "dtype_sizes", "conv_kernel": "kernel", "filter_size": "filter_size", "lrelu_upsampling": "upsampling"},
    **{"use_radial_filters": "radial", "conv_clamp": "clamp", "magnitude_ema_beta": "magnitude_average"},
}
"""Their arguments -> our fields; the defaults are the same."""
MAPPING = {"num_layers": "mapping_layers", "lr_multiplier": "mapping_lr", "w_avg_beta": "w_average"}
"""The same of mapping_kwargs."""
LEAVES = {"kernel": "weight", "bias": "bias", "frequencies": "freqs", "phases": "phases"}


def generator(state: Mapping[str, Any], init_kwargs: Mapping[str, Any]) -> tuple[stylegan3.Generator, dict[str, Any]]:
    """Their generator -> (stylegan3.Generator, variables).

    Args:
      state: {name: array}, all parameters and buffers, such as 'synthesis.L0_36_512.weight'.
      init_kwargs: the keyword arguments of their class: z_dim, c_dim, w_dim, img_resolution, img_channels, ...
    Returns:
      The module, and {'params', 'w_avg', 'magnitude', 'fourier'} in float32 (NumPy).
    Raises:
      UserError: an argument or a size that our network does not have, a transform that is set, or arrays that do not fit.
    """
    given = dict(init_kwargs)
    given |= given.pop("synthesis_kwargs", {})
    side, channels, mapping = given.pop("img_resolution"), given.pop("img_channels"), given.pop("mapping_kwargs", {})
    unknown = {k: v for k, v in given.items() if k not in FIELDS} | {k: v for k, v in mapping.items() if k not in MAPPING}
    if unknown:
        raise UserError(f"the network was made with {unknown}, which ours does not have")
    if side < 8 or side & (side - 1):
        raise UserError(f"an image of {side}x{side}: ours has the authors' rates only at powers of two from 8 on")
    if not np.array_equal(state.get("synthesis.input.transform", np.eye(3)), np.eye(3)):
        raise UserError("synthesis.input.transform: the file moves every image; give one in which it is the identity")
    fields = {FIELDS[k]: v for k, v in given.items()} | {MAPPING[k]: v for k, v in mapping.items()}
    module = stylegan3.Generator(shape=(side, side, channels), **fields)
    layers = {name.split(".")[1].split("_")[0]: name.split(".")[1] for name in state if name.startswith("synthesis.L")}
    return module, matched(module, state, lambda path: official_name(path, module.depth, layers), "StyleGAN3")


def official_name(path: Sequence[str], depth: int, layers: Mapping[str, str]) -> str:
    """Their name of one of our variables, from its path such as ('params', 'layer3', 'affine', 'kernel').

    Args:
      depth: of the generator. layers: {'L3': 'L3_52_512', ...}, as the file names them.
    """
    collection, first, *modules, leaf = path
    if first == "mapping_network":
        return ".".join(["mapping", *modules, "w_avg" if collection == "w_avg" else LEAVES[leaf]])
    if first != "input":
        number = f"L{depth if first == 'torgb' else first.removeprefix('layer')}"
        first = layers.get(number, number)
    return ".".join(["synthesis", first, *modules, "magnitude_ema" if collection == "magnitude" else LEAVES[leaf]])
