"""The config that a command is given: one of `experiments.configs`, or that of a run."""

import dataclasses
from pathlib import Path

from experiments.configs import CONFIGS
from jaxgan import restore
from jaxgan.errors import UserError, nearest
from jaxgan.settings import Settings

NOT_AGAIN = ("run_dir", "resume", "coordinator", "processes", "process", "profile")
"""Settings that say how a run was started, not what it is."""


def config_of(what: str) -> tuple[str, Settings]:
    """The name of a config, and its settings.

    Args:
      what: one of `CONFIGS`; a run directory, whose settings are then the run's, `run_dir` included: it goes on; or its
        `config.json`, for another run with the same settings.
    Raises:
      UserError: it is none of these, or a run whose config is not one of `CONFIGS`.
    """
    if what in CONFIGS:
        return what, CONFIGS[what]
    path = Path(what)
    if not path.exists() and len(path.parts) > 1:
        raise UserError(f"{what}: there is no such run directory, nor config.json of one")
    if not path.exists():
        raise UserError(f"there is no config {what!r}{nearest(what, CONFIGS)}; the configs are {', '.join(CONFIGS)}")
    found = restore.read_config(path.parent if path.name == "config.json" else path)
    name = found.get("config")
    if name not in CONFIGS:
        raise UserError(f"{what}: its config, {name!r}, is not one of these here; its own script goes on with it")
    default, said = CONFIGS[name], {k: v for k, v in found["settings"].items() if k not in NOT_AGAIN}
    if unknown := said.keys() - {field.name for field in dataclasses.fields(default)}:
        raise UserError(f"{what}: {name} has no {', '.join(sorted(unknown))} here; go on with the version of jaxgan that made it")
    if said.get("compile_cache") != "off":  # programs are trusted like code, and a run may be somebody else's
        said.pop("compile_cache", None)
    for k, v in said.items():  # JSON has no tuples, and of Python's kimg=1 no float
        said[k] = tuple(v) if isinstance(v, list) else float(v) if isinstance(getattr(default, k), float) else v
    where = "" if path.name == "config.json" else str(path)
    return name, dataclasses.replace(default, **said, run_dir=where)
