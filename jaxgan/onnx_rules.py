"""How each operation of JAX is written in ONNX: `RULES`, of (graph, the traced operation, its operands) the results.

An operand is a name in the graph, or an array if it depends on no input; a result is a name.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from jax import lax

END = np.iinfo(np.int64).max
"""Past the end of any axis."""


class Unknown(Exception):
    """An operation, or a use of it, that no rule writes."""


def type_of(onnx: Any, dtype: Any) -> int:
    """ONNX's number of a dtype."""
    return onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))


def _same(op, **attributes):
    """Of an operation that ONNX has too."""
    return lambda graph, eqn, *x: graph.put(op, *x, **attributes)


def _reduced(op):
    return lambda graph, eqn, x: graph.put(op, x, np.array(eqn.params["axes"], np.int64), keepdims=0)


def _unchanged(graph, eqn, x):
    return x


def _reshaped(graph, eqn, x):
    return graph.reshape(x, eqn.invars[0].aval.shape, eqn.outvars[0].aval.shape)


def _cast(graph, eqn, x):
    return graph.put("Cast", x, to=type_of(graph.onnx, eqn.outvars[0].aval.dtype))


def _power(graph, eqn, x):
    return graph.put("Pow", x, np.array(eqn.params["y"], eqn.invars[0].aval.dtype))


def _rounded(graph, eqn, x):
    if eqn.params["rounding_method"] != lax.RoundingMethod.TO_NEAREST_EVEN:
        raise Unknown("rounding of halves away from zero")
    return graph.put("Round", x)


def _selected(graph, eqn, which, *cases):
    if eqn.invars[0].aval.dtype != bool or len(cases) != 2:
        raise Unknown("a choice of more than two")
    found = _leaky(graph, which, *cases)
    return graph.put("Where", which, cases[1], cases[0]) if found is None else graph.put("LeakyRelu", found[0], alpha=found[1])


def _leaky(graph, which, no, yes):
    """(x, slope) if this choice is a leaky ReLU of x, for which ONNX Runtime has a fast operation; else None."""
    node = lambda name: graph.made.get(name) if isinstance(name, str) else None
    if not (test := node(which)) or "Less" not in test.op_type and "Greater" not in test.op_type:
        return None
    x, zero = test.input
    above, below = (no, yes) if "Less" in test.op_type else (yes, no)
    product = node(below)
    if above != x or _number(graph, zero) != 0 or not product or product.op_type != "Mul" or x not in product.input:
        return None
    slope = _number(graph, next((name for name in product.input if name != x), x))
    return None if slope is None else (x, slope)


def _number(graph, x):
    """A constant that is one number, as a float; None if it is anything else."""
    array = graph.constants.get(x) if isinstance(x, str) else x
    return None if array is None or array.size != 1 else float(array.item())


def _maximum(graph, eqn, a, b):
    x, other = (b, a) if isinstance(b, str) else (a, b)
    return graph.put("Relu", x) if _number(graph, other) == 0 else graph.put("Max", a, b)


def _minimum(graph, eqn, a, b):
    """Of a maximum, as `jnp.clip` has it: both in one."""
    x, high = (b, a) if isinstance(b, str) else (a, b)
    inner = graph.made.get(x)
    if inner and inner.op_type == "Max" and _number(graph, high) is not None:
        for x, low in (inner.input, inner.input[::-1]):
            if _number(graph, low) is not None:
                return graph.put("Clip", x, graph.constants[low].reshape(()), np.reshape(high, ()))
    return graph.put("Min", a, b)


def _clipped(graph, eqn, low, x, high):
    if None in (_number(graph, low), _number(graph, high)):
        return graph.put("Min", graph.put("Max", x, low), high)
    return graph.put("Clip", x, np.reshape(low, ()), np.reshape(high, ()))


def _broadcast(graph, eqn, x, *_):
    old, new, at = eqn.invars[0].aval.shape, eqn.outvars[0].aval.shape, eqn.params["broadcast_dimensions"]
    wide = [1] * len(new)
    for axis, size in zip(at, old, strict=True):
        wide[axis] = size
    x = np.reshape(x, wide) if not isinstance(x, str) else graph.reshape(x, old, tuple(wide))
    return x if tuple(wide) == tuple(new) else graph.put("Expand", x, graph.shape(tuple(new)))


