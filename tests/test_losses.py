"""Losses against float64 NumPy references, central differences, closed forms, extreme and bad inputs."""

import inspect
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import losses
from tests.reference import losses as reference
from tests.reference.losses import central_differences, relative_error
from tests.shared import values_and_gradients

# Largest relative error allowed: float32 value against the reference; float64 gradient against central differences.
TOLERANCE = {"value": 3e-6, "gradient": 1e-8}

ELEMENTWISE = [
    f"{name}_{player}"
    for name in "minimax non_saturating least_squares hinge wasserstein relativistic relativistic_average".split()
    for player in "dg"
] + ["dual_contrastive_d", "dual_contrastive_g"]
NEED_NO_REAL = ["minimax_g", "non_saturating_g", "least_squares_g", "hinge_g", "wasserstein_g"]
KERNEL = ["mmd_gaussian_g", "mmd_rational_quadratic_g", "mmd_repulsive_d", "mmd_repulsive_g"]
LABELS = np.array([0, 2, 1, 2, 0])


def arrays(*shapes, scale=1.5):
    rng = np.random.default_rng(0)
    return [scale * rng.standard_normal(shape) for shape in shapes]


def cases():
    """name -> (ours, reference, float64 arguments, which of them to differentiate)."""
    table = {name: (getattr(losses, name), getattr(reference, name), arrays(5, 5), (0, 1)) for name in ELEMENTWISE}
    for name, options in [("least_squares_d", {"a": -1.0, "b": 0.7}), ("least_squares_g", {"c": 0.3})]:
        ours, theirs = getattr(losses, name), getattr(reference, name)
        table[f"{name} other targets"] = (partial(ours, **options), partial(theirs, **options), arrays(5, 5), (0, 1))
    mean = lambda fn: lambda r, f: jnp.mean(fn(r, f))
    for name in KERNEL:
        for unbiased in (True, False):
            ours = mean(partial(getattr(losses, name), unbiased=unbiased))
            theirs = partial(getattr(reference, name), unbiased=unbiased)
            table[f"{name} unbiased={unbiased}"] = (ours, theirs, arrays((5, 3), (5, 3), scale=0.6), (0, 1))
    for name, options in [
        ("mmd_gaussian_g", {"sigmas": (0.5, 2.5)}),
        ("mmd_rational_quadratic_g", {"alphas": (0.3, 1.5)}),
        ("mmd_repulsive_d", {"sigma": 0.7, "lower": 0.6, "upper": 1.5}),
        ("mmd_repulsive_g", {"sigma": 0.7}),
    ]:
        ours, theirs = mean(partial(getattr(losses, name), **options)), partial(getattr(reference, name), **options)
        table[f"{name} other options"] = (ours, theirs, arrays((5, 3), (5, 3), scale=0.6), (0, 1))
    linear = mean(partial(losses.mmd_rational_quadratic_g, linear=True))
    theirs = partial(reference.mmd_rational_quadratic_g, linear=True)
    table["mmd_rational_quadratic_g linear"] = (linear, theirs, arrays((5, 3), (5, 3)), (0, 1))
    with_labels = lambda fn: lambda r, f: fn(r, f, LABELS)
    for name in ("ac_gan_d", "ac_gan_g", "multi_hinge_d", "multi_hinge_g"):
        ours, theirs = with_labels(getattr(losses, name)), with_labels(getattr(reference, name))
        table[name] = (ours, theirs, arrays((5, 4), (5, 4)), (0, 1))
    table["class_cross_entropy"] = (
        lambda x: losses.class_cross_entropy(x, LABELS),
        lambda x: reference.class_cross_entropy(x, LABELS),
        arrays((5, 4)),
        (0,),
    )
    table["gaussian_code"] = (losses.gaussian_code, reference.gaussian_code, arrays((5, 4), (5, 4)), (0, 1))
    table["d2d_ce"] = (with_labels(losses.d2d_ce), with_labels(reference.d2d_ce), arrays((5, 6), (3, 6)), (0, 1))
    options = {"temperature": 0.3, "m_p": 0.7, "m_n": 0.1}
    table["d2d_ce other options"] = (
        with_labels(partial(losses.d2d_ce, **options)),
        with_labels(partial(reference.d2d_ce, **options)),
        arrays((5, 6), (3, 6)),
        (0, 1),
    )
    table["feature_matching"] = (losses.feature_matching, reference.feature_matching, arrays((5, 2, 3), (5, 2, 3)), (0, 1))
    table["feature_matching_l1"] = (
        partial(losses.feature_matching, norm="l1"),
        reference.feature_matching_l1,
        arrays((5, 2, 3), (5, 2, 3)),
        (0, 1),
    )
    top_k = (partial(losses.top_k, share=0.5), partial(reference.top_k, share=0.5))
    table["top_k"] = (*top_k, arrays(5, 5), (0,))
    table["top_k of patches"] = (*top_k, arrays((5, 2, 2), (5, 2, 2)), (0,))
    table["l1"] = (losses.l1, reference.l1, arrays((5, 2, 3), (5, 2, 3)), (0, 1))
    return table


