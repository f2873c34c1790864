"""How well images show the classes that they were made for: label accuracy, class by class distances, and GAN-train."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from jaxgan.data.source import Source
from jaxgan.errors import UserError
from jaxgan.metrics import classifier, frechet
from jaxgan.metrics.contract import Estimate, two_sets
from jaxgan.typing import AnyArray

TESTED = 10_000  # real images, at most, on which `gan_train` tests


class ByClass(NamedTuple):
    """A number over all classes, and that of the worst one."""

    value: Estimate
    worst: Estimate
    which: int
    """the worst class"""


def share(right: int, n: int) -> Estimate:
    """right / n with its standard error, sqrt(p (1 - p) / n)."""
    p = right / n
    return Estimate(p, math.sqrt(p * (1 - p) / n))


def accuracy(predicted: AnyArray, labels: AnyArray, classes: int) -> ByClass:
    """GAN-test: the share of generated images in which a classifier of the real ones sees the class that they were made for.

    It is high as well where every image of a class is the same, so it says nothing of variety.

    Args:
      predicted: int [n], the classifier's class for each generated image.
      labels: int [n], the class that each was made for, in [0, classes).
      classes: their number.
    Returns:
      `ByClass`: the share of all images, and that of the class where it is lowest; errors over draws of images. The lowest
      of noisy shares is on average too low. A class of which there is no image is left out.
    Raises:
      ValueError: not two arrays of as many classes.
    Source: Shmelkov et al. 2018, section 3.1.
    """
    labels = _labels("labels", labels, classes)
    predicted = _labels("predicted", predicted, classes)
    if len(labels) != len(predicted):
        raise ValueError(f"accuracy: {len(predicted)} predictions for {len(labels)} labels; give one for each image")
    hits, counts = (np.bincount(chosen, minlength=classes) for chosen in (labels[predicted == labels], labels))
    lowest = int(np.argmin(np.where(counts, hits / np.maximum(counts, 1), np.inf)))
    return ByClass(share(int(hits.sum()), len(labels)), share(int(hits[lowest]), int(counts[lowest])), lowest)


def intra_frechet(
    real: AnyArray, real_labels: AnyArray, fake: AnyArray, fake_labels: AnyArray, classes: int, *, ddof: int = 1
) -> ByClass:
    """The mean over the classes of the Frechet distance between the real and the generated images of each: intra FID.

    Unlike the distance of all images it sees a class that shows another, and variety that is lost within a class.

    Args:
      real, fake: features [n, F] and [m, F].
      real_labels, fake_labels: int [n] and [m], in [0, classes).
      classes: their number.
      ddof: as `frechet.mean_cov`.
    Returns:
      `ByClass`: the mean, and the class of the largest distance. Errors are `frechet.estimate`'s, NaN where that has none.
    Raises:
      UserError: a class with fewer than 2 real or generated images; NaN features. ValueError: shapes that do not fit.
    Source: Miyato and Koyama 2018, section 4 (there 5,000 generated images a class, and all real ones of it).
    """
    real, fake = two_sets(real, fake, 2, "a Frechet distance")
    sides = {"real": (real, real_labels), "generated": (fake, fake_labels)}
    parts = {name: _by_class(name, rows, labels, classes) for name, (rows, labels) in sides.items()}
    found = [
        frechet.estimate(frechet.moments_of(of_class), made, ddof=ddof)
        for of_class, made in zip(parts["real"], parts["generated"], strict=True)
    ]
    values, errors = np.array(found).T
    worst = int(values.argmax())
    return ByClass(Estimate(float(values.mean()), float(np.sqrt(errors @ errors) / classes)), found[worst], worst)


def gan_train(
    images: np.ndarray,
    labels: AnyArray,
    source: Source,
    *,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Estimate:
    """GAN-train, or the classification accuracy score: how often a classifier that has only seen generated images is right on
    real ones. It falls with images that show another class, and with variety that is missing.

    Args:
      images: generated ones, uint8 [n, H, W, C] of the source's size, n >= 200. Nine tenths of them train `metrics.classifier`.
      labels: int [n], the classes that they were made for.
      source: the real images, with classes; of more than 10,000 a fixed random subset is taken. Those that the generator has not
        seen (a test split) are the stricter test.
      seed: of the classifier.
      progress: (images seen, images to see) -> None.
    Returns:
      The share of real images that it classifies rightly; the error is over draws of real images.
    Raises:
      UserError: too few images. ValueError: labels that do not fit.
    Source: Shmelkov et al. 2018, section 3.1; Ravuri and Vinyals 2019, section 3 (with a ResNet-50, trained on as many images as
      ImageNet has).
    """
    labels = _labels("labels", labels, source.classes)
    if len(labels) != len(images):
        raise ValueError(f"gan_train: {len(images)} images and {len(labels)} labels; give one for each")
    if len(images) < classifier.LEAST:
        raise UserError(f"gan_train: {len(images)} generated images cannot train a classifier; give {classifier.LEAST} or more")
    made = source._replace(n=len(images), read=lambda rows: images[rows], labels=labels.astype(np.int32))
    params = classifier.train(made, seed=seed, progress=progress).params
    tested = np.random.RandomState(0).permutation(source.n)[:TESTED]
    return share(round(classifier.accuracy(params, source, tested) * len(tested)), len(tested))


def _labels(name: str, labels, classes: int) -> np.ndarray:
    labels = np.asarray(labels)
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or not labels.size:
        raise ValueError(f"{name}: {labels.dtype} {labels.shape}; give integers [n], a class for each image")
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(f"{name}: from {labels.min()} to {labels.max()}; with {classes} classes they lie in [0, {classes})")
    return labels


def _by_class(name: str, rows: np.ndarray, labels, classes: int) -> Sequence[np.ndarray]:
    """The rows of each class."""
    labels = _labels(f"{name} labels", labels, classes)
    if len(labels) != len(rows):
        raise ValueError(f"{name}: {len(rows)} rows and {len(labels)} labels; give one for each")
    counts = np.bincount(labels, minlength=classes)
    if counts.min() < 2:
        which = int(counts.argmin())
        raise UserError(
            f"intra-class distance: {counts[which]} {name} images of class {which}; it needs at least 2 of each, and better "
            "more than there are features"
        )
    return [rows[labels == which] for which in range(classes)]
