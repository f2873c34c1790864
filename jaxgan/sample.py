"""Sample images from a generator: seeds, labels, truncation, noise, style mixing."""

from collections.abc import Iterator
from typing import TypedDict, Unpack

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxgan import label_vectors, latents, parallel
from jaxgan.conditional_norm import standing_statistics
from jaxgan.errors import UserError
from jaxgan.latents import CHUNK
from jaxgan.typing import Label, Numbers, Variables


def _generate(generator: nn.Module, noise: str | None, held, index, label):
    """uint8 [B, H, W, C]: the images of these indices; label as `latents.chosen` gives it."""
    return latents.as_bytes(latents.render(generator, held[0], *latents.codes(generator, held, index, label), noise))


def _mixed(generator: nn.Module, noise: str | None, layers: tuple[int, int], held, index, other, label):
    """uint8 [B, H, W, C]: the images of `index` with the styles of `other` in the layers [layers[0], layers[1])."""
    w, c, keys = latents.codes(generator, held, index, label)
    theirs, _, _ = latents.codes(generator, held, other, label)
    layer = jnp.arange(generator.layers)[None, :, None]
    w = jnp.where((layers[0] <= layer) & (layer < layers[1]), theirs, w)
    return latents.as_bytes(latents.render(generator, held[0], w, c, keys, noise))


def standing(
    generator: nn.Module,
    variables: Variables,
    batches: int,
    *,
    psi: float = 1.0,
    threshold: float | None = None,
    vectors: np.ndarray | None = None,
) -> Variables:
    """The variables with batch-norm statistics for sampling: `conditional_norm.standing_statistics`.

    Args:
      generator, variables, psi, threshold: as `sample`; the statistics are computed with such z.
      vectors: label vectors [m, classes] to draw from; None for classes, equally likely.
      batches: of `CHUNK` images, whose statistics are averaged.
    Returns:
      The same arrays with new "batch_stats"; `variables` itself for 0 batches, for a generator without batch norm, and
      for one that makes images from images.
    """
    if not batches or "batch_stats" not in variables or not generator.z_dim:
        return variables
    threshold = jnp.float32(jnp.inf if threshold is None else threshold)
    z, c, keys = latents.drawn(generator, jax.random.key(2**31 - 1), jnp.arange(batches * CHUNK), threshold)
    c = c if vectors is None else jnp.asarray(label_vectors.drawn(vectors, 2**31 - 1, batches * CHUNK))
    z, c, keys = jax.tree.map(lambda a: a.reshape(batches, CHUNK, *a.shape[1:]), (z, c, keys))
    return standing_statistics(generator, variables, psi * z, c, keys=keys)


def stream(
    generator: nn.Module,
    variables: Variables,
    n: Numbers,
    *,
    seed: int = 0,
    label: Label | None = None,
    psi: float = 1.0,
    threshold: float | None = None,
    noise: str | None = None,
    category: Label | None = None,
) -> Iterator[np.ndarray]:
    """`sample` in pieces: yields uint8 [k, H, W, C] until there are n; uses all devices of this process."""
    index = latents.numbers(n)
    held = latents.held(generator, variables, seed, psi, threshold, noise)
    labels = latents.chosen(generator, len(index), label, category, psi)
    yield from parallel.in_chunks(_generate, (generator, noise), held, (index, labels), CHUNK)


class Options(TypedDict, total=False):
    """The options of `sample`, as types."""

    seed: int
    label: Label | None
    psi: float
    threshold: float | None
    noise: str | None
    category: Label | None


def sample(generator: nn.Module, variables: Variables, n: Numbers, **options: Unpack[Options]) -> np.ndarray:
    """Sample n images from a generator.

    Args:
      generator: a module of `jaxgan.models`.
      variables: {'params': ..., **stats}.
      n: number of images, at least 1; or the numbers of those to make, int [n], such as [3, 17] of those that 64 would give.
    Options:
      seed: image i depends only on (seed, i, its label, psi, threshold), not on n.
      label: one class or one for each image, int or [n], or vectors, float [classes] or [n, classes]; None draws classes;
        only for generators with classes.
      psi: truncation: moves w towards its mean if the generator has a w (StyleGAN), else scales z (which ProGAN undoes);
        1 is the model's distribution, less is closer to its mean.
      threshold: entries of z beyond +-threshold are resampled (BigGAN's truncation trick); None for no bound.
      noise: StyleGAN's noise inputs: 'random', per image (the default); 'const', the same for all; 'none'.
      category: InfoGAN's categorical code, one for all or one for each image, int or [n]; image i then has the z of the same
        seed with two entries exchanged (`models.infogan`). None draws it.
    Returns:
      uint8 [n, H, W, C].
    Raises:
      UserError: n < 1, psi < 0, threshold <= 0, or a label, noise or category that the generator does not have.
    """
    return np.concatenate(list(stream(generator, variables, n, **options)))


def headers(grid: tuple[Numbers, Numbers]) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of the images that are the headers of the rows and of the columns of `mix`. UserError where there are none."""
    if all(np.ndim(side) == 0 for side in grid) and min(grid) < 1:
        raise UserError(f"mix {grid[0]} {grid[1]}: it needs at least one row and one column")
    row = latents.numbers(grid[0])
    return row, latents.numbers(grid[1], len(row) if np.ndim(grid[1]) == 0 else 0)


def mix(
    generator: nn.Module,
    variables: Variables,
    grid: tuple[Numbers, Numbers],
    layers: tuple[int, int] | None = None,
    *,
    seed: int = 0,
    label: Label | None = None,
    psi: float = 1.0,
    noise: str | None = None,
) -> np.ndarray:
    """Style mixing, as a table: each row-header image with some layers' styles taken from each column-header image.

    Args:
      generator: of `models.stylegan`, `stylegan2` or `stylegan3`. variables: its.
      grid: (rows, columns), R and C, each at least 1; or the numbers of the images that are the headers: ([3, 17], [5, 2, 9]).
      layers: (first, end): layers first to end - 1 take the column's styles; None is the first half, the coarse layers.
      seed: of two numbers R and C the row headers are images 0 to R - 1 of `sample` with this seed, the column headers R to
        R + C - 1.
      label, psi, noise: as `sample`; the noise is the row's.
    Returns:
      uint8 [R + 1, C + 1, H, W, channels]: the headers at [1:, 0] and [0, 1:], and [0, 0] white.
    Raises:
      UserError: a generator without styles, an empty grid, layers that it does not have, or what `sample` refuses.
    Source: Karras et al. 2019, figure 3.
    """
    if not latents.has_styles(generator):
        raise UserError(f"mix: {latents.kind(generator)} has no styles to mix; those of StyleGANs do")
    row, column = headers(grid)
    rows, columns = len(row), len(column)
    first, end = (0, generator.layers // 2) if layers is None else layers
    if not 0 <= first < end <= generator.layers:
        raise UserError(f"mix-layers {first} {end}: give 0 <= first < end <= {generator.layers}")
    held = latents.held(generator, variables, seed, psi, None, noise)
    index, other = (np.zeros((rows + 1, columns + 1), np.int32) for _ in range(2))
    index[1:], other[1:] = row[:, None], row[:, None]
    index[0, 1:], other[:, 1:] = column, column
    labels = latents.labels_of(label, index.size, generator.classes)
    arrays = index.ravel(), other.ravel(), labels
    pieces = parallel.in_chunks(_mixed, (generator, noise, (first, end)), held, arrays, CHUNK)
    table = np.concatenate(list(pieces)).reshape(*index.shape, *generator.shape)
    table[0, 0] = 255
    return table
