"""Tables, means and curves of runs, from directories written here by hand."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from experiments import results as command
from jaxgan import results
from jaxgan.errors import UserError

SETTINGS = {"run_dir": "x", "kimg": 0.4, "batch": 100, "seed": 0, "lr": 1e-3, "augment": [], "tick_kimg": 0.1}


def a_run(folder, swd, *, config="digits", diverged=False, evaluated=(), **changed):
    """A run directory of a tick per 100 images: its sliced Wasserstein distances, None where it had none."""
    (folder / "samples").mkdir(parents=True)
    told = {"jaxgan": "0", "generator": {}, "config": config, "data": {"name": "digits"}, "settings": SETTINGS | changed}
    (folder / "config.json").write_text(json.dumps(told))
    row = lambda i, v: (
        {"step": i, "kimg": i / 10, "seconds": i, "d/adv": 0.7, "img_per_s": 9.0}
        | ({} if v is None else {"swd": v, "variety": 0.7})
    )
    lines = [row(i, v) for i, v in enumerate(swd, 1)]
    lines += [{"step": 9, "kimg": 0.9, "seconds": 9, "diverged": "a loss"}] * diverged
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 9, "kim')  # killed
    of = lambda step: {"of": {"step": step} if step else {"kimg": 0.1}}
    lines = [{"metric": name, **values, "notes": [], **of(step)} for name, values, step in evaluated]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.fixture
def runs(tmp_path):
    fid = lambda value, step=4: ("fid10k", {"value": [value, None]}, step)
    a_run(tmp_path / "a0", [None, 6.0, 2.0, 5.0], evaluated=[fid(1.0), fid(30.0), fid(5.0, 0)], run_dir="y", tick_kimg=0.2)
    a_run(tmp_path / "a1", [8.0, 7.0, 7.0, 8.0], seed=1, evaluated=[("pr10k", {"coverage": [0.5, 0.1]}, 2)])
    a_run(tmp_path / "deeper" / "b0", [9.0, 3.0], lr=0.1, evaluated=[("pr10k", {"coverage": [0.9, 0.1]}, 2)])
    a_run(tmp_path / "deeper" / "b1", [1.0, None, 0.5, 0.5], lr=0.1, seed=1, diverged=True)
    (tmp_path / "other").mkdir()
    for path in (tmp_path, tmp_path / "other"):
        (path / "config.json").write_text("{}")  # of something else
    return [results.read(path) for path in results.find([tmp_path])]


def test_runs_are_found_and_read(runs, tmp_path):
    assert [run.directory for run in runs] == [str(tmp_path / name) for name in ("a0", "a1", "deeper/b0", "deeper/b1")]
    assert [run.state for run in runs] == ["complete", "complete", "unfinished", "diverged"]
    assert results.differing(runs) == ["seed", "lr"]  # not where they lie, nor how often they log
    assert results.metrics(runs) == ["swd", "fid10k", "pr10k/coverage"]
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "c").symlink_to(tmp_path / "deeper" / "b0")
    assert results.find([tmp_path / "linked"]) == [tmp_path / "linked" / "c"]
    (tmp_path / "latest").symlink_to(tmp_path / "a1")
    assert results.find([tmp_path / "a0", tmp_path]) == [tmp_path / n for n in ("a0", "a1", "deeper/b0", "deeper/b1")]
    for places in ([tmp_path / "other"], [tmp_path, tmp_path / "nowhere"], []):
        with pytest.raises(UserError, match="no run directory|no place"):
            results.find(places)


def test_the_last_value_and_the_best(runs):
    a0, a1, _, b1 = runs
    assert (results.value(a0, "swd"), results.value(a0, "swd", best=True)) == (5.0, 2.0)
    assert results.value(b1, "swd") == 0.5  # of what it had before
    assert results.curve(a0, "fid10k") == [(0.4, 30.0)]  # measured twice; what training measured is in the log
    assert results.curve(a1, "pr10k/coverage") == [(0.2, 0.5)] and np.isnan(results.value(a1, "fid10k"))
    better = {name: results.lower_is_better(name) for name in ("swd", "fid10k", "psnr", "is50k", "pr50k3/coverage")}
    assert better == {"swd": True, "fid10k": True, "psnr": False, "is50k": False, "pr50k3/coverage": False}
    for name in ("pr50k3/precision", "mine"):
        with pytest.raises(UserError, match="which of its values is the best is not known"):
            results.lower_is_better(name)


def test_means_and_deviations_are_over_the_seeds(runs):
    rows = results.table(runs, ["swd"])
    assert [row["swd"] for row in rows] == [5.0, 8.0, 3.0, 0.5] and list(rows[0]) == ["run", "seed", "lr", "state", "kimg", "swd"]
    a, b = results.summary(runs, ["swd", "fid10k"])
    assert (a["lr"], a["runs"], a["diverged"], a["unfinished"]) == (1e-3, 2, 0, 0)
    np.testing.assert_allclose((a["swd"], a["swd sd"]), (6.5, 4.5**0.5))  # (1.5^2 + 1.5^2) / (2 - 1)
    assert (a["swd n"], a["fid10k"], a["fid10k n"]) == (2, 30.0, 1)
    assert (b["runs"], b["diverged"], b["unfinished"], b["swd"], b["swd n"]) == (2, 1, 1, 3.0, 1) and np.isnan(b["swd sd"])
    assert [row["swd"] for row in results.summary(runs, ["swd"], best=True)] == [4.5, 3.0]
    assert [row["swd n"] for row in results.summary(runs, ["swd"], over="lr")] == [2, 1]
    with pytest.raises(UserError, match="sed: no run has such a setting; the nearest is seed"):
        results.summary(runs, ["swd"], over="sed")
    with pytest.raises(UserError, match="swdd: no run has it; the nearest is swd; there are swd, fid10k"):
        results.table(runs, ["swdd"])


def test_of_other_configs_the_name_and_what_all_have_is_told(runs, tmp_path):
    """And not the tens of settings that are different because the configs are."""
    other = results.read(a_run(tmp_path / "other", [4.0], config="gan", lr=9.0, slope=0.2, batch=50))
    assert results.differing([*runs[:2], other]) == ["config", "batch", "seed"]
    assert results.differing([*runs, other]) == ["config", "batch", "seed", "lr"]
    assert [key["config"] for key, _ in results.alike([*runs[:2], other])] == ["digits", "gan"]


def test_a_setting_with_the_name_of_a_number_keeps_its_column(tmp_path):
    """As pix2pix's weight --l1 of the distance l1, and --kimg."""
    folders = [
        a_run(tmp_path / f"{l1:g}", [None], evaluated=[("l1", {"value": [v, 0.1]}, 1)], l1=l1)
        for l1, v in ((10.0, 3.0), (99.0, 2.0))
    ]
    found = [results.read(folder) for folder in [*folders, a_run(tmp_path / "long", [1.0], kimg=0.8, l1=99.0)]]
    assert [(row["--l1"], row["--kimg"], row["kimg"]) for row in results.table(found)] == [
        (10, 0.4, 0.1),
        (99, 0.4, 0.1),
        (99, 0.8, 0.1),
    ]
    assert [(row["--l1"], row["kimg"], row["l1"]) for row in results.summary(found, ["l1"])][:2] == [
        (10.0, 0.4, 3.0),
        (99.0, 0.4, 2.0),
    ]


