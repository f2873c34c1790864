"""One picture of PIL's to one uint8 array: which formats and modes, colour, transparency, size."""

import contextlib
import functools
import io
import threading
from typing import IO, NamedTuple

import numpy as np
from PIL import Image, ImageCms, ImageColor, UnidentifiedImageError

from jaxgan.errors import UserError, nearest

# Still images only, told by their content; PIL's other formats include some that start programs (EPS).
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "PPM")
SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".dib", ".tif", ".tiff", ".gif"),
    *(".ppm", ".pgm", ".pbm", ".pnm"),
)
UNREAD = (".heic", ".heif", ".avif", ".jxl", ".jp2", ".j2k", ".svg", ".psd", ".tga", ".exr", ".dng", ".cr2", ".nef", ".arw")
"""Suffixes of images in other formats: whoever has some among the others shall know that they are left out."""
FITS = ("crop", "pad")
LONGEST = 2**20
"""Pixels of a side: to scale a longer one takes gigabytes."""
LARGE, ALONE = 2**25, threading.Lock()
"""Pixels from which an image is decoded while no other such is: a file of a megabyte can become two gigabytes."""
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""How such files begin."""
BANDS = 277
"""TIFF's tag SamplesPerPixel."""
SIXTEEN_BIT = ("I", "I;16", "I;16B", "I;16L", "I;16N")
GREY = ("1", "L", "LA", *SIXTEEN_BIT)
COLOUR = ("P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV")
# The EXIF orientations 2..8 as what undoes them.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Header(NamedTuple):
    """What is known of an image before its pixels are decoded."""

    size: tuple[int, int]  # H, W as seen, after the EXIF orientation
    grey: bool
    profiled: bool = False  # its colour profile changes what its numbers mean
    changed: tuple[str, ...] = ()  # what is not read as the file has it, for people


class Look(NamedTuple):
    """How every image is made alike."""

    size: tuple[int, int]  # H, W
    channels: int  # 1 grey, 3 RGB, 4 RGBA with straight (not premultiplied) alpha
    background: tuple[int, int, int]  # RGB, lies under transparent pixels when channels is not 4
    fit: str = "crop"  # of FITS: what becomes of other proportions


def colour(name: str) -> tuple[int, int, int]:
    """A background colour as RGB in 0..255.

    Args:
      name: a name of CSS, "#rrggbb", "rgb(r, g, b)" or whatever else PIL's ImageColor reads.
    Raises:
      UserError: no such colour; the nearest name is given.
    """
    try:
        return ImageColor.getrgb(name)[:3]
    except ValueError:
        near = nearest(name.lower(), ImageColor.colormap)
        raise UserError(f"background {name!r} is not a colour{near}; give a name such as white, or #rrggbb") from None


def checked_fit(name: str) -> str:
    """The name. UserError if it is not of `FITS`."""
    if name not in FITS:
        raise UserError(f"fit is {name!r}; give {' or '.join(FITS)}")
    return name


def open_image(file: IO[bytes]) -> Image.Image:
    """Open a binary file as a PIL image without decoding its pixels (of an animation: the first frame).

    Raises:
      OSError: no image, no bytes at all, or more pixels than PIL takes from a file that may be an attack.
    """
    if not (start := file.read(4)):
        raise OSError("the file is empty")
    file.seek(0)
    try:
        im = Image.open(file, formats=FORMATS)
    except UnidentifiedImageError:
        if start in TIFF:
            kinds = "64-bit numbers, colour as floats, most kinds of many bands"
            raise OSError(f"a damaged TIFF, or of a kind that is not read: {kinds}; save it as 8-bit grey or RGB") from None
        raise OSError("not an image that can be read") from None
    except Image.DecompressionBombError:
        raise OSError(f"it has more than {2 * Image.MAX_IMAGE_PIXELS:,} pixels; save it smaller") from None
    if max(im.size) > LONGEST:
        raise OSError(f"it has more than {LONGEST:,} pixels in a row; cut it")
    return im


def _orientation(im: Image.Image) -> int:
    """The EXIF orientation that is still to be undone, 1 for none. Call it before the pixels are loaded."""
    # PIL turns TIFF images itself. A PNG's EXIF block behind the pixels would need a full decode: it does not count.
    if im.format == "TIFF" or (im.format == "PNG" and "exif" not in im.info):
        return 1
    try:
        return im.getexif().get(0x0112, 1)
    except Exception:  # a damaged EXIF block does not make the pixels unreadable
        return 1


