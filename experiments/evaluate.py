"""`python -m experiments.evaluate RUN | FOLDER | ARCHIVE | NPZ [--against DATA] [--metrics fd10k ...]`: metrics of images.

`python -m experiments.evaluate RUN | WEIGHTS --metrics eqt ...`: metrics of a generator, which need no images to compare with.
"""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from experiments.cli import check_which, own_data, parse, run_command, writing
from jaxgan.errors import UserError, printable

EXAMPLES = (
    "runs/digits",
    "runs/cifar10 --metrics fid kid pr is",
    "photos/ --against cifar10 --size 32 32 --metrics fid_pytorch",
    "x --metrics help",
)
WEIGHTS = (".pkl", ".safetensors")
"""Files that hold a generator."""


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Measure a run, or any set of images. Every metric is a named protocol; --metrics help lists them."""

    what: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="WHAT")]
    """A run directory, a folder or archive of images, or an .npz of them; for metrics of a generator also a weight file."""
    metrics: tuple[str, ...] = ()
    """Names of protocols; by default fd10k and pr10k if the data has classes, else random10k, and swd10k. Runs on paired data
    always report L1 and PSNR, those on unpaired data a sliced Wasserstein distance of either direction."""
    against: str = ""
    """The real images: any --data; by default the run's own."""
    data: str = ""
    """pix2pix, CycleGAN: other images than the run's, such as a test set, given as in training; without it those held out."""
    target: str = ""
    """Their targets, or images B, as in training."""
    paired: bool = False
    """CycleGAN: --data and --target are pairs, by their names: measure how far what is made is from its partner."""
    data_dir: str = ""
    """Where TFDS data sets are stored; '' is the run's --data-dir, or TFDS's default."""
    split: str = ""
    """Split of the real images; '' is the one that the run was trained on, or train."""
    size: tuple[int, int] | None = None
    """Resize and centre-crop all images to this size; without it they must all have the same. Runs keep theirs."""
    n: int = 0
    """Use at most this many generated images; a protocol that asks for more then notes that its number is not comparable."""
    seed: int = 0
    """Of a run: its images are those of `sample --seed`."""
    checkpoint: str = "latest"
    """Checkpoint of a run: latest, best, or a step."""
    average: float | None = None
    """For a run with --posthoc: relative width of the weight average."""
    psi: float = 1.0
    """Truncation of the run's generator."""
    reverse: bool = False
    """CycleGAN: measure --metrics (or --paired) of what is made of B, against A, instead of what is made of A, against B."""
    inception: str = ""
    """Path of pt_inception-2015-12-05-6726825d.pth; '' uses the cached file, downloaded once."""
    dinov2: str = ""
    """Path of the DINOv2 ViT-L/14 weights."""
    lpips: str = ""
    """Folder of vgg16-397923af.pth and LPIPS's vgg.pth; '' uses the cached files, downloaded once."""
    out: str = ""
    """File to append the numbers to as JSON lines; by default metrics.jsonl in the run directory."""


def real_images(args: Arguments, config: dict | None, update):
    """The reals, as the run saw them."""
    from jaxgan.data import open_source
    from jaxgan.settings import made_alike

    if not args.against and config is None:
        raise UserError(f"{args.what}: what should it be compared with? give --against, the real images")
    settings = config["settings"] if config else {}
    where = {} if args.against else settings  # of another set the run only says how images are made alike
    shape = config["data"]["shape"] if config else None
    size = args.size or (tuple(shape[:2]) if shape else None)
    data = args.against or own_data(config, "--against (explain: --data)")
    try:
        return open_source(
            data,
            data_dir=args.data_dir or where.get("data_dir", ""),
            split=split_of(args, config),
            size=size,
            channels=shape[2] if shape else None,
            **made_alike(settings),
            skip_broken=settings.get("skip_broken", False),
            progress=update,
        )
    except UserError as e:
        if args.against:
            raise
        raise UserError(
            f"{args.what} was trained on --data {data}: {e}; --against (explain: --data) says where it is now"
        ) from None


def split_of(args: Arguments, config: dict | None) -> str:
    """The split of the real images."""
    return args.split or ("train" if args.against or config is None else config["settings"].get("split", "train"))


def default_metrics(source) -> tuple[str, ...]:
    """What there is for any set like this one, offline."""
    if source.shape[2] == 4:  # no features are of images with alpha
        return ("swd10k",)
    return ("fd10k", "pr10k", "swd10k") if source.classes and source.labels.ndim == 1 else ("random10k", "swd10k")


def changed(config: dict, source) -> bool:
    """Whether a run's data is not what it was trained on."""
    from jaxgan.data import shuffled

    seen = shuffled(source, config["settings"]["seed"]) if config["settings"]["hold_out"] else source  # as the run did
    return seen.fingerprint != config["data"]["fingerprint"]


