"""Weight files of other libraries, read without those libraries and without running anything that a file contains.

`read(file)` takes a torch file (`torch.save`, the zip format and the one before 1.6), a network pickle (R3GAN,
StyleGAN2-ADA, StyleGAN3) or safetensors, and returns plain nested dict, list, tuple, str, numbers and read-only NumPy
arrays; bfloat16 and float8 arrays have the `ml_dtypes` dtypes that JAX uses. A network (a torch module, or an object of
NVlabs's `persistence`) becomes a dict with the keys `class_name` ("Generator"), `module` (its Python module's name,
None for a persistent object), `init_args`, `init_kwargs` (None where the file does not tell), `parameters`, `buffers`,
`modules` (dicts by name), `attributes` (everything else that it held) and `source` (the Python text that a persistent
object carries: text, never run). `flat(network)` is the same as torch's `state_dict()`: {"a.b.weight": array}. Whatever
is not data is refused by name with a UserError of one line. `write_safetensors(path, arrays)` writes; `read` reads it.
"""

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from jaxgan.errors import UserError, one_line
from jaxgan.torch_pickle import DTYPES, Budget, torch_file
from jaxgan.whole import write_whole

SAFE = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2", "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8", "U64": "uint64",
    "U32": "uint32", "U16": "uint16", "U8": "uint8", "BOOL": "bool", "C64": "complex64",
}  # fmt: skip


def read(file: str | os.PathLike[str] | bytes) -> Any:
    """The contents of a weight file; its kind is found by looking.

    Args:
      file: a path, or the bytes of a file.
    Returns:
      Plain containers and read-only arrays, as this module's docstring says; of safetensors {name: array}.
    Raises:
      UserError: no such file; damaged; of another kind; or it holds something that is not data, which is named.
    """
    where = "the given bytes" if isinstance(file, bytes) else os.fspath(file)
    try:
        data = file if isinstance(file, bytes) else Path(file).read_bytes()
    except (OSError, MemoryError) as e:
        reason = getattr(e, "strerror", "") or one_line(e)
        raise UserError(f"{where}: cannot be read ({reason}); give a weight file") from None
    try:
        if data[8:9] == b"{" and int.from_bytes(data[:8], "little") <= len(data) - 8:
            return _safetensors(data)
        return torch_file(data, Budget(4 * len(data)))
    except ValueError as e:
        reason = str(e)
    except Exception as e:  # what damage and malice raise in pickletools, zipfile, struct, numpy, ... is not a list
        reason = f"damaged, or not a weight file ({type(e).__name__}: {str(e)[:100]})"
    reason = " ".join(reason.split())[:300]
    raise UserError(f"{where}: {reason}; give a file of torch.save, a network pickle of R3GAN or StyleGAN2/3, or safetensors")


def flat(network: dict[str, Any]) -> dict[str, np.ndarray]:
    """All parameters and buffers of a network under torch's dotted names, as its `state_dict()` has them (in another order).

    Args:
      network: as `read` gives it, or already {name: array}.
    Returns:
      {"synthesis.b4.const": array, ...}.
    Raises:
      UserError: it is neither.
    """
    if isinstance(network, dict) and network and all(isinstance(v, np.ndarray) for v in network.values()):
        return dict(network)
    out: dict[str, np.ndarray] = {}
    waiting, seen = [("", network)], 0
    while waiting:
        prefix, module = waiting.pop(0)
        seen += 1
        if not isinstance(module, dict) or "modules" not in module or seen > 20_000:  # a module may hold itself
            raise UserError(f"weights: {prefix[:80] or 'the object'} is not a network; pick one, such as file['G_ema']")
        for part in ("parameters", "buffers"):
            out.update({prefix + name: value for name, value in module[part].items() if value is not None})
        waiting += [(f"{prefix}{name}.", child) for name, child in module["modules"].items() if child is not None]
    return out


def write_safetensors(
    path: str | os.PathLike[str], arrays: dict[str, np.ndarray], metadata: dict[str, str] | None = None
) -> None:
    """Write arrays as safetensors; the file gets its name only when whole.

    Args:
      path: the file.
      arrays: {name: array}, of the dtypes in SAFE.
      metadata: text that goes into the header.
    Raises:
      UserError: an array of another dtype.
    """
    codes = {DTYPES[name]: code for code, name in SAFE.items()}
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    at = 0
    for name, a in arrays.items():
        if a.dtype not in codes:
            raise UserError(f"{os.fspath(path)}: {name} is {a.dtype}; safetensors holds {', '.join(map(str, codes))}")
        header[name] = {"dtype": codes[a.dtype], "shape": list(a.shape), "data_offsets": [at, at + a.nbytes]}
        at += a.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)

    def fill(file):
        file.write(len(text).to_bytes(8, "little") + text)
        file.writelines(a.tobytes() for a in arrays.values())

    write_whole(path, fill)


def _safetensors(data):
    size = 8 + int.from_bytes(data[:8], "little")
    out = {}
    for name, entry in json.loads(data[8:size]).items():
        if name == "__metadata__":
            continue
        if entry["dtype"] not in SAFE:
            raise ValueError(f"{name} has the dtype {entry['dtype']}, which is not supported")
        dtype, shape, (start, stop) = DTYPES[SAFE[entry["dtype"]]], entry["shape"], entry["data_offsets"]
        if any(type(n) is not int or n < 0 for n in (*shape, start, stop)) or size + stop > len(data):
            raise ValueError(f"damaged: {name} lies beyond the end of the file")
        if stop - start != math.prod(shape) * dtype.itemsize:
            raise ValueError(f"damaged: the length of {name} does not match its shape")
        out[name] = np.frombuffer(data, dtype, math.prod(shape), size + start).reshape(shape)
    return out
