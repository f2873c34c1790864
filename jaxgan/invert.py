"""GAN inversion: the latents that reproduce a given image, also if only a damaged view of that image is known.

The search minimises distance(damage(G(code)), observed) + prior mean(u^2), where G is clipped to [-1, 1] and u are the
latent's standardised coordinates: z itself, or (w - mean) / deviation. Without damage this projects images into the latent
space. With it a trained generator repairs them: it fills holes, sharpens, colours (Bora et al. 2017; Menon et al. 2020).
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from jaxgan import feature_losses, label_vectors, latents, parallel
from jaxgan.errors import UserError
from jaxgan.latents import Latents
from jaxgan.typing import Array, Label, Variables

SPACES = ("auto", "z", "w", "w+")
BETAS = 0.9, 0.999
UP, DOWN, SHAKEN = 0.05, 0.25, 0.75
"""Fractions of the steps: learning-rate warm-up, decay at the end, and until when noise is added to the latents."""


class Search(NamedTuple):
    """Options of the search."""

    space: str = "auto"
    """'z'; 'w', one style for all layers; 'w+', one for each, which fits nearly anything but is the least constrained to look
    like the generator's images. 'auto' is w if the generator has styles, else z."""
    draws: int = 1024
    """Generated images among which each image finds its starting points; of all classes if no label is given."""
    starts: int = 4
    """How many of the nearest are optimised, at most `draws`; the best result is kept. In w and w+ the first is the mean of w."""
    steps: int = 300
    """Steps of Adam."""
    lr: float = 0.1
    """Its maximum learning rate, in units of u."""
    prior: float = 0.01
    """Weight of the prior. Use more the noisier or less complete the image is; 0 gives the closest reconstruction."""
    shake: float = 0.0
    """Standard deviation of the normal noise added to u at the first step; it decays to 0. Karras et al. use 0.05 sqrt(w_dim)."""
    noise: str | None = None
    """StyleGAN's noise inputs, as in `latents.images`. By default random, with one key for all images."""
    features: Callable[[Array], Sequence[Array]] | None = None
    """Images [B, H, W, C] in [-1, 1] -> list of layers: their `feature_losses.perceptual` is added, on images with missing
    pixels set to 0."""
    seed: int = 0
    """Seed of the draws and of all noise. The result for an image depends only on the seed and the image, not on the others."""
    chunk: int = 4
    """Images processed at once per device, each with all its `starts`."""


class Inverted(NamedTuple):
    """The results for n images."""

    latents: Latents
    images: np.ndarray
    """uint8 [n, H, W, C]: generated from the latents, undamaged."""
    distance: np.ndarray
    """float32 [n]: from the damaged image of the latents to what was observed, without the prior."""


class _How(NamedTuple):
    """The static arguments of a compiled program."""

    space: str
    noise: str | None
    damage: Callable[[Array], Array] | None
    features: Callable[[Array], Sequence[Array]] | None


def invert(
    generator: nn.Module,
    variables: Variables,
    images: np.ndarray,
    *,
    damage: Callable[[Array], Array] | None = None,
    missing: np.ndarray | None = None,
    label: Label | None = None,
    vectors: np.ndarray | None = None,
    search: Search = Search(),
    progress: Callable[[int, int], None] | None = None,
) -> Inverted:
    """Find the latents whose images, damaged in the same way, are closest to the observed images.

    Args:
      generator: a module of `jaxgan.models` that makes images from z. variables: its {'params': ..., **stats}.
      images: the observed images, n of them: uint8, or float in [-1, 1]. [n, H, W, C], or as `damage` gives it.
      damage: images [B, H, W, C] float in [-1, 1] -> [B, ...]: how the observed images arose from the true ones; pure
        and differentiable, such as `jaxgan.damage.blur(1.5)`. Each new function is compiled again. None for no damage.
      missing: bool [H, W] or [n, H, W], unknown pixels of `images`; not all of an image.
      label: one class or one for each image, int or [n], or vectors, float [classes] or [n, classes]. None: each start has
        the class it was drawn with, and the best start's is kept.
      vectors: label vectors [m, classes] to draw from if no label is given, for a generator trained on label vectors.
      search: options.
      progress: called with (steps done, steps in all).
    Returns:
      Inverted. `latents.images(generator, variables, latents, noise=search.noise)` gives `images` again, up to rounding.
    Raises:
      UserError: images, holes or labels that do not fit, an image-to-image generator, or an option out of bounds.
    Source: Karras et al. 2020 (StyleGAN2), appendix D: Adam, its schedule, the start at the mean of w, noise that decays.
      Deviations: `feature_losses.pyramid`, LPIPS only by `features`; several starts; standardised coordinates, and the prior,
      which is their Gaussian negative log-likelihood; noise inputs are not optimised.
    """
    how = _checked(generator, search, damage)
    observed, known = _observed(generator, how, images, missing)
    n = len(observed)
    labels = None if label is None else latents.labels_of(label, n, generator.classes)
    begin = _starts(generator, variables, how, search, observed, known, labels, vectors)
    key = jax.random.key(search.seed)
    held = variables, key, {name: jnp.float32(getattr(search, name)) for name in ("lr", "prior", "shake", "steps")}
    programs, arrays = (_begin, _step, _end), (*begin, observed, known)
    found = parallel.in_steps(programs, (generator, how), held, arrays, search.chunk, search.steps, progress)
    code, c, x, far = (np.concatenate(parts) for parts in zip(*found, strict=True))
    keys = np.broadcast_to(jax.random.key_data(_noise_key(key)), (n, *jax.random.key_data(key).shape))
    return Inverted(Latents(code, c if generator.classes else None, np.array(keys)), x, far)


