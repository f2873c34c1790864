"""pix2pix: image-to-image translation, to repair images or to change what they show.

Paper: Isola et al. 2017, "Image-to-image translation with conditional adversarial networks".
Commands:
  `python -m experiments.train pix2pix`: the embedded digits, part of each hidden by a grey box, to be inpainted. CPU, minutes.
  `python -m experiments.train pix2pix-mnist --data-dir DIR`: the same on MNIST.
  `python -m experiments.train pix2pix-256 --data facades --side-by-side right`: the paper's facades, on an accelerator.
  `... --data SOURCES --target TARGETS`: two folders; `... --data photos --degrade noise:25 lowres:2`: other degradations.
A snapshot shows source, generated image and target side by side, for held-out pairs.
Expected of `pix2pix`: 30 kimg in five minutes on a busy two-core CPU; the PSNR of 100 held-out digits rises from 17.6 dB
(masked) to 26.0 dB. The paper's facades (400 pairs, 80 kimg) were not run here.
"""

import dataclasses
from typing import Literal

import jax.numpy as jnp

from jaxgan import game, recipes_paired, schedules
from jaxgan.data import Source, open_pairs
from jaxgan.data.source import Progress
from jaxgan.errors import UserError
from jaxgan.models import pix2pix
from jaxgan.settings import Design, Settings


@dataclasses.dataclass(frozen=True)
class Config(Settings):
    """U-Net and PatchGAN on pairs of images (pix2pix)."""

    data: str = "digits"
    """With --target: the source images. With --side-by-side: images that hold both. Otherwise: the targets, anything that the
    other configs take."""
    target: str = ""
    """A folder or archive of the target images, with the same names as the sources."""
    side_by_side: Literal["", "left", "right"] = ""
    """Each image of --data holds source and target side by side; this half is the source."""
    degrade: tuple[str, ...] = ("mask",)
    """Without the two above, the sources are the targets degraded by these, in this order: mask, centre, blur, noise, grey,
    lowres, edges, invert; optionally with an amount after a colon (noise:25)."""
    source_channels: Literal[1, 3, 4] | None = None
    """Channels of the sources (--channels is for the targets); None keeps their own."""
    kimg: float = 30.0
    batch: int = 16
    cpu_devices: int = 1
    """Two devices were no faster."""
    hold_out: int = 100
    width: int = 16
    """Channels of both networks at full resolution (the paper: 64)."""
    layers: int = 1
    """Layers of the discriminator: 1, 2, 3 give patches of 16, 34, 70 pixels; 0 of one pixel."""
    norm: Literal["instance", "batch", "none"] = "instance"
    """Normalisation: instance (the paper's batch norm at batch 1), batch, or none."""
    dropout: float = 0.5
    """Dropout rate in the generator's first `dropouts` upsampling stages; also when sampling, as its noise."""
    dropouts: int = 1
    """Number of upsampling stages with dropout (the paper: 3 of 8)."""
    loss: Literal["non_saturating", "least_squares"] = "non_saturating"
    """The paper's loss, or that of the authors' later code."""
    l1: float = 100.0
    """Weight of the L1 distance to the target."""
    lr: float = 1e-3
    """Adam's initial learning rate, both networks."""
    lr_end: float = 0.1
    """Cosine decay of the learning rate to this fraction; 1: constant (the paper)."""
    b1: float = 0.5
    """Adam's beta1."""
    ema_kimg: float = 1.0
    """Half-life of the weight average; 0: none (the paper)."""

    def open_data(self, progress: Progress) -> Source:
        if (self.target or self.side_by_side) and self.degrade not in ((), Config.degrade):
            raise UserError(f"--degrade {' '.join(self.degrade)}: the pairs come from --target or --side-by-side; leave it out")
        if not (self.target or self.side_by_side or self.degrade):
            raise UserError("what are the sources? give --target FOLDER, --side-by-side left or right, or --degrade blur, ...")
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
    degrade=(),
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
"""The paper's facades: 400 training pairs, 200 epochs, batch 1, jitter and mirroring, no average of the weights. What the sources
are is to be said."""


def configs() -> dict[str, Config]:
    """All of them by name."""
    mnist = {"data": "mnist", "kimg": 300.0, "hold_out": 1000, "tick_kimg": 5.0, "snapshot_kimg": 20.0}
    return {"pix2pix": Config(), "pix2pix-mnist": Config(**mnist), "pix2pix-256": PAPER}
