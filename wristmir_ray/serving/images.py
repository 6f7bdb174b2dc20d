"""An exam's whole radiograph: read where it lies, checked, windowed, as PNG; what cannot be shown is a problem."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from wristmir_ray import dicomweb, keys, storage
from wristmir_ray.config import LogConfig
from wristmir_ray.errors import Reject, WristmirError
from wristmir_ray.imaging.config import DecodeConfig
from wristmir_ray.imaging.crop import encode_png, resize_longer_side
from wristmir_ray.imaging.decode import decode
from wristmir_ray.log import setup
from wristmir_ray.schemas import CROPS
from wristmir_ray.serving import api, problems
from wristmir_ray.serving.config import ServeArgs
from wristmir_ray.serving.lineage import Pins
from wristmir_ray.serving.whereabouts import Source, Whereabouts
from wristmir_ray.sources import read_source

log = logging.getLogger(__name__)

MIN_SIDE_PX, MAX_SIDE_PX = 32, 8192
"""Of a scaled image's longer side."""
READERS = 4
"""Images read and decoded at once: one of the largest detectors takes about 100 MB while it is decoded."""
MAX_BYTES = 512 * 2**20
"""Of a DICOMweb instance, as ingest's default has it."""
_TIMEOUT_S, _ATTEMPTS = 4.0, 2
"""Patience with a DICOMweb server: together less than a request may take."""


@dataclass(frozen=True)
class Image:
    """An exam's radiograph."""

    tag: str
    """An entity tag, in quotes: another one, where other pixels are shown."""
    png: bytes | None
    """8-bit grey; None: the asker holds it."""


class Painter:
    """Shows images of the archive as whoever cut its crops saw them.

    Args:
        find: (run of EXAMS, exam id) -> where its image lies.
        config: how the archive's images were decoded.
        read: address -> bytes; Reject or StoreFailed where there are none.
    """

    def __init__(
        self, find: Callable[[str, str], Source | None], config: DecodeConfig, read: Callable[[str], bytes]
    ) -> None:
        self._find, self._config, self._read = find, config, read
        self._making = config.model_dump_json()

    def __call__(self, exams_run: str, exam_id: str, max_side: int | None, held: str) -> Image | api.Problem:
        """Return an exam's image, or why it cannot be shown; no address stands in either.

        Args:
            exams_run: run of EXAMS.
            exam_id: of one that the index holds.
            max_side: px; a longer image is scaled down. None: as it is.
            held: tags of what the asker holds, as `If-None-Match` has them.
        """
        try:
            source = self._find(exams_run, exam_id)
            if source is None:
                return problems.image_gone("source_unreadable")
            tag = f'"{keys.digest("image", source.pixel_id, self._making, str(max_side))}"'
            if tag in {part.strip().removeprefix("W/") for part in held.split(",")}:
                return Image(tag, None)
            gray = decode(self._read(source.uri), self._config, source.pixel_id, header=source.pixel_id is None).gray
        except Reject as e:
            return problems.image_gone(e.code)
        except (WristmirError, OSError) as e:  # the store is away, or the table is: the message may hold addresses
            log.error("an image could not be read", extra={"fields": {"reason": type(e).__name__}})
            return problems.store_away()
        if max_side is not None and max(gray.shape) > max_side:
            gray = resize_longer_side(gray, max_side)
        return Image(tag, encode_png(gray))


class Images:
    """The deployment: a few images at a time, on threads of its own, so that a slow store holds nobody else up."""

    def __init__(self, args: ServeArgs, pins: Pins) -> None:
        setup(LogConfig())
        access = dicomweb.from_environment(timeout_s=_TIMEOUT_S, attempts=_ATTEMPTS)
        crops = storage.published(args.root, CROPS.name, pins.crops)
        where = Whereabouts(args.root)
        self._paint = Painter(
            where.find,
            DecodeConfig(**crops.config["decode"]),
            lambda uri: read_source(uri, access, MAX_BYTES),
        )
        self._pool = ThreadPoolExecutor(READERS)
        self._pool.submit(where.find, pins.exams, "0" * 32)  # three seconds a million exams: not in the first request

    async def image(self, exams_run: str, exam_id: str, max_side: int | None, held: str) -> Image | api.Problem:
        """Return an exam's image, as `Painter` does."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, self._paint, exams_run, exam_id, max_side, held)
