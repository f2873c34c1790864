"""Neighbours, precision, recall, density, coverage: torch-fidelity, prdc, all pairs in float64, ties, copies, closed forms."""

import json
from pathlib import Path

import numpy as np
import pytest

from jaxgan.errors import UserError
from jaxgan.metrics import neighbours
from jaxgan.metrics.manifold import manifold, radii
from tests.golden import metrics_rule as rule
from tests.reference import metrics as reference

GOLDEN = json.loads((Path(__file__).parent / "golden" / "metrics.json").read_text())


def values(found):
    return {name: getattr(found, name).value for name in found._fields}


def expected(real, fake, k=3, k_density=5, close=(np.less_equal, np.less)):
    names = "precision", "recall", "density", "coverage"
    found = *reference.precision_recall(real, fake, k, close[0]), *reference.density_coverage(real, fake, k_density, close[1])
    return dict(zip(names, found, strict=True))


def cloud(n, seed, dims=5, width=12):
    rng, mix = np.random.default_rng(seed), np.random.default_rng(99).standard_normal((dims, width))
    return (rng.standard_normal((n, dims)) @ mix).astype(np.float32)


def test_agrees_with_torch_fidelity():
    found = values(manifold(rule.features(0), rule.features(1)))
    for name in ("precision", "recall"):
        assert reference.relative_error(found[name], GOLDEN["torch-fidelity"][name]) < 1e-7  # it stores a float32


def test_agrees_with_prdc():
    found = values(manifold(rule.features(0), rule.features(1), ks=(5, 5), strict=(True, True)))
    assert found == pytest.approx(GOLDEN["prdc"], rel=1e-12)


@pytest.mark.parametrize("block", [4096, 64])
def test_all_pairs_in_float64_for_any_block(block):
    real, fake = cloud(150, 0), 1.1 * cloud(170, 1)
    assert values(manifold(real, fake, block=block)) == pytest.approx(expected(real, fake), rel=1e-12)


@pytest.mark.parametrize("offset, scale", [(0, 1), (1000, 1), (-30000, 10), (0, 1e-4)])
def test_far_from_zero_or_small(offset, scale):
    real, fake = (np.float32(scale) * cloud(n, n) + np.float32(offset) for n in (150, 170))
    assert values(manifold(real, fake)) == pytest.approx(expected(real, fake), rel=1e-12)


@pytest.mark.parametrize("far", [1e8, 1e15])
def test_one_image_far_away_does_not_blur_the_others(far):
    x = cloud(150, 0)
    x[7] = far
    exact = np.sort(np.linalg.norm(x[:, None].astype(np.float64) - x, axis=2), axis=1)[:, [3, 5]].T
    np.testing.assert_allclose(np.delete(radii(x), 7, 1), np.delete(exact, 7, 1), rtol=1e-12)


@pytest.mark.parametrize("width", [3, 400])
def test_the_bound_holds_the_error_of_the_fast_distances_and_little_more(width):
    """Also of pairs nearly equal, whose distance all but drowns."""
    a = neighbours.centred(cloud(60, 0, width, width), np.zeros(width))
    b = neighbours.centred(np.concatenate([a.rows[:30] + np.float32(1e-3), cloud(40, 1, width, width)]), np.zeros(width))
    d2, bound = neighbours.squared(neighbours.part(a, 0, 60), neighbours.part(b, 0, 70))
    exact = np.square(a.rows[:, None].astype(np.float64) - b.rows[None]).sum(-1)
    norms = a.norms[:, None] + b.norms[None]
    assert (np.abs(d2 - exact) <= bound).all() and (bound < 1e-5 * norms).all()


@pytest.mark.parametrize("grid", [2, 5, 50])
def test_ties_are_ties(grid):
    """Whole numbers: nearly every distance occurs many times, most as a radius too, and many points coincide."""
    rng = np.random.default_rng(grid)
    real, fake = (rng.integers(0, grid, (n, 2)).astype(np.float32) + 1000 for n in (150, 170))
    for strict in (True, False):
        close = np.less if strict else np.less_equal
        found = values(manifold(real, fake, ks=(2, 4), strict=(strict, strict), block=64))
        assert found == pytest.approx(expected(real, fake, 2, 4, (close, close)), rel=1e-12)


def test_points_closer_than_float32_sees():
    """Pairs 1e-5 apart in clusters 100 apart: float32 products alone are wrong by a multiple of the distance."""
    rng = np.random.default_rng(2)
    centres = 100 * rng.standard_normal((60, 8))
    real, fake = (np.repeat(centres, 2, 0) + 1e-5 * rng.standard_normal((120, 8)) for _ in range(2))
    found = values(manifold(real, fake, ks=(1, 1)))
    assert found == pytest.approx(expected(real, fake, 1, 1), rel=1e-12) and 0 < found["coverage"] < 1


