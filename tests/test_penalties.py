"""Penalties against float64 NumPy references, central differences, closed forms of a linear critic, and bad inputs."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxgan import average, losses, optim, penalties, schedules, spectral
from tests.reference import penalties as reference
from tests.reference.losses import central_differences, relative_error
from tests.shared import values_and_gradients

# Largest relative error allowed: float32 value; float64 gradient in the critic's weights against central differences.
TOLERANCE = {"value": 2e-5, "gradient": 1e-7}
B, SHAPE, PIXELS, Z = 3, (2, 3, 2), 12, 4
KEY = jax.random.key(7)


def arrays(*shapes, scale=1.0, seed=0):
    rng = np.random.default_rng(seed)
    return [scale * rng.standard_normal(shape) for shape in shapes]


REAL, FAKE, A, C, W, M = arrays((B, PIXELS), (B, PIXELS), (4, PIXELS), (4,), (B, 2, Z), (PIXELS, Z), scale=0.5)
C = 0.75 * C  # gradients on both sides of length 1


def draws(fn, *shape):
    """Float64 copies of what image i must draw: from fold_in(KEY, i) alone."""
    return np.array([fn(jax.random.fold_in(KEY, i), shape) for i in range(B)], np.float64)


NORMAL, UNIFORM, NORMAL_Z = draws(jax.random.normal, PIXELS), draws(jax.random.uniform), draws(jax.random.normal, Z)


def critic(a, c):
    return lambda x: jnp.tanh(x.reshape(len(x), -1) @ a.T) @ c


def generator(m):
    return lambda w: jnp.tanh((w.mean(1) if w.ndim == 3 else w) @ m.T).reshape(-1, *SHAPE)


def image(x):
    return x.reshape(-1, *SHAPE)


def cases():
    """name -> (ours(*arrays), reference(*arrays), float64 arrays, which of them to differentiate)."""
    flip = lambda key, x: x[:, :, ::-1]
    flipped = lambda x: x.reshape(-1, *SHAPE)[:, :, ::-1].reshape(-1, PIXELS)
    gp = lambda fn: lambda r, f, a, c: fn(KEY, critic(a, c), image(r), image(f))
    step = 0.03 * NORMAL_Z
    ema = (0.3, -0.2)
    table = {
        "r1": (lambda x, a, c: penalties.r1(critic(a, c), image(x)), reference.r1, (REAL, A, C), (1, 2)),
        "r2": (lambda x, a, c: penalties.r2(critic(a, c), image(x)), reference.r1, (FAKE, A, C), (1, 2)),
        "finite_difference_r1": (
            lambda x, a, c: penalties.finite_difference_r1(KEY, critic(a, c), image(x), sigma=0.5),
            lambda x, a, c: reference.finite_difference_r1(x, a, c, NORMAL, sigma=0.5),
            (REAL, A, C),
            (1, 2),
        ),
        "wgan_gp": (gp(penalties.wgan_gp), lambda *x: reference.wgan_gp(*x, UNIFORM), (REAL, FAKE, A, C), (2, 3)),
        "wgan_lp": (gp(penalties.wgan_lp), lambda *x: reference.wgan_lp(*x, UNIFORM), (REAL, FAKE, A, C), (2, 3)),
        "dragan": (
            lambda x, a, c: penalties.dragan(KEY, critic(a, c), image(x)),
            lambda x, a, c: reference.dragan(x, a, c, NORMAL),
            (REAL, A, C),
            (1, 2),
        ),
        "drift": (penalties.drift, np.square, (REAL[0],), (0,)),
        "path_length": (
            lambda w, m: penalties.path_length(KEY, generator(m), w, jnp.float32(0.4))[0],
            # the running mean is a constant in the derivative, so the reference is given its value at M
            lambda w, m: reference.path_length(w, m, NORMAL, PL_NEW, 6, decay=0.0)[0],
            (W, M),
            (1,),
        ),
        "lecam": (
            lambda r, f: penalties.lecam(r, f, ema)[0],
            lambda r, f: reference.lecam(r, f, LECAM_NEW, decay=1.0)[0],
            (REAL[0], FAKE[0]),
            (0, 1),
        ),
        "lecam one-sided": (
            lambda r, f: penalties.lecam(r, f, ema, one_sided=True)[0],
            lambda r, f: reference.lecam(r, f, LECAM_NEW, decay=1.0, one_sided=True)[0],
            (REAL[0], FAKE[0]),
            (0, 1),
        ),
        "cr": (
            lambda x, a, c: penalties.cr(KEY, critic(a, c), image(x), augment=flip),
            lambda x, a, c: reference.cr(x, flipped(x), a, c),
            (REAL, A, C),
            (0, 1, 2),
        ),
        "bcr": (
            lambda r, f, a, c: penalties.bcr(KEY, critic(a, c), image(r), image(f), augment=flip, fake_weight=3.0),
            lambda r, f, a, c: 10 * reference.cr(r, flipped(r), a, c) + 3 * reference.cr(f, flipped(f), a, c),
            (REAL, FAKE, A, C),
            (2, 3),
        ),
        "zcr_d": (
            lambda z, m, a, c: penalties.zcr_d(KEY, critic(a, c), generator(m), z),
            lambda z, m, a, c: reference.cr(np.tanh(z @ m.T), np.tanh((z + step) @ m.T), a, c),
            (W[:, 0], M, A, C),
            (2, 3),
        ),
        "zcr_g": (
            lambda z, m: penalties.zcr_g(KEY, generator(m), z),
            lambda z, m: reference.zcr_g(z, z + step, m),
            (W[:, 0], M),
            (1,),
        ),
    }
    for diagonal in (False, True):
        ours = lambda kernel, diagonal=diagonal: penalties.orthogonal({"conv": kernel}, diagonal=diagonal)
        theirs = lambda kernel, diagonal=diagonal: reference.orthogonal(kernel, diagonal)
        table[f"orthogonal diagonal={diagonal}"] = (ours, theirs, (REAL.reshape(2, 3, 2, 3),), (0,))
    return table


PL_NEW = reference.path_length(W, M, NORMAL, 0.4, 6)[1]
LECAM_NEW = reference.lecam(REAL[0], FAKE[0], (0.3, -0.2))[1]
CASES = cases()


@pytest.fixture(scope="module")
def computed():
    return values_and_gradients(CASES)


@pytest.mark.parametrize("name", CASES)
def test_value_matches_the_formula(computed, name):
    _, theirs, args, _ = CASES[name]
    got, want = computed[0][name], theirs(*[x.astype(np.float32).astype(np.float64) for x in args])
    assert got.dtype == jnp.float32 and relative_error(got, want) < TOLERANCE["value"]


@pytest.mark.parametrize("name", CASES)
def test_gradient_matches_central_differences(computed, name):
    _, theirs, args, which = CASES[name]
    got, want = computed[1][name], [central_differences(theirs, args, i) for i in which]
    largest = max(np.max(np.abs(w)) for w in want)
    for g, w in zip(got, want, strict=True):
        assert g.dtype == np.float64 and np.max(np.abs(g - w)) < TOLERANCE["gradient"] * largest


def test_the_cases_reach_both_sides_of_length_one():
    lengths = reference.lengths(UNIFORM[:, None] * REAL + (1 - UNIFORM[:, None]) * FAKE, A, C)
    assert lengths.min() < 1 < lengths.max()


def test_every_public_penalty_is_in_the_table():
    compared = {name.split()[0] for name in CASES} | {"finite_difference_r2"}
    assert set(penalties.__all__) - compared == {"check_critic_is_per_image", "input_gradient"}


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("scale", [0.25, 1.0, 3.0])
def test_linear_critic_has_closed_forms(scale, dtype):
    """D(x) = <a, x>: R1 = R2 = |a|^2, GP = DRAGAN = (|a| - 1)^2, LP = max(0, |a| - 1)^2."""
    a = np.arange(1, PIXELS + 1).reshape(SHAPE)
    a = jnp.asarray(scale * a / np.linalg.norm(a), dtype)
    linear = lambda x: jnp.sum(x * a[None], axis=(1, 2, 3))
    length = float(np.linalg.norm(np.asarray(a, np.float64)))
    real, fake = (jnp.asarray(image(x), dtype) for x in (REAL, FAKE))
    gp = (length - 1) ** 2
    want = {"r1": length**2, "r2": length**2, "gp": gp, "lp": gp * (length > 1), "dragan": gp}

    @jax.jit
    def all_of_them(real, fake):
        return {
            "r1": penalties.r1(linear, real),
            "r2": penalties.r2(linear, fake),
            "gp": penalties.wgan_gp(KEY, linear, real, fake),
            "lp": penalties.wgan_lp(KEY, linear, real, fake),
            "dragan": penalties.dragan(KEY, linear, real),
        }

    for name, got in all_of_them(real, fake).items():
        np.testing.assert_allclose(got, want[name], rtol=2e-6, atol=2e-7)


def test_dragan_has_its_noise_and_its_target():
    """At noise n of an image of zeros, D(x) = |x|^2 / 2 has the gradient std n; D(x) = <a, x> has a."""
    real = jnp.zeros((500, *SHAPE))
    half_square = lambda x: jnp.sum(jnp.square(x), axis=(1, 2, 3)) / 2
    for options, std in (({}, 0.25), ({"std": 0.5}, 0.5)):
        squares = penalties.dragan(KEY, half_square, real, target=0.0, **options)
        assert abs(float(squares.mean()) / (std**2 * PIXELS) - 1) < 4.5 * (2 / squares.size / PIXELS) ** 0.5
    linear = lambda x: 3 * x[:, 0, 0, 0]
    np.testing.assert_allclose(penalties.dragan(KEY, linear, real, target=0.5), 2.5**2, rtol=1e-6)


def test_finite_difference_tends_to_r1():
    """Mean over 4,000 draws against R1 itself, within 4 standard errors (9 % of it)."""
    d, x = critic(*(v.astype(np.float32) for v in (A, C))), image(REAL.astype(np.float32))
    exact = np.asarray(penalties.r1(d, x))
    estimate = lambda key: penalties.finite_difference_r1(key, d, x)
    many = jax.jit(jax.vmap(estimate))(jax.random.split(jax.random.key(3), 4000))
    assert np.max(np.abs(many.mean(0) / exact - 1)) < 4 * 2**0.5 / 4000**0.5
    for options in ({}, {"sigma": 0.5}):
        again = penalties.finite_difference_r1(KEY, d, x, **options)
        np.testing.assert_array_equal(penalties.finite_difference_r2(KEY, d, x, **options), again)


def test_gradient_of_length_zero_is_not_nan():
    flat = lambda c: lambda x: 0.0 * c * x.sum(axis=(1, 2, 3))
    x = image(REAL.astype(np.float32))
    loss = lambda c: penalties.wgan_gp(KEY, flat(c), x, x).sum() + penalties.dragan(KEY, flat(c), x).sum()
    assert jnp.isfinite(jax.grad(loss)(1.0))
    still = lambda c: lambda w: 0.0 * c * jnp.ones((B, *SHAPE)) * w.sum()
    assert jnp.isfinite(jax.grad(lambda c: penalties.path_length(KEY, still(c), jnp.ones((B, Z)), 0.0)[0].sum())(1.0))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_extreme_logits_stay_finite(dtype):
    x, y = (jnp.asarray(image(v), dtype) for v in (REAL, FAKE))

    @jax.jit
    @jax.value_and_grad
    def total(c):
        d = lambda x: jnp.sum(c * x, axis=(1, 2, 3)) * jnp.asarray(1e4, dtype)
        terms = [
            penalties.r1(d, x),
            penalties.finite_difference_r1(KEY, d, x),
            penalties.wgan_gp(KEY, d, x, y),
            penalties.wgan_lp(KEY, d, x, y),
            penalties.dragan(KEY, d, x),
            penalties.drift(d(x)),
            penalties.lecam(d(x), d(y), (0.0, 0.0))[0],
            penalties.bcr(KEY, d, x, y, augment=lambda key, x: -x),
        ]
        return sum(term.sum() for term in terms)

    value, grad = total(jnp.ones((), dtype))
    assert value.dtype == jnp.float32 and jnp.isfinite(value) and jnp.isfinite(grad)


def test_an_image_draws_from_its_own_key_alone():
    """One key, its per-image keys, and a part of the batch with its part of the keys: the same numbers."""
    d, g = critic(*(v.astype(np.float32) for v in (A, C))), generator(M.astype(np.float32))
    real, fake, z = image(REAL.astype(np.float32)), image(FAKE.astype(np.float32)), W[:, 0].astype(np.float32)
    keys = jax.vmap(lambda i: jax.random.fold_in(KEY, i))(jnp.arange(B))

    @jax.jit
    def all_of_them(key, real, fake, z):
        return [
            penalties.wgan_gp(key, d, real, fake),
            penalties.finite_difference_r1(key, d, real),
            penalties.dragan(key, d, real),
            penalties.zcr_g(key, g, z),
            penalties.path_length(key, g, z, 0.0, decay=0.0)[0],
        ]

    whole = all_of_them(KEY, real, fake, z)
    np.testing.assert_array_equal(whole, all_of_them(keys, real, fake, z))
    part = all_of_them(keys[1:], real[1:], fake[1:], z[1:])
    np.testing.assert_allclose(part, np.array(whole)[:, 1:], rtol=1e-4, atol=1e-7)


def test_path_length_keeps_its_running_mean():
    """The mean follows the lengths by 1 %; lengths equal to it cost nothing; it carries no gradient."""
    orthogonal = np.linalg.qr(arrays((PIXELS, Z))[0])[0].astype(np.float32)
    linear = lambda w: (w @ orthogonal.T).reshape(-1, *SHAPE)
    w = jnp.ones((B, Z))
    y = NORMAL @ orthogonal / 6**0.5
    lengths = np.linalg.norm(y, axis=1)
    penalty, new = penalties.path_length(KEY, linear, w, jnp.float32(2.0))
    np.testing.assert_allclose(new, 2 + 0.01 * (lengths.mean() - 2), rtol=1e-6)
    np.testing.assert_allclose(penalty, (lengths - float(new)) ** 2, rtol=1e-5)
    assert jax.grad(lambda s: penalties.path_length(KEY, lambda w: s * linear(w), w, 0.0)[1])(1.0) == 0


def test_lecam_keeps_its_running_means():
    real, fake = jnp.full(4, 2.0), jnp.full(4, -1.0)
    ema = (jnp.float32(0), jnp.float32(0))
    for _ in range(3):
        penalty, ema = penalties.lecam(real, fake, ema, decay=0.5)
    np.testing.assert_allclose(ema, (2 * 0.875, -0.875))
    np.testing.assert_allclose(penalty, (2 + 0.875) ** 2 + (1.75 + 1) ** 2)
    assert jax.grad(lambda r: penalties.lecam(r, fake, ema)[1][0])(real).sum() == 0


def test_orthogonal_kernels_cost_nothing():
    q = np.linalg.qr(arrays((PIXELS, Z))[0])[0].astype(np.float32)
    params = {"dense": {"kernel": q, "bias": np.ones(Z, np.float32)}, "conv": {"kernel": 3 * q.reshape(2, 3, 2, Z)}}
    assert penalties.orthogonal(params) < 1e-10
    np.testing.assert_allclose(penalties.orthogonal(params, diagonal=True), Z * 8.0**2, rtol=1e-5)
    with pytest.raises(ValueError, match="no leaf has two or more axes"):
        penalties.orthogonal({"bias": q[0]})


def test_a_critic_that_mixes_images_is_found():
    x = image(REAL.astype(np.float32))
    mean = lambda x: x.mean(axis=(1, 2, 3))
    batch_norm = lambda x: mean((x - x.mean(0, keepdims=True)) / (x.std(0, keepdims=True) + 0.1))
    stddev = lambda x: mean(x) + x.std(axis=0).mean()
    neighbours = lambda x: mean(x) + 0.01 * jnp.roll(mean(x), 1)
    for mixing in (batch_norm, stddev, neighbours):
        with pytest.raises(ValueError, match="critic: image 0's logit moves"):
            penalties.check_critic_is_per_image(mixing, x)
    with pytest.raises(ValueError, match=f"critic: image {B - 1}'s"):
        penalties.check_critic_is_per_image(lambda x: mean(x).at[-1].add(mean(x)[0]), x)
    with pytest.raises(ValueError, match="one image cannot show"):
        penalties.check_critic_is_per_image(mean, x[:1])
    assert penalties.check_critic_is_per_image(lambda x: 1e4 * mean(x), x) is None
    assert penalties.check_critic_is_per_image(mean, x[:2]) is None


def test_a_critic_that_is_another_function_at_each_call_is_found():
    x, masks = jnp.ones((B, *SHAPE)), iter(np.random.default_rng(0).random((9, 1, *SHAPE)) < 0.5)
    dropped = lambda x: (x * next(masks)).mean((1, 2, 3))
    with pytest.raises(ValueError, match="critic: the same images have other logits at the next call; fix its dropout"):
        penalties.check_critic_is_per_image(dropped, x)


def test_a_flax_nnx_module_is_a_fixed_function_as_its_clone():
    """As docs/own.md has it: its dropout draws anew at each call, and from the same key again in a clone."""

    class Dropped(nnx.Module):
        def __init__(self):
            self.dropout = nnx.Dropout(0.5, rngs=nnx.Rngs(0))

        def __call__(self, x):
            return self.dropout(x).sum((1, 2, 3))

    x, d = jnp.ones((B, *SHAPE)), Dropped()
    critic = lambda x: nnx.clone(d)(x)
    with pytest.raises(ValueError, match="critic: the same images have other logits"):
        penalties.check_critic_is_per_image(d, x)
    assert penalties.check_critic_is_per_image(critic, x) is None
    exact = penalties.r1(critic, x)  # 4 for each pixel that is kept
    assert np.all(np.isin(exact, 4 * np.arange(1, PIXELS + 1)))
    near = np.mean([penalties.finite_difference_r1(jax.random.key(k), critic, x) for k in range(50)])
    assert abs(near / np.mean(exact) - 1) < 5 * 1.41 / (50 * B) ** 0.5


@pytest.mark.parametrize("level", [0.1, 1.0, 50.0])
def test_how_far_a_logit_may_move_is_relative_to_the_largest_above_one(level):
    """Image 0's logit is `level`, and a bit more where any other image is not zero."""
    x, least = jnp.zeros((B, *SHAPE)), max(1.0, level)
    moved = lambda by: lambda x: jnp.zeros(len(x)).at[0].set(level + by * least * (x[1:] != 0).any())
    for tolerance, options in ((1e-4, {}), (0.01, {"tolerance": 0.01})):
        assert penalties.check_critic_is_per_image(moved(0.8 * tolerance), x, **options) is None
        with pytest.raises(ValueError, match="critic: image 0's logit moves"):
            penalties.check_critic_is_per_image(moved(1.2 * tolerance), x, **options)


