"""What a config from Python may say: mistakes that the command line would not have let through are said before a run starts."""

import dataclasses

import numpy as np
import pytest

from jaxgan import data, plan
from jaxgan.errors import UserError
from jaxgan.settings import Settings, check_numbers

SOURCE = data.of_arrays(np.random.default_rng(0).integers(0, 256, (64, 8, 8, 1), np.uint8))


@dataclasses.dataclass(frozen=True)
class Own(Settings):
    held: object = SOURCE

    def open_data(self, progress):
        return self.held


@pytest.mark.parametrize(
    "fields, says",
    [
        ({"dtype": "float16"}, "--dtype 'float16': give one of float32, bfloat16"),
        ({"resume": "yes"}, "--resume 'yes': give one of auto, force, never"),
        ({"kimg": "1"}, "--kimg '1': give a number"),
        ({"batch": 8.0}, "--batch 8.0: give a whole number"),
        ({"metrics": "fd2k"}, "--metrics 'fd2k': give a tuple, .'fd2k',."),
        ({"kimg": -1}, "--kimg -1: it must be above 0"),
    ],
)
def test_values_of_other_types_than_the_fields(fields, says):
    check_numbers(Own(kimg=np.float32(1), batch=np.int64(8)))
    with pytest.raises(UserError, match=says):
        check_numbers(Own(**fields))


def test_what_the_methods_of_a_config_return_is_checked(tmp_path):
    own = Own(run_dir=str(tmp_path / "run"))
    with pytest.raises(UserError, match="open_data returned a ndarray; give a Source, such as data.of_arrays"):
        plan.prepare("own", dataclasses.replace(own, held=np.zeros((9, 8, 8, 1), np.uint8)), None)
    with pytest.raises(UserError, match="--batch 68 is larger than the data: arrays has 64 images"):  # not `data`, "digits"
        plan.prepare("own", dataclasses.replace(own, batch=68), None)
    for wrong in ((1, 2), None, ()):
        with pytest.raises(ValueError, match="design returned .* give a jaxgan.settings.Design, or a tuple"):
            plan.prepare("own", own, lambda shape, classes, wrong=wrong: wrong)
    assert not list(tmp_path.iterdir())
