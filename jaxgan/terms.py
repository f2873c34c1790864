"""The pure losses and penalties as terms of a recipe: `name(...) -> Term`, a few lines each. Your own can be written likewise.

A term sees one `Round` and returns its value [], new carry entries and log entries. Losses that compare the images of a batch
first gather it from all devices; the gradient of that global value, averaged over the devices as the step does, equals
the gradient on one device. weight, every and share are those of `Term`; options go to the function that is named.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jaxgan import attacks, class_losses, feature_losses, losses, penalties, regularizers
from jaxgan.augment import apa, r_t, r_v
from jaxgan.errors import nearest
from jaxgan.method import Round, Term, Verdict
from jaxgan.typing import Array, Scalar, ScalarOrSchedule, Tree

LOSSES = (
    *("minimax", "non_saturating", "least_squares", "hinge", "wasserstein", "relativistic", "relativistic_average"),
    *("mmd_gaussian", "mmd_rational_quadratic", "mmd_repulsive", "dual_contrastive"),
)
"""Names of the adversarial losses that `adversarial` takes."""

COMPARES = ("relativistic_average", "mmd_gaussian", "mmd_rational_quadratic", "mmd_repulsive", "dual_contrastive")
"""Those that compare all images of a batch with one another."""

SEES_REALS = ("relativistic", *COMPARES)
"""Those whose generator loss needs real images too."""

SIGNED = ("minimax", "non_saturating", "hinge")
"""Those under which D(x) > 0 says that x is real, so that its mean sign measures overfitting (ADA's r_t, APA's lambda_r).
'least_squares' asks D for 1 and 0, with 1/2 where it knows nothing; the others see differences of logits alone."""

CARRY = {"path_length": {"pl_mean": 0.0}, "lecam": {"lecam_real": 0.0, "lecam_fake": 0.0}}
"""What `Recipe.carry` must hold for these terms, with initial values."""


def adversarial(player: str, loss: str, weight: ScalarOrSchedule = 1.0, *, top: ScalarOrSchedule = 1.0, **options: Any) -> Term:
    """The term of an adversarial loss by its name in `LOSSES`, for the player 'g' or 'd'.

    Args:
      player: 'g' or 'd'.
      loss: `<loss>_<player>` is a function of `jaxgan.losses`.
      weight: number or schedule.
      top: of G: the share of the global batch's fakes that it learns from (`losses.top_k`), a number or schedule; not for losses
        of `COMPARES`.
      **options: keyword arguments of that function.
    """
    fn, ranks = partial(_loss(loss, player), **options), callable(top) or top != 1
    if ranks and (player == "d" or loss in COMPARES):
        raise ValueError(f"adversarial: top is for G and for losses of single images, not for {loss}_{player}")
    if not callable(top) and not 0 < top <= 1:
        raise ValueError(f"adversarial: top is {top}; give a part of the batch, above 0 and at most 1")

    def term(r: Round):
        real, fake = r.real_out.logits, r.fake_out.logits
        if ranks or loss in COMPARES:
            real, fake = r.gather(real), r.gather(fake)
        if ranks:
            return losses.top_k(fn(real, fake), fake, top(r.kimg) if callable(top) else top), {}, {}
        return jnp.mean(fn(real, fake)), {}, {}

    return Term("adv", weight, term)


def pseudo_augmented(loss: str, weight: ScalarOrSchedule = 1.0, **options: Any) -> Term:
    """D's `adversarial` under APA (`augment.apa`): with probability carry['p'] a fake replaces the real image at its position."""
    fn = partial(_loss(loss, "d"), **options)

    def values(r: Round):
        real, fake = r.D(apa(r.keys, r.real, r.fake, r.carry["p"])).logits, r.fake_out.logits
        return fn(*map(r.gather, (real, fake))) if loss in COMPARES else fn(real, fake)

    return _mean_of("adv", weight, values)


