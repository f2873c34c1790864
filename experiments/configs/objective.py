"""Any objective on small networks: every loss, penalty, augmentation and optimiser of the library by name.

Their formulas and costs: docs/objectives.md. The defaults are those of `digits`, but for gamma and the augmentations.
Command: `python -m experiments.train objective --loss hinge --penalty wgan_gp --optimizer lion --lr 3e-4`.
"""

import dataclasses
from typing import Literal

import jax.numpy as jnp

from jaxgan import augment, game, optim, recipes, schedules, terms
from jaxgan.errors import UserError
from jaxgan.models import dcgan, residual
from jaxgan.settings import Design, Settings

Loss = Literal[terms.LOSSES]
Penalty = Literal[recipes.PENALTIES]
ClassLoss = Literal["none", *recipes.CLASS_LOSSES]
Optimizer = Literal["adam", "adam_keras", "adamw", "adafactor", "optimistic_adam", "lion", "muon_or_adam"]
Augment = Literal[*augment.NAMES, *(f"ada_{preset}" for preset in augment.ADA_PRESETS), "apa"]
OF_GRADIENT = (
    *("r1", "r2", "finite_difference_r1", "finite_difference_r2", "wgan_gp", "wgan_lp", "dragan"),
    "adversarial_examples",
)
"""Penalties by a gradient of each image's own logit: not for a discriminator with batch norm."""
APPLIES = {
    "gamma": ("r1", "r2", "finite_difference_r1", "finite_difference_r2"),
    "gp_weight": ("wgan_gp", "wgan_lp", "dragan"),
    **{name: ("cr", "bcr") for name in ("cr_weight", "consistency")},
    **{name: ("lecam",) for name in ("lecam_weight", "lecam_kimg")},
    **{f"attack_{name}": ("adversarial_examples",) for name in ("eps", "steps", "norm")},
    **{f"{name}_weight": (name,) for name in ("drift", "zcr_d", "zcr_g", "orthogonal", "path_length", "feature_matching")},
    "adversarial_examples_weight": ("adversarial_examples",),
}
"""Fields that are of some penalties only. A sweep of one that nothing reads would compare a run with itself."""


