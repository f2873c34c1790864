"""Methods as data: one function per method -> `Recipe`, made of the parts in `terms`."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax.numpy as jnp

from jaxgan import optim, schedules, terms
from jaxgan.augment import ada_update
from jaxgan.errors import UserError, nearest
from jaxgan.heads import proxies
from jaxgan.method import Phase, Recipe, Term, Turn, alternating
from jaxgan.optim import Optimizer
from jaxgan.terms import adversarial, gradient_penalty
from jaxgan.typing import Array, Scalar, ScalarOrSchedule


def tutorial(
    *, batch: int, loss: str = "non_saturating", lr: float = 1e-4, accum: int = 1, ema_kimg: ScalarOrSchedule = 0.0
) -> Recipe:
    """The tutorial's training step, exactly: both gradients from the same parameters and the same noise, then both updates.

    Its loss is binary cross-entropy: -log D(x) - log(1 - D(G(z))) for D, and -log D(G(z)) for G (`loss='minimax'` gives
    the saturating log(1 - D(G(z))) instead). The tutorial's section 4 gives both losses with contradictory signs, and its
    listing passes arguments that BinaryCrossentropy does not have (`target=`, `output=`); this is what it intends. Adam with
    Keras's defaults: betas 0.9, 0.999, epsilon 1e-7. No weight average.
    """
    return Recipe(
        turns=(Turn((Phase("d", (adversarial("d", loss),)), Phase("g", (adversarial("g", loss),)))),),
        tx={name: optim.adam_keras(lr) for name in ("g", "d")},
        batch=batch,
        accum=accum,
        ema_kimg=ema_kimg,
    )


def dcgan(*, batch: int, lr: float = 2e-4, b1: float = 0.5, accum: int = 1, ema_kimg: ScalarOrSchedule = 0.0) -> Recipe:
    """Radford et al. 2016, section 4: alternating updates, non-saturating loss, Adam 2e-4 with beta1 0.5.

    The authors' code also decays the weights (1e-5), which the paper does not mention.
    """
    return Recipe(
        turns=alternating([adversarial("d", "non_saturating")], [adversarial("g", "non_saturating")]),
        tx={name: optim.adam(lr, b1=b1) for name in ("g", "d")},
        batch=batch,
        accum=accum,
        ema_kimg=ema_kimg,
    )


def r3gan(
    *,
    batch: int,
    lr: ScalarOrSchedule = 2e-4,
    b2: ScalarOrSchedule = 0.99,
    gamma: ScalarOrSchedule = 1.0,
    every: int = 1,
    share: int = 1,
    accum: int = 1,
    ema_kimg: ScalarOrSchedule = 10.0,
) -> Recipe:
    """R3GAN (Huang et al. 2024): relativistic pairing loss with R1 and R2, each player on its own real images.

    Args:
      batch: global images per step and player.
      lr, b2, gamma, ema_kimg: numbers or schedules of kimg; gamma/2 (R1 + R2).
      every, share: apply the penalties every `every` steps, to one of every `share` images (the paper: 1 and 1).
      accum: micro-batches; pairs are formed by position, so their number does not change the update.
    """
    gamma = schedules.as_schedule(gamma)
    half = lambda kimg: gamma(kimg) / 2
    lazy = {"every": every, "share": share}
    critic = (
        adversarial("d", "relativistic"),
        gradient_penalty("r1", "real", half, **lazy),
        gradient_penalty("r2", "fake", half, **lazy),
    )
    return Recipe(
        turns=alternating(critic, [adversarial("g", "relativistic")], own=1),
        tx={name: optim.adam(lr, b1=0.0, b2=b2) for name in ("g", "d")},
        batch=batch,
        accum=accum,
        ema_kimg=ema_kimg,
    )


def objective(
    *,
    batch: int,
    tx: dict[str, Optimizer],
    loss: str = "relativistic",
    penalties: Mapping[str, ScalarOrSchedule] | None = None,
    n_critic: int = 1,
    simultaneous: bool = False,
    class_loss: str = "",
    class_weight: float = 1.0,
    every: int = 1,
    share: int = 1,
    consistency: Callable[[Array, Array, float], Array] = lambda keys, x, p: x,
    attack: Mapping[str, Any] | None = None,
    pseudo: bool = False,
    top: ScalarOrSchedule = 1.0,
    accum: int = 1,
    ema_kimg: ScalarOrSchedule = 10.0,
) -> Recipe:
    """Any adversarial loss with any penalties, by name.

    Args:
      batch: global images per update.
      tx: {'g': ..., 'd': ...}, of `optim`.
      loss: of `terms.LOSSES`.
      penalties: {name of `PENALTIES`: weight}, weights as in `penalty_term`.
      n_critic: updates of D, each on its own images, per update of G. A G loss that needs reals has its own images too.
      simultaneous: update both players from the same parameters, instead of D first.
      class_loss: '', or one of `CLASS_LOSSES` for both players: the discriminator's head must be the kind given there.
      class_weight: of 'ac_gan' and 'd2d_ce'.
      every, share: penalties that call a network again are applied every `every` steps, to one of every `share` images.
      consistency: (keys, x, p) -> x: the augmentation of 'cr' and 'bcr', used at p = 1.
      attack: options of 'adversarial_examples' (`terms.adversarial_examples`): eps, steps, norm.
      pseudo: APA with the probability carry['p'] (see `adaptive`).
      top: share of the fakes that G learns from, a number or a schedule (`losses.top_k`).
      accum: micro-batches; losses that compare the images of a batch see one of them.
      ema_kimg: half-life of the weight average, a number or a schedule.
    Returns:
      A Recipe whose carry holds the state of its terms.
    Raises:
      UserError: an unknown name; simultaneous with n_critic > 1.
    """
    penalties = penalties or {}
    asked = [("loss", loss, terms.LOSSES), *(("penalty", name, PENALTIES) for name in penalties)]
    for kind, name, names in [*asked, ("class loss", class_loss, ("", *CLASS_LOSSES))]:
        if name not in names:
            raise UserError(f"there is no {kind} {name!r}{nearest(name, names)}; there are {', '.join(names)}")
    if n_critic < 1 or (simultaneous and n_critic > 1):
        raise UserError(f"n_critic={n_critic}, simultaneous={simultaneous}: give 1 or more, and 1 if simultaneous")
    lazy, sets = {"every": every, "share": share}, {"d": [], "g": []}
    sets["d"].append(terms.pseudo_augmented(loss) if pseudo else adversarial("d", loss))
    sets["g"].append(adversarial("g", loss, top=top))
    for player in "dg" if class_loss else "":
        sets[player] = _class_terms(player, class_loss, class_weight, sets[player])
    carry = {"p": 0.0} if pseudo else {}
    attacked = partial(terms.adversarial_examples, loss, **(attack or {}))
    for name, weight in penalties.items():
        player, term = penalty_term(name, weight, lazy, consistency, attacked)
        sets[player].append(term)
        carry |= terms.CARRY.get(name, {})
    both = Turn(tuple(Phase(player, tuple(sets[player])) for player in "dg"))
    own = n_critic if loss in terms.SEES_REALS else 0
    return Recipe(
        turns=(both,) if simultaneous else alternating(sets["d"], sets["g"], n_critic, own),
        tx=tx,
        batch=batch,
        accum=accum,
        ema_kimg=ema_kimg,
        carry=carry,
    )


PENALTIES = (
    *("r1", "r2", "finite_difference_r1", "finite_difference_r2", "wgan_gp", "wgan_lp", "dragan"),
    *("drift", "lecam", "cr", "bcr", "zcr_d", "zcr_g", "orthogonal", "path_length", "feature_matching"),
    "adversarial_examples",
)
"""Names that `objective` takes."""


CLASS_LOSSES = {"ac_gan": "classes", "d2d_ce": "embedding", "multi_hinge": "multi_hinge"}
"""Names that `objective` takes, and the kind of head (`heads.KINDS`) that each needs."""


def _class_terms(player: str, name: str, weight, adversarial_terms: list[Any]) -> list[Any]:
    """A player's terms with a class loss: added to its adversarial ones, or, for multi_hinge, replacing them."""
    if name == "multi_hinge":
        return [terms.multi_hinge(player)]
    if name == "ac_gan":
        return [*adversarial_terms, terms.ac_gan(player, weight)]
    return [*adversarial_terms, terms.d2d_ce(player, weight, proxies=proxies)]


