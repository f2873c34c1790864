"""Codes of images and images of codes: the same as `sample` makes, for every kind of generator."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxgan import latents, sample
from jaxgan.errors import UserError
from jaxgan.models import dcgan, residual, stylegan2, stylegan3
from jaxgan.restore import Trained
from tests.shared import initial

STYLES = {"z_dim": 6, "w_dim": 5, "channel_base": 48, "channel_max": 4}
MADE = {
    "z and labels": lambda: residual.Generator((8, 8, 1), 3, z_dim=6, width=4),
    "z and batch norm": lambda: dcgan.Generator((8, 8, 1), z_dim=6),
    "w and label": lambda: stylegan2.Generator((8, 8, 3), 3, **STYLES),
}


@pytest.fixture(scope="module", params=MADE)
def made(request):
    g = MADE[request.param]()
    return g, initial(g)


def test_images_of_drawn_codes_are_the_samples(made):
    g, v = made
    for options in ({}, {"seed": 3, "psi": 0.6}):
        codes = latents.draw(g, v, 5, **options)
        assert codes.code.shape == ((5, g.layers, g.w_dim) if hasattr(g, "mapping") else (5, g.z_dim))
        expected = sample.sample(g, v, 5, **options).astype(int)  # two programs: up to a grey level
        np.testing.assert_allclose(latents.images(g, v, codes), expected, atol=1)
        later = latents.draw(g, v, 2, first=3, **options)
        np.testing.assert_array_equal(later.code, codes.code[3:])
        np.testing.assert_array_equal(later.keys, codes.keys[3:])
        np.testing.assert_array_equal(latents.draw(g, v, [4, 1], **options).code, codes.code[[4, 1]])
        few = codes.take(np.array([4, 1]))
        np.testing.assert_array_equal(latents.images(g, v, few), latents.images(g, v, codes)[[4, 1]])
    if g.classes:
        np.testing.assert_array_equal(latents.draw(g, v, 3, label=[2, 0, 1]).c, [2, 0, 1])
        soft = np.float32([[0.5, 0.5, 0], [1, 0, 0]])
        np.testing.assert_array_equal(latents.draw(g, v, 2, label=soft).c, soft)
    else:
        assert codes.c is None
    with pytest.raises(UserError, match="n is 0"):
        latents.draw(g, v, 0)
    for first in (-1, 2**31 - 4):
        with pytest.raises(UserError, match=f"first is {first}; images are counted"):
            latents.draw(g, v, 5, first=first)


def test_images_that_no_seed_has():
    np.testing.assert_array_equal(latents.numbers([7, 0, 7], 2), [9, 2, 9])
    for n in ([], [[1, 2]], [0.5], [True]):
        with pytest.raises(UserError, match="give how many images, or the numbers"):
            latents.numbers(n)
    for n, first in (([3, -1], 0), ([2**31 - 1], 1), ([2**40], 0)):
        with pytest.raises(UserError, match="images are counted from 0 to"):
            latents.numbers(n, first)


def test_bytes_are_the_nearest_and_what_lies_beyond_is_clipped():
    levels = np.arange(256)
    x = np.concatenate([(levels + 0.4) / 127.5 - 1, (levels - 0.4) / 127.5 - 1, [-7, 7]]).astype(np.float32)
    found = latents.as_bytes(jnp.asarray(x))
    assert found.dtype == jnp.uint8 and found.tolist() == [*levels, *levels, 0, 255]
    assert latents.as_bytes(jnp.asarray([-1, 0, 1], jnp.bfloat16)).tolist() == [0, 128, 255]


def test_another_code_is_another_image_and_the_rest_stays(made):
    g, v = made
    codes = latents.draw(g, v, 4)
    code = codes.code.copy()
    code[2] = code[0]
    moved = codes._replace(code=code)
    before, after = latents.images(g, v, codes), latents.images(g, v, moved)
    np.testing.assert_array_equal(before[[0, 1, 3]], after[[0, 1, 3]])
    assert (before[2] != after[2]).any()


def test_latents_that_do_not_fit_are_told(made):
    g, v = made
    codes = latents.draw(g, v, 2)
    for wrong, said in (
        (codes._replace(code=codes.code[..., 1:]), "code of the generator"),
        (codes._replace(code=codes.code[:0]), "code of the generator"),
        (codes._replace(keys=None), "keys are object"),
        (codes._replace(keys=codes.keys[:1]), r"keys are uint32 \[1, 2\]; give uint32 \[2, 2\]"),
    ):
        with pytest.raises(UserError, match=said):
            latents.images(g, v, wrong)
    if g.classes:
        with pytest.raises(UserError, match="3 classes; give c"):
            latents.images(g, v, codes._replace(c=None))


def test_labels_that_are_asked_for():
    assert latents.labels_of(None, 2, 3).tolist() == [-1, -1] and latents.labels_of(2, 2, 3).tolist() == [2, 2]
    assert latents.labels_of([0, 2], 2, 3).tolist() == [0, 2]
    assert latents.labels_of([0.5, 0.0, 0.5], 2, 3).tolist() == [[0.5, 0.0, 0.5]] * 2
    assert latents.labels_of([[0, 1, 1], [1, 0, 0]], 2, 3).dtype == np.float32  # several labels an image
    for label, said in (
        (-1, "the classes are 0 to 2"),
        ([0, 3], "the classes are 0 to 2"),
        ([0, 1, 2], "label must be one class or 2, as integers, or vectors .2, 3. or .3., as floats; it is int64 .3,."),
        (1.0, "it is float64 .."),
    ):
        with pytest.raises(UserError, match=said):
            latents.labels_of(label, 2, 3)
    with pytest.raises(UserError, match="label 0: this generator was trained without labels"):
        latents.labels_of(0, 2, 0)


def test_a_run_on_label_vectors_draws_from_them():
    g = MADE["z and labels"]()
    v = initial(g)
    vectors = np.float32([[0.2, 0.3, 0.5], [0.9, 0.1, 0]])
    run = Trained(g, v, {}, 0, vectors=vectors)
    codes = run.latents(6, seed=1)
    assert {tuple(c) for c in codes.c} <= {tuple(c) for c in vectors}
    np.testing.assert_allclose(run.images(codes), run.sample(6, seed=1).astype(int), atol=1)


class Moving(nn.Module):
    """Its images show the entries of the transform by which they are moved."""

    shape, z_dim, w_dim, layers, classes = (3, 3, 1), 2, 2, 1, 0

    def mapping(self, z):
        return z[:, None]

    def synthesis(self, w, c=None, *, keys=None, transform=None):
        return transform[..., None] + 0 * w[:, 0, :1, None, None]

    def __call__(self, z, c=None, *, keys=None):
        return self.synthesis(self.mapping(z))


def test_each_image_is_moved_by_its_own_transform():
    codes = latents.Latents(np.zeros((70, 1, 2), np.float32), None, np.zeros((70, 2), np.uint32))
    moved = np.stack([stylegan3.moved(i / 100, -i / 200, i / 3) for i in range(70)])
    found = Trained(Moving(), {}, {}, 0).images(codes, transform=moved)[..., 0]
    np.testing.assert_allclose(found, (moved + 1) * 127.5, atol=0.51)
    same = latents.images(Moving(), {}, codes.take(slice(3)), transform=moved[5])[..., 0]
    np.testing.assert_array_equal(same, found[[5, 5, 5]])
    for bad in (moved[:3], np.full((3, 3), np.nan), np.eye(2)):
        with pytest.raises(UserError, match=r"give finite numbers \[3, 3\] or \[70, 3, 3\]"):
            latents.images(Moving(), {}, codes, transform=bad)
    for other in (stylegan2.Generator((8, 8, 3), **STYLES), dcgan.Generator((8, 8, 1), z_dim=6)):
        with pytest.raises(UserError, match="cannot be moved, as those of StyleGAN3 can"):
            latents.transforms(other, np.eye(3), 1)


def test_an_array_in_place_of_latents_is_refused():
    generator = residual.Generator((8, 8, 1), z_dim=3)
    with pytest.raises(UserError, match="latents: a ndarray; give Latents"):
        latents.images(generator, {}, np.zeros((2, 3)))
