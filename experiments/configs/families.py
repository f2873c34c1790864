"""The published families, each at three sizes: the embedded digits and MNIST in minutes on a CPU, and as in its paper.

`python -m experiments.train sngan`, `... sngan-mnist --data-dir DIR`, `... sngan-cifar10`. Descriptions, costs and samples:
docs/families.md.
"""

import dataclasses
from collections.abc import Callable
from typing import Literal, NamedTuple

import jax.numpy as jnp

from experiments.configs.objective import augmentation, check_sign, check_target
from jaxgan import augment, game, recipes, recipes_classic, recipes_gat, recipes_r3gan, recipes_stylegan
from jaxgan.errors import UserError, nearest
from jaxgan.layers import base_size
from jaxgan.models import biggan, biggan_deep, dcgan, gat, infogan, mlp, r3gan, resnet, sngan, stylegan2, stylegan3
from jaxgan.settings import Design, Settings

Augment = Literal[
    *("rotate", "scale", "crop", "flip", "translation", "cutout", "brightness", "contrast", "color", "ada", "ada_bg", "ada_r3gan")
]


def blurred_first(augmented, p, blur: dict):
    """What `game.game` takes as augment and p, with `augment.early_blur` of these arguments before the augmentation."""
    chance = p if callable(p) else lambda carry, kimg: p
    both = lambda keys, x, p: augmented(keys, augment.early_blur(x, p[1], **blur), p[0])
    return both, lambda carry, kimg: (chance(carry, kimg), kimg)


def given(config, **fields) -> dict:
    """Keyword arguments of a recipe: what the config says of these, and nothing of what it leaves to the paper."""
    said = {name: getattr(config, field) for name, field in fields.items()}
    ema = {} if config.ema_kimg < 0 else {"ema_kimg": config.ema_kimg}
    return {"batch": config.batch, "accum": config.accum, **{k: v for k, v in said.items() if v}, **ema}


def pair_of(module, config, shape, classes, g=None, d=None, names=("Generator", "Discriminator"), **small):
    """Both networks of a family: of the preset, or small."""
    presets = getattr(module, "PRESETS", {})
    if config.preset and config.preset not in presets:
        near = nearest(config.preset, presets)
        raise UserError(f"--preset {config.preset}: {config.family} has {', '.join(presets) or 'none'}{near}")
    of_g, of_d = presets[config.preset] if config.preset else ({**small, **(g or {})}, {**small, **(d or {})})
    if config.preset:
        of_d = {**of_d, **{k: v for k, v in (d or {}).items() if k in ("head", "norm", "pool")}}
    made = {"shape": shape, "classes": classes, "dtype": jnp.dtype(config.dtype)}
    return getattr(module, names[0])(**made, **of_g), getattr(module, names[1])(**made, **of_d)


def tapered(config, shape) -> tuple[int, ...]:
    """Channels a grid of a small generator, base first: fewer where the grids are large (the papers: the same, or nearly)."""
    return tuple(config.width * min(2**i, 4) for i in reversed(range(base_size(shape)[1] + 1)))


def residual_pair(config, shape, classes, **d):
    """`pair_of` SNGAN's residual networks, D with these fields."""
    return pair_of(resnet, config, shape, classes, g={"channels": tapered(config, shape)}, d=d, width=config.width)


def averaged(config, start: int) -> dict:
    """From which step on a paper's own average is taken; of trained networks, whose average that would drop, at once."""
    return {"ema_start": 0 if config.init else start}


def with_classes(config, classes: int) -> None:
    if not classes:
        raise UserError(f"{config.family} needs labels; give data with classes and --conditional auto")


def gan(config, shape, classes):
    """Goodfellow et al. 2014: multilayer perceptrons, maxout and dropout in D, momentum; at width 120 the authors' own."""
    if not 0 < config.level < 1:
        raise UserError(f"--level {config.level:g}: it must be between 0 and 1, about the mean of the images")
    g, d = {"widths": (10 * config.width,) * 2, "level": config.level}, {"widths": (2 * config.width,) * 2, "spread": 0.05}
    return pair_of(mlp, config, shape, classes, g=g, d=d), recipes_classic.goodfellow(**given(config, lr="lr"), kimg=config.kimg)


