"""What the commands share: arguments by tyro, a user's mistake in one line with exit code 2, a run that diverged with 3."""

import atexit
import contextlib
import dataclasses
import inspect
import io
import os
import re
import shutil
import signal
import sys
import textwrap
import time
import traceback
import types
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import docstring_parser
import tyro

from jaxgan import stopping
from jaxgan.errors import Diverged, UserError, printable

if TYPE_CHECKING:
    from jaxgan.restore import Trained

Kind = TypeVar("Kind")


def parse(
    kind: type[Kind],
    args: list[str] | None = None,
    default: Kind | None = None,
    *,
    prog: str,
    more: str = "",
    examples: tuple[str, ...] = (),
) -> Kind:
    """Command-line arguments as an instance of the dataclass `kind`.

    Args:
      kind: a frozen dataclass; its fields become `--field value`, their docstrings the help, and its own stands above it.
      args: the arguments; None takes those of the process.
      default: an instance of `kind` that holds the defaults.
      prog: what the user typed, for the help.
      more: paragraphs after the docstring.
      examples: arguments, as they would follow `prog`.
    Raises:
      UserError: an unknown field (the nearest is named) or a value of the wrong type.
    """
    _document(kind)
    words = [re.sub("^(--[\\w-]+=)?~/", _at_home, word) for word in (sys.argv[1:] if args is None else args)]
    if {"-h", "--help"} & set(words):
        print(_top(kind, prog, more, examples))
    complaint = io.StringIO()
    with contextlib.redirect_stderr(complaint):
        try:
            return tyro.cli(kind, args=words, default=default, prog=prog, description="")
        except SystemExit as e:
            if e.code in (0, None):
                raise
    raise UserError(_one_line(complaint.getvalue(), prog))


def _top(kind: type, prog: str, more: str, examples: tuple[str, ...]) -> str:
    """What stands above the help. Not tyro's description: that would have its line ends taken out, and words broken."""
    own = "" if (kind.__doc__ or "").startswith(f"{kind.__name__}(") else inspect.getdoc(kind) or ""  # made for one without
    fill = partial(textwrap.fill, width=shutil.get_terminal_size().columns, break_long_words=False, break_on_hyphens=False)
    parts = [*(fill(part) for part in (*own.split("\n\n"), *more.split("\n\n")) if part), ""]
    return "\n\n".join(parts) + "".join(fill(f"  {prog} {words}", subsequent_indent=" " * 6) + "\n" for words in examples)


def _at_home(found: re.Match) -> str:
    """A ~/ that the shell has left as it is, as in --out=~/x or in quotes: it would be a folder of that name."""
    return (found[1] or "") + os.path.expanduser("~/")


def _document(kind: type) -> None:
    """Put the fields' docstrings where tyro takes help as it stands: of a docstring it keeps some of the source's line ends."""
    said = [parsed for cls in reversed(kind.__mro__[:-1]) for parsed in docstring_parser.parse_from_object(cls).params]
    helps = {parsed.arg_name: " ".join(parsed.description.split()) for parsed in said if parsed.description}
    for field in dataclasses.fields(kind):
        if field.name in helps:
            field.metadata = types.MappingProxyType({**field.metadata, "help": helps[field.name]})


