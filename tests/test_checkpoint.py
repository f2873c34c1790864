"""Checkpoints: exact, damaged ones noticed and named, the best kept, a failure told in one line."""

import os
import shutil
import time
from collections import namedtuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import average, checkpoint, disk, optim, state
from jaxgan.errors import UserError

Recipe = namedtuple("Recipe", "tx carry posthoc")


@pytest.fixture
def first():
    recipe = Recipe(
        {"g": optim.adam(1e-3), "d": optim.adam(lambda kimg: kimg)},
        {"p": 0.25, "past": {"images": np.arange(6, dtype=np.uint8), "at": np.int32(3)}},
        (0.05, 0.1),
    )
    g = {"params": {"w": jnp.arange(4000.0).reshape(40, 100)}, "batch_stats": {"m": jnp.ones(3)}}
    return state.create(5, g, {"params": {"v": jnp.ones((2, 2), jnp.bfloat16)}}, recipe)


def filled(directory, first, scores, keep=2, by=""):
    store = checkpoint.open_store(directory, keep, by)
    for step, score in scores:
        params = jax.tree.map(lambda a, s=step: a + s, first.g.params)
        state = first.replace(step=jnp.int32(step), g=first.g.replace(params=params))
        checkpoint.save(store, state, score=score, meta={"by": by})
    disk.wait(store)
    return store


def steps(directory):
    return sorted(int(p.name) for p in directory.iterdir() if p.name.isdigit())


def test_a_state_comes_back_to_the_bit(tmp_path, first):
    store = filled(tmp_path, first, [(3, None)])
    back, damaged = checkpoint.restore(store, lambda step: jax.eval_shape(lambda: first))  # of which no value is used
    assert not damaged and int(back.step) == 3
    want = first.replace(step=jnp.int32(3), g=first.g.replace(params=jax.tree.map(lambda a: a + 3, first.g.params)))
    assert jax.tree.structure(back) == jax.tree.structure(want)
    for a, b in zip(jax.tree.leaves(back.replace(key=None)), jax.tree.leaves(want.replace(key=None)), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))
    assert jnp.array_equal(back.key, first.key)
    store.manager.close()


def test_images_are_made_with_the_averaged_weights_and_the_statistics_of_g(tmp_path, first):
    averaged = first.replace(ema={"w": -first.g.params["w"]})
    store = checkpoint.open_store(tmp_path)
    checkpoint.save(store, averaged.replace(step=jnp.int32(4)))
    disk.wait(store)
    store.manager.close()
    for variables in (state.generator_variables(averaged), checkpoint.load_generator(tmp_path, "latest")[0]):
        assert variables.keys() == {"params", "batch_stats"}
        np.testing.assert_array_equal(variables["params"]["w"], averaged.ema["w"])
        np.testing.assert_array_equal(variables["batch_stats"]["m"], np.ones(3))


def test_a_checkpoint_that_claims_more_than_it_can_hold_is_passed_over(tmp_path, first, monkeypatch):
    store = filled(tmp_path, first, [(1, None), (2, None)])
    checked, real = [], disk.check_size

    def check(path):
        checked.append(path.parent.name)
        if path.parts[-2:] == ("2", "training"):
            raise ValueError("it claims too much")
        real(path)

    monkeypatch.setattr(disk, "check_size", check)
    back, damaged = checkpoint.restore(store, lambda step: first)
    assert int(back.step) == 1 and "1" in checked and damaged[0].endswith("(cannot be read: it claims too much)")
    store.manager.close()


def test_an_empty_directory_has_nothing(tmp_path, first):
    store = checkpoint.open_store(tmp_path)
    assert checkpoint.restore(store, lambda step: first) == (None, [])
    store.manager.close()


def test_latest_and_best_are_kept_also_after_a_restart(tmp_path, first):
    filled(tmp_path, first, [(1, 5.0), (2, 1.0), (3, 4.0), (4, 3.0)]).manager.close()
    assert steps(tmp_path) == [2, 3, 4]
    killed = tmp_path / "9.orbax-checkpoint-tmp"  # in the middle of a save
    (killed / "generator").mkdir(parents=True)
    store = filled(tmp_path, first, [(5, 2.0), (6, None), (7, None), (8, None)])
    store.manager.close()
    assert steps(tmp_path) == [2, 7, 8] and not killed.exists()
    variables, step = checkpoint.load_generator(tmp_path, "best")
    assert step == 2 and set(variables) == {"params", "batch_stats"}
    np.testing.assert_array_equal(variables["params"]["w"], first.ema["w"])
    assert checkpoint.load_generator(tmp_path)[1] == 8 and checkpoint.load_generator(tmp_path, 7)[1] == 7
    for which in (5, "newest"):
        with pytest.raises(UserError, match=f"no checkpoint of step {which}; there are 2, 7, 8"):
            checkpoint.load_generator(tmp_path, which)