def header(im: Image.Image) -> Header:
    """Size and colour of an image that was opened and not loaded yet.

    Raises:
      UserError: a mode that has no meaning as 8-bit grey or RGB (floating point, Lab, a TIFF of 32-bit integers).
    """
    if im.mode not in GREY + COLOUR:
        how = "scaled to 0..255 " * (im.mode == "F")
        raise UserError(f"its pixels have PIL's mode {im.mode}, which is not supported; save it {how}as 8-bit grey or RGB")
    if im.mode == "I" and im.format == "TIFF":
        raise UserError("its pixels have 32 bits or a sign, and no defined white level; scale it, and save it with 8 or 16 bits")
    width, height = im.size
    size = (width, height) if _orientation(im) in (5, 6, 7, 8) else (height, width)
    profiled = _profile(im) is not None
    return Header(size, im.mode in GREY, profiled, tuple(_changed(im, profiled)))


def _changed(im, profiled):
    """What is not read as the file of an opened image has it, for people."""
    if profiled:
        yield "by colour profiles brought to sRGB"
    if im.mode in SIXTEEN_BIT or (im.format in ("PNG", "TIFF") and ";16" in str(im.tile[:1])):
        yield "16 bits are reduced to 8"
    if im.format == "TIFF" and im.is_animated:
        yield "of several pages the first alone is read"
    if im.format == "TIFF" and im.tag_v2.get(BANDS, 1) > (read := len(im.getbands())):
        yield f"of more bands the first {read} {'are' if read > 1 else 'is'} read"


def upright(im: Image.Image) -> Image.Image:
    """The image decoded, turned as its EXIF orientation says and with 8 bits; of its metadata only what the pixels need is kept.

    Raises:
      UserError: 32-bit values beyond 16 bits.
      Exception: whatever PIL raises on damaged pixels.
    """
    turn = TURNS.get(_orientation(im))
    im.load()
    if turn is not None:
        im = im.transpose(turn)
    im.info = {name: value for name, value in im.info.items() if name == "transparency"}
    return _eight_bit(im) if im.mode in SIXTEEN_BIT else im


def pixels(im: Image.Image, look: Look) -> np.ndarray:
    """Decode, turn upright, reduce to 8 bits, bring to sRGB by its colour profile, lay on the background, and only then resize.

    Resizing scales the image until it covers `look.size` and cuts the centre out, or with fit "pad" until it fits in, centred on
    the background (with channels 4 on nothing): Lanczos (antialiased) when shrinking, bicubic when enlarging. With channels 4 the
    colours are weighted by alpha while resizing, and where an image is all but transparent they are those around: what files
    hold there (black, noise of the resizing) would be learned, and its traces at the edges seen.

    Args:
      im: an opened image; it is loaded here.
      look: size, channels, background, fit.
    Returns:
      uint8 [H, W, channels].
    Raises:
      UserError: as `header`; or 32-bit values beyond 16 bits.
      Exception: whatever PIL raises on damaged pixels.
    """
    with ALONE if im.width * im.height > LARGE else contextlib.nullcontext():
        return _pixels(im, look)


def _pixels(im, look):
    profile = _profile(im)
    im = upright(im)
    if profile is not None:
        im = _as_srgb(im, profile)
    if im.mode in ("CMYK", "YCbCr", "HSV", "RGBX"):
        im = im.convert("RGB")
    if look.channels == 4:
        im = im.convert("RGBA")
    elif im.mode in ("LA", "PA", "RGBA") or "transparency" in im.info:
        ground = Image.new("RGBA", im.size, (*look.background, 255))
        im = Image.alpha_composite(ground, im.convert("RGBA"))
    im = im.convert({1: "L", 3: "RGB", 4: "RGBA"}[look.channels])
    array = np.asarray(_cover(im, look.size) if look.fit == "crop" else _contain(im, look))
    if look.channels == 4:
        return _bled(array)
    return array[..., None] if look.channels == 1 else array


def _profile(im):
    """The transform to sRGB by an opened image's colour profile; None where it has none that changes anything."""
    data = im.info.get("icc_profile")
    return None if not data else _to_srgb(data, _profiled_as(im.mode))


def _profiled_as(mode):
    """The mode without alpha in which a profile describes the colours of an image."""
    return "L" if mode in GREY else "CMYK" if mode == "CMYK" else "RGB"


@functools.lru_cache(64)
def _to_srgb(profile: bytes, mode: str):
    """From colours of `mode`; None where they are sRGB but for rounding, and of a profile that is damaged or of another mode."""
    try:
        given = ImageCms.getOpenProfile(io.BytesIO(profile))
        transform = ImageCms.buildTransform(given, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ImportError):  # the last of a Pillow without LittleCMS
        return None
    if mode == "CMYK":
        return transform
    steps = np.arange(0, 256, 17, dtype=np.uint8)
    probe = Image.fromarray(steps[None] if mode == "L" else np.stack(np.meshgrid(steps, steps, steps), -1).reshape(16, 256, 3))
    change = np.asarray(ImageCms.applyTransform(probe, transform)).astype(int) - np.asarray(probe.convert("RGB"))
    return transform if np.abs(change).max() > 2 else None


