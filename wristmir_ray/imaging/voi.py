"""DICOM's grey pipeline: Modality LUT, then VOI LUT or window, then photometric inversion.

The whole chain is one table over the stored values (at most 65,536 of them), so that an image costs
one look-up a pixel, whatever the chain.
"""

import math
from dataclasses import dataclass
from typing import Any, overload

import cv2
import numpy as np
from pydicom.dataset import Dataset

from wristmir_ray.errors import ErrorCode, Reject
from wristmir_ray.imaging.config import DecodeConfig
from wristmir_ray.imaging.header import text
from wristmir_ray.imaging.window import check_contrast, percentile_bounds, to_uint8

_BLOCK_ROWS = 256


@dataclass(frozen=True, slots=True)
class Levels:
    """Every value that can be stored, and what the Modality LUT makes of it."""

    stored: np.ndarray
    """(L,) int64, ascending, step 1."""
    values: np.ndarray
    """(L,) float64: the input of the VOI step."""


def render(stored: np.ndarray, bits: int, ds: Dataset, config: DecodeConfig) -> np.ndarray:
    """Return uint8 (H, W), bright where the film is bright.

    A VOI LUT goes before a window (as in pydicom); without either, or where the declared one leaves
    a flat picture, percentiles of the image make the window. Padding becomes black.

    Args:
        stored: uint8, uint16, int8 or int16 (H, W), within `bits` bits.
        bits: bits stored.
        ds: the dataset with the LUTs.

    Raises:
        Reject: no_contrast, corrupt_image.
    """
    check_contrast(stored)
    levels = _levels(bits, stored.dtype.kind == "i", ds)
    padding = _padding(levels, ds)
    inverted = text(ds, "PhotometricInterpretation") == "MONOCHROME1"
    fraction = _declared(levels, ds)
    if fraction is not None:
        gray = _look_up(stored, levels, fraction, inverted, padding)
        if gray.min() != gray.max():
            return gray
    n = config.percentile_stride
    sample = _index(stored[::n, ::n], levels)
    values = levels.values[sample[~padding[sample]]]
    if values.size and values.min() < values.max():
        low, high = percentile_bounds(values, config)
    else:
        low, high = _extremes(levels.values[_occurring(stored, levels) & ~padding])
    return _look_up(stored, levels, (levels.values - low) / (high - low), inverted, padding)


def _extremes(values: np.ndarray) -> tuple[float, float]:
    if not values.size or values.min() == values.max():
        raise Reject(ErrorCode.NO_CONTRAST, "every pixel has the same value or is padding")
    return float(values.min()), float(values.max())


def _index(stored: np.ndarray, levels: Levels) -> np.ndarray:
    """Return each pixel's place in the table."""
    first = int(levels.stored[0])
    return stored if first == 0 else stored.astype(np.int32) - first


def _occurring(stored: np.ndarray, levels: Levels) -> np.ndarray:
    """Return (L,) bool: the values that some pixel has. By blocks: numpy's index takes 8 bytes a pixel."""
    found = np.zeros(len(levels.stored), bool)
    for row in range(0, len(stored), _BLOCK_ROWS):
        found[_index(stored[row : row + _BLOCK_ROWS], levels)] = True
    return found


def _look_up(
    stored: np.ndarray, levels: Levels, fraction: np.ndarray, inverted: bool, padding: np.ndarray
) -> np.ndarray:
    """Return uint8 (H, W) by a table over the bit patterns, so that signed pixels need no copy."""
    table = to_uint8(1.0 - fraction if inverted else fraction)
    table[padding] = 0
    patterns = np.zeros(1 << (8 * stored.itemsize), np.uint8)
    patterns[levels.stored & (len(patterns) - 1)] = table
    return np.asarray(cv2.LUT(stored.view(f"u{stored.itemsize}"), patterns))


def _levels(bits: int, signed: bool, ds: Dataset) -> Levels:
    first = -(1 << (bits - 1)) if signed else 0
    stored = np.arange(first, first + (1 << bits))
    sequence = _sequence(ds, "ModalityLUTSequence")
    if sequence:
        entries, start = _lut(sequence[0], ds)
        values = entries[np.clip(stored - start, 0, len(entries) - 1)].astype(np.float64)
    else:
        slope, intercept = _number(ds, "RescaleSlope", 1.0), _number(ds, "RescaleIntercept", 0.0)
        values = stored.astype(np.float64) * (slope or 1.0) + intercept
    return Levels(stored, values)