def generated(args: Arguments, config: dict | None, source, n: int, update):
    """Generated images, a piece at a time, with the real ones' classes that they were made for, or None; how many there are
    (0: any number); and what it is of."""
    import numpy as np

    from jaxgan import label_vectors, restore
    from jaxgan.data import open_source

    if config is not None:
        trained = restore.load(args.what, checkpoint=args.checkpoint, average=args.average)
        classes = trained.generator.classes if trained.vectors is None else 0
        label = label_vectors.to_measure(source, classes, args.seed, n)
        check_size(args.what, trained.generator.shape, source)
        names, asked = list(config["data"].get("class_names") or source.class_names), label
        if label is not None and sorted(names) == sorted(source.class_names):  # also where their order is another
            asked = np.array([names.index(name) for name in source.class_names], np.int32)[label]
        elif label is not None:
            print(f"note: {args.what} and {source.name} have classes of other names: they are matched by their numbers")
        images = trained.stream(n, seed=args.seed, psi=args.psi, label=asked)
        return images, label, args.n, drawn_by(args, trained)
    fakes = open_source(args.what, size=args.size, channels=source.shape[2], progress=update)
    check_size(args.what, fakes.shape, source)
    order = np.random.RandomState(0).permutation(fakes.n)  # the first of a folder may all be of its first class
    pieces = (fakes.read(order[i : i + 1024]) for i in range(0, fakes.n, 1024))
    label = None
    if fakes.classes and fakes.labels.ndim == 1 and set(fakes.class_names) <= set(source.class_names):
        label = np.array([source.class_names.index(name) for name in fakes.class_names])[fakes.labels[order]]
    return pieces, label, min(args.n or fakes.n, fakes.n), {"images": args.what}


def drawn_by(args: Arguments, trained) -> dict:
    """Which generator drew the images and how, for a line of metrics.jsonl."""
    return {"run": args.what, "step": trained.step, "seed": args.seed, "psi": args.psi, "average": args.average}


def check_size(what: str, shape, source) -> None:
    """UserError where generated images are not as large as the real ones."""
    (h, w), real = shape[:2], "x".join(map(str, source.shape[:2]))
    if (h, w) != source.shape[:2]:
        raise UserError(f"{what}: its images are {h}x{w}, the real ones {real}; give --size {h} {w}")


def main() -> None:
    args = parse(Arguments, prog="python -m experiments.evaluate", examples=EXAMPLES)
    from jaxgan.metrics import protocols

    if args.metrics == ("help",):
        for name, p in protocols.PROTOCOLS.items():
            print(f"{name:14s} {p.about}")
        print("short names:", ", ".join(f"{short} = {name}" for short, name in protocols.SHORT.items()))
        return
    chosen = protocols.named(args.metrics)
    if args.n < 0:
        raise UserError(f"--n {args.n}: ask for at least one image, or 0 for as many as the metrics take")
    check_which(args.checkpoint)
    from jaxgan import parallel, restore
    from jaxgan.metrics.extraction import CHUNK

    parallel.share_cores(0, parallel.MOST * CHUNK, 1)

    is_run = (Path(args.what) / "config.json").is_file()
    config = restore.read_config(args.what) if is_run else None
    if config and config["data"].get("inputs"):
        from experiments import evaluate_pairs

        return evaluate_pairs.evaluate(args, config)
    if args.reverse:
        raise UserError("--reverse only applies to runs that translate both ways (CycleGAN); leave it out")
    for name in ("data", "target", "paired"):
        if getattr(args, name):
            raise UserError(f"--{name} only applies to runs that make images from images; the real images are --against")
    if not Path(args.what).exists():
        raise UserError(f"{args.what}: there is no such run, folder, archive or .npz")
    is_file = Path(args.what).suffix in WEIGHTS
    for name in ("seed", "psi", "checkpoint", "average") if config is None else ():
        if (given := getattr(args, name)) != getattr(Arguments, name) and not (is_file and name in ("seed", "psi")):
            holds = "one generator" if is_file else "images"
            raise UserError(f"--{name} {given}: it only applies to a run, and {args.what} holds {holds}; leave it out")
    own = {name: p for name, p in chosen.items() if p.needs == "generator"}
    others = {name: p for name, p in chosen.items() if name not in own}
    if is_file and not own:
        raise UserError(f"{args.what}: holds one generator; give --metrics, of {', '.join(protocols.of('generator'))}")
    protocols.only(others, "generator" if is_file else "images")
    protocols.only(own, "generator" if is_file or config else "images")
    if own:
        of_generator(args, own)
    if others or not own:
        of_images(args, config, tuple(others))


