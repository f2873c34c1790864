"""A trained generator, from a run directory or a file, ready to sample; and the discriminator that it was trained with."""

import bisect
import json
import re
import unicodedata
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Unpack

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxgan import checkpoint as checkpoints
from jaxgan import convert, description, label_vectors, latents, sample, translate, weights
from jaxgan.errors import UserError, nearest
from jaxgan.latents import Latents
from jaxgan.layers import check_input
from jaxgan.method import Verdict
from jaxgan.sample import Options
from jaxgan.typing import AnyArray, Label, Numbers, Tree


class Trained(NamedTuple):
    """A trained generator, ready to sample; needs no data set."""

    generator: nn.Module
    variables: dict[str, Tree]
    config: dict[str, Any]
    """The run's `config.json`."""
    step: int

    standing: int = 0
    """`Settings.standing` of the run."""
    vectors: np.ndarray | None = None
    """Label vectors [m, K] of the data, for a run on label vectors: drawn from if no label is given."""

    def __repr__(self) -> str:  # without pages of arrays
        return f"Trained({self.generator!r}, step={self.step})"

    def sample(self, n: Numbers, **options: Unpack[Options]) -> np.ndarray:
        """uint8 [n, H, W, C], or of the images of these numbers; options: seed, label, psi, threshold, noise and category, as in
        `jaxgan.sample.sample`, but labels may also be names of the data's classes."""
        return np.concatenate(list(self.stream(n, **options)))

    def stream(
        self,
        n: Numbers,
        *,
        seed: int = 0,
        label: Label | None = None,
        psi: float = 1.0,
        threshold: float | None = None,
        noise: str | None = None,
        category: Label | None = None,
    ) -> Iterator[np.ndarray]:
        """The same in pieces. With truncation, batch norm's statistics are those of the truncated z."""
        variables, label = self.truncated(psi, threshold).variables, numbered(label, self.config)
        if label is None and self.vectors is not None:
            label = label_vectors.drawn(self.vectors, seed, latents.numbers(n))
        options = {"seed": seed, "label": label, "psi": psi, "threshold": threshold, "noise": noise, "category": category}
        return sample.stream(self.generator, variables, n, **options)

    def truncated(self, psi: float, threshold: float | None = None) -> "Trained":
        """With batch-norm statistics for z truncated in this way, for `images`; the latents must be truncated alike."""
        if psi == 1 and threshold is None:
            return self
        options = {"psi": psi, "threshold": threshold, "vectors": self.vectors}
        return self._replace(variables=sample.standing(self.generator, self.variables, self.standing, **options))

    def latents(
        self,
        n: Numbers,
        *,
        seed: int = 0,
        label: Label | None = None,
        psi: float = 1.0,
        threshold: float | None = None,
        category: Label | None = None,
        first: int = 0,
    ) -> Latents:
        """The latents of the images of `sample`, to edit; see `jaxgan.latents.draw`."""
        label = numbered(label, self.config)
        if label is None and self.vectors is not None:
            label = label_vectors.drawn(self.vectors, seed, latents.numbers(n, first))
        options = {"seed": seed, "label": label, "psi": psi, "threshold": threshold, "category": category, "first": first}
        return latents.draw(self.generator, self.variables, n, **options)

    def images(self, codes: Latents, *, noise: str | None = None, transform: AnyArray | None = None) -> np.ndarray:
        """uint8 [n, H, W, C] of latents; see `jaxgan.latents.images`. Batch norm uses the statistics of `truncated`, else
        those without truncation."""
        return latents.images(self.generator, self.variables, codes, noise=noise, transform=transform)

    def mix(
        self,
        grid: tuple[Numbers, Numbers],
        layers: tuple[int, int] | None = None,
        *,
        seed: int = 0,
        label: Label | None = None,
        psi: float = 1.0,
        noise: str | None = None,
    ) -> np.ndarray:
        """uint8 [rows + 1, columns + 1, H, W, C]; see `jaxgan.sample.mix`. With label vectors, all share the first one drawn."""
        label = numbered(label, self.config)
        if label is None and self.vectors is not None:
            label = label_vectors.drawn(self.vectors, seed, 1)[0]
        return sample.mix(self.generator, self.variables, grid, layers, seed=seed, label=label, psi=psi, noise=noise)

    def translate(
        self, images: np.ndarray, *, reverse: bool = False, seed: int | None = 0, first: int = 0, same: bool = False
    ) -> np.ndarray:
        """Source images uint8 [n, H, W, C] -> uint8 [n, H, W, C]; see `jaxgan.translate.translate`. CycleGAN's A to B, or with
        `reverse` B to A."""
        one = self.one_way(reverse)
        return translate.translate(one.generator, one.variables, images, seed=seed, first=first, same=same)

    def at_size(self, height: int, width: int) -> "Trained":
        """For source images of another size than those of training: its layers are convolutions, and go over any. UserError of a
        generator that has no other size."""
        if not hasattr(self.generator, "sized"):
            raise UserError(f"{latents.kind(self.generator)} makes images of one size, {self.generator.shape[:2]}, only")
        return self._replace(generator=self.generator.sized((height, width)))

    def one_way(self, reverse: bool = False) -> "Trained":
        """One direction of CycleGAN's generator; see `jaxgan.translate.one_way`."""
        generator, variables = translate.one_way(self.generator, self.variables, reverse)
        return self._replace(generator=generator, variables=variables)


