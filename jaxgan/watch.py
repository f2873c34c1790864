"""What a person watches: the log, curves, grids of samples, one progress line."""

import contextlib
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from jaxgan import video
from jaxgan.captions import captioned
from jaxgan.data.images import as_picture
from jaxgan.errors import UserError, printable
from jaxgan.whole import not_a_link, write_whole

FEW = 20
"""Points of a curve that are shown one by one: between them nothing was measured."""
WIDEST = 1024
"""Pixels of a picture for TensorBoard, across: it is kept beside that in samples/, for every snapshot."""
MOST = 500
"""Points of a curve: more are drawn as the means of so many pieces, over a band from the least to the greatest of each."""


def grid(
    images: np.ndarray,
    *,
    columns: int | None = None,
    pad: int = 1,
    least: int = 512,
    factor: int | None = None,
    captions: Sequence[str] = (),
) -> Image.Image:
    """Images side by side.

    Args:
      images: uint8 [n, H, W, C]; of other C than 1, 3 and 4 the channels are shown side by side, each as a grey image.
      columns: how many in a row; None for about a square.
      pad: pixels between them.
      least: small pictures are enlarged by a whole factor to about this width, pixels kept square.
      factor: another such factor.
      captions: what to write below each image, n of them, "" for nothing; none where there are none.
    Raises:
      UserError: images of another type or shape: floats would be black.
    """
    if np.ndim(images) != 4 or getattr(images, "dtype", None) != np.uint8:
        given = f"{getattr(images, 'dtype', type(images).__name__)} {np.shape(images)}"
        raise UserError(f"images are {given}; give uint8 [n, H, W, C], which latents.as_bytes makes of floats in [-1, 1]")
    if images.shape[3] not in (1, 3, 4):
        images = np.concatenate(np.split(images, images.shape[3], 3), 2)
    n, h, w, c = images.shape
    columns = columns or min(n, math.ceil(math.sqrt(n * h / w)))  # of tall images there may be fewer than a square takes
    rows = math.ceil(n / columns)
    sheet = np.full((rows * (h + pad) + pad, columns * (w + pad) + pad, c), 128, np.uint8)
    for i, image in enumerate(images):
        y, x = pad + i // columns * (h + pad), pad + i % columns * (w + pad)
        sheet[y : y + h, x : x + w] = image
    picture = as_picture(sheet)
    factor = factor or max(1, round(least / picture.width))
    picture = picture.resize((picture.width * factor, picture.height * factor), Image.NEAREST)
    return captioned(picture, captions, columns, (h + pad) * factor) if captions else picture


def write_picture(picture: Image.Image, path: str | Path, pnginfo: PngInfo | None = None) -> None:
    """Save as PNG, whole or not at all; `pnginfo` are its texts, as `marks.png` makes them."""
    write_whole(path, lambda file: picture.save(file, "png", pnginfo=pnginfo))


def write_animation(
    pictures: Iterable[Image.Image],
    path: str | Path,
    fps: float,
    xmp: bytes = b"",
    *,
    crf: int | None = None,
    comment: str = "",
) -> int:
    """Save as a film, .mp4 or .webm (`video.write`), or as an animated .webp (without loss) or .gif that starts again for ever;
    whole or not at all.

    Args:
      pictures: of one size, as `grid` makes them of images; a GIF has up to 256 colours in each, and those with alpha are laid
        on white but in a .webp. Of a .webp and a .gif all are in memory at once.
      path: its suffix says which.
      fps: pictures a second. They are shown for whole 1/1000 s, in a GIF for whole 1/100 s, that add up to n / fps.
      xmp: metadata, as `marks.packet` makes them; in a GIF they are its comment.
      crf, comment: of .mp4 and .webm, as in `video.write`.
    Returns:
      How many pictures.
    Raises:
      UserError: another suffix; what `video.write` refuses.
    """
    kind = Path(path).suffix.lower()[1:]
    if f".{kind}" in video.KINDS:
        return video.write(pictures, path, fps, crf=crf, comment=comment, xmp=xmp)
    if kind not in ("webp", "gif"):
        raise UserError(f"{path}: give an .mp4, .webm, .webp or .gif")
    unit = 10 if kind == "gif" else 1
    first, *rest = (in_256(picture) for picture in pictures) if kind == "gif" else pictures
    ends = np.round(np.arange(len(rest) + 2) * 1000 / fps / unit).astype(int) * unit
    options = {"save_all": True, "append_images": rest, "duration": np.diff(ends).tolist(), "loop": 0}
    options |= {"lossless": True, "quality": 0, "method": 0, "xmp": xmp} if kind == "webp" else {"comment": xmp}
    write_whole(path, lambda file: first.save(file, kind, **options))
    return 1 + len(rest)