def dcgan_pair(config, shape, classes):
    """Radford et al. 2016: strided convolutions with batch norm in both; at width 128 as there."""
    return pair_of(dcgan, config, shape, classes, width=config.width), recipes.dcgan(**given(config, lr="lr"))


def wgan(config, shape, classes):
    """Arjovsky et al. 2017: DCGAN's pair, weights clipped, RMSprop, five critics. Ours: no batch norm in the critic."""
    pair = pair_of(dcgan, config, shape, classes, d={"norm": False}, width=config.width)
    return pair, recipes_classic.wgan(**given(config, lr="lr", n_critic="n_critic"))


def wgan_gp(config, shape, classes):
    """Gulrajani et al. 2017: residual pair, no norm in the critic, gradient penalty, five critics."""
    pair = residual_pair(config, shape, classes, norm="none", pool="mean")
    return pair, recipes_classic.wgan_gp(**given(config, lr="lr", n_critic="n_critic"), kimg=config.kimg)


def ac_gan(config, shape, classes):
    """Odena et al. 2017: a class head on D, labels in G; on SNGAN's residual pair, since their convolutions, small, drew one
    image a class whatever z was."""
    with_classes(config, classes)
    pair = residual_pair(config, shape, classes, head="classes")
    return pair, recipes_classic.ac_gan(**given(config, lr="lr", weight="class_weight"))


def info(config, shape, classes):
    """Chen et al. 2016: a categorical and continuous codes in z, which a second head of D reads back from the fakes; at width 64
    their MNIST networks."""
    if classes:
        raise UserError("infogan finds its categories without labels; leave out --conditional")
    if config.categories == 1:
        raise UserError("--categories 1: a categorical code has at least 2 values")
    made = {"categories": config.categories or 10, "continuous": config.continuous or 2, "width": config.width}
    pair = pair_of(infogan, config, shape, 0, g={"z_dim": 62 + made["categories"] + made["continuous"]}, **made)
    recipe = given(config, lr_g="lr", lr_d="lr_d", weight="class_weight", continuous_weight="code_weight")
    return pair, recipes_classic.infogan(pair[0].codes, **recipe)


def sngan_resnet(config, shape, classes):
    """Miyato et al. 2018, Miyato and Koyama 2018: spectral norm, hinge, projection, conditional batch norm."""
    pair = residual_pair(config, shape, classes)
    return pair, recipes_classic.sngan(**given(config, lr="lr", n_critic="n_critic"), kimg=config.kimg)


def sngan_cnn(config, shape, classes):
    """The same on plain convolutions."""
    pair = pair_of(sngan, config, shape, classes, width=config.width)
    return pair, recipes_classic.sngan(**given(config, lr="lr", n_critic="n_critic"), kimg=config.kimg)


def sagan(config, shape, classes):
    """Zhang et al. 2019: spectral norm in both, self-attention, two time scales."""
    attention = {"attention": (14,) if shape[0] == 28 else None}
    g, names = attention | {"channels": tapered(config, shape)}, ("SAGANGenerator", "SAGANDiscriminator")
    pair = pair_of(biggan, config, shape, classes, g, attention, names, width=config.width)
    return pair, recipes_classic.sagan(**given(config, lr_g="lr", lr_d="lr_d", n_critic="n_critic"))


def big(module):
    def make(config, shape, classes):
        """Brock et al. 2019: hierarchical z, shared class vectors, orthogonal regularisation, average of the weights."""
        least = averaged(config, 20_000)
        if config.preset == "biggan_32":  # the authors' PyTorch code has none on CIFAR-10, and an earlier average
            least = averaged(config, 1_000) | {"orthogonal": 0.0}
        g = {"z_dim": 60, "shared_dim": 32, "channels": tapered(config, shape)}
        pair = pair_of(module, config, shape, classes, g=g, width=config.width)
        return pair, recipes_classic.biggan(**given(config, lr_g="lr", lr_d="lr_d", n_critic="n_critic"), **least)

    return make


