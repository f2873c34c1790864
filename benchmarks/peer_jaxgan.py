"""Our side of `benchmarks.peers`: the config digits-seed as the trainer runs it, feed and meter included."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.peer_worker import serve  # noqa: E402
from benchmarks.step import Case  # noqa: E402
from jaxgan import provenance  # noqa: E402


def build(batch: int):
    case = Case("digits-seed", batch)

    def run(steps):
        case.round(steps, keep=False)

    return run


if __name__ == "__main__":
    serve(f"jax {provenance.versions()['jax']}", build)
