"""The program in docs/own.md runs as it stands."""

import re
from pathlib import Path

import jax
import pytest
from PIL import Image

DOCS = Path(__file__).parents[1] / "docs"


@pytest.mark.slow
def test_a_method_of_ones_own(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    program = "\n".join(re.findall(r"```python\n(.*?)```", (DOCS / "own.md").read_text(), flags=re.S))
    held = {"__name__": "own"}
    exec(compile(program, "docs/own.md", "exec"), held)
    out = capsys.readouterr().out
    assert "'d/adv'" in out and "digits: 1797 images of 28x28x1" in out and "noise: 100 images of 28x28x1, no labels" in out
    assert held["images"].shape == (4, 28, 28, 1)
    assert held["log"]["d/adv"].shape == (jax.local_device_count(),) and "(4,)" in out
    assert "fd_means" in (tmp_path / "runs" / "measured" / "metrics.jsonl").read_text()
    for name in ("own", "noise"):
        with Image.open(tmp_path / "runs" / name / "samples" / "kimg000000.128.png") as picture:
            assert picture.width > 200