class Critic(NamedTuple):
    """A run's discriminator."""

    discriminator: nn.Module
    variables: dict[str, Tree]
    config: dict[str, Any]
    """The run's `config.json`."""
    step: int

    def __repr__(self) -> str:
        return f"Critic({self.discriminator!r}, step={self.step})"

    def judge(self, x: AnyArray, c: AnyArray | None = None) -> Verdict:
        """Its output for images, without augmentation or dropout; batch norm uses its moving statistics. Pure.

        Args:
          x: float [B, H, W, C] in [-1, 1].
          c: labels int [B], or vectors; as in training.
        Raises:
          ValueError: images that are not floats.
        """
        check_input("x", x, x.shape[1:])
        out = self.discriminator.apply(self.variables, x, c, train=False)
        return Verdict(*out) if isinstance(out, tuple) else Verdict(out)


def numbered(label: Label | None, config: Mapping[str, Any]) -> Label | None:
    """A label, or a sequence of them, with the number of a class instead of its name; anything else as it is.

    Args:
      config: the run's; {} of a file of weights, which knows no names.
    Raises:
      UserError: a name that no class has.
    """
    if isinstance(label, list | tuple) or isinstance(label, np.ndarray) and label.dtype.kind == "U" and label.ndim:
        return tuple(numbered(one, config) for one in label)
    if not isinstance(label, str):
        return label
    names = config.get("data", {}).get("class_names", [])
    if label not in names:  # macOS writes é into archives as e and an accent, and keyboards as one letter
        composed = partial(unicodedata.normalize, "NFC")
        names, label = [composed(name) for name in names], composed(label)
    if label not in names:
        has = f"they are {', '.join(names[:20])}{', ...' * (len(names) > 20)}"
        has = has if names else "no names of classes are known here, give its number"
        raise UserError(f"label {label}: there is no class of this name{nearest(label, names)}; {has}")
    return names.index(label)


