"""The geometric half of the ADA paper's pipeline: pixel blitting, general maps, the anti-aliased resampling."""

import dataclasses
import math

import jax.numpy as jnp
import numpy as np

from jaxgan.augment.draws import as_normal, check_images
from jaxgan.augment.resample import HIGHEST, matrix, rotation, sample_points, scaling, translation_by, weighted_windows
from jaxgan.typing import AnyArray, Array

# The orthogonal low-pass "sym6" (Daubechies 1992, table 6.3; the digits are PyWavelets' dec_lo).
SYM6 = (
    0.015404109327027373, 0.0034907120842174702, -0.11799011114819057, -0.048311742585633,
    0.4910559419267466, 0.787641141030194, 0.3379294217276218, -0.07263752278646252,
    -0.021060292512300564, 0.04472490177066578, 0.0017677118642428036, -0.007800708325034148,
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class AdaStrengths:
    """Strengths of the transforms; the defaults are the paper's."""

    xint_max: float = 0.125  # integer translation, largest, of the side
    scale_std: float = 0.2  # isotropic scaling, deviation of log2
    rotate_max: float = 1.0  # rotation, largest, of half a turn
    aniso_std: float = 0.2  # anisotropic scaling, deviation of log2
    xfrac_std: float = 0.125  # fractional translation, deviation, of the side
    brightness_std: float = 0.2  # deviation, in the images' units
    contrast_std: float = 0.5  # deviation of log2
    hue_max: float = 1.0  # largest, of half a turn
    saturation_std: float = 1.0  # deviation of log2
    imgfilter_std: float = 1.0  # deviation of log2 of a band's gain
    noise_std: float = 0.1  # deviation of the noise's deviation, in the images' units
    cutout_size: float = 0.5  # of the side


def wavelet_affine(x: AnyArray, matrices: AnyArray) -> Array:
    """Resamples images under affine maps with little aliasing: out = down(bilinear(up(x))), up and down by "sym6".

    x is reflected about its border pixels without end, upsampled by 2, sampled bilinearly at the points of a grid of
    half a pixel, and downsampled by 2. The filter is orthogonal: at the identity map the result is x up to rounding.

    Args:
      x: images [B, H, W, C], floating; H, W >= 2.
      matrices: [B, 3, 3], output pixel to input pixel, origin at the image's centre (as `affine`).
    Returns:
      [B, H, W, C] in x's dtype; linear in x.
    Source: Karras et al. 2020 (ADA), appendix B. Deviations: the reflection is endless (one period of it is upsampled),
      theirs is as wide as the batch's widest map needs, then black; and a sample of the fine grid sits where the filter
      puts it (its first moment, 5.10 taps), theirs at the middle tap (5.5), which is 0.2 pixel aside: here a linear
      ramp stays exactly where the map says.
    """
    x = check_images(x)
    h, w = x.shape[1:3]
    up_y, up_x, down_y, down_x = _upsampler(h), _upsampler(w), _downsampler(h), _downsampler(w)
    fine = jnp.einsum("nh,bhwc->bnwc", up_y, x.astype(jnp.float32), precision=HIGHEST)
    fine = jnp.einsum("mw,bnwc->bnmc", up_x, fine, precision=HIGHEST)
    u, v = _fine_points(w), _fine_points(h)
    cx, cy = sample_points(matrices.astype(jnp.float32), u, v, (h, w))
    moment = _first_moment()
    # Fine sample n stands at pixel (n - moment) / 2 and repeats after the reflection's period.
    cx, cy = (jnp.mod(2 * c + moment, 4.0 * (side - 1)) for c, side in ((cx, w), (cy, h)))
    sampled = weighted_windows(fine, cx, cy)
    out = jnp.einsum("hn,bnmc->bhmc", down_y, sampled, precision=HIGHEST)
    return jnp.einsum("wm,bhmc->bhwc", down_x, out, precision=HIGHEST).astype(x.dtype)


def _first_moment():
    h = np.array(SYM6)
    return float(h @ np.arange(len(h)) / h.sum())


def _upsampler(side):
    """[4 (side - 1) + 1, side]: one period (and the first sample again) of the fine signal of the reflected axis."""
    h, period = np.array(SYM6), 2 * (side - 1)
    out = np.zeros((2 * period + 1, side))
    for n in range(2 * period + 1):
        for k in range((n - len(h)) // 2, n // 2 + 1):
            if 0 <= n - 2 * k < len(h):
                folded = k % period
                out[n, min(folded, period - folded)] += h[n - 2 * k] * math.sqrt(2)
    return jnp.asarray(out, jnp.float32)


def _downsampler(side):
    """[side, 2 side + 10]: the inner products with the filter."""
    h = np.array(SYM6) / math.sqrt(2)
    out = np.zeros((side, 2 * side + len(h) - 2))
    for k in range(side):
        out[k, 2 * k : 2 * k + len(h)] = h
    return jnp.asarray(out, jnp.float32)


def _fine_points(side):
    n = np.arange(2 * side + len(SYM6) - 2)
    return jnp.asarray((n - _first_moment()) / 2 - (side - 1) / 2, jnp.float32)


def blit_maps(
    u: dict[str, Array], p: Array, size: tuple[int, ...], strengths: AdaStrengths, odds: dict[str, float]
) -> tuple[list[Array], list[Array]]:
    """Inverse maps [B, 3, 3] of the blits that are on, and which images got each [B]; two lists.

    u: the draws (`uniforms`); odds: name -> multiplier of p, of the transforms that are on.
    """
    h, w = size
    maps, drawn = [], []
    if "xflip" in odds:
        gate, coin = u["ada_xflip"][:2]
        drawn.append(gate < p * odds["xflip"])
        maps.append(scaling(jnp.where(drawn[-1] & (coin < 0.5), -1.0, 1.0), 1.0))
    if "rotate90" in odds:
        gate, turns = u["ada_rotate90"][:2]
        drawn.append(gate < p * odds["rotate90"])
        turns = jnp.where(drawn[-1], jnp.floor(4 * turns), 0.0)
        is_turn = lambda n: (turns == n).astype(jnp.float32)
        cos, sin = is_turn(0) - is_turn(2), is_turn(1) - is_turn(3)  # exact
        maps.append(matrix(((cos, -sin, 0), (sin, cos, 0))))
    if "xint" in odds:
        gate, *both = u["ada_xint"][:3]
        drawn.append(gate < p * odds["xint"])
        tx, ty = (jnp.round((2 * a - 1) * strengths.xint_max * side) for a, side in zip(both, (w, h), strict=True))
        maps.append(translation_by(*(jnp.where(drawn[-1], -t, 0.0) for t in (tx, ty))))
    return maps, drawn


def general_maps(
    u: dict[str, Array], p: Array, size: tuple[int, ...], strengths: AdaStrengths, odds: dict[str, float]
) -> tuple[list[Array], list[Array]]:
    """As `blit_maps`, of the general geometric transforms, in the paper's order."""
    h, w = size
    maps, drawn = [], []
    if "scale" in odds:
        gate, s = u["ada_scale"][:2]
        drawn.append(gate < p * odds["scale"])
        inverse = jnp.where(drawn[-1], jnp.exp2(-as_normal(s) * strengths.scale_std), 1.0)
        maps.append(scaling(inverse, inverse))
    if "rotate" in odds:  # before and after the anisotropic scaling, at least one of them with probability p
        p_each = 1 - jnp.sqrt(jnp.maximum(1 - p * odds["rotate"], 0.0))
        gate, turn, gate_after, turn_after = u["ada_rotate"][:4]
        before, after = gate < p_each, gate_after < p_each
        drawn += [before, after]
        turn, turn_after = (
            rotation(jnp.where(d, (2 * a - 1) * math.pi * strengths.rotate_max, 0.0))
            for d, a in ((before, turn), (after, turn_after))
        )
        maps.append(turn)
    if "aniso" in odds:
        gate, s = u["ada_aniso"][:2]
        drawn.append(gate < p * odds["aniso"])
        inverse = jnp.where(drawn[-1], jnp.exp2(-as_normal(s) * strengths.aniso_std), 1.0)
        maps.append(scaling(inverse, 1 / inverse))
    if "rotate" in odds:
        maps.append(turn_after)
    if "xfrac" in odds:
        gate, *both = u["ada_xfrac"][:3]
        drawn.append(gate < p * odds["xfrac"])
        tx, ty = (as_normal(a) * strengths.xfrac_std * side for a, side in zip(both, (w, h), strict=True))
        maps.append(translation_by(*(jnp.where(drawn[-1], -t, 0.0) for t in (tx, ty))))
    return maps, drawn
