"""Refused images leave their numbers behind, and the next ones come."""

import numpy as np
import pytest

from jaxgan import filters
from jaxgan.errors import UserError


def numbers(size):
    """A stream whose image i shows i, in pieces of `size`."""

    def stream(m):
        for i in range(0, m, size):
            yield np.arange(i, min(i + size, m)).astype(np.uint8).reshape(-1, 1, 1, 1)

    return stream


def taken(*args, **options):
    pieces = list(filters.filtered(*args, **options))
    for piece in pieces:
        np.testing.assert_array_equal(piece.images.ravel(), piece.index.astype(np.uint8))
    return [np.concatenate([getattr(p, name) for p in pieces]).tolist() for name in ("index", "refused")]


@pytest.mark.parametrize("size", [1, 4, 64])
def test_image_i_stays_image_i_and_the_next_are_taken(size):
    odd = lambda images: images.ravel() % 2 == 1
    assert taken(numbers(size), odd, 5) == [[1, 3, 5, 7, 9], [0, 2, 4, 6, 8]]
    assert taken(numbers(size), None, 5) == [[0, 1, 2, 3, 4], []]


@pytest.mark.parametrize("size", [1, 4, 64])
def test_each_column_of_a_table_gets_as_many(size):
    bad = np.array([0, 3, 4, 7])
    index, refused = taken(numbers(size), lambda x: ~np.isin(x.ravel(), bad), 6, groups=3)
    assert index == [1, 2, 5, 6, 9, 10] and refused == [0, 3, 4, 7]  # 8 would be a third one of its column
    order = filters.in_rows(np.array(index), 3)
    assert np.array(index)[order].tolist() == [6, 1, 2, 9, 10, 5]


def test_a_stream_of_which_nearly_all_is_refused_comes_to_an_end():
    looked = []

    def few(x):
        looked.append(len(x))
        return (x.ravel() % 32) == 0  # 3 %

    with pytest.raises(UserError, match="248 of 256 images were refused, more than 95%"):
        taken(numbers(64), few, 100)
    assert sum(looked) == 256
    assert len(taken(numbers(64), few, 100, least=0.03)[0]) == 100
    rare = lambda x: (x.ravel() % 4 != 3) | (x.ravel() % 128 == 3)  # one of 32 of the last column
    assert len(taken(numbers(64), rare, 40, groups=4)[0]) == 40
    with pytest.raises(UserError, match="^5 of 6 images are accepted of 10; look at what"):
        taken(lambda m: numbers(4)(10), lambda x: x.ravel() % 2 == 0, 6)
    with pytest.raises(UserError, match="^of column 3 nearly all are refused: 15 of 20"):  # 75 % of all are accepted
        taken(numbers(64), lambda x: x.ravel() % 4 != 3, 20, groups=4)


def test_what_cannot_be_meant_is_refused():
    for n, options in ((0, {}), (4, {"groups": 3}), (4, {"least": 0.0})):
        with pytest.raises(ValueError, match="must be a positive multiple"):
            taken(numbers(4), None, n, **options)
    for bad in (lambda x: True, lambda x: np.ones(len(x)), lambda x: np.ones(len(x) + 1, bool)):
        with pytest.raises(ValueError, match="accept returned"):
            taken(numbers(4), bad, 2)
