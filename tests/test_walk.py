"""Walks: great circles and smooth curves against formulas and SciPy, labels and keys on the way, and the command's films."""

import json
import sys

import jax
import numpy as np
import pytest
from PIL import Image
from scipy.interpolate import CubicSpline

import experiments.walk
from jaxgan import convert, latents, marks, video, walk, watch, weights
from jaxgan.errors import UserError
from jaxgan.latents import Latents
from jaxgan.models import mlp, stylegan3
from tests import shared


def keys(n, *shape, c=None):
    code = np.random.default_rng(0).standard_normal((n, *shape)).astype(np.float32)
    return Latents(code, c, np.arange(2 * n, dtype=np.uint32).reshape(n, 2))


def test_on_a_great_circle_the_angle_and_the_length_go_evenly():
    points = np.random.default_rng(0).standard_normal((2, 9)) * [[1.0], [3.0]]
    t = np.linspace(0, 1, 11)[:-1]
    at = walk.great_circle(points, np.zeros(10, int), t)
    (a, b), (na, nb) = points, np.linalg.norm(points, axis=1)
    u = np.arccos(a @ b / (na * nb))
    sideways = b / nb - np.cos(u) * a / na  # what of b is not along a
    sideways /= np.linalg.norm(sideways)
    expected = [((1 - s) * na + s * nb) * (np.cos(s * u) * a / na + np.sin(s * u) * sideways) for s in t]
    np.testing.assert_allclose(at, expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(at[0], a)
    steps = np.sum(at[1:] * at[:-1], 1) / np.linalg.norm(at[1:], axis=1) / np.linalg.norm(at[:-1], axis=1)
    np.testing.assert_allclose(np.arccos(steps), u / 10, rtol=1e-9)


def test_no_circle_no_turn():
    at = lambda a, b: walk.great_circle(np.array([a, b]), np.array([0]), np.array([0.25]))[0]
    np.testing.assert_allclose(at([1.0, 1], [3.0, 3]), [1.5, 1.5])
    np.testing.assert_allclose(at([0.0, 0], [4.0, 0]), [1, 0])
    np.testing.assert_allclose(at([1.0, 1], [1.0, 1 + 1e-9]), [1, 1])
    np.testing.assert_allclose(at([1.0, 0], [1.0, 1e-4]), [1, 0.25e-4], rtol=1e-6)
    with pytest.raises(UserError, match="latent 0 to its opposite"):
        at([1.0, 2], [-2.0, -4])
    at = walk.great_circle(np.array([[1.0, 0], [0, 1], [-1, 0]]), np.array([0, 2]), np.array([0.5, 0]), loop=False)
    np.testing.assert_allclose(at, [[0.5**0.5] * 2, [-1, 0]], atol=1e-12)  # the last stays: no way to the first, its opposite


def test_the_smooth_curve_is_the_cubic_spline():
    points = np.random.default_rng(0).standard_normal((5, 2, 3))
    around = np.concatenate([points, points[:1]])
    leg, t = np.divmod(np.linspace(0, 5, 36)[:-1], 1.0)
    spline = CubicSpline(np.arange(6), around, bc_type="periodic")
    np.testing.assert_allclose(walk.cubic(points, leg.astype(int), t), spline(leg + t), atol=1e-12)
    there_and_back = CubicSpline(np.arange(3), points[[0, 1, 0]], bc_type="periodic")
    np.testing.assert_allclose(walk.cubic(points[:2], leg.astype(int) % 2, t), there_and_back((leg + t) % 2), atol=1e-12)
    leg, t = np.divmod(np.linspace(0, 4, 29), 1.0)
    for n in (5, 3, 2):
        spline = CubicSpline(np.arange(n), points[:n], bc_type="natural")
        keep = leg + t <= n - 1
        at = walk.cubic(points[:n], leg[keep].astype(int), t[keep], loop=False)
        np.testing.assert_allclose(at, spline((leg + t)[keep]), atol=1e-12)


@pytest.mark.parametrize("shape, smooth", [((7,), False), ((7,), True), ((4, 6), False)])
@pytest.mark.parametrize("loop", [True, False])
def test_a_walk_is_at_the_keys_and_does_not_jump(shape, smooth, loop):
    given = keys(4, *shape)
    film = walk.walk(given, 10, loop=loop, smooth=smooth)
    assert film.code.dtype == np.float32 and len(film.code) == (40 if loop else 31) and film.c is None
    np.testing.assert_array_equal(film.code[::10], given.code)
    np.testing.assert_array_equal(film.keys, np.repeat(given.keys[:1], len(film.code), 0))
    places = np.concatenate([film.code, film.code[:1]]) if loop else film.code
    steps = np.linalg.norm(np.diff(places, axis=0).reshape(len(places) - 1, -1), axis=1)
    legs = np.linalg.norm((np.roll(given.code, -1, 0) - given.code).reshape(4, -1), axis=1).repeat(10)[: len(steps)]
    assert (steps < (3 if smooth else 2) * legs / 10).all() and (steps > 0).all()  # a jump would be 10 times the mean step
    bends = np.abs(np.diff(places, n=2, axis=0)).max()  # a smooth curve's own are of second order
    finer = np.abs(np.diff(walk.walk(given, 100, loop=loop, smooth=smooth).code, n=2, axis=0)).max()
    assert finer < bends / 50 if smooth or len(shape) == 2 else finer > bends / 15
    if smooth:
        norms, middle = np.linalg.norm(given.code, axis=1), np.linalg.norm(film.code[5])
        assert norms.min() * 0.8 < middle < norms.max() * 1.2


def test_a_walk_rests_at_its_keys_and_gets_there_gently():
    leg, t = walk.pace(3, 4, hold=2)
    np.testing.assert_array_equal(leg, np.repeat([0, 1, 2], 6))
    np.testing.assert_allclose(t.reshape(3, 6), [[0, 0, 0, 0.15625, 0.5, 0.84375]] * 3)  # 3 t^2 - 2 t^3
    assert (walk.pace(3, 4)[1].reshape(3, 4) == [0, 0.25, 0.5, 0.75]).all()
    once = walk.pace(3, 4, hold=2, loop=False)
    np.testing.assert_array_equal(once, [[*leg[:15]], [*t[:15]]])  # up to the rest at the last
    given = keys(3, 4, 6)
    film = walk.walk(given, 4, hold=2, loop=False)
    np.testing.assert_array_equal(film.code[[0, 1, 2, 6, 8, 12, 14]], given.code[[0, 0, 0, 1, 1, 2, 2]])


def test_a_part_of_a_walk_is_that_part():
    for given, smooth in ((keys(4, 5, c=np.array([0, 1, 1, 2])), True), (keys(4, 3, 5), False)):
        whole = walk.walk(given, 6, classes=3, smooth=smooth)
        leg, t = walk.pace(4, 6)
        parts = [walk.between(given, leg[i : i + 5], t[i : i + 5], classes=3, smooth=smooth) for i in range(0, 24, 5)]
        for a, b in zip(whole, latents.joined(parts), strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_film_moves_once_around_and_the_loop_closes():
    of = lambda n, **options: experiments.walk.motion(experiments.walk.Arguments("run", **options), n)
    assert of(4) is None
    np.testing.assert_allclose(of(4, circle=0.1)[:, :2, 2], [[0, 0], [0.1, 0.1], [0, 0.2], [-0.1, 0.1]], atol=1e-7)
    np.testing.assert_allclose(of(4, turn=360), [stylegan3.moved(angle=angle) for angle in (0, 90, 180, 270)])
    np.testing.assert_allclose(of(4, turn=90, loop=False), [stylegan3.moved(angle=angle) for angle in (0, 30, 60, 90)])


def test_labels_go_through_weights_of_both():
    film = walk.walk(keys(3, 5, c=np.array([2, 2, 0])), 4, classes=3)
    assert film.c.dtype == np.float32
    np.testing.assert_allclose(film.c[:5], [[0, 0, 1]] * 5)
    np.testing.assert_allclose(film.c[5:9, 0], [0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(film.c.sum(1), 1)
    np.testing.assert_allclose(film.c[11], [0.25, 0, 0.75])
    vectors = np.float32([[0.2, 5], [1, -1]])
    np.testing.assert_allclose(walk.walk(keys(2, 5, c=vectors), 2, loop=False).c, [[0.2, 5], [0.6, 2], [1, -1]])


def test_what_is_no_walk():
    for frames in (6, 7):  # one of them at 0, and none
        with pytest.raises(UserError, match="opposite"):
            walk.walk(Latents(np.float32([[1, 0], [-1, 0]]), None, np.zeros((2, 2), np.uint32)), frames, smooth=True, loop=False)
    with pytest.raises(UserError, match="hold is -1"):
        walk.walk(keys(2, 5), 3, hold=-1)
    for given, frames, classes, said in (
        (keys(1, 5), 3, 0, "at least two images; there is 1"),
        (keys(2, 5), 0, 0, "frames is 0"),
        (keys(2, 5, c=np.array([0, 3])), 2, 3, r"classes \[0, 3\]: give classes"),
    ):
        with pytest.raises(UserError, match=said):
            walk.walk(given, frames, classes=classes)


def test_a_film_takes_its_time_and_says_what_it_shows(tmp_path):
    pictures = [Image.new("L", (8, 6), 20 * i) for i in range(7)]
    for name, fps, times in (("a.webp", 30, [33, 34, 33, 33, 34, 33, 33]), ("b.gif", 30, [30, 40, 30, 30, 40, 30, 30])):
        watch.write_animation(iter(pictures), tmp_path / name, fps)
        with Image.open(tmp_path / name) as film:
            assert film.n_frames == 7 and film.info["loop"] == 0 and film.size == (8, 6)
            for i, time in enumerate(times):
                film.seek(i)
                film.load()
                assert film.info["duration"] == time
                assert set(np.unique(np.asarray(film.convert("L")))) == {20 * i}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.webp", "b.gif"]


def test_the_command(tmp_path, monkeypatch, capsys):
    g = mlp.Generator((4, 6, 3), 3, z_dim=5, widths=(8,))
    v = jax.tree.map(lambda a: 30 * a, dict(g.init(jax.random.key(0), *weights.example(g))))
    convert.save_safetensors(tmp_path / "g.safetensors", g, v)

    def command(*args):
        monkeypatch.setattr(sys, "argv", ["walk", str(tmp_path / "g.safetensors"), *map(str, args)])
        experiments.walk.main()

    out = tmp_path / "out"
    small = ["--keys", 3, "--frames", 4, "--seed", 5]
    command(*small, "--label", 2, 0, "--grid", 1, 2, "--out", out / "a.npz")
    assert "12 frames of" in capsys.readouterr().out
    arrays = shared.arrays(out / "a.npz")
    assert arrays["images"].shape == (2, 12, 4, 6, 3) and arrays["code"].shape == (2, 12, 5) and arrays["c"].shape == (2, 12, 3)
    np.testing.assert_array_equal(arrays["c"][:, ::4].argmax(2), [[2, 0, 2]] * 2)
    drawn = latents.draw(g, v, 6, seed=5, label=[2, 0, 2] * 2)  # the second walk's images are the next of the seed
    np.testing.assert_array_equal(arrays["images"][:, ::4].reshape(6, 4, 6, 3), latents.images(g, v, drawn))
    np.testing.assert_allclose(arrays["code"][1], walk.walk(drawn.take(slice(3, 6)), 4, classes=3).code)
    command("--keys", 1, "--label", 0, 1, 2, "--frames", 1, "--no-loop", "--out", out / "b.npz")
    arrays = shared.arrays(out / "b.npz")
    assert (arrays["code"] == arrays["code"][:, :1]).all() and (arrays["c"][0] == np.eye(3)).all()
    assert (arrays["images"][0, 0] != arrays["images"][0, 1]).any()
    command("--index", 7, 2, "--label", 1, "--frames", 2, "--seed", 5, "--out", out / "c.npz")
    drawn = latents.draw(g, v, 8, seed=5, label=1).take([7, 2])
    np.testing.assert_array_equal(shared.arrays(out / "c.npz")["images"][0, ::2], latents.images(g, v, drawn))
    each = ["--label", 1, "--seed", 5, "--psi"]
    command("--index", 7, 2, 4, 1, *each, 0, 0.5, "--grid", 2, 1, "--frames", 1, "--out", out / "d.npz")
    code = shared.arrays(out / "d.npz")["code"]
    assert (code[:, 0] == 0).all()
    np.testing.assert_array_equal(code[:, 1], latents.draw(g, v, [2, 1], seed=5, label=1, psi=0.5).code)
    command("--keys", 1, *each, 0, 1, "--frames", 2, "--hold", 1, "--out", out / "e.npz")
    np.testing.assert_allclose(
        shared.arrays(out / "e.npz")["code"][0],
        [[0], [0], [0.5], [1], [1], [0.5]] * latents.draw(g, v, 1, seed=5, label=1).code,
        rtol=1e-6,
    )
    own = latents.draw(g, v, 4, seed=9, label=[2, 1, 0, 1])  # as invert finds them
    np.savez(tmp_path / "found.npz", code=own.code, c=own.c, keys=own.keys)
    command("--through", tmp_path / "found.npz", "--grid", 2, 1, "--index", 2, 0, 3, 1, "--frames", 1, "--out", out / "f.npz")
    arrays = shared.arrays(out / "f.npz")
    np.testing.assert_array_equal(arrays["code"], own.code[[[2, 0], [3, 1]]])
    assert arrays["c"].argmax(2).tolist() == [[0, 2], [1, 1]] and json.loads(str(arrays["jaxgan"]))["walk"]["through"]
    monkeypatch.setattr(latents, "CHUNK", 4)  # the frames of a film are drawn in pieces
    for name in ("a.mp4", "a.webm"):
        command(*small, "--fps", 24, "--crf", 4, "--hold", 1, "--grid", 1, 2, "--scale", 5, "--out", out / name)
        pictures = np.array(list(video.read(out / name)))
        assert pictures.shape == (15, 30, 76, 3)  # a frame around and between: 5 x (15 x 6), of even sides
        command(*small, "--hold", 1, "--grid", 1, 2, "--scale", 5, "--out", out / "frames")
        for i, path in enumerate(sorted((out / "frames").iterdir())):
            with Image.open(path) as picture:
                off = (pictures[i, :, :75] - np.asarray(picture, float)) @ [0.21, 0.72, 0.07]  # colours are halved, light is not
                assert np.abs(off).mean() < 3 and marks.of_picture(picture).facts["frame"] == i
        said = marks.of_comment(video.about(out / name).comment)
        assert said.kind == marks.GENERATED and said.facts["walk"]["hold"] == 1 and said.facts["walk"]["psi"] == 1
    capsys.readouterr()
    for name in ("a.webp", "a.gif", "folder", "a.png"):
        command(*small, "--no-loop", *(["--fps", 20] if name in ("a.webp", "a.gif") else []), "--out", out / name)
    for name in ("a.webp", "a.gif"):
        with Image.open(out / name) as film:
            assert (film.n_frames, film.size) == (9, (510, 340)) and marks.of_picture(film).kind == marks.GENERATED
    said = capsys.readouterr().out
    assert said.count("9 frames (0.45 s) of") == 2 and said.count("9 frames of") == 2
    assert [p.name for p in sorted((out / "folder").iterdir())] == [f"frame{i:06d}.png" for i in range(9)]
    with Image.open(out / "a.png") as sheet:  # three rows of four, with borders, enlarged
        assert sheet.width / sheet.height == pytest.approx(29 / 16)
        said = marks.of_picture(sheet)
    assert said.kind == marks.GENERATED and said.facts["walk"]["seed"] == 5 and said.facts["run"] == "g.safetensors"
    capsys.readouterr()
    for args, said in (
        (["--keys", 1], "at least two images"),
        (["--index", 3], "--index 3: a walk needs at least two images"),
        (["--index", 3, -4], "--index -4: images are counted"),
        (["--index", 3, 4, "--keys", 2], "--index says which"),
        (["--index", 3, 4, 5, "--grid", 1, 2], "--index: 3 images for the 2 walks"),
        (["--index", 3, 4, "--grid", 1, 2], "--index 3: a walk needs at least two images"),
        (["--hold", -1], "--hold -1"),
        (["--scale", 0], "--scale 0"),
        (["--scale", 2, "--out", "a.npz"], "--scale 2"),
        (["--crf", 5], "--crf 5 only applies to an .mp4 or .webm"),
        (["--crf", 64, "--out", "a.webm"], "--crf 64: give 0, the best, to 63"),
        (["--frames", 0], "--frames 0"),
        (["--grid", 0, 2], "--grid 0 2"),
        (["--fps", 60, "--out", "a.gif"], "--fps 60"),
        (["--fps", 7, "--out", "a.png"], "--fps 7 only applies to a film, .mp4, .webm, .webp or .gif"),
        (["--grid", 1, 4000, "--keys", 2, "--frames", 1], "at most 16383 along a side"),
        (["--out", "a.mov"], "write an .mp4, a .webm, .* or a folder of frames"),
        (["--label", 3], "classes are 0 to 2"),
        (["--noise", "const"], "no noise inputs"),
        (["--turn", 5], "cannot be moved"),
        (["--psi"], "--psi: give at least one"),
        (["--through", tmp_path / "found.npz", "--seed", 5], "--seed: --through says which latents"),
        (["--through", tmp_path / "found.npz", "--index", 0, 4], "--index 4: .* has 4 images, counted from 0"),
        (["--through", tmp_path / "found.npz", "--grid", 1, 3], "4 images; give two or more for each walk"),
        (["--through", out / "a.gif"], "not an .npz of experiments.invert that can be read"),
        (["--through", out / "f.npz"], "not an .npz of experiments.invert"),
        ([*small, "--out", tmp_path / "g.safetensors" / "in"], "cannot be written"),
    ):
        with pytest.raises(UserError, match=said):
            command(*args)
