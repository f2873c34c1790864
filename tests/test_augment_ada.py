"""The ADA paper's pipeline against float64 references of its formulas, and its draws against its distributions."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxgan import augment
from jaxgan.augment.ada_geometry import SYM6, blit_maps, general_maps
from jaxgan.augment.ada_pipe import ADA_PRESETS, ADA_TRANSFORMS, AdaStrengths, ada_odds
from jaxgan.augment.ada_pixels import SYM2, band_filters, color_matrices, filter_gains
from jaxgan.augment.draws import as_normal, image_keys, uniforms
from jaxgan.augment.resample import compose, rotation
from jaxgan.errors import UserError
from tests.reference import augment as reference

KEY, MANY = jax.random.key(5), 20_000
EVERYTHING, PAPER = ADA_PRESETS["bgcfnc"], AdaStrengths()


def images(shape=(4, 12, 10, 3), seed=1):
    return jax.random.uniform(jax.random.key(seed), shape, minval=-1.0)


def all_maps(u, p):
    """The merged geometric map of every image, of a 12 by 10 image."""
    blits, general = (f(u, p, (12, 10), PAPER, EVERYTHING)[0] for f in (blit_maps, general_maps))
    return compose(blits + general)


def all_drawn(u, p):
    """Which images got each transform: blits, general, colour, bands."""
    blits, general = (f(u, p, (12, 10), PAPER, EVERYTHING)[1] for f in (blit_maps, general_maps))
    return blits, general, color_matrices(u, p, PAPER, EVERYTHING)[1], filter_gains(u, p, PAPER, EVERYTHING)[1]


def all_colors(u, p):
    return color_matrices(u, p, PAPER, EVERYTHING)[0]


MAPS, DRAWN, COLORS = jax.jit(all_maps), jax.jit(all_drawn), jax.jit(all_colors)


@functools.cache
def draws(count=MANY):
    return jax.jit(lambda key: uniforms(image_keys(key, count), ["ada_" + name for name in ADA_TRANSFORMS]))(KEY)


@pytest.mark.parametrize("taps", [SYM2, SYM6])
def test_the_wavelets_are_orthogonal_low_passes_with_all_their_vanishing_moments(taps):
    h = np.array(taps)
    n = len(h)
    for shift in range(n // 2):
        assert abs(h[2 * shift :] @ h[: n - 2 * shift] - (shift == 0)) < 1e-11
    assert abs(h.sum() - np.sqrt(2)) < 1e-11
    for moment in range(n // 2):  # n/2 vanishing moments make it Daubechies' family
        assert abs(((-1.0) ** np.arange(n) * np.arange(n) ** moment) @ h) < 1e-9 * n**moment


def test_the_identity_map_through_the_wavelet_is_the_identity():
    x = images()
    same = jax.jit(augment.wavelet_affine)(x, jnp.tile(jnp.eye(3)[None], (4, 1, 1)))
    np.testing.assert_allclose(same, x, atol=2e-6)


def test_wavelet_affine_is_scipys():
    x = images()
    maps = MAPS({name: values[:, :4] for name, values in draws().items()}, 1.0)
    ours = jax.jit(augment.wavelet_affine)(x, maps)
    for i in range(4):
        theirs = reference.wavelet_affine(np.asarray(x[i]), maps[i], SYM6, margin=48)
        np.testing.assert_allclose(ours[i], theirs, atol=2e-5)


def test_wavelet_affine_moves_a_linear_ramp_exactly_where_the_map_says():
    y, x = np.mgrid[:24, :24] - 11.5
    ramp = jnp.asarray(0.05 * x - 0.02 * y, jnp.float32)[None, :, :, None]
    turned = jax.jit(augment.wavelet_affine)(ramp, rotation(jnp.array([0.7])))[0, ..., 0]
    c, s = np.cos(0.7), np.sin(0.7)
    exact = 0.05 * (c * x - s * y) - 0.02 * (s * x + c * y)
    inside = x**2 + y**2 < 7**2
    np.testing.assert_allclose(np.asarray(turned)[inside], exact[inside], atol=1e-5)


def test_blits_are_exact():
    """Quarter turns, flips and whole-pixel moves copy pixels: the same multiset of rows, and every value is in x."""
    x = images((16, 9, 9, 1))
    turned = jax.jit(lambda k, x: augment.ada(k, x, 1.0, transforms=("xflip", "rotate90")))(KEY, x)
    for a, b in zip(np.asarray(x[..., 0]), np.asarray(turned[..., 0]), strict=True):
        eight = [np.rot90(c, k) for c in (a, a[:, ::-1]) for k in range(4)]
        assert any(np.array_equal(b, e) for e in eight)
    moved = jax.jit(lambda k, x: augment.ada(k, x, 1.0, transforms=("xint",)))(KEY, x)
    for a, b in zip(np.asarray(x[..., 0]), np.asarray(moved[..., 0]), strict=True):
        padded = np.pad(a, 1, mode="reflect")
        nine = [padded[i : i + 9, j : j + 9] for i in range(3) for j in range(3)]
        assert any(np.array_equal(b, e) for e in nine)


def test_each_transform_is_drawn_with_its_probability():
    p = 0.35
    blits, general, colors, bands = DRAWN(draws(), p)
    scale, before, after, aniso, xfrac = general
    for drawn in (*blits, scale, before | after, aniso, xfrac, *colors, *bands):
        assert abs(float(drawn.mean()) - p) < 4.5 * np.sqrt(p * (1 - p) / MANY)
    for drawn in (before, after):
        assert abs(float(drawn.mean()) - (1 - np.sqrt(1 - p))) < 4.5 * np.sqrt(0.2 / MANY)
    together = np.corrcoef(np.stack([np.asarray(d) for d in (*blits, *general, *colors, *bands)]))
    assert np.abs(together - np.eye(len(together))).max() < 4.5 / np.sqrt(MANY)  # independent of one another


def test_the_rarest_uniform_numbers_are_finite_normal_ones():
    """JAX's uniform numbers are multiples of 2^-23 and may be 0, whose normal value would be minus infinity."""
    ends = np.asarray(as_normal(jnp.array([0.0, 2.0**-23, 1 - 2.0**-22, 1 - 2.0**-23], jnp.float32)))
    np.testing.assert_allclose(ends, -ends[::-1], rtol=1e-3)
    np.testing.assert_allclose(ends[:2], stats.norm.ppf([2.0**-24, 3 * 2.0**-24]), rtol=1e-3)


