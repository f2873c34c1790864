"""Weight files are read without torch, and without running what they hold.

The golden files were written by torch and safetensors themselves (golden/make_torch_files.py).
"""

import collections
import functools
import gzip
import io
import json
import os
import pickle
import struct
import sys
import types
import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from jaxgan import tensors
from jaxgan.errors import UserError

GOLDEN = Path(__file__).parent / "golden"


def rule(*shape):
    return (np.arange(np.prod(shape)).reshape(shape) * 0.25 - 3).astype(np.float32)


def same(got, want, dtype):
    assert isinstance(got, np.ndarray) and got.dtype == dtype and not got.flags.writeable
    np.testing.assert_array_equal(got.astype(np.float64), np.asarray(want, np.float64), strict=True)


@pytest.mark.parametrize("name", ["torch_zip.pt", "torch_legacy.pt"])
def test_torch_files(name):
    d = tensors.read(GOLDEN / name)
    base = rule(4, 6)
    same(d["float32"], rule(2, 3), np.float32)
    same(d["transposed"], base.T, np.float32)
    same(d["every_second"], base[1:, ::2], np.float32)
    same(d["shared"][0], base[0], np.float32)
    same(d["shared"][1], base[1], np.float32)
    same(d["expanded"], np.tile(rule(3, 1), (1, 5)), np.float32)
    same(d["bfloat16"], rule(5), ml_dtypes.bfloat16)
    same(d["float16"], rule(5), np.float16)
    same(d["float64"], rule(2), np.float64)
    same(d["int64"], np.arange(-2, 3), np.int64)
    same(d["uint8"], np.arange(4), np.uint8)
    same(d["bool"], [1, 0], np.bool_)
    same(d["scalar"], 7, np.float32)
    same(d["empty"], np.zeros((0, 3)), np.float32)
    same(d["parameter"], rule(2), np.float32)
    same(d["state"]["weight"], rule(3, 2), np.float32)
    assert d["plain"] == {"size": (1, 2), "dtype": "bfloat16", "device": "cpu", 3: ("a", None, 1.5, True)}
    assert np.shares_memory(d["transposed"], d["shared"][0])


def test_a_network_pickle_becomes_plain_dicts():
    d = tensors.read((GOLDEN / "torch_network.pkl").read_bytes())
    g = d["G_ema"]
    assert (g["class_name"], g["module"], g["init_args"], g["init_kwargs"]) == ("Generator", None, (8,), {"z_dim": 4})
    assert g["source"] == "raise SystemExit('run')" and g["attributes"]["training"] is True
    assert g["modules"]["layer"]["class_name"] == "Linear" and g["modules"]["layer"]["attributes"]["in_features"] == 2
    assert d["training_set_kwargs"] == {"path": "x"} and d["order"] == {"a": 1}
    weights = tensors.flat(g)
    assert list(weights) == ["weight", "w_avg", "layer.weight"] and tensors.flat(weights) == weights
    same(weights["weight"], rule(2, 3), np.float32)
    same(weights["w_avg"], rule(3), ml_dtypes.bfloat16)
    same(weights["layer.weight"], rule(2, 2), np.float32)
    with pytest.raises(UserError, match="'G_ema'"):
        tensors.flat(d)


@pytest.mark.parametrize("protocol", range(6))
def test_numpy_and_plain_containers_in_every_protocol(protocol):
    shared = [1, 2]
    value = {
        "matrix": rule(3, 4),
        "fortran": np.asfortranarray(rule(3, 4)),
        "strided": rule(6)[::2],
        "big endian": rule(3).astype(">f4"),
        "ints": np.arange(3, dtype=np.int16),
        "number": np.float64(0.1),
        "flag": np.bool_(True),
        "bytes": b"a\xff",
        "no bytes": b"",
        "text": "é",
        "numbers": (1, -1, 300, 70000, 2**40, -(2**70), 0.1, 1j),
        "sets": [{1, 2}, frozenset(["a"]), set()],
        "order": collections.OrderedDict(a=1, b=shared),
        "default": collections.defaultdict(list, {"x": shared}),
        "none": [None, (), [], {}],
    }
    got = tensors.read(pickle.dumps(value, protocol))
    for name, want in value.items():
        if isinstance(want, np.ndarray):
            same(got[name], want, want.dtype.newbyteorder("="))
        else:
            assert got[name] == want, name
    assert got["order"]["b"] is got["default"]["x"]


