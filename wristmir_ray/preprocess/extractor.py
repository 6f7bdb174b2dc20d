"""The archive's own way from a radiograph to crops, for new images."""

from functools import partial
from typing import Protocol

import numpy as np

from wristmir_ray import storage
from wristmir_ray.anatomy import Side
from wristmir_ray.models.detector import BONE_DETECTOR, ROI_DETECTOR, load_detector, warm_up
from wristmir_ray.models.networks import RuntimeConfig
from wristmir_ray.preprocess.config import RegionConfig
from wristmir_ray.preprocess.regions import RegionCrop, extract_regions
from wristmir_ray.schemas import CROPS


class Locate(Protocol):
    """`extract_regions` with its detectors and settings bound."""

    def __call__(self, gray: np.ndarray, *, side: Side | None = None) -> list[RegionCrop]:
        """Return the regions of uint8 (H, W), the wrist of which is of this side."""
        ...


def load_extractor(root: str, crops_run: str | None = None, runtime: RuntimeConfig | None = None) -> Locate:
    """Return `extract_regions` with the settings and detector runs that made a published CROPS run.

    A query goes through exactly what the archive went through: nothing is configured twice.

    Args:
        root: folder or s3:// prefix.
        crops_run: pinned run of CROPS; default the current one.
        runtime: what the detectors run on; default what the archive's ran on.

    Raises:
        NotPublished: no such crops, or their detectors are gone.
        ConfigError: this machine lacks the back end.
    """
    manifest = storage.published(root, CROPS.name, crops_run)
    where = manifest.config["detectors"] or root
    runtime = runtime or RuntimeConfig(**manifest.config["runtime"])
    roi, bone = (load_detector(where, n, manifest.models[n], runtime) for n in (ROI_DETECTOR, BONE_DETECTOR))
    for detector in (roi, bone):
        warm_up(detector)
    config = RegionConfig(**manifest.config["regions"])
    return partial(extract_regions, roi_detector=roi, bone_detector=bone, config=config)
