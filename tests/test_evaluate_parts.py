"""What the evaluate command compares with what, in this process: which reals, which fakes, what is written where."""

import json
import math
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import jaxgan.data
from experiments import evaluate, evaluate_pairs, invert, repair, safety
from experiments.evaluate import Arguments
from jaxgan import parallel
from jaxgan.data import of_arrays, shuffled
from jaxgan.errors import UserError
from jaxgan.metrics import measure
from jaxgan.metrics.contract import Estimate
from jaxgan.metrics.measure import Result
from jaxgan.metrics.protocols import PROTOCOLS

IMAGES = np.arange(3000, dtype=np.uint16).view(np.uint8).reshape(3000, 2, 1, 1)  # all different
SETTINGS = {"data": "own", "data_dir": "there", "split": "test", "background": "black", "fit": "pad", "skip_broken": True}
CONFIG = {"settings": SETTINGS | {"seed": 3, "hold_out": 0}, "data": {"shape": [8, 6, 3], "fingerprint": "x"}}


@pytest.fixture
def opened(monkeypatch):
    """What `open_source` was called with; it returns `IMAGES`."""
    seen = []
    monkeypatch.setattr(jaxgan.data, "open_source", lambda data, **how: seen.append((data, how)) or of_arrays(IMAGES))
    return seen


def test_the_reals_are_the_runs_or_others_made_like_them(opened):
    like = {"size": (8, 6), "channels": 3, "background": "black", "fit": "pad", "skip_broken": True, "progress": "bar"}
    for fields, config, data, how in (
        ({}, CONFIG, "own", {"data_dir": "there", "split": "test"}),
        ({"data_dir": "here", "split": "train"}, CONFIG, "own", {"data_dir": "here", "split": "train"}),
        ({"size": (4, 5)}, CONFIG, "own", {"data_dir": "there", "split": "test", "size": (4, 5)}),
        ({"against": "other"}, CONFIG, "other", {"data_dir": "", "split": "train"}),  # where the run's lie says nothing of others
        ({"against": "other", "data_dir": "here", "split": "test"}, CONFIG, "other", {"data_dir": "here", "split": "test"}),
    ):
        evaluate.real_images(Arguments("run", **fields), config, "bar")
        assert opened.pop() == (data, like | how)
    plain = {"size": None, "channels": None, "background": "white", "fit": "crop", "skip_broken": False, "progress": None}
    evaluate.real_images(Arguments("folder", against="other"), None, None)
    assert opened.pop() == ("other", plain | {"data_dir": "", "split": "train"})
    with pytest.raises(UserError, match="folder: what should it be compared with"):
        evaluate.real_images(Arguments("folder"), None, None)


def test_whatever_reads_images_for_a_run_makes_them_alike_as_it_did(tmp_path, monkeypatch):
    class Opened(Exception):
        pass

    def opened(data, **how):
        raise Opened(how["fit"], how["background"])

    settings = {"data": "own", "fit": "pad", "background": "red", "target": "", "hold_out": 0, "side_by_side": "", "degrade": []}
    settings |= {"source_channels": None, "data_dir": "", "split": "train", "size": None, "channels": None, "skip_broken": False}
    trained = SimpleNamespace(generator=SimpleNamespace(shape=(8, 8, 3)), config={"settings": settings})
    monkeypatch.setattr(safety, "open_source", opened)
    monkeypatch.setattr(repair, "open_source", opened)
    monkeypatch.setattr(evaluate_pairs, "open_pairs", opened)
    for read in (
        lambda: safety.refuser(trained, "digits", "", "pixels", 0.1, out=tmp_path / "out.png"),
        lambda: evaluate_pairs.images(Arguments("run"), trained.config, trained.generator, None),
        lambda: repair.read(invert.Arguments("run", "digits"), trained),
    ):
        with pytest.raises(Opened, match="pad.*red"):
            read()
    Image.new("RGB", (8, 4)).save(tmp_path / "x.png")
    _, (image,), _ = repair.read(invert.Arguments("run", str(tmp_path / "x.png"), resize=True), trained)
    np.testing.assert_array_equal(image[[0, 1, 6, 7]], np.broadcast_to(np.uint8([255, 0, 0]), (4, 8, 3)))


