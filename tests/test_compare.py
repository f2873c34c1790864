"""The comparisons: their commands are ones that the training command takes."""

import pytest

from experiments import compare
from experiments.cli import parse
from experiments.configs import CONFIGS
from experiments.configs.families import FAMILIES
from jaxgan.errors import UserError


@pytest.mark.parametrize("of", compare.OF)
def test_every_command_is_one_that_train_takes(of):
    for name in compare.OF[of]:
        _, module, flag, config, *given = compare.command(compare.Options(out="out", of=of, data="mnist", kimg=300.0), name)
        assert (module, flag) == ("-m", "experiments.train")
        settings = parse(type(CONFIGS[config]), given, CONFIGS[config], prog="train")
        assert settings.kimg == 300 and settings.data == "mnist" and settings.metrics == ("fd2k",) and settings.augment == ()
        if of == "families":
            assert config == f"{name}-mnist" and settings.lr == CONFIGS[config].lr
        else:
            assert settings.loss == name


def test_every_family_that_draws_from_noise_is_compared():
    assert set(compare.FAMILIES) == {*FAMILIES, "progan", "stylegan"}


def test_an_unknown_name_is_one_line(monkeypatch):
    monkeypatch.setattr("sys.argv", ["compare", "out", "--of", "families", "--only", "hinge"])
    with pytest.raises(UserError, match="--only hinge: of families there are gan, "):
        compare.main()
