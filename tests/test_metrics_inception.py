"""The FID Inception-v3 and the resizes against the libraries that define them (golden/inception_rule.py says how)."""

import io
import os
import urllib.error
import urllib.request
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxgan import tensors
from jaxgan.errors import UserError
from jaxgan.metrics import cache, features, inception, resize
from tests.golden import inception_rule as rule
from tests.shared import off

GOLDEN = np.load(Path(__file__).parent / "golden/metrics_features.npz")


@pytest.fixture(scope="module")
def state():
    return rule.state()


RESIZES = {
    "tf1": (resize.tf1_bilinear, 1e-4),  # grey levels
    "half": (resize.half_pixel_bilinear, 1e-4),
    "pil": (resize.pil_bicubic, 2e-4),
    "pil8": (resize.pil_bicubic_uint8, 1),
}


@pytest.mark.parametrize("case", [k for k in GOLDEN.files if k.startswith("resize.")])
def test_resizes(case):
    _, sizes, kind = case.split(".")
    (h, w), to = map(int, sizes.split("_")[0].split("x")), sizes.split("_")[1]
    size, every = ((299, 299), 17) if to == "299" else ((40, 24), 3)
    fn, tolerance = RESIZES[kind]
    got = np.asarray(jax.jit(fn, static_argnums=1)(rule.images(h, w), size))[:1, ::every, ::every]
    difference = np.abs(got.astype(np.float64) - GOLDEN[case])
    assert got.shape == GOLDEN[case].shape and difference.max() <= tolerance
    assert kind != "pil8" or (difference > 0).mean() < 5e-3  # Pillow sums integers


def test_a_resize_to_the_same_size_changes_nothing():
    x = rule.images(40, 24)
    for fn, _ in RESIZES.values():
        np.testing.assert_array_equal(fn(x, (40, 24)), x)


def test_features_and_logits(state):
    params = inception.weights(state)
    forward, prepare = jax.jit(inception.network), jax.jit(inception.prepare, static_argnums=1)
    for h, w in ((32, 32), (320, 400)):
        at = f"inception.{h}x{w}"
        got, logits = forward(params, prepare(rule.images(h, w), "tf1"))
        assert got.shape == (2, 2048) and logits.shape == (2, 1008) and got.dtype == np.float32
        assert off(got[:, ::8], GOLDEN[f"{at}.tf1"]) < 5e-6
        assert off(logits[:, ::8], GOLDEN[f"{at}.logits"]) < 5e-6
        got, _ = forward(params, prepare(rule.images(h, w), "pytorch-fid"))
        assert off(got[:, ::8], GOLDEN[f"{at}.pytorch-fid"]) < 5e-6


def test_clean_fid_feeds_pillows_bicubic():
    x, free = inception.prepare(rule.images(64, 48), "clean-fid"), np.asarray(resize.pil_bicubic(rule.images(64, 48), (299, 299)))
    assert free.max() > 256 and free.min() < -1  # the cubic overshoots; clean-fid cuts that off
    np.testing.assert_allclose(x, (np.clip(free, 0, 255) - 128) / 128, atol=1e-6)


def test_the_extractor(state, tmp_path, monkeypatch):
    path = tmp_path / "weights.safetensors"
    tensors.write_safetensors(path, state)
    with pytest.raises(UserError, match=f"{path}: is not the expected file .its sha256 begins .*, not 6726825d"):
        features.inception(path)
    monkeypatch.setattr(inception, "SHA256", cache.digest(path)[:8])
    e = features.inception(path)
    assert (e.name, e.size, e.classes, e.channels) == ("inception-tf1", 2048, 1008, 3)
    out = e.apply(rule.images(32, 32))
    assert off(out.features[:, ::8], GOLDEN["inception.32x32.tf1"]) < 5e-6
    assert off(out.logits[:, ::8], GOLDEN["inception.32x32.logits"]) < 5e-6
    hashes = {e.hash, features.inception_of(state, way="pytorch-fid").hash}
    hashes.add(features.inception_of(state | {"fc.weight": state["fc.weight"] + 1}).hash)
    assert len(hashes) == 3