def test_what_was_measured_of_pairs_is_shown(tmp_path):
    """Its numbers have no uncertainty."""
    numbers = {"l1": 7.5, "psnr": 22.0, "fakes": 4, "l1_before": 9.0}
    run = results.read(a_run(tmp_path / "pix2pix", [None], evaluated=[("pairs", numbers, 4)], l1=10.0))
    (row,) = results.table([run])
    assert (row["pairs/l1"], row["pairs/psnr"]) == (7.5, 22.0) and "pairs/l1_before" not in row
    assert results.lower_is_better("pairs/l1") and not results.lower_is_better("pairs/psnr")


def test_what_was_measured_otherwise_is_told(tmp_path):
    found = [results.read(a_run(tmp_path / str(i), [6.0], seed=i)) for i in range(2)]
    line = lambda fakes, psi: {"metric": "fid10k", "value": [9.0, 0.1], "fakes": fakes, "of": {"step": 4, "psi": psi}}
    found[0].evaluated.extend([line(200, 1.0), line(10_000, 1.0)])
    found[1].evaluated.append(line(10_000, 0.7))
    assert results.unlike(found, ["swd", "fid10k"]) == ["fid10k was measured with psi 1.0 and 0.7"]  # the latest of each
    assert results.unlike(found[:1], ["fid10k"]) == []
    found[1].rows[0]["augment/p"] = 0.3
    assert results.metrics(found) == ["swd", "fid10k"]


