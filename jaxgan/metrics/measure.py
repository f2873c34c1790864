"""All metrics in one pass over generated images."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxgan.data import Source
from jaxgan.errors import UserError
from jaxgan.metrics import conditional, features, frechet, inception_score, kernel, manifold, memorization, modes, sliced
from jaxgan.metrics.contract import Estimate
from jaxgan.metrics.extraction import Rows, generated, reals
from jaxgan.metrics.protocols import Protocol, named, only
from jaxgan.typing import AnyArray

SHOWN = 256  # generated images, among which `_authenticity` looks for those nearest to training images


class Result(NamedTuple):
    """The result of one protocol."""

    name: str
    """Name of the protocol."""
    values: dict[str, Estimate]
    """One number, or several (precision, recall, ...), each with its uncertainty (NaN where none is known)."""
    fakes: int
    reals: int
    notes: tuple[str, ...] = ()
    """Notes to read with it."""
    pictures: np.ndarray | None = None
    """Rows of images [n, 1 + k, H, W, C]: a generated one and its nearest training images."""
    extractor: str = ""
    """Name and hash of what the features are of: numbers of two hashes are not comparable."""
    corrected: float = math.nan
    """Of a Frechet distance: without its bias of order 1/n in the number of generated images (`frechet.jackknife`); else NaN."""


def extractor(kind: str, source: Source, weights: dict[str, str] | None = None, show: bool = True) -> features.Extractor:
    """The extractor of a protocol's `features`, for a data set.

    Args:
      kind: inception, inception-pytorch-fid, inception-clean-fid, dinov2, classifier, stacked, random or pixels.
      source: the data set that the classifier is trained on.
      weights: {'inception' or 'dinov2': path of a weight file, '' for the usual one}.
      show: progress bars.
    Raises:
      UserError: weights that are missing or wrong; a classifier for a set without classes.
    """
    path = (weights or {}).get(kind.partition("-")[0]) or None
    if kind.startswith("inception"):
        return features.inception(path, way=kind.partition("-")[2] or "tf1", show=show)
    if kind == "dinov2" and not path:
        raise UserError("the DINOv2 metrics need its weights; give --dinov2 PATH of dinov2_vitl14_pretrain.pth")
    make = {
        "dinov2": lambda: features.dinov2(path),
        "classifier": lambda: features.classifier(source, show=show),
        "stacked": lambda: features.stacked(source, show=show),
        "random": lambda: features.random_conv(),
        "pixels": lambda: features.pixels(source.shape),
    }
    return make[kind]()


class Found(NamedTuple):
    """What one of `METRICS` finds."""

    values: dict[str, Estimate]
    """by name, '' if there is only one"""
    notes: tuple[str, ...] = ()
    pictures: np.ndarray | None = None
    corrected: float = math.nan


def _fid(p: Protocol, e, source, fake: Rows, progress) -> Found:
    real = reals(source, e, p.reals, p.mirror, rows=False, progress=progress)
    n = len(fake.features)
    if n < 2:
        raise UserError(f"{n} generated images are too few for a Frechet distance; give at least 2, better {e.size + 1} or more")
    found = frechet.estimate_all(real, fake.features, **p.options)
    return Found({"": Estimate(found.value, found.error)}, corrected=found.corrected)


def _rows_of(p: Protocol, e, source, progress):
    return reals(source, e, p.reals, p.mirror, rows=True, progress=progress)


def _modes(p: Protocol, e, source, fake: Rows, progress) -> Found:
    found = modes.modes(fake.logits.argmax(1), e.classes, reference=np.bincount(source.labels, minlength=e.classes))
    values = {"count": Estimate(found.count, float("nan")), "kl": Estimate(found.kl, found.kl_error)}
    return Found(values, (f"as many draws of the data: {found.perfect_count:.5g} classes and a KL of {found.perfect_kl:.2g}",))


def _manifold(p: Protocol, e, source, fake: Rows, progress) -> Found:
    return Found(manifold.manifold(_rows_of(p, e, source, progress), fake.features, **p.options)._asdict())


def _authenticity(p: Protocol, e, source: Source, fake: Rows, progress) -> Found:
    """The share, and a picture of the generated images nearest to a training image, among the first ones."""
    found = memorization.authenticity(_rows_of(p, e, source, progress), fake.features, k=5)
    order = np.argsort(found.ratios[: len(fake.images)])[:16]
    pictures = memorization.neighbour_rows(fake.images[order], source.read, found.indices[order])
    return Found({"": found.share, "fresh": found.fresh}, pictures=pictures)


def _swd(p: Protocol, e, source: Source, fake: Rows, progress) -> Found:
    found = sliced.sliced(_rows_of(p, e, source, progress), fake.features, **p.options)
    return Found({"": Estimate(255 * found.value, 255 * found.error)})  # of pixels, which are in 0..1: grey levels, as in the log


def _accuracy(p: Protocol, e, source: Source, fake: Rows, progress) -> Found:
    found = conditional.accuracy(fake.logits.argmax(1), fake.labels, source.classes)
    return Found({"": found.value, "lowest": found.worst}, (f"label accuracy is lowest for {_name(source, found.which)}",))


def _intra_fid(p: Protocol, e, source: Source, fake: Rows, progress) -> Found:
    real = _rows_of(p, e, source, progress)
    found = conditional.intra_frechet(real, source.labels, fake.features, fake.labels, source.classes, **p.options)
    few = frechet.warning(*(int(np.bincount(labels).min()) for labels in (fake.labels, source.labels)), e.size)
    said = f"the intra-class distance is largest for {_name(source, found.which)}"
    return Found({"": found.value, "largest": found.worst}, (said, *([f"of the rarest class: {few}"] if few else [])))


def _gan_train(p: Protocol, e, source: Source, fake: Rows, progress) -> Found:
    return Found({"": conditional.gan_train(fake.images, fake.labels, source, progress=progress)})


def _name(source: Source, which: int) -> str:
    return f"class {source.class_names[which] if source.class_names else which}"


METRICS: dict[str, Callable[..., Found]] = {
    "fid": _fid,
    "kid": lambda p, e, s, fake, say: Found({"": kernel.kid(_rows_of(p, e, s, say), fake.features, **p.options)}),
    "is": lambda p, e, s, fake, say: Found({"": inception_score.inception_score(fake.logits, **p.options)}),
    "manifold": _manifold,
    "swd": _swd,
    "modes": _modes,
    "authenticity": _authenticity,
    "accuracy": _accuracy,
    "intra_fid": _intra_fid,
    "gan_train": _gan_train,
}
"""(protocol, extractor, source, the generated images, progress) -> what is found."""

LABELLED = ("accuracy", "intra_fid", "gan_train")
"""Those that need the classes that the images were made for."""


QUALITY = {
    **{"fid": ("", 1), "kid": ("", 1), "swd": ("", 1), "modes": ("kl", 1), "is": ("", -1), "manifold": ("coverage", -1)},
    **{"intra_fid": ("", 1), "gan_train": ("", -1)},
}
"""metric -> which of its numbers measures quality, and 1 if lower is better, -1 if higher is. Authenticity is not listed:
pure noise is perfectly authentic. Nor are precision, recall and label accuracy: one good image (of each class) is perfect."""


def score(results: list[Result], protocols: dict[str, Protocol]) -> float | None:
    """A generator's quality by the first of its results that measures it, lower is better; None if none does."""
    for r in results:
        if protocols[r.name].metric in QUALITY:
            name, sign = QUALITY[protocols[r.name].metric]
            return sign * r.values[name].value
    return None