def adversarial_examples(
    loss: str,
    weight: ScalarOrSchedule = 1.0,
    *,
    eps: Scalar = 0.03,
    steps: int = 3,
    norm: str = "linf",
    every: int = 1,
    share: int = 1,
) -> Term:
    """D's `adversarial` on adversarially perturbed reals, so that it becomes robust to such perturbations.

    The attack (`attacks.pgd` from a random start, steps of 2.5 eps / steps) changes the images before augmentation, to lower
    their logits. It costs `steps` forward and backward passes of D on them, and no second derivatives: its result is a constant.

    Args:
      loss: of `LOSSES`.
      weight: number or schedule; of the attacked images. The clean ones have their own term, `adversarial`.
      eps: radius, in units of the images ([-1, 1]). steps, norm: of the attack.
      every, share: as `gradient_penalty`.
    Source: Goodfellow et al. 2015, section 6 (clean and attacked); Liu and Hsieh 2019 (Rob-GAN), whose D sees attacked reals in
      place of clean ones, and fakes as they are: 5 steps, eps 1/32, no random start, the whole loss attacked, class head and all.
    """
    fn = _loss(loss, "d")

    def values(r: Round):
        real_looks = lambda x: r.D(x).logits.reshape(len(x), -1).mean(1)
        step = 2.5 * eps / steps
        x = attacks.pgd(r.keys[::share], lambda x: -real_looks(x), r.real[::share], eps=eps, step=step, steps=steps, norm=norm)
        real, fake = r.D(x).logits, r.fake_out.logits[::share]
        return fn(*map(r.gather, (real, fake))) if loss in COMPARES else fn(real, fake)

    return _mean_of("adversarial_examples", weight, values, every, share)


def gradient_penalty(name: str, of: str, weight: ScalarOrSchedule, *, every: int = 1, share: int = 1, **options: Any) -> Term:
    """A penalty on reals or fakes, `(critic, images) -> [B]` or with a key first: R1, R2, DRAGAN, ...

    The critic includes the augmentation, so the gradient is with respect to the image before augmentation.

    Args:
      name: 'r1', 'r2', 'finite_difference_r1', 'finite_difference_r2' or 'dragan' of `jaxgan.penalties`.
      of: 'real' or 'fake': which images.
      weight: number or schedule; gamma / 2 for R1 and R2.
      every: lazy interval.
      share: one of every `share` images is used, to save cost; the same set on any number of devices.
      **options: keyword arguments of that function.
    """
    _one_of("gradient_penalty", name, ("r1", "r2", "finite_difference_r1", "finite_difference_r2", "dragan"))
    _one_of("gradient_penalty, of", of, ("real", "fake"))
    fn = partial(getattr(penalties, name), **options)
    drawn = name not in ("r1", "r2")

    def values(r: Round):
        images = {"real": r.real, "fake": r.fake}[of][::share]
        key = (r.keys[::share],) if drawn else ()
        return fn(*key, _critic(r, of), images)

    return _mean_of(name, weight, values, every, share)


def mixed_gradient_penalty(name: str, weight: ScalarOrSchedule, *, every: int = 1, share: int = 1) -> Term:
    """'wgan_gp' or 'wgan_lp': a penalty on points between real and fake images. Arguments as `gradient_penalty`."""
    _one_of("mixed_gradient_penalty", name, ("wgan_gp", "wgan_lp"))
    fn = getattr(penalties, name)
    values = lambda r: fn(r.keys[::share], _critic(r), r.real[::share], r.fake[::share])
    return _mean_of(name, weight, values, every, share)


def drift(weight: ScalarOrSchedule) -> Term:
    """Epsilon drift (`penalties.drift`) of the real logits; the paper's weight is 0.001."""
    return _mean_of("drift", weight, lambda r: penalties.drift(r.real_out.logits))


def lecam(weight: ScalarOrSchedule, **options: Any) -> Term:
    """LeCam (`regularizers.lecam`) with its means over all devices in the carry: see `CARRY`."""

    def term(r: Round):
        ema = _kept(r, "lecam", "lecam_real"), _kept(r, "lecam", "lecam_fake")
        mean = lambda x: jnp.mean(r.gather(x))
        value, (real, fake) = regularizers.lecam(r.real_out.logits, r.fake_out.logits, ema, mean=mean, **options)
        return jnp.mean(value), {"lecam_real": real, "lecam_fake": fake}, {}

    return Term("lecam", weight, term)


