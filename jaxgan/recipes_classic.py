"""The classic methods as recipes, with their papers' hyper-parameters: GAN, WGAN(-GP), AC-GAN, InfoGAN, SNGAN, SAGAN, BigGAN, ...

Each is meant for the networks that its docstring names, but works with any that return what its terms need. `kimg` is the
length of the run over which the paper decays the learning rate to zero, and None for a constant rate. No paper before
BigGAN averages the weights, so `ema_kimg` defaults to 0 there. `lr` is of both players; `n_critic` is the number of D's updates,
each on images of its own, per update of G; `batch`, `accum` and `ema_kimg` are the fields of `Recipe`.
"""

import math
from collections.abc import Callable

import jax.numpy as jnp
import optax

from jaxgan import heads, optim, schedules, terms
from jaxgan.method import Phase, Recipe, Turn, alternating
from jaxgan.terms import adversarial
from jaxgan.typing import Array, ScalarOrSchedule, Tree


def goodfellow(
    *, batch: int = 100, lr: float = 0.1, kimg: float = 12_500.0, accum: int = 1, ema_kimg: ScalarOrSchedule = 0.0
) -> Recipe:
    """The first GAN, for `models.mlp`: simultaneous updates, half the cross-entropy for D, -log D(G(z)) for G.

    SGD with momentum that grows from 0.5 to 0.7 over `kimg` (250 epochs of 50,000 images) and a learning rate that is
    divided by 1.000004 at each step, down to 1e-6.
    Source: Goodfellow et al. 2014, algorithm 1 with one step of D, and section 3 for G's loss; numbers of the authors' MNIST
      configuration.
    """
    decay = math.log(1.000004) * 1000 / batch
    rate = lambda now: jnp.maximum(lr * jnp.exp(-decay * now), 1e-6)
    tx = lambda: optim.scheduled(optax.sgd, learning_rate=rate, momentum=schedules.linear(0.5, 0.7, kimg))
    both = Phase("d", (adversarial("d", "non_saturating", 0.5),)), Phase("g", (adversarial("g", "non_saturating"),))
    return Recipe((Turn(both),), {"g": tx(), "d": tx()}, batch, accum, ema_kimg)


def wgan(
    *, batch: int = 64, lr: float = 5e-5, limit: float = 0.01, n_critic: int = 5, accum: int = 1, ema_kimg: ScalarOrSchedule = 0.0
) -> Recipe:
    """WGAN, for `models.dcgan`: the critic's parameters are clipped to +-limit after each of its n_critic updates; RMSprop.

    Source: Arjovsky et al. 2017, algorithm 1. Deviation: their code gives the critic 100 updates in each of the first 25
      steps and in every 500th, and clips before an update, not after it.
    """
    tx = {"g": optim.rmsprop(lr), "d": optim.clip_weights(optim.rmsprop(lr), limit=limit)}
    turns = alternating([adversarial("d", "wasserstein")], [adversarial("g", "wasserstein")], n_critic)
    return Recipe(turns, tx, batch, accum, ema_kimg)


def wgan_gp(
    *,
    batch: int = 64,
    lr: float = 2e-4,
    weight: float = 10.0,
    n_critic: int = 5,
    kimg: float | None = 6400.0,
    accum: int = 1,
    ema_kimg: ScalarOrSchedule = 0.0,
) -> Recipe:
    """WGAN-GP, for `models.resnet` (norm 'none' or 'layer'): a gradient penalty; Adam with betas 0, 0.9.

    Source: Gulrajani et al. 2017, algorithm 1, and the CIFAR-10 network's numbers (100,000 steps, rate falling to 0); their
      64x64 network has the rate 1e-4, constant (`lr=1e-4, kimg=None`). Deviations: their CIFAR-10 generator's batch is twice
      the critic's, and their real images have uniform noise of a grey level's width added (dequantisation).
    """
    tx = _adams(lr, lr, 0.0, 0.9, kimg)
    d = [adversarial("d", "wasserstein"), terms.mixed_gradient_penalty("wgan_gp", weight)]
    return Recipe(alternating(d, [adversarial("g", "wasserstein")], n_critic), tx, batch, accum, ema_kimg)


