"""Recipes for pairs of images: the conditions c are source images, and real image i is the target of source i."""

from jaxgan import feature_losses, optim, terms
from jaxgan.errors import UserError, nearest
from jaxgan.method import Phase, Recipe, Turn
from jaxgan.terms import adversarial

WEIGHTS = {"non_saturating": (0.5, 1.0), "least_squares": (1.0, 2.0)}
"""loss -> its weight for D and for G: D's sum over real and fake patches is halved, and `losses.least_squares_*` has a half
inside already."""


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
      batch: global images a step; the paper's is 1, which makes batch norm the image's own.
      loss: 'non_saturating' (binary cross-entropy), or 'least_squares' (squares to 1 and 0, as the authors' later code).
      l1: weight of the L1 distance, images in [-1, 1]; 0 leaves it out.
      lr, b1: of both players' Adam, a number or schedule and the first decay; the second is 0.999.
      accum: micro-batches.
      ema_kimg: half-life of the weight average; the paper has none.
    Raises:
      UserError: another loss.
    Source: Isola et al. 2017, section 3.3, and appendix 6.2: 2e-4, betas 0.5, 0.999. Deviation: G's update draws dropout anew
      instead of keeping that of D's, and meets the discriminator that D's update left.
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
