"""A trained network's thresholds, figures and pages, from the validation images."""

import resource
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from wristmir_ray.anatomy import Box, Region
from wristmir_ray.detection import page
from wristmir_ray.detection.metrics import score, typical_score
from wristmir_ray.models.detector import DetectorSpec, OnnxDetector


@dataclass(frozen=True)
class Trained:
    """One trained detector, ready to publish."""

    model: bytes
    spec: DetectorSpec
    metrics: dict[str, Any]
    pages: dict[str, bytes]
    """Files to look at: Table 8, curves, worst images."""


def measured(
    model: bytes,
    detector: OnnxDetector,
    images: Sequence[np.ndarray],
    truth: Sequence[Mapping[Region, Sequence[Box]]],
    facts: Mapping[str, Any],
) -> Trained:
    """Return a trained network with its thresholds and figures on the validation images.

    Args:
        model: the network.
        detector: it, with thresholds near zero.
        images, truth: of validation.
        facts: figures that are known already.
    """
    spec, found = detector.spec, detector.detect(images)
    regions = score(found, truth, spec.classes)
    thresholds = {c: regions[c]["threshold"] for c in spec.classes}
    usage = resource.getrusage(resource.RUSAGE_SELF)
    metrics = {
        "map50": regions["overall"]["map50"],
        "regions": regions,
        **facts,
        "val_images": len(images),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 1),
    }
    pages = {
        page.TABLE_FILE: page.table8(regions, facts["agreement"], len(images)).encode(),
        page.CURVES_FILE: page.curves(found, truth, spec.classes),
        page.WORST_FILE: page.worst(images, found, truth, thresholds),
    }
    typical = tuple(typical_score(found, truth, c) for c in spec.classes)
    sealed = replace(spec, score_thresholds=tuple(thresholds.values()), typical_scores=typical).sealed(model)
    return Trained(model, sealed, metrics, pages)
