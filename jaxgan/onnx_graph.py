"""JAX functions as ONNX models, for whatever runs ONNX: phones, web pages, other languages.

The function is traced, and each operation of JAX is written as one or a few of ONNX by `onnx_rules`, which know the operations of
our generators. What depends on no input is computed here and becomes a constant, so weights arrive as their layers use them. One
dimension of each input may be left open, the batch.
"""

import hashlib
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jax import export
from jax.extend import core

from jaxgan.errors import UserError
from jaxgan.onnx_rules import RULES, Unknown, type_of

OPSET = 18
"""Of ONNX 1.13, at the end of 2022: ONNX Runtime reads it from version 1.14 on."""
LIMIT = 2**31 - 2**20
"""Bytes of weights: a file of Protocol Buffers has less than 2 GiB."""
INNER = ("jit", "pjit", "closed_call", "core_call", "custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr", "remat2")
"""Operations that are functions of their own, "checkpoint" and "remat" among them: they are written where they are called."""
FOLDED = 2**24
"""Elements. A constant that is no larger than its operands is always computed here; one that grows, up to this many."""


class Graph:
    """The model as it is written: its nodes so far, and the size of the batch."""

    def __init__(self, onnx: Any, batch: Any) -> None:
        self.onnx, self.batch, self.nodes, self.count = onnx, batch, [], 0
        self.constants: dict[str, np.ndarray] = {}
        self.written: dict[tuple, str] = {}
        self.made: dict[str, Any] = {}
        """What made a name: its node."""
        self.rows = ""
        """Name of the batch's size, int64 [1]."""

    def name(self) -> str:
        """A new one."""
        self.count += 1
        return f"v{self.count}"

    def constant(self, array: Any) -> str:
        """The name of a constant; equal ones have one name."""
        array = np.ascontiguousarray(array).reshape(np.shape(array))
        key = (array.shape, array.dtype.name, hashlib.sha256(array).digest())
        if key not in self.written:
            self.written[key] = self.name()
            self.constants[self.written[key]] = array
        return self.written[key]

    def put(self, op: str, *given: Any, outputs: int = 1, **attributes: Any) -> Any:
        """A node of names and constants; the name of its output, or those of several."""
        names = [x if isinstance(x, str) else self.constant(x) for x in given]
        made = [self.name() for _ in range(outputs)]
        node = self.onnx.helper.make_node(op, names, made, **attributes)
        self.nodes.append(node)
        self.made.update(dict.fromkeys(made, node))
        return made[0] if outputs == 1 else made

    def shape(self, shape: tuple, free: bool = False) -> Any:
        """A shape as int64 [n]: a constant, or computed if the batch is in it. `free`: one dimension may be -1, "the rest"."""
        open_ = [i for i, d in enumerate(shape) if not isinstance(d, int)]
        if not open_ or (free and len(open_) == 1):
            return np.array([d if isinstance(d, int) else -1 for d in shape], np.int64)
        parts = []
        for d in shape:
            times = d // self.batch if not isinstance(d, int) else 0
            if not isinstance(d, int) and (not isinstance(times, int) or d != times * self.batch):
                raise Unknown(f"a dimension of {d}")
            parts.append(np.array([d], np.int64) if not times else self.put("Mul", self.rows, np.array([times], np.int64)))
        return self.put("Concat", *parts, axis=0)

    def reshape(self, x: Any, old: tuple, new: tuple) -> Any:
        """x, or a constant, in another shape; x itself if it is the same."""
        if tuple(old) == tuple(new):
            return x
        return self.put("Reshape", x, self.shape(tuple(new), free=True)) if isinstance(x, str) else np.reshape(x, new)

    def transpose(self, x: Any, order: tuple) -> Any:
        """x, or a constant, with its axes in another order."""
        if not isinstance(x, str):
            return np.transpose(x, order)
        if (before := self.made.get(x)) and before.op_type == "Transpose":
            x, order = before.input[0], [before.attribute[0].ints[i] for i in order]
        return x if list(order) == list(range(len(order))) else self.put("Transpose", x, perm=[int(i) for i in order])

    def slice(self, x: str, starts: Any, ends: Any, axes: Any, steps: Any) -> str:
        """x[start:end:step] along some axes."""
        return self.put("Slice", x, *(np.array(values, np.int64) for values in (starts, ends, axes, steps))) if len(axes) else x


