"""`python -m experiments.train [CONFIG | RUN] [--field value ...]`: train a config, without one the embedded digits; or go on
with a run."""

import sys
from collections.abc import Callable

from experiments.cli import parse, run_command
from experiments.flags import set_flags


def main(on_tick: Callable[[dict], object] | None = None) -> int:
    """The command; `on_tick` as `jaxgan.run.train` takes it, for a script of one's own that tells a tracker."""
    from jaxgan.memory import collect_rarely

    added = set_flags()  # before anything starts JAX
    from experiments.again import config_of
    from experiments.configs import CONFIGS
    from experiments.configs.about import about
    from jaxgan import parallel
    from jaxgan.plan import prepare
    from jaxgan.run import start, train

    collect_rarely()
    args = sys.argv[1:]
    what = args.pop(0) if args and not args[0].startswith("-") else "digits"
    name, default = config_of(what)
    settings = parse(
        type(default),
        args,
        default,
        prog=f"python -m experiments.train {what}",
        more=f"{about(name)}\n\n"
        f"Configs, the first word, each with its own --help: {', '.join(CONFIGS)}. Or a run directory, to go on with that "
        "run; or its config.json, for another one with its settings.",
        examples=("--kimg 100 --run-dir runs/mine",),
    )
    start(settings)
    if added and parallel.is_main():
        print(f"XLA_FLAGS: added {' '.join(added)} (to override it, set it in XLA_FLAGS yourself)")
    return train(prepare(name, settings, settings.design), on_tick)


if __name__ == "__main__":
    run_command(main)
