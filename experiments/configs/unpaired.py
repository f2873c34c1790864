"""CycleGAN: translation between two kinds of images without pairs.

Paper: Zhu et al. 2017, "Unpaired image-to-image translation using cycle-consistent adversarial networks".
Commands:
  `python -m experiments.train cyclegan`: digits to mosaics of digits and back, half the embedded set of either. CPU, minutes.
  `python -m experiments.train cyclegan-mnist --data-dir DIR`: the same on MNIST.
  `python -m experiments.train cyclegan-256 --data horse2zebra/trainA --target horse2zebra/trainB`: the paper's; an accelerator.
  `... --data A --target B --size 64 64`: any two sets of images; `... --data photos --degrade grey edges`: one set in two styles.
A snapshot shows an a, what is made of it, a b and what is made of that, of held-out images.
Expected of `cyclegan`: 12 kimg in four minutes on a busy two-core CPU; what is made of 100 held-out digits then has a PSNR of
32.2 dB to the true mosaics, which were never seen, and what is made of mosaics one of 27.7 dB. The paper's were not run.
"""

import dataclasses
from typing import Literal

import jax.numpy as jnp

from jaxgan import game, recipes_paired, schedules
from jaxgan.data import Source, open_unpaired
from jaxgan.data.source import Progress
from jaxgan.errors import UserError
from jaxgan.models import cyclegan, pix2pix
from jaxgan.settings import Design, Settings


@dataclasses.dataclass(frozen=True)
class Config(Settings):
    """Two residual translators and two PatchGANs on two sets of images without pairs (CycleGAN)."""

    data: str = "digits"
    """Images A: anything that the other configs take. Without --target: both sets, a random half of it each."""
    target: str = ""
    """Images B, likewise; as many as there are. Of different sizes, both need --size; of different channels, --channels."""
    degrade: tuple[str, ...] = ("lowres",)
    """Without --target, the second half of --data is changed by these to be B: mask, centre, blur, noise, grey, lowres, edges,
    invert; optionally with an amount after a colon (blur:2)."""
    kimg: float = 12.0
    batch: int = 8
    cpu_devices: int = 1
    hold_out: int = 100
    width: int = 16
    """Channels of all networks at full resolution (the paper: 64)."""
    blocks: int = 3
    """Residual blocks of the generators (the paper: 6 at 128 pixels, 9 from 256 on)."""
    layers: int = 1
    """Layers of the discriminators: 1, 2, 3 give patches of 16, 34, 70 pixels; 0 of one pixel."""
    loss: Literal["least_squares", "non_saturating"] = "least_squares"
    """The paper's loss, or cross-entropy."""
    cycle: float = 10.0
    """Weight of cycle consistency, the paper's lambda."""
    identity: float = 5.0
    """Weight of the identity term, which keeps what is of the other kind already: 0.5 lambda in the paper for paintings and
    photographs, and in its code. 0: none, for kinds whose images differ in everything but the content."""
    history: int = 0
    """Fakes of earlier steps that are kept, of which D sees as many as of the newest (the paper: 50); 0: the newest alone."""
    lr: float = 1e-3
    """Adam's initial learning rate, all networks."""
    decay_from: float = 0.5
    """Share of the run from which on the learning rate falls to 0 on a straight line (the paper: 0.5); 1: constant."""
    b1: float = 0.5
    """Adam's beta1."""
    ema_kimg: float = 1.0
    """Half-life of the weight average; 0: none (the paper)."""
    snapshot_kimg: float = 4.0

    def open_data(self, progress: Progress) -> Source:
        if self.target and self.degrade != Config.degrade:
            raise UserError(f"--degrade {' '.join(self.degrade)}: images B come from --target; leave it out")
        how = self.how_to_open(progress)
        return open_unpaired(self.data, target=self.target, degrade=self.degrade, hold_out=self.hold_out, seed=self.seed, **how)

    def design(self, shape: tuple[int, int, int], source: tuple[int, int, int]) -> Design:
        if self.conditional != "no":
            raise UserError(f"--conditional {self.conditional}: CycleGAN is conditioned by its source images; leave it at no")
        if self.decay_from > 1:
            raise UserError(f"--decay-from {self.decay_from:g}: it is a share of the run; give 0 to 1")
        made = {"shape": cyclegan.check_size(shape), "width": self.width, "dtype": jnp.dtype(self.dtype)}
        generator = cyclegan.Generator(**made, blocks=self.blocks)
        discriminator = cyclegan.Discriminator(**made, layers=pix2pix.check_layers(shape, self.layers))
        recipe = recipes_paired.cyclegan(
            batch=self.batch,
            loss=self.loss,
            cycle=self.cycle,
            identity=self.identity,
            lr=schedules.linear_decay(self.lr, self.kimg * self.decay_from, self.kimg),
            b1=self.b1,
            accum=self.accum,
            ema_kimg=self.ema_kimg,
        )
        if self.history:
            recipe = recipes_paired.with_history(recipe, self.loss, self.history, shape)
        return Design(generator, discriminator, game.game(generator, discriminator, remat=self.remat), recipe)


PAPER = Config(
    data="trainA",
    target="trainB",
    size=(256, 256),
    channels=3,
    kimg=267.0,
    batch=1,
    hold_out=0,
    jitter=30,
    mirror=True,
    width=64,
    blocks=9,
    layers=3,
    history=50,
    lr=2e-4,
    ema_kimg=0.0,
    snapshot_kimg=10.0,
    tick_kimg=1.0,
)
"""The paper's horse2zebra, as the authors distribute it (1,067 and 1,334 images; the paper has 939 and 1,177): 200 epochs of the
larger set, batch 1, jitter and mirroring; the identity term is on, as in their code."""


def configs() -> dict[str, Config]:
    """All of them by name."""
    mnist = {"data": "mnist", "kimg": 100.0, "hold_out": 1000, "tick_kimg": 5.0, "snapshot_kimg": 20.0}
    return {"cyclegan": Config(), "cyclegan-mnist": Config(**mnist), "cyclegan-256": PAPER}
