"""How steps are put into calls: every step once and in order, looks where the host wants them, few programs."""

import dataclasses
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import calls, parallel
from jaxgan.errors import UserError
from jaxgan.method import Phase, Recipe, Term, Turn
from jaxgan.settings import Settings, ends_snapshot, snapshots, steps_a_measurement, steps_a_snapshot, steps_a_tick, steps_in_all


def recipe(*every):
    terms = tuple(Term(f"t{i}", 1.0, lambda r: (0.0, {}, {}), e) for i, e in enumerate((1, *every)))
    return Recipe(turns=(Turn((Phase("d", terms),)),), tx={}, batch=8)


@pytest.mark.parametrize("every, n", [((), 1), ((), 8), ((4,), 4), ((4,), 12), ((4, 16), 16), ((4, 16), 8), ((2, 3), 6)])
def test_calls_cover_all_steps_stop_at_ends_and_are_few_programs(every, n):
    r, at, seen, programs = recipe(*every), 3, [], set()
    period, ends = calls.period(r), [20, 57, 100]
    while at < 100:
        end = next(e for e in ends if e > at)
        k = calls.length(at, n, end, period)
        assert k in (1, n) and at + k <= end
        seen += calls.dues(r, at, k)
        programs.add(calls.dues(r, at, k))
        at += k
    assert tuple(seen) == calls.dues(r, 3, 97)
    assert sum(len(p) > 1 for p in programs) <= max(1, period // n)


@pytest.mark.parametrize(
    "at, n, end, every, steps",
    [
        (8, 4, 20, 4, 4),
        (9, 4, 20, 4, 1),
        (8, 4, 12, 4, 4),
        (8, 4, 11, 4, 1),
        (3, 8, 11, 1, 8),
        (2, 4, 9, 2, 4),
        (8, 8, 99, 16, 8),
    ],
)
def test_a_call_has_all_its_steps_where_it_may(at, n, end, every, steps):
    assert calls.length(at, n, end, every) == steps


def test_a_number_that_the_recipe_cannot_have_is_one_line():
    for n, r, streamed, says in (
        (-1, recipe(), False, "0 to have it measured"),
        (6, recipe(4), False, "give 4 or 8"),
        (7, recipe(16), False, "give 4 or 16"),
        (10, recipe(4), False, "give 8 or 12"),
        (2, recipe(3), False, "give 1 or 3"),
        (24, recipe(4), False, "there are 20 steps from tick to tick"),
        (8, recipe(4), True, "--resident yes"),
    ):
        with pytest.raises(UserError, match=says):
            calls.check(n, r, streamed, 20)
    with pytest.raises(UserError, match="growing networks take one step per call"):
        calls.check(2, recipe(), False, 20, stages=3)
    for n in (0, 1, 2, 4, 12, 20):
        calls.check(n, recipe(4), False, 20)
    for n in (0, 1):
        calls.check(n, recipe(), True, 20, stages=3)


@pytest.mark.parametrize("sequence", ["A", "AA", "ABBB", "ABBBABBB", "CABBABB", "DBBBCBBBCBBBCBBB" * 2])
def test_a_loop_does_what_the_written_out_steps_do(sequence):
    one = lambda due, carry: (carry[0] * 3 + ord(due), carry[1] + 1)
    start = jnp.uint32(1), jnp.int32(0)
    want = start
    for due in sequence:
        want = one(due, want)
    got = jax.jit(lambda carry: calls.looped(one, carry, tuple(sequence)))(start)
    assert [int(x) for x in got] == [int(x) for x in want]
    # A program as large as one period: the body of each kind of step once, and once more where it stands elsewhere.
    bodies = str(jax.make_jaxpr(lambda carry: calls.looped(one, carry, tuple(sequence)))(start)).count("mul")
    assert bodies <= min(len(sequence), 4)


def test_more_steps_a_call_are_taken_only_where_they_are_measured_to_pay():
    asked = []

    def seconds(step, dispatch):
        def of(n, steps):
            asked.append((n, steps))
            assert steps % n == 0
            return max(step, dispatch / n)

        return of

    assert calls.fastest(seconds(0.02, 0.001), 4, 1000) == 1 and len(asked) == 1  # long steps: looked at once
    assert calls.fastest(seconds(0.002, 0.001), 4, 1000) == 1  # the device is the slower one: nothing to gain
    n = calls.fastest(seconds(0.0001, 0.001), 4, 1000)
    assert n > 1 and n % 4 == 0 and n <= calls.MOST and 1000 % n < 60
    slightly = lambda n, steps: 0.002 * (1 if n == 1 else 0.98)
    assert calls.fastest(slightly, 4, 1000) == 1  # two in a hundred may be chance
    assert calls.fastest(seconds(0.0001, 0.001), 4, 3) == 1  # no room between two ticks
    assert calls.fastest(seconds(0.0001, 0.001), 1, 2) == 2
    assert calls.fastest(seconds(0.0001, 0.001), 1, 62) == 15  # four calls, two steps left over


@pytest.mark.parametrize("devices", [1, 4])
def test_measuring_leaves_the_training_untouched(devices, monkeypatch):
    if devices == 1:
        monkeypatch.setattr(jax, "device_count", lambda: 1)
    step = lambda state, meter, held, dues, axis: (state + len(dues), meter, jnp.sum(state))
    compiled, taken = parallel.map_devices(step, static=(3,), donate=(0, 1)), []
    run = lambda state, meter, held, dues: (taken.append(dues), compiled(state, meter, held, dues))[1]
    waited, clock = [], iter([3.0, 7.0])
    monkeypatch.setattr(jax, "block_until_ready", waited.append)
    monkeypatch.setattr(calls, "time", SimpleNamespace(perf_counter=lambda: waited.append("clock") or next(clock)))
    state, meter, held = parallel.replicate((jnp.zeros(3), {"loss": jnp.ones(())}, jnp.ones(2)))
    assert calls.seconds_a_step(run, held, state, meter, recipe(4, 6), 2, 8) == (7 - 3) / 8
    assert taken == [calls.dues(recipe(4, 6), k, 2) for k in (*range(0, 12, 2), *range(0, 8, 2))]  # the first to warm up
    assert [said if isinstance(said, str) else "waited" for said in waited] == ["waited", "clock", "waited", "clock"]
    assert np.array_equal(parallel.first(state), np.zeros(3)) and parallel.first(meter)["loss"] == 1


@pytest.mark.parametrize(
    "batch, tick, snapshot, steps",
    [
        (32, 2.0, 10.0, (62, 310)),
        (512, 0.128, 0.512, (1, 1)),
        (64, 0.005, 0.05, (1, 1)),
        (2048, 1.0, 10.0, (1, 5)),
        (4, 2, 1, (500, 500)),
    ],
)
def test_grids_come_as_often_as_asked_where_ticks_are_whole_steps(batch, tick, snapshot, steps):
    asked = Settings(batch=batch, tick_kimg=tick, snapshot_kimg=snapshot)
    assert (steps_a_tick(asked), steps_a_snapshot(asked)) == steps
    for times in (0, 1, 3):  # a grid is measured as often as asked, though steps do not end on whole kimg
        asked = dataclasses.replace(asked, metrics_kimg=times * steps[1] * batch / 1000 + 0.001)
        assert steps_a_measurement(asked) == max(times, 1) * steps[1]


def test_a_run_has_no_step_more_for_rounding():
    for kimg, batch, steps in ((16.1, 100, 161), (16.12, 8, 2015), (32.24, 16, 2015), (0.1, 32, 4), (300.0, 32, 9375)):
        assert steps_in_all(Settings(kimg=kimg, batch=batch)) == steps


@pytest.mark.parametrize(
    "kimg, at",
    [
        (40.0, (310, 620, 930, 1250)),  # 1,240 is 10 steps before the end, a sixth of a tick
        (41.66, (310, 620, 930, 1240, 1302)),  # 62: a tick
        (39.68, (310, 620, 930, 1240)),
        (2.0, (63,)),
    ],
)
def test_the_end_is_a_snapshot_and_no_other_is_less_than_a_tick_before_it(kimg, at):
    asked = Settings(batch=32, kimg=kimg, tick_kimg=2.0, snapshot_kimg=10.0)
    assert tuple(k for k in range(1, steps_in_all(asked) + 1) if ends_snapshot(asked, k)) == at
    assert snapshots(asked) == len(at)
