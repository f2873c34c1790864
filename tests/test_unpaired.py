"""A run on unpaired images as a user makes it: train, look, translate both ways, measure, export."""

import json

import jax
import numpy as np
import pytest
from PIL import Image

import experiments.evaluate
import experiments.export
import experiments.sample
import jaxgan
from experiments import evaluate_pairs
from experiments.configs import unpaired
from jaxgan import restore, translate
from jaxgan.data import open_source, open_unpaired, read_all, shuffled
from jaxgan.errors import UserError
from jaxgan.metrics import lpips, ssim
from jaxgan.metrics.sliced import sliced_wasserstein
from tests.commands import run, untrained
from tests.test_metrics_lpips import narrow

SMALL = ["--width", "2", "--blocks", "1", "--layers", "0", "--identity", "5", "--batch", "2", "--kimg", "0.008"]
SMALL += ["--tick-kimg", "0.004", "--snapshot-kimg", "0.008", "--metrics", "swd10k"]


@pytest.fixture(scope="module")
def zebras(tmp_path_factory):
    """Nine grey images of 8x9 and six in colour, and a run on them, with two of each held out."""
    at, rng = tmp_path_factory.mktemp("unpaired"), np.random.default_rng(0)
    for name, n, channels in (("a", 9, 1), ("b", 6, 3)):
        (at / name).mkdir()
        for i in range(n):
            x = rng.integers(0, 256, (8, 9, channels), np.uint8)
            Image.fromarray(x[..., 0] if channels == 1 else x).save(at / name / f"{i}.png")
    sets = ["--data", at / "a", "--target", at / "b", "--channels", "3", "--hold-out", "2", "--mirror", "--jitter", "2"]
    code, out, err = run("train", "cyclegan", *SMALL, *sets, "--run-dir", at / "run")
    assert code == 0 and "9 and 6 images of 8x9x3, unpaired" in out, err
    return at


