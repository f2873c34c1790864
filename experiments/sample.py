"""`python -m experiments.sample RUN [--n 64] [--seed 0] [--label K] [--psi 1.0] [--out samples.png | samples.npz | a folder]`.

StyleGAN's generators also take `--noise const` and `--mix ROWS COLUMNS`, a table of style mixing. Every file says in its
metadata that it is generated and how; `--watermark KEY` marks the pixels, `--refuse-copies DATA` rejects copies of DATA.
"""

import dataclasses
import itertools
from pathlib import Path
from typing import Literal

import numpy as np

from experiments import film
from experiments.cli import OfRun, check_index, check_out, numbered, parse, run_command, secret, writing
from experiments.film import OfFilm
from jaxgan.errors import UserError


@dataclasses.dataclass(frozen=True)
class Arguments(OfFilm, OfRun):
    """Sample images from a trained run; needs no data set."""

    n: int = 64
    """Number of images."""
    rows: int = 0
    """Number of rows of a grid, instead of --n: one column per class (of InfoGAN per category), up to 16; otherwise ten
    columns."""
    index: tuple[int, ...] = ()
    """Only the images of these numbers (--captions shows them), such as 3 17 42, instead of the first --n; with --rows, those of
    such a grid; with --mix, the headers of the rows, then those of the columns."""
    captions: bool = False
    """Below each image of a .png its number, for --index, and its class; with --source the name of each source."""
    seed: int = 0
    """Image i depends only on the seed, i and its label, not on how many are generated."""
    label: int | str | None = None
    """The class (number or name) of all images; by default drawn at random, if the run is conditional. For a run on label
    vectors, the index of the 1 in a one-hot vector; the default draws vectors of the data."""
    category: int | None = None
    """InfoGAN: the value of the categorical code of all images; by default drawn at random."""
    psi: float = 1.0
    """Truncation: below 1, latents are pulled towards the mean; for a conditional StyleGAN, the mean over all classes."""
    threshold: float | None = None
    """BigGAN's truncation: entries of z beyond +- this are resampled."""
    noise: Literal["random", "const", "none"] | None = None
    """StyleGAN's noise inputs, and with --source pix2pix's dropout: random per image (the default), the same for all images
    (const, the default of a film), or none."""
    mix: tuple[int, int] | None = None
    """ROWS COLUMNS of a style-mixing table, instead of --n images: the row headers are the first images of the seed, the
    column headers the next, and each cell is its row's image with its column's styles in --mix-layers."""
    mix_layers: tuple[int, int] | None = None
    """FIRST END: layers FIRST to END - 1 take the column's styles; by default the first half, the coarse layers."""
    background: str = ""
    """Colour to lay images with transparency on (white, #rrggbb); '' leaves them transparent."""
    out: str = "samples.png"
    """A .png: one grid; an .npz: the array `images`, with those of what was asked for or drawn, `labels` or `categories`
    (InfoGAN's only if asked for); with --source also an .mp4, .webm, .webp or .gif: a film; anything else: a folder of single
    images."""
    source: str = ""
    """pix2pix, CycleGAN: an image, a folder, an archive or a film (.mp4, .mov, ...); the generator is applied to each image, or
    frame. With a folder as --out, results keep the source names; with a .png, a grid shows the first --n beside their sources; a
    film shows them in the order of their names."""
    mask: str = ""
    """pix2pix trained with --degrade mask or centre: an image as large as those of --source (with --resize, resized as they are)
    that is white where pixels are missing, or a folder of such, one for each source image under its name; these pixels are
    filled, all others stay as they are."""
    reverse: bool = False
    """CycleGAN: translate the source images from B (--target) to A (--data) instead of from A to B."""
    resize: bool = False
    """Resize source images whose size differs from the run's, as its --fit says; otherwise they are refused."""
    native: bool = False
    """Translate every source image at its own size, whatever the run's; --out is a folder or a film. A new size takes time to
    compile."""
    skip_broken: bool = False
    """Leave out source images that cannot be read; otherwise the first stops the command."""
    watermark: str | None = None
    """A secret text, or @FILE that holds it, with which to watermark every image invisibly; experiments.verify FILES --watermark
    TEXT detects it. All users of a machine can see a command's arguments."""
    watermark_strength: float = 2.0
    """Amplitude of the watermark in grey levels; half of it in flat regions."""
    refuse_copies: str = ""
    """Reject images too close to one of this data set (any --data; own: the training set) and take the next ones instead."""
    refuse_share: float = 0.01
    """Threshold for too close: the distance to the nearest neighbour that this fraction of real images falls below."""
    refuse_features: Literal["pixels", "random", "classifier", "inception"] = "pixels"
    """Features in which the distance is measured."""
    data_dir: str = ""
    """Where the TFDS data set of --refuse-copies is stored; '' is the run's --data-dir."""


