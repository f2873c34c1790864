"""The settings common to all runs, and what a config must define: its `Design`."""

import dataclasses
import inspect
import math
import os
from collections.abc import Hashable
from numbers import Integral, Real
from types import UnionType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Union, get_args, get_origin

import numpy as np

from jaxgan.data import Source, open_source
from jaxgan.data.source import Progress
from jaxgan.errors import UserError
from jaxgan.method import Game, Recipe


@dataclasses.dataclass(frozen=True)
class Settings:
    """The settings common to all runs."""

    run_dir: str = ""
    """Where the run lives; '' is runs/<config>."""
    kimg: float = 300.0
    """Length of training in thousands of images: steps times batch. With n updates of D per step, D sees n times as many."""
    batch: int = 32
    """Global batch size: images per step."""
    accum: int = 1
    """Gradient accumulation: micro-batches per batch, if the batch does not fit in memory. What compares the images of a batch,
    such as batch norm, sees only one of them."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Compute dtype of the networks; weights, statistics, penalties and losses are always float32."""
    remat: bool = False
    """Rematerialise the activations inside the networks' blocks in the backward pass: less memory, more time."""
    seed: int = 0
    """The config and the seed determine the run."""
    init: str | None = None
    """Fine-tune: start from trained networks instead of random ones. A run directory (its latest checkpoint; PATH@best or
    PATH@STEP for another), an official network pickle, or a .safetensors file (generator only). Arrays that do not fit are
    initialised at random and listed at the start; optimisers and kimg start afresh. Not read again once there is a checkpoint."""
    freeze: tuple[str, ...] = ()
    """Parameters to keep fixed: paths in which * matches anything, such as 'd/Block_0*'. For fine-tuning on few images, the
    layers of D nearest the image (FreezeD). If a pattern matches nothing, the error lists the paths there are."""
    data: str = "digits"
    """'digits', a TFDS name (mnist; mnist:test is that split of it) or prepared directory, a folder of images, a .zip or .tar of
    one, or an .npz."""
    data_dir: str = ""
    """Where TFDS data sets are stored; '' is TFDS's default."""
    split: str = "train"
    """Split of a TFDS set or .npz."""
    size: tuple[int, int] | None = None
    """Height and width that images are brought to (--fit); None keeps their own."""
    fit: Literal["crop", "pad"] = "crop"
    """How images of other proportions are brought to --size. crop: scaled to cover it, and the rest cut off; pad: scaled to fit
    in, and the rest filled with --background (with 4 channels transparent)."""
    channels: Literal[1, 3, 4] | None = None
    """1: grey, 3: colour, 4: with alpha; None keeps the images' own."""
    background: str = "white"
    """Colour behind transparent pixels."""
    skip_broken: bool = False
    """Skip broken images instead of stopping."""
    conditional: Literal["auto", "yes", "no"] = "no"
    """Train on the labels (classes or vectors); auto: if the data has any."""
    hold_out: int = 0
    """Number of images, chosen by the seed, to exclude from training: those that --augment-heuristic r_v uses; for paired
    data, those that are shown and measured; for unpaired data, so many of each set."""
    mirror: bool = False
    """Double the data set with x-flips."""
    jitter: int = 0
    """Random crops: enlarge each image by this many pixels, then crop to its size at a random place (pix2pix at 256: 30)."""
    resident: Literal["auto", "yes", "no"] = "auto"
    """Keep the data set in device memory; auto: if it takes up to 2 GiB."""
    tick_kimg: float = 2.0
    """How often to log, and to redraw the curves if that takes little of the time."""
    snapshot_kimg: float = 10.0
    """How often to write a grid of samples and a checkpoint; rounded to a whole number of ticks."""
    metrics: tuple[str, ...] = ()
    """Measured at snapshots, such as fd2k or fid10k (`python -m experiments.evaluate x --metrics help` lists them). The first
    that measures image quality selects the best checkpoint (coverage for precision and recall, KL for modes). If empty, a
    sliced Wasserstein distance of 1,024 images does."""
    metrics_kimg: float = 0.0
    """How often to measure, rounded to a whole number of snapshots; 0: at every snapshot."""
    keep: int = 2
    """Checkpoints to keep: this many of the latest, and the best."""
    posthoc: tuple[float, ...] = ()
    """Relative widths of two weight averages, such as 0.05 0.1, to save at each snapshot; `sample --average` then
    reconstructs an average of any width after training. Off if empty."""
    standing: int = 16
    """Batch norm's statistics for sampling: means over this many batches, with the averaged weights; 0 uses the moving
    statistics of training, which belong to the unaveraged weights."""
    resume: Literal["auto", "force", "never"] = "auto"
    """auto: resume if the run directory has a checkpoint, unless the config changed; force: resume with the changed config;
    never: refuse a directory that holds a run."""
    steps_per_call: int = 1
    """Steps per compiled call on an accelerator; worthwhile if a step takes only a few milliseconds. 0: the number measured
    to be fastest when the run starts. It affects rounding, so keep it the same to resume bit for bit."""
    cpu_devices: int = 0
    """On a CPU, the number of devices to split the cores and the batch among; 0: one per core, up to 8, if each gets at least
    8 images. The number of devices and the CPU affect the last bits of the run."""
    compile_cache: str = "auto"
    """Where to cache compiled programs: auto (JAX_COMPILATION_CACHE_DIR if set, else jaxgan's cache, if nobody else can write
    there), a folder, or off. Programs are trusted like code; no other folder is taken from a run's config.json."""
    profile: bool = False
    """Trace some steps, after the first ones, into the run's profile/."""
    tensorboard: bool = False
    """Also write TensorBoard events (needs tensorboardX)."""
    coordinator: str = ""
    """For several processes: host:port of process 0, or 'auto' on a cluster that provides it."""
    processes: int = 1
    """The number of processes."""
    process: int = 0
    """The index of this process."""

    if TYPE_CHECKING:  # what a config must define, for those who have one as Settings

        def design(self, shape: tuple[int, int, int], classes: int) -> Any:
            """Its `Design`, or several, of networks that grow, for images of this shape and this number of classes."""

    def open_data(self, progress: Progress) -> Source:
        """The images; raises UserError where they are not as the settings say. A config of pairs opens those."""
        return open_source(self.data, **self.how_to_open(progress))

    def how_to_open(self, progress: Progress) -> dict[str, Any]:
        """Keyword arguments of `open_source`."""
        names = ("data_dir", "split", "size", "channels", "background", "fit", "skip_broken")
        return {"progress": progress, **{name: getattr(self, name) for name in names}}


