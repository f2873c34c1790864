"""The Frechet distance against closed forms, two other libraries, float64 references; streaming sums; the jackknife."""

import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.errors import UserError
from jaxgan.metrics import frechet
from tests.golden import metrics_rule as rule
from tests.reference import metrics as reference

GOLDEN = json.loads((Path(__file__).parent / "golden" / "metrics.json").read_text())


def rotation(n, seed=0):
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((n, n)))[0]


def covariance(n, seed):
    a = np.random.default_rng(seed).standard_normal((n, 2 * n))
    return a @ a.T / (2 * n)


@pytest.mark.parametrize("peer, name", [("pytorch-fid", "fid"), ("torch-fidelity", "frechet_inception_distance")])
def test_agrees_with_the_other_libraries(peer, name):
    value = frechet.frechet(frechet.moments_of(rule.features(0)), frechet.moments_of(rule.features(1)))
    assert reference.relative_error(value, GOLDEN[peer][name]) < 1e-9


def test_equal_covariances_give_the_distance_of_the_means():
    cov, a, b = covariance(12, 0), np.arange(12.0), np.ones(12)
    np.testing.assert_allclose(frechet.frechet_distance(a, cov, b, cov), ((a - b) ** 2).sum(), rtol=1e-12)


def test_commuting_covariances():
    q, s, t = rotation(9), np.linspace(0.1, 3, 9), np.linspace(2, 0, 9)
    value = frechet.frechet_distance(np.zeros(9), (q * s**2) @ q.T, np.zeros(9), (q * t**2) @ q.T)
    np.testing.assert_allclose(value, ((s - t) ** 2).sum(), rtol=1e-7)


def test_two_by_two_by_hand():
    # tr (C1 C2)^1/2 of 2 x 2 matrices is (tr C1 C2 + 2 det^1/2 C1 C2)^1/2.
    a, b = np.array([[2.0, 1.0], [1.0, 3.0]]), np.array([[1.0, -0.5], [-0.5, 2.0]])
    cross = np.sqrt(np.trace(a @ b) + 2 * np.sqrt(np.linalg.det(a) * np.linalg.det(b)))
    value = frechet.frechet_distance(np.zeros(2), a, np.ones(2), b)
    np.testing.assert_allclose(value, 2 + 8 - 2 * cross, rtol=1e-13)


def test_symmetric_and_zero_for_equal_sets():
    a, b = (np.zeros(20), covariance(20, 1)), (np.ones(20), covariance(20, 2))
    np.testing.assert_allclose(frechet.frechet_distance(*a, *b), frechet.frechet_distance(*b, *a), rtol=1e-12)
    np.testing.assert_allclose(frechet.frechet_distance(*a, *b), reference.frechet_distance(*a, *b), rtol=1e-12)
    assert frechet.frechet_distance(*a, *a) < 1e-12 * 20


@pytest.mark.parametrize("n, m", [(20, 20), (20, 300), (300, 20)])
def test_fewer_images_than_features(n, m):
    """Singular covariances, variances over six decades: against the exact value from the rows."""
    rng, scale = np.random.default_rng(3), np.logspace(0, -3, 64)
    x, y = rng.standard_normal((n, 64)) * scale, 1.2 * rng.standard_normal((m, 64)) * scale
    moments = frechet.moments_of(x), frechet.moments_of(y)
    np.testing.assert_allclose(frechet.frechet(*moments), reference.frechet_of_few(x, y), rtol=1e-9)
    assert frechet.frechet(moments[0], moments[0]) < 1e-9
    assert "of 20 images with 64" in frechet.warning(20, 20, 64) and "from 64 real images" in frechet.warning(65, 64, 64)
    assert frechet.warning(65, 65, 64) is None


