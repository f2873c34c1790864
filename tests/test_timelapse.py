"""The film of a training: a run's sheets in the order of their kimg, of one size, and how it says what it is."""

import sys

import numpy as np
import pytest
from PIL import Image

import experiments.timelapse
from jaxgan import marks, video, watch
from jaxgan.errors import UserError


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    def call(*args):
        monkeypatch.setattr(sys, "argv", ["timelapse", *map(str, args)])
        experiments.timelapse.main()
        return capsys.readouterr().out

    return call


def sheets(run, names, size=(24, 20), kind=marks.GENERATED):
    """One of each of these names, the k-th with the grey level 20 k."""
    for k, name in enumerate(names):
        picture = Image.new("L", size, 20 * k)
        watch.write_picture(picture, run / "samples" / f"{name}.png", marks.png({"generated": True}, kind))


def test_the_sheets_come_in_the_order_of_their_kimg(command, tmp_path):
    run = tmp_path / "run"
    names = ["kimg000000", "kimg000000.128", "kimg000002.500", "kimg000010", "kimg001000", "kimg1000000"]
    sheets(run, names)
    for name in ("reals.png", "kimg000003.png.77.part", "kimg.png", "kimg7 copy.png"):
        (run / "samples" / name).write_bytes((run / "samples" / "kimg000010.png").read_bytes())
    said = command(run, "--hold", 3, "--fps", 5, "--out", tmp_path / "a.mp4")
    assert "6 pictures of" in said and "0 to 1000000 kimg" in said and "1.8 s" in said
    levels = [int(image.mean().round()) for image in video.read(tmp_path / "a.mp4")]
    np.testing.assert_allclose(levels, [0, 20, 40, 60, 80, 100, 100, 100, 100], atol=1)
    facts = marks.of_comment(video.about(tmp_path / "a.mp4").comment)
    assert facts.kind == marks.GENERATED and facts.facts["run"] == "run" and str(tmp_path) not in str(facts)
    for every, want in ((4, [0, 80, 100]), (5, [0, 100]), (9, [0, 100]), (2, [0, 40, 80, 100])):
        command(run, "--every", every, "--hold", 0, "--scale", 3, "--out", tmp_path / "a.gif")
        with Image.open(tmp_path / "a.gif") as film:
            assert film.size == (72, 60) and film.info["duration"] == 100 and marks.of_picture(film).kind == marks.GENERATED
            found = []
            for i in range(film.n_frames):
                film.seek(i)
                found.append(int(np.asarray(film.convert("L")).mean()))
            assert found == want


def test_sheets_of_a_network_that_grows_and_transparent_ones_and_captions(command, tmp_path):
    sheets(tmp_path, ["kimg000001"], (12, 10))
    clear = Image.new("RGBA", (24, 20), (0, 0, 0, 0))
    watch.write_picture(clear, tmp_path / "samples" / "kimg000002.png", marks.png({}, marks.COMPOSITE))
    command(tmp_path, "--background", "#ff0000", "--hold", 0, "--captions", "--out", tmp_path / "a.webp")
    with Image.open(tmp_path / "a.webp") as film:
        assert film.n_frames == 2 and film.width == 24 and film.height > 30 and marks.of_picture(film).kind == marks.COMPOSITE
        first = np.asarray(film.convert("RGB"))
        film.seek(1)
        second = np.asarray(film.convert("RGB"))
    assert (first[:20] == 0).all() and (second[:20] == [255, 0, 0]).all()
    assert (first[20:] < 128).any() and (first[20:] != second[20:]).any()  # how many kimg


def test_what_is_no_timelapse(command, tmp_path):
    sheets(tmp_path, ["kimg000001", "kimg000002"])
    for args, said in (
        ([tmp_path / "none"], "there are no pictures in"),
        ([tmp_path, "--out", "a.png"], "write an .mp4, a .webm, a .webp or a .gif"),
        ([tmp_path, "--every", 0], "--every 0"),
        ([tmp_path, "--hold", -1], "--hold -1"),
        ([tmp_path, "--scale", 1000], "at most 16383 along a side; reduce --scale"),
        ([tmp_path, "--fps", 51, "--out", "a.gif"], "--fps 51"),
        ([tmp_path, "--background", "gren"], "the nearest is"),
        ([tmp_path, "--out", tmp_path / "samples" / "reals.png" / "a.mp4"], "cannot be written"),
    ):
        (tmp_path / "samples" / "reals.png").touch()
        with pytest.raises(UserError, match=said):
            command(*args)
    (tmp_path / "samples" / "kimg000001.png").write_bytes(b"no")
    with pytest.raises(UserError, match="kimg000001.png: it cannot be read"):
        command(tmp_path, "--out", tmp_path / "a.mp4")
    (tmp_path / "samples" / "kimg000001.png").unlink()
    with pytest.raises(UserError, match="one picture only, of 2 kimg"):
        command(tmp_path, "--out", tmp_path / "a.mp4")
    assert not (tmp_path / "a.mp4").exists()
