"""Sampling options of the StyleGAN generators: noise, truncation, style mixing; and what refuses them."""

import dataclasses
import json
import sys
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from PIL import Image

import experiments.directions
import experiments.invert
import experiments.sample
import experiments.walk
from experiments import cli, safety
from jaxgan import convert, game, restore, sample, watch
from jaxgan.errors import UserError
from jaxgan.latents import Latents
from jaxgan.models import progan, stylegan, stylegan2
from tests import shared

SHAPE = (8, 12, 3)
SIZES = {"z_dim": 6, "w_dim": 5, "channel_base": 48, "channel_max": 4}


@cache
def made(family, classes=0):
    """A generator of random weights, its noise as strong as its signal, and a mean of w that is not 0.

    Its constant varies, as a trained one's: instance norm of StyleGAN's first one, all ones, divides rounding by rounding.
    """
    g = family.Generator(SHAPE, classes, **SIZES)
    c, keys = jnp.zeros(1, jnp.int32) if classes else None, jax.random.split(jax.random.key(0), 1)
    v = dict(jax.jit(lambda: g.init(jax.random.key(0), jnp.zeros((1, 6)), c, keys=keys))())
    varied = lambda a: a + jax.random.normal(jax.random.key(1), a.shape)
    change = {"noise_strength": lambda a: a + 0.5, "const": varied}
    v["params"] = jax.tree_util.tree_map_with_path(lambda path, a: change.get(path[-1].key, lambda a: a)(a), v["params"])
    v["w_avg"] = jax.tree.map(lambda a: a + 0.3, v["w_avg"])
    return g, v


FAMILIES = pytest.mark.parametrize("family", [stylegan, stylegan2])


@FAMILIES
def test_noise_is_an_images_own_the_same_for_all_or_none(family):
    g, v = made(family)
    draw = lambda **options: sample.sample(g, v, 6, **options).astype(int)
    np.testing.assert_array_equal(draw(), draw(noise="random"))
    apart = lambda a, b: np.abs(a - b).mean()
    random, const, none = (draw(noise=noise) for noise in ("random", "const", "none"))
    assert min(apart(random, const), apart(const, none), apart(random, none)) > 1
    # At psi 0 all images have one w, so that they differ by their noise alone.
    at_mean = {noise: draw(noise=noise, psi=0.0) for noise in ("random", "const", "none")}
    assert apart(at_mean["random"][0], at_mean["random"][1]) > 1
    for noise in ("const", "none"):
        np.testing.assert_array_equal(at_mean[noise], at_mean[noise][:1].repeat(6, 0))
    w = jnp.full((1, 5), v["w_avg"]["mapping_network"]["mean"])
    x = g.apply(v, w, noise="none", method="synthesis")
    np.testing.assert_allclose(at_mean["none"][:1], np.clip(np.round((x + 1) * 127.5), 0, 255), atol=1)


@FAMILIES
def test_a_table_of_mixed_styles(family):
    g, v = made(family)
    table = sample.mix(g, v, (2, 3), (1, 3), seed=4, noise="none").astype(int)
    assert table.shape == (3, 4, *SHAPE) and (table[0, 0] == 255).all()
    heads = sample.sample(g, v, 5, seed=4, noise="none").astype(int)  # two compilations of it: up to a grey level
    np.testing.assert_allclose(table[1:, 0], heads[:2], atol=1)
    np.testing.assert_allclose(table[0, 1:], heads[2:], atol=1)
    z = game.normal(jax.vmap(lambda i: jax.random.split(jax.random.fold_in(jax.random.key(4), i), 3))(jnp.arange(5))[:, 0], 6)
    w = np.array(g.apply(v, z, method="mapping"))
    w[1, 1:3] = w[4, 1:3]
    x = g.apply(v, jnp.asarray(w[1:2]), noise="none", method="synthesis")[0]
    np.testing.assert_allclose(table[2, 3], np.clip(np.round((x + 1) * 127.5), 0, 255), atol=1)
    everything = sample.mix(g, v, (2, 3), (0, g.layers), seed=4, noise="none")
    for row in (1, 2):  # all styles are the column's
        np.testing.assert_array_equal(everything[row, 1:], everything[0, 1:])


