"""`python -m experiments.train [CONFIG] [--field value ...]`: train a config; without one, the embedded digits."""

import sys

from experiments.cli import parse, run_command
from experiments.flags import set_flags


def main() -> int:
    from jaxgan.memory import collect_rarely, keep_freed_memory

    keep_freed_memory()
    added = set_flags()  # this and the line above before anything starts JAX
    from experiments.configs import CONFIGS
    from jaxgan import parallel
    from jaxgan.errors import UserError, nearest
    from jaxgan.plan import prepare
    from jaxgan.run import start, train

    collect_rarely()
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
        more=f"Configs, the first word, each with its own --help: {', '.join(CONFIGS)}.",
        examples=("--kimg 100 --run-dir runs/mine",),
    )
    start(settings)
    if added and parallel.is_main():
        print(f"XLA_FLAGS: added {' '.join(added)} (to override it, set it in XLA_FLAGS yourself)")
    return train(prepare(name, settings, settings.design))


if __name__ == "__main__":
    run_command(main)
