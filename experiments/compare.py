"""`python -m experiments.compare OUT [--of families]`: losses, or model families, with the same budget; a table and a picture.

Losses: each with its usual penalty, in the config `objective`, with the same networks. Families: each family's own config. Each
is a run in its own folder of OUT, so a stopped comparison resumes where it was. The metrics are `--metric`, by default `fd2k`,
the Frechet distance of 2,000 images in the features of a classifier trained on the data set, and the sliced Wasserstein distance
of the pixels; OUT/samples.png has a row of samples for each.
"""

import dataclasses
import math
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro
from PIL import Image, ImageDraw

from experiments import evaluate
from experiments.cli import parse, run_command
from jaxgan import marks, restore, watch
from jaxgan.data import stream
from jaxgan.errors import UserError
from jaxgan.metrics import measure, protocols

USUAL = {
    "minimax": ["--penalty", "r1"],
    "non_saturating": ["--penalty", "r1"],
    "least_squares": ["--penalty", "r1"],
    "hinge": ["--norm", "spectral", "--penalty"],
    "wasserstein": ["--penalty", "wgan_gp", "drift", "--every", "1", "--share", "1"],
    "relativistic": ["--penalty", "r1", "r2"],
    "relativistic_average": ["--penalty", "r1"],
    "mmd_gaussian": ["--penalty", "r1"],
    "mmd_rational_quadratic": ["--penalty", "r1"],
    "mmd_repulsive": ["--norm", "spectral", "--penalty"],
    "dual_contrastive": ["--penalty", "r1"],
}
"""What each loss is used with: its authors' choice, or r1 where they give none."""

NARROW = ["--width", "8"]
FAMILIES = {
    "gan": [],
    "dcgan": [],
    "wgan": [],
    "wgan_gp": NARROW,
    "ac_gan": NARROW,
    "infogan": [],
    "sngan": NARROW,
    "sngan_cnn": [],
    "sagan": NARROW,
    "biggan": NARROW,
    "biggan_deep": ["--width", "16"],
    "reacgan": NARROW,
    "multi_hinge": NARROW,
    "progan": NARROW,
    "stylegan": NARROW,
    "stylegan2": NARROW,
    "stylegan3": NARROW,
    "r3gan": [],
    "gat": [],
}
"""Each family's small config, and what it is given here: half its width where 300 kimg would take a CPU long."""

EXAMPLES = (
    "runs/losses --data mnist --kimg 300",
    "runs/families --of families --only dcgan stylegan2",
    "runs/mine --data photos/ --size 64 64 --metric swd2k",
)
OF = {"losses": USUAL, "families": FAMILIES}


@dataclasses.dataclass(frozen=True)
class Options:
    """Compare losses with their usual penalties, or model families, with the same training budget."""

    out: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]
    """Folder for the comparison."""
    of: Literal["losses", "families"] = "losses"
    """What to compare."""
    data: str = "digits"
    """The data set: any --data of `experiments.train`."""
    data_dir: str = ""
    """Where TFDS data sets are stored; '' is TFDS's default."""
    size: tuple[int, int] | None = None
    """Height and width of the images; None: those of the configs, 28 28."""
    metric: str = "fd2k"
    """The metric to compare by. fd2k needs at least 200 labelled images; without labels, take swd2k or random10k."""
    kimg: float = 150.0
    """Length of each run, in thousands of images."""
    width: int = 16
    """Channels of both networks; losses only."""
    patch: int = 2
    """Patch size of the networks; losses only."""
    batch: int = 32
    """Global batch size: images per step."""
    lr: float = 2e-3
    """Learning rate; losses only."""
    seed: int = 0
    """Seed of every run."""
    only: tuple[str, ...] = ()
    """Names of the losses or families to compare; empty for all."""
    jobs: int = 1
    """Number of runs at a time."""


JUDGES = [name for name, p in protocols.PROTOCOLS.items() if p.fakes and measure.QUALITY.get(p.metric, (None,))[0] == ""]
"""Metrics that are one number, which says how good images are."""


def judge(name: str) -> str:
    """The full name of a metric; UserError unless it is one of `JUDGES`."""
    (full,) = protocols.named((name,))
    if full not in JUDGES:
        raise UserError(f"--metric {name}: it is not one number that says how good images are; give one of {', '.join(JUDGES)}")
    return full


def command(options: Options, name: str) -> list[str]:
    """The training command of one loss or family."""
    of_losses = options.of == "losses"
    names = ("data", "data_dir", "size", "kimg", "batch", "seed") + (("width", "patch", "lr") if of_losses else ())
    given = {field: getattr(options, field) for field in names}
    fields = []
    for field, value in given.items():
        if value not in ("", None):
            fields += [f"--{field.replace('_', '-')}", *map(str, value if isinstance(value, tuple) else (value,))]
    ticks = ["--tick-kimg", str(options.kimg / 30), "--snapshot-kimg", str(options.kimg / 3), "--metrics", options.metric]
    where = ["--run-dir", str(Path(options.out) / name), "--augment"]
    config = f"{name}-mnist" if options.data == "mnist" else name
    what = ["objective", "--loss", name, *USUAL[name]] if of_losses else [config, *FAMILIES[name]]
    return [sys.executable, "-m", "experiments.train", *what, *fields, *ticks, *where]


def check_metric(options: Options, contenders) -> None:
    """UserError where runs of an earlier comparison in OUT were measured otherwise: the table would have no numbers."""
    for run in (Path(options.out) / name for name in contenders):
        known = restore.read_config(run)["settings"]["metrics"] if (run / "config.json").exists() else [options.metric]
        if options.metric not in known:
            raise UserError(f"--metric {options.metric}: {run} was measured by {' '.join(known)}; give that, or another OUT")


