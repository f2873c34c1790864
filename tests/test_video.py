"""Films: decoded again they are the pictures that went in, in their order, colours and time; whole or not there."""

import builtins
import struct
import sys

import av
import numpy as np
import pytest
from PIL import Image

from jaxgan import marks, video, watch
from jaxgan.errors import UserError

COLOURS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (200, 80, 30), (128, 128, 128)]


def pictures(size=(33, 21)):
    return [Image.new("RGB", size, colour) for colour in COLOURS]


@pytest.mark.parametrize("suffix", video.KINDS)
def test_a_film_is_the_pictures_that_went_in(suffix, tmp_path):
    path = tmp_path / "new" / f"a{suffix.upper()}"
    assert watch.write_animation(iter(pictures()), path, 29.97, marks.packet(), comment=marks.comment({"ä": 1})) == 7
    found = list(video.read(path))
    assert [image.shape for image in found] == [(22, 34, 3)] * 7  # even sides
    np.testing.assert_allclose(np.array(found), np.array(COLOURS)[:, None, None] * np.ones((7, 22, 34, 1)), atol=3)
    with av.open(str(path)) as film:
        stream = film.streams.video[0]
        assert stream.pix_fmt == "yuv420p" and float(stream.average_rate) == pytest.approx(29.97)
        assert stream.codec_context.name == {".mp4": "h264", ".webm": "vp9"}[suffix] and stream.codec_context.color_range == 1
        assert {stream.codec_context.colorspace, stream.codec_context.color_trc, stream.codec_context.color_primaries} == {1}
        times = [float(frame.pts * frame.time_base) for frame in film.decode(stream)]
    np.testing.assert_allclose(times, np.arange(7) / 29.97, atol=0.6e-3)
    assert marks.of_comment(video.about(path).comment) == ({"ä": 1}, marks.GENERATED)
    again = tmp_path / f"b{suffix}"
    video.write(iter(pictures()), again, 29.97, comment=marks.comment({"ä": 1}), xmp=marks.packet())
    assert again.read_bytes() == path.read_bytes() and len(list(tmp_path.rglob("*.*"))) == 2


def test_an_mp4_plays_from_its_beginning_and_ends_with_its_xmp(tmp_path, monkeypatch):
    video.write(pictures(), tmp_path / "a.mp4", 30, xmp=marks.packet(marks.COMPOSITE))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert video.about("~/a.mp4").fps == 30  # as images are found, too
    data, at, boxes = (tmp_path / "a.mp4").read_bytes(), 0, {}
    while at < len(data):
        size, name = struct.unpack(">I4s", data[at : at + 8])
        boxes[name] = data[at + 8 : at + size]
        at += size
    names = list(boxes)
    assert at == len(data) and names.index(b"moov") < names.index(b"mdat") and names[-1] == b"uuid"
    assert boxes[b"uuid"] == video.XMP + marks.packet(marks.COMPOSITE)


def test_pictures_that_are_grey_or_transparent_and_the_last_row_twice(tmp_path):
    clear = np.zeros((3, 5, 4), np.uint8)
    clear[..., 3] = [0, 51, 128, 204, 255]  # black, more and more opaque
    image = video.even(Image.fromarray(clear))
    np.testing.assert_allclose(image[..., 0], [[255, 204, 127, 51, 0, 0]] * 4, atol=1)
    grey = np.random.default_rng(0).integers(0, 256, (4, 6), np.uint8)
    np.testing.assert_array_equal(video.even(Image.fromarray(grey)), np.repeat(grey[..., None], 3, 2))
    video.write([Image.fromarray(grey).resize((96, 64), Image.NEAREST)] * 2, tmp_path / "a.mp4", 1, crf=0)
    found = list(video.read(tmp_path / "a.mp4"))[1]
    np.testing.assert_allclose(found[8::16, 8::16], np.repeat(grey[..., None], 3, 2), atol=2)


