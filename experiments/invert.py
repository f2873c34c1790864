"""`python -m experiments.invert RUN SOURCE [--damage centre] [--mask FILE] [--out inverted.png | inverted.npz | a folder]`.

Find the latents that reproduce given images (GAN inversion), and repair damaged images with a trained generator.
"""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import tyro

from experiments.cli import OfRun, check_out, numbered, parse, run_command, writing
from jaxgan.errors import UserError


@dataclasses.dataclass(frozen=True)
class Arguments(OfRun):
    """Find latents that reproduce given images (GAN inversion), and repair damaged images."""

    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="IMAGES")]
    """An image, a folder or an archive of images, an .npz, or the name of a data set."""
    n: int = 16
    """Maximum number of images: the first ones."""
    damage: str = ""
    """Damage the images first, then repair them: mask, centre, blur, lowres, grey or noise, optionally with an amount after a
    colon (blur:2.5). The PSNR to the undamaged images is printed."""
    mask: str = ""
    """An image of the run's size (or resized by --resize) that is white where pixels are missing, or a folder of such, one for
    each image under its name; the holes are filled."""
    label: int | str | None = None
    """The class (number or name) of all images; by default it is inferred, if the run is conditional."""
    space: Literal["auto", "z", "w", "w+"] = "auto"
    """For StyleGANs: w, one style for all layers (auto), or w+, one per layer: closer, but worse for holes. Otherwise z."""
    steps: int = 300
    """Optimisation steps."""
    starts: int = 4
    """Starting points per image; the best result is kept."""
    draws: int = 1024
    """Number of generated images from which the nearest are taken as starting points."""
    prior: float = 0.01
    """Weight of the prior on the latents: larger for badly damaged images, 0 for the closest reconstruction."""
    noise: Literal["random", "const", "none"] | None = None
    """StyleGAN's noise inputs, as in `experiments.sample`."""
    lpips: str = ""
    """Folder of LPIPS's weights, as in `experiments.evaluate`, to add this perceptual distance to the search's own."""
    seed: int = 0
    """Seed of the search, in [0, 2^32); an image's result does not depend on the other images."""
    resize: bool = False
    """Resize images whose size differs from the run's, as its --fit says; otherwise they are refused."""
    skip_broken: bool = False
    """Leave out images that cannot be read; otherwise the first stops the command."""
    data_dir: str = ""
    """Where a named data set is stored; '' is the run's --data-dir."""
    split: str = "train"
    """Split of a data set, or of a folder with one sub-folder per split."""
    out: str = "inverted.png"
    """A .png: one row per image (source, damaged, reconstruction and, with a mask, repaired); an .npz: all arrays; anything
    else: a folder of the reconstructed or repaired images, under the source names."""


EXAMPLES = ("runs/digits photos/ --damage centre", "runs/digits photo.png --mask hole.png --out repaired/")


def main() -> None:
    args = parse(Arguments, prog="python -m experiments.invert", examples=EXAMPLES)
    out = Path(args.out)
    check_out(args.out, ".png", ".npz", folder="a folder")
    if args.n < 1:
        raise UserError(f"--n {args.n}: ask for at least one image")
    if args.damage and args.mask:
        raise UserError(
            "--damage and --mask: the first damages intact images, the second marks what is already missing; give one"
        )
    from experiments import repair

    trained = args.load()
    args = numbered(args, trained.config)
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
