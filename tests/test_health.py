"""What is said of logs of runs that are ill, and nothing of those that are well."""

import numpy as np
import pytest

from jaxgan import health

WELL = {"d/adv": 0.6, "g/adv": 0.9, "logits/real": 0.3, "logits/fake": -0.2, "img_per_s": 100.0}


def log(n=100, every=5, **changes):
    """Rows in which each number is that of WELL, or a function of the part of the run that is done, in (0, 1]; of what is drawn
    or measured one in `every`."""
    rows = []
    for i in range(1, n + 1):
        row = WELL | {name: value(i / n) for name, value in changes.items() if name in WELL or i % every == 0}
        rows.append({"step": i, "kimg": 2.0 * i, "seconds": 3.0 * i} | row)
    return rows


ILL = {
    "saturated": {"d/adv": lambda t: 0.5 if t < 0.8 else 0.001, "logits/real": lambda t: 0.3 if t < 0.8 else 6.3},
    "collapse": {"variety": lambda t: min(t, 0.9) if t < 0.7 else 0.1},
    "augment": {"augment/p": lambda t: min(1.0, 1.5 * t)},
    "worse swd": {"swd": lambda t: 50 - 40 * min(t, 0.5) + 60 * max(t - 0.5, 0)},
    "worse fid10k": {"fid10k": lambda t: 50 - 40 * min(t, 0.5) + 60 * max(t - 0.5, 0)},
    "slow": {"img_per_s": lambda t: 100.0 if t < 0.85 else 30.0},
}
FINE = {
    "wasserstein": {"d/adv": lambda t: -12.0 * t},
    "wasserstein, D says the same of all": {name: lambda t: 0.0 for name in ("d/adv", "g/adv", "logits/real", "logits/fake")},
    "hinge, at its start": {"d/adv": lambda t: 0.001 if t < 0.15 else 0.7},
    "variety that grows": {"variety": lambda t: 0.25 * t},
    "variety of noise": {"variety": lambda t: 2.0},
    "better and better": {"swd": lambda t: 50 - 40 * t, "fid10k": lambda t: 200 - 190 * t},
    "up and down": {"swd": lambda t: 20 + 4 * np.sin(40 * t)},
    "bad once": {"swd": lambda t: 90.0 if t == 1 else 10 + 2 * (t > 0.3)},
    "one slow tick, while another job compiles": {"img_per_s": lambda t: 100.0 if t < 0.97 else 20.0},
    "more is better, or nobody knows": {
        "is": lambda t: 9.0 - 8 * t,
        "my_fd": lambda t: 1 + 90 * t,
        "psnr": lambda t: 30 - 25 * t,
    },
    "ADA": {"augment/p": lambda t: 0.5},
}


@pytest.mark.parametrize("kind", ILL)
def test_an_ill_run_is_told_and_before_it_is_ill_nothing(kind):
    rows = log(**ILL[kind])
    found = health.warnings(rows)
    assert list(found) == [kind] and "\n" not in found[kind]
    assert health.warnings(rows[:50]) == health.warnings(rows[: health.LEAST - 1]) == {}
    assert health.warnings(rows[-(health.LEAST - 1) :]) == {}


def test_numbers_are_said():
    assert "is 70, and was 30 at 100 kimg" in health.warnings(log(swd=lambda t: 30 + 80 * abs(t - 0.5)))["worse swd"]
    said = health.warnings(log(variety=lambda t: 0.123, **ILL["saturated"], **ILL["slow"]))
    assert set(said) == {"collapse", "saturated", "slow"}
    assert "variety 0.12," in said["collapse"] and "d/adv 0.001, logits 6.5 apart" in said["saturated"]
    assert said["slow"].startswith("30 images/s, and 100 are usual")


@pytest.mark.parametrize("case", FINE)
def test_of_a_run_that_is_well_nothing_is_said(case):
    rows = log(**FINE[case])
    assert [health.warnings(rows[:n]) for n in range(0, 101, 10)] == [{}] * 11


def test_networks_that_have_grown_are_slower_than_they_were():
    rows = log(img_per_s=lambda t: 400.0 if t <= 0.3 else 200.0 if t <= 0.6 else 50.0 if t <= 0.95 else 20.0)
    starts = [0.0, 60.0, 120.0]
    assert list(health.warnings(rows)) == ["slow"] and health.warnings(rows[:95], starts) == {}
    assert all(health.warnings(rows[:n], starts) == {} for n in range(20, 96))
    slower = log(img_per_s=lambda t: 400.0 if t <= 0.3 else 50.0 if t <= 0.85 else 20.0)
    assert health.warnings(slower, starts)["slow"].startswith("20 images/s, and 50 are usual")


def test_a_log_without_losses_or_speed_says_nothing():
    assert health.warnings([{"step": i, "kimg": 1.0 * i} for i in range(1, 50)]) == {}
