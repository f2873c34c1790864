"""The Inception score against torch-fidelity, the formula, known probabilities."""

import json
from pathlib import Path

import numpy as np
import pytest

from jaxgan.errors import UserError
from jaxgan.metrics.inception_score import inception_score
from tests.golden import metrics_rule as rule
from tests.reference import metrics as reference

GOLDEN = json.loads((Path(__file__).parent / "golden" / "metrics.json").read_text())["torch-fidelity"]


def softmax(x):
    return np.exp(x) / np.exp(x).sum(1, keepdims=True)


def test_agrees_with_torch_fidelity():
    value, error = inception_score(rule.logits())
    assert reference.relative_error(value, GOLDEN["inception_score_mean"]) < 1e-12
    assert reference.relative_error(error, GOLDEN["inception_score_std"]) < 1e-10


@pytest.mark.parametrize("splits", [1, 4, 10])
def test_the_formula_from_logits_and_from_probabilities(splits):
    x = rule.logits()
    expected = reference.inception_score(softmax(x), splits)
    np.testing.assert_allclose(inception_score(x, splits=splits, seed=None), expected, rtol=1e-12)
    np.testing.assert_allclose(inception_score(softmax(x), splits=splits, seed=None, probabilities=True), expected, rtol=1e-12)
    np.testing.assert_allclose(inception_score(x - 700, splits=splits, seed=None), expected, rtol=1e-12)


def test_known_scores():
    sure = np.eye(5)[np.arange(1000) % 5]
    assert inception_score(np.zeros((40, 7))) == pytest.approx((1, 0), abs=1e-12)
    assert inception_score(np.ones((40, 7)) / 7, probabilities=True) == pytest.approx((1, 0), abs=1e-12)
    assert inception_score(sure, seed=None, probabilities=True) == pytest.approx((5, 0), abs=1e-12)
    assert inception_score(1000 * sure, seed=None) == pytest.approx((5, 0), abs=1e-12)
    assert inception_score(np.eye(5)[np.zeros(30, int)], probabilities=True) == pytest.approx((1, 0), abs=1e-12)
    # Half of the images sure of one class, half of another: 2.
    assert inception_score(np.eye(9)[np.arange(100) % 2], seed=None, probabilities=True).value == pytest.approx(2)


def test_order_matters_only_without_the_shuffle():
    images = np.sort(np.arange(1000) % 5)
    assert inception_score(np.eye(5)[images], seed=None, probabilities=True).value == pytest.approx(1)
    shuffled = inception_score(np.eye(5)[images], probabilities=True)
    assert 4.6 < shuffled.value < 5 and 0 < shuffled.error < 0.3


@pytest.mark.parametrize(
    "call, kind, words",
    [
        (
            lambda x: inception_score(x[:19]),
            UserError,
            "19 images are too few: the Inception score with 10 splits needs at least 20",
        ),
        (lambda x: inception_score(np.log(x - x)), UserError, "NaN or infinity"),
        (lambda x: inception_score(x, probabilities=True), ValueError, "are these logits"),
        (lambda x: inception_score(np.insert(softmax(x), 9, 0.0, 0), probabilities=True), ValueError, "are these logits"),
        (
            lambda x: inception_score(softmax(x) + [2, -2] @ np.eye(2, x.shape[1]), probabilities=True),
            ValueError,
            "some are below",
        ),
        (lambda x: inception_score(x[0]), ValueError, r"\[n, F\]"),
    ],
)
def test_bad_input(call, kind, words):
    with np.errstate(divide="ignore"), pytest.raises(kind, match=words) as caught:
        call(rule.logits())
    assert isinstance(caught.value, UserError) == (kind is UserError)


def test_no_splits_are_refused():
    with pytest.raises(ValueError, match="0 splits; give at least 1"):
        inception_score(np.ones((9, 2)), splits=0)
