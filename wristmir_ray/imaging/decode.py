"""Bytes to a radiograph. The format is what the bytes say; the name of a file says nothing.

Sizes are read from the header and checked before any native decoder sees the data, so that a
decompression bomb is a rejected row and not a dead worker.
"""

from wristmir_ray.errors import ErrorCode, Reject
from wristmir_ray.imaging import dicom, raster
from wristmir_ray.imaging.config import DecodeConfig
from wristmir_ray.imaging.radiograph import Header, Radiograph

__all__ = ["Header", "Radiograph", "decode"]


def decode(data: bytes, config: DecodeConfig, pixel_id: str | None = None, header: bool = True) -> Radiograph:
    """Return the radiograph stored in `data`: a DICOM object, a PNG or a JPEG.

    Args:
        data: a whole file.
        config: limits, window percentiles, what counts as a wrist radiograph.
        pixel_id: of the pixels that must be in it, where they are known.
        header: whether a DICOM header's words are read and checked; without, the radiograph has none. For pixels that
            are known, and were accepted with these settings.

    Raises:
        Reject: empty_file, unknown_format, corrupt_image, no_pixels, unsupported_encoding,
            colour_image, multi_frame, image_too_large, image_too_small, no_contrast,
            not_radiograph, not_wrist, source_changed. The message holds no header text.
    """
    image = _decode(data, config, header)
    if pixel_id is not None and image.pixel_id != pixel_id:
        raise Reject(ErrorCode.SOURCE_CHANGED, "another image than the one that was ingested: run ingest again")
    return image


def _decode(data: bytes, config: DecodeConfig, read_header: bool) -> Radiograph:
    if not data:
        raise Reject(ErrorCode.EMPTY_FILE, "the file holds no bytes")
    try:
        if dicom.has_preamble(data):
            return dicom.decode_dicom(data, config, read_header)
        if raster.is_png(data):
            return raster.decode_png_file(data, config)
        if raster.is_jpeg(data):
            return raster.decode_jpeg_file(data, config)
        if dicom.may_lack_preamble(data):
            return dicom.decode_bare_dicom(data, config, read_header)
    except Reject:
        raise
    except Exception as e:
        raise Reject(ErrorCode.CORRUPT_IMAGE, f"cannot be decoded ({type(e).__name__})") from None
    raise Reject(ErrorCode.UNKNOWN_FORMAT, "neither DICOM nor PNG nor JPEG")
