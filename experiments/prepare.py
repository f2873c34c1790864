"""python -m experiments.prepare SOURCE DEST: write any set of images as a prepared TFDS directory."""

import signal
from dataclasses import dataclass
from typing import Annotated, Literal

import tyro
from rich.progress import Progress

from experiments.cli import parse, run_command
from jaxgan.data import open_source, summary
from jaxgan.data.prepare import check_destination, dataset_name, write
from jaxgan.watch import console


@dataclass(frozen=True)
class Prepare:
    """Write images as a prepared TFDS directory: scaled once, and not at every start of a run."""

    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE")]
    """A folder of images, a .zip or .tar of one, an .npz, a prepared directory, "digits" or a TFDS name."""
    dest: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DEST")]
    """The directory to write; it must not exist. With DIR/NAME/1.0.0, TFDS finds it by NAME with data_dir DIR."""
    name: str = ""
    """Name of the data set; '' takes it from DEST."""
    size: tuple[int, int] | None = None
    """Height and width that images are brought to (--fit); None keeps their own."""
    fit: Literal["crop", "pad"] = "crop"
    """How images of other proportions are brought to --size. crop: scaled to cover it, and the rest cut off; pad: scaled to fit
    in, and the rest filled with --background (with 4 channels transparent)."""
    channels: int | None = None
    """1 (grey), 3 (RGB) or 4 (RGBA); None: 1 if all images are grey, else 3."""
    background: str = "white"
    """Colour behind transparent pixels."""
    split: str = "train"
    """Split of SOURCE to use; DEST has it under the same name."""
    data_dir: str = ""
    """Where TFDS data sets are stored; '' is TFDS's default."""
    skip_broken: bool = False
    """Skip broken images instead of stopping at the first."""


def main(args: list[str] | None = None) -> int:
    how = parse(Prepare, args, prog="python -m experiments.prepare", examples=("photos/ ~/sets/photos --size 64 64",))
    signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGINT))  # so that what is half written is removed then too
    check_destination(how.dest)  # before the work, not after it
    dataset_name(how.dest, how.name)
    shown = console(stderr=True)
    with Progress(console=shown, transient=True, disable=not shown.is_terminal) as bar:
        reading = bar.add_task("reading", total=None)
        names = ("data_dir", "split", "size", "channels", "background", "fit", "skip_broken")
        progress = lambda done, total: bar.update(reading, completed=done, total=total)
        source = open_source(how.source, **{name: getattr(how, name) for name in names}, progress=progress)
        writing = bar.add_task("writing", total=source.n)
        progress = lambda done, total: bar.update(writing, completed=done)
        path = write(source, how.dest, name=how.name, split=how.split.partition("[")[0], progress=progress)
    print(f"{path}: {summary(source)}; train on them with --data {path}")
    return 0


if __name__ == "__main__":
    run_command(main)
