"""The one exception that is a user's mistake rather than ours, and words for messages."""

import difflib


class UserError(ValueError):
    """Bad input. Its message is one line: which input, what is wrong with it, what to do.

    The commands of `experiments/` print that line and exit with code 2; no stack trace.
    """


def one_line(error: Exception, most: int | None = None) -> str:
    """What an error says in one line, of at most so many characters; its type where it says nothing."""
    return " ".join(str(error).split())[:most] or type(error).__name__


def nearest(name: str, names) -> str:
    """'; the nearest is X', or ''."""
    close = difflib.get_close_matches(name, names, 1, 0.4)
    return f"; the nearest is {close[0]}" if close else ""
