"""What files say of themselves, read by the formats' own rules; and that those who read images are not disturbed."""

import json
import struct
import zlib
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

import jaxgan
from jaxgan import marks, provenance, watch
from jaxgan.data import open_source, read_all

FACTS = {"run": "d\u00e9j\u00e0", "index": 3, "label": None}


def chunks(path):
    """(type, content) of a PNG, by its specification."""
    data, at, found = path.read_bytes(), 8, []
    while at < len(data):
        (size,) = struct.unpack(">I", data[at : at + 4])
        kind, content = data[at + 4 : at + 8], data[at + 8 : at + 8 + size]
        assert struct.unpack(">I", data[at + 8 + size : at + 12 + size])[0] == zlib.crc32(kind + content)
        found.append((kind.decode(), content))
        at += 12 + size
    return found


def test_a_picture_says_that_it_is_generated_and_by_what(tmp_path):
    picture = Image.new("L", (4, 4), 7)
    watch.write_picture(picture, tmp_path / "a.png", marks.png(FACTS))
    found = chunks(tmp_path / "a.png")
    texts = dict(content.split(b"\0", 1) for kind, content in found if kind == "tEXt")
    assert texts[b"Software"].decode() == f"jaxgan {jaxgan.__version__}" and json.loads(texts[b"jaxgan"]) == FACTS
    ((name, rest),) = (content.split(b"\0", 1) for kind, content in found if kind == "iTXt")
    assert name == b"XML:com.adobe.xmp" and rest[:4] == bytes(4)  # not compressed, no language, no translated name
    packet = rest[4:].decode("utf-8")
    assert packet.startswith("<?xpacket begin=") and packet.endswith('<?xpacket end="w"?>')
    (description,) = ElementTree.fromstring(packet)[0]
    attributes = {name: value for name, value in description.attrib.items() if "iptc.org" in name}
    assert attributes == {
        "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType": (
            "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
        )
    }
    with Image.open(tmp_path / "a.png") as again:
        assert marks.of_picture(again) == (FACTS, "trainedAlgorithmicMedia")
        np.testing.assert_array_equal(np.asarray(again), np.asarray(picture))
    watch.write_picture(picture, tmp_path / "plain.png")
    assert [kind for kind, _ in chunks(tmp_path / "plain.png")] == ["IHDR", "IDAT", "IEND"]


def test_what_others_wrote_is_read_with_care(tmp_path):
    path = tmp_path / "a.jpg"
    packet = marks.PACKET.format(tool="theirs", kind="https" + marks.IPTC[4:] + "digitalCapture").encode()
    Image.new("RGB", (4, 4)).save(path, xmp=packet)
    with Image.open(path) as picture:
        assert marks.of_picture(picture) == (None, "digitalCapture")
    for text in ("[1]", "{", "[" * 100_000, ""):
        info = marks.PngInfo()
        info.add_text(marks.NAME, text)
        watch.write_picture(Image.new("L", (4, 4)), tmp_path / "b.png", info)
        with Image.open(tmp_path / "b.png") as picture:
            assert marks.of_picture(picture) == (None, None)
    (tmp_path / "c.npz").write_bytes(b"no zip")
    assert marks.of_arrays(tmp_path / "c.npz") == (None, None)


def test_sets_of_such_files_are_read_as_before(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (3, 6, 5, 3), np.uint8)
    labels = np.array([0, 2, 1])
    watch.write_arrays(tmp_path / "a.npz", images=images, labels=labels, jaxgan=marks.array(FACTS | {"generated": True}))
    assert marks.of_arrays(tmp_path / "a.npz") == (FACTS | {"generated": True}, "trainedAlgorithmicMedia")
    source = open_source(str(tmp_path / "a.npz"))
    np.testing.assert_array_equal(read_all(source), images)
    np.testing.assert_array_equal(source.labels, labels)
    for i, image in enumerate(images):
        watch.write_picture(Image.fromarray(image), tmp_path / "in" / f"{i}.png", marks.png(FACTS))
    np.testing.assert_array_equal(read_all(open_source(str(tmp_path / "in"))), images)


def test_the_facts_hold_the_weights_and_no_path(tmp_path, monkeypatch):
    params = {"b": {"x": np.ones(2, np.float32)}, "a": np.zeros((), np.float32)}
    found = marks.facts(tmp_path / "my run", 7, params)
    assert found["run"] == "my run" and found["step"] == 7 and found["generated"] is True
    assert str(tmp_path.parent) not in json.dumps(found)
    monkeypatch.chdir(tmp_path)
    assert marks.facts(".", 7, params)["run"] == tmp_path.name
    assert found["weights"] == provenance.weights({"a": params["a"], "b": dict(params["b"])})
    changed = [params | {"a": np.float32(1e-7)}, params | {"b": {"x": np.ones((2, 1), np.float32)}}]
    changed += [{"b": params["b"], "c": params["a"]}, params | {"b": {"y": params["b"]["x"]}}]
    assert len({provenance.weights(tree) for tree in (params, *changed)}) == 5


@pytest.mark.parametrize("kind", [marks.GENERATED, marks.COMPOSITE])
def test_the_kind_is_read_back(tmp_path, kind):
    watch.write_picture(Image.new("RGBA", (2, 2)), tmp_path / "a.png", marks.png({}, kind))
    with Image.open(tmp_path / "a.png") as picture:
        assert marks.of_picture(picture) == ({}, kind)
