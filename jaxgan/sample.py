"""Images of a generator: of seeds, labels, truncation and noise, and with mixed styles."""

import inspect
import math
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxgan import label_vectors, parallel
from jaxgan.conditional_norm import standing_statistics
from jaxgan.errors import UserError
from jaxgan.game import normal
from jaxgan.style import NOISE

CHUNK = 64
"""Images the generator makes at once on a device. Always this many: image i of a seed then is the same to the bit whatever n
is. (On a CPU another number of devices or cores may round a pixel in a hundred thousand to its neighbour.)"""


def _drawn(generator: nn.Module, key, index, threshold):
    """z [B, z_dim], classes [B] and the generator's keys [B] of the images of these indices."""
    keys = jax.vmap(lambda i: jax.random.split(jax.random.fold_in(key, i), 3))(index)
    bound = jax.vmap(lambda k: jax.random.truncated_normal(k, -threshold, threshold, (generator.z_dim,)))
    z = jnp.where(jnp.isinf(threshold), normal(keys[:, 0], generator.z_dim), bound(keys[:, 0]))
    c = jax.vmap(lambda k: jax.random.randint(k, (), 0, generator.classes))(keys[:, 1]) if generator.classes else None
    return z, c, keys[:, 2]


def _draws(generator: nn.Module, held, index, label):
    """`_drawn`, but with the labels that were asked for: label int32 [B], -1 draws one, or vectors [B, classes]."""
    _, key, _, threshold = held
    z, c, keys = _drawn(generator, key, index, threshold)
    if generator.classes:
        c = jnp.where(label < 0, c, label) if label.ndim == 1 else label
    return z, c, keys


def _generate(generator: nn.Module, noise: str | None, held, index, label):
    """uint8 [B, H, W, C]: the images of these indices; label as `_draws` has it."""
    variables, _, psi, _ = held
    z, c, keys = _draws(generator, held, index, label)
    options = {"noise": noise} if noise else {}
    if _has_styles(generator):
        options["psi"] = psi
    else:
        z = psi * z
    return _as_bytes(generator.apply(variables, z, c, keys=keys, train=False, **options))


def _mixed(generator: nn.Module, noise: str | None, layers: tuple[int, int], held, index, other, label):
    """uint8 [B, H, W, C]: the images of `index` with the styles of `other` in the layers [layers[0], layers[1])."""
    variables, _, psi, _ = held

    def styles(index):
        z, c, keys = _draws(generator, held, index, label)
        return generator.apply(variables, z, c, psi=psi, method="mapping"), c, keys

    (w, c, keys), (theirs, _, _) = styles(index), styles(other)
    layer = jnp.arange(generator.layers)[None, :, None]
    w = jnp.where((layers[0] <= layer) & (layer < layers[1]), theirs, w)
    options = {"noise": noise} if noise else {}
    return _as_bytes(generator.apply(variables, w, c, keys=keys, method="synthesis", **options))


def _as_bytes(x):
    return jnp.clip(jnp.round((x.astype(jnp.float32) + 1) * 127.5), 0, 255).astype(jnp.uint8)


def _has_styles(generator: nn.Module) -> bool:
    return hasattr(generator, "mapping")


def standing(generator: nn.Module, variables, batches: int, *, psi: float = 1.0, threshold: float | None = None, vectors=None):
    """The variables with batch norm's statistics made for sampling: `conditional_norm.standing_statistics`.

    Args:
      generator, variables, psi, threshold: as `sample`; the statistics are of such z.
      vectors: label vectors [m, classes] to draw from; None for classes, equally likely.
      batches: of `CHUNK` images, whose statistics are averaged.
    Returns:
      New "batch_stats" beside the same arrays; `variables` itself for 0 batches, for a generator without batch norm, and
      for one that makes images from images.
    """
    if not batches or "batch_stats" not in variables or not generator.z_dim:
        return variables
    threshold = jnp.float32(jnp.inf if threshold is None else threshold)
    z, c, keys = _drawn(generator, jax.random.key(2**31 - 1), jnp.arange(batches * CHUNK), threshold)
    c = c if vectors is None else jnp.asarray(label_vectors.drawn(vectors, 2**31 - 1, batches * CHUNK))
    z, c, keys = jax.tree.map(lambda a: a.reshape(batches, CHUNK, *a.shape[1:]), (z, c, keys))
    return standing_statistics(generator, variables, psi * z, c, keys=keys)


def _held(generator: nn.Module, variables, seed: int, psi: float, threshold: float | None, noise: str | None) -> tuple:
    """What every chunk is made with. UserError where an option is wrong, or not one of this generator's."""
    if not generator.z_dim:
        raise UserError("this generator makes images from source images: give them, as --source FOLDER or translate(images)")
    if not 0 <= psi < math.inf:
        raise UserError(f"psi is {psi}; it must be a number of at least 0")
    if threshold is not None and not threshold > 0:
        raise UserError(f"threshold is {threshold}; it must be above 0")
    if not 0 <= seed < 2**32:
        raise UserError(f"seed is {seed}; it must be in [0, 2^32)")
    if noise not in (None, *NOISE):
        raise UserError(f"noise is {noise!r}; it must be one of {', '.join(NOISE)}")
    if noise and "noise" not in inspect.signature(generator.__call__).parameters:
        raise UserError(f"noise {noise}: {_kind(generator)} has no noise of its own, as StyleGAN's have; leave it out")
    threshold = jnp.float32(jnp.inf if threshold is None else threshold)
    return variables, jax.random.key(seed), jnp.float32(psi), threshold