def in_256(picture: Image.Image) -> Image.Image:
    """With up to 256 colours, laid on white. Median cut, what PIL would choose by itself, loses rare bright colours."""
    if picture.mode == "L":
        return picture
    if picture.mode == "RGBA":
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    return picture.quantize(256, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)


def write_arrays(path: Path, **arrays: np.ndarray) -> None:
    """Save as .npz, whole or not at all."""
    write_whole(path, lambda file: np.savez_compressed(file, **arrays))


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a .jsonl; those that are none, such as one that a kill left half-written, are left out."""
    rows = []
    for line in path.read_text(errors="replace").splitlines() if path.exists() else ():
        with contextlib.suppress(ValueError, RecursionError):
            rows.append(json.loads(line))
    return [row for row in rows if isinstance(row, dict)]


def cut_lines(path: Path, keep: Callable[[dict], bool]) -> list[dict[str, Any]]:
    """Drop the lines of a .jsonl that `keep` refuses: a resumed run does not say twice what came after its checkpoint."""
    rows = [row for row in read_lines(path) if keep(row)]
    if path.exists():
        write_whole(path, lambda file: file.write("".join(json.dumps(row) + "\n" for row in rows).encode()), sync=True)
    return rows


def add_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Add lines to a .jsonl. One that a kill or a full disk left half-written is ended first: the next would be lost with it.

    Raises UserError where the file is a link.
    """
    with open(path, "ab+", opener=not_a_link) as f:
        if f.tell():
            f.seek(-1, os.SEEK_END)
        half = f.read(1) not in (b"", b"\n")
        f.write(b"\n" * half + "".join(json.dumps(row) + "\n" for row in rows).encode())


def losses(row: dict[str, Any]) -> str:
    """Losses and score of a line of the log, 'd 1.234  g 0.567  swd 12.3': each player's term `adv`, or if it has none, all its
    terms by name."""
    said = []
    for player in "dg":
        terms = {name: value for name, value in row.items() if name.startswith(f"{player}/")}
        terms = {player: terms[f"{player}/adv"]} if f"{player}/adv" in terms else terms
        said += [f"{name} {value:.3f}" for name, value in terms.items()]
    return "  ".join(said + [f"{name} {row[name]:.3g}" for name in ("swd", "psnr") if name in row])


PLAIN = {"text.usetex": False, "text.parse_math": False, "figure.autolayout": False, "figure.constrained_layout.use": False}


def in_plain_style(draw: Callable) -> Callable:
    """`draw`, whatever the user's matplotlibrc says of LaTeX, which may not be there and ended a run, and of layouts; and
    a $ in a name is no formula."""

    @wraps(draw)
    def call(*args, **kwargs):
        from matplotlib import rc_context

        with rc_context(PLAIN):
            return draw(*args, **kwargs)

    return call