def test_scores_of_two_metrics_are_no_rivals(tmp_path, first):
    filled(tmp_path, first, [(1, 0.01), (2, 0.03)], keep=1, by="kid").manager.close()
    (tmp_path / "1" / "metrics" / "metrics").write_text("")  # and is mended
    filled(tmp_path, first, [(3, 30.0), (4, 33.0)], keep=1, by="fid").manager.close()
    assert steps(tmp_path) == [1, 3, 4] and checkpoint.load_generator(tmp_path, "best")[1] == 3
    filled(tmp_path, first, [(5, 0.04)], keep=1, by="kid").manager.close()
    assert steps(tmp_path) == [1, 3, 5] and checkpoint.load_generator(tmp_path, "best")[1] == 1


def damage(directory):
    """Flip bytes in the middle of every data file."""
    for path in directory.rglob("d/*"):
        raw = bytearray(path.read_bytes())
        middle = len(raw) // 2
        raw[middle : middle + 64] = bytes(b ^ 0xFF for b in raw[middle : middle + 64])
        path.write_bytes(raw)


def test_flipped_bytes_are_noticed_named_and_passed_over(tmp_path, first):
    store = filled(tmp_path, first, [(1, None), (2, None)])
    damage(tmp_path / "2")
    back, damaged = checkpoint.restore(store, lambda step: first)
    assert int(back.step) == 1
    assert len(damaged) == 1 and f"{tmp_path}/2" in damaged[0] and "damaged" in damaged[0]
    checkpoint.drop_newer(store, 1)
    assert steps(tmp_path) == [1]
    damage(tmp_path / "1")
    with pytest.raises(UserError, match="no intact one before it"):
        checkpoint.restore(store, lambda step: first)
    store.manager.close()
    with pytest.raises(UserError, match="damaged"):
        checkpoint.load_generator(tmp_path)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Orbax drops futures of the failed read
def test_a_truncated_checkpoint_is_passed_over(tmp_path, first):
    store = filled(tmp_path, first, [(1, None), (2, None)])
    for path in (tmp_path / "2").rglob("d/*"):
        path.write_bytes(path.read_bytes()[:100])
    back, damaged = checkpoint.restore(store, lambda step: first)
    assert int(back.step) == 1 and "damaged" in damaged[0]
    store.manager.close()


@pytest.mark.parametrize("held", ["", '{"sxore": 3.0}', "null", "\0\0"])
def test_a_damaged_score_is_read_from_beside_the_checksums(tmp_path, first, held):
    filled(tmp_path, first, [(1, 2.0), (2, 1.0), (3, 5.0)]).manager.close()
    for step in (1, 2, 3):
        path = tmp_path / str(step) / "metrics" / "metrics"
        if path.exists():
            path.write_text(held)
    assert checkpoint.load_generator(tmp_path, "best")[1] == 2 and checkpoint.load_generator(tmp_path, 3)[1] == 3
    store = filled(tmp_path, first, [(4, 4.0), (5, 3.0)])
    assert int(checkpoint.restore(store, lambda step: first)[0].step) == 5
    store.manager.close()
    assert steps(tmp_path) == [2, 4, 5]


def test_a_score_that_is_nowhere_is_no_rival_for_the_best(tmp_path, first):
    filled(tmp_path, first, [(1, 2.0), (2, 1.0), (3, 5.0)], keep=3).manager.close()
    (tmp_path / "2" / "meta" / "metadata").write_text("")
    (tmp_path / "2" / "metrics" / "metrics").write_text("")
    assert checkpoint.load_generator(tmp_path, "best")[1] == 1
    store = checkpoint.open_store(tmp_path)
    assert int(checkpoint.restore(store, lambda step: first)[0].step) == 3
    store.manager.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_state_of_another_config_is_not_called_damaged(tmp_path, first):
    store = filled(tmp_path, first, [(1, None), (2, None)])
    wider = first.replace(d=first.d.replace(params={"v": jnp.ones((2, 3), jnp.bfloat16)}))
    plain = first.replace(averages={})
    more = first.replace(carry=first.carry | {"seen": np.int32(0)})
    for like, what in (
        (wider, r"training/d/params/v is bfloat16 \(2, 2\), and here bfloat16 \(2, 3\)"),
        (plain, r"training/averages/.* is float32 .*, and here none"),
        (more, r"training/carry/seen is not there, and here int32 \(\)"),
    ):
        says = f"{tmp_path}/2: its networks, optimisers or carry are not those of this config .{what}.; give"
        with pytest.raises(UserError, match=says):
            checkpoint.restore(store, lambda step, like=like: like)
    damage(tmp_path / "2")
    with pytest.raises(UserError, match=f"{tmp_path}/1: its networks"):
        checkpoint.restore(store, lambda step: plain)
    store.manager.close()


