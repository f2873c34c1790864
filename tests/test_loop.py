"""The hot loop of every recipe: its steps compile nothing anew and neither send to nor fetch from the devices."""

import contextlib
import dataclasses
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from experiments.configs import CONFIGS, families, growing, objective, paired, residual, unpaired
from jaxgan import calls, parallel, plan, run, step, stopping
from jaxgan.data import Source
from jaxgan.errors import UserError
from jaxgan.profiling import Tracer
from jaxgan.report import Report
from jaxgan.settings import Settings

TINY = {"batch": 4, "width": 4, "size": (8, 8)}
CASES = {
    "digits": residual.Config(augment=("flip",), **TINY),
    "digits-tutorial": dataclasses.replace(CONFIGS["digits-tutorial"], batch=1),
    "objective": objective.Config(loss="hinge", penalty=("path_length", "lecam"), every=2, **TINY),
    **{name: dataclasses.replace(config, **TINY, n_critic=min(config.n_critic, 1)) for name, config in families.SMALL.items()},
    "stylegan2": families.Config(family="stylegan2", augment=("flip",), augment_target=0.6, **TINY),
    **{name: dataclasses.replace(config, **TINY) for name, config in growing.SMALL.items()},
    "pix2pix": paired.Config(hold_out=8, **TINY),
    "cyclegan": unpaired.Config(hold_out=8, blocks=1, **TINY),
}
"""A small config of every recipe in CONFIGS, with the objective's and StyleGAN2's lazy terms and ADA's controller; of networks
that grow, the last stage."""
TRACED = ("sngan", "biggan_deep", "stylegan3")
"""Their steps, which differ from those of sngan_cnn, biggan and stylegan2 in the networks alone, are traced in
tests/test_families.py."""
LONG = ("digits", "gan", "r3gan")
"""These run 200 steps, the others two periods of their lazy terms and some: what a step needs does not depend on its number."""


def machine(config, fill=None):
    """Recipe, compiled step and first state of a config on noise; with `fill` every number of the state is that one."""
    pairs = isinstance(config, paired.Config | unpaired.Config)
    shape, classes = (*config.size, 2 if isinstance(config, unpaired.Config) else 1), 10 if config.conditional == "auto" else 0
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (64, *shape), np.uint8), rng.integers(0, 10, 64).astype(np.int32)
    source = Source("noise", shape, 64, lambda i: images[i], labels if classes else None, classes, (), "")
    made = config.design(shape, shape if pairs else classes)
    made = made[-1] if isinstance(made[0], tuple) else made
    source = source._replace(inputs=source) if pairs else source
    start = lambda: plan.first_state(0, made)
    if fill is None:
        first = jax.jit(start)()
    else:  # nothing to compile
        numbers = lambda a: jax.numpy.asarray(np.full(a.shape, fill, a.dtype))
        first = jax.eval_shape(start).replace(step=jax.numpy.int32(0))
        first = jax.tree.map(lambda a: numbers(a) if isinstance(a, jax.ShapeDtypeStruct) else a, first)
    return made.recipe, run.build_machine(config, made, source, plan.trace(made, source)), first


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
@pytest.mark.parametrize("name", [name for name in CASES if name not in TRACED])
def test_steps_without_compiling_or_looking(name, tmp_path, monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    recipe, made, first = machine(CASES[name], fill=0.01)
    states, warm, waits = [parallel.replicate(first)], calls.period(recipe), []
    steps = 200 if name in LONG else 2 * warm + 4
    leaves = jax.tree.leaves((first, made.meter, made.feed.at(0)))  # pmap over processes fetches typed keys at every call
    assert not any(jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) for leaf in leaves)
    report = SimpleNamespace(
        run=SimpleNamespace(settings=CASES[name], stages=(SimpleNamespace(recipe=recipe),), stage=lambda step: 0, start=None),
        bar=SimpleNamespace(update=lambda kimg: None, say=lambda line: None),
        tick=lambda at, meter, state, **_: states.append(state),
        begin=lambda: waits.append("begin"),
        waited=waits.append,
        fed=lambda seconds: None,
        **{"store": None, "directory": tmp_path},
    )
    monkeypatch.setattr(run.disk, "wait", lambda store: None)
    go = partial(run._loop, made, report, SimpleNamespace(caught=0), Tracer(None, 0, 1, print))
    began = time.perf_counter()
    go(states[-1], (0, warm, warm))
    assert waits[0] == "begin" and len(waits) == 1 + len(step.programs(recipe))  # compiling is not in the rate, all else is
    assert 0 < sum(waits[1:]) < time.perf_counter() - began
    last = states[-1].g.params
    with nothing_sent_fetched_or_compiled(monkeypatch) as compiled:
        go(states[-1], (warm, warm + steps, 1000))
    assert compiled == [] and made.run._cache_size() == len(step.programs(recipe))
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(last))  # the state's buffers are reused, not copied
    assert int(states[-1].step) == warm + steps


