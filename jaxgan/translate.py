"""Images made from images by a trained generator (pix2pix, CycleGAN), and how far they are from what they should be."""

from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxgan import latents, parallel
from jaxgan.data import Source, stream
from jaxgan.data.images import with_channels
from jaxgan.errors import UserError
from jaxgan.typing import Variables

CHUNK = 8
"""Images the generator makes at once on a device. Always this many, so that an image's result does not depend on the others."""


def _translate(generator: nn.Module, noisy: bool, held, index, source):
    """uint8 [B, H, W, C] from source images uint8 [B, H, W, Cs] and their numbers [B]."""
    variables, key = held
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(index) if noisy else None
    x = generator.apply(variables, source.astype(jnp.float32) / 127.5 - 1, keys=keys, train=False)
    return latents.as_bytes(x)


def translate(
    generator: nn.Module,
    variables: Variables,
    images: np.ndarray,
    *,
    seed: int | None = 0,
    first: int = 0,
    same: bool = False,
    chunk: int = CHUNK,
) -> np.ndarray:
    """What a generator makes of source images.

    Args:
      generator: a module of `jaxgan.models.pix2pix` or `cyclegan`.
      variables: {'params': ..., **stats}.
      images: uint8 [n, H, W, C] with the generator's H, W and source channels, n at least 1.
      seed: of the generator's noise, its dropout; image i is a function of (seed, first + i, the source image). None for no
        noise.
      first: number of the first image.
      same: all have the noise of the first, as frames of a film, which would flicker.
      chunk: images at once on a device, which may change the rounding.
    Returns:
      uint8 [n, H, W, C of the target].
    Raises:
      UserError: a generator that makes images from noise; images of another type or size.
    """
    check(generator, images)
    index = first + np.arange(len(images), dtype=np.int32) * (not same)
    held = variables, jax.random.key(seed or 0)
    return np.concatenate(list(parallel.in_chunks(_translate, (generator, seed is not None), held, (index, images), chunk)))


def of_source(
    generator: nn.Module, variables: Variables, inputs: Source, index: np.ndarray, *, seed: int | None = 0
) -> Iterator[np.ndarray]:
    """What a generator makes of these images of a set, a piece at a time: yields uint8 [k, H, W, C]."""
    for i in range(0, len(index), 256):
        yield translate(generator, variables, inputs.read(index[i : i + 256]), seed=seed, first=i)


def two_way(generator: nn.Module) -> bool:
    """Whether it translates in both directions, of images stacked along the channels (CycleGAN)."""
    return hasattr(generator, "one_way")


def one_way(generator: nn.Module, variables: Variables, reverse: bool = False) -> tuple[nn.Module, Variables]:
    """The network of one direction by itself, A to B or with `reverse` B to A, and its variables.

    Args:
      generator: one that translates both ways; any other is returned as it is. variables: {'params': ..., **stats}.
    Raises:
      UserError: `reverse` of one that translates one way only.
    """
    if not two_way(generator):
        if reverse:
            raise UserError("reverse: this generator translates one way only, not both as CycleGAN's; leave it out")
        return generator, variables
    network, name = generator.one_way(reverse)
    return network, {kind: tree[name] for kind, tree in variables.items()}


def halves(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The two images of each of [..., 2 C]."""
    return tuple(np.split(images, 2, -1))


def half(source: Source, second: bool = False) -> Source:
    """The first or second images of a set of stacked ones."""
    h, w, c = source.shape
    read = lambda indices: halves(source.read(indices))[second]
    return source._replace(shape=(h, w, c // 2), read=read, inputs=None, sides=(), truth=None)


def one_set(source: Source, held: int, second: bool = False) -> Source:
    """Set A, or B, of a set of stacked images, each image once (in pairs the smaller set's are repeated).

    Args:
      source: `shuffled` as the run's, where some are held out.
      held: only the images of the last so many pairs, which are held out; 0 for all.
    Returns:
      Source, with what its images are on the other side under `inputs`, where that is known.
    """
    if not held:
        return source.sides[second]
    part = lambda of, k: half(of, k)._replace(n=held, read=lambda i: half(of, k).read(source.n - held + np.asarray(i)))
    return part(source, second)._replace(inputs=source.truth and part(source.truth, not second))


def check(generator: nn.Module, images: np.ndarray) -> None:
    """UserError unless the generator translates, and such images."""
    if generator.z_dim:
        raise UserError("this generator makes images from noise, not from source images: use sample")
    want = (*generator.shape[:2], generator.source_channels)
    if not hasattr(images, "dtype"):
        raise UserError(f"source images are a {type(images).__name__}; give an array, uint8 [n, {', '.join(map(str, want))}]")
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != want or not len(images):
        size = ", ".join(map(str, want))
        raise UserError(f"source images are {images.dtype} {list(images.shape)}; they must be uint8 [n, {size}]")


class Distance(NamedTuple):
    """How far generated images are from their targets."""

    l1: float
    """Mean absolute difference in grey levels, [0, 255]."""
    psnr: float
    """Peak signal-to-noise ratio in dB, the mean over images; 100 for an image that is equal."""


def distance(targets: np.ndarray, fakes: np.ndarray) -> Distance:
    """L1 and PSNR of paired images: mean |x - y|, and 10 log10(255^2 / mean (x - y)^2) of each image.

    Args:
      targets, fakes: uint8 [n, H, W, C].
    """
    sums, squares = 0.0, np.empty(len(fakes))
    for i in range(0, len(fakes), 64):
        each = fakes[i : i + 64].astype(np.float64) - targets[i : i + 64]
        sums += np.abs(each).sum()
        squares[i : i + 64] = np.square(each).mean((1, 2, 3))
    return Distance(float(sums / fakes.size), float((10 * np.log10(255**2 / np.maximum(squares, 255**2 / 1e10))).mean()))


def held_out(source: Source, held: int, n: int, seed: int) -> np.ndarray:
    """Numbers of up to n pairs to look at: the last `held` of the set, or without any the first that are trained on."""
    if held:
        return np.arange(source.n - held, source.n)[:n]
    return stream.indices(seed, 0, min(n, source.n), source.n)


def side_by_side(*sets: np.ndarray) -> np.ndarray:
    """uint8 [k n, H, W, C] of k sets of n images: the first of each set, then the second of each, ...; all with the channels
    of those that have the most."""
    most = max(images.shape[3] for images in sets)
    alike = [with_channels(images, most) for images in sets]
    return np.stack(alike, 1).reshape(-1, *alike[0].shape[1:])
