"""CROPS, CAPTIONS, one or two encoders -> overlays of attention maps and a sheet (WristMIR Figs. 3 and 5)."""

import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray.data

from wristmir_ray import keys, raydata, storage
from wristmir_ray.anatomy import Presence
from wristmir_ray.attention.config import AttentionConfig
from wristmir_ray.attention.maps import Method, attention_map
from wristmir_ray.attention.overlay import of_png, png_of, sheet
from wristmir_ray.attention.stages import ASKED, DrawMaps, against
from wristmir_ray.errors import ConfigError
from wristmir_ray.job import Summary
from wristmir_ray.models.encoder import ClipEncoder, load_encoder
from wristmir_ray.schemas import CAPTIONS, CROPS
from wristmir_ray.tables import conform

JOB = "attention_maps"
NAME = JOB
SHEET = "sheet.png"
_ENCODER = "encoder"
Load = Callable[[str, str], ClipEncoder]
"""(root, run id) -> encoder; runs in the actor."""


def build(asked: ray.data.Dataset, config: AttentionConfig, runs: dict[str, str], load: Load) -> ray.data.Dataset:
    """ASKED -> DRAWN, 1:1.

    Args:
        asked: rows.
        config: settings.
        runs: `after`, and `before` where there is one, -> run of the encoder.
        load: gives them.
    """
    return asked.map_batches(
        DrawMaps,
        fn_constructor_kwargs={
            "load": {name: partial(load, config.root, run_id) for name, run_id in runs.items()},
            "config": config.map,
            "tile_px": config.tile_px,
        },
        **raydata.actors(config.draw),
    )


def run(config: AttentionConfig, load: Load = load_encoder) -> Summary:
    """Draw the maps, and publish overlays and sheet.

    Raises:
        NotPublished: crops, captions or an encoder are missing.
        ConfigError: no exam to draw, an exam that has no caption, a method that does not suit the encoder.
    """
    started = time.monotonic()
    inputs = {t.name: storage.published(config.root, t.name).run_id for t in (CROPS, CAPTIONS)}
    runs: dict[str, str | None] = {"before": config.before_run} if config.before_run else {}
    runs["after"] = config.encoder_run
    found = {name: storage.published(config.root, _ENCODER, r).run_id for name, r in runs.items()}
    code = keys.code_version("attention", "models", "imaging")
    where = {"root", "log", "ray", "draw", "max_reject_share", "fragment_rows", "encoder_run", "before_run"}
    settings = config.model_dump(mode="json", exclude=where)
    run_id = keys.run_id(JOB, settings, {**inputs, **found}, code)
    done = storage.find_run(config.root, NAME, run_id)
    if done:
        storage.point_to(config.root, NAME, run_id)
        return _summary(config, done, skipped=True)
    storage.check_writable(config.root)
    asked = rows_of(config, inputs)
    _check_method(config, found, load)
    raydata.connect(config.ray)
    dataset = ray.data.from_arrow(raydata.blocks(asked, config.draw.batch_size))
    batches = build(dataset, config, found, load).iter_batches(batch_format="pyarrow", batch_size=None)
    drawn = pa.concat_tables(list(batches)).sort_by("exam_id").to_pylist()
    manifest = storage.Manifest(
        name=NAME,
        run_id=run_id,
        job=JOB,
        rows=len(drawn),
        rejects=dict(Counter(row["error"] for row in drawn if row["error"])),
        files=_write(config, run_id, drawn, list(found)),
        inputs=inputs,
        models={_ENCODER: found["after"]},
        code=code,
        config=config.resolved(),
        metrics={"encoders": found},
        seconds=time.monotonic() - started,
    )
    return _summary(config, storage.publish(config.root, manifest))


