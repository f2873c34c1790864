"""The command that explains a run, as a user runs it; what it refuses; and the discriminator that it restores."""

import json
import re
import sys
from functools import partial

import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from PIL import Image

import experiments.explain
from experiments import explain_pictures
from experiments.configs import objective
from jaxgan import penalties, restore
from jaxgan.errors import UserError
from tests import commands
from tests.commands import assert_equal

TINY = {"batch": 8, "size": (8, 8), "width": 4, "patch": 2, "standing": 0}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run directory and its state. The discriminator has a class head and spectral norm, so statistics too."""
    folder = str(tmp_path_factory.mktemp("run") / "run")
    config = objective.Config(run_dir=folder, class_loss="ac_gan", norm="spectral", penalty=(), augment=(), **TINY)
    return folder, commands.untrained(folder, config, (8, 8, 1), 10)


@pytest.fixture(scope="module")
def trained(made):
    return made[0]


def explained(monkeypatch, capsys, folder, out, *args):
    monkeypatch.setattr(sys, "argv", ["explain", folder, "--out", str(out), *args])
    experiments.explain.main()
    return capsys.readouterr().out


def test_the_restored_discriminator_is_the_trained_one(made):
    trained, state = made
    critic = restore.load_discriminator(trained)
    assert critic.step == 2 and "spectral" in critic.variables
    x = np.random.default_rng(0).uniform(-1, 1, (3, 8, 8, 1)).astype(np.float32)
    verdict = critic.judge(jnp.asarray(x), jnp.arange(3))
    assert verdict.logits.shape == (3,) and verdict.classes.shape == (3, 10)
    plain = restore.Critic(nn.Dense(1), {}, {}, 0)  # of your own: it would take pixels 0..255 without a word
    with pytest.raises(ValueError, match="x is uint8; give floats, images in .-1, 1."):
        plain.judge(np.zeros((3, 8, 8, 1), np.uint8))
    assert_equal(critic.variables, {"params": state.d.params, **state.d.stats})
    with pytest.raises(UserError, match="no checkpoint of step 7"):
        restore.load_discriminator(trained, checkpoint=7)
    with pytest.raises(UserError, match="no such run directory"):
        restore.load_discriminator("nowhere")


def test_every_method_writes_a_picture_and_its_numbers(trained, tmp_path, monkeypatch, capsys):
    go = partial(explained, monkeypatch, capsys, trained)
    few = {
        "gradients": ["--steps", "8"],
        "shapley": ["--regions", "2", "--samples", "2"],
        "units": ["--units", "2"],
        "attack": ["--attack-steps", "2"],
    }
    said, figures, as_picture = {}, [], explain_pictures._picture
    monkeypatch.setattr(explain_pictures, "_picture", lambda figure: figures.append(figure) or as_picture(figure))
    for method, how in few.items():
        out = tmp_path / f"{method}.png"
        said[method] = go(out, "--method", method, "--n", "3", *how)
        with Image.open(out) as picture:
            assert min(picture.size) > 90 and np.asarray(picture.convert("L")).std() > 5
    assert re.fullmatch(r"\d\nlogit [+-]\d+\.\d\d", figures[0].axes[0].get_title())
    legends = [figure.get_suptitle().split(",")[0] for figure in figures]
    assert legends == [*["red: made the logit higher (more real)"] * 2, "red: brighter with the unit"]
    numbers = {method: json.loads((tmp_path / f"{method}.json").read_text()) for method in said}
    for kind in ("real", "fake"):
        shares = numbers["shapley"][kind]
        gain = np.subtract(shares["logits"], shares["at_baseline"])
        np.testing.assert_allclose(np.sum(shares["values"], 1), gain, atol=1e-5)
        np.testing.assert_allclose(numbers["gradients"][kind]["logits"], shares["logits"], rtol=1e-5)
        assert numbers["gradients"][kind]["largest_gap"] < 0.3 * np.abs(gain).max()  # of eight steps
    assert numbers["units"]["effects"] == sorted(numbers["units"]["effects"], reverse=True)
    assert set(numbers["attack"]) >= {"fake_as_real", "real_as_fake", "class"}
    logits = numbers["attack"]["fake_as_real"]["logits"]
    assert logits == sorted(logits) and logits[-1] > logits[0]
    assert numbers["attack"]["real_as_fake"]["logits"][0] == pytest.approx(
        np.mean(numbers["shapley"]["real"]["logits"]), rel=1e-4
    )
    assert "Block_0" in said["units"] and "median over the images" in said["attack"]


def test_a_generator_of_dense_layers_has_no_units():
    with pytest.raises(UserError, match="--method units: this generator has no feature maps"):
        explain_pictures.default_layer({}, 1)


def test_the_difference_of_images_with_alpha_can_be_seen():
    x = jnp.array([[0.5, -0.5, 0.1, 1.0], [0.5, -0.5, 0.1, 0.0], [0.9, 0.9, 0.9, -1.0]])
    y = x + jnp.array([[0.02, 0, 0, 0], [0, 0, 0, 0.04], [-0.5, 0, 0, 0]])  # a colour, the alpha, a colour that nobody sees
    want = [[0.2, 0, 0, 1], [0.1, -0.1, 0.02, 1], [0, 0, 0, 1]]  # it had an alpha of about 0, which is half transparent
    np.testing.assert_allclose(explain_pictures.enlarged(x, y), want, atol=1e-6)
    np.testing.assert_allclose(explain_pictures.enlarged(x[:, :3], y[:, :3])[0], [0.2, 0, 0], atol=1e-6)


def test_levels_of_a_linear_critic_are_closed_forms():
    """<a, x> rises by eps ||a||_1 or eps ||a||_2 sqrt(pixels): the level is the gap to the bar over that."""
    a = np.random.default_rng(0).normal(size=(3, 4, 1)).astype(np.float32)
    x = np.random.default_rng(1).uniform(-0.3, 0.3, (5, 3, 4, 1)).astype(np.float32)
    score = lambda y: jnp.einsum("bhwc,hwc->b", y, a)
    for norm, dual in (("linf", np.abs(a).sum()), ("l2", np.linalg.norm(a) * np.sqrt(12))):
        bar = np.asarray(score(x)) + np.float32([0.01, 0.02, 0.05, 0.06, 0.3]) * dual
        args = experiments.explain.Arguments(run="", norm=norm, attack_steps=4)
        found, moved = explain_pictures.curve(args, score, jnp.asarray(x), bar)
        np.testing.assert_allclose(found["median_level"], 0.05 * 127.5, rtol=1e-3)
        np.testing.assert_allclose(found["passed"], [0, 0, 0, 0.2, 0.4, 0.8, 0.8, 0.8, 1.0])
        np.testing.assert_allclose(score(moved) - score(x), 8 / 127.5 * dual, rtol=1e-3)  # the first that half pass
    assert explain_pictures.reached(np.arange(9.0), 20.0) == np.inf and explain_pictures.reached(np.arange(9.0), -1.0) == 0


class Mixes(nn.Module):
    """An image's logit depends on the spread of its batch."""

    def __call__(self, x, c=None, *, keys=None, train=False, axis=None):
        if len(x) == 5:
            raise ValueError("groups of 4 do not divide 5")
        return x.sum((1, 2, 3)) / (1 + x.std())


