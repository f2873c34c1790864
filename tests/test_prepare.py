"""Prepared directories: written without TensorFlow, read back bit for bit, found by path and by name."""

import importlib.machinery
import io
import json
import os
import resource
import signal
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from tensorflow_datasets.core.data_sources.array_record import ArrayRecordDataSource

import jaxgan.data.alike
import jaxgan.data.prepare
import jaxgan.data.prepared
import jaxgan.data.source
from experiments.prepare import main
from jaxgan.data import Source, open_source, open_unpaired, read_all
from jaxgan.data.prepare import dataset_name, write
from jaxgan.errors import UserError


def npz(path, n=7, channels=3, **more):
    images = np.random.default_rng(channels).integers(0, 256, (n, 5, 6, channels), np.uint8)
    np.savez(path, x=images, **more)
    return str(path), images


def write_tfds(path, features, examples, name="other", split="train", version="1.0.0"):
    """Any set, by TFDS's own writer."""
    os.makedirs(path)
    identity = tfds.core.dataset_info.DatasetIdentity(
        name=name, version=tfds.core.Version(version), data_dir=str(path), module_name=""
    )
    info = tfds.core.DatasetInfo(builder=identity, features=tfds.features.FeaturesDict(features), description="-")
    writer = tfds.core.SequentialWriter(info, max_examples_per_shard=3, file_format="array_record")
    writer.initialize_splits([split])
    writer.add_examples({split: examples})
    writer.close_all()
    return str(path)


