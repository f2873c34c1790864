"""Training and sampling on label vectors: several labels an image, numbers, an embedding."""

import dataclasses
import tracemalloc

import jax
import numpy as np
import pytest

import jaxgan
from experiments.configs import CONFIGS, objective
from jaxgan import label_vectors, plan
from jaxgan.data import Source
from jaxgan.errors import UserError
from jaxgan.models import r3gan, residual, stylegan
from tests.commands import run

VECTORS = np.random.default_rng(1).uniform(-1, 1, (96, 3)).astype(np.float32)


def source(labels, classes):
    images = np.zeros((96, 8, 8, 1), np.uint8)
    return Source("noise", (8, 8, 1), 96, lambda i: images[i], labels, classes, (), "")


def test_some_are_kept_with_a_run_and_drawn_whatever_their_number(tmp_path, monkeypatch):
    assert label_vectors.some_of(source(None, 0), 0) is None
    assert label_vectors.some_of(source(np.zeros(96, np.int32), 2), 0) is None
    kept = label_vectors.some_of(source(VECTORS, 3), 0)
    assert {row.tobytes() for row in kept} == {row.tobytes() for row in VECTORS}
    label_vectors.write(tmp_path, kept)
    np.testing.assert_array_equal(label_vectors.read(tmp_path), kept)
    np.testing.assert_array_equal(label_vectors.drawn(kept, 5, 7), label_vectors.drawn(kept, 5, 50)[:7])
    for at_once in (label_vectors.AT_ONCE, 16):
        monkeypatch.setattr(label_vectors, "AT_ONCE", at_once)
        some = np.array([40, 3, 16, 40])
        np.testing.assert_array_equal(label_vectors.drawn(kept, 5, some), label_vectors.drawn(kept, 5, 50)[some])
    last = label_vectors.drawn(kept, 5, np.array([127], np.int8))  # the largest of its type
    np.testing.assert_array_equal(last, label_vectors.drawn(kept, 5, 128)[127:])
    monkeypatch.setattr(label_vectors, "AT_ONCE", 10**4)
    tracemalloc.start()
    assert label_vectors.drawn(kept, 5, np.array([10**6])).shape == (1, kept.shape[1])
    assert tracemalloc.get_traced_memory()[1] < 10**6  # a row of each number before it would be eight times as much
    tracemalloc.stop()
    assert label_vectors.read(tmp_path / "elsewhere") is None
    label_vectors.write(tmp_path, None)  # the same directory, forced to go on with classes
    assert label_vectors.read(tmp_path) is None


def test_those_kept_of_many_are_drawn_from_all():
    """A set may be sorted: the first of it are not like the rest."""
    n = 3000
    many = source(np.arange(n, dtype=np.float32)[:, None], 1)._replace(n=n)
    kept = label_vectors.some_of(many, 0)[:, 0]
    assert len(set(kept.tolist())) == label_vectors.KEPT and abs(kept.mean() / n - 0.5) < 4.5 / (12 * len(kept)) ** 0.5
    assert (label_vectors.some_of(many, 1)[:, 0] != kept).any()


def test_another_file_of_that_name_is_one_line(tmp_path):
    for text in ("no array", ""):
        (tmp_path / label_vectors.NAME).write_text(text)
        with pytest.raises(UserError, match="not label vectors, float32"):
            label_vectors.read(tmp_path)


@pytest.mark.parametrize(
    "made",
    [
        residual.Discriminator((8, 8, 1), 3, patch=2, width=4),
        residual.Discriminator((8, 8, 1), 3, patch=2, width=4, spectral=True),
        r3gan.Discriminator((8, 8, 1), 3, width=4, channels=(4, 4), cardinality=(2, 2), blocks=(1, 1)),
        stylegan.Discriminator((8, 8, 1), 3, channel_base=32, channel_max=4),
    ],
)
def test_a_discriminator_says_whether_no_label_leaves_it_nothing_to_say(made):
    x = np.random.default_rng(0).normal(size=(4, 8, 8, 1)).astype(np.float32)
    # Biases may start at 0, and those are learned.
    filled = lambda a: np.random.default_rng(1).uniform(0.1, 0.2, a.shape).astype(a.dtype)
    variables = jax.tree.map(filled, jax.eval_shape(made.init, jax.random.key(0), x, VECTORS[:4]))
    logits = jax.jit(made.apply)(variables, x, np.zeros((4, 3), np.float32))
    assert made.zero_without_label == (not np.asarray(logits).any())