def test_pairs_are_those_held_out_or_others_made_as_the_runs(monkeypatch, capsys):
    """Others of one set, of halves and of two sets; those of a sorted set are taken from all of it."""
    settings = SETTINGS | {"side_by_side": "left", "source_channels": None, "target": "", "degrade": ["blur"], "size": None}
    config = {"settings": settings | {"hold_out": 5, "seed": 3, "channels": None}, "data": {"fingerprint": ""}}
    seen, generator = [], SimpleNamespace(shape=(8, 6, 3), source_channels=1)
    of = of_arrays(IMAGES)
    opened = lambda data, **how: seen.append({"data": data} | how) or of._replace(inputs=of)
    monkeypatch.setattr(evaluate_pairs, "open_pairs", opened)
    own = {"data": "own", "side_by_side": "left", "target": "", "size": None, "channels": None, "source_channels": None}
    others = own | {"size": (8, 6), "channels": 3, "source_channels": 1}
    for given, held, which, how in (
        ({}, 5, "pairs", own | {"split": "test"}),
        ({"split": "val"}, 0, "pairs", others | {"split": "val"}),
        ({"data": "a"}, 0, "pairs", others | {"data": "a"}),
        (
            {"data": "a", "target": "b", "size": (9, 9)},
            0,
            "pairs",
            others | {"data": "a", "target": "b", "side_by_side": "", "size": (9, 9)},
        ),
    ):
        _, *rest = evaluate_pairs.images(Arguments("run", **given), config, generator, None)
        assert rest == [held, which] and how.items() <= seen.pop().items(), given
        assert ("has changed since" in capsys.readouterr().out) == (not given)
    assert evaluate_pairs.images(Arguments("run", size=(9, 9)), config, generator, None)[1:] == (5, "pairs")
    assert "has changed since" not in capsys.readouterr().out  # at another size it is another set
    config["settings"] |= {"hold_out": 0, "side_by_side": ""}
    assert evaluate_pairs.images(Arguments("run"), config, generator, None)[1:] == (0, "training pairs")
    assert evaluate_pairs.images(Arguments("run", data="a"), config, generator, None)[1:] == (0, "pairs")
    assert seen[-1]["source_channels"] is None  # of degraded images
    index = evaluate_pairs.chosen(3000, 0, 0)
    assert sorted(index) == list(range(3000)) and abs(index[:300].mean() / 3000 - 0.5) < 0.1
    assert evaluate_pairs.chosen(30, 4, 3).tolist() == [26, 27, 28]


def test_what_is_measured_by_default_exists_for_the_data():
    images = np.zeros((4, 8, 8, 4), np.uint8)
    sets = [of_arrays(images, np.arange(4)), of_arrays(images[..., :3], np.arange(4)), of_arrays(images[..., :1])]
    sets.append(of_arrays(images[..., :3], np.eye(4, dtype=np.float32)))
    found = [evaluate.default_metrics(one) for one in sets]
    assert found == [("swd10k",), ("fd10k", "pr10k", "swd10k"), ("random10k", "swd10k"), ("random10k", "swd10k")]


def test_data_have_changed_where_their_fingerprint_has():
    source = of_arrays(IMAGES)
    config = lambda fingerprint, held: {"settings": {"seed": 3, "hold_out": held}, "data": {"fingerprint": fingerprint}}
    laid = shuffled(source, 3).fingerprint
    assert laid != source.fingerprint
    assert not evaluate.changed(config(source.fingerprint, 0), source) and not evaluate.changed(config(laid, 5), source)
    assert evaluate.changed(config(laid, 0), source) and evaluate.changed(config(source.fingerprint, 5), source)