def test_a_critic_that_mixes_images_is_asked_image_by_image(capsys):
    critic = restore.Critic(Mixes(), {}, {}, 0)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(3, 2, 2, 1)), jnp.float32)
    f = explain_pictures.scorer(critic, x, None)
    assert "judged among these 3" in capsys.readouterr().out
    np.testing.assert_allclose(f(x), critic.judge(x).logits, rtol=1e-5)
    penalties.check_critic_is_per_image(f, x)
    with pytest.raises(UserError, match="--n 5: .*groups of 4"):
        explain_pictures.scorer(critic, jnp.zeros((5, 2, 2, 1)), None)


class Classifies(nn.Module):
    """Each class is a pixel; with `mixes` the others of the batch count too; with `fakes` one of fakes is there, and leads."""

    classes: int
    mixes: float = 0.0
    fakes: bool = False

    def __call__(self, x, c=None, *, keys=None, train=False, axis=None):
        pixels = x.reshape(len(x), -1)
        logits = pixels[:, : self.classes] + self.mixes * pixels[::-1, : self.classes]
        return pixels.sum(1), jnp.pad(logits, ((0, 0), (0, self.fakes)), constant_values=9.0), None


def attacked_classes(module, n=2):
    """What the attack says of the class head, of images of class 0 whose first two pixels are 0.4 apart."""
    x = np.zeros((2 * n, 2, 2, 1), np.float32)
    x[:, 0, 0], x[:, 0, 1] = 0.2, -0.2
    shown = {"real": x, "fake": -x, "labels": np.zeros(2 * n, np.int32)}
    args = experiments.explain.Arguments(run="", n=n, attack_steps=2)
    numbers = explain_pictures.attack(args, restore.Critic(module, {}, {}, 0), shown)[1]
    json.dumps(numbers, allow_nan=False)
    return numbers.get("class")


