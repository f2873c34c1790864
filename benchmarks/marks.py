"""What does a watermark survive, and which copies are rejected? The tables of docs/use.md.

`python -m benchmarks.marks SOURCE [--strength 2]`: SOURCE is any --data. First, up to --images of its images are watermarked: the
detection rate, singly and in sets of 64, after typical changes of a file, and of what is made without the key of a few marked
images: others that bear the mark, and marked ones without it; and the false positives over wrong keys. Then, with a
training set of --train of the images (the rest are fresh): the rate at which `--refuse-copies` rejects fresh images and copies.
"""

import io

import numpy as np
from PIL import Image, ImageFilter

from benchmarks.result import as_command, command_line, count, say
from jaxgan import watermark
from jaxgan.data import open_source
from jaxgan.data.images import as_picture
from jaxgan.metrics import copies, measure

KEY, SET = "a key", 64


def by_picture(change):
    """Of a change of a PIL picture, the one of uint8 [n, H, W, C]."""

    def apply(x):
        made = [np.asarray(change(as_picture(image))) for image in x]
        return np.stack(made).reshape(len(x), *made[0].shape[:2], -1)

    return apply


def jpeg(quality: int):
    def change(picture):
        file = io.BytesIO()
        picture.save(file, "jpeg", quality=quality)
        return Image.open(file)

    return by_picture(change)


def scaled(factor: float, back: bool):
    def change(picture):
        small = picture.resize([round(side * factor) for side in picture.size], Image.Resampling.BICUBIC)
        return small.resize(picture.size, Image.Resampling.BICUBIC) if back else small

    return by_picture(change)


def levels(change):
    return lambda x: np.clip(np.rint(change(x.astype(np.float32))), 0, 255).astype(np.uint8)


def noise(deviation: float):
    return levels(lambda x: x + np.random.default_rng(0).normal(0, deviation, x.shape))


def cropped(x):
    h, w = x.shape[1:3]
    return x[:, h // 10 : h - h // 10, w // 10 : w - w // 10]


BEFALLS = {
    "as written": lambda x: x,
    "JPEG 90": jpeg(90),
    "JPEG 75": jpeg(75),
    "noise, standard deviation 5": noise(5),
    "to 90 % and back": scaled(0.9, True),
    "to 90 %, not back": scaled(0.9, False),
    "brighter by 10": levels(lambda x: x + 10),
    "a fifth cropped": cropped,
    "mirrored": lambda x: x[:, :, ::-1],
}
SEARCHED = "a fifth cropped", "mirrored"
"""What is looked for as `verify --cropped` does."""
COPIES = {
    "exact copies": lambda x: x,
    "noise 5": noise(5),
    "noise 15": noise(15),
    "blurred": by_picture(lambda picture: picture.filter(ImageFilter.GaussianBlur(0.8))),
    "brighter by 15": levels(lambda x: x + 15),
    "contrast 0.8": levels(lambda x: (x - 128) * 0.8 + 128),
    "shifted by a pixel": lambda x: np.roll(x, 1, 2),
    "mirrored": lambda x: x[:, :, ::-1],
}


def found(images: np.ndarray, strength: float) -> dict:
    """Per cent found after each of `BEFALLS`: of single images and of sets."""
    marked = watermark.embed(images, KEY, strength)
    rows = {}
    for name, befall in BEFALLS.items():
        e, search = watermark.evidence(befall(marked)), name in SEARCHED
        scores = watermark.score(e, KEY, cropped=search)
        sets = np.stack([e[i : i + SET].sum(0) for i in range(0, len(e) - SET + 1, SET)])
        share = lambda z: round(float(100 * (z >= watermark.FOUND).mean()), 1)
        rows[name] = {"single": share(scores), "sets": share(watermark.score(sets, KEY, cropped=search))}
    squares = np.square(marked.astype(np.float64) - images).mean()
    return rows | {"psnr": round(float(10 * np.log10(255**2 / squares)), 1)}


def stolen(images: np.ndarray, strength: float) -> dict:
    """Per cent of single images found: the signs of the evidence of n marked images, added to unmarked ones at the same strength
    ("forged"), and subtracted from marked ones ("cleaned")."""
    n, (h, w) = len(images) // 2, images.shape[1:3]
    marked, rows = watermark.embed(images, KEY, strength), {}
    share = lambda x: round(float(100 * (watermark.detect(x, KEY) >= watermark.FOUND).mean()), 1)
    for k in (k for k in (1, 16, 256) if k <= n):
        tile = np.sign(watermark.evidence(marked[:k]).sum(0))
        pattern = strength * np.tile(tile, (-(-h // len(tile)), -(-w // len(tile))))[:h, :w, None]
        add = lambda x, sign, pattern=pattern: levels(lambda y: y + sign * pattern)(x)
        rows[f"from {k}"] = {"forged": share(add(images[n:], 1)), "cleaned": share(add(marked[n:], -1))}
    return rows


def false_positives(images: np.ndarray, keys: int) -> dict:
    """Scores of unmarked images under wrong keys: their deviation, and shares above 3 and 4 (normal: 1.35e-3, 3.2e-5)."""
    e = watermark.evidence(images)
    z = np.concatenate([watermark.score(e, f"key {k}") for k in range(keys)])
    return {
        "scores": len(z),
        "deviation": round(float(z.std()), 4),
        "above 3": float((z > 3).mean()),
        "above 4": float((z > 4).mean()),
    }


def refused(source, train: int) -> dict:
    """Per cent refused by pixels, of fresh images and of copies of 300 training images."""
    order = np.random.RandomState(0).permutation(source.n)[: train + 2000]
    taken, fresh = order[:train], order[train:]
    part = {"n": len(taken), "labels": None, "classes": 0}
    part |= {"fingerprint": f"{source.fingerprint} {train}"}  # by which features are cached
    known = source._replace(read=lambda index: source.read(taken[index]), **part)
    test = copies.copies(known, measure.extractor("pixels", source))
    share = lambda x: round(float(100 * (1 - test.accept(x).mean())), 1)
    base = source.read(taken[:300])
    return {"fresh": share(source.read(fresh)), **{name: share(np.ascontiguousarray(f(base))) for name, f in COPIES.items()}}


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("source", help="any --data")
    parser.add_argument("--data-dir", default="", help="where TFDS sets are stored, if not in TFDS's default")
    parser.add_argument("--images", type=count, default=1000, help="images to watermark, at most")
    parser.add_argument("--strength", type=float, nargs="*", default=[2.0], help="amplitudes in grey levels")
    parser.add_argument("--keys", type=count, default=300, help="number of wrong keys to count false positives over")
    parser.add_argument("--train", type=count, default=20_000, help="images in the training set, at most")
    args = parser.parse_args()
    source = open_source(args.source, data_dir=args.data_dir)
    images = source.read(np.sort(np.random.RandomState(0).permutation(source.n)[: args.images]))
    for strength in args.strength:
        say({"source": source.name, "strength": strength, "found": found(images, strength)}, args.out)
        say({"source": source.name, "strength": strength, "stolen": stolen(images, strength)}, args.out)
    say({"source": source.name, "false positives": false_positives(images, args.keys)}, args.out)
    train = min(args.train, source.n * 3 // 4)
    say({"source": source.name, "train": train, "refused": refused(source, train)}, args.out)


if __name__ == "__main__":
    as_command(main)
