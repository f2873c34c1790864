"""Recipes for generators of images from images: the conditions c are source images, and real image i is the target of source i,
or, of unpaired images, the source itself."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan import feature_losses, losses, optim, terms
from jaxgan.errors import UserError, nearest
from jaxgan.method import Recipe, Round, Term, alternating
from jaxgan.terms import adversarial
from jaxgan.typing import Array, ScalarOrSchedule

WEIGHTS = {"non_saturating": (0.5, 1.0), "least_squares": (1.0, 2.0)}
"""loss -> its weights for D and G: D's sum over real and fake patches is halved, and `losses.least_squares_*` already
includes a factor of 1/2."""


def pix2pix(
    *,
    batch: int = 1,
    loss: str = "non_saturating",
    l1: float = 100.0,
    lr: ScalarOrSchedule = 2e-4,
    b1: float = 0.5,
    accum: int = 1,
    ema_kimg: ScalarOrSchedule = 0.0,
) -> Recipe:
    """pix2pix, for `models.pix2pix`: half of D's loss; then G's, plus l1 times the mean absolute distance to the target.

    Args:
      batch: global images per step; the paper's is 1, where batch norm uses a single image's statistics.
      loss: 'non_saturating' (binary cross-entropy), or 'least_squares' (squares to 1 and 0, as the authors' later code).
      l1: weight of the L1 distance, images in [-1, 1]; 0 turns it off.
      lr, b1: of both players' Adam, a number or schedule, and beta1; beta2 is 0.999.
      accum: micro-batches.
      ema_kimg: half-life of the weight average; the paper has none.
    Raises:
      UserError: another loss.
    Source: Isola et al. 2017, section 3.3, and appendix 6.2: 2e-4, betas 0.5, 0.999. Deviation: G's update draws new
      dropout masks instead of reusing those of D's update, and sees the updated discriminator.
    """
    of_d, of_g = _weights(loss, "pix2pix")
    to_target = (terms.paired("l1", feature_losses.l1, l1),) if l1 else ()
    of_both = adversarial("d", loss, of_d), adversarial("g", loss, of_g)
    return _in_turns(*of_both, to_target, lr=lr, b1=b1, batch=batch, accum=accum, ema_kimg=ema_kimg)


def cyclegan(
    *,
    batch: int = 1,
    loss: str = "least_squares",
    cycle: float = 10.0,
    identity: float = 5.0,
    lr: ScalarOrSchedule = 2e-4,
    b1: float = 0.5,
    accum: int = 1,
    ema_kimg: ScalarOrSchedule = 0.0,
) -> Recipe:
    """CycleGAN, for `models.cyclegan`: stacked unpaired images (a, b) are real and source at once; of them it makes (F(b), G(a)).

    L_D = 1/2 [(D_B(b) - 1)^2 + D_B(G(a))^2] + 1/2 [(D_A(a) - 1)^2 + D_A(F(b))^2]; L_G = (D_B(G(a)) - 1)^2 + (D_A(F(b)) - 1)^2
    + cycle (|F(G(a)) - a| + |G(F(b)) - b|) + identity (|G(b) - b| + |F(a) - a|), each a mean over patches or pixels. What the
    step logs are the means over the two directions, half of these sums, so the weights are twice those.

    Args:
      batch: global pairs per step; the paper's is 1.
      loss: 'least_squares', or 'non_saturating' (binary cross-entropy).
      cycle: lambda, the weight of cycle consistency; 0 turns it off.
      identity: weight of the identity term; the paper's is 0.5 lambda for paintings and photographs and otherwise 0, its code's
        default 0.5 lambda.
      lr, b1: of Adam, a number or schedule, and beta1; beta2 is 0.999.
      accum: micro-batches.
      ema_kimg: half-life of the weight average; the paper has none.
    Raises:
      UserError: another loss.
    Source: Zhu et al. 2017, eq. 1 to 3, section 4 (squares, D's loss halved), section 5.2 (identity). Deviations: D sees the
      newest fakes alone, as in CUT by some of the authors; the paper's history is `with_history`. D is updated before G.
    """
    of_d, of_g = (2 * weight for weight in _weights(loss, "cyclegan"))
    kept = ((cycle_consistency(2 * cycle),) if cycle else ()) + ((identity_mapping(2 * identity),) if identity else ())
    of_both = adversarial("d", loss, of_d), adversarial("g", loss, of_g)
    return _in_turns(*of_both, kept, lr=lr, b1=b1, batch=batch, accum=accum, ema_kimg=ema_kimg)


def with_history(recipe: Recipe, loss: str, n: int, shape: tuple[int, int, int]) -> Recipe:
    """A recipe of `cyclegan`, half of D's fakes in which are of earlier steps, drawn from a history of n of either kind.

    Of either kind by itself: with probability 1/2 a fake is exchanged for one of the history, and otherwise shown as it is;
    where the place that it drew is still empty, it is shown and kept. No two of a batch draw one place; of a batch larger than
    the history the rest is shown as it is.

    Args:
      recipe, loss: `cyclegan(loss=loss)`. n: at least 1, the paper's 50. shape: (H, W, 2 C) of a pair.
    Source: Zhu et al. 2017, section 4; Shrivastava et al. 2017. Deviation: the places are filled as they are drawn, not the first
      ones first.
    """
    of_d, of_g = recipe.turns
    (old,), fn, (h, w, c) = of_d.phases[0].terms, getattr(losses, f"{loss}_d"), shape

    def term(r: Round):
        fake, carry = remembered(r)
        return jnp.mean(fn(r.real_out.logits, r.D(fake, "fake").logits)), carry, {}

    turns = of_d._replace(phases=(of_d.phases[0]._replace(terms=(old._replace(fn=term),)),)), of_g
    empty = {"past": np.zeros((2, n, h, w, c // 2), np.float32), "past_held": np.zeros((2, n), np.float32)}
    return recipe._replace(turns=turns, carry=recipe.carry | empty)


def remembered(r: Round) -> tuple[Array, dict[str, Array]]:
    """The fakes [B, H, W, 2 C] that D is to see in place of r.fake, and the new history: the same one on every device."""
    keys = jax.random.key_data(r.keys)
    new, everyone = r.gather(r.fake), r.gather(keys)
    mine = (keys[:, None] == everyone[None]).all(-1).argmax(1)  # where in the global batch this device's images are

    def one_kind(key, new, past, held):
        m, (draw, toss) = min(len(new), len(past)), jax.random.split(key)
        at = jax.random.permutation(draw, len(past))[:m]
        exchanged = (held[at] > 0) & jax.random.bernoulli(toss, 0.5, (m,))
        old, given = past[at], new[:m]
        at_once = lambda which: which[:, None, None, None]
        shown = new.at[:m].set(jnp.where(at_once(exchanged), old, given))
        kept = jnp.where(at_once(exchanged | (held[at] == 0)), given, old)
        return shown, past.at[at].set(kept), held.at[at].set(1)

    halves = jnp.stack(jnp.split(new, 2, -1))
    key = jax.random.fold_in(r.key, everyone[0, 0])  # each micro-batch of a step draws places of its own
    shown, past, held = jax.vmap(one_kind)(jax.random.split(key), halves, r.carry["past"], r.carry["past_held"])
    return jnp.concatenate([*shown], -1)[mine], {"past": past, "past_held": held}


def cycle_consistency(weight: ScalarOrSchedule = 1.0) -> Term:
    """The mean of |F(G(a)) - a| and |G(F(b)) - b|: a generator that makes (F(b), G(a)) of (a, b) is given what it made."""
    return Term("cycle", weight, lambda r: (_unchanged(r, r.fake), {}, {}))


def identity_mapping(weight: ScalarOrSchedule = 1.0) -> Term:
    """The mean of |F(a) - a| and |G(b) - b|: what is of the kind already should stay. The generator is given (b, a)."""
    return Term("identity", weight, lambda r: (_unchanged(r, jnp.roll(r.c, r.c.shape[-1] // 2, -1)), {}, {}))


def _unchanged(r: Round, given):
    """How far what the generator makes of these pairs is from the sources."""
    return jnp.mean(feature_losses.l1(r.c, r.S(given)))


def _weights(loss: str, recipe: str) -> tuple[float, float]:
    if loss not in WEIGHTS:
        raise UserError(f"there is no loss {loss!r} for {recipe}; there are {', '.join(WEIGHTS)}{nearest(loss, WEIGHTS)}")
    return WEIGHTS[loss]


def _in_turns(of_d: Term, of_g: Term, more: tuple[Term, ...], *, lr, b1: float, **rest) -> Recipe:
    """An update of D, then one of G with more terms, both by Adam."""
    return Recipe(
        turns=alternating([of_d], [of_g, *more]),
        tx={name: optim.adam(lr, b1=b1, b2=0.999) for name in ("g", "d")},
        **rest,
    )
