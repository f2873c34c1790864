"""The hot loop: one program for each set of due terms, and nothing sent to or fetched from the devices."""

import dataclasses

import jax
import pytest

from experiments.configs import CONFIGS
from jaxgan import game, parallel, plan, run, state, step


@pytest.mark.slow
@pytest.mark.parametrize("name, programs", [("digits", 2), ("digits-seed", 1)])
def test_no_recompile_and_no_transfer(name, programs, tmp_path, monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    small = {"width": 4} if name == "digits" else {}
    config = dataclasses.replace(CONFIGS[name], batch=8, augment=("rotate", "flip"), run_dir=str(tmp_path / "r"), **small)
    ready = plan.prepare(name, config, config.design)
    assert not (tmp_path / "r").exists()
    (design,) = ready.stages
    first = state.create(0, *game.init(design.generator, design.discriminator, 0), design.recipe)
    machine = run.build_machine(config, design, ready.source, ready.names)
    s, meter = parallel.replicate(first), parallel.replicate(machine.meter)
    dues = [step.due(design.recipe, k) for k in range(12)]
    held = machine.feed.at(0)
    for due in sorted(set(dues)):
        s, meter, _ = machine.run(s, meter, held, due)
    assert machine.run._cache_size() == programs
    before = s.g.params
    with jax.transfer_guard("disallow"):
        for k, due in enumerate(dues):
            s, meter, token = machine.run(s, meter, machine.feed.at(k), due)
        jax.block_until_ready(token)
    assert machine.run._cache_size() == programs
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(before))  # the state's buffers are reused, not copied
    assert int(s.step) == 12 + programs
