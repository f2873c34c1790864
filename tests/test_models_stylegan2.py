"""StyleGAN2 against the authors' networks and loss (golden arrays), its draws, and what the fields do."""

import json
from functools import cache, partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgan import convert_stylegan2, game, method, recipes, recipes_stylegan, regularizers, state, style, terms
from jaxgan.errors import UserError
from jaxgan.models.stylegan2 import Discriminator, DiscriminatorBlock, Generator, StyledConv
from jaxgan.style import Mapping
from tests.golden import stylegan2_rule
from tests.shared import filled, off, updater

GOLD = np.load(Path(__file__).parent / "golden" / "stylegan2.npz")
TINY = {"z_dim": 5, "w_dim": 4, "mapping_layers": 2, "channel_base": 64, "channel_max": 8}
NHWC, NCHW = (0, 2, 3, 1), (0, 3, 1, 2)


@cache
def authors(case):
    """Our modules and variables of a golden case."""
    g, d = stylegan2_rule.states(GOLD, case)
    made = convert_stylegan2.generator(g, stylegan2_rule.kwargs(case, "g"))
    return *made, *convert_stylegan2.discriminator(d, stylegan2_rule.kwargs(case, "d"))


@pytest.mark.parametrize("case", stylegan2_rule.CASES)
def test_outputs_are_the_authors(case):
    g, vg, d, vd = authors(case)
    z, c, x, _ = stylegan2_rule.inputs(case)
    c = jnp.asarray(c) if c.shape[1] else None
    w = jax.jit(partial(g.apply, method="mapping"))(vg, z, c)
    assert off(w[:, 0], GOLD[f"{case}.w"]) < 2e-6 and np.all(w == w[:, :1])
    truncated = jax.jit(partial(g.apply, method="mapping", psi=0.6, cutoff=3))(vg, z, c)
    assert off(truncated[:, 2:4], GOLD[f"{case}.w_psi"]) < 2e-6
    for noise, n in (("const", 2), ("none", 1)):
        image = jax.jit(partial(g.apply, method="synthesis", noise=noise))(vg, w[:n])
        assert off(image.transpose(NCHW), GOLD[f"{case}.{noise}"]) < 1e-5
    # The authors' groups are the images i, i + B / 4, ...; ours are neighbours.
    order = np.arange(len(x)).reshape(4, -1).T.ravel()
    logits = jax.jit(d.apply)(vd, x[order].transpose(NHWC), None if c is None else c[order])
    assert off(logits, GOLD[f"{case}.logits"][order]) < 1e-5


record = optax.GradientTransformationExtraArgs(
    lambda params: jax.tree.map(jnp.zeros_like, params),
    lambda grads, state, params=None, **_: (jax.tree.map(jnp.zeros_like, grads), grads),
)
"""An optimiser that moves nothing; its state is the gradient."""


@pytest.fixture
def drawn(monkeypatch):
    """The step with the golden inputs in place of its draws: no mixing, z and path-length noise given, constant noise."""
    g, vg, d, vd = authors("plain")
    g = g.clone(mixing=0.0, w_average=0.998)  # stylegan3's default, as the golden mean has it
    z, _, x, y = stylegan2_rule.inputs("plain")
    monkeypatch.setattr(regularizers, "normal_like", lambda key, x: jnp.asarray(y.transpose(NHWC)))
    rest = lambda v: {name: tree for name, tree in v.items() if name != "params"}

    def latent(v, keys, c, kimg, axis, refresh):
        w, new = g.apply(v, jnp.asarray(z), keys=keys, train=True, axis=axis, mutable=["w_avg"], method="mapping")
        return w, rest(v) | new

    def synthesize(v, keys, w, c, kimg, axis, refresh):
        return g.apply(v, w, noise="const", method="synthesis"), rest(v)

    played = game.game(g, d)._replace(latent=latent, synthesize=synthesize)

    def gradient(turn):
        recipe = recipes_stylegan.stylegan2(batch=4)._replace(turns=(turn,), tx={"g": record, "d": record})
        before = state.create(0, vg, vd, recipe).replace(carry={"pl_mean": jnp.float32(0.7)})
        after, _ = jax.jit(updater(recipe, played))(before, jnp.asarray(x.transpose(NHWC))[None, None], None)
        return getattr(after, turn.phases[0].player).opt, after

    return gradient


