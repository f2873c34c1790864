"""The ADA paper's augmentation pipeline: which transforms, how often, how strong.

Source: Karras et al. 2020, "Training Generative Adversarial Networks with Limited Data", appendix B.
"""

from collections.abc import Mapping, Sequence

import jax.numpy as jnp

from jaxgan.augment.ada_geometry import AdaStrengths, blit_maps, general_maps, wavelet_affine
from jaxgan.augment.ada_pixels import add_noise, apply_color, apply_filter, color_matrices, cut_rectangle, filter_gains
from jaxgan.augment.draws import prepare, select, uniforms
from jaxgan.augment.resample import affine, compose
from jaxgan.errors import UserError, nearest
from jaxgan.typing import AnyArray, Array, Scalar

BLIT = ("xflip", "rotate90", "xint")
GEOMETRIC = ("scale", "rotate", "aniso", "xfrac")
COLOR = ("brightness", "contrast", "lumaflip", "hue", "saturation")
ADA_TRANSFORMS = (*BLIT, *GEOMETRIC, *COLOR, "imgfilter", "noise", "cutout")
NEEDS_COLOR = ("hue", "saturation")  # they leave grey as it is

# Of each preset, every transform's probability as a multiple of p.
ADA_PRESETS = {
    "blit": dict.fromkeys(BLIT, 1.0),
    "geom": dict.fromkeys(GEOMETRIC, 1.0),
    "color": dict.fromkeys(COLOR, 1.0),
    "filter": {"imgfilter": 1.0},
    "noise": {"noise": 1.0},
    "cutout": {"cutout": 1.0},
    "bg": dict.fromkeys(BLIT + GEOMETRIC, 1.0),
    "bgc": dict.fromkeys(BLIT + GEOMETRIC + COLOR, 1.0),
    "bgcf": dict.fromkeys((*BLIT, *GEOMETRIC, *COLOR, "imgfilter"), 1.0),
    "bgcfn": dict.fromkeys((*BLIT, *GEOMETRIC, *COLOR, "imgfilter", "noise"), 1.0),
    "bgcfnc": dict.fromkeys(ADA_TRANSFORMS, 1.0),
    # R3GAN's (Huang et al. 2024, its training script): colour half as often, cutout, neither filter nor noise.
    "r3gan": {**dict.fromkeys((*BLIT, *GEOMETRIC, "cutout"), 1.0), **dict.fromkeys(COLOR, 0.5)},
}


def ada(
    key: Array,
    x: AnyArray,
    p: Scalar,
    *,
    transforms: str | Sequence[str] | Mapping[str, float] = "bgc",
    strengths: AdaStrengths = AdaStrengths(),
) -> Array:
    """The ADA pipeline: blits, general geometric maps, colour, image-space filter, noise, cutout.

    Each transform is drawn with probability p. All the geometric maps of an image are multiplied and resampled once,
    with the wavelet (`wavelet_affine`); images that drew only blits are moved by whole pixels, exactly. All the colour
    matrices are multiplied too.

    Args:
      key: a typed key, or [B] of them, one per image.
      x: images [B, H, W, C], floating, in [-1, 1]; colour transforms need C = 1 or 3.
      p: probability, a float in [0, 1] or a traced scalar. x-flip and luma flip then toss a coin; 90-degree rotations
        draw from the four; the rotation before and the one after the anisotropic scaling have 1 - sqrt(1 - p) each.
      transforms: a preset of `ADA_PRESETS` ("bgc": the paper's; "r3gan"), or names of `ADA_TRANSFORMS`, or a mapping
        from names to multipliers of p in [0, 1]. On grey images a preset leaves out hue and saturation.
      strengths: `AdaStrengths`.
    Returns:
      [B, H, W, C] in x's dtype, not clipped. Images without any transform are returned bit for bit.
    Raises:
      UserError: unknown preset or transform; hue or saturation named on grey images; p outside [0, 1].
    Source: Karras et al. 2020, appendix B. Deviations: those of `wavelet_affine`; blits alone skip the wavelet, under
      which (it is not symmetric) a flip would not be exact.
    """
    keys, _, p = prepare(key, x, p)
    odds = ada_odds(transforms, x.shape[-1])
    if not odds:
        return jnp.asarray(x)
    u = uniforms(keys, ["ada_" + name for name in odds])
    size = x.shape[1:3]
    blits, blit_drawn = blit_maps(u, p, size, strengths, odds)
    general, general_drawn = general_maps(u, p, size, strengths, odds)
    source = x
    if blits:
        x = select(_any(blit_drawn), affine(source, compose(blits)), x)
    if general:
        x = select(_any(general_drawn), wavelet_affine(source, compose(blits + general)), x)
    if set(COLOR) & set(odds):
        matrices, drawn = color_matrices(u, p, strengths, odds)
        x = select(_any(drawn), apply_color(x.astype(jnp.float32), matrices), x)
    if "imgfilter" in odds:
        gains, drawn = filter_gains(u, p, strengths, odds)
        x = select(_any(drawn), apply_filter(x.astype(jnp.float32), gains), x)
    if "noise" in odds:
        x = add_noise(keys, u, x, p, strengths, odds)
    if "cutout" in odds:
        x = cut_rectangle(u, x, p, strengths, odds)
    return x


def ada_odds(transforms: str | Sequence[str] | Mapping[str, float], channels: int) -> dict[str, float]:
    """name -> multiplier of p, of a preset's name, a sequence of names or a mapping; checked against the channels."""
    if isinstance(transforms, str):
        if transforms not in ADA_PRESETS:
            near = nearest(transforms, ADA_PRESETS)
            raise UserError(f"there is no ADA preset {transforms!r}{near}; there are {', '.join(ADA_PRESETS)}")
        odds = {k: v for k, v in ADA_PRESETS[transforms].items() if channels != 1 or k not in NEEDS_COLOR}
    else:
        odds = dict(transforms) if isinstance(transforms, Mapping) else dict.fromkeys(transforms, 1.0)
    for name, multiplier in odds.items():
        if name not in ADA_TRANSFORMS:
            near = nearest(str(name), ADA_TRANSFORMS)
            raise UserError(f"there is no ADA transform {name!r}{near}; there are {', '.join(ADA_TRANSFORMS)}")
        if not 0 <= multiplier <= 1:
            raise UserError(f"ADA transform {name}: the multiplier of p must be in [0, 1], got {multiplier:g}")
        if name in NEEDS_COLOR and channels == 1:
            raise UserError(f"ADA transform {name} needs colour and the images have one channel: leave it out")
        if name in COLOR and channels not in (1, 3):
            raise UserError(f"ADA transform {name} needs 1 or 3 channels, the images have {channels}: leave it out")
    return odds


def _any(drawn):
    return jnp.stack(drawn).any(0)