def test_a_run_that_was_made_twice_is_told(runs, tmp_path):
    again = results.read(a_run(tmp_path / "again", [4.0], run_dir="z"))
    assert results.twice(runs) == [] and results.twice([*runs, again]) == [(runs[0].directory, again.directory)]


def test_curves_show_each_run_and_the_mean_of_several(runs, tmp_path, monkeypatch):
    drawn, marks = [], set()
    from matplotlib.axes import Axes

    plot = Axes.plot

    def note(axes, *given, **how):
        drawn.append((*map(list, given), how["linewidth"]))
        marks.update({how["marker"]} if "marker" in how else ())
        return plot(axes, *given, **how)

    monkeypatch.setattr(Axes, "plot", note)
    results.draw(runs[:3], tmp_path / "curves.png", ["swd"])
    lines = [line for line in drawn if line[0]]
    assert lines == [
        ([0.2, 0.3, 0.4], [6.0, 2.0, 5.0], 0.8),
        ([0.1, 0.2, 0.3, 0.4], [8.0, 7.0, 7.0, 8.0], 0.8),
        ([0.2, 0.3, 0.4], [6.5, 4.5, 6.5], 2),  # where both were measured
        ([0.1, 0.2], [9.0, 3.0], 2),  # of one run
    ]
    assert marks == {"."}  # of a single point there is no line
    with pytest.raises(UserError, match="no run has been measured yet"):
        results.draw([], tmp_path / "none.png")
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.width == 800 and len(picture.convert("RGB").getcolors(2**20)) > 50


def test_a_long_legend_has_room(tmp_path):
    for i in range(3):
        a_run(
            tmp_path / str(i), [6.0, 5.0], lr=i, data=f"{i}", weight_decay=i / 7, b1=i, ema_kimg=i, augment_target=i, mirror=i > 1
        )
    results.draw([results.read(path) for path in results.find([tmp_path])], tmp_path / "curves.png")
    edges = np.asarray(Image.open(tmp_path / "curves.png").convert("L"))[:, [0, -1]]
    assert (edges == 255).all()


def test_the_command_prints_and_writes_the_table(runs, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["results", ".", "--metric", "swd", "--out", "t.csv", "--plot", "c.png"])
    command.main()
    out = capsys.readouterr().out.splitlines()
    assert [line.split() for line in out[2:4]] == [
        "| 0.1 | 2 | 1 | 1 | 3 (1) |".split(),
        "| 0.001 | 2 | 0 | 0 | 6.5 ± 2.1 |".split(),
    ]
    assert len({len(line) for line in out}) == 1 and len(out) == 4  # aligned
    with open("t.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["lr"], row["swd"], row["swd sd"]) for row in rows] == [("0.1", "3.0", ""), ("0.001", "6.5", str(4.5**0.5))]
    assert (tmp_path / "c.png").stat().st_size > 1000
    monkeypatch.setattr("sys.argv", ["results", ".", "--each", "--at", "best", "--metric", "swd", "--out", "t.json"])
    command.main()
    assert [row["swd"] for row in json.loads((tmp_path / "t.json").read_text())] == [0.5, 2.0, 3.0, 7.0]
    monkeypatch.setattr("sys.argv", ["results", ".", "--metric", "pr10k/coverage"])
    capsys.readouterr()
    command.main()
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines()[2:]] == ["0.1", "0.001"]  # the higher, the better
    monkeypatch.setattr("sys.argv", ["results", ".", "--out", "t.xls"])
    with pytest.raises(UserError, match="--out t.xls: write a .csv, a .json or a .md"):
        command.main()
