"""`python -m experiments.sample RUN [--n 64] [--seed 0] [--label K] [--psi 1.0] [--out samples.png | samples.npz | a folder]`."""

import dataclasses
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from experiments.cli import parse, run_command
from jaxgan.errors import UserError


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Images from a trained run; needs no data set."""

    run: Annotated[str, tyro.conf.Positional]
    """The run directory."""
    n: int = 64
    """How many images."""
    rows: int = 0
    """A grid of so many rows in place of --n: a column for each class, up to 16; else ten columns."""
    seed: int = 0
    """Image i is a function of the seed, i and its label, however many are made."""
    label: int | None = None
    """The class of all of them; by default drawn, where the run was trained on labels."""
    psi: float = 1.0
    """Truncation: below 1 nearer to the middle of the distribution."""
    threshold: float | None = None
    """BigGAN's truncation: numbers of z beyond +- this are drawn again."""
    out: str = "samples.png"
    """A .png gets one grid, an .npz the array `images` (and `labels`, where one was given), anything else is a folder of
    single images."""
    checkpoint: str = "latest"
    """latest, best, or a step."""
    average: float | None = None
    """Relative width of the weight average, such as 0.1: the last tenth. For runs with --posthoc; without it the run's own."""


def asked(args: Arguments, classes: int):
    """How many images, of which class or classes, and how many columns a grid of them has."""
    if not args.rows:
        return args.n, args.label, None
    columns = classes if 1 < classes <= 16 else 10
    by_class = args.label is None and columns == classes
    return args.rows * columns, np.arange(args.rows * columns) % columns if by_class else args.label, columns


def main() -> None:
    args = parse(Arguments, prog="python -m experiments.sample")
    out = Path(args.out)
    if out.suffix.lower() in (".jpg", ".jpeg", ".webp", ".npy"):
        raise UserError(f"--out {args.out}: write a .png, an .npz or a folder")
    from jaxgan import sample, watch

    which = args.checkpoint
    if which not in ("latest", "best") and not which.isdigit():
        raise UserError(f"--checkpoint {which}: it is latest, best or a step")
    trained = sample.load(args.run, checkpoint_step=which, average=args.average)
    n, label, columns = asked(args, trained.generator.classes)
    images = trained.sample(n, seed=args.seed, label=label, psi=args.psi, threshold=args.threshold)
    try:
        if out.suffix.lower() == ".png":
            watch.write_picture(watch.grid(images, columns=columns), out)
        elif out.suffix.lower() == ".npz":
            out.parent.mkdir(parents=True, exist_ok=True)
            label = {} if label is None else {"labels": np.broadcast_to(np.int32(label), n)}
            np.savez_compressed(out, images=images, **label)
        else:
            for i, image in enumerate(images):
                watch.write_picture(watch.grid(image[None], pad=0, least=1), out / f"seed{args.seed}_{i:06d}.png")
    except OSError as e:
        raise UserError(f"--out {args.out}: it cannot be written ({e.strerror or e})") from e
    print(f"{n} images of {args.run} at step {trained.step}: {out}")


if __name__ == "__main__":
    run_command(main)