def made_alike(settings: dict[str, Any]) -> dict[str, Any]:
    """How a run's images were made alike, but for size and channels: keyword arguments of `open_source`.

    Args:
      settings: of its `config.json`; {} where there is none, and of older runs some are missing.
    """
    return {name: settings.get(name, getattr(Settings, name)) for name in ("background", "fit")}


WHERE = {
    *("run_dir", "data", "target", "data_dir", "skip_broken", "resident", "tick_kimg", "snapshot_kimg", "keep"),
    *("metrics", "metrics_kimg", "remat", "steps_per_call", "cpu_devices", "compile_cache", "profile", "standing"),
    *("resume", "tensorboard", "coordinator", "processes", "process"),
}
"""Settings that say where and how to run, not what is computed: these may change between a run and its resumption. The
data is compared by its fingerprint, not by where it lies."""


ABOVE_0 = {
    *("kimg", "tick_kimg", "snapshot_kimg", "batch", "accum", "keep", "processes"),
    *("width", "width_max", "z_dim", "group", "patch", "every", "share"),
}
"""Fields, of whichever config, that must be more than 0. The other numbers must be 0 or more, but for an `ema_kimg` of -1,
which is the paper's where a config has one (`method.check` refuses it elsewhere)."""


PLAIN = {
    int: (Integral, "a whole number"),
    float: (Real, "a number"),
    str: (str | os.PathLike, "text"),
    bool: (bool | np.bool_, "True or False"),
    type(None): (type(None), "None"),
}
"""What a field of each type takes from Python, and how that is said."""


def _fits(value, kind) -> bool:
    """Whether the command line would have taken a value for a field of this type; a list passes for a tuple. Of types that are
    no config's here (Any, a class, list[int]) nothing is known."""
    parts = get_args(kind)
    if get_origin(kind) is Literal:
        return isinstance(value, Hashable) and value in parts
    if get_origin(kind) in (Union, UnionType):
        return any(_fits(value, part) for part in parts)
    if get_origin(kind) is tuple:
        many = isinstance(value, tuple | list)
        parts = parts[:1] * len(value) if many and Ellipsis in parts else parts
        return many and len(parts) == len(value) and all(map(_fits, value, parts))
    return not isinstance(kind, type) or kind not in PLAIN or isinstance(value, PLAIN[kind][0])


