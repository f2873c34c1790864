"""How exactly a generator's images move with what it draws: EQ-T, EQ-T_frac and EQ-R (Karras et al. 2021), in dB.

Moved within the generator, an image should be the unmoved one moved as a picture, wherever the picture says what is there:

  EQ = 10 log10(I_max^2 / E[(moved by the generator - moved as a picture)^2]),   I_max = 2, the range [-1, 1],

the mean over images, movements, channels and valid pixels. JAX only; all arithmetic in float32.

Source: Karras et al. 2021 (StyleGAN3), appendix E. Deviations: each image has its own movement (the authors' code draws one a
batch), and images need not be square.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy import ndimage

from jaxgan.errors import UserError, nearest
from jaxgan.metrics.contract import Estimate
from jaxgan.typing import AnyArray, Array

KINDS = ("integer", "fractional", "rotation")
"""EQ-T, EQ-T_frac and EQ-R."""
LOBES = 3
"""Of the Lanczos windows: the paper's a."""
SHIFT = 1 / 8
"""The largest translation along an axis, in longer sides of the image."""
PEAK = 2.0
"""I_max."""
LEAST = 16
"""Pixels of the shorter side for rotations, of which 11 are within reach of the border."""


def errors(kind: str, draw: Callable[[Array], Array], keys: Array, shape: tuple[int, int, int]) -> tuple[Array, Array]:
    """Squared errors of one equivariance, for each image.

    Args:
      kind: 'integer' (EQ-T), 'fractional' (EQ-T_frac) or 'rotation' (EQ-R).
      draw: transform float32 [B, 3, 3], in the convention of `models.stylegan3.moved` -> images [B, H, W, C] in [-1, 1], of the
        same B latents.
      keys: typed keys [B], from which the movements are drawn: uniform up to `SHIFT` along both axes, and over all angles.
      shape: (H, W, C).
    Returns:
      (sums of squares [B], how many numbers each is over [B]), float32: for `decibels`.
    Raises:
      UserError: at trace time, another kind; images that are too small to be turned.
    """
    if kind not in KINDS:
        raise UserError(f"there is no equivariance {kind!r}{nearest(str(kind), KINDS)}; there are {', '.join(KINDS)}")
    side = max(shape[:2])
    if kind == "rotation" and min(shape[:2]) < LEAST:
        raise UserError(f"EQ-R: images of {shape[0]}x{shape[1]}: too little is left within its filters; sides of {LEAST} or more")
    still = draw(jnp.broadcast_to(jnp.eye(3, dtype=jnp.float32), (len(keys), 3, 3)))
    if kind == "rotation":
        angle = jax.vmap(lambda k: jax.random.uniform(k, (), jnp.float32, -math.pi, math.pi))(keys)
        want, valid = rotate(still, angle)
        have, also = filtered(draw(_transform(angle=angle)), angle)
        valid = valid & also
    else:
        shift = jax.vmap(lambda k: jax.random.uniform(k, (2,), jnp.float32, -SHIFT * side, SHIFT * side))(keys)
        shift = jnp.round(shift) if kind == "integer" else shift
        right, down = shift[:, 0], shift[:, 1]
        want, valid = (translate if kind == "integer" else translate_fractional)(still, right, down)
        have = draw(_transform(right / side, down / side))
    square = jnp.square(have - want).sum(3)
    return jnp.where(valid, square, 0).sum((1, 2)), valid.sum((1, 2), dtype=jnp.float32) * shape[2]


def decibels(squares: AnyArray, counts: AnyArray) -> Estimate:
    """10 log10(I_max^2 sum(counts) / sum(squares)), and its standard error over images, to first order (the delta method).

    Args:
      squares, counts: [n], from `errors`.
    Returns:
      dB: infinite where nothing differs; the error is NaN for n = 1.
    """
    squares, counts = np.asarray(squares, np.float64), np.asarray(counts, np.float64)
    n, total = len(squares), float(squares.sum())
    if not total:
        return Estimate(math.inf, math.nan)
    mean = total / float(counts.sum())
    spread = math.sqrt(n / (n - 1) * np.square(squares - mean * counts).sum()) / total if n > 1 else math.nan
    return Estimate(10 * math.log10(PEAK**2 / mean), 10 / math.log(10) * spread)


