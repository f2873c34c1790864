"""`python -m experiments.compare OUT`: every loss with its usual penalty, the same networks and images; a table and a picture.

Each loss is a run of the config `objective` in its own folder of OUT, so a stopped comparison goes on where it was. They are
judged by `fd2k`, the Frechet distance of 2,000 images in the features of the set's own classifier, by the pixels' sliced
Wasserstein distance, and by eye: OUT/samples.png has a row a loss.
"""

import dataclasses
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from PIL import Image, ImageDraw

from experiments.cli import parse, run_command
from jaxgan import sample, watch
from jaxgan.errors import UserError

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


@dataclasses.dataclass(frozen=True)
class Options:
    """Every loss with its usual penalty, in the same budget."""

    out: Annotated[str, tyro.conf.Positional]
    """Folder of the comparison."""
    data: str = "digits"
    data_dir: str = ""
    kimg: float = 150.0
    """Images shown to each."""
    width: int = 16
    """Channels of both networks."""
    patch: int = 2
    batch: int = 32
    lr: float = 2e-3
    seed: int = 0
    only: tuple[str, ...] = ()
    """Names of losses; empty for all."""
    jobs: int = 1
    """So many at once."""


def command(options: Options, loss: str) -> list[str]:
    """The training command of one loss."""
    given = {name: getattr(options, name) for name in ("data", "data_dir", "kimg", "width", "patch", "batch", "lr", "seed")}
    fields = [part for name, value in given.items() for part in (f"--{name.replace('_', '-')}", str(value)) if value != ""]
    ticks = ["--tick-kimg", str(options.kimg / 30), "--snapshot-kimg", str(options.kimg / 3), "--metrics", "fd2k"]
    where = ["--run-dir", str(Path(options.out) / loss), "--augment"]
    return [sys.executable, "-m", "experiments.train", "objective", "--loss", loss, *USUAL[loss], *fields, *ticks, *where]


def train(options: Options, loss: str) -> str:
    """Train one; '' or the last line of its complaint, which may be that it diverged."""
    log = Path(options.out) / f"{loss}.log"
    with log.open("w") as f:
        code = subprocess.run(command(options, loss), stdout=f, stderr=subprocess.STDOUT).returncode
    if code == 0:
        return ""
    if code in (130, 143, -2, -15):
        return "stopped; the same command goes on"
    lines = [line for line in log.read_text().splitlines() if line.strip()]
    return lines[-1] if lines else f"exit code {code}"


def scores(options: Options, loss: str, name: str) -> list[str]:
    """A number of the run's log at thirds of the budget; dashes where it did not get so far."""
    rows = watch.read_log(Path(options.out) / loss / "log.jsonl")
    return ([f"{row[name]:.1f}" for row in rows if name in row] + ["–"] * 3)[:3]


def row(options: Options, loss: str, complaint: str) -> str:
    """A line of the table: what it is used with, the distances, and what went wrong."""
    usual = " ".join(part for part in USUAL[loss] if not part.startswith("--") and not part.isdigit())
    swd = scores(options, loss, "swd")[-1]
    return f"| `{loss}` | {usual} | {' | '.join(scores(options, loss, 'fd2k'))} | {swd} | {complaint} |"


def picture(options: Options, losses, columns: int = 20) -> Image.Image:
    """A row of images of each loss by its name, two of each class where there are ten, below a row of real ones."""
    rows, names = [], []
    for loss in losses:
        try:
            trained = sample.load(Path(options.out) / loss)
        except UserError:  # it stopped before its first checkpoint
            continue
        label = np.arange(columns) * trained.generator.classes // columns if trained.generator.classes else None
        rows, names = [*rows, trained.sample(columns, seed=options.seed, label=label)], [*names, loss]
    if not rows:
        raise UserError(f"{options.out}: no loss came as far as a checkpoint; see the .log files there")
    with Image.open(Path(options.out) / losses[0] / "samples" / "reals.png") as reals:
        above = reals.convert("RGB")
    sheet = watch.grid(np.concatenate(rows), columns=columns, least=0).convert("RGB")
    side = sheet.height // len(rows)
    above = above.resize((round(above.width * 8 * side / above.height), 8 * side)).crop((0, 0, 8 * side, side))
    whole = Image.new("RGB", (160 + sheet.width, side + sheet.height), "white")
    whole.paste(above, (160, 0))
    whole.paste(sheet, (160, side))
    draw = ImageDraw.Draw(whole)
    for i, name in enumerate(["real images", *names]):
        draw.text((4, i * side + side // 2 - 5), name, "black")
    return whole


def main() -> int:
    options = parse(Options, prog="python -m experiments.compare")
    for loss in options.only:
        if loss not in USUAL:
            raise UserError(f"there is no loss {loss!r}; there are {', '.join(USUAL)}")
    losses = options.only or tuple(USUAL)
    Path(options.out).mkdir(parents=True, exist_ok=True)
    done, complaints = 0, {}
    update, close = watch.counter(f"comparing {len(losses)} losses", True)
    with ThreadPoolExecutor(max(options.jobs, 1)) as pool:
        for loss, complaint in zip(losses, pool.map(lambda loss: train(options, loss), losses), strict=True):
            done, complaints = done + 1, complaints | {loss: complaint}
            update(done, len(losses))
    close()
    at = [f"fd2k at {options.kimg * k / 3:g} kimg" for k in (1, 2, 3)]
    head = f"| loss | with | {' | '.join(at)} | swd | |\n| --- | --- | --- | --- | --- | --- | --- |"
    table = Path(options.out) / "table.md"
    table.write_text("\n".join([head, *(row(options, loss, complaints[loss]) for loss in losses)]) + "\n")
    for loss, complaint in complaints.items():
        if complaint:
            print(f"{loss}: {complaint}")
    watch.write_picture(picture(options, losses), table.with_name("samples.png"))
    print(f"the table: {table}; the picture: samples.png beside it")
    return 0


if __name__ == "__main__":
    run_command(main)