def test_images_of_a_folder_are_taken_in_an_order_of_their_own_and_all_of_them(opened):
    source = of_arrays(IMAGES)
    for n, limit in ((0, 3000), (7, 7), (9999, 3000)):
        pieces, labels, found, of = evaluate.generated(Arguments("folder", size=(2, 1), n=n), None, source, 0, "bar")
        assert (found, of) == (limit, {"images": "folder"})
        assert opened.pop() == ("folder", {"size": (2, 1), "channels": 1, "progress": "bar"})
        pieces = list(pieces)
        assert [len(piece) for piece in pieces] == [1024, 1024, 952]
        seen = np.concatenate(pieces)
        assert (seen[:7] != IMAGES[:7]).any()  # the first of a folder may all be of its first class
        np.testing.assert_array_equal(np.sort(seen.reshape(3000, 2).view(np.uint16), None), np.arange(3000))
    evaluate.check_size("x", (2, 1, 3), source)
    for shape in ((2, 2, 1), (1, 1, 1)):
        with pytest.raises(UserError, match="x: its images are {0}x{1}, the real ones 2x1; give --size {0} {1}".format(*shape)):
            evaluate.check_size("x", shape, source)


def test_images_of_a_run_are_those_of_sample_with_the_classes_of_the_data(monkeypatch, capsys):
    from jaxgan import label_vectors, restore

    calls = []
    source = of_arrays(IMAGES, np.arange(3000) % 3)
    trained = SimpleNamespace(generator=SimpleNamespace(classes=3, shape=(2, 1, 1)), vectors=None, step=9)
    trained.stream = lambda n, **options: calls.append((n, options)) or "pieces"
    monkeypatch.setattr(restore, "load", lambda run, **which: calls.append((run, which)) or trained)
    args = Arguments("run", seed=4, psi=0.5, average=0.1, checkpoint="best", n=6)
    images, labels, limit, of = evaluate.generated(args, CONFIG, source, 50, None)
    assert (images, limit) == ("pieces", 6) and of == {"run": "run", "step": 9, "seed": 4, "psi": 0.5, "average": 0.1}
    (run, which), (n, options) = calls
    assert (run, which, n) == ("run", {"checkpoint": "best", "average": 0.1}, 50)
    np.testing.assert_array_equal(options.pop("label"), label_vectors.drawn(source.labels, 4, 50))
    np.testing.assert_array_equal(labels, label_vectors.drawn(source.labels, 4, 50))
    assert options == {"seed": 4, "psi": 0.5}
    for names, order, said in ((["2", "0", "1"], [1, 2, 0], False), (["a", "b", "c"], [0, 1, 2], True)):  # the run's
        named = CONFIG | {"data": CONFIG["data"] | {"class_names": names}}
        _, found, *_ = evaluate.generated(args, named, source, 50, None)
        np.testing.assert_array_equal(found, labels)
        np.testing.assert_array_equal(calls[-1][1]["label"], np.array(order)[labels])
        assert ("have classes of other names" in capsys.readouterr().out) == said
    trained.vectors = np.ones((5, 3), np.float32)  # of which the run itself draws
    evaluate.generated(args, CONFIG, source, 50, None)
    assert calls[-1][1]["label"] is None


