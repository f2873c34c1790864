"""Feature extractors: pure functions from uint8 images to feature vectors, each with a name and a hash.

A distance is meaningful only together with its extractor: report its `name`, and key caches by its `hash`.
"""

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan import tensors
from jaxgan.data.source import Source
from jaxgan.errors import UserError
from jaxgan.metrics import cache, exact
from jaxgan.metrics import classifier as classifiers
from jaxgan.metrics import dinov2 as vit
from jaxgan.metrics import inception as inception_v3
from jaxgan.resample import in_squares
from jaxgan.typing import AnyArray, Array

RANDOM_WIDTHS = (32, 64, 96, 128)  # channels of random_conv's stages; its features are twice their sum


class Output(NamedTuple):
    """The output of one forward pass."""

    features: jax.Array  # float32 [B, F]
    logits: jax.Array | None  # float32 [B, K] class logits, for the inception score; None where there are no classes


class Extractor(NamedTuple):
    """A feature extractor. `forward` is pure, so it can be put under jit, pmap or shard_map with `params` as an argument."""

    name: str  # for people, with the protocol that it belongs to
    hash: str  # sha256 of definition and weights, 16 hexadecimal digits; equal hashes give equal features
    size: int  # F
    classes: int  # K, 0 without logits
    channels: int  # 3: colour; 1: grey; 0: takes what it is given
    params: Any  # arrays
    forward: Callable[[Any, jax.Array], Output]  # (params, uint8 [B, H, W, channels]) -> Output
    about: str = ""  # what a report should say of it, such as a classifier's accuracy

    def apply(self, images: AnyArray) -> Output:
        """uint8 [B, H, W, 1 or 3] -> Output, compiled once for each shape.

        Raises:
          ValueError: not such images.
        """
        return _run(self.forward, self.channels, self.params, images)


@partial(jax.jit, static_argnums=(0, 1))
def _run(forward, channels, params, images):
    return forward(params, to_channels(images, channels))


def to_channels(images: AnyArray, channels: int) -> Array:
    """Images with the channels that an extractor takes: grey is repeated, otherwise they must match.

    Args:
      images: uint8 [B, H, W, C].
      channels: 0 for any.
    Raises:
      ValueError: at trace time, other images.
    """
    if images.ndim != 4 or images.dtype != jnp.uint8:
        raise ValueError(f"features: images must be uint8 [B, H, W, C], not {images.dtype} {images.shape}")
    if channels == 3 and images.shape[3] == 1:
        return jnp.repeat(images, 3, 3)
    if channels and images.shape[3] != channels:
        raise ValueError(f"features: the images have {images.shape[3]} channels, the extractor takes {channels}")
    return images


def notes(extractor: Extractor, shape: tuple[int, int, int]) -> tuple[str, ...]:
    """Notes to show when images of this shape are measured with this extractor, one line each.

    Args:
      shape: (H, W, C).
    Raises:
      UserError: the extractor cannot take such images.
    """
    channels = shape[2]
    if extractor.channels and channels != extractor.channels and (extractor.channels, channels) != (3, 1):
        raise UserError(
            f"{extractor.name}: takes {'colour' if extractor.channels == 3 else 'grey'} images, and these have "
            f"{channels} channels; measure the pixels (swd10k), or open images with channels={extractor.channels}"
        )
    grey = f"{extractor.name}: grey images, the one channel repeated to three"
    said = (extractor.about,) if extractor.about else ()
    return (*said, grey) if (extractor.channels, channels) == (3, 1) else said


def fingerprint(definition: str, params: Any) -> str:
    """The hash of an extractor: sha256 of its definition and of every array's name, dtype, shape and bytes."""
    sha = hashlib.sha256(definition.encode())
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        leaf = np.ascontiguousarray(leaf)
        sha.update(f"{jax.tree_util.keystr(path)} {leaf.dtype} {leaf.shape}".encode() + leaf.tobytes())
    return sha.hexdigest()[:16]