def _as_srgb(im, transform):
    alpha = im.convert("RGBA").getchannel("A") if im.has_transparency_data else None
    im = ImageCms.applyTransform(im.convert(_profiled_as(im.mode)), transform)
    if alpha is not None:
        im.putalpha(alpha)
    return im


def _eight_bit(im):
    values = np.asarray(im).astype(np.int32)
    if values.min() < 0 or values.max() > 65535:
        raise UserError(f"it has values from {values.min()} to {values.max()}; save it with 8 or 16 bits")
    grey = Image.fromarray(((values + 128) // 257).astype(np.uint8))  # round(v / 257), 65535 -> 255
    if "transparency" not in im.info:
        return grey
    opaque = Image.fromarray(np.where(values == im.info["transparency"], 0, 255).astype(np.uint8))
    return Image.merge("LA", (grey, opaque))


def _cover(im, size):
    height, width = size
    if im.size == (width, height):
        return im
    scale = max(width / im.width, height / im.height)
    if scale == 1:  # a pure cut keeps the pixels as they are
        left, top = (im.width - width) // 2, (im.height - height) // 2
        return im.crop((left, top, left + width, top + height))
    half_w, half_h = width / scale / 2, height / scale / 2
    box = (
        max(im.width / 2 - half_w, 0),
        max(im.height / 2 - half_h, 0),
        min(im.width / 2 + half_w, im.width),
        min(im.height / 2 + half_h, im.height),
    )
    return im.resize((width, height), _method(scale), box=box)


def _contain(im, look):
    height, width = look.size
    scale = min(width / im.width, height / im.height)
    inner = max(round(im.width * scale), 1), max(round(im.height * scale), 1)
    im = im if inner == im.size else im.resize(inner, _method(scale))
    ground = Image.new("RGBA", (width, height)) if look.channels == 4 else Image.new("RGB", (width, height), look.background)
    ground = ground.convert(im.mode)
    ground.paste(im, ((width - inner[0]) // 2, (height - inner[1]) // 2))
    return ground


SEEN = 16
"""Alpha, of 255, from which a pixel's colour is one that can be seen."""


def _bled(array):
    """RGBA [H, W, 4] whose unseen colours continue the seen ones around them: of ever smaller means each laid over the next."""
    seen = array[..., 3:] >= SEEN
    if seen.all() or not seen.any():
        return array
    layers = [np.concatenate([array[..., :3] * seen, seen], 2).astype(np.float32)]  # the last channel is a weight
    while max(layers[-1].shape[:2]) > 1:
        layers.append(_scaled(layers[-1], [max(n // 2, 1) for n in layers[-1].shape[:2]], Image.Resampling.BOX))
    under = layers[-1][..., :3] / layers[-1][..., 3:]
    for layer in layers[-2::-1]:
        under = layer[..., :3] + (1 - layer[..., 3:]) * _scaled(under, layer.shape[:2], Image.Resampling.BILINEAR)
    return np.concatenate([np.round(under).astype(np.uint8), array[..., 3:]], 2)


def _scaled(array, size, method):
    """float32 [H, W, C] -> [*size, C]."""
    return np.stack([np.asarray(Image.fromarray(x).resize(size[::-1], method)) for x in np.moveaxis(array, 2, 0)], 2)


def _method(scale):
    return Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.BICUBIC


def as_picture(array: np.ndarray) -> Image.Image:
    """uint8 [H, W] or [H, W, C] as Pillow has it, of which one channel is two axes."""
    return Image.fromarray(array[..., 0] if array.shape[2:] == (1,) else array)


def laid_on(images: np.ndarray, background: tuple[int, int, int]) -> np.ndarray:
    """Straight RGBA uint8 [..., 4] as seen on a colour, RGB in 0..255: uint8 [..., 3]."""
    alpha = images[..., 3:].astype(np.uint32)
    return ((images[..., :3] * alpha + np.uint32(background) * (255 - alpha) + 127) // 255).astype(np.uint8)


def with_channels(images: np.ndarray, channels: int) -> np.ndarray:
    """uint8 [n, H, W, C] with 3 or 4 channels where C has fewer: grey as RGB, and opaque where there is alpha to be."""
    if images.shape[3] == 1 < channels:
        images = images.repeat(3, 3)
    if images.shape[3] < channels:
        images = np.concatenate([images, np.full_like(images[..., :1], 255)], 3)
    return images
