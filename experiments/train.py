"""`python -m experiments.train [CONFIG | RUN] [--field value ...]`: train a config, without one the embedded digits; or go on
with a run."""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from experiments.cli import parse, run_command
from experiments.flags import set_flags

if TYPE_CHECKING:
    from jaxgan.settings import Settings


def asked(command: str, what: str = "", check: Callable[["Settings"], None] | None = None) -> tuple[str, "Settings"]:
    """The name of the config that the command line asks for, and its settings, with which JAX is started (`run.start`).

    Args:
      command: the module's name, for the help.
      what: it does, as a paragraph of the help.
      check: of the settings, before JAX is started; raises what `parse` may.
    """
    from jaxgan.memory import collect_rarely

    added = set_flags()  # before anything starts JAX
    from experiments.again import config_of
    from experiments.configs import CONFIGS
    from experiments.configs.about import about
    from jaxgan import parallel
    from jaxgan.run import start

    collect_rarely()
    args = sys.argv[1:]
    chosen = args.pop(0) if args and not args[0].startswith("-") else "digits"
    name, default = config_of(chosen)
    listed = (
        f"Configs, the first word, each with its own --help: {', '.join(CONFIGS)}. Or a run directory, to go on with that "
        "run; or its config.json, for another one with its settings."
    )
    settings = parse(
        type(default),
        args,
        default,
        prog=f"python -m experiments.{command} {chosen}",
        more="\n\n".join(filter(None, (what, about(name), listed))),
        examples=("--kimg 100 --run-dir runs/mine",),
    )
    if check:
        check(settings)
    start(settings)
    if added and parallel.is_main():
        print(f"XLA_FLAGS: added {' '.join(added)} (to override it, set it in XLA_FLAGS yourself)")
    return name, settings


def main(on_tick: Callable[[dict], object] | None = None) -> int:
    """The command; `on_tick` as `jaxgan.run.train` takes it, for a script of one's own that tells a tracker."""
    name, settings = asked("train")
    from jaxgan.plan import prepare
    from jaxgan.run import train

    return train(prepare(name, settings, settings.design), on_tick)


if __name__ == "__main__":
    run_command(main)