def test_a_python_2_array_whose_bytes_are_text():
    raw = rule(2).tobytes()
    data = b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR(K\x01(K\x02tcnumpy\ndtype\n"
    data += b"(U\x02f4K\x00K\x01tR(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x08" + raw + b"tb."
    same(tensors.read(data), rule(2), np.float32)


# Hostile files. `ran` would be filled if one of them ran.
ran = []


def run(*args):
    ran.append(args)
    return {}


class Reduce:
    def __init__(self, *how):
        self.how = how

    def __reduce__(self):
        return self.how


HOSTILE = {
    "posix.system": Reduce(os.system, ("echo ran",)),
    "builtins.eval": Reduce(eval, ("1+1",)),
    "builtins.exec": [{"a": Reduce(exec, ("1",))}],
    "builtins.getattr": Reduce(getattr, (collections.OrderedDict, "fromkeys")),
    "functools.partial": Reduce(functools.partial, (run,)),
    "numpy.load": Reduce(np.load, ("x",)),
    "_io.BytesIO": io.BytesIO,
    "tests.test_tensors.run": Reduce(run, (1,)),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_whatever_is_not_data_is_refused_by_name(name, protocol):
    data = pickle.dumps(HOSTILE[name], protocol)
    for wrapped in (data, zip_file({"data.pkl": data}), b"".join(legacy_head()) + data):
        with pytest.raises(UserError) as e:
            tensors.read(wrapped)
        assert f"refused: it asks for {name}," in str(e.value) and "\n" not in str(e.value)
    assert ran == []


# Names that are allowed, put to another use.
ABUSES = {
    b"\x80\x04\x8c\x0bcollections\x8c\x14OrderedDict.fromkeys\x93.": "asks for collections.OrderedDict.fromkeys",
    b"\x80\x02ccollections\nOrderedDict\n}b.": "sets the state of a Name",
    b"\x80\x02]}b.": "sets the state of a list",
    b"\x80\x02](R.": "a mark where",
    b"\x80\x02])R.": "calls something that is not a name",
    b"\x80\x02c__builtin__\nobject\n)R.": "calls builtins.object",
    b"\x80\x02ctorch\nFloatStorage\n)R.": "calls torch.FloatStorage",
    b"\x80\x02ctorch\nos.system\n)R.": "asks for torch.os.system",
    b"\x80\x02cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R.": "bytes",
    b"(ios\nsystem\n.": "uses INST",
    b"\x80\x02\x82\x01.": "uses EXT1",
    b"\x80\x05\x97.": "uses NEXT_BUFFER",
    b"\x80\x02K\x01Q.": "points to something outside",
}


@pytest.mark.parametrize("data", ABUSES)
def test_allowed_names_and_odd_opcodes_cannot_be_abused(data):
    with pytest.raises(UserError, match=ABUSES[data]):
        tensors.read(data)


def zip_file(entries, root="archive/", compression=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, data in entries.items():
            archive.writestr(root + name, data)
    return file.getvalue()


def legacy_head():
    return [pickle.dumps(x, 2) for x in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]


def tensor_pickle(count, offset, size, stride, key="0"):
    """What torch writes for one float32 tensor, by fake modules of torch's names."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")

    def _rebuild_tensor_v2():
        raise AssertionError

    _rebuild_tensor_v2.__module__, _rebuild_tensor_v2.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2
    torch.FloatStorage = type("FloatStorage", (), {"__module__": "torch"})
    storage = Reduce()

    class Pickler(pickle.Pickler):
        def persistent_id(self, x):
            return ("storage", torch.FloatStorage, key, "cpu", count) if x is storage else None

    file, before = io.BytesIO(), {k: sys.modules.get(k) for k in ("torch", "torch._utils")}
    sys.modules |= {"torch": torch, "torch._utils": utils}
    try:
        Pickler(file, 2).dump(Reduce(_rebuild_tensor_v2, (storage, offset, size, stride, False, collections.OrderedDict())))
    finally:
        for k, v in before.items():
            sys.modules.pop(k) if v is None else sys.modules.update({k: v})
    return file.getvalue()


def both_formats(how, numbers):
    raw = numbers.astype("<f4").tobytes()
    yield zip_file({"data.pkl": how, "data/0": raw, "byteorder": b"little"})
    yield b"".join(legacy_head()) + how + pickle.dumps(["0"], 2) + struct.pack("<q", len(numbers)) + raw


def test_the_hand_made_tensor_is_right():
    for data in both_formats(tensor_pickle(6, 1, (2, 2), (3, 1)), rule(6)):
        same(tensors.read(data), rule(6)[[[1, 2], [4, 5]]], np.float32)


BAD_TENSORS = {
    "beyond the end": (6, 1, (2, 3), (3, 1)),
    "before the start": (6, -1, (2, 2), (3, 1)),
    "backwards": (6, 5, (2,), (-1,)),
    "shape and strides": (6, 0, (2, 2), (1,)),
    "huge": (6, 0, (2**40,), (0,)),
    "huge storage": (2**40, 0, (2,), (1,)),
    "storage shorter than said": (7, 0, (2,), (1,)),
    "not a number": (6, 0, ("2",), (1,)),
}


@pytest.mark.parametrize("case", BAD_TENSORS)
def test_tensors_stay_within_their_storage(case):
    for data in both_formats(tensor_pickle(*BAD_TENSORS[case]), rule(6)):
        with pytest.raises(UserError, match="damaged|too many"):
            tensors.read(data)


def test_zip_files_that_torch_does_not_write():
    how = tensor_pickle(6, 0, (6,), (1,))
    raw = rule(6).tobytes()
    bomb = zip_file({"data.pkl": how, "data/0": b"\0" * 10**7}, compression=zipfile.ZIP_DEFLATED)
    assert len(bomb) < 20_000
    cases = {
        "compressed": bomb,
        "TorchScript": zip_file({"data.pkl": how, "constants.pkl": b"", "data/0": raw}),
        "big-endian": zip_file({"data.pkl": how, "data/0": raw, "byteorder": b"big"}),
        "not one of torch.save": zip_file({"x.txt": b"a"}),
        "damaged": zip_file({"data.pkl": how}),
    }
    for match, data in cases.items():
        with pytest.raises(UserError, match=match):
            tensors.read(data)


@pytest.mark.parametrize("name", ["torch_zip.pt", "torch_legacy.pt", "torch_network.pkl", "torch.safetensors"])
def test_cut_short_or_flipped_is_an_error_in_one_line_or_a_wrong_number(name, tmp_path):
    whole = (GOLDEN / name).read_bytes()
    cuts = range(0, len(whole) - 1, max(1, len(whole) // 150))
    for n in cuts:
        with pytest.raises(UserError) as e:
            tensors.read(whole[:n])
        assert "\n" not in str(e.value)
    rng = np.random.default_rng(0)
    errors = 0
    for _ in range(300):
        broken = bytearray(whole)
        broken[rng.integers(len(whole))] ^= 1 << rng.integers(8)
        try:
            tensors.read(bytes(broken))
        except UserError as e:
            errors += 1
            assert "\n" not in str(e)
    assert errors > 50


def test_garbage_and_nothing_there(tmp_path):
    rng = np.random.default_rng(0)
    for n in (0, 1, 10, 1000):
        with pytest.raises(UserError):
            tensors.read(rng.bytes(n))
    (tmp_path / "a.pth").write_text("<html>not found</html>")
    with pytest.raises(UserError, match="a.pth: neither a pickle.*'<html>not found</html>'.*download it again"):
        tensors.read(tmp_path / "a.pth")
    for data, said in ((b"", "it is empty"), (gzip.compress(b"x"), "unpack it"), (b"version https://git-lfs.github", "git-lfs")):
        with pytest.raises(UserError, match=said):
            tensors.read(data)
    with pytest.raises(UserError, match="a TensorFlow pickle: stylegan3's legacy.py"):
        tensors.read(b"\x80\x02cdnnlib.tflib.network\nNetwork\n.")
    with pytest.raises(UserError, match="none.pth: cannot be read .No such file"):
        tensors.read(tmp_path / "none.pth")
    with pytest.raises(UserError, match="cannot be read"):
        tensors.read(tmp_path)


def test_pickles_that_would_take_for_ever():
    key = b"\x80\x02(K\x01" + 60 * b"q\x00h\x00\x86" + b"Nd."  # x = (x, x), 60 times: hashed leaf by leaf as a key
    with pytest.raises(UserError, match="a key that is a tuple"):
        tensors.read(key)
    inner = pickle.dumps(1)
    for _ in range(40):  # each loads the one inside it twice
        inner = load_twice(inner)
    with pytest.raises(UserError, match="claims more"):
        tensors.read(inner)
    with pytest.raises(UserError):
        tensors.read(b"\x80\x02" + b"(" * 10**5 + b"t" * 10**5)
    text = b"X" + struct.pack("<I", 10**4) + b"a" * 10**4 + b"q\x000]("
    for call in (b"ctorch\nSize\nh\x00\x85R", b"c_codecs\nencode\nh\x00X\x06\x00\x00\x00latin1\x86R"):
        with pytest.raises(UserError, match="claims more"):  # one argument for each of many calls
            tensors.read(b"\x80\x02" + text + 200 * call + b"e.")
    make, arguments, state = np.zeros(2500, ">f4").__reduce__()
    alike = [Reduce(make, arguments, state) for _ in range(200)]  # the same bytes for each; another byte order is a copy
    with pytest.raises(UserError, match="claims more"):
        tensors.read(pickle.dumps(alike, 2))
    same(tensors.read(pickle.dumps(alike[0], 2)), np.zeros(2500), np.float32)


def load_twice(inner):
    one = b"ctorch.storage\n_load_from_bytes\n(B" + struct.pack("<I", len(inner)) + inner + b"q\x00tR"
    two = b"ctorch.storage\n_load_from_bytes\n(h\x00tR"
    return b"\x80\x02" + one + two + b"\x86."


def test_safetensors_both_ways(tmp_path):
    d = tensors.read(GOLDEN / "torch.safetensors")
    assert sorted(d) == ["a", "b", "empty", "scalar"]
    same(d["a"], rule(2, 3), np.float32)
    same(d["b"], rule(5), ml_dtypes.bfloat16)
    same(d["scalar"], 7, np.int64)
    same(d["empty"], np.zeros((0, 3)), np.float32)
    tensors.write_safetensors(tmp_path / "out.safetensors", d | {"t": rule(2, 3).T}, {"k": "v"})
    back = tensors.read(tmp_path / "out.safetensors")
    assert list(back) == [*d, "t"] and [p.name for p in tmp_path.iterdir()] == ["out.safetensors"]
    for name, want in d.items():
        same(back[name], want, want.dtype)
    same(back["t"], rule(2, 3).T, np.float32)
    with pytest.raises(UserError, match="x is object"):
        tensors.write_safetensors(tmp_path / "out.safetensors", {"x": np.array([None])})


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [2], "data_offsets": [0, 16]},
        {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]},
        {"dtype": "F4", "shape": [2], "data_offsets": [0, 8]},
        {"dtype": "F32"},
        [],
    ],
)
def test_bad_safetensors(entry):
    header = json.dumps({"a": entry}).encode()
    with pytest.raises(UserError):
        tensors.read(len(header).to_bytes(8, "little") + header + rule(2).tobytes())
