"""The service on Ray Serve: `serve run serve_config.yaml` calls `build_app`.

    Ingress (HTTP) --bytes--> Extract (decode, detect, crop) --crops--> Encode (batched) --vectors--> Search
                                    an archive that does not store every region:  Search --> Bones --> Look (--> Encode)
                                    an archive that is larger than one node's memory:  Search --> Shard0, Shard1, ...

Search is an object of the Ingress's own process (`SearchingIngress`): a call between processes costs several searches.
With `search_apart` it is a deployment. Look has an encoder of its own; with `encode_apart` it asks Encode.

The parts give a `Problem` back as a value; the ingress raises it for its HTTP face.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np
from fastapi import FastAPI
from ray import serve
from ray.serve.handle import DeploymentHandle

from wristmir_ray import log
from wristmir_ray.anatomy import Region
from wristmir_ray.config import LogConfig
from wristmir_ray.serving import api
from wristmir_ray.serving.access import keys_of
from wristmir_ray.serving.calls import Near, value
from wristmir_ray.serving.config import BatchSettings, BonesSettings, SearchSettings, ServeArgs
from wristmir_ray.serving.deployments import Encode, Extract, Search
from wristmir_ray.serving.http import create_http
from wristmir_ray.serving.images import Image, Images
from wristmir_ray.serving.lineage import Pins, preflight
from wristmir_ray.serving.onthefly.parts import Bones, Look
from wristmir_ray.serving.problems import ProblemError
from wristmir_ray.serving.routing import fewest_calls
from wristmir_ray.serving.service import Query, Sighting
from wristmir_ray.serving.shard import Shard, shares_of

READY_TIMEOUT_S = 2.0


def build_app(args: ServeArgs) -> serve.Application:
    """Return the application, or refuse before any replica starts.

    Raises:
        ConfigError: the file of API keys cannot be used.
        NotPublished: no index, encoder or detector under `args.root`.
        IndexMismatch: the index was built by another encoder than the one that would encode queries.
    """
    pins = preflight(args)
    keys_of(args.api_keys)
    counted = {"request_router_config": fewest_calls()}
    extract = serve.deployment(Extract, **counted).bind(args, pins)
    encode = serve.deployment(Encode, user_config=BatchSettings().model_dump(), **counted).bind(args, pins)
    look = serve.deployment(Look, **counted).bind(args, pins, encode)
    bones = serve.deployment(Bones, user_config=BonesSettings().model_dump()).bind(args, pins, look)
    shards = [
        serve.deployment(Shard, name=f"Shard{i}", max_ongoing_requests=64, max_queued_requests=128).bind(args, share)
        for i, share in enumerate(shares_of(args, pins.lineage.index))
    ]
    images = serve.deployment(Images).bind(args, pins)
    settings = SearchSettings().model_dump()
    if not args.search_apart:
        ingress = serve.deployment(serve.ingress()(SearchingIngress), name="Ingress", user_config=settings)
        return ingress.bind(args, pins, extract, encode, bones, images, look, *shards)
    search = serve.deployment(Search, user_config=settings).bind(args, pins, bones, look, *shards)
    return serve.deployment(serve.ingress()(Ingress), name="Ingress").bind(args, extract, encode, search, bones, images)


class Ingress:
    """The graph as its HTTP face sees it (`service.Graph`)."""

    def __init__(
        self,
        args: ServeArgs,
        extract: DeploymentHandle,
        encode: DeploymentHandle,
        search: DeploymentHandle | Near,
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
        return await value(self._extract.extract.remote(image), Sighting)

    async def encode_image(self, png: bytes) -> np.ndarray:
        return await value(self._encode.encode_images.remote(png), np.ndarray)

    async def encode_text(self, text: str) -> np.ndarray:
        return await value(self._encode.encode_texts.remote(text), np.ndarray)

    async def search(self, query: Query) -> api.SearchAnswer:
        return await value(self._search.search.remote(query), api.SearchAnswer)

    async def archive(self) -> api.ArchiveSummary:
        return await value(self._search.summary.remote(), api.ArchiveSummary)

    async def exam(self, exam_id: str) -> api.Exam:
        return await value(self._search.exam.remote(exam_id), api.Exam)

    async def crop(self, exam_id: str, region: Region) -> bytes:
        return await value(self._search.crop.remote(exam_id, region), bytes)

    async def image(self, exam_id: str, max_side: int | None, held: str) -> Image:
        exams_run = await value(self._search.exams_run.remote(exam_id), str)
        return await value(self._images.image.remote(exams_run, exam_id, max_side, held), Image)

    async def figures(self) -> Mapping[str, float]:
        with suppress(ProblemError):  # its counters are no reason to give none
            return await value(self._bones.figures.remote(), dict, READY_TIMEOUT_S)
        return {}

    async def ready(self) -> api.Readiness:
        summary, *_ = await asyncio.gather(
            value(self._search.ready.remote(), api.ArchiveSummary, READY_TIMEOUT_S),
            value(self._extract.ready.remote(), bool, READY_TIMEOUT_S),
            value(self._encode.ready.remote(), bool, READY_TIMEOUT_S),
            value(self._bones.figures.remote(), dict, READY_TIMEOUT_S),
        )
        return api.Readiness(ready=True, lineage=summary.lineage)


class SearchingIngress(Ingress):
    """The ingress with Search in its own process; `user_config` is Search's."""

    def __init__(
        self,
        args: ServeArgs,
        pins: Pins,
        extract: DeploymentHandle,
        encode: DeploymentHandle,
        bones: DeploymentHandle,
        images: DeploymentHandle,
        look: DeploymentHandle,
        *shards: DeploymentHandle,
    ) -> None:
        self._near = Search(args, pins, bones, look, *shards)
        super().__init__(args, extract, encode, Near(self._near), bones, images)

    async def reconfigure(self, settings: dict[str, Any]) -> None:
        """Apply `user_config` (`SearchSettings`)."""
        await self._near.reconfigure(settings)