def scored_by(protocols: dict[str, Protocol]) -> str:
    """The name of the protocol that `score` takes; "" where none measures quality."""
    return next((name for name, p in protocols.items() if p.metric in QUALITY), "")


class Meter(NamedTuple):
    """Protocols prepared for one data set: extractors are built once and used at every snapshot of a run."""

    protocols: dict[str, Protocol]
    extractors: dict[str, features.Extractor]
    source: Source

    @property
    def fakes(self) -> int:
        """Number of generated images that the largest protocol needs."""
        return max(p.fakes for p in self.protocols.values())


def ready(names: Sequence[str], source: Source, *, weights: dict[str, str] | None = None, show: bool = True) -> Meter:
    """The protocols of these names on a data set.

    Args:
      names: of `protocols.PROTOCOLS` or `SHORT`.
      source: the real images.
      weights: as `extractor`.
      show: progress bars for what is downloaded or trained first.
    Raises:
      UserError: an unknown name, a metric that is not of images, missing weights, images that an extractor does not take.
    """
    protocols = named(names)
    if not protocols:
        raise UserError("no metric is named; --metrics takes one or more, such as fd10k or fid")
    only(protocols, "images")
    extractors = {kind: extractor(kind, source, weights, show) for kind in {p.features for p in protocols.values()}}
    for e in extractors.values():
        features.notes(e, source.shape)
    return Meter(protocols, extractors, source)


def check_labels(protocols: dict[str, Protocol], known: bool, what: str) -> None:
    """UserError where a metric needs the classes of generated images and these have none; `what` says whose they are."""
    for name, p in protocols.items():
        if p.metric in LABELLED and not known:
            raise UserError(
                f"{name} is of images that were made for the classes of the real ones, and {what} has none such; it takes a "
                "conditional run, or images in a sub-folder for each class, named as the real ones'"
            )