def authors_gradient(phase, which):
    """[(name, shape, largest value, some values)] of a golden phase; arrays that are not trained left out."""
    names = json.loads(str(GOLD[f"plain.{which}.names"]))
    trained = [(name, shape) for name, shape in names if not name.endswith(("noise_const", "w_avg"))]
    largest, values = GOLD[f"plain.{phase}.max"], GOLD[f"plain.{phase}.picked"]
    start = 0
    for (name, shape), top in zip(trained, largest, strict=True):
        n = min(int(np.prod(shape)), 12)
        yield name, shape, top, values[start : start + n]
        start += n


def their_layout(ours, name, shape, which):
    """Our gradient in their layout: the golden file picks values of theirs."""
    *modules, leaf = name.removeprefix("synthesis.").split(".")
    for module in modules:
        ours = ours["mapping_network" if module == "mapping" else module]
    array = np.asarray(ours["kernel" if leaf == "weight" else leaf])
    if name == "b4.fc.weight" and which == "d":
        return array.reshape(4, 4, -1, array.shape[1]).transpose(3, 2, 0, 1).reshape(shape)
    back = {3: (2, 0, 1), 4: (3, 2, 0, 1)}  # the grid, kernels
    return array.transpose(back[array.ndim]) if array.ndim > 2 else array.T


@pytest.mark.slow
@pytest.mark.parametrize("phase, turn", [("Gmain", 0), ("Greg", 1), ("Dmain", 2), ("Dreg", 3)])
def test_gradients_of_the_four_phases_are_the_authors(drawn, phase, turn):
    turns = recipes_stylegan.stylegan2(batch=4).turns
    chosen = turns[turn]
    if phase == "Greg":  # the golden phase holds the running mean: we pass no gradient through it
        chosen = method.Turn((method.Phase("g", (terms.path_length(2.0, every=4, share=2, decay=0.0),)),))
    ours, after = drawn(chosen)
    if phase == "Gmain":
        assert off(after.g.stats["w_avg"]["mapping_network"]["mean"], GOLD["plain.w_avg"]) < 1e-5
    which = phase[0].lower()
    rows = list(authors_gradient(phase, which))
    top = max(row[2] for row in rows)
    for name, shape, largest, values in rows:
        mine = stylegan2_rule.picked(their_layout(ours, name, shape, which))
        assert np.abs(mine - values).max() < 1e-4 * max(largest, 1e-4 * top), name


def test_minibatch_groups_are_of_all_devices():
    """tests/test_equalized.py has their gradients, tests/test_step.py a whole run on several devices."""
    d = Discriminator((8, 8, 1), 3, channel_base=32, channel_max=4, mapping_layers=1)
    x, c = jax.random.normal(jax.random.key(1), (8, 8, 8, 1)), jnp.arange(8) % 3
    v = filled(d, x, c)
    one = jax.jit(d.apply)(v, x, c)
    four = jax.pmap(partial(d.apply, axis="d"), axis_name="d", in_axes=(None, 0, 0))(v, x.reshape(4, 2, 8, 8, 1), c.reshape(4, 2))
    np.testing.assert_allclose(four.reshape(8), one, rtol=1e-4, atol=1e-5)


COUNTS = {  # of the authors' networks: generator, discriminator
    ("config_e", 1024, 0): (24900764, 24038161),
    ("config_f", 1024, 0): (30370060, 29012513),
    ("paper256", 256, 10): (25035234, 26370112),
    ("paper512", 512, 0): (30276583, 28982849),
    ("paper1024", 1024, 0): (30370060, 29012513),
    ("cifar", 32, 0): (19947539, 20720641),
    ("cifar", 32, 10): (20215315, 23089664),
    ("auto", 64, 0): (22243608, 23407361),
}


