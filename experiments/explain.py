"""`python -m experiments.explain RUN [--method gradients | shapley | units | attack] [--n 8] [--data SOURCE] [--out out.png]`.

What a run's discriminator looks at, what the units of its generator do, and how small a perturbation fools the discriminator:
a picture, and its numbers in a .json beside it.
"""

import dataclasses
import json
from pathlib import Path
from typing import Literal

import numpy as np

from experiments import evaluate
from experiments.cli import OfRun, check_out, parse, run_command, writing
from jaxgan.errors import UserError
from jaxgan.whole import write_whole

REFERENCE = 512
"""Real images, and as many generated ones, that say what D's logit of such images is."""


EXAMPLES = ("runs/digits", "runs/digits --method units --out units.png")


@dataclasses.dataclass(frozen=True)
class Arguments(OfRun):
    """Explain a run's networks: attributions of D's logit, effects of G's units, adversarial attacks on D."""

    method: Literal["gradients", "shapley", "units", "attack"] = "gradients"
    """gradients: contribution of each pixel to D's logit, in real and generated images (integrated gradients). shapley: that of
    each square (Shapley values). units: effect of single channels of the generator on its images (of a weight file, too).
    attack: how far pixels must move before D takes generated images for real ones, real ones for generated, and one class for
    another."""
    n: int = 8
    """Number of images of each kind."""
    seed: int = 0
    """Seed of the choice of real images and of the generated ones."""
    data: str = ""
    """Real images to use: any --data; by default the run's own."""
    data_dir: str = ""
    """Where TFDS data sets are stored; '' is the run's --data-dir, or TFDS's default."""
    baseline: Literal["mean", "black", "grey", "white"] = "mean"
    """gradients, shapley: the baseline image; the attributions sum to D's logit minus its logit for this image."""
    steps: int = 64
    """gradients: points on the path from the baseline to the image."""
    regions: int = 7
    """shapley: squares along each side."""
    samples: int = 16
    """shapley: number of pairs of orders in which squares are revealed."""
    layer: str = ""
    """units: a layer of the generator; by default one in the middle. An unknown name prints the list of layers."""
    units: int = 6
    """units: how many units to show, those with the strongest effect."""
    do: Literal["zero", "mean", "insert"] = "zero"
    """units: ablate the unit by setting it to 0 (zero) or its mean (mean), or insert it: a large value everywhere against 0."""
    norm: Literal["linf", "l2"] = "linf"
    """attack: bound each pixel's change (linf), or the root mean square over all pixels (l2)."""
    attack_steps: int = 40
    """attack: gradient steps. The attack gives an upper bound: more steps may find smaller perturbations."""
    out: str = "explain.png"
    """The picture, a .png; its numbers are written beside it as .json."""


OF = {
    **dict.fromkeys(("data", "data_dir"), ("gradients", "shapley", "attack")),
    **{"baseline": ("gradients", "shapley"), "steps": ("gradients",)},
    **dict.fromkeys(("regions", "samples"), ("shapley",)),
    **dict.fromkeys(("layer", "units", "do"), ("units",)),
    **dict.fromkeys(("norm", "attack_steps"), ("attack",)),
}
"""Arguments that only some methods have."""


def check(args: Arguments, out: Path) -> None:
    """UserError where what is asked for cannot be, before anything is read."""
    check_out(args.out, ".png")
    for name, least in (("n", 1), ("steps", 1), ("attack_steps", 1), ("regions", 1), ("samples", 2), ("units", 1)):
        if getattr(args, name) < least:
            raise UserError(f"--{name.replace('_', '-')} {getattr(args, name)}: give {least} or more")
    if not 0 <= args.seed < 2**32:
        raise UserError(f"--seed {args.seed}: it must be in [0, 2^32)")
    for name, methods in OF.items():
        if args.method not in methods and getattr(args, name) != getattr(Arguments(""), name):
            raise UserError(f"--{name.replace('_', '-')} only applies to --method {' or '.join(methods)}; leave it out")
    beside = out.with_suffix(".json")
    if beside.exists() and not written(beside):
        raise UserError(f"--out {args.out}: the numbers would overwrite {beside}, which holds something else; give another name")


def written(path: Path) -> bool:
    """Whether a file is one that this command wrote."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and {"run", "step", "method"} <= found.keys()


def main() -> None:
    args = parse(Arguments, prog="python -m experiments.explain", examples=EXAMPLES)
    out = Path(args.out)
    check(args, out)
    from experiments import explain_pictures, safety
    from jaxgan import marks, restore

    trained = args.load()
    if not trained.generator.z_dim:
        raise UserError(f"{args.run}: this run makes images from images; explain needs one that makes them from noise")
    side = min(trained.generator.shape[:2])
    if args.method == "shapley" and args.regions > side:
        raise UserError(f"--regions {args.regions}: the images have {side} pixels along a side; give {side} or fewer")
    if args.method == "units":
        picture, numbers = explain_pictures.units(args, trained)
    else:
        critic = restore.load_discriminator(args.run, checkpoint=args.checkpoint)
        shown = exhibits(args, trained, critic)
        explained = {"gradients": explain_pictures.looks, "shapley": explain_pictures.looks, "attack": explain_pictures.attack}
        picture, numbers = explained[args.method](args, critic, shown)
    numbers = {"run": args.run, "step": trained.step, "method": args.method, **numbers}
    with writing(args.out):
        safety.output(args.run, trained, explain=args.method).write_picture(picture, out, marks.COMPOSITE)
        write_whole(out.with_suffix(".json"), lambda file: file.write((json.dumps(numbers, indent=1) + "\n").encode()))
    print(f"{args.method} of {args.run} at step {trained.step}: {out}, {out.with_suffix('.json')}")


def exhibits(args: Arguments, trained, critic) -> dict:
    """Real images and generated ones of the same labels, with their labels: n to explain after `REFERENCE` to compare with.

    Float32 [n, H, W, C] in [-1, 1]; generated ones are rounded to 256 levels, as real ones are.
    """
    from jaxgan import watch

    wanted = evaluate.Arguments(what=args.run, against=args.data, data_dir=args.data_dir)
    with watch.counter("reading the images") as update:
        source = evaluate.real_images(wanted, critic.config, update)
    classes = getattr(critic.discriminator, "classes", 0) or trained.generator.classes
    if classes and source.classes != classes:
        raise UserError(f"{source.name} has {source.classes} classes, the run {classes}; give --data with the run's labels")
    more = args.method == "attack"  # its bar is the median of images beside those
    if args.n + more > source.n:
        said = ", and the attack needs others to compare with" * more
        raise UserError(f"--n {args.n}: {source.name} has {source.n} images{said}")
    rows = np.random.RandomState(args.seed).permutation(source.n)[: args.n + REFERENCE]
    labels = source.labels[rows] if classes else None
    codes = trained.latents(len(rows), seed=args.seed, label=labels)
    floats = lambda images: (images / 127.5 - 1).astype(np.float32)
    return {"real": floats(source.read(rows)), "fake": floats(trained.images(codes)), "labels": labels, "source": source}


if __name__ == "__main__":
    run_command(main)