def test_a_run_in_a_thread_leaves_signals_to_the_main_one():
    def enter():
        with stopping.Signals() as signals:
            return signals.before

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(enter).result() == {}
    assert enter()


def test_a_script_starts_as_the_command_does(monkeypatch):
    done = []
    note = lambda name: lambda *given: done.append((name, *given))
    monkeypatch.setattr(run.memory, "keep_freed_memory", note("memory"))  # a thread keeps the arena that it began with
    monkeypatch.setattr(parallel, "share_cores", note("cores"))
    monkeypatch.setattr(parallel, "start_processes", note("processes"))
    monkeypatch.setattr(run.compile_cache, "use", note("cache"))
    run.start(Settings(batch=48, accum=2, compile_cache="off"))
    assert done == [("memory",), ("cores", 0, 48, 2), ("processes", "", 1, 0), ("cache", "off")]  # in this order
    run.start(Settings(coordinator="auto"))
    assert [name for name, *_ in done[4:]] == ["memory", "processes", "cache"]  # processes have a device each
    with jax.disable_jit(), pytest.raises(UserError, match="JAX_DISABLE_JIT is set, .* unset it"):
        run.start(Settings())


def test_where_images_cannot_be_read_what_was_trained_is_saved_first(monkeypatch):
    def gone(step):
        raise UserError("7.png is broken")

    saved, said = [], []
    full = lambda *args: (_ for _ in ()).throw(UserError("the disk is full"))
    for save, note in ((lambda *args: saved.append(args), ["saved at 0.012 kimg"]), (full, [])):
        report = SimpleNamespace(batch=4, store=None, bar=SimpleNamespace(say=said.append), _save=save)
        report.rescue = partial(Report.rescue, report)
        monkeypatch.setattr(run.disk, "wait", lambda store: None)
        with pytest.raises(UserError, match="7.png"):
            run._images(SimpleNamespace(feed=SimpleNamespace(at=gone)), report, parallel.replicate({"a": np.ones(1)}), 3)
        assert [said.pop() for _ in note] == note and not said
    ((state, at, score),) = saved
    assert state["a"].shape == (1,) and (at, score) == (3, None)
    monkeypatch.setattr(jax, "process_count", lambda: 2)  # the other is in the middle of a step
    with pytest.raises(UserError, match="7.png"):
        run._images(SimpleNamespace(feed=SimpleNamespace(at=gone)), SimpleNamespace(), None, 3)


@pytest.mark.parametrize(("scale", "notes"), [(1, 1), (63, 1), (64, 0), (255, 0)])
def test_images_on_the_scale_of_masks_or_of_12_bits_are_told(tmp_path, scale, notes):
    said, images = [], np.eye(8, dtype=np.uint8)[None, :, :, None] * np.uint8([scale, 0, 0, 255])  # opaque
    shown = SimpleNamespace(source=SimpleNamespace(sides=None, n=2000), settings=SimpleNamespace(init=None))
    report = SimpleNamespace(reference=images, inputs=None, run=shown, directory=tmp_path)
    Report.reals(SimpleNamespace(**vars(report), bar=SimpleNamespace(say=said.append)))
    assert [f"no value above {scale} of 255" in line for line in said] == [True] * notes


@pytest.mark.parametrize(
    ("n", "settings", "pairs", "notes"),
    [
        (999, {"augment": ()}, None, 1),
        (1000, {"augment": ()}, None, 0),
        (999, {"augment": ("flip",)}, None, 0),
        (999, {"augment": (), "init": "runs/digits"}, None, 0),
        (999, {"augment": ()}, np.full((1, 2, 2, 1), 255, np.uint8), 0),  # translation needs fewer
        (999, {}, None, 0),  # a config that cannot
    ],
)
def test_few_images_without_augmentation_are_told(tmp_path, n, settings, pairs, notes):
    said, images = [], np.full((1, 2, 2, 1), 255, np.uint8)
    shown = SimpleNamespace(source=SimpleNamespace(sides=None, n=n), settings=SimpleNamespace(**{"init": None} | settings))
    report = SimpleNamespace(reference=images, inputs=pairs, run=shown, directory=tmp_path)
    Report.reals(SimpleNamespace(**vars(report), bar=SimpleNamespace(say=said.append)))
    assert ["999 images are few" in line for line in said] == [True] * notes


def test_who_waits_for_images_is_told_once():
    said = []
    report = SimpleNamespace(hungry=0.0, last_step=None, said_hungry=False, bar=SimpleNamespace(say=said.append))
    for last_step, waited in ((None, 9.0), (1, 2.0), (2, 4.0), (3, 9.0)):
        report.last_step = last_step
        for _ in range(4):
            Report.fed(report, waited / 4)
        Report._say_if_hungry(report, 10.0)
    assert len(said) == 1 and said[0].startswith("note: 40% of the time")