@pytest.mark.parametrize("name, side, classes", COUNTS)
def test_presets_have_the_authors_parameter_counts(name, side, classes):
    chosen = recipes_stylegan.preset(name, side)
    g = Generator((side, side, 3), classes, **chosen["g"])
    d = Discriminator((side, side, 3), classes, **chosen["d"])
    made = jax.eval_shape(lambda: game.init(g, d, 0))
    assert tuple(sum(leaf.size for leaf in jax.tree.leaves(v["params"])) for v in made) == COUNTS[name, side, classes]
    recipe = recipes_stylegan.stylegan2(**chosen["recipe"])
    assert len(recipe.turns) == (3 if name == "cifar" else 4)
    method.check(recipe)


def test_the_automatic_preset():
    chosen = recipes_stylegan.preset("auto", 256, devices=2)
    assert chosen["recipe"]["batch"] == 32 and chosen["d"]["group"] == 4
    assert chosen["recipe"]["gamma"] == pytest.approx(0.4096) and float(chosen["recipe"]["ema_kimg"](1e6)) == 10
    assert recipes_stylegan.preset("auto", 256, batch=64)["recipe"]["gamma"] == pytest.approx(0.2048)
    with_ada = recipes.adaptive(recipes_stylegan.stylegan2(**chosen["recipe"]))
    method.check(with_ada)
    assert [len(turn.phases[0].terms) for turn in with_ada.turns] == [1, 1, 2, 1]  # ADA watches D's own phase
    with pytest.raises(UserError, match="no preset"):
        recipes_stylegan.preset("best", 32)


def test_the_recipe_has_the_papers_weights_intervals_and_rates():
    recipe = recipes_stylegan.stylegan2(batch=32)
    weight = lambda term: float(term.weight(0.0) if callable(term.weight) else term.weight)
    phases = [phase for turn in recipe.turns for phase in turn.phases]
    found = [(p.player, t.name, weight(t), t.every, t.share) for p in phases for t in p.terms]
    wanted = [("g", "adv", 1, 1, 1), ("g", "path_length", 2, 4, 2), ("d", "adv", 1, 1, 1), ("d", "r1", 5, 16, 1)]
    assert found == wanted and {turn.slots for turn in recipe.turns} == {(0,)}
    for player, c in (("g", 4 / 5), ("d", 16 / 17)):  # a due regulariser is one more update in every 4 or 16 steps
        tx, one = recipe.tx[player], jnp.ones(())
        moved, opt = tx.update(2 * one, tx.init(one), one, kimg=jnp.float32(0))
        np.testing.assert_allclose([moved, optax.tree.get(opt, "mu")], [-0.002 * c, 2], rtol=1e-5)
        np.testing.assert_allclose(optax.tree.get(opt, "nu"), 4 * (1 - 0.99**c), rtol=1e-4)


@pytest.mark.parametrize(  # of stylegan2-ada-pytorch: batch, group, rate, gamma, the average's half-life late and at 100 kimg
    "name, numbers",
    [
        ("config_e", (32, 4, 0.002, 10, 10, 10)),
        ("config_f", (32, 4, 0.002, 10, 10, 10)),
        ("paper256", (64, 8, 0.0025, 1, 20, 20)),
        ("paper512", (64, 8, 0.0025, 0.5, 20, 20)),
        ("paper1024", (32, 4, 0.002, 2, 10, 10)),
        ("cifar", (64, 32, 0.0025, 0.01, 500, 5)),
    ],
)
def test_presets_have_the_authors_numbers(name, numbers):
    chosen = recipes_stylegan.preset(name, 256)
    recipe, ema = chosen["recipe"], chosen["recipe"]["ema_kimg"]
    found = (recipe["batch"], chosen["d"]["group"], recipe["lr"], recipe["gamma"], float(ema(1e6)), float(ema(100.0)))
    assert found == pytest.approx(numbers)
    assert (chosen["g"]["mixing"], recipe["path_weight"]) == ((0, 0) if name == "cifar" else (0.9, 2))


@cache
def small(shape=(8, 8, 2), **fields):
    g = Generator(shape, **TINY, **fields)
    z, keys = jax.random.normal(jax.random.key(0), (4, 5)), jax.random.split(jax.random.key(1), 4)
    v = filled(g, z, keys=keys)
    v["params"]["mapping_network"] = jax.tree.map(lambda a: 100 * a, v["params"]["mapping_network"])
    return g, v, z, keys


