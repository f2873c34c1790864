"""GANs in JAX. `jaxgan.load(run).sample(n)` samples a trained run; everything else is in the modules.

losses, penalties, schedules, augment, optim: pure functions for any training loop. step, game, recipes, state: one update
for every method. models: the networks. data, feed, parallel, checkpoint, run: what trains them. sample, latents, metrics,
explain: what a trained one shows. docs/api.md lists all.
"""

import importlib.util
import pkgutil
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxgan.restore import load as load

__version__ = "0.1.0"


def __dir__() -> list[str]:
    return ["__version__", "load", *(module.name for module in pkgutil.iter_modules(__path__))]


def __getattr__(name: str) -> Any:
    """`load` and the modules, late: importing one loss does not import Orbax."""
    if name == "load":
        from jaxgan.restore import load

        return load
    if importlib.util.find_spec(f"jaxgan.{name}"):  # not `name in __dir__()`: commands import 45, each with a look at all files
        return importlib.import_module(f"jaxgan.{name}")
    raise AttributeError(f"module 'jaxgan' has no attribute {name!r}")
