"""Torch files and network pickles: what the names in them mean, and where torch puts the numbers.

The names are a closed list: tensors, NumPy arrays and scalars, plain containers, and networks, which become dicts.
"""

import io
import math
import zipfile
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from jaxgan.unpickle import Name, Pending, Reader, as_dict, load, plain_keys

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LARGEST_EXPANDED = 2**24  # elements of a tensor that repeats a smaller storage
NETWORKS = ("torch.nn.modules.", "R3GAN.", "BaselineGAN.", "training.networks", "training.augment.")

DTYPES = {
    "float64": np.float64, "double": np.float64, "float32": np.float32, "float": np.float32, "float16": np.float16,
    "half": np.float16, "bfloat16": ml_dtypes.bfloat16, "float8_e4m3fn": ml_dtypes.float8_e4m3fn,
    "float8_e5m2": ml_dtypes.float8_e5m2, "int64": np.int64, "long": np.int64, "int32": np.int32, "int": np.int32,
    "int16": np.int16, "short": np.int16, "int8": np.int8, "uint8": np.uint8, "uint16": np.uint16, "uint32": np.uint32,
    "uint64": np.uint64, "bool": np.bool_, "complex64": np.complex64, "complex128": np.complex128,
}  # fmt: skip
DTYPES = {name: np.dtype(dtype) for name, dtype in DTYPES.items()}
STORAGES = {
    "Double": "double", "Float": "float", "Half": "half", "BFloat16": "bfloat16", "Long": "long", "Int": "int",
    "Short": "short", "Char": "int8", "Byte": "uint8", "Bool": "bool", "ComplexFloat": "complex64",
    "ComplexDouble": "complex128",
}  # fmt: skip
STORAGES = {f"torch.{name}Storage": DTYPES[dtype] for name, dtype in STORAGES.items()}
STORAGES["torch.storage.UntypedStorage"] = DTYPES["uint8"]


class Budget:
    """Bytes that may still be set aside while a file is read: a small file cannot ask for a large memory."""

    def __init__(self, left: int):
        self.left = left

    def take(self, count: int) -> None:
        self.left -= count
        if count < 0 or self.left < 0:
            raise ValueError("damaged: it claims more numbers than it holds")


def torch_file(data: bytes, budget: Budget) -> Any:
    """The object in a torch file or a network pickle, as plain data (see `jaxgan.tensors`).

    Raises:
      ValueError: not such a file, or something in it is refused; damage may raise anything.
    """
    if data[:4] == b"PK\x03\x04":
        return _zip(data, budget)
    if data[:1] not in (b"\x80", b"(", b"c", b"]", b"}"):  # the first byte of protocol 2 and later; of 0 and 1
        raise ValueError(f"neither a pickle, nor a torch zip, nor safetensors{_looks_like(data[:60])}")
    first, at = load(data, 0, _reader(budget, None))
    return _legacy(data, at, budget) if type(first) is int and first == LEGACY_MAGIC else first


def _looks_like(head):
    """What a download that went wrong is, instead."""
    if not head:
        return ": it is empty"
    if head[:2] == b"\x1f\x8b":
        return ": it is compressed, so unpack it with gunzip first"
    if head[:1] == b"<" or head.startswith(b"version https://git-lfs"):
        return f": it is text, {head[:30].decode('latin-1')!r}..., in place of the file, so download it again"
    return ""


def _zip(data, budget):
    """Since torch 1.6: data.pkl beside one entry a storage, none compressed."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        roots = [name[: -len("data.pkl")] for name in archive.namelist() if name.endswith("data.pkl")]
        if len(roots) != 1:
            raise ValueError("a zip archive, but not one of torch.save")
        root = roots[0]
        if root + "constants.pkl" in archive.NameToInfo:
            raise ValueError("refused: it holds a program (TorchScript), not weights alone")

        def entry(name):
            info = archive.getinfo(root + name)
            if info.compress_type != zipfile.ZIP_STORED:
                raise ValueError("refused: its entries are compressed, which torch does not do")
            budget.take(info.file_size)
            return archive.read(info)

        if root + "byteorder" in archive.NameToInfo and entry("byteorder") != b"little":
            raise ValueError("its numbers are big-endian, which is not supported")
        stored: dict[str, np.ndarray] = {}

        def storage(dtype, key, count):
            if key not in stored:
                stored[key] = np.frombuffer(entry(f"data/{key}"), np.uint8)
            if count * dtype.itemsize > stored[key].size:
                raise ValueError("damaged: a storage is shorter than its length")
            return stored[key][: count * dtype.itemsize].view(dtype)

        return load(entry("data.pkl"), 0, _reader(budget, storage))[0]


def _legacy(data, at, budget):
    """Before torch 1.6: magic number, protocol, system, the object, storage keys, then the storages' bytes."""
    plain = _reader(budget, None)
    protocol, at = load(data, at, plain)
    system, at = load(data, at, plain)
    if protocol != 1001 or not system["little_endian"]:
        raise ValueError("its version of torch's format, or its byte order, is not supported")
    wanted: dict[str, np.ndarray] = {}

    def storage(dtype, key, count):
        if key not in wanted:
            budget.take(count * dtype.itemsize)
            wanted[key] = np.empty(count, dtype)
        if wanted[key].dtype != dtype or wanted[key].size != count:
            raise ValueError("damaged: a storage has two types or lengths")
        return wanted[key]

    value, at = load(data, at, _reader(budget, storage))
    keys, at = load(data, at, plain)
    if not all(type(key) is str for key in keys) or sorted(keys) != sorted(wanted):
        raise ValueError("damaged: its storages are not those that its object uses")
    for key in keys:
        place, count = wanted[key], int.from_bytes(data[at : at + 8], "little")
        at += 8
        if count != place.size or at + place.nbytes > len(data):
            raise ValueError("damaged: a storage is cut short")
        place[...] = np.frombuffer(data, place.dtype, count, at)
        at += place.nbytes
    return value