def test_training_moves_the_mean_of_w():
    g, v = made(stylegan)
    played = game.game(g, progan.Discriminator(SHAPE, channel_base=48, channel_max=4))
    w, stats = jax.jit(lambda v, keys: played.latent(v, keys, None, 0.0, None, True))(v, jax.random.split(jax.random.key(2), 16))
    before, after = (s["w_avg"]["mapping_network"]["mean"] for s in (v, stats))
    # Mixing takes some styles from a second z; the first style is always the first z's, whose mean is tracked.
    np.testing.assert_allclose(after, w[:, 0].mean(0) + 0.995 * (before - w[:, 0].mean(0)), rtol=1e-5, atol=1e-6)


def test_labels_mix(tmp_path):
    g, v = made(stylegan, 3)
    assert sample.mix(g, v, (1, 2), label=2).shape == (2, 3, *SHAPE)
    with pytest.raises(UserError, match="classes are 0 to 2"):
        sample.mix(g, v, (1, 2), label=3)


def test_a_class_can_be_said_by_its_name():
    config = {"data": {"class_names": ["cats", "clocks", "3"]}}
    for module in (experiments.sample, experiments.directions, experiments.invert, experiments.walk):
        label = [
            "--label",
            "clocks",
            *["3", "cats"] * (module is experiments.walk),
        ]  # a number is a number, whatever is called so
        args = cli.parse(module.Arguments, ["run", *["given"] * (module is experiments.invert), *label], prog="command")
        assert cli.numbered(args, config).label == ((1, 3, 0) if module is experiments.walk else 1)
    assert cli.numbered(experiments.sample.Arguments(""), {}).label is None
    counts, lengths = ({"data": {"class_names": names}} for names in (["1", "5", "10"], ["07", "8"]))
    for label, of, number in ((10, counts, 2), ((5, 1), counts, (1, 0)), (7, lengths, 0), ("07", lengths, 0), (2, {}, 2)):
        assert cli.numbered(experiments.sample.Arguments("", label=label), of).label == number
    for label, of, says in (
        ("clock", config, "label clock: there is no class of this name; the nearest is clocks; they are cats, clocks, 3"),
        ("clock", {}, "no names of classes are known here, give its number"),
        (0, counts, "label 0: there is no class of this name; .*they are 1, 5, 10"),
    ):
        with pytest.raises(UserError, match=says):
            cli.numbered(experiments.sample.Arguments("", label=label), of)
    g, v = made(stylegan, 3)
    trained = restore.Trained(g, v, config, 0)
    pair = trained.sample(2, label=["clocks", "cats"])
    np.testing.assert_array_equal(pair, trained.sample(2, label=[1, 0]))
    np.testing.assert_array_equal(pair, trained.images(trained.latents(2, label=np.array(["clocks", "cats"]))))
    with pytest.raises(UserError, match="the nearest is clocks"):
        trained.mix((1, 1), label="clock")


def test_the_command(tmp_path, monkeypatch, capsys):
    g, v = made(stylegan)
    run, table = tmp_path / "g.safetensors", tmp_path / "table"
    convert.save_safetensors(run, g, v)

    def command(*args):
        monkeypatch.setattr(sys, "argv", ["sample", str(run), *map(str, args)])
        experiments.sample.main()

    command("--mix", 2, 3, "--mix-layers", 1, 3, "--seed", 4, "--noise", "none", "--out", f"{table}.npz")
    assert "a table of 2 x 3" in capsys.readouterr().out
    images = shared.arrays(f"{table}.npz")["images"]
    np.testing.assert_array_equal(images, sample.mix(g, v, (2, 3), (1, 3), seed=4, noise="none"))
    command("--mix", 2, 3, "--out", f"{table}.png")
    command(
        "--mix", 1, 2, "--index", 9, 4, 0, "--captions", "--mix-layers", 1, 3, "--noise", "none", "--out", tmp_path / "picked.png"
    )
    with Image.open(tmp_path / "picked.png") as picture:
        assert json.loads(picture.text["jaxgan"])["index"] == [9, 4, 0]
        assert picture.height / picture.width > (2 * 9 + 1) / (3 * 13 + 1)  # a band below each row
    with Image.open(f"{table}.png") as picture:
        assert abs(picture.width / picture.height - 4 * 13 / (3 * 9)) < 0.1  # four columns, three rows
    for args, says in (
        (["--mix", 2, 3, "--out", tmp_path / "folder"], "--mix writes one table"),
        (["--mix-layers", 0, 2], "give --mix"),
        (["--mix", 0, 3], "at least one"),
        (["--mix", 1, 1, "--mix-layers", 2, 9], "0 <= first < end <= 4"),
    ):
        with pytest.raises(UserError, match=says):
            command(*args)