def test_drawn_values_have_the_papers_distributions():
    def maps(name):
        one = {name: 1.0}
        of = blit_maps if name in ("xflip", "rotate90", "xint") else general_maps
        return np.asarray(of(draws(), 1.0, (32, 64), PAPER, one)[0][0])

    def is_from(sample, distribution):
        return stats.kstest(sample, distribution).pvalue > 1e-4

    normal, half_turns = stats.norm().cdf, stats.uniform(-np.pi, 2 * np.pi).cdf
    assert is_from(np.log2(maps("scale")[:, 0, 0]) / 0.2, normal)
    aniso = maps("aniso")
    assert is_from(np.log2(aniso[:, 0, 0]) / 0.2, normal)
    np.testing.assert_allclose(aniso[:, 0, 0] * aniso[:, 1, 1], 1, rtol=1e-5)
    turn = maps("rotate")
    assert is_from(np.arctan2(turn[:, 1, 0], turn[:, 0, 0]), half_turns)
    xfrac = maps("xfrac")
    assert is_from(xfrac[:, 0, 2] / (0.125 * 64), normal) and is_from(xfrac[:, 1, 2] / (0.125 * 32), normal)
    xint = maps("xint")
    assert set(np.unique(xint[:, 0, 2])) == set(range(-8, 9)) and set(np.unique(xint[:, 1, 2])) == set(range(-4, 5))
    assert abs((maps("xflip")[:, 0, 0] == -1).mean() - 0.5) < 0.016
    quarters = maps("rotate90")[:, :2, 0]
    counts = np.unique(quarters, axis=0, return_counts=True)[1]
    assert len(counts) == 4 and np.abs(counts / MANY - 0.25).max() < 0.014
    contrast = np.asarray(color_matrices(draws(), 1.0, PAPER, {"contrast": 1.0})[0])
    assert is_from(np.log2(contrast[:, 1, 1]) / 0.5, normal)
    brightness = np.asarray(color_matrices(draws(), 1.0, PAPER, {"brightness": 1.0})[0])
    assert is_from(brightness[:, 2, 3] / 0.2, normal)


