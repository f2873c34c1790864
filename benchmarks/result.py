"""A benchmark's command line; and one JSON line a case: what was measured, with versions and the host."""

import argparse
import json
import os
import platform
from pathlib import Path

from jaxgan import provenance


class Help(argparse.RawDescriptionHelpFormatter):
    """The description as it stands, and every option's default."""

    def _get_help_string(self, action):
        said = "" if action.default in (None, [], "", False, argparse.SUPPRESS) else " (default: %(default)s)"
        return action.help + said


def command_line(about: str) -> argparse.ArgumentParser:
    """The parser of a benchmark with this docstring."""
    parser = argparse.ArgumentParser(description=about, formatter_class=Help)
    parser.add_argument("--out", metavar="FILE", help="also append the lines to this file")
    return parser


def processor() -> str:
    """The kind of CPU."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(": ")[2] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def say(row: dict, out: str | None) -> None:
    """Write a row with the host and the versions."""
    host = {"host": f"{os.cpu_count()} cores, {processor()}, {platform.machine()}"}
    write(row | host | provenance.versions(), out)


def write(row: dict, out: str | None) -> None:
    """Print a row as a line, and append it to the file `out` where there is one."""
    line = json.dumps(row)
    print(line, flush=True)
    if out:
        with open(out, "a") as f:
            f.write(line + "\n")
