"""`python -m experiments.status RUN...`: how runs go: do they train, how far and how fast are they, when are they done, what is
ill with them."""

import dataclasses
import json
import math
import time
from typing import Annotated

import tyro

from experiments.cli import parse, run_command
from experiments.results import markdown

EXAMPLES = ("runs/digits", "runs/ --json")


@dataclasses.dataclass(frozen=True)
class Options:
    """How runs go, as their directories tell, from any machine that sees them: whether a process trains there or how it ended,
    how far and how fast it is, when it is done, its last checkpoint, what is ill with it. Nothing is loaded or disturbed."""

    runs: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN...")] = ("runs",)
    """Run directories, or folders of them; of several a table."""
    json: bool = False
    """Print a JSON object for each run, a line each, for a script."""


def headline(s) -> str:
    """'running (node7, process 4711), 3 starts'."""
    more = [s.who] * bool(s.who) + [f"{s.starts} starts"] * (s.starts > 1)
    return s.state + f" ({'; '.join(more)})" * bool(more) + f": {s.why}" * bool(s.why)


def lines(s) -> list[str]:
    """What is said of one run."""
    from jaxgan.status import span

    speed = f", {s.img_per_s:.4g} images/s (usual: {s.usual:.4g})" if s.usual == s.usual else ""
    when = time.strftime("%a %d %b %H:%M", time.localtime(time.time() + s.left)) if math.isfinite(s.left) else ""
    done = f", done in {span(s.left)}: {when}" if when else ""
    said = [
        f"{s.directory}: {headline(s)}",
        f"  {s.kimg:,.10g} of {s.total:,.10g} kimg ({s.kimg / s.total:.1%}){speed}{done}",
        f"  last line {span(s.silent)} ago, one each {span(s.tick)}; "
        + (f"checkpoint of {s.saved:,.10g} kimg, {span(s.saved_ago)} ago" if s.saved is not None else "no checkpoint yet")
        + (f"; best: {s.best:,.10g} kimg" if s.best not in (None, s.saved) else ""),
    ]
    if s.last:
        said.append("  " + "  ".join(f"{name} {value:.4g}" for name, value in s.last.items()))
    return said + [f"  warning: {text}" for text in s.warnings.values()]


def row(s) -> dict[str, str]:
    """A run as a line of the table."""
    from jaxgan.status import span

    return {
        "run": s.directory,
        "state": s.state,
        "kimg": f"{s.kimg:,.10g}",
        "of": f"{s.total:,.10g}",
        "images/s": f"{s.img_per_s:.4g}" if s.usual == s.usual else "–",
        "left": span(s.left) if math.isfinite(s.left) else "–",
        "last line": f"{span(s.silent)} ago",
        "warnings": ", ".join(s.warnings) or "–",
    }


def main() -> None:
    options = parse(Options, prog="python -m experiments.status", examples=EXAMPLES)
    from jaxgan import results, status

    found = [status.of(path) for path in results.find(options.runs)]
    if options.json:
        plain = lambda value: None if isinstance(value, float) and not math.isfinite(value) else value
        for s in found:
            print(json.dumps({name: plain(value) for name, value in s._asdict().items()}))
    elif len(found) == 1:
        print("\n".join(lines(found[0])))
    else:
        print(markdown([row(s) for s in found]))
        for s in found:
            for text in [s.why] * bool(s.why) + list(s.warnings.values()):
                print(f"{s.directory}: {text}")


if __name__ == "__main__":
    run_command(main)