@pytest.mark.slow
def test_a_run_shows_both_ways_of_what_it_held_out(zebras, capsys):
    rows = [json.loads(line) for line in (zebras / "run" / "log.jsonl").read_text().splitlines()]
    assert {"d/adv", "g/adv", "g/cycle", "g/identity", "swd"} <= rows[-1].keys() and "psnr" not in rows[-1]
    config = restore.read_config(zebras / "run")
    for reverse, reals in ((False, 6), (True, 9)):
        args = experiments.evaluate.Arguments(str(zebras / "run"), metrics=("swd10k",), reverse=reverse)
        evaluate_pairs.evaluate(args, config)
        out = capsys.readouterr().out
        assert "of 2 and 2 held-out images" in out and "true partners" not in out and f"against {reals} images" in out
    lines = [json.loads(line) for line in (zebras / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line.get("direction") for line in lines] == [None, *["a to b", "b to a", "a to b"], *["a to b", "b to a", "b to a"]]
    assert lines[0]["value"] == lines[3]["value"] != lines[6]["value"]  # what the run measures is a to b
    assert abs((lines[1]["swd"] + lines[2]["swd"]) / 2 - rows[-1]["swd"]) < 1e-3
    source = shuffled(open_unpaired(str(zebras / "a"), target=str(zebras / "b"), channels=3, hold_out=2), 0)
    a, b = translate.halves(source.read(np.array([7, 8])))
    g, size = jaxgan.load(zebras / "run"), (9, 10)  # of a cell
    for name, shown in (("kimg000000.008", (a, g.translate(a), b, g.translate(b, reverse=True))), ("reals", (a, b))):
        with Image.open(zebras / "run" / "samples" / f"{name}.png") as picture:
            sheet, columns = np.asarray(picture), 12 if len(shown) == 4 else 8
        factor = sheet.shape[1] // (columns * size[1] + 1)
        cells = sheet[::factor, ::factor][1:]
        for i in range(2 * len(shown)):
            cell = cells[:8, 1 + i * size[1] :][:, :9]
            np.testing.assert_array_equal(cell, shown[i % len(shown)][i // len(shown)], err_msg=f"{name} {i}")


@pytest.mark.slow
def test_both_ways_are_measured_on_other_images_each_once_and_to_partners_where_names_tell_them(zebras, monkeypatch):
    """Of another number and size than those of training; of grey ones, though the run is of colour."""
    rng, config, runs = np.random.default_rng(2), restore.read_config(zebras / "run"), str(zebras / "run")
    for name, n in (("c", 3), ("d", 5), ("e", 3)):
        (zebras / name).mkdir()
        for i in range(n):
            Image.fromarray(rng.integers(0, 256, (16, 18), np.uint8)).save(zebras / name / f"{i}.{'bmp' if n == 5 else 'png'}")
    config["settings"]["channels"] = None  # the run's images all had colours, so that nothing had to be said
    others = {"data": str(zebras / "c"), "target": str(zebras / "d"), "out": str(zebras / "others.jsonl")}

    def found(**how):
        (zebras / "others.jsonl").write_text("")
        evaluate_pairs.evaluate(experiments.evaluate.Arguments(runs, **others | how), config)
        return [json.loads(line) for line in (zebras / "others.jsonl").read_text().splitlines()]

    g, told = jaxgan.load(runs), found(metrics=("swd10k",), reverse=True)
    c, d = (read_all(open_source(others[name], size=(8, 9), channels=3)) for name in ("data", "target"))
    made, back = g.translate(c), g.translate(d, reverse=True)
    want = [sliced_wasserstein(d, made), sliced_wasserstein(c, back)]
    assert [(line["fakes"], line["which"]) for line in told[:2]] == [(3, "images"), (5, "images")]
    np.testing.assert_allclose([line["swd"] for line in told[:2]] + [told[2]["value"][0]], want + want[1:], rtol=1e-6)
    assert told[0]["cycle_psnr"] == pytest.approx(translate.distance(c, g.translate(made, reverse=True)).psnr)
    assert told[2]["fakes"] == 5 and told[2]["direction"] == "b to a" and len(found(n=2)) == 2
    monkeypatch.setattr(ssim, "SIZE", 7)
    large = g.at_size(16, 18)
    for reverse in (False, True):
        line, far = found(paired=True, target=str(zebras / "e"), reverse=reverse, size=(16, 18), metrics=("ssim",))
        x, y = (read_all(open_source(str(zebras / name), channels=3)) for name in ("ec" if reverse else "ce"))
        made = large.translate(x, reverse=reverse)
        assert line["psnr"] == pytest.approx(translate.distance(y, made).psnr) and line["fakes"] == 3
        assert far["value"][0] == pytest.approx(ssim.ssim(y, made).mean())
    for how, says in (
        ({"against": "x"}, "--against: .* give these as --data x"),
        ({"data": ""}, "--target .*: give --data too"),
        ({"target": ""}, "--data .*: .* give --target too"),
        ({"data": "", "target": "", "paired": True}, "--paired: of CycleGAN's runs, with --data and --target"),
        ({"metrics": ("ssim",)}, "ssim: .* those of two sets are not known; .* give --paired"),
    ):
        with pytest.raises(UserError, match=says):
            found(**how)


@pytest.mark.slow
def test_anybodys_images_are_translated_both_ways(zebras, monkeypatch, capsys):
    monkeypatch.chdir(zebras)
    trained = jaxgan.load("run")
    (zebras / "given").mkdir()
    images = np.random.default_rng(1).integers(0, 256, (2, 8, 9, 3), np.uint8)
    for i, image in enumerate(images):
        Image.fromarray(image).save(zebras / "given" / f"{i}.png")
    whole = translate.translate(trained.generator, trained.variables, np.concatenate([images, images], -1))
    for reverse, want in enumerate(translate.halves(whole)[::-1]):
        np.testing.assert_array_equal(trained.translate(images, reverse=bool(reverse)), want)
        out = f"made{reverse}"
        args = experiments.sample.Arguments("run", source="given", out=out, reverse=bool(reverse))
        experiments.sample.translated(args, trained, zebras / out)
        for i in range(2):
            with Image.open(zebras / out / f"{i}.png") as picture:
                np.testing.assert_array_equal(np.asarray(picture), want[i])
                assert ("reverse" in str(picture.info)) == bool(reverse)
        monkeypatch.setattr(
            "sys.argv", ["export", "run", "--out", f"{out}.stablehlo", "--platforms", "cpu", *["--reverse"] * reverse]
        )
        experiments.export.main()
        call = jax.export.deserialize(bytearray((zebras / f"{out}.stablehlo").read_bytes())).call
        np.testing.assert_allclose(np.asarray(call(images)).astype(int), want, atol=1)
    monkeypatch.setattr("sys.argv", ["export", "run", "--out", "g.safetensors"])
    experiments.export.main()
    np.testing.assert_array_equal(jaxgan.load("g.safetensors").translate(images, reverse=True), want)


@pytest.mark.slow
def test_what_is_known_of_the_other_side_is_measured(tmp_path, monkeypatch, capsys):
    """Of an untrained run on halves of the digits."""
    config = unpaired.Config(width=2, blocks=1, layers=0, hold_out=5, size=(16, 16))
    untrained(tmp_path, config, (16, 16, 2), (16, 16, 2))
    monkeypatch.setattr(lpips, "load", lambda folder: narrow())
    args = experiments.evaluate.Arguments(str(tmp_path), metrics=("lpips",), reverse=True)
    evaluate_pairs.evaluate(args, restore.read_config(tmp_path))
    *lines, far = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    source = shuffled(config.open_data(None), 0)
    assert (far["of"]["seed"], far["split"], far["fingerprint"]) == (0, "train", source.fingerprint)
    index, trained = np.arange(894, 899), jaxgan.load(tmp_path)
    given, truth = (translate.halves(of.read(index)) for of in (source, source.truth))
    for reverse, line in enumerate(lines):
        made = trained.translate(given[reverse], reverse=bool(reverse))
        assert line["psnr"] == translate.distance(truth[1 - reverse], made).psnr
        back = trained.translate(made, reverse=not reverse)
        assert line["cycle_psnr"] == translate.distance(given[reverse], back).psnr
    np.testing.assert_allclose(far["value"][0], lpips.of_sets(narrow(), truth[0], made).mean(), rtol=1e-5)
    assert "to the true partners" in capsys.readouterr().out


def test_mistakes_are_one_line(tmp_path):
    for config, says in (
        (unpaired.Config(target="x", degrade=("blur",)), "--degrade blur: images B come from --target"),
        (unpaired.Config(degrade=()), "--target is empty"),
        (unpaired.Config(hold_out=898), "--hold-out 898: digits has 898 images"),
    ):
        with pytest.raises(UserError, match=says):
            config.open_data(None)
    for config, says in (
        (unpaired.Config(conditional="yes"), "leave it at no"),
        (unpaired.Config(decay_from=2.0), "--decay-from 2: it is a share of the run"),
        (unpaired.Config(layers=3), "0 to 2 layers"),
    ):
        with pytest.raises(UserError, match=says):
            config.design((20, 20, 2), (20, 20, 2))
    args = experiments.sample.Arguments("run", reverse=True)
    with pytest.raises(UserError, match="--reverse only applies to source images"):
        experiments.sample.check(args, tmp_path)
