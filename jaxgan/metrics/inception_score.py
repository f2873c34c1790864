"""The Inception score: how confident and how varied a classifier's predictions on the generated images are."""

import numpy as np

from jaxgan.metrics.contract import Estimate, rows
from jaxgan.typing import AnyArray


def inception_score(logits: AnyArray, *, splits: int = 10, seed: int | None = 2020, probabilities: bool = False) -> Estimate:
    """IS = exp( mean_i KL( p(y | x_i) || p(y) ) ), p(y) the mean of p(y | x_i), for each of `splits` parts.

    Args:
      logits: [n, K] class logits of the generated images; for the published score the 1008 of the 2015 Inception
        network without its bias. Or, with `probabilities=True`, p(y | x_i), rows that sum to 1.
      splits: parts of nearly equal size. A part of s images cannot score above min(K, s).
      seed: of the shuffle before splitting, which is torch-fidelity's (a numpy RandomState; its default seed is 2020). None
        keeps the order, as the original code does; then images sorted by class score far too low.
    Returns:
      (mean, standard deviation) over the parts, as papers print it; 1 if all images get the same distribution, K if predictions
      are confident and evenly spread.
    Raises:
      UserError: fewer than 2 images per split, NaN. ValueError: invalid probabilities, fewer than 1 split.
    Source: Salimans et al. 2016, section 4 (10 parts of 5000 images); in float64.
    """
    if splits < 1:
        raise ValueError(f"inception_score: {splits} splits; give at least 1")
    x = rows("class logits", logits, 2 * splits, f"the Inception score with {splits} splits")
    n = len(x)
    if probabilities and ((x < 0).any() or abs(x.sum(axis=1, dtype=np.float64) - 1).max() > 1e-4):
        raise ValueError("probabilities: some are below 0 or some rows do not sum to 1; are these logits?")
    order = np.arange(n) if seed is None else np.random.RandomState(seed).permutation(n)
    scores = []
    for i in range(splits):
        part = x[order[i * n // splits : (i + 1) * n // splits]].astype(np.float64)
        p, log_p = _from_probabilities(part) if probabilities else _softmax(part)
        with np.errstate(divide="ignore"):
            log_mean = np.log(p.mean(axis=0))
        gain = np.where(p > 0, p, 0) * np.where(p > 0, log_p - log_mean, 0)
        scores.append(np.exp(gain.sum(axis=1).mean()))
    return Estimate(float(np.mean(scores)), float(np.std(scores)))


def _softmax(logits):
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return np.exp(log_p), log_p


def _from_probabilities(p):
    p = p / p.sum(axis=1, keepdims=True)
    return p, np.log(np.where(p > 0, p, 1))
