"""What serving does, without Ray: an upload's regions, one query through the graph, the current archive.

The graph's parts give a `Problem` back as a value: a bad upload is data, and only the HTTP face
turns it into an answer.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from wristmir_ray import storage
from wristmir_ray.anatomy import Box, Region
from wristmir_ray.errors import Reject, WristmirError
from wristmir_ray.imaging.config import DecodeConfig, DeidConfig
from wristmir_ray.imaging.crop import encode_png
from wristmir_ray.imaging.decode import decode
from wristmir_ray.imaging.deid import check_header
from wristmir_ray.preprocess import extractor
from wristmir_ray.preprocess.extractor import Locate
from wristmir_ray.preprocess.oddities import MESSAGES
from wristmir_ray.schemas import CROPS
from wristmir_ray.serving import api, problems
from wristmir_ray.serving.config import ServeArgs
from wristmir_ray.serving.images import Image
from wristmir_ray.serving.lineage import Pins
from wristmir_ray.serving.problems import ProblemError

log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True)
class Sighting:
    """The regions found in an upload, in its pixels."""

    pngs: Mapping[Region, bytes]
    boxes: Mapping[Region, api.PixelBox]
    ms: Mapping[str, float]


@dataclass(frozen=True)
class Query:
    """A query after encoding: vectors of the upload's regions or of the text, or an exam of the archive."""

    parameters: api.SearchParameters
    vectors: Mapping[Region, np.ndarray] = field(default_factory=dict)
    """Unit-norm float32 (D,) by region; empty where `exam_id` asks."""
    exam_id: str | None = None
    token: str | None = None
    """Of an unfinished answer, instead of everything else."""
    boxes: Mapping[Region, api.PixelBox] = field(default_factory=dict)
    """Regions found in the upload: a token keeps them."""
    seconds: float | None = None
    """What is left until the deadline; None: the service's own."""


class Graph(Protocol):
    """The parts that one request passes through. Each raises ProblemError for what it cannot do."""

    async def extract(self, image: bytes) -> Sighting: ...
    async def encode_image(self, png: bytes) -> np.ndarray: ...
    async def encode_text(self, text: str) -> np.ndarray: ...
    async def search(self, query: Query) -> api.SearchAnswer: ...
    async def archive(self) -> api.ArchiveSummary: ...
    async def exam(self, exam_id: str) -> api.Exam: ...
    async def crop(self, exam_id: str, region: Region) -> bytes: ...
    async def image(self, exam_id: str, max_side: int | None, held: str) -> Image: ...
    async def ready(self) -> api.Readiness: ...
    async def figures(self) -> Mapping[str, float]: ...


class Extractor:
    """Turns an upload's bytes into crops, by the very functions that made the archive's.

    Args:
        locate: `extract_regions` with its detectors and settings bound: uint8 (H, W), side -> regions.
        config: what may be decoded.
        gate: what the header must not hold; None asks nothing.
    """

    def __init__(self, locate: Locate, config: DecodeConfig, gate: DeidConfig | None = None) -> None:
        self._locate = locate
        self._config = config
        self._gate = gate

    def __call__(self, image: bytes) -> Sighting | api.Problem:
        """Return the regions found, or the problem of an image that the pipeline would reject."""
        started = time.perf_counter()
        try:
            radiograph = decode(image, self._config)
            if self._gate and radiograph.header:
                check_header(radiograph.header, self._gate)
        except Reject as e:
            return problems.rejected_upload(e)
        decoded = time.perf_counter()
        side = radiograph.header.laterality if radiograph.header else None
        regions = self._locate(radiograph.gray, side=side)
        if regions[0].error is not None:
            return problems.rejected_upload(Reject(regions[0].error, MESSAGES[regions[0].error]))
        found = [r for r in regions if r.crop is not None]
        done = time.perf_counter()
        return Sighting(
            pngs={r.region: encode_png(r.crop) for r in found if r.crop is not None},
            boxes={r.region: pixel_box(r.box) for r in found if r.box is not None},
            ms={"decode": 1e3 * (decoded - started), "detect": 1e3 * (done - decoded)},
        )


