"""A run on pairs as a user makes it: train, look, translate, measure; and translation as a function."""

import contextlib
import io
import json
import re
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from PIL import Image

import jaxgan
from experiments import evaluate, sample
from experiments.translate import as_png, holes
from jaxgan import data, marks, restore, translate, video
from jaxgan.data.frames import open_frames
from jaxgan.data.images import Look, pixels
from jaxgan.errors import UserError
from jaxgan.metrics import lpips
from jaxgan.models import cyclegan, dcgan
from jaxgan.models.pix2pix import Generator
from tests import shared
from tests.commands import run
from tests.golden.classic_rule import variables
from tests.shared import initial
from tests.test_metrics_lpips import narrow

SMALL = ["pix2pix", "--width", "4", "--batch", "4", "--kimg", "0.08", "--tick-kimg", "0.04", "--snapshot-kimg", "0.08"]


def test_each_image_is_a_function_of_itself_its_number_and_the_seed():
    g = Generator((6, 5, 1), source_channels=3, width=3)
    images = np.random.default_rng(0).integers(0, 256, (11, 6, 5, 3), np.uint8)
    v = variables(g, jnp.zeros((1, 6, 5, 3)))
    whole = translate.translate(g, v, images, seed=3)
    assert whole.shape == (11, 6, 5, 1) and whole.dtype == np.uint8
    np.testing.assert_array_equal(translate.translate(g, v, images[9:], seed=3, first=9), whole[9:])
    assert (translate.translate(g, v, images[9:], seed=3) != whole[9:]).any()
    assert (translate.translate(g, v, images, seed=4) != whole).any()
    still = translate.translate(g, v, images, seed=None)
    x = jax.jit(g.apply)(v, images.astype(np.float32) / 127.5 - 1)
    assert np.abs(still - (np.asarray(x) + 1) * 127.5).max() < 0.51
    for bad in (images[..., :1], images.astype(np.float32), images[:0], images[0]):
        with pytest.raises(UserError, match=r"must be uint8 \[n, 6, 5, 3\]"):
            translate.translate(g, v, bad)
    with pytest.raises(UserError, match="use sample"):
        translate.translate(dcgan.Generator((28, 28, 1)), {}, images)


def test_distances_are_those_of_the_definition():
    x = np.zeros((2, 2, 2, 1), np.uint8)
    y = x.copy()
    y[0] += 10
    y[1, 0, 0] += 20
    found = translate.distance(x, y)
    assert found.l1 == 7.5
    assert abs(found.psnr - (10 * np.log10(255**2 / 100) + 10 * np.log10(255**2 / 100)) / 2) < 1e-9
    assert translate.distance(x, x) == (0.0, 100.0)


def test_pictures_lie_in_threes_with_the_channels_of_the_richest():
    grey, colour, clear = (np.full((2, 1, 1, c), 10 * c, np.uint8) for c in (1, 3, 4))
    out = translate.side_by_side(grey, colour, clear)
    assert out.shape == (6, 1, 1, 4)
    assert out[:3, 0, 0].tolist() == [[10, 10, 10, 255], [30, 30, 30, 255], [40, 40, 40, 40]]


@pytest.fixture(scope="module")
def facades(tmp_path_factory):
    """Twelve images of both sides, and a run on them: the right halves are the sources, grey."""
    at = tmp_path_factory.mktemp("pairs")
    rng = np.random.default_rng(0)
    (at / "sides").mkdir()
    for i in range(12):
        Image.fromarray(rng.integers(0, 256, (16, 48, 3), np.uint8)).save(at / "sides" / f"{i:02d}.png")
    pairs = ["--data", str(at / "sides"), "--side-by-side", "right", "--source-channels", "1", "--hold-out", "3"]
    code, out, err = run("train", *SMALL, *pairs, "--jitter", "2", "--mirror", "--run-dir", at / "run")
    assert code == 0, err
    return at


