"""Captions below the images of a sheet."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from jaxgan.errors import printable

BETWEEN = 4
"""Pixels that a caption leaves free of its column."""


def captioned(sheet: Image.Image, captions: Sequence[str], columns: int, height: int) -> Image.Image:
    """A sheet with a white band below each row that has captions.

    Args:
      sheet: L, RGB or RGBA.
      captions: one for each image, row by row; "" for none. What is too long for its column is cut off.
      columns: images in a row.
      height: of a row, in pixels; the last one has what is left.
    """
    rows = [captions[i : i + columns] for i in range(0, len(captions), columns)]
    width = sheet.width / columns
    font = font_of(min(max(round(width / 9), 10), 16))
    band = round(1.5 * font.size)
    out = Image.new("RGBA", (sheet.width, sheet.height + band * sum(map(any, rows))), "white").convert(sheet.mode)
    draw, y = ImageDraw.Draw(out), 0
    for i, row in enumerate(rows):
        piece = sheet.crop((0, i * height, sheet.width, sheet.height if i == len(rows) - 1 else (i + 1) * height))
        out.paste(piece, (0, y))
        y += piece.height
        for column, text in enumerate(row):
            draw.text(((column + 0.5) * width, y + band / 2), fitting(text, font, width - BETWEEN), "black", font, "mm")
        y += band * any(row)
    return out


def font_of(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib: Pillow's own has no ä and no я, as names of classes do."""
    import matplotlib

    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), size)


def fitting(text: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    """As much of a text as has room in `width` pixels; of line ends and the like the escapes."""
    text = printable(text[: round(width)])
    while font.getlength(text) > width:
        text = text[:-1]
    return text
