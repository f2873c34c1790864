"""What the commands do so that their images are safe to hand on: say that they are generated, mark them, refuse copies."""

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from experiments.cli import own_data
from experiments.film import FILMS
from jaxgan import marks, restore, watch, watermark
from jaxgan.data import open_source
from jaxgan.data.images import SUFFIXES, colour, laid_on
from jaxgan.errors import UserError
from jaxgan.settings import made_alike


class Output(NamedTuple):
    """What every file that is written carries."""

    facts: dict[str, Any]
    key: str = ""
    strength: float = 2.0

    def marked(self, images: np.ndarray) -> np.ndarray:
        """uint8 [..., H, W, C] with the watermark, or as they are where there is no key."""
        if not self.key:
            return images
        return watermark.embed(images.reshape(-1, *images.shape[-3:]), self.key, self.strength).reshape(images.shape)

    def write_picture(self, picture: Image.Image, path: Path, kind: str = marks.GENERATED, **facts) -> None:
        """A PNG, marked as a whole."""
        if self.key:
            pixels = np.asarray(picture)
            picture = Image.fromarray(self.marked(pixels[..., None] if pixels.ndim == 2 else pixels).reshape(pixels.shape))
        watch.write_picture(picture, path, marks.png(self.facts | facts, kind))

    def write_film(
        self, pictures: Iterable[Image.Image], path: Path, fps: float, crf: int | None = None, kind: str = marks.GENERATED
    ) -> int:
        """A film or an animation; how many pictures. The metadata say what it is: of an .mp4 and .webm all facts."""
        said = {"crf": crf, "comment": marks.comment(self.facts, kind)}
        return watch.write_animation(pictures, path, fps, marks.packet(kind), **said)

    def write_arrays(self, path: Path, facts: dict[str, Any], images: np.ndarray, **arrays: np.ndarray) -> None:
        """An .npz, each image marked."""
        said = marks.array(self.facts | facts)
        watch.write_arrays(path, images=self.marked(images), **arrays, **{marks.NAME: said})


def background(name: str, trained: restore.Trained) -> Callable[[np.ndarray], np.ndarray]:
    """How --background changes images; '' leaves them so. UserError: no colour, or no transparency."""
    if not name:
        return lambda images: images
    if trained.generator.shape[2] != 4:
        raise UserError(f"--background {name}: this run's images are not transparent (train with --channels 4); leave it out")
    return partial(laid_on, background=colour(name))


def output(run: str, trained: restore.Trained, key: str | None = None, strength: float = 2.0, **facts) -> Output:
    """Of a run and what was asked of it. UserError where a watermark cannot be made so."""
    if key is not None:
        watermark.signs(key)
    if key is not None and not 1 <= strength <= 32:
        raise UserError(f"--watermark-strength {strength:g}: it must be 1 to 32 grey levels")
    channels = trained.generator.shape[2]
    if key and channels not in (1, 3, 4):
        raise UserError(f"--watermark: it is of grey or colour images, and this run's have {channels} channels; leave it out")
    said = marks.facts(run, trained.step, trained.variables["params"]) | facts
    return Output(said | ({"watermark": strength} if key else {}), key or "", strength)


def keep_sources(out: Path, *given: str) -> None:
    """UserError where what is written to `out` would replace an image that it is made of.

    Args:
      out: a .png, an .npz or a film, else a folder that gets files under their names.
      given: files and folders of images; names of data sets are no matter.
    """
    inside = out.resolve()
    for name in given:
        path = Path(name).expanduser().resolve()
        if out.suffix.lower() in (".png", ".npz", *FILMS):
            among = path in inside.parents and inside.suffix.lower() in SUFFIXES and inside.exists()  # an image of the folder
            replaces = inside == path or among
        else:
            replaces = path in (inside, *inside.parents) if path.is_dir() else path.is_file() and inside == path.parent
        if replaces:
            raise UserError(f"--out {out} would overwrite {name}; give another")


def refuser(
    trained: restore.Trained, name: str, data_dir: str, kind: str, share: float, *, out: Path
) -> Callable[[np.ndarray], np.ndarray]:
    """The test that refuses copies of a data set; says how near is too near, and how often a real image would be refused.

    Args:
      name: any --data, or 'own' for what the run was trained on.
      data_dir: where TFDS sets live; '' is the run's.
      kind: of features, as `measure.extractor` names them.
      share: of real images that may be refused.
      out: what is to be written; UserError where that is the data set, or in it.
    """
    from jaxgan.metrics import copies, measure

    settings = trained.config.get("settings", {})
    if name == "own" and "data" not in settings:
        raise UserError("--refuse-copies own: this is not a run directory, so its training data is unknown; name the data")
    own = name in ("own", settings.get("data"))
    data = own_data(trained.config, "--refuse-copies DATA") if name == "own" else name
    if not Path(data, "config.json").is_file():  # a run's directory with the name of its set, as `open_source` has it
        keep_sources(out, data)
    with watch.counter("training images") as update:
        source = open_source(
            data,
            data_dir=data_dir or settings.get("data_dir", ""),
            split=settings.get("split", "train") if own else "train",
            size=trained.generator.shape[:2],
            channels=trained.generator.shape[2],
            **made_alike(settings),
            skip_broken=settings.get("skip_broken", False),
            progress=update,
        )
        extractor = measure.extractor(kind, source)
        found = copies.copies(source, extractor, share=share, mirror=settings.get("mirror", False), progress=update)
    print(
        f"refused is what lies within {found.threshold:.4g} of an image of {source.name}, in {extractor.name}, "
        f"as {found.share.value:.2%} of its own images do to another (± {found.share.error:.2%}), half of them within "
        f"{found.median:.4g}"
    )
    return found.accept
