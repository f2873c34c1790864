"""The order of the images: a pure function of (seed, step), with no state that a resumed run could lose.

`permute` and `mix` use operators only, on unsigned 32-bit arrays, so that the same lines run on NumPy and on JAX arrays
and give the same numbers. NumPy warns about the overflow of scalars but not of arrays: give it at least one axis.
"""

from typing import Any

import numpy as np

ROUNDS = 8  # twice as many for up to 8 images, where the halves are so small that 8 rounds do not mix them
LARGEST = 2**31  # images in a set, and the bits that the masks below may use


def _u32(value):
    return np.uint32(value & 0xFFFFFFFF)


_MULTIPLIER_1, _MULTIPLIER_2, _GOLDEN = _u32(0x85EBCA6B), _u32(0xC2B2AE35), 0x9E3779B9


def _scramble(h):
    """A bijection of uint32 in which every input bit flips every output bit with probability about 1/2."""
    h = (h ^ (h >> _u32(16))) * _MULTIPLIER_1
    h = (h ^ (h >> _u32(13))) * _MULTIPLIER_2
    return h ^ (h >> _u32(16))


def bits(n: int) -> int:
    """The bits that number n things: ceil(log2(n)), an int; 0 for n = 1."""
    return (int(n) - 1).bit_length()


def mix(seed: Any, epoch: Any) -> Any:
    """The key of one epoch of one seed.

    Args:
      seed, epoch: uint32 arrays of shapes that broadcast (NumPy: at least one axis).
    Returns:
      uint32 array. For one seed the keys of different epochs differ, and the other way round.
    Source: the finaliser of MurmurHash3 (Appleby 2011), used twice.
    """
    return _scramble(_scramble(seed + _u32(_GOLDEN)) ^ _scramble(epoch + _u32(2 * _GOLDEN)))


def permute(position: Any, n: int, key: Any) -> Any:
    """One pass of a keyed bijection of [0, 2^bits(n)): an unbalanced Feistel network.

    The result may be n or more. Then it is put through again until it is below n (cycle walking): that makes a
    bijection of [0, n), and takes less than two passes on average.

    Args:
      position: uint32 array, values in [0, 2^bits(n)) (NumPy: at least one axis).
      n: int in [1, 2^31], the size of the set; static under jit.
      key: uint32 array that broadcasts against position, from `mix`.
    Returns:
      uint32 array like position, values in [0, 2^bits(n)).
    Source: Black & Rogaway 2002, "Ciphers with arbitrary finite domains"; the rounds use MurmurHash3's finaliser.
    """
    if not 1 <= n <= LARGEST:
        raise ValueError(f"n is {n}; a set has between 1 and 2^31 images")
    low = bits(n) - bits(n) // 2
    high = bits(n) // 2
    left, right = position >> _u32(low), position & _u32(2**low - 1)
    for r in range(0, ROUNDS if bits(n) > 3 else 2 * ROUNDS, 2):
        # Both halves keep their widths; the rounds alternate between them. A half of width 0 stays 0.
        left = left ^ (_scramble(right * _MULTIPLIER_2 ^ _scramble(key + _u32((r + 1) * _GOLDEN))) & _u32(2**high - 1))
        right = right ^ (_scramble(left * _MULTIPLIER_2 ^ _scramble(key + _u32((r + 2) * _GOLDEN))) & _u32(2**low - 1))
    return (left << _u32(low)) | right


def indices(seed: int, step: int, batch: int, n: int) -> np.ndarray:
    """Which images the batch of one step holds; every epoch of n positions visits every image once.

    position = step * batch + i;  epoch = position // n;  index = shuffle_epoch(position mod n).

    Args:
      seed: int in [0, 2^32).
      step: int >= 0, the index of the batch.
      batch: int >= 1, the global batch in images.
      n: int in [1, 2^31], the size of the set.
    Returns:
      int64 [batch], values in [0, n). A batch may cross from one epoch into the next.
    """
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed is {seed}; it must be in [0, 2^32)")
    if step < 0 or batch < 1 or n < 1:
        raise ValueError(f"step {step}, batch {batch}, n {n}: they must be at least 0, 1 and 1")
    position = int(step) * int(batch) + np.arange(batch, dtype=np.int64)
    epoch, offset = np.divmod(position, n)
    key = mix(np.full(batch, seed, np.uint32), epoch.astype(np.uint32))
    index = permute(offset.astype(np.uint32), n, key)
    outside = index >= n
    while outside.any():
        index = np.where(outside, permute(index, n, key), index)
        outside = index >= n
    return index.astype(np.int64)