def test_every_leaf_counts_in_the_checksums(first):
    tree = jax.device_get(checkpoint.to_tree(first))
    before = disk.checksums(tree)
    tree["training"]["d"]["params"]["v"] = np.array(tree["training"]["d"]["params"]["v"])
    tree["training"]["d"]["params"]["v"][1, 1] += 1
    changed = [k for k, v in disk.checksums(tree).items() if v != before[k]]
    assert changed == ["['training']['d']['params']['v']"]


def test_a_full_disk_is_told_before_and_the_last_stays(tmp_path, first, monkeypatch):
    store = filled(tmp_path, first, [(1, None)])
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10, 10, 1000))
    with pytest.raises(UserError, match="no room.*the last good checkpoint is step 1"):
        checkpoint.save(store, first.replace(step=jnp.int32(2)))
    store.manager.close()
    assert steps(tmp_path) == [1]


def test_a_folder_that_may_not_be_written_is_said_at_once(tmp_path, first):
    """Orbax waited five minutes for one that another thread of its could not make."""
    store, began = filled(tmp_path, first, [(1, None)]), time.monotonic()
    store.directory.chmod(0o555)
    try:
        if os.access(store.directory, os.W_OK):
            pytest.skip("root may write anywhere")
        with pytest.raises(UserError, match="a checkpoint could not be written .*Permission denied.* the last good .* is step 1"):
            checkpoint.save(store, first.replace(step=jnp.int32(2)))
            disk.wait(store)
    finally:
        store.directory.chmod(0o755)
    assert time.monotonic() - began < 60


def test_not_finite_names_the_leaf(first):
    bad = first.replace(ema={"w": first.ema["w"].at[3, 3].set(jnp.nan)})
    assert checkpoint.not_finite(jax.device_get(checkpoint.to_tree(bad))) == ["['generator']['params']['w']"]


def test_the_average_of_another_width_is_that_of_training_with_it(tmp_path, first):
    """Averages of widths 0.05 and 0.1 at eight times against the one of width 0.08 that was really kept."""
    widths, n = (0.05, 0.08, 0.1), 64
    rng = np.random.default_rng(0)
    store = checkpoint.open_averages(tmp_path)
    kept = {width: {"w": np.zeros((40, 100), np.float32)} for width in widths}
    weights = np.zeros((40, 100), np.float32)
    for k in range(1, n + 1):
        weights = weights + rng.normal(size=weights.shape).astype(np.float32)
        kept = {width: average.ema(kept[width], {"w": weights}, average.power_beta(k, width)) for width in widths}
        if k == 16:
            early = kept[0.08]["w"]
        if k % 8 == 0:
            averages = {"0.05": kept[0.05], "0.1": kept[0.1]}
            checkpoint.save_averages(store, first.replace(step=jnp.int32(k), averages=averages))
    disk.wait(store)
    made, step = checkpoint.load_average(tmp_path, 0.08)
    error = np.abs(made["w"] - kept[0.08]["w"]).mean() / np.abs(kept[0.08]["w"]).mean()
    assert step == n and error < 0.02 < np.abs(kept[0.05]["w"] - kept[0.08]["w"]).mean() / np.abs(kept[0.08]["w"]).mean()
    made, step = checkpoint.load_average(tmp_path, 0.08, 23)  # of a checkpoint between two: that of the one before
    assert step == 16 and np.abs(made["w"] - early).mean() < 0.05 * np.abs(early).mean()
    assert checkpoint.load_average(tmp_path, 0.08, 7)[1] == 7  # before the first: from that one
    with pytest.raises(UserError, match="--posthoc"):
        checkpoint.load_average(tmp_path / "none", 0.08)