def of_images(args: Arguments, config: dict | None, names: tuple[str, ...]) -> None:
    """Compare a run's images, or others, with real ones: print the numbers and write them."""
    from jaxgan import watch
    from jaxgan.metrics import protocols
    from jaxgan.metrics.measure import as_json, check_labels, measure, ready

    with watch.counter("reading images") as update:
        source = real_images(args, config, update)
    if config is not None and not (args.against or args.data_dir or args.split or args.size) and changed(config, source):
        print(f"note: {source.name} has changed since the run was trained on it")
    names = names or default_metrics(source)
    fakes = [p.fakes for p in protocols.named(names).values()]  # 0: of as many as there are
    need = args.n if args.n and 0 in fakes else min(args.n or max(fakes), max(fakes))
    if config is not None and not need:
        raise UserError(f"--metrics {' '.join(names)}: they use all images there are, and a run has no limit; give --n 10000")
    with watch.counter("reading images") as update:  # before a classifier takes its minute to be trained
        images, labels, limit, of = generated(args, config, source, need, update)
    check_labels(protocols.named(names), labels is not None, args.what)
    meter = ready(names, source, weights={"inception": args.inception, "dinov2": args.dinov2})
    with watch.counter("measuring") as update:
        results = measure(meter, images, labels=labels, limit=limit, progress=lambda what, done, total: update(done, total))
    show(results, meter.protocols, f"against {source.n} images of {source.name}")
    if args.split and {"classifier", "stacked"} & {p.features for p in protocols.named(names).values()}:
        print(
            f"note: the classifier is trained on --split {args.split}: its numbers are not comparable with those of another split"
        )
    against = {"against": source.name, "split": split_of(args, config), "fingerprint": source.fingerprint}
    out = write(args, [as_json(r, meter.protocols[r.name]) | {"of": of} | against for r in results])
    with writing(out):
        for r in results:
            if r.pictures is not None:
                path = (out.parent if out else Path(".")) / f"{r.name}.png"
                rows = r.pictures
                watch.write_picture(watch.grid(rows.reshape(-1, *rows.shape[2:]), columns=rows.shape[1]), path)
                print(f"{path}: in each row, a generated image and its nearest training images")


def of_generator(args: Arguments, chosen) -> None:
    """Measure the generator of a run or of a weight file itself: print the numbers and write them."""
    from jaxgan import restore, watch
    from jaxgan.metrics import generators, lpips
    from jaxgan.metrics.measure import as_json

    trained = restore.load(args.what, checkpoint=args.checkpoint, average=args.average)
    generators.check(chosen, trained.generator)
    perceptual = lpips.load(args.lpips or None) if any(p.features == "lpips" for p in chosen.values()) else None
    how = {"n": args.n, "seed": args.seed, "psi": args.psi, "perceptual": perceptual}
    with watch.counter("measuring") as update:
        results = generators.measure(tuple(chosen), trained, **how, progress=lambda what, done, total: update(done, total))
    show(results, chosen, f"the generator of {args.what}")
    write(args, [as_json(r, chosen[r.name]) | {"of": drawn_by(args, trained)} for r in results])


def write(args: Arguments, lines: list[dict]) -> Path | None:
    """Append the numbers to --out, or to metrics.jsonl of a run that can be written; its path, None where there is none."""
    from jaxgan import watch

    is_run = (Path(args.what) / "config.json").is_file()
    out = Path(args.out) if args.out else Path(args.what) / "metrics.jsonl" if is_run else None
    try:
        with writing(out):
            if out:
                out.parent.mkdir(parents=True, exist_ok=True)
                watch.add_lines(out, lines)
    except UserError as e:
        if args.out:
            raise
        print(f"note: {e}; the numbers are above")  # the run of somebody else
        return None
    if out:
        print(f"{len(lines)} line{'s' * (len(lines) > 1)} added to {out}")
    return out


def show(results, protocols, title: str) -> None:
    """A table of the numbers."""
    from rich import print as say
    from rich.table import Column, Table
    from rich.text import Text

    numbers = (Column(name, no_wrap=True) for name in ("metric", "value", "±", "of"))  # whole also where there is little room
    table = Table(*numbers, "what it is", title=Text(title))
    notes = []
    for r in results:
        for name, e in r.values.items():
            error = "" if e.error != e.error else f"{e.error:.3g}"
            about = protocols[r.name].about
            table.add_row(f"{r.name} {name}".strip(), f"{e.value:.5g}", error, str(r.fakes), about)
        if r.corrected == r.corrected:
            table.add_row(f"{r.name} corrected", f"{r.corrected:.5g}", "", "inf", "extrapolated to infinitely many images")
        notes += [note for note in r.notes if note not in notes]
    say(table)
    for note in notes:
        print(printable(f"note: {note}"))


if __name__ == "__main__":
    run_command(main)