def reacgan(config, shape, classes):
    """Kang et al. 2021: SNGAN's pair, embedding head, data-to-data cross-entropy."""
    with_classes(config, classes)
    pair = residual_pair(config, shape, classes, head="embedding")
    said = given(config, lr="lr", n_critic="n_critic", weight="class_weight")
    return pair, recipes_classic.reacgan(**said, **averaged(config, 1_000))


def multi_hinge(config, shape, classes):
    """Kavalerov et al. 2021: SNGAN's pair, a hinge over K + 1 classes, feature matching."""
    with_classes(config, classes)
    pair = residual_pair(config, shape, classes, head="multi_hinge")
    said = given(config, lr="lr", n_critic="n_critic", weight_g="class_weight")
    return pair, recipes_classic.multi_hinge(**said, **averaged(config, 1_000))


def sized(config, side: int, of_g: dict, of_d: dict) -> tuple[dict, dict]:
    """The fields of a StyleGAN's networks with those that the config sets. Configuration R's G has twice D's channels."""
    if 0 < config.channel_base < side:
        raise UserError(f"--channel-base {config.channel_base}: images of {side} pixels get no channel; give {side} or more")
    set_of = lambda *names: {name: getattr(config, name) for name in names if getattr(config, name)}
    twice = 2 if of_g.get("radial") else 1
    widths = set_of("channel_base", "channel_max")
    return of_g | {k: v * twice for k, v in widths.items()} | set_of("mapping_layers"), of_d | widths


def style2(config, shape, classes):
    """Karras et al. 2020: style-modulated convolutions, lazy R1 and path length; with --augment ada --augment-target 0.6, ADA."""
    made = {"shape": shape, "classes": classes, "dtype": jnp.dtype(config.dtype)}
    if config.preset:
        of = recipes_stylegan.preset(config.preset, max(shape[:2]), batch=config.batch, trained=bool(config.init))
        of_g, of_d, recipe = of["g"], of["d"], of["recipe"]
    else:
        of_d = {"channel_base": config.width * max(shape[:2]), "channel_max": 4 * config.width, "mapping_layers": 2}
        of_g, recipe = of_d | {"z_dim": 64, "w_dim": 64, "mixing": 0.0}, {"gamma": 0.3, "path_weight": 0.0}
    of_g, of_d = sized(config, max(shape[:2]), of_g, of_d)
    recipe = recipes_stylegan.stylegan2(**recipe | given(config, lr="lr", gamma="gamma"))
    return (stylegan2.Generator(**made, **of_g), stylegan2.Discriminator(**made, **of_d)), recipe


def style3(config, shape, classes):
    """Karras et al. 2021: Fourier features, filtered leaky ReLUs, no noise; D is StyleGAN2's."""
    made = {"shape": shape, "classes": classes, "dtype": jnp.dtype(config.dtype)}
    if config.preset:
        of = recipes_stylegan.preset3(config.preset, max(shape[:2]), config.batch, trained=bool(config.init))
        of_g, of_d, recipe = of["g"], of["d"], of["recipe"]
    else:
        small = {"channel_base": config.width * max(shape[:2])}
        of_g = small | {"channel_max": 2 * config.width, "z_dim": 64, "w_dim": 64, "depth": 6, "margin": 4}
        of_g |= {"magnitude_average": 0.5 ** (config.batch / 2_000)}
        of_d, recipe = small | {"channel_max": 4 * config.width, "mapping_layers": 2}, {"gamma": 0.3}
    of_g, of_d = sized(config, max(shape[:2]), of_g, of_d)
    recipe = recipes_stylegan.stylegan3(**recipe | given(config, lr_g="lr", lr_d="lr_d", gamma="gamma"))
    return (stylegan3.Generator(**made, **of_g), stylegan2.Discriminator(**made, **of_d)), recipe


