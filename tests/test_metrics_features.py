"""What all extractors have in common; random convolutions and pixels against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.errors import UserError
from jaxgan.metrics import features


def images(n=3, h=20, w=12, c=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, h, w, c)).astype(np.uint8)


def reference(params, x):
    """The random network in float64 NumPy, from its definition: SAME padding, more of it behind where it is odd."""
    x, out = x.astype(np.float64) / 127.5 - 1, []
    for i, (kernel, bias) in enumerate(params):
        stride = 2 if i else 1
        h, w = x.shape[1:3]
        pads = []
        for n in (h, w):
            total = max((-(-n // stride) - 1) * stride + 3 - n, 0)
            pads.append((total // 2, total - total // 2))
        padded = np.pad(x, ((0, 0), *pads, (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))[:, ::stride, ::stride]
        y = np.einsum("bijcuv,uvcd->bijd", windows, np.asarray(kernel, np.float64)) + np.asarray(bias, np.float64)
        x = np.where(y > 0, y, 0.2 * y)
        out += [x.mean((1, 2)), x.max((1, 2))]
    return np.concatenate(out, 1)


def test_random_convolutions():
    e = features.random_conv()
    out = e.apply(images())
    want = reference(jax.device_get(e.params), images())
    assert out.logits is None and out.features.shape == (3, e.size) == want.shape and out.features.dtype == jnp.float32
    np.testing.assert_allclose(out.features, want, rtol=2e-5, atol=2e-6)
    assert features.random_conv().hash == e.hash != features.random_conv(seed=1).hash
    first = np.float32([1.7640524, 0.4001572]) * np.sqrt(2 / 27)  # NumPy's RandomState(0) begins so, for ever
    np.testing.assert_allclose(np.asarray(e.params[0][0]).ravel()[:2], first, rtol=1e-6)


def test_pixels():
    e = features.pixels((20, 12, 3), side=8)
    x = images()
    want = (x[:, :18].reshape(3, 6, 3, 4, 3, 3).mean((2, 4)) / 255).reshape(3, -1)
    assert e.size == 72 and e.name == "pixels-6x4x3" and e.channels == 3
    np.testing.assert_allclose(e.apply(x).features, want, rtol=1e-5)
    small = features.pixels((20, 12, 1), side=32)
    np.testing.assert_allclose(small.apply(x[..., :1]).features, x[..., 0].reshape(3, -1) / 255, rtol=1e-6)
    assert len({e.hash, small.hash, features.pixels((20, 12, 3), side=4).hash}) == 3
    with pytest.raises(ValueError, match="the extractor takes"):
        e.apply(images(h=21))
    with pytest.raises(UserError, match="pixels: images of 100x2 have a side below"):
        features.pixels((100, 2, 1), side=8)


def test_any_batch_size_gives_the_same_numbers():
    e = features.random_conv()
    x = images(7)
    whole = e.apply(x).features
    parts = np.concatenate([e.apply(x[i : i + 3]).features for i in range(0, 7, 3)])
    np.testing.assert_allclose(parts, whole, rtol=1e-5, atol=1e-6)


def test_the_forward_is_pure_and_takes_its_weights_as_an_argument():
    e = features.random_conv()
    assert not jax.make_jaxpr(e.forward)(e.params, images()).consts
    out = jax.pmap(e.forward, in_axes=(None, 0))(e.params, images(8).reshape(4, 2, 20, 12, 3))
    np.testing.assert_allclose(out.features.reshape(8, -1), e.apply(images(8)).features, rtol=1e-5, atol=1e-6)


def test_grey_images_are_repeated_and_it_is_said():
    e = features.random_conv()
    grey = images(c=1)
    np.testing.assert_array_equal(e.apply(grey).features, e.apply(np.repeat(grey, 3, 3)).features)
    assert features.notes(e, (20, 12, 1)) == ("random-conv-seed0: grey images, the one channel repeated to three",)
    assert features.notes(e, (20, 12, 3)) == ()
    assert features.notes(e._replace(about="right"), (20, 12, 3)) == ("right",)


def test_images_that_an_extractor_cannot_take():
    e = features.random_conv()
    with pytest.raises(UserError, match="takes colour images, and these have 4 channels; measure the pixels .swd10k., or open"):
        features.notes(e, (20, 12, 4))
    with pytest.raises(UserError, match="takes grey images"):
        features.notes(features.pixels((20, 12, 1)), (20, 12, 3))
    for bad in (images(c=4), images()[0], images().astype(np.float32)):
        with pytest.raises(ValueError, match="features: (the )?images"):
            e.apply(bad)


def test_a_fingerprint_sees_every_part():
    tree = {"a": np.zeros((2, 3), np.float32), "b": [np.ones(2, np.float32)]}
    others = [
        ("x", tree),
        ("d", {"a": tree["a"].T, "b": tree["b"]}),
        ("d", {"a": tree["a"].astype(np.int32), "b": tree["b"]}),
        ("d", {"a": tree["a"], "c": tree["b"]}),
        ("d", {"a": tree["a"], "b": [np.ones(2, np.float32) * 2]}),
    ]
    found = {features.fingerprint(*case) for case in [("d", tree), *others]}
    assert len(found) == 6 and features.fingerprint("d", jax.device_put(tree)) == features.fingerprint("d", tree)
