"""Two parts of the service's graph: Look computes regions, Bones knows which are known and lets each be computed once.

Their handles of other parts are Ray Serve's: `handle.method.remote(...)` is awaited.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np

from wristmir_ray import log
from wristmir_ray.anatomy import Region
from wristmir_ray.config import LogConfig
from wristmir_ray.imaging.crop import encode_png
from wristmir_ray.memory import keep_freed
from wristmir_ray.models.encoder import load_encoder
from wristmir_ray.retrieval.unstored import Found, Source, State
from wristmir_ray.serving import api, problems
from wristmir_ray.serving.config import BonesSettings, ServeArgs
from wristmir_ray.serving.lineage import Pins
from wristmir_ray.serving.onthefly.cache import open_cache
from wristmir_ray.serving.onthefly.flights import Flights
from wristmir_ray.serving.onthefly.look import found_of, load_looker


class Look:
    """Sources to computed regions: fetched, looked at one after the other, and encoded, here or by Encode."""

    def __init__(self, args: ServeArgs, pins: Pins, encode: Any) -> None:
        log.setup(LogConfig())
        keep_freed()
        self._looker = load_looker(args.root, pins.crops)
        self._looker.warm_up()
        self._encoder = None if args.encode_apart else load_encoder(args.root, pins.lineage.encoder, texts=False)
        if self._encoder is not None:
            self._encoder.encode_images([np.zeros((224, 224), np.uint8)])
        self._encode = encode
        self._looking = asyncio.Lock()

    async def find(self, sources: list[Source], region: Region) -> list[Found | None]:
        """Return what came of each source; while one call looks, another one fetches, or waits for Encode."""
        files = await asyncio.to_thread(self._looker.fetch, sources)
        async with self._looking:
            cuts = await asyncio.to_thread(self._looker.cut, sources, files, region)
            crops = [c.crop for c in cuts if c.crop is not None]
            if self._encoder is not None:
                vectors = await asyncio.to_thread(self._encoder.encode_images, crops)
                return found_of(cuts, list(vectors))
        return found_of(cuts, await self._encode.encode_crops.remote(crops) if crops else [])

    async def crop(self, source: Source, region: Region) -> bytes | api.Problem:
        """Return one region of a source as PNG."""
        files = await asyncio.to_thread(self._looker.fetch, [source])
        async with self._looking:
            (cut,) = await asyncio.to_thread(self._looker.cut, [source], files, region)
        if cut.crop is not None:
            return encode_png(cut.crop)
        if cut.state is State.NO_REGION:
            return problems.unknown_region()
        return problems.store_away() if cut.state is None else problems.image_gone(cut.state.name.lower())


class Bones:
    """What is known of regions that the index does not store: the cache, and one computation an exam.

    It has one replica, so that whoever asks for an exam meets who asked before.
    """

    def __init__(self, args: ServeArgs, pins: Pins, look: Any) -> None:
        log.setup(LogConfig())
        self._args = args
        self._pins = pins
        self._look = look
        self._flights: Flights | None = None

    def reconfigure(self, settings: dict[str, Any]) -> None:
        """Apply `user_config`; the cache is read once, with the size it has then."""
        wanted = BonesSettings(**settings)
        if self._flights is None:
            cache = open_cache(self._args, self._pins, wanted)
            self._flights = Flights(cache, self._batch)
        self._flights.set(wanted.batch_rows, wanted.at_once, wanted.retry_after_s)

    async def find(self, sources: list[Source], region: Region, seconds: float) -> list[Found | None]:
        """Return what is known, or becomes known in time, of each source's region."""
        assert self._flights is not None
        return await self._flights.find(sources, region, seconds)

    async def figures(self) -> dict[str, float]:
        """Return what was computed and is held."""
        assert self._flights is not None
        return self._flights.figures()

    def __del__(self) -> None:
        flights: Flights | None = getattr(self, "_flights", None)  # none: it never started
        if flights is not None:
            flights.cache.flush()

    async def _batch(self, sources: Sequence[Source], region: Region) -> Sequence[Found | None]:
        found: list[Found | None] = await self._look.find.remote(list(sources), region)
        return found
