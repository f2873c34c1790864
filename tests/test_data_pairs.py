"""Pairs of images: folders, halves, damage; what does not fit is named in one line."""

import threading

import numpy as np
import pytest
from PIL import Image

import jaxgan.data.pairs
from jaxgan.data import Source, open_pairs, open_source, read_all, shuffled, summary
from jaxgan.data.degrade import KINDS, degrade, degraded, holes, parse
from jaxgan.data.loose import open_loose
from jaxgan.data.source import fingerprint
from jaxgan.errors import UserError
from tests.test_data_images import WIDE, icc


def draw(path, height, width, channels=3, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    x = np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)
    Image.fromarray(x[..., 0] if channels == 1 else x).save(path)
    return x


@pytest.fixture
def folders(tmp_path):
    """Three pairs 6x4; the suffixes differ, and so would the order of the full names."""
    a = [draw(tmp_path / "a" / f"{name}.png", 6, 4, 1, i) for i, name in enumerate(("x", "x-1", "z"))]
    b = [draw(tmp_path / "b" / f"{name}", 6, 4, 3, 10 + i) for i, name in enumerate(("x.bmp", "x-1.png", "z.png"))]
    return tmp_path, np.stack(a), np.stack(b)


def test_two_folders_are_paired_by_name(folders):
    at, a, b = folders
    pairs = open_pairs(str(at / "a"), target=str(at / "b"))
    assert pairs.shape == (6, 4, 3) and pairs.inputs.shape == (6, 4, 1) and pairs.n == pairs.inputs.n == 3
    order = [int(np.flatnonzero((x == a).all((1, 2, 3)))[0]) for x in read_all(pairs.inputs)]
    assert sorted(order) == [0, 1, 2]
    np.testing.assert_array_equal(read_all(pairs), b[order])
    mixed = shuffled(pairs, 3)
    again = [int(np.flatnonzero((x == a).all((1, 2, 3)))[0]) for x in read_all(mixed.inputs)]
    np.testing.assert_array_equal(read_all(mixed), b[again])
    other = open_pairs(str(at / "b"), target=str(at / "a"), source_channels=1, channels=3)
    assert other.shape == (6, 4, 3) and other.inputs.shape == (6, 4, 1) and other.fingerprint != pairs.fingerprint
    sized = [open_pairs(str(at / "a"), target=str(at / "b"), size=size) for size in ((3, 2), [3, 2])]  # a list: of config.json
    assert sized[0].shape == (3, 2, 3) and sized[0].fingerprint == sized[1].fingerprint


def test_partners_are_compared_by_threads_that_say_how_far_they_are(folders, monkeypatch):
    at, seen, threads, compare = folders[0], [], set(), jaxgan.data.pairs._check_sizes
    noted = lambda *given: (threads.add(threading.current_thread()), compare(*given))
    monkeypatch.setattr(jaxgan.data.pairs, "_check_sizes", noted)
    open_pairs(str(at / "a"), target=str(at / "b"), progress=lambda *done: seen.append(done))
    assert threads and threading.main_thread() not in threads
    assert seen == [(3, 3)] * 3  # both sides, then each


def test_a_broken_image_takes_its_partner_along(folders):
    at, a, b = folders
    (at / "b" / "x-1.png").write_bytes(b"nothing")
    with pytest.raises(UserError, match="x-1.png is broken"):
        open_pairs(str(at / "a"), target=str(at / "b"))
    pairs = open_pairs(str(at / "a"), target=str(at / "b"), skip_broken=True)
    assert pairs.skipped == ("x-1.png",)
    np.testing.assert_array_equal(read_all(pairs), b[[0, 2]])
    np.testing.assert_array_equal(read_all(pairs.inputs), a[[0, 2]])


