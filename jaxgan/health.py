"""What is ill with a run, as the lines of its log tell: each a sentence for people, with what to try.

A hint, not a verdict: thresholds are rules of thumb, meant to be quiet about runs that go well.
"""

import contextlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from jaxgan import results
from jaxgan.errors import UserError

LEAST = 20
"""Lines of the log below which nothing is said: of the first ones little can be told."""
SATURATED = 0.02
"""D's adversarial loss, of any kind but Wasserstein's and MMD's, below which it knows real from generated images nearly without
error."""
APART = 0.5
"""Its logits are at least so far apart then: with least squares 0.7, with the others 2 and more. A Wasserstein D that says the
same of all images has a loss of 0, too."""
COLLAPSED = 0.3
"""`metrics.variety` of images that are nearly all like another one."""
LEAKY = 0.8
"""ADA's p from which its augmentations may appear in what is generated (Karras et al. 2020, section 2.2)."""
WORSE = 1.5
"""A distance, relative to its least."""
SLOW = 0.5
"""Images per second, relative to what was usual."""


def warnings(rows: Sequence[dict[str, Any]], starts: Iterable[float] = ()) -> dict[str, str]:
    """What the last lines of a log have and should not have.

    Args:
      rows: all lines, in their order.
      starts: of networks that grow the kimg at which each stage starts: smaller ones were faster.
    Returns:
      {kind: a sentence}; {} if all is well.
    """
    if len(rows) < LEAST:
        return {}
    recent = rows[-max(LEAST // 2, len(rows) // 10) :]
    median = lambda name: float(np.median(values)) if (values := [row[name] for row in recent if name in row]) else float("nan")
    said = {}
    gap = median("logits/real") - median("logits/fake")
    if 0 <= min(row.get("d/adv", -1) for row in recent) and median("d/adv") < SATURATED and gap >= APART:
        said["saturated"] = (
            f"D knows real from generated images without error (d/adv {median('d/adv'):.2g}, logits {gap:.3g} apart), so that G "
            "learns little: a stronger penalty (--gamma) or another, --augment where images are few, a lower learning rate of D"
        )
    drawn = [row["variety"] for row in rows if "variety" in row][-3:]
    if len(drawn) == 3 and max(drawn) < COLLAPSED and drawn[2] <= drawn[0]:  # at first there is little, and it grows
        said["collapse"] = (
            f"generated images are nearly alike, or those of each class are (variety {drawn[-1]:.2g}, of real ones 1): look at "
            "samples/; this seldom mends itself: start anew with wider networks, a stronger penalty or a lower --lr"
        )
    if median("augment/p") >= LEAKY:
        said["augment"] = (
            f"ADA's p is {median('augment/p'):.2f}; from {LEAKY} on augmentations may show in what is generated: D overfits, "
            "there are too few images for so long a run"
        )
    for name in _distances(recent):
        found = [(row["kimg"], row[name]) for row in rows if row.get(name) is not None]
        kimg, best = min(found, key=lambda point: point[1])
        last = [value for _, value in found[-3:]]
        if len(found) >= 6 and kimg < found[-3][0] and min(last) > WORSE * best > 0:
            said[f"worse {name}"] = (
                f"{name} is {last[-1]:.4g}, and was {best:.4g} at {kimg:.10g} kimg: it has become worse since; "
                "--checkpoint best takes the best, by the run's first metric"
            )
    grown = max((kimg for kimg in starts if kimg < rows[-1]["kimg"]), default=0.0)
    speed = [row["img_per_s"] for row in rows if "img_per_s" in row and row["kimg"] > grown]
    usual = float(np.median(speed)) if speed else 0.0
    if max(speed[-LEAST // 2 :], default=0.0) < SLOW * usual:
        said["slow"] = f"{speed[-1]:.4g} images/s, and {usual:.4g} are usual: is somebody else on the machine, or the disk slow?"
    return said


def _distances(rows: Iterable[dict[str, Any]]) -> list[str]:
    """The metrics of which less is known to be better."""
    names = []
    for name in dict.fromkeys(name for row in rows for name in row):
        with contextlib.suppress(UserError):
            names += [name] * results.lower_is_better(name)
    return names
