"""Statistics of batch norm made for sampling, and grids with a column a class."""

import json
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from experiments.sample import Arguments, asked
from jaxgan import checkpoint, convert, description, disk, optim, restore, sample, state
from jaxgan.errors import UserError
from jaxgan.layers import BatchNorm
from jaxgan.method import Recipe
from jaxgan.models import mlp, resnet

GENERATOR = resnet.Generator((8, 8, 1), classes=3, z_dim=4, width=2)


@pytest.fixture(scope="module")
def variables():
    made = GENERATOR.init(jax.random.key(0), np.zeros((1, 4), np.float32), np.zeros(1, np.int32))
    return dict(made)


def first_norm(variables):
    stats = variables["batch_stats"]["UpBlock_0"]["norm1"]["norm"]
    return np.asarray(stats["mean"], np.float64), np.asarray(stats["var"], np.float64)


def test_statistics_are_of_the_z_that_is_sampled(variables):
    """What comes first is linear in z: halving z halves its means and quarters its variances."""
    whole, half = (first_norm(sample.standing(GENERATOR, variables, 2, psi=psi)) for psi in (1.0, 0.5))
    np.testing.assert_allclose(half[0], whole[0] / 2, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(half[1], whole[1] / 4, rtol=1e-4)
    kernel = np.asarray(variables["params"]["base"]["kernel"], np.float64).reshape(4, 16, 8)
    expected = (kernel**2).sum(0).mean(0)  # z is standard normal; 128 of them, within the error of their variances
    np.testing.assert_allclose(whole[1], expected, rtol=0.4)
    bounded = first_norm(sample.standing(GENERATOR, variables, 2, threshold=0.1))
    assert (bounded[1] < 0.01 * whole[1]).all()
    assert sample.standing(GENERATOR, variables, 0) is variables


class Counted(nn.Module):
    """Batch norm of the label: one-hot for a class, so that its means are the shares of the classes."""

    classes: int = 4
    shape = (1, 1, 1)
    z_dim = 2

    @nn.compact
    def __call__(self, z, c=None, *, keys=None, train=False, axis=None):
        c = c if c.ndim == 2 else jax.nn.one_hot(c, self.classes)
        return BatchNorm(0.9)(c, train).sum(1)[:, None, None, None]


def test_statistics_are_of_all_classes_or_of_the_vectors_given():
    generator = Counted()
    v = generator.init(jax.random.key(0), jnp.zeros((1, 2)), jnp.zeros(1, jnp.int32))
    batches = 8
    mean = lambda **given: np.asarray(sample.standing(generator, v, batches, **given)["batch_stats"]["BatchNorm_0"]["mean"])
    shares, n = mean(), batches * sample.CHUNK
    assert np.abs(shares - 1 / 4).max() < 4.5 * (3 / 16 / n) ** 0.5 and abs(shares.sum() - 1) < 1e-5
    vectors = np.float32([[1, 0, 0, 2], [3, 0, 0, 4]])
    np.testing.assert_allclose(mean(vectors=vectors), [2, 0, 0, 3], atol=4.5 * n**-0.5)


def test_a_run_samples_with_them_and_not_with_the_moving_ones(tmp_path, variables):
    moved = variables | {"batch_stats": jax.tree.map(lambda s: s + 7.0, variables["batch_stats"])}
    recipe = Recipe((), {name: optim.adam(1e-3) for name in "gd"}, 4)
    now = state.create(0, moved, {"params": {"v": np.ones(2, np.float32)}}, recipe)
    store = checkpoint.open_store(tmp_path / "checkpoints")
    checkpoint.save(store, now)
    disk.wait(store)
    store.manager.close()

    def images(standing, **options):
        config = {"jaxgan": "0", "generator": description.describe(GENERATOR), "settings": {"standing": standing}}
        (tmp_path / "config.json").write_text(json.dumps(config))
        return restore.load(tmp_path).sample(8, label=1, **options)

    with_them = sample.sample(GENERATOR, sample.standing(GENERATOR, variables, 2), 8, label=1)
    np.testing.assert_array_equal(images(2), with_them)
    assert (images(0) != with_them).any()
    truncated = sample.standing(GENERATOR, variables, 2, psi=0.5)
    np.testing.assert_array_equal(images(2, psi=0.5), sample.sample(GENERATOR, truncated, 8, label=1, psi=0.5))


class Generator(resnet.Generator):
    """A network from elsewhere, whose file and class are called as one of ours."""

    __module__ = "own.resnet"

    def __call__(self, *args, **options):
        return -super().__call__(*args, **options)


def test_a_run_on_a_network_from_elsewhere_is_not_taken_for_one_of_ours(tmp_path, variables):
    own = Generator((8, 8, 1), classes=3, z_dim=4, width=2)
    made = {"params": variables["params"], "batch_stats": variables["batch_stats"]}
    recipe = Recipe((), {name: optim.adam(1e-3) for name in "gd"}, 4)
    store = checkpoint.open_store(tmp_path / "checkpoints")
    checkpoint.save(store, state.create(0, made, {"params": {"v": np.ones(2, np.float32)}}, recipe))
    disk.wait(store)
    store.manager.close()
    (tmp_path / "config.json").write_text(json.dumps({"jaxgan": "0", "generator": description.describe(own)}))
    with pytest.raises(UserError, match="no model own.resnet.Generator; .*generator=Generator"):
        restore.load(tmp_path)
    with pytest.raises(UserError, match="no model own.resnet.Generator"):
        convert.save_safetensors(tmp_path / "x.safetensors", own, made)
    trained = restore.load(tmp_path, generator=own)
    assert "Array" not in repr(trained) and "step=0" in repr(trained)
    images = trained.sample(8, label=1)
    np.testing.assert_array_equal(images, sample.sample(own, made, 8, label=1))
    assert (images != sample.sample(GENERATOR, made, 8, label=1)).any()
    with pytest.raises(UserError, match="Generator: what its inits was is not known here; give the module, not the class"):
        restore.load(tmp_path, generator=Generator)  # functions are not described
    with pytest.raises(UserError, match="has the shape"):
        restore.load(tmp_path, generator=Generator((8, 8, 1), classes=4, z_dim=4, width=2))


def test_a_class_from_elsewhere_is_found_where_it_is_imported_and_is_not_one_of_ours(monkeypatch):
    """As a script that is run, and as a module, each with the name of a file of ours."""

    class Generator(mlp.Generator):
        __module__ = "__main__"

    script = types.SimpleNamespace(Generator=Generator, __file__="elsewhere/dcgan.py", __spec__=None)
    monkeypatch.setitem(sys.modules, "__main__", script)
    own = Generator((8, 8, 1), z_dim=4, widths=(3, 2))
    described = json.loads(json.dumps(description.describe(own)))
    assert described["family"] == "module dcgan" and description.build(described) == own
    monkeypatch.setitem(sys.modules, "__main__", types.SimpleNamespace())
    with pytest.raises(UserError, match=r"no model dcgan.Generator; .*import dcgan first, or use .jaxgan.load\(run, generator=G"):
        description.build(described)
    with pytest.raises(UserError, match=r"no model __main__.D; for your own model, use .load\(D\)"):  # of a notebook
        description.build({"family": "module __main__", "class": "D"}, "load({})")
    Generator.__module__ = "dcgan"
    monkeypatch.setitem(sys.modules, "dcgan", types.SimpleNamespace(Generator=Generator))
    assert description.build(described) == own
    assert json.loads(json.dumps(description.describe(own))) == described  # of the script's runs, and so they resume


def test_a_grid_has_a_column_for_each_class():
    n, label, columns = asked(Arguments("x", rows=2), 3)
    assert (n, columns) == (6, 3) and label.tolist() == [0, 1, 2, 0, 1, 2]
    assert asked(Arguments("x", rows=2), 0) == (20, None, 10)
    assert asked(Arguments("x", rows=2, label=1), 3) == (6, 1, 3)
    assert asked(Arguments("x", n=5), 3) == (5, None, None)


def test_of_a_network_from_elsewhere_the_class_is_enough():
    class Own(mlp.Generator):
        pass

    own = Own((8, 8, 1), z_dim=4, widths=(3, 2))
    described = json.loads(json.dumps(description.describe(own)))
    assert description.of_class(Own, described) == own
