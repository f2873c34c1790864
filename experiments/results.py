"""`python -m experiments.results RUN...`: what several runs have reached, with means over seeds; a table, curves."""

import contextlib
import dataclasses
import json
import math
from typing import Annotated, Literal

import tyro

from experiments.cli import check_out, parse, run_command, writing
from jaxgan.errors import printable

EXAMPLES = (
    "",
    "runs/lr* --metric fd2k --at best --plot curves.png",
    "runs/sweep --each --out results.csv",
)


@dataclasses.dataclass(frozen=True)
class Options:
    """Compare runs that there are: the settings in which they differ, and of each metric the mean and standard deviation over the
    seeds. Nothing is trained or measured."""

    runs: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN...")] = ("runs",)
    """Run directories, or folders of them."""
    metric: tuple[str, ...] = ()
    """Numbers of log.jsonl, or of what `experiments.evaluate` measured; the table is in the order of the first one. Empty:
    all but losses and logits."""
    at: Literal["last", "best"] = "last"
    """The last value of each run, or its best, which is too good by the more the more often it was measured."""
    over: str = "seed"
    """The setting over which means are taken."""
    each: bool = False
    """A row for each run, not for each group of runs."""
    out: str = ""
    """Also write the table to a .csv, .json or .md file."""
    plot: str = ""
    """Also draw the metrics against kimg, as a .png: runs thin, means thick."""


def shown(value) -> str:
    """A value for a cell of a table."""
    if value is None or value != value:
        return "–"
    if isinstance(value, float):
        return f"{value:.4g}"
    return printable(" ".join(map(str, value)) if isinstance(value, list | tuple) else str(value))


def with_spread(row: dict) -> dict:
    """A row of `results.summary`, mean and standard deviation in one cell; of fewer runs than there are, with their number."""
    cells = {}
    for name, value in row.items():
        if name.endswith((" sd", " n")) and name.rpartition(" ")[0] in row:
            continue
        cells[name] = shown(value)
        if (sd := row.get(f"{name} sd", math.nan)) == sd:
            cells[name] += f" ± {float(f'{sd:.2g}'):g}"
        if f"{name} n" in row and row[f"{name} n"] not in (0, row["runs"]):
            cells[name] += f" ({row[f'{name} n']})"
    return cells


def markdown(rows: list[dict]) -> str:
    """Rows of text as a table whose columns are aligned."""
    names = list(rows[0])
    lines = [names, *([row[name] for name in names] for row in rows)]
    widths = [max(3, *(len(line[i]) for line in lines)) for i in range(len(names))]
    said = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines]
    return "\n".join([said[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *said[1:]])


def write(rows: list[dict], text: str, out: str) -> None:
    """The table as a file: numbers in .csv and .json, text in .md."""
    import csv
    import io

    from jaxgan.whole import write_whole

    plain = lambda value: None if isinstance(value, float) and not math.isfinite(value) else value
    rows = [{name: plain(value) for name, value in row.items()} for row in rows]
    if out.endswith(".csv"):
        lines, made = [list(rows[0]), *(list(row.values()) for row in rows)], io.StringIO()
        csv.writer(made).writerows([" ".join(map(str, v)) if isinstance(v, list) else v for v in line] for line in lines)
        text = made.getvalue()
    else:
        text = f"{json.dumps(rows, indent=1) if out.endswith('.json') else text}\n"
    write_whole(out, lambda file: file.write(text.encode()))


def main() -> None:
    options = parse(Options, prog="python -m experiments.results", examples=EXAMPLES)
    for name, kinds in (("out", (".csv", ".json", ".md")), ("plot", (".png",))):
        if getattr(options, name):
            check_out(getattr(options, name), *kinds)
    from jaxgan import results
    from jaxgan.errors import UserError

    found = [results.read(path) for path in results.find(options.runs)]
    names = options.metric or tuple(results.metrics(found))
    best, over = options.at == "best", options.over.replace("-", "_")
    make = results.table if options.each else results.summary
    rows = make(found, names, best=best, **({} if options.each else {"over": over}))
    with contextlib.suppress(UserError, IndexError):  # of which it is not known what is better; nothing is measured yet
        sign = 1 if results.lower_is_better(names[0]) else -1
        rows.sort(key=lambda row: (math.isnan(row[names[0]]), sign * row[names[0]]))
    texts = [{name: shown(value) for name, value in row.items()} if options.each else with_spread(row) for row in rows]
    same = {name for name in ("diverged", "unfinished") if not options.each and not any(row[name] for row in rows)}
    text = markdown([{name: value for name, value in row.items() if name not in same} for row in texts])
    print(text)
    for a, b in results.twice(found):
        print(f"note: {a} and {b} are of the same settings and seed, and both count")
    for line in results.unlike(found, names):
        print(f"note: {line}, which do not compare")
    with writing(options.out or options.plot):
        if options.out:
            write(rows, text, options.out)
        if options.plot:
            results.draw(found, options.plot, names, over=over)


if __name__ == "__main__":
    run_command(main)