def path_length(weight: ScalarOrSchedule, *, every: int = 1, share: int = 1, **options: Any) -> Term:
    """Path length (`regularizers.path_length`) of G with its mean over all devices in the carry: see `CARRY`."""

    def term(r: Round):
        w, keys, mean = r.w[::share], r.keys[::share], lambda x: jnp.mean(r.gather(x))
        value, new = regularizers.path_length(keys, r.S, w, _kept(r, "path_length", "pl_mean"), mean=mean, **options)
        return jnp.mean(value), {"pl_mean": new}, {}

    return Term("path_length", weight, term, every, share)


def cr(weight: ScalarOrSchedule, *, augment: Callable[[Array, Array, float], Array], every: int = 1, share: int = 1) -> Term:
    """Consistency (`regularizers.cr`) of real images. augment: (keys, x, p) -> x of `jaxgan.augment`, used at p = 1."""
    fn = partial(regularizers.cr, augment=lambda key, x: augment(key, x, 1.0))
    return _mean_of("cr", weight, lambda r: fn(r.keys[::share], _critic(r), r.real[::share]), every, share)


def bcr(weight: ScalarOrSchedule, *, augment: Callable[[Array, Array, float], Array], every: int = 1, share: int = 1) -> Term:
    """Balanced consistency (`regularizers.bcr`), real and fake images weighted equally. augment: as `cr`."""
    fn = partial(regularizers.bcr, augment=lambda key, x: augment(key, x, 1.0), real_weight=1.0, fake_weight=1.0)
    values = lambda r: fn(r.keys[::share], _critic(r), r.real[::share], r.fake[::share])
    return _mean_of("bcr", weight, values, every, share)


def zcr_d(weight: ScalarOrSchedule, *, every: int = 1, share: int = 1, **options: Any) -> Term:
    """Latent consistency for D (`regularizers.zcr_d`); z is the game's latent."""
    fn = partial(regularizers.zcr_d, **options)
    return _mean_of("zcr_d", weight, lambda r: fn(r.keys[::share], _critic(r, "fake"), r.S, r.w[::share]), every, share)


def zcr_g(weight: ScalarOrSchedule, *, every: int = 1, share: int = 1, **options: Any) -> Term:
    """Latent consistency for G (`regularizers.zcr_g`); z is the game's latent."""
    fn = partial(regularizers.zcr_g, **options)
    return _mean_of("zcr_g", weight, lambda r: fn(r.keys[::share], r.S, r.w[::share]), every, share)


def orthogonal(player: str, weight: ScalarOrSchedule, **options: Any) -> Term:
    """Orthogonal regularisation (`regularizers.orthogonal`) of a player's parameters named 'kernel'."""

    def term(r: Round):
        leaves = jax.tree_util.tree_leaves_with_path(r.params[player])
        kernels = [leaf for path, leaf in leaves if getattr(path[-1], "key", None) == "kernel"]
        return regularizers.orthogonal(kernels, **options), {}, {}

    return Term("orthogonal", weight, term)


def ac_gan(player: str, weight: ScalarOrSchedule = 1.0) -> Term:
    """AC-GAN's class term, for a discriminator that returns `Verdict.classes`; the labels are integers."""
    _one_of("ac_gan", player, ("g", "d"))
    fn = getattr(class_losses, f"ac_gan_{player}")
    return _mean_of("classes", weight, lambda r: fn(*_said("ac_gan", "classes", r.real_out, r.fake_out), r.c))


def multi_hinge(player: str, weight: ScalarOrSchedule = 1.0) -> Term:
    """Multi-class hinge on `Verdict.classes` [B, K + 1]: a complete adversarial loss."""
    _one_of("multi_hinge", player, ("g", "d"))
    fn = getattr(class_losses, f"multi_hinge_{player}")
    return _mean_of("adv", weight, lambda r: fn(*_said("multi_hinge", "classes", r.real_out, r.fake_out), r.c))


def categorical_code(codes: Callable[[Tree], tuple[Array, Array]], weight: ScalarOrSchedule = 1.0) -> Term:
    """InfoGAN's categorical code, for either player: the cross-entropy of Q's reading of the fakes, `Verdict.classes` [B, K].

    Args:
      codes: the game's latent [B, ...] -> (categories int [B], continuous codes [B, m]), such as `models.infogan`'s
        `Generator.codes`.
      weight: number or schedule; the paper's lambda is 1.
    """
    fn, name = class_losses.class_cross_entropy, "categorical_code"
    return _mean_of(name, weight, lambda r: fn(*_said(name, "classes", r.fake_out), codes(r.w)[0]))


