"""R3GAN's presets, and its recipe with five schedules: learning rate, Adam's beta2, gamma, average, augmentation.

All five follow half a cosine over the same `decay_kimg`, on a linear (not logarithmic) scale, from their first value to their
last, and stay there. A step updates D and then G, each with its own real images, labels, noise and augmentation draws; the
fakes have the labels of the reals that they are paired with.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp

from jaxgan import recipes, schedules
from jaxgan.method import Recipe
from jaxgan.typing import Array, Tree


class Preset(NamedTuple):
    """Networks and their training hyper-parameters; pairs are (first, last) of half a cosine over `decay_kimg`."""

    shape: tuple[int, int, int]
    classes: int
    network: dict[str, Any]
    """Fields of both networks."""
    gamma: tuple[float, float]
    """Weight of the penalties, gamma / 2 (R1 + R2)."""
    ema_kimg: tuple[float, float]
    """Half-life of the generator's weight average."""
    augment_p: tuple[float, float]
    """Probability of the augmentation "r3gan" of `augment.ada` (but of no colour on grey images)."""
    decay_kimg: float
    kimg: float
    """How long to train. The paper's own for CIFAR-10 and ImageNet; FFHQ's is ours, its training code runs until stopped."""
    batch: int
    lr: tuple[float, float] = (2e-4, 5e-5)
    b2: tuple[float, float] = (0.9, 0.99)
    """Adam's beta2; beta1 is 0."""
    mirror: bool = True
    """Double the data set with x-flips."""


def annealed(preset: Preset, *, batch: int = 0, every: int = 1, share: int = 1, accum: int = 1) -> Recipe:
    """The recipe of a preset: `recipes.r3gan` with lr, b2, gamma and ema_kimg as functions of kimg.

    Args:
      preset: one of `PRESETS`, or one changed by `_replace`.
      batch: global images per step and player; 0 is the preset's. The learning rate is not scaled with it.
      every, share: apply the penalties every `every` steps, to one of every `share` images (the paper: 1 and 1).
      accum: micro-batches. Pairs are formed by position in the batch, so their number does not change the update.
    Returns:
      A Recipe. The augmentation probability belongs to the game: give it `p=augment_p(preset)`.
    Source: Huang et al. 2024, section 4 and appendix; its training loop, for what the paper leaves open: the
      schedules are evaluated at the images seen before the step, and Adam's epsilon is 1e-8.
    """
    fall = lambda ends: schedules.cosine(*ends, preset.decay_kimg)
    return recipes.r3gan(
        batch=batch or preset.batch,
        lr=fall(preset.lr),
        b2=fall(preset.b2),
        gamma=fall(preset.gamma),
        ema_kimg=fall(preset.ema_kimg),
        every=every,
        share=share,
        accum=accum,
    )


def augment_p(preset: Preset) -> Callable[[dict[str, Tree], Array], Array]:
    """(carry, kimg) -> augmentation probability [], for `game.game(..., p=)`: rises along the same cosine, from 0."""
    rise = schedules.cosine(*preset.augment_p, preset.decay_kimg)
    return lambda carry, kimg: rise(kimg)


def _network(channels, group=16, float32_stages=1):
    """The paper's: inner layers twice as wide, `group` channels per group, two blocks a stage, bfloat16 above the base."""
    groups = tuple(2 * c // group for c in channels)
    return {
        "channels": channels,
        "cardinality": groups,
        "blocks": (2,) * len(channels),
        "dtype": jnp.bfloat16,
        "float32_stages": float32_stages,
    }


PRESETS: dict[str, Preset] = {
    "cifar10": Preset(
        shape=(32, 32, 3),
        classes=10,
        network=_network((768,) * 4),
        gamma=(0.05, 0.005),
        ema_kimg=(0, 5_000),
        augment_p=(0, 0.55),
        decay_kimg=20_000,
        kimg=250_000,
        batch=512,
    ),
    "ffhq64": Preset(
        shape=(64, 64, 3),
        classes=0,
        network=_network((768, 768, 768, 768, 384)),
        gamma=(2, 0.2),
        ema_kimg=(0, 500),
        augment_p=(0, 0.3),
        decay_kimg=20_000,
        kimg=150_000,
        batch=256,
    ),
    "imagenet32": Preset(
        shape=(32, 32, 3),
        classes=1000,
        network=_network((1536,) * 4, group=32),
        gamma=(0.5, 0.05),
        ema_kimg=(0, 50_000),
        augment_p=(0, 0.5),
        decay_kimg=200_000,
        kimg=1_000_000,
        batch=4096,
    ),
    "digits": Preset(
        shape=(28, 28, 1),
        classes=10,
        network={"channels": (64, 32, 8), "blocks": (1, 1, 1)},
        gamma=(1, 0.1),
        ema_kimg=(0, 4),
        augment_p=(0, 0),
        decay_kimg=40,
        kimg=40,
        batch=32,
        lr=(2e-3, 2e-4),
        mirror=False,
    ),
}
PRESETS |= {
    "ffhq256": PRESETS["ffhq64"]._replace(
        shape=(256, 256, 3), network=_network((768, 768, 768, 768, 384, 192, 96), float32_stages=3), gamma=(150, 15)
    ),
    "imagenet64": PRESETS["imagenet32"]._replace(
        shape=(64, 64, 3), network=_network((1536,) * 5, group=32), gamma=(1, 0.1), augment_p=(0, 0.4)
    ),
    "mnist": PRESETS["digits"]._replace(ema_kimg=(0, 20), decay_kimg=300, kimg=300),
}
