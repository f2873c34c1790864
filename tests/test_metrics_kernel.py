"""KID and MMD^2 against torch-fidelity, the formula over all pairs, closed forms, repeated draws."""

import json
from pathlib import Path

import numpy as np
import pytest

from jaxgan.errors import UserError
from jaxgan.metrics.kernel import kid, mmd2
from tests.golden import metrics_rule as rule
from tests.reference import metrics as reference

GOLDEN = json.loads((Path(__file__).parent / "golden" / "metrics.json").read_text())["torch-fidelity"]


def test_kid_agrees_with_torch_fidelity_draw_for_draw():
    value, error = kid(rule.features(0), rule.features(1), subsets=10, size=100)
    assert reference.relative_error(value, GOLDEN["kernel_inception_distance_mean"]) < 1e-9
    assert reference.relative_error(error, GOLDEN["kernel_inception_distance_std"]) < 1e-9


def test_mmd2_is_the_formula_for_any_block_and_unequal_numbers():
    real, fake = rule.features(0), rule.features(1, 150)
    expected = reference.mmd2(real, fake)
    for block in (2048, 64, 7):
        assert reference.relative_error(mmd2(real, fake, block=block).value, expected) < 1e-10


def test_features_of_float32_are_compared_in_float64():
    real, fake = (rule.features(i, 60).astype(np.float32) for i in range(2))
    for fn in (lambda *a: kid(*a, subsets=3, size=50), mmd2):
        np.testing.assert_allclose(fn(real, fake), fn(real.astype(np.float64), fake.astype(np.float64)), rtol=1e-12)


def test_one_subset_of_everything_is_mmd2():
    real, fake = rule.features(0, 60), rule.features(1, 60)
    value, error = kid(real, fake, subsets=1, size=60)
    np.testing.assert_allclose(value, mmd2(real, fake).value, rtol=1e-11)
    assert error == 0


def test_one_feature_by_hand():
    """k(x, y) = (xy + 1)^3: between 0, 0 it is 1, between 1, 1 it is 8, between 0, 1 it is 1."""
    value, error = mmd2(np.zeros((3, 1)), np.ones((4, 1)))
    assert value == 1 + 8 - 2 and error == 0


def test_equal_distributions_give_zero_on_average_and_the_error_is_the_spread():
    rng = np.random.default_rng(0)
    same = [mmd2(rng.standard_normal((60, 4)), rng.standard_normal((40, 4))).value for _ in range(200)]
    assert abs(np.mean(same)) < 4 * np.std(same) / np.sqrt(200) and min(same) < 0
    other = np.array([mmd2(rng.standard_normal((200, 4)), rng.standard_normal((150, 4)) + 0.4) for _ in range(150)])
    assert 0.8 < other[:, 1].mean() / other[:, 0].std() < 1.2


def test_seed_and_order():
    x, y = rule.features(0), rule.features(1)
    assert kid(x, y, subsets=3, size=50) == kid(x, y, subsets=3, size=50) != kid(x, y, subsets=3, size=50, seed=1)
    np.testing.assert_allclose(mmd2(x, y), mmd2(y, x), rtol=1e-10)


@pytest.mark.parametrize(
    "call, kind, words",
    [
        (lambda x: kid(x, x), UserError, "real features: 30 images are too few: KID with subsets of 1000 needs at least 1000"),
        (lambda x: kid(x, x[:9], size=10), UserError, "fake features: 9 images"),
        (lambda x: mmd2(x[:1], x), UserError, "at least 2"),
        (lambda x: mmd2(x, x * np.inf), UserError, "fake features: 30 of 30 rows"),
        (lambda x: mmd2(x, x[:, 1:]), ValueError, "differ in width"),
        (lambda x: kid(x, x, size=1), ValueError, "size = 1"),
        (lambda x: kid(x, x, subsets=0), ValueError, "subsets = 0"),
    ],
)
def test_bad_input(call, kind, words):
    with pytest.raises(kind, match=words) as caught:
        call(np.abs(rule.features(0, 30)) + 1)
    assert "\n" not in str(caught.value) and isinstance(caught.value, UserError) == (kind is UserError)
