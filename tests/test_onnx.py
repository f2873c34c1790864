"""Generators as ONNX files: ONNX Runtime draws the images that JAX draws, of every family, for batches of any size."""

import sys
import textwrap
from functools import reduce

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax.traverse_util import flatten_dict
from jax import lax

import experiments.export
from jaxgan import backend, convert, export, latents, onnx_graph, translate
from jaxgan.errors import UserError
from jaxgan.models import (
    biggan,
    biggan_deep,
    cyclegan,
    dcgan,
    gat,
    infogan,
    mlp,
    pix2pix,
    progan,
    r3gan,
    residual,
    resnet,
    sngan,
    stylegan,
    stylegan2,
    stylegan3,
)
from tests.shared import filled

onnxruntime = pytest.importorskip("onnxruntime")

STYLES = {"z_dim": 4, "w_dim": 3, "channel_base": 32, "channel_max": 4, "mapping_layers": 2}
FAMILIES = {
    "gan": lambda: mlp.Generator((4, 6, 1), 3, z_dim=6, widths=(8, 7)),
    "dcgan": lambda: dcgan.Generator((8, 8, 3), z_dim=5, width=4),
    "tutorial": lambda: dcgan.TutorialGenerator(z_dim=3),
    "infogan": lambda: infogan.Generator((8, 8, 1), z_dim=9, categories=3, width=2),
    "residual": lambda: residual.Generator((8, 8, 1), 3, z_dim=6, width=4),
    "residual in patches": lambda: residual.Generator((8, 8, 3), z_dim=6, width=4, patch=2),
    "sngan": lambda: sngan.Generator((8, 8, 3), 3, z_dim=6, width=4),
    "sagan": lambda: resnet.Generator((8, 8, 3), 3, z_dim=6, width=8, spectral=True, attention=(8,)),
    "biggan": lambda: biggan.Generator((8, 8, 3), 3, z_dim=6, shared_dim=4, width=8, attention=(8,)),
    "biggan deep": lambda: biggan_deep.Generator((8, 8, 3), 3, z_dim=6, shared_dim=4, width=8, attention=(8,)),
    "progan": lambda: progan.Generator((8, 8, 3), 3, z_dim=5, channel_base=32, channel_max=4),
    "progan growing": lambda: progan.Generator((16, 16, 1), z_dim=5, channel_base=32, channel_max=4, stage=1),
    "stylegan": lambda: stylegan.Generator((8, 8, 3), 3, **STYLES),
    "stylegan2": lambda: stylegan2.Generator((8, 8, 3), 3, **STYLES),
    "stylegan2 in bfloat16": lambda: stylegan2.Generator((8, 8, 1), **STYLES, architecture="resnet", dtype=jnp.bfloat16),
    "stylegan3": lambda: stylegan3.Generator((8, 8, 1), 3, **STYLES, depth=2, critical=1, margin=2),
    "stylegan3 radial": lambda: stylegan3.Generator((8, 8, 1), **STYLES, depth=2, critical=1, margin=2, kernel=1, radial=True),
    "r3gan": lambda: r3gan.Generator((8, 8, 1), 3, channels=(32, 16), blocks=(1, 1)),
    "gat": lambda: gat.Generator((8, 8, 3), 3, z_dim=4, width=16, depth=2, heads=2, levels=2),
    "pix2pix": lambda: pix2pix.Generator((7, 8, 1), source_channels=2, width=2),
    "pix2pix with batch norm": lambda: pix2pix.Generator((8, 8, 3), width=2, norm="batch"),
    "cyclegan": lambda: cyclegan.Generator((8, 8, 2), width=2, blocks=1).one_way()[0],
}


def varied(generator):
    """Variables without a zero, so that none can be left out or moved unseen."""
    v = filled(generator, scale=1.0 if latents.has_styles(generator) else 0.3)

    def change(path, a):
        if path[0].key != "params":
            return abs(a) + 0.5
        return 100 * a if any("mapping" in entry.key for entry in path) else a  # stored large, for a small learning rate

    return iterated(jax.tree_util.tree_map_with_path(change, v))


