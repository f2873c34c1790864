"""`python -m experiments.invert RUN SOURCE [--damage centre] [--mask FILE] [--out inverted.png | inverted.npz | a folder]`.

The latents whose images are the given ones, and damaged images repaired by a trained generator.
"""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import tyro

from experiments.cli import check_which, parse, run_command, writing
from jaxgan.errors import UserError


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Find a trained generator's latents of given images, and repair damaged ones."""

    run: Annotated[str, tyro.conf.Positional]
    """The run directory, or a file of weights."""
    source: Annotated[str, tyro.conf.Positional]
    """An image, a folder or an archive of images, an .npz, or the name of a data set."""
    n: int = 16
    """How many of its images at most: the first ones."""
    damage: str = ""
    """Damage the images first, and repair them: mask, centre, blur, lowres, grey or noise, with an amount after a colon, as
    blur:2.5. What is true is known then, and the distance to it is printed."""
    mask: str = ""
    """An image as large as the run's, or --resize'd alike: where it is white, the images have holes, which are filled."""
    label: int | None = None
    """The class of all of them; by default it is found too, where the run was trained on labels."""
    space: Literal["auto", "z", "w", "w+"] = "auto"
    """Of StyleGAN's generators w, one style for all layers (auto), or w+, one for each: nearer, but worse at holes. Else z."""
    steps: int = 300
    """Of the optimiser."""
    starts: int = 4
    """Tries for each image; the best is kept."""
    draws: int = 1024
    """Images of the generator among which the nearest are the starts."""
    prior: float = 0.01
    """What codes that are unlikely cost: more of it for very damaged images, 0 for the nearest image."""
    noise: Literal["random", "const", "none"] | None = None
    """Of a StyleGAN generator, as `experiments.sample` has it."""
    seed: int = 0
    """Of the search, in [0, 2^32); an image's result does not depend on the others."""
    resize: bool = False
    """Scale and cut images of another size than the run's; else they are refused."""
    data_dir: str = ""
    """Where a named data set lies; '' is the run's place."""
    split: str = "train"
    """Of a data set, or a folder with such folders."""
    checkpoint: str = "latest"
    """latest, best, or a step."""
    average: float | None = None
    """As `experiments.sample` has it."""
    out: str = "inverted.png"
    """A .png gets a row for each image: source, damaged, the generator's, and of masks the repaired; an .npz all arrays;
    anything else is a folder of the generator's images, or of the repaired ones, under their names."""


def main() -> None:
    args = parse(Arguments, prog="python -m experiments.invert")
    out = Path(args.out)
    if not args.out or out.suffix.lower() in (".jpg", ".jpeg", ".webp", ".npy"):
        raise UserError(f"--out {args.out}: write a .png, an .npz or a folder")
    if args.n < 1:
        raise UserError(f"--n {args.n}: ask for at least one image")
    if args.damage and args.mask:
        raise UserError(
            "--damage and --mask: the first damages images that are whole, the second says where they are not; give one"
        )
    check_which(args.checkpoint)
    from experiments import repair
    from jaxgan import restore

    trained = restore.load(args.run, checkpoint_step=args.checkpoint, average=args.average)
    if not trained.generator.z_dim:
        raise UserError(f"{args.run}: this run makes images from images, not from latents; see experiments.sample --source")
    if args.label is not None and not 0 <= args.label < trained.generator.classes:
        has = f"the classes are 0 to {trained.generator.classes - 1}" if trained.generator.classes else "the run has no labels"
        raise UserError(f"--label {args.label}: {has}")
    with writing(args.out):
        said = repair.write(trained, args, out)
    print(said)


if __name__ == "__main__":
    run_command(main)
