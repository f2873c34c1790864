"""Run commands, one for each line of stdin, each in a fork of this process, which has imported all and started nothing."""

import importlib
import json
import os
import signal
import sys

from matplotlib.backends import backend_agg  # noqa: F401  which a run's first curves would

from experiments import configs, evaluate, sample, train, translate  # noqa: F401  what the commands import themselves is below
from experiments.cli import run_command
from jaxgan import compile_cache, memory, run  # noqa: F401


def command(module: str, args: list[str], out: str, err: str, timeout: int) -> None:
    """As `python -m experiments.MODULE ARGS`, its output in two files; killed by SIGALRM after `timeout` seconds."""
    for descriptor, path in ((0, os.devnull), (1, out), (2, err)):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), descriptor)
    signal.alarm(timeout)
    sys.argv = [module, *args]
    run_command(importlib.import_module(f"experiments.{module}").main)


for line in sys.stdin:
    child = os.fork()
    if child == 0:
        command(*json.loads(line))
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
