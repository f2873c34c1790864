"""How long does an evaluation take? Inception features and metrics, against torch-fidelity with the same weights.

`python -m benchmarks.metrics --weights pt_inception.pth --python torch-fidelity=PATH`: images/s of both networks,
interleaved, on --images noise images of 32x32; then seconds, peak memory and values of FID, KID and precision/recall of both, on
features of --features rows. Evaluating n images takes n / rate plus those times. Any file with the right arrays will do for
timing.
"""

import json
import statistics
import subprocess
import sys
from pathlib import Path

from benchmarks.peers import Worker
from benchmarks.result import command_line, write

SIDES = {"jaxgan": ("peer_inception.py", "", []), "torch-fidelity": ("peer_fidelity.py", "torch-fidelity", [])}


def statistics_of(n: int, pythons: dict[str, str]) -> list[dict]:
    """Seconds, peak memory and values of each statistic on [n, 2048] features, of both sides, each side in a fresh process."""
    rows = []
    for side in ("jaxgan", "torch-fidelity"):
        command = [pythons.get(side, sys.executable), str(Path(__file__).parent / "peer_statistics.py"), side, str(n)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            print(f"left out: statistics of {side} (its interpreter cannot run them)", file=sys.stderr)
        rows += [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    ours = {row["what"]: row["seconds"] for row in rows if row["side"] == "jaxgan"}
    return [row | {"jaxgan_is_faster_by": round(row["seconds"] / ours[row["what"]], 2)} for row in rows]


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--weights", help="the Inception file; without it only the metrics are timed")
    parser.add_argument("--images", type=int, default=128, help="of which features are taken")
    parser.add_argument("--batch", type=int, default=128, help="images at a time")
    parser.add_argument("--turns", type=int, default=3, help="rounds, both sides in turn")
    parser.add_argument("--features", type=int, nargs="*", default=[10_000], help="numbers of rows")
    parser.add_argument("--python", nargs="*", default=[], metavar="PACKAGE=PATH", help="interpreters that have it")
    args = parser.parse_args()
    pythons, rows = dict(pair.split("=", 1) for pair in args.python), []
    if args.weights:
        workers = [Worker(name, file, pythons.get(package, ""), [args.weights]) for name, (file, package, _) in SIDES.items()]
        missing = [w.name for w in workers if w.about is None]
        if missing:
            print(f"left out: {', '.join(missing)} (cannot run; try its file by hand)", file=sys.stderr)
        workers = [w for w in workers if w.about is not None]
        times = {w.name: [] for w in workers}
        for w in workers:
            w.time(args.batch, 1)
        for turn in range(args.turns):
            for w in workers if turn % 2 else reversed(workers):
                times[w.name].append(w.time(args.batch, args.images // args.batch))
        for w in workers:
            rate = args.batch / statistics.median(times[w.name])
            ratio = statistics.median(a / b for a, b in zip(times[w.name], times["jaxgan"], strict=True))
            row = {"what": "inception features", "side": w.name, "img_per_s": round(rate, 2)}
            rows.append(row | {"jaxgan_is_faster_by": round(ratio, 3), "about": w.about})
            w.process.stdin.close()
            w.process.wait()
    for n in args.features:
        rows += statistics_of(n, pythons)
    for row in rows:
        write(row, args.out)


if __name__ == "__main__":
    main()
