"""Features by a written rule, and what other people's metrics say of them (metrics.json).

The rule: entry [i, f] of set s is sum_d latent[i, d] mix[d, f] + 0.1 noise[i, f], where each of the three arrays is
sin of (multiples of square roots of primes), times a scale, so that the points fill 6 of F dimensions and a little of
the others; every set but the first is shifted and stretched. Rounded to float32, then given to everybody as float64.

`python -m tests.golden.metrics_rule > tests/golden/metrics.json`, run where pytorch-fid, torch-fidelity and prdc are
installed, makes the numbers again.
"""

import json

import numpy as np

N, F, CLASSES = 400, 24, 10


def wave(rows: int, columns: int, leaf: int) -> np.ndarray:
    """[rows, columns] in [-1, 1], without a visible pattern."""
    i, j = np.arange(1, rows + 1)[:, None], np.arange(1, columns + 1)[None, :]
    return np.sin(1000 * np.sin(np.sqrt(2) * i + np.sqrt(3) * j * (leaf + 1) + np.sqrt(5) * leaf))


def features(leaf: int, n: int = N) -> np.ndarray:
    """Set number `leaf`, float64 [n, F] (of float32 numbers)."""
    x = wave(n, 6, leaf) @ wave(6, F, 100) + 0.1 * wave(n, F, leaf + 20)
    return (x * (1 + 0.05 * leaf) + 0.1 * leaf).astype(np.float32).astype(np.float64)


def logits(leaf: int = 0, n: int = N) -> np.ndarray:
    """Class logits, float64 [n, CLASSES] (of float32 numbers)."""
    return (4 * wave(n, CLASSES, leaf)).astype(np.float32).astype(np.float64)


def main():
    from importlib.metadata import version

    import prdc
    import torch
    from pytorch_fid.fid_score import calculate_frechet_distance
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
    from torch_fidelity.metric_isc import isc_features_to_metric
    from torch_fidelity.metric_kid import kid_features_to_metric
    from torch_fidelity.metric_prc import prc_features_to_metric

    real, fake = features(0), features(1)
    t_real, t_fake = torch.from_numpy(real), torch.from_numpy(fake)
    a, b = (fid_features_to_statistics(t) for t in (t_fake, t_real))
    out = {
        "versions": {p: version(p) for p in ("pytorch-fid", "torch-fidelity", "prdc", "torch", "numpy", "scipy")},
        "pytorch-fid": {"fid": float(calculate_frechet_distance(a["mu"], a["sigma"], b["mu"], b["sigma"]))},
        "torch-fidelity": {
            **fid_statistics_to_metric(a, b, False),
            **kid_features_to_metric(t_fake, t_real, kid_subsets=10, kid_subset_size=100, rng_seed=2020, verbose=False),
            **isc_features_to_metric(torch.from_numpy(logits())),
            **prc_features_to_metric(t_fake, t_real, prc_neighborhood=3, verbose=False),
        },
        "prdc": {k: float(v) for k, v in prdc.compute_prdc(real, fake, 5).items()},
    }
    print(json.dumps(out, indent=1))


if __name__ == "__main__":
    main()
