"""The ProGAN and StyleGAN methods as recipes, and the papers' configurations as plain numbers."""

from typing import Any

from jaxgan import optim, schedules
from jaxgan.errors import UserError, nearest
from jaxgan.method import Phase, Recipe, Turn, alternating
from jaxgan.terms import CARRY, ac_gan, adversarial, drift, gradient_penalty, mixed_gradient_penalty, path_length
from jaxgan.typing import ScalarOrSchedule


def stylegan2(
    *,
    batch: int,
    lr: ScalarOrSchedule = 0.002,
    gamma: ScalarOrSchedule = 10.0,
    path_weight: float = 2.0,
    every: tuple[int, int] = (4, 16),
    share: int = 2,
    accum: int = 1,
    ema_kimg: ScalarOrSchedule = 10.0,
) -> Recipe:
    """StyleGAN2 (Karras et al. 2020): non-saturating loss, and both players' regularisers as separate lazy updates.

    Four phases, in the order of the authors' code: G's loss; path length every 4 steps; D's loss; R1 every 16 steps. A due
    regulariser is a separate update with the player's optimiser, whose rate and betas are corrected for it (`optim.lazy`). With
    `recipes.adaptive` around it, it is StyleGAN2-ADA.

    Args:
      batch: global images per step.
      lr: learning rate of both players before that correction; Adam, betas 0 and 0.99.
      gamma: of R1, gamma / 2 times the penalty. Numbers or schedules, these two and ema_kimg.
      path_weight: of path length; 0 for none (the rate is corrected nevertheless, as in the authors' code).
      every: intervals of path length and of R1, in steps.
      share: path length uses one of every `share` images.
      accum: micro-batches; the minibatch stddev sees one of them.
      ema_kimg: half-life of the weight average; `schedules.ramp` for the authors' ramp.
    Source: Karras et al. 2020 (StyleGAN2), sections 3.1 and 3.2, appendix B. stylegan2-ada-pytorch updates the mean of w in every
      pass through the mapping, StyleGAN3's code in D's phase; here G's phases update it. Gradients that are not finite are not
      replaced by finite ones, as theirs are (float16 overflows).
    """
    gamma = schedules.as_schedule(gamma)
    path = (Turn((Phase("g", (path_length(path_weight, every=every[0], share=share),)),)),) if path_weight else ()
    r1 = gradient_penalty("r1", "real", lambda kimg: gamma(kimg) / 2, every=every[1])
    return Recipe(
        turns=(
            Turn((Phase("g", (adversarial("g", "non_saturating"),)),)),
            *path,
            Turn((Phase("d", (adversarial("d", "non_saturating"),)),)),
            Turn((Phase("d", (r1,)),)),
        ),
        tx={name: optim.adam(*optim.lazy(lr, 0.0, 0.99, every=k)) for name, k in zip("gd", every, strict=True)},
        batch=batch,
        accum=accum,
        ema_kimg=ema_kimg,
        carry=CARRY["path_length"] if path_weight else {},
    )


PRESETS = {
    "config_e": {"width": 16384, "mapping": 8, "group": 4, "batch": 32, "lr": 0.002, "gamma": 10.0, "ema": (10.0, None)},
    "config_f": {"width": 32768, "mapping": 8, "group": 4, "batch": 32, "lr": 0.002, "gamma": 10.0, "ema": (10.0, None)},
    "paper256": {"width": 16384, "mapping": 8, "group": 8, "batch": 64, "lr": 0.0025, "gamma": 1.0, "ema": (20.0, None)},
    "paper512": {"width": 32768, "mapping": 8, "group": 8, "batch": 64, "lr": 0.0025, "gamma": 0.5, "ema": (20.0, None)},
    "paper1024": {"width": 32768, "mapping": 8, "group": 4, "batch": 32, "lr": 0.002, "gamma": 2.0, "ema": (10.0, None)},
    "cifar": {"width": 32768, "mapping": 2, "group": 32, "batch": 64, "lr": 0.0025, "gamma": 0.01, "ema": (500.0, 0.05)},
}
"""The configurations of the papers and of stylegan2-ada-pytorch (whose `stylegan2` is config_f): see `preset`."""


