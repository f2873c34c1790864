"""The rooms of the library: who may import whom, and what nothing may import."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import jaxgan

ROOT = Path(__file__).parent.parent / "jaxgan"
FILES = sorted(ROOT.rglob("*.py"))
ALL = {"torch", "tensorflow", "absl", "experiments", "clu", "chex"}
NEVER = {
    "losses.py": {"flax", "optax", "numpy", "orbax"},
    "penalties.py": {"flax", "optax", "orbax"},
    "attacks.py": {"flax", "optax", "numpy", "orbax"},
    "explain.py": {"flax", "optax", "orbax"},
    "schedules.py": {"flax", "optax", "orbax"},
    "ops.py": {"flax", "optax"},
    "layers.py": {"optax"},
    "augment/*": {"flax", "optax"},
    "optim.py": {"flax"},
    "state.py": {"jaxgan.models"},
    "step.py": {"jaxgan.models", "jaxgan.losses"},
    "models/*": {"optax", "jaxgan.losses", "jaxgan.step", "jaxgan.optim"},
    "recipes.py": {"orbax", "jaxgan.data", "jaxgan.models"},
    "parallel.py": {"jaxgan.models"},
    "data/*": {"jax", "flax"},
    "feed.py": {"jaxgan.models"},
    "checkpoint.py": {"jaxgan.models", "jaxgan.step"},
    "disk.py": {"jaxgan.models", "jaxgan.step", "jaxgan.state"},
    "metrics/*": {"jaxgan.step", "jaxgan.recipes"},
    "sample.py": {"jaxgan.optim"},
}


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def reaches(names: set[str], banned: str) -> list[str]:
    return [name for name in names if name == banned or name.startswith(banned + ".")]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports(path):
    place = path.relative_to(ROOT)
    banned = set(ALL)
    for pattern, more in NEVER.items():
        if place.match(pattern) and (len(place.parts) == len(Path(pattern).parts)):
            banned |= more
    names = imported(path)
    assert not [hit for b in banned for hit in reaches(names, b)]


def test_pmap_is_named_in_one_file():
    users = {p.name for p in FILES if "jax.pmap" in p.read_text() or "jax.shard_map" in p.read_text()}
    assert users == {"parallel.py"}


PURE = """
import sys, jaxgan
from jaxgan import marks, video, watermark  # of the commands that look at files
assert "jax" not in sys.modules
for name in "losses penalties attacks explain schedules augment ops".split():
    getattr(jaxgan, name)  # an attribute that is imported when it is asked for
    came = {"orbax", "tensorflow_datasets", "flax"} & sys.modules.keys()
    assert not came, f"jaxgan.{name} imports {came}"
"""


def test_a_pure_module_comes_without_the_trainer():
    made = subprocess.run([sys.executable, "-c", PURE], capture_output=True, text=True, timeout=120)
    assert made.returncode == 0, made.stderr


def test_what_there_is_can_be_listed():
    """For the Tab key; `help(jaxgan.losses.hinge_d)`, as docs/api.md has it, needs no import of the module."""
    assert {"load", "losses", "models", "run"} <= set(dir(jaxgan)) and not hasattr(jaxgan, "loses")


def test_every_module_has_a_docstring():
    assert [str(p) for p in FILES if p.read_text().strip() and not ast.get_docstring(ast.parse(p.read_text()))] == []
