"""How well attention maps find fractures whose place is known: python -m tests.attention_on_phantoms artifacts/demo

The place is where the drawn exam differs from its twin, drawn from the same seed without the fracture. Taken
are test patients' exams whose last finding is the only one of its bone: another twin's other fractures would
be drawn from other numbers.
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from wristmir_ray import storage
from wristmir_ray.anatomy import BONES, Box, Presence, Region, Split
from wristmir_ray.attention.maps import Method, attention_map, blend, direction
from wristmir_ray.imaging.crop import crop, crop_bounds, decode_png, pad_square
from wristmir_ray.metrics.bootstrap import Bootstrap
from wristmir_ray.metrics.proportion import wilson
from wristmir_ray.models.clip import build
from wristmir_ray.models.config import EncoderConfig
from wristmir_ray.models.encoder import ClipEncoder, load_encoder, resize_square
from wristmir_ray.phantom.case import Case
from wristmir_ray.phantom.population import sample_cases
from wristmir_ray.phantom.render import render
from wristmir_ray.phantom.scene import build_scene
from wristmir_ray.preprocess.config import RegionConfig
from wristmir_ray.schemas import CAPTIONS, CROPS, EXAMS, REGIONS

SHOWN = 0.25
"""A pixel belongs to the fracture when it differs by this share of the largest difference."""
GROWN = 0.03
"""The place is widened by this share of the side: a fracture is seen against what is beside it."""
PLACES = 24
"""Places elsewhere in the crop that the same mask is put at."""
LEAST_PX = 4
MOST = 60
"""Exams a region, the first by key."""


@dataclass(frozen=True)
class Lesion:
    """One crop with one fracture."""

    exam_id: str
    patient_id: str
    region: Region
    gray: np.ndarray
    """uint8 (S, S) at the encoder's size."""
    core: np.ndarray
    """(S, S) bool: where the fracture is; this is deleted."""
    place: np.ndarray
    """(S, S) bool: that and a little beside it; maps are held against this."""
    inside: np.ndarray
    """(S, S) bool: not the square's padding."""
    caption: str


def lesions(root: str, side_px: int) -> Iterator[Lesion]:
    """Yield crops of test patients with one fracture, and its place; at most MOST a region.

    Args:
        root: folder of a finished demo.
        side_px: the encoder's image size.
    """
    yielded = dict.fromkeys(BONES, 0)
    archive = storage.join(root, "archive")
    settings = json.loads((Path(root) / "phantoms" / "manifest.json").read_text())["settings"]
    cases = {f"{c.index:06d}": c for c in sample_cases(settings["seed"], settings["exams"])}
    config = RegionConfig(**storage.published(archive, CROPS.name).config["regions"])
    boxes, crops, captions = (storage.KeyedReader(archive, t) for t in (REGIONS, CROPS, CAPTIONS))
    for exam in storage.read_table(archive, EXAMS).to_pylist():
        case = cases[Path(exam["source_uri"]).stem]
        if exam["split"] != Split.TEST or not case.findings or case.findings[-1].presence is not Presence.PRESENT:
            continue
        region = case.findings[-1].region
        if [f.region for f in case.findings].count(region) > 1 or yielded[region] == MOST:
            continue
        broken, whole = _drawn_twice(case, settings["seed"])
        found = {r["region"]: r for r in boxes.rows(exam["exam_id"])}
        mined = {r["region"]: r for r in captions.rows(exam["exam_id"])}
        png = {r["region"]: r["png"] for r in crops.rows(exam["exam_id"])}
        if not png.get(region) or mined[region]["presence"] != Presence.PRESENT:
            continue
        differ = cv2.GaussianBlur(np.abs(broken - whole), (0, 0), 2.0)
        cut = partial(_cut, found=found, region=region, config=config)
        shown, inside = cut(differ), cut(np.ones_like(differ))
        gray = resize_square(decode_png(png[region]), side_px)
        place = _mask(shown / max(float(differ.max()), 1e-6), side_px) > SHOWN
        if place.sum() >= LEAST_PX:
            yielded[region] += 1
            side = 2 * round(GROWN * side_px) + 1
            grown = cv2.dilate(place.astype(np.uint8), np.ones((side, side), np.uint8)) > 0
            within = _mask(inside, side_px) > 0.5
            text = mined[region]["caption"]
            yield Lesion(
                exam["exam_id"], exam["patient_id"], region, gray, place & within, grown & within, within, text
            )