def refused(match, call, *args, **options):
    with pytest.raises(UserError, match=match) as caught:
        call(*args, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("channels", (1, 3, 4))
@pytest.mark.parametrize("labels", (None, np.array([2, 0, 1, 1, 0, 2, 2]), np.linspace(-1, 1, 21).reshape(7, 3)))
def test_round_trip(tmp_path, channels, labels):
    path, images = npz(tmp_path / "a.npz", channels=channels, **({} if labels is None else {"y": labels}))
    source = open_source(path, channels=channels)
    dest = write(source, f"{tmp_path}/out", split="train")
    back = open_source(dest, channels=channels)
    np.testing.assert_array_equal(read_all(back), images if channels < 4 else read_all(source))  # whose unseen colours changed
    assert (back.shape, back.n, back.classes) == (source.shape, source.n, source.classes)
    if labels is None:
        assert back.labels is None
    else:
        np.testing.assert_array_equal(back.labels, source.labels)
        assert back.labels.dtype == source.labels.dtype
    assert sorted(os.listdir(tmp_path)) == ["a.npz", "out"]


def test_class_names_survive(tmp_path):
    for i, name in enumerate(("x y/0.png", "x y/1.png", "ü/0.png")):
        os.makedirs(os.path.dirname(tmp_path / "s" / name), exist_ok=True)
        Image.new("RGB", (4, 4), (i, i, i)).save(tmp_path / "s" / name)
    dest = write(open_source(f"{tmp_path}/s"), f"{tmp_path}/out")
    assert open_source(dest).class_names == ("x y", "ü")
    np.testing.assert_array_equal(open_source(dest).labels, [0, 0, 1])


def test_tfds_reads_it_by_itself(tmp_path):
    path, images = npz(tmp_path / "a.npz", y=np.arange(7) % 2)
    dest = write(open_source(path), f"{tmp_path}/store/pets/2.1.0")
    records = tfds.builder_from_directory(dest).as_data_source("train")
    np.testing.assert_array_equal([r["image"] for r in records], images)
    assert [r["label"] for r in records] == [0, 1, 0, 1, 0, 1, 0]
    assert len(tfds.data_source("pets", data_dir=f"{tmp_path}/store", split="train")) == 7
    assert "tensorflow" not in sys.modules


def test_found_by_path_parent_and_name(tmp_path):
    path, images = npz(tmp_path / "a.npz")
    for version in ("1.0.0", "1.10.0", "1.9.0"):
        write(open_source(path), f"{tmp_path}/store/pets/{version}")
    write(open_source(path), f"{tmp_path}/store/birds/small/1.0.0", name="birds")
    write(open_source(path), f"{tmp_path}/store/birds/large/1.0.0", name="birds")
    store = f"{tmp_path}/store"
    assert jaxgan.data.prepared.find(f"{store}/pets").endswith("pets/1.10.0")  # the newest
    assert jaxgan.data.prepared.find(f"{store}/pets/1.9.0").endswith("1.9.0")
    for name in ("pets", "pets:1.0.0", "birds/small", "birds/large:1.0.0"):
        np.testing.assert_array_equal(read_all(open_source(name, data_dir=store)), images)
    refused("several prepared sets; choose one of .*large.*small", open_source, "birds", data_dir=store)
    refused("several prepared sets", open_source, f"{store}/birds")
    refused("does not hold version 3.0.0; it has 1.0.0, 1.10.0, 1.9.0", open_source, "pets:3.0.0", data_dir=store)
    refused("no TFDS name", open_source, "fish:3.0.0", data_dir=store)
    assert jaxgan.data.prepared.find(str(tmp_path / "nothing")) == ""


def test_large_prepared_sets_are_read_lazily(tmp_path, monkeypatch):
    path, images = npz(tmp_path / "a.npz", y=np.arange(7))
    dest = write(open_source(path), f"{tmp_path}/out")
    whole = open_source(dest)
    monkeypatch.setattr(jaxgan.data.alike, "IN_MEMORY", 0)
    monkeypatch.setattr(jaxgan.data.prepared, "IN_MEMORY", 0)
    lazy = open_source(dest)
    assert isinstance(lazy.read, jaxgan.data.alike.Decoded)
    np.testing.assert_array_equal(lazy.read(np.array([6, 0, 3, 3])), images[[6, 0, 3, 3]])
    np.testing.assert_array_equal(lazy.labels, np.arange(7))
    assert lazy.fingerprint == whole.fingerprint


def test_records_of_a_large_prepared_set_are_read_many_at_once_and_a_broken_one_is_alone(tmp_path, monkeypatch):
    path, images = npz(tmp_path / "a.npz", n=200)
    dest = write(open_source(path), f"{tmp_path}/out")
    for module in (jaxgan.data.alike, jaxgan.data.prepared):
        monkeypatch.setattr(module, "IN_MEMORY", 0)
    records, calls = ArrayRecordDataSource, []
    one, many = records.__getitem__, records.__getitems__
    monkeypatch.setattr(records, "__getitem__", lambda self, i: (calls.append(i), one(self, i))[1])
    source = open_source(dest)
    np.testing.assert_array_equal(source.read(np.arange(199, -1, -1)), images[::-1])
    assert calls == [0]  # a read takes as long of one as of many: of the first, to see what it is

    def damaged(self, indices):
        if 70 in indices:
            raise RuntimeError("Corrupted at 70")
        return many(self, indices)

    monkeypatch.setattr(records, "__getitems__", damaged)
    monkeypatch.setattr(records, "__getitem__", lambda self, i: one(self, i) if i != 70 else damaged(self, [i]))
    refused("70 is broken .Corrupted at 70.; mend or remove it", open_source, dest)
    assert open_source(dest, skip_broken=True).skipped == ("70",)


def test_a_set_of_many_files_may_open_them_all(tmp_path, monkeypatch):
    path, _ = npz(tmp_path / "a.npz")
    monkeypatch.setattr(jaxgan.data.prepare, "SHARD", 5 * 6 * 3)
    dest, given = write(open_source(path), f"{tmp_path}/out"), []
    monkeypatch.setattr(resource, "setrlimit", lambda which, limits: given.append(limits))
    for soft, hard in ((518, 4096), (519, 4096), (518, resource.RLIM_INFINITY), (100, 518)):
        monkeypatch.setattr(resource, "getrlimit", lambda which, limits=(soft, hard): limits)
        if hard == 518:
            refused("its 7 files are kept open, but a process here may open 518; raise it", open_source, dest)
        else:
            assert open_source(dest).n == 7
    assert given == [(519, 4096), (519, resource.RLIM_INFINITY)]


def test_fingerprint_tells_sets_apart(tmp_path):
    path, images = npz(tmp_path / "a.npz")
    first = open_source(write(open_source(path), f"{tmp_path}/one", name="same")).fingerprint
    assert open_source(write(open_source(path), f"{tmp_path}/two", name="same")).fingerprint == first
    images[3, 2, 2, 1] ^= 1
    np.savez(path, x=images)
    assert open_source(write(open_source(path), f"{tmp_path}/three", name="same")).fingerprint != first


def test_arrays_and_other_feature_names(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 6, 1), np.uint8)
    raw = tfds.features.Tensor(shape=(4, 6, 1), dtype=np.uint8, encoding=tfds.features.Encoding.BYTES)
    kind = tfds.features.ClassLabel(names=["a", "b"])
    examples = [{"picture": x, "kind": i % 2, "id": str(i)} for i, x in enumerate(images)]
    path = write_tfds(tmp_path / "o", {"picture": raw, "kind": kind, "id": tfds.features.Text()}, examples)
    source = open_source(path)
    np.testing.assert_array_equal(read_all(source), images)
    np.testing.assert_array_equal(source.labels, [0, 1, 0, 1, 0])
    assert source.class_names == ("a", "b")
    np.testing.assert_array_equal(read_all(open_source(path, split="train[1:4]")), images[1:4])
    refused("no split 'test'", open_source, path, split="test")


