"""A run's config.json gives its config back."""

import dataclasses
import json

import pytest

from experiments.again import config_of
from experiments.configs import CONFIGS
from jaxgan.description import as_json
from jaxgan.errors import UserError


def wrote(folder, name, settings):
    folder.mkdir(exist_ok=True)
    told = {"jaxgan": "0", "generator": {}, "config": name, "settings": settings}
    (folder / "config.json").write_text(json.dumps(as_json(told)))
    return str(folder)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_config_survives_its_json(name, tmp_path):
    assert config_of(name) == (name, CONFIGS[name])
    ran = dataclasses.replace(CONFIGS[name], seed=7, kimg=1, metrics=("fd2k",), run_dir="elsewhere", resume="force", process=1)
    folder = wrote(tmp_path / "run", name, dataclasses.asdict(ran))
    wanted = dataclasses.replace(ran, resume="auto", process=0, run_dir=folder)
    found = config_of(folder)
    assert found == (name, wanted) and type(found[1].kimg) is float  # it goes on where it lies now
    assert config_of(f"{folder}/config.json") == (name, dataclasses.replace(wanted, run_dir=""))  # another run


def test_a_run_does_not_say_where_its_programs_are(tmp_path):
    """They are run, and whoever made the run may have put them there."""
    for given, taken in (("/shared/programs", "auto"), ("auto", "auto"), ("off", "off")):
        folder = wrote(tmp_path / "run", "digits", {"compile_cache": given})
        assert config_of(folder)[1].compile_cache == config_of(f"{folder}/config.json")[1].compile_cache == taken


def test_what_is_no_run_of_a_config_here_is_refused(tmp_path):
    own = wrote(tmp_path / "own", "own", {})
    for what, said in (
        ("digist", "there is no config 'digist'; the nearest is digits"),
        (str(tmp_path), "not a run directory"),
        (str(tmp_path / "typo"), "typo: there is no such run directory"),
        (own, "its config, 'own', is not one of these"),
        (wrote(tmp_path / "old", "digits", {"seed": 1, "gone": 2}), "digits has no gone here; go on with the version"),
    ):
        with pytest.raises(UserError, match=said):
            config_of(what)