def _reader(budget, storage) -> Reader:
    """What the names in a pickle mean; `storage(dtype, key, count)` finds a torch file's own storages."""

    def persistent(pid):
        if storage is None or not isinstance(pid, tuple) or not pid:
            raise ValueError("refused: it points to something outside the pickle")
        if pid[0] == "module":  # torch before 1.6 adds a network's Python text; its name is enough
            return pid[1]
        if pid[0] != "storage" or not isinstance(pid[1], Name) or pid[1].dotted not in STORAGES or any(pid[5:]):
            raise ValueError("refused: an unknown kind of storage")
        if type(pid[2]) is not str or type(pid[4]) is not int or pid[4] < 0:
            raise ValueError("damaged: a storage without a name or a length")
        return _Storage(storage(STORAGES[pid[1].dotted], pid[2], pid[4]))

    def take(args):
        """The memo may give one large argument to many calls."""
        budget.take(sum(len(a) for a in args if isinstance(a, _SIZED)))

    def build(dotted, args):
        if dotted == _LOAD:
            budget.take(len(_raw(args[0])))
            return torch_file(_raw(args[0]), budget)
        if dotted == _TYPED:  # (function, type, its arguments, attributes)
            return build(args[0].dotted, args[2])
        if dotted.startswith(NETWORKS):
            return Pending(lambda state: _network(dotted, state))
        if dotted not in _BUILD:
            raise ValueError(f"refused: it calls {dotted}, which is not data")
        take(args)
        made = _BUILD[dotted](*args)
        if not isinstance(made, Pending):
            return made
        return Pending(lambda state: (take(state), made.finish(state))[1])

    return Reader(_named, build, persistent)


def _named(dotted):
    """A name that the file mentions: a torch dtype is its text; what `build` knows is a Name; the rest is refused."""
    module, _, last = dotted.rpartition(".")
    if module == "torch" and last in DTYPES:
        return last
    if dotted in _NAMES or dotted in STORAGES or dotted in _BUILD or dotted.startswith(NETWORKS):
        return Name(dotted)
    if dotted.startswith("dnnlib.tflib."):
        raise ValueError("a TensorFlow pickle: stylegan3's legacy.py makes one of it that can be read")
    raise ValueError(f"refused: it asks for {dotted}, which is not data")


class _Storage(NamedTuple):
    """A torch storage: a flat array that tensors are views of."""

    flat: np.ndarray


def _tensor(storage, offset, size, stride, requires_grad=False, hooks=None, metadata=None):
    """A view of a storage, checked: no element may lie outside it."""
    if metadata:
        raise ValueError("a tensor with torch's conjugate or negative bit, which is not supported")
    values, size, stride = storage.flat, tuple(size), tuple(stride)
    if any(type(n) is not int or n < 0 for n in (offset, *size, *stride)) or len(size) != len(stride):
        raise ValueError("damaged: a tensor's sizes and strides do not fit together")
    count = math.prod(size)
    last = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
    if count and last >= values.size:
        raise ValueError("damaged: a tensor reaches beyond its storage")
    if count > max(values.size, LARGEST_EXPANDED):
        raise ValueError(f"a tensor repeats its few numbers into {count}; too many")
    if not count:
        out = np.empty(size, values.dtype)
    else:
        steps = tuple(s * values.itemsize for s in stride)
        out = np.lib.stride_tricks.as_strided(values[offset:], size, steps, writeable=False)
    out.flags.writeable = False
    return out


def _tensor_of_dtype(storage, offset, size, stride, requires_grad, hooks, dtype, metadata=None):
    if not isinstance(dtype, str):
        raise ValueError("damaged: a tensor without a type")
    return _tensor(_Storage(storage.flat.view(DTYPES[dtype])), offset, size, stride, metadata=metadata)


