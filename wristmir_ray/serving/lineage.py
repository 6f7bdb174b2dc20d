"""Which runs answer: read from manifests before anything heavy is loaded, so that a wrong pair never starts."""

import json
from dataclasses import dataclass

from wristmir_ray import keys, storage
from wristmir_ray.errors import IndexMismatch, NotPublished
from wristmir_ray.models.detector import BONE_DETECTOR, ROI_DETECTOR
from wristmir_ray.models.encoder import NAME as ENCODER
from wristmir_ray.retrieval.index import NAME as INDEX
from wristmir_ray.schemas import CROPS, EXAMS
from wristmir_ray.serving import api
from wristmir_ray.serving.config import ServeArgs


@dataclass(frozen=True)
class Pins:
    """The runs that belong together: an index, the encoder of its vectors, the making of its crops."""

    lineage: api.Lineage
    crops: str
    """Run of CROPS the index was built from."""
    exams: str
    """Run of EXAMS the crops were made from."""
    encoder_digest: str
    preparation: str
    """Hash of the settings and detectors that made the crops: a query must go through the same."""

    @property
    def runs(self) -> set[tuple[str, str]]:
        """(name, run id) of what is opened to answer; what those were made from hangs on them."""
        models = {(ENCODER, self.lineage.encoder), (INDEX, self.lineage.index), (CROPS.name, self.crops)}
        return models | {(ROI_DETECTOR, self.lineage.roi_detector), (BONE_DETECTOR, self.lineage.bone_detector)}

    def check_same_models(self, other: "Pins") -> None:
        """Raise IndexMismatch when the queries prepared for `self` cannot be asked of `other`."""
        if other.encoder_digest != self.encoder_digest:
            raise IndexMismatch(
                f"index run {other.lineage.index} was built by another encoder than the one that is loaded; "
                "start the service again to change both"
            )
        if other.preparation != self.preparation:
            raise IndexMismatch(
                f"index run {other.lineage.index} was built from crops that were made otherwise than queries are; "
                "start the service again to change both"
            )


def preflight(args: ServeArgs) -> Pins:
    """Return the runs to serve, all of them there and made for each other.

    Raises:
        NotPublished: the index, the encoder, the crops or a detector is missing.
        IndexMismatch: the index was built by another encoder than the one that would encode queries.
    """
    pins = pins_of(args, args.index_run)
    encoder = storage.published(args.root, ENCODER, args.encoder_run)
    if encoder.metrics.get("digest") != pins.encoder_digest:
        raise IndexMismatch(
            f"index run {pins.lineage.index} was built by encoder run {pins.lineage.encoder}, queries would be encoded "
            f"by run {encoder.run_id}; run jobs/build_index.py with the new encoder, "
            f"or serve the old one: encoder_run: {pins.lineage.encoder}"
        )
    return pins


def pins_of(args: ServeArgs, index_run: str | None) -> Pins:
    """Return what an index was built from.

    Raises:
        NotPublished: the index or something it was built from is missing.
    """
    index = storage.published(args.root, INDEX, index_run)
    needed = {ENCODER, ROI_DETECTOR, BONE_DETECTOR} - index.models.keys()
    if needed or CROPS.name not in index.inputs:
        raise NotPublished(
            f"index run {index.run_id} does not say what it was built from; run jobs/build_index.py again"
        )
    storage.published(args.root, ENCODER, index.models[ENCODER])
    crops = storage.published(args.root, CROPS.name, index.inputs[CROPS.name])
    detectors = {name: index.models[name] for name in (ROI_DETECTOR, BONE_DETECTOR)}
    for name, run_id in detectors.items():
        storage.published(crops.config.get("detectors") or args.root, name, run_id)
    made = {"decode": crops.config.get("decode"), "regions": crops.config.get("regions"), **detectors}
    return Pins(
        lineage=api.Lineage(
            index=index.run_id,
            encoder=index.models[ENCODER],
            roi_detector=detectors[ROI_DETECTOR],
            bone_detector=detectors[BONE_DETECTOR],
            inputs=index.inputs,
        ),
        crops=crops.run_id,
        exams=crops.inputs.get(EXAMS.name, ""),
        encoder_digest=str(index.metrics.get("digest")),
        preparation=keys.digest("preparation", json.dumps(made, sort_keys=True)),
    )