def inception(weights: str | Path | None = None, *, way: str = "tf1", show: bool = True) -> Extractor:
    """The FID Inception-v3: 2048 pool features, 1008 logits (without bias, as the inception score takes them).

    Args:
      weights: path of pt_inception-2015-12-05-6726825d.pth; None uses the cached file, downloaded once.
      way: how images are resized and scaled, see `inception.prepare`: "tf1" (also NVIDIA's and torch-fidelity's),
        "pytorch-fid", "clean-fid". Numbers of different ways are not comparable.
      show: a progress bar while downloading.
    Raises:
      UserError: the file is missing and cannot be downloaded; it is a different file; an unknown way.
    """
    _check_way(way)
    if weights is None:
        weights = cache.fetch(inception_v3.URL, inception_v3.SHA256, show=show)
    cache.check(Path(weights), inception_v3.SHA256)
    return inception_of(tensors.read(weights), way=way)


def inception_of(state: dict[str, np.ndarray], *, way: str = "tf1") -> Extractor:
    """The same from a given state dict, whatever its values.

    Args:
      state: {PyTorch's name: array}, see `inception.weights`.
      way: see `inception`.
    Raises:
      UserError: not the arrays of that network; an unknown way.
    """
    _check_way(way)
    params = inception_v3.weights(state)
    version = 2 if way == "clean-fid" else 1  # of what the network is fed: another one has other features
    hash = fingerprint(f"inception-2015-12-05 {way} {version}", params)
    classes = params["fc"]["kernel"].shape[1]
    name = f"inception-{way}"
    return Extractor(name, hash, 2048, classes, 3, jax.device_put(params), partial(_inception, way))


def _check_way(way) -> None:
    if way not in inception_v3.WAYS:
        raise UserError(f"inception: way is {way!r}; give one of {', '.join(inception_v3.WAYS)}")


def _inception(way, params, images):
    return Output(*inception_v3.network(params, inception_v3.prepare(images, way)))


def classifier(source: Source, *, seed: int = 0, show: bool = True) -> Extractor:
    """The 64 penultimate features and the logits of a small classifier of the data set itself (see `metrics.classifier`).

    Args:
      source: the labelled set; trained once in about a minute, then taken from the cache.
      seed: of the classifier.
      show: a progress bar while it is trained.
    Raises:
      UserError: the set has no class labels, or too few images.
    """
    found = classifiers.trained(source, seed=seed, show=show)
    params, facts = jax.device_put(found.params), found.facts
    name = f"classifier-{source.name}" + (f"-seed{seed}" if seed else "")
    about = f"{name}: {facts['accuracy']:.2%} of {facts['held_out']} held-out images right"
    hash = fingerprint(f"classifier {classifiers.VERSION}", found.params)
    return Extractor(name, hash, classifiers.FEATURES, source.classes, source.shape[2], params, _classifier, about)


def _classifier(params, images):
    return Output(*classifiers.network(params, images))


def stacked(source: Source, *, seed: int = 0, show: bool = True) -> Extractor:
    """For StackedMNIST: the classifier of the grey set applied to every colour plane.

    Features: those of the planes, concatenated. Logits: log p of every combination of the planes' classes, the first plane
    varying slowest (three digits: their number), so `modes.modes` counts their argmax.

    Args:
      source: a stacked set, with its grey set in `planes`.
      seed, show: as for `classifier`.
    Raises:
      UserError: the set is not a stacked one.
    """
    if source.planes is None:
        raise UserError(f"{source.name}: is not a stacked set; give stacked:mnist, or another metric")
    grey = classifier(source.planes, seed=seed, show=show)
    planes = source.shape[2]
    hash = fingerprint(f"stacked {planes} {grey.hash} 1", ())
    size, classes = planes * grey.size, grey.classes**planes
    return Extractor(f"stacked-{grey.name}", hash, size, classes, planes, grey.params, _stacked, grey.about)


