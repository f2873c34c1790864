"""StyleGAN3's generator against the authors' networks (golden arrays), and how its images move."""

import dataclasses
import json
from functools import cache, partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from experiments.configs import families
from jaxgan import convert_stylegan3
from jaxgan.errors import UserError
from jaxgan.models import stylegan3
from tests.golden import stylegan3_rule as rule

GOLD = np.load(Path(__file__).parent / "golden" / "stylegan3.npz")
NHWC, NCHW = (0, 2, 3, 1), (0, 3, 1, 2)


@cache
def authors(case):
    """Our module and variables of a golden case, and how their names are."""
    names = json.loads(str(GOLD[f"{case}.names"]))
    g, v = convert_stylegan3.generator(rule.state(case, names), rule.CASES[case])
    return g.clone(magnitude_average=0.9), v


def off(a, b):
    """Largest error as a share of how far the values spread."""
    return np.abs(np.asarray(a, np.float64) - b).max() / np.std(b)


@pytest.mark.parametrize("case", rule.CASES)
def test_outputs_are_the_authors(case):
    g, v = authors(case)
    z, c, _ = map(jnp.asarray, rule.inputs(case))
    c = c if g.classes else None
    w = jax.jit(partial(g.apply, method="mapping"))(v, z, c)
    assert off(w[:, 0], GOLD[f"{case}.w"]) < 1e-5 and np.all(w == w[:, :1])
    truncated = jax.jit(partial(g.apply, method="mapping", psi=0.6, cutoff=2))(v, z, c)
    assert off(truncated[:, 1:3], GOLD[f"{case}.w_psi"]) < 1e-5
    draw = jax.jit(lambda transform: g.apply(v, w, method="synthesis", transform=transform))
    assert off(draw(np.eye(3, dtype=np.float32)).transpose(NCHW)[:2], GOLD[f"{case}.image"]) < 1e-4
    for name, transform in (("moved", rule.TRANSFORM), ("shrunk", rule.SHRINK)):
        back = jnp.linalg.inv(transform)  # theirs says where an image's places come from, ours where they go
        assert off(draw(back)[:1].transpose(NCHW), GOLD[f"{case}.{name}"]) < 1e-4
    train = partial(g.apply, train=True, mutable=["w_avg", "magnitude"])
    image, new = jax.jit(train)(v, z, c)
    assert off(image[:1].transpose(NCHW), GOLD[f"{case}.trained_image"]) < 1e-4
    assert off(new["w_avg"]["mapping_network"]["mean"], GOLD[f"{case}.w_avg"]) < 1e-5
    magnitudes = [new["magnitude"][f"layer{i}"]["mean"] for i in range(g.depth)] + [new["magnitude"]["torgb"]["mean"]]
    np.testing.assert_allclose(magnitudes, GOLD[f"{case}.magnitudes"], rtol=1e-5)


def their_layout(array):
    """Our gradient as theirs: kernels and maps with their outputs first."""
    back = {4: (3, 2, 0, 1), 2: (1, 0)}
    return array.transpose(back.get(array.ndim, range(array.ndim)))


@pytest.mark.parametrize("case", rule.CASES)
def test_gradients_are_the_authors(case):
    g, v = authors(case)
    weight = rule.inputs(case)[2].transpose(NHWC)
    w = jnp.repeat(GOLD[f"{case}.w"][:, None], g.layers, 1)
    total = lambda params, w: (g.apply(v | {"params": params}, w, method="synthesis") * weight).sum()
    ours, dw = jax.jit(jax.grad(total, (0, 1)))(v["params"], w)
    assert off(dw, GOLD[f"{case}.dw"]) < 1e-4
    layers = {name.split("_")[0]: name for name in json.loads(str(GOLD[f"{case}.layers"]))}
    named = {
        convert_stylegan3.official_name(("params", *(part.key for part in path)), g.depth, layers): np.asarray(grad)
        for path, grad in jax.tree_util.tree_leaves_with_path(ours)
    }
    picked, start = GOLD[f"{case}.picked"], 0
    for name, largest in zip(json.loads(str(GOLD[f"{case}.trained"])), GOLD[f"{case}.max"], strict=True):
        mine = rule.picked(their_layout(named[name]))
        assert np.abs(mine - picked[start : start + len(mine)]).max() < 1e-4 * largest, name
        start += len(mine)
    assert start == len(picked)


