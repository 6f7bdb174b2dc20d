"""The service on Ray Serve: `serve run serve_config.yaml` calls `build_app`.

    Ingress (HTTP) --bytes--> Extract (decode, detect, crop) --crops--> Encode (batched) --vectors--> Search
                                    an archive that does not store every region:  Search --> Bones --> Look --> Encode

The parts give a `Problem` back as a value; the ingress raises it for its HTTP face.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import numpy as np
from fastapi import FastAPI
from ray import serve
from ray.exceptions import RayError, RayTaskError
from ray.serve.exceptions import BackPressureError, RayServeException
from ray.serve.handle import DeploymentHandle, DeploymentResponse

from wristmir_ray import log
from wristmir_ray.anatomy import Region
from wristmir_ray.config import LogConfig
from wristmir_ray.imaging.crop import decode_png
from wristmir_ray.models.encoder import load_encoder
from wristmir_ray.retrieval.unstored import Found, Source
from wristmir_ray.serving import api, problems
from wristmir_ray.serving.access import keys_of
from wristmir_ray.serving.archive import Archive
from wristmir_ray.serving.config import BatchSettings, BonesSettings, SearchSettings, ServeArgs
from wristmir_ray.serving.http import create_http
from wristmir_ray.serving.images import Image, Images
from wristmir_ray.serving.lineage import Pins, preflight
from wristmir_ray.serving.onthefly import answers
from wristmir_ray.serving.onthefly.parts import Bones, Look
from wristmir_ray.serving.onthefly.tokens import load_secret
from wristmir_ray.serving.problems import ProblemError
from wristmir_ray.serving.service import Current, Query, Sighting, load_extractor

T = TypeVar("T")
logger = logging.getLogger(__name__)

READY_TIMEOUT_S = 2.0
PART_TIMEOUT_S = 20.0
"""Below `request_timeout_s` of serve_config.yaml, so that the answer is ours: a problem, not a bare 408."""

GRACE_S = 0.05
"""Beyond a deadline, for Bones' answer to come over."""


def build_app(args: ServeArgs) -> serve.Application:
    """Return the application, or refuse before any replica starts.

    Raises:
        ConfigError: the file of API keys cannot be used.
        NotPublished: no index, encoder or detector under `args.root`.
        IndexMismatch: the index was built by another encoder than the one that would encode queries.
    """
    pins = preflight(args)
    keys_of(args.api_keys)
    extract = serve.deployment(Extract).bind(args, pins)
    encode = serve.deployment(Encode, user_config=BatchSettings().model_dump()).bind(args, pins)
    look = serve.deployment(Look).bind(args, pins, encode)
    bones = serve.deployment(Bones, user_config=BonesSettings().model_dump()).bind(args, pins, look)
    search = serve.deployment(Search, user_config=SearchSettings().model_dump()).bind(args, pins, bones, look)
    images = serve.deployment(Images).bind(args, pins)
    return serve.deployment(serve.ingress()(Ingress), name="Ingress").bind(args, extract, encode, search, bones, images)


class Extract:
    """Bytes to crops: decode, detect, crop, enhance, as the archive's own exams were."""

    def __init__(self, args: ServeArgs, pins: Pins) -> None:
        self._extract = load_extractor(args, pins)

    async def extract(self, image: bytes) -> Sighting | api.Problem:
        """Return the regions found in an upload."""
        return await asyncio.to_thread(self._extract, image)

    async def ready(self) -> bool:
        """Return that the detectors are loaded: a replica exists only then."""
        return True


class Encode:
    """Crops and texts to vectors, many requests at a time."""

    def __init__(self, args: ServeArgs, pins: Pins) -> None:
        self._encoder = load_encoder(args.root, pins.lineage.encoder)

    def reconfigure(self, settings: dict[str, Any]) -> None:
        """Apply `user_config`: how long a batch waits for company, and how large it grows."""
        batch = BatchSettings(**settings)
        for method in (self.encode_images, self.encode_texts, self.encode_crops):
            method.set_max_batch_size(batch.max_batch_size)
            method.set_batch_wait_timeout_s(batch.batch_wait_timeout_s)

    @serve.batch  # type: ignore[untyped-decorator]
    async def encode_images(self, pngs: list[bytes]) -> list[np.ndarray]:
        """Return a vector for each crop."""
        return await asyncio.to_thread(self._images, pngs)

    @serve.batch  # type: ignore[untyped-decorator]
    async def encode_texts(self, texts: list[str]) -> list[np.ndarray]:
        """Return a vector for each text."""
        return await asyncio.to_thread(lambda: list(self._encoder.encode_texts(texts)))

    @serve.batch  # type: ignore[untyped-decorator]
    async def encode_crops(self, groups: list[list[np.ndarray]]) -> list[np.ndarray]:
        """Return the vectors of each group of crops; groups share the encoder's batches."""
        crops = [crop for group in groups for crop in group]
        vectors = await asyncio.to_thread(self._encoder.encode_images, crops)
        return np.split(vectors, np.cumsum([len(g) for g in groups])[:-1])

    async def ready(self) -> bool:
        """Return that the encoder is loaded: a replica exists only then."""
        return True

    def _images(self, pngs: list[bytes]) -> list[np.ndarray]:
        return list(self._encoder.encode_images([decode_png(png) for png in pngs]))


