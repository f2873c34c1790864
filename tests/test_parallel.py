"""How many devices a CPU's cores become, and arrays that go through the devices in pieces."""

import jax
import numpy as np
import pytest

from jaxgan import parallel
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


def test_a_batch_divides_by_devices_micro_batches_and_shares():
    for numbers in ((24, 2, 3, 4), (12, 1, 3, 4), (6, 2, 3, 1)):
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