def _network(dotted, state, source=None):
    """A torch module's state, sorted; `dotted` is its class."""
    rest = as_dict(state)
    module, _, name = dotted.rpartition(".")
    init = {name: rest.pop(f"_{name}", None) for name in ("init_args", "init_kwargs")}
    parts = {part: as_dict(rest.pop(f"_{part}", None) or {}) for part in ("parameters", "buffers", "modules")}
    return {"class_name": name, "module": module or None, **init, **parts, "attributes": rest, "source": source}


def _persistent(meta):
    if meta.get("type") != "class" or not isinstance(meta["class_name"], str):
        raise ValueError("refused: a persistent object that is not of a class")
    return _network(meta["class_name"], meta["state"], source=meta["module_src"])


def _dtype(text, *_):
    """np.dtype('f4', False, True); the byte order comes with its state."""
    plain = np.dtype(text) if isinstance(text, str) else None
    if plain is None or plain.kind not in "biufc":
        raise ValueError(f"refused: an array of {plain}")

    def finish(state):
        return plain.newbyteorder(state[1]) if state[1] in "<>=" else plain

    return Pending(finish)


def _raw(data):
    if isinstance(data, str):
        return data.encode("latin-1")  # Python 2 wrote bytes as text
    if not isinstance(data, bytes | bytearray):
        raise ValueError("damaged: something else where bytes should be")
    return bytes(data)


def _array(values, dtype, shape, order):
    if not isinstance(dtype, np.dtype):
        raise ValueError("damaged: an array without a type")
    out = np.frombuffer(_raw(values), dtype).reshape(tuple(shape), order=order)
    if not dtype.isnative:
        out = out.astype(dtype.newbyteorder("="))
        out.flags.writeable = False
    return out


def _empty_array(*_):
    """numpy's _reconstruct; the state is (version, shape, dtype, Fortran order, bytes)."""
    return Pending(lambda state: _array(state[-1], state[-3], state[-4], "F" if state[-2] else "C"))


def _latin(text, encoding):
    """How protocols 0 to 2 write bytes."""
    if encoding not in ("latin1", "latin-1"):
        raise ValueError("refused: bytes in another encoding than latin-1")
    return _raw(text)


def _new(cls, base, state):
    """How protocols 0 and 1 make an object of a Python class: a dict, or a network."""
    if cls.dotted in _DICTS:
        return as_dict(state or {})
    if cls.dotted.startswith(NETWORKS):
        return Pending(lambda state: _network(cls.dotted, state))
    raise ValueError(f"refused: it makes a {cls.dotted}")


def _device(kind, index=None):
    """torch.device('cuda', 0) -> 'cuda:0'."""
    if type(kind) is not str or type(index) not in (int, type(None)):
        raise ValueError("damaged: a device without a name")
    return kind if index is None else f"{kind}:{index}"


_DICTS = ("collections.OrderedDict", "dnnlib.util.EasyDict", "dnnlib.EasyDict")
_LOAD, _TYPED = "torch.storage._load_from_bytes", "torch._tensor._rebuild_from_type_v2"
_PLAIN = tuple(f"builtins.{name}" for name in ("object", "dict", "list", "tuple", "int", "float", "str", "bool"))
_SIZED = (str, bytes, bytearray, tuple, list, dict, set, frozenset)
_NAMES = ("torch.Tensor", "numpy.ndarray", *_PLAIN, _LOAD, _TYPED)  # of the plain types only the name is of use
_BUILD: dict[str, Any] = {
    **{name: lambda items=(): as_dict(items) for name in _DICTS},
    "collections.defaultdict": lambda factory=None, items=(): as_dict(items),
    "builtins.set": lambda items=(): set(plain_keys(items)),
    "builtins.frozenset": lambda items=(): frozenset(plain_keys(items)),
    "builtins.bytes": lambda data=b"": _raw(data),
    "builtins.bytearray": lambda data=b"", encoding="latin-1": _latin(data, encoding),
    "builtins.complex": lambda real, imag: complex(float(real), float(imag)),
    "builtins.slice": lambda *ends: ends,
    "_codecs.encode": _latin,
    "copyreg._reconstructor": _new,
    "numpy.dtype": _dtype,
    "torch.Size": lambda sizes=(): tuple(sizes),
    "torch.device": _device,
    "torch.serialization._get_layout": lambda name: name,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_of_dtype,
    "torch._utils._rebuild_parameter": lambda data, *_: data,
    "torch._utils._rebuild_parameter_with_state": lambda data, *_: data,
    "torch.nn.parameter.Parameter": lambda data, *_: data,
    "torch_utils.persistence._reconstruct_persistent_obj": _persistent,
}
for _core in ("numpy.core", "numpy._core"):
    _BUILD[f"{_core}.multiarray._reconstruct"] = _empty_array
    _BUILD[f"{_core}.multiarray.scalar"] = lambda dtype, data: _array(data, dtype, (1,), "C")[0]
    _BUILD[f"{_core}.numeric._frombuffer"] = _array
