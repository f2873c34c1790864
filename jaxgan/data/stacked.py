"""StackedMNIST: three grey images in the three colour planes, so that 10 classes make 1,000 modes to be counted."""

import numpy as np

from jaxgan.data.source import Source, fingerprint
from jaxgan.errors import UserError

IMAGES = 128_000  # so many triples, as PacGAN and PresGAN draw
PREFIX = "stacked:"


def stacked(inner: Source) -> Source:
    """128,000 random triples of the images of a grey labelled set, always the same ones.

    The class of an image is 100 a + 10 b + c for the classes a, b, c of its red, green and blue plane (for 10 classes).

    Raises:
      UserError: colour images, or no class labels.
    Source: Metz et al. 2017 (Unrolled GAN), appendix; Lin et al. 2018 (PacGAN), section 4.1: 128,000 images.
    """
    if inner.shape[2] != 1 or inner.labels is None or inner.labels.ndim != 1:
        raise UserError(f"{PREFIX}{inner.name}: give a set of grey images with classes, such as {PREFIX}mnist")
    triples = np.random.RandomState(0).randint(0, inner.n, (IMAGES, 3))
    digits = inner.labels[triples].astype(np.int32)
    base = inner.classes
    names = inner.class_names or tuple(map(str, range(base)))

    def read(indices):
        planes = inner.read(triples[indices].ravel())
        return np.ascontiguousarray(planes.reshape(len(indices), 3, *inner.shape[:2]).transpose(0, 2, 3, 1))

    return Source(
        name=f"{PREFIX}{inner.name}",
        shape=(*inner.shape[:2], 3),
        n=IMAGES,
        read=read,
        labels=digits @ np.array([base**2, base, 1], np.int32),
        classes=base**3,
        class_names=tuple(f"{a}{b}{c}" for a in names for b in names for c in names),
        fingerprint=fingerprint(f"stacked {inner.fingerprint}"),
        skipped=inner.skipped,
        notes=inner.notes,
        planes=inner,
    )
