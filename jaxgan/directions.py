"""Directions in latent space along which images change in interpretable ways: `code + a * directions[i]`.

`closed_form` derives them from the weights, `pca` from the distribution of w, `jacobian` from how images depend on the latent.
InfoGAN has learned its own: `code_table`.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxgan import latents as codes
from jaxgan import parallel
from jaxgan.errors import UserError
from jaxgan.latents import Latents
from jaxgan.typing import Variables

CHUNK = 16
"""Images differentiated at once on a device."""
CLOSE = 1e-4
"""Residual |M v - lambda v| of `jacobian`'s vectors, as a share of the largest lambda, that is near enough."""


class Directions(NamedTuple):
    """k directions, the strongest first. The sign is such that the entry of largest magnitude is positive.

    If two strengths are nearly equal, any rotation of the two directions in their plane is equally valid, and small changes,
    such as rounding, rotate them.
    """

    vectors: np.ndarray
    """float32 [k, z_dim], of unit length; of generators with styles [k, layers, w_dim]: in each of the chosen layers the same
    vector of unit length, 0 in the others. So `latents.code + vectors[i]` is the edit, for any number of images."""
    strengths: np.ndarray
    """float64 [k]; their meaning depends on the method."""


def closed_form(generator: nn.Module, variables: Variables, k: int, *, layers: tuple[int, int] | None = None) -> Directions:
    """Directions of w that change the styles most: eigenvectors of A^T A, A from w to all styles of the chosen layers.

    Args:
      generator: with styles; for others, in which z does not only enter linear maps, use `jacobian`.
      variables: its {'params': ..., **stats}.
      k: how many, up to w_dim.
      layers: (first, end): those of layers first to end - 1; None for all.
    Returns:
      Directions; strengths are sqrt(eigenvalue), the norm of the change of the styles for a step of 1.
    Raises:
      UserError: a generator without styles, k or layers that it does not have.
    Source: Shen & Zhou 2021 (SeFa). A has the scale of the layers' arithmetic (equalised learning rate). Deviations from the
      authors' code, which scales each style's row of A to unit length and uses only the style of StyleGAN2's last image
      layer: here the rows are not scaled, and the styles of all image layers count, each with the layer that it shares w with.
    """
    if not codes.has_styles(generator):
        raise UserError(f"closed_form: {codes.kind(generator)} has no styles, as StyleGANs do; use jacobian")
    first, end = check(generator, k, layers)
    styles = np.asarray(jax.jit(partial(_styles, generator, (first, end)))(variables), np.float64)
    a = (styles[1:] - styles[:1]).T  # they are linear in w but for a constant
    return _ordered(a.T @ a, k, (generator.layers, generator.w_dim), (first, end))


def _styles(generator, layers, variables):
    """[1 + w_dim, styles]: all styles, of w = 0 and of each unit vector in the layers. What they modulate is not computed."""
    v = jnp.eye(1 + generator.w_dim, generator.w_dim, -1, jnp.float32)
    w = jnp.zeros((len(v), generator.layers, generator.w_dim), jnp.float32).at[:, layers[0] : layers[1]].set(v[:, None])
    caught = lambda module, _: module.name == "affine"
    still = {"noise": "none"} if codes.has_noise(generator) else {}
    _, new = generator.apply(variables, w, **still, method="synthesis", capture_intermediates=caught)
    return jnp.concatenate(jax.tree.leaves(new["intermediates"]), 1)


def pca(latents: Latents, k: int, *, layers: tuple[int, int] | None = None) -> Directions:
    """Principal components of w: the directions along which drawn w vary most.

    Args:
      latents: many, of a generator with styles, as `latents.draw` gives them: n >= 2, ten thousand is usual. With a single
        label, they show what varies within it; otherwise the first ones may separate the classes.
      k: how many, up to w_dim.
      layers: (first, end): the layers that the directions act in; None for all.
    Returns:
      Directions; strengths are the standard deviations of w along them.
    Raises:
      UserError: z instead of w, since z varies equally in all directions; fewer than two; k or layers that do not exist.
    Source: Härkönen et al. 2020 (GANSpace).
    """
    if latents.code.ndim != 3:
        raise UserError("pca: z varies equally in all directions; pca is for w of StyleGANs; use jacobian")
    if len(latents.code) < 2:
        raise UserError(f"pca: {len(latents.code)} latents are too few; give many")
    first, end = _checked(k, layers, latents.code.shape[1:])
    w = latents.code[:, first].astype(np.float64)
    return _ordered(np.cov(w, rowvar=False), k, latents.code.shape[1:], (first, end))


