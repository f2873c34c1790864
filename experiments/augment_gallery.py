"""`python -m experiments.augment_gallery [--data digits] [--out augmentations.png]`: a picture of every augmentation."""

import dataclasses
import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from experiments.cli import check_out, parse, run_command, writing
from jaxgan import augment, latents, watch
from jaxgan.augment.ada_pipe import NEEDS_COLOR
from jaxgan.data.images import as_picture
from jaxgan.data.open import open_source
from jaxgan.errors import UserError


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Draw every augmentation: one labelled row each, with the same images and seed in all."""

    data: str = "digits"
    """Images to augment: any --data of `experiments.train`."""
    data_dir: str = ""
    """Where TFDS data sets are stored; '' is TFDS's default."""
    out: str = "augmentations.png"
    """The picture, a .png."""
    size: tuple[int, int] | None = None
    """Height and width that images are brought to; None keeps their own (of digits 28 28)."""
    n: int = 10
    """Images per row."""
    rows: int | None = None
    """Number of rows to draw; the first six are the tutorial's augmentations."""
    p: float = 1.0
    """Probability that an image is transformed, in the rows with a single augmentation."""
    seed: int = 0
    """Seed of the random draws."""


def rows(channels: int, p: float) -> list[tuple[str, object]]:
    """(label, (key, x) -> x') of every row, the tutorial's four first."""

    def at(name, function, **options):
        return name, lambda key, x: function(key, x, p, **options)

    def with_saliency(name, function, **options):
        return name, lambda key, x: function(key, x, augment.saliency(_edges, x), p, **options)

    def from_another(key, x):
        other = jnp.roll(x, 1, axis=0)
        return augment.attentive_cutmix(key, x, other, augment.saliency(_edges, other), p)

    def keep(key, x):
        turned = augment.rotate(key, x, 1.0, max_degrees=90.0)
        return augment.keep_augment(key, x, turned, augment.saliency(_edges, x), p)

    out = [("as they are", lambda key, x: x)]
    ground = {"fill": "background"}  # plain for the digits; photographs are better off with the default, reflection
    out += [at(name, getattr(augment, name), **ground) for name in ("rotate", "scale")]
    out += [at(name, getattr(augment, name)) for name in ("crop", "flip")]
    out += [at("geometric (all four)", augment.geometric, **ground)]
    names = ("brightness", "saturation", "contrast", "color", "translation", "cutout", "diffaugment")
    out += [at(name, getattr(augment, name)) for name in names if channels > 1 or name != "saturation"]
    singles = [name for name in augment.ADA_TRANSFORMS if channels > 1 or name not in NEEDS_COLOR]
    out += [at(f"ada {name}", augment.ada, transforms=(name,)) for name in singles]
    out += [
        (f"ada {preset}, p = {q:g}", functools.partial(augment.ada, p=q, transforms=preset))
        for preset, q in (("bgc", 0.3), ("bgc", 0.8), ("r3gan", 0.3), ("bgcfnc", 0.8))
    ]
    return out + [
        ("saliency", lambda key, x: _as_images(augment.saliency(_edges, x), x)),
        with_saliency("attentive_cutout, hide", augment.attentive_cutout, telling="hide"),
        with_saliency("attentive_cutout, keep", augment.attentive_cutout, telling="keep"),
        with_saliency("attentive_crop, keep", augment.attentive_crop, telling="keep", size=0.6),
        with_saliency("attentive_crop, hide", augment.attentive_crop, telling="hide", size=0.6),
        ("keep_augment of a turn", keep),
        ("attentive_cutmix", from_another),
    ]


def _edges(x):
    """A stand-in for a discriminator, which looks at edges."""
    return sum(jnp.sum(jnp.diff(x, axis=axis) ** 2, axis=(1, 2, 3)) for axis in (1, 2))


def _as_images(maps, x):
    peak = jnp.max(maps, axis=(1, 2), keepdims=True)
    return jnp.broadcast_to((2 * maps / peak - 1)[..., None], x.shape)


def sheet(labelled: list[tuple[str, np.ndarray]]) -> Image.Image:
    """Rows of uint8 images [n, H, W, C] with their labels at the left; small images are enlarged by a whole factor."""
    n, h, w, _ = labelled[0][1].shape
    zoom = max(1, -(-56 // min(h, w)))
    tile_h, tile_w, label, gap = h * zoom, w * zoom, 190, 3
    picture = Image.new("RGB", (label + n * (tile_w + gap), len(labelled) * (tile_h + gap)), "white")
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(size=14)
    for i, (name, images) in enumerate(labelled):
        top = i * (tile_h + gap)
        pen.text((6, top + tile_h // 2), name, fill="black", font=font, anchor="lm")
        for j, image in enumerate(images):
            tile = as_picture(image).convert("RGB")
            tile = tile.resize((tile_w, tile_h), Image.Resampling.NEAREST)
            picture.paste(tile, (label + j * (tile_w + gap), top))
    return picture


def main() -> None:
    args = parse(Arguments, prog="python -m experiments.augment_gallery", examples=("--data photos/ --size 64 64 --rows 5",))
    out = Path(args.out)
    check_out(args.out, ".png")
    if not 1 <= args.n <= 100:
        raise UserError(f"--n {args.n}: must be in [1, 100]")
    if args.rows is not None and args.rows < 1:
        raise UserError(f"--rows {args.rows}: must be at least 1")
    source = open_source(args.data, data_dir=args.data_dir, size=args.size)
    if min(source.shape[:2]) < 8:
        raise UserError(f"--size: the images are {source.shape[0]}x{source.shape[1]}; give at least 8 8")
    pixels = source.read(np.linspace(0, source.n - 1, args.n).astype(int))
    x, key = jnp.asarray(pixels, jnp.float32) / 127.5 - 1, jax.random.key(args.seed)
    labelled = []
    for name, function in rows(source.shape[2], args.p)[: args.rows]:
        labelled.append((name, np.asarray(latents.as_bytes(jax.jit(function)(key, x)))))
    with writing(args.out):
        watch.write_picture(sheet(labelled), out)
    print(f"{len(labelled)} rows of {args.n} images of {source.name}: {out}")


if __name__ == "__main__":
    run_command(main)