def test_equal_sets():
    x = cloud(100, 3)
    found = values(manifold(x, x[::-1]))
    assert found == pytest.approx({"precision": 1, "recall": 1, "density": 1, "coverage": 1}, rel=1e-12)


def test_a_subset_is_precise_and_covers_its_share():
    """Two far clusters, fakes copies of one of them: precise, half of the reals recalled and covered."""
    x = cloud(100, 4)
    real = np.concatenate([x, x + 1000])
    found = values(manifold(real, x))
    assert found == pytest.approx({"precision": 1, "recall": 0.5, "density": 1, "coverage": 0.5}, rel=1e-12)


def test_far_sets_score_nothing():
    found = values(manifold(cloud(50, 5), cloud(60, 6) + 1e4))
    assert found == {"precision": 0, "recall": 0, "density": 0, "coverage": 0}


def test_density_above_one_in_a_crowd():
    """All fakes at the middle of the reals' cluster: each is in far more than k balls, and few balls have one."""
    real = cloud(200, 7, dims=3)
    fake = 1e-3 * cloud(50, 8)
    found = values(manifold(real, fake))
    assert found == pytest.approx(expected(real, fake), rel=1e-12)
    assert found["density"] > 1.5 and found["precision"] == 1 and found["coverage"] < 0.1


def test_errors_are_those_of_the_mean():
    found = manifold(cloud(150, 9), 1.3 * cloud(170, 10))
    p = found.precision.value
    assert 0 < p < 1 and found.precision.error == pytest.approx(np.sqrt(p * (1 - p) / 169), rel=1e-9)
    c = found.coverage.value
    assert found.coverage.error == pytest.approx(np.sqrt(c * (1 - c) / 149), rel=1e-9)


def test_radii_are_reused():
    real, fake = cloud(150, 11), cloud(170, 12)
    kept = radii(real, (3, 5))
    np.testing.assert_allclose(kept, [reference.radius(real, 3), reference.radius(real, 5)], rtol=1e-12)
    assert manifold(real, fake, real_radii=kept) == manifold(real, fake)
    assert manifold(real, fake, real_radii=kept * 0).precision.value == 0


@pytest.mark.parametrize("block", [4096, 13])
def test_nearest_neighbours(block):
    points, queries = cloud(100, 13), cloud(40, 14)
    d = reference.distances(queries, points)
    found = neighbours.nearest(points, queries, 4, block=block)
    np.testing.assert_array_equal(found.indices, np.argsort(d, axis=1)[:, :4])
    np.testing.assert_allclose(found.distances, np.sort(d, axis=1)[:, :4], rtol=1e-12)
    own = neighbours.nearest(points, points[30:60], 100 - 1, skip=np.arange(30, 60), block=block)
    assert (own.indices != np.arange(30, 60)[:, None]).all() and (np.sort(own.indices, 1)[:, 0] == 0).all()


def test_a_point_misses_itself_alone_in_whatever_block():
    points = cloud(60, 16)
    d = reference.distances(points, points)
    np.fill_diagonal(d, np.inf)
    found = neighbours.nearest(points, points, 20, skip=np.arange(60), block=16)
    np.testing.assert_array_equal(found.indices, np.argsort(d, axis=1)[:, :20])


def test_nearest_of_copies_are_at_zero_and_in_order():
    points = np.repeat(cloud(5, 15), 30, axis=0) + np.float32(77)
    found = neighbours.nearest(points, points, 3, skip=np.arange(150))
    assert (found.distances == 0).all()
    assert (found.indices // 30 == np.arange(150)[:, None] // 30).all()


@pytest.mark.parametrize(
    "call, kind, words",
    [
        (lambda x: manifold(x[:5], x), UserError, "real features: 5 images are too few: a manifold with k = 5 needs at least 6"),
        (lambda x: manifold(x, np.where(x > 2, np.nan, x)), UserError, "fake features: .* rows hold NaN"),
        (lambda x: manifold(x, x[:, 1:]), ValueError, "differ in width"),
        (lambda x: manifold(x, x, real_radii=np.ones(9)), ValueError, "real_radii"),
        (lambda x: radii(x, (0,)), ValueError, "from 1"),
        (lambda x: radii(x[:5]), UserError, "5 images are too few: the neighbour number 5 needs at least 6"),
        (lambda x: neighbours.nearest(x, x, 51), ValueError, "k = 51"),
        (lambda x: neighbours.nearest(x, x, 50, skip=np.arange(50)), ValueError, "k = 50"),
    ],
)
def test_bad_input(call, kind, words):
    with pytest.raises(kind, match=words) as caught:
        call(cloud(50, 0))
    assert isinstance(caught.value, UserError) == (kind is UserError)