ELSEWHERE = {
    **dict.fromkeys(("batch-size", "batchsize", "bs"), "--batch"),
    **dict.fromkeys(("learning-rate", "glr", "dlr"), "--lr"),
    **dict.fromkeys(
        ("epochs", "n-epochs", "niter", "steps", "iterations", "num-steps", "max-steps"), "--kimg, in thousands of images"
    ),
    **dict.fromkeys(("logdir", "checkpoints-dir", "name"), "--run-dir"),
    **{"outdir": "--run-dir (train) or --out", "output-dir": "--run-dir (train) or --out", "output": "--out"},
    **dict.fromkeys(("dataroot", "dataset", "data-path", "path"), "--data"),
    **dict.fromkeys(("image-size", "img-size", "load-size", "crop-size", "resolution"), "--size HEIGHT WIDTH"),
    **dict.fromkeys(("snap", "save-every", "save-freq"), "--snapshot-kimg"),
    **dict.fromkeys(("aug", "ada-target"), "--augment ada, with --augment-target 0.6"),
    **dict.fromkeys(("ngf", "ndf"), "--width"),
    **dict.fromkeys(("n-layers-d", "netd"), "--layers"),
    **dict.fromkeys(("lambda-a", "lambda-b"), "--cycle"),
    **dict.fromkeys(("niter-decay", "n-epochs-decay", "lr-policy"), "--decay-from (cyclegan) or --lr-end (pix2pix)"),
    **dict.fromkeys(("no-flip", "preprocess"), "--mirror and --jitter, which are off unless they are given (on in *-256)"),
    **{"lambda-l1": "--l1", "lambda-identity": "--identity, times --cycle", "gan-mode": "--loss", "pool-size": "--history"},
    **{"direction": "--side-by-side left or right; of two sets, exchange --data and --target", "no-dropout": "--dropout 0"},
    **{"phase": "--split", "results-dir": "--out", "netg": "--blocks (cyclegan)", "continue-train": "not needed: runs resume"},
    **dict.fromkeys(("gpus", "num-gpus", "gpu-ids", "workers"), "not needed: all devices are used"),
    **dict.fromkeys(("cfg", "config", "model", "preset"), "the first word: python -m experiments.train CONFIG"),
    "cond": "--conditional yes",
    "resume-from": "--init",
    "trunc": "--psi",
    "seeds": "--index, the numbers of images of one --seed",
    **dict.fromkeys(("row-seeds", "col-seeds", "cols"), "--mix ROWS COLUMNS, with --index"),
    **{"class": "--label", "noise-mode": "--noise", "col-styles": "--mix-layers FIRST END", "styles": "--mix-layers FIRST END"},
    **{"num-keyframes": "--keys, or --index", "w-frames": "--frames"},
    **dict.fromkeys(("duration", "duration-sec", "seconds"), "--frames, from one image to the next, at --fps"),
    **dict.fromkeys(("framerate", "frame-rate", "video-fps"), "--fps"),
    **dict.fromkeys(("quality", "bitrate"), "--crf"),
    **dict.fromkeys(("interpolation", "interp", "easing"), "--smooth, or --hold"),
    "network": "the first word, RUN",
}
"""What options of other GAN programs are here."""


def _one_line(panel: str, prog: str) -> str:
    """tyro's boxed complaint without its box: the complaint, and the nearest field's name."""
    rows = [re.sub(r"[│╭╮╰╯─]+|[|+]?-{4,}[|+]?|^[|]|[|]$", " ", row.strip()).strip() for row in panel.splitlines()[1:]]
    text = re.sub(r"\s+", " ", " ".join(rows)).strip()
    text, *near = re.split(r"(?=Perhaps you meant:)|Arguments similar to (?=--)", text)
    text = re.split(r"Argument helptext:|Got errors:|For full helptext", text)[0].strip().rstrip(".")
    text = re.sub(r"no type matching \{None\}\|\{(.+?)\} could be instantiated from", r"it takes \1, not", text)
    text = re.sub(r"Could not find valid parse for arguments: (\[.+\])", r"it does not take \1; put spaces between values", text)
    hints = _hints(text, near) if text.startswith("Unrecognized") else []
    if "argument '--resume'" in text:
        hints = ["to start from trained networks: --init"]
    return f"{'; '.join([text, *hints])} ({prog} --help lists the fields)"


def _hints(text: str, near: list[str]) -> list[str]:
    """What is here what an unknown option means elsewhere, or the nearest one there is.

    Args:
      text: tyro's complaint, which names them.
      near: what it says of each that is near to one, 'Perhaps you meant: --b ...'; of several unknown ones '--a: --b ...'.
    """
    names = [re.findall(r"--[\w-]+", part) for part in (text, *near)]
    unknown, *pairs = names[0], *((part if near[0][0] == "-" else [names[0][0], *part])[:2] for part in names[1:])
    hints = {a: f"the nearest is {b}" for a, b in pairs}
    hints |= {a: f"here it is {ELSEWHERE[name]}" for a in unknown if (name := a[2:].lower().replace("_", "-")) in ELSEWHERE}
    return [f"{a}: {hints[a]}" if len(unknown) > 1 else hints[a] for a in unknown if a in hints]


