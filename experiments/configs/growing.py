"""ProGAN, whose networks grow during training, and StyleGAN 1: small versions for minutes on a CPU, and the papers' own.

`python -m experiments.train progan`, `... progan-mnist --data-dir DIR`, `... progan-256 --data photos/`; likewise `stylegan`.
Descriptions, costs and samples: docs/families.md.
"""

import dataclasses
from functools import partial
from typing import Any, Literal

import jax.numpy as jnp

from experiments.configs.objective import augmentation
from jaxgan import game, grow, recipes_stylegan
from jaxgan.errors import UserError
from jaxgan.layers import base_size
from jaxgan.models import progan, stylegan
from jaxgan.settings import Design, Settings

Augment = Literal["rotate", "scale", "crop", "flip", "translation", "cutout", "color", "ada", "ada_bg"]


@dataclasses.dataclass(frozen=True)
class Shared(Settings):
    """The fields common to both."""

    kimg: float = 40.0
    size: tuple[int, int] | None = (28, 28)
    conditional: Literal["auto", "yes", "no"] = "auto"
    width: int = 16
    """Channels at full resolution; doubled each time the resolution is halved."""
    width_max: int = 64
    """Maximum number of channels."""
    z_dim: int = 64
    """Length of z."""
    group: int = 4
    """Group size of D's minibatch standard deviation."""
    lr: float = 2e-3
    """Learning rate of both networks."""
    ema_kimg: float = 2.0
    """Half-life of the weight average."""
    augment: tuple[Augment, ...] = ()
    """Augmentations of reals and fakes before each call of D."""
    augment_p: float = 1.0
    """Probability of each."""

    def networks(self, shape: tuple[int, int, int], classes: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """The fields that the networks have in common: of G, of D."""
        both = {"shape": shape, "classes": classes, "channel_max": self.width_max, "dtype": jnp.dtype(self.dtype)}
        both["channel_base"] = self.width * max(shape[:2])
        return both | {"z_dim": self.z_dim}, both | {"group": self.group}

    def recipe(self) -> dict:
        return {"batch": self.batch, "accum": self.accum, "lr": self.lr, "ema_kimg": self.ema_kimg}


@dataclasses.dataclass(frozen=True)
class ProGAN(Shared):
    """Karras et al. 2018: the networks start at the base resolution and double it repeatedly, fading in each new one."""

    first: int = 0
    """Initial resolution, as the number of doublings of the base resolution."""
    stable_kimg: float = 4.0
    """How long to train at one resolution before fading in the next."""
    fade_kimg: float = 4.0
    """How long a new resolution is faded in."""
    gp: float = 10.0
    """Weight of the gradient penalty."""
    class_weight: float = 1.0
    """Weight of the class loss, if there are classes."""

    def design(self, shape: tuple[int, int, int], classes: int) -> tuple[Design, ...]:
        last, times = base_size(shape)[1], (self.first, self.stable_kimg, self.fade_kimg)
        grow.stages(0.0, last, first=times[0], stable_kimg=times[1], fade_kimg=times[2])  # refuses what cannot be
        grown = 0.0 if last == self.first else grow.fade_start(last, *times) + self.fade_kimg
        if self.kimg < grown:
            what = f"the networks have the full size of {shape[0]}x{shape[1]} after {grown:g} kimg"
            raise UserError(f"--kimg {self.kimg:g}: {what}; give more, or shorter --stable-kimg and --fade-kimg")
        return tuple(self._stage(shape, classes, i, last) for i in range(self.first, last + 1))

    def _stage(self, shape, classes: int, stage: int, last: int) -> Design:
        """Networks of so many doublings, the last of which fades in from the beginning of the stage."""
        times = {"first": self.first, "stable_kimg": self.stable_kimg, "fade_kimg": self.fade_kimg}
        alpha, fading = partial(grow.alpha, stage=stage, **times), stage > self.first
        of_g, of_d = self.networks(shape, classes)
        pair = progan.Generator(**of_g, stage=stage), progan.Discriminator(**of_d, stage=stage)
        weight = self.class_weight if classes else 0.0
        played = game.game(
            *pair,
            remat=self.remat,
            augment=augmentation(self.augment, shape[2]),
            p=self.augment_p,
            scheduled=lambda kimg: {"alpha": alpha(kimg)},
            reals=lambda x, kimg: grow.fade_reals(x, last - stage, alpha(kimg)) if fading else x,
        )
        recipe = recipes_stylegan.progan(**self.recipe(), gp=self.gp, class_weight=weight)
        return Design(*pair, played, recipe, grow.fade_start(stage, **times) if fading else 0.0)


@dataclasses.dataclass(frozen=True)
class StyleGAN(Shared):
    """Karras et al. 2019: AdaIN with styles from a mapping network, noise in every layer, R1 at every step; no growing."""

    w_dim: int = 64
    """Length of w."""
    mapping_layers: int = 4
    """Number of layers of the mapping network, from z to w."""
    mixing: float = 0.0
    """Probability of style mixing for a training image; the paper's is 0.9."""
    gamma: float = 1.0
    """Weight of R1: gamma / 2 R1."""

    def design(self, shape: tuple[int, int, int], classes: int) -> Design:
        of_g, of_d = self.networks(shape, classes)
        style = {"w_dim": self.w_dim, "mapping_layers": self.mapping_layers, "mixing": self.mixing}
        pair = stylegan.Generator(**of_g, **style), stylegan.Discriminator(**of_d)
        played = game.game(*pair, augment=augmentation(self.augment, shape[2]), p=self.augment_p, remat=self.remat)
        return Design(*pair, played, recipes_stylegan.stylegan(**self.recipe(), gamma=self.gamma))


SMALL = {"progan": ProGAN(), "stylegan": StyleGAN()}
"""`python -m experiments.train progan`: the embedded digits on a CPU, about five minutes of one core each. progan shows
blobs while it grows, until 16 kimg, rough digits at 30 and mostly legible ones at 40; stylegan has legible ones at 20."""

PAPER = {"data": "photos", "conditional": "no", "width_max": 512, "z_dim": 512, "tick_kimg": 50.0, "snapshot_kimg": 500.0}
GROWING = PAPER | {
    **{"batch": 16, "group": 16, "lr": 1e-3, "ema_kimg": 11.1, "stable_kimg": 800.0, "fade_kimg": 800.0, "mirror": True}
}
"""As the authors' Theano code has it, which made the paper's results (their TensorFlow code is very close)."""
STYLED = PAPER | {"w_dim": 512, "mapping_layers": 8, "mixing": 0.9, "gamma": 10.0, "ema_kimg": 10.0, "mirror": True}
PAPERS = {
    # Karras et al. 2018, section 6.4: LSUN, x-flipped but for dogs and bedrooms, where the FID is 8.34 (--no-mirror). Full size
    # from 9,600 kimg on.
    "progan-256": ProGAN(**GROWING, size=(256, 256), width=64, kimg=20_000.0),
    # Section 6.3: CelebA-HQ, four days on 8 V100. Their batch falls to 14, 6, 3 from 256 pixels on, for want of memory; a
    # batch is of the whole run here (progress is steps times batch), so give --accum where 16 do not fit.
    "progan-1024": ProGAN(**GROWING, size=(1024, 1024), width=16, kimg=19_000.0),
    # Karras et al. 2019, appendix C: FFHQ, with the authors' rates at the last size. On 8 V100 their code takes 3 days and 8
    # hours at 256 pixels, 6 days and 14 hours at 1024, where the FID is 4.4. They grow from 8 pixels, with larger batches at
    # first and a rate of 0.001; here nothing grows, so expect more time for the same kimg, and not their number.
    "stylegan-256": StyleGAN(**STYLED, size=(256, 256), width=64, batch=32, lr=2e-3, kimg=25_000.0),
    "stylegan-1024": StyleGAN(**STYLED, size=(1024, 1024), width=16, batch=32, lr=3e-3, kimg=25_000.0),
}
"""As in the papers; for the accelerators that those name. `python -m experiments.train progan-256 --data photos/`. Not trained
by us."""


def configs() -> dict[str, Shared]:
    """All of them by name: family, family-mnist, and the papers'."""
    mnist = {"data": "mnist", "kimg": 300.0, "tick_kimg": 5.0, "snapshot_kimg": 20.0}
    longer = {"progan": {"stable_kimg": 30.0, "fade_kimg": 30.0}, "stylegan": {"lr": 0.01, "gamma": 10.0}}
    on_mnist = {f"{name}-mnist": dataclasses.replace(config, **mnist, **longer[name]) for name, config in SMALL.items()}
    return {**SMALL, **on_mnist, **PAPERS}