@pytest.mark.slow
def test_a_run_on_pairs_shows_and_measures_what_it_held_out(facades):
    rows = [json.loads(line) for line in (facades / "run" / "log.jsonl").read_text().splitlines()]
    assert {"d/adv", "g/adv", "g/l1"} <= rows[0].keys() and rows[-1]["psnr"] > 5 and rows[-1]["l1"] > 0
    with Image.open(facades / "run" / "samples" / "kimg000000.080.png") as picture:
        picture.load()
        assert picture.width > 12 * 24 and marks.of_picture(picture).kind == marks.COMPOSITE
    code, out, err = run("evaluate", facades / "run")
    assert code == 0 and "3 held-out pairs" in out, err
    assert f"psnr {rows[-1]['psnr']:.2f}" in out  # as the run said
    source = data.shuffled(data.open_pairs(str(facades / "sides"), side_by_side="right", source_channels=1), 0)
    before = translate.distance(source.read(np.arange(9, 12)), source.inputs.read(np.arange(9, 12)).repeat(3, -1))
    assert f"(the sources themselves: psnr {before.psnr:.2f} dB, l1 {before.l1:.2f})" in out
    for name, rest in (("sources", 1), ("targets", 3)):
        (facades / name).mkdir()
        for i in range(12):
            with Image.open(facades / "sides" / f"{i:02d}.png") as whole:
                whole.crop((24, 0, 48, 16) if rest == 1 else (0, 0, 24, 16)).save(facades / name / f"{i:02d}.png")
    code, out, err = run("evaluate", facades / "run", "--data", facades / "sides", "--metrics", "swd10k")
    assert code == 0 and "12 training pairs" in out and "swd10k" in out, err
    two = ["--data", facades / "sources", "--target", facades / "targets"]  # the same pairs, in another form
    code, out, err = run("evaluate", facades / "run", *two, "--metrics", "ssim")
    assert code == 0 and "12 pairs" in out and "ssim" in out, err
    lines = [json.loads(line) for line in (facades / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["metric"] for line in lines] == ["pairs", "pairs", "swd10k", "pairs", "ssim"] and lines[1]["fakes"] == 12
    assert lines[1]["psnr"] == lines[3]["psnr"] != lines[0]["psnr"] and lines[1]["psnr_before"] == lines[3]["psnr_before"]


@pytest.mark.slow
def test_a_run_on_pairs_is_measured_by_lpips(facades, monkeypatch, capsys):
    monkeypatch.setattr(lpips, "load", lambda folder: narrow())
    monkeypatch.setattr("sys.argv", ["evaluate", str(facades / "run"), "--metrics", "lpips", "--out", str(facades / "far.jsonl")])
    evaluate.main()
    pairs, found = (json.loads(line) for line in (facades / "far.jsonl").read_text().splitlines())
    assert "against 3 held-out pairs" in capsys.readouterr().out
    assert (found["metric"], found["fakes"]) == ("lpips", 3) and 0 < found["value"][1] < found["value"][0]
    monkeypatch.setattr("sys.argv", ["evaluate", str(facades / "run"), "--metrics", "eqt"])
    with pytest.raises(UserError, match="eqt50k_int is for generators that draw from latents; the generator of pix2pix"):
        evaluate.main()


@pytest.mark.slow
def test_a_run_on_pairs_is_applied_to_anybodys_images(facades, monkeypatch):
    given = facades / "given"
    (given / "sub").mkdir(parents=True)
    images = np.random.default_rng(1).integers(0, 256, (2, 16, 24), np.uint8)
    for name, image in zip(("a.bmp", "sub/b.png"), images, strict=True):
        Image.fromarray(image).save(given / name)
    code, out, err = run("sample", facades / "run", "--source", given, "--out", facades / "out")
    assert code == 0 and "2 images" in out, err
    made = jaxgan.load(facades / "run").translate(images[..., None])
    for name, image in zip(("a.png", "sub/b.png"), made, strict=True):
        with Image.open(facades / "out" / name) as picture:
            np.testing.assert_array_equal(np.asarray(picture), image)
    code, out, err = run("sample", facades / "run", "--source", given / "a.bmp", "--out", facades / "one.npz")
    assert code == 0, err
    np.testing.assert_array_equal(shared.arrays(facades / "one.npz")["images"], made[:1])
    Image.fromarray(images[0, :8]).save(given / "c.png")
    for args, says in (
        ([], "--source FOLDER"),
        (["--source", given], "c.png has 8x24, the generator takes 16x24; pass --resize"),
        (["--source", given, "--native", "--out", facades / "n"], "8x24: this U-Net halves them 4 times, for sides of 9"),
        (["--source", given, "--native", "--out", facades / "n.png"], "--native: every image keeps its own size; leave out"),
        (["--native"], "--native only applies to source images"),
        (["--source", given, "--psi", "0.5"], "--psi is for images from noise"),
        (["--skip-broken"], "--skip-broken only applies to source images"),
        (["--source", given / "nothing"], "no such image"),
        (["--source", given, "--out", given], "would overwrite"),
        (["--source", given, "--out", given / "sub" / "made"], "would overwrite"),
        (["--source", given, "--rows", "2"], "--rows 2"),
        (["--source", facades / "one.npz"], "arrays are not read here"),
    ):
        monkeypatch.setattr("sys.argv", ["sample", *map(str, (facades / "run", *args))])
        with pytest.raises(UserError, match=f"^.*{re.escape(says)}.*$"):
            sample.main()
    (given / "d.png").write_bytes((given / "c.png").read_bytes()[:-30])
    grid = ["--source", given, "--resize", "--out", facades / "grid.png"]
    code, out, err = run("sample", facades / "run", *grid)
    assert code == 2 and "d.png is broken" in err and "pass --skip-broken" in err, err
    code, out, err = run("sample", facades / "run", *grid, "--skip-broken")
    assert code == 0 and "3 images" in out and "; 1 broken left out: d.png" in out, err


def test_only_the_holes_of_a_mask_are_filled(tmp_path, monkeypatch):
    g = Generator((8, 8, 3), source_channels=3, width=4)
    settings = {"degrade": ["blur:2", "centre:0.4"], "target": "", "side_by_side": ""}
    trained = restore.Trained(g, initial(g), {"settings": settings}, 0)
    monkeypatch.setattr(restore, "load", lambda *_, **__: trained)
    monkeypatch.chdir(tmp_path)
    x = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    missing = np.zeros((8, 8), bool)
    missing[2:5, 1:7] = True
    Image.fromarray(x).save("x.png")
    Image.fromarray(np.uint8(255 * missing)).save("m.png")
    monkeypatch.setattr("sys.argv", ["sample", "run", "--source", "x.png", "--mask", "m.png", "--out", "made"])
    sample.main()
    painted = np.where(missing[..., None], np.uint8(128), x)  # as --degrade shows a hole
    made = translate.translate(g, trained.variables, painted[None])[0]
    assert (made != x)[missing].any() and (made != x)[~missing].any()
    with Image.open("made/x.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), np.where(missing[..., None], made, x))
        assert "compositeWithTrainedAlgorithmicMedia" in str(picture.text)
    for change, says in (({"degrade": ["noise"]}, "not trained to fill holes"), ({"target": "photos/"}, "")):
        settings |= change
        with pytest.raises(UserError, match=says) if says else contextlib.nullcontext():
            sample.main()
    settings |= {"fit": "pad", "background": "red"}  # as its training images, both are padded, and the mask is not white there
    Image.fromarray(x[:, :4]).save("x.png")
    Image.fromarray(np.uint8(255 * missing[:, :4])).save("m.png")
    monkeypatch.setattr("sys.argv", [*"sample run --source x.png --mask m.png --resize --out padded".split()])
    sample.main()
    with Image.open("padded/x.png") as picture:
        around = np.asarray(picture)[:, [0, 1, 6, 7]]
    np.testing.assert_array_equal(around, np.broadcast_to(np.uint8([255, 0, 0]), around.shape))


def test_images_are_translated_at_their_own_sizes(tmp_path, monkeypatch):
    g = cyclegan.Translator((8, 8, 3), width=2, blocks=1)
    trained = restore.Trained(g, initial(g), {}, 0)
    monkeypatch.setattr(restore, "load", lambda *_, **__: trained)
    monkeypatch.chdir(tmp_path)
    rng, given = np.random.default_rng(0), {}
    for name, size in (("a.png", (8, 8)), ("sub/b.png", (13, 6)), ("c.png", (8, 8))):
        given[name] = rng.integers(0, 256, (*size, 3), np.uint8)
        (tmp_path / "x" / name).parent.mkdir(exist_ok=True, parents=True)
        Image.fromarray(given[name]).save(tmp_path / "x" / name)
    monkeypatch.setattr("sys.argv", "sample run --source x --native --out made".split())
    sample.main()
    for name, x in given.items():
        y = jax.jit(g.clone(shape=x.shape).apply)(trained.variables, x[None] / np.float32(127.5) - 1)
        want = (np.asarray(y)[0] + 1) * 127.5
        with Image.open(tmp_path / "made" / name) as picture:
            assert np.abs(np.asarray(picture) - want).max() < 0.51, name
    with pytest.raises(UserError, match="one size"):
        restore.Trained(Drawing(), {}, {}, 0).at_size(4, 4)


def test_results_keep_the_names_of_their_sources_and_only_those_that_would_be_the_same_keep_their_suffix():
    assert as_png(["a.jpg", "a.png", "b/a.JPG", "c.d.webp"]) == ["a.jpg.png", "a.png.png", "b/a.png", "c.d.png"]
    assert as_png(["a.jpg", "a.png", "a.jpg.png"]) == ["a.jpg.png", "a.png.png", "a.jpg.png.png"]


def test_what_is_asked_of_a_translation_is_checked_before_it_begins(tmp_path):
    (tmp_path / "a.bmp").write_bytes(b"")
    (tmp_path / "b.png").write_bytes(b"")
    for options, out, says in (
        ({"mix": (2, 2)}, "out", "--mix is for images from noise"),
        ({"seed": -1}, "out", "--seed -1"),
        ({}, "", "would overwrite"),  # one image, into its own folder
        ({"source": str(tmp_path / "b.png")}, "b.png", "would overwrite"),
    ):
        args = sample.Arguments("run", **{"source": str(tmp_path / "a.bmp"), "out": out} | options)
        with pytest.raises(UserError, match=says):
            sample.translated(args, None, tmp_path / out)


@pytest.mark.slow
def test_mistakes_before_a_run_on_pairs(tmp_path):
    for args, says in (
        (["--degrade", "mosk"], "the nearest is mask"),
        (["--degrade"], "what are the sources? give --target FOLDER, --side-by-side left or right, or --degrade"),
        (["--layers", "4"], "0 to 3 layers"),
        (["--degrade", "blur", "--side-by-side", "left"], "leave it out"),
        (["--jitter", "-1"], "0 or more"),
        (["--conditional", "yes"], "leave it at no"),
        (["--target", "nowhere", "--data", "nothing"], "nothing: no such folder"),
    ):
        code, _, err = run("train", *SMALL, *args, "--run-dir", tmp_path / "run")
        assert code == 2 and says in err and len(err.strip().splitlines()) == 1, err
    assert not list(tmp_path.iterdir())


class Drawing(nn.Module):
    """A translator that shows a draw of each image's key, or nothing where there are no keys."""

    shape = (1, 2, 1)
    source_channels = 1
    z_dim = 0
    classes = 0

    @nn.compact
    def __call__(self, source, c=None, *, keys=None, train=False, axis=None):
        return jax.vmap(lambda key: jax.random.uniform(key, self.shape, minval=-1))(keys) + 0 * source


class Negative(nn.Module):
    """A translator to the negative, with noise in the first pixel."""

    shape: tuple = (8, 8, 3)
    source_channels = 3
    z_dim = 0
    classes = 0
    dropout: float = 0.5

    def sized(self, size):
        return self.clone(shape=(*size, 3))

    @nn.compact
    def __call__(self, source, c=None, *, keys=None, train=False, axis=None):
        if keys is None:
            return -source
        return (-source).at[:, 0, 0, 0].set(jax.vmap(lambda key: jax.random.uniform(key, minval=-1))(keys))


@pytest.fixture
def negative(tmp_path, monkeypatch, capsys):
    """sample of a run that makes negatives, in a folder of its own: what it printed."""
    monkeypatch.chdir(tmp_path)
    trained = restore.Trained(Negative(), {"params": {}}, {}, 0)
    monkeypatch.setattr(restore, "load", lambda *_, **__: trained)

    def call(*args):
        monkeypatch.setattr("sys.argv", ["sample", "run", *map(str, args)])
        sample.main()
        return capsys.readouterr().out

    return call


LOOK = Look((8, 8), 3, (0, 0, 0))


def first_pixels(folder):
    return [int(pixels(Image.open(io.BytesIO(path.read_bytes())), LOOK)[0, 0, 0]) for path in sorted(folder.iterdir())]


def test_frames_become_a_film_in_their_order_with_the_same_noise(negative, tmp_path):
    for i in range(12):
        path = tmp_path / "clip" / f"frame{i}.png"  # frame10 comes before frame2 by its letters
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8), (20 * i,) * 3).save(path)
    assert "12 images of clip" in negative("--source", "clip", "--out", "a.mp4", "--fps", 12, "--crf", 1, "--scale", 4)
    found = np.array(list(video.read(tmp_path / "a.mp4")), int)
    assert found.shape == (12, 32, 32, 3) and video.about(tmp_path / "a.mp4").fps == 12
    np.testing.assert_allclose(found[:, 8:, 8:].mean((1, 2, 3)), 255 - 20 * np.arange(12), atol=1)
    assert marks.of_comment(video.about(tmp_path / "a.mp4").comment).kind == marks.GENERATED
    negative("--source", "clip", "--out", "each")
    negative("--source", "clip", "--out", "same", "--noise", "const")
    negative("--source", "clip", "--out", "none", "--noise", "none")
    each, same, none = (first_pixels(tmp_path / name) for name in ("each", "same", "none"))
    np.testing.assert_allclose(found[:, 1:3, 1:3, 0].mean((1, 2)), same, atol=12)  # the film does not flicker
    assert len(set(each)) > 6 and set(same) == {each[0]} and len(set(none)) == 12
    np.testing.assert_array_equal(
        translate.translate(Negative(), {}, np.zeros((3, 8, 8, 3), np.uint8), same=True)[:, 0, 0, 0], same[:3]
    )
    Image.new("RGB", (6, 8)).save(tmp_path / "clip" / "frame5.png")
    for args, said in (
        (["--native", "--out", "c.mp4"], "frames of 512x512 and 510x680 pixels; those of a film have one size"),
        (["--native", "--out", "c.png"], "give a folder or a film"),
        (["--out", "c.mov"], "write a .png, an .npz, an .mp4"),
        (["--out", "c.mp4", "--watermark", "key"], "--watermark: films have none"),
        (["--out", "c", "--scale", 2], "--scale 2 only applies to a film"),
        (["--out", "c", "--fps", 2], "--fps 2 only applies to a film"),
        (["--out", "clip/frame3.png"], "would overwrite clip"),
    ):
        with pytest.raises(UserError, match=said):
            negative("--source", "clip", *args)
    assert not list(tmp_path.glob("c.*"))
    with pytest.raises(UserError, match="write a .png, an .npz or a folder"):  # only --source makes films
        negative("--out", "c.mp4")