def build(fn: Callable[..., Any], inputs: Mapping[str, tuple], output: str, *, texts: Mapping[str, str] | None = None) -> bytes:
    """fn as an ONNX model with its constants inside.

    Args:
      fn: of the inputs' arrays in their order; it gives one array. It must not need another size than "batch" to be open.
      inputs: {name: (shape, dtype)}; a dimension "batch" of a shape is open.
      output: the name of what it gives.
      texts: {name: what is said in the file about that input or output}.
    Returns:
      The bytes of the file.
    Raises:
      UserError: onnx is not installed, fn has an operation that no rule writes, or the constants are too large for such a file.
    """
    try:
        import onnx
    except ImportError:
        raise UserError('writing .onnx needs onnx: pip install "jaxgan[onnx]"') from None
    (batch,) = export.symbolic_shape("batch")
    graph = Graph(onnx, batch)
    structs = [
        jax.ShapeDtypeStruct(tuple(batch if d == "batch" else d for d in shape), dtype) for shape, dtype in inputs.values()
    ]
    traced = jax.make_jaxpr(fn)(*structs)
    of_size = next((name, shape.index("batch")) for name, (shape, _) in inputs.items() if "batch" in shape)
    graph.rows = graph.put("Gather", graph.put("Shape", of_size[0]), np.array([of_size[1]], np.int64), axis=0)
    try:
        (made,) = _write(graph, traced.jaxpr, traced.consts, list(inputs))
        return _bytes(graph, made, inputs, {output: (traced.out_avals[0].shape, traced.out_avals[0].dtype)}, texts or {})
    except Unknown as error:
        raise UserError(f"this generator cannot be written as ONNX: {error}; write a .stablehlo instead") from None


def _write(graph, jaxpr, consts, given):
    """The names of a traced function's results, or their values where they depend on no input."""
    known = dict(zip(jaxpr.constvars, consts, strict=True)) | dict(zip(jaxpr.invars, given, strict=True))
    read = lambda v: np.asarray(v.val, v.aval.dtype) if isinstance(v, core.Literal) else known[v]
    for eqn in jaxpr.eqns:
        values, name = [read(v) for v in eqn.invars], eqn.primitive.name
        if name in INNER or name in ("checkpoint", "remat"):
            inner = next(eqn.params[k] for k in ("jaxpr", "call_jaxpr", "fun_jaxpr") if k in eqn.params)
            inner, constants = (inner.jaxpr, inner.consts) if hasattr(inner, "consts") else (inner, ())
            made = _write(graph, inner, constants, values)
        elif not any(isinstance(x, str) for x in values) and _foldable(eqn):
            made = eqn.primitive.bind(*values, **eqn.params)
            made = made if eqn.primitive.multiple_results else [made]
        else:
            keys = any(jax.dtypes.issubdtype(v.aval.dtype, jax.dtypes.extended) for v in eqn.invars)
            if name not in RULES or keys:
                raise Unknown(f"no rule for {name}{' of random keys' * keys}")
            made = RULES[name](graph, eqn, *(x if isinstance(x, str) else np.asarray(x) for x in values))
            made = made if isinstance(made, list) else [made]
        known.update(zip(eqn.outvars, made, strict=True))
    return [read(v) for v in jaxpr.outvars]


def _foldable(eqn):
    sizes = [[v.aval.shape for v in side] for side in (eqn.invars, eqn.outvars)]
    if not all(isinstance(d, int) for shape in sizes[1] for d in shape):
        return False
    before, after = (max(map(math.prod, side), default=1) for side in sizes)
    return after <= max(before, FOLDED)


def _bytes(graph, made, inputs, output, texts):
    """The file of a graph whose result is `made`, without the nodes and constants that it does not need."""
    onnx, (name,) = graph.onnx, output
    graph.nodes.append(onnx.helper.make_node("Identity", [made if isinstance(made, str) else graph.constant(made)], [name]))
    sizes = lambda shape: [d if isinstance(d, int) else str(d) for d in shape]
    info = {
        end: onnx.helper.make_tensor_value_info(end, type_of(onnx, dtype), sizes(shape), doc_string=texts.get(end, ""))
        for end, (shape, dtype) in {**inputs, **output}.items()
    }
    needed, nodes = {name}, []
    for node in reversed(graph.nodes):
        if not needed.isdisjoint(node.output):
            nodes.append(node)
            needed.update(node.input)
    constants = {n: array for n, array in graph.constants.items() if n in needed}
    if (size := sum(array.nbytes for array in constants.values())) > LIMIT:
        raise UserError(f"the weights are {size / 1e9:.1f} GB; an .onnx file holds less than 2.1: write a .stablehlo instead")
    weights = [onnx.numpy_helper.from_array(array, n) for n, array in constants.items()]
    made = onnx.helper.make_graph(nodes[::-1], "generator", [info[i] for i in inputs], [info[name]], weights)
    opset = onnx.helper.make_opsetid("", OPSET)
    model = onnx.helper.make_model(made, opset_imports=[opset], ir_version=8, producer_name="jaxgan")
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise Unknown(str(error).strip().splitlines()[-1]) from None
    return model.SerializeToString()
