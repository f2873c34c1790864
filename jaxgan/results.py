"""The results of runs as their directories tell them: tables, means over seeds, curves. Nothing is trained or loaded."""

import dataclasses
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxgan import restore, watch
from jaxgan.errors import UserError, nearest
from jaxgan.metrics import protocols
from jaxgan.metrics.measure import QUALITY
from jaxgan.settings import WHERE, Settings
from jaxgan.whole import write_whole

LOWER = {"swd": True, "l1": True, "psnr": False}
"""What a run measures by itself: whether lower is better."""
MOST = 10
"""Curves that have colours of their own."""
WIDE = 150
"""Letters of a legend that have room side by side."""


COMMON = {field.name for field in dataclasses.fields(Settings)}
"""Settings that all configs have."""


class Result(NamedTuple):
    """What a run directory says; of a run that is under way, up to its last tick."""

    directory: str
    config: dict[str, Any]
    """its config.json"""
    rows: list[dict[str, Any]]
    """the lines of its log.jsonl, without that of a divergence"""
    state: str
    """complete, diverged or unfinished"""
    evaluated: list[dict[str, Any]]
    """lines of its metrics.jsonl that `experiments.evaluate` added"""

    def __repr__(self) -> str:  # without pages of numbers
        return f"Result({self.directory!r}, {self.state}, {self.rows[-1]['kimg'] if self.rows else 0:.10g} kimg)"


def read(directory: str | Path) -> Result:
    """The results of a run. Raises UserError where there is none."""
    config, path = restore.read_config(directory), Path(directory)
    lines = [line for line in watch.read_lines(path / "log.jsonl") if "kimg" in line]
    rows = [line for line in lines if "diverged" not in line]
    settings = config["settings"]
    total = math.ceil(round(settings["kimg"] * 1000, 6) / settings["batch"])
    state = "complete" if rows and rows[-1]["step"] >= total else "unfinished"
    state = "diverged" if len(lines) > len(rows) else state
    evaluated = [line for line in watch.read_lines(path / "metrics.jsonl") if "step" in line.get("of", {})]
    return Result(str(directory), config, rows, state, evaluated)


def find(places: Iterable[str | Path]) -> list[Path]:
    """The run directories among some places and, of a folder that is none, below it: those in it may be links, as to a disk with
    more room. Raises UserError where there is none."""
    found, places = [], list(places)
    if not places:
        raise UserError("no place to look for runs; give run directories, or folders of them")
    is_run = lambda path: (path / "config.json").is_file() and any((path / name).is_dir() for name in ("samples", "checkpoints"))
    for place in map(Path, places):
        configs = *place.glob("*/config.json"), *place.rglob("config.json")  # the second follows no links
        below = {path.parent.resolve(): path.parent for path in configs}  # of a run that has two names its own
        here = [place] if is_run(place) else sorted(filter(is_run, below.values()))
        if not here:
            raise UserError(f"{place}: there is no run directory here or below")
        found += here
    return list(dict.fromkeys(found))


def settings(result: Result) -> dict[str, Any]:
    """What a run computes: the name of its config, its settings but for those that say where and how, its data."""
    said = {k: v for k, v in result.config["settings"].items() if k not in WHERE}
    data = result.config.get("data", {}).get("name", "")
    return {"config": result.config.get("config", ""), "data": data, **said}


def differing(results: list[Result]) -> list[str]:
    """Names of the settings in which some runs differ, in the order of the settings. Of those that belong to a config, as its
    learning rate: in which some of one config do; the others' are what their configs say."""
    each = [settings(result) for result in results]
    differs = lambda name, some: any(one.get(name) != some[0].get(name) for one in some)
    alone = [[one for one in each if one["config"] == config] for config in dict.fromkeys(one["config"] for one in each)]
    names, common = dict.fromkeys(name for one in each for name in one), {"config", "data", *COMMON}
    return [name for name in names if any(differs(name, some) for some in ([each] if name in common else alone))]


def curve(result: Result, name: str) -> list[tuple[float, float]]:
    """All (kimg, value) of a number of the log, in order. Of a metric that the log does not have: what `evaluate` measured, the
    latest at each kimg."""
    points = {row["kimg"]: row[name] for row in result.rows if name in row}
    first = lambda found: found[0] if isinstance(found, list) else found  # of pairs there is no uncertainty
    points = points or {kimg: first(line[name.partition("/")[2] or "value"]) for kimg, line in _evaluated(result, name).items()}
    return sorted((kimg, value) for kimg, value in points.items() if value is not None)