def test_a_film_becomes_a_film_or_frames(negative, tmp_path):
    levels = np.uint8([10, 60, 110, 160, 210])
    video.write([Image.new("RGB", (16, 24), (level,) * 3) for level in levels], tmp_path / "clip.mp4", 12.5)
    negative("--source", "clip.mp4", "--native", "--out", "a.webm", "--scale", 2)
    found = np.array(list(video.read(tmp_path / "a.webm")))
    assert found.shape == (5, 48, 32, 3) and video.about(tmp_path / "a.webm").fps == 12.5
    np.testing.assert_allclose(found[:, 8:].mean((1, 2, 3)), 255 - levels.astype(int), atol=2)
    negative("--source", "clip.mp4", "--resize", "--out", "frames")
    assert [path.name for path in sorted((tmp_path / "frames").iterdir())] == [f"frame{i:06d}.png" for i in range(5)]
    with Image.open("frames/frame000003.png") as picture:
        assert picture.size == (8, 8) and abs(picture.getpixel((4, 4))[0] - 95) <= 1
    (tmp_path / "no.mp4").write_bytes(b"no")
    for args, said in (
        (["clip.mp4"], "its frames have 24x16, the generator takes 8x8; pass --resize"),
        (["clip.mp4", "--native", "--out", "clip.mp4"], "would overwrite clip.mp4"),
        (["no.mp4", "--out", "b.mp4"], "cannot be read as a film"),
        (["none.mp4", "--out", "b.mp4"], "cannot be read as a film"),
    ):
        with pytest.raises(UserError, match=said):
            negative("--source", *args)
    names, read, _ = open_frames("clip.mp4", (None, None, 1))
    np.testing.assert_allclose([read(i)[0, 0, 0] for i in (3, 4, 1)], [160, 210, 60], atol=2)
    assert len(names) == 5