def test_geometric_maps_are_the_papers_products():
    """Flip, quarter turn, whole pixels, size, turn, stretch, turn again, fractions of a pixel: the first stands leftmost."""
    count, p, (h, w) = 60, np.float32(0.6), (12, 10)
    u = {name: values[:, :count] for name, values in draws().items()}
    value = {name: np.asarray(u["ada_" + name], np.float64) for name in ADA_TRANSFORMS}
    normal = {name: np.asarray(as_normal(u["ada_" + name]), np.float64) for name in ADA_TRANSFORMS}
    turn = lambda a: np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    moved = lambda x, y: np.array([[1, 0, -x], [0, 1, -y], [0, 0, 1]])
    for i, ours in enumerate(np.asarray(MAPS(u, p))):
        on = lambda name, gate=0, p=p, i=i: value[name][gate, i] < p
        either = 1 - np.sqrt(1 - p)
        half_turns = [np.pi * (2 * value["rotate"][k + 1, i] - 1) * on("rotate", k, either) for k in (0, 2)]
        size, stretch = (2 ** (-0.2 * normal[name][1, i] * on(name)) for name in ("scale", "aniso"))
        whole = np.round((2 * value["xint"][1:3, i] - 1) * 0.125 * (w, h)) * on("xint")
        parts = [np.diag([-1 if on("xflip") and value["xflip"][1, i] < 0.5 else 1, 1, 1])]
        parts += [turn(np.pi / 2 * np.floor(4 * value["rotate90"][1, i]) * on("rotate90")), moved(*whole)]
        parts += [np.diag([size, size, 1]), turn(half_turns[0]), np.diag([stretch, 1 / stretch, 1]), turn(half_turns[1])]
        parts += [moved(*(0.125 * normal["xfrac"][1:3, i] * (w, h) * on("xfrac")))]
        np.testing.assert_allclose(ours, np.linalg.multi_dot(parts), atol=2e-5)


def test_all_geometric_maps_of_an_image_are_resampled_once():
    """By the wavelet; images that drew blits alone are moved by whole pixels."""
    x, keys = images((12, 12, 10, 3)), image_keys(KEY, 12)
    u = {name: values[:, :12] for name, values in draws().items()}
    both = {**ADA_PRESETS["blit"], **ADA_PRESETS["geom"]}
    ours = jax.jit(lambda x: augment.ada(keys, x, 0.4, transforms=both))(x)
    general = np.stack(DRAWN(u, 0.4)[1]).any(0)
    assert 0 < general.sum() < 12
    blits = jax.jit(lambda u: compose(blit_maps(u, 0.4, (12, 10), PAPER, EVERYTHING)[0]))(u)
    smooth, exact = jax.jit(augment.wavelet_affine)(x, MAPS(u, 0.4)), jax.jit(augment.affine)(x, blits)
    np.testing.assert_allclose(ours, np.where(general[:, None, None, None], smooth, exact), atol=1e-5)