def iterated(v):
    """Variables after a power iteration: of vectors that have not to do with the kernels a singular value may be negative."""
    for path, vectors in flatten_dict(v.get("spectral", {}), is_leaf=lambda _, tree: "u" in tree).items():
        kernel = max(jax.tree.leaves(reduce(lambda tree, name: tree[name], path[:-2], v["params"])), key=np.size)
        vectors["v"] /= np.linalg.norm(vectors["v"])
        vectors["u"] = vectors["v"] @ kernel.reshape(-1, vectors["u"].size)
        vectors["u"] /= np.linalg.norm(vectors["u"])
    return v


def given(generator, n, seed=0):
    """Inputs of n images by name, as a user of ONNX Runtime makes them."""
    rng = np.random.default_rng(seed)
    if not generator.z_dim:
        return {"source": rng.integers(0, 256, (n, *generator.shape[:2], generator.source_channels), np.uint8)}
    inputs = {"z": rng.standard_normal((n, generator.z_dim), np.float32)}
    if generator.classes:
        inputs["c"] = np.eye(generator.classes, dtype=np.float32)[rng.integers(0, generator.classes, n)]
    return inputs | ({"psi": np.array(0.6, np.float32)} if latents.has_styles(generator) else {})


def run(data, inputs):
    return onnxruntime.InferenceSession(data).run(None, inputs)[0]


@pytest.mark.parametrize("family", FAMILIES)
def test_images_are_those_of_jax(family, monkeypatch):
    """As floats: bytes would hide a small error, and everything where they saturate."""
    g = FAMILIES[family]()
    v = varied(g)
    monkeypatch.setattr(latents, "as_bytes", lambda x: x)
    data = export.export_onnx(g, v)
    g = g.clone(dtype=jnp.float32)
    if g.z_dim:
        noise = "const" if latents.has_noise(g) else None
        ours = lambda z, c=None, psi=None: latents.render(
            g, v, z if psi is None else g.apply(v, z, c, psi=psi, method="mapping"), c, None, noise
        )
    else:
        ours = lambda source: g.apply(v, source / np.float32(127.5) - 1, train=False)
    inputs = given(g, 3)
    with backend.any_backend():
        want = np.asarray(jax.jit(lambda inputs: ours(**inputs))(inputs))
    found = run(data, inputs)
    assert found.shape == want.shape == (3, *g.shape) and found.dtype == np.float32
    assert want.std(0).max() > 1e-2 * abs(want).max()  # the images differ
    np.testing.assert_allclose(found, want, atol=1e-4 * abs(want).max())
    one = {name: a[1:2] if a.ndim else a for name, a in inputs.items()}
    np.testing.assert_allclose(run(data, one), want[1:2], atol=1e-4 * abs(want).max())