CASES = cases()


@pytest.fixture(scope="module")
def computed():
    return values_and_gradients(CASES)


@pytest.mark.parametrize("name", CASES)
def test_value_matches_the_formula(computed, name):
    _, theirs, args, _ = CASES[name]
    got = computed[0][name]
    want = theirs(*[x.astype(np.float32).astype(np.float64) for x in args])
    assert got.dtype == jnp.float32 and relative_error(got, want) < TOLERANCE["value"]


@pytest.mark.parametrize("name", CASES)
def test_gradient_matches_central_differences(computed, name):
    _, theirs, args, which = CASES[name]
    got, want = computed[1][name], [central_differences(theirs, args, i) for i in which]
    largest = max(np.max(np.abs(w)) for w in want)
    for g, w in zip(got, want, strict=True):
        assert g.dtype == np.float64 and np.max(np.abs(g - w)) < TOLERANCE["gradient"] * largest


def test_d_of_mmd_is_minus_g():
    r, f = (x.astype(np.float32) for x in arrays((5, 3), (5, 3)))
    for name, options in (
        ("mmd_gaussian", {}),
        ("mmd_rational_quadratic", {}),
        ("mmd_gaussian", {"sigmas": (0.5, 2.5), "unbiased": False}),
        ("mmd_rational_quadratic", {"alphas": (0.3, 1.5), "linear": True, "unbiased": False}),
    ):
        d, g = (getattr(losses, f"{name}_{player}")(r, f, **options) for player in "dg")
        np.testing.assert_array_equal(d, -g)


def test_every_public_loss_is_in_the_table():
    compared = {name.split()[0] for name in CASES} | {"mmd_gaussian_d", "mmd_rational_quadratic_d"}
    assert set(losses.__all__) - compared == {"feature_l1", "perceptual"}


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_extreme_logits_stay_finite(dtype):
    x = jnp.array([1e4, -1e4, 1e4, 0.0], dtype)
    y = jnp.array([-1e4, 1e4, 1e4, 0.0], dtype)
    rows = jnp.array([[1e4, -1e4, 0.0], [-1e4, 1e4, 1e4], [0.0, 0.0, 0.0]], dtype)
    labels = jnp.array([1, 0, 1])
    plain = ELEMENTWISE + KERNEL + ["mmd_gaussian_d", "mmd_rational_quadratic_d", "l1", "feature_matching"]
    of_class = ["ac_gan_d", "ac_gan_g", "multi_hinge_d", "multi_hinge_g", "d2d_ce"]
    pull = lambda name, r, f, *more: jax.value_and_grad(lambda r, f: jnp.sum(getattr(losses, name)(r, f, *more)), argnums=(0, 1))(
        r, f
    )

    @jax.jit
    def everything(x, y, rows):
        return {n: pull(n, x, y) for n in plain} | {n: pull(n, rows, -rows, labels) for n in of_class}

    for name, (value, grads) in everything(x, y, rows).items():
        assert value.dtype == jnp.float32 and bool(jnp.isfinite(value)), name
        assert all(g.dtype == dtype and bool(jnp.all(jnp.isfinite(g))) for g in grads), name


def test_saturated_gradients_are_the_textbook_ones():
    """D rejects a fake (logit -30): the saturating loss has no gradient, the non-saturating one has -1."""
    x = jnp.array([-30.0])
    assert abs(jax.grad(lambda f: losses.minimax_g(None, f).sum())(x)[0]) < 1e-12
    assert abs(jax.grad(lambda f: losses.non_saturating_g(None, f).sum())(x)[0] + 1) < 1e-6