def _declared(levels: Levels, ds: Dataset) -> np.ndarray | None:
    """Return (L,) fractions by the first VOI LUT, else the first window; None where neither is usable."""
    sequence = _sequence(ds, "VOILUTSequence")
    if sequence:
        entries, start = _lut(sequence[0], ds)
        if start > 0x7FFF and levels.values[0] < 0:
            start -= 0x10000  # a first value written as unsigned where inputs are signed
        low, high = float(entries.min()), float(entries.max())
        if low < high:
            place = np.clip(np.rint(levels.values) - start, 0, len(entries) - 1).astype(np.int64)
            return np.asarray((entries[place] - low) / (high - low))
    centre, width = _number(ds, "WindowCenter", None), _number(ds, "WindowWidth", None)
    if centre is None or width is None:
        return None
    return windowed(levels.values, centre, width, text(ds, "VOILUTFunction") or "LINEAR")


def windowed(values: np.ndarray, centre: float, width: float, function: str) -> np.ndarray | None:
    """Return the share of the output range that a window gives each value (PS3.3 C.11.2.1.2, C.11.2.1.3).

    It grows with the value whatever the sign of the rescale slope. None where the width is not allowed.
    """
    match function.upper():
        case "SIGMOID" if width > 0:
            return 1.0 / (1.0 + np.exp(np.clip(-4.0 * (values - centre) / width, -500, 500)))
        case "LINEAR_EXACT" if width > 0:
            return np.clip((values - centre) / width + 0.5, 0.0, 1.0)
        case "LINEAR" if width == 1:
            return (values > centre - 0.5).astype(np.float64)
        case "LINEAR" if width > 1:
            return np.clip((values - (centre - 0.5)) / (width - 1.0) + 0.5, 0.0, 1.0)
    return None


def _lut(item: Dataset, ds: Dataset) -> tuple[np.ndarray, int]:
    """Return a look-up table's entries as float64 and the input value of its first entry."""
    try:
        count, start, _ = (int(v) for v in item.LUTDescriptor)
        count = (count & 0xFFFF) or 0x10000
        data: Any = item.LUTData
        if isinstance(data, bytes):
            order = "<" if ds.original_encoding[1] is not False else ">"
            data = np.frombuffer(data, f"{order}u2" if len(data) >= 2 * count else np.uint8)
        entries = np.atleast_1d(np.asarray(data)).astype(np.float64)[:count]
    except Exception:
        raise Reject(ErrorCode.CORRUPT_IMAGE, "a look-up table of the header is not valid") from None
    if not np.isfinite(entries).all() or not entries.size:  # an absent LUTData becomes NaN
        raise Reject(ErrorCode.CORRUPT_IMAGE, "a look-up table of the header is empty")
    return entries, start


def _sequence(ds: Dataset, keyword: str) -> Any:
    value = ds.get(keyword)
    return value if value is not None and len(value) else None


@overload
def _number(ds: Dataset, keyword: str, default: float) -> float: ...
@overload
def _number(ds: Dataset, keyword: str, default: None) -> float | None: ...
def _number(ds: Dataset, keyword: str, default: float | None) -> float | None:
    """Return an element's first value as a finite number, else the default."""
    try:
        value = float(text(ds, keyword) or "nan")
    except ValueError:
        return default
    return value if math.isfinite(value) and abs(value) < 1e9 else default


def _padding(levels: Levels, ds: Dataset) -> np.ndarray:
    """Return (L,) bool: values that stand for no tissue (PixelPaddingValue to PixelPaddingRangeLimit)."""
    first = _number(ds, "PixelPaddingValue", None)
    if first is None:
        return np.zeros(len(levels.stored), bool)
    last = _number(ds, "PixelPaddingRangeLimit", None)
    ends = sorted((first, first if last is None else last))
    return (levels.stored >= ends[0]) & (levels.stored <= ends[1])