def load(
    run: str | Path,
    *,
    checkpoint: str | int = "latest",
    average: float | None = None,
    generator: nn.Module | type[nn.Module] | None = None,
) -> Trained:
    """Load the averaged generator of a run directory, or a generator from a file.

    Args:
      run: the run directory; or an official .pkl of R3GAN, StyleGAN2-ADA or StyleGAN3, or a .safetensors of
        `convert.save_safetensors`.
      checkpoint: 'latest', 'best' or a step.
      average: relative width of another weight average, in (0, 0.2887), for a run with --posthoc; None for its own. It
        is reconstructed from the averages saved up to the checkpoint's step.
      generator: the module, for a run whose network is not in `jaxgan.models`; or its class, made with the run's fields. Where
        its module is imported already, the class is found without.
    Raises:
      UserError: not a run directory, no checkpoint yet, or a damaged one; an average that was not saved; an option where there
        is a file, which holds one generator.
    """
    if Path(run).is_file():
        given = {"checkpoint": checkpoint != "latest", "average": average is not None, "generator": generator is not None}
        if any(given.values()):
            raise UserError(f"{run}: a weight file holds one generator; leave out {max(given, key=given.get)}")
        generator, variables = convert.load(run)
        return Trained(generator, jax.tree.map(jnp.asarray, variables), {}, 0)
    config = read_config(run)
    variables, step = checkpoints.load_generator(Path(run) / "checkpoints", checkpoint)
    if average is not None:
        params, step = checkpoints.load_average(Path(run) / "averages", average, step)
        variables = variables | {"params": params}
    given, described = generator is not None, _described(config, step, "generator")
    generator = _given(generator, described) if given else description.build(described)
    if given or not description.is_ours(generator):
        weights.check(generator, variables, f"{run}")
    batches = config.get("settings", {}).get("standing", 0)
    vectors = label_vectors.read(Path(run))
    variables = sample.standing(generator, jax.tree.map(jnp.asarray, variables), batches, vectors=vectors)
    return Trained(generator, variables, config, step, batches, vectors)


def stage_at(starts: list[float], kimg: float) -> int:
    """The stage that trains at a time, of stages that start at these; the first one before it starts."""
    return max(bisect.bisect_right(starts, kimg) - 1, 0)


def load_discriminator(
    run: str | Path, *, checkpoint: str | int = "latest", discriminator: nn.Module | type[nn.Module] | None = None
) -> Critic:
    """Load the discriminator of a run directory; its parameters are those of training, not averaged.

    Args:
      run: the run directory; files hold only generators.
      checkpoint: 'latest', 'best' or a step.
      discriminator: the module or its class, for a run whose network is not in `jaxgan.models`.
    Raises:
      UserError: not a run directory, no checkpoint yet, or a damaged one.
    """
    if Path(run).is_file():
        raise UserError(f"{run}: a weight file holds only a generator; give a run directory")
    config = read_config(run)
    variables, step = checkpoints.load_discriminator(Path(run) / "checkpoints", checkpoint)
    described = _described(config, step, "discriminator")
    discriminator = description.build(described, BY_HAND) if discriminator is None else _given(discriminator, described)
    weights.check(discriminator, variables, f"{run}")
    return Critic(discriminator, jax.tree.map(jnp.asarray, variables), config, step)


BY_HAND = "restore.load_discriminator(run, discriminator={})"


def _given(module: nn.Module | type[nn.Module], described: dict[str, Any]) -> nn.Module:
    """The module, made with the fields described where it is a class."""
    return description.of_class(module, described) if isinstance(module, type) else module


def _described(config: dict[str, Any], step: int, who: str) -> dict[str, Any]:
    """'generator' or 'discriminator', as `describe` has it, of a run after so many steps: of the stage that made the last one."""
    stages = config.get("stages", ())
    if len(stages) < 2:
        return config[who]
    kimg = (step - 1) * config["settings"]["batch"] / 1000
    return stages[stage_at([stage["start_kimg"] for stage in stages], kimg)].get(who, config[who])


KINDS = {"generator": dict, "discriminator": dict, "settings": dict, "data": dict, "stages": list}
"""Parts of a config.json."""


def read_config(run: str | Path) -> dict[str, Any]:
    """The `config.json` of a run directory. Raises UserError if it is not one."""
    path = Path(run) / "config.json"
    at = re.fullmatch(r"(.+)(?:@|/checkpoints/)(latest|best|\d+)", str(run))
    if at and not path.exists() and (Path(at[1]) / "config.json").exists():
        raise UserError(f"{run}: give the run directory, {at[1]}, and --checkpoint {at[2]} (checkpoint= in Python)")
    if not Path(run).exists():
        raise UserError(f"{run}: there is no such run directory")
    try:
        config = json.loads(path.read_text())
        if not isinstance(config, dict) or not {"jaxgan", "generator"} <= config.keys():
            raise ValueError
        if not all(isinstance(config[name], kind) for name, kind in KINDS.items() if name in config):
            raise ValueError
        return config
    except (OSError, ValueError, RecursionError):
        raise UserError(f"{run}: not a run directory of jaxgan (no readable config.json of ours in it)") from None