def jacobian(
    generator: nn.Module,
    variables: Variables,
    latents: Latents,
    k: int,
    *,
    layers: tuple[int, int] | None = None,
    noise: str | None = None,
) -> Directions:
    """Directions that change the images most: eigenvectors of the mean of J^T J, J = d image / d code.

    J is never formed: block Krylov iteration multiplies J^T J by vectors, forward and back through the generator.

    Args:
      generator, variables: as `closed_form`; any generator that makes images from latents.
      latents: images that the mean is over: a few dozen for global directions, one for those of a single image.
      k: how many, up to the length of z or w.
      layers: (first, end) of a generator with styles: w changes in layers first to end - 1; None for all.
      noise: as `latents.images`.
    Returns:
      Directions; strengths are sqrt(eigenvalue): the norm of an image's change for a small step, per unit step,
      root mean square over the images. For a linear generator they are J's singular values.
    Raises:
      UserError: what `latents.images` refuses; k or layers that the generator does not have.
    Source: Ramesh et al. 2019, "A Spectral Regularizer for Unsupervised Disentanglement"; Zhu et al. 2021 (low-rank
      subspaces), of one image; Musco & Musco 2015, for the iteration.
    """
    first, end = check(generator, k, layers)
    code, c, keys = codes.checked(generator, latents, noise)
    static, n = (generator, noise, (first, end)), len(code)

    def times(v):
        """M v of [d, b], in float64 but for what the generator does."""
        rows = tuple(np.repeat(a, v.shape[1], 0) for a in (code, c, keys))
        pieces = parallel.in_chunks(_gram, static, variables, (*rows, np.tile(v.T.astype(np.float32), (n, 1))), CHUNK)
        return np.concatenate(list(pieces)).astype(np.float64).reshape(n, v.shape[1], -1).mean(0).T

    values, vectors = top_eigenvectors(times, code.shape[-1], k)
    return Directions(_placed(vectors, code.shape[1:], (first, end)), np.sqrt(np.maximum(values, 0)))


def _gram(generator, noise, layers, variables, code, c, keys, v):
    """J^T J v [B, d] of each image, v [B, d]."""
    c, keys = c if generator.classes else None, jax.random.wrap_key_data(keys)

    def image(v):
        if code.ndim == 2:
            return codes.render(generator, variables, code + v, c, keys, noise)
        moved = code.at[:, layers[0] : layers[1]].add(v[:, None])
        return codes.render(generator, variables, moved, c, keys, noise)

    x, back = jax.vjp(image, jnp.zeros_like(v))
    # J v as the derivative of J^T u with respect to u, twice in reverse: the convolutions' own rules have no forward mode.
    (change,) = jax.vjp(lambda u: back(u)[0], jnp.zeros_like(x))[1](v)
    return back(change)[0]


def top_eigenvectors(
    times: Callable[[np.ndarray], np.ndarray], d: int, k: int, *, steps: int = 20
) -> tuple[np.ndarray, np.ndarray]:
    """The k largest eigenvalues of a symmetric matrix M, d x d, and their vectors, from products with M alone.

    Block Krylov iteration from a fixed random block of 2 k + 2 vectors (so that eigenvalues of at most this multiplicity
    are found), fully orthogonalised; Rayleigh-Ritz on all of it. It ends when all k are within `CLOSE`, or all d are found.

    Args:
      times: [d, b] -> M times it, float64.
      d, k: 1 <= k <= d. steps: at most.
    Returns:
      values [k], the largest first; vectors [d, k], signs as `Directions`.
    """
    block = np.random.default_rng(0).standard_normal((d, min(2 * k + 2, d)))
    basis, products = np.zeros((d, 0)), np.zeros((d, 0))
    for _ in range(steps):
        for _ in range(2):  # once leaves what rounding left
            block = np.linalg.qr(block - basis @ (basis.T @ block))[0]
        block = block[:, : d - basis.shape[1]]
        basis, products = np.hstack([basis, block]), np.hstack([products, times(block)])
        small = basis.T @ products
        values, turn = np.linalg.eigh((small + small.T) / 2)
        values, turn = values[::-1][:k], turn[:, ::-1][:, :k]
        vectors = basis @ turn
        residual = np.linalg.norm(products @ turn - vectors * values, axis=0)
        if basis.shape[1] == d or residual.max() <= CLOSE * max(values[0], 0):
            break
        block = products[:, -block.shape[1] :]
    return values, _signed(vectors)


