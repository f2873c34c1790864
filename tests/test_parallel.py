"""How many devices a CPU's cores become, and arrays that go through the devices in pieces."""

import itertools
import re
import time
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from jax.experimental import multihost_utils
from jax.sharding import AxisType

from jaxgan import parallel, plan, run
from jaxgan.errors import UserError


@pytest.mark.parametrize(
    ("asked", "batch", "accum", "cores", "devices"),
    [
        (0, 32, 1, 2, 2),
        (0, 32, 1, 16, 4),  # 8 images each
        (0, 256, 1, 16, 8),  # no more than that
        (0, 36, 1, 5, 4),  # what divides the batch
        (0, 64, 4, 8, 2),  # of a micro-batch
        (0, 15, 1, 2, 1),
        (0, 28, 1, 16, 2),  # four would have 7 each
        (0, 8, 1, 64, 1),
        (0, 0, 0, 2, 1),  # refused later, by name
        (3, 32, 1, 2, 3),  # as asked; refused later where it does not divide
    ],
)
def test_the_cores_are_shared_where_each_device_has_enough_images(monkeypatch, asked, batch, accum, cores, devices):
    said = {}
    monkeypatch.delenv("JAX_NUM_CPU_DEVICES", raising=False)
    monkeypatch.setattr(parallel, "cores", lambda: cores)
    monkeypatch.setattr(parallel.jax.config, "update", lambda name, value: said.update({name: value}))
    parallel.share_cores(asked, batch, accum)
    assert said == {"jax_num_cpu_devices": devices}


@pytest.mark.parametrize(
    ("name", "value"), [("JAX_NUM_CPU_DEVICES", "1"), ("XLA_FLAGS", "--xla_force_host_platform_device_count=3")]
)
def test_the_environment_has_the_last_word(monkeypatch, name, value):
    said = {}
    monkeypatch.delenv("JAX_NUM_CPU_DEVICES", raising=False)
    monkeypatch.setenv(name, value)
    monkeypatch.setattr(parallel.jax.config, "update", lambda name, value: said.update({name: value}))
    parallel.share_cores(0, 32, 1)
    assert said == {}


def test_fewer_than_none_is_one_line():
    with pytest.raises(UserError, match="--cpu-devices -2: give 1 or more, or 0"):
        parallel.share_cores(-2, 32, 1)


def test_cores_that_are_shared_too_late_are_one_line():
    parallel.share_cores(jax.device_count(), 32, 1)  # as it is already
    with pytest.raises(UserError, match="--cpu-devices 3: JAX has started already, with 4; call run.start before any array"):
        parallel.share_cores(3, 32, 1)


def test_a_notebook_starts_another_run_with_another_batch(monkeypatch):
    monkeypatch.delenv("JAX_NUM_CPU_DEVICES", raising=False)
    monkeypatch.setattr(parallel, "cores", lambda: 2)
    for batch in (32, 8, 0):  # of which it would share among 2, 1, and 1: it has 4
        parallel.share_cores(0, batch, 1)
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    parallel.share_cores(0, 8, 1)
    with monkeypatch.context() as more:  # of which it would share among 4
        more.setattr(jax, "device_count", lambda: 2)
        more.setattr(parallel, "cores", lambda: 4)
        parallel.share_cores(0, 64, 1)
    with pytest.raises(UserError, match="--cpu-devices 2: JAX .* with 1; .* in a notebook restart .* cpu_devices=1"):
        parallel.share_cores(0, 32, 1)


def test_a_batch_divides_by_devices_micro_batches_and_shares():
    for numbers in ((24, 2, 3, 4), (12, 1, 3, 4), (6, 2, 3, 1), (1, 1, 1), (3, 1, 1)):
        parallel.check_batch(*numbers)
    for numbers, by in (
        ((5, 2, 3, 4), "3 devices x 2 micro-batches x 4, as a penalty takes one of 4 images;"),
        ((5, 2, 3, 2), "3 devices x 2 micro-batches x 2, as a penalty takes one of 2 images;"),
        ((5, 1, 3), "3 devices;"),
    ):
        with pytest.raises(UserError, match=f"--batch 5 does not divide by {by} the nearest"):
            parallel.check_batch(*numbers)
    for numbers, nearest in (
        ((12, 2, 3, 4), "24"),  # one image in four of each micro-batch of each device
        ((32, 2, 3, 4), "24 or 48"),
        ((7, 2, 3, 1), "6 or 12"),
        ((0, 1, 1, 1), "1"),
    ):
        with pytest.raises(UserError, match=f"the nearest sizes are {nearest}$"):
            parallel.check_batch(*numbers)


