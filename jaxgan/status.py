"""How a run goes, from its directory alone: does it train, how far and how fast is it, when is it done, what is ill with it."""

import math
import platform
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxgan import checkpoint, disk, health, journal, lock, results
from jaxgan.settings import Settings, steps_in_all

LATELY = 100
"""Lines of the log by which it is judged how fast a run is."""
PATIENCE = 600.0
"""Seconds for which a run may say nothing, if its longest tick was no longer than a third of that: it may compile or measure."""
KILLED = "without a word: killed (memory? a time limit? kill -9?), or its machine went down"


class Status(NamedTuple):
    """What `of` finds. Times are in seconds, NaN where nothing is known."""

    directory: str
    state: str
    """running, complete, diverged, stopped, "stopped by SIGTERM", failed, or died, which is without a word"""
    why: str
    """what it said at its end, or is known of it"""
    who: str
    """host and process that train, or did last, and the job of a cluster"""
    starts: int
    kimg: float
    total: float
    img_per_s: float
    """of the last ten lines"""
    usual: float
    """the median of all"""
    left: float
    """until it is done, at the pace of late, pictures and measurements included; of a run that trains"""
    silent: float
    """since it last wrote a line"""
    tick: float
    """from line to line, of late"""
    saved: float | None
    """kimg of the last checkpoint"""
    saved_ago: float
    best: float | None
    """kimg of the best one, by what the run chooses"""
    last: dict[str, float]
    """the last value of each number of the log"""
    warnings: dict[str, str]
    """{kind: sentence}, of `health.warnings`, and of a process that is silent or a disk that is nearly full"""


def of(directory: str | Path, clock: Callable[[], float] = time.time) -> Status:
    """The status of a run; nothing is loaded, and a run that trains is not disturbed. Raises UserError where there is none."""
    result, path, now = results.read(directory), Path(directory), clock()
    rows, events = result.rows, journal.read(directory)
    settings = result.config["settings"]
    batch, seconds = settings["batch"], np.diff([row["seconds"] for row in rows])
    silent = now - max(
        (file.stat().st_mtime for name in ("log.jsonl", journal.EVENTS) if (file := path / name).exists()), default=now
    )
    patience = max(PATIENCE, 3 * seconds[-10 * LATELY :].max(initial=0.0))
    starts = [line for line in events if line["event"] == "start"]
    state, why = _state(path, result.state, [line for line in events if line["event"] != "note"], silent < patience)
    who = lock.holder(path) if state == "running" else starts[-1].get("who", "") if starts else ""
    job = starts[-1].get("job") if starts else None
    rate, total = (
        [row["img_per_s"] for row in rows if "img_per_s" in row],
        steps_in_all(Settings(kimg=settings["kimg"], batch=batch)) * batch / 1000,
    )
    warnings = health.warnings(rows, [stage["start_kimg"] for stage in result.config.get("stages", ())])
    if state == "running" and silent > patience:
        usual = f"; its longest tick took {span(seconds.max(initial=0.0))}"
        warnings["silent"] = f"it has written nothing for {span(silent)}{usual}: does it hang, or wait for a disk or for others?"
    steps = disk.steps(path / "checkpoints")
    saved = path / "checkpoints" / str(steps[-1]) if steps else None
    if state != "complete" and (said := _full(saved)):
        warnings["disk"] = said
    done, took = rows[-1]["kimg"] if rows else 0.0, float(seconds[-LATELY:].sum())
    pace = (done - rows[-len(seconds[-LATELY:]) - 1]["kimg"]) / took if took else 0.0  # kimg a second
    return Status(
        directory=str(directory),
        state=state,
        why=why,
        who=who + f", job {job}" * bool(who and job),
        starts=len(starts),
        kimg=done,
        total=total,
        img_per_s=float(np.mean(rate[-10:])) if rate else math.nan,
        usual=float(np.median(rate)) if rate else math.nan,
        left=(total - done) / pace if state == "running" and pace else math.nan,
        silent=max(silent, 0.0),  # the clock of a file server may be ahead
        tick=float(np.median(seconds[-LATELY:])) if len(seconds) else math.nan,
        saved=steps[-1] * batch / 1000 if steps else None,
        saved_ago=max(now - saved.stat().st_mtime, 0.0) if saved else math.nan,
        best=checkpoint.chosen(path / "checkpoints", "best")[1] * batch / 1000 if steps else None,
        last={name: value for row in rows for name, value in row.items() if name not in ("step", "kimg", "seconds", "img_per_s")},
        warnings=warnings,
    )


def _state(directory: Path, logged: str, events: list[dict[str, Any]], fresh: bool) -> tuple[str, str]:
    """The state of a run, and what is known of how it came to it.

    Args:
      logged: what its log says, `results.Result.state`.
      events: its starts and ends.
      fresh: whether it has written something of late.
    """
    if lock.taken(directory):
        return "running", ""
    if not events:  # of a version that noted none
        return {"unfinished": "stopped"}.get(logged, logged), ""
    if events[-1]["event"] == "end":
        return journal.ended(events[-1]), events[-1].get("said", "")
    host = events[-1].get("who", "").partition(",")[0]
    if host != platform.node() and fresh:
        return "running", f"as its files say: no lock of {host} is seen from here"
    job = events[-1].get("job")
    return "died", KILLED + f"; what the cluster knows: sacct -j {job}, or the like" * bool(job)


def _full(saved: Path | None) -> str:
    """What to say of a disk on which there is hardly room for another checkpoint like this one; "" where there is."""
    if saved is None:
        return ""
    size, free = sum(file.stat().st_size for file in saved.rglob("*") if file.is_file()), shutil.disk_usage(saved).free
    if free > 3 * size:
        return ""
    return f"{free / 1e6:.0f} MB are free, and a checkpoint takes {size / 1e6:.0f} MB: make room before the next one fails"


def span(seconds: float) -> str:
    """A time for people: '40 s', '12 min', '14 h 40 min', '3 d 2 h'."""
    if not math.isfinite(seconds):
        return "?"
    minutes = round(seconds / 60)
    if seconds < 100:
        return f"{seconds:.0f} s"
    if minutes < 100:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes // 1440} d {minutes % 1440 // 60} h"
