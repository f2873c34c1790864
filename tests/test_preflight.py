"""What a preflight says of a run: sizes that can be counted, time that was taken, and a batch that does not fit."""

import dataclasses
import math
import sys
from types import SimpleNamespace

import jax
import pytest

from experiments import preflight as command
from experiments.configs import CONFIGS
from jaxgan import memory, plan, preflight, restore, run
from jaxgan.errors import UserError
from jaxgan.settings import Settings


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    where = str(tmp_path_factory.mktemp("preflight") / "run")
    return dataclasses.replace(CONFIGS["digits"], batch=64, width=4, every=1, kimg=6.4, run_dir=where, compile_cache="off")


@pytest.fixture(scope="module")
def looked_at(settings):
    ready = plan.prepare("digits", settings, settings.design)
    return ready, *preflight.compiled(ready, 0)


def test_sizes_are_those_of_the_first_state(settings, looked_at):
    ready, need, _ = looked_at
    state = run.fresh(settings, ready.stages[0])
    arrays = [a for a in jax.tree.leaves(state) if not jax.dtypes.issubdtype(a.dtype, jax.dtypes.prng_key)]
    assert need.state == sum(a.nbytes for a in arrays)
    assert need.parameters == {k: sum(a.size for a in jax.tree.leaves(getattr(state, k).params)) for k in "gd"}
    pixels = ready.source.n * math.prod(ready.source.shape)
    assert pixels <= need.images <= pixels + 8 * ready.source.n  # labels, the seed
    assert need.device > need.state + need.images
    places, passes = 49, 6  # of a weight at least, in grids of 7x7 and more; forward and backward, D for both players
    assert need.flops > places * passes * 2 * settings.batch * sum(need.parameters.values())  # of all devices, not one
    assert preflight.room(need) == (need.device * jax.local_device_count(), memory.installed())
    assert need.compiling > 0


def test_the_steps_are_timed_and_nothing_is_written(monkeypatch, looked_at):
    ready, _, machine = looked_at
    monkeypatch.setattr(preflight, "LOOK", 1e-9)
    pace = preflight.timed(ready, 0, machine, print)
    assert 0 < pace.step < 10 and 0 <= pace.waiting < 1 and pace.together == 1
    assert not ready.directory.exists()


def test_short_runs_and_stages():
    of = lambda kimg, starts, begun=0: preflight.steps(
        SimpleNamespace(
            settings=Settings(kimg=kimg, batch=32),
            stages=starts,
            stage=lambda step: restore.stage_at(starts, step * 32 / 1000),
        ),
        begun,
    )
    assert of(40, [0.0]) == [1250]
    assert of(40, [0.0, 4.0, 12.0]) == [125, 250, 875]
    assert of(5, [0.0, 4.0, 12.0]) == [125, 32, 0]
    assert of(40, [0.0, 0.0]) == [0, 1250]
    assert [of(40, [0.0, 4.0, 12.0], begun) for begun in (100, 200, 1250)] == [[25, 250, 875], [0, 175, 875], [0, 0, 0]]


def test_lazy_terms_count_as_often_as_they_are_due():
    recipe = CONFIGS["stylegan2"].design((28, 28, 1), 0).recipe
    due = {(due,): first for due, first in preflight.programs(recipe).items()}
    every = preflight.calls.period(recipe)
    of = {sequence: 5.0 if first == 0 else 1.0 for sequence, first in due.items()}
    assert len(due) > 1 and preflight._mean(recipe, of) == pytest.approx(1 + 4 / every)


def test_what_is_said_of_it(monkeypatch, capsys, settings, looked_at):
    ready, need, machine = looked_at
    monkeypatch.setattr(command, "asked", lambda *_: ("digits", settings))
    monkeypatch.setattr(preflight, "compiled", lambda *_: (need, machine))
    monkeypatch.setattr(preflight, "timed", lambda *_: preflight.Pace(2.0, 0.25, 1))
    command.main()
    said = capsys.readouterr().out
    assert "64 images in 2 s: 32 images/s, 31.2 s/kimg; 25% of it waiting for images" in said
    assert "the run    3 min" in said  # 100 steps
    assert "in use     " in said
    assert f"4 checkpoints of {memory.size(need.state)};" in said
    assert f"G {need.parameters['g']:,} and D {need.parameters['d']:,} parameters" in said


