"""The written rule behind the golden arrays of the classic families (README.md beside it), as variables for our networks."""

import math

import jax
import jax.numpy as jnp
import numpy as np


def rule(shape, leaf):
    """sqrt(3) (2 frac(t) - 1), t = 43758.5453 sin(12.9898 i + 78.233 leaf), i the running index in C order; float64.

    Numbers that look uniform, of mean 0 and variance 1: kernels of full rank, so that batch norm divides by no small number.
    """
    t = 43758.5453 * np.sin(12.9898 * np.arange(math.prod(shape), dtype=np.float64) + 78.233 * leaf)
    return (math.sqrt(3) * (2 * (t - np.floor(t)) - 1)).reshape(shape)


def inputs(shape, z_dim):
    """Noise and images: the second image is fainter."""
    x = 0.5 * rule((2, *shape), 902) * np.array([1, 0.4]).reshape(2, 1, 1, 1)
    return jnp.asarray(rule((2, z_dim), 901), jnp.float32), jnp.asarray(x, jnp.float32)


def variables(module, *inputs):
    """The module's variables by the rule, float32: leaves numbered from 1 in the order of their paths."""
    shapes = jax.eval_shape(module.init, jax.random.key(0), *inputs)
    filled = {}
    for number, (path, leaf) in enumerate(jax.tree_util.tree_leaves_with_path({"params": shapes["params"]}), 1):
        _put(filled, [p.key for p in path], np.float32(_value(path[-1].key, leaf.shape, number)))
    for number, (path, leaf) in enumerate(jax.tree_util.tree_leaves_with_path(shapes.get("batch_stats", {})), 1):
        value = rule(leaf.shape, 500 + number)
        value = 1 + 0.3 * value if path[-1].key == "var" else 0.1 * value
        _put(filled, ["batch_stats", *(p.key for p in path)], np.float32(value))
    for path, _ in jax.tree_util.tree_leaves_with_path(shapes.get("spectral", {}), is_leaf=lambda t: set(t) == {"u", "v"}):
        *layer, _, _ = [p.key for p in path]
        kernel = filled["params"]
        for name in layer:
            kernel = kernel[name]
        matrix = np.asarray(kernel["kernel"], np.float64).reshape(-1, kernel["kernel"].shape[-1])
        left, _, right = np.linalg.svd(matrix, full_matrices=False)
        _put(filled, ["spectral", *(p.key for p in path)], {"u": np.float32(right[0]), "v": np.float32(left[:, 0])})
    return filled


def _value(name, shape, number):
    value = rule(shape, number)
    if name == "kernel":
        return 1.2 * value / math.sqrt(math.prod(shape[:-1]))
    if name == "gamma":
        return 0.7
    return 0.1 * value + (name == "scale") if len(shape) == 1 else 0.3 * value


def _put(tree, path, value):
    for name in path[:-1]:
        tree = tree.setdefault(name, {})
    tree[path[-1]] = value
