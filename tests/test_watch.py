"""What a person watches does not hold up what is watched."""

import io
import os
import struct
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib import rcParams
from matplotlib.figure import Figure
from PIL import Image

from jaxgan import captions, health, label_vectors, sample, watch
from jaxgan.data import Source, shuffled
from jaxgan.errors import UserError
from jaxgan.metrics import measure
from jaxgan.metrics.variety import variety
from jaxgan.report import Report
from jaxgan.settings import Settings
from tests import shared


def test_curves_are_drawn_in_a_fiftieth_of_the_time_and_whenever_pictures_are():
    time, drawn = [0.0], []

    def draw(rows):
        drawn.append((time[0], rows))
        time[0] += 1.0

    curves = watch.seldom(draw, share=0.02, clock=lambda: time[0])
    for at in range(0, 200, 10):
        time[0] = max(time[0], float(at))
        curves(at)
    assert drawn == [(0.0, 0), (60.0, 60), (120.0, 120), (180.0, 180)]  # 50 s after the end of the last, on the next tick
    curves(200, anyway=True)
    curves(201)
    assert drawn[4:] == [(190.0, 200)]


def test_lines_that_cannot_be_read_are_left_out_and_those_after_a_checkpoint_cut(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"step": 1}\n{"st\xff": 2}\n{"step": 3\n[4]\n{"step": 5}\n{"step": 6}\n{"ste')
    kept = [{"step": 1}, {"step": 5}]
    assert watch.cut_lines(path, lambda row: row.get("step", 9) <= 5) == kept
    assert watch.read_lines(path) == kept and path.read_text() == '{"step": 1}\n{"step": 5}\n'
    assert watch.cut_lines(tmp_path / "none", lambda row: True) == [] and not (tmp_path / "none").exists()


def test_a_line_after_half_a_one_is_not_lost_with_it(tmp_path):
    path = tmp_path / "metrics.jsonl"
    watch.add_lines(path, [{"a": 1}, {"a": 2}])
    path.write_text(path.read_text() + '{"a": 3, "b')  # as a full disk leaves it
    watch.add_lines(path, [{"a": 4}])
    assert watch.read_lines(path) == [{"a": 1}, {"a": 2}, {"a": 4}]
    assert path.read_text() == '{"a": 1}\n{"a": 2}\n{"a": 3, "b\n{"a": 4}\n'


@pytest.mark.parametrize("live", [False, True])
def test_what_is_said_is_kept_but_for_the_lines_of_ticks(live, monkeypatch):
    if live:
        on_a_terminal(monkeypatch, "xterm")
    kept = []
    for show in (False, True):
        with watch.Progress(1.0, 0.0, show, kept.append) as bar:
            bar.say("a note")
            bar.tick("0.5 kimg")
    assert kept == ["a note"] and bar.live is live


def test_few_points_of_a_curve_are_seen_and_a_single_penalty_has_its_name(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda self, *_, **__: drawn.append(self))
    row = {"step": 1, "kimg": 1.0, "seconds": 1.0, "d/adv": 1.0, "g/adv": 1.0, "d/r1": 2.0, "swd": 3.0, "my_fd": 4.0}
    watch.draw_curves([row], tmp_path / "curves.png")
    watch.draw_curves([row | {"step": i, "kimg": float(i)} for i in range(1, 22)], tmp_path / "curves.png")
    marks = [{line.get_marker() for axes in figure.axes for line in axes.lines} for figure in drawn]
    assert marks == [{"."}, {"None"}]
    named = {
        axes.get_title(): axes.get_legend() and [t.get_text() for t in axes.get_legend().get_texts()] for axes in drawn[0].axes
    }
    assert named["penalties and other terms"] == ["d/r1"] and named["adversarial losses of D and G"] == ["d/adv", "g/adv"]
    assert "my_fd" in named  # a metric, or what a term logs, of one's own


@pytest.mark.parametrize("shape", ((1, 5, 2, 1), (2, 9, 1, 3), (1, 2, 5, 4), (3, 4, 4, 3)))
def test_a_grid_has_no_more_columns_than_images(shape):
    n, h, w, c = shape
    images = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    sheet = np.asarray(watch.grid(images, pad=0, least=1)).reshape(-1, min(n, 2) * w, c)  # three squares: two and one
    np.testing.assert_array_equal(sheet[:h], np.concatenate(list(images[:2]), 1))


@pytest.mark.parametrize("channels", (2, 5))
def test_a_grid_shows_other_numbers_of_channels_beside_one_another(channels):
    images = np.arange(2 * 3 * 4 * channels, dtype=np.uint8).reshape(2, 3, 4, channels)
    sheet = np.asarray(watch.grid(images, pad=0, least=1, columns=1))
    np.testing.assert_array_equal(sheet, np.concatenate([np.concatenate(list(np.moveaxis(x, 2, 0)), 1) for x in images]))


@pytest.mark.parametrize("channels", (1, 3, 4))
def test_captions_stand_below_their_images(channels):
    images = np.full((5, 20, 40, channels), 90, np.uint8)
    plain = watch.grid(images, columns=2, least=1)
    sheet = np.asarray(watch.grid(images, columns=2, least=1, captions=["7", "", "", "", "Gerät"]).convert("RGB"))
    rows = np.split(np.asarray(plain.convert("RGB")), [21, 42])
    band = (len(sheet) - plain.height) // 2
    at = [0, 21 + band, 42 + band]  # the second row has none
    for row, y in zip(rows, at, strict=True):
        np.testing.assert_array_equal(sheet[y : y + len(row)], row)
    first, last = sheet[21 : 21 + band, :, 0] < 128, sheet[-band:, :, 0] < 128
    assert first.any() and not first[:, 41:].any() and last.sum() > first.sum() and not last[:, 41:].any()
    for text in ("m" * 99, "m" * 10**7, "m\nm"):  # a class of somebody else's data may be called so
        long = np.asarray(watch.grid(images[:2], columns=2, least=1, captions=["", text]).convert("RGB"))
        assert (long[22:, 42:] < 128).any() and (long[22:, :42] == 255).all()


def test_every_letter_of_europe_has_a_form_of_its_own():
    forms = {bytes(captions.font_of(12).getmask(letter)) for letter in "aäáčęñøşαя\ue000"}
    assert len(forms) == 11  # the last is what stands for one without


def test_a_gif_shows_half_transparent_pixels_on_white(tmp_path):
    soft = np.zeros((4, 4, 4), np.uint8)
    soft[..., 3] = [0, 51, 128, 255]  # black, more and more opaque
    watch.write_animation([Image.fromarray(soft), Image.fromarray(soft[:, ::-1])], str(tmp_path / "a.gif"), 10)
    with Image.open(tmp_path / "a.gif") as film:
        found = [np.asarray([film.seek(i), film.convert("RGBA")][1]) for i in range(2)]
    assert np.abs(found[0][0, :, 0] - np.array([255, 204, 127, 0])).max() <= 1 and (found[0][..., 3] == 255).all()
    np.testing.assert_array_equal(found[1], found[0][:, ::-1])


def test_curves_leave_out_the_means_of_a_few_steps_and_keep_what_is_measured(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda self, *_, **__: drawn.append(self))
    rows = [{"step": n, "kimg": n / 10, "d/adv": 1.0 * n, "swd": 2.0 * n, "pr/recall": 3.0 * n} for n in (40, 80, 83)]
    watch.draw_curves([*rows[:2], rows[2] | {"g/r1": 5.0}], tmp_path / "curves.png")
    seen = {line.get_label(): list(line.get_ydata()) for axes in drawn[0].axes for line in axes.lines}
    assert seen == {"d/adv": [40, 80], "g/r1": [5], "swd": [80, 160, 166], "pr/recall": [120, 240, 249]}
    assert [axes.get_ylim()[0] == 0 for axes in drawn[0].axes] == [False, False, True, False]


def test_a_gif_keeps_rare_colours(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)  # 1,024 colours; median cut is off by up to 45
    watch.write_animation([Image.fromarray(picture), Image.fromarray(picture[::-1])], tmp_path / "a.gif", 10)
    with Image.open(tmp_path / "a.gif") as film:
        for i, want in enumerate((picture, picture[::-1])):
            film.seek(i)
            assert np.abs(np.asarray(film.convert("RGB")).astype(int) - want).max() <= 32


def test_grids_of_less_than_a_kimg_do_not_replace_one_another(tmp_path):
    names = lambda kimg: [Report._path(of(kimg), at).name for at in (0.304, 0.96, 39.68, 40.0)]
    settings = lambda kimg: Settings(batch=32, tick_kimg=kimg, snapshot_kimg=kimg)
    of = lambda kimg: SimpleNamespace(run=SimpleNamespace(settings=settings(kimg)), batch=32, directory=tmp_path)
    assert names(0.32) == ["kimg000000.304.png", "kimg000000.960.png", "kimg000039.680.png", "kimg000040.000.png"]
    assert names(10.0) == ["kimg000000.png", "kimg000001.png", "kimg000040.png", "kimg000040.png"]


def test_a_file_is_whole_or_not_there(tmp_path, monkeypatch):
    watch.write_arrays(tmp_path / "in" / "a.npz", images=np.arange(3))
    np.testing.assert_array_equal(shared.arrays(tmp_path / "in" / "a.npz")["images"], np.arange(3))

    def full(self, file, kind, **texts):
        file.write(b"some of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(OSError, match="No space left"):
        watch.write_picture(Image.new("L", (4, 4)), tmp_path / "out" / "a.png")
    assert not list((tmp_path / "out").iterdir())


def test_a_run_that_holds_images_out_is_measured_as_evaluate_does(tmp_path, monkeypatch):
    """For the classes of the data in the order that it has elsewhere: the same checkpoint then has the same number."""
    labels = np.random.default_rng(0).integers(0, 3, 40).astype(np.int32)
    whole = Source("noise", (8, 8, 1), 40, None, labels, 3, (), "")
    settings = Settings(seed=3, hold_out=10, kimg=1.0)
    meter = SimpleNamespace(fakes=50, source=whole, protocols={})
    drawn = []
    monkeypatch.setattr(sample, "stream", lambda *_, label, **__: drawn.append(label) or iter("abc"))
    looked = lambda progress: [progress(what, i, 3) for what in ("generated images", "real images") for i in range(1, 4)]
    monkeypatch.setattr(measure, "measure", lambda *_, labels, progress, **__: looked(progress) and drawn.append(labels) or [])
    report = Report.__new__(Report)
    report.run = SimpleNamespace(settings=settings, meter=meter, source=shuffled(whole, 3))
    shown = []
    report.bar = SimpleNamespace(say=lambda _: None, update=lambda kimg, what="training": shown.append(what))
    report.directory, report.batch, report.every = tmp_path, 8, 1
    report.inputs, report.vectors, report.said, report.stopping = None, None, True, lambda: False
    report._measured(1, SimpleNamespace(classes=3), {}, 0.0)
    np.testing.assert_array_equal(drawn, [label_vectors.to_measure(whole, 3, 3, 50)] * 2)
    assert shown[2:5] == ["generated images: 3/3", "real images: 1/3", "real images: 2/3"] and shown[6:] == ["training"]
    report.stopping = iter([False] * 4 + [True]).__next__  # a cluster does not wait for what takes minutes, of either kind
    with pytest.raises(UserError, match="the run stops"):
        report._measured(1, SimpleNamespace(classes=3), {}, 0.0)
    assert len(drawn) == 3


@pytest.mark.parametrize("classes, first", ((3, [0, 0, 1, 1, 2, 2]), (10, list(range(10))), (0, None)))
def test_the_samples_of_few_classes_have_several_columns_of_each(classes, first, tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(sample, "sample", lambda g, v, n, seed, label: made.append(label) or np.zeros((n, 4, 4, 1), np.uint8))
    report = Report.__new__(Report)
    report.run = SimpleNamespace(settings=Settings(), source=None)
    report.directory, report.batch, report.every, report.vectors = tmp_path, 8, 1000, None
    report.reference, report._labels = np.zeros((4, 4, 4, 1), np.uint8), lambda *_: None
    report._pictures(8.0, SimpleNamespace(classes=classes), {})
    assert len(made) == 1 + bool(classes)
    assert first is None or made[1].tolist() == first * 8
    with Image.open(tmp_path / "samples" / "kimg000008.png") as sheet:
        assert sheet.size[0] / sheet.size[1] == ((len(first) if first else 8) * 5 + 1) / 41


def test_what_is_ill_is_said_once_and_variety_is_that_of_as_many_real_images(tmp_path, monkeypatch):
    said, found = [], [{}, {"collapse": "alike"}, {"collapse": "more alike", "slow": "slow"}, {"slow": "slower"}]
    report = Report.__new__(Report)
    report.rows, report.warned, report.bar = [], set(), SimpleNamespace(say=said.append)
    monkeypatch.setattr(health, "warnings", lambda rows, starts: found.pop(0) if starts == [0.0, 3.0] else None)
    report.run = SimpleNamespace(stages=[SimpleNamespace(start_kimg=kimg) for kimg in (0.0, 3.0)])
    for kimg in (2.0, 4.0, 6.0, 8.0):
        report._warn(kimg)
    assert said == ["note: 4 kimg: alike", "note: 6 kimg: slow"]
    report.run, report.directory, report.batch, report.vectors = (
        SimpleNamespace(settings=Settings(), source=None),
        tmp_path,
        8,
        None,
    )
    spots = lambda n, seed: np.random.default_rng(seed).integers(0, 256, (n, 4, 4, 1), np.uint8)
    report._labels, made = lambda *_: None, [spots(700, 1), spots(700, 1)[:1].repeat(700, 0)]
    monkeypatch.setattr(sample, "sample", lambda *_, **__: made.pop(0))
    report.reference = spots(700, 0)
    first, second = (report._pictures(8.0, SimpleNamespace(classes=0), {}) for _ in range(2))
    assert first["variety"] == round(variety(spots(700, 0)[:512], spots(700, 1)[:512]), 4) and second["variety"] == 0
    assert list(first) == ["swd", "variety"]  # the first is the score


def test_the_losses_of_terms_of_other_names_are_shown_not_zero():
    row = {"kimg": 1.0, "d/adv": 1.25, "d/r1": 0.5, "g/adv": 0.75, "logits/real": 2.0, "swd": 43.21, "img_per_s": 9.0}
    assert watch.losses(row) == "d 1.250  g 0.750  swd 43.2"
    assert watch.losses({"d/pairs": 0.7, "d/r1": 0.5, "g/adv": 2.0, "std": 1.0}) == "d/pairs 0.700  d/r1 0.500  g 2.000"


def on_a_terminal(monkeypatch, kind):
    for variable, value in {"TERM": kind, "COLUMNS": "200"}.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)


def test_names_are_said_as_they_are_and_to_nobody_without_an_error(capsys, monkeypatch):
    name = "photos [old]/:fire:/a[/b] é"
    watch.Progress(1.0, 0.0, True).say(name)
    assert capsys.readouterr().out == f"{name}\n"
    watch.Progress(1.0, 0.0, True).say("\x1b]0;title\x07\ndone: \u202egnp.a")  # a command to a terminal, and a line of ours
    assert capsys.readouterr().out == "\\x1b]0;title\\x07\\ndone: \\u202egnp.a\n"
    with monkeypatch.context() as closed:
        closed.setattr("sys.stdout", SimpleNamespace(write=lambda _: (_ for _ in ()).throw(OSError("gone")), encoding="utf-8"))
        watch.Progress(1.0, 0.0, True).say(name)
    reads, writes = os.pipe()
    os.close(reads)
    with monkeypatch.context() as closed, open(writes, "w") as pipe:  # as `train | head -1` leaves it
        closed.setattr("sys.stdout", pipe)
        for _ in range(2):
            watch.Progress(1.0, 0.0, True).say(name)
    on_a_terminal(monkeypatch, "xterm")
    with watch.counter(f"reading {name}", True) as update:
        time.sleep(0.2)
        assert f"reading {name}" in capsys.readouterr().out  # also before the first is done
        update(1, 2)
    assert "1/2" in capsys.readouterr().out


def test_without_a_terminal_what_counts_says_how_far_it_is_once_a_minute(capsys):
    now = iter(range(0, 10_000, 25))
    for show in (False, True):
        with watch.counter("reading photos", show, clock=lambda: next(now)) as update:
            assert capsys.readouterr() == ("", "")
            for done in range(1000, 8000, 1000):
                update(done, 1_000_000)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [f"reading photos: {done:,} of 1,000,000" for done in (3000, 6000)]


def test_a_long_curve_is_drawn_as_means_over_a_band(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda self, *_, **__: drawn.append(self))
    rows = [{"step": i, "kimg": float(i), "d/adv": i % 4 * 1.0, "swd": 5.0} for i in range(1, 4 * watch.MOST + 1)]
    for several in (rows, rows[: watch.MOST]):
        watch.draw_curves(several, tmp_path / "curves.png")
    (line,), (band,) = drawn[0].axes[0].lines, drawn[0].axes[0].collections
    np.testing.assert_array_equal(line.get_ydata(), np.full(watch.MOST, 1.5))  # the mean of 0, 1, 2 and 3
    np.testing.assert_array_equal(line.get_xdata()[[0, -1]], [2.5, 4 * watch.MOST - 1.5])
    assert (band.get_paths()[0].vertices[:, 1].min(), band.get_paths()[0].vertices[:, 1].max()) == (0, 3)
    assert not drawn[1].axes[0].collections and len(drawn[1].axes[0].lines[0].get_xdata()) == watch.MOST


def test_a_billion_images_are_said_to_the_kimg():
    bar = watch.Progress(1_200_000.0, 1_000_000.0, True)

    text = bar.bar.columns[2].render(bar.bar.tasks[0])
    assert text.plain == "1000000.0/1200000 kimg"


@pytest.mark.parametrize("terminal, live", [("xterm", True), ("dumb", False)])
def test_a_dumb_terminal_shows_lines_where_others_show_a_bar(terminal, live, capsys, monkeypatch):
    """It shows no bar before the end, and for hours there was nothing to see."""
    on_a_terminal(monkeypatch, terminal)
    with watch.Progress(1.0, 0.0, True) as bar:
        bar.tick("0.5 kimg")
        assert ("0.5 kimg" in capsys.readouterr().out) is not live and bar.live is live


@pytest.mark.parametrize("name", ["text.usetex", "figure.constrained_layout.use"])
def test_curves_are_drawn_whatever_a_matplotlibrc_says(name, tmp_path, monkeypatch):
    """Without LaTeX the first ended a run at its first tick."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.setitem(rcParams, name, True)
    row = {"step": 1, "kimg": 1.0, "seconds": 1.0, "d/adv": 1.0, "g/adv": 1.0, "my_fd": 4.0, r"no $\formula$": 1.0}
    watch.draw_curves([row], tmp_path / "curves.png")  # a warning would be an error here
    assert (tmp_path / "curves.png").exists() and rcParams[name]


def test_tensorboard_shows_numbers_and_samples_and_what_a_killed_run_wrote_too_far_no_more(tmp_path, monkeypatch):
    event, tensorboard = pytest.importorskip("tensorboardX.proto.event_pb2").Event, pytest.importorskip("tensorboardX")
    made, writer = [], tensorboard.SummaryWriter
    monkeypatch.setattr(tensorboard, "SummaryWriter", lambda *a, **k: made.append(writer(*a, **k)) or made[-1])

    def written(path):
        raw, at, events = path.read_bytes(), 0, []
        while at < len(raw):  # TFRecord: length, its checksum, data, its checksum
            (size,) = struct.unpack_from("<Q", raw, at)
            events.append(event.FromString(raw[at + 12 : at + 12 + size]))
            at += 16 + size
        return events

    row = {"step": 62, "kimg": 1.984, "seconds": 3.0, "d/adv": 0.5, "swd": 12.0}
    for name, done in (("new", 0), ("resumed", 62)):
        write = watch.open_tensorboard(tmp_path / name, done)
        write(row)
        write(row | {"step": 124}, Image.new("L", (2000, 500), 90))
        made[-1].close()  # as at the end of the process
        first, *events = written(next((tmp_path / name).iterdir()))
        values = {(e.step, v.tag): v for e in events for v in e.summary.value}
        assert {tag for _, tag in values} == {"d/adv", "swd", "seconds", "samples"} and values[62, "d/adv"].simple_value == 0.5
        assert [step for step, tag in values if tag == "samples"] == [124]
        with Image.open(io.BytesIO(values[124, "samples"].image.encoded_image_string)) as picture:
            assert picture.size == (1024, 256) and picture.getpixel((9, 9)) == (90, 90, 90)
        starts = [e.step for e in events if e.session_log.status == 1]
        assert starts == ([63] if done else [])  # TensorBoard drops what other files have from there on
