"""Training steps of this library and of other implementations, alternating in one process tree.

The tutorial's step in Keras/TensorFlow, in PyTorch and in plain Flax: the same networks, loss, optimiser, batch and dropout;
both networks are updated from the same parameters. With `--r3gan CHECKOUT` and `--stylegan3 CHECKOUT` also the official R3GAN
(brownvc/R3GAN) and StyleGAN2 (NVlabs/stylegan3) are compared with ours, all phases of a step at the sizes of `peer_sizes`: small
on a CPU, the published presets on a GPU. Every side is a worker process that waits while the others run; they take turns, and
the result is the ratio of the times in each turn.

`python -m benchmarks.peers --python keras=PATH torch=PATH` names the interpreters that have the peers installed (each can be its
own virtual environment: `pip install tensorflow`, `pip install torch`). A peer without one uses this interpreter; if it is not
installed, it is skipped with a message. `--out FILE` appends the JSON lines to a file.
"""

import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.result import command_line, write

SIDES = {
    "jaxgan": ("peer_jaxgan.py", "", "tutorial"),
    "plain flax": ("peer_flax.py", ""),
    "keras, TensorFlow graph": ("peer_keras.py", "keras"),
    "torch eager": ("peer_torch.py", "torch"),
    "torch eager, channels_last": ("peer_torch.py", "torch", "channels_last"),
    "torch compiled, channels_last": ("peer_torch.py", "torch", "compiled"),
}
"""name -> the worker's file, the package that --python may name an interpreter for, its arguments. The first is ours."""


def official(game: str, checkout: str) -> dict[str, tuple]:
    """The sides of a game that a checkout has the official code of."""
    theirs = ("peer_official.py", "torch", game, str(Path(checkout).resolve()))
    return {"jaxgan": ("peer_jaxgan.py", "", game), "official": theirs}


PERIOD = {"tutorial": 1, "r3gan": 1, "stylegan2": 16}
"""Steps after which a game's lazy terms have all been due as often as they should."""


class Worker:
    """A process that answers 'batch steps' with the seconds that a step took. A class: it has a life."""

    def __init__(self, name: str, file: str, python: str, arguments: list[str]):
        self.name = name
        command = [python or sys.executable, str(Path(__file__).parent / file), *arguments]
        pipe, self.complaints = subprocess.PIPE, tempfile.TemporaryFile("w+")
        cwd = Path(__file__).parent.parent
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=self.complaints, text=True, cwd=cwd)
        self.about = self._answer()

    def why(self) -> str:
        """The last line of its standard error."""
        self.complaints.seek(0)
        return next((line for line in reversed(self.complaints.read().splitlines()) if line.strip()), "it said nothing")

    def _answer(self) -> str | None:
        for line in self.process.stdout:
            if line.startswith("@"):  # what else a framework prints on the way is not for us
                return line[1:].strip()
        return None

    def time(self, batch: int, steps: int) -> float:
        self.process.stdin.write(f"{batch} {steps}\n")
        self.process.stdin.flush()
        answer = self._answer()
        if answer is None:
            raise SystemExit(f"error: the worker of {self.name} stopped: {self.why()}")
        return float(answer)


def start(sides: dict[str, tuple], only: list[str] | None, pythons: dict[str, str]) -> list[Worker]:
    """The workers of a game that can run, ours first."""
    workers = []
    for name, (file, package, *arguments) in sides.items():
        if name != "jaxgan" and only and name not in only:
            continue
        worker = Worker(name, file, pythons.get(package, ""), arguments)
        if worker.about is None:
            print(f"left out: {name} ({worker.why()})", file=sys.stderr)
        else:
            workers.append(worker)
    return workers


def compare(game: str, workers: list[Worker], batch: int, steps: int, turns: int) -> Iterator[dict]:
    """A row for each worker: its times, and its times over ours of the same turn."""
    times = {w.name: [] for w in workers}
    for w in workers:
        w.time(batch, max(3, PERIOD[game], steps // 4))  # compiles, and warms up
    for turn in range(turns):
        for w in workers if turn % 2 else reversed(workers):
            times[w.name].append(w.time(batch, steps))
    for w in workers:
        ratios = [theirs / ours for theirs, ours in zip(times[w.name], times["jaxgan"], strict=True)]
        yield {
            "game": game,
            "side": w.name,
            "batch": batch,
            "ms": round(1000 * statistics.median(times[w.name]), 2),
            "img_per_s": round(batch / statistics.median(times[w.name]), 1),
            "jaxgan_is_faster_by": round(statistics.median(ratios), 3),
            "low": round(min(ratios), 3),
            "high": round(max(ratios), 3),
            "turns": turns,
            "steps": steps,
            "about": w.about,
        }


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--batch", type=int, nargs="+", default=[32, 256], help="images per step; each size is a case")
    parser.add_argument("--turns", type=int, default=7, help="rounds, all sides in turn")
    parser.add_argument("--images", type=int, default=1024, help="minimum number of images per turn and side")
    parser.add_argument("--games", nargs="*", choices=PERIOD, default=list(PERIOD), help="the official ones need a checkout")
    parser.add_argument("--r3gan", metavar="CHECKOUT", help="of brownvc/R3GAN")
    parser.add_argument("--stylegan3", metavar="CHECKOUT", help="of NVlabs/stylegan3")
    parser.add_argument("--only", nargs="+", choices=[*SIDES, "official"], help="only these sides, besides jaxgan")
    parser.add_argument("--python", nargs="*", default=[], metavar="PACKAGE=PATH", help="interpreters that have the peers")
    args = parser.parse_args()
    pythons = dict(pair.split("=", 1) for pair in args.python)
    games = {"tutorial": SIDES}
    games |= {"r3gan": official("r3gan", args.r3gan)} if args.r3gan else {}
    games |= {"stylegan2": official("stylegan2", args.stylegan3)} if args.stylegan3 else {}
    for game in (name for name in args.games if name in games):
        workers = start(games[game], args.only, pythons)
        for batch in args.batch:
            period = PERIOD[game]
            steps = -(-max(2, args.images // batch) // period) * period
            for row in compare(game, workers, batch, steps, args.turns):
                write(row, args.out)
        for w in workers:
            w.process.stdin.close()
            w.process.wait()


if __name__ == "__main__":
    main()