def test_halves_side_by_side(tmp_path):
    whole = [draw(tmp_path / f"{i}.png", 4, 12, 3, i) for i in range(3)]
    turned = Image.fromarray(whole[1].transpose(1, 0, 2)[::-1])  # a photo taken upright, to be turned clockwise
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(tmp_path / "1.png", exif=exif)
    whole = np.stack(whole)
    for side, given, made in (("left", whole[:, :, :6], whole[:, :, 6:]), ("right", whole[:, :, 6:], whole[:, :, :6])):
        pairs = open_pairs(str(tmp_path), side_by_side=side)
        np.testing.assert_array_equal(read_all(pairs), made)
        np.testing.assert_array_equal(read_all(pairs.inputs), given)
    small = open_pairs(str(tmp_path), side_by_side="left", size=(4, 4), source_channels=1)
    assert small.shape == (4, 4, 3) and small.inputs.shape == (4, 4, 1)
    np.testing.assert_array_equal(read_all(small), whole[:, :, 7:11])  # the middle of its own half
    draw(tmp_path / "odd.png", 4, 13)
    with pytest.raises(UserError, match=r"odd.png: is 13 pixels wide"):
        open_pairs(str(tmp_path), side_by_side="left", size=(4, 4))


def test_halves_are_read_as_whole_images_are(tmp_path):
    """32 bits have no white level there either; colours are brought to sRGB."""
    for name in "ab":
        Image.fromarray(np.full((4, 8), 500, np.int32)).save(tmp_path / f"{name}.tif")
    with pytest.raises(UserError, match="a.tif: its pixels have 32 bits"):
        open_pairs(str(tmp_path), side_by_side="left")
    for name in ("ab/a", "ab/b", "a/a", "a/b"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        x = np.full((4, 8 if name[1] == "b" else 4, 3), (60, 120, 90), np.uint8)
        Image.fromarray(x).save(tmp_path / f"{name}.png", icc_profile=icc(WIDE))
    pairs, whole = open_pairs(str(tmp_path / "ab"), side_by_side="left"), open_source(str(tmp_path / "a"))
    assert (read_all(whole) != (60, 120, 90)).any()
    np.testing.assert_array_equal(read_all(pairs), read_all(whole))
    np.testing.assert_array_equal(read_all(pairs.inputs), read_all(whole))
    assert summary(whole).endswith("no labels; by colour profiles brought to sRGB")


def test_what_is_done_to_pairs_is_told(folders):
    at, a, _ = folders
    for name, x in zip(("x", "x-1", "z"), a, strict=True):
        Image.fromarray(x[..., 0].astype(np.uint16) * 257).save(at / "a" / f"{name}.png")
    line = summary(open_pairs(str(at / "a"), target=str(at / "b"), size=(3, 2)))
    assert line == "3 pairs, 3x2x1 to 3x2x3; scaled from 6x4; sources: 16 bits are reduced to 8"


@pytest.mark.parametrize(
    "change, options, says",
    [
        (lambda at: (at / "a" / "z.png").unlink(), {}, "z.png has no partner of that name in"),
        (lambda at: [(at / "b" / n).unlink() for n in ("x.bmp", "z.png")], {}, r"\(2 of 3 have none\); rename or remove them"),
        (lambda at: draw(at / "b" / "z.png", 6, 5), {}, "z.png has 6x4, its partner in .* 6x5; scale or cut"),
        (lambda at: draw(at / "b" / "z.png", 12, 8), {}, "z.png has 6x4, its partner in .* 12x8; pass --size"),
        (lambda at: draw(at / "b" / "z.png", 6, 5), {"size": (3, 2)}, "z.png has 6x4, its partner in .* 6x5; scale"),
        (lambda at: draw(at / "b" / "z.bmp", 6, 4), {}, "two suffixes"),
        (lambda at: None, {"size": (0, 2)}, "give height and width, both at least 1"),
        (lambda at: None, {"target": "nowhere"}, "nowhere: no such folder"),
        (lambda at: None, {"side_by_side": "left"}, "give one of them"),
        (lambda at: (at / "b").rename(at / "c") and (at / "b").symlink_to(at / "a"), {}, "--target .*b: it is --data itself"),
        (lambda at: (at / "a" / "trainA").mkdir(), {"target": ""}, "a holds both sets; give --data .*trainA --target .*trainB"),
        (lambda at: None, {"target": "", "source_channels": 1}, "--degrade grey"),
        (lambda at: None, {"target": "", "degrade": ("mosk",)}, "the nearest is mask"),
        (lambda at: None, {"target": "", "degrade": ("blur:x",)}, "a number above 0, up to 100; usual is 1.5"),
        (lambda at: None, {"target": "", "degrade": ("lowres:2.5",)}, "a whole number above 1"),
        (lambda at: None, {"target": "", "degrade": ("grey",)}, "are grey"),
    ],
)
def test_what_does_not_fit_is_named(folders, change, options, says):
    at, _, _ = folders
    change(at)
    with pytest.raises(UserError, match=says) as error:
        open_pairs(str(at / "a"), **{"target": str(at / "b"), **options})
    assert "\n" not in str(error.value)


def test_pairs_of_other_sizes_and_one_shape_can_be_scaled(folders):
    at, _, _ = folders
    draw(at / "b" / "z.png", 12, 8)
    pairs = open_pairs(str(at / "a"), target=str(at / "b"), size=(3, 2))
    assert pairs.shape == (3, 2, 3) and pairs.inputs.shape == (3, 2, 1)


def test_damage_is_a_function_of_the_image_and_its_number():
    source = open_source("digits", size=(20, 16))
    for name in (*(n for n in KINDS if n != "grey"), "noise:7"):
        pairs = degraded(source, (name,))
        np.testing.assert_array_equal(pairs.read(np.arange(5)), source.read(np.arange(5)))
        few, many = pairs.inputs.read(np.array([4, 2])), pairs.inputs.read(np.arange(9))
        np.testing.assert_array_equal(few, many[[4, 2]])
        assert (many != source.read(np.arange(9))).any((1, 2, 3)).all()
        mixed = shuffled(pairs, 1)
        damaged, whole = mixed.inputs.read(np.arange(7)), mixed.read(np.arange(7))
        number = [int(np.flatnonzero((x == read_all(source)).all((1, 2, 3)))[0]) for x in whole]
        np.testing.assert_array_equal(damaged, degrade(parse((name,)), whole, np.array(number)))
    both = [degraded(source, names).fingerprint for names in (("mask",), ("mask:0.4",), ("mask", "noise"), ("noise", "mask"))]
    assert len(set(both)) == 4
    pairs = open_pairs("digits", degrade=("mask", "blur:2"), size=(20, 16))
    said = "1797 pairs, 20x16x1 to 20x16x1; sources: the images after mask:0.5 blur:2, to train on in 16 ways"
    assert summary(pairs).startswith(said)
    one, two = (pairs.inputs.read(np.arange(40) + 1797 * way) for way in (0, 1))
    assert (one != two).any((1, 2, 3)).all()
    assert [degraded(source._replace(n=n), ("noise",)).inputs.ways for n in (10_000, 60_000)] == [3, 1]
    assert degraded(source._replace(n=2000, shape=(256, 256, 3)), ("noise",)).inputs.ways == 1  # of photographs
    assert degraded(source, ("centre", "blur")).inputs.ways == 1
    once = degraded(source, ("noise:25",), most=1)  # as of unpaired images, whose runs go on
    assert once.inputs.ways == 1 and once.fingerprint == fingerprint(f"1 noise:25 {source.fingerprint}")
    assert open_pairs("digits", degrade=("mask",), size=(20, 16)).fingerprint == both[0]
    inputs = degraded(source, ("mask",)).inputs
    assert source.labels is not None and (inputs.labels, inputs.classes, inputs.class_names) == (None, 0, ())


def test_holes_are_what_the_masks_hide_whatever_else_is_done():
    blank, index = np.zeros((60, 12, 10, 1), np.uint8), np.arange(60)
    hidden = degrade(parse(("mask:0.3",)), blank, index)[..., 0] == 128
    assert 0 < hidden.mean() < 0.3
    np.testing.assert_array_equal(holes(parse(("mask:0.3", "noise:100")), (12, 10), index), hidden)
    hidden[:, 4:8, 3:6] = True  # the middle box
    np.testing.assert_array_equal(holes(parse(("mask:0.3", "blur", "centre:0.3")), (12, 10), index), hidden)


def test_each_damage_is_what_it_says():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 100, (400, 12, 10, 3), np.uint8)
    index = np.arange(len(x))
    one = lambda name: degrade(parse((name,)), x, index)
    masked = (one("mask:0.5") == 128).all(3)
    for box in masked:
        rows, columns = np.flatnonzero(box.any(1)), np.flatnonzero(box.any(0))
        assert box[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        assert 3 <= len(rows) <= 6 and 2 <= len(columns) <= 5  # of 12 and 10: between a quarter and half
    assert (masked.mean(0) > 0).all() and len({box.tobytes() for box in masked}) > 200  # everywhere, and not alike
    middle = (one("centre:0.5") == 128).all(3)
    assert middle[:, 3:9, 2:7].all() and middle.sum() == 400 * 6 * 5
    noisy = degrade(parse(("noise:10",)), np.full_like(x, 128), index).astype(np.float64)
    assert abs(noisy.mean() - 128) < 0.1 and abs(noisy.std() - 10) < 0.1
    dot = np.zeros((1, 21, 21, 1), np.uint8)
    dot[0, 10, 10] = 255
    spread = degrade(parse(("blur:1.5",)), dot, np.zeros(1, int))[0, ..., 0].astype(np.float64)
    r = np.arange(21) - 10
    want = np.exp(-(r[:, None] ** 2 + r**2) / (2 * 1.5**2))
    assert np.abs(spread - 255 * want / want.sum()).max() < 0.7 and (spread == spread.T).all()
    full = 255 - np.concatenate([x[:50], 2 * x[:50]])
    grey = degrade(parse(("grey",)), full, index[:100])[..., 0]
    np.testing.assert_array_equal(grey, np.stack([np.asarray(Image.fromarray(i).convert("L")) for i in full]))
    low = one("lowres:2")
    np.testing.assert_array_equal(low[:, ::2, ::2], low[:, 1::2, 1::2])
    assert np.abs(low[:, ::2, ::2] - x.reshape(400, 6, 2, 5, 2, 3).mean((2, 4))).max() <= 0.5
    assert degrade(parse(("lowres:8",)), x[:2], index[:2]).shape == (2, 12, 10, 3)  # 8 divides neither 12 nor 10
    assert degrade(parse(("grey", "mask")), x, index).shape == (400, 12, 10, 1)
    colour = Source("x", (12, 10, 3), 400, lambda i: x[i], None, 0, (), "f" * 32)
    assert [degraded(colour, (name,)).inputs.shape for name in ("grey", "blur")] == [(12, 10, 1), (12, 10, 3)]


def test_edges_and_negatives():
    """Of a ramp of slopes s and t the edges are its gradient's length; a step of 100 has 50 on either side of it."""
    rows, columns = np.mgrid[:9, :12]
    ramp = (6 * rows + 8 * columns)[None, :, :, None].astype(np.uint8)
    of = lambda x, name: degrade(parse((name,)), x, np.zeros(len(x), int))
    assert (of(ramp, "edges:3")[:, 1:-1, 1:-1] == 60).all()  # central differences are over two pixels, Sobel's are halved
    step = np.zeros((1, 6, 8, 3), np.uint8)
    step[:, :, 4:, 1] = 100
    found = of(step, "edges:1")
    assert found[0, :, 3:5, 1].tolist() == [[100, 100]] * 6 and found.sum() == 6 * 200
    clear = np.random.default_rng(0).integers(0, 256, (2, 6, 8, 4), np.uint8)
    for name in ("edges", "invert"):
        np.testing.assert_array_equal(of(clear, name)[..., 3], clear[..., 3])
    np.testing.assert_array_equal(of(clear, "invert")[..., :3], 255 - clear[..., :3])
    np.testing.assert_array_equal(of(ramp, "invert"), 255 - ramp)


def test_usual_amounts():
    usual = {"mask": 0.5, "centre": 0.5, "blur": 1.5, "noise": 50, "lowres": 4, "edges": 2, "invert": 1}
    assert dict(parse([name for name in KINDS if name != "grey"])) == usual
    with pytest.raises(UserError, match="--degrade is empty"):
        parse(())


def test_a_blur_leaves_a_plain_image_as_it_is_and_repeated_noise_is_drawn_anew():
    plain = np.full((40, 12, 10, 3), 200, np.uint8)
    np.testing.assert_array_equal(degrade(parse(("blur:2",)), plain, np.arange(40)), plain)  # its border goes on beyond
    noisy = degrade(parse(("noise:8", "noise:6")), np.full_like(plain, 128), np.arange(40)).astype(np.float64)
    assert abs(noisy.std() - 10) < 0.2  # sqrt(8^2 + 6^2); of one and the same noise it were 14


def test_what_lies_under_transparent_pixels_is_in_no_average_and_masks_are_opaque():
    """Blue on transparent red: where something is to be seen it keeps its colour, as if blurred on any ground."""
    image = np.zeros((1, 12, 12, 4), np.uint8)
    image[..., 0] = 200
    image[0, 3:9, 3:9] = 60, 100, 140, 255
    alone = degrade(parse(("blur:1.5",)), image[..., 3:], np.zeros(1, int))[0, ..., 0]
    for name, alpha in (("blur:1.5", alone), ("lowres:5", None)):
        found = degrade(parse((name,)), image, np.zeros(1, int))[0]
        assert (found[found[..., 3] > 0][:, :3] == (60, 100, 140)).all() and 0 < (found[..., 3] % 255 > 0).sum()
        if alpha is not None:
            np.testing.assert_array_equal(found[..., 3], alpha)
    for name in ("mask", "centre"):
        found = degrade(parse((name,)), image, np.zeros(1, int))[0]
        box = (found != image[0]).any(-1)
        assert box.any() and (found[box] == (128, 128, 128, 255)).all()
    grey = Source("x", (12, 12, 4), 1, lambda i: image[i], None, 0, (), "f" * 32)
    assert degraded(grey, ("blur",)).fingerprint != degraded(grey._replace(shape=(12, 12, 3)), ("blur",)).fingerprint


def test_loose_images_come_with_their_names(tmp_path):
    x = draw(tmp_path / "in" / "sub" / "a.png", 6, 4)
    names, read, skipped = open_loose(str(tmp_path / "in" / "sub" / "a.png"), (6, 4, 3))
    assert names == ["a.png"] and skipped == []
    np.testing.assert_array_equal(read(0), x)
    y = draw(tmp_path / "in" / "b.png", 8, 4)
    with pytest.raises(UserError, match="b.png has 8x4, the generator takes 6x4; pass --resize"):
        open_loose(str(tmp_path / "in"), (6, 4, 3))
    names, read, _ = open_loose(str(tmp_path / "in"), (6, 4, 3), resize=True)
    assert names == ["b.png", "sub/a.png"]
    np.testing.assert_array_equal(read(0), y[1:7])
    assert open_loose(str(tmp_path / "in"), (6, 4, 1), resize=True)[1](1).shape == (6, 4, 1)
    padded = open_loose(str(tmp_path / "in"), (6, 6, 3), resize=True, fit="pad", background="black")[1](0)
    assert not padded[:, [0, 5]].any() and padded[:, 1:4].any()  # 8x4 is 6x3 there
    (tmp_path / "in" / "sub" / "a.png").write_bytes(b"nothing")
    for path, says in (("in/sub", "a.png is broken"), ("x", "no such image")):
        with pytest.raises(UserError, match=says):
            open_loose(str(tmp_path / path), (6, 4, 3))
    (tmp_path / "in" / "a.png").write_bytes((tmp_path / "in" / "b.png").read_bytes()[:-30])  # its header is whole
    names, read, skipped = open_loose(str(tmp_path / "in"), (8, 4, 3), skip_broken=True)
    assert (names, skipped) == (["b.png"], ["a.png", "sub/a.png"])
    np.testing.assert_array_equal(read(0), y)
    with pytest.raises(UserError, match="none of its 1 images can be read"):
        open_loose(str(tmp_path / "in" / "sub"), (8, 4, 3), skip_broken=True)
