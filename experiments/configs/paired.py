"""pix2pix: images made from images, to repair them or to change what they show.

Paper: Isola et al. 2017, "Image-to-image translation with conditional adversarial networks".
Commands:
  `python -m experiments.train pix2pix`: the embedded digits, a grey box over a part of each, to be filled in. CPU, minutes.
  `python -m experiments.train pix2pix-mnist --data-dir DIR`: the same on MNIST.
  `python -m experiments.train pix2pix-256 --data facades --side-by-side right`: the paper's facades, on an accelerator.
  `... --data SOURCES --target TARGETS`: two folders; `... --data photos --degrade noise:25 lowres:2`: other damage.
A snapshot shows source, generated image and target side by side, of pairs that were held out.
Expect of `pix2pix`: 30 kimg in five minutes on a busy CPU of two cores; 100 held-out digits come from 17.6 dB, under their
masks, to 25.1 dB PSNR. The paper's facades (400 pairs, 80 kimg) were not run here.
"""

import dataclasses
from typing import Literal

import jax.numpy as jnp

from jaxgan import game, recipes_paired, schedules
from jaxgan.data import Source, open_pairs
from jaxgan.errors import UserError
from jaxgan.models import pix2pix
from jaxgan.settings import Design, Settings


@dataclasses.dataclass(frozen=True)
class Config(Settings):
    """U-Net and PatchGAN on pairs of images (pix2pix)."""

    data: str = "digits"
    """The source images, with --target. With --side-by-side images of both. Else the targets: anything that other configs
    take."""
    target: str = ""
    """A folder or archive of the target images, named as the sources are."""
    side_by_side: Literal["", "left", "right"] = ""
    """Each image of --data holds source and target, and this half is the source."""
    degrade: tuple[str, ...] = ("mask",)
    """Without the two above the sources are the targets with this damage, in this order: mask, centre, blur, noise, grey,
    lowres; an amount can stand after a colon (noise:25)."""
    source_channels: Literal[1, 3, 4] | None = None
    """Of the sources (--channels is of the targets); None keeps their own."""
    kimg: float = 30.0
    batch: int = 16
    cpu_devices: int = 1
    """Two were no faster."""
    hold_out: int = 100
    width: int = 16
    """Channels of the first grid of both networks (the paper: 64)."""
    layers: int = 1
    """The discriminator's patches: 1, 2, 3 are 16, 34, 70 pixels wide; 0 is one pixel."""
    norm: Literal["instance", "batch", "none"] = "instance"
    """By each image's own statistics, as the paper's at batch 1; or the batch's."""
    dropout: float = 0.5
    """Rate in the generator's first `dropouts` doublings, when sampling too: its noise."""
    dropouts: int = 1
    """How many (the paper: 3 of 8)."""
    loss: Literal["non_saturating", "least_squares"] = "non_saturating"
    """The paper's, or that of the authors' later code."""
    l1: float = 100.0
    """Weight of the L1 distance to the target."""
    lr: float = 1e-3
    """Adam's learning rate, both players."""
    lr_end: float = 0.1
    """It falls along a cosine to this share; 1 keeps it (the paper)."""
    b1: float = 0.5
    """Adam's first decay."""
    ema_kimg: float = 1.0
    """Half-life of the weight average; 0 for none (the paper)."""

    def open_data(self, progress) -> Source:
        if (self.target or self.side_by_side) and self.degrade != Config.degrade:
            raise UserError(f"--degrade {' '.join(self.degrade)}: the pairs come from --target or --side-by-side; leave it out")
        return open_pairs(
            self.data,
            target=self.target,
            side_by_side=self.side_by_side,
            degrade=self.degrade,
            source_channels=self.source_channels,
            **self.how_to_open(progress),
        )

    def design(self, shape: tuple[int, int, int], source: tuple[int, int, int]) -> Design:
        if self.conditional != "no":
            raise UserError(f"--conditional {self.conditional}: pix2pix is conditioned by its source images; leave it at no")
        made = {"shape": shape, "source_channels": source[2], "width": self.width, "norm": self.norm}
        made["dtype"] = jnp.dtype(self.dtype)
        generator = pix2pix.Generator(**made, dropout=self.dropout, dropouts=self.dropouts)
        discriminator = pix2pix.Discriminator(**made, layers=pix2pix.check_layers(shape, self.layers))
        recipe = recipes_paired.pix2pix(
            batch=self.batch,
            loss=self.loss,
            l1=self.l1,
            lr=schedules.cosine(self.lr, self.lr * self.lr_end, self.kimg),
            b1=self.b1,
            accum=self.accum,
            ema_kimg=self.ema_kimg,
        )
        return Design(generator, discriminator, game.game(generator, discriminator, remat=self.remat), recipe)


PAPER = Config(
    data="facades",
    side_by_side="right",
    size=(256, 256),
    channels=3,
    source_channels=3,
    kimg=80.0,
    batch=1,
    hold_out=0,
    jitter=30,
    mirror=True,
    width=64,
    layers=3,
    dropouts=3,
    lr=2e-4,
    lr_end=1.0,
    ema_kimg=0.0,
    snapshot_kimg=4.0,
    tick_kimg=0.4,
)
"""The paper's facades: 400 training pairs, 200 epochs, batch 1, jitter and mirroring, no average of the weights."""


def configs() -> dict[str, Config]:
    """All of them by name."""
    mnist = {"data": "mnist", "kimg": 300.0, "hold_out": 1000, "tick_kimg": 5.0, "snapshot_kimg": 20.0}
    return {"pix2pix": Config(), "pix2pix-mnist": Config(**mnist), "pix2pix-256": PAPER}