def _counted(graph, eqn):
    shape, axis = eqn.params["shape"], eqn.params["dimension"]
    if not isinstance(shape[axis], int):
        raise Unknown("the numbers of a batch's images")
    line = np.arange(shape[axis]).astype(eqn.params["dtype"]).reshape([-1 if i == axis else 1 for i in range(len(shape))])
    return graph.put("Expand", line, graph.shape(shape))


def _sliced(graph, eqn, x):
    starts, ends, shape = eqn.params["start_indices"], eqn.params["limit_indices"], eqn.invars[0].aval.shape
    steps = eqn.params["strides"] or (1,) * len(shape)
    axes = [i for i, size in enumerate(shape) if (starts[i], ends[i], steps[i]) != (0, size, 1)]
    if not all(isinstance(n, int) for i in axes for n in (starts[i], ends[i])):
        raise Unknown("a part of the batch")
    return graph.slice(x, *([values[i] for i in axes] for values in (starts, ends)), axes, [steps[i] for i in axes])


def _reversed(graph, eqn, x):
    axes = list(eqn.params["dimensions"])
    return graph.slice(x, [-1] * len(axes), [-END] * len(axes), axes, [-1] * len(axes))


def _padded(graph, eqn, x, value):
    shape, config = eqn.invars[0].aval.shape, eqn.params["padding_config"]
    return _pad(graph, x, shape, config, value)[0]


def _pad(graph, x, shape, config, value):
    """x with each axis padded by (before, after, between pixels), as `lax.pad`, and its shape."""
    for axis, (_, _, between) in enumerate(config):
        if between:  # in columns of their own, which are then put one behind the other
            size, axes = shape[axis] * (between + 1), len(shape)
            wide = (*shape[: axis + 1], 1, *shape[axis + 1 :])
            more = [0] * (axes + 1) + [between * (i == axis + 1) for i in range(axes + 1)]
            x = graph.put("Pad", graph.reshape(x, shape, wide), np.array(more, np.int64), value)
            shape = (*shape[:axis], size, *shape[axis + 1 :])
            x = graph.slice(graph.reshape(x, (), shape), [0], [size - between], [axis], [1])
            shape = (*shape[:axis], size - between, *shape[axis + 1 :])
    before, after = ([int(pads[side]) for pads in config] for side in (0, 1))
    if any(n > 0 for n in before + after):
        x = graph.put("Pad", x, np.array([max(n, 0) for n in before + after], np.int64), value)
    cut = [i for i in range(len(shape)) if min(before[i], after[i]) < 0]
    ends = [after[i] if after[i] < 0 else END for i in cut]
    x = graph.slice(x, [max(-before[i], 0) for i in cut], ends, cut, [1] * len(cut))
    return x, tuple(size + lo + hi for size, lo, hi in zip(shape, before, after, strict=True))


def _joined(graph, eqn, *x):
    return graph.put("Concat", *x, axis=eqn.params["dimension"])


def _stacked(graph, eqn, *x):
    axis, shape = eqn.params["axis"], eqn.outvars[0].aval.shape
    one = (*shape[:axis], 1, *shape[axis + 1 :])
    apart = [graph.reshape(a, (), one) if isinstance(a, str) else np.expand_dims(a, axis) for a in x]
    return graph.put("Concat", *apart, axis=axis)


def _divided(graph, eqn, x):
    sizes, axis = np.array(eqn.params["sizes"], np.int64), eqn.params["axis"]
    made = graph.put("Split", x, sizes, outputs=len(sizes), axis=axis)
    return made if isinstance(made, list) else [made]


def _largest(graph, eqn, x):
    found = graph.put("ArgMax", x, axis=eqn.params["axes"][0], keepdims=0)
    return graph.put("Cast", found, to=type_of(graph.onnx, eqn.params["index_dtype"]))


