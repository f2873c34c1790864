"""Programs that threads compile are the programs that `run` would have compiled, in the order asked for."""

import threading
import time
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.configs import CONFIGS
from jaxgan import ahead, calls, parallel, plan, run
from jaxgan.method import Term
from tests.test_calls import recipe


def scaled(x, y, times, axis):
    total = jax.lax.psum(y, axis) if axis else y
    return x * times[0] + total, y


def start(run, arrays, sequences):
    shapes = parallel.replicated(jax.eval_shape(lambda: arrays))
    pool = ahead.compilers()
    return ahead.compiling(run, shapes, sequences, pool), pool


@pytest.mark.parametrize("devices", [1, 4])
def test_what_threads_compiled_is_what_run_computes(devices, monkeypatch):
    if devices == 1:
        monkeypatch.setattr(jax, "device_count", lambda: 1)
    arrays = jnp.arange(6.0), jnp.ones(6)
    mapped = parallel.map_devices(scaled, static=(2,), donate=(0,))
    made, pool = start(mapped, arrays, ((2,), (3,)))
    for times in ((3,), (2,), (5,)):  # the last one was not announced
        got, want = (fn(*parallel.replicate(arrays), times) for fn in (made, mapped))
        assert jax.tree.all(jax.tree.map(lambda a, b: a.sharding == b.sharding and np.array_equal(a, b), got, want))
        np.testing.assert_array_equal(parallel.first(got)[0], np.arange(6.0) * times[0] + devices)
    given = parallel.replicate(arrays)
    made(*given, (2,))
    assert given[0].is_deleted() and not given[1].is_deleted()  # donated as `run` donates
    pool.shutdown()


def test_one_after_another_in_order_and_an_error_comes_with_the_call(monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    monkeypatch.setattr(parallel, "cores", lambda: 64)
    seen, inside = [], threading.Lock()

    def fn(x, what, axis):
        assert inside.acquire(blocking=False)  # traces do not overlap
        seen.append(what)
        time.sleep(0.1)
        inside.release()
        if what == "bad":
            raise ValueError("this one does not compile")
        return x + 1

    made, pool = start(parallel.map_devices(fn, static=(1,)), (jnp.zeros(3),), ("a", "bad", "c"))
    np.testing.assert_array_equal(made(jnp.zeros(3), "c"), np.ones(3))
    assert seen[0] == "a" and sorted(seen) == ["a", "bad", "c"]
    with pytest.raises(ValueError, match="does not compile"):
        made(jnp.zeros(3), "bad")
    pool.shutdown()


def test_a_gpu_gets_one_program_at_a_time(monkeypatch):
    monkeypatch.setattr(parallel, "cores", lambda: 64)
    counts = []
    for backend in ("cpu", "gpu"):
        monkeypatch.setattr(jax, "default_backend", lambda backend=backend: backend)
        counts.append(ahead.compilers()._max_workers)
    assert counts == [64 // ahead.CORES, 1]


def test_a_run_that_stops_leaves_the_rest_uncompiled(monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    monkeypatch.setattr(parallel, "cores", lambda: 1)
    begun, going, seen = threading.Event(), threading.Event(), []

    def fn(x, what, axis):
        seen.append(what)
        begun.set()
        going.wait(30)
        return x

    _, pool = start(parallel.map_devices(fn, static=(1,)), (jnp.zeros(3),), tuple("abc"))
    assert begun.wait(30)
    pool.shutdown(wait=False, cancel_futures=True)
    going.set()
    pool.shutdown()
    assert seen == ["a"]


def test_a_machine_announces_each_program_of_its_steps_once(monkeypatch):
    said = []
    monkeypatch.setattr(run.ahead, "compiling", lambda run, arguments, sequences, pool: said.extend(sequences))
    monkeypatch.setattr(run, "shapes", lambda settings, design: jnp.zeros(2))
    design = SimpleNamespace(recipe=recipe(4, 16))
    made = run.Machine(None, SimpleNamespace(at=lambda step: None), {}, None)
    for at, end, programs in ((0, 1000, 3), (3, 9, 2), (16, 17, 1), (5, 5, 0)):
        said.clear()
        run.started(made, None, design, at, end)
        assert said == list(dict.fromkeys(calls.dues(design.recipe, k, 1) for k in range(at, min(end, at + 16))))
        assert len(said) == programs


def test_the_check_before_a_run_and_its_program_share_a_trace(monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    config, traced = CONFIGS["gan"], []
    shape = (*config.size, config.channels or 1)
    images = np.zeros((64, *shape), np.uint8)
    source = run.Source("noise", shape, 64, lambda i: images[i], None, 0, (), "")
    design = config.design(shape, 0)
    turn = design.recipe.turns[0]
    noted = Term("noted", 1.0, lambda r: (traced.append(0), (jnp.float32(0), {}, {}))[1])
    phase = turn.phases[0]._replace(terms=(*turn.phases[0].terms, noted))
    turns = (turn._replace(phases=(phase, *turn.phases[1:])), *design.recipe.turns[1:])
    design = design._replace(recipe=design.recipe._replace(turns=turns))
    made = run.build_machine(config, design, source, plan.trace(design, source))
    once = len(traced)
    assert once
    state = run.shapes(config, design)
    made.run.lower(state, made.meter, made.feed.at(0), calls.dues(design.recipe, 0, 1))
    assert len(traced) == once