@pytest.mark.parametrize("change", ["missing", "shape", "not weights"])
def test_other_weights_are_an_error_in_one_line(state, change):
    if change == "missing":
        other = {k: v for k, v in state.items() if not k.startswith("Mixed_6d.branch7x7_2.")}
    elif change == "shape":
        other = state | {"Mixed_6d.branch7x7_2.conv.weight": state["Mixed_6d.branch7x7_2.conv.weight"][:, 1:]}
    else:
        other = {"x": np.zeros(3, np.float32)}
    with pytest.raises(UserError, match="not the weights of the FID Inception-v3.*; give pt_inception") as e:
        features.inception_of(other)
    assert "\n" not in str(e.value)


def test_an_unknown_way():
    with pytest.raises(UserError, match="way is 'x'; give one of tf1, pytorch-fid, clean-fid"):
        features.inception("nowhere", way="x")
    with pytest.raises(UserError, match="way is 'clean'; give one of tf1, pytorch-fid, clean-fid"):
        features.inception_of({}, way="clean")


def test_without_a_network_one_line_says_what_to_put_where(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXGAN_CACHE", str(tmp_path / "cache"))

    def no_network(*_, **__):
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(urllib.request, "urlopen", no_network)
    with pytest.raises(UserError) as e:
        features.inception(show=False)
    said = str(e.value)
    assert said.startswith(str(tmp_path / "cache/pt_inception-2015-12-05-6726825d.pth")) and inception.URL in said
    assert "Name or service not known" in said and "\n" not in said and not list((tmp_path / "cache").iterdir())


def test_a_download_is_checked_and_made_once(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXGAN_CACHE", str(tmp_path / "cache"))
    content, calls = bytes(range(256)) * 4096, []

    class Response(io.BytesIO):
        headers = {"Content-Length": str(len(content))}

    def network(url, timeout):
        calls.append(url)
        return Response(content)

    monkeypatch.setattr(urllib.request, "urlopen", network)
    with pytest.raises(UserError, match="the download is not the expected file"):
        cache.fetch("https://host/a.pth", "00000000", show=False)
    assert not list((tmp_path / "cache").iterdir())
    (tmp_path / "x").write_bytes(content)
    sha = cache.digest(tmp_path / "x")
    path = cache.fetch("https://host/a.pth", sha[:8], show=False)
    assert path.read_bytes() == content and cache.fetch("https://host/a.pth", sha[:8], show=False) == path
    assert len(calls) == 2 and cache.check(path, sha) == sha
    with pytest.raises(UserError, match="none: cannot be read"):
        cache.check(tmp_path / "none", sha)


def test_the_cache_directory(monkeypatch, tmp_path):
    monkeypatch.setenv("JAXGAN_CACHE", "/a/b")
    assert cache.cache_directory() == Path("/a/b")
    monkeypatch.delenv("JAXGAN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    monkeypatch.setattr("sys.platform", "linux")
    assert cache.cache_directory() == Path("/x/jaxgan")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(cache.os.path, "expanduser", lambda path: path)  # no HOME, and no entry among the users
    monkeypatch.setattr(cache.tempfile, "gettempdir", lambda: str(tmp_path))
    found = tmp_path / f"jaxgan-{os.getuid()}"
    for _ in range(2):
        assert cache.cache_directory() == found
        assert found.stat().st_mode & 0o777 == 0o700
    found.rename(tmp_path / f"jaxgan-{os.getuid() + 1}")
    monkeypatch.setattr(cache.os, "getuid", lambda real=os.getuid(): real + 1)
    with pytest.raises(UserError, match="somebody else's; set JAXGAN_CACHE"):
        cache.cache_directory()