def test_a_run_that_has_begun_is_told_what_is_left(monkeypatch, capsys, settings, looked_at, tmp_path):
    ready, need, machine = looked_at
    ready = ready._replace(directory=tmp_path, settings=dataclasses.replace(settings, posthoc=(0.05, 0.1)))
    monkeypatch.setattr(plan, "prepare", lambda *_: ready)
    monkeypatch.setattr(command, "asked", lambda *_: ("digits", settings))
    monkeypatch.setattr(preflight, "compiled", lambda *_: (need, machine))
    monkeypatch.setattr(preflight, "timed", lambda *_: preflight.Pace(2.0, 0.0, 1))
    for step, says in ((75, "6.4 kimg, of which 4.8 are done"), (100, "nothing is left to do")):
        (tmp_path / "checkpoints" / str(step)).mkdir(parents=True)
        command.main()
        said = capsys.readouterr().out
        assert says in said
        assert ("the rest   50 s" in said) == ("pairs of averages" in said) == (step == 75)  # 25 steps
        each = memory.size(8 * need.parameters["g"])
        assert step == 100 or f"checkpoints of {memory.size(need.state)}, 1 pairs of averages of {each}" in said


def test_a_batch_that_does_not_fit_is_told_in_how_many_parts_it_does(monkeypatch, settings, looked_at):
    _, need, machine = looked_at
    in_parts = lambda run, stage: (need._replace(device=8 * 10**6 // run.stages[stage].recipe.accum), machine)
    monkeypatch.setattr(command, "asked", lambda *_: ("digits", settings))
    monkeypatch.setattr(preflight, "compiled", in_parts)
    monkeypatch.setattr(jax, "local_device_count", lambda: 1)
    monkeypatch.setattr(memory, "installed", lambda: 3e6)
    with pytest.raises(UserError, match="out of memory: give --accum 4, which takes 2 MB; what compares the images"):
        command.main()
    monkeypatch.setattr(memory, "installed", lambda: 1e5)
    said = r"out of memory, in whatever parts \(--accum 8 takes 1 MB\): --remat, --dtype bfloat16 or a smaller --batch"
    with pytest.raises(UserError, match=said):  # 64 images: 8 parts of 4 devices' 2, of which a penalty takes every second
        command.main()


def test_what_the_compiler_refuses_is_told_as_what_does_not_fit(monkeypatch, settings, looked_at):
    ready, need, machine = looked_at

    def prepared(_, settings, __):
        (stage,) = ready.stages
        return ready._replace(settings=settings, stages=(stage._replace(recipe=stage.recipe._replace(accum=settings.accum)),))

    def in_parts(run, stage):
        if (accum := run.stages[stage].recipe.accum) < 4:
            raise preflight.TooLargeError
        return need._replace(device=8 * 10**6 // accum), machine

    monkeypatch.setattr(command, "asked", lambda *_: ("digits", settings))
    with monkeypatch.context() as patch:
        patch.setattr(plan, "prepare", prepared)
        patch.setattr(preflight, "compiled", in_parts)
        patch.setattr(jax, "local_device_count", lambda: 1)
        with pytest.raises(UserError, match="out of memory: give --accum 4, which takes 2 MB; what compares the images"):
            command.main()
    for says, raised in (("RESOURCE_EXHAUSTED: of hbm", preflight.TooLargeError), ("INTERNAL", jax.errors.JaxRuntimeError)):
        refuse = lambda *_, says=says: (_ for _ in ()).throw(jax.errors.JaxRuntimeError(says))
        refused = machine._replace(run=SimpleNamespace(lower=refuse))
        monkeypatch.setattr(preflight, "build_machine", lambda *_, refused=refused: refused)
        monkeypatch.setattr(preflight, "close", lambda _: None)
        with pytest.raises(raised):
            preflight.compiled(ready, 0)


def test_a_run_of_several_processes_is_refused():
    command.check(Settings())
    for given in ({"coordinator": "auto"}, {"processes": 2}):
        with pytest.raises(UserError, match="one machine: leave --coordinator and --processes out"):
            command.check(Settings(**given))


def test_sizes_for_people_and_the_memory_of_a_device(monkeypatch):
    want = {0: "0 bytes", 98_400: "98.4 kB", 999_700: "1 MB", 5.21e6: "5.21 MB", 999.7e6: "1 GB", 141e9: "141 GB"}
    assert {number: memory.size(number) for number in want} == want
    assert memory.of_device() is None  # a CPU's
    assert memory.size(memory.of_process()) in command.in_use()
    resource = pytest.importorskip("resource")  # all that follows is not for Windows
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    assert 1e8 < memory.of_process() <= 1.01 * most  # which may be of the process that started this one
    monkeypatch.setattr(memory, "of_process", lambda: None)  # Windows
    assert command.in_use() == ""
    device = SimpleNamespace(memory_stats=lambda: {"peak_bytes_in_use": 3, "bytes_limit": 7})
    monkeypatch.setattr(jax, "local_devices", lambda: [device])
    assert memory.of_device() == (3, 7)
    assert command.in_use() == "in use     3 bytes at most on a device in these steps"
    assert preflight.room(preflight.Need({}, 1, 1, 5, 0.0, 0.0)) == (5, 7)
