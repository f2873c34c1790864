"""Two linen modules as the pure functions that the step uses."""

import contextlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxgan import weights
from jaxgan.augment import saliency
from jaxgan.errors import UserError
from jaxgan.method import Game, Verdict
from jaxgan.remat import forgetful
from jaxgan.typing import Array, Tree


def game(
    generator: nn.Module,
    discriminator: nn.Module,
    *,
    augment: Callable[..., Array] = lambda keys, x, p: x,
    p: Callable[[dict[str, Tree], Array], Array] | float = 0.0,
    guided: bool = False,
    scheduled: Callable[[Array], dict[str, Any]] = lambda kimg: {},
    reals: Callable[[Array, Array], Array] = lambda x, kimg: x,
    remat: bool = False,
) -> Game:
    """The game of a generator `(z, c, keys=, train=, axis=) -> x` and a discriminator `(x, c, ...) -> logits`.

    Their random draws come from keys, one per image (`layers.Dropout`); linen's own rngs are not provided.

    Args:
      generator: has the fields `z_dim`, `shape` (H, W, C) and `classes`, 0 without labels. With z_dim = 0 it is called with c,
        the source images, instead of z. A generator in two parts has the methods `mapping` (z -> w) and `synthesis` (w -> x),
        with the same signature.
      discriminator: has the field `shape`, `classes` too if it uses labels, and no `z_dim`; returns logits [B] (or of patches
        [B, h, w]), or (logits, class logits [B, K] or None, features [B, ...] or a tree of these, or None).
      augment: (keys [B], x, p) -> x, as in `jaxgan.augment`.
      p: its probability: a number, or a function of (carry, kimg).
      guided: augment takes a fourth argument, the saliency map [B, H, W] of the discriminator on x
        (`augment.saliency`).
      remat: rematerialise the networks' blocks in the backward pass (`jaxgan.remat`).
      scheduled: kimg -> more keyword arguments of both networks, such as {'alpha': [], the fade of a grown stage}.
      reals: (x, kimg) -> x, as `method.Game` has it.
    Raises:
      UserError: a network without the required fields; a discriminator with `z_dim`.
    """
    _has("generator", generator, "z_dim", "shape", "classes")
    _has("discriminator", discriminator, "shape")
    if hasattr(discriminator, "z_dim"):  # `weights.example` tells the two apart by it
        raise UserError(f"discriminator: {type(discriminator).__name__} has a field `z_dim`, as generators do; rename it")
    halves = ("mapping", "synthesis") if hasattr(generator, "mapping") else (None, "__call__")

    def run(module, method, variables, x, c, keys, kimg, axis, refresh):
        names = [name for name in variables if name != "params"]
        mutable = [name for name in names if refresh or name != "spectral"]
        options = {"keys": keys, "train": True, "axis": axis, **scheduled(kimg)}
        with nn.intercept_methods(forgetful) if remat else contextlib.nullcontext(), _explained(module, x, c):
            out, new = module.apply(variables, x, c, **options, mutable=mutable, method=method)
        return out, {name: new.get(name, variables[name]) for name in names}

    def latent(variables, keys, c, kimg, axis, refresh):
        z = normal(keys, generator.z_dim) if generator.z_dim else c
        if halves[0]:
            return run(generator, halves[0], variables, z, c, keys, kimg, axis, refresh)
        return z, {name: tree for name, tree in variables.items() if name != "params"}

    def synthesize(variables, keys, w, c, kimg, axis, refresh):
        return run(generator, halves[1], variables, w, c, keys, kimg, axis, refresh)

    def judge(variables, keys, x, c, kimg, axis, refresh):
        out, stats = run(discriminator, "__call__", variables, x, c, keys, kimg, axis, refresh)
        if not isinstance(out, jax.Array | tuple) or isinstance(out, tuple) and len(out) > 3:
            said = f"a tuple of {len(out)}" if isinstance(out, tuple) else f"a {type(out).__name__}"
            raise UserError(f"discriminator: it returns {said}; give logits [B], or (logits, class logits, features)")
        return Verdict(*out) if isinstance(out, tuple) else Verdict(out), stats

    def seen(keys, x, p, critic):
        return augment(keys, x, p, saliency(critic, jax.lax.stop_gradient(x))) if guided else augment(keys, x, p)

    return Game(
        latent=latent,
        synthesize=synthesize,
        judge=judge,
        augment=seen,
        p=p if callable(p) else lambda carry, kimg: p,
        reals=reals,
    )


def _has(player: str, module: nn.Module, *fields: str) -> None:
    for field in fields:
        if not hasattr(module, field):
            raise UserError(
                f"{player}: {type(module).__name__} has no field `{field}`; a generator has z_dim, shape (H, W, C) and classes "
                "(0: no labels), a discriminator shape"
            )


@contextlib.contextmanager
def _explained(module: nn.Module, x, c):
    """An error in a network, which may be the user's own, has a note on what it was called with."""
    try:
        yield
    except UserError:
        raise
    except Exception as e:
        given = jax.tree.map(lambda a: str(jax.typeof(a)), (x, c))
        e.add_note(
            f"{type(module).__name__} was called with {given}, keys=, train= and axis=. Without a field `classes` above 0, c is "
            "None when parameters are made. Random draws come from keys (`layers.Dropout`), not from linen's rngs."
        )
        raise


def normal(keys: Array, size: int) -> Array:
    """Standard normal noise [B, size], row i from keys[i] alone."""
    return jax.vmap(lambda key: jax.random.normal(key, (size,), jnp.float32))(keys)


def init(generator: nn.Module, discriminator: nn.Module, seed: int | Array) -> tuple[dict[str, Tree], dict[str, Tree]]:
    """Initial variables of both networks, as {'params': ..., **stats}."""
    key_g, key_d = jax.random.split(jax.random.fold_in(jax.random.key(seed), 2**31 - 1))
    keys = jax.random.split(key_g, 1)
    made = []
    for key, module in ((key_g, generator), (key_d, discriminator)):
        x, c = weights.example(module)
        with _explained(module, x, c):
            made.append(dict(module.init(key, x, c, keys=keys)))
    return tuple(made)