@pytest.mark.parametrize("side", [64, 128, 256, 1024])
def test_grids_are_the_authors(side):
    gold = GOLD[f"plan{side}"]  # a row a layer: rates, size and features of what it gives, factors, padding, cutoff, half width
    before, *after = stylegan3.grids(stylegan3.Generator((side, side, 3), channel_base=512, channel_max=16, depth=len(gold) - 1))
    for a, b, row in zip([before, *after], after, gold, strict=False):
        assert (a.rate, b.rate, b.size[0], b.features) == tuple(row[:4]) and b.size[0] == b.size[1]
        np.testing.assert_allclose((b.cutoff, b.half_width), row[-2:], rtol=1e-12)


def test_grids_of_other_sides():
    of = lambda *shape: stylegan3.grids(stylegan3.Generator((*shape, 3), depth=8))
    assert [grid.rate for grid in of(28, 28)] == [14] * 4 + [28] * 5
    assert of(50, 50)[0].rate == 25 and of(51, 51)[0].rate == 51  # as far as both sides divide by two
    wide, square = of(48, 64), of(64, 64)
    assert [grid.size[0] - 20 for grid in wide[:-1]] == [(grid.size[1] - 20) * 3 // 4 for grid in wide[:-1]]
    assert wide[-1].size == (48, 64) and [grid.rate for grid in wide] == [grid.rate for grid in square]
    for shape, more in (((7, 8, 3), {}), ((8, 8, 3), {"depth": 2}), ((8, 8, 3), {"critical": 0})):
        with pytest.raises(UserError, match=f"{shape[0]}x8, depth"):
            stylegan3.grids(stylegan3.Generator(shape, **more))


SMALL = {
    "z_dim": 4,
    "w_dim": 4,
    "mapping_layers": 1,
    "channel_base": 256,
    "channel_max": 12,
    "depth": 3,
    "critical": 1,
    "magnitude_average": 0.0,
}


@cache
def drawn(shape, turns=False):
    """Two images of a random generator with the magnitudes of these, and a function that draws them moved."""
    g = stylegan3.Generator(shape, **SMALL | ({"kernel": 1, "radial": True} if turns else {}))
    z = jax.random.normal(jax.random.key(1), (2, 4))
    v = jax.jit(lambda: dict(g.init(jax.random.key(0), z)))()
    w = g.apply(v, z, method="mapping")
    v |= jax.jit(lambda: g.apply(v, w, train=True, mutable=["magnitude"], method="synthesis")[1])()
    draw = jax.jit(lambda transform: g.apply(v, w, method="synthesis", transform=transform))
    return np.asarray(draw(stylegan3.moved())), lambda *where: np.asarray(draw(stylegan3.moved(*where)))


def decibels(a, b):
    """Of the difference, against how far the images spread, per image: higher is nearer."""
    return -10 * np.log10(np.square(a - b).mean() / np.square(b - b.mean((1, 2), keepdims=True)).mean())


def test_images_move_with_their_transform():
    still, draw = drawn((32, 48, 1))
    across = draw(3 / 48, -2 / 48)  # three pixels to the right, two up
    assert decibels(across[:, 4:-4, 4:-4], np.roll(still, (-2, 3), (1, 2))[:, 4:-4, 4:-4]) > 30
    assert decibels(across[:, 4:-4, 4:-4], still[:, 4:-4, 4:-4]) < 10
    between = draw(0.5 / 48)  # half a pixel: half of a whole one in either direction, nearly
    assert decibels(between[:, 4:-4, 4:-4], (still + np.roll(still, 1, 2))[:, 4:-4, 4:-4] / 2) > 10


def test_images_of_configuration_r_turn():
    still, draw = drawn((32, 32, 1), turns=True)
    assert decibels(draw(0.0, 0.0, 90.0), np.rot90(still, 1, (1, 2))) > 30
    assert decibels(draw(0.0, 0.0, 90.0), np.rot90(still, -1, (1, 2))) < 10
    upright, turned = drawn((32, 32, 1))
    assert decibels(turned(0.0, 0.0, 90.0), np.rot90(upright, 1, (1, 2))) < 20  # T does not


def test_lower_precision_keeps_the_image():
    g, v = authors("r")
    w = jnp.repeat(GOLD["r.w"][:, None], g.layers, 1)
    draw = lambda sizes: jax.jit(partial(g.clone(dtype=jnp.bfloat16, dtype_sizes=sizes).apply, method="synthesis"))(v, w)
    want = GOLD["r.image"].transpose(NHWC)
    rms = lambda image: np.sqrt(np.square(image[:2] - want).mean()) / want.std()
    assert rms(draw(0)) < 1e-4 and 1e-3 < rms(draw(4)) < 0.1


def test_what_the_file_may_not_hold():
    names = json.loads(str(GOLD["t.names"]))
    state, given = rule.state("t", names), rule.CASES["t"]
    assert sum(a.size for a in jax.tree.leaves(authors("t")[1])) == sum(a.size for a in state.values())
    for change, more, says in (
        ({"synthesis.input.transform": rule.TRANSFORM}, {}, "moves every image"),
        ({}, {"img_resolution": 48}, "powers of two"),
        ({}, {"noise": 1}, "made with {'noise': 1}"),
        ({}, {"mapping_kwargs": {"depth": 1}}, "made with {'depth': 1}"),
        ({}, {"conv_kernel": 1}, "does not fit the"),
    ):
        with pytest.raises(UserError, match=says):
            convert_stylegan3.generator(state | change, given | more)
    del state["synthesis.input.freqs"]
    with pytest.raises(UserError, match=r"synthesis\.input\.freqs: the file has no such array; not a StyleGAN3"):
        convert_stylegan3.generator(state, given)


def test_magnitudes_are_of_all_devices():
    """And of training alone: sampling leaves them."""
    layer = stylegan3.ToImage(2, None, 0.5, jnp.float32)
    x, w = jax.random.normal(jax.random.key(0), (4, 2, 8, 8, 3)) * jnp.arange(1, 5).reshape(4, 1, 1, 1, 1), jnp.ones((4, 2, 3))
    v = layer.init(jax.random.key(1), x[0], w[0], False, None)
    train = partial(layer.apply, v, train=True, mutable=["magnitude"])
    apart = jax.pmap(lambda x, w: train(x, w, axis="i"), axis_name="i")(x, w)
    image, new = train(x.reshape(8, 8, 8, 3), w.reshape(8, 3), axis=None)
    np.testing.assert_allclose(apart[1]["magnitude"]["mean"], np.full(4, 0.5 + 0.5 * np.square(x).mean()), rtol=1e-6)
    np.testing.assert_allclose(apart[0].reshape(image.shape), image, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(new["magnitude"]["mean"], apart[1]["magnitude"]["mean"][0], rtol=1e-6)
    assert layer.apply(v, x[0], w[0], False, None, mutable=["magnitude"])[1]["magnitude"]["mean"] == 1


def test_configuration_r_blurs_what_d_sees_at_first():
    config = families.Config(family="stylegan3", preset="r", batch=32)
    x = jax.random.uniform(jax.random.key(0), (2, 40, 28, 1))
    unblurred = ((200.0, {}, 0.0), (0.0, {"init": "runs/r"}, 0.0), (0.0, {"preset": "t"}, 0.0))
    for kimg, more, sigma in ((0.0, {}, 10.0), (150.0, {}, 2.5), *unblurred):
        played = dataclasses.replace(config, **more).design((40, 28, 1), 0).game
        seen = played.augment(jax.random.split(jax.random.key(1), 2), x, played.p({}, jnp.float32(kimg)), None)
        want = np.asarray(x, np.float64)
        if sigma:  # the authors' taps, one axis after the other
            taps = 2.0 ** -np.square(np.arange(-np.floor(3 * sigma), np.floor(3 * sigma) + 1) / sigma)
            for axis in (1, 2):
                want = ndimage.convolve1d(want, taps / taps.sum(), axis, mode="constant")
        np.testing.assert_allclose(seen, want, atol=2e-6)