def penalty_term(
    name: str,
    weight: ScalarOrSchedule,
    lazy: dict[str, int],
    consistency: Callable[[Array, Array, float], Array],
    attacked: Callable[..., Term] = partial(terms.adversarial_examples, "relativistic"),
) -> tuple[str, Term]:
    """The player and the term of a penalty by its name: the weight is the term's, so gamma / 2 for R1 and R2.

    Args:
      name: of `PENALTIES`.
      lazy: every and share, of those that take them.
      consistency: the augmentation of 'cr' and 'bcr'.
      attacked: makes the term of 'adversarial_examples' of the weight and lazy.
    """
    if name.endswith(("r1", "r2")):
        return "d", gradient_penalty(name, "real" if name.endswith("r1") else "fake", weight, **lazy)
    make = {
        "wgan_gp": lambda: ("d", terms.mixed_gradient_penalty("wgan_gp", weight, **lazy)),
        "wgan_lp": lambda: ("d", terms.mixed_gradient_penalty("wgan_lp", weight, **lazy)),
        "dragan": lambda: ("d", gradient_penalty("dragan", "real", weight, **lazy)),
        "drift": lambda: ("d", terms.drift(weight)),
        "lecam": lambda: ("d", terms.lecam(weight)),
        "cr": lambda: ("d", terms.cr(weight, augment=consistency, **lazy)),
        "bcr": lambda: ("d", terms.bcr(weight, augment=consistency, **lazy)),
        "zcr_d": lambda: ("d", terms.zcr_d(weight, **lazy)),
        "zcr_g": lambda: ("g", terms.zcr_g(weight, **lazy)),
        "orthogonal": lambda: ("g", terms.orthogonal("g", weight)),
        "path_length": lambda: ("g", terms.path_length(weight, **lazy)),
        "feature_matching": lambda: ("g", terms.feature_matching(weight)),
        "adversarial_examples": lambda: ("d", attacked(weight, **lazy)),
    }
    return make[name]()