def check_index(index: tuple[int, ...]) -> None:
    """UserError unless --index are numbers that images can have."""
    if wrong := [i for i in index if not 0 <= i < 2**31]:
        raise UserError(f"--index {wrong[0]}: images are counted from 0 to 2^31 - 1")


def secret(key: str | None) -> str | None:
    """--watermark, or where it is @FILE what that holds: all on a machine can see the arguments of a command.

    Raises:
      UserError: the file cannot be read.
    """
    if not key or not key.startswith("@"):
        return key
    try:
        return Path(key[1:]).expanduser().read_text("utf-8").rstrip("\r\n")
    except (OSError, ValueError) as e:
        reason = getattr(e, "strerror", None) or "no UTF-8"
        said = "@ names the file that holds the key, as it does for a key that begins with @"
        raise UserError(f"--watermark {key}: it cannot be read ({reason}); {said}") from None


def check_which(checkpoint: str) -> None:
    """UserError unless --checkpoint is latest, best or a step."""
    if checkpoint not in ("latest", "best") and not checkpoint.isdecimal():
        raise UserError(f"--checkpoint {checkpoint}: give latest, best or a step")


@dataclasses.dataclass(frozen=True)
class OfRun:
    """The arguments of the commands that load a trained generator."""

    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """The run directory, or a weight file."""
    checkpoint: str = dataclasses.field(default="latest", kw_only=True)
    """Which checkpoint: latest, best, or a step."""
    average: float | None = dataclasses.field(default=None, kw_only=True)
    """Relative width of the weight average, such as 0.1 (the last tenth of training), for runs with --posthoc; default: the
    run's own average."""

    def load(self) -> "Trained":
        """The `restore.Trained` that they name. UserError where there is none."""
        check_which(self.checkpoint)
        from jaxgan import restore

        return restore.load(self.run, checkpoint=self.checkpoint, average=self.average)


OTHERS = (
    *(".png", ".jpg", ".jpeg", ".webp", ".gif", ".apng", ".bmp", ".tif", ".tiff", ".avif", ".svg", ".pdf", ".npy", ".npz"),
    *(".mp4", ".mov", ".webm", ".avi", ".mkv", ".zip", ".tar", ".json", ".jsonl", ".pkl", ".safetensors", ".stablehlo", ".onnx"),
)
"""Suffixes of files, with which no folder is meant."""


def check_out(out: str, *kinds: str, folder: str = "") -> None:
    """UserError unless --out is a file of one of these kinds (".png"), or a folder where `folder` says what is written then."""
    suffix = Path(out).suffix.lower()
    if suffix in kinds or (folder and out and suffix not in OTHERS):
        return
    *names, last = [*(f"a{'n' * (kind in ('.npz', '.mp4', '.onnx'))} {kind}" for kind in kinds), *[folder] * bool(folder)]
    raise UserError(f"--out {out or 'is empty'}: write {', '.join(names)}{' or ' * bool(names)}{last}")


def own_data(config: dict, where: str) -> str:
    """The --data that a run was trained on. `where`: the option that names other data.

    Raises:
      UserError: its config opened a set in Python, which --data does not name.
    """
    data = config["settings"]["data"]
    if (name := config.get("data", {}).get("name", data)) != data:
        raise UserError(f"the run was trained on {name!r}, which only its own script can open; name the images with {where}")
    return data


def numbered(args: Kind, config: dict[str, Any]) -> Kind:
    """Arguments with the numbers of the classes whose names --label says: `restore.numbered`.

    Where every class is named by a number, as folders 1, 5 and 10 are, a number is that name.

    Args:
      args: a dataclass whose `label` is a class, by number or by name, a tuple of them, or None.
      config: the run's; {} of a file of weights, which knows no names.
    Raises:
      UserError: a name that no class has.
    """
    from jaxgan.restore import numbered

    names = config.get("data", {}).get("class_names", [])
    values = {int(name): name for name in names} if all(name.isdecimal() for name in names) else {}
    named = lambda label: values.get(label, str(label)) if values and isinstance(label, int) else label
    label = tuple(map(named, args.label)) if isinstance(args.label, tuple) else named(args.label)
    return dataclasses.replace(args, label=numbered(label, config))