def test_a_film_that_was_taken_sideways_is_read_upright(tmp_path):
    upright = np.zeros((32, 48, 3), np.uint8)
    upright[:16, :16] = 255  # at its top left
    for turns in range(4):
        with av.open(str(tmp_path / "a.mp4"), "w") as film:
            stream = film.add_stream("libx264", rate=5)
            lying = np.ascontiguousarray(np.rot90(upright, -turns))
            stream.height, stream.width = lying.shape[:2]
            stream.pix_fmt = "yuv420p"
            stream.set_display_rotation(90 * turns)  # counterclockwise
            film.mux(stream.encode(av.VideoFrame.from_ndarray(lying, format="rgb24")))
            film.mux(stream.encode())
        found = next(iter(video.read(tmp_path / "a.mp4")))
        assert found.shape == upright.shape and np.abs(found.astype(int) - upright).mean() < 5


def test_a_larger_crf_is_smaller_and_further_off(tmp_path):
    noise = [Image.fromarray(np.random.default_rng(i).integers(0, 256, (64, 64), np.uint8)) for i in range(3)]
    for suffix in video.KINDS:
        sizes, off = [], []
        for crf in (8, 30):
            video.write(noise, tmp_path / f"a{suffix}", 30, crf=crf)
            sizes.append((tmp_path / f"a{suffix}").stat().st_size)
            off.append(np.abs(np.array(list(video.read(tmp_path / f"a{suffix}")))[..., 0] - np.array(noise, float)).mean())
        assert sizes[1] < 0.8 * sizes[0] and off[1] > 1.5 * off[0]


def test_what_is_no_film_leaves_none(tmp_path):
    large = Image.new("L", (video.MOST + 2, 2))
    for given, options, said in (
        ([], {}, "there are no pictures"),
        (pictures(), {"fps": 0}, "fps 0: give"),
        (pictures(), {"fps": 2000}, "fps 2000: give"),
        (pictures(), {"crf": 52}, "crf 52: give 0, the best, to 51"),
        ([*pictures(), Image.new("L", (8, 8))], {}, "picture 7 is of another size"),
        ([large], {}, "at most 16384 go along a side"),
    ):
        with pytest.raises(UserError, match=said):
            video.write(given, tmp_path / "a.mp4", **{"fps": 30} | options)

    def stopped():
        yield from pictures()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        video.write(stopped(), tmp_path / "a.webm", 30)
    (tmp_path / "a.mp4").touch()
    for read in (video.about, lambda path: list(video.read(path))):
        for name in ("a.mp4", "none.mp4"):
            with pytest.raises(UserError, match="cannot be read as a film"):
                read(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]
    with pytest.raises(UserError, match="give an .mp4, .webm, .webp or .gif"):
        watch.write_animation(pictures(), tmp_path / "a.mov", 30)


def test_one_picture_at_a_time_is_asked_for(tmp_path, monkeypatch):
    drawn, seen = 0, []

    def counted():
        nonlocal drawn
        for drawn in range(1, 6):
            yield pictures()[drawn]

    even = video.even
    monkeypatch.setattr(video, "even", lambda picture: seen.append(drawn) or even(picture))
    video.write(counted(), tmp_path / "a.mp4", 30)
    assert seen == [1, 2, 3, 4, 5]


def test_without_the_extra_it_is_named(tmp_path, monkeypatch):
    real = builtins.__import__

    def without(name, *args):
        if name == "av":
            raise ModuleNotFoundError("No module named 'av'")
        return real(name, *args)

    monkeypatch.delitem(sys.modules, "av")
    monkeypatch.setattr(builtins, "__import__", without)
    calls = lambda: video.write(pictures(), tmp_path / "a.mp4", 30), lambda: video.about(tmp_path / "a.mp4").comment
    for call in calls:
        with pytest.raises(UserError, match=r'pip install "jaxgan\[video\]"') as said:
            call()
        assert ("without it write .webp or .gif" in str(said.value)) is (call is calls[0])  # who reads one is not to write
    assert watch.write_animation(pictures(), tmp_path / "a.gif", 10) == 7
