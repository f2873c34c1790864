"""Mode coverage: which classes a generator reaches and how evenly, by a classifier's predictions (StackedMNIST and others)."""

from typing import NamedTuple

import numpy as np

from jaxgan.errors import UserError
from jaxgan.typing import AnyArray


class Modes(NamedTuple):
    """The result of `modes`, and what equally many perfect samples would give on average."""

    count: int  # classes that at least one image falls in
    kl: float  # KL(generated || reference), in nats
    kl_error: float  # its standard error over draws of images, to first order
    perfect_count: float  # expectation of count for draws from the reference
    perfect_kl: float  # expectation of kl for draws from the reference: never 0 for finitely many images


def modes(ids: AnyArray, classes: int = 1000, *, reference: AnyArray | None = None) -> Modes:
    """Number of classes reached, and KL(q || p) of the generated classes q to the reference p.

    Args:
      ids: int [n], the predicted class of each generated image, in [0, classes). For StackedMNIST
        (`features.stacked`) the papers use n = 26,000 and 1000 classes.
      reference: [classes] counts or probabilities of the real data (used by VEEGAN); None: uniform.
    Returns:
      `Modes`. kl is infinite if a class is generated that the reference lacks.
    Raises:
      UserError: fewer images than classes. ValueError: invalid ids or reference.
    Source: Metz et al. 2017 (Unrolled GAN); Srivastava et al. 2017 (VEEGAN); Lin et al. 2018 (PacGAN): KL of
      the *generated* to the real distribution, by counts of argmax labels. The perfect values are ours: sum_i 1 - (1-p_i)^n
      exactly, and (support - 1) / (2 n), the first term in 1/n (0.7 % too small for n = 26,000 and 1000 classes).
    """
    ids = np.asarray(ids)
    if ids.ndim != 1 or ids.dtype.kind not in "iu":
        raise ValueError(f"ids: {ids.dtype} {ids.shape}; give integers [n], one class per image")
    if len(ids) < classes:
        raise UserError(f"modes: {len(ids)} images are too few to reach {classes} classes; give at least {classes}, better 26x")
    if ids.min() < 0 or ids.max() >= classes:
        raise ValueError(f"ids: from {ids.min()} to {ids.max()}; with {classes} classes they lie in [0, {classes})")
    p = np.full(classes, 1 / classes) if reference is None else np.asarray(reference, np.float64)
    if p.shape != (classes,) or not np.isfinite(p).all() or (p < 0).any() or p.sum() <= 0:
        raise ValueError(f"reference: shape {p.shape}; give [{classes}] counts or probabilities, none below 0")
    p = p / p.sum()
    n = len(ids)
    q = np.bincount(ids, minlength=classes) / n
    with np.errstate(divide="ignore"):
        gain = np.log(np.where(q > 0, q, 1)) - np.log(np.where(q > 0, p, 1))
    kl = float(q @ gain)
    error = float(np.sqrt(q @ (gain - kl) ** 2 / n)) if np.isfinite(kl) else np.inf
    perfect = float((1 - (1 - p) ** n).sum()), float((np.count_nonzero(p) - 1) / (2 * n))
    return Modes(int(np.count_nonzero(q)), kl, error, *perfect)
