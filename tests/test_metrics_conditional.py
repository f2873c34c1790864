"""How well images show the classes that they were made for: closed forms, and labels that lie."""

import numpy as np
import pytest
from PIL import Image

from experiments import evaluate
from jaxgan.data import of_arrays
from jaxgan.errors import UserError
from jaxgan.metrics import classifier, conditional, features, frechet, measure, protocols
from tests.test_metrics_classifier import bars


def test_accuracy_is_the_share_that_is_seen_as_asked():
    asked = np.int32([0] * 50 + [1] * 40 + [3] * 10)  # none of class 2
    seen = np.int32([0] * 45 + [2] * 5 + [1] * 20 + [0] * 20 + [3] * 9 + [1])
    found = conditional.accuracy(seen, asked, 4)
    assert found.value == (0.74, pytest.approx(np.sqrt(0.74 * 0.26 / 100)))
    assert (found.which, found.worst) == (1, (0.5, pytest.approx(np.sqrt(0.25 / 40))))


def test_intra_class_distance_of_one_feature_in_closed_form():
    """Gaussians of one number: (difference of means)^2 + (difference of standard deviations)^2."""
    rng = np.random.default_rng(0)
    real_labels, fake_labels = rng.integers(0, 3, 900), rng.permutation(np.repeat([0, 1, 2], (30, 400, 500)))
    real, fake = rng.normal(real_labels, 1.0), rng.normal(fake_labels * 2.0, 1.0 + fake_labels)
    for ddof in (0, 1):
        want = []
        for k in range(3):
            a, b = real[real_labels == k], fake[fake_labels == k]
            want.append((a.mean() - b.mean()) ** 2 + (a.std(ddof=ddof) - b.std(ddof=ddof)) ** 2)
        found = conditional.intra_frechet(real[:, None], real_labels, fake[:, None], fake_labels, 3, ddof=ddof)
        assert found.value.value == pytest.approx(np.mean(want), rel=1e-5)
        assert (found.which, found.worst.value) == (2, pytest.approx(want[2], rel=1e-5))
        assert np.isnan(found.value.error) and np.isfinite(found.worst.error)  # 30 images of class 0 have no error


def test_the_error_of_a_mean_over_classes_is_that_of_independent_ones():
    rng = np.random.default_rng(1)
    labels, rows = np.arange(600) % 2, rng.normal(size=(600, 2))
    found = conditional.intra_frechet(rows, labels, rows[::-1], labels[::-1], 2)
    each = [frechet.estimate(frechet.moments_of(rows[labels == k]), rows[::-1][labels[::-1] == k]).error for k in (0, 1)]
    assert found.value.error == pytest.approx(np.hypot(*each) / 2) and min(each) > 0


def test_classes_that_are_exchanged_are_seen_class_by_class_alone():
    rng = np.random.default_rng(2)
    labels = np.arange(400) % 2
    rows = rng.normal(size=(400, 1)) + 10 * labels[:, None]
    assert conditional.intra_frechet(rows, labels, rows, labels, 2).value.value < 1e-9
    assert conditional.intra_frechet(rows, labels, rows, 1 - labels, 2).value.value == pytest.approx(100, rel=0.1)


@pytest.fixture
def short(monkeypatch, tmp_path):
    monkeypatch.setattr(classifier, "LEAST_SEEN", 2000)
    monkeypatch.setenv("JAXGAN_CACHE", str(tmp_path / "cache"))


def test_a_classifier_of_images_that_show_another_class_is_wrong_on_real_ones(short):
    source, made, seen = bars(), bars(n=300, seed=5), []
    images, labels = made.read(np.arange(300)), (made.labels + 1) % 4
    found = conditional.gan_train(images, labels, source, progress=lambda *at: seen.append(at))
    assert found.value < 0.05 and found.error == pytest.approx(np.sqrt(found.value * (1 - found.value) / 400))
    assert seen[0] == (0, 2048)


def test_one_pass_measures_them_for_the_labels_that_the_images_were_made_for(short):
    source, made = bars(), bars(n=260, seed=5)
    images = made.read(np.arange(260))
    chosen = {name: protocols.PROTOCOLS[name]._replace(fakes=250) for name in ("acc10k", "ifd10k", "cas10k", "fd10k")}
    meter = measure.Meter(chosen, {"classifier": features.classifier(source, show=False)}, source)
    labels = np.where((made.labels == 2) & (np.arange(260) % 8 < 4), 3, made.labels)  # a third of what was to be a 3 shows a 2
    acc, ifd, cas, fd = measure.measure(meter, iter([images[:100], images[100:]]), labels=labels)
    assert acc.values[""].value == pytest.approx(7 / 8, abs=0.03) and acc.values["lowest"].value == pytest.approx(2 / 3, abs=0.03)
    assert acc.fakes == 250 and "label accuracy is lowest for class 3" in acc.notes
    assert "the intra-class distance is largest for class 3" in ifd.notes
    assert any(note.startswith("of the rarest class: Frechet distance of 31 images with 64 features") for note in ifd.notes)
    assert measure.score([acc, fd], chosen) == fd.values[""].value  # accuracy is no quality
    assert measure.score([cas], chosen) == -cas.values[""].value and cas.values[""].value > 0.7
    assert measure.score([ifd], chosen) == ifd.values[""].value
    with pytest.raises(UserError, match="acc10k is of images that were made for the classes .* and what is measured has none"):
        measure.measure(meter, iter([images]))


def test_labels_that_are_none_of_the_classes():
    for labels, says in (
        ([0, 1], "3 predictions for 2 labels"),
        ([0, 1, 2], "labels: from 0 to 2"),
        ([0.0, 1.0, 1.0], "integers"),
    ):
        with pytest.raises(ValueError, match=says):
            conditional.accuracy([0, 1, 1], labels, 2)
    with pytest.raises(ValueError, match="gan_train: 5 images and 4 labels"):
        conditional.gan_train(np.zeros((5, 16, 16, 1), np.uint8), [0, 1, 2, 3], bars())
    with pytest.raises(UserError, match="4 generated images cannot train a classifier; give 200"):
        conditional.gan_train(np.zeros((4, 16, 16, 1), np.uint8), [0, 1, 2, 3], bars())
    with pytest.raises(UserError, match="1 generated images of class 1; it needs at least 2 of each"):
        conditional.intra_frechet(np.eye(8), np.arange(8) % 2, np.eye(8), np.arange(8) // 7, 2)
    with pytest.raises(ValueError, match="real: 8 rows and 3 labels"):
        conditional.intra_frechet(np.eye(8), [0, 1, 1], np.eye(8), np.arange(8) % 2, 2)


def test_a_folder_has_the_classes_of_the_real_images_by_their_names(tmp_path):
    """Also where some are missing, which moves the numbers of the others."""
    for kind, grey in (("b", 10), ("c", 20)):
        (tmp_path / "fakes" / kind).mkdir(parents=True)
        for i in range(3):
            Image.new("L", (8, 8), grey + i).save(tmp_path / "fakes" / kind / f"{i}.png")
    source = of_arrays(np.zeros((8, 8, 8, 1), np.uint8), np.arange(8) % 3)
    args = evaluate.Arguments(str(tmp_path / "fakes"))
    for names, want in ((("a", "b", "c"), {10: 1, 20: 2}), (("a", "b", "d"), None)):
        pieces, labels, *_ = evaluate.generated(args, None, source._replace(class_names=names), 0, None)
        if want is None:
            assert labels is None
        else:
            assert labels.tolist() == [want[int(x[0, 0, 0]) // 10 * 10] for x in np.concatenate(list(pieces))]