def _check_types(settings: Settings) -> None:
    """UserError for a value that the command line would not have taken."""
    made = type(settings).__name__
    if "__dataclass_fields__" not in vars(type(settings)) and inspect.get_annotations(type(settings)):
        # Its defaults are those of the class that it is made of, whatever it says: silently another run.
        raise UserError(f"{made} has fields but is no dataclass: write @dataclasses.dataclass(frozen=True) above class {made}")
    for field in dataclasses.fields(settings):
        value, kind = getattr(settings, field.name), field.type
        if _fits(value, kind):
            continue
        wanted = f"one of {', '.join(map(str, get_args(kind)))}" if get_origin(kind) is Literal else f"a {kind}"
        wanted = f"a tuple, ({value!r},)" if get_origin(kind) is tuple and isinstance(value, str) else wanted
        hint = "; arrays and Sources come from a method open_data (docs/own.md)" if field.name == "data" else ""
        said = " ".join(f"{value!r:.60}".split())  # of an array one line
        raise UserError(f"--{field.name.replace('_', '-')} {said}: give {PLAIN.get(kind, ('', wanted))[1]}{hint}")


def check_numbers(settings: Settings) -> None:
    """UserError for a value of another type than its field's, or a number that no config has a meaning for."""
    _check_types(settings)
    for field in dataclasses.fields(settings):
        name, value = f"--{field.name.replace('_', '-')}", getattr(settings, field.name)
        for number in value if isinstance(value, tuple | list) else (value,):
            if isinstance(number, bool) or not isinstance(number, Real):
                continue
            if not math.isfinite(number):
                raise UserError(f"{name} {number}: give a finite number")
            if field.name in ABOVE_0 and number <= 0:
                raise UserError(f"{name} {number}: it must be above 0")
            if number < 0 and (field.name, number) != ("ema_kimg", -1):
                raise UserError(f"{name} {number}: it must be 0 or more")
            if field.name in ("b1", "b2") and number >= 1:
                raise UserError(f"{name} {number}: it must be below 1")
            if field.name == "augment_p" and number != field.default and not settings.augment:
                raise UserError(f"{name} {number:g}: it applies to augmentations, but --augment is empty; name one")


def steps_in_all(settings: Settings) -> int:
    """The length of a run: the first whole number of steps that shows as many images."""
    return math.ceil(round(settings.kimg * 1000, 6) / settings.batch)  # 16.1 * 1000 is a little more than 16,100


def steps_a_tick(settings: Settings) -> int:
    """How many steps lie between two lines of the log."""
    return max(1, round(settings.tick_kimg * 1000 / settings.batch))


def steps_a_snapshot(settings: Settings) -> int:
    """How many steps lie between two grids: a whole number of ticks, as those are in steps."""
    tick = steps_a_tick(settings)
    return tick * max(1, round(settings.snapshot_kimg * 1000 / (tick * settings.batch)))


def ends_snapshot(settings: Settings, at: int) -> bool:
    """Whether a grid and a checkpoint are due after `at` steps: regularly, and at the end. What is regular but less than a tick
    before the end is left to that: where a run is not a whole number of ticks long, it would be measured twice over."""
    left = steps_in_all(settings) - at
    return not left or (at % steps_a_snapshot(settings) == 0 and left >= steps_a_tick(settings))


def snapshots(settings: Settings) -> int:
    """How many `ends_snapshot` there are in a run."""
    total, apart = steps_in_all(settings), steps_a_snapshot(settings)
    return 1 + sum(ends_snapshot(settings, at) for at in range(apart, total, apart))


def steps_a_measurement(settings: Settings) -> int:
    """How many steps lie between two measurements: a whole number of snapshots."""
    snapshot = steps_a_snapshot(settings)
    return snapshot * max(1, round(settings.metrics_kimg * 1000 / (snapshot * settings.batch)))


class Design(NamedTuple):
    """What a config trains: the two networks, how they play, and the recipe. A config whose networks grow has several."""

    generator: Any
    discriminator: Any
    game: Game
    recipe: Recipe
    start_kimg: float = 0.0
    """From when on. The state then is grown out of that of the design before (`grow.grow_state`)."""