@pytest.mark.parametrize(
    "fields, says",
    [
        *(({"out": f"a.{kind}"}, "write a .png, an .npz or a folder") for kind in ("jpg", "WEBP", "npy", "gif", "tiff", "mp4")),
        ({"mix": (1, 1), "out": "folder"}, "--mix writes one table"),
        ({"mix": (1, 1), "threshold": 1.0}, "--mix writes one table"),
        ({"out": ""}, "--out is empty"),
        ({"rows": -1}, "--rows -1: ask for at least one row"),
        ({"rows": 1, "mix": (1, 1)}, "--rows 1: only for images from noise"),
        ({"rows": 1, "source": "x"}, "--rows 1: only for images from noise"),
        ({"n": 0}, "--n 0: ask for at least one image"),
        ({"n": 0, "source": "x"}, "--n 0: ask for at least one image"),
        ({"watermark_strength": 3.0, "refuse_copies": "own"}, "--watermark-strength only applies with --watermark;"),
        ({"refuse_share": 0.5, "watermark": "x"}, "--refuse-share only applies with --refuse-copies"),
        ({"refuse_features": "random"}, "--refuse-features only applies with --refuse-copies"),
        ({"data_dir": "x"}, "--data-dir only applies with --refuse-copies"),
        ({"refuse_copies": "own", "mix": (1, 1)}, "--refuse-copies: only for images from noise"),
        ({"refuse_copies": "own", "source": "x"}, "--refuse-copies: only for images from noise"),
        ({"refuse_copies": "own", "refuse_share": 0.0}, r"--refuse-share 0: it must be in \(0, 1\)"),
        ({"refuse_copies": "own", "refuse_share": 1.0}, r"--refuse-share 1: it must be in \(0, 1\)"),
        ({"resize": True}, "--resize only applies to source images"),
        ({"reverse": True}, "--reverse only applies to source images"),
        ({"category": 0, "mix": (1, 1)}, "--category: InfoGAN's"),
        ({"mix_layers": (0, 2)}, "--mix-layers only applies to a style-mixing table"),
        ({"index": (3, -1)}, "--index -1: images are counted"),
        *(({"index": (3,), **more}, "--index says which") for more in ({"n": 5}, {"source": "x"}, {"refuse_copies": "own"})),
        ({"index": (3, 1), "mix": (1, 2)}, "--mix 1 2 has 3 headers; give as many --index, not 2"),
        *(({"mix": (rows, 3), "index": (1,) * (rows + 3)}, f"--mix {rows} 3: it needs at least one row") for rows in (0, -1)),
        ({"captions": True, "out": "folder"}, "--captions stand below"),
    ],
)
def test_what_does_not_go_together_is_said_before_anything_is_read(fields, says):
    args = experiments.sample.Arguments("run", **fields)
    with pytest.raises(UserError, match=says) as e:
        experiments.sample.check(args, Path(args.out))
    assert "\n" not in str(e.value)


def test_what_goes_together():
    for fields in (
        {"rows": 2, "n": 0},
        {"mix": (1, 1), "n": 0, "mix_layers": (0, 2), "out": "a.NPZ"},
        {"watermark": "x", "watermark_strength": 3.0, "out": "psi0.7"},
        {"refuse_copies": "own", "refuse_share": 0.99, "refuse_features": "random", "data_dir": "x", "threshold": 1.0},
        {"source": "x", "resize": True, "reverse": True},
        {"category": 0, "checkpoint": "best"},
        {"index": (0, 2**31 - 1), "captions": True, "rows": 2},
    ):
        args = experiments.sample.Arguments("run", **fields)
        experiments.sample.check(args, Path(args.out))


def test_a_grid_has_a_column_for_each_of_up_to_16_classes():
    asked = lambda classes, **fields: experiments.sample.asked(experiments.sample.Arguments("run", **fields), classes)
    assert asked(10, n=7) == (7, None, None) and asked(10, n=7, label=2) == (7, 2, None)
    assert asked(10, rows=2, label=3) == (20, 3, 10)
    for classes, columns in ((2, 2), (16, 16)):
        n, label, found = asked(classes, rows=3)
        assert (n, found) == (3 * columns, columns) and label.tolist() == [*range(classes)] * 3
    assert [asked(classes, rows=3) for classes in (0, 1, 17)] == [(30, None, 10)] * 3