def _evaluated(result: Result, name: str) -> dict[float, dict[str, Any]]:
    """{kimg: the latest line} of what `evaluate` measured of a number that the log does not have."""
    (metric, _, part), batch = name.partition("/"), result.config["settings"]["batch"]
    lines = [] if any(name in row for row in result.rows) else result.evaluated
    has = lambda line: line.get("metric") == metric and line.get(part or "value")
    return {line["of"]["step"] * batch / 1000: line for line in lines if has(line)}


def unlike(results: list[Result], names: Iterable[str]) -> list[str]:
    """In what `evaluate` was told otherwise for some values of a number than for others, so that they do not compare: a line
    for each."""
    said, told = [], lambda line: {k: line.get(k) for k in ("fakes", "against", "split", "direction")} | line["of"]
    for name in names:
        lines = [told(line) for result in results for line in _evaluated(result, name).values()]
        for what in ("fakes", "against", "split", "direction", "psi", "average"):
            found = dict.fromkeys(str(line.get(what)) for line in lines)
            said += [f"{name} was measured with {what} {' and '.join(found)}"] * (len(found) > 1)
    return said


def lower_is_better(name: str) -> bool:
    """Whether less of a metric is better. Raises UserError where nothing is known of it."""
    metric, _, part = name.partition("/")
    if (own := part if metric == "pairs" else metric) in LOWER:
        return LOWER[own]
    if metric in protocols.PROTOCOLS:
        of, sign = QUALITY.get(protocols.PROTOCOLS[metric].metric, (None, 0))
        if of == part:
            return sign > 0
    raise UserError(f"{name}: which of its values is the best is not known; take the last")


def value(result: Result, name: str, *, best: bool = False) -> float:
    """The last value of a number, or its best; NaN where there is none."""
    values = [value for _, value in curve(result, name)]
    if best:
        return float((min if lower_is_better(name) else max)(values, default=np.nan))
    return float(values[-1]) if values else float("nan")


def metrics(results: list[Result]) -> list[str]:
    """Names of all that was measured of the images of some runs: no losses, no logits, no speed."""
    names = dict.fromkeys(name for result in results for row in result.rows for name in row)
    for line in (line for result in results for line in result.evaluated):
        parts = [part for part, found in line.items() if isinstance(found, list) and part != "notes"]
        parts += ["l1", "psnr"] if line["metric"] == "pairs" else []
        names |= dict.fromkeys(line["metric"] + (part != "value") * f"/{part}" for part in parts)
    other = ("step", "kimg", "seconds", "img_per_s", "variety")  # of which neither more nor less is better
    return [name for name in names if name not in other and not name.startswith(("d/", "g/", "logits/", "augment/"))]


def check_metrics(results: list[Result], names: Iterable[str]) -> None:
    """Raise UserError for a number that no run has."""
    for name in names:
        if not any(curve(result, name) for result in results):
            known = dict.fromkeys([*metrics(results), *(name for result in results for row in result.rows[:1] for name in row)])
            raise UserError(f"{name}: no run has it{nearest(name, known)}; there are {', '.join(known)}")


def table(results: list[Result], names: Iterable[str] = (), *, best: bool = False) -> list[dict[str, Any]]:
    """A row for each run: its directory, the settings in which they differ, its state, kimg, and numbers.

    `pandas.DataFrame(results.table(found))` is the same as a data frame.

    Args:
      results: of `read`.
      names: numbers of the log or of `evaluate`; empty: all of `metrics`.
      best: the best value of each, not the last. One that was chosen so is too good, by the more the more often it was measured.
    Raises:
      UserError: a number that no run has, or of which it is not known what is best.
    """
    names = tuple(names) or tuple(metrics(results))
    check_metrics(results, names)
    rows = []
    for result in results:
        said, found = settings(result), {"state": result.state, "kimg": result.rows[-1]["kimg"] if result.rows else 0.0}
        found |= {name: value(result, name, best=best) for name in names}
        rows.append({"run": result.directory} | _beside({name: said.get(name) for name in differing(results)}, found) | found)
    return rows