def _kind(generator: nn.Module) -> str:
    return f"the generator of {type(generator).__module__.rpartition('.')[2]}"


def stream(
    generator: nn.Module,
    variables,
    n: int,
    *,
    seed: int = 0,
    label=None,
    psi: float = 1.0,
    threshold: float | None = None,
    noise: str | None = None,
) -> Iterator[np.ndarray]:
    """`sample` a piece at a time: yields uint8 [k, H, W, C] until there are n; all devices of this process work."""
    if n < 1:
        raise UserError(f"n is {n}; ask for at least one image")
    held = _held(generator, variables, seed, psi, threshold, noise)
    labels = _labels(label, n, generator.classes)
    yield from parallel.in_chunks(_generate, (generator, noise), held, (np.arange(n, dtype=np.int32), labels), CHUNK)


def sample(generator: nn.Module, variables, n: int, **options) -> np.ndarray:
    """n images of a generator.

    Args:
      generator: a module of `jaxgan.models`.
      variables: {'params': ..., **stats}.
      n: how many, at least 1.
    Options:
      seed: image i is a function of (seed, i, its label, psi, threshold), whatever n is.
      label: one class or one for each image, int or [n], or vectors, float [classes] or [n, classes]; None draws classes;
        only for generators with classes.
      psi: truncation: moves w towards its mean where the generator has a w (StyleGAN), else scales z (which ProGAN undoes);
        1 is the model's distribution, less is nearer to its middle.
      threshold: numbers of z beyond +-threshold are drawn again (BigGAN's truncation trick); None for no bound.
      noise: of a StyleGAN generator: 'random', of the image (the default); 'const', the same for all; 'none'.
    Returns:
      uint8 [n, H, W, C].
    Raises:
      UserError: n < 1, psi < 0, threshold <= 0, or a label or noise that the generator does not have.
    """
    return np.concatenate(list(stream(generator, variables, n, **options)))


def mix(
    generator: nn.Module,
    variables,
    grid: tuple[int, int],
    layers: tuple[int, int] | None = None,
    *,
    seed: int = 0,
    label: int | None = None,
    psi: float = 1.0,
    noise: str | None = None,
) -> np.ndarray:
    """Style mixing, as a table: each image of the row heads with some layers' styles from each image of the column heads.

    Args:
      generator: of `models.stylegan` or `models.stylegan2`. variables: its.
      grid: (rows, columns), R and C, each at least 1.
      layers: (first, end): layers first to end - 1 take the column's styles; None is the first half, what is coarse.
      seed: the row heads are images 0 to R - 1 of `sample` with this seed, the column heads R to R + C - 1.
      label, psi, noise: as `sample`; the noise is the row's.
    Returns:
      uint8 [R + 1, C + 1, H, W, channels]: the heads along [1:, 0] and [0, 1:], and [0, 0] white.
    Raises:
      UserError: a generator without styles, an empty grid, layers that it does not have, or what `sample` refuses.
    Source: Karras et al. 2019, figure 3.
    """
    if not _has_styles(generator):
        raise UserError(f"mix: {_kind(generator)} has no styles to mix; those of stylegan and stylegan2 have")
    rows, columns = grid
    if rows < 1 or columns < 1:
        raise UserError(f"mix {rows} {columns}: it needs at least one row and one column")
    first, end = (0, generator.layers // 2) if layers is None else layers
    if not 0 <= first < end <= generator.layers:
        raise UserError(f"mix-layers {first} {end}: first < end, and the layers are 0 to {generator.layers}")
    held = _held(generator, variables, seed, psi, None, noise)
    row, column = np.arange(rows, dtype=np.int32), np.arange(rows, rows + columns, dtype=np.int32)
    index, other = (np.zeros((rows + 1, columns + 1), np.int32) for _ in range(2))
    index[1:], other[1:] = row[:, None], row[:, None]
    index[0, 1:], other[:, 1:] = column, column
    labels = _labels(label, index.size, generator.classes)
    arrays = index.ravel(), other.ravel(), labels
    pieces = parallel.in_chunks(_mixed, (generator, noise, (first, end)), held, arrays, CHUNK)
    table = np.concatenate(list(pieces)).reshape(*index.shape, *generator.shape)
    table[0, 0] = 255
    return table


def _labels(label, n: int, classes: int) -> np.ndarray:
    if label is None:
        return np.full(n, -1, np.int32)
    if not classes:
        raise UserError(f"label {label}: this generator was trained without labels")
    labels = np.asarray(label)
    if labels.shape in ((n, classes), (classes,)) and np.issubdtype(labels.dtype, np.floating):
        return np.broadcast_to(labels, (n, classes)).astype(np.float32)
    if labels.shape not in ((), (n,)) or not np.issubdtype(labels.dtype, np.integer):
        raise UserError(
            f"label must be one class or {n}, as integers, or vectors [{n}, {classes}]; it is {labels.dtype} {labels.shape}"
        )
    if labels.min() < 0 or labels.max() >= classes:
        raise UserError(f"label {label}: the classes are 0 to {classes - 1}")
    return np.broadcast_to(labels, n).astype(np.int32)