def test_what_a_file_of_images_says():
    array = experiments.sample.labels_array
    assert array(None, (3,)) == {}
    for what, name in (("label", "labels"), ("category", "categories")):
        (found,) = array(2, (3,), what).items()
        assert found[0] == name and found[1].tolist() == [2] * 3 and found[1].dtype == np.int32
    assert array(np.array([0, 1]), (2,))["labels"].tolist() == [0, 1] and array(4, (2, 3))["labels"].shape == (2, 3)
    written, images = [], np.zeros((3, 4, 2, 2, 1), np.uint8)
    files = SimpleNamespace(write_arrays=lambda *given, **arrays: written.append((given, arrays)))
    trained = SimpleNamespace(mix=lambda *given, **options: written.append((given, options)) or images)
    args = experiments.sample.Arguments("run", label=1, mix=(2, 3), mix_layers=(0, 1), out="a.npz")
    assert experiments.sample.table(args, trained, files, {"seed": 4}, Path("a.npz")) == "a table of 2 x 3"
    (asked, options), ((out, facts, kept), arrays) = written
    assert asked == ((2, 3), (0, 1)) and options == {"label": 1, "seed": 4} and out == Path("a.npz") and kept is images
    assert facts == {"label": 1, "mix": (2, 3), "mix_layers": (0, 1)} and arrays["labels"].tolist() == [[1] * 4] * 3
    assert experiments.sample.summary(3, 2, None) == "3 images"
    assert experiments.sample.summary(3, 0, len) == "3 images (0 others refused)"


class Plain(nn.Module):
    """Images of one colour, which z and the label set."""

    shape: tuple = (2, 2, 1)
    classes: int = 0
    z_dim: int = 2

    @nn.compact
    def __call__(self, z, c=None, *, keys=None, train=False, axis=None):
        rows = jax.nn.one_hot(c, self.classes) if c.ndim == 1 else c
        x = jnp.tanh(nn.Dense(1)(jnp.concatenate([z, rows], 1)))
        return jnp.broadcast_to(x[:, :, None, None], (len(x), *self.shape))


@pytest.mark.parametrize("vectors", (None, np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32)))
def test_an_npz_has_the_labels_that_were_drawn(vectors):
    """So that it is known of every image which parameters it is of."""
    plain, written = Plain(classes=3), []
    variables = plain.init(jax.random.key(0), jnp.zeros((1, 2)), jnp.zeros(1, int))
    g = restore.Trained(plain, variables, {}, 0, vectors=vectors)
    files = SimpleNamespace(write_arrays=lambda *given, **arrays: written.append((given[2], arrays["labels"])))
    args = experiments.sample.Arguments("run", n=6, seed=4, out="a.npz")
    experiments.sample.drawn(args, g, files, {"seed": 4, "psi": 1.0, "noise": None}, Path("a.npz"))
    ((images, labels),) = written
    np.testing.assert_array_equal(images, g.sample(6, seed=4, label=labels))
    assert len(np.unique(labels, axis=0)) > 1 and (images != g.sample(6, seed=4, label=labels[::-1])).any()
    some = np.array([5, 2])  # as where copies were refused
    np.testing.assert_array_equal(experiments.sample.labels_drawn(g, 4, some), labels[some])
    assert experiments.sample.labels_drawn(g._replace(generator=Plain(), vectors=None), 4, some) is None


@pytest.mark.parametrize("fields", ({"n": 9}, {"rows": 3}, {"n": 9, "label": 2}))
def test_images_are_picked_by_the_numbers_that_their_captions_show(fields, monkeypatch, tmp_path):
    """Also of a grid with a column for each class, where a number says the class."""
    plain, sheets = Plain(classes=3), []
    variables = plain.init(jax.random.key(0), jnp.zeros((1, 2)), jnp.zeros(1, int))
    g = restore.Trained(plain, variables, {"data": {"class_names": ["cats", "clocks", "3"]}}, 0)
    drawn_grid = watch.grid
    monkeypatch.setattr(watch, "grid", lambda images, **options: sheets.append((images, options)) or drawn_grid(images))
    files = SimpleNamespace(write_picture=lambda picture, path, **facts: written.append((path, facts)))
    common = ({"seed": 4, "psi": 1.0, "noise": None},)
    written, args = [], experiments.sample.Arguments("run", seed=4, captions=True, **fields)
    experiments.sample.drawn(args, g, files, *common, tmp_path / "a.png")
    picked = dataclasses.replace(args, n=64, index=(7, 2))
    experiments.sample.drawn(picked, g, files, *common, tmp_path / "a.png")
    ((images, whole), (few, options)), facts = sheets, written[1][1]
    np.testing.assert_array_equal(few, images[[7, 2]])
    assert options["captions"] == [whole["captions"][i] for i in (7, 2)] and facts["index"] == [7, 2]
    classes = {"rows": [i % 3 for i in range(9)], "label": [2] * 9}.get([*fields][-1])
    if classes is None:
        classes = experiments.sample.labels_drawn(g, 4, np.arange(9))
    assert whole["captions"] == [f"{i}: {('cats', 'clocks', '3')[k]}" for i, k in enumerate(classes)]
    experiments.sample.drawn(picked, g, files, *common, tmp_path / "folder")
    assert [(path.name, facts["index"]) for path, facts in written[2:]] == [("seed4_000007.png", 7), ("seed4_000002.png", 2)]
    np.testing.assert_array_equal(sheets[2][0][0], images[7])


