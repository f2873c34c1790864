"""Commands: `python -m experiments.train`, `.sample`, `.evaluate`, ..."""

import signal
import sys

# A command is being imported: Ctrl-C ends it without a trace, until `cli.run_command` takes over.
if sys.argv[:1] == ["-m"]:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
