"""Training steps of this library and of other implementations, alternating in one process tree.

The tutorial's step in Keras/TensorFlow, in PyTorch and in plain Flax: the same networks, loss, optimiser, batch and dropout;
both networks are updated from the same parameters. With `--r3gan CHECKOUT` and `--stylegan3 CHECKOUT` also the official R3GAN
(brownvc/R3GAN) and StyleGAN2 (NVlabs/stylegan3) are compared with ours, all phases of a step at the sizes of `peer_sizes`: small
on a CPU, the published presets on a GPU. Every side is a worker process that waits while the others run; they take turns, and
the result is the ratio of the times in each turn. What is equal on all sides and what is not: benchmarks/README.md.

`python -m benchmarks.peers --python keras=PATH torch=PATH` names the interpreters that have the peers installed (each can be its
own virtual environment: `pip install tensorflow`, `pip install torch`). A peer without one uses this interpreter; if it is not
installed, or needs a GPU, it is skipped with a message. `--out FILE` appends the JSON lines to a file.

Progress goes to standard error: when a side was ready, the times of each turn. A side that fails is told and left out from then
on. The lines are written for what was measured until then also when a side fails, at --limit, and after Ctrl-C or SIGTERM.
"""

import signal
import sys
import time
from pathlib import Path

from benchmarks.result import as_command, command_line, count, interpreters, say
from benchmarks.workers import Worker, measure, rows

SIDES = {
    "jaxgan": ("peer_jaxgan.py", "", "tutorial"),
    "plain flax": ("peer_flax.py", ""),
    "keras, TensorFlow graph": ("peer_keras.py", "keras", "graph"),
    "keras, TensorFlow XLA": ("peer_keras.py", "keras", "xla"),
    "torch eager": ("peer_torch.py", "torch", "eager"),
    "torch eager, channels_last": ("peer_torch.py", "torch", "channels_last"),
    "torch compiled, channels_last": ("peer_torch.py", "torch", "compiled"),
    "torch compiled, channels_last, CUDA graph": ("peer_torch.py", "torch", "graph"),
}
"""name -> the worker's file, the package that --python may name an interpreter for, its arguments. The first is ours."""


def official(game: str, checkout: Path) -> dict[str, tuple]:
    """The sides of a game that a checkout has the official code of."""
    theirs = ("peer_official.py", "torch", game, str(checkout.resolve()))
    return {"jaxgan": ("peer_jaxgan.py", "", game), "official": theirs, "official, channels_last": (*theirs, "channels_last")}


PERIOD = {"tutorial": 1, "r3gan": 1, "stylegan2": 16}
"""Steps after which a game's lazy terms have all been due as often as they should."""
CHECKOUTS = {"r3gan": ("r3gan", "R3GAN/Networks.py"), "stylegan2": ("stylegan3", "training/networks_stylegan2.py")}
"""game -> the option that names its checkout, and a file that is in it."""
NAMES = (*SIDES, "official", "official, channels_last")


def compare(game: str, sides: dict[str, tuple], args, pythons: dict[str, str], end: float | None) -> int:
    """Measure a game at each batch size and write its lines; returns how many."""
    named = {name: side for name, side in sides.items() if name == "jaxgan" or not args.only or name in args.only}
    workers = [Worker(name, file, pythons.get(kind, ""), more, end) for name, (file, kind, *more) in named.items()]
    written = 0
    try:
        for batch in args.batch:
            period, times = PERIOD[game], {w.name: [] for w in workers}
            steps = -(-max(2, args.images // batch) // period) * period
            warm = -(-max(3, steps // 4) // period) * period
            try:
                measure(times, workers, f"{game}, batch {batch}", (batch, warm, steps, args.turns), end)
            finally:
                for row in rows(times, workers, batch):
                    say({"game": game} | row | {"steps": steps}, args.out)
                    written += 1
    finally:
        for w in workers:
            w.close()
    return written


def chosen(args, parser) -> dict[str, dict[str, tuple]]:
    """{game: sides} of what was asked for."""
    places = {game: getattr(args, option) for game, (option, _) in CHECKOUTS.items()}
    for game, (option, file) in CHECKOUTS.items():
        if args.games and game in args.games and not places[game]:
            parser.error(f"--games {game} needs --{option} CHECKOUT")
        if places[game] and args.games and game not in args.games:
            parser.error(f"--{option} is for the game {game}, which --games leaves out")
        if places[game] and not Path(places[game], file).is_file():
            parser.error(f"--{option} {places[game]}: there is no {file} in it")
    games = {"tutorial": SIDES} | {game: official(game, Path(place)) for game, place in places.items() if place}
    games = {game: sides for game, sides in games.items() if not args.games or game in args.games}
    for name in args.only or ():
        if not any(name in sides for sides in games.values()):
            parser.error(f"--only {name!r} is no side of {', '.join(games)}")
    return games


def main() -> int:
    parser = command_line(__doc__)
    parser.add_argument("--batch", type=count, nargs="+", default=[32, 256], help="images per step; each size is a case")
    parser.add_argument("--turns", type=count, default=7, help="rounds, all sides in turn")
    parser.add_argument("--images", type=count, default=1024, help="minimum number of images per turn and side")
    parser.add_argument("--games", nargs="+", choices=PERIOD, help="without it the tutorial's and those with a checkout")
    parser.add_argument("--r3gan", metavar="CHECKOUT", help="of brownvc/R3GAN")
    parser.add_argument("--stylegan3", metavar="CHECKOUT", help="of NVlabs/stylegan3")
    parser.add_argument("--only", nargs="+", choices=NAMES, metavar="SIDE", help=f"besides jaxgan: {'; '.join(NAMES[1:])}")
    parser.add_argument("--python", nargs="*", default=[], metavar="PACKAGE=PATH", help="interpreters that have the peers")
    parser.add_argument("--limit", type=count, metavar="SECONDS", help="stop by then, with what there is: for a borrowed machine")
    args = parser.parse_args()
    pythons = interpreters(args.python, ("keras", "torch"), parser)
    games = chosen(args, parser)
    end = time.monotonic() + args.limit if args.limit else None
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    return 0 if all([compare(game, sides, args, pythons, end) for game, sides in games.items()]) else 1


if __name__ == "__main__":
    as_command(main)