@pytest.mark.parametrize("name", ADA_TRANSFORMS)
def test_a_transform_is_drawn_as_often_as_its_multiplier_says(name):
    """Half of p for this one alone: the others are drawn where they would be."""
    u, keys, x = {n: values[:, :200] for n, values in draws().items()}, image_keys(KEY, 200), images((200, 8, 6, 3))
    changed = np.asarray(jax.jit(lambda x: augment.ada(keys, x, 0.8, transforms={name: 0.5}))(x) != x).any((1, 2, 3))
    rows, p = np.asarray(u["ada_" + name]), np.float32(0.8) * np.float32(0.5)
    drawn = rows[0] < p
    if name == "rotate":
        drawn = (rows[[0, 2]] < 1 - np.sqrt(1 - p)).any(0)
    if name == "imgfilter":
        drawn = (rows[:4] < p).any(0)
    assert not changed[~drawn].any()
    coins = {"xflip": 0.5, "lumaflip": 0.5, "rotate90": 0.25, "xint": 0.3}  # drawn, and yet nothing may happen
    assert changed[drawn].mean() > 1 - coins.get(name, 0.02) - 0.2 * (name in coins)


@pytest.mark.parametrize("p", [0.4, 1.0])
def test_the_mean_color_matrix_is_the_product_of_the_five_means(p):
    matrices = np.asarray(COLORS(draws(), p), np.float64)
    deviation = matrices.std(0) / np.sqrt(MANY)
    error = np.abs(matrices.mean(0) - reference.mean_color_matrix(p))
    assert np.all(error[:3] < 4.5 * deviation[:3] + 1e-6)
    np.testing.assert_array_equal(matrices[:, 3], np.tile([0.0, 0, 0, 1], (MANY, 1)))


def test_color_matrices_are_the_papers_products():
    count = 50
    u = {name: values[:, :count] for name, values in draws().items()}
    ours = COLORS(u, 0.6)
    value = {name: np.asarray(u["ada_" + name], np.float64) for name in ADA_TRANSFORMS}
    on = {name: value[name][0] < np.float32(0.6) for name in ADA_TRANSFORMS}
    normal = {name: np.asarray(as_normal(u["ada_" + name][1])) * on[name] for name in ADA_TRANSFORMS}
    for i in range(count):
        expected = reference.color_matrix(
            brightness=0.2 * normal["brightness"][i],
            log2_contrast=0.5 * normal["contrast"][i],
            luma_flip=on["lumaflip"][i] and value["lumaflip"][1][i] < 0.5,
            hue=np.pi * (2 * value["hue"][1][i] - 1) * on["hue"][i],
            log2_saturation=normal["saturation"][i],
        )
        np.testing.assert_allclose(ours[i], expected, atol=1e-5 * np.abs(expected).max())


def test_colors_filter_noise_and_cutout_change_the_pixels_as_the_references_do():
    x = images((6, 12, 10, 3))
    u = {name: values[:, :6] for name, values in draws().items()}
    keys = image_keys(KEY, 6)

    def only(*names):
        return np.asarray(jax.jit(lambda k, x: augment.ada(k, x, 0.9, transforms=names))(keys, x), np.float64)

    five = ("brightness", "contrast", "lumaflip", "hue", "saturation")
    matrices = np.asarray(COLORS(u, 0.9), np.float64)
    homogeneous = np.concatenate([np.asarray(x, np.float64), np.ones((6, 12, 10, 1))], -1)
    np.testing.assert_allclose(only(*five), np.einsum("bij,bhwj->bhwi", matrices, homogeneous)[..., :3], atol=1e-5)

    gates, amounts = np.asarray(u["ada_imgfilter"][:4]), np.asarray(as_normal(u["ada_imgfilter"][4:]))
    gains = np.asarray(filter_gains(u, 0.9, PAPER, EVERYTHING)[0])
    filtered = only("imgfilter")
    for i in range(6):
        expected = reference.band_gains(gates[:, i] < 0.9, amounts[:, i])
        np.testing.assert_allclose(gains[i], expected, rtol=1e-5)
        np.testing.assert_allclose(filtered[i], reference.image_filter(np.asarray(x[i]), expected, SYM2), atol=2e-5)

    kept = only("cutout")
    for i in range(6):
        gate, across, down = np.asarray(u["ada_cutout"][:3, i])
        rows, cols = (np.abs((np.arange(s) + 0.5) / s - c) < 0.25 for s, c in ((12, down), (10, across)))
        hidden = rows[:, None] & cols[None, :] & (gate < 0.9)
        np.testing.assert_array_equal(kept[i], np.where(hidden[..., None], 0, x[i]))


