"""Mode coverage: known distributions, scipy's entropy, repeated perfect draws."""

import numpy as np
import pytest
import scipy.stats

from jaxgan.errors import UserError
from jaxgan.metrics.modes import modes


def test_every_class_once():
    found = modes(np.arange(1000))
    assert found.count == 1000 and abs(found.kl) < 1e-12 and found.kl_error < 1e-12


def test_collapse_to_a_few():
    assert modes(np.full(2000, 7))[:3] == pytest.approx((1, np.log(1000), 0), abs=1e-12)
    assert modes(np.arange(4000) % 100)[:3] == pytest.approx((100, np.log(10), 0), abs=1e-12)


def test_by_hand():
    found = modes(np.array([0, 0, 0, 1]), classes=3)
    assert found.count == 2 and found.kl == pytest.approx(0.75 * np.log(0.75 * 3) + 0.25 * np.log(0.25 * 3), rel=1e-14)


def test_a_reference_of_counts_or_probabilities():
    rng = np.random.default_rng(0)
    ids, real = rng.integers(0, 20, 500), rng.integers(1, 9, 20)
    expected = scipy.stats.entropy(np.bincount(ids, minlength=20), real)
    assert modes(ids, 20, reference=real).kl == pytest.approx(expected, rel=1e-12)
    assert modes(ids, 20, reference=real / real.sum()).kl == pytest.approx(expected, rel=1e-12)
    assert modes(np.arange(4) % 2, 2, reference=[1, 0]).kl == np.inf


def test_what_a_perfect_generator_scores():
    """The stated expectations, and the error of an imperfect one, over repeated draws."""
    rng, p = np.random.default_rng(1), np.linspace(1, 3, 50) / 100
    draws = [modes(rng.choice(50, 400, p=p), 50, reference=p) for _ in range(400)]
    assert np.mean([d.count for d in draws]) == pytest.approx(draws[0].perfect_count, abs=0.06)
    assert np.mean([d.kl for d in draws]) == pytest.approx(draws[0].perfect_kl, rel=0.06)
    draws = [modes(rng.choice(50, 4000, p=p), 50) for _ in range(200)]
    assert np.mean([d.kl_error for d in draws]) == pytest.approx(np.std([d.kl for d in draws]), rel=0.15)


@pytest.mark.parametrize(
    "call, kind, words",
    [
        (lambda: modes(np.arange(999)), UserError, "999 images are too few to reach 1000 classes"),
        (lambda: modes(np.arange(5), 3), ValueError, "from 0 to 4; with 3 classes"),
        (lambda: modes(np.arange(5) - 1, 5), ValueError, "from -1 to 3; with 5 classes"),
        (lambda: modes(np.ones(9), 3), ValueError, "give integers"),
        (lambda: modes(np.arange(3), 3, reference=[1, 2]), ValueError, "reference"),
        (lambda: modes(np.arange(3), 3, reference=[1, 2, -1]), ValueError, "none below 0"),
        (lambda: modes(np.arange(3), 3, reference=[1, np.inf, 1]), ValueError, "none below 0"),
    ],
)
def test_bad_input(call, kind, words):
    with pytest.raises(kind, match=words) as caught:
        call()
    assert isinstance(caught.value, UserError) == (kind is UserError)


def test_the_expected_divergence_counts_the_free_shares():
    """Half chi-squared with K - 1 degrees of freedom over n; with one class there is nothing to differ in."""
    found = modes(np.arange(300) % 10, 10)
    assert found.perfect_kl == pytest.approx(9 / 600)
    assert modes(np.zeros(5, int), 1).perfect_kl == 0
