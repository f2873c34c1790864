"""The one exception that is a user's mistake rather than ours."""


class UserError(ValueError):
    """Bad input. Its message is one line: which input, what is wrong with it, what to do.

    The commands of `experiments/` print that line and exit with code 2; no stack trace.
    """
