"""Our Inception features, for `benchmarks.metrics`: any state dict with the right names."""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks.peer_worker import serve  # noqa: E402
from jaxgan import parallel, provenance  # noqa: E402
from jaxgan.metrics import extraction, features  # noqa: E402
from jaxgan.tensors import read  # noqa: E402


def main() -> None:
    parallel.share_cores(0, parallel.MOST * extraction.CHUNK, 1)  # as `experiments.evaluate` does
    which = features.inception_of(read(sys.argv[1]))

    def build(batch):
        x = np.random.default_rng(0).integers(0, 256, (batch, 32, 32, 3), np.uint8)
        return lambda steps: [extraction.extract(which, x) for _ in range(steps)]

    serve(f"jax {provenance.versions()['jax']}", build)


if __name__ == "__main__":
    main()