@pytest.mark.parametrize(
    "names, n, need",
    [
        (("fd10k", "swd2k"), 0, 10_000),
        (("fd10k", "swd2k"), 300, 300),
        (("fd10k", "swd2k"), 20_000, 10_000),
        ((), 0, 10_000),
        (("fid_pytorch",), 300, 300),  # a run has no end
        (("fid_pytorch", "fd2k"), 5000, 5000),
        (("fid_pytorch", "fd2k"), 0, 2000),
        (("fid_pytorch",), 0, None),
    ],
)
def test_as_many_images_are_made_as_the_metrics_take(names, n, need, monkeypatch, capsys):
    source, given = of_arrays(IMAGES), []
    monkeypatch.setattr(evaluate, "real_images", lambda args, config, update: source)
    monkeypatch.setattr(
        evaluate, "generated", lambda args, config, of, n, update: given.append(n) or ("pieces", "labels", n, "it")
    )
    monkeypatch.setattr(
        measure, "ready", lambda *which, weights: given.append((which, weights)) or SimpleNamespace(protocols=PROTOCOLS)
    )
    monkeypatch.setattr(
        measure, "measure", lambda meter, images, labels, limit, progress: given.append((images, labels, limit)) or RESULTS
    )
    monkeypatch.setattr(evaluate, "write", lambda args, lines: given.append(lines))
    go = lambda **fields: evaluate.of_images(Arguments("run", n=n, dinov2="a.pth", **fields), CONFIG, names)
    if need is None:
        with pytest.raises(
            UserError, match="--metrics fid_pytorch: they use all images there are, and a run has no limit; give --n"
        ):
            go()
        return
    go()
    against = {"against": "arrays", "split": "test", "fingerprint": source.fingerprint}  # the split is that of CONFIG
    written = [measure.as_json(r, PROTOCOLS[r.name]) | {"of": "it"} | against for r in RESULTS]
    asked = ((names or ("random10k", "swd10k"), source), {"inception": "", "dinov2": "a.pth"})
    assert given == [need, asked, ("pieces", "labels", need), written]
    assert "note: arrays has changed since the run was trained on it" in capsys.readouterr().out
    go(against="other")
    said = capsys.readouterr().out
    assert "has changed" not in said and "classifier is trained" not in said
    go(split="train[:9]")
    assert ("note: the classifier is trained on --split train[:9]" in capsys.readouterr().out) == bool(
        {"fd10k", "fd2k"} & {*names}
    )