def _beside(said: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """Settings for a row with these numbers: as an option where a number has the same name, as pix2pix's --l1."""
    return {f"--{name}" if name in found else name: value for name, value in said.items()}


def alike(results: list[Result], over: str = "seed") -> list[tuple[dict[str, Any], list[Result]]]:
    """Runs that differ in one setting alone, together: ({the settings in which the groups differ}, their runs). Raises UserError
    for a setting that no run has."""
    known = dict.fromkeys(name for result in results for name in settings(result))
    if known and over not in known:
        raise UserError(f"{over}: no run has such a setting{nearest(over, known)}")
    names, groups = [name for name in differing(results) if name != over], {}
    for result in results:
        said = settings(result)
        key = {name: said.get(name) for name in names}
        groups.setdefault(repr(key), (key, []))[1].append(result)
    return list(groups.values())


def twice(results: list[Result]) -> list[tuple[str, str]]:
    """The directories of runs that have the same settings, seed included, and so are one run, in pairs."""
    first, found = {}, []
    for result in results:
        before = first.setdefault(repr(settings(result)), result.directory)
        found += [(before, result.directory)] * (before != result.directory)
    return found


def summary(results: list[Result], names: Iterable[str] = (), *, over: str = "seed", best: bool = False) -> list[dict[str, Any]]:
    """A row for each group of runs that are `alike`: means over the seeds, and their standard deviations.

    It has the settings in which the groups differ; how many "runs" there are, "diverged" and "unfinished" ones; and of each
    number x the mean, the standard deviation "x sd" of a sample (n - 1 below; NaN for one run) and "x n", of how many runs.

    Runs that diverged are not in the means, which so are of those that went well; those that are unfinished are.
    """
    names = tuple(names) or tuple(metrics(results))
    check_metrics(results, names)
    rows = []
    for key, group in alike(results, over):
        count = lambda state, group=group: sum(result.state == state for result in group)
        row = {"runs": len(group), "diverged": count("diverged"), "unfinished": count("unfinished")}
        for name in names:
            values = np.array([value(result, name, best=best) for result in group if result.state != "diverged"])
            values = values[np.isfinite(values)]
            row[name] = float(values.mean()) if len(values) else float("nan")
            row[f"{name} sd"] = float(values.std(ddof=1)) if len(values) > 1 else float("nan")
            row[f"{name} n"] = len(values)
        rows.append(_beside(key, row) | row)
    return rows


def _draw_group(axes, curves: list[dict[float, float]], colour: str) -> None:
    """Curves {kimg: value} thin, and their mean; one alone as thick as that. Few points are marked: of one there is no line."""
    shared = set.intersection(*map(set, curves)) if curves else set()
    lines = [(curve, 0.8, 0.35) for curve in curves if len(curves) > 1]
    lines.append(({kimg: np.mean([curve[kimg] for curve in curves]) for kimg in sorted(shared)}, 2, 1))
    for points, width, alpha in lines:
        marker = "." if len(points) <= watch.FEW else None
        axes.plot([*points], [*points.values()], color=colour, linewidth=width, alpha=alpha, marker=marker)


@watch.in_plain_style
def draw(results: list[Result], path: str | Path, names: Iterable[str] = (), *, over: str = "seed") -> None:
    """Curves of several runs as a PNG: a panel for each number, a colour for each group of runs that are `alike`.

    Each run is thin, the mean of several thick: at each kimg at which all of them have a value.
    """
    from matplotlib.figure import Figure

    names = tuple(names) or tuple(metrics(results))
    check_metrics(results, names)
    if not names:
        raise UserError("no run has been measured yet; name a number of the log to draw, such as d/adv")
    groups = alike(results, over)
    figure = Figure(figsize=(8, 0.6 + 3 * len(names)), layout="constrained")
    for name, axes in zip(names, np.ravel(figure.subplots(len(names), sharex=True)), strict=True):
        for i, (key, group) in enumerate(groups):
            colour = f"C{i}" if len(groups) <= MOST else f"{0.8 * i / len(groups):.3f}"
            curves = [dict(points) for result in group if (points := curve(result, name))]
            _draw_group(axes, curves, colour)
            label = ", ".join(f"{k} {v}" for k, v in key.items()) or Path(group[0].directory).name
            axes.plot([], color=colour, linewidth=2, label=f"{label} ({len(group)})" if len(group) > 1 else label)
        axes.set_title(name, fontsize=9)
        axes.grid(alpha=0.3)
    axes.set_xlim(left=0)
    axes.set_xlabel("kimg (thousands of training images)")
    handles, labels = axes.get_legend_handles_labels()
    columns = min(3, max(1, WIDE // (max(map(len, labels)) + 10)))
    figure.set_figheight(figure.get_figheight() + 0.14 * math.ceil(len(labels) / columns))  # inches a row
    figure.legend(handles, labels, fontsize=7, loc="outside lower center", ncols=columns)
    write_whole(path, lambda file: figure.savefig(file, dpi=100, format="png"))
