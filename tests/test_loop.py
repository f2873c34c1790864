"""The hot loop of every recipe: 200 steps of it compile nothing anew and neither send to nor fetch from the devices."""

import contextlib
import dataclasses
from functools import partial
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from experiments.configs import CONFIGS, families, objective, residual
from jaxgan import calls, game, parallel, plan, run, state, step
from jaxgan.profiling import Tracer

TINY = {"batch": 4, "width": 4, "size": (8, 8)}
CASES = {
    "digits": residual.Config(augment=("rotate", "flip"), **TINY),
    "digits-seed": dataclasses.replace(CONFIGS["digits-seed"], batch=1),
    "objective": objective.Config(loss="hinge", penalty=("path_length", "lecam"), every=2, **TINY),
    **{name: dataclasses.replace(config, **TINY) for name, config in families.SMALL.items()},
    "stylegan2": families.Config(family="stylegan2", augment=("flip",), augment_target=0.6, **TINY),
}
"""A small config of every recipe in CONFIGS, with the objective's and StyleGAN2's lazy terms and ADA's controller."""


def machine(name, config, tmp_path):
    config = dataclasses.replace(config, run_dir=str(tmp_path / "r"), hold_out=0)
    ready = plan.prepare(name, config, config.design)
    (made,) = ready.stages
    first = state.create(0, *game.init(made.generator, made.discriminator, 0), made.recipe)
    return made.recipe, run.build_machine(config, made, ready.source, ready.names), first


class Looked(Exception):
    pass


@contextlib.contextmanager
def nothing_sent_fetched_or_compiled(monkeypatch):
    """Raises where the host sends an array or looks at one, which on a CPU no guard sees; lists compilations."""
    compiled = []
    listen = lambda event, seconds, **_: compiled.append(event) if event.startswith("/jax/core/compile") else None
    kind, look = type(jax.numpy.zeros(())), property(lambda array: (_ for _ in ()).throw(Looked))
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        with monkeypatch.context() as patch, jax.transfer_guard("disallow"):
            patch.setattr(kind, "_value", look)
            yield compiled
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def test_the_check_itself(monkeypatch):
    array = jax.numpy.zeros(())
    with nothing_sent_fetched_or_compiled(monkeypatch) as compiled:
        for look in (float, bool, jax.device_get):
            with pytest.raises(Looked):
                look(array)
        with pytest.raises(Exception, match="host-to-device"):
            jax.jit(lambda x: x)(np.zeros(3))
        assert compiled
    assert float(array) == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_200_steps_without_compiling_or_looking(name, tmp_path, monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    recipe, made, first = machine(name, CASES[name], tmp_path)
    states, warm = [parallel.replicate(first)], calls.period(recipe)
    report = SimpleNamespace(
        run=SimpleNamespace(settings=CASES[name], stages=(SimpleNamespace(recipe=recipe),), stage=lambda step: 0),
        bar=SimpleNamespace(update=lambda kimg: None, say=lambda line: None),
        tick=lambda at, meter, state, **_: states.append(state),
        **{"store": None, "directory": tmp_path},
    )
    monkeypatch.setattr(run.checkpoint, "wait", lambda store: None)
    go = partial(run._loop, made, report, SimpleNamespace(caught=0), Tracer(None, 0, 1, print))
    go(states[-1], (0, warm, warm, warm))
    last = states[-1].g.params
    with nothing_sent_fetched_or_compiled(monkeypatch) as compiled:
        go(states[-1], (warm, warm + 200, 1000, 1000))
    assert compiled == [] and made.run._cache_size() == len(step.programs(recipe))
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(last))  # the state's buffers are reused, not copied
    assert int(states[-1].step) == warm + 200
