"""Every format and mode that the decoder promises, on images drawn here."""

import io
import itertools
import struct
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image, ImageCms

import jaxgan.data.images
from jaxgan.data.images import Look, colour, header, laid_on, open_image, pixels
from jaxgan.errors import UserError

WHITE = (255, 255, 255)


def encode(im, kind, **options):
    file = io.BytesIO()
    im.save(file, kind, **options)
    return file.getvalue()


def decode(data, size=None, channels=None, background=WHITE, fit="crop"):
    with open_image(io.BytesIO(data)) as im:
        head = header(im)
        return pixels(im, Look(size or head.size, channels or (1 if head.grey else 3), background, fit))


def ramp(height=12, width=20):
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 12, y * 20, 255 - x * 5 - y], -1).astype(np.uint8)


@pytest.mark.parametrize("kind", ("PNG", "BMP", "TIFF", "PPM", "WEBP"))
def test_lossless_formats_are_exact(kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    np.testing.assert_array_equal(decode(encode(Image.fromarray(ramp()), kind, **options)), ramp())


@pytest.mark.parametrize("kind", ("JPEG", "WEBP"))
def test_lossy_formats_are_close(kind):
    smooth = np.kron(ramp(8, 6), np.ones((16, 16, 1), np.uint8))
    data = encode(Image.fromarray(smooth), kind, quality=95)
    assert np.abs(decode(data).astype(int) - smooth).mean() < 4


def test_grey_modes():
    grey = np.arange(0, 240, dtype=np.uint8).reshape(12, 20)
    np.testing.assert_array_equal(decode(encode(Image.fromarray(grey), "PNG"))[..., 0], grey)
    two = Image.fromarray(grey).convert("1", dither=Image.Dither.NONE)
    np.testing.assert_array_equal(decode(encode(two, "PNG"))[..., 0], np.where(grey >= 128, 255, 0))
    rgb = decode(encode(Image.fromarray(grey), "PNG"), channels=3)
    np.testing.assert_array_equal(rgb, np.repeat(grey[..., None], 3, -1))
    np.testing.assert_array_equal(decode(encode(Image.fromarray(rgb), "PNG"), channels=1)[..., 0], grey)


@pytest.mark.parametrize("kind", ("PNG", "TIFF", "PPM"))
def test_sixteen_bits_are_rounded(kind):
    values = np.array([[0, 1, 128, 129], [257, 385, 386, 65535]], np.uint16)
    got = decode(encode(Image.fromarray(values), kind))[..., 0]
    np.testing.assert_array_equal(got, np.rint(values / 257.0))


def test_more_than_sixteen_bits_and_floats_are_refused():
    for value in (100, 70000):
        with pytest.raises(UserError, match="32 bits"):
            decode(encode(Image.fromarray(np.full((4, 4), value, np.int32)), "TIFF"))
    with pytest.raises(UserError, match="mode F"):
        decode(encode(Image.fromarray(np.zeros((4, 4), np.float32)), "TIFF"))


def test_signed_pixels_are_refused_as_such():
    signed = np.full((4, 4), -700, np.int16)
    data = encode(Image.fromarray(signed.view(np.uint16)), "TIFF", tiffinfo={339: 2})
    with pytest.raises(UserError, match="32 bits or a sign"):
        decode(data)


def test_palettes():
    three = Image.fromarray(ramp()).quantize(3)
    np.testing.assert_array_equal(decode(encode(three, "PNG")), np.asarray(three.convert("RGB")))
    index = Image.new("P", (6, 4), 1)
    index.putpalette([10, 20, 30, 40, 50, 60])
    np.testing.assert_array_equal(decode(encode(index, "PNG"))[0, 0], (40, 50, 60))
    np.testing.assert_array_equal(decode(encode(index, "PNG", transparency=1))[0, 0], WHITE)
    np.testing.assert_array_equal(decode(encode(index, "PNG", transparency=bytes([255, 51])))[0, 0], (212, 214, 216))
    np.testing.assert_array_equal(decode(encode(index, "GIF", transparency=1), background=(1, 2, 3))[0, 0], (1, 2, 3))


def test_first_frame_of_an_animation():
    frames = [Image.new("L", (4, 4), value) for value in (50, 200)]
    for kind in ("GIF", "WEBP", "PNG"):
        options = {"lossless": True} if kind == "WEBP" else {}
        data = encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        assert np.unique(decode(data)) == 50


@pytest.mark.parametrize("mode", ("RGBA", "LA"))
def test_transparency_is_laid_on_the_background(mode):
    alpha = np.linspace(0, 255, 20).round().astype(np.uint8)[None].repeat(12, 0)
    top = ramp()[..., :1].repeat(3, -1) if mode == "LA" else ramp()
    array = np.concatenate([top[..., :1] if mode == "LA" else top, alpha[..., None]], -1)
    data = encode(Image.fromarray(array), "PNG")
    a = alpha[..., None] / 255.0
    for ground in ((255, 255, 255), (0, 0, 0), (200, 30, 100)):
        want = a * top + (1 - a) * np.array(ground)
        assert np.abs(decode(data, channels=3, background=ground) - want).max() <= 1
    assert decode(data).shape[-1] == (1 if mode == "LA" else 3)


def test_rgb_and_grey_with_one_transparent_colour():
    rgb = encode(Image.new("RGB", (4, 4), (9, 8, 7)), "PNG", transparency=(9, 8, 7))
    np.testing.assert_array_equal(decode(rgb)[0, 0], WHITE)
    np.testing.assert_array_equal(decode(encode(Image.new("L", (4, 4), 9), "PNG", transparency=9))[0, 0], [255])
    deep = encode(Image.fromarray(np.uint16([[0, 257 * 90], [257 * 80, 0]])), "PNG", transparency=257 * 90)
    np.testing.assert_array_equal(decode(deep)[..., 0], [[0, 255], [80, 0]])


def test_four_channels_stay_straight():
    array = np.dstack([ramp(), np.full((12, 20), 16, np.uint8)])
    np.testing.assert_array_equal(decode(encode(Image.fromarray(array), "PNG"), channels=4), array)
    array[..., 3] = 3  # of which none can be seen
    np.testing.assert_array_equal(decode(encode(Image.fromarray(array), "PNG"), channels=4), array)
    opaque = decode(encode(Image.fromarray(ramp()), "PNG"), channels=4)
    np.testing.assert_array_equal(opaque, np.dstack([ramp(), np.full((12, 20), 255, np.uint8)]))


def test_hidden_colours_do_not_bleed_when_resizing():
    """Left half opaque green, right half transparent red: no red may appear, whichever way alpha is kept."""
    array = np.zeros((16, 16, 4), np.uint8)
    array[:, :8] = (0, 200, 0, 255)
    array[:, 8:] = (255, 0, 0, 0)
    data = encode(Image.fromarray(array), "PNG")
    flat = decode(data, size=(6, 6), background=(0, 0, 0))
    assert flat[..., 0].max() == 0 and flat[..., 1].max() > 190
    straight = decode(data, size=(6, 6), channels=4)
    assert straight[..., 0][straight[..., 3] > 0].max() == 0


def test_colours_that_nobody_sees_are_those_around():
    seen = np.zeros((16, 16), bool)
    seen[3:9, 4:12] = True
    array = np.random.default_rng(0).integers(0, 256, (16, 16, 4), np.uint8)
    array[seen] = (10, 200, 90, 100)
    array[~seen, 3] %= 16
    array[4, 5] = (10, 200, 90, 16)
    array[3:9, 8:12, 1] = 100
    made = decode(encode(Image.fromarray(array), "PNG"), channels=4)
    np.testing.assert_array_equal(made[seen], array[seen])
    np.testing.assert_array_equal(made[..., 3], array[..., 3])
    hidden = made[..., :3][~seen].astype(int)
    assert (hidden[:, [0, 2]] == [10, 90]).all() and hidden[:, 1].min() >= 100 and hidden[:, 1].max() <= 200
    assert made[5, 12, 1] < 135 < 165 < made[5, 3, 1]  # the nearest count most
    np.testing.assert_array_equal(decode(encode(Image.fromarray(made), "PNG"), channels=4), made)


def test_cmyk():
    data = encode(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "TIFF")
    np.testing.assert_array_equal(decode(data)[0, 0], (255, 0, 0))
    jpeg = encode(Image.new("CMYK", (8, 8), (255, 0, 255, 0)), "JPEG", quality=100)
    assert np.abs(decode(jpeg)[0, 0].astype(int) - (0, 255, 0)).max() < 4
    assert decode(jpeg, channels=1).shape == (8, 8, 1)


@pytest.mark.parametrize("kind", ("JPEG", "PNG", "WEBP", "TIFF"))
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(kind, orientation):
    """Per the EXIF standard: where the stored row 0 and column 0 lie in the upright image."""
    stored = np.zeros((16, 32), np.uint8)
    stored[:8, :16], stored[:8, 16:], stored[8:, :16] = 240, 160, 80  # the corners: 240 160 / 80 0
    upright = {
        1: stored,  # row 0 top, column 0 left
        2: stored[:, ::-1],  # top, right
        3: stored[::-1, ::-1],  # bottom, right
        4: stored[::-1],  # bottom, left
        5: stored.T,  # left, top
        6: stored.T[:, ::-1],  # right, top
        7: stored.T[::-1, ::-1],  # right, bottom
        8: stored.T[::-1],  # left, bottom
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(Image.fromarray(stored).convert("RGB"), kind, exif=exif)
    with open_image(io.BytesIO(data)) as im:
        assert header(im).size == upright.shape
    assert np.abs(decode(data)[..., 0].astype(int) - upright).max() < 12


SRGB = [[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]]  # columns: XYZ of r, g, b at D50
WIDE = [[0.51512, 0.29198, 0.15710], [0.24120, 0.69225, 0.06657], [-0.00105, 0.04189, 0.78407]]  # of Display P3


def icc(matrix=None, gamma=2.0, inks=None):
    """A version 2 ICC profile: gamma, and a matrix of colorants; without one it is grey; or CMYK by the Lab colours of `inks`."""
    curve = b"curv" + struct.pack(">IIH", 0, 1, round(gamma * 256)) + bytes(2)
    xyz = lambda v: b"XYZ " + bytes(4) + struct.pack(">3i", *(round(x * 65536) for x in v))
    tags = {b"wtpt": xyz((0.9642, 1.0, 0.8249))}
    for i, c in enumerate(b"rgb" if matrix else ()):
        tags |= {bytes([c]) + b"XYZ": xyz(np.array(matrix)[:, i]), bytes([c]) + b"TRC": curve}
    tags |= {} if matrix else {b"kTRC": curve}
    if inks:  # a table of the 16 combinations of full and no ink, those that are not given black; L * 2.55, a + 128, b + 128
        corners = b"".join(bytes(inks.get(c, (0, 128, 128))) for c in itertools.product((0, 1), repeat=4))
        straight, unit = bytes(range(256)), struct.pack(">9i", *(65536 * np.eye(3, dtype=int)).ravel())
        tags = {b"A2B0": b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + unit + 4 * straight + corners + 3 * straight}
    table, body, at = b"", b"", 132 + 12 * len(tags)
    for name, data in tags.items():
        table += name + struct.pack(">II", at + len(body), len(data))
        body += data
    kind = (b"prtr", b"CMYK", b"Lab ") if inks else (b"mntr", b"RGB " if matrix else b"GRAY", b"XYZ ")
    head = struct.pack(">I4sI4s4s4s", at + len(body), b"", 0x02400000, *kind)
    head += bytes(12) + b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def in_srgb(x, matrix, gamma=2.0):
    """The closed form: linear light, XYZ, sRGB's linear light, its curve (IEC 61966-2-1)."""
    linear = np.clip((x / 255.0) ** gamma @ np.array(matrix).T @ np.linalg.inv(SRGB).T, 0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("kind", ("PNG", "TIFF", "WEBP"))
def test_colour_profiles_are_brought_to_srgb(kind):
    options = {"icc_profile": icc(WIDE)} | ({"lossless": True} if kind == "WEBP" else {})
    got = decode(encode(Image.fromarray(ramp()), kind, **options))
    want = in_srgb(ramp(), WIDE)
    assert np.abs(want - ramp()).max() > 20 and np.abs(got - want).max() <= 2
    if kind == "PNG":
        alpha = np.full((12, 20), 77, np.uint8)
        both = decode(encode(Image.fromarray(np.dstack([ramp(), alpha])), kind, **options), channels=4)
        np.testing.assert_array_equal(both, np.dstack([got, alpha]))
        index = Image.new("P", (6, 4), 1)
        index.putpalette([0, 0, 0, *ramp()[5, 7]])
        np.testing.assert_array_equal(decode(encode(index, kind, **options))[0, 0], got[5, 7])
        np.testing.assert_array_equal(decode(encode(index, kind, transparency=1, **options))[0, 0], WHITE)


@pytest.mark.parametrize("kind", ("TIFF", "JPEG"))
def test_inks_have_the_colours_of_their_profile(kind):
    """Lab to XYZ by CIE 15: f(Y) = (L + 16) / 116, f(X) = f(Y) + a / 500, f(Z) = f(Y) - b / 200, cubed, times white."""
    labs = {(0, 0, 0, 0): (100, 0, 0), (1, 0, 0, 0): (60, -25, -30), (0, 1, 0, 0): (50, 40, 0), (0, 0, 1, 0): (85, 0, 50)}
    profile = icc(inks={c: (round(l * 2.55), a + 128, b + 128) for c, (l, a, b) in labs.items()})
    for ink, (l, a, b) in labs.items():
        f = (l + 16) / 116 + np.array([a / 500, 0, -b / 200])
        xyz = f**3 * (0.9642, 1, 0.8249)
        want = in_srgb(255 * xyz, np.eye(3), gamma=1)
        data = encode(Image.new("CMYK", (8, 8), tuple(255 * v for v in ink)), kind, icc_profile=profile)
        assert np.abs(decode(data)[4, 4] - want).max() <= 3
        if any(ink):
            assert np.abs(want - 255 * (1 - np.array(ink[:3]))).max() > 40  # unlike without a profile


def test_grey_has_a_profile_of_its_own():
    grey = np.arange(240, dtype=np.uint8).reshape(12, 20)
    want = in_srgb(grey[..., None].repeat(3, -1), SRGB)[..., :1]
    for image in (grey, grey * np.uint16(257), np.dstack([grey, np.full_like(grey, 255)])):
        got = decode(encode(Image.fromarray(image), "PNG", icc_profile=icc()))
        assert got.shape == (12, 20, 1) and np.abs(got - want).max() <= 2
    assert np.abs(want[..., 0] - grey).max() > 5


def test_a_profile_of_srgb_and_one_that_does_not_fit_change_nothing():
    own = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for profile in (own, icc(), icc(WIDE)[:200], b"nothing"):
        data = encode(Image.fromarray(ramp()), "PNG", icc_profile=profile)
        np.testing.assert_array_equal(decode(data), ramp())
        with open_image(io.BytesIO(data)) as im:
            assert not header(im).profiled


def test_damaged_exif_is_ignored():
    data = encode(Image.fromarray(ramp()), "PNG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01")
    np.testing.assert_array_equal(decode(data), ramp())


def test_shrinking_is_antialiased_and_centred():
    stripes = np.tile(np.array([0, 255], np.uint8), (64, 32))  # 64x64, one pixel wide
    small = decode(encode(Image.fromarray(stripes), "PNG"), size=(16, 16)).astype(int)
    assert np.abs(small[:, 2:-2] - 127.5).max() < 2
    smooth = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (64, 1))
    small = decode(encode(Image.fromarray(smooth), "PNG"), size=(16, 16))[8, :, 0].astype(int)
    assert np.abs(small + small[::-1] - 255).max() <= 1


@pytest.mark.parametrize("size, kind", [((6, 10), Image.Resampling.LANCZOS), ((30, 50), Image.Resampling.BICUBIC)])
def test_the_filters_of_shrinking_and_enlarging(size, kind):
    im = Image.fromarray(np.random.default_rng(0).integers(0, 256, (12, 20, 3), np.uint8))
    np.testing.assert_array_equal(decode(encode(im, "PNG"), size=size), np.asarray(im.resize(size[::-1], kind)))


def test_the_centre_is_cut_out():
    wide = np.zeros((10, 30), np.uint8)
    wide[:, 10:20] = 200
    np.testing.assert_array_equal(decode(encode(Image.fromarray(wide), "PNG"), size=(10, 10)), 200)  # a pure cut
    tall = encode(Image.fromarray(wide.T), "PNG")
    assert decode(tall, size=(5, 5)).min() > 185  # scaled to 15x5, the middle 5 rows kept
    np.testing.assert_array_equal(decode(encode(Image.fromarray(wide), "PNG"), size=(10, 29))[..., 0], wide[:, :29])
    ramp = np.tile(np.arange(0, 240, 8, dtype=np.uint8), (10, 1))
    for turn in (lambda x: x, np.transpose):
        small = decode(encode(Image.fromarray(turn(ramp)), "PNG"), size=(5, 5))[..., 0].astype(int)
        assert np.abs(turn(small) - 8 * (10.5 + 2 * np.arange(5))).max() <= 1  # at the middles of two pixels each, from the tenth
    assert decode(tall, size=(60, 20)).shape == (60, 20, 1)
    assert decode(tall, size=(7, 20)).shape == (7, 20, 1)


def test_padding_keeps_all_of_an_image_on_the_background():
    wide = Image.fromarray(ramp())  # 12x20
    made = decode(encode(wide, "PNG"), size=(10, 10), background=(1, 2, 3), fit="pad")
    np.testing.assert_array_equal(made[2:8], np.asarray(wide.resize((10, 6), Image.Resampling.LANCZOS)))
    np.testing.assert_array_equal(made[[0, 1, 8, 9]], np.broadcast_to(np.uint8([1, 2, 3]), (4, 10, 3)))
    made = decode(encode(wide.convert("L"), "PNG"), size=(60, 40), background=(1, 2, 3), fit="pad")[..., 0]
    np.testing.assert_array_equal(made[18:42], np.asarray(wide.convert("L").resize((40, 24), Image.Resampling.BICUBIC)))
    assert set(made[:18].ravel()) == set(made[42:].ravel()) == {2}
    made = decode(encode(wide.transpose(Image.Transpose.ROTATE_90), "PNG"), size=(20, 16), channels=4, fit="pad")
    assert (made[:, 2:14, 3] == 255).all() and not made[:, :2, 3].any() and not made[:, 14:, 3].any()
    np.testing.assert_array_equal(decode(encode(wide, "PNG"), fit="pad"), ramp())
    assert (decode(encode(Image.new("L", (300, 1)), "PNG"), size=(4, 4), fit="pad")[..., 0] == 0).sum() == 4  # a row at least


def test_enlarging_keeps_constants_and_corners():
    flat = decode(encode(Image.new("RGB", (3, 3), (9, 100, 250)), "PNG"), size=(17, 17))
    np.testing.assert_array_equal(flat, np.broadcast_to(np.uint8([9, 100, 250]), (17, 17, 3)))


def test_no_image():
    for data, why in ((b"", "empty"), (b"not an image", "not an image"), (b"%!PS-Adobe-3.0 EPSF-3.0", "not an image")):
        with pytest.raises(OSError, match=why):
            open_image(io.BytesIO(data))


def test_too_many_pixels(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(OSError, match="more than 2,000 pixels; save it smaller"):
        open_image(io.BytesIO(encode(Image.new("1", (1001, 2)), "PNG")))


def test_a_long_line_of_pixels_is_refused(monkeypatch):
    monkeypatch.setattr(jaxgan.data.images, "LONGEST", 1000)
    for size in ((1001, 1), (1, 1001)):
        with pytest.raises(OSError, match="more than 1,000 pixels in a row; cut it"):
            open_image(io.BytesIO(encode(Image.new("L", size), "PNG")))
    open_image(io.BytesIO(encode(Image.new("L", (1000, 1)), "PNG")))


def test_large_images_are_decoded_one_at_a_time(monkeypatch):
    """One can take gigabytes, and there are as many threads as cores."""
    small, large, now, most = encode(Image.new("L", (4, 4)), "PNG"), encode(Image.new("L", (40, 40)), "PNG"), [], []

    def slow(im, turn=jaxgan.data.images.upright):
        now.append(1)
        most.append(len(now))
        time.sleep(0.02)
        now.pop()
        return turn(im)

    monkeypatch.setattr(jaxgan.data.images, "LARGE", 100)
    monkeypatch.setattr(jaxgan.data.images, "upright", slow)
    for data, at_once in ((large, 1), (small, 4)):
        most.clear()
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(decode, [data] * 8))
        assert len(most) == 8 and (max(most) == 1) == (at_once == 1)


@pytest.mark.parametrize("kind", ("PNG", "JPEG", "WEBP", "BMP", "TIFF"))
def test_truncated_files_raise(kind):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    data = encode(Image.fromarray(noise), kind)
    with pytest.raises(Exception):  # noqa: B017 - whatever PIL raises; the callers catch it all
        decode(data[: len(data) * 2 // 3])


def test_colours():
    assert colour("white") == WHITE
    assert colour("#102030") == colour("#102030ff") == (16, 32, 48)
    with pytest.raises(UserError, match="the nearest is navy"):
        colour("nvy")
    with pytest.raises(UserError, match="#rrggbb"):
        colour("12345")


def test_transparent_arrays_are_laid_on_a_colour_as_pillow_does():
    x = np.random.default_rng(0).integers(0, 256, (3, 9, 7, 4), np.uint8)
    ours = laid_on(x, (255, 128, 3)).astype(int)
    for image, found in zip(x, ours, strict=True):
        ground = Image.new("RGBA", (7, 9), (255, 128, 3))
        ground.alpha_composite(Image.fromarray(image))
        np.testing.assert_allclose(found, np.asarray(ground)[..., :3], atol=1)
    clear = np.where(np.arange(4) == 3, 0, x)
    assert (laid_on(clear, (255, 128, 3)) == [255, 128, 3]).all()
    clear[..., 3] = 255
    np.testing.assert_array_equal(laid_on(clear, (255, 128, 3)), x[..., :3])
