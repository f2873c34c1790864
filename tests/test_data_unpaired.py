"""Two sets of images without pairs: what meets what, what is held out, what is known; what does not fit is named in one line."""

import numpy as np
import pytest
from PIL import Image

from jaxgan.data import of_arrays, open_source, open_unpaired, read_all, shuffled, summary
from jaxgan.data.degrade import degrade, parse
from jaxgan.data.unpaired import halves, stacked
from jaxgan.errors import UserError


def numbered(n, first, channels=1):
    """n images 5x6 that are all different: of one value each."""
    values = np.arange(first, first + n, dtype=np.uint8)
    return of_arrays(values.repeat(5 * 6 * channels).reshape(n, 5, 6, channels))


@pytest.mark.parametrize("sizes, held", [((7, 19), 3), ((19, 7), 0), ((9, 9), 8)])
def test_the_smaller_set_repeats_and_what_is_held_out_does_not(sizes, held):
    a, b = numbered(sizes[0], 10), numbered(sizes[1], 100)
    pairs = stacked(a, b, held, seed=4)
    assert pairs.shape == (5, 6, 2) and pairs.n == pairs.inputs.n == max(sizes)
    laid = shuffled(pairs, 4) if held else pairs  # as a run does
    np.testing.assert_array_equal(read_all(laid), read_all(laid.inputs))
    seen = read_all(laid)[:, 0, 0].astype(int)
    assert (read_all(laid) == seen[:, None, None]).all()
    for side, column, (first, n) in zip("ab", seen.T, ((10, sizes[0]), (100, sizes[1])), strict=True):
        trained, out = np.split(column, [len(column) - held])
        assert set(trained) | set(out) == set(range(first, first + n)), side
        assert not set(trained) & set(out) and len(set(out)) == held
        counts = np.unique(trained, return_counts=True)[1]
        assert counts.max() - counts.min() <= 1  # one image is not seen more often than others
    again = stacked(a, b, held, seed=4)
    assert again.fingerprint == pairs.fingerprint and (read_all(again) == read_all(pairs)).all()
    others = [stacked(a, b, held, 5), stacked(b, a, held, 4), stacked(a, b, held // 2 + (not held), 4)]
    assert pairs.fingerprint not in [other.fingerprint for other in others]
    assert (read_all(others[0]) != read_all(pairs)).any()
    assert f"{sizes[0]} and {sizes[1]} images of 5x6x1, unpaired" == summary(pairs) and pairs.truth is None


def test_who_meets_whom_is_of_the_seed_and_nothing_is_known_of_other_sides():
    a, b = numbered(9, 10), numbered(9, 100)
    met = lambda seed: {tuple(pair) for pair in read_all(stacked(a, b, 0, seed))[:, 0, 0]}
    assert met(4) == met(4) != met(5)
    plain = stacked(a, b)
    assert plain.fingerprint == stacked(a, b, 0, 0).fingerprint and (plain.classes, plain.class_names) == (0, ())
    for known in ((a._replace(inputs=a), b), (a, b._replace(inputs=b))):
        assert stacked(*known).truth is None
    assert stacked(a._replace(inputs=a), b._replace(inputs=b)).truth.n == 9


def test_a_set_and_its_other_style_share_no_image_and_the_truth_is_what_they_would_be():
    source, how = open_source("digits", size=(12, 10)), ("edges", "invert")
    pairs = open_unpaired("digits", degrade=how, hold_out=5, seed=2, size=(12, 10))
    laid = shuffled(pairs, 2)
    (a, b), (of_b, of_a) = (np.split(read_all(one), 2, -1) for one in (laid, laid.truth))
    index = np.zeros(len(a), int)  # these draw nothing
    np.testing.assert_array_equal(of_a, degrade(parse(how), a, index))
    np.testing.assert_array_equal(b, degrade(parse(how), of_b, index))
    images = {image.tobytes() for image in read_all(source)}
    both = [{image.tobytes() for image in side} for side in (a, of_b)]
    assert both[0] | both[1] == images and not both[0] & both[1] and len(both[0]) == len(images) // 2
    assert {side.class_names for side in pairs.sides} == {source.class_names}
    default = [
        open_unpaired("digits", degrade=how, size=(12, 10), **more).fingerprint for more in ({}, {"hold_out": 0, "seed": 0})
    ]
    assert default[0] == default[1] != pairs.fingerprint
    assert pairs.labels is None and [side.n for side in pairs.sides] == [898, 899]
    np.testing.assert_array_equal(read_all(pairs.sides[0].inputs), degrade(parse(how), read_all(pairs.sides[0]), np.zeros(898)))
    np.testing.assert_array_equal(degrade(parse(how), read_all(pairs.sides[1].inputs), np.zeros(899)), read_all(pairs.sides[1]))
    label = dict(zip((image.tobytes() for image in read_all(source)), source.labels, strict=True))
    was = {new.tobytes(): old.tobytes() for new, old in zip(b, of_b, strict=True)}
    assert [label[image.tobytes()] for image in read_all(pairs.sides[0])] == pairs.sides[0].labels.tolist()
    assert [label[was[image.tobytes()]] for image in read_all(pairs.sides[1])] == pairs.sides[1].labels.tolist()
    np.testing.assert_array_equal(np.unique(read_all(pairs.sides[1]), axis=0), np.unique(b, axis=0))
    assert open_unpaired("digits", degrade=("mask",), size=(12, 10)).sides[1].ways == 1
    other = open_unpaired("digits", degrade=("edges",), hold_out=5, seed=2, size=(12, 10))
    assert other.fingerprint != pairs.fingerprint


def test_lost_colour_is_grey_in_as_many_channels():
    rng = np.random.default_rng(0)
    colour = of_arrays(rng.integers(0, 256, (9, 5, 6, 3), np.uint8))
    both = halves(colour, ("grey",), 0)
    assert {one.shape for side in both for one in (side, side.inputs)} == {(5, 6, 3)}
    pairs = stacked(*both)
    a, b = np.split(read_all(pairs), 2, -1)
    assert (b == b[..., :1]).all() and (a != a[..., :1]).any() and a.shape == b.shape


def draw(at, name, n, size, channels=3):
    (at / name).mkdir()
    rng = np.random.default_rng(n)
    for i in range(n):
        x = rng.integers(0, 256, (*size, channels), np.uint8)
        Image.fromarray(x[..., 0] if channels == 1 else x).save(at / name / f"{i}.png")
    return str(at / name)


def test_two_folders_of_any_kind_and_what_does_not_fit(tmp_path):
    a, b = draw(tmp_path, "a", 4, (6, 5)), draw(tmp_path, "b", 3, (6, 5))
    grey, large = draw(tmp_path, "grey", 2, (6, 5), 1), draw(tmp_path, "large", 3, (8, 5))
    assert open_unpaired(a, target=b).shape == (6, 5, 6)
    assert open_unpaired(a, target=grey, channels=1).shape == (6, 5, 2)
    mixed = open_unpaired(large, target="digits", size=(6, 6), channels=1)
    assert mixed.n == 1797 and mixed.notes == (f"{large}: scaled from 8x5, up to 38% of an image cut off",)
    for target, options, says in (
        ("", {}, "--target is empty; give the images to translate to"),
        ("", {"degrade": ("edge",)}, "the nearest is edges"),
        (a, {}, "a: it holds the same images as"),
        (grey, {}, "a has 3 channels, .*grey 1; pass --channels 3"),
        (large, {}, r"a has 6x5 pixels \(height x width\), .*large 8x5; pass --size"),
        (b, {"hold_out": 3}, "--hold-out 3: .*b has 3 images; leave some"),
        (str(tmp_path / "none.zip"), {}, "none.zip"),
    ):
        with pytest.raises(UserError, match=says) as error:
            open_unpaired(a, target=target, **options)
        assert "\n" not in str(error.value)
    (tmp_path / "both" / "trainA").mkdir(parents=True)
    with pytest.raises(UserError, match="both holds both sets; give --data .*both/trainA --target .*both/trainB"):
        open_unpaired(str(tmp_path / "both"), degrade=("lowres",))
    (tmp_path / "b" / "1.png").write_bytes(b"nothing")
    with pytest.raises(UserError, match="1.png is broken"):
        open_unpaired(a, target=b)
    left = open_unpaired(a, target=b, skip_broken=True)
    assert left.skipped == ("1.png",) and left.sides[1].n == 2 and "1 broken left out: 1.png" in summary(left)