def test_mistakes_are_errors_at_trace_time():
    mean = lambda x: x.mean(axis=(1, 2, 3))
    x = jax.ShapeDtypeStruct((B, *SHAPE), jnp.float32)
    pixels = jax.ShapeDtypeStruct((B, *SHAPE), jnp.uint8)
    one_less = jax.ShapeDtypeStruct((B - 1, *SHAPE), jnp.float32)

    def refused(message, fn, *args):
        with pytest.raises(ValueError, match=message):
            jax.eval_shape(fn, *args)

    refused("images are uint8", lambda x: penalties.r1(mean, x), pixels)
    refused("logits of shape \\(3, 2\\); return one logit", lambda x: penalties.r2(lambda x: x.mean(axis=(2, 3)), x), x)
    refused("no image axes", lambda x: penalties.r1(lambda x: x, x[:, 0, 0, 0]), x)
    for fn in (penalties.wgan_gp, penalties.wgan_lp):
        refused("differ in shape", lambda x, y, fn=fn: fn(KEY, mean, x, y), x, one_less)
    refused("not a typed key", lambda x: penalties.dragan(jnp.zeros(2, jnp.uint32), mean, x), x)
    refused("one per image \\[3\\]", lambda x: penalties.dragan(jax.random.split(KEY, 2), mean, x), x)
    refused("changed the images' shape", lambda x: penalties.cr(KEY, mean, x, augment=lambda key, x: x[:, :1]), x)
    refused("int32", lambda x: penalties.drift(x.astype(int)), x)
    refused("differ in shape", lambda x, y: penalties.lecam(x, y, (0.0, 0.0)), x, one_less)
    refused("give floats \\[B, W\\]", lambda x: penalties.path_length(KEY, lambda w: w, x, 0.0), x)


