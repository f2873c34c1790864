"""What files of generated images say of themselves: that they are generated, by what, and how to make them again."""

import contextlib
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

import jaxgan
from jaxgan import provenance

NAME = "jaxgan"
"""Of the text chunk in a PNG, and of the array in an .npz, that hold the facts as JSON."""
XMP = "XML:com.adobe.xmp"
"""Of the text chunk in a PNG that holds an XMP packet."""
IPTC = "http://cv.iptc.org/newscodes/digitalsourcetype/"
GENERATED, COMPOSITE = "trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia"
"""IPTC's digital source types: all of a trained generator; parts of it beside other images."""

TOOL = f"jaxgan {jaxgan.__version__}"
PACKET = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
    'xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
    'xmp:CreatorTool="{tool}" Iptc4xmpExt:DigitalSourceType="{kind}"/></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
)


class Said(NamedTuple):
    """What a file says of itself. Anybody can write or remove it: it is a statement, not a proof."""

    facts: dict[str, Any] | None
    """Of jaxgan; None where there are none."""
    kind: str | None
    """The last word of the IPTC digital source type, whoever wrote it; None where there is none."""


def facts(run: str | Path, step: int, params: Any) -> dict[str, Any]:
    """What all images of a generator have in common; no path, no name of a user.

    Args:
      run: the run directory, or a file of weights; its last name is taken.
      step: of the checkpoint.
      params: the generator's, a tree of arrays.
    """
    versions = {"jaxgan": jaxgan.__version__, "jax": provenance.versions()["jax"]}
    return versions | {"generated": True, "run": Path(run).resolve().name, "step": step, "weights": provenance.weights(params)}


def png(said: dict[str, Any], kind: str = GENERATED) -> PngInfo:
    """The chunks of a PNG: Software, the facts as JSON, and an XMP packet with IPTC's digital source type.

    Args:
      said: JSON. kind: GENERATED or COMPOSITE.
    Source: the PNG specification, 11.3.3 (texts); XMP part 3 (its place in a PNG); IPTC Photo Metadata Standard, Digital Source
      Type; NewsCodes for its values.
    """
    info = PngInfo()
    info.add_text("Software", TOOL)
    info.add_text(NAME, json.dumps(said))
    info.add_itxt(XMP, packet(kind).decode())
    return info


def packet(kind: str = GENERATED) -> bytes:
    """The XMP packet alone, for an animation or a film."""
    return PACKET.format(tool=TOOL, kind=IPTC + kind).encode()


def comment(said: dict[str, Any], kind: str = GENERATED) -> str:
    """The facts and IPTC's digital source type as JSON, for the comment of a film."""
    return json.dumps(said | {"DigitalSourceType": IPTC + kind})


def array(said: dict[str, Any]) -> np.ndarray:
    """The facts for an .npz, under NAME: a string of JSON, without dimensions."""
    return np.array(json.dumps(said))


def of_picture(picture: Image.Image) -> Said:
    """What an opened picture of any format says; of a PNG the facts too."""
    info = picture.info
    packet = info.get(XMP) or info.get("xmp") or info.get("comment") or ""  # of PNG, of WebP, of GIF
    packet = packet.decode("utf-8", "replace") if isinstance(packet, bytes) else str(packet)
    return Said(_parsed(info.get(NAME)), _kind(packet))


def of_comment(text: str) -> Said:
    """What the comment of a film says (`video.about`)."""
    facts = _parsed(text)
    return Said(facts and {name: fact for name, fact in facts.items() if name != "DigitalSourceType"}, _kind(text))


def of_arrays(path: Path) -> Said:
    """What an .npz says; nothing where it cannot be read."""
    with contextlib.suppress(Exception), np.load(path, allow_pickle=False) as file:
        found = _parsed(str(file[NAME])) if NAME in file else None
        return Said(found, GENERATED if found and found.get("generated") else None)
    return Said(None, None)


def _kind(text: str) -> str | None:
    found = re.search(re.escape(IPTC).replace("http:", "https?:") + r"(\w{1,80})", text)
    return found and found[1]


def _parsed(text) -> dict[str, Any] | None:
    with contextlib.suppress(ValueError, TypeError, RecursionError):
        found = json.loads(text)
        return found if isinstance(found, dict) else None
    return None
