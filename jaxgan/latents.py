"""A generator's latents: draw them, edit them, and generate images from them.

A latent's code is w, a style for each layer, for generators with styles (StyleGANs), else z. `images(draw(n))` are the images
of `sample.sample(n)`, up to float rounding.
"""

import inspect
import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxgan import parallel
from jaxgan.errors import UserError
from jaxgan.game import normal
from jaxgan.style import NOISE
from jaxgan.typing import AnyArray, Array, Label, Numbers, Variables

CHUNK = 64
"""Images the generator makes at once on a device. Always this many, so that image i of a seed is bit for bit the same whatever n
is. (On a CPU, another number of devices or cores may change one pixel in a hundred thousand by one level.)"""


SOURCES = "this generator makes images from source images: give them, as sample --source FOLDER or translate(images)"


class Latents(NamedTuple):
    """The latents of n images, as host arrays with n rows; `_replace(code=...)` gives edited ones."""

    code: np.ndarray
    """float32: z [n, z_dim], or w [n, layers, w_dim] of a generator with styles."""
    c: np.ndarray | None
    """Classes int32 [n] or label vectors float32 [n, classes]; None without labels."""
    keys: np.ndarray
    """uint32 [n, words], key data for an image's other random draws, such as StyleGAN's noise."""

    def take(self, rows: Any) -> "Latents":
        """The latents of some of the images: an array of indices or a slice."""
        return Latents(self.code[rows], None if self.c is None else self.c[rows], self.keys[rows])


