"""LPIPS against its own code, on a narrow VGG16 (golden/lpips_rule.py)."""

import re
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.errors import UserError
from jaxgan.metrics import lpips
from tests.golden import lpips_rule

GOLD = np.load(Path(__file__).parent / "golden" / "lpips.npz")


@cache
def narrow():
    return lpips.weights(*lpips_rule.state())


@pytest.mark.parametrize("size", lpips_rule.SIZES, ids=str)
def test_distances_are_those_of_the_authors(size):
    got = jax.jit(lpips.distance)(narrow(), *lpips_rule.images(size))
    np.testing.assert_allclose(got, GOLD[str(size[0])], rtol=1e-5)


def test_products_are_exact_where_accelerators_round_them():
    program = str(jax.make_jaxpr(lambda x, y: lpips.distance(narrow(), x, y))(*lpips_rule.images((16, 16, 3))))
    exact = re.findall(r"conv_general_dilated\[.*?precision=\((\w+\.HIGHEST), \1\)", program, re.DOTALL)
    assert len(exact) == program.count("conv_general_dilated[") > 0


def test_equal_images_have_no_distance_and_a_gradient():
    """Also where no feature is above 0, as on black or with other weights."""
    x, _ = lpips_rule.images((16, 16, 3))
    (convolutions, learned), *_ = narrow()
    params = [([p | {"bias": p["bias"] - 1000} for p in convolutions], learned)]  # a block that ends in zeros
    value, grad = jax.jit(jax.value_and_grad(lambda x, y: lpips.distance(params, x, y).sum()))(x, x)
    assert value == 0 and np.isfinite(grad).all()


def test_sets_are_measured_in_pieces_and_one_image_by_itself():
    x = np.random.default_rng(0).integers(0, 256, (35, 16, 16, 1), np.uint8)
    y = x.copy()
    y[-2] = x[0]
    found = lpips.of_sets(narrow(), x, y)
    assert found.shape == (35,) and np.flatnonzero(found).tolist() == [33]
    pair = (np.float32(a[33:34]) / 127.5 - 1 for a in (x, y))
    np.testing.assert_allclose(found[33:34], jax.jit(lpips.distance)(narrow(), *pair), rtol=1e-4)


@pytest.mark.parametrize("shape", [(15, 32, 3), (32, 32, 4)])
def test_images_that_it_does_not_take(shape):
    x = jnp.zeros((1, *shape))
    with pytest.raises(UserError, match=f"images of {shape[0]}x32 with {shape[2]} channels"):
        lpips.distance(narrow(), x, x)


def test_weights_that_are_missing_or_others(tmp_path):
    with pytest.raises(UserError, match=r"there is no .*vgg16-397923af.pth; give the folder .* and vgg.pth"):
        lpips.load(tmp_path)
    for name in ("vgg16-397923af.pth", "vgg.pth"):
        (tmp_path / name).write_bytes(b"other")
    with pytest.raises(UserError, match="not the expected file"):
        lpips.load(tmp_path)
    for change in ({"features.28.bias": np.zeros(5)}, {"features.5.weight": np.zeros((8, 9, 3, 3))}):
        vgg, linear = lpips_rule.state()
        with pytest.raises(UserError, match="not the weights of VGG16") as e:
            lpips.weights(vgg | change, linear)
        assert "\n" not in str(e.value)
    with pytest.raises(UserError, match="not the weights of VGG16"):
        lpips.weights(vgg, linear | {"lin0.model.1.weight": -linear["lin0.model.1.weight"]})
    for other in (linear, []):
        with pytest.raises(UserError, match="not the weights of VGG16"):
            lpips.weights(other, linear)
