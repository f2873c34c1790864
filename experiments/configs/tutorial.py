"""The tutorial's recipe, exactly: its DCGAN, one noise draw for both gradients, Adam 1e-4, batch 32.

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
    """One device: these layers are wide enough to use all cores, and Fourier convolutions read each kernel once per batch."""
    standing: int = 0
    """The tutorial samples with batch norm's moving statistics."""
    lr: float = 1e-4
    """Adam's learning rate, both networks."""
    loss: Literal["non_saturating", "minimax"] = "non_saturating"
    """The generator's loss: -log D(G(z)), or the saturating log(1 - D(G(z)))."""
    dropout: float = 0.3
    """Dropout rate in the discriminator."""
    ema_kimg: float = 0.0
    """Half-life of the weight average; the tutorial has none."""
    augment: tuple[Literal["rotate", "scale", "crop", "flip"], ...] = ()
    """Augmentations of reals and fakes before each call of D; the tutorial's code has none."""
    augment_p: float = 0.5
    """Probability of each augmentation."""

    def design(self, shape: tuple[int, int, int], classes: int) -> Design:
        made = {"shape": shape, "classes": classes, "dtype": jnp.dtype(self.dtype)}
        pair = dcgan.TutorialGenerator(**made), dcgan.TutorialDiscriminator(**made, dropout=self.dropout)
        recipe = recipes.tutorial(batch=self.batch, accum=self.accum, loss=self.loss, lr=self.lr, ema_kimg=self.ema_kimg)
        augmented = augment.pipeline(self.augment, fill="background")
        return Design(*pair, game.game(*pair, augment=augmented, p=self.augment_p, remat=self.remat), recipe)