EXAMPLES = (
    "runs/digits --n 64 --label 7 --out sevens.png",
    "runs/stylegan2 --n 1000 --psi 0.7 --out images/",
    "runs/pix2pix --source photos/ --out repaired/",
    "runs/cyclegan --source clip.mp4 --native --out painted.mp4",
)


def asked(args: Arguments, classes: int):
    """How many images, of which class or classes, and how many columns a grid of them has."""
    if not args.rows:
        return args.n, args.label, None
    columns = classes if 1 < classes <= 16 else 10
    by_class = args.label is None and columns == classes
    return args.rows * columns, np.arange(args.rows * columns) % columns if by_class else args.label, columns


def check(args: Arguments, out: Path) -> None:
    """UserError where what is asked for cannot be, before anything is read."""
    check_out(args.out, ".png", ".npz", *film.FILMS * bool(args.source), folder="a folder")
    film.check(args, out)
    if args.scale is not None and not film.is_film(out):
        raise UserError(f"--scale {args.scale} only applies to a film, {', '.join(film.FILMS)}; leave it out")
    if args.watermark is not None and film.is_film(out):
        raise UserError("--watermark: films have none; leave it out, or write a folder of images")
    if args.mix and (out.suffix.lower() not in (".png", ".npz") or args.threshold is not None):
        raise UserError("--mix writes one table to a .png or an .npz, and cannot be combined with --threshold")
    if args.rows < 0:
        raise UserError(f"--rows {args.rows}: ask for at least one row")
    if args.rows and (args.mix or args.source):
        raise UserError(f"--rows {args.rows}: only for images from noise, without --mix or --source; leave it out")
    if not (args.rows or args.mix or args.index) and args.n < 1:
        raise UserError(f"--n {args.n}: ask for at least one image")
    given = lambda name: getattr(args, name) != getattr(Arguments(""), name)
    for name in ("watermark_strength", "refuse_share", "refuse_features", "data_dir"):
        of = "watermark" if name == "watermark_strength" else "refuse_copies"
        if given(name) and not given(of):
            raise UserError(f"--{name.replace('_', '-')} only applies with --{of.replace('_', '-')}; give that too")
    if args.refuse_copies and (args.mix or args.source):
        raise UserError("--refuse-copies: only for images from noise, without --mix or --source; leave it out")
    if not 0 < args.refuse_share < 1:
        raise UserError(f"--refuse-share {args.refuse_share:g}: it must be in (0, 1)")
    for name in ("resize", "native", "reverse", "skip_broken", "mask"):
        if given(name) and not args.source:
            raise UserError(f"--{name.replace('_', '-')} only applies to source images; give --source too")
    if args.native and (args.resize or out.suffix.lower() in (".png", ".npz")):
        raise UserError("--native: every image keeps its own size; leave out --resize, and give a folder or a film as --out")
    if args.category is not None and args.mix:
        raise UserError("--category: InfoGAN's, which has no styles to mix; leave out --mix")
    if args.index and (args.source or args.refuse_copies or given("n")):
        raise UserError("--index says which images to make; leave out --n, --source and --refuse-copies")
    if args.captions and out.suffix.lower() != ".png":
        raise UserError("--captions stand below the images of a .png; files in a folder are named by what it would say")
    if args.mix and min(args.mix) < 1:
        raise UserError(f"--mix {args.mix[0]} {args.mix[1]}: it needs at least one row and one column")
    if args.mix and args.index and len(args.index) != sum(args.mix):
        raise UserError(
            f"--mix {args.mix[0]} {args.mix[1]} has {sum(args.mix)} headers; give as many --index, not {len(args.index)}"
        )
    if args.mix_layers and not args.mix:
        raise UserError("--mix-layers only applies to a style-mixing table; give --mix ROWS COLUMNS too")
    check_index(args.index)


