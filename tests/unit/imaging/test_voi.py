"""DICOM's grey pipeline against pydicom's own functions."""

import itertools

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut

from tests.unit.imaging import samples
from wristmir_ray.imaging.config import DecodeConfig
from wristmir_ray.imaging.decode import decode

CONFIG = DecodeConfig()


def _voi_lut(entries: int, first: int) -> Dataset:
    item = Dataset()
    item.LUTDescriptor = [entries, first, 16]
    item.add_new("LUTData", "US", [int(60000 * (i / (entries - 1)) ** 2) + 17 for i in range(entries)])
    return item


def _window(ds: Dataset, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Where y lies between what pydicom gives the bottom and the top of a window."""
    ends = np.array([-1e9, 1e9])
    with np.errstate(over="ignore"):
        below, above = apply_voi_lut(ends, ds)
    return (y - below) / (above - below)


def _expected(ds: Dataset, stored: np.ndarray) -> np.ndarray:
    """Floating-point fraction of white by pydicom's functions."""
    x = apply_modality_lut(stored, ds)
    if "VOILUTSequence" in ds:
        lut = np.array(ds.VOILUTSequence[0].LUTData, float)
        fraction = (apply_voi_lut(x.astype(np.int64), ds) - lut.min()) / (lut.max() - lut.min())
    elif "WindowCenter" in ds:
        fraction = _window(ds, x, apply_voi_lut(x, ds))
    else:
        low, high = np.percentile(x[::4, ::4], (0.5, 99.5))
        fraction = np.clip((x - low) / (high - low), 0, 1)
    return 1 - fraction if ds.PhotometricInterpretation == "MONOCHROME1" else fraction


@pytest.mark.parametrize(
    ("photometric", "voi", "bits", "slope", "signed"),
    list(
        itertools.product(
            ("MONOCHROME1", "MONOCHROME2"),
            ("lut", "window", "sigmoid", "exact", "none"),
            (8, 12, 16),
            (2, -1),
            (False, True),
        )
    ),
)
def test_agrees_with_pydicom(photometric: str, voi: str, bits: int, slope: int, signed: bool) -> None:
    if voi == "lut" and bits == 16:
        slope = min(slope, 1)  # a table's input has 16 bits at most; pydicom wraps beyond
    stored = samples.pixels(bits, signed=signed)
    span = abs(slope) * ((1 << bits) - 1)
    lowest = min(slope * int(stored.min()), slope * int(stored.max()))
    elements = {"PhotometricInterpretation": photometric, "RescaleSlope": slope, "RescaleIntercept": -lowest}
    if voi == "lut":
        entries = min(span, 4000)
        elements["VOILUTSequence"] = [_voi_lut(entries, span // 5)]
    elif voi != "none":
        function = {"window": "LINEAR", "sigmoid": "SIGMOID", "exact": "LINEAR_EXACT"}[voi]
        elements |= {"WindowCenter": span * 0.4, "WindowWidth": span * 0.5, "VOILUTFunction": function}
    ds = samples.dataset(stored, bits, **elements)
    expected = _expected(ds, stored)
    image = decode(samples.write(ds), CONFIG)
    assert (image.stored_rows, image.stored_cols, image.bits) == (*stored.shape, bits)
    assert image.gray.dtype == np.uint8
    assert image.gray.shape == stored.shape
    assert np.abs(image.gray - 255 * expected).max() <= 0.51
    assert np.ptp(image.gray) > 100


@pytest.mark.parametrize("rising", [True, False])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("windowed", [True, False])
def test_bright_is_what_the_standard_says(rising: bool, photometric: str, windowed: bool) -> None:
    """MONOCHROME2 shows large modality values bright, MONOCHROME1 dark, whatever the slope's sign.

    pydicom alone turns a window with a negative slope upside down.
    """
    stored = samples.pixels(12)
    slope, intercept = (1, 0) if rising else (-1, 4095)
    window = {"WindowCenter": 2048, "WindowWidth": 4096} if windowed else {}
    image = decode(
        samples.dicom(PhotometricInterpretation=photometric, RescaleSlope=slope, RescaleIntercept=intercept, **window),
        CONFIG,
    )
    correlation = np.corrcoef(image.gray.ravel(), stored.ravel())[0, 1]
    assert correlation * (1 if rising else -1) * (1 if photometric == "MONOCHROME2" else -1) > 0.99


def test_modality_lut_sequence() -> None:
    stored = samples.pixels(12)
    item = Dataset()
    item.LUTDescriptor = [4096, 0, 16]
    item.add_new("LUTData", "US", [65535 - 16 * i for i in range(4096)])
    item.ModalityLUTType = "US"
    ds = samples.dataset(stored, ModalityLUTSequence=[item], WindowCenter=32768, WindowWidth=65536)
    image = decode(samples.write(ds), CONFIG)
    assert np.abs(image.gray - 255 * (apply_modality_lut(stored, ds) + 0.5) / 65535).max() <= 1


def test_first_of_several_windows_and_of_two_ways() -> None:
    stored = samples.pixels(12)
    one = decode(samples.dicom(WindowCenter=1000, WindowWidth=500), CONFIG)
    several = decode(samples.dicom(WindowCenter=[1000, 3000], WindowWidth=[500, 50]), CONFIG)
    assert (one.gray == several.gray).all()
    lut = _voi_lut(4000, 0)
    both = samples.dataset(stored, VOILUTSequence=[lut], WindowCenter=1000, WindowWidth=500)
    alone = samples.dataset(stored, VOILUTSequence=[lut])
    assert (decode(samples.write(both), CONFIG).gray == decode(samples.write(alone), CONFIG).gray).all()


@pytest.mark.parametrize("window", [{"WindowCenter": 9e6, "WindowWidth": 10}, {"WindowCenter": 5, "WindowWidth": 0}])
def test_a_window_that_shows_nothing_gives_way_to_percentiles(window: dict[str, float]) -> None:
    assert (decode(samples.dicom(**window), CONFIG).gray == decode(samples.dicom(), CONFIG).gray).all()


def test_padding_is_black_and_out_of_the_percentiles() -> None:
    stored = samples.pixels(12)
    stored[stored < 1000] = 1000
    stored[:, :8] = 0
    ds = samples.dataset(stored, PhotometricInterpretation="MONOCHROME1", PixelPaddingValue=0)
    image = decode(samples.write(ds), CONFIG)
    assert (image.gray[:, :8] == 0).all()
    assert image.gray[:, 8:].max() == 255
    assert image.gray[:, 8:].min() == 0


@pytest.mark.parametrize("signed", [False, True])
def test_unused_high_bits_are_left_out(signed: bool) -> None:
    stored = samples.pixels(12, signed=signed)
    dirty = (stored.view(np.uint16) & 0x0FFF | 0x5000).view(stored.dtype)
    clean, overlaid = (decode(samples.write(samples.dataset(p)), CONFIG) for p in (stored, dirty))
    assert (clean.gray == overlaid.gray).all()
    assert clean.pixel_id == overlaid.pixel_id
