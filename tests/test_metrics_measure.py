"""One pass over generated images: which of them count, what is kept of the real ones, and what is said of few."""

import os
import re
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from experiments import evaluate
from jaxgan import label_vectors
from jaxgan.data import open_source
from jaxgan.data.source import shuffled
from jaxgan.errors import UserError
from jaxgan.metrics import cache, extraction, features, frechet, measure, memorization, protocols, sliced
from jaxgan.metrics.contract import Estimate
from tests.test_label_vectors import source


@pytest.fixture
def digits(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXGAN_CACHE", str(tmp_path / "cache"))
    return open_source("digits", size=(8, 8))


def batches(images):
    return iter([images[:100], images[100:]])


def test_real_statistics_are_taken_again_where_the_file_is_damaged_and_without_a_place_for_it(digits, tmp_path, monkeypatch):
    e = features.pixels(digits.shape)
    rows = extraction.reals(digits, e, 50, False, rows=True)
    (kept,) = (cache.cache_directory() / "reals").iterdir()
    whole = kept.read_bytes()
    for damaged in (b"", whole[:-9], whole[:300] + bytes([whole[300] ^ 1]) + whole[301:]):
        kept.write_bytes(damaged)
        np.testing.assert_array_equal(extraction.reals(digits, e, 50, False, rows=True), rows)
        assert kept.read_bytes()[:2] == b"PK" and list(kept.parent.iterdir()) == [kept]
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("JAXGAN_CACHE", str(tmp_path / "file"))
    moments = extraction.reals(digits, e, 0, False, rows=False)
    assert moments.n == digits.n and frechet.frechet(moments, moments) < 1e-6


def test_two_processes_write_files_of_their_own(digits, monkeypatch):
    """The second one's file is complete before the first one's: neither is in the other's way."""
    e, savez, seen = features.pixels(digits.shape), np.savez, []

    def both(path, **arrays):
        seen.append(path)
        savez(path, **arrays)
        if len(seen) == 1:
            monkeypatch.setattr(os, "getpid", lambda: -1)
            extraction.reals(digits, e, 30, False, rows=True)

    monkeypatch.setattr(np, "savez", both)
    rows = extraction.reals(digits, e, 30, False, rows=True)
    assert len(set(seen)) == 2
    np.testing.assert_array_equal(extraction.reals(digits, e, 30, False, rows=True), rows)


def test_a_shuffled_set_has_statistics_of_its_own(digits):
    mixed = shuffled(digits, 3)
    assert mixed.fingerprint not in (digits.fingerprint, shuffled(digits, 4).fingerprint)
    e = features.pixels(digits.shape)
    extraction.reals(digits, e, 0, False, rows=True)
    rows = extraction.reals(mixed, e, 0, False, rows=True)[:5]
    np.testing.assert_allclose(rows * 255, mixed.read(np.arange(5)).reshape(5, -1), atol=1e-3)


def test_kid_of_few_images_has_smaller_subsets_and_says_so(digits):
    few = digits._replace(n=400, labels=digits.labels[:400], fingerprint="few")
    meter = measure.Meter(*measure.ready(["random10k"], few))
    protocol = meter.protocols["random10k"]._replace(metric="kid", fakes=500, options={"subsets": 3})
    meter = meter._replace(protocols={"kid": protocol})
    images = digits.read(np.arange(1000, 1500))
    (found,) = measure.measure(meter, batches(images))
    assert found.values[""].error > 0 and found.notes[-1].startswith("kid in subsets of 200")
    (found,) = measure.measure(meter, batches(images), limit=300)
    assert found.fakes == 300 and "of 300 images: not comparable" in found.notes[-2] and "in subsets of 150" in found.notes[-1]
    with pytest.raises(UserError, match="fake features: 1 images are too few: KID with subsets of 2"):
        measure.measure(meter, batches(images), limit=1)


def test_subsets_of_kid_are_of_at_most_half_of_the_images():
    for n, wanted in ((1500, 750), (1999, 999), (2000, 1000)):
        assert measure._fitted(protocols.PROTOCOLS["kid50k"], 0, n).options.get("size", 1000) == wanted


def test_recall_is_of_as_many_generated_images_as_real_ones(digits):
    for name, wanted in (("pr10k", 1797), ("fd10k", 10_000)):
        assert measure._fitted(protocols.PROTOCOLS[name], 0, digits.n).fakes == wanted
    assert measure._fitted(protocols.PROTOCOLS["pr10k"], 0, 20_000).fakes == 10_000
    assert measure._fitted(protocols.PROTOCOLS["pr10k"], 500, digits.n).fakes == 500


@pytest.mark.parametrize("name", protocols.of("images"))
def test_a_better_generator_has_the_lower_score(name):
    """Whichever way the metric goes, and whatever else it says."""
    high = {"is": "", "manifold": "coverage", "gan_train": ""}
    low = {"fid": "", "kid": "", "swd": "", "modes": "kl", "intra_fid": ""}
    metric = protocols.PROTOCOLS[name].metric

    def score(value, other):
        more = {
            "manifold": ("precision", "recall", "density", "coverage"),
            "modes": ("count", "kl"),
            "intra_fid": ("", "largest"),
        }
        names = more.get(metric, ("",))
        telling = {**high, **low}.get(metric)
        values = {n: Estimate(value if n == telling else other, 0.0) for n in names}
        return measure.score([measure.Result(name, values, 1, 1)], protocols.PROTOCOLS)

    if metric in ("authenticity", "accuracy"):  # of which noise has most, and one image of each class
        assert score(0.5, 0.5) is None
        after = measure.Result("fd2k", {"": Estimate(3.0, 0.0)}, 1, 1)
        first = measure.Result(name, {"": Estimate(0.5, 0.0)}, 1, 1)
        assert measure.score([first, after], protocols.PROTOCOLS) == 3.0
        chosen = {n: protocols.PROTOCOLS[n] for n in (name, "fd2k", "kd10k")}
        assert measure.scored_by(chosen) == "fd2k" and measure.scored_by({name: chosen[name]}) == ""
    elif metric in high:
        assert score(9.0, 1.0) < score(2.0, 100.0)
    else:
        assert score(2.0, 100.0) < score(9.0, 1.0)


def test_what_is_measured_where_nothing_is_asked_for():
    shape = lambda c: SimpleNamespace(shape=(28, 28, c), classes=3, labels=np.zeros(4, np.int32))
    default_metrics = evaluate.default_metrics
    assert default_metrics(shape(1)) == ("fd10k", "pr10k", "swd10k")
    assert default_metrics(SimpleNamespace(shape=(8, 8, 3), classes=0, labels=None)) == ("random10k", "swd10k")
    assert default_metrics(shape(4)) == ("swd10k",)  # no features are of images with alpha


def test_of_many_images_those_measured_are_no_class_of_their_own(digits, tmp_path):
    order = np.argsort(digits.labels, kind="stable")
    np.savez(tmp_path / "sorted.npz", images=digits.read(order), labels=digits.labels[order])
    args = evaluate.Arguments(str(tmp_path / "sorted.npz"), against="digits", n=200)
    pieces, labels, limit, _ = evaluate.generated(args, None, digits, 200, lambda *_: None)
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


def test_mirrored_statistics_are_of_both_and_kept_apart(digits):
    e, n = features.pixels(digits.shape), digits.n
    plain = extraction.reals(digits, e, 0, False, rows=True)
    both = extraction.reals(digits, e, 0, True, rows=True).reshape(-1, *digits.shape)
    assert len(plain) == n and len(both) == 2 * n
    x = plain.reshape(-1, *digits.shape)
    lines = lambda a: set(map(bytes, a))
    assert lines(both) == lines(x) | lines(np.ascontiguousarray(x[:, :, ::-1])) > lines(x)  # left and right exchanged
    moments = extraction.reals(digits, e, 0, True, rows=False)
    assert moments.n == 2 * n
    np.testing.assert_allclose(moments.mean, both.reshape(2 * n, -1).mean(0), atol=1e-6)


def test_a_part_of_the_real_images_is_drawn_from_all_of_them(digits):
    """A set may be sorted by class: the first ones are no sample of it."""
    e = features.pixels(digits.shape)
    part = extraction.reals(digits, e, 300, False, rows=True)
    everything = {bytes(row): i for i, row in enumerate(extraction.reals(digits, e, 0, False, rows=True))}
    taken = np.array([everything[bytes(row)] for row in part])
    assert len(set(taken)) > 290 and abs(taken.mean() / digits.n - 0.5) < 4.5 / np.sqrt(12 * 300)


def one_metric(source, name, **changes):
    """A meter of one protocol on pixels."""
    protocol = protocols.PROTOCOLS[name]._replace(features="pixels", **changes)
    return measure.Meter({name: protocol}, {"pixels": features.pixels(source.shape)}, source)


def test_covariances_are_divided_as_the_code_that_a_protocol_is_named_for_does(digits):
    """NVIDIA's by n, the others' by n - 1."""
    few = digits._replace(n=40, labels=digits.labels[:40], fingerprint="few")
    images = digits.read(np.arange(100, 130))
    pixels = [x.reshape(len(x), -1) / 255.0 for x in (few.read(np.arange(40)), images)]
    for name, ddof in (("fid50k_full", 0), ("fid10k", 0), ("fid_folder", 1), ("fid_pytorch", 1), ("fd10k", 1)):
        (found,) = measure.measure(one_metric(few, name, fakes=30), iter([images]))
        want = frechet.frechet(*map(frechet.moments_of, pixels), ddof=ddof)
        assert found.values[""].value == pytest.approx(want, rel=1e-4), name
    assert protocols.PROTOCOLS["fid50k_mirror"] == protocols.PROTOCOLS["fid50k_full"]._replace(
        mirror=True, about=protocols.PROTOCOLS["fid50k_mirror"].about
    )


def test_the_sliced_distance_is_in_grey_levels_as_that_of_the_log(digits):
    few = digits._replace(n=110, labels=digits.labels[:110], fingerprint="few")
    real, fake = few.read(np.arange(110)), digits.read(np.arange(200, 310))
    (found,) = measure.measure(one_metric(few, "swd2k", fakes=110), iter([fake]))
    value, error = found.values[""]
    assert value == pytest.approx(sliced.sliced_wasserstein(real, fake), rel=1e-4)
    assert found.extractor == f"pixels-8x8x1 {features.pixels(few.shape).hash}"
    assert error == pytest.approx(sliced.sliced(*(x.reshape(110, -1) for x in (real, fake))).error, rel=1e-4)


def test_few_real_images_are_warned_of_as_few_generated_ones_are(digits):
    few = digits._replace(n=40, labels=digits.labels[:40], fingerprint="few")
    for data, fakes, says in ((few, 200, "from 40 real images with 64"), (digits, 30, "of 30 images with 64"), (digits, 200, "")):
        (found,) = measure.measure(one_metric(data, "fd10k", fakes=fakes), iter([digits.read(np.arange(fakes))]))
        assert found.notes[-1].startswith(f"Frechet distance {says}") if says else not found.notes
    few, other = digits._replace(n=200, labels=digits.labels[:200], fingerprint="200"), np.arange(200, 1200)
    meter, images = one_metric(few, "ifd10k", fakes=1000), digits.read(other)
    (found,) = measure.measure(meter, iter([images]), labels=digits.labels[other])
    rarest = np.bincount(few.labels).min()
    assert found.notes[-1].startswith(f"of the rarest class: Frechet distance from {rarest} real images with 64")


def test_a_distance_of_many_images_has_an_error_and_one_of_few_has_none(digits):
    large = open_source("digits", size=(16, 16))
    for data, n in ((digits, 200), (large, 200)):  # 64 and 256 features
        images = data.read(np.arange(n))
        (found,) = measure.measure(one_metric(data, "fd10k", fakes=n), iter([images]))
        fake = frechet.moments_of(images.reshape(n, -1) / 255.0)
        real = frechet.moments_of(data.read(np.arange(data.n)).reshape(data.n, -1) / 255.0)
        assert found.values[""].value == pytest.approx(frechet.frechet(real, fake), rel=1e-4)  # as it is, bias and all
        assert np.isfinite(found.values[""].error) == np.isfinite(found.corrected) == (data is digits)
        written = measure.as_json(found, protocols.PROTOCOLS["fd10k"])
        assert written.get("corrected", 0) == (found.corrected if data is digits else 0)
        assert data is large or found.corrected < 0.9 * found.values[""].value  # of real images: nearly all of it is bias


def test_several_names_may_be_one_word():
    assert [*protocols.named(("fid,kid", "pr10k", "swd, fd"))] == ["fid50k_full", "kid50k", "pr10k", "swd10k", "fd10k"]
    with pytest.raises(UserError, match="there is no metric 'fdd10k'; the nearest is fd10k; python -m .* lists them"):
        protocols.named(("fid,fdd10k",))


def test_real_images_go_through_a_network_once_for_all_metrics_of_it(digits):
    """Also where a Frechet distance, which needs their moments alone, is asked for first; 10,000 of 1,797 are all."""
    made, seen = {name: protocols.PROTOCOLS[name] for name in ("random10k", "kid50k", "pr50k3", "fid10k")}, []
    made = {name: p._replace(features="pixels", fakes=110) for name, p in made.items()}
    meter = measure.Meter(made, {"pixels": features.pixels(digits.shape)}, digits)
    of_digits = meter._replace(source=digits._replace(read=lambda index: seen.append(len(index)) or digits.read(index)))
    images = digits.read(np.arange(110))
    results = measure.measure(of_digits, iter([images]))
    assert [r.name for r in results] == list(made) and sum(seen) == digits.n
    rows = images.reshape(110, -1) / 255.0, digits.read(np.arange(digits.n)).reshape(digits.n, -1) / 255.0
    assert results[0].values[""].value == pytest.approx(frechet.frechet(*map(frechet.moments_of, rows)), rel=1e-4)


NAMED = "fd_dinov2", "ppl2_wend", "ppl2_zend"  # as they are published, of 50,000


def test_a_protocols_name_says_how_many_images():
    for name, p in protocols.PROTOCOLS.items():
        said = re.search(r"(\d+)k", name)
        assert p.fakes == (1000 * int(said[1]) if said else 50_000 if name in NAMED else 0), name
        assert p.reals == (p.fakes if p.metric in ("manifold", "swd") else 0) and p.mirror == ("mirror" in name), name
    assert set(protocols.SHORT.values()) < set(protocols.PROTOCOLS)


def test_modes_are_compared_with_the_classes_of_the_data():
    labels = np.repeat(np.int32([0, 2]), (72, 24))
    seen = extraction.Rows(np.zeros((8, 1)), np.eye(3)[[0, 0, 0, 0, 0, 0, 2, 2]])
    found = measure.METRICS["modes"](None, SimpleNamespace(classes=3), source(labels, 3), seen, None)
    assert found.values["count"].value == 2 and abs(found.values["kl"].value) < 1e-12
    assert found.notes == (f"as many draws of the data: {2 - 0.75**8 - 0.25**8:.5g} classes and a KL of 0.062",)
    even = source(np.repeat(np.int32([0, 1, 2]), 32), 3)
    assert measure.METRICS["modes"](None, SimpleNamespace(classes=3), even, seen, None).values["kl"].value > 0.3


def test_the_picture_of_authenticity_shows_the_likest_first(digits):
    few = digits._replace(n=500, labels=digits.labels[:500], fingerprint="few")
    images = digits.read(np.arange(600, 640))
    images[[7, 31]] = digits.read(np.array([3, 4]))  # two copies
    (found,) = measure.measure(one_metric(few, "auth10k", fakes=40), iter([images[:20], images[20:]]))
    assert found.pictures.shape == (16, 6, *digits.shape)
    np.testing.assert_array_equal(found.pictures[:2, 0], images[[7, 31]])
    np.testing.assert_array_equal(found.pictures[:2, 1], found.pictures[:2, 0])
    assert (found.pictures[2:, 1] != found.pictures[2:, 0]).any((1, 2, 3)).all()
    of = memorization.authenticity(few.read(np.arange(500)).reshape(500, -1) / 255, images.reshape(40, -1) / 255)
    assert (found.values[""].value, found.values["fresh"].value) == (of.share.value, of.fresh.value)


@pytest.mark.parametrize("images", [np.zeros((3, 8, 8, 1)), np.zeros((8, 8, 1), np.uint8), np.zeros((0, 8, 8, 1), np.uint8)])
def test_what_features_are_taken_of_is_checked_as_it_was_given(images):
    with pytest.raises(ValueError, match=rf"features: images are \w+ \({len(images)}"):
        extraction.extract(features.pixels((8, 8, 1)), images)