def test_transparent_images_are_laid_on_a_colour():
    clear, sheets = np.zeros((6, 2, 2, 4), np.uint8), []
    generator = SimpleNamespace(shape=(2, 2, 4), classes=0)
    made = {"stream": lambda index, **_: iter([clear[index]]), "mix": lambda *_, **__: clear.reshape(2, 3, 2, 2, 4)}
    trained = SimpleNamespace(generator=generator, vectors=None, config={}, images=lambda codes, noise: clear[:2], **made)
    files = SimpleNamespace(write_picture=lambda picture, path, **_: sheets.append({c for _, c in picture.getcolors()}))
    args = experiments.sample.Arguments("run", n=6, background="#ff0102", mix_layers=(0, 1))
    experiments.sample.drawn(args, trained, files, {}, Path("a.png"))
    experiments.sample.table(dataclasses.replace(args, mix=(1, 2)), trained, files, {}, Path("a.png"))
    assert sheets == [{(128, 128, 128), (255, 1, 2)}] * 2
    codes = [Latents(np.zeros((2, 3)), None, np.zeros((2, 2), np.uint32))]
    frames = [*experiments.walk.rendered(experiments.walk.Arguments("run", background="lime", frames=1), trained, codes)]
    assert [frame.tolist() for frame in frames] == [[[[[0, 255, 0]] * 2] * 2]] * 2
    assert next(experiments.walk.rendered(experiments.walk.Arguments("run", frames=1), trained, codes)).shape[-1] == 4
    generator.shape = (2, 2, 3)
    with pytest.raises(UserError, match="--background lime: this run's images are not transparent"):
        safety.background("lime", trained)


def test_generators_without_styles_or_noise_refuse():
    g = progan.Generator(SHAPE, z_dim=4, channel_base=48, channel_max=4)
    with pytest.raises(UserError, match="generator of progan has no noise"):
        sample.sample(g, {}, 1, noise="const")
    with pytest.raises(UserError, match="generator of progan has no styles"):
        sample.mix(g, {}, (1, 1))
    with pytest.raises(UserError, match="noise is 'loud'"):
        sample.sample(made(stylegan)[0], {}, 1, noise="loud")


class Shown(nn.Module):
    """What it is given, as pixels: four values of z / 8, the class as a grey level, a draw of the image's key."""

    shape = (1, 6, 1)
    classes = 5
    z_dim = 4

    @nn.compact
    def __call__(self, z, c=None, *, keys=None, train=False, axis=None):
        own = jax.vmap(lambda key: 2 * jax.random.uniform(key, (1,)) - 1)(keys)
        return jnp.concatenate([z / 8, c[:, None] / 127.5 - 1, own], 1)[:, None, :, None]


def shown(n, **options):
    x = sample.sample(Shown(), {}, n, **options)[:, 0, :, 0]
    return (x[:, :4] / 127.5 - 1) * 8, x[:, 4], x[:, 5]


def test_each_image_has_its_own_z_class_and_key():
    n = 600
    z, c, own = shown(n, seed=3)
    for few, all_ in zip(shown(7, seed=3), (z, c, own), strict=True):
        np.testing.assert_array_equal(few, all_[:7])  # whatever n is
    assert len(np.unique(z, axis=0)) == n and len(np.unique(own)) > 200
    assert np.abs(z.mean(0)).max() < 4.5 / n**0.5 and np.abs(z.std(0) - 1).max() < 4.5 / (2 * n) ** 0.5
    shares = np.bincount(c, minlength=5) / n  # every class, the last one too, as often
    assert len(shares) == 5 and np.abs(shares - 0.2).max() < 4.5 * (0.16 / n) ** 0.5
    assert (shown(7, seed=4)[0] != z[:7]).any(1).all()


