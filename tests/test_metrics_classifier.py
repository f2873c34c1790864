"""The classifier of the data set at hand: it learns, says how well, comes from the cache, and refuses what it cannot do."""

import json

import jax
import numpy as np
import pytest

from jaxgan.data.source import Source, Stored
from jaxgan.errors import UserError
from jaxgan.metrics import classifier, features


def bars(n=400, size=16, classes=4, seed=0):
    """A bright bar in one of `classes` places on a noisy ground."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n, dtype=np.int32) % classes
    images = rng.integers(0, 120, (n, size, size, 1))
    wide = size // classes
    for image, label in zip(images, labels, strict=True):
        image[label * wide : (label + 1) * wide] += 100
    names = tuple(map(str, range(classes)))
    read = Stored(images.astype(np.uint8))
    return Source("bars", (size, size, 1), n, read, labels, classes, names, f"bars{n}{size}{seed}")


@pytest.fixture(autouse=True)
def short(monkeypatch, tmp_path):
    monkeypatch.setattr(classifier, "LEAST_SEEN", 2000)
    monkeypatch.setenv("JAXGAN_CACHE", str(tmp_path / "cache"))


def test_it_learns_and_comes_from_the_cache_the_second_time(tmp_path, monkeypatch):
    source = bars()
    e = features.classifier(source, show=False)
    assert (e.name, e.size, e.classes, e.channels) == ("classifier-bars", 64, 4, 1)
    files = sorted((tmp_path / "cache/classifiers").iterdir())
    assert [f.name for f in files] == ["bars400160-v1-seed0.json", "bars400160-v1-seed0.npz"]
    facts = json.loads(files[0].read_text())
    assert facts["accuracy"] >= 0.95 and facts["held_out"] == 40 and facts["seen"] == 2176 and facts["data"] == "bars"
    assert e.about == f"classifier-bars: {facts['accuracy']:.2%} of 40 held-out images right"
    fresh = bars(seed=1)
    out = e.apply(fresh.read(np.arange(100)))
    assert (np.argmax(out.logits, 1) == fresh.labels[:100]).mean() >= 0.95
    assert out.features.shape == (100, 64) and out.features.dtype == np.float32

    again = classifier.train(source)  # the same seed: the same bits
    for a, b in zip(*(jax.tree.leaves(p) for p in (again.params, e.params)), strict=True):
        np.testing.assert_array_equal(a, b)

    monkeypatch.setattr(classifier, "train", None)
    assert features.classifier(source, show=False).hash == e.hash


def test_another_seed_or_set_is_another_classifier(monkeypatch):
    monkeypatch.setattr(classifier, "LEAST_SEEN", 128)
    monkeypatch.setattr(classifier, "EPOCHS", 0)
    extractors = [features.classifier(bars(), show=False), features.classifier(bars(), seed=1, show=False)]
    extractors.append(features.classifier(bars(seed=1), show=False))
    assert len({e.hash for e in extractors}) == 3 and extractors[1].name == "classifier-bars-seed1"


def test_the_planes_of_a_stacked_set_are_classified_one_by_one():
    grey = bars()
    planes = np.random.default_rng(0).integers(0, grey.n, (50, 3))
    images = np.concatenate([grey.read(planes[:, i]) for i in range(3)], -1)
    source = grey._replace(name="stacked:bars", shape=(16, 16, 3), classes=64, planes=grey)
    e = features.stacked(source, show=False)
    alone = features.classifier(grey, show=False)
    out, parts = e.apply(images), [alone.apply(images[..., i : i + 1]) for i in range(3)]
    assert (e.size, e.classes, e.channels) == (192, 64, 3) and e.hash != alone.hash
    np.testing.assert_allclose(out.features, np.concatenate([p.features for p in parts], 1), rtol=1e-5, atol=1e-5)
    digits = np.stack([np.argmax(p.logits, 1) for p in parts], 1)
    np.testing.assert_array_equal(np.argmax(out.logits, 1), digits @ [16, 4, 1])
    np.testing.assert_allclose(np.exp(out.logits).sum(1), 1, rtol=1e-5)  # a distribution over the combinations
    with pytest.raises(UserError, match="bars: is not a stacked set"):
        features.stacked(grey)


def test_a_damaged_cache_is_made_anew(tmp_path):
    path = tmp_path / "c.npz"
    small = classifier.Trained({"stem": {"kernel": np.ones(3, np.float32)}}, {"accuracy": 0.5})
    assert classifier.load(path) is None
    classifier.save(path, small)
    back = classifier.load(path)
    assert back.facts == small.facts and back.params["stem"]["kernel"].tolist() == [1, 1, 1]
    whole = path.read_bytes()
    for broken in (b"", whole[: len(whole) // 2], b"\x80\x04."):
        path.write_bytes(broken)
        assert classifier.load(path) is None
    classifier.save(path, small)
    path.with_suffix(".json").unlink()
    assert classifier.load(path) is None


@pytest.mark.parametrize("shape", [(8, 8, 3), (28, 28, 1), (30, 100, 3), (128, 128, 3)])
def test_any_size_of_image(shape):
    params = classifier.initial(np.random.RandomState(0), shape, 5)
    images = np.random.default_rng(0).integers(0, 256, (3, *shape)).astype(np.uint8)
    out, logits = jax.jit(classifier.network)(params, images)
    assert out.shape == (3, 64) and logits.shape == (3, 5) and np.isfinite(out).all()
    alone, _ = jax.jit(classifier.network)(params, images[:1])
    np.testing.assert_allclose(alone, out[:1], rtol=1e-4, atol=1e-5)


def test_sets_that_do_not_make_a_classifier(tmp_path, monkeypatch):
    source = bars()
    for bad in (source._replace(labels=None), source._replace(labels=np.ones((400, 4), np.float32)), source._replace(classes=1)):
        with pytest.raises(UserError, match="bars: a classifier needs class labels"):
            features.classifier(bad)
    with pytest.raises(UserError, match="bars: 100 images of 16x16"):
        features.classifier(bars(100))
    with pytest.raises(UserError, match="bars: 400 images of 4x4"):
        features.classifier(bars(size=4))
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("JAXGAN_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr(classifier, "LEAST_SEEN", 128)
    monkeypatch.setattr(classifier, "EPOCHS", 0)
    with pytest.raises(UserError, match="cannot be written .*set JAXGAN_CACHE"):
        features.classifier(source, show=False)
