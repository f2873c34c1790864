"""The statistics of `benchmarks.metrics` on [n, 2048] features: `python peer_statistics.py jaxgan | torch-fidelity N [WHAT ...]`.

One JSON line a statistic: seconds, seconds of all cores, the numbers, and the peak memory of this process so far. Each side
does what it does when a user asks for that metric: torch-fidelity gives precision and recall alone, ours density and coverage
in the same pass.
"""

import json
import resource
import sys
import time
from pathlib import Path

import numpy as np


def features(n: int):
    """Real and fake: rectified normal float32 rows, a tenth apart."""
    rng = np.random.default_rng(0)
    return [np.maximum(rng.standard_normal((n, 2048), np.float32) + i * 0.1, 0) for i in range(2)]


def ours(real, fake):
    sys.path.insert(0, str(Path(__file__).parent.parent))
    from jaxgan.metrics import frechet, kernel, manifold

    def prc():
        found = manifold.manifold(real, fake)
        return found.precision.value, found.recall.value

    return {
        "fid": lambda: frechet.frechet(frechet.moments_of(real), frechet.moments_of(fake)),
        "kid": lambda: kernel.kid(real, fake).value,
        "precision, recall": prc,
    }


def theirs(real, fake):
    import torch
    from torch_fidelity import metric_fid, metric_kid, metric_prc

    real, fake = torch.from_numpy(real), torch.from_numpy(fake)
    quiet = {"verbose": False, "save_cpu_ram": len(real) > 20_000}

    def fid():
        one, two = (metric_fid.fid_features_to_statistics(x) for x in (fake, real))
        return metric_fid.fid_statistics_to_metric(one, two, False)["frechet_inception_distance"]

    return {
        "fid": fid,
        "kid": lambda: metric_kid.kid_features_to_metric(fake, real, **quiet)["kernel_inception_distance_mean"],
        "precision, recall": lambda: [metric_prc.prc_features_to_metric(fake, real, **quiet)[k] for k in ("precision", "recall")],
    }


def main() -> None:
    side, n, what = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
    steps = {"jaxgan": ours, "torch-fidelity": theirs}[side](*features(n))
    for name in what or steps:
        start, cores = time.perf_counter(), time.process_time()
        value = np.asarray(steps[name]()).tolist()
        row = {"what": name, "side": side, "rows": n, "seconds": round(time.perf_counter() - start, 2)}
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        row |= {"cpu_seconds": round(time.process_time() - cores, 2), "peak_gib": round(peak, 2), "value": value}
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
