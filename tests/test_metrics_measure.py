"""One pass over generated images: which of them count, what is kept of the real ones, and what is said of few."""

import os

import numpy as np
import pytest
from PIL import Image

from experiments import evaluate
from jaxgan import label_vectors
from jaxgan.data import open_source
from jaxgan.data.source import shuffled
from jaxgan.metrics import cache, features, frechet, measure
from tests.test_label_vectors import source


@pytest.fixture
def digits(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXGAN_CACHE", str(tmp_path / "cache"))
    return open_source("digits", size=(8, 8))


def batches(images):
    return iter([images[:100], images[100:]])


def test_real_statistics_are_taken_again_where_the_file_is_damaged_and_without_a_place_for_it(digits, tmp_path, monkeypatch):
    e = features.pixels(digits.shape)
    rows = measure.reals(digits, e, 50, False, rows=True)
    (kept,) = (cache.cache_directory() / "reals").iterdir()
    whole = kept.read_bytes()
    for damaged in (b"", whole[:-9], whole[:300] + bytes([whole[300] ^ 1]) + whole[301:]):
        kept.write_bytes(damaged)
        np.testing.assert_array_equal(measure.reals(digits, e, 50, False, rows=True), rows)
        assert kept.read_bytes()[:2] == b"PK" and list(kept.parent.iterdir()) == [kept]
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("JAXGAN_CACHE", str(tmp_path / "file"))
    moments = measure.reals(digits, e, 0, False, rows=False)
    assert moments.n == digits.n and frechet.frechet(moments, moments) < 1e-6


def test_two_processes_write_files_of_their_own(digits, monkeypatch):
    """The second one's file is complete before the first one's: neither is in the other's way."""
    e, savez, seen = features.pixels(digits.shape), np.savez, []

    def both(path, **arrays):
        seen.append(path)
        savez(path, **arrays)
        if len(seen) == 1:
            monkeypatch.setattr(os, "getpid", lambda: -1)
            measure.reals(digits, e, 30, False, rows=True)

    monkeypatch.setattr(np, "savez", both)
    rows = measure.reals(digits, e, 30, False, rows=True)
    assert len(set(seen)) == 2
    np.testing.assert_array_equal(measure.reals(digits, e, 30, False, rows=True), rows)


def test_a_shuffled_set_has_statistics_of_its_own(digits):
    mixed = shuffled(digits, 3)
    assert mixed.fingerprint not in (digits.fingerprint, shuffled(digits, 4).fingerprint)
    e = features.pixels(digits.shape)
    measure.reals(digits, e, 0, False, rows=True)
    rows = measure.reals(mixed, e, 0, False, rows=True)[:5]
    np.testing.assert_allclose(rows * 255, mixed.read(np.arange(5)).reshape(5, -1), atol=1e-3)


def test_kid_of_few_images_has_smaller_subsets_and_says_so(digits):
    few = digits._replace(n=400, labels=digits.labels[:400], fingerprint="few")
    meter = measure.Meter(*measure.ready(["random10k"], few))
    protocol = meter.protocols["random10k"]._replace(metric="kid", fakes=500, options={})
    meter = meter._replace(protocols={"kid": protocol})
    images = digits.read(np.arange(1000, 1500))
    (found,) = measure.measure(meter, batches(images))
    assert np.isfinite(found.values[""].value) and found.notes[-1].startswith("kid in subsets of 400")
    (found,) = measure.measure(meter, batches(images), limit=300)
    assert found.fakes == 300 and any("of 300 images: not comparable" in note for note in found.notes)


def test_of_many_images_those_measured_are_no_class_of_their_own(digits, tmp_path):
    order = np.argsort(digits.labels, kind="stable")
    np.savez(tmp_path / "sorted.npz", images=digits.read(order), labels=digits.labels[order])
    args = evaluate.Arguments(str(tmp_path / "sorted.npz"), against="digits", n=200)
    pieces, limit, _ = evaluate.generated(args, None, digits, 200, lambda *_: None)
    taken = np.concatenate(list(pieces))
    assert limit == 200 and len(taken) == digits.n and set(map(bytes, taken)) == set(map(bytes, digits.read(order)))
    classes = {bytes(image): label for image, label in zip(digits.read(order), digits.labels[order], strict=True)}
    assert len({classes[bytes(image)] for image in taken[:200]}) == 10


def test_generated_classes_are_as_frequent_as_the_datas():
    labels = np.repeat(np.int32([0, 2]), (72, 24))
    drawn = label_vectors.to_measure(source(labels, 3), 3, 0, 4000)
    assert abs((drawn == 0).mean() - 0.75) < 0.03 and not (drawn == 1).any()
    np.testing.assert_array_equal(label_vectors.to_measure(source(labels, 3), 3, 0, 50), drawn[:50])
    for data, classes in ((source(labels, 3), 0), (source(labels, 3), 4), (source(None, 0), 3)):
        assert label_vectors.to_measure(data, classes, 0, 5) is None


def test_data_that_changed_since_the_run_is_noticed(digits):
    for held, seen in ((0, digits), (5, shuffled(digits, 3))):
        config = {"settings": {"seed": 3, "hold_out": held}, "data": {"fingerprint": seen.fingerprint}}
        assert not evaluate.changed(config, digits)
        assert evaluate.changed(config, digits._replace(fingerprint="another"))


def test_another_set_is_made_alike_as_the_runs(tmp_path):
    for i in range(3):
        clear = np.full((6, 6, 4), 40 * i, np.uint8)
        clear[..., 3] = 0
        (tmp_path / "set").mkdir(exist_ok=True)
        Image.fromarray(clear).save(tmp_path / "set" / f"{i}.png")
    run = {"data": "digits", "data_dir": "nowhere", "split": "test", "background": "black", "skip_broken": True}
    config = {"settings": run, "data": {"shape": [6, 6, 3]}}
    reals = evaluate.real_images(evaluate.Arguments("run", against=str(tmp_path / "set")), config, None)
    assert not reals.read(np.arange(3)).any()
