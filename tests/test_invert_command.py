"""The command that inverts and repairs, on a small generator of its own."""

import sys

import numpy as np
import pytest
from PIL import Image

from experiments import invert as command
from experiments import repair
from jaxgan import invert, latents, restore
from jaxgan.data import degrade
from jaxgan.errors import UserError
from jaxgan.metrics import lpips
from jaxgan.models import residual
from jaxgan.models.pix2pix import Generator as Pix2pix
from tests import shared
from tests.test_invert import made
from tests.test_metrics_lpips import narrow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three images of the generator's own, a mask, and the run they are of."""
    at = tmp_path_factory.mktemp("invert")
    g = residual.Generator((8, 8, 3), 3, z_dim=4, width=4, patch=2, blocks=(1,))
    run = restore.Trained(g, made(g), {"settings": {"data": "digits"}}, 7)
    (at / "given").mkdir()
    for i, image in enumerate(run.sample(3, seed=4)):
        Image.fromarray(image).save(at / "given" / f"{'cab'[i]}.bmp")
    hole = np.zeros((8, 8), np.uint8)
    hole[2:6, 1:5] = 255
    Image.fromarray(hole).save(at / "hole.png")
    Image.fromarray(hole[:4]).save(at / "small.png")
    Image.fromarray(0 * hole).save(at / "black.png")
    return at, run


@pytest.fixture
def main(folder, monkeypatch, capsys):
    """The command with these arguments; what it printed."""
    monkeypatch.setattr(restore, "load", lambda *_, **__: folder[1])

    def call(*args):
        short = ["--steps", "20", "--starts", "2", "--draws", "64"]
        monkeypatch.setattr(sys, "argv", ["invert", "run", *map(str, args), *short])
        command.main()
        return capsys.readouterr().out

    return call


def test_arrays_give_the_images_again_and_holes_are_filled(folder, main):
    at, run = folder
    said = main(at / "given", "--damage", "centre", "--out", at / "a.npz")
    assert "3 images" in said and "in the holes: PSNR" in said
    f = shared.arrays(at / "a.npz")
    assert f["names"].tolist() == ["a.bmp", "b.bmp", "c.bmp"]
    again = run.images(latents.Latents(f["code"], f["c"], f["keys"]))
    np.testing.assert_allclose(again, f["images"].astype(int), atol=1)
    np.testing.assert_array_equal(f["damaged"], degrade.degrade([("centre", 0.5)], f["sources"], np.arange(3)))
    hole = f["missing"]
    assert hole.sum() == 3 * 16 and hole[:, 2:6, 2:6].all()
    np.testing.assert_array_equal(f["repaired"][hole], f["images"][hole])
    np.testing.assert_array_equal(f["repaired"][~hole], f["sources"][~hole])
    squares = [np.square(x[h] - y[h].astype(float)).mean() for x, y, h in zip(f["sources"], f["images"], hole, strict=True)]
    expected = np.mean(10 * np.log10(255**2 / np.array(squares)))
    assert f"in the holes: PSNR {expected:.2f} dB" in said


def test_a_users_own_holes_are_repaired_into_a_folder_and_a_picture(folder, main):
    at, _ = folder
    said = main(at / "given", "--mask", at / "hole.png", "--label", 1, "--n", 2, "--out", at / "out")
    assert "2 images" in said and "where there are no holes" in said
    for name in "ab":
        repaired, source = (np.asarray(Image.open(at / p)) for p in (f"out/{name}.png", f"given/{name}.bmp"))
        same = (repaired == source).all(2)
        assert same[:2].all() and same[:, 5:].all() and not same[2:6, 1:5].all()
    assert not (at / "out" / "c.png").exists()
    (at / "masks").mkdir()
    for name, file in (("a.png", "hole.png"), ("b.png", "black.png"), ("c.gif", "hole.png")):
        Image.open(at / file).save(at / "masks" / name)
    main(at / "given", "--mask", at / "masks", "--label", 1, "--out", at / "each.npz")
    found = shared.arrays(at / "each.npz")["missing"]
    hole = np.asarray(Image.open(at / "hole.png")) > 0
    np.testing.assert_array_equal(found, [hole, 0 * hole, hole])
    (at / "some").mkdir()
    for name in "ab":
        (at / "some" / f"{name}.bmp").write_bytes((at / "given" / f"{name}.bmp").read_bytes()[: None if name == "a" else 60])
    said = main(at / "some", "--damage", "grey", "--skip-broken", "--out", at / "one.png")
    assert "1 images" in said and "; 1 broken left out: b.bmp" in said
    assert np.asarray(Image.open(at / "one.png")).ndim == 3
    said = main(at / "given", "--out", at / "plain.png")
    assert "to the images: PSNR" in said
    with Image.open(at / "plain.png") as picture:
        assert picture.width * 28 == picture.height * 19  # three rows of two, 1 pixel apart
    assert "8x8" not in main("digits", "--n", 1, "--out", at / "digits.png")  # the run's own data, scaled as for it


