"""From the command that writes images to the one that checks them, with a generator that copies every second training image."""

import json
import re
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from PIL import Image

import experiments.sample
import experiments.verify
from experiments.safety import Output
from experiments.translate import write
from jaxgan import marks, restore, video, watermark
from jaxgan.data import arrays
from jaxgan.errors import UserError
from jaxgan.metrics import extraction
from tests import shared

DIGITS = arrays.digits()[0]


class Planted(nn.Module):
    """A training image where z is below 0, a negative of one elsewhere; the class is its first pixel."""

    shape = (28, 28, 1)
    classes = 2
    z_dim = 1

    @nn.compact
    def __call__(self, z, c=None, *, keys=None, train=False, axis=None):
        table = self.param("table", lambda _: jnp.zeros(DIGITS.shape))
        x = table[jax.vmap(lambda key: jax.random.randint(key, (), 0, len(DIGITS)))(keys)]
        x = jnp.where(z[:, :, None, None] < 0, x, -x)
        return x.at[:, 0, 0, 0].set(c / 127.5 - 1)


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """Either command, in this process: (exit code, what it printed)."""
    params = {"table": jnp.asarray(DIGITS / np.float32(127.5) - 1)}
    trained = restore.Trained(Planted(), {"params": params}, {"settings": {"data": "digits"}}, 5)
    monkeypatch.setattr(restore, "load", lambda *_, **__: trained)
    monkeypatch.setattr(extraction, "cache_directory", lambda: tmp_path / "cache")

    def call(name, *args):
        monkeypatch.setattr(sys, "argv", [name, *map(str, args)])
        code = {"sample": experiments.sample, "verify": experiments.verify}[name].main()
        return code or 0, capsys.readouterr().out

    call.trained = trained
    return call


def test_films_say_what_they_are(command, tmp_path):
    pictures = [Image.new("L", (16, 16), 9)] * 2
    files = Output({"generated": True, "run": "r"})
    assert files.write_film(pictures, tmp_path / "a.mp4", 2) == files.write_film(pictures, tmp_path / "b.webm", 2) == 2
    code, said = command("verify", tmp_path)
    assert code == 0 and said.count('generated (IPTC trainedAlgorithmicMedia) {"generated": true, "run": "r"}') == 2
    video.write(pictures, tmp_path / "c.mp4", 2, comment="by hand")
    code, said = command("verify", tmp_path / "c.mp4")
    assert code == 1 and "says nothing of its source" in said
    with pytest.raises(UserError, match="films have no watermark"):
        command("verify", tmp_path / "c.mp4", "--watermark", "key")
    with pytest.raises(UserError, match="there are no images in this folder"):
        command("verify", tmp_path, "--watermark", "key")
    command("sample", "run", "--n", 8, "--out", tmp_path / "in", "--watermark", "key")
    code, said = command("verify", tmp_path, "--watermark", "key")
    assert (
        code == 0 and said.startswith("note: films have no watermark; left out in ") and said.count("a.mp4, b.webm, c.mp4") == 1
    )
    assert "\n8 files: watermark found" in said


def copied(images):
    """Whether an image is one of the digits, but for the first pixel."""
    known = {digit.tobytes()[1:] for digit in DIGITS}
    return np.array([image.tobytes()[1:] in known for image in images])


def test_copies_are_replaced_and_numbers_stay(command, tmp_path):
    out = tmp_path / "my run"
    everything = command.trained.sample(64, seed=3)
    assert 20 < copied(everything).sum() < 44
    _, said = command("sample", tmp_path / "run", "--seed", 3, "--n", 12, "--out", out, "--refuse-copies", "own")
    good = np.flatnonzero(~copied(everything))[:12]
    assert sorted(p.name for p in out.iterdir()) == [f"seed3_{i:06d}.png" for i in good]
    assert f"12 images ({good[-1] - 11} others refused)" in said and "in pixels-14x14x1, as 1.00% of its own" in said
    for i in good:
        with Image.open(out / f"seed3_{i:06d}.png") as picture:
            facts = marks.of_picture(picture).facts
            np.testing.assert_array_equal(np.asarray(picture), everything[i, ..., 0])
        assert facts["index"] == i and facts["run"] == "run" and facts["step"] == 5 and str(tmp_path) not in json.dumps(facts)
        options = {name: facts[name] for name in ("seed", "psi", "threshold", "noise", "label")}
        np.testing.assert_array_equal(command.trained.sample(facts["index"] + 1, **options)[-1], everything[i])
    table = tmp_path / "table.npz"
    command("sample", "run", "--rows", 3, "--out", table, "--refuse-copies", "digits", "--refuse-share", 0.005)
    assert not copied(shared.arrays(table)["images"]).any()
    assert shared.arrays(table)["labels"].tolist() == shared.arrays(table)["images"][:, 0, 0, 0].tolist() == [0, 1] * 3
    facts = marks.of_arrays(table).facts
    again = command.trained.sample(max(facts["index"]) + 1, label=np.arange(max(facts["index"]) + 1) % 2)
    np.testing.assert_array_equal(again[facts["index"]], shared.arrays(table)["images"])