def rows_of(config: AttentionConfig, inputs: dict[str, str]) -> pa.Table:
    """Return ASKED: the exams to draw, with their crops and what they are held against."""
    in_region = pc.field("region") == config.region.value
    captions = storage.read_table(config.root, CAPTIONS, inputs[CAPTIONS.name], where=in_region)
    mined = {c["exam_id"]: c for c in captions.select(["exam_id", "caption", "presence", "split"]).to_pylist()}
    crops = storage.KeyedReader(config.root, CROPS, inputs[CROPS.name])

    def crop_of(exam_id: str) -> bytes | None:
        return next((c["png"] for c in crops.rows(exam_id) if c["region"] == config.region), None)

    exams = config.exams or _first(config, mined, crop_of)
    other = crop_of(config.similar_to) if config.similar_to else None
    if config.similar_to and other is None:
        raise ConfigError(f"similar_to: exam {config.similar_to} has no crop of the {config.region.words}")
    if config.target in {"finding", "caption"} and (lost := [e for e in exams if e not in mined]):
        raise ConfigError(f"exam {lost[0]} has no caption of the {config.region.words}; choose target text or exam")
    opposite = {p: _captions(mined, p) for p in (Presence.PRESENT, Presence.ABSENT)}
    rows = []
    for exam_id in exams:
        own = mined.get(exam_id, {})
        row = {"exam_id": exam_id, "png": crop_of(exam_id), "other_png": other}
        row["caption"] = config.text or own.get("caption")
        if config.target == "finding":
            has_it = own["presence"] == Presence.PRESENT
            row["against"] = against(own["caption"], opposite[Presence.ABSENT if has_it else Presence.PRESENT])
        rows.append(row)
    return conform(rows, ASKED)


def _first(
    config: AttentionConfig, mined: dict[str, dict[str, Any]], crop_of: Callable[[str], bytes | None]
) -> list[str]:
    """Return the first exams of the split with a fracture in the region and a crop of it."""
    out: list[str] = []
    for exam_id, c in sorted(mined.items()):
        wanted = c["split"] == config.split and c["presence"] == Presence.PRESENT
        if wanted and crop_of(exam_id) is not None:
            out.append(exam_id)
        if len(out) == config.count:
            return out
    if not out:
        words = config.region.words
        raise ConfigError(f"no exam of split {config.split} has a fracture of the {words} and a crop of it; name exams")
    return out


def _captions(mined: dict[str, dict[str, Any]], presence: Presence) -> dict[str, int]:
    return dict(Counter(c["caption"] for c in mined.values() if c["presence"] == presence))


def _check_method(config: AttentionConfig, runs: dict[str, str], load: Load) -> None:
    """Raise ConfigError before any worker starts where an encoder has no such map."""
    if config.map.method is Method.OCCLUSION:
        return
    for run_id in runs.values():
        encoder = load(config.root, run_id)
        blank = np.zeros((encoder.image_size, encoder.image_size), np.uint8)
        attention_map(encoder, blank, np.ones(encoder.dim, np.float32), config.map.method)


def _write(config: AttentionConfig, run_id: str, drawn: list[dict[str, Any]], columns: list[str]) -> list[str]:
    """Write an overlay an exam and encoder, and the sheet; return their names."""
    folder = storage.run_uri(config.root, NAME, run_id)
    good = [row for row in drawn if not row["error"]]
    files = {f"{row['exam_id']}_{name}.png": row[name] for row in good for name in columns}
    if good:
        shown = ["crop", *columns]
        titles = {"crop": config.region.words, "before": "before fine-tune", "after": f"{config.map.method} map"}
        pictures = [[of_png(row[name]) for name in shown] for row in good]
        files[SHEET] = png_of(sheet(pictures, [titles[n] for n in shown], config.tile_px))
    for name, data in files.items():
        storage.write_bytes(storage.join(folder, name), data)
    return sorted(files)


def _summary(config: AttentionConfig, manifest: storage.Manifest, skipped: bool = False) -> Summary:
    folder = storage.run_uri(config.root, NAME, manifest.run_id)
    return Summary(
        job=JOB,
        runs={NAME: manifest.run_id},
        rows=manifest.rows,
        rejects=manifest.rejects,
        skipped=skipped,
        max_reject_share=config.max_reject_share,
        facts={"encoders": manifest.metrics["encoders"], "sheet": storage.join(folder, SHEET)},
    )