def test_at_the_equilibrium():
    """D undecided (all logits 0): the values of the papers."""
    zero = jnp.zeros(4)
    assert np.allclose(losses.minimax_d(zero, zero), 2 * np.log(2))
    assert np.allclose(losses.minimax_g(None, zero), -np.log(2))
    assert np.allclose(losses.relativistic_d(zero, zero), np.log(2))
    assert np.allclose(losses.relativistic_average_d(zero, zero), 2 * np.log(2))
    assert np.allclose(losses.dual_contrastive_d(zero, zero), 2 * np.log(5))
    assert np.allclose(losses.hinge_d(zero, zero), 2)
    assert np.allclose(losses.least_squares_d(zero, zero), 0.5)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_patches_have_the_shape_of_the_logits(name):
    fn = getattr(losses, name)
    r, f = arrays((4, 2, 3), (4, 2, 3))
    assert fn(r.astype(np.float32), f.astype(np.float32)).shape == (4, 2, 3)


@pytest.mark.parametrize("name", NEED_NO_REAL)
def test_generator_losses_that_need_no_real_logits(name):
    f = jnp.array([0.3, -2.0])
    np.testing.assert_array_equal(getattr(losses, name)(None, f), getattr(losses, name)(jnp.ones(2), f))


def test_relativistic_average_takes_the_mean_of_all_devices():
    """Two halves of a batch, each with the global mean, give what the whole batch gives."""
    r, f = (x.astype(np.float32) for x in arrays(8, 8))
    mean = lambda x: jax.lax.pmean(jnp.mean(x), "devices")
    for name in ("relativistic_average_d", "relativistic_average_g"):
        fn = getattr(losses, name)
        parts = jax.vmap(partial(fn, mean=mean), axis_name="devices")(r.reshape(2, 4), f.reshape(2, 4))
        np.testing.assert_allclose(parts.reshape(8), fn(r, f), rtol=1e-6)


@pytest.mark.parametrize("name", ["mmd_gaussian_g", "mmd_rational_quadratic_g", "mmd_repulsive_d", "mmd_repulsive_g"])
def test_equal_distributions_give_zero_in_expectation(name):
    """4,000 draws of two batches from one distribution: zero within 4 standard errors, and clearly not when biased."""
    fn = partial(getattr(losses, name), **({"lower": 0.0, "upper": np.inf} if name == "mmd_repulsive_d" else {}))
    x = jax.random.normal(jax.random.key(1), (2, 4000, 4, 2))
    draws = np.asarray(jax.jit(jax.vmap(lambda r, f: fn(r, f).mean()))(x[0], x[1]), np.float64)
    standard_error = draws.std() / len(draws) ** 0.5
    assert abs(draws.mean()) < 4 * standard_error
    if name != "mmd_repulsive_d":  # there the biases of the two terms cancel
        biased = jax.jit(jax.vmap(lambda r, f: fn(r, f, unbiased=False).mean()))(x[0], x[1])
        assert float(biased.mean()) > 20 * standard_error


def test_repulsive_bounds_stop_the_push():
    """Real pairs beyond the upper and fake pairs within the lower threshold have no gradient; others have."""
    grad = jax.jit(jax.grad(lambda r, f: losses.mmd_repulsive_d(r, f).sum(), argnums=(0, 1)))
    far, near = jnp.array([[0.0], [2.1]]), jnp.array([[0.0], [0.4]])
    assert all(bool(jnp.all(g == 0)) for g in grad(far, near))
    spread, gather = grad(near, far)
    assert spread[1, 0] < 0 and gather[1, 0] > 0  # descending moves real features apart and fake ones together


def test_kernel_losses_take_one_logit_an_image():
    r, f = (x.astype(np.float32) for x in arrays(5, 5))
    np.testing.assert_array_equal(losses.mmd_gaussian_g(r, f), losses.mmd_gaussian_g(r[:, None], f[:, None]))


@pytest.mark.parametrize("name", ["mmd_gaussian_g", "mmd_rational_quadratic_g"])
def test_kernel_losses_take_each_difference_once_for_all_widths(name):
    """Each is [B, B, F]: with one for each width, memory and time of the gradient are several times as much."""
    x = jnp.zeros((5, 3))
    traced = jax.make_jaxpr(jax.grad(lambda x: getattr(losses, name)(x, x).sum()))(x)
    assert sum(eqn.primitive.name == "square" and eqn.outvars[0].aval.shape == (5, 5, 3) for eqn in traced.eqns) == 3


def test_ac_gan_with_labels_of_the_fakes():
    r, f = (x.astype(np.float32) for x in arrays((5, 4), (5, 4)))
    other = np.array([3, 3, 0, 1, 2])
    want = reference.class_cross_entropy(r, LABELS) + reference.class_cross_entropy(f, other)
    np.testing.assert_allclose(losses.ac_gan_d(r, f, LABELS, fake_labels=other), want, rtol=1e-5)