def _checked(generator, search, damage) -> _How:
    if not generator.z_dim:
        raise UserError("invert: this generator makes images from images, not from latents")
    styles = latents.has_styles(generator)
    if search.space not in SPACES:
        raise UserError(f"space is {search.space!r}; it must be one of {', '.join(SPACES)}")
    if search.space in ("w", "w+") and not styles:
        raise UserError(f"space {search.space}: {latents.kind(generator)} has no styles, as StyleGANs do; its space is z")
    for name, least in (("draws", 1), ("starts", 1), ("steps", 1), ("chunk", 1), ("lr", 0), ("prior", 0), ("shake", 0)):
        value = getattr(search, name)
        if not least <= value < float("inf"):
            raise UserError(f"{name} is {value}; it must be at least {least}")
    if search.starts > search.draws:
        raise UserError(f"starts is {search.starts}, more than the {search.draws} draws; give at least as many draws")
    if not 0 <= search.seed < 2**32:
        raise UserError(f"seed is {search.seed}; it must be in [0, 2^32)")
    latents.check_noise(generator, search.noise)
    space = search.space if search.space != "auto" else "w" if styles else "z"
    return _How(space, search.noise, damage, search.features)


def _observed(generator, how, images, missing):
    """The observed in float32, and known, float32 [n, H, W, 1] (of what is no images: [n])."""
    images = np.asarray(images)
    seen = jax.eval_shape(lambda x: _damaged(how, x), jax.ShapeDtypeStruct((1, *generator.shape), jnp.float32)).shape[1:]
    floats = np.issubdtype(images.dtype, np.floating)
    if images.shape[1:] != seen or not len(images) or not (floats or images.dtype == np.uint8):
        size = ", ".join(map(str, seen))
        raise UserError(f"images to invert are {images.dtype} {list(images.shape)}; they must be uint8 or float [n, {size}]")
    observed = images.astype(np.float32) if floats else images.astype(np.float32) / 127.5 - 1
    if not np.isfinite(observed).all():
        raise UserError("images to invert contain NaN or infinity; remove them")
    n = len(images)
    if missing is None:
        return observed, np.ones((n, *seen[:2], 1) if len(seen) == 3 else n, np.float32)
    missing = np.asarray(missing)
    if len(seen) != 3 or missing.dtype != bool or missing.shape not in (seen[:2], (n, *seen[:2])):
        raise UserError(
            f"missing is {missing.dtype} {list(missing.shape)}; it must be bool [{seen[0]}, {seen[1]}], or one per image"
        )
    missing = np.broadcast_to(missing, (n, *seen[:2]))
    if missing.all((1, 2)).any():
        raise UserError(f"all of image {missing.all((1, 2)).argmax()} is missing; something must be known")
    return observed, 1 - missing[..., None].astype(np.float32)


def _damaged(how, x):
    return x if how.damage is None else how.damage(x)


def _distance(y, observed, known, features=None):
    """[B]: of images by the pyramid and features, of other arrays the mean squared difference."""
    if y.ndim != 4:
        return jnp.square(y - observed).reshape(len(y), -1).mean(1)
    far = feature_losses.pyramid(observed, y, known=known)
    return far if features is None else far + feature_losses.perceptual(features, observed * known, y * known)


def _noise_key(key):
    return jax.random.fold_in(key, 2**31 - 1)


def _starts(generator, variables, how, search, observed, known, labels, vectors):
    """For n images and S starts u [n, S, L, D], their classes [n, S, ...] (zeros without), centre and deviation [n, D] of u."""
    key, m = jax.random.key(search.seed), search.draws
    if labels is None:
        labels = np.full(m, -1, np.int32) if vectors is None else label_vectors.drawn(vectors, search.seed, m)
        pools = [(np.arange(len(observed)), labels)]
    else:  # for each class the images of it, and draws of it
        kinds, which = np.unique(labels, axis=0, return_inverse=True)
        pools = [(np.flatnonzero(which.ravel() == i), np.repeat(kind[None], m, 0)) for i, kind in enumerate(kinds)]
    out = [None] * len(observed)
    for rows, label in pools:
        drawn, far = [], []
        arrays = np.arange(m, dtype=np.int32), label
        for *codes, x in parallel.in_chunks(_draw, (generator, how), (variables, key), arrays, latents.CHUNK):
            drawn.append(codes)
            far.append(np.concatenate(list(parallel.in_chunks(_ranked, (how,), x, (observed[rows], known[rows]), 16))))
        code, c = (np.concatenate(parts) for parts in zip(*drawn, strict=True))
        best = np.argsort(np.concatenate(far, 1), 1, kind="stable")[:, : search.starts]
        centre, scale = (code.mean(0), code.std(0)) if how.space != "z" else (np.zeros_like(code[0]), np.ones_like(code[0]))
        u = (code - centre) / np.maximum(scale, 1e-6)
        for row, chosen in zip(rows, best, strict=True):
            out[row] = u[chosen], c[chosen], centre, scale
    u, c, centre, scale = (np.stack(parts) for parts in zip(*out, strict=True))
    if how.space != "z":
        u[:, 0] = 0
    u = np.repeat(u[:, :, None], generator.layers if how.space == "w+" else 1, 2)
    return u, c, centre, scale


