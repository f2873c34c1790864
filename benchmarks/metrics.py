"""How long does an evaluation take? Inception features and metrics, against torch-fidelity with the same weights.

`python -m benchmarks.metrics --weights pt_inception.pth --python torch-fidelity=PATH`: images/s of both networks,
interleaved, on --images noise images of 32x32; then seconds, peak memory and values of FID, KID and precision/recall of both, on
features of --features rows. Evaluating n images takes n / rate plus those times. Any file with the right arrays will do for
timing. A side that cannot run is left out with a message.
"""

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.result import as_command, command_line, count, interpreters, say
from benchmarks.workers import HERE, Worker, measure, rows, tell

SIDES = {"jaxgan": "peer_inception.py", "torch-fidelity": "peer_fidelity.py"}
METRICS = ("fid", "kid", "precision, recall")
KID = 1000
"""Images in each of its subsets: the least rows that it takes."""


def features(weights: str, batch: int, images: int, turns: int, pythons: dict[str, str]) -> list[dict]:
    """A row for each side: images a second through the network."""
    workers = [Worker(side, file, pythons.get(side, ""), [weights]) for side, file in SIDES.items()]
    times = {side: [] for side in SIDES}
    try:
        measure(times, workers, "inception features", (batch, 1, -(-images // batch), turns), None)
        return [{"what": "inception features"} | row for row in rows(times, workers, batch)]
    finally:
        for w in workers:
            w.close()


def statistics_of(n: int, metrics: list[str], pythons: dict[str, str]) -> list[dict]:
    """Seconds, peak memory and values of each statistic on [n, 2048] features, of both sides, each side in a fresh process."""
    found = []
    for side in SIDES:
        command = [pythons.get(side, sys.executable), str(HERE / "peer_statistics.py"), side, str(n), *metrics]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            said = [line for line in done.stderr.splitlines() if line.strip()]
            tell(f"left out: statistics of {side} ({said[-1] if said else f'it ended with {done.returncode}'})")
        found += [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    ours = {row["what"]: row["seconds"] for row in found if row["side"] == "jaxgan"}
    faster = lambda row: round(row["seconds"] / ours[row["what"]], 2) if ours.get(row["what"]) else None
    return [row | {"jaxgan_is_faster_by": faster(row)} for row in found]


def main() -> int:
    parser = command_line(__doc__)
    parser.add_argument("--weights", help="the Inception file; without it only the metrics are timed")
    parser.add_argument("--images", type=count, default=128, help="of which features are taken")
    parser.add_argument("--batch", type=count, default=128, help="images at a time")
    parser.add_argument("--turns", type=count, default=3, help="rounds, both sides in turn")
    parser.add_argument("--features", type=count, nargs="*", default=[10_000], help="numbers of rows")
    parser.add_argument("--metrics", nargs="+", choices=METRICS, default=list(METRICS), help="which are timed on them")
    parser.add_argument("--python", nargs="*", default=[], metavar="PACKAGE=PATH", help="interpreter that has torch-fidelity")
    args = parser.parse_args()
    pythons = interpreters(args.python, ("torch-fidelity",), parser)
    if args.weights and not Path(args.weights).is_file():
        parser.error(f"--weights {args.weights}: there is no such file")
    if args.features and min(args.features) < KID and "kid" in args.metrics:
        parser.error(f"--features {min(args.features)}: KID takes subsets of {KID}; give as many rows, or --metrics without kid")
    written = 0
    if args.weights:
        weights = str(Path(args.weights).resolve())
        for row in features(weights, args.batch, args.images, args.turns, pythons):
            say(row, args.out)
            written += 1
    for n in args.features:
        for row in statistics_of(n, args.metrics, pythons):
            say(row, args.out)
            written += 1
    return 0 if written else 1


if __name__ == "__main__":
    as_command(main)
