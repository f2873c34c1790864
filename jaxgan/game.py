"""Two linen modules as the pure functions that the step plays with."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxgan.step import Game, Verdict

Array = jax.Array


def game(
    generator: nn.Module,
    discriminator: nn.Module,
    *,
    augment: Callable[[Array, Array, Array], Array] = lambda keys, x, p: x,
    p: Callable[[dict, Array], Array] | float = 0.0,
) -> Game:
    """The game of a generator `(z, c, keys=, train=, axis=) -> x` and a discriminator `(x, c, ...) -> logits`.

    Args:
      generator: has the fields `z_dim` and `shape` (H, W, C).
      discriminator: returns logits [B] (or of patches [B, h, w]), or (logits, class logits [B, K]).
      augment: (keys [B], x, p) -> x, as in `jaxgan.augment`.
      p: its probability: a number, or a function of (carry, kimg).
    """

    def run(module, variables, x, c, keys, axis):
        names = [name for name in variables if name != "params"]
        out, new = module.apply(variables, x, c, keys=keys, train=True, axis=axis, mutable=names)
        return out, {name: new.get(name, variables[name]) for name in names}

    def latent(variables, keys, c, kimg, axis):
        return normal(keys, generator.z_dim), {name: tree for name, tree in variables.items() if name != "params"}

    def judge(variables, keys, x, c, kimg, axis):
        out, stats = run(discriminator, variables, x, c, keys, axis)
        return Verdict(*out) if isinstance(out, tuple) else Verdict(out), stats

    return Game(
        latent=latent,
        synthesize=lambda variables, keys, w, c, kimg, axis: run(generator, variables, w, c, keys, axis),
        judge=judge,
        augment=augment,
        p=p if callable(p) else lambda carry, kimg: p,
    )


def normal(keys: Array, size: int) -> Array:
    """Standard normal noise [B, size], row i from keys[i] alone."""
    return jax.vmap(lambda key: jax.random.normal(key, (size,)))(keys)


def init(generator: nn.Module, discriminator: nn.Module, seed: int) -> tuple[dict, dict]:
    """First variables of both networks, as {'params': ..., **stats}."""
    key_g, key_d = jax.random.split(jax.random.fold_in(jax.random.key(seed), 2**31 - 1))
    c = jnp.zeros(1, jnp.int32) if generator.classes else None
    keys = jax.random.split(key_g, 1)
    g = generator.init(key_g, jnp.zeros((1, generator.z_dim)), c, keys=keys)
    d = discriminator.init(key_d, jnp.zeros((1, *discriminator.shape)), c, keys=keys)
    return dict(g), dict(d)