def test_d2d_ce_without_other_classes_is_zero():
    x = jnp.eye(3)
    value, grad = jax.jit(jax.value_and_grad(lambda e: losses.d2d_ce(e, x, jnp.ones(3, int)).sum()))(x)
    assert value == 0 and bool(jnp.all(jnp.isfinite(grad)))


def test_a_label_out_of_range_is_nan():
    x = jnp.zeros((2, 3))
    for labels in ([0, 3], [0, -1]):
        labels = jnp.array(labels)
        for fn in (losses.class_cross_entropy, partial(losses.multi_hinge_g, None)):
            assert list(np.isnan(jax.jit(fn)(x, labels))) == [False, True]
        assert list(np.isnan(jax.jit(losses.d2d_ce)(jnp.ones((2, 4)), jnp.ones((3, 4)), labels))) == [False, True]
    labels = jnp.array([1, 2])  # of three outputs the last is "fake", which no image's class is
    assert (
        list(np.isnan(losses.multi_hinge_d(x, x, labels))) == list(np.isnan(losses.multi_hinge_g(x, x, labels))) == [False, True]
    )
    with pytest.raises(ValueError, match=r"logits: shape .2, 1.; the multi-class hinge needs"):
        losses.multi_hinge_d(x[:, :1], x[:, :1], jnp.zeros(2, int))


def test_labels_may_be_integers_of_any_width():
    """One byte holds labels that are fewer than the classes, whose number it does not hold."""
    x = jnp.asarray(np.random.default_rng(0).standard_normal((4, 300)), jnp.float32)
    of_labels = (losses.class_cross_entropy, partial(losses.ac_gan_d, x), partial(losses.multi_hinge_g, None), losses.d2d_ce)
    for fn in (of_labels[0], of_labels[1], of_labels[2], lambda x, labels: losses.d2d_ce(x, jnp.tile(x, (75, 1)), labels)):
        want = fn(x, jnp.array([0, 1, 7, 127]))
        for dtype in (np.uint8, np.int8, np.uint16, np.int64):
            np.testing.assert_array_equal(fn(x, np.array([0, 1, 7, 127], dtype)), want)


def test_feature_distances():
    r, f = (x.astype(np.float32) for x in arrays((5, 2, 2, 3), (5, 2, 2, 3)))
    layers = lambda x: [x, jnp.tanh(x.reshape(5, -1))]
    want = reference.l1(r, f) + reference.l1(np.tanh(r), np.tanh(f))
    assert relative_error(losses.feature_l1(layers(r), layers(f)), want) < 1e-6
    square = lambda a, b: ((a.astype(np.float64) - b) ** 2).reshape(5, -1).mean(1)
    want = 0.5 * square(r, f) + 2 * square(np.tanh(r), np.tanh(f))
    assert relative_error(losses.perceptual(layers, r, f, weights=[0.5, 2.0]), want) < 1e-6
    assert float(jnp.max(losses.perceptual(layers, r, r))) == 0
    with pytest.raises(ValueError, match="norm must be 'l1' or 'l2'"):
        losses.feature_matching(jnp.ones((2, 3)), jnp.ones((2, 3)), norm="max")
    with pytest.raises(ValueError, match="weights: 1 for 2 layers"):
        losses.perceptual(layers, r, f, weights=[1.0])
    with pytest.raises(ValueError, match="1 real and 2 fake layers"):
        losses.feature_l1([r], [f, f])
    for call in (
        lambda: losses.feature_l1(r, f),
        lambda: losses.perceptual(lambda x: x, r, f),
        lambda: losses.feature_l1([], []),
    ):
        with pytest.raises(ValueError, match="give a list of layers"):  # the images are no layers
            call()


@pytest.mark.parametrize("name", ELEMENTWISE + KERNEL)
def test_mistakes_are_errors_at_trace_time(name):
    fn = jax.jit(getattr(losses, name))
    x = np.zeros((4, 2), np.float32)
    half = np.zeros((3, 2), np.float32)
    with pytest.raises(ValueError, match="differ in shape"):
        fn(x, half)
    with pytest.raises(ValueError, match="int32"):
        fn(x, np.zeros((4, 2), np.int32))
    if name not in NEED_NO_REAL:
        with pytest.raises(ValueError, match="one of them is None"):
            fn(None, x)


