"""LPIPS: a perceptual distance of two images, VGG16's features with learned weights (version 0.1), in pure functions."""

from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan import feature_losses, parallel, tensors
from jaxgan.errors import UserError, one_line
from jaxgan.metrics import cache, exact
from jaxgan.resample import in_squares
from jaxgan.typing import AnyArray, Array, Tree

VGG = "https://download.pytorch.org/models/vgg16-397923af.pth"
LINEAR = "https://raw.githubusercontent.com/richzhang/PerceptualSimilarity/master/lpips/weights/v0.1/vgg.pth"
SHA256 = {
    VGG: "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
    LINEAR: "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",
}
"""Digests of the files; torchvision's begins as its name says."""
CONVOLUTIONS = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))
"""Numbers of torchvision's layers: between two blocks the image is halved."""
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # ImageNet's mean and deviation, of RGB in [-1, 1]
CHUNK = 8  # pairs a device and call
LEAST = 16  # pixels, which four halvings leave one of


def load(folder: str | Path | None = None, *, show: bool = True) -> Tree:
    """The official weights.

    Args:
      folder: holds torchvision's vgg16-397923af.pth (528 MiB) and LPIPS's vgg.pth (v0.1); None: downloaded once.
      show: a progress bar while downloading.
    Returns:
      What `weights` does.
    Raises:
      UserError: a file is missing and cannot be downloaded, or it is a different one.
    """
    paths = [cache.fetch(url, SHA256[url], show=show) if folder is None else _inside(folder, url) for url in (VGG, LINEAR)]
    for path, url in zip(paths, (VGG, LINEAR), strict=True):
        cache.check(path, SHA256[url])
    return weights(*map(tensors.read, paths))


def _inside(folder, url) -> Path:
    path = Path(folder).expanduser() / url.rsplit("/", 1)[1]
    if not path.is_file():
        names = " and ".join(url.rsplit("/", 1)[1] for url in SHA256)
        raise UserError(f"lpips: there is no {path}; give the folder that holds {names}, or put the file from {url} there")
    return path


def weights(vgg: Mapping[str, np.ndarray], linear: Mapping[str, np.ndarray]) -> Tree:
    """The network's arrays from the official state dicts.

    Args:
      vgg: torchvision's, {"features.0.weight": [cout, cin, 3, 3], "features.0.bias": [cout], ...}; the classifier is ignored.
      linear: LPIPS's, {"lin0.model.1.weight": [1, cout, 1, 1], ...}, not negative.
    Returns:
      One (convolutions, linear weights) for each block: ([{"kernel": float32 [3, 3, cin, cout], "bias": [cout]}, ...], [cout]).
    Raises:
      UserError: not the arrays of that network.
    """
    get = lambda state, name: np.asarray(state[name], np.float32)
    try:
        params = []
        for i, numbers in enumerate(CONVOLUTIONS):
            names = [f"features.{n}" for n in numbers]
            convolutions = [
                {"kernel": get(vgg, f"{n}.weight").transpose(2, 3, 1, 0), "bias": get(vgg, f"{n}.bias")} for n in names
            ]
            learned = get(linear, f"lin{i}.model.1.weight")
            if learned.shape != (1, len(convolutions[-1]["bias"]), 1, 1) or learned.min() < 0:
                raise ValueError(f"lin{i}.model.1.weight is {learned.shape}, its least {learned.min():g}")
            params.append((convolutions, learned.ravel()))
        jax.eval_shape(layers, params, jax.ShapeDtypeStruct((1, LEAST, LEAST, 3), jnp.float32))
    except (KeyError, TypeError, ValueError) as e:
        raise UserError(f"lpips: not the weights of VGG16 and LPIPS v0.1 ({one_line(e, 80)})") from None
    return params


def layers(params: Tree, x: AnyArray) -> list[Array]:
    """The features that are compared, scaled so that LPIPS is their `feature_losses.perceptual`; all in full float32.

    Args:
      params: from `load` or `weights`.
      x: [B, H, W, 1 or 3], float in [-1, 1]; grey is repeated. Sides of 16 or more.
    Returns:
      List of [B, h, w, C], one for each block: at every pixel the features over their length, times sqrt(weight C).
    Raises:
      UserError: at trace time, other images.
    """
    check(x.shape[1:])
    x = (x.astype(jnp.float32) - _wide(SHIFT)) / _wide(SCALE)
    found = []
    for i, (convolutions, learned) in enumerate(params):
        x = in_squares(x, 2).max((2, 4)) if i else x
        for p in convolutions:
            x = jax.nn.relu(exact.conv(x, p))
        length = jnp.sqrt(jnp.square(x).sum(3, keepdims=True))  # its gradient at 0 is infinite, but that of the ReLUs there 0
        found.append(x / (length + 1e-10) * jnp.sqrt(_wide(learned) * x.shape[3]))
    return found


def check(shape: tuple[int, int, int]) -> None:
    """UserError unless LPIPS takes images of this shape (H, W, C)."""
    height, width, channels = shape
    if min(height, width) < LEAST or channels not in (1, 3):
        size = f"{height}x{width} with {channels} channel{'s' * (channels != 1)}"
        raise UserError(f"lpips: images of {size}; it takes grey and colour ones with sides of {LEAST} or more")


def distance(params: Tree, x: AnyArray, y: AnyArray) -> Array:
    """LPIPS of pairs of images: sum_l mean_hw sum_c w_lc (f_l(x) - f_l(y))^2, f_l the features of unit length at every pixel.

    Args:
      params: from `load` or `weights`.
      x, y: [B, H, W, 1 or 3], float in [-1, 1]; grey is repeated. Sides of 16 or more.
    Returns:
      [B], float32, at least 0.
    Raises:
      UserError, ValueError: at trace time, other images; shapes that differ.
    Source: Zhang et al. 2018, eq. 1; net='vgg', version='0.1' of their code.
    """
    return feature_losses.perceptual(lambda x: layers(params, x), x, y)


def of_sets(params: Tree, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """LPIPS of paired images uint8 [n, H, W, C] on all devices of this process: float32 [n]."""
    return np.concatenate(list(parallel.in_chunks(_of_bytes, (), params, (x, y), CHUNK)))


def _of_bytes(params, x, y):
    return distance(params, *(a.astype(jnp.float32) / 127.5 - 1 for a in (x, y)))


def _wide(v):
    return jnp.asarray(v, jnp.float32).reshape(1, 1, 1, -1)