@in_plain_style
def draw_curves(rows: list[dict[str, Any]], path: Path) -> None:
    """Losses, penalties, logits, scores, metrics and speed against kimg, as a PNG."""
    from matplotlib.figure import Figure  # no pyplot: no global state, no display

    names = sorted({name for row in rows for name in row} - {"step", "kimg", "seconds"})
    panels = {
        "adversarial losses of D and G": [n for n in names if n.endswith("/adv")],
        "D's logits (higher: taken for real)": [n for n in reversed(names) if n.startswith("logits/")],  # real as D, fake as G
        "penalties and other terms": [n for n in names if n[:2] in ("d/", "g/") and not n.endswith("/adv")],
        "sliced Wasserstein distance to real images (grey levels; lower is better)": [n for n in names if n == "swd"],
        "variety: distance of neighbouring images (real ones: 1; towards 0: collapse)": [n for n in names if n == "variety"],
        "distance to the targets, L1 (grey levels; lower is better)": [n for n in names if n == "l1"],
        "likeness to the targets, PSNR (dB; higher is better)": [n for n in names if n == "psnr"],
    }
    rest = [n for n in names if n not in ("img_per_s", *sum(panels.values(), []))]  # metrics, and what terms of one's own log
    panels |= {name: [name] for name in rest} | {"images per second": [n for n in names if n == "img_per_s"]}
    steps = np.diff([0] + [row["step"] for row in rows])
    short = {row["step"] for row, n in zip(rows, steps, strict=True) if 4 * n < steps.max()}
    panels = {title: chosen for title, chosen in panels.items() if chosen}
    if not panels:
        return
    height = 2.3 * len(panels)
    figure = Figure(figsize=(7, height))
    figure.subplots_adjust(0.1, 0.5 / height, 0.97, 1 - 0.3 / height, hspace=0.2)  # a layout that measures takes twice as long
    for axes, (title, chosen) in zip(np.ravel(figure.subplots(len(panels), sharex=True)), panels.items(), strict=True):
        for name in chosen:
            had = [row for row in rows if name in row]
            if name.startswith(("d/", "g/", "logits/", "img_per_s")):  # means over few steps jump about, as at a run's end
                had = [row for row in had if row["step"] not in short] or had
            points = np.array([(row["kimg"], row[name]) for row in had])
            pieces = np.array_split(points, min(len(points), MOST))
            kimg, mean, low, high = np.array([(*p.mean(0), p[:, 1].min(), p[:, 1].max()) for p in pieces]).T
            axes.plot(kimg, mean, label=name, linewidth=1.2, marker="." if len(points) <= FEW else None)
            if len(points) > MOST:
                axes.fill_between(kimg, low, high, alpha=0.25, linewidth=0)
        axes.set_title(title, fontsize=9)
        axes.grid(alpha=0.3)
        if "lower is better" in title or title.startswith(("variety", "images per second")):
            axes.set_ylim(0, 1.08 * axes.dataLim.y1 or 1)
        if len(chosen) > 1 or title.startswith("penalties"):  # of the others the title is the name
            axes.legend(fontsize=7)
    axes.set_xlabel("kimg (thousands of training images)")
    write_whole(path, lambda file: figure.savefig(file, dpi=100, format="png"))


def seldom(fn: Callable[..., None], share: float = 0.02, clock: Callable[[], float] = time.perf_counter) -> Callable[..., None]:
    """`fn` with a keyword `anyway`: without it, a call is left out where fn would take more than `share` of the time.

    Args:
      fn: what is worth a look, but not a wait of the devices.
      share: of the time since the last call that was not left out.
      clock: seconds.
    """
    after = -math.inf

    def call(*args, anyway: bool = False) -> None:
        nonlocal after
        start = clock()
        if anyway or start >= after:
            fn(*args)
            end = clock()
            after = end + (end - start) / share

    return call


def console(stderr: bool = False) -> Any:
    """rich's, which shows a bar on a terminal alone: FORCE_COLOR, which Jupyter sets for all that a cell starts, made it fill log
    files with one. In a notebook it prints text: rich would make every line an output of its own."""
    from rich.console import Console

    terminal = getattr(sys.stderr if stderr else sys.stdout, "isatty", bool)()
    return Console(stderr=stderr, force_jupyter=False, force_terminal=None if terminal else False)