def test_noise_has_the_drawn_deviation():
    x = jnp.zeros((200, 16, 16, 1))
    noisy = jax.jit(lambda k, x: augment.ada(k, x, 1.0, transforms=("noise",)))(KEY, x)
    sigma = np.asarray(noisy).std(axis=(1, 2, 3))
    assert abs(np.sqrt((sigma**2).mean()) - 0.1) < 0.02  # E[sigma^2] = 0.1^2
    expected = 0.1 * np.abs(as_normal(uniforms(image_keys(KEY, 200), ["ada_noise"])["ada_noise"][1]))
    assert np.abs(sigma / expected - 1).max() < 0.25


def test_the_four_bands_are_the_papers_and_sum_to_the_identity():
    ours = band_filters()
    for band, expected in zip(ours, reference.band_filters(SYM2), strict=True):
        margin = (ours.shape[1] - len(expected)) // 2
        np.testing.assert_allclose(band[margin : ours.shape[1] - margin], expected, atol=1e-12)
        assert np.all(band[:margin] == 0)
    np.testing.assert_allclose(ours.sum(0), np.eye(43)[21], atol=1e-12)
    energy = np.abs(np.fft.rfft(ours, 512)) ** 2
    peaks = energy.argmax(1) / 256  # in units of pi: one octave after another
    assert peaks[0] == 0 and 1 / 16 < peaks[1] < 1 / 4 < peaks[2] < 1 / 2 < peaks[3]


def test_grey_images_take_the_matrices_grey_axis():
    grey = images((5, 6, 6, 1))
    names = ("brightness", "contrast", "lumaflip")
    f = jax.jit(lambda k, x: augment.ada(k, x, 1.0, transforms=names))
    np.testing.assert_allclose(f(KEY, jnp.tile(grey, (1, 1, 1, 3))), jnp.tile(f(KEY, grey), (1, 1, 1, 3)), atol=1e-5)


def test_presets_and_switches():
    assert set(ADA_PRESETS["bgc"]) == set(ADA_TRANSFORMS[:12])
    assert {odds for name in ADA_PRESETS if name != "r3gan" for odds in ADA_PRESETS[name].values()} == {1.0}
    r3gan = ada_odds("r3gan", 3)
    assert r3gan["hue"] == 0.5 and r3gan["cutout"] == 1 and not {"noise", "imgfilter"} & set(r3gan)
    assert "hue" not in ada_odds("bgc", 1) and "contrast" in ada_odds("bgc", 1)
    np.testing.assert_array_equal(augment.ada(KEY, images(), 1.0, transforms=()), images())
    _, (drawn,) = blit_maps(draws(), 0.8, (8, 8), PAPER, {"xflip": 0.5})
    assert abs(float(drawn.mean()) - 0.4) < 0.016


@pytest.mark.parametrize(
    "transforms, channels, words",
    [
        ("bcg", 3, "there is no ADA preset 'bcg'; the nearest is "),
        (("hues",), 3, "there is no ADA transform 'hues'; the nearest is hue"),
        (("hue",), 1, "needs colour"),
        (("contrast",), 4, "needs 1 or 3 channels"),
        ({"xflip": 1.5}, 3, "multiplier of p must be in [0, 1], got 1.5"),
    ],
)
def test_bad_transforms_are_users_errors(transforms, channels, words):
    with pytest.raises(UserError) as caught:
        augment.ada(KEY, images((2, 6, 6, channels)), 0.5, transforms=transforms)
    assert words in str(caught.value)
