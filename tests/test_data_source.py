"""Folders, archives, arrays and the digits as Sources; what is wrong with them in one line."""

import errno
import gzip
import io
import json
import os
import shutil
import struct
import tarfile
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import jaxgan.data.alike
import jaxgan.data.files
import jaxgan.data.source
from jaxgan import label_vectors, memory
from jaxgan.data import check_source, of_arrays, open_source, read_all, summary
from jaxgan.errors import UserError


def picture(i, height=6, width=8, grey=False):
    y, x = np.mgrid[:height, :width]
    image = np.stack([x * 20 + i, y * 30 + i, np.full_like(x, i * 7)], -1).astype(np.uint8)
    return image[..., 0] if grey else image


def save(path, array):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    Image.fromarray(array).save(path)


@pytest.fixture
def classes(tmp_path):
    """cat/0.png .. cat/2.png, dog/0.png, dog/1.PNG and things that do not count."""
    root = tmp_path / "animals"
    for i, name in enumerate(("cat/0.png", "cat/1.png", "cat/deep/2.png", "dog/0.png", "dog/1.PNG")):
        save(f"{root}/{name}", picture(i))
    for name in ("notes.txt", ".hidden.png", "cat/._0.png", "__MACOSX/cat/0.png", ".git/x.png", "cat/Thumbs.db"):
        os.makedirs(os.path.dirname(f"{root}/{name}"), exist_ok=True)
        (root / name).write_bytes(b"nothing")
    return root


ALL = np.stack([picture(i) for i in range(5)])


def check_classes(source):
    assert source.shape == (6, 8, 3) and source.n == 5 and source.classes == 2
    assert source.class_names == ("cat", "dog") and source.labels.dtype == np.int32
    np.testing.assert_array_equal(source.labels, [0, 0, 0, 1, 1])
    np.testing.assert_array_equal(source.read(np.array([4, 0, 0])), ALL[[4, 0, 0]])
    np.testing.assert_array_equal(read_all(source), ALL)


def refused(match, data, **options):
    with pytest.raises(UserError, match=match) as caught:
        open_source(data if data == "digits" else str(data), **options)
    assert "\n" not in str(caught.value)


def pack(root, path, prefix=""):
    names = [os.path.relpath(os.path.join(at, f), root) for at, _, files in os.walk(root) for f in files]
    if path.endswith(".zip"):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            for name in reversed(sorted(names)):
                file.write(f"{root}/{name}", prefix + name)
    else:
        with tarfile.open(path, "w:" + path.rpartition(".")[2].replace("tgz", "gz").replace("tar", "")) as file:
            for name in reversed(sorted(names)):
                file.add(f"{root}/{name}", prefix + name)
    return path


def test_folder(classes):
    source = open_source(str(classes))
    check_classes(source)
    assert source.name == str(classes) and source.skipped == ()