def lifted(by, held, x, y):
    return {"sum": by * x + held["a"] + y[:, :1]}


def moved(by, held, state, x, y):
    return jax.tree.map(lambda a: a + by * held["a"], state)


def ended(by, held, state, x, y):
    return {"sum": state["sum"] - x}


@pytest.mark.parametrize("chunk", [1, 2, 5])
def test_arrays_in_chunks_come_back_whole_and_in_order(chunk):
    """Ten rows on four devices: 4, 8 or 20 at a time, of which the last are filled up."""
    x, y = np.arange(30.0, dtype=np.float32).reshape(10, 3), np.arange(20, dtype=np.float32).reshape(10, 2)
    held, rows = {"a": np.float32(0.5)}, jax.device_count() * chunk
    pieces = list(parallel.in_chunks(lifted, (2,), held, (x, y), chunk))
    assert [len(p["sum"]) for p in pieces] == [min(rows, 10 - i) for i in range(0, 10, rows)]
    want = 2 * x + 0.5 + y[:, :1]
    np.testing.assert_array_equal(np.concatenate([p["sum"] for p in pieces]), want)
    seen, programs = [], (lifted, moved, ended)
    progress = lambda *done: seen.append(done)
    stepped = list(parallel.in_steps(programs, (2,), held, (x, y), chunk, 9, progress))
    np.testing.assert_array_equal(np.concatenate([p["sum"] for p in stepped]), want + 9 * 2 * 0.5 - x)
    assert seen == [(9 * i + done, 9 * len(pieces)) for i in range(len(pieces)) for done in (8, 9)]


def test_processes_meet_where_they_are_told_or_the_cluster_knows(monkeypatch, capfd):
    met = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda *given: time.sleep(0.2))
    for seconds, says in (
        (0.01, "waiting for the other processes of this run, .*: all must be started and reach host:1\n"),
        (9, ""),
    ):
        monkeypatch.setattr(parallel, "LATE", seconds)
        parallel.start_processes("host:1", 2, 1)
        assert re.fullmatch(says, capfd.readouterr().err)
    monkeypatch.setattr(jax.distributed, "initialize", lambda *given: met.append(given))
    for given in (("", 1, 0), ("auto", 1, 0), ("host:1", 2, 0), ("host:1", 2, 1)):
        parallel.start_processes(*given)
    assert met == [(), ("host:1", 2, 0), ("host:1", 2, 1)]
    with monkeypatch.context() as here:  # of one machine: the network need not reach it
        here.setattr(jax.distributed, "initialize", lambda *given, **more: met.append((*given, more)))
        for host, bound in (("localhost:1", {"coordinator_bind_address": "localhost:1"}), ("host:1", {})):
            parallel.start_processes(host, 2, 0)
            assert met.pop() == (host, 2, 0, bound)
    for given, says in (
        (("", 2, 0), "--processes 2 --process 0: where do they meet"),
        (("", 1, 1), "--processes 1 --process 1: where do they meet"),
        (("host:1", 2, 2), "--process 2 is not one of --processes 2; it counts from 0$"),
        (("host:1", 2, -1), "--process -1 is not one of --processes 2; it counts from 0$"),
    ):
        with pytest.raises(UserError, match=says):
            parallel.start_processes(*given)

    def late(*_):
        raise RuntimeError("DEADLINE_EXCEEDED\nmore")

    monkeypatch.setattr(jax.distributed, "initialize", late)
    with pytest.raises(UserError, match=r"--coordinator host:1: the processes could not meet \(DEADLINE_EXCEEDED\)$"):
        parallel.start_processes("host:1", 2, 1)
    assert len(met) == 3