PUBLIC = [
    (module, name)
    for module in (penalties, losses, schedules, optim, average, spectral)
    for name, thing in sorted(vars(module).items())
    if (inspect.isfunction(thing) or inspect.isclass(thing)) and thing.__module__.startswith("jaxgan.")
    if not name.startswith("_")
    and (name in getattr(module, "__all__", [name]))
    and thing.__module__ == module.__name__
    or name in getattr(module, "__all__", [])
]
STATE = {"AdamState"}


@pytest.mark.parametrize(("module", "name"), PUBLIC, ids=[f"{m.__name__}.{n}" for m, n in PUBLIC])
def test_conventions(module, name):
    """Key first, options by keyword, and a docstring that says what goes in, what comes out, and where it is from."""
    thing = getattr(module, name)
    if inspect.isclass(thing):
        assert thing.__doc__ and (name in STATE or "Source:" in thing.__doc__)
        return
    assert all(word in thing.__doc__ for word in ("Args:", "Returns:", "Source:"))
    parameters = list(inspect.signature(thing).parameters.values())
    assert all(p.name != "key" for p in parameters[1:])
    optional = [p for p in parameters if p.default is not p.empty]
    if name not in ("adam", "adam_keras"):  # their signatures are those of Kingma and Ba's tables
        assert all(p.kind == p.KEYWORD_ONLY for p in optional)


