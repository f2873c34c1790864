"""The order of the images: a bijection, different every epoch, statistically a shuffle, the same in NumPy and JAX."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxgan.data.stream import _scramble, bits, indices, mix, permute

SETS = (2, 3, 10, 1797, 60000)


def epochs(seed, count, n):
    return indices(seed, 0, count * n, n).reshape(count, n)


@pytest.mark.parametrize("n", (1, *SETS, 1023, 1024, 1025))
def test_every_epoch_visits_every_image_once(n):
    order = np.concatenate([indices(5, step, 64, n) for step in range(-(-3 * n // 64))])[: 3 * n].reshape(3, n)
    np.testing.assert_array_equal(np.sort(order, axis=1), np.tile(np.arange(n), (3, 1)))


@pytest.mark.parametrize("batch", (1, 7, 64, 1000))
def test_batches_are_cuts_of_one_endless_order(batch):
    whole = indices(3, 0, 2000, 150)
    cut = np.concatenate([indices(3, step, batch, 150) for step in range(2000 // batch)])
    np.testing.assert_array_equal(cut, whole[: len(cut)])
    assert cut.dtype == np.int64


def test_far_positions_work():
    assert sorted(indices(1, 2**31, 8, 8)) == list(range(8))  # positions beyond 32 bits


def test_seeds_and_epochs_differ():
    orders = [epochs(seed, 5, 60) for seed in range(20)]
    assert len({tuple(row) for order in orders for row in order}) == 100


@pytest.mark.parametrize("n", SETS)
def test_no_excess_of_fixed_points(n):
    count = 2000 if n < 2000 else 60
    order = epochs(11, count, n)
    fixed = (order == np.arange(n)).sum()  # mean 1, variance 1 an epoch, for every n >= 2
    assert abs(fixed - count) < 4.5 * math.sqrt(count)
    same_as_before = (order[1:] == order[:-1]).sum()
    assert abs(same_as_before - (count - 1)) < 4.5 * math.sqrt(count)


@pytest.mark.parametrize("n", SETS)
@pytest.mark.parametrize("position", (0, -1))
def test_first_and_last_item_land_anywhere(n, position):
    keys = mix(np.full(2000, 4, np.uint32), np.arange(2000, dtype=np.uint32))
    index = permute(np.full(2000, position % n, np.uint32), n, keys)
    while (index >= n).any():
        index = np.where(index >= n, permute(index, n, keys), index)
    bins = min(n, 40)
    seen = np.bincount(index.astype(np.int64) * bins // n, minlength=bins)
    expected = np.bincount(np.arange(n) * bins // n, minlength=bins) * (2000 / n)
    assert stats.chisquare(seen, expected).pvalue > 1e-4


@pytest.mark.parametrize("n", (3, 4, 5, 8, 10))
def test_small_sets_take_every_order(n):
    order = epochs(9, 4000, n)
    pairs = np.bincount(order[:, 0] * n + order[:, 1], minlength=n * n).reshape(n, n)
    assert stats.chisquare(pairs[~np.eye(n, dtype=bool)]).pvalue > 1e-4  # the first two, jointly
    if n <= 5:
        counts = np.unique(order, axis=0, return_counts=True)[1]
        assert len(counts) == math.factorial(n)
        assert stats.chisquare(counts).pvalue > 1e-4


@pytest.mark.parametrize("n", (1797, 60000))
def test_neighbours_and_epochs_are_not_correlated(n):
    order = epochs(2, 20, n)
    scaled = [
        np.corrcoef(a, b)[0, 1] * math.sqrt(n)
        for row, next_row in zip(order[:-1], order[1:], strict=True)
        for a, b in ((np.arange(n), row), (row[:-1], row[1:]), (row, next_row))
    ]
    assert np.abs(scaled).max() < 4.5 and 0.6 < np.std(scaled) < 1.4  # standard normal
    distances = [stats.chisquare(np.bincount((np.diff(row) % n) * 30 // n, minlength=30)).pvalue for row in order]
    assert stats.kstest(distances, "uniform").pvalue > 1e-4


def test_one_bit_of_key_or_position_changes_half_the_bits():
    base = np.arange(4096, dtype=np.uint32)
    for changed in (mix(base ^ np.uint32(1 << 9), base), mix(base, base ^ np.uint32(1))):
        flips = np.unpackbits((changed ^ mix(base, base)).view(np.uint8)).mean()
        assert abs(flips - 0.5) < 0.01
    n = 2**20
    key = mix(base, base)
    flips = np.unpackbits((permute(base, n, key) ^ permute(base ^ np.uint32(1), n, key)).view(np.uint8)).mean() * 32
    assert abs(flips - 10) < 0.2  # half of 20 bits


def test_scramble_is_murmur3s_finaliser():
    """MurmurHash3_x86_32 of the empty string is its finaliser of the seed; the three values are its published tests."""
    got = _scramble(np.array([0, 1, 0xFFFFFFFF], np.uint32))
    np.testing.assert_array_equal(got, np.array([0, 0x514E28B7, 0x81F16F39], np.uint32))


def test_keys_of_one_seed_never_meet():
    assert len(np.unique(mix(np.full(10**6, 77, np.uint32), np.arange(10**6, dtype=np.uint32)))) == 10**6


@pytest.mark.parametrize("n", (1, 2, 3, 10, 1797, 60000, 2**31))
def test_jax_gives_the_same_numbers(n):
    position = (np.arange(500, dtype=np.uint64) * 7919 % 2 ** bits(n)).astype(np.uint32)
    seed, epoch = np.full(500, 2**32 - 1, np.uint32), np.arange(500, dtype=np.uint32)
    key = jax.jit(mix)(jnp.asarray(seed), jnp.asarray(epoch))
    np.testing.assert_array_equal(key, mix(seed, epoch))
    got = jax.jit(permute, static_argnums=1)(jnp.asarray(position), n, key)
    assert got.dtype == jnp.uint32
    np.testing.assert_array_equal(got, permute(position, n, mix(seed, epoch)))


def test_order_does_not_change_between_versions():
    """Runs that were stopped must resume on the same images; if this fails, old runs cannot."""
    np.testing.assert_array_equal(indices(0, 3, 8, 1797), [1577, 202, 618, 551, 264, 1663, 737, 216])


def test_wrong_arguments_are_refused():
    for bad in ((-1, 0, 1, 5), (2**32, 0, 1, 5), (0, -1, 1, 5), (0, 0, 0, 5), (0, 0, 1, 0), (0, 0, 1, 2**31 + 1)):
        with pytest.raises(ValueError):
            indices(*bad)
