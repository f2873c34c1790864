"""Low-pass filters by design, as StyleGAN3 resamples with them: NumPy, computed once for each set of arguments.

Rates and frequencies share any unit, such as samples and cycles an image.
"""

from functools import cache

import numpy as np


@cache
def sinc(taps: int, cutoff: float, width: float, rate: float) -> tuple[float, ...]:
    """A sinc in a Kaiser window: the filter of one axis, for `resample.upfirdn`.

    Args:
      taps: its length. cutoff: where it passes half. width: of the transition band, from pass to stop.
      rate: samples at which it works; above 2 cutoff.
    Returns:
      Tuple of `taps` floats whose sum is 1.
    Source: Karras et al. 2021 (StyleGAN3), appendix C.1; `scipy.signal.firwin`.
    """
    from scipy import signal  # takes a part of a second, which other networks need not wait for

    return tuple(signal.firwin(taps, cutoff, width=width, fs=rate).tolist())


@cache
def jinc(taps: int, cutoff: float, width: float, rate: float) -> tuple[tuple[tuple[float, ...], tuple[float, ...]], ...]:
    """The same without a preferred direction: a jinc in a Kaiser window, for `resample.separated`.

    f(x, y) = J1(2 pi cutoff r) / (pi r) w(x) w(y), r^2 = x^2 + y^2, scaled to the sum 1. It does not separate, but it is
    symmetric: its eigenvectors give it as a sum of products of one filter an axis, as many as there are eigenvalues.

    Args:
      taps: length of a side, even. cutoff, width, rate: as `sinc`.
    Returns:
      Tuple of (filter of the height, filter of the width), largest first, tuples of `taps` floats; the sum of their outer
      products is the filter [taps, taps] to 1e-7 of its largest eigenvalue.
    Source: Karras et al. 2021 (StyleGAN3), section 3.2 and appendix C.2.
    """
    from scipy import signal, special

    x = (np.arange(taps) - (taps - 1) / 2) / rate
    r = np.hypot(x[:, None], x[None])
    window = np.kaiser(taps, signal.kaiser_beta(signal.kaiser_atten(taps, width / (rate / 2))))
    f = special.j1(2 * np.pi * cutoff * r) / (np.pi * r) * np.outer(window, window)
    values, vectors = np.linalg.eigh(f / f.sum())
    order = np.argsort(-abs(values))
    kept = [i for i in order if abs(values[i]) > 1e-7 * abs(values[order[0]])]
    return tuple((tuple((values[i] * vectors[:, i]).tolist()), tuple(vectors[:, i].tolist())) for i in kept)