def _stacked(params, images):
    b, h, w, planes = images.shape
    features, logits = classifiers.network(params, jnp.moveaxis(images, 3, 1).reshape(b * planes, h, w, 1))
    logp = jax.nn.log_softmax(logits).reshape(b, planes, -1)
    joint = logp[:, 0]
    for i in range(1, planes):
        joint = (joint[:, :, None] + logp[:, i, None, :]).reshape(b, -1)
    return Output(features.reshape(b, -1), joint)


def random_conv(*, seed: int = 0) -> Extractor:
    """Features of a convolutional network with random weights: no data, no download, any images.

    Four 3x3 convolutions, the first at full resolution, each further one at half the previous, leaky ReLU 0.2 after each;
    from every stage the mean and maximum over the image. They capture colour, contrast and texture at four scales, but no
    objects: a distance on them orders blur, noise and missing modes, and is not comparable with any published number.

    Args:
      seed: of the weights, which are the same on every machine (NumPy's RandomState).
    Source: Naeem et al. 2020 and others use random networks where ImageNet's are unsuitable; this network is our own.
    """
    rng, params, cin = np.random.RandomState(seed), [], 3
    for cout in RANDOM_WIDTHS:
        kernel = rng.standard_normal((3, 3, cin, cout)) * np.sqrt(2 / (9 * cin))
        params.append((kernel.astype(np.float32), (0.2 * rng.standard_normal(cout)).astype(np.float32)))
        cin = cout
    hash = fingerprint("random_conv 1", params)
    size = 2 * sum(RANDOM_WIDTHS)
    return Extractor(f"random-conv-seed{seed}", hash, size, 0, 3, jax.device_put(params), _random_conv)


def _random_conv(params, images):
    x, pooled = images.astype(jnp.float32) * (2 / 255) - 1, []
    for i, (kernel, bias) in enumerate(params):
        x = jax.nn.leaky_relu(exact.conv(x, {"kernel": kernel, "bias": bias}, 2 if i else 1), 0.2)
        pooled += [x.mean((1, 2)), x.max((1, 2))]
    return Output(jnp.concatenate(pooled, 1), None)


def pixels(shape: tuple[int, int, int], *, side: int = 16) -> Extractor:
    """The pixels themselves in [0, 1], averaged over whole blocks to at most `side` rows and columns.

    Args:
      shape: (H, W, C) of the images.
      side: pixels; rows and columns that do not fill a block are dropped.
    """
    h, w, c = shape
    k = -(-max(h, w) // side)
    size = (h // k) * (w // k) * c
    if size == 0:
        raise UserError(f"pixels: images of {h}x{w} have a side below a block of {k}; give a larger side than {side}")
    name = f"pixels-{h // k}x{w // k}x{c}"
    return Extractor(name, fingerprint(f"pixels {shape} {k} 1", ()), size, 0, c, (), partial(_pixels, tuple(shape), k))


def _pixels(shape, k, params, images):
    if images.shape[1:] != shape:
        raise ValueError(f"features: the images are {images.shape[1:]}, the extractor takes {shape}")
    x = in_squares(images, k).astype(jnp.float32) * (1 / 255)
    return Output(x.mean((2, 4)).reshape(len(x), -1), None)


def dinov2(weights: str | Path) -> Extractor:
    """DINOv2's class token: of ViT-L/14 (1024 features), as in FD-DINOv2; the other sizes work too.

    Images are resized to 224x224 by Pillow's bicubic on uint8 and normalised by ImageNet's mean and deviation.

    Args:
      weights: the official file (dinov2_vitl14_pretrain.pth), or a safetensors file with the official names.
    Raises:
      UserError: missing, damaged, or different weights.
    """
    params = vit.weights(tensors.flat(tensors.read(weights)))
    hash = fingerprint("dinov2 224 1", params)
    width = params["norm"]["scale"].shape[0]
    return Extractor(f"dinov2-{vit.NAMES.get(width, width)}", hash, width, 0, 3, jax.device_put(params), _dinov2)


def _dinov2(params, images):
    return Output(vit.network(params, vit.prepare(images)), None)