@dataclasses.dataclass(frozen=True)
class Config(Settings):
    """Any loss, penalties, augmentations and optimiser on small networks."""

    kimg: float = 40.0
    size: tuple[int, int] | None = (28, 28)
    conditional: Literal["auto", "yes", "no"] = "auto"
    pair: Literal["residual", "dcgan"] = "residual"
    """The networks: residual, a small version of R3GAN's without normalisation; or Radford et al.'s DCGAN."""
    width: int = 32
    """Channels: of residual's hidden layers, of dcgan's largest resolution."""
    patch: int = 2
    """residual: side in pixels of the patches that its last stage works on."""
    norm: Literal["auto", "batch", "spectral", "none"] = "auto"
    """The discriminator's normalisation: spectral, for either pair; batch, for dcgan; auto: batch for dcgan unless a penalty
    rules it out, else none."""

    loss: Loss = "relativistic"
    """The adversarial loss of both networks. MMD has a single feature here: the logit."""
    class_loss: ClassLoss = "none"
    """Class loss of both networks: none (D is a projection discriminator), AC-GAN's cross-entropy, ReACGAN's D2D-CE, or the
    multi-class hinge, which replaces --loss."""
    class_weight: float = 1.0
    """Weight of ac_gan or d2d_ce."""
    update: Literal["alternating", "simultaneous"] = "alternating"
    """D then G, or both at once from the same parameters."""
    n_critic: int = 1
    """Updates of D, each on its own images, per update of G."""
    top_k: float = 1.0
    """Share of the fakes that G learns from at last: those that D rates most real (the paper: 0.5). 1: all."""
    top_k_kimg: float = 20.0
    """Thousands of images over which that share falls from 1, in a straight line."""

    penalty: tuple[Penalty, ...] = ("r1", "r2")
    """Any number of penalties."""
    every: int = 4
    """Lazy regularisation: apply penalties that call a network again every so many steps, with their weight multiplied by it."""
    share: int = 2
    """Apply the same penalties to 1/share of the images."""
    gamma: float = 1.0
    """r1, r2 and their finite-difference forms: weight gamma / 2."""
    gp_weight: float = 10.0
    """Weight of wgan_gp, wgan_lp or dragan."""
    drift_weight: float = 0.001
    """Weight of drift."""
    lecam_weight: float = 0.3
    """Weight of lecam."""
    lecam_kimg: float = 4.0
    """lecam is off before so many thousand images, because its running means start at zero."""
    cr_weight: float = 10.0
    """Weight of cr or bcr."""
    consistency: tuple[Literal["rotate", "scale", "crop", "flip", "translation", "cutout"], ...] = ("translation",)
    """The transforms T of cr and bcr (the paper: flip and translation)."""
    zcr_d_weight: float = 5.0
    """Weight of zcr_d."""
    zcr_g_weight: float = 0.5
    """Weight of zcr_g."""
    orthogonal_weight: float = 1e-4
    """Weight of orthogonal regularisation of the generator's kernels."""
    path_length_weight: float = 2.0
    """Weight of path_length."""
    feature_matching_weight: float = 1.0
    """Weight of feature_matching."""
    adversarial_examples_weight: float = 1.0
    """Weight of D's loss on adversarially perturbed reals, added to that on clean ones."""
    attack_eps: float = 0.1
    """adversarial_examples: bound on the perturbation of each pixel (linf) or of the whole image (l2); images are in [-1, 1]."""
    attack_steps: int = 3
    """adversarial_examples: PGD steps, each a forward and a backward pass of D."""
    attack_norm: Literal["linf", "l2"] = "linf"
    """adversarial_examples: norm of the perturbation."""
    clip_weights: float = 0.0
    """Clip D's parameters to +- this (WGAN: 0.01); 0: no clipping."""

    optimizer: Optimizer = "adam"
    """The optimiser of both networks."""
    lr: float = 2e-3
    """Initial learning rate; for muon_or_adam, that of the kernels."""
    lr_d: float = 0.0
    """Learning rate of D; 0: the same as G's (TTUR: four times G's)."""
    lr_end: float = 0.1
    """Cosine decay of the learning rates to this fraction of their initial values; 1: constant."""
    b1: float = 0.0
    """beta1 of the optimiser; unused by adafactor."""
    b2: float = 0.95
    """beta2 of the optimiser; unused by adafactor."""
    weight_decay: float = 0.0
    """adamw, lion: decay of the weights per unit of learning rate."""
    adam_lr: float = 2e-3
    """muon_or_adam: learning rate of the parameters that are not kernels."""
    clip_gradient: float = 0.0
    """Maximum norm of the gradient; 0: no clipping."""
    ema_kimg: float = 10.0
    """Half-life of the weight average in thousands of images, at most a tenth of those seen so far."""

    augment: tuple[Augment, ...] = ("rotate", "scale", "crop")
    """Augmentations of reals and fakes before each call of D. 'ada' is the paper's (bgc), 'ada_...' another preset;
    'apa' instead presents fakes to D as reals."""
    augment_p: float = 0.3
    """Probability of each augmentation; with --augment-target, its initial value."""
    augment_target: float = 0.0
    """ADA: adapt p so that the overfitting heuristic approaches this (the paper: 0.6 for r_t, 0.5 for r_v); 0: constant p."""
    augment_heuristic: Literal["r_t", "r_v"] = "r_t"
    """Heuristic for D's overfitting: r_t, the mean sign of its real logits, for the losses minimax, non_saturating and hinge; r_v
    compares with --hold-out images."""
    augment_kimg: float = 500.0
    """ADA: the time in kimg in which p can go from 0 to 1."""

    def design(self, shape: tuple[int, int, int], classes: int) -> Design:
        check(self, shape, classes)
        recipe = recipes.objective(
            batch=self.batch,
            tx={"g": optimizer(self, self.lr), "d": critic_optimizer(self)},
            loss=self.loss,
            penalties={name: weight(self, name) for name in self.penalty},
            n_critic=self.n_critic,
            simultaneous=self.update == "simultaneous",
            class_loss=self.class_loss.replace("none", ""),
            class_weight=self.class_weight,
            every=self.every,
            share=self.share,
            consistency=augment.pipeline(self.consistency, fill="background"),
            attack={"eps": self.attack_eps, "steps": self.attack_steps, "norm": self.attack_norm},
            pseudo="apa" in self.augment,
            top=schedules.linear(1.0, self.top_k, self.top_k_kimg) if self.top_k < 1 else 1.0,
            accum=self.accum,
            ema_kimg=schedules.ramp(self.ema_kimg, 0.1),
        )
        if self.augment_target:
            speed = {"target": self.augment_target, "kimg": self.augment_kimg, "heuristic": self.augment_heuristic}
            recipe = recipes.adaptive(recipe, start=self.augment_p, **speed)
        elif "apa" in self.augment:
            recipe = recipe._replace(carry=recipe.carry | {"p": self.augment_p})
        networks = pair(self, shape, classes)
        p = (lambda carry, kimg: carry["p"]) if self.augment_target else self.augment_p
        guided = any(name.startswith("attentive") for name in self.augment)
        played = game.game(*networks, augment=augmentation(self.augment, shape[2]), p=p, guided=guided, remat=self.remat)
        return Design(*networks, played, recipe)