@pytest.fixture
def measured(tmp_path, monkeypatch):
    """`main` in a folder with a run, two files of weights and a folder of images: what it hands on for its arguments."""
    seen = []
    for name, config in (("run", {}), ("pairs", {"inputs": [2, 2, 1]})):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps({"jaxgan": "0", "generator": {}, "data": config}))
    for name in ("g.safetensors", "g.pkl"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(parallel, "share_cores", lambda *_: None)
    monkeypatch.setattr(evaluate, "of_generator", lambda args, own: seen.append(list(own)))
    monkeypatch.setattr(evaluate, "of_images", lambda args, config, names: seen.append((config is not None, names)))
    monkeypatch.setattr(evaluate_pairs, "evaluate", lambda args, config: seen.append((args.reverse, config["data"])))

    def main(*args):
        monkeypatch.setattr("sys.argv", ["evaluate", *args])
        evaluate.main()
        return [seen.pop(0) for _ in range(len(seen))]

    return main


def test_generators_and_images_are_measured_each_by_its_metrics(measured):
    for args, wanted in (
        (("run",), [(True, ())]),
        (("run", "--metrics", "fd10k", "eqt"), [["eqt50k_int"], (True, ("fd10k",))]),
        (("run", "--metrics", "eqt", "ppl", "--psi", "0.5", "--checkpoint", "best"), [["eqt50k_int", "ppl2_wend"]]),
        (("folder", "--n", "5"), [(False, ())]),
        (("g.safetensors", "--metrics", "eqr", "--seed", "3", "--psi", "0.5"), [["eqr50k"]]),
        (("g.pkl", "--metrics", "eqr"), [["eqr50k"]]),
        (("pairs", "--reverse"), [(True, {"inputs": [2, 2, 1]})]),
    ):
        assert measured(*args) == wanted, args


@pytest.mark.parametrize(
    "args, says",
    [
        ("run --reverse", "--reverse only applies to runs that translate both ways"),
        (
            "folder --data x --against y",
            "--data only applies to runs that make images from images; the real images are --against",
        ),
        ("run --paired", "--paired only applies to runs that make images from images"),
        ("run --checkpoint newest", "newest"),
        ("run --n -1", "--n -1"),
        ("run --metrics lpips", "lpips is not measured on images but on pairs"),
        ("nowhere", "nowhere: there is no such run, folder"),
        ("folder --metrics eqt", "eqt50k_int is not measured on images but on a generator"),
        ("folder --seed 3", "--seed 3: it only applies to a run, and folder holds images"),
        ("folder --average 0.1", "--average 0.1: it only applies to a run, and folder holds images"),
        ("g.pkl", "g.pkl: holds one generator; give --metrics, of eqt50k_int"),
        ("g.pkl --metrics fd10k", "g.pkl: holds one generator; give --metrics"),
        ("g.pkl --metrics fd10k eqt", "fd10k is not measured on a generator but on images"),
        ("g.pkl --metrics eqt --checkpoint 3", "--checkpoint 3: it only applies to a run, and g.pkl holds one generator"),
    ],
)
def test_what_cannot_be_measured_is_said_first(measured, args, says):
    with pytest.raises(UserError, match=says) as e:
        measured(*args.split())
    assert "\n" not in str(e.value)


RESULTS = [
    Result("swd10k", {"": Estimate(1.25, math.nan)}, 6, 7, ("few",)),
    Result("pr10k", {"precision": Estimate(0.5, 0.0123), "recall": Estimate(0.25, 0.01)}, 8, 9, ("few", "fewer")),
]


def test_numbers_go_to_the_file_asked_for_or_the_run_or_nowhere(tmp_path, capsys):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("{}")
    rows = [measure.as_json(r._replace(extractor="5eed" * i), PROTOCOLS[r.name]) | {"of": 1} for i, r in enumerate(RESULTS)]
    write = lambda what, out="": evaluate.write(Arguments(str(tmp_path / what), out=out), rows)
    own, asked = tmp_path / "run" / "metrics.jsonl", tmp_path / "made" / "a.jsonl"
    assert write("folder") is None and not list(tmp_path.rglob("*.jsonl"))
    assert write("run") == own and write("run") == own and write("run", str(asked)) == asked == write("folder", str(asked))
    assert capsys.readouterr().out.splitlines() == [f"2 lines added to {path}" for path in (own, own, asked, asked)]
    for path in (own, asked):
        lines = [json.loads(line) for line in Path(path).read_text().splitlines()]
        assert [line["metric"] for line in lines] == ["swd10k", "pr10k"] * 2 and all(line["of"] == 1 for line in lines)
        assert lines[0]["value"] == [1.25, None] and lines[1]["recall"] == [0.25, 0.01]
        assert "extractor" not in lines[0] and lines[1]["extractor"] == "5eed"
    with pytest.raises(UserError, match="--out .*: it cannot be written"):
        write("folder", str(own / "below"))
    own.unlink()
    own.mkdir()  # as of a run that may only be read
    assert write("run") is None and "note: --out" in capsys.readouterr().out


def test_the_table_has_every_number_and_each_note_once(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    corrected = Result("fd10k", {"": Estimate(3.5, 0.1)}, 10, 11, corrected=3.25)
    evaluate.show([*RESULTS, corrected], PROTOCOLS, "the title of photos [old]")
    said = capsys.readouterr().out
    rows = (r"swd10k +│ 1\.25 +│ +│ 6 ", r"pr10k precision +│ 0\.5 +│ 0\.0123 +│ 8 ", r"pr10k recall +│ 0\.25 +│ 0\.01 +│ 8 ")
    rows = (*rows, r"fd10k +│ 3\.5 +│ 0\.1 +│ 10 ", r"fd10k corrected +│ 3\.25 +│ +│ inf ")
    assert all(re.search(row, said) for row in rows) and said.count("corrected") == 1, said
    assert said.count("note: few\n") == said.count("note: fewer\n") == 1 and "the title of photos [old]" in said
    monkeypatch.setenv("COLUMNS", "45")
    evaluate.show(RESULTS, PROTOCOLS, "the title")
    said = capsys.readouterr().out
    assert "1.25" in said and "0.0123" in said and "pr10k precision" in said, said


def test_a_watermark_of_other_channels_is_refused():
    trained = SimpleNamespace(generator=SimpleNamespace(shape=(8, 8, 5)), variables={"params": {}}, step=1)
    with pytest.raises(UserError, match="--watermark: .* have 5 channels; leave it out"):
        safety.output("runs/x", trained, "key")
    assert safety.output("runs/x", trained).key == ""