def main() -> None:
    args = parse(Arguments, prog="python -m experiments.sample", examples=EXAMPLES)
    out = Path(args.out)
    check(args, out)
    args = dataclasses.replace(args, watermark=secret(args.watermark))
    from experiments import safety

    trained = args.load()
    args = numbered(args, trained.config)
    if args.source:
        return translated(args, trained, out)
    options = {"seed": args.seed, "psi": args.psi, "noise": args.noise}
    said = options | {"threshold": args.threshold, "average": args.average}
    said |= {"background": args.background} if args.background else {}
    files = safety.output(args.run, trained, args.watermark, args.watermark_strength, **said)
    with writing(args.out):
        made = table(args, trained, files, options, out) if args.mix else drawn(args, trained, files, options, out)
    print(f"{made} of {args.run} at step {trained.step}: {out}")


def table(args: Arguments, trained, files, options: dict, out: Path) -> str:
    """The table of --mix."""
    from experiments import safety
    from jaxgan import sample, watch

    grid = (args.index[: args.mix[0]], args.index[args.mix[0] :]) if args.index else args.mix
    laid = safety.background(args.background, trained)
    images = laid(trained.mix(grid, args.mix_layers, label=args.label, **options))
    facts = {"label": args.label, "mix": args.mix, "mix_layers": args.mix_layers} | ({"index": args.index} if args.index else {})
    if out.suffix.lower() == ".png":
        said = ()
        if args.captions:
            row, column = (captions(trained, args, side, args.label) for side in sample.headers(grid))
            said = ["", *column, *itertools.chain(*([text] + [""] * len(column) for text in row))]
        size = {"columns": images.shape[1], "least": 1024 if said else 512}
        files.write_picture(watch.grid(images.reshape(-1, *images.shape[2:]), **size, captions=said), out, **facts)
    else:
        files.write_arrays(out, facts, images, **labels_array(args.label, images.shape[:2]))
    return f"a table of {args.mix[0]} x {args.mix[1]}"


def drawn(args: Arguments, trained, files, options: dict, out: Path) -> str:
    """Images from noise."""
    from experiments import safety
    from jaxgan import filters, watch

    if categories := getattr(trained.generator, "categories", 0):
        what, (n, label, columns) = "category", asked(dataclasses.replace(args, label=args.category), categories)
    else:
        what, (n, label, columns) = "label", asked(args, trained.generator.classes if trained.vectors is None else 0)
    groups = columns if np.ndim(label) else 1
    label_of = lambda number, groups=groups: number % groups if np.ndim(label) else label
    number_of = lambda place: place
    if args.index:  # single ones of the same images
        n, columns, groups, number_of = len(args.index), None, 1, lambda place: np.array(args.index)[place]
    options |= {"label": args.label, "category": args.category, "threshold": args.threshold}
    stream = lambda m: trained.stream(number_of(np.arange(m)), **options | {what: label_of(number_of(np.arange(m)))})
    how = args.refuse_copies, args.data_dir, args.refuse_features, args.refuse_share
    accept = safety.refuser(trained, *how, out=out) if args.refuse_copies else None
    laid = safety.background(args.background, trained)
    pieces, refused = filters.filtered(stream, accept, n, groups=groups), 0
    if out.suffix.lower() not in (".png", ".npz"):
        done = 0
        with watch.counter("writing images", n > 1000) as update:
            for piece in pieces:
                for i, image in zip(number_of(piece.index), laid(piece.images), strict=True):
                    path = out / f"seed{args.seed}_{i:06d}.png"
                    files.write_picture(watch.grid(image[None], pad=0, least=1), path, index=int(i), **{what: label_of(int(i))})
                done, refused = done + len(piece.index), refused + len(piece.refused)
                update(done, n)
        return summary(n, refused, accept)
    found = list(pieces)
    index, images = (np.concatenate([getattr(piece, name) for piece in found]) for name in ("index", "images"))
    order = filters.in_rows(index, groups)
    index, images = number_of(index[order]), laid(images[order])
    labels = label_of(index)
    facts = {"index": index.tolist(), what: labels.tolist() if np.ndim(labels) else labels}
    if out.suffix.lower() == ".png":
        said = captions(trained, args, index, labels, what) if args.captions else ()
        sheet = watch.grid(images, columns=columns, least=1024 if said else 512, captions=said)
        files.write_picture(sheet, out, **facts)
    else:
        labels = labels_drawn(trained, args.seed, index) if labels is None and what == "label" else labels
        files.write_arrays(out, facts, images, **labels_array(labels, (n,), what))
    return summary(n, sum(len(piece.refused) for piece in found), accept)