def _gathered(graph, eqn, x, index):
    """Either one window of x at a known place, or rows of one axis by their numbers; the numbers are taken to be in bounds."""
    how, sizes, shape = eqn.params["dimension_numbers"], eqn.params["slice_sizes"], eqn.invars[0].aval.shape
    result, axes = eqn.outvars[0].aval.shape, how.start_index_map
    if not isinstance(index, str) and index.ndim == 1 and not how.operand_batching_dims:
        starts = [int(np.clip(n, 0, shape[axis] - sizes[axis])) for n, axis in zip(index, axes, strict=True)]
        ends = [start + sizes[axis] for start, axis in zip(starts, axes, strict=True)]
        found = graph.put("Slice", x, *(np.array(n, np.int64) for n in (starts, ends, axes)))
        return graph.reshape(found, sizes, result)
    lines = eqn.invars[1].aval.shape[:-1]
    whole = all(size == (1 if i in axes else n) for i, (size, n) in enumerate(zip(sizes, shape, strict=True)))
    inside = len(axes) == 1 and how.collapsed_slice_dims == axes and whole and not how.operand_batching_dims
    if not inside or tuple(i for i in range(len(result)) if not axes[0] <= i < axes[0] + len(lines)) != how.offset_dims:
        raise Unknown(f"gather by {how}")
    index = graph.reshape(index, (), lines) if isinstance(index, str) else index.reshape(lines).astype(np.int64)
    return graph.put("Gather", x, index, axis=axes[0])


def _multiplied(graph, eqn, a, b):
    (over_a, over_b), (rows_a, rows_b) = eqn.params["dimension_numbers"]
    shapes = [v.aval.shape for v in eqn.invars]
    dims = [len(shape) for shape in shapes]
    if not rows_a and dims[1] == 2 and tuple(over_a) == (dims[0] - 1,) and tuple(over_b) in ((0,), (1,)):
        return graph.put("MatMul", a, b if tuple(over_b) == (0,) else graph.transpose(b, (1, 0)))
    if not rows_a and len(over_a) == 1 and 2 in dims:  # of one axis, as in a resample: the other operand stays as it lies
        small, large = (a, over_a[0]), (b, over_b[0])
        if dims[0] > 2:
            small, large = large, small
        new = shapes[dims[0] > 2][1 - small[1]]
        return _along(graph, *small, *large, shapes[dims[0] == 2], new, last=dims[0] > 2)
    rest_a = [i for i in range(dims[0]) if i not in (*over_a, *rows_a)]
    rest_b = [j for j in range(dims[1]) if j not in (*over_b, *rows_b)]
    sizes = lambda shape, axes: tuple(shape[i] for i in axes)
    rows, over = sizes(shapes[0], rows_a), math.prod(sizes(shapes[0], over_a))
    ends = [sizes(shapes[0], rest_a), sizes(shapes[1], rest_b)]
    flat = lambda x, shape, axes, new: graph.reshape(graph.transpose(x, axes), sizes(shape, axes), new)
    a = flat(a, shapes[0], (*rows_a, *rest_a, *over_a), (*rows, math.prod(ends[0]), over))
    b = flat(b, shapes[1], (*rows_b, *over_b, *rest_b), (*rows, over, math.prod(ends[1])))
    return graph.reshape(graph.put("MatMul", a, b), (*rows, *map(math.prod, ends)), (*rows, *ends[0], *ends[1]))


def _along(graph, matrix, over, x, axis, shape, size, *, last):
    """A product over an axis of x and one of a matrix, whose other axis takes its place and is then moved to the end or front."""
    matrix = matrix if over == 1 else graph.transpose(matrix, (1, 0))
    before, after = math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
    made = graph.put("MatMul", matrix, graph.reshape(x, shape, (before, shape[axis], after)))
    made = graph.reshape(made, (), (*shape[:axis], size, *shape[axis + 1 :]))
    rest = [i for i in range(len(shape)) if i != axis]
    return graph.transpose(made, (*rest, axis) if last else (axis, *rest))


