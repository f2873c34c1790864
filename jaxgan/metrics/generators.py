"""Metrics of a generator itself: it draws the same latents twice, a little otherwise. No real images, no data set."""

import inspect
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxgan import label_vectors, latents, parallel
from jaxgan.errors import UserError
from jaxgan.metrics import equivariance, lpips, path
from jaxgan.metrics.measure import Result
from jaxgan.metrics.protocols import Protocol, named, only
from jaxgan.restore import Trained
from jaxgan.typing import Tree

CHUNK = 4  # pairs of images a device and call


def measure(
    names: Sequence[str],
    trained: Trained,
    *,
    n: int = 0,
    seed: int = 0,
    psi: float = 1.0,
    perceptual: Tree = None,
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> list[Result]:
    """Metrics of a generator, of the images that it samples: latents and classes are those of `sample`, classes equally likely.

    The arithmetic is float32 at full precision, whatever the generator was trained in: small differences are measured.

    Args:
      names: of `protocols.PROTOCOLS` or `SHORT`, those that need a generator.
      trained: a `restore.Trained`, from `jaxgan.load`.
      n: use at most this many images, 2 or more; 0: as many as a protocol says.
      seed, psi: as `sample`.
      perceptual: LPIPS's weights, from `lpips.load`; needed for path lengths.
      progress: (what, done, total) -> None.
    Returns:
      One a protocol. Errors are standard errors over images.
    Raises:
      UserError: a metric that is of images; a generator that has not what it takes; no weights.
    """
    protocols = named(names)
    check(protocols, trained.generator)
    if n < 0 or n == 1:
        raise UserError(f"n is {n}; give at least 2 images, or 0 for as many as the metrics take")
    if perceptual is None and any(p.features == "lpips" for p in protocols.values()):
        raise UserError("path lengths need LPIPS's weights; give perceptual=lpips.load(FOLDER)")
    trained = trained.truncated(psi)
    g = trained.generator
    g = g.clone(dtype=jnp.float32) if hasattr(g, "dtype") else g
    results = []
    for name, p in protocols.items():
        count = min(n or p.fakes, p.fakes)
        vectors = trained.vectors
        label = None if vectors is None else label_vectors.drawn(vectors, seed, count)
        arrays = np.arange(count, dtype=np.int32), latents.labels_of(label, count, g.classes)
        held = latents.held(g, trained.variables, seed, psi, None, None), perceptual if p.features == "lpips" else ()
        fn, done, found = PAIRS[p.metric], 0, []
        for piece in parallel.in_chunks(fn, (g, tuple(p.options.items())), held, arrays, CHUNK):
            found.append(piece)
            done += len(piece[0])
            progress(name, done, count)
        columns = [np.concatenate(parts) for parts in zip(*found, strict=True)]
        if not np.isfinite(columns).all():
            raise UserError(f"{name}: the generator's images hold NaN or infinity; look at them, or at its weights")
        results.append(Result(name, {"": ESTIMATES[p.metric](*columns)}, count, 0))
    return results


def check(protocols: dict[str, Protocol], generator: nn.Module) -> None:
    """UserError where these cannot be measured on a generator."""
    only(protocols, "generator")
    for name, p in protocols.items():
        if not generator.z_dim:
            raise UserError(f"{name} is for generators that draw from latents; {latents.kind(generator)} draws from images")
        if p.metric == "equivariance" and not _moves(generator):
            raise UserError(f"{name}: {latents.kind(generator)} cannot move what it draws, as StyleGAN3's can (`transform`)")
        if p.metric == "path":
            lpips.check(generator.shape)
            styles = latents.has_styles(generator)
            if styles != (p.options["space"] == "w"):
                has, take = ("has", "wend") if styles else ("has no", "zend")
                raise UserError(f"{name}: {latents.kind(generator)} {has} styles w; take ppl2_{take}")


def _moves(generator) -> bool:
    return latents.has_styles(generator) and "transform" in inspect.signature(generator.synthesis).parameters


def _errors(generator, options, held, index, label):
    """`equivariance.errors` of the images of these indices."""
    (variables, *_), _ = held
    with jax.default_matmul_precision("highest"):
        w, c, keys = latents.codes(generator, held[0], index, label)
        draw = lambda transform: generator.apply(variables, w, c, keys=keys, method="synthesis", transform=transform)
        return equivariance.errors(keys=_other(keys), draw=draw, shape=generator.shape, **dict(options))


def _lengths(generator, options, held, index, label):
    """`path.lengths` from the images of these indices to others of the same classes, with the same noise, as LPIPS."""
    (variables, key, *more), perceptual = held
    twice = lambda a: None if a is None else jnp.concatenate([a, a])
    with jax.default_matmul_precision("highest"):
        start, c, keys = latents.codes(generator, held[0], index, label)
        ends = variables, _other(key[None])[0], *more
        end, _, _ = latents.codes(generator, ends, index, label if c is None else c)
        draw = lambda code: latents.render(generator, variables, code, twice(c), twice(keys))
        far = lambda x, y: lpips.distance(perceptual, x, y)
        return (path.lengths(draw, far, start, end, **dict(options)),)


def _other(keys):
    """Keys [B] for other draws."""
    return jax.vmap(lambda key: jax.random.fold_in(key, 0x6D6F7665))(keys)


PAIRS: dict[str, Callable] = {"equivariance": _errors, "path": _lengths}
"""(generator, options, held, indices, labels) -> columns [B]."""
ESTIMATES: dict[str, Callable] = {"equivariance": equivariance.decibels, "path": path.trimmed}
"""Columns [n] -> Estimate."""