def spread(latents: Latents, directions: Directions) -> np.ndarray:
    """The standard deviation of latents along each direction, float64 [k]: a natural unit for steps.

    Args:
      latents: many, drawn; for z, which is standard normal, the result is always 1.
      directions: for w, it is measured in the first layer that they act in.
    """
    if latents.code.ndim == 2:
        return np.ones(len(directions.vectors))
    layer = np.flatnonzero(directions.vectors[0].any(1))[0]
    along = latents.code[:, layer].astype(np.float64) @ directions.vectors[:, layer].T.astype(np.float64)
    return along.std(0, ddof=1)


def table(latents: Latents, directions: Directions, amounts: np.ndarray) -> Latents:
    """One image moved along each direction.

    Args:
      latents: the image; the first, of several.
      directions: k. amounts: [k, s], steps along each direction, in units of its vector.
    Returns:
      Latents of k s images: the s of the first direction, those of the second, ...
    """
    one = latents.take(slice(0, 1))
    shape = one.code.shape[1:]
    steps = np.asarray(amounts, np.float32).reshape(len(directions.vectors), -1, *(1,) * len(shape))
    code = (one.code[None] + steps * directions.vectors[:, None]).reshape(-1, *shape)
    return one.take(np.zeros(len(code), int))._replace(code=code)


def code_table(generator: nn.Module, latents: Latents, values: np.ndarray) -> Latents:
    """One image in every category, with each of its continuous codes at every value: what InfoGAN's codes say.

    Args:
      generator: with codes (`models.infogan`).
      latents: the image; the first, of several.
      values: [s], of the entry of z that a code is made of, standard normal: the code is 2 Phi(value) - 1.
    Returns:
      Latents of K m s images, K categories and m codes: for the first category, the s values of the first code, of the
      second, ...; then the other categories.
    Raises:
      UserError: a generator without codes; an image of psi 0, whose z has no category to change.
    """
    if not getattr(generator, "categories", 0):
        raise UserError(f"codes: {codes.kind(generator)} has no codes, as infogan's does; use jacobian")
    one = latents.take(np.zeros(generator.categories, int))
    if not np.any(one.code):
        raise UserError("codes: with psi 0 all categories are one; give more")
    of_category = np.asarray(generator.with_category(jnp.asarray(one.code), jnp.arange(generator.categories)))
    z = np.tile(of_category[:, None, None], (1, generator.continuous, len(values), 1))
    for j in range(generator.continuous):
        z[:, j, :, generator.z_dim - generator.continuous + j] = values
    z = z.reshape(-1, generator.z_dim)
    return latents.take(np.zeros(len(z), int))._replace(code=z)


def check(generator: nn.Module, k: int, layers: tuple[int, int] | None) -> tuple[int, int]:
    """The layers (first, end), (0, 0) of a code without. UserError where k or the layers are not the generator's."""
    if not generator.z_dim:
        raise UserError(codes.SOURCES)
    styles = codes.has_styles(generator)
    return _checked(k, layers, (generator.layers, generator.w_dim) if styles else (generator.z_dim,))


def _checked(k, layers, shape):
    if not 1 <= k <= shape[-1]:
        raise UserError(f"{k} directions of a latent with {shape[-1]} dimensions; ask for 1 to {shape[-1]}")
    if len(shape) == 1:
        if layers is not None:
            raise UserError(f"layers {layers[0]} {layers[1]}: this generator has no styles per layer; leave them out")
        return 0, 0
    first, end = (0, shape[0]) if layers is None else layers
    if not 0 <= first < end <= shape[0]:
        raise UserError(f"layers {first} {end}: give 0 <= first < end <= {shape[0]}")
    return first, end


def _ordered(m, k, shape, layers):
    """The Directions of the k largest eigenvalues of a symmetric float64 matrix, their strengths the square roots."""
    values, vectors = np.linalg.eigh(m)
    vectors = _placed(_signed(vectors[:, ::-1][:, :k]), shape, layers)
    return Directions(vectors, np.sqrt(np.maximum(values[::-1][:k], 0)))


def _placed(vectors, shape, layers):
    """[d, k] -> float32 [k, *shape of a code], in the chosen layers."""
    vectors = vectors.T.astype(np.float32)
    if len(shape) == 1:
        return vectors
    chosen = (np.arange(shape[0]) >= layers[0]) & (np.arange(shape[0]) < layers[1])
    return vectors[:, None] * chosen[None, :, None].astype(np.float32)


def _signed(vectors):
    """[d, k], each with the number of the largest magnitude positive."""
    largest = np.take_along_axis(vectors, np.abs(vectors).argmax(0)[None], 0)
    return vectors * np.where(largest < 0, -1, 1)
