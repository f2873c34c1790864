"""Commands: `python -m experiments.train`, `.sample`, `.evaluate`, ..."""

import signal
import sys

if (
    sys.argv[0] == "-m"
):  # a command that is still being imported: Ctrl-C ends it without a trace, until `cli.run_command` takes over
    signal.signal(signal.SIGINT, signal.SIG_DFL)