def preset(
    name: str, side: int, devices: int = 1, batch: int | None = None, *, trained: bool = False
) -> dict[str, dict[str, Any]]:
    """A configuration as keyword arguments: {'g': of stylegan2.Generator, 'd': of Discriminator, 'recipe': of `stylegan2`}.

    Args:
      name: of `PRESETS`, or 'auto', which chooses by the size and the number of devices.
      side: of the images, in pixels.
      devices, batch: for 'auto' alone; None is the batch that it gives this size on so many devices.
      trained: the run starts from trained networks, whose weight average a ramp would drop at the first step: there is none.
    Returns:
      Dictionaries of plain values; 'recipe' includes the batch. Training lasts 25,000 kimg, and 100,000 for cifar.
    Raises:
      UserError: an unknown name.
    Source: Karras et al. 2020 (ADA), appendix table "hyperparameters", and the authors' command line.
    """
    if name == "auto":
        batch = batch or max(min(devices * min(4096 // side, 32), 64), devices)
        chosen = {
            "width": 32768 if side >= 512 else 16384,
            "mapping": 2,
            "group": min(batch // devices, 4),
            "batch": batch,
            "lr": 0.002 if side >= 1024 else 0.0025,
            "gamma": 0.0002 * side**2 / batch,
            "ema": (batch * 10 / 32, 0.05),
        }
    elif name in PRESETS:
        chosen = PRESETS[name]
    else:
        raise UserError(f"there is no preset {name!r}{nearest(name, PRESETS)}; there are auto, {', '.join(PRESETS)}")
    cifar = name == "cifar"  # small images: no path length, no style mixing, no skips in D
    return {
        "g": {"channel_base": chosen["width"], "mapping_layers": chosen["mapping"], "mixing": 0.0 if cifar else 0.9},
        "d": {
            "channel_base": chosen["width"],
            "group": chosen["group"],
            "architecture": "orig" if cifar else "resnet",
        },
        "recipe": {
            "batch": chosen["batch"],
            "lr": chosen["lr"],
            "gamma": chosen["gamma"],
            "path_weight": 0.0 if cifar else 2.0,
            "ema_kimg": schedules.ramp(chosen["ema"][0], None if trained else chosen["ema"][1]),
        },
    }


def stylegan3(
    *,
    batch: int,
    lr_g: ScalarOrSchedule = 0.0025,
    lr_d: ScalarOrSchedule = 0.002,
    gamma: ScalarOrSchedule = 2.0,
    every: int = 16,
    accum: int = 1,
    ema_kimg: ScalarOrSchedule = 10.0,
) -> Recipe:
    """StyleGAN3 (Karras et al. 2021): `stylegan2` without path length or style mixing, and a rate for each player.

    Args:
      batch: global images a step.
      lr_g, lr_d: learning rates, D's before the correction for its lazy R1; Adam, betas 0 and 0.99.
      gamma: of R1, gamma / 2 times the penalty; numbers or schedules, these three and ema_kimg.
      every: interval of R1, in steps.
      accum, ema_kimg: as `stylegan2`.
    Source: Karras et al. 2021, appendix D, and the authors' command line.
    """
    recipe = stylegan2(batch=batch, lr=lr_d, gamma=gamma, path_weight=0.0, every=(1, every), accum=accum, ema_kimg=ema_kimg)
    return recipe._replace(tx=recipe.tx | {"g": optim.adam(lr_g, b1=0.0, b2=0.99)})


ROTATES = {"kernel": 1, "radial": True, "channel_base": 65536, "channel_max": 1024}
"""What makes configuration R of StyleGAN3's generator of T."""


def preset3(name: str, side: int, batch: int, *, trained: bool = False) -> dict[str, dict[str, Any]]:
    """StyleGAN3's configuration t or r, as `preset` gives them; 'blur' has the arguments of `augment.early_blur` in r.

    Args:
      side: of the images, in pixels; R1's weight grows with its square (2 at 256).
      batch: global; the averages of magnitudes and weights are of as many images.
      trained: as `preset`.
    Raises:
      UserError: an unknown name.
    Source: Karras et al. 2021, appendix D; the authors' recommended settings for 8 devices, 32 images, 128 to 1024 pixels.
    """
    if name not in ("t", "r"):
        raise UserError(f"there is no preset {name!r}; there are t, r")
    turns, ema = name == "r", schedules.ramp(batch * 10 / 32, None if trained else 0.05)
    return {
        "g": {"magnitude_average": 0.5 ** (batch / 20_000)} | (ROTATES if turns else {}),
        "d": {},
        "recipe": {"batch": batch, "gamma": 2.0 * (side / 256) ** 2, "ema_kimg": ema},
        "blur": {"sigma": 10.0, "kimg_end": batch * 200 / 32} if turns else {},
    }


def stylegan(
    *, batch: int, lr: ScalarOrSchedule = 0.001, gamma: ScalarOrSchedule = 10.0, accum: int = 1, ema_kimg: ScalarOrSchedule = 10.0
) -> Recipe:
    """StyleGAN (Karras et al. 2019): non-saturating loss with R1 at every step, Adam with betas 0 and 0.99.

    Args:
      batch: global images per step. lr, gamma, ema_kimg: numbers or schedules; gamma / 2 times R1.
      accum: micro-batches; the minibatch stddev sees one of them.
    Source: Karras et al. 2019, appendix C: lr 0.001 (0.0015 at 128 pixels to 0.003 at 1024). Deviation: no growing.
    """
    gamma = schedules.as_schedule(gamma)
    r1 = gradient_penalty("r1", "real", lambda kimg: gamma(kimg) / 2)
    return Recipe(
        turns=alternating([adversarial("d", "non_saturating"), r1], [adversarial("g", "non_saturating")]),
        tx={name: optim.adam(lr, b1=0.0, b2=0.99) for name in "gd"},
        batch=batch,
        accum=accum,
        ema_kimg=ema_kimg,
    )


def progan(
    *,
    batch: int,
    lr: ScalarOrSchedule = 0.001,
    gp: ScalarOrSchedule = 10.0,
    drift_weight: ScalarOrSchedule = 0.001,
    class_weight: ScalarOrSchedule = 0.0,
    accum: int = 1,
    ema_kimg: ScalarOrSchedule = 10.0,
) -> Recipe:
    """ProGAN (Karras et al. 2018): Wasserstein loss, gradient penalty, drift; one update of D per update of G.

    Args:
      batch: global images per step; the paper's is 16, and for CelebA-HQ 14, 6, 3 at 256, 512, 1024 pixels.
      lr: Adam's, betas 0 and 0.99; the paper's is 0.001 throughout. A number or a schedule, as ema_kimg.
      gp: weight of the gradient penalty towards norm 1. drift_weight: of D(x)^2 on reals.
      class_weight: of AC-GAN's class loss in both players, for a D with classes; 0 for none, theirs is 1.
      accum: micro-batches; the minibatch stddev sees one of them.
    Source: Karras et al. 2018, appendix A. (The authors' faster presets have batches of up to 512 and rates of up to 0.003.)
    """
    classes = lambda player: [ac_gan(player, class_weight)] if class_weight else []
    critic = [adversarial("d", "wasserstein"), mixed_gradient_penalty("wgan_gp", gp), drift(drift_weight)]
    return Recipe(
        turns=alternating(critic + classes("d"), [adversarial("g", "wasserstein"), *classes("g")]),
        tx={name: optim.adam(lr, b1=0.0, b2=0.99) for name in "gd"},
        batch=batch,
        accum=accum,
        ema_kimg=ema_kimg,
    )