def measure(
    meter: Meter,
    batches: Iterable[np.ndarray],
    *,
    labels: AnyArray | None = None,
    limit: int = 0,
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> list[Result]:
    """Compute all metrics in one pass over generated images.

    Args:
      meter: from `ready`.
      batches: yields uint8 [k, H, W, C], not sorted by class; consumed until there are enough.
      labels: int [n] or more, the real images' classes that these were made for, in their order; None where they have none.
      limit: use at most this many images if a protocol asks for more (such as a folder's size); 0 for no limit.
      progress: (what, done, total) -> None.
    Raises:
      UserError: too few images, NaN features, a metric that needs labels without them.
    """
    check_labels(meter.protocols, labels is not None, "what is measured")
    protocols = {name: _fitted(p, limit, meter.source.n) for name, p in meter.protocols.items()}
    kinds = list(meter.extractors)
    need = max((p.fakes for p in protocols.values()), default=0)
    need = 0 if any(p.fakes == 0 for p in protocols.values()) else need
    kept: list[np.ndarray] = []
    batches = _remembered(batches, kept, max(map(_images, protocols.values()), default=0))
    found = generated(batches, [meter.extractors[k] for k in kinds], need, lambda *n: progress("generated images", *n))
    rows, results = dict(zip(kinds, found, strict=True)), {}
    images = np.concatenate(kept) if kept else None
    moments_last = lambda item: item[1].metric == "fid"  # they follow from rows that are cached, not rows from them
    for name, p in sorted(protocols.items(), key=moments_last):
        e, all_rows = meter.extractors[p.features], rows[p.features]
        n = p.fakes or len(all_rows.features)
        fake = Rows(*(None if part is None else part[:n] for part in (*all_rows[:2], labels, images)))
        say = lambda *at: progress("real images", *at)
        real = min(p.reals or meter.source.n, meter.source.n) * (2 if p.mirror else 1)
        found = METRICS[p.metric](p, e, meter.source, fake, say)
        notes = (*features.notes(e, meter.source.shape), *found.notes)
        if p.fakes != meter.protocols[name].fakes and meter.protocols[name].fakes:
            notes = (*notes, f"of {n} images: not comparable with {name} of {meter.protocols[name].fakes}")
        if p.options != meter.protocols[name].options:
            notes = (*notes, f"{name} in subsets of {p.options['size']}, as there are few images: compare its ± with such only")
        if p.metric == "fid" and (few := frechet.warning(n, real, e.size)):
            notes = (*notes, few)
        results[name] = Result(name, found.values, n, real, notes, found.pictures, f"{e.name} {e.hash}", found.corrected)
    return [results[name] for name in protocols]


def _fitted(p: Protocol, limit: int, n: int) -> Protocol:
    """The protocol for at most `limit` generated images (0: any number) and n real ones: KID's subsets are at most half as large
    (those of all images are all the same and spread by nothing), and precision and recall are of as many generated images, as
    recall falls with more (`manifold.manifold`)."""
    fakes = limit if limit and not 0 < p.fakes <= limit else p.fakes
    few = min(p.reals or n, n) * (2 if p.mirror else 1)
    fakes = min(fakes, few) if p.metric == "manifold" else fakes
    few = min(few, fakes) if fakes else few
    small = p.metric == "kid" and few < 2 * p.options.get("size", 1000)
    return p._replace(fakes=fakes, options=p.options | {"size": max(few // 2, 2)} if small else p.options)


def _images(p: Protocol) -> float:
    """How many of the generated images themselves a metric needs."""
    return {"authenticity": SHOWN, "gan_train": p.fakes or math.inf}.get(p.metric, 0)


def _remembered(batches, kept: list[Any], n: float):
    for x in batches:
        if sum(map(len, kept)) < n:
            kept.append(x)
        yield x


def as_json(result: Result, protocol: Protocol) -> dict[str, Any]:
    """A result with its protocol, for a line of metrics.jsonl."""
    number = lambda x: x if np.isfinite(x) else None
    values = {name or "value": [number(estimate.value), number(estimate.error)] for name, estimate in result.values.items()}
    line = {"metric": result.name, **values, "fakes": result.fakes, "reals": result.reals, "notes": list(result.notes)}
    line |= {"extractor": result.extractor} if result.extractor else {}
    line |= {"corrected": result.corrected} if np.isfinite(result.corrected) else {}
    return line | {"protocol": {k: v for k, v in protocol._asdict().items() if k != "about"}}
