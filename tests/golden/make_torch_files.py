"""Makes the torch files beside it, with real torch (2.13) and safetensors (0.8): `python make_torch_files.py`.

The tests only read the files. torch_legacy.pt and torch_zip.pt hold `contents()` in torch's two formats; torch_network.pkl
is a network pickle of the NVlabs kind (`persistence`, `dnnlib.util.EasyDict`, tensors by plain pickle), its classes made
up here; torch.safetensors is the safetensors library's.
"""

import pickle
import sys
import types
from collections import OrderedDict
from pathlib import Path

import torch
from safetensors.torch import save_file

HERE = Path(__file__).parent


def rule(*shape):
    return (torch.arange(torch.Size(shape).numel()).reshape(shape) * 0.25 - 3).clone()


def contents():
    base = rule(4, 6)
    layer = torch.nn.Linear(2, 3)
    layer.weight.data, layer.bias.data = rule(3, 2), rule(3)
    return {
        "float32": rule(2, 3),
        "transposed": base.t(),
        "every_second": base[1:, ::2],
        "shared": [base[0], base[1]],
        "expanded": rule(3, 1).expand(3, 5),
        "bfloat16": rule(5).bfloat16(),
        "float16": rule(5).half(),
        "float64": rule(2).double(),
        "int64": torch.arange(-2, 3),
        "uint8": torch.arange(4, dtype=torch.uint8),
        "bool": torch.tensor([True, False]),
        "scalar": torch.tensor(7.0),
        "empty": torch.zeros(0, 3),
        "parameter": torch.nn.Parameter(rule(2)),
        "state": layer.state_dict(),
        "plain": {"size": torch.Size([1, 2]), "dtype": torch.bfloat16, "device": torch.device("cpu"), 3: ("a", None, 1.5, True)},
    }


def network():
    util, persistence = types.ModuleType("dnnlib.util"), types.ModuleType("torch_utils.persistence")
    util.EasyDict = type("EasyDict", (dict,), {"__module__": "dnnlib.util"})

    def _reconstruct_persistent_obj(meta):
        raise AssertionError

    _reconstruct_persistent_obj.__module__ = "torch_utils.persistence"
    _reconstruct_persistent_obj.__qualname__ = "_reconstruct_persistent_obj"
    persistence._reconstruct_persistent_obj = _reconstruct_persistent_obj
    sys.modules |= {"dnnlib": types.ModuleType("dnnlib"), "dnnlib.util": util, "torch_utils.persistence": persistence}
    sys.modules["torch_utils"] = types.ModuleType("torch_utils")
    sys.modules["dnnlib"].util, sys.modules["torch_utils"].persistence = util, persistence

    class Persistent(torch.nn.Module):
        def __init__(self, *args, **kwargs):
            super().__init__()
            self._init_args, self._init_kwargs = args, util.EasyDict(kwargs)

        def __reduce__(self):
            meta = dict(
                type="class", version=6, module_src="raise SystemExit('run')", class_name="Generator", state=self.__dict__
            )
            return _reconstruct_persistent_obj, (meta,)

    inner = torch.nn.Linear(2, 2, bias=False)
    inner.weight.data = rule(2, 2)
    g = Persistent(8, z_dim=4)
    g.weight = torch.nn.Parameter(rule(2, 3))
    g.register_buffer("w_avg", rule(3).bfloat16())
    g.layer = inner
    return {"G_ema": g, "training_set_kwargs": util.EasyDict(path="x"), "order": OrderedDict(a=1)}


if __name__ == "__main__":
    torch.save(contents(), HERE / "torch_zip.pt")
    torch.save(contents(), HERE / "torch_legacy.pt", _use_new_zipfile_serialization=False)
    (HERE / "torch_network.pkl").write_bytes(pickle.dumps(network()))
    safe = {"a": rule(2, 3), "b": rule(5).bfloat16(), "scalar": torch.tensor(7), "empty": torch.zeros(0, 3)}
    save_file(safe, HERE / "torch.safetensors", metadata={"k": "v"})
