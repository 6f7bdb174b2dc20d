"""Parts of the service's graph: Extract and Encode make a query of an upload, Search answers it.

They give a `Problem` back as a value; the ingress raises it for its HTTP face.
"""

import asyncio
import logging
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np
from ray import serve
from ray.serve.handle import DeploymentHandle

from wristmir_ray import log, storage
from wristmir_ray.anatomy import Region
from wristmir_ray.config import LogConfig
from wristmir_ray.errors import WristmirError
from wristmir_ray.held import Note
from wristmir_ray.imaging.crop import decode_png, encode_png
from wristmir_ray.models.encoder import load_encoder
from wristmir_ray.retrieval.cut import Cut
from wristmir_ray.retrieval.gallery import Gallery
from wristmir_ray.retrieval.index import NAME, Index, describe
from wristmir_ray.retrieval.scattered import Scattered
from wristmir_ray.retrieval.unstored import Found, Source
from wristmir_ray.serving import api
from wristmir_ray.serving.archive import Archive
from wristmir_ray.serving.calls import LOAD_TIMEOUT_S, Scatter, hold, told
from wristmir_ray.serving.config import BatchSettings, SearchSettings, ServeArgs
from wristmir_ray.serving.lineage import Pins
from wristmir_ray.serving.onthefly import answers
from wristmir_ray.serving.onthefly.tokens import load_secret
from wristmir_ray.serving.problems import ProblemError
from wristmir_ray.serving.service import Current, Query, Sighting, load_extractor

logger = logging.getLogger(__name__)

GRACE_S = 0.05
"""Beyond a deadline, for Bones' answer to come over."""
HOLD_EVERY_S = 15.0
"""Several times in the time for which shards hold what nobody asks for."""
WAITING = 64
"""Requests that wait for shards at once, a thread each: as many as the searching replica's `max_ongoing_requests`."""


class Extract:
    """Bytes to crops: decode, detect, crop, enhance, as the archive's own exams were."""

    def __init__(self, args: ServeArgs, pins: Pins) -> None:
        self._extract = load_extractor(args, pins)
        noise = np.random.default_rng(0).integers(0, 256, (512, 512), np.uint8)
        self._extract(encode_png(noise))  # what its libraries do but once, before anyone waits for it

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
        self._encoder.encode_images([np.zeros((224, 224), np.uint8)])

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

    def __init__(
        self,
        args: ServeArgs,
        pins: Pins,
        bones: DeploymentHandle,
        look: DeploymentHandle,
        *shards: DeploymentHandle,
    ) -> None:
        log.setup(LogConfig())
        self._args = args
        self._pins = pins
        self._bones = bones
        self._look = look
        self._shards = shards
        self._secret = load_secret(args.cache_place)
        self._current: Current[Archive] = Current()
        self._note = Note(args.root, f"serve-{uuid.uuid4().hex}")
        self._swapping = asyncio.Lock()
        self._keeping: asyncio.Task[None] | None = None

    async def reconfigure(self, settings: dict[str, Any]) -> None:
        """Apply `user_config`: load the index it names aside, then swap; keep the old one on failure.

        With shards: once every replica of each has opened its share of it.
        """
        opened: Callable[[str, str], Gallery] = Index.load
        if self._shards:
            loop = asyncio.get_running_loop()
            opened = partial(_scattered, self._shards, loop)
            if self._keeping is None:
                loop.set_default_executor(ThreadPoolExecutor(WAITING))
                self._keeping = asyncio.ensure_future(self._keep())
        load = partial(Archive.load, self._args, self._pins, SearchSettings(**settings), opened)
        async with self._swapping:
            await asyncio.to_thread(self._current.swap, load)
            await asyncio.to_thread(self._hold)

    def _hold(self) -> None:
        """Keep the runs that answer, and those that a part which starts anew opens, from being pruned."""
        try:
            self._note.hold({run for pins in (self._pins, self._current.get().pins) for run in pins.runs})
        except WristmirError as e:
            said = {"reason": type(e).__name__}
            logger.warning("what is served cannot be noted: prune_runs might delete it", extra={"fields": said})

    async def _keep(self) -> None:
        """Have the shards hold what this replica answers from: also those that have started anew since."""
        while True:
            await asyncio.sleep(HOLD_EVERY_S)
            with suppress(ProblemError):  # who asks them meanwhile is told
                index = self._current.get().index
                assert isinstance(index, Scattered)
                await hold(self._shards, index.cut.shares, HOLD_EVERY_S)

    async def search(self, query: Query) -> api.SearchAnswer | api.Problem:
        """Return the hits of an encoded query, the best by its deadline."""
        archive, seconds = self._current.get(), self._args.deadline_s
        return await told(answers.answer(archive, query, self._compute, self._secret, seconds))

    async def summary(self) -> api.ArchiveSummary:
        """Return what can be searched now."""
        return self._current.get().summary()

    async def ready(self) -> api.ArchiveSummary | api.Problem:
        """Return what can be searched, once every shard of it answers."""
        archive = self._current.get()
        if archive.index.is_local:  # not behind the searches that wait for a thread
            return archive.ready()
        return await told(asyncio.to_thread(archive.ready))

    async def exam(self, exam_id: str) -> api.Exam | api.Problem:
        """Return one exam's facts."""
        return await told(asyncio.to_thread(self._current.get().exam, exam_id))

    async def crop(self, exam_id: str, region: Region) -> bytes | api.Problem:
        """Return one crop as PNG; of an archive that does not store every region it is cut anew."""
        archive = self._current.get()
        if len(archive.index.stored) == len(Region):
            return await told(asyncio.to_thread(archive.crop, exam_id, region))
        source = await told(asyncio.to_thread(archive.source, exam_id))
        return source if isinstance(source, api.Problem) else await self._look.crop.remote(source, region)

    async def _compute(self, sources: Sequence[Source], region: Region, seconds: float) -> Sequence[Found | None]:
        """Return what Bones gives in time: nothing, where it is away."""
        try:
            async with asyncio.timeout(seconds + GRACE_S):
                found: list[Found | None] = await self._bones.find.remote(list(sources), region, seconds)
            return found
        except Exception as e:  # whatever it is: the answer has what is known
            logger.error("Bones did not answer", extra={"fields": {"reason": type(e).__name__}})
            return [None] * len(sources)

    async def exams_run(self, exam_id: str) -> str | api.Problem:
        """Return the run of EXAMS in which an exam of the index stands."""
        return await told(asyncio.to_thread(self._current.get().exams_run, exam_id))


def _scattered(
    shards: Sequence[DeploymentHandle], loop: asyncio.AbstractEventLoop, root: str, run_id: str
) -> Scattered:
    """Return a run of the index over shards, each replica of which has opened its share."""
    run = storage.published(root, NAME, run_id)
    described = describe(root, run)
    cut = Cut.of(run.run_id, described, len(shards))
    asyncio.run_coroutine_threadsafe(hold(shards, cut.shares, LOAD_TIMEOUT_S), loop).result()
    return Scattered(run, described, cut, Scatter(shards, cut.shares, loop))