@pytest.mark.parametrize("suffix", (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz"))
@pytest.mark.parametrize("prefix", ("", "./", "around/"))
def test_archives(classes, tmp_path, suffix, prefix):
    check_classes(open_source(pack(classes, f"{tmp_path}/a{suffix}", prefix)))


@pytest.mark.parametrize("suffix", (".zip", ".tar", ".tar.gz"))
def test_large_sets_are_decoded_when_read(classes, tmp_path, suffix, monkeypatch):
    monkeypatch.setattr(jaxgan.data.alike, "IN_MEMORY", 100)
    for path in (str(classes), pack(classes, f"{tmp_path}/a{suffix}")):
        source = open_source(path)
        assert not isinstance(source.read, jaxgan.data.source.Stored)
        check_classes(source)
    memory = open_source(str(classes)).fingerprint
    monkeypatch.undo()
    assert open_source(str(classes)).fingerprint == memory


@pytest.mark.parametrize("suffix", (".zip", ".tar"))
def test_reading_from_many_threads(tmp_path, suffix, monkeypatch):
    for i in range(40):
        save(f"{tmp_path}/s/{i:02}.png", picture(i, 32, 32))
    monkeypatch.setattr(jaxgan.data.alike, "IN_MEMORY", 0)
    source = open_source(pack(tmp_path / "s", f"{tmp_path}/a{suffix}"))
    want, wrong = np.stack([picture(i, 32, 32) for i in range(40)]), []

    def work(seed):
        order = np.random.default_rng(seed).permutation(40)
        if not np.array_equal(source.read(order), want[order]):
            wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert not wrong


@pytest.mark.parametrize("most", (0, jaxgan.data.alike.IN_MEMORY))
def test_a_small_file_is_opened_once(classes, most, monkeypatch):
    opened, real = [], jaxgan.data.files._opened
    kept = open_source(str(classes))
    monkeypatch.setattr(jaxgan.data.alike, "IN_MEMORY", most)
    monkeypatch.setattr(jaxgan.data.files, "_opened", lambda path: (opened.append(path), real(path))[1])
    assert open_source(str(classes)).fingerprint == kept.fingerprint
    assert len(opened) == 1 + 5 == 1 + len(set(opened))  # the first before all others, to see what it is
    opened.clear()
    monkeypatch.setattr(jaxgan.data.files, "SMALL", 10)
    assert open_source(str(classes)).fingerprint == kept.fingerprint and len(opened) == 1 + 2 * 5


def test_large_files(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (2, 320, 320, 3), np.uint8)
    for i in range(2):
        save(f"{tmp_path}/{i}.png", noise[i])
    assert os.path.getsize(tmp_path / "0.png") > jaxgan.data.files.SMALL
    np.testing.assert_array_equal(read_all(open_source(str(tmp_path))), noise)


def test_flat_folder_has_no_labels(tmp_path):
    for i in range(3):
        save(f"{tmp_path}/one/two/{i}.png", picture(i))
    source = open_source(str(tmp_path))
    assert source.labels is None and source.classes == 0 and source.class_names == () and source.n == 3
    save(f"{tmp_path}/one/three/9.png", picture(9))
    assert open_source(str(tmp_path)).class_names == ("three", "two")
    save(f"{tmp_path}/one/stray.png", picture(5))
    assert open_source(str(tmp_path)).labels is None


def test_classes_named_by_numbers_are_in_their_order(tmp_path):
    for name in ("10", "9", "100"):
        save(f"{tmp_path}/{name}/a.png", picture(9))
    source = open_source(str(tmp_path))  # the images in the order of the text
    assert source.class_names == ("9", "10", "100") and source.labels.tolist() == [1, 2, 0]


def test_links_are_followed_once(tmp_path):
    save(f"{tmp_path}/elsewhere/a.png", picture(1))
    save(f"{tmp_path}/set/x/b.png", picture(2))
    os.symlink(f"{tmp_path}/elsewhere", f"{tmp_path}/set/y")
    os.symlink(f"{tmp_path}/set", f"{tmp_path}/set/x/back")
    assert open_source(f"{tmp_path}/set").class_names == ("x", "y")


def test_a_folder_under_two_names_is_two_classes(tmp_path):
    for i in range(4):
        save(f"{tmp_path}/set/{'ab'[i % 2]}/{i}.png", picture(i))
    os.symlink(f"{tmp_path}/set/b", f"{tmp_path}/set/again")
    os.symlink(f"{tmp_path}/set/a", f"{tmp_path}/set/b/a")  # a and b lead to one another, which would have no end
    os.symlink(f"{tmp_path}/set/b", f"{tmp_path}/set/a/b")
    source = open_source(f"{tmp_path}/set")
    assert source.class_names == ("a", "again", "b") and list(np.bincount(source.labels)) == [4, 4, 4]


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    for i in range(4):
        save(f"{tmp_path}/set/{'ab'[i % 2]}/{i}.png", picture(i))
    scandir = os.scandir

    def forbid(path):
        if str(path).endswith("/b"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", forbid)
    refused("set/b: the folder cannot be read .Permission denied", tmp_path / "set")


@pytest.mark.parametrize("suffix", (".tar", ".tar.gz"))
def test_links_in_an_archive(tmp_path, suffix):
    save(f"{tmp_path}/set/a/0.png", picture(0))
    save(f"{tmp_path}/set/b/1.png", picture(1))
    os.link(f"{tmp_path}/set/a/0.png", f"{tmp_path}/set/b/hard.png")
    os.symlink("../a/0.png", f"{tmp_path}/set/b/soft.png")
    os.symlink("soft.png", f"{tmp_path}/set/b/twice.png")
    source, folder = open_source(pack(tmp_path / "set", f"{tmp_path}/set{suffix}")), open_source(f"{tmp_path}/set")
    assert source.fingerprint == folder.fingerprint and source.n == 5
    np.testing.assert_array_equal(read_all(source), read_all(folder))
    os.symlink("nowhere.png", f"{tmp_path}/set/a/x.png")
    refused("a/x.png is a link to a/nowhere.png, which is no image in it", pack(tmp_path / "set", f"{tmp_path}/x{suffix}"))
    os.remove(f"{tmp_path}/set/a/x.png")
    os.symlink("y.png", f"{tmp_path}/set/a/x.png")
    os.symlink("x.png", f"{tmp_path}/set/a/y.png")
    refused("points back to itself", pack(tmp_path / "set", f"{tmp_path}/y{suffix}"))


@pytest.mark.parametrize("form", ("folder", "x.tar"))
def test_a_change_in_the_middle_of_a_large_file_changes_the_fingerprint(tmp_path, form):
    """An uncompressed picture whose margins stay."""
    found = []
    for middle in (10, 200):
        large = np.full((128, 128, 3), 255, np.uint8)
        large[60:68, 60:68] = middle
        for name in "ab":
            save(f"{tmp_path}/set/{name}.bmp", large)
        at = f"{tmp_path}/set" if form == "folder" else pack(tmp_path / "set", f"{tmp_path}/{form}")
        found.append(open_source(at).fingerprint)
    assert found[0] != found[1]


def test_labels_that_do_not_fit_are_refused(tmp_path):
    images = np.zeros((4, 6, 8, 1), np.uint8)
    for i, (labels, says) in enumerate(
        (
            (np.array([2**32, 1, 1, 0]), "classes from 0 to"),
            (np.array([2**63, 1, 1, 0], np.uint64), "classes from 0 to"),
            (np.float32([[0, np.nan]] * 4), "label vector of image 0 has NaN or infinity .4 do"),
            (np.float64([[0, 1], [0, 1], [1e60, 0], [0, 1]]), "label vector of image 2 has NaN or infinity .1 do"),
        )
    ):
        np.savez(tmp_path / f"{i}.npz", images=images, labels=labels)
        refused(says, tmp_path / f"{i}.npz")


def test_splits_of_a_folder(tmp_path):
    for i, name in enumerate(("train/a/0", "train/a/1", "train/b/0", "test/a/0", "test/b/0")):
        save(f"{tmp_path}/set/{name}.png", picture(i))
    train, test = open_source(f"{tmp_path}/set"), open_source(f"{tmp_path}/set", split="test")
    assert (train.n, test.n) == (3, 2) and train.class_names == test.class_names == ("a", "b")
    np.testing.assert_array_equal(read_all(test), ALL[3:])
    refused("no split 'valid' in it; it has test, train", tmp_path / "set", split="valid")
    refused("no split 'test' in it", tmp_path / "set/train", split="test")


@pytest.mark.parametrize("suffix", ("", ".zip", ".tar.gz"))
def test_dataset_json(tmp_path, suffix):
    for i in range(5):
        save(f"{tmp_path}/s/00000/img{i}.png", picture(i))

    def opened(labels):
        (tmp_path / "s/dataset.json").write_text(json.dumps({"labels": labels}))
        return open_source(pack(tmp_path / "s", f"{tmp_path}/a{suffix}") if suffix else f"{tmp_path}/s")

    names = [f"00000/img{i}.png" for i in range(5)]
    for large in (2**31, 10**30):
        with pytest.raises(UserError, match="give 0 to 1048575"):
            opened([[name, large] for name in names])
    with pytest.raises(UserError, match="00000/img0.png is listed with two labels"):
        opened([[name, 0] for name in names] + [[names[0], 1]])
    with pytest.raises(UserError, match="label vector of image 0 has NaN"):
        opened([[name, [0.5, float("nan")]] for name in names])
    source = opened([[name, label] for name, label in zip(names, (3, 0, 1, 1, 3), strict=True)])
    np.testing.assert_array_equal(source.labels, [3, 0, 1, 1, 3])
    assert source.classes == 4 and source.labels.dtype == np.int32
    vectors = [[i / 2, 1, -1] for i in range(5)]
    source = opened(list(zip(names, vectors, strict=True)))
    np.testing.assert_array_equal(source.labels, np.float32(vectors))
    assert source.classes == 3 and source.labels.dtype == np.float32
    assert opened(None).labels is None
    for labels, match in (
        ([[name, 1] for name in names[:3]], "no label for 00000/img3.png .2 of 5"),
        ([[name, "cat"] for name in names], "label of 00000/img0.png is 'cat'"),
        ([[name, -1] for name in names], "is -1"),
        ([[name, [1, 2] if "4" in name else [1]] for name in names], "img4"),
        ([1, 2], "dataset.json: not of the form"),
    ):
        with pytest.raises(UserError, match=match):
            opened(labels)


def test_mixed_sizes_name_two_files(classes):
    save(f"{classes}/dog/big.png", picture(0, 12, 16))
    refused("cat/0.png has 6x8, dog/big.png has 12x16; pass --size H W", classes)
    source = open_source(str(classes), size=(6, 8))
    assert source.n == 6
    np.testing.assert_array_equal(source.read(np.arange(5)), ALL)  # what has the size is not touched


def test_channels(tmp_path):
    for i in range(4):
        save(f"{tmp_path}/{i}.png", picture(i, grey=True))
    assert open_source(str(tmp_path)).shape == (6, 8, 1)
    assert open_source(str(tmp_path), channels=3).shape == (6, 8, 3)
    save(f"{tmp_path}/4.png", picture(4))
    source = open_source(str(tmp_path))  # found late, still colour
    assert source.shape == (6, 8, 3)
    np.testing.assert_array_equal(source.read(np.array([4]))[0], picture(4))
    assert open_source(str(tmp_path), channels=1).shape == (6, 8, 1)
    assert open_source(str(tmp_path), channels=4).shape == (6, 8, 4)
    refused("channels is 2", tmp_path, channels=2)


def test_background(tmp_path):
    for i in range(2):
        save(f"{tmp_path}/{i}.png", np.zeros((4, 4, 4), np.uint8))
    assert (read_all(open_source(str(tmp_path))) == 255).all()
    assert (read_all(open_source(str(tmp_path), background="black")) == 0).all()
    refused("is not a colour; the nearest is red; give a name", tmp_path, background="redd")


def damage(path, how):
    data = Path(path).read_bytes()
    Path(path).write_bytes({"truncated": data[: len(data) // 2], "empty": b"", "text": b"no image"}[how])


@pytest.mark.parametrize("how", ("truncated", "empty", "text"))
@pytest.mark.parametrize("suffix", ("", ".zip", ".tar"))
def test_broken_images(tmp_path, how, suffix):
    noise = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), np.uint8)
    for i in range(5):
        save(f"{tmp_path}/s/{i % 2}/{i}.png", noise[i])
    damage(f"{tmp_path}/s/0/2.png", how)
    path = pack(tmp_path / "s", f"{tmp_path}/a{suffix}") if suffix else f"{tmp_path}/s"
    refused(r"0/2.png is broken \(.*--skip-broken", path)
    source = open_source(path, skip_broken=True)
    assert source.skipped == ("0/2.png",) and source.n == 4
    np.testing.assert_array_equal(read_all(source), noise[[0, 4, 1, 3]])
    np.testing.assert_array_equal(source.labels, [0, 0, 1, 1])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_named_pipe_is_a_broken_image_and_nobody_waits_for_its_writer(classes):
    os.mkfifo(classes / "cat" / "9.png")
    refused("cat/9.png is broken .the file is empty", classes)
    assert open_source(str(classes), skip_broken=True).n == 5


def test_a_set_of_ones_own_is_checked(classes):
    source = open_source(str(classes))
    check_source(source)
    check_source(source._replace(labels=np.zeros((5, 3), np.float32), classes=3))
    for change, says in (
        ({"read": lambda i: source.read(i) / 255}, "read as float64 .6, 8, 3., not as uint8"),
        ({"shape": (6, 8, 1)}, "read as uint8 .6, 8, 3., not as uint8 .6, 8, 1."),
        ({"labels": np.zeros(4, np.int32)}, "labels int32 .4,.; give int .5."),
        ({"labels": np.full(5, 2, np.int32)}, "in .0, 2."),
        ({"labels": np.zeros(5)}, "labels float64"),
        ({"labels": [0] * 5}, "labels list .5,."),
        ({"read": iter(())}, "read is a tuple_iterator; give a function, indices -> uint8 images"),
        ({"n": 0}, "0 image.s.; a set needs at least two"),
        ({"labels": np.zeros((5, 3), np.float32)}, "labels float32 .5, 3."),
    ):
        with pytest.raises(UserError, match=says):
            check_source(source._replace(**change))


def test_what_a_person_is_told_of_a_set(classes, tmp_path):
    source = open_source(str(classes))
    assert summary(source) == "5 images of 6x8x3, 2 classes (cat, dog)"
    save(classes / "beside.png", picture(7))  # then its sub-folders are no classes
    why = "the sub-folders are no classes, because of what lies beside them: beside.png"
    assert summary(open_source(str(classes))) == f"6 images of 6x8x3, no labels; {why}"
    assert summary(open_source(str(classes), size=(3, 4))) == f"6 images of 3x4x3, no labels; scaled from 6x8; {why}"
    assert "scaled from 6x8, up to 33% of an image cut off" in summary(open_source(str(classes), size=(4, 8)))
    padded = open_source(str(classes), size=(4, 8), fit="pad")
    assert "scaled from 6x8, up to 33% of an image filled with background" in summary(padded)
    assert padded.fingerprint != open_source(str(classes), size=(4, 8)).fingerprint
    with pytest.raises(UserError, match="fit is 'stretch'; give crop or pad"):
        open_source(str(classes), size=(4, 8), fit="stretch")
    save(classes / "beside.png", picture(7)[:3])
    assert "; scaled from several sizes, up to 50% of an image cut off; the" in summary(open_source(str(classes), size=(6, 8)))
    assert "; scaled from several sizes, up to 62% of" in summary(open_source(str(classes), size=(8, 8)))  # 3x3 of 3x8
    assert summary(source._replace(inputs=source, labels=None, skipped=tuple("abcdef"))) == (
        "5 pairs, 6x8x3 to 6x8x3; 6 broken left out: a, b, c, d, e, ..."
    )
    vectors = np.linspace(-250, 1, 20, dtype=np.float32).reshape(5, 4)
    assert summary(source._replace(labels=vectors, classes=4)) == "5 images of 6x8x3, 4 label values from -250 to 1"


def test_the_first_image_may_be_broken(classes):
    damage(f"{classes}/cat/0.png", "empty")
    refused("cat/0.png is broken .the file is empty", classes)
    assert open_source(str(classes), skip_broken=True).n == 4


def test_damage_in_a_large_set_is_named_when_read(classes, monkeypatch):
    monkeypatch.setattr(jaxgan.data.alike, "IN_MEMORY", 0)
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    for name in ("cat/0.png", "cat/1.png", "cat/deep/2.png", "dog/0.png", "dog/1.PNG"):
        save(f"{classes}/{name}", noise)
    damage(f"{classes}/dog/0.png", "truncated")
    source = open_source(str(classes))  # its header is whole
    with pytest.raises(UserError, match="dog/0.png is broken"):
        source.read(np.array([3]))
    damage(f"{classes}/dog/1.PNG", "text")
    refused("dog/1.PNG is broken", classes)


def test_refused_modes_name_the_file(tmp_path):
    save(f"{tmp_path}/a.tif", picture(0))
    save(f"{tmp_path}/b.tif", np.zeros((6, 8), np.float32))
    refused("b.tif: .*mode F", tmp_path)


def test_images_in_formats_that_are_not_read_are_told_of(tmp_path):
    at = tmp_path / "set"
    for name in ("b.HEIC", "a/c.avif", "d.heic", ".hidden/e.heic", "notes.txt"):
        (at / name).parent.mkdir(parents=True, exist_ok=True)
        (at / name).write_bytes(b"x")
    refused("no images in it that can be read, but 1 .avif, 2 .heic; save them", at)
    for name in "xy":
        save(f"{at}/{name}.png", picture(0))
    shutil.make_archive(f"{at}", "zip", at)
    shutil.make_archive(f"{at}", "tar", at)
    for path in (at, f"{at}.zip", f"{at}.tar"):
        line = summary(open_source(str(path)))
        assert line == "2 images of 6x8x3, no labels; not read: 1 .avif, 2 .heic (save them as .png or .jpg)"


def test_what_is_lost_of_files_is_told(tmp_path):
    deep, pages = np.arange(48, dtype=np.uint16).reshape(6, 8) * 1000, [Image.fromarray(picture(i)) for i in range(2)]
    save(f"{tmp_path}/deep/a.png", deep)
    save(f"{tmp_path}/deep/b.png", deep)
    save(f"{tmp_path}/some/a.png", picture(0))
    pages[0].save(tmp_path / "some" / "b.tif", save_all=True, append_images=pages[1:])
    save(f"{tmp_path}/bands/a.tif", np.dstack([picture(0), picture(1)[..., 0]]))
    written = (tmp_path / "bands" / "a.tif").read_bytes()
    alpha, plain = (struct.pack("<HHII", 338, 3, 1, kind) for kind in (2, 0))  # TIFF 6.0, ExtraSamples
    assert written.count(alpha) == 1
    (tmp_path / "bands" / "a.tif").write_bytes(written.replace(alpha, plain))
    shutil.copy(tmp_path / "bands" / "a.tif", tmp_path / "bands" / "b.tif")
    for name, shape, note in (
        ("deep", "6x8x1", "16 bits are reduced to 8"),
        ("some", "6x8x3", "of several pages the first alone is read (1 images)"),
        ("bands", "6x8x3", "of more bands the first 3 are read"),
    ):
        assert summary(open_source(str(tmp_path / name))) == f"2 images of {shape}, no labels; {note}"
    (tmp_path / "bands" / "b.tif").write_bytes(
        written.replace(struct.pack("<HHII", 277, 3, 1, 4), struct.pack("<HHII", 277, 3, 1, 7))
    )
    refused("b.tif is broken .a damaged TIFF, or of a kind that is not read", tmp_path / "bands")


def test_four_channels_of_an_array_are_told_to_be_colour_and_alpha():
    images = np.full((2, 4, 4, 4), 90, np.uint8)
    assert "fourth channel is taken for alpha: colours where it is near 0" in summary(of_arrays(images))
    assert "alpha" not in summary(of_arrays(images[..., :3]))


def test_too_few_images(tmp_path):
    refused("no images in it", tmp_path)
    save(f"{tmp_path}/a.png", picture(0))
    refused("1 readable image.* at least two", tmp_path)
    damage(f"{tmp_path}/a.png", "empty")
    refused("none of its 1 images", tmp_path, skip_broken=True)


def test_missing_and_unknown_paths(tmp_path):
    refused("no such file or folder", tmp_path / "nothing")
    refused("no such file or folder", "pictures.zip")
    (tmp_path / "a.rar").write_bytes(b"x")
    refused("neither a folder nor a .zip", tmp_path / "a.rar")
    np.save(tmp_path / "a.npy", ALL)
    refused("or .npz; numpy.savez.path, x=array. writes an .npz", tmp_path / "a.npy")
    for name in ("a.zip", "a.tar", "a.tar.gz", "a.tar.xz"):
        (tmp_path / name).write_bytes(b"not an archive at all")
        refused("not an archive that can be read", tmp_path / name)
    (tmp_path / "a.npz").write_bytes(b"not numpy")
    refused("not an .npz that can be read", tmp_path / "a.npz")
    refused("size is", tmp_path, size=(0, 3))


def test_fingerprint(classes, tmp_path):
    first = open_source(str(classes))
    shutil.copytree(classes, tmp_path / "copy")
    os.utime(tmp_path / "copy/cat/0.png", (1, 1))
    assert open_source(str(tmp_path / "copy")).fingerprint == first.fingerprint  # another place, another time
    assert open_source(str(classes), channels=3).fingerprint == first.fingerprint
    seen = {first.fingerprint}
    for change in ({"size": (4, 4)}, {"channels": 1}, {"background": "black"}):
        seen.add(open_source(str(classes), **change).fingerprint)
    os.rename(classes / "dog/0.png", classes / "dog/2.png")
    seen.add(open_source(str(classes)).fingerprint)
    save(f"{classes}/dog/2.png", picture(9))
    seen.add(open_source(str(classes)).fingerprint)
    (classes / "dataset.json").write_text(json.dumps({"labels": None}))
    seen.add(open_source(str(classes)).fingerprint)
    assert len(seen) == 7


def test_progress(classes):
    calls = []
    open_source(str(classes), progress=lambda *args: calls.append(args))
    assert calls[-1] == (5, 5)


def write_npz(path, **arrays):
    np.savez(path, **arrays)
    return str(path)


@pytest.mark.parametrize("key,label", (("x", "y"), ("images", "labels"), ("x_train", "y_train"), ("arr_0", "arr_1")))
def test_npz(tmp_path, key, label):
    y = np.array([2, 0, 1, 1, 0])
    source = open_source(write_npz(tmp_path / "a.npz", **{key: ALL, label: y[:, None]}))
    np.testing.assert_array_equal(read_all(source), ALL)
    np.testing.assert_array_equal(source.labels, y)
    assert source.classes == 3 and source.shape == (6, 8, 3)
    grey = open_source(write_npz(tmp_path / "a.npz", **{key: ALL[..., 0]}))
    assert grey.shape == (6, 8, 1) and grey.labels is None
    np.testing.assert_array_equal(read_all(grey), ALL[..., :1])


def test_npz_options(tmp_path):
    path = write_npz(tmp_path / "a.npz", x_train=ALL, x_test=ALL[:2], y_train=np.eye(5), y_test=np.eye(5)[:2])
    test = open_source(path, split="test")
    assert test.n == 2 and test.labels.dtype == np.float32 and test.classes == 5
    assert open_source(path, size=(3, 4), channels=1).shape == (3, 4, 1)
    path = write_npz(tmp_path / "b.npz", x=np.zeros((3, 4, 4, 4), np.uint8))
    assert "alpha: drawn on the background; --channels 4 keeps it" in summary(open_source(path))
    assert (read_all(open_source(path, background="#030405")) == (3, 4, 5)).all()
    assert open_source(path, channels=4).shape == (4, 4, 4)
    changed = [write_npz(tmp_path / "c.npz", x=ALL + np.uint8(i), y=np.arange(5) + j) for i, j in ((0, 0),)]
    first = open_source(changed[0]).fingerprint
    write_npz(tmp_path / "c.npz", x=ALL, y=np.arange(5)[::-1])
    assert open_source(changed[0]).fingerprint != first
    write_npz(tmp_path / "c.npz", x=ALL[::-1], y=np.arange(5))
    assert open_source(changed[0]).fingerprint != first


@pytest.mark.parametrize(
    "arrays,match",
    (
        ({"x": ALL.transpose(0, 3, 1, 2)}, r"channels come last.*transpose\(0, 2, 3, 1\)"),
        ({"x": ALL / 255}, "must be uint8 in 0..255"),
        ({"x": ALL.reshape(5, -1)}, r"must be \[n, H, W\]"),
        ({"x": ALL[..., :2]}, "number 1, 3 or 4"),
        ({"pictures": ALL}, "it has pictures; use x, images"),
        ({"x": ALL, "y": np.arange(4)}, "labels must be 5"),
        ({"x": ALL, "y": np.arange(5) - 1}, "labels must be"),
        ({"x": ALL, "y": np.arange(5) / 2}, "labels must be"),
        ({"x": ALL[:1]}, "at least two"),
    ),
)
def test_npz_errors(tmp_path, arrays, match):
    refused(match, write_npz(tmp_path / "a.npz", **arrays))


def test_npz_without_the_split(tmp_path):
    refused("no images for split 'test'", write_npz(tmp_path / "a.npz", x=ALL), split="test")


def test_npz_never_unpickles(tmp_path):
    refused("not an .npz", write_npz(tmp_path / "a.npz", x=np.array([{}], object)))


def test_digits():
    from sklearn.datasets import load_digits

    source = open_source("digits")
    assert source.shape == (28, 28, 1) and source.n == 1797 and source.classes == 10
    np.testing.assert_array_equal(source.labels, load_digits().target)
    images = read_all(source)
    assert images.min() == 0 and images.max() == 255
    # Reduced again by averaging they are the original 8x8 levels, up to the filter's blur.
    blocks = images[:100].reshape(100, 28, 28).astype(float)
    back = np.stack([np.asarray(Image.fromarray(b.astype(np.float32)).resize((8, 8), Image.Resampling.BOX)) for b in blocks])
    assert np.abs(back * 16 / 255 - load_digits().images[:100]).mean() < 1  # of 16 levels
    native = open_source("digits", size=(8, 8))
    np.testing.assert_array_equal(read_all(native)[..., 0], np.rint(load_digits().images * 255 / 16))
    assert open_source("digits", size=(32, 24), channels=3).shape == (32, 24, 3)
    assert len({s.fingerprint for s in (source, native)}) == 2
    refused("split train only", "digits", split="test")


def test_reading_does_not_expose_the_set():
    source = open_source("digits", size=(8, 8))
    source.read(np.arange(3))[:] = 7
    assert source.read(np.arange(3)).max() > 7
    with pytest.raises(ValueError):
        read_all(source)[0] = 1


def test_a_path_wins_over_a_name(tmp_path, monkeypatch):
    for i in range(2):
        save(f"{tmp_path}/digits/{i}.png", picture(i))
    monkeypatch.chdir(tmp_path)
    assert open_source("digits").shape == (6, 8, 3)
    (tmp_path / "digits/checkpoints").mkdir()
    (tmp_path / "digits/config.json").write_text("{}")  # in runs/, where runs are called as what they were trained on
    assert open_source("digits").shape == (28, 28, 1)
    refused("digits is a run, no set of images; python -m experiments.sample .*digits --n", f"{tmp_path}/digits")


def test_what_is_read_to_memory_and_does_not_fit_is_one_line(classes, tmp_path, monkeypatch):
    packed = shutil.make_archive(str(tmp_path / "a"), "gztar", classes)
    np.savez(tmp_path / "a.npz", x=np.full((10, 8, 8, 3), 9, np.uint8))
    monkeypatch.setattr(memory, "installed", lambda: 200)
    with pytest.raises(UserError, match="a.tar.gz: more than the memory holds, .*; unpack it"):
        open_source(packed)
    with pytest.raises(UserError, match="a.npz: more than the memory holds, .*; give a folder"):
        open_source(str(tmp_path / "a.npz"))
    monkeypatch.undo()
    assert open_source(packed).n == open_source(str(classes)).n and 2**28 < memory.installed()


@pytest.mark.parametrize("suffix", ("", ".zip", ".tar", ".tar.gz"))
def test_a_file_that_claims_to_be_larger_than_any_image_is_not_read(tmp_path, suffix, monkeypatch):
    """Megabytes of an archive can be any number of gigabytes of zeros; so can a file that is a hole."""
    monkeypatch.setattr(jaxgan.data.files, "MOST", 2**20)
    for i in range(3):
        save(f"{tmp_path}/s/{i}.png", picture(i))
    with open(tmp_path / "s/1.png", "ab") as file:
        file.truncate(2**21)
    path = pack(tmp_path / "s", f"{tmp_path}/a{suffix}") if suffix else tmp_path / "s"
    refused(f"{'not an archive' if 'tar' in suffix else '1.png is broken'}.* .a file of 0.0 GiB, more than any image", path)
    os.remove(tmp_path / "s/1.png")
    (tmp_path / "s/dataset.json").write_bytes(b" " * 2**21)
    if suffix:
        refused("not an archive .*a file of 0.0 GiB", pack(tmp_path / "s", f"{tmp_path}/b{suffix}"))


def test_a_tar_whose_headers_are_huge_is_not_read(tmp_path):
    path = tmp_path / "a.tar.gz"
    for kind in (tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME):
        with gzip.open(path, "wb") as file:
            header = tarfile.TarInfo("a")
            header.type, header.size = kind, 2**30
            file.write(header.tobuf(tarfile.GNU_FORMAT) + bytes(2**16))
        refused("not an archive that can be read .a header of 1024.0 MiB", path)


@pytest.mark.parametrize("text", ("[" * 10**5, '{"labels": [["a.png", NINES], ["b.png", 1]]}'.replace("NINES", "9" * 5000)))
def test_a_listing_of_nonsense(tmp_path, text):
    for name in "ab":
        save(f"{tmp_path}/{name}.png", picture(0))
    (tmp_path / "dataset.json").write_text(text)
    refused("dataset.json: not of the form", tmp_path)
    (tmp_path / "dataset.json").write_text('{"labels": [["a.png", [NINES]], ["b.png", [1]]]}'.replace("NINES", "9" * 400))
    refused(r"dataset.json: the label of a.png is \[9{59}; give", tmp_path)


@pytest.mark.parametrize("header", (b"{'a': '", b"  a\n b"))
def test_an_npz_of_nonsense(tmp_path, header):
    data = b"\x93NUMPY\x01\0" + struct.pack("<H", len(header)) + header
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
        file.writestr("x.npy", data)
    refused("a.npz: not an .npz that can be read .*; write it with numpy.savez", tmp_path / "a.npz")
    (tmp_path / label_vectors.NAME).write_bytes(data)
    with pytest.raises(UserError, match="not label vectors"):
        label_vectors.read(tmp_path)


def test_encrypted_zip(tmp_path):
    file = io.BytesIO()
    Image.fromarray(picture(0)).save(file, "PNG")
    path = f"{tmp_path}/a.zip"
    with zipfile.ZipFile(path, "w") as z:
        z.writestr("a.png", file.getvalue())
        z.writestr("b.png", file.getvalue())
    data = bytearray(Path(path).read_bytes())
    for at in (i for i in range(len(data)) if data[i : i + 4] == b"PK\1\2"):
        data[at + 8] |= 1  # the flag in the central directory
    Path(path).write_bytes(data)
    refused("encrypted", path)


def test_zip_with_a_wrong_checksum(tmp_path):
    for i in range(3):
        save(f"{tmp_path}/s/{i}.bmp", picture(i))
    path = f"{tmp_path}/a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as file:
        for i in range(3):
            file.write(f"{tmp_path}/s/{i}.bmp", f"{i}.bmp")
    data = bytearray(Path(path).read_bytes())
    data[200] ^= 255  # a pixel: the image still decodes
    Path(path).write_bytes(data)
    refused("0.bmp is broken .*CRC", path)


def test_arrays_are_a_source_and_other_images_are_another():
    images = np.random.default_rng(0).integers(0, 256, (5, 6, 8, 3), np.uint8)
    source = of_arrays(images, [0, 1, 1, 0, 2], class_names=("a", "b", "c"))
    check_source(source)
    assert (source.name, source.n, source.shape, source.classes, source.class_names) == ("arrays", 5, (6, 8, 3), 3, tuple("abc"))
    np.testing.assert_array_equal(source.read(np.array([4, 0])), images[[4, 0]])
    assert images.flags.writeable and of_arrays(images[..., 0]).shape == (6, 8, 1) and of_arrays(images).labels is None
    others = images.copy()
    others[3, 2, 1, 0] ^= 1
    prints = [of_arrays(x, c).fingerprint for x, c in ((images, None), (others, None), (images, [0] * 5), (images.copy(), None))]
    assert len(set(prints)) == 3 and prints[0] == prints[3]
    vectors = of_arrays(images, np.ones((5, 7)))
    check_source(vectors)
    assert vectors.classes == 7 and vectors.labels.dtype == np.float32
    for args, says in (
        ((images / 255,), r"arrays is float64 .* must be uint8 .*np.interp\(x, \(0, 1\), \(0, 255\)"),
        ((np.full((5, 4, 4), 7, np.int16) - 1024 * np.eye(4, dtype=np.int16),), r"int16 .* \(-1017, 7\), \(0, 255\)"),
        ((images & 1,), "arrays is uint8 .* no value is above 1: .* multiply by 255"),
        ((images.transpose(0, 3, 1, 2),), "use x.transpose"),
        ((images, [0, 1]), r"arrays: labels is int64 .2.; labels must be 5 classes .* vectors$"),
        ((images, np.arange(5) / 4), "labels is float64 .* one number for each image: labels.:, None."),
        ((images, ["cat", "dog", "cat", "cat", "cow"]), "labels is <U3 .*of names: class_names, labels = np.unique"),
        ((images[:1],), "at least two"),
    ):
        with pytest.raises(UserError, match=says):
            of_arrays(*args)
    with pytest.raises(UserError, match="2 class_names for 3 classes"):
        of_arrays(images, [0, 1, 1, 0, 2], class_names=("a", "b"))
    assert summary(source) == "5 images of 6x8x3, 3 classes (a, b, c)"
    assert summary(of_arrays(images, [1, 2, 2, 4, 4])).endswith("5 classes, no image of 0, 3")  # counted from 1, or a gap


def test_threads_are_as_many_as_the_cores_of_this_process(classes, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 4, 5}, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 128)  # of the node, of which a job has some
    monkeypatch.setattr(jaxgan.data.alike, "IN_MEMORY", 0)
    assert open_source(str(classes)).read.pool._max_workers == 3


def test_an_image_whose_server_is_away_is_read_again(classes, monkeypatch):
    monkeypatch.setattr(jaxgan.data.alike, "IN_MEMORY", 0)
    source, waited, fails = open_source(str(classes)), [], []
    opened = jaxgan.data.files.open_image
    monkeypatch.setattr(jaxgan.data.files, "open_image", lambda file: raise_next(fails) or opened(file))
    monkeypatch.setattr(jaxgan.data.alike.time, "sleep", waited.append)
    fails += [OSError(errno.ESTALE, "Stale file handle")] * 3
    assert source.read(np.array([0])).shape[0] == 1 and waited == [1, 10, 60]
    fails += [OSError(errno.ESTALE, "Stale file handle")] * 4
    with pytest.raises(UserError, match="is broken .*Stale file handle.*; mend"):
        source.read(np.array([0]))
    waited.clear()
    fails += [OSError("image file is truncated")]
    with pytest.raises(UserError, match="is broken .image file is truncated"):
        source.read(np.array([0]))
    assert not waited and not fails


def raise_next(errors):
    if errors:
        raise errors.pop(0)
