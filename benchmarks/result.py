"""A benchmark's command line; and one JSON line a case: what was measured, with the host, the commit and the versions."""

import argparse
import functools
import json
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path

from jaxgan import provenance
from jaxgan.errors import UserError, nearest


class Help(argparse.RawDescriptionHelpFormatter):
    """The description as it stands, and every option's default."""

    def _get_help_string(self, action):
        said = "" if action.default in (None, [], "", False, argparse.SUPPRESS) else " (default: %(default)s)"
        return action.help + said


def command_line(about: str) -> argparse.ArgumentParser:
    """The parser of a benchmark with this docstring."""
    prog = f"python -m benchmarks.{Path(sys.argv[0]).stem}"
    parser = argparse.ArgumentParser(prog=prog, description=about, formatter_class=Help)
    parser.add_argument("--out", type=appendable, metavar="FILE", help="also append the lines to this file")
    return parser


def appendable(text: str) -> str:
    """The name of a file that lines can be appended to: asked before anything is measured, which would be lost."""
    path = Path(text)
    if path.is_dir() or not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"{text}: {'it is a folder' if path.is_dir() else 'its folder is not there'}")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise argparse.ArgumentTypeError(f"{text}: it cannot be written")
    return text


def count(text: str) -> int:
    """A number of images, steps, rounds or devices: at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: give 1 or more")
    return int(text)


def config_name(name: str) -> str:
    """A name of `experiments.configs`."""
    from experiments.configs import CONFIGS  # imports JAX, which not every benchmark needs

    if name not in CONFIGS:
        raise argparse.ArgumentTypeError(f"there is no config {name!r}{nearest(name, CONFIGS)}; there are {', '.join(CONFIGS)}")
    return name


def interpreters(pairs: list[str], packages: tuple[str, ...], parser: argparse.ArgumentParser) -> dict[str, str]:
    """{package: path} of what --python was given."""
    found = dict(pair.partition("=")[::2] for pair in pairs)
    for package, path in found.items():
        if package not in packages or not path:
            parser.error(f"--python {package}: give PACKAGE=PATH, of {', '.join(packages)}")
        if not os.access(path, os.X_OK) or Path(path).is_dir():
            parser.error(f"--python {package}={path}: there is no such program")
    return found


def as_command(main: Callable[[], int | None]) -> None:
    """A benchmark's `main`; a user's mistake is one line and exit code 2, Ctrl-C no stack trace."""
    try:
        sys.exit(main())
    except UserError as e:
        print(f"error: {e}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


def processor() -> str:
    """The kind of CPU."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(": ")[2] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


@functools.cache
def origin() -> dict[str, str]:
    """The host, the commit ('+' after it: with changes; outside a checkout a digest of the files) and the versions."""
    host = f"{os.cpu_count()} cores, {processor()}, {platform.machine()}"
    return {"host": host, "commit": provenance.commit() or f"files {provenance.code()}"} | provenance.versions()


def say(row: dict, out: str | None) -> None:
    """Print a row, with where it comes from, as a line, and append it to the file `out` where there is one."""
    line = json.dumps(row | origin())
    print(line, flush=True)
    if out:
        with open(out, "a") as f:
            f.write(line + "\n")