def test_an_image_keeps_its_draws_in_any_batch():
    g, v, z, keys = small()
    run = jax.jit(partial(g.apply, train=True))
    x = run(v, z, keys=keys)
    np.testing.assert_allclose(run(v, z[2:3], keys=keys[2:3]), x[2:3], atol=1e-5)
    assert off(run(v, z, keys=keys[::-1]), x) > 0.01


def test_mixing_takes_the_later_layers_from_another_z():
    g, v, z, _ = small((32, 32, 1), mixing=0.7)
    many = jax.random.split(jax.random.key(5), 400)
    z = jnp.broadcast_to(z[:1], (400, 5))
    plain = g.apply(v, z[:1], method="mapping")
    w = jax.jit(partial(g.apply, method="mapping", train=True))(v, z, keys=many)
    assert w.shape == (400, 8, 4)
    same = np.abs(np.asarray(w) - plain).max(2) < 1e-6
    firsts = same.sum(1)  # layers before the cut
    assert np.all(same == (np.arange(8)[None] < firsts[:, None]))
    counts = np.bincount(firsts, minlength=9)
    assert counts[0] == 0 and abs(counts[8] / 400 - 0.3) < 0.08
    assert np.all(np.abs(counts[1:8] - 40) < 5 * np.sqrt(40))
    with pytest.raises(ValueError, match="style mixing"):
        g.apply(v, z, method="mapping", train=True)


def test_the_mean_of_w_is_one_number_on_all_devices():
    g, v, z, keys = small()
    run = lambda v, z, keys, axis=None: g.apply(v, z, keys=keys, train=True, axis=axis, mutable=["w_avg"], method="mapping")[1]
    one = jax.jit(run)(v, z, keys)["w_avg"]["mapping_network"]["mean"]
    plain = g.apply(v, z, method="mapping")[:, 0].mean(0)
    np.testing.assert_allclose(one, 0.995 * v["w_avg"]["mapping_network"]["mean"] + 0.005 * plain, rtol=1e-5)
    spread = jax.pmap(partial(run, axis="d"), axis_name="d", in_axes=(None, 0, 0))(v, z[:, None], keys[:, None])
    for row in spread["w_avg"]["mapping_network"]["mean"]:
        np.testing.assert_allclose(row, one, rtol=1e-5)
    none = Generator((8, 8, 1), **TINY, w_average=None)
    assert "w_avg" not in jax.eval_shape(partial(none.init, keys=keys), jax.random.key(0), z)


def test_truncation_and_noise_modes():
    g, v, z, keys = small()
    w = g.apply(v, z, method="mapping", psi=0.0)
    np.testing.assert_allclose(w, jnp.broadcast_to(v["w_avg"]["mapping_network"]["mean"], w.shape), atol=1e-5)
    run = jax.jit(partial(g.apply, method="synthesis"), static_argnames="noise")
    const, none = run(v, w, noise="const"), run(v, w, noise="none")
    np.testing.assert_allclose(const, jnp.broadcast_to(const[:1], const.shape), atol=1e-5)
    random = run(v, w, keys=keys, noise="random")
    assert off(random[1], random[0]) > 0.01 and off(const, none) > 0.01
    np.testing.assert_allclose(run(v, w[:, 0], noise="none"), none, atol=1e-5)  # one w is the same style in every layer
    with pytest.raises(ValueError, match="give keys"):
        g.apply(v, w, method="synthesis")
    with pytest.raises(UserError, match="noise='loud'"):
        g.apply(v, w, keys=keys, method="synthesis", noise="loud")


