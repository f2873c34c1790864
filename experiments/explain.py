"""`python -m experiments.explain RUN [--method gradients | shapley | units | attack] [--n 8] [--data SOURCE] [--out out.png]`.

What a run's discriminator looks at, what the units of its generator do, and how little it takes to fool the discriminator: a
picture, and its numbers in a .json beside it.
"""

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro

from experiments import evaluate
from experiments.cli import check_which, parse, run_command, writing
from jaxgan.errors import UserError

REFERENCE = 512
"""Real images, and as many generated ones, that say what D's logit of such images is."""


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Pictures and numbers that explain the networks of a run."""

    run: Annotated[str, tyro.conf.Positional]
    """The run directory; for --method units a file of weights will do."""
    method: Literal["gradients", "shapley", "units", "attack"] = "gradients"
    """gradients: which pixels made D's logit what it is, in real and in generated images (integrated gradients). shapley: which
    squares did (Shapley values). units: what the images would be without single channels of the generator. attack: how far pixels
    must move until D takes generated images for real ones, real ones for generated, and one class for another."""
    n: int = 8
    """How many images of each kind."""
    seed: int = 0
    """Which real images are looked at, and the seed of the generated ones."""
    data: str = ""
    """Real images to look at: any --data; by default the run's own."""
    data_dir: str = ""
    """Where TFDS sets live; '' is the run's, or TFDS's own place."""
    checkpoint: str = "latest"
    """latest, best, or a step."""
    baseline: Literal["mean", "black", "grey", "white"] = "mean"
    """gradients, shapley: what stands for nothing to see; D's logit is shared out relative to that of this image."""
    steps: int = 64
    """gradients: points on the way from the baseline to the image."""
    regions: int = 7
    """shapley: squares along a side."""
    samples: int = 16
    """shapley: pairs of orders in which squares are shown."""
    layer: str = ""
    """units: a layer of the generator; by default one in the middle. Another name gets a list of them."""
    units: int = 6
    """units: how many of the strongest are drawn."""
    do: Literal["zero", "mean", "insert"] = "zero"
    """units: compare the images with those where the unit is 0, or its mean; or insert it everywhere, strong against 0."""
    norm: Literal["linf", "l2"] = "linf"
    """attack: each pixel moves by at most so much, or all by so much in the root mean square."""
    attack_steps: int = 40
    """attack: gradient steps. What the attack needs is at least what is necessary: more steps may find nearer images."""
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
    if out.suffix.lower() != ".png":
        raise UserError(f"--out {args.out or repr('')}: the picture is a .png")
    for name, least in (("n", 1), ("steps", 1), ("attack_steps", 1), ("regions", 1), ("samples", 2), ("units", 1)):
        if getattr(args, name) < least:
            raise UserError(f"--{name.replace('_', '-')} {getattr(args, name)}: give {least} or more")
    check_which(args.checkpoint)
    if not 0 <= args.seed < 2**32:
        raise UserError(f"--seed {args.seed}: it must be in [0, 2^32)")
    for name, methods in OF.items():
        if args.method not in methods and getattr(args, name) != getattr(Arguments(""), name):
            raise UserError(f"--{name.replace('_', '-')} is of --method {' or '.join(methods)}; leave it out")
    beside = out.with_suffix(".json")
    if beside.exists() and not written(beside):
        raise UserError(f"--out {args.out}: the numbers would replace {beside}, which is something else; give another name")


def written(path: Path) -> bool:
    """Whether a file is one that this command wrote."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and {"run", "step", "method"} <= found.keys()


def main() -> None:
    args = parse(Arguments, prog="python -m experiments.explain")
    out = Path(args.out)
    check(args, out)
    from experiments import explain_pictures, safety
    from jaxgan import marks, restore

    trained = restore.load(args.run, checkpoint_step=args.checkpoint)
    if not trained.generator.z_dim:
        raise UserError(f"{args.run}: it makes images from images; what is explained here makes them from noise")
    side = min(trained.generator.shape[:2])
    if args.method == "shapley" and args.regions > side:
        raise UserError(f"--regions {args.regions}: the images have {side} pixels along a side; give {side} or fewer")
    if args.method == "units":
        picture, numbers = explain_pictures.units(args, trained)
    else:
        critic = restore.load_discriminator(args.run, checkpoint_step=args.checkpoint)
        shown = exhibits(args, trained, critic)
        explained = {"gradients": explain_pictures.looks, "shapley": explain_pictures.looks, "attack": explain_pictures.attack}
        picture, numbers = explained[args.method](args, critic, shown)
    numbers = {"run": args.run, "step": trained.step, "method": args.method, **numbers}
    with writing(args.out):
        safety.output(args.run, trained, explain=args.method).write_picture(picture, out, marks.COMPOSITE)
        out.with_suffix(".json").write_text(json.dumps(numbers, indent=1) + "\n")
    print(f"{args.method} of {args.run} at step {trained.step}: {out}, {out.with_suffix('.json')}")


def exhibits(args: Arguments, trained, critic) -> dict:
    """Real images and generated ones of the same labels, with their labels: n to explain after `REFERENCE` to compare with.

    Float32 [n, H, W, C] in [-1, 1]; generated ones are rounded to 256 levels, as real ones are.
    """
    from jaxgan import watch

    wanted = evaluate.Arguments(what=args.run, against=args.data, data_dir=args.data_dir)
    update, close = watch.counter("reading the images", True)
    try:
        source = evaluate.real_images(wanted, critic.config, update)
    finally:
        close()
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