RULES = {
    "transposed convolution in groups": (
        lambda a, k: conv(a, k, lhs_dilation=(2, 3), padding=((2, 1), (0, 2)), groups=2),
        (5, 4, 4),
    ),
    "the same by pixels that are spread": (
        lambda a, k: conv(a, k, lhs_dilation=(2, 3), padding=((3, 4), (-1, 2)), groups=2),
        (5, 4, 4),
    ),
    "convolution with strides and holes": (
        lambda a, k: conv(a, k, strides=(2, 1), rhs_dilation=(1, 2), padding=((0, 1), (2, -1)), groups=2),
        (7, 8, 4),
    ),
    "padding between, and cut": (
        lambda a, _: lax.pad(a, jnp.float32(3), ((0, 0, 0), (1, -2, 2), (-1, 3, 1), (0, 0, 0))),
        (5, 4, 2),
    ),
    "slices and reversals": (lambda a, _: lax.rev(lax.slice_in_dim(a, 1, 5, 2, 1)[:, :, 1:], (2, 3)), (6, 4, 3)),
    "rows by number": (lambda a, _: a[:, :, jnp.array([3, 0, 0, 2])] + a[:, jnp.array([1])], (3, 4, 2)),
    "numbers that are computed": (lambda a, k: jnp.asarray(k)[0, 0][jnp.argmax(a, 1)], (2,)),
    "products of batches": (lambda a, _: jnp.einsum("bhwc,bhvc->bhwv", a, 2 * a), (2, 3, 4)),
    "products along an axis": (
        lambda a, k: jnp.concatenate(
            [
                jnp.einsum(how, *((k[0, :, :, 0], a) if how.startswith("hw,") else (a, k[0, :, :, 0]))).reshape(a.shape[0], -1)
                for how in ("hw,bcwd->bchd", "bcwd,hw->bdch", "hw,bhcd->bwcd", "bhcd,hw->bcdw", "hw,bcdw->bhcd", "bcdw,hw->bcdh")
            ],
            1,
        ),
        (3, 2, 2),
    ),
    "products of several axes": (
        lambda a, k: jnp.einsum("bhwc,hcd->bwd", a, k[0]) + 2 * jnp.einsum("bhwc,hcd->bhdw", a, k[1])[:, 0].swapaxes(1, 2),
        (3, 4, 2),
    ),
    "leaky ReLUs, and what only looks like one": (
        lambda a, k: (
            jnp.where(a >= 0, a, 0.2 * a)
            + 10 * jnp.where(a < 0, a * 0.3, a)
            + jnp.where(a > 0, 0.7 * a, a)
            + jnp.where(a >= 1, a, 0.1 * a)
            - jnp.where(a <= 0, 5 * (a + 1), a)
            + jnp.where(a < 0, a * jnp.arange(1.0, 5)[None, None], a)
            + 7 * jnp.where(a > 0, -a, a * 0.1)
        ),
        (3, 4),
    ),
    "largest and smallest": (
        lambda a, _: (
            jnp.maximum(a, 0)
            + 10 * jnp.maximum(0.3, -a)
            + jnp.minimum(a, 0)
            - 5 * jnp.minimum(jnp.maximum(a, -0.5), a**2)
            + 2 * jnp.minimum(0.2, jnp.maximum(-0.1, a))
            - jnp.minimum(jnp.maximum(a, jnp.zeros((1, 1, 3))), 0.4)
            + lax.clamp(-0.3, a, a**2 + 0.1)
        ),
        (3, 3),
    ),
    "two batches one after the other": (
        lambda a, _: jnp.concatenate([a, jnp.zeros_like(a)]).reshape(-1, 6) + jnp.ones((2 * a.shape[0], 1)),
        (2, 3),
    ),
    "sums, products, powers": (lambda a, _: (a**3).sum(1) + a.prod(2) * a.max((1, 2))[:, None] - a.min(1) ** -2, (3, 3)),
    "choices": (lambda a, _: jnp.where((a > 0) & ~(a >= 1) | (a != a), jnp.clip(a, 0.2, 0.7), jnp.log1p(jnp.abs(a))), (4, 4)),
    "roundings": (lambda a, _: jnp.round(5 * a) + 10 * jnp.floor(a) + 100 * jnp.ceil(a) + 1000 * jnp.sign(a), (4, 4)),
    "functions": (
        lambda a, _: jnp.sin(jnp.exp(a)) + 2 * jnp.cos(a) - lax.erf(a) / lax.rsqrt(abs(a)) + jnp.sqrt(abs(a)) ** a,
        (4, 4),
    ),
    "parts and piles": (lambda a, _: jnp.stack([*jnp.split(a, 2, 1), jnp.ones((1, 3, 2)) * a[:, :3]], 1), (6, 2)),
}


def conv(x, kernel, *, strides=(1, 1), groups=1, **options):
    spec = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, kernel, strides, dimension_numbers=spec, feature_group_count=groups, **options)


@pytest.mark.parametrize("rule", RULES)
def test_operations_are_those_of_jax(rule):
    fn, shape = RULES[rule]
    rng = np.random.default_rng(0)
    kernel = rng.standard_normal((2, 3, 2, 6), np.float32)
    a = rng.standard_normal((3, *shape), np.float32)
    data = onnx_graph.build(lambda a: fn(a, kernel), {"a": (("batch", *shape), np.float32)}, "y")
    for x in (a, a[:1]):
        want = np.asarray(fn(jnp.asarray(x), kernel))
        found = run(data, {"a": x})
        assert found.shape == want.shape and found.dtype == want.dtype
        np.testing.assert_allclose(found, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "rule, ops", [("leaky", {"LeakyRelu": 2, "Where": 5}), ("largest", {"Relu": 1, "Clip": 1, "Max": 4, "Min": 4})]
)
def test_fast_operations_are_found(rule, ops):
    import onnx

    fn, shape = next(value for name, value in RULES.items() if name.startswith(rule))
    data = onnx_graph.build(lambda a: fn(a, None), {"a": (("batch", *shape), np.float32)}, "y")
    found = [node.op_type for node in onnx.load_from_string(data).graph.node]
    assert {op: found.count(op) for op in ops} == ops


