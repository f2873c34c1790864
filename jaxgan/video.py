"""Films as .mp4 and .webm, encoded frame by frame as they come. By PyAV, FFmpeg's libraries for Python: the extra `video`."""

import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from jaxgan.errors import UserError
from jaxgan.whole import write_whole


class Kind(NamedTuple):
    """How films of a suffix are encoded."""

    codec: str
    crf: int
    """The constant rate factor that is taken by default: differences can hardly be seen."""
    worst: int
    """The largest one there is; 0 is the best."""
    options: dict[str, str]
    """Of the encoder."""
    container: dict[str, str]
    """Of the file: an .mp4's index comes first, so that it plays before all of it has been loaded; a .webm gets no random
    number, so that the same film is the same file."""


KINDS = {
    ".mp4": Kind("libx264", 17, 51, {"preset": "medium"}, {"movflags": "+faststart"}),
    ".webm": Kind("libvpx-vp9", 20, 63, {"b:v": "0", "cpu-used": "3", "row-mt": "1"}, {"fflags": "+bitexact"}),
}
MOST = 16384
"""Pixels along a side; both encoders refuse more. Decoders in hardware often end at 4096."""
BT709, LIMITED, FULL = 1, 1, 2
"""FFmpeg's numbers of the matrix, primaries and transfer of ITU-R BT.709, and of the ranges 16 to 235 and 0 to 255."""
XMP = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
"""The kind of an .mp4's box that holds an XMP packet."""


def library(instead: str = "; without it write .webp or .gif") -> Any:
    """PyAV. UserError where it is not installed; `instead` is what to do then."""
    try:
        import av
    except ImportError:
        raise UserError(f'films such as .mp4 and .webm need PyAV: pip install "jaxgan[video]"{instead}') from None
    return av


def write(
    pictures: Iterable[Image.Image],
    path: str | Path,
    fps: float,
    *,
    crf: int | None = None,
    comment: str = "",
    xmp: bytes = b"",
) -> int:
    """Save a film, whole or not at all; one picture at a time is in memory, besides those that the encoder looks ahead.

    Colours are BT.709's in the limited range, as players expect, with one colour for every 2 x 2 pixels (yuv420p, which all of
    them play). A side that is odd therefore gets its last row or column once more.

    Args:
      pictures: of one size, L, RGB, or RGBA, which is laid on white.
      path: .mp4, H.264, or .webm, VP9.
      fps: pictures a second, 0.01 to 1000.
      crf: constant rate factor, 0 (the best) to 51, or for a .webm 63;
        None is 17 or 20, both about as good: in grids of noise an error of 4 grey levels, half of it of the halved colours.
      comment: any text, in the metadata.
      xmp: a packet, as `marks.packet` makes it; in an .mp4 alone.
    Returns:
      How many pictures.
    Raises:
      UserError: no PyAV, no pictures, a number out of its range, a film that the encoder refuses.
    """
    av, path = library(), Path(path)
    kind = KINDS[path.suffix.lower()]
    check(path.suffix.lower(), fps, crf)
    rate, n = Fraction(fps).limit_denominator(1001), 0

    def save(file):
        nonlocal n
        with av.open(file.name, "w", format=path.suffix.lower()[1:], options=kind.container) as film:
            film.metadata["comment"] = comment
            stream = None
            for n, picture in enumerate(pictures, 1):
                image = even(picture)
                if max(image.shape) > MOST:
                    raise UserError(
                        f"{path}: a picture has {image.shape[1]}x{image.shape[0]} pixels, at most {MOST} go along a side"
                    )
                if stream is None:
                    quality = {"crf": str(kind.crf if crf is None else crf)}
                    stream = film.add_stream(kind.codec, rate=rate, options=kind.options | quality)
                    stream.height, stream.width = size = image.shape[:2]
                    stream.pix_fmt = "yuv420p"
                    coder = stream.codec_context
                    coder.colorspace = coder.color_primaries = coder.color_trc = BT709
                    coder.color_range = LIMITED
                if image.shape[:2] != size:
                    raise UserError(f"{path}: picture {n - 1} is of another size than the first; a film has one")
                film.mux(stream.encode(as_frame(av, image)))
            if stream is None:
                raise UserError(f"{path}: there are no pictures for it")
            film.mux(stream.encode())
        if xmp and path.suffix.lower() == ".mp4":
            with open(file.name, "ab") as end:
                end.write(struct.pack(">I4s", 8 + len(XMP) + len(xmp), b"uuid") + XMP + xmp)

    try:
        write_whole(path, save)
    except av.FFmpegError as e:
        if isinstance(e, OSError):  # a full disk, say
            raise
        raise UserError(f"{path}: the encoder refuses this film ({e.strerror})") from None
    return n


def check(suffix: str, fps: float, crf: int | None = None) -> None:
    """UserError where a film of this kind is not of so many pictures a second, or has no such quality."""
    if not 0.01 <= fps <= 1000:
        raise UserError(f"fps {fps:g}: give 0.01 to 1000")
    if crf is not None and not 0 <= crf <= KINDS[suffix].worst:
        raise UserError(f"crf {crf}: give 0, the best, to {KINDS[suffix].worst}")


def even(picture: Image.Image) -> np.ndarray:
    """uint8 [H, W, 3], H and W even, on white where it is transparent."""
    if picture.mode == "RGBA":
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    image = np.asarray(picture.convert("RGB"))
    h, w = image.shape[:2]
    return np.pad(image, ((0, h % 2), (0, w % 2), (0, 0)), "edge")


def as_frame(av: ModuleType, image: np.ndarray) -> Any:
    """The picture as the encoder takes it."""
    frame = av.VideoFrame.from_ndarray(image, format="rgb24")
    matrix = {"src_colorspace": BT709, "dst_colorspace": BT709}
    return frame.reformat(format="yuv420p", src_color_range=FULL, dst_color_range=LIMITED, **matrix)


class About(NamedTuple):
    """What a film is, besides its pictures."""

    fps: float
    """On average; 0 where it is not known."""
    comment: str
    """In the metadata; "" where there is none."""


def about(path: str | Path) -> About:
    """What a film of any kind that FFmpeg knows is. UserError where it is none."""
    with opened(path) as film:
        said = {name.lower(): text for name, text in film.metadata.items()}
        return About(float(film.streams.video[0].average_rate or 0), said.get("comment", ""))


def read(path: str | Path) -> Iterator[np.ndarray]:
    """The pictures of such a film, one at a time and upright: yields uint8 [H, W, 3]. UserError where it is none."""
    with opened(path) as film:
        for frame in film.decode(video=0):
            yield np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90))


@contextmanager
def opened(path: str | Path) -> Iterator[Any]:
    """PyAV's container of a film. UserError where it is none, or is found to be damaged inside the context."""
    av = library("")
    try:
        with av.open(str(Path(path).expanduser())) as film:
            if not film.streams.video:
                raise UserError(f"{path}: there are no pictures in it")
            yield film
    except av.FFmpegError as e:
        raise UserError(f"{path}: it cannot be read as a film ({e.strerror})") from None
