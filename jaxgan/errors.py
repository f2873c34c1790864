"""The exceptions that are a user's mistake, or a run's bad end, rather than ours, and words for messages."""

import difflib
import traceback
from collections.abc import Iterable


class UserError(ValueError):
    """Bad input. Its message is one line: which input, what is wrong with it, what to do.

    The commands of `experiments/` print that line and exit with code 2; no stack trace.
    """

    def _render_traceback_(self) -> list[str]:
        """What IPython and Jupyter show in place of a trace: the last line of the user's own, and the message."""
        frames, lines = traceback.walk_tb(self.__traceback__), traceback.extract_tb(self.__traceback__)
        own = [at for (frame, _), at in zip(frames, lines, strict=True) if frame.f_globals.get("__name__") == "__main__"]
        return [*(f"line {at.lineno}: {at.line}" for at in own[-1:]), f"{type(self).__name__}: {self}"]


class Diverged(UserError):
    """A loss or a weight has become NaN or infinite: a result, not a mistake. The commands exit with code 3."""


def one_line(error: Exception, most: int | None = None) -> str:
    """What an error says in one line, of at most so many characters; its type where it says nothing."""
    return " ".join(str(error).split())[:most] or type(error).__name__


def printable(text: str) -> str:
    """A text with what is no letter, sign or space as an escape: names in files of others may be commands to a terminal, or feign
    a line of ours."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def nearest(name: str, names: Iterable[str]) -> str:
    """'; the nearest is X', or ''."""
    close = difflib.get_close_matches(name, names, 1, 0.4)
    return f"; the nearest is {close[0]}" if close else ""
