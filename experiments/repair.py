"""What `python -m experiments.invert` does: images read, damaged, inverted, compared and written."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from experiments import safety
from experiments.translate import as_png, holes
from jaxgan import damage, invert, marks, restore, translate, watch
from jaxgan.data import degrade, loose, open_source, prepared
from jaxgan.data.source import left_out
from jaxgan.errors import UserError
from jaxgan.metrics import lpips
from jaxgan.settings import made_alike


class View(NamedTuple):
    """What is known of the images."""

    shown: np.ndarray
    """uint8 [n, H, W, C]: them, damaged."""
    damage: object
    """How `invert.invert` is to see the generator's images; None: as they are."""
    missing: np.ndarray | None
    """bool [n, H, W]: holes."""


def write(trained: restore.Trained, args, out: Path) -> str:
    """Invert the images of `args`, an `experiments.invert.Arguments`, and write the result; what there is to say of it.

    Raises:
      UserError: images, a mask or a damage that do not fit; OSError where it cannot be written.
    """
    names, sources, skipped = read(args, trained)
    safety.keep_sources(out, args.source, *[args.mask] * bool(args.mask))
    view = seen(args, trained, names, sources)
    search = invert.Search(**{name: getattr(args, name) for name in invert.Search._fields if hasattr(args, name)})
    if args.lpips:
        lpips.check(trained.generator.shape)
        search = search._replace(features=partial(lpips.layers, jax.device_put(lpips.load(args.lpips))))
    options = {"label": args.label, "vectors": trained.vectors, "search": search, "damage": view.damage, "missing": view.missing}
    with watch.counter("inverting") as update:
        found = invert.invert(trained.generator, trained.variables, view.shown, **options, progress=update)
    missing = None if view.missing is None else view.missing[..., None]
    repaired = found.images if missing is None else np.where(missing, found.images, sources)
    said = ("damage", "label", "space", "steps", "starts", "draws", "prior", "noise", "seed", "average")
    files = safety.output(
        args.run,
        trained,
        invert={name: getattr(args, name) for name in said} | {"mask": bool(args.mask), "lpips": bool(args.lpips)},
    )
    if out.suffix.lower() == ".png":
        columns = [sources, *[view.shown] * bool(args.damage or args.mask), found.images, *[repaired] * bool(missing is not None)]
        files.write_picture(watch.grid(translate.side_by_side(*columns), columns=len(columns)), out, marks.COMPOSITE)
    elif out.suffix.lower() == ".npz":
        latents = {name: a for name, a in found.latents._asdict().items() if a is not None}
        more = {} if missing is None else {"missing": view.missing, "repaired": repaired}
        more |= {"sources": sources, "damaged": view.shown, "distance": found.distance, "names": np.array(names)}
        files.write_arrays(out, {}, found.images, **latents, **more)
    else:
        for file, image in zip(as_png(names), repaired, strict=True):
            kind = marks.GENERATED if missing is None else marks.COMPOSITE
            files.write_picture(watch.grid(image[None], pad=0, least=1), out / file, kind)
    said = f"{len(names)} images of {args.source} by {args.run} at step {trained.step}: {out}{left_out(skipped)}"
    return f"{said}\n{_measured(args, sources, view, found)}"


def read(args, trained: restore.Trained) -> tuple[list[str], np.ndarray, Sequence[str]]:
    """Names and images, uint8 [n, H, W, C], of up to args.n images as the generator makes them; names of broken ones left out."""
    shape, settings = tuple(trained.generator.shape), trained.config.get("settings", {})
    resize = args.resize or args.source == settings.get("data")
    path = Path(args.source).expanduser()
    if path.exists() and path.suffix.lower() != ".npz" and not (path.is_dir() and prepared.find(str(path))):
        if args.data_dir:
            raise UserError(f"--data-dir {args.data_dir} is for a named data set, but {args.source} is a path; leave it out")
        how = {"split": args.split, "skip_broken": args.skip_broken, **made_alike(settings)}
        names, one, skipped = loose.open_loose(args.source, shape, resize=resize, **how)
        names = names[: args.n]
        return names, np.stack([one(i) for i in range(len(names))]), skipped
    how = {"data_dir": args.data_dir or settings.get("data_dir", ""), "split": args.split}
    how |= {"channels": shape[2], "skip_broken": args.skip_broken or settings.get("skip_broken", False), **made_alike(settings)}
    with watch.counter("reading images") as update:
        source = open_source(args.source, size=shape[:2] if resize else None, progress=update, **how)
    if source.shape != shape:
        has, takes = ("x".join(map(str, size[:2])) for size in (source.shape, shape))
        raise UserError(f"{args.source}: its images have {has}, the generator makes {takes}; --resize would scale them")
    index = np.arange(min(args.n, source.n))
    return [f"{i:06d}" for i in index], source.read(index), source.skipped


def seen(args, trained: restore.Trained, names: list[str], sources: np.ndarray) -> View:
    """The images of these names as --damage or --mask says."""
    n, h, w, c = sources.shape
    index = np.arange(n)
    if args.mask:
        missing_of = holes(args.mask, names, (h, w), args.resize, made_alike(trained.config.get("settings", {}))["fit"])
        missing = np.stack([missing_of(i) for i in index])
        return View(np.where(missing[..., None], np.uint8(degrade.FILL), sources), None, missing)
    if not args.damage:
        return View(sources, None, None)
    how = degrade.parse([args.damage], "--damage")
    (name, amount), *_ = how
    if name in ("edges", "invert"):
        raise UserError(f"--damage {name}: it is a style, which nothing repairs; give mask, centre, blur, noise, grey or lowres")
    if name == "grey" and c == 1:
        raise UserError("--damage grey: the run's images are grey")
    if name in ("blur", "lowres") and c == 4:
        raise UserError(f"--damage {name}: the run's images have alpha, which it does not support")
    through = {"blur": damage.blur, "lowres": damage.lowres, "grey": lambda _: damage.grey(), "noise": damage.noise}.get(name)
    missing = degrade.holes(how, (h, w), index) if name in ("mask", "centre") else None
    if missing is not None and missing.all((1, 2)).any():
        raise UserError(f"--damage {args.damage}: it hides whole images; give a lower amount")
    return View(degrade.degrade(how, sources, index), through and through(amount), missing)


def _measured(args, sources, view, found) -> str:
    """How near the result is, in a line or two."""
    x = found.images
    if args.mask:
        return f"where there are no holes: PSNR {psnr(sources, x, ~view.missing):.2f} dB"
    far = translate.distance(sources, x)
    said = f"to the images{' before the damage' * bool(args.damage)}: PSNR {far.psnr:.2f} dB, L1 {far.l1:.2f} grey levels"
    if view.missing is not None:
        inside, grey = (psnr(sources, y, view.missing) for y in (x, view.shown))
        said += f"; in the holes: PSNR {inside:.2f} dB, where grey has {grey:.2f}"
    elif view.shown.shape == sources.shape and args.damage:
        said += f"; the damaged ones: PSNR {translate.distance(sources, view.shown).psnr:.2f} dB"
    return said


def psnr(x: np.ndarray, y: np.ndarray, where: np.ndarray) -> float:
    """PSNR in dB over pixels `where`, bool [n, H, W], of images uint8 [n, H, W, C]: their mean, each at most 100."""
    squares = np.square(x.astype(np.float64) - y).mean(3)
    each = (squares * where).sum((1, 2)) / where.sum((1, 2))
    return float((10 * np.log10(255**2 / np.maximum(each, 255**2 / 1e10))).mean())


if __name__ == "__main__":
    raise SystemExit("error: this is a part of python -m experiments.invert")