def joined(parts: Iterable[Latents]) -> Latents:
    """The parts' latents, concatenated."""
    return Latents(*(None if arrays[0] is None else np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def has_styles(generator: nn.Module) -> bool:
    """Whether its latents are w."""
    return hasattr(generator, "mapping")


def has_noise(generator: nn.Module) -> bool:
    """Whether its layers have noise inputs, as those of StyleGAN 1 and 2."""
    return "noise" in inspect.signature(generator.__call__).parameters


def kind(generator: nn.Module) -> str:
    """Its name in error messages."""
    return f"the generator of {type(generator).__module__.rpartition('.')[2]}"


def drawn(generator: nn.Module, key: Array, index: Array, threshold: Array) -> tuple[Array, Array | None, Array]:
    """z [B, z_dim], classes [B] (None without) and the generator's keys [B] of the images of these indices."""
    keys = jax.vmap(lambda i: jax.random.split(jax.random.fold_in(key, i), 3))(index)
    bound = jax.vmap(lambda k: jax.random.truncated_normal(k, -threshold, threshold, (generator.z_dim,), jnp.float32))
    z = jnp.where(jnp.isinf(threshold), normal(keys[:, 0], generator.z_dim), bound(keys[:, 0]))
    label = jax.vmap(lambda k: jax.random.randint(k, (), 0, generator.classes, jnp.int32))
    c = label(keys[:, 1]) if generator.classes else None
    return z, c, keys[:, 2]


def held(
    generator: nn.Module, variables: Variables, seed: int, psi: float, threshold: float | None, noise: str | None
) -> tuple[Variables, Array, Array, Array]:
    """What all chunks have in common. UserError if an option is wrong or does not apply to this generator."""
    if not generator.z_dim:
        raise UserError(SOURCES)
    if not 0 <= psi < math.inf:
        raise UserError(f"psi is {psi}; it must be a number of at least 0")
    if threshold is not None and not threshold > 0:
        raise UserError(f"threshold is {threshold}; it must be above 0")
    if not 0 <= seed < 2**32:
        raise UserError(f"seed is {seed}; it must be in [0, 2^32)")
    check_noise(generator, noise)
    threshold = jnp.float32(jnp.inf if threshold is None else threshold)
    return variables, jax.random.key(seed), jnp.float32(psi), threshold


def check_noise(generator: nn.Module, noise: str | None) -> None:
    """UserError if `noise` is not a kind of noise, or the generator has no noise inputs."""
    if noise not in (None, *NOISE):
        raise UserError(f"noise is {noise!r}; it must be one of {', '.join(NOISE)}")
    if noise and not has_noise(generator):
        raise UserError(f"noise {noise}: {kind(generator)} has no noise inputs, as StyleGAN 1 and 2 do; leave it out")


def numbers(n: Numbers, first: int = 0) -> np.ndarray:
    """Which images of a seed are asked for, int32 [m]: n of them from number `first` on, or with several n, first + n.

    Raises:
      UserError: none, or numbers that no image has.
    """
    if np.ndim(n) == 0 and n < 1:
        raise UserError(f"n is {n}; ask for at least one image")
    if np.ndim(n) == 0 and not 0 <= first <= 2**31 - n:
        raise UserError(f"first is {first}; images are counted from 0 to 2^31 - 1")
    wanted = np.arange(n) if np.ndim(n) == 0 else np.asarray(n)
    if wanted.ndim != 1 or not wanted.size or wanted.dtype.kind not in "iu":
        raise UserError(f"n is {wanted.dtype} {list(wanted.shape)}; give how many images, or the numbers of one or more: [3, 17]")
    if not 0 <= wanted.min() + first <= wanted.max() + first < 2**31:
        raise UserError(f"n is {wanted.tolist()}; images are counted from 0 to 2^31 - 1")
    return (first + wanted.astype(np.int64)).astype(np.int32)


def labels_of(label: Label | None, n: int, classes: int) -> np.ndarray:
    """The requested labels as int32 [n], -1 where to be drawn, or float32 [n, classes]. UserError if invalid."""
    if label is None:
        return np.full(n, -1, np.int32)
    if not classes:
        raise UserError(f"label {label}: this generator was trained without labels")
    labels = np.asarray(label)
    rows = labels.shape == (n, classes) and labels.dtype.kind in "biuf"  # of one vector, whole numbers are taken for classes
    if rows or labels.shape == (classes,) and np.issubdtype(labels.dtype, np.floating):
        return np.broadcast_to(labels, (n, classes)).astype(np.float32)
    if labels.shape not in ((), (n,)) or not np.issubdtype(labels.dtype, np.integer):
        raise UserError(
            f"label must be one class or {n}, as integers, or vectors [{n}, {classes}] or [{classes}], as floats; "
            f"it is {labels.dtype} {labels.shape}"
        )
    if labels.min() < 0 or labels.max() >= classes:
        raise UserError(f"label {label}: the classes are 0 to {classes - 1}")
    return np.broadcast_to(labels, n).astype(np.int32)


def chosen(generator: nn.Module, n: int, label: Label | None, category: Label | None, psi: float = 1.0) -> np.ndarray:
    """What `codes` takes as label: `labels_of` the label, or in the same form the category. UserError if invalid."""
    if category is None:
        return labels_of(label, n, generator.classes)
    if not (values := getattr(generator, "categories", 0)):
        raise UserError(f"category {category}: {kind(generator)} has no categorical code, as infogan's does; leave it out")
    wanted = np.asarray(category)
    if not np.issubdtype(wanted.dtype, np.integer) or wanted.shape not in ((), (n,)):
        raise UserError(f"category must be one integer or {n}; it is {wanted.dtype} {wanted.shape}")
    if wanted.min() < 0 or wanted.max() >= values:
        raise UserError(f"category {category}: the categories are 0 to {values - 1}")
    if label is not None or psi == 0:
        said = f"label {label}" if label is not None else "psi 0"
        raise UserError(f"{said} cannot be combined with a category; leave one of the two out")
    return np.broadcast_to(wanted, n).astype(np.int32)


def codes(
    generator: nn.Module, held: tuple[Variables, Array, Array, Array], index: Array, label: Array
) -> tuple[Array, Array | None, Array]:
    """(code, c, keys) of the images of these indices; label as `chosen` gives it. Traced."""
    variables, key, psi, threshold = held
    z, c, keys = drawn(generator, key, index, threshold)
    if generator.classes:
        c = jnp.where(label < 0, c, label) if label.ndim == 1 else label
    elif getattr(generator, "categories", 0):
        z = generator.with_category(z, label)
    if has_styles(generator):
        return generator.apply(variables, z, c, psi=psi, method="mapping"), c, keys
    return psi * z, c, keys


def render(
    generator: nn.Module,
    variables: Variables,
    code: AnyArray,
    c: AnyArray | None,
    keys: Array | None,
    noise: str | None = None,
    transform: AnyArray | None = None,
) -> Array:
    """The images of codes, float32 [B, H, W, C], about [-1, 1]; typed keys [B]. Differentiable, and traced."""
    options = ({"noise": noise} if noise else {}) | ({} if transform is None else {"transform": transform})
    if has_styles(generator):
        return generator.apply(variables, code, c, keys=keys, method="synthesis", **options)
    return generator.apply(variables, code, c, keys=keys, train=False, **options).astype(jnp.float32)


def as_bytes(x: AnyArray) -> Array:
    """[-1, 1] -> uint8."""
    return jnp.clip(jnp.round((x.astype(jnp.float32) + 1) * 127.5), 0, 255).astype(jnp.uint8)


def draw(
    generator: nn.Module,
    variables: Variables,
    n: Numbers,
    *,
    seed: int = 0,
    label: Label | None = None,
    psi: float = 1.0,
    threshold: float | None = None,
    category: Label | None = None,
    first: int = 0,
) -> Latents:
    """The latents of the images that `sample.sample` makes of the same arguments: n of them from image `first` on.

    Raises:
      UserError: what `sample.sample` refuses.
    """
    index = numbers(n, first)
    holds = held(generator, variables, seed, psi, threshold, None)
    arrays = index, chosen(generator, len(index), label, category, psi)
    return joined(Latents(*piece) for piece in parallel.in_chunks(_codes, (generator,), holds, arrays, CHUNK))


def _codes(generator, held, index, label):
    code, c, keys = codes(generator, held, index, label)
    return code, c, jax.random.key_data(keys)


def images(
    generator: nn.Module,
    variables: Variables,
    latents: Latents,
    *,
    noise: str | None = None,
    transform: AnyArray | None = None,
) -> np.ndarray:
    """The images of latents.

    Args:
      generator: a module of `jaxgan.models`. variables: its {'params': ..., **stats}.
      latents: as `draw` gives them, edited or not; n of them.
      noise: of a StyleGAN generator: 'random' by `latents.keys` (the default), 'const', 'none'.
      transform: of a StyleGAN3: float [3, 3], or [n, 3, 3] for each image its own, by which they are moved, as
        `models.stylegan3.moved` gives it.
    Returns:
      uint8 [n, H, W, C].
    Raises:
      UserError: no latents, codes or labels of another shape than the generator's, or noise or a transform that it does not have.
    """
    arrays = checked(generator, latents, noise)
    if transform is not None:
        arrays = *arrays, transforms(generator, transform, len(arrays[0]))
    pieces = parallel.in_chunks(_images, (generator, noise), variables, arrays, CHUNK)
    return np.concatenate(list(pieces))


def checked(generator: nn.Module, latents: Latents, noise: str | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Code, labels as `labels_of` gives them and keys. UserError where they, or the noise, do not fit the generator."""
    if not generator.z_dim:
        raise UserError(SOURCES)
    if not isinstance(latents, Latents):
        raise UserError(f"latents: a {type(latents).__name__}; give Latents, such as latents(n)._replace(code=...)")
    check_noise(generator, noise)
    shape = (generator.layers, generator.w_dim) if has_styles(generator) else (generator.z_dim,)
    code = np.asarray(latents.code, np.float32)
    if len(code) < 1 or code.shape[1:] != shape:
        raise UserError(f"latents: the code of {kind(generator)} is [n, {', '.join(map(str, shape))}], not {list(code.shape)}")
    keys = np.asarray(latents.keys)
    words = jax.eval_shape(lambda: jax.random.key_data(jax.random.key(0))).shape
    if keys.dtype != np.uint32 or keys.shape != (len(code), *words):
        raise UserError(f"latents: keys are {keys.dtype} {list(keys.shape)}; give uint32 {[len(code), *words]}, one per latent")
    if generator.classes and latents.c is None:
        raise UserError(f"latents: {kind(generator)} has {generator.classes} classes; give c")
    c = labels_of(latents.c if generator.classes else None, len(code), generator.classes)
    return code, c, keys


def _images(generator, noise, variables, code, c, keys, transform=None):
    c = c if generator.classes else None
    return as_bytes(render(generator, variables, code, c, jax.random.wrap_key_data(keys), noise, transform))


def check_moves(generator: nn.Module) -> None:
    """UserError unless its images can be moved, as those of StyleGAN3."""
    if not (has_styles(generator) and "transform" in inspect.signature(generator.synthesis).parameters):
        raise UserError(f"transform: the images of {kind(generator)} cannot be moved, as those of StyleGAN3 can; leave it out")


def transforms(generator: nn.Module, transform: AnyArray, n: int) -> np.ndarray:
    """float32 [n, 3, 3]. UserError where they are others, or the generator has none."""
    check_moves(generator)
    array = np.asarray(transform, np.float32)
    if array.shape not in ((3, 3), (n, 3, 3)) or not np.isfinite(array).all():
        want = f"give finite numbers [3, 3] or [{n}, 3, 3], as stylegan3.moved makes them"
        raise UserError(f"transform: {list(array.shape)}; {want}")
    return np.broadcast_to(array, (n, 3, 3))
