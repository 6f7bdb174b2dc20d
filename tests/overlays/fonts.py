"""Typefaces to burn text in with: some that the detector was developed on, others held out."""

from collections.abc import Callable
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

Face = Callable[[str, int], np.ndarray]
"""(text, height of a capital letter, px) -> uint8 (h, w) coverage of 0 to 255, cropped to the ink."""

_TTF = Path(matplotlib.get_data_path()) / "fonts" / "ttf"


def truetype(path: str | Path) -> Face:
    """Return a face that Pillow draws from a TrueType file."""

    def draw(text: str, cap_px: int) -> np.ndarray:
        probe = ImageFont.truetype(str(path), 100)
        _left, top, _right, bottom = probe.getbbox("H")
        font = ImageFont.truetype(str(path), max(round(100 * cap_px / (bottom - top)), 4))
        return _pillow(text, font)

    return draw


def builtin(text: str, cap_px: int) -> np.ndarray:
    """Draw in the typeface that Pillow carries."""
    return _pillow(text, ImageFont.load_default(cap_px / 0.7))


def bitmap(text: str, cap_px: int) -> np.ndarray:
    """Draw in Pillow's old pixel font (capitals of 7 px), every dot as a square: what consoles wrote."""
    small = _pillow(text, ImageFont.load_default_imagefont())
    times = max(round(cap_px / 7), 1)
    return np.kron(small, np.ones((times, times), np.uint8))


def opencv(font: int, bold: int = 1) -> Face:
    """Return a face of OpenCV's putText."""

    def draw(text: str, cap_px: int) -> np.ndarray:
        (_, unit), _ = cv2.getTextSize("H", font, 1.0, bold)
        scale = cap_px / unit
        (w, h), base = cv2.getTextSize(text, font, scale, bold)
        image = np.zeros((h + 2 * base + 20, w + 40), np.uint8)
        cv2.putText(image, text, (20, h + base), font, scale, 255, bold, cv2.LINE_AA)
        return _cropped(image)

    return draw


def altered(face: Face, stretch: float = 1.0, slant: float = 0.0, space: str = "") -> Face:
    """Return a face made wider or narrower, slanted, or with a space after each letter."""

    def draw(text: str, cap_px: int) -> np.ndarray:
        image = face(space.join(text), cap_px)
        h, w = image.shape
        move = np.array([[stretch, -slant, slant * h + 4], [0, 1, 0]], np.float64)
        return _cropped(cv2.warpAffine(image, move, (int(stretch * w + slant * h) + 9, h), flags=cv2.INTER_AREA))

    return draw


def _pillow(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> np.ndarray:
    left, top, right, bottom = (int(v) for v in font.getbbox(text))
    image = Image.new("L", (right - left + 20, bottom - top + 20))
    ImageDraw.Draw(image).text((10 - left, 10 - top), text, fill=255, font=font)
    return _cropped(np.asarray(image))


def _cropped(image: np.ndarray) -> np.ndarray:
    x, y, w, h = cv2.boundingRect(image)
    return np.ascontiguousarray(image[y : y + h, x : x + w])


DEVELOPED: dict[str, Face] = {
    "DejaVu Sans": truetype(_TTF / "DejaVuSans.ttf"),
    "DejaVu Sans Bold": truetype(_TTF / "DejaVuSans-Bold.ttf"),
    "DejaVu Serif": truetype(_TTF / "DejaVuSerif.ttf"),
    "Computer Modern Roman": truetype(_TTF / "cmr10.ttf"),
    "OpenCV simplex": opencv(cv2.FONT_HERSHEY_SIMPLEX),
    "Pillow bitmap": bitmap,
    "DejaVu Serif Bold": truetype(_TTF / "DejaVuSerif-Bold.ttf"),
    "DejaVu Sans narrow": altered(truetype(_TTF / "DejaVuSans.ttf"), stretch=0.75),
    "DejaVu Sans spaced": altered(truetype(_TTF / "DejaVuSans.ttf"), space="\u2009"),
    "DejaVu Sans slanted": altered(truetype(_TTF / "DejaVuSans.ttf"), slant=0.2),
    "DejaVu Serif slanted": altered(truetype(_TTF / "DejaVuSerif.ttf"), stretch=0.9, slant=0.25),
    "OpenCV plain": opencv(cv2.FONT_HERSHEY_PLAIN),
    "OpenCV triplex": opencv(cv2.FONT_HERSHEY_TRIPLEX),
    "OpenCV wide": altered(opencv(cv2.FONT_HERSHEY_SIMPLEX, 2), stretch=1.25),
}
"""Looked at while the detector was written."""

HELD_OUT: dict[str, Face] = {
    "DejaVu Sans Mono": truetype(_TTF / "DejaVuSansMono.ttf"),
    "DejaVu Sans Mono Bold Oblique": truetype(_TTF / "DejaVuSansMono-BoldOblique.ttf"),
    "DejaVu Serif Bold Italic": truetype(_TTF / "DejaVuSerif-BoldItalic.ttf"),
    "STIX General": truetype(_TTF / "STIXGeneral.ttf"),
    "STIX General Bold": truetype(_TTF / "STIXGeneralBol.ttf"),
    "Computer Modern Bold": truetype(_TTF / "cmb10.ttf"),
    "Computer Modern Sans": truetype(_TTF / "cmss10.ttf"),
    "Computer Modern Typewriter": truetype(_TTF / "cmtt10.ttf"),
    "OpenCV duplex": opencv(cv2.FONT_HERSHEY_DUPLEX, 2),
    "OpenCV italic": opencv(cv2.FONT_HERSHEY_SCRIPT_COMPLEX),
    "Pillow": builtin,
}
"""Measured on only: no weight and no threshold is fitted on them."""

STAMPED: dict[str, Face] = {
    "sans": truetype(_TTF / "DejaVuSans.ttf"),
    "bold": truetype(_TTF / "DejaVuSans-Bold.ttf"),
    "mono": truetype(_TTF / "DejaVuSansMono-Bold.ttf"),
    "simplex": opencv(cv2.FONT_HERSHEY_SIMPLEX, 3),
    "duplex": opencv(cv2.FONT_HERSHEY_DUPLEX, 4),
}
"""Letters of lead are stamped or cast: strokes of one width, no serifs."""
