"""Named protocols: how a number is measured. Two numbers are comparable only if everything here is the same."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from jaxgan.errors import UserError, nearest


class Protocol(NamedTuple):
    """How one metric is measured."""

    metric: str
    """A key of `measure.METRICS` (fid, kid, is, ...); of a generator equivariance, path; of pairs ssim, lpips."""
    features: str
    """inception (-pytorch-fid, -clean-fid), classifier, stacked, random, pixels or dinov2: see `measure.extractor`; lpips."""
    fakes: int
    """Number of generated images; 0: as many as there are (a folder)."""
    reals: int
    """Number of real images: the first of a fixed shuffle; 0: all of the split."""
    about: str
    """What it is, and whose published numbers it compares with."""
    mirror: bool = False
    """Use the real images and their x-flips."""
    options: dict[str, Any] = {}
    """Keyword arguments of the metric."""
    needs: str = "images"
    """What is measured: images, the generator itself (see `metrics.generators`), or pairs (generated images and targets)."""


def _stylegan(metric, fakes, about, **options):
    return Protocol(metric, "inception", fakes, 0, about, options=options)


def _equivariance(kind, about):
    return Protocol("equivariance", "pixels", 50_000, 0, about, options={"kind": kind}, needs="generator")


def _path(space, about):
    return Protocol("path", "lpips", 50_000, 0, about, options={"space": space}, needs="generator")


PROTOCOLS = {
    "fid50k_full": _stylegan("fid", 50_000, "FID as in StyleGAN2-ADA, StyleGAN3 and R3GAN: reals without x-flips", ddof=0),
    "fid50k_mirror": Protocol("fid", "inception", 50_000, 0, "the same with x-flips: not as published", True, {"ddof": 0}),
    "fid10k": _stylegan("fid", 10_000, "FID of 10,000 images: for curves; larger than with 50,000", ddof=0),
    "fid_folder": _stylegan("fid", 0, "FID of as many images as there are, TF1 resize: torch-fidelity's"),
    "fid_pytorch": Protocol("fid", "inception-pytorch-fid", 0, 0, "FID as in pytorch-fid"),
    "fid_clean": Protocol("fid", "inception-clean-fid", 0, 0, "FID as in clean-fid's mode 'clean'"),
    "kid50k": _stylegan("kid", 50_000, "KID, 100 subsets of 1,000, +- over subsets"),
    "is50k": _stylegan("is", 50_000, "Inception score, 10 parts, +- over parts"),
    "pr50k3": Protocol("manifold", "inception", 50_000, 50_000, "precision, recall (k = 3), density, coverage (k = 5)"),
    "fd_dinov2": Protocol("fid", "dinov2", 50_000, 0, "Frechet distance of DINOv2 ViT-L/14 features (dgm-eval)"),
    "fd10k": Protocol("fid", "classifier", 10_000, 0, "Frechet distance of features of a classifier of the data set"),
    "fd2k": Protocol("fid", "classifier", 2_000, 0, "fd10k of 2,000 images: for curves during training"),
    "kd10k": Protocol("kid", "classifier", 10_000, 0, "kernel distance of the classifier's features, +- over subsets"),
    "pr10k": Protocol("manifold", "classifier", 10_000, 10_000, "precision, recall (k = 3), density, coverage (k = 5)"),
    "cs10k": Protocol("is", "classifier", 10_000, 0, "the Inception score's formula on the classifier's classes"),
    "modes10k": Protocol("modes", "classifier", 10_000, 0, "classes reached and KL to the data's, by the classifier"),
    "modes26k": Protocol("modes", "stacked", 26_000, 0, "StackedMNIST: modes of 1,000 and KL, as VEEGAN and PacGAN count"),
    "auth10k": Protocol("authenticity", "classifier", 10_000, 0, "share not closer than a training image's fellow; fresh: reals"),
    "acc10k": Protocol("accuracy", "classifier", 10_000, 0, "label accuracy (GAN-test) by the classifier of the data set"),
    "cas10k": Protocol("gan_train", "classifier", 10_000, 0, "GAN-train (CAS): a classifier of generated images on real ones"),
    "ifd10k": Protocol("intra_fid", "classifier", 10_000, 0, "the mean of fd10k over the classes, each on its own"),
    "ifid50k": _stylegan("intra_fid", 50_000, "intra FID: the mean of the FID over the classes, each on its own"),
    "random10k": Protocol("fid", "random", 10_000, 0, "Frechet distance of random convolutional features, for any data"),
    "swd10k": Protocol("swd", "pixels", 10_000, 10_000, "sliced Wasserstein distance of pixels, grey levels (not ProGAN's)"),
    "swd2k": Protocol("swd", "pixels", 2_000, 2_000, "sliced Wasserstein distance of pixels, grey levels, of 2,000 images"),
    "eqt50k_int": _equivariance("integer", "EQ-T of StyleGAN3 in dB: translations by whole pixels"),
    "eqt50k_frac": _equivariance("fractional", "EQ-T_frac of StyleGAN3 in dB: translations by any distance"),
    "eqr50k": _equivariance("rotation", "EQ-R of StyleGAN3 in dB: rotations by any angle"),
    "ppl2_wend": _path("w", "perceptual path length as in StyleGAN2 and 3: in W, at the paths' ends, LPIPS"),
    "ppl2_zend": _path("z", "the same in Z, for generators without W: only comparable with the same"),
    "ssim": Protocol("ssim", "pixels", 0, 0, "SSIM of paired images to their targets, window 11, up to 1", needs="pairs"),
    "lpips": Protocol("lpips", "lpips", 0, 0, "LPIPS (VGG16, v0.1) of paired images to their targets", needs="pairs"),
}

SHORT = {
    **{"fid": "fid50k_full", "kid": "kid50k", "is": "is50k", "pr": "pr50k3"},
    **{"fd": "fd10k", "kd": "kd10k", "modes": "modes10k", "swd": "swd10k", "auth": "auth10k", "random": "random10k"},
    **{"acc": "acc10k", "cas": "cas10k", "ifd": "ifd10k", "ifid": "ifid50k"},
    **{"eqt": "eqt50k_int", "eqt_frac": "eqt50k_frac", "eqr": "eqr50k", "ppl": "ppl2_wend"},
}
"""Short names."""


def named(names: Sequence[str]) -> dict[str, Protocol]:
    """The protocols with these names; short names are expanded, and a text may hold several, `fid,kid`.

    Raises:
      UserError: an unknown name.
    """
    if isinstance(names, str):
        raise UserError(f"metrics are a tuple of names, such as ('fd2k',), not the text {names!r}")
    each = [name for text in names for name in str(text).replace(",", " ").split()]
    full = [SHORT.get(name, name) for name in each]
    for name in full:
        if name not in PROTOCOLS:
            listed = "python -m experiments.evaluate x --metrics help lists them"
            raise UserError(f"there is no metric {name!r}{nearest(name, (*SHORT, *PROTOCOLS))}; {listed}")
    return {name: PROTOCOLS[name] for name in full}


def of(needs: str) -> tuple[str, ...]:
    """The names of the protocols that are of 'images', 'generator' or 'pairs'."""
    return tuple(name for name, p in PROTOCOLS.items() if p.needs == needs)


def only(protocols: dict[str, Protocol], needs: str) -> None:
    """UserError, which says where it is measured, for one that needs something else."""
    what = {"images": "images", "generator": "a generator", "pairs": "pairs of images"}
    where = {"images": "FOLDER_OR_RUN", "generator": "RUN", "pairs": "RUN (of pairs)"}
    for name, p in protocols.items():
        if p.needs != needs:
            command = f"python -m experiments.evaluate {where[p.needs]} --metrics {name}"
            raise UserError(f"{name} is not measured on {what[needs]} but on {what[p.needs]}: {command}")