def test_mistakes_of_shape():
    x = jnp.zeros((4, 3))
    with pytest.raises(ValueError, match="two or more"):
        losses.mmd_gaussian_d(x[:1], x[:1])
    with pytest.raises(ValueError, match="flatten patches"):
        losses.mmd_gaussian_d(x[..., None], x[..., None])
    with pytest.raises(ValueError, match="no batch axis"):
        losses.dual_contrastive_d(jnp.float32(0), jnp.float32(0))
    for labels in (jnp.zeros(4), jnp.zeros(3, int), jnp.zeros((4, 3), int)):
        for fn in (losses.ac_gan_d, losses.multi_hinge_d, losses.d2d_ce):
            with pytest.raises(ValueError, match="labels: .* give integers"):
                fn(x, x, labels)
    with pytest.raises(ValueError, match="does not fit"):
        losses.d2d_ce(x, jnp.zeros((4, 5)), jnp.zeros(4, int))
    with pytest.raises(ValueError, match="two axes"):
        losses.class_cross_entropy(jnp.zeros(4), jnp.zeros(4, int))
    with pytest.raises(ValueError, match=r"means .4, 3. and codes .4, 2. differ in shape"):
        losses.gaussian_code(x, x[:, :2])


@pytest.mark.parametrize("name", losses.__all__)
def test_conventions(name):
    fn = getattr(losses, name)
    assert all(word in fn.__doc__ for word in ("Args:", "Returns:", "Source:"))
    parameters = inspect.signature(fn).parameters.values()
    assert all(p.kind == p.KEYWORD_ONLY for p in parameters if p.default is not p.empty)
    if name.endswith(("_d", "_g")):
        first, second = list(inspect.signature(fn).parameters)[:2]
        assert first.startswith("real") and second.startswith("fake")


@pytest.mark.parametrize(
    "call, says",
    [
        (lambda x: losses.hinge_d("real", x), "real logits: a str; give an array"),
        (lambda x: losses.hinge_g(None, (x, x)), "fake logits: a tuple of 2 arrays; give one array .of sev"),
        (lambda x: losses.feature_matching([x, x], [x, x]), "real features: a list of 2 arrays"),
        (lambda x: losses.ac_gan_d(x, x, None), "labels: a NoneType; give an array"),
        (lambda x: losses.class_cross_entropy(None, jnp.zeros(4, int)), "class_logits: a NoneType"),
        (lambda x: losses.mmd_gaussian_d(x, x, sigmas=()), "sigmas: none; give what is above 0"),
        (lambda x: losses.mmd_gaussian_d(x, x, sigmas=(1.0, -1.0)), "sigmas: 1.0, -1.0; give what is above 0"),
        (lambda x: losses.mmd_rational_quadratic_g(x, x, alphas=(0,)), "alphas: 0; give what is above 0"),
        (lambda x: losses.mmd_repulsive_d(x, x, sigma=0), "sigma: 0; give what is above 0"),
        (lambda x: losses.d2d_ce(x, x, jnp.zeros(4, int), temperature=0), "temperature: 0; give what is above 0"),
    ],
)
def test_what_is_no_array_or_no_width_is_refused(call, says):
    with pytest.raises(ValueError, match=says):
        jax.eval_shape(call, jax.ShapeDtypeStruct((4, 3), jnp.float32))


def test_the_best_fakes_are_at_least_one_and_at_most_all_and_their_rank_has_no_gradient():
    values, logits = jnp.arange(4.0), jnp.array([0.0, 2.0, 2.0, -1.0])
    best = jax.jit(losses.top_k)
    for share, want in ((0.01, 1.0), (0.25, 1.0), (0.3, 1.5), (0.75, 1.0), (1.0, 1.5)):  # 1; 1, 2; 1, 2, 0; all
        np.testing.assert_allclose(best(values, logits, share), want)
    gradient = jax.grad(lambda x: losses.top_k(losses.wasserstein_g(None, x), x, 0.5))(logits)
    np.testing.assert_allclose(gradient, [0, -0.5, -0.5, 0])
    for share in (0, 1.5):
        with pytest.raises(ValueError, match=f"share: {share}; give a part of the batch"):
            losses.top_k(values, logits, share)


def test_lists_of_numbers_are_arrays():
    assert losses.hinge_g(None, [1.0, 2.0]).tolist() == [-1, -2] == losses.hinge_g(None, [jnp.float32(1), 2.0]).tolist()
