"""The loop of a worker of `benchmarks.peers`: reads 'batch steps' lines, answers '@seconds a step'. Needs nothing installed."""

import sys
import time


def serve(about: str, build) -> None:
    """Answer until the input ends.

    Args:
      about: versions, for the record.
      build: batch -> step(n), which makes n training steps and waits for the last, and only for that.
    """
    print(f"@{about}", flush=True)
    built = {}
    for line in sys.stdin:
        batch, steps = map(int, line.split())
        if batch not in built:
            built[batch] = build(batch)
            built[batch](1)
        start = time.perf_counter()
        built[batch](steps)
        print(f"@{(time.perf_counter() - start) / steps}", flush=True)