def continuous_code(codes: Callable[[Tree], tuple[Array, Array]], weight: ScalarOrSchedule = 1.0) -> Term:
    """InfoGAN's continuous codes, for either player: `class_losses.gaussian_code` of `Verdict.features` [B, m], the means that
    Q reads from the fakes. Arguments as `categorical_code`."""
    fn, name = class_losses.gaussian_code, "continuous_code"
    return _mean_of(name, weight, lambda r: fn(*_said(name, "features", r.fake_out), codes(r.w)[1]))


def d2d_ce(player: str, weight: ScalarOrSchedule = 1.0, *, proxies: Callable[[Tree], Array], **options: Any) -> Term:
    """ReACGAN's D2D-CE on `Verdict.features` [B, E]: of real images for D, of fakes for G.

    Args:
      player, weight: as `adversarial`.
      proxies: D's parameters -> [K, E], the vectors of the classes.
      **options: keyword arguments of `class_losses.d2d_ce`.
    """

    def values(r: Round):
        (features,) = _said("d2d_ce", "features", {"d": r.real_out, "g": r.fake_out}[player])
        return class_losses.d2d_ce(r.gather(features), proxies(r.params["d"]), r.gather(r.c), **options)

    return _mean_of("d2d_ce", weight, values)


def feature_matching(weight: ScalarOrSchedule = 1.0, *, norm: str = "l2") -> Term:
    """G should match D's mean features (`feature_losses.feature_matching`), for a D that returns `Verdict.features`."""

    def term(r: Round):
        real, fake = map(r.gather, _said("feature_matching", "features", r.real_out, r.fake_out))
        return feature_losses.feature_matching(real, fake, norm=norm), {}, {}

    return Term("feature_matching", weight, term)


def paired(name: str, distance: Callable[[Array, Array], Array], weight: ScalarOrSchedule = 1.0) -> Term:
    """G's distance to the real image at the same position: `distance(real, fake) -> [B]`, such as `feature_losses.l1`, or
    `partial(feature_losses.perceptual, features)`."""
    return _mean_of(name, weight, lambda r: distance(r.real, r.fake))


def overfitting(heuristic: str = "r_t") -> Term:
    """Logs ADA's heuristic as 'd/overfitting', and the current probability; contributes nothing to the loss.

    Args:
      heuristic: 'r_t', for losses of `SIGNED`; or 'r_v', for any, which needs held-out images as the turn's first extra slot.
    """

    def term(r: Round):
        if heuristic == "r_t":
            return r_t(r.real_out.logits), {}, {"augment/p": r.carry["p"]}
        held, c = r.extra[0]
        logits = (r.real_out.logits, r.D(held, "real", c).logits, r.fake_out.logits)
        return r_v(*(r.gather(a) for a in logits)), {}, {"augment/p": r.carry["p"]}

    return Term("overfitting", 0.0, term)


def _mean_of(name: str, weight, values, every: int = 1, share: int = 1) -> Term:
    """The term whose value is the mean of what `values(round)` gives, and which keeps and logs nothing else."""
    return Term(name, weight, lambda r: (jnp.mean(values(r)), {}, {}), every, share)


def _critic(r: Round, of: str = "real"):
    return lambda x: r.D(x, of).logits


def _one_of(what: str, given: str, known: tuple[str, ...]) -> None:
    if given not in known:
        raise ValueError(f"{what}: there is no {given!r}{nearest(str(given), known)}; there are {', '.join(known)}")


def _loss(name: str, player: str):
    _one_of("player", player, ("g", "d"))
    _one_of("loss", name, LOSSES)
    return getattr(losses, f"{name}_{player}")


def _kept(r: Round, term: str, entry: str):
    if entry not in r.carry:
        raise ValueError(f"{term}: Recipe.carry has no {entry!r}; give it terms.CARRY[{term!r}], or that merged with more")
    return r.carry[entry]


def _said(term: str, part: str, *verdicts: Verdict):
    """D's outputs other than the logits."""
    parts = [getattr(verdict, part) for verdict in verdicts]
    if any(one is None for one in parts):
        raise ValueError(f"{term}: D returns no {part}; let it return (logits, class logits or None, features or None)")
    return parts