def _drawn_twice(case: Case, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the exam, and it without its last finding, at the same place of the detector."""
    scene, twin = (build_scene(c, seed) for c in (case, replace(case, findings=case.findings[:-1])))
    there = replace(twin, rows=scene.rows, cols=scene.cols, matrix=scene.matrix, boxes=scene.boxes)
    return render(scene, seed).astype(np.float32), render(there, seed).astype(np.float32)


def _cut(image: np.ndarray, found: Mapping[str, Any], region: Region, config: RegionConfig) -> np.ndarray:
    """Cut an image of the source's geometry as `preprocess` cuts a region's crop."""
    roi = _box(found[Region.WRIST])
    bounds = crop_bounds(roi, *image.shape, config.roi_margin)
    wrist = crop(image, roi, config.roi_margin)
    if region is Region.WRIST:
        return wrist
    return crop(wrist, _box(found[region]).shift(-bounds.x0_px, -bounds.y0_px), config.margin(region))


def _box(row: Mapping[str, Any]) -> Box:
    return Box(*(row[c] for c in ("x0_px", "y0_px", "x1_px", "y1_px")))


def _mask(image: np.ndarray, side: int) -> np.ndarray:
    square = pad_square(np.rint(255 * np.clip(image, 0, 1)).astype(np.uint8))
    return np.asarray(cv2.resize(square, (side, side), interpolation=cv2.INTER_AREA) / 255)


def elsewhere(lesion: Lesion, rng: np.random.Generator) -> list[np.ndarray]:
    """Return the lesion's mask at other places of the crop, where it covers as much and at most a quarter of itself."""
    out: list[np.ndarray] = []
    side, size = len(lesion.core), lesion.core.sum()
    for _ in range(40 * PLACES):
        moved = np.zeros_like(lesion.core)
        dy, dx = rng.integers(-side, side, 2)
        ys, xs = np.nonzero(lesion.core)
        ys, xs = ys + dy, xs + dx
        if ys.min() < 0 or xs.min() < 0 or ys.max() >= side or xs.max() >= side:
            continue
        moved[ys, xs] = True
        if (moved & lesion.inside).sum() == size and (moved & lesion.core).sum() <= 0.25 * size:
            out.append(moved)
        if len(out) == PLACES:
            break
    return out


def drops(encoder: ClipEncoder, lesion: Lesion, masks: Sequence[np.ndarray], towards: np.ndarray) -> np.ndarray:
    """Return what the similarity loses when each mask, with soft edges, is blurred."""
    sigma = max(1.0, float(np.sqrt(lesion.core.sum())) / 2)
    blurred = cv2.GaussianBlur(lesion.gray, (0, 0), sigma).astype(np.float32)
    soft = [cv2.GaussianBlur(m.astype(np.float32), (0, 0), 1.0) for m in masks]
    scores = encoder.encode_images([lesion.gray, *(blend(lesion.gray, blurred, m) for m in soft)]) @ towards
    return np.asarray(scores[0] - scores[1:])


def measure(found: Sequence[Lesion], encoder: ClipEncoder, methods: Sequence[Method], seed: int = 0) -> dict[str, Any]:
    """Return figures by region: the lesion's share of the maps' mass, the drop when it is deleted."""
    rng = np.random.default_rng(seed)
    normal = {r: f"{r.words.capitalize()} region showing no fracture." for r in BONES}
    towards = [direction(encoder, x.caption, normal[x.region]) for x in found]
    deleted = []
    for lesion, way in zip(found, towards, strict=True):
        others = elsewhere(lesion, rng)
        lost = drops(encoder, lesion, [lesion.core, *others], way)
        deleted.append((lost[0], lost[1:].mean(), (lost[0] > lost[1:]).mean()) if others else None)
    maps = {
        m: [np.maximum(attention_map(encoder, x.gray, w, m), 0) for x, w in zip(found, towards, strict=True)]
        for m in methods
    }
    out: dict[str, Any] = {}
    for region in BONES:
        rows = [i for i, x in enumerate(found) if x.region is region]
        if rows:
            out[region.value] = {
                "exams": len(rows),
                "patients": len({found[i].patient_id for i in rows}),
                "area_share": round(float(np.mean([_share(found[i].inside, found[i]) for i in rows])), 4),
                **{m.value: _of_maps(found, maps[m], rows) for m in methods},
                "deletion": _of_deletions(found, deleted, rows),
            }
    return out


def _share(mass: np.ndarray, lesion: Lesion) -> float:
    held = float((mass * lesion.inside).sum())
    return float((mass * lesion.place).sum()) / held if held > 0 else 0.0


def _of_maps(found: Sequence[Lesion], maps: Sequence[np.ndarray], rows: Sequence[int]) -> dict[str, Any]:
    own = np.array([_share(maps[i], found[i]) for i in rows])
    area = np.array([_share(found[i].inside, found[i]) for i in rows])
    swapped = np.array([_share(maps[j], found[i]) for i, j in zip(rows, [*rows[1:], rows[0]], strict=True)])
    patients = np.array([found[i].patient_id for i in rows])
    pointed = sum(bool(found[i].place.flat[int((maps[i] * found[i].inside).argmax())]) for i in rows)
    share = wilson(pointed, len(rows))
    return {
        "mass_share": _mean(own, patients),
        "mass_over_area": _mean(own / area, patients),
        "own_minus_another_exams_map": _mean(own - swapped, patients),
        "points_at_it": [round(x, 4) for x in (share.value, share.low, share.high)],
    }


def _of_deletions(found: Sequence[Lesion], deleted: Sequence[Any], rows: Sequence[int]) -> dict[str, Any]:
    rows = [i for i in rows if deleted[i] is not None]
    lesion, other, above = np.array([deleted[i] for i in rows]).T
    patients = np.array([found[i].patient_id for i in rows])
    return {
        "exams": len(rows),
        "drop_at_lesion": _mean(lesion, patients),
        "drop_elsewhere": _mean(other, patients),
        "lesion_above_elsewhere_places": _mean(above, patients),
    }


def _mean(values: np.ndarray, patients: np.ndarray) -> list[float]:
    """Return mean, and the 95 % interval of a bootstrap by patient."""
    found = Bootstrap(patients, 1000, 0).mean(values).as_dict()
    return [round(float(found[n] or 0.0), 4) for n in ("value", "low", "high")]


if __name__ == "__main__":
    trained = load_encoder(storage.join(sys.argv[1], "archive"))
    cases = list(lesions(sys.argv[1], trained.image_size))
    torch.manual_seed(0)
    untrained = ClipEncoder(build(EncoderConfig(init="random", fixed_batch=16)), "untrained")
    figures = {
        "trained": measure(cases, trained, (Method.OCCLUSION, Method.HIRES_CAM)),
        "untrained": measure(cases, untrained, (Method.HIRES_CAM,)),
    }
    print(json.dumps(figures, indent=1))