def test_psi_scales_z_and_the_threshold_bounds_it():
    step = 8 / 127.5  # of a grey level
    z = shown(300)[0]
    np.testing.assert_allclose(shown(300, psi=0.5)[0], z / 2, atol=step)
    np.testing.assert_allclose(shown(300, psi=0.0)[0], 0, atol=step)
    bounded = shown(300, threshold=0.5)[0]
    assert 0.45 < np.abs(bounded).max() <= 0.5 + step
    assert abs(bounded.var() - (1 - 0.3520653 / 0.3829249)) < 0.02  # resampled, not clipped: 1 - 2 t phi(t) / (2 Phi(t) - 1)


def test_a_label_is_that_of_the_image():
    for label in (0, 4, np.array([0, 1, 2, 3, 4, 0])):
        np.testing.assert_array_equal(shown(6, label=label)[1], np.broadcast_to(label, 6))
    for label in (-1, 5):
        with pytest.raises(UserError, match="0 to 4"):
            shown(6, label=label)


class Levels(nn.Module):
    """All grey levels and what lies beyond them, each off by four tenths of a level, upwards or downwards."""

    shape = (2, 258, 1)
    classes = 0
    z_dim = 1

    @nn.compact
    def __call__(self, z, c=None, *, keys=None, train=False, axis=None):
        levels = jnp.arange(-1, 257.0)[None] + jnp.array([[-0.4], [0.4]])
        return jnp.broadcast_to(levels[None, :, :, None] / 127.5 - 1, (len(z), *self.shape))


def test_grey_levels_are_rounded_and_kept_inside():
    images = sample.sample(Levels(), {}, 1)[0, :, :, 0]
    np.testing.assert_array_equal(images, np.clip(np.arange(-1, 257), 0, 255)[None].repeat(2, 0))


class Styled(nn.Module):
    """Its four styles, which are all z / 8, as pixels, and a draw of the image's key."""

    shape = (1, 5, 1)
    classes = 0
    z_dim = 1
    layers = 4

    def mapping(self, z, c=None, *, keys=None, train=False, axis=None, psi=1.0):
        return jnp.repeat(psi * z / 8, self.layers, 1)[:, :, None]

    def synthesis(self, w, c=None, *, keys=None, train=False, axis=None):
        own = jax.vmap(lambda key: 2 * jax.random.uniform(key, (1,)) - 1)(keys)
        return jnp.concatenate([w[..., 0], own], 1)[:, None, :, None]

    def __call__(self, z, c=None, *, keys=None, train=False, axis=None, psi=1.0):
        return self.synthesis(self.mapping(z, psi=psi), keys=keys)


def test_single_images_are_those_of_the_whole():
    whole = sample.sample(Styled(), {}, 70, seed=4)
    np.testing.assert_array_equal(sample.sample(Styled(), {}, [66, 3, 3], seed=4), whole[[66, 3, 3]])
    table = sample.mix(Styled(), {}, ([66], [3, 9]), seed=4)
    np.testing.assert_array_equal(table[:, 0], [np.full_like(whole[0], 255), whole[66]])
    np.testing.assert_array_equal(table[0, 1:], whole[[3, 9]])
    np.testing.assert_array_equal(sample.mix(Styled(), {}, ([0, 1], 2)), sample.mix(Styled(), {}, (2, 2)))


@pytest.mark.parametrize("layers, columns", [(None, [1, 1, 0, 0]), ((1, 4), [0, 1, 1, 1])])
def test_a_table_mixes_the_coarse_half_and_keeps_the_rows_noise(layers, columns):
    table = sample.mix(Styled(), {}, (2, 3), layers, seed=4)[:, :, 0, :, 0]
    heads = sample.sample(Styled(), {}, 5, seed=4)[:, 0, :, 0]
    np.testing.assert_array_equal(table[1:, 0], heads[:2])
    np.testing.assert_array_equal(table[0, 1:], heads[2:])
    for i in range(2):
        for j in range(3):
            mixed = [heads[2 + j, k] if theirs else heads[i, k] for k, theirs in enumerate(columns)]
            assert table[1 + i, 1 + j].tolist() == [*mixed, heads[i, 4]]