def test_images_without_any_label_are_refused_where_they_could_not_be_learned(tmp_path):
    """Else the logit of these, real or generated, is 0 in every step: no gradient, and noise for images."""
    labels = VECTORS.copy()
    labels[:5] = 0
    np.savez(tmp_path / "set.npz", images=np.zeros((96, 8, 8, 1), np.uint8), labels=labels)
    small = ["--data", tmp_path / "set.npz", "--size", "8", "8", "--width", "4", "--batch", "4"]
    code, _, err = run("train", "digits", *small, "--run-dir", tmp_path / "run")
    assert code == 2 and "the label vectors of 5 of 96 images are all 0" in err and len(err.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()
    settings = objective.Config(norm="spectral", penalty=(), augment=())
    assert plan._check_vectors(settings.design((8, 8, 1), 3), source(labels, 3)) == ""


def test_label_vectors_near_zero_are_told_of():
    """Measured on fields of known mean, standardised: without the constant, images' means were as scattered as without labels."""
    numbers = np.linspace(-1, 1, 96, dtype=np.float32)[:, None]
    design = lambda k: dataclasses.replace(CONFIGS["digits"], width=4).design((8, 8, 1), k)
    assert plan._check_vectors(design(1), source(numbers, 1)).startswith("; 10 label vectors are near 0, with which this")
    assert plan._check_vectors(design(2), source(np.hstack([numbers, np.ones_like(numbers)]), 2)) == ""
    assert plan._check_vectors(design(3), source(VECTORS, 3)) == ""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run with batch norm, whose statistics for sampling want vectors too, and its data."""
    place = tmp_path_factory.mktemp("vectors")
    images = np.random.default_rng(0).integers(0, 256, (96, 8, 8, 1), np.uint8)
    np.savez(place / "set.npz", images=images, labels=VECTORS)
    small = ["--data", place / "set.npz", "--size", "8", "8", "--width", "4", "--batch", "4", "--kimg", "0.04"]
    small += ["--tick-kimg", "0.02", "--snapshot-kimg", "0.04"]
    code, _, err = run("train", "sngan", *small, "--n-critic", "1", "--run-dir", place / "run")
    assert code == 0, err
    return place, small


@pytest.mark.slow
def test_a_run_on_vectors_is_sampled_with_those_of_its_data_or_with_given_ones(trained):
    g = jaxgan.load(trained[0] / "run")
    assert g.vectors.shape == (96, 3) and g.generator.classes == 3
    images = g.sample(6, seed=4)
    np.testing.assert_array_equal(images, g.sample(6, seed=4, label=label_vectors.drawn(g.vectors, 4, 6)))
    one = np.float32([0.5, -1, 0.25])
    np.testing.assert_array_equal(g.sample(4, label=one), g.sample(4, label=np.stack([one] * 4)))
    assert (g.sample(4, label=one) != g.sample(4, label=-one)).any()
    code, out, err = run("sample", trained[0] / "run", "--rows", "2", "--out", trained[0] / "grid.npz")
    assert code == 0 and "20 images" in out, err


@pytest.mark.slow
def test_a_config_that_needs_classes_says_so(trained):
    code, _, err = run("train", "ac_gan", *trained[1], "--run-dir", trained[0] / "other")
    assert code == 2 and "has label vectors, but this config needs classes" in err and len(err.strip().splitlines()) == 1
    assert not (trained[0] / "other").exists()