def adaptive(
    recipe: Recipe, *, heuristic: str = "r_t", start: Scalar = 0.0, target: Scalar = 0.6, kimg: Scalar = 500.0, every: int = 4
) -> Recipe:
    """The recipe with ADA's controller: carry['p'] is adapted until the overfitting heuristic reaches the target.

    Args:
      recipe: its first turn of D gets a term that logs the heuristic. Let the game's p be `lambda carry, kimg: carry['p']`.
      heuristic: 'r_t', the mean sign of D's real logits, for losses of `terms.SIGNED`: under the others, such as the relativistic
        one, it does not depend on overfitting. Or 'r_v', how much more real D rates training images than held-out ones, which
        come from an added slot: for any loss.
      start: initial p, in [0, 1].
      target: of the heuristic; the paper: 0.6 for r_t, 0.5 for r_v.
      kimg: thousands of images, counted as `schedules` does, in which p can go from 0 to 1.
      every: p is updated once in so many steps, from the mean of the heuristic over them.
    Source: Karras et al. 2020 (ADA), section 3: start 0, 500 kimg, every 4 minibatches.
    """
    watched = next(t for t, turn in enumerate(recipe.turns) if "d" in [phase.player for phase in turn.phases])
    turn, slot = recipe.turns[watched], recipe.slots
    phases = tuple(
        phase._replace(terms=(*phase.terms, terms.overfitting(heuristic))) if phase.player == "d" else phase
        for phase in turn.phases
    )
    turn = turn._replace(phases=phases)
    if heuristic == "r_v":
        recipe = recipe._replace(held_slots=(*recipe.held_slots, slot))
        turn = turn._replace(extra=(slot, *turn.extra))

    def adapt(carry, log):
        carry = recipe.adapt(carry, log)
        seen, sum_ = carry["seen"] + 1, carry["heuristic"] + log["d/overfitting"] / every
        now = seen >= every
        moved = ada_update(carry["p"], sum_, every * recipe.batch, target=target, kimg=kimg)
        zero = jnp.zeros_like(sum_)
        p, sum_, seen = jnp.where(now, moved, carry["p"]), jnp.where(now, zero, sum_), jnp.where(now, zero, seen)
        return carry | {"p": p, "heuristic": sum_, "seen": seen}

    turns = tuple(turn if t == watched else old for t, old in enumerate(recipe.turns))
    carry = recipe.carry | {"p": start, "heuristic": 0.0, "seen": 0.0}
    return recipe._replace(turns=turns, carry=carry, adapt=adapt)
