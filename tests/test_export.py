"""Exported generators: the same images as ours, where neither jaxgan nor Flax can be imported, for batches of any size."""

import importlib.util
import subprocess
import sys
import textwrap
import warnings

import jax
import numpy as np
import pytest
from jax import export as jax_export

import experiments.export
from jaxgan import backend, convert, export, latents, ops, restore, translate
from jaxgan.errors import UserError
from jaxgan.models import pix2pix, residual, stylegan2
from tests.shared import initial

ELSEWHERE = """
import sys
sys.modules["jaxgan"] = sys.modules["flax"] = None
import jax, numpy as np
z, c = np.load("z.npy"), np.load("c.npy")
call = jax.export.deserialize(bytearray(open("g.stablehlo", "rb").read())).call
np.save("made.npy", np.concatenate([call(z, c), jax.jit(call)(z[:1], c[:1])]))
"""


def test_the_command_writes_a_file_that_runs_without_jaxgan(tmp_path, monkeypatch, capsys):
    g = residual.Generator((8, 8, 1), 3, z_dim=6, width=4)
    v = initial(g)
    codes = latents.draw(g, v, 2, label=[2, 0])
    np.save(tmp_path / "z.npy", codes.code)
    np.save(tmp_path / "c.npy", np.eye(3, dtype=np.float32)[codes.c])
    monkeypatch.chdir(tmp_path)
    convert.save_safetensors("run.safetensors", g, v)
    monkeypatch.setattr("sys.argv", ["export", "run.safetensors", "--out", "g.stablehlo"])
    experiments.export.main()
    said = capsys.readouterr().out
    assert "[n, 8, 8, 1]" in said
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # it leaves the closing of the file to Python
        exec(textwrap.dedent(said.partition("To use it:")[2]), program := {})
    assert program["images"].shape == (64, 8, 8, 1) and program["labels"][:4].tolist() == [0, 1, 2, 0]
    subprocess.run([sys.executable, "-c", ELSEWHERE], check=True, timeout=120)
    made, ours = np.load("made.npy"), latents.images(g, v, codes).astype(int)
    assert made.dtype == np.uint8 and ours.std() > 1
    np.testing.assert_allclose(made, ours[[0, 1, 0]], atol=1)  # by other formulations: up to a grey level
    found = jax_export.deserialize(bytearray((tmp_path / "g.stablehlo").read_bytes()))
    assert found.platforms == export.PLATFORMS and "stablehlo.convolution" in found.mlir_module()
    for args, says in (
        (["--out", "run.safetensors"], "is the input file"),
        (["--out", "config.json"], "write a .stablehlo, an .onnx or a .safetensors"),
        (["--out", "g.SAFETENSORS", "--platforms", "cpu"], "only weights"),
    ):
        monkeypatch.setattr("sys.argv", ["export", "run.safetensors", *args])
        with pytest.raises(UserError, match=says):
            experiments.export.main()
    (tmp_path / "file").touch()
    monkeypatch.setattr("sys.argv", ["export", "run.safetensors", "--out", "file/g.safetensors"])
    with pytest.raises(UserError, match="--out file/g.safetensors: it cannot be written"):
        experiments.export.main()
    monkeypatch.setattr("sys.argv", ["export", "run.safetensors", "--out", "new/g.safetensors"])
    experiments.export.main()
    assert convert.load("new/g.safetensors")[0] == g


def test_truncation_and_noise_of_styles():
    g = stylegan2.Generator((8, 8, 3), z_dim=6, w_dim=5, channel_base=48, channel_max=4)
    v = initial(g)
    v["w_avg"] = jax.tree.map(lambda a: a + 0.3, v["w_avg"])
    call = jax_export.deserialize(bytearray(export.export_generator(g, v, platforms=("cpu",)))).call
    index, threshold = np.arange(3), np.float32(np.inf)
    z, _, _ = latents.drawn(g, jax.random.key(4), index, threshold)
    for psi in (1.0, 0.4):
        ours = latents.images(g, v, latents.draw(g, v, 3, seed=4, psi=psi), noise="const").astype(int)
        np.testing.assert_allclose(call(z, np.float32(psi)), ours, atol=1)


def test_a_generator_of_source_images(tmp_path, monkeypatch, capsys):
    g = pix2pix.Generator((8, 8, 1), width=4)
    v, x = initial(g), np.random.default_rng(0).integers(0, 256, (3, 8, 8, g.source_channels), np.uint8)
    call = jax_export.deserialize(bytearray(export.export_generator(g, v, platforms=("cpu",)))).call
    ours = translate.translate(g, v, x, seed=None).astype(int)
    assert ours.std() > 1
    np.testing.assert_allclose(call(x), ours, atol=1)
    monkeypatch.chdir(tmp_path)
    convert.save_safetensors("run.safetensors", g, v)
    monkeypatch.setattr("sys.argv", ["export", "run.safetensors", "--out", "g.safetensors"])
    experiments.export.main()
    assert "jaxgan.load('g.safetensors').translate(sources)" in capsys.readouterr().out


def test_a_run_on_label_vectors_is_told_to_give_some(tmp_path, monkeypatch, capsys):
    """A file draws classes by itself, one 1 among zeros, which the run may never have seen."""
    g = residual.Generator((8, 8, 1), 3, z_dim=6, width=4)
    trained = restore.Trained(g, initial(g), {}, 0, vectors=np.ones((5, 3), np.float32))
    monkeypatch.setattr(restore, "load", lambda *_, **__: trained)
    monkeypatch.chdir(tmp_path)
    vectors = "vectors = ...  # your own, float32 [64, 3]"
    for out, says in (("g.safetensors", "sample(64, label=vectors)"), ("g.stablehlo", vectors)):
        monkeypatch.setattr("sys.argv", ["export", "run", "--out", out])
        experiments.export.main()
        assert says in capsys.readouterr().out


def test_what_cannot_be_exported_is_one_line(monkeypatch):
    g = residual.Generator((8, 8, 1), z_dim=6, width=4)
    for platforms in (("cpu", "abacus"), ()):
        with pytest.raises(UserError, match="give some of cpu, cuda, rocm, tpu"):
            export.export_generator(g, {}, platforms=platforms)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="needs flatbuffers"):
        export.export_generator(g, {})


def test_any_backend_is_none_of_ours_and_ends():
    shapes = jax.ShapeDtypeStruct((64, 8, 8, 64), np.float32), jax.ShapeDtypeStruct((3, 3, 64, 64), np.float32)
    convolutions = lambda: jax.jit(lambda x, k: ops.conv(x, k)).lower(*shapes).as_text().count("stablehlo.convolution")
    assert backend.name() == "cpu" and convolutions() == 0  # by Fourier transforms
    with backend.any_backend():
        assert backend.name() == "any" and convolutions() == 1
    assert backend.name() == "cpu" and convolutions() == 0