def train(options: Options, name: str, children: list) -> str:
    """Train one, a process that joins `children`; '' or the last line of its complaint, which may be that it diverged."""
    log = Path(options.out) / f"{name}.log"
    with log.open("a") as f:
        # In a session of its own, so that Ctrl-C is not its business: two signals would end it before it has saved.
        child = subprocess.Popen(command(options, name), stdout=f, stderr=subprocess.STDOUT, start_new_session=True)
    children.append(child)
    code = child.wait()
    if code == 0:
        return ""
    if code in (130, 143, -2, -15):
        return "stopped; the same command resumes"
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    if lines and "holds a run of another config" in lines[-1]:
        return f"{options.out} holds a comparison with other options; give another OUT"
    return lines[-1] if lines else f"exit code {code}"


def rounded(value: float) -> str:
    """With one decimal, or of a number below 1 with two digits."""
    return f"{value:.{max(1, 1 - math.floor(math.log10(abs(value) or 1)))}f}"


def scores(options: Options, name: str, what: str) -> list[str]:
    """A number of the run's log near each third of the budget; dashes where there is none."""
    rows = [row for row in watch.read_lines(Path(options.out) / name / "log.jsonl") if what in row]
    found = []
    for third in (1, 2, 3):
        away = lambda row, kimg=third * options.kimg / 3: abs(row["kimg"] - kimg)
        near = min(rows, key=away, default=None)
        found.append(rounded(near[what]) if near and away(near) < options.kimg / 6 else "–")
    return found


def row(options: Options, name: str, complaint: str) -> str:
    """A line of the table: what it is used with, the distances, the time, and what went wrong."""
    given = OF[options.of][name]
    usual = " ".join(part for part in given if not part.startswith("--") and not part.isdigit() or options.of == "families")
    swd = scores(options, name, "swd")[-1]
    rows = [row for row in watch.read_lines(Path(options.out) / name / "log.jsonl") if "img_per_s" in row]
    rate = np.median([row["img_per_s"] for row in rows]) if rows else 0.0  # the median: others may work beside it
    minutes = f"{rows[-1]['kimg'] * 1000 / rate / 60:.1f}" if rows else "–"
    return f"| `{name}` | {usual} | {' | '.join(scores(options, name, options.metric))} | {swd} | {minutes} | {complaint} |"


def picture(options: Options, contenders, columns: int = 20) -> Image.Image:
    """A row of images of each by its name, two of each class where there are ten, below a row of real ones."""
    rows, names = [], []
    for name in contenders:
        try:
            trained = restore.load(Path(options.out) / name)
        except UserError:  # it stopped before its first checkpoint
            continue
        label = np.arange(columns) * trained.generator.classes // columns if trained.generator.classes else None
        rows, names = [*rows, trained.sample(columns, seed=options.seed, label=label)], [*names, name]
    if not rows:
        raise UserError(f"{options.out}: no run reached a checkpoint; see the .log files there")
    source = evaluate.real_images(evaluate.Arguments(""), trained.config, None)
    reals = source.read(np.resize(stream.indices(options.seed, 0, min(columns, source.n), source.n), columns))
    sheet = watch.grid(np.concatenate([reals, *rows]), columns=columns, least=0).convert("RGB")
    side = source.shape[0] + 1
    whole = Image.new("RGB", (160 + sheet.width, sheet.height), "white")
    whole.paste(sheet, (160, 0))
    draw = ImageDraw.Draw(whole)
    for i, name in enumerate(["real images", *names]):
        draw.text((4, i * side + side // 2 - 5), name, "black")
    return whole


def main() -> int:
    options = parse(Options, prog="python -m experiments.compare", examples=EXAMPLES)
    known = OF[options.of]
    for name in ("width", "patch", "lr") if options.of == "families" else ():
        if getattr(options, name) != getattr(Options, name):
            raise UserError(f"--{name} {getattr(options, name):g}: each family has its own; leave it out")
    for name in options.only:
        if name not in known:
            raise UserError(f"--only {name}: the {options.of} are {', '.join(known)}")
    options = dataclasses.replace(options, metric=judge(options.metric))
    contenders = options.only or tuple(known)
    check_metric(options, contenders)
    Path(options.out).mkdir(parents=True, exist_ok=True)
    complaints, children = {}, []
    for number in {signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)}:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup has it
            signal.signal(number, lambda number, frame: sys.exit(128 + number))
    counter = watch.counter(f"comparing {len(contenders)} {options.of}")
    with counter as update, ThreadPoolExecutor(max(options.jobs, 1)) as pool:
        try:
            done = pool.map(lambda name: train(options, name, children), contenders)
            for name, complaint in zip(contenders, done, strict=True):
                complaints[name] = complaint
                update(len(complaints), len(contenders))
        except BaseException:
            print("stopping: the runs in progress are saved; the same command resumes", file=sys.stderr)
            pool.shutdown(wait=False, cancel_futures=True)
            for child in children:
                child.terminate()
            raise
    at = [f"{options.metric} at {options.kimg * k / 3:g} kimg" for k in (1, 2, 3)]
    head = f"| | with | {' | '.join(at)} | swd | minutes | |\n| --- | --- | --- | --- | --- | --- | --- | --- |"
    table = Path(options.out) / "table.md"
    table.write_text("\n".join([head, *(row(options, name, complaints[name]) for name in contenders)]) + "\n", encoding="utf-8")
    for name, complaint in complaints.items():
        if complaint:
            print(f"{name}: {complaint}")
    said = marks.png({"generated": True}, marks.COMPOSITE)  # real ones are beside them
    watch.write_picture(picture(options, contenders), table.with_name("samples.png"), said)
    print(f"table: {table}; picture: samples.png beside it")
    return int(any(complaints.values()))


if __name__ == "__main__":
    run_command(main)
