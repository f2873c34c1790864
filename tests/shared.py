"""What several tests make and compare: arrays, variables, compiled functions, errors."""

from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan import plan, step, weights


def draw(seed, *shape):
    """Standard normal, float32."""
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def filled(model, *inputs, scale=1.0, **options):
    """Variables of `model`, normal, drawn by NumPy: compiling its own `init` costs seconds."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(partial(model.init, **options), jax.random.key(0), *inputs)
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


def quick(function):
    """jit whose compilation, not whose code, is fast."""
    return jax.jit(function, compiler_options={"xla_backend_optimization_level": 0})


def off(ours, want):
    """Largest error as a share of the largest value."""
    return np.abs(np.asarray(ours, np.float64) - want).max() / np.abs(want).max()


def close(ours, want, tolerance=1e-4):
    """They agree in shape, and in value up to the tolerance times the largest one."""
    assert ours.shape == want.shape
    assert np.abs(np.asarray(ours, np.float64) - want).max() <= tolerance * np.abs(want).max()