def test_the_clamp_shrinks_with_the_gain_of_residual_blocks():
    """The authors' code clamps before the branches are added, to clamp times sqrt(1/2), so that their sum is as bounded."""
    for module in (StyledConv(3, gain=0.5, clamp=0.8), StyledConv(3, clamp=0.8)):
        x, w = 100 * jax.random.normal(jax.random.key(0), (2, 4, 4, 5)), jnp.ones((2, 6))
        y, _ = module.init_with_output(jax.random.key(1), x, w, None, "none")
        np.testing.assert_allclose([y.max(), y.min()], [0.8 * module.gain, -0.8 * module.gain], rtol=1e-6)
    d = DiscriminatorBlock(4, 4, "resnet", 0.8, (1, 3, 3, 1), jnp.float32)
    x = 100 * jax.random.normal(jax.random.key(0), (2, 8, 8, 4))
    v = d.init(jax.random.key(1), x, None)
    v["params"]["skip"]["kernel"] *= 0
    v["params"]["conv1"]["kernel"] *= 100
    branch, _ = d.apply(v, x, None)
    np.testing.assert_allclose(branch.max(), 0.8 * 0.5**0.5, rtol=1e-6)


def test_first_weights_are_the_authors():
    """Kernels of unit variance, a hundredfold in the mapping; styles start at 1, noise and all other biases at 0."""
    g = Generator((8, 8, 2), z_dim=20, w_dim=20, mapping_layers=1, channel_base=160, channel_max=20)
    keys = jax.random.split(jax.random.key(1), 1)
    params = jax.jit(lambda: g.init(jax.random.key(0), jnp.zeros((1, 20)), keys=keys)["params"])()
    kernels = {True: [], False: []}
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        *_, parent, name = ("", *(entry.key for entry in path))
        if name in ("kernel", "const"):
            kernels[path[0].key == "mapping_network"].append(leaf.ravel())
        else:
            assert name in ("bias", "noise_strength")
            np.testing.assert_array_equal(leaf, np.full(leaf.shape, float(parent == "affine"), np.float32))
    for mapping, scale in ((True, 100), (False, 1)):
        values = np.concatenate(kernels[mapping]) / scale
        assert abs(values.mean()) < 4.5 / len(values) ** 0.5 and abs(values.std() - 1) < 4.5 / (2 * len(values)) ** 0.5


def test_the_longer_side_decides_the_features_of_a_grid():
    shape, fields = (8, 16, 1), {"channel_base": 64, "channel_max": 1000}
    g, d = Generator(shape, z_dim=3, w_dim=3, mapping_layers=1, **fields), Discriminator(shape, **fields)
    keys = jax.random.split(jax.random.key(0), 1)
    made = jax.eval_shape(lambda: g.init(jax.random.key(0), jnp.zeros((1, 3)), keys=keys))["params"]
    assert made["b4"]["const"].shape == (4, 8, 8) and made["b8"]["conv1"]["kernel"].shape == (3, 3, 4, 4)
    judged = jax.eval_shape(lambda: d.init(jax.random.key(0), jnp.zeros((1, *shape))))["params"]
    assert judged["b8"]["fromrgb"]["kernel"].shape[-1] == 4 and judged["b8"]["conv1"]["kernel"].shape[-2:] == (4, 8)


def test_the_mapping_is_hidden_wide_but_at_its_end():
    z, c = jnp.zeros((2, 3)), jnp.zeros(2, jnp.int32)
    made = lambda **fields: jax.eval_shape(Mapping(4, 3, 5, 3, **fields).init, jax.random.key(0), z, c)["params"]
    sizes = lambda params: [params[name]["kernel"].shape for name in ("embed", "fc0", "fc1", "fc2")]
    assert sizes(made(embed=6, hidden=7)) == [(5, 6), (3 + 6, 7), (7, 7), (7, 4)]
    assert sizes(made()) == [(5, 4), (3 + 4, 4), (4, 4), (4, 4)]


