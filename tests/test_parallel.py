"""How many devices a CPU's cores become."""

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
