"""Checkpoints in and out: official layouts as real torch writes them (golden/r3gan.pkl), safetensors, and what is refused."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import convert, convert_r3gan, convert_stylegan2, description, sample, tensors, weights
from jaxgan.errors import UserError
from jaxgan.models import dcgan, r3gan, stylegan2, stylegan3
from tests.golden import r3gan_rule, stylegan3_rule
from tests.shared import filled

HERE = Path(__file__).parent / "golden"
FILE = HERE / "r3gan.pkl"


@pytest.fixture(scope="module")
def golden():
    with np.load(HERE / "r3gan.npz") as file:
        return dict(file)


def rule(case="plain"):
    return r3gan_rule.generator(**r3gan_rule.CASES[case]), r3gan_rule.discriminator(**r3gan_rule.CASES[case])


@pytest.mark.parametrize("part, given, key", [("G_ema", 0, "plain.x"), ("D", 1, "plain.logits")])
def test_an_official_pickle_becomes_a_module(golden, part, given, key):
    module, variables = convert.load(FILE, part=part)
    assert module.shape == (8, 8, 3) and module.channels == (8, 6) and module.cardinality == (4, 3) and module.blocks == (1, 2)
    assert module.dtype == jnp.bfloat16 and module.float32_stages == 1
    inputs, want = r3gan_rule.inputs("plain", 0)[given], golden[key]
    off = {}
    for dtype in (jnp.float32, jnp.bfloat16):
        got = jax.jit(module.clone(dtype=dtype).apply)(variables, inputs)
        off[dtype] = np.abs(got - want).max() / np.abs(want).max()
    assert off[jnp.float32] < 2e-6 and 1e-4 < off[jnp.bfloat16] < 0.03


def test_it_samples_by_the_library_s_own_function():
    module, variables = convert.load(FILE)
    images = sample.sample(module, variables, 3, seed=1)
    assert images.shape == (3, 8, 8, 3) and images.dtype == np.uint8 and images.std() > 1


def test_what_is_read_off_the_shapes():
    for make, arrays in zip((convert_r3gan.generator, convert_r3gan.discriminator), rule("classes"), strict=True):
        module, variables = make(arrays, low=frozenset({2}))
        fields = r3gan_rule.CASES["classes"]
        assert (module.channels, module.cardinality, module.blocks) == (fields["channels"], fields["groups"], fields["blocks"])
        assert (module.shape, module.classes, module.expansion) == ((16, 16, 3), 3, 2)
        assert (module.dtype, module.float32_stages) == (jnp.bfloat16, 2)
        assert make(arrays)[0].dtype == make(arrays, low=frozenset({1}))[0].dtype == jnp.float32
        assert make(arrays, low=frozenset({0, 1, 2}))[0].dtype == jnp.float32
        assert sum(a.size for a in jax.tree.leaves(variables)) == sum(a.size for n, a in arrays.items() if "Kernel" not in n)


@pytest.mark.parametrize(
    "change, said",
    [
        ({"MainLayers.0.Layers.1.NonLinearity1.Bias": None}, "NonLinearity1.Bias is missing"),
        ({"MainLayers.1.Layers.0.LinearLayer.Layer.weight": np.zeros((6, 8, 3, 3))}, "between1"),
        ({"MainLayers.1.Layers.1.LinearLayer2.Layer.weight": np.zeros((12, 4, 5, 5))}, "grouped/kernel"),
        ({"MainLayers.1.Layers.0.Resampler.Kernel": np.full((4, 4), 1 / 16)}, "filter"),
        ({"Noise.weight": np.zeros(3)}, "Noise.weight"),
    ],
)
def test_weights_that_do_not_fit(change, said):
    arrays = {name: a for name, a in (rule()[0] | change).items() if a is not None}
    with pytest.raises(UserError, match=said) as e:
        convert_r3gan.generator(arrays)
    assert "\n" not in str(e.value)


def nested(flat):
    """{name: array} as `tensors.read` gives the modules of a network."""
    out = {"parameters": {}, "modules": {}}
    for name, array in flat.items():
        at = out
        *path, leaf = name.split(".")
        for part in path:
            at = at["modules"].setdefault(part, {"parameters": {}, "modules": {}})
        at["parameters"][leaf] = array

    def whole(node):
        modules = {name: whole(child) for name, child in node["modules"].items()}
        plain = {"class_name": "Layer", "module": None, "init_args": (), "init_kwargs": {}, "attributes": {}, "buffers": {}}
        return plain | {"parameters": node["parameters"], "modules": modules, "source": "raise SystemExit"}

    return whole(out)


def test_stylegan2_is_told_by_its_parts(monkeypatch):
    """The arrays themselves are test_convert_stylegan2's; here, that the file's network and arguments reach it."""
    given = {"c_dim": 0, "img_resolution": 8, "img_channels": 3, "channel_base": 32, "channel_max": 4}
    parts = {}
    for kind, more in (("Generator", {"z_dim": 4, "w_dim": 4}), ("Discriminator", {"mapping_kwargs": {}})):
        sizes = {"shape": (8, 8, 3), "channel_base": 32, "channel_max": 4, "clamp": 256.0}
        module = getattr(stylegan2, kind)(**sizes, **({"z_dim": 4, "w_dim": 4} if kind == "Generator" else {}))
        flat = {}
        for path, like in jax.tree_util.tree_leaves_with_path(weights.shapes(module)):
            path = tuple(entry.key for entry in path)
            flat[convert_stylegan2.official_name(path, kind == "Generator")] = theirs(path, like.shape)
        parts[kind] = nested(flat) | {"class_name": kind, "init_kwargs": given | more}
    monkeypatch.setattr(tensors, "read", lambda path: {"G_ema": parts["Generator"], "D": parts["Discriminator"], "note": 3})
    for part, kind in (("G_ema", stylegan2.Generator), ("D", stylegan2.Discriminator)):
        module, variables = convert.load_official("x.pkl", part)
        assert type(module) is kind and module.shape == (8, 8, 3) and module.channel_max == 4
        weights.check(module, variables, "x.pkl")
    del parts["Generator"]["modules"]["synthesis"]["modules"]["b8"]["modules"]["conv1"]
    with pytest.raises(UserError, match=r"^x\.pkl: synthesis\.b8\.conv1"):
        convert.load_official("x.pkl")


@pytest.mark.parametrize("field", ("z_dim", "img_resolution", "mapping_kwargs", "extra"))
def test_arguments_that_are_none_are_refused_and_nothing_is_made_of_them(monkeypatch, field):
    """A list of a list of ..., each twice: as text it would fill any memory, and a few bytes of a pickle say it."""
    nest = []
    for _ in range(60):
        nest = [nest, nest]
    given = {"c_dim": 0, "img_resolution": 8, "img_channels": 3, "z_dim": 4, "w_dim": 4}
    network = nested({"synthesis.b4.const": np.zeros(1)}) | {"class_name": "Generator", "init_kwargs": given | {field: nest}}
    monkeypatch.setattr(tensors, "read", lambda path: {"G_ema": network})
    with pytest.raises(UserError, match="^x.pkl: the arguments that its network was made with are none"):
        convert.load_official("x.pkl")
    network["init_kwargs"] = given | {"z_dim": 2**40}  # 4 TB of noise
    with pytest.raises(UserError, match="^x.pkl: .*the file has no such array"):
        convert.load_official("x.pkl")


def test_stylegan3_is_told_by_its_parts(monkeypatch):
    with np.load(HERE / "stylegan3.npz") as gold:
        flat = stylegan3_rule.state("r", json.loads(str(gold["r.names"])))
    network = nested(flat) | {"class_name": "Generator", "init_kwargs": stylegan3_rule.CASES["r"]}
    monkeypatch.setattr(tensors, "read", lambda path: {"G_ema": network})
    module, variables = convert.load_official("x.pkl")
    assert type(module) is stylegan3.Generator and module.radial and (module.shape, module.classes) == ((16, 16, 1), 3)
    weights.check(module, variables, "x.pkl")
    again = description.build(description.describe(module))
    assert again == module


def theirs(path, shape):
    """Zeros in the layout of the official array at this path of ours."""
    if path[-2:] == ("fc", "kernel"):
        return np.zeros((shape[-1], int(np.prod(shape[:-1]))))
    if path[0] == "noise":
        return np.zeros([n for n in shape if n > 1])
    order = {4: (3, 2, 0, 1), 3: (2, 0, 1), 2: (1, 0)}.get(len(shape), range(len(shape)))
    return np.zeros([shape[i] for i in order])


@pytest.mark.parametrize(
    "read, said",
    [
        ({"a": 1}, "holds no network"),
        ([1], "holds no network"),
        ({"G_ema": nested({"synthesis.L0.weight": np.zeros(1)}) | {"class_name": "Generator"}}, "called Generator .* synthesis"),
        ({"D": nested({"a": np.zeros(1)})}, "no part 'G_ema'; it holds the networks D"),
        (nested({"a.b": np.zeros(1)}), "called Layer"),
        (nested(rule()[0] | {"AggregationLayer.Layer.weight": np.zeros(3)}) | {"class_name": "Generator"}, "do not fit together"),
    ],
)
def test_other_contents_are_refused(monkeypatch, read, said):
    monkeypatch.setattr(tensors, "read", lambda path: read)
    with pytest.raises(UserError, match=said) as e:
        convert.load_official("x.pkl")
    assert "\n" not in str(e.value) and "x.pkl" in str(e.value)


def test_other_files_are_refused(tmp_path):
    for path in (
        tmp_path / "nothing.pkl",
        tmp_path,
        HERE / "torch_zip.pt",
        HERE / "torch_network.pkl",
        HERE / "torch.safetensors",
    ):
        with pytest.raises(UserError) as e:
            convert.load(path)
        assert str(path) in str(e.value) and "\n" not in str(e.value)


@pytest.mark.parametrize(
    "module",
    [
        r3gan.Generator((8, 8, 1), 2, channels=(4, 4), blocks=(1, 1), dtype=jnp.bfloat16),
        r3gan.Discriminator((8, 8, 1), channels=(4, 4), blocks=(1, 0)),
        dcgan.Generator((8, 8, 1), width=4),
    ],
    ids=lambda m: f"{type(m).__module__}.{type(m).__name__}",
)
def test_safetensors_there_and_back_is_bitwise(tmp_path, module):
    variables, path = filled(module), tmp_path / "model.safetensors"
    convert.save_safetensors(path, module, variables)
    again, got = convert.load(path)
    assert again == module
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b, strict=True), got, jax.tree.map(np.asarray, variables))


def test_safetensors_that_do_not_fit(tmp_path):
    module, path = r3gan.Generator((8, 8, 1), channels=(4, 4), blocks=(1, 1)), tmp_path / "model.safetensors"
    variables = filled(module)
    with pytest.raises(UserError, match="params/basis"):
        convert.save_safetensors(path, module, {"params": variables["params"] | {"basis": jnp.zeros((4, 4, 5))}})
    assert not path.exists()
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        convert.save_safetensors(tmp_path / "file" / "model.safetensors", module, variables)
    arrays = {"params.basis": np.zeros((4, 4, 5), np.float32)}
    for text, said in [
        (None, "only weights"),
        ("{", "only weights"),
        ("[" * 100_000, "only weights"),
        (json.dumps({"family": "os", "class": "system", "fields": {}}), "no model os.system"),
        (
            json.dumps({"family": "r3gan", "class": "Generator", "fields": {"shape": [8, 8, 1], "rooms": 3}}),
            "cannot be made .*rooms",
        ),
        (json.dumps({"family": "r3gan", "class": "Generator", "fields": {"shape": [8, 8, 1], "z_dim": 2**40}}), "params/basis"),
        (json.dumps({"family": "r3gan", "class": "Generator", "fields": {"shape": [8, 8]}}), "only weights"),
        (json.dumps(description.describe(module)), r"params/basis has the shape \(4, 4, 5\)"),
    ]:
        tensors.write_safetensors(path, arrays, {convert.KEY: text} if text else None)
        with pytest.raises(UserError, match=said) as e:
            convert.load(path)
        assert str(e.value).count(str(path)) == 1 and "\n" not in str(e.value)


def test_the_front_door_samples_an_official_file():
    import jaxgan

    trained = jaxgan.load(Path(__file__).parent / "golden" / "r3gan.pkl")
    images = trained.sample(3, seed=1)
    assert images.dtype == np.uint8 and images.shape == (3, *trained.generator.shape)
