"""Copies of training images: authenticity and C_T against all pairs, scipy's test, closed forms; the rows of the picture."""

import numpy as np
import pytest
import scipy.stats

from jaxgan.errors import UserError
from jaxgan.metrics.memorization import authenticity, data_copying, mann_whitney, membership, neighbour_rows
from tests.reference import metrics as reference


def draw(n, seed, dims=4):
    return np.random.default_rng(seed).standard_normal((n, dims)).astype(np.float32)


def test_authenticity_is_the_count_over_all_pairs():
    train, fake = draw(120, 0), 0.9 * draw(70, 1)
    found, expected = authenticity(train, fake, k=3), reference.authentic(train, fake)
    np.testing.assert_array_equal(found.ratios > 1, expected)
    assert 0.2 < found.share.value == expected.mean() < 0.8
    assert found.share.error == pytest.approx(np.sqrt(expected.mean() * (1 - expected.mean()) / 69))
    np.testing.assert_array_equal(found.indices, np.argsort(reference.distances(fake, train), axis=1)[:, :3])
    assert found.indices.shape == found.distances.shape == (70, 3)
    assert np.isnan(authenticity(train, fake[:1]).share.error)  # not certain: of one image there is no spread


def test_fresh_images_are_as_authentic_as_training_images_that_are_left_out():
    train = draw(60, 16)
    wanted = [reference.authentic(np.delete(train, i, 0), train[i : i + 1])[0] for i in range(60)]
    found = authenticity(train, train[:1])
    assert 0.2 < found.fresh.value == np.mean(wanted) < 0.8
    many, fresh = draw(3000, 17), draw(2000, 18)
    found = authenticity(many, fresh)
    assert abs(found.fresh.value - found.share.value) < 4 * np.hypot(found.fresh.error, found.share.error)


def test_copies_and_strangers():
    train = draw(60, 2)
    fake = np.concatenate([train[[5, 9]], train[[7]] + np.float32(1e-4), draw(2, 3) + 50])
    found = authenticity(train, fake)
    assert found.indices[:3, 0].tolist() == [5, 9, 7]
    assert (found.ratios[:2] == 0).all() and 0 < found.ratios[2] < 0.01 and (found.ratios[3:] > 10).all()
    assert found.share.value == pytest.approx(2 / 5)


def test_as_far_as_the_fellow_is_not_further():
    """Of the training images 0 and 2, a fake at -2 is as far from 0 as 2 is; one at -3 is further, one at -1 nearer."""
    found = authenticity(np.array([[0.0], [2.0]]), np.array([[-2.0], [-3.0], [-1.0]]))
    np.testing.assert_array_equal(found.ratios, [1, 1.5, 0.5])
    assert found.share.value == pytest.approx(1 / 3)


def test_a_copy_of_a_duplicate_is_a_copy():
    train = np.concatenate([draw(20, 4), draw(20, 4)])
    assert authenticity(train, train[:5]).ratios.tolist() == [0] * 5
    assert authenticity(train, train[:5] + 1).ratios.tolist() == [np.inf] * 5


@pytest.mark.parametrize("grid", [None, 6])
def test_mann_whitney_is_scipys(grid):
    rng = np.random.default_rng(5)
    x, y = rng.standard_normal(40), rng.standard_normal(70) + 0.3
    if grid:
        x, y = np.round(2 * x), np.round(2 * y)
    p = scipy.stats.mannwhitneyu(x, y, alternative="less", method="asymptotic", use_continuity=False).pvalue
    assert scipy.stats.norm.cdf(mann_whitney(x, y)) == pytest.approx(p, rel=1e-10)
    assert mann_whitney(x, y) == pytest.approx(-mann_whitney(y, x)) and mann_whitney(x * 0, y * 0) == 0


def test_one_cell_is_the_test_of_nearest_distances():
    train, held_out, fake = draw(100, 6), draw(80, 7), draw(90, 8)
    found = data_copying(train, held_out, fake, cells=1)
    d = [reference.distances(x, train).min(1) for x in (fake, held_out)]
    p = scipy.stats.mannwhitneyu(*d, alternative="less", method="asymptotic", use_continuity=False).pvalue
    assert found.p_value == pytest.approx(p, rel=1e-9) and found.share == 1 and found.cells == pytest.approx([found.score])


def test_three_far_cells():
    """Clusters are the cells: the weights are their held-out shares, and a cell with few fakes is left out."""
    places = 1000 * np.eye(3, 4, dtype=np.float32)
    at = lambda counts, seed: draw(sum(counts), seed) + np.repeat(places, counts, axis=0)
    train, held_out, fake = at([90, 60, 50], 9), at([50, 30, 20], 10), at([60, 40, 39], 11)
    found = data_copying(train, held_out, fake, seed=3, least=40)  # which the second cell has just reached
    d_real, d_fake = (reference.distances(x, train).min(1) for x in (held_out, fake))
    z = [mann_whitney(d_fake[:60], d_real[:50]), mann_whitney(d_fake[60:100], d_real[50:80])]
    assert np.isnan(found.cells).sum() == 1 and sorted(found.cells[~np.isnan(found.cells)]) == pytest.approx(sorted(z))
    assert found.share == pytest.approx(0.8) and found.score == pytest.approx((50 * z[0] + 30 * z[1]) / 80)
    assert found.p_value == pytest.approx(scipy.stats.norm.cdf((50 * z[0] + 30 * z[1]) / np.hypot(50, 30)))