def load_extractor(args: ServeArgs, pins: Pins) -> Extractor:
    """Return the extractor that treats an upload exactly as the index's own exams were treated.

    Raises:
        NotPublished: the crops or their detectors are gone.
    """
    crops = storage.published(args.root, CROPS.name, pins.crops)
    gate = DeidConfig() if args.reject_identified else None
    locate = extractor.load_extractor(args.root, pins.crops, args.runtime)
    return Extractor(locate, DecodeConfig(**crops.config["decode"]), gate)


def pixel_box(box: Box) -> api.PixelBox:
    """Return a box in the words of HTTP."""
    return api.PixelBox(x0_px=box.x0_px, y0_px=box.y0_px, x1_px=box.x1_px, y1_px=box.y1_px)


async def answer(
    graph: Graph,
    parameters: api.SearchParameters,
    image: bytes | None = None,
    exam_id: str | None = None,
    text: str | None = None,
    token: str | None = None,
) -> api.SearchAnswer:
    """Take one query through the graph: extract, encode, search (WristMIR §3.2).

    A text stands for the whole wrist and for the asked region at once: it is compared with the
    embeddings of whichever the mode looks at. An exam of the archive needs no encoding, nor does a token.

    Raises:
        ProblemError: the upload cannot be used, the exam is unknown, or a part is not ready.
    """
    started = time.perf_counter()
    ms: dict[str, float] = {}
    boxes: Mapping[Region, api.PixelBox] = {}
    vectors: dict[Region, np.ndarray] = {}
    if image is not None:
        sighting = await graph.extract(image)
        ms |= sighting.ms
        boxes = sighting.boxes
        wanted = [r for r in dict.fromkeys((Region.WRIST, parameters.region)) if r in sighting.pngs]
        encoded, ms["encode"] = await _timed(asyncio.gather(*(graph.encode_image(sighting.pngs[r]) for r in wanted)))
        vectors = dict(zip(wanted, encoded, strict=True))
    elif text is not None and parameters.only_similar:
        raise ProblemError(problems.not_for_texts())
    elif text is not None:
        vector, ms["encode"] = await _timed(graph.encode_text(text))
        vectors = dict.fromkeys((Region.WRIST, parameters.region), vector)
    left = parameters.deadline_s
    left = None if left is None else max(0.0, left - (time.perf_counter() - started))
    found = await graph.search(Query(parameters, vectors, exam_id, token, boxes, left))
    ms |= found.stage_ms
    ms["total"] = 1e3 * (time.perf_counter() - started)
    rounded = {name: round(value, 3) for name, value in ms.items()}
    seen = found.query_boxes if token else dict(boxes)
    return found.model_copy(update={"query_boxes": seen, "stage_ms": rounded})


async def _timed(work: "Coroutine[Any, Any, T] | asyncio.Future[T]") -> tuple[T, float]:
    started = time.perf_counter()
    result = await work
    return result, 1e3 * (time.perf_counter() - started)


class Current(Generic[T]):
    """The generation that answers now. A new one is loaded aside and swapped in by one assignment.

    A request reads `get()` once, so that it never sees two generations.
    """

    def __init__(self) -> None:
        self._value: T | None = None

    def get(self) -> T:
        """Return the current generation; ProblemError(503) before the first one."""
        if self._value is None:
            raise ProblemError(problems.unavailable("not_ready", "no index is loaded yet"))
        return self._value

    def swap(self, load: Callable[[], T]) -> None:
        """Load a generation and make it current. A failure keeps the old one; without one it is raised."""
        try:
            value = load()
        except Exception as e:
            if self._value is None:
                raise
            reason = str(e) if isinstance(e, WristmirError) else type(e).__name__  # ours name the run and the mend
            log.error("kept the current index: the new one failed", extra={"fields": {"reason": reason}})
            return
        self._value = value
