"""Walks through latent space: the frames of an animation from image to image. NumPy, in float64 inside."""

import numpy as np

from jaxgan.errors import UserError
from jaxgan.latents import Latents
from jaxgan.typing import AnyArray


def walk(latents: Latents, frames: int, *, classes: int = 0, loop: bool = True, smooth: bool = False, hold: int = 0) -> Latents:
    """The latents of an animation through given key latents: `between` them, at the times of `pace`.

    Args:
      latents: two keys or more, as `latents.draw` gives them.
      frames, loop, hold: as `pace`.
      classes, smooth: as `between`.
    Returns:
      Latents of n * (frames + hold) images, or without loop of (n - 1) * frames + n * hold + 1: those at i * (frames + hold) are
      the keys.
    Raises:
      UserError: fewer than two keys, or what `pace` and `between` refuse.
    """
    if len(latents.code) < 2:
        raise UserError(f"a walk needs at least two images; there is {len(latents.code)}")
    leg, t = pace(len(latents.code), frames, loop=loop, hold=hold)
    return between(latents, leg, t, classes=classes, loop=loop, smooth=smooth)


def pace(n: int, frames: int, *, loop: bool = True, hold: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """When a walk is where.

    Args:
      n: keys.
      frames: steps from one key to the next, at least 1.
      loop: return to the first key at the end; the frame after the last is then the first.
      hold: so many more frames stay at each key. The way between them is then eased, 3 t^2 - 2 t^3, so that the motion comes to
        rest and starts again.
    Returns:
      leg int [m], t float [m] in [0, 1): how far frame i is from key `leg` on its way to the next.
    Raises:
      UserError: frames below 1, hold below 0.
    """
    if frames < 1:
        raise UserError(f"frames is {frames}; give at least 1 from one image to the next")
    if hold < 0:
        raise UserError(f"hold is {hold}; give 0 frames or more")
    each = frames + hold
    leg, at = np.divmod(np.arange(n * each if loop else n * each - frames + 1), each)
    t = np.maximum(at - hold, 0) / frames
    return leg, t * t * (3 - 2 * t) if hold else t


def between(
    latents: Latents, leg: np.ndarray, t: np.ndarray, *, classes: int = 0, loop: bool = True, smooth: bool = False
) -> Latents:
    """The latents on the way from key to key.

    z is interpolated by `great_circle`, so that what lies between is as typical as the keys; w by `cubic`, a smooth spline.
    One-hot labels are interpolated linearly.

    Args:
      latents: the keys, two or more.
      leg, t: [m]: where on the way, as `pace` gives it; any part of it gives that part of the walk.
      classes: those of the generator; needed where the labels are classes.
      loop: whether the way goes on from the last key to the first.
      smooth: interpolate z by the spline too, and its norm by a spline of the norms: great circles have an even rate, but
        corners at the keys.
    Returns:
      Latents of m images. c are vectors, float32 [m, classes]. All have the first key's `keys`, so that the noise stays the same
      and does not flicker.
    Raises:
      UserError: labels without `classes`, z that lie opposite each other (smooth: where a frame is next to 0).
    """
    styles = latents.code.ndim > 2
    circles = None if styles else great_circle(latents.code, leg, t, loop=loop)  # and refuses what lies opposite
    code = cubic(latents.code, leg, t, loop=loop) if styles or smooth else circles
    if smooth and not styles:
        norms = np.linalg.norm(latents.code.astype(np.float64), axis=1, keepdims=True)
        lengths = np.linalg.norm(code, axis=1, keepdims=True)
        if norms.min() > 0 and lengths.min() < 1e-3 * norms.min():
            raise UserError("a smooth walk passes through 0 between nearly opposite latents; insert another between them")
        scaled = code / np.where(lengths == 0, 1, lengths) * cubic(norms, leg, t, loop=loop)
        code = np.where(t[:, None] == 0, code, scaled)
    c = None if latents.c is None else _labels(np.asarray(latents.c), leg, t, classes)
    return Latents(code.astype(np.float32), c, np.repeat(latents.keys[:1], len(leg), 0))


def great_circle(points: AnyArray, leg: AnyArray, t: AnyArray, *, loop: bool = True) -> np.ndarray:
    """Spherical interpolation: the direction turns at a constant rate in the plane of both ends, the norm changes linearly.

    slerp(a, b, t) = sin((1 - t) u) / sin(u) a + sin(t u) / sin(u) b of the unit vectors a and b, u the angle between them.

    Args:
      points: [n, D], the keys.
      leg, t: [m]: positions, t in [0, 1) between point `leg` and the next; the leg after the last point leads to the first,
        or without loop stays at the last.
      loop: see leg.
    Returns:
      [m, D], float64. If both have the same direction, or one of them is 0, the interpolation is linear.
    Raises:
      UserError: two points in a row lie opposite each other: no circle between them is the shortest.
    Source: Shoemake 1985; White 2016, "Sampling Generative Networks", for latents.
    """
    points, t = np.asarray(points, np.float64), np.asarray(t, np.float64)[:, None]
    here, there = points[leg], points[_at(np.add(leg, 1), len(points), loop)]
    norms = [np.linalg.norm(p, axis=1, keepdims=True) for p in (here, there)]
    a, b = (p / np.where(norm == 0, 1, norm) for p, norm in zip((here, there), norms, strict=True))
    angle = 2 * np.arctan2(np.linalg.norm(a - b, axis=1), np.linalg.norm(a + b, axis=1))[:, None]
    nothing = (norms[0] == 0) | (norms[1] == 0)
    if (~nothing & (angle > np.pi - 1e-6)).any():
        i = int(np.asarray(leg)[(~nothing & (angle > np.pi - 1e-6))[:, 0]][0])
        raise UserError(f"a walk from latent {i} to its opposite has no unique shortest path; insert another between them")
    straight = nothing | (angle < 1e-6)
    sine = np.where(straight, 1, np.sin(angle))
    turned = (np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / sine * ((1 - t) * norms[0] + t * norms[1])
    moved = np.where(straight, (1 - t) * here + t * there, turned)
    return np.where(t == 0, here, moved)


def cubic(points: AnyArray, leg: AnyArray, t: AnyArray, *, loop: bool = True) -> np.ndarray:
    """The cubic spline through the points, at equal time steps: position, velocity and acceleration are continuous.

    The velocities m at the points p solve m[i-1] + 4 m[i] + m[i+1] = 3 (p[i+1] - p[i-1]).

    Args:
      points: [n, ...], the keys.
      leg, t, loop: as `great_circle`. Without loop the acceleration is 0 at the ends: 2 m[0] + m[1] = 3 (p[1] - p[0]).
    Returns:
      [m, ...], float64.
    Source: de Boor 1978, "A Practical Guide to Splines".
    """
    points = np.asarray(points, np.float64)
    n, leg = len(points), np.asarray(leg)
    t = np.asarray(t, np.float64).reshape(-1, *(1,) * (points.ndim - 1))
    one = np.eye(n)
    after, before = one[_at(np.arange(n) + 1, n, loop)], one[_at(np.arange(n) - 1, n, loop)]
    weights = 4 * one + after + before
    if not loop:  # the neighbour beyond an end is the end itself
        weights[[0, -1], [0, -1]] = 2
    velocity = np.linalg.solve(weights, 3 * (after - before) @ points.reshape(n, -1)).reshape(points.shape)
    there = _at(leg + 1, n, loop)
    h00, h10, h01, h11 = 2 * t**3 - 3 * t**2 + 1, t**3 - 2 * t**2 + t, 3 * t**2 - 2 * t**3, t**3 - t**2  # Hermite's
    return h00 * points[leg] + h10 * velocity[leg] + h01 * points[there] + h11 * velocity[there]


def _at(i, n: int, loop: bool):
    return i % n if loop else np.clip(i, 0, n - 1)


def _labels(c: np.ndarray, leg: np.ndarray, t: np.ndarray, classes: int) -> np.ndarray:
    """Vectors float32 [m, classes], interpolated linearly."""
    if c.ndim == 1:
        if not classes > c.max():
            raise UserError(f"a walk through the classes {sorted(set(c.tolist()))}: give classes, their number")
        c = np.eye(classes)[c]
    there = c[(leg + 1) % len(c)]  # without loop the last frame stands at the last key, and does not go on
    return ((1 - t[:, None]) * c[leg] + t[:, None] * there).astype(np.float32)
