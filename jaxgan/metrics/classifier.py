"""A small classifier, trained in about a minute on the labelled data set: features for data that Inception was not trained for.

Its penultimate layer has 64 numbers: a Frechet distance then needs hundreds of images, not tens of thousands, and 64 are
several times the classes of the sets it is meant for (digits, MNIST, CIFAR-10). It has no normalisation, so an image's
features do not depend on its batch. Larger images are averaged over whole blocks to at most 32 pixels: it sees no finer
detail. A distance on these features compares models of one data set; it is not comparable with any FID.
"""

import json
import math
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxgan.data.source import Source
from jaxgan.errors import UserError
from jaxgan.metrics.cache import cache_directory
from jaxgan.metrics.exact import conv, dense
from jaxgan.resample import in_squares
from jaxgan.typing import AnyArray, Array, Tree
from jaxgan.watch import counter
from jaxgan.whole import write_whole

VERSION = 1  # of the definition and the training below; part of the cache's file name and of the extractor's hash
FEATURES = 64
WIDTHS = (16, 32)
SIDE = 32  # pixels
BATCH = 128
LEARNING_RATE = 3e-3
OPTIMIZER = optax.adamw(1.0, weight_decay=1e-2)  # the step multiplies by the learning rate
EPOCHS, LEAST_SEEN, MOST_SEEN = 6, 60_000, 400_000  # images seen in training: 6 passes, between these numbers
LEAST = 200  # images in the set
HELD_OUT = 10_000  # at most, and at most a tenth of the set


class Trained(NamedTuple):
    """A trained classifier and facts about its training."""

    params: Any
    facts: dict[str, Any]  # data, fingerprint, version, seed, accuracy (on held_out images), seen, seconds


def trained(source: Source, *, seed: int = 0, show: bool = True) -> Trained:
    """The classifier of a data set: from the cache, or trained now and put there.

    Args:
      source: with class labels. A tenth of it, drawn by the seed, is held out to measure the accuracy.
      seed: of the weights and the order; the same seed gives the same classifier on the same machine.
      show: a progress bar.
    Returns:
      Trained.
    Raises:
      UserError: no class labels, too few images, or too small ones; a cache that cannot be written.
    """
    if source.labels is None or source.labels.ndim != 1 or source.classes < 2:
        raise UserError(
            f"{source.name}: a classifier needs class labels, and it has none; take a metric of other features, as swd2k"
        )
    if source.n < LEAST or min(source.shape[:2]) < 8:
        size = "x".join(map(str, source.shape[:2]))
        raise UserError(f"{source.name}: {source.n} images of {size} cannot train a classifier; give {LEAST} or more, from 8x8")
    path = cache_directory() / "classifiers" / f"{source.fingerprint}-v{VERSION}-seed{seed}.npz"
    found = load(path)
    if found is None:
        with counter(f"classifier of {source.name}", show) as update:
            found = train(source, seed=seed, progress=update)
        save(path, found)
    return found


def save(path: Path, classifier: Trained) -> None:
    """Write <path> (arrays) and the .json of the same name (facts), each under its name only when whole."""
    arrays = {f"{layer}.{leaf}": a for layer, leaves in classifier.params.items() for leaf, a in leaves.items()}
    try:
        write_whole(path.with_suffix(".json"), lambda file: file.write(json.dumps(classifier.facts, indent=1).encode()))
        write_whole(path, lambda file: np.savez(file, **arrays))
    except OSError as e:
        raise UserError(f"{path}: cannot be written ({e.strerror or e}); set JAXGAN_CACHE to a place that can") from None


def load(path: Path) -> Trained | None:
    """What `save` wrote; None if it is missing or damaged and has to be retrained."""
    try:
        facts = json.loads(path.with_suffix(".json").read_bytes())
        params: dict[str, Any] = {}
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            for name in arrays.files:
                layer, leaf = name.split(".")
                params.setdefault(layer, {})[leaf] = arrays[name]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return None
    return Trained(params, facts)