def pair(config: Config, shape, classes):
    """The two networks."""
    plain_head = "features" if "feature_matching" in config.penalty else ""
    made = {"shape": shape, "classes": classes, "width": config.width, "dtype": jnp.dtype(config.dtype)}
    what = {"spectral": config.norm == "spectral", "head": recipes.CLASS_LOSSES.get(config.class_loss, plain_head)}
    if config.pair == "residual":
        generator = residual.Generator(**made, patch=config.patch)
        return generator, residual.Discriminator(**made, patch=config.patch, **what)
    forbidden = set(config.penalty) & set(OF_GRADIENT)
    norm = not forbidden if config.norm == "auto" else config.norm == "batch"
    return dcgan.Generator(**made), dcgan.Discriminator(**made, norm=norm, **what)


def augmentation(names, channels: int = 3):
    """The pipeline of the names of `Augment`, 'ada_<preset>' being 'ada' with that preset, for images of so many channels."""
    coloured = [n for n in names if n in ("ada", "ada_color", "ada_r3gan") or n.startswith("ada_bgc")]
    if coloured and channels not in (1, 3):
        raise UserError(f"--augment {coloured[0]} needs 1 or 3 channels, the images have {channels}; give ada_bg")
    names = [name for name in names if name != "apa"]
    presets = [name.partition("_")[2] or "bgc" for name in names if name.startswith("ada")]
    if len(presets) > 1:
        raise UserError(f"--augment: {len(presets)} ADA presets; give one, such as ada_bgcfnc for all its transforms")
    names = ["ada" if name.startswith("ada") else name for name in names]
    options = {"ada": {"transforms": presets[0]}} if presets else {}
    return augment.pipeline(names, fill="background", **options)


def weight(config: Config, name: str):
    """A penalty's weight: a number, or a schedule."""
    if name == "lecam":
        return lambda kimg: jnp.where(kimg >= config.lecam_kimg, config.lecam_weight, 0.0)
    if name.endswith(("r1", "r2")):
        return config.gamma / 2
    shared = {"wgan_gp": "gp", "wgan_lp": "gp", "dragan": "gp", "bcr": "cr"}
    return getattr(config, f"{shared.get(name, name)}_weight")


def optimizer(config: Config, lr: float):
    """The optimiser of one player."""
    falling = lambda first: schedules.cosine(first, first * config.lr_end, config.kimg)
    lr, decays = falling(lr), {"b1": config.b1, "b2": config.b2}
    make = {
        "adam": lambda: optim.adam(lr, **decays),
        "adam_keras": lambda: optim.adam_keras(lr, **decays),
        "adamw": lambda: optim.adamw(lr, **decays, weight_decay=config.weight_decay),
        "adafactor": lambda: optim.adafactor(lr),
        "optimistic_adam": lambda: optim.optimistic_adam(lr, **decays),
        "lion": lambda: optim.lion(lr, **decays, weight_decay=config.weight_decay),
        "muon_or_adam": lambda: optim.muon_or_adam(lr, adam_lr=falling(config.adam_lr), **decays),
    }
    tx = make[config.optimizer]()
    return optim.clip_gradient(tx, config.clip_gradient) if config.clip_gradient else tx


def critic_optimizer(config: Config):
    tx = optimizer(config, config.lr_d or config.lr)
    return optim.clip_weights(tx, limit=config.clip_weights) if config.clip_weights else tx


def check_target(config) -> None:
    """UserError where what moves the augmentation has nothing to move, or nowhere to go."""
    if config.augment_target and not config.augment:
        raise UserError("--augment-target adapts the augmentation, but --augment is empty; name one")
    if not 0 <= config.augment_target < 1:
        raise UserError(f"--augment-target {config.augment_target:g}: the heuristic is at most 1; give 0 to 1, 0 for none")


