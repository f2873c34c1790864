"""`python -m experiments.train [CONFIG] [--field value ...]`: train a config; without one, the embedded digits."""

import sys

from experiments.cli import parse, run_command


def main() -> int:
    from jaxgan.memory import keep_freed_memory

    keep_freed_memory()
    from experiments.configs import CONFIGS
    from jaxgan import parallel
    from jaxgan.errors import UserError, nearest
    from jaxgan.plan import prepare
    from jaxgan.run import train

    args = sys.argv[1:]
    name = args.pop(0) if args and not args[0].startswith("-") else "digits"
    if name not in CONFIGS:
        raise UserError(f"there is no config {name!r}{nearest(name, CONFIGS)}; the configs are {', '.join(CONFIGS)}")
    default = CONFIGS[name]
    settings = parse(
        type(default),
        args,
        default,
        prog=f"python -m experiments.train {name}",
        description=f"{type(default).__doc__} Configs: {', '.join(CONFIGS)}.",
    )
    parallel.start_processes(settings.coordinator, settings.processes, settings.process)
    return train(prepare(name, settings, settings.design))


if __name__ == "__main__":
    run_command(main)