def test_what_processes_say_to_each_other(monkeypatch):
    jax.devices()  # started before there is a coordinator, which is none
    said = []
    gathered = lambda flag: np.array([flag, False])
    monkeypatch.setattr(multihost_utils, "process_allgather", lambda flag: said.append("all") or gathered(flag))
    monkeypatch.setattr(multihost_utils, "broadcast_one_to_all", lambda n: said.append("one") or n + 1)
    waited = SimpleNamespace(
        key_value_set=lambda name, text: None, blocking_key_value_get=lambda name, _: said.append(name.split("/")[0]) or "+"
    )
    monkeypatch.setattr(parallel.distributed.global_state, "client", waited)
    talk = lambda: (parallel.anywhere(True), parallel.anywhere(False), parallel.from_main(5), parallel.barrier())
    assert talk() == (True, False, 5, None) and not said and parallel.is_main()  # one process has nobody to ask
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    assert not parallel.is_main()
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with (
        monkeypatch.context() as apart,
        pytest.raises(UserError, match="one of 2 processes, which have not met; give all --coord"),
    ):
        apart.setattr(parallel.distributed.global_state, "client", None)
        parallel.barrier()
    assert talk() == (True, False, 6, None) and said == ["all", "all", "one", "jaxgan", "jaxgan"]


def test_each_hears_what_all_say_and_where_one_fails_all_end(monkeypatch):
    assert parallel.all_told("alone") == ["alone"]
    said = {"jaxgan/0/0": "+zero", "jaxgan/1/0": "-/x: no such file"}
    client = SimpleNamespace(key_value_set=said.__setitem__, blocking_key_value_get=lambda name, most: said[name])
    monkeypatch.setattr(parallel.distributed.global_state, "client", client)
    monkeypatch.setattr(parallel, "_meetings", itertools.count())
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    assert parallel.all_told("one") == ["zero", "one"]
    with pytest.raises(UserError, match="^process 0 of this run has ended: /x: no such file$"):
        parallel.all_told("")
    with parallel.failing_together():
        pass
    with pytest.raises(OSError, match="gone"), parallel.failing_together():
        raise OSError("gone\nmore")
    assert said["jaxgan/2/1"] == "-gone more" and "jaxgan/3/1" not in said


@pytest.mark.parametrize("devices", [1, 4])
def test_a_copy_on_each_device_and_a_piece_on_each(devices, monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: devices)
    tree = {"a": np.arange(8, dtype=np.float32).reshape(2, 4), "b": np.int32(7)}
    lead = () if devices == 1 else (4,)
    held, said = parallel.replicate(tree), parallel.replicated(tree)
    for name, a in tree.items():
        assert held[name].shape == said[name].shape == (*lead, *a.shape) and held[name].dtype == said[name].dtype == a.dtype
        np.testing.assert_array_equal(held[name], np.broadcast_to(a, held[name].shape))
        np.testing.assert_array_equal(parallel.first(held)[name], a)
        assert parallel.first(held)[name].devices() == {jax.local_devices()[0]}
    summed = lambda x, n, axis: n * (x if axis is None else jax.lax.psum(x, axis))
    given = jax.device_put(tree["a"], jax.local_devices()[0])
    held = parallel.replicate(given)
    made = parallel.map_devices(summed, static=(1,), donate=(0,))(held, 3)
    np.testing.assert_array_equal(made, np.broadcast_to(3 * devices * tree["a"], made.shape))
    assert held.is_deleted() and not given.is_deleted()  # the step may reuse a copy, never what it was made of
    cut = parallel.shard(tree["a"], 1)
    assert cut.devices() == set(jax.local_devices()[:devices])
    np.testing.assert_array_equal(cut, tree["a"] if devices == 1 else tree["a"].T[:, :, None])


def _scaled(held, x):
    return held * x


@pytest.mark.parametrize("kind", ["Auto", "Explicit"])
def test_a_mesh_that_the_caller_has_set_changes_nothing(kind, tmp_path, monkeypatch):
    """In one JAX refuses pmap, and arrays on one device."""
    x, unset = np.arange(6.0, dtype=np.float32), lambda *_: jax.sharding.get_abstract_mesh().empty
    mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType[kind],))
    monkeypatch.setattr(plan, "_checked", lambda *_: SimpleNamespace(config={}, empty=unset()))
    monkeypatch.setattr(run, "_train", unset)
    given = SimpleNamespace(directory=tmp_path / "run", config={}, settings=SimpleNamespace(seed=0))
    with jax.set_mesh(mesh):
        pieces = list(parallel.in_chunks(_scaled, (), jax.numpy.float32(2), (x,), 1))
        assert plan.prepare("", None, None).empty
        assert run.train(SimpleNamespace(**vars(given), source=SimpleNamespace(labels=None)))
        assert jax.sharding.get_abstract_mesh().axis_names == ("data",)
    np.testing.assert_array_equal(np.concatenate(pieces), 2 * x)
