"""Sources to one bone's pixels: fetched, decoded, checked, cut by the stored box, and looked at for bones."""

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

import cv2
import numpy as np

from wristmir_ray import storage
from wristmir_ray.anatomy import Box, Region, Side
from wristmir_ray.errors import Reject, StoreFailed
from wristmir_ray.imaging.config import DecodeConfig
from wristmir_ray.imaging.crop import encode_png
from wristmir_ray.imaging.decode import decode
from wristmir_ray.models.detector import BONE_DETECTOR, Detector, load_detector, warm_up
from wristmir_ray.models.networks import RuntimeConfig
from wristmir_ray.preprocess.config import RegionConfig
from wristmir_ray.preprocess.looking import Look, cut_known
from wristmir_ray.preprocess.regions import extract_known
from wristmir_ray.retrieval.unstored import Found, Source, State
from wristmir_ray.schemas import CROPS
from wristmir_ray.sources import read_source

log = logging.getLogger(__name__)

FETCHES = 8
"""Files fetched at once: a store's delay is paid once a batch."""


@dataclass(frozen=True)
class Cut:
    """One bone as the encoder is given it, or why there is none."""

    state: State | None
    """None: the store is away; another try may do."""
    crop: np.ndarray | None = None
    """uint8 (S, S)."""
    box: Box | None = None


class Looker:
    """Cuts bones by the very functions that made the archive's crops.

    Args:
        bones: the detector of the archive's bones.
        regions: of the archive's crops.
        decode: of the archive's images.
    """

    def __init__(self, bones: Detector, regions: RegionConfig, decode: DecodeConfig) -> None:
        self._bones = bones
        self._regions = regions
        self._decode = decode
        self._pool = ThreadPoolExecutor(FETCHES)
        cv2.setNumThreads(1)  # replicas share the cores; threads of each would only wait for one another

    def warm_up(self) -> None:
        """Have every library do now what it does but once, so that no query waits for it."""
        warm_up(self._bones)
        gray = np.random.default_rng(0).integers(0, 256, (512, 512), np.uint8)
        with suppress(Reject):  # an archive may not take images of this size
            decode(encode_png(gray), self._decode)
        look = cut_known(gray, Box(0, 0, 512, 512), self._regions)
        extract_known([look], [None], Region.DISTAL_RADIUS, self._bones, self._regions)
        list(self._pool.map(lambda _: None, range(FETCHES)))

    def fetch(self, sources: Sequence[Source]) -> list[bytes | State | None]:
        """Return each source's bytes, or why there are none; thread-safe."""
        return list(self._pool.map(_fetched, sources))

    def cut(self, sources: Sequence[Source], files: Sequence[bytes | State | None], region: Region) -> list[Cut]:
        """Return each source's bone. The network sees one image after the other, its weights still near the core."""
        seen = [self._wrist(s, f) if isinstance(f, bytes) else Cut(f) for s, f in zip(sources, files, strict=True)]
        looks = [(i, look) for i, look in enumerate(seen) if isinstance(look, Look)]
        sides = [sources[i].side for i, _ in looks]
        try:
            cuts = self._bones_of([look for _, look in looks], sides, region)
        except Exception:  # one of them; the others must not suffer
            cuts = [self._alone(look, side, region) for (_, look), side in zip(looks, sides, strict=True)]
        of_look = dict(zip((i for i, _ in looks), cuts, strict=True))
        return [cut if isinstance(cut, Cut) else of_look[i] for i, cut in enumerate(seen)]

    def _wrist(self, source: Source, file: bytes) -> Look | Cut:
        """Return the wrist, cut and enhanced, or why there is none."""
        try:
            gray = decode(file, self._decode, source.pixel_id, header=source.pixel_id is None).gray
            return cut_known(gray, source.wrist, self._regions)
        except (Reject, ValueError):  # it was decoded, and its wrist cut, when it was indexed
            return Cut(State.SOURCE_CHANGED)
        except Exception as e:
            return _unreadable(e)

    def _bones_of(self, looks: Sequence[Look], sides: Sequence[Side | None], region: Region) -> list[Cut]:
        found = extract_known(looks, sides, region, self._bones, self._regions)
        return [Cut(State.NO_REGION) if b.crop is None else Cut(State.COMPARED, b.crop, b.box) for b in found]

    def _alone(self, look: Look, side: Side | None, region: Region) -> Cut:
        try:
            return self._bones_of([look], [side], region)[0]
        except Exception as e:
            return _unreadable(e)


def _unreadable(error: Exception) -> Cut:
    log.error("an image could not be looked at", extra={"fields": {"reason": type(error).__name__}})
    return Cut(State.SOURCE_UNREADABLE)


def found_of(cuts: Sequence[Cut], vectors: Sequence[np.ndarray]) -> list[Found | None]:
    """Return what came of each cut, given the vectors of those that have a crop.

    A vector that is not finite counts as no bone, as in an archive that stores it.
    """
    left = iter(vectors)
    out: list[Found | None] = []
    for cut in cuts:
        vector = None if cut.crop is None else next(left)
        if cut.state is None:
            out.append(None)
        elif vector is None or cut.box is None:
            out.append(Found(cut.state))
        else:
            good = bool(np.isfinite(vector).all())
            out.append(Found(State.COMPARED, np.array(vector), _as_stored(cut.box)) if good else Found(State.NO_REGION))
    return out


def _as_stored(box: Box) -> Box:
    """Return a box as tables keep it."""
    return Box(*(float(np.float32(v)) for v in (box.x0_px, box.y0_px, box.x1_px, box.y1_px)))


def load_looker(root: str, crops_run: str, runtime: RuntimeConfig | None = None) -> Looker:
    """Return a looker with the settings and the detector that made a published run of crops.

    Args:
        root: folder or s3:// prefix.
        crops_run: run of CROPS; its manifest alone is read.
        runtime: what the detector runs on; default what the archive's ran on, which gives the same bits.

    Raises:
        NotPublished: the crops' manifest or the detector is gone.
        ConfigError: this machine lacks the back end.
    """
    made = storage.published(root, CROPS.name, crops_run)
    runtime = runtime or RuntimeConfig(**made.config["runtime"])
    bones = load_detector(made.config.get("detectors") or root, BONE_DETECTOR, made.models[BONE_DETECTOR], runtime)
    return Looker(bones, RegionConfig(**made.config["regions"]), DecodeConfig(**made.config["decode"]))


def _fetched(source: Source) -> bytes | State | None:
    try:
        return read_source(source.uri)
    except StoreFailed:
        return None
    except Exception:
        return State.SOURCE_UNREADABLE