def translate(x: Array, right: Array, down: Array) -> tuple[Array, Array]:
    """Images moved by whole pixels.

    Args:
      x: [B, H, W, C].
      right, down: [B], float, whole numbers.
    Returns:
      Images of the same shape, and bool [B, H, W]: where they are known.
    Source: appendix E.1.
    """
    rows, inside_rows = _moved(down, x.shape[1])
    columns, inside_columns = _moved(right, x.shape[2])
    take = jax.vmap(lambda x, i, j: x[i][:, j])
    return take(x, rows, columns), inside_rows[:, :, None] & inside_columns[:, None, :]


def _moved(shift, n):
    """[B] -> the places [B, n] that come to 0, 1, ..., n - 1, cut off at the ends, and whether they were not."""
    at = jnp.arange(n)[None] - shift.astype(jnp.int32)[:, None]
    return jnp.clip(at, 0, n - 1), (at >= 0) & (at < n)


def translate_fractional(x: Array, right: Array, down: Array) -> tuple[Array, Array]:
    """Images moved by any distance, by a Lanczos filter of 6 taps along either axis.

    Args:
      x: [B, H, W, C].
      right, down: [B], in pixels.
    Returns:
      As `translate`; known is what has all its taps within the image.
    Source: appendix E.2.
    """
    rows, inside_rows = _lanczos_shift(down, x.shape[1])
    columns, inside_columns = _lanczos_shift(right, x.shape[2])
    y = jnp.einsum("bij,bjwc->biwc", rows, x, precision="highest")
    y = jnp.einsum("bvw,biwc->bivc", columns, y, precision="highest")
    return y, inside_rows[:, :, None] & inside_columns[:, None, :]


def _lanczos_shift(shift, n):
    """[B] -> matrices [B, n, n] that move a line of n pixels, and bool [B, n]: where all 6 taps are on the line; 0 elsewhere."""
    i = jnp.arange(n, dtype=jnp.float32)
    u = (i[:, None] - i[None])[None] - shift[:, None, None]
    taps = jnp.where(jnp.abs(u) < LOBES, jnp.sinc(u) * jnp.sinc(u / LOBES), 0)
    first = i[None] - jnp.floor(shift)[:, None] - LOBES
    inside = (first >= 0) & (first + 2 * LOBES <= n)
    return jnp.where(inside[:, :, None], taps / taps.sum(2, keepdims=True), 0), inside


def rotate(x: Array, angle: Array) -> tuple[Array, Array]:
    """Images turned about their centres, of the frequencies that both the old and the new pixels can hold: a low-pass filter
    (`bandlimit`) to 4 x 4 samples a pixel, and linear interpolation between these.

    Args:
      x: [B, H, W, C].
      angle: [B], radians, counterclockwise as one sees it.
    Returns:
      As `translate_fractional`.
    Source: appendix E.3.
    """
    return jax.vmap(_rotate)(x, angle)


def _rotate(x, angle, up=4):
    height, width, _ = x.shape
    fine = _filter(x, bandlimit(angle, up))
    c, s = jnp.cos(angle), jnp.sin(angle)
    down, right = (jnp.arange(n, dtype=jnp.float32) - (n - 1) / 2 for n in (height, width))
    down, right = down[:, None], right[None]
    right, down = c * right - s * down, s * right + c * down  # of the place it comes from
    at = [up * (down + (height - 1) / 2), up * (right + (width - 1) / 2)]
    y = jax.vmap(lambda plane: ndimage.map_coordinates(plane, at, 1), 2, 2)(fine)
    edge = 2 * LOBES - 0.5  # half a pixel more than the taps need, as in the authors' code
    return y, (abs(down) <= (height - 1) / 2 - edge) & (abs(right) <= (width - 1) / 2 - edge)


def filtered(x: Array, angle: Array) -> tuple[Array, Array]:
    """Turned images without the frequencies that `rotate` takes out of unturned ones: the paper's pseudo-rotation.

    Args:
      x: [B, H, W, C].
      angle: [B], radians, by which what they show was turned.
    Returns:
      As `translate_fractional`.
    Source: appendix E.3.
    """
    line = lambda n: (np.arange(n) >= 2 * LOBES - 1) & (np.arange(n) <= n - 2 * LOBES)
    valid = line(x.shape[1])[:, None] & line(x.shape[2])[None]
    y = jax.vmap(lambda x, angle: _filter(x, bandlimit(-angle, 1)))(x, angle)
    return y, jnp.broadcast_to(valid[None], x.shape[:3])