class Progress:
    """One rich line: what, bar, kimg, img/s, time left, losses. Not on a terminal: a plain line now and then.

    A class because a live display has a life: use it as a context.
    """

    def __init__(self, total_kimg: float, done_kimg: float, show: bool, keep: Callable[[str], None] = lambda text: None):
        """`keep` is given what is said, but for the lines of ticks."""
        from rich import progress

        self.keep = keep

        columns: Iterable = (
            progress.TextColumn("{task.description}"),
            progress.BarColumn(bar_width=24),
            progress.TextColumn("{task.completed:.1f}/{task.total:.10g} kimg"),
            progress.TextColumn("{task.fields[rate]}"),
            progress.TimeRemainingColumn(),
            progress.TextColumn("{task.fields[losses]}"),
        )
        self.bar = progress.Progress(
            *columns, console=console(), refresh_per_second=4, disable=not show, speed_estimate_period=60
        )
        self.task = self.bar.add_task("compiling", total=total_kimg, completed=done_kimg, rate="", losses="")
        self.live = show and self.bar.console.is_interactive  # a dumb terminal shows no bar

    def __enter__(self) -> "Progress":
        if self.live:
            self.bar.start()
        self.tick("compiling")
        return self

    def __exit__(self, *_: object) -> None:
        if self.live:
            with contextlib.suppress(OSError):
                self.bar.stop()

    def update(self, kimg: float, description: str = "training") -> None:
        self.bar.update(self.task, completed=kimg, description=description)

    def losses(self, row: dict[str, Any]) -> None:
        self.bar.update(self.task, rate=f"{row['img_per_s']:.0f} img/s", losses=losses(row))

    def say(self, text: str) -> None:
        """A line above the bar, also kept."""
        if not self.bar.disable:
            self.keep(text)
        self._print(text)

    def _print(self, text: str) -> None:
        """A line above the bar, names such as [old] and :fire: as they are; none where the terminal has been closed, or whatever
        read a pipe is gone: rich would exit, and the run lose what came after its last checkpoint."""
        if not self.bar.disable:
            with contextlib.suppress(OSError, SystemExit):
                self.bar.console.print(printable(text), markup=False, emoji=False, highlight=False, soft_wrap=True)

    def tick(self, text: str) -> None:
        """A line where there is no bar to look at."""
        if not self.live:
            self._print(text)


SILENT = 60.0
"""Seconds after which what counts says how far it is where there is no terminal, as in a cluster's log."""


@contextlib.contextmanager
def counter(
    description: str, show: bool = True, clock: Callable[[], float] = time.monotonic
) -> Iterator[Callable[[int, int], None]]:
    """A passing bar for something that counts, a context: gives update(done, total). It is there before the first is done: the
    names of a million files take a while. Not on a terminal: a line on stderr a minute."""
    from rich import progress

    bar = progress.Progress(
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(bar_width=24),
        progress.MofNCompleteColumn(),
        progress.TimeRemainingColumn(),
        console=console(),
        transient=True,
        disable=not show,
    )
    task, live, said = bar.add_task(description, total=None), show and bar.console.is_interactive, clock()

    def update(done: int, total: int) -> None:
        nonlocal said
        bar.update(task, completed=done, total=total)
        if show and not live and clock() > said + SILENT:
            said = clock()
            with contextlib.suppress(OSError):
                print(f"{description}: {done:,} of {total:,}", file=sys.stderr, flush=True)

    with bar if live else contextlib.nullcontext():
        yield update


def open_tensorboard(directory: Path, done: int = 0) -> Callable[..., None]:
    """A function of a log row, and of the picture drawn with it or None, which writes both for TensorBoard, by the step.

    Args:
      done: steps made before. What an earlier process, that was killed, wrote of later ones is shown no more: they come again.
    """
    from tensorboardX import SummaryWriter

    # Its thread writes after `flush` has returned: without flush_secs a line came with the next one, or two minutes late.
    writer = SummaryWriter(str(directory), purge_step=done + 1 if done else None, flush_secs=10)

    def write(row: dict[str, Any], picture: Image.Image | None = None) -> None:
        for name, value in row.items():
            if name not in ("step", "kimg"):
                writer.add_scalar(name, value, row["step"])
        if picture is not None:
            small = picture.convert("RGB")
            small.thumbnail((WIDEST, WIDEST))
            writer.add_image("samples", np.asarray(small), row["step"], dataformats="HWC")
        writer.flush()

    return write
