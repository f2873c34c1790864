"""The one exception that is a user's mistake rather than ours, and the hint that goes with misspelt names."""

import difflib


class UserError(ValueError):
    """Bad input. Its message is one line: which input, what is wrong with it, what to do.

    The commands of `experiments/` print that line and exit with code 2; no stack trace.
    """


def nearest(name: str, names) -> str:
    """'; the nearest is X', or ''."""
    close = difflib.get_close_matches(name, names, 1, 0.4)
    return f"; the nearest is {close[0]}" if close else ""
