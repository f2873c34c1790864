"""What every augmentation promises: identity at p = 0, per-image draws, dtypes, derivatives, complaints."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import augment
from jaxgan.augment.draws import SALTS, image_keys, salted, uniforms
from jaxgan.errors import UserError

KEY = jax.random.key(3)
SHAPE = (4, 10, 8, 3)


def images(shape=SHAPE, seed=1):
    return jax.random.uniform(jax.random.key(seed), shape, minval=-1.0)


def with_saliency(function):
    def apply(key, x, p):
        rows, columns = (jnp.arange(n, dtype=jnp.float32) for n in x.shape[1:3])
        bumps = jnp.exp(jnp.sin(rows[:, None] * 1.3 + columns[None, :]))
        return function(key, x, jnp.broadcast_to(bumps, x.shape[:3]), p)

    return apply


def keep(key, x, saliency, p):
    return augment.keep_augment(key, x, x[:, ::-1] * 0.5, saliency, p)


def cutmix(key, x, saliency, p):
    return augment.attentive_cutmix(key, x, x[:, ::-1] * 0.5, saliency, p, grid=4)


EVERY = {
    "rotate": augment.rotate,
    "scale": augment.scale,
    "crop": augment.crop,
    "flip": augment.flip,
    "geometric": augment.geometric,
    "brightness": augment.brightness,
    "saturation": augment.saturation,
    "contrast": augment.contrast,
    "color": augment.color,
    "translation": augment.translation,
    "cutout": augment.cutout,
    "diffaugment": augment.diffaugment,
    "ada": functools.partial(augment.ada, transforms="bgcfnc"),
    "pipeline": augment.pipeline(("flip", "rotate", "color", "crop", "cutout")),
    "apa": lambda key, x, p: augment.apa(key, x, x[:, ::-1] * 0.5, p),
    "attentive_cutout": with_saliency(augment.attentive_cutout),
    "attentive_crop": with_saliency(augment.attentive_crop),
    "keep_augment": with_saliency(keep),
    "attentive_cutmix": with_saliency(cutmix),
}
every = pytest.mark.parametrize("name", EVERY)
# Compositions of others of the list add little but compilation.
COMPOSED = ("geometric", "color", "diffaugment", "pipeline")
simple = pytest.mark.parametrize("name", [n for n in EVERY if n not in COMPOSED])


@functools.cache
def jitted(name):
    return jax.jit(EVERY[name])


def bits(x):
    return np.asarray(x).view(np.uint16 if x.dtype == jnp.bfloat16 else np.uint32)


@every
def test_p_zero_is_the_identity_bit_for_bit(name):
    x = images().at[0, 0, 0].set(-0.0)
    np.testing.assert_array_equal(bits(jitted(name)(KEY, x, 0.0)), bits(x))


@every
def test_p_one_changes_images_and_keeps_the_dtype(name):
    y = jitted(name)(KEY, images(), 1.0)
    assert y.shape == SHAPE and y.dtype == jnp.float32 and bool(jnp.all(jnp.isfinite(y)) & jnp.any(y != images()))


@simple
def test_bfloat16(name):
    x = images().astype(jnp.bfloat16)
    np.testing.assert_array_equal(bits(jitted(name)(KEY, x, 0.0)), bits(x))
    y = jitted(name)(KEY, x, 1.0)
    assert y.dtype == jnp.bfloat16
    # Rounded at most once per transform: close to the float32 result of the same images.
    wide = jitted(name)(KEY, x.astype(jnp.float32), 1.0)
    np.testing.assert_allclose(y.astype(jnp.float32), wide, atol=0.03 * float(jnp.abs(wide).max()))


@every
def test_an_image_does_not_depend_on_its_batch(name):
    x = images()
    together = jitted(name)(KEY, x, 0.8)
    others = jitted(name)(KEY, x.at[np.array([0, 1, 3])].set(0.3), 0.8)
    np.testing.assert_array_equal(together[2], others[2])


@pytest.mark.parametrize("name", ["pipeline", "diffaugment", "ada", "attentive_crop"])
def test_an_image_alone_with_its_key_gives_the_same(name):
    x = images()
    together = jitted(name)(KEY, x, 0.8)
    alone = jax.jit(lambda key, x, p: EVERY[name](image_keys(key, 4)[2:3], x[2:3], p))(KEY, x, 0.8)
    np.testing.assert_allclose(together[2:3], alone, atol=2e-6)


@simple
def test_first_and_second_derivatives_are_finite_and_not_zero(name):
    x = images()

    def critic(x):
        return jnp.sum(jnp.sin(2 * EVERY[name](KEY, x, 1.0)), axis=(1, 2, 3))

    def both(x):
        first = jax.grad(lambda x: jnp.sum(critic(x)))
        second, g = jax.grad(lambda x: (jnp.sum(first(x) ** 2), first(x)), has_aux=True)(x)
        return g, second

    for g in jax.jit(both)(x):
        assert bool(jnp.all(jnp.isfinite(g)))
        assert bool(jnp.all(jnp.any(g != 0, axis=(1, 2, 3)))) or name == "apa"  # an image replaced has no gradient


@every
def test_bad_input_is_refused_with_one_line(name):
    apply, x = EVERY[name], images()
    for p in (-0.1, 1.5, float("nan"), np.float32(2), jnp.float32(2)):
        with pytest.raises(UserError, match=r"p must be in \[0, 1\]"):
            apply(KEY, x, p)
    with pytest.raises(ValueError, match="p must be a scalar"):
        apply(KEY, x, jnp.zeros(4))
    with pytest.raises(ValueError, match=r"images must be floating.*divide uint8"):
        apply(KEY, (x * 100).astype(jnp.int32), 1.0)
    with pytest.raises(ValueError, match=r"one per image \[4\]"):
        apply(jax.random.split(KEY, 3), x, 1.0)
    for key in (jax.random.PRNGKey(0), 0, None):
        with pytest.raises(ValueError, match="key: not a typed key; make it with"):
            apply(key, x, 1.0)


def test_one_key_is_folded_with_the_index_of_the_image():
    expected = jnp.stack([jax.random.fold_in(KEY, i) for i in range(3)])
    np.testing.assert_array_equal(jax.random.key_data(image_keys(KEY, 3)), jax.random.key_data(expected))


@pytest.mark.parametrize("name", [n for n in EVERY if not n.startswith(("attentive", "keep", "apa"))])
def test_wrong_rank_is_refused(name):
    with pytest.raises(ValueError, match=r"must be \[B, H, W, C\]"):
        EVERY[name](KEY, images()[0], 1.0)


@every
def test_grey_images(name):
    x = images((3, 8, 8, 1))
    if name == "saturation":
        with pytest.raises(UserError, match="needs colour"):
            EVERY[name](KEY, x, 1.0)
    else:
        assert jax.eval_shape(EVERY[name], KEY, x, 1.0).shape == x.shape


def test_a_pipeline_works_under_vmap_over_keys():
    keys = jax.random.split(KEY, 3)
    x = images()
    mapped = jax.jit(jax.vmap(lambda k: EVERY["pipeline"](k, x, 1.0)))(keys)
    np.testing.assert_allclose(mapped[1], jitted("pipeline")(keys[1], x, 1.0), atol=2e-6)


def test_every_name_has_draws_of_its_own():
    """The noise and the places drawn besides the uniform numbers come from the same key as those, another for each name."""
    keys, seen = jax.random.split(KEY, 3), set()
    for name in SALTS:
        drawn = jax.vmap(lambda key: jax.random.uniform(key, (8,)))(salted(keys, name))
        np.testing.assert_array_equal(uniforms(keys, [name])[name], drawn.T)
        seen.add(bytes(np.asarray(drawn)))
    assert len(seen) == len(SALTS)
    numbers = {"rotate": 0, "brightness": 4, "ada_xflip": 9, "ada_cutout": 23, "apa": 24, "attentive_cutmix": 28}
    assert {name: SALTS[name] for name in numbers} == numbers  # as saved runs have them


@pytest.mark.parametrize(
    "call, says",
    [
        (lambda x: augment.pipeline("flip"), 'a tuple of names, such as ."flip",., not the text "flip"'),
        (lambda x: augment.pipeline(("rotate",), rotate=10), 'options of "rotate" are a dict'),
        (lambda x: augment.diffaugment(jax.random.key(0), x, 1.0, policy="color,cutout"), "policy is a tuple of names"),
        (lambda x: augment.attentive_crop(jax.random.key(0), x, None, 1.0), "saliency is None; give `augment.saliency"),
    ],
)
def test_text_for_names_and_nothing_for_a_map_are_refused(call, says):
    with pytest.raises(ValueError, match=says):
        call(jnp.zeros((2, 8, 8, 1)))
