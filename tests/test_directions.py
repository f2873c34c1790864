"""Directions: of linear maps, of a bent one in float64, of a StyleGAN's weights stacked by hand, and as a command."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from PIL import Image

import experiments.directions
from jaxgan import convert, directions, latents, marks, video, weights
from jaxgan.errors import UserError
from jaxgan.latents import Latents
from jaxgan.models import stylegan2, stylegan3
from tests import shared


class Linear(nn.Module):
    """G(z) = A z, or tanh(A z)."""

    bent: bool = False
    shape: tuple = (5, 5, 2)
    classes: int = 0
    z_dim: int = 40

    @nn.compact
    def __call__(self, z, c=None, *, keys=None, train=False):
        y = z @ self.param("a", nn.initializers.normal(), (self.z_dim, 50)).astype(z.dtype)
        return (jnp.tanh(y) if self.bent else y).reshape(-1, *self.shape)


def with_singular_values(values):
    """A [50, 40] with these, and its right singular vectors [40, 40], one a row."""
    rng = np.random.default_rng(0)
    u, v = (np.linalg.qr(rng.standard_normal((n, n)))[0] for n in (50, 40))
    full = np.concatenate([values, np.linspace(0.5, 0.1, 40 - len(values))])
    return u[:, :40] * full @ v.T, v.T


def drawn(n, z_dim=40):
    code = np.random.default_rng(0).standard_normal((n, z_dim)).astype(np.float32)
    return Latents(code, None, np.zeros((n, 2), np.uint32))


def assert_same(found, expected, atol=1e-3):
    """Vectors [k, d] that are the same but for the sign, whose rule they keep."""
    expected = expected * np.sign(np.take_along_axis(expected, np.abs(expected).argmax(1)[:, None], 1))
    np.testing.assert_allclose(found, expected, atol=atol)


def test_of_a_linear_generator_they_are_its_singular_vectors_and_values():
    a, v = with_singular_values([5, 3, 1])
    params = {"params": {"a": np.float32(a.T)}}
    found = directions.jacobian(Linear(), params, drawn(3), 4)
    assert found.vectors.shape == (4, 40) and found.vectors.dtype == np.float32
    np.testing.assert_allclose(found.strengths, [5, 3, 1, 0.5], rtol=1e-4)
    assert_same(found.vectors[:3], v[:3])
    again = directions.jacobian(Linear(), params, drawn(3), 4)  # other draws: J is the same everywhere
    np.testing.assert_allclose(again.vectors, found.vectors, atol=1e-3)
    # Two equal ones: the plane is found, and each of the two lies in it.
    a, v = with_singular_values([5, 3, 3, 1])
    found = directions.jacobian(Linear(), {"params": {"a": np.float32(a.T)}}, drawn(3), 4)
    np.testing.assert_allclose(found.strengths, [5, 3, 3, 1], rtol=1e-4)
    np.testing.assert_allclose(found.vectors[1:3].T @ found.vectors[1:3], v[1:3].T @ v[1:3], atol=1e-3)
    np.testing.assert_allclose(found.vectors @ found.vectors.T, np.eye(4), atol=1e-5)
    assert_same(found.vectors[[0, 3]], v[[0, 3]])


def test_of_a_bent_one_they_are_of_the_mean_over_the_images():
    a, of = with_singular_values([5, 3, 1])[0] / 3, drawn(6)
    found = directions.jacobian(Linear(bent=True), {"params": {"a": np.float32(a.T)}}, of, 3)
    z = of.code.astype(float)
    j = (1 - np.tanh(z @ a.T) ** 2)[:, :, None] * a
    values, vectors = np.linalg.eigh(np.einsum("npi,npj->ij", j, j) / 6)
    np.testing.assert_allclose(found.strengths, np.sqrt(values[::-1][:3]), rtol=1e-4)
    assert_same(found.vectors, vectors.T[::-1][:3])


def test_the_largest_of_many_eigenvalues_by_products_alone():
    q = np.linalg.qr(np.random.default_rng(0).standard_normal((300, 300)))[0]
    values = np.concatenate([[9, 9, 9, 4], 0.97 ** np.arange(296)])
    m, asked = q * values @ q.T, []
    times = lambda v: asked.append(v.shape[1]) or m @ v
    top, vectors = directions.top_eigenvectors(times, 300, 4)
    np.testing.assert_allclose(top, values[:4], rtol=1e-7)
    np.testing.assert_allclose(vectors[:, :3] @ vectors[:, :3].T, q[:, :3] @ q[:, :3].T, atol=1e-3)
    assert sum(asked) < 150  # half of what the whole matrix would take, or less
    assert (np.take_along_axis(vectors, np.abs(vectors).argmax(0)[None], 0) > 0).all()
    low = np.diag([2.0, 1, *np.zeros(58)])
    for m, k in ((np.zeros((5, 5)), 2), (np.diag([2.0, 1, 0, 0, 0]), 5), (np.eye(1), 1), (low, 6)):
        top, vectors = directions.top_eigenvectors(lambda v, m=m: m @ v, len(m), k)
        np.testing.assert_allclose(top, np.sort(np.diag(m))[::-1][:k], atol=1e-12)
        np.testing.assert_allclose(vectors.T @ vectors, np.eye(k), atol=1e-12)


@pytest.fixture(scope="module")
def styled():
    g = stylegan2.Generator((8, 8, 3), 3, z_dim=6, w_dim=5, channel_base=48, channel_max=4)
    keys = jax.random.split(jax.random.key(0), 1)
    v = dict(jax.jit(lambda: g.init(jax.random.key(1), jnp.zeros((1, 6)), jnp.zeros(1, jnp.int32), keys=keys))())
    return g, jax.tree.map(np.asarray, v)


def test_closed_form_is_of_the_weights_stacked_by_hand(styled):
    g, v = styled
    weight = lambda *names: v["params"][names[0]][names[1]]["affine"]["kernel"].astype(float).T / 5**0.5
    by_layer = {  # b4 has one convolution; its image layer shares the w of b8's first
        0: [weight("b4", "conv1")],
        1: [weight("b4", "torgb"), weight("b8", "conv0")],
        2: [weight("b8", "conv1")],
        3: [weight("b8", "torgb")],
    }
    for layers in (None, (1, 3), (3, 4)):
        first, end = layers or (0, 4)
        a = np.concatenate([m for i in range(first, end) for m in by_layer[i]])
        values, vectors = np.linalg.eigh(a.T @ a)
        found = directions.closed_form(g, v, 3, layers=layers)
        np.testing.assert_allclose(found.strengths, np.sqrt(values[::-1][:3]), rtol=1e-4)
        assert found.vectors.shape == (3, 4, 5)
        chosen = (np.arange(4) >= first) & (np.arange(4) < end)
        assert (found.vectors[:, ~chosen] == 0).all()
        for layer in np.flatnonzero(chosen):
            assert_same(found.vectors[:, layer], vectors.T[::-1][:3])


def test_principal_components_and_spread_are_numpys(styled):
    g, v = styled
    many = latents.draw(g, v, 200, label=1)
    w = many.code[:, 0].astype(float)
    values, vectors = np.linalg.eigh(np.cov(w.T))
    found = directions.pca(many, 5, layers=(1, 3))
    np.testing.assert_allclose(found.strengths, np.sqrt(values[::-1]), rtol=1e-6)
    assert_same(found.vectors[:, 1], vectors.T[::-1], atol=1e-5)
    assert (found.vectors[:, [0, 3]] == 0).all() and (found.vectors[:, 1] == found.vectors[:, 2]).all()
    np.testing.assert_allclose(directions.spread(many, found), found.strengths, rtol=1e-5)
    axes = np.eye(5, dtype=np.float32)[:, None] * np.float32([0, 1, 0, 0])[:, None]
    np.testing.assert_allclose(directions.spread(many, directions.Directions(axes, np.ones(5))), w.std(0, ddof=1), rtol=1e-5)
    of_z = directions.Directions(np.eye(4, dtype=np.float32)[:2], np.ones(2))
    np.testing.assert_array_equal(directions.spread(drawn(5, 4), of_z), [1, 1])


def test_a_jacobian_of_some_layers_is_that_of_their_w(styled):
    g, v = styled
    of = latents.draw(g, v, 3)
    keys = jax.random.wrap_key_data(of.keys)

    @jax.jit
    def jacobians(code, c, keys):
        image = lambda move, code, c, key: latents.render(g, v, code.at[1:3].add(move)[None], c[None], key[None])[0]
        return jax.vmap(jax.jacrev(image), (None, 0, 0, 0))(jnp.zeros(5), code, c, keys)

    j = np.asarray(jacobians(of.code, of.c, keys), float).reshape(3, -1, 5)
    values, vectors = np.linalg.eigh(np.einsum("npi,npj->ij", j, j) / 3)
    found = directions.jacobian(g, v, of, 2, layers=(1, 3))
    np.testing.assert_allclose(found.strengths, np.sqrt(values[::-1][:2]), rtol=1e-3)
    assert_same(found.vectors[:, 2], vectors.T[::-1][:2], atol=5e-3)
    assert (found.vectors[:, [0, 3]] == 0).all()


def test_a_table_is_one_image_moved(styled):
    g, v = styled
    one, moves = latents.draw(g, v, 2), directions.closed_form(g, v, 2, layers=(0, 2))
    table = directions.table(one, moves, np.array([[-1.0, 0, 2], [0, 1, 3]]))
    assert table.code.shape == (6, 4, 5) and table.c.shape == (6,) and table.keys.shape == (6, one.keys.shape[1])
    np.testing.assert_array_equal(table.code[1], one.code[0])
    np.testing.assert_allclose(table.code[2], one.code[0] + 2 * moves.vectors[0], rtol=1e-6)
    np.testing.assert_allclose(table.code[5], one.code[0] + 3 * moves.vectors[1], rtol=1e-6)


def test_what_cannot_be_asked(styled):
    g, v = styled
    one = latents.draw(g, v, 2)
    for call, said in (
        (lambda: directions.closed_form(g, v, 6), "6 directions of a latent with 5 dimensions"),
        (lambda: directions.closed_form(g, v, 2, layers=(2, 2)), "layers 2 2"),
        (lambda: directions.closed_form(Linear(), {}, 2), "has no styles"),
        (lambda: directions.pca(one, 0), "0 directions"),
        (lambda: directions.pca(one.take([0]), 1), "give many"),
        (lambda: directions.pca(drawn(9), 1), "use jacobian"),
        (lambda: directions.jacobian(Linear(), {}, drawn(2), 1, layers=(0, 1)), "leave them out"),
        (lambda: directions.jacobian(Linear(), {}, drawn(2, 39), 1), "code of the generator"),
    ):
        with pytest.raises(UserError, match=said):
            call()


def test_the_command(styled, tmp_path, monkeypatch, capsys):
    g, v = styled
    convert.save_safetensors(tmp_path / "g.safetensors", g, v)

    def command(*args):
        monkeypatch.setattr(sys, "argv", ["directions", str(tmp_path / "g.safetensors"), *map(str, args)])
        experiments.directions.main()
        return shared.arrays(tmp_path / "a.npz")

    out = ["--out", tmp_path / "a.png", "--image", 2, "--seed", 4, "--layers", 1, 3]
    made = command("--method", "pca", "--n", 2, "--steps", 5, "--range", 2, "--draws", 300, *out)
    assert "2 directions of" in capsys.readouterr().out
    many = latents.draw(g, v, 300, seed=4)
    expected = directions.pca(many, 2, layers=(1, 3))
    np.testing.assert_allclose(made["directions"], expected.vectors, atol=1e-5)
    np.testing.assert_allclose(made["spread"], expected.strengths, rtol=1e-5)
    image = latents.images(g, v, many.take([2]))[0]
    assert made["images"].shape == (2, 5, 8, 8, 3) and (made["images"][:, 2] == image).all()
    moved = many.take([2])._replace(code=many.code[[2]] + 2 * expected.strengths[1].astype(np.float32) * expected.vectors[1])
    np.testing.assert_allclose(made["images"][1, 4].astype(int), latents.images(g, v, moved)[0], atol=1)
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.width / picture.height == pytest.approx(46 / 19) and picture.width > 1000
    swing = [
        "--method",
        "pca",
        "--draws",
        300,
        "--layers",
        1,
        3,
        "--image",
        2,
        "--seed",
        4,
        "--range",
        2,
        "--n",
        2,
        "--frames",
        8,
    ]
    film = command(*swing, "--fps", 8, "--crf", 2, "--scale", 4, "--out", tmp_path / "a.mp4")["images"].astype(int)
    assert film.shape == (2, 8, 8, 8, 3) and (film[:, 0] == image).all()  # sin(k pi / 4): 0, +, 1, +, 0, -, -1, -
    np.testing.assert_allclose(film[:, [0, 2, 4, 6]], made["images"][:, [2, 4, 2, 0]], atol=1)
    frames = np.array(list(video.read(tmp_path / "a.mp4")), int)
    assert frames.shape == (8, 40, 76, 3)  # 4 x (1 + 8 + 1) by 4 x (1 + 8 + 1 + 8 + 1)
    off = (frames[:, 4:36, 40:72] - film[1].repeat(4, 1).repeat(4, 2)) @ [0.21, 0.72, 0.07]
    assert np.abs(off).mean() < 3
    assert marks.of_comment(video.about(tmp_path / "a.mp4").comment).facts["directions"]["frames"] == 8
    local = command("--local", "--n", 1, "--steps", 3, *out)
    expected = directions.jacobian(g, v, many.take([2]), 1, layers=(1, 3))
    np.testing.assert_allclose(local["directions"], expected.vectors, atol=1e-4)
    capsys.readouterr()
    np.savez(tmp_path / "theirs.npz", images=np.zeros(3))
    for args, said in (
        (["--out", tmp_path / "theirs.png"], "would overwrite .*theirs.npz, which holds something else"),
        (["--method", "pca", "--draws", 2_000_000], "at most 1,000,000"),
        (["--steps", 4], "--steps 4"),
        (["--n", 9], "9 directions of a latent with 5"),
        (["--range", 0], "--range 0"),
        (["--image", -1], "--image -1"),
        (["--method", "pca", "--local"], "--local only applies to"),
        (["--local", "--draws", 3], "--draws 3"),
        (["--out", "a.npz"], "write a .png, an .mp4"),
        (["--frames", 1], "--frames 1"),
        (["--scale", 2], "--scale 2 only applies to a film"),
        (["--n", 1, "--layers", 3, 9], "layers 3 9"),
    ):
        with pytest.raises(UserError, match=said):
            command(*args)


def test_closed_form_of_a_generator_without_noise():
    """StyleGAN3's; its first layer's styles move the Fourier features."""
    g = stylegan3.Generator((8, 8, 1), z_dim=3, w_dim=4, channel_base=16, channel_max=3, depth=2, critical=1, margin=2)
    v = jax.tree.map(lambda a: np.random.default_rng(a.size).normal(size=a.shape).astype(np.float32), weights.shapes(g))
    a = v["params"]["input"]["affine"]["kernel"].astype(float).T / 2
    values, vectors = np.linalg.eigh(a.T @ a)
    found = directions.closed_form(g, v, 2, layers=(0, 1))
    np.testing.assert_allclose(found.strengths, np.sqrt(values[::-1][:2]), rtol=1e-4)
    assert_same(found.vectors[:, 0], vectors.T[::-1][:2])