def test_a_mark_goes_through_every_kind_of_file(command, tmp_path):
    plain = command.trained.sample(20)
    for name in ("a.png", "a.npz", "a"):
        command("sample", "run", "--n", 20, "--out", tmp_path / name, "--watermark", "secret", "--watermark-strength", 3)
        code, said = command("verify", tmp_path / name, "--watermark", "secret")
        assert code == 0 and "watermark found" in said and '"watermark": 3.0' in said and "secret" not in said
        code, said = command("verify", tmp_path / name, "--watermark", "another")
        assert code == 1 and "watermark not found" in said
    np.testing.assert_array_equal(shared.arrays(tmp_path / "a.npz")["images"], watermark.embed(plain, "secret", 3))
    with Image.open(tmp_path / "a" / "seed0_000007.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), watermark.embed(plain, "secret", 3)[7, ..., 0])
    command("sample", "run", "--n", 20, "--out", tmp_path / "plain")
    with Image.open(tmp_path / "plain" / "seed0_000007.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), plain[7, ..., 0])
    assert command("verify", tmp_path / "plain", "--watermark", "secret")[0] == 1
    with Image.open(tmp_path / "a.png") as picture:
        piece, small = picture.crop((101, 37, 391, 300)), picture.resize((picture.width * 9 // 10, picture.height * 9 // 10))
        size = picture.height, picture.width
    piece.save(tmp_path / "piece.png")
    small.save(tmp_path / "small.png")
    assert command("verify", tmp_path / "piece.png", "--watermark", "secret")[0] == 1
    assert command("verify", tmp_path / "piece.png", "--watermark", "secret", "--cropped")[0] == 0
    assert command("verify", tmp_path / "small.png", "--watermark", "secret")[0] == 1
    assert command("verify", tmp_path / "small.png", "--watermark", "secret", "--size", *size)[0] == 0


def test_a_mark_is_found_in_other_kinds_of_files_and_in_an_image_that_was_turned(command, tmp_path):
    grey = watermark.embed(np.full((1, 80, 64, 1), 90, np.uint8), "k")[0, ..., 0]
    picture, turned = Image.fromarray(grey), Image.Exif()
    turned[0x0112] = 6  # to be turned clockwise
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "16.png")
    picture.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=turned)
    picture.convert("RGB").save(tmp_path / "colour.jfif", "JPEG", quality=100)
    code, said = command("verify", tmp_path, "--watermark", "k")
    assert code == 0 and "colour.jfif" in said
    for name in ("16.png", "turned.png", "colour.jfif"):
        assert command("verify", tmp_path / name, "--watermark", "k")[0] == 0
    picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "mirrored.png")
    assert command("verify", tmp_path / "mirrored.png", "--watermark", "k")[0] == 1
    assert command("verify", tmp_path / "mirrored.png", "--watermark", "k", "--cropped")[0] == 0
    (tmp_path / "script.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n")
    with pytest.raises(UserError, match="script.png: .*not an image that can be read"):  # which PIL would have Ghostscript run
        command("verify", tmp_path / "script.png")


def test_a_key_may_be_in_a_file_which_nobody_sees_among_the_arguments(command, tmp_path):
    (tmp_path / "key").write_text("my sécret\r\n", "utf-8")
    command("sample", "run", "--n", 8, "--out", tmp_path / "in", "--watermark", f"@{tmp_path}/key")
    for key, code in ((f"@{tmp_path}/key", 0), ("my sécret", 0), (f"@{tmp_path}/key"[1:], 1)):
        assert command("verify", tmp_path / "in", "--watermark", key)[0] == code
    for name in ("sample", "verify"):
        with pytest.raises(UserError, match="--watermark @none: it cannot be read .No such file.*; @ names the file"):
            command(name, "run", "--watermark", "@none")


def test_the_exit_code_is_for_scripts(command, tmp_path):
    command("sample", "run", "--n", 3, "--out", tmp_path / "in")
    files = sorted((tmp_path / "in").iterdir())
    code, said = command("verify", *files)
    assert code == 0 and said.count("generated (IPTC trainedAlgorithmicMedia)") == 3
    Image.new("P", (4, 4)).save(tmp_path / "in" / "z.png")
    code, said = command("verify", tmp_path / "in")
    assert code == 1 and said.count("generated") == 6 and "z.png: says nothing of its source" in said
    (tmp_path / "broken.npz").write_bytes(files[0].read_bytes())
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    np.savez(tmp_path / "whole.npz", images=np.zeros((1, 8, 8, 1), np.uint8))
    np.savez(tmp_path / "empty.npz", images=np.zeros((0, 8, 8, 1), np.uint8))
    np.savez(tmp_path / "nan.npz", images=np.full((1, 8, 8, 1), np.nan, np.float32))
    Image.fromarray(np.full((8, 8), 70_000, np.int32) * np.eye(8, dtype=np.int32)).save(tmp_path / "deep.tif")
    long = marks.png({"run": "\n" * 2000})
    Image.new("L", (4, 4)).save(tmp_path / "odd\nb.png: generated", "PNG", pnginfo=long)
    code, said = command("verify", tmp_path / "odd\nb.png: generated")
    assert code == 0 and said.count("\n") == 1 and len(said) < 1500 and said.endswith("...\n")
    for args, says in (
        ((tmp_path / "none.png",), "No such file"),
        ((tmp_path / "broken.npz",), "cannot be read as images"),
        ((tmp_path / "other.npz",), "cannot be read as images"),
        ((tmp_path / "cache",), "No such file"),
        ((), "give one or more files"),
        ((files[0], "--cropped"), "give --watermark too"),
        ((files[0], "--watermark", "k", "--size", "0", "3"), "at least 1"),
        ((tmp_path / "deep.tif",), "deep.tif: it cannot be read as images .it has values from 0 to 70000"),
        ((tmp_path / "empty.npz", "--watermark", "k"), "empty.npz: it holds no images"),
        ((tmp_path / "nan.npz", "--watermark", "k"), "nan.npz: images contain NaN"),
        ((files[0], "--watermark", ""), "the watermark's key is empty"),
        ((files[0], "--watermark", "\udcff"), "key is not a text"),
        ((tmp_path / "whole.npz", "--watermark", "k", "--size", "4", "4"), "--size: .* holds arrays"),
    ):
        with pytest.raises(UserError, match=says):
            command("verify", *args)


def test_what_is_asked_for_is_checked_before_anything_is_made(command, tmp_path, monkeypatch):
    out = ("--out", tmp_path / "out.png")
    for args, says in (
        (("--watermark", ""), "the watermark's key is empty"),
        (("--watermark", "\udcff"), "key is not a text"),
        (("--watermark", "k", "--watermark-strength", "0.5"), "1 to 32"),
        (("--watermark-strength", "3"), "only applies with --watermark; give that too"),
        (("--refuse-share", "0.1"), "only applies with --refuse-copies; give that too"),
        (("--refuse-copies", "own", "--refuse-share", "1"), r"must be in \(0, 1\)"),
        (("--refuse-copies", "own", "--mix", "1", "1"), "images from noise"),
        (("--refuse-copies", "own", "--refuse-share", "0.0001"), "too few for a share"),
        (("--n", "0"), "at least one image"),
    ):
        with pytest.raises(UserError, match=says):
            command("sample", "run", *args, *out)
    assert not out[1].exists()
    data = tmp_path / "data.npz"
    np.savez(data, images=DIGITS[:200])
    for kept, written in ((data, data), (tmp_path / "cache", tmp_path / "cache" / "made")):
        kept.parent.joinpath("cache").mkdir(exist_ok=True)
        with pytest.raises(UserError, match="would overwrite"):
            command("sample", "run", "--refuse-copies", kept, "--out", written)
    monkeypatch.chdir(tmp_path)  # names that may be a TFDS set's, too
    for name in ("data.npz", "cache"):
        with pytest.raises(UserError, match="would overwrite"):
            command("sample", "run", "--refuse-copies", name, "--out", name)
    for folder in ("digits", "digits/checkpoints"):
        (tmp_path / folder).mkdir()
    (tmp_path / "digits" / "config.json").write_text("{}")
    said = command("sample", "run", "--n", 2, "--refuse-copies", "digits", "--out", "digits/made")[1]
    limit, median = map(float, re.search(r"lies within ([\d.]+) of .* half of them within ([\d.]+)", said).groups())
    assert 0 < limit < median


class Inverse(nn.Module):
    """The negative of a source image."""

    shape = (28, 28, 1)
    source_channels = 1
    z_dim = classes = 0

    def __call__(self, source, c=None, *, keys=None, train=False, axis=None):
        return -source


def test_translated_images_name_their_sources_by_digest(tmp_path):
    Image.fromarray(DIGITS[0, ..., 0]).save(tmp_path / "name.bmp")
    trained, written = restore.Trained(Inverse(), {}, {}, 1), Output({"run": "r"}, "k")
    how = {"resize": False, "seed": 0, "n": 1}
    write(trained, str(tmp_path / "name.bmp"), tmp_path / "out", written, **how)
    with Image.open(tmp_path / "out" / "name.png") as picture:
        said = marks.of_picture(picture)
        np.testing.assert_array_equal(np.asarray(picture), watermark.embed(255 - DIGITS[:1], "k")[0, ..., 0])
    assert said.kind == "trainedAlgorithmicMedia" and said.facts["index"] == 0 and len(said.facts["source"]) == 64
    write(trained, str(tmp_path / "name.bmp"), tmp_path / "a.png", written, **how)
    with Image.open(tmp_path / "a.png") as picture:  # the source is beside it
        assert marks.of_picture(picture).kind == "compositeWithTrainedAlgorithmicMedia"
