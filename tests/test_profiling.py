"""The trace that --profile asks for."""

import jax
import jax.numpy as jnp

from jaxgan.profiling import Tracer


def test_a_trace_of_the_steps_after_the_first_ones(tmp_path):
    said, step = [], jax.jit(lambda x: x + 1)
    tracer, x = Tracer(tmp_path / "profile", 100, 4, said.append), jnp.zeros(8)
    for k in range(101, 160):
        x = step(x)
        tracer.at(k, x)
        assert bool(said) == (k >= 148)
    tracer.close()
    (line,) = said
    (file,) = (tmp_path / "profile").rglob("*.trace.json.gz")
    assert str(file) in line and "16 steps" in line and "perfetto" in line


def test_a_run_that_is_too_short_says_so_and_off_is_silent(tmp_path):
    said = []
    tracer = Tracer(tmp_path / "profile", 0, 1, said.append)
    tracer.at(1, jnp.zeros(()))
    tracer.close()
    assert "before step 32" in said[0] and not (tmp_path / "profile").exists()
    tracer = Tracer(None, 0, 1, said.append)
    tracer.at(1000, None)
    tracer.close()
    assert len(said) == 1