def test_truncation_may_spare_the_later_layers():
    g, v, z, _ = small()
    w, half, cut = (g.apply(v, z, method="mapping", **options) for options in ({}, {"psi": 0.5}, {"psi": 0.5, "cutoff": 1}))
    mean = v["w_avg"]["mapping_network"]["mean"][None, None]
    np.testing.assert_allclose(half, (w + mean) / 2, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(cut, jnp.concatenate([half[:, :1], w[:, 1:]], 1))


def test_noise_planes_are_standard_normal():
    keys = jax.random.split(jax.random.key(3), 40)
    x = np.asarray(style.normal_planes(keys, 7, (50, 50, 1)), np.float64)
    ends = np.asarray(style.normal_of_bits(jnp.array([0, 511, 2**31 - 1, 2**31, 2**32 - 1], jnp.uint32)))
    assert ends[0] == ends[1] == -ends[4] and 5.2 < ends[4] < 5.4 and ends[2] == -ends[3] < 0
    n = x.size
    for power, expected in ((1, 0), (2, 1), (3, 0), (4, 3)):
        assert abs(np.mean(x**power) - expected) < 5 * np.sqrt([1, 2, 15, 96][power - 1] / n)
    assert abs(np.mean(x[1:] * x[:-1])) < 5 / np.sqrt(n) and abs(np.mean(x[:, 1:] * x[:, :-1])) < 5 / np.sqrt(n)


@pytest.mark.parametrize("shape", [(28, 28, 1), (12, 32, 3)])
@pytest.mark.parametrize("architecture", ["skip", "resnet", "orig"])
def test_any_size_and_architecture(shape, architecture):
    fields = {"channel_base": 64, "channel_max": 8, "architecture": architecture}
    g = Generator(shape, classes=3, z_dim=5, w_dim=4, mapping_layers=1, **fields)
    d = Discriminator(shape, classes=3, mapping_layers=1, **fields)
    vg, vd = jax.eval_shape(lambda: game.init(g, d, 0))
    keys, c = jax.random.split(jax.random.key(0), 4), jnp.array([0, 1, 2, 0])
    x = jax.eval_shape(g.apply, vg, jnp.zeros((4, 5)), c, keys=keys)
    assert x.shape == (4, *shape) and x.dtype == jnp.float32
    logits = jax.eval_shape(d.apply, vd, x, c)
    assert logits.shape == (4,) and logits.dtype == jnp.float32


def test_lower_precision_is_near_and_the_base_stays():
    g, v, z, keys = small((16, 16, 1), dtype=jnp.bfloat16, dtype_sizes=1)
    full = g.clone(dtype=jnp.float32)
    near = jax.jit(lambda g, v: g.apply(v, z, keys=keys), static_argnums=0)
    assert 1e-5 < off(near(g, v), near(full, v)) < 0.05
    assert near(g, v).dtype == jnp.float32
    assert (lower_convs(g, v, z, keys), lower_convs(g.clone(dtype_sizes=4), v, z, keys)) == (3, 6)  # 3 a resolution but the base


def lower_convs(g, v, z, keys):
    """Convolutions to bfloat16 in the traced generator; on a CPU the 1x1 one to the image is a matrix product."""
    text = str(jax.make_jaxpr(lambda v: g.apply(v, z, keys=keys))(v))
    made = ("= conv_general_dilated[", "= dot_general[")
    return sum(":bf16" in line for line in text.splitlines() if any(name in line for name in made))


def test_what_does_not_fit_is_named():
    g, d = stylegan2_rule.states(GOLD, "plain")
    kwargs = stylegan2_rule.kwargs("plain", "g")
    with pytest.raises(UserError, match=r"synthesis.b16.conv1.weight.*no such array"):
        convert_stylegan2.generator({k: v for k, v in g.items() if k != "synthesis.b16.conv1.weight"}, kwargs)
    with pytest.raises(UserError, match=r"synthesis.b8.conv0.bias: \(9,\)"):
        convert_stylegan2.generator(g | {"synthesis.b8.conv0.bias": np.zeros(9)}, kwargs)
    with pytest.raises(UserError, match="use_noise"):
        convert_stylegan2.generator(g, kwargs | {"use_noise": False})
    with pytest.raises(UserError, match="architecture='deep'"):
        Generator((8, 8, 1), architecture="deep").init(jax.random.key(0), jnp.zeros((1, 512)))
    nested = {k: v for k, v in kwargs.items() if k not in ("channel_base", "channel_max", "conv_clamp")}
    nested["synthesis_kwargs"] = {k: kwargs[k] for k in ("channel_base", "channel_max", "conv_clamp")}
    assert convert_stylegan2.generator(g, nested)[0] == convert_stylegan2.generator(g, kwargs)[0]  # the older file format