def captions(trained, args: Arguments, index: np.ndarray, labels, what: str = "label") -> list[str]:
    """The number of each image, and its class or category where it has one."""
    names = trained.config.get("data", {}).get("class_names", []) if what == "label" else []
    labels = labels_drawn(trained, args.seed, index) if labels is None and what == "label" else labels
    if labels is None or np.ndim(labels) > 1:
        return [str(i) for i in index]
    return [f"{i}: {names[k] if k < len(names) else k}" for i, k in zip(index, np.broadcast_to(labels, len(index)), strict=True)]


def labels_drawn(trained, seed: int, index: np.ndarray) -> np.ndarray | None:
    """The labels of the images of these indices where none was given: classes int32 [n], or vectors float32 [n, K]; None for a
    run without."""
    import jax

    from jaxgan import label_vectors, latents

    if trained.vectors is not None:
        return label_vectors.drawn(trained.vectors, seed, index)
    classes = latents.drawn(trained.generator, jax.random.key(seed), index.astype(np.int32), np.float32(np.inf))[1]
    return None if classes is None else np.asarray(classes)


def labels_array(label, shape, what: str = "label") -> dict[str, np.ndarray]:
    """The array `labels` or `categories` of an .npz; none where none was given."""
    name = {"label": "labels", "category": "categories"}[what]
    if label is None:
        return {}
    return {name: label if np.ndim(label) > len(shape) else np.broadcast_to(np.int32(label), shape)}


def summary(n: int, refused: int, accept) -> str:
    return f"{n} images" + (f" ({refused} others refused)" if accept else "")


def translated(args: Arguments, trained, out: Path) -> None:
    """The images that the generator makes of --source."""
    from experiments import safety, translate
    from jaxgan.data.source import left_out

    noisy = {"background": "", "label": None, "category": None, "psi": 1.0, "threshold": None, "mix": None}
    given = [name for name, default in noisy.items() if getattr(args, name) != default]
    if given:
        raise UserError(f"--source: --{given[0]} is for images from noise; leave it out")
    if not 0 <= args.seed < 2**32:
        raise UserError(f"--seed {args.seed}: it must be in [0, 2^32)")
    safety.keep_sources(out, args.source, *[args.mask] * bool(args.mask))
    one, said = trained.one_way(args.reverse), {"seed": args.seed, "average": args.average}
    said |= {"noise": args.noise} if args.noise else {}
    said |= {"reverse": True} if args.reverse else {}
    with writing(args.out):
        how = {"resize": args.resize, "seed": args.seed, "skip_broken": args.skip_broken}
        how |= {"mask": args.mask, "native": args.native, "captions": args.captions, "noise": args.noise, "shown": args}
        files = safety.output(args.run, trained, args.watermark, args.watermark_strength, **said)
        made, skipped = translate.write(one, args.source, out, files, n=args.n, **how)
    beside = " (beside their sources; a folder as --out gets them alone)" if out.suffix.lower() == ".png" else ""
    print(f"{made} images of {args.source} by {args.run} at step {trained.step}: {out}{beside}{left_out(skipped)}")


if __name__ == "__main__":
    run_command(main)