def _filter(x, taps):
    """x [H, W, C], taps [2 r, up, 2 r, up] -> [up H, up W, C]: up x up samples for each pixel, zeros outside."""
    (height, width, channels), (count, up, _, _) = x.shape, taps.shape
    x = jnp.pad(x, ((count // 2 - 1, count // 2), (count // 2 - 1, count // 2), (0, 0)))
    near = jnp.stack([x[:, count - 1 - j :][:, :width] for j in range(count)], 2)
    total = sum(jnp.einsum("hwjc,pjq->hpwqc", near[count - 1 - i :][:height], taps[i], precision="highest") for i in range(count))
    return total.reshape(up * height, up * width, channels)


def bandlimit(angle: Array, up: int) -> Array:
    """The low-pass filter of what both the pixels and those turned by `angle` can hold, windowed:

      f(x) = (s * s_R)(x) (l * l_R)(x),   s the sinc whose band is the unit square, l the square Lanczos window,

    s_R and l_R the same, turned, and * convolution; here sums over places 1 / up apart. For up > 1 the first sum is the integral,
    the Fourier transform of the `octagon` in which both squares overlap. For up = 1 it is s_R alone, as s is 0 at the other
    pixels: the corners of the turned square, which the pixels cannot hold, wrap around. So it is in the authors' code, from which
    published values are; it lowers EQ-R of images with much above 0.1 cycles a pixel.

    Args:
      angle: [], radians.
      up: samples a pixel along an axis.
    Returns:
      [12, up, 12, up]: at the places d - 6 + k / up, in pixels; those of one k along either axis sum up to 1.
    Source: appendix E.3.
    """
    reach = 2 * LOBES
    line = (np.arange(2 * reach * up, dtype=np.float32) - reach * up) / up
    x, y = jnp.meshgrid(line, line)
    c, s = jnp.cos(angle), jnp.sin(angle)
    f = octagon(x, y, angle) if up > 1 else jnp.sinc(c * x + s * y) * jnp.sinc(c * y - s * x)
    f = (f * _windows(line, angle, up)).at[0].set(0).at[:, 0].set(0)  # one side has as many places as the other
    f = f.reshape(2 * reach, up, 2 * reach, up)
    return f / f.sum((0, 2), keepdims=True)


def _windows(line, angle, up):
    """(l * l_R)(x, y) at the places of `line`, x and y. The first is separable: a matrix for either axis."""
    far = math.ceil(math.sqrt(2) * LOBES * up)
    inner = np.arange(-far, far + 1, dtype=np.float32) / up
    lanczos = lambda u: jnp.where(jnp.abs(u) < LOBES, jnp.sinc(u / LOBES), 0)
    x, y = jnp.meshgrid(inner, inner)
    c, s = jnp.cos(angle), jnp.sin(angle)
    turned = lanczos(c * x + s * y) * lanczos(c * y - s * x)
    across = lanczos(line[:, None] - inner[None])
    return jnp.einsum("iy,yx,jx->ij", across, turned, across, precision="highest")


def octagon(x: AnyArray, y: AnyArray, angle: Array) -> Array:
    """The Fourier transform of where the unit square and the one turned by `angle` overlap.

    By the divergence theorem it is a sum over pairs of opposite edges: with the normal n, the direction t, the length L and the
    middle m, (x . n) L sinc(L x . t) sin(2 pi x . m) / (pi |x|^2).

    Args:
      x, y: arrays of one shape. angle: [], radians.
    Returns:
      Of the same shape; the area where x = y = 0.
    """
    turn = jnp.mod(angle, math.pi / 2)
    one, two = jnp.tan(turn / 2), jnp.tan((math.pi / 2 - turn) / 2)  # to the next edge, from the last one
    length = (one + two) / 2
    square = x * x + y * y
    total = 0
    for normal, middle in ((0, one - two), (turn, two - one)):
        for quarter in (0, math.pi / 2):
            c, s = jnp.cos(normal + quarter), jnp.sin(normal + quarter)
            out, along = x * c + y * s, y * c - x * s
            total += out * length * jnp.sinc(length * along) * jnp.sin(math.pi * (out + along * middle / 2))
    return jnp.where(square == 0, 2 * length, total / (math.pi * jnp.where(square == 0, 1, square)))


def _transform(right=0.0, down=0.0, angle=0.0):
    """`models.stylegan3.moved` of arrays [B], the angle in radians -> [B, 3, 3]."""
    right, down, angle = jnp.broadcast_arrays(right, down, angle)
    c, s, zero, one = jnp.cos(angle), jnp.sin(angle), jnp.zeros_like(angle), jnp.ones_like(angle)
    return jnp.stack([jnp.stack(row, 1) for row in ((c, s, right), (-s, c, down), (zero, zero, one))], 1)
