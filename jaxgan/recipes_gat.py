"""GAT's recipe (Hyun et al. 2025): relativistic pairs, gradient penalties by finite differences, images at several levels."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxgan import optim
from jaxgan.checks import normal_like
from jaxgan.method import Recipe, Round, Term, alternating
from jaxgan.terms import adversarial
from jaxgan.typing import Array, Augmentation, Scalar, ScalarOrSchedule

LR = 2e-4
"""Of a network `BASE` wide: others take LR * BASE / width, the paper's width-aware rate."""
BASE = 768


def gat(
    *,
    batch: int,
    lr_g: ScalarOrSchedule = LR,
    lr_d: ScalarOrSchedule = LR,
    gamma: ScalarOrSchedule = 0.1,
    levels: int = 4,
    clip: float = 1.0,
    every: int = 1,
    share: int = 1,
    accum: int = 1,
    ema_kimg: ScalarOrSchedule | None = None,
) -> Recipe:
    """D, then G, on the same reals: relativistic pairing loss, approximate R1 and R2; Adam, betas 0 and 0.99, gradients clipped.

    The game's reals are `levels` copies along the channels, as `models.gat.Generator` returns fakes in training.

    Args:
      batch: global images a step.
      lr_g, lr_d: learning rates, numbers or schedules; the paper's are LR * BASE / width.
      gamma: gamma / 2 (R1 + R2), a number or schedule.
      levels: of the networks.
      clip: largest norm of a player's gradient.
      every, share: apply the penalties every `every` steps, to one of every `share` images (the paper: 1 and 1).
      accum: micro-batches; pairs are formed by position, so their number does not change the update.
      ema_kimg: half-life of the weight average; None is the authors' 0.999 a step.
    Source: Hyun et al. 2025, and the authors' code, whose AdamW has no weight decay. There both players see the same z, here z of
      their own; its alignment of D's features with DINOv2's is left out.
    """
    half = (lambda kimg: gamma(kimg) / 2) if callable(gamma) else gamma / 2
    lazy = {"every": every, "share": share}
    critic = [adversarial("d", "relativistic"), *(approximate(name, half, levels, **lazy) for name in ("r1", "r2"))]
    rates = {"g": lr_g, "d": lr_d}
    return Recipe(
        turns=alternating(critic, [adversarial("g", "relativistic")]),
        tx={name: optim.clip_gradient(optim.adam(lr, b1=0.0, b2=0.99), clip) for name, lr in rates.items()},
        batch=batch,
        accum=accum,
        ema_kimg=batch / 1000 * math.log(0.5) / math.log(0.999) if ema_kimg is None else ema_kimg,
    )


def approximate(name: str, weight: ScalarOrSchedule, levels: int, *, sigma: float = 0.01, every: int = 1, share: int = 1) -> Term:
    """'r1' or 'r2' as `penalties.finite_difference_r1`, of images at several levels: a real one's levels change alike.

    The logits of the images as they are have been computed: D is called once more, under the same augmentation and noise.
    """

    def term(r: Round) -> tuple[Array, dict, dict]:
        x, said, of = (r.real, r.real_out, "real") if name == "r1" else (r.fake, r.fake_out, "fake")
        x, copies = x[::share], levels if name == "r1" else 1
        e = jnp.tile(normal_like(r.keys[::share], x[..., : x.shape[3] // copies]), copies)
        change = said.logits[::share] - r.D(x + sigma * e, of).logits
        return jnp.mean(jnp.square(change / sigma)), {}, {}

    return Term(name, weight, term, every, share)


def at_levels(augmented: Augmentation, levels: int) -> Callable[[Array, Array, Scalar], Array]:
    """An augmentation of images [B, H, W, C] as one of [B, H, W, levels * C], with the same draws at every level.

    Deviation: the authors' contrast and saturation take the last level's means at all of them.
    """

    def at_each(keys: Array, x: Array, p: Scalar) -> Array:
        seen = jax.vmap(lambda level: augmented(keys, level, p))(jnp.stack(jnp.split(x, levels, 3)))
        return jnp.concatenate(list(seen), 3)

    return at_each
