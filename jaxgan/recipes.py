"""Methods as data: one function a method -> `Recipe`; and the terms that they are made of."""

import jax.numpy as jnp

from jaxgan import losses, optim, penalties, schedules
from jaxgan.step import Phase, Recipe, Round, Term, Turn


def adversarial(player: str, loss: str, weight=1.0) -> Term:
    """The term of an adversarial loss by its name in `jaxgan.losses`, for the player 'g' or 'd'."""
    fn = getattr(losses, f"{loss}_{player}")

    def term(r: Round):
        return jnp.mean(fn(r.real_out.logits, r.fake_out.logits)), {}, {}

    return Term("adv", weight, term)


def gradient_penalty(name: str, of: str, weight, *, every: int = 1, share: int = 1) -> Term:
    """The term of R1 (`of='real'`) or R2 (`of='fake'`), through the augmentation, with respect to the image before it.

    Args:
      name: a penalty `(critic, images) -> [B]` in `jaxgan.penalties`.
      of: on which images.
      weight: number or schedule; gamma / 2.
      every: lazy interval.
      share: of every how many images one is used (for the cost); the same set on any number of devices.
    """
    fn = getattr(penalties, name)

    def term(r: Round):
        images = {"real": r.real, "fake": r.fake}[of][::share]
        return jnp.mean(fn(lambda x: r.D(x, of).logits, images)), {}, {}

    return Term(name, weight, term, every)


def tutorial(*, batch: int, loss: str = "non_saturating", lr: float = 1e-4, accum: int = 1, ema_kimg=0.0) -> Recipe:
    """The tutorial's training step, exactly: both gradients from the same parameters and the same noise, then both updates.

    Its loss is binary cross-entropy: -log D(x) - log(1 - D(G(z))) for D, and -log D(G(z)) for G (`loss='minimax'` gives
    the saturating log(1 - D(G(z))) instead). The tutorial's section 4 writes both losses with contradicting signs and its
    listing passes arguments that BinaryCrossentropy does not have (`target=`, `output=`); this is what it means. Adam with
    Keras's defaults: betas 0.9, 0.999, epsilon 1e-7. No average of the weights.
    """
    return Recipe(
        turns=(Turn((Phase("d", (adversarial("d", loss),)), Phase("g", (adversarial("g", loss),)))),),
        tx={name: optim.adam_keras(lr) for name in ("g", "d")},
        batch=batch,
        accum=accum,
        ema_kimg=schedules.as_schedule(ema_kimg),
    )


def dcgan(*, batch: int, lr: float = 2e-4, b1: float = 0.5, accum: int = 1, ema_kimg=0.0) -> Recipe:
    """Radford et al. 2016: alternating updates, non-saturating loss, Adam 2e-4 with beta1 0.5."""
    return Recipe(
        turns=(
            Turn((Phase("d", (adversarial("d", "non_saturating"),)),)),
            Turn((Phase("g", (adversarial("g", "non_saturating"),)),)),
        ),
        tx={name: optim.adam(lr, b1=b1) for name in ("g", "d")},
        batch=batch,
        accum=accum,
        ema_kimg=schedules.as_schedule(ema_kimg),
    )


def r3gan(
    *,
    batch: int,
    lr=2e-4,
    b2=0.99,
    gamma=1.0,
    every: int = 1,
    share: int = 1,
    accum: int = 1,
    ema_kimg=10.0,
) -> Recipe:
    """R3GAN (Huang et al. 2024): relativistic paired loss with R1 and R2, each player on real images of its own.

    Args:
      batch: global images a step and player.
      lr, b2, gamma, ema_kimg: numbers or schedules of kimg; gamma/2 (R1 + R2).
      every, share: the penalties in every `every`-th step, on every `share`-th image (the paper: 1 and 1).
      accum: micro-batches; the relativistic pairs are within one.
    """
    gamma = schedules.as_schedule(gamma)
    half = lambda kimg: gamma(kimg) / 2
    lazy = {"every": every, "share": share}
    terms = (
        adversarial("d", "relativistic"),
        gradient_penalty("r1", "real", half, **lazy),
        gradient_penalty("r2", "fake", half, **lazy),
    )
    return Recipe(
        turns=(Turn((Phase("d", terms),), slots=(0,)), Turn((Phase("g", (adversarial("g", "relativistic"),)),), slots=(1,))),
        tx={name: optim.adam(lr, b1=0.0, b2=b2) for name in ("g", "d")},
        batch=batch,
        accum=accum,
        ema_kimg=schedules.as_schedule(ema_kimg),
    )
