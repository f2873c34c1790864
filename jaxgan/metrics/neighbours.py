"""Exact distances between many feature rows, in blocks: float32 products on the device, float64 where it matters.

All pairs go through |a|^2 + |b|^2 - 2 ab of centred float32 rows, which is fast and has a known error bound. The few
pairs that the bound leaves undecided are recomputed from their differences in float64 on the host. So the result does
not depend on device or block size, equal images are at distance 0, and ties are exact. The memory for N rows is twice
the features plus a few blocks, never N x N.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.typing import Array

BLOCK = 4096  # rows at a time: a block of distances takes 4 BLOCK^2 = 64 MiB
SPARE = 8  # candidates kept besides the k nearest of the float32 pass


class Centred(NamedTuple):
    """Feature rows for the float32 pass."""

    rows: np.ndarray | jax.Array  # [n, F] float32
    norms: np.ndarray | jax.Array  # [n] float32, their squared lengths


class Nearest(NamedTuple):
    """The k nearest rows to each query, nearest first; ties in order of index."""

    distances: np.ndarray  # [n, k] float64, Euclidean
    indices: np.ndarray  # [n, k] int64


def nearest(points: np.ndarray, queries: np.ndarray, k: int, *, skip: np.ndarray | None = None, block: int = BLOCK) -> Nearest:
    """The k nearest of `points` to each of `queries`.

    Args:
      points: [N, F] float32 or float64, finite. queries: [n, F].
      k: number of neighbours, at most N (N - 1 with `skip`).
      skip: int [n], a row of `points` to exclude for each query: itself, if queries are points.
      block: rows at a time.
    Returns:
      `Nearest`. Exact in float64, unless more than 8 points lie within the float32 rounding of the k-th distance (the
      distance is then right to about 1e-3 of the spread of the points, and duplicates are still found at 0).
    Raises:
      ValueError: k too large, or widths differ.
    """
    if not 1 <= k <= len(points) - (skip is not None) or points.shape[1] != queries.shape[1]:
        raise ValueError(f"nearest: k = {k} of points {points.shape} to queries {queries.shape}; lower k or give more points")
    mid = centre(points)
    rows = centred(points, mid)
    skip = np.full(len(queries), -1) if skip is None else np.asarray(skip)
    found = [
        _refined(points, rows, queries[i : i + block], mid, skip[i : i + block], k, block) for i in range(0, len(queries), block)
    ]
    return Nearest(*(np.concatenate(part) for part in zip(*found, strict=True)))


def centre(x: np.ndarray) -> np.ndarray:
    """A point [F] amid the rows: the median of each feature over about a thousand of them. (One row far away would move the mean
    so far that float32 did not tell the others apart.)"""
    return np.median(x[:: max(1, len(x) // 1000)].astype(np.float64), axis=0)


def centred(x: np.ndarray, mid: np.ndarray) -> Centred:
    """x - mid in float64, rounded to float32."""
    out, norms = np.empty(x.shape, np.float32), np.empty(len(x), np.float32)
    for i in range(0, len(x), BLOCK):
        part = x[i : i + BLOCK] - mid
        out[i : i + BLOCK], norms[i : i + BLOCK] = part, np.einsum("nf,nf->n", part, part)
    return Centred(out, norms)


def part(x: Centred, start: int, block: int) -> Centred:
    """Rows start .. start + block, on the device."""
    return Centred(jnp.asarray(x.rows[start : start + block]), jnp.asarray(x.norms[start : start + block]))


def squared(a: Centred, b: Centred) -> tuple[Array, Array]:
    """Squared distances [n, m], and the bound [n, m] on their error; to be called inside jit.

    The norms are passed in: if computed here, XLA on a CPU fuses them into the product and takes twice the time.
    """
    norms = a.norms[:, None] + b.norms[None, :]
    bound = float(np.finfo(np.float32).eps * (8 + 2 * np.sqrt(a.rows.shape[1]))) * norms
    return norms - 2 * jnp.matmul(a.rows, b.rows.T, precision="highest"), bound


def measured(a: np.ndarray, b: np.ndarray, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """Distances [P] float64 of the pairs (a[i], b[j]), from their differences: the same for a pair in any block."""
    out = np.empty(len(i))
    step = max(1, 2**22 // a.shape[1])
    for p in range(0, len(i), step):
        d = a[i[p : p + step]].astype(np.float64) - b[j[p : p + step]]
        out[p : p + step] = np.sqrt((d * d).sum(axis=1))
    return out


def _refined(points, rows, queries, mid, skip, k, block):
    """`nearest` for one block of queries: (distances [n, k], indices [n, k])."""
    q = part(centred(queries, mid), 0, len(queries))
    values, indices = [], []
    for start in range(0, len(points), block):
        v, i = _closest(q, part(rows, start, block), skip - start, min(k + SPARE, block, len(points) - start))
        values.append(np.asarray(v))
        indices.append(np.asarray(i, np.int64) + start)
    values, indices = np.concatenate(values, axis=1), np.concatenate(indices, axis=1)
    keep = min(k + SPARE, values.shape[1])
    indices = np.take_along_axis(indices, np.argpartition(values, keep - 1, axis=1)[:, :keep], axis=1)
    n = len(queries)
    exact = measured(queries, points, np.repeat(np.arange(n), keep), indices.ravel()).reshape(n, keep)
    exact[indices == skip[:, None]] = np.inf
    order = np.lexsort((indices, exact), axis=1)[:, :k]
    return np.take_along_axis(exact, order, axis=1), np.take_along_axis(indices, order, axis=1)


@functools.partial(jax.jit, static_argnums=3)
def _closest(q, p, skip, count):
    d2, _ = squared(q, p)
    d2 = jnp.where(jnp.arange(d2.shape[1])[None, :] == skip[:, None], jnp.inf, d2)
    negative, indices = jax.lax.top_k(-d2, count)
    return -negative, indices
