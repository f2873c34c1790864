"""The resample, the tutorial's four augmentations and the composition by name."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from jaxgan import augment
from jaxgan.augment.draws import image_keys, uniforms
from jaxgan.augment.geometry import draw_crop, draw_rotate, draw_scale
from jaxgan.augment.resample import compose, rotation, scaling, translation_by
from jaxgan.errors import UserError
from tests.reference import augment as reference

KEY = jax.random.key(0)


def images(shape=(5, 12, 9, 3), seed=1):
    return jax.random.uniform(jax.random.key(seed), shape, minval=-1.0)


def some_maps(n):
    a = np.linspace(-2.5, 2.5, n)
    rows = np.stack([1.2 * np.cos(a), -np.sin(a), 3 * a, 0.7 * np.sin(a), np.cos(a), 2.3 - a], -1).reshape(n, 2, 3)
    return np.concatenate([rows, np.tile([[[0.0, 0, 1]]], (n, 1, 1))], 1).astype(np.float32)


@pytest.mark.parametrize("fill, mode", [("reflect", "mirror"), ("edge", "nearest"), (0.0, "grid-constant")])
def test_affine_is_scipys_bilinear_resample(fill, mode):
    x, maps = images(), some_maps(5)
    ours = jax.jit(lambda x, m: augment.affine(x, m, fill=fill))(x, jnp.asarray(maps))
    for i in range(5):
        np.testing.assert_allclose(ours[i], reference.affine(np.asarray(x[i], np.float64), maps[i], mode), atol=1e-5)


def test_fill_value_is_in_the_images_units():
    x = images()
    maps = jnp.asarray(some_maps(5))
    black = jax.jit(lambda x: augment.affine(x, maps, fill=-1.0))(x)
    grey = jax.jit(lambda x: augment.affine(x, maps, fill=0.0))(x + 1)
    np.testing.assert_allclose(black, grey - 1, atol=1e-6)


def test_background_is_the_median_of_the_border_of_each_image_and_channel():
    ground = jnp.array([[-1.0, 0.2], [0.5, -0.3]])[:, None, None, :]
    x = jnp.broadcast_to(ground, (2, 9, 7, 2)).at[:, :6, 2:4].set(0.9)  # a thing that touches the border
    maps = jnp.asarray(some_maps(2))
    filled = jax.jit(lambda x: augment.affine(x, maps, fill="background"))(x)
    np.testing.assert_allclose(filled, jax.jit(lambda x: augment.affine(x - ground, maps, fill=0.0))(x) + ground, atol=1e-6)


@pytest.mark.parametrize("degrees", [-70.0, 12.0, 45.0])
def test_rotation_is_scipys_and_pillows(degrees):
    x = np.asarray(images((1, 11, 11, 1)))
    ours = jax.jit(lambda x, a: augment.affine(x, rotation(a)))(x, jnp.array([np.radians(degrees)]))[0, ..., 0]
    scipys = ndimage.rotate(x[0, ..., 0].astype(np.float64), degrees, reshape=False, order=1, mode="mirror")
    np.testing.assert_allclose(ours, scipys, atol=2e-6)
    pillows = np.asarray(Image.fromarray(x[0, ..., 0]).rotate(degrees, Image.Resampling.BILINEAR))
    y, x_ = np.mgrid[:11, :11] - 5
    inside = y**2 + x_**2 < 4.5**2
    np.testing.assert_allclose(np.asarray(ours)[inside], pillows[inside], atol=1e-4)


def test_quarter_turn_by_affine_is_exact():
    x = images((2, 8, 8, 3))
    quarter = jnp.tile(jnp.array([[[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]]), (2, 1, 1))
    np.testing.assert_array_equal(jax.jit(augment.affine)(x, quarter), jnp.rot90(x, 1, (1, 2)))


def test_affine_gradient_is_the_transpose():
    x, v, maps = images(seed=2), images(seed=3), jnp.asarray(some_maps(5))
    for fill in ("reflect", 0.0):

        def products(x, v):
            y, pull = jax.vjp(lambda a: augment.affine(a, maps, fill=fill), x)  # noqa: B023
            return jnp.sum(y * v), jnp.sum(x * pull(v)[0])

        np.testing.assert_allclose(*jax.jit(products)(x, v), rtol=1e-5)


def test_flip_flips_a_fair_half_and_twice_is_nothing():
    x = images((400, 2, 3, 1))
    flip = jax.jit(augment.flip)
    flipped = flip(KEY, x, 1.0)
    is_flipped = jnp.all(flipped == x[:, :, ::-1], axis=(1, 2, 3))
    assert bool(jnp.all(is_flipped | jnp.all(flipped == x, axis=(1, 2, 3))))
    assert abs(int(is_flipped.sum()) - 200) < 45
    np.testing.assert_array_equal(flip(KEY, flipped, 1.0), x)
    alone, x = jax.jit(augment.pipeline(("flip",), fill="background")), jnp.sin(x)
    np.testing.assert_array_equal(alone(KEY, x, 1.0), flip(KEY, x, 1.0))  # not resampled, which rounds


def test_draws_are_as_documented():
    u = uniforms(image_keys(KEY, 4000), ["scale"])["scale"]
    for draw in (draw_rotate, draw_scale, draw_crop):
        maps, drawn = draw(u, 0.3, (12, 9))
        assert abs(float(drawn.mean()) - 0.3) < 0.033
        np.testing.assert_array_equal(maps[~drawn], np.tile(np.eye(3, dtype=np.float32), (int((~drawn).sum()), 1, 1)))
    angle = np.degrees(np.arctan2(*np.asarray(draw_rotate(u, 1.0, None, max_degrees=20.0)[0][:, 1, :2]).T))
    assert 19 < abs(angle).max() <= 20.001 and abs(angle.mean()) < 0.8
    inverse = np.asarray(draw_scale(u, 1.0, None, minimum=0.5, maximum=4.0)[0][:, 0, 0])
    assert 0.25 <= inverse.min() < 0.26 and 1.9 < inverse.max() <= 2.001
    assert abs(np.log2(inverse).mean() + 0.5) < 0.06  # log-uniform on [-2, 1]


def test_crop_windows_stay_inside_and_reach_the_corners():
    maps, _ = draw_crop(uniforms(image_keys(KEY, 4000), ["crop"])["crop"], 1.0, (12, 9), max_fraction=0.5)
    corners = np.einsum("bij,jk->bik", maps, np.array([[-4, 4], [-5.5, 5.5], [1, 1]]))
    assert np.all(np.abs(corners[:, 0]) <= 4.0001) and np.all(np.abs(corners[:, 1]) <= 5.5001)
    assert np.abs(corners[:, 0, 1]).min() < 1
    sides = np.asarray(maps[:, 0, 0])
    assert 0.5 <= sides.min() < 0.51 and sides.max() <= 1 and abs(sides.mean() - 0.75) < 0.011
    ends = draw_crop(jnp.array([[0.0, 0.0], [0.5, 0.5], [0.0, 1.0], [1.0, 0.0]]), 1.0, (12, 9), max_fraction=0.5)[0]
    x, y = (np.asarray([[m[i, i] * a + m[i, 2] for a in (-half, half)] for m in ends]) for i, half in ((0, 4), (1, 5.5)))
    np.testing.assert_allclose(x, [[-4, 2], [-2, 4]], atol=1e-5)  # three quarters of the side, at the left and at the right
    np.testing.assert_allclose(y, [[-2.75, 5.5], [-5.5, 2.75]], atol=1e-5)


def test_merged_maps_equal_one_after_the_other():
    x = images((6, 12, 9, 3))
    merged = jax.jit(augment.pipeline(("flip", "rotate"), rotate={"max_degrees": 40.0}))(KEY, x, 0.7)
    apart = jax.jit(lambda k, x, p: augment.rotate(k, augment.flip(k, x, p), p, max_degrees=40.0))(KEY, x, 0.7)
    np.testing.assert_allclose(merged, apart, atol=1e-5)


def test_order_of_the_names_is_the_order_of_the_transforms():
    """A turn by a quarter, then twice the width, is twice the width, then a turn, with the axes exchanged."""
    smooth = jax.image.resize(images((1, 5, 5, 1)), (1, 25, 25, 1), "cubic")
    turn, wide = rotation(jnp.array([np.pi / 2])), scaling(jnp.array([0.5]), 1.0)
    move = translation_by(jnp.array([2.0]), jnp.array([0.0]))
    one_by_one, resample = smooth, jax.jit(augment.affine)
    for m in (turn, wide, move):
        one_by_one = resample(one_by_one, m)
    merged = resample(smooth, compose([turn, wide, move]))
    np.testing.assert_allclose(merged[:, 4:-4, 4:-4], one_by_one[:, 4:-4, 4:-4], atol=2e-5)


def test_draws_do_not_depend_on_what_else_is_on():
    x = images((8, 10, 10, 3))
    keys = image_keys(KEY, 8)
    rotated = jax.jit(augment.rotate)(KEY, x, 0.6)
    only_rotated = uniforms(keys, ["cutout"])["cutout"][0] >= 0.6
    both = jax.jit(augment.pipeline(("rotate", "cutout")))(KEY, x, 0.6)
    assert 0 < int(only_rotated.sum()) < 8
    np.testing.assert_array_equal(both[only_rotated], rotated[only_rotated])


def test_geometric_is_the_pipeline_of_the_four():
    x = images((16, 6, 5, 3))
    whole = functools.partial(augment.geometric, rotate=30.0, scale=(0.5, 2.0), crop=0.3, fill="edge")
    ours = jax.jit(whole)(KEY, x, 0.8)
    options = {"rotate": {"max_degrees": 30.0}, "scale": {"minimum": 0.5, "maximum": 2.0}, "crop": {"max_fraction": 0.3}}
    named = jax.jit(augment.pipeline(("flip", "rotate", "scale", "crop"), fill="edge", **options))(KEY, x, 0.8)
    np.testing.assert_array_equal(ours, named)
    stated = {"rotate": 15.0, "scale": (0.8, 1.25), "crop": 0.2, "flip": True, "fill": "reflect"}
    program = lambda **options: str(jax.make_jaxpr(functools.partial(augment.geometric, **options))(KEY, x, 0.8))
    assert program() == program(**stated)
    nothing = augment.geometric(KEY, x, 1.0, rotate=None, scale=None, crop=None, flip=False)
    np.testing.assert_array_equal(nothing, x)


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: augment.pipeline(("rotat",)), "there is no augmentation 'rotat'; the nearest is rotate; there are rotate, "),
        (lambda: augment.pipeline(("flip", "flip")), "named twice"),
        (lambda: augment.pipeline(("flip",), rotate={}), "not among flip"),
        (lambda: augment.pipeline(("rotate",), rotate={"degrees": 3}), "it has: max_degrees"),
        (lambda: augment.pipeline(("flip", "attentive_crop")), "must come first"),
        (lambda: augment.rotate(KEY, images(), 1.0, max_degrees=200), "max_degrees must be in [0, 180], got 200"),
        (lambda: augment.scale(KEY, images(), 1.0, minimum=2.0), "0 < minimum <= maximum"),
        (lambda: augment.crop(KEY, images(), 1.0, max_fraction=1.0), "max_fraction must be in [0, 0.9]"),
        (lambda: augment.rotate(KEY, images(), 1.0, fill="wrap"), '"reflect", "edge", "background" or a number'),
    ],
)
def test_bad_options_are_users_errors(make, words):
    with pytest.raises(UserError) as caught:
        make()
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_tiny_images_and_wrong_matrices_are_refused():
    with pytest.raises(ValueError, match="at least 2 by 2"):
        augment.rotate(KEY, images((2, 1, 5, 1)), 1.0)
    with pytest.raises(ValueError, match=r"matrices must be \[5, 3, 3\]"):
        augment.affine(images(), jnp.eye(3)[None])
    with pytest.raises(ValueError, match="needs a saliency map"):
        augment.pipeline(("attentive_cutout",))(KEY, images(), 1.0)
