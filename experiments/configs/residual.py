"""The best small recipe that we know: residual networks without normalisation, relativistic pairing loss, R1 and R2, EMA.

Paper: Huang et al. 2024, "The GAN is dead; long live the GAN!", at a size for 28x28 and a CPU.
Commands: `python -m experiments.train` (the 1,797 embedded digits), `python -m experiments.train mnist --data-dir DIR`,
`python -m experiments.train cifar10 --data-dir DIR`.
"""

import dataclasses
from typing import Literal

import jax.numpy as jnp

from jaxgan import augment, game, recipes, schedules
from jaxgan.models import residual
from jaxgan.settings import Design, Settings


@dataclasses.dataclass(frozen=True)
class Config(Settings):
    """Residual networks, relativistic loss, R1 + R2, weight averaging (R3GAN's recipe, small)."""

    kimg: float = 40.0
    size: tuple[int, int] | None = (28, 28)
    conditional: Literal["auto", "yes", "no"] = "auto"
    patch: int = 2
    """Side in pixels of the patches that the last stage works on; 1: full resolution, which takes twice the time."""
    width: int = 32
    """Channels of the hidden layers."""
    lr: float = 2e-3
    """Initial learning rate of both networks, with cosine decay to a tenth."""
    b2: float = 0.95
    """Adam's beta2; beta1 is 0."""
    gamma: float = 0.3
    """Weight of the penalties: gamma / 2 (R1 + R2)."""
    every: int = 4
    """Lazy regularisation: apply the penalties every so many steps, with their weight multiplied by it."""
    share: int = 2
    """Apply the penalties to 1/share of the images."""
    ema_share: float = 0.1
    """Half-life of the weight average, as a fraction of the images seen so far."""
    augment: tuple[Literal["rotate", "scale", "crop", "flip"], ...] = ()
    """Augmentations of reals and fakes before each call of D."""
    augment_p: float = 0.3
    """Probability of each augmentation."""

    def design(self, shape: tuple[int, int, int], classes: int) -> Design:
        recipe = recipes.r3gan(
            batch=self.batch,
            accum=self.accum,
            lr=schedules.cosine(self.lr, self.lr / 10, self.kimg),
            b2=self.b2,
            gamma=self.gamma,
            every=self.every,
            share=self.share,
            ema_kimg=schedules.ramp(float("inf"), self.ema_share),
        )
        sizes = {"patch": self.patch, "width": self.width, "dtype": jnp.dtype(self.dtype)}
        pair = residual.Generator(shape, classes, **sizes), residual.Discriminator(shape, classes, **sizes)
        augmented = augment.pipeline(self.augment, fill="background")
        return Design(*pair, game.game(*pair, augment=augmented, p=self.augment_p, remat=self.remat), recipe)


CIFAR10 = Config(
    data="cifar10", size=None, kimg=500.0, batch=64, width=64, lr=1e-3, gamma=0.1, mirror=True, tick_kimg=5.0, snapshot_kimg=20.0
)
"""Twice as wide, for colour photographs of 32x32 pixels. Two cores with AVX-512 made 190 images a second: 45 minutes.

README's picture and number come from the set as a folder of JPEG files, `digits --data FOLDER --size 32 32 --mirror --width 64
--batch 64 --lr 0.001 --gamma 0.1 --kimg 500`: the same but for the compression, and the ticks.
"""