def test_mistakes_are_told_in_a_line(folder, main, monkeypatch):
    at, _ = folder
    for args, says in (
        ([at / "nothing"], "nothing"),
        ([at / "given", "--damage", "centre", "--mask", at / "hole.png"], "--damage and --mask"),
        ([at / "given", "--damage", "mosk"], "--damage mosk: .* the nearest is mask"),
        ([at / "given", "--damage", "centre:1"], "hides whole images"),
        ([at / "given", "--damage", "edges"], "--damage edges: it is a style"),
        ([at / "given", "--mask", at / "nothing.png"], "--mask .*nothing.png: no such image"),
        ([at / "given", "--mask", at / "small.png"], "--mask .*small.png has 4x8, the generator takes 8x8; pass --resize"),
        ([at / "given", "--mask", at / "black.png"], "none of it is white"),
        ([at / "given", "--label", "3"], "--label 3: the classes are 0 to 2"),
        ([at / "given", "--space", "w"], "its space is z"),
        ([at / "given", "--out", at / "a.jpg"], "write a .png"),
        ([at / "given", "--out", at / "given"], "would overwrite"),
        ([at / "given", "--mask", at / "hole.png", "--out", at / "hole.png"], "would overwrite"),
        ([at / "small.png"], "small.png has 4x8"),
        ([at / "given", "--n", "0"], "--n 0"),
        ([at / "given", "--data-dir", "there"], "--data-dir there is for a named data set"),
        ([at / "given", "--checkpoint", "x"], "--checkpoint x"),
    ):
        with pytest.raises(UserError, match=says) as e:
            main(*args)
        assert "\n" not in str(e.value)
    monkeypatch.setattr(restore, "load", lambda *_, **__: restore.Trained(Pix2pix((8, 8, 3)), {}, {}, 0))
    monkeypatch.setattr(sys, "argv", ["invert", "run", str(at / "given")])
    with pytest.raises(UserError, match="images from images"):
        command.main()


def test_the_distance_in_the_holes():
    x, where = np.zeros((2, 2, 2, 1), np.uint8), np.zeros((2, 2, 2), bool)
    y = x + np.uint8(100)
    y[0, 0, 0], y[1, 1] = 10, 20
    where[0, 0, 0] = where[1, 1] = True
    assert abs(repair.psnr(x, y, where) - 5 * np.log10(255**4 / (100 * 400))) < 1e-9


def test_lpips_joins_the_search(folder, main, monkeypatch):
    seen = []

    def inverted(*_, search, **__):
        seen.append(search.features)
        raise UserError("enough")

    args = folder[0] / "given", "--out", folder[0] / "b.npz"
    monkeypatch.setattr(invert, "invert", inverted)
    monkeypatch.setattr(lpips, "load", lambda folder: narrow() if folder == "there" else None)
    with pytest.raises(UserError, match="lpips: images of 8x8"):
        main(*args, "--lpips", "there")
    monkeypatch.setattr(lpips, "LEAST", 8)
    for more in ((), ("--lpips", "there")):
        with pytest.raises(UserError, match="enough"):
            main(*args, *more)
    assert seen[0] is None and len(seen[1](np.zeros((1, 16, 16, 3), np.float32))) == 5
