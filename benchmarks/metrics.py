"""How long does an evaluation take? Inception features against torch-fidelity's on the same weights, and the statistics.

`python -m benchmarks.metrics --weights pt_inception.pth --python torch-fidelity=PATH`: images a second of both networks, in
turns, on --images noise images of 32x32; then the seconds and the peak memory of FID, KID and precision/recall on features of
--features rows. The time of an evaluation of n images is n / rate plus those. Any file with the right arrays will do for timing.
"""

import argparse
import json
import resource
import statistics
import sys
import time

import numpy as np

from benchmarks.peers import Worker

SIDES = {"jaxgan": ("peer_inception.py", "", []), "torch-fidelity": ("peer_fidelity.py", "torch-fidelity", [])}


def statistics_of(n: int) -> list[dict]:
    """Seconds of each statistic on [n, 2048] features, and the peak memory of this process after it."""
    from jaxgan.metrics import frechet, kernel, manifold

    rng = np.random.default_rng(0)
    real, fake = (np.maximum(rng.standard_normal((n, 2048), np.float32) + i * 0.1, 0) for i in range(2))
    steps = {
        "moments": lambda: (frechet.moments_of(real), frechet.moments_of(fake)),
        "fid from moments": lambda: frechet.frechet(*moments),
        "kid": lambda: kernel.kid(real, fake),
        "precision, recall, density, coverage": lambda: manifold.manifold(real, fake),
    }
    rows, moments = [], None
    for name, fn in steps.items():
        start = time.perf_counter()
        out = fn()
        moments = out if name == "moments" else moments
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        rows.append({"what": name, "rows": n, "seconds": round(time.perf_counter() - start, 2), "peak_gib": round(peak, 2)})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", help="the Inception file; without it the statistics alone are timed")
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--features", type=int, nargs="*", default=[10_000])
    parser.add_argument("--python", nargs="*", default=[], metavar="PACKAGE=PATH")
    parser.add_argument("--out", help="also append the lines to this file")
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
        rows += statistics_of(n)
    for row in rows:
        print(json.dumps(row), flush=True)
        if args.out:
            with open(args.out, "a") as f:
                f.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
