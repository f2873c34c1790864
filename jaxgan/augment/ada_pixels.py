"""The pixel half of the ADA paper's pipeline: colour, image-space filtering, noise, cutout."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.augment.ada_geometry import AdaStrengths
from jaxgan.augment.draws import as_normal, per_image, salted, select
from jaxgan.augment.resample import HIGHEST
from jaxgan.typing import AnyArray, Array

# The orthogonal low-pass "sym2" (Daubechies' D4; the digits are PyWavelets' dec_lo).
SYM2 = (-0.12940952255092145, 0.22414386804185735, 0.836516303737469, 0.48296291314469025)

# The expected power of natural images in the four bands, lowest first.
BAND_POWER = np.array([10, 1, 1, 1]) / 13


def color_matrices(u: dict[str, Array], p: Array, strengths: AdaStrengths, odds: dict[str, float]) -> tuple[Array, list[Array]]:
    """The product [B, 4, 4] of the colour transforms that are on (out = M (r, g, b, 1)), and which images got each.

    In order: brightness (adds N(0, 0.2^2)), contrast (times 2^N(0, 0.5^2)), luma flip (the mirror across the plane
    normal to the grey axis, for half of the drawn), hue (a turn about the grey axis, uniform), saturation (scales what
    is normal to the grey axis by 2^N(0, 1)).
    """
    eye, grey = jnp.eye(4, dtype=jnp.float32), jnp.zeros((4, 4), jnp.float32).at[:3, :3].set(1 / 3)
    product, drawn = eye[None], []

    def draw(name):
        gate, value = u["ada_" + name][:2]
        drawn.append(gate < p * odds[name])
        return value

    def then(m):
        return jnp.einsum("bij,bjk->bik", m, product, precision=HIGHEST)

    def full(s):
        return s[:, None, None]

    if "brightness" in odds:
        b = draw("brightness")
        b = jnp.where(drawn[-1], as_normal(b) * strengths.brightness_std, 0.0)
        product = then(eye[None] + full(b) * jnp.zeros((1, 4, 4), jnp.float32).at[:, :3, 3].set(1.0))
    if "contrast" in odds:
        c = draw("contrast")
        c = jnp.where(drawn[-1], jnp.exp2(as_normal(c) * strengths.contrast_std), 1.0)
        rest = jnp.zeros((4, 4), jnp.float32).at[3, 3].set(1)
        product = then(full(c) * (eye - rest)[None] + rest[None])
    if "lumaflip" in odds:
        i = draw("lumaflip")
        product = then(eye[None] - full(jnp.where(drawn[-1] & (i < 0.5), 2.0, 0.0)) * grey[None])
    if "hue" in odds:
        angle = draw("hue")
        angle = jnp.where(drawn[-1], (2 * angle - 1) * math.pi * strengths.hue_max, 0.0)
        # Rodrigues: grey axis kept, the plane normal to it turned; `cross` is v -> axis x v.
        axis = jnp.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]], jnp.float32) / math.sqrt(3)
        cross = jnp.zeros((4, 4), jnp.float32).at[:3, :3].set(axis)
        normal = eye.at[3, 3].set(0) - grey
        turned = full(jnp.cos(angle)) * normal[None] + full(jnp.sin(angle)) * cross[None]
        product = then(turned + (eye - normal)[None])
    if "saturation" in odds:
        s = draw("saturation")
        s = jnp.where(drawn[-1], jnp.exp2(as_normal(s) * strengths.saturation_std), 1.0)
        normal = eye.at[3, 3].set(0) - grey
        product = then(full(s) * normal[None] + (eye - normal)[None])
    return product, drawn


def apply_color(x: AnyArray, matrices: Array) -> Array:
    """Colours [B, H, W, 3 or 1] by matrices [B, 4, 4]; a grey image is the grey axis, where it stays."""
    if x.shape[-1] == 1:
        gain, shift = matrices[:, :3, :3].sum((1, 2)) / 3, matrices[:, :3, 3].mean(1)
        return x * per_image(gain) + per_image(shift)
    out = matrices[:, None, None, :3, 3]
    for j in range(3):
        out = out + matrices[:, None, None, :3, j] * x[..., j : j + 1]
    return out


@functools.cache
def filter_bank(side: int) -> np.ndarray:
    """The four band-pass filters on a reflected axis, as matrices [4, side, side] (float64); their sum is the identity.

    With P = H(z) H(1/z) / 2 and Q = H(-z) H(-1/z) / 2 of the wavelet H, the bands are P(z) P(z^2) P(z^4),
    P(z) P(z^2) Q(z^4), P(z) Q(z^2), Q(z): an octave each, from [0, pi/8] up to [pi/2, pi].
    """
    taps = band_filters()
    reach = taps.shape[1] // 2
    extended = np.pad(np.arange(side), reach, mode="reflect") if side > 1 else np.zeros(2 * reach + 1, int)
    bank = np.zeros((4, side, side))
    for i in range(side):
        for t in range(taps.shape[1]):
            bank[:, i, extended[i + t]] += taps[:, t]
    return bank


def band_filters() -> np.ndarray:
    """The taps of the four bands: [4, 43], float64."""
    h = np.array(SYM2)
    low = np.convolve(h, h[::-1]) / 2
    high = low * (-1.0) ** np.arange(-3, 4)  # the sign of z, about the middle tap

    def spread(taps, by):
        out = np.zeros((len(taps) - 1) * by + 1)
        out[::by] = taps
        return out

    lows = np.convolve(low, spread(low, 2))
    bands = [
        np.convolve(lows, spread(low, 4)),
        np.convolve(lows, spread(high, 4)),
        np.convolve(low, spread(high, 2)),
        high,
    ]
    width = max(map(len, bands))
    return np.stack([np.pad(b, (width - len(b)) // 2) for b in bands])


def filter_gains(u: dict[str, Array], p: Array, strengths: AdaStrengths, odds: dict[str, float]) -> tuple[Array, list[Array]]:
    """The gain of each band [B, 4], and which images drew each.

    Each band is drawn with probability p and then gets 2^N(0, 1); band after band, the four gains are divided by the
    root of the expected power, so that a natural image keeps its contrast.
    """
    draws = u["ada_imgfilter"]
    gains, drawn = jnp.ones((draws.shape[1], 4), jnp.float32), []
    for band in range(4):
        drawn.append(draws[band] < p * odds["imgfilter"])
        t = jnp.where(drawn[-1], jnp.exp2(as_normal(draws[4 + band]) * strengths.imgfilter_std), 1.0)
        gains = gains.at[:, band].multiply(t)
        gains = gains / jnp.sqrt(1 + float(BAND_POWER[band]) * (t**2 - 1))[:, None]
    return gains, drawn


def apply_filter(x: AnyArray, gains: Array) -> Array:
    """Filters images [B, H, W, C] along both axes with the bands weighed by gains [B, 4]."""
    by_axis = (jnp.asarray(filter_bank(side), jnp.float32) for side in x.shape[1:3])
    rows, cols = (jnp.einsum("bk,kij->bij", gains, bank, precision=HIGHEST) for bank in by_axis)
    out = jnp.einsum("bij,bjwc->biwc", rows, x, precision=HIGHEST)
    return jnp.einsum("bij,bhjc->bhic", cols, out, precision=HIGHEST)


def add_noise(keys: Array, u: dict[str, Array], x: AnyArray, p: Array, strengths: AdaStrengths, odds: dict[str, float]) -> Array:
    """Adds white noise whose deviation is |N(0, 0.1^2)|."""
    gate, amount = u["ada_noise"][:2]
    shape = x.shape[1:]
    noise = jax.vmap(lambda k: jax.random.normal(jax.random.fold_in(k, 1), shape, jnp.float32))(salted(keys, "ada_noise"))
    sigma = jnp.abs(as_normal(amount)) * strengths.noise_std
    return select(gate < p * odds["noise"], x.astype(jnp.float32) + per_image(sigma) * noise, x)


def cut_rectangle(u: dict[str, Array], x: AnyArray, p: Array, strengths: AdaStrengths, odds: dict[str, float]) -> Array:
    """Zeroes a rectangle of half the sides whose centre is uniform over the image."""
    gate, across, down = u["ada_cutout"][:3]

    def near(centre, side):
        at = (jnp.arange(side, dtype=jnp.float32) + 0.5) / side
        return jnp.abs(at[None, :] - centre[:, None]) < strengths.cutout_size / 2

    hidden = near(down, x.shape[1])[:, :, None] & near(across, x.shape[2])[:, None, :]
    return jnp.where(((gate < p * odds["cutout"])[:, None, None] & hidden)[..., None], 0.0, x)