def train(source: Source, *, seed: int = 0, progress: Callable[[int, int], None] = lambda done, total: None) -> Trained:
    """Train it: AdamW, one cycle of the learning rate, batches of 128.

    Args:
      source, seed: as for `trained`, which has checked them.
      progress: (images seen, images to see) -> None.
    Returns:
      Trained.
    """
    begin = time.monotonic()
    rng = np.random.RandomState(seed)  # a stream that NumPy promises not to change
    order = rng.permutation(source.n)
    held_out = order[: min(HELD_OUT, source.n // 10)]
    rest = np.sort(order[len(held_out) :])
    seen = int(np.clip(EPOCHS * len(rest), LEAST_SEEN, MOST_SEEN))
    steps = -(-seen // BATCH)
    rates = np.asarray(jax.vmap(optax.cosine_onecycle_schedule(steps, LEARNING_RATE, 0.1))(np.arange(steps)))
    params = initial(rng, source.shape, source.classes)
    state = OPTIMIZER.init(params)
    waiting = np.zeros(0, np.int64)
    for i in range(steps):
        while len(waiting) < BATCH:
            waiting = np.concatenate([waiting, rng.permutation(rest)])
        batch, waiting = waiting[:BATCH], waiting[BATCH:]
        params, state = _step(params, state, source.read(batch), source.labels[batch], rates[i])
        if i % 20 == 0:
            jax.block_until_ready(params)  # so that the bar tells the truth, and no queue builds up
            progress(i * BATCH, steps * BATCH)
    params = jax.device_get(params)
    facts = {"data": source.name, "fingerprint": source.fingerprint, "version": VERSION, "seed": seed}
    facts |= {"accuracy": accuracy(params, source, held_out), "held_out": len(held_out)}
    return Trained(params, facts | {"seen": steps * BATCH, "seconds": round(time.monotonic() - begin, 1)})


@jax.jit
def _step(params, state, images, labels, rate):
    loss = lambda p: optax.softmax_cross_entropy_with_integer_labels(network(p, images)[1], labels).mean()
    updates, state = OPTIMIZER.update(jax.grad(loss)(params), state, params)
    return optax.apply_updates(params, jax.tree.map(lambda u: rate * u, updates)), state


def accuracy(params: Tree, source: Source, indices: np.ndarray) -> float:
    """The fraction of these images whose largest logit is that of their label."""
    forward, right = jax.jit(network), 0
    for start in range(0, len(indices), 500):
        part = indices[start : start + 500]
        logits = forward(params, source.read(np.resize(part, 500)))[1]  # one shape for all; what repeats is cut off
        right += int(np.sum(np.argmax(np.asarray(logits)[: len(part)], 1) == source.labels[part]))
    return right / len(indices)


def initial(rng: np.random.RandomState, shape: tuple[int, int, int], classes: int) -> dict[str, Any]:
    """Weights before training: normal, sqrt(2 / fan in) before an activation; the last layer of a residual block is zero."""
    narrow, wide = WIDTHS
    height, width = (n // _factor(shape) for n in shape[:2])
    flat = math.prod(-(-n // 2) // 4 for n in (height, width)) * wide
    kernels = {"stem": ((5, 5, shape[2], narrow), 2), "wide": ((3, 3, narrow, wide), 2)}
    for i in range(2):
        kernels |= {f"block{i}a": ((3, 3, wide, wide), 2), f"block{i}b": ((3, 3, wide, wide), 0)}
    kernels |= {"features": ((flat, FEATURES), 2), "logits": ((FEATURES, classes), 1)}
    params = {}
    for name, (size, gain) in kernels.items():
        kernel = rng.standard_normal(size) * math.sqrt(gain / math.prod(size[:-1]))
        params[name] = {"kernel": kernel.astype(np.float32), "bias": np.zeros(size[-1], np.float32)}
    return params


def network(params: Tree, images: AnyArray) -> tuple[Array, Array]:
    """The forward pass, in full float32.

    Args:
      params: {layer: {"kernel", "bias"}}, of `initial`'s shapes.
      images: uint8 [B, H, W, C] of the set's size.
    Returns:
      (features [B, 64], logits [B, classes]).
    """
    x = _average(images.astype(jnp.float32) * (2 / 255) - 1, _factor(images.shape[1:]))
    x = conv(jax.nn.silu(conv(x, params["stem"], 2)), params["wide"])
    for i in range(2):
        x = _average(x, 2)
        x = x + conv(jax.nn.silu(conv(jax.nn.silu(x), params[f"block{i}a"])), params[f"block{i}b"])
    x = jax.nn.silu(x).reshape(len(x), -1)
    features = jax.nn.silu(dense(x, params["features"]))
    return features, dense(features, params["logits"])


def _factor(shape):
    return -(-max(shape[:2]) // SIDE)


def _average(x, k):
    """Means of k x k blocks; rows and columns that fill no block are left out."""
    return in_squares(x, k).mean((2, 4)) if k > 1 else x
