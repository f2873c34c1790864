"""DiffAugment, the controllers of p, APA, and the augmentations placed by saliency."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import augment
from jaxgan.augment.draws import draw, image_keys
from jaxgan.errors import UserError

KEY = jax.random.key(7)


def images(shape=(6, 10, 8, 3), seed=1):
    return jax.random.uniform(jax.random.key(seed), shape, minval=-1.0)


def test_colors_of_diffaugment():
    x = np.asarray(images(), np.float64)
    keys = image_keys(KEY, 6)

    def amount(name):
        return np.asarray(draw(keys, name, 2)[1], np.float64)[:, None, None, None]

    bright = x + amount("brightness") - 0.5
    np.testing.assert_allclose(augment.brightness(KEY, images(), 1.0), bright, atol=1e-6)
    m = bright.mean(-1, keepdims=True)
    saturated = (bright - m) * 2 * amount("saturation") + m
    m = saturated.mean((1, 2, 3), keepdims=True)
    expected = (saturated - m) * (amount("contrast") + 0.5) + m
    np.testing.assert_allclose(jax.jit(augment.color)(KEY, images(), 1.0), expected, atol=3e-6)


def test_translation_moves_by_up_to_an_eighth_and_brings_zeros():
    x = images((1000, 20, 12, 1))  # by up to int(20 / 8 + 0.5) = 3 and int(12 / 8 + 0.5) = 2
    moved = np.asarray(jax.jit(augment.translation)(KEY, x, 1.0))
    seen = []
    for a, b in zip(np.asarray(x), moved, strict=True):
        padded = np.pad(a, ((3, 3), (2, 2), (0, 0)))
        at = [(i, j) for i in range(7) for j in range(5) if np.array_equal(padded[i : i + 20, j : j + 12], b)]
        assert len(at) == 1
        seen += at
    assert len(set(seen)) == 35
    for counts in map(np.bincount, zip(*seen, strict=True)):
        even = 1000 / len(counts)
        assert np.abs(counts - even).max() < 4.5 * even**0.5


@pytest.mark.parametrize("side", [8, 9])
def test_cutout_hides_a_square_of_half_the_side_anywhere(side):
    hidden = np.asarray(jax.jit(augment.cutout)(KEY, jnp.ones((500, side, side, 1)), 1.0))[..., 0] == 0
    size = int(side * 0.5 + 0.5)
    areas = hidden.sum((1, 2))
    assert areas.max() == size**2 and areas.min() >= 1
    rows, cols = hidden.any(2), hidden.any(1)
    np.testing.assert_array_equal(hidden, rows[:, :, None] & cols[:, None, :])
    assert rows.any(0).all() and cols.any(0).all()


@pytest.mark.parametrize("side, size", [(8, 4), (9, 5)])
def test_the_centre_of_a_cutout_is_as_often_everywhere(side, size):
    """At the side + 1 corners of the pixels for an even size, on the side pixels for an odd one, as DiffAugment's code has it."""
    hidden = np.asarray(jax.jit(augment.cutout)(KEY, jnp.ones((1000, side, side, 1)), 1.0))[..., 0] == 0
    for spans in (hidden.any(2), hidden.any(1)):
        ends = [(rows.argmax(), side - rows[::-1].argmax()) for rows in spans]
        found, counts = np.unique(ends, axis=0, return_counts=True)
        centres = np.arange(side + (size % 2 == 0))
        wanted = np.stack([np.maximum(centres - size // 2, 0), np.minimum(centres - size // 2 + size, side)], 1)
        np.testing.assert_array_equal(found, np.unique(wanted, axis=0))
        assert np.abs(counts - 1000 / len(centres)).max() < 4.5 * (1000 / len(centres)) ** 0.5


def test_diffaugment_is_its_policy():
    x = images()
    ours = jax.jit(lambda k, x: augment.diffaugment(k, x, 0.7, policy=("cutout", "color")))(KEY, x)
    apart = jax.jit(lambda k, x, p: augment.color(k, augment.cutout(k, x, p), p))(KEY, x, 0.7)
    np.testing.assert_allclose(ours, apart, atol=1e-6)
    with pytest.raises(UserError, match='no policy "colour"'):
        augment.diffaugment(KEY, x, 1.0, policy=("colour",))


def test_heuristics():
    logits = jnp.array([2.0, -1.0, 0.5, 3.0])
    assert float(augment.r_t(logits)) == 0.5
    np.testing.assert_allclose(augment.r_v(jnp.array([3.0, 5.0]), jnp.array([1.0]), jnp.array([-4.0])), 3 / 8)
    assert float(augment.r_v(logits, logits, logits)) == 0.0
    assert float(augment.apa_lambda(logits)) == 0.5
    assert float(augment.apa_lambda(logits, jnp.array([-1.0, -1, -1, 1]), which="f")) == 0.5
    assert float(augment.apa_lambda(logits, jnp.array([-1.0, -2.0]), which="rf")) == 0.75
    with pytest.raises(ValueError, match="needs fake_logits"):
        augment.apa_lambda(logits, which="rf")


def test_the_controller_takes_500_kimg_from_0_to_1_and_stays_inside():
    update = jax.jit(lambda p, r: augment.ada_update(p, r, 4 * 64))
    np.testing.assert_allclose(update(0.5, 0.7), 0.5 + 256 / 500e3, rtol=1e-6)
    np.testing.assert_allclose(update(0.5, 0.5), 0.5 - 256 / 500e3, rtol=1e-6)
    assert float(update(0.5, jnp.float32(0.6))) == 0.5
    assert float(update(0.0, -1.0)) == 0.0 and float(update(1.0, 1.0)) == 1.0
    p = jax.lax.fori_loop(0, 1954, lambda _, p: augment.ada_update(p, 1.0, 256), jnp.float32(0))
    assert 0.999 < float(p) <= 1.0


def test_the_controller_steers_a_discriminator_to_the_target():
    """With r = 0.9 - 0.5 p, the target 0.6 is met at p = 0.6."""
    p = jax.lax.fori_loop(0, 4000, lambda _, p: augment.ada_update(p, 0.9 - 0.5 * p, 256), jnp.float32(0))
    np.testing.assert_allclose(p, 0.6, atol=1e-3)


def test_apa_replaces_a_fraction_p_and_lets_no_gradient_to_the_fakes():
    real, fake = jnp.ones((2000, 2, 2, 1)), jnp.zeros((2000, 2, 2, 1))
    mixed = augment.apa(KEY, real, fake, 0.3)
    assert abs(float(1 - mixed.mean()) - 0.3) < 0.046
    np.testing.assert_array_equal(mixed.min(axis=(1, 2, 3)), mixed.max(axis=(1, 2, 3)))
    assert float(jnp.abs(jax.grad(lambda f: jnp.sum(augment.apa(KEY, real, f, 1.0)))(fake)).max()) == 0
    for other in (fake[:, :1], fake.astype(jnp.bfloat16)):
        with pytest.raises(ValueError, match="real and fake differ"):
            augment.apa(KEY, real, other, 0.3)


def spot(n=40, h=14, w=12, at=(3, 8)):
    """A map with one telling pixel on a faint background."""
    return jnp.full((n, h, w), 1e-3).at[:, at[0], at[1]].set(1.0)


def test_saliency_is_the_critics_gradient():
    x, weights = images((3, 9, 7, 2)), images((9, 7, 2), seed=2)
    s = jax.jit(lambda x: augment.saliency(lambda x: jnp.sum(x**2 * weights[None], (1, 2, 3)), x, sigma=0))(x)
    expected = np.abs(2 * np.asarray(x) * np.asarray(weights)[None]).sum(-1)
    np.testing.assert_allclose(s, expected / expected.sum((1, 2), keepdims=True), rtol=1e-5)


def test_saliency_is_smooth_normalised_and_uniform_without_a_gradient():
    s = jax.jit(lambda x: augment.saliency(lambda x: x[:, 4, 4, 0] * 1e-30, x))(images((2, 9, 9, 1)))
    np.testing.assert_allclose(s.sum((1, 2)), 1, rtol=1e-6)
    assert jnp.unravel_index(s[0].argmax(), (9, 9)) == (4, 4) and float(s[0, 4, 5]) > 0.01 * float(s[0, 4, 4])
    flat = augment.saliency(lambda x: jnp.zeros(x.shape[0]), images((2, 9, 9, 1)))
    np.testing.assert_allclose(flat, 1 / 81, rtol=1e-6)


def test_attentive_cutout_hides_or_keeps_the_telling_pixel():
    x = jnp.ones((40, 14, 12, 1))

    def covered(telling):
        out = jax.jit(lambda k, s: augment.attentive_cutout(k, x, s, 1.0, size=0.4, telling=telling, quantile=0.9))
        return np.asarray(out(KEY, spot()))[..., 0] == 0

    # 25 of the 90 places of a 6 x 5 rectangle hold the pixel (3, 8): more than the tenth above the quantile 0.9.
    hidden = covered("hide")
    assert hidden[:, 3, 8].all() and (hidden.sum((1, 2)) == 30).all()
    assert len(np.unique(hidden.argmax(1), axis=0)) > 1  # not always at one place
    strict = jax.jit(lambda k, s: augment.attentive_cutout(k, x, s, 1.0, size=0.4, telling="keep", quantile=0.5))
    assert not (np.asarray(strict(KEY, spot()))[:, 3, 8, 0] == 0).any()


def test_attentive_crop_keeps_or_loses_the_telling_pixel():
    x = jnp.zeros((40, 14, 12, 1)).at[:, 3, 8].set(1.0)
    for telling, quantile, has in (("keep", 0.9, True), ("hide", 0.4, False)):
        crop = jax.jit(lambda k, s: augment.attentive_crop(k, x, s, 1.0, size=0.5, telling=telling, quantile=quantile))  # noqa: B023
        brightest = np.asarray(crop(KEY, spot())).max((1, 2, 3))
        assert (brightest > 0.2).all() if has else (brightest == 0).all()


def test_attentive_crop_of_everything_is_the_identity_and_of_a_half_the_window():
    x = images((3, 14, 12, 2))
    whole, half = (
        np.asarray(jax.jit(functools.partial(augment.attentive_crop, size=size))(KEY, x, spot(3), 1.0)) for size in (1.0, 0.5)
    )
    np.testing.assert_allclose(whole, x, atol=1e-6)
    corners = half[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    for i in range(3):  # the corners are pixels 6 and 5 apart
        found = [
            (r, c)
            for r in range(8)
            for c in range(7)
            if np.allclose(np.asarray(x)[i, [r, r, r + 6, r + 6], [c, c + 5, c, c + 5]], corners[i], atol=1e-5)
        ]
        assert len(found) == 1


def test_keep_augment_pastes_the_telling_region_of_the_original():
    x, other = jnp.ones((40, 14, 12, 1)), jnp.zeros((40, 14, 12, 1))
    out = jax.jit(lambda k, s: augment.keep_augment(k, x, other, s, 1.0, size=0.4, quantile=0.9))(KEY, spot())
    kept = np.asarray(out)[..., 0] == 1
    assert kept[:, 3, 8].all() and (kept.sum((1, 2)) == 30).all()


def test_attentive_cutmix_pastes_the_most_telling_patches():
    x, other = jnp.zeros((2, 14, 14, 1)), jnp.ones((2, 14, 14, 1))
    s = jnp.arange(2 * 49, dtype=jnp.float32).reshape(2, 7, 7).at[1].multiply(-1)
    out = np.asarray(jax.jit(augment.attentive_cutmix)(KEY, x, other, jnp.repeat(jnp.repeat(s, 2, 1), 2, 2), 1.0))[..., 0]
    patches = out.reshape(2, 7, 2, 7, 2).mean((2, 4)).reshape(2, 49)
    np.testing.assert_array_equal(patches[0], np.arange(49) >= 43)
    np.testing.assert_array_equal(patches[1], np.arange(49) < 6)


def test_attentive_cutmix_pastes_the_patches_of_the_largest_means():
    means = np.random.default_rng(0).permuted(np.tile(np.arange(16.0), (5, 1)), axis=1).reshape(5, 4, 4)
    s = jnp.asarray(means.repeat(3, 1).repeat(2, 2), jnp.float32)  # patches of 3 x 2 pixels
    x, other = jnp.zeros((5, 12, 8, 1)), jnp.ones((5, 12, 8, 1))
    mixed = augment.attentive_cutmix(KEY, x, other, s, 1.0, grid=4, patches=5)
    np.testing.assert_array_equal(mixed[..., 0], s >= 11)


def test_equal_maps_still_place_something():
    """A constant map has one score for all places: whatever its rounding, a place is found."""
    flat = jnp.full((4, 14, 12), 1 / 168)
    out = np.asarray(jax.jit(functools.partial(augment.attentive_cutout, quantile=1.0))(KEY, jnp.ones((4, 14, 12, 1)), flat, 1.0))
    np.testing.assert_array_equal((out == 0).sum((1, 2, 3)), 7 * 6)


def test_pipeline_with_saliency():
    x, s = images((4, 14, 12, 3)), spot(4)
    both = jax.jit(augment.pipeline(("attentive_cutout", "flip"), attentive_cutout={"size": 0.3}))(KEY, x, 1.0, s)
    apart = jax.jit(lambda k, s: augment.flip(k, augment.attentive_cutout(k, x, s, 1.0, size=0.3), 1.0))(KEY, s)
    np.testing.assert_array_equal(both, apart)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda x, s: augment.attentive_cutout(KEY, x, s[:, 1:], 1.0), "saliency must be floating (6, 10, 8)"),
        (lambda x, s: augment.attentive_cutout(KEY, x, s, 1.0, telling="find"), '"keep" or "hide"'),
        (lambda x, s: augment.attentive_cutout(KEY, x, s, 1.0, size=0.0), "size must be in (0, 1]"),
        (lambda x, s: augment.attentive_crop(KEY, x, s, 1.0, quantile=60), "quantile must be in [0, 1], got 60"),
        (lambda x, s: augment.keep_augment(KEY, x, x[..., :1], s, 1.0), "augmented must be float32"),
        (lambda x, s: augment.attentive_cutmix(KEY, x, x, s, 1.0, grid=9), "grid must be in [1, 8]"),
        (lambda x, s: augment.attentive_cutmix(KEY, x, x, s, 1.0, patches=50), "patches must be in [1, 49]"),
        (lambda x, s: augment.translation(KEY, x, 1.0, ratio=2), "ratio must be in [0, 1]"),
    ],
)
def test_bad_options(call, words):
    with pytest.raises(ValueError) as caught:
        call(images(), spot(6, 10, 8))
    assert words in str(caught.value) and "\n" not in str(caught.value)