def test_all_images_equal():
    x = frechet.moments_of(np.full((5, 3), 7.0))
    assert frechet.frechet(x, x) == 0 and frechet.frechet(x, frechet.moments_of(np.full((4, 3), 8.0))) == 3


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_streaming_sums(offset):
    """Any cut into batches and merges, float32 or float64, gives NumPy's covariance, also far from zero."""
    x = np.random.default_rng(4).standard_normal((1000, 8)) + offset
    x[:, 1] += 0.3 * x[:, 0]
    streams = []
    for cuts in ([], [1, 2, 500], list(range(7, 1000, 7))):
        parts = np.split(x, cuts)
        moments = frechet.start_moments(8)
        for part in parts:
            moments = frechet.add(moments, part)
        streams.append(moments)
    half = [frechet.moments_of(x[i::2], block=100) for i in (0, 1)]
    streams.append(frechet.merge(frechet.merge(frechet.start_moments(8), half[0]), half[1]))
    for moments in streams:
        mean, cov = frechet.mean_cov(moments)
        assert moments.n == 1000 and mean.dtype == cov.dtype == np.float64
        np.testing.assert_allclose(mean, x.mean(0), rtol=0, atol=1e-14 * max(offset, 10))
        np.testing.assert_allclose(cov, np.cov(x, rowvar=False), rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(frechet.mean_cov(moments, ddof=0)[1], np.cov(x, rowvar=False, ddof=0), rtol=1e-9, atol=1e-9)


def test_device_arrays_of_low_precision_are_summed_in_float64():
    x = jnp.asarray(np.random.default_rng(5).standard_normal((64, 3)), jnp.bfloat16)
    mean, cov = frechet.mean_cov(frechet.add(frechet.start_moments(3), x))
    np.testing.assert_allclose(cov, np.cov(np.asarray(x, np.float64), rowvar=False), rtol=1e-13)


def test_jackknife_error_and_bias():
    """Over many draws the stated error is the spread, and the corrected value has lost most of the bias."""
    rng, dims = np.random.default_rng(6), 8
    true = frechet.frechet_distance(np.zeros(dims), np.eye(dims), np.full(dims, 0.2), 1.2 * np.eye(dims))
    real = frechet.Moments(10**9, np.zeros(dims), np.eye(dims) * 1e9)
    draws = []
    for _ in range(150):
        blocks = 1.2**0.5 * rng.standard_normal((10, 50, dims)) + 0.2
        draws.append(frechet.jackknife(real, [frechet.moments_of(b) for b in blocks]))
    value, error, corrected = np.array(draws).T
    bias = value.mean() - true
    assert bias > 0.03 and abs(corrected.mean() - true) < 0.25 * bias
    assert 0.8 < error.mean() / value.std() < 1.25


@pytest.mark.parametrize("ddof", [0, 1])
def test_jackknife_value_is_the_distance_of_all(ddof):
    x, y = rule.features(0), rule.features(1)
    gaussian = lambda x: (x.mean(0), np.cov(x, rowvar=False, ddof=ddof))
    whole = frechet.frechet_distance(*gaussian(x), *gaussian(y))
    blocks = [frechet.moments_of(b) for b in np.array_split(y, 5)]
    found = frechet.jackknife(frechet.moments_of(x), blocks, ddof=ddof)
    np.testing.assert_allclose(found.value, whole, rtol=1e-9)
    np.testing.assert_allclose(frechet.frechet(frechet.moments_of(x), frechet.moments_of(y), ddof=ddof), whole, rtol=1e-9)
    left_out = [frechet.frechet_distance(*gaussian(x), *gaussian(np.delete(y, np.s_[80 * k : 80 * k + 80], 0))) for k in range(5)]
    np.testing.assert_allclose(found.error, np.sqrt(4 / 5 * ((left_out - np.mean(left_out)) ** 2).sum()), rtol=1e-7)
    np.testing.assert_allclose(found.corrected, 5 * found.value - 4 * np.mean(left_out), rtol=1e-7)


@pytest.mark.parametrize("order", ["sorted", "in turn"])
def test_the_error_does_not_know_the_order_of_the_images(order):
    """Ten classes, one after another or in turn, which are the parts of a cut by rows."""
    rng, labels = np.random.default_rng(7), np.repeat(np.arange(10), 60)
    rows = rng.standard_normal((600, 2)) + 5 * labels[:, None]
    mixed = frechet.estimate(frechet.moments_of(rows + 0.5), rng.permutation(rows)).error
    given = rows if order == "sorted" else rows.reshape(10, 60, 2).swapaxes(0, 1).reshape(600, 2)
    assert 0.5 < frechet.estimate(frechet.moments_of(rows + 0.5), given).error / mixed < 2
    assert sorted(np.concatenate(frechet.parts(103))) == list(range(103)) and set(map(len, frechet.parts(103))) == {10, 11}


def bad(x, row=3):
    x = np.array(x)
    x[row, 1] = np.nan
    return x


@pytest.mark.parametrize(
    "call, kind, words",
    [
        (lambda x, m: frechet.add(m, bad(x)), UserError, "1 of 50 rows hold NaN or infinity, the first is row 3"),
        (lambda x, m: frechet.add(m, np.ones((4, 5))), ValueError, "rows of 5, but these moments are of 24"),
        (lambda x, m: frechet.add(m, np.ones(24)), ValueError, r"give numbers \[n, F\]"),
        (lambda x, m: frechet.moments_of(x[0]), ValueError, r"give .n, F."),
        (lambda x, m: frechet.merge(frechet.moments_of(x), frechet.moments_of(x[:, :1])), ValueError, "of 24 and of 1 features"),
        (lambda x, m: frechet.mean_cov(frechet.moments_of(x[:1])), UserError, "1 images are too few.*at least 2"),
        (lambda x, m: frechet.frechet(m, frechet.moments_of(x)), UserError, "0 images are too few"),
        (lambda x, m: frechet.frechet_distance(x[0], np.eye(24), x[0], np.eye(23)), ValueError, "do not fit"),
        (lambda x, m: frechet.frechet_distance(x[0], np.eye(24), x[0, :9], np.eye(9)), ValueError, "differ in shape"),
        (lambda x, m: frechet.frechet_distance(x[0], np.full((24, 24), np.inf), x[0], np.eye(24)), UserError, "NaN"),
        (lambda x, m: frechet.frechet_distance(x[0] * np.nan, np.eye(24), x[0], np.eye(24)), UserError, "NaN"),
        (lambda x, m: frechet.estimate(frechet.moments_of(x), x[0]), ValueError, r"fake features: .*give numbers \[n, F\]"),
        (lambda x, m: frechet.jackknife(frechet.moments_of(x), [m]), UserError, "1 blocks"),
        (
            lambda x, m: frechet.jackknife(frechet.moments_of(x), [frechet.moments_of(y) for y in (x, x[:9])]),
            ValueError,
            "9 to 50",
        ),
    ],
)
def test_bad_input(call, kind, words):
    with pytest.raises(kind, match=words) as caught:
        call(rule.features(0, 50), frechet.start_moments(24))
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, UserError) == (kind is UserError)


def test_arrays_in_place_of_moments_are_refused():
    with pytest.raises(ValueError, match="frechet: give the moments of two sets of features"):
        frechet.frechet(np.ones((9, 2)), np.ones((9, 2)))
    with pytest.raises(ValueError, match=r"stored, frechet_distance\(mean, cov, "):
        frechet.frechet((np.ones(2), np.eye(2)), frechet.moments_of(np.ones((9, 2))))