def test_copying_is_found_and_underfitting_is_not_copying():
    train, held_out = draw(400, 12), draw(200, 13)
    copies = train[:200] + 0.05 * draw(200, 14)
    assert data_copying(train, held_out, copies).score < -3
    far = data_copying(train, held_out, 2 * draw(200, 15))
    assert far.score > 3 and far.p_value > 0.999


def test_the_p_value_of_fresh_images_is_uniform():
    p = [data_copying(draw(100, s), draw(60, s + 1000), draw(60, s + 2000), cells=2).p_value for s in range(100)]
    assert scipy.stats.kstest(p, "uniform").pvalue > 1e-3


def test_membership_is_the_count_over_all_pairs_and_its_error_that_of_repetition():
    rng = np.random.default_rng(0)
    x, y = np.round(2 * rng.standard_normal(40) + 1), np.round(2 * rng.standard_normal(70))
    found = membership(x, y, false=0.1)
    assert found.auc.value == pytest.approx(np.mean((x[:, None] > y) + (x[:, None] == y) / 2))
    bar = min(t for t in y if (y > t).mean() <= 0.1)
    assert 0 < found.caught.value == (x > bar).mean() < 1
    for false in (0.1, 0.19):  # above 8, which one of ten exceeds
        assert membership([7.5, 8, 8.5, 20], np.arange(10), false=false).caught.value == 0.5
    assert membership(x, x).auc.value == 0.5 and membership(y + 100, y, false=0).caught == (1, 0)
    # Normal scores a deviation apart: auc = Phi(1 / sqrt(2)), P(x > the 99 % quantile) = 0.0924
    many = [membership(rng.standard_normal(400) + 1, rng.standard_normal(300)) for _ in range(200)]
    aucs = np.array([one.auc for one in many])
    assert abs(aucs[:, 0].mean() - scipy.stats.norm.cdf(0.5**0.5)) < 4 * aucs[:, 0].std() / 200**0.5
    assert aucs[:, 0].std() / aucs[:, 1].mean() == pytest.approx(1, abs=0.2)
    exact = scipy.stats.norm.sf(scipy.stats.norm.isf(0.01) - 1)
    assert np.mean([one.caught.value for one in many]) == pytest.approx(exact, abs=0.03)


def test_rows_of_the_picture():
    train = np.arange(10, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 3, 1), np.uint8)
    images, indices = train[[9, 8]], np.array([[1, 2, 3], [4, 5, 6]])
    out = neighbour_rows(images, train, indices)
    assert out.shape == (2, 4, 2, 3, 1) and out.dtype == np.uint8 and out[:, :, 0, 0, 0].tolist() == [[9, 1, 2, 3], [8, 4, 5, 6]]
    np.testing.assert_array_equal(neighbour_rows(images, lambda i: train[i], indices), out)


@pytest.mark.parametrize(
    "call, kind, words",
    [
        (lambda x: authenticity(x[:1], x), UserError, "training features: 1 images are too few"),
        (lambda x: authenticity(x, x[:0]), UserError, "fake features: 0 images"),
        (lambda x: authenticity(x, x[:, 1:]), ValueError, "points"),
        (lambda x: data_copying(x, x[:5], x), UserError, "held-out features: 5 images are too few.*at least 20"),
        (lambda x: data_copying(x, x, x * np.nan), UserError, "fake features: 30 of 30"),
        (lambda x: data_copying(x, x, x, cells=10), UserError, "none of 10 cells holds 20 of the 30"),
        (lambda x: membership(x[:, 0], x[:1, 0]), UserError, "scores of other images: 1 images are too few"),
        (lambda x: membership(x[:, 0] * np.nan, x[:, 0]), UserError, "scores of training images: 30 of 30"),
        (lambda x: membership(x, x[:, 0]), ValueError, "give numbers"),
        (lambda x: membership(x[:, 0], x[:, 0], false=1), ValueError, "false is 1"),
        (lambda x: neighbour_rows(x[:, None, None], x[:, None, None], np.zeros((3, 1), int)), ValueError, "for 30 images"),
        (lambda x: neighbour_rows(x[:, None, None], x[:, None], np.zeros((30, 1), int)), ValueError, "differ in shape"),
    ],
)
def test_bad_input(call, kind, words):
    with pytest.raises(kind, match=words) as caught:
        call(draw(30, 0))
    assert isinstance(caught.value, UserError) == (kind is UserError)
