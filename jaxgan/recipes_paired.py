"""Recipes for pairs of images: the conditions c are source images, and real image i is the target of source i."""

from jaxgan import feature_losses, optim, terms
from jaxgan.errors import UserError, nearest
from jaxgan.method import Phase, Recipe, Turn
from jaxgan.terms import adversarial

WEIGHTS = {"non_saturating": (0.5, 1.0), "least_squares": (1.0, 2.0)}
"""loss -> its weights for D and G: D's sum over real and fake patches is halved, and `losses.least_squares_*` already
includes a factor of 1/2."""


def pix2pix(
    *,
    batch: int = 1,
    loss: str = "non_saturating",
    l1: float = 100.0,
    lr=2e-4,
    b1: float = 0.5,
    accum: int = 1,
    ema_kimg=0.0,
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
    if loss not in WEIGHTS:
        raise UserError(f"there is no loss {loss!r} for pix2pix; there are {', '.join(WEIGHTS)}{nearest(loss, WEIGHTS)}")
    of_d, of_g = WEIGHTS[loss]
    to_target = (terms.paired("l1", feature_losses.l1, l1),) if l1 else ()
    return Recipe(
        turns=(
            Turn((Phase("d", (adversarial("d", loss, of_d),)),)),
            Turn((Phase("g", (adversarial("g", loss, of_g), *to_target)),)),
        ),
        tx={name: optim.adam(lr, b1=b1, b2=0.999) for name in ("g", "d")},
        batch=batch,
        accum=accum,
        ema_kimg=ema_kimg,
    )