def test_one_class_cannot_be_taken_for_another_and_fakes_are_no_class():
    for fakes in (False, True):
        assert attacked_classes(Classifies(1, fakes=fakes)) is None
        found = attacked_classes(Classifies(2, fakes=fakes))
        np.testing.assert_allclose(found["median_level"], 0.2 * 127.5, rtol=1e-3)


def test_an_image_whose_class_hangs_on_the_others_is_attacked_among_them_as_they_are():
    """Its own pixels must bridge 0.8; if the other one moved as well, half of it would do."""
    np.testing.assert_allclose(attacked_classes(Classifies(2, mixes=1.0))["median_level"], 0.4 * 127.5, rtol=1e-3)


@pytest.mark.parametrize(
    "args, says",
    [
        (["--out", "x.jpg"], "--out x.jpg: write a .png"),
        (["--n", "0"], "--n 0: give 1 or more"),
        (["--attack-steps", "0", "--method", "attack"], "--attack-steps 0"),
        (["--attack-steps", "9"], "--attack-steps only applies to --method attack; leave it out"),
        (["--method", "units", "--data", "nowhere"], "--data only applies to --method gradients or shapley or attack"),
        (["--method", "shapley", "--regions", "9"], "--regions 9: the images have 8 pixels"),
        (["--seed", "-1"], "--seed -1"),
        (["--n", "1797", "--method", "attack"], "the attack needs others"),
        (["--checkpoint", "first"], "--checkpoint first"),
        (["--method", "units", "--layer", "Block_9"], "layer 'Block_9'.*nearest"),
        (["--n", "2000"], "--n 2000: digits has 1797 images"),
    ],
)
def test_what_it_refuses(trained, tmp_path, monkeypatch, capsys, args, says):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=says) as error:
        explained(monkeypatch, capsys, trained, "out.png", *args)
    assert "\n" not in str(error.value)


def test_it_does_not_replace_what_is_not_its_own(trained, tmp_path, monkeypatch, capsys):
    (tmp_path / "config.json").write_text('{"jaxgan": "0.1.0", "generator": {}}')
    with pytest.raises(UserError, match="would overwrite .*config.json, which holds something else"):
        explained(monkeypatch, capsys, trained, tmp_path / "config.png")


def test_data_without_the_runs_labels_are_refused(trained, tmp_path, monkeypatch, capsys):
    np.savez(tmp_path / "plain.npz", images=np.zeros((9, 8, 8, 1), np.uint8))
    with pytest.raises(UserError, match="has 0 classes, the run 10"):
        explained(monkeypatch, capsys, trained, tmp_path / "o.png", "--data", str(tmp_path / "plain.npz"))


def test_a_change_of_hue_alone_is_seen_and_one_of_grey_images_has_a_sign():
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    change = np.zeros((2, 2, 3), np.float32)
    change[0, 0] = 0.5, -0.5, 0  # nothing in sum
    shown = explain_pictures._draw(axes, "change", change, 0.5).get_array()
    np.testing.assert_array_equal(shown[0, 0], [255, 0, 128])
    assert (shown[1, 1] == 128).all()
    shown = explain_pictures._draw(axes, "change", change[..., :1], 0.5)
    assert shown.get_array()[0, 0] == 0.5 and shown.get_cmap().name == "RdBu_r"