def ac_gan(
    *, batch: int = 100, lr: float = 2e-4, weight: float = 1.0, accum: int = 1, ema_kimg: ScalarOrSchedule = 0.0
) -> Recipe:
    """AC-GAN, for any D with head='classes': both players also maximise the probability of the correct class.

    Args:
      weight: of the class term in both players.
    Source: Odena et al. 2017, section 3 and appendix A (Adam, betas 0.5, 0.999; rate 1e-4 to 3e-4 tried there).
    """
    d = [adversarial("d", "non_saturating"), terms.ac_gan("d", weight)]
    g = [adversarial("g", "non_saturating"), terms.ac_gan("g", weight)]
    return Recipe(alternating(d, g), _adams(lr, lr, 0.5, 0.999, None), batch, accum, ema_kimg)


def infogan(
    codes: Callable[[Tree], tuple[Array, Array]],
    *,
    batch: int = 128,
    lr_g: float = 1e-3,
    lr_d: float = 2e-4,
    weight: float = 1.0,
    continuous_weight: float = 1.0,
    accum: int = 1,
    ema_kimg: ScalarOrSchedule = 0.0,
) -> Recipe:
    """InfoGAN, for `models.infogan`: both players also maximise what D's head Q can read of the codes in the fakes.

    Args:
      codes: `Generator.codes` of the generator, as `terms.categorical_code` takes it.
      weight, continuous_weight: of the categorical code and of the continuous ones, lambda in the paper.
    Source: Chen et al. 2016, eq. 6 and appendix C (Adam, beta1 0.5, rates 2e-4 for D and 1e-3 for G, lambda 1); batch and both
      weights of the authors' MNIST configuration.
    """
    of_codes = [terms.categorical_code(codes, weight), terms.continuous_code(codes, continuous_weight)]
    d, g = ([adversarial(player, "non_saturating"), *of_codes] for player in "dg")
    return Recipe(alternating(d, g), _adams(lr_g, lr_d, 0.5, 0.999, None), batch, accum, ema_kimg)


def sngan(
    *,
    batch: int = 64,
    lr: float = 2e-4,
    n_critic: int = 5,
    kimg: float | None = 3200.0,
    accum: int = 1,
    ema_kimg: ScalarOrSchedule = 0.0,
) -> Recipe:
    """SNGAN and its projection variant, for `models.resnet` or `models.sngan`: hinge loss, Adam with betas 0, 0.9.

    Source: Miyato et al. 2018 and Miyato & Koyama 2018, numbers of the authors' CIFAR-10 configuration (50,000 steps, rate
      falling to 0). Deviations: there the generator's batch is twice the discriminator's, fakes have uniform labels (here those
      of the reals), and real images have uniform noise of a grey level's width added (dequantisation).
    """
    tx = _adams(lr, lr, 0.0, 0.9, kimg)
    turns = alternating([adversarial("d", "hinge")], [adversarial("g", "hinge")], n_critic)
    return Recipe(turns, tx, batch, accum, ema_kimg)


def sagan(
    *,
    batch: int = 256,
    lr_g: float = 1e-4,
    lr_d: float = 4e-4,
    n_critic: int = 1,
    accum: int = 1,
    ema_kimg: ScalarOrSchedule = 0.0,
) -> Recipe:
    """SAGAN, for `models.biggan`'s SAGAN pair: hinge loss, one update each, a faster discriminator (TTUR).

    Source: Zhang et al. 2019, sections 4 and 5 (Adam, betas 0, 0.9; the authors' code has TensorFlow's default of 0.999 for the
      second, and batch norm's statistics of each of four GPUs). Fakes have the labels of the reals, theirs uniform ones.
    """
    tx = _adams(lr_g, lr_d, 0.0, 0.9, None)
    turns = alternating([adversarial("d", "hinge")], [adversarial("g", "hinge")], n_critic)
    return Recipe(turns, tx, batch, accum, ema_kimg)