def test_a_name_may_say_its_split(tmp_path):
    """As cycle_gan/horse2zebra:trainA and ...:trainB, whose two kinds are splits of one set."""
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 6, 1), np.uint8)
    raw = tfds.features.Tensor(shape=(4, 6, 1), dtype=np.uint8, encoding=tfds.features.Encoding.BYTES)
    write_tfds(f"{tmp_path}/pets/small/1.0.0", {"picture": raw}, [{"picture": x} for x in images], name="pets")
    named = lambda name, split="train": open_source(name, data_dir=str(tmp_path), split=split)
    for name in ("pets/small:train", "pets/small:1.0.0:train"):
        np.testing.assert_array_equal(read_all(named(name)), images)
    assert named("pets/small:train").name == "pets/small:train"
    refused("no split 'trian'", named, "pets/small:trian")
    refused("no split 'test'", named, "pets/small:1.0.0", "test")
    assert named("pets/small:train[:2]", "train[:2]").n == 2
    refused("pets/small:train says its split; leave it out there", named, "pets/small:train", "test")
    both = open_unpaired("pets/small:train[:3]", target="pets/small:train[3:]", data_dir=str(tmp_path))
    np.testing.assert_array_equal(read_all(both.sides[0]), images[:3])
    np.testing.assert_array_equal(read_all(both.sides[1]), images[3:])


def test_unknown_labels_count_as_none(tmp_path):
    raw = tfds.features.Tensor(shape=(4, 6, 3), dtype=np.uint8)
    kind = tfds.features.ClassLabel(num_classes=3)
    examples = [{"image": np.zeros((4, 6, 3), np.uint8), "label": -1} for _ in range(3)]
    assert open_source(write_tfds(tmp_path / "o", {"image": raw, "label": kind}, examples)).labels is None


def test_images_of_several_sizes(tmp_path):
    pictures = [Image.new("RGB", (4 + i % 2, 5), (i, 0, 0)) for i in range(4)]
    path = write_tfds(tmp_path / "o", {"image": tfds.features.Image()}, [{"image": p} for p in pictures])
    refused("0 has 5x4, 1 has 5x5; pass --size H W", open_source, path)
    assert read_all(open_source(path, size=(5, 4)))[:, 0, 0, 0].tolist() == [0, 1, 2, 3]