class Search:
    """The archive: searches it, and answers for its exams and crops."""

    def __init__(self, args: ServeArgs, pins: Pins, bones: DeploymentHandle, look: DeploymentHandle) -> None:
        log.setup(LogConfig())
        self._args = args
        self._pins = pins
        self._bones = bones
        self._look = look
        self._secret = load_secret(args.cache_place)
        self._current: Current[Archive] = Current()

    def reconfigure(self, settings: dict[str, Any]) -> None:
        """Apply `user_config`: load the index it names aside, then swap; keep the old one on failure."""
        wanted = SearchSettings(**settings)
        self._current.swap(lambda: Archive.load(self._args, self._pins, wanted))

    async def search(self, query: Query) -> api.SearchAnswer | api.Problem:
        """Return the hits of an encoded query, the best by its deadline."""
        return await answers.answer(self._current.get(), query, self._compute, self._secret, self._args.deadline_s)

    async def summary(self) -> api.ArchiveSummary:
        """Return what can be searched now."""
        return self._current.get().summary()

    async def exam(self, exam_id: str) -> api.Exam | api.Problem:
        """Return one exam's facts."""
        return await asyncio.to_thread(self._current.get().exam, exam_id)

    async def crop(self, exam_id: str, region: Region) -> bytes | api.Problem:
        """Return one crop as PNG; of an archive that does not store every region it is cut anew."""
        archive = self._current.get()
        if len(archive.index.stored) == len(Region):
            return await asyncio.to_thread(archive.crop, exam_id, region)
        source = archive.source(exam_id)
        return source if isinstance(source, api.Problem) else await self._look.crop.remote(source, region)

    async def _compute(self, sources: Sequence[Source], region: Region, seconds: float) -> Sequence[Found | None]:
        """Return what Bones gives in time: nothing, where it is away."""
        try:
            async with asyncio.timeout(seconds + GRACE_S):
                found: list[Found | None] = await self._bones.find.remote(list(sources), region, seconds)
            return found
        except (TimeoutError, RayError, RayServeException) as e:
            logger.error("Bones did not answer", extra={"fields": {"reason": type(e).__name__}})
            return [None] * len(sources)

    async def exams_run(self, exam_id: str) -> str | api.Problem:
        """Return the run of EXAMS in which an exam of the index stands."""
        return await asyncio.to_thread(self._current.get().exams_run, exam_id)


class Ingress:
    """The graph as its HTTP face sees it (`service.Graph`)."""

    def __init__(
        self,
        args: ServeArgs,
        extract: DeploymentHandle,
        encode: DeploymentHandle,
        search: DeploymentHandle,
        bones: DeploymentHandle,
        images: DeploymentHandle,
    ) -> None:
        log.setup(LogConfig())  # the audit log is its
        self._args = args
        self._extract = extract
        self._encode = encode
        self._search = search
        self._bones = bones
        self._images = images

    def __serve_build_asgi_app__(self) -> FastAPI:
        return create_http(self, keys_of(self._args.api_keys), self._args.rate_limit)

    async def extract(self, image: bytes) -> Sighting:
        return await _value(self._extract.extract.remote(image), Sighting)

    async def encode_image(self, png: bytes) -> np.ndarray:
        return await _value(self._encode.encode_images.remote(png), np.ndarray)

    async def encode_text(self, text: str) -> np.ndarray:
        return await _value(self._encode.encode_texts.remote(text), np.ndarray)

    async def search(self, query: Query) -> api.SearchAnswer:
        return await _value(self._search.search.remote(query), api.SearchAnswer)

    async def archive(self) -> api.ArchiveSummary:
        return await _value(self._search.summary.remote(), api.ArchiveSummary)

    async def exam(self, exam_id: str) -> api.Exam:
        return await _value(self._search.exam.remote(exam_id), api.Exam)

    async def crop(self, exam_id: str, region: Region) -> bytes:
        return await _value(self._search.crop.remote(exam_id, region), bytes)

    async def image(self, exam_id: str, max_side: int | None, held: str) -> Image:
        exams_run = await _value(self._search.exams_run.remote(exam_id), str)
        return await _value(self._images.image.remote(exams_run, exam_id, max_side, held), Image)

    async def figures(self) -> Mapping[str, float]:
        with suppress(ProblemError):  # its counters are no reason to give none
            return await _value(self._bones.figures.remote(), dict, READY_TIMEOUT_S)
        return {}

    async def ready(self) -> api.Readiness:
        summary, *_ = await asyncio.gather(
            _value(self._search.summary.remote(), api.ArchiveSummary, READY_TIMEOUT_S),
            _value(self._extract.ready.remote(), bool, READY_TIMEOUT_S),
            _value(self._encode.ready.remote(), bool, READY_TIMEOUT_S),
            _value(self._bones.figures.remote(), dict, READY_TIMEOUT_S),
        )
        return api.Readiness(ready=True, lineage=summary.lineage)


async def _value(response: DeploymentResponse, kind: type[T], timeout_s: float = PART_TIMEOUT_S) -> T:
    """Await a part's answer; a problem, a full queue, a dying or missing replica becomes a ProblemError."""
    try:
        async with asyncio.timeout(timeout_s):
            value = await response
    except BackPressureError:
        raise ProblemError(problems.unavailable("busy", "too many requests wait; try again in a second")) from None
    except TimeoutError:
        raise ProblemError(problems.unavailable("not_ready", "a part of the service is not up")) from None
    except RayTaskError as e:  # an exception of ours in a part: another try would meet it again
        raise ProblemError(problems.internal()) from e
    except (RayServeException, RayError) as e:
        raise ProblemError(problems.unavailable("part_failed", "a part of the service did not answer")) from e
    if isinstance(value, api.Problem):
        raise ProblemError(value)
    if not isinstance(value, kind):
        raise TypeError(f"a part answered with {type(value).__name__} instead of {kind.__name__}")
    return value
