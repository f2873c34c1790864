"""How many cores there are to work with."""

import os


def cores() -> int:
    """Cores that this process may use: of a cluster's node a job has some, and threads for all would take memory for nothing."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