def test_filters_are_products_not_slices():
    import onnx

    g = FAMILIES["stylegan3"]()
    found = [node.op_type for node in onnx.load_from_string(export.export_onnx(g, varied(g))).graph.node]
    assert found.count("Slice") < 10  # 149 otherwise


def test_the_command_writes_a_file_for_onnx_runtime(tmp_path, monkeypatch, capsys):
    """With what it says how to use it; bytes as ours up to a grey level."""
    g = stylegan2.Generator((8, 8, 3), 3, **STYLES)
    v = jax.tree.map(lambda a: a / 2, varied(g))  # not all of it black or white
    monkeypatch.chdir(tmp_path)
    convert.save_safetensors("run.safetensors", g, v)
    monkeypatch.setattr("sys.argv", ["export", "run.safetensors", "--out", "g.onnx"])
    experiments.export.main()
    said = capsys.readouterr().out
    exec(textwrap.dedent(said.partition("To use it:")[2]), program := {})
    assert program["images"].shape == (64, 8, 8, 3) and "# uint8 [n, 8, 8, 3]" in said
    session = program["session"]
    assert [(i.name, i.shape) for i in session.get_inputs()] == [("z", ["batch", 4]), ("c", ["batch", 3]), ("psi", [])]
    z, _, _ = latents.drawn(g, jax.random.key(4), np.arange(3), np.float32(np.inf))
    for psi in (1, 0.3):
        ours = latents.images(g, v, latents.draw(g, v, 3, seed=4, psi=psi, label=[2, 0, 2]), noise="const").astype(int)
        given = {"z": np.asarray(z), "c": np.eye(3, dtype=np.float32)[[2, 0, 2]], "psi": np.array(psi, np.float32)}
        (found,) = session.run(["images"], given)
        assert found.dtype == np.uint8 and 20 < ours.std() and np.mean((0 < ours) & (ours < 255)) > 0.5
        np.testing.assert_allclose(found, ours, atol=1)
    monkeypatch.setattr("sys.argv", ["export", "run.safetensors", "--out", "g.onnx", "--platforms", "cpu"])
    with pytest.raises(UserError, match="an .onnx runs wherever ONNX Runtime does; leave it out"):
        experiments.export.main()


def test_a_generator_of_source_images(tmp_path, monkeypatch, capsys):
    g = cyclegan.Generator((8, 8, 2), width=2, blocks=1)
    v = varied(g)
    monkeypatch.chdir(tmp_path)
    convert.save_safetensors("run.safetensors", g, v)
    monkeypatch.setattr("sys.argv", ["export", "run.safetensors", "--out", "g.onnx", "--reverse"])
    experiments.export.main()
    said = textwrap.dedent(capsys.readouterr().out.partition("To use it:")[2])
    x = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 1), np.uint8)
    exec(said.replace("...", "x"), program := {"x": x})
    ours = translate.translate(*translate.one_way(g, v, True), x, seed=None).astype(int)
    assert ours.std() > 1 and program["images"].dtype == np.uint8
    np.testing.assert_allclose(program["images"], ours, atol=1)


class Sorted(nn.Module):
    shape: tuple
    z_dim: int = 4
    classes: int = 0

    @nn.compact
    def __call__(self, z, c=None, *, keys=None, train=False):
        return jnp.sort(nn.Dense(4)(z), 1).reshape(-1, *self.shape)


def test_what_cannot_be_written_is_one_line(monkeypatch):
    g = Sorted((2, 2, 1))
    v = {"params": {"Dense_0": {"kernel": np.ones((4, 4), np.float32), "bias": np.ones(4, np.float32)}}}
    with pytest.raises(UserError, match="cannot be written as ONNX: no rule for sort; write a .stablehlo instead"):
        export.export_onnx(g, v)
    longer = lambda a: jnp.ones((a.shape[0] + 1, 2)) * a.sum()
    with pytest.raises(UserError, match="a dimension of batch . 1"):
        onnx_graph.build(longer, {"a": (("batch", 2), np.float32)}, "y")
    monkeypatch.setattr(onnx_graph, "LIMIT", 1000)
    mlp_ = mlp.Generator((4, 4, 1), z_dim=6, widths=(16, 16))
    with pytest.raises(UserError, match="the weights are .* GB; an .onnx file holds less than 2.1"):
        export.export_onnx(mlp_, filled(mlp_))
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UserError, match="needs onnx: pip install"):
        export.export_onnx(g, v)