@pytest.mark.parametrize(
    "call, says",
    [
        (lambda mean, x: penalties.r1(x, mean), "x: a function; give an array of floats"),  # the two exchanged
        (lambda mean, x: penalties.r1(mean, None), "x: a NoneType; give an array"),
        (lambda mean, x: penalties.wgan_gp(KEY, mean, [0.0], x), "real: a list; give an array"),
        (lambda mean, x: penalties.finite_difference_r1(KEY, mean, x, sigma=0), "sigma: 0; give what is above 0"),
        (lambda mean, x: penalties.lecam(mean(x), mean(x), None), "ema: None; give the means of the real and of the fake"),
        (lambda mean, x: penalties.lecam(mean(x), mean(x), 0.0), "ema: 0.0; give the means"),
        (lambda mean, x: penalties.cr(KEY, mean, x, augment=lambda key, x: x[:, :1]), "augment: it changed the images' shape"),
        (lambda mean, x: penalties.zcr_g(KEY, lambda z: x, jnp.zeros((B, 2), int)), "z: int32 .3, 2.; give floats .B, Z."),
    ],
)
def test_a_mistake_is_said_of_the_argument_that_has_it(call, says):
    with pytest.raises(ValueError, match=says):
        jax.eval_shape(lambda x: call(lambda x: x.mean(axis=(1, 2, 3)), x), jax.ShapeDtypeStruct((B, *SHAPE), jnp.float32))