def test_prepared_errors(tmp_path):
    text = write_tfds(tmp_path / "text", {"text": tfds.features.Text()}, [{"text": "a"}])
    refused("none of its features .text. is an image", open_source, text)
    path, _ = npz(tmp_path / "a.npz")
    dest = write(open_source(path), f"{tmp_path}/out")
    info = json.loads(open_text(f"{dest}/dataset_info.json"))
    info["fileFormat"] = "tfrecord"
    (tmp_path / "out/dataset_info.json").write_text(json.dumps(info))
    refused("prepared as tfrecord, which only TensorFlow reads", open_source, dest)
    (tmp_path / "out/features.json").write_text("{")
    refused("TFDS cannot open it", open_source, dest)


LEGACY = {"type": "beside.payload.X", "content": {}}
FOREIGN = (
    {"pythonClassName": "beside.payload.X", "featuresDict": {"features": {}}},
    {"python_class_name": "beside.payload.X", "featuresDict": {"features": {}}},
    LEGACY,
    {"pythonClassName": "tensorflow_datasets.core.features.features_dict.FeaturesDict",
     "jsonFeature": {"json": json.dumps({"a": LEGACY})}},
    {"type": "tensorflow_datasets.core.features.sequence_feature.Sequence", "proto_cls": "tensorflow_datasets.Sequence",
     "content": json.dumps({"feature": {"pythonClassName": "beside.payload.X", "text": {}}})},
)  # fmt: skip


@pytest.mark.parametrize("features", FOREIGN)
def test_no_module_is_imported_that_a_set_names(tmp_path, monkeypatch, features):
    dest = write(open_source(npz(tmp_path / "a.npz")[0]), f"{tmp_path}/beside")
    (tmp_path / "beside/payload.py").write_text("raise SystemExit('run')")
    monkeypatch.syspath_prepend(tmp_path)  # as the folder is in which `python -m` is called
    (tmp_path / "beside/features.json").write_text(json.dumps(features))
    refused("names the class 'beside.payload.X', which is not TFDS's", open_source, dest)


def test_of_the_images_in_a_set_only_those_that_are_asked_for_are_decoded(tmp_path):
    of, image, other = tfds.features, io.BytesIO(), b"%!PS-Adobe-3.0 EPSF-3.0"
    Image.new("RGB", (4, 4), (9, 0, 0)).save(image, "PNG")
    features = {"image": of.Image(), "label": of.Image(), "more": {"mask": of.Image(), "name": of.Text()}}
    features |= {"parts": of.Sequence({"crop": of.Image()}), "crops": of.Sequence(of.Image())}
    one = {"image": image.getvalue(), "label": other, "more": {"mask": other, "name": "a"}}
    path = write_tfds(tmp_path / "o", features, [one | {"parts": {"crop": [other] * 2}, "crops": [other]}] * 2)
    assert read_all(open_source(path))[:, 0, 0, 0].tolist() == [9, 9]


def open_text(path):
    with open(path) as file:
        return file.read()


def test_names_that_are_not_prepared(tmp_path, monkeypatch):
    where = {"data_dir": str(tmp_path)}
    refused("did you mean cifar10", open_source, "cifar1O", **where)
    refused("did you mean digits", open_source, "digit", **where)
    refused("no TFDS name", open_source, "zzzzqqq", **where)
    refused("no such file or folder", open_source, "somewhere/photos", **where)
    monkeypatch.setitem(sys.modules, "tensorflow", None)  # not installed
    refused(r'not prepared in .*pip install "jaxgan\[prepare\]".*--data-dir', open_source, "cifar10", **where)


