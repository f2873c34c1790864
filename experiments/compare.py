"""`python -m experiments.compare OUT`: every loss with its usual penalty, the same networks and images; a table and grids.

Each loss is a run of the config `objective` in its own folder of OUT, so a stopped comparison goes on where it was.
"""

import dataclasses
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import tyro

from experiments.cli import parse, run_command
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
    ticks = ["--tick-kimg", str(options.kimg / 30), "--snapshot-kimg", str(options.kimg / 3)]
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


def row(options: Options, loss: str, complaint: str) -> str:
    """A line of the table: the sliced Wasserstein distance at thirds of the budget, and the grid."""
    directory = Path(options.out) / loss
    log = directory / "log.jsonl"
    rows = [json.loads(line) for line in log.read_text().splitlines()] if log.is_file() else []
    scores = [f"{r['swd']:.2f}" for r in rows if "swd" in r]
    scores = (scores + ["–"] * 3)[:3]
    grids = sorted((directory / "samples").glob("kimg*.png"))
    picture = f"![{loss}]({grids[-1].relative_to(options.out)})" if grids else complaint
    penalty = " ".join(part for part in USUAL[loss] if not part.startswith("--") and not part.isdigit())
    return f"| {loss} | {penalty} | {' | '.join(scores)} | {picture} |"


def main() -> int:
    options = parse(Options, prog="python -m experiments.compare")
    for loss in options.only:
        if loss not in USUAL:
            raise UserError(f"there is no loss {loss!r}; there are {', '.join(USUAL)}")
    losses = options.only or tuple(USUAL)
    Path(options.out).mkdir(parents=True, exist_ok=True)
    from jaxgan import watch

    done, complaints = 0, {}
    update, close = watch.counter(f"comparing {len(losses)} losses", True)
    with ThreadPoolExecutor(max(options.jobs, 1)) as pool:
        for loss, complaint in zip(losses, pool.map(lambda loss: train(options, loss), losses), strict=True):
            done, complaints = done + 1, complaints | {loss: complaint}
            update(done, len(losses))
    close()
    at = [f"swd at {options.kimg * k / 3:g} kimg" for k in (1, 2, 3)]
    head = f"| loss | with | {' | '.join(at)} | samples |\n| --- | --- | --- | --- | --- | --- |"
    table = Path(options.out) / "table.md"
    table.write_text("\n".join([head, *(row(options, loss, complaints[loss]) for loss in losses)]) + "\n")
    for loss, complaint in complaints.items():
        if complaint:
            print(f"{loss}: {complaint}")
    print(f"the table: {table}")
    return 0


if __name__ == "__main__":
    run_command(main)