def _draw(generator, how, held, index, label):
    """Codes [B, D], classes [B] or zeros, and uint8 images of draws; label as `latents.labels_of` has it."""
    z, c, keys = latents.drawn(generator, held[1], index, jnp.float32(jnp.inf))
    if generator.classes:
        c = jnp.where(label < 0, c, label) if label.ndim == 1 else label
    code = generator.apply(held[0], z, c, method="mapping") if latents.has_styles(generator) else z
    x = latents.as_bytes(latents.render(generator, held[0], code, c, keys, how.noise))
    return (z if how.space == "z" else code[:, 0]), (jnp.zeros_like(index) if c is None else c), x


def _ranked(how, images, observed, known):
    """[B, k]: the distances of k images, uint8, to each of the observed."""
    y = _damaged(how, images.astype(jnp.float32) / 127.5 - 1)
    far = lambda one: _distance(y, *(jnp.broadcast_to(a[None], (len(y), *a.shape)) for a in one))
    return jax.lax.map(far, (observed, known))


def _begin(generator, how, held, u, *_):
    return u, optax.scale_by_adam(*BETAS).init(u)


def _step(generator, how, held, state, _, c, centre, scale, observed, known):
    """One step of Adam on u [B, S, L, D]."""
    (u, adam), (_, key, numbers) = state, held
    t = adam.count.astype(jnp.float32) / numbers["steps"]
    noise = jax.random.normal(jax.random.fold_in(key, adam.count), u.shape[1:], jnp.float32)[None]
    noise *= numbers["shake"] * jnp.square(jnp.maximum(0, 1 - t / SHAKEN))
    loss = lambda u: _objective(generator, how, held, u + noise, c, centre, scale, observed, known)[0].sum()
    update, adam = optax.scale_by_adam(*BETAS).update(jax.grad(loss)(u), adam)
    return u - numbers["lr"] * rate((adam.count.astype(jnp.float32) - 0.5) / numbers["steps"]) * update, adam


def rate(t: Array) -> Array:
    """Share of the highest learning rate at a share t of the steps: linear up, 1, and down by a cosine."""
    return jnp.minimum(1, t / UP) * (0.5 - 0.5 * jnp.cos(jnp.pi * jnp.minimum(1, (1 - t) / DOWN)))


def _objective(generator, how, held, u, c, centre, scale, observed, known):
    """[B, S] of u [B, S, L, D]: what is minimised, the distance; and, [B S, ...], codes and images."""
    variables, key, numbers = held
    s = u.shape[1]
    each = lambda a: jnp.repeat(a, s, 0)
    flat = lambda a: a.reshape(-1, *a.shape[2:])
    c = flat(c) if generator.classes else None
    code = flat(centre[:, None, None] + scale[:, None, None] * u)
    if how.space == "z":
        code = code[:, 0]
        code = generator.apply(variables, code, c, method="mapping") if latents.has_styles(generator) else code
    else:
        code = jnp.broadcast_to(code, (len(code), generator.layers, code.shape[2]))
    keys = jnp.broadcast_to(_noise_key(key), len(code))
    x = latents.render(generator, variables, code, c, keys, how.noise)
    seen = x + jax.lax.stop_gradient(jnp.clip(x, -1, 1) - x)  # as bytes hold it; the gradient is not cut off
    far = _distance(_damaged(how, seen), each(observed), each(known), how.features).reshape(-1, s)
    return far + numbers["prior"] * jnp.square(u).mean((2, 3)), far, code, x


def _end(generator, how, held, state, _, c, centre, scale, observed, known):
    """Of the best start: code, class, uint8 image, distance."""
    total, far, code, x = _objective(generator, how, held, state[0], c, centre, scale, observed, known)
    best = jnp.nanargmin(total, 1)
    of = lambda a: jnp.take_along_axis(a, best.reshape(-1, *[1] * (a.ndim - 1)), 1)[:, 0]
    apart = lambda a: a.reshape(*total.shape, *a.shape[1:])
    return of(apart(code)), of(c), of(latents.as_bytes(apart(x))), of(far)