def r3(config, shape, classes):
    """Huang et al. 2024: residual pair without norm, relativistic pairs, R1 and R2, five schedules."""
    name = config.preset or "digits"
    if name not in recipes_r3gan.PRESETS:
        near = nearest(name, recipes_r3gan.PRESETS)
        raise UserError(f"--preset {name}: r3gan has {', '.join(recipes_r3gan.PRESETS)}{near}")
    preset = recipes_r3gan.PRESETS[name]
    if not config.preset:
        stages = base_size(shape)[1] + 1
        channels = (2 * config.width, *(config.width,) * (stages - 2), max(config.width // 4, 4))
        network = {"channels": channels, "blocks": (1,) * stages}
        preset = preset._replace(decay_kimg=config.kimg, ema_kimg=(0, 0.1 * config.kimg), network=network)
    if config.gamma:
        preset = preset._replace(gamma=(config.gamma, config.gamma / 10))
    if config.lr:
        preset = preset._replace(lr=(config.lr, config.lr / 10))
    of = preset.network | {"dtype": jnp.dtype(config.dtype)}
    pair = r3gan.Generator(shape, classes, **of), r3gan.Discriminator(shape, classes, **of)
    lazy = {} if config.preset else {"every": 4, "share": 2}
    recipe = recipes_r3gan.annealed(preset, batch=config.batch, accum=config.accum, **lazy)
    return pair, recipe if config.ema_kimg < 0 else recipe._replace(ema_kimg=config.ema_kimg)


def transformers(config, shape, classes):
    """Hyun et al. 2025: transformers over patches, images at four levels under noise, relativistic pairs, approximate R1, R2."""
    if config.preset and config.patch != Config.patch:
        raise UserError(f"--patch {config.patch}: the preset {config.preset} sets it; leave one of the two out")
    features = 4 * config.width
    small = {"width": features, "depth": 4, "heads": max(features // 32, 1), "patch": config.patch}
    pair = pair_of(gat, config, shape, classes, d={"label_dim": 2 * features}, **small)
    rate = config.lr or recipes_gat.LR * recipes_gat.BASE / pair[0].width
    said = given(config, gamma="gamma") | {"lr_g": rate, "lr_d": config.lr_d or rate}
    return pair, recipes_gat.gat(**said, levels=pair[0].levels)


SIZED = ("channel_base", "channel_max", "mapping_layers")


class Family(NamedTuple):
    """A published family."""

    make: Callable
    """(config, image shape, classes) -> (both networks, recipe)"""
    reads: tuple[str, ...]
    """Which of `OPTIONAL` it has something of."""


FAMILIES = {
    "gan": Family(gan, ("lr", "level")),
    "dcgan": Family(dcgan_pair, ("lr",)),
    "wgan": Family(wgan, ("lr", "n_critic")),
    "wgan_gp": Family(wgan_gp, ("lr", "n_critic")),
    "ac_gan": Family(ac_gan, ("lr", "class_weight")),
    "infogan": Family(info, ("lr", "lr_d", "class_weight", "code_weight", "categories", "continuous")),
    "sngan": Family(sngan_resnet, ("lr", "n_critic")),
    "sngan_cnn": Family(sngan_cnn, ("lr", "n_critic")),
    "sagan": Family(sagan, ("lr", "lr_d", "n_critic")),
    "biggan": Family(big(biggan), ("lr", "lr_d", "n_critic")),
    "biggan_deep": Family(big(biggan_deep), ("lr", "lr_d", "n_critic")),
    "reacgan": Family(reacgan, ("lr", "n_critic", "class_weight")),
    "multi_hinge": Family(multi_hinge, ("lr", "n_critic", "class_weight")),
    "stylegan2": Family(style2, ("lr", "gamma", *SIZED)),
    "stylegan3": Family(style3, ("lr", "lr_d", "gamma", *SIZED)),
    "r3gan": Family(r3, ("lr", "gamma")),
    "gat": Family(transformers, ("lr", "lr_d", "gamma", "patch")),
}

UNSIGNED = {"wgan": "wasserstein", "wgan_gp": "wasserstein", "r3gan": "relativistic", "gat": "relativistic"}
"""The families under whose loss the sign of D(x) says nothing (`terms.SIGNED`)."""

OPTIONAL = (
    *("lr", "lr_d", "class_weight", "code_weight", "categories", "continuous", "n_critic", "gamma", "level", "patch"),
    *SIZED,
)
"""Fields that not every family has."""


@dataclasses.dataclass(frozen=True)
class Config(Settings):
    """A published family. Fields at 0 or '' keep the value of the paper, or of the small variant."""

    family: Literal[*FAMILIES] = "sngan"
    """The family."""
    preset: str = ""
    """One of the paper's networks, such as sngan_32; '' is a small network of `width` channels."""
    kimg: float = 40.0
    size: tuple[int, int] | None = (28, 28)
    conditional: Literal["auto", "yes", "no"] = "auto"
    width: int = 32
    """Channels of the small networks at full resolution."""
    lr: float = 0.0
    """Learning rate of the generator, and of both networks if the paper has a single one; 0 is the paper's."""
    lr_d: float = 0.0
    """Learning rate of the discriminator, if the paper has two."""
    class_weight: float = 0.0
    """ac_gan, reacgan: weight of the class term for both networks; multi_hinge: of G's hinge relative to feature matching;
    infogan: of the categorical code for both networks."""
    code_weight: float = 0.0
    """infogan: weight of the continuous codes for both networks."""
    categories: int = 0
    """infogan: number of values of the categorical code; 0 is 10."""
    continuous: int = 0
    """infogan: number of continuous codes; 0 is 2."""
    n_critic: int = 0
    """Updates of D per update of G."""
    gamma: float = 0.0
    """stylegan2, stylegan3, r3gan, gat: the gradient penalties have the weight gamma / 2. A start for another size, of
    StyleGAN2-ADA: 0.0002 x side^2 / batch; try 2 and 4 times more and less (docs/families.md)."""
    channel_base: int = 0
    """stylegan2, stylegan3: a grid of s x s has channel_base / s channels, at most channel_max (the authors' --cbase); twice as
    many in G of stylegan3's r, as there."""
    channel_max: int = 0
    """stylegan2, stylegan3: the largest number of channels (the authors' --cmax)."""
    mapping_layers: int = 0
    """stylegan2, stylegan3: layers of G's mapping network (the authors' --map-depth)."""
    patch: int = 4
    """gat: side of a patch of the small networks, in pixels; it divides the images' sides."""
    ema_kimg: float = 2.0
    """Half-life of the weight average; 0: none (the papers before BigGAN), -1: the paper's own."""
    level: float = 0.3
    """gan: mean brightness of the first fakes, from 0 (black) to 1 (white). Set it near the mean of the data, or D wins at
    once."""
    augment: tuple[Augment, ...] = ()
    """Augmentations of reals and fakes before each call of D."""
    augment_p: float = 1.0
    """Probability of each. With --augment-target it starts at 0; ada_r3gan with r3gan follows the paper's schedule."""
    augment_target: float = 0.0
    """ADA: adapt p so that the mean sign of D's real logits approaches this (0.6); 0: constant p. It can go from 0 to 1 in
    500 kimg, with --init in 100, as in the authors' code."""

    def design(self, shape: tuple[int, int, int], classes: int) -> Design:
        family = FAMILIES[self.family]
        for name in OPTIONAL:
            if getattr(self, name) != getattr(Config, name) and name not in family.reads:
                raise UserError(f"--{name.replace('_', '-')}: {self.family} has none; leave it out")
        if self.preset and self.width not in (Config.width, SMALL[self.family].width):
            raise UserError(f"--width {self.width}: the preset {self.preset} sets the widths; leave one of the two out")
        check_target(self)
        if self.augment_target and self.family in UNSIGNED:
            fixed = "--augment ada_r3gan, whose p has a schedule" if self.family == "r3gan" else "a constant --augment-p"
            check_sign(UNSIGNED[self.family], f"give {fixed}, or the config objective, which has --augment-heuristic r_v")
        pair, recipe = family.make(self, shape, classes)
        augmented, p = augmentation(self.augment, shape[2]), self.augment_p
        scheduled = self.family == "r3gan" and "ada_r3gan" in self.augment
        if p != Config.augment_p and (scheduled or self.augment_target):
            raise UserError(f"--augment-p {p:g}: {'it has a schedule' if scheduled else 'ADA sets it'} here; leave it out")
        if scheduled:
            p = recipes_r3gan.augment_p(recipes_r3gan.PRESETS[self.preset or "digits"])
        if self.augment_target:
            recipe = recipes.adaptive(recipe, target=self.augment_target, kimg=100.0 if self.init else 500.0)
            p = lambda carry, kimg: carry["p"]
        if self.family == "stylegan3" and self.preset == "r" and not self.init:  # trained networks need no blur to begin
            augmented, p = blurred_first(augmented, p, recipes_stylegan.preset3("r", max(shape[:2]), self.batch)["blur"])
        if not (levels := getattr(pair[0], "levels", 0)):
            return Design(*pair, game.game(*pair, augment=augmented, p=p, remat=self.remat), recipe)
        augmented, reals = recipes_gat.at_levels(augmented, levels), lambda x, kimg: jnp.tile(x, levels)
        return Design(*pair, game.game(*pair, augment=augmented, p=p, reals=reals, remat=self.remat), recipe)


SMALL = {
    "gan": Config(family="gan", lr=0.1, kimg=100.0, ema_kimg=0.0, conditional="no", cpu_devices=1),
    "dcgan": Config(family="dcgan", lr=1e-3, width=32, conditional="no"),
    "wgan": Config(family="wgan", lr=5e-4, kimg=30.0, conditional="no"),
    "wgan_gp": Config(family="wgan_gp", lr=1e-3, width=12, n_critic=3),
    "ac_gan": Config(family="ac_gan", lr=2e-3, width=16),
    "infogan": Config(family="infogan", width=32, conditional="no"),
    "sngan": Config(family="sngan", lr=2e-3, width=16, n_critic=1),
    "sngan_cnn": Config(family="sngan_cnn", lr=5e-4, width=16, n_critic=1, conditional="no"),
    "sagan": Config(family="sagan", lr=1e-3, lr_d=2e-3, width=16, kimg=20.0),
    "biggan": Config(family="biggan", lr=1e-3, lr_d=2e-3, width=16, n_critic=1, kimg=20.0),
    "biggan_deep": Config(family="biggan_deep", lr=1e-3, lr_d=2e-3, width=32, n_critic=1, kimg=20.0),
    "reacgan": Config(family="reacgan", lr=2e-3, width=16, n_critic=1),
    "multi_hinge": Config(family="multi_hinge", lr=2e-3, width=16, n_critic=3, class_weight=1.0),
    "stylegan2": Config(family="stylegan2", lr=2.5e-3, width=16),
    "stylegan3": Config(family="stylegan3", lr=2.5e-3, lr_d=2.5e-3, width=16),
    "r3gan": Config(family="r3gan", ema_kimg=-1.0),
    "gat": Config(
        family="gat",
        lr=2e-3,
        width=24,
        batch=16,
        ema_kimg=1.0,
        augment=("brightness", "contrast", "translation"),
        augment_p=0.2,
    ),
}
"""The small configs: --data digits. From the papers they keep loss, norm, penalty and conditioning; they differ in width (and
taper it), in rates five to twenty times higher, for runs of about a thousand steps, in fewer critic updates and in a short
average of the weights."""

PAPER = {"ema_kimg": -1.0, "tick_kimg": 50.0, "snapshot_kimg": 500.0}
CIFAR = PAPER | {"data": "cifar10", "size": (32, 32), "channels": 3, "conditional": "yes"}
IMAGENET = PAPER | {"data": "imagenet2012", "size": (128, 128), "conditional": "yes"}
FFHQ = PAPER | {"data": "photos", "size": (256, 256), "mirror": True, "conditional": "no", "dtype": "bfloat16"}
"""Without labels, as there: FFHQ comes in folders of 1,000 images, which are no classes."""
STYLE3 = FFHQ | {"batch": 32, "kimg": 25_000.0, "augment": ("ada",), "augment_target": 0.6}
"""ADA by the authors' default; their own runs on FFHQ, at 1024 pixels, have none: `--augment --augment-target 0`."""
PAPERS = {
    "wgan_gp-cifar10": Config(family="wgan_gp", preset="wgan_gp_32", batch=64, kimg=6_400.0, **CIFAR | {"conditional": "no"}),
    "sngan-cifar10": Config(family="sngan", preset="sngan_32", batch=64, kimg=3_200.0, **CIFAR),
    "sagan-imagenet128": Config(family="sagan", preset="sagan_128", batch=256, kimg=256_000.0, **IMAGENET),
    # The network is the paper's (hierarchical z, a shared embedding), the numbers are of the authors' PyTorch script, which has
    # neither: z whole, a table of classes for each norm, weights N(0, 0.02).
    "biggan-cifar10": Config(family="biggan", preset="biggan_32", batch=50, kimg=6_250.0, lr=2e-4, n_critic=4, **CIFAR),
    "biggan-imagenet128": Config(family="biggan", preset="biggan_128", batch=2048, kimg=338_000.0, **IMAGENET),
    "stylegan2-cifar10": Config(
        family="stylegan2",
        preset="cifar",
        batch=64,
        kimg=100_000.0,
        augment=("ada",),
        augment_target=0.6,
        dtype="bfloat16",
        **CIFAR,
    ),
    # All of FFHQ, without ADA, as their starting point for transfer was trained.
    "stylegan2-256": Config(family="stylegan2", preset="paper256", batch=64, kimg=25_000.0, **FFHQ),
    "stylegan3-256": Config(family="stylegan3", preset="t", **STYLE3),
    "stylegan3-r-256": Config(family="stylegan3", preset="r", **STYLE3),
    "r3gan-cifar10": Config(
        family="r3gan",
        preset="cifar10",
        batch=512,
        kimg=250_000.0,
        mirror=True,
        augment=("ada_r3gan",),
        dtype="bfloat16",
        **CIFAR,
    ),
    "r3gan-256": Config(family="r3gan", preset="ffhq256", batch=256, kimg=150_000.0, augment=("ada_r3gan",), **FFHQ),
}
"""As in the papers; for the accelerators that those name. `kimg` counts G's updates: 100,000 for WGAN-GP, 50,000 for SNGAN,
125,000 for BigGAN on CIFAR-10 (500 epochs of D's images, as the authors' PyTorch code counts), 165,000 on ImageNet, 1,000,000 for
SAGAN."""


def configs() -> dict[str, Config]:
    """All of them by name: family, family-mnist, and the papers'."""
    mnist = {"data": "mnist", "kimg": 300.0, "tick_kimg": 5.0, "snapshot_kimg": 20.0}
    slower = {"lr": 4e-4, "lr_d": 8e-4}  # at the rates of 20 kimg D gives up after 100
    critics = {"n_critic": 3}  # with one update of D for one of G it draws one image a class, at any of the rates tried
    longer = {"gan": {"level": 0.13}, "sagan": critics, "biggan": slower, "biggan_deep": slower}
    on_mnist = {f"{name}-mnist": dataclasses.replace(config, **mnist, **longer.get(name, {})) for name, config in SMALL.items()}
    return {**SMALL, **on_mnist, **PAPERS}