def test_without_array_record_nothing_is_said_to_be_broken(tmp_path, monkeypatch):
    path, _ = npz(tmp_path / "a.npz")
    dest = write(open_source(path), f"{tmp_path}/out")
    monkeypatch.setitem(sys.modules, "array_record", None)  # not installed, as on Windows
    for call in (
        lambda: open_source(dest),
        lambda: open_source("cifar10", data_dir=str(tmp_path)),
        lambda: write(open_source(path), f"{tmp_path}/b"),
    ):
        refused(r"need the package array_record, which is not installed \(there is none for Windows\); give a folder", call)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.npz", "out"]


def test_with_tensorflow_a_missing_set_is_prepared(tmp_path, monkeypatch):
    path, images = npz(tmp_path / "a.npz")
    asked = []

    def builder(name, data_dir, file_format):
        asked.append((name, data_dir, file_format))
        place = f"{data_dir}/cifar10/3.0.2"
        return SimpleNamespace(download_and_prepare=lambda: write(open_source(path), place), data_dir=place)

    spec = importlib.machinery.ModuleSpec("tensorflow", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    monkeypatch.setattr(tfds, "builder", builder)
    np.testing.assert_array_equal(read_all(open_source("cifar10", data_dir=f"{tmp_path}/d")), images)
    open_source("cifar10", data_dir=f"{tmp_path}/d")  # prepared by now
    assert asked == [("cifar10", f"{tmp_path}/d", "array_record")]

    def fails(*args, **kwargs):
        raise RuntimeError("no\nnetwork")

    monkeypatch.setattr(tfds, "builder", fails)
    refused("TFDS could not prepare it: no network", open_source, "mnist", data_dir=f"{tmp_path}/d")


@pytest.mark.parametrize(
    "dest,name,want",
    (
        ("a/My Pets-2", "", ("my_pets_2", "1.0.0")),
        ("store/pets/2.0.1", "", ("pets", "2.0.1")),
        ("a/128", "", ("set_128", "1.0.0")),
        ("a/b", "other_1", ("other_1", "1.0.0")),
    ),
)
def test_dataset_name(dest, name, want):
    assert dataset_name(dest, name) == want


def test_a_destination_is_whole_or_not_there(tmp_path):
    path, _ = npz(tmp_path / "a.npz", n=1200)
    source = open_source(path)

    def fails(indices):
        if indices[0] > 0:
            raise UserError("b.png is broken")
        return source.read(indices)

    refused("b.png is broken", write, source._replace(read=fails), f"{tmp_path}/out")
    assert os.listdir(tmp_path) == ["a.npz"]
    (tmp_path / "out").mkdir()
    write(source, f"{tmp_path}/out")  # an empty folder is fine
    refused("exists already", write, source, f"{tmp_path}/out")
    refused("exists already", write, source, path)
    refused("cannot be written", write, source, f"{path}/below/a/file")
    refused("TFDS wants", write, source, f"{tmp_path}/new", name="Not This")
    assert sorted(os.listdir(tmp_path)) == ["a.npz", "out"]


def test_two_that_write_the_same_destination_leave_one_another_alone(tmp_path, monkeypatch):
    path, _ = npz(tmp_path / "a.npz")
    source, dest = open_source(path), f"{tmp_path}/out"
    monkeypatch.setattr(os, "getpid", lambda: 7)  # as each has it in a container of its own

    def late(indices):
        write(source, dest)
        return source.read(indices)

    refused("another process has written it meanwhile", write, source._replace(read=late), dest)
    assert open_source(dest).n == 7 and sorted(os.listdir(tmp_path)) == ["a.npz", "out"]


def test_a_full_disk_is_one_line(tmp_path, monkeypatch):
    path, _ = npz(tmp_path / "a.npz")

    def full(self, examples):
        raise RuntimeError("write() failed: No space left on device;\nwriting x")

    monkeypatch.setattr(tfds.core.SequentialWriter, "add_examples", full)
    refused("out: cannot be written .write.. failed: No space left", write, open_source(path), f"{tmp_path}/out")
    assert os.listdir(tmp_path) == ["a.npz"]


def test_large_images_are_gone_through_few_at_a_time():
    source = Source("x", (2048, 2048, 3), 50, lambda indices: None, None, 0, (), "")
    parts = list(jaxgan.data.source.pieces(source))
    assert max(map(len, parts)) == 21  # 256 MiB
    np.testing.assert_array_equal(np.concatenate(parts), np.arange(50))


def test_what_is_half_written_is_removed_at_sigterm(tmp_path, monkeypatch):
    path, _ = npz(tmp_path / "a.npz")
    kill = lambda self, examples: signal.raise_signal(signal.SIGTERM)
    monkeypatch.setattr(tfds.core.SequentialWriter, "add_examples", kill)
    before = signal.signal(signal.SIGTERM, lambda *_: pytest.fail("as Python would end it"))
    try:
        with pytest.raises(KeyboardInterrupt):
            main([path, f"{tmp_path}/out"])
    finally:
        signal.signal(signal.SIGTERM, before)
    assert os.listdir(tmp_path) == ["a.npz"]


def test_command(tmp_path, capsys):
    path, images = npz(tmp_path / "a.npz", y=np.arange(7) % 3)
    assert main([path, f"{tmp_path}/out", "--size", "10", "12", "--channels", "1", "--name", "pets"]) == 0
    out, err = capsys.readouterr()
    assert "7 images of 10x12x1, 3 classes" in out and err == ""
    source = open_source(f"{tmp_path}/out")
    assert source.shape == (10, 12, 1)
    np.testing.assert_array_equal(read_all(source), read_all(open_source(path, size=(10, 12), channels=1)))
    assert main([path, f"{tmp_path}/padded", "--size", "4", "12", "--fit", "pad", "--background", "red"]) == 0
    padded = read_all(open_source(path, size=(4, 12), fit="pad", background="red"))
    np.testing.assert_array_equal(read_all(open_source(f"{tmp_path}/padded")), padded)
    assert os.listdir(f"{tmp_path}/out")  # the name is in the files
    assert any(f.startswith("pets-train.array_record") for f in os.listdir(f"{tmp_path}/out"))


def test_command_skips_broken_images_and_says_so(tmp_path, capsys):
    (tmp_path / "s").mkdir()
    for i in range(3):
        Image.new("L", (4, 4), i).save(tmp_path / f"s/{i}.png")
    (tmp_path / "s/1.png").write_bytes(b"")
    refused("1.png is broken", main, [f"{tmp_path}/s", f"{tmp_path}/out"])
    assert main([f"{tmp_path}/s", f"{tmp_path}/out", "--skip-broken"]) == 0
    assert "2 images of 4x4x1, no labels; 1 broken left out: 1.png;" in capsys.readouterr().out
    assert read_all(open_source(f"{tmp_path}/out"))[:, 0, 0, 0].tolist() == [0, 2]


def test_command_as_a_user_runs_it(tmp_path):
    path, _ = npz(tmp_path / "a.npz")

    def run(*args):
        return subprocess.run([sys.executable, "-m", "experiments.prepare", *args], capture_output=True, text=True, timeout=120)

    bad = run(path, path)
    assert bad.returncode == 2 and bad.stdout == ""
    assert bad.stderr.startswith("error: ") and bad.stderr.count("\n") == 1
    good = run(path, f"{tmp_path}/out")
    assert good.returncode == 0, good.stderr
    assert open_source(f"{tmp_path}/out").n == 7


def test_slow_packages_are_imported_when_needed():
    code = (
        "import sys, jaxgan.data, jaxgan.data.stream, jaxgan.data.prepare\n"
        "slow = ('tensorflow_datasets', 'sklearn', 'tensorflow', 'torch', 'matplotlib')\n"
        "assert not [m for m in slow if m in sys.modules]\n"
        "jaxgan.data.open_source('digits', size=(8, 8))\n"
        "assert 'tensorflow' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
