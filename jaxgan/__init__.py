"""GANs in JAX. `jaxgan.load(run).sample(n)` samples a trained run; everything else is in the modules.

losses, penalties, schedules, augment, optim: pure functions for any training loop. step, game, recipes, state: one update
for every method. models: the networks. data, feed, parallel, checkpoint, run: what trains them.
"""

__version__ = "0.1.0"


def __getattr__(name):
    if name == "load":  # late, so that importing one loss does not import Orbax
        from jaxgan.restore import load

        return load
    raise AttributeError(f"module 'jaxgan' has no attribute {name!r}")