def check_sign(loss: str, mend: str) -> None:
    """UserError where ADA would go by the sign of D(x), and the loss gives that no meaning."""
    if loss not in terms.SIGNED:
        why = "1/2 means nothing is known" if loss == "least_squares" else "only differences between D(real) and D(fake) count"
        raise UserError(f"--augment-target goes by the sign of D(x), but under the {loss} loss {why}; {mend}")


def check(config: Config, shape, classes) -> None:
    """UserError where the choices do not go together."""
    channels, micro = shape[2], config.batch // config.accum
    no_norm = [name for name in config.penalty if name in OF_GRADIENT]
    if config.pair == "dcgan" and config.norm == "batch" and no_norm:
        raise UserError(f"--penalty {no_norm[0]} needs a gradient per image, but batch norm mixes images; give --norm none")
    if config.pair == "dcgan" and "path_length" in config.penalty:
        raise UserError("--penalty path_length needs a gradient per image, but dcgan's G has batch norm; give --pair residual")
    if config.pair == "residual" and config.norm == "batch":
        raise UserError("--norm batch: the residual networks have no batch norm; give --pair dcgan, or --norm spectral")
    if config.class_loss != "none" and not classes:
        raise UserError(f"--class-loss {config.class_loss} needs classes; give data with labels and --conditional yes")
    if config.class_loss in ("d2d_ce", "multi_hinge") and "feature_matching" in config.penalty:
        raise UserError(f"--penalty feature_matching cannot be combined with --class-loss {config.class_loss}; leave one out")
    if config.class_loss == "multi_hinge" and "apa" in config.augment:
        raise UserError("--augment apa needs an adversarial --loss, which --class-loss multi_hinge replaces; leave one out")
    if config.class_loss == "multi_hinge" and "adversarial_examples" in config.penalty:
        raise UserError("--penalty adversarial_examples needs an adversarial --loss, which multi_hinge replaces; leave one out")
    if config.attack_steps < 1:
        raise UserError(f"--attack-steps {config.attack_steps}: give 1 or more")
    if channels == 1 and "saturation" in config.augment:
        raise UserError("--augment saturation: the images are grey; leave it out")
    if config.update == "simultaneous" and config.n_critic > 1:
        raise UserError(f"--n-critic {config.n_critic}: both networks are updated at once; give --update alternating")
    if config.weight_decay and config.optimizer not in ("adamw", "lion"):
        raise UserError(f"--weight-decay: {config.optimizer} has none; give --optimizer adamw or lion")
    if config.loss.startswith("mmd") and micro < 2:
        raise UserError(f"--loss {config.loss} compares images, but a (micro-)batch holds 1; give a larger --batch")
    for field, names in APPLIES.items():
        if getattr(config, field) != getattr(Config, field) and not set(names) & set(config.penalty):
            name = f"--{field.replace('_', '-')}"
            raise UserError(f"{name}: it is of --penalty {' or '.join(names)}, which is not given; give one, or leave {name} out")
    if len(set(config.penalty)) < len(config.penalty):
        raise UserError(f"--penalty {' '.join(config.penalty)}: one is listed twice; its weight is a separate field")
    if config.augment_heuristic != "r_t" and not config.augment_target:
        raise UserError(
            f"--augment-heuristic {config.augment_heuristic} only applies with --augment-target; give one, such as 0.5"
        )
    check_target(config)
    if config.augment_target and config.augment_heuristic == "r_t" and config.class_loss != "multi_hinge":
        check_sign(config.loss, "give --augment-heuristic r_v --augment-target 0.5 --hold-out 500 or so, or another --loss")
    if not 0 < config.top_k <= 1:
        raise UserError(f"--top-k {config.top_k:g}: a part of the batch; give more than 0, at most 1")
    if config.top_k == 1 and config.top_k_kimg != Config.top_k_kimg:
        raise UserError(f"--top-k-kimg {config.top_k_kimg:g}: --top-k is 1, so nothing falls; give less, or leave it out")
    if config.top_k < 1 and (config.loss in terms.COMPARES or config.class_loss == "multi_hinge"):
        what = (
            "multi_hinge replaces the adversarial loss"
            if config.class_loss == "multi_hinge"
            else f"{config.loss} compares images"
        )
        raise UserError(f"--top-k {config.top_k:g}: it needs a loss of each fake, but {what}; leave it out")
    if config.n_critic < 1:
        raise UserError(f"--n-critic {config.n_critic}: give 1 or more")
    if not 0 <= config.augment_p <= 1:
        raise UserError(f"--augment-p {config.augment_p:g}: a probability; give 0 to 1")
