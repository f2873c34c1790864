"""The tutorial's recipe, exactly: its DCGAN pair, one noise draw for both gradients, Adam 1e-4, batch 32.

Paper: Goodfellow et al. 2014; Radford et al. 2016. Tutorial: the Keras listing this project started from.
Command: `python -m experiments.train digits-tutorial`, `python -m experiments.train mnist-tutorial --data-dir DIR`.
"""

import dataclasses
from typing import Literal

import jax.numpy as jnp

from jaxgan import augment, game, recipes
from jaxgan.models import dcgan
from jaxgan.settings import Design, Settings


@dataclasses.dataclass(frozen=True)
class Config(Settings):
    """The tutorial's DCGAN, simultaneous updates, binary cross-entropy."""

    size: tuple[int, int] | None = (28, 28)
    channels: Literal[1, 3, 4] | None = 1
    cpu_devices: int = 1
    """Its layers are wide enough for all cores, and convolutions by Fourier transforms read a kernel once for the whole batch."""
    standing: int = 0
    """The tutorial samples with the moving statistics of training."""
    lr: float = 1e-4
    """Adam's learning rate, both players."""
    loss: Literal["non_saturating", "minimax"] = "non_saturating"
    """The generator's loss: -log D(G(z)), or the saturating log(1 - D(G(z)))."""
    dropout: float = 0.3
    """Rate in the discriminator."""
    ema_kimg: float = 0.0
    """Half-life of the weight average; the tutorial has none."""
    augment: tuple[Literal["rotate", "scale", "crop", "flip"], ...] = ()
    """What reals and fakes go through before each call of the discriminator; the listing has none."""
    augment_p: float = 0.5
    """Probability of each of them."""

    def design(self, shape: tuple[int, int, int], classes: int) -> Design:
        made = {"shape": shape, "classes": classes, "dtype": jnp.dtype(self.dtype)}
        pair = dcgan.TutorialGenerator(**made), dcgan.TutorialDiscriminator(**made, dropout=self.dropout)
        recipe = recipes.tutorial(batch=self.batch, accum=self.accum, loss=self.loss, lr=self.lr, ema_kimg=self.ema_kimg)
        augmented = augment.pipeline(self.augment, fill="background")
        return Design(*pair, game.game(*pair, augment=augmented, p=self.augment_p, remat=self.remat), recipe)