def test_the_images_of_a_set_are_numbered_through_its_pieces():
    inputs = SimpleNamespace(read=lambda index: np.zeros((len(index), 1, 2, 1), np.uint8))
    made = np.concatenate(list(translate.of_source(Drawing(), {}, inputs, np.arange(600), seed=2)))
    np.testing.assert_array_equal(made[300:310], translate.translate(Drawing(), {}, inputs.read(range(10)), seed=2, first=300))
    assert len(np.unique(made.reshape(600, 2), axis=0)) > 580


def test_each_image_has_the_mask_of_its_name(tmp_path, monkeypatch):
    g = Generator((8, 8, 3), source_channels=3, width=4)
    trained = restore.Trained(g, initial(g), {"settings": {"degrade": ["mask"], "target": "", "side_by_side": ""}}, 0)
    monkeypatch.setattr(restore, "load", lambda *_, **__: trained)
    monkeypatch.chdir(tmp_path)

    def command(*args):
        monkeypatch.setattr("sys.argv", ["sample", "run", "--source", "photos", "--mask", "masks", *args])
        sample.main()

    def save(name, hole):
        for path, image in ((f"photos/{name}", rng.integers(0, 256, (*hole.shape, 3))), (f"masks/{name}", 255 * hole)):
            file = tmp_path / path
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image.astype(np.uint8)).save(file.with_suffix(".bmp" if path[0] == "p" else ".png"))

    def check(out, *names):
        for name in names:
            before, after, hole = (
                np.asarray(Image.open(f)) for f in (f"photos/{name}.bmp", f"{out}/{name}.png", f"masks/{name}.png")
            )
            assert (before == after)[hole == 0].all() and (hole.max() == 0 or (before != after)[hole > 0].mean() > 0.5)

    rng, hole = np.random.default_rng(0), np.zeros((8, 8), bool)
    save("a", hole)  # nothing is missing
    hole[2:4, 1:7] = True
    save("sub/b", hole)
    save("sub/c", hole.T)
    command("--out", "made")
    check("made", "a", "sub/b", "sub/c")
    command("--out", "plain.png")
    command("--captions", "--out", "named.png")
    with Image.open("plain.png") as plain, Image.open("named.png") as named:  # two columns of 8 pixels, enlarged, and three names
        grown = named.width / 19
        assert plain.width == 19 * round(512 / 19) and grown == round(1024 / 19) and named.height > 28 * grown + 3 * 15
    save("d", np.pad(hole, ((3, 0), (0, 1))))
    with pytest.raises(UserError, match="d.bmp has 11x9, the generator takes 8x8"):
        command("--out", "made")
    command("--native", "--out", "native")
    check("native", "a", "sub/b", "sub/c", "d")
    for mask, says in (
        (hole, "an image of 11x9 has a mask of 8x8"),
        (np.ones((11, 9)), "--mask masks/d.png: all of it is white"),
        (None, "no mask for d.bmp; give a d.png"),
    ):
        (tmp_path / "masks" / "d.png").unlink()
        if mask is not None:
            Image.fromarray(np.uint8(255 * mask)).save("masks/d.png")
        with pytest.raises(UserError, match=says):
            command("--native", "--out", "native")


def test_where_a_part_of_a_pixel_is_missing_all_of_it_is(tmp_path):
    """Of a resized image: a scratch of a pixel was a third of one then, and stayed."""
    line = np.zeros((24, 24), bool)
    line[7, 3:21] = True
    Image.fromarray(line).save(tmp_path / "line.png")
    found = holes(str(tmp_path / "line.png"), ["a.png"], (8, 8), True, "crop")(0)
    assert found[2, 1:7].all() and found.sum() == 6
    intact, damaged = (np.where(line, value, 200).astype(np.uint8) for value in (200, 0))
    small = [pixels(Image.fromarray(image), Look((8, 8), 1, (0, 0, 0)))[..., 0].astype(int) for image in (intact, damaged)]
    assert np.abs(small[0] - small[1])[~found].max() < 16 < np.abs(small[0] - small[1])[found].min()
