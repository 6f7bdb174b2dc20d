"""EXAMS -> radiographs -> wrist, enhancement, bones, crops -> REGIONS and CROPS (WristMIR §2.2)."""

from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pyarrow.compute as pc
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import ray.data

from wristmir_ray import keys, raydata, storage, tablerun
from wristmir_ray.anatomy import BONES, Region
from wristmir_ray.errors import ConfigError
from wristmir_ray.imaging.crop import preprocess_version
from wristmir_ray.job import Summary
from wristmir_ray.models.detector import BONE_DETECTOR, ROI_DETECTOR, Detector, load_detector
from wristmir_ray.models.networks import RuntimeConfig
from wristmir_ray.outputs import Output
from wristmir_ray.preprocess.config import PreprocessConfig
from wristmir_ray.preprocess.mended import further_run
from wristmir_ray.preprocess.preview import contact_sheet
from wristmir_ray.preprocess.stages import (
    DetectAndCrop,
    ReadDetectAndCrop,
    Write,
    explode_crops,
    explode_regions,
    read_radiographs,
)
from wristmir_ray.preprocess.unchanged import unchanged_exams
from wristmir_ray.schemas import CROPS, EXAMS, PREPROCESSED, REGIONS

JOB = "preprocess"
PREVIEW_FILE = "preview.png"
BLOCK_FRAGMENTS = 2
"""Fragments a block on a GPU, which is to have whole batches: few, so that all workers end together. On a CPU a block
is a fragment."""

Load = Callable[[str, str, str, RuntimeConfig], Detector]
"""(root, name, run id, runtime) -> detector; runs in the actor."""


def build(
    exams: ray.data.Dataset,
    config: PreprocessConfig,
    runs: Mapping[str, str],
    load: Load = load_detector,
    write: Write | None = None,
) -> ray.data.Dataset:
    """Good EXAMS -> PREPROCESSED, 1:1, or what `write` makes of them, a fragment at a time.

    With GPUs, images are decoded and crops written by CPU workers beside them; without, by the detecting workers.

    Args:
        exams: source_id, exam_id, source_uri, pixel_id, laterality, split.
        config: settings.
        runs: detector name -> run id.
        load: gives the detectors (tests pass fakes).
        write: stores a batch of rows and gives a receipt; None gives the rows.
    """
    detectors = partial(_load_both, load, config.detectors or config.root, dict(runs), config.runtime)
    made_with = {"config": config.regions, "load": detectors}
    if config.detect.num_gpus:
        threads = max(1, int(config.detect.num_cpus))
        cut = exams.map_batches(
            read_radiographs, fn_kwargs={"config": config.decode}, **raydata.tasks(config.read)
        ).map_batches(
            DetectAndCrop,
            fn_constructor_kwargs={**made_with, "threads": threads},
            **raydata.actors(config.detect),
        )
        return cut.map_batches(write, batch_format="pyarrow", batch_size=config.fragment_rows) if write else cut
    return exams.map_batches(
        ReadDetectAndCrop,
        fn_constructor_kwargs={**made_with, "read": config.decode, "write": write},
        **{**raydata.actors(config.detect), "batch_size": config.fragment_rows},
    )


def run(config: PreprocessConfig, load: Load = load_detector) -> Summary:
    """Find and cut the regions of every good exam, and publish REGIONS and CROPS.

    Raises:
        NotPublished: EXAMS or a detector is missing.
        ConfigError: the bone detector has learned on wrists that were cut or enhanced otherwise.
        StoreFailed: the store of the images, or of the tables, is away.
    """
    exams = storage.published(config.root, EXAMS.name)
    roi = storage.published(config.detectors or config.root, ROI_DETECTOR, config.roi_run)
    bone = storage.published(config.detectors or config.root, BONE_DETECTOR, config.bone_run)
    _check_same_cut(bone, config)
    runs = {ROI_DETECTOR: roi.run_id, BONE_DETECTOR: bone.run_id}
    digests = {Region.WRIST: roi.metrics["digest"], **dict.fromkeys(BONES, bone.metrics["digest"])}
    version = preprocess_version(config.decode, config.regions)
    table_run = tablerun.TableRun(
        job=JOB,
        config=config,
        settings={
            **config.model_dump(mode="json", include={"decode", "regions"}),
            "runtime": [config.runtime.backend, config.runtime.precision],
        },
        code=keys.code_version("preprocess", "imaging", "models/detector", "models/letterbox", "models/networks"),
        inputs={EXAMS.name: exams.run_id},
        models=runs,
    )
    table_run = further_run(table_run, config.decode)
    columns = ["source_id", "exam_id", "source_uri", "pixel_id", "laterality", "split"]
    block_rows = config.fragment_rows * (BLOCK_FRAGMENTS if config.detect.num_gpus else 1)
    summary = tablerun.run_tables(
        table_run,
        source=lambda: raydata.read(
            config.root, EXAMS, exams.run_id, columns, block_rows=block_rows, order=REGIONS.key[0]
        ),
        build=lambda ds: build(ds, config, runs, load, table_run.writer(PREPROCESSED)),
        writes=True,
        fragment=PREPROCESSED,
        outputs=[
            Output(REGIONS, partial(explode_regions, digests=digests)),
            Output(CROPS, partial(explode_crops, version=version)),
        ],
        names=[REGIONS.name, CROPS.name],
        facts=found_shares,
        still_good=unchanged_exams(config.root, exams.run_id),
    )
    _write_preview(config, table_run.run_id, exams.run_id)
    return summary


def found_shares(fragments: pads.Dataset | None) -> dict[str, Any]:
    """Return the share of exams in which each region was found, without reading a pixel."""
    if fragments is None:
        return {}
    found: Counter[str] = Counter()
    exams = 0
    for file in fragments.files:
        inner = [f"regions.list.element.{n}" for n in ("region", "error")]
        regions = pq.ParquetFile(file, filesystem=fragments.filesystem).read(inner)["regions"]
        flat = pc.list_flatten(regions)
        found.update(pc.struct_field(flat, "region").filter(pc.is_null(pc.struct_field(flat, "error"))).to_pylist())
        exams += len(regions)
    return {f"found_{region}": round(found[region] / exams, 4) for region in Region}


def _load_both(load: Load, root: str, runs: Mapping[str, str], runtime: RuntimeConfig) -> tuple[Detector, Detector]:
    roi, bones = (load(root, name, runs[name], runtime) for name in (ROI_DETECTOR, BONE_DETECTOR))
    return roi, bones


def _check_same_cut(bone: storage.Manifest, config: PreprocessConfig) -> None:
    ours = config.regions.model_dump(mode="json", include={"enhance", "roi_margin"})
    for name, value in ours.items():
        if bone.config.get(name, value) != value:
            raise ConfigError(
                f"setting 'regions.{name}' differs from the one that bone_detector run {bone.run_id} was trained with; "
                "train the detector again with this setting, or set it back"
            )


def _write_preview(config: PreprocessConfig, run_id: str, exams_run: str) -> None:
    if config.preview:
        sheet = contact_sheet(config.root, run_id, exams_run, config.preview, config.decode)
        storage.write_bytes(storage.join(storage.run_uri(config.root, CROPS.name, run_id), PREVIEW_FILE), sheet)