def biggan(
    *,
    batch: int = 2048,
    lr_g: float = 5e-5,
    lr_d: float = 2e-4,
    orthogonal: float = 1e-4,
    n_critic: int = 2,
    accum: int = 1,
    ema_kimg: ScalarOrSchedule | None = None,
    ema_start: int = 20_000,
) -> Recipe:
    """BigGAN and BigGAN-deep: hinge loss, two updates of D per update of G, orthogonal regularisation of G, averaged weights.

    Args:
      orthogonal: weight of the regularisation; 0 turns it off. It applies to every kernel, but not to the class embedding.
      ema_kimg: half-life of the average; None for the paper's 0.9999 per step, a half-life of 6,931 batches.
      ema_start: for None, the step from which on that is; before, the average is the weights themselves.
    Source: Brock et al. 2019, section 3 and appendix C (Adam, betas 0, 0.999); ema_start of the authors' PyTorch code (1,000 on
      CIFAR-10). Deviations: the batch is that of one forward pass over all devices; `accum` > 1 gives batch norm a micro-batch's
      statistics. Fakes have the labels of the reals, theirs uniform ones. Epsilons of batch norm 1e-5, as in that code (1e-4 in
      the paper), of spectral norm 1e-12 (there 1e-6 to 1e-8, 1e-4), of Adam 1e-8 (its ImageNet script: 1e-6).
    """
    g = [adversarial("g", "hinge")] + ([terms.orthogonal("g", orthogonal)] if orthogonal else [])
    tx = _adams(lr_g, lr_d, 0.0, 0.999, None)
    average = _half_life(batch, ema_kimg, ema_start)
    return Recipe(alternating([adversarial("d", "hinge")], g, n_critic), tx, batch, accum, average)


def reacgan(
    *,
    batch: int = 128,
    lr: float = 2.8e-4,
    weight: float = 0.5,
    n_critic: int = 5,
    accum: int = 1,
    ema_kimg: ScalarOrSchedule | None = None,
    ema_start: int = 1_000,
) -> Recipe:
    """ReACGAN, for any D with head='embedding': hinge loss and data-to-data cross-entropy for both players.

    Args:
      weight: of the latter.
      ema_kimg, ema_start: as `biggan`.
    Source: Kang et al. 2021, its CIFAR-10 configuration on BigGAN's pair (Adam, betas 0.5, 0.999; average of 0.9999 per step).
    """
    with_classes = lambda player: [
        adversarial(player, "hinge"),
        terms.d2d_ce(player, weight, proxies=heads.proxies, temperature=0.5, m_p=0.98),
    ]
    tx = _adams(lr, lr, 0.5, 0.999, None)
    average = _half_life(batch, ema_kimg, ema_start)
    return Recipe(alternating(with_classes("d"), with_classes("g"), n_critic), tx, batch, accum, average)


def multi_hinge(
    *,
    batch: int = 64,
    lr: float = 2e-4,
    weight_g: float = 0.05,
    n_critic: int = 5,
    accum: int = 1,
    ema_kimg: ScalarOrSchedule | None = None,
    ema_start: int = 1_000,
) -> Recipe:
    """MHingeGAN, for any D with head='multi_hinge': a hinge over K + 1 classes, and feature matching for G.

    Args:
      ema_kimg, ema_start: as `biggan`.
    Source: Kavalerov et al. 2021. Weights (feature matching 1, hinge of G 0.05) and average (0.9999 per step) are the authors';
      the rest is of StudioGAN's CIFAR-10 configuration. The authors' has BigGAN's pair, batches of 50, four updates of D and
      betas 0, 0.999.
    """
    g = [terms.multi_hinge("g", weight_g), terms.feature_matching(norm="l1")]
    tx = _adams(lr, lr, 0.5, 0.999, None)
    average = _half_life(batch, ema_kimg, ema_start)
    return Recipe(alternating([terms.multi_hinge("d")], g, n_critic), tx, batch, accum, average)


def _half_life(batch, asked, start):
    """In kimg: as asked, or for None that of an average of 0.9999 per step from step number `start` on, and 0 before."""
    if asked is not None:
        return asked
    full, before = batch / 1000 * math.log(0.5) / math.log(0.9999), (start - 1.5) * batch / 1000
    return lambda kimg: jnp.where(kimg > before, full, 0.0)


def _adams(lr_g, lr_d, b1, b2, kimg):
    """Adam for both, the rates falling to 0 over kimg, or constant for None."""
    rate = lambda lr: lr if kimg is None else schedules.linear(lr, 0.0, kimg)
    return {"g": optim.adam(rate(lr_g), b1=b1, b2=b2), "d": optim.adam(rate(lr_d), b1=b1, b2=b2)}