def _convolved(graph, eqn, x, kernel):
    """Also with its pixels spread (lhs_dilation): ONNX's transposed convolution, where it has one for the padding."""
    p = eqn.params
    spec, groups, spread = p["dimension_numbers"], p["feature_group_count"], p["lhs_dilation"]
    if p["batch_group_count"] != 1:
        raise Unknown("a convolution with groups of images")
    shape = eqn.invars[0].aval.shape
    x, shape = graph.transpose(x, spec.lhs_spec), tuple(shape[i] for i in spec.lhs_spec)
    kernel = graph.transpose(kernel, spec.rhs_spec)  # out, in / groups, h, w
    long = [(eqn.invars[1].aval.shape[i] - 1) * by for i, by in zip(spec.rhs_spec[2:], p["rhs_dilation"], strict=True)]
    pads = [(lo, hi) for lo, hi in p["padding"]]
    given = {"group": groups, "dilations": list(p["rhs_dilation"])}
    fits = all(0 <= n - lo and 0 <= n - hi for n, (lo, hi) in zip(long, pads, strict=True))
    if max(spread) > 1 and max(p["window_strides"]) == 1 and fits and not isinstance(kernel, str):
        o, i, *size = kernel.shape
        back = kernel.reshape(groups, o // groups, i, *size).swapaxes(1, 2).reshape(groups * i, o // groups, *size)
        back = np.flip(back, axis=tuple(range(2, back.ndim)))
        pads = [n - lo for n, (lo, _) in zip(long, pads, strict=True)] + [n - hi for n, (_, hi) in zip(long, pads, strict=True)]
        y = graph.put("ConvTranspose", x, back, strides=list(spread), pads=pads, **given)
    else:
        if max(spread) > 1 or min(n for pair in pads for n in pair) < 0:
            config = [(0, 0, 0)] * 2 + [(lo, hi, by - 1) for (lo, hi), by in zip(pads, spread, strict=True)]
            x, _ = _pad(graph, x, shape, config, np.zeros((), np.float32))
            pads = [(0, 0)] * len(pads)
        pads = [lo for lo, _ in pads] + [hi for _, hi in pads]
        y = graph.put("Conv", x, kernel, strides=list(p["window_strides"]), pads=pads, **given)
    return graph.transpose(y, tuple(int(i) for i in np.argsort(spec.out_spec)))


ALIKE = {
    **{name: name.capitalize() for name in "add sub mul div pow exp log sqrt abs neg sign floor ceil tanh".split()},
    **{"sin": "Sin", "cos": "Cos", "erf": "Erf", "logistic": "Sigmoid", "eq": "Equal", "lt": "Less", "le": "LessOrEqual"},
    **{"gt": "Greater", "ge": "GreaterOrEqual", "and": "And", "or": "Or", "not": "Not"},
}
"""JAX's name -> ONNX's, of operations that are the same in both."""

RULES: dict[str, Callable[..., Any]] = {
    **{name: _same(op) for name, op in ALIKE.items()},
    **{name: _reduced(f"Reduce{name[7:].capitalize()}") for name in ("reduce_sum", "reduce_max", "reduce_min", "reduce_prod")},
    **dict.fromkeys(("stop_gradient", "copy", "optimization_barrier", "device_put"), _unchanged),
    **dict.fromkeys(("reshape", "squeeze", "expand_dims"), _reshaped),
    "max": _maximum,
    "min": _minimum,
    "ne": lambda graph, eqn, a, b: graph.put("Not", graph.put("Equal", a, b)),
    "rsqrt": lambda graph, eqn, x: graph.put("Reciprocal", graph.put("Sqrt", x)),
    "square": lambda graph, eqn, x: graph.put("Mul", x, x),
    "log1p": lambda graph, eqn, x: graph.put("Log", graph.put("Add", x, np.ones((), eqn.invars[0].aval.dtype))),
    "clamp": _clipped,
    "transpose": lambda graph, eqn, x: graph.transpose(x, eqn.params["permutation"]),
    "integer_pow": _power,
    "round": _rounded,
    "convert_element_type": _cast,
    "select_n": _selected,
    "broadcast_in_dim": _broadcast,
    "iota": _counted,
    "slice": _sliced,
    "rev": _reversed,
    "pad": _padded,
    "concatenate": _joined,
    "stack": _stacked,
    "split": _divided,
    "argmax": _largest,
    "gather": _gathered,
    "dot_general": _multiplied,
    "conv_general_dilated": _convolved,
}