@contextlib.contextmanager
def writing(out: str | Path) -> Iterator[None]:
    """What goes wrong inside with files is said as a mistake in --out."""
    try:
        yield
    except OSError as e:
        raise UserError(f"--out {out}: it cannot be written ({e.strerror or e})") from e


def _interrupted(number, frame) -> None:
    """Ctrl-C: a KeyboardInterrupt; but the end while anything is imported, since jaxlib's modules crash of an exception then."""
    at = frame
    while at:
        if at.f_code.co_filename.startswith("<frozen importlib"):
            os.write(2, b"stopped\n")
            stopping.leave(130)
        at = at.f_back
    raise KeyboardInterrupt


def no_devices(error: Exception) -> str:
    """The line for an environment that asks JAX for devices that are not here; "" where the error is another one."""
    at = error.__traceback__
    while at.tb_next:
        at = at.tb_next
    absent = isinstance(error, AssertionError) and at.tb_frame.f_code.co_name == "backends"  # of a plugin that is not installed
    if not absent and not str(error).startswith("Unable to initialize backend"):
        return ""
    reason = f" ({str(error).splitlines()[0].partition(' (set JAX_PLATFORMS')[0]})" if str(error) else ""
    asked = f"JAX_PLATFORMS={os.environ['JAX_PLATFORMS']}: " if os.environ.get("JAX_PLATFORMS") else ""
    return f'{asked}no such devices here{reason}; unset it to use those there are, or pip install "jaxgan[cuda]" or [tpu]'


def _together() -> bool:
    """Whether this process is one of several of a run."""
    jax = sys.modules.get("jax")
    return bool(jax and jax.distributed.is_initialized())


def run_command(main: Callable[[], int | None]) -> None:
    """Run `main` and exit with its code; a `UserError` becomes one line on stderr and exit code 2, that of
    a run that `Diverged` 3, Ctrl-C one and 130, by the signal.

    Nobody waits at the exit for programs that are still being compiled, nor, after an error, for the run's other processes. A
    reader that has seen enough (`--help | head`) is no error. In a notebook, by `%run -m experiments.train`, only the cell ends,
    and Ctrl-C stays what it is there.
    """
    if not _in_notebook():
        signal.signal(signal.SIGINT, _interrupted)
    if sys.stdout is None or sys.stderr is None:  # closed, as `>&-` leaves them
        sys.stdout, sys.stderr = (stream or open(os.devnull, "w") for stream in (sys.stdout, sys.stderr))
    warnings.filterwarnings("ignore", "Image size .* exceeds limit")  # PIL's, of large scans; of too large ones it is an error
    if getattr(sys.stdout, "errors", "") == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")  # a name that the output's encoding lacks ends no run
    try:
        code = main() or 0
        sys.stdout.flush()
    except UserError as e:
        print(f"error: {printable(str(e))}", file=sys.stderr)
        code = 3 if isinstance(e, Diverged) else 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr, flush=True)
        sys.stdout.flush()
        _leave(130)  # JAX's threads, in the middle of what they do, may crash an orderly exit
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python flushes at its end
        code = 128 + getattr(signal, "SIGPIPE", 13)  # Windows has none
    except Exception as e:
        if said := no_devices(e):
            print(f"error: {said}", file=sys.stderr)
        elif not _together():
            raise
        else:
            traceback.print_exc()  # what Python does too, and then waits five minutes for the others
        code = 2 if said else 1
    ahead = sys.modules.get("jaxgan.ahead")  # not imported here, where nothing else did
    failed = code in (1, 2, 3) and _together()
    if failed and sys.modules["jaxgan.parallel"].is_coordinator():
        time.sleep(2)  # the others have most likely come to the same end, and JAX aborts them where this one is gone
    busy, saved = ahead and ahead.busy(), code == 130 and not _together()
    if saved and not busy and not _in_notebook():
        atexit._run_exitfuncs()  # as sys.exit does: a tracker uploads what it still has
    if busy or failed or saved:
        sys.stdout.flush()
        sys.stderr.flush()
        _leave(code)
    sys.exit(code)


def _in_notebook() -> bool:
    return bool(getattr(sys.modules.get("IPython"), "get_ipython", bool)())


def _leave(code: int) -> None:
    """End the process at once, or the cell."""
    (sys.exit if _in_notebook() else stopping.leave)(code)
