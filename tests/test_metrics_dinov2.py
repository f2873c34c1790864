"""DINOv2's vision transformer against the official code, at a tiny width (golden/inception_rule.py lists the arrays)."""

from pathlib import Path

import jax
import numpy as np
import pytest

from jaxgan import tensors
from jaxgan.errors import UserError
from jaxgan.metrics import dinov2, features
from tests.golden import dinov2_rule
from tests.golden.inception_rule import images

GOLDEN = np.load(Path(__file__).parent / "golden/metrics_features.npz")


@pytest.mark.parametrize("registers", [0, 4])
def test_the_class_token(registers):
    params = dinov2.weights(dinov2_rule.state(registers))
    x = np.random.RandomState(7).standard_normal((2, 224, 224, 3)).astype(np.float32)
    want = GOLDEN[f"dinov2.same.{registers}"]
    assert np.abs(jax.jit(dinov2.network)(params, x) - want).max() < 5e-6 * np.abs(want).max()


def test_the_extractor_with_its_resize(tmp_path):
    path = tmp_path / "weights.safetensors"
    tensors.write_safetensors(path, dinov2_rule.state())
    e = features.dinov2(path)
    assert (e.name, e.size, e.classes, e.channels) == ("dinov2-128", 128, 0, 3)
    for size in (32, 320):
        out, want = e.apply(images(size, size)), GOLDEN[f"dinov2.images{size}.0"]
        assert out.logits is None and np.abs(out.features - want).max() < 2e-4 * np.abs(want).max()


def test_blocks_in_chunks_are_the_same_network():
    state = dinov2_rule.state()
    chunked = {f"blocks.0.{name[7:]}" if name.startswith("blocks.") else name: a for name, a in state.items()}
    for a, b in zip(*(jax.tree.leaves(dinov2.weights(s)) for s in (state, chunked)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_table_of_the_right_size_is_kept():
    table = np.random.RandomState(0).standard_normal((256, 3))
    assert dinov2.resized(table, 16) is table
    constant = dinov2.resized(np.ones((37 * 37, 1)), 16)
    np.testing.assert_allclose(constant, np.ones((256, 1)), rtol=1e-12)


@pytest.mark.parametrize("change", ["missing", "shape", "nothing"])
def test_other_weights_are_an_error_in_one_line(change, tmp_path):
    state = dinov2_rule.state()
    if change == "missing":
        del state["blocks.1.mlp.fc1.weight"]
    elif change == "shape":
        state["pos_embed"] = state["pos_embed"][:, 1:]
    else:
        state = {"x": np.zeros(3, np.float32)}
    tensors.write_safetensors(tmp_path / "w", state)
    with pytest.raises(UserError, match="dinov2: not the weights of a DINOv2") as e:
        features.dinov2(tmp_path / "w")
    assert "\n" not in str(e.value)
