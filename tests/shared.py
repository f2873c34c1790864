"""What several tests make and compare: arrays, variables, compiled functions, errors."""

from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan import plan, step, weights
from jaxgan.method import Term


def draw(seed, *shape):
    """Standard normal, float32."""
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def filled(model, *inputs, scale=1.0, **options):
    """Variables of `model`, normal, drawn by NumPy: compiling its own `init` costs seconds. Inputs: if not the usual ones."""
    rng, init = np.random.default_rng(0), partial(model.init, **options)
    shapes = jax.eval_shape(init, jax.random.key(0), *inputs) if inputs else weights.shapes(model)
    return jax.tree.map(lambda a: jnp.asarray(scale * rng.normal(size=a.shape), a.dtype), shapes)


def arrays(path):
    """All of an .npz, which is closed then: one that is left open fails whatever test runs when Python finds it."""
    with np.load(path) as file:
        return dict(file)


def initial(generator):
    """Its own first variables."""
    key = jax.random.key(0)
    return jax.jit(lambda: dict(generator.init(key, *weights.example(generator), keys=jax.random.split(key, 1))))()


def count(module, *given):
    """Its parameters."""
    shapes = jax.eval_shape(module.init, jax.random.key(0), *given)["params"]
    return sum(leaf.size for leaf in jax.tree.leaves(shapes))


def first_log(design, shape, classes):
    """The names that a design's first step logs on images of a shape, with labels if there are classes; it is only traced."""
    return set(plan.trace(design, SimpleNamespace(shape=shape, inputs=None, labels=np.zeros(1, np.int32) if classes else None)))


def updater(recipe, game, k=0, **options):
    """Step k as a function of state, images and labels."""
    return partial(step.update, game=game, recipe=recipe, due=step.due(recipe, k), **options)


def changes(before, after):
    """{path: how far at most} of each parameter of both players, from one state to another."""
    params = [{"g": s.g.params, "d": s.d.params} for s in (before, after)]
    far = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), *params)
    return {tuple(entry.key for entry in path): m for path, m in jax.tree_util.tree_leaves_with_path(far)}


def values_and_gradients(cases):
    """Values in float32 and gradients in float64 of cases {name: (function, its formula, float64 arguments, which to
    differentiate)}: two programs, since compiling is what costs time."""
    args = {name: case[2] for name, case in cases.items()}
    single = jax.tree.map(lambda x: x.astype(np.float32), args)
    values = jax.jit(lambda args: {name: cases[name][0](*args[name]) for name in args})(single)
    total = lambda name: lambda *a: jnp.sum(cases[name][0](*a))
    gradient = lambda args: {name: jax.grad(total(name), cases[name][3])(*args[name]) for name in args}
    with jax.enable_x64(True):
        gradients = jax.tree.map(np.asarray, jax.jit(gradient)(args))
    return values, gradients


def off(ours, want):
    """Largest error as a share of the largest value."""
    return np.abs(np.asarray(ours, np.float64) - want).max() / np.abs(want).max()


def close(ours, want, tolerance=1e-4):
    """They agree in shape, and in value up to the tolerance times the largest one."""
    assert ours.shape == want.shape
    assert np.abs(np.asarray(ours, np.float64) - want).max() <= tolerance * np.abs(want).max()


def undecided_at_0(term: Term) -> bool:
    """Whether D, by this adversarial term of its, does best with the logit 0 where it cannot tell reals from fakes. Then the sign
    of a logit says which an image is taken for."""

    def value(logit):
        said = SimpleNamespace(logits=jnp.full(8, logit))
        return float(term.fn(SimpleNamespace(real_out=said, fake_out=said, gather=lambda x: x))[0])

    return value(0.0) + 0.1 < min(value(-3.0), value(3.0)) and abs(value(0.01) - value(-0.01)) < 1e-4
