"""Latents of given images, whole and damaged: against closed forms, and images of the generator's own found again."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxgan import damage, feature_losses, invert, latents, translate, weights
from jaxgan.data import degrade
from jaxgan.errors import UserError
from jaxgan.invert import Search
from jaxgan.models import residual, stylegan2
from jaxgan.models.pix2pix import Generator as Pix2pix


class Linear(nn.Module):
    """z -> A z as an image, or A z + B c with classes."""

    shape: tuple = (9, 8, 2)
    classes: int = 0
    z_dim: int = 5

    @nn.compact
    def __call__(self, z, c=None, *, keys=None, train=False, axis=None):
        map_of = lambda name: nn.Dense(int(np.prod(self.shape)), use_bias=False, name=name)
        x = map_of("a")(z) + (map_of("b")(c if c.ndim == 2 else jax.nn.one_hot(c, self.classes)) if self.classes else 0)
        return x.reshape(-1, *self.shape)


def means(h, w):
    """Means over 2x2, an odd side filled up with zeros, as a matrix [h' w', h w], float64."""
    out = np.zeros((-(-h // 2), -(-w // 2), h, w))
    for y in range(h):
        for x in range(w):
            out[y // 2, x // 2, y, x] = 0.25
    return out.reshape(-1, h * w)


def least(a, y, known, prior):
    """The z of least sum_k mean (P_k known (A z - y))^2 / mean known + prior mean z^2: normal equations, float64."""
    h, w, c, d = a.shape
    a, y = (m * known[:, :, None, None] for m in (a, y[..., None]))
    left, right = prior / d * np.eye(d), np.zeros(d)
    for p in (np.eye(h * w), means(h, w)):
        pa, py = (p @ a.reshape(h * w, -1)).reshape(-1, d), (p @ y.reshape(h * w, -1)).reshape(-1)
        left += pa.T @ pa / len(py) / known.mean()
        right += pa.T @ py / len(py) / known.mean()
    return np.linalg.solve(left, right)


@pytest.fixture(scope="module")
def linear():
    g, rng = Linear(), np.random.default_rng(0)
    a = rng.normal(size=(*g.shape, 5)) / 8  # no pixel goes beyond [-1, 1]
    kernel = jnp.asarray(a.reshape(-1, 5).T, jnp.float32)
    return g, {"params": {"a": {"kernel": kernel}}}, a, np.float32(rng.normal(size=(3, *g.shape)) / 4)


SHORT = Search(draws=8, starts=2, steps=300, chunk=1)


def test_a_linear_generator_gives_the_solution_of_the_normal_equations(linear):
    g, v, a, y = linear
    missing = np.zeros((3, 9, 8), bool)
    missing[1, 2:7, 3:] = missing[2, :8] = True
    y = np.where(missing[..., None], 7, y)  # whatever stands in a hole
    for prior in (0.02, 0.3):
        found = invert.invert(g, v, y, missing=missing, search=SHORT._replace(prior=prior))
        expected = [least(a, y[i].astype(float), 1.0 - missing[i], prior) for i in range(3)]
        np.testing.assert_allclose(found.latents.code, expected, atol=2e-3)
    x = np.float32(np.einsum("hwcd,nd->nhwc", a, found.latents.code))
    np.testing.assert_array_equal(found.images, np.clip(np.round((x + 1) * 127.5), 0, 255))
    far = feature_losses.pyramid(jnp.asarray(y), x, known=1 - missing[..., None].astype(np.float32))
    np.testing.assert_allclose(found.distance, far, rtol=1e-3)


def test_damage_that_is_no_image_is_the_least_squares_of_its_numbers(linear):
    g, v, a, y = linear
    m = np.random.default_rng(1).normal(size=(144, 7)) / 12
    view = lambda x: x.reshape(-1, 144) @ jnp.asarray(m, jnp.float32)
    found = invert.invert(g, v, y.reshape(3, 144) @ np.float32(m), damage=view, search=SHORT._replace(prior=0.1))
    b = m.T @ a.reshape(144, 5)
    expected = np.linalg.solve(b.T @ b / 7 + 0.1 / 5 * np.eye(5), b.T @ (y.reshape(3, 144) @ m).T / 7).T
    np.testing.assert_allclose(found.latents.code, expected, atol=2e-3)


def test_the_vector_of_an_image_is_found_among_those_of_the_data(linear):
    _, v, a, y = linear
    g, rng = Linear(classes=3), np.random.default_rng(3)
    b = rng.normal(size=(144, 3)) / 4
    v = {"params": v["params"] | {"b": {"kernel": jnp.float32(b.T)}}}
    vectors = np.float32([[1, 0, 0], [0.2, 0.8, 0], [0, 0, 1]])
    z = rng.normal(size=(3, 5))
    x = (z @ a.reshape(144, 5).T + vectors[[1, 2, 1]] @ b.T).reshape(3, *g.shape)
    assert np.abs(x).max() < 1.5
    x = np.float32(np.clip(x, -1, 1))
    found = invert.invert(g, v, x, vectors=vectors, search=SHORT._replace(draws=64, prior=0.0))
    np.testing.assert_array_equal(found.latents.c, vectors[[1, 2, 1]])
    np.testing.assert_allclose(found.latents.code, z, atol=0.02)  # though some pixels are cut


def test_the_pyramid_is_that_of_its_definition(linear):
    x, y = linear[3][:2], linear[3][1:]
    known = np.float32(np.random.default_rng(2).random((2, 9, 8, 1)) < 0.6)
    r = ((x - y) * known).astype(float)
    coarse = np.einsum("kp,npc->nkc", means(9, 8), r.reshape(2, 72, 2))
    expected = (np.square(r).mean((1, 2, 3)) + np.square(coarse).mean((1, 2))) / known.mean((1, 2, 3))
    np.testing.assert_allclose(feature_losses.pyramid(x, y, known=known), expected, rtol=1e-5)
    alone = feature_losses.pyramid(x, y, least=5)  # a single size
    np.testing.assert_allclose(alone, np.square((x - y).astype(float)).mean((1, 2, 3)), rtol=1e-5)


@pytest.mark.parametrize(
    "name, shape", [("blur:1.7", (9, 7, 3)), ("lowres:3", (8, 7, 3)), ("grey", (5, 6, 3)), ("grey", (5, 6, 4))]
)
def test_damage_is_that_of_the_data(name, shape):
    images = np.random.default_rng(0).integers(0, 256, (2, *shape), np.uint8)
    ((kind, amount),) = how = degrade.parse([name])
    view = damage.grey() if kind == "grey" else getattr(damage, kind)(amount)
    ours = (np.asarray(view(jnp.float32(images) / 127.5 - 1)) + 1) * 127.5
    np.testing.assert_allclose(ours, degrade.degrade(how, images, np.arange(2)), atol=0.51)  # bytes are rounded


def test_noise_is_the_mean_of_that_of_the_data():
    levels = np.array([0, 20, 128, 230, 255], np.uint8)
    images = np.broadcast_to(levels, (400, 40, 5))[..., None]
    mean = degrade.degrade([("noise", 60.0)], images, np.arange(400)).mean((0, 1, 3))  # of 16,000: +-0.5
    ours = (np.asarray(damage.noise(60.0)(jnp.float32(levels) / 127.5 - 1)) + 1) * 127.5
    np.testing.assert_allclose(ours, mean, atol=1.5)
    assert ours[0] > 20 and ours[4] < 235


def test_holes_are_where_the_data_is_masked():
    images = np.random.default_rng(0).integers(0, 128, (3, 9, 12, 3), np.uint8)  # none is FILL
    for name in ("mask:0.7", "centre"):
        how = degrade.parse([name])
        holes = degrade.holes(how, (9, 12), np.array([4, 5, 9]))
        shown = degrade.degrade(how, images, np.array([4, 5, 9]))
        np.testing.assert_array_equal(np.where(holes[..., None], np.uint8(degrade.FILL), images), shown)
        assert holes.any((1, 2)).all()


def made(g):
    """Variables that are not those of a start, so that nothing is zero."""
    key, rng = jax.random.key(0), np.random.default_rng(1)
    v = jax.jit(lambda: dict(g.init(key, *weights.example(g), keys=jax.random.split(key, 1))))()
    return jax.tree.map(lambda a: a + 0.1 * jnp.float32(rng.normal(size=a.shape)), v)


@pytest.fixture(scope="module")
def small():
    g = residual.Generator((8, 8, 3), 3, z_dim=4, width=4, patch=2, blocks=(1,))
    return g, made(g)


OWN = Search(draws=256, starts=2, steps=150, prior=0.0, shake=0.1, chunk=1)


def test_images_of_the_generator_are_found_again_and_their_classes(small):
    g, v = small
    codes = latents.draw(g, v, 3, seed=5)
    images = latents.images(g, v, codes)
    found = invert.invert(g, v, images, search=OWN)
    assert translate.distance(images, found.images).psnr > 35
    np.testing.assert_array_equal(found.latents.c, codes.c)
    np.testing.assert_allclose(latents.images(g, v, found.latents), found.images.astype(int), atol=1)
    two = invert.invert(g, v, images[[2, 0]], search=OWN)  # to the bit, whatever stands beside it
    np.testing.assert_array_equal(two.latents.code, found.latents.code[[2, 0]])
    np.testing.assert_array_equal(two.distance, found.distance[[2, 0]])
    other = (codes.c + np.array([2, 2, 0])) % 3  # 0, 2 and, which is right, 1
    told = invert.invert(g, v, images, label=other, search=OWN)
    np.testing.assert_array_equal(told.latents.c, other)
    assert (told.distance[:2] > 3 * found.distance[:2]).all() and told.distance[2] < 1e-3


def test_the_nearest_of_the_draws_is_where_it_starts(small):
    g, v = small
    images = latents.images(g, v, latents.draw(g, v, 8, seed=6))
    still = invert.invert(g, v, images, search=OWN._replace(draws=64, lr=0.0))
    drawn = latents.draw(g, v, 64)  # of the same seed
    x, y = (np.float32(a) / 127.5 - 1 for a in (images, latents.images(g, v, drawn)))
    far = np.stack([feature_losses.pyramid(np.broadcast_to(a, y.shape), y) for a in x])
    first, second = drawn.c[far.argsort(1)[:, :2]].T
    assert (first != second).any()
    np.testing.assert_array_equal(still.latents.c, first)
    np.testing.assert_allclose(still.latents.code, drawn.code[far.argmin(1)], atol=1e-6)


def test_styles_are_found_again_in_every_space():
    g = stylegan2.Generator((8, 8, 1), z_dim=4, w_dim=3, channel_base=24, channel_max=3, mapping_layers=1, architecture="orig")
    v = made(g)
    images = latents.images(g, v, latents.draw(g, v, 2, seed=5), noise="const")
    for space in ("z", "w", "w+"):
        found = invert.invert(g, v, images, search=OWN._replace(space=space, noise="const"))
        assert found.latents.code.shape == (2, g.layers, 3)
        assert np.ptp(found.latents.code, 1).max() > 0.01 if space == "w+" else np.ptp(found.latents.code, 1).max() == 0
        assert translate.distance(images, found.images).psnr > 30, space
        np.testing.assert_allclose(latents.images(g, v, found.latents, noise="const"), found.images.astype(int), atol=1)
    drawn = latents.draw(g, v, 256)
    mean = drawn._replace(code=np.broadcast_to(drawn.code.mean(0), drawn.code.shape)).take(slice(1))
    images = latents.images(g, v, mean, noise="const")
    still = invert.invert(g, v, images, search=OWN._replace(space=space, noise="const", lr=0.0))  # the mean is a start
    np.testing.assert_allclose(still.latents.code, mean.code, atol=1e-5)


def test_the_rate_goes_up_and_comes_down():
    t = np.array([0.01, 0.05, 0.5, 0.75, 0.875, 0.95, 1])
    down = lambda t: (1 - np.cos(4 * np.pi * (1 - t))) / 2
    np.testing.assert_allclose(invert.rate(t), [0.2, 1, 1, 1, 0.5, down(0.95), 0], atol=1e-6)


def test_features_are_added_to_the_distance(small):
    g, v = small
    images = latents.images(g, v, latents.draw(g, v, 2, seed=5))
    features = lambda x: [x[:, ::2] ** 2, 3 * x]
    search = OWN._replace(steps=1, features=features)
    missing = np.arange(8)[:, None] * np.ones(8) < 3
    found = invert.invert(g, v, images, missing=missing, search=search)
    x, y = ((np.float32(a) / 127.5 - 1) * ~missing[..., None] for a in (images, found.images))
    far = feature_losses.pyramid(x, y) / (1 - missing.mean())
    far += np.square(x[:, ::2] ** 2 - y[:, ::2] ** 2).mean((1, 2, 3)) + 9 * np.square(x - y).mean((1, 2, 3))
    np.testing.assert_allclose(found.distance, far, rtol=0.03, atol=1e-3)  # of bytes


def test_what_does_not_fit_is_told(small):
    g, v = small
    images = np.zeros((2, 8, 8, 3), np.uint8)
    all_of_it, three = np.zeros((2, 8, 8), bool), damage.blur(1.0)
    all_of_it[1] = True
    for wrong, options, said in (
        (images[:0], {}, r"\[0, 8, 8, 3\]; they must be uint8 or float \[n, 8, 8, 3\]"),
        (images, {"damage": damage.grey()}, r"float \[n, 8, 8, 1\]"),
        (images.astype(int), {}, "int64"),
        (np.full((1, 8, 8, 3), np.nan), {}, "NaN"),
        (images, {"missing": np.zeros((8, 7), bool)}, r"it must be bool \[8, 8\]"),
        (images, {"missing": all_of_it}, "all of image 1 is missing"),
        (images, {"label": 3}, "the classes are 0 to 2"),
        (images, {"search": Search(space="w")}, "its space is z"),
        (images, {"search": Search(space="v")}, "one of auto, z, w, w"),
        (images, {"search": Search(starts=0)}, "starts is 0"),
        (images, {"search": Search(draws=2)}, "starts is 4, more than the 2 draws"),
        (images, {"search": Search(noise="const")}, "has no noise inputs"),
    ):
        with pytest.raises(UserError, match=said):
            invert.invert(g, v, wrong, **options)
    with pytest.raises(UserError, match="images from images"):
        invert.invert(Pix2pix((8, 8, 3)), {}, images)
    with pytest.raises(ValueError, match="without alpha"):
        three(jnp.zeros((1, 8, 8, 4)))
